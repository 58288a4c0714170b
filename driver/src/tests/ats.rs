//! ATS: translation caches of devices, and what happens to devices that don't keep theirs in order.

use super::*;
use crate::{
    Change, DeviceError, Statistics,
    fake::{Access, Completion, Message, Reached},
};
use pasidon_spec::message::InvalidationRequest;

/// The invalidation requests among the messages since the last call: device, PASID, first and last address.
fn invalidations(bench: &Bench) -> Vec<(u32, Option<u32>, (u64, u64))> {
    let events = bench.fake.take_events().into_iter();
    let messages = events.filter_map(|event| match event {
        Event::Message(Message::Invalidation { device_id, pasid, request, .. }) => {
            Some((device_id, pasid, request.bounds()))
        }
        _ => None,
    });
    messages.collect()
}

#[test]
fn a_device_reaches_memory_through_its_own_cache() {
    let bench = Bench::with_ats();
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RO);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = Some(handle.pasid().get());
    assert_eq!(bench.fake.access(1, pasid, 0x1008, Access::Read), Reached::Memory(TARGET + 8));
    assert_eq!(bench.fake.access(1, pasid, 0x1008, Access::Write), Reached::NoPage);
    assert_eq!(bench.fake.access(1, pasid, 0x2000, Access::Read), Reached::NoPage);
    // Without a PASID nothing is granted either.
    assert_eq!(bench.fake.access(1, None, 0x1000, Access::Read), Reached::NoPage);
    assert_eq!(faults(&bench.iommu).records, []);
}

#[test]
fn clause_07_teardown_makes_the_device_forget_before_the_fence() {
    let bench = Bench::with_ats();
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let _other = bench.iommu.bind(2, mm).unwrap();
    let pasid = handle.pasid().get();
    assert_eq!(bench.fake.access(1, Some(pasid), 0x1000, Access::Write), Reached::Memory(TARGET));
    bench.fake.take_events();
    handle.unbind();
    let commands = bench.fake.take_commands();
    let fence = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };
    let payload = InvalidationRequest { global: false, page: u64::MAX >> 13, napot: true }.encode();
    assert_eq!(
        commands,
        [
            Command::IodirInvalPdt { did: 1, pid: pasid },
            Command::IotinvalVma { gscid: None, pscid: Some(1), range: None },
            fence,
            Command::AtsInval { pid: Some(pasid), dseg: None, rid: 1, payload },
            fence,
        ]
    );
    // Neither the device's cache nor the IOMMU has anything left.
    assert_eq!(bench.fake.access(1, Some(pasid), 0x1000, Access::Write), Reached::NoPage);
}

#[test]
fn clause_10_after_exit_translation_requests_are_granted_nothing_and_nothing_is_logged() {
    let bench = Bench::with_ats();
    let (mm, handle, pasid) = bench.reached(Access::Read);
    bench.iommu.mm_exit(&*mm).unwrap();
    let nothing = Completion::Success { page: 0, read: false, write: false };
    assert_eq!(bench.fake.translation_request(1, pasid, 0x1000), nothing);
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::NoPage);
    let report = faults(&bench.iommu);
    assert_eq!((report.records.len(), report.suppressed), (0, 0));
    handle.unbind();
}

#[test]
fn clause_19_devices_forget_what_was_unmapped_before_the_page_is_reused() {
    let bench = Bench::with_ats();
    let (mm, other) = (bench.mm(), bench.mm());
    mm.map(0x1000, TARGET, RW);
    other.map(0x1000, TARGET + PAGE, RW);
    let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
    let theirs = bench.iommu.bind(1, other).unwrap();
    let pasid = Some(handles[0].pasid().get());
    for device in [1, 2] {
        assert_eq!(bench.fake.access(device, pasid, 0x1000, Access::Read), Reached::Memory(TARGET));
    }
    let stranger = || bench.fake.access(1, Some(theirs.pasid().get()), 0x1000, Access::Read);
    assert_eq!(stranger(), Reached::Memory(TARGET + PAGE));
    mm.unmap(0x1000);
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::Memory(TARGET), "cached");
    bench.fake.take_events();
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    for device in [1, 2] {
        assert_eq!(bench.fake.access(device, pasid, 0x1000, Access::Read), Reached::NoPage);
    }
    assert_eq!(invalidations(&bench), [(1, pasid, (0x1000, 0x1fff)), (2, pasid, (0x1000, 0x1fff))]);
    // A request that follows only after the IOMMU's own cache was confirmed empty.
    bench.iommu.invalidate_range(&*mm, 0x1000..0x8000, Change::Tables).unwrap();
    let commands = bench.fake.take_commands();
    let kinds: Vec<_> = commands.iter().map(core::mem::discriminant).collect();
    let [iotinval, fence, inval, _, _] = kinds[..] else { panic!("{commands:?}") };
    assert_eq!(kinds, [iotinval, fence, inval, inval, fence]);
    assert_eq!(stranger(), Reached::Memory(TARGET + PAGE));
}

