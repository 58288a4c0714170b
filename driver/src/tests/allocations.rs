//! Clauses 18 and 19: what may not allocate does not, what may copes with every failure, and nothing is allocated or
//! returned under a lock. The allocator of these tests counts, per thread, what is allocated outside the platform,
//! which is the fake machine's own affair, and can fail or call back.

use super::*;
use crate::{
    BindError, Change, DeviceError, EnableError, InitError, PasidSpace,
    fake::{Call, Tap, Tapped},
    lock::order,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    boxed::Box,
    cell::Cell,
    ptr::null_mut,
};

std::thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static PAUSES: Cell<usize> = const { Cell::new(0) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// How many allocations succeed before one fails.
    static FAIL_AFTER: Cell<Option<usize>> = const { Cell::new(None) };
    /// Allocations and returns of memory while a lock was held.
    static UNDER_LOCK: Cell<usize> = const { Cell::new(0) };
    /// What the allocator does to find memory.
    static RECLAIM: Cell<Option<&'static dyn Fn()>> = const { Cell::new(None) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn counts() -> bool {
    COUNTING.try_with(Cell::get).unwrap_or(false) && PAUSES.get() == 0
}

fn note_lock() {
    if order::any_lock_held() {
        UNDER_LOCK.set(UNDER_LOCK.get() + 1);
    }
}

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if counts() {
            note_lock();
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
            if let Some(reclaim) = RECLAIM.take() {
                reclaim();
                RECLAIM.set(Some(reclaim));
            }
            match FAIL_AFTER.get() {
                Some(0) => {
                    FAIL_AFTER.set(None);
                    return null_mut();
                }
                Some(left) => FAIL_AFTER.set(Some(left - 1)),
                None => {}
            }
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if counts() {
            note_lock();
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The fake machine's own allocations don't count.
struct Uncounted;

impl Tap for Uncounted {
    fn before(&self, _: Call) {
        PAUSES.set(PAUSES.get() + 1);
    }
    fn after(&self, _: Call) {
        PAUSES.set(PAUSES.get() - 1);
    }
}

/// How many allocations a call makes, none of them under a lock, and what it returns.
fn counted<R>(call: impl FnOnce() -> R) -> (usize, R) {
    ALLOCATIONS.set(0);
    UNDER_LOCK.set(0);
    COUNTING.set(true);
    let result = call();
    COUNTING.set(false);
    assert_eq!(UNDER_LOCK.get(), 0, "allocated or returned under a lock");
    (ALLOCATIONS.get(), result)
}

fn allocations(call: impl FnOnce()) -> usize {
    counted(call).0
}

/// The call with its allocation after `successes` failing.
fn failing<R>(successes: usize, call: impl FnOnce() -> R) -> R {
    FAIL_AFTER.set(Some(successes));
    let result = counted(call).1;
    FAIL_AFTER.set(None);
    result
}

fn on(fake: &Arc<Fake>, pasids: &Arc<PasidSpace>) -> (Arc<dyn Platform>, Config) {
    (Tapped::new(fake.clone(), Uncounted), Config { pasids: Some(pasids.clone()), ..config() })
}

fn bench() -> Bench {
    bench_with(1..20, &Arc::default())
}

fn bench_with(devices: core::ops::Range<u32>, pasids: &Arc<PasidSpace>) -> Bench {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let (platform, config) = on(&fake, pasids);
    let iommu = Iommu::new(platform, config).expect("the fake works");
    let bench = Bench { fake, iommu };
    for device in devices {
        bench.add(device, Behaviour::default(), PriOptions { outstanding: 4, ..PriOptions::default() });
    }
    bench
}

/// Callbacks that leave no traces.
struct Silent;

impl SvaOps for Silent {}

#[test]
fn clause_19_invalidation_allocates_nothing_even_if_a_device_is_cut_off() {
    assert_ne!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 0, "the allocator counts");
    let bench = bench();
    let mm = bench.mm();
    let handles: Vec<_> = (1..20).map(|device| bench.iommu.bind(device, mm.clone()).unwrap()).collect();
    let count = |change| allocations(|| bench.iommu.invalidate_range(&*mm, 0x1000..0x9000, change).unwrap());
    assert_eq!((count(Change::Leaves), count(Change::Tables)), (0, 0));
    bench.fake.attach(7, Behaviour { completes: false, ..Behaviour::default() });
    assert_eq!(count(Change::Leaves), 0);
    assert!(bench.iommu.device_state(7).unwrap().cut_off);
    drop(handles);
}

#[test]
fn clause_18_taking_requests_in_allocates_nothing_whatever_they_are() {
    let bench = bench();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    for index in 0..100 {
        bench.fake.page_request(part(1, handle.pasid(), index, 0x1000));
        bench.fake.page_request(request(1, handle.pasid(), index, 0x1000));
    }
    assert_eq!(allocations(|| assert!(bench.iommu.receive_page_requests())), 0);
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.page_requests, statistics.requests_excess), (200, 196));
}

