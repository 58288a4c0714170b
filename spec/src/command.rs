//! The commands that software puts into the command queue. (Section "Command-Queue (CQ)".)
//!
//! A command is 16 bytes: two 64-bit doublewords in the byte order of `fctl.BE`. Field constants are grouped by
//! command; fields of the second doubleword say so. [`Command`] is the decoded form.

mod decoded;

pub use decoded::{Command, Illegal, Range, Store, Support};

/// Bytes of a command.
pub const COMMAND_BYTES: u64 = 16;

encodings! {
    /// Encodings of `opcode`. 0 and 5 to 63 are reserved, 64 to 127 are for custom use.
    opcode {
        /// Page-table cache invalidation.
        IOTINVAL "IOTINVAL" = 1;
        /// Command-queue fence.
        IOFENCE "IOFENCE" = 2;
        /// Directory cache invalidation.
        IODIR "IODIR" = 3;
        /// PCIe ATS messages.
        ATS "ATS" = 4;
    }
}

encodings! {
    /// Encodings of `func3`, per opcode. All others are reserved.
    func3 {
        /// Invalidates cached first-stage translations.
        IOTINVAL_VMA "IOTINVAL.VMA" = 0;
        /// Invalidates cached second-stage translations.
        IOTINVAL_GVMA "IOTINVAL.GVMA" = 1;
        /// Waits until all earlier commands have completed.
        IOFENCE_C "IOFENCE.C" = 0;
        /// Invalidates cached device contexts and the process contexts that belong to them.
        IODIR_INVAL_DDT "IODIR.INVAL_DDT" = 0;
        /// Invalidates a cached process context.
        IODIR_INVAL_PDT "IODIR.INVAL_PDT" = 1;
        /// Sends an invalidation request to a device.
        ATS_INVAL "ATS.INVAL" = 0;
        /// Sends a page-request group response to a device.
        ATS_PRGR "ATS.PRGR" = 1;
    }
}

record! {
    /// What all commands share.
    header
    {
        /// [Group](super::opcode) of the command.
        OPCODE "opcode" [6:0] RW;
        /// [Function](super::func3) within the group.
        FUNC3 "func3" [9:7] RW;
    }
}

record! {
    /// IOTINVAL.VMA and IOTINVAL.GVMA. (Section "IOMMU Page-Table cache invalidation commands".)
    iotinval
    {
        /// 1: IOTINVAL.
        OPCODE "opcode" [6:0] RW;
        /// 0 for VMA, 1 for GVMA.
        FUNC3 "func3" [9:7] RW;
        /// `ADDR` is valid. Ignored by GVMA if `GV` is 0.
        AV "AV" [10] RW;
        /// Process soft-context identifier. Ignored if `PSCV` is 0.
        PSCID "PSCID" [31:12] RW;
        /// `PSCID` is valid. Must be 0 in GVMA.
        PSCV "PSCV" [32] RW;
        /// `GSCID` is valid. If 0, VMA applies to host address spaces and GVMA to all virtual machines.
        GV "GV" [33] RW;
        /// Invalidates non-leaf entries too. Reserved if `capabilities.NL` is 0; ignored if `AV` is.
        NL "NL" [34] RW;
        /// Guest soft-context identifier. Ignored if `GV` is 0.
        GSCID "GSCID" [59:44] RW;
    }
    {
        /// Doubleword 1: `ADDR` encodes a [range](crate::range) of pages. Reserved if `capabilities.S` is 0; ignored if
        /// `AV` is.
        S "S" [9] RW;
        /// Doubleword 1: bits 63:12 of the address. Ignored if `AV` is 0.
        ADDR "ADDR[63:12]" [61:10] RW;
    }
}

record! {
    /// IOFENCE.C. (Section "IOMMU Command-queue Fence commands".)
    iofence
    {
        /// 2: IOFENCE.
        OPCODE "opcode" [6:0] RW;
        /// 0: C.
        FUNC3 "func3" [9:7] RW;
        /// `ADDR` and `DATA` are valid: store `DATA` at `ADDR` on completion.
        AV "AV" [10] RW;
        /// Set `cqcsr.fence_w_ip` on completion. Reserved if `fctl.WSI` is 0.
        WSI "WSI" [11] RW;
        /// Previous device reads are to be globally observed first.
        PR "PR" [12] RW;
        /// Previous device writes are to be globally observed first.
        PW "PW" [13] RW;
        /// The 4 bytes to store. Ignored if `AV` is 0.
        DATA "DATA" [63:32] RW;
    }
    {
        /// Doubleword 1: bits 63:2 of the address to store to. Ignored if `AV` is 0.
        ADDR "ADDR[63:2]" [61:0] RW;
    }
}

record! {
    /// IODIR.INVAL_DDT and IODIR.INVAL_PDT. (Section "IOMMU directory cache invalidation commands".)
    iodir
    {
        /// 3: IODIR.
        OPCODE "opcode" [6:0] RW;
        /// 0 for INVAL_DDT, 1 for INVAL_PDT.
        FUNC3 "func3" [9:7] RW;
        /// The process_id for INVAL_PDT, no wider than supported. Reserved in INVAL_DDT.
        PID "PID" [31:12] RW;
        /// `DID` is valid. Must be 1 in INVAL_PDT.
        DV "DV" [33] RW;
        /// The device_id, no wider than `ddtp.iommu_mode` supports. Ignored if `DV` is 0.
        DID "DID" [63:40] RW;
    }
    {}
}

record! {
    /// ATS.INVAL and ATS.PRGR, supported if `capabilities.ATS` is 1. (Section "IOMMU PCIe ATS commands".)
    ats
    {
        /// 4: ATS.
        OPCODE "opcode" [6:0] RW;
        /// 0 for INVAL, 1 for PRGR.
        FUNC3 "func3" [9:7] RW;
        /// PASID of the message. Ignored if `PV` is 0.
        PID "PID" [31:12] RW;
        /// The message carries a PASID.
        PV "PV" [32] RW;
        /// `DSEG` is valid.
        DSV "DSV" [33] RW;
        /// Requester id of the device function that the message goes to.
        RID "RID" [55:40] RW;
        /// Segment of the destination. Ignored if `DSV` is 0.
        DSEG "DSEG" [63:56] RW;
    }
    {
        /// Doubleword 1: the message body, of an [invalidation request](crate::message::invalidation) or of a
        /// [page-request group response](crate::message::group_response).
        PAYLOAD "PAYLOAD" [63:0] RW;
    }
}
