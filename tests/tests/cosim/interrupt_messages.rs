//! Interrupts as messages: the table, masks, edges, byte order, writes that fail; and the choice between wires and messages.
//! (Sections "Interrupt pending status register" and "MSI configuration table".)

use pasidon_spec::fault::{Cause, FaultRecord};
use pasidon_spec::memory::Failure;
use pasidon_spec::registers::{
    Register, cqcsr, cqt, fctl, fqcsr, icvec, ipsr, msi_addr, msi_data, msi_vec_ctl,
};
use pasidon_tests::{Pressure, Query, Rig};

const DESIGNS: [&str; 2] = ["messages", "full"];

/// Offset of an entry's register.
fn at(register: &Register, vector: u32) -> u32 {
    u32::from(register.offset) + 16 * vector
}

/// Where the message of `vector` goes, and what it says.
fn message(page: u64, vector: u32) -> (u64, u32) {
    (page + 4 * u64::from(3 * vector + 1), 0x8765_4300 + vector)
}

/// A rig with messages of every vector to a page of its own, and both queues and their interrupts on.
fn messenger(name: &str) -> (Rig, u64) {
    let mut rig = Rig::new(name, 3, 2);
    rig.write(&fctl::REG, 0);
    rig.start_queues(3, 3);
    let page = rig.page();
    rig.allow_writes(page..page + 4096);
    for vector in 0..rig.design.vectors {
        let (address, data) = message(page, vector);
        rig.write_at(at(&msi_addr::REG, vector), address, 8);
        rig.write_at(at(&msi_data::REG, vector), data.into(), 4);
    }
    rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1));
    rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(1));
    rig.forget_traffic();
    (rig, page)
}

/// Words of the page that are not 0, with their addresses; they are 0 afterwards.
fn received(rig: &mut Rig, page: u64) -> Vec<(u64, u32)> {
    let mut list = vec![];
    for address in (page..page + 4096).step_by(8) {
        let word = rig.load(address);
        for (half, value) in [(0, word as u32), (4, (word >> 32) as u32)] {
            if value != 0 {
                list.push((address + half, value));
            }
        }
        rig.store(address, 0);
    }
    list
}

/// A command that no byte order makes legal.
fn illegal_command(rig: &mut Rig) {
    rig.push_raw([u64::MAX; 2]);
    rig.drain_commands().expect_err("the command is illegal");
    rig.settle();
}

/// Ends the command queue's condition.
fn mend_commands(rig: &mut Rig) {
    rig.write(&cqcsr::REG, 0);
    rig.poll(&cqcsr::REG, |value| !cqcsr::CQON.is_set(value));
    // Turning the queue on moves cqh to 0.
    rig.command_tail = 0;
    rig.write(&cqt::REG, 0);
    rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1));
    rig.poll(&cqcsr::REG, |value| cqcsr::CQON.is_set(value));
    rig.write(&ipsr::REG, ipsr::CIP.of(1));
    rig.wait(4);
    assert!(!ipsr::CIP.is_set(rig.read(&ipsr::REG)));
}

/// A request in mode Off: one fault record.
fn fault(rig: &mut Rig) {
    assert_eq!(rig.ask(0, Query::read(1, None, 0x1000)).cause, 256);
    rig.settle();
}

#[test]
fn the_table_holds_an_entry_for_each_vector() {
    for name in ["tiny", "messages", "full"] {
        let mut rig = Rig::new(name, 1, 1);
        let there = if rig.design.msi { rig.design.vectors } else { 0 };
        // ADDR is WARL: it holds what the physical address space has.
        let here = (1u64 << rig.design.pas) - 1;
        let fields = [
            (&msi_addr::REG, msi_addr::ADDR.mask() & here),
            (&msi_data::REG, 0xffff_ffff),
            (&msi_vec_ctl::REG, 1),
        ];
        for vector in 0..16 {
            for (register, _) in fields {
                assert_eq!(rig.read_at(at(register, vector), register.bytes.into()), 0, "{name} after reset");
            }
        }
        for vector in 0..16 {
            for (register, mask) in fields {
                let noise = rig.random.word();
                rig.write_at(at(register, vector), u64::MAX, register.bytes.into());
                let value = rig.read_at(at(register, vector), register.bytes.into());
                assert_eq!(
                    value,
                    if vector < there { mask } else { 0 },
                    "{name}: {} {vector}",
                    register.name
                );
                rig.write_at(at(register, vector), noise, register.bytes.into());
            }
        }
        // Each entry keeps its own; the halves of an address are written one at a time.
        let value = |vector: u32| (0x00ab_cd12_3456_7800 + 0x1_0000_0100 * u64::from(vector)) & here;
        for vector in 0..16 {
            let (address, data) = (value(vector), vector + 77);
            rig.write_at(at(&msi_addr::REG, vector), address, 4);
            rig.write_at(at(&msi_addr::REG, vector) + 4, address >> 32, 4);
            rig.write_at(at(&msi_data::REG, vector), u64::from(data) | u64::from(vector & 1) << 32, 8);
        }
        for vector in 0..16 {
            let there = u64::from(vector < there);
            assert_eq!(rig.read_at(at(&msi_addr::REG, vector), 8), there * value(vector), "{name}");
            assert_eq!(rig.read_at(at(&msi_data::REG, vector), 4), there * u64::from(vector + 77), "{name}");
            assert_eq!(
                rig.read_at(at(&msi_vec_ctl::REG, vector), 4),
                there * u64::from(vector & 1),
                "{name}"
            );
        }
    }
}

