//! Losing the hardware and getting it back, with bonds that are in use.

use pasidon_cosim::Random;
use pasidon_driver::{Change, CommandError, DeviceError, Handle, InitError};
use pasidon_machine::endpoint::{Behaviour, ChannelKind};
use pasidon_machine::memory::PAGE;
use pasidon_machine::os::{AddressSpace, Mapping, Permissions};
use pasidon_tests::driven::{BASE, Driven, PAGES, config};
use pasidon_tests::{designs, seed};
use std::sync::Arc;

/// The devices, and how each reaches memory.
const DEVICES: [(u32, ChannelKind); 3] =
    [(1, ChannelKind::Untranslated), (2, ChannelKind::Ats), (0x2_0001, ChannelKind::Ats)];

struct Bench {
    driven: Driven,
    processes: Vec<Arc<AddressSpace>>,
    handles: Vec<Handle>,
}

impl Bench {
    /// Two processes, each bound to all devices, which have used every page.
    fn new(seed: u64) -> Bench {
        let design = designs::design("full");
        let driven = Driven::boot(&design, config(&design), seed);
        DEVICES.iter().for_each(|&(id, kind)| {
            driven.enable(id, (kind == ChannelKind::Ats).then(Behaviour::default));
        });
        let processes = vec![driven.resident_process(), driven.resident_process()];
        let bonds = processes.iter().flat_map(|mm| DEVICES.map(|(id, _)| (id, mm)));
        let handles = bonds.map(|(id, mm)| driven.bind(id, mm)).collect();
        let bench = Bench { driven, processes, handles };
        bench.works();
        bench
    }

    fn reaches(&self, handle: &Handle, page: u64, write: bool) -> bool {
        let (id, pasid) = (handle.device_id(), handle.pasid().get());
        let kind = DEVICES.iter().find(|(known, _)| *known == id).expect("one of them").1;
        self.driven.access(id, pasid, kind, BASE + page * PAGE + 8, write).is_success()
    }

    /// Each device reads and writes its processes through the handles it has had all the time.
    fn works(&self) {
        for handle in &self.handles {
            for page in 1..PAGES {
                assert!(self.reaches(handle, page, page % 2 == 0), "{handle:?}, page {page}");
            }
        }
        self.driven.check();
    }

    fn is_blocked(&self) {
        for handle in &self.handles {
            assert!(!self.reaches(handle, 1, false), "{handle:?}");
        }
        self.driven.check();
    }

    /// The core loses all that it knew, in this cycle, and nobody is told.
    fn reset_core(&self) {
        let mut machine = self.driven.platform.machine();
        machine.reset_core_at(0);
        machine.step();
    }

    fn keep_busy(&self) {
        for handle in &self.handles {
            let (id, kind) = DEVICES.into_iter().find(|(id, _)| *id == handle.device_id()).expect("one");
            self.driven.keep_busy(id, handle.pasid().get(), kind);
        }
    }

    fn calm_down(&self) {
        self.driven.platform.machine().dma.stop();
        self.driven.wait(|machine| machine.dma.is_idle());
    }
}

#[test]
fn bonds_work_after_suspend_and_resume_whether_power_was_lost_or_not() {
    for power_lost in [false, true] {
        let mut bench = Bench::new(seed("suspend and resume"));
        let driven = bench.driven.clone();
        let id = bench.processes[0].id();
        // What is cached now and moves later must not come back.
        for handle in bench.handles.iter().filter(|handle| handle.device_id() == 1).rev() {
            assert!((1..3).all(|page| bench.reaches(handle, page, false)));
        }
        driven.iommu.suspend().expect("it is switched off");
        driven.iommu.suspend().expect("it is off");
        let before = driven.platform.machine().register_accesses;
        bench.is_blocked();
        if power_lost {
            bench.reset_core();
        }
        // Meanwhile pages move, a bond goes and others come.
        driven.os.munmap(id, BASE..BASE + 4 * PAGE).expect("nobody can use it");
        let moved = Mapping::of(Permissions::READ_WRITE, 77);
        driven.os.map(id, BASE..BASE + 4 * PAGE, moved).expect("memory");
        driven.os.populate(id, BASE..BASE + 4 * PAGE).expect("memory");
        let gone = bench.handles.pop().expect("a bond");
        let (device, pasid) = (gone.device_id(), gone.pasid().get());
        driven.unbind(gone);
        let late = driven.resident_process();
        bench.handles.push(driven.bind(1, &late));
        assert_eq!(driven.platform.machine().register_accesses, before, "registers without power");

        driven.iommu.resume().expect("it is switched on");
        driven.iommu.resume().expect("it is on");
        bench.works();
        assert!(
            !driven.access(device, pasid, ChannelKind::Ats, BASE, false).is_success(),
            "the bond is gone"
        );
        // Page requests and fault records come again.
        let outcome = driven.access(1, 1000, ChannelKind::Untranslated, BASE, true);
        assert!(!outcome.is_success());
        assert_eq!(driven.faults().0.iter().filter(|record| record.pid == 1000).count(), 1);
        let absent = driven.process();
        bench.handles.push(driven.bind(2, &absent));
        bench.works();
        assert!(driven.iommu.statistics().responses_success > 0);
        bench.handles.drain(..).for_each(|handle| driven.unbind(handle));
        driven.check();
    }
}

