//! Clause 17 and the life of a device: page requests and ATS taken away, reset, removal, surprise loss.

use super::*;
use crate::{
    BindError, CommandError, DeviceError, DeviceState, DisableError,
    fake::{Access, Reached},
};

#[test]
fn clause_17_disabling_answers_everything_pending_with_invalid() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|_, _| Resolution::NotNow);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    let bystander = bench.iommu.bind(2, bench.mm().resolve_with(populate)).unwrap();
    bench.fake.page_request(request(1, pasid, 1, 0x1000));
    bench.iommu.service_page_requests(10);
    bench.fake.page_request(request(1, pasid, 2, 0x1000));
    bench.fake.page_request(request(2, bystander.pasid(), 3, 0x1000));
    bench.fake.page_request(part(1, pasid, 4, 0x1000));
    bench.fake.page_request(stop_marker(1, pasid));
    bench.iommu.disable_pri(1).unwrap();
    let mut answers = bench.answers(1);
    answers.sort();
    assert_eq!(answers, [(1, INVALID), (2, INVALID)]);
    // From here on the IOMMU refuses by itself.
    bench.fake.page_request(request(1, pasid, 5, 0x1000));
    let [response] = bench.responses(1)[..] else { panic!() };
    assert!(response.automatic);
    // Disabled is disabled; the bond stays, and others go on.
    bench.iommu.disable_pri(1).unwrap();
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(2), [(3, SUCCESS)]);
    assert_eq!(mm.asked(), [0x1000]);
    assert_eq!(
        bench.iommu.device_state(1),
        Some(DeviceState { bonds: 1, ats: true, page_requests: false, cut_off: false })
    );
    // And on again.
    bench.iommu.enable_pri(1, PriOptions::default()).unwrap();
    bench.fake.page_request(request(1, pasid, 6, 0x1000));
    assert_eq!(bench.iommu.service_page_requests(10).deferred, 1);
    handle.unbind();
}

#[test]
fn clause_17_late_answers_do_nothing() {
    let bench = Bench::with_ats();
    let inside = Arc::new(std::sync::Barrier::new(2));
    let release = Arc::new(std::sync::Barrier::new(2));
    let (gate, held) = (inside.clone(), release.clone());
    let mm = bench.mm().resolve_with(move |mm, access| {
        gate.wait();
        held.wait();
        populate(mm, access)
    });
    let handle = bench.iommu.bind(1, mm).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    std::thread::scope(|scope| {
        scope.spawn(|| bench.iommu.service_page_requests(10));
        inside.wait();
        // It does not wait for the handler, which may wait for whoever removes the device.
        bench.iommu.disable_pri(1).unwrap();
        assert_eq!(bench.answers(1), [(1, INVALID)]);
        release.wait();
    });
    assert_eq!(bench.answers(1), []);
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.responses_late, statistics.responses_success), (1, 0));
}

#[test]
fn clause_17_removal_takes_page_requests_and_ats_away_first() {
    let bench = Bench::with_ats();
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let pasid = handle.pasid();
    assert_eq!(bench.iommu.disable_sva(1), Err(DisableError::Bound { device_id: 1, bonds: 1 }));
    assert_eq!(
        bench.fake.access(1, Some(pasid.get()), 0x1000, Access::Read),
        Reached::Memory(TARGET),
        "nothing has changed"
    );
    handle.unbind();
    bench.fake.page_request(request(1, pasid, 1, 0x1000));
    bench.fake.take_events();
    bench.iommu.disable_sva(1).unwrap();
    let commands = bench.fake.take_commands();
    assert_eq!(bench.answers(1), [(1, INVALID)]);
    let invalidations = commands.iter().filter(|it| matches!(it, Command::AtsInval { .. })).count();
    assert_eq!(invalidations, 2, "with and without PASID");
    assert_eq!(bench.iommu.device_state(1), None);
    bench.add(1, Behaviour::default(), PriOptions::default());
}

#[test]
fn clause_17_ats_taken_away_while_bound() {
    let bench = Bench::with_ats();
    let (mm, handle, pasid) = bench.reached(Access::Read);
    bench.iommu.disable_ats(1).unwrap();
    // Neither translation requests nor addresses that are remembered; the ordinary way works.
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::Refused(None));
    assert_eq!(bench.fake.translated(1, TARGET, Access::Read), Err(260));
    assert_eq!(bench.fake.dma(1, pasid, 0x1000, Access::Read), Ok(TARGET));
    bench.fake.take_events();
    bench.iommu.invalidate_range(&*mm, 0..0x2000, crate::Change::Leaves).unwrap();
    handle.unbind();
    assert!(!bench.fake.take_commands().iter().any(|it| matches!(it, Command::AtsInval { .. })));
}

#[test]
fn reset_in_mid_flight() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    let access = || bench.fake.access(1, Some(pasid.get()), 0x1000, Access::Write);
    bench.fake.page_request(request(1, pasid, 1, 0x1000));
    bench.iommu.cut_off(1).unwrap();
    assert_eq!(bench.answers(1), [(1, INVALID)]);
    assert_eq!(access(), Reached::Refused(None));
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap_err(), BindError::DeviceLeaving(1));
    // Another bond comes and goes meanwhile: the device is not asked for anything.
    bench.fake.attach(1, Behaviour { completes: false, ..Behaviour::default() });
    bench.iommu.invalidate_range(&*mm, 0..0x2000, crate::Change::Leaves).unwrap();
    assert_eq!(bench.iommu.statistics().device_timeouts, 0);
    bench.fake.reset_device(1);
    bench.fake.attach(1, Behaviour::default());
    bench.iommu.reinstate(1).unwrap();
    bench.iommu.reinstate(1).unwrap();
    // The bond is what it was.
    assert_eq!(access(), Reached::NoPage);
    bench.fake.page_request(request(1, pasid, 2, 0x1000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(2, SUCCESS)]);
    assert_eq!(access(), Reached::Memory(0x1_0000_1000));
    handle.unbind();
}

