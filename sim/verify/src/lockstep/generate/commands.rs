//! Commands: of every form, with operands that mean something and ones that do not, and with something illegal.

use super::super::op::Op;
use super::super::scene::id;
use super::super::tables::{RESERVED_PAGES, chance, pick};
use super::{Generator, words};
use pasidon_spec::command::{Command, Range as Pages, Store as FenceStore, ats, iodir, iofence, iotinval};
use pasidon_spec::registers::{capabilities as cap, fctl};

impl Generator<'_> {
    fn range(&mut self) -> Option<Pages> {
        if self.chance(35) {
            return None;
        }
        let address = if self.chance(70) { self.ask().iova } else { self.random.word() };
        let napot = cap::S.is_set(self.caps) && self.chance(40);
        let page = if napot {
            let shift = 13 + self.below(40) as u32;
            pasidon_spec::range::encode(address, shift).unwrap_or(address >> 12)
        } else {
            address >> 12
        };
        Some(Pages { page, napot, non_leaf: cap::NL.is_set(self.caps) && self.chance(30) })
    }

    fn gscid(&mut self) -> u16 {
        let guests = &self.scene.tables.guests;
        if guests.is_empty() || chance(&mut self.random, 20) {
            return self.random.word() as u16;
        }
        guests[self.random.below(guests.len() as u64) as usize].gscid
    }

    pub(super) fn command(&mut self) -> [u64; 2] {
        let did = if self.scene.devices.is_empty() || self.chance(30) {
            id(&mut self.random, 24)
        } else {
            let did = pick(&mut self.random, &self.scene.devices);
            if self.chance(35) { did ^ 1 << self.below(24) } else { did }
        };
        let known = self.ask().pid.filter(|_| chance(&mut self.random, 60));
        let pid = known.unwrap_or_else(|| id(&mut self.random, 20));
        let pid = if self.chance(15) { pid ^ 1 << self.below(20) } else { pid };
        let wired = fctl::WSI.is_set(self.scene.fctl);
        let command = match self.below(10) {
            0..2 => {
                let gscid = if self.chance(40) { Some(self.gscid()) } else { None };
                let pscid = if self.chance(50) { Some(id(&mut self.random, 20)) } else { None };
                Command::IotinvalVma { gscid, pscid, range: self.range() }
            }
            2 => {
                let guest = if self.chance(70) { Some((self.gscid(), self.range())) } else { None };
                Command::IotinvalGvma { guest }
            }
            3 | 4 => Command::IodirInvalDdt { did: self.chance(70).then_some(did) },
            5 | 6 => Command::IodirInvalPdt { did, pid },
            _ => {
                let store = if self.chance(60) {
                    let mut address = self.queue_place(RESERVED_PAGES - 1) + self.below(1024) * 4;
                    if self.chance(5) {
                        address = self.random.word() >> 8;
                    }
                    Some(FenceStore { address, data: self.random.word() as u32 })
                } else {
                    None
                };
                let wsi = wired && self.chance(30);
                Command::IofenceC { pr: self.chance(50), pw: self.chance(50), wsi, store }
            }
        };
        let words = command.encode();
        if self.chance(12) { self.spoilt(command, words) } else { words }
    }

    /// Something illegal: one reserved bit, another function, another opcode, an operand that is not allowed.
    fn spoilt(&mut self, command: Command, mut words: [u64; 2]) -> [u64; 2] {
        match self.below(8) {
            0..3 => {
                // Any of them, and that one alone.
                let (word, mask) = pick(&mut self.random, &reserved_bits(command));
                words[word] |= mask;
            }
            3 => words[0] ^= 1 << self.below(10),
            4..7 => words[self.random.below(2) as usize] ^= 1 << self.random.below(64),
            _ => words = [self.random.word(), self.random.word()],
        }
        words
    }

    /// Many reserved bits of one command, each alone.
    fn illegal(&mut self) {
        let command = match self.below(6) {
            0 => Command::IotinvalVma { gscid: None, pscid: None, range: None },
            1 => Command::IotinvalGvma { guest: None },
            2 => Command::IodirInvalDdt { did: None },
            3 => Command::IodirInvalPdt { did: id(&mut self.random, 24), pid: id(&mut self.random, 20) },
            4 if cap::ATS.is_set(self.caps) => Command::AtsPrgr { pid: None, dseg: None, rid: 0, payload: 0 },
            _ => Command::IofenceC { pr: false, pw: false, wsi: false, store: None },
        };
        let mut bits = reserved_bits(command);
        self.random.shuffle(&mut bits);
        for (word, mask) in bits.into_iter().take(24) {
            let mut spoilt = command.encode();
            spoilt[word] |= mask;
            self.push(Op::Commands { commands: vec![words(spoilt)] });
            self.push(Op::RecoverCommandQueue);
        }
    }

    /// A fence that stores.
    pub(super) fn storing_fence(&mut self) -> Command {
        let address = self.queue_place(RESERVED_PAGES - 1) + self.below(1024) * 4;
        let store = Some(FenceStore { address, data: self.random.word() as u32 });
        Command::IofenceC { pr: self.chance(50), pw: self.chance(50), wsi: false, store }
    }

    pub(super) fn commands(&mut self) {
        if self.chance(15) {
            return self.illegal();
        }
        let count = if self.chance(10) { 1 + self.below(64) } else { 1 + self.below(6) };
        let commands = (0..count).map(|_| words(self.command())).collect();
        self.push(Op::Commands { commands });
        self.push(Op::RecoverCommandQueue);
    }
}

/// The reserved bits of a command: doubleword and mask of each.
fn reserved_bits(command: Command) -> Vec<(usize, u64)> {
    let reserved = match command {
        Command::IotinvalVma { .. } | Command::IotinvalGvma { .. } => iotinval::RESERVED,
        Command::IofenceC { .. } => iofence::RESERVED,
        Command::AtsInval { .. } | Command::AtsPrgr { .. } => ats::RESERVED,
        Command::IodirInvalDdt { .. } | Command::IodirInvalPdt { .. } => iodir::RESERVED,
    };
    let bits = (0..2).flat_map(|word| (0..64).map(move |bit| (word, 1 << bit)));
    bits.filter(|(word, mask)| reserved[*word] & mask != 0).collect()
}
