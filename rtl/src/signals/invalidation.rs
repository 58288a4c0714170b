//! An invalidation, as the command queue offers it to every IOTLB: held until each has carried it out; and which entries it
//! names. (Section "IOMMU Page-Table cache invalidation commands".)

use crate::design::Design;
use crate::signals::request::{RequestSignals, TranslationSignals, segments, vpn_width};
use pasidon_hdl::{E, Instance, Module, Named, lit, lo, names};
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

/// Names of the ports `inval_*` after `inval_valid`, and their widths.
fn ports(d: &Design) -> Vec<(&'static str, u32)> {
    let mut list = vec![
        ("inval_kind", 2),
        ("inval_av", 1),
        ("inval_pscv", 1),
        ("inval_pscid", 20),
        ("inval_addr", 52),
        ("inval_dv", 1),
        ("inval_did", d.device_id_width),
        ("inval_pid", d.process_id_width),
    ];
    if d.second_stage() {
        list.extend([("inval_gv", 1), ("inval_gscid", 16)]);
    }
    if d.s {
        list.push(("inval_range", 52));
    }
    list
}

/// The signals of an invalidation.
pub struct Invalidation {
    /// There is one.
    pub valid: E,
    /// PSCID operand.
    pub pscid: E,
    /// Bits of the page number that a range leaves open; 0 for one page.
    pub range: E,
    /// GSCID operand; 0 without a second stage, like the next.
    gscid: E,
    /// It is about translations with a second stage.
    two_stage: E,
    /// ADDR\[63:12\] operand.
    addr: E,
    /// DID operand.
    did: E,
    /// PID operand.
    pid: E,
    /// What an entry must share with it to be named.
    pub checks: Checks,
}

/// Which parts of an entry are compared; the others don't matter.
#[derive(Clone, Copy)]
pub struct Checks {
    /// device_id.
    pub device: E,
    /// process_id.
    pub process: E,
    /// Whether there is a process_id.
    pub pid_valid: E,
    /// The page number, as far as the entry's page or the range does not leave it open.
    pub page: E,
    /// The address space's tag, which a global mapping does not have.
    pub pscid: E,
    /// Whether a second stage took part.
    pub stage: E,
    /// The virtual machine's tag.
    pub gscid: E,
}

impl Checks {
    /// Those of a lookup: a translation is found by who asks and where.
    pub fn lookup() -> Checks {
        let (yes, no) = (lit(1, 1), lo());
        Checks { device: yes, process: yes, pid_valid: yes, page: yes, pscid: no, stage: no, gscid: no }
    }

    /// `self` where `choice` is 1, else `other`.
    pub fn or(&self, choice: E, other: &Checks) -> Checks {
        Checks {
            device: choice.mux(self.device, other.device),
            process: choice.mux(self.process, other.process),
            pid_valid: choice.mux(self.pid_valid, other.pid_valid),
            page: choice.mux(self.page, other.page),
            pscid: choice.mux(self.pscid, other.pscid),
            stage: choice.mux(self.stage, other.stage),
            gscid: choice.mux(self.gscid, other.gscid),
        }
    }

    /// Names and signals; what a design never compares is left out.
    #[names]
    pub fn fields(&self, d: &Design) -> Vec<(&'static str, E)> {
        let mut list = vec![
            ("device", self.device),
            ("process", self.process),
            ("pid_valid", self.pid_valid),
            ("page", self.page),
            ("pscid", self.pscid),
        ];
        if d.second_stage() {
            list.extend([("stage", self.stage), ("gscid", self.gscid)]);
        }
        list
    }

    /// Registers `check_*`.
    pub fn registers(m: &mut Module, d: &Design) -> Checks {
        let mut register = |name: &str| m.reg_data(&format!("check_{name}"), 1);
        let always = Checks {
            device: register("device"),
            process: register("process"),
            pid_valid: register("pid_valid"),
            page: register("page"),
            pscid: register("pscid"),
            ..Checks::lookup()
        };
        if d.second_stage() {
            Checks { stage: register("stage"), gscid: register("gscid"), ..always }
        } else {
            always
        }
    }
}

/// What tags an entry of an IOTLB.
#[derive(Clone, Copy)]
pub struct TlbTag {
    /// device_id of the requests that it answers.
    pub device_id: E,
    /// They have a process_id.
    pub pid_valid: E,
    /// Their process_id.
    pub process_id: E,
    /// Page number of their addresses.
    pub vpn: E,
}

