//! Accesses to memory that the IOMMU makes: address check and byte order. (Sections "Endianness of in-memory data structures" and
//! "IOMMU capabilities": the physical address space.)

use super::Memory;
use pasidon_spec::memory::MemoryFault;

/// The way from the IOMMU to memory: which addresses exist, and how the data structure at hand is stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Port {
    /// The address bits beyond the physical address space.
    pub outside: u64,
    /// Words are big-endian.
    pub big_endian: bool,
}

impl Port {
    /// Whether `address` lies beyond the physical address space.
    #[inline]
    pub fn beyond(self, address: u64) -> bool {
        address & self.outside != 0
    }

    #[inline(always)]
    fn order(self, bytes: u32, value: u64) -> u64 {
        match (self.big_endian, bytes) {
            (false, _) => value,
            (true, 4) => u64::from((value as u32).swap_bytes()),
            (true, _) => value.swap_bytes(),
        }
    }

    /// Reads 4 or 8 bytes.
    #[inline(always)]
    pub fn read(self, memory: &mut impl Memory, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        if self.beyond(address) {
            return Err(MemoryFault::Access);
        }
        Ok(self.order(bytes, memory.read(address, bytes)?))
    }

    /// Reads consecutive doublewords. An access fault of any of them outweighs corruption of another.
    #[inline(always)]
    pub fn read_words<const N: usize>(
        self,
        memory: &mut impl Memory,
        address: u64,
    ) -> Result<[u64; N], MemoryFault> {
        let mut words = [0; N];
        let mut corrupt = false;
        for (i, word) in words.iter_mut().enumerate() {
            match self.read(memory, address + 8 * i as u64, 8) {
                Ok(value) => *word = value,
                Err(MemoryFault::Corrupt) => corrupt = true,
                Err(MemoryFault::Access) => return Err(MemoryFault::Access),
            }
        }
        if corrupt { Err(MemoryFault::Corrupt) } else { Ok(words) }
    }

    /// Writes 4 or 8 bytes.
    pub fn write(
        self,
        memory: &mut impl Memory,
        address: u64,
        bytes: u32,
        value: u64,
    ) -> Result<(), MemoryFault> {
        if self.beyond(address) {
            return Err(MemoryFault::Access);
        }
        memory.write(address, bytes, self.order(bytes, value))
    }

    /// Writes consecutive doublewords; the first one that cannot be written ends it.
    pub fn write_words(
        self,
        memory: &mut impl Memory,
        address: u64,
        words: &[u64],
    ) -> Result<(), MemoryFault> {
        for (i, &word) in words.iter().enumerate() {
            self.write(memory, address + 8 * i as u64, 8, word)?;
        }
        Ok(())
    }

    /// Replaces 4 or 8 bytes if they are `old`; says whether they were.
    pub fn compare_exchange(
        self,
        memory: &mut impl Memory,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        if self.beyond(address) {
            return Err(MemoryFault::Access);
        }
        memory.compare_exchange(address, bytes, self.order(bytes, old), self.order(bytes, new))
    }
}
