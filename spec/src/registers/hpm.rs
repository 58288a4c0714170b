//! The hardware performance monitor.

register! {
    /// Copies of the overflow bits. (Section "Performance-monitoring counter overflow status".)
    iocountovf @ 88, 4 bytes, Hpm {
        /// Copy of `iohpmcycles.OF`.
        CY "CY" [0] RO;
        /// Bit X of the register is a copy of `iohpmevtX.OF`.
        HPM "HPM" [31:1] RO;
    }
}

register! {
    /// Stops counters. (Section "Performance-monitoring counter inhibits".)
    iocountinh @ 92, 4 bytes, Hpm {
        /// 1 stops `iohpmcycles`.
        CY "CY" [0] RW;
        /// Bit X of the register stops `iohpmctrX`.
        HPM "HPM" [31:1] WARL;
    }
}

register! {
    /// Counts clock cycles. (Section "Performance-monitoring cycles counter".)
    iohpmcycles @ 96, 8 bytes, Hpm {
        /// The count.
        COUNTER "counter" [62:0] WARL;
        /// The count wrapped. While it is 1, a further wrap raises no interrupt.
        OF "OF" [63] RW;
    }
}

register! {
    /// Counters of the events that `iohpmevt` selects, numbered 1 to 31. (Section "Performance-monitoring event
    /// counters".)
    iohpmctr @ 104, 8 bytes, Hpm, 31 times every 8 {
        /// The count.
        COUNTER "counter" [63:0] WARL;
    }
}

register! {
    /// Selects and filters the event of the counter with the same number, 1 to 31. (Section
    /// "Performance-monitoring event selectors".)
    iohpmevt @ 352, 8 bytes, Hpm, 31 times every 8 {
        /// The [event](super::event) to count.
        EVENT_ID "eventID" [14:0] WARL;
        /// Partial match of `DID_GSCID`: its bits up to and including the lowest 0 are ignored.
        DMASK "DMASK" [15] RW;
        /// The process_id (`IDT` 0) or PSCID (`IDT` 1) to count.
        PID_PSCID "PID_PSCID" [35:16] RW;
        /// The device_id (`IDT` 0) or GSCID (`IDT` 1) to count.
        DID_GSCID "DID_GSCID" [59:36] RW;
        /// 1 counts only transactions that match `PID_PSCID`.
        PV_PSCV "PV_PSCV" [60] RW;
        /// 1 counts only transactions that match `DID_GSCID`.
        DV_GSCV "DV_GSCV" [61] RW;
        /// What the filters compare: 0 for device_id and process_id, 1 for GSCID and PSCID.
        IDT "IDT" [62] RW;
        /// The counter wrapped. While it is 1, a further wrap raises no interrupt.
        OF "OF" [63] RW;
    }
}

encodings! {
    /// Encodings of `iohpmevt.eventID`. 9 to 16383 are reserved, 16384 to 32767 are for custom events.
    event {
        /// The counter keeps its value.
        NONE "Do not count" = 0;
        /// Filters: `IDT` 0.
        UNTRANSLATED_REQUESTS "Untranslated requests" = 1;
        /// Filters: `IDT` 0.
        TRANSLATED_REQUESTS "Translated requests" = 2;
        /// Filters: `IDT` 0.
        ATS_TRANSLATION_REQUESTS "ATS translation requests" = 3;
        /// Filters: `IDT` 0 and 1.
        TLB_MISS "TLB miss" = 4;
        /// Filters: `IDT` 0.
        DEVICE_DIRECTORY_WALKS "Device directory walks" = 5;
        /// Filters: `IDT` 0.
        PROCESS_DIRECTORY_WALKS "Process directory walks" = 6;
        /// Filters: `IDT` 0 and 1.
        FIRST_STAGE_WALKS "First-stage page-table walks" = 7;
        /// Filters: `IDT` 0 and 1.
        SECOND_STAGE_WALKS "Second-stage page-table walks" = 8;
    }
}
