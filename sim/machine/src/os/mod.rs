//! An operating system: address spaces whose pages come from a backing store when somebody wants them, are shared after a fork until
//! somebody writes, go to swap when memory is short, and vanish with their process.
//!
//! Page tables are real: they are in simulated memory, and the IOMMU reads them. Whoever changes one tells the driver
//! ([`Iommu::invalidate_range`], [`Iommu::mm_exit`]), and uses a page again only when the driver has confirmed. [`AddressSpace`] is
//! what the driver sees of a process ([`Mm`]): page requests of devices end in [`Mm::handle_fault`], and in
//! nothing else; there is no CPU that would touch a page.
//!
//! | file | what it does |
//! |---|---|
//! | `fault` | makes a page present: read in, shared, copied, or found again |
//! | `reclaim` | takes pages out of memory: second chance by A bits, D bits tell what has to be written |
//! | `mapping` | map, munmap, mprotect, fork, exit |
//! | `page_table` | the tables |
//! | `audit` | whether all of it is consistent, and every byte as it must be |
//!
//! The operating system says what devices may reach in [`crate::truth::Truth`], before its tables allow it, and takes that back when
//! the driver has confirmed that it is over.

mod audit;
mod fault;
mod mapping;
mod page_table;
mod reclaim;
#[cfg(test)]
mod tests;

pub use mapping::Mapping;

use crate::machine::Machine;
use crate::memory::PAGE;
use crate::platform::SimPlatform;
use crate::truth::SpaceId;
use page_table::{OutOfMemory, Tables};
use pasidon_cosim::Random;
use pasidon_driver::{
    Change, CommandError, FaultAccess, Iommu, Mm, MmSva, PageTable, PageTableMode, Resolution,
};
use pasidon_spec::page_table::PAGE_SHIFT;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// How often the driver is asked again for what it could not get confirmed.
const PATIENCE: u32 = 64;
/// Cycles between two such attempts.
const PAUSE: u32 = 2000;

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
    /// Nothing: the pages keep their contents, and nobody gets at them.
    pub const NONE: Permissions = Permissions { read: false, write: false, exec: false };
}

/// Why the operating system could not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OsError {
    /// No frame is left, and none can be freed.
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
    /// The process has exited.
    #[error("the process has exited")]
    Exited,
    /// The driver did not confirm. What was to be freed is kept, and tried again later.
    #[error("the driver did not confirm an invalidation: {0}")]
    Driver(#[from] CommandError),
}

impl From<OutOfMemory> for OsError {
    fn from(_: OutOfMemory) -> OsError {
        OsError::OutOfMemory
    }
}

/// What the operating system has to live with.
#[derive(Clone, Copy, Debug)]
pub struct OsConfig {
    /// Frames for pages of processes; page tables come on top, and pages of 2 MiB.
    pub frames: usize,
    /// Cycles that reading a page in takes. Meanwhile a device's page request waits.
    pub io_cycles: u64,
    /// The last number that address spaces have had so far.
    pub last_space: SpaceId,
}

impl Default for OsConfig {
    fn default() -> OsConfig {
        OsConfig { frames: usize::MAX, io_cycles: 0, last_space: 0 }
    }
}

/// What the operating system has done.
#[derive(Clone, Debug, Default)]
pub struct OsStatistics {
    /// Faults that were to be resolved.
    pub faults: u64,
    /// Pages read from the backing store or from swap.
    pub page_ins: u64,
    /// Pages that lost their frame to others.
    pub page_outs: u64,
    /// ... and had to be written to swap.
    pub swap_writes: u64,
    /// Pages that were in memory, and only had to be entered, or allowed more.
    pub minor_faults: u64,
    /// Pages copied because they were shared and written.
    pub copies: u64,
    /// Address spaces that have exited.
    pub exits: u64,
    /// Shoot-downs that the driver confirmed: how many, cycles, and operations of the driver.
    pub shoot_downs: [u64; 3],
    /// Attempts that it did not confirm.
    pub unconfirmed: u64,
}

/// A part of an address space that is one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    /// Number of the page after the last.
    end: u64,
    permissions: Permissions,
    /// What the pages contain at first.
    backing: u64,
    /// Pages stay once they are present.
    locked: bool,
    /// log2 of the bytes of a page.
    shift: u8,
}

