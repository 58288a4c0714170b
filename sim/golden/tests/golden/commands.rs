//! Commands: fences, what is illegal, and messages to devices. What invalidations do is in `invalidation`.

use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::command::{Command, Range, Store, ats, iodir, iofence, iotinval};
use pasidon_spec::ddt::{dc, iommu_mode};
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::message::{InvalidationRequest, PageRequestGroupResponse};
use pasidon_spec::registers::{self as reg, capabilities as cap, cqcsr};

fn fence(wsi: bool, store: Option<Store>) -> Command {
    Command::IofenceC { pr: false, pw: false, wsi, store }
}

/// Whether the IOMMU takes this command; if not, it says so and stops.
#[track_caller]
fn is_legal(world: &mut World, dwords: [u64; 2]) -> bool {
    let head = world.read(&reg::cqh::REG);
    world.push(dwords);
    let csr = world.read(&reg::cqcsr::REG);
    let illegal = cqcsr::CMD_ILL.is_set(csr);
    assert_eq!(csr & !cqcsr::CMD_ILL.mask() & !cqcsr::FENCE_W_IP.mask(), 0x1_0001);
    assert_eq!(world.read(&reg::cqh::REG) == head, illegal);
    if illegal {
        // Software overwrites it by a fence, and goes on.
        let at = COMMANDS + head * 16;
        let [first, second] = fence(false, None).encode();
        world.ram.set(at, first);
        world.ram.set(at + 8, second);
        world.write(&reg::cqcsr::REG, 1 | cqcsr::CMD_ILL.mask());
        assert_eq!(world.read(&reg::cqh::REG), (head + 1) % ENTRIES);
    }
    !illegal
}

fn range() -> Option<Range> {
    Some(Range { page: 0x12345, napot: true, non_leaf: true })
}

/// One command of each form, with its reserved bits.
fn forms() -> Vec<(Command, [u64; 2])> {
    vec![
        (Command::IotinvalVma { gscid: Some(1), pscid: Some(2), range: range() }, iotinval::RESERVED),
        (Command::IotinvalVma { gscid: None, pscid: None, range: None }, iotinval::RESERVED),
        (Command::IotinvalGvma { guest: Some((1, range())) }, iotinval::RESERVED),
        (Command::IotinvalGvma { guest: None }, iotinval::RESERVED),
        (fence(true, Some(Store { address: 0x9000, data: 1 })), iofence::RESERVED),
        (fence(false, None), iofence::RESERVED),
        (Command::IodirInvalDdt { did: Some(3) }, [iodir::RESERVED[0] | iodir::PID.mask(), u64::MAX]),
        (Command::IodirInvalDdt { did: None }, [iodir::RESERVED[0] | iodir::PID.mask(), u64::MAX]),
        (Command::IodirInvalPdt { did: 3, pid: 4 }, iodir::RESERVED),
        (Command::AtsPrgr { pid: Some(3), dseg: Some(4), rid: 5, payload: 0 }, ats::RESERVED),
    ]
}

#[test]
fn reserved_bits_are_illegal() {
    let mut world = World::full();
    for (command, reserved) in forms() {
        let dwords = command.encode();
        assert!(is_legal(&mut world, dwords), "{command:?}");
        for (i, mask) in reserved.into_iter().enumerate() {
            for bit in (0..64).filter(|bit| mask >> bit & 1 == 1) {
                let mut wrong = dwords;
                wrong[i] |= 1 << bit;
                assert!(!is_legal(&mut world, wrong), "{command:?} word {i} bit {bit}");
            }
        }
    }
}

#[test]
fn reserved_operations_are_illegal() {
    let mut world = World::full();
    let defined = [(1, 0), (1, 1), (2, 0), (3, 0), (4, 0), (4, 1)];
    for opcode in 0..128u64 {
        for function in 0..8u64 {
            // IODIR.INVAL_PDT needs DV.
            let expected = defined.contains(&(opcode, function));
            if (opcode, function) == (4, 0) {
                continue;
            }
            let dwords = [opcode | function << 7, 0];
            assert_eq!(is_legal(&mut world, dwords), expected, "{opcode} {function}");
        }
    }
    // PSCV in GVMA.
    let [first, second] = Command::IotinvalGvma { guest: None }.encode();
    assert!(!is_legal(&mut world, [first | iotinval::PSCV.mask(), second]));
}

