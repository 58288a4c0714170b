//! Processes: address spaces with real page tables in simulated memory.
//!
//! A page is mapped with content that follows from the machine's seed, in a frame chosen at random, and its shadow in
//! [`super::Space`] says what its bytes must be from then on. As an operating system does, [`Process::unmap`] and
//! [`Process::protect`] change the tables only: telling the IOMMU is a call to the driver, and frames are given back
//! after that ([`Unmapped`]).

use super::memory::{HUGE_PAGE, Memory, PAGE};
use super::{Machine, Random, Request};
use crate::trace::{Access, Op};
use pasidon_driver::{Mm, MmSva, PageTable, PageTableMode};
use pasidon_spec::page_table::{Geometry, SV39, SV48, SV57, pte};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a mapping allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions {
    /// Loads.
    pub read: bool,
    /// Stores; only together with loads.
    pub write: bool,
    /// Fetches.
    pub exec: bool,
}

impl Permissions {
    /// Loads, stores and fetches.
    pub const ALL: Permissions = Permissions { read: true, write: true, exec: true };
    /// Loads and stores.
    pub const READ_WRITE: Permissions = Permissions { read: true, write: true, exec: false };
    /// Loads.
    pub const READ: Permissions = Permissions { read: true, write: false, exec: false };
}

/// Why an address space could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// No frame is left.
    #[error("the simulated machine has no memory left")]
    OutOfMemory,
    /// The address is outside the lower half of the address space, or not aligned to the page.
    #[error("address {0:#x} is not one of a user page in {1}")]
    Address(u64, &'static str),
    /// There is a mapping already.
    #[error("page {0:#x} is mapped already")]
    Mapped(u64),
    /// There is no mapping.
    #[error("page {0:#x} is not mapped")]
    NotMapped(u64),
}

#[derive(Clone, Copy, Debug)]
struct Mapping {
    frame: u64,
    bytes: u64,
    /// Number of its first 4 KiB page in the shadow.
    page: u32,
}

/// The part of a process that the driver keeps: identity and page-table root.
pub struct ProcessMm {
    sva: MmSva,
    table: PageTable,
}

impl Mm for ProcessMm {
    fn sva(&self) -> &MmSva {
        &self.sva
    }

    fn page_table(&self) -> PageTable {
        self.table
    }
}

/// A mapping that was taken out of the tables; its frame is still out of use.
#[derive(Debug)]
#[must_use = "give the frame back after the driver's invalidation"]
pub struct Unmapped {
    /// Physical address of the frame.
    pub frame: u64,
    /// Its size in bytes.
    pub bytes: u64,
}

impl Unmapped {
    /// Gives the frame back. The driver has confirmed that no device reaches it any more.
    pub fn free(self, memory: &mut Memory) {
        memory.free_frame(self.frame, self.bytes);
    }
}

/// A process.
pub struct Process {
    /// What devices are bound to.
    pub mm: Arc<ProcessMm>,
    /// Index of its shadow in [`super::Dma::spaces`].
    pub space: usize,
    geometry: &'static Geometry,
    mappings: BTreeMap<u64, Mapping>,
    random: Random,
}

impl Process {
    /// A process without mappings. `seed` decides what its pages contain.
    ///
    /// # Errors
    /// [`MapError::OutOfMemory`]
    pub fn new(machine: &mut Machine, mode: PageTableMode, seed: u64) -> Result<Process, MapError> {
        let geometry = match mode {
            PageTableMode::Sv48 => &SV48,
            PageTableMode::Sv57 => &SV57,
            _ => &SV39,
        };
        let root = new_table(&mut machine.memory)?;
        let mm = Arc::new(ProcessMm { sva: MmSva::new(), table: PageTable { mode, root } });
        machine.dma.spaces.push(super::Space::default());
        let space = machine.dma.spaces.len() - 1;
        Ok(Process { mm, space, geometry, mappings: BTreeMap::new(), random: Random::new(seed) })
    }

    /// Whether `address` lies in the half of the address space that user processes have.
    pub fn is_user(&self, address: u64) -> bool {
        address >> (self.geometry.address_bits() - 1) == 0
    }

