//! What walks read, counted by structure and level.

use pasidon_experiment::counts::Reads;

/// Reads of walks. They are kept by where walks begin and end, and added up in the end.
#[derive(Clone, Debug, Default)]
pub struct WalkReads {
    devices: u64,
    processes: u64,
    /// By the first and the last level of what was read of a page table.
    tables: [[u64; 5]; 5],
}

impl WalkReads {
    /// A device context was read.
    #[inline]
    pub fn device(&mut self) {
        self.devices += 1;
    }

    /// A process context was read.
    #[inline]
    pub fn process(&mut self) {
        self.processes += 1;
    }

    /// A page table was read from level `first` down to level `leaf`.
    #[inline]
    pub fn table(&mut self, first: u8, leaf: u8) {
        self.tables[usize::from(first)][usize::from(leaf)] += 1;
    }

    /// All of it. Device and process directories have so many levels.
    pub fn reads(&self, ddt_levels: usize, pdt_levels: usize) -> Reads {
        let mut reads = Reads::default();
        reads.ddt[..ddt_levels].fill(self.devices);
        reads.pdt[..pdt_levels].fill(self.processes);
        for (first, by_leaf) in self.tables.iter().enumerate() {
            for (leaf, count) in by_leaf.iter().enumerate().take(first + 1) {
                reads.first_stage[leaf..=first].iter_mut().for_each(|sum| *sum += count);
            }
        }
        reads
    }
}
