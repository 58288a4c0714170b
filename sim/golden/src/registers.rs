//! The memory-mapped registers: reset values, what a write keeps of what was written, and what it starts. (Chapter "Memory-mapped
//! register interface".)
//!
//! What starts with a write and need not be over with it is marked busy, and over with the next [`Golden::run`]: a new
//! `ddtp.iommu_mode`, a queue that is turned on or off, a debug request.
//!
//! Addresses in registers (`PPN` of `ddtp`, `cqb`, `fqb` and `pqb`, and `msi_addr`) are WARL fields: legal are those inside the
//! physical address space, and of what is written, the bits above it read 0.

use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::field::{Access, Field};
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{
    self as reg, Register, capabilities as cap, cqb, cqcsr, cqh, cqt, ddtp, event, fctl, fqb, fqcsr, fqh,
    fqt, icvec, igs, iocountinh, iocountovf, iohpmctr, iohpmcycles, iohpmevt, iommu_qosid, ipsr, msi_addr,
    msi_data, msi_vec_ctl, pqb, pqcsr, pqh, pqt, tr_req_ctl, tr_req_iova, tr_response,
};

use super::{Golden, Parameters};

/// The values of the registers that hold something. Of the control registers, `busy` follows from the rest.
#[derive(Clone, Debug, Default)]
pub(super) struct Registers {
    pub fctl: u64,
    pub ddtp: u64,
    pub cqb: u64,
    pub cqh: u64,
    pub cqt: u64,
    pub fqb: u64,
    pub fqh: u64,
    pub fqt: u64,
    pub pqb: u64,
    pub pqh: u64,
    pub pqt: u64,
    pub cqcsr: u64,
    pub fqcsr: u64,
    pub pqcsr: u64,
    pub ipsr: u64,
    pub iocountinh: u64,
    pub iohpmcycles: u64,
    pub iohpmctr: [u64; 31],
    pub iohpmevt: [u64; 31],
    pub tr_req_iova: u64,
    pub tr_req_ctl: u64,
    pub tr_response: u64,
    pub iommu_qosid: u64,
    pub icvec: u64,
    pub msi_addr: [u64; 16],
    pub msi_data: [u64; 16],
    pub msi_vec_ctl: [u64; 16],
}

impl Registers {
    /// Section "Reset behavior"; what it leaves unspecified is 0, and interrupts are wired where they can be.
    pub fn new(parameters: &Parameters) -> Registers {
        let wired = cap::IGS.get(parameters.capabilities) != igs::MSI;
        Registers { fctl: fctl::WSI.of(wired.into()), ..Registers::default() }
    }
}

/// The names of a queue's control bits, which are in the same places in all three control registers.
struct QueueControl {
    enable: Field,
    on: Field,
    /// The bits that writing 1 clears, and turning the queue on too.
    sticky: u64,
    kept: u64,
}

const COMMAND: QueueControl = QueueControl {
    enable: cqcsr::CQEN,
    on: cqcsr::CQON,
    sticky: cqcsr::REG.mask_of(Access::RW1C),
    kept: cqcsr::REG.mask_of(Access::RW),
};
const FAULT: QueueControl = QueueControl {
    enable: fqcsr::FQEN,
    on: fqcsr::FQON,
    sticky: fqcsr::REG.mask_of(Access::RW1C),
    kept: fqcsr::REG.mask_of(Access::RW),
};
const PAGE_REQUEST: QueueControl = QueueControl {
    enable: pqcsr::PQEN,
    on: pqcsr::PQON,
    sticky: pqcsr::REG.mask_of(Access::RW1C),
    kept: pqcsr::REG.mask_of(Access::RW),
};

impl QueueControl {
    fn is_busy(&self, csr: u64) -> bool {
        self.enable.is_set(csr) != self.on.is_set(csr)
    }

    /// The control register after `written`, and whether the queue starts. A busy register ignores writes.
    fn write(&self, csr: u64, written: u64) -> (u64, bool) {
        if self.is_busy(csr) {
            return (csr, false);
        }
        let starts = self.enable.is_set(written) && !self.enable.is_set(csr);
        let cleared = if starts { self.sticky } else { self.sticky & written };
        ((csr & !self.kept & !cleared) | (written & self.kept), starts)
    }

    /// The control register once the queue has followed its enable bit.
    fn settle(&self, csr: u64) -> u64 {
        self.on.set(csr, self.enable.get(csr))
    }
}

