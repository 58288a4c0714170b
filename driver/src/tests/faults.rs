//! Fault service: decoding, dispatch, and recovery of the queue.

use super::*;
use crate::{Cause, fake::Access};

#[test]
fn records_reach_the_bond_concerned_and_the_caller() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RO);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let silent = bench.iommu.bind(2, handle.mm().clone()).unwrap();
    let ops = TestOps::new();
    handle.set_ops(ops.clone(), no_data()).unwrap();
    let pasid = handle.pasid().get();
    bench.fake.dma(1, Some(pasid), 0x1010, Access::Write).unwrap_err();
    bench.fake.dma(2, Some(pasid), 0x5000, Access::Read).unwrap_err();
    bench.fake.dma(3, None, 0x6000, Access::Read).unwrap_err();

    let report = faults(&bench.iommu);
    let causes: Vec<_> = report.records.iter().map(|record| Cause::from_code(record.cause)).collect();
    assert_eq!(
        causes,
        [Some(Cause::WriteAmoPageFault), Some(Cause::ReadPageFault), Some(Cause::DdtEntryNotValid)]
    );
    assert!(!report.overflow && !report.memory_fault && !report.more);
    let access = FaultAccess { address: 0x1010, read: false, write: true, execute: false, privileged: false };
    assert_eq!(ops.faults(), [Fault { access, record: Some(report.records[0]) }]);
    assert!(!ops.faults()[0].is_recoverable());
    assert_eq!(faults(&bench.iommu), Faults::default());
    drop(silent);
}

#[test]
fn a_device_that_lies_about_its_pasid_reaches_nobody() {
    let bench = Bench::new();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    let ops = TestOps::new();
    handle.set_ops(ops.clone(), no_data()).unwrap();
    let pasid = handle.pasid().get();
    let records = [
        FaultRecord { did: 2, pv: true, pid: pasid, ..FaultRecord::default() },
        FaultRecord { did: 1, pv: false, pid: pasid, ..FaultRecord::default() },
        FaultRecord { did: 1, pv: true, pid: pasid + 1, ..FaultRecord::default() },
        FaultRecord { did: 0xff_ffff, pv: true, pid: 0xf_ffff, cause: 0xfff, ..FaultRecord::default() },
    ];
    records.into_iter().for_each(|record| bench.fake.raise(record));
    assert_eq!(faults(&bench.iommu).records, records);
    assert_eq!(ops.faults(), []);
}

#[test]
fn stale_records_are_not_mistaken_for_a_new_bond() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    bench.fake.dma(1, Some(pasid.get()), 0x1000, Access::Read).unwrap_err();
    handle.unbind();
    // The same PASID again, with the record of its former life still in the queue.
    let handle = bench.iommu.bind(1, mm).unwrap();
    assert_eq!(handle.pasid(), pasid);
    let ops = TestOps::new();
    handle.set_ops(ops.clone(), no_data()).unwrap();
    bench.fake.dma(1, Some(pasid.get()), 0x2000, Access::Read).unwrap_err();
    assert_eq!(faults(&bench.iommu).records.len(), 2);
    assert_eq!(ops.faults().iter().map(|fault| fault.access.address).collect::<Vec<_>>(), [0x2000]);
}

#[test]
fn clause_16_overflow_is_reported_and_recording_goes_on() {
    let bench = Bench::with(Config { fault_queue_log2: 5, ..config() });
    let fault = |address| bench.fake.dma(3, None, address, Access::Read).unwrap_err();
    (0..40).for_each(|page| _ = fault(page * PAGE));
    let report = faults(&bench.iommu);
    assert!(report.overflow);
    assert_eq!(report.records.len(), 31);
    assert!(report.records.iter().zip(0..).all(|(record, page)| record.iotval == page * PAGE));
    // Round the end of the ring, several times.
    for round in 0..10 {
        (0..7).for_each(|page| _ = fault((round * 7 + page) * PAGE));
        let report = faults(&bench.iommu);
        assert!(!report.overflow);
        assert!(report.records.iter().zip(round * 7..).all(|(record, page)| record.iotval == page * PAGE));
        assert_eq!(report.records.len(), 7);
    }
}

#[test]
fn clause_16_memory_faults_are_reported_and_recording_goes_on() {
    let bench = Bench::new();
    bench.fake.dma(3, None, 0, Access::Read).unwrap_err();
    bench.fake.adjust(|knobs| knobs.record_faults = 1);
    bench.fake.dma(3, None, PAGE, Access::Read).unwrap_err();
    bench.fake.dma(3, None, 2 * PAGE, Access::Read).unwrap_err();
    let report = faults(&bench.iommu);
    assert!(report.memory_fault);
    assert_eq!(report.records.len(), 1);
    bench.fake.dma(3, None, 3 * PAGE, Access::Read).unwrap_err();
    let report = faults(&bench.iommu);
    assert!(!report.memory_fault);
    assert_eq!(report.records.len(), 1);
}

#[test]
fn clause_16_the_interrupt_is_cleared_and_comes_again() {
    let bench = Bench::with(Config { fault_vector: Some(2), fault_queue_log2: 3, ..config() });
    for _ in 0..3 {
        bench.fake.dma(3, None, 0, Access::Read).unwrap_err();
        assert!(bench.fake.fault_interrupt());
        assert_eq!(faults(&bench.iommu).records.len(), 1);
        assert!(!bench.fake.fault_interrupt());
        // An overflow holds the interrupt up until it is dealt with.
        (0..10).for_each(|page| _ = bench.fake.dma(3, None, page * PAGE, Access::Read).unwrap_err());
        assert!(bench.fake.fault_interrupt());
        assert!(faults(&bench.iommu).overflow);
        assert!(!bench.fake.fault_interrupt());
    }
    // Polling raises none.
    let bench = Bench::new();
    bench.fake.dma(3, None, 0, Access::Read).unwrap_err();
    assert!(!bench.fake.fault_interrupt());
}

#[test]
fn work_per_call_is_bounded_even_if_faults_never_stop() {
    let bench = Bench::with(Config { fault_queue_log2: 3, ..config() });
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    let (fake, pasid) = (bench.fake.clone(), handle.pasid().get());
    let ops = Arc::new(TestOps {
        // Each fault causes two more.
        on_fault: Some(std::boxed::Box::new(move |_| {
            for _ in 0..2 {
                fake.dma(1, Some(pasid), 0, Access::Read).unwrap_err();
            }
        })),
        ..TestOps::default()
    });
    handle.set_ops(ops, no_data()).unwrap();
    bench.fake.dma(1, Some(pasid), 0, Access::Read).unwrap_err();
    let report = faults(&bench.iommu);
    assert!(report.more && report.records.len() < 32);
}
