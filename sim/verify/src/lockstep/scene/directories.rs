//! The directories of a scene: devices and processes, their contexts, and the routes that requests can take through them.

use super::super::tables::{Meaning, Role, chance, pick};
use super::{Ats, Builder, Owned, Route, id};
use pasidon_spec::ddt::{self, BASE_DDI, EXT_DDI, dc, ddte, iommu_mode};
use pasidon_spec::page_table::{self as pt, PAGE_SHIFT};
use pasidon_spec::pdt::{PC_BYTES, PDI, pc, pdte, pdtp_mode, process_id_bits};
use pasidon_spec::registers::{capabilities as cap, ddtp};

impl Builder<'_> {
    /// The device directory; returns `ddtp`.
    pub(super) fn directory(&mut self) -> u64 {
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
}

/// A first-stage or process-directory pointer: mode and root address. `DC.fsc` and `PC.fsc` have one layout.
fn pointer(mode: u64, root: u64) -> u64 {
    dc::fsc::MODE.of(mode) | dc::fsc::PPN.of(root >> PAGE_SHIFT)
}
