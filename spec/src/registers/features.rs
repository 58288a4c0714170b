//! What the IOMMU can do and which mode it is in.

register! {
    /// What this IOMMU supports. The value is fixed by the design. (Section "IOMMU capabilities".)
    capabilities @ 0, 8 bytes, Always {
        /// Version of the specification: major in the high nibble, minor in the low one; 0x10 is version 1.0.
        VERSION "version" [7:0] RO = 0x10;
        /// First stage: Sv32, 32-bit virtual addresses.
        SV32 "Sv32" [8] RO;
        /// First stage: Sv39, 39-bit virtual addresses.
        SV39 "Sv39" [9] RO;
        /// First stage: Sv48, 48-bit virtual addresses; implies Sv39.
        SV48 "Sv48" [10] RO;
        /// First stage: Sv57, 57-bit virtual addresses; implies Sv48.
        SV57 "Sv57" [11] RO;
        /// Bits 60:59 of page-table entries are left to software.
        SVRSW60T59B "Svrsw60t59b" [14] RO;
        /// Page-based memory types in page-table entries.
        SVPBMT "Svpbmt" [15] RO;
        /// Second stage: Sv32x4, 34-bit guest physical addresses.
        SV32X4 "Sv32x4" [16] RO;
        /// Second stage: Sv39x4, 41-bit guest physical addresses.
        SV39X4 "Sv39x4" [17] RO;
        /// Second stage: Sv48x4, 50-bit guest physical addresses.
        SV48X4 "Sv48x4" [18] RO;
        /// Second stage: Sv57x4, 59-bit guest physical addresses.
        SV57X4 "Sv57x4" [19] RO;
        /// Atomic updates of memory-resident interrupt files.
        AMO_MRIF "AMO_MRIF" [21] RO;
        /// MSI translation through MSI page-table entries in basic mode; device contexts have the extended format.
        MSI_FLAT "MSI_FLAT" [22] RO;
        /// MSI translation to memory-resident interrupt files.
        MSI_MRIF "MSI_MRIF" [23] RO;
        /// Atomic hardware updates of the accessed and dirty bits of page-table entries.
        AMO_HWAD "AMO_HWAD" [24] RO;
        /// PCIe address translation services and the page-request interface.
        ATS "ATS" [25] RO;
        /// ATS translation completions may return guest physical addresses.
        T2GPA "T2GPA" [26] RO;
        /// 1 if both byte orders are supported, selected by `fctl.BE`; 0 if only one.
        END "END" [27] RO;
        /// How interrupts are [signalled](super::igs).
        IGS "IGS" [29:28] RO;
        /// Hardware performance monitor, with at least the cycle counter and one event counter.
        HPM "HPM" [30] RO;
        /// The translation-request interface for debugging.
        DBG "DBG" [31] RO;
        /// Width of physical addresses in bits.
        PAS "PAS" [37:32] RO;
        /// Process directories of one level: 8-bit process_id.
        PD8 "PD8" [38] RO;
        /// Process directories of two levels: 17-bit process_id.
        PD17 "PD17" [39] RO;
        /// Process directories of three levels: 20-bit process_id.
        PD20 "PD20" [40] RO;
        /// Quality-of-service identifiers can be attached to requests.
        QOSID "QOSID" [41] RO;
        /// The `NL` operand of the IOTINVAL commands (invalidation of non-leaf entries).
        NL "NL" [42] RO;
        /// The `S` operand of the IOTINVAL commands (invalidation of address ranges).
        S "S" [43] RO;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [63:56] RO;
    }
}

encodings! {
    /// Encodings of `capabilities.IGS`, how the IOMMU signals interrupts.
    igs {
        /// By messages only.
        MSI "MSI" = 0;
        /// By wires only.
        WSI "WSI" = 1;
        /// Either, selected by `fctl.WSI`.
        BOTH "BOTH" = 2;
    }
}

register! {
    /// Features that software may switch. To be changed only while `ddtp.iommu_mode` is Off and all queues are off.
    /// (Section "Features-control register".)
    fctl @ 8, 4 bytes, Always {
        /// 1 if the IOMMU accesses directories, second-stage tables and queues as big-endian.
        BE "BE" [0] WARL;
        /// 1 if interrupts are signalled by wires, 0 if by messages. 1 after reset, unless there are messages only.
        WSI "WSI" [1] WARL;
        /// Selects the second-stage modes: 0 for Sv39x4, Sv48x4, Sv57x4; 1 for Sv32x4.
        GXL "GXL" [2] WARL;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [31:16] Reserved;
    }
}

register! {
    /// Root of the device directory, and the IOMMU's mode. (Section "Device-directory-table pointer".)
    ddtp @ 16, 8 bytes, Always {
        /// The [mode](crate::ddt::iommu_mode). Off after reset.
        IOMMU_MODE "iommu_mode" [3:0] WARL;
        /// 1 while the IOMMU completes a change of mode; software must not write `ddtp` meanwhile.
        BUSY "busy" [4] RO;
        /// Physical page number of the root directory page.
        PPN "PPN" [53:10] WARL;
    }
}

register! {
    /// Quality-of-service identifiers of the IOMMU's own requests. (Section "IOMMU QoS ID".)
    iommu_qosid @ 624, 4 bytes, Qosid {
        /// Resource control identifier.
        RCID "RCID" [11:0] WARL;
        /// Monitoring counter identifier.
        MCID "MCID" [27:16] WARL;
    }
}
