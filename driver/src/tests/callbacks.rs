//! Clauses 7 and 9: callbacks that drop handles, and exits that meet.

use super::*;
use crate::PasidSpace;
use std::{
    boxed::Box,
    sync::{Barrier, atomic::AtomicBool},
    thread,
};
use waiting::in_time;

type Slot = Arc<Mutex<Option<Handle>>>;

fn dropping(slot: &Slot, before: impl Fn() + Send + Sync + 'static) -> Arc<TestOps> {
    let slot = slot.clone();
    Arc::new(TestOps {
        on_exit: Some(Box::new(move |_| {
            before();
            let handle = slot.lock().unwrap().take();
            drop(handle);
        })),
        ..TestOps::default()
    })
}

#[test]
fn clause_09_a_callback_may_drop_the_handles_of_the_other_bonds() {
    in_time(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..config() });
        let mm = bench.mm();
        let slots: [Slot; 2] =
            [1, 2].map(|device| Arc::new(Mutex::new(Some(bench.iommu.bind(device, mm.clone()).unwrap()))));
        let both = [dropping(&slots[1], || ()), dropping(&slots[0], || ())];
        for (slot, ops) in slots.iter().zip(&both) {
            slot.lock().unwrap().as_ref().unwrap().set_ops(ops.clone(), no_data()).unwrap();
        }
        bench.iommu.mm_exit(&*mm).unwrap();
        // The second bond was gone before it was its turn.
        assert_eq!(both.each_ref().map(|ops| ops.exits()), [1, 0]);
        for slot in &slots {
            let handle = slot.lock().unwrap().take();
            drop(handle);
        }
        drop(mm);
        assert_eq!(pasids.in_use(), 0);
    });
}

#[test]
fn clause_09_two_exits_may_drop_each_others_handles() {
    in_time(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = Arc::new(Bench::with(Config { pasids: Some(pasids.clone()), ..config() }));
        let (mms, slots) = ([bench.mm(), bench.mm()], [Slot::default(), Slot::default()]);
        let (barrier, data) = (Arc::new(Barrier::new(2)), no_data());
        for (number, mm) in mms.iter().enumerate() {
            let handle = bench.iommu.bind(1, mm.clone()).unwrap();
            // Both callbacks run before either drops the other's handle.
            let barrier = barrier.clone();
            let ops = dropping(&slots[1 - number], move || _ = barrier.wait());
            handle.set_ops(ops, data.clone()).unwrap();
            *slots[number].lock().unwrap() = Some(handle);
        }
        thread::scope(|scope| {
            for mm in &mms {
                let bench = &bench;
                scope.spawn(move || bench.iommu.mm_exit(&**mm).unwrap());
            }
        });
        // Nothing is left of either: the driver's data, the mm and the PASID have been let go of.
        bench.iommu.service_page_requests(1);
        let last = bench.iommu.bind(2, bench.mm()).unwrap();
        assert_eq!(Arc::strong_count(&data), 1);
        assert_eq!(mms.each_ref().map(Arc::strong_count), [1, 1]);
        drop((mms, last));
        assert_eq!(pasids.in_use(), 0);
    });
}

#[test]
fn clause_09_a_callback_may_drop_the_handle_of_its_own_bond() {
    in_time(|| {
        let bench = Bench::new();
        let (mm, slot) = (bench.mm(), Slot::default());
        let handle = bench.iommu.bind(1, mm.clone()).unwrap();
        let pasid = handle.pasid().get();
        let ops = dropping(&slot, || ());
        handle.set_ops(ops.clone(), no_data()).unwrap();
        *slot.lock().unwrap() = Some(handle);
        bench.iommu.mm_exit(&*mm).unwrap();
        assert_eq!((ops.exits(), Arc::strong_count(&ops), Arc::strong_count(&mm)), (1, 1, 1));
        assert_eq!(bench.fake.dma(1, Some(pasid), 0, Access::Read), Err(NOT_VALID));
    });
}

#[test]
fn clause_07_one_bonds_unbind_does_not_wait_for_anothers_callback() {
    in_time(|| {
        let bench = Arc::new(Bench::new());
        let mm = bench.mm();
        let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
        let (inside, go_on) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (entered, leave) = (inside.clone(), go_on.clone());
        let ops = Arc::new(TestOps {
            on_exit: Some(Box::new(move |_| {
                entered.wait();
                leave.wait();
            })),
            ..TestOps::default()
        });
        handles[0].set_ops(ops, no_data()).unwrap();
        let other_ops = TestOps::new();
        handles[1].set_ops(other_ops.clone(), no_data()).unwrap();
        thread::scope(|scope| {
            let (bench, mm) = (&bench, &mm);
            scope.spawn(move || bench.iommu.mm_exit(&**mm).unwrap());
            inside.wait();
            let [first, second] = handles;
            second.unbind();
            assert_eq!(other_ops.exits(), 0);
            go_on.wait();
            first.unbind();
        });
    });
}

