//! Small experiments whose outcome depends on one detail: one bit of an entry that is in use, an invalidation of something else, a reset, an
//! answer that leaves late, two writes at once.

use super::super::op::{AccessKind, Ask, At, Covers, Op, Store, Word};
use super::super::scene::{Route, broken, everything, flipped, id};
use super::super::tables::{Meaning, Role, pick};
use super::{Generator, encoded, words};
use crate::engine::versions::{Choices, Versions, WhatIf};
use pasidon_golden as golden;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::EXT_DC_BYTES;
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::pdt::PC_BYTES;

/// Notes what is read.
struct Seen<'a> {
    memory: WhatIf<'a>,
    addresses: Vec<u64>,
}

impl golden::Memory for Seen<'_> {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        self.addresses.push(address);
        self.memory.read(address, bytes)
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        self.memory.write(address, bytes, value)
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        self.memory.compare_exchange(address, bytes, old, new)
    }
}

impl Generator<'_> {
    /// A request that works, if there is one.
    pub(super) fn good(&mut self) -> Ask {
        let mut ask = self.ask();
        for _ in 0..12 {
            if !self.faults(&ask) {
                break;
            }
            ask = self.ask();
        }
        ask
    }

    /// A request that a supervisor may make and a user may not, if there is one.
    fn supervisors_own(&mut self) -> Ask {
        for _ in 0..40 {
            let user = Ask { at: At::Untranslated, privileged: false, ..self.ask() };
            let supervisor = Ask { privileged: true, ..user };
            if user.pid.is_some() && self.faults(&user) && !self.faults(&supervisor) {
                return supervisor;
            }
        }
        self.good()
    }

    /// Addresses of what a request reads.
    pub(super) fn path(&mut self, ask: &Ask) -> Vec<u64> {
        let (none, mut choices) = (Versions::default(), Choices::default());
        let memory = WhatIf::new(&mut self.memory, &none, &mut choices);
        let mut seen = Seen { memory, addresses: Vec::new() };
        self.golden.translate(&mut seen, &ask.request());
        seen.addresses
    }

    /// What a request uses.
    fn used(&mut self, ask: &Ask) -> Vec<Meaning> {
        let path = self.path(ask);
        let meanings = &self.scene.tables.meanings;
        meanings.iter().filter(|m| path.iter().any(|a| a & !7 == m.address & !7)).copied().collect()
    }

    /// One of these entries with one bit changed, and what puts it right again.
    fn flip(&mut self, used: &[Meaning]) -> Option<[(Store, bool); 2]> {
        let meaning = pick(&mut self.random, used);
        let old = self.scene.tables.get(meaning.address, meaning.bytes, meaning.big);
        let bit = self.below(8 * meaning.bytes) as u32;
        let value = flipped(old, meaning, bit)?;
        Some([self.replace(meaning, value), self.replace(meaning, old)])
    }

    /// Entries that a request uses are changed in one bit, one after the other, and put right again.
    pub(super) fn probe(&mut self) {
        let ask = self.good();
        let used = self.used(&ask);
        if used.is_empty() {
            return;
        }
        let mut list = vec![ask];
        for access in [AccessKind::Read, AccessKind::Write, AccessKind::Exec] {
            let privileged = ask.pid.is_some() && self.chance(50);
            list.push(Ask { access, privileged, ..ask });
        }
        self.unfenced = true;
        for _ in 0..2 + self.below(10) {
            let Some([(store, remembered), (back, back_remembered)]) = self.flip(&used) else { continue };
            self.push(Op::Store { store, remembered });
            self.invalidate_all();
            self.push(Op::Requests { list: list.clone(), serial: false });
            self.push(Op::Store { store: back, remembered: back_remembered });
        }
        self.invalidate_all();
        self.push(Op::Requests { list, serial: true });
    }

    /// A request that works, and those that differ from it in one bit of what it is remembered by: address, ids, privilege, access.
    pub(super) fn neighbours(&mut self) {
        let ask = if self.chance(40) { self.supervisors_own() } else { self.good() };
        let mut list: Vec<Ask> = (12..64).map(|bit| Ask { iova: ask.iova ^ 1 << bit, ..ask }).collect();
        list.extend((0..self.design.device_id_width).map(|bit| Ask { did: ask.did ^ 1 << bit, ..ask }));
        list.extend(ask.pid.map(|_| Ask { pid: None, ..ask }));
        if let Some(pid) = ask.pid {
            let bits = 0..self.design.process_id_width;
            list.extend(bits.map(|bit| Ask { pid: Some(pid ^ 1 << bit), ..ask }));
            for access in [AccessKind::Read, AccessKind::Write, AccessKind::Exec] {
                list.extend([false, true].map(|privileged| Ask { access, privileged, ..ask }));
            }
        }
        self.random.shuffle(&mut list);
        list.truncate(20 + self.below(100) as usize);
        let serial = self.chance(50);
        // What is remembered is there when the others come, and again after some of them.
        for at in (0..list.len()).step_by(7).rev() {
            list.insert(at, ask);
        }
        self.push(Op::Requests { list: vec![ask], serial: true });
        self.push(Op::Requests { list, serial });
    }

    /// One context is changed and put right again, each time with the narrowest command of the directories that reaches it.
    pub(super) fn context_change(&mut self) {
        if self.untidy || self.scene.contexts.is_empty() {
            return;
        }
        let context = pick(&mut self.random, &self.scene.contexts);
        let bytes = if context.pid.is_some() { PC_BYTES } else { EXT_DC_BYTES };
        let place = context.address..context.address + bytes;
        let meanings = self.scene.tables.meanings.iter().filter(|m| place.contains(&m.address));
        let meanings: Vec<Meaning> =
            meanings.copied().filter(|m| matches!(m.role, Role::Dc(_) | Role::Pc(_))).collect();
        let meaning = pick(&mut self.random, &meanings);
        let old = self.scene.tables.get(meaning.address, meaning.bytes, meaning.big);
        let bit = self.below(64) as u32;
        let new =
            if self.chance(50) { broken(old, meaning, &mut self.random) } else { flipped(old, meaning, bit) };
        let Some(new) = new else { return };
        let mut commands = everything(&self.scene.tables.guests);
        commands[0] = match context.pid {
            Some(pid) => Command::IodirInvalPdt { did: context.did, pid },
            None => Command::IodirInvalDdt { did: Some(context.did) },
        };
        let commands = encoded(&commands);
        let mut list = self.list(12);
        let of_context = |r: &&Route| r.did == context.did && (context.pid.is_none() || r.pid == context.pid);
        let routes: Vec<Route> = self.scene.routes.iter().filter(of_context).cloned().collect();
        for ask in list.iter_mut().filter(|_| !routes.is_empty()) {
            let route = &routes[self.random.below(routes.len() as u64) as usize];
            (ask.did, ask.pid, ask.tag, ask.at) = (route.did, route.pid, route.tag, At::Untranslated);
            ask.iova = pick(&mut self.random, &route.iovas);
            ask.privileged &= route.pid.is_some();
        }
        for value in [new, old] {
            self.push(Op::Requests { list: list.clone(), serial: false });
            let (store, remembered) = self.replace(meaning, value);
            self.push(Op::Store { store, remembered });
            let covers = Covers::Words(vec![Word(store.address)]);
            self.push(Op::Invalidate { commands: commands.clone(), covers });
        }
        self.push(Op::Requests { list, serial: true });
    }

    /// Requests, invalidations of what they do not use, and the same requests again.
    pub(super) fn precise(&mut self) {
        let ask = self.good();
        let list = vec![ask, Ask { iova: ask.iova ^ 0x40, ..ask }];
        self.push(Op::Requests { list: list.clone(), serial: true });
        for _ in 0..2 + self.below(4) {
            let range = pasidon_spec::command::Range::page_of(ask.iova ^ 1 << (12 + self.below(40)));
            let (did, pid) = (ask.did ^ 1 << self.below(8), ask.pid.unwrap_or(0) ^ 1 << self.below(8));
            let commands = match self.below(5) {
                0 | 1 => {
                    Command::IotinvalVma { gscid: None, pscid: Some(id(&mut self.random, 20)), range: None }
                }
                2 => Command::IotinvalVma { gscid: None, pscid: None, range: Some(range) },
                3 => Command::IodirInvalPdt { did: if self.chance(50) { ask.did } else { did }, pid },
                _ => Command::IodirInvalDdt { did: Some(did) },
            };
            self.push(Op::Commands { commands: vec![words(commands.encode())] });
            self.push(Op::RecoverCommandQueue);
            self.push(Op::Requests { list: list.clone(), serial: true });
        }
    }

    /// Reset in the middle of requests and commands, and everything once more, or nearly.
    pub(super) fn reset(&mut self) {
        let ask = self.good();
        let used = self.used(&ask);
        let before = self.below(24);
        let before = self.list(before);
        let commands = (0..self.below(6)).map(|_| words(self.command())).collect();
        let cycles = self.below(u64::from(self.latency) * 8 + 120) as u32;
        let late = self.chance(50);
        if late {
            // Whatever is remembered is what this request uses.
            self.push(Op::Requests { list: vec![ask], serial: true });
            self.push(Op::Reset { before: Vec::new(), commands: Vec::new(), cycles: 0 });
        } else {
            self.push(Op::Reset { before, commands, cycles });
        }
        if self.chance(20) {
            self.push(Op::CompareRegisters);
        }
        if self.chance(20) {
            self.requests(4);
        }
        self.unfenced = false;
        let flip = if used.is_empty() || self.scene.updates { None } else { self.flip(&used) };
        if let Some([(store, _), _]) = flip {
            self.push(Op::Store { store, remembered: false });
        }
        self.turn_on();
        if let Some([_, (store, remembered)]) = flip {
            self.push(Op::Requests { list: vec![ask], serial: true });
            self.push(Op::Store { store, remembered });
            self.invalidate_all();
        }
        let list = self.list(12);
        self.push(Op::Requests { list, serial: false });
    }

    /// Answers that devices do not take while something that they hang on is changed, invalidated and fenced.
    pub(super) fn held(&mut self) {
        for _ in 0..1 + self.below(3) {
            let ask = self.good();
            let used = self.used(&ask);
            let flip = if used.is_empty() || self.scene.updates { None } else { self.flip(&used) };
            self.push(Op::Requests { list: vec![ask], serial: true });
            let few = 1 + self.below(4) as usize;
            let (before, after) = (vec![ask; few], vec![ask; 2]);
            let cycles =
                if self.chance(60) { self.below(16) } else { self.below(u64::from(self.latency) * 4) };
            let hold = self.below(u64::from(self.latency) * 12 + 120) as u32;
            let commands = encoded(&everything(&self.scene.tables.guests));
            let stores = flip.iter().map(|[(store, _), _]| *store).collect();
            self.push(Op::Race { before, cycles: cycles as u32, hold, stores, commands, after });
            if let Some([_, (store, remembered)]) = flip {
                self.push(Op::Store { store, remembered });
                self.invalidate_all();
            }
        }
    }

    /// Fault records and the stores of fences, all at the same time.
    pub(super) fn flood(&mut self) {
        let mut before = Vec::new();
        for _ in 0..60 {
            let ask = self.ask();
            if before.len() < 30 && self.faults(&ask) {
                before.push(ask);
            }
        }
        let commands = (0..1 + self.below(12)).map(|_| words(self.storing_fence().encode())).collect();
        let cycles = self.below(40) as u32;
        self.push(Op::Race { before, cycles, hold: 0, stores: Vec::new(), commands, after: Vec::new() });
    }
}
