//! What was counted.

use super::Pipeline;
use pasidon_experiment::Counts;
use pasidon_experiment::counts::CacheCounts;

impl Pipeline<'_> {
    /// All of it.
    pub fn counts(&self) -> Counts {
        let mut l1 = CacheCounts::default();
        for port in &self.ports {
            l1.lookups += port.lookups;
            l1.hits += port.hits;
            l1.fills += port.l1.counts.fills;
            l1.evicted += port.l1.counts.evicted;
            l1.overlapped += port.l1.counts.overlapped;
        }
        let (ddt_levels, pdt_levels) = self.pages.tables.directory_levels();
        Counts {
            accesses: self.accesses,
            bytes: self.bytes,
            requests: self.accesses,
            faults: self.faults,
            l1,
            l2: self.l2.counts,
            ddtc: self.ddtc.counts,
            pdtc: self.pdtc.counts,
            merged: self.merged,
            walks: self.walks,
            reads: self.reads.reads(ddt_levels, pdt_levels),
            page_requests: 0,
        }
    }
}
