//! Page requests: the records of the page-request queue, and what the IOMMU answers when it cannot queue one.
//! (Sections "Page-Request-Queue (PQ)" and "PCIe ATS Page Request handling".)

use crate::fault::Cause;
use crate::message::response_code;

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
        /// Doubleword 1: last request of the group, which needs a response; or, with `R` and `W` 0, a stop marker.
        L "L" [2] RO;
        /// Doubleword 1: index of the group.
        INDEX "Page Request Group Index" [11:3] RO;
        /// Doubleword 1: bits 63:12 of the address.
        ADDRESS "Page Address[63:12]" [63:12] RO;
    }
}

/// A record of the page-request queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// `DID`, 24 bits: requester id of the message.
    pub did: u32,
    /// `PV`: the message had a PASID.
    pub pv: bool,
    /// `PID`, 20 bits: the PASID.
    pub pid: u32,
    /// `PRIV`: privileged mode was requested.
    pub privileged: bool,
    /// `EXEC`: execute was requested.
    pub execute: bool,
    /// `R`: read access is requested.
    pub read: bool,
    /// `W`: write access is requested.
    pub write: bool,
    /// `L`: last request of the group.
    pub last: bool,
    /// Index of the group, 9 bits.
    pub index: u16,
    /// Bits 63:12 of the address, 52 bits.
    pub page: u64,
}

impl PageRequest {
    /// Whether this is a stop marker: the device will use the PASID no more. It gets no response.
    pub const fn is_stop_marker(&self) -> bool {
        self.last && !self.read && !self.write
    }

    /// Whether the device waits for a response to this record's group.
    pub const fn needs_response(&self) -> bool {
        self.last && (self.read || self.write)
    }

    /// The record as two doublewords. Bits beyond a field's width are dropped.
    pub const fn encode(&self) -> [u64; 2] {
        [
            record::PID.of(self.pid as u64)
                | record::PV.of(self.pv as u64)
                | record::PRIV.of(self.privileged as u64)
                | record::EXEC.of(self.execute as u64)
                | record::DID.of(self.did as u64),
            record::R.of(self.read as u64)
                | record::W.of(self.write as u64)
                | record::L.of(self.last as u64)
                | record::INDEX.of(self.index as u64)
                | record::ADDRESS.of(self.page),
        ]
    }

    /// Reads a record; reserved bits are ignored.
    pub const fn decode(dwords: [u64; 2]) -> PageRequest {
        let [first, second] = dwords;
        PageRequest {
            did: record::DID.get(first) as u32,
            pv: record::PV.is_set(first),
            pid: record::PID.get(first) as u32,
            privileged: record::PRIV.is_set(first),
            execute: record::EXEC.is_set(first),
            read: record::R.is_set(second),
            write: record::W.is_set(second),
            last: record::L.is_set(second),
            index: record::INDEX.get(second) as u16,
            page: record::ADDRESS.get(second),
        }
    }
}

/// Why a page request did not reach the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The device context was not found or does not allow page requests.
    Fault(Cause),
    /// The queue is off: `pqcsr.pqen` or `pqcsr.pqon` is 0. No fault is reported.
    QueueOff,
    /// `pqcsr.pqmf` is 1. No fault is reported.
    QueueMemoryFault,
    /// The queue is full, or `pqcsr.pqof` is 1. No fault is reported.
    QueueOverflow,
}

impl Refusal {
    /// The code ([`response_code`]) of the response that the IOMMU itself sends if the request needs one; `None` for
    /// causes for which the specification names no code.
    pub const fn response_code(self) -> Option<u64> {
        match self {
            Refusal::QueueOff | Refusal::QueueMemoryFault => Some(response_code::RESPONSE_FAILURE),
            Refusal::QueueOverflow => Some(response_code::SUCCESS),
            Refusal::Fault(
                Cause::AllInboundTransactionsDisallowed
                | Cause::DdtEntryLoadAccessFault
                | Cause::DdtEntryNotValid
                | Cause::DdtEntryMisconfigured,
            ) => Some(response_code::RESPONSE_FAILURE),
            Refusal::Fault(Cause::TransactionTypeDisallowed) => Some(response_code::INVALID_REQUEST),
            Refusal::Fault(_) => None,
        }
    }
}
