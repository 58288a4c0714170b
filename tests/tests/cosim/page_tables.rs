//! First-stage page tables: geometries, page sizes, permissions, every malformed entry. (Privileged specification, "Virtual
//! Address Translation Process", "Svnapot", "Svpbmt"; IOMMU specification, section "Process to translate an IOVA".)

use crate::scene::{DID, PID, PSCID, Scene, VA, check, expect};
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{Geometry, SV39, SV48, SV57, napot, pte};
use pasidon_spec::pdt::{pc, pdtp_mode};
use pasidon_tests::tables::{bits, entry, pointer, user_pc};
use pasidon_tests::{Query, Rig};

/// Makes a read what it is to be; the causes of its page fault and its access fault.
type Kind = (fn(Query) -> Query, Cause, Cause);

/// Reads, writes, fetches, with the causes of their page faults and access faults.
const KINDS: [Kind; 3] = [
    (|q| q, Cause::ReadPageFault, Cause::ReadAccessFault),
    (Query::write, Cause::WriteAmoPageFault, Cause::WriteAmoAccessFault),
    (Query::exec, Cause::InstructionPageFault, Cause::InstructionAccessFault),
];

fn geometries(rig: &Rig) -> Vec<&'static Geometry> {
    let mut list = vec![&SV39];
    list.extend(rig.design.sv48.then_some(&SV48));
    list.extend(rig.design.sv57.then_some(&SV57));
    list
}

fn scenes(name: &str) -> Vec<Scene> {
    let geometries = geometries(&Rig::new(name, 1, 1));
    geometries.into_iter().map(|g| Scene::with(name, 1, 1, pdtp_mode::PD8, g)).collect()
}

/// An address of the geometry with a different index at each level.
fn address(g: &Geometry, high: bool) -> u64 {
    let mut iova = 0;
    for (i, level) in g.levels.iter().enumerate() {
        iova |= (0x155 - 0x21 * i as u64) << level.lo;
    }
    let top = g.address_bits() - 1;
    if high { iova | u64::MAX << top } else { iova & !(u64::MAX << top) }
}

#[test]
fn pages_of_every_size_translate_to_their_last_byte() {
    for name in ["tiny", "default", "odd"] {
        for mut s in scenes(name) {
            let (g, root) = (s.geometry, s.root);
            for high in [false, true] {
                for level in 0..g.levels.len() {
                    let size = g.page_bytes(level);
                    let iova = address(g, high) & !(size - 1);
                    let top = 1u64 << s.rig.design.pas;
                    // The highest frame that there is, if a page of this size fits at all.
                    let frame = top.saturating_sub(size) & !(size - 1);
                    let before = {
                        let slot = s.rig.pte_slot(g, root, iova, level);
                        (slot, s.rig.load(slot))
                    };
                    s.rig.map(g, root, iova, level, entry(frame, bits::ALL));
                    for offset in [0, size / 2 + 0x128, size - 1] {
                        let query = Query::read(DID, Some(PID), iova + offset);
                        let fits = frame + offset < top || size <= top;
                        let what = format!("{} on {name}, level {level}, offset {offset:#x}", g.name);
                        if fits {
                            let answer = expect(&mut s.rig, &what, query, None);
                            assert_eq!(
                                (answer.spa, answer.size),
                                (frame + offset, g.levels[level].lo.into())
                            );
                            // And again from the TLB.
                            let warm = check(&mut s.rig, &what, query, None);
                            assert_eq!((warm.spa, warm.size), (answer.spa, answer.size), "{what}, warm");
                        }
                    }
                    s.rig.store(before.0, before.1);
                }
            }
        }
    }
}

#[test]
fn addresses_that_are_not_sign_extended_fault() {
    for name in ["tiny", "default", "odd"] {
        for mut s in scenes(name) {
            let g = s.geometry;
            for high in [false, true] {
                let iova = address(g, high);
                let frame = s.frame;
                s.rig.map(g, s.root, iova, 0, entry(frame, bits::ALL));
                let query = Query::read(DID, Some(PID), iova);
                expect(&mut s.rig, "canonical", query, None);
                for bit in g.address_bits()..64 {
                    for (kind, page_fault, _) in KINDS {
                        let query = kind(Query { iova: iova ^ 1 << bit, ..query });
                        // The canonical page stays cached: the wrong address must not hit it.
                        check(&mut s.rig, &format!("{} bit {bit}", g.name), query, Some(page_fault));
                    }
                }
            }
        }
    }
}

