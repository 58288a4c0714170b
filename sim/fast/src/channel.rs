//! Who does what, as the engine takes it: a channel has a device, a process, a port, and a stream of accesses. The accesses are cut
//! into requests at 4 KiB; a modification is a load, then a store.

use crate::pages::need;
use pasidon_experiment::Job;
use pasidon_experiment::stream::{AccessStream, BATCH};
use pasidon_experiment::trace::{TraceAccess, TraceError, TraceOp};
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
    /// Requests, the stream repeated as needed; by default all of it once.
    pub requests: Option<u64>,
    /// What it does.
    pub stream: Box<dyn AccessStream>,
}

impl Channel {
    /// A channel of a job that does `stream`, all of it.
    pub fn of(job: &Job, stream: Box<dyn AccessStream>) -> Channel {
        let Job { process, device, port, depth, gap, .. } = *job;
        Channel {
            device,
            process,
            port: port.unwrap_or(device),
            depth: depth.max(1),
            gap,
            requests: None,
            stream,
        }
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
    /// Requests to come at most.
    pub left: u64,
    requests: Option<u64>,
    rest: Option<Rest>,
}

impl Feed {
    /// The beginning of a stream.
    pub fn new(stream: Box<dyn AccessStream>, requests: Option<u64>) -> Result<Feed, TraceError> {
        let batch = Vec::with_capacity(BATCH);
        let mut feed = Feed { stream, batch, at: 0, batches: 0, left: 0, requests, rest: None };
        feed.rewind()?;
        Ok(feed)
    }

    /// Begins anew.
    pub fn rewind(&mut self) -> Result<(), TraceError> {
        self.stream.rewind()?;
        self.batch.clear();
        (self.at, self.rest, self.left) = (0, None, self.requests.unwrap_or(u64::MAX));
        Ok(())
    }

    /// Whether the next request begins an access of the batch.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    /// Sees to it that there is an access in the batch; false at the end.
    pub fn fill(&mut self) -> Result<bool, TraceError> {
        if self.at < self.batch.len() {
            return Ok(true);
        }
        self.at = 0;
        self.batches += 1;
        self.stream.next_batch(&mut self.batch)?;
        if self.batch.is_empty() && self.requests.is_some() {
            self.stream.rewind()?;
            self.stream.next_batch(&mut self.batch)?;
        }
        Ok(!self.batch.is_empty())
    }

    /// The next request, if there is one.
    pub fn next(&mut self) -> Result<Option<Request>, TraceError> {
        if self.left == 0 {
            return Ok(None);
        }
        let (rest, gap) = match self.rest.take() {
            Some(rest) => (rest, 0),
            None => {
                if !self.fill()? {
                    self.left = 0;
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
        let mut feed = Feed::new(Box::new(Recorded::new("test", accesses)), limit).unwrap();
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
    fn a_limit_repeats_or_cuts_off() {
        assert_eq!(requests(&[(TraceOp::Write, 8, 8)], Some(3)), [(8, 8, 2); 3]);
        assert_eq!(requests(&[(TraceOp::Read, 0, 3 << 12)], Some(2)), [(0, 4096, 1), (4096, 4096, 1)]);
        assert_eq!(requests(&[], Some(2)), []);
        assert_eq!(requests(&[(TraceOp::Read, u64::MAX, 1)], None), [(u64::MAX, 1, 1)]);
    }
}
