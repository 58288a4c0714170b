//! Page tables: their geometries as data, and the fields of their entries.
//!
//! A [`Geometry`] lists the slices of the address that index each level; a walker written against the list serves
//! all of them. The formats are those of the RISC-V Privileged specification (chapter "Supervisor-Level ISA", and
//! "Two-Stage Address Translation" for the x4 variants), with the Svnapot and Svpbmt extensions. The encodings of
//! the modes are in the IOMMU specification's sections on `iosatp` and `iohgatp`.

pub use crate::field::Level;

/// Logarithm to base 2 of the size of a base page: 4 KiB.
pub const PAGE_SHIFT: u8 = 12;
/// Bytes of a base page.
pub const PAGE_BYTES: u64 = 1 << PAGE_SHIFT;

/// One page-table format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The Privileged specification's name, for example `Sv39`.
    pub name: &'static str,
    /// Encoding in `iosatp.MODE`, or in `iohgatp.MODE` for the x4 formats.
    pub mode: u64,
    /// The slices of the address that index the tables. `levels[i]` is VPN\[i\]: 0 is the leaf level, the last is the
    /// root. A leaf entry found at level `i` maps `1 << levels[i].lo` bytes.
    pub levels: &'static [Level],
    /// Bytes of an entry: 8, or 4 for Sv32 and Sv32x4.
    pub pte_bytes: u8,
    /// Whether this is a second-stage format: the root table is four pages, and addresses are not sign-extended.
    pub x4: bool,
}

impl Geometry {
    /// Index of the root level in [`Geometry::levels`].
    pub const fn root(&self) -> usize {
        self.levels.len() - 1
    }

    /// Number of significant address bits.
    pub const fn address_bits(&self) -> u8 {
        let root = self.levels[self.root()];
        root.lo + root.width
    }

    /// Bytes that a leaf entry at `level` maps.
    ///
    /// # Panics
    /// If the format has no such level.
    pub const fn page_bytes(&self, level: usize) -> u64 {
        1 << self.levels[level].lo
    }

    /// Bytes of the root table, which is aligned to its size.
    pub const fn root_bytes(&self) -> u64 {
        (self.pte_bytes as u64) << self.levels[self.root()].width
    }

    /// Whether this format can translate `address` at all. In Sv39, Sv48 and Sv57 the bits above the significant
    /// ones must equal the highest significant bit; in the other formats they must be 0. An address that fails
    /// this is a page fault (x4: a guest-page fault).
    pub const fn is_canonical(&self, address: u64) -> bool {
        let bits = self.address_bits() as u32;
        if self.x4 || self.pte_bytes == 4 {
            address >> bits == 0
        } else {
            let sign_extended = ((address << (64 - bits)) as i64) >> (64 - bits);
            sign_extended as u64 == address
        }
    }
}

const SV32_LEVELS: &[Level] = &[Level { lo: 12, width: 10 }, Level { lo: 22, width: 10 }];
const SV32X4_LEVELS: &[Level] = &[Level { lo: 12, width: 10 }, Level { lo: 22, width: 12 }];

/// Slices of 9 bits from bit 12 upwards; the root slice is 11 bits in the x4 formats.
const L0: Level = Level { lo: 12, width: 9 };
const L1: Level = Level { lo: 21, width: 9 };
const L2: Level = Level { lo: 30, width: 9 };
const L3: Level = Level { lo: 39, width: 9 };
const L4: Level = Level { lo: 48, width: 9 };

/// Sv32: 32-bit addresses, two levels, pages of 4 KiB and 4 MiB.
pub const SV32: Geometry =
    Geometry { name: "Sv32", mode: iosatp_mode::SV32, levels: SV32_LEVELS, pte_bytes: 4, x4: false };

/// Sv39: 39-bit addresses, three levels, pages of 4 KiB, 2 MiB and 1 GiB.
pub const SV39: Geometry =
    Geometry { name: "Sv39", mode: iosatp_mode::SV39, levels: &[L0, L1, L2], pte_bytes: 8, x4: false };

/// Sv48: 48-bit addresses, four levels, pages of 4 KiB, 2 MiB, 1 GiB and 512 GiB.
pub const SV48: Geometry =
    Geometry { name: "Sv48", mode: iosatp_mode::SV48, levels: &[L0, L1, L2, L3], pte_bytes: 8, x4: false };

