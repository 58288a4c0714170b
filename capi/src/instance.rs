//! One IOMMU, and the PASIDs that several can share.

use crate::{
    error::{code, error_pointer, fail, room_for},
    iommu_error, iommu_platform,
    platform::CPlatform,
};
use alloc::{boxed::Box, sync::Arc};
use core::{
    ffi::c_int,
    sync::atomic::{AtomicUsize, Ordering},
};
use pasidon_driver::{Config, InitError, Iommu, Message, PasidSpace};

/// An IOMMU that is up and translating.
pub struct iommu {
    pub(crate) driver: Iommu,
    /// Told from all others that ever were.
    pub(crate) serial: usize,
}

static SERIALS: AtomicUsize = AtomicUsize::new(0);

/// The PASIDs of a system.
pub struct iommu_pasid_space {
    // Pointers to this point to the one in an `Arc`, of which there is nothing else.
    _pasids: PasidSpace,
}

/// An interrupt that is a message: a store of four bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct iommu_message {
    /// The physical address, a multiple of 4; 0: there is no message, the interrupt is a wire.
    pub address: u64,
    /// What is stored there.
    pub data: u32,
}

impl iommu_message {
    fn get(self) -> Option<Message> {
        (self.address != 0).then_some(Message { address: self.address, data: self.data })
    }
}

/// How an IOMMU is set up. iommu_config_init fills in what is usual.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct iommu_config {
    /// Width of the device ids in use, in bits: 1 to 24.
    pub device_id_width: u32,
    /// Logarithm to base 2 of the command queue's entries: 3 to 15.
    pub command_queue_log2: u32,
    /// Logarithm to base 2 of the fault queue's entries: 3 to 15.
    pub fault_queue_log2: u32,
    /// Logarithm to base 2 of the page-request queue's entries: 3 to 15.
    pub page_request_queue_log2: u32,
    /// How many ticks the IOMMU may take for one step.
    pub timeout: u64,
    /// How many ticks a command may take that waits for devices: longer than the IOMMU itself waits for them.
    pub device_timeout: u64,
    /// A range of more pages than this is invalidated by invalidating its whole address space.
    pub range_limit: u64,
    /// Interrupt vector (wire) of the fault queue, 0 to 15; -1 to poll.
    pub fault_vector: i8,
    /// Interrupt vector (wire) of the page-request queue, 0 to 15; -1 to poll.
    pub page_request_vector: i8,
    /// The PASIDs to draw from: IOMMUs where the same address space may be bound share one space. NULL: one of its own.
    pub pasids: *mut iommu_pasid_space,
    /// The message of the fault queue's interrupt, if interrupts are messages.
    pub fault_message: iommu_message,
    /// The message of the page-request queue's interrupt, if interrupts are messages.
    pub page_request_message: iommu_message,
    /// The IOMMU sets accessed and dirty bits in page tables itself, if it can.
    pub update_ad: bool,
}

/// Fills in what is usual: 8-bit device ids, queues of a page each, ten million ticks (a thousand million for devices),
/// polling, PASIDs of its own.
///
/// # Safety
/// `config` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_config_init(config: *mut iommu_config) {
    let usual = Config::default();
    if !config.is_null() {
        let filled = iommu_config {
            device_id_width: usual.device_id_width,
            command_queue_log2: usual.command_queue_log2,
            fault_queue_log2: usual.fault_queue_log2,
            page_request_queue_log2: usual.page_request_queue_log2,
            timeout: usual.timeout,
            device_timeout: usual.device_timeout,
            range_limit: usual.range_limit,
            fault_vector: -1,
            page_request_vector: -1,
            pasids: core::ptr::null_mut(),
            fault_message: iommu_message::default(),
            page_request_message: iommu_message::default(),
            update_ad: usual.update_ad,
        };
        // SAFETY: as the caller has promised.
        unsafe { config.write(filled) }
    }
}

/// PASIDs from 1 to `max` (at most 2^20 - 1), for several IOMMUs to share.
///
/// Errors: IOMMU_ERROR_MEMORY.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_pasid_space_create(max: u32) -> *mut iommu_pasid_space {
    if let Err(error) = room_for::<PasidSpace>() {
        return error_pointer(error);
    }
    Arc::into_raw(Arc::new(PasidSpace::new(max))).cast_mut().cast()
}

/// Lets go of PASIDs. They live on as long as IOMMUs and address spaces use them. NULL is ignored.
///
/// # Safety
/// `space` is NULL or comes from `iommu_pasid_space_create`, and the caller does not use it again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_pasid_space_put(space: *mut iommu_pasid_space) {
    if !space.is_null() {
        // SAFETY: this gives back the reference that `iommu_pasid_space_create` gave out.
        drop(unsafe { Arc::from_raw(space.cast_const().cast::<PasidSpace>()) });
    }
}

