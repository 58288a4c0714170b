//! A translation request and a translation, as groups of signals that blocks hand to each other.

use crate::design::Design;
use pasidon_hdl::{E, Instance, Module, Named, any_of, cat, hi, lit, lo, names};
use pasidon_spec::ddt::{device_id_bits, iommu_mode};
use pasidon_spec::page_table::{self, Geometry, PAGE_SHIFT, napot};

/// What a device asks: one untranslated access, ATS translation request or translated access.
#[derive(Clone, Copy)]
pub struct RequestSignals {
    /// Chosen by the device; comes back with the response.
    pub id: E,
    /// The hardware ID of the device.
    pub device_id: E,
    /// The request has a process_id.
    pub pid_valid: E,
    /// The process_id (PASID); 0 when it is not valid.
    pub process_id: E,
    /// Supervisor privilege is requested; 0 without a process_id.
    pub privileged: E,
    /// Read for execute.
    pub exec: E,
    /// Write or atomic operation.
    pub write: E,
    /// Address type: 0 untranslated, 1 ATS translation request, 2 translated.
    pub at: E,
    /// The 32-bit word that a write carries, if it is one that may be a message to a memory-resident interrupt file; only in
    /// designs with such files.
    pub data: Option<E>,
    /// It comes from the debug interface; only where it makes a difference.
    pub debug: Option<E>,
    /// It comes from a CXL device of type 1 or 2; only in designs with ATS.
    pub cxl: Option<E>,
    /// It is a message: only the device context is looked up; only in designs with ATS.
    pub message: Option<E>,
    /// I/O virtual address; of a translated request, what ATS made of one.
    pub iova: E,
}

impl Named for RequestSignals {
    fn call_all(&self, name: &str) {
        for (field, e) in self.fields() {
            e.call(&format!("{name}_{field}"));
        }
    }
}

impl RequestSignals {
    /// It is an ATS translation request.
    pub fn asks(&self, d: &Design) -> E {
        if d.ats { self.at.is(1) } else { lo() }
    }

    /// It is a translated request of a design with ATS.
    pub fn is_translated(&self, d: &Design) -> E {
        if d.ats { self.at.is(2) } else { lo() }
    }

    /// It is a message of a device.
    pub fn is_message(&self) -> E {
        self.message.unwrap_or_else(lo)
    }

    /// Whether a request says that it comes from the debug interface: for such a one, nothing is stored in a memory-resident
    /// interrupt file.
    pub fn tells_debug(d: &Design) -> bool {
        d.debug && d.msi_mrif
    }

