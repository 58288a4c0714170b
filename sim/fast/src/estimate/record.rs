//! Where the time of accesses went.

use pasidon_experiment::answer::{Breakdown, LatencySummary};
use std::collections::BTreeMap;

/// Latencies below this are counted quickly, and told one by one.
const EXACT: u64 = 4096;

/// How many translations took how long.
#[derive(Clone, Debug)]
pub struct Latencies {
    counts: Vec<u64>,
    /// Those that are not below [`EXACT`]; they are rare.
    long: BTreeMap<u64, u64>,
    min: u64,
    max: u64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> Latencies {
        Latencies { counts: vec![0; EXACT as usize], long: BTreeMap::new(), min: u64::MAX, max: 0 }
    }

    /// One more.
    #[inline]
    pub fn add(&mut self, cycles: u64) {
        match self.counts.get_mut(cycles as usize) {
            Some(count) => *count += 1,
            None => *self.long.entry(cycles).or_default() += 1,
        }
        self.min = self.min.min(cycles);
        self.max = self.max.max(cycles);
    }

    /// (cycles, how many), shortest first.
    fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let short = (0..).zip(self.counts.iter().copied()).filter(|(_, count)| *count > 0);
        short.chain(self.long.iter().map(|(&cycles, &count)| (cycles, count)))
    }

    /// All of them.
    pub fn summary(&self) -> LatencySummary {
        let total: u64 = self.iter().map(|(_, count)| count).sum();
        if total == 0 {
            return LatencySummary::default();
        }
        let quantile = |part: u64| {
            let mut left = (total * part).div_ceil(100).max(1);
            let found = self.iter().find(|(_, count)| {
                let here = *count >= left;
                left = left.saturating_sub(*count);
                here
            });
            found.map_or(self.max, |(cycles, _)| cycles)
        };
        LatencySummary {
            min: self.min,
            p50: quantile(50),
            p99: quantile(99),
            max: self.max,
            histogram: LatencySummary::steps(self.iter()),
        }
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
    /// Its walk was done, or, if it waited for that of another, its completion was delivered; 0 if L1 answered it.
    pub settled: u64,
}

impl Stamps {
    /// Adds the access, which ends in cycle `end`, to a breakdown.
    #[inline]
    pub fn add_to(&self, sum: &mut Breakdown, end: u64) {
        sum.port += self.accepted - self.offered;
        sum.data += end - self.answered;
        let inside = self.answered - self.accepted;
        // The cycle before the lookup, and after a miss the way back.
        let l1 = if self.settled == 0 { inside } else { self.answered - self.settled };
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
    fn quantiles_are_exact_and_the_histogram_has_steps() {
        let mut latencies = Latencies::new();
        [2, 2, 2, 50].into_iter().for_each(|cycles| latencies.add(cycles));
        let summary = latencies.summary();
        assert_eq!((summary.min, summary.p50, summary.p99, summary.max), (2, 2, 50, 50));
        assert_eq!(summary.histogram, [(2, 3), (50, 1)]);
        [4351, 4352].into_iter().for_each(|cycles| latencies.add(cycles));
        let summary = latencies.summary();
        assert_eq!((summary.p99, summary.max), (4352, 4352));
        assert_eq!(summary.histogram, [(2, 3), (50, 1), (4096, 1), (4352, 1)]);
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
            settled: 56,
        };
        let mut sum = Breakdown::default();
        stamps.add_to(&mut sum, 100);
        assert_eq!((sum.port, sum.l1, sum.l2, sum.data), (3, 4, 1, 40));
        assert_eq!((sum.table_memory, sum.walker, sum.miss_table), (20, 5, 17));
        assert_eq!(sum.total(), 90);
    }
}
