//! The core, cycle by cycle: ports with their L1, miss table, dispatch, completion, as the hardware's blocks of these names move
//! requests from register to register. What a cycle does follows from the registers before it.
//!
//! Left out is what a run without invalidations and fences does not use. A fault's record costs one cycle, as with a queue that is
//! ready.

mod counts;
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
use crate::pages::{Pages, Place};
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

impl Port {
    /// Nothing is under way in it.
    #[inline]
    fn is_quiet(&self) -> bool {
        self.stage == Stage::Empty
            && self.response.is_none()
            && self.offer.is_none()
            && self.miss_count == 0
            && self.outstanding == 0
    }
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
        // The devices.
        for index in 0..self.ports.len() {
            changed |= self.port(index, deliver, allocating == Some(index));
        }
        // The rest of the core.
        let around = &mut Around {
            pages: &self.pages,
            memory: &mut self.memory,
            walk_cache: &mut self.walk_cache,
            reads: &mut self.reads,
        };
        changed |= self.walkers.cycle(now, around);
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

    /// The request whose completion is on offer to a port.
    fn deliver(&self) -> Option<u32> {
        let Completion { state, task, entry, primary, ok, .. } = self.completion;
        if state != Completing::Deliver || (primary && task.entry.is_none()) {
            return None;
        }
        let flight = self.table.flights[usize::from(entry)];
        (primary || (ok && self.flights[flight as usize].granted)).then_some(flight)
    }

    /// One cycle of a port. `deliver` is the completion on offer, `taken` says that the miss table takes the oldest miss.
    #[inline]
    fn port(&mut self, index: usize, deliver: Option<u32>, taken: bool) -> bool {
        let now = self.now;
        let port = &self.ports[index];
        if port.is_quiet() && deliver.is_none() && !self.devices.uses(index) {
            return false;
        }
        let mut changed = taken;
        let answered = self.ports[index].response.take();
        if let Some(flight) = answered {
            self.answer(flight, now);
            changed = true;
        }
        let port = &mut self.ports[index];
        if port.offer.is_none() && port.free > 0 {
            if let Some((stream, request)) = self.devices.choose(index, now) {
                changed = true;
                port.free -= 1;
                let binding = self.devices.streams[usize::from(stream)].binding;
                let place = match self.pages.find(binding as usize, request.address, self.mapping) {
                    Ok(place) => place,
                    Err(error) => {
                        self.failure.get_or_insert(error);
                        Place::default()
                    }
                };
                let (id, granted) = (place.id, place.grants & request.need != 0);
                let stamps = Stamps { offered: now, ..Stamps::default() };
                let port = index as u8;
                let flight =
                    Flight { stream, port, granted, id, binding, request, stamps, ..Flight::default() };
                let number = self.hold(flight);
                self.ports[index].offer = Some(number);
            }
        }
        // The edge.
        let port = &mut self.ports[index];
        let completes = deliver.filter(|&flight| usize::from(self.flights[flight as usize].port) == index);
        let completes = completes.filter(|_| !matches!(port.stage, Stage::Complete(..)));
        let looking = matches!(port.stage, Stage::Lookup(_));
        let room = port.miss_count == 0 || (port.miss_count == 1 && !looking);
        let ready = port.outstanding != port.places && room && completes.is_none();
        let accepted = if ready { port.offer.take() } else { None };
        port.outstanding += u32::from(accepted.is_some());
        port.outstanding -= u32::from(answered.is_some());
        if taken {
            port.misses[0] = port.misses[1];
            port.miss_count -= 1;
        }
        changed |= port.stage != Stage::Empty;
        match port.stage {
            Stage::Empty => {}
            Stage::Lookup(flight) => {
                let Flight { id, granted, .. } = self.flights[flight as usize];
                port.lookups += 1;
                if granted && port.l1.holds(id) {
                    port.hits += 1;
                    port.l1.touch(id);
                    port.response = Some(flight);
                } else {
                    self.flights[flight as usize].stamps.missed = true;
                    port.misses[usize::from(port.miss_count)] = flight;
                    port.miss_count += 1;
                }
            }
            Stage::Complete(flight, fills) => {
                if fills {
                    port.l1.fill(self.flights[flight as usize].id);
                }
                port.response = Some(flight);
            }
        }
        port.stage = match (completes, accepted) {
            (Some(flight), _) => Stage::Complete(flight, self.completion.cacheable),
            (None, Some(flight)) => Stage::Lookup(flight),
            (None, None) => Stage::Empty,
        };
        changed |= port.stage != Stage::Empty;
        if let Some(flight) = accepted {
            self.flights[flight as usize].stamps.accepted = now;
        }
        changed
    }

