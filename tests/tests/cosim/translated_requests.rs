//! Translated requests: who may send them, pass-through, and the second stage with `DC.tc.T2GPA`. (Section "Process to translate an
//! IOVA", steps 7 to 9.)

use pasidon_spec::ddt::dc;
use pasidon_spec::fault::{Cause, record, ttyp};
use pasidon_spec::msi::{file, mode, mrif, msipte};
use pasidon_spec::page_table::{SV39, SV39X4, SV57X4};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::request::{AddressType, Request};
use pasidon_tests::guest::{ALL, FAULTS, Guest, IOVA, entry};
use pasidon_tests::tables::bits;
use pasidon_verify::engine::Engine;

const GPA: u64 = 0x1_8000_0000;
const SPA: u64 = 0x7_4000_0000;
const EN_ATS: u64 = dc::tc::EN_ATS.mask();
const T2GPA: u64 = dc::tc::T2GPA.mask();

fn translated(request: Request) -> Request {
    Request { at: AddressType::Translated, ..request }
}

/// A read, a write and a fetch, each with its access fault, its guest-page fault, and its kind in a record.
fn kinds(address: u64) -> [(Request, Cause, Cause, u64); 3] {
    use Cause::{
        InstructionAccessFault, InstructionGuestPageFault, ReadAccessFault, ReadGuestPageFault,
        WriteAmoAccessFault, WriteAmoGuestPageFault,
    };
    [
        (Guest::read(address), ReadAccessFault, ReadGuestPageFault, ttyp::TRANSLATED_READ),
        (Guest::write(address), WriteAmoAccessFault, WriteAmoGuestPageFault, ttyp::TRANSLATED_WRITE),
        (
            Guest::exec(address),
            InstructionAccessFault,
            InstructionGuestPageFault,
            ttyp::TRANSLATED_READ_FOR_EXECUTE,
        ),
    ]
    .map(|(request, access, guest, kind)| (translated(request), access, guest, kind))
}

fn with(tc: u64) -> Guest {
    let mut g = Guest::new("endpoints", &SV39, &SV39X4);
    g.context.tc |= tc;
    g.map_guest(GPA, 0, entry(SPA, ALL));
    g
}

/// From cold caches, a fault with exactly this record.
fn expect_fault(g: &mut Guest, what: &str, (request, kind): (Request, u64), cause: Cause, iotval2: u64) {
    g.reset();
    let response = g.ask(what, request);
    let Some(fault) = response.fault() else { panic!("{what}: {response:x?}") };
    assert_eq!(fault.cause, cause, "{what}");
    let found = [0, 2, 3].map(|i| g.load(FAULTS + 8 * i));
    assert_eq!(
        (record::CAUSE.get(found[0]), record::TTYP.get(found[0]), found[1], found[2]),
        (cause.code().into(), kind, request.iova, iotval2),
        "{what}: the record"
    );
    g.store(FAULTS, 0);
}

#[test]
fn only_devices_with_ats_send_them() {
    const DISALLOWED: Cause = Cause::TransactionTypeDisallowed;
    for (request, _, _, kind) in kinds(SPA) {
        let mut g = with(0);
        expect_fault(&mut g, "EN_ATS is 0", (request, kind), DISALLOWED, 0);
        g.context.tc |= EN_ATS;
        g.expect("EN_ATS is 1", request);
        let process = Request { process_id: Some(0x100), ..request };
        expect_fault(&mut g, "PDTV is 0", (process, kind), DISALLOWED, 0);
        g.add_process(pdtp_mode::PD8, 0);
        expect_fault(&mut g, "too wide a process_id", (process, kind), DISALLOWED, 0);
        // The process does not matter: it need not be there.
        let process = Request { process_id: Some(0x99), privileged: true, ..request };
        assert_eq!(g.expect("no such process", process).spa, SPA);
    }
}

#[test]
fn addresses_pass_through() {
    let mut g = with(EN_ATS);
    let top = 1u64 << g.design.pas;
    for address in [0, SPA | 0x123, top - 1] {
        for (request, ..) in kinds(address) {
            let t = g.expect("an address", request);
            assert_eq!(
                (t.spa, t.read, t.write, t.exec, t.page_shift),
                (address, true, true, true, 30),
                "{address:#x}"
            );
            assert_eq!(t.ats, None);
        }
    }
    for address in [top, 1 << 63, u64::MAX] {
        for (request, cause, _, kind) in kinds(address) {
            expect_fault(&mut g, "beyond memory", (request, kind), cause, 0);
        }
    }
}

