//! Walker: takes one request from the contexts it needs to a translation or a fault. It reads, in this order and as far as
//! the context caches did not answer: device directory (DDT), device context (DC), process directory (PDT), process context
//! (PC), first-stage page table.
//!
//! Latency: 1 cycle to decide, 1 for each context used, 1 for the first-stage root, then for each memory read 1 cycle of
//! request plus the memory's latency: data are used in the cycle in which they arrive. Never: a walk that was started before
//! `mark` completes without `stale`.

use super::context::*;
use crate::design::Design;
use crate::hdl::{E, Module, any_of, cat, first, hi, lit, lo, select};
use crate::monitor::WalkEvents;
use crate::translate::dispatch::{has_l2, page_tag};
use crate::translate::miss_table::entry_width;
use crate::translate::request::{Request, Translation, geometries, mask_width, ppn_width, sign_extends};
use pasidon_spec::ddt::{BASE_DDI, dc, ddte, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{self, iosatp_mode, napot, pte};
use pasidon_spec::pdt::{PDI, pc, pdte, pdtp_mode};
use std::rc::Rc;

/// Statements of the first condition that holds.
macro_rules! chain {
    ($m:ident; else => $last:expr;) => { $last };
    ($m:ident; $test:expr => $body:expr; $($rest:tt)+) => {
        $m.when_else($test, |$m| $body, |$m| chain!($m; $($rest)+))
    };
}

const IDLE: u64 = 0;
const START: u64 = 1;
const HAVE_DC: u64 = 2;
const HAVE_PC: u64 = 3;
const ROOT: u64 = 4;
const READ: u64 = 5;
const DATA: u64 = 6;
const DONE: u64 = 7;

/// What is being read.
const DDTE: u64 = 0;
const DC: u64 = 1;
const PDTE: u64 = 2;
const PC: u64 = 3;
const PTE: u64 = 4;

/// A walker.
pub fn walker(d: &Design) -> Rc<Module> {
    let mut m = Module::new("walker", "Walks directories and page tables for one request at a time.");
    let levels = d.page_table_levels() as usize;
    let cause = |c: Cause| lit(c.code().into(), 12);

    m.section("A request to walk for, with what the context caches know");
    let start = m.input("start", 1);
    let s_entry = m.input("s_entry", entry_width(d));
    let s_request = Request::inputs(&mut m, d, "s");
    let s_dc_hit = m.input("s_dc_hit", 1);
    let words = |m: &mut Module, name: &str, widths: &[u32]| -> Vec<E> {
        widths.iter().enumerate().map(|(w, width)| m.input(&format!("{name}{w}"), *width)).collect()
    };
    let s_dc = DeviceContext::unpack(&words(&mut m, "s_dc", &device_context_widths(d)));
    let s_pc_hit = m.input("s_pc_hit", 1);
    let s_pc = ProcessContext::unpack(&words(&mut m, "s_pc", &process_context_widths(d)));
    let l2 = has_l2(d).then(|| {
        m.section("The answer of the L2 TLB, which makes the walk unnecessary");
        let hit = m.input("s_l2_hit", 1);
        (hit, Translation::from_fn(d, |name, width| m.input(&format!("s_l2_{name}"), width)))
    });
    m.section("ddtp");
    let ddtp_mode = m.input("ddtp_mode", 3);
    let ddtp_root = m.input("ddtp_root", 44);
    m.section("Something was invalidated or ddtp changed: what was read so far may be stale");
    let mark = m.input("mark", 1);
    m.section("The result was taken");
    let taken = m.input("taken", 1);
    m.section("Memory read, in beats of 8 bytes");
    let rd_ready = m.input("rd_ready", 1);
    let rd_data_valid = m.input("rd_data_valid", 1);
    let word = m.input("rd_data", 64);
    let rd_last = m.input("rd_last", 1);
    let rd_error = m.input("rd_error", 1);
    let rd_poison = m.input("rd_poison", 1);

    // ---- Registers -------------------------------------------------------------------------------------------------
    let state = m.reg("state", 3, IDLE);
    let goto = |m: &mut Module, s: u64| m.set(state, lit(s, 3));
    let stale = m.reg_data("stale", 1);
    let entry = m.reg_data("entry", entry_width(d));
    let q = Request::registers(&mut m, d, "request");
    let device = DeviceContext::registers(&mut m, d);
    let process = ProcessContext::registers(&mut m, d);
    let dc_known = m.reg_data("dc_known", 1);
    let pc_known = m.reg_data("pc_known", 1);
    let dc_loaded = m.reg_data("dc_loaded", 1);
    let pc_loaded = m.reg_data("pc_loaded", 1);
    let kind = m.reg_data("kind", 3);
    let level = m.reg_data("level", 3);
    let page = m.reg_data("page", ppn_width(d));
    let offset = m.reg_data("offset", 9);
    let beat = m.reg_data("beat", 2);
    let (bad, error, poison, invalid) =
        (m.reg_data("bad", 1), m.reg_data("error", 1), m.reg_data("poison", 1), m.reg_data("invalid", 1));
    let root_mode = m.reg_data("root_mode", 4);
    let root_ppn = m.reg_data("root_ppn", ppn_width(d));
    let (ens, sum) = (m.reg_data("ens", 1), m.reg_data("sum", 1));
    let ok = m.reg_data("ok", 1);
    let fault = m.reg_data("fault", 12);
    let refill = m.reg_data("refill", 1);
    let result = Translation::from_fn(d, |name, width| m.reg_data(&format!("result_{name}"), width));
    let known = if has_l2(d) { m.reg_data("known", 1) } else { lo() };

    // ---- Causes by kind of access ----------------------------------------------------------------------------------
    let by_access = |exec: Cause, read: Cause, write: Cause| {
        q.exec.mux(cause(exec), q.write.mux(cause(write), cause(read)))
    };
    let page_fault = m.wire(
        "page_fault",
        by_access(Cause::InstructionPageFault, Cause::ReadPageFault, Cause::WriteAmoPageFault),
    );
    let access_fault = m.wire(
        "access_fault",
        by_access(Cause::InstructionAccessFault, Cause::ReadAccessFault, Cause::WriteAmoAccessFault),
    );
    let fail = |m: &mut Module, c: E| {
        m.set(fault, c);
        m.set(ok, lo());
        m.set(state, lit(DONE, 3));
    };
    let succeed = |m: &mut Module, t: &Translation, cacheable: E| {
        m.set(ok, hi());
        m.set(refill, cacheable);
        for ((_, register), (_, value)) in result.fields().into_iter().zip(t.fields()) {
            m.set(register, value);
        }
        m.set(state, lit(DONE, 3));
    };
    let iova_too_wide = q.iova.bits(d.pas, 64 - d.pas).any();
    let (any_error, any_poison) = (error | rd_error, poison | rd_poison);
    let two_or_one = |three: E| three.mux(lit(2, 3), lit(1, 3));
    let pass_through = |m: &mut Module, permissions: E, cacheable: E| {
        let own = Translation::identity(d, q.iova);
        let t = Translation { ppn: own.ppn, mask: own.mask, global: own.global, permissions, ..result };
        chain!(m;
            iova_too_wide => fail(m, access_fault);
            else => succeed(m, &t, cacheable);
        );
    };
    let read = |m: &mut Module, k: u64, l: E, at: E, index: E| {
        m.set(kind, lit(k, 3));
        m.set(level, l);
        m.set(page, at);
        m.set(offset, index);
        m.set(beat, lit(0, 2));
        for flag in [bad, error, poison, invalid] {
            m.set(flag, lo());
        }
        m.set(state, lit(READ, 3));
    };

    // ---- Directory and page-table indices --------------------------------------------------------------------------
    let slice = |e: E, lo_bit: u8, width: u8| {
        let have = e.width();
        let lo_bit = u32::from(lo_bit);
        if lo_bit >= have {
            lit(0, width.into())
        } else {
            e.bits(lo_bit, u32::from(width).min(have - lo_bit)).resize(width.into())
        }
    };
    let ddi: Vec<E> = BASE_DDI.iter().map(|l| slice(q.device_id, l.lo, l.width)).collect();
    let pdi: Vec<E> = PDI.iter().map(|l| slice(q.process_id, l.lo, l.width)).collect();
    // A device context takes 4 doublewords, a process context 2.
    let dc_offset = cat(&[ddi[0], lit(0, 2)]);
    let pc_offset = cat(&[pdi[0], lit(0, 1)]);
    let vpn: Vec<E> =
        page_table::SV57.levels[..levels].iter().map(|l| slice(q.iova, l.lo, l.width)).collect();

    // ---- Decisions that need no memory -----------------------------------------------------------------------------
    let wide_did = (ddtp_mode.is(iommu_mode::LVL2) & ddi[2].any())
        | (ddtp_mode.is(iommu_mode::LVL1) & (ddi[2].any() | ddi[1].any()));
    let disallowed = q.at.any()
        | (q.pid_valid & !device.pdtv)
        | (q.pid_valid & device.pdtv & pid_too_wide(d, device.fsc.mode, q.process_id));
    let no_process = !device.pdtv | (!q.pid_valid & !device.dpe) | device.fsc.mode.is(pdtp_mode::BARE);
    let set_root = |m: &mut Module, mode: E, ppn: E, pscid: E, s: E, u: E| {
        m.set(root_mode, mode);
        m.set(root_ppn, ppn);
        m.set(result.pscid, pscid);
        m.set(ens, s);
        m.set(sum, u);
        m.set(state, lit(ROOT, 3));
    };
    let root_level = first(
        &geometries(d)
            .into_iter()
            .map(|g| (root_mode.is(g.mode), lit(g.root() as u64, 3)))
            .collect::<Vec<_>>(),
        lit(0, 3),
    );
    let canonical = any_of(
        geometries(d)
            .into_iter()
            .map(|g| root_mode.is(g.mode) & sign_extends(q.iova, g.address_bits().into())),
    );

    // ---- The doubleword that arrives -------------------------------------------------------------------------------
    let f = |x| field(word, x);
    let next_page = f(pte::PPN).bits(0, ppn_width(d));
    let next_too_wide = m.wire("next_too_wide", too_wide(d, f(pte::PPN)));
    let leaf = m.wire("leaf", f(pte::R) | f(pte::X));
    let bottom = level.is(0);
    let misaligned = any_of((1..levels).map(|l| {
        let above = any_of((l..levels).map(|i| level.is(i as u64)));
        above & f(pte::PPN).bits(9 * (l as u32 - 1), 9).any()
    }));
    let bad_napot =
        f(pte::N) & !(bottom & f(pte::PPN).bits(0, napot::GROUP_BITS.into()).is(napot::PPN_PATTERN));
    let ill_formed = !f(pte::V) | (!f(pte::R) & f(pte::W)) | any_bit(word, pte::RESERVED | pte::PBMT.mask());
    let not_pointer = f(pte::A) | f(pte::D) | f(pte::U) | f(pte::N) | bottom;
    let xwr = cat(&[f(pte::X), f(pte::W) & f(pte::D), f(pte::R)]);
    let permissions = m.wire("permissions", effective_permissions(xwr, f(pte::U), ens, sum));
    let denied = !(permissions & q.needs()).any() | !f(pte::A);
    let pte_fault = m.wire_if(
        "pte_fault",
        &[rd_data_valid],
        ill_formed | leaf.mux(misaligned | bad_napot | denied, not_pointer),
    );
    let mask = cat(&(0..mask_width(d))
        .rev()
        .map(|b| match b {
            0 => f(pte::N) | !bottom,
            b => any_of((b as usize..levels).map(|l| level.is(l as u64))),
        })
        .collect::<Vec<_>>());

    // ---- State machine ---------------------------------------------------------------------------------------------
    m.switch(state, |m, s| {
        s.case(m, IDLE, |m| {
            m.when(start, |m| {
                q.set(m, &s_request);
                m.set(entry, s_entry);
                device.set(m, &s_dc);
                process.set(m, &s_pc);
                m.set(dc_known, s_dc_hit);
                m.set(pc_known, s_pc_hit);
                m.set(dc_loaded, lo());
                m.set(pc_loaded, lo());
                if let Some((hit, t)) = &l2 {
                    m.set(known, *hit);
                    for ((_, register), (_, value)) in result.fields().into_iter().zip(t.fields()) {
                        m.set(register, value);
                    }
                }
                goto(m, START);
            });
        });
        s.case(m, START, |m| {
            let bare = ddtp_mode.is(iommu_mode::BARE);
            let root = ddtp_root.bits(0, ppn_width(d));
            let three = ddtp_mode.is(iommu_mode::LVL3);
            m.when(!known, |m| m.set(result.global, lo()));
            // The DC decides whether faults are reported; until it is found, they are.
            m.when(!dc_known, |m| m.set(device.dtf, lo()));
            chain!(m;
                ddtp_mode.is(iommu_mode::OFF) => fail(m, cause(Cause::AllInboundTransactionsDisallowed));
                (bare & q.at.any()) | (!bare & wide_did) => fail(m, cause(Cause::TransactionTypeDisallowed));
                bare => pass_through(m, hi().repeat(6), lo());
                known => succeed(m, &result, hi());
                dc_known => goto(m, HAVE_DC);
                too_wide(d, ddtp_root) => fail(m, cause(Cause::DdtEntryLoadAccessFault));
                ddtp_mode.is(iommu_mode::LVL1) => read(m, DC, lit(0, 3), root, dc_offset);
                else => read(m, DDTE, two_or_one(three), root, three.mux(ddi[2].resize(9), ddi[1]));
            );
        });
        s.case(m, HAVE_DC, |m| {
            let fsc = device.fsc;
            let three = fsc.mode.is(pdtp_mode::PD20);
            // Without a process context there is no ENS to forbid supervisor privilege.
            let first_stage = device.pdtv.mux(lit(iosatp_mode::BARE, 4), fsc.mode);
            chain!(m;
                disallowed => fail(m, cause(Cause::TransactionTypeDisallowed));
                no_process => set_root(m, first_stage, fsc.ppn, device.pscid, hi(), lo());
                pc_known => goto(m, HAVE_PC);
                fsc.mode.is(pdtp_mode::PD8) => read(m, PC, lit(0, 3), fsc.ppn, pc_offset);
                else => read(m, PDTE, two_or_one(three), fsc.ppn, three.mux(pdi[2].resize(9), pdi[1]));
            );
        });
        s.case(m, HAVE_PC, |m| {
            let p = process;
            chain!(m;
                q.privileged & !p.ens => fail(m, cause(Cause::TransactionTypeDisallowed));
                else => set_root(m, p.fsc.mode, p.fsc.ppn, p.pscid, p.ens, p.sum);
            );
        });
        s.case(m, ROOT, |m| {
            chain!(m;
                root_mode.is(iosatp_mode::BARE) => pass_through(m, cat(&[ens.repeat(3), hi().repeat(3)]), hi());
                canonical => read(m, PTE, root_level, root_ppn, select(root_level, &vpn));
                else => fail(m, page_fault);
            );
        });
        s.case(m, READ, |m| m.when(rd_ready, |m| goto(m, DATA)));
        s.case(m, DATA, |m| {
            m.when(rd_data_valid, |m| {
                m.set(beat, beat.inc());
                m.set(error, any_error);
                m.set(poison, any_poison);
                m.switch(kind, |m, s| {
                    s.case(m, DDTE, |m| {
                        chain!(m;
                            rd_error => fail(m, cause(Cause::DdtEntryLoadAccessFault));
                            rd_poison => fail(m, cause(Cause::DdtDataCorruption));
                            !field(word, ddte::V) => fail(m, cause(Cause::DdtEntryNotValid));
                            any_bit(word, ddte::RESERVED) => fail(m, cause(Cause::DdtEntryMisconfigured));
                            next_too_wide => fail(m, cause(Cause::DdtEntryLoadAccessFault));
                            level.is(1) => read(m, DC, lit(0, 3), next_page, dc_offset);
                            else => read(m, DDTE, lit(1, 3), next_page, ddi[1]);
                        );
                    });
                    s.case(m, DC, |m| {
                        let wrong = select(
                            beat,
                            &[
                                tc_misconfigured(word),
                                iohgatp_misconfigured(word),
                                dc_ta_misconfigured(word),
                                dc_fsc_misconfigured(d, device.pdtv, word),
                            ],
                        );
                        m.set(bad, bad | wrong);
                        m.when(beat.is(0), |m| {
                            m.set(invalid, !field(word, dc::tc::V));
                            m.set(device.dtf, field(word, dc::tc::DTF));
                            m.set(device.pdtv, field(word, dc::tc::PDTV));
                            m.set(device.dpe, field(word, dc::tc::DPE));
                        });
                        m.when(beat.is(2), |m| m.set(device.pscid, field(word, dc::ta::PSCID)));
                        m.set(device.fsc.mode, field(word, dc::fsc::MODE));
                        m.set(device.fsc.ppn, field(word, dc::fsc::PPN).bits(0, ppn_width(d)));
                        // Faults before the DC is located are always reported.
                        let undo = |m: &mut Module, c: Cause| {
                            m.set(device.dtf, lo());
                            fail(m, cause(c));
                        };
                        m.when(rd_last, |m| {
                            chain!(m;
                                any_error => undo(m, Cause::DdtEntryLoadAccessFault);
                                any_poison => undo(m, Cause::DdtDataCorruption);
                                invalid => undo(m, Cause::DdtEntryNotValid);
                                bad | wrong => undo(m, Cause::DdtEntryMisconfigured);
                                else => {
                                    m.set(dc_loaded, hi());
                                    goto(m, HAVE_DC);
                                };
                            );
                        });
                    });
                    s.case(m, PDTE, |m| {
                        chain!(m;
                            rd_error => fail(m, cause(Cause::PdtEntryLoadAccessFault));
                            rd_poison => fail(m, cause(Cause::PdtDataCorruption));
                            !field(word, pdte::V) => fail(m, cause(Cause::PdtEntryNotValid));
                            any_bit(word, pdte::RESERVED) => fail(m, cause(Cause::PdtEntryMisconfigured));
                            next_too_wide => fail(m, cause(Cause::PdtEntryLoadAccessFault));
                            level.is(1) => read(m, PC, lit(0, 3), next_page, pc_offset);
                            else => read(m, PDTE, lit(1, 3), next_page, pdi[1]);
                        );
                    });
                    s.case(m, PC, |m| {
                        let wrong =
                            beat.is(0).mux(any_bit(word, pc::ta::RESERVED), pc_fsc_misconfigured(d, word));
                        m.set(bad, bad | wrong);
                        m.when(beat.is(0), |m| {
                            m.set(invalid, !field(word, pc::ta::V));
                            m.set(process.ens, field(word, pc::ta::ENS));
                            m.set(process.sum, field(word, pc::ta::SUM));
                            m.set(process.pscid, field(word, pc::ta::PSCID));
                        });
                        m.set(process.fsc.mode, field(word, pc::fsc::MODE));
                        m.set(process.fsc.ppn, field(word, pc::fsc::PPN).bits(0, ppn_width(d)));
                        m.when(rd_last, |m| {
                            chain!(m;
                                any_error => fail(m, cause(Cause::PdtEntryLoadAccessFault));
                                any_poison => fail(m, cause(Cause::PdtDataCorruption));
                                invalid => fail(m, cause(Cause::PdtEntryNotValid));
                                bad | wrong => fail(m, cause(Cause::PdtEntryMisconfigured));
                                else => {
                                    m.set(pc_loaded, hi());
                                    goto(m, HAVE_PC);
                                };
                            );
                        });
                    });
                    s.default(m, |m| {
                        let global = result.global | f(pte::G);
                        let down = level - lit(1, 3);
                        let t =
                            Translation { ppn: next_page, mask, permissions, global, ..result };
                        m.set(result.global, global);
                        chain!(m;
                            rd_error => fail(m, access_fault);
                            rd_poison => fail(m, cause(Cause::PtDataCorruption));
                            pte_fault => fail(m, page_fault);
                            next_too_wide => fail(m, access_fault);
                            leaf => succeed(m, &t, hi());
                            else => read(m, PTE, down, next_page, select(down, &vpn));
                        );
                    });
                });
            });
        });
        s.default(m, |m| m.when(taken, |m| goto(m, IDLE)));
    });
    m.set(stale, mark | (stale & !state.is(IDLE)));

    // ---- Outputs ---------------------------------------------------------------------------------------------------
    m.section("The walk under way");
    m.output("idle", state.is(IDLE));
    for (w, tag) in page_tag(&q).into_iter().enumerate() {
        m.output(&format!("tag{w}"), tag);
    }
    m.output("done", state.is(DONE));
    m.section("The result: held from done to taken");
    m.output("r_stale", stale);
    m.output("r_entry", entry);
    m.output("r_ok", ok);
    m.output("r_cause", fault);
    m.output("r_report", !device.dtf);
    m.output("r_refill", refill);
    m.output("r_known", known);
    for (name, e) in result.fields() {
        m.output(&format!("r_{name}"), e);
    }
    if d.second_stage() {
        m.output("r_iotval2", lit(0, 64));
    }
    if d.msi_mrif {
        m.output("r_mrif", lo());
    }
    m.section("Contexts that the walk loaded");
    m.output("r_device_id", q.device_id);
    m.output("r_process_id", q.process_id);
    m.output("r_dc_loaded", dc_loaded);
    for (w, word) in device.pack().into_iter().enumerate() {
        m.output(&format!("r_dc{w}"), word);
    }
    m.output("r_pc_loaded", pc_loaded);
    for (w, word) in process.pack().into_iter().enumerate() {
        m.output(&format!("r_pc{w}"), word);
    }
    if d.monitor() {
        // A walk begins with a read in the cycle after the state that decided on it.
        let before = m.reg("state_before", 3, IDLE);
        m.set(before, state);
        let begins = |from: u64| state.is(READ) & before.is(from);
        WalkEvents {
            tlb_miss: state.is(ROOT),
            device_walk: begins(START),
            process_walk: begins(HAVE_DC),
            first_stage_walk: begins(ROOT),
            second_stage_walk: lo(),
            device_id: q.device_id,
            pid_valid: q.pid_valid,
            process_id: q.process_id,
            pscid_valid: !root_mode.is(iosatp_mode::BARE),
            pscid: result.pscid,
            gscid_valid: lo(),
            gscid: lit(0, 16),
        }
        .outputs(&mut m, d);
    }
    m.section("Memory read address");
    m.output("rd_valid", state.is(READ));
    m.output("rd_addr", cat(&[page, offset, lit(0, 3)]).resize(64));
    m.output("rd_len", kind.is(DC).mux(lit(3, 8), kind.is(PC).mux(lit(1, 8), lit(0, 8))));
    m.build()
}
