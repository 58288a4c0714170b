//! Making pages present.

use super::page_table::{Leaf, leaf};
use super::{Area, Frame, Os, OsError, Place, Slot, State, backing_content};
use crate::memory::{HUGE_PAGE, PAGE};
use crate::truth::{Grant, SpaceId};
use pasidon_driver::{Change, FaultAccess, Resolution};
use pasidon_spec::page_table::{PAGE_SHIFT, napot, pte};

/// Pages of 4 KiB in one of 2 MiB.
pub(super) const HUGE: u64 = HUGE_PAGE / PAGE;

/// Why a page is not present yet.
#[derive(Debug)]
pub(super) enum Absent {
    /// It is being read in.
    Later,
    /// No memory.
    OutOfMemory,
}

impl Os {
    /// Resolves a fault in an address space.
    pub(super) fn fault(&self, id: SpaceId, access: &FaultAccess) -> Resolution {
        let mut state = self.state();
        let page = access.address / PAGE;
        let Some((_, area)) = state.spaces.get(&id).and_then(|space| space.area(page)) else {
            return Resolution::Invalid;
        };
        let allowed = area.permissions;
        if access.privileged
            || access.read && !allowed.read
            || access.write && !allowed.write
            || access.execute && !allowed.exec
        {
            return Resolution::Invalid;
        }
        state.statistics.faults += 1;
        match self.make_present(&mut state, id, page, access.write, true) {
            Ok(()) => Resolution::Populated,
            Err(Absent::Later) => Resolution::NotNow,
            Err(Absent::OutOfMemory) => Resolution::Failure,
        }
    }

    /// Makes the pages of a range present, writable if they may be written, without waiting for input.
    ///
    /// # Errors
    /// [`OsError`]
    pub fn populate(&self, id: SpaceId, range: std::ops::Range<u64>) -> Result<(), OsError> {
        let mut state = self.state();
        for page in range.start / PAGE..range.end.div_ceil(PAGE) {
            let space = state.spaces.get(&id).ok_or(OsError::Exited)?;
            let (_, area) = space.area(page).ok_or(OsError::NotMapped(page * PAGE))?;
            self.make_present(&mut state, id, page, area.permissions.write, false)
                .map_err(|_| OsError::OutOfMemory)?;
        }
        Ok(())
    }

    /// Makes a page of an area present, to be written if `write`. With `wait`, input takes its time.
    pub(super) fn make_present(
        &self,
        state: &mut State,
        id: SpaceId,
        page: u64,
        write: bool,
        wait: bool,
    ) -> Result<(), Absent> {
        let Some((_, area)) = state.spaces.get(&id).and_then(|space| space.area(page)) else { return Ok(()) };
        if area.is_large() {
            return self.make_large_present(state, id, page, area);
        }
        let mut spare = None;
        let result = loop {
            // Whatever made room for the spare frame may have moved this page.
            let place = state.spaces.get(&id).and_then(|space| space.pages.get(&page).copied());
            let shared = |frame: u64| state.frames.get(&frame).is_some_and(|frame| frame.users.len() > 1);
            match (place, spare) {
                (Some(Place::Frame(frame)), _) if !(write && shared(frame)) => {
                    state.statistics.minor_faults += 1;
                    break self.enter(state, id, page, area, write);
                }
                (Some(Place::Frame(frame)), Some(copy)) => {
                    spare = None;
                    break self.copy(state, id, page, area, frame, copy);
                }
                (place, Some(frame)) => {
                    spare = None;
                    self.read_in(state, id, page, area, place, frame);
                    break self.enter(state, id, page, area, write);
                }
                (place, None) => {
                    if !matches!(place, Some(Place::Frame(_))) && wait && self.is_loading(state, id, page) {
                        break Err(Absent::Later);
                    }
                    match self.take_frame(state) {
                        Ok(frame) => spare = Some(frame),
                        Err(absent) => break Err(absent),
                    }
                }
            }
        };
        if let Some(frame) = spare {
            self.platform.machine().bench.memory.free_frame(frame, PAGE);
        }
        result
    }

