//! Races, explored: shuttle runs each test under many interleavings of its threads, chosen at random and by a
//! scheduler that looks for rare orders. A failure prints the schedule that leads to it, for `shuttle::replay`.
//! `SCHEDULES=n` is how many of each kind, 100 otherwise; `SEED=n` chooses others, and repeats them.
//!
//! Threads can be interrupted wherever the driver takes or releases a lock, touches a register, or waits. What
//! happens between two such points is one step; the few atomics that the driver has are next to them.

use super::*;
use crate::{BindError, Change, Handle, PasidSpace, fake::Access};
use shuttle::{Config as Shuttle, Runner, scheduler, thread};
use std::{boxed::Box, cell::Cell, sync::atomic::AtomicBool};

std::thread_local! {
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
}

/// Lets another thread run.
fn step() {
    if EXPLORING.get() {
        thread::yield_now();
    } else {
        std::thread::yield_now();
    }
}

/// A number for what runs: the thread, or the task that is explored.
pub(crate) fn flow() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(1);
    std::thread_local! {
        static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
    }
    if EXPLORING.get() {
        usize::MAX / 2 + usize::from(shuttle::current::me())
    } else {
        THREAD.with(|thread| *thread)
    }
}

/// What the driver's locks do in tests when they are taken.
pub(crate) struct Contended;

impl spin::RelaxStrategy for Contended {
    fn relax() {
        step();
    }
}

/// The fake machine, at which threads can be interrupted.
pub(crate) struct Explored(pub(crate) Arc<Fake>);

// SAFETY: the fake's own methods are safe.
unsafe impl Platform for Explored {
    unsafe fn read32(&self, offset: u32) -> u32 {
        step();
        self.0.read32(offset)
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        step();
        self.0.read64(offset)
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        step();
        self.0.write32(offset, value);
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        step();
        self.0.write64(offset, value);
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.0.alloc(bytes, align)
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        self.0.free(paddr, bytes);
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        self.0.load64(paddr)
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        self.0.store64(paddr, value);
    }
    fn fence(&self) {
        self.0.fence();
    }
    fn now(&self) -> u64 {
        self.0.now()
    }
    fn relax(&self) {
        step();
        self.0.relax();
    }
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        self.0.context()
    }
    fn mask(&self) -> usize {
        step();
        0
    }
    fn unmask(&self, _: usize) {
        step();
    }
}

/// How many interleavings of each kind, unless `SCHEDULES` says otherwise.
const INTERLEAVINGS: usize = 100;

/// A number of the environment.
fn variable(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| match text.parse() {
        Ok(number) => number,
        Err(_) => panic!("{name}={text} is not a number"),
    })
}

/// Runs `test` under many interleavings.
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let mut config = Shuttle::new();
    config.stack_size = 1 << 20;
    config.max_steps = shuttle::MaxSteps::FailAfter(4_000_000);
    let (count, seed) = (variable("SCHEDULES", INTERLEAVINGS as u64) as usize, variable("SEED", 1));
    std::println!("SEED={seed} SCHEDULES={count}");
    EXPLORING.set(true);
    Runner::new(scheduler::RandomScheduler::new_from_seed(seed, count), config.clone()).run(test.clone());
    Runner::new(scheduler::PctScheduler::new_from_seed(seed, 3, count), config).run(test);
    EXPLORING.set(false);
}

/// The two devices of [`Bench::with_ats`], on a machine that can be explored. Nothing times out: the clock goes
/// on whoever waits.
fn bench(pasids: &Arc<PasidSpace>) -> Arc<Bench> {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let config = Config {
        timeout: 1 << 40,
        device_timeout: 1 << 40,
        pasids: Some(pasids.clone()),
        command_queue_log2: 4,
        fault_queue_log2: 4,
        page_request_queue_log2: 4,
        ..Config::default()
    };
    fake.adjust(|knobs| knobs.ats_timeout = 1 << 30);
    let iommu = Iommu::new(Arc::new(Explored(fake.clone())), config).expect("the fake works");
    let bench = Bench { fake, iommu };
    for device in [1, 2] {
        bench.add(device, Behaviour::default(), PriOptions { outstanding: 8, ..PriOptions::default() });
    }
    Arc::new(bench)
}

type Thread = thread::JoinHandle<()>;