#[test]
fn operations_of_features_that_are_not_there() {
    let without = |features: &[pasidon_spec::field::Field]| {
        let capabilities =
            features.iter().fold(Parameters::full_capabilities(), |word, field| field.set(word, 0));
        Parameters::new(capabilities)
    };
    let ranged = |napot, non_leaf| Command::IotinvalVma {
        gscid: None,
        pscid: None,
        range: Some(Range { page: 1, napot, non_leaf }),
    };
    let cases = [
        (ranged(true, false), vec![cap::S]),
        (ranged(false, true), vec![cap::NL]),
        (Command::AtsPrgr { pid: None, dseg: None, rid: 0, payload: 0 }, vec![cap::ATS]),
        (Command::IodirInvalPdt { did: 0, pid: 0x2_0000 }, vec![cap::PD20]),
        (Command::IodirInvalPdt { did: 0, pid: 0x100 }, vec![cap::PD20, cap::PD17]),
        (Command::IodirInvalPdt { did: 0, pid: 1 }, vec![cap::PD20, cap::PD17, cap::PD8]),
    ];
    for (command, features) in cases {
        assert!(is_legal(&mut World::full(), command.encode()), "{command:?}");
        assert!(!is_legal(&mut World::new(without(&features)), command.encode()), "{command:?}");
    }
    // Without a second stage IOTINVAL.GVMA has nothing to do; an implementation may take it for unsupported.
    let one_stage = without(&[cap::SV32X4, cap::SV39X4, cap::SV48X4, cap::SV57X4]);
    for gvma_needs_second_stage in [false, true] {
        let mut world = World::new(Parameters { gvma_needs_second_stage, ..one_stage });
        let legal = is_legal(&mut world, Command::IotinvalGvma { guest: None }.encode());
        assert_eq!(legal, !gvma_needs_second_stage);
    }
    // Interrupts by messages: the wired interrupt of a fence is reserved.
    let mut world = World::full();
    assert!(is_legal(&mut world, fence(true, None).encode()));
    world.write(&reg::fctl::REG, 0);
    assert!(!is_legal(&mut world, fence(true, None).encode()));
}

#[test]
fn device_ids_are_as_wide_as_the_directory() {
    for (extended, mode, bits) in [
        (true, iommu_mode::LVL1, 6),
        (true, iommu_mode::LVL2, 15),
        (false, iommu_mode::LVL1, 7),
        (false, iommu_mode::LVL2, 16),
    ] {
        let capabilities = cap::MSI_FLAT.set(Parameters::full_capabilities(), u64::from(extended));
        let mut world = World::new(Parameters::new(capabilities));
        for (did, narrow) in [((1 << bits) - 1, true), (1 << bits, false)] {
            for command in [Command::IodirInvalDdt { did: Some(did) }, Command::IodirInvalPdt { did, pid: 0 }]
            {
                world.mode(mode);
                assert_eq!(is_legal(&mut world, command.encode()), narrow, "{mode} {did:#x}");
                for wide in [iommu_mode::OFF, iommu_mode::BARE, iommu_mode::LVL3] {
                    world.mode(wide);
                    assert!(is_legal(&mut world, command.encode()), "{wide} {did:#x}");
                }
            }
        }
    }
}

