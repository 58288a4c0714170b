//! Clauses 9 to 11: the address space goes away.

use super::*;
use crate::{BindError, Change, SetOpsError, fake::Access};

#[test]
fn clause_09_mm_exit_runs_once_per_bond_before_the_page_tables_go() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let (fake, walked) = (bench.fake.clone(), Arc::new(AtomicUsize::new(0)));
    let counter = walked.clone();
    let ops = Arc::new(TestOps {
        // The device may still finish its work inside the callback.
        on_exit: Some(std::boxed::Box::new(move |bond| {
            let reached = fake.dma(bond.device_id(), Some(bond.pasid().get()), 0x1000, Access::Write);
            assert_eq!(reached, Ok(0x9000_0000));
            counter.fetch_add(1, Ordering::SeqCst);
        })),
        ..TestOps::default()
    });
    let handles: Vec<_> = [1, 2, 2]
        .map(|device| {
            let handle = bench.iommu.bind(device, mm.clone()).unwrap();
            handle
                .set_ops(ops.clone(), Arc::new(()))
                .or_else(|error| if error == SetOpsError::AlreadySet { Ok(()) } else { Err(error) })
                .unwrap();
            handle
        })
        .into();
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(ops.exits(), 2);
    assert_eq!(walked.load(Ordering::SeqCst), 2);
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(ops.exits(), 2);
    drop(handles);
    assert_eq!(ops.exits(), 2);
}

#[test]
fn clause_09_mm_exit_runs_without_driver_locks_and_does_not_drain() {
    let bench = Bench::new();
    let (mm, other) = (bench.mm(), bench.mm());
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let (iommu, spare) = (bench.iommu.clone(), Mutex::new(Some(bench.iommu.bind(2, other.clone()).unwrap())));
    let dying = mm.clone();
    let fake = bench.fake.clone();
    let ops = Arc::new(TestOps {
        on_exit: Some(std::boxed::Box::new(move |_| {
            // Commands already in the queue are none of its business.
            fake.take_events();
            // Everything that a device driver may want to do here would deadlock under a lock.
            iommu.bind(1, other.clone()).unwrap().unbind();
            drop(spare.lock().unwrap().take());
            iommu.invalidate_range(&*dying, 0..0x1000, Change::Leaves).unwrap();
            faults(&iommu);
            assert_eq!(iommu.bind(2, dying.clone()).unwrap_err(), BindError::MmExited);
        })),
        ..TestOps::default()
    });
    handle.set_ops(ops.clone(), no_data()).unwrap();
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(ops.exits(), 1);
}

#[test]
fn clause_10_after_exit_dma_aborts_and_nothing_is_logged() {
    let bench = Bench::new();
    let (mm, other) = (bench.mm(), bench.mm());
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let bystander = bench.iommu.bind(1, other).unwrap();
    let (ops, other_ops) = (TestOps::new(), TestOps::new());
    handle.set_ops(ops.clone(), no_data()).unwrap();
    bystander.set_ops(other_ops.clone(), no_data()).unwrap();
    let pasid = handle.pasid().get();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Ok(0x9000_0000));

    bench.iommu.mm_exit(&*mm).unwrap();
    // An empty page table: neither what was cached, nor pass-through.
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(READ_FAULT));
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x9000_0000, Access::Write), Err(WRITE_FAULT));
    // Faults of the bystander on the same device are still heard of.
    assert_eq!(bench.fake.dma(1, Some(bystander.pasid().get()), 0, Access::Read), Err(READ_FAULT));
    let report = faults(&bench.iommu);
    assert_eq!((report.records.len(), report.suppressed), (1, 2));
    assert_eq!(report.records[0].pid, bystander.pasid().get());
    assert_eq!(ops.faults(), []);
    assert_eq!(other_ops.faults().len(), 1);
}

#[test]
fn clause_10_the_page_tables_are_not_read_after_exit() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid().get();
    bench.iommu.mm_exit(&*mm).unwrap();
    // The operating system frees them; the fake notices if the IOMMU still reads them.
    for table in mm.tables.lock().unwrap().drain(..) {
        bench.fake.free(table, PAGE as usize);
    }
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(READ_FAULT));
    handle.unbind();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(NOT_VALID));
}

#[test]
fn clause_11_the_handle_stays_valid_until_unbind() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    bench.iommu.mm_exit(&*mm).unwrap();
    assert!(handle.mm_exited());
    assert_eq!(handle.pasid(), pasid);
    assert_eq!(handle.set_ops(TestOps::new(), no_data()), Err(SetOpsError::MmExited));
    drop(mm);
    assert!(Arc::strong_count(handle.mm()) == 1);
    handle.unbind();
    assert_eq!(bench.fake.dma(1, Some(pasid.get()), 0, Access::Read), Err(NOT_VALID));
}

