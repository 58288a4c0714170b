//! A queue in memory, as software sees it.

/// A queue as software sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue {
    /// Address of its first entry.
    pub base: u64,
    /// log2 of its entries.
    pub log2: u32,
    /// The index that software moves: the tail of the command queue, the head of the fault queue.
    pub index: u64,
}

impl Queue {
    /// Entries.
    pub fn entries(&self) -> u64 {
        1 << self.log2
    }

    pub(crate) fn after(&self, index: u64) -> u64 {
        (index + 1) & (self.entries() - 1)
    }
}
