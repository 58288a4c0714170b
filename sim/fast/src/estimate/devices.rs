//! The devices' side: channels that share a port take turns, each with a number of requests under way. Accesses of one address space
//! to the same bytes, one of which stores, are not under way at the same time, as in the simulated machine: the later one waits.

use crate::channel::{Channel, Feed, Request};
use crate::error::FastError;
use crate::pages::need;

/// Granules of eight bytes that are told apart by ordering; others share a counter. As many as in the simulated machine.
const GRANULES: usize = 1 << 16;
const WRITER: u32 = 1 << 16;

/// The accesses under way in one address space, by granule.
struct Order(Box<[u32]>);

impl Order {
    /// The counters of an access: a run of them, and what goes on from the first after the last.
    #[inline]
    fn runs(&mut self, request: &Request) -> [&mut [u32]; 2] {
        let first = (request.address >> 3) as usize % GRANULES;
        // An access is inside a page: it has fewer granules than there are counters.
        let count = (((request.address & 7) + u64::from(request.bytes) + 7) >> 3) as usize;
        let (before, from) = self.0.split_at_mut(first);
        let run = count.min(from.len());
        [&mut from[..run], &mut before[..count - run]]
    }

    /// Claims the bytes of an access; false while another one conflicts.
    #[inline]
    fn hold(&mut self, request: &Request) -> bool {
        let (limit, mine) = if request.need == need::WRITE { (1, WRITER) } else { (WRITER, 1) };
        let runs = self.runs(request);
        // All counters at once is quicker than to stop at the first.
        let most = runs.iter().flat_map(|run| run.iter()).fold(0, |most, &busy| most | busy);
        if most >= limit {
            return false;
        }
        runs.into_iter().flatten().for_each(|busy| *busy += mine);
        true
    }

    #[inline]
    fn release(&mut self, request: &Request) {
        let mine = if request.need == need::WRITE { WRITER } else { 1 };
        self.runs(request).into_iter().flatten().for_each(|busy| *busy -= mine);
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
        let next = feed.next_request()?;
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
        self.next = self.feed.next_request()?;
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
        // Each from memory that is zero already: what is not touched costs nothing.
        let orders = (0..processes).map(|_| Order(vec![0; GRANULES].into())).collect();
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
            stream.next = match stream.feed.next_request() {
                Ok(next) => next,
                Err(error) => {
                    self.failure.get_or_insert(error.into());
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
