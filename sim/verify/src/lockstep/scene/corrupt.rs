//! What is wrong in a scene on purpose: single bits most often, sometimes garbage. Never a group of pages whose entries differ, of which
//! the specification says nothing.

use super::super::tables::{A, D, Meaning, N, R, Role, U, V, W, X, pick};
use super::{Builder, Check};
use pasidon_cosim::Random;
use pasidon_spec::ddt::{self, dc};
use pasidon_spec::page_table::pte;
use pasidon_spec::pdt::{PC_BYTES, pc};
use pasidon_spec::registers::capabilities as cap;

impl Builder<'_> {
    /// Breaks some of what was built: most often subtly, sometimes with garbage. Returns whether anything is broken.
    pub(super) fn corrupt(&mut self) -> bool {
        if self.tables.meanings.is_empty() || self.chance(40) {
            return false;
        }
        let is_context = |m: &&Meaning| matches!(m.role, Role::Dc(_) | Role::Pc(_));
        let contexts: Vec<Meaning> = self.tables.meanings.iter().filter(is_context).copied().collect();
        for _ in 0..1 + self.random.below(5) {
            let index = self.random.below(self.tables.meanings.len() as u64) as usize;
            let meaning = if !contexts.is_empty() && self.chance(30) {
                pick(self.random, &contexts)
            } else {
                self.tables.meanings[index]
            };
            let old = self.tables.get(meaning.address, meaning.bytes, meaning.big);
            let services = [dc::tc::EN_ATS, dc::tc::EN_PRI, dc::tc::PRPR, dc::tc::T2GPA];
            let value = if meaning.role == Role::Dc(0) && self.has(cap::ATS) && self.chance(25) {
                old ^ pick(self.random, &services).mask()
            } else {
                let Some(value) = broken(old, meaning, self.random) else { continue };
                value
            };
            self.tables.set(meaning.address, meaning.bytes, meaning.big, value);
            let (words, size, word) = match meaning.role {
                Role::Dc(word) if self.has(cap::MSI_FLAT) => (dc::EXTENDED, ddt::EXT_DC_BYTES, word),
                Role::Dc(word) => (dc::BASE, ddt::BASE_DC_BYTES, word),
                Role::Pc(word) => (pc::WORDS, PC_BYTES, word),
                _ => continue,
            };
            let start = meaning.address & !(size - 1);
            let changed = (value ^ old).trailing_zeros() as u8;
            let word = words[usize::from(word)];
            let field = word.fields.iter().find(|f| (f.lo..=f.hi()).contains(&changed));
            let name = format!("{}.{}", word.name, field.map_or("reserved", |f| f.name));
            let owner = self.contexts.iter().find(|context| context.address == start);
            self.checks.extend(owner.map(|owner| Check {
                did: owner.did,
                process: matches!(meaning.role, Role::Pc(_)),
                name,
            }));
        }
        true
    }
}

/// A value like this one with something wrong; `None` if it would make a group of pages whose entries differ, of which the
/// specification says nothing.
pub(in crate::lockstep) fn broken(value: u64, meaning: Meaning, random: &mut Random) -> Option<u64> {
    let bits = 8 * meaning.bytes;
    let page_table = matches!(meaning.role, Role::FirstStage | Role::SecondStage);
    let new = match random.below(10) {
        0..6 => value ^ 1 << random.below(bits),
        6 if page_table => value & !pick(random, &[R, W, X, U, A, D]),
        6 => value ^ pick(random, &[1, 2, 4, 8]) << 60,
        7 => value & !V,
        8 => value ^ 1 << random.below(bits) ^ 1 << random.below(bits),
        _ => random.word() >> (64 - bits),
    };
    unless_group(value, new, meaning)
}

/// A value with one bit changed, under the same condition.
pub(in crate::lockstep) fn flipped(value: u64, meaning: Meaning, bit: u32) -> Option<u64> {
    unless_group(value, value ^ 1 << bit, meaning)
}

fn unless_group(value: u64, new: u64, meaning: Meaning) -> Option<u64> {
    let is_group = |v: u64| meaning.bytes == 8 && v & N != 0 && v & V != 0 && pte::PPN.get(v) & 15 == 8;
    let swapped = if meaning.bytes == 8 { new.swap_bytes() } else { 0 };
    if is_group(value) || is_group(new) || is_group(swapped) { None } else { Some(new) }
}