#[test]
fn guest_addresses_go_through_the_second_stage() {
    let mut g = with(EN_ATS | T2GPA);
    for (request, ..) in kinds(GPA | 0x568) {
        let t = g.expect("mapped", request);
        assert_eq!((t.spa, t.read, t.write, t.exec, t.page_shift), (SPA | 0x568, true, true, true, 12));
    }
    for (request, _, cause, kind) in kinds(GPA | 0x568) {
        let mut g = with(EN_ATS | T2GPA);
        let denied = ALL & !if request.exec { bits::X } else { bits::W | bits::R };
        for flags in [ALL & !bits::V, ALL & !bits::U, ALL & !bits::A, denied] {
            g.map_guest(GPA, 0, entry(SPA, flags));
            expect_fault(&mut g, "second stage", (request, kind), cause, GPA | 0x568);
        }
        // What the first stage maps does not matter.
        g.map(IOVA, 0, entry(GPA, ALL));
        let elsewhere = Request { iova: IOVA, ..request };
        expect_fault(&mut g, "an address of the first stage", (elsewhere, kind), cause, IOVA);
        let beyond = Request { iova: 1 << 41, ..request };
        expect_fault(&mut g, "beyond the guest", (beyond, kind), cause, 1 << 41);
    }
    // Wider than a physical address.
    let mut g = Guest::new("endpoints", &SV39, &SV57X4);
    g.context.tc |= EN_ATS | T2GPA;
    let wide = 0x5a5_a5a5_a5a5_a000_u64;
    g.map_guest(wide, 0, entry(SPA, ALL));
    assert_eq!(g.expect("a wide address", translated(Guest::read(wide | 8))).spa, SPA | 8);
}

#[test]
fn updates_of_the_second_stage_are_those_of_an_access() {
    let mut g = with(EN_ATS | T2GPA | dc::tc::GADE.mask());
    g.map_guest(GPA, 0, entry(SPA, ALL & !bits::A & !bits::D));
    let slot = g.guest_slot(GPA, 0);
    g.expect("a read", translated(Guest::read(GPA)));
    assert_eq!(g.load(slot), entry(SPA, ALL & !bits::D));
    g.ask("a write", translated(Guest::write(GPA))).success().expect("a translation");
    assert_eq!(g.load(slot), entry(SPA, ALL));
}

#[test]
fn messages_reach_interrupt_files() {
    const FILE: u64 = 0x3_0000_0200;
    const NOTICE: u64 = 0x3_1000_0000;
    let mut g = with(EN_ATS | T2GPA);
    let table = g.page();
    g.context.msiptp = dc::msiptp::MODE.of(dc::msiptp_mode::FLAT) | dc::msiptp::PPN.of(table >> 12);
    g.context.msi_addr_pattern = GPA >> 12;
    g.store(table, msipte::V.of(1) | msipte::M.of(mode::MRIF) | mrif::ADDRESS.of(FILE >> 9));
    g.store(table + 8, mrif::NPPN.of(NOTICE >> 12) | mrif::NID_LOW.of(5));
    let message = Request { data: 0x41, ..translated(Guest::write(GPA)) };
    assert!(g.expect("a message", message).mrif);
    let (offset, bit) = file::pending(0x41);
    assert_eq!((g.load(FILE + offset), g.load(NOTICE)), (bit, 5));
    let fetch = (translated(Guest::exec(GPA)), ttyp::TRANSLATED_READ_FOR_EXECUTE);
    expect_fault(&mut g, "a fetch", fetch, Cause::InstructionAccessFault, 0);
    // Where translated addresses are physical, there are no interrupt files.
    g.context.tc &= !T2GPA;
    let t = g.expect("a physical address", message);
    assert_eq!((t.spa, t.mrif), (GPA, false));
}

/// The IOTLB keeps nothing of them: the same address means something else in an untranslated request.
#[test]
fn they_leave_nothing_for_untranslated_requests() {
    let mut g = with(EN_ATS);
    g.map(IOVA, 0, entry(GPA, ALL));
    g.reset();
    for _ in 0..2 {
        let t = g.ask("translated", translated(Guest::read(IOVA))).success().expect("passes");
        assert_eq!(t.spa, IOVA);
        let t = g.ask("untranslated", Guest::read(IOVA)).success().expect("a translation");
        assert_eq!(t.spa, SPA);
    }
    assert_eq!(g.both.outstanding(), 0);
}