/// All 128 combinations of V, R, W, X, U, A, D, for reads, writes and fetches, user, supervisor, supervisor with SUM.
#[test]
fn every_combination_of_permissions_is_decided_as_specified() {
    for name in ["tiny", "default"] {
        let mut s = Scene::new(name);
        let slot = s.rig.pte_slot(&SV39, s.root, VA, 0);
        for sum in [0, 1] {
            let mut context = user_pc(pointer(SV39.mode, s.root), PSCID);
            context.ta |= pc::ta::ENS.of(1) | pc::ta::SUM.of(sum);
            s.rig.set_pc(s.pdtp, PID, context);
            for flags in (0..256u64).filter(|flags| flags & bits::G == 0) {
                s.rig.store(slot, entry(s.frame, flags));
                s.rig.invalidate_all();
                let bit = |b: u64| flags & b != 0;
                // Warm or cold must make no difference: the first that is granted fills the TLB.
                for privileged in [false, true] {
                    for (kind, page_fault, _) in KINDS {
                        let query = kind(Query { privileged, ..s.query() });
                        let level = match (privileged, bit(bits::U)) {
                            (true, true) => sum == 1 && !query.exec,
                            (privileged, user) => privileged != user,
                        };
                        let leaf = bit(bits::V) && (bit(bits::R) || (bit(bits::X) && !bit(bits::W)));
                        let right = if query.exec {
                            bit(bits::X)
                        } else if query.write {
                            bit(bits::W) && bit(bits::D)
                        } else {
                            bit(bits::R)
                        };
                        let granted = leaf && level && right && bit(bits::A);
                        let what = format!("{name}: flags {flags:#x}, SUM {sum}, {query:?}");
                        check(&mut s.rig, &what, query, if granted { None } else { Some(page_fault) });
                    }
                }
            }
        }
    }
}

#[test]
fn malformed_leaves_fault() {
    for name in ["tiny", "default", "odd"] {
        for mut s in scenes(name) {
            let (g, root) = (s.geometry, s.root);
            let fault = |query: Query, cause| (query, Some(cause));
            for level in 0..g.levels.len() {
                let size = g.page_bytes(level);
                let iova = address(g, false) & !(size - 1);
                let slot = s.rig.pte_slot(g, root, iova, level);
                let before = s.rig.load(slot);
                let good = entry(0, bits::ALL);
                let query = Query::read(DID, Some(PID), iova + 0x40);
                let mut cases: Vec<(String, u64)> = vec![("W without R".into(), good & !bits::R)];
                cases.push(("W without R and X".into(), good & !bits::R & !bits::X));
                cases.extend((54..63).map(|bit| (format!("reserved bit {bit}"), good | 1 << bit)));
                // PBMT is reserved without Svpbmt, all its values.
                cases.push(("PBMT = 3".into(), good | pte::PBMT.of(3)));
                let below = 9 * level as u32;
                cases.extend(
                    (0..below).map(|bit| (format!("misaligned by bit {bit}"), good | 1 << (10 + bit))),
                );
                for low in 0..16 {
                    let defined = level == 0 && low == 8;
                    if !defined {
                        cases.push((format!("N with page number {low:#x}"), good | bits::N | low << 10));
                    }
                }
                for (case, word) in cases {
                    s.rig.store(slot, word);
                    let what = format!("{} on {name}, level {level}: {case}", g.name);
                    for (kind, page_fault, _) in KINDS {
                        let (query, cause) = fault(kind(query), page_fault);
                        expect(&mut s.rig, &what, query, cause);
                    }
                }
                for bit in 0..44 {
                    let beyond = bit + 12 >= s.rig.design.pas;
                    if !beyond {
                        continue;
                    }
                    s.rig.store(slot, good | 1 << (10 + bit));
                    for (kind, _, access_fault) in KINDS {
                        let what = format!("{} on {name}, level {level}: page number bit {bit}", g.name);
                        expect(&mut s.rig, &what, kind(query), Some(access_fault));
                    }
                }
                s.rig.store(slot, before);
            }
        }
    }
}

