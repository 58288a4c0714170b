//! The audit sees what it must, and a run can be repeated.

use super::world::{Process, World};
use super::*;
use crate::endpoint::{Channel, ChannelKind, DmaRequest};
use crate::memory::PAGE;
use crate::os::{Mapping, Permissions};
use pasidon_driver::PageTableMode;
use pasidon_spec::memory::Failure;
use pasidon_spec::registers::cqb;

const VA: u64 = 0x1_0000_0000;

fn options(ops: u64) -> StressOptions {
    StressOptions { seed: 5, ops, time: None, flavour: Flavour::Fast }
}

fn world() -> World {
    let design = Design::load("full").unwrap();
    World::new(&design, &Cache::in_workspace().quiet(), &options(0)).unwrap()
}

/// A process of four pages, bound to the first device, which has touched all of them.
fn bound(world: &mut World) {
    let mm = world.os.spawn(PageTableMode::Sv39).unwrap();
    world.os.map(mm.id(), VA..VA + 4 * PAGE, Mapping::of(Permissions::READ_WRITE, 1)).unwrap();
    world.processes.push(Process { mm: mm.clone(), bonds: Default::default(), alive: true });
    let handle = world.iommu.bind(world.devices[0].id, mm).unwrap();
    world.keep(0, 0, handle);
    touch(world);
    assert_eq!(world.platform.machine().truth.take_findings().1, 0);
}

fn touch(world: &mut World) {
    let (device, process) = (&world.devices[0], &world.processes[0]);
    let request = |page| DmaRequest { va: VA + page * PAGE, length: 16, write: page % 2 == 1, exec: false };
    let requests = (0..4).map(request).collect();
    let pasid = process.bonds[&0].pasid;
    let mut channel = Channel::new(device.id, Some(pasid), device.port, requests);
    (channel.kind, channel.space) = (ChannelKind::Ats, Some(process.mm.id()));
    world.platform.machine().dma.add(channel);
    for _ in 0..2000 {
        if world.platform.machine().dma.is_idle() {
            break;
        }
        (0..50).for_each(|_| world.platform.machine().step());
        world.service();
    }
    assert!(world.platform.machine().dma.is_idle());
}

fn found(world: &mut World) -> Vec<String> {
    let (findings, _) = world.platform.machine().truth.take_findings();
    findings.into_iter().map(|finding| finding.what).collect()
}

#[test]
fn a_device_that_keeps_what_it_should_forget_is_found() {
    let mut world = world();
    bound(&mut world);
    let (device, id) = (world.devices[0].id, world.processes[0].mm.id());
    world.platform.machine().dma.endpoint(device).unwrap().behaviour.forgets = false;
    world.os.munmap(id, VA..VA + PAGE).unwrap();
    world.os.protect(id, VA + PAGE..VA + 2 * PAGE, Permissions::READ).unwrap();
    touch(&mut world);
    let found = found(&mut world);
    assert!(found.iter().any(|what| what.contains("not mapped")), "{found:#?}");
    assert!(found.iter().any(|what| what.contains("not writable")), "{found:#?}");
    assert_eq!(found.len(), 2);
}

#[test]
fn the_fence_makes_up_for_a_device_that_completes_too_early() {
    let mut world = world();
    bound(&mut world);
    let (device, id) = (world.devices[0].id, world.processes[0].mm.id());
    {
        let mut machine = world.platform.machine();
        machine.bench.memory.timing.set_data_latency(20_000);
        let endpoint = machine.dma.endpoint(device).unwrap();
        (endpoint.behaviour.waits, endpoint.behaviour.delay) = (false, 0);
        let requests = [DmaRequest { va: VA, length: 8, write: false, exec: false }].into();
        let pasid = world.processes[0].bonds[&0].pasid;
        let channel = Channel { kind: ChannelKind::Ats, ..Channel::new(device, Some(pasid), 0, requests) };
        machine.dma.add(channel);
        (0..500).for_each(|_| machine.step());
    }
    // The fence waits for the data path, so that it is over for the device that is late only on its own side.
    world.os.munmap(id, VA..VA + PAGE).unwrap();
    assert_eq!(found(&mut world), Vec::<String>::new());
}

