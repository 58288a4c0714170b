//! What the hardware does, counted and timed from what can be seen inside it: [`Watch`] follows each request from its offer at a
//! translation port to its answer, and says in each cycle what it waits for.
//!
//! A request is offered, accepted, looked up in the L1 TLB in the next cycle; if that misses it waits in the port's miss buffer, then
//! in an entry of the miss table, until it is dispatched to a walker, or to wait for one; at last its response comes through the L1.
//! Each cycle of each access is in one part of the [`Breakdown`]: their sum is the sum of the accesses' times.
//!
//! Never: anything here has an influence on the run. Bounds: as many requests as the ports have places for.

use crate::endpoint::{Endpoint, Waiting};
use pasidon_cosim::Probe;
use pasidon_cosim::verilated::Out;
use pasidon_cosim::verilated::ports::{AxiIn, MAX_PORTS};
use pasidon_cosim::verilated::probe::{MAX_WALKERS, dispatch_state, walker_state};
use pasidon_experiment::answer::Breakdown;
use pasidon_experiment::counts::{CacheCounts, Counts, Reads};
use pasidon_rtl::design::Design;
use std::collections::VecDeque;

/// The most entries of a miss table.
const MAX_SLOTS: usize = 64;

/// What a cycle of an access is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The port does not take the request.
    Port,
    /// Lookup or response.
    L1,
    /// It waits to be dispatched, or is.
    MissTable,
    /// It is looked up in the L2 TLB.
    L2,
    /// A walker has it.
    Walker,
    /// A walker has it, and waits for memory.
    TableMemory,
    /// An invalidation goes on.
    Fence,
    /// A page request has no answer.
    PageRequest,
    /// Its data are under way.
    Data,
}

fn part_of(breakdown: &mut Breakdown, part: Part) -> &mut u64 {
    match part {
        Part::Port => &mut breakdown.port,
        Part::L1 => &mut breakdown.l1,
        Part::MissTable => &mut breakdown.miss_table,
        Part::L2 => &mut breakdown.l2,
        Part::Walker => &mut breakdown.walker,
        Part::TableMemory => &mut breakdown.table_memory,
        Part::Fence => &mut breakdown.fence,
        Part::PageRequest => &mut breakdown.page_request,
        Part::Data => &mut breakdown.data,
    }
}

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Offered,
    L1,
    Missed,
    Slot(u8),
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Live {
    place: Place,
    /// It is an access; others are questions of devices, which accesses wait for.
    access: bool,
}

/// What a cycle before told, as far as this one needs it.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    l1_valid: [u64; MAX_PORTS],
    l1: [u64; MAX_PORTS],
    fills: u64,
    ddtc_valid: u64,
    pdtc_valid: u64,
}

/// Names a request that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched(u16);

/// How often so many were busy: cycles, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Occupancy {
    /// Walkers.
    pub walkers: Vec<u64>,
    /// Entries of the miss table.
    pub miss_table: Vec<u64>,
}

/// The observer.
pub struct Watch {
    /// What goes on inside in this cycle. To be read before [`begin`](Self::begin).
    pub probe: Probe,
    before: Before,
    ports: usize,
    walkers: usize,
    l1_entries: u64,
    ddtc_entries: u64,
    pdtc_entries: u64,
    has_l2: bool,
    l2_asked: bool,
    live: Vec<Live>,
    vacant: Vec<u16>,
    offered: [Option<Watched>; MAX_PORTS],
    accepted: [VecDeque<Watched>; MAX_PORTS],
    missed: [VecDeque<Watched>; MAX_PORTS],
    slots: [Option<Watched>; MAX_SLOTS],
    /// Entries of the miss table whose request is watched.
    owned: u64,
    /// Accesses in L1 TLBs, on their way in or out, and in miss buffers.
    in_l1: u64,
    in_missed: u64,
    /// What this cycle of the request in each entry is spent on.
    of_slot: [Part; MAX_SLOTS],
    /// The walker that an entry waits for.
    waits_for: [usize; MAX_SLOTS],
    counts: Counts,
    breakdown: Breakdown,
    occupancy: Occupancy,
}