impl Area {
    /// Pages are larger than 4 KiB: they stay in memory once they are there.
    fn is_large(&self) -> bool {
        self.shift > PAGE_SHIFT
    }
}

/// Where a page is that is not as the backing store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Frame(u64),
    Swap(u64),
}

/// A frame with a page in it.
#[derive(Debug)]
struct Frame {
    /// The pages that are in it; more than one after a fork.
    users: Vec<(SpaceId, u64)>,
    /// It differs from what `copy` or the backing store has.
    dirty: bool,
    /// The same in swap.
    copy: Option<u64>,
    /// Its entry in [`State::clock`].
    stamp: u64,
}

/// A page in swap.
#[derive(Debug)]
struct Slot {
    bytes: Box<[u8]>,
    /// Pages and frames that refer to it.
    users: u32,
}

/// A process's address space, as the operating system keeps it.
struct Space {
    mm: Arc<AddressSpace>,
    tables: Tables,
    /// By number of the first page.
    areas: BTreeMap<u64, Area>,
    pages: BTreeMap<u64, Place>,
    /// Frames of pages larger than 4 KiB, and log2 of their bytes, by number of the first page.
    large: BTreeMap<u64, (u64, u8)>,
    /// When a page that is being read in will have come.
    loading: BTreeMap<u64, u64>,
}

/// What was unmapped and may still be in use, as the driver could not confirm that it is not.
struct Limbo {
    space: SpaceId,
    range: Range<u64>,
    change: Change,
    pages: Vec<(u64, Option<Place>)>,
    large: Vec<(u64, u8)>,
    /// First pages of what was mapped in large pages.
    ranges: Vec<u64>,
    tables: Vec<u64>,
}

#[derive(Default)]
struct State {
    /// The most frames with pages in them.
    limit: usize,
    spaces: BTreeMap<SpaceId, Space>,
    frames: BTreeMap<u64, Frame>,
    /// Frames in the order in which they are asked to leave, with the stamp that says whether it is still the same page.
    clock: VecDeque<(u64, u64)>,
    swap: BTreeMap<u64, Slot>,
    limbo: Vec<Limbo>,
    numbers: u64,
    spaces_made: SpaceId,
    statistics: OsStatistics,
}

/// The operating system of a machine.
pub struct Os {
    platform: SimPlatform,
    iommu: Iommu,
    io_cycles: u64,
    state: Mutex<State>,
}

/// A process's address space, as the driver sees it: lives as long as anybody is bound to it.
pub struct AddressSpace {
    id: SpaceId,
    sva: MmSva,
    table: PageTable,
    os: Weak<Os>,
}

impl AddressSpace {
    /// Its number.
    pub fn id(&self) -> SpaceId {
        self.id
    }
}

// SAFETY: the page table is in simulated memory.
unsafe impl Mm for AddressSpace {
    fn sva(&self) -> &MmSva {
        &self.sva
    }

    fn page_table(&self) -> PageTable {
        self.table
    }

    fn handle_fault(&self, request: &FaultAccess) -> Resolution {
        self.os.upgrade().map_or(Resolution::Invalid, |os| os.fault(self.id, request))
    }
}

impl Os {
    /// The operating system of a machine whose IOMMU is up.
    pub fn new(platform: SimPlatform, iommu: Iommu, config: OsConfig) -> Arc<Os> {
        let state = State { limit: config.frames, spaces_made: config.last_space, ..State::default() };
        Arc::new(Os { platform, iommu, io_cycles: config.io_cycles, state: Mutex::new(state) })
    }

    /// Makes an address space without mappings.
    ///
    /// # Errors
    /// [`OsError::OutOfMemory`]
    pub fn spawn(self: &Arc<Os>, mode: PageTableMode) -> Result<Arc<AddressSpace>, OsError> {
        let mut state = self.state();
        let mut machine = self.platform.machine();
        let mm = self.make_space(&mut state, &mut machine, mode)?;
        machine.truth.add_space(mm.id);
        Ok(mm)
    }

    fn make_space(
        self: &Arc<Os>,
        state: &mut State,
        machine: &mut Machine,
        mode: PageTableMode,
    ) -> Result<Arc<AddressSpace>, OsError> {
        let tables = Tables::new(&mut machine.bench.memory, mode)?;
        state.spaces_made += 1;
        let id = state.spaces_made;
        let table = tables.page_table(mode);
        let mm = Arc::new(AddressSpace { id, sva: MmSva::new(), table, os: Arc::downgrade(self) });
        let space = Space {
            mm: mm.clone(),
            tables,
            areas: BTreeMap::new(),
            pages: BTreeMap::new(),
            large: BTreeMap::new(),
            loading: BTreeMap::new(),
        };
        state.spaces.insert(id, space);
        Ok(mm)
    }

