//! Physical memory in blocks that are there once they are used, with a log of what the hardware wrote.

use super::{BusMemory, merge};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// log2 of the bytes of a block.
const BLOCK_SHIFT: u32 = 16;
const BLOCK_WORDS: usize = 1 << (BLOCK_SHIFT - 3);

/// Hash of block numbers and word addresses: one multiplication.
#[derive(Clone, Copy, Debug, Default)]
pub struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 32;
    }
}

/// A map whose keys are addresses or block numbers.
pub type AddressMap<T> = HashMap<u64, T, BuildHasherDefault<AddressHasher>>;

/// Where there is memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Everywhere below 2^width; it reads 0 until it is written.
    Everywhere {
        /// Bits of a physical address.
        width: u32,
    },
    /// In these ranges only, which are made of whole blocks of 64 KiB.
    Ranges(Vec<Range<u64>>),
}

/// Physical memory, in little-endian doublewords.
#[derive(Clone, Debug)]
pub struct Sparse {
    extent: Extent,
    index: AddressMap<u32>,
    blocks: Vec<Box<[u64; BLOCK_WORDS]>>,
    /// The block that was used last, and its index: most accesses are near the one before.
    last: (u64, u32),
    /// Doublewords that the hardware wrote since the log was last cleared.
    pub written: Vec<u64>,
}

const NO_BLOCK: (u64, u32) = (u64::MAX, 0);

impl Sparse {
    /// Memory full of zeroes.
    pub fn new(extent: Extent) -> Sparse {
        Sparse {
            extent,
            index: AddressMap::default(),
            blocks: Vec::new(),
            last: NO_BLOCK,
            written: Vec::new(),
        }
    }

    /// Back to zeroes everywhere; blocks that were in use are kept for the next use.
    pub fn clear(&mut self) {
        self.blocks.iter_mut().for_each(|block| block.fill(0));
        self.written.clear();
    }

    /// Whether there is memory at `address`.
    pub fn exists(&self, address: u64) -> bool {
        match &self.extent {
            Extent::Everywhere { width } => address.checked_shr(*width).unwrap_or(0) == 0,
            Extent::Ranges(ranges) => ranges.iter().any(|range| range.contains(&address)),
        }
    }

    #[inline]
    fn block(&mut self, address: u64) -> Option<&mut [u64; BLOCK_WORDS]> {
        let number = address >> BLOCK_SHIFT;
        if self.last.0 != number {
            let index = match self.index.get(&number) {
                Some(&index) => index,
                None if self.exists(address) => {
                    let index = self.blocks.len() as u32;
                    self.blocks.push(Box::new([0; BLOCK_WORDS]));
                    self.index.insert(number, index);
                    index
                }
                None => return None,
            };
            self.last = (number, index);
        }
        self.blocks.get_mut(self.last.1 as usize).map(|block| &mut **block)
    }

    /// The doubleword that holds `address`; `None` where there is no memory.
    #[inline]
    pub fn load(&mut self, address: u64) -> Option<u64> {
        let word = address as usize >> 3 & (BLOCK_WORDS - 1);
        self.block(address).map(|block| block[word])
    }

    /// Replaces the doubleword that holds `address`; false where there is no memory.
    #[inline]
    pub fn store(&mut self, address: u64, value: u64) -> bool {
        let word = address as usize >> 3 & (BLOCK_WORDS - 1);
        match self.block(address) {
            Some(block) => block[word] = value,
            None => return false,
        }
        true
    }

    /// Copies bytes out; false, and nothing copied beyond that point, where there is no memory.
    pub fn read_bytes(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = address.wrapping_add(i as u64);
            let Some(word) = self.load(at) else { return false };
            *byte = (word >> (8 * (at & 7))) as u8;
        }
        true
    }

    /// Copies bytes in; false, and nothing copied beyond that point, where there is no memory.
    pub fn write_bytes(&mut self, address: u64, bytes: &[u8]) -> bool {
        for (i, &byte) in bytes.iter().enumerate() {
            let at = address.wrapping_add(i as u64);
            let Some(word) = self.load(at) else { return false };
            let shift = 8 * (at & 7);
            self.store(at, word & !(0xff << shift) | u64::from(byte) << shift);
        }
        true
    }
}

impl BusMemory for Sparse {
    #[inline]
    fn load(&mut self, address: u64) -> Option<u64> {
        Sparse::load(self, address)
    }

    #[inline]
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        let Some(old) = Sparse::load(self, address) else { return false };
        self.store(address, merge(old, value, strobes));
        self.written.push(address & !7);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_where_it_was_said_to_be() {
        let mut memory =
            Sparse::new(Extent::Ranges(vec![0x10_0000..0x12_0000, 1 << 40..(1 << 40) + 0x1_0000]));
        assert_eq!(memory.load(0x10_0000), Some(0));
        assert_eq!((memory.load(0xf_fff8), memory.load(0x12_0000)), (None, None));
        assert!(memory.store(0x11_fff8, 5) && !memory.store(0, 5));
        assert!(memory.write(1 << 40, 0x1122_3344_5566_7788, 0xf0));
        assert_eq!((memory.load(1 << 40), memory.load(0x11_fff8)), (Some(0x1122_3344_0000_0000), Some(5)));
        assert_eq!(memory.written, [1 << 40]);
        let mut bytes = [0; 4];
        assert!(memory.write_bytes(0x10_0006, &[1, 2, 3, 4]) && memory.read_bytes(0x10_0006, &mut bytes));
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert_eq!(memory.load(0x10_0008), Some(0x0403));
        assert!(!memory.read_bytes(0x11_fffe, &mut bytes));
        memory.clear();
        assert_eq!(memory.load(0x11_fff8), Some(0));
        let mut open = Sparse::new(Extent::Everywhere { width: 40 });
        assert_eq!((open.load((1 << 40) - 8), open.load(1 << 40)), (Some(0), None));
    }
}
