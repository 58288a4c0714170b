//! Changes of memory: with an invalidation, without one, and while requests are under way; and memory that fails for a while.

use super::super::op::{Ask, At, Covers, Op, Store, Word};
use super::super::scene::{Ats, Leaf, broken, everything};
use super::super::tables::{Meaning, RESERVED_PAGES, Role, chance, pick};
use super::{Generator, encoded};
use pasidon_spec::memory::Failure;

impl Generator<'_> {
    /// A change of something that means something: (store, may the old value be in use).
    pub(super) fn change(&mut self) -> Option<(Store, bool)> {
        let tables = &self.scene.tables;
        let meaning = *tables.meanings.get(self.random.below(tables.meanings.len().max(1) as u64) as usize)?;
        let old = tables.get(meaning.address, meaning.bytes, meaning.big);
        let value = broken(old, meaning, &mut self.random)?;
        Some(self.replace(meaning, value))
    }

    pub(super) fn replace(&mut self, meaning: Meaning, value: u64) -> (Store, bool) {
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
    pub(super) fn unfenced_change(&mut self) {
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

    pub(super) fn invalidate_all(&mut self) {
        let mut commands = everything(&self.scene.tables.guests);
        self.random.shuffle(&mut commands);
        let commands = encoded(&commands);
        self.unfenced = false;
        self.push(Op::Invalidate { commands, covers: Covers::All });
    }

    /// A leaf and another value for it, of which exact invalidations are known to reach every use.
    pub(super) fn exact_change(&mut self) -> Option<(Leaf, Store)> {
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

    pub(super) fn uses(&mut self, leaf: &Leaf, count: u64) -> Vec<Ask> {
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
    pub(super) fn fenced_change(&mut self) {
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
    pub(super) fn race(&mut self) {
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
    pub(super) fn failures(&mut self) {
        if self.scene.tables.meanings.is_empty() {
            return;
        }
        // Something that this request reads fails, too.
        let ask = self.good();
        let path = self.path(&ask);
        for _ in 0..1 + self.below(3) {
            let (address, trouble) = match self.below(14) {
                10.. if !path.is_empty() => {
                    let trouble = pick(&mut self.random, &[Failure::Read, Failure::Poison]);
                    // Most of what is read first is read by all requests.
                    let last = &path[path.len().saturating_sub(3)..];
                    let some = if self.chance(50) { last } else { &path };
                    (pick(&mut self.random, some), trouble)
                }
                0..6 => {
                    let meaning = self.scene.tables.meanings
                        [self.random.below(self.scene.tables.meanings.len() as u64) as usize];
                    let trouble = if self.scene.updates && self.chance(25) {
                        Failure::Write
                    } else {
                        pick(&mut self.random, &[Failure::Read, Failure::Poison])
                    };
                    (meaning.address, trouble)
                }
                6 => (self.fault_base + self.below(64) * 8, Failure::Write),
                7 => {
                    let address = self.command_base + self.below(32) * 8;
                    (address, pick(&mut self.random, &[Failure::Read, Failure::Poison]))
                }
                _ => {
                    let place = self.queue_place(RESERVED_PAGES - 2);
                    let trouble = pick(&mut self.random, &[Failure::Read, Failure::Write, Failure::Poison]);
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
