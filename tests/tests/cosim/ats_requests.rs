//! ATS translation requests: which permissions are granted, every row of the table of answers, and the other fields of a completion.
//! (Section "PCIe ATS translation request handling".)

use pasidon_spec::ddt::{EXT_DC_BYTES, EXT_DDI, dc, iommu_mode};
use pasidon_spec::fault::{Cause, record, ttyp};
use pasidon_spec::memory::Failure;
use pasidon_spec::msi::{basic, mode, mrif, msipte};
use pasidon_spec::page_table::{SV39, SV39X4, SV57X4, pbmt, pte};
use pasidon_spec::pdt::{pc, pdtp_mode};
use pasidon_spec::registers::ddtp;
use pasidon_spec::request::{AddressType, AtsCompletion, Denial, Fault, Request, Translation};
use pasidon_tests::guest::{ALL, DID, DIRECTORY, FAULTS, Guest, IOVA, entry};
use pasidon_tests::tables::bits;
use pasidon_verify::engine::Engine;

const GPA: u64 = 0x1_8000_0000;
const SPA: u64 = 0x7_4000_0000;
const PID: u32 = 0x2a;
const EN_ATS: u64 = dc::tc::EN_ATS.mask();
const T2GPA: u64 = dc::tc::T2GPA.mask();

/// A request for these permissions besides reading.
fn asks(iova: u64, write: bool, exec: bool) -> Request {
    Request { at: AddressType::TranslationRequest, write, exec, ..Guest::read(iova) }
}

fn of_process(request: Request, privileged: bool) -> Request {
    Request { process_id: Some(PID), privileged, ..request }
}

fn of_cxl(request: Request) -> Request {
    Request { cxl: true, ..request }
}

/// A device with ATS and a page of 4 KiB in both stages.
fn mapped() -> Guest {
    let mut g = Guest::new("endpoints", &SV39, &SV39X4);
    g.context.tc |= EN_ATS;
    g.map(IOVA, 0, entry(GPA, ALL));
    g.map_guest(GPA, 0, entry(SPA, ALL));
    g
}

/// A success from cold caches, for which nothing is recorded, and its completion.
fn granted(g: &mut Guest, what: &str, request: Request) -> (Translation, AtsCompletion) {
    let t = g.expect(what, request);
    assert_eq!(g.load(FAULTS), 0, "{what}: nothing is recorded");
    (t, t.ats.unwrap_or_else(|| panic!("{what}: no completion")))
}

fn rwx(t: &Translation) -> (bool, bool, bool) {
    (t.read, t.write, t.exec)
}

/// From cold caches, success without any permission for this cause.
fn expect_nothing(g: &mut Guest, what: &str, request: Request, cause: Cause) {
    let (t, ats) = granted(g, what, request);
    assert_eq!((rwx(&t), ats.withheld), ((false, false, false), Some(cause)), "{what}");
}

/// From cold caches, a refusal that is recorded unless `DC.tc.DTF` holds it back.
fn expect_refusal(g: &mut Guest, what: &str, request: Request, cause: Cause, denial: Denial) {
    for dtf in [0, 1] {
        g.context.tc = g.context.tc & !dc::tc::DTF.mask() | dc::tc::DTF.of(dtf);
        g.reset();
        let response = g.ask(what, request);
        let Some(Fault { cause: found, denial: how, .. }) = response.fault() else {
            panic!("{what}: {response:x?}")
        };
        assert_eq!((found, how), (cause, denial), "{what}, DTF {dtf}");
        let first = g.load(FAULTS);
        let due = dtf == 0 || !cause.dtf_suppresses();
        let recorded = (record::CAUSE.get(first), record::TTYP.get(first));
        let expected = if due { (u64::from(cause.code()), ttyp::ATS_TRANSLATION_REQUEST) } else { (0, 0) };
        assert_eq!(recorded, expected, "{what}, DTF {dtf}: the record");
        g.store(FAULTS, 0);
    }
    g.context.tc &= !dc::tc::DTF.mask();
}

#[test]
fn permissions_are_those_of_the_page_and_the_question() {
    let flags = [bits::R, bits::R | bits::W, bits::R | bits::X, bits::R | bits::W | bits::X, bits::X];
    let always = bits::V | bits::U | bits::A | bits::D;
    let mut g = mapped();
    for first in flags {
        for second in flags {
            g.map(IOVA, 0, entry(GPA, always | first));
            g.map_guest(GPA, 0, entry(SPA, always | second));
            let both = first & second;
            let [r, w, x] = [bits::R, bits::W, bits::X].map(|bit| both & bit != 0);
            for (write, exec) in [(false, false), (true, false), (false, true), (true, true)] {
                let what = format!("{first:#x} over {second:#x}, write {write}, execute {exec}");
                let (t, ats) = granted(&mut g, &what, asks(IOVA | 0x123, write, exec));
                assert_eq!(rwx(&t), (r, w, x && r && exec), "{what}");
                assert_eq!((t.spa, t.page_shift), (SPA | 0x123, 12), "{what}");
                assert_eq!(ats, AtsCompletion::default(), "{what}");
            }
        }
    }
}

