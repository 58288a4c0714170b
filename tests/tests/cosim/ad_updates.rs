//! Updates of A and D bits. (Section "IOMMU updating of PTE accessed (A) and dirty (D) updates"; Privileged specification,
//! "Virtual Address Translation Process" and "Two-Stage Address Translation".)

use pasidon_cosim::Pace;
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{SV32, SV39X4};
use pasidon_tests::guest::{ALL, GUEST, Guest, IOVA, entry};
use pasidon_tests::tables::bits;

const GPA: u64 = 0x1_8000_0000;
const SPA: u64 = 0x7_4000_0000;
const CLEAN: u64 = ALL & !bits::A & !bits::D;

/// A clean page of 4 KiB in both stages.
fn mapped(tc: u64) -> Guest {
    let mut g = Guest::plain();
    g.context.tc |= tc;
    g.map(IOVA, 0, entry(GPA, CLEAN));
    g.map_guest(GPA, 0, entry(SPA, CLEAN));
    g
}

const SADE: u64 = dc::tc::SADE.mask();
const GADE: u64 = dc::tc::GADE.mask();

/// Flags A and D of both leaves.
fn flags(g: &mut Guest) -> (u64, u64) {
    let slots = (g.slot(IOVA, 0), g.guest_slot(GPA, 0));
    let ad = bits::A | bits::D;
    (g.load(slots.0) & ad, g.load(slots.1) & ad)
}

#[test]
fn reads_set_a_and_writes_set_both() {
    let mut g = mapped(SADE | GADE);
    let t = g.expect("a read", Guest::read(IOVA));
    assert_eq!((t.spa, t.read, t.write), (SPA, true, false));
    assert_eq!(flags(&mut g), (bits::A, bits::A));
    // The translation is kept without W; the write walks again.
    let t = g.ask("a write", Guest::write(IOVA)).success().expect("a translation");
    assert!(t.write);
    assert_eq!(flags(&mut g), (bits::A | bits::D, bits::A | bits::D));
    let mut g = mapped(SADE | GADE);
    g.expect("a write", Guest::write(IOVA));
    assert_eq!(flags(&mut g), (bits::A | bits::D, bits::A | bits::D));
}

#[test]
fn a_stage_that_does_not_update_faults() {
    let mut g = mapped(SADE);
    g.expect_fault("GADE 0", Guest::read(IOVA), Cause::ReadGuestPageFault, GPA);
    // The first stage had been passed.
    assert_eq!(flags(&mut g), (bits::A, 0));
    let mut g = mapped(GADE);
    g.expect_fault("SADE 0", Guest::read(IOVA), Cause::ReadPageFault, 0);
    assert_eq!(flags(&mut g), (0, 0));
}

/// The page that holds a first-stage entry must be writable, and becomes dirty.
#[test]
fn an_update_is_an_implicit_write() {
    let mut g = mapped(SADE | GADE);
    let slot = g.slot(IOVA, 0);
    let page = g.guest_slot(slot | GUEST, 0);
    g.store(page, entry(slot, CLEAN));
    g.expect("a clean table", Guest::read(IOVA));
    assert_eq!(g.load(page), entry(slot, ALL));
    for (flags, what) in [(ALL & !bits::W, "read-only"), (ALL & !bits::W & !bits::D, "read-only and clean")] {
        let mut g = mapped(SADE | GADE);
        g.map_guest(slot | GUEST, 0, entry(slot, flags));
        g.expect_fault(what, Guest::write(IOVA), Cause::WriteAmoGuestPageFault, slot | GUEST | 3);
    }
    let mut g = mapped(SADE);
    g.map_guest(GPA, 0, entry(SPA, ALL));
    g.map_guest(slot | GUEST, 0, entry(slot, ALL & !bits::D));
    g.expect_fault("clean, GADE 0", Guest::read(IOVA), Cause::ReadGuestPageFault, slot | GUEST | 3);
    // Tables that are only read stay clean.
    let mut g = mapped(SADE | GADE);
    let upper = g.slot(IOVA, 1);
    let page = g.guest_slot(upper | GUEST, 0);
    g.store(page, entry(upper, CLEAN));
    g.expect("an upper table", Guest::write(IOVA));
    assert_eq!(g.load(page), entry(upper, CLEAN | bits::A));
}

/// Nothing is updated for an access that a check refuses.
#[test]
fn refused_accesses_update_nothing() {
    let mut g = mapped(SADE | GADE);
    g.map(IOVA, 0, entry(GPA, CLEAN & !bits::W));
    g.expect_fault("no W", Guest::write(IOVA), Cause::WriteAmoPageFault, 0);
    assert_eq!(flags(&mut g), (0, 0));
    g.map(IOVA, 0, entry(GPA, CLEAN));
    g.map_guest(GPA, 0, entry(SPA, CLEAN & !bits::X));
    g.expect_fault("no X", Guest::exec(IOVA), Cause::InstructionGuestPageFault, GPA);
    assert_eq!(flags(&mut g), (bits::A, 0));
}

#[test]
fn lost_writes_start_over() {
    for latency in [1, 20] {
        for seed in 0..20 {
            let mut g = mapped(SADE | GADE);
            g.both.rtl().reseed(seed);
            g.both.rtl().set_pace(Pace { exclusive_failures: 180, ..Pace::even(latency) });
            g.expect("a write", Guest::write(IOVA));
            assert_eq!(flags(&mut g), (bits::A | bits::D, bits::A | bits::D));
        }
    }
}

#[test]
fn writes_that_fail_are_access_faults() {
    let mut g = mapped(SADE | GADE);
    let (one, two) = (g.slot(IOVA, 0), g.guest_slot(GPA, 0));
    for slot in [one, two] {
        g.with_failure(slot..slot + 8, Failure::Write, |g| {
            g.expect_fault("no store", Guest::write(IOVA), Cause::WriteAmoAccessFault, 0);
        });
    }
}

/// The neighbour of an entry of 4 bytes stays as it is.
#[test]
fn entries_of_four_bytes_are_updated() {
    let mut g = Guest::new("full", &SV32, &SV39X4);
    g.context.tc |= SADE | GADE | dc::tc::SXL.mask();
    let iova = 0x8765_4000;
    for neighbour in [0, 0x1000] {
        g.map(iova + neighbour, 0, entry(GPA + neighbour, CLEAN));
        g.map_guest(GPA + neighbour, 0, entry(SPA + neighbour, ALL));
    }
    let at = g.slot(iova, 0);
    g.expect("the even one", Guest::read(iova));
    let two = |even: u64, odd: u64| entry(GPA, even) | entry(GPA + 0x1000, odd) << 32;
    assert_eq!(g.load(at), two(CLEAN | bits::A, CLEAN));
    g.expect("the odd one", Guest::write(iova + 0x1000));
    assert_eq!(g.load(at), two(CLEAN | bits::A, ALL));
}