#[test]
fn an_mm_that_was_never_bound_can_exit() {
    let bench = Bench::new();
    let mm = bench.mm();
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(bench.iommu.bind(1, mm).unwrap_err(), BindError::MmExited);
}

#[test]
fn many_bonds_exit_through_a_small_queue() {
    let bench = Bench::with(Config { command_queue_log2: 3, ..config() });
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handles: Vec<_> = (10..40)
        .map(|device| {
            bench.iommu.enable_sva(device, DeviceOptions::default()).unwrap();
            bench.iommu.bind(device, mm.clone()).unwrap()
        })
        .collect();
    for handle in &handles {
        bench.fake.dma(handle.device_id(), Some(handle.pasid().get()), 0x1000, Access::Read).unwrap();
    }
    bench.iommu.mm_exit(&*mm).unwrap();
    for handle in &handles {
        let dma = bench.fake.dma(handle.device_id(), Some(handle.pasid().get()), 0x1000, Access::Read);
        assert_eq!(dma, Err(READ_FAULT));
    }
}

/// Aborted accesses of a device with a PASID.
fn flood(bench: &Bench, device: u32, pasid: u32, count: u64) {
    (0..count)
        .for_each(|page| _ = bench.fake.dma(device, Some(pasid), page * PAGE, Access::Read).unwrap_err());
}

#[test]
fn clause_10_a_device_without_living_address_spaces_fills_nobodys_queue() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid().get();
    bench.iommu.mm_exit(&*mm).unwrap();
    flood(&bench, 1, pasid, 200);
    bench.fake.dma(2, Some(99), 0x5000, Access::Read).unwrap_err();
    let report = faults(&bench.iommu);
    assert_eq!(report.records.iter().map(|record| record.did).collect::<Vec<_>>(), [2]);
    assert!(!report.overflow && report.suppressed == 0);
    // With a living one its faults are recorded again,
    let living = bench.iommu.bind(1, bench.mm()).unwrap();
    flood(&bench, 1, living.pasid().get(), 3);
    flood(&bench, 1, pasid, 2);
    let report = faults(&bench.iommu);
    assert_eq!((report.records.len(), report.suppressed), (3, 2));
    // without it they are not,
    living.unbind();
    flood(&bench, 1, pasid, 2);
    assert_eq!(faults(&bench.iommu).suppressed, 0);
    // and with none at all they are.
    handle.unbind();
    flood(&bench, 1, pasid, 2);
    assert_eq!(faults(&bench.iommu).records.len(), 2);
}

#[test]
fn clause_10_a_device_that_floods_the_queue_after_exit_is_muted_and_the_loss_is_told() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let bystander = bench.iommu.bind(1, bench.mm()).unwrap();
    bench.iommu.mm_exit(&*mm).unwrap();
    let pasid = handle.pasid().get();
    flood(&bench, 1, pasid, 200);
    bench.fake.dma(2, Some(99), 0x5000, Access::Read).unwrap_err();
    // The queue was full before anybody looked: that much can be lost, and is told.
    let report = faults(&bench.iommu);
    assert_eq!((report.records.len(), report.suppressed, report.overflow), (0, 127, true));
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.fault_overflows, statistics.devices_muted), (1, 1));
    // From then on nothing of others is.
    for _ in 0..3 {
        bench.fake.run_for(10);
        flood(&bench, 1, pasid, 200);
        bench.fake.dma(2, Some(99), 0x5000, Access::Read).unwrap_err();
        let report = faults(&bench.iommu);
        assert_eq!((report.records.len(), report.overflow), (1, false));
    }
    // The bystander is heard again when the dead bond is gone.
    handle.unbind();
    flood(&bench, 1, bystander.pasid().get(), 1);
    assert_eq!(faults(&bench.iommu).records.len(), 1);
}

#[test]
fn clause_10_no_device_pushes_out_the_records_of_another() {
    let bench = Bench::with(Config { fault_queue_log2: 4, ..config() });
    let handles = [1, 2].map(|device| bench.iommu.bind(device, bench.mm()).unwrap());
    // Records are taken in whenever something is unbound.
    for _ in 0..8 {
        flood(&bench, 1, handles[0].pasid().get(), 10);
        bench.iommu.bind(2, bench.mm()).unwrap().unbind();
    }
    flood(&bench, 2, handles[1].pasid().get(), 1);
    let report = faults(&bench.iommu);
    assert_eq!((report.records.len(), report.excess, report.overflow), (16, 65, false));
    assert_eq!(report.records.iter().filter(|record| record.did == 2).count(), 1);
    assert_eq!(bench.iommu.statistics().faults_excess, 65);
}