#[test]
fn bonds_work_after_resets_on_demand_while_devices_are_at_work() {
    let seed = seed("resets on demand");
    let mut random = Random::new(seed);
    let mut bench = Bench::new(seed);
    let driven = bench.driven.clone();
    bench.keep_busy();
    for round in 1..=8 {
        driven.run(random.below(600));
        driven.iommu.reset().expect("it is switched off and on");
        // What devices knew is gone: pages can move.
        let id = bench.processes[round % 2].id();
        driven.os.munmap(id, BASE..BASE + PAGE).expect("the driver confirms");
        driven.os.map(id, BASE..BASE + PAGE, Mapping::of(Permissions::READ_WRITE, 1)).expect("memory");
        driven.os.populate(id, BASE..BASE + PAGE).expect("memory");
        driven.check();
        assert_eq!(driven.iommu.statistics().resumes, round);
        // A reset loses page requests: those who asked while the page was not there have their answers first.
        driven.run(2000);
        driven.wait(|machine| machine.root_port.is_idle() && machine.root_port.owed().next().is_none());
    }
    bench.calm_down();
    bench.works();
    // Devices ask anew for what they knew.
    for handle in bench.handles.iter().filter(|handle| handle.device_id() != 1) {
        let questions = || {
            let mut machine = driven.platform.machine();
            machine.dma.endpoint(handle.device_id()).map(|it| it.statistics.translation_requests)
        };
        assert!(bench.reaches(handle, 1, false));
        let before = questions();
        assert!(bench.reaches(handle, 1, false) && questions() == before, "{handle:?} remembers");
        driven.iommu.reset().expect("it is switched off and on");
        assert!(bench.reaches(handle, 1, false) && questions() > before, "{handle:?} has forgotten");
    }
    bench.handles.drain(..).for_each(|handle| driven.unbind(handle));
    driven.check();
}

#[test]
fn a_reset_behind_the_driver_is_noticed_by_every_kind_of_call_and_mended() {
    type Look = fn(&Bench) -> bool;
    let looks: [Look; 4] = [
        |bench| bench.driven.faults().1.reset,
        |bench| bench.driven.iommu.service_page_requests(8).reset,
        |bench| {
            let range = BASE..BASE + PAGE;
            let result = bench.driven.iommu.invalidate_range(&*bench.processes[0], range, Change::Leaves);
            result == Err(CommandError::Reset)
        },
        |bench| bench.driven.iommu.disable_pri(2) == Err(DeviceError::Command(CommandError::Reset)),
    ];
    let bench = Bench::new(seed("resets behind the driver"));
    for (number, look) in looks.into_iter().enumerate() {
        // The last one works once.
        assert!(number == 3 || !look(&bench), "look {number}: nothing has happened yet");
        bench.reset_core();
        assert!(look(&bench), "look {number}: it was not noticed");
        assert_eq!(bench.driven.iommu.statistics().resets_noticed, number + 1);
        assert_eq!(bench.driven.iommu.suspend(), Err(InitError::Command(CommandError::Reset)));
        bench.driven.iommu.resume().expect("it is brought back");
        bench.works();
    }
}

#[test]
fn a_reset_at_any_moment_of_an_invalidation_is_told_or_does_not_matter() {
    let seed = seed("resets within invalidations");
    let mut random = Random::new(seed);
    let bench = Bench::new(seed);
    let driven = &bench.driven;
    bench.keep_busy();
    let mut told = 0;
    for round in 0..60 {
        let mm = &bench.processes[round % 2];
        {
            let mut machine = driven.platform.machine();
            let at = machine.now() + random.below(700);
            machine.reset_core_at(at);
        }
        let result = driven.iommu.invalidate_range(&**mm, BASE..BASE + 3 * PAGE, Change::Tables);
        assert!(matches!(result, Ok(()) | Err(CommandError::Reset)), "{result:?}");
        told += u32::from(result.is_err());
        while driven.platform.machine().reset_is_due() {
            driven.run(1);
        }
        assert!(driven.faults().1.reset, "round {round}");
        driven.iommu.resume().expect("it is brought back");
        driven.check();
    }
    assert!((10..60).contains(&told), "{told} of 60 resets came within a call");
    bench.calm_down();
    bench.works();
    assert!(DEVICES.iter().all(|(id, _)| driven.iommu.device_state(*id).is_some_and(|it| !it.cut_off)));
}
