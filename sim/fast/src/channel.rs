//! Who does what, as the engine takes it: a channel has a device, a process, a port, and a stream of accesses. The accesses are cut
//! into requests at 4 KiB; a modification is a load, then a store.

use crate::error::FastError;
use crate::pages::need;
use pasidon_experiment::Job;
use pasidon_experiment::stream::{AccessStream, BATCH};
use pasidon_experiment::trace::{TraceAccess, TraceError, TraceOp};
use std::ops::Range;
use std::sync::Arc;

const PAGE: u64 = 4096;

/// A DMA channel.
pub struct Channel {
    /// Number of the device, from 0.
    pub device: u32,
    /// Number of the process; channels with the same number share an address space.
    pub process: u32,
    /// Translation port; taken modulo the ports of the design.
    pub port: u32,
    /// Requests under way, at least 1.
    pub depth: u32,
    /// Cycles of computing before each access, beside what the access says itself.
    pub gap: u32,
    /// Requests, the stream, or its part, repeated as needed; by default all of it once.
    pub requests: Option<u64>,
    /// The part of the stream that it does, in requests; by default all.
    pub part: Option<Range<u64>>,
    /// What it does.
    pub stream: Box<dyn AccessStream>,
}

impl Channel {
    /// The channels of a job whose work `open` opens: as many as the job has, each with a part of it.
    ///
    /// # Errors
    /// What `open` says, or a workload that can't be read.
    pub fn of(
        job: &Job,
        mut open: impl FnMut() -> Result<Box<dyn AccessStream>, TraceError>,
    ) -> Result<Vec<Channel>, FastError> {
        let Job { process, device, port, depth, gap, accesses, .. } = *job;
        let (port, depth) = (port.unwrap_or(device), depth.max(1));
        let channel =
            |part, requests, stream| Channel { device, process, port, depth, gap, requests, part, stream };
        let parts = u64::from(job.channels.max(1));
        if parts == 1 {
            return Ok(vec![channel(None, accesses, open()?)]);
        }
        let mut feed = Feed::new(open()?, None, None)?;
        let mut length = 0;
        while feed.next()?.is_some() {
            length += 1;
        }
        let part = |i: u64| length * i / parts..length * (i + 1) / parts;
        let able: Vec<Range<u64>> = (0..parts).map(part).filter(|part| !part.is_empty()).collect();
        let count = able.len() as u64;
        (0..)
            .zip(able)
            .map(|(i, part)| {
                let share = accesses.map(|wanted| wanted / count + u64::from(i < wanted % count));
                Ok(channel(Some(part), share, open()?))
            })
            .collect()
    }
}

/// Accesses in memory as a stream.
#[derive(Clone, Debug)]
pub struct Recorded {
    name: String,
    accesses: Arc<[TraceAccess]>,
    at: usize,
}

impl Recorded {
    /// These accesses.
    pub fn new(name: &str, accesses: impl Into<Arc<[TraceAccess]>>) -> Recorded {
        Recorded { name: name.into(), accesses: accesses.into(), at: 0 }
    }
}

impl AccessStream for Recorded {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        batch.clear();
        let end = (self.at + BATCH).min(self.accesses.len());
        batch.extend_from_slice(&self.accesses[self.at..end]);
        self.at = end;
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        self.at = 0;
        Ok(())
    }
}

/// A request at a translation port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// First byte.
    pub address: u64,
    /// Bytes, all in one page of 4 KiB.
    pub bytes: u32,
    /// What it needs: one bit of [`need`].
    pub need: u8,
    /// Cycles of computing before it.
    pub gap: u32,
}

/// The bit that an operation needs; of a modification that of its load.
#[inline]
pub(crate) fn needs(op: TraceOp) -> u8 {
    match op {
        TraceOp::Read | TraceOp::Modify => need::READ,
        TraceOp::Write => need::WRITE,
        TraceOp::Fetch => need::EXEC,
    }
}

/// What is left of an access of several requests.
#[derive(Clone, Copy)]
struct Rest {
    access: TraceAccess,
    /// The next byte, and whether the store of a modification has begun.
    address: u64,
    storing: bool,
}

/// The requests of a channel.
pub(crate) struct Feed {
    stream: Box<dyn AccessStream>,
    /// Accesses that were read; those before `at` are done.
    pub batch: Vec<TraceAccess>,
    /// The next of them.
    pub at: usize,
    /// Batches that were read.
    pub batches: u64,
    /// Requests to come at most, before the part begins again or all ends.
    pub left: u64,
    /// Requests beyond those.
    more: u64,
    requests: Option<u64>,
    part: Option<Range<u64>>,
    rest: Option<Rest>,
}

impl Feed {
    /// The beginning of a stream, or of a part of it.
    pub fn new(
        stream: Box<dyn AccessStream>,
        requests: Option<u64>,
        part: Option<Range<u64>>,
    ) -> Result<Feed, FastError> {
        let batch = Vec::with_capacity(BATCH);
        let mut feed =
            Feed { stream, batch, at: 0, batches: 0, left: 0, more: 0, requests, part, rest: None };
        feed.rewind()?;
        Ok(feed)
    }

    /// Begins anew.
    pub fn rewind(&mut self) -> Result<(), FastError> {
        self.more = self.requests.unwrap_or_else(|| self.length());
        self.begin()
    }

