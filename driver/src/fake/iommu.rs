//! Registers, command processor and queues of the behavioural IOMMU.

use super::{Event, Machine};
use alloc::{format, vec};
use pasidon_spec::{
    command::{Command, Support},
    ddt::{self, dc, iommu_mode},
    fault::FaultRecord,
    pdt,
    queue::Queue,
    registers::{
        Register, capabilities, cqb, cqcsr, cqh, cqt, ddtp, fctl, fqb, fqcsr, fqh, fqt, icvec, ipsr,
        msi_addr, msi_vec_ctl, pqb, pqcsr, pqh, pqt,
    },
};

/// Ticks that a switch of a queue or mode takes.
const SWITCH: u64 = 3;

/// Values of registers, as they read.
pub(super) struct Registers {
    capabilities: u64,
    fctl: u64,
    pub(super) ddtp: u64,
    cqb: u64,
    cqh: u64,
    cqt: u64,
    fqb: u64,
    fqh: u64,
    fqt: u64,
    pub(super) pqb: u64,
    pub(super) pqh: u64,
    pub(super) pqt: u64,
    pub(super) cqcsr: u64,
    fqcsr: u64,
    pub(super) pqcsr: u64,
    pub(super) ipsr: u64,
    icvec: u64,
    /// Address, data and mask of each interrupt vector's message.
    pub(super) messages: [(u64, u64, u64); 16],
    /// When the busy bits of `ddtp`, `cqcsr`, `fqcsr` and `pqcsr` clear.
    ddtp_busy: u64,
    cqcsr_busy: u64,
    fqcsr_busy: u64,
    pqcsr_busy: u64,
}

const CQ_ERRORS: u64 = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
const FQ_ERRORS: u64 = fqcsr::FQMF.mask() | fqcsr::FQOF.mask();
const PQ_ERRORS: u64 = pqcsr::PQMF.mask() | pqcsr::PQOF.mask();

/// Pages of the IOMMU's own memory for the directory's root, and for each queue.
pub(super) const FIXED_PAGES: u64 = 16;

impl Registers {
    pub(super) fn new(capabilities: u64) -> Self {
        Self {
            capabilities,
            fctl: 0,
            ddtp: 0,
            cqb: 0,
            cqh: 0,
            cqt: 0,
            fqb: 0,
            fqh: 0,
            fqt: 0,
            pqb: 0,
            pqh: 0,
            pqt: 0,
            cqcsr: 0,
            fqcsr: 0,
            pqcsr: 0,
            ipsr: 0,
            icvec: 0,
            messages: [(0, 0, 1); 16],
            ddtp_busy: 0,
            cqcsr_busy: 0,
            fqcsr_busy: 0,
            pqcsr_busy: 0,
        }
    }

    pub(super) fn fault_pending(&self) -> bool {
        ipsr::FIP.is_set(self.ipsr)
    }

    pub(super) fn request_pending(&self) -> bool {
        ipsr::PIP.is_set(self.ipsr)
    }

    fn ats(&self) -> bool {
        capabilities::ATS.is_set(self.capabilities)
    }

    /// Bits of a device context's `tc` that must be 0 for want of ATS.
    pub(super) fn reserved_control(&self) -> u64 {
        let ats = dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask() | dc::tc::PRPR.mask();
        let t2gpa = if capabilities::T2GPA.is_set(self.capabilities) { 0 } else { dc::tc::T2GPA.mask() };
        let ad = dc::tc::SADE.mask() | dc::tc::GADE.mask();
        let ad = if capabilities::AMO_HWAD.is_set(self.capabilities) { 0 } else { ad };
        ad | t2gpa | if self.ats() { 0 } else { ats }
    }

    /// Error bits hold the pending bits up.
    pub(super) fn hold_pending(&mut self) {
        if self.fqcsr & FQ_ERRORS != 0 {
            self.ipsr |= ipsr::FIP.of(fqcsr::FIE.get(self.fqcsr));
        }
        if self.pqcsr & PQ_ERRORS != 0 {
            self.ipsr |= ipsr::PIP.of(pqcsr::PIE.get(self.pqcsr));
        }
    }

    pub(super) fn mode(&self) -> u64 {
        ddtp::IOMMU_MODE.get(self.ddtp)
    }

    pub(super) fn extended_contexts(&self) -> bool {
        capabilities::MSI_FLAT.is_set(self.capabilities)
    }

