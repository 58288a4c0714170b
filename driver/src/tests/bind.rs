//! Clauses 1 to 8: bind and unbind.

use super::*;
use crate::{
    BindError, DisableError, EnableError, PasidSpace, SetOpsError,
    fake::{Access, CAPABILITIES},
};
use pasidon_spec::{command::Command, registers::capabilities};

#[test]
fn clause_01_one_bond_per_device_and_mm() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let first = bench.iommu.bind(1, mm.clone()).unwrap();
    let second = bench.iommu.bind(1, mm.clone()).unwrap();
    assert!(core::ptr::eq::<Bond>(&*first, &*second));
    let pasid = first.pasid().get();
    first.unbind();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1008, Access::Read), Ok(0x9000_0008));
    second.unbind();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1008, Access::Read), Err(NOT_VALID));
}

#[test]
fn clause_02_one_pasid_per_mm_on_all_devices_until_it_is_freed() {
    let pasids = Arc::new(PasidSpace::default());
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..config() });
    // Another IOMMU in the same system.
    let other = Fake::new();
    let other_iommu = Iommu::new(other.clone(), Config { pasids: Some(pasids.clone()), ..config() }).unwrap();
    other_iommu.enable_sva(7, DeviceOptions::default()).unwrap();

    let (a, b) = (bench.mm(), bench.mm());
    let on_1 = bench.iommu.bind(1, a.clone()).unwrap();
    let on_2 = bench.iommu.bind(2, a.clone()).unwrap();
    let on_7 = other_iommu.bind(7, a.clone()).unwrap();
    let of_b = bench.iommu.bind(1, b.clone()).unwrap();
    assert_eq!((on_1.pasid(), on_2.pasid(), on_7.pasid()), (on_1.pasid(), on_1.pasid(), on_1.pasid()));
    assert_ne!(on_1.pasid(), of_b.pasid());
    assert_eq!(pasids.in_use(), 2);

    // Neither unbinding nor exit of the mappings gives the PASID back.
    let pasid = on_1.pasid();
    on_1.unbind();
    on_2.unbind();
    assert_eq!(bench.iommu.bind(2, a.clone()).unwrap().pasid(), pasid);
    bench.iommu.mm_exit(&*a).unwrap();
    other_iommu.mm_exit(&*a).unwrap();
    on_7.unbind();
    assert_eq!(a.sva.pasid(), Some(pasid));
    let c = bench.mm();
    let of_c = bench.iommu.bind(1, c.clone()).unwrap();
    assert_ne!(of_c.pasid(), pasid);

    // A bond keeps the mm object, and so its PASID, alive.
    drop(c);
    assert_eq!(pasids.in_use(), 3);
    of_c.unbind();
    assert_eq!(pasids.in_use(), 2);
    drop(a);
    assert_eq!(pasids.in_use(), 1);
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap().pasid(), pasid);
}

#[test]
fn clause_02_pasid_0_reaches_nothing() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let _handle = bench.iommu.bind(1, mm).unwrap();
    assert_eq!(bench.fake.dma(1, Some(0), 0x1000, Access::Read), Err(NOT_VALID));
    assert_eq!(bench.fake.dma(1, None, 0x1000, Access::Read), Err(NOT_VALID));
}

#[test]
fn clause_03_a_device_must_be_enabled() {
    let bench = Bench::new();
    assert_eq!(bench.iommu.bind(3, bench.mm()).unwrap_err(), BindError::NotEnabled(3));
    assert_eq!(bench.fake.dma(3, Some(1), 0, Access::Read), Err(NO_DEVICE));
    bench.iommu.disable_sva(1).unwrap();
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap_err(), BindError::NotEnabled(1));
}

#[test]
fn clause_03_pasids_run_out() {
    let bench = Bench::with(Config { pasids: Some(Arc::new(PasidSpace::new(2))), ..config() });
    let _a = bench.iommu.bind(1, bench.mm()).unwrap();
    let b = bench.iommu.bind(1, bench.mm()).unwrap();
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap_err(), BindError::PasidsExhausted);
    b.unbind();
    bench.iommu.bind(1, bench.mm()).unwrap();
}

