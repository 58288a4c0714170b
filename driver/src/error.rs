//! What can go wrong, in words that a caller can act on.

use crate::pasid::Pasid;

/// A command could not be carried out and confirmed by an IOFENCE.C. What it should have invalidated must be
/// taken as still cached: don't reuse the memory or the identifiers in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// The IOMMU made no progress for [`crate::Config::timeout`] ticks. The queue was restarted.
    #[error("the IOMMU did not complete a command in time")]
    Timeout,
    /// The queue could not be restarted after a failure. Every later command fails at once while the IOMMU says that
    /// the queue is busy, and otherwise tries again.
    #[error("the command queue failed and could not be restarted")]
    QueueDead,
    /// Reading the queue, or writing what a command asked for, kept ending in memory faults (`cqcsr.cqmf`).
    #[error("the IOMMU got memory faults while it processed commands")]
    MemoryFault,
    /// The IOMMU called a command illegal or unsupported (`cqcsr.cmd_ill`).
    #[error("the IOMMU refused a command as illegal or unsupported")]
    Illegal,
    /// A device did not complete an ATS invalidation in time (`cqcsr.cmd_to`). The driver cuts such a device
    /// off, so that this is seen only where that did not work either.
    #[error("a device did not complete an invalidation in time")]
    DeviceTimeout,
    /// The IOMMU was reset behind the driver's back: it is Off, and aborts everything.
    /// [`crate::Iommu::resume`] brings it back; repeat the call then.
    #[error("the IOMMU was reset and has to be resumed")]
    Reset,
    /// The IOMMU is suspended: an answer to a device can't be sent.
    #[error("the IOMMU is suspended")]
    Suspended,
    /// The queue was restarted again and again because of other commands.
    #[error("the command queue was restarted too often by failures of other commands")]
    Aborted,
}

