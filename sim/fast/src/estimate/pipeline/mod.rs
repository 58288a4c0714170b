//! The core, cycle by cycle: ports with their L1, miss table, dispatch, completion, as the hardware's blocks of these names move
//! requests from register to register. What a cycle does follows from the registers before it.
//!
//! Left out is what a run without invalidations and fences does not use. A fault's record costs one cycle, as with a queue that is
//! ready.

mod completion;
mod counts;
mod dispatch;
mod port;
mod prefetch;

use super::devices::Devices;
use super::memory::Memory;
use super::record::{Latencies, Stamps};
use super::walker::{Around, Task, Walkers, in_turn};
use crate::cache::Id;
use crate::cache::context_cache::ContextCache;
use crate::cache::l1_tlb::L1Tlb;
use crate::cache::l2_tlb::L2Tlb;
use crate::cache::walk_cache::WalkCache;
use crate::channel::Request;
use crate::error::FastError;
use crate::mapping::Mapping;
use crate::pages::Pages;
use crate::walks::WalkReads;
use pasidon_experiment::answer::Breakdown;
use pasidon_experiment::imagined::Imagined;
use pasidon_rtl::design::Design;
use pasidon_rtl::translate::fence;
use std::collections::VecDeque;

/// The most requests that a device has at a port, whatever the id width allows.
const MOST_OUTSTANDING: u32 = 64;
/// Cycles from the copy of a result until a context of it is seen in dispatch.
const CONTEXT_SEEN: u64 = 3;

/// An access under way.
#[derive(Clone, Copy, Default)]
struct Flight {
    stream: u16,
    port: u8,
    granted: bool,
    id: Id,
    binding: u32,
    request: Request,
    stamps: Stamps,
    /// When it joined the walk of another, and how long that had waited for memory.
    joined: u64,
    joined_waited: u64,
}

/// What the stage of a port does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Empty,
    Lookup(u32),
    /// A completion, and whether it fills.
    Complete(u32, bool),
}

/// A translation port, device's side included.
struct Port {
    l1: L1Tlb,
    stage: Stage,
    response: Option<u32>,
    offer: Option<u32>,
    misses: [u32; 2],
    miss_count: u8,
    /// Accepted and not answered, and the most of them.
    outstanding: u32,
    places: u32,
    /// Requests that the device can still have.
    free: u32,
    hits: u64,
    lookups: u64,
}

/// The miss table: bit `i` of a mask is entry `i`.
struct MissTable {
    flights: Vec<u32>,
    waits_for: Vec<u8>,
    all: u64,
    used: u64,
    pending: u64,
    waiting: u64,
    woken: u64,
    /// Entries above the one that was dispatched last.
    above: u64,
    last_port: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dispatching {
    Idle,
    Lookup,
    Wait,
    Issue,
}

struct Dispatch {
    state: Dispatching,
    entry: u8,
    same: u32,
    l2_hit: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Completing {
    Idle,
    Report,
    Deliver,
    Waiters,
}

struct Completion {
    state: Completing,
    task: Task,
    entry: u8,
    primary: bool,
    /// The walk found a translation, which may be kept.
    ok: bool,
    cacheable: bool,
    last_walker: usize,
}

/// The core and everything around it.
pub struct Pipeline<'a> {
    /// Cycles since the beginning.
    pub now: u64,
    /// Devices.
    pub devices: Devices,
    /// Pages and tables.
    pub pages: Pages,
    /// Memory.
    pub memory: Memory,
    mapping: &'a dyn Mapping,
    imagined: Imagined,
    flights: Vec<Flight>,
    vacant: Vec<u32>,
    ports: Vec<Port>,
    table: MissTable,
    dispatch: Dispatch,
    walkers: Walkers,
    completion: Completion,
    l2: L2Tlb,
    ddtc: ContextCache,
    pdtc: ContextCache,
    /// Contexts on their way into the caches: when they are seen, device, binding; 0 for none.
    contexts: VecDeque<(u64, Id, Id)>,
    /// Pages to be brought in (imagined).
    prefetches: VecDeque<Task>,
    walk_cache: WalkCache,
    reads: WalkReads,
    walks: u64,
    merged: u64,
    accesses: u64,
    bytes: u64,
    faults: u64,
    /// Why the run is none.
    failure: Option<FastError>,
    /// Where the time went.
    pub breakdown: Breakdown,
    /// Of translations.
    pub latencies: Latencies,
}

impl<'a> Pipeline<'a> {
    /// Everything idle.
    pub fn new(
        design: &Design,
        mapping: &'a dyn Mapping,
        imagined: &Imagined,
        pages: Pages,
        devices: Devices,
        memory: Memory,
    ) -> Pipeline<'a> {
        let entries = design.miss_entries as usize;
        let port = |_| Port {
            l1: L1Tlb::new(design.l1_entries, imagined.l1_replacement),
            stage: Stage::Empty,
            response: None,
            offer: None,
            misses: [0; 2],
            miss_count: 0,
            outstanding: 0,
            places: fence::outstanding(design),
            free: MOST_OUTSTANDING.min(1 << design.id_width),
            hits: 0,
            lookups: 0,
        };
        Pipeline {
            now: 0,
            devices,
            pages,
            memory,
            mapping,
            imagined: *imagined,
            flights: Vec::new(),
            vacant: Vec::new(),
            ports: (0..design.ports).map(port).collect(),
            table: MissTable {
                flights: vec![0; entries],
                waits_for: vec![0; entries],
                all: u64::MAX >> (64 - entries),
                used: 0,
                pending: 0,
                waiting: 0,
                woken: 0,
                above: 0,
                last_port: 31,
            },
            dispatch: Dispatch { state: Dispatching::Idle, entry: 0, same: 0, l2_hit: false },
            walkers: Walkers::new(design.walkers, design.extended_contexts()),
            completion: Completion {
                state: Completing::Idle,
                task: Task::default(),
                entry: 0,
                primary: true,
                ok: false,
                cacheable: false,
                last_walker: 31,
            },
            l2: L2Tlb::new(design.l2_sets, design.l2_ways, imagined.l2_replacement),
            ddtc: ContextCache::new(design.ddtc_entries),
            pdtc: ContextCache::new(design.pdtc_entries),
            contexts: VecDeque::new(),
            prefetches: VecDeque::new(),
            walk_cache: WalkCache::new(imagined.walk_cache),
            reads: WalkReads::default(),
            walks: 0,
            merged: 0,
            accesses: 0,
            bytes: 0,
            faults: 0,
            failure: None,
            breakdown: Breakdown::default(),
            latencies: Latencies::new(),
        }
    }