#[test]
fn clause_03_a_pasid_beyond_the_device() {
    let bench = Bench::new();
    let narrow = DeviceOptions { pasid_width: 1, ..DeviceOptions::default() };
    bench.iommu.enable_sva(9, narrow).unwrap();
    let first = bench.iommu.bind(9, bench.mm()).unwrap();
    let wide = bench.mm();
    let second = bench.iommu.bind(1, wide.clone()).unwrap();
    assert_eq!(
        bench.iommu.bind(9, wide).unwrap_err(),
        BindError::PasidTooWide { pasid: second.pasid(), limit: 1 }
    );
    // An mm without a PASID would have been given one that fits.
    assert_eq!(bench.iommu.bind(9, bench.mm()).unwrap_err(), BindError::PasidsExhausted);
    drop(first);
}

#[test]
fn clause_03_a_pasid_beyond_the_process_directory() {
    let only_pd8 = capabilities::PD17.set(capabilities::PD20.set(CAPABILITIES, 0), 0);
    let fake = Fake::with_capabilities(only_pd8);
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let bound: Vec<_> = (1..256).map(|_| iommu.bind(1, TestMm::new(&fake)).unwrap()).collect();
    assert_eq!(iommu.bind(1, TestMm::new(&fake)).unwrap_err(), BindError::PasidsExhausted);
    assert_eq!(bound.last().map(|handle| handle.pasid().get()), Some(255));
}

#[test]
fn clause_03_page_tables_that_the_iommu_cannot_walk() {
    struct Odd(MmSva, PageTable);
    // SAFETY: as for `TestMm`.
    unsafe impl Mm for Odd {
        fn sva(&self) -> &MmSva {
            &self.0
        }
        fn page_table(&self) -> PageTable {
            self.1
        }
    }
    let fake = Fake::with_capabilities(capabilities::PAS.set(capabilities::SV57.set(CAPABILITIES, 0), 40));
    let iommu = Iommu::new(fake, config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let cases = [
        (PageTableMode::Sv57, 0x8000_0000),
        (PageTableMode::Sv39, 0x8000_0800),
        (PageTableMode::Sv39, 1 << 40),
    ];
    for (mode, root) in cases {
        let mm = Arc::new(Odd(MmSva::new(), PageTable { mode, root }));
        assert_eq!(iommu.bind(1, mm.clone()).unwrap_err(), BindError::PageTable);
        assert_eq!(mm.0.pasid(), None);
    }
}

#[test]
fn clause_03_another_pasid_space() {
    let (bench, other) = (Bench::new(), Bench::new());
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    assert_eq!(other.iommu.bind(1, mm.clone()).unwrap_err(), BindError::ForeignPasid);
    // And whatever has the same PASID there is left alone.
    let stranger = other.mm();
    let theirs = other.iommu.bind(1, stranger.clone()).unwrap();
    assert_eq!(theirs.pasid(), mm.sva.pasid().unwrap());
    other.iommu.mm_exit(&*mm).unwrap();
    assert!(!theirs.mm_exited());
}

#[test]
fn clause_03_out_of_memory_undoes_everything() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    // PD20 needs two tables below the root.
    for allocations in 0..2 {
        bench.fake.adjust(|knobs| knobs.allocations = allocations);
        assert_eq!(bench.iommu.bind(1, mm.clone()).unwrap_err(), BindError::OutOfMemory);
        bench.fake.dma(1, Some(1), 0x1000, Access::Read).unwrap_err();
    }
    bench.fake.adjust(|knobs| knobs.allocations = 1);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let pasid = handle.pasid().get();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Write), Ok(0x9000_0000));
}

#[test]
fn clause_04_order_of_attach() {
    let bench = Bench::new();
    let mm = bench.mm();
    let warm_up = bench.iommu.bind(1, bench.mm()).unwrap();
    bench.fake.take_events();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let events = bench.fake.take_events();
    // The tables are there already, so the only memory written is the context: root first, then, after a
    // fence, attributes with the valid bit. Nothing comes after that could fail.
    let root = position(
        &events,
        |event| matches!(event, Event::Store { value, .. } if pc::fsc::PPN.get(*value) == mm.root >> 12),
    );
    let valid = position(&events, |event| is_context(event, true, 2));
    assert!(root < valid);
    assert!(events[root..valid].contains(&Event::Fence));
    assert_eq!(&events[valid + 1..], [Event::Fence]);
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Store { .. })).count(), 2);
    drop((warm_up, handle));
}

