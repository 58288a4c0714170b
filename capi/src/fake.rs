//! The fake machine for C: a small behavioural IOMMU with memory, and devices that speak ATS and PRI.

use crate::iommu_platform;
use alloc::{boxed::Box, sync::Arc};
use core::ffi::{c_int, c_void};
use pasidon_driver::fake::{Access, Behaviour, CAPABILITIES_ATS, Fake, Reached};
use pasidon_spec::page_request::PageRequest;

/// A machine to try a driver on.
pub struct iommu_fake {
    machine: Arc<Fake>,
}

/// A machine just out of reset, with no devices.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_create() -> *mut iommu_fake {
    Box::into_raw(Box::new(iommu_fake { machine: Fake::with_capabilities(CAPABILITIES_ATS) }))
}

/// Ends a machine. NULL is ignored.
///
/// # Safety
/// `fake` is NULL or comes from `iommu_fake_create`, its IOMMU has been destroyed, and it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_destroy(fake: *mut iommu_fake) {
    if !fake.is_null() {
        // SAFETY: this gives back what `iommu_fake_create` gave out.
        drop(unsafe { Box::from_raw(fake) });
    }
}

/// The machine that a context is.
///
/// # Safety
/// `context` is an `iommu_fake` that is alive.
unsafe fn machine<'a>(context: *mut c_void) -> &'a Fake {
    // SAFETY: as the caller has promised.
    unsafe { &(*context.cast::<iommu_fake>()).machine }
}

// SAFETY, for each of the functions below: they are only given out by `iommu_fake_platform`, together with the machine as
// context, whose caller has promised that it stays.
unsafe extern "C" fn read32(context: *mut c_void, offset: u32) -> u32 {
    // SAFETY: see above.
    unsafe { machine(context) }.read32(offset)
}
unsafe extern "C" fn read64(context: *mut c_void, offset: u32) -> u64 {
    // SAFETY: see above.
    unsafe { machine(context) }.read64(offset)
}
unsafe extern "C" fn write32(context: *mut c_void, offset: u32, value: u32) {
    // SAFETY: see above.
    unsafe { machine(context) }.write32(offset, value);
}
unsafe extern "C" fn write64(context: *mut c_void, offset: u32, value: u64) {
    // SAFETY: see above.
    unsafe { machine(context) }.write64(offset, value);
}
unsafe extern "C" fn alloc(context: *mut c_void, bytes: usize, align: usize) -> u64 {
    // SAFETY: see above.
    unsafe { machine(context) }.alloc(bytes, align).unwrap_or(u64::MAX)
}
unsafe extern "C" fn free(context: *mut c_void, paddr: u64, bytes: usize) {
    // SAFETY: see above.
    unsafe { machine(context) }.free(paddr, bytes);
}
unsafe extern "C" fn load64(context: *mut c_void, paddr: u64) -> u64 {
    // SAFETY: see above.
    unsafe { machine(context) }.load64(paddr)
}
unsafe extern "C" fn store64(context: *mut c_void, paddr: u64, value: u64) {
    // SAFETY: see above.
    unsafe { machine(context) }.store64(paddr, value);
}
unsafe extern "C" fn fence(context: *mut c_void) {
    // SAFETY: see above.
    unsafe { machine(context) }.fence();
}
unsafe extern "C" fn now(context: *mut c_void) -> u64 {
    // SAFETY: see above.
    unsafe { machine(context) }.now()
}
unsafe extern "C" fn relax(context: *mut c_void) {
    // SAFETY: see above.
    unsafe { machine(context) }.relax();
}

/// The machine's IOMMU and memory, as iommu_create wants them.
///
/// # Safety
/// `fake` is alive, and stays so for as long as what `platform` is used for; `platform` points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_platform(fake: *mut iommu_fake, platform: *mut iommu_platform) {
    let filled = iommu_platform {
        context: fake.cast(),
        read32: Some(read32),
        read64: Some(read64),
        write32: Some(write32),
        write64: Some(write64),
        alloc: Some(alloc),
        free: Some(free),
        load64: Some(load64),
        store64: Some(store64),
        fence: Some(fence),
        now: Some(now),
        relax: Some(relax),
        mask: None,
        unmask: None,
        flow: None,
        is_fixed_memory: None,
    };
    // SAFETY: as the caller has promised.
    unsafe { platform.write(filled) }
}

/// Puts a device on the bus that speaks ATS and PRI. If `completes` is false it never completes an invalidation.
///
/// # Safety
/// `fake` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_attach(fake: *mut iommu_fake, device_id: u32, completes: bool) {
    let behaviour = Behaviour { completes, ..Behaviour::default() };
    // SAFETY: as the caller has promised.
    unsafe { machine(fake.cast()) }.attach(device_id, behaviour);
}

/// A device's access to a virtual address, through its translation cache. Returns 0 and the physical address, 1 if the
/// page is not there, 2 if the IOMMU refuses.
///
/// # Safety
/// `fake` is alive; `paddr` points to memory for an address.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_access(
    fake: *mut iommu_fake,
    device_id: u32,
    pasid: u32,
    address: u64,
    write: bool,
    paddr: *mut u64,
) -> c_int {
    let access = if write { Access::Write } else { Access::Read };
    // SAFETY: as the caller has promised.
    match unsafe { machine(fake.cast()) }.access(device_id, Some(pasid), address, access) {
        Reached::Memory(address) => {
            // SAFETY: as the caller has promised.
            unsafe { paddr.write(address) };
            0
        }
        Reached::NoPage => 1,
        Reached::Refused(_) => 2,
    }
}

/// A device asks for a page, in a group of its own.
///
/// # Safety
/// `fake` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_page_request(
    fake: *mut iommu_fake,
    device_id: u32,
    pasid: u32,
    index: u16,
    address: u64,
    write: bool,
) {
    let request = PageRequest {
        did: device_id,
        pv: true,
        pid: pasid,
        read: true,
        write,
        last: true,
        index,
        page: address >> 12,
        ..PageRequest::default()
    };
    // SAFETY: as the caller has promised.
    unsafe { machine(fake.cast()) }.page_request(request);
}

/// The code of the last answer to a page request that a device has got, -1 if there was none since the last call.
///
/// # Safety
/// `fake` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_response(fake: *mut iommu_fake, device_id: u32) -> c_int {
    // SAFETY: as the caller has promised.
    let machine = unsafe { machine(fake.cast()) };
    machine.run_for(20);
    machine.take_responses(device_id).last().map_or(-1, |response| response.code.into())
}

/// How often the driver, or the program, did something that software must not do.
///
/// # Safety
/// `fake` is alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_violations(fake: *mut iommu_fake) -> usize {
    // SAFETY: as the caller has promised.
    unsafe { machine(fake.cast()) }.violations().len()
}
