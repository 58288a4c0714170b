//! What an engine counts in a run. Every engine counts by these definitions, so that two can be compared field by field.
//!
//! All counts begin when the devices begin, after boot and bind, and end with the last access.

use serde::{Deserialize, Serialize};

/// Counts of one cache, or the sum over caches of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CacheCounts {
    /// Times that it was asked.
    pub lookups: u64,
    /// ... and answered.
    pub hits: u64,
    /// Entries written.
    pub fills: u64,
    /// Valid entries that a fill replaced because there was no empty one.
    pub evicted: u64,
    /// Valid entries that a fill cleared because it overlaps them.
    pub overlapped: u64,
    /// Valid entries that an invalidation cleared.
    pub invalidated: u64,
}

impl CacheCounts {
    /// Hits of all lookups, 0 to 1; 0 if there was none.
    pub fn hit_rate(&self) -> f64 {
        if self.lookups == 0 { 0.0 } else { self.hits as f64 / self.lookups as f64 }
    }
}

/// Reads of memory by the IOMMU, in bursts, by what was read. A level is counted as the specification does: 0 is the leaf
/// level of the structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reads {
    /// Device directory: entries of level 2 and 1, and device contexts at 0.
    pub ddt: [u64; 3],
    /// Process directory: entries of level 2 and 1, and process contexts at 0.
    pub pdt: [u64; 3],
    /// First-stage page table, by level: 0 is where 4 KiB pages have their entries.
    pub first_stage: [u64; 5],
    /// Second-stage page table, by level.
    pub second_stage: [u64; 5],
    /// Everything else: MSI page tables, queues.
    pub other: u64,
}

impl Reads {
    /// All of them.
    pub fn total(&self) -> u64 {
        let levels = self.ddt.iter().chain(&self.pdt).chain(&self.first_stage).chain(&self.second_stage);
        levels.sum::<u64>() + self.other
    }
}

/// Everything that is counted in events. Times are in the engine's own report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Accesses of the workload, each within a page, read and write of a modification counted as two.
    pub accesses: u64,
    /// Bytes that they moved.
    pub bytes: u64,
    /// Requests at the translation ports, of every kind: untranslated, translated, translation requests.
    pub requests: u64,
    /// Accesses that faulted.
    pub faults: u64,
    /// The L1 TLBs of all ports.
    pub l1: CacheCounts,
    /// The L2 TLB; zero if the design has none.
    pub l2: CacheCounts,
    /// Cached device contexts.
    pub ddtc: CacheCounts,
    /// Cached process contexts.
    pub pdtc: CacheCounts,
    /// L1 misses that waited for the walk of another request instead of having one.
    pub merged: u64,
    /// Walks begun.
    pub walks: u64,
    /// Reads of memory by the IOMMU.
    pub reads: Reads,
    /// Page requests sent by devices.
    pub page_requests: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_rates() {
        let reads = Reads { ddt: [1, 2, 3], first_stage: [4, 0, 0, 0, 5], other: 6, ..Reads::default() };
        assert_eq!(reads.total(), 21);
        assert_eq!(CacheCounts::default().hit_rate(), 0.0);
        assert_eq!(CacheCounts { lookups: 4, hits: 3, ..CacheCounts::default() }.hit_rate(), 0.75);
    }
}
