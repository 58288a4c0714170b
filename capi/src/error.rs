//! Error codes.

use core::ffi::{c_char, c_int};
use pasidon_driver::{
    BindError, CommandError, DeviceError, DisableError, EnableError, InitError, SetOpsError,
};

/// Error codes, with the numbers of Linux where there is one that fits. Functions return them negated.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum iommu_error {
    /// The address space has exited.
    Exited = 3,
    /// The IOMMU did not confirm a command: a memory fault, an illegal command, a queue that can't be restarted.
    Hardware = 5,
    /// There is nothing to return yet.
    Again = 11,
    /// Out of memory, or of memory that the IOMMU can reach.
    Memory = 12,
    /// Bonds still exist.
    Busy = 16,
    /// Already enabled, or already set to something else.
    Exists = 17,
    /// The PASID of the address space is from another PASID space.
    ForeignPasid = 18,
    /// SVA is not enabled for the device, or another feature that the call needs is not.
    Device = 19,
    /// An argument is NULL or outside its range, a handle is none or one of another kind, or the IOMMU can't use the page
    /// table.
    Invalid = 22,
    /// There is no free PASID that the device can carry.
    NoPasid = 28,
    /// The PASID of the address space is larger than the device can carry.
    Wide = 75,
    /// The IOMMU does not support this.
    Unsupported = 95,
    /// The IOMMU was reset: call iommu_resume.
    Reset = 104,
    /// The device is being removed or was cut off.
    Leaving = 108,
    /// The hardware did not respond in time.
    Timeout = 110,
    /// The handle was released before.
    Stale = 116,
    /// There is no free tag (PSCID) for the address space.
    NoTag = 119,
}

const TEXTS: &[(iommu_error, &core::ffi::CStr)] = &[
    (iommu_error::Exited, c"the address space has exited"),
    (
        iommu_error::Hardware,
        c"the IOMMU did not confirm: a memory fault, an illegal command, a queue that can't be restarted",
    ),
    (iommu_error::Again, c"there is nothing yet"),
    (iommu_error::Memory, c"there is no memory, or none within the reach of the IOMMU"),
    (iommu_error::Busy, c"bonds are in the way"),
    (iommu_error::Exists, c"this is on, or set to something else, already"),
    (iommu_error::ForeignPasid, c"the PASID of the address space is from another space"),
    (iommu_error::Device, c"SVA is not enabled for the device, or something that this needs is not"),
    (
        iommu_error::Invalid,
        c"an argument is NULL or outside its range, a handle is none or one of another kind, or the IOMMU can't use \
          the page table",
    ),
    (iommu_error::NoPasid, c"there is no free PASID that the device can carry"),
    (iommu_error::Wide, c"the PASID of the address space is larger than the device can carry"),
    (iommu_error::Unsupported, c"the IOMMU can't do this"),
    (iommu_error::Reset, c"the IOMMU was reset: it has to be resumed"),
    (iommu_error::Stale, c"the handle was given back before this"),
    (iommu_error::Leaving, c"the device is being removed or was cut off"),
    (iommu_error::Timeout, c"the hardware did not do something in time"),
    (iommu_error::NoTag, c"there is no free tag for the address space"),
];

pub(crate) fn fail(error: iommu_error) -> c_int {
    -(error as c_int)
}

/// The code of a result without a value.
pub(crate) fn code<E: Into<iommu_error>>(result: Result<(), E>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => fail(error.into()),
    }
}

/// Writes what a call has found to where the caller wants it.
///
/// # Safety
/// `to` is NULL or points to memory for a `T`.
pub(crate) unsafe fn fill<T>(to: *mut T, found: T) -> Result<(), iommu_error> {
    if to.is_null() {
        return Err(iommu_error::Invalid);
    }
    // SAFETY: as the caller has promised.
    unsafe { to.write(found) }
    Ok(())
}

/// Whether the heap has room for a value. Where the language has no way to be told that there is none, this is asked
/// first: the chance that another thread takes it meanwhile remains.
pub(crate) fn room_for<T>() -> Result<(), iommu_error> {
    // A value behind a reference count has two more words.
    let mut probe = alloc::vec::Vec::<(T, [usize; 2])>::new();
    probe.try_reserve_exact(1).map_err(|_| iommu_error::Memory)
}

/// A pointer that `IOMMU_IS_ERR` accepts.
pub(crate) fn error_pointer<T>(error: impl Into<iommu_error>) -> *mut T {
    core::ptr::without_provenance_mut(fail(error.into()) as usize)
}

impl From<CommandError> for iommu_error {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Timeout | CommandError::DeviceTimeout => Self::Timeout,
            CommandError::Reset => Self::Reset,
            _ => Self::Hardware,
        }
    }
}

impl From<InitError> for iommu_error {
    fn from(error: InitError) -> Self {
        match error {
            InitError::Config { .. } | InitError::Message(_) => Self::Invalid,
            InitError::Timeout(_) => Self::Timeout,
            InitError::OutOfMemory => Self::Memory,
            InitError::Command(error) => error.into(),
            InitError::Rejected(_) => Self::Hardware,
            _ => Self::Unsupported,
        }
    }
}

impl From<EnableError> for iommu_error {
    fn from(error: EnableError) -> Self {
        match error {
            EnableError::AlreadyEnabled(_) => Self::Exists,
            EnableError::NoProcessDirectory => Self::Unsupported,
            EnableError::OutOfMemory => Self::Memory,
            _ => Self::Invalid,
        }
    }
}

impl From<DisableError> for iommu_error {
    fn from(error: DisableError) -> Self {
        match error {
            DisableError::Bound { .. } => Self::Busy,
            DisableError::Command(error) => error.into(),
            _ => Self::Device,
        }
    }
}

impl From<DeviceError> for iommu_error {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::NotSupported => Self::Unsupported,
            DeviceError::AlreadyEnabled(_) => Self::Exists,
            DeviceError::Bound { .. } => Self::Busy,
            DeviceError::Leaving(_) => Self::Leaving,
            DeviceError::Outstanding(_) => Self::Invalid,
            DeviceError::OutOfMemory => Self::Memory,
            DeviceError::Command(error) => error.into(),
            _ => Self::Device,
        }
    }
}

impl From<BindError> for iommu_error {
    fn from(error: BindError) -> Self {
        match error {
            BindError::DeviceLeaving(_) => Self::Leaving,
            BindError::PasidsExhausted => Self::NoPasid,
            BindError::PasidTooWide { .. } => Self::Wide,
            BindError::ForeignPasid => Self::ForeignPasid,
            BindError::TagsExhausted => Self::NoTag,
            BindError::PageTable => Self::Invalid,
            BindError::MmExited => Self::Exited,
            BindError::OutOfMemory => Self::Memory,
            _ => Self::Device,
        }
    }
}

impl From<SetOpsError> for iommu_error {
    fn from(error: SetOpsError) -> Self {
        match error {
            SetOpsError::MmExited => Self::Exited,
            _ => Self::Exists,
        }
    }
}

/// The meaning of an error code, with or without its minus sign. Never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_strerror(error: c_int) -> *const c_char {
    let known = TEXTS.iter().find(|(known, _)| *known as c_int == error.saturating_abs());
    known.map_or(c"unknown error", |(_, text)| text).as_ptr()
}
