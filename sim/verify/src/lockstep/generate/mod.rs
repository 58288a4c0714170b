//! Random sequences of operations: one round, from reset to the end, follows from the design, the seed and the latency.

mod commands;
mod messages;
mod probe;
mod traffic;

use super::ROUND;
use super::op::{AccessKind, Ask, At, Covers, Op, Store, Trouble, Word};
use super::scene::{self, Ats, Check, Leaf, Scene, broken, everything, id};
use super::tables::{Meaning, RESERVED_PAGES, Role, chance, extent, pick, windows};
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
    tr_req_ctl,
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

    // ---- Requests --------------------------------------------------------------------------------------------------

    fn ask(&mut self) -> Ask {
        let (mut did, mut pid, mut iova, mut tag) = (0, None, self.random.word(), 0);
        let mut at = if self.chance(2) {
            pick(&mut self.random, &[At::Request, At::Translated])
        } else {
            At::Untranslated
        };
        if !self.scene.routes.is_empty() {
            let route = &self.scene.routes[self.random.below(self.scene.routes.len() as u64) as usize];
            (did, pid, tag) = (route.did, route.pid, route.tag);
            iova = pick(&mut self.random, &route.iovas);
            if route.ats != Ats::Off {
                at = pick(&mut self.random, &[At::Untranslated, At::Request, At::Request, At::Translated]);
            }
            match &route.ats {
                Ats::On if at == At::Translated => iova = self.random.below(1 << self.design.pas),
                Ats::Guest(addresses) if at == At::Translated => iova = pick(&mut self.random, addresses),
                _ => {}
            }
        }
        match self.below(40) {
            0 => did = id(&mut self.random, self.design.device_id_width),
            1 => pid = Some(id(&mut self.random, self.design.process_id_width)),
            2 => pid = None,
            3 if !self.scene.devices.is_empty() => did = pick(&mut self.random, &self.scene.devices),
            _ => {}
        }
        iova ^= self.random.word() & 0xfff;
        match self.below(24) {
            0..3 => iova ^= self.below(16) << 12,
            3 => iova ^= self.below(512) << 12,
            4 => iova ^= 1 << self.below(64),
            5 => iova ^= self.below(1 << 30),
            _ => {}
        }
        if cap::MSI_MRIF.is_set(self.caps) && self.chance(40) {
            iova &= !0xfff | 4;
        }
        let access = pick(
            &mut self.random,
            &[AccessKind::Read, AccessKind::Read, AccessKind::Write, AccessKind::Write, AccessKind::Exec],
        );
        let privileged = pid.is_some() && self.chance(30);
        let data = if self.chance(70) { self.below(2060) as u32 } else { self.random.word() as u32 };
        let data = if cap::MSI_MRIF.is_set(self.caps) { data } else { 0 };
        let writes_too = at == At::Request && self.chance(50);
        let cxl = cap::ATS.is_set(self.caps) && self.chance(40);
        let port = self.below(4) as u8;
        Ask { port, did, pid, privileged, access, writes_too, cxl, at, iova, data, tag }
    }

    fn choose_working_set(&mut self) {
        let most = if self.chance(25) { 60 } else { 14 };
        let count = 2 + self.below(most);
        // A request that faults is never answered from a cache: a few are enough.
        let few = if self.chance(8) { 60 } else { 3 };
        self.working_set = (0..count)
            .map(|_| {
                let mut ask = self.ask();
                for _ in 0..8 {
                    if !self.faults(&ask) || self.chance(few) {
                        break;
                    }
                    ask = self.ask();
                }
                ask
            })
            .collect();
    }

    fn list(&mut self, count: u64) -> Vec<Ask> {
        (0..count)
            .map(|_| {
                if self.working_set.is_empty() || self.below(64) == 0 {
                    return self.ask();
                }
                let mut ask = pick(&mut self.random, &self.working_set);
                ask.port = self.below(4) as u8;
                // Another address of the same page, another access.
                if ask.data == 0 {
                    ask.iova ^= self.random.word() & 0xff8;
                }
                if self.chance(2) {
                    ask.access =
                        pick(&mut self.random, &[AccessKind::Read, AccessKind::Write, AccessKind::Exec]);
                }
                ask
            })
            .collect()
    }

    fn requests(&mut self, count: u64) {
        let working_set = self.working_set.clone();
        let faulting = working_set.iter().filter(|ask| self.faults(ask)).count();
        let count = if 3 * faulting > working_set.len() { count / 8 + 1 } else { count };
        let list = self.list(count);
        self.push(Op::Requests { list, serial: false });
    }

    fn serial(&mut self, count: u64) {
        let list = self.list(count);
        self.push(Op::Requests { list, serial: true });
    }

    fn debug(&mut self) {
        for _ in 0..1 + self.below(4) {
            let ask = self.ask();
            let control = tr_req_ctl::GO_BUSY.of(1)
                | tr_req_ctl::PRIV.of(ask.privileged.into())
                | tr_req_ctl::EXE.of((ask.access == AccessKind::Exec).into())
                | tr_req_ctl::NW.of((ask.access != AccessKind::Write).into())
                | tr_req_ctl::PV.of(ask.pid.is_some().into())
                | tr_req_ctl::PID.of(ask.pid.unwrap_or(0).into())
                | tr_req_ctl::DID.of(ask.did.into());
            self.push(Op::Debug { iova: ask.iova & !0xfff, control });
        }
    }

    // ---- Changes of memory -----------------------------------------------------------------------------------------

    /// A change of something that means something: (store, may the old value be in use).
    fn change(&mut self) -> Option<(Store, bool)> {
        let tables = &self.scene.tables;
        let meaning = *tables.meanings.get(self.random.below(tables.meanings.len().max(1) as u64) as usize)?;
        let old = tables.get(meaning.address, meaning.bytes, meaning.big);
        let value = broken(old, meaning, &mut self.random)?;
        Some(self.replace(meaning, value))
    }

    fn replace(&mut self, meaning: Meaning, value: u64) -> (Store, bool) {
        let tables = &mut self.scene.tables;
        let old = tables.get(meaning.address, meaning.bytes, meaning.big);
        tables.set(meaning.address, meaning.bytes, meaning.big, value);
        let address = meaning.address & !7;
        // Entries that are not valid are not cached. (Section "Caching in-memory data structures".)
        let cacheable = !meaning.role.has_valid_bit() || old & 1 != 0;
        (Store { address, value: tables.word(address) }, cacheable)
    }

    /// Software changes something and does not say so yet. Not where A and D bits are updated: which of the versions they are
    /// updated in would be open.
    fn unfenced_change(&mut self) {
        if self.scene.updates {
            return self.fenced_change();
        }
        for _ in 0..1 + self.below(2) {
            let Some((store, remembered)) = self.change() else { continue };
            self.untidy = true;
            self.unfenced = true;
            self.push(Op::Store { store, remembered });
        }
        let count = 20 + self.below(60);
        self.requests(count);
        if self.chance(70) {
            self.invalidate_all();
        }
    }

    fn invalidate_all(&mut self) {
        let mut commands = everything(&self.scene.tables.guests);
        self.random.shuffle(&mut commands);
        let commands = encoded(&commands);
        self.unfenced = false;
        self.push(Op::Invalidate { commands, covers: Covers::All });
    }

    /// A leaf and another value for it, of which exact invalidations are known to reach every use.
    fn exact_change(&mut self) -> Option<(Leaf, Store)> {
        if self.untidy || self.scene.leaves.is_empty() {
            return None;
        }
        let leaf = self.scene.leaves[self.random.below(self.scene.leaves.len() as u64) as usize].clone();
        let meaning = leaf.meaning;
        let old = self.scene.tables.get(meaning.address, meaning.bytes, meaning.big);
        let flip = match self.below(8) {
            0 => 1,
            1..4 => 1 << (1 + self.below(3)),
            4 => 1 << 4,
            5 => 1 << (6 + self.below(2)),
            // Another page: bits that no superpage needs to be zero.
            _ => 1 << (if meaning.bytes == 4 { 29 } else { 37 } + self.below(3)),
        };
        let (store, _) = self.replace(meaning, old ^ flip);
        Some((leaf, store))
    }

    fn uses(&mut self, leaf: &Leaf, count: u64) -> Vec<Ask> {
        let second = leaf.meaning.role == Role::SecondStage;
        let routes: Vec<_> = self
            .scene
            .routes
            .iter()
            .filter(|r| if second { r.guest == leaf.meaning.guest } else { r.iovas.contains(&leaf.iova) })
            .cloned()
            .collect();
        let mut list = self.list(count);
        if routes.is_empty() {
            return list;
        }
        for ask in &mut list {
            if chance(&mut self.random, 60) {
                let route = &routes[self.random.below(routes.len() as u64) as usize];
                let iova = if second { pick(&mut self.random, &route.iovas) } else { leaf.iova };
                (ask.did, ask.pid, ask.tag, ask.at) = (route.did, route.pid, route.tag, At::Untranslated);
                if route.ats != Ats::Off && chance(&mut self.random, 40) {
                    ask.at = At::Request;
                }
                ask.iova = iova | self.random.word() & 0xff8;
                ask.privileged &= route.pid.is_some();
            }
        }
        list
    }

    /// Software changes something, invalidates exactly that, and waits.
    fn fenced_change(&mut self) {
        match self.exact_change() {
            Some((leaf, store)) => {
                let count = 10 + self.below(40);
                let warm = self.uses(&leaf, count);
                self.push(Op::Requests { list: warm, serial: false });
                self.push(Op::Store { store, remembered: true });
                let commands = encoded(&leaf.commands);
                let covers = Covers::Words(vec![Word(store.address)]);
                self.push(Op::Invalidate { commands, covers });
                let list = self.uses(&leaf, count);
                self.push(Op::Requests { list, serial: false });
            }
            None => {
                for _ in 0..1 + self.below(3) {
                    let Some((store, remembered)) = self.change() else { continue };
                    self.untidy = true;
                    self.push(Op::Store { store, remembered });
                }
                self.invalidate_all();
                let count = 20 + self.below(60);
                self.requests(count);
            }
        }
    }

    /// Software changes something while requests are under way.
    fn race(&mut self) {
        let (before, after) =
            (4 + (16 + self.below(120)) * self.scale / 256, 2 + self.below(40) * self.scale / 256);
        let cycles = self.below(u64::from(self.latency) * 4 + 60) as u32;
        if self.scene.updates {
            // Only invalidations: see `unfenced_change`.
            let commands = encoded(&everything(&self.scene.tables.guests));
            let (before, after) = (self.list(before), self.list(after));
            return self.push(Op::Race { before, cycles, hold: 0, stores: Vec::new(), commands, after });
        }
        let (leaf, store, commands) = match self.exact_change() {
            Some((leaf, store)) => {
                let commands = leaf.commands.clone();
                (Some(leaf), store, commands)
            }
            None => {
                let Some((store, _)) = self.change() else { return };
                self.untidy = true;
                (None, store, everything(&self.scene.tables.guests))
            }
        };
        let mut commands = commands;
        if self.chance(60) {
            // Its write, and those of the fault queue.
            commands.push(self.storing_fence());
        }
        let commands = encoded(&commands);
        let (mut before, after) = match leaf {
            Some(leaf) => (self.uses(&leaf, before), self.uses(&leaf, after)),
            None => (self.list(before), self.list(after)),
        };
        if self.chance(40) {
            for index in 0..before.len() / 3 {
                before[index * 3] = self.ask();
            }
        }
        self.push(Op::Race { before, cycles, hold: 0, stores: vec![store], commands, after });
    }

    /// Memory fails for a while.
    fn failures(&mut self) {
        if self.scene.tables.meanings.is_empty() {
            return;
        }
        // Something that this request reads fails, too.
        let ask = self.good();
        let path = self.path(&ask);
        for _ in 0..1 + self.below(3) {
            let (address, trouble) = match self.below(14) {
                10.. if !path.is_empty() => {
                    let trouble = pick(&mut self.random, &[Trouble::Read, Trouble::Corrupt]);
                    // Most of what is read first is read by all requests.
                    let last = &path[path.len().saturating_sub(3)..];
                    let some = if self.chance(50) { last } else { &path };
                    (pick(&mut self.random, some), trouble)
                }
                0..6 => {
                    let meaning = self.scene.tables.meanings
                        [self.random.below(self.scene.tables.meanings.len() as u64) as usize];
                    let trouble = if self.scene.updates && self.chance(25) {
                        Trouble::Write
                    } else {
                        pick(&mut self.random, &[Trouble::Read, Trouble::Corrupt])
                    };
                    (meaning.address, trouble)
                }
                6 => (self.fault_base + self.below(64) * 8, Trouble::Write),
                7 => {
                    let address = self.command_base + self.below(32) * 8;
                    (address, pick(&mut self.random, &[Trouble::Read, Trouble::Corrupt]))
                }
                _ => {
                    let place = self.queue_place(RESERVED_PAGES - 2);
                    let trouble = pick(&mut self.random, &[Trouble::Read, Trouble::Write, Trouble::Corrupt]);
                    (place + self.below(1024) * 8, trouble)
                }
            };
            self.push(Op::Inject { address: address & !7, bytes: 8, trouble });
        }
        self.failing = true;
        let serial = self.chance(50);
        self.push(Op::Requests { list: vec![ask; 2], serial });
        let count = 10 + self.below(60);
        if self.chance(50) {
            self.requests(count);
        } else {
            self.serial(count / 3);
        }
        if self.chance(40) {
            self.commands();
        }
        self.push(Op::Heal);
        self.failing = false;
        self.push(Op::RecoverCommandQueue);
        if self.chance(80) {
            self.push(Op::EmptyFaultQueue);
        }
        if self.chance(50) {
            self.invalidate_all();
        }
    }
}
