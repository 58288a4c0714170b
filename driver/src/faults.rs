//! Fault service: records out of the queue, to the device drivers concerned and to the caller.

use crate::{
    bond::{Call, Fault},
    iommu::{Inner, Iommu},
    pasid::Pasid,
    record_queue::BURST,
};
use alloc::vec::Vec;
use pasidon_spec::fault::FaultRecord;

/// What [`Iommu::service_faults`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultReport {
    /// The records, oldest first, without those that were suppressed.
    pub records: Vec<FaultRecord>,
    /// How many records were dropped because they were about address spaces that have exited.
    pub suppressed: usize,
    /// The queue had been full (`fqcsr.fqof`): records were lost. Recording goes on.
    pub overflow: bool,
    /// The IOMMU could not write a record (`fqcsr.fqmf`): records were lost. Recording goes on.
    pub memory_fault: bool,
    /// There are more records: more arrived than one call takes. Call again.
    pub more: bool,
}

impl Iommu {
    /// Empties the fault queue. Call it on the fault interrupt, or from time to time.
    ///
    /// A record whose device and PASID are bound goes to the bond's [`crate::SvaOps::fault`], unless the
    /// address space has exited: then it is dropped. Records from before the bond existed are not mistaken
    /// for the bond's. All others are returned, and it is for the caller to log them. Work per call is
    /// bounded by twice the queue's size.
    pub fn service_faults(&self) -> FaultReport {
        let inner = &*self.0;
        let mut report = FaultReport::default();
        let mut budget = 2 * inner.faults.capacity();
        loop {
            let burst = inner.faults.take(BURST);
            // The queue is re-enabled when there is room again, not before.
            let mut more = burst.more;
            if let Some(stop) = burst.stop {
                report.overflow |= stop.overflow;
                report.memory_fault |= stop.memory_fault;
                more = inner.faults.resume(stop);
            }
            for (position, words) in (burst.position..).zip(&burst.records[..burst.count]) {
                let record = FaultRecord::decode(*words);
                let counters = &inner.hardware.counters;
                let delivery = inner.deliver(position, record);
                match delivery {
                    Delivery::Delivered => counters.faults_delivered.add(1),
                    Delivery::Unclaimed => counters.faults_unclaimed.add(1),
                    Delivery::Suppressed => {
                        counters.faults_suppressed.add(1);
                        report.suppressed += 1;
                        continue;
                    }
                }
                report.records.push(record);
            }
            if burst.count == 0 && !more {
                return report;
            }
            budget = budget.saturating_sub(burst.count.max(1) as u64);
            if budget == 0 {
                report.more = !inner.faults.is_empty();
                return report;
            }
        }
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
    /// Hands a record to the device driver concerned, if there is one.
    fn deliver(&self, position: u64, record: FaultRecord) -> Delivery {
        let Some(pasid) = Pasid::new(record.pid).filter(|_| record.pv) else { return Delivery::Unclaimed };
        let call = {
            let bonds = self.bonds.lock(self.platform());
            let Some(entry) = bonds.by_pasid.get(&(pasid, record.did)) else {
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
        call.fault(&Fault::aborted(record));
        log::debug!("device {:#x}, PASID {pasid}: fault, cause {}", record.did, record.cause);
        Delivery::Delivered
    }
}
