//! What a run counts.

/// A histogram of latencies in cycles, exact below [`EXACT`](Self::EXACT).
#[derive(Clone, Debug)]
pub struct Latency {
    counts: Vec<u64>,
    total: u64,
    min: u64,
    max: u64,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { counts: vec![0; Self::EXACT], total: 0, min: u64::MAX, max: 0 }
    }
}

impl Latency {
    /// Latencies from here on share a place; the maximum is kept exactly.
    pub const EXACT: usize = 1 << 14;

    /// Counts one.
    #[inline]
    pub fn record(&mut self, cycles: u64) {
        self.counts[(cycles as usize).min(Self::EXACT - 1)] += 1;
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
        let wanted = ((self.total as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (cycles, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return if cycles == Self::EXACT - 1 { self.max } else { cycles as u64 };
            }
        }
        self.max
    }

    /// (cycles, how many), for all that occurred.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.counts.iter().enumerate().filter(|(_, n)| **n > 0).map(|(cycles, n)| (cycles as u64, *n))
    }
}

/// Everything counted while the machine runs.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Clock cycles.
    pub cycles: u64,
    /// Translation requests that were answered.
    pub requests: u64,
    /// ... with a fault.
    pub faults: u64,
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
    }
}
