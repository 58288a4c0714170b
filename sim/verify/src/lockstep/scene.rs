//! A scene: devices, processes, guests and all their tables, and how they are to be reached and invalidated.

use super::tables::{
    A, D, G, Guest, Meaning, N, R, RESERVED_PAGES, Role, Stage, Tables, U, V, W, X, chance, leaf_flags, pick,
};
use pasidon_cosim::Random;
use pasidon_rtl::design::Design;
use pasidon_rtl::regs::capabilities;
use pasidon_spec::command::{Command, Range as Pages};
use pasidon_spec::ddt::{self, BASE_DDI, EXT_DDI, dc, ddte, iommu_mode};
use pasidon_spec::field::Field;
use pasidon_spec::msi::{self, MSIPTE_BYTES};
use pasidon_spec::page_table::{self as pt, Geometry, PAGE_BYTES, PAGE_SHIFT, pte};
use pasidon_spec::pdt::{PC_BYTES, PDI, pc, pdte, pdtp_mode, process_id_bits};
use pasidon_spec::registers::{capabilities as cap, ddtp, fctl};

/// A first-stage address space.
struct Space {
    guest: Option<usize>,
    sxl: bool,
    big: bool,
    updates: bool,
    /// `None`: Bare.
    geometry: Option<&'static Geometry>,
    root: u64,
    pscid: u32,
    iovas: Vec<u64>,
}

/// A way for requests to go.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) did: u32,
    pub(super) pid: Option<u32>,
    /// Addresses that something is mapped at, or was meant to be.
    pub(super) iovas: Vec<u64>,
    /// Index into [`Scene::names`].
    pub(super) tag: u16,
    pub(super) guest: Option<usize>,
    /// Of its first stage.
    pub(super) pscid: u32,
    pub(super) ats: Ats,
}

/// What a device may do with ATS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ats {
    /// Nothing.
    Off,
    /// It gets supervisor physical addresses.
    On,
    /// It gets guest physical addresses; some that mean something.
    Guest(Vec<u64>),
}

/// A page-table leaf that may be changed, and the command that covers the change.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) meaning: Meaning,
    pub(super) commands: Vec<Command>,
    /// An address that it maps: of a first stage, or of the guest whose second stage it is part of.
    pub(super) iova: u64,
}

/// Everything that is in memory at the start of a round, and what is known of it.
pub(super) struct Scene {
    pub(super) tables: Tables,
    pub(super) ddtp: u64,
    pub(super) fctl: u64,
    pub(super) routes: Vec<Route>,
    pub(super) leaves: Vec<Leaf>,
    /// Names of routes for coverage: first-stage mode, second-stage mode.
    pub(super) names: Vec<String>,
    /// Some context has A and D bits updated by hardware.
    pub(super) updates: bool,
    pub(super) devices: Vec<u32>,
    pub(super) contexts: Vec<Owned>,
    /// What is wrong on purpose.
    pub(super) broken: bool,
    /// Which contexts are.
    pub(super) checks: Vec<Check>,
}

/// A device context or process context.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owned {
    /// Of its first doubleword.
    pub(super) address: u64,
    pub(super) did: u32,
    /// Of a process context.
    pub(super) pid: Option<u32>,
}

/// A context that was changed in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The device whose context it is, or to which the process belongs.
    pub(super) did: u32,
    /// A process context.
    pub(super) process: bool,
    /// Doubleword and field.
    pub(super) name: String,
}

struct Builder<'a> {
    design: &'a Design,
    caps: u64,
    random: &'a mut Random,
    tables: Tables,
    spaces: Vec<Space>,
    gxl: bool,
    routes: Vec<Route>,
    leaves: Vec<Leaf>,
    names: Vec<String>,
    devices: Vec<u32>,
    updates: bool,
    contexts: Vec<Owned>,
    checks: Vec<Check>,
}

