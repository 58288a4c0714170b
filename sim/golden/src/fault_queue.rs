//! The fault queue. (Section "Fault/Event-Queue (FQ)".)

use pasidon_spec::fault::{Cause, FaultRecord, RECORD_BYTES};
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::{fqb, fqcsr};

use super::process::transaction_type;
use super::{Golden, Memory};
use pasidon_spec::request::Request;

impl Golden {
    /// Reports the fault that `request` met.
    pub(super) fn report(&mut self, memory: &mut impl Memory, request: &Request, cause: Cause, iotval2: u64) {
        let record = FaultRecord {
            cause: cause.code(),
            ttyp: transaction_type(request) as u8,
            did: request.device_id,
            pv: request.process_id.is_some(),
            pid: request.process_id.unwrap_or(0),
            privileged: request.is_privileged(),
            iotval: request.iova,
            iotval2,
        };
        self.record_fault(memory, &record);
    }

    /// Puts a record into the queue, unless the queue is off, stopped by an error bit, or full.
    pub(super) fn record_fault(&mut self, memory: &mut impl Memory, record: &FaultRecord) {
        let csr = self.registers.fqcsr;
        let usable = fqcsr::FQEN.is_set(csr) && fqcsr::FQON.is_set(csr);
        if !usable || fqcsr::FQMF.is_set(csr) || fqcsr::FQOF.is_set(csr) {
            return;
        }
        let tail = self.registers.fqt;
        let next = (tail + 1) & index_mask(self.registers.fqb);
        if next == self.registers.fqh {
            self.registers.fqcsr |= fqcsr::FQOF.mask();
            return;
        }
        let base = fqb::PPN.get(self.registers.fqb) << PAGE_SHIFT;
        let port = self.port(self.big_endian());
        match port.write_words(memory, base | (tail * RECORD_BYTES), &record.encode()) {
            Ok(()) => {
                self.registers.fqt = next;
                self.interrupts.recorded_fault = true;
            }
            Err(_) => self.registers.fqcsr |= fqcsr::FQMF.mask(),
        }
    }
}

/// The bits of an index into the queue with this base register. The base registers of all queues have the same format.
pub(super) fn index_mask(base: u64) -> u64 {
    (2 << fqb::LOG2SZ_1.get(base)) - 1
}
