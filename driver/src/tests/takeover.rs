//! Taking over an IOMMU that is in use, and losing one to a reset.

use super::*;
use crate::{
    Change, CommandError,
    fake::{Access, Call, Event, Reached, Tap, Tapped},
};
use pasidon_spec::registers::{Register, cqcsr, cqh, cqt, fqcsr, fqt, pqcsr, pqt};

/// An IOMMU whose owner has gone without putting anything back, while device 1 goes on reading.
fn abandoned(capabilities: u64) -> Arc<Fake> {
    let fake = Fake::with_capabilities(capabilities);
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let mm = TestMm::new(&fake);
    mm.map(0x1000, TARGET, RW);
    let handle = iommu.bind(1, mm.clone()).unwrap();
    let pasid = Some(handle.pasid().get());
    assert_eq!(fake.dma(1, pasid, 0x1000, Access::Read), Ok(TARGET));
    fake.keep_reading(1, pasid, 0x1000);
    core::mem::forget((handle, mm, iommu));
    fake
}

#[test]
fn nothing_passes_from_when_a_new_owner_has_switched_it_off() {
    for (width, modes) in [(8, 1..=3), (3, 3..=3), (20, 2..=3)] {
        for lowest in modes {
            let fake = abandoned(CAPABILITIES_ATS);
            fake.adjust(|knobs| knobs.modes.retain(|mode| *mode > lowest));
            let taken = Iommu::new(fake.clone(), Config { device_id_width: width, ..config() });
            fake.run_for(100);
            assert_eq!(fake.slipped(), 0, "{width} bits, modes above {lowest}");
            assert!(taken.is_ok());
            assert_eq!(fake.violations(), Vec::<std::string::String>::new());
        }
    }
}

#[test]
fn an_iommu_that_does_not_let_go_is_not_taken_over() {
    let fake = abandoned(CAPABILITIES_ATS);
    fake.adjust(|knobs| knobs.mode_stuck = true);
    let error = Iommu::new(fake.clone(), config()).err();
    assert_eq!(error, Some(crate::InitError::Timeout("directory mode")));
}

#[test]
fn a_queue_that_the_previous_owner_left_broken_is_taken_over() {
    let fake = abandoned(CAPABILITIES_ATS);
    fake.adjust(|knobs| (knobs.fetch_faults, knobs.record_faults) = (1, 1));
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    fake.run_for(100);
    assert_eq!(fake.slipped(), 0);
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let mm = TestMm::new(&fake);
    mm.map(0x1000, TARGET, RW);
    let handle = iommu.bind(1, mm.clone()).unwrap();
    assert_eq!(fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read), Ok(TARGET));
}

impl Bench {
    /// Both devices reach the page of an address space that each is bound to.
    fn works(&self, handles: &[Handle]) {
        for handle in handles {
            let pasid = Some(handle.pasid().get());
            let reached = self.fake.access(handle.device_id(), pasid, 0x1000, Access::Read);
            assert_eq!(reached, Reached::Memory(TARGET), "{handle:?}");
        }
    }

    fn is_blocked(&self, handles: &[Handle]) {
        for handle in handles {
            let pasid = Some(handle.pasid().get());
            assert!(self.fake.dma(handle.device_id(), pasid, 0x1000, Access::Read).is_err());
        }
    }

    fn two_bonds(&self) -> (Arc<TestMm>, Vec<Handle>) {
        let mm = self.mm().resolve_with(populate);
        mm.map(0x1000, TARGET, RW);
        let handles = [1, 2].map(|device| self.iommu.bind(device, mm.clone()).unwrap());
        let handles = Vec::from(handles);
        self.works(&handles);
        (mm, handles)
    }
}

