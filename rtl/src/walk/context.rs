//! Device and process contexts as the hardware keeps them: checked, without what no later step reads.

use crate::design::Design;
use crate::hdl::{E, Module, any_of, cat, lo};
use crate::translate::request::{geometries, ppn_width};
use pasidon_spec::ddt::dc;
use pasidon_spec::field::Field;
use pasidon_spec::page_table::iosatp_mode;
use pasidon_spec::pdt::{pc, pdtp_mode};

/// A field of a doubleword.
pub fn field(word: E, f: Field) -> E {
    word.bits(f.lo.into(), f.width.into())
}

/// Whether any bit of `mask` is set in `word`.
pub fn any_bit(word: E, mask: u64) -> E {
    any_of((0..64).filter(|b| mask >> b & 1 == 1).map(|b| word.bit(b)))
}

/// A first-stage or process-directory pointer: mode and page number.
#[derive(Clone, Copy)]
pub struct Pointer {
    /// `iosatp.MODE` or `pdtp.MODE`.
    pub mode: E,
    /// Page number of the root.
    pub ppn: E,
}

/// A device context (base format, no second stage).
#[derive(Clone, Copy)]
pub struct DeviceContext {
    /// Faults of translations are not reported.
    pub dtf: E,
    /// `fsc` is a process-directory pointer.
    pub pdtv: E,
    /// Requests without a process_id use process_id 0.
    pub dpe: E,
    /// Address-space tag when `pdtv` is 0.
    pub pscid: E,
    /// First-stage context.
    pub fsc: Pointer,
}

/// A process context.
#[derive(Clone, Copy)]
pub struct ProcessContext {
    /// Supervisor requests are allowed.
    pub ens: E,
    /// Supervisor requests may read and write user pages.
    pub sum: E,
    /// Address-space tag.
    pub pscid: E,
    /// First-stage context.
    pub fsc: Pointer,
}

/// A context as words of at most 64 bits: wider signals are slow to simulate and gain nothing in hardware.
pub type Words = Vec<E>;

/// Widths of the words of a [`DeviceContext`].
pub fn device_context_widths(d: &Design) -> Vec<u32> {
    vec![3 + 20 + 4, ppn_width(d)]
}

/// Widths of the words of a [`ProcessContext`].
pub fn process_context_widths(d: &Design) -> Vec<u32> {
    vec![2 + 20 + 4, ppn_width(d)]
}

impl DeviceContext {
    /// Registers for a device context.
    pub fn registers(m: &mut Module, d: &Design) -> DeviceContext {
        DeviceContext {
            dtf: m.reg_data("dc_dtf", 1),
            pdtv: m.reg_data("dc_pdtv", 1),
            dpe: m.reg_data("dc_dpe", 1),
            pscid: m.reg_data("dc_pscid", 20),
            fsc: Pointer { mode: m.reg_data("dc_mode", 4), ppn: m.reg_data("dc_ppn", ppn_width(d)) },
        }
    }

    /// As words.
    pub fn pack(&self) -> Words {
        vec![cat(&[self.dtf, self.pdtv, self.dpe, self.pscid, self.fsc.mode]), self.fsc.ppn]
    }

    /// From words.
    pub fn unpack(words: &[E]) -> DeviceContext {
        let (word, ppn) = (words[0], words[1]);
        DeviceContext {
            dtf: word.bit(26),
            pdtv: word.bit(25),
            dpe: word.bit(24),
            pscid: word.bits(4, 20),
            fsc: Pointer { mode: word.bits(0, 4), ppn },
        }
    }

    /// Sets registers.
    pub fn set(&self, m: &mut Module, value: &DeviceContext) {
        for (register, value) in [
            (self.dtf, value.dtf),
            (self.pdtv, value.pdtv),
            (self.dpe, value.dpe),
            (self.pscid, value.pscid),
            (self.fsc.mode, value.fsc.mode),
            (self.fsc.ppn, value.fsc.ppn),
        ] {
            m.set(register, value);
        }
    }
}

impl ProcessContext {
    /// Registers for a process context.
    pub fn registers(m: &mut Module, d: &Design) -> ProcessContext {
        ProcessContext {
            ens: m.reg_data("pc_ens", 1),
            sum: m.reg_data("pc_sum", 1),
            pscid: m.reg_data("pc_pscid", 20),
            fsc: Pointer { mode: m.reg_data("pc_mode", 4), ppn: m.reg_data("pc_ppn", ppn_width(d)) },
        }
    }

    /// As words.
    pub fn pack(&self) -> Words {
        vec![cat(&[self.ens, self.sum, self.pscid, self.fsc.mode]), self.fsc.ppn]
    }