#[test]
fn accessed_and_dirty_bits_follow_what_is_granted() {
    let (sade, gade) = (dc::tc::SADE.mask(), dc::tc::GADE.mask());
    let clean = ALL & !bits::D;
    let fresh = clean & !bits::A;
    let page = |g: &mut Guest| {
        let slots = (g.slot(IOVA, 0), g.guest_slot(GPA, 0));
        (g.load(slots.0) & (bits::A | bits::D), g.load(slots.1) & (bits::A | bits::D))
    };
    // Who does not ask for writing is not told of it while D is 0.
    let mut g = mapped();
    g.map(IOVA, 0, entry(GPA, clean));
    let (t, _) = granted(&mut g, "D is 0", asks(IOVA, false, false));
    assert_eq!(rwx(&t), (true, false, false));
    expect_nothing(&mut g, "D is 0, to write", asks(IOVA, true, false), Cause::ReadPageFault);
    g.map(IOVA, 0, entry(GPA, clean & !bits::W));
    let (t, _) = granted(&mut g, "D is 0, read-only", asks(IOVA, true, false));
    assert_eq!(rwx(&t), (true, false, false));
    g.map(IOVA, 0, entry(GPA, fresh));
    expect_nothing(&mut g, "A is 0", asks(IOVA, false, true), Cause::InstructionPageFault);
    g.map(IOVA, 0, entry(GPA, ALL));
    g.map_guest(GPA, 0, entry(SPA, clean));
    expect_nothing(&mut g, "D of the guest", asks(IOVA, true, false), Cause::ReadGuestPageFault);
    g.map_guest(GPA, 0, entry(SPA, fresh));
    expect_nothing(&mut g, "A of the guest", asks(IOVA, false, true), Cause::InstructionGuestPageFault);
    // With updates: A for any, D for who asks to write and may.
    for (write, flags, due) in [
        (false, fresh, bits::A),
        (true, fresh, bits::A | bits::D),
        (true, fresh & !bits::W, bits::A),
        (true, bits::V | bits::U | bits::X, 0),
    ] {
        let mut g = mapped();
        g.context.tc |= sade | gade;
        g.map(IOVA, 0, entry(GPA, flags));
        g.map_guest(GPA, 0, entry(SPA, flags));
        let (t, _) = granted(&mut g, "an update", asks(IOVA, write, false));
        assert_eq!(page(&mut g), (due, due), "write {write}, {flags:#x}");
        assert_eq!(rwx(&t), (due != 0, due & bits::D != 0, false), "write {write}, {flags:#x}");
    }
}

#[test]
fn privilege_is_that_of_the_request() {
    let mut g = mapped();
    let context = g.add_process(pdtp_mode::PD8, PID);
    let ta = g.load(context);
    let sum = pc::ta::SUM.mask();
    let plain = asks(IOVA, true, true);
    let (t, ats) = granted(&mut g, "a user", of_process(plain, false));
    assert_eq!((rwx(&t), ats.privileged), ((true, true, true), false));
    // Supervisors read and write pages of users with SUM, and never execute from them.
    let (t, ats) = granted(&mut g, "a supervisor, SUM", of_process(plain, true));
    assert_eq!((rwx(&t), ats.privileged), ((true, true, false), true));
    g.store(context, ta & !sum);
    let request = of_process(plain, true);
    expect_nothing(&mut g, "a supervisor, no SUM", request, Cause::InstructionPageFault);
    g.map(IOVA, 0, entry(GPA, ALL & !bits::U));
    let (t, ats) = granted(&mut g, "a page of supervisors", request);
    assert_eq!((rwx(&t), ats.privileged), ((true, true, true), true));
    let user = of_process(asks(IOVA, true, false), false);
    expect_nothing(&mut g, "a user's request for it", user, Cause::ReadPageFault);
    // Priv is that of the request even if nothing is granted.
    g.map(IOVA, 0, 0);
    let (_, ats) = granted(&mut g, "nothing there", request);
    assert!(ats.privileged);
    g.store(context, ta & !pc::ta::ENS.mask());
    let denial = Denial::UnsupportedRequest;
    expect_refusal(&mut g, "ENS is 0", request, Cause::TransactionTypeDisallowed, denial);
}

