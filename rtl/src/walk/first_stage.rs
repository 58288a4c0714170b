//! First stage: from the address of the request, by the page table of its process, to a physical page, or to a guest's. (Privileged
//! specification, "Virtual Address Translation Process"; section "Process to translate an IOVA".)
//!
//! Latency: a cycle for the root, then a read for each level.

use super::arrived::Arrived;
use super::page_table::{chosen, compose, first_stage_modes, is_uniform};
use super::process_context::effective_permissions;
use super::state::*;
use crate::signals::context::first_stage_ppn_width;
use crate::signals::request::{TranslationSignals, mask_width, ppn_width, sign_extends};
use pasidon_hdl::{E, Module, any_of, cat, first, hi, lit, lo, names, select};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{self, Geometry, iosatp_mode};

/// The first stage of a request.
pub struct FirstStage {
    /// Level of the root's table.
    root_level: E,
    /// The format can translate the address.
    canonical: E,
    /// What a leaf grants.
    permissions: E,
    /// An update of A or D is due, which is one of D, too.
    wants: E,
    dirties: E,
    /// The entry that arrives is a page fault.
    fault: E,
}

/// Where the entry of `iova` is in a table of each level.
#[names]
fn indices(g: &Geometry, iova: E) -> Vec<Index> {
    let index = |number: E| {
        if g.pte_bytes == 4 {
            Index { offset: number.bits(1, 9), half: number.bit(0) }
        } else {
            Index::wide(number)
        }
    };
    g.levels.iter().map(|l| index(slice(iova, l.lo, l.width))).collect()
}

impl FirstStage {
    /// That of the request of a walk, and what `arrived` is in it.
    #[names]
    pub fn new(m: &mut Module, w: &Walk, arrived: &Arrived) -> FirstStage {
        let (d, q, pte) = (w.d, w.q, &arrived.pte);
        let formats = chosen(d, first_stage_modes(d), w.device.sxl, w.root_mode);
        let levels: Vec<(E, E)> = formats.iter().map(|(on, g)| (*on, lit(g.root() as u64, 3))).collect();
        let root_level = first(&levels, lit(0, 3));
        let canonical = any_of(formats.iter().map(|(on, g)| {
            let bits: u32 = g.address_bits().into();
            let narrow = g.pte_bytes == 4;
            *on & if narrow { q.iova.bits(bits, 64 - bits).none() } else { sign_extends(q.iova, bits) }
        }));
        let permissions =
            m.wire("permissions", effective_permissions(pte.permissions(lo()), pte.user(), w.ens, w.sum));
        let granted = if d.amo_hwad {
            effective_permissions(pte.permissions(w.device.sade), pte.user(), w.ens, w.sum)
        } else {
            permissions
        };
        // A translation request needs to be allowed to touch the page; of what it asks for, the answer says what is granted.
        let asks = w.asks();
        let stranger = q.privileged.mux(pte.user() & !w.sum, !pte.user());
        let dirties = w.dirties(pte);
        let wants = w.wants_update(pte, dirties);
        let denied = asks.mux(stranger, !(granted & q.needs()).any())
            | (((asks & wants) | !pte.accessed()) & !w.device.sade);
        let fault = m.wire_if("pte_fault", &[arrived.valid], pte.ill_formed | (pte.leaf & denied));
        FirstStage { root_level, canonical, permissions, wants, dirties, fault }
    }

    /// Where the entry of the request is in a table of `level`.
    fn index(&self, w: &Walk, level: E) -> Index {
        let pick = |g: &Geometry| {
            let all = indices(g, w.q.iova);
            Index {
                offset: select(level, &all.iter().map(|i| i.offset).collect::<Vec<_>>()),
                half: select(level, &all.iter().map(|i| i.half).collect::<Vec<_>>()),
            }
        };
        let levels = w.d.page_table_levels() as usize;
        let wide = pick(&Geometry { levels: &page_table::SV57.levels[..levels], ..page_table::SV57 });
        if !w.d.sv32 {
            return wide;
        }
        let narrow = pick(&page_table::SV32);
        let sxl = w.device.sxl;
        Index { offset: sxl.mux(narrow.offset, wide.offset), half: sxl.mux(narrow.half, wide.half) }
    }

