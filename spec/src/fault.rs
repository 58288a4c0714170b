//! Faults and events: why, what kind of transaction, and the record in the fault queue. (Section
//! "Fault/Event-Queue (FQ)".)

mod cause;

pub use cause::{AtsResponse, Cause, Origin};

/// Bytes of a fault record.
pub const RECORD_BYTES: u64 = 32;

encodings! {
    /// Encodings of `TTYP`, the kind of transaction that faulted. 4 and 10 to 31 are reserved, 32 to 63 are for custom
    /// use.
    ttyp {
        /// Not caused by an inbound transaction.
        NONE "None" = 0;
        /// Execute at an address that the IOMMU translates.
        UNTRANSLATED_READ_FOR_EXECUTE "Untranslated read for execute" = 1;
        /// Read at an address that the IOMMU translates.
        UNTRANSLATED_READ "Untranslated read" = 2;
        /// Write or atomic operation at an address that the IOMMU translates.
        UNTRANSLATED_WRITE "Untranslated write/AMO" = 3;
        /// Execute at an address that ATS translated before.
        TRANSLATED_READ_FOR_EXECUTE "Translated read for execute" = 5;
        /// Read at an address that ATS translated before.
        TRANSLATED_READ "Translated read" = 6;
        /// Write or atomic operation at an address that ATS translated before.
        TRANSLATED_WRITE "Translated write/AMO" = 7;
        /// A device asks for a translation.
        ATS_TRANSLATION_REQUEST "PCIe ATS translation request" = 8;
        /// A message, such as a page request.
        MESSAGE_REQUEST "PCIe message request" = 9;
    }
}

record! {
    /// The fields of a fault record: four 64-bit doublewords in the byte order of `fctl.BE`.
    record
    {
        /// The [cause](super::Cause).
        CAUSE "CAUSE" [11:0] RO;
        /// The process_id, if `PV` is 1; otherwise 0.
        PID "PID" [31:12] RO;
        /// The transaction had a process_id.
        PV "PV" [32] RO;
        /// The transaction had supervisor privilege. 0 if `PV` is 0.
        PRIV "PRIV" [33] RO;
        /// [Kind of transaction](super::ttyp).
        TTYP "TTYP" [39:34] RO;
        /// The device_id. 0 if `TTYP` is 0.
        DID "DID" [63:40] RO;
    }
    {
        /// Doubleword 1: designated for custom use; 0 here.
        CUSTOM "custom" [31:0] Reserved;
    }
    {
        /// Doubleword 2: the IOVA; the message code, for a PCIe message; what the cause defines, if `TTYP` is 0.
        IOTVAL "iotval" [63:0] RO;
    }
    {
        /// Doubleword 3: for guest-page faults the guest physical address in bits 63:2, and
        /// [more](super::iotval2) in bits 1:0; otherwise 0.
        IOTVAL2 "iotval2" [63:0] RO;
    }
}

record! {
    /// The fields of `iotval2` for guest-page faults.
    iotval2
    {
        /// The fault came from an implicit access: of a first-stage page table or of the process directory.
        IMPLICIT "implicit" [0] RO;
        /// The implicit access was a write (an update of A or D). 0 if `implicit` is.
        IMPLICIT_WRITE "implicit write" [1] RO;
        /// Bits 63:2 of the guest physical address.
        GPA "GPA[63:2]" [63:2] RO;
    }
}

/// A record of the fault queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultRecord {
    /// `CAUSE`, 12 bits; [`Cause::from_code`] gives its meaning.
    pub cause: u16,
    /// `TTYP`, 6 bits: one of [`ttyp`].
    pub ttyp: u8,
    /// `DID`, 24 bits.
    pub did: u32,
    /// `PV`: the transaction had a process_id.
    pub pv: bool,
    /// `PID`, 20 bits.
    pub pid: u32,
    /// `PRIV`: the transaction had supervisor privilege.
    pub privileged: bool,
    /// `iotval`: the IOVA, in most cases.
    pub iotval: u64,
    /// `iotval2`: the guest physical address of a guest-page fault.
    pub iotval2: u64,
}

impl FaultRecord {
    /// The record as four doublewords. Bits beyond a field's width are dropped.
    pub const fn encode(&self) -> [u64; 4] {
        let first = record::CAUSE.of(self.cause as u64)
            | record::PID.of(self.pid as u64)
            | record::PV.of(self.pv as u64)
            | record::PRIV.of(self.privileged as u64)
            | record::TTYP.of(self.ttyp as u64)
            | record::DID.of(self.did as u64);
        [first, 0, self.iotval, self.iotval2]
    }

    /// Reads a record; the custom and reserved bits of doubleword 1 are ignored.
    pub const fn decode(dwords: [u64; 4]) -> FaultRecord {
        let first = dwords[0];
        FaultRecord {
            cause: record::CAUSE.get(first) as u16,
            ttyp: record::TTYP.get(first) as u8,
            did: record::DID.get(first) as u32,
            pv: record::PV.is_set(first),
            pid: record::PID.get(first) as u32,
            privileged: record::PRIV.is_set(first),
            iotval: dwords[2],
            iotval2: dwords[3],
        }
    }
}