#[test]
fn malformed_pointers_and_unreadable_tables_fault() {
    for name in ["tiny", "default", "odd"] {
        for mut s in scenes(name) {
            let (g, root) = (s.geometry, s.root);
            let iova = address(g, true);
            let query = Query::read(DID, Some(PID), iova);
            let frame = s.frame;
            s.rig.map(g, root, iova, 0, entry(frame, bits::ALL));
            expect(&mut s.rig, "whole", query, None);
            for level in 0..g.levels.len() {
                let slot = s.rig.pte_slot(g, root, iova, level);
                let good = s.rig.load(slot);
                let mut cases = vec![("V = 0".to_string(), good & !bits::V)];
                if level == 0 {
                    cases.push(("a pointer where only leaves may be".into(), entry(root, bits::V)));
                } else {
                    for (bit, case) in [(bits::A, "A"), (bits::D, "D"), (bits::U, "U"), (bits::N, "N")] {
                        cases.push((format!("pointer with {case}"), good | bit));
                    }
                    cases.extend((54..63).map(|bit| (format!("pointer with bit {bit}"), good | 1 << bit)));
                    cases.push(("pointer with W".into(), good | bits::W));
                }
                for (case, word) in cases {
                    let what = format!("{} on {name}, level {level}: {case}", g.name);
                    s.rig.store(slot, word);
                    for (kind, page_fault, _) in KINDS {
                        expect(&mut s.rig, &what, kind(query), Some(page_fault));
                    }
                }
                if level > 0 {
                    // G and RSW mean nothing that a pointer could do wrong.
                    s.rig.store(slot, good | bits::G | pte::RSW.mask());
                    expect(&mut s.rig, "pointer with G and RSW", query, None);
                    let mut nowhere = vec![0x1000];
                    nowhere.extend((s.rig.design.pas..56).map(|bit| (good >> 10 << 12) | 1 << bit));
                    for table in nowhere {
                        s.rig.store(slot, entry(table, bits::V));
                        for (kind, _, access_fault) in KINDS {
                            let what = format!("{} on {name}, level {level}: table at {table:#x}", g.name);
                            expect(&mut s.rig, &what, kind(query), Some(access_fault));
                        }
                    }
                }
                s.rig.store(slot, good);
                for (kind, _, access_fault) in KINDS {
                    s.rig.inject(slot..slot + 8, Failure::Read);
                    expect(&mut s.rig, "a table that fails", kind(query), Some(access_fault));
                    s.rig.heal();
                    s.rig.inject(slot..slot + 8, Failure::Poison);
                    expect(&mut s.rig, "corrupt", kind(query), Some(Cause::PtDataCorruption));
                    s.rig.heal();
                }
            }
            expect(&mut s.rig, "whole again", query, None);
        }
    }
}

/// All sixteen pages of a group translate from one entry, and the group's neighbours do not.
#[test]
fn napot_groups_are_one_page_of_64_kib() {
    for name in ["tiny", "default"] {
        for mut s in scenes(name) {
            let (g, root) = (s.geometry, s.root);
            // Each port has a TLB of its own.
            s.rig.home = Some(0);
            let group = address(g, true) & !0xffff;
            let frame = (s.frame & !0xffff) | 0x3_0000;
            for page in 0..16 {
                let word = entry(napot::encode(frame >> 12) << 12, bits::ALL | bits::N);
                s.rig.map(g, root, group + page * 4096, 0, word);
            }
            s.rig.invalidate_all();
            let order = [5, 0, 15, 7, 8, 1, 2, 3, 4, 6, 9, 10, 11, 12, 13, 14];
            for (i, page) in order.into_iter().enumerate() {
                let reads = s.rig.reads().len();
                let query = Query::read(DID, Some(PID), group + page * 4096 + 0x234);
                let answer = check(&mut s.rig, "NAPOT", query, None);
                assert_eq!((answer.spa, answer.size), (frame + page * 4096 + 0x234, 16));
                assert!(
                    i == 0 || s.rig.reads().len() == reads,
                    "{name}, {}, page {page}: the group is one entry of the TLB",
                    g.name
                );
            }
            for outside in [group - 1, group + 0x1_0000] {
                let query = Query::read(DID, Some(PID), outside);
                check(&mut s.rig, "beside the group", query, Some(Cause::ReadPageFault));
            }
        }
    }
}
