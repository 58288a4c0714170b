//! Memory with failures by address.

use super::{BusMemory, Extent, Sparse};
use pasidon_spec::memory::Failure;
use std::ops::{Deref, DerefMut, Range};

/// Any memory, and which accesses to it fail. Software's accesses, through `Deref`, never do.
#[derive(Clone, Debug, Default)]
pub struct Faulty<M> {
    memory: M,
    failures: Vec<(Range<u64>, Failure)>,
}

impl<M> Faulty<M> {
    /// Memory without failures.
    pub fn new(memory: M) -> Faulty<M> {
        Faulty { memory, failures: Vec::new() }
    }

    /// Makes accesses of the hardware to doublewords that `range` touches fail from now on. Addresses are those of bytes.
    pub fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.failures.push((range, failure));
    }

    /// Ends all injected failures.
    pub fn heal(&mut self) {
        self.failures.clear();
    }

    /// The injected failures.
    pub fn failures(&self) -> &[(Range<u64>, Failure)] {
        &self.failures
    }
}

impl Faulty<Sparse> {
    /// Sparse memory full of zeroes, without failures.
    pub fn sparse(extent: Extent) -> Faulty<Sparse> {
        Faulty::new(Sparse::new(extent))
    }

    /// Back to zeroes everywhere, without failures.
    pub fn clear(&mut self) {
        self.memory.clear();
        self.heal();
    }
}

impl<M> Deref for Faulty<M> {
    type Target = M;

    fn deref(&self) -> &M {
        &self.memory
    }
}

impl<M> DerefMut for Faulty<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.memory
    }
}

impl<M: BusMemory> BusMemory for Faulty<M> {
    #[inline]
    fn load(&mut self, address: u64) -> Option<u64> {
        self.memory.load(address)
    }

    #[inline]
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        self.memory.write(address, value, strobes)
    }

    #[inline]
    fn exchange(&mut self, address: u64, seen: u64, value: u64, strobes: u8) -> Option<bool> {
        self.memory.exchange(address, seen, value, strobes)
    }

    #[inline]
    fn due(&mut self, now: u64, address: u64, bytes: u64) -> Option<u64> {
        self.memory.due(now, address, bytes)
    }

    #[inline]
    fn fails(&self, address: u64, failure: Failure) -> bool {
        let first = address & !7;
        !self.failures.is_empty()
            && self
                .failures
                .iter()
                .any(|(range, kind)| *kind == failure && range.start <= first | 7 && first < range.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_hold_for_whole_doublewords() {
        let mut memory = Faulty::new(Sparse::new(Extent::Everywhere { width: 64 }));
        memory.inject(0x1004..0x1008, Failure::Read);
        assert!(memory.fails(0x1000, Failure::Read) && !memory.fails(0x1008, Failure::Read));
        assert!(!memory.fails(0x1000, Failure::Write));
        memory.inject(0x1008..0x1009, Failure::Write);
        assert!(memory.fails(0x100c, Failure::Write) && !memory.fails(0x1010, Failure::Write));
        memory.heal();
        assert!(!memory.fails(0x1000, Failure::Read));
        memory.inject(u64::MAX - 7..u64::MAX, Failure::Read);
        assert!(memory.fails(u64::MAX - 7, Failure::Read));
    }
}
