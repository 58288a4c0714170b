//! The debug translation interface. (Chapter "Debug support".)

use crate::scene::{DID, PID, Scene, VA};
use pasidon_cosim::Pace;
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::Cause;
use pasidon_spec::msi::{basic, mode, mrif, msipte};
use pasidon_spec::page_table::{SV39, napot, pbmt, pte};
use pasidon_spec::registers::{capabilities, tr_req_ctl, tr_req_iova, tr_response};
use pasidon_tests::guest::{self, Guest, IOVA};
use pasidon_tests::oracle;
use pasidon_tests::tables::{bits, entry};
use pasidon_tests::{Pressure, Query, Rig};
use pasidon_verify::engine::Engine;

const DESIGNS: [&str; 2] = ["counter", "observed"];

/// `tr_req_ctl` for a request.
fn control(query: &Query) -> u64 {
    tr_req_ctl::GO_BUSY.of(1)
        | tr_req_ctl::PRIV.of(query.privileged.into())
        | tr_req_ctl::EXE.of(query.exec.into())
        | tr_req_ctl::NW.of((!query.write).into())
        | tr_req_ctl::PV.of(query.process_id.is_some().into())
        | tr_req_ctl::PID.of(query.process_id.unwrap_or(0).into())
        | tr_req_ctl::DID.of(query.device_id.into())
}

/// Asks through the registers; returns `tr_response`.
pub fn ask(rig: &mut Rig, query: &Query) -> u64 {
    rig.write(&tr_req_iova::REG, query.iova);
    rig.write(&tr_req_ctl::REG, control(query));
    let left = rig.poll(&tr_req_ctl::REG, |value| !tr_req_ctl::GO_BUSY.is_set(value));
    assert_eq!(left, control(query) & !tr_req_ctl::GO_BUSY.mask(), "the rest of the request stays");
    rig.read(&tr_response::REG)
}

/// Address and log2 of the size that a successful response means for `iova`.
fn decode(response: u64, iova: u64) -> (u64, u64) {
    assert!(!tr_response::FAULT.is_set(response), "{response:#x}");
    let page = tr_response::PPN.get(response);
    if !tr_response::S.is_set(response) {
        return (page << 12 | (iova & 0xfff), 12);
    }
    let zero = u64::from(page.trailing_ones());
    let shift = zero + 13;
    let inside = (1 << shift) - 1;
    ((page << 12) & !inside | iova & inside, shift)
}

#[test]
fn the_registers_hold_a_request() {
    for name in ["tiny", "counter", "full"] {
        let mut rig = Rig::new(name, 1, 1);
        let there = rig.design.debug;
        assert_eq!(capabilities::DBG.is_set(rig.read(&capabilities::REG)), there, "{name}");
        let kept = |mask: u64| if there { mask } else { 0 };
        rig.write(&tr_req_iova::REG, u64::MAX);
        assert_eq!(rig.read(&tr_req_iova::REG), kept(!0xfff), "{name}");
        rig.write_at(u32::from(tr_req_iova::REG.offset) + 4, 0x1234_5678, 4);
        assert_eq!(rig.read(&tr_req_iova::REG), kept(0x1234_5678_ffff_f000), "{name}");
        // Without Go nothing starts.
        rig.write(&tr_req_ctl::REG, !1);
        let ids = tr_req_ctl::PID.of((1 << rig.design.process_id_width) - 1)
            | tr_req_ctl::DID.of((1 << rig.design.device_id_width) - 1);
        let flags = [tr_req_ctl::PRIV, tr_req_ctl::EXE, tr_req_ctl::NW, tr_req_ctl::PV];
        let all = flags.iter().fold(ids, |mask, field| mask | field.mask());
        assert_eq!(rig.read(&tr_req_ctl::REG), kept(all), "{name}");
        rig.write_at(tr_req_ctl::REG.offset.into(), 0, 4);
        assert_eq!(rig.read(&tr_req_ctl::REG), kept(all & !0xffff_ffff), "{name}");
        rig.write(&tr_response::REG, u64::MAX);
        assert_eq!(rig.read(&tr_response::REG), 0, "{name}: read-only");
    }
}

