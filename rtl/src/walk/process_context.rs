//! Checks of process contexts and process_ids. (Sections "Process-context configuration checks" and "Process-context fields".)

use super::page_table::{is_first_stage_mode, too_wide};
use crate::design::Design;
use crate::signals::context::{any_bit, field};
use pasidon_hdl::{E, any_of, cat, lo, names};
use pasidon_spec::pdt::{pc, pdtp_mode, process_id_bits};

/// The process-directory modes of a design, Bare excluded.
pub fn directory_modes(d: &Design) -> Vec<u64> {
    [(d.pd8, pdtp_mode::PD8), (d.pd17, pdtp_mode::PD17), (d.pd20, pdtp_mode::PD20)]
        .into_iter()
        .filter_map(|(on, mode)| on.then_some(mode))
        .collect()
}

/// Whether the `fsc` of a process context is misconfigured, or, where it is no guest's, points beyond the physical address
/// space. `sxl` is `DC.tc.SXL`.
#[names]
pub fn fsc_misconfigured(d: &Design, sxl: E, two_stage: E, fsc: E) -> E {
    let mode = field(fsc, pc::fsc::MODE);
    let wide = mode.any() & too_wide(d, field(fsc, pc::fsc::PPN));
    any_bit(fsc, pc::fsc::RESERVED) | !is_first_stage_mode(d, sxl, mode) | (wide & !two_stage)
}

/// Whether `process_id` is wider than the directory mode allows.
#[names]
pub fn pid_too_wide(d: &Design, mode: E, process_id: E) -> E {
    let beyond = |bits: u8| {
        let bits = u32::from(bits);
        if d.process_id_width > bits { process_id.bits(bits, d.process_id_width - bits).any() } else { lo() }
    };
    any_of(directory_modes(d).into_iter().map(|v| {
        let levels = pdtp_mode::levels(v).unwrap_or(1);
        mode.is(v) & beyond(process_id_bits(levels))
    }))
}

/// Three-bit permissions (X, W, R) as six: supervisor, then user. (Section "Process-context fields": ENS and SUM.)
#[names]
pub fn effective_permissions(xwr: E, user_page: E, ens: E, sum: E) -> E {
    let supervisor = cat(&[!user_page, !user_page | sum, !user_page | sum]);
    cat(&[xwr & supervisor & ens.repeat(3), user_page.gate(xwr)])
}
