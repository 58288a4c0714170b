//! Random sequences of operations: one round, from reset to the end, follows from the design, the seed and the latency.

mod changes;
mod commands;
mod messages;
mod probe;
mod requests;
mod traffic;

use super::ROUND;
use super::op::{Ask, Op, Store, Word};
use super::scene::{self, Check, Scene};
use super::tables::{RESERVED_PAGES, chance, extent, windows};
use crate::engine::versions::{Choices, Versions, WhatIf};
use crate::engine::{EngineMemory, parameters};
use pasidon_cosim::Pace;
use pasidon_cosim::Random;
use pasidon_golden::Golden;
use pasidon_rtl::design::Design;
use pasidon_rtl::regs::capabilities;
use pasidon_spec::command::Command;
use pasidon_spec::page_table::PAGE_BYTES;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{
    Register, capabilities as cap, cqb, cqcsr, ddtp, fctl, fqb, fqcsr, igs, iocountinh, iohpmcycles,
};

/// A round: operations, and the names that the tags of its requests stand for.
#[derive(Clone, Debug)]
pub struct Round {
    /// What to do, beginning with reset.
    pub ops: Vec<Op>,
    /// First-stage and second-stage mode, by tag.
    pub names: Vec<String>,
    /// Contexts that were changed in one field.
    pub checks: Vec<Check>,
}

struct Generator<'a> {
    design: &'a Design,
    caps: u64,
    random: Random,
    scene: Scene,
    ops: Vec<Op>,
    weight: u64,
    latency: u32,
    /// Of 256: how long phases are.
    scale: u64,
    /// Some entry may lie about what it belongs to, so that only broad invalidations are sure to reach it.
    untidy: bool,
    /// Nobody hesitates.
    even: bool,
    /// Changed without an invalidation since.
    unfenced: bool,
    failing: bool,
    fault_base: u64,
    command_base: u64,
    page_request_base: u64,
    /// Vectors of the interrupts.
    vectors: [u8; 4],
    /// Most often used: routes and addresses, for locality.
    working_set: Vec<Ask>,
    /// Tells what becomes of a request, so that not too many fault.
    golden: Golden,
    memory: EngineMemory,
}

/// A random round of about `weight` operations. `even`: memory and devices never hesitate, so that its clock cycles follow from the
/// hardware alone.
pub fn round(design: &Design, seed: u64, latency: u32, weight: u64, even: bool) -> Round {
    let mut random = Random::new(seed);
    let scene = scene::build(design, &mut random);
    let mut generator = Generator {
        design,
        caps: capabilities(design),
        untidy: scene.broken,
        scene,
        random,
        ops: Vec::new(),
        weight: 0,
        latency,
        scale: (weight * 256 / ROUND).clamp(24, 256),
        even,
        unfenced: false,
        failing: false,
        fault_base: 0,
        command_base: 0,
        page_request_base: 0,
        vectors: [0; 4],
        working_set: Vec::new(),
        golden: Golden::new(parameters(design)),
        memory: EngineMemory::sparse(extent(design)),
    };
    generator.set_up();
    // Where nearly everything faults there is little to see, and it takes long.
    let hopeless = (0..48).filter(|_| generator.is_refused()).count() > 36;
    let weight = if hopeless { weight.min(2000) } else { weight };
    while generator.weight < weight {
        generator.phase();
    }
    generator.push(Op::Heal);
    generator.push(Op::CompareRegisters);
    Round { ops: generator.ops, names: generator.scene.names, checks: generator.scene.checks }
}

fn words(command: [u64; 2]) -> [Word; 2] {
    command.map(Word)
}

fn encoded(commands: &[Command]) -> Vec<[Word; 2]> {
    commands.iter().map(|command| words(command.encode())).collect()
}

