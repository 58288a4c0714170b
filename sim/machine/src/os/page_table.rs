//! Page tables in simulated memory, as the operating system writes them and the IOMMU reads them.

use crate::memory::PAGE;
use crate::memory::Ram;
use pasidon_driver::{PageTable, PageTableMode};
use pasidon_spec::field::Field;
use pasidon_spec::page_table::{Geometry, SV39, SV48, SV57, pte};

/// A table of page tables: the root, and what hangs off it.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) geometry: &'static Geometry,
    pub(super) root: u64,
    /// Frames of tables, the root's included.
    pub(super) frames: Vec<u64>,
}

/// No memory for a table.
#[derive(Debug)]
pub(super) struct OutOfMemory;

/// What a leaf entry allows, beyond being there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) read: bool,
    pub(super) write: bool,
    pub(super) exec: bool,
    pub(super) dirty: bool,
}

pub(super) fn geometry(mode: PageTableMode) -> &'static Geometry {
    match mode {
        PageTableMode::Sv48 => &SV48,
        PageTableMode::Sv57 => &SV57,
        _ => &SV39,
    }
}

impl Tables {
    pub(super) fn new(memory: &mut Ram, mode: PageTableMode) -> Result<Tables, OutOfMemory> {
        let root = new_table(memory)?;
        Ok(Tables { geometry: geometry(mode), root, frames: vec![root] })
    }

    pub(super) fn page_table(&self, mode: PageTableMode) -> PageTable {
        PageTable { mode, root: self.root }
    }

    /// Address of the entry for `va` at `level`, if the tables above it are there.
    pub(super) fn entry(&self, memory: &Ram, va: u64, level: usize) -> Option<u64> {
        let mut table = self.root;
        for at in (level..self.geometry.levels.len()).rev() {
            let entry = table + 8 * self.geometry.levels[at].of(va);
            if at == level {
                return Some(entry);
            }
            let value = memory.load(entry)?;
            if !is_table(value) {
                return None;
            }
            table = pte::PPN.get(value) * PAGE;
        }
        None
    }

    /// The same, with tables made on the way where there are none.
    pub(super) fn make_entry(&mut self, memory: &mut Ram, va: u64, level: usize) -> Result<u64, OutOfMemory> {
        let mut table = self.root;
        for at in (level + 1..self.geometry.levels.len()).rev() {
            let entry = table + 8 * self.geometry.levels[at].of(va);
            let value = memory.load(entry).unwrap_or(0);
            table = if is_table(value) {
                pte::PPN.get(value) * PAGE
            } else {
                let new = new_table(memory)?;
                self.frames.push(new);
                memory.store(entry, pte::PPN.set(pte::V.set(0, 1), new / PAGE));
                new
            };
        }
        Ok(table + 8 * self.geometry.levels[level].of(va))
    }

    /// Takes tables without entries on the way to `va` out of the tree, and returns their frames, still out of use.
    pub(super) fn prune(&mut self, memory: &mut Ram, va: u64) -> Vec<u64> {
        let mut pruned = Vec::new();
        for level in 1..self.geometry.levels.len() {
            let Some(entry) = self.entry(memory, va, level) else { continue };
            let value = memory.load(entry).unwrap_or(0);
            if !is_table(value) {
                continue;
            }
            let table = pte::PPN.get(value) * PAGE;
            let used = (0..PAGE / 8).any(|at| memory.load(table + 8 * at) != Some(0));
            if used {
                break;
            }
            memory.store(entry, 0);
            self.frames.retain(|&frame| frame != table);
            pruned.push(table);
        }
        pruned
    }
}

fn is_table(value: u64) -> bool {
    pte::V.get(value) == 1 && pte::R.get(value) | pte::W.get(value) | pte::X.get(value) == 0
}

fn new_table(memory: &mut Ram) -> Result<u64, OutOfMemory> {
    let table = memory.alloc_frame().ok_or(OutOfMemory)?;
    if let Some(bytes) = memory.slice_mut(table, PAGE as usize) {
        bytes.fill(0);
    }
    Ok(table)
}

/// A user leaf that has been accessed.
pub(super) fn leaf(frame: u64, leaf: Leaf) -> u64 {
    let bit = |field: Field, on: bool| field.set(0, u64::from(on));
    pte::PPN.set(0, frame / PAGE)
        | bit(pte::V, true)
        | bit(pte::U, true)
        | bit(pte::A, true)
        | bit(pte::D, leaf.dirty)
        | bit(pte::R, leaf.read)
        | bit(pte::W, leaf.write)
        | bit(pte::X, leaf.exec)
}
