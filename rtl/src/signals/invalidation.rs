//! An invalidation, as the command queue offers it to every IOTLB: held until each has carried it out; and which entries it
//! names. (Section "IOMMU Page-Table cache invalidation commands".)

use crate::design::Design;
use crate::signals::request::{RequestSignals, TranslationSignals, segments, vpn_width};
use pasidon_hdl::{Bundle, E, Module, bundle, lit, lo, names};
use pasidon_spec::page_table::PAGE_SHIFT;

/// Encoding of `inval_kind`: what is invalidated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum InvalidationKind {
    /// Translations (IOTINVAL.VMA).
    Vma = 0,
    /// Device contexts and the process contexts that belong to them (IODIR.INVAL_DDT).
    Ddt = 1,
    /// One process context (IODIR.INVAL_PDT).
    Pdt = 2,
    /// Translations that a second stage took part in (IOTINVAL.GVMA).
    Gvma = 3,
}

bundle! {
    /// What a command says of its invalidation.
    pub struct InvalidationOperands(d: Design) {
        /// An [`InvalidationKind`].
        kind: 2;
        /// `GV`: of one virtual machine.
        gv: 1, if d.second_stage();
        /// `GSCID`: of which.
        gscid: 16, if d.second_stage();
        /// `AV`: of one address or range.
        av: 1;
        /// `PSCV`: of one address space.
        pscv: 1;
        /// `PSCID`: of which.
        pscid: 20;
        /// `ADDR`\[63:12\].
        addr: 52;
        /// Bits of `addr` that a range leaves open; 0 for one page.
        range: 52, if d.s;
        /// `DV`: of one device.
        dv: 1;
        /// `DID`: of which.
        did: d.device_id_width;
        /// `PID`: of which of its processes.
        pid: d.process_id_width;
    }
}

bundle! {
    /// Which parts of an entry are compared; the others don't matter.
    pub struct Checks(d: Design) {
        /// device_id.
        device: 1;
        /// process_id.
        process: 1;
        /// Whether there is a process_id.
        pid_valid: 1;
        /// The page number, as far as the entry's page or the range does not leave it open.
        page: 1;
        /// The address space's tag, which a global mapping does not have.
        pscid: 1;
        /// Whether a second stage took part.
        stage: 1, if d.second_stage();
        /// The virtual machine's tag.
        gscid: 1, if d.second_stage();
    }
}

bundle! {
    /// What tags an entry of an IOTLB.
    pub struct TlbTag(d: Design) {
        /// device_id of the requests that it answers.
        device_id: d.device_id_width;
        /// They have a process_id.
        pid_valid: 1;
        /// Their process_id.
        process_id: d.process_id_width;
        /// Page number of their addresses.
        vpn: vpn_width(d);
    }
}

/// An invalidation as an IOTLB takes it.
pub struct Invalidation {
    /// There is one.
    pub valid: E,
    /// Bits of the page number that a range leaves open.
    pub range: E,
    /// What an entry must share with it to be named.
    pub checks: Checks,
    /// What it is compared with entries as.
    pub tag: TlbTag,
    /// It is about translations with a second stage.
    two_stage: E,
    operands: InvalidationOperands,
}

impl Checks {
    /// Those of a lookup: a translation is found by who asks and where.
    pub fn lookup(d: &Design) -> Checks {
        let yes = lit(1, 1);
        Checks { device: yes, process: yes, pid_valid: yes, page: yes, ..Checks::zero(d) }
    }
}

impl TlbTag {
    /// The tag of what a request comes to.
    pub fn asked(d: &Design, request: &RequestSignals) -> TlbTag {
        TlbTag {
            device_id: request.device_id,
            pid_valid: request.pid_valid,
            process_id: request.process_id,
            vpn: request.iova.bits(PAGE_SHIFT.into(), vpn_width(d)),
        }
    }
}

impl Invalidation {
    /// Input ports `inval_*`.
    #[names]
    pub fn inputs(m: &mut Module, d: &Design) -> Invalidation {
        m.section("Invalidations: held until done");
        let valid = m.input("inval_valid", 1);
        let operands = InvalidationOperands::inputs(m, d, "inval");
        let is = |k: InvalidationKind| operands.kind.is(k as u64);
        let (vma, gvma) = (is(InvalidationKind::Vma), is(InvalidationKind::Gvma));
        let (ddt, pdt) = (is(InvalidationKind::Ddt), is(InvalidationKind::Pdt));
        let page_tables = vma | gvma;
        Invalidation {
            valid,
            range: operands.range.bits(0, vpn_width(d)),
            checks: Checks {
                device: (ddt & operands.dv) | pdt,
                process: pdt,
                pid_valid: lo(),
                // GVMA's address is a guest's physical one, which no entry knows: all of the machine go.
                page: vma & operands.av,
                pscid: vma & operands.pscv,
                stage: page_tables,
                gscid: page_tables & operands.gv,
            },
            tag: TlbTag {
                device_id: operands.did,
                pid_valid: lo(),
                process_id: operands.pid,
                vpn: operands.addr.bits(0, vpn_width(d)),
            },
            two_stage: gvma | operands.gv,
            operands,
        }
    }

    /// The conditions under which an entry, `tag` and `data`, is named by what `checks` compare: `wanted` gives the ids, this
    /// invalidation the rest. `differs` is the difference of the page numbers, without the bits that do not matter; a part of
    /// it counts unless the entry's own page or `wider` leaves it open. Those that seldom hold come first.
    #[names]
    pub fn conditions(
        &self,
        d: &Design,
        checks: &Checks,
        (tag, data): (&TlbTag, &TranslationSignals),
        (wanted, differs, wider): (&TlbTag, E, E),
    ) -> Vec<E> {
        let ignore = data.mask | wider;
        // Of `checks`, only those of page-table invalidations look at the stage.
        let whole = data.fractured & checks.stage;
        let page = checks.page & !whole;
        let mut list: Vec<E> = segments(d, vpn_width(d))
            .into_iter()
            .map(|(mask_bit, lo_bit, width)| {
                let equal = !page | differs.bits(lo_bit, width).none();
                mask_bit.map_or(equal, |b| equal | ignore.bit(b))
            })
            .collect();
        list.extend([
            !checks.device | tag.device_id.eq(wanted.device_id),
            !checks.process | tag.process_id.eq(wanted.process_id),
            !checks.pid_valid | tag.pid_valid.eq(wanted.pid_valid),
            !checks.pscid | (data.pscid.eq(self.operands.pscid) & !data.global),
        ]);
        if d.second_stage() {
            list.push(!checks.stage | data.two_stage.eq(self.two_stage));
            list.push(!checks.gscid | data.gscid.eq(self.operands.gscid));
        }
        list
    }
}