#[test]
fn the_fault_service_allocates_nothing_with_callbacks_or_without() {
    let bench = bench();
    let handles = [1, 2].map(|device| bench.iommu.bind(device, bench.mm()).unwrap());
    handles[0].set_ops(Arc::new(Silent), no_data()).unwrap();
    for page in 0..50 {
        for handle in &handles {
            let pasid = Some(handle.pasid().get());
            bench.fake.dma(handle.device_id(), pasid, page * PAGE, Access::Read).unwrap_err();
        }
    }
    let (count, report) = counted(|| bench.iommu.service_faults(|_| ()));
    assert_eq!((count, report.records, bench.iommu.statistics().faults_delivered), (0, 100, 50));
}

/// Every call that is not to allocate, in the states in which it has most to do.
#[test]
fn only_what_adds_something_allocates() {
    let bench = bench();
    let (iommu, fake) = (&bench.iommu, &bench.fake);
    let mm = bench.mm().resolve_with(|mm, access| {
        PAUSES.set(PAUSES.get() + 1);
        let resolution = populate(mm, access);
        PAUSES.set(PAUSES.get() - 1);
        resolution
    });
    let first = iommu.bind(1, mm.clone()).unwrap();
    let other = iommu.bind(2, mm.clone()).unwrap();
    let pasid = first.pasid();
    let (ops, data) = (Arc::new(Silent), no_data());
    let mut expected = Vec::new();
    let mut none = |name: &str, count: usize| {
        if count != 0 {
            expected.push((std::string::String::from(name), count));
        }
    };
    let bound_again = mm.clone();
    let (count, again) = counted(|| iommu.bind(1, bound_again));
    none("bind of a pair that is bound", count);
    none("set_ops", allocations(|| first.set_ops(ops, data).unwrap()));
    (0..3).for_each(|index| fake.page_request(request(1, pasid, index, 0x1000)));
    // Its mm is asked, which keeps a list.
    mm.asked.lock().unwrap().reserve(10);
    none("service_page_requests", allocations(|| _ = iommu.service_page_requests(10)));
    (0..3).for_each(|index| fake.page_request(request(1, pasid, index, 0x1000)));
    none("unbind that is not the last", allocations(|| drop(again)));
    none("disable_pri", allocations(|| iommu.disable_pri(2).unwrap()));
    none("disable_ats", allocations(|| iommu.disable_ats(2).unwrap()));
    none("cut_off", allocations(|| iommu.cut_off(3).unwrap()));
    fake.reset_device(3);
    none("reinstate", allocations(|| iommu.reinstate(3).unwrap()));
    none("device_state", allocations(|| _ = iommu.device_state(1)));
    none("statistics", allocations(|| _ = iommu.statistics()));
    none("mm_exit", allocations(|| iommu.mm_exit(&*mm).unwrap()));
    none("mm_exit again", allocations(|| iommu.mm_exit(&*mm).unwrap()));
    none("unbind", allocations(|| first.unbind()));
    none("unbind", allocations(|| other.unbind()));
    none("disable_sva", allocations(|| iommu.disable_sva(1).unwrap()));
    none("Iommu::clone", allocations(|| drop(iommu.clone())));
    assert_eq!(expected, []);
}

#[test]
fn bring_up_survives_every_failing_allocation() {
    let pasids = Arc::new(PasidSpace::default());
    for all in 0.. {
        let fake = Fake::with_capabilities(CAPABILITIES_ATS);
        let (platform, config) = on(&fake, &pasids);
        let (count, iommu) = counted(|| Iommu::new(platform, config));
        drop(iommu);
        assert_eq!(fake.allocations(), []);
        let (platform, config) = on(&fake, &pasids);
        let result = failing(all, || Iommu::new(platform, config));
        if all == count {
            assert!(result.is_ok() && count > 3, "{count} allocations");
            break;
        }
        assert_eq!(result.err(), Some(InitError::OutOfMemory));
        assert_eq!((fake.allocations(), fake.violations()), (vec![], vec![]));
    }
}