/// Builds a scene.
pub(super) fn build(design: &Design, random: &mut Random) -> Scene {
    let caps = capabilities(design);
    let has = |field: Field| field.is_set(caps);
    let big = has(cap::END) && chance(random, 40);
    let gxl = has(cap::SV32X4) && chance(random, 25);
    let tables = Tables::new(design, big, random);
    let mut builder = Builder {
        design,
        caps,
        random,
        tables,
        spaces: Vec::new(),
        gxl,
        routes: Vec::new(),
        leaves: Vec::new(),
        names: Vec::new(),
        devices: Vec::new(),
        updates: false,
        contexts: Vec::new(),
        checks: Vec::new(),
    };
    builder.guests();
    let ddtp = builder.directory();
    let wsi = match cap::IGS.get(caps) {
        pasidon_spec::registers::igs::WSI => 1,
        pasidon_spec::registers::igs::MSI => 0,
        _ => builder.random.below(2),
    };
    let fctl = fctl::BE.of(big.into()) | fctl::GXL.of(gxl.into()) | fctl::WSI.of(wsi);
    let broken = builder.corrupt();
    let Builder { tables, routes, leaves, names, updates, devices, contexts, checks, .. } = builder;
    Scene { tables, ddtp, fctl, routes, leaves, names, updates, devices, contexts, broken, checks }
}

/// A short number is as likely as a long one.
pub(super) fn id(random: &mut Random, width: u32) -> u32 {
    let width = 1 + random.below(width.into());
    (random.word() & ((1 << width) - 1)) as u32
}

