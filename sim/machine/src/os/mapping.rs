//! Changes of address spaces: map, munmap, mprotect, fork, exit.
//!
//! Each changes the tables, has the driver make everybody forget what was, and only then gives frames and tables back. What the driver
//! does not confirm stays out of use, and is tried again before the next change.

use super::fault::{HUGE, level_of, release_slot};
use super::page_table::{Leaf, leaf};
use super::{Area, Limbo, Os, OsError, Permissions, Place, State, backing_content};
use crate::machine::Machine;
use crate::memory::PAGE;
use crate::truth::{Grant, SpaceId};
use pasidon_driver::{Change, CommandError, Mm};
use pasidon_spec::page_table::{PAGE_SHIFT, pte};
use std::ops::Range;
use std::sync::Arc;

/// How a mapping is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// What it allows.
    pub permissions: Permissions,
    /// Names the content that the backing store has for it.
    pub backing: u64,
    /// Pages stay in memory once they are there.
    pub locked: bool,
    /// log2 of the bytes of a page: 12, 16, 21 or 30. Pages larger than 4 KiB stay in memory and are not inherited.
    pub shift: u8,
}

impl Mapping {
    /// Ordinary pages.
    pub fn of(permissions: Permissions, backing: u64) -> Mapping {
        Mapping { permissions, backing, locked: false, shift: PAGE_SHIFT }
    }
}

impl Os {
    /// Maps a range, with no page of it present.
    ///
    /// # Errors
    /// [`OsError`]; nothing is mapped then.
    pub fn map(&self, id: SpaceId, range: Range<u64>, mapping: Mapping) -> Result<(), OsError> {
        let mut state = self.state();
        self.settle(&mut state)?;
        let space = state.spaces.get_mut(&id).ok_or(OsError::Exited)?;
        let granule = 1 << mapping.shift;
        let geometry = space.tables.geometry;
        let user = 1 << (geometry.address_bits() - 1);
        if !range.start.is_multiple_of(granule) || range.is_empty() || range.end > user {
            return Err(OsError::Address(range.start, geometry.name));
        }
        let (first, end) = (range.start / PAGE, range.end.next_multiple_of(granule) / PAGE);
        if let Some((&other, _)) = space.areas.range(..end).find(|(_, area)| area.end > first) {
            return Err(OsError::Mapped(other.max(first) * PAGE));
        }
        let Mapping { permissions, backing, locked, shift } = mapping;
        let area = Area { end, permissions, backing, locked, shift };
        space.areas.insert(first, area);
        let mut machine = self.platform.machine();
        if area.is_large() {
            let step = 1 << (shift - PAGE_SHIFT);
            for page in (first..end).step_by(step as usize) {
                machine.truth.add_range(id, page, page + step, backing);
            }
            return Ok(());
        }
        let mut content = vec![0; PAGE as usize];
        for page in first..end {
            backing_content(backing, page, &mut content);
            machine.truth.add_page(id, page, &content);
        }
        Ok(())
    }

    /// Unmaps whatever is mapped in a range. Pages of 2 MiB go as a whole.
    ///
    /// # Errors
    /// [`OsError::Exited`], [`OsError::Driver`]
    pub fn munmap(&self, id: SpaceId, range: Range<u64>) -> Result<(), OsError> {
        let mut state = self.state();
        self.settle(&mut state)?;
        let (first, end) = (range.start / PAGE, range.end.div_ceil(PAGE));
        let space = state.spaces.get_mut(&id).ok_or(OsError::Exited)?;
        let taken = carve(space, first, end);
        let (Some(&(low, _)), Some(&(_, last))) = (taken.first(), taken.last()) else { return Ok(()) };
        let mut limbo = Limbo {
            space: id,
            range: low * PAGE..last.end * PAGE,
            change: Change::Leaves,
            pages: Vec::new(),
            large: Vec::new(),
            tables: Vec::new(),
            ranges: Vec::new(),
        };
        for (area_first, area) in taken {
            for page in area_first..area.end {
                self.clear_leaf(&mut state, id, page);
                let Some(space) = state.spaces.get_mut(&id) else { continue };
                space.loading.remove(&page);
                limbo.pages.push((page, space.pages.remove(&page)));
                let mut machine = self.platform.machine();
                if let Some((frame, shift)) = space.large.remove(&page) {
                    let level = level_of(shift);
                    if let Some(entry) = space.tables.entry(&machine.bench.memory, page * PAGE, level) {
                        machine.bench.memory.store(entry, 0);
                    }
                    limbo.large.push((frame, shift));
                }
                limbo.ranges.extend(area.is_large().then_some(page));
                if page % HUGE == HUGE - 1 || page + 1 == area.end {
                    limbo.tables.extend(space.tables.prune(&mut machine.bench.memory, page * PAGE));
                }
            }
        }
        if !limbo.tables.is_empty() {
            limbo.change = Change::Tables;
        }
        state.limbo.push(limbo);
        self.settle(&mut state)
    }