/// Sv57: 57-bit addresses, five levels, pages of 4 KiB, 2 MiB, 1 GiB, 512 GiB and 256 TiB.
pub const SV57: Geometry = Geometry {
    name: "Sv57",
    mode: iosatp_mode::SV57,
    levels: &[L0, L1, L2, L3, L4],
    pte_bytes: 8,
    x4: false,
};

/// Sv32x4: 34-bit guest physical addresses, two levels.
pub const SV32X4: Geometry =
    Geometry { name: "Sv32x4", mode: iohgatp_mode::SV32X4, levels: SV32X4_LEVELS, pte_bytes: 4, x4: true };

/// Sv39x4: 41-bit guest physical addresses, three levels.
pub const SV39X4: Geometry = Geometry {
    name: "Sv39x4",
    mode: iohgatp_mode::SV39X4,
    levels: &[L0, L1, Level { lo: 30, width: 11 }],
    pte_bytes: 8,
    x4: true,
};

/// Sv48x4: 50-bit guest physical addresses, four levels.
pub const SV48X4: Geometry = Geometry {
    name: "Sv48x4",
    mode: iohgatp_mode::SV48X4,
    levels: &[L0, L1, L2, Level { lo: 39, width: 11 }],
    pte_bytes: 8,
    x4: true,
};

/// Sv57x4: 59-bit guest physical addresses, five levels.
pub const SV57X4: Geometry = Geometry {
    name: "Sv57x4",
    mode: iohgatp_mode::SV57X4,
    levels: &[L0, L1, L2, L3, Level { lo: 48, width: 11 }],
    pte_bytes: 8,
    x4: true,
};

/// Every format, first stage before second stage.
pub const ALL: &[&Geometry] = &[&SV32, &SV39, &SV48, &SV57, &SV32X4, &SV39X4, &SV48X4, &SV57X4];

/// The first-stage format that `iosatp.MODE` or `PC.fsc.MODE` selects; `None` for Bare and reserved encodings.
/// `sxl` is `DC.tc.SXL`.
pub const fn first_stage(sxl: bool, mode: u64) -> Option<&'static Geometry> {
    match (sxl, mode) {
        (false, iosatp_mode::SV39) => Some(&SV39),
        (false, iosatp_mode::SV48) => Some(&SV48),
        (false, iosatp_mode::SV57) => Some(&SV57),
        (true, iosatp_mode::SV32) => Some(&SV32),
        _ => None,
    }
}

/// The second-stage format that `iohgatp.MODE` selects; `None` for Bare and reserved encodings. `gxl` is `fctl.GXL`.
pub const fn second_stage(gxl: bool, mode: u64) -> Option<&'static Geometry> {
    match (gxl, mode) {
        (false, iohgatp_mode::SV39X4) => Some(&SV39X4),
        (false, iohgatp_mode::SV48X4) => Some(&SV48X4),
        (false, iohgatp_mode::SV57X4) => Some(&SV57X4),
        (true, iohgatp_mode::SV32X4) => Some(&SV32X4),
        _ => None,
    }
}

encodings! {
    /// Encodings of `iosatp.MODE` and `PC.fsc.MODE`. All others are reserved or, with `SXL` 0, 14 and 15 custom.
    iosatp_mode {
        /// No first-stage translation or protection.
        BARE "Bare" = 0;
        /// Sv32, if `DC.tc.SXL` is 1.
        SV32 "Sv32" = 8;
        /// Sv39, if `DC.tc.SXL` is 0.
        SV39 "Sv39" = 8;
        /// Sv48, if `DC.tc.SXL` is 0.
        SV48 "Sv48" = 9;
        /// Sv57, if `DC.tc.SXL` is 0.
        SV57 "Sv57" = 10;
    }
}

encodings! {
    /// Encodings of `iohgatp.MODE`. All others are reserved.
    iohgatp_mode {
        /// No second-stage translation or protection.
        BARE "Bare" = 0;
        /// Sv32x4, if `fctl.GXL` is 1.
        SV32X4 "Sv32x4" = 8;
        /// Sv39x4, if `fctl.GXL` is 0.
        SV39X4 "Sv39x4" = 8;
        /// Sv48x4, if `fctl.GXL` is 0.
        SV48X4 "Sv48x4" = 9;
        /// Sv57x4, if `fctl.GXL` is 0.
        SV57X4 "Sv57x4" = 10;
    }
}

