//! What the IOMMU can do.

use crate::mm::PageTableMode;
use pasidon_spec::registers::{capabilities as reg, igs};

/// The value of the `capabilities` register (section "IOMMU capabilities").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub(crate) u64);

impl Capabilities {
    /// The register as it was read.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The version of the specification, major in the high nibble: 0x10 is 1.0.
    pub const fn version(self) -> u8 {
        reg::VERSION.get(self.0) as u8
    }

    /// The width of physical addresses in bits.
    pub const fn address_width(self) -> u32 {
        reg::PAS.get(self.0) as u32
    }

    /// Whether page tables of this format can be walked.
    pub const fn page_table(self, mode: PageTableMode) -> bool {
        match mode {
            PageTableMode::Sv39 => reg::SV39.is_set(self.0),
            PageTableMode::Sv48 => reg::SV48.is_set(self.0),
            PageTableMode::Sv57 => reg::SV57.is_set(self.0),
        }
    }

    /// Whether process directories of this many levels (1: PD8, 2: PD17, 3: PD20) are supported.
    pub const fn process_directory(self, levels: usize) -> bool {
        match levels {
            1 => reg::PD8.is_set(self.0),
            2 => reg::PD17.is_set(self.0),
            3 => reg::PD20.is_set(self.0),
            _ => false,
        }
    }

    /// Whether ATS and the page-request interface are supported.
    pub const fn ats(self) -> bool {
        reg::ATS.is_set(self.0)
    }

    /// Whether device contexts have the extended format of 64 bytes.
    pub const fn extended_contexts(self) -> bool {
        reg::MSI_FLAT.is_set(self.0)
    }

    /// Whether the IOMMU can set the A and D bits of page-table entries itself.
    pub const fn updates_ad(self) -> bool {
        reg::AMO_HWAD.is_set(self.0)
    }

    /// Whether interrupts can be signalled by messages.
    pub const fn message_interrupts(self) -> bool {
        matches!(reg::IGS.get(self.0), igs::MSI | igs::BOTH)
    }

    /// Whether interrupts can be signalled by wire.
    pub const fn wired_interrupts(self) -> bool {
        matches!(reg::IGS.get(self.0), igs::WSI | igs::BOTH)
    }

    /// Whether there is a second stage, whose caches then need emptying at the start.
    pub(crate) const fn second_stage(self) -> bool {
        let formats = reg::SV32X4.mask() | reg::SV39X4.mask() | reg::SV48X4.mask() | reg::SV57X4.mask();
        self.0 & formats != 0
    }
}
