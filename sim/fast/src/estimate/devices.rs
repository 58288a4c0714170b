//! The devices' side: channels that share a port take turns, each with a number of requests under way.

use crate::channel::{Channel, Feed, Request};
use crate::error::FastError;

/// A channel at work.
pub struct Stream {
    feed: Feed,
    /// The next request, which has been read ahead.
    pub next: Option<Request>,
    /// Process and device.
    pub binding: u32,
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
        let Channel { port, depth, gap, requests, stream, .. } = channel;
        let mut feed = Feed::new(stream, requests)?;
        let next = feed.next()?;
        let (port, gap) = ((port % ports) as usize, u64::from(gap));
        let ready = next.map_or(0, |request| u64::from(request.gap));
        Ok(Stream { feed, next, binding, port, depth: depth.max(1), gap, outstanding: 0, ready })
    }

    /// Begins anew.
    ///
    /// # Errors
    /// A workload that can't be read again.
    pub fn rewind(&mut self) -> Result<(), FastError> {
        self.feed.rewind()?;
        self.next = self.feed.next()?;
        self.outstanding = 0;
        self.ready = self.next.map_or(0, |request| u64::from(request.gap));
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
    busy: usize,
}

impl Devices {
    /// Devices with these channels.
    pub fn new(streams: Vec<Stream>, ports: u32) -> Devices {
        let mut devices = Devices { streams, turns: vec![(Vec::new(), 0); ports as usize], busy: 0 };
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

    /// Nothing to send, nothing under way.
    pub fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// The next request of a port, if a channel may send one.
    #[inline]
    pub fn choose(&mut self, port: usize, now: u64) -> Result<Option<(u16, Request)>, FastError> {
        let (list, next) = &mut self.turns[port];
        let count = list.len();
        for turn in 0..count {
            let position = if *next + turn < count { *next + turn } else { *next + turn - count };
            let stream = &mut self.streams[usize::from(list[position])];
            if !stream.can_send(now) {
                continue;
            }
            let Some(request) = stream.next else { continue };
            stream.next = stream.feed.next()?;
            stream.outstanding += 1;
            stream.ready = now + 1 + stream.gap + stream.next.map_or(0, |request| u64::from(request.gap));
            *next = if position + 1 == count { 0 } else { position + 1 };
            return Ok(Some((list[position], request)));
        }
        Ok(None)
    }

    /// A request of a channel has ended.
    #[inline]
    pub fn finish(&mut self, index: u16) {
        let stream = &mut self.streams[usize::from(index)];
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