    /// Gives back what was unmapped, once the driver has confirmed that nobody uses it.
    pub(super) fn settle(&self, state: &mut State) -> Result<(), OsError> {
        while let Some(limbo) = state.limbo.last() {
            let mm = state.spaces.get(&limbo.space).map(|space| space.mm.clone());
            if let Some(mm) = mm {
                let (range, change) = (limbo.range.clone(), limbo.change);
                self.shoot_down(&mut state.statistics, &mm, range, change)?;
            }
            let Some(limbo) = state.limbo.pop() else { break };
            let mut machine = self.platform.machine();
            limbo.ranges.iter().for_each(|&page| machine.truth.remove_range(limbo.space, page));
            for (page, place) in limbo.pages {
                machine.truth.remove_page(limbo.space, page);
                release_page(state, &mut machine, limbo.space, page, place);
            }
            limbo.large.iter().for_each(|&(frame, shift)| machine.bench.memory.free_frame(frame, 1 << shift));
            limbo.tables.iter().for_each(|&table| machine.bench.memory.free_frame(table, PAGE));
        }
        Ok(())
    }

    /// Changes what the pages of a range allow, which must be mapped, in pages of 4 KiB.
    ///
    /// # Errors
    /// [`OsError`]. After [`OsError::Driver`] devices may be allowed more than they should for a while.
    pub fn protect(&self, id: SpaceId, range: Range<u64>, permissions: Permissions) -> Result<(), OsError> {
        let mut state = self.state();
        let state = &mut *state;
        self.settle(state)?;
        let (first, end) = (range.start / PAGE, range.end.div_ceil(PAGE));
        let space = state.spaces.get_mut(&id).ok_or(OsError::Exited)?;
        for page in first..end {
            if space.area(page).is_none_or(|(_, area)| area.is_large()) {
                return Err(OsError::NotMapped(page * PAGE));
            }
        }
        for (first, area) in carve(space, first, end) {
            space.areas.insert(first, Area { permissions, ..area });
        }
        let mm = space.mm.clone();
        let resident: Vec<(u64, u64)> = frames_in(space, first..end);
        let mut changed = Vec::new();
        for &(page, number) in &resident {
            let sole = state.frames.get(&number).is_some_and(|frame| frame.users.len() == 1);
            let before = self.clear_leaf(state, id, page);
            if !pte::V.is_set(before) {
                continue;
            }
            let Permissions { read, write, exec } = permissions;
            let value = if read || write || exec {
                let write = write && sole;
                let value = leaf(number, Leaf { read, write, exec, dirty: write && pte::D.is_set(before) });
                pte::A.set(value, pte::A.get(before))
            } else {
                0
            };
            let new = Grant { frame: number, write: pte::W.is_set(value), exec };
            // Until everybody has forgotten the old entry, both are right.
            let mut machine = self.platform.machine();
            let old = machine.truth.granted(id, page);
            let both = Grant {
                write: new.write || old.is_some_and(|old| old.write),
                exec: new.exec || old.is_some_and(|old| old.exec),
                ..new
            };
            machine.truth.grant(id, page, both);
            drop(machine);
            self.restore_leaf(state, id, page, value);
            changed.push((page, (value != 0).then_some(new)));
        }
        if changed.is_empty() {
            return Ok(());
        }
        self.shoot_down(&mut state.statistics, &mm, first * PAGE..end * PAGE, Change::Leaves)?;
        let mut machine = self.platform.machine();
        for (page, grant) in changed {
            match grant {
                Some(grant) => machine.truth.grant(id, page, grant),
                None => machine.truth.revoke(id, page),
            }
        }
        Ok(())
    }

