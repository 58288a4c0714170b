//! What a workload is like: how much, how much of what, over which pages, how soon again.
//!
//! Bounds: memory goes with the pages that are touched, some 100 bytes each, not with the accesses.

pub mod picture;
mod reuse;

pub use reuse::Reuse;

use crate::stream::AccessStream;
use crate::trace::{Summary, Tally, TraceError};
use serde::Serialize;

/// Page sizes that are counted: binary logarithm and name.
pub const SIZES: [(u32, &str); 4] = [(12, "4 KiB"), (16, "64 KiB"), (21, "2 MiB"), (30, "1 GiB")];

/// A workload in numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Portrait {
    /// Accesses.
    pub accesses: u64,
    /// Of them writes; a modification counts as one.
    pub writes: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Cycles of computing between accesses.
    pub gaps: u64,
    /// Address spaces.
    pub spaces: u64,
    /// Pages that are touched, of 4 KiB, 64 KiB, 2 MiB, 1 GiB.
    pub pages: [u64; 4],
    /// Accesses to the 4 KiB page of the access before.
    pub same: u64,
    /// First accesses to a 4 KiB page.
    pub first: u64,
    /// Accesses to a page after `d` other pages, d >= 1, by the binary logarithm of d.
    pub reuse: Vec<u64>,
    /// There is more: counting stopped.
    pub cut: bool,
}

impl Portrait {
    /// Counts a stream, at most `limit` accesses of it.
    ///
    /// # Errors
    /// Of the stream.
    pub fn of(stream: &mut dyn AccessStream, limit: u64) -> Result<(Portrait, Tally), TraceError> {
        let (mut tally, mut reuse, mut batch) = (Tally::default(), Reuse::default(), Vec::new());
        let (mut left, mut cut) = (limit, false);
        loop {
            stream.next_batch(&mut batch)?;
            cut |= batch.len() as u64 > left;
            batch.truncate(left.min(batch.len() as u64) as usize);
            left -= batch.len() as u64;
            if batch.is_empty() {
                return Ok((Portrait::from(&tally, reuse, cut), tally));
            }
            tally.add(&batch);
            for access in &batch {
                let last = access.address + u64::from(access.size) - 1;
                (access.address >> 12..=last >> 12).for_each(|page| reuse.touch(access.pasid, page));
            }
        }
    }

    fn from(tally: &Tally, reuse: Reuse, cut: bool) -> Portrait {
        let Summary { total, writes, modifies, bytes, gaps, spaces, .. } = tally.summary();
        let pages = SIZES.map(|(shift, _)| tally.pages().values().map(|set| set.count(shift)).sum());
        let (same, first, reuse) = (reuse.same, reuse.first, reuse.after);
        Portrait {
            accesses: total,
            writes: writes + modifies,
            bytes,
            gaps,
            spaces,
            pages,
            same,
            first,
            reuse,
            cut,
        }
    }

    /// Percent of the touches of pages that a cache of so many 4 KiB pages has, if it replaces the page that was used longest ago.
    pub fn hits_with(&self, pages: u64) -> f64 {
        let all = self.same + self.first + self.reuse.iter().sum::<u64>();
        // After d others a page is still there if d < pages: whole buckets of d up to 2^(i + 1) - 1.
        let there = self.reuse.iter().enumerate().filter(|(i, _)| 1u64 << (i + 1) <= pages).map(|(_, n)| n);
        100.0 * (self.same + there.sum::<u64>()) as f64 / all.max(1) as f64
    }
}