    /// The number of bits of a process_id that some process directory holds.
    pub(super) fn process_id_bits(&self) -> u8 {
        let modes = [capabilities::PD8, capabilities::PD17, capabilities::PD20];
        let levels = modes.iter().rposition(|mode| mode.is_set(self.capabilities));
        levels.map_or(0, |position| pdt::process_id_bits(position + 1))
    }
}

impl Machine {
    pub(super) fn read_register(&mut self, offset: u32, bytes: u8) -> u64 {
        self.check_width(offset, bytes);
        let regs = &self.registers;
        let is = |register: &Register| u32::from(register.offset) == offset;
        match () {
            () if is(&capabilities::REG) => regs.capabilities,
            () if is(&fctl::REG) => regs.fctl,
            () if is(&ddtp::REG) => regs.ddtp,
            () if is(&cqb::REG) => regs.cqb,
            () if is(&cqh::REG) => regs.cqh,
            () if is(&cqt::REG) => regs.cqt,
            () if is(&fqb::REG) => regs.fqb,
            () if is(&fqh::REG) => regs.fqh,
            () if is(&fqt::REG) => regs.fqt,
            () if is(&cqcsr::REG) => regs.cqcsr,
            () if is(&fqcsr::REG) => regs.fqcsr,
            () if is(&pqb::REG) => regs.pqb,
            () if is(&pqh::REG) => regs.pqh,
            () if is(&pqt::REG) => regs.pqt,
            () if is(&pqcsr::REG) => regs.pqcsr,
            () if is(&ipsr::REG) => regs.ipsr,
            () if is(&icvec::REG) => regs.icvec,
            () => match message_field(offset) {
                Some((vector, 0)) => regs.messages[vector].0,
                Some((vector, 8)) => regs.messages[vector].1,
                Some((vector, _)) => regs.messages[vector].2,
                None => 0,
            },
        }
    }

    pub(super) fn write_register(&mut self, offset: u32, bytes: u8, value: u64) {
        self.check_width(offset, bytes);
        self.events.push(Event::Write { offset, value });
        let is = |register: &Register| u32::from(register.offset) == offset;
        if is(&fctl::REG) {
            self.write_fctl(value);
        } else if is(&ddtp::REG) {
            self.write_ddtp(value);
        } else if is(&cqb::REG) {
            if cqcsr::CQON.is_set(self.registers.cqcsr) {
                self.violation("cqb written while the queue is on");
            }
            let queue = Queue::commands(value).limited_to(self.knobs.max_queue_log2);
            self.registers.cqb = self.fixed(queue.base(), cqb::PPN, 1);
        } else if is(&fqb::REG) {
            if fqcsr::FQON.is_set(self.registers.fqcsr) {
                self.violation("fqb written while the queue is on");
            }
            let queue = Queue::faults(value).limited_to(self.knobs.max_queue_log2);
            self.registers.fqb = self.fixed(queue.base(), fqb::PPN, 2);
        } else if is(&cqt::REG) {
            self.registers.cqt = Queue::commands(self.registers.cqb).wrap(value);
        } else if is(&fqh::REG) {
            self.registers.fqh = Queue::faults(self.registers.fqb).wrap(value);
        } else if is(&cqcsr::REG) {
            self.write_cqcsr(value);
        } else if is(&fqcsr::REG) {
            self.write_fqcsr(value);
        } else if [&pqb::REG, &pqh::REG, &pqcsr::REG].into_iter().any(is) {
            if self.registers.ats() {
                self.write_request_queue(offset, value);
            }
        } else if is(&ipsr::REG) {
            self.registers.ipsr &= !value;
            self.registers.hold_pending();
        } else if is(&icvec::REG) {
            let kept = (1 << self.knobs.vector_bits) - 1;
            let mut fields = vec![icvec::CIV, icvec::FIV, icvec::PMIV];
            fields.extend(self.registers.ats().then_some(icvec::PIV));
            self.registers.icvec =
                fields.iter().fold(0, |word, field| word | field.of(field.get(value) & kept));
        } else if let Some((vector, field)) = message_field(offset) {
            let message = &mut self.registers.messages[vector];
            match field {
                0 => message.0 = value & msi_addr::ADDR.mask(),
                8 => message.1 = value,
                _ => message.2 = value & msi_vec_ctl::M.mask(),
            }
        }
    }

    /// A base register's value, with the IOMMU's own memory in it if it has some: page number `page` of that.
    fn fixed(&self, value: u64, field: pasidon_spec::field::Field, page: u64) -> u64 {
        self.knobs.fixed_memory.map_or(value, |start| field.set(value, start / 4096 + FIXED_PAGES * page))
    }