    /// From words.
    pub fn unpack(words: &[E]) -> ProcessContext {
        let (word, ppn) = (words[0], words[1]);
        ProcessContext {
            ens: word.bit(25),
            sum: word.bit(24),
            pscid: word.bits(4, 20),
            fsc: Pointer { mode: word.bits(0, 4), ppn },
        }
    }

    /// Sets registers.
    pub fn set(&self, m: &mut Module, value: &ProcessContext) {
        for (register, value) in [
            (self.ens, value.ens),
            (self.sum, value.sum),
            (self.pscid, value.pscid),
            (self.fsc.mode, value.fsc.mode),
            (self.fsc.ppn, value.fsc.ppn),
        ] {
            m.set(register, value);
        }
    }
}

/// Whether a page number is wider than the physical address space of the design.
pub fn too_wide(d: &Design, ppn: E) -> E {
    if ppn.width() > ppn_width(d) { ppn.bits(ppn_width(d), ppn.width() - ppn_width(d)).any() } else { lo() }
}

/// Whether `mode` is a first-stage mode that the design has, Bare included.
pub fn is_first_stage_mode(d: &Design, mode: E) -> E {
    any_of(
        std::iter::once(mode.is(iosatp_mode::BARE)).chain(geometries(d).into_iter().map(|g| mode.is(g.mode))),
    )
}

/// The process-directory modes of a design, Bare excluded.
pub fn directory_modes(d: &Design) -> Vec<u64> {
    [(d.pd8, pdtp_mode::PD8), (d.pd17, pdtp_mode::PD17), (d.pd20, pdtp_mode::PD20)]
        .into_iter()
        .filter_map(|(on, mode)| on.then_some(mode))
        .collect()
}

/// Whether the first doubleword of a device context is misconfigured, apart from `fsc`. (Section "Device-context
/// configuration checks"; the design has neither ATS, A/D updates, big-endian tables nor Sv32.)
pub fn tc_misconfigured(tc: E) -> E {
    use dc::tc::{DPE, EN_ATS, EN_PRI, GADE, PDTV, PRPR, RESERVED, SADE, SBE, SXL, T2GPA};
    let absent =
        [EN_ATS, EN_PRI, T2GPA, PRPR, GADE, SADE, SBE, SXL].iter().fold(RESERVED, |m, f| m | f.mask());
    any_bit(tc, absent) | (!field(tc, PDTV) & field(tc, DPE))
}

/// Whether `iohgatp` is misconfigured: the design has no second stage.
pub fn iohgatp_misconfigured(iohgatp: E) -> E {
    field(iohgatp, dc::iohgatp::MODE).any()
}

/// Whether the `ta` of a device context is misconfigured: RCID and MCID are reserved without QOSID.
pub fn dc_ta_misconfigured(ta: E) -> E {
    any_bit(ta, dc::ta::RESERVED | dc::ta::RCID.mask() | dc::ta::MCID.mask())
}

/// Whether the `fsc` of a device context is misconfigured, or points beyond the physical address space.
pub fn dc_fsc_misconfigured(d: &Design, pdtv: E, fsc: E) -> E {
    let mode = field(fsc, dc::fsc::MODE);
    let directory = any_of(directory_modes(d).into_iter().map(|v| mode.is(v))) | mode.is(pdtp_mode::BARE);
    let legal = pdtv.mux(directory, is_first_stage_mode(d, mode));
    any_bit(fsc, dc::fsc::RESERVED) | !legal | (mode.any() & too_wide(d, field(fsc, dc::fsc::PPN)))
}

/// Whether the `fsc` of a process context is misconfigured, or points beyond the physical address space.
pub fn pc_fsc_misconfigured(d: &Design, fsc: E) -> E {
    let mode = field(fsc, pc::fsc::MODE);
    any_bit(fsc, pc::fsc::RESERVED)
        | !is_first_stage_mode(d, mode)
        | (mode.any() & too_wide(d, field(fsc, pc::fsc::PPN)))
}

/// Whether `process_id` is wider than the directory mode allows.
pub fn pid_too_wide(d: &Design, mode: E, process_id: E) -> E {
    let beyond = |bits: u8| {
        let bits = u32::from(bits);
        if d.process_id_width > bits { process_id.bits(bits, d.process_id_width - bits).any() } else { lo() }
    };
    any_of(directory_modes(d).into_iter().map(|v| {
        let levels = pdtp_mode::levels(v).unwrap_or(1);
        mode.is(v) & beyond(pasidon_spec::pdt::process_id_bits(levels))
    }))
}

/// Three-bit permissions (X, W, R) as six: supervisor, then user. (Section "Process-context fields": ENS and SUM.)
pub fn effective_permissions(xwr: E, user_page: E, ens: E, sum: E) -> E {
    let supervisor = cat(&[!user_page, !user_page | sum, !user_page | sum]);
    cat(&[xwr & supervisor & ens.repeat(3), user_page.gate(xwr)])
}
