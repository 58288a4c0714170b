//! MSI page tables and memory-resident interrupt files. (Section "Process to translate addresses of MSIs"; Advanced Interrupt
//! Architecture, chapter "IOMMU Support for MSIs to Virtual Machines".)

use pasidon_cosim::{Clocked, Pace};
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{EXT_DC_BYTES, EXT_DDI, dc};
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::msi::{basic, file, interrupt_file, mode, mrif, msipte};
use pasidon_spec::registers::{cqh, cqt};
use pasidon_spec::request::{Request, Translation};
use pasidon_tests::guest::{ALL, COMMANDS, DID, DIRECTORY, FAULTS, Guest, entry};
use pasidon_verify::engine::Engine;

/// Guest pages of interrupt files: four groups of four, with holes.
const PATTERN: u64 = 0x2_8000_0000;
const MASK: u64 = 0x3_3000;
const SPA: u64 = 0x7_4000_0000;
const FILE: u64 = 0x3_0000_0200;
const NOTICE: u64 = 0x3_1000_0000;
const NOTICE_ID: u64 = 0x5a7;

/// A guest whose interrupt files are the pages at `PATTERN`, inside a superpage of ordinary memory; and the MSI page table.
fn guest() -> (Guest, u64) {
    let mut g = Guest::plain();
    let table = g.page();
    g.context.fsc = 0;
    g.context.msiptp = dc::msiptp::MODE.of(1) | dc::msiptp::PPN.of(table >> 12);
    g.context.msi_addr_mask = MASK >> 12;
    g.context.msi_addr_pattern = PATTERN >> 12;
    g.map_guest(PATTERN, 1, entry(SPA, ALL));
    (g, table)
}

fn slot(table: u64, gpa: u64) -> u64 {
    table + 16 * interrupt_file(gpa >> 12, MASK >> 12)
}

fn store(g: &mut Guest, at: u64, first: u64, second: u64) {
    g.store(at, first);
    g.store(at + 8, second);
}

fn resident() -> (u64, u64) {
    (
        msipte::V.of(1) | msipte::M.of(mode::MRIF) | mrif::ADDRESS.of(FILE >> 9),
        mrif::NPPN.of(NOTICE >> 12)
            | mrif::NID_LOW.of(NOTICE_ID & 0x3ff)
            | mrif::NID_HIGH.of(NOTICE_ID >> 10),
    )
}

fn message(gpa: u64, data: u32) -> Request {
    Request { data, ..Guest::write(gpa) }
}

fn is_page(t: Translation, spa: u64) -> bool {
    (t.spa, t.page_shift, t.read, t.write, t.exec, t.mrif) == (spa, 12, true, true, false, false)
}

#[test]
fn each_interrupt_file_has_its_entry() {
    let (mut g, table) = guest();
    for number in 0..16u64 {
        let at = table + 16 * number;
        store(&mut g, at, msipte::V.of(1) | msipte::M.of(mode::BASIC) | basic::PPN.of(0x9_9000 + number), !0);
    }
    g.reset();
    for number in 0..16u64 {
        let gpa = PATTERN | (number & 3) << 12 | (number >> 2) << 16;
        assert_eq!(interrupt_file(gpa >> 12, MASK >> 12), number);
        let t = g.ask("an MSI", Guest::write(gpa)).success().expect("a translation");
        assert!(is_page(t, (0x9_9000 + number) << 12), "{number}: {t:x?}");
        let t = g.ask("a read", Guest::read(gpa | 0xabc)).success().expect("a translation");
        assert!(is_page(t, (0x9_9000 + number) << 12 | 0xabc), "{number}: {t:x?}");
    }
    // The pages between them are ordinary; though their superpage is larger, no more than a page may be kept.
    for gpa in [PATTERN | 0x4000, PATTERN | 0x8000, PATTERN | 0x4_0000] {
        let t = g.ask("ordinary", Guest::exec(gpa)).success().expect("a translation");
        assert_eq!((t.spa, t.page_shift, t.exec), (SPA | gpa & 0x1f_ffff, 12, true));
    }
    let t = g.ask("an MSI again", Guest::write(PATTERN | 0x1000)).success().expect("a translation");
    assert!(is_page(t, 0x9_9001 << 12));
    g.expect_fault("a fetch", Guest::exec(PATTERN), Cause::InstructionAccessFault, 0);
}