#[test]
fn causes_that_succeed_without_permission() {
    let mut g = mapped();
    g.map(IOVA, 0, entry(GPA, ALL & !bits::V));
    for (write, exec, cause) in [
        (false, false, Cause::ReadPageFault),
        (true, false, Cause::ReadPageFault),
        (false, true, Cause::InstructionPageFault),
        (true, true, Cause::InstructionPageFault),
    ] {
        expect_nothing(&mut g, "no page", asks(IOVA, write, exec), cause);
    }
    expect_nothing(&mut g, "not canonical", asks(1 << 50, false, false), Cause::ReadPageFault);
    g.map(IOVA, 0, entry(GPA, ALL));
    g.map_guest(GPA, 0, entry(SPA, ALL & !bits::U));
    expect_nothing(&mut g, "no guest page", asks(IOVA, true, false), Cause::ReadGuestPageFault);
    expect_nothing(&mut g, "no guest page", asks(IOVA, true, true), Cause::InstructionGuestPageFault);
    g.map_guest(GPA, 0, entry(SPA, ALL));
    let context = g.add_process(pdtp_mode::PD8, PID);
    let ta = g.load(context);
    g.store(context, ta & !1);
    let request = of_process(asks(IOVA, false, false), false);
    expect_nothing(&mut g, "no such process", request, Cause::PdtEntryNotValid);
}

#[test]
fn causes_that_are_unsupported_requests() {
    let denial = Denial::UnsupportedRequest;
    let request = asks(IOVA, false, false);
    let mut g = mapped();
    let at = DIRECTORY + EXT_DC_BYTES * EXT_DDI[0].of(DID.into());
    g.with_failure(at..at + 8, Failure::Read, |g| {
        expect_refusal(g, "no access", request, Cause::DdtEntryLoadAccessFault, denial);
    });
    let good = g.context;
    g.context.tc &= !dc::tc::V.mask();
    expect_refusal(&mut g, "no device", request, Cause::DdtEntryNotValid, denial);
    g.context = good;
    g.context.tc |= 1 << 12;
    expect_refusal(&mut g, "reserved", request, Cause::DdtEntryMisconfigured, denial);
    g.context = good;
    g.context.tc &= !EN_ATS;
    expect_refusal(&mut g, "EN_ATS is 0", request, Cause::TransactionTypeDisallowed, denial);
    g.context = good;
    let process = of_process(request, false);
    expect_refusal(&mut g, "PDTV is 0", process, Cause::TransactionTypeDisallowed, denial);
    for (mode, cause) in [
        (iommu_mode::OFF, Cause::AllInboundTransactionsDisallowed),
        (iommu_mode::BARE, Cause::TransactionTypeDisallowed),
    ] {
        g.reset();
        let value = ddtp::IOMMU_MODE.of(mode);
        g.both.write_register(ddtp::REG.offset, ddtp::REG.bytes, value).expect("the engines agree");
        let fault = g.ask("a mode without devices", request).fault().expect("a fault");
        assert_eq!((fault.cause, fault.denial), (cause, denial));
        assert_eq!(record::CAUSE.get(g.load(FAULTS)), u64::from(cause.code()));
        g.store(FAULTS, 0);
    }
}

#[test]
fn causes_that_are_completer_aborts() {
    let denial = Denial::CompleterAbort;
    let (read, exec) = (asks(IOVA, true, false), asks(IOVA, false, true));
    let mut g = mapped();
    for slot in [g.slot(IOVA, 0), g.guest_slot(GPA, 0), g.slot(IOVA, 2)] {
        g.with_failure(slot..slot + 8, Failure::Read, |g| {
            expect_refusal(g, "a table", read, Cause::ReadAccessFault, denial);
            expect_refusal(g, "a table", exec, Cause::InstructionAccessFault, denial);
        });
        g.with_failure(slot..slot + 8, Failure::Poison, |g| {
            expect_refusal(g, "a corrupt table", read, Cause::PtDataCorruption, denial);
        });
    }
    let at = DIRECTORY + EXT_DC_BYTES * EXT_DDI[0].of(DID.into());
    g.with_failure(at..at + 8, Failure::Poison, |g| {
        expect_refusal(g, "a corrupt context", read, Cause::DdtDataCorruption, denial);
    });
    let context = g.add_process(pdtp_mode::PD8, PID);
    let request = of_process(read, false);
    for (failure, cause) in
        [(Failure::Read, Cause::PdtEntryLoadAccessFault), (Failure::Poison, Cause::PdtDataCorruption)]
    {
        g.with_failure(context..context + 8, failure, |g| {
            expect_refusal(g, "a process context", request, cause, denial);
        });
    }
    let ta = g.load(context);
    g.store(context, ta | 1 << 40);
    expect_refusal(&mut g, "reserved", request, Cause::PdtEntryMisconfigured, denial);
}