    /// A place for an access.
    fn hold(&mut self, flight: Flight) -> u32 {
        match self.vacant.pop() {
            Some(number) => {
                self.flights[number as usize] = flight;
                number
            }
            None => {
                self.flights.push(flight);
                self.flights.len() as u32 - 1
            }
        }
    }

    /// The device takes a response: its access goes to memory, or ends.
    fn answer(&mut self, number: u32, now: u64) {
        let flight = &mut self.flights[number as usize];
        flight.stamps.answered = now;
        let Flight { port, request, granted, id, stamps, .. } = *flight;
        self.ports[usize::from(port)].free += 1;
        self.latencies.add(now - stamps.offered);
        self.accesses += 1;
        if granted {
            self.bytes += u64::from(request.bytes);
            let address = self.pages.physical(id, request.address);
            self.memory.access(now, number, address, request.bytes);
        } else {
            self.faults += 1;
            self.end_flight(number, now);
        }
    }

    /// Dispatch, and the miss table as far as dispatch changes it. `allocated` is the entry that is being written.
    fn dispatch(&mut self, now: u64, allocated: Option<u8>, copied: Option<usize>, filling: bool) -> bool {
        let pending = self.table.pending;
        let mut changed = true;
        match self.dispatch.state {
            Dispatching::Idle => {
                let late = pending & self.table.above;
                let next = if late != 0 { late } else { pending };
                let entry = if next != 0 { Some(next.trailing_zeros() as u8) } else { allocated };
                changed = entry.is_some();
                if let Some(entry) = entry {
                    (self.dispatch.entry, self.dispatch.state) = (entry, Dispatching::Lookup);
                }
            }
            Dispatching::Lookup => {
                let Flight { binding, request, id, granted, .. } = *self.dispatched();
                let vpn = request.address >> 12;
                self.dispatch.same = self.walkers.same(binding, vpn);
                self.dispatch.l2_hit = false;
                self.dispatch.state = if self.l2.exists() { Dispatching::Wait } else { Dispatching::Issue };
                if filling {
                    // What is being written can't be read.
                    self.l2.miss();
                } else {
                    self.dispatch.l2_hit = self.l2.lookup(vpn, id, granted).0;
                }
            }
            Dispatching::Wait => self.dispatch.state = Dispatching::Issue,
            Dispatching::Issue => changed = self.issue(now, copied),
        }
        if let Some(slot) = allocated {
            self.table.used |= 1 << slot;
            self.table.pending |= 1 << slot;
        }
        changed || allocated.is_some()
    }

    fn dispatched(&self) -> &Flight {
        &self.flights[self.table.flights[usize::from(self.dispatch.entry)] as usize]
    }

    /// A miss waits for the walk of another, or begins one.
    fn issue(&mut self, now: u64, copied: Option<usize>) -> bool {
        let released = copied.map_or(0, |walker| 1 << walker);
        let joins = self.dispatch.same & !self.walkers.idle & !released;
        let entry = self.dispatch.entry;
        let bit = 1u64 << entry;
        let number = self.table.flights[usize::from(entry)];
        if joins == 0 && self.walkers.idle == 0 {
            return false;
        }
        let Flight { binding, request, id, .. } = self.flights[number as usize];
        let device = self.pages.binding(binding as usize).device + 1;
        let device_known = self.ddtc.lookup(device);
        let process_known = self.pdtc.lookup(binding + 1);
        if joins != 0 {
            let walker = joins.trailing_zeros() as usize;
            self.table.waits_for[usize::from(entry)] = walker as u8;
            self.table.waiting |= bit;
            self.merged += 1;
            let waited = self.walkers.times(walker, now).0;
            let flight = &mut self.flights[number as usize];
            (flight.joined, flight.joined_waited) = (now, waited);
        } else {
            let known = self.dispatch.l2_hit;
            let walker = self.walkers.idle.trailing_zeros() as usize;
            self.walks += u64::from(!known);
            let vpn = request.address >> 12;
            let port = self.flights[number as usize].port;
            let task =
                Task { entry: Some(entry), port, binding, vpn, id, device_known, process_known, known };
            self.walkers.start(now, walker, task);
        }
        let flight = &mut self.flights[number as usize];
        flight.stamps.l2 += u32::from(self.l2.exists());
        self.table.pending &= !bit;
        self.table.above = !(bit | (bit - 1));
        self.dispatch.state = Dispatching::Idle;
        true
    }

