//! Merge sort on an accelerator with a scratchpad.
//!
//! First runs that fit the scratchpad are read, sorted and written: one stream in, one out. Then, until one run is left, `ways` runs are
//! merged: a block of whichever run is used up is read, a block of output is written. Which run that is depends on the data:
//! random, evenly. So each pass reads and writes everything once, from `ways` places far apart and to one: with 2^20 numbers of 8
//! bytes, runs of 8192 and 4 ways: 1 + 4 passes over 8 MiB, half reads, half writes, 5 streams at a time.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::Random;

parameters! {
    /// Merge sort on an accelerator: runs in the scratchpad, then merges of several streams
    MergeSort "merge_sort" {
        /// Numbers to sort
        n = 1048576, Legal::From(1, 1 << 32);
        /// Numbers that the scratchpad sorts
        run = 8192, Legal::From(1, 16777216);
        /// Runs that are merged at a time
        ways = 4, Legal::From(2, 64);
        /// Numbers that are moved at a time in a merge
        block = 512, Legal::From(1, 65536);
        /// Bytes of a number
        element = 8, Legal::From(1, 64);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Comparisons of a cycle; 0: computing takes no time
        ops = 1, Legal::From(0, 1048576);
        /// Seed of the data
        seed = 1, Legal::From(0, u64::MAX);
    }
}

pub struct MergeSortSteps {
    p: MergeSort,
    random: Random,
    from: u64,
    to: u64,
    /// Length of the sorted runs; 0 before there are any.
    sorted: u64,
    /// Where output goes, or the first pass is.
    at: u64,
    /// What is left of each run of this merge: next number and end.
    runs: Vec<(u64, u64)>,
    /// Numbers read and not written.
    held: u64,
}

impl MergeSortSteps {
    pub fn new(p: &MergeSort) -> MergeSortSteps {
        let mut space = Space::new();
        let mut array = || space.array(p.n * p.element);
        let random = Random::new(p.seed);
        MergeSortSteps {
            p: p.clone(),
            random,
            from: array(),
            to: array(),
            sorted: 0,
            at: 0,
            runs: Vec::new(),
            held: 0,
        }
    }

    fn next_pass(&mut self) {
        self.sorted = if self.sorted == 0 { self.p.run } else { self.sorted * self.p.ways };
        self.at = 0;
        std::mem::swap(&mut self.from, &mut self.to);
    }

    fn read(&mut self, run: usize, out: &mut Out) {
        let (next, end) = self.runs[run];
        let count = self.p.block.min(end - next);
        out.read(self.from + next * self.p.element, count * self.p.element);
        self.runs[run].0 += count;
        self.held += count;
        if next + count == end {
            self.runs.swap_remove(run);
        }
    }

    /// A run by what is left of it, so that all end at about the same time.
    fn pick(&mut self) -> usize {
        let mut place = self.random.below(self.runs.iter().map(|(next, end)| end - next).sum());
        self.runs
            .iter()
            .position(|(next, end)| {
                let here = place < end - next;
                place = place.saturating_sub(end - next);
                here
            })
            .unwrap_or(0)
    }
}

impl Steps for MergeSortSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let (n, e) = (self.p.n, self.p.element);
        if self.at >= n {
            self.next_pass();
        }
        if self.sorted >= n {
            return false;
        }
        if self.sorted == 0 {
            let count = self.p.run.min(n - self.at);
            out.read(self.from + self.at * e, count * e);
            out.compute(count * u64::from(count.max(2).ilog2()), self.p.ops);
            out.write(self.to + self.at * e, count * e);
            self.at += count;
            return true;
        }
        if self.runs.is_empty() && self.held == 0 {
            let starts = (0..self.p.ways).map(|way| self.at + way * self.sorted).filter(|&start| start < n);
            self.runs = starts.map(|start| (start, (start + self.sorted).min(n))).collect();
            // Last first, since a run that ends takes its place from the last.
            (0..self.runs.len()).rev().for_each(|run| self.read(run, out));
        } else if !self.runs.is_empty() {
            let run = self.pick();
            self.read(run, out);
        }
        let count = self.p.block.min(self.held);
        out.compute(count * u64::from(self.p.ways.ilog2()), self.p.ops);
        out.write(self.to + self.at * e, count * e);
        (self.at, self.held) = (self.at + count, self.held - count);
        true
    }
}
