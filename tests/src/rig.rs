//! A verilated design on the bench, as a test drives it: it waits for nothing but what it asks for, and it panics at the first thing
//! that is wrong.

use crate::designs;
use crate::oracle::World;
use crate::pages::Pages;
use crate::query::{Query, QueryAnswer, Tag};
use pasidon_cosim::axi_checker::Rules;
use pasidon_cosim::memory_port::Burst;
use pasidon_cosim::verilated::Out;
use pasidon_cosim::{
    Bench, BenchError, Cache, Clocked, Faulty, Flat, Flavour, Pace, Random, TranslationPort, Verilated,
};
use pasidon_rtl::design::Design;
use pasidon_spec::memory::Failure;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{Register, ddtp};
use std::collections::VecDeque;
use std::ops::Range;

/// How often memory and devices hold back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// Everybody is always ready.
    #[default]
    None,
    /// Everybody hesitates now and then.
    Some,
    /// Devices hardly ever take a response.
    Stuck,
}

impl Pressure {
    /// `pace` with this pressure.
    pub fn on(self, pace: Pace) -> Pace {
        let (memory_pauses, response_pauses, request_pauses) = match self {
            Pressure::None => (0, 0, 0),
            Pressure::Some => (60, 80, 60),
            Pressure::Stuck => (100, 235, 0),
        };
        Pace { memory_pauses, response_pauses, request_pauses, ..pace }
    }
}

struct Port {
    waiting: VecDeque<Tag>,
    port: TranslationPort<Tag>,
}

impl Port {
    fn new(design: &Design, random: &mut Random) -> Port {
        Port { waiting: VecDeque::new(), port: TranslationPort::new(design, random) }
    }
}

/// A design on the bench.
pub struct Rig {
    /// The design.
    pub design: Design,
    /// The hardware with its memory and its registers.
    pub bench: Bench<Faulty<Flat>>,
    /// Where tables are allocated.
    pub allocator: Pages,
    /// Source of everything random.
    pub random: Random,
    /// Command queue.
    pub commands: Queue,
    /// Where software puts the next command.
    pub command_tail: u64,
    /// Fault queue.
    pub faults: Queue,
    /// The next record that software takes.
    pub fault_head: u64,
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
    answers: Vec<Option<QueryAnswer>>,
    open: usize,
    ports: Vec<Port>,
}

/// Bytes of memory.
const MEMORY_BYTES: u64 = 16 << 20;
/// Cycles after which something that does not come will never come.
pub(crate) const PATIENCE: u64 = 200_000;

impl Rig {
    /// A design by name, reset, in mode Off with all queues off, in front of memory of this latency.
    ///
    /// # Panics
    /// If there is no model.
    pub fn new(name: &str, latency: u32, seed: u64) -> Rig {
        let design = designs::design(name);
        let cache = Cache::in_workspace().quiet();
        let verilated = Verilated::load(&designs::generated(name), name, &cache, Flavour::Fast)
            .unwrap_or_else(|error| panic!("{error}"));
        let mut random = Random::new(seed);
        let memory = Faulty::new(Flat::new(1 << (design.pas - 1), MEMORY_BYTES));
        let mut bench = Bench::new(verilated, memory, Pace::even(latency), Rules::of(&design), random.word());
        bench.memory_port.record = true;
        bench.memory_port.checker.writable = Some(Vec::new());
        let ports = (0..design.ports).map(|_| Port::new(&design, &mut random)).collect();
        Rig {
            allocator: Pages::new(bench.memory.base(), MEMORY_BYTES),
            bench,
            random,
            commands: Queue::of_commands(0, 1),
            command_tail: 0,
            faults: Queue::of_faults(0, 1),
            fault_head: 0,
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
            ports,
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
    pub fn into_verilated(self) -> Verilated {
        self.bench.verilated
    }

    /// Clock cycles since reset.
    pub fn now(&self) -> u64 {
        self.bench.now()
    }

    /// Outputs of the present cycle.
    pub fn out(&self) -> &Out {
        self.bench.out()
    }

    /// Puts memory and devices under pressure from now on.
    pub fn press(&mut self, pressure: Pressure) {
        self.set_pace(pressure.on(self.pace()));
    }

    /// How memory and devices behave in time.
    pub fn pace(&self) -> Pace {
        self.bench.memory_port.pace()
    }

    /// Changes how memory and devices behave in time.
    pub fn set_pace(&mut self, pace: Pace) {
        self.bench.memory_port.set_pace(pace);
    }

    /// Makes accesses of the hardware to `range` fail.
    pub fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.bench.memory.inject(range, failure);
    }

    /// Ends all failures.
    pub fn heal(&mut self) {
        self.bench.memory.heal();
    }

    /// Read bursts since traffic was last forgotten.
    pub fn reads(&self) -> &[Burst] {
        &self.bench.memory_port.recorded_reads
    }

    /// Write bursts since traffic was last forgotten: address and bytes.
    pub fn writes(&self) -> Vec<(u64, u64)> {
        self.bench.memory_port.recorded_writes.iter().map(|burst| (burst.address, burst.bytes)).collect()
    }

    /// Forgets the bursts that were recorded.
    pub fn forget_traffic(&mut self) {
        self.bench.memory_port.recorded_reads.clear();
        self.bench.memory_port.recorded_writes.clear();
    }

    /// The hardware may write to `range`, too.
    pub fn allow_writes(&mut self, range: Range<u64>) {
        self.bench.memory_port.checker.writable.get_or_insert_default().push(range);
    }

    /// The doubleword at `address`.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn load(&self, address: u64) -> u64 {
        self.bench.memory.load(address).unwrap_or_else(|| panic!("no memory at {address:#x}"))
    }

