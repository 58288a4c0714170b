//! The fault queue: DTF, wrap-around, overflow, memory faults, interrupts; and the modes of `ddtp`. (Section
//! "Fault/Event-Queue (FQ)"; section "Device-directory-table pointer".)

use crate::scene::{DID, PID, Scene, VA, check, expect};
use pasidon_spec::ddt::{dc, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::SV39;
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::{ddtp, fqcsr, fqh, fqt, icvec, ipsr};
use pasidon_tests::oracle;
use pasidon_tests::tables::{bits, entry, process_dc};
use pasidon_tests::{Pressure, Query, Rig};
use std::collections::BTreeSet;

const DESIGNS: [&str; 3] = ["tiny", "default", "odd"];

/// Every cause that this hardware can raise, with DTF 0 and 1: the response is the same, the record is not. (Table of
/// `CAUSE` encodings, column "Reported if DTF is 1?".)
#[test]
fn every_cause_is_raised_and_dtf_holds_back_what_it_must() {
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let mut raised = BTreeSet::new();
        let query = s.query();
        let dc_slot = s.rig.ddt_slot(DID, 0);
        let pc_slot = s.rig.pdt_slot(s.pdtp, PID, 0);
        let leaf = s.rig.pte_slot(&SV39, s.root, VA, 0);
        for dtf in [0, 1] {
            let mut run = |s: &mut Scene, query: Query, cause: Cause| {
                let mut context = process_dc(s.pdtp);
                context.tc |= dc::tc::DTF.of(dtf);
                let tc = s.rig.load(dc_slot);
                if tc == process_dc(s.pdtp).tc {
                    s.rig.store(dc_slot, context.tc);
                }
                expect(&mut s.rig, &format!("{name}, DTF {dtf}, {cause:?}"), query, Some(cause));
                raised.insert(cause.code());
                s.restore();
            };
            let fail = |s: &mut Scene, at: u64, kind| s.rig.inject(at..at + 8, kind);
            for (query, page_fault, access_fault) in [
                (query, Cause::ReadPageFault, Cause::ReadAccessFault),
                (query.write(), Cause::WriteAmoPageFault, Cause::WriteAmoAccessFault),
                (query.exec(), Cause::InstructionPageFault, Cause::InstructionAccessFault),
            ] {
                s.rig.store(leaf, 0);
                run(&mut s, query, page_fault);
                fail(&mut s, leaf, Failure::Read);
                run(&mut s, query, access_fault);
            }
            fail(&mut s, leaf, Failure::Poison);
            run(&mut s, query, Cause::PtDataCorruption);
            fail(&mut s, pc_slot, Failure::Read);
            run(&mut s, query, Cause::PdtEntryLoadAccessFault);
            fail(&mut s, pc_slot, Failure::Poison);
            run(&mut s, query, Cause::PdtDataCorruption);
            s.rig.store(pc_slot, 0);
            run(&mut s, query, Cause::PdtEntryNotValid);
            s.rig.store(pc_slot, 0b1001);
            run(&mut s, query, Cause::PdtEntryMisconfigured);
            run(&mut s, Query { at: 2, ..query }, Cause::TransactionTypeDisallowed);
            // Without a valid device context DTF counts as 0.
            fail(&mut s, dc_slot, Failure::Read);
            run(&mut s, query, Cause::DdtEntryLoadAccessFault);
            fail(&mut s, dc_slot, Failure::Poison);
            run(&mut s, query, Cause::DdtDataCorruption);
            s.rig.store(dc_slot, dc::tc::DTF.of(dtf));
            run(&mut s, query, Cause::DdtEntryNotValid);
            s.rig.store(dc_slot, dc::tc::DTF.of(dtf) | 1 | 1 << 12);
            run(&mut s, query, Cause::DdtEntryMisconfigured);
        }
        let root = s.rig.directory.1;
        s.rig.set_directory(iommu_mode::OFF, root);
        expect(&mut s.rig, "Off", query, Some(Cause::AllInboundTransactionsDisallowed));
        raised.insert(256);
        let all = [1, 5, 7, 12, 13, 15, 256, 257, 258, 259, 260, 265, 266, 267, 268, 269, 274];
        assert_eq!(raised, BTreeSet::from(all), "{name}");
    }
}

