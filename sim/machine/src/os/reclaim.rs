//! Taking pages out of memory when it is short.

use super::fault::Absent;
use super::{Os, Place, Slot, State};
use crate::memory::PAGE;
use pasidon_driver::{Change, CommandError};
use pasidon_spec::page_table::pte;

impl Os {
    /// A free frame, at somebody's expense if there is none.
    pub(super) fn take_frame(&self, state: &mut State) -> Result<u64, Absent> {
        loop {
            if state.frames.len() < state.limit
                && let Some(frame) = self.platform.machine().bench.memory.alloc_frame()
            {
                return Ok(frame);
            }
            let victim = self.choose(state).ok_or(Absent::OutOfMemory)?;
            // A device that asked waits until this is possible.
            self.evict(state, victim).map_err(|_| Absent::Later)?;
        }
    }

    /// Second chance: the frame that waits longest and was not accessed since it was asked last. Frames whose pages are locked
    /// stay.
    fn choose(&self, state: &mut State) -> Option<u64> {
        for _ in 0..2 * state.clock.len() {
            let (number, stamp) = state.clock.pop_front()?;
            let Some(frame) = state.frames.get(&number).filter(|frame| frame.stamp == stamp) else {
                continue;
            };
            state.clock.push_back((number, stamp));
            let mut machine = self.platform.machine();
            let mut accessed = false;
            let mut locked = false;
            for &(id, page) in &frame.users {
                let Some(space) = state.spaces.get(&id) else { continue };
                locked |= space.area(page).is_some_and(|(_, area)| area.locked);
                let Some(entry) = space.tables.entry(&machine.bench.memory, page * PAGE, 0) else { continue };
                let value = machine.bench.memory.load(entry).unwrap_or(0);
                if pte::V.is_set(value) && pte::A.is_set(value) {
                    accessed = true;
                    machine.bench.memory.store(entry, pte::A.set(value, 0));
                }
            }
            if !accessed && !locked {
                return Some(number);
            }
        }
        None
    }

    /// Takes the pages in a frame out of memory, and frees it.
    fn evict(&self, state: &mut State, number: u64) -> Result<(), CommandError> {
        let Some(frame) = state.frames.get(&number) else { return Ok(()) };
        let users = frame.users.clone();
        let mut before = Vec::with_capacity(users.len());
        for &(id, page) in &users {
            before.push(self.clear_leaf(state, id, page));
        }
        for at in 0..users.len() {
            let (id, page) = users[at];
            let Some(mm) = state.spaces.get(&id).map(|space| space.mm.clone()) else { continue };
            let range = page * PAGE..(page + 1) * PAGE;
            if before[at] != 0
                && let Err(error) = self.shoot_down(&mut state.statistics, &mm, range, Change::Leaves)
            {
                for (&(id, page), &value) in users.iter().zip(&before) {
                    self.restore_leaf(state, id, page, value);
                }
                return Err(error);
            }
        }
        let Some(frame) = state.frames.remove(&number) else { return Ok(()) };
        state.statistics.page_outs += users.len() as u64;
        let mut machine = self.platform.machine();
        // The reference of the frame to its copy ends, each of the pages gets one.
        let count = users.len() as u32;
        let slot = match frame.copy {
            Some(copy) if !frame.dirty => {
                if let Some(slot) = state.swap.get_mut(&copy) {
                    slot.users += count - 1;
                }
                Some(copy)
            }
            _ if frame.dirty => {
                state.numbers += 1;
                state.statistics.swap_writes += 1;
                let bytes = machine.bench.memory.slice(number, PAGE as usize).unwrap_or(&[]).into();
                state.swap.insert(state.numbers, Slot { bytes, users: count });
                Some(state.numbers)
            }
            _ => None,
        };
        if let Some(copy) = frame.copy.filter(|copy| Some(*copy) != slot) {
            super::fault::release_slot(&mut state.swap, copy);
        }
        for (id, page) in users {
            machine.truth.revoke(id, page);
            if let Some(space) = state.spaces.get_mut(&id) {
                match slot {
                    Some(slot) => space.pages.insert(page, Place::Swap(slot)),
                    None => space.pages.remove(&page),
                };
            }
        }
        machine.bench.memory.free_frame(number, PAGE);
        Ok(())
    }
}
