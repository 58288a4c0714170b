//! What is in a trace, counted while it streams by.

use super::{TraceAccess, TraceOp};
use crate::pages::PageSet;
use std::collections::BTreeMap;

/// How many accesses of each kind a trace has, and what memory it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All accesses.
    pub total: u64,
    /// Loads.
    pub reads: u64,
    /// Stores.
    pub writes: u64,
    /// Load-and-store accesses.
    pub modifies: u64,
    /// Instruction fetches.
    pub fetches: u64,
    /// Bytes moved (a modify counts once).
    pub bytes: u64,
    /// Cycles of computing between accesses.
    pub gaps: u64,
    /// Distinct 4 KiB pages touched, per address space.
    pub pages: u64,
    /// Distinct address-space labels.
    pub spaces: u64,
}

/// Counts accesses. Bounds: memory goes with the pages that are touched, not with the accesses.
#[derive(Default)]
pub struct Tally {
    summary: Summary,
    pages: BTreeMap<u32, PageSet>,
}

impl Tally {
    /// Counts these too.
    pub fn add(&mut self, accesses: &[TraceAccess]) {
        let s = &mut self.summary;
        s.total += accesses.len() as u64;
        for part in accesses.chunk_by(|a, b| a.pasid == b.pasid) {
            let pages = self.pages.entry(part[0].pasid).or_default();
            for a in part {
                match a.op {
                    TraceOp::Read => s.reads += 1,
                    TraceOp::Write => s.writes += 1,
                    TraceOp::Modify => s.modifies += 1,
                    TraceOp::Fetch => s.fetches += 1,
                }
                s.bytes += u64::from(a.size);
                s.gaps += u64::from(a.gap);
                pages.add(a.address, a.size);
            }
        }
    }

    /// What was counted.
    pub fn summary(&self) -> Summary {
        let pages = self.pages.values().map(PageSet::len).sum();
        Summary { pages, spaces: self.pages.len() as u64, ..self.summary }
    }

    /// The pages of each label.
    pub fn pages(&self) -> &BTreeMap<u32, PageSet> {
        &self.pages
    }
}
