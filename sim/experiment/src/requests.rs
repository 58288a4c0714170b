//! Accesses as requests at a translation port: cut at 4 KiB, a modification as a load, then a store. The first of an access has its gap.
//!
//! Bounds: one batch of accesses, however long the stream is.

use crate::stream::{AccessStream, BATCH};
use crate::trace::{TraceAccess, TraceError, TraceOp};
use std::ops::Range;

const PAGE: u64 = 4096;

/// What a request needs, as bits.
pub mod need {
    /// Load.
    pub const READ: u8 = 1;
    /// Store.
    pub const WRITE: u8 = 2;
    /// Fetch.
    pub const EXEC: u8 = 4;
}

/// Requests into which an access is cut.
#[inline]
pub fn requests_of(access: &TraceAccess) -> u64 {
    let pages = (access.address % PAGE + u64::from(access.size).max(1) - 1) / PAGE + 1;
    pages << u8::from(access.op == TraceOp::Modify)
}

/// Which of so many requests part `number` of `parts` has.
pub fn part(length: u64, number: u64, parts: u64) -> Range<u64> {
    length * number / parts..length * (number + 1) / parts
}

/// How many of `wanted` requests number `number` of so many sharers sends: together they send just these.
pub fn share(wanted: u64, number: u64, sharers: u64) -> u64 {
    wanted / sharers + u64::from(number < wanted % sharers)
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
pub fn needs(op: TraceOp) -> u8 {
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

/// The requests of a stream, or of a part of it, repeated as needed.
pub struct Feed {
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
    /// The beginning of a stream, or of a part of it, in requests.
    ///
    /// # Errors
    /// A stream that can't be read, or, if it has parts, ends before they do.
    pub fn new(
        stream: Box<dyn AccessStream>,
        requests: Option<u64>,
        part: Option<Range<u64>>,
    ) -> Result<Feed, TraceError> {
        let batch = Vec::with_capacity(BATCH);
        let mut feed =
            Feed { stream, batch, at: 0, batches: 0, left: 0, more: 0, requests, part, rest: None };
        feed.rewind()?;
        Ok(feed)
    }

    /// Begins anew.
    ///
    /// # Errors
    /// As [`Feed::new`].
    pub fn rewind(&mut self) -> Result<(), TraceError> {
        self.more = self.requests.unwrap_or_else(|| self.length());
        self.begin()
    }

    /// Requests of the part.
    fn length(&self) -> u64 {
        self.part.as_ref().map_or(u64::MAX, |part| part.end - part.start)
    }

    /// Goes to where the part begins.
    fn begin(&mut self) -> Result<(), TraceError> {
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
    ///
    /// # Errors
    /// As [`Feed::new`].
    pub fn fill(&mut self) -> Result<bool, TraceError> {
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
    ///
    /// # Errors
    /// As [`Feed::new`].
    #[inline]
    pub fn next_request(&mut self) -> Result<Option<Request>, TraceError> {
        if self.left == 0 {
            if self.more == 0 {
                return Ok(None);
            }
            self.begin()?;
        }
        self.take()
    }

    /// The next request of the stream.
    #[inline]
    fn take(&mut self) -> Result<Option<Request>, TraceError> {
        let (rest, gap) = match self.rest.take() {
            Some(rest) => (rest, 0),
            None => {
                if !self.fill()? {
                    if self.part.is_some() {
                        return Err(TraceError::Shortened { file: self.stream.name().into() });
                    }
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
    use crate::stream::Recorded;

    fn requests(accesses: &[(TraceOp, u64, u32)], limit: Option<u64>) -> Vec<(u64, u32, u8)> {
        let accesses: Vec<TraceAccess> = accesses
            .iter()
            .map(|&(op, address, size)| TraceAccess { pasid: 0, op, address, size, gap: 0 })
            .collect();
        let mut feed = Feed::new(Box::new(Recorded::new("test", accesses)), limit, None).unwrap();
        std::iter::from_fn(|| feed.next_request().unwrap()).map(|r| (r.address, r.bytes, r.need)).collect()
    }

    #[test]
    fn accesses_are_cut_at_pages_and_modifications_are_two() {
        let all = requests(&[(TraceOp::Modify, 0xffe, 4), (TraceOp::Fetch, 0x10, 2)], None);
        let modify = [(0xffe, 2, 1), (0x1000, 2, 1), (0xffe, 2, 2), (0x1000, 2, 2)];
        assert_eq!(all[..4], modify);
        assert_eq!(all[4..], [(0x10, 2, 4)]);
    }

    #[test]
    fn the_first_of_an_access_has_its_gap_and_all_are_counted() {
        let access = |op, address, size, gap| TraceAccess { pasid: 0, op, address, size, gap };
        let list = [
            access(TraceOp::Modify, 0x1ffc, 8, 5),
            access(TraceOp::Write, 0x3000, 4, 0),
            access(TraceOp::Read, 1, 8192, 2),
        ];
        let counts: Vec<u64> = list.iter().map(requests_of).collect();
        let mut feed = Feed::new(Box::new(Recorded::new("test", list)), None, None).unwrap();
        let gaps: Vec<u32> = std::iter::from_fn(|| feed.next_request().unwrap()).map(|r| r.gap).collect();
        assert_eq!((gaps, counts), (vec![5, 0, 0, 0, 0, 2, 0, 0], vec![4, 1, 3]));
    }

    #[test]
    fn a_stream_that_ends_before_its_part_is_told() {
        let access = TraceAccess { pasid: 0, op: TraceOp::Read, address: 0, size: 1, gap: 0 };
        let stream = || Box::new(Recorded::new("short", [access; 3]));
        let mut feed = Feed::new(stream(), None, Some(1..4)).unwrap();
        assert!(feed.next_request().is_ok() && feed.next_request().is_ok());
        assert!(feed.next_request().unwrap_err().to_string().contains("short: it ended sooner"));
        assert!(Feed::new(stream(), None, Some(4..5)).is_err());
    }

    #[test]
    fn a_limit_repeats_or_cuts_off() {
        assert_eq!(requests(&[(TraceOp::Write, 8, 8)], Some(3)), [(8, 8, 2); 3]);
        assert_eq!(requests(&[(TraceOp::Read, 0, 3 << 12)], Some(2)), [(0, 4096, 1), (4096, 4096, 1)]);
        assert_eq!(requests(&[], Some(2)), []);
        assert_eq!(requests(&[(TraceOp::Read, u64::MAX, 1)], None), [(u64::MAX, 1, 1)]);
    }
}