#[test]
fn a_bit_that_rises_sends_the_message_of_its_vector() {
    for name in DESIGNS {
        for pressure in [Pressure::None, Pressure::Some] {
            let (mut rig, page) = messenger(name);
            rig.press(pressure);
            for vector in 0..rig.design.vectors {
                let other = (vector + 1) % rig.design.vectors;
                rig.write(&icvec::REG, icvec::CIV.of(vector.into()) | icvec::FIV.of(other.into()));
                let due = message(page, vector);
                illegal_command(&mut rig);
                assert_eq!(received(&mut rig, page), [due], "{name}: vector {vector}");
                assert_eq!(rig.writes(), [(due.0, 4)], "one store of 4 bytes");
                assert_eq!(rig.read(&ipsr::REG), ipsr::CIP.of(1), "the bit is set all the same");
                // The bit stays 1: no edge. It is cleared while its condition lasts: an edge.
                rig.wait(200);
                assert_eq!(received(&mut rig, page), []);
                rig.write(&ipsr::REG, ipsr::CIP.of(1));
                rig.settle();
                assert_eq!(received(&mut rig, page), [due], "{name}: again");
                mend_commands(&mut rig);
                assert_eq!(received(&mut rig, page), []);
                rig.forget_traffic();

                // A record is in memory before its message.
                fault(&mut rig);
                let due = message(page, other);
                assert_eq!(received(&mut rig, page), [due], "{name}: vector {other} of the fault queue");
                assert_eq!(rig.writes().len(), 2);
                assert_eq!((rig.writes()[0].1, rig.writes()[1]), (32, (due.0, 4)), "record, then message");
                fault(&mut rig);
                assert_eq!(received(&mut rig, page), [], "fip is 1 already");
                rig.write(&ipsr::REG, ipsr::FIP.of(1));
                rig.settle();
                assert_eq!(received(&mut rig, page), [], "the event has passed");
                assert_eq!(rig.records().len(), 2);
                rig.forget_traffic();
                assert_eq!(rig.out().irq, 0, "no wire");
            }
        }
    }
}

#[test]
fn a_masked_vector_waits_for_its_mask_to_be_cleared() {
    for name in DESIGNS {
        let (mut rig, page) = messenger(name);
        let last = rig.design.vectors - 1;
        rig.write(&icvec::REG, icvec::CIV.of(last.into()) | icvec::FIV.of(0));
        rig.write_at(at(&msi_vec_ctl::REG, last), 1, 4);
        illegal_command(&mut rig);
        rig.wait(300);
        assert_eq!(received(&mut rig, page), [], "{name}: masked");
        // Another vector is not held up.
        fault(&mut rig);
        assert_eq!(received(&mut rig, page), [message(page, 0)], "{name}");
        // What the table says when the message leaves is what it carries.
        rig.write_at(at(&msi_data::REG, last), 0x99, 4);
        assert_eq!(received(&mut rig, page), []);
        rig.write_at(at(&msi_vec_ctl::REG, last), 0, 4);
        rig.settle();
        assert_eq!(received(&mut rig, page), [(message(page, last).0, 0x99)], "{name}: sent once");
        rig.write_at(at(&msi_vec_ctl::REG, last), 1, 4);
        rig.write_at(at(&msi_vec_ctl::REG, last), 0, 4);
        rig.settle();
        assert_eq!(received(&mut rig, page), [], "{name}: nothing is pending any more");
    }
}

