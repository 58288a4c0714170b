//! A translation request and a translation, as groups of signals that blocks hand to each other.

use crate::design::Design;
use pasidon_hdl::{Bundle, E, Module, any_of, bundle, cat, hi, lit, lo, names};
use pasidon_spec::ddt::{device_id_bits, iommu_mode};
use pasidon_spec::page_table::{self, Geometry, PAGE_SHIFT, napot};

bundle! {
    /// What a device asks: one untranslated access, ATS translation request or translated access.
    pub struct RequestSignals(d: Design) {
        /// Chosen by the device; comes back with the response.
        id: d.id_width;
        /// The hardware ID of the device.
        device_id: d.device_id_width;
        /// The request has a process_id.
        pid_valid: 1;
        /// The process_id (PASID); 0 when it is not valid.
        process_id: d.process_id_width;
        /// Supervisor privilege is requested; 0 without a process_id.
        privileged as "priv": 1;
        /// Read for execute.
        exec: 1;
        /// Write or atomic operation.
        write: 1;
        /// Address type: 0 untranslated, 1 ATS translation request, 2 translated.
        at: 2;
        /// The 32-bit word that a write carries, if it is one that may be a message to a memory-resident interrupt file.
        data: 32, if d.msi_mrif, word 2;
        /// It comes from the debug interface: nothing is stored in a memory-resident interrupt file.
        debug: 1, if d.debug && d.msi_mrif;
        /// It comes from a CXL device of type 1 or 2.
        cxl: 1, if d.ats;
        /// It is a message: only the device context is looked up.
        message: 1, if d.ats;
        /// I/O virtual address; of a translated request, what ATS made of one.
        iova: 64, word 1;
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

    /// Input ports `PREFIX_*` of the core: these are requests of devices, not of the debug interface, and no messages.
    pub fn ports(m: &mut Module, d: &Design, prefix: &str) -> RequestSignals {
        RequestSignals::from_fn(d, |name, width| match name {
            "debug" | "message" => lit(0, width),
            name => m.input(&format!("{prefix}_{name}"), width),
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

bundle! {
    /// A complete translation of one page.
    pub struct TranslationSignals(d: Design) {
        /// Physical page number; bits under the mask have no meaning.
        ppn: ppn_width(d);
        /// Page size: see [`page_shifts`].
        mask: mask_width(d);
        /// Supervisor X, W, R, then user X, W, R; writes only where D allows them.
        permissions: 6;
        /// The mapping is global.
        global: 1;
        /// Address-space tag.
        pscid: 20;
        /// There is a second stage (`iohgatp.MODE` is not Bare).
        two_stage: 1, if d.second_stage();
        /// Tag of the virtual machine, 0 without a second stage.
        gscid: 16, if d.second_stage();
        /// The first stage's page is larger: others of its parts may be cached, too, and an invalidation of any address in it is
        /// about all of them.
        fractured: 1, if d.second_stage();
        /// Memory type: the first stage's unless that says PMA.
        pbmt: 2, if d.svpbmt;
        /// `DC.ta.RCID`.
        rcid: 12, if d.qosid;
        /// `DC.ta.MCID`.
        mcid: 12, if d.qosid;
    }
}

impl TranslationSignals {
    /// All permissions, the gigabyte around `iova`, itself; every tag and attribute 0. (Section "PCIe ATS translation request handling"
    /// recommends a large range where nothing translates; every physical address space consists of whole gigabytes.)
    #[names]
    pub fn identity(d: &Design, iova: E) -> TranslationSignals {
        let within: Vec<E> = page_shifts(d)[1..].iter().rev().map(|s| lit(u64::from(*s <= 30), 1)).collect();
        TranslationSignals {
            ppn: iova.bits(PAGE_SHIFT.into(), ppn_width(d)),
            mask: cat(&within),
            permissions: hi().repeat(6),
            ..TranslationSignals::zero(d)
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
