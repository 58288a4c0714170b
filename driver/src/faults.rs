//! Fault service: records out of the queue, to the device drivers concerned and to the caller.
//!
//! Records are first copied to the driver's memory, by any call that looks at the queue, and stay there until somebody calls the service:
//! so the hardware's queue is empty most of the time. Records about address spaces that have exited are dropped then; a device whose faults
//! are all of that kind, or that floods the queue with them, has its faults not recorded any more (`DC.tc.DTF`). No device has more than a
//! part of the driver's memory for itself, so that its records never push those of another out.

use crate::{
    bond::{Call, Fault},
    fault_log::{FaultLog, FaultReport},
    iommu::{Inner, Iommu},
    pasid::Pasid,
    record_queue::BURST,
};
use pasidon_spec::{command::Command, fault::FaultRecord};

/// What a look into the queue brought.
struct Received {
    count: usize,
    more: bool,
    /// A device whose faults are not recorded any more, once the IOMMU has forgotten its context.
    muted: Option<u32>,
}

impl Iommu {
    /// Empties the fault queue. Call it on the fault interrupt, or from time to time.
    ///
    /// A record whose device and PASID are bound goes to the bond's [`crate::SvaOps::fault`], unless the
    /// address space has exited: then it is dropped. Records from before the bond existed are not mistaken
    /// for the bond's. `each` is shown every record, oldest first, but for those that were dropped; it is for the
    /// caller to log them. Work per call is bounded by four times the queue's size.
    ///
    /// Can be called from an interrupt handler, where [`crate::Platform::mask`] keeps those off while a spin
    /// lock is held: it does not sleep, and allocates nothing.
    pub fn service_faults(&self, mut each: impl FnMut(&FaultRecord)) -> FaultReport {
        let inner = &*self.0;
        let platform = inner.platform();
        let reset = inner.hardware.notice_reset();
        let mut budget = 4 * inner.faults.capacity();
        let mut shown = 0;
        while budget > 0 {
            inner.receive_faults();
            let mut taken = 0;
            while let Some((position, record)) = inner.next_fault() {
                taken += 1;
                let counters = &inner.hardware.counters;
                match inner.deliver(position, record) {
                    Delivery::Delivered => counters.faults_delivered.add(1),
                    Delivery::Unclaimed => counters.faults_unclaimed.add(1),
                    Delivery::Suppressed => {
                        counters.faults_suppressed.add(1);
                        inner.fault_log.lock(platform).report.suppressed += 1;
                        continue;
                    }
                }
                shown += 1;
                each(&record);
                if taken >= budget {
                    break;
                }
            }
            if taken == 0 && inner.faults.is_empty() {
                break;
            }
            budget = budget.saturating_sub(taken.max(1));
        }
        let mut log = inner.fault_log.lock(platform);
        let report = core::mem::take(&mut log.report);
        let more = !log.records.is_empty() || !inner.faults.is_empty();
        FaultReport { records: shown, more, reset, ..report }
    }
}

/// Where a record went.
enum Delivery {
    /// To a bond's callbacks.
    Delivered,
    /// Nowhere yet: the caller hears of it.
    Unclaimed,
    /// Nobody is to hear of it.
    Suppressed,
}

impl Inner {
    /// Takes in what is in the fault queue, and lets it go on if it had stopped. Calls nobody, and can be called
    /// from any context. Work per call is bounded by the queue's size.
    pub(crate) fn receive_faults(&self) {
        let mut budget = self.faults.capacity();
        while budget > 0 {
            let received = self.receive_some_faults();
            if let Some(device_id) = received.muted {
                log::warn!("device {device_id:#x}: its faults are not recorded any more");
                let forget = Command::IodirInvalDdt { did: Some(device_id) };
                if let Err(error) = self.commands.execute(core::iter::once(forget)) {
                    log::warn!("device {device_id:#x}: it may go on filling the fault queue: {error}");
                }
            }
            if received.count == 0 && !received.more {
                return;
            }
            budget = budget.saturating_sub(received.count.max(1) as u64);
        }
    }