impl Named for TlbTag {
    fn call_all(&self, name: &str) {
        for (field, e) in self.fields() {
            e.call(&format!("{name}_{field}"));
        }
    }
}

impl TlbTag {
    /// A tag whose every signal comes from `f(name, width)`.
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> TlbTag {
        TlbTag {
            device_id: f("device_id", d.device_id_width),
            pid_valid: f("pid_valid", 1),
            process_id: f("process_id", d.process_id_width),
            vpn: f("vpn", vpn_width(d)),
        }
    }

    /// The tag of what a request comes to.
    pub fn of(d: &Design, request: &RequestSignals) -> TlbTag {
        TlbTag {
            device_id: request.device_id,
            pid_valid: request.pid_valid,
            process_id: request.process_id,
            vpn: request.iova.bits(PAGE_SHIFT.into(), vpn_width(d)),
        }
    }

    /// `self` where `choice` is 1, else `other`.
    pub fn or(&self, choice: E, other: &TlbTag) -> TlbTag {
        TlbTag {
            device_id: choice.mux(self.device_id, other.device_id),
            pid_valid: choice.mux(self.pid_valid, other.pid_valid),
            process_id: choice.mux(self.process_id, other.process_id),
            vpn: choice.mux(self.vpn, other.vpn),
        }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    pub fn fields(&self) -> [(&'static str, E); 4] {
        [
            ("device_id", self.device_id),
            ("pid_valid", self.pid_valid),
            ("process_id", self.process_id),
            ("vpn", self.vpn),
        ]
    }
}

impl Invalidation {
    /// Input ports `inval_*`.
    #[names]
    pub fn inputs(m: &mut Module, d: &Design) -> Invalidation {
        m.section("Invalidations: held until done");
        let valid = m.input("inval_valid", 1);
        let inputs: Vec<(&str, E)> =
            ports(d).into_iter().map(|(name, width)| (name, m.input(name, width))).collect();
        let get = |name: &str, width: u32| {
            inputs.iter().find(|(n, _)| *n == name).map_or(lit(0, width), |(_, e)| *e)
        };
        let is = |k: InvalidationKind| get("inval_kind", 2).is(k as u64);
        let (vma, gvma) = (is(InvalidationKind::Vma), is(InvalidationKind::Gvma));
        let (ddt, pdt) = (is(InvalidationKind::Ddt), is(InvalidationKind::Pdt));
        let gv = get("inval_gv", 1);
        let page_tables = vma | gvma;
        Invalidation {
            valid,
            pscid: get("inval_pscid", 20),
            range: get("inval_range", 52).bits(0, vpn_width(d)),
            gscid: get("inval_gscid", 16),
            two_stage: gvma | gv,
            addr: get("inval_addr", 52),
            did: get("inval_did", d.device_id_width),
            pid: get("inval_pid", d.process_id_width),
            checks: Checks {
                device: (ddt & get("inval_dv", 1)) | pdt,
                process: pdt,
                pid_valid: lo(),
                // GVMA's address is a guest's physical one, which no entry knows: all of the machine go.
                page: vma & get("inval_av", 1),
                pscid: vma & get("inval_pscv", 1),
                stage: page_tables,
                gscid: page_tables & gv,
            },
        }
    }

    /// What it is compared with entries as.
    pub fn tag(&self, d: &Design) -> TlbTag {
        TlbTag {
            device_id: self.did,
            pid_valid: lo(),
            process_id: self.pid,
            vpn: self.addr.bits(0, vpn_width(d)),
        }
    }

    /// Connects everything but `inval_valid` from the command queue to an IOTLB.
    pub fn connect(m: &mut Module, d: &Design, from: &Instance, to: &Instance) {
        for (name, _) in ports(d) {
            to.connect(m, name, from.out(name));
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
        let whole = data.fractured.map_or(lo(), |fractured| fractured & checks.stage);
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
            !checks.pscid | (data.pscid.eq(self.pscid) & !data.global),
        ]);
        list.extend(data.two_stage.map(|two_stage| !checks.stage | two_stage.eq(self.two_stage)));
        list.extend(data.gscid.map(|gscid| !checks.gscid | gscid.eq(self.gscid)));
        list
    }
}