    /// A request whose every signal comes from `f(name, width)`.
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> RequestSignals {
        RequestSignals {
            id: f("id", d.id_width),
            device_id: f("device_id", d.device_id_width),
            pid_valid: f("pid_valid", 1),
            process_id: f("process_id", d.process_id_width),
            privileged: f("priv", 1),
            exec: f("exec", 1),
            write: f("write", 1),
            at: f("at", 2),
            data: d.msi_mrif.then(|| f("data", 32)),
            debug: RequestSignals::tells_debug(d).then(|| f("debug", 1)),
            cxl: d.ats.then(|| f("cxl", 1)),
            message: d.ats.then(|| f("message", 1)),
            iova: f("iova", 64),
        }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    #[names]
    pub fn fields(&self) -> Vec<(&'static str, E)> {
        let mut list = vec![
            ("id", self.id),
            ("device_id", self.device_id),
            ("pid_valid", self.pid_valid),
            ("process_id", self.process_id),
            ("priv", self.privileged),
            ("exec", self.exec),
            ("write", self.write),
            ("at", self.at),
        ];
        list.extend(self.data.map(|data| ("data", data)));
        list.extend(self.debug.map(|debug| ("debug", debug)));
        list.extend(self.cxl.map(|cxl| ("cxl", cxl)));
        list.extend(self.message.map(|message| ("message", message)));
        list.push(("iova", self.iova));
        list
    }

    /// Input ports `PREFIX_*`.
    pub fn inputs(m: &mut Module, d: &Design, prefix: &str) -> RequestSignals {
        RequestSignals::from_fn(d, |name, width| m.input(&format!("{prefix}_{name}"), width))
    }

    /// Input ports `PREFIX_*` of the core: these are requests of devices, not of the debug interface, and no messages.
    pub fn ports(m: &mut Module, d: &Design, prefix: &str) -> RequestSignals {
        RequestSignals::from_fn(d, |name, width| match name {
            "debug" | "message" => lit(0, width),
            name => m.input(&format!("{prefix}_{name}"), width),
        })
    }

    /// Output ports `PREFIX_*`.
    pub fn outputs(&self, m: &mut Module, prefix: &str) {
        for (name, e) in self.fields() {
            m.output(&format!("{prefix}_{name}"), e);
        }
    }

    /// Registers `PREFIX_*` without reset.
    pub fn registers(m: &mut Module, d: &Design, prefix: &str) -> RequestSignals {
        RequestSignals::from_fn(d, |name, width| m.reg_data(&format!("{prefix}_{name}"), width))
    }

    /// The outputs `PREFIX_*` of a child.
    pub fn of(d: &Design, child: &Instance, prefix: &str) -> RequestSignals {
        RequestSignals::from_fn(d, |name, _| child.out(&format!("{prefix}_{name}")))
    }

    /// Connects the inputs `PREFIX_*` of a child.
    pub fn connect(&self, m: &mut Module, child: &Instance, prefix: &str) {
        for (name, e) in self.fields() {
            child.connect(m, &format!("{prefix}_{name}"), e);
        }
    }

    /// Sets registers made by [`registers`](Self::registers).
    pub fn set(&self, m: &mut Module, value: &RequestSignals) {
        for ((_, register), (_, value)) in self.fields().into_iter().zip(value.fields()) {
            m.set(register, value);
        }
    }

    /// As words: everything but address and data, the address, and the data where there are any.
    #[names]
    pub fn pack(&self) -> Vec<E> {
        let ids: Vec<E> =
            self.fields().into_iter().filter(|(name, _)| !is_word(name)).map(|(_, e)| e).collect();
        [cat(&ids), self.iova].into_iter().chain(self.data).collect()
    }

    /// Bits of the first word of [`pack`](Self::pack).
    pub fn width(d: &Design) -> u32 {
        let mut total = 0;
        RequestSignals::from_fn(d, |name, width| {
            total += if is_word(name) { 0 } else { width };
            lit(0, width)
        });
        total
    }

    /// From the words of [`pack`](Self::pack).
    #[names]
    pub fn unpack(d: &Design, words: &[E]) -> RequestSignals {
        let mut top = RequestSignals::width(d);
        RequestSignals::from_fn(d, |name, width| match name {
            "iova" => words[1],
            "data" => words[2],
            _ => {
                top -= width;
                words[0].bits(top, width)
            }
        })
    }

    /// Without a process_id, process_id and privilege are 0, whatever the device drives. (Section "IOMMU Translation
    /// process": requests without a process_id have User privilege.)
    pub fn normal(self) -> RequestSignals {
        RequestSignals {
            process_id: self.pid_valid.gate(self.process_id),
            privileged: self.privileged & self.pid_valid,
            ..self
        }
    }

    /// One hot bit of the six permissions of a [`TranslationSignals`] that this access needs.
    #[names]
    pub fn needs(&self) -> E {
        let kinds = [self.exec, self.write & !self.exec, !self.write & !self.exec];
        let bits: Vec<E> = [self.privileged, !self.privileged]
            .iter()
            .flat_map(|level| kinds.iter().map(move |kind| *level & *kind))
            .collect();
        cat(&bits)
    }
}

/// Whether a field of a request is a word of its own when the request is packed.
fn is_word(name: &str) -> bool {
    name == "iova" || name == "data"
}

/// The page-table formats that a design walks, smallest first.
pub fn geometries(d: &Design) -> Vec<&'static Geometry> {
    let mut list = vec![&page_table::SV39];
    if d.sv48 {
        list.push(&page_table::SV48);
    }
    if d.sv57 {
        list.push(&page_table::SV57);
    }
    list
}