    /// Completion, and the miss table as far as completion changes it.
    fn complete(&mut self, now: u64, copied: Option<usize>, delivered: bool) -> bool {
        let woken = self.table.woken;
        match self.completion.state {
            Completing::Idle => match copied {
                Some(walker) => self.copy(now, walker),
                None => return false,
            },
            Completing::Report => self.completion.state = Completing::Deliver,
            Completing::Deliver => {
                let bit = 1u64 << self.completion.entry;
                let Completion { task, primary, .. } = self.completion;
                if primary && task.entry.is_none() {
                    self.keep_prefetched();
                    self.completion.state = Completing::Waiters;
                } else if delivered {
                    if primary && self.completion.cacheable && !task.known {
                        self.l2.fill(task.vpn, task.id);
                    }
                    self.table.used &= !bit;
                    self.table.woken &= !bit;
                    self.completion.state = Completing::Waiters;
                } else if self.deliver().is_none() {
                    self.table.woken &= !bit;
                    self.table.pending |= bit;
                    self.completion.state = Completing::Waiters;
                }
            }
            Completing::Waiters => {
                self.completion.primary = false;
                self.completion.state = if woken != 0 { Completing::Deliver } else { Completing::Idle };
                self.completion.entry = woken.trailing_zeros() as u8 & 63;
            }
        }
        true
    }

    /// The result of a walk is taken.
    fn copy(&mut self, now: u64, walker: usize) {
        let task = *self.walkers.task(walker);
        let (waited, rest) = self.walkers.times(walker, now);
        self.walkers.take(walker);
        let page = *self.pages.known(task.id);
        let ok = match task.entry {
            Some(entry) => {
                let flight = &mut self.flights[self.table.flights[usize::from(entry)] as usize];
                flight.stamps.table_memory += waited as u32;
                flight.stamps.walker += rest as u32;
                flight.granted
            }
            None => page.grants != 0,
        };
        let mut left = self.table.waiting;
        while left != 0 {
            let entry = left.trailing_zeros() as usize;
            left &= left - 1;
            if usize::from(self.table.waits_for[entry]) == walker {
                self.table.waiting &= !(1 << entry);
                self.table.woken |= 1 << entry;
                let flight = &mut self.flights[self.table.flights[entry] as usize];
                let total = now - flight.joined;
                let memory = (waited - flight.joined_waited.min(waited)).min(total);
                flight.stamps.table_memory += memory as u32;
                flight.stamps.walker += (total - memory) as u32;
            }
        }
        let loaded = |known: bool, id: Id| if known || task.known { 0 } else { id };
        let device = loaded(task.device_known, self.pages.binding(task.binding as usize).device + 1);
        let process = loaded(task.process_known, task.binding + 1);
        if device | process != 0 {
            self.contexts.push_back((now + CONTEXT_SEEN, device, process));
        }
        let cacheable = ok && page.cacheable;
        let completion = &mut self.completion;
        completion.last_walker = walker;
        completion.state = if ok { Completing::Deliver } else { Completing::Report };
        (completion.task, completion.entry) = (task, task.entry.unwrap_or(0));
        (completion.primary, completion.ok, completion.cacheable) = (true, ok, cacheable);
        if cacheable && !task.known && task.entry.is_some() {
            self.prefetch(task);
        }
    }
}
