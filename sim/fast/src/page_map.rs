//! From page numbers to pages: blocks of 512 entries, in chunks of 1024 blocks (2 GiB of addresses), which are found by open
//! addressing. An entry has all that is needed to count.

use crate::cache::Id;

/// A page, as the map has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Its number; 0 if it was not set.
    pub id: Id,
    /// What it grants: bits of [`need`](crate::pages::need).
    pub grants: u8,
    /// log2 of its bytes.
    pub shift: u8,
    /// Which kind of walk leads to it.
    pub class: u8,
}

const BLOCK_BITS: u32 = 9;
const BLOCK: usize = 1 << BLOCK_BITS;
/// Blocks of a chunk.
const CHUNK_BITS: u32 = 10;
const CHUNK: usize = 1 << CHUNK_BITS;
const NO_CHUNK: u64 = u64::MAX;

/// The map of one address space.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// Chunk number and its index.
    index: Vec<(u64, u32)>,
    /// By chunk: its blocks; block 0 is empty for ever.
    chunks: Vec<[u32; CHUNK]>,
    blocks: Vec<[Place; BLOCK]>,
    last: (u64, u32),
}

impl Default for PageMap {
    fn default() -> PageMap {
        PageMap {
            index: vec![(NO_CHUNK, 0); 64],
            chunks: Vec::new(),
            blocks: vec![[Place::default(); BLOCK]],
            last: (NO_CHUNK, 0),
        }
    }
}

impl PageMap {
    fn slot(index: &[(u64, u32)], chunk: u64) -> usize {
        let mask = index.len() - 1;
        let mut at = (chunk.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while index[at].0 != chunk && index[at].0 != NO_CHUNK {
            at = (at + 1) & mask;
        }
        at
    }

    /// Which block of its chunk a page is in.
    #[inline]
    fn part(vpn: u64) -> usize {
        (vpn >> BLOCK_BITS) as usize & (CHUNK - 1)
    }

    /// The entry of the 4 KiB page `vpn`.
    #[inline(always)]
    pub fn get(&mut self, vpn: u64) -> Place {
        let chunk = vpn >> (BLOCK_BITS + CHUNK_BITS);
        if self.last.0 != chunk {
            let found = self.index[Self::slot(&self.index, chunk)];
            if found.0 != chunk {
                return Place::default();
            }
            self.last = found;
        }
        let block = self.chunks[self.last.1 as usize][Self::part(vpn)];
        self.blocks[block as usize][vpn as usize & (BLOCK - 1)]
    }

    /// Sets the entry of the 4 KiB page `vpn`.
    pub fn set(&mut self, vpn: u64, place: Place) {
        let chunk = vpn >> (BLOCK_BITS + CHUNK_BITS);
        let mut at = Self::slot(&self.index, chunk);
        if self.index[at].0 != chunk {
            if (self.chunks.len() + 1) * 2 > self.index.len() {
                let old = std::mem::take(&mut self.index);
                self.index = vec![(NO_CHUNK, 0); old.len() * 2];
                for entry in old.into_iter().filter(|entry| entry.0 != NO_CHUNK) {
                    let at = Self::slot(&self.index, entry.0);
                    self.index[at] = entry;
                }
                at = Self::slot(&self.index, chunk);
            }
            self.index[at] = (chunk, self.chunks.len() as u32);
            self.chunks.push([0; CHUNK]);
        }
        let block = &mut self.chunks[self.index[at].1 as usize][Self::part(vpn)];
        if *block == 0 {
            *block = self.blocks.len() as u32;
            self.blocks.push([Place::default(); BLOCK]);
        }
        self.blocks[*block as usize][vpn as usize & (BLOCK - 1)] = place;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_set_is_found() {
        let mut map = PageMap::default();
        let page = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12;
        for i in 1..2000u32 {
            assert_eq!(map.get(page(i.into())).id, 0);
            map.set(page(i.into()), Place { id: i, ..Place::default() });
        }
        (1..2000u32).for_each(|i| assert_eq!(map.get(page(i.into())).id, i));
    }
}
