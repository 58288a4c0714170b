//! Bind and unbind, under the names of the kernel.

use crate::{
    device::{device, iommu_device},
    error::{code, error_pointer, fail},
    iommu_access, iommu_error, iommu_mm,
    mm::clone_mm,
};
use core::ffi::{c_int, c_void};
use pasidon_driver::{Bond, DrvData, Fault, FaultDecision, Handle, SvaOps};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// A device bound to an address space. Binding the same two again gives the same pointer.
pub struct iommu_sva {
    bindings: Arc<Bindings>,
    key: Key,
    pasid: AtomicU32,
    handles: Mutex<Vec<Handle>>,
    callbacks: Mutex<Option<Callbacks>>,
}

/// A fault of a device in a bound address space.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct iommu_fault {
    /// What the device wanted to do.
    pub access: iommu_access,
    /// A page request that could not be resolved: the device waits for the decision. If false, the access has been
    /// refused already.
    pub recoverable: bool,
    /// The IOMMU's cause code, if the access has been refused.
    pub cause: u16,
}

/// What a device is told about a recoverable fault; what `iommu_sva_ops.fault` returns. Any other value means as
/// resolved.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum iommu_decision {
    /// What the address space's answer amounts to.
    AsResolved = 0,
    /// The device may retry.
    Retry = 1,
    /// The device must not retry.
    Invalid = 2,
    /// The device should stop using the page-request interface.
    Failure = 3,
}

/// The callbacks of a device driver. Any function may be NULL. They run without driver locks, from any thread, and must
/// not unbind what they are called for, which would wait for them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct iommu_sva_ops {
    /// The address space is going away: called once, while the page tables are still there. The handle is still to be
    /// unbound later.
    pub mm_exit: Option<unsafe extern "C" fn(handle: *mut iommu_sva, drvdata: *mut c_void)>,
    /// An access was refused, or a page request could not be resolved. Returns one of enum iommu_decision.
    pub fault: Option<
        unsafe extern "C" fn(
            handle: *mut iommu_sva,
            drvdata: *mut c_void,
            fault: *const iommu_fault,
        ) -> c_int,
    >,
}

/// Device id and address of the address space.
type Key = (u32, usize);

/// What is bound at an IOMMU, or about to be.
#[derive(Default)]
pub(crate) struct Bindings {
    known: Mutex<BTreeMap<Key, Known>>,
}

struct Known {
    sva: Arc<iommu_sva>,
    /// Binds that C has not answered with an unbind, and those that are being answered.
    uses: usize,
}

/// What C has set, and what the driver was given for it: the same for the same.
struct Callbacks {
    ops: *const iommu_sva_ops,
    drvdata: *mut c_void,
    shim: Arc<Shim>,
    data: DrvData,
}

// SAFETY: the pointers are only compared here.
unsafe impl Send for Callbacks {}

/// C's callbacks as the driver sees them.
struct Shim {
    ops: iommu_sva_ops,
    drvdata: *mut c_void,
    /// Valid as long as the bond: see [`Known::uses`].
    handle: *const iommu_sva,
}

// SAFETY: the caller of `iommu_sva_set_ops` has promised that the functions may be called, with this data, from any
// thread; nothing else is done with the pointers.
unsafe impl Send for Shim {}
// SAFETY: see above.
unsafe impl Sync for Shim {}

impl SvaOps for Shim {
    fn mm_exit(&self, _: &Bond, _: &DrvData) {
        if let Some(mm_exit) = self.ops.mm_exit {
            // SAFETY: as the caller of `iommu_sva_set_ops` has promised. The driver makes no call after the last handle
            // of the bond is gone, and until then the binding exists.
            unsafe { mm_exit(self.handle.cast_mut(), self.drvdata) }
        }
    }