/// The register at `offset`, and its index if it is one of several.
fn find(offset: u16) -> Option<(&'static Register, usize)> {
    reg::ALL.iter().find_map(|register| {
        let index = (0..register.count).find(|&index| {
            let start = register.offset_of(index);
            (start..start + u16::from(register.bytes)).contains(&offset)
        })?;
        Some((*register, usize::from(index)))
    })
}

impl Golden {
    /// Reads `bytes` (4 or 8) of the registers at `offset` (a multiple of `bytes`, less than 4096). Anything else reads 0.
    pub fn read_register(&self, offset: u16, bytes: u8) -> u64 {
        match bytes {
            4 if offset.is_multiple_of(4) => self.read_half(offset),
            8 if offset.is_multiple_of(8) => self.read_half(offset) | self.read_half(offset + 4) << 32,
            _ => 0,
        }
    }

    /// Writes `bytes` (4 or 8) of the registers at `offset` (a multiple of `bytes`, less than 4096). Anything else has no effect.
    /// An access of 8 bytes is one of the high half and then one of the low half.
    pub fn write_register(&mut self, offset: u16, bytes: u8, value: u64) {
        match bytes {
            4 if offset.is_multiple_of(4) => self.write_half(offset, value & 0xffff_ffff),
            8 if offset.is_multiple_of(8) => {
                self.write_half(offset + 4, value >> 32);
                self.write_half(offset, value & 0xffff_ffff);
            }
            _ => {}
        }
    }

    fn read_half(&self, offset: u16) -> u64 {
        match find(offset) {
            Some((register, index)) => {
                let shift = 8 * (offset - register.offset_of(index as u8));
                self.value(register, index) >> shift & 0xffff_ffff
            }
            None => 0,
        }
    }

    /// The whole value of a register; 0 if it is absent.
    fn value(&self, register: &Register, index: usize) -> u64 {
        if !register.presence.holds(self.parameters.capabilities) {
            return 0;
        }
        let r = &self.registers;
        let busy = |queue: &QueueControl, csr, field: Field| csr | field.of(queue.is_busy(csr).into());
        match register.offset {
            o if o == cap::REG.offset => self.parameters.capabilities,
            o if o == fctl::REG.offset => r.fctl,
            o if o == ddtp::REG.offset => r.ddtp,
            o if o == cqb::REG.offset => r.cqb,
            o if o == cqh::REG.offset => r.cqh,
            o if o == cqt::REG.offset => r.cqt,
            o if o == fqb::REG.offset => r.fqb,
            o if o == fqh::REG.offset => r.fqh,
            o if o == fqt::REG.offset => r.fqt,
            o if o == pqb::REG.offset => r.pqb,
            o if o == pqh::REG.offset => r.pqh,
            o if o == pqt::REG.offset => r.pqt,
            o if o == cqcsr::REG.offset => busy(&COMMAND, r.cqcsr, cqcsr::BUSY),
            o if o == fqcsr::REG.offset => busy(&FAULT, r.fqcsr, fqcsr::BUSY),
            o if o == pqcsr::REG.offset => busy(&PAGE_REQUEST, r.pqcsr, pqcsr::BUSY),
            o if o == ipsr::REG.offset => r.ipsr,
            o if o == iocountovf::REG.offset => self.overflows(),
            o if o == iocountinh::REG.offset => r.iocountinh,
            o if o == iohpmcycles::REG.offset => r.iohpmcycles,
            o if o == iohpmctr::REG.offset => r.iohpmctr[index],
            o if o == iohpmevt::REG.offset => r.iohpmevt[index],
            o if o == tr_req_iova::REG.offset => r.tr_req_iova,
            o if o == tr_req_ctl::REG.offset => r.tr_req_ctl,
            o if o == tr_response::REG.offset => r.tr_response,
            o if o == iommu_qosid::REG.offset => r.iommu_qosid,
            o if o == icvec::REG.offset => r.icvec,
            o if o == msi_addr::REG.offset => r.msi_addr[index],
            o if o == msi_data::REG.offset => r.msi_data[index],
            o if o == msi_vec_ctl::REG.offset => r.msi_vec_ctl[index],
            _ => 0,
        }
    }

    fn write_half(&mut self, offset: u16, half: u64) {
        let Some((register, index)) = find(offset) else { return };
        if !register.presence.holds(self.parameters.capabilities) {
            return;
        }
        let low = offset == register.offset_of(index as u8);
        let old = self.value(register, index);
        let mask = if low { 0xffff_ffff } else { 0xffff_ffff << 32 };
        let written = old & !mask | if low { half } else { half << 32 };
        self.write_whole(register, index, old, written, low);
    }