#[test]
fn an_answer_too_many_and_one_too_few_are_found() {
    let mut world = world();
    bound(&mut world);
    world.check_quiet();
    assert_eq!(world.report.findings, 0);
    let device = world.devices[0].id;
    let lost =
        pasidon_spec::page_request::PageRequest { did: device, read: true, last: true, ..Default::default() };
    world.platform.machine().root_port.forge(lost);
    (0..3000).for_each(|_| world.platform.machine().step());
    world.check_quiet();
    assert!(world.report.details.iter().any(|finding| finding.what.contains("never got answers")));
    // It is excused, answered in time, and then forgotten: the next answer is one too many.
    world.platform.machine().root_port.excuse(device);
    world.platform.machine().root_port.forget(device);
    world.service();
    (0..3000).for_each(|_| world.platform.machine().step());
    let found = found(&mut world);
    assert!(found.len() == 1 && found[0].contains("owed nothing"), "{found:#?}");
}

#[test]
fn what_a_barred_device_makes_up_ends_before_it_is_trusted_again() {
    let mut world = world();
    let device = world.devices[0].id;
    world.cut_off(0);
    let base = world.platform.machine().bench.memory.base();
    let request = |page| DmaRequest { va: base + page % 4096 * PAGE, length: 8, write: false, exec: false };
    let channel = Channel {
        kind: ChannelKind::Forged,
        ..Channel::new(device, None, 0, (0..100_000u64).map(request).collect())
    };
    world.platform.machine().dma.add(channel);
    world.breathe(200);
    world.reinstate(0);
    world.breathe(5000);
    assert_eq!(found(&mut world), Vec::<String>::new());
}

#[test]
fn the_same_seed_is_the_same_run() {
    let design = Design::load("full").unwrap();
    let run = || stress(&design, &Cache::in_workspace().quiet(), &options(200), &mut |_| {}).unwrap();
    let [mut first, second] = [run(), run()];
    first.seconds = second.seconds;
    assert_eq!(serde_json::to_string(&first).unwrap(), serde_json::to_string(&second).unwrap());
}

#[test]
fn a_device_that_was_lost_is_there_before_it_is_enabled() {
    let mut world = world();
    // A reset of the IOMMU while it is enabled has the driver ask all devices to forget what they know.
    for delay in (0..1500).step_by(50) {
        world.take_away(0, true);
        world.disable(0);
        let mut machine = world.platform.machine();
        let at = machine.now() + delay;
        machine.reset_core_at(at);
        drop(machine);
        world.enable(0);
        world.ensure_on();
        assert_eq!(details(&world), Vec::<&str>::new(), "reset {delay} cycles after the beginning");
        assert!(!world.iommu.device_state(world.devices[0].id).unwrap().cut_off);
    }
}

#[test]
fn an_answer_that_was_lost_long_ago_is_no_reason_to_reset_a_device() {
    let mut world = world();
    bound(&mut world);
    let id = world.processes[0].mm.id();
    let mapping = Mapping::of(Permissions::READ_WRITE, 2);
    let renew = |world: &World| {
        world.os.munmap(id, VA..VA + 4 * PAGE).unwrap();
        world.os.map(id, VA..VA + 4 * PAGE, mapping).unwrap();
    };
    renew(&world);
    // The answer to a page request can't be sent.
    let request = [DmaRequest { va: VA, length: 8, write: false, exec: false }].into();
    let pasid = world.processes[0].bonds[&0].pasid;
    let channel =
        Channel { kind: ChannelKind::Ats, ..Channel::new(world.devices[0].id, Some(pasid), 0, request) };
    {
        let mut machine = world.platform.machine();
        machine.dma.add(channel);
        let queue = cqb::PPN.get(machine.read_register(cqb::REG.offset.into(), 8)) * PAGE;
        machine.bench.memory.inject(queue..queue + PAGE, Failure::Read);
    }
    while world.iommu.statistics().responses_lost == 0 {
        (0..50).for_each(|_| world.platform.machine().step());
        world.service();
    }
    world.platform.machine().heal();
    world.reset_device(0);
    world.calm_down();
    renew(&world);
    world.check_bonds();
    assert_eq!(details(&world), Vec::<&str>::new());
    assert_eq!((world.report.probes, world.report.resets), (1, 1));
}