    fn check_width(&mut self, offset: u32, bytes: u8) {
        let known = pasidon_spec::registers::ALL.iter().find(|register| {
            let above = offset.wrapping_sub(register.offset.into());
            above == 0
                || register.count > 1
                    && above % u32::from(register.stride) == 0
                    && above / u32::from(register.stride) < register.count.into()
        });
        if known.is_none_or(|register| register.bytes != bytes) {
            self.violation(format!("{bytes}-byte access to register offset {offset}"));
        }
    }

    fn write_fctl(&mut self, value: u64) {
        let regs = &self.registers;
        let on = cqcsr::CQON.is_set(regs.cqcsr)
            || fqcsr::FQON.is_set(regs.fqcsr)
            || pqcsr::PQON.is_set(regs.pqcsr);
        if on || regs.mode() != iommu_mode::OFF {
            self.violation("fctl written while the IOMMU is active");
        }
        let big = self.knobs.fixed_endianness.unwrap_or(fctl::BE.is_set(value));
        self.registers.fctl = fctl::WSI.of(fctl::WSI.get(value)) | fctl::BE.of(big.into());
    }

    fn write_ddtp(&mut self, value: u64) {
        if ddtp::BUSY.is_set(self.registers.ddtp) {
            self.violation("ddtp written while busy");
        }
        if self.knobs.mode_stuck {
            return;
        }
        let (old, new) = (self.registers.mode(), ddtp::IOMMU_MODE.get(value));
        if new > iommu_mode::BARE && old > iommu_mode::BARE {
            self.violation(format!("ddtp.iommu_mode changed from {old} to {new}"));
        }
        let legal = new == iommu_mode::OFF || self.knobs.modes.contains(&new);
        let mode = if legal { new } else { old };
        let root = self.fixed(ddtp::PPN.of(ddtp::PPN.get(value)), ddtp::PPN, 0);
        self.registers.ddtp = ddtp::IOMMU_MODE.of(mode) | root | ddtp::BUSY.of(1);
        self.registers.ddtp_busy = self.ticks + SWITCH;
    }

    fn write_cqcsr(&mut self, value: u64) {
        if cqcsr::BUSY.is_set(self.registers.cqcsr) {
            self.violation("cqcsr written while busy");
        }
        let old = self.registers.cqcsr & !(value & CQ_ERRORS);
        let mut new = cqcsr::CQEN.set(old, cqcsr::CQEN.get(value));
        if cqcsr::CQEN.is_set(value) && !cqcsr::CQEN.is_set(old) {
            new &= !CQ_ERRORS;
            self.registers.cqh = 0;
        }
        self.registers.cqcsr = new | cqcsr::BUSY.of(1);
        self.registers.cqcsr_busy = self.ticks + SWITCH;
    }

    fn write_fqcsr(&mut self, value: u64) {
        if fqcsr::BUSY.is_set(self.registers.fqcsr) {
            self.violation("fqcsr written while busy");
        }
        let old = self.registers.fqcsr & !(value & FQ_ERRORS);
        let mut new = fqcsr::FQEN.set(old, fqcsr::FQEN.get(value));
        new = fqcsr::FIE.set(new, fqcsr::FIE.get(value));
        if fqcsr::FQEN.is_set(value) && !fqcsr::FQEN.is_set(old) {
            new &= !FQ_ERRORS;
            self.registers.fqt = 0;
        }
        self.registers.fqcsr = new | fqcsr::BUSY.of(1);
        self.registers.fqcsr_busy = self.ticks + SWITCH;
    }

    fn write_request_queue(&mut self, offset: u32, value: u64) {
        let is = |register: &Register| u32::from(register.offset) == offset;
        if is(&pqb::REG) {
            if pqcsr::PQON.is_set(self.registers.pqcsr) {
                self.violation("pqb written while the queue is on");
            }
            let queue = Queue::page_requests(value).limited_to(self.knobs.max_queue_log2);
            self.registers.pqb = self.fixed(queue.base(), pqb::PPN, 3);
        } else if is(&pqh::REG) {
            self.registers.pqh = Queue::page_requests(self.registers.pqb).wrap(value);
        } else {
            if pqcsr::BUSY.is_set(self.registers.pqcsr) {
                self.violation("pqcsr written while busy");
            }
            let old = self.registers.pqcsr & !(value & PQ_ERRORS);
            let mut new = pqcsr::PQEN.set(old, pqcsr::PQEN.get(value));
            new = pqcsr::PIE.set(new, pqcsr::PIE.get(value));
            if pqcsr::PQEN.is_set(value) && !pqcsr::PQEN.is_set(old) {
                new &= !PQ_ERRORS;
                self.registers.pqt = 0;
            }
            self.registers.pqcsr = new | pqcsr::BUSY.of(1);
            self.registers.pqcsr_busy = self.ticks + SWITCH;
        }
    }

