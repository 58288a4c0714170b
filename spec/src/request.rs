//! What the IOMMU is asked, and what it answers. (Sections "Process to translate an IOVA" and "PCIe ATS translation request
//! handling".)

use crate::fault::Cause;
use crate::range;

/// What kind of address a request carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AddressType {
    /// An address that the IOMMU translates.
    #[default]
    Untranslated,
    /// The device asks for the translation of the address (ATS).
    TranslationRequest,
    /// An address that the device got as the answer to a translation request.
    Translated,
}

/// A request of the IO bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Request {
    /// Who asks, 24 bits.
    pub device_id: u32,
    /// The process_id (PASID), 20 bits; `None` if the request has none.
    pub process_id: Option<u32>,
    /// Supervisor privilege is requested. Without effect if there is no process_id.
    pub privileged: bool,
    /// Read for execute; in a translation request: execute permission is asked for. Of `exec` and `write`, a memory access has at
    /// most one; `exec` wins if both are set.
    pub exec: bool,
    /// Write or atomic operation; in a translation request: write permission is asked for (the message's No Write flag is 0).
    pub write: bool,
    /// What kind of address `iova` is.
    pub at: AddressType,
    /// The address.
    pub iova: u64,
    /// The 4 bytes, as a little-endian word, that a write stores. Used if the write turns out to be an MSI to a memory-resident
    /// interrupt file.
    pub data: u32,
    /// The device is a CXL device of type 1 or 2.
    pub cxl: bool,
}

impl Request {
    /// Whether the request has supervisor privilege: without a process_id, none has.
    pub fn is_privileged(&self) -> bool {
        self.privileged && self.process_id.is_some()
    }
}

/// The answer to a [`Request`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// The address, and what the device may do with it.
    Success(Translation),
    /// The request is refused.
    Fault(Fault),
}

impl Response {
    /// The translation, if there is one.
    pub fn success(self) -> Option<Translation> {
        match self {
            Response::Success(translation) => Some(translation),
            Response::Fault(_) => None,
        }
    }

    /// The fault, if it is one.
    pub fn fault(self) -> Option<Fault> {
        match self {
            Response::Success(_) => None,
            Response::Fault(fault) => Some(fault),
        }
    }
}

/// A successful translation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Translation {
    /// The supervisor physical address; with `DC.tc.T2GPA`, the guest physical address in the answer to a translation request.
    /// Without meaning if `mrif` is set.
    pub spa: u64,
    /// The device may read the page.
    pub read: bool,
    /// The device may write the page. 0 for a page whose D bit is 0: the first write has to ask again.
    pub write: bool,
    /// The device may execute from the page.
    pub exec: bool,
    /// log2 of the bytes around `spa` that are translated by the same rule, at least 12.
    pub page_shift: u8,
    /// Memory type: one of [`crate::page_table::pbmt`].
    pub pbmt: u8,
    /// Resource control id of the access; 0 without `capabilities.QOSID`.
    pub rcid: u16,
    /// Monitoring counter id of the access; 0 without `capabilities.QOSID`.
    pub mcid: u16,
    /// The address is a page of a memory-resident interrupt file: the IOMMU has done what the access asks for, and the data path
    /// drops it.
    pub mrif: bool,
    /// What the answer to a translation request says besides; `None` for the other requests.
    pub ats: Option<AtsCompletion>,
}

impl Translation {
    /// The page number with the size encoded in it, and whether it encodes a size (`S`), as in an ATS translation completion
    /// and in `tr_response`.
    pub fn encoded_page(&self) -> (u64, bool) {
        match range::encode(self.spa, self.page_shift.into()) {
            Some(page) => (page, true),
            None => (self.spa >> 12, false),
        }
    }
}

/// The fields of an ATS translation completion that say how the translation may be used. The N field is always 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtsCompletion {
    /// U: only untranslated requests may access the page.
    pub untranslated_only: bool,
    /// Global: the translation holds for all PASIDs of the device.
    pub global: bool,
    /// Priv: the permissions are those of privileged mode.
    pub privileged: bool,
    /// CXL.io: accesses use CXL.io only.
    pub cxl_io: bool,
    /// AMA, 3 bits: memory attributes; always 0 here.
    pub ama: u8,
    /// Why no permission is granted, if the translation ended with a fault that is not reported.
    pub withheld: Option<Cause>,
}

/// How a refused request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Unsupported request: the answer to every refused memory access, and to some translation requests.
    UnsupportedRequest,
    /// Completer abort: the answer to some translation requests.
    CompleterAbort,
}

/// A refused request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Why.
    pub cause: Cause,
    /// `iotval2` of the record: the guest physical address of a guest-page fault, else 0.
    pub iotval2: u64,
    /// A record is due: `DC.tc.DTF` does not hold it back. Whether it reached the fault queue is another matter.
    pub reported: bool,
    /// The answer.
    pub denial: Denial,
}
