//! MSI page tables and memory-resident interrupt files. (Section "Process to translate addresses of MSIs"; Advanced Interrupt
//! Architecture, chapter "IOMMU Support for MSIs to Virtual Machines".)

/// Bytes of an MSI page-table entry.
pub const MSIPTE_BYTES: u64 = 16;

record! {
    /// What MSI page-table entries of every mode share: two 64-bit doublewords in the byte order of `fctl.BE`.
    msipte
    {
        /// The entry is valid. If 0, the other bits have no meaning.
        V "V" [0] RW;
        /// [Mode](super::mode) of the entry.
        M "M" [2:1] RW;
        /// Designated for custom use: the rest of the entry has a custom meaning.
        C "C" [63] RW;
    }
    {}
}

record! {
    /// MSI page-table entry in basic translate mode.
    basic
    {
        /// The entry is valid.
        V "V" [0] RW;
        /// 3: basic translate mode.
        M "M" [2:1] RW;
        /// Physical page number of the interrupt file.
        PPN "PPN" [53:10] RW;
        /// 0: not a custom entry.
        C "C" [63] RW;
    }
    {
        /// Doubleword 1: ignored.
        IGNORED "ignored" [63:0] RW;
    }
}

record! {
    /// MSI page-table entry in MRIF mode. Reserved if `capabilities.MSI_MRIF` is 0.
    mrif
    {
        /// The entry is valid.
        V "V" [0] RW;
        /// 1: MRIF mode.
        M "M" [2:1] RW;
        /// Bits 55:9 of the address of the memory-resident interrupt file.
        ADDRESS "MRIF Address[55:9]" [53:7] RW;
        /// 0: not a custom entry.
        C "C" [63] RW;
    }
    {
        /// Doubleword 1: bits 9:0 of the notice identifier.
        NID_LOW "N[9:0]" [9:0] RW;
        /// Doubleword 1: physical page number that the notice is stored to.
        NPPN "NPPN" [53:10] RW;
        /// Doubleword 1: bit 10 of the notice identifier.
        NID_HIGH "N[10]" [60] RW;
    }
}

encodings! {
    /// Encodings of `msipte.M`. 0 and 2 are reserved.
    mode {
        /// MRIF mode: the MSI is stored in a memory-resident interrupt file.
        MRIF "MRIF" = 1;
        /// Basic translate mode: the address is translated.
        BASIC "Basic" = 3;
    }
}

/// The 11-bit notice identifier that the second doubleword of an entry in MRIF mode holds: the data of the notice.
pub const fn notice_id(dword: u64) -> u64 {
    mrif::NID_HIGH.get(dword) << 10 | mrif::NID_LOW.get(dword)
}

/// The number of the interrupt file that the page number `page` names: the bits of `page` that are 1 in `mask`, packed.
pub const fn interrupt_file(page: u64, mask: u64) -> u64 {
    let (mut number, mut bits, mut left) = (0, 0, mask);
    while left != 0 {
        let at = left.trailing_zeros();
        number |= (page >> at & 1) << bits;
        bits += 1;
        left &= left - 1;
    }
    number
}

/// The layout of a memory-resident interrupt file: 512 bytes, little-endian. For each group of 64 identities it holds a doubleword of
/// pending bits and then one of enable bits.
pub mod file {
    /// Bytes of a memory-resident interrupt file, which is aligned to its size.
    pub const BYTES: u64 = 512;
    /// The greatest interrupt identity; 0 is none.
    pub const MAX_IDENTITY: u32 = 2047;
    /// Bytes from a doubleword of pending bits to its doubleword of enable bits.
    pub const ENABLE_OFFSET: u64 = 8;
    /// Offset in a page of interrupt files at which an MSI is stored as a little-endian word.
    pub const SETEIPNUM_LE: u64 = 0;
    /// Offset in a page of interrupt files at which an MSI is stored as a big-endian word.
    pub const SETEIPNUM_BE: u64 = 4;

    /// Offset of the doubleword that holds the pending bit of `identity`, and the bit's mask in it.
    pub const fn pending(identity: u32) -> (u64, u64) {
        ((identity as u64 / 64) * 16, 1 << (identity % 64))
    }
}
