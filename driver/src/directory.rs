//! The radix tree that device and process directories have in common, and the order of writes that changes an
//! entry while the IOMMU may be reading it.

use crate::{
    hardware::{Hardware, Region},
    shared::{OutOfMemory, Shared},
};
use alloc::vec::Vec;
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
    hardware: Shared<Hardware>,
    layout: Layout,
    /// The root comes first.
    tables: Vec<Table>,
}

/// One table, and what the driver wrote to it. Entries are never read back: whatever becomes of them in memory, the
/// driver writes only to tables of its own.
struct Table {
    memory: Region,
    /// Position in the table, and number of the table there, in order of position.
    next: Vec<(u64, usize)>,
}

impl Directory {
    pub(crate) fn new(hardware: &Shared<Hardware>, layout: Layout) -> Result<Self, OutOfMemory> {
        let root = Hardware::alloc_zeroed(hardware, crate::hardware::PAGE).ok_or(OutOfMemory)?;
        Self::with_root(hardware, layout, root)
    }

    /// The same, with a root page that is there and empty.
    pub(crate) fn with_root(
        hardware: &Shared<Hardware>,
        layout: Layout,
        root: Region,
    ) -> Result<Self, OutOfMemory> {
        let mut tables = Vec::new();
        tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        tables.push(Table { memory: root, next: Vec::new() });
        Ok(Self { hardware: hardware.clone(), layout, tables })
    }

    pub(crate) fn root_ppn(&self) -> u64 {
        self.tables[0].memory.ppn()
    }

    /// The address of the context with this index, which fits the directory. Tables on the way are added;
    /// that needs no invalidation, as entries that are not valid are never cached (section "Caching invalid
    /// entries").
    pub(crate) fn slot(&mut self, index: u32) -> Result<u64, OutOfMemory> {
        let index = u64::from(index);
        let mut table = 0;
        for level in self.layout.levels.iter().skip(1).rev() {
            let position = level.of(index);
            table = match self.tables[table].next.binary_search_by_key(&position, |known| known.0) {
                Ok(at) => self.tables[table].next[at].1,
                Err(at) => {
                    self.tables[table].next.try_reserve(1).map_err(|_| OutOfMemory)?;
                    let added = self.add_table()?;
                    // The IOMMU must not find the pointer before it finds the zeros behind it.
                    self.hardware.platform.fence();
                    let entry = self.layout.valid.of(1) | self.layout.ppn.of(self.tables[added].memory.ppn());
                    let parent = &mut self.tables[table];
                    self.hardware.store(parent.memory.paddr() + position * self.layout.node_bytes, entry);
                    parent.next.insert(at, (position, added));
                    added
                }
            };
        }
        let leaf = self.layout.levels[0];
        Ok(self.tables[table].memory.paddr() + leaf.of(index) * self.layout.leaf_bytes)
    }

    /// Adds a table that nothing points to yet. Returns its number.
    fn add_table(&mut self) -> Result<usize, OutOfMemory> {
        self.tables.try_reserve(1).map_err(|_| OutOfMemory)?;
        let memory = Hardware::alloc_zeroed(&self.hardware, crate::hardware::PAGE).ok_or(OutOfMemory)?;
        self.tables.push(Table { memory, next: Vec::new() });
        Ok(self.tables.len() - 1)
    }

    /// Never returns the tables: the IOMMU did not confirm that it let go of them.
    pub(crate) fn leak(mut self) {
        self.tables.drain(..).for_each(|table| table.memory.leak());
    }
}

/// Writes a context so that the IOMMU, which reads its doublewords in any order, never acts on a mixture of
/// old and new: the valid bit goes first and comes last.
///
/// `valid` is in the first doubleword of `words`. Cached copies of the old contents are the caller's concern.
pub(crate) fn write_context(hardware: &Hardware, paddr: u64, valid: Field, words: &[u64]) {
    invalidate_context(hardware, paddr, valid);
    for (offset, &word) in (0..).step_by(8).zip(words).skip(1) {
        hardware.store(paddr + offset, word);
    }
    hardware.platform.fence();
    hardware.store(paddr, words[0]);
    hardware.platform.fence();
}

/// Clears a context's valid bit.
pub(crate) fn invalidate_context(hardware: &Hardware, paddr: u64, valid: Field) {
    let first = hardware.load(paddr);
    if valid.is_set(first) {
        hardware.store(paddr, valid.set(first, 0));
        hardware.platform.fence();
    }
}
