//! Checks of device contexts, doubleword by doubleword. (Section "Device-context configuration checks".)
//!
//! What the specification leaves open: a page number of a root beyond the physical address space is a misconfiguration, and
//! so is `msiptp.MODE` other than Off without a second stage.

use super::page_table::{is_first_stage_mode, second_stage_modes, too_wide};
use super::process_context::directory_modes;
use crate::design::Design;
use crate::signals::context::{DeviceContext, any_bit, field, first_stage_ppn_width};
use crate::signals::request::ppn_width;
use pasidon_hdl::{E, Module, any_of, hi, lit, lo, names, select};
use pasidon_spec::ddt::dc;
use pasidon_spec::page_table::iohgatp_mode;
use pasidon_spec::pdt::pdtp_mode;

/// The doublewords of a device context of a design, less one.
pub fn last_beat(d: &Design) -> u64 {
    if d.extended_contexts() { 7 } else { 3 }
}

/// Whether doubleword `beat` of a device context is misconfigured. `known` holds what the earlier ones said, `gxl` is `fctl.GXL`.
#[names]
pub fn is_misconfigured(d: &Design, known: &DeviceContext, gxl: E, beat: E, word: E) -> E {
    let mut checks = vec![tc(d, gxl, word), iohgatp(d, known, gxl, word), ta(d, word), fsc(d, known, word)];
    if d.extended_contexts() {
        let reserved = lo_mask(d.guest_address_width() - 12);
        let page = any_bit(word, !reserved);
        checks.extend([msiptp(d, known, word), page, page, word.any()]);
    }
    select(beat, &checks)
}

/// The low `bits` bits.
fn lo_mask(bits: u32) -> u64 {
    (1 << bits) - 1
}

#[names]
fn tc(d: &Design, gxl: E, tc: E) -> E {
    use dc::tc::{DPE, EN_ATS, EN_PRI, GADE, PDTV, PRPR, RESERVED, SADE, SBE, SXL, T2GPA};
    let optional = [
        (GADE, d.amo_hwad),
        (SADE, d.amo_hwad),
        (SBE, d.big_endian),
        (SXL, d.has_narrow_tables()),
        (EN_ATS, d.ats),
        (EN_PRI, d.ats),
        (PRPR, d.ats),
        (T2GPA, d.t2gpa),
    ];
    let absent =
        optional.into_iter().filter(|(_, there)| !there).fold(RESERVED, |mask, (f, _)| mask | f.mask());
    let needs = |f, other| if d.ats { field(tc, f) & !field(tc, other) } else { lo() };
    any_bit(tc, absent)
        | (!field(tc, PDTV) & field(tc, DPE))
        | (gxl & !field(tc, SXL))
        | needs(EN_PRI, EN_ATS)
        | needs(T2GPA, EN_ATS)
        | needs(PRPR, EN_PRI)
}

#[names]
fn iohgatp(d: &Design, known: &DeviceContext, gxl: E, iohgatp: E) -> E {
    let mode = field(iohgatp, dc::iohgatp::MODE);
    if !d.second_stage() {
        return mode.any();
    }
    let ppn = field(iohgatp, dc::iohgatp::PPN);
    let legal = any_of(second_stage_modes(d).into_iter().map(|(narrow, g)| {
        mode.is(g.mode) & if !d.has_narrow_tables() { hi() } else { gxl.eq(lit(u64::from(narrow), 1)) }
    }));
    (mode.any() & (!legal | ppn.bits(0, 2).any() | too_wide(d, ppn))) | (known.t2gpa & mode.none())
}

#[names]
fn ta(d: &Design, ta: E) -> E {
    let ids = if d.qosid { 0 } else { dc::ta::RCID.mask() | dc::ta::MCID.mask() };
    any_bit(ta, dc::ta::RESERVED | ids)
}

#[names]
fn fsc(d: &Design, known: &DeviceContext, fsc: E) -> E {
    let mode = field(fsc, dc::fsc::MODE);
    let directory = any_of(directory_modes(d).into_iter().map(|v| mode.is(v))) | mode.is(pdtp_mode::BARE);
    let legal = known.pdtv.mux(directory, is_first_stage_mode(d, known.sxl, mode));
    let wide = mode.any() & too_wide(d, field(fsc, dc::fsc::PPN));
    any_bit(fsc, dc::fsc::RESERVED) | !legal | (wide & !two_stage(known))
}

#[names]
fn msiptp(d: &Design, known: &DeviceContext, msiptp: E) -> E {
    let mode = field(msiptp, dc::msiptp::MODE);
    let flat = mode.is(dc::msiptp_mode::FLAT);
    let legal = if d.translates_msis() { flat & two_stage(known) } else { lo() };
    any_bit(msiptp, dc::msiptp::RESERVED)
        | (mode.any() & (!legal | too_wide(d, field(msiptp, dc::msiptp::PPN))))
}

/// Whether a device has a second stage.
pub fn two_stage(context: &DeviceContext) -> E {
    context.iohgatp_mode.ne(lit(iohgatp_mode::BARE, 4))
}

/// Takes over doubleword `beat` of a device context.
#[names]
pub fn load(m: &mut Module, d: &Design, context: &DeviceContext, beat: E, word: E) {
    let page = |ppn: E| ppn.bits(0, ppn_width(d));
    let take = |m: &mut Module, register: E, value: E| {
        if register.constant().is_none() {
            m.set(register, value.resize(register.width()));
        }
    };
    m.when(beat.is(0), |m| {
        m.set(context.dtf, field(word, dc::tc::DTF));
        m.set(context.pdtv, field(word, dc::tc::PDTV));
        m.set(context.dpe, field(word, dc::tc::DPE));
        take(m, context.sade, field(word, dc::tc::SADE));
        take(m, context.gade, field(word, dc::tc::GADE));
        take(m, context.sbe, field(word, dc::tc::SBE));
        take(m, context.sxl, field(word, dc::tc::SXL));
        take(m, context.en_ats, field(word, dc::tc::EN_ATS));
        take(m, context.en_pri, field(word, dc::tc::EN_PRI));
        take(m, context.prpr, field(word, dc::tc::PRPR));
        take(m, context.t2gpa, field(word, dc::tc::T2GPA));
    });
    if d.second_stage() {
        m.when(beat.is(1), |m| {
            m.set(context.gscid, field(word, dc::iohgatp::GSCID));
            m.set(context.iohgatp_mode, field(word, dc::iohgatp::MODE));
            m.set(context.iohgatp_ppn, page(field(word, dc::iohgatp::PPN)));
        });
    }
    m.when(beat.is(2), |m| {
        m.set(context.pscid, field(word, dc::ta::PSCID));
        take(m, context.rcid, field(word, dc::ta::RCID));
        take(m, context.mcid, field(word, dc::ta::MCID));
    });
    let first_stage = |m: &mut Module| {
        m.set(context.fsc_mode, field(word, dc::fsc::MODE));
        m.set(context.fsc_ppn, field(word, dc::fsc::PPN).bits(0, first_stage_ppn_width(d)));
    };
    if !d.extended_contexts() {
        // The last doubleword: what earlier ones leave here is overwritten.
        first_stage(m);
        return;
    }
    m.when(beat.is(3), first_stage);
    if d.translates_msis() {
        m.when(beat.is(4), |m| {
            m.set(context.msi, field(word, dc::msiptp::MODE).any());
            m.set(context.msi_ppn, page(field(word, dc::msiptp::PPN)));
        });
        m.when(beat.is(5), |m| take(m, context.msi_mask, word));
        m.when(beat.is(6), |m| take(m, context.msi_pattern, word));
    }
}