impl Generator<'_> {
    fn push(&mut self, op: Op) {
        self.weight += op.weight();
        let stores: &[Store] = match &op {
            Op::Store { store, .. } => std::slice::from_ref(store),
            Op::Race { stores, .. } => stores,
            _ => &[],
        };
        for store in stores {
            self.memory.store(store.address, store.value);
        }
        self.ops.push(op);
    }

    fn chance(&mut self, percent: u64) -> bool {
        chance(&mut self.random, percent)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    fn write(&mut self, register: &Register, value: u64) {
        self.push(Op::Write { offset: register.offset, bytes: register.bytes, value });
    }

    fn pace(&mut self) {
        if self.even {
            return self.push(Op::Pace { pace: Pace::even(self.latency.max(1)) });
        }
        let base = self.latency.max(1);
        let latency = if self.chance(60) { base } else { 1 + self.below(base.into()) as u32 };
        let quiet = self.chance(50);
        let mut pause = |most: u64| if quiet { 0 } else { self.random.below(most) as u8 };
        let (memory_pauses, response_pauses, request_pauses) = (pause(110), pause(140), pause(90));
        let exclusive_failures = if self.chance(50) { 0 } else { self.below(160) as u8 };
        let jitter = if self.chance(50) { 0 } else { self.below(u64::from(latency) + 8) as u32 };
        let outstanding = 1 + self.below(24) as u32;
        let stalls = if self.chance(25) { 8 + self.below(u64::from(latency) * 4 + 60) as u16 } else { 0 };
        let interleaving = if self.chance(50) { 0 } else { self.below(200) as u8 };
        let data_first = self.chance(40);
        let pace = Pace {
            latency,
            write_latency: 0,
            jitter,
            outstanding,
            memory_pauses,
            response_pauses,
            request_pauses,
            exclusive_failures,
            stalls,
            interleaving,
            data_first,
        };
        self.push(Op::Pace { pace });
    }

    /// Reset values, tables, queues, mode.
    fn set_up(&mut self) {
        self.pace();
        if self.chance(15) {
            self.push(Op::CompareRegisters);
        }
        let image: Vec<(u64, u64)> = self.scene.tables.image.iter().map(|(&a, &v)| (a, v)).collect();
        for (address, value) in image {
            self.push(Op::Store { store: Store { address, value }, remembered: false });
        }
        if self.chance(20) {
            // Answers before anything is set up.
            self.requests(20);
        }
        self.turn_on();
        let (control, root) = (self.scene.fctl, self.scene.ddtp);
        self.golden.write_register(fctl::REG.offset, fctl::REG.bytes, control);
        self.golden.write_register(ddtp::REG.offset, ddtp::REG.bytes, root);
        let (none, mut choices) = (Versions::default(), Choices::default());
        while self.golden.run(&mut WhatIf::new(&mut self.memory, &none, &mut choices)) {}
    }

    /// Registers and queues after reset, and the directory.
    fn turn_on(&mut self) {
        let control = self.scene.fctl;
        self.write(&fctl::REG, control);
        self.queues();
        if cap::HPM.is_set(self.caps) {
            self.write(&iocountinh::REG, 1);
            let count = self.random.word();
            self.push(Op::Write { offset: iohpmcycles::REG.offset, bytes: 8, value: count });
            (0..4).for_each(|_| self.monitor());
        }
        if cap::ATS.is_set(self.caps) {
            self.page_request_queue();
        }
        self.vectors();
        if cap::IGS.get(self.caps) != igs::WSI {
            (0..4).for_each(|_| self.message());
        }
        let root = self.scene.ddtp;
        self.write(&ddtp::REG, root);
    }

    /// Whether a request faults, with the tables as they are.
    fn faults(&mut self, ask: &Ask) -> bool {
        let (none, mut choices) = (Versions::default(), Choices::default());
        let mut what_if = WhatIf::new(&mut self.memory, &none, &mut choices);
        self.golden.translate(&mut what_if, &ask.request()).fault().is_some()
    }

    /// Whether a random request faults.
    fn is_refused(&mut self) -> bool {
        let ask = self.ask();
        self.faults(&ask)
    }

    fn queue_place(&mut self, offset_pages: u64) -> u64 {
        let window = self.below(4) as usize;
        windows(self.design)[window].start + offset_pages * PAGE_BYTES
    }

    /// Puts both queues somewhere and turns them on. They must be off.
    fn queues(&mut self) {
        // A command queue of up to 4 pages, a fault queue of up to 16.
        self.command_base = self.queue_place(16);
        self.fault_base = self.queue_place(0);
        let commands = 1 + self.below(u64::from(self.design.command_log2_max.min(10))) as u32;
        let faults = 1 + if self.chance(25) { self.below(4) } else { 4 + self.below(6) } as u32;
        let faults = faults.min(self.design.fault_log2_max).min(9);
        self.write(&cqb::REG, Queue::of_commands(self.command_base, commands).base());
        self.write(&fqb::REG, Queue::of_faults(self.fault_base, faults).base());
        let interrupts = self.random.below(4);
        self.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(interrupts));
        self.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(interrupts >> 1));
    }

    fn phase(&mut self) {
        match self.below(100) {
            0..33 => {
                let count = (80 + self.below(720)) * self.scale / 256 + 4;
                if self.chance(40) || self.working_set.is_empty() {
                    self.choose_working_set();
                }
                self.requests(count);
            }
            33..38 => self.neighbours(),
            38..40 => self.probe(),
            40 => self.precise(),
            41 if cap::HPM.is_set(self.caps) && self.design.hpm_counters > 0 && self.chance(50) => {
                self.counted()
            }
            41 | 42 => self.reset(),
            43 | 44 => self.held(),
            45 => self.flood(),
            46..50 => {
                let count = 1 + self.below(16);
                self.serial(count);
            }
            50..57 => self.register_traffic(),
            57..64 => self.commands(),
            64..68 => self.unfenced_change(),
            68..73 => self.fenced_change(),
            73 | 74 => self.context_change(),
            75..82 => self.race(),
            82..86 => self.failures(),
            86..93 if cap::ATS.is_set(self.caps) && self.chance(60) => self.messages(),
            86..89 => self.mode(),
            89..91 => self.requeue(),
            91..93 if cap::DBG.is_set(self.caps) => self.debug(),
            93..95 => self.push(Op::EmptyFaultQueue),
            95..97 => self.pace(),
            _ => self.push(Op::CompareRegisters),
        }
    }
}
