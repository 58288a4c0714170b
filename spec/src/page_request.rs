//! Page requests: the records of the page-request queue. (Section "Page-Request-Queue (PQ)".)

/// Bytes of a page-request record.
pub const RECORD_BYTES: u64 = 16;

record! {
    /// The fields of a page-request record: two 64-bit doublewords in the byte order of `fctl.BE`.
    record
    {
        /// The PASID, if `PV` is 1.
        PID "PID" [31:12] RO;
        /// The message had a PASID.
        PV "PV" [32] RO;
        /// Privileged mode was requested. 0 if `PV` is 0.
        PRIV "PRIV" [33] RO;
        /// Execute was requested. 0 if `PV` is 0.
        EXEC "EXEC" [34] RO;
        /// Requester id of the message.
        DID "DID" [63:40] RO;
    }
    {
        /// Doubleword 1: read access is requested.
        R "R" [0] RO;
        /// Doubleword 1: write access is requested.
        W "W" [1] RO;
        /// Doubleword 1: last request of the group; it needs a response. With `R` and `W` 0, it is a stop marker.
        L "L" [2] RO;
        /// Doubleword 1: index of the group.
        INDEX "Page Request Group Index" [11:3] RO;
        /// Doubleword 1: bits 63:12 of the address.
        ADDRESS "Page Address[63:12]" [63:12] RO;
    }
}
