//! Memory that holds tables: pages of 4 KiB, handed out in order from a base address, and what each is for. The golden model reads
//! them, and what it reads is noted.

use pasidon_golden::Memory;
use pasidon_spec::memory::MemoryFault;

/// Bytes of a page of tables.
pub const PAGE: u64 = 4096;
const WORDS: usize = 512;

/// What a page of tables is for. Levels are counted as the specification does: 0 is the leaf level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// Device directory; at level 0 device contexts.
    Ddt(u8),
    /// Process directory; at level 0 process contexts.
    Pdt(u8),
    /// First-stage page table.
    FirstStage(u8),
}

/// Tables.
#[derive(Clone, Debug, Default)]
pub struct TableMemory {
    base: u64,
    words: Vec<u64>,
    pages: Vec<Structure>,
    /// Addresses that were read since this was last cleared, in order.
    pub reads: Vec<u64>,
}

impl TableMemory {
    /// No pages yet; the first will be at `base`.
    pub fn new(base: u64) -> TableMemory {
        TableMemory { base, ..TableMemory::default() }
    }

    /// A fresh page of zeroes; its address.
    pub fn page(&mut self, structure: Structure) -> u64 {
        let address = self.end();
        self.words.resize(self.words.len() + WORDS, 0);
        self.pages.push(structure);
        address
    }

    /// The address after the last page.
    pub fn end(&self) -> u64 {
        self.base + self.words.len() as u64 * 8
    }

    /// What the page of this address is for.
    pub fn structure(&self, address: u64) -> Option<Structure> {
        self.pages.get((address.checked_sub(self.base)? / PAGE) as usize).copied()
    }

    /// The doubleword at `address`; 0 where there are no tables.
    pub fn load(&self, address: u64) -> u64 {
        self.index(address).map_or(0, |index| self.words[index])
    }

    /// Writes the doubleword at `address`, which is in a page of tables.
    pub fn store(&mut self, address: u64, value: u64) {
        if let Some(index) = self.index(address) {
            self.words[index] = value;
        }
    }

    /// All doublewords that are not 0, with their addresses.
    pub fn image(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let place = |(i, &word): (usize, &u64)| (word != 0).then_some((self.base + 8 * i as u64, word));
        self.words.iter().enumerate().filter_map(place)
    }

    fn index(&self, address: u64) -> Option<usize> {
        let index = (address.checked_sub(self.base)? / 8) as usize;
        (index < self.words.len()).then_some(index)
    }
}

impl Memory for TableMemory {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        let index = self.index(address).ok_or(MemoryFault::Access)?;
        self.reads.push(address);
        let word = self.words[index];
        Ok(if bytes == 8 { word } else { word >> (8 * (address & 4)) & 0xffff_ffff })
    }

    fn write(&mut self, _: u64, _: u32, _: u64) -> Result<(), MemoryFault> {
        // A and D are set in all entries, and there is no fault queue: nothing writes.
        Err(MemoryFault::Access)
    }
}
