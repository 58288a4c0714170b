//! Dead devices beside healthy ones.

use pasidon_driver::fake::{Call, Tap, Tapped};
use pasidon_driver::{Change, Config, Handle, PasidSpace};
use pasidon_sim::endpoint::{Behaviour, Kind};
use pasidon_sim::machine::memory::PAGE;
use pasidon_sim::machine::{Random, SimPlatform};
use pasidon_sim::os::AddressSpace;
use pasidon_tests::driven::{BASE, Driven, TIMEOUT, config};
use pasidon_tests::{designs, seed};
use std::sync::{Arc, Mutex};

/// It completes no invalidation.
const DEAD: Behaviour = Behaviour {
    cache: 64,
    credits: 32,
    group: 4,
    indices: 512,
    response_needs_pasid: false,
    delay: 8,
    completions: 1,
    completes: false,
    forgets: true,
    waits: true,
    wrong_tag: false,
};
const HEALTHY: [u32; 3] = [1, 2, 0x105];

/// What bind, invalidation and unbind of a healthy device took, in cycles.
fn life_of(driven: &Driven, id: u32) -> [u64; 3] {
    let mm = driven.process();
    let mut last = driven.now();
    let mut lap = || {
        let now = driven.now();
        now - std::mem::replace(&mut last, now)
    };
    let handle = driven.bind(id, &mm);
    let bind = lap();
    let pasid = handle.pasid().get();
    assert!(driven.access(id, pasid, Kind::Ats, BASE, true).is_success(), "device {id:#x} works");
    lap();
    driven.os.munmap(mm.id(), BASE..BASE + PAGE).expect("the invalidation is confirmed");
    let invalidation = lap();
    assert!(!driven.access(id, pasid, Kind::Ats, BASE, false).is_success(), "device {id:#x} has forgotten");
    lap();
    driven.unbind(handle);
    let unbind = lap();
    driven.os.exit(mm.id()).expect("nothing is bound to it");
    assert!(driven.iommu.device_state(id).is_some_and(|state| !state.cut_off), "device {id:#x} is trusted");
    [bind, invalidation, unbind]
}

/// Does something else, once, in the middle of a wait of the driver: another task, on the same processor.
#[derive(Default)]
struct Meanwhile(Mutex<Option<(u64, Task)>>);

type Task = Box<dyn FnOnce() + Send>;

impl Tap for Meanwhile {
    fn after(&self, call: Call) {
        if call != Call::Relax {
            return;
        }
        let mut plan = self.0.lock().expect("nobody panics with it");
        let task = match &mut *plan {
            Some((0, _)) => plan.take().map(|(_, task)| task),
            Some((turns, _)) => {
                *turns -= 1;
                None
            }
            None => None,
        };
        drop(plan);
        task.into_iter().for_each(|task| task());
    }
}

/// A driver with dead and healthy devices, where something can be done while it waits.
fn bench(dead: &[u32], pasids: &Arc<PasidSpace>, seed: u64) -> (Driven, Arc<Tapped<SimPlatform, Meanwhile>>) {
    let design = designs::design("full");
    let mut tapped = None;
    let driven = Driven::boot_with(&design, seed, |platform| {
        let seen = Tapped::new(Arc::new(platform), Meanwhile::default());
        tapped = Some(seen.clone());
        (seen, Config { pasids: Some(pasids.clone()), ..config(&design) })
    });
    HEALTHY.iter().for_each(|&id| driven.enable(id, Some(Behaviour::default())));
    dead.iter().for_each(|&id| driven.enable(id, Some(DEAD)));
    (driven, tapped.expect("it was booted"))
}

#[test]
fn clause_20_a_dead_device_costs_those_that_share_its_process_one_timeout() {
    let pasids = Arc::new(PasidSpace::default());
    let (driven, _) = bench(&[9], &pasids, seed("a dead device in company"));
    let undisturbed = HEALTHY.map(|id| life_of(&driven, id));
    let mm = driven.resident_process();
    let dead = driven.bind(9, &mm);
    let handles = HEALTHY.map(|id| driven.bind(id, &mm));
    for handle in handles.iter().chain([&dead]) {
        let outcome = driven.access(handle.device_id(), handle.pasid().get(), Kind::Ats, BASE, true);
        assert!(outcome.is_success());
    }
    let begun = driven.now();
    driven
        .os
        .munmap(mm.id(), BASE..BASE + PAGE)
        .expect("all who answer have forgotten, the other is cut off");
    let took = driven.now() - begun;
    let timeout = u64::from(designs::design("full").ats_timeout);
    println!("an invalidation with a dead device among its devices: {took} cycles, a timeout is {timeout}");
    assert!((timeout..5 * timeout).contains(&took), "{took} cycles");
    driven.platform.machine().truth.bar(9);
    assert!(driven.iommu.device_state(9).is_some_and(|state| state.cut_off));
    for handle in &handles {
        let (id, pasid) = (handle.device_id(), handle.pasid().get());
        assert!(driven.iommu.device_state(id).is_some_and(|state| !state.cut_off), "{handle:?}");
        assert!(!driven.access(id, pasid, Kind::Ats, BASE, false).is_success(), "{handle:?} has forgotten");
        assert!(driven.access(id, pasid, Kind::Ats, BASE + PAGE, true).is_success(), "{handle:?} works");
    }
    // From now on it costs nobody anything.
    for (id, before) in HEALTHY.into_iter().zip(undisturbed) {
        let now = life_of(&driven, id);
        assert!(now.iter().zip(before).all(|(now, before)| *now < before + 500), "{now:?}, {before:?}");
    }
    handles.into_iter().for_each(|handle| driven.unbind(handle));
    drop(dead);
    drop(mm);
    driven.check();
    assert_eq!(driven.iommu.statistics().device_timeouts, 1);
    assert_eq!(driven.os.statistics().unconfirmed, 0, "no invalidation failed");
}

