//! The PCIe ATS and PRI messages that the IOMMU exchanges with devices: their codes and bodies. (Sections "IOMMU PCIe
//! ATS commands", "Page-Request-Queue (PQ)" and "PCIe ATS Page Request handling"; PCI Express Base Specification,
//! chapter "Address Translation Services".)
//!
//! The body of a page request is part of the queue record: see [`page_request`](crate::page_request).

use crate::range;

encodings! {
    /// Message codes. The fault record of a refused message holds its code in `iotval`.
    code {
        /// To a device: forget translations.
        INVALIDATION_REQUEST "Invalidation Request" = 0x01;
        /// From a device: translations are forgotten.
        INVALIDATION_COMPLETION "Invalidation Completion" = 0x02;
        /// From a device: make a page resident.
        PAGE_REQUEST "Page Request" = 0x04;
        /// To a device: the answer to a group of page requests.
        PAGE_REQUEST_GROUP_RESPONSE "Page Request Group Response" = 0x05;
    }
}

encodings! {
    /// Encodings of the response code of a page-request group response.
    response_code {
        /// All pages of the group are resident, or the request may be sent again.
        SUCCESS "Success" = 0;
        /// A page of the group does not exist or may not be accessed so.
        INVALID_REQUEST "Invalid Request" = 1;
        /// The page-request interface failed; the device stops using it.
        RESPONSE_FAILURE "Response Failure" = 15;
    }
}

record! {
    /// The fields of the body of an invalidation request: the `PAYLOAD` of ATS.INVAL.
    invalidation
    {
        /// Global: translations of all PASIDs are forgotten.
        G "G" [0] RW;
        /// The address encodes a [range](crate::range); if 0, one page.
        S "S" [11] RW;
        /// Bits 63:12 of the untranslated address.
        ADDRESS "Untranslated Address[63:12]" [63:12] RW;
    }
}

record! {
    /// The fields of the body of a page-request group response: the `PAYLOAD` of ATS.PRGR.
    group_response
    {
        /// Index of the group that is answered.
        INDEX "Page Request Group Index" [40:32] RW;
        /// The [answer](super::response_code).
        CODE "Response Code" [47:44] RW;
    }
}

/// Body of an invalidation request, the `PAYLOAD` of ATS.INVAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidationRequest {
    /// Translations of all PASIDs are forgotten.
    pub global: bool,
    /// Bits 63:12 of the address, 52 bits. With `napot`, it encodes a [`range`].
    pub page: u64,
    /// `page` encodes a range; if false, it is one page.
    pub napot: bool,
}

impl InvalidationRequest {
    /// The body as a doubleword. Bits beyond a field's width are dropped.
    pub const fn encode(self) -> u64 {
        invalidation::G.of(self.global as u64)
            | invalidation::S.of(self.napot as u64)
            | invalidation::ADDRESS.of(self.page)
    }

    /// Reads a body; reserved bits are ignored.
    pub const fn decode(payload: u64) -> InvalidationRequest {
        InvalidationRequest {
            global: invalidation::G.is_set(payload),
            page: invalidation::ADDRESS.get(payload),
            napot: invalidation::S.is_set(payload),
        }
    }

    /// First and last address of the range.
    pub const fn bounds(self) -> (u64, u64) {
        if self.napot { range::bounds(self.page) } else { (self.page << 12, (self.page << 12) | 0xfff) }
    }
}

/// Body of a page-request group response, the `PAYLOAD` of ATS.PRGR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageRequestGroupResponse {
    /// Index of the group that is answered, 9 bits.
    pub index: u16,
    /// One of [`response_code`], 4 bits.
    pub code: u8,
}

impl PageRequestGroupResponse {
    /// The body as a doubleword. Bits beyond a field's width are dropped.
    pub const fn encode(self) -> u64 {
        group_response::INDEX.of(self.index as u64) | group_response::CODE.of(self.code as u64)
    }

    /// Reads a body; reserved bits are ignored.
    pub const fn decode(payload: u64) -> PageRequestGroupResponse {
        PageRequestGroupResponse {
            index: group_response::INDEX.get(payload) as u16,
            code: group_response::CODE.get(payload) as u8,
        }
    }
}

/// A message from the IOMMU to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// ATS: forget translations, and answer with [`InvalidationCompletion`].
    Invalidation {
        /// The destination's requester id.
        rid: u16,
        /// The destination's segment.
        dseg: Option<u8>,
        /// PASID of the message.
        pid: Option<u32>,
        /// Names the request in the completion, 0 to 31.
        itag: u8,
        /// What to forget.
        body: InvalidationRequest,
    },
    /// PRI: the answer to a group of page requests.
    GroupResponse {
        /// The destination's requester id.
        rid: u16,
        /// The destination's segment.
        dseg: Option<u8>,
        /// PASID of the message.
        pid: Option<u32>,
        /// The answer.
        body: PageRequestGroupResponse,
    },
}

/// ATS: a device has forgotten translations. (PCI Express Base Specification, section "Invalidate Completion Message Body".)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InvalidationCompletion {
    /// Requester id of the device.
    pub rid: u16,
    /// Segment of the device.
    pub dseg: Option<u8>,
    /// Bit `i` says that the request with `itag` `i` is answered.
    pub itags: u32,
    /// The number of completions that the device sends for the request: 1 to 8, 3 bits (8 is 0).
    pub count: u8,
}