#[test]
fn clause_19_a_device_whose_unbind_is_not_confirmed_goes_on_hearing_of_invalidations() {
    let bench = Bench::with_ats();
    let (mm, handle, pasid) = bench.reached(Access::Read);
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    handle.unbind();
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::Memory(TARGET), "remembered");
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::NoPage);
    // And not for ever.
    bench.fake.take_events();
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(invalidations(&bench), []);
}

#[test]
fn many_devices_and_few_tags() {
    let bench = Bench::with_ats();
    bench.fake.adjust(|knobs| knobs.itags = 1);
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    for device in 10..40 {
        bench.add(device, Behaviour::default(), PriOptions::default());
    }
    let handles: Vec<_> = (10..40).map(|device| bench.iommu.bind(device, mm.clone()).unwrap()).collect();
    let access = |device| bench.fake.access(device, Some(handles[0].pasid().get()), 0x1000, Access::Read);
    (10..40).for_each(|device| assert_eq!(access(device), Reached::Memory(TARGET)));
    mm.unmap(0x1000);
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    (10..40).for_each(|device| assert_eq!(access(device), Reached::NoPage));
    assert_eq!(bench.iommu.statistics().device_invalidations, 30);
}

#[test]
fn clause_20_a_device_that_never_completes_is_cut_off_and_everyone_else_goes_on() {
    for misbehaviour in [
        Behaviour { completes: false, forgets: false, ..Behaviour::default() },
        Behaviour { wrong_tag: true, forgets: false, ..Behaviour::default() },
        Behaviour { delay: u64::MAX >> 1, ..Behaviour::default() },
    ] {
        let bench = Bench::with_ats();
        let mm = bench.mm();
        mm.map(0x1000, TARGET, RW);
        let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
        let pasid = Some(handles[0].pasid().get());
        let access = |device| bench.fake.access(device, pasid, 0x1000, Access::Write);
        assert_eq!([1, 2].map(access), [Reached::Memory(TARGET); 2]);
        bench.fake.attach(1, misbehaviour);
        mm.unmap(0x1000);
        let start = bench.fake.now();
        // The page can be reused: the device may remember it, but can't reach it.
        bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
        let waited = bench.fake.now() - start;
        assert!(waited < 4 * 200 + 200, "waited {waited} ticks");
        assert!(matches!(access(1), Reached::Refused(Some(NO_DEVICE))), "{misbehaviour:?}");
        assert_eq!(access(2), Reached::NoPage);
        assert_eq!(bench.fake.dma(1, pasid, 0x1000, Access::Read), Err(NO_DEVICE));
        // It is reported,
        assert!(bench.iommu.device_state(1).unwrap().cut_off);
        assert!(!bench.iommu.device_state(2).unwrap().cut_off);
        let Statistics { device_timeouts, .. } = bench.iommu.statistics();
        assert_eq!(device_timeouts, 1);
        // never asked again, and can't be bound.
        bench.fake.take_events();
        let start = bench.fake.now();
        bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
        assert_eq!(invalidations(&bench), [(2, pasid, (0x1000, 0x1fff))]);
        assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap_err(), crate::BindError::DeviceLeaving(1));
        bench.iommu.bind(2, bench.mm()).unwrap().unbind();
        drop(handles);
        assert!(bench.fake.now() - start < 200);
        bench.iommu.disable_sva(1).unwrap();
    }
}

#[test]
fn clause_20_a_timeout_at_unbind_cuts_the_device_off_and_frees_the_pasid() {
    let pasids = Arc::new(crate::PasidSpace::default());
    let bench = Bench::with_ats_and(
        Config { pasids: Some(pasids.clone()), ..config() },
        Behaviour { completes: false, ..Behaviour::default() },
        PriOptions::default(),
    );
    let (mm, handle, pasid) = bench.reached(Access::Write);
    handle.unbind();
    assert!(bench.iommu.device_state(1).unwrap().cut_off);
    assert!(matches!(bench.fake.access(1, pasid, 0x1000, Access::Write), Reached::Refused(_)));
    drop(mm);
    assert_eq!(pasids.in_use(), 0);
}

