//! The fault queue: records taken out in order, and recovery from overflow and memory faults.

use crate::{
    error::InitError,
    hardware::{Hardware, Region, TimedOut},
    lock::Lock,
};
use alloc::sync::Arc;
use pasidon_spec::{
    fault::{FaultRecord, RECORD_BYTES},
    registers::{fqb, fqcsr, fqh, fqt, ipsr},
};

/// How many records are copied out under the lock at a time.
pub(crate) const BURST: usize = 16;

const ERRORS: u64 = fqcsr::FQMF.mask() | fqcsr::FQOF.mask();

pub(crate) struct FaultQueue {
    hardware: Arc<Hardware>,
    ring: Lock<Ring>,
    entries: u64,
    enable: u64,
}

struct Ring {
    memory: Option<Region>,
    head: u64,
    /// Records taken out since the driver started: the position of the record at `head`.
    taken: u64,
}

/// Records copied out of the queue, and what the queue said about records that it lost.
pub(crate) struct Burst {
    pub(crate) records: [FaultRecord; BURST],
    pub(crate) count: usize,
    /// Position of the first record, counted from the first record ever.
    pub(crate) position: u64,
    pub(crate) overflow: bool,
    pub(crate) memory_fault: bool,
    /// There was more in the queue.
    pub(crate) more: bool,
}

impl FaultQueue {
    /// Allocates and enables a queue of `2^log2_entries` records, or of as many as the IOMMU supports.
    pub(crate) fn new(
        hardware: &Arc<Hardware>,
        log2_entries: u32,
        interrupts: bool,
    ) -> Result<Self, InitError> {
        let bytes = (RECORD_BYTES as usize) << log2_entries;
        let memory = hardware.alloc_zeroed(bytes).ok_or(InitError::OutOfMemory)?;
        disable(hardware).map_err(|_| InitError::Timeout("fault queue"))?;
        let wanted = fqb::PPN.of(memory.ppn()) | fqb::LOG2SZ_1.of(u64::from(log2_entries) - 1);
        hardware.write(&fqb::REG, wanted);
        let granted = hardware.read(&fqb::REG);
        let log2_entries = log2_entries.min(fqb::LOG2SZ_1.get(granted) as u32 + 1);
        if fqb::PPN.get(granted) != memory.ppn() {
            return Err(InitError::Rejected("fault queue"));
        }
        let enable = fqcsr::FQEN.of(1) | fqcsr::FIE.of(interrupts.into());
        let queue = Self {
            hardware: hardware.clone(),
            ring: Lock::new(Ring { memory: Some(memory), head: 0, taken: 0 }),
            entries: 1 << log2_entries,
            enable,
        };
        hardware.write(&fqb::REG, fqb::LOG2SZ_1.set(wanted, u64::from(log2_entries) - 1));
        hardware.write(&fqh::REG, 0);
        hardware.write(&fqcsr::REG, enable);
        hardware
            .wait(&fqcsr::REG, |v| fqcsr::FQON.is_set(v) && !fqcsr::BUSY.is_set(v))
            .map_err(|_| InitError::Timeout("fault queue"))?;
        Ok(queue)
    }

    /// How many records the queue can hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.entries - 1
    }

    /// The position that the next record to be written by the IOMMU will have.
    pub(crate) fn end(&self) -> u64 {
        let ring = self.ring.lock(self.hardware.platform());
        ring.taken + self.pending(&ring)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending(&self.ring.lock(self.hardware.platform())) == 0
    }

    fn pending(&self, ring: &Ring) -> u64 {
        self.hardware.read(&fqt::REG).wrapping_sub(ring.head) & (self.entries - 1)
    }

    /// Takes up to [`BURST`] records out of the queue, and re-enables it if it had stopped.
    ///
    /// The interrupt-pending bit is cleared before the tail is read, so that a record that arrives in between
    /// raises it again; and once more after an error bit was cleared, for as long as that was set it held the
    /// pending bit up.
    pub(crate) fn take(&self) -> Burst {
        let hardware = &*self.hardware;
        let mut ring = self.ring.lock(hardware.platform());
        let mut burst = Burst {
            records: [FaultRecord::default(); BURST],
            count: 0,
            position: ring.taken,
            overflow: false,
            memory_fault: false,
            more: false,
        };
        let status = hardware.read(&fqcsr::REG);
        hardware.write(&ipsr::REG, ipsr::FIP.of(1));
        let pending = self.pending(&ring);
        // The records were written before the tail that was just read.
        hardware.platform.fence();
        let Some(base) = ring.memory.as_ref().map(Region::paddr) else { return burst };
        while (burst.count as u64) < pending.min(BURST as u64) {
            let entry = base + ring.head * RECORD_BYTES;
            let words = [0, 8, 16, 24].map(|offset| hardware.platform.load64(entry + offset));
            burst.records[burst.count] = FaultRecord::decode(words);
            burst.count += 1;
            ring.head = (ring.head + 1) & (self.entries - 1);
            ring.taken += 1;
        }
        if burst.count > 0 {
            hardware.write(&fqh::REG, ring.head);
        }
        burst.more = pending > burst.count as u64;
        // The queue is re-enabled when there is room again, not before.
        if status & ERRORS != 0 && !burst.more {
            burst.overflow = fqcsr::FQOF.is_set(status);
            burst.memory_fault = fqcsr::FQMF.is_set(status);
            if hardware.wait(&fqcsr::REG, |v| !fqcsr::BUSY.is_set(v)).is_ok() {
                hardware.write(&fqcsr::REG, self.enable | (status & ERRORS));
                hardware.write(&ipsr::REG, ipsr::FIP.of(1));
                burst.more = self.pending(&ring) != 0;
            }
        }
        burst
    }
}

impl Drop for FaultQueue {
    fn drop(&mut self) {
        let off = disable(&self.hardware).is_ok();
        if let Some(memory) = self.ring.get_mut().memory.take()
            && !off
        {
            memory.leak();
        }
    }
}

/// Turns the queue off. Once this has succeeded the IOMMU does not access its memory.
pub(crate) fn disable(hardware: &Hardware) -> Result<(), TimedOut> {
    hardware.wait(&fqcsr::REG, |v| !fqcsr::BUSY.is_set(v))?;
    hardware.write(&fqcsr::REG, 0);
    hardware.wait(&fqcsr::REG, |v| !fqcsr::FQON.is_set(v) && !fqcsr::BUSY.is_set(v))?;
    Ok(())
}
