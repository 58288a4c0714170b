//! A design: every parameter of the hardware, read from a TOML file.
//!
//! All parameters are run-time values of the generator. [`KEYS`] is the one list of them: section, key, legal values and
//! meaning; parsing, error messages, `design.json` and documentation all follow it. A design file sets every key, or names
//! one of the shipped designs as its `base` and sets only those that differ. Beside them stands `[emit]` ([`Emission`]), which changes
//! names and form of the Verilog and may be left out:
//!
//! ```
//! use pasidon_rtl::design::Design;
//! let design = Design::from_toml("base = \"default\"\nname = \"mine\"\n[tlb]\nl1_entries = 32\n", "mine.toml")?;
//! assert_eq!((design.l1_entries, design.walkers), (32, 2));
//! # Ok::<(), pasidon_rtl::design::DesignError>(())
//! ```

mod checks;
mod emission;
mod error;
mod file;
mod keys;
#[cfg(test)]
mod tests;

pub use emission::{EMISSION_KEYS, Emission, EmissionKey};
pub use error::DesignError;
pub use keys::{KEYS, Key, Legal};

use sha2::{Digest, Sha256};

/// A resolved, valid design. Counts are in units of the thing counted, widths in bits.
///
/// Built only by [`Design::from_toml`], [`Design::shipped`] and [`Design::load`], which check every value; code that changes
/// a field afterwards calls [`Design::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Name, for the banner of the Verilog and for reports.
    pub name: String,
    /// How the Verilog is written.
    pub emit: Emission,
    /// Translation ports, 1 to 8.
    pub ports: u32,
    /// Width of a request id in bits, 1 to 16.
    pub id_width: u32,
    /// Entries of each port's fully associative IOTLB, 1 to 128.
    pub l1_entries: u32,
    /// Sets of the shared IOTLB: 0 (there is none) or a power of two up to 4096.
    pub l2_sets: u32,
    /// Ways of the shared IOTLB, 1 to 8; 0 when there is none.
    pub l2_ways: u32,
    /// Entries of the miss table, 1 to 64.
    pub miss_entries: u32,
    /// Page-table walkers, 1 to 16.
    pub walkers: u32,
    /// Cached device contexts, 1 to 64.
    pub ddtc_entries: u32,
    /// Cached process contexts, 1 to 64.
    pub pdtc_entries: u32,
    /// Sv48 first-stage page tables.
    pub sv48: bool,
    /// Sv57 first-stage page tables.
    pub sv57: bool,
    /// Sv32 first-stage page tables (`DC.tc.SXL`).
    pub sv32: bool,
    /// Sv39x4 second-stage page tables.
    pub sv39x4: bool,
    /// Sv48x4 second-stage page tables.
    pub sv48x4: bool,
    /// Sv57x4 second-stage page tables.
    pub sv57x4: bool,
    /// Sv32x4 second-stage page tables (`fctl.GXL`).
    pub sv32x4: bool,
    /// Page-based memory types (Svpbmt).
    pub svpbmt: bool,
    /// PTE bits 60:59 for software (Svrsw60t59b).
    pub svrsw60t59b: bool,
    /// Hardware updates of A and D bits with exclusive accesses (`capabilities.AMO_HWAD`).
    pub amo_hwad: bool,
    /// Tables and queues may be big-endian (`capabilities.END`).
    pub big_endian: bool,
    /// Physical address width in bits, 32 to 56 (`capabilities.PAS`).
    pub pas: u32,
    /// Width of a device_id in bits, 1 to 24.
    pub device_id_width: u32,
    /// Width of a process_id in bits, 1 to 20.
    pub process_id_width: u32,
    /// One-level process directories (8-bit process_id).
    pub pd8: bool,
    /// Two-level process directories (17-bit process_id).
    pub pd17: bool,
    /// Three-level process directories (20-bit process_id).
    pub pd20: bool,
    /// MSI translation, flat mode; device contexts have the extended format.
    pub msi_flat: bool,
    /// MSI translation, memory-resident interrupt files.
    pub msi_mrif: bool,
    /// IOTINVAL with the NL operand (`capabilities.NL`).
    pub nl: bool,
    /// IOTINVAL with the S operand, address ranges (`capabilities.S`).
    pub s: bool,
    /// Quality-of-service ids (`capabilities.QOSID`).
    pub qosid: bool,
    /// Event counters of the performance monitor, 0 to 31.
    pub hpm_counters: u32,
    /// Cycle counter of the performance monitor.
    pub hpm_cycles: bool,
    /// Debug translation interface (`capabilities.DBG`).
    pub debug: bool,
    /// log2 of the most entries a command queue may have, 1 to 24.
    pub command_log2_max: u32,
    /// log2 of the most entries a fault queue may have, 1 to 24.
    pub fault_log2_max: u32,
    /// log2 of the most entries a page-request queue may have, 1 to 24.
    pub page_request_log2_max: u32,
    /// Interrupt vectors: 1, 2, 4, 8 or 16.
    pub vectors: u32,
    /// Interrupts as wires (`capabilities.IGS`).
    pub wired: bool,
    /// Interrupts as messages (`capabilities.IGS`).
    pub msi: bool,
    /// Address translation services and page requests (`capabilities.ATS`).
    pub ats: bool,
    /// Translation completions may hold guest physical addresses (`capabilities.T2GPA`).
    pub t2gpa: bool,
    /// ATS invalidation requests that may be in flight, 1 to 32.
    pub itags: u32,
    /// Clock cycles that a device has for its answers to an ATS invalidation request, at least.
    pub ats_timeout: u32,
}