/// Makes each allocation of `call` fail in turn, on a new bench each time, then looks whether the same call works, and
/// whether everything is as it was once it has been undone. First those from the allocator, then those from the
/// platform. Returns how many there were of both.
fn each_failure<R>(
    devices: core::ops::Range<u32>,
    call: impl Fn(&Bench, &Arc<TestMm>) -> Result<R, std::string::String>,
    undo: impl Fn(&Bench),
) -> usize {
    each_failure_of(false, &devices, &call, &undo) + each_failure_of(true, &devices, &call, &undo)
}

fn each_failure_of<R>(
    platform: bool,
    devices: &core::ops::Range<u32>,
    call: &impl Fn(&Bench, &Arc<TestMm>) -> Result<R, std::string::String>,
    undo: &impl Fn(&Bench),
) -> usize {
    for successes in 0.. {
        let pasids = Arc::new(PasidSpace::default());
        let bench = bench_with(devices.clone(), &pasids);
        let (mm, before) = (bench.mm(), bench.iommu.statistics());
        let chunks = bench.fake.allocations();
        let first = if platform {
            bench.fake.adjust(|knobs| knobs.allocations = successes);
            let result = counted(|| call(&bench, &mm).map(drop)).1;
            bench.fake.adjust(|knobs| knobs.allocations = usize::MAX);
            result
        } else {
            failing(successes, || call(&bench, &mm).map(drop))
        };
        if let Err(error) = &first {
            assert_eq!(error, "OutOfMemory");
            assert_eq!(bench.iommu.statistics().binds, before.binds);
            call(&bench, &mm).map(drop).expect("it works with memory");
        }
        undo(&bench);
        drop(mm);
        assert_eq!(pasids.in_use(), 0);
        assert!(bench.fake.allocations().len() <= chunks.len() + 3, "tables of directories may stay");
        if first.is_ok() {
            return successes;
        }
    }
    unreachable!()
}

#[test]
fn enabling_and_binding_survive_every_failing_allocation() {
    let text = |error: &dyn core::fmt::Debug| std::format!("{error:?}");
    let enabled = each_failure(
        0..0,
        |bench, _| {
            bench.iommu.enable_sva(1, DeviceOptions::default()).map_err(|error: EnableError| text(&error))
        },
        |bench| bench.iommu.disable_sva(1).unwrap(),
    );
    // Room for another device than the ones there are.
    let more = each_failure(
        1..9,
        |bench, _| bench.iommu.enable_sva(9, DeviceOptions::default()).map_err(|error| text(&error)),
        |bench| bench.iommu.disable_sva(9).unwrap(),
    );
    let pri = each_failure(
        1..9,
        |bench, _| {
            bench.iommu.disable_pri(1).unwrap();
            let options = PriOptions { outstanding: 9, ..PriOptions::default() };
            bench.iommu.enable_pri(1, options).map_err(|error: DeviceError| text(&error))
        },
        |bench| bench.iommu.disable_pri(1).unwrap(),
    );
    let bound = each_failure(
        1..9,
        |bench, mm| bench.iommu.bind(1, mm.clone()).map_err(|error: BindError| text(&error)),
        |_| (),
    );
    assert!([enabled, more, pri, bound].iter().all(|&count| count > 2), "{:?}", [enabled, more, pri, bound]);
}

#[test]
fn an_allocator_may_invalidate_to_find_memory() {
    let bench: &'static Bench = Box::leak(Box::new(bench_with(1..9, &Arc::default())));
    let (mm, other) = (bench.mm(), bench.mm());
    let victim = bench.iommu.bind(1, other.clone()).unwrap();
    let victim_mm: &'static TestMm = &*Box::leak(Box::new(other));
    let reclaim = move || {
        bench.iommu.invalidate_range(victim_mm, 0..PAGE, Change::Leaves).unwrap();
    };
    RECLAIM.set(Some(Box::leak(Box::new(reclaim))));
    let before = bench.iommu.statistics().invalidations;
    let (count, handles) = counted(|| {
        bench.iommu.enable_sva(9, DeviceOptions::default()).unwrap();
        [2, 3, 9].map(|device| bench.iommu.bind(device, mm.clone()).unwrap())
    });
    RECLAIM.set(None);
    assert_eq!(bench.iommu.statistics().invalidations - before, count);
    assert!(count > 5);
    drop((handles, victim));
}