/// Brings an IOMMU up: with queues and an empty device directory, in which everything is refused until its device is
/// enabled. `config` may be NULL for what is usual.
///
/// # Safety
/// `platform` is NULL or points to functions that do what `iommu_platform` says, with its context, from any thread, for
/// as long as the IOMMU exists; it is copied. `config` is NULL or points to one, whose `pasids` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_create(
    platform: *const iommu_platform,
    config: *const iommu_config,
) -> *mut iommu {
    // SAFETY: as the caller has promised.
    let Some(platform) = unsafe { platform.as_ref() }.and_then(CPlatform::new) else {
        return error_pointer(iommu_error::Invalid);
    };
    if let Err(error) = room_for::<(CPlatform, iommu)>() {
        return error_pointer(error);
    }
    let mut wanted = Config::default();
    // SAFETY: as the caller has promised.
    if let Some(config) = unsafe { config.as_ref() } {
        let Ok(fault_vector) = vector(config.fault_vector) else {
            return error_pointer(iommu_error::Invalid);
        };
        let Ok(page_request_vector) = vector(config.page_request_vector) else {
            return error_pointer(iommu_error::Invalid);
        };
        wanted = Config {
            device_id_width: config.device_id_width,
            command_queue_log2: config.command_queue_log2,
            fault_queue_log2: config.fault_queue_log2,
            page_request_queue_log2: config.page_request_queue_log2,
            timeout: config.timeout,
            device_timeout: config.device_timeout,
            range_limit: config.range_limit,
            fault_vector,
            page_request_vector,
            fault_message: config.fault_message.get(),
            page_request_message: config.page_request_message.get(),
            update_ad: config.update_ad,
            pasids: None,
        };
        let shared = config.pasids.cast_const().cast::<PasidSpace>();
        if !shared.is_null() {
            // SAFETY: the caller holds a reference to the `Arc` that this points into.
            wanted.pasids = Some(unsafe {
                Arc::increment_strong_count(shared);
                Arc::from_raw(shared)
            });
        }
    }
    match Iommu::new(Arc::new(platform), wanted) {
        Ok(driver) => {
            let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
            Box::into_raw(Box::new(iommu { driver, serial }))
        }
        Err(error) => error_pointer(error),
    }
}

/// `None` for -1.
fn vector(number: i8) -> Result<Option<u8>, iommu_error> {
    match number {
        -1 => Ok(None),
        _ => u8::try_from(number).map(Some).map_err(|_| iommu_error::Invalid),
    }
}

/// Lets go of an IOMMU. When nothing is bound to it any more it is set to Off, in which it refuses everything. NULL is
/// ignored.
///
/// # Safety
/// `iommu` is NULL or comes from `iommu_create`, nobody is using it, and the caller does not use it again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_destroy(iommu: *mut iommu) {
    if !iommu.is_null() {
        // SAFETY: this gives back what `iommu_create` gave out.
        drop(unsafe { Box::from_raw(iommu) });
    }
}

/// Calls `call` with the driver of an IOMMU.
///
/// # Safety
/// `iommu` is NULL or alive.
unsafe fn with(iommu: *mut iommu, call: impl FnOnce(&Iommu) -> Result<(), InitError>) -> c_int {
    // SAFETY: as the caller has promised.
    match unsafe { iommu.as_ref() } {
        Some(iommu) => code(call(&iommu.driver)),
        None => fail(iommu_error::Invalid),
    }
}

/// Switches an IOMMU off, so that its power can be taken. Devices are idle. Everything stays bound, no register is touched
/// until iommu_resume, and what is bound, unbound or invalidated meanwhile counts from then on.
///
/// # Safety
/// `iommu` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_suspend(iommu: *mut iommu) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(iommu, Iommu::suspend) }
}

/// Brings an IOMMU back that was suspended, or was reset behind the driver's back: calls return IOMMU_ERROR_RESET then, and
/// the reports of the service calls say so. Everything is bound as before. An invalidation that failed for a reset
/// is to be repeated after this.
///
/// # Safety
/// `iommu` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_resume(iommu: *mut iommu) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(iommu, Iommu::resume) }
}

/// Switches an IOMMU off and on again, with everything bound as before: for one that does not do what it should.
///
/// # Safety
/// `iommu` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_reset(iommu: *mut iommu) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { with(iommu, Iommu::reset) }
}
