//! Calls that enable, disable, cut off and reinstate devices.

use crate::{
    error::{code, fail, fill},
    instance::{IOMMUS, Instance},
    iommu, iommu_error,
    table::Use,
};
use core::ffi::c_int;
use pasidon_driver::{AtsOptions, DeviceOptions, Iommu, PriOptions, Untagged};

/// A device: the IOMMU that it is behind, and its id there. C makes these as it needs them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct iommu_device {
    /// The IOMMU.
    pub iommu: *mut iommu,
    /// Segment (bits 23:16) and requester id (bits 15:0).
    pub id: u32,
}

/// What state a device is in.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct iommu_device_state {
    /// Address spaces that it is bound to.
    pub bonds: usize,
    /// It may use ATS.
    pub ats: bool,
    /// It may send page requests.
    pub page_requests: bool,
    /// It was cut off, by iommu_device_cut_off or because it did not complete an invalidation.
    pub cut_off: bool,
}

/// The driver and the id that a device stands for.
///
/// # Safety
/// `device` is NULL or points to one.
pub(crate) unsafe fn device(
    device: *const iommu_device,
) -> Result<(Use<'static, Instance>, u32), iommu_error> {
    // SAFETY: as the caller has promised.
    let device = unsafe { device.as_ref() }.ok_or(iommu_error::Invalid)?;
    Ok((IOMMUS.get(device.iommu)?, device.id))
}

/// Calls `call` with what a device stands for.
///
/// # Safety
/// As for [`device`].
unsafe fn with<E: Into<iommu_error>>(
    pointer: *const iommu_device,
    call: impl FnOnce(&Iommu, u32) -> Result<(), E>,
) -> c_int {
    // SAFETY: as the caller has promised.
    match unsafe { device(pointer) } {
        Ok((iommu, id)) => code(call(&iommu.driver, id)),
        Err(error) => fail(error),
    }
}

/// Gives a device a context, so that it can be bound. Its PASIDs have `pasid_width` bits, 1 to 20. Its accesses without
/// a PASID fault, or, with `pass_untagged`, reach physical memory untranslated.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_enable_sva(
    device: *const iommu_device,
    pasid_width: u32,
    pass_untagged: bool,
) -> c_int {
    let untagged = if pass_untagged { Untagged::PassThrough } else { Untagged::Fault };
    // SAFETY: as the caller has promised.
    unsafe { with(device, |driver, id| driver.enable_sva(id, DeviceOptions { pasid_width, untagged })) }
}

/// Takes a device's context away. It has been told to stop, and has no bonds.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_disable_sva(device: *const iommu_device) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(device, Iommu::disable_sva) }
}

/// Lets a device use ATS; the device's own enable bit is set afterwards. The device is idle and has no bonds. `segment`
/// is what messages to it name, 0 to 255, or -1: bits 23:16 of the device id if they are not 0.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_enable_ats(device: *const iommu_device, segment: i16) -> c_int {
    let segment = match segment {
        -1 => None,
        number => match u8::try_from(number) {
            Ok(number) => Some(number),
            Err(_) => return fail(iommu_error::Invalid),
        },
    };
    // SAFETY: as the caller has promised.
    unsafe { with(device, |driver, id| driver.enable_ats(id, AtsOptions { segment })) }
}

/// Takes ATS and page requests from an idle device whose own enable bits have been cleared. Bonds stay.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_disable_ats(device: *const iommu_device) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(device, Iommu::disable_ats) }
}

/// Lets a device have so many page requests outstanding; the device's own enable bit is set afterwards.
/// `response_needs_pasid` is the device's "PRG Response PASID Required" bit.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_enable_pri(
    device: *const iommu_device,
    outstanding: usize,
    response_needs_pasid: bool,
) -> c_int {
    let options = PriOptions { outstanding, response_needs_pasid };
    // SAFETY: as the caller has promised.
    unsafe { with(device, |driver, id| driver.enable_pri(id, options)) }
}

/// Takes page requests from a device whose own enable bit has been cleared. What is pending is answered Invalid Request.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_disable_pri(device: *const iommu_device) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(device, Iommu::disable_pri) }
}

/// Refuses everything from a device from now on: it is gone, or about to be reset.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_cut_off(device: *const iommu_device) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(device, Iommu::cut_off) }
}

/// Lets a device in again that was cut off and has been reset since.
///
/// # Safety
/// `device` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_reinstate(device: *const iommu_device) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(device, Iommu::reinstate) }
}

/// The state of a device for which SVA is enabled.
///
/// # Safety
/// `device` is NULL or points to a device; `state` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_device_get_state(
    device: *const iommu_device,
    state: *mut iommu_device_state,
) -> c_int {
    let look = |driver: &Iommu, id| {
        let found = driver.device_state(id).ok_or(iommu_error::Device)?;
        let filled = iommu_device_state {
            bonds: found.bonds,
            ats: found.ats,
            page_requests: found.page_requests,
            cut_off: found.cut_off,
        };
        // SAFETY: as the caller has promised.
        unsafe { fill(state, filled) }
    };
    // SAFETY: as the caller has promised.
    unsafe { with(device, look) }
}
