//! Control and status of the queues, full queues, and queues in memory that fails. Commands are in `commands`.

use crate::world::*;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::dc;
use pasidon_spec::message::Message;
use pasidon_spec::page_request::{PageRequest, Refusal};
use pasidon_spec::registers as reg;

const FENCE: Command = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };

#[test]
fn fault_queue_wraps_and_overflows() {
    let mut world = World::full();
    for round in 0..3 * ENTRIES {
        world.fault(read(round as u32, 0x1000 * round));
        let records = world.faults();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].did, records[0].iotval), (round as u32, 0x1000 * round));
    }
    // One entry stays free.
    for round in 0..ENTRIES {
        assert_eq!(world.read(&reg::fqcsr::REG) & reg::fqcsr::FQOF.mask(), 0, "{round}");
        world.fault(read(DEVICE, 0));
    }
    assert!(reg::fqcsr::FQOF.is_set(world.read(&reg::fqcsr::REG)));
    assert_eq!(world.faults().len() as u64, ENTRIES - 1);
    // Until the bit is cleared nothing is recorded, although there is room.
    world.fault(read(DEVICE, 0));
    assert!(world.faults().is_empty());
    world.write(&reg::fqcsr::REG, 1 | reg::fqcsr::FQOF.mask());
    world.fault(read(DEVICE, 0));
    assert_eq!(world.faults().len(), 1);
}

#[test]
fn fault_queue_in_memory_that_fails() {
    let mut world = World::full();
    for dword in 0..4 {
        let at = FAULTS + dword * 8;
        world.ram.failures = vec![(at..at + 8, Failing::Write)];
        world.fault(read(DEVICE, 0));
        assert_eq!(world.read(&reg::fqcsr::REG), 0x1_0001 | reg::fqcsr::FQMF.mask());
        assert_eq!(world.read(&reg::fqt::REG), 0);
        world.ram.failures.clear();
        world.fault(read(DEVICE, 0));
        assert_eq!(world.read(&reg::fqt::REG), 0, "stopped until the bit is cleared");
        world.write(&reg::fqcsr::REG, 1 | reg::fqcsr::FQMF.mask());
    }
}

#[test]
fn switching_on_clears_what_the_iommu_writes() {
    let mut world = World::full();
    world.fault(read(DEVICE, 0));
    assert_eq!(world.read(&reg::fqt::REG), 1);
    world.write(&reg::fqcsr::REG, 0);
    assert_eq!(world.read(&reg::fqcsr::REG), 0);
    assert_eq!(world.read(&reg::fqt::REG), 1, "cleared when it is switched on");
    world.fault(read(DEVICE, 0));
    assert_eq!(world.read(&reg::fqt::REG), 1, "nothing is recorded while it is off");
    world.write(&reg::fqcsr::REG, 1);
    assert_eq!(world.read(&reg::fqt::REG), 0);

    // The command queue, stopped by an error.
    world.push([0x7f, 0]);
    let csr = world.read(&reg::cqcsr::REG);
    assert!(reg::cqcsr::CMD_ILL.is_set(csr) && reg::cqcsr::CQON.is_set(csr));
    world.write(&reg::cqcsr::REG, 0);
    assert!(reg::cqcsr::CMD_ILL.is_set(world.read(&reg::cqcsr::REG)), "stays while it is off");
    world.write(&reg::cqt::REG, 0);
    world.write(&reg::cqcsr::REG, 1);
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0001);
}

#[test]
fn busy_from_the_write_to_the_next_run() {
    let mut world = World::full();
    for (csr, on) in
        [(&reg::cqcsr::REG, 0), (&reg::fqcsr::REG, 0), (&reg::pqcsr::REG, 0), (&reg::cqcsr::REG, 1)]
    {
        world.golden.write_register(csr.offset, 4, on);
        let value = world.read(csr);
        assert_eq!(value & 0x3_0001, 1 << 17 | if on == 1 { 1 } else { 1 << 16 }, "{}", csr.name);
        // Ignored.
        world.golden.write_register(csr.offset, 4, 3 - on);
        assert_eq!(world.read(csr), value);
        world.run();
        assert_eq!(world.read(csr) & 0x3_0001, if on == 1 { 0x1_0001 } else { 0 });
    }
    // Interrupt enables and error bits need no wait.
    world.golden.write_register(reg::cqcsr::REG.offset, 4, 3);
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0003);
}