#[test]
fn a_message_that_cannot_be_written_is_a_fault() {
    for name in DESIGNS {
        let (mut rig, page) = messenger(name);
        rig.write(&icvec::REG, icvec::CIV.of(1) | icvec::FIV.of(0));
        let record = |iotval| FaultRecord {
            cause: Cause::IommuMsiWriteAccessFault.code(),
            iotval,
            ..FaultRecord::default()
        };
        // Memory refuses it.
        let (bad, _) = message(page, 1);
        rig.inject(bad..bad + 4, Failure::Write);
        illegal_command(&mut rig);
        rig.settle();
        assert_eq!(rig.records(), [record(bad)], "{name}");
        assert_eq!(
            received(&mut rig, page),
            [message(page, 0)],
            "{name}: the record has a message of its own"
        );
        rig.write(&ipsr::REG, ipsr::FIP.of(1));
        mend_commands(&mut rig);
        // The message of the fault queue itself fails: one record, and no more for as long as fip is 1.
        rig.write_at(at(&msi_addr::REG, 1), bad, 8);
        rig.write(&icvec::REG, icvec::CIV.of(1) | icvec::FIV.of(1));
        illegal_command(&mut rig);
        rig.wait(500);
        assert_eq!(rig.records(), [record(bad), record(bad)], "{name}");
    }
}

/// Faults of translations and of messages at the same time: no record is lost, torn or reported twice.
#[test]
fn records_of_messages_and_of_translations_alternate() {
    for name in DESIGNS {
        for pressure in [Pressure::None, Pressure::Some] {
            let (mut rig, page) = messenger(name);
            rig.press(pressure);
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1));
            let (bad, _) = message(page, 0);
            rig.inject(bad..bad + 4, Failure::Write);
            for round in 0..40 {
                rig.push_raw([u64::MAX; 2]);
                for i in 0..2 {
                    rig.submit(0, Query::read(1, None, 0x1000 * (i + 1)));
                }
                let cycles = rig.random.below(40);
                rig.wait(cycles);
                rig.finish();
                rig.drain_commands().expect_err("the command is illegal");
                rig.settle();
                let mut records: Vec<(u16, u64)> =
                    rig.records().iter().map(|r| (r.cause, r.iotval)).collect();
                records.sort_unstable();
                assert_eq!(records, [(256, 0x1000), (256, 0x2000), (273, bad)], "{name}: round {round}");
                mend_commands(&mut rig);
            }
        }
    }
}

#[test]
fn with_both_fctl_selects_wires_or_messages() {
    let (mut rig, page) = messenger("full");
    rig.write(&icvec::REG, icvec::CIV.of(5) | icvec::FIV.of(9));
    for wired in [true, false, true] {
        rig.write(&fctl::REG, fctl::WSI.of(wired.into()));
        illegal_command(&mut rig);
        fault(&mut rig);
        let messages = received(&mut rig, page);
        if wired {
            assert_eq!((rig.out().irq, messages), (1 << 5 | 1 << 9, vec![]));
        } else {
            assert_eq!((rig.out().irq, messages), (0, vec![message(page, 5), message(page, 9)]));
        }
        // IOFENCE.C may ask for a wire only if there are wires.
        mend_commands(&mut rig);
        rig.write(&ipsr::REG, ipsr::FIP.of(1));
        rig.push(pasidon_spec::command::Command::IofenceC { pr: false, pw: false, wsi: true, store: None });
        match rig.drain_commands() {
            Ok(()) => assert!(wired && cqcsr::FENCE_W_IP.is_set(rig.read(&cqcsr::REG))),
            Err(state) => assert!(!wired && cqcsr::CMD_ILL.is_set(state) && !cqcsr::FENCE_W_IP.is_set(state)),
        }
        rig.settle();
        mend_commands(&mut rig);
        rig.wait(4);
        assert_eq!(rig.out().irq, 0);
        received(&mut rig, page);
    }
}

#[test]
fn a_message_has_the_byte_order_of_fctl() {
    let (mut rig, page) = messenger("full");
    for big_endian in [false, true] {
        rig.write(&fctl::REG, fctl::BE.of(big_endian.into()));
        illegal_command(&mut rig);
        let (address, data) = message(page, 0);
        let bytes = if big_endian { data.swap_bytes() } else { data };
        assert_eq!(received(&mut rig, page), [(address, bytes)]);
        mend_commands(&mut rig);
    }
}