#[test]
fn a_translation_has_its_address_and_size() {
    for name in DESIGNS {
        for pressure in [Pressure::None, Pressure::Some] {
            let mut s = Scene::new(name);
            s.rig.press(pressure);
            let base = s.rig.bench.memory.base() & !((1 << 30) - 1);
            let group = napot::PPN_PATTERN << 12;
            // Level, where the page lies, bits; log2 of its size.
            for (level, frame, flags, shift) in [
                (0, s.frame, bits::ALL, 12),
                (0, (base + 0x50_0000) | group, bits::ALL | bits::N, 16),
                (1, base + 0x60_0000, bits::ALL, 21),
                (2, base, bits::ALL, 30),
            ] {
                let iova = 0x40_0000_0000 >> 3 | u64::from(level as u32) << 33 | 0x7654_3000;
                s.rig.map(&SV39, s.root, iova, level, entry(frame, flags));
                for query in [
                    Query::read(DID, Some(PID), iova),
                    Query::read(DID, Some(PID), iova).write(),
                    Query::read(DID, Some(PID), iova).exec(),
                ] {
                    s.rig.invalidate_all();
                    let due = s.rig.world().translate(&query).expect("mapped");
                    assert_eq!(due.size, shift, "the oracle agrees with the test");
                    for _ in 0..2 {
                        let response = ask(&mut s.rig, &query);
                        assert_eq!(
                            decode(response, iova),
                            (due.spa, shift),
                            "{name}: {query:x?} {response:#x}"
                        );
                        assert_eq!(tr_response::PBMT.get(response), 0);
                    }
                }
            }
            assert_eq!(s.rig.records(), []);
        }
    }
}

#[test]
fn a_fault_is_in_the_response_and_in_the_fault_queue() {
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let page = |query: Query| Query { iova: query.iova & !0xfff, ..query };
        let good = page(s.query());
        let leaf = s.rig.pte_slot(&SV39, s.root, VA, 0);
        let read_only = entry(s.frame, bits::ALL & !bits::W & !bits::X);
        let kernel = entry(s.frame, bits::ALL & !bits::U);
        for (pte, query, cause) in [
            (0, good, Cause::ReadPageFault),
            (0, good.write(), Cause::WriteAmoPageFault),
            (0, good.exec(), Cause::InstructionPageFault),
            (read_only, good.write(), Cause::WriteAmoPageFault),
            (read_only, good.exec(), Cause::InstructionPageFault),
            (kernel, good, Cause::ReadPageFault),
            (read_only, Query { device_id: DID + 1, ..good }, Cause::DdtEntryNotValid),
            (read_only, Query { process_id: Some(PID + 1), ..good }, Cause::PdtEntryNotValid),
        ] {
            s.rig.store(leaf, pte);
            s.rig.invalidate_all();
            let due = s.rig.world().translate(&query).expect_err("a fault");
            assert_eq!(due.cause, cause, "the oracle agrees with the test");
            let response = ask(&mut s.rig, &query);
            assert_eq!(response, tr_response::FAULT.mask(), "{name}: {query:x?}");
            s.rig.settle();
            assert_eq!(s.rig.records(), [oracle::record(&query, cause)], "{name}: reported as any other");
        }
        // Privilege counts, and only with a process_id.
        s.rig.store(leaf, kernel);
        s.rig.invalidate_all();
        let response = ask(&mut s.rig, &good.privileged());
        assert_eq!(decode(response, good.iova), (s.frame, 12), "{name}");
        let response = ask(&mut s.rig, &Query { process_id: None, ..good.privileged() });
        let bare = Query { process_id: None, ..good };
        let due = s.rig.world().translate(&bare).map(|page| page.spa).map_err(|fault| fault.cause);
        let got =
            if tr_response::FAULT.is_set(response) { Err(()) } else { Ok(decode(response, good.iova).0) };
        assert_eq!(got, due.map_err(|_| ()), "{name}: without a process_id");
    }
}