    /// Writes a register of which `written` is what it would hold if it kept everything; `low` says that its low half is written.
    fn write_whole(&mut self, register: &Register, index: usize, old: u64, written: u64, low: bool) {
        // The page numbers of root pages are in the same place in all registers.
        let exists = !ddtp::PPN.of(self.outside >> PAGE_SHIFT);
        let inside = !self.outside;
        let (r, p) = (&mut self.registers, &self.parameters);
        match register.offset {
            o if o == fctl::REG.offset => self.write_fctl(written),
            o if o == ddtp::REG.offset => self.write_ddtp(written & exists, low),
            o if o == cqb::REG.offset => {
                r.cqb = Queue::commands(written & exists).limited_to(p.command_log2_max.into()).base();
                if low {
                    r.cqt = 0;
                }
            }
            o if o == fqb::REG.offset => {
                r.fqb = Queue::faults(written & exists).limited_to(p.fault_log2_max.into()).base();
                if low {
                    r.fqh = 0;
                }
            }
            o if o == pqb::REG.offset => {
                r.pqb =
                    Queue::page_requests(written & exists).limited_to(p.page_request_log2_max.into()).base();
                if low {
                    r.pqh = 0;
                }
            }
            o if o == cqt::REG.offset => r.cqt = Queue::commands(r.cqb).wrap(written),
            o if o == fqh::REG.offset => r.fqh = Queue::faults(r.fqb).wrap(written),
            o if o == pqh::REG.offset => r.pqh = Queue::page_requests(r.pqb).wrap(written),
            o if o == cqcsr::REG.offset => {
                let (csr, starts) = COMMAND.write(r.cqcsr, written);
                r.cqcsr = csr;
                if starts {
                    r.cqh = 0;
                    self.commands.restart();
                }
            }
            o if o == fqcsr::REG.offset => {
                let (csr, starts) = FAULT.write(r.fqcsr, written);
                r.fqcsr = csr;
                if starts {
                    r.fqt = 0;
                }
            }
            o if o == pqcsr::REG.offset => {
                let (csr, starts) = PAGE_REQUEST.write(r.pqcsr, written);
                r.pqcsr = csr;
                if starts {
                    r.pqt = 0;
                }
            }
            o if o == ipsr::REG.offset => r.ipsr &= !written,
            o if o == icvec::REG.offset => self.write_icvec(written),
            o if o == iommu_qosid::REG.offset => self.write_qosid(written),
            o if o == msi_addr::REG.offset => self.write_vector(index, |r, v| {
                r.msi_addr[v] = written & inside & msi_addr::ADDR.mask();
            }),
            o if o == msi_data::REG.offset => self.write_vector(index, |r, v| r.msi_data[v] = written),
            o if o == msi_vec_ctl::REG.offset => self.write_vector(index, |r, v| {
                r.msi_vec_ctl[v] = written & msi_vec_ctl::M.mask();
            }),
            o if o == tr_req_iova::REG.offset || o == tr_req_ctl::REG.offset => {
                self.write_debug(register, written);
            }
            _ => self.write_monitor(register, index, old, written),
        }
        self.update_interrupts();
    }

    /// Section "Features-control register (fctl)". What the IOMMU remembers was read under the old features.
    fn write_fctl(&mut self, written: u64) {
        let writable = [
            (fctl::BE, self.has(cap::END)),
            (fctl::WSI, cap::IGS.get(self.parameters.capabilities) == igs::BOTH),
            (fctl::GXL, self.parameters.gxl_writable),
        ];
        let mask = writable.iter().filter(|(_, on)| *on).fold(0, |mask, (field, _)| mask | field.mask());
        self.registers.fctl = self.registers.fctl & !mask | written & mask;
        self.cache.clear();
    }

    /// Section "Device-directory-table pointer (ddtp)". A mode that is not legal leaves the old one.
    fn write_ddtp(&mut self, written: u64, low: bool) {
        if ddtp::BUSY.is_set(self.registers.ddtp) {
            return;
        }
        let mode = match ddtp::IOMMU_MODE.get(written) {
            mode @ iommu_mode::OFF..=iommu_mode::LVL3 => mode,
            _ => ddtp::IOMMU_MODE.get(self.registers.ddtp),
        };
        self.registers.ddtp =
            written & ddtp::PPN.mask() | ddtp::IOMMU_MODE.of(mode) | ddtp::BUSY.of(low.into());
        self.cache.clear();
    }

