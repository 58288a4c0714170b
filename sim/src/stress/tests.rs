//! The audit sees what it must, and a run can be repeated.

use super::world::{Process, World};
use super::*;
use crate::endpoint::{Channel, Kind, Request};
use crate::machine::memory::PAGE;
use crate::os::{Mapping, Permissions};
use pasidon_driver::PageTableMode;

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
    let request = |page| Request { va: VA + page * PAGE, length: 16, write: page % 2 == 1, exec: false };
    let requests = (0..4).map(request).collect();
    let pasid = process.bonds[&0].pasid;
    let mut channel = Channel::new(device.id, Some(pasid), device.port, requests);
    (channel.kind, channel.space) = (Kind::Ats, Some(process.mm.id()));
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
        machine.dma.set_data_latency(20_000);
        let endpoint = machine.dma.endpoint(device).unwrap();
        (endpoint.behaviour.waits, endpoint.behaviour.delay) = (false, 0);
        let requests = [Request { va: VA, length: 8, write: false, exec: false }].into();
        let pasid = world.processes[0].bonds[&0].pasid;
        let channel = Channel { kind: Kind::Ats, ..Channel::new(device, Some(pasid), 0, requests) };
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
    let base = world.platform.machine().memory.base();
    let request = |page| Request { va: base + page % 4096 * PAGE, length: 8, write: false, exec: false };
    let channel = Channel {
        kind: Kind::Forged,
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