#[test]
fn command_queue_in_memory_that_fails() {
    for (word, failing) in [(0, Failing::Read), (8, Failing::Read), (8, Failing::Corrupt)] {
        let mut world = World::full();
        world.command(FENCE);
        world.ram.failures = vec![(COMMANDS + 16 + word..COMMANDS + 24 + word, failing)];
        world.push(FENCE.encode());
        assert!(reg::cqcsr::CQMF.is_set(world.read(&reg::cqcsr::REG)));
        assert_eq!(world.read(&reg::cqh::REG), 1, "cqh names the command");
        world.ram.failures.clear();
        world.run();
        assert_eq!(world.read(&reg::cqh::REG), 1, "stopped until the bit is cleared");
        world.write(&reg::cqcsr::REG, 1 | reg::cqcsr::CQMF.mask());
        assert_eq!(world.read(&reg::cqh::REG), 2);
    }
}

#[test]
fn command_queue_wraps() {
    let mut world = World::full();
    for _ in 0..3 * ENTRIES {
        world.command(FENCE);
    }
    assert_eq!(world.read(&reg::cqh::REG), 3 * ENTRIES % ENTRIES);
}

fn requester() -> (World, PageRequest) {
    let mut world = World::full();
    let tc = dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask();
    world.device(DEVICE, device_context(tc));
    let request = PageRequest {
        did: DEVICE,
        pv: true,
        pid: 0x5_4321,
        privileged: true,
        execute: true,
        read: true,
        write: false,
        last: true,
        index: 0x155,
        page: 0xa_5a5a_5a5a_5a5a,
    };
    (world, request)
}

#[test]
fn page_requests_are_queued() {
    let (mut world, request) = requester();
    let stop = PageRequest { read: false, ..request };
    let anonymous = PageRequest { pv: false, ..request };
    for (i, sent) in [request, stop, anonymous].into_iter().enumerate() {
        assert_eq!(world.golden.page_request(&mut world.ram, &sent), Ok(()));
        let at = REQUESTS + 16 * i as u64;
        let record = PageRequest::decode([world.ram.get(at), world.ram.get(at + 8)]);
        let expected =
            if sent.pv { sent } else { PageRequest { pid: 0, privileged: false, execute: false, ..sent } };
        assert_eq!(record, expected);
        assert_eq!(world.read(&reg::pqt::REG), i as u64 + 1);
    }
    assert!(world.golden.take_messages().is_empty());
}

#[test]
fn page_request_queue_overflows_and_fails() {
    let (mut world, request) = requester();
    for _ in 0..ENTRIES - 1 {
        assert_eq!(world.golden.page_request(&mut world.ram, &request), Ok(()));
    }
    for _ in 0..2 {
        let result = world.golden.page_request(&mut world.ram, &request);
        assert_eq!(result, Err(Refusal::QueueOverflow));
        assert!(reg::pqcsr::PQOF.is_set(world.read(&reg::pqcsr::REG)));
        // Overflow stays until it is cleared.
        world.write(&reg::pqh::REG, 5);
    }
    world.write(&reg::pqcsr::REG, 1 | reg::pqcsr::PQOF.mask());
    let at = REQUESTS + 16 * (ENTRIES - 1);
    world.ram.failures = vec![(at..at + 16, Failing::Write)];
    for _ in 0..2 {
        let result = world.golden.page_request(&mut world.ram, &request);
        assert_eq!(result, Err(Refusal::QueueMemoryFault));
        assert!(reg::pqcsr::PQMF.is_set(world.read(&reg::pqcsr::REG)));
        world.ram.failures.clear();
    }
    world.write(&reg::pqcsr::REG, 0);
    let result = world.golden.page_request(&mut world.ram, &request);
    assert_eq!(result, Err(Refusal::QueueOff));
    world.write(&reg::pqcsr::REG, 1);
    assert_eq!(world.golden.page_request(&mut world.ram, &request), Ok(()));
    assert_eq!(world.read(&reg::pqt::REG), 1);
    assert!(world.faults().is_empty(), "none of this is a fault");
    let answers = world.golden.take_messages();
    assert_eq!(answers.len(), 5);
    assert!(answers.iter().all(|answer| matches!(answer, Message::GroupResponse { .. })));
}