#[test]
fn a_fence_stores_and_interrupts() {
    let mut world = World::full();
    world.command(fence(false, Some(Store { address: 0x9004, data: 0x1234_5678 })));
    assert_eq!(world.ram.get(0x9000), 0x1234_5678_0000_0000);
    assert!(!cqcsr::FENCE_W_IP.is_set(world.read(&reg::cqcsr::REG)));
    world.command(fence(true, None));
    assert!(cqcsr::FENCE_W_IP.is_set(world.read(&reg::cqcsr::REG)));
    // It does not stop the queue.
    world.command(fence(true, None));

    // A store that fails.
    world.ram.failures = vec![(0x9000..0x9008, Failing::Write)];
    let head = world.read(&reg::cqh::REG);
    world.write(&reg::cqcsr::REG, 1 | cqcsr::FENCE_W_IP.mask());
    world.push(fence(true, Some(Store { address: 0x9000, data: 7 })).encode());
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0001 | cqcsr::CQMF.mask(), "it did not complete");
    assert_eq!(world.read(&reg::cqh::REG), head);
    world.ram.failures.clear();
    world.write(&reg::cqcsr::REG, 1 | cqcsr::CQMF.mask());
    assert_eq!(world.ram.get4(0x9000), 7);
    assert_eq!(world.read(&reg::cqh::REG), head + 1);
    // Beyond the physical address space.
    world.push(fence(false, Some(Store { address: 1 << 56, data: 7 })).encode());
    assert!(cqcsr::CQMF.is_set(world.read(&reg::cqcsr::REG)));
}

#[test]
fn big_endian_commands_and_stores() {
    let mut world = World::full();
    world.write(&reg::fctl::REG, reg::fctl::BE.mask());
    world.big_endian = true;
    world.command(fence(false, Some(Store { address: 0x9004, data: 0x1234_5678 })));
    assert_eq!(world.ram.get4(0x9004), 0x7856_3412);
    world.fault(read(DEVICE, 0x1234));
    assert_eq!(world.faults()[0].iotval, 0x1234, "records too");
}

const INVALIDATION: InvalidationRequest = InvalidationRequest { global: true, page: 0x1234, napot: false };

fn invalidate(rid: u16) -> Command {
    Command::AtsInval { pid: Some(7), dseg: Some(0x12), rid, payload: INVALIDATION.encode() }
}

fn ats_world(invalidations_in_flight: u8) -> World {
    let mut world = World::new(Parameters { invalidations_in_flight, ..Parameters::full() });
    for rid in 0..8 {
        world.device(0x12_0000 | rid, device_context(dc::tc::EN_ATS.mask()));
    }
    world
}

fn completion(rid: u16, itags: u32, count: u8) -> InvalidationCompletion {
    InvalidationCompletion { rid, dseg: Some(0x12), itags, count }
}

fn complete(world: &mut World, completion: InvalidationCompletion) -> bool {
    let known = world.golden.invalidation_completion(&mut world.ram, &completion);
    world.run();
    known
}

#[test]
fn a_fence_waits_for_devices() {
    let mut world = ats_world(32);
    world.command(invalidate(1));
    world.command(invalidate(2));
    let sent = world.golden.take_messages();
    let expected =
        |rid, itag| Message::Invalidation { rid, dseg: Some(0x12), pid: Some(7), itag, body: INVALIDATION };
    assert_eq!(sent, [expected(1, 0), expected(2, 1)]);
    world.push(fence(true, Some(Store { address: 0x9000, data: 9 })).encode());
    assert_eq!(world.read(&reg::cqh::REG), 2);
    // Not theirs: another device, an itag that is not in flight, nobody.
    for wrong in [completion(2, 1, 1), completion(1, 4, 1), completion(1, 0, 1)] {
        assert!(!complete(&mut world, wrong));
    }
    let segment = InvalidationCompletion { dseg: None, ..completion(1, 1, 1) };
    assert!(!complete(&mut world, segment));
    // The first device answers in three parts.
    for _ in 0..3 {
        assert_eq!(world.read(&reg::cqh::REG), 2);
        assert!(complete(&mut world, completion(1, 1, 3)));
    }
    assert_eq!(world.read(&reg::cqh::REG), 2);
    assert_eq!(world.ram.get4(0x9000), 0);
    assert!(complete(&mut world, completion(2, 2, 1)));
    assert_eq!(world.read(&reg::cqh::REG), 3);
    assert_eq!(world.ram.get4(0x9000), 9);
    assert!(!complete(&mut world, completion(2, 2, 1)), "already answered");
}

#[test]
fn eight_answers_are_counted_as_0() {
    let mut world = ats_world(32);
    world.command(invalidate(1));
    world.push(fence(false, None).encode());
    for _ in 0..8 {
        assert_eq!(world.read(&reg::cqh::REG), 1);
        assert!(complete(&mut world, completion(1, 1, 0)));
    }
    assert_eq!(world.read(&reg::cqh::REG), 2);
}