#[test]
fn clause_05_set_ops_twice() {
    let bench = Bench::new();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    let (ops, data) = (TestOps::new(), no_data());
    handle.set_ops(ops.clone(), data.clone()).unwrap();
    handle.set_ops(ops.clone(), data.clone()).unwrap();
    assert_eq!(handle.set_ops(TestOps::new(), data.clone()), Err(SetOpsError::AlreadySet));
    assert_eq!(handle.set_ops(ops.clone(), no_data()), Err(SetOpsError::AlreadySet));
    // The bond has one set of callbacks, whichever handle they came through.
    let again = bench.iommu.bind(1, handle.mm().clone()).unwrap();
    assert_eq!(again.set_ops(TestOps::new(), data.clone()), Err(SetOpsError::AlreadySet));
    again.set_ops(ops, data).unwrap();
}

#[test]
fn clause_06_unbind_waits_for_what_had_reached_the_iommu() {
    let bench = Bench::new();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    bench.fake.take_events();
    handle.unbind();
    let last = bench.fake.take_commands().pop();
    assert_eq!(last, Some(Command::IofenceC { pr: true, pw: true, wsi: false, store: None }));
}

#[test]
fn clause_07_order_of_teardown() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let pasid = handle.pasid().get();
    bench.fake.dma(1, Some(pasid), 0x1000, Access::Read).unwrap();
    bench.fake.take_events();
    handle.unbind();
    let events = bench.fake.take_events();
    let invalid = position(&events, |event| is_context(event, false, 1));
    let commands: Vec<_> = events[invalid..]
        .iter()
        .filter_map(|event| if let Event::Command(command) = event { Some(*command) } else { None })
        .collect();
    assert_eq!(
        commands,
        [
            Command::IodirInvalPdt { did: 1, pid: pasid },
            Command::IotinvalVma { gscid: None, pscid: Some(1), range: None },
            Command::IofenceC { pr: true, pw: true, wsi: false, store: None },
        ]
    );
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(NOT_VALID));
}

#[test]
fn clause_07_unbind_waits_for_handlers_and_none_runs_after() {
    let (bench, platform) = waiting::bench_with_patience();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm).unwrap();
    let pasid = handle.pasid().get();
    let gate = Arc::new(std::sync::Barrier::new(2));
    let finished = Arc::new(AtomicUsize::new(0));
    let (entered, done, watch) = (gate.clone(), finished.clone(), platform.clone());
    let ops = Arc::new(TestOps {
        on_fault: Some(std::boxed::Box::new(move |_| {
            entered.wait();
            watch.tap.until_somebody_waits();
            done.fetch_add(1, Ordering::SeqCst);
        })),
        ..TestOps::default()
    });
    handle.set_ops(ops.clone(), no_data()).unwrap();
    bench.fake.dma(1, Some(pasid), 0x1000, Access::Read).unwrap_err();
    std::thread::scope(|scope| {
        scope.spawn(|| faults(&bench.iommu));
        gate.wait();
        handle.unbind();
        let finished = finished.load(Ordering::SeqCst);
        platform.tap.end();
        assert_eq!(finished, 1);
    });
    // Late faults of the device find nobody.
    bench.fake.dma(1, Some(pasid), 0x1000, Access::Read).unwrap_err();
    assert_eq!(faults(&bench.iommu).records.len(), 1);
    assert_eq!(ops.faults().len(), 1);
    // Nor are the driver's things held on to.
    assert_eq!(Arc::strong_count(&ops), 1);
}