const PATTERN: u64 = 0x2_8000_0000;
const FILE: u64 = 0x3_0000_0200;
const NOTICE: u64 = 0x3_1000_0000;

/// A device whose page at `IOVA` is a virtual interrupt file; and the file's entry.
fn interrupts() -> (Guest, u64) {
    let mut g = mapped();
    let table = g.page();
    g.context.msiptp = dc::msiptp::MODE.of(dc::msiptp_mode::FLAT) | dc::msiptp::PPN.of(table >> 12);
    g.context.msi_addr_pattern = PATTERN >> 12;
    g.map(IOVA, 0, entry(PATTERN, ALL | bits::G));
    g.store(table, msipte::V.of(1) | msipte::M.of(mode::BASIC) | basic::PPN.of(SPA >> 12));
    (g, table)
}

#[test]
fn interrupt_files_are_readable_and_writable_pages() {
    let (mut g, table) = interrupts();
    g.add_process(pdtp_mode::PD8, PID);
    let request = of_process(of_cxl(asks(IOVA | 4, true, true)), false);
    let (t, ats) = granted(&mut g, "a file", request);
    assert_eq!((rwx(&t), t.spa, t.page_shift), ((true, true, false), SPA | 4, 12));
    // Global is never said of an interrupt file.
    assert_eq!(ats, AtsCompletion { cxl_io: true, ..AtsCompletion::default() });
    // In memory: only untranslated requests may go there, and asking stores nothing.
    let resident = msipte::V.of(1) | msipte::M.of(mode::MRIF) | mrif::ADDRESS.of(FILE >> 9);
    g.store(table, resident);
    g.store(table + 8, mrif::NPPN.of(NOTICE >> 12) | mrif::NID_LOW.of(5));
    let (t, ats) = granted(&mut g, "a file in memory", Request { data: 1, ..request });
    assert_eq!((rwx(&t), t.page_shift, t.mrif), ((true, true, false), 12, false));
    assert_eq!(ats, AtsCompletion { cxl_io: true, untranslated_only: true, ..AtsCompletion::default() });
    assert_eq!((g.load(FILE), g.load(NOTICE)), (0, 0));
    g.store(table, resident & !1);
    expect_nothing(&mut g, "no file", request, Cause::MsiPteNotValid);
    g.store(table, resident | 1 << 3);
    let abort = Denial::CompleterAbort;
    expect_refusal(&mut g, "reserved", request, Cause::MsiPteMisconfigured, abort);
    for (failure, cause) in
        [(Failure::Read, Cause::MsiPteLoadAccessFault), (Failure::Poison, Cause::MsiPtDataCorruption)]
    {
        g.with_failure(table..table + 8, failure, |g| expect_refusal(g, "a file", request, cause, abort));
    }
}

#[test]
fn global_needs_a_process_and_a_translation() {
    let mut g = mapped();
    g.map(IOVA, 0, entry(GPA, ALL | bits::G));
    let request = asks(IOVA, false, false);
    let (_, ats) = granted(&mut g, "no process", request);
    assert!(!ats.global);
    g.add_process(pdtp_mode::PD8, PID);
    let request = of_process(request, false);
    let (_, ats) = granted(&mut g, "a process", request);
    assert!(ats.global);
    g.map(IOVA, 0, entry(GPA, ALL));
    let (_, ats) = granted(&mut g, "not global", request);
    assert!(!ats.global);
    // An entry on the way may say it, too; but not for a page that is not there.
    let slot = g.slot(IOVA, 1);
    let pointer = g.load(slot);
    g.store(slot, pointer | bits::G);
    let (_, ats) = granted(&mut g, "by the table above", request);
    assert!(ats.global);
    g.map(IOVA, 0, 0);
    let (_, ats) = granted(&mut g, "no page", request);
    assert_eq!(ats, AtsCompletion { withheld: Some(Cause::ReadPageFault), ..AtsCompletion::default() });
}