#[test]
fn clause_20_a_straggler_of_an_earlier_queue_blames_nobody_else() {
    let (bench, platform) = waiting::bench_with_waits(config(), PriOptions::default());
    bench.add(2, Behaviour::default(), PriOptions::default());
    let mm = bench.mm();
    let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
    bench.fake.attach(1, Behaviour { completes: false, ..Behaviour::default() });
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let rounds = Arc::new(AtomicUsize::new(0));
    for _ in 0..5 {
        let (iommu, fake, other) = (bench.iommu.clone(), bench.fake.clone(), bench.mm());
        let (asked, idle, busy) = (bench.iommu.clone(), busy.clone(), busy.clone());
        let rounds = rounds.clone();
        // Restarts of the queue while an invalidation of device 1 is outstanding, one round after the other.
        platform.tap.when(
            move || asked.statistics().device_invalidations > 0 && !idle.load(Ordering::SeqCst),
            move || {
                busy.store(true, Ordering::SeqCst);
                fake.adjust(|knobs| knobs.fetch_faults = 1);
                let handle = iommu.bind(2, other.clone()).unwrap();
                _ = iommu.invalidate_range(&*other, 0..PAGE, Change::Leaves);
                handle.unbind();
                rounds.fetch_add(1, Ordering::SeqCst);
                busy.store(false, Ordering::SeqCst);
            },
        );
    }
    bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves).unwrap();
    assert_eq!((rounds.load(Ordering::SeqCst), platform.tap.is_done()), (5, true));
    bench.fake.adjust(|knobs| knobs.fetch_faults = 0);
    assert!(!bench.iommu.device_state(2).unwrap().cut_off);
    assert!(bench.iommu.device_state(1).unwrap().cut_off);
    drop(handles);
}

#[test]
fn a_device_that_lies_about_forgetting_is_still_kept_to_what_ats_lets_it_reach() {
    let bench = Bench::with_ats();
    bench.fake.attach(1, Behaviour { forgets: false, ..Behaviour::default() });
    let (mm, handle, pasid) = bench.reached(Access::Write);
    mm.unmap(0x1000);
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    // ATS is trust: nothing shows that it lied. Without ATS it gets nowhere.
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Write), Reached::Memory(TARGET));
    bench.iommu.disable_ats(1).unwrap();
    assert!(matches!(bench.fake.access(1, pasid, 0x1000, Access::Write), Reached::Refused(Some(260))));
    handle.unbind();
}

#[test]
fn ats_needs_an_iommu_that_has_it_and_an_idle_device() {
    let bench = Bench::new();
    assert_eq!(bench.iommu.enable_ats(1, AtsOptions::default()), Err(DeviceError::NotSupported));
    assert_eq!(bench.iommu.enable_pri(1, PriOptions::default()), Err(DeviceError::NotSupported));
    let report = bench.iommu.service_page_requests(10);
    assert_eq!(report, crate::PageRequestReport::default());

    let bench = Bench::with_ats();
    let iommu = &bench.iommu;
    assert_eq!(iommu.enable_ats(9, AtsOptions::default()), Err(DeviceError::NotEnabled(9)));
    assert_eq!(iommu.enable_ats(1, AtsOptions::default()), Err(DeviceError::AlreadyEnabled(1)));
    assert_eq!(iommu.enable_pri(1, PriOptions::default()), Err(DeviceError::AlreadyEnabled(1)));
    for outstanding in [0, 65537] {
        let options = PriOptions { outstanding, ..PriOptions::default() };
        assert_eq!(iommu.enable_pri(1, options), Err(DeviceError::Outstanding(outstanding)));
    }
    iommu.enable_sva(3, DeviceOptions::default()).unwrap();
    assert_eq!(iommu.enable_pri(3, PriOptions::default()), Err(DeviceError::NeedsAts(3)));
    let handle = iommu.bind(3, bench.mm()).unwrap();
    let bound = DeviceError::Bound { device_id: 3, bonds: 1 };
    assert_eq!(iommu.enable_ats(3, AtsOptions::default()), Err(bound));
    // The device works as it did.
    assert_eq!(bench.fake.dma(3, Some(handle.pasid().get()), 0, Access::Read), Err(READ_FAULT));
}

#[test]
fn an_enabling_that_is_not_confirmed_changes_nothing() {
    let bench = Bench::with_ats();
    bench.iommu.enable_sva(3, DeviceOptions::default()).unwrap();
    bench.fake.attach(3, Behaviour::default());
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    let failed = Err(DeviceError::Command(crate::CommandError::Timeout));
    assert_eq!(bench.iommu.enable_ats(3, AtsOptions::default()), failed);
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    let mm = bench.mm();
    mm.map(0x1000, TARGET, RW);
    let handle = bench.iommu.bind(3, mm).unwrap();
    let pasid = Some(handle.pasid().get());
    assert_eq!(bench.fake.dma(3, pasid, 0x1000, Access::Read), Ok(TARGET));
    assert_eq!(bench.fake.access(3, pasid, 0x1000, Access::Read), Reached::Refused(None));
}

#[test]
fn messages_name_the_segment() {
    let bench = Bench::with_ats_and(
        Config { device_id_width: 24, ..config() },
        Behaviour::default(),
        PriOptions::default(),
    );
    bench.add(0x51234, Behaviour::default(), PriOptions::default());
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(0x51234, mm).unwrap();
    bench.fake.page_request(request(0x51234, handle.pasid(), 3, 0x1000));
    bench.fake.take_events();
    bench.iommu.service_page_requests(10);
    assert!(
        bench
            .fake
            .take_commands()
            .iter()
            .any(|command| matches!(command, Command::AtsPrgr { dseg: Some(5), rid: 0x1234, pid: None, .. }))
    );
    assert_eq!(bench.answers(0x51234), [(3, SUCCESS)]);
}