    /// Writes the doubleword at `address`.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn store(&mut self, address: u64, value: u64) {
        assert!(self.bench.memory.store(address, value), "no memory at {address:#x}");
    }

    /// What the specification needs to know to say what a request must come to.
    pub fn world(&self) -> World<'_> {
        World {
            design: &self.design,
            memory: &self.bench.memory,
            failures: self.bench.memory.failures(),
            mode: self.directory.0,
            root: self.directory.1,
        }
    }

    /// One clock cycle.
    ///
    /// # Panics
    /// If the hardware broke a rule of its ports.
    pub fn step(&mut self) {
        let Rig {
            bench,
            ports,
            random,
            drain_ready,
            drains,
            hold,
            hold_port,
            depth,
            events,
            answers,
            open,
            ..
        } = self;
        let pace = bench.memory_port.pace();
        bench.cycle(|now, out, input, _| {
            input.drain_ready = u64::from(*drain_ready);
            if out.drain_valid != 0 && *drain_ready {
                drains.push((out.drain_pr != 0, out.drain_pw != 0));
            }
            for (number, Port { waiting, port }) in ports.iter_mut().enumerate() {
                let (out, input) = (&out.req[number], &mut input.req[number]);
                let held = *hold || *hold_port == Some(number);
                let answer = port
                    .response_at(now, out, input, (&pace, random), held)
                    .unwrap_or_else(|what| panic!("cycle {now}, port {number}: {what}"));
                if let Some(answer) = answer {
                    *open -= 1;
                    answers[answer.tag.0] = Some(QueryAnswer::new(number, &answer));
                }
                if port.can_offer()
                    && port.outstanding() < *depth
                    && !waiting.is_empty()
                    && (pace.request_pauses == 0 || random.below(256) >= u64::from(pace.request_pauses))
                    && let Some((ticket, query)) = waiting.pop_front()
                {
                    port.offer(now, (ticket, query), &query.request(), input, random);
                }
                port.request(out, input);
                if input.valid == 0 {
                    input.iova = random.word();
                }
            }
            for (sum, strobes) in
                events.iter_mut().zip([out.ev_lookup, out.ev_hit, out.ev_walk, out.ev_fault])
            {
                *sum += u64::from(strobes.count_ones());
            }
        });
        if let Some(violation) = self.bench.memory_port.violation() {
            panic!("AXI4: {violation}");
        }
        if self.now().is_multiple_of(4096) {
            self.bench.check().unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Resets the core alone for a cycle: memory goes on. Requests that were under way are forgotten.
    pub fn reset_core(&mut self) {
        for Port { waiting, port } in &mut self.ports {
            waiting.clear();
            port.reset();
        }
        self.open = 0;
        self.bench.reset_core(1);
        (self.commands, self.command_tail) = (Queue::of_commands(0, 1), 0);
        (self.faults, self.fault_head) = (Queue::of_faults(0, 1), 0);
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
    pub fn answer(&self, ticket: usize) -> Option<QueryAnswer> {
        self.answers[ticket]
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> usize {
        self.open
    }

    /// Requests that the design has not accepted yet.
    pub fn waiting(&self) -> usize {
        self.ports.iter().map(|port| port.waiting.len() + usize::from(port.port.is_offering())).sum()
    }

    /// Steps until every request has its answer.
    ///
    /// # Panics
    /// If one does not come.
    pub fn finish(&mut self) {
        while self.open != 0 {
            let open = self.open;
            let what = format_args!("{open} requests were not answered");
            if let Err(error) = self.wait_until(PATIENCE, what, |rig| rig.open != open) {
                let waiting = |port: &Port| port.port.tags().map(|(_, query)| *query).collect::<Vec<_>>();
                panic!("{error}; outstanding {:?}", self.ports.iter().map(waiting).collect::<Vec<_>>());
            }
        }
    }

    /// One request, answered.
    pub fn ask(&mut self, port: usize, query: Query) -> QueryAnswer {
        let ticket = self.submit(port, query);
        self.finish();
        self.answers[ticket].expect("finish waits for every answer")
    }

    /// Requests in order on one port, all answered.
    pub fn ask_all(&mut self, port: usize, queries: &[Query]) -> Vec<QueryAnswer> {
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
        let pace = self.pace();
        self.wait(100 + 4 * u64::from(pace.write_response_after() + pace.latency));
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
        self.load_register(offset as u16, bytes as u8).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Writes `bytes` (4 or 8) at an offset.
    ///
    /// # Panics
    /// If the answer is an error or does not come.
    pub fn write_at(&mut self, offset: u32, value: u64, bytes: u32) {
        self.store_register(offset as u16, bytes as u8, value).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Reads a register until `good` likes its value.
    ///
    /// # Panics
    /// If it never does.
    pub fn poll(&mut self, register: &Register, good: impl Fn(u64) -> bool) -> u64 {
        let mut last = 0;
        let value = self.look_until(PATIENCE, format_args!("{} did not change", register.name), |rig| {
            last = rig.read(register);
            Ok::<_, BenchError>(good(last).then_some(last))
        });
        value.unwrap_or_else(|error| panic!("{error}: it is {last:#x}"))
    }

    /// Writes `ddtp` and waits for the change to be complete.
    pub fn set_directory(&mut self, mode: u64, root: u64) {
        self.write(&ddtp::REG, ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> 12));
        self.poll(&ddtp::REG, |value| !ddtp::BUSY.is_set(value));
        self.directory = (mode, root);
    }
}

impl Clocked for Rig {
    type Memory = Faulty<Flat>;

    fn bench(&mut self) -> &mut Bench<Faulty<Flat>> {
        &mut self.bench
    }

    fn clock(&mut self) {
        self.step();
    }
}