/// Lets devices finish what they do, with the driver's services.
fn settle(world: &mut World) {
    world.calm_down();
    assert!(world.platform.machine().dma.is_idle());
}

fn details(world: &World) -> Vec<&str> {
    world.report.details.iter().map(|finding| finding.what.as_str()).collect()
}

#[test]
fn a_reset_leaves_every_bond_as_it_was_and_one_that_is_lost_is_found() {
    let mut world = world();
    let before = world.platform.machine().bench.memory.allocations().to_vec();
    bound(&mut world);
    world.reset_iommu();
    world.ensure_on();
    assert_eq!(world.platform.machine().core_resets, 1);
    touch(&mut world);
    world.check_bonds();
    assert_eq!((details(&world), world.report.probes), (vec![], 1));
    // The process context does not survive the next one.
    let mut machine = world.platform.machine();
    let made: Vec<_> =
        machine.bench.memory.allocations().iter().filter(|known| !before.contains(known)).copied().collect();
    assert!(!made.is_empty());
    for (start, bytes) in made {
        (start..start + bytes).step_by(8).for_each(|address| _ = machine.bench.memory.store(address, 0));
    }
    drop(machine);
    world.iommu.reset().unwrap();
    world.check_bonds();
    assert!(details(&world).iter().any(|what| what.contains("can't be reached by device")));
}

#[test]
fn a_reset_that_nobody_mends_is_found() {
    let mut world = world();
    bound(&mut world);
    {
        let mut machine = world.platform.machine();
        machine.reset_core_at(0);
        machine.step();
    }
    // The services are not asked, so that nobody notices.
    let mut channel = Channel::new(
        world.devices[0].id,
        Some(world.processes[0].bonds[&0].pasid),
        0,
        [DmaRequest { va: VA, length: 8, write: false, exec: false }].into(),
    );
    (channel.observe, channel.kind) = (true, ChannelKind::Untranslated);
    let outcomes = world.platform.machine().observe(channel).unwrap();
    assert!(!outcomes[0].is_success());
    world.ensure_on();
    world.check_bonds();
    assert_eq!(details(&world), Vec::<&str>::new());
    assert_eq!(world.iommu.statistics().resets_noticed, 1);
}

#[test]
fn a_device_that_remembers_across_a_reset_is_found() {
    let mut world = world();
    bound(&mut world);
    let (device, id) = (world.devices[0].id, world.processes[0].mm.id());
    world.platform.machine().dma.endpoint(device).unwrap().behaviour.forgets = false;
    {
        let mut machine = world.platform.machine();
        machine.reset_core_at(0);
        machine.step();
    }
    world.os.munmap(id, VA..VA + PAGE).unwrap();
    assert_eq!(world.iommu.statistics().resumes, 1, "the operating system has brought it back");
    touch(&mut world);
    let found = found(&mut world);
    assert!(found.len() == 1 && found[0].contains("not mapped"), "{found:#?}");
}