    /// Whether the input of a page is still going on; begins it.
    fn is_loading(&self, state: &mut State, id: SpaceId, page: u64) -> bool {
        if self.io_cycles == 0 {
            return false;
        }
        let now = self.platform.machine().now();
        let Some(space) = state.spaces.get_mut(&id) else { return false };
        let due = *space.loading.entry(page).or_insert(now + self.io_cycles);
        if due <= now {
            space.loading.remove(&page);
        }
        due > now
    }

    /// Fills a frame with a page's content.
    fn read_in(
        &self,
        state: &mut State,
        id: SpaceId,
        page: u64,
        area: Area,
        place: Option<Place>,
        frame: u64,
    ) {
        let copy = match place {
            Some(Place::Swap(slot)) => Some(slot),
            _ => None,
        };
        let mut machine = self.platform.machine();
        if let Some(bytes) = machine.bench.memory.slice_mut(frame, PAGE as usize) {
            match copy.and_then(|slot| state.swap.get(&slot)) {
                Some(Slot { bytes: kept, .. }) => bytes.copy_from_slice(kept),
                None => backing_content(area.backing, page, bytes),
            }
        }
        drop(machine);
        // The frame's reference to the slot replaces the page's.
        self.adopt(state, id, page, frame, copy, false);
        state.statistics.page_ins += 1;
    }

    /// Enters a frame with one page in it into the books.
    fn adopt(&self, state: &mut State, id: SpaceId, page: u64, frame: u64, copy: Option<u64>, dirty: bool) {
        state.numbers += 1;
        let stamp = state.numbers;
        state.frames.insert(frame, Frame { users: vec![(id, page)], dirty, copy, stamp });
        state.clock.push_back((frame, stamp));
        if let Some(space) = state.spaces.get_mut(&id) {
            space.pages.insert(page, Place::Frame(frame));
        }
    }

    /// Gives a page that is shared a frame of its own.
    fn copy(
        &self,
        state: &mut State,
        id: SpaceId,
        page: u64,
        area: Area,
        old: u64,
        new: u64,
    ) -> Result<(), Absent> {
        let Some(space) = state.spaces.get(&id) else { return Ok(()) };
        let mm = space.mm.clone();
        let before = self.clear_leaf(state, id, page);
        let range = page * PAGE..(page + 1) * PAGE;
        if self.shoot_down(&mut state.statistics, &mm, range, Change::Leaves).is_err() {
            // Nothing is lost: the old translation is as good as it was.
            self.restore_leaf(state, id, page, before);
            self.platform.machine().bench.memory.free_frame(new, PAGE);
            return Err(Absent::Later);
        }
        let mut machine = self.platform.machine();
        machine.truth.revoke(id, page);
        let content = machine.bench.memory.slice(old, PAGE as usize).map(<[u8]>::to_vec);
        if let (Some(bytes), Some(content)) = (machine.bench.memory.slice_mut(new, PAGE as usize), content) {
            bytes.copy_from_slice(&content);
        }
        drop(machine);
        if let Some(frame) = state.frames.get_mut(&old) {
            frame.users.retain(|user| *user != (id, page));
        }
        self.adopt(state, id, page, new, None, true);
        state.statistics.copies += 1;
        self.enter(state, id, page, area, true)
    }

    /// Writes the page-table entry of a page that is in a frame, with all that it may have.
    pub(super) fn enter(
        &self,
        state: &mut State,
        id: SpaceId,
        page: u64,
        area: Area,
        write: bool,
    ) -> Result<(), Absent> {
        let Some(space) = state.spaces.get_mut(&id) else { return Ok(()) };
        let Some(&Place::Frame(number)) = space.pages.get(&page) else { return Ok(()) };
        let Some(frame) = state.frames.get_mut(&number) else { return Ok(()) };
        let mut machine = self.platform.machine();
        let machine = &mut *machine;
        let Ok(entry) = space.tables.make_entry(&mut machine.bench.memory, page * PAGE, 0) else {
            return Err(Absent::OutOfMemory);
        };
        let before = machine.bench.memory.load(entry).unwrap_or(0);
        let was_dirty = pte::V.is_set(before) && pte::D.is_set(before);
        let allowed = area.permissions;
        if !(allowed.read || allowed.write || allowed.exec) {
            return Ok(());
        }
        let sole = frame.users.len() == 1;
        let writable = allowed.write && sole;
        frame.dirty |= write || was_dirty;
        if frame.dirty
            && let Some(copy) = frame.copy.take()
        {
            release_slot(&mut state.swap, copy);
        }
        machine.truth.grant(id, page, Grant { frame: number, write: writable, exec: allowed.exec });
        let dirty = writable && (write || was_dirty);
        let value = leaf(number, Leaf { read: allowed.read, write: writable, exec: allowed.exec, dirty });
        machine.bench.memory.store(entry, value);
        Ok(())
    }