/// A rig whose every request faults with cause 256, and a fault queue of `1 << log2` entries.
fn faulty(name: &str, log2: u32, pressure: Pressure) -> Rig {
    let mut rig = Rig::new(name, 3, 2);
    rig.start_queues(3, log2);
    rig.press(pressure);
    rig
}

fn fault(rig: &mut Rig, iova: u64) -> [u64; 4] {
    let query = Query::read(1, None, iova);
    assert_eq!(rig.ask(0, query).cause, 256);
    oracle::record(&query, Cause::AllInboundTransactionsDisallowed).encode()
}

#[test]
fn the_fault_queue_wraps_at_every_size() {
    for name in DESIGNS {
        for log2 in [1, 2, 3] {
            for pressure in [Pressure::None, Pressure::Some] {
                let mut rig = faulty(name, log2, pressure);
                for i in 0..4 << log2 {
                    let due = fault(&mut rig, i << 12);
                    rig.settle();
                    assert_eq!(rig.records_raw(), [due], "{name}: record {i}");
                }
                assert_eq!(rig.read(&fqcsr::REG) & (fqcsr::FQOF.mask() | fqcsr::FQMF.mask()), 0);
            }
        }
    }
}

#[test]
fn an_overflow_discards_until_it_is_cleared() {
    for name in DESIGNS {
        for log2 in [1, 2, 3] {
            let mut rig = faulty(name, log2, Pressure::None);
            let room = (1 << log2) - 1;
            let due: Vec<_> = (0..room + 5).map(|i| fault(&mut rig, i << 12)).collect();
            rig.settle();
            let state = rig.read(&fqcsr::REG);
            assert!(fqcsr::FQOF.is_set(state) && !fqcsr::FQMF.is_set(state) && fqcsr::FQON.is_set(state));
            assert_eq!(rig.read(&fqt::REG), room);
            assert_eq!(
                rig.records_raw(),
                due[..room as usize],
                "{name}: the records that there was room for"
            );
            // There is room again, but the bit is still set.
            fault(&mut rig, 0x999);
            rig.settle();
            assert_eq!(rig.records_raw(), [[0; 4]; 0], "{name}: discarded while fqof is 1");
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FQOF.of(1));
            assert!(!fqcsr::FQOF.is_set(rig.read(&fqcsr::REG)));
            let due = fault(&mut rig, 0x888);
            rig.settle();
            assert_eq!(rig.records_raw(), [due], "{name}: recorded again");
        }
    }
}

#[test]
fn a_record_that_cannot_be_written_is_discarded_with_all_later_ones() {
    for name in DESIGNS {
        let mut rig = faulty(name, 3, Pressure::None);
        let due = fault(&mut rig, 0x1000);
        rig.settle();
        for beat in 0..4 {
            let tail = rig.read(&fqt::REG);
            let at = rig.faults.entry(tail);
            rig.inject(at + 8 * beat..at + 8 * beat + 8, Failure::Write);
            let tail = rig.read(&fqt::REG);
            fault(&mut rig, 0x2000);
            rig.settle();
            rig.heal();
            fault(&mut rig, 0x3000);
            rig.settle();
            let state = rig.read(&fqcsr::REG);
            assert!(fqcsr::FQMF.is_set(state) && !fqcsr::FQOF.is_set(state), "{name}: {state:#x}");
            assert_eq!(rig.read(&fqt::REG), tail, "{name}: fqt stays");
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FQMF.of(1));
        }
        assert_eq!(rig.records_raw(), [due]);
        let due = fault(&mut rig, 0x4000);
        rig.settle();
        assert_eq!(rig.records_raw(), [due], "{name}: recorded again");
    }
}

#[test]
fn fault_interrupts_follow_fie_and_fiv() {
    for name in DESIGNS {
        let mut rig = faulty(name, 2, Pressure::None);
        let vectors = u64::from(rig.design.vectors);
        for vector in 0..vectors {
            rig.write(&icvec::REG, icvec::FIV.of(vector) | icvec::CIV.of(vectors - 1 - vector));
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1));
            fault(&mut rig, 0);
            rig.settle();
            assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (0, 0), "{name}: fie = 0");
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(1));
            fault(&mut rig, 0);
            rig.settle();
            assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (ipsr::FIP.of(1), 1 << vector), "{name}");
            // Cleared, it stays so until the next record.
            rig.write(&ipsr::REG, ipsr::FIP.of(1));
            rig.wait(20);
            assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (0, 0), "{name}");
            assert_eq!(rig.records_raw().len(), 2);
            // Overflow: the condition lasts.
            for i in 0..4 {
                fault(&mut rig, i);
            }
            rig.settle();
            rig.write(&ipsr::REG, ipsr::FIP.of(1));
            rig.wait(20);
            assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (ipsr::FIP.of(1), 1 << vector), "{name}: fqof");
            rig.records_raw();
            rig.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(1) | fqcsr::FQOF.of(1));
            rig.write(&ipsr::REG, ipsr::FIP.of(1));
            rig.wait(20);
            assert_eq!((rig.read(&ipsr::REG), rig.out().irq), (0, 0), "{name}");
        }
    }
}