    /// Runs until the devices have nothing more to do.
    ///
    /// # Errors
    /// [`FastError`]
    pub fn run(&mut self) -> Result<(), FastError> {
        while !self.devices.is_idle() {
            if self.cycle() {
                self.now += 1;
                continue;
            }
            // Nothing changed: nothing will, until something ends by itself.
            let context = self.contexts.front().map_or(u64::MAX, |(due, ..)| *due);
            let next = self.memory.next_event().min(self.devices.next_event(self.now)).min(context);
            debug_assert!(next != u64::MAX, "nothing is under way, and devices wait");
            self.now = next.max(self.now + 1);
        }
        self.failure.take().or(self.devices.failure.take()).map_or(Ok(()), Err)
    }

    /// One cycle. Says whether anything changed.
    #[inline]
    fn cycle(&mut self) -> bool {
        let now = self.now;
        let mut changed = self.end_data(now);
        while self.contexts.front().is_some_and(|(due, ..)| *due <= now) {
            if let Some((_, device, process)) = self.contexts.pop_front() {
                [(&mut self.ddtc, device), (&mut self.pdtc, process)]
                    .into_iter()
                    .filter(|(_, id)| *id != 0)
                    .for_each(|(cache, id)| cache.fill(id));
            }
            changed = true;
        }
        // What the registers say.
        let deliver = self.deliver();
        let delivered = match deliver {
            Some(flight) => matches!(
                self.ports[usize::from(self.flights[flight as usize].port)].stage,
                Stage::Complete(..)
            ),
            None => false,
        };
        let copied = match self.completion.state {
            Completing::Idle => in_turn(self.walkers.done, self.completion.last_walker),
            _ => None,
        };
        let mut missing = 0;
        for (index, port) in self.ports.iter().enumerate() {
            missing |= u32::from(port.miss_count > 0) << index;
        }
        let used = self.table.used;
        let allocating = if used == self.table.all { None } else { in_turn(missing, self.table.last_port) };
        let allocated = allocating.map(|port| (port, self.ports[port].misses[0]));
        // Memory takes what is read of tables before the data of the same cycle.
        let around = &mut Around {
            pages: &self.pages,
            memory: &mut self.memory,
            walk_cache: &mut self.walk_cache,
            reads: &mut self.reads,
        };
        changed |= self.walkers.cycle(now, around);
        // The devices.
        for index in 0..self.ports.len() {
            changed |= self.port(index, deliver, allocating == Some(index));
        }
        // The rest of the core.
        let keeps = self.completion.primary && self.completion.cacheable && !self.completion.task.known;
        let filling = delivered && keeps && self.l2.exists();
        let slot = (!used).trailing_zeros() as u8;
        if let Some((port, flight)) = allocated {
            self.table.last_port = port;
            self.table.flights[usize::from(slot)] = flight;
        }
        changed |= self.dispatch(now, allocated.map(|_| slot), copied, filling);
        changed |= self.begin_prefetch(now);
        changed |= self.complete(now, copied, delivered);
        changed
    }

    /// Accesses to data that end.
    fn end_data(&mut self, now: u64) -> bool {
        let mut changed = false;
        while let Some(flight) = self.memory.end(now) {
            self.end_flight(flight, now);
            changed = true;
        }
        changed
    }

    fn end_flight(&mut self, flight: u32, now: u64) {
        let Flight { stream, stamps, request, .. } = self.flights[flight as usize];
        stamps.add_to(&mut self.breakdown, now);
        self.devices.finish(stream, &request);
        self.vacant.push(flight);
    }
}
