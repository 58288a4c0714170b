//! The device directory: a radix tree of one, two or three levels, indexed by device_id, whose leaves are
//! device contexts. (Sections "Device-Directory-Table (DDT)" and "Device-context fields".)
//!
//! A device context (DC) has 32 bytes in the base format, and 64 in the extended format, which is used if
//! `capabilities.MSI_FLAT` is 1. It is a sequence of 64-bit doublewords in the byte order of `fctl.BE`.

use crate::field::{Level, Word};

/// Bytes of a non-leaf entry.
pub const DDTE_BYTES: u64 = 8;
/// Bytes of a device context in the base format.
pub const BASE_DC_BYTES: u64 = 32;
/// Bytes of a device context in the extended format.
pub const EXT_DC_BYTES: u64 = 64;

/// DDI\[0\], DDI\[1\], DDI\[2\]: the slices of the device_id that index the leaf, middle and root tables of device
/// contexts in the base format.
pub const BASE_DDI: [Level; 3] =
    [Level { lo: 0, width: 7 }, Level { lo: 7, width: 9 }, Level { lo: 16, width: 8 }];

/// DDI\[0\], DDI\[1\], DDI\[2\] with device contexts in the extended format.
pub const EXT_DDI: [Level; 3] =
    [Level { lo: 0, width: 6 }, Level { lo: 6, width: 9 }, Level { lo: 15, width: 9 }];

encodings! {
    /// Encodings of `ddtp.iommu_mode`. 5 to 13 are reserved, 14 and 15 are for custom use.
    iommu_mode {
        /// All inbound transactions are refused.
        OFF "Off" = 0;
        /// Untranslated requests pass without translation or protection; all others are refused.
        BARE "Bare" = 1;
        /// Device directory of one level.
        LVL1 "1LVL" = 2;
        /// Device directory of two levels.
        LVL2 "2LVL" = 3;
        /// Device directory of three levels.
        LVL3 "3LVL" = 4;
    }

    /// Number of directory levels in `mode`; `None` for a mode without a directory and for reserved encodings.
    pub const fn levels(mode: u64) -> Option<usize> {
        match mode {
            LVL1 => Some(1),
            LVL2 => Some(2),
            LVL3 => Some(3),
            _ => None,
        }
    }
}

/// Number of low bits of the device_id that a directory of `levels` levels (1 to 3) can index.
pub const fn device_id_bits(extended: bool, levels: usize) -> u8 {
    let top = if extended { EXT_DDI[levels - 1] } else { BASE_DDI[levels - 1] };
    top.lo + top.width
}

word! {
    /// Non-leaf directory entry: points to the table of the next level. (Section "Non-leaf DDT entry".)
    ddte "ddte" @ 0, 64 bits {
        /// The entry is valid. If 0, the other bits have no meaning.
        V "V" [0] RW;
        /// Physical page number of the next level's table.
        PPN "PPN" [53:10] RW;
    }
}

/// The doublewords of a device context.
pub mod dc {
    use super::Word;

    word! {
        /// Translation control. (Section "Translation control (tc)".)
        tc "tc" @ 0, 64 bits {
            /// The device context is valid. If 0, the other bits have no meaning.
            V "V" [0] RW;
            /// The device may use ATS: translated requests, translation requests, invalidation completions.
            EN_ATS "EN_ATS" [1] RW;
            /// The device may send page requests. Needs `EN_ATS`.
            EN_PRI "EN_PRI" [2] RW;
            /// ATS completions return guest physical addresses, and translated requests pass the second stage.
            T2GPA "T2GPA" [3] RW;
            /// Faults of the device's translations are not reported; the device still gets its error response.
            DTF "DTF" [4] RW;
            /// `fsc` holds a process-directory pointer (`pdtp`); if 0, it holds `iosatp`.
            PDTV "PDTV" [5] RW;
            /// Page-request group responses made by the IOMMU carry a PASID if the request did. Needs `EN_PRI`.
            PRPR "PRPR" [6] RW;
            /// The IOMMU updates A and D bits of second-stage entries; if 0, clear bits fault. Needs `AMO_HWAD`.
            GADE "GADE" [7] RW;
            /// The IOMMU updates A and D bits of first-stage entries; if 0, clear bits fault. Needs `AMO_HWAD`.
            SADE "SADE" [8] RW;
            /// Requests without a process_id use process_id 0. Needs `PDTV`.
            DPE "DPE" [9] RW;
            /// Process directory and first-stage tables are big-endian.
            SBE "SBE" [10] RW;
            /// Selects the first-stage modes: 0 for Sv39, Sv48, Sv57; 1 for Sv32.
            SXL "SXL" [11] RW;
            /// Designated for custom use; not checked.
            CUSTOM "custom" [31:24] Reserved;
        }
    }

    word! {
        /// Second-stage translation. (Section "IO hypervisor guest address translation and protection (iohgatp)".)
        iohgatp "iohgatp" @ 8, 64 bits {
            /// Physical page number of the root table, which has 16 KiB and is aligned to 16 KiB.
            PPN "PPN" [43:0] RW;
            /// Guest soft-context identifier: the tag of the virtual machine's address space.
            GSCID "GSCID" [59:44] RW;
            /// [Second-stage mode](crate::page_table::iohgatp_mode).
            MODE "MODE" [63:60] RW;
        }
    }

