//! The command queue: fences, illegal commands, memory faults, wrap-around, interrupts. (Section "Command-Queue (CQ)".)

use pasidon_spec::command::{Command, Range, Store, Support, func3, header, opcode};
use pasidon_spec::ddt;
use pasidon_spec::memory::Failure;
use pasidon_spec::registers::{capabilities, cqcsr, cqh, cqt, icvec, ipsr};
use pasidon_tests::queues::{fence_store, vma};
use pasidon_tests::{Pressure, Rig};

const DESIGNS: [&str; 3] = ["tiny", "default", "odd"];

fn fence(pr: bool, pw: bool, wsi: bool) -> Command {
    Command::IofenceC { pr, pw, wsi, store: None }
}

/// A place that fences may store to.
fn target(rig: &mut Rig) -> u64 {
    let page = rig.page();
    rig.allow_writes(page..page + 4096);
    page
}

#[test]
fn a_fence_stores_four_bytes_and_nothing_else() {
    for name in DESIGNS {
        for pressure in [Pressure::None, Pressure::Some] {
            let mut rig = Rig::ready(name, 10, 1);
            rig.press(pressure);
            let page = target(&mut rig);
            for i in 0..20 {
                let at = page + 64 + 4 * i;
                rig.store(at & !7, 0xaaaa_bbbb_cccc_dddd);
                rig.forget_traffic();
                rig.push(fence_store(at, 0x1234_5600 + i as u32));
                rig.drain_commands().expect("the fence is legal");
                let data = 0x1234_5600 + i;
                let expected = if at.is_multiple_of(8) {
                    0xaaaa_bbbb_0000_0000 | data
                } else {
                    data << 32 | 0xcccc_dddd
                };
                assert_eq!(rig.load(at & !7), expected);
                assert_eq!(rig.writes(), [(at, 4)], "one store of 4 bytes");
                assert_eq!(rig.drains, [], "neither PR nor PW");
            }
        }
    }
}

#[test]
fn a_fence_waits_for_the_data_path_if_asked() {
    for name in DESIGNS {
        let mut rig = Rig::ready(name, 1, 1);
        for (pr, pw) in [(true, false), (false, true), (true, true)] {
            rig.drain_ready = false;
            rig.drains.clear();
            rig.push(fence(pr, pw, false));
            rig.push(vma(None, None));
            rig.wait(500);
            let index = rig.commands.advance(rig.command_tail, rig.commands.entries() - 2);
            assert_eq!(rig.read(&cqh::REG), index, "the fence waits for the drain");
            assert_ne!(rig.out().drain_valid, 0);
            rig.drain_ready = true;
            rig.drain_commands().expect("legal");
            assert_eq!(rig.drains, [(pr, pw)]);
        }
    }
}

/// A translation that a device has been offered has been taken when a fence completes: nobody can take it afterwards.
#[test]
fn a_fence_waits_for_responses_on_offer() {
    for name in DESIGNS {
        let mut s = crate::scene::Scene::new(name);
        let query = s.query();
        let rig = &mut s.rig;
        for count in [1, 2, 5] {
            rig.invalidate_all();
            let ports = rig.design.ports as usize;
            (0..ports).for_each(|port| assert!(rig.ask(port, query).is_success()));
            rig.hold = true;
            let tickets: Vec<usize> = (0..count * ports).map(|i| rig.submit(i, query)).collect();
            rig.wait(60);
            assert_ne!(rig.out().req[0].rsp_valid, 0, "a hit is on offer");
            rig.push(fence(false, false, false));
            rig.wait(400);
            assert_ne!(rig.read(&cqh::REG), rig.command_tail, "{name}: the fence waits for the device");
            rig.hold = false;
            rig.drain_commands().expect("legal");
            (0..ports).for_each(|port| assert!(rig.answer(tickets[port]).is_some()));
            rig.finish();
        }
    }
}