#[test]
fn what_was_bound_is_bound_after_suspend_and_resume() {
    let bench = Bench::with_ats();
    let (mm, mut handles) = bench.two_bonds();
    bench.iommu.suspend().unwrap();
    bench.iommu.suspend().unwrap();
    bench.is_blocked(&handles);
    // The hardware loses its power, and with it everything it knew.
    bench.fake.reset();
    bench.fake.take_events();
    // Meanwhile a page moves, a bond goes and another comes; no register is touched.
    mm.map(0x1000, TARGET + PAGE, RW);
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    handles.pop().unwrap().unbind();
    let other = bench.mm();
    other.map(0x1000, TARGET, RW);
    let late = bench.iommu.bind(2, other).unwrap();
    assert!(!bench.iommu.service_faults(|_| ()).reset);
    assert!(!bench.iommu.service_page_requests(10).reset);
    let touched = bench.fake.take_events().iter().any(|event| matches!(event, Event::Write { .. }));
    assert!(!touched);

    bench.iommu.resume().unwrap();
    bench.iommu.resume().unwrap();
    let pasid = Some(handles[0].pasid().get());
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::Memory(TARGET + PAGE));
    assert!(bench.fake.dma(2, pasid, 0x1000, Access::Read).is_err());
    bench.works(&[late]);
    bench.fake.page_request(request(1, handles[0].pasid(), 3, 0x5000));
    assert_eq!(bench.iommu.service_page_requests(10).groups, 1);
    assert_eq!(bench.fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn a_reset_behind_the_driver_is_noticed_by_every_kind_of_call() {
    type Look = fn(&Bench, &TestMm) -> bool;
    let looks: [Look; 4] = [
        |bench, _| bench.iommu.service_faults(|_| ()).reset,
        |bench, _| bench.iommu.service_page_requests(10).reset,
        |bench, mm| {
            let result = bench.iommu.invalidate_range(mm, 0..PAGE, Change::Leaves);
            result == Err(CommandError::Reset)
        },
        |bench, _| bench.iommu.disable_ats(2) == Err(crate::DeviceError::Command(CommandError::Reset)),
    ];
    for (number, look) in looks.into_iter().enumerate() {
        let bench = Bench::with_ats();
        let (mm, handles) = bench.two_bonds();
        // The last one works once.
        assert!(number == 3 || !look(&bench, &mm));
        bench.fake.reset();
        assert!(look(&bench, &mm));
        assert_eq!(bench.iommu.statistics().resets_noticed, 1);
        bench.is_blocked(&handles);
        assert_eq!(bench.iommu.suspend(), Err(CommandError::Reset.into()));
        bench.iommu.resume().unwrap();
        bench.works(&handles);
        bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves).unwrap();
        bench.fake.dma(1, Some(handles[0].pasid().get()), 0x9000, Access::Read).unwrap_err();
        assert_eq!(bench.iommu.service_faults(|_| ()).records, 1);
        assert_eq!(bench.fake.violations(), Vec::<std::string::String>::new());
    }
}

#[test]
fn a_reset_while_somebody_waits_is_told_to_him() {
    let (bench, platform) = waiting::bench_with_waits(config(), PriOptions::default());
    bench.add(2, Behaviour::default(), PriOptions::default());
    let (mm, handles) = bench.two_bonds();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    let (fake, before) = (bench.fake.clone(), bench.fake.read32(offset(&cqt::REG)));
    platform.tap.next(move || {
        assert_ne!(fake.read32(offset(&cqt::REG)), before, "it has been submitted");
        fake.reset();
        fake.adjust(|knobs| knobs.commands_stall = false);
    });
    let result = bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves);
    assert_eq!((result, platform.tap.is_done()), (Err(CommandError::Reset), true));
    bench.iommu.resume().unwrap();
    bench.works(&handles);
}

