//! What a run counts.

use std::collections::BTreeMap;

/// A histogram of latencies in cycles. Those below [`DENSE`](Self::DENSE) are quick to count.
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Vec<u64>,
    long: BTreeMap<u64, u64>,
    total: u64,
    min: u64,
    max: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: vec![0; Self::DENSE], long: BTreeMap::new(), total: 0, min: u64::MAX, max: 0 }
    }
}

impl Latency {
    /// Latencies from here on are rare.
    pub const DENSE: usize = 1 << 12;

    /// Counts one.
    #[inline]
    pub fn record(&mut self, cycles: u64) {
        match self.counts.get_mut(cycles as usize) {
            Some(count) => *count += 1,
            None => *self.long.entry(cycles).or_default() += 1,
        }
        self.total += 1;
        self.min = self.min.min(cycles);
        self.max = self.max.max(cycles);
    }

    /// The smallest, or 0 if there is none.
    pub fn min(&self) -> u64 {
        if self.total == 0 { 0 } else { self.min }
    }

    /// The largest.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The smallest latency that `part` (0 to 1) of all do not exceed.
    pub fn quantile(&self, part: f64) -> u64 {
        // In whole millionths: a part such as 0.99 is a little more in binary, and would ask for one more.
        let millionths = u128::from((part * 1e6).round() as u64);
        let wanted = ((u128::from(self.total) * millionths).div_ceil(1_000_000) as u64).max(1);
        let mut seen = 0;
        for (cycles, count) in self.iter() {
            seen += count;
            if seen >= wanted {
                return cycles;
            }
        }
        self.max
    }

    /// (cycles, how many), for all that occurred, shortest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let short =
            self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(cycles, n)| (cycles as u64, *n));
        short.chain(self.long.iter().map(|(&cycles, &n)| (cycles, n)))
    }

    /// Adds what another histogram has counted.
    pub fn add(&mut self, other: &Latency) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        other.long.iter().for_each(|(&cycles, n)| *self.long.entry(cycles).or_default() += n);
        self.total += other.total;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }
}

/// Everything counted while the machine runs.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Clock cycles.
    pub cycles: u64,
    /// Accesses of devices that have come to an end.
    pub requests: u64,
    /// ... with a fault.
    pub faults: u64,
    /// Cycles of those accesses, each from its beginning to its end.
    pub access_cycles: u64,
    /// Bytes that were not what they should be.
    pub mismatches: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Responses that nobody had asked for.
    pub strays: u64,
    /// IOTLB lookups.
    pub lookups: u64,
    /// IOTLB hits.
    pub hits: u64,
    /// Walks begun.
    pub walks: u64,
    /// Fault records queued or dropped.
    pub fault_records: u64,
    /// Read bursts of the IOMMU (tables and queues).
    pub memory_reads: u64,
    /// Write bursts of the IOMMU (queues, fences).
    pub memory_writes: u64,
    /// Cycles from a request's first valid to its response's first valid.
    pub latency: Latency,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles() {
        let mut latency = Latency::default();
        assert_eq!((latency.min(), latency.quantile(0.5), latency.max()), (0, 0, 0));
        (1..=100).for_each(|n| latency.record(n));
        latency.record(1_000_000);
        assert_eq!((latency.min(), latency.quantile(0.5), latency.quantile(0.99)), (1, 51, 100));
        assert_eq!((latency.quantile(1.0), latency.max()), (1_000_000, 1_000_000));
        let mut sum = latency.clone();
        sum.add(&latency);
        assert_eq!((sum.quantile(0.5), sum.iter().map(|(_, n)| n).sum::<u64>()), (51, 202));
    }
}