/// While the request is under way its registers cannot be changed, and other requests go on.
#[test]
fn a_request_under_way_stays_as_it_is() {
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let query = Query { iova: VA, ..s.query() };
        for round in 0..20 {
            s.rig.invalidate_all();
            let pace = s.rig.pace();
            s.rig.set_pace(Pace { latency: 60, ..pace });
            s.rig.write(&tr_req_iova::REG, query.iova);
            s.rig.write(&tr_req_ctl::REG, control(&query));
            assert!(tr_req_ctl::GO_BUSY.is_set(s.rig.read(&tr_req_ctl::REG)), "{name}: round {round}");
            s.rig.write(&tr_req_iova::REG, u64::MAX);
            s.rig.write(&tr_req_ctl::REG, !1);
            let port = s.rig.random.below(4) as usize;
            let other = s.rig.submit(port, s.query());
            s.rig.poll(&tr_req_ctl::REG, |value| !tr_req_ctl::GO_BUSY.is_set(value));
            s.rig.finish();
            assert_eq!(s.rig.answer(other).map(|answer| answer.spa), Some(s.frame + 0x123));
            assert_eq!(s.rig.read(&tr_req_iova::REG), query.iova);
            let response = s.rig.read(&tr_response::REG);
            assert_eq!(decode(response, query.iova), (s.frame, 12), "{name}: round {round}");
        }
    }
}

/// `tr_response` for a read or write by the guest's device, on both descriptions.
fn ask_both(g: &mut Guest, iova: u64, write: bool) -> u64 {
    let fails = "the engines agree";
    let control = tr_req_ctl::GO_BUSY.of(1)
        | tr_req_ctl::NW.of((!write).into())
        | tr_req_ctl::DID.of(guest::DID.into());
    g.both.write_register(tr_req_iova::REG.offset, 8, iova).expect(fails);
    g.both.write_register(tr_req_ctl::REG.offset, 8, control).expect(fails);
    g.both.settle().unwrap_or_else(|error| panic!("{error}"));
    g.both
        .compare_register(tr_response::REG.offset, 8, "tr_response")
        .unwrap_or_else(|error| panic!("{error}"))
}

/// Two stages and their memory types; an MSI through a basic entry has an address, one to a resident file is cause 260 and is
/// not stored.
#[test]
fn a_guest_s_address_is_translated_as_far_as_it_has_one() {
    let mut g = Guest::plain();
    let table = g.page();
    let (interrupts, file) = (0x2_8000_0000, 0x3_0000_0200);
    let page = g.guest_page();
    g.map(IOVA, 0, guest::entry(page, guest::ALL) | pte::PBMT.of(pbmt::NC));
    g.map(IOVA + 0x1000, 0, guest::entry(interrupts, guest::ALL));
    g.map(IOVA + 0x2000, 0, guest::entry(interrupts + 0x1000, guest::ALL));
    g.context.msiptp = dc::msiptp::MODE.of(1) | dc::msiptp::PPN.of(table >> 12);
    g.context.msi_addr_mask = 1;
    g.context.msi_addr_pattern = interrupts >> 12;
    let basic = msipte::V.of(1) | msipte::M.of(mode::BASIC) | basic::PPN.of(0x9_9000);
    let resident = msipte::V.of(1) | msipte::M.of(mode::MRIF) | mrif::ADDRESS.of(file >> 9);
    for (at, word) in [(table, basic), (table + 16, resident)] {
        g.store(at, word);
        g.store(at + 8, 0);
    }
    g.reset();
    let response = ask_both(&mut g, IOVA, false);
    assert_eq!(decode(response, IOVA), (page & !guest::GUEST, 12));
    assert_eq!(tr_response::PBMT.get(response), pbmt::NC);
    for write in [false, true] {
        let response = ask_both(&mut g, IOVA + 0x1000, write);
        assert_eq!(decode(response, 0), (0x9_9000 << 12, 12));
    }
    for (i, write) in [false, true].into_iter().enumerate() {
        assert_eq!(ask_both(&mut g, IOVA + 0x2000, write), tr_response::FAULT.mask());
        let record = g.load(guest::FAULTS + 32 * i as u64);
        assert_eq!(record & 0xfff, u64::from(Cause::TransactionTypeDisallowed.code()), "it is reported");
    }
    assert_eq!(g.load(file), 0, "nothing is stored");
}
