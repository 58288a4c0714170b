//! Walkers and their way to memory, state by state as the hardware's: a cycle to decide, one for each context, one for the root of the
//! page table, and for each read a cycle or more of request and memory's time.

use super::memory::Memory;
use crate::cache::Id;
use crate::cache::walk_cache::WalkCache;
use crate::pages::Pages;
use crate::walks::WalkReads;

/// What a walker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Start,
    HaveDevice,
    HaveProcess,
    Root,
    /// Asks for the read at this position of the way.
    Read,
    Data,
    Done,
}

/// What is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Device,
    Process,
    Table,
}

/// What a walk is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Task {
    /// The miss-table entry; none of a prefetch.
    pub entry: Option<u8>,
    /// The port that asks.
    pub port: u8,
    /// The process and device that ask.
    pub binding: u32,
    /// The 4 KiB page that is asked for.
    pub vpn: u64,
    /// Its page.
    pub id: Id,
    /// What the caches knew: device context, process context, and the translation.
    pub device_known: bool,
    /// See above.
    pub process_known: bool,
    /// See above.
    pub known: bool,
}

/// A walker.
#[derive(Clone, Copy, Debug)]
struct Walker {
    state: State,
    task: Task,
    kind: Kind,
    /// Position in what is being read of a kind.
    step: u8,
    /// The first level that is read of the page table.
    first: u8,
    /// When the walk began, and when the read under way did.
    began: u64,
    asked: u64,
    waited: u64,
}

/// All walkers of a design. Bit `i` of a mask is walker `i`.
pub struct Walkers {
    walkers: Vec<Walker>,
    beats_of_device: u8,
    /// Those that wait for a walk.
    pub idle: u32,
    /// Those with a result.
    pub done: u32,
    /// Those that change in every cycle, and those that ask for a read.
    busy: u32,
    reading: u32,
    /// The walker whose read is on offer and was not accepted; who was accepted last.
    offered: Option<u8>,
    last: usize,
}

/// The first of the `n` requesters in `mask` after `last`, else the first of all: as `round_robin` in the hardware.
#[inline]
pub fn in_turn(mask: u32, last: usize) -> Option<usize> {
    if mask == 0 {
        return None;
    }
    let late = mask & !((2u32 << last).wrapping_sub(1));
    let chosen = if late != 0 { late } else { mask };
    Some(chosen.trailing_zeros() as usize)
}

/// What walks use.
pub struct Around<'a> {
    /// Pages and tables.
    pub pages: &'a Pages,
    /// Memory.
    pub memory: &'a mut Memory,
    /// Imagined.
    pub walk_cache: &'a mut WalkCache,
    /// What is counted.
    pub reads: &'a mut WalkReads,
}

impl Walkers {
    /// All idle.
    pub fn new(count: u32, extended_contexts: bool) -> Walkers {
        let walker = Walker {
            state: State::Idle,
            task: Task::default(),
            kind: Kind::Device,
            step: 0,
            first: 0,
            began: 0,
            asked: 0,
            waited: 0,
        };
        Walkers {
            walkers: vec![walker; count as usize],
            beats_of_device: if extended_contexts { 8 } else { 4 },
            idle: ((1u64 << count) - 1) as u32,
            done: 0,
            busy: 0,
            reading: 0,
            offered: None,
            // Nobody was granted yet: the first comes first.
            last: 31,
        }
    }

    /// The walk of a walker.
    pub fn task(&self, walker: usize) -> &Task {
        &self.walkers[walker].task
    }

    /// Walkers that walk, or walked last, for this page of this process on this device.
    pub fn same(&self, binding: u32, vpn: u64) -> u32 {
        let mine = |walker: &Walker| walker.task.binding == binding && walker.task.vpn == vpn;
        (0..).zip(&self.walkers).fold(0, |mask, (i, walker)| mask | u32::from(mine(walker)) << i)
    }

    /// Cycles that a walk took until the end of `now`: waiting for memory, and the rest. The walk may be under way.
    pub fn times(&self, walker: usize, now: u64) -> (u64, u64) {
        let walker = &self.walkers[walker];
        let total = now - walker.began;
        let waits = matches!(walker.state, State::Read | State::Data);
        let present = if waits { (now + 1).saturating_sub(walker.asked) } else { 0 };
        let waited = (walker.waited + present).min(total);
        (waited, total - waited)
    }

    /// Begins a walk at the end of this cycle.
    pub fn start(&mut self, now: u64, walker: usize, task: Task) {
        let bit = 1 << walker;
        self.idle &= !bit;
        self.busy |= bit;
        self.walkers[walker] =
            Walker { state: State::Start, task, began: now, waited: 0, ..self.walkers[walker] };
    }

    /// The result is taken at the end of this cycle.
    pub fn take(&mut self, walker: usize) {
        self.walkers[walker].state = State::Idle;
        self.done &= !(1 << walker);
        self.idle |= 1 << walker;
    }