    /// Takes a page out of the tables, with what the entry knew of it. Returns the entry.
    pub(super) fn clear_leaf(&self, state: &mut State, id: SpaceId, page: u64) -> u64 {
        let Some(space) = state.spaces.get(&id) else { return 0 };
        let mut machine = self.platform.machine();
        let Some(entry) = space.tables.entry(&machine.bench.memory, page * PAGE, 0) else { return 0 };
        let before = machine.bench.memory.load(entry).unwrap_or(0);
        machine.bench.memory.store(entry, 0);
        if pte::V.is_set(before)
            && pte::D.is_set(before)
            && let Some(Place::Frame(frame)) = space.pages.get(&page)
            && let Some(frame) = state.frames.get_mut(frame)
        {
            frame.dirty = true;
        }
        before
    }

    /// Undoes [`clear_leaf`](Self::clear_leaf).
    pub(super) fn restore_leaf(&self, state: &mut State, id: SpaceId, page: u64, before: u64) {
        let Some(space) = state.spaces.get(&id) else { return };
        let mut machine = self.platform.machine();
        if let Some(entry) = space.tables.entry(&machine.bench.memory, page * PAGE, 0) {
            machine.bench.memory.store(entry, before);
        }
    }

    /// Makes a page larger than 4 KiB present. What it contains comes when somebody looks at it.
    fn make_large_present(
        &self,
        state: &mut State,
        id: SpaceId,
        page: u64,
        area: Area,
    ) -> Result<(), Absent> {
        let pages = 1u64 << (area.shift - PAGE_SHIFT);
        let first = page / pages * pages;
        let Some(space) = state.spaces.get_mut(&id) else { return Ok(()) };
        if space.large.contains_key(&first) {
            state.statistics.minor_faults += 1;
            return Ok(());
        }
        let mut machine = self.platform.machine();
        let machine = &mut *machine;
        let level = level_of(area.shift);
        let entry = space.tables.make_entry(&mut machine.bench.memory, first * PAGE, level);
        let entry = entry.map_err(|_| Absent::OutOfMemory)?;
        let frame = machine.bench.memory.alloc_large_frame(area.shift).ok_or(Absent::OutOfMemory)?;
        let allowed = area.permissions;
        machine.truth.grant_range(id, first, Grant { frame, write: allowed.write, exec: allowed.exec });
        let mut leaf =
            leaf(frame, Leaf { read: true, write: allowed.write, exec: allowed.exec, dirty: allowed.write });
        let mut entries = 1;
        if area.shift == napot::GROUP_SHIFT {
            leaf = pte::N.set(pte::PPN.set(leaf, (frame / PAGE) | napot::PPN_PATTERN), 1);
            entries = 1 << napot::GROUP_BITS;
        }
        (0..entries).for_each(|n| _ = machine.bench.memory.store(entry + 8 * n, leaf));
        space.large.insert(first, (frame, area.shift));
        state.statistics.page_ins += pages;
        Ok(())
    }
}

/// The level of the page table at which a page of this size has its entry, or entries.
pub(super) fn level_of(shift: u8) -> usize {
    usize::from(shift - PAGE_SHIFT) / 9
}

/// One reference less to a page in swap.
pub(super) fn release_slot(swap: &mut std::collections::BTreeMap<u64, Slot>, number: u64) {
    if let Some(slot) = swap.get_mut(&number) {
        slot.users -= 1;
        if slot.users == 0 {
            swap.remove(&number);
        }
    }
}