    fn receive_some_faults(&self) -> Received {
        let mut log = self.fault_log.lock(self.platform());
        let log = &mut *log;
        let counters = &self.hardware.counters;
        let room = log.room - log.records.len();
        let burst = self.faults.take(room.min(BURST));
        counters.fault_queue_high_water.raise_to(burst.depth as usize);
        let mut received = Received { count: burst.count, more: burst.more && room > 0, muted: None };
        // The queue is re-enabled when there is room again, not before.
        if let Some(stop) = burst.stop
            && let Some(more) = self.faults.resume(stop)
        {
            log.report.overflow |= stop.overflow;
            log.report.memory_fault |= stop.memory_fault;
            counters.fault_overflows.add(stop.overflow.into());
            counters.fault_memory_faults.add(stop.memory_fault.into());
            received.more = more;
        }
        for (position, words) in (burst.position..).zip(&burst.records[..burst.count]) {
            let record = FaultRecord::decode(*words);
            if self.suppress(log, position, &record, &mut received.muted) {
                counters.faults_suppressed.add(1);
                log.report.suppressed += 1;
            } else if log.has_too_many(record.did) {
                counters.faults_excess.add(1);
                log.report.excess += 1;
            } else {
                log.records.push_back((position, record));
            }
        }
        if !burst.more {
            log.round += 1;
        }
        received
    }

    /// Whether a record is about an address space that has exited. A device that has too many of those is muted.
    fn suppress(&self, log: &FaultLog, position: u64, record: &FaultRecord, muted: &mut Option<u32>) -> bool {
        let Some(pasid) = Pasid::new(record.pid).filter(|_| record.pv) else { return false };
        let mut bonds = self.bonds.lock(self.platform());
        let bonds = &mut *bonds;
        let Some(entry) = bonds.by_pasid.get((pasid, record.did)) else { return false };
        if !entry.bond.owns_fault(position) || !entry.bond.mm_exited() {
            return false;
        }
        if let Some(link) = bonds.links.get_mut(record.did) {
            let (round, count) = link.suppressed;
            link.suppressed = (log.round, if round == log.round { count + 1 } else { 1 });
            // One at a time: the next burst brings the next.
            if link.suppressed.1 > FLOOD && muted.is_none() && !link.flooding {
                link.flooding = true;
                *muted = link.mute(&self.hardware).then_some(record.did);
            }
        }
        true
    }

    fn next_fault(&self) -> Option<(u64, FaultRecord)> {
        self.fault_log.lock(self.platform()).records.pop_front()
    }

    /// Hands a record to the device driver concerned, if there is one.
    fn deliver(&self, position: u64, record: FaultRecord) -> Delivery {
        let Some(pasid) = Pasid::new(record.pid).filter(|_| record.pv) else { return Delivery::Unclaimed };
        let call = {
            let bonds = self.bonds.lock(self.platform());
            let Some(entry) = bonds.by_pasid.get((pasid, record.did)) else {
                return Delivery::Unclaimed;
            };
            if !entry.bond.owns_fault(position) {
                return Delivery::Unclaimed;
            }
            if entry.bond.mm_exited() {
                return Delivery::Suppressed;
            }
            match &entry.callbacks {
                Some(callbacks) => Call::begin(&entry.bond, Some(callbacks)),
                None => return Delivery::Unclaimed,
            }
        };
        // The access has been aborted: there is nothing left to decide.
        call.fault(&self.running, self.platform(), &Fault::aborted(record));
        log::debug!("device {:#x}, PASID {pasid}: fault, cause {}", record.did, record.cause);
        Delivery::Delivered
    }
}

/// How many records of address spaces that have exited a device may have between two times that the queue is empty.
const FLOOD: usize = 16;
