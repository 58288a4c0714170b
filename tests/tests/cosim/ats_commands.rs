//! ATS.INVAL and ATS.PRGR, and the answers of devices. (Section "IOMMU PCIe ATS commands".)

use pasidon_cosim::Pace;
use pasidon_spec::command::{Command, Store, ats, func3, opcode};
use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::fault::{Cause, ttyp};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::message::{InvalidationRequest, PageRequestGroupResponse, code};
use pasidon_spec::registers::{cqcsr, cqh, cqt, fctl, ipsr, msi_addr, msi_vec_ctl};
use pasidon_tests::devices::{DID, Devices, completion, willing};
use pasidon_verify::engine::Engine;

const DESIGNS: [&str; 2] = ["endpoint", "endpoints"];

fn invalidation(page: u64) -> Command {
    let payload = InvalidationRequest { global: false, page, napot: false }.encode();
    Command::AtsInval { pid: None, dseg: None, rid: DID as u16, payload }
}

fn fence(data: u32) -> Command {
    Command::IofenceC { pr: false, pw: false, wsi: false, store: Some(Store { address: 0x9_0000, data }) }
}

/// The itags of the invalidation requests sent since the last call.
fn itags(d: &mut Devices) -> Vec<u8> {
    let itag = |message: Message| match message {
        Message::Invalidation { itag, .. } => itag,
        other => panic!("{other:?}"),
    };
    d.messages().into_iter().map(itag).collect()
}

/// Whether the fence with this number is past.
fn fenced(d: &mut Devices, data: u32) -> bool {
    d.settle();
    d.both.load(0x9_0000) == Some(data.into())
}

#[test]
fn messages_say_what_commands_say() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        for (pid, dseg, rid) in
            [(None, None, 0x1234), (Some(0xf_0f0f), Some(0xa5), 0xffff), (Some(1), None, 0)]
        {
            let body = PageRequestGroupResponse { index: 0x1a5, code: 0xf };
            d.command(&[Command::AtsPrgr { pid, dseg, rid, payload: body.encode() }]);
            assert_eq!(d.messages(), [Message::GroupResponse { rid, dseg, pid, body }], "{name}");
            let body = InvalidationRequest { global: true, page: 0xf_edcb_a987_6543, napot: true };
            d.command(&[Command::AtsInval { pid, dseg, rid, payload: body.encode() }]);
            assert_eq!(d.messages(), [Message::Invalidation { rid, dseg, pid, itag: 0, body }], "{name}");
            assert_eq!(d.commands_left(), 0, "{name}: cqh does not wait for the completion");
            d.time_out();
            // The fence says so once.
            d.command(&[fence(1)]);
            assert!(cqcsr::CMD_TO.is_set(d.read(&cqcsr::REG)), "{name}");
            d.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CMD_TO.of(1));
            assert_eq!(d.commands_left(), 0, "{name}");
        }
    }
}

#[test]
fn reserved_bits_and_functions_are_illegal() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let good = Command::AtsPrgr { pid: None, dseg: None, rid: DID as u16, payload: u64::MAX }.encode();
        let mut wrong: Vec<u64> =
            (0..64).filter(|bit| ats::RESERVED[0] >> bit & 1 != 0).map(|bit| good[0] | 1 << bit).collect();
        assert_eq!(wrong.len(), 8);
        wrong.extend((2..8).map(|func| opcode::ATS | func << 7));
        assert_eq!(func3::ATS_PRGR, 1);
        for word in wrong {
            let tail = d.put(&[[word, 0]]);
            d.write(&cqt::REG, tail);
            assert!(cqcsr::CMD_ILL.is_set(d.read(&cqcsr::REG)), "{name}: {word:#x}");
            assert_eq!((d.commands_left(), d.messages().len()), (1, 0), "{name}: {word:#x}");
            // Corrected in its place.
            let at = pasidon_tests::devices::COMMANDS.entry(d.read(&cqh::REG));
            for (i, word) in good.into_iter().enumerate() {
                d.both.store(at + 8 * i as u64, word, false);
            }
            d.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CMD_ILL.of(1));
            assert_eq!((d.commands_left(), d.messages().len()), (0, 1), "{name}: {word:#x}");
        }
    }
}