#[test]
fn clause_08_contexts_change_with_the_valid_bit_cleared() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.take_events();
    // The one change of a live context: exit swaps the page table.
    bench.iommu.mm_exit(&*mm).unwrap();
    let events = bench.fake.take_events();
    let cleared = position(&events, |event| is_context(event, false, 1));
    let root = position(&events, |event| matches!(event, Event::Store { value, .. } if value >> 60 != 0));
    let set = position(&events, |event| is_context(event, true, 1));
    assert!(cleared < root && root < set);
    assert!(events[cleared..root].contains(&Event::Fence));
    assert!(events[root..set].contains(&Event::Fence));
    drop(handle);
}

#[test]
fn enabling_and_disabling() {
    let bench = Bench::new();
    let iommu = &bench.iommu;
    let options = DeviceOptions::default();
    assert_eq!(iommu.enable_sva(1, options), Err(EnableError::AlreadyEnabled(1)));
    assert_eq!(iommu.enable_sva(256, options), Err(EnableError::DeviceId { device_id: 256, width: 8 }));
    for pasid_width in [0, 21] {
        let options = DeviceOptions { pasid_width, ..options };
        assert_eq!(iommu.enable_sva(5, options), Err(EnableError::PasidWidth(pasid_width)));
    }
    bench.fake.adjust(|knobs| knobs.allocations = 0);
    assert_eq!(iommu.enable_sva(5, options), Err(EnableError::OutOfMemory));
    bench.fake.adjust(|knobs| knobs.allocations = usize::MAX);

    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = iommu.bind(1, mm).unwrap();
    bench.fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read).unwrap();
    assert_eq!(iommu.disable_sva(1), Err(DisableError::Bound { device_id: 1, bonds: 1 }));
    let pasid = handle.pasid().get();
    handle.unbind();
    iommu.disable_sva(1).unwrap();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(NO_DEVICE));
    assert_eq!(iommu.disable_sva(1), Err(DisableError::NotEnabled(1)));
    iommu.enable_sva(1, options).unwrap();
    assert_eq!(bench.fake.dma(1, Some(pasid), 0x1000, Access::Read), Err(NOT_VALID));
}

#[test]
fn tables_are_returned_only_after_the_iommu_let_go_of_them() {
    let bench = Bench::new();
    bench.iommu.bind(1, bench.mm()).unwrap().unbind();
    bench.fake.take_events();
    bench.iommu.disable_sva(1).unwrap();
    let events = bench.fake.take_events();
    let freed: Vec<_> = (0..).zip(&events).filter(|(_, event)| matches!(event, Event::Free { .. })).collect();
    // Root, one middle and one leaf table.
    assert_eq!(freed.len(), 3);
    let fenced = position(&events, |event| matches!(event, Event::Command(Command::IofenceC { .. })));
    assert!(freed.iter().all(|(at, _)| *at > fenced));
}

#[test]
fn untagged_dma_passes_only_where_that_was_asked_for() {
    let bench = Bench::new();
    let options = DeviceOptions { untagged: crate::Untagged::PassThrough, ..DeviceOptions::default() };
    bench.iommu.enable_sva(5, options).unwrap();
    assert_eq!(bench.fake.dma(5, None, 0x1234, Access::Write), Ok(0x1234));
    assert_eq!(bench.fake.dma(5, Some(1), 0x1234, Access::Write), Err(NOT_VALID));
    assert_eq!(bench.fake.dma(1, None, 0x1234, Access::Write), Err(NOT_VALID));
}

#[test]
fn two_address_spaces_do_not_see_each_other() {
    let bench = Bench::new();
    let (a, b) = (bench.mm(), bench.mm());
    a.map(0x4000, 0x9000_0000, RW);
    b.map(0x4000, 0xa000_0000, RO);
    let of_a = bench.iommu.bind(1, a).unwrap();
    let of_b = bench.iommu.bind(1, b).unwrap();
    let dma = |pasid: crate::Pasid, access| bench.fake.dma(1, Some(pasid.get()), 0x4000, access);
    assert_eq!(dma(of_a.pasid(), Access::Read), Ok(0x9000_0000));
    assert_eq!(dma(of_b.pasid(), Access::Read), Ok(0xa000_0000));
    assert_eq!(dma(of_b.pasid(), Access::Write), Err(WRITE_FAULT));
    assert_eq!(bench.fake.dma(2, Some(of_a.pasid().get()), 0x4000, Access::Read), Err(NOT_VALID));
}
