//! The hardware as an [`Engine`].

use super::{Engine, EngineError, EngineMemory, Ticket};
use pasidon_cosim::axi_checker::Rules;
use pasidon_cosim::{
    Answer, Bench, BenchError, Cache, Clocked, Flavour, MemoryPort, MessageEvent, MessagePort, Pace, Random,
    TranslationPort, Verilated,
};
use pasidon_rtl::design::Design;
use pasidon_spec::memory::Failure;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{cqcsr, cqh, cqt, ddtp, fqcsr, pqcsr, tr_req_ctl};
use pasidon_spec::request::{Request, Response};
use std::collections::VecDeque;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

/// Cycles without memory traffic after which nothing more comes: longer than any block thinks between two accesses.
const QUIET: u32 = 32;
/// Cycles after which what does not come will never come: far more than a walk under every pause takes.
const PATIENCE: u64 = 300_000;

/// Registers that were written and may not have taken effect, as bits of [`Rtl::unsettled`].
mod unsettled {
    pub const DIRECTORY: u8 = 1;
    pub const COMMANDS: u8 = 2;
    pub const FAULTS: u8 = 4;
    pub const DEBUG: u8 = 8;
    pub const PAGE_REQUESTS: u8 = 16;
}

/// A translation port, and the requests that wait for it.
struct Port {
    waiting: VecDeque<(Ticket, Request)>,
    port: TranslationPort<Ticket>,
}

impl Port {
    fn new(design: &Design, random: &mut Random) -> Port {
        Port { waiting: VecDeque::new(), port: TranslationPort::new(design, random) }
    }

    /// Requests that the hardware has not accepted yet.
    fn waiting(&self) -> usize {
        self.waiting.len() + usize::from(self.port.is_offering())
    }
}

/// The verilated hardware with registers, translation ports and a memory of its own.
pub struct Rtl {
    design: Design,
    bench: Bench<EngineMemory>,
    ports: Vec<Port>,
    messages: MessagePort,
    pace: Pace,
    random: Random,
    next: Ticket,
    open: usize,
    responses: Vec<(Ticket, Response)>,
    drain: bool,
    unsettled: u8,
    /// When an invalidation request last timed out.
    timed_out: Option<u64>,
    events: [u64; 4],
    drains: [u64; 2],
    draining: bool,
    /// The cycle until which devices take no answers.
    held_until: u64,
    /// How many of `responses` were delivered before the last drain was asked for.
    before_drain: usize,
    problem: Option<BenchError>,
}

impl Rtl {
    /// A design, reset, in front of this memory. The model is compiled if the cache does not have it.
    ///
    /// # Errors
    /// [`EngineError::Bench`]; a design that cannot be emitted is reported as its message.
    pub fn new(
        design: &Design,
        cache: &Cache,
        flavour: Flavour,
        memory: EngineMemory,
        pace: Pace,
    ) -> Result<Rtl, EngineError> {
        let generated =
            pasidon_rtl::generate(design).map_err(|error| BenchError::Protocol(error.to_string()))?;
        let verilated =
            Verilated::load(&generated, &design.name, cache, flavour).map_err(BenchError::Verilated)?;
        Rtl::with_model(design, verilated, memory, pace)
    }

    /// The same with a model that is there already.
    ///
    /// # Errors
    /// [`EngineError::Bench`]
    pub fn with_model(
        design: &Design,
        verilated: Verilated,
        memory: EngineMemory,
        pace: Pace,
    ) -> Result<Rtl, EngineError> {
        let mut random = Random::new(0);
        let ports = (0..design.ports).map(|_| Port::new(design, &mut random)).collect();
        let mut rtl = Rtl {
            design: design.clone(),
            bench: Bench::new(verilated, memory, pace, Rules::of(design), random.word()),
            ports,
            messages: MessagePort::default(),
            pace,
            random,
            next: 0,
            open: 0,
            responses: Vec::new(),
            drain: true,
            unsettled: 0,
            timed_out: None,
            events: [0; 4],
            drains: [0; 2],
            draining: false,
            held_until: 0,
            before_drain: 0,
            problem: None,
        };
        rtl.check()?;
        Ok(rtl)
    }