    word! {
        /// Translation attributes. (Section "Translation attributes (ta)".)
        ta "ta" @ 16, 64 bits {
            /// Process soft-context identifier: the tag of the address space. Used if `tc.PDTV` is 0.
            PSCID "PSCID" [31:12] RW;
            /// Resource control identifier. Reserved if `capabilities.QOSID` is 0.
            RCID "RCID" [51:40] RW;
            /// Monitoring counter identifier. Reserved if `capabilities.QOSID` is 0.
            MCID "MCID" [63:52] RW;
        }
    }

    word! {
        /// First-stage context: `iosatp` if `tc.PDTV` is 0, `pdtp` if it is 1. (Section "First-Stage context (fsc)".)
        fsc "fsc" @ 24, 64 bits {
            /// Page number of the root page table or root process directory; a guest's, if there is a second stage.
            PPN "PPN" [43:0] RW;
            /// [First-stage mode](crate::page_table::iosatp_mode) or [process-directory mode](crate::pdt::pdtp_mode).
            MODE "MODE" [63:60] RW;
        }
    }

    word! {
        /// MSI page-table pointer. Extended format only. (Section "MSI page table pointer (msiptp)".)
        msiptp "msiptp" @ 32, 64 bits {
            /// Physical page number of the root MSI page table.
            PPN "PPN" [43:0] RW;
            /// [MSI page-table mode](super::msiptp_mode).
            MODE "MODE" [63:60] RW;
        }
    }

    word! {
        /// Which address bits are not compared with `msi_addr_pattern`. Extended format only. (Section "MSI address
        /// mask (msi_addr_mask) and pattern (msi_addr_pattern)".)
        msi_addr_mask "msi_addr_mask" @ 40, 64 bits {
            /// Mask of guest page number bits; those beyond the widest guest physical address are reserved.
            MASK "mask" [51:0] RW;
        }
    }

    word! {
        /// Guest pages that are virtual interrupt files. Extended format only. (Section "MSI address mask
        /// (msi_addr_mask) and pattern (msi_addr_pattern)".)
        msi_addr_pattern "msi_addr_pattern" @ 48, 64 bits {
            /// Pattern of guest page number bits; those beyond the widest guest physical address are reserved.
            PATTERN "pattern" [51:0] RW;
        }
    }

    word! {
        /// Last doubleword of the extended format. Must be 0.
        reserved "reserved" @ 56, 64 bits {}
    }

    encodings! {
        /// Encodings of `msiptp.MODE`. 2 to 13 are reserved, 14 and 15 are for custom use.
        msiptp_mode {
            /// No page is a virtual interrupt file. Required if `iohgatp.MODE` is Bare.
            OFF "Off" = 0;
            /// Flat MSI page table.
            FLAT "Flat" = 1;
        }
    }

    /// The doublewords of the base format.
    pub const BASE: &[&Word] = &[&tc::WORD, &iohgatp::WORD, &ta::WORD, &fsc::WORD];

    /// The doublewords of the extended format.
    pub const EXTENDED: &[&Word] = &[
        &tc::WORD,
        &iohgatp::WORD,
        &ta::WORD,
        &fsc::WORD,
        &msiptp::WORD,
        &msi_addr_mask::WORD,
        &msi_addr_pattern::WORD,
        &reserved::WORD,
    ];
}

/// A device context as its doublewords; the fields of each are in the module of [`dc`] with the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceContext {
    /// Translation control.
    pub tc: u64,
    /// Second-stage translation.
    pub iohgatp: u64,
    /// Translation attributes.
    pub ta: u64,
    /// First-stage context.
    pub fsc: u64,
    /// MSI page-table pointer; 0 in the base format.
    pub msiptp: u64,
    /// MSI address mask; 0 in the base format.
    pub msi_addr_mask: u64,
    /// MSI address pattern; 0 in the base format.
    pub msi_addr_pattern: u64,
}

impl DeviceContext {
    /// The doublewords of the base format; the MSI doublewords are dropped.
    pub const fn base(&self) -> [u64; 4] {
        [self.tc, self.iohgatp, self.ta, self.fsc]
    }

    /// The doublewords of the extended format.
    pub const fn extended(&self) -> [u64; 8] {
        [self.tc, self.iohgatp, self.ta, self.fsc, self.msiptp, self.msi_addr_mask, self.msi_addr_pattern, 0]
    }

    /// Reads the base format.
    pub const fn from_base(dwords: [u64; 4]) -> DeviceContext {
        let [tc, iohgatp, ta, fsc] = dwords;
        DeviceContext { tc, iohgatp, ta, fsc, msiptp: 0, msi_addr_mask: 0, msi_addr_pattern: 0 }
    }

    /// Reads the extended format; the reserved last doubleword is ignored.
    pub const fn from_extended(dwords: [u64; 8]) -> DeviceContext {
        let [tc, iohgatp, ta, fsc, msiptp, msi_addr_mask, msi_addr_pattern, _] = dwords;
        DeviceContext { tc, iohgatp, ta, fsc, msiptp, msi_addr_mask, msi_addr_pattern }
    }
}
