//! The devices' side: channels that share a port take turns, each with a number of requests under way. Accesses of one address space
//! to the same bytes, one of which stores, are not under way at the same time, as in the simulated machine: the later one waits.

use crate::channel::{Channel, Feed, Request};
use crate::error::FastError;
use crate::pages::need;
use std::ops::Range;

/// Granules of eight bytes that are told apart by ordering; others share a counter. As many as in the simulated machine.
const GRANULES: usize = 1 << 16;
/// Granules of a line.
const LINE: usize = 8;
const LINES: usize = GRANULES / LINE;
const WRITER: u32 = 1 << 16;

/// The accesses under way in one address space. An access counts in the lines of which it has all granules, and in the single
/// granules of the others.
#[derive(Clone)]
struct Order {
    lines: Box<[Line]>,
    granules: Box<[u32]>,
}

/// Accesses that have all of a line, and those that have a part of it.
#[derive(Clone, Copy, Default)]
struct Line {
    whole: u32,
    part: u32,
}

/// What an access has: granules before the first whole line, whole lines, granules behind the last. An access is inside a page: it has
/// fewer granules than there are counters.
struct Extent {
    head: Range<usize>,
    lines: Range<usize>,
    tail: Range<usize>,
}

impl Extent {
    #[inline]
    fn of(request: &Request) -> Extent {
        let first = (request.address >> 3) as usize % GRANULES;
        let end = first + (((request.address & 7) + u64::from(request.bytes) + 7) >> 3) as usize;
        let lines = first.div_ceil(LINE)..end / LINE;
        if lines.start >= lines.end {
            // No whole line; two parts if it goes over the end of one.
            let middle = end.min(lines.start * LINE).max(first);
            return Extent { head: first..middle, lines: 0..0, tail: middle..end };
        }
        Extent { head: first..lines.start * LINE, tail: lines.end * LINE..end, lines }
    }
}

impl Order {
    fn new() -> Order {
        // From memory that is zero already, as far as granules go: what is not touched costs nothing.
        Order { lines: vec![Line::default(); LINES].into(), granules: vec![0; GRANULES].into() }
    }

    /// Counters of all that an access has, those of others in the same lines included: `or` of them.
    #[inline]
    fn busy(&self, extent: &Extent) -> u32 {
        let whole = |busy: u32, line: usize| {
            let Line { whole, part } = self.lines[line % LINES];
            busy | whole | part
        };
        let mut busy = extent.lines.clone().fold(0, whole);
        for part in [&extent.head, &extent.tail].into_iter().filter(|part| !part.is_empty()) {
            busy |= self.lines[part.start / LINE % LINES].whole;
            busy = part.clone().fold(busy, |busy, granule| busy | self.granules[granule % GRANULES]);
        }
        busy
    }

    #[inline]
    fn change(&mut self, extent: &Extent, change: impl Fn(&mut u32)) {
        extent.lines.clone().for_each(|line| change(&mut self.lines[line % LINES].whole));
        for part in [&extent.head, &extent.tail].into_iter().filter(|part| !part.is_empty()) {
            change(&mut self.lines[part.start / LINE % LINES].part);
            part.clone().for_each(|granule| change(&mut self.granules[granule % GRANULES]));
        }
    }

    /// Claims the bytes of an access; false while another one conflicts.
    #[inline]
    fn hold(&mut self, request: &Request) -> bool {
        let (limit, mine) = if request.need == need::WRITE { (1, WRITER) } else { (WRITER, 1) };
        let extent = Extent::of(request);
        if self.busy(&extent) >= limit {
            return false;
        }
        self.change(&extent, |busy| *busy += mine);
        true
    }

    #[inline]
    fn release(&mut self, request: &Request) {
        let mine = if request.need == need::WRITE { WRITER } else { 1 };
        self.change(&Extent::of(request), |busy| *busy -= mine);
    }
}

/// A channel at work.
pub struct Stream {
    feed: Feed,
    /// The next request, which has been read ahead.
    pub next: Option<Request>,
    /// Process and device.
    pub binding: u32,
    /// Process.
    process: usize,
    /// Port.
    pub port: usize,
    depth: u32,
    gap: u64,
    outstanding: u32,
    /// The first cycle in which it may send.
    ready: u64,
}

impl Stream {
    /// The beginning of a channel.
    pub fn new(channel: Channel, binding: u32, ports: u32) -> Result<Stream, FastError> {
        let Channel { process, port, depth, gap, requests, part, stream, .. } = channel;
        let mut feed = Feed::new(stream, requests, part)?;
        let next = feed.next()?;
        let (port, gap) = ((port % ports) as usize, u64::from(gap));
        let (process, depth) = (process as usize, depth.max(1));
        Ok(Stream { feed, next, binding, process, port, depth, gap, outstanding: 0, ready: 0 })
    }

    /// Begins anew.
    ///
    /// # Errors
    /// A workload that can't be read again.
    pub fn rewind(&mut self) -> Result<(), FastError> {
        self.feed.rewind()?;
        self.next = self.feed.next()?;
        (self.outstanding, self.ready) = (0, 0);
        Ok(())
    }

    fn can_send(&self, now: u64) -> bool {
        self.next.is_some() && self.outstanding < self.depth && self.ready <= now
    }
}

