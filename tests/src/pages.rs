//! Where a test gets pages of memory for its tables.

/// Pages of memory, handed out in an order in which neighbours are never neighbours.
#[derive(Clone, Debug)]
pub struct Pages {
    pub(crate) base: u64,
    pub(crate) count: u64,
    pub(crate) next: u64,
    pub(crate) contiguous: u64,
}

impl Pages {
    /// Pages of `bytes` of memory at `base`. The last quarter is for contiguous allocations.
    pub fn new(base: u64, bytes: u64) -> Pages {
        Pages { base, count: bytes / 4096 / 4 * 3, next: 0, contiguous: base + bytes }
    }

    /// All single pages are free again.
    pub fn reset(&mut self) {
        self.next = 0;
    }

    pub(crate) fn page(&mut self) -> u64 {
        assert!(self.next < self.count, "no page is left");
        self.next += 1;
        // 1021 is prime to the count, which is three times a power of two.
        self.base + (self.next * 1021 % self.count) * 4096
    }
}
