//! What the user of the driver chooses.

use crate::{error::InitError, pasid::PasidSpace};
use alloc::sync::Arc;

/// How an IOMMU is set up.
#[derive(Clone)]
pub struct Config {
    /// Width of the device ids in use, in bits: 1 to 24. The device directory gets the levels that this
    /// needs.
    pub device_id_width: u32,
    /// Logarithm to base 2 of the command queue's entries: 3 to 15. Fewer are used if the IOMMU supports
    /// fewer.
    pub command_queue_log2: u32,
    /// Logarithm to base 2 of the fault queue's entries: 3 to 15. Fewer are used if the IOMMU supports fewer.
    pub fault_queue_log2: u32,
    /// How many ticks of [`crate::Platform::now`] the IOMMU may take for a batch of commands, from its submission on,
    /// or for a switch of a queue or mode, before it is given up: at least 1. A batch is submitted behind as many as the
    /// queue holds. An IOFENCE.C waits for device accesses, so think of the slowest.
    pub timeout: u64,
    /// How many ticks a command may take that waits for devices: an invalidation of their translation caches.
    /// It should be longer than the IOMMU itself waits (PCIe lets a device take a minute), as the IOMMU knows
    /// which device it was; the driver can only restart the whole queue. At least 1.
    pub device_timeout: u64,
    /// A range of more pages than this is invalidated by invalidating its whole address space.
    pub range_limit: u64,
    /// The interrupt vector (wire) that signals new fault records, 0 to 15; `None` to poll.
    pub fault_vector: Option<u8>,
    /// Logarithm to base 2 of the page-request queue's entries: 3 to 15. Fewer are used if the IOMMU supports
    /// fewer. Should hold what all devices together may have outstanding ([`PriOptions::outstanding`]).
    pub page_request_queue_log2: u32,
    /// The interrupt vector (wire) that signals new page requests, 0 to 15; `None` to poll. It is not looked at where the
    /// IOMMU has no ATS: there are no page requests then.
    pub page_request_vector: Option<u8>,
    /// Where interrupts are written to, if they are messages and not wires: that of the fault queue, and that of the
    /// page-request queue. For each queue that has a vector and none for others; with both queues on one vector
    /// both are the same.
    pub fault_message: Option<Message>,
    /// See [`fault_message`](Self::fault_message).
    pub page_request_message: Option<Message>,
    /// The IOMMU sets the accessed and dirty bits of page-table entries itself, if it can ([`capabilities`
    /// `.AMO_HWAD`](crate::Capabilities::updates_ad)), as harts with Svadu do. Otherwise, and if it can't, a page
    /// whose bits are clear is not there for devices.
    pub update_ad: bool,
    /// The PASIDs to draw from. IOMMUs that the same mm may be bound on share one space. `None`: all PASIDs, for this
    /// IOMMU alone.
    pub pasids: Option<Arc<PasidSpace>>,
}

impl Config {
    pub(crate) const MIN_QUEUE_LOG2: u32 = 3;
    const MAX_QUEUE_LOG2: u32 = 15;

    pub(crate) fn check(&self) -> Result<(), InitError> {
        let queue = Self::MIN_QUEUE_LOG2.into()..=Self::MAX_QUEUE_LOG2.into();
        let values = [
            ("device_id_width", self.device_id_width.into(), 1..=24),
            ("command_queue_log2", self.command_queue_log2.into(), queue.clone()),
            ("fault_queue_log2", self.fault_queue_log2.into(), queue.clone()),
            ("page_request_queue_log2", self.page_request_queue_log2.into(), queue),
            ("timeout", self.timeout, 1..=u64::MAX),
            ("device_timeout", self.device_timeout, 1..=u64::MAX),
            ("fault_vector", self.fault_vector.unwrap_or(0).into(), 0..=15),
            ("page_request_vector", self.page_request_vector.unwrap_or(0).into(), 0..=15),
        ];
        for (key, value, range) in values {
            if !range.contains(&value) {
                return Err(InitError::Config { key, value, min: *range.start(), max: *range.end() });
            }
        }
        let messages = [
            ("fault_message", self.fault_vector, self.fault_message),
            ("page_request_message", self.page_request_vector, self.page_request_message),
        ];
        for (key, vector, message) in messages {
            if let Some(Message { address, .. }) = message
                && (vector.is_none() || address % 4 != 0 || address >> 56 != 0)
            {
                return Err(InitError::Message(key));
            }
        }
        let asked = messages.iter().filter(|(_, vector, _)| vector.is_some()).count();
        let given = messages.iter().filter(|(.., message)| message.is_some()).count();
        let shared = self.fault_vector == self.page_request_vector;
        if given != 0 && (given != asked || shared && self.fault_message != self.page_request_message) {
            return Err(InitError::Message("page_request_message"));
        }
        Ok(())
    }
}

impl Default for Config {
    /// 8-bit device ids; 256 commands, 128 fault records and 256 page requests (a page each); ten million
    /// ticks, or a thousand million for devices; polling; PASIDs of its own.
    fn default() -> Self {
        Self {
            device_id_width: 8,
            command_queue_log2: 8,
            fault_queue_log2: 7,
            timeout: 10_000_000,
            device_timeout: 1_000_000_000,
            range_limit: 32,
            fault_vector: None,
            page_request_queue_log2: 8,
            page_request_vector: None,
            fault_message: None,
            page_request_message: None,
            update_ad: true,
            pasids: None,
        }
    }
}

/// An interrupt that is a message: a store of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The physical address, a multiple of 4, below 2^56.
    pub address: u64,
    /// What is stored there.
    pub data: u32,
}

/// How a device is enabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceOptions {
    /// Width of the PASIDs that the device supports, in bits: 1 to 20. If the IOMMU's process directories
    /// hold less, that is the limit.
    pub pasid_width: u32,
    /// What becomes of its DMA without a PASID.
    pub untagged: Untagged,
}

impl Default for DeviceOptions {
    /// All PASIDs; DMA without one faults.
    fn default() -> Self {
        Self { pasid_width: crate::Pasid::WIDTH, untagged: Untagged::Fault }
    }
}

/// How ATS is enabled for a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtsOptions {
    /// The segment that messages to the device name, if the IOMMU serves several. The requester id is bits
    /// 15:0 of the device id.
    ///
    /// `None`: bits 23:16 of the device id if they are not 0, otherwise messages name no segment.
    pub segment: Option<u8>,
}

/// How page requests are enabled for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriOptions {
    /// How many page requests the device may have outstanding: 1 to 65536. The device driver gives the device
    /// the same number ("Outstanding Page Request Allocation"). Memory for as many is set aside; a device
    /// that sends more is answered Response Failure.
    pub outstanding: usize,
    /// The device's "PRG Response PASID Required" bit: answers carry the PASID that the requests had. If it
    /// is false, none does.
    pub response_needs_pasid: bool,
}

impl PriOptions {
    pub(crate) const MAX_OUTSTANDING: usize = 1 << 16;
}

impl Default for PriOptions {
    /// 64 requests, no PASID in answers.
    fn default() -> Self {
        Self { outstanding: 64, response_needs_pasid: false }
    }
}

/// What becomes of a device's DMA without a PASID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Untagged {
    /// It faults as PASID 0, which is never bound.
    Fault,
    /// It reaches physical memory untranslated: only for a device that is trusted with all of it.
    PassThrough,
}
