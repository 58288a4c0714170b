//! Second stage: from a guest physical page to a physical one. It serves the tables that lie in the guest's memory (process
//! directory, process contexts, first-stage tables: implicit accesses) and the access itself. (Privileged specification,
//! "Two-Stage Address Translation"; sections "Process to locate the Process-context" and "Process to translate an IOVA".)
//!
//! Latency: 1 cycle to begin, then as every read of a table.

use super::arrived::Arrived;
use super::page_table::{SXL_GUEST_WIDTH, chosen, compose, is_uniform, second_stage_modes};
use super::state::*;
use crate::signals::request::{TranslationSignals, ppn_width};
use pasidon_hdl::{E, Module, any_of, cat, first, hi, lit, lo, names, select};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{Geometry, pbmt};

/// The slice of a guest page number that indexes `level` of a table: page within a root of four pages, place in it.
#[names]
fn slice(g: &Geometry, gpa: E, level: usize) -> (E, Index) {
    let l = g.levels[level];
    let number = gpa.bits(u32::from(l.lo) - 12, l.width.into());
    let (low, half) = if g.pte_bytes == 4 { (1, number.bit(0)) } else { (0, lo()) };
    let page = if level == g.root() { number.bits(9 + low, 2) } else { lit(0, 2) };
    (page, Index { offset: number.bits(low, 9), half })
}