word! {
    /// Entry of 8 bytes (Sv39, Sv48, Sv57 and their x4 variants). It is a leaf if `R` or `X` is 1. In a non-leaf entry
    /// `U`, `A`, `D`, `PBMT` and `N` are reserved too.
    pte "pte" @ 0, 64 bits {
        /// The entry is valid. If 0, the other bits have no meaning.
        V "V" [0] RW;
        /// Readable.
        R "R" [1] RW;
        /// Writable. `W` without `R` is reserved.
        W "W" [2] RW;
        /// Executable.
        X "X" [3] RW;
        /// User page. Second-stage leaves must have it.
        U "U" [4] RW;
        /// Global: the mapping is in all address spaces. Without effect in the second stage.
        G "G" [5] RW;
        /// Accessed.
        A "A" [6] RW;
        /// Dirty: written.
        D "D" [7] RW;
        /// Left to software.
        RSW "RSW" [9:8] RW;
        /// Page number of the page or of the next table. The bits that a superpage takes from the address must be 0.
        PPN "PPN" [53:10] RW;
        /// [Memory type](super::pbmt). Must be 0 if `capabilities.Svpbmt` is 0.
        PBMT "PBMT" [62:61] RW;
        /// The leaf is part of a [naturally aligned group of pages](super::napot).
        N "N" [63] RW;
    }
}

/// The fields of a non-leaf entry of 8 bytes that are reserved in addition to [`pte::RESERVED`].
pub const PTE_NON_LEAF_RESERVED: u64 =
    pte::U.mask() | pte::A.mask() | pte::D.mask() | pte::PBMT.mask() | pte::N.mask();

/// The bits of [`pte::RESERVED`] that are left to software if `capabilities.Svrsw60t59b` is 1.
pub const PTE_RSW60T59: u64 = 0b11 << 59;

word! {
    /// Entry of 4 bytes (Sv32, Sv32x4). It is a leaf if `R` or `X` is 1.
    pte32 "pte32" @ 0, 32 bits {
        /// The entry is valid. If 0, the other bits have no meaning.
        V "V" [0] RW;
        /// Readable.
        R "R" [1] RW;
        /// Writable. `W` without `R` is reserved.
        W "W" [2] RW;
        /// Executable.
        X "X" [3] RW;
        /// User page. Second-stage leaves must have it.
        U "U" [4] RW;
        /// Global: the mapping is in all address spaces. Without effect in the second stage.
        G "G" [5] RW;
        /// Accessed.
        A "A" [6] RW;
        /// Dirty: written.
        D "D" [7] RW;
        /// Left to software.
        RSW "RSW" [9:8] RW;
        /// Page number of the page or of the next table. The bits that a superpage takes from the address must be 0.
        PPN "PPN" [31:10] RW;
    }
}

encodings! {
    /// Encodings of `pte.PBMT` (extension Svpbmt).
    pbmt {
        /// As the physical memory attributes say.
        PMA "PMA" = 0;
        /// Non-cacheable, idempotent, weakly ordered: main memory.
        NC "NC" = 1;
        /// Non-cacheable, non-idempotent, strongly ordered: I/O.
        IO "IO" = 2;
        /// Reserved: an entry with it faults.
        RESERVED "reserved" = 3;
    }
}

/// Naturally aligned groups of pages (extension Svnapot). The only defined group is 64 KiB at the leaf level, whose
/// entries hold `0b1000` in the low four bits of `PPN`.
pub mod napot {
    /// Logarithm to base 2 of the number of base pages in a group.
    pub const GROUP_BITS: u8 = 4;
    /// Logarithm to base 2 of the bytes of a group: 64 KiB.
    pub const GROUP_SHIFT: u8 = super::PAGE_SHIFT + GROUP_BITS;
    /// What the low [`GROUP_BITS`] bits of `pte.PPN` hold.
    pub const PPN_PATTERN: u64 = 0b1000;

    const LOW: u64 = (1 << GROUP_BITS) - 1;

    /// Whether a leaf entry with `pte.N` 1 at `level` (0 is the leaf level) and this `pte.PPN` is a defined encoding.
    /// An entry that is not causes a page fault.
    pub const fn is_defined(level: usize, ppn: u64) -> bool {
        level == 0 && ppn & LOW == PPN_PATTERN
    }

    /// The page number of the page within the group that the virtual page number `vpn` falls on.
    pub const fn resolve(ppn: u64, vpn: u64) -> u64 {
        (ppn & !LOW) | (vpn & LOW)
    }

    /// The `pte.PPN` of an entry that maps the group containing page number `ppn`.
    pub const fn encode(ppn: u64) -> u64 {
        (ppn & !LOW) | PPN_PATTERN
    }
}
