//! Translation by the behavioural IOMMU: directory and page-table walks, and caches that never forget by
//! themselves.

use super::Machine;
use alloc::collections::BTreeMap;
use pasidon_spec::{
    command::Command,
    ddt::{self, dc, ddte, iommu_mode},
    fault::{Cause, FaultRecord, ttyp},
    page_table::{self, pte},
    pdt::{self, pc, pdte, pdtp_mode},
    registers::ddtp,
};

/// What a device wants to do, with user privilege.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read.
    Read,
    /// Write.
    Write,
}

impl Access {
    const fn ttyp(self) -> u64 {
        match self {
            Access::Read => ttyp::UNTRANSLATED_READ,
            Access::Write => ttyp::UNTRANSLATED_WRITE,
        }
    }

    const fn page_fault(self) -> Cause {
        match self {
            Access::Read => Cause::ReadPageFault,
            Access::Write => Cause::WriteAmoPageFault,
        }
    }

    /// The bits that say that a page was used like this.
    const fn marks(self) -> u64 {
        match self {
            Access::Read => pte::A.mask(),
            Access::Write => pte::A.mask() | pte::D.mask(),
        }
    }

    /// Whether an entry allows this and does not say yet that it was done.
    const fn lacks(self, entry: u64) -> bool {
        let allows = match self {
            Access::Read => pte::R.is_set(entry),
            Access::Write => pte::W.is_set(entry),
        };
        allows && pte::U.is_set(entry) && entry & self.marks() != self.marks()
    }

