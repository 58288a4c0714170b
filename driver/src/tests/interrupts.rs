//! An interrupt can come at every call to the platform, wherever the driver has not masked them, and its handler may
//! do what handlers may.

use super::*;
use crate::{
    Change,
    fake::{Interrupts, Tapped},
};

type Platform = Tapped<Fake, Interrupts>;

/// Two devices with ATS and PRI on one processor, and an address space that the handler invalidates.
fn bench(seed: u64, one_in: u64) -> (Bench, Arc<Platform>) {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    // The clock goes on in handlers, while what they interrupt waits.
    let config = Config { timeout: 1 << 40, device_timeout: 1 << 40, ..config() };
    let platform = Tapped::new(fake.clone(), Interrupts::new(seed, one_in));
    let bench = Bench { fake, iommu: Iommu::new(platform.clone(), config).unwrap() };
    for device in [1, 2] {
        bench.add(device, Behaviour::default(), PriOptions::default());
    }
    (bench, platform)
}

fn handle_interrupts(bench: &Bench, platform: &Platform, mm: &Arc<TestMm>) {
    let (iommu, mm) = (bench.iommu.clone(), mm.clone());
    platform.tap.set_handler(Some(Arc::new(move || {
        iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
        iommu.service_faults(|_| ());
        iommu.receive_page_requests();
    })));
}

/// Everything that there is to call, with the same address space in the handler's hands.
fn exercise(bench: &Bench, mm: &Arc<TestMm>) {
    let iommu = &bench.iommu;
    mm.map(0x1000, TARGET, RW);
    let handles = [1, 2, 1].map(|device| iommu.bind(device, mm.clone()).unwrap());
    let pasid = handles[0].pasid();
    handles[0].set_ops(TestOps::new(), no_data()).unwrap();
    bench.fake.dma(1, Some(pasid.get()), 0x7000, Access::Read).unwrap_err();
    bench.fake.page_request(request(1, pasid, 1, 0x3000));
    bench.fake.page_request(request(2, pasid, 1, 0x3000));
    while iommu.service_page_requests(4).more {}
    iommu.invalidate_range(&**mm, 0..0x9000, Change::Tables).unwrap();
    iommu.cut_off(2).unwrap();
    bench.fake.reset_device(2);
    iommu.reinstate(2).unwrap();
    iommu.enable_sva(3, DeviceOptions::default()).unwrap();
    let late = iommu.bind(3, mm.clone()).unwrap();
    iommu.mm_exit(&**mm).unwrap();
    drop((handles, late));
    iommu.disable_sva(3).unwrap();
    iommu.disable_pri(1).unwrap();
    iommu.disable_ats(1).unwrap();
    iommu.enable_ats(1, AtsOptions::default()).unwrap();
    iommu.enable_pri(1, PriOptions::default()).unwrap();
    assert_eq!(bench.fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn clause_19_an_interrupt_at_every_call_never_waits_for_what_it_interrupts() {
    let (bench, platform) = bench(1, 1);
    let mm = bench.mm().resolve_with(populate);
    handle_interrupts(&bench, &platform, &mm);
    exercise(&bench, &mm);
    assert!(platform.tap.taken() > 1000, "{} interrupts", platform.tap.taken());
    platform.tap.set_handler(None);
}

#[test]
fn clause_19_interrupts_at_random_calls() {
    let seeds = match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().expect("SEED is a number")],
        Err(_) => (0..30).collect(),
    };
    for seed in seeds {
        std::println!("SEED={seed}");
        let (bench, platform) = bench(seed, 2 + seed % 40);
        for _ in 0..3 {
            let mm = bench.mm().resolve_with(populate);
            handle_interrupts(&bench, &platform, &mm);
            exercise(&bench, &mm);
            platform.tap.set_handler(None);
        }
        let statistics = bench.iommu.statistics();
        assert_eq!(statistics.binds, statistics.unbinds);
    }
}

#[test]
fn clause_19_an_interrupted_batch_is_moved_on_by_the_handler() {
    // A queue that holds one batch of the interrupted and none of the handler's.
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let platform = Tapped::new(fake.clone(), Interrupts::new(1, 1));
    let config = Config { command_queue_log2: 3, timeout: 1 << 40, device_timeout: 1 << 40, ..config() };
    let bench = Bench { iommu: Iommu::new(platform.clone(), config).unwrap(), fake };
    bench.add(1, Behaviour::default(), PriOptions::default());
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    handle_interrupts(&bench, &platform, &mm);
    bench.iommu.invalidate_range(&*mm, 0..6 * PAGE, Change::Leaves).unwrap();
    assert!(platform.tap.taken() > 10);
    platform.tap.set_handler(None);
}