#[test]
fn an_iommu_with_pasids_of_its_own_survives_every_failing_allocation() {
    for all in 0.. {
        let fake = Fake::with_capabilities(CAPABILITIES_ATS);
        let result = {
            let platform: Arc<dyn Platform> = Tapped::new(fake.clone(), Uncounted);
            failing(all, || Iommu::new(platform, config()))
        };
        match result {
            Ok(iommu) => {
                // They are as good as others.
                iommu.enable_sva(1, DeviceOptions::default()).unwrap();
                let mm = TestMm::new(&fake);
                let handle = iommu.bind(1, mm.clone()).unwrap();
                assert_eq!(handle.pasid().get(), 1);
                // And nobody else's.
                let other = Bench::new();
                assert_eq!(other.iommu.bind(1, mm.clone()).unwrap_err(), BindError::ForeignPasid);
                assert_eq!(other.iommu.bind(1, other.mm()).unwrap().pasid().get(), 1);
                assert!(all > 3, "{all} allocations");
                break;
            }
            Err(error) => assert_eq!(error, InitError::OutOfMemory),
        }
        assert_eq!((fake.allocations(), fake.violations()), (vec![], vec![]));
    }
}

/// Text that goes nowhere.
struct Nowhere;

impl core::fmt::Write for Nowhere {
    fn write_str(&mut self, _: &str) -> core::fmt::Result {
        Ok(())
    }
}

/// Values are made, copied and shown without memory: there is no way to tell that there is none.
#[test]
fn making_copying_and_showing_values_allocates_nothing() {
    use core::fmt::Write;
    let bench = bench();
    let (mm, given) = (bench.mm(), Arc::new(PasidSpace::default()));
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let count = allocations(|| {
        let config = Config { pasids: Some(given.clone()), ..Config::default() };
        drop((config.clone(), Config::default()));
        _ = (DeviceOptions::default(), AtsOptions::default(), PriOptions::default());
        drop((PasidSpace::new(9), PasidSpace::default(), MmSva::new(), MmSva::default()));
        _ = (FaultReport::default(), crate::PageRequestReport::default(), crate::Statistics::default());
        drop((bench.iommu.clone(), mm.clone()));
        _ = (bench.iommu.capabilities(), bench.iommu.statistics(), bench.iommu.device_state(1));
        _ = (handle.device_id(), handle.mm(), handle.mm_exited(), mm.sva.pasid(), given.in_use());
        write!(Nowhere, "{handle:?} {:?} {} {:?}", *handle, handle.pasid(), bench.iommu.statistics())
            .unwrap();
        write!(Nowhere, "{:?} {:?}", bench.iommu.device_state(1), bench.iommu.capabilities()).unwrap();
    });
    let errors = allocations(|| {
        let command = crate::CommandError::DeviceTimeout;
        let pasid = handle.pasid();
        write!(Nowhere, "{command} {command:?}").unwrap();
        for error in [
            InitError::Version(7),
            InitError::Features(1),
            InitError::Timeout("command queue"),
            InitError::Config { key: "timeout", value: 0, min: 1, max: 2 },
            command.into(),
        ] {
            write!(Nowhere, "{error} {error:?}").unwrap();
        }
        for error in [EnableError::DeviceId { device_id: 256, width: 8 }, EnableError::OutOfMemory] {
            write!(Nowhere, "{error} {error:?}").unwrap();
        }
        for error in [BindError::PasidTooWide { pasid, limit: 3 }, BindError::OutOfMemory] {
            write!(Nowhere, "{error} {error:?}").unwrap();
        }
        for error in [DeviceError::Bound { device_id: 1, bonds: 2 }, DeviceError::Command(command)] {
            write!(Nowhere, "{error} {error:?}").unwrap();
        }
        let disable = crate::DisableError::Bound { device_id: 1, bonds: 2 };
        write!(Nowhere, "{disable} {disable:?} {}", crate::SetOpsError::AlreadySet).unwrap();
    });
    assert_eq!((count, errors), (0, 0));
}
