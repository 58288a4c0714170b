//! Page-table formats of a design, and one page-table entry as it arrives, of either stage. (Privileged specification, "Virtual
//! Address Translation Process", "Two-Stage Address Translation", "Svnapot", "Svpbmt", "Svrsw60t59b".)

use crate::design::Design;
use crate::signals::context::{any_bit, field};
use crate::signals::request::{geometries, page_shifts, ppn_width, segments, table_levels, vpn_width};
use pasidon_hdl::{E, Module, any_of, cat, hi, lit, lo, names};
use pasidon_spec::page_table::{
    self, Geometry, PAGE_SHIFT, PTE_NON_LEAF_RESERVED, PTE_RSW60T59, iosatp_mode, napot, pbmt, pte,
};

/// Whether a page number is wider than the physical address space of the design.
pub fn too_wide(d: &Design, ppn: E) -> E {
    if ppn.width() > ppn_width(d) { ppn.bits(ppn_width(d), ppn.width() - ppn_width(d)).any() } else { lo() }
}

/// The first-stage formats of a design, each with whether it is chosen by `DC.tc.SXL` 1.
pub fn first_stage_modes(d: &Design) -> Vec<(bool, &'static Geometry)> {
    let wide = geometries(d).into_iter().map(|g| (false, g));
    wide.chain(d.sv32.then_some((true, &page_table::SV32))).collect()
}

/// The second-stage formats of a design, each with whether it is chosen by `fctl.GXL` 1.
pub fn second_stage_modes(d: &Design) -> Vec<(bool, &'static Geometry)> {
    [
        (d.sv39x4, false, &page_table::SV39X4),
        (d.sv48x4, false, &page_table::SV48X4),
        (d.sv57x4, false, &page_table::SV57X4),
        (d.sv32x4, true, &page_table::SV32X4),
    ]
    .into_iter()
    .filter_map(|(there, narrow, g)| there.then_some((narrow, g)))
    .collect()
}