    /// Requests of the part.
    fn length(&self) -> u64 {
        self.part.as_ref().map_or(u64::MAX, |part| part.end - part.start)
    }

    /// Goes to where the part begins.
    fn begin(&mut self) -> Result<(), FastError> {
        self.stream.rewind()?;
        self.batch.clear();
        (self.at, self.rest) = (0, None);
        self.left = self.part.as_ref().map_or(0, |part| part.start);
        while self.left > 0 && self.take()?.is_some() {}
        self.left = self.more.min(self.length());
        self.more -= self.left;
        Ok(())
    }

    /// Whether the next request begins an access of the batch.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Sees to it that there is an access in the batch; false at the end.
    pub fn fill(&mut self) -> Result<bool, FastError> {
        if self.at < self.batch.len() {
            return Ok(true);
        }
        self.at = 0;
        self.batches += 1;
        self.stream.next_batch(&mut self.batch)?;
        if self.batch.is_empty() && self.requests.is_some() && self.part.is_none() {
            self.stream.rewind()?;
            self.stream.next_batch(&mut self.batch)?;
        }
        Ok(!self.batch.is_empty())
    }

    /// The next request, if there is one.
    #[inline]
    pub fn next(&mut self) -> Result<Option<Request>, FastError> {
        if self.left == 0 {
            if self.more == 0 {
                return Ok(None);
            }
            self.begin()?;
        }
        self.take()
    }

    /// The next request of the stream.
    fn take(&mut self) -> Result<Option<Request>, FastError> {
        let (rest, gap) = match self.rest.take() {
            Some(rest) => (rest, 0),
            None => {
                if !self.fill()? {
                    (self.left, self.more) = (0, 0);
                    return Ok(None);
                }
                let access = self.batch[self.at];
                self.at += 1;
                let storing = access.op == TraceOp::Write;
                (Rest { access, address: access.address, storing }, access.gap)
            }
        };
        self.left -= 1;
        let Rest { access, address, storing } = rest;
        let end = access.address + (u64::from(access.size).max(1) - 1);
        let last = end.min(address | (PAGE - 1));
        if last < end {
            self.rest = Some(Rest { address: last + 1, ..rest });
        } else if access.op == TraceOp::Modify && !storing {
            self.rest = Some(Rest { access, address: access.address, storing: true });
        }
        let need = if storing { need::WRITE } else { needs(access.op) };
        Ok(Some(Request { address, bytes: (last - address) as u32 + 1, need, gap }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(accesses: &[(TraceOp, u64, u32)], limit: Option<u64>) -> Vec<(u64, u32, u8)> {
        let accesses: Vec<TraceAccess> = accesses
            .iter()
            .map(|&(op, address, size)| TraceAccess { pasid: 0, op, address, size, gap: 0 })
            .collect();
        let mut feed = Feed::new(Box::new(Recorded::new("test", accesses)), limit, None).unwrap();
        std::iter::from_fn(|| feed.next().unwrap()).map(|r| (r.address, r.bytes, r.need)).collect()
    }

    #[test]
    fn accesses_are_cut_at_pages_and_modifications_are_two() {
        let all = requests(&[(TraceOp::Modify, 0xffe, 4), (TraceOp::Fetch, 0x10, 2)], None);
        let modify = [(0xffe, 2, 1), (0x1000, 2, 1), (0xffe, 2, 2), (0x1000, 2, 2)];
        assert_eq!(all[..4], modify);
        assert_eq!(all[4..], [(0x10, 2, 4)]);
    }

    #[test]
    fn the_parts_of_a_job_are_all_of_it() {
        let accesses: Vec<TraceAccess> = (0..7)
            .map(|i| TraceAccess { pasid: 0, op: TraceOp::Modify, address: i, size: 1, gap: 0 })
            .collect();
        let text = "work = { trace = \"none\" }\ndevice = 1\nchannels = 3\n";
        let job: Job = toml::from_str(text).unwrap();
        let open = || Ok(Box::new(Recorded::new("test", accesses.clone())) as Box<dyn AccessStream>);
        let all = |job: &Job| -> Vec<Vec<u64>> {
            let feed = |c: Channel| Feed::new(c.stream, c.requests, c.part).unwrap();
            let list =
                |mut feed: Feed| std::iter::from_fn(|| feed.next().unwrap()).map(|r| r.address).collect();
            Channel::of(job, open).unwrap().into_iter().map(feed).map(list).collect()
        };
        assert_eq!(all(&job), [vec![0, 0, 1, 1], vec![2, 2, 3, 3, 4], vec![4, 5, 5, 6, 6]]);
        let more = all(&Job { accesses: Some(16), ..job });
        assert_eq!(more, [vec![0, 0, 1, 1, 0, 0], vec![2, 2, 3, 3, 4], vec![4, 5, 5, 6, 6]]);
    }

    #[test]
    fn a_limit_repeats_or_cuts_off() {
        assert_eq!(requests(&[(TraceOp::Write, 8, 8)], Some(3)), [(8, 8, 2); 3]);
        assert_eq!(requests(&[(TraceOp::Read, 0, 3 << 12)], Some(2)), [(0, 4096, 1), (4096, 4096, 1)]);
        assert_eq!(requests(&[], Some(2)), []);
        assert_eq!(requests(&[(TraceOp::Read, u64::MAX, 1)], None), [(u64::MAX, 1, 1)]);
    }
}