impl Watch {
    /// Nothing under way.
    pub fn new(design: &Design) -> Watch {
        let mut watch = Watch {
            probe: Probe::default(),
            before: Before::default(),
            ports: (design.ports as usize).min(MAX_PORTS),
            walkers: (design.walkers as usize).min(MAX_WALKERS),
            l1_entries: design.l1_entries.into(),
            ddtc_entries: design.ddtc_entries.into(),
            pdtc_entries: design.pdtc_entries.into(),
            has_l2: design.has_l2(),
            l2_asked: false,
            live: Vec::new(),
            vacant: Vec::new(),
            offered: [None; MAX_PORTS],
            accepted: std::array::from_fn(|_| VecDeque::new()),
            missed: std::array::from_fn(|_| VecDeque::new()),
            slots: [None; MAX_SLOTS],
            owned: 0,
            in_l1: 0,
            in_missed: 0,
            of_slot: [Part::MissTable; MAX_SLOTS],
            waits_for: [0; MAX_SLOTS],
            counts: Counts::default(),
            breakdown: Breakdown::default(),
            occupancy: Occupancy::default(),
        };
        watch.occupancy.miss_table = vec![0; design.miss_entries as usize + 1];
        watch.restart();
        watch
    }

    /// Counts from zero again; what is under way stays so.
    pub fn restart(&mut self) {
        let miss_entries = self.occupancy.miss_table.len();
        self.counts = Counts::default();
        self.breakdown = Breakdown::default();
        self.occupancy = Occupancy { walkers: vec![0; self.walkers + 1], miss_table: vec![0; miss_entries] };
    }

    /// What was counted inside the hardware; accesses, bytes, faults and page requests are not.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Where the time of the accesses went.
    pub fn breakdown(&self) -> &Breakdown {
        &self.breakdown
    }

    /// How busy walkers and miss table were.
    pub fn occupancy(&self) -> &Occupancy {
        &self.occupancy
    }

    /// A cycle begins: what the hardware has done shows.
    pub fn begin(&mut self, out: &Out) {
        self.count(out);
        let mut freed = self.owned & !self.probe.used;
        self.owned &= self.probe.used;
        while freed != 0 {
            let slot = freed.trailing_zeros() as usize;
            freed &= freed - 1;
            if let Some(watched) = self.slots[slot].take() {
                self.put(watched, Place::L1);
            }
        }
        for port in 0..self.ports {
            if self.probe.l1[port] & 4 != 0
                && let Some(watched) = self.missed[port].pop_front()
            {
                let slot = self.probe.slot as usize & (MAX_SLOTS - 1);
                self.put(watched, Place::Slot(slot as u8));
                self.slots[slot] = Some(watched);
                self.owned |= 1 << slot;
            }
            if out.ev_lookup >> port & 1 != 0
                && let Some(watched) = self.accepted[port].pop_front()
                && out.ev_hit >> port & 1 == 0
            {
                self.put(watched, Place::Missed);
                self.missed[port].push_back(watched);
            }
        }
        if self.probe.issues() && self.probe.merges() {
            self.waits_for[self.probe.dispatched_entry() & (MAX_SLOTS - 1)] = self.probe.dispatched_to();
        }
    }

    /// A request is somewhere else from now on.
    #[inline]
    fn put(&mut self, Watched(id): Watched, place: Place) {
        let live = &mut self.live[usize::from(id)];
        let was = std::mem::replace(&mut live.place, place);
        if live.access {
            match was {
                Place::L1 => self.in_l1 -= 1,
                Place::Missed => self.in_missed -= 1,
                _ => {}
            }
            match place {
                Place::L1 => self.in_l1 += 1,
                Place::Missed => self.in_missed += 1,
                _ => {}
            }
        }
    }