/// What a healthy device's neighbour does while a dead device is waited for.
#[derive(Clone, Copy)]
enum Step {
    Bind,
    Invalidation,
    Unbind,
}

const STEPS: [Step; 3] = [Step::Bind, Step::Invalidation, Step::Unbind];

/// Makes the step with a device that is bound, and returns the cycles that it took.
fn step(driven: &Driven, step: Step, mm: &Arc<AddressSpace>, handle: Handle) -> u64 {
    let id = handle.device_id();
    let begun = driven.now();
    let (took, left) = match step {
        Step::Bind => {
            let other = driven.process();
            let begun = driven.now();
            let second = driven.bind(id, &other);
            let took = driven.now() - begun;
            assert!(driven.access(id, second.pasid().get(), Kind::Ats, BASE, true).is_success());
            driven.unbind(second);
            driven.os.exit(other.id()).expect("nothing is bound to it");
            (took, Some(handle))
        }
        Step::Invalidation => {
            driven.os.munmap(mm.id(), BASE..BASE + PAGE).expect("the invalidation is confirmed");
            let took = driven.now() - begun;
            let outcome = driven.access(id, handle.pasid().get(), Kind::Ats, BASE, false);
            assert!(!outcome.is_success(), "device {id:#x} has forgotten");
            (took, Some(handle))
        }
        Step::Unbind => {
            driven.unbind(handle);
            (driven.now() - begun, None)
        }
    };
    left.into_iter().for_each(|handle| driven.unbind(handle));
    took
}

#[test]
fn clause_20_healthy_devices_keep_their_bounds_while_dead_ones_are_waited_for() {
    const DEAD_ONES: [u32; 5] = [9, 10, 11, 12, 0x2_0001];
    let seed = seed("healthy devices beside dead ones");
    let mut random = Random::new(seed);
    let pasids = Arc::new(PasidSpace::default());
    let (driven, tapped) = bench(&DEAD_ONES, &pasids, seed);
    let results = Arc::new(Mutex::new(Vec::new()));
    for round in 0..60 {
        let (id, healthy) = (DEAD_ONES[round % 5], HEALTHY[round / 3 % 3]);
        let (mm, other) = (driven.resident_process(), driven.resident_process());
        let (handle, good) = (driven.bind(id, &mm), driven.bind(healthy, &other));
        let outcome = driven.access(healthy, good.pasid().get(), Kind::Ats, BASE, true);
        assert!(outcome.is_success());
        let task = {
            let (driven, results, other) = (driven.clone(), results.clone(), other.clone());
            move || {
                let took = step(&driven, STEPS[round % 3], &other, good);
                results.lock().expect("nobody panics with it").push((round % 3, took));
            }
        };
        // The IOMMU waits for the device for more than a thousand turns.
        *tapped.tap.0.lock().expect("nobody panics with it") = Some((random.below(900), Box::new(task)));
        if round % 2 == 0 {
            let change = if round % 4 == 0 { Change::Leaves } else { Change::Tables };
            driven.iommu.invalidate_range(&*mm, BASE..BASE + PAGE, change).expect("it is cut off");
        }
        let pasid = handle.pasid().get();
        drop(handle);
        driven.platform.machine().truth.unbind(id, pasid);
        assert_eq!(results.lock().expect("nobody panics with it").len(), round + 1, "round {round}");
        for (id, dead) in [(id, true), (healthy, false)] {
            let cut_off = driven.iommu.device_state(id).map(|state| state.cut_off);
            assert_eq!(cut_off, Some(dead), "device {id:#x} in round {round}");
        }
        driven.check();
        driven.reset_device(id, Some(DEAD));
        driven.iommu.reinstate(id).expect("it is let in again");
        [mm, other].iter().for_each(|mm| driven.os.exit(mm.id()).expect("nothing is bound to it"));
    }
    let design = designs::design("full");
    let results = results.lock().expect("nobody panics with it");
    let worst = [0, 1, 2].map(|step| results.iter().filter(|it| it.0 == step).map(|it| it.1).max());
    let worst = worst.map(|worst| worst.expect("each was made"));
    println!("bind, invalidation and unbind beside dead devices: at most {worst:?} cycles");
    // A bind waits for nobody; the others have two batches, each behind one that waits for a device.
    let batch = TIMEOUT + 4 * u64::from(design.ats_timeout);
    let waited = u64::from(design.ats_timeout) / 2;
    assert!(worst[0] < 500, "{worst:?}");
    assert!(worst[1..].iter().all(|worst| (waited..2 * batch).contains(worst)), "{worst:?}");
    assert_eq!(driven.iommu.statistics().device_timeouts, 60);
    assert_eq!(driven.os.statistics().unconfirmed, 0, "no invalidation failed");
    assert_eq!(pasids.in_use(), 0, "PASIDs are lost");
}