#[test]
fn clause_09_a_second_exit_returns_when_the_callbacks_of_the_first_have() {
    in_time(|| {
        let (bench, platform) = waiting::bench_with_patience();
        let mm = bench.mm();
        let handle = bench.iommu.bind(1, mm.clone()).unwrap();
        let (inside, returned) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
        let (entered, returns, watch) = (inside.clone(), returned.clone(), platform.clone());
        let ops = Arc::new(TestOps {
            on_exit: Some(Box::new(move |_| {
                entered.wait();
                watch.tap.until_somebody_waits();
                returns.store(true, Ordering::SeqCst);
            })),
            ..TestOps::default()
        });
        handle.set_ops(ops, no_data()).unwrap();
        thread::scope(|scope| {
            let (bench, mm) = (&bench, &mm);
            scope.spawn(move || bench.iommu.mm_exit(&**mm).unwrap());
            inside.wait();
            bench.iommu.mm_exit(&**mm).unwrap();
            let returned = returned.load(Ordering::SeqCst);
            platform.tap.end();
            assert!(returned, "the page tables would be freed under the callback");
        });
    });
}

#[test]
fn clause_07_fault_callbacks_may_drop_each_others_handles() {
    in_time(|| {
        let bench = Arc::new(Bench::new());
        let (slots, barrier) = ([Slot::default(), Slot::default()], Arc::new(Barrier::new(2)));
        let data = no_data();
        for number in [0, 1] {
            let handle = bench.iommu.bind(1 + number as u32, bench.mm()).unwrap();
            let (other, barrier) = (slots[1 - number].clone(), barrier.clone());
            let ops = Arc::new(TestOps {
                on_fault: Some(Box::new(move |_| {
                    barrier.wait();
                    let handle = other.lock().unwrap().take();
                    drop(handle);
                })),
                ..TestOps::default()
            });
            bench.fake.dma(handle.device_id(), Some(handle.pasid().get()), 0, Access::Read).unwrap_err();
            handle.set_ops(ops, data.clone()).unwrap();
            *slots[number].lock().unwrap() = Some(handle);
        }
        thread::scope(|scope| {
            for _ in 0..2 {
                let bench = &bench;
                scope.spawn(move || while bench.iommu.service_faults(|_| ()).records == 0 {});
            }
        });
        bench.iommu.service_page_requests(1);
        assert!(slots.iter().all(|slot| slot.lock().unwrap().is_none()));
        bench.iommu.bind(1, bench.mm()).unwrap().unbind();
        assert_eq!(Arc::strong_count(&data), 1);
    });
}

/// Driver's data that owns handles.
#[derive(Default)]
struct Owner(Mutex<Vec<Handle>>);

/// Callbacks that own handles.
struct OwningOps(Owner);

impl SvaOps for OwningOps {}

#[test]
fn data_that_owns_its_handles_is_let_go_of_when_the_address_space_exits() {
    in_time(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..config() });
        let bonds = || [1, 2].map(|device| bench.iommu.device_state(device).unwrap().bonds);
        for in_ops in [false, true] {
            let mm = bench.mm();
            let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
            let (data, ops) = (Arc::new(Owner::default()), Arc::new(OwningOps(Owner::default())));
            let last = Arc::downgrade(&data);
            for handle in &handles {
                handle.set_ops(ops.clone(), data.clone()).unwrap();
            }
            let owner = if in_ops { &ops.0 } else { &*data };
            owner.0.lock().unwrap().extend(handles);
            drop((ops, data));
            // The bonds hold what holds them: they last as long as the address space.
            assert_eq!((bonds(), last.strong_count()), ([1, 1], 2));
            bench.iommu.mm_exit(&*mm).unwrap();
            assert_eq!((bonds(), last.strong_count(), Arc::strong_count(&mm)), ([0, 0], 0, 1));
            drop(mm);
            assert_eq!(pasids.in_use(), 0);
        }
    });
}

#[test]
fn data_that_somebody_else_refers_to_keeps_its_handle_after_exit() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let (data, ops) = (Arc::new(Owner::default()), TestOps::new());
    handle.set_ops(ops.clone(), data.clone()).unwrap();
    data.0.lock().unwrap().push(handle);
    bench.iommu.mm_exit(&*mm).unwrap();
    // The device driver is the only one left that knows of them, and it unbinds.
    assert_eq!((ops.exits(), Arc::strong_count(&data), Arc::strong_count(&ops)), (1, 1, 1));
    assert_eq!(bench.iommu.device_state(1).unwrap().bonds, 1);
    let late = data.0.lock().unwrap()[0].set_ops(ops.clone(), data.clone());
    assert_eq!(late, Err(crate::SetOpsError::MmExited));
    drop(data);
    assert_eq!(bench.iommu.device_state(1).unwrap().bonds, 0);
}

#[test]
fn an_exit_that_is_not_confirmed_lets_go_of_the_data_as_well() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let data = Arc::new(Owner::default());
    let last = Arc::downgrade(&data);
    handle.set_ops(TestOps::new(), data.clone()).unwrap();
    data.0.lock().unwrap().push(handle);
    drop(data);
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    assert_eq!(bench.iommu.mm_exit(&*mm), Err(crate::CommandError::Timeout));
    assert_eq!(last.strong_count(), 0);
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    bench.iommu.mm_exit(&*mm).unwrap();
}