/// The formats of `list`, each with whether it is the one that `mode` and `narrow` (SXL or GXL) choose.
#[names]
pub fn chosen(
    d: &Design,
    list: Vec<(bool, &'static Geometry)>,
    narrow: E,
    mode: E,
) -> Vec<(E, &'static Geometry)> {
    let right = |n: bool| if d.has_narrow_tables() { narrow.eq(lit(u64::from(n), 1)) } else { hi() };
    list.into_iter().map(|(n, g)| (mode.is(g.mode) & right(n), g)).collect()
}

/// Whether `mode` is a first-stage mode that the design has, Bare included. `sxl` is `DC.tc.SXL`.
#[names]
pub fn is_first_stage_mode(d: &Design, sxl: E, mode: E) -> E {
    let modes = chosen(d, first_stage_modes(d), sxl, mode).into_iter().map(|(on, _)| on);
    any_of(std::iter::once(mode.is(iosatp_mode::BARE)).chain(modes))
}

/// The page number `ppn`, in the low bits that `mask` says from `inside`.
#[names]
pub fn compose(d: &Design, ppn: E, mask: E, inside: E) -> E {
    let mut parts: Vec<E> = segments(d, ppn.width())
        .into_iter()
        .map(|(bit, lo, width)| {
            let own = ppn.bits(lo, width);
            bit.map_or(own, |bit| mask.bit(bit).mux(inside.bits(lo, width), own))
        })
        .collect();
    parts.reverse();
    cat(&parts)
}

/// Bits of a guest physical address of a device with `DC.tc.SXL`.
pub const SXL_GUEST_WIDTH: u32 = 34;

/// Whether a page of `mask` is larger than `2^bits` bytes.
fn larger(d: &Design, mask: E, bits: u32) -> E {
    any_of(
        (1..).zip(&page_shifts(d)[1..]).filter(|(_, s)| u32::from(**s) > bits).map(|(i, _)| mask.bit(i - 1)),
    )
}

/// Whether a translation by a page of `mask` may be kept: what is checked in the walk only must hold for every address that the
/// entry would answer. It does not where the page is larger than
/// - the physical address space: part of it is an access fault;
/// - the addresses that are compared, sign bit included: other addresses have the same tag;
/// - the 34-bit guest address space of a device with `DC.tc.SXL` (`sxl`): part of it is a guest-page fault.
#[names]
pub fn is_uniform(d: &Design, sxl: E, mask: E) -> E {
    let compared = vpn_width(d) + u32::from(PAGE_SHIFT) - 1;
    let narrow = sxl & larger(d, mask, SXL_GUEST_WIDTH);
    !(larger(d, mask, d.pas.min(compared)) | narrow)
}

/// A page-table entry that arrives: what is wrong with it whoever reads it, and where it leads.
pub struct PageTableEntry {
    word: E,
    /// It is a leaf.
    pub leaf: E,
    /// It is not valid, or not well-formed for its level; causes a page fault.
    pub ill_formed: E,
    /// If it is a leaf: its page size, see [`page_shifts`].
    pub mask: E,
}

impl PageTableEntry {
    /// The entry `word` (one of 4 bytes extended with zeroes: `narrow`), read at `level`.
    #[names]
    pub fn new(m: &mut Module, d: &Design, word: E, level: E, narrow: E) -> PageTableEntry {
        let f = |x| field(word, x);
        let deepest = table_levels(d) as usize;
        let leaf = m.wire("leaf", f(pte::R) | f(pte::X));
        let bottom = level.is(0);
        let at_least = |l: usize| any_of((l..deepest).map(|i| level.is(i as u64)));
        let misaligned = any_of((1..deepest).map(|l| {
            let inside = f(pte::PPN).bits(9 * (l as u32 - 1), 9).any();
            at_least(l) & inside
        }));
        // A 4-MiB page has one bit more.
        let misaligned = misaligned | (narrow & level.is(1) & f(pte::PPN).bit(9));
        let bad_napot =
            f(pte::N) & !(bottom & f(pte::PPN).bits(0, napot::GROUP_BITS.into()).is(napot::PPN_PATTERN));
        let soft = if d.svrsw60t59b { PTE_RSW60T59 } else { 0 };
        let memory_type =
            if d.svpbmt { f(pte::PBMT).is(pbmt::RESERVED) } else { any_bit(word, pte::PBMT.mask()) };
        let never =
            !f(pte::V) | (!f(pte::R) & f(pte::W)) | any_bit(word, pte::RESERVED & !soft) | memory_type;
        let not_pointer = any_bit(word, PTE_NON_LEAF_RESERVED) | bottom;
        let mask = page_shifts(d)[1..]
            .iter()
            .rev()
            .map(|shift| match *shift {
                napot::GROUP_SHIFT => f(pte::N) | !bottom,
                22 => at_least(2) | (narrow & level.is(1)),
                shift => at_least((usize::from(shift) - 12) / 9),
            })
            .collect::<Vec<_>>();
        let ill_formed = never | leaf.mux(misaligned | bad_napot, not_pointer);
        PageTableEntry { word, leaf, ill_formed, mask: cat(&mask) }
    }

    /// It leads beyond the physical address space of the design: its own page number (`own`), or, for a leaf, with the low
    /// bits of the page number `inside`.
    #[names]
    pub fn leads_beyond(&self, d: &Design, own: E, inside: E) -> E {
        let page = compose(d, self.ppn(), self.mask, inside);
        own | (self.leaf & larger(d, self.mask, d.pas) & too_wide(d, page))
    }

    fn bit(&self, f: pasidon_spec::field::Field) -> E {
        field(self.word, f)
    }

    /// Its page number, 44 bits.
    pub fn ppn(&self) -> E {
        self.bit(pte::PPN)
    }

    /// X, W, R; W only where D allows it, or is updated (`updated`).
    pub fn permissions(&self, updated: E) -> E {
        cat(&[self.bit(pte::X), self.bit(pte::W) & (self.bit(pte::D) | updated), self.bit(pte::R)])
    }

    /// R.
    pub fn readable(&self) -> E {
        self.bit(pte::R)
    }

    /// W, whatever D is.
    pub fn writable(&self) -> E {
        self.bit(pte::W)
    }

    /// A user page.
    pub fn user(&self) -> E {
        self.bit(pte::U)
    }

    /// Global.
    pub fn global(&self) -> E {
        self.bit(pte::G)
    }

    /// Memory type.
    pub fn pbmt(&self) -> E {
        self.bit(pte::PBMT)
    }

    /// A is 1.
    pub fn accessed(&self) -> E {
        self.bit(pte::A)
    }

    /// A, and D for a write, are not both 1 yet.
    pub fn wants_update(&self, write: E) -> E {
        !self.bit(pte::A) | (write & !self.bit(pte::D))
    }
}