#[test]
fn a_fence_waits_for_every_completion() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        for count in 1..=8u8 {
            d.command(&[invalidation(1), fence(count.into())]);
            assert_eq!(itags(&mut d), [0], "{name}");
            for came in 1..=count {
                assert_eq!((d.commands_left(), fenced(&mut d, count.into())), (1, false), "{name}: {came}");
                d.complete(&InvalidationCompletion { count: count & 7, ..completion(1) });
            }
            assert_eq!((d.commands_left(), fenced(&mut d, count.into())), (0, true), "{name}: {count}");
        }
    }
}

#[test]
fn completions_that_nobody_waits_for_are_ignored() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let other = 0x11;
        d.set_context(other, &willing());
        d.both.forget_all();
        d.complete(&completion(1));
        let payload = InvalidationRequest { global: false, page: 5, napot: false }.encode();
        d.command(&[Command::AtsInval { pid: None, dseg: Some(0), rid: DID as u16, payload }, fence(1)]);
        for wrong in [
            InvalidationCompletion { rid: other as u16, ..completion(1) },
            completion(0),
            completion(3),
            completion(1 << 31 | 1),
            completion(2),
        ] {
            d.complete(&wrong);
            assert_eq!(d.commands_left(), 1, "{name}: {wrong:x?}");
        }
        d.complete(&completion(1));
        assert_eq!((d.commands_left(), d.faults()), (0, vec![]), "{name}");
    }
    // Where there are segments, the same function of another is another device.
    let mut d = Devices::new("endpoints", &willing());
    let payload = InvalidationRequest { global: false, page: 5, napot: false }.encode();
    d.command(&[Command::AtsInval { pid: None, dseg: Some(1), rid: DID as u16, payload }, fence(1)]);
    d.complete(&completion(1));
    assert_eq!(d.commands_left(), 1, "of segment 0");
    d.time_out();
    assert!(cqcsr::CMD_TO.is_set(d.read(&cqcsr::REG)));
}

#[test]
fn a_device_without_ats_must_not_complete() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &DeviceContext { tc: dc::tc::V.of(1), ..DeviceContext::default() });
        d.command(&[invalidation(1), fence(1)]);
        d.complete(&completion(1));
        assert_eq!(d.commands_left(), 1, "{name}");
        let faults = d.faults();
        let fault = faults.first().expect("a record");
        assert_eq!(
            (fault.cause, fault.ttyp, fault.did, fault.pv, fault.iotval),
            (
                Cause::TransactionTypeDisallowed.code(),
                ttyp::MESSAGE_REQUEST as u8,
                DID,
                false,
                code::INVALIDATION_COMPLETION
            ),
            "{name}"
        );
    }
}

#[test]
fn commands_wait_for_a_tag_when_all_are_in_use() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let most = d.design.itags as usize;
        let commands: Vec<Command> = (0..most as u64 + 2).map(invalidation).collect();
        d.command(&commands);
        assert_eq!(itags(&mut d).len(), most, "{name}");
        assert_eq!(d.commands_left(), 2, "{name}");
        let freed = most as u32 / 2;
        d.complete(&completion(1 << freed));
        assert_eq!((itags(&mut d), d.commands_left()), (vec![freed as u8], 1), "{name}");
        // Time frees the rest, and whoever waits goes on.
        d.time_out();
        assert_eq!((itags(&mut d).len(), d.commands_left()), (1, 0), "{name}");
        d.time_out();
        d.command(&[fence(7)]);
        assert!(cqcsr::CMD_TO.is_set(d.read(&cqcsr::REG)), "{name}");
        assert!(ipsr::CIP.is_set(d.read(&ipsr::REG)), "{name}");
    }
}

#[test]
fn one_completion_may_answer_many_requests() {
    let mut d = Devices::new("endpoints", &willing());
    let commands: Vec<Command> = (0..32).map(invalidation).chain([fence(9)]).collect();
    d.command(&commands);
    assert_eq!(itags(&mut d), (0..32).collect::<Vec<u8>>());
    d.complete(&completion(0xffff_0000));
    // One of these is answered already: nothing counts.
    d.complete(&completion(0x0001_ffff));
    assert_eq!(d.commands_left(), 1);
    d.complete(&InvalidationCompletion { count: 2, ..completion(0x0000_ffff) });
    assert_eq!(d.commands_left(), 1);
    d.complete(&InvalidationCompletion { count: 2, ..completion(0x0000_ffff) });
    assert!(fenced(&mut d, 9));
}

