//! The fault queue. (Section "Fault/Event-Queue (FQ)".)

use pasidon_spec::fault::{Cause, FaultRecord};
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::fqcsr;

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
        let queue = Queue::faults(self.registers.fqb);
        let tail = self.registers.fqt;
        if queue.is_full(self.registers.fqh, tail) {
            self.registers.fqcsr |= fqcsr::FQOF.mask();
            return;
        }
        let port = self.port(self.big_endian());
        match port.write_words(memory, queue.entry(tail), &record.encode()) {
            Ok(()) => {
                self.registers.fqt = queue.next(tail);
                self.interrupts.recorded_fault = true;
            }
            Err(_) => self.registers.fqcsr |= fqcsr::FQMF.mask(),
        }
    }
}
