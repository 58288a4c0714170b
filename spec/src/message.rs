//! What the PCIe ATS and PRI messages carry, as the IOMMU sees them.

record! {
    /// Body of an ATS invalidation request: the `PAYLOAD` of ATS.INVAL.
    invalidation
    {
        /// Global: all PASIDs are affected.
        G "G" [0] RW;
        /// The address encodes a range: with its lowest 0 (from bit 12) at bit X, 2^(X+1) bytes.
        S "S" [11] RW;
        /// Bits 63:12 of the untranslated address.
        ADDRESS "Untranslated Address[63:12]" [63:12] RW;
    }
}

record! {
    /// Body of a page-request group response: the `PAYLOAD` of ATS.PRGR.
    group_response
    {
        /// Index of the group that is answered.
        INDEX "Page Request Group Index" [40:32] RW;
        /// [`ResponseCode`](super::ResponseCode).
        CODE "Response Code" [47:44] RW;
    }
}
