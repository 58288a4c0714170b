//! The page-request queue. (Section "Page-Request-Queue (PQ)".)

use pasidon_spec::page_request::{PageRequest, Refusal};
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::pqcsr;

use super::{Golden, Memory};

impl Golden {
    /// Puts a page request or stop marker of a device that may send it into the queue.
    pub(super) fn queue_page_request(
        &mut self,
        memory: &mut impl Memory,
        request: &PageRequest,
    ) -> Result<(), Refusal> {
        let csr = self.registers.pqcsr;
        if !pqcsr::PQEN.is_set(csr) || !pqcsr::PQON.is_set(csr) {
            return Err(Refusal::QueueOff);
        }
        if pqcsr::PQMF.is_set(csr) {
            return Err(Refusal::QueueMemoryFault);
        }
        if pqcsr::PQOF.is_set(csr) {
            return Err(Refusal::QueueOverflow);
        }
        let queue = Queue::page_requests(self.registers.pqb);
        let tail = self.registers.pqt;
        if queue.is_full(self.registers.pqh, tail) {
            self.registers.pqcsr |= pqcsr::PQOF.mask();
            return Err(Refusal::QueueOverflow);
        }
        // Without a PASID, nothing that belongs to one is recorded.
        let record = PageRequest {
            pid: if request.pv { request.pid } else { 0 },
            privileged: request.pv && request.privileged,
            execute: request.pv && request.execute,
            ..*request
        };
        let port = self.port(self.big_endian());
        if port.write_words(memory, queue.entry(tail), &record.encode()).is_err() {
            self.registers.pqcsr |= pqcsr::PQMF.mask();
            return Err(Refusal::QueueMemoryFault);
        }
        self.registers.pqt = queue.next(tail);
        self.interrupts.recorded_page_request = true;
        Ok(())
    }
}