#[test]
fn a_timeout_is_reported_by_one_fence_and_late_completions_are_ignored() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        d.command(&[invalidation(1), fence(1), fence(2)]);
        // Not before its time.
        d.both.step(u64::from(d.design.ats_timeout) / 2).expect("time passes");
        d.settle();
        assert_eq!(d.read(&cqcsr::REG) & cqcsr::CMD_TO.mask(), 0, "{name}");
        d.time_out();
        assert!(cqcsr::CMD_TO.is_set(d.read(&cqcsr::REG)), "{name}");
        assert_eq!((d.commands_left(), fenced(&mut d, 1)), (2, false), "{name}: cqh stays on the fence");
        d.complete(&completion(1));
        d.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CMD_TO.of(1));
        assert_eq!((d.commands_left(), fenced(&mut d, 2)), (0, true), "{name}: both fences are past");
        assert_eq!(d.read(&cqcsr::REG) & cqcsr::CMD_TO.mask(), 0, "{name}");
    }
}

/// The interrupt of the time-out is a message that cannot be written, and so a fault record, too. Whenever it comes while the engines
/// are compared, both have come to the same point.
#[test]
fn a_timeout_while_everything_rests_is_followed_to_its_end() {
    let mut d = Devices::new("endpoints", &willing());
    let begin = |d: &mut Devices| {
        d.reset(&willing());
        d.write(&fctl::REG, 0);
        d.write(&msi_addr::REG, 0xa_0000);
        d.write(&msi_vec_ctl::REG, 0);
        d.both.inject(0xa_0000..0xa_0008, Failure::Write);
        d.command(&[invalidation(1), fence(1)]);
        d.both.rtl().cycles()
    };
    let begun = begin(&mut d);
    let mut passed = 0;
    while !d.both.rtl().timed_out_since(begun) {
        d.both.step(1).expect("time passes");
        passed += 1;
    }
    for early in 0..60 {
        d.both.heal();
        begin(&mut d);
        d.both.step(passed - early).expect("time passes");
        d.settle();
        d.time_out();
        assert!(cqcsr::CMD_TO.is_set(d.read(&cqcsr::REG)), "{early}");
        // Of the interrupt of the command queue, and of that of the fault queue which the first record raises.
        assert_eq!(d.faults().len(), 2, "{early}");
    }
}

#[test]
fn a_queue_that_waits_can_be_turned_off() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let most = u64::from(d.design.itags);
        for commands in [
            (0..most).map(invalidation).chain([fence(1)]).collect::<Vec<_>>(),
            (0..most + 1).map(invalidation).collect(),
        ] {
            d.reset(&willing());
            d.command(&commands);
            assert_eq!(d.commands_left(), 1, "{name}");
            d.write(&cqcsr::REG, 0);
            assert_eq!(d.read(&cqcsr::REG), 0, "{name}: neither on nor busy");
            d.messages();
        }
    }
}

#[test]
fn messages_wait_for_the_port_in_order() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let pace = d.both.rtl().pace();
        d.both.rtl().set_pace(Pace { response_pauses: 252, ..pace });
        let responses: Vec<PageRequestGroupResponse> =
            (0..10).map(|index| PageRequestGroupResponse { index, code: 0 }).collect();
        let mut commands: Vec<Command> = responses
            .iter()
            .map(|body| Command::AtsPrgr { pid: None, dseg: None, rid: DID as u16, payload: body.encode() })
            .collect();
        commands.push(fence(3));
        d.command(&commands);
        let found: Vec<Message> = d.messages();
        let due: Vec<Message> = responses
            .into_iter()
            .map(|body| Message::GroupResponse { rid: DID as u16, dseg: None, pid: None, body })
            .collect();
        assert_eq!(found, due, "{name}");
        assert!(fenced(&mut d, 3), "{name}");
    }
}
