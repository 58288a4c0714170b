//! Device and process contexts as the hardware keeps them: checked, without what no later step reads.

use crate::design::Design;
use crate::signals::request::ppn_width;
use pasidon_hdl::{E, Module, Named, any_of, cat, lit, names};
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

/// A pointer to a table: mode and page number.
#[derive(Clone, Copy)]
pub struct Pointer {
    /// `iosatp.MODE`, `pdtp.MODE` or `iohgatp.MODE`.
    pub mode: E,
    /// Page number of the root.
    pub ppn: E,
}

/// A field of a context: the number of its word (words without a field do not exist), its name, its width, which is 0 where the
/// design does not have it.
type Part = (u32, &'static str, u32);

/// A context as words of at most 64 bits: wider signals are slow to simulate and gain nothing in hardware.
pub type Words = Vec<E>;

fn present(parts: Vec<Part>) -> Vec<Part> {
    parts.into_iter().filter(|(.., width)| *width > 0).collect()
}

/// Widths of the words that fields are part of.
fn word_widths(parts: &[Part]) -> Vec<u32> {
    parts.chunk_by(|a, b| a.0 == b.0).map(|word| word.iter().map(|(.., width)| width).sum()).collect()
}

/// Fields as words.
#[names]
fn pack(parts: &[Part], get: &dyn Fn(&str) -> E) -> Words {
    let word = |parts: &[Part]| cat(&parts.iter().map(|(_, name, _)| get(name)).collect::<Vec<_>>());
    parts.chunk_by(|a, b| a.0 == b.0).map(word).collect()
}

/// The field `name` of words; the constant 0 in `width` bits where the design does not have it.
#[names]
fn unpack(parts: &[Part], words: &[E], name: &str, width: u32) -> E {
    for (parts, word) in parts.chunk_by(|a, b| a.0 == b.0).zip(words) {
        let mut top = word.width();
        for (_, part, bits) in parts {
            top -= bits;
            if *part == name {
                return word.bits(top, *bits);
            }
        }
    }
    lit(0, width)
}

/// A device context. What a design does not have is the constant 0.
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
    /// A and D bits of first-stage entries are updated.
    pub sade: E,
    /// A and D bits of second-stage entries are updated.
    pub gade: E,
    /// Process directory and first-stage tables are big-endian.
    pub sbe: E,
    /// The first stage is Sv32 or Bare.
    pub sxl: E,
    /// The device may use ATS.
    pub en_ats: E,
    /// The device may send page requests.
    pub en_pri: E,
    /// Responses that the IOMMU itself makes have a PASID if the page request had one.
    pub prpr: E,
    /// ATS gives the device guest physical addresses.
    pub t2gpa: E,
    /// Tag of the virtual machine.
    pub gscid: E,
    /// Second stage.
    pub iohgatp: Pointer,
    /// `msiptp.MODE` is Flat.
    pub msi: E,
    /// Resource control identifier.
    pub rcid: E,
    /// Monitoring counter identifier.
    pub mcid: E,
    /// Page number of the MSI page table.
    pub msi_ppn: E,
    /// Guest page number bits that are not compared with `msi_pattern`.
    pub msi_mask: E,
    /// Guest page numbers of interrupt files.
    pub msi_pattern: E,
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

/// The fields of a [`DeviceContext`].
fn device_context_parts(d: &Design) -> Vec<Part> {
    let on = |there: bool, width: u32| if there { width } else { 0 };
    let (second, msi) = (d.second_stage(), d.translates_msis());
    let page = d.guest_address_width() - 12;
    present(vec![
        (0, "dtf", 1),
        (0, "pdtv", 1),
        (0, "dpe", 1),
        (0, "pscid", 20),
        (0, "mode", 4),
        (0, "sade", on(d.amo_hwad, 1)),
        (0, "gade", on(d.amo_hwad && second, 1)),
        (0, "sbe", on(d.big_endian, 1)),
        (0, "sxl", on(d.has_narrow_tables(), 1)),
        (0, "en_ats", on(d.ats, 1)),
        (0, "en_pri", on(d.ats, 1)),
        (0, "prpr", on(d.ats, 1)),
        (0, "t2gpa", on(d.t2gpa, 1)),
        (0, "gscid", on(second, 16)),
        (0, "gmode", on(second, 4)),
        (0, "msi", on(msi, 1)),
        (1, "ppn", first_stage_ppn_width(d)),
        (2, "gppn", on(second, ppn_width(d))),
        (3, "rcid", on(d.qosid, 12)),
        (3, "mcid", on(d.qosid, 12)),
        (4, "msi_ppn", on(msi, ppn_width(d))),
        (5, "msi_mask", on(msi, page)),
        (6, "msi_pattern", on(msi, page)),
    ])
}

/// The fields of a [`ProcessContext`].
fn process_context_parts(d: &Design) -> Vec<Part> {
    present(vec![
        (0, "ens", 1),
        (0, "sum", 1),
        (0, "pscid", 20),
        (0, "mode", 4),
        (1, "ppn", first_stage_ppn_width(d)),
    ])
}

/// Widths of the words of a [`DeviceContext`].
pub fn device_context_widths(d: &Design) -> Vec<u32> {
    word_widths(&device_context_parts(d))
}

/// Widths of the words of a [`ProcessContext`].
pub fn process_context_widths(d: &Design) -> Vec<u32> {
    word_widths(&process_context_parts(d))
}

impl Named for DeviceContext {
    fn call_all(&self, name: &str) {
        for (field, e) in self.fields() {
            e.call(&format!("{name}_{field}"));
        }
    }
}

impl DeviceContext {
    #[names]
    fn from_fn(d: &Design, mut f: impl FnMut(&'static str, u32) -> E) -> DeviceContext {
        let dtf = f("dtf", 1);
        let pdtv = f("pdtv", 1);
        let dpe = f("dpe", 1);
        let pscid = f("pscid", 20);
        let mode = f("mode", 4);
        let sade = f("sade", 1);
        let gade = f("gade", 1);
        let sbe = f("sbe", 1);
        let sxl = f("sxl", 1);
        let en_ats = f("en_ats", 1);
        let en_pri = f("en_pri", 1);
        let prpr = f("prpr", 1);
        let t2gpa = f("t2gpa", 1);
        let gscid = f("gscid", 16);
        let gmode = f("gmode", 4);
        let msi = f("msi", 1);
        let ppn = f("ppn", first_stage_ppn_width(d));
        let gppn = f("gppn", ppn_width(d));
        let rcid = f("rcid", 12);
        let mcid = f("mcid", 12);
        let msi_ppn = f("msi_ppn", ppn_width(d));
        let msi_mask = f("msi_mask", d.guest_address_width() - 12);
        let msi_pattern = f("msi_pattern", d.guest_address_width() - 12);
        DeviceContext {
            dtf,
            pdtv,
            dpe,
            pscid,
            fsc: Pointer { mode, ppn },
            sade,
            gade,
            sbe,
            sxl,
            en_ats,
            en_pri,
            prpr,
            t2gpa,
            gscid,
            iohgatp: Pointer { mode: gmode, ppn: gppn },
            msi,
            rcid,
            mcid,
            msi_ppn,
            msi_mask,
            msi_pattern,
        }
    }

    fn fields(&self) -> [(&'static str, E); 23] {
        [
            ("dtf", self.dtf),
            ("pdtv", self.pdtv),
            ("dpe", self.dpe),
            ("pscid", self.pscid),
            ("mode", self.fsc.mode),
            ("sade", self.sade),
            ("gade", self.gade),
            ("sbe", self.sbe),
            ("sxl", self.sxl),
            ("en_ats", self.en_ats),
            ("en_pri", self.en_pri),
            ("prpr", self.prpr),
            ("t2gpa", self.t2gpa),
            ("gscid", self.gscid),
            ("gmode", self.iohgatp.mode),
            ("msi", self.msi),
            ("ppn", self.fsc.ppn),
            ("gppn", self.iohgatp.ppn),
            ("rcid", self.rcid),
            ("mcid", self.mcid),
            ("msi_ppn", self.msi_ppn),
            ("msi_mask", self.msi_mask),
            ("msi_pattern", self.msi_pattern),
        ]
    }

    /// Registers for a context; what the design does not have is the constant 0.
    pub fn registers(m: &mut Module, d: &Design) -> DeviceContext {
        let parts = device_context_parts(d);
        DeviceContext::from_fn(d, |name, width| match parts.iter().find(|part| part.1 == name) {
            Some((.., width)) => m.reg_data(&format!("dc_{name}"), *width),
            None => lit(0, width),
        })
    }

    /// As words.
    pub fn pack(&self, d: &Design) -> Words {
        let fields = self.fields();
        pack(&device_context_parts(d), &|name| {
            fields.iter().find(|field| field.0 == name).map_or_else(|| lit(0, 1), |field| field.1)
        })
    }

    /// From words.
    #[names]
    pub fn unpack(d: &Design, words: &[E]) -> DeviceContext {
        let parts = device_context_parts(d);
        DeviceContext::from_fn(d, |name, width| unpack(&parts, words, name, width))
    }

    /// Sets registers.
    pub fn set(&self, m: &mut Module, value: &DeviceContext) {
        for ((_, register), (_, value)) in self.fields().into_iter().zip(value.fields()) {
            if register.constant().is_none() {
                m.set(register, value);
            }
        }
    }
}

impl Named for ProcessContext {
    fn call_all(&self, name: &str) {
        for (field, e) in self.fields() {
            e.call(&format!("{name}_{field}"));
        }
    }
}

impl ProcessContext {
    #[names]
    fn from_fn(d: &Design, mut f: impl FnMut(&'static str, u32) -> E) -> ProcessContext {
        let ens = f("ens", 1);
        let sum = f("sum", 1);
        let pscid = f("pscid", 20);
        let mode = f("mode", 4);
        let ppn = f("ppn", first_stage_ppn_width(d));
        ProcessContext { ens, sum, pscid, fsc: Pointer { mode, ppn } }
    }

    fn fields(&self) -> [(&'static str, E); 5] {
        [
            ("ens", self.ens),
            ("sum", self.sum),
            ("pscid", self.pscid),
            ("mode", self.fsc.mode),
            ("ppn", self.fsc.ppn),
        ]
    }

    /// Registers for a context; what the design does not have is the constant 0.
    pub fn registers(m: &mut Module, d: &Design) -> ProcessContext {
        let parts = process_context_parts(d);
        ProcessContext::from_fn(d, |name, width| match parts.iter().find(|part| part.1 == name) {
            Some((.., width)) => m.reg_data(&format!("pc_{name}"), *width),
            None => lit(0, width),
        })
    }

    /// As words.
    pub fn pack(&self, d: &Design) -> Words {
        let fields = self.fields();
        pack(&process_context_parts(d), &|name| {
            fields.iter().find(|field| field.0 == name).map_or_else(|| lit(0, 1), |field| field.1)
        })
    }

    /// From words.
    #[names]
    pub fn unpack(d: &Design, words: &[E]) -> ProcessContext {
        let parts = process_context_parts(d);
        ProcessContext::from_fn(d, |name, width| unpack(&parts, words, name, width))
    }

    /// Sets registers.
    pub fn set(&self, m: &mut Module, value: &ProcessContext) {
        for ((_, register), (_, value)) in self.fields().into_iter().zip(value.fields()) {
            if register.constant().is_none() {
                m.set(register, value);
            }
        }
    }
}
