//! The process directory: a radix tree of one, two or three levels, indexed by process_id (PASID), whose leaves
//! are process contexts. (Sections "Process-Directory-Table (PDT)" and "Process-context fields".)
//!
//! A process context (PC) has two 64-bit doublewords in the byte order of `DC.tc.SBE`. If the device has a second
//! stage, all page numbers here are a guest's.

use crate::field::{Level, Word};

/// Bytes of a non-leaf entry.
pub const PDTE_BYTES: u64 = 8;
/// Bytes of a process context.
pub const PC_BYTES: u64 = 16;

/// PDI\[0\], PDI\[1\], PDI\[2\]: the slices of the process_id that index the leaf, middle and root tables.
pub const PDI: [Level; 3] =
    [Level { lo: 0, width: 8 }, Level { lo: 8, width: 9 }, Level { lo: 17, width: 3 }];

encodings! {
    /// Encodings of `pdtp.MODE`. 4 to 13 are reserved, 14 and 15 are for custom use.
    pdtp_mode {
        /// No first stage, whatever the process_id.
        BARE "Bare" = 0;
        /// One level: 8-bit process_id.
        PD8 "PD8" = 1;
        /// Two levels: 17-bit process_id.
        PD17 "PD17" = 2;
        /// Three levels: 20-bit process_id.
        PD20 "PD20" = 3;
    }

    /// Number of directory levels in `mode`; `None` for Bare and for encodings that are not standard.
    pub const fn levels(mode: u64) -> Option<usize> {
        match mode {
            PD8 => Some(1),
            PD17 => Some(2),
            PD20 => Some(3),
            _ => None,
        }
    }
}

/// Number of low bits of the process_id that a directory of `levels` levels (1 to 3) can index.
pub const fn process_id_bits(levels: usize) -> u8 {
    PDI[levels - 1].lo + PDI[levels - 1].width
}

word! {
    /// Non-leaf directory entry: points to the table of the next level. (Section "Non-leaf PDT entry".)
    pdte "pdte" @ 0, 64 bits {
        /// The entry is valid. If 0, the other bits have no meaning.
        V "V" [0] RW;
        /// Page number of the next level's table.
        PPN "PPN" [53:10] RW;
    }
}

/// The doublewords of a process context.
pub mod pc {
    use super::Word;

    word! {
        /// Translation attributes. (Section "Translation attributes (ta)" of the process context.)
        ta "ta" @ 0, 64 bits {
            /// The process context is valid. If 0, the other bits have no meaning.
            V "V" [0] RW;
            /// Requests with supervisor privilege are allowed.
            ENS "ENS" [1] RW;
            /// Supervisor requests may read and write user pages (never execute them). Has effect if `ENS` is 1.
            SUM "SUM" [2] RW;
            /// Process soft-context identifier: the tag of the address space.
            PSCID "PSCID" [31:12] RW;
        }
    }

    word! {
        /// First-stage context. (Section "First-Stage context (fsc)" of the process context.)
        fsc "fsc" @ 8, 64 bits {
            /// Page number of the root page table.
            PPN "PPN" [43:0] RW;
            /// [First-stage mode](crate::page_table::iosatp_mode).
            MODE "MODE" [63:60] RW;
        }
    }

    /// Both doublewords.
    pub const WORDS: &[&Word] = &[&ta::WORD, &fsc::WORD];
}

/// A process context as its doublewords; the fields of each are in the module of [`pc`] with the same name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProcessContext {
    /// Translation attributes.
    pub ta: u64,
    /// First-stage context.
    pub fsc: u64,
}

impl ProcessContext {
    /// The doublewords.
    pub const fn encode(&self) -> [u64; 2] {
        [self.ta, self.fsc]
    }

    /// Reads the doublewords.
    pub const fn decode(dwords: [u64; 2]) -> ProcessContext {
        ProcessContext { ta: dwords[0], fsc: dwords[1] }
    }
}
