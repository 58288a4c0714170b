//! A verilated design on the bench: registers, memory and translation ports, driven cycle by cycle.
//!
//! All outputs of a cycle are functions of the design's registers, so that [`Rig::step`] sees them before it chooses the inputs of
//! the same cycle. It checks in every cycle that what is offered and not taken does not change, that a response belongs to a
//! request, and what [`crate::memory_port`] checks.

use crate::designs;
use crate::memory_port::MemoryPort;
use crate::oracle::World;
use crate::queues::Queue;
use crate::tables::Pages;
use pasidon_rtl::design::Design;
use pasidon_sim::machine::axi_lite::AxiLite;
use pasidon_sim::machine::{Memory, Random, Timing};
use pasidon_sim::model::cache::{Cache, Flavour};
use pasidon_sim::model::{Model, Out, ports::ReqOut};
use pasidon_spec::registers::{Register, ddtp};
use std::collections::{HashMap, VecDeque};

/// A translation request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Who asks.
    pub device_id: u32,
    /// PASID.
    pub process_id: Option<u32>,
    /// Supervisor privilege.
    pub privileged: bool,
    /// Read for execute.
    pub exec: bool,
    /// Write.
    pub write: bool,
    /// 0 untranslated, 1 ATS translation request, 2 translated.
    pub at: u8,
    /// Address.
    pub iova: u64,
}

impl Query {
    /// A user-mode read.
    pub fn read(device_id: u32, process_id: Option<u32>, iova: u64) -> Query {
        Query { device_id, process_id, iova, ..Query::default() }
    }

    /// The same as a write.
    #[must_use]
    pub fn write(self) -> Query {
        Query { write: true, ..self }
    }

    /// The same as a read for execute.
    #[must_use]
    pub fn exec(self) -> Query {
        Query { exec: true, ..self }
    }

    /// The same with supervisor privilege.
    #[must_use]
    pub fn privileged(self) -> Query {
        Query { privileged: true, ..self }
    }
}

/// What a request came to. Cycles are those in which the event could first be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The request.
    pub query: Query,
    /// Its port.
    pub port: usize,
    /// The request was first valid.
    pub offered: u64,
    /// The response was first valid.
    pub shown: u64,
    /// The response was taken.
    pub taken: u64,
    /// 0 success, 1 unsupported request.
    pub status: u64,
    /// Cause of the fault, 0 if none.
    pub cause: u64,
    /// Translated address.
    pub spa: u64,
    /// Reading, writing, fetching is allowed.
    pub rwx: (bool, bool, bool),
    /// log2 of the page's bytes.
    pub size: u64,
}

impl Answer {
    /// Clock edges from the first cycle in which the request was valid to the first in which the response was.
    pub fn latency(&self) -> u64 {
        self.shown - self.offered
    }

    /// Whether it is a translation.
    pub fn is_success(&self) -> bool {
        self.status == 0 && self.cause == 0
    }
}

/// How often something is held back, in chances of 256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// A port that could offer a request does not.
    pub request_gap: u8,
    /// A device is not ready for a response.
    pub response_stall: u8,
    /// `arready`, `awready` or `wready` is low.
    pub address_stall: u8,
    /// `rvalid` or `bvalid` is low although memory could answer.
    pub data_gap: u8,
}

impl Pressure {
    /// Everybody is always ready.
    pub const NONE: Pressure = Pressure { request_gap: 0, response_stall: 0, address_stall: 0, data_gap: 0 };
    /// Everybody hesitates now and then.
    pub const SOME: Pressure =
        Pressure { request_gap: 60, response_stall: 80, address_stall: 60, data_gap: 60 };
    /// Devices hardly ever take a response.
    pub const STUCK: Pressure =
        Pressure { request_gap: 0, response_stall: 235, address_stall: 100, data_gap: 100 };
}

/// Memory that answers after `latency` cycles.
pub fn timing(latency: u32) -> Timing {
    Timing { latency, outstanding: 32, write_latency: latency.clamp(1, 30), jitter: 0 }
}

#[derive(Clone, Copy)]
struct Pending {
    ticket: usize,
    query: Query,
    offered: u64,
}

#[derive(Default)]
struct Port {
    waiting: VecDeque<(usize, Query)>,
    offer: Option<(u64, Pending)>,
    outstanding: HashMap<u64, Pending>,
    /// A response that has been shown and not taken, and since when.
    held: Option<(ReqOut, u64)>,
}