/// Bits of a virtual page number that the IOTLB compares.
pub fn vpn_width(d: &Design) -> u32 {
    9 * d.page_table_levels()
}

/// Bits of a physical page number.
pub fn ppn_width(d: &Design) -> u32 {
    d.pas - u32::from(PAGE_SHIFT)
}

/// The page sizes of a design, in log2 of bytes, smallest first: 4 KiB, 64 KiB (NAPOT), 2 MiB, 4 MiB (where there are tables with
/// entries of 4 bytes), ...
///
/// A page is described by one mask bit for each size but the smallest: bit i is 1 when the page is at least as large as
/// `page_shifts[i + 1]`. So the smaller of two pages has the AND of their masks.
#[names]
pub fn page_shifts(d: &Design) -> Vec<u8> {
    let mut shifts = vec![PAGE_SHIFT, napot::GROUP_SHIFT];
    for level in 1..table_levels(d) as usize {
        shifts.push(page_table::SV57.levels[level].lo);
        if level == 1 && (d.sv32 || d.sv32x4) {
            shifts.push(page_table::SV32.levels[1].lo);
        }
    }
    shifts
}

/// Levels of the deepest page table of either stage.
pub fn table_levels(d: &Design) -> u32 {
    let second = [(d.sv57x4, 5), (d.sv48x4, 4)].into_iter().find(|(there, _)| *there);
    d.page_table_levels().max(second.map_or(0, |(_, levels)| levels))
}

/// Mask bits of a design.
pub fn mask_width(d: &Design) -> u32 {
    page_shifts(d).len() as u32 - 1
}

/// The parts of a page number of `width` bits that belong together, lowest first: the mask bit that takes the part from the
/// virtual address (`None`: always translated), its lowest bit, its width.
#[names]
pub fn segments(d: &Design, width: u32) -> Vec<(Option<u32>, u32, u32)> {
    let mut list = vec![];
    let mut lo = 0;
    for (i, shift) in page_shifts(d)[1..].iter().enumerate() {
        let end = (u32::from(*shift) - u32::from(PAGE_SHIFT)).min(width);
        if end > lo {
            list.push((Some(i as u32), lo, end - lo));
            lo = end;
        }
    }
    if width > lo {
        list.push((None, lo, width - lo));
    }
    list
}

/// Whether `device_id` has more bits than the device directory of this `ddtp.iommu_mode`. (Section "Process to translate an IOVA".)
#[names]
pub fn device_id_too_wide(d: &Design, ddtp_mode: E, device_id: E) -> E {
    any_of([iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3].map(|mode| {
        let levels = iommu_mode::levels(mode).unwrap_or(1);
        ddtp_mode.is(mode) & beyond(device_id, device_id_bits(d.extended_contexts(), levels).into())
    }))
}

/// Whether the part of `id` beyond its low `width` bits is not 0.
pub fn beyond(id: E, width: u32) -> E {
    if width < id.width() { id.bits(width, id.width() - width).any() } else { lo() }
}

/// Whether this `ddtp.iommu_mode` has a device directory.
pub fn has_directory(ddtp_mode: E) -> E {
    !ddtp_mode.is(iommu_mode::OFF) & !ddtp_mode.is(iommu_mode::BARE)
}

/// log2 of the page size in bytes, 6 bits.
#[names]
pub fn page_size(d: &Design, mask: E) -> E {
    let shifts = page_shifts(d);
    shifts[1..].iter().enumerate().fold(lit(u64::from(shifts[0]), 6), |size, (i, s)| {
        mask.bit(i as u32).mux(lit(u64::from(*s), 6), size)
    })
}

/// Whether the bits of `iova` above the compared page number are its sign extension.
pub fn is_canonical(d: &Design, iova: E) -> E {
    sign_extends(iova, vpn_width(d) + u32::from(PAGE_SHIFT))
}

/// Whether `iova` is the sign extension of its low `bits` bits.
#[names]
pub fn sign_extends(iova: E, bits: u32) -> E {
    let top = iova.bits(bits - 1, 64 - bits + 1);
    top.all() | top.none()
}