#[test]
fn a_reset_on_demand_restores_everything_and_device_caches_are_emptied() {
    let bench = Bench::with_ats();
    let (mm, handles) = bench.two_bonds();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        mm.map(0x1000, TARGET + (seed >> 40 << 12), RW);
        // Nothing tells the devices but the reset.
        bench.iommu.reset().unwrap();
        let pasid = Some(handles[0].pasid().get());
        let reached = bench.fake.access(1, pasid, 0x1000, Access::Read);
        assert_eq!(reached, Reached::Memory(TARGET + (seed >> 40 << 12)));
    }
    assert_eq!(bench.iommu.statistics().resumes, 20);
    assert_eq!(bench.fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn a_resume_that_fails_can_be_repeated() {
    let bench = Bench::with_ats();
    let (_mm, handles) = bench.two_bonds();
    bench.fake.reset();
    assert!(bench.iommu.service_faults(|_| ()).reset);
    bench.fake.adjust(|knobs| knobs.queues_stuck = true);
    assert!(bench.iommu.resume().is_err());
    bench.is_blocked(&handles);
    bench.fake.adjust(|knobs| knobs.queues_stuck = false);
    bench.fake.run_for(100);
    bench.fake.adjust(|knobs| knobs.mode_stuck = true);
    assert!(bench.iommu.resume().is_err());
    bench.fake.adjust(|knobs| knobs.mode_stuck = false);
    bench.iommu.resume().unwrap();
    bench.works(&handles);
}

#[test]
fn record_queues_that_went_off_record_again() {
    let bench = Bench::with_ats();
    let (_mm, handles) = bench.two_bonds();
    for queue in [&pasidon_spec::registers::fqcsr::REG, &pasidon_spec::registers::pqcsr::REG] {
        bench.fake.write32(u32::from(queue.offset), 0);
        bench.fake.run_for(100);
    }
    for _ in 0..4 {
        bench.iommu.service_faults(|_| ());
        bench.iommu.service_page_requests(10);
        bench.fake.run_for(100);
    }
    assert_eq!(bench.iommu.statistics().record_queue_restarts, 2);
    bench.fake.page_request(request(1, handles[0].pasid(), 3, 0x5000));
    assert_eq!(bench.iommu.service_page_requests(10).groups, 1);
    bench.fake.dma(1, Some(handles[0].pasid().get()), 0x9000, Access::Read).unwrap_err();
    assert_eq!(bench.iommu.service_faults(|_| ()).records, 1);
}

/// Resets the IOMMU between two calls of the driver: before the first one like the second after one like the first.
struct ResetBetween {
    fake: Arc<Fake>,
    /// The two, and whether the first was seen.
    plan: Mutex<Option<([Call; 2], bool)>>,
}

impl Tap for ResetBetween {
    fn before(&self, call: Call) {
        let mut plan = self.plan.lock().unwrap();
        match &mut *plan {
            Some(([first, _], seen @ false)) => *seen = call == *first,
            Some(([_, second], true)) if call == *second => {
                *plan = None;
                self.fake.reset();
            }
            _ => {}
        }
    }
}

const fn offset(register: &Register) -> u32 {
    register.offset as u32
}

fn read(register: &Register) -> Call {
    Call::Read(offset(register))
}

fn write(register: &Register) -> Call {
    Call::Write(offset(register))
}

/// A bench on a platform that resets the IOMMU on demand, with two devices, with ATS and page requests or without.
fn bench_with_resets(ats: bool) -> (Bench, Arc<Tapped<Fake, ResetBetween>>) {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let tap = ResetBetween { fake: fake.clone(), plan: Mutex::new(None) };
    let platform = Tapped::new(fake.clone(), tap);
    let bench = Bench { iommu: Iommu::new(platform.clone(), config()).unwrap(), fake };
    for device in [1, 2] {
        if ats {
            bench.add(device, Behaviour::default(), PriOptions::default());
        } else {
            bench.iommu.enable_sva(device, DeviceOptions::default()).unwrap();
        }
    }
    (bench, platform)
}

impl ResetBetween {
    fn plan(&self, first: Call, second: Call) {
        *self.plan.lock().unwrap() = Some(([first, second], false));
    }

    fn is_done(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }
}

#[test]
fn after_a_reset_a_head_of_zero_is_no_progress() {
    // Between the looks at status and head, in either order; and when a queue that has stopped is off.
    let plans = [
        (write(&cqt::REG), read(&cqh::REG), 0),
        (write(&cqt::REG), read(&cqcsr::REG), 0),
        (write(&cqcsr::REG), read(&cqh::REG), 1),
    ];
    for (number, (first, second, fetch_faults)) in plans.into_iter().enumerate() {
        let (bench, platform) = bench_with_resets(false);
        let mm = bench.mm();
        mm.map(0x1000, TARGET, RW);
        let handle = bench.iommu.bind(1, mm.clone()).unwrap();
        let invalidate = |pages| bench.iommu.invalidate_range(&*mm, 0..pages * PAGE, Change::Leaves);
        // A batch of two commands that ends at index 0, where the head is after a reset.
        let entries = 1 << config().command_queue_log2;
        let tail = || bench.fake.read32(offset(&cqt::REG));
        for _ in 0..entries {
            if tail() == entries - 2 {
                break;
            }
            invalidate(1 + u64::from(tail() % 2)).unwrap();
        }
        assert_eq!(tail(), entries - 2);
        bench.fake.adjust(|knobs| {
            (knobs.commands_stall, knobs.fetch_faults) = (fetch_faults == 0, fetch_faults);
        });
        platform.tap.plan(first, second);
        assert_eq!(invalidate(1), Err(CommandError::Reset), "plan {number}");
        assert!(platform.tap.is_done());
        bench.fake.adjust(|knobs| knobs.commands_stall = false);
        bench.iommu.resume().unwrap();
        invalidate(1).unwrap();
        assert_eq!(bench.fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read), Ok(TARGET));
    }
}

