//! Modes, device directory, device context, process directory, process context: every check, one broken entry at a time.

use crate::scene::{DID, PID, PSCID, Scene, VA, expect};
use pasidon_spec::ddt::{dc, ddte, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{SV39, iosatp_mode};
use pasidon_spec::pdt::{pc, pdte, pdtp_mode};
use pasidon_tests::tables::{bits, entry, plain_dc, pointer, process_dc, user_pc};
use pasidon_tests::{Query, Rig};

const OFF: Option<Cause> = Some(Cause::AllInboundTransactionsDisallowed);
const DISALLOWED: Option<Cause> = Some(Cause::TransactionTypeDisallowed);

/// Every kind of transaction.
fn kinds(query: Query) -> Vec<Query> {
    let mut list = vec![];
    for at in 0..3 {
        let query = Query { at, ..query };
        list.extend([query, query.write(), query.exec()]);
    }
    list
}

/// What is wrong with an entry of a directory, as causes.
struct Directory {
    name: &'static str,
    not_valid: Cause,
    misconfigured: Cause,
    access: Cause,
    corruption: Cause,
}

const DDT: Directory = Directory {
    name: "DDT",
    not_valid: Cause::DdtEntryNotValid,
    misconfigured: Cause::DdtEntryMisconfigured,
    access: Cause::DdtEntryLoadAccessFault,
    corruption: Cause::DdtDataCorruption,
};
const PDT: Directory = Directory {
    name: "PDT",
    not_valid: Cause::PdtEntryNotValid,
    misconfigured: Cause::PdtEntryMisconfigured,
    access: Cause::PdtEntryLoadAccessFault,
    corruption: Cause::PdtDataCorruption,
};

impl Directory {
    /// A non-leaf entry, wrong in every way, one at a time. Those of both directories have one layout.
    fn check_pointer(&self, s: &mut Scene, slot: u64, level: usize) {
        assert_eq!((ddte::V.mask(), ddte::PPN.mask()), (pdte::V.mask(), pdte::PPN.mask()));
        let good = s.rig.load(slot);
        let what = |case: &str| format!("{} entry at level {level}: {case}", self.name);
        s.with_word(&what("V = 0"), slot, good & !ddte::V.mask(), Some(self.not_valid));
        s.with_word(&what("V = 0, all else 1"), slot, !1, Some(self.not_valid));
        for bit in (1..10).chain(54..64) {
            s.with_word(&what("reserved bit"), slot, good | 1 << bit, Some(self.misconfigured));
        }
        s.with_word(&what("no memory"), slot, 1 | 1 << 10, Some(self.access));
        self.check_failures(s, &what("fails"), slot);
    }

    /// Memory that fails at one doubleword.
    fn check_failures(&self, s: &mut Scene, what: &str, at: u64) {
        let query = s.query();
        for (kind, cause) in [(Failure::Read, self.access), (Failure::Poison, self.corruption)] {
            s.rig.inject(at..at + 8, kind);
            expect(&mut s.rig, what, query, Some(cause));
            s.rig.heal();
        }
    }
}

/// Section "Process to translate an IOVA", steps 1 and 2.
#[test]
fn off_refuses_everything_and_bare_passes_what_is_untranslated() {
    for name in ["tiny", "default"] {
        let mut rig = Rig::ready(name, 3, 1);
        let all = (1 << rig.design.device_id_width) - 1;
        let pid = (1 << rig.design.process_id_width) - 1;
        let top = 1u64 << rig.design.pas;
        let who = [Query::read(DID, None, 0x1234_5678), Query::read(all, Some(pid), top - 8).privileged()];
        for query in who.into_iter().flat_map(kinds) {
            expect(&mut rig, "Off after reset", query, OFF);
        }
        rig.set_directory(iommu_mode::BARE, 0);
        for query in who.into_iter().flat_map(kinds) {
            let answer = expect(&mut rig, "Bare", query, if query.at == 0 { None } else { DISALLOWED });
            assert!(query.at != 0 || answer.spa == query.iova);
        }
        for iova in [top, 1 << 63, u64::MAX] {
            let query = Query::read(DID, None, iova);
            expect(&mut rig, "Bare", query, Some(Cause::ReadAccessFault));
            expect(&mut rig, "Bare", query.write(), Some(Cause::WriteAmoAccessFault));
            expect(&mut rig, "Bare", query.exec(), Some(Cause::InstructionAccessFault));
        }
        rig.set_directory(iommu_mode::OFF, 0);
        for query in who.into_iter().flat_map(kinds) {
            expect(&mut rig, "Off again", query, OFF);
        }
    }
}

/// Sections "Process to locate the Device-context" and "Non-leaf DDT entry".
#[test]
fn every_level_of_the_device_directory_is_checked() {
    for levels in 1..=3 {
        let mut s = Scene::with("default", 1, levels, pdtp_mode::PD8, &SV39);
        let query = s.query();
        expect(&mut s.rig, "whole", query, None);
        for level in 1..levels {
            let slot = s.rig.ddt_slot(DID, level);
            DDT.check_pointer(&mut s, slot, level);
        }
        let slot = s.rig.ddt_slot(DID, 0);
        for at in Scene::words(slot, 4) {
            DDT.check_failures(&mut s, "device context fails", at);
        }
        // Both at once: the access that violates PMA or PMP comes first in the section's order.
        s.rig.inject(slot..slot + 8, Failure::Poison);
        s.rig.inject(slot + 24..slot + 32, Failure::Read);
        expect(&mut s.rig, "poison, then a failure", query, Some(Cause::DdtEntryLoadAccessFault));
        s.restore();
        expect(&mut s.rig, "whole again", query, None);
    }
    // The directory's root where there is no memory.
    let mut s = Scene::new("odd");
    let query = s.query();
    for root in [0x1000, 1 << 41, 1 << 55] {
        for mode in [iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3] {
            s.rig.set_directory(mode, root);
            expect(&mut s.rig, "root without memory", query, Some(Cause::DdtEntryLoadAccessFault));
        }
    }
}

/// Section "Device-context configuration checks".
#[test]
fn every_bit_of_a_device_context_is_checked() {
    const WRONG: Option<Cause> = Some(Cause::DdtEntryMisconfigured);
    for name in ["tiny", "default", "odd"] {
        let mut s = Scene::new(name);
        let slot = s.rig.ddt_slot(DID, 0);
        let [tc, iohgatp, ta, fsc] = [0, 8, 16, 24].map(|offset| slot + offset);
        let good = s.device_context();
        s.with_word("tc: V = 0", tc, good.tc & !1, Some(Cause::DdtEntryNotValid));
        s.with_word("tc: V = 0, all else 1", tc, !1, Some(Cause::DdtEntryNotValid));
        for bit in 1..64 {
            // DTF, PDTV (which is 1) and DPE; bits 31:24 are for custom use. EN_ATS; EN_PRI and PRPR not alone.
            let legal = matches!(bit, 4 | 5 | 9 | 24..=31) || (bit == 1 && s.rig.design.ats);
            s.with_word(&format!("tc: bit {bit}"), tc, good.tc | 1 << bit, if legal { None } else { WRONG });
        }
        // Nothing of a device context that is misconfigured counts, DTF neither.
        s.with_word("tc: T2GPA and DTF", tc, good.tc | dc::tc::DTF.of(1) | dc::tc::T2GPA.of(1), WRONG);
        let needs_ats = if s.rig.design.ats { None } else { WRONG };
        let (en_ats, en_pri, prpr) = (dc::tc::EN_ATS.mask(), dc::tc::EN_PRI.mask(), dc::tc::PRPR.mask());
        s.with_word("tc: EN_ATS and EN_PRI", tc, good.tc | en_ats | en_pri, needs_ats);
        s.with_word("tc: EN_ATS, EN_PRI and PRPR", tc, good.tc | en_ats | en_pri | prpr, needs_ats);
        s.with_word("tc: EN_ATS and PRPR", tc, good.tc | en_ats | prpr, WRONG);
        s.with_word("tc: EN_PRI and PRPR", tc, good.tc | en_pri | prpr, WRONG);
        s.with_word("tc: EN_ATS and T2GPA", tc, good.tc | en_ats | dc::tc::T2GPA.mask(), WRONG);
        for mode in 1..16 {
            s.with_word(&format!("iohgatp.MODE = {mode}"), iohgatp, dc::iohgatp::MODE.of(mode), WRONG);
        }
        s.with_word("iohgatp: Bare, all else 1", iohgatp, !dc::iohgatp::MODE.mask(), None);
        for bit in 0..64 {
            let cause = if (12..32).contains(&bit) { None } else { WRONG };
            s.with_word(&format!("ta: bit {bit}"), ta, 1 << bit, cause);
        }
        for bit in 44..60 {
            s.with_word(&format!("fsc: bit {bit}"), fsc, good.fsc | 1 << bit, WRONG);
        }
        // DPE without PDTV.
        s.with_word("tc: DPE without PDTV", tc, 1 | dc::tc::DPE.of(1), WRONG);
        let d = s.rig.design.clone();
        for mode in 0..16 {
            let query = Query::read(DID, None, s.frame);
            let modes = [true, d.pd8, d.pd17, d.pd20];
            let supported = modes.get(mode as usize).copied().unwrap_or(false);
            let pointer = dc::fsc::MODE.of(mode) | dc::fsc::PPN.of(s.root >> 12);
            s.rig.set_dc(DID, process_dc(pointer));
            expect(&mut s.rig, &format!("pdtp.MODE = {mode}"), query, if supported { None } else { WRONG });

            let query = Query::read(DID, None, if mode == 0 { s.frame } else { VA });
            let supported = matches!(mode, 0 | 8) || (mode == 9 && d.sv48) || (mode == 10 && d.sv57);
            s.rig.set_dc(DID, plain_dc(pointer, PSCID));
            // The page table is one for Sv39: in a deeper mode its entries are all 0 where the address looks.
            let cause = if mode > 8 { Some(Cause::ReadPageFault) } else { None };
            expect(
                &mut s.rig,
                &format!("iosatp.MODE = {mode}"),
                query,
                if supported { cause } else { WRONG },
            );
        }
        s.restore();
        let query = s.query();
        expect(&mut s.rig, "whole again", query, None);
    }
}

/// Section "Process to translate an IOVA", steps 5 and 8.
#[test]
fn ids_wider_than_the_directories_are_refused() {
    let mut s = Scene::new("default");
    for (levels, bits) in [(1, 7), (2, 16), (3, 24)] {
        s.rig.new_directory(levels);
        for bit in 0..24 {
            let cause = if bit < bits { Some(Cause::DdtEntryNotValid) } else { DISALLOWED };
            let what = format!("device_id with bit {bit} in a directory of {levels} levels");
            expect(&mut s.rig, &what, Query::read(1 << bit, None, VA), cause);
        }
        let query = Query::read((1u64 << bits) as u32 - 1, None, VA);
        expect(&mut s.rig, "widest device_id", query, Some(Cause::DdtEntryNotValid));
        s.rig.set_dc(DID, process_dc(s.pdtp));
        for (mode, bits) in [(pdtp_mode::PD8, 8), (pdtp_mode::PD17, 17), (pdtp_mode::PD20, 20)] {
            let root = s.rig.page();
            s.rig.set_dc(DID, process_dc(pointer(mode, root)));
            for bit in 0..20 {
                let cause = if bit < bits { Some(Cause::PdtEntryNotValid) } else { DISALLOWED };
                let what = format!("process_id with bit {bit} in a directory for {bits} bits");
                expect(&mut s.rig, &what, Query::read(DID, Some(1 << bit), VA), cause);
            }
        }
        // In mode Bare every process_id is as good as any other.
        s.rig.set_dc(DID, process_dc(0));
        expect(&mut s.rig, "pdtp.MODE = Bare", Query::read(DID, Some(0xf_ffff), VA), None);
    }
}

/// Sections "Process to locate the Process-context" and "Non-leaf PDT entry".
#[test]
fn every_level_of_the_process_directory_is_checked() {
    for (mode, levels) in [(pdtp_mode::PD8, 1), (pdtp_mode::PD17, 2), (pdtp_mode::PD20, 3)] {
        let mut s = Scene::with("default", 1, 2, mode, &SV39);
        let query = s.query();
        expect(&mut s.rig, "whole", query, None);
        for level in 1..levels {
            let slot = s.rig.pdt_slot(s.pdtp, PID, level);
            PDT.check_pointer(&mut s, slot, level);
        }
        let slot = s.rig.pdt_slot(s.pdtp, PID, 0);
        for at in Scene::words(slot, 2) {
            PDT.check_failures(&mut s, "process context fails", at);
        }
        // The highest process_id that fits.
        let last = [0xff, 0x1_ffff, 0xf_ffff][levels - 1];
        let context = s.process_context();
        s.rig.set_pc(s.pdtp, last, context);
        expect(&mut s.rig, "widest process_id", Query::read(DID, Some(last), VA), None);
    }
}

/// Sections "Process-context configuration checks" and "Process-context fields".
#[test]
fn every_bit_of_a_process_context_is_checked() {
    const WRONG: Option<Cause> = Some(Cause::PdtEntryMisconfigured);
    for name in ["tiny", "default", "odd"] {
        let mut s = Scene::new(name);
        let slot = s.rig.pdt_slot(s.pdtp, PID, 0);
        let (ta, fsc) = (slot, slot + 8);
        let good = s.process_context();
        s.with_word("ta: V = 0", ta, good.ta & !1, Some(Cause::PdtEntryNotValid));
        s.with_word("ta: V = 0, all else 1", ta, !1, Some(Cause::PdtEntryNotValid));
        for bit in 1..64 {
            let legal = matches!(bit, 1 | 2 | 12..=31);
            s.with_word(&format!("ta: bit {bit}"), ta, good.ta | 1 << bit, if legal { None } else { WRONG });
        }
        for bit in 44..60 {
            s.with_word(&format!("fsc: bit {bit}"), fsc, good.fsc | 1 << bit, WRONG);
        }
        let d = s.rig.design.clone();
        for mode in 0..16 {
            let supported = matches!(mode, 0 | 8) || (mode == 9 && d.sv48) || (mode == 10 && d.sv57);
            let word = pc::fsc::MODE.of(mode) | pc::fsc::PPN.of(s.root >> 12);
            s.rig.store(fsc, word);
            let query = Query::read(DID, Some(PID), if mode == iosatp_mode::BARE { s.frame } else { VA });
            let cause = if mode > 8 { Some(Cause::ReadPageFault) } else { None };
            expect(
                &mut s.rig,
                &format!("PC.fsc.MODE = {mode}"),
                query,
                if supported { cause } else { WRONG },
            );
        }
        s.restore();
        let query = s.query();
        expect(&mut s.rig, "whole again", query, None);
    }
}

/// Section "Process to translate an IOVA", steps 8 to 17: which context a request uses.
#[test]
fn the_right_context_is_chosen() {
    for name in ["tiny", "default", "odd"] {
        let mut s = Scene::new(name);
        let (rig, pdtp, root, frame) = (&mut s.rig, s.pdtp, s.root, s.frame);
        let mine = Query::read(DID, Some(PID), VA);
        let nobody = Query::read(DID, None, VA);
        let physical = Query::read(DID, None, frame + 8);
        // Process 0 has an address space of its own.
        let other_root = rig.page();
        let other = rig.page();
        rig.map(&SV39, other_root, VA, 0, entry(other, bits::ALL));
        rig.set_pc(pdtp, 0, user_pc(pointer(SV39.mode, other_root), 1));

        let answer = expect(rig, "with a process_id", mine, None);
        assert_eq!(answer.spa, frame);
        let answer = expect(rig, "no process_id, DPE = 0: Bare", physical, None);
        assert_eq!(answer.spa, frame + 8);
        for query in kinds(mine).into_iter().chain(kinds(nobody)).filter(|q| q.at != 0) {
            expect(rig, "EN_ATS = 0", query, DISALLOWED);
        }

        let mut with_default = process_dc(pdtp);
        with_default.tc |= dc::tc::DPE.of(1);
        rig.set_dc(DID, with_default);
        let answer = expect(rig, "no process_id, DPE = 1: process 0", nobody, None);
        assert_eq!(answer.spa, other);
        let answer = expect(rig, "a process_id, DPE = 1", mine, None);
        assert_eq!(answer.spa, frame);
        // A privilege without a process_id means nothing; the bench drives noise there.
        for _ in 0..4 {
            expect(rig, "no process_id, DPE = 1, privilege or not", nobody, None);
        }

        rig.set_dc(DID, process_dc(pointer(pdtp_mode::BARE, root)));
        let answer = expect(rig, "pdtp.MODE = Bare", Query { process_id: Some(PID), ..physical }, None);
        assert_eq!(answer.spa, frame + 8);
        expect(rig, "pdtp.MODE = Bare", Query { process_id: Some(PID), ..physical }.privileged(), None);

        rig.set_dc(DID, plain_dc(pointer(SV39.mode, root), PSCID));
        let answer = expect(rig, "PDTV = 0: iosatp", nobody, None);
        assert_eq!(answer.spa, frame);
        expect(rig, "PDTV = 0 and a process_id", mine, DISALLOWED);
        rig.set_dc(DID, plain_dc(0, PSCID));
        let answer = expect(rig, "iosatp.MODE = Bare", physical, None);
        assert_eq!((answer.spa, answer.rwx), (frame + 8, (true, true, true)));
        let beyond = Query::read(DID, None, 1 << rig.design.pas);
        expect(rig, "iosatp.MODE = Bare, beyond PAS", beyond, Some(Cause::ReadAccessFault));

        // ENS: supervisor requests. (Section "Translation attributes (ta)" of the process context.)
        rig.set_dc(DID, process_dc(pdtp));
        for fsc in [pointer(SV39.mode, root), 0] {
            for ens in [0, 1] {
                let mut context = user_pc(fsc, PSCID);
                context.ta |= pc::ta::ENS.of(ens) | pc::ta::SUM.of(1);
                rig.set_pc(pdtp, PID, context);
                let query = Query { iova: if fsc == 0 { frame } else { VA }, ..mine };
                let cause = if ens == 1 { None } else { DISALLOWED };
                expect(rig, &format!("ENS = {ens}"), query.privileged(), cause);
                expect(rig, &format!("ENS = {ens}, user"), query, None);
                // The other privilege's translation is cached now: it must not answer for this one.
                crate::scene::check(rig, &format!("ENS = {ens}, warm"), query.privileged(), cause);
            }
        }
    }
}