    /// One cycle of all walks and of their reads. Call it before [`start`](Self::start) and [`take`](Self::take) of the same cycle.
    /// Says whether anything changed.
    #[inline]
    pub fn cycle(&mut self, now: u64, around: &mut Around<'_>) -> bool {
        if self.busy | self.reading == 0 && around.memory.is_quiet() {
            return false;
        }
        let (busy, reading) = (self.busy, self.reading);
        let mut changed = busy != 0;
        if let Some(walker) = around.memory.arrival(now) {
            self.arrived(now, walker.into(), around);
            changed = true;
        }
        if reading != 0 {
            changed |= self.request(now, reading, around);
        }
        let mut left = busy;
        while left != 0 {
            let walker = left.trailing_zeros() as usize;
            left &= left - 1;
            self.step(now, walker, around);
        }
        changed
    }

    /// The read address channel. Says whether anything changed.
    fn request(&mut self, now: u64, reading: u32, around: &mut Around<'_>) -> bool {
        let chosen = match self.offered {
            Some(walker) => walker.into(),
            None => in_turn(reading, self.last).unwrap_or(0),
        };
        if !around.memory.accepts() {
            return self.offered.replace(chosen as u8).is_none();
        }
        if self.offered.take().is_none() {
            self.last = chosen;
        }
        let walker = &self.walkers[chosen];
        let binding = around.pages.binding(walker.task.binding as usize);
        let step = usize::from(walker.step);
        let last_of = |list: &[u64]| step + 1 == list.len();
        let (address, beats) = match walker.kind {
            Kind::Device => (binding.ddt[step], if last_of(&binding.ddt) { self.beats_of_device } else { 1 }),
            Kind::Process => (binding.pdt[step], if last_of(&binding.pdt) { 2 } else { 1 }),
            Kind::Table => (around.pages.entry(walker.task.id, walker.task.vpn, step), 1),
        };
        around.memory.read(now, chosen as u8, address, beats);
        self.walkers[chosen].state = State::Data;
        self.reading &= !(1 << chosen);
        true
    }

    fn read(&mut self, now: u64, walker: usize, kind: Kind, step: u8) {
        let w = &mut self.walkers[walker];
        (w.state, w.kind, w.step, w.asked) = (State::Read, kind, step, now + 1);
        self.busy &= !(1 << walker);
        self.reading |= 1 << walker;
    }

    fn goto(&mut self, walker: usize, state: State) {
        self.walkers[walker].state = state;
        self.busy |= 1 << walker;
    }

    fn finish(&mut self, walker: usize) {
        self.walkers[walker].state = State::Done;
        self.busy &= !(1 << walker);
        self.done |= 1 << walker;
    }

    /// The last beat of a read.
    fn arrived(&mut self, now: u64, walker: usize, around: &mut Around<'_>) {
        let w = &mut self.walkers[walker];
        w.waited += now + 1 - w.asked;
        let Walker { task, kind, step, .. } = *w;
        let binding = around.pages.binding(task.binding as usize);
        let next = step + 1;
        match kind {
            Kind::Device if usize::from(next) == binding.ddt.len() => {
                around.reads.device();
                self.goto(walker, State::HaveDevice);
            }
            Kind::Process if usize::from(next) == binding.pdt.len() => {
                around.reads.process();
                self.goto(walker, State::HaveProcess);
            }
            Kind::Table if next == around.pages.known(task.id).reads => self.finish(walker),
            _ => self.read(now, walker, kind, next),
        }
    }

    /// A state that lasts a cycle.
    fn step(&mut self, now: u64, walker: usize, around: &mut Around<'_>) {
        let Walker { state, task, .. } = self.walkers[walker];
        match state {
            State::Start if task.known => self.finish(walker),
            State::Start if task.device_known => self.goto(walker, State::HaveDevice),
            State::Start => self.read(now, walker, Kind::Device, 0),
            State::HaveDevice if task.process_known => self.goto(walker, State::HaveProcess),
            State::HaveDevice => self.read(now, walker, Kind::Process, 0),
            State::HaveProcess => self.goto(walker, State::Root),
            State::Root => {
                let page = around.pages.known(task.id);
                if page.reads == 0 {
                    self.finish(walker);
                    return;
                }
                let first =
                    around.walk_cache.walk(page.space, task.vpn, page.root.into(), page.leaf().into()) as u8;
                around.reads.table(first, page.leaf());
                self.walkers[walker].first = first;
                self.read(now, walker, Kind::Table, page.root - first);
            }
            State::Idle | State::Read | State::Data | State::Done => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns() {
        assert_eq!(in_turn(0b1011, 31), Some(0));
        assert_eq!(in_turn(0b1011, 0), Some(1));
        assert_eq!(in_turn(0b1011, 1), Some(3));
        assert_eq!(in_turn(0b1011, 3), Some(0));
        assert_eq!(in_turn(0, 3), None);
    }
}
