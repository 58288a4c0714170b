//! Walker: takes one request from the contexts it needs to a translation or a fault. It reads, in this order and as far as
//! the context caches did not answer: device directory (DDT), device context (DC), process directory (PDT), process context
//! (PC), first-stage page table; and where there is a second stage, its page table for each address that is a guest's.
//!
//! Latency: 1 cycle to decide, 1 for each context used, 1 for the first-stage root, 1 for each guest address, then for each
//! memory read 1 cycle of request plus the memory's latency: data are used in the cycle in which they arrive.
//!
//! `mark` is the pulse of an invalidation or of a new `ddtp`: it makes all walks in progress `stale`. A stale walk goes on and answers its
//! requests, and its result is not cached. Fences wait for it (`late`), so that it may also write. Never: a walk that was started before
//! the pulse completes without `stale`.

use super::device_context;
use super::page_table::{PageTableEntry, chosen, compose, first_stage_modes, is_uniform, too_wide};
use super::process_context::{effective_permissions, fsc_misconfigured, pid_too_wide};
use super::state::*;
use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::context::*;
use crate::signals::events::WalkEvents;
use crate::signals::request::{
    RequestSignals, TranslationSignals, device_id_too_wide, mask_width, ppn_width, sign_extends,
};
use crate::translate::dispatch::page_tag;
use crate::translate::miss_table::entry_width;
use pasidon_hdl::{E, Label, Module, any_of, cat, first, header, hi, lit, lo, names, select};
use pasidon_spec::ddt::{BASE_DDI, EXT_DDI, dc, ddte, iommu_mode};
use pasidon_spec::fault::{AtsResponse, Cause};
use pasidon_spec::page_table::{self, Geometry, iosatp_mode};
use pasidon_spec::pdt::{PDI, pc, pdte, pdtp_mode};
use std::rc::Rc;

/// The slice of `e` from bit `from` on, `width` bits; bits that `e` does not have are 0.
#[names]
fn slice(e: E, from: u8, width: u8) -> E {
    let (have, from) = (e.width(), u32::from(from));
    if from >= have {
        lit(0, width.into())
    } else {
        e.bits(from, u32::from(width).min(have - from)).resize(width.into())
    }
}

/// Where the entry of `iova` is in a first-stage table of each level.
#[names]
fn first_stage_indices(g: &Geometry, iova: E) -> Vec<Index> {
    g.levels
        .iter()
        .map(|l| {
            let number = slice(iova, l.lo, l.width);
            if g.pte_bytes == 4 {
                Index { offset: number.bits(1, 9), half: number.bit(0) }
            } else {
                Index::wide(number)
            }
        })
        .collect()
}