fn service(bench: &Arc<Bench>, calls: usize) -> Thread {
    let bench = bench.clone();
    thread::spawn(move || (0..calls).for_each(|_| _ = bench.iommu.service_page_requests(4)))
}

/// Everything that was asked for has been answered, once.
fn settle(bench: &Bench, device: u32, groups: usize) -> Vec<(u16, u8)> {
    bench.iommu.service_page_requests(100);
    let answers = bench.answers(device);
    assert_eq!((answers.len(), bench.fake.unanswered(device)), (groups, 0), "{answers:?}");
    answers
}

#[test]
fn clause_01_bonds_are_shared_and_torn_down_once() {
    explore(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = bench(&pasids);
        let mm = bench.mm();
        mm.map(0x1000, 0x9000_0000, RW);
        let threads: Vec<Thread> = (0..3)
            .map(|number| {
                let (bench, mm) = (bench.clone(), mm.clone());
                thread::spawn(move || {
                    for _ in 0..2 {
                        let handle = bench.iommu.bind(1 + number % 2, mm.clone()).unwrap();
                        let pasid = Some(handle.pasid().get());
                        let reached = bench.fake.dma(handle.device_id(), pasid, 0x1000, Access::Read);
                        assert_eq!(reached, Ok(0x9000_0000));
                        handle.unbind();
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let statistics = bench.iommu.statistics();
        assert_eq!(statistics.binds, statistics.unbinds);
        let pasid = mm.sva.pasid().map(crate::Pasid::get);
        assert_eq!(bench.fake.dma(1, pasid, 0x1000, Access::Read), Err(NOT_VALID));
        drop(mm);
        assert_eq!(pasids.in_use(), 0, "{statistics:?}");
    });
}

#[test]
fn clause_07_no_handler_runs_after_unbind() {
    explore(|| {
        let bench = bench(&Arc::new(PasidSpace::default()));
        let gone = Arc::new(AtomicBool::new(false));
        let (asked, told) = (gone.clone(), gone.clone());
        let mm = bench.mm().resolve_with(move |mm, access| {
            step();
            assert!(!asked.load(Ordering::SeqCst), "asked after unbind");
            if access.address == 0x2000 { Resolution::Failure } else { populate(mm, access) }
        });
        let handle = bench.iommu.bind(1, mm).unwrap();
        let ops = Arc::new(TestOps {
            on_fault: Some(Box::new(move |_| {
                step();
                assert!(!told.load(Ordering::SeqCst), "called after unbind");
            })),
            ..TestOps::default()
        });
        handle.set_ops(ops.clone(), no_data()).unwrap();
        let pasid = handle.pasid();
        let services = [service(&bench, 3), service(&bench, 3)];
        for index in 0..4 {
            bench.fake.page_request(request(1, pasid, index, u64::from(index) << 12));
            step();
        }
        _ = bench.fake.dma(1, Some(pasid.get()), 0x7000, Access::Write);
        let faults = {
            let bench = bench.clone();
            thread::spawn(move || _ = bench.iommu.service_faults(|_| ()))
        };
        handle.unbind();
        gone.store(true, Ordering::SeqCst);
        assert_eq!(Arc::strong_count(&ops), 1);
        // A device that goes on all the same.
        bench.fake.page_request(request(1, pasid, 4, 0x1000));
        services.into_iter().chain([faults]).for_each(|thread| thread.join().unwrap());
        let answers = settle(&bench, 1, 5);
        assert!(answers.contains(&(4, INVALID)));
    });
}

#[test]
fn clause_07_a_reused_pasid_never_meets_requests_of_its_past() {
    explore(|| {
        let pasids = Arc::new(PasidSpace::new(1));
        let bench = bench(&pasids);
        let old = bench.mm().resolve_with(populate);
        let handle = bench.iommu.bind(1, old.clone()).unwrap();
        let pasid = handle.pasid();
        let services = [service(&bench, 3), service(&bench, 2)];
        (0..3).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
        handle.unbind();
        drop(old);
        let new = bench.mm().resolve_with(|mm, access| {
            assert_eq!(access.address, 0x2000, "a request for the address space before");
            populate(mm, access)
        });
        // The one PASID there is may still be held by a service that lets go of the old bond.
        let handle = loop {
            match bench.iommu.bind(1, new.clone()) {
                Ok(handle) => break handle,
                Err(error) => assert_eq!(error, BindError::PasidsExhausted),
            }
            step();
        };
        assert_eq!(handle.pasid(), pasid);
        bench.fake.page_request(request(1, pasid, 9, 0x2000));
        services.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(settle(&bench, 1, 4).contains(&(9, SUCCESS)));
    });
}

#[test]
fn clause_09_exit_against_bind_unbind_faults_and_page_requests() {
    explore(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = bench(&pasids);
        let mm = bench.mm().resolve_with(populate);
        let ops = TestOps::new();
        let bonds = Arc::new(AtomicUsize::new(0));
        let binders = [(1, 1), (2, 1), (2, 2)].map(|(device, index)| {
            let (bench, mm, ops, bonds) = (bench.clone(), mm.clone(), ops.clone(), bonds.clone());
            thread::spawn(move || {
                let handle: Handle = match bench.iommu.bind(device, mm) {
                    Ok(handle) => handle,
                    Err(error) => return assert_eq!(error, BindError::MmExited),
                };
                if handle.set_ops(ops, bench.fake.clone()).is_ok() {
                    bonds.fetch_add(1, Ordering::SeqCst);
                }
                let pasid = handle.pasid();
                bench.fake.page_request(request(device, pasid, index, 0x1000));
                _ = bench.fake.access(device, Some(pasid.get()), 0x1000, Access::Read);
                handle.unbind();
            })
        });
        let exit = {
            let (bench, mm) = (bench.clone(), mm.clone());
            thread::spawn(move || bench.iommu.mm_exit(&*mm).unwrap())
        };
        let services = [service(&bench, 2), exit];
        binders.into_iter().chain(services).for_each(|thread| thread.join().unwrap());
        assert!(ops.exits() <= bonds.load(Ordering::SeqCst));
        bench.iommu.service_page_requests(100);
        bench.fake.run_for(20);
        assert_eq!((bench.fake.unanswered(1), bench.fake.unanswered(2)), (0, 0));
        assert_eq!(bench.iommu.bind(1, mm.clone()).unwrap_err(), BindError::MmExited);
        assert_eq!((Arc::strong_count(&ops), Arc::strong_count(&mm)), (1, 1));
        drop(mm);
        assert_eq!(pasids.in_use(), 0);
    });
}

#[test]
fn clause_12_groups_are_answered_once_by_however_many_threads() {
    explore(|| {
        let bench = bench(&Arc::new(PasidSpace::default()));
        let later = Arc::new(AtomicUsize::new(0));
        let mm = bench.mm().resolve_with(move |mm, access| {
            step();
            // Every third is put off.
            if later.fetch_add(1, Ordering::SeqCst) % 3 == 2 {
                return Resolution::NotNow;
            }
            populate(mm, access)
        });
        let handle = bench.iommu.bind(1, mm).unwrap();
        let pasid = handle.pasid();
        let interrupt = {
            let bench = bench.clone();
            thread::spawn(move || (0..3).for_each(|_| _ = bench.iommu.receive_page_requests()))
        };
        let services = [service(&bench, 2), service(&bench, 2), interrupt];
        for index in 0..3 {
            bench.fake.page_request(part(1, pasid, index, 0x1000));
            step();
            bench.fake.page_request(request(1, pasid, index, 0x2000));
        }
        services.into_iter().for_each(|thread| thread.join().unwrap());
        while bench.fake.unanswered(1) > 0 {
            bench.iommu.service_page_requests(100);
            bench.fake.run_for(5);
        }
        assert_eq!(settle(&bench, 1, 3).len(), 3);
        handle.unbind();
    });
}

#[test]
fn clause_17_disabling_and_cutting_off_against_the_service() {
    for cut in [false, true] {
        explore(move || {
            let bench = bench(&Arc::new(PasidSpace::default()));
            let mm = bench.mm().resolve_with(|mm, access| {
                step();
                populate(mm, access)
            });
            let handle = bench.iommu.bind(1, mm.clone()).unwrap();
            let pasid = handle.pasid();
            let services = [service(&bench, 2), service(&bench, 2)];
            // Half of them for a PASID that nobody has.
            let nobody = crate::Pasid::new(99).unwrap();
            for (index, pasid) in (0..).zip([pasid, nobody, pasid, nobody]) {
                bench.fake.page_request(request(1, pasid, index, 0x1000));
            }
            if cut {
                bench.iommu.cut_off(1).unwrap();
            } else {
                bench.iommu.disable_pri(1).unwrap();
            }
            // All that was asked for before has been answered by now.
            bench.fake.run_for(20);
            assert_eq!(bench.fake.unanswered(1), 0);
            let invalidations = {
                let (bench, mm) = (bench.clone(), mm.clone());
                thread::spawn(move || {
                    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
                })
            };
            services.into_iter().chain([invalidations]).for_each(|thread| thread.join().unwrap());
            settle(&bench, 1, 4);
            if cut {
                bench.fake.reset_device(1);
                bench.iommu.reinstate(1).unwrap();
                bench.fake.page_request(request(1, pasid, 9, 0x1000));
                assert_eq!(settle(&bench, 1, 1), [(9, SUCCESS)]);
            }
            handle.unbind();
            bench.iommu.disable_sva(1).unwrap();
        });
    }
}

#[test]
fn clause_19_nothing_stale_is_reached_after_an_invalidation() {
    explore(|| {
        let bench = bench(&Arc::new(PasidSpace::default()));
        let mm = bench.mm();
        mm.map(0x1000, 0x9000_0000, RW);
        let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
        let pasid = Some(handles[0].pasid().get());
        let unmapped = Arc::new(AtomicBool::new(false));
        let devices = [1, 2].map(|device| {
            let (bench, unmapped) = (bench.clone(), unmapped.clone());
            thread::spawn(move || {
                for _ in 0..6 {
                    let late = unmapped.load(Ordering::SeqCst);
                    let reached = bench.fake.access(device, pasid, 0x1000, Access::Write);
                    let stale = reached == crate::fake::Reached::Memory(0x9000_0000);
                    assert!(!(late && stale), "device {device} reaches what was unmapped");
                    step();
                }
            })
        });
        let [first, second] = handles;
        let unbind = thread::spawn(move || first.unbind());
        mm.unmap(0x1000);
        bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
        unmapped.store(true, Ordering::SeqCst);
        devices.into_iter().chain([unbind]).for_each(|thread| thread.join().unwrap());
        second.unbind();
    });
}

#[test]
fn clause_09_exits_that_drop_each_others_handles() {
    explore(|| {
        let pasids = Arc::new(PasidSpace::default());
        let bench = bench(&pasids);
        let mms = [bench.mm(), bench.mm()];
        let slots: [Arc<Mutex<Option<Handle>>>; 2] = Default::default();
        let data = no_data();
        for number in [0, 1] {
            let handle = bench.iommu.bind(1 + number as u32, mms[number].clone()).unwrap();
            let other = slots[1 - number].clone();
            let ops = TestOps {
                on_exit: Some(Box::new(move |_| {
                    step();
                    let handle = other.lock().unwrap().take();
                    drop(handle);
                })),
                ..TestOps::default()
            };
            handle.set_ops(Arc::new(ops), data.clone()).unwrap();
            *slots[number].lock().unwrap() = Some(handle);
        }
        let exits = [0, 1, 0].map(|number| {
            let (bench, mm) = (bench.clone(), mms[number].clone());
            thread::spawn(move || bench.iommu.mm_exit(&*mm).unwrap())
        });
        exits.into_iter().for_each(|thread| thread.join().unwrap());
        for slot in slots {
            let handle = slot.lock().unwrap().take();
            drop(handle);
        }
        bench.iommu.bind(1, bench.mm()).unwrap().unbind();
        assert_eq!((Arc::strong_count(&data), mms.each_ref().map(Arc::strong_count)), (1, [1, 1]));
        drop(mms);
        assert_eq!(pasids.in_use(), 0);
    });
}

#[test]
fn clause_20_batches_of_many_tasks_through_a_queue_that_stops() {
    explore(|| {
        let bench = bench(&Arc::new(PasidSpace::default()));
        let mm = bench.mm();
        let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
        let tasks: Vec<Thread> = (0..4u64)
            .map(|number| {
                let (bench, mm) = (bench.clone(), mm.clone());
                thread::spawn(move || {
                    if number == 0 {
                        bench.fake.adjust(|knobs| knobs.fetch_faults = 1);
                    }
                    let range = 0..(1 + number) * PAGE;
                    bench.iommu.invalidate_range(&*mm, range, Change::Leaves).unwrap();
                })
            })
            .collect();
        tasks.into_iter().for_each(|task| task.join().unwrap());
        drop(handles);
    });
}