impl Walk<'_> {
    /// The second-stage format in use: each of the design, with whether it is the one.
    fn guest_formats(&self) -> Vec<(E, &'static Geometry)> {
        chosen(self.d, second_stage_modes(self.d), self.settings.fctl_gxl, self.device.iohgatp_mode)
    }

    /// State `GUEST`: begins the translation of `gpa`, unless it is an MSI's.
    #[names]
    pub fn begin_guest(&self, m: &mut Module) {
        let formats = self.guest_formats();
        let above = |bits: u32| self.gpa.bits(bits - 12, 64 - bits).any();
        let narrow_guest = self.device.sxl & above(SXL_GUEST_WIDTH);
        let wide = any_of(formats.iter().map(|(on, g)| *on & above(g.address_bits().into()))) | narrow_guest;
        let pick = |f: &dyn Fn(&Geometry) -> E| {
            let list: Vec<(E, E)> = formats.iter().map(|(on, g)| (*on, f(g))).collect();
            first(&list[1..], list[0].1)
        };
        let root = self.device.iohgatp_ppn;
        let quarter = pick(&|g| slice(g, self.gpa, g.root()).0);
        chain!(m;
            self.goes_to_msi() => self.begin_msi(m);
            wide => self.fail_guest(m);
            else => {
                m.set(self.page, cat(&[root.bits(2, root.width() - 2), quarter]));
                m.set(self.guest_level, pick(&|g| lit(g.root() as u64, 3)));
                m.set(self.guest_index.offset, pick(&|g| slice(g, self.gpa, g.root()).1.offset));
                self.set(m, self.guest_index.half, pick(&|g| slice(g, self.gpa, g.root()).1.half));
                m.set(self.nested, hi());
                self.set(m, self.guest_update, lo());
                self.goto(m, state::READ);
            };
        );
    }

    /// The causes of an access fault and of data corruption in the second stage.
    #[names]
    pub fn guest_troubles(&self) -> (E, E) {
        let directory = self.kind.is(kind::PDTE) | self.kind.is(kind::PC);
        (
            directory.mux(cause(Cause::PdtEntryLoadAccessFault), self.access_fault),
            directory.mux(cause(Cause::PdtDataCorruption), cause(Cause::PtDataCorruption)),
        )
    }

    /// The walk ends with a guest-page fault.
    #[names]
    pub fn fail_guest(&self, m: &mut Module) {
        use Cause::{InstructionGuestPageFault, ReadGuestPageFault, WriteAmoGuestPageFault};
        let fault =
            by_access(self.d, &self.q, InstructionGuestPageFault, ReadGuestPageFault, WriteAmoGuestPageFault);
        m.set(self.fault, fault);
        m.set(self.ok, lo());
        m.set(self.guest_fault, hi());
        self.goto(m, state::DONE);
    }

    /// `iotval2` of the record: the guest physical address, and for an implicit access whether it is a write. (Section
    /// "Fault/Event-Queue (FQ)".)
    #[names]
    pub fn iotval2(&self) -> E {
        let implicit = !self.kind.is(kind::ACCESS);
        let own = self.q.iova.bits(2, 10);
        let table = cat(&[self.index.offset, self.index.half]);
        let address = cat(&[self.gpa, implicit.mux(table, own), implicit & self.update, implicit]);
        self.guest_fault.gate(address)
    }

    /// A second-stage entry arrives.
    #[names]
    pub fn guest_entry(&self, m: &mut Module, arrived: &Arrived) {
        let (d, pte) = (self.d, &arrived.pte);
        let access = self.kind.is(kind::ACCESS);
        let (access_fault, corrupt) = self.guest_troubles();
        // A translation request needs nothing: what is not granted is left out of the answer. A and D say what both stages grant it.
        let asks = access & self.asks();
        let first =
            self.q.privileged.mux(self.result.permissions.bits(3, 3), self.result.permissions.bits(0, 3));
        let write = access.mux(self.dirties(pte) & (!asks | first.bit(1)), self.update);
        let wants = pte.wants_update(write) & (!asks | (pte.readable() & first.bit(0)));
        let granted = pte.permissions(self.device.gade);
        // X, W, R: an implicit access reads, and writes too when it updates.
        let needs = access.mux(
            cat(&[self.q.exec, self.writes(), !self.q.write & !self.q.exec]),
            cat(&[lo(), self.update, hi()]),
        );
        let denied = (!asks & (needs & !granted).any())
            | !pte.user()
            | (((asks & wants) | !pte.accessed()) & !self.device.gade);
        let fault = m.wire("guest_pte_fault", pte.ill_formed | (pte.leaf & denied));
        let update = if d.amo_hwad { pte.leaf & wants } else { lo() };
        let target = m.wire("guest_target", compose(d, pte.ppn().bits(0, ppn_width(d)), pte.mask, self.gpa));
        let down = self.guest_level - lit(1, 3);
        let formats = self.guest_formats();
        let index = |f: &dyn Fn(Index) -> E| {
            let of = |g: &Geometry| {
                let all: Vec<E> = (0..g.root()).map(|level| f(slice(g, self.gpa, level).1)).collect();
                select(down, &all)
            };
            let deepest = formats.iter().filter(|(_, g)| g.pte_bytes == 8).max_by_key(|(_, g)| g.root());
            let narrow = formats.iter().find(|(_, g)| g.pte_bytes == 4);
            match (deepest, narrow) {
                (Some((_, wide)), Some((on, narrow))) => (*on).mux(of(narrow), of(wide)),
                (Some((_, g)), None) | (None, Some((_, g))) => of(g),
                (None, None) => f(Index::wide(lit(0, 9))),
            }
        };
        let small = if d.translates_msis() { self.device.msi } else { lo() };
        let mask = (!small).gate(self.result.mask & pte.mask);
        let xwr = pte.permissions(lo());
        let beyond = pte.leads_beyond(d, arrived.too_wide, self.gpa);
        let t = TranslationSignals {
            ppn: target,
            mask,
            permissions: self.result.permissions & cat(&[xwr, xwr]),
            fractured: (self.result.mask & !mask).any(),
            pbmt: self.result.pbmt.is(pbmt::PMA).mux(pte.pbmt(), self.result.pbmt),
            ..self.result
        };
        chain!(m;
            arrived.error => self.fail(m, access_fault);
            arrived.poison => self.fail(m, corrupt);
            fault => self.fail_guest(m);
            beyond => self.fail(m, access_fault);
            update => self.want_update(m, arrived, write);
            pte.leaf & access => self.succeed(m, &t, is_uniform(d, self.device.sxl, mask));
            pte.leaf => {
                m.set(self.page, target);
                m.set(self.nested, lo());
                self.set(m, self.guest_update, lo());
                self.goto(m, state::READ);
            };
            else => {
                m.set(self.page, pte.ppn().bits(0, ppn_width(d)));
                m.set(self.guest_level, down);
                m.set(self.guest_index.offset, index(&|i| i.offset));
                self.set(m, self.guest_index.half, index(&|i| i.half));
                self.set(m, self.guest_update, lo());
                self.goto(m, state::READ);
            };
        );
    }

    /// Whether the access goes to a page of an interrupt file. (Section "MSI address mask (msi_addr_mask) and pattern
    /// (msi_addr_pattern)".)
    #[names]
    pub fn goes_to_msi(&self) -> E {
        if !self.d.translates_msis() {
            return lo();
        }
        let width = file_width(self.d);
        let low = (self.gpa.bits(0, width) ^ self.device.msi_pattern) & !self.device.msi_mask;
        let high = self.gpa.bits(width, 52 - width).any();
        self.kind.is(kind::ACCESS) & self.device.msi & low.none() & !high
    }
}