    /// State `ROOT`: begins with the root's table, or hands the address on where the stage is Bare.
    #[names]
    pub fn begin(&self, m: &mut Module, w: &Walk) {
        let bare = w.root_mode.is(iosatp_mode::BARE);
        let bare_permissions = cat(&[w.ens.repeat(3), hi().repeat(3)]);
        chain!(m;
            bare & w.two_stage() => {
                m.set(w.result.permissions, bare_permissions);
                // Of two pages the smaller counts: a Bare stage has none.
                m.set(w.result.mask, hi().repeat(mask_width(w.d)));
                m.set(w.kind, lit(kind::ACCESS, kind::WIDTH));
                w.set(m, w.gpa, w.q.iova.bits(12, 52));
                w.goto(m, state::GUEST);
            };
            bare => w.pass_through(m, &w.result, bare_permissions, hi());
            self.canonical => w.read_guest(m, kind::PTE, self.root_level, w.root_ppn, self.index(w, self.root_level));
            else => w.fail(m, w.page_fault);
        );
    }

    /// A page-table entry arrives.
    #[names]
    pub fn entry(&self, m: &mut Module, w: &Walk, arrived: &Arrived) {
        let (d, pte) = (w.d, &arrived.pte);
        let two_stage = w.two_stage();
        let iova_page = w.q.iova.bits(12, 52);
        let is_global = w.result.global | pte.global();
        let down = w.level - lit(1, 3);
        let page = pte.ppn().bits(0, first_stage_ppn_width(d));
        let t = TranslationSignals {
            ppn: pte.ppn().bits(0, ppn_width(d)),
            mask: pte.mask,
            permissions: self.permissions,
            global: is_global,
            pbmt: pte.pbmt(),
            ..w.result
        };
        let beyond = pte.leads_beyond(d, arrived.too_wide, iova_page);
        let update = if d.amo_hwad { pte.leaf & self.wants } else { lo() };
        m.set(w.result.global, is_global);
        chain!(m;
            arrived.error => w.fail(m, w.access_fault);
            arrived.poison => w.fail(m, cause(Cause::PtDataCorruption));
            self.fault => w.fail(m, w.page_fault);
            beyond & !two_stage => w.fail(m, w.access_fault);
            update => w.want_update(m, arrived, self.dirties);
            pte.leaf & two_stage => {
                m.set(w.result.permissions, self.permissions);
                m.set(w.result.mask, pte.mask);
                w.set(m, w.result.pbmt, pte.pbmt());
                w.set(m, w.gpa, compose(d, pte.ppn(), pte.mask, iova_page).resize(52));
                m.set(w.kind, lit(kind::ACCESS, kind::WIDTH));
                w.set(m, w.update, lo());
                w.goto(m, state::GUEST);
            };
            pte.leaf => w.succeed(m, &t, is_uniform(d, w.device.sxl, pte.mask));
            else => w.read_guest(m, kind::PTE, down, page, self.index(w, down));
        );
    }
}

impl Walk<'_> {
    /// The first stage is known: its root, its tag, and whether supervisor requests are allowed (`ens`) and may use user pages (`sum`).
    pub fn set_root(&self, m: &mut Module, mode: E, ppn: E, pscid: E, ens: E, sum: E) {
        let two_stage = self.two_stage();
        m.set(self.root_mode, mode);
        m.set(self.root_ppn, ppn);
        m.set(self.result.pscid, pscid);
        m.set(self.ens, ens);
        m.set(self.sum, sum);
        for (register, value) in [
            (self.result.two_stage, two_stage),
            (self.result.gscid, two_stage.gate(self.device.gscid)),
            (self.result.rcid, self.device.rcid),
            (self.result.mcid, self.device.mcid),
        ] {
            self.set(m, register, value);
        }
        self.goto(m, state::ROOT);
    }
}