    /// The design.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// The model, for waveforms and coverage.
    pub fn verilated_mut(&mut self) -> &mut Verilated {
        &mut self.bench.verilated
    }

    /// The memory.
    pub fn memory_mut(&mut self) -> &mut EngineMemory {
        &mut self.bench.memory
    }

    /// Writes waveforms to `file` (`.fst`) from now on; false if this flavour of the model cannot.
    pub fn trace_to(&mut self, file: &Path) -> bool {
        self.bench.verilated.trace_to(file)
    }

    /// Everything arbitrary from now on (pauses, ids, order of answers) follows from `seed`.
    pub fn reseed(&mut self, seed: u64) {
        self.random = Random::new(seed);
        let rules = Rules::of(&self.design);
        self.bench.memory_port = MemoryPort::new(self.pace, rules, seed ^ 0x5eed);
        self.ports = (0..self.design.ports).map(|_| Port::new(&self.design, &mut self.random)).collect();
    }

    /// Changes how memory and devices behave in time.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        self.bench.memory_port.set_pace(pace);
    }

    /// How memory and devices behave in time.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Writes a doubleword as software does; false where there is no memory.
    pub fn store(&mut self, address: u64, value: u64) -> bool {
        self.bench.memory_port.disturb(address);
        self.bench.memory.store(address, value)
    }

    /// What the hardware has done so far: IOTLB lookups, hits in a port's own IOTLB, walks begun, beats read.
    pub fn events(&self) -> [u64; 4] {
        self.events
    }

    /// How often the hardware has waited for the data path to commit earlier reads, and writes.
    pub fn drains(&self) -> [u64; 2] {
        self.drains
    }

    /// What happened at the message ports since the last call.
    pub fn take_message_events(&mut self) -> Vec<MessageEvent> {
        self.messages.take_events()
    }

    /// Whether no message is under way, and nothing has happened at the message ports since events were last taken.
    pub fn messages_are_quiet(&self) -> bool {
        self.messages.is_idle() && self.messages.is_quiet()
    }

    /// Whether commands may have gone on, or may yet go on, though no register was written: they wait for devices, or did.
    pub fn commands_may_go_on(&self) -> bool {
        self.unsettled & unsettled::COMMANDS != 0
    }

    /// Whether an invalidation request has timed out in this cycle or later: commands go on at times that nobody chose.
    pub fn timed_out_since(&self, cycle: u64) -> bool {
        self.timed_out.is_some_and(|last| last >= cycle)
    }

    /// Whether the command queue waits for answers of devices to invalidation requests.
    pub fn waits_for_devices(&self) -> bool {
        self.bench.out().message.ev_ats_wait & 1 != 0
    }

    /// For so many cycles from now on, devices take no answers.
    pub fn hold(&mut self, cycles: u32) {
        self.held_until = self.bench.now() + u64::from(cycles);
    }

    /// Requests whose answers had left the hardware when it last asked the data path to commit, of those answers that have not been
    /// taken from the engine since.
    pub fn answered_before_drain(&self) -> impl Iterator<Item = Ticket> {
        self.responses.iter().take(self.before_drain).map(|(ticket, _)| *ticket)
    }

    /// Requests that the hardware has not accepted yet.
    pub fn waiting(&self) -> usize {
        self.ports.iter().map(Port::waiting).sum()
    }

    /// One clock cycle.
    #[inline]
    pub fn cycle(&mut self) {
        let Rtl { design, bench, ports, messages, pace, random, responses, problem, .. } = self;
        let Rtl {
            open, drain, unsettled, timed_out, events, drains, draining, held_until, before_drain, ..
        } = self;
        bench.cycle(|now, out, input, _| {
            if out.drain_valid & 1 != 0 && !*draining {
                *before_drain = responses.len();
            }
            *draining = out.drain_valid & 1 != 0;
            let held = now < *held_until;
            let mut wrong = |what: String| {
                problem.get_or_insert_with(|| BenchError::Protocol(format!("cycle {now}: {what}")));
            };
            for (port, (out, input)) in ports.iter_mut().zip(out.req.iter().zip(&mut input.req)) {
                let Port { waiting, port } = port;
                match port.response_at(now, out, input, (pace, random), held) {
                    Ok(None) => {}
                    Ok(Some(Answer { tag, response, .. })) => {
                        *open -= 1;
                        responses.push((tag, response));
                    }
                    Err(what) => wrong(what),
                }
                if !waiting.is_empty()
                    && port.can_offer()
                    && (pace.request_pauses == 0 || random.below(256) >= u64::from(pace.request_pauses))
                    && let Some((ticket, request)) = waiting.pop_front()
                {
                    port.offer(now, ticket, &request, input, random);
                }
                port.request(out, input);
            }
            if design.ats {
                if out.message.ev_ats_timeout != 0 {
                    *timed_out = Some(now);
                }
                match messages.cycle(&out.message, &mut input.message, pace, random) {
                    Ok(happened) if happened.commands_may_go_on => *unsettled |= unsettled::COMMANDS,
                    Ok(_) => {}
                    Err(what) => wrong(what),
                }
            }
            let read = out.axi.arvalid & input.axi.arready;
            if out.ev_lookup | out.ev_walk | read != 0 {
                for (sum, strobes) in events.iter_mut().zip([out.ev_lookup, out.ev_hit, out.ev_walk]) {
                    *sum += u64::from(strobes.count_ones());
                }
                events[3] += if read != 0 { out.axi.arlen + 1 } else { 0 };
            }
            // The data path outside takes a while to drain, when anything else does.
            if *draining || !*drain {
                *drain = pace.memory_pauses == 0 || random.below(256) >= u64::from(pace.memory_pauses);
            }
            input.drain_ready = u64::from(*drain);
            if *draining && *drain {
                drains[0] += out.drain_pr & 1;
                drains[1] += out.drain_pw & 1;
            }
        });
    }

    /// Whether all has gone well so far.
    ///
    /// # Errors
    /// The first thing that did not.
    pub fn check(&mut self) -> Result<(), EngineError> {
        self.bench.check()?;
        Ok(self.problem.take().map_or(Ok(()), Err)?)
    }

    /// Lets cycles pass until `done`, or the hardware has done something wrong.
    fn cycle_until(&mut self, what: impl Display, done: impl Fn(&Rtl) -> bool) -> Result<(), EngineError> {
        let waited = self.wait_until(PATIENCE, what, |rtl| done(rtl) || rtl.problem.is_some());
        // What is wrong with the hardware says more than that it hangs.
        if waited.is_err() || self.problem.is_some() {
            self.check()?;
        }
        Ok(waited?)
    }

    /// Goes on until the hardware has dealt with every message of a device.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn finish_messages(&mut self) -> Result<(), EngineError> {
        self.cycle_until("messages of devices were not taken", |rtl| rtl.messages.is_idle())?;
        self.check()
    }

    /// Goes on until every request has its answer.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn finish(&mut self) -> Result<(), EngineError> {
        while self.open != 0 {
            let open = self.open;
            self.cycle_until(format_args!("{open} requests were not answered"), |rtl| rtl.open != open)?;
        }
        self.check()
    }

    /// Goes on until `done` says so of the register at `offset`.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn poll(
        &mut self,
        offset: u16,
        bytes: u8,
        what: &str,
        done: impl Fn(u64) -> bool,
    ) -> Result<(), EngineError> {
        self.look_until(PATIENCE, what, |rtl| Ok(done(rtl.read_register(offset, bytes)?).then_some(())))
    }

    /// Goes on until memory has been idle for a while.
    fn settle(&mut self) -> Result<(), EngineError> {
        let mut idle = 0;
        self.look_until(PATIENCE, "the memory port was busy", |rtl| {
            rtl.cycle();
            let out = rtl.bench.out();
            let moves = out.axi.arvalid | out.axi.awvalid | out.axi.wvalid | out.message.msg_valid;
            idle = if rtl.bench.memory_port.is_idle() && moves & 1 == 0 { idle + 1 } else { 0 };
            Ok::<_, BenchError>((idle == QUIET).then_some(()))
        })?;
        self.check()
    }

    /// With a pace that is not even, the next register access takes its time, and others are on the bus: reads, and writes without all
    /// strobes of a half, which change nothing.
    fn disturb_registers(&mut self) {
        if self.pace.memory_pauses == 0 {
            return;
        }
        let dice = self.random.word();
        let registers = &mut self.bench.registers;
        registers.hesitate([dice, dice >> 8, dice >> 16].map(|d| d as u8 & 3));
        if dice >> 60 < 3 {
            registers.add_read((dice >> 24) as u32 & 0xff8);
        }
        if dice >> 60 > 12 {
            let strobes = (dice >> 24) as u8 & !(1 << (dice >> 40 & 3)) & !(0x10 << (dice >> 42 & 3));
            registers.add_write((dice >> 32) as u32 & 0xff8, self.random.word(), strobes);
        }
    }

    /// Goes on until commands and register writes have taken effect.
    ///
    /// # Errors
    /// [`EngineError`]
    pub fn settle_registers(&mut self) -> Result<(), EngineError> {
        let pending = std::mem::take(&mut self.unsettled);
        let (head, control) = (cqh::REG.offset, cqcsr::REG.offset);
        if pending & unsettled::DIRECTORY != 0 {
            self.poll(ddtp::REG.offset, 8, "ddtp was busy", |v| !ddtp::BUSY.is_set(v))?;
        }
        if pending & unsettled::FAULTS != 0 {
            self.poll(fqcsr::REG.offset, 4, "fqcsr was busy", |v| !fqcsr::BUSY.is_set(v))?;
        }
        if pending & unsettled::PAGE_REQUESTS != 0 {
            self.poll(pqcsr::REG.offset, 4, "pqcsr was busy", |v| !pqcsr::BUSY.is_set(v))?;
        }
        if pending & unsettled::COMMANDS != 0 {
            self.poll(control, 4, "cqcsr was busy", |v| !cqcsr::BUSY.is_set(v))?;
            let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
            self.look_until(PATIENCE, "commands were not carried out", |rtl| {
                let both = rtl.read_register(head, 8)?;
                let (head, tail) = (both as u32, (both >> (8 * (cqt::REG.offset - cqh::REG.offset))) as u32);
                if head == tail {
                    return Ok(Some(()));
                }
                let state = rtl.read_register(control, 4)?;
                if !cqcsr::CQON.is_set(state) || state & stopped != 0 {
                    return Ok(Some(()));
                }
                let waits = rtl.waits_for_devices() && rtl.messages.is_idle();
                if waits {
                    // It may go on without a register being written.
                    rtl.unsettled |= unsettled::COMMANDS;
                }
                Ok::<_, EngineError>(waits.then_some(()))
            })?;
        }
        if pending & unsettled::DEBUG != 0 {
            let busy = |v| !tr_req_ctl::GO_BUSY.is_set(v);
            self.poll(tr_req_ctl::REG.offset, 8, "the debug request was not answered", busy)?;
        }
        Ok(())
    }
}

