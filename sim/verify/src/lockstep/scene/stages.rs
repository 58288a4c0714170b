//! The stages of a scene: guests with their second stages and interrupt files, and first-stage address spaces with their mappings.

use super::super::tables::{G, Guest, Meaning, RESERVED_PAGES, Role, Stage, U, chance, leaf_flags, pick};
use super::{Builder, Leaf, Space};
use pasidon_spec::command::{Command, Range as Pages};
use pasidon_spec::msi::{self, MSIPTE_BYTES};
use pasidon_spec::page_table::{self as pt, Geometry, PAGE_BYTES, PAGE_SHIFT, pte};
use pasidon_spec::registers::capabilities as cap;

impl Builder<'_> {
    fn second_stages(&self) -> Vec<&'static Geometry> {
        let all = [
            (cap::SV32X4, true, &pt::SV32X4),
            (cap::SV39X4, false, &pt::SV39X4),
            (cap::SV48X4, false, &pt::SV48X4),
            (cap::SV57X4, false, &pt::SV57X4),
        ];
        all.iter().filter(|(field, gxl, _)| self.has(*field) && *gxl == self.gxl).map(|(.., g)| *g).collect()
    }

    fn first_stages(&self, sxl: bool) -> Vec<&'static Geometry> {
        let all = [
            (cap::SV32, true, &pt::SV32),
            (cap::SV39, false, &pt::SV39),
            (cap::SV48, false, &pt::SV48),
            (cap::SV57, false, &pt::SV57),
        ];
        all.iter().filter(|(field, x, _)| self.has(*field) && *x == sxl).map(|(.., g)| *g).collect()
    }

    pub(super) fn guests(&mut self) {
        let geometries = self.second_stages();
        if geometries.is_empty() {
            return;
        }
        for _ in 0..1 + self.random.below(2) {
            let geometry = pick(self.random, &geometries);
            let updates = self.has(cap::AMO_HWAD) && self.chance(35);
            let low = self.gxl || self.chance(30);
            let Some(number) = self.tables.guest(geometry, updates, low, self.random) else { return };
            self.updates |= updates;
            if self.has(cap::MSI_FLAT) {
                self.interrupt_files(number);
            }
            // Whatever the second stage maps can be changed.
            let Guest { gscid, maps, .. } = self.tables.guests[number].clone();
            for (gpa, _, slot) in maps {
                let range = self.chance(60).then(|| Pages::page_of(gpa));
                let commands = vec![
                    Command::IotinvalGvma { guest: Some((gscid, range)) },
                    Command::IodirInvalDdt { did: None },
                ];
                if let Some(&meaning) = self.tables.meanings.iter().find(|m| Some(m.address) == slot) {
                    self.leaves.push(Leaf { meaning, commands, iova: gpa });
                }
            }
        }
    }

    /// The guest's interrupt files: which pages they are, and the MSI page table.
    fn interrupt_files(&mut self, number: usize) {
        let guest = &self.tables.guests[number];
        let bits = if guest.low { 34 } else { u32::from(guest.geometry.address_bits()) };
        let pattern = self.random.below(1 << (bits - 12));
        let mut mask = 0;
        for _ in 0..self.random.below(5) {
            mask |= 1u64 << self.random.below(u64::from(bits) - 12);
        }
        let Some(table) = self.tables.page(false, self.random) else { return };
        let guest = &mut self.tables.guests[number];
        for _ in 0..6 {
            guest.msi_pages.push((pattern & !mask | self.random.word() & mask) << PAGE_SHIFT);
        }
        // Kept in the guest's first interrupt page entries: pattern and mask are taken from there by the devices.
        self.tables.guests[number].msi_pages.insert(0, pattern);
        self.tables.guests[number].msi_pages.insert(1, mask);
        self.tables.guests[number].msi_pages.insert(2, table);
        let big = self.tables.big;
        for index in 0..1u64 << mask.count_ones() {
            let words = self.msi_entry();
            let address = table + index * MSIPTE_BYTES;
            for (i, word) in words.into_iter().enumerate() {
                let place = address + 8 * i as u64;
                let meaning =
                    Meaning { address: place, role: Role::Msi(i as u8), big, bytes: 8, guest: Some(number) };
                self.tables.put(meaning, word);
            }
        }
    }

    fn scratch(&mut self) -> u64 {
        let window = self.random.below(4) as usize;
        self.tables.windows[window].start + (RESERVED_PAGES - 2) * PAGE_BYTES
    }

    fn msi_entry(&mut self) -> [u64; 2] {
        if self.has(cap::MSI_MRIF) && self.chance(50) {
            let file = self.scratch() + self.random.below(8) * msi::file::BYTES;
            let notice = self.scratch() + PAGE_BYTES;
            let identifier = self.random.below(2048);
            return [
                msi::mrif::V.of(1) | msi::mrif::M.of(msi::mode::MRIF) | msi::mrif::ADDRESS.of(file >> 9),
                msi::mrif::NID_LOW.of(identifier)
                    | msi::mrif::NID_HIGH.of(identifier >> 10)
                    | msi::mrif::NPPN.of(notice >> PAGE_SHIFT),
            ];
        }
        let ppn = self.random.word() >> (64 - (self.design.pas - 12));
        let ignored = self.random.word();
        [msi::basic::V.of(1) | msi::basic::M.of(msi::mode::BASIC) | msi::basic::PPN.of(ppn), ignored]
    }

    /// An address space with some mappings, or one that is there already.
    pub(super) fn space(
        &mut self,
        guest: Option<usize>,
        sxl: bool,
        big: bool,
        updates: bool,
    ) -> Option<usize> {
        let fits = |s: &Space| (s.guest, s.sxl, s.big, s.updates) == (guest, sxl, big, updates);
        let found: Vec<usize> = (0..self.spaces.len()).filter(|&i| fits(&self.spaces[i])).collect();
        if !found.is_empty() && (self.chance(40) || self.spaces.len() > 9) {
            return Some(pick(self.random, &found));
        }
        let geometries = self.first_stages(sxl);
        let bare = geometries.is_empty() || self.chance(if guest.is_some() { 25 } else { 6 });
        let pscid = self.random.below(1 << 20) as u32;
        let geometry = if bare { None } else { Some(pick(self.random, &geometries)) };
        let low = geometry.is_some_and(|g| g.pte_bytes == 4);
        let root = if bare { 0 } else { self.tables.table(guest, low && guest.is_none(), self.random)?.0 };
        let number = self.spaces.len();
        self.spaces.push(Space { guest, sxl, big, updates, geometry, root, pscid, iovas: Vec::new() });
        self.updates |= updates;
        match geometry {
            Some(geometry) => self.mappings(number, geometry),
            None => self.bare_addresses(number),
        }
        Some(number)
    }

    /// Guest physical addresses that mean something, or any physical address.
    pub(super) fn target(&mut self, guest: Option<usize>) -> u64 {
        let Some(number) = guest else { return self.random.below(1 << self.design.pas) };
        let guest = &self.tables.guests[number];
        if guest.msi_pages.len() > 3 && chance(self.random, 25) {
            return pick(self.random, &guest.msi_pages[3..]);
        }
        if guest.maps.is_empty() || chance(self.random, 4) {
            return self.random.below(1 << guest.geometry.address_bits());
        }
        let (gpa, size, _) = pick(self.random, &guest.maps);
        gpa + self.random.below(size)
    }

    fn bare_addresses(&mut self, number: usize) {
        for _ in 0..8 {
            let mut address = self.target(self.spaces[number].guest);
            if self.chance(3) {
                address ^= 1 << self.random.below(64);
            }
            self.spaces[number].iovas.push(address);
        }
    }

    fn mappings(&mut self, number: usize, geometry: &'static Geometry) {
        let Space { guest, sxl: _, big, updates, root, pscid, .. } = self.spaces[number];
        let stage = Stage::First { geometry, root, big };
        let narrow = geometry.pte_bytes == 4;
        let gscid = guest.map(|g| self.tables.guests[g].gscid);
        for _ in 0..5 + self.random.below(8) {
            let level = pick(self.random, &[0, 0, 0, 0, 1, 1, 2, 3, 4]).min(geometry.root());
            // In a few clusters, so that mappings share tables.
            let mut iova = pick(self.random, &[0, 0x4000_0000, 0x7f_ffff_f000, 0x12_3456_7000u64]);
            iova ^= self.random.below(64) << 12 | self.random.below(3) << 21 | self.random.below(2) << 38;
            if self.chance(15) {
                iova ^= self.random.word();
            }
            let unused = 64 - u32::from(geometry.address_bits());
            let iova = if narrow { iova & 0xffff_ffff } else { (((iova << unused) as i64) >> unused) as u64 };
            let size = geometry.page_bytes(level);
            let target = self.target(guest);
            // Where the target lies inside the page, so that a page of one stage meets the page of the other.
            let inside = target & (size - 1);
            let iova = iova & !(size - 1) | inside & !0xfff;
            let (mut target, limit) = (target & !(size - 1), if narrow { 1 << 34 } else { 1 << 56 });
            if target >= limit {
                target &= limit - 1;
            }
            let mut flags = leaf_flags(updates, self.random);
            if self.chance(75) {
                flags |= U;
            }
            if self.chance(10) {
                flags |= G;
            }
            if !narrow && self.has(cap::SVPBMT) && self.chance(30) {
                flags |= pte::PBMT.of(1 + self.random.below(2));
            }
            if !narrow && self.has(cap::SVRSW60T59B) && self.chance(30) {
                flags |= self.random.word() & pt::PTE_RSW60T59;
            }
            if !narrow && level == 0 && self.chance(20) {
                if self.tables.map_group(guest, stage, iova, target, flags) {
                    self.spaces[number].iovas.push(iova);
                }
                continue;
            }
            if let Some(slot) = self.tables.map(guest, stage, iova, level, target, flags) {
                self.spaces[number].iovas.push(iova);
                let global = flags & G != 0;
                let exact = self.random.below(3);
                let command = Command::IotinvalVma {
                    gscid,
                    pscid: (!global && exact != 1).then_some(pscid),
                    range: (exact != 2).then(|| Pages::page_of(iova)),
                };
                if let Some(&meaning) = self.tables.meanings.iter().rfind(|m| m.address == slot) {
                    self.leaves.push(Leaf { meaning, commands: vec![command], iova });
                }
            }
        }
    }
}
