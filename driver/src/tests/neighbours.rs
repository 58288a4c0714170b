//! Clauses 7, 18 and 20: what a dead device costs other devices, and how waiting calls move each other's batches on.

use super::*;
use crate::{Change, CommandError, PasidSpace};
use std::{boxed::Box, sync::atomic::AtomicBool, thread};
use waiting::{bench_with_waits, in_time};

const DEAD: Behaviour =
    Behaviour { completes: false, delay: 2, forgets: false, wrong_tag: false, response_needs_pasid: false };

fn with_dead(dead: core::ops::Range<u32>, healthy: core::ops::Range<u32>, config: Config) -> Bench {
    let bench = Bench::with_ats_and(config, Behaviour::default(), PriOptions::default());
    dead.clone()
        .chain(healthy)
        .for_each(|device| bench.add(device, Behaviour::default(), PriOptions::default()));
    dead.for_each(|device| bench.fake.attach(device, DEAD));
    bench
}

/// The fake's ticks are shared by all threads, so each sees time pass faster: only the hardware's own timeouts count.
fn patient(pasids: &Arc<PasidSpace>) -> Config {
    let (timeout, device_timeout) = (1 << 40, 1 << 40);
    Config { timeout, device_timeout, pasids: Some(pasids.clone()), ..config() }
}

/// Has others end when this does, also by a panic.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn clause_20_dead_devices_fail_nobody_elses_commands_and_cost_no_pasids() {
    for dead in [1, 8] {
        let pasids = Arc::new(PasidSpace::default());
        let bench = with_dead(10..10 + dead, 30..34, patient(&pasids));
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let (bench, over) = (&bench, &over);
            let _ends = Ends(over);
            let dying: Vec<_> = (10..10 + dead)
                .map(|device| {
                    scope.spawn(move || {
                        // It times out again and again: each time it is reset, and let in again.
                        for round in 0..6 {
                            let mm = bench.mm();
                            let handle = bench.iommu.bind(device, mm.clone()).unwrap();
                            if round % 2 == 0 {
                                let range = 0..PAGE;
                                bench.iommu.invalidate_range(&*mm, range, Change::Leaves).unwrap();
                            }
                            handle.unbind();
                            assert!(bench.iommu.device_state(device).unwrap().cut_off);
                            bench.fake.reset_device(device);
                            bench.iommu.reinstate(device).unwrap();
                        }
                    })
                })
                .collect();
            for device in 30..34 {
                scope.spawn(move || {
                    while !over.load(Ordering::SeqCst) {
                        let mm = bench.mm();
                        let handle = bench.iommu.bind(device, mm.clone()).unwrap();
                        for change in [Change::Leaves, Change::Tables] {
                            let result = bench.iommu.invalidate_range(&*mm, 0..3 * PAGE, change);
                            assert_eq!(result, Ok(()));
                        }
                        handle.unbind();
                        assert!(!bench.iommu.device_state(device).unwrap().cut_off);
                    }
                });
            }
            dying.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert_eq!(bench.iommu.statistics().device_timeouts, 6 * dead as usize);
        assert_eq!(pasids.in_use(), 0, "PASIDs lost with {dead} dead devices");
    }
}

#[test]
fn clause_20_a_bind_does_not_wait_for_a_dead_devices_unbind() {
    in_time(|| {
        let (bench, platform) = bench_with_waits(config(), PriOptions::default());
        bench.add(30, Behaviour::default(), PriOptions::default());
        bench.fake.attach(1, DEAD);
        let handle = bench.iommu.bind(1, bench.mm()).unwrap();
        let (asked, iommu, mm) = (bench.iommu.clone(), bench.iommu.clone(), bench.mm());
        // The request is on its way, and will not be answered.
        platform.tap.when(
            move || asked.statistics().device_invalidations > 0,
            move || {
                // Another thread, as this one has a device's turn; the one that waits goes on when it is done.
                let other = thread::spawn(move || {
                    let healthy = iommu.bind(30, mm).unwrap();
                    iommu.enable_sva(40, DeviceOptions::default()).unwrap();
                    healthy.unbind();
                    assert_eq!(iommu.statistics().unbinds, 1);
                });
                other.join().unwrap();
            },
        );
        handle.unbind();
        assert!(platform.tap.is_done() && bench.iommu.device_state(1).unwrap().cut_off);
        assert_eq!(bench.iommu.statistics().unbinds, 2);
    });
}

