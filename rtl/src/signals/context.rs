//! Device and process contexts as the hardware keeps them: checked, without what no later step reads.

use crate::design::Design;
use crate::signals::request::ppn_width;
use pasidon_hdl::{Bundle, E, Module, any_of, bundle};
use pasidon_spec::field::Field;

/// A field of a doubleword.
pub fn field(word: E, f: Field) -> E {
    word.bits(f.lo.into(), f.width.into())
}

/// Whether any bit of `mask` is set in `word`.
pub fn any_bit(word: E, mask: u64) -> E {
    let mask = if word.width() < 64 { mask & ((1 << word.width()) - 1) } else { mask };
    let starts = (0..64).filter(|b| mask >> b & 1 == 1 && (*b == 0 || mask >> (b - 1) & 1 == 0));
    any_of(starts.map(|lo| word.bits(lo, (mask >> lo).trailing_ones()).any()))
}

/// Bits of a guest physical page number in a table entry or context.
pub const GUEST_PPN_WIDTH: u32 = 44;

/// Bits of a page number in `fsc` and below: a guest's, where there is a second stage.
pub fn first_stage_ppn_width(d: &Design) -> u32 {
    if d.second_stage() { GUEST_PPN_WIDTH } else { ppn_width(d) }
}

bundle! {
    /// A device context.
    pub struct DeviceContext(d: Design) {
        /// Faults of translations are not reported.
        dtf: 1;
        /// `fsc` is a process-directory pointer.
        pdtv: 1;
        /// Requests without a process_id use process_id 0.
        dpe: 1;
        /// Address-space tag when `pdtv` is 0.
        pscid: 20;
        /// First-stage context: `iosatp.MODE` or `pdtp.MODE`.
        fsc_mode: 4;
        /// A and D bits of first-stage entries are updated.
        sade: 1, if d.amo_hwad;
        /// A and D bits of second-stage entries are updated.
        gade: 1, if d.amo_hwad && d.second_stage();
        /// Process directory and first-stage tables are big-endian.
        sbe: 1, if d.big_endian;
        /// The first stage is Sv32 or Bare.
        sxl: 1, if d.has_narrow_tables();
        /// The device may use ATS.
        en_ats: 1, if d.ats;
        /// The device may send page requests.
        en_pri: 1, if d.ats;
        /// Responses that the IOMMU itself makes have a PASID if the page request had one.
        prpr: 1, if d.ats;
        /// ATS gives the device guest physical addresses.
        t2gpa: 1, if d.t2gpa;
        /// Tag of the virtual machine.
        gscid: 16, if d.second_stage();
        /// Second stage: `iohgatp.MODE`.
        iohgatp_mode: 4, if d.second_stage();
        /// `msiptp.MODE` is Flat.
        msi: 1, if d.translates_msis();
        /// First-stage context: page number of the root.
        fsc_ppn: first_stage_ppn_width(d), word 1;
        /// Second stage: page number of the root.
        iohgatp_ppn: ppn_width(d), if d.second_stage(), word 2;
        /// Resource control identifier.
        rcid: 12, if d.qosid, word 3;
        /// Monitoring counter identifier.
        mcid: 12, if d.qosid, word 3;
        /// Page number of the MSI page table.
        msi_ppn: ppn_width(d), if d.translates_msis(), word 4;
        /// Guest page number bits that are not compared with `msi_pattern`.
        msi_mask: d.guest_address_width() - 12, if d.translates_msis(), word 5;
        /// Guest page numbers of interrupt files.
        msi_pattern: d.guest_address_width() - 12, if d.translates_msis(), word 6;
    }
}

bundle! {
    /// A process context.
    pub struct ProcessContext(d: Design) {
        /// Supervisor requests are allowed.
        ens: 1;
        /// Supervisor requests may read and write user pages.
        sum: 1;
        /// Address-space tag.
        pscid: 20;
        /// First-stage context: `iosatp.MODE`.
        fsc_mode: 4;
        /// First-stage context: page number of the root.
        fsc_ppn: first_stage_ppn_width(d), word 1;
    }
}

/// Input ports `PREFIX0`, `PREFIX1`, ...: the words of a packed context.
pub fn word_inputs<C: Bundle<Of = Design>>(m: &mut Module, d: &Design, prefix: &str) -> Vec<E> {
    (0..).zip(C::widths(d)).map(|(i, width)| m.input(&format!("{prefix}{i}"), width)).collect()
}

/// Output ports `PREFIX0`, `PREFIX1`, ... of these words.
pub fn word_outputs(m: &mut Module, prefix: &str, words: &[E]) {
    for (i, word) in words.iter().enumerate() {
        m.output(&format!("{prefix}{i}"), *word);
    }
}
