//! The fake machine for C: a small behavioural IOMMU with memory, and devices that speak ATS and PRI.

use crate::{
    error::{error_pointer, fail, fill},
    instance::put,
    iommu_error, iommu_platform,
    table::{Kind, Table},
};
use alloc::sync::Arc;
use core::ffi::{c_int, c_void};
use pasidon_driver::fake::{Access, Behaviour, CAPABILITIES_ATS, Fake, Reached};
use pasidon_spec::page_request::PageRequest;

/// A machine to try a driver on. A handle.
pub struct iommu_fake {
    _nothing: [u8; 0],
}

static FAKES: Table<Fake> = Table::new(Kind::Fake);

/// A machine just out of reset, with no devices.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_create() -> *mut iommu_fake {
    FAKES.insert(|| Fake::with_capabilities(CAPABILITIES_ATS)).unwrap_or_else(error_pointer)
}

/// Ends a machine, whose IOMMU has been destroyed. NULL is ignored.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_destroy(fake: *mut iommu_fake) -> c_int {
    put(&FAKES, fake)
}

/// Calls `call` with a machine.
fn with(fake: *mut iommu_fake, call: impl FnOnce(&Arc<Fake>) -> Result<c_int, iommu_error>) -> c_int {
    FAKES.get(fake).and_then(|fake| call(&fake)).unwrap_or_else(fail)
}

/// The machine that a context is.
///
/// # Safety
/// `context` is a `Fake` that is alive.
unsafe fn machine<'a>(context: *mut c_void) -> &'a Fake {
    // SAFETY: as the caller has promised.
    unsafe { &*context.cast::<Fake>() }
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
/// The machine is not ended for as long as the platform is used; `platform` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_fake_platform(fake: *mut iommu_fake, platform: *mut iommu_platform) -> c_int {
    let filled = |machine: &Arc<Fake>| iommu_platform {
        context: Arc::as_ptr(machine).cast_mut().cast(),
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
    with(fake, |machine| unsafe { fill(platform, filled(machine)) }.map(|()| 0))
}

/// Puts a device on the bus that speaks ATS and PRI. If `completes` is false it never completes an invalidation.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_attach(fake: *mut iommu_fake, device_id: u32, completes: bool) -> c_int {
    let behaviour = Behaviour { completes, ..Behaviour::default() };
    with(fake, |machine| {
        machine.attach(device_id, behaviour);
        Ok(0)
    })
}

/// A device's access to a virtual address, through its translation cache. Returns 0 and the physical address, 1 if the
/// page is not there, 2 if the IOMMU refuses.
///
/// # Safety
/// `paddr` is NULL or points to memory for an address.
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
    with(fake, |machine| match machine.access(device_id, Some(pasid), address, access) {
        // SAFETY: as the caller has promised.
        Reached::Memory(address) => unsafe { fill(paddr, address) }.map(|()| 0),
        Reached::NoPage => Ok(1),
        Reached::Refused(_) => Ok(2),
    })
}

/// A device asks for a page, in a group of its own.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_page_request(
    fake: *mut iommu_fake,
    device_id: u32,
    pasid: u32,
    index: u16,
    address: u64,
    write: bool,
) -> c_int {
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
    with(fake, |machine| {
        machine.page_request(request);
        Ok(0)
    })
}

/// The code of the last answer to a page request that a device has got since the last call.
///
/// Errors: IOMMU_ERROR_AGAIN: there was none.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_response(fake: *mut iommu_fake, device_id: u32) -> c_int {
    with(fake, |machine| {
        machine.run_for(20);
        let responses = machine.take_responses(device_id);
        responses.last().map(|response| response.code.into()).ok_or(iommu_error::Again)
    })
}

/// How often the driver, or the program, did something that software must not do.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_fake_violations(fake: *mut iommu_fake) -> c_int {
    with(fake, |machine| Ok(machine.violations().len().try_into().unwrap_or(c_int::MAX)))
}