    /// Maps a page of `bytes` ([`PAGE`] or [`HUGE_PAGE`]) at `va` with random content.
    ///
    /// # Errors
    /// [`MapError`]; nothing is mapped then.
    pub fn map(
        &mut self,
        machine: &mut Machine,
        va: u64,
        bytes: u64,
        permissions: Permissions,
    ) -> Result<(), MapError> {
        if !self.is_user(va) || va % bytes != 0 {
            return Err(MapError::Address(va, self.geometry.name));
        }
        let overlaps =
            self.mappings.range(..va + bytes).next_back().is_some_and(|(&start, m)| start + m.bytes > va);
        if overlaps {
            return Err(MapError::Mapped(va));
        }
        let memory = &mut machine.memory;
        let frame = if bytes == HUGE_PAGE { memory.alloc_huge_frame() } else { memory.alloc_frame() };
        let frame = frame.ok_or(MapError::OutOfMemory)?;
        let level = usize::from(bytes == HUGE_PAGE);
        let Some(entry) = self.entry(memory, va, level, true)? else { return Err(MapError::Mapped(va)) };
        let mut page = None;
        for part in 0..bytes / PAGE {
            if let Some(content) = memory.slice_mut(frame + part * PAGE, PAGE as usize) {
                self.random.fill(content);
                let number = machine.dma.spaces[self.space].add_page(content);
                page.get_or_insert(number);
            }
        }
        memory.store(entry, leaf(frame, permissions));
        self.mappings.insert(va, Mapping { frame, bytes, page: page.unwrap_or(0) });
        Ok(())
    }

    /// Takes the page that holds `va` out of the tables.
    ///
    /// # Errors
    /// [`MapError::NotMapped`]
    pub fn unmap(&mut self, machine: &mut Machine, va: u64) -> Result<Unmapped, MapError> {
        let (start, mapping) = self.find(va)?;
        self.write_leaf(&mut machine.memory, start, mapping, 0)?;
        self.mappings.remove(&start);
        Ok(Unmapped { frame: mapping.frame, bytes: mapping.bytes })
    }

    /// Changes what the page that holds `va` allows.
    ///
    /// # Errors
    /// [`MapError::NotMapped`]
    pub fn protect(
        &mut self,
        machine: &mut Machine,
        va: u64,
        permissions: Permissions,
    ) -> Result<(), MapError> {
        let (start, mapping) = self.find(va)?;
        self.write_leaf(&mut machine.memory, start, mapping, leaf(mapping.frame, permissions))
    }

    fn write_leaf(
        &self,
        memory: &mut Memory,
        start: u64,
        mapping: Mapping,
        value: u64,
    ) -> Result<(), MapError> {
        let level = usize::from(mapping.bytes == HUGE_PAGE);
        let entry = self.entry(memory, start, level, false)?.ok_or(MapError::NotMapped(start))?;
        memory.store(entry, value);
        Ok(())
    }

    fn find(&self, va: u64) -> Result<(u64, Mapping), MapError> {
        let (&start, &mapping) = self.mappings.range(..=va).next_back().ok_or(MapError::NotMapped(va))?;
        if va - start < mapping.bytes { Ok((start, mapping)) } else { Err(MapError::NotMapped(va)) }
    }

    /// Physical address behind `va`.
    pub fn translate(&self, va: u64) -> Option<u64> {
        self.find(va).ok().map(|(start, mapping)| mapping.frame + (va - start))
    }

    /// Address of the entry for `va` at `level`, making tables on the way if asked to. `None` where a superpage or
    /// nothing is in the way.
    fn entry(&self, memory: &mut Memory, va: u64, level: usize, make: bool) -> Result<Option<u64>, MapError> {
        let mut table = self.mm.table.root;
        for at in (level..self.geometry.levels.len()).rev() {
            let entry = table + 8 * self.geometry.levels[at].of(va);
            if at == level {
                return Ok(Some(entry));
            }
            let value = memory.load(entry).unwrap_or(0);
            if pte::V.get(value) == 0 {
                if !make {
                    return Ok(None);
                }
                table = new_table(memory)?;
                memory.store(entry, pte::PPN.set(pte::V.set(0, 1), table / PAGE));
            } else if pte::R.get(value) | pte::X.get(value) != 0 {
                return Ok(None);
            } else {
                table = pte::PPN.get(value) * PAGE;
            }
        }
        Ok(None)
    }

