//! Where the time of accesses went.

use pasidon_experiment::answer::{Breakdown, LatencySummary};

/// Latencies are exact below this.
const EXACT: usize = 4096;
/// Steps of each doubling above.
const STEPS: u64 = 16;

/// How many translations took how long.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    min: u64,
    max: u64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        Latencies { counts: vec![0; EXACT], min: u64::MAX, max: 0 }
    }

    fn bucket(cycles: u64) -> usize {
        if cycles < EXACT as u64 {
            return cycles as usize;
        }
        let doubling = u64::from(cycles.ilog2() - EXACT.ilog2());
        let step = (cycles >> (doubling + 8)) - STEPS;
        EXACT + (doubling * STEPS + step) as usize
    }

    /// The shortest latency of a bucket.
    fn floor(bucket: usize) -> u64 {
        if bucket < EXACT {
            return bucket as u64;
        }
        let (doubling, step) = ((bucket - EXACT) as u64 / STEPS, (bucket - EXACT) as u64 % STEPS);
        (STEPS + step) << (doubling + 8)
    }

    /// One more.
    #[inline]
    pub fn add(&mut self, cycles: u64) {
        let bucket = Self::bucket(cycles);
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.min = self.min.min(cycles);
        self.max = self.max.max(cycles);
    }

    /// All of them.
    pub fn summary(&self) -> LatencySummary {
        let total: u64 = self.counts.iter().sum();
        if total == 0 {
            return LatencySummary::default();
        }
        let quantile = |part: u64| {
            let mut left = (total * part).div_ceil(100).max(1);
            for (bucket, &count) in self.counts.iter().enumerate() {
                if count >= left {
                    return Self::floor(bucket);
                }
                left -= count;
            }
            self.max
        };
        let there = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let histogram = there.map(|(bucket, &count)| (Self::floor(bucket), count)).collect();
        LatencySummary { min: self.min, p50: quantile(50), p99: quantile(99), max: self.max, histogram }
    }
}

/// The times of one access, in cycles of the run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    /// It was first valid at the port.
    pub offered: u64,
    /// The port took it.
    pub accepted: u64,
    /// Its response was taken.
    pub answered: u64,
    /// Cycles in L2, in a walker and waiting for memory, of its own walk or the one that it waited for.
    pub l2: u32,
    /// See above.
    pub walker: u32,
    /// See above.
    pub table_memory: u32,
    /// L1 did not answer it.
    pub missed: bool,
}

impl Stamps {
    /// Adds the access, which ends in cycle `end`, to a breakdown.
    #[inline]
    pub fn add_to(&self, sum: &mut Breakdown, end: u64) {
        sum.port += self.accepted - self.offered;
        sum.data += end - self.answered;
        let inside = self.answered - self.accepted;
        // The lookup, and after a miss the miss buffer and the response.
        let l1 = if self.missed { inside.min(4) } else { inside };
        sum.l1 += l1;
        let mut rest = inside - l1;
        let parts = [
            (&mut sum.l2, self.l2),
            (&mut sum.table_memory, self.table_memory),
            (&mut sum.walker, self.walker),
        ];
        for (part, cycles) in parts {
            let cycles = u64::from(cycles).min(rest);
            *part += cycles;
            rest -= cycles;
        }
        sum.miss_table += rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_begin_at_their_floor() {
        for cycles in [0, 1, 4095, 4096, 4351, 4352, 8191, 8192, 1 << 20, (1 << 30) + 12345] {
            let floor = Latencies::floor(Latencies::bucket(cycles));
            assert!(floor <= cycles && cycles - floor <= cycles / 16, "{cycles} in {floor}");
            assert_eq!(Latencies::bucket(floor), Latencies::bucket(cycles));
        }
        let mut latencies = Latencies::new();
        [2, 2, 2, 50].into_iter().for_each(|cycles| latencies.add(cycles));
        let summary = latencies.summary();
        assert_eq!((summary.min, summary.p50, summary.p99, summary.max), (2, 2, 50, 50));
        assert_eq!(summary.histogram, [(2, 3), (50, 1)]);
    }

    #[test]
    fn each_cycle_is_in_one_part() {
        let stamps = Stamps {
            offered: 10,
            accepted: 13,
            answered: 60,
            l2: 1,
            walker: 5,
            table_memory: 20,
            missed: true,
        };
        let mut sum = Breakdown::default();
        stamps.add_to(&mut sum, 100);
        assert_eq!((sum.port, sum.l1, sum.l2, sum.data), (3, 4, 1, 40));
        assert_eq!((sum.table_memory, sum.walker, sum.miss_table), (20, 5, 17));
        assert_eq!(sum.total(), 90);
    }
}
