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
    Slot(usize),
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
struct Live {
    place: Place,
    /// It is an access; others are questions of devices, which accesses wait for.
    access: bool,
    /// What this cycle is spent on.
    part: Part,
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
    before: Probe,
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
            before: Probe::default(),
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
        let used = self.probe.used;
        for slot in 0..self.occupancy.miss_table.len() - 1 {
            if used >> slot & 1 == 0
                && let Some(Watched(id)) = self.slots[slot].take()
            {
                self.live[usize::from(id)].place = Place::L1;
            }
        }
        for port in 0..self.ports {
            if self.probe.l1[port] & 4 != 0
                && let Some(watched) = self.missed[port].pop_front()
            {
                let slot = self.probe.slot as usize & (MAX_SLOTS - 1);
                self.live[usize::from(watched.0)].place = Place::Slot(slot);
                self.slots[slot] = Some(watched);
            }
            if out.ev_lookup >> port & 1 != 0
                && let Some(watched) = self.accepted[port].pop_front()
                && out.ev_hit >> port & 1 == 0
            {
                self.live[usize::from(watched.0)].place = Place::Missed;
                self.missed[port].push_back(watched);
            }
        }
        if self.probe.issues() && self.probe.merges() {
            self.waits_for[self.probe.dispatched_entry() & (MAX_SLOTS - 1)] = self.probe.dispatched_to();
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
        self.before = self.probe;
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
        let live = Live { place: Place::Offered, access, part: Part::Port };
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
            self.live[usize::from(watched.0)].place = Place::L1;
            self.accepted[port].push_back(watched);
        }
    }

    /// The answer to a request is taken.
    #[inline]
    pub fn answered(&mut self, Watched(id): Watched) {
        self.live[usize::from(id)].place = Place::Free;
        self.vacant.push(id);
    }

    /// The core was reset: only what is on offer is still there.
    pub fn core_was_reset(&mut self) {
        self.accepted.iter_mut().chain(&mut self.missed).for_each(VecDeque::clear);
        self.slots = [None; MAX_SLOTS];
        self.before = Probe::default();
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
        let Watch { live, breakdown, .. } = self;
        for live in live.iter().filter(|live| live.access && live.place != Place::Free) {
            *part_of(breakdown, live.part) += 1;
        }
        for endpoint in endpoints {
            endpoint.waiting(|why, accesses| {
                let part = match why {
                    Waiting::ToAsk => Part::Port,
                    Waiting::Asked(Some(Watched(id))) => live[usize::from(id)].part,
                    Waiting::Asked(None) => Part::Port,
                    Waiting::Page => Part::PageRequest,
                };
                *part_of(breakdown, part) += accesses as u64;
            });
        }
        breakdown.data += data as u64;
    }

    /// What this cycle of each request is spent on.
    fn place(&mut self) {
        let Watch { probe, live, slots, waits_for, walkers, .. } = self;
        let mut of_walker = [Part::L1; MAX_WALKERS];
        let mut of_slot = [Part::L1; MAX_SLOTS];
        for (walker, part) in of_walker.iter_mut().enumerate().take(*walkers) {
            let seen = probe.walker(walker);
            if seen.state != walker_state::IDLE {
                *part = if seen.waits_for_memory() { Part::TableMemory } else { Part::Walker };
                of_slot[seen.entry & (MAX_SLOTS - 1)] = *part;
            }
        }
        let dispatched = match probe.dispatch_state() {
            dispatch_state::IDLE => None,
            _ if probe.marks() => Some(Part::Fence),
            dispatch_state::WAIT => Some(Part::L2),
            _ => Some(Part::MissTable),
        };
        let invalidates = probe.invalidates();
        for (id, live) in live.iter_mut().enumerate() {
            live.part = match live.place {
                Place::Free => continue,
                Place::Offered if invalidates => Part::Fence,
                Place::Offered => Part::Port,
                Place::L1 => Part::L1,
                Place::Missed => Part::MissTable,
                Place::Slot(slot) if slots[slot] != Some(Watched(id as u16)) => Part::L1,
                Place::Slot(slot) => {
                    let bit = |mask: u64| mask >> slot & 1 != 0;
                    let here = dispatched.filter(|_| probe.dispatched_entry() == slot);
                    if !bit(probe.used) || bit(probe.woken) {
                        Part::MissTable
                    } else if bit(probe.pending) {
                        here.unwrap_or(Part::MissTable)
                    } else if bit(probe.waiting) {
                        of_walker[waits_for[slot] & (MAX_WALKERS - 1)]
                    } else {
                        of_slot[slot]
                    }
                }
            };
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