#[test]
fn what_is_on_its_way_when_the_core_is_reset_comes_to_an_end() {
    let mut world = world();
    bound(&mut world);
    for delay in (0..400).step_by(7) {
        for kind in [ChannelKind::Untranslated, ChannelKind::Ats] {
            world.platform.machine().dma.add(all_pages(&world, kind));
        }
        {
            let mut machine = world.platform.machine();
            let at = machine.now() + delay;
            machine.reset_core_at(at);
        }
        world.ensure_on();
        settle(&mut world);
    }
    assert_eq!(world.platform.machine().core_resets, 58);
    world.audit().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
}

#[test]
fn work_while_the_iommu_sleeps_is_done_when_it_wakes_and_a_touched_register_is_found() {
    let mut world = world();
    // A bond may be gone when it wakes, and then there is nothing to try out.
    while world.report.suspends < 6 || world.report.probes < 6 {
        assert!(world.report.suspends < 24, "{} bonds tried out", world.report.probes);
        bound_again(&mut world);
        world.sleep().unwrap();
    }
    world.audit().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
    // Somebody looks at a register from an interrupt meanwhile.
    let platform = world.platform.clone();
    world.platform.set_interrupt_handler(Some(std::sync::Arc::new(move || {
        platform.machine().read_register(0, 8);
    })));
    world.platform.set_interrupts(1, 1);
    for _ in 0..6 {
        world.sleep().unwrap();
    }
    world.platform.set_interrupt_handler(None);
    assert!(details(&world).iter().any(|what| what.contains("registers of a suspended IOMMU")));
}

/// A process with a bond to the first device, if there is none yet.
fn bound_again(world: &mut World) {
    if !world.processes.iter().any(|process| process.bonds.contains_key(&0)) {
        world.start_one(0).unwrap();
    }
}

/// Reads of all pages of the first process by the first device.
fn all_pages(world: &World, kind: ChannelKind) -> Channel {
    let (device, process) = (&world.devices[0], &world.processes[0]);
    let request = |page: u64| DmaRequest { va: VA + page % 4 * PAGE, length: 16, write: false, exec: false };
    let requests = (0..64).map(request).collect();
    let channel = Channel::new(device.id, Some(process.bonds[&0].pasid), device.port, requests);
    Channel { kind, space: Some(process.mm.id()), ..channel }
}

#[test]
fn a_device_goes_on_through_a_take_over_and_reaches_nothing() {
    let mut world = world();
    bound(&mut world);
    let before = world.iommu.capabilities();
    let mut channel = all_pages(&world, ChannelKind::Ats);
    channel.remaining = 100_000;
    world.platform.machine().dma.add(channel);
    world.breathe(300);
    world.take_over().unwrap();
    assert_eq!(world.iommu.capabilities(), before);
    world.audit().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
    assert!(world.report.probes >= 8, "{} bonds", world.report.probes);
    world.end_of_the_world().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
}

#[test]
fn what_passes_after_a_take_over_is_found() {
    // A successor that leaves the IOMMU as it is.
    let mut world = world();
    bound(&mut world);
    world.platform.machine().truth.begin_change();
    touch(&mut world);
    assert_eq!(found(&mut world), Vec::<String>::new(), "until it is Off");
    let now = world.platform.machine().now();
    world.platform.machine().truth.iommu_is_off(now);
    touch(&mut world);
    let off = found(&mut world);
    assert!(off.len() == 4 && off[0].contains("owner was gone"), "{off:#?}");
    let was = world.platform.machine().bench.memory.in_use();
    world.platform.machine().truth.end_change();
    world.platform.machine().bench.memory.set_aside(was);
    world.iommu.cut_off(world.devices[0].id).unwrap();
    world.check_aside();
    assert!(
        details(&world).iter().any(|what| what.contains("was the former owner's")),
        "{:?}",
        details(&world)
    );
}