/// A bind of device 1 whose call number `at` to the platform is interrupted by a handler that finds the device silent, so
/// that the driver cuts it off. With `muted` the other address space of the device has exited, so that its faults are not
/// recorded, and the bind changes that. `None` if the bind makes fewer calls; otherwise whether it succeeded.
fn bind_while_cut_off(at: usize, muted: bool) -> Option<bool> {
    let pasids = Arc::new(crate::PasidSpace::default());
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let config =
        Config { timeout: 1 << 40, device_timeout: 1 << 40, pasids: Some(pasids.clone()), ..config() };
    let platform = Tapped::new(fake.clone(), Interrupts::new(1, 1));
    let bench = Bench { iommu: Iommu::new(platform.clone(), config).unwrap(), fake };
    for device in [1, 2] {
        bench.add(device, Behaviour::default(), PriOptions::default());
    }
    let (earlier, late) = (bench.mm(), bench.mm());
    earlier.map(0x1000, TARGET, RW);
    late.map(0x1000, TARGET + PAGE, RW);
    let first = bench.iommu.bind(1, earlier.clone()).unwrap();
    assert_eq!(
        bench.fake.access(1, Some(first.pasid().get()), 0x1000, Access::Read),
        Reached::Memory(TARGET)
    );
    if muted {
        bench.iommu.mm_exit(&*earlier).unwrap();
    }

    let calls = Arc::new(AtomicUsize::new(0));
    let (iommu, silent, space, count) =
        (bench.iommu.clone(), bench.fake.clone(), earlier.clone(), calls.clone());
    platform.tap.set_handler(Some(Arc::new(move || {
        if count.fetch_add(1, Ordering::SeqCst) == at {
            silent.attach(1, Behaviour { completes: false, ..Behaviour::default() });
            iommu.invalidate_range(&*space, 0x1000..0x2000, Change::Leaves).unwrap();
        }
    })));
    let bound = bench.iommu.bind(1, late.clone());
    platform.tap.set_handler(None);
    if calls.load(Ordering::SeqCst) <= at {
        return None;
    }

    // Whatever the bind returned, a device that is cut off reaches nothing, with no PASID.
    let state = bench.iommu.device_state(1).unwrap();
    assert!(state.cut_off, "call {at}");
    assert_eq!(state.bonds, 1 + usize::from(bound.is_ok()), "call {at}");
    for handle in [Some(&first), bound.as_ref().ok()].into_iter().flatten() {
        let reached = bench.fake.access(1, Some(handle.pasid().get()), 0x1000, Access::Read);
        assert!(matches!(reached, Reached::Refused(_)), "call {at}: {reached:?}");
    }
    if let Err(error) = &bound {
        assert_eq!(*error, crate::BindError::DeviceLeaving(1), "call {at}");
    }
    assert!(matches!(bench.iommu.bind(1, bench.mm()), Err(crate::BindError::DeviceLeaving(1))), "call {at}");

    // Reset and let in again, its bonds are what they were, and a bind that was refused succeeds.
    bench.fake.attach(1, Behaviour::default());
    bench.fake.reset_device(1);
    bench.iommu.reinstate(1).unwrap();
    let succeeded = bound.is_ok();
    let handle = bound.unwrap_or_else(|_| bench.iommu.bind(1, late.clone()).unwrap());
    let reached = bench.fake.access(1, Some(handle.pasid().get()), 0x1000, Access::Read);
    assert_eq!(reached, Reached::Memory(TARGET + PAGE), "call {at}");
    drop((handle, first, earlier, late));
    assert_eq!(pasids.in_use(), 0, "call {at}: a PASID was lost");
    Some(succeeded)
}

#[test]
fn clause_20_a_bind_whose_device_is_cut_off_by_an_interrupt_succeeds_or_fails_as_a_whole() {
    for muted in [false, true] {
        let results: Vec<bool> = (0..).map_while(|at| bind_while_cut_off(at, muted)).collect();
        // Interrupted early it is refused; once the bond is entered it succeeds, and there is nothing between.
        let refused = results.iter().take_while(|&&succeeded| !succeeded).count();
        assert!(refused > 0 && refused < results.len(), "{results:?}");
        assert!(results[refused..].iter().all(|&succeeded| succeeded), "{results:?}");
    }
}