/// A walker.
#[names]
pub fn walker(d: &Design) -> Rc<Module> {
    let mut m = Module::new("walker", &header(include_str!("walker.rs")));
    let levels = d.page_table_levels() as usize;

    m.section("A request to walk for, with what the context caches know");
    let start = m.input("start", 1);
    let s_entry = m.input("s_entry", entry_width(d));
    let s_request = RequestSignals::inputs(&mut m, d, "s");
    let s_dc_hit = m.input("s_dc_hit", 1);
    let words = |m: &mut Module, name: &str, widths: &[u32]| -> Vec<E> {
        widths.iter().enumerate().map(|(w, width)| m.input(&format!("{name}{w}"), *width)).collect()
    };
    let s_dc = DeviceContext::unpack(d, &words(&mut m, "s_dc", &device_context_widths(d)));
    let s_pc_hit = m.input("s_pc_hit", 1);
    let s_pc = ProcessContext::unpack(d, &words(&mut m, "s_pc", &process_context_widths(d)));
    let l2 = d.has_l2().then(|| {
        m.section("The answer of the L2 TLB, which makes the walk unnecessary");
        let hit = m.input("s_l2_hit", 1);
        (hit, TranslationSignals::from_fn(d, |name, width| m.input(&format!("s_l2_{name}"), width)))
    });
    m.section("ddtp");
    let ddtp_mode = m.input("ddtp_mode", 3);
    let ddtp_root = m.input("ddtp_root", ppn_width(d));
    let big = if d.big_endian { m.input("fctl_be", 1) } else { lo() };
    let gxl = if d.has_narrow_tables() { m.input("fctl_gxl", 1) } else { lo() };
    let own_ids = d.qosid.then(|| {
        m.section("iommu_qosid");
        [m.input("iommu_rcid", 12), m.input("iommu_mcid", 12)]
    });
    m.section("Something was invalidated or ddtp changed: what was read so far may be stale");
    let mark = m.input("mark", 1);
    m.section("The result was taken");
    let taken = m.input("taken", 1);
    m.section("Memory read, in beats of 8 bytes");
    let rd_ready = m.input("rd_ready", 1);
    let rd_data_valid = m.input("rd_data_valid", 1);
    let raw = m.input("rd_data", 64);
    let rd_last = m.input("rd_last", 1);
    let rd_error = m.input("rd_error", 1);
    let rd_poison = m.input("rd_poison", 1);
    let writer = d.walks_write().then(|| {
        m.section(
            "Memory read: it was exclusive. Memory write: accepted, response, an exclusive write took place",
        );
        ["rd_exclusive", "wr_ready", "wr_done", "wr_error", "wr_exclusive"].map(|name| m.input(name, 1))
    });

    let w = Walk::new(&mut m, d);
    let (q, device, process, state) = (w.q, w.device, w.process, w.state);
    let two_stage = w.two_stage();
    // An exclusive read that memory does not make exclusive could never be followed by a write.
    let rd_error = match &writer {
        Some([rd_exclusive, ..]) => m.wire("read_error", rd_error | (w.exclusive() & !*rd_exclusive)),
        None => rd_error,
    };
    let (any_error, any_poison) = (w.error | rd_error, w.poison | rd_poison);
    let two_or_one = |three: E| three.mux(lit(2, 3), lit(1, 3));
    let iova_too_wide = q.iova.bits(d.pas, 64 - d.pas).any();
    let pass_through = |m: &mut Module, attributes: &TranslationSignals, permissions: E, cacheable: E| {
        let own = TranslationSignals::identity(d, q.iova);
        let t = TranslationSignals {
            ppn: own.ppn,
            mask: own.mask,
            global: own.global,
            permissions,
            ..*attributes
        };
        chain!(m;
            iova_too_wide => w.fail(m, w.access_fault);
            else => w.succeed(m, &t, cacheable);
        );
    };

    m.part("Directory and page-table indices");
    let parts = if d.extended_contexts() { EXT_DDI } else { BASE_DDI };
    let ddi: Vec<E> = parts.iter().map(|l| slice(q.device_id, l.lo, l.width)).collect();
    let pdi: Vec<E> = PDI.iter().map(|l| slice(q.process_id, l.lo, l.width)).collect();
    let dc_index = Index::wide(cat(&[ddi[0], lit(0, if d.extended_contexts() { 3 } else { 2 })]));
    // A process context takes 2 doublewords.
    let pc_index = Index::wide(cat(&[pdi[0], lit(0, 1)]));
    let wide_tables = Geometry { levels: &page_table::SV57.levels[..levels], ..page_table::SV57 };
    let table_index = |level: E| {
        let pick = |indices: Vec<Index>, level: E| Index {
            offset: select(level, &indices.iter().map(|i| i.offset).collect::<Vec<_>>()),
            half: select(level, &indices.iter().map(|i| i.half).collect::<Vec<_>>()),
        };
        let wide = pick(first_stage_indices(&wide_tables, q.iova), level);
        if !d.sv32 {
            return wide;
        }
        let narrow = pick(first_stage_indices(&page_table::SV32, q.iova), level);
        Index {
            offset: device.sxl.mux(narrow.offset, wide.offset),
            half: device.sxl.mux(narrow.half, wide.half),
        }
    };

    m.part("Decisions that need no memory");
    let wide_did = device_id_too_wide(d, ddtp_mode, q.device_id);
    let (asks, translated) = (q.asks(d), q.is_translated(d));
    let kind_allowed = device.en_ats & (asks | translated);
    let disallowed = (q.at.any() & !kind_allowed)
        | (q.pid_valid & !device.pdtv)
        | (q.pid_valid & device.pdtv & pid_too_wide(d, device.fsc.mode, q.process_id));
    let message = q.is_message();
    let no_process =
        translated | !device.pdtv | (!q.pid_valid & !device.dpe) | device.fsc.mode.is(pdtp_mode::BARE);
    let set_root = |m: &mut Module, mode: E, ppn: E, pscid: E, s: E, u: E| {
        m.set(w.root_mode, mode);
        m.set(w.root_ppn, ppn);
        m.set(w.result.pscid, pscid);
        m.set(w.ens, s);
        m.set(w.sum, u);
        for (register, value) in [
            (w.result.two_stage, two_stage),
            (w.result.gscid, two_stage.gate(device.gscid)),
            (w.result.rcid, device.rcid),
            (w.result.mcid, device.mcid),
        ] {
            if let Some(register) = register {
                m.set(register, value);
            }
        }
        w.goto(m, state::ROOT);
    };
    let formats = chosen(d, first_stage_modes(d), device.sxl, w.root_mode);
    let root_level =
        first(&formats.iter().map(|(on, g)| (*on, lit(g.root() as u64, 3))).collect::<Vec<_>>(), lit(0, 3));
    let canonical = any_of(formats.iter().map(|(on, g)| {
        let bits: u32 = g.address_bits().into();
        *on & if g.pte_bytes == 4 { q.iova.bits(bits, 64 - bits).none() } else { sign_extends(q.iova, bits) }
    }));

    m.part("The doubleword that arrives");
    let of_process = w.kind.is(kind::PDTE) | w.kind.is(kind::PC) | w.kind.is(kind::PTE);
    let swapped =
        if d.big_endian { m.wire("swapped", (!w.nested & of_process).mux(device.sbe, big)) } else { lo() };
    let word = if d.big_endian { m.wire("word", swapped.mux(raw.swap_bytes(), raw)) } else { raw };
    let narrow = w.nested.mux(gxl, device.sxl & w.kind.is(kind::PTE));
    // A doubleword in reverse holds its halves in reverse too.
    let half = w.nested.mux(w.guest_index.half, w.index.half);
    let pte_word = if d.has_narrow_tables() {
        let part = (half ^ swapped).mux(word.bits(32, 32), word.bits(0, 32));
        m.wire("entry_word", narrow.mux(part.resize(64), word))
    } else {
        word
    };
    // The byte with the flags.
    let lane = cat(&[narrow.mux(half, swapped), swapped, swapped]);
    let arrived = Arrived { raw, lane, error: rd_error, poison: rd_poison };
    let pte = PageTableEntry::new(&mut m, d, pte_word, w.nested.mux(w.guest_level, w.level), narrow);
    let next_page = field(word, ddte::PPN).bits(0, first_stage_ppn_width(d));
    let next_too_wide = m.wire("next_too_wide", too_wide(d, pte.ppn()));
    let permissions =
        m.wire("permissions", effective_permissions(pte.permissions(lo()), pte.user(), w.ens, w.sum));
    let granted = if d.amo_hwad {
        effective_permissions(pte.permissions(device.sade), pte.user(), w.ens, w.sum)
    } else {
        permissions
    };
    // A translation request needs to be allowed to touch the page; of what it asks for, the answer says what is granted.
    let asks = w.asks();
    let stranger = q.privileged.mux(pte.user() & !w.sum, !pte.user());
    let dirties = w.dirties(&pte);
    let wants = w.wants_update(&pte, dirties);
    let denied = asks.mux(stranger, !(granted & q.needs()).any())
        | (((asks & wants) | !pte.accessed()) & !device.sade);
    let pte_fault = m.wire_if("pte_fault", &[rd_data_valid], pte.ill_formed | (pte.leaf & denied));
    let mask = pte.mask;

    m.part("State machine");
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.when(start, |m| {
                q.set(m, &s_request);
                m.set(w.entry, s_entry);
                device.set(m, &s_dc);
                process.set(m, &s_pc);
                m.set(w.dc_known, s_dc_hit);
                m.set(w.pc_known, s_pc_hit);
                m.set(w.dc_loaded, lo());
                m.set(w.pc_loaded, lo());
                if let Some((hit, t)) = &l2 {
                    m.set(w.known, *hit);
                    for ((_, register), (_, value)) in w.result.fields().into_iter().zip(t.fields()) {
                        m.set(register, value);
                    }
                }
                w.goto(m, state::START);
            });
        });
        s.case(m, state::START, |m| {
            let bare = ddtp_mode.is(iommu_mode::BARE);
            let root = ddtp_root;
            let three = ddtp_mode.is(iommu_mode::LVL3);
            // What does not come from a device context.
            let [rcid, mcid] = own_ids.unwrap_or([lit(0, 12); 2]);
            let attributes = TranslationSignals {
                two_stage: w.result.two_stage.map(|_| lo()),
                fractured: w.result.fractured.map(|_| lo()),
                pbmt: w.result.pbmt.map(|_| lit(0, 2)),
                rcid: w.result.rcid.map(|_| rcid),
                mcid: w.result.mcid.map(|_| mcid),
                ..w.result
            };
            m.when(!w.known, |m| {
                m.set(w.result.global, lo());
                for (register, value) in [
                    (w.result.two_stage, attributes.two_stage),
                    (w.result.fractured, attributes.fractured),
                    (w.result.pbmt, attributes.pbmt),
                    (w.result.rcid, attributes.rcid),
                    (w.result.mcid, attributes.mcid),
                ] {
                    if let (Some(register), Some(value)) = (register, value) {
                        m.set(register, value);
                    }
                }
            });
            w.set(m, w.stored, lo());
            w.set(m, w.notice, lo());
            w.set(m, w.nested, lo());
            // The DC decides whether faults are reported; where none is located, they are, whatever is cached.
            let off = ddtp_mode.is(iommu_mode::OFF);
            m.when(!w.dc_known | off | bare | wide_did, |m| m.set(device.dtf, lo()));
            chain!(m;
                off => w.fail(m, cause(Cause::AllInboundTransactionsDisallowed));
                (bare & q.at.any()) | (!bare & wide_did) => w.fail(m, cause(Cause::TransactionTypeDisallowed));
                bare => pass_through(m, &attributes, hi().repeat(6), lo());
                w.known => w.succeed(m, &w.result, hi());
                w.dc_known => w.goto(m, state::HAVE_DC);
                ddtp_mode.is(iommu_mode::LVL1) => w.read(m, kind::DC, lit(0, 3), root, dc_index);
                else => {
                    let index = Index::wide(three.mux(ddi[2].resize(9), ddi[1]));
                    w.read(m, kind::DDTE, two_or_one(three), root, index);
                };
            );
        });
        s.case(m, state::HAVE_DC, |m| {
            let fsc = device.fsc;
            let three = fsc.mode.is(pdtp_mode::PD20);
            // Without a process context there is no ENS to forbid supervisor privilege.
            let first_stage = (device.pdtv | translated).mux(lit(iosatp_mode::BARE, 4), fsc.mode);
            let ids = TranslationSignals {
                rcid: w.result.rcid.map(|_| device.rcid),
                mcid: w.result.mcid.map(|_| device.mcid),
                ..w.result
            };
            let page_request = q.write & !device.en_pri;
            let may_not = message & (!device.en_ats | page_request);
            // Of a message nothing more is looked up; the answer says what its response needs.
            let allowed = TranslationSignals { permissions: device.prpr.resize(6), ..w.result };
            chain!(m;
                may_not => w.fail(m, cause(Cause::TransactionTypeDisallowed));
                message => w.succeed(m, &allowed, lo());
                disallowed => w.fail(m, cause(Cause::TransactionTypeDisallowed));
                translated & !device.t2gpa => pass_through(m, &ids, hi().repeat(6), lo());
                no_process => set_root(m, first_stage, fsc.ppn, device.pscid, hi(), lo());
                w.pc_known => w.goto(m, state::HAVE_PC);
                fsc.mode.is(pdtp_mode::PD8) => w.read_guest(m, kind::PC, lit(0, 3), fsc.ppn, pc_index);
                else => {
                    let index = Index::wide(three.mux(pdi[2].resize(9), pdi[1]));
                    w.read_guest(m, kind::PDTE, two_or_one(three), fsc.ppn, index);
                };
            );
        });
        s.case(m, state::HAVE_PC, |m| {
            let p = process;
            chain!(m;
                q.privileged & !p.ens => w.fail(m, cause(Cause::TransactionTypeDisallowed));
                else => set_root(m, p.fsc.mode, p.fsc.ppn, p.pscid, p.ens, p.sum);
            );
        });
        s.case(m, state::ROOT, |m| {
            let bare_permissions = cat(&[w.ens.repeat(3), hi().repeat(3)]);
            chain!(m;
                w.root_mode.is(iosatp_mode::BARE) & two_stage => {
                    m.set(w.result.permissions, bare_permissions);
                    // Of two pages the smaller counts: a Bare stage has none.
                    m.set(w.result.mask, hi().repeat(mask_width(d)));
                    m.set(w.kind, lit(kind::ACCESS, kind::WIDTH));
                    w.set(m, w.gpa, q.iova.bits(12, 52));
                    w.goto(m, state::GUEST);
                };
                w.root_mode.is(iosatp_mode::BARE) => pass_through(m, &w.result, bare_permissions, hi());
                canonical => w.read_guest(m, kind::PTE, root_level, w.root_ppn, table_index(root_level));
                else => w.fail(m, w.page_fault);
            );
        });
        s.case(m, state::READ, |m| m.when(rd_ready, |m| w.goto(m, state::DATA)));
        let directory_and_tables = |m: &mut Module| {
            m.switch(w.kind, |m, s| {
                s.case(m, kind::DDTE, |m| {
                    let page = next_page.bits(0, ppn_width(d));
                    chain!(m;
                        rd_error => w.fail(m, cause(Cause::DdtEntryLoadAccessFault));
                        rd_poison => w.fail(m, cause(Cause::DdtDataCorruption));
                        !field(word, ddte::V) => w.fail(m, cause(Cause::DdtEntryNotValid));
                        any_bit(word, ddte::RESERVED) => w.fail(m, cause(Cause::DdtEntryMisconfigured));
                        next_too_wide => w.fail(m, cause(Cause::DdtEntryLoadAccessFault));
                        w.level.is(1) => w.read(m, kind::DC, lit(0, 3), page, dc_index);
                        else => w.read(m, kind::DDTE, lit(1, 3), page, Index::wide(ddi[1]));
                    );
                });
                s.case(m, kind::DC, |m| {
                    let wrong = device_context::is_misconfigured(d, &device, gxl, w.beat, word);
                    m.set(w.bad, w.bad | wrong);
                    m.when(w.beat.is(0), |m| m.set(w.invalid, !field(word, dc::tc::V)));
                    device_context::load(m, d, &device, w.beat, word);
                    // Faults before the DC is located are always reported.
                    let undo = |m: &mut Module, c: Cause| {
                        m.set(device.dtf, lo());
                        w.fail(m, cause(c));
                    };
                    m.when(rd_last, |m| {
                        chain!(m;
                            any_error => undo(m, Cause::DdtEntryLoadAccessFault);
                            any_poison => undo(m, Cause::DdtDataCorruption);
                            w.invalid => undo(m, Cause::DdtEntryNotValid);
                            w.bad | wrong => undo(m, Cause::DdtEntryMisconfigured);
                            else => {
                                m.set(w.dc_loaded, hi());
                                w.goto(m, state::HAVE_DC);
                            };
                        );
                    });
                });
                s.case(m, kind::PDTE, |m| {
                    chain!(m;
                        rd_error => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
                        rd_poison => w.fail(m, cause(Cause::PdtDataCorruption));
                        !field(word, pdte::V) => w.fail(m, cause(Cause::PdtEntryNotValid));
                        any_bit(word, pdte::RESERVED) => w.fail(m, cause(Cause::PdtEntryMisconfigured));
                        next_too_wide & !two_stage => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
                        w.level.is(1) => w.read_guest(m, kind::PC, lit(0, 3), next_page, pc_index);
                        else => w.read_guest(m, kind::PDTE, lit(1, 3), next_page, Index::wide(pdi[1]));
                    );
                });
                s.case(m, kind::PC, |m| {
                    let fsc = fsc_misconfigured(d, device.sxl, two_stage, word);
                    let wrong = w.beat.is(0).mux(any_bit(word, pc::ta::RESERVED), fsc);
                    m.set(w.bad, w.bad | wrong);
                    m.when(w.beat.is(0), |m| {
                        m.set(w.invalid, !field(word, pc::ta::V));
                        m.set(process.ens, field(word, pc::ta::ENS));
                        m.set(process.sum, field(word, pc::ta::SUM));
                        m.set(process.pscid, field(word, pc::ta::PSCID));
                    });
                    m.set(process.fsc.mode, field(word, pc::fsc::MODE));
                    m.set(process.fsc.ppn, field(word, pc::fsc::PPN).bits(0, first_stage_ppn_width(d)));
                    m.when(rd_last, |m| {
                        chain!(m;
                            any_error => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
                            any_poison => w.fail(m, cause(Cause::PdtDataCorruption));
                            w.invalid => w.fail(m, cause(Cause::PdtEntryNotValid));
                            w.bad | wrong => w.fail(m, cause(Cause::PdtEntryMisconfigured));
                            else => {
                                m.set(w.pc_loaded, hi());
                                w.goto(m, state::HAVE_PC);
                            };
                        );
                    });
                });
                if d.translates_msis() {
                    s.case(m, kind::MSIPTE, |m| w.msi_entry(m, word, rd_last, any_error, any_poison));
                    s.case(m, kind::MRIF, |m| w.file_entry(m, raw, rd_error, rd_poison));
                }
                s.default(m, |m| {
                    let global = w.result.global | pte.global();
                    let down = w.level - lit(1, 3);
                    let page = pte.ppn().bits(0, first_stage_ppn_width(d));
                    let pbmt = w.result.pbmt.map(|_| pte.pbmt());
                    let ppn = pte.ppn().bits(0, ppn_width(d));
                    let t = TranslationSignals { ppn, mask, permissions, global, pbmt, ..w.result };
                    let beyond = pte.leads_beyond(d, next_too_wide, q.iova.bits(12, 52));
                    let update = if d.amo_hwad { pte.leaf & wants } else { lo() };
                    m.set(w.result.global, global);
                    chain!(m;
                        rd_error => w.fail(m, w.access_fault);
                        rd_poison => w.fail(m, cause(Cause::PtDataCorruption));
                        pte_fault => w.fail(m, w.page_fault);
                        beyond & !two_stage => w.fail(m, w.access_fault);
                        update => w.want_update(m, arrived, dirties);
                        pte.leaf & two_stage => {
                            m.set(w.result.permissions, permissions);
                            m.set(w.result.mask, mask);
                            if let Some(register) = w.result.pbmt {
                                m.set(register, pte.pbmt());
                            }
                            let iova_page = q.iova.bits(12, 52);
                            w.set(m, w.gpa, compose(d, pte.ppn(), pte.mask, iova_page).resize(52));
                            m.set(w.kind, lit(kind::ACCESS, kind::WIDTH));
                            w.set(m, w.update, lo());
                            w.goto(m, state::GUEST);
                        };
                        pte.leaf => w.succeed(m, &t, is_uniform(d, device.sxl, mask));
                        else => w.read_guest(m, kind::PTE, down, page, table_index(down));
                    );
                });
            });
        };
        s.case(m, state::DATA, |m| {
            m.when(rd_data_valid, |m| {
                // The reads on the way to a guest address are no beats of what lies there.
                m.when(!w.nested, |m| {
                    m.set(w.beat, w.beat.inc());
                    m.set(w.error, any_error);
                    m.set(w.poison, any_poison);
                });
                if d.second_stage() {
                    m.when_else(
                        w.nested,
                        |m| w.guest_entry(m, &pte, gxl, arrived),
                        directory_and_tables,
                    );
                } else {
                    directory_and_tables(m);
                }
            });
        });
        if d.second_stage() {
            s.case(m, state::GUEST, |m| w.begin_guest(m, gxl));
        }
        if d.translates_msis() {
            s.case(m, state::FILE, |m| w.number_file(m));
        }
        if let Some([_, wr_ready, wr_done, wr_error, wr_exclusive]) = writer {
            s.case(m, state::WRITE, |m| m.when(wr_ready, |m| w.goto(m, state::WRITE_WAIT)));
            s.case(m, state::WRITE_WAIT, |m| m.when(wr_done, |m| w.written(m, wr_error, wr_exclusive)));
        }
        s.default(m, |m| m.when(taken, |m| w.goto(m, state::IDLE)));
    });
    m.set(w.stale, mark | (w.stale & !state.is(state::IDLE)));
    let overtaken = m.reg("overtaken", 1, 0);
    m.set(overtaken, (overtaken | mark) & !state.is(state::IDLE));
    m.never(
        "a walk that was started before the pulse completes without stale",
        overtaken & state.is(state::DONE) & !w.stale,
    );

    m.part("Outputs");
    m.section("The walk under way");
    m.output("idle", state.is(state::IDLE));
    for (w, tag) in page_tag(&q).into_iter().enumerate() {
        m.output(&format!("tag{w}"), tag);
    }
    m.output("done", state.is(state::DONE));
    m.output("late", w.stale & !state.is(state::IDLE));
    m.section("The result: held from done to taken");
    m.output("r_stale", w.stale);
    m.output("r_entry", w.entry);
    m.output("r_ok", w.ok);
    m.output("r_cause", w.fault);
    let withheld = if d.ats { m.wire("withheld", asks & !w.ok & is_withheld(w.fault)) } else { lo() };
    m.output("r_report", !device.dtf & !withheld);
    m.output("r_refill", w.refill);
    m.output("r_known", w.known);
    let answers_guest = asks & device.t2gpa;
    for (name, e) in w.result.fields() {
        let e = if name == "ppn" { answers_guest.mux(w.gpa.resize(e.width()), e) } else { e };
        m.output(&format!("r_{name}"), e);
    }
    if d.ats {
        m.section(
            "The answer to a translation request: no permission instead of a fault; only CXL.io may use it",
        );
        m.output("r_withheld", withheld);
        let msi = if d.translates_msis() { two_stage & w.kind.is(kind::MSIPTE) } else { lo() };
        let typed = w.result.pbmt.map_or_else(lo, |pbmt| pbmt.any());
        m.output("r_cxl_io", q.cxl.unwrap_or_else(lo) & (msi | device.t2gpa | typed));
        if d.stores_msis() {
            m.output("r_untranslated", asks & w.stored);
        }
        if d.guest_beyond() > 0 {
            m.output("r_guest_high", answers_guest.gate(w.gpa.bits(ppn_width(d), d.guest_beyond())));
        }
    }
    if d.second_stage() {
        m.output("r_iotval2", w.iotval2());
    }
    if d.msi_mrif {
        m.output("r_mrif", w.stored & !asks);
    }
    m.section("Contexts that the walk loaded");
    m.output("r_device_id", q.device_id);
    m.output("r_process_id", q.process_id);
    m.output("r_dc_loaded", w.dc_loaded);
    for (w, word) in device.pack(d).into_iter().enumerate() {
        m.output(&format!("r_dc{w}"), word);
    }
    m.output("r_pc_loaded", w.pc_loaded);
    for (w, word) in process.pack(d).into_iter().enumerate() {
        m.output(&format!("r_pc{w}"), word);
    }
    if d.qosid {
        m.section("Quality-of-service ids of its accesses: the device's, but those of the device directory are the IOMMU's own");
        m.output("rcid", device.rcid);
        m.output("mcid", device.mcid);
        m.output("rd_own", !w.nested & (w.kind.is(kind::DDTE) | w.kind.is(kind::DC)));
    }
    if d.monitor() {
        // A walk begins with a read, or the translation of its address, in the cycle after the state that decided on it.
        let before = m.reg("state_before", state.width(), state::IDLE);
        m.set(before, state);
        let guest = if d.second_stage() { state.is(state::GUEST) } else { lo() };
        let begins = |from: Label| (state.is(state::READ) | guest) & before.is(from);
        let of_access = state.is(state::ROOT)
            | w.kind.is(kind::PTE)
            | if d.second_stage() { w.kind.is(kind::ACCESS) } else { lo() };
        WalkEvents {
            tlb_miss: state.is(state::ROOT),
            device_walk: begins(state::START),
            process_walk: begins(state::HAVE_DC),
            first_stage_walk: begins(state::ROOT) & w.kind.is(kind::PTE),
            second_stage_walk: if d.second_stage() { guest & !w.goes_to_msi() } else { lo() },
            device_id: q.device_id,
            pid_valid: q.pid_valid,
            process_id: q.process_id,
            pscid_valid: of_access & !w.root_mode.is(iosatp_mode::BARE),
            pscid: w.result.pscid,
            gscid_valid: two_stage & (state.is(state::ROOT) | !(w.kind.is(kind::DDTE) | w.kind.is(kind::DC))),
            gscid: device.gscid,
        }
        .outputs(&mut m, d);
    }
    m.section("Memory read address");
    m.output("rd_valid", state.is(state::READ));
    let offset = w.nested.mux(w.guest_index.offset, w.index.offset);
    let address = cat(&[w.page, offset, lit(0, 3)]).resize(64);
    m.output("rd_addr", address);
    let pair = w.kind.is(kind::PC) | if d.translates_msis() { w.kind.is(kind::MSIPTE) } else { lo() };
    let dc_len = lit(device_context::last_beat(d), 8);
    let len = w.kind.is(kind::DC).mux(dc_len, pair.mux(lit(1, 8), lit(0, 8)));
    m.output("rd_len", (!w.nested).gate(len));
    if d.walks_write() {
        m.output("rd_lock", w.exclusive());
        w.write_ports(&mut m, address);
    }
    m.build()
}

/// Whether a translation request that meets this cause is answered with success and no permission. (Section "PCIe ATS translation
/// request handling".)
#[names]
fn is_withheld(fault: E) -> E {
    let causes = Cause::ALL.iter().filter(|c| c.ats_response() == Some(AtsResponse::Success));
    any_of(causes.map(|c| fault.is(cause_label(*c))))
}