    /// What has been done so far.
    pub fn statistics(&self) -> OsStatistics {
        self.state().statistics.clone()
    }

    /// The number of the address space that was made last.
    pub fn last_space(&self) -> SpaceId {
        self.state().spaces_made
    }

    /// Counts from zero again.
    pub fn reset_statistics(&self) {
        self.state().statistics = OsStatistics::default();
    }

    /// Changes the number of frames for pages; too many pages leave as others come.
    pub fn set_frames(&self, frames: usize) {
        self.state().limit = frames;
    }

    /// Pages larger than 4 KiB that are in memory, in pages of 4 KiB.
    pub fn resident_in_large(&self) -> u64 {
        let pages =
            |space: &Space| space.large.values().map(|&(_, shift)| 1u64 << (shift - PAGE_SHIFT)).sum::<u64>();
        self.state().spaces.values().map(pages).sum()
    }

    /// Frames with pages in them.
    pub fn resident(&self) -> usize {
        self.state().frames.len()
    }

    /// Frames that hold page tables of a process.
    pub fn table_frames(&self, space: SpaceId) -> Vec<u64> {
        self.state().spaces.get(&space).map(|space| space.tables.frames.clone()).unwrap_or_default()
    }

    /// Physical address behind `va`, if it is in memory.
    pub fn translate(&self, space: SpaceId, va: u64) -> Option<u64> {
        let grant = self.platform.machine().truth.granted(space, va / PAGE)?;
        Some(grant.frame + va % PAGE)
    }

    /// Physical address of the page-table entry of the 4 KiB page at `va`, if there are tables that far.
    pub fn leaf_address(&self, space: SpaceId, va: u64) -> Option<u64> {
        let state = self.state();
        state.spaces.get(&space)?.tables.entry(&self.platform.machine().bench.memory, va, 0)
    }

    /// If the IOMMU was reset, it is brought back; how that went will show when the driver is asked again.
    fn bring_back(&self, result: &Result<(), CommandError>) {
        if *result == Err(CommandError::Reset) {
            _ = self.iommu.resume();
        }
    }

    /// The first pages of areas of 4-KiB pages that may be read, by virtual address.
    pub fn readable(&self, space: SpaceId) -> Vec<u64> {
        let state = self.state();
        let Some(space) = state.spaces.get(&space) else { return Vec::new() };
        let readable = space.areas.iter().filter(|(_, area)| area.permissions.read && !area.is_large());
        readable.map(|(&first, _)| first * PAGE).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is a defect that the audit will tell more about.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the driver make everybody forget `range`, and waits until it has. Asks again if the driver can't confirm it.
    fn shoot_down(
        &self,
        statistics: &mut OsStatistics,
        mm: &AddressSpace,
        range: Range<u64>,
        change: Change,
    ) -> Result<(), CommandError> {
        let mut result = Ok(());
        for _ in 0..PATIENCE {
            let clock = || {
                let machine = self.platform.machine();
                (machine.now(), machine.driver_operations)
            };
            let before = clock();
            result = self.iommu.invalidate_range(mm, range.clone(), change);
            if result.is_ok() {
                let after = clock();
                let new = [1, after.0 - before.0, after.1 - before.1];
                statistics.shoot_downs.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
                return result;
            }
            statistics.unconfirmed += 1;
            self.bring_back(&result);
            let mut machine = self.platform.machine();
            (0..PAUSE).for_each(|_| machine.step());
        }
        result
    }
}

impl Space {
    /// The area that a page is in, and its first page.
    fn area(&self, page: u64) -> Option<(u64, Area)> {
        let (&first, &area) = self.areas.range(..=page).next_back()?;
        (page < area.end).then_some((first, area))
    }
}

/// What the backing store has for a page.
pub(crate) fn backing_content(backing: u64, page: u64, bytes: &mut [u8]) {
    Random::new(backing ^ page.wrapping_mul(0x9e37_79b9_7f4a_7c15)).fill(bytes);
}
