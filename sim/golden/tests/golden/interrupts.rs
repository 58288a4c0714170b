//! Interrupts by wire and by message.

use crate::world::*;
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::{Cause, FaultRecord};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{self as reg, ipsr};

const ALL_VECTORS: u64 = 0x4321;
const MESSAGES: u64 = 0x50_0000;

/// Interrupts of all queues on, one vector for each cause: 1 command, 2 fault, 3 monitor, 4 page request.
fn world(wired: bool) -> World {
    let mut world = World::full();
    world.write(&reg::fctl::REG, reg::fctl::WSI.of(wired.into()));
    for csr in [&reg::cqcsr::REG, &reg::fqcsr::REG, &reg::pqcsr::REG] {
        world.write(csr, 3);
    }
    world.write(&reg::icvec::REG, ALL_VECTORS);
    for vector in 0..16 {
        world.write_nth(&reg::msi_addr::REG, vector, MESSAGES + 4 * u64::from(vector));
        world.write_nth(&reg::msi_data::REG, vector, 0x1000 + u64::from(vector));
    }
    world.device(DEVICE, device_context(dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask()));
    world
}

/// The four causes.
fn provoke(world: &mut World, cause: usize) {
    match cause {
        0 => world.push([0x7f, 0]),
        1 => {
            world.fault(read(7, 0));
        }
        2 => {
            world.write(&reg::iohpmcycles::REG, (1 << 63) - 1);
            world.golden.advance(1);
        }
        _ => {
            let request = PageRequest { did: DEVICE, read: true, ..PageRequest::default() };
            world.golden.page_request(&mut world.ram, &request).expect("queued");
        }
    }
    world.run();
}

#[test]
fn wires_follow_the_pending_bits() {
    for cause in 0..4 {
        let mut world = world(true);
        assert_eq!((world.golden.wires(), world.read(&reg::ipsr::REG)), (0, 0));
        provoke(&mut world, cause);
        assert_eq!(world.read(&reg::ipsr::REG), 1 << cause);
        assert_eq!(world.golden.wires(), 2 << cause);
        // The wire moves with the vector.
        world.write(&reg::icvec::REG, 0xffff);
        assert_eq!(world.golden.wires(), 1 << 15);
        // No message.
        assert!((0..16).all(|vector| world.ram.get4(MESSAGES + 4 * vector) == 0));
        world.write(&reg::ipsr::REG, 1 << cause);
        // The command queue's condition lasts.
        let lasts = cause == 0;
        assert_eq!(world.read(&reg::ipsr::REG), u64::from(lasts));
    }
}

#[test]
fn messages_are_sent_when_a_bit_rises() {
    for cause in 0..4 {
        let mut world = world(false);
        let at = MESSAGES + 4 * (cause as u64 + 1);
        let data = 0x1001 + cause as u32;
        assert_eq!(world.golden.wires(), 0);
        provoke(&mut world, cause);
        assert_eq!(world.ram.get4(at), data);
        assert_eq!(world.golden.wires(), 0);
        // Not again while the bit is set.
        world.ram.set4(at, 0);
        if cause == 1 {
            provoke(&mut world, cause);
        }
        assert_eq!(world.ram.get4(at), 0);
        world.write(&reg::ipsr::REG, 1 << cause);
        // Again, because the condition of the command queue lasts.
        assert_eq!(world.ram.get4(at), if cause == 0 { data } else { 0 });
        if cause != 0 {
            provoke(&mut world, cause);
            assert_eq!(world.ram.get4(at), data);
        }
    }
}

#[test]
fn masked_messages_wait() {
    let mut world = world(false);
    world.write_nth(&reg::msi_vec_ctl::REG, 2, 1);
    provoke(&mut world, 1);
    world.write(&reg::ipsr::REG, ipsr::FIP.mask());
    provoke(&mut world, 1);
    assert_eq!(world.ram.get4(MESSAGES + 8), 0);
    let before = world.ram.writes;
    world.write_nth(&reg::msi_vec_ctl::REG, 2, 0);
    assert_eq!(world.ram.get4(MESSAGES + 8), 0x1002);
    assert_eq!(world.ram.writes, before + 1, "one message for both");
    // Another vector is not held back.
    world.write_nth(&reg::msi_vec_ctl::REG, 2, 1);
    provoke(&mut world, 0);
    assert_eq!(world.ram.get4(MESSAGES + 4), 0x1001);
}

#[test]
fn big_endian_messages() {
    let mut world = world(false);
    world.write(&reg::fctl::REG, reg::fctl::BE.mask());
    world.mode(0);
    provoke(&mut world, 1);
    assert_eq!(world.ram.get4(MESSAGES + 8), 0x1002_u32.swap_bytes());
}

#[test]
fn a_message_that_cannot_be_written_is_recorded() {
    let mut world = world(false);
    for address in [MESSAGES + 8, 0xff_ffff_ffff_fffc] {
        world.write(&reg::ipsr::REG, ipsr::FIP.mask());
        world.write_nth(&reg::msi_addr::REG, 2, address);
        world.ram.failures = vec![(address..address + 4, Failing::Write)];
        world.faults();
        provoke(&mut world, 1);
        let records = world.faults();
        assert_eq!(records.len(), 2);
        let expected = FaultRecord {
            cause: Cause::IommuMsiWriteAccessFault.code(),
            iotval: address,
            ..FaultRecord::default()
        };
        assert_eq!(records[1], expected);
    }
}

#[test]
fn interrupts_need_their_enable() {
    let mut world = world(true);
    for csr in [&reg::cqcsr::REG, &reg::fqcsr::REG, &reg::pqcsr::REG] {
        world.write(csr, 1);
    }
    for cause in [0, 1, 3] {
        provoke(&mut world, cause);
    }
    assert_eq!(world.read(&reg::ipsr::REG), 0);
    // An error that stands raises it once it is enabled; a record of the past does not.
    for csr in [&reg::cqcsr::REG, &reg::fqcsr::REG, &reg::pqcsr::REG] {
        world.write(csr, 3);
    }
    assert_eq!(world.read(&reg::ipsr::REG), ipsr::CIP.mask());
}

#[test]
fn error_bits_of_each_queue_interrupt() {
    // Overflow of the fault queue: the record is lost, the interrupt is not.
    let mut world = world(true);
    for _ in 0..ENTRIES - 1 {
        provoke(&mut world, 1);
    }
    world.write(&reg::ipsr::REG, ipsr::FIP.mask());
    assert_eq!(world.read(&reg::ipsr::REG), 0);
    provoke(&mut world, 1);
    assert_eq!(world.read(&reg::ipsr::REG), ipsr::FIP.mask());
    world.write(&reg::ipsr::REG, ipsr::FIP.mask());
    assert_eq!(world.read(&reg::ipsr::REG), ipsr::FIP.mask(), "the condition lasts");
    world.write(&reg::fqcsr::REG, 3 | reg::fqcsr::FQOF.mask());
    world.write(&reg::ipsr::REG, ipsr::FIP.mask());
    assert_eq!(world.read(&reg::ipsr::REG), 0);

    // A fence that interrupts.
    let fence = pasidon_spec::command::Command::IofenceC { pr: false, pw: false, wsi: true, store: None };
    world.command(fence);
    assert_eq!(world.read(&reg::ipsr::REG), ipsr::CIP.mask());
}