    const fn access_fault(self) -> Cause {
        match self {
            Access::Read => Cause::ReadAccessFault,
            Access::Write => Cause::WriteAmoAccessFault,
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct DeviceContext {
    pub(super) control: u64,
    first_stage: u64,
}

#[derive(Clone, Copy)]
struct ProcessContext {
    attributes: u64,
    first_stage: u64,
}

/// What the IOMMU has walked.
#[derive(Default)]
pub(super) struct Caches {
    devices: BTreeMap<u32, DeviceContext>,
    processes: BTreeMap<(u32, u32), ProcessContext>,
    /// Leaf entries by PSCID and virtual page number: the entry, and the physical page.
    pages: BTreeMap<(u32, u64), (u64, u64)>,
}

impl Caches {
    pub(super) fn invalidate(&mut self, command: Command) {
        match command {
            Command::IotinvalVma { gscid: None, pscid, range } => self.pages.retain(|&(tag, page), _| {
                let in_space = pscid.is_none_or(|pscid| pscid == tag);
                let in_range = range.is_none_or(|range| {
                    let (first, last) = range.bounds();
                    (first..=last).contains(&(page << 12))
                });
                !(in_space && in_range)
            }),
            Command::IodirInvalDdt { did: None } => {
                self.devices.clear();
                self.processes.clear();
            }
            Command::IodirInvalDdt { did: Some(did) } => {
                self.devices.remove(&did);
                self.processes.retain(|&(device, _), _| device != did);
            }
            Command::IodirInvalPdt { did, pid } => {
                self.processes.remove(&(did, pid));
            }
            _ => {}
        }
    }
}

impl Machine {
    pub(super) fn dma(
        &mut self,
        device_id: u32,
        pasid: Option<u32>,
        iova: u64,
        access: Access,
    ) -> Result<u64, u16> {
        self.translate(device_id, pasid, iova, access).map_err(|cause| {
            self.raise(FaultRecord {
                cause: cause.code(),
                ttyp: access.ttyp() as u8,
                did: device_id,
                pv: pasid.is_some(),
                pid: pasid.unwrap_or(0),
                privileged: false,
                iotval: iova,
                iotval2: 0,
            });
            cause.code()
        })
    }

    /// Whether the context of the record's device says that such faults are not reported (`DTF`).
    pub(super) fn is_muted(&self, record: &FaultRecord) -> bool {
        let suppressed = Cause::from_code(record.cause).is_some_and(Cause::dtf_suppresses);
        let context = self.caches.devices.get(&record.did);
        suppressed && context.is_some_and(|context| dc::tc::DTF.is_set(context.control))
    }

    fn translate(
        &mut self,
        device_id: u32,
        pasid: Option<u32>,
        iova: u64,
        access: Access,
    ) -> Result<u64, Cause> {
        let Some((entry, page)) = self.look_up(device_id, pasid, iova, access)? else { return Ok(iova) };
        let allowed = match access {
            Access::Read => pte::R.is_set(entry),
            Access::Write => pte::W.is_set(entry) && pte::D.is_set(entry),
        };
        if !allowed || !pte::U.is_set(entry) || !pte::A.is_set(entry) {
            return Err(access.page_fault());
        }
        Ok(page << 12 | iova & 0xfff)
    }

    /// The leaf entry for `iova`, and the physical page that it maps it to; `None` if it is not translated.
    pub(super) fn look_up(
        &mut self,
        device_id: u32,
        pasid: Option<u32>,
        iova: u64,
        access: Access,
    ) -> Result<Option<(u64, u64)>, Cause> {
        let mode = self.registers.mode();
        let levels = match iommu_mode::levels(mode) {
            Some(levels) => levels,
            None if mode == iommu_mode::BARE => return Ok(None),
            None => return Err(Cause::AllInboundTransactionsDisallowed),
        };
        let device = self.device_context(device_id, levels)?;
        if !dc::tc::PDTV.is_set(device.control) {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let process_id = match pasid {
            Some(pasid) => pasid,
            None if dc::tc::DPE.is_set(device.control) => 0,
            None => return Ok(None),
        };
        let levels = match pdt::pdtp_mode::levels(dc::fsc::MODE.get(device.first_stage)) {
            Some(levels) => levels,
            None if dc::fsc::MODE.get(device.first_stage) == pdtp_mode::BARE => return Ok(None),
            None => return Err(Cause::DdtEntryMisconfigured),
        };
        if process_id >> pdt::process_id_bits(levels) != 0 {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let process = self.process_context(device_id, process_id, levels, device.first_stage)?;
        self.walk_pages(process, iova, access, dc::tc::SADE.is_set(device.control))
    }

    pub(super) fn device_context(&mut self, device_id: u32, levels: usize) -> Result<DeviceContext, Cause> {
        if let Some(known) = self.caches.devices.get(&device_id) {
            return Ok(*known);
        }
        let extended = self.registers.extended_contexts();
        let slices = if extended { ddt::EXT_DDI } else { ddt::BASE_DDI };
        let bytes = if extended { ddt::EXT_DC_BYTES } else { ddt::BASE_DC_BYTES };
        if device_id >> ddt::device_id_bits(extended, levels) != 0 {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let mut table = ddtp::PPN.get(self.registers.ddtp) << 12;
        for slice in slices[1..levels].iter().rev() {
            let entry = self
                .device_load(table + slice.of(device_id.into()) * ddt::DDTE_BYTES)
                .ok_or(Cause::DdtEntryLoadAccessFault)?;
            if !ddte::V.is_set(entry) {
                return Err(Cause::DdtEntryNotValid);
            }
            if entry & ddte::RESERVED != 0 {
                return Err(Cause::DdtEntryMisconfigured);
            }
            table = ddte::PPN.get(entry) << 12;
        }
        let slot = table + slices[0].of(device_id.into()) * bytes;
        let mut words = [0; 8];
        for (offset, word) in (0..bytes).step_by(8).zip(&mut words) {
            *word = self.device_load(slot + offset).ok_or(Cause::DdtEntryLoadAccessFault)?;
        }
        if !dc::tc::V.is_set(words[0]) {
            return Err(Cause::DdtEntryNotValid);
        }
        let control = words[0];
        let orphan = !dc::tc::EN_ATS.is_set(control) && dc::tc::EN_PRI.is_set(control)
            || !dc::tc::EN_PRI.is_set(control) && dc::tc::PRPR.is_set(control);
        let reserved = dc::tc::RESERVED | self.registers.reserved_control();
        if control & reserved != 0 || orphan || words[3] & dc::fsc::RESERVED != 0 {
            return Err(Cause::DdtEntryMisconfigured);
        }
        let context = DeviceContext { control, first_stage: words[3] };
        self.caches.devices.insert(device_id, context);
        Ok(context)
    }

    fn process_context(
        &mut self,
        device_id: u32,
        process_id: u32,
        levels: usize,
        pointer: u64,
    ) -> Result<ProcessContext, Cause> {
        if let Some(known) = self.caches.processes.get(&(device_id, process_id)) {
            return Ok(*known);
        }
        let mut table = dc::fsc::PPN.get(pointer) << 12;
        for slice in pdt::PDI[1..levels].iter().rev() {
            let entry = self
                .device_load(table + slice.of(process_id.into()) * pdt::PDTE_BYTES)
                .ok_or(Cause::PdtEntryLoadAccessFault)?;
            if !pdte::V.is_set(entry) {
                return Err(Cause::PdtEntryNotValid);
            }
            if entry & pdte::RESERVED != 0 {
                return Err(Cause::PdtEntryMisconfigured);
            }
            table = pdte::PPN.get(entry) << 12;
        }
        let slot = table + pdt::PDI[0].of(process_id.into()) * pdt::PC_BYTES;
        let attributes = self.device_load(slot).ok_or(Cause::PdtEntryLoadAccessFault)?;
        let first_stage = self.device_load(slot + 8).ok_or(Cause::PdtEntryLoadAccessFault)?;
        if !pc::ta::V.is_set(attributes) {
            return Err(Cause::PdtEntryNotValid);
        }
        if attributes & pc::ta::RESERVED != 0 || first_stage & pc::fsc::RESERVED != 0 {
            return Err(Cause::PdtEntryMisconfigured);
        }
        let context = ProcessContext { attributes, first_stage };
        self.caches.processes.insert((device_id, process_id), context);
        Ok(context)
    }

    fn walk_pages(
        &mut self,
        process: ProcessContext,
        iova: u64,
        access: Access,
        update: bool,
    ) -> Result<Option<(u64, u64)>, Cause> {
        let mode = pc::fsc::MODE.get(process.first_stage);
        if mode == page_table::iosatp_mode::BARE {
            return Ok(None);
        }
        let geometry = page_table::first_stage(false, mode).ok_or(Cause::PdtEntryMisconfigured)?;
        let key = (pc::ta::PSCID.get(process.attributes) as u32, iova >> 12);
        if let Some(known) = self.caches.pages.get(&key)
            && !(update && access.lacks(known.0))
        {
            return Ok(Some(*known));
        }
        if !geometry.is_canonical(iova) {
            return Err(access.page_fault());
        }
        let found = self.leaf(process.first_stage, geometry, iova, access, update)?;
        self.caches.pages.insert(key, found);
        Ok(Some(found))
    }

    /// The leaf entry for `iova`, and the physical page that it maps it to.
    fn leaf(
        &mut self,
        context: u64,
        geometry: &page_table::Geometry,
        iova: u64,
        access: Access,
        update: bool,
    ) -> Result<(u64, u64), Cause> {
        let mut table = pc::fsc::PPN.get(context) << 12;
        for slice in geometry.levels.iter().rev() {
            let address = table + slice.of(iova) * u64::from(geometry.pte_bytes);
            let mut entry = self.device_load(address).ok_or(access.access_fault())?;
            if !pte::V.is_set(entry) || entry & pte::RESERVED != 0 {
                return Err(access.page_fault());
            }
            let ppn = pte::PPN.get(entry);
            if pte::R.is_set(entry) || pte::X.is_set(entry) {
                let within = (1 << (slice.lo - 12)) - 1;
                if ppn & within != 0 {
                    return Err(access.page_fault());
                }
                if update && access.lacks(entry) {
                    entry |= access.marks();
                    self.store(address, entry);
                }
                return Ok((entry, ppn | (iova >> 12) & within));
            }
            table = ppn << 12;
        }
        Err(access.page_fault())
    }
}
