//! The radix tree that device and process directories have in common, and the order of writes that changes an
//! entry while the IOMMU may be reading it.

use crate::hardware::{Hardware, Region};
use alloc::{sync::Arc, vec::Vec};
use pasidon_spec::field::{Field, Level};

/// How one kind of directory is laid out.
#[derive(Clone, Copy)]
pub(crate) struct Layout {
    /// The slices of the index, the leaf level's first; as many as the directory has levels.
    pub(crate) levels: &'static [Level],
    /// Bytes of a leaf entry (a context).
    pub(crate) leaf_bytes: u64,
    /// Bytes of a non-leaf entry.
    pub(crate) node_bytes: u64,
    /// The valid bit of a non-leaf entry.
    pub(crate) valid: Field,
    /// The page number of the next table in a non-leaf entry.
    pub(crate) ppn: Field,
}

/// A directory in memory. Tables are added as entries need them, and all returned when it is dropped, which
/// its owner does only when the IOMMU has confirmed that it no longer uses them.
pub(crate) struct Directory {
    hardware: Arc<Hardware>,
    layout: Layout,
    root: Region,
    tables: Vec<Region>,
}

/// There is no memory for another table.
#[derive(Debug)]
pub(crate) struct OutOfMemory;

impl Directory {
    pub(crate) fn new(hardware: &Arc<Hardware>, layout: Layout) -> Result<Self, OutOfMemory> {
        let root = hardware.alloc_zeroed(crate::hardware::PAGE).ok_or(OutOfMemory)?;
        Ok(Self { hardware: hardware.clone(), layout, root, tables: Vec::new() })
    }

    pub(crate) fn root_ppn(&self) -> u64 {
        self.root.ppn()
    }

    /// The address of the context with this index, which fits the directory. Tables on the way are added;
    /// that needs no invalidation, as entries that are not valid are never cached (section "Caching invalid
    /// entries").
    pub(crate) fn slot(&mut self, index: u32) -> Result<u64, OutOfMemory> {
        let index = u64::from(index);
        let mut table = self.root.paddr();
        for level in self.layout.levels.iter().skip(1).rev() {
            let address = table + level.of(index) * self.layout.node_bytes;
            let entry = self.hardware.platform.load64(address);
            table = if self.layout.valid.is_set(entry) {
                self.layout.ppn.get(entry) * crate::hardware::PAGE as u64
            } else {
                self.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
                let next = self.hardware.alloc_zeroed(crate::hardware::PAGE).ok_or(OutOfMemory)?;
                // The IOMMU must not find the pointer before it finds the zeros behind it.
                self.hardware.platform.fence();
                let entry = self.layout.valid.of(1) | self.layout.ppn.of(next.ppn());
                self.hardware.platform.store64(address, entry);
                let paddr = next.paddr();
                self.tables.push(next);
                paddr
            };
        }
        let leaf = self.layout.levels[0];
        Ok(table + leaf.of(index) * self.layout.leaf_bytes)
    }

    /// Never returns the tables: the IOMMU did not confirm that it let go of them.
    pub(crate) fn leak(mut self) {
        self.tables.drain(..).for_each(Region::leak);
        self.root.leak();
    }
}

/// Writes a context so that the IOMMU, which reads its doublewords in any order, never acts on a mixture of
/// old and new: the valid bit goes first and comes last.
///
/// `valid` is in the first doubleword of `words`. Cached copies of the old contents are the caller's concern.
pub(crate) fn write_context(hardware: &Hardware, paddr: u64, valid: Field, words: &[u64]) {
    invalidate_context(hardware, paddr, valid);
    for (offset, &word) in (0..).step_by(8).zip(words).skip(1) {
        hardware.platform.store64(paddr + offset, word);
    }
    hardware.platform.fence();
    hardware.platform.store64(paddr, words[0]);
    hardware.platform.fence();
}

/// Clears a context's valid bit.
pub(crate) fn invalidate_context(hardware: &Hardware, paddr: u64, valid: Field) {
    let first = hardware.platform.load64(paddr);
    if valid.is_set(first) {
        hardware.platform.store64(paddr, valid.set(first, 0));
        hardware.platform.fence();
    }
}