#[test]
fn invalidations_wait_for_a_tag() {
    let mut world = ats_world(2);
    for rid in 0..5 {
        world.push(invalidate(rid).encode());
    }
    assert_eq!(world.read(&reg::cqh::REG), 2);
    assert_eq!(world.golden.take_messages().len(), 2);
    assert!(complete(&mut world, completion(1, 2, 1)));
    assert_eq!(world.read(&reg::cqh::REG), 3);
    let sent = world.golden.take_messages();
    assert!(matches!(sent[..], [Message::Invalidation { rid: 2, itag: 1, .. }]));
    // One completion may name several requests of a device.
    world.golden.invalidation_timeout(3);
    world.run();
    assert_eq!(world.read(&reg::cqh::REG), 5);
}

#[test]
fn time_runs_out() {
    let parameters = Parameters { invalidation_timeout: Some(100), ..Parameters::full() };
    let mut world = World::new(parameters);
    world.device(0x12_0001, device_context(dc::tc::EN_ATS.mask()));
    assert_eq!(world.golden.until_timeout(), None);
    world.command(invalidate(1));
    world.golden.advance(60);
    world.command(invalidate(1));
    world.push(fence(true, None).encode());
    assert_eq!(world.golden.until_timeout(), Some(40));
    world.golden.advance(39);
    world.run();
    // Answered in the last moment; the other is not.
    assert!(complete(&mut world, completion(1, 1, 1)));
    world.golden.advance(60);
    world.run();
    assert_eq!((world.golden.until_timeout(), world.read(&reg::cqcsr::REG)), (Some(1), 0x1_0001));
    world.golden.advance(u64::MAX);
    assert!(!complete(&mut world, completion(1, 2, 1)), "too late");
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0001 | cqcsr::CMD_TO.mask());
    assert_eq!(world.golden.until_timeout(), None);
    // Without a limit nothing does.
    let mut world = ats_world(32);
    world.command(invalidate(1));
    world.golden.advance(u64::MAX);
    assert_eq!(world.golden.until_timeout(), None);
    assert!(complete(&mut world, completion(1, 1, 1)));
}

#[test]
fn a_fence_reports_timeouts() {
    let mut world = ats_world(32);
    world.command(invalidate(1));
    world.push(fence(true, None).encode());
    world.golden.invalidation_timeout(1);
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0001, "only the fence says so");
    world.run();
    assert_eq!(world.read(&reg::cqcsr::REG), 0x1_0001 | cqcsr::CMD_TO.mask());
    assert_eq!(world.read(&reg::cqh::REG), 1, "cqh names the fence");
    world.write(&reg::cqcsr::REG, 1 | cqcsr::CMD_TO.mask());
    assert_eq!(world.read(&reg::cqh::REG), 2);
    assert!(cqcsr::FENCE_W_IP.is_set(world.read(&reg::cqcsr::REG)));
    // A time that runs out for nobody.
    world.golden.invalidation_timeout(u32::MAX);
    world.command(fence(false, None));
}

#[test]
fn switching_off_ends_the_wait() {
    let mut world = ats_world(32);
    world.command(invalidate(1));
    world.push(fence(true, None).encode());
    world.write(&reg::cqcsr::REG, 0);
    assert_eq!(world.read(&reg::cqcsr::REG), 0);
    assert!(complete(&mut world, completion(1, 1, 1)));
    assert_eq!(world.read(&reg::cqh::REG), 1);
    world.write(&reg::cqt::REG, 0);
    world.write(&reg::cqcsr::REG, 1);
    world.command(fence(true, None));
    assert_eq!(world.read(&reg::cqh::REG), 1);
}

#[test]
fn group_responses_are_sent() {
    let mut world = World::full();
    let body = PageRequestGroupResponse { index: 0x1aa, code: 1 };
    for (pid, dseg) in [(None, None), (Some(0xf_ffff), Some(0xff))] {
        world.command(Command::AtsPrgr { pid, dseg, rid: 0xffff, payload: body.encode() });
        let expected = Message::GroupResponse { rid: 0xffff, dseg, pid, body };
        assert_eq!(world.golden.take_messages(), [expected]);
    }
}