#[test]
fn a_queue_that_is_off_records_nothing_and_starts_empty() {
    for name in DESIGNS {
        let mut rig = faulty(name, 2, Pressure::None);
        fault(&mut rig, 0);
        rig.settle();
        rig.write(&fqcsr::REG, 0);
        rig.poll(&fqcsr::REG, |v| !fqcsr::FQON.is_set(v) && !fqcsr::BUSY.is_set(v));
        rig.forget_traffic();
        fault(&mut rig, 1);
        rig.settle();
        assert_eq!(rig.writes(), [], "{name}: no access to the queue while it is off");
        rig.write(&fqcsr::REG, fqcsr::FQEN.of(1));
        rig.poll(&fqcsr::REG, |v| fqcsr::FQON.is_set(v));
        assert_eq!(rig.read(&fqt::REG), 0, "fqen from 0 to 1 sets fqt to 0");
        rig.write(&fqh::REG, 0);
        rig.fault_head = 0;
        let due = fault(&mut rig, 2);
        rig.settle();
        assert_eq!(rig.records_raw(), [due]);
    }
}

/// What is in flight when the mode becomes Off is answered under the old mode or aborted, and when `busy` has fallen nothing is
/// translated any more.
#[test]
fn a_change_of_mode_is_complete_when_busy_falls() {
    for name in DESIGNS {
        let mut s = Scene::with(name, 200, 1, pdtp_mode::PD8, &SV39);
        let query = s.query();
        let root = s.rig.directory.1;
        s.rig.invalidate_all();
        let ticket = s.rig.submit(0, query);
        s.rig.wait(20);
        s.rig.set_directory(iommu_mode::OFF, root);
        let changed = s.rig.now();
        s.rig.finish();
        let answer = s.rig.answer(ticket).expect("finished");
        let expected = [(0, 0), (1, 256)];
        assert!(expected.contains(&(answer.status, answer.cause)), "{name}: {answer:x?}");
        assert!(answer.taken < changed || answer.cause == 256, "{name}: translated after the change");
        s.rig.settle();
        s.rig.records();
        check(&mut s.rig, "Off, whatever is cached", query, Some(Cause::AllInboundTransactionsDisallowed));
        s.rig.set_directory(iommu_mode::BARE, root);
        let answer = check(&mut s.rig, "Bare, whatever is cached", Query { iova: 0x7_1234, ..query }, None);
        assert_eq!(answer.spa, 0x7_1234);
        s.rig.set_directory(iommu_mode::LVL1, root);
        let answer = check(&mut s.rig, "1LVL again", query, None);
        assert_eq!(answer.spa, s.frame + 0x123);
        // Another directory, in which the device has another page.
        s.rig.set_directory(iommu_mode::OFF, root);
        let (old, frame) = (s.root, s.rig.page());
        s.rig.new_directory(2);
        s.root = s.rig.page();
        s.frame = frame;
        s.rig.map(&SV39, s.root, VA, 0, entry(frame, bits::ALL));
        s.restore();
        assert_ne!(old, s.root);
        let answer = expect(&mut s.rig, "another directory", query, None);
        assert_eq!(answer.spa, frame + 0x123);
        // Reserved modes are not taken; what is, is a legal value. (`iommu_mode` is WARL.)
        for mode in 5..16 {
            s.rig.write(&ddtp::REG, ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> 12));
            let value = s.rig.poll(&ddtp::REG, |value| !ddtp::BUSY.is_set(value));
            assert!(ddtp::IOMMU_MODE.get(value) <= iommu_mode::LVL3, "{name}: {value:#x}");
        }
    }
}