    /// Physical address of the page-table entry that maps the page at `va`.
    ///
    /// # Errors
    /// [`MapError::NotMapped`]
    pub fn leaf_address(&self, machine: &mut Machine, va: u64) -> Result<u64, MapError> {
        let (start, mapping) = self.find(va)?;
        let level = usize::from(mapping.bytes == HUGE_PAGE);
        self.entry(&mut machine.memory, start, level, false)?.ok_or(MapError::NotMapped(start))
    }

    /// Number of mappings.
    pub fn mappings(&self) -> usize {
        self.mappings.len()
    }

    /// The request for `length` bytes at `va`, which must be inside one 4 KiB page.
    ///
    /// # Errors
    /// [`MapError::NotMapped`]
    pub fn request(&self, va: u64, length: u16, write: bool) -> Result<Request, MapError> {
        let (start, mapping) = self.find(va)?;
        let page = mapping.page + ((va - start) / PAGE) as u32;
        Ok(Request { va, page, length, write, exec: false })
    }

    /// Turns accesses of a program into requests: split at pages, modify as read then write.
    ///
    /// # Errors
    /// [`MapError::NotMapped`] for a page that was not mapped before.
    pub fn requests(&self, accesses: impl Iterator<Item = Access>) -> Result<Vec<Request>, MapError> {
        let mut requests = Vec::new();
        // Programs stay on a page for a while: saves most of the searches.
        let mut last = (u64::MAX, 0);
        for access in accesses {
            let kinds: &[bool] = match access.op {
                Op::Read | Op::Fetch => &[false],
                Op::Write => &[true],
                Op::Modify => &[false, true],
            };
            for &write in kinds {
                let (mut va, mut left) = (access.address, u64::from(access.size));
                while left > 0 {
                    let length = left.min(PAGE - va % PAGE);
                    if va / PAGE != last.0 {
                        last = (va / PAGE, self.request(va, 1, false)?.page);
                    }
                    let exec = access.op == Op::Fetch;
                    requests.push(Request { va, page: last.1, length: length as u16, write, exec });
                    va += length;
                    left -= length;
                }
            }
        }
        Ok(requests)
    }

    /// Compares all of the process's memory with its shadow, through its page tables as they are now; returns the number
    /// of bytes that differ.
    pub fn sweep(&self, machine: &Machine) -> u64 {
        let mut wrong = 0;
        for mapping in self.mappings.values() {
            for part in 0..mapping.bytes / PAGE {
                let shadow =
                    machine.dma.spaces[self.space].bytes(mapping.page + part as u32, 0, PAGE as usize);
                let Some(actual) = machine.memory.slice(mapping.frame + part * PAGE, PAGE as usize) else {
                    continue;
                };
                if shadow != actual {
                    wrong += shadow.iter().zip(actual).filter(|(a, b)| a != b).count() as u64;
                }
            }
        }
        wrong
    }
}

fn new_table(memory: &mut Memory) -> Result<u64, MapError> {
    let table = memory.alloc_frame().ok_or(MapError::OutOfMemory)?;
    if let Some(bytes) = memory.slice_mut(table, PAGE as usize) {
        bytes.fill(0);
    }
    Ok(table)
}

/// A user leaf that needs no update by hardware: accessed and dirty already.
fn leaf(frame: u64, permissions: Permissions) -> u64 {
    let bit = |field: pasidon_spec::field::Field, on: bool| field.set(0, u64::from(on));
    pte::PPN.set(0, frame / PAGE)
        | bit(pte::V, true)
        | bit(pte::U, true)
        | bit(pte::A, true)
        | bit(pte::D, permissions.write)
        | bit(pte::R, permissions.read)
        | bit(pte::W, permissions.write)
        | bit(pte::X, permissions.exec)
}
