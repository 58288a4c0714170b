//! From page numbers to the numbers of pages: blocks of 512 entries, found by open addressing. A lookup in the block of the one before
//! touches nothing else.

use crate::cache::Id;

const BLOCK_BITS: u32 = 9;
const BLOCK: usize = 1 << BLOCK_BITS;
const NO_REGION: u64 = u64::MAX;

/// The map of one address space; 0 is an entry that was not set.
#[derive(Clone, Debug)]
pub struct PageMap {
    /// Region number and its block.
    index: Vec<(u64, u32)>,
    blocks: Vec<[Id; BLOCK]>,
    last: (u64, u32),
}

impl Default for PageMap {
    fn default() -> PageMap {
        PageMap { index: vec![(NO_REGION, 0); 64], blocks: Vec::new(), last: (NO_REGION, 0) }
    }
}

impl PageMap {
    #[inline]
    fn slot(index: &[(u64, u32)], region: u64) -> usize {
        let mask = index.len() - 1;
        let mut at = (region.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize & mask;
        while index[at].0 != region && index[at].0 != NO_REGION {
            at = (at + 1) & mask;
        }
        at
    }

    /// The entry of the 4 KiB page `vpn`.
    #[inline]
    pub fn get(&mut self, vpn: u64) -> Id {
        let region = vpn >> BLOCK_BITS;
        if self.last.0 != region {
            let found = self.index[Self::slot(&self.index, region)];
            if found.0 != region {
                return 0;
            }
            self.last = found;
        }
        self.blocks[self.last.1 as usize][vpn as usize & (BLOCK - 1)]
    }

    /// Sets the entry of the 4 KiB page `vpn`.
    pub fn set(&mut self, vpn: u64, id: Id) {
        let region = vpn >> BLOCK_BITS;
        let mut at = Self::slot(&self.index, region);
        if self.index[at].0 != region {
            if (self.blocks.len() + 1) * 2 > self.index.len() {
                let old = std::mem::take(&mut self.index);
                self.index = vec![(NO_REGION, 0); old.len() * 2];
                for entry in old.into_iter().filter(|entry| entry.0 != NO_REGION) {
                    let at = Self::slot(&self.index, entry.0);
                    self.index[at] = entry;
                }
                at = Self::slot(&self.index, region);
            }
            self.index[at] = (region, self.blocks.len() as u32);
            self.blocks.push([0; BLOCK]);
        }
        self.blocks[self.index[at].1 as usize][vpn as usize & (BLOCK - 1)] = id;
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
            assert_eq!(map.get(page(i.into())), 0);
            map.set(page(i.into()), i);
        }
        (1..2000u32).for_each(|i| assert_eq!(map.get(page(i.into())), i));
    }
}