#[test]
fn fence_w_ip_and_its_interrupt() {
    for name in DESIGNS {
        let mut rig = Rig::ready(name, 1, 1);
        let vectors = u64::from(rig.design.vectors);
        for vector in 0..vectors {
            rig.write(&icvec::REG, icvec::CIV.of(vector) | icvec::FIV.of(vectors - 1 - vector));
            assert_eq!(icvec::CIV.get(rig.read(&icvec::REG)), vector);
            for enabled in [0, 1] {
                rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(enabled));
                rig.push(fence(false, false, true));
                rig.drain_commands().expect("legal");
                let state = rig.read(&cqcsr::REG);
                assert!(cqcsr::FENCE_W_IP.is_set(state) && cqcsr::CQON.is_set(state), "{state:#x}");
                let pending = rig.read(&ipsr::REG);
                assert_eq!(pending, ipsr::CIP.of(enabled), "cip follows cie");
                assert_eq!(rig.out().irq, enabled << vector, "the wire that civ selects");
                // Clearing the pending bit alone does not help: the condition lasts.
                rig.write(&ipsr::REG, ipsr::CIP.of(1));
                rig.wait(4);
                assert_eq!(rig.read(&ipsr::REG), ipsr::CIP.of(enabled));
                rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(enabled) | cqcsr::FENCE_W_IP.of(1));
                rig.write(&ipsr::REG, ipsr::CIP.of(1));
                rig.wait(4);
                assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (0, 0));
            }
        }
    }
}

/// Fetches one raw command; whether it was refused. The queue goes on afterwards with a legal one.
fn is_refused(rig: &mut Rig, command: [u64; 2]) -> bool {
    let index = rig.command_tail;
    let at = rig.commands.entry(index);
    rig.push_raw(command);
    let Err(state) = rig.drain_commands() else { return false };
    assert!(cqcsr::CMD_ILL.is_set(state) && !cqcsr::CQMF.is_set(state), "{command:x?}: cqcsr {state:#x}");
    assert_eq!(rig.read(&cqh::REG), index, "{command:x?}: cqh names the command");
    // Nothing more is fetched until software clears the bit; then the command, which was corrected, is fetched again.
    let legal = vma(None, None).encode();
    rig.store(at, legal[0]);
    rig.store(at + 8, legal[1]);
    rig.wait(60);
    assert_eq!(rig.read(&cqh::REG), index, "{command:x?}: stopped");
    rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CMD_ILL.of(1));
    rig.drain_commands().expect("corrected");
    true
}

#[test]
fn exactly_the_illegal_commands_are_refused() {
    for name in DESIGNS.into_iter().chain(["full"]) {
        let mut rig = Rig::ready(name, 1, 1);
        let page = target(&mut rig);
        rig.new_directory(1);
        let caps = rig.read(&capabilities::REG);
        // Those of ATS have tests of their own where they are carried out.
        let ats = capabilities::ATS.is_set(caps);
        let process_id_bits = [(capabilities::PD20, 20), (capabilities::PD17, 17), (capabilities::PD8, 8)]
            .into_iter()
            .find_map(|(bit, width)| bit.is_set(caps).then_some(width));
        let support = Support {
            non_leaf: capabilities::NL.is_set(caps),
            range: capabilities::S.is_set(caps),
            ats: false,
            wsi: true,
            device_id_bits: ddt::device_id_bits(rig.design.extended_contexts(), 1),
            process_id_bits: process_id_bits.unwrap_or(0),
        };
        let legal = |raw: [u64; 2]| Command::decode_for(raw, support).is_ok();
        let mut refused = 0;
        let mut try_it = |rig: &mut Rig, raw: [u64; 2]| {
            if ats && header::OPCODE.get(raw[0]) == opcode::ATS {
                return;
            }
            let is = is_refused(rig, raw);
            assert_eq!(is, !legal(raw), "{name}: {raw:x?}: {:?}", Command::decode_for(raw, support));
            refused += u32::from(is);
        };
        for op in 0..128 {
            for func in 0..8 {
                try_it(&mut rig, [header::OPCODE.of(op) | header::FUNC3.of(func), 0]);
            }
        }
        let base = |op, func, d0: u64, d1| [header::OPCODE.of(op) | header::FUNC3.of(func) | d0, d1];
        let bases = [
            base(opcode::IOTINVAL, func3::IOTINVAL_VMA, 0, 0),
            vma(Some(5), Some(0x1234_5000)).encode(),
            base(opcode::IOTINVAL, func3::IOTINVAL_GVMA, 0, 0),
            Command::IotinvalGvma { guest: Some((7, Some(Range::page_of(0x1234_5000)))) }.encode(),
            // The address is there and AV is not, so that no bit makes it store elsewhere.
            base(opcode::IOFENCE, func3::IOFENCE_C, 0, page >> 2),
            base(opcode::IODIR, func3::IODIR_INVAL_DDT, 0, 0),
            Command::IodirInvalDdt { did: Some(0x15) }.encode(),
            Command::IodirInvalPdt { did: 0x15, pid: 0x15 }.encode(),
            base(opcode::IODIR, func3::IODIR_INVAL_PDT, 0, 0),
            base(opcode::ATS, func3::ATS_INVAL, 0, 0),
            base(opcode::ATS, func3::ATS_PRGR, 0, 0),
        ];
        for raw in bases {
            try_it(&mut rig, raw);
            for bit in 10..128 {
                let mut raw = raw;
                raw[bit / 64] ^= 1 << (bit % 64);
                try_it(&mut rig, raw);
            }
        }
        println!("{name}: {refused} illegal commands");
    }
}

