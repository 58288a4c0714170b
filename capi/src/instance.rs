//! One IOMMU, and the PASIDs that several can share.

use crate::{
    error::{code, error_pointer, fail, fill, room_for},
    iommu_error, iommu_platform,
    platform::CPlatform,
    table::{Kind, Table},
};
use alloc::sync::Arc;
use core::{
    ffi::c_int,
    sync::atomic::{AtomicUsize, Ordering},
};
use pasidon_driver::{Config, Iommu, Message, Pasid, PasidSpace};

/// An IOMMU that is up and translating. A handle.
pub struct iommu {
    _nothing: [u8; 0],
}

/// What that handle stands for.
pub(crate) struct Instance {
    pub(crate) driver: Iommu,
    /// Told from all others that ever were.
    pub(crate) serial: usize,
}

static SERIALS: AtomicUsize = AtomicUsize::new(0);

pub(crate) static IOMMUS: Table<Instance> = Table::new(Kind::Iommu);

/// The PASIDs of a system. A handle.
pub struct iommu_pasid_space {
    _nothing: [u8; 0],
}

static SPACES: Table<PasidSpace> = Table::new(Kind::PasidSpace);

/// Takes a handle back; NULL is ignored.
pub(crate) fn put<T, C>(table: &Table<T>, handle: *const C) -> c_int {
    if handle.is_null() { 0 } else { code(table.remove(handle)) }
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
pub unsafe extern "C" fn iommu_config_init(config: *mut iommu_config) -> c_int {
    let usual = Config::default();
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
    code(unsafe { fill(config, filled) })
}

/// PASIDs from 1 to `max`, for several IOMMUs to share.
///
/// Errors: IOMMU_ERROR_INVALID: `max` is 0 or larger than 2^20 - 1. IOMMU_ERROR_MEMORY.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_pasid_space_create(max: u32) -> *mut iommu_pasid_space {
    if !(1..=Pasid::MAX).contains(&max) {
        return error_pointer(iommu_error::Invalid);
    }
    let made = room_for::<PasidSpace>().and_then(|()| SPACES.insert(|| Arc::new(PasidSpace::new(max))));
    made.unwrap_or_else(error_pointer)
}

/// Lets go of PASIDs. They live on as long as IOMMUs and address spaces use them. NULL is ignored.
///
/// Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_pasid_space_put(space: *mut iommu_pasid_space) -> c_int {
    put(&SPACES, space)
}

/// Brings an IOMMU up: with queues and an empty device directory, in which everything is refused until its device is
/// enabled. `config` may be NULL for what is usual.
///
/// # Safety
/// `platform` is NULL or points to functions that do what `iommu_platform` says, with its context, from any thread, for
/// as long as the IOMMU exists; it is copied. `config` is NULL or points to one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_create(
    platform: *const iommu_platform,
    config: *const iommu_config,
) -> *mut iommu {
    // SAFETY: as the caller has promised.
    let Some(platform) = unsafe { platform.as_ref() }.and_then(CPlatform::new) else {
        return error_pointer(iommu_error::Invalid);
    };
    if let Err(error) = room_for::<(CPlatform, Instance)>() {
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
        if !config.pasids.is_null() {
            wanted.pasids = match SPACES.get(config.pasids) {
                Ok(shared) => Some((*shared).clone()),
                Err(error) => return error_pointer(error),
            };
        }
    }
    match Iommu::new(Arc::new(platform), wanted) {
        Ok(driver) => {
            let serial = SERIALS.fetch_add(1, Ordering::Relaxed);
            IOMMUS.insert(|| Arc::new(Instance { driver, serial })).unwrap_or_else(error_pointer)
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
/// ignored. Nobody is calling anything with it, nor an interrupt handler about to.
///
/// Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_destroy(iommu: *mut iommu) -> c_int {
    put(&IOMMUS, iommu)
}

/// Calls `call` with the driver of an IOMMU.
pub(crate) fn with<E: Into<iommu_error>>(
    iommu: *const iommu,
    call: impl FnOnce(&Iommu) -> Result<(), E>,
) -> c_int {
    match IOMMUS.get(iommu) {
        Ok(iommu) => code(call(&iommu.driver)),
        Err(error) => fail(error),
    }
}

/// Switches an IOMMU off, so that its power can be taken. Devices are idle. Everything stays bound, no register is touched
/// until iommu_resume, and what is bound, unbound or invalidated meanwhile counts from then on.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_suspend(iommu: *mut iommu) -> c_int {
    with(iommu, Iommu::suspend)
}

/// Brings an IOMMU back that was suspended, or was reset behind the driver's back: calls return IOMMU_ERROR_RESET then, and
/// the reports of the service calls say so. Everything is bound as before. An invalidation that failed for a reset
/// is to be repeated after this.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_resume(iommu: *mut iommu) -> c_int {
    with(iommu, Iommu::resume)
}

/// Switches an IOMMU off and on again, with everything bound as before: for one that does not do what it should.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_reset(iommu: *mut iommu) -> c_int {
    with(iommu, Iommu::reset)
}
