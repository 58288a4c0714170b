//! One range of physical memory, as bytes. What is never touched costs nothing, however large the range is.

use super::{BusMemory, merge};
use memmap2::{MmapMut, MmapOptions};

/// Bytes from `base` on.
#[derive(Debug)]
pub struct Flat {
    base: u64,
    bytes: Option<MmapMut>,
}

impl Flat {
    /// So many bytes of zeroes from `base` on; whole doublewords. None at all, as [`len`](Self::len) then says, if the operating system
    /// does not have as many addresses.
    pub fn new(base: u64, bytes: u64) -> Flat {
        let bytes = usize::try_from(bytes.next_multiple_of(8)).ok();
        let map = |bytes| MmapOptions::new().len(bytes).no_reserve_swap().map_anon().ok();
        Flat { base: base & !7, bytes: bytes.filter(|&bytes| bytes > 0).and_then(map) }
    }

    /// Lowest address of memory.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Bytes of memory.
    pub fn len(&self) -> u64 {
        self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
    }

    /// Whether there is no memory at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_none()
    }

    /// The bytes at `address`; `None` where there is no memory.
    #[inline]
    pub fn slice(&self, address: u64, length: usize) -> Option<&[u8]> {
        let offset = usize::try_from(address.checked_sub(self.base)?).ok()?;
        self.bytes.as_ref()?.get(offset..offset.checked_add(length)?)
    }

    /// The bytes at `address`, to change.
    #[inline]
    pub fn slice_mut(&mut self, address: u64, length: usize) -> Option<&mut [u8]> {
        let offset = usize::try_from(address.checked_sub(self.base)?).ok()?;
        self.bytes.as_mut()?.get_mut(offset..offset.checked_add(length)?)
    }

    /// The little-endian doubleword at `address`, which need not be aligned; `None` where there is no memory.
    #[inline]
    pub fn load(&self, address: u64) -> Option<u64> {
        let bytes = self.slice(address, 8)?;
        bytes.try_into().ok().map(u64::from_le_bytes)
    }

    /// Writes the little-endian doubleword at `address`, which need not be aligned; false where there is no memory.
    #[inline]
    pub fn store(&mut self, address: u64, value: u64) -> bool {
        let Some(bytes) = self.slice_mut(address, 8) else { return false };
        bytes.copy_from_slice(&value.to_le_bytes());
        true
    }
}

impl BusMemory for Flat {
    #[inline]
    fn load(&mut self, address: u64) -> Option<u64> {
        Flat::load(self, address & !7)
    }

    #[inline]
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        let address = address & !7;
        let Some(old) = Flat::load(self, address) else { return false };
        self.store(address, merge(old, value, strobes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_ends_where_it_was_said_to() {
        let mut memory = Flat::new(1 << 31, 4096);
        assert!(memory.write((1 << 31) + 5, 0x1122_3344_5566_7788, 0xf0));
        assert_eq!(memory.load(1 << 31), Some(0x1122_3344_0000_0000));
        assert_eq!(BusMemory::load(&mut memory, (1 << 31) + 7), Some(0x1122_3344_0000_0000));
        for none in [0, (1 << 31) - 8, (1 << 31) + 4096, u64::MAX - 3, u64::MAX] {
            assert_eq!(
                (memory.load(none), memory.store(none, 1), memory.write(none, 1, 0xff)),
                (None, false, false)
            );
        }
        assert_eq!(memory.exchange(1 << 31, 0, 1, 0xff), Some(false));
        assert_eq!(memory.exchange(1 << 31, 0x1122_3344_0000_0000, 1, 0x0f), Some(true));
        assert_eq!(memory.load(1 << 31), Some(0x1122_3344_0000_0001));
        assert_eq!(memory.exchange(0, 0, 1, 0xff), None);
    }
}