#[test]
fn a_memory_fault_stops_the_queue_until_it_is_cleared() {
    for name in DESIGNS {
        let mut rig = Rig::ready(name, 4, 1);
        let page = target(&mut rig);
        rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1));
        // Fetching, each half of a command; storing, to bad memory and to none.
        let nowhere = 0x40_0000;
        rig.allow_writes(nowhere..nowhere + 4);
        for case in 0..6 {
            let index = rig.command_tail;
            let at = rig.commands.entry(index);
            let mut command = fence_store(page + 8, case + 1);
            rig.store(page + 8, 0);
            match case {
                0 => rig.inject(at..at + 8, Failure::Read),
                1 => rig.inject(at + 8..at + 16, Failure::Read),
                2 => rig.inject(at..at + 8, Failure::Poison),
                3 => rig.inject(at + 8..at + 16, Failure::Poison),
                4 => rig.inject(page + 8..page + 12, Failure::Write),
                _ => command = fence_store(nowhere, 1),
            }
            rig.push(command);
            let state = rig.drain_commands().expect_err("the fault stops the queue");
            assert!(cqcsr::CQMF.is_set(state) && !cqcsr::CMD_ILL.is_set(state), "case {case}: {state:#x}");
            assert_eq!(rig.read(&cqh::REG), index, "case {case}: cqh names the command");
            assert_eq!(rig.read(&ipsr::REG), ipsr::CIP.of(1), "case {case}");
            assert_eq!(rig.load(page + 8), 0, "case {case}: nothing was stored");
            rig.wait(200);
            assert_eq!(rig.read(&cqh::REG), index, "case {case}: stopped");
            rig.heal();
            if case == 5 {
                let words = fence_store(page + 8, case + 1).encode();
                rig.store(at, words[0]);
                rig.store(at + 8, words[1]);
            }
            rig.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1) | cqcsr::CQMF.of(1));
            rig.write(&ipsr::REG, ipsr::CIP.of(1));
            rig.drain_commands().expect("the command is carried out after all");
            assert_eq!(rig.load(page + 8), u64::from(case) + 1);
            assert_eq!(rig.read(&ipsr::REG), 0);
        }
    }
}

#[test]
fn the_command_queue_wraps_at_every_size() {
    for name in DESIGNS {
        for log2 in [1, 2, 3, 5] {
            let mut rig = Rig::new(name, 2, 1);
            rig.start_queues(log2, 3);
            rig.press(Pressure::Some);
            let page = target(&mut rig);
            for i in 0..3 << log2 {
                rig.push(fence_store(page + 4 * (i % 64), 7 * i as u32 + 1));
            }
            rig.drain_commands().expect("legal");
            for i in ((3u64 << log2).saturating_sub(64))..3 << log2 {
                let word = rig.load((page + 4 * (i % 64)) & !7);
                assert_eq!(word >> (32 * (i & 1)) & 0xffff_ffff, 7 * i + 1, "{name}: command {i}");
            }
            // Indices beyond the size are not writable.
            rig.write(&cqcsr::REG, 0);
            rig.poll(&cqcsr::REG, |v| !cqcsr::CQON.is_set(v) && !cqcsr::BUSY.is_set(v));
            rig.write(&cqt::REG, 0xffff_ffff);
            assert_eq!(rig.read(&cqt::REG), rig.commands.entries() - 1);
            rig.write(&cqt::REG, 0);
            rig.write(&cqcsr::REG, 1);
            rig.poll(&cqcsr::REG, |v| cqcsr::CQON.is_set(v));
            assert_eq!(rig.read(&cqh::REG), 0, "cqen from 0 to 1 sets cqh to 0");
            rig.command_tail = 0;
            let store = Some(Store { address: page, data: 99 });
            rig.push(Command::IofenceC { pr: true, pw: true, wsi: false, store });
            rig.drain_commands().expect("legal");
            assert_eq!(rig.load(page) & 0xffff_ffff, 99);
        }
    }
}