impl Builder<'_> {
    fn has(&self, field: Field) -> bool {
        field.is_set(self.caps)
    }

    fn chance(&mut self, percent: u64) -> bool {
        chance(self.random, percent)
    }

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

    fn guests(&mut self) {
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
    fn space(&mut self, guest: Option<usize>, sxl: bool, big: bool, updates: bool) -> Option<usize> {
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
    fn target(&mut self, guest: Option<usize>) -> u64 {
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

    /// The device directory; returns `ddtp`.
    fn directory(&mut self) -> u64 {
        let extended = self.has(cap::MSI_FLAT);
        let ddi = if extended { EXT_DDI } else { BASE_DDI };
        let needed = (1..=3)
            .find(|&levels| u32::from(ddt::device_id_bits(extended, levels)) >= self.design.device_id_width)
            .unwrap_or(3);
        let levels = if self.chance(70) { needed } else { 1 + self.random.below(3) as usize };
        let Some(root) = self.tables.page(false, self.random) else { return 0 };
        let width = self.design.device_id_width.min(ddt::device_id_bits(extended, levels).into());
        for _ in 0..3 + self.random.below(4) {
            let did = id(self.random, width);
            if self.devices.contains(&did) {
                continue;
            }
            let Some(slot) = self.directory_slot(root, did, levels, &ddi, extended) else { break };
            self.devices.push(did);
            self.device(did, slot, extended);
        }
        let mode = [iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3][levels - 1];
        ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> PAGE_SHIFT)
    }

    fn directory_slot(
        &mut self,
        root: u64,
        did: u32,
        levels: usize,
        ddi: &[pt::Level; 3],
        extended: bool,
    ) -> Option<u64> {
        let mut table = root;
        for i in (1..levels).rev() {
            let address = table + 8 * ddi[i].of(did.into());
            let value = self.tables.get(address, 8, self.tables.big);
            table = if value != 0 {
                ddte::PPN.get(value) << PAGE_SHIFT
            } else {
                let page = self.tables.page(false, self.random)?;
                let big = self.tables.big;
                let meaning = Meaning { address, role: Role::Ddte, big, bytes: 8, guest: None };
                self.tables.put(meaning, ddte::V.of(1) | ddte::PPN.of(page >> PAGE_SHIFT));
                page
            };
        }
        let bytes = if extended { ddt::EXT_DC_BYTES } else { ddt::BASE_DC_BYTES };
        Some(table + bytes * ddi[0].of(did.into()))
    }

    fn device(&mut self, did: u32, slot: u64, extended: bool) {
        let hosts: Vec<usize> = (0..self.tables.guests.len()).collect();
        let guest = (!hosts.is_empty() && self.chance(75)).then(|| pick(self.random, &hosts));
        let low = guest.is_none_or(|g| self.tables.guests[g].low);
        // SXL must be 1 if GXL is, and may be if GXL can be written.
        let narrow = self.has(cap::SV32X4);
        let sxl = self.gxl || (narrow && low && self.chance(25));
        let big = self.has(cap::END) && self.chance(40);
        let updates = self.has(cap::AMO_HWAD) && self.chance(35);
        let mut context = ddt::DeviceContext {
            tc: dc::tc::V.of(1)
                | dc::tc::SXL.of(sxl.into())
                | dc::tc::SBE.of(big.into())
                | dc::tc::SADE.of(updates.into())
                | dc::tc::DTF.of(self.chance(15).into())
                | dc::tc::CUSTOM.of(self.random.word()),
            ..Default::default()
        };
        if let Some(number) = guest {
            let g = &self.tables.guests[number];
            context.tc |= dc::tc::GADE.of(g.updates.into());
            context.iohgatp = dc::iohgatp::MODE.of(g.geometry.mode)
                | dc::iohgatp::GSCID.of(g.gscid.into())
                | dc::iohgatp::PPN.of(g.root >> PAGE_SHIFT);
            if let [pattern, mask, table, ..] = g.msi_pages[..]
                && chance(self.random, 80)
            {
                context.msiptp =
                    dc::msiptp::MODE.of(dc::msiptp_mode::FLAT) | dc::msiptp::PPN.of(table >> PAGE_SHIFT);
                context.msi_addr_mask = mask;
                context.msi_addr_pattern = pattern;
            }
        } else {
            // GADE without a second stage means nothing.
            context.tc |= dc::tc::GADE.of((self.has(cap::AMO_HWAD) && self.chance(20)).into());
            context.iohgatp = dc::iohgatp::GSCID.of(self.random.word());
        }
        let ats = self.translation_services(guest, &mut context);
        if self.has(cap::QOSID) {
            context.ta |= dc::ta::RCID.of(self.random.word()) | dc::ta::MCID.of(self.random.word());
        }
        let processes = self.has(cap::PD8) || self.has(cap::PD17) || self.has(cap::PD20);
        if processes && self.chance(60) {
            context.tc |= dc::tc::PDTV.of(1) | dc::tc::DPE.of(self.random.below(2));
            context.fsc =
                self.process_directory(did, guest, sxl, big, updates, context.tc, &ats).unwrap_or(0);
        } else if let Some(number) = self.space(guest, sxl, big, updates) {
            let space = &self.spaces[number];
            context.fsc = pointer(space.geometry.map_or(0, |g| g.mode), space.root);
            context.ta |= dc::ta::PSCID.of(space.pscid.into());
            self.route(did, None, Some(number), guest, &ats);
        }
        self.contexts.push(Owned { address: slot, did, pid: None });
        let words = context.extended();
        let count = if extended { 8 } else { 4 };
        for (i, word) in words.into_iter().enumerate().take(count) {
            let address = slot + 8 * i as u64;
            let meaning =
                Meaning { address, role: Role::Dc(i as u8), big: self.tables.big, bytes: 8, guest: None };
            self.tables.put(meaning, word);
        }
    }

    /// Turns ATS on for some devices.
    fn translation_services(&mut self, guest: Option<usize>, context: &mut ddt::DeviceContext) -> Ats {
        if !self.has(cap::ATS) || self.chance(45) {
            return Ats::Off;
        }
        let pages = self.chance(60);
        context.tc |= dc::tc::EN_ATS.of(1)
            | dc::tc::EN_PRI.of(pages.into())
            | dc::tc::PRPR.of(u64::from(pages) & self.random.below(2));
        if !self.has(cap::T2GPA) || guest.is_none() || self.chance(50) {
            return Ats::On;
        }
        context.tc |= dc::tc::T2GPA.of(1);
        Ats::Guest((0..6).map(|_| self.target(guest)).collect())
    }

    fn route(&mut self, did: u32, pid: Option<u32>, space: Option<usize>, guest: Option<usize>, ats: &Ats) {
        let first = space.and_then(|s| self.spaces[s].geometry).map_or("Bare", |g| g.name);
        let second = guest.map_or("Bare", |g| self.tables.guests[g].geometry.name);
        let name = format!("{first}/{second}");
        let tag = self.names.iter().position(|n| *n == name).unwrap_or_else(|| {
            self.names.push(name);
            self.names.len() - 1
        });
        let iovas = match space {
            Some(number) if !self.spaces[number].iovas.is_empty() => self.spaces[number].iovas.clone(),
            _ => (0..6).map(|_| self.target(guest)).collect(),
        };
        let pscid = space.map_or(0, |s| self.spaces[s].pscid);
        self.routes.push(Route { did, pid, iovas, tag: tag as u16, guest, pscid, ats: ats.clone() });
    }

    #[expect(clippy::too_many_arguments, reason = "what the device's context says")]
    fn process_directory(
        &mut self,
        did: u32,
        guest: Option<usize>,
        sxl: bool,
        big: bool,
        updates: bool,
        tc: u64,
        ats: &Ats,
    ) -> Option<u64> {
        let mut modes = vec![];
        modes.extend(self.has(cap::PD8).then_some(pdtp_mode::PD8));
        modes.extend(self.has(cap::PD17).then_some(pdtp_mode::PD17));
        modes.extend(self.has(cap::PD20).then_some(pdtp_mode::PD20));
        if self.chance(8) {
            // No first stage, whatever the process_id.
            self.route(did, None, None, guest, ats);
            self.route(did, Some(1), None, guest, ats);
            return Some(0);
        }
        let mode = pick(self.random, &modes);
        let (root, frame) = self.tables.table(guest, false, self.random)?;
        let width = u32::from(process_id_bits(mode as usize)).min(self.design.process_id_width);
        let mut seen = vec![];
        for i in 0..1 + self.random.below(4) {
            let pid = if i == 0 { 0 } else { id(self.random, width) };
            if seen.contains(&pid) {
                continue;
            }
            seen.push(pid);
            let Some(number) = self.space(guest, sxl, big, updates) else { break };
            let Some(slot) = self.process_slot(frame, pid, mode as usize, guest, big) else { break };
            let space = &self.spaces[number];
            let fsc = pointer(space.geometry.map_or(0, |g| g.mode), space.root);
            let ta = pc::ta::V.of(1)
                | pc::ta::PSCID.of(space.pscid.into())
                | pc::ta::ENS.of(self.random.below(2))
                | pc::ta::SUM.of(self.random.below(2));
            self.contexts.push(Owned { address: slot, did, pid: Some(pid) });
            for (i, word) in [ta, fsc].into_iter().enumerate() {
                let address = slot + 8 * i as u64;
                self.tables.put(Meaning { address, role: Role::Pc(i as u8), big, bytes: 8, guest }, word);
            }
            self.route(did, Some(pid), Some(number), guest, ats);
            if pid == 0 && dc::tc::DPE.is_set(tc) {
                self.route(did, None, Some(number), guest, ats);
            }
        }
        if !dc::tc::DPE.is_set(tc) {
            self.route(did, None, None, guest, ats);
        }
        Some(pointer(mode, root))
    }

    fn process_slot(
        &mut self,
        root: u64,
        pid: u32,
        levels: usize,
        guest: Option<usize>,
        big: bool,
    ) -> Option<u64> {
        let mut table = root;
        for i in (1..levels).rev() {
            let address = table + 8 * PDI[i].of(pid.into());
            let value = self.tables.get(address, 8, big);
            table = if value != 0 {
                self.tables.frame_of(guest, pdte::PPN.get(value))?
            } else {
                let (place, frame) = self.tables.table(guest, false, self.random)?;
                let meaning = Meaning { address, role: Role::Pdte, big, bytes: 8, guest };
                self.tables.put(meaning, pdte::V.of(1) | pdte::PPN.of(place >> PAGE_SHIFT));
                frame
            };
        }
        Some(table + PC_BYTES * PDI[0].of(pid.into()))
    }

    /// Breaks some of what was built: most often subtly, sometimes with garbage. Returns whether anything is broken.
    fn corrupt(&mut self) -> bool {
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
pub(super) fn broken(value: u64, meaning: Meaning, random: &mut Random) -> Option<u64> {
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
pub(super) fn flipped(value: u64, meaning: Meaning, bit: u32) -> Option<u64> {
    unless_group(value, value ^ 1 << bit, meaning)
}

fn unless_group(value: u64, new: u64, meaning: Meaning) -> Option<u64> {
    let is_group = |v: u64| meaning.bytes == 8 && v & N != 0 && v & V != 0 && pte::PPN.get(v) & 15 == 8;
    let swapped = if meaning.bytes == 8 { new.swap_bytes() } else { 0 };
    if is_group(value) || is_group(new) || is_group(swapped) { None } else { Some(new) }
}

/// A first-stage or process-directory pointer: mode and root address. `DC.fsc` and `PC.fsc` have one layout.
fn pointer(mode: u64, root: u64) -> u64 {
    dc::fsc::MODE.of(mode) | dc::fsc::PPN.of(root >> PAGE_SHIFT)
}

/// Commands that reach everything that a cache may hold for these guests.
pub(super) fn everything(guests: &[Guest]) -> Vec<Command> {
    let mut commands = vec![
        Command::IodirInvalDdt { did: None },
        Command::IotinvalVma { gscid: None, pscid: None, range: None },
        Command::IotinvalGvma { guest: None },
    ];
    commands.extend(guests.iter().map(|g| Command::IotinvalVma {
        gscid: Some(g.gscid),
        pscid: None,
        range: None,
    }));
    commands
}
