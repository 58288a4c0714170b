//! The translation-request interface, by which software asks for one translation.

register! {
    /// The address to translate. (Section "Translation-request IOVA".)
    tr_req_iova @ 600, 8 bytes, Dbg {
        /// Virtual page number of the IOVA.
        VPN "vpn" [63:12] WARL;
    }
}

register! {
    /// Who asks, and for what; starts the translation. (Section "Translation-request control".)
    tr_req_ctl @ 608, 8 bytes, Dbg {
        /// Writing 1 starts the translation; the IOMMU clears it when `tr_response` is valid.
        GO_BUSY "Go/Busy" [0] RW1S;
        /// 1 asks for supervisor privilege. Ignored if `PV` is 0.
        PRIV "Priv" [1] WARL;
        /// 1 asks for execute permission; `NW` must then be 1.
        EXE "Exe" [2] WARL;
        /// 1 asks for read permission only, 0 for read and write.
        NW "NW" [3] WARL;
        /// The process_id, if `PV` is 1.
        PID "PID" [31:12] WARL;
        /// 1 if the request has a process_id.
        PV "PV" [32] WARL;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [39:36] Reserved;
        /// The device_id.
        DID "DID" [63:40] WARL;
    }
}

register! {
    /// The result of the translation. (Section "Translation-response".)
    tr_response @ 616, 8 bytes, Dbg {
        /// The translation faulted; the other fields have no meaning.
        FAULT "fault" [0] RO;
        /// [Memory type](crate::page_table::pbmt).
        PBMT "PBMT" [8:7] RO;
        /// 1 if the translation covers more than one page; `PPN` then encodes a [range](crate::range).
        S "S" [9] RO;
        /// Physical page number.
        PPN "PPN" [53:10] RO;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [63:60] RO;
    }
}