#[test]
fn wrong_entries_have_their_causes() {
    let (mut g, table) = guest();
    let at = slot(table, PATTERN);
    let good = msipte::V.of(1) | msipte::M.of(mode::BASIC) | basic::PPN.of(0x9_9000);
    let request = Guest::write(PATTERN);
    store(&mut g, at, good & !1, 0);
    g.expect_fault("not valid", request, Cause::MsiPteNotValid, 0);
    for (what, first) in [
        ("custom", good | msipte::C.mask()),
        ("M 0", good & !msipte::M.mask()),
        ("M 2", good & !msipte::M.mask() | msipte::M.of(2)),
        ("bit 3", good | 1 << 3),
        ("bit 9", good | 1 << 9),
        ("bit 54", good | 1 << 54),
        ("bit 62", good | 1 << 62),
    ] {
        store(&mut g, at, first, 0);
        g.expect_fault(what, request, Cause::MsiPteMisconfigured, 0);
    }
    let (first, second) = resident();
    for (what, a, b) in
        [("bit 3", 1 << 3, 0), ("bit 54", 1 << 54, 0), ("bit 74", 0, 1 << 10 << 44), ("bit 127", 0, 1 << 63)]
    {
        store(&mut g, at, first | a, second | b);
        g.expect_fault(what, request, Cause::MsiPteMisconfigured, 0);
    }
    store(&mut g, at, good, 0);
    for range in [at..at + 8, at + 8..at + 16] {
        g.with_failure(range.clone(), Failure::Read, |g| {
            g.expect_fault("no access", request, Cause::MsiPteLoadAccessFault, 0);
        });
        g.with_failure(range, Failure::Poison, |g| {
            g.expect_fault("corrupt", request, Cause::MsiPtDataCorruption, 0);
        });
    }
}

#[test]
fn messages_are_stored_and_noticed() {
    let (mut g, table) = guest();
    let (first, second) = resident();
    store(&mut g, slot(table, PATTERN), first, second);
    for identity in [1u32, 63, 64, 0x2aa, 1984, 2047] {
        let (offset, bit) = file::pending(identity);
        let at = FILE + offset;
        for (place, data) in [(0, identity), (4, identity.swap_bytes())] {
            g.store(NOTICE, 0);
            g.store(at, 0x1000_0000_0000_0010 & !bit);
            g.store(at + 8, !0);
            let t = g.expect("an MSI", message(PATTERN | place, data));
            assert!(t.mrif, "{t:x?}");
            assert_eq!(g.load(at), 0x1000_0000_0000_0010 | bit, "identity {identity:#x}");
            assert_eq!(g.load(NOTICE), NOTICE_ID, "identity {identity:#x}");
        }
        g.store(at, 0);
    }
    // What is no MSI has no effect.
    g.store(NOTICE, 0);
    for request in [
        message(PATTERN | 8, 1),
        message(PATTERN | 0xffc, 1),
        message(PATTERN, 2048),
        message(PATTERN, 0x8000_0001),
        message(PATTERN | 4, 1),
        Guest::read(PATTERN),
    ] {
        assert!(g.expect("no MSI", request).mrif);
    }
    assert_eq!((g.load(FILE), g.load(NOTICE)), (0, 0));
    g.expect_fault("a fetch", Guest::exec(PATTERN), Cause::InstructionAccessFault, 0);
}