/// A design on the bench.
pub struct Rig {
    /// The design.
    pub design: Design,
    /// Physical memory.
    pub memory: Memory,
    /// Where tables are allocated.
    pub allocator: Pages,
    /// The design's memory port.
    pub bus: MemoryPort,
    /// Who hesitates.
    pub pressure: Pressure,
    /// Everything arbitrary.
    pub random: Random,
    /// Command queue.
    pub commands: Queue,
    /// Fault queue.
    pub faults: Queue,
    /// `ddtp.iommu_mode` and the directory's root.
    pub directory: (u64, u64),
    /// Whether the data path outside answers `drain_valid`; each answer is counted in `drains`, (pr, pw).
    pub drain_ready: bool,
    /// Drains answered: (reads asked for, writes asked for).
    pub drains: Vec<(bool, bool)>,
    /// No device takes a response.
    pub hold: bool,
    /// The device at this port takes none.
    pub hold_port: Option<usize>,
    /// The port of single checks; a random one if `None`.
    pub home: Option<usize>,
    /// Most requests outstanding on a port; the id width bounds it too.
    pub depth: usize,
    /// Sums of the event strobes: lookups, hits, walks, faults.
    pub events: [u64; 4],
    answers: Vec<Option<Answer>>,
    open: usize,
    ports: Vec<Port>,
    model: Model,
    axil: AxiLite,
    now: u64,
}

/// Cycles after which something that does not come will never come.
const PATIENCE: u64 = 200_000;

impl Rig {
    /// A design by name, reset, in mode Off with all queues off, in front of memory of this latency.
    ///
    /// # Panics
    /// If there is no model.
    pub fn new(name: &str, latency: u32, seed: u64) -> Rig {
        let design = designs::design(name);
        let cache = Cache::in_workspace().quiet();
        let mut model = Model::load(&designs::generated(name), name, &cache, Flavour::Fast)
            .unwrap_or_else(|error| panic!("{error}"));
        model.reset(4);
        let mut random = Random::new(seed);
        let memory = Memory::new(design.pas, 16 << 20, &mut random);
        Rig {
            allocator: Pages::new(memory.base(), 16 << 20),
            memory,
            bus: MemoryPort::new(timing(latency), design.pas),
            pressure: Pressure::NONE,
            random,
            commands: Queue::default(),
            faults: Queue::default(),
            directory: (0, 0),
            drain_ready: true,
            drains: Vec::new(),
            hold: false,
            hold_port: None,
            home: None,
            depth: 64.min(1 << design.id_width),
            events: [0; 4],
            answers: Vec::new(),
            open: 0,
            ports: (0..design.ports).map(|_| Port::default()).collect(),
            model,
            axil: AxiLite::default(),
            now: 0,
            design,
        }
    }

    /// The same with both queues on.
    pub fn ready(name: &str, latency: u32, seed: u64) -> Rig {
        let mut rig = Rig::new(name, latency, seed);
        rig.start_queues(5, 7);
        rig
    }

    /// The hardware as it stands, without the bench: for measurements.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Clock cycles since reset.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Outputs of the present cycle.
    pub fn out(&self) -> &Out {
        &self.model.output
    }

