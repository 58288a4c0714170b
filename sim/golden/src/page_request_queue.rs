//! The page-request queue. (Section "Page-Request-Queue (PQ)".)

use pasidon_spec::page_request::{PageRequest, RECORD_BYTES, Refusal};
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::{pqb, pqcsr};

use super::fault_queue::index_mask;
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
        let tail = self.registers.pqt;
        let next = (tail + 1) & index_mask(self.registers.pqb);
        if next == self.registers.pqh {
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
        let base = pqb::PPN.get(self.registers.pqb) << PAGE_SHIFT;
        let port = self.port(self.big_endian());
        if port.write_words(memory, base | (tail * RECORD_BYTES), &record.encode()).is_err() {
            self.registers.pqcsr |= pqcsr::PQMF.mask();
            return Err(Refusal::QueueMemoryFault);
        }
        self.registers.pqt = next;
        self.interrupts.recorded_page_request = true;
        Ok(())
    }
}