    fn count(&mut self, out: &Out) {
        let Watch { probe, before, counts, .. } = self;
        let lookups = u64::from(out.ev_lookup.count_ones());
        counts.l1.lookups += lookups;
        counts.l1.hits += u64::from(out.ev_hit.count_ones());
        counts.walks += u64::from(out.ev_walk.count_ones());
        for port in 0..self.ports {
            if before.l1[port] & 3 != 0 {
                let (had, has) = (before.l1_valid[port], probe.l1_valid[port]);
                if before.l1[port] & 2 != 0 {
                    counts.l1.invalidated += had - has;
                } else {
                    let full = had == self.l1_entries;
                    counts.l1.fills += 1;
                    counts.l1.evicted += u64::from(full);
                    counts.l1.overlapped += had + u64::from(!full) - has;
                }
            }
        }
        context(
            &mut counts.ddtc,
            before.fills & 1 != 0,
            (before.ddtc_valid, probe.ddtc_valid),
            self.ddtc_entries,
        );
        context(
            &mut counts.pdtc,
            before.fills & 2 != 0,
            (before.pdtc_valid, probe.pdtc_valid),
            self.pdtc_entries,
        );
        if probe.fills & 4 != 0 {
            counts.l2.fills += 1;
            counts.l2.evicted += probe.l2 >> (probe.l2 >> 16 & 7) & 1;
        }
        counts.l2.invalidated += u64::from((probe.l2 >> 8 & 0xff).count_ones());
        if probe.dispatch_state() == dispatch_state::LOOKUP {
            self.l2_asked = self.has_l2 && probe.l2_is_asked();
        }
        if probe.issues() {
            counts.merged += u64::from(probe.merges());
            counts.l2.lookups += u64::from(self.l2_asked);
            counts.l2.hits += u64::from(self.l2_asked && probe.l2_hit());
            counts.ddtc.lookups += 1;
            counts.ddtc.hits += u64::from(probe.device_hit());
            counts.pdtc.lookups += 1;
            counts.pdtc.hits += u64::from(probe.process_hit());
        }
        let busy =
            (0..self.walkers).filter(|&walker| probe.walker(walker).state != walker_state::IDLE).count();
        self.occupancy.walkers[busy] += 1;
        if let Some(cycles) = self.occupancy.miss_table.get_mut(probe.used.count_ones() as usize) {
            *cycles += 1;
        }
        let Probe { l1_valid, l1, fills, ddtc_valid, pdtc_valid, .. } = self.probe;
        self.before = Before { l1_valid, l1, fills, ddtc_valid, pdtc_valid };
    }

    /// A read of memory that is accepted in this cycle.
    #[inline]
    pub fn read(&mut self, out: &Out, input: &AxiIn) {
        if out.axi.arvalid & input.arready & 1 == 0 {
            return;
        }
        let Reads { ddt, pdt, first_stage, second_stage, other } = &mut self.counts.reads;
        let walker = out.axi.arid as usize;
        if walker >= self.walkers {
            *other += 1;
            return;
        }
        let walker = self.probe.walker(walker);
        let place = match walker.kind {
            _ if walker.nested => second_stage.get_mut(walker.level),
            walker_state::DDTE => ddt.get_mut(walker.level),
            walker_state::DC => Some(&mut ddt[0]),
            walker_state::PDTE => pdt.get_mut(walker.level),
            walker_state::PC => Some(&mut pdt[0]),
            walker_state::PTE => first_stage.get_mut(walker.level),
            _ => None,
        };
        *place.unwrap_or(other) += 1;
    }

    /// A request is offered at a port.
    pub fn offered(&mut self, port: usize, access: bool) -> Watched {
        let live = Live { place: Place::Offered, access };
        let id = match self.vacant.pop() {
            Some(id) => {
                self.live[usize::from(id)] = live;
                id
            }
            None => {
                self.live.push(live);
                self.live.len() as u16 - 1
            }
        };
        self.offered[port] = Some(Watched(id));
        Watched(id)
    }

    /// The request on offer at a port is accepted.
    #[inline]
    pub fn accepted(&mut self, port: usize) {
        if let Some(watched) = self.offered[port].take() {
            self.counts.requests += 1;
            self.put(watched, Place::L1);
            self.accepted[port].push_back(watched);
        }
    }

    /// The answer to a request is taken.
    #[inline]
    pub fn answered(&mut self, Watched(id): Watched) {
        self.put(Watched(id), Place::Free);
        self.vacant.push(id);
    }