#[test]
fn a_device_that_a_new_owner_trusts_before_it_was_reset_is_found() {
    let mut world = world();
    bound(&mut world);
    // Its translations have been asked for already.
    let mut channel = all_pages(&world, ChannelKind::Ats);
    channel.remaining = 1_000_000;
    world.platform.machine().truth.begin_change();
    let was = world.platform.machine().bench.memory.in_use();
    world.platform = world.platform.successor();
    let driver = pasidon_driver::Config { pasids: Default::default(), ..world.driver.clone() };
    let iommu = pasidon_driver::Iommu::new(std::sync::Arc::new(world.platform.clone()), driver).unwrap();
    {
        let mut machine = world.platform.machine();
        machine.truth.end_change();
        machine.bench.memory.set_aside(was);
        machine.dma.add(channel);
        (0..3000).for_each(|_| machine.step());
    }
    assert_eq!(found(&mut world), Vec::<String>::new(), "nothing is allowed yet");
    let id = world.devices[0].id;
    iommu.enable_sva(id, Default::default()).unwrap();
    iommu.enable_ats(id, Default::default()).unwrap();
    let mut machine = world.platform.machine();
    (0..3000).for_each(|_| machine.step());
    drop(machine);
    let found = found(&mut world);
    assert!(found.iter().any(|what| what.contains("not bound")), "{found:#?}");
}

#[test]
fn no_memory_where_there_is_some_is_found_and_so_is_memory_that_is_lost() {
    let mut world = world();
    let id = world.devices[0].id;
    world.disable(0);
    let refuse =
        || -> Result<(), pasidon_driver::EnableError> { Err(pasidon_driver::EnableError::OutOfMemory) };
    world.with_shortages("enable SVA", pasidon_driver::EnableError::OutOfMemory, refuse).unwrap_err();
    let found = details(&world).join("\n");
    assert!(found.contains("and there was memory") || found.contains("there is memory again"), "{found}");
    // Each call of many is short of memory, and works when it is repeated.
    world.report.details.clear();
    for _ in 0..60 {
        world.enable(0);
        world.disable(0);
    }
    assert_eq!(details(&world), Vec::<&str>::new());
    assert!(world.report.allocation_failures > 10, "{}", world.report.allocation_failures);
    assert!(world.report.shortages > 10 && world.iommu.device_state(id).is_none());
    world.end_of_the_world().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
    world.platform.machine().bench.memory.alloc(PAGE, PAGE).unwrap();
    world.end_of_the_world().unwrap();
    assert!(details(&world).iter().any(|what| what.contains("pieces of memory")));
}

#[test]
fn interrupts_come_at_the_drivers_calls_and_not_where_they_are_masked() {
    use pasidon_driver::Platform;
    let mut world = world();
    let calls = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (counted, platform) = (calls.clone(), world.platform.clone());
    let outside = world.platform.context();
    world.platform.set_interrupt_handler(Some(std::sync::Arc::new(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        // Calls of the handler are not interrupted, and it is a flow of control of its own.
        platform.fence();
        assert_ne!(platform.context(), outside);
    })));
    world.platform.set_interrupts(1, 1);
    let taken = || calls.load(std::sync::atomic::Ordering::Relaxed);
    world.platform.fence();
    assert_eq!(taken(), 2, "before and after");
    let state = world.platform.mask();
    world.platform.fence();
    world.platform.now();
    let inner = world.platform.mask();
    world.platform.unmask(inner);
    world.platform.fence();
    assert_eq!(taken(), 4, "only before the mask");
    world.platform.unmask(state);
    assert_eq!(taken(), 6);
    assert_eq!(world.platform.context(), outside);
    // The driver lives with one at every call.
    world.take_interrupts();
    bound(&mut world);
    world.offer_spaces();
    let before = world.platform.interrupts_taken();
    let id = world.processes[0].mm.id();
    world.os.munmap(id, VA..VA + PAGE).unwrap();
    assert!(world.platform.interrupts_taken() > before + 20);
    world.platform.set_interrupts(1, 0);
    world.audit().unwrap();
    assert_eq!(details(&world), Vec::<&str>::new());
}