#[test]
fn after_a_reset_a_tail_of_zero_is_no_record() {
    let (bench, platform) = bench_with_resets(true);
    let (_mm, handles) = bench.two_bonds();
    let pasid = handles[0].pasid();
    for (status, tail) in [(&pqcsr::REG, &pqt::REG), (&fqcsr::REG, &fqt::REG)] {
        for index in 0..3 {
            bench.fake.page_request(request(1, pasid, index, 0x5000));
            bench.fake.dma(1, Some(pasid.get()), 0x9000, Access::Read).unwrap_err();
        }
        while bench.iommu.service_page_requests(10).more {}
        bench.iommu.service_faults(|_| ());
        let before = bench.iommu.statistics();
        platform.tap.plan(read(status), read(tail));
        bench.iommu.receive_page_requests();
        let records = bench.iommu.service_faults(|_| ()).records;
        assert!(platform.tap.is_done());
        let after = bench.iommu.statistics();
        assert_eq!((records, after.page_requests), (0, before.page_requests), "stale records");
        assert_eq!(after.resets_noticed, before.resets_noticed + 1);
        bench.iommu.resume().unwrap();
        bench.works(&handles);
    }
}

#[test]
fn a_queue_that_was_reset_is_not_enabled_without_its_base() {
    let (bench, platform) = bench_with_resets(true);
    let (_mm, handles) = bench.two_bonds();
    let pasid = handles[0].pasid();
    for (status, tail) in [(&pqcsr::REG, &pqt::REG), (&fqcsr::REG, &fqt::REG)] {
        if status.offset == pqcsr::REG.offset {
            bench.fake.adjust(|knobs| knobs.request_faults = 1);
            bench.fake.page_request(request(1, pasid, 3, 0x5000));
        } else {
            bench.fake.adjust(|knobs| knobs.record_faults = 1);
            bench.fake.dma(1, Some(pasid.get()), 0x9000, Access::Read).unwrap_err();
        }
        // The driver has seen the error, and is about to have the queue go on.
        platform.tap.plan(read(tail), read(status));
        bench.iommu.receive_page_requests();
        bench.iommu.service_faults(|_| ());
        assert!(platform.tap.is_done());
        assert_eq!(bench.fake.read32(offset(status)) & 1, 0, "enabled with the base register of a reset");
        bench.iommu.resume().unwrap();
        bench.works(&handles);
    }
}