/// The channels, and whose turn it is at each port.
pub struct Devices {
    /// All channels.
    pub streams: Vec<Stream>,
    /// By port: those that have something to send or under way, and whose turn it is.
    turns: Vec<(Vec<u16>, usize)>,
    /// By process.
    orders: Vec<Order>,
    busy: usize,
    /// Why a workload ended before its end.
    pub failure: Option<FastError>,
}

impl Devices {
    /// Devices with these channels.
    pub fn new(streams: Vec<Stream>, ports: u32) -> Devices {
        let processes = streams.iter().map(|stream| stream.process + 1).max().unwrap_or(0);
        let orders = vec![Order::new(); processes];
        let turns = vec![(Vec::new(), 0); ports as usize];
        let mut devices = Devices { streams, turns, orders, busy: 0, failure: None };
        devices.begin();
        devices
    }

    fn begin(&mut self) {
        self.turns.iter_mut().for_each(|turn| *turn = (Vec::new(), 0));
        self.busy = 0;
        for (index, stream) in self.streams.iter().enumerate() {
            if stream.next.is_some() {
                self.turns[stream.port].0.push(index as u16);
                self.busy += 1;
            }
        }
    }

    /// Begins anew.
    ///
    /// # Errors
    /// A workload that can't be read again.
    pub fn rewind(&mut self) -> Result<(), FastError> {
        self.streams.iter_mut().try_for_each(Stream::rewind)?;
        self.begin();
        Ok(())
    }

    /// Whether a channel of this port has something to send or under way.
    #[inline]
    pub fn uses(&self, port: usize) -> bool {
        !self.turns[port].0.is_empty()
    }

    /// Nothing to send, nothing under way.
    pub fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// The next request of a port, if a channel may send one. A workload that can't be read ends there, which is a
    /// [`failure`](Self::failure).
    #[inline]
    pub fn choose(&mut self, port: usize, now: u64) -> Option<(u16, Request)> {
        let (list, next) = &mut self.turns[port];
        let count = list.len();
        for turn in 0..count {
            let position = if *next + turn < count { *next + turn } else { *next + turn - count };
            let stream = &mut self.streams[usize::from(list[position])];
            if !stream.can_send(now) {
                continue;
            }
            let Some(request) = stream.next else { continue };
            if !self.orders[stream.process].hold(&request) {
                continue;
            }
            stream.next = match stream.feed.next() {
                Ok(next) => next,
                Err(error) => {
                    self.failure.get_or_insert(error);
                    None
                }
            };
            stream.outstanding += 1;
            stream.ready = now + 1 + stream.gap + stream.next.map_or(0, |request| u64::from(request.gap));
            *next = if position + 1 == count { 0 } else { position + 1 };
            return Some((list[position], request));
        }
        None
    }

    /// A request of a channel has ended.
    #[inline]
    pub fn finish(&mut self, index: u16, request: &Request) {
        let stream = &mut self.streams[usize::from(index)];
        self.orders[stream.process].release(request);
        stream.outstanding -= 1;
        if stream.outstanding == 0 && stream.next.is_none() {
            let (list, next) = &mut self.turns[stream.port];
            list.retain(|&other| other != index);
            *next = 0;
            self.busy -= 1;
        }
    }

    /// The next cycle after `now` in which a channel may send that only waits for the time.
    pub fn next_event(&self, now: u64) -> u64 {
        let waits = |stream: &&Stream| {
            stream.next.is_some() && stream.outstanding < stream.depth && stream.ready > now
        };
        self.streams.iter().filter(waits).map(|stream| stream.ready).min().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accesses_to_the_same_granule_wait_for_a_store() {
        let at = |address: u64, bytes: u32, need: u8| Request { address, bytes, need, gap: 0 };
        let (read, write) = (need::READ, need::WRITE);
        let mut order = Order::new();
        let mut plain = vec![0u32; GRANULES];
        let mut under_way: Vec<Request> = Vec::new();
        let mut state = 1u64;
        for _ in 0..50_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let dice = |shift: u32, limit: u64| (state >> shift) % limit;
            if dice(60, 3) == 0 && !under_way.is_empty() {
                let ended = under_way.swap_remove(dice(33, under_way.len() as u64) as usize);
                order.release(&ended);
                let mine = if ended.need == write { WRITER } else { 1 };
                let last = ended.address + u64::from(ended.bytes) - 1;
                (ended.address >> 3..=last >> 3)
                    .for_each(|granule| plain[granule as usize % GRANULES] -= mine);
                continue;
            }
            let (address, most) = (dice(20, 2 << 15), [8, 40, 700][dice(50, 3) as usize]);
            let bytes = (1 + dice(40, most)).min(4096 - address % 4096) as u32;
            let request = at(address, bytes, if dice(57, 2) == 0 { read } else { write });
            let granules = address >> 3..=(address + u64::from(bytes) - 1) >> 3;
            let limit = if request.need == write { 1 } else { WRITER };
            let free = granules.clone().all(|granule| plain[granule as usize % GRANULES] < limit);
            assert_eq!(order.hold(&request), free, "{request:x?} with {under_way:x?}");
            if free {
                let mine = if request.need == write { WRITER } else { 1 };
                granules.for_each(|granule| plain[granule as usize % GRANULES] += mine);
                under_way.push(request);
            }
        }
        assert!(under_way.len() > 3);
    }
}
