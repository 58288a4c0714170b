//! Interrupts: what is pending, which vector it uses, and the messages that carry it.

register! {
    /// Pending interrupts. A bit whose condition still holds is set again after it was cleared. With wired interrupts
    /// each bit drives the wire that `icvec` selects. (Section "Interrupt pending status register".)
    ipsr @ 84, 4 bytes, Always {
        /// Command queue: `cqcsr.cie` is 1 and one of `fence_w_ip`, `cmd_ill`, `cmd_to`, `cqmf` is 1.
        CIP "cip" [0] RW1C;
        /// Fault queue: `fqcsr.fie` is 1 and `fqof` or `fqmf` is 1 or a record was stored.
        FIP "fip" [1] RW1C;
        /// Performance monitor: an overflow bit went from 0 to 1.
        PMIP "pmip" [2] RW1C;
        /// Page-request queue: `pqcsr.pie` is 1 and `pqof` or `pqmf` is 1 or a request was stored.
        PIP "pip" [3] RW1C;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [15:8] Reserved;
    }
}

register! {
    /// The interrupt vector of each cause. With fewer than 16 vectors the high bits of each field read 0.
    /// (Section "Interrupt-cause-to-vector register".)
    icvec @ 760, 8 bytes, Always {
        /// Vector of the command queue's interrupt.
        CIV "civ" [3:0] WARL;
        /// Vector of the fault queue's interrupt.
        FIV "fiv" [7:4] WARL;
        /// Vector of the performance monitor's interrupt.
        PMIV "pmiv" [11:8] WARL;
        /// Vector of the page-request queue's interrupt.
        PIV "piv" [15:12] WARL;
        /// Designated for custom use; 0 here.
        CUSTOM "custom" [63:32] Reserved;
    }
}

register! {
    /// Address of the message of each of the 16 vectors. (Section "MSI configuration table".)
    msi_addr @ 768, 8 bytes, Msi, 16 times every 16 {
        /// Address bits 55:2; the message is a 4-byte store.
        ADDR "ADDR" [55:2] WARL;
    }
}

register! {
    /// Data of the message of each of the 16 vectors. (Section "MSI configuration table".)
    msi_data @ 776, 4 bytes, Msi, 16 times every 16 {
        /// The 4 bytes stored.
        DATA "data" [31:0] WARL;
    }
}

register! {
    /// Mask of each of the 16 vectors. (Section "MSI configuration table".)
    msi_vec_ctl @ 780, 4 bytes, Msi, 16 times every 16 {
        /// 1 holds the vector's message back; it is sent once the bit is cleared.
        M "M" [0] RW;
    }
}