    fn fault(&self, _: &Bond, _: &DrvData, fault: &Fault) -> FaultDecision {
        let Some(callback) = self.ops.fault else { return FaultDecision::AsResolved };
        let fault = iommu_fault {
            access: fault.access.into(),
            recoverable: fault.is_recoverable(),
            cause: fault.record.map_or(0, |record| record.cause),
        };
        // SAFETY: see `mm_exit`.
        match unsafe { callback(self.handle.cast_mut(), self.drvdata, &raw const fault) } {
            code if code == iommu_decision::Retry as c_int => FaultDecision::Retry,
            code if code == iommu_decision::Invalid as c_int => FaultDecision::Invalid,
            code if code == iommu_decision::Failure as c_int => FaultDecision::Failure,
            _ => FaultDecision::AsResolved,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while one of these is held.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Bindings {
    /// The binding of a device and an address space, used once more.
    fn enter(self: &Arc<Self>, key: Key) -> Arc<iommu_sva> {
        let mut known = lock(&self.known);
        let entry = known.entry(key).or_insert_with(|| Known {
            sva: Arc::new(iommu_sva {
                bindings: self.clone(),
                key,
                pasid: AtomicU32::new(0),
                handles: Mutex::new(Vec::new()),
                callbacks: Mutex::new(None),
            }),
            uses: 0,
        });
        entry.uses += 1;
        entry.sva.clone()
    }

    /// One use less.
    fn leave(&self, key: Key) {
        let mut known = lock(&self.known);
        if let Some(entry) = known.get_mut(&key) {
            entry.uses -= 1;
            if entry.uses == 0 {
                known.remove(&key);
            }
        }
    }
}

/// Binds a device to an address space: the device may use its virtual addresses with the handle's PASID. The same two
/// give the same handle, and as many unbinds are needed as there were binds.
///
/// Errors: IOMMU_ERROR_DEVICE, _LEAVING, _NO_PASID, _WIDE, _FOREIGN_PASID, _NO_TAG, _INVALID, _EXITED, _MEMORY.
///
/// # Safety
/// `dev` is NULL or points to a device whose IOMMU is NULL or alive; `mm` is NULL or alive.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_bind_device(
    dev: *const iommu_device,
    mm: *mut iommu_mm,
) -> *mut iommu_sva {
    // SAFETY: as the caller has promised.
    let Some((iommu, id)) = unsafe { device(dev) }.filter(|_| !mm.is_null()) else {
        return error_pointer(iommu_error::Invalid);
    };
    let key = (id, mm.addr());
    let sva = iommu.bindings.enter(key);
    // SAFETY: as the caller has promised.
    let mm = unsafe { clone_mm(mm) };
    match iommu.driver.bind(id, mm) {
        Ok(handle) => {
            sva.pasid.store(handle.pasid().get(), Ordering::Relaxed);
            lock(&sva.handles).push(handle);
            // The table of bindings keeps it alive until the last unbind.
            Arc::as_ptr(&sva).cast_mut()
        }
        Err(error) => {
            iommu.bindings.leave(key);
            error_pointer(error)
        }
    }
}

/// Gives a bind back. Before the last one the device has been told to stop using the PASID, and what it had issued has
/// reached the IOMMU. When that returns, the device can't reach the address space, and no callback runs or will run. It
/// can't fail. The device driver always does so in the end, also after the address space has exited.
///
/// # Safety
/// `handle` is NULL, which is ignored, or comes from an `iommu_sva_bind_device` that has not been answered yet. After
/// the last unbind it is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_unbind_device(handle: *mut iommu_sva) {
    // SAFETY: the table of bindings keeps it alive: this use is still counted.
    let Some(sva) = (unsafe { handle.as_ref() }) else { return };
    let (bindings, key) = (sva.bindings.clone(), sva.key);
    let handle = lock(&sva.handles).pop();
    // Waits for callbacks, which may bind: with nothing locked.
    drop(handle);
    bindings.leave(key);
}

/// The PASID that the device uses for the address space.
///
/// # Safety
/// `handle` is bound.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_get_pasid(handle: *const iommu_sva) -> u32 {
    // SAFETY: as the caller has promised.
    unsafe { handle.as_ref() }.map_or(0, |sva| sva.pasid.load(Ordering::Relaxed))
}

/// Attaches callbacks to a bond. The same `ops` and `drvdata` again do nothing; others are refused with
/// IOMMU_ERROR_EXISTS. `ops` is copied, but told from others by its address.
///
/// # Safety
/// `handle` is NULL or bound; `ops` is NULL or points to functions that do what `iommu_sva_ops` says, with `drvdata`,
/// from any thread, until the last unbind has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_set_ops(
    handle: *mut iommu_sva,
    ops: *const iommu_sva_ops,
    drvdata: *mut c_void,
) -> c_int {
    // SAFETY: as the caller has promised.
    let (Some(sva), Some(functions)) = (unsafe { handle.as_ref() }, unsafe { ops.as_ref() }) else {
        return fail(iommu_error::Invalid);
    };
    let mut callbacks = lock(&sva.callbacks);
    let known = callbacks.as_ref().filter(|known| known.ops == ops && known.drvdata == drvdata);
    let (shim, data) = match known {
        Some(known) => (known.shim.clone(), known.data.clone()),
        None => {
            let shim = Arc::new(Shim { ops: *functions, drvdata, handle });
            (shim, Arc::new(()) as DrvData)
        }
    };
    let handles = lock(&sva.handles);
    let Some(handle) = handles.last() else { return fail(iommu_error::Invalid) };
    let result = handle.set_ops(shim.clone(), data.clone());
    if result.is_ok() {
        *callbacks = Some(Callbacks { ops, drvdata, shim, data });
    }
    code(result)
}