/// Device 1 has a request that is deferred and one that is in the queue, and is cut off because it completes no invalidation.
fn cut_off_for_silence() -> (Bench, crate::Handle) {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|_, _| Resolution::NotNow);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    bench.iommu.service_page_requests(10);
    bench.fake.page_request(request(1, handle.pasid(), 2, 0x1000));
    bench.fake.attach(1, Behaviour { completes: false, ..Behaviour::default() });
    bench.iommu.invalidate_range(&*mm, 0..0x1000, crate::Change::Leaves).unwrap();
    (bench, handle)
}

#[test]
fn reset_of_a_device_that_the_driver_cut_off_answers_nothing_afterwards() {
    let (bench, handle) = cut_off_for_silence();
    assert!(bench.iommu.device_state(1).unwrap().cut_off);
    bench.fake.reset_device(1);
    bench.fake.attach(1, Behaviour::default());
    bench.iommu.reinstate(1).unwrap();
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), []);
    assert_eq!(bench.iommu.statistics().responses_late, 2);
    bench.fake.page_request(request(1, handle.pasid(), 3, 0x1000));
    assert_eq!(bench.iommu.service_page_requests(10).deferred, 1);
}

#[test]
fn requests_of_a_device_that_the_driver_cut_off_are_answered_by_the_service() {
    let (bench, _handle) = cut_off_for_silence();
    bench.iommu.service_page_requests(10);
    let mut answers = bench.answers(1);
    answers.sort();
    assert_eq!(answers, [(1, INVALID), (2, INVALID)]);
}

#[test]
fn a_device_that_is_reset_while_it_is_asked_to_forget_is_not_held_to_it() {
    let (bench, platform) = waiting::bench_with_waits(config(), PriOptions::default());
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.attach(1, Behaviour { completes: false, ..Behaviour::default() });
    let (asked, iommu, fake) = (bench.iommu.clone(), bench.iommu.clone(), bench.fake.clone());
    platform.tap.when(
        move || asked.statistics().device_invalidations > 0,
        move || {
            iommu.cut_off(1).unwrap();
            fake.reset_device(1);
            fake.attach(1, Behaviour::default());
            iommu.reinstate(1).unwrap();
        },
    );
    bench.iommu.invalidate_range(&*mm, 0..0x1000, crate::Change::Leaves).unwrap();
    assert!(platform.tap.is_done());
    assert!(!bench.iommu.device_state(1).unwrap().cut_off);
    assert_eq!(bench.iommu.statistics().device_timeouts, 0);
    handle.unbind();
}

#[test]
fn surprise_loss() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let stays = bench.iommu.bind(2, mm.clone()).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    bench.fake.detach(1);
    bench.iommu.cut_off(1).unwrap();
    let start = bench.fake.now();
    bench.iommu.invalidate_range(&*mm, 0..0x1000, crate::Change::Leaves).unwrap();
    bench.iommu.mm_exit(&*mm).unwrap();
    handle.unbind();
    bench.iommu.disable_sva(1).unwrap();
    assert!(bench.fake.now() - start < 200, "nobody waits for a device that is gone");
    assert_eq!(bench.iommu.statistics().device_timeouts, 0);
    stays.unbind();
    assert_eq!(bench.iommu.cut_off(1), Err(DeviceError::NotEnabled(1)));
}

#[test]
fn a_device_without_ats_can_be_cut_off_as_well() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let dma = || bench.fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read);
    assert_eq!(dma(), Ok(TARGET));
    bench.iommu.cut_off(1).unwrap();
    assert_eq!(dma(), Err(NO_DEVICE));
    bench.iommu.reinstate(1).unwrap();
    assert_eq!(dma(), Ok(TARGET));
}

#[test]
fn a_cut_that_is_not_confirmed_is_reported_and_made_good_before_reinstating() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    let handle = bench.iommu.bind(1, mm).unwrap();
    let dma = || bench.fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read);
    assert_eq!(dma(), Ok(TARGET));
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    let timeout = Err(DeviceError::Command(CommandError::Timeout));
    assert_eq!(bench.iommu.cut_off(1), timeout);
    assert_eq!(bench.iommu.reinstate(1), timeout);
    assert!(bench.iommu.device_state(1).unwrap().cut_off);
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    bench.iommu.cut_off(1).unwrap();
    assert_eq!(dma(), Err(NO_DEVICE));
    bench.iommu.reinstate(1).unwrap();
    assert_eq!(dma(), Ok(TARGET));
}

#[test]
fn statistics_tell_what_happened() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    handle.set_ops(TestOps::new(), no_data()).unwrap();
    let again = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.dma(1, Some(handle.pasid().get()), 0x9000, Access::Read).unwrap_err();
    faults(&bench.iommu);
    bench.iommu.mm_exit(&*mm).unwrap();
    drop((handle, again));
    let statistics = bench.iommu.statistics();
    let expected = crate::Statistics {
        binds: 1,
        unbinds: 1,
        mm_exits: 1,
        faults_delivered: 1,
        device_invalidations: 2,
        fault_queue_high_water: 1,
        batches: statistics.batches,
        devices_muted: 1,
        ..crate::Statistics::default()
    };
    assert_eq!(statistics, expected);
    assert!(statistics.entries().any(|entry| entry == ("faults_delivered", 1)));
}
