//! Whether the operating system's own records, the page tables and memory agree.

use super::fault::level_of;
use super::{Os, OsError, Place, State, backing_content};
use crate::machine::Machine;
use crate::memory::PAGE;
use crate::truth::SpaceId;
use pasidon_spec::page_table::{napot, pte};
use std::collections::BTreeMap;

impl Os {
    /// What is wrong, one line each: frames, tables and swap that nobody refers to or too many do, entries that
    /// lead elsewhere, bytes that are not what they must be. Devices are idle.
    pub fn audit(&self) -> Vec<String> {
        let mut state = self.state();
        let mut wrong = Vec::new();
        if let Err(OsError::Driver(error)) = self.settle(&mut state) {
            wrong.push(format!("what was unmapped could not be freed: {error}"));
        }
        let machine = self.platform.machine();
        let tables: usize = state.spaces.values().map(|space| space.tables.frames.len()).sum();
        let large: usize = state.spaces.values().map(|space| space.large.len()).sum();
        let limbo: usize = state.limbo.iter().map(|limbo| limbo.large.len() + limbo.tables.len()).sum();
        let (known, used) = (state.frames.len() + tables + large + limbo, machine.bench.memory.frames_used());
        if known != used {
            wrong.push(format!("{used} frames are in use, {known} of them for something"));
        }
        if state.frames.len() > state.limit {
            wrong.push(format!("{} frames hold pages, {} may", state.frames.len(), state.limit));
        }
        check_books(&state, &mut wrong);
        for id in state.spaces.keys() {
            check_tables(&state, &machine, *id, &mut wrong);
            let bytes = wrong_bytes(&state, &machine, *id);
            if bytes > 0 {
                wrong.push(format!("process {id}: {bytes} bytes are wrong"));
            }
        }
        wrong
    }

    /// Bytes of a process that are not what they must be, wherever they are.
    pub fn wrong_bytes(&self, id: SpaceId) -> u64 {
        wrong_bytes(&self.state(), &self.platform.machine(), id)
    }
}

fn check_books(state: &State, wrong: &mut Vec<String>) {
    let mut users: BTreeMap<u64, Vec<(SpaceId, u64)>> = BTreeMap::new();
    let mut slots: BTreeMap<u64, u32> = BTreeMap::new();
    let limbo = state
        .limbo
        .iter()
        .flat_map(|limbo| limbo.pages.iter().filter_map(|&(page, place)| Some((limbo.space, page, place?))));
    let alive = state
        .spaces
        .iter()
        .flat_map(|(&id, space)| space.pages.iter().map(move |(&page, &place)| (id, page, place)));
    for (id, page, place) in alive.chain(limbo) {
        match place {
            Place::Frame(frame) => users.entry(frame).or_default().push((id, page)),
            Place::Swap(slot) => *slots.entry(slot).or_default() += 1,
        }
    }
    for (number, frame) in &state.frames {
        let mut listed = frame.users.clone();
        let mut real = users.remove(number).unwrap_or_default();
        listed.sort_unstable();
        real.sort_unstable();
        if listed != real {
            wrong.push(format!("frame {number:#x} is listed for {listed:x?} and used by {real:x?}"));
        }
        if let Some(copy) = frame.copy {
            *slots.entry(copy).or_default() += 1;
        }
    }
    for (frame, pages) in users {
        wrong.push(format!("frame {frame:#x} is used by {pages:x?} and not listed"));
    }
    for (number, slot) in &state.swap {
        let real = slots.remove(number).unwrap_or(0);
        if real != slot.users {
            wrong.push(format!("slot {number} of swap counts {} users and has {real}", slot.users));
        }
    }
    for slot in slots.keys() {
        wrong.push(format!("slot {slot} of swap is used and does not exist"));
    }
}

/// Every valid leaf leads to the frame that the page is in, and allows no more than it may; every table is known.
fn check_tables(state: &State, machine: &Machine, id: SpaceId, wrong: &mut Vec<String>) {
    let Some(space) = state.spaces.get(&id) else { return };
    let mut tables = 0;
    let root = space.tables.geometry.root();
    let mut todo = vec![(space.tables.root, root, 0u64)];
    while let Some((table, level, base)) = todo.pop() {
        tables += 1;
        for index in 0..PAGE / 8 {
            let value = machine.bench.memory.load(table + 8 * index).unwrap_or(0);
            if !pte::V.is_set(value) {
                continue;
            }
            let va = base | index << space.tables.geometry.levels[level].lo;
            let group = u64::from(pte::N.is_set(value)) * ((1 << napot::GROUP_BITS) - 1);
            // Of a group each entry leads to its own part.
            let target = ((pte::PPN.get(value) & !group) | ((va / PAGE) & group)) * PAGE;
            if !pte::R.is_set(value) && !pte::X.is_set(value) {
                if level == 0 {
                    wrong.push(format!("process {id}: {va:#x} has an entry without permissions"));
                } else {
                    todo.push((target, level - 1, base | index << space.tables.geometry.levels[level].lo));
                }
                continue;
            }
            let page = va / PAGE;
            let granted = machine.truth.granted(id, page);
            let right = granted.is_some_and(|grant| {
                grant.frame == target
                    && (grant.write || !pte::W.is_set(value))
                    && (grant.exec || !pte::X.is_set(value))
            });
            let known = match space.pages.get(&page) {
                Some(&Place::Frame(frame)) => frame == target && level == 0,
                _ => space.large.range(..=page).next_back().is_some_and(|(&first, &(frame, shift))| {
                    level == level_of(shift) && frame + (page - first) * PAGE == target
                }),
            };
            if !right || !known {
                wrong.push(format!("process {id}: {va:#x} leads to {target:#x}; it should be {granted:x?}"));
            }
        }
    }
    if tables != space.tables.frames.len() {
        wrong.push(format!("process {id}: {tables} tables, {} known", space.tables.frames.len()));
    }
}

fn wrong_bytes(state: &State, machine: &Machine, id: SpaceId) -> u64 {
    let Some(space) = state.spaces.get(&id) else { return 0 };
    let mut wrong = 0;
    let mut backing = vec![0; PAGE as usize];
    for (&first, area) in &space.areas {
        for page in first..area.end {
            // Nobody has looked at it, and memory has nothing there.
            if area.is_large() && machine.truth.content(id, page).is_none() {
                continue;
            }
            let large = space.large.range(..=page).next_back().filter(|_| area.is_large());
            let actual = match space.pages.get(&page) {
                Some(Place::Frame(frame)) => machine.bench.memory.slice(*frame, PAGE as usize),
                Some(Place::Swap(slot)) => state.swap.get(slot).map(|slot| &*slot.bytes),
                None => match large {
                    Some((first, (frame, _))) => {
                        machine.bench.memory.slice(frame + (page - first) * PAGE, PAGE as usize)
                    }
                    None => {
                        backing_content(area.backing, page, &mut backing);
                        Some(&backing[..])
                    }
                },
            };
            let (Some(actual), Some(content)) = (actual, machine.truth.content(id, page)) else {
                wrong += PAGE;
                continue;
            };
            if actual != content {
                wrong += actual.iter().zip(content).filter(|(a, b)| a != b).count() as u64;
            }
        }
    }
    wrong
}