    /// Section "Interrupt-cause-to-vector register (icvec)": vectors that exist, of causes that exist.
    fn write_icvec(&mut self, written: u64) {
        let vectors = u64::from(self.parameters.vectors.max(1)) - 1;
        let causes = [
            (icvec::CIV, true),
            (icvec::FIV, true),
            (icvec::PMIV, self.has(cap::HPM)),
            (icvec::PIV, self.has(cap::ATS)),
        ];
        self.registers.icvec = causes
            .iter()
            .filter(|(_, exists)| *exists)
            .fold(0, |word, (field, _)| word | field.of(field.get(written) & vectors));
    }

    /// Section "IOMMU QoS ID (iommu_qosid)".
    fn write_qosid(&mut self, written: u64) {
        let low = |value: u64, bits: u8| value & ((1 << bits) - 1);
        self.registers.iommu_qosid = iommu_qosid::RCID
            .of(low(iommu_qosid::RCID.get(written), self.parameters.rcid_width))
            | iommu_qosid::MCID.of(low(iommu_qosid::MCID.get(written), self.parameters.mcid_width));
    }

    /// Section "MSI configuration table (msi_cfg_tbl)": the entry of a vector that exists.
    fn write_vector(&mut self, vector: usize, write: impl FnOnce(&mut Registers, usize)) {
        if vector < usize::from(self.parameters.vectors) {
            write(&mut self.registers, vector);
        }
    }

    /// Registers `tr_req_iova` and `tr_req_ctl`: they ignore writes while a request is under way.
    fn write_debug(&mut self, register: &Register, written: u64) {
        let r = &mut self.registers;
        if tr_req_ctl::GO_BUSY.is_set(r.tr_req_ctl) {
            return;
        }
        if register.offset == tr_req_iova::REG.offset {
            r.tr_req_iova = written & tr_req_iova::VPN.mask();
            return;
        }
        let low = |field: Field, bits: u8| field.of(field.get(written) & ((1 << bits) - 1));
        let flags = [tr_req_ctl::GO_BUSY, tr_req_ctl::PRIV, tr_req_ctl::EXE, tr_req_ctl::NW, tr_req_ctl::PV]
            .iter()
            .fold(0, |mask, field| mask | field.mask());
        r.tr_req_ctl = written & flags
            | low(tr_req_ctl::PID, self.parameters.process_id_width)
            | low(tr_req_ctl::DID, self.parameters.device_id_width);
    }

    /// The registers of the performance monitor. An event that is not defined leaves the old one.
    fn write_monitor(&mut self, register: &Register, index: usize, old: u64, written: u64) {
        let parameters = &self.parameters;
        let r = &mut self.registers;
        let counters = u32::from(parameters.hpm_counters);
        let exists = index < counters as usize;
        let ones = |bits: u8| u64::MAX >> (64 - u32::from(bits));
        match register.offset {
            o if o == iocountinh::REG.offset => {
                let legal = iocountinh::CY.of(parameters.hpm_cycles.into())
                    | iocountinh::HPM.of(((1u64 << counters) - 1) & iocountinh::HPM.max());
                r.iocountinh = written & legal;
            }
            o if o == iohpmcycles::REG.offset && parameters.hpm_cycles => {
                r.iohpmcycles = written & (iohpmcycles::OF.mask() | ones(parameters.hpm_cycle_bits));
            }
            o if o == iohpmctr::REG.offset && exists => {
                r.iohpmctr[index] = written & ones(parameters.hpm_counter_bits);
            }
            o if o == iohpmevt::REG.offset && exists => {
                r.iohpmevt[index] = match iohpmevt::EVENT_ID.get(written) {
                    0..=event::SECOND_STAGE_WALKS => written,
                    _ => iohpmevt::EVENT_ID.set(written, iohpmevt::EVENT_ID.get(old)),
                };
            }
            _ => {}
        }
        self.select_events();
    }

    /// Completes what writes left busy. Says whether anything was.
    pub(super) fn settle_registers(&mut self) -> bool {
        let r = &mut self.registers;
        let before = (r.ddtp, r.cqcsr, r.fqcsr, r.pqcsr);
        r.ddtp &= !ddtp::BUSY.mask();
        r.cqcsr = COMMAND.settle(r.cqcsr);
        r.fqcsr = FAULT.settle(r.fqcsr);
        r.pqcsr = PAGE_REQUEST.settle(r.pqcsr);
        before != (r.ddtp, r.cqcsr, r.fqcsr, r.pqcsr)
    }
}