/// A complete translation of one page.
#[derive(Clone, Copy)]
pub struct TranslationSignals {
    /// Physical page number; bits under the mask have no meaning.
    pub ppn: E,
    /// Page size: see [`page_shifts`].
    pub mask: E,
    /// Supervisor X, W, R, then user X, W, R; writes only where D allows them.
    pub permissions: E,
    /// The mapping is global.
    pub global: E,
    /// Address-space tag.
    pub pscid: E,
    /// There is a second stage (`iohgatp.MODE` is not Bare); only in designs with one.
    pub two_stage: Option<E>,
    /// Tag of the virtual machine, 0 without a second stage; only in designs with one.
    pub gscid: Option<E>,
    /// The first stage's page is larger: others of its parts may be cached, too, and an invalidation of any address in it is about
    /// all of them; only in designs with a second stage.
    pub fractured: Option<E>,
    /// Memory type: the first stage's unless that says PMA; only in designs with Svpbmt.
    pub pbmt: Option<E>,
    /// `DC.ta.RCID`; only in designs with QoS ids.
    pub rcid: Option<E>,
    /// `DC.ta.MCID`; only in designs with QoS ids.
    pub mcid: Option<E>,
}

impl Named for TranslationSignals {
    fn call_all(&self, name: &str) {
        for (field, e) in self.fields() {
            e.call(&format!("{name}_{field}"));
        }
    }
}

impl TranslationSignals {
    /// A translation whose every signal comes from `f(name, width)`.
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> TranslationSignals {
        TranslationSignals {
            ppn: f("ppn", ppn_width(d)),
            mask: f("mask", mask_width(d)),
            permissions: f("permissions", 6),
            global: f("global", 1),
            pscid: f("pscid", 20),
            two_stage: d.second_stage().then(|| f("two_stage", 1)),
            gscid: d.second_stage().then(|| f("gscid", 16)),
            fractured: d.second_stage().then(|| f("fractured", 1)),
            pbmt: d.svpbmt.then(|| f("pbmt", 2)),
            rcid: d.qosid.then(|| f("rcid", 12)),
            mcid: d.qosid.then(|| f("mcid", 12)),
        }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    #[names]
    pub fn fields(&self) -> Vec<(&'static str, E)> {
        let optional = [
            ("two_stage", self.two_stage),
            ("gscid", self.gscid),
            ("fractured", self.fractured),
            ("pbmt", self.pbmt),
            ("rcid", self.rcid),
            ("mcid", self.mcid),
        ];
        let mut list = vec![
            ("ppn", self.ppn),
            ("mask", self.mask),
            ("permissions", self.permissions),
            ("global", self.global),
            ("pscid", self.pscid),
        ];
        list.extend(optional.into_iter().filter_map(|(name, e)| Some((name, e?))));
        list
    }

    /// All permissions, the gigabyte around `iova`, itself; every tag and attribute 0. (Section "PCIe ATS translation request handling"
    /// recommends a large range where nothing translates; every physical address space consists of whole gigabytes.)
    #[names]
    pub fn identity(d: &Design, iova: E) -> TranslationSignals {
        let within: Vec<E> = page_shifts(d)[1..].iter().rev().map(|s| lit(u64::from(*s <= 30), 1)).collect();
        TranslationSignals {
            ppn: iova.bits(PAGE_SHIFT.into(), ppn_width(d)),
            mask: cat(&within),
            permissions: hi().repeat(6),
            ..TranslationSignals::from_fn(d, |_, width| lit(0, width))
        }
    }

    /// The physical address of `iova`.
    #[names]
    pub fn spa(d: &Design, ppn: E, mask: E, iova: E) -> E {
        let offset = u32::from(PAGE_SHIFT);
        let mut parts = vec![iova.bits(0, offset)];
        for (mask_bit, lo, width) in segments(d, ppn_width(d)) {
            let own = ppn.bits(lo, width);
            parts.push(mask_bit.map_or(own, |i| mask.bit(i).mux(iova.bits(lo + offset, width), own)));
        }
        parts.reverse();
        cat(&parts)
    }
}