    /// The core was reset: only what is on offer is still there.
    pub fn core_was_reset(&mut self) {
        self.accepted.iter_mut().chain(&mut self.missed).for_each(VecDeque::clear);
        self.slots = [None; MAX_SLOTS];
        (self.owned, self.in_l1, self.in_missed) = (0, 0, 0);
        self.before = Before::default();
        self.probe = Probe::default();
        for (id, live) in self.live.iter_mut().enumerate() {
            if !matches!(live.place, Place::Free | Place::Offered) {
                live.place = Place::Free;
                self.vacant.push(id as u16);
            }
        }
    }

    /// A cycle ends: says where each access has been in it. `data` accesses wait for data.
    pub fn end(&mut self, endpoints: &[Endpoint], data: usize) {
        self.place();
        let offered = self.offered_part();
        let Watch { live, breakdown, slots, of_slot, .. } = self;
        let is_access = |watched: &Watched| live[usize::from(watched.0)].access;
        let waiting = self.offered.iter().flatten().filter(|watched| is_access(watched)).count();
        *part_of(breakdown, offered) += waiting as u64;
        breakdown.l1 += self.in_l1;
        breakdown.miss_table += self.in_missed;
        breakdown.data += data as u64;
        let mut owned = self.owned;
        while owned != 0 {
            let slot = owned.trailing_zeros() as usize;
            owned &= owned - 1;
            if slots[slot].as_ref().is_some_and(is_access) {
                *part_of(breakdown, of_slot[slot]) += 1;
            }
        }
        for endpoint in endpoints {
            endpoint.waiting(|why, accesses| {
                let part = match why {
                    Waiting::ToAsk | Waiting::Asked(None) => Part::Port,
                    Waiting::Page => Part::PageRequest,
                    Waiting::Asked(Some(Watched(id))) => match live[usize::from(id)].place {
                        Place::Free | Place::L1 => Part::L1,
                        Place::Offered => offered,
                        Place::Missed => Part::MissTable,
                        Place::Slot(slot) => of_slot[usize::from(slot)],
                    },
                };
                *part_of(breakdown, part) += accesses as u64;
            });
        }
    }

    /// What a request on offer waits for in this cycle.
    fn offered_part(&self) -> Part {
        if self.probe.invalidates() { Part::Fence } else { Part::Port }
    }

    /// What this cycle of the request in each entry of the miss table is spent on.
    fn place(&mut self) {
        if self.owned == 0 {
            return;
        }
        let Watch { probe, of_slot, waits_for, walkers, .. } = self;
        let mut of_walker = [Part::L1; MAX_WALKERS];
        // Of an entry that is neither pending nor with a walker, the response is on its way.
        of_slot.fill(Part::L1);
        for (walker, part) in of_walker.iter_mut().enumerate().take(*walkers) {
            let seen = probe.walker(walker);
            if seen.state != walker_state::IDLE {
                *part = if seen.waits_for_memory() { Part::TableMemory } else { Part::Walker };
                of_slot[seen.entry & (MAX_SLOTS - 1)] = *part;
            }
        }
        // An entry that was taken into use in this very cycle has no bit yet.
        let mut tabled = self.owned & (!probe.used | probe.woken | probe.pending);
        while tabled != 0 {
            of_slot[tabled.trailing_zeros() as usize] = Part::MissTable;
            tabled &= tabled - 1;
        }
        let mut waiting = self.owned & probe.waiting;
        while waiting != 0 {
            let slot = waiting.trailing_zeros() as usize;
            waiting &= waiting - 1;
            of_slot[slot] = of_walker[waits_for[slot] & (MAX_WALKERS - 1)];
        }
        let dispatched = probe.dispatched_entry() & (MAX_SLOTS - 1);
        if probe.pending & probe.used & !probe.woken & 1 << dispatched != 0 {
            match probe.dispatch_state() {
                dispatch_state::IDLE => {}
                _ if probe.marks() => of_slot[dispatched] = Part::Fence,
                dispatch_state::WAIT => of_slot[dispatched] = Part::L2,
                _ => {}
            }
        }
    }
}

/// Counts what a context cache did, from the number of valid entries before and after.
fn context(counts: &mut CacheCounts, filled: bool, (had, has): (u64, u64), entries: u64) {
    if filled {
        counts.fills += 1;
        counts.evicted += u64::from(had == entries);
    } else {
        counts.invalidated += had.saturating_sub(has);
    }
}
