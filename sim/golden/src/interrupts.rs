//! Interrupts: what is pending, wires and messages. (Sections "Interrupt pending status register (ipsr)", "Interrupt-cause-to-vector
//! register (icvec)" and "MSI configuration table (msi_cfg_tbl)".)

use pasidon_spec::fault::{Cause, FaultRecord, ttyp};
use pasidon_spec::field::Field;
use pasidon_spec::registers::{cqcsr, fctl, fqcsr, icvec, ipsr, msi_vec_ctl, pqcsr};

use super::{Golden, Memory};

/// The sources of interrupts: the pending bit and the vector of each.
const SOURCES: [(Field, Field); 4] =
    [(ipsr::CIP, icvec::CIV), (ipsr::FIP, icvec::FIV), (ipsr::PMIP, icvec::PMIV), (ipsr::PIP, icvec::PIV)];

/// Events that have not reached `ipsr` yet, and messages that are due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interrupts {
    /// A record was put into the fault queue.
    pub recorded_fault: bool,
    /// A record was put into the page-request queue.
    pub recorded_page_request: bool,
    /// A counter overflowed.
    pub overflow: bool,
    /// Vectors whose message is due, or held back by its mask.
    due: u16,
}

impl Golden {
    /// Sets the pending bits whose conditions hold. A bit that goes from 0 to 1 makes the message of its vector due.
    pub(super) fn update_interrupts(&mut self) {
        let registers = &self.registers;
        let any = |csr: u64, fields: &[Field]| fields.iter().any(|field| field.is_set(csr));
        let cip = cqcsr::CIE.is_set(registers.cqcsr)
            && any(registers.cqcsr, &[cqcsr::FENCE_W_IP, cqcsr::CMD_ILL, cqcsr::CMD_TO, cqcsr::CQMF]);
        let fip = fqcsr::FIE.is_set(registers.fqcsr)
            && (self.interrupts.recorded_fault || any(registers.fqcsr, &[fqcsr::FQOF, fqcsr::FQMF]));
        let pip = pqcsr::PIE.is_set(registers.pqcsr)
            && (self.interrupts.recorded_page_request || any(registers.pqcsr, &[pqcsr::PQOF, pqcsr::PQMF]));
        let conditions = ipsr::CIP.of(cip.into())
            | ipsr::FIP.of(fip.into())
            | ipsr::PMIP.of(self.interrupts.overflow.into())
            | ipsr::PIP.of(pip.into());
        self.interrupts.recorded_fault = false;
        self.interrupts.recorded_page_request = false;
        self.interrupts.overflow = false;
        let rising = conditions & !self.registers.ipsr;
        self.registers.ipsr |= conditions;
        if !self.wired() {
            for (pending, vector) in SOURCES {
                if pending.is_set(rising) {
                    self.interrupts.due |= 1 << vector.get(self.registers.icvec);
                }
            }
        }
    }

    /// Sends the messages that are due and not masked, in order of vector. One that cannot be written is a recorded event.
    pub(super) fn send_interrupts(&mut self, memory: &mut impl Memory) -> bool {
        let masked = (0..self.registers.msi_vec_ctl.len())
            .filter(|&v| msi_vec_ctl::M.is_set(self.registers.msi_vec_ctl[v]))
            .fold(0u16, |masked, v| masked | 1 << v);
        let ready = self.interrupts.due & !masked;
        if self.wired() || ready == 0 {
            return false;
        }
        self.interrupts.due &= masked;
        for vector in (0..16).filter(|vector| ready >> vector & 1 == 1) {
            let address = self.registers.msi_addr[vector];
            let data = self.registers.msi_data[vector];
            if self.port(self.big_endian()).write(memory, address, 4, data).is_err() {
                let record = FaultRecord {
                    cause: Cause::IommuMsiWriteAccessFault.code(),
                    ttyp: ttyp::NONE as u8,
                    iotval: address,
                    ..FaultRecord::default()
                };
                self.record_fault(memory, &record);
            }
        }
        self.update_interrupts();
        true
    }

    /// Whether interrupts are signalled by wires.
    pub(super) fn wired(&self) -> bool {
        fctl::WSI.is_set(self.registers.fctl)
    }

    /// The interrupt wires: bit `i` is vector `i`. All 0 while interrupts are signalled by messages.
    pub fn wires(&self) -> u32 {
        if !self.wired() {
            return 0;
        }
        SOURCES
            .iter()
            .filter(|(pending, _)| pending.is_set(self.registers.ipsr))
            .fold(0, |wires, (_, vector)| wires | 1 << vector.get(self.registers.icvec))
    }
}
