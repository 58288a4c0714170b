//! What can go wrong when the IOMMU accesses memory. (Sections "Process to translate an IOVA" and "Fault/Event-Queue (FQ)": causes of
//! access faults and of data corruption.)

/// Why a memory access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFault {
    /// The access is not allowed, or there is nothing at this address (a PMA or PMP violation).
    Access,
    /// The data is corrupt (poisoned).
    Corrupt,
}

/// What a test makes go wrong in a range of addresses. Replay files call them `read`, `write` and `corrupt`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "lowercase"))]
pub enum Failure {
    /// Reads are refused: [`MemoryFault::Access`].
    Read,
    /// Writes are refused and change nothing: [`MemoryFault::Access`].
    Write,
    /// Reads deliver corrupt data, marked so: [`MemoryFault::Corrupt`].
    #[cfg_attr(feature = "serde", serde(rename = "corrupt"))]
    Poison,
}