    /// Makes a copy of a process. Pages are shared until one of the two writes; the child's tables are filled by its faults.
    ///
    /// # Errors
    /// [`OsError`]; there is no child then.
    pub fn fork(self: &Arc<Os>, id: SpaceId) -> Result<Arc<super::AddressSpace>, OsError> {
        let mut state = self.state();
        let state = &mut *state;
        self.settle(state)?;
        let space = state.spaces.get(&id).ok_or(OsError::Exited)?;
        let mm = space.mm.clone();
        let areas = space.areas.clone();
        let resident = frames_in(space, 0..u64::MAX);
        let range = areas.first_key_value().map_or(0, |(&first, _)| first * PAGE)
            ..areas.last_key_value().map_or(0, |(_, area)| area.end * PAGE);
        // From here on nobody can write what will be shared.
        for &(page, number) in &resident {
            let before = self.clear_leaf(state, id, page);
            if pte::V.is_set(before) {
                self.restore_leaf(state, id, page, pte::D.set(pte::W.set(before, 0), 0));
            }
            if let Some(frame) = state.frames.get_mut(&number)
                && frame.dirty
                && let Some(copy) = frame.copy.take()
            {
                release_slot(&mut state.swap, copy);
            }
        }
        self.shoot_down(&mut state.statistics, &mm, range, Change::Leaves)?;
        let mut machine = self.platform.machine();
        let child = self.make_space(state, &mut machine, mm.page_table().mode)?;
        machine.truth.fork(id, child.id);
        for &(page, _) in &resident {
            if let Some(grant) = machine.truth.granted(id, page) {
                machine.truth.grant(id, page, Grant { write: false, ..grant });
            }
        }
        let places = state.spaces.get(&id).map(|space| space.pages.clone()).unwrap_or_default();
        for (&page, place) in &places {
            match place {
                Place::Frame(number) => {
                    if let Some(frame) = state.frames.get_mut(number) {
                        frame.users.push((child.id, page));
                    }
                }
                Place::Swap(slot) => {
                    if let Some(slot) = state.swap.get_mut(slot) {
                        slot.users += 1;
                    }
                }
            }
        }
        if let Some(space) = state.spaces.get_mut(&child.id) {
            let inherited = areas.iter().filter(|(_, area)| !area.is_large());
            space.areas = inherited.map(|(&first, &area)| (first, Area { locked: false, ..area })).collect();
            space.pages = places;
        }
        for (&first, area) in areas.iter().filter(|(_, area)| area.is_large()) {
            (first..area.end).for_each(|page| machine.truth.remove_page(child.id, page));
        }
        Ok(child)
    }

    /// A process dies: the driver tells whoever is bound to it, and all that it had is given back. The address space remains as a
    /// name until nobody is bound to it any more.
    ///
    /// # Errors
    /// [`OsError::Exited`] if it has already; [`OsError::Driver`]: it has exited, and all that it had stays out of use until the call is
    /// repeated with success.
    pub fn exit(&self, id: SpaceId) -> Result<(), OsError> {
        let mm = self.state().spaces.get(&id).map(|space| space.mm.clone()).ok_or(OsError::Exited)?;
        let mut result: Result<(), CommandError> = Ok(());
        for _ in 0..super::PATIENCE {
            // With no lock held: device drivers are called.
            result = self.iommu.mm_exit(&*mm);
            if result.is_ok() {
                break;
            }
            self.bring_back(&result);
            let mut machine = self.platform.machine();
            (0..super::PAUSE).for_each(|_| machine.step());
        }
        result?;
        let mut state = self.state();
        let state = &mut *state;
        let Some(space) = state.spaces.remove(&id) else { return Err(OsError::Exited) };
        let mut machine = self.platform.machine();
        machine.truth.remove_space(id);
        for (page, place) in space.pages {
            release_page(state, &mut machine, id, page, Some(place));
        }
        space.large.values().for_each(|&(frame, shift)| machine.bench.memory.free_frame(frame, 1 << shift));
        space.tables.frames.iter().for_each(|&table| machine.bench.memory.free_frame(table, PAGE));
        drop(machine);
        state.statistics.exits += 1;
        // Nobody can be waited for any more: what was in limbo is free.
        self.settle(state)
    }
}

/// Cuts `first..end` out of the areas, and returns what was cut out.
fn carve(space: &mut super::Space, first: u64, end: u64) -> Vec<(u64, Area)> {
    let touched: Vec<(u64, Area)> = space
        .areas
        .range(..end)
        .filter(|(_, area)| area.end > first)
        .map(|(&start, &area)| (start, area))
        .collect();
    let mut cut = Vec::new();
    for (start, area) in touched {
        if area.is_large() {
            space.areas.remove(&start);
            cut.push((start, area));
            continue;
        }
        space.areas.remove(&start);
        if start < first {
            space.areas.insert(start, Area { end: first, ..area });
        }
        if area.end > end {
            space.areas.insert(end, area);
        }
        cut.push((start.max(first), Area { end: area.end.min(end), ..area }));
    }
    cut
}

/// The pages of a range that are in frames.
fn frames_in(space: &super::Space, range: Range<u64>) -> Vec<(u64, u64)> {
    let place = |(&page, place): (&u64, &Place)| match place {
        Place::Frame(frame) => Some((page, *frame)),
        Place::Swap(_) => None,
    };
    space.pages.range(range).filter_map(place).collect()
}

/// One user less of a frame or a page in swap.
fn release_page(state: &mut State, machine: &mut Machine, id: SpaceId, page: u64, place: Option<Place>) {
    match place {
        None => {}
        Some(Place::Swap(slot)) => release_slot(&mut state.swap, slot),
        Some(Place::Frame(number)) => {
            let Some(frame) = state.frames.get_mut(&number) else { return };
            frame.users.retain(|user| *user != (id, page));
            if frame.users.is_empty() {
                let copy = frame.copy;
                state.frames.remove(&number);
                if let Some(copy) = copy {
                    release_slot(&mut state.swap, copy);
                }
                machine.bench.memory.free_frame(number, PAGE);
            }
        }
    }
}