#[test]
fn clause_20_batches_are_submitted_first_come_first_served() {
    let (bench, platform) =
        bench_with_waits(Config { command_queue_log2: 3, ..config() }, PriOptions::default());
    let mms = [bench.mm(), bench.mm(), bench.mm()];
    let _handles = mms.each_ref().map(|mm| bench.iommu.bind(1, mm.clone()).unwrap());
    bench.iommu.disable_ats(1).unwrap_or_default();
    let invalidate = |number: usize, pages: u64| {
        let (iommu, mm) = (bench.iommu.clone(), mms[number].clone());
        move || iommu.invalidate_range(&*mm, 0..pages * PAGE, Change::Leaves).unwrap()
    };
    // The second does not fit behind the first; the third would.
    platform.tap.next(invalidate(1, 5));
    platform.tap.next(invalidate(2, 1));
    bench.fake.take_events();
    invalidate(0, 4)();
    let order: Vec<u32> = bench
        .fake
        .take_commands()
        .iter()
        .filter_map(|command| match command {
            Command::IotinvalVma { pscid, .. } => *pscid,
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 1, 1, 1, 2, 2, 2, 2, 2, 3]);
}

#[test]
fn clause_18_the_service_ends_while_somebody_else_sends_refusals() {
    let config = Config { page_request_queue_log2: 3, ..config() };
    let (bench, platform) = bench_with_waits(config, PriOptions { outstanding: 1, ..PriOptions::default() });
    let handle = bench.iommu.bind(1, bench.mm().resolve_with(populate)).unwrap();
    let pasid = handle.pasid();
    let ask = |fake: &Fake, first: u16| {
        (first..first + 7).for_each(|index| fake.page_request(request(1, pasid, index, 0x1000)));
    };
    ask(&bench.fake, 0);
    let (iommu, fake, report) = (bench.iommu.clone(), bench.fake.clone(), Arc::new(Mutex::new(None)));
    let result = report.clone();
    let inner = move || {
        (20..27).for_each(|index| fake.page_request(request(1, pasid, index, 0x1000)));
        *result.lock().unwrap() = Some(iommu.service_page_requests(100));
    };
    platform.tap.next(inner);
    bench.iommu.service_page_requests(100);
    assert!(report.lock().unwrap().take().is_some_and(|report| report.more));
    while bench.iommu.service_page_requests(100).more {}
    assert_eq!((bench.answers(1).len(), bench.fake.unanswered(1)), (14, 0));
}

#[test]
fn clause_20_whoever_waits_for_a_dead_queue_waits_no_longer_for_the_company() {
    let (bench, platform) = bench_with_waits(config(), PriOptions::default());
    let mms: Vec<_> = (0..8).map(|_| bench.mm()).collect();
    let handles: Vec<_> = mms.iter().map(|mm| bench.iommu.bind(1, mm.clone()).unwrap()).collect();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    let waited = Arc::new(Mutex::new(vec![]));
    // Each begins while the one before it waits: all of them wait at once, and on one thread, so that time passes for nobody else.
    let mut calls: Vec<Box<dyn FnOnce() + Send>> = vec![];
    for mm in mms {
        let (iommu, fake, waited) = (bench.iommu.clone(), bench.fake.clone(), waited.clone());
        calls.push(Box::new(move || {
            let start = fake.now();
            let result = iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves);
            waited.lock().unwrap().push((result, fake.now() - start));
        }));
    }
    let outermost = calls.pop().unwrap();
    calls.into_iter().for_each(|call| platform.tap.next(call));
    outermost();
    let waited = waited.lock().unwrap();
    assert_eq!(waited.len(), 8);
    for (result, ticks) in &*waited {
        assert_eq!(*result, Err(CommandError::Timeout));
        assert!(*ticks < 3 * TIMEOUT, "one of eight waited {ticks} ticks");
    }
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    drop(handles);
}

#[test]
fn clause_20_a_queue_that_was_given_up_is_used_again_when_it_obeys() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let stuck =
        |stuck| bench.fake.adjust(|knobs| (knobs.commands_stall, knobs.queues_stuck) = (stuck, stuck));
    let invalidate = || bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves);
    stuck(true);
    assert_eq!([invalidate(), invalidate()], [Err(CommandError::QueueDead); 2]);
    stuck(false);
    bench.fake.run_for(10);
    assert_eq!(invalidate(), Ok(()));
    handle.unbind();
}