impl Clocked for Rtl {
    type Memory = EngineMemory;

    fn bench(&mut self) -> &mut Bench<EngineMemory> {
        &mut self.bench
    }

    fn clock(&mut self) {
        self.cycle();
    }
}

impl Engine for Rtl {
    fn reset(&mut self) -> Result<(), EngineError> {
        for Port { waiting, port } in &mut self.ports {
            waiting.clear();
            port.reset();
        }
        self.messages.reset();
        (self.open, self.unsettled, self.drain, self.draining) = (0, 0, true, false);
        self.held_until = 0;
        self.responses.clear();
        self.problem = None;
        self.bench.reset(self.random.word());
        self.check()
    }

    fn step(&mut self, cycles: u64) -> Result<(), EngineError> {
        (0..cycles).for_each(|_| self.cycle());
        self.check()
    }

    fn cycles(&self) -> u64 {
        self.bench.now()
    }

    fn read_register(&mut self, offset: u16, bytes: u8) -> Result<u64, EngineError> {
        self.disturb_registers();
        Ok(self.load_register(offset, bytes)?)
    }

    fn write_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        self.disturb_registers();
        self.store_register(offset, bytes, value)?;
        let touched = |register: u16| offset & !7 == register & !7;
        if touched(ddtp::REG.offset) {
            self.unsettled |= unsettled::DIRECTORY;
        }
        if touched(cqcsr::REG.offset) {
            self.unsettled |= unsettled::COMMANDS | unsettled::FAULTS;
        }
        if touched(cqt::REG.offset) {
            self.unsettled |= unsettled::COMMANDS;
        }
        if touched(pqcsr::REG.offset) && self.design.ats {
            self.unsettled |= unsettled::PAGE_REQUESTS;
        }
        if touched(tr_req_ctl::REG.offset) {
            self.unsettled |= unsettled::DEBUG;
        }
        Ok(())
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.bench.memory.read_bytes(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        (0..bytes.len() as u64 + 8)
            .step_by(8)
            .for_each(|i| self.bench.memory_port.disturb(address.wrapping_add(i)));
        self.bench.memory.write_bytes(address, bytes)
    }

    fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.bench.memory.inject(range, failure);
    }

    fn heal(&mut self) {
        self.bench.memory.heal();
    }

    fn ports(&self) -> usize {
        self.ports.len()
    }

    fn submit(&mut self, port: usize, request: &Request) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        self.open += 1;
        let count = self.ports.len();
        self.ports[port % count].waiting.push_back((ticket, *request));
        ticket
    }

    fn take_responses(&mut self) -> Vec<(Ticket, Response)> {
        self.before_drain = 0;
        std::mem::take(&mut self.responses)
    }

    fn outstanding(&self) -> usize {
        self.open
    }

    fn quiesce(&mut self) -> Result<(), EngineError> {
        loop {
            self.finish()?;
            self.finish_messages()?;
            self.settle_registers()?;
            let begun = self.bench.now();
            self.settle()?;
            if !self.timed_out_since(begun) {
                return Ok(());
            }
        }
    }

    fn translate(&mut self, port: usize, request: &Request) -> Result<Response, EngineError> {
        let ticket = self.submit(port, request);
        let place = |rtl: &Rtl| rtl.responses.iter().rposition(|(t, _)| *t == ticket);
        self.cycle_until("a request was not answered", |rtl| place(rtl).is_some())?;
        let index = place(self).ok_or(EngineError::Unsupported("an answer without a request"))?;
        Ok(self.responses.swap_remove(index).1)
    }

    fn take_messages(&mut self) -> Vec<Message> {
        self.messages.take_messages()
    }

    fn page_request(&mut self, request: &PageRequest) -> Result<(), EngineError> {
        if !self.design.ats {
            return Err(EngineError::without_ats("a page request"));
        }
        self.messages.page_request(*request);
        Ok(())
    }

    fn invalidation_completion(&mut self, completion: &InvalidationCompletion) -> Result<(), EngineError> {
        if !self.design.ats {
            return Err(EngineError::without_ats("an invalidation completion"));
        }
        self.messages.invalidation_completion(*completion);
        self.unsettled |= unsettled::COMMANDS;
        Ok(())
    }

    fn wires(&mut self) -> u32 {
        self.bench.out().irq as u32
    }
}