/// Why [`crate::Iommu::new`] failed. The IOMMU is left in mode Off with its queues disabled, if it still
/// obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// A value of [`crate::Config`] is outside its legal range.
    #[error("configuration: {key} is {value}, must be {min} to {max}")]
    Config {
        /// The field of `Config`.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The smallest legal value.
        min: u64,
        /// The largest legal value.
        max: u64,
    },
    /// `capabilities.version` is not 1.x.
    #[error("IOMMU specification version {}.{} is not supported", .0 >> 4, .0 & 15)]
    Version(u8),
    /// The IOMMU can only work big-endian, with guest address formats of 32-bit systems, or so it insists.
    #[error("fctl can't be set to little-endian 64-bit operation (reads {0:#x})")]
    Features(u64),
    /// Interrupts were asked for, and the IOMMU can't signal them by wire.
    #[error("the IOMMU has no wired interrupts")]
    NoWiredInterrupts,
    /// Interrupts were asked for as messages, and the IOMMU can't send them.
    #[error("the IOMMU has no interrupts by message")]
    NoMessageInterrupts,
    /// A message in the configuration can't be sent: its queue has no vector, its address is not a multiple of 4 below
    /// 2^56, the other queue has an interrupt without a message, or another message on the same vector.
    #[error(
        "configuration: {0} needs a vector, an address that is a multiple of 4 below 2^56, and one for each queue"
    )]
    Message(&'static str),
    /// An interrupt vector in the configuration does not exist.
    #[error("the IOMMU has no interrupt vector {0}")]
    Vector(u8),
    /// None of the directory modes that the IOMMU has can hold device ids of the width asked for.
    #[error("no device directory mode of this IOMMU holds {0}-bit device ids")]
    DeviceIdWidth(u32),
    /// A register did not keep the address or size written to it.
    #[error("the IOMMU did not accept the address or size of its {0}")]
    Rejected(&'static str),
    /// The IOMMU did not turn a queue or a directory mode on or off in time.
    #[error("the IOMMU did not switch its {0} in time")]
    Timeout(&'static str),
    /// The platform has no memory, or none within the IOMMU's reach.
    #[error("out of memory that the IOMMU can reach")]
    OutOfMemory,
    /// The caches could not be emptied.
    #[error("invalidating the IOMMU's caches: {0}")]
    Command(#[from] CommandError),
}

/// Why [`crate::Iommu::enable_sva`] failed. The device is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnableError {
    /// The device id does not fit the directory ([`crate::Config::device_id_width`]).
    #[error("device id {device_id:#x} is wider than the {width} bits configured")]
    DeviceId {
        /// The device id.
        device_id: u32,
        /// The width that was configured, in bits.
        width: u32,
    },
    /// The device is enabled already, or was disabled without the IOMMU confirming it.
    #[error("device {0:#x} is already enabled")]
    AlreadyEnabled(u32),
    /// The IOMMU has no process directories (PD8, PD17, PD20).
    #[error("the IOMMU does not support process directories")]
    NoProcessDirectory,
    /// A value of [`crate::DeviceOptions`] is outside its legal range.
    #[error("a PASID width of {0} bits is not between 1 and 20")]
    PasidWidth(u32),
    /// The platform has no memory, or none within the IOMMU's reach.
    #[error("out of memory that the IOMMU can reach")]
    OutOfMemory,
}

/// Why [`crate::Iommu::disable_sva`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisableError {
    /// The device is not enabled.
    #[error("device {0:#x} is not enabled for SVA")]
    NotEnabled(u32),
    /// There are bonds; the device driver unbinds them first.
    #[error("device {device_id:#x} still has {bonds} bonds")]
    Bound {
        /// The device.
        device_id: u32,
        /// How many address spaces it is bound to.
        bonds: usize,
    },
    /// The IOMMU did not confirm. The device context is invalid in memory, its tables are not reused, and the
    /// device can be neither bound nor enabled again.
    #[error("removing the device context: {0}")]
    Command(#[from] CommandError),
}

/// Why [`crate::Iommu::bind`] failed. No DMA was let through and no callback will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The device is unknown or SVA is not enabled for it.
    #[error("device {0:#x} is not enabled for SVA")]
    NotEnabled(u32),
    /// The device is being removed or reset.
    #[error("device {0:#x} is being removed")]
    DeviceLeaving(u32),
    /// The mm has no PASID yet, and none is free that this device can carry.
    #[error("out of PASIDs")]
    PasidsExhausted,
    /// The mm has a PASID already, and it is beyond what this device or its process directory can carry.
    #[error("PASID {pasid} is larger than {limit}, the largest that the device can carry")]
    PasidTooWide {
        /// The PASID of the mm.
        pasid: Pasid,
        /// The largest PASID of the device.
        limit: u32,
    },
    /// The mm has its PASID from another [`crate::PasidSpace`] than this IOMMU uses.
    #[error("the address space has a PASID from another PASID space")]
    ForeignPasid,
    /// Out of PSCIDs, the tags of address spaces in the IOMMU's caches.
    #[error("out of address-space tags (PSCID)")]
    TagsExhausted,
    /// The IOMMU can't walk the mm's page table: it has not this format, or the root is misaligned or out of
    /// reach.
    #[error("the IOMMU can't use the page table's format or root")]
    PageTable,
    /// The address space has exited.
    #[error("the address space has exited")]
    MmExited,
    /// The platform has no memory, or none within the IOMMU's reach.
    #[error("out of memory that the IOMMU can reach")]
    OutOfMemory,
}

/// Why [`crate::Handle::set_ops`] failed. The bond is as it was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetOpsError {
    /// The bond has other ops, or other driver data, already.
    #[error("the bond already has other callbacks")]
    AlreadySet,
    /// The address space has exited; `mm_exit` would never be called. Unbind.
    #[error("the address space has exited")]
    MmExited,
}

/// Why a call about ATS or page requests of a device, or about cutting it off, failed. The device is as it was
/// before, except after [`DeviceError::Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceError {
    /// The IOMMU has neither ATS nor page requests (`capabilities.ATS`).
    #[error("the IOMMU does not support ATS")]
    NotSupported,
    /// SVA is not enabled for the device.
    #[error("device {0:#x} is not enabled for SVA")]
    NotEnabled(u32),
    /// ATS or page requests, whichever it was, are on already.
    #[error("device {0:#x} has this enabled already")]
    AlreadyEnabled(u32),
    /// Page requests need ATS.
    #[error("device {0:#x} needs ATS for that")]
    NeedsAts(u32),
    /// Bonds are in the way; the device driver unbinds them first.
    #[error("device {device_id:#x} still has {bonds} bonds")]
    Bound {
        /// The device.
        device_id: u32,
        /// How many address spaces it is bound to.
        bonds: usize,
    },
    /// The device is being removed, or was cut off.
    #[error("device {0:#x} is being removed or was cut off")]
    Leaving(u32),
    /// A value of [`crate::PriOptions`] is outside its legal range.
    #[error("{0} outstanding page requests are not between 1 and 65536")]
    Outstanding(usize),
    /// There is no memory.
    #[error("out of memory")]
    OutOfMemory,
    /// The IOMMU did not confirm. The device's context is what it was meant to become, or invalid, in memory;
    /// the call can be repeated.
    #[error("changing the device context: {0}")]
    Command(#[from] CommandError),
}