    /// Completes what writes to control registers began.
    pub(super) fn settle_switches(&mut self) {
        let now = self.ticks;
        let regs = &mut self.registers;
        if now >= regs.ddtp_busy {
            regs.ddtp = ddtp::BUSY.set(regs.ddtp, 0);
        }
        if self.knobs.queues_stuck {
            return;
        }
        if now >= regs.cqcsr_busy {
            let on = cqcsr::CQON.set(regs.cqcsr, cqcsr::CQEN.get(regs.cqcsr));
            regs.cqcsr = cqcsr::BUSY.set(on, 0);
        }
        if now >= regs.fqcsr_busy {
            let on = fqcsr::FQON.set(regs.fqcsr, fqcsr::FQEN.get(regs.fqcsr));
            regs.fqcsr = fqcsr::BUSY.set(on, 0);
        }
        if now >= regs.pqcsr_busy {
            let on = pqcsr::PQON.set(regs.pqcsr, pqcsr::PQEN.get(regs.pqcsr));
            regs.pqcsr = pqcsr::BUSY.set(on, 0);
        }
    }

    /// Executes the command at the head of the queue, if there is one and nothing stands in the way.
    pub(super) fn execute_command(&mut self) {
        let regs = &self.registers;
        let idle = regs.cqh == regs.cqt || !cqcsr::CQON.is_set(regs.cqcsr) || regs.cqcsr & CQ_ERRORS != 0;
        if idle || self.knobs.commands_stall {
            return;
        }
        let queue = Queue::commands(regs.cqb);
        let address = queue.entry(regs.cqh);
        let words = [self.device_load(address), self.device_load(address + 8)];
        let ([Some(low), Some(high)], 0) = (words, self.knobs.fetch_faults) else {
            self.knobs.fetch_faults = self.knobs.fetch_faults.saturating_sub(1);
            self.registers.cqcsr |= cqcsr::CQMF.of(1);
            return;
        };
        let support = Support {
            non_leaf: false,
            range: false,
            ats: self.registers.ats(),
            wsi: fctl::WSI.is_set(self.registers.fctl),
            device_id_bits: iommu_mode::levels(self.registers.mode())
                .map_or(0, |levels| ddt::device_id_bits(self.registers.extended_contexts(), levels)),
            process_id_bits: self.registers.process_id_bits(),
        };
        let command = Command::decode_for([low, high], support);
        let refuse = self.knobs.illegal_commands > 0 && !matches!(command, Ok(Command::IofenceC { .. }));
        let (Ok(command), false) = (command, refuse) else {
            self.knobs.illegal_commands = self.knobs.illegal_commands.saturating_sub(1);
            self.registers.cqcsr |= cqcsr::CMD_ILL.of(1);
            return;
        };
        if !self.ats_command(command) {
            return;
        }
        self.events.push(Event::Command(command));
        self.caches.invalidate(command);
        self.registers.cqh = queue.next(self.registers.cqh);
    }

    pub(super) fn raise(&mut self, record: FaultRecord) {
        if self.is_muted(&record) {
            return;
        }
        let regs = &mut self.registers;
        if !fqcsr::FQON.is_set(regs.fqcsr) || regs.fqcsr & FQ_ERRORS != 0 {
            return;
        }
        let queue = Queue::faults(regs.fqb);
        if queue.is_full(regs.fqh, regs.fqt) {
            regs.fqcsr |= fqcsr::FQOF.of(1);
        } else if self.knobs.record_faults > 0 {
            self.knobs.record_faults -= 1;
            regs.fqcsr |= fqcsr::FQMF.of(1);
        } else {
            let address = queue.entry(regs.fqt);
            regs.fqt = queue.next(regs.fqt);
            regs.ipsr |= ipsr::FIP.of(fqcsr::FIE.get(regs.fqcsr));
            for (offset, word) in (0..).step_by(8).zip(record.encode()) {
                self.store(address + offset, word);
            }
        }
        self.registers.hold_pending();
    }
}

/// The vector, and the offset in its entry, of a register of the table of messages.
fn message_field(offset: u32) -> Option<(usize, u32)> {
    let above = offset.checked_sub(msi_addr::REG.offset.into())?;
    (above < 256).then_some(((above / 16) as usize, above % 16))
}