#[test]
fn cxl_devices_are_told_of_memory_that_is_not_plain() {
    let mut g = mapped();
    let request = asks(IOVA, false, false);
    for (first, second, due) in [
        (pbmt::PMA, pbmt::PMA, false),
        (pbmt::NC, pbmt::PMA, true),
        (pbmt::PMA, pbmt::IO, true),
        (pbmt::IO, pbmt::NC, true),
    ] {
        g.map(IOVA, 0, entry(GPA, ALL | pte::PBMT.of(first)));
        g.map_guest(GPA, 0, entry(SPA, ALL | pte::PBMT.of(second)));
        let (_, ats) = granted(&mut g, "a CXL device", of_cxl(request));
        assert_eq!(ats.cxl_io, due, "{first} over {second}");
        let (_, ats) = granted(&mut g, "another device", request);
        assert!(!ats.cxl_io);
    }
    let mut g = mapped();
    g.context.tc |= T2GPA;
    let (_, ats) = granted(&mut g, "guest addresses", of_cxl(request));
    assert!(ats.cxl_io);
}

#[test]
fn guest_addresses_are_answered_where_the_device_gets_them() {
    let mut g = mapped();
    g.context.tc |= T2GPA;
    g.map(IOVA & !0x1f_ffff, 1, entry(GPA, ALL));
    g.map_guest(GPA, 1, entry(SPA, ALL & !bits::W));
    let iova = IOVA & !0x1f_ffff | 0x1_2345;
    let (t, _) = granted(&mut g, "both stages", asks(iova, true, true));
    assert_eq!((t.spa, t.page_shift, rwx(&t)), (GPA | 0x1_2345, 21, (true, false, true)));
    // The device uses it as it is.
    let translated = Request { at: AddressType::Translated, ..Guest::read(t.spa) };
    assert_eq!(g.ask("a translated read", translated).success().map(|t| t.spa), Some(SPA | 0x1_2345));
    // The smaller page counts.
    let mut g = Guest::new("endpoints", &SV39, &SV39X4);
    g.context.tc |= EN_ATS | T2GPA;
    g.map(IOVA & !0x1f_ffff, 1, entry(GPA, ALL));
    g.map_guest(GPA | 0x1_2000, 0, entry(SPA, ALL));
    let (t, _) = granted(&mut g, "a small guest page", asks(iova, false, false));
    assert_eq!((t.spa, t.page_shift), (GPA | 0x1_2345, 12));
    // Guest physical addresses may be wider than physical ones.
    let mut g = Guest::new("endpoints", &SV39, &SV57X4);
    g.context.tc |= EN_ATS | T2GPA;
    g.context.fsc = 0;
    let wide = 0x5a5_a5a5_a5a5_a000_u64;
    g.map_guest(wide, 0, entry(SPA, ALL));
    let (t, _) = granted(&mut g, "a wide address", asks(wide | 0x77, false, false));
    assert_eq!((t.spa, t.page_shift), (wide | 0x77, 12));
    let (mut g, _) = interrupts();
    g.context.tc |= T2GPA;
    let (t, _) = granted(&mut g, "a file", asks(IOVA | 4, true, false));
    assert_eq!((t.spa, rwx(&t)), (PATTERN | 4, (true, true, false)));
}

/// The device has a cache of its own: the IOMMU keeps no answer, and untranslated requests are not answered from one.
#[test]
fn answers_are_not_kept() {
    let mut g = mapped();
    let request = asks(IOVA, true, false);
    granted(&mut g, "first", request);
    g.map(IOVA, 0, entry(GPA, ALL & !bits::W));
    let t = g.ask("again", request).success().expect("a translation");
    assert_eq!(rwx(&t), (true, false, false));
    let t = g.ask("untranslated", Guest::read(IOVA)).success().expect("a translation");
    assert_eq!((rwx(&t), t.spa), ((true, false, true), SPA));
    // Nor is a request answered from what an untranslated one left, which says nothing of G.
    let t = g.ask("a request behind it", asks(IOVA, true, true)).success().expect("a translation");
    assert_eq!(rwx(&t), (true, false, true));
    assert_eq!(t.ats, Some(AtsCompletion::default()));
}

/// Requests for the same page that wait at the same time are each answered what they asked.
#[test]
fn requests_of_all_kinds_share_no_answer() {
    let mut g = mapped();
    g.reset();
    for round in 0..8 {
        let kinds = [
            asks(IOVA, false, false),
            asks(IOVA, true, true),
            Guest::read(IOVA),
            Guest::exec(IOVA),
            Request { at: AddressType::Translated, ..Guest::write(IOVA) },
            asks(IOVA | 0x40, false, true),
        ];
        for i in 0..24 {
            g.both.ask(i, &kinds[(i * 5 + round) % kinds.len()], false);
        }
        g.both.settle().unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
}