impl Design {
    /// Whether there are process contexts at all.
    pub fn process_contexts(&self) -> bool {
        self.pd8 || self.pd17 || self.pd20
    }

    /// Whether there is a second stage: any mode of `iohgatp` but Bare.
    pub fn second_stage(&self) -> bool {
        self.sv32x4 || self.sv39x4
    }

    /// Whether device contexts have the extended format (64 bytes): `capabilities.MSI_FLAT`.
    pub fn extended_contexts(&self) -> bool {
        self.msi_flat
    }

    /// Whether there is a performance monitor: `capabilities.HPM`.
    pub fn monitor(&self) -> bool {
        self.hpm_cycles && self.hpm_counters > 0
    }

    /// Levels of the deepest first-stage page table: 3 (Sv39), 4 (Sv48) or 5 (Sv57).
    pub fn page_table_levels(&self) -> u32 {
        3 + u32::from(self.sv48) + u32::from(self.sv57)
    }

    /// Levels of the deepest process directory: 0 (none) to 3 (PD20).
    pub fn process_directory_levels(&self) -> u32 {
        [self.pd8, self.pd17, self.pd20].iter().rposition(|on| *on).map_or(0, |index| index as u32 + 1)
    }

    /// Whether there is an IOTLB that all ports share.
    pub fn has_l2(&self) -> bool {
        self.l2_sets > 0
    }

    /// Whether walks write to memory: A and D bits, or MSIs into memory-resident interrupt files.
    pub fn walks_write(&self) -> bool {
        self.amo_hwad || self.stores_msis()
    }

    /// Whether MSIs can be translated: `msiptp.MODE` must be Off without a second stage.
    pub fn translates_msis(&self) -> bool {
        self.msi_flat && self.second_stage()
    }

    /// Whether MSIs can go to memory-resident interrupt files.
    pub fn stores_msis(&self) -> bool {
        self.msi_mrif && self.second_stage()
    }

    /// Whether `fctl.GXL` is writable, and so `DC.tc.SXL` may be 1.
    pub fn has_narrow_tables(&self) -> bool {
        self.sv32 || self.sv32x4
    }

    /// Width of the widest guest physical address in bits, MGPAW. (Section "MSI address mask (msi_addr_mask) and pattern
    /// (msi_addr_pattern)".)
    pub fn guest_address_width(&self) -> u32 {
        let widths = [(self.sv57x4, 59), (self.sv48x4, 50), (self.sv39x4, 41), (self.sv32x4, 34)];
        widths.into_iter().find(|(on, _)| *on).map_or(self.pas, |(_, width)| width)
    }

    /// Bits of a guest physical address beyond a physical one, in designs that answer with guest physical addresses.
    pub fn guest_beyond(&self) -> u32 {
        if self.t2gpa { self.guest_address_width().saturating_sub(self.pas) } else { 0 }
    }

    /// SHA-256 of the parameters alone, without the name of the design and how its Verilog is written: equal for equal hardware.
    pub fn nameless_hash(&self) -> String {
        sha256(&self.parameters(""))
    }

    /// SHA-256 of the resolved design in lower-case hexadecimal. Equal designs have equal hashes, however they were written.
    pub fn hash(&self) -> String {
        sha256(&(self.parameters(&self.name) + &self.emit.text()))
    }

    fn parameters(&self, name: &str) -> String {
        let mut text = format!("name={name}\n");
        for key in KEYS {
            text += &format!("{}={}\n", key.path(), key.get(self));
        }
        text
    }
}

fn sha256(text: &str) -> String {
    format!("{:x}", Sha256::digest(text.as_bytes()))
}