#[test]
fn failures_of_a_file_have_their_causes() {
    let (mut g, table) = guest();
    let (first, second) = resident();
    store(&mut g, slot(table, PATTERN), first, second);
    g.store(FILE + 8, !0);
    let request = message(PATTERN, 5);
    for (range, failure, cause) in [
        (FILE..FILE + 8, Failure::Read, Cause::MrifAccessFault),
        (FILE..FILE + 8, Failure::Poison, Cause::MsiMrifDataCorruption),
        (FILE..FILE + 8, Failure::Write, Cause::MrifAccessFault),
        (NOTICE..NOTICE + 8, Failure::Write, Cause::MrifAccessFault),
    ] {
        g.with_failure(range, failure, |g| g.expect_fault("a failure", request, cause, 0));
    }
}

/// Two ports store to one doubleword at the same time, while exclusive writes fail now and then.
#[test]
fn no_message_is_lost() {
    let (mut g, table) = guest();
    let (first, second) = resident();
    store(&mut g, slot(table, PATTERN), first, second);
    store(&mut g, slot(table, PATTERN | 0x1000), first, second);
    g.store(FILE + 8, !0);
    for failures in [0, 100] {
        g.store(FILE, 0);
        g.reset();
        let pace = g.both.rtl().pace();
        g.both.rtl().set_pace(pasidon_cosim::Pace { exclusive_failures: failures, ..pace });
        for identity in 1..64u32 {
            let port = identity as usize % 2;
            g.both.ask(port, &message(PATTERN | u64::from(identity & 2) << 11, identity), true);
        }
        g.both.settle().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(g.load(FILE), !1, "{failures}");
    }
}

/// A device context is invalidated while the walk that loaded it stores a message, sooner or later: the message is answered, and
/// nothing of the old context is kept.
#[test]
fn a_context_that_is_invalidated_during_a_store_is_not_kept() {
    let (mut g, table) = guest();
    let (first, second) = resident();
    store(&mut g, slot(table, PATTERN), first, second);
    let valid = DIRECTORY + EXT_DC_BYTES * EXT_DDI[0].of(DID.into());
    for delay in 0..60 {
        g.reset();
        let rtl = g.both.rtl();
        rtl.set_pace(Pace::even(20));
        let ticket = rtl.submit(0, &message(PATTERN, 5));
        rtl.wait_until(5000, "the interrupt file was not written", |rtl| rtl.bench().out().axi.awvalid != 0)
            .unwrap_or_else(|error| panic!("{error}"));
        (0..delay).for_each(|_| rtl.cycle());
        rtl.store(valid, 0);
        let commands = [
            Command::IodirInvalDdt { did: Some(DID) },
            Command::IofenceC { pr: false, pw: false, wsi: false, store: None },
        ];
        for (i, word) in commands.iter().flat_map(|command| command.encode()).enumerate() {
            rtl.store(COMMANDS + 8 * i as u64, word);
        }
        let agree = "the registers answer";
        rtl.write_register(cqt::REG.offset, cqt::REG.bytes, 2).expect(agree);
        rtl.poll(cqh::REG.offset, cqh::REG.bytes, "the fence", |head| head == 2).expect(agree);
        let after = rtl.submit(0, &message(PATTERN, 5));
        rtl.finish().expect(agree);
        let mut answers = rtl.take_responses();
        answers.sort_unstable_by_key(|answer| answer.0);
        let [(one, stored), (two, refused)] = answers[..] else { panic!("{answers:x?}") };
        assert_eq!((one, two), (ticket, after));
        // If the store had not begun, the device was found gone.
        if let Some(fault) = stored.fault() {
            assert_eq!(fault.cause, Cause::DdtEntryNotValid, "delay {delay}");
        }
        let cause = refused.fault().map(|fault| fault.cause);
        assert_eq!(cause, Some(Cause::DdtEntryNotValid), "delay {delay}: {refused:x?}");
        // What only the hardware has seen is put back.
        let records = (0..8).map(|i| FAULTS + 8 * i);
        for at in [FILE, NOTICE].into_iter().chain(records) {
            rtl.store(at, 0);
        }
    }
}