    /// The doubleword at `address`.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn load(&self, address: u64) -> u64 {
        self.memory.load(address).unwrap_or_else(|| panic!("no memory at {address:#x}"))
    }

    /// Writes the doubleword at `address`.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn store(&mut self, address: u64, value: u64) {
        assert!(self.memory.store(address, value), "no memory at {address:#x}");
    }

    /// What the specification needs to know to say what a request must come to.
    pub fn world(&self) -> World<'_> {
        World {
            design: &self.design,
            memory: &self.memory,
            failures: self.bus.failures(),
            mode: self.directory.0,
            root: self.directory.1,
        }
    }

    /// One clock cycle.
    pub fn step(&mut self) {
        self.memory_cycle();
        let out = self.model.output;
        let input = &mut self.model.input;
        self.axil.cycle(&out.axil, &mut input.axil);
        input.drain_ready = u64::from(self.drain_ready);
        if out.drain_valid != 0 && self.drain_ready {
            self.drains.push((out.drain_pr != 0, out.drain_pw != 0));
        }
        for port in 0..self.ports.len() {
            self.response(port, &out.req[port]);
            self.request(port, &out.req[port]);
        }
        for (sum, strobes) in
            self.events.iter_mut().zip([out.ev_lookup, out.ev_hit, out.ev_walk, out.ev_fault])
        {
            *sum += u64::from(strobes.count_ones());
        }
        self.now += 1;
        self.model.tick();
        if self.now % 4096 == 0 {
            self.model.check().unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// The memory port in this cycle.
    fn memory_cycle(&mut self) {
        self.bus.cycle(
            self.now,
            &self.model.output.axi,
            &mut self.model.input.axi,
            &mut self.memory,
            &mut self.random,
            &self.pressure,
        );
    }

    fn response(&mut self, number: usize, out: &ReqOut) {
        let now = self.now;
        let port = &mut self.ports[number];
        let stall = self.pressure.response_stall;
        let held = self.hold || self.hold_port == Some(number);
        let ready = !held && (stall == 0 || self.random.below(256) >= u64::from(stall));
        self.model.input.req[number].rsp_ready = u64::from(ready);
        // `ready` belongs to the other handshake of the port.
        let out = ReqOut { ready: 0, ..*out };
        if let Some((held, since)) = port.held {
            // What a fence waited for in vain becomes a refusal (rtl, `fence`).
            let refusal =
                (out.rsp_id, out.rsp_status, out.rsp_cause, out.rsp_spa, out.rsp_r | out.rsp_w | out.rsp_x)
                    == (held.rsp_id, 1, 256, 0, 0);
            assert!(
                held == out || (refusal && now - since > 4096),
                "cycle {now}, port {number}: a response changed while it waited since {since}"
            );
        }
        if out.rsp_valid == 0 {
            return;
        }
        let shown = port.held.map_or(now, |(_, since)| since);
        if !ready {
            port.held = Some((out, shown));
            return;
        }
        port.held = None;
        let Some(pending) = port.outstanding.remove(&out.rsp_id) else {
            panic!("cycle {now}, port {number}: a response for id {}, which nobody waits for", out.rsp_id);
        };
        self.open -= 1;
        self.answers[pending.ticket] = Some(Answer {
            query: pending.query,
            port: number,
            offered: pending.offered,
            shown,
            taken: now,
            status: out.rsp_status,
            cause: out.rsp_cause,
            spa: out.rsp_spa,
            rwx: (out.rsp_r != 0, out.rsp_w != 0, out.rsp_x != 0),
            size: out.rsp_size,
        });
    }

    fn request(&mut self, number: usize, out: &ReqOut) {
        let port = &mut self.ports[number];
        let input = &mut self.model.input.req[number];
        if port.offer.is_none()
            && port.outstanding.len() < self.depth
            && !port.waiting.is_empty()
            && (self.pressure.request_gap == 0
                || self.random.below(256) >= u64::from(self.pressure.request_gap))
            && let Some((ticket, query)) = port.waiting.pop_front()
        {
            let ids = 1 << self.design.id_width;
            let mut id = self.random.below(ids);
            while port.outstanding.contains_key(&id) {
                id = (id + 1) % ids;
            }
            port.offer = Some((id, Pending { ticket, query, offered: self.now }));
            input.valid = 1;
            input.id = id;
            input.device_id = u64::from(query.device_id);
            input.pid_valid = u64::from(query.process_id.is_some());
            // Without a process_id, neither it nor the privilege means anything.
            let noise = self.random.word();
            let mask = (1 << self.design.process_id_width) - 1;
            input.process_id = query.process_id.map_or(noise & mask, u64::from);
            input.privileged =
                if query.process_id.is_some() { u64::from(query.privileged) } else { noise >> 63 };
            input.exec = u64::from(query.exec);
            input.write = u64::from(query.write);
            input.at = u64::from(query.at);
            input.iova = query.iova;
        }
        let Some((id, pending)) = port.offer else {
            input.valid = 0;
            input.iova = self.random.word();
            return;
        };
        if out.ready != 0 {
            port.outstanding.insert(id, pending);
            port.offer = None;
        }
    }

    /// Resets the core alone for a cycle: memory goes on. Requests that were under way are forgotten.
    pub fn reset_core(&mut self) {
        for (port, input) in self.ports.iter_mut().zip(&mut self.model.input.req) {
            *port = Port::default();
            input.valid = 0;
        }
        self.open = 0;
        self.memory_cycle();
        self.now += 1;
        self.model.reset_core(1);
        self.axil = AxiLite::default();
        (self.commands, self.faults) = (Queue::default(), Queue::default());
        self.directory = (0, 0);
    }

    /// Queues a request on a port; the ticket names its answer.
    pub fn submit(&mut self, port: usize, query: Query) -> usize {
        self.answers.push(None);
        let ticket = self.answers.len() - 1;
        let port = port % self.ports.len();
        self.ports[port].waiting.push_back((ticket, query));
        self.open += 1;
        ticket
    }

    /// The answer of a ticket, if it has come.
    pub fn answer(&self, ticket: usize) -> Option<Answer> {
        self.answers[ticket]
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        self.open
    }

    /// Requests that the design has not accepted yet.
    pub fn waiting(&self) -> usize {
        self.ports.iter().map(|port| port.waiting.len() + usize::from(port.offer.is_some())).sum()
    }

    /// Steps until every request has its answer.
    ///
    /// # Panics
    /// If one does not come.
    pub fn finish(&mut self) {
        let mut since = (self.open, self.now);
        while self.open != 0 {
            self.step();
            if self.open != since.0 {
                since = (self.open, self.now);
            }
            assert!(
                self.now - since.1 < PATIENCE,
                "cycle {}: {} requests are never answered; outstanding {:?}",
                self.now,
                self.open,
                self.ports
                    .iter()
                    .map(|p| p.outstanding.values().map(|q| q.query).collect::<Vec<_>>())
                    .collect::<Vec<_>>()
            );
        }
    }

    /// One request, answered.
    pub fn ask(&mut self, port: usize, query: Query) -> Answer {
        let ticket = self.submit(port, query);
        self.finish();
        self.answers[ticket].expect("finish waits for every answer")
    }

    /// Requests in order on one port, all answered.
    pub fn ask_all(&mut self, port: usize, queries: &[Query]) -> Vec<Answer> {
        let tickets: Vec<usize> = queries.iter().map(|query| self.submit(port, *query)).collect();
        self.finish();
        tickets.into_iter().map(|t| self.answers[t].expect("finish waits for every answer")).collect()
    }

    /// Steps `cycles` cycles.
    pub fn wait(&mut self, cycles: u64) {
        (0..cycles).for_each(|_| self.step());
    }

    /// Steps long enough for a fault record to be written, after its response.
    pub fn settle(&mut self) {
        let timing = self.bus.timing();
        self.wait(100 + 4 * u64::from(timing.write_latency + timing.latency));
    }

    /// Reads a register.
    pub fn read(&mut self, register: &Register) -> u64 {
        self.read_at(register.offset.into(), register.bytes.into())
    }

    /// Writes a register.
    pub fn write(&mut self, register: &Register, value: u64) {
        self.write_at(register.offset.into(), value, register.bytes.into());
    }

    /// Reads `bytes` (4 or 8) at an offset.
    ///
    /// # Panics
    /// If the answer is an error or does not come.
    pub fn read_at(&mut self, offset: u32, bytes: u32) -> u64 {
        self.axil.start_read(offset);
        let data = self.register_answer(offset);
        if bytes == 8 { data } else { data >> (offset % 8 * 8) & 0xffff_ffff }
    }

    /// Writes `bytes` (4 or 8) at an offset.
    ///
    /// # Panics
    /// If the answer is an error or does not come.
    pub fn write_at(&mut self, offset: u32, value: u64, bytes: u32) {
        let lane = if bytes == 8 { 0 } else { offset % 8 };
        let strobes: u8 = if bytes == 8 { 0xff } else { 0x0f << lane };
        let value = if bytes == 8 { value } else { value & 0xffff_ffff };
        self.axil.start_write(offset, value << (8 * lane), strobes);
        self.register_answer(offset);
    }

    fn register_answer(&mut self, offset: u32) -> u64 {
        for _ in 0..PATIENCE {
            self.step();
            if let Some((data, response)) = self.axil.take_answer() {
                assert_eq!(response, 0, "register {offset:#x} answers with an error");
                return data;
            }
        }
        panic!("register {offset:#x} does not answer");
    }

    /// Reads a register until `good` likes its value.
    ///
    /// # Panics
    /// If it never does.
    pub fn poll(&mut self, register: &Register, good: impl Fn(u64) -> bool) -> u64 {
        let until = self.now + PATIENCE;
        loop {
            let value = self.read(register);
            if good(value) {
                return value;
            }
            assert!(self.now < until, "{} stays {value:#x}", register.name);
        }
    }

    /// Writes `ddtp` and waits for the change to be complete.
    pub fn set_directory(&mut self, mode: u64, root: u64) {
        self.write(&ddtp::REG, ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> 12));
        self.poll(&ddtp::REG, |value| !ddtp::BUSY.is_set(value));
        self.directory = (mode, root);
    }
}
