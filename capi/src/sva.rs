//! Bind and unbind, under the names of the kernel.

use crate::{
    device::{device, iommu_device},
    error::{code, error_pointer, fail, room_for},
    instance::Instance,
    iommu_access, iommu_error, iommu_mm,
    lock::Lock,
    mm::{AddressSpace, clone_mm},
    table::{Kind, LAST_GENERATION, LAST_INDEX, decode, encode},
};
use alloc::{sync::Arc, vec::Vec};
use core::ffi::{c_int, c_void};
use pasidon_driver::{Bond, DrvData, Fault, FaultDecision, Handle, SvaOps};

/// A device bound to an address space. A handle. Binding the same two again gives the same one.
pub struct iommu_sva {
    _nothing: [u8; 0],
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
    /// Why the access was refused: the cause code of the specification (section "Fault causes"), 12 bits. 0 if the fault is
    /// recoverable.
    pub cause: u16,
    /// The device: segment (bits 23:16) and requester id (bits 15:0).
    pub device_id: u32,
    /// The PASID, 20 bits, not 0.
    pub pasid: u32,
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

/// The callbacks of a device driver. Any function may be NULL. They run without driver locks, from any thread that calls
/// iommu_mm_exit, iommu_service_page_requests or iommu_service_faults; in an interrupt handler if the last is called in one,
/// and then they call only what may be called there.
///
/// An unbind waits for callbacks of its bond that are running, but not one from within a callback, which would wait for
/// itself: to know the one from the other takes `iommu_platform.flow`. Without it a callback must not unbind what it is called
/// for, nor what is waited for by one that it waits for.
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

/// Serial number of the IOMMU, device id, and address of the address space, which is there as long as the bond.
type Key = (usize, u32, usize);

/// What is bound, or about to be.
static REGISTRY: Lock<Registry> =
    Lock::new(Registry { slots: Vec::new(), free: Vec::new(), known: Vec::new() });

struct Registry {
    slots: Vec<Slot>,
    /// Slots that are not in use. There is room for all.
    free: Vec<usize>,
    /// Slots that are, in the order of the keys.
    known: Vec<(Key, usize)>,
}

struct Slot {
    /// How often it was used, counting this time: part of the handle.
    generation: usize,
    binding: Option<Binding>,
}

struct Binding {
    key: Key,
    pasid: u32,
    handles: Vec<Handle>,
    callbacks: Option<Callbacks>,
    /// Binds that C has not answered with an unbind, and those that are being answered.
    uses: usize,
}

impl Registry {
    /// The slot of a device and an address space, used once more, and with room for a handle.
    fn enter(&mut self, key: Key) -> Result<usize, iommu_error> {
        let at = self.known.binary_search_by_key(&key, |known| known.0);
        let index = match at {
            Ok(at) => self.known[at].1,
            Err(at) => {
                let index = self.unused()?;
                self.known.try_reserve(1).map_err(|_| iommu_error::Memory)?;
                let binding = Binding { key, pasid: 0, handles: Vec::new(), callbacks: None, uses: 0 };
                self.slots[index].binding = Some(binding);
                self.free.pop();
                self.known.insert(at, (key, index));
                index
            }
        };
        let Some(binding) = &mut self.slots[index].binding else { return Err(iommu_error::Invalid) };
        binding.uses += 1;
        // One of those that are here may be pushed meanwhile by another thread: room for all.
        if binding.handles.try_reserve(binding.uses - binding.handles.len()).is_err() {
            drop(self.leave(index));
            return Err(iommu_error::Memory);
        }
        Ok(index)
    }

    /// A slot that is not in use: the last of those that are free.
    fn unused(&mut self) -> Result<usize, iommu_error> {
        if let Some(&index) = self.free.last() {
            return Ok(index);
        }
        let index = self.slots.len();
        if index > LAST_INDEX {
            return Err(iommu_error::Memory);
        }
        self.slots.try_reserve(1).map_err(|_| iommu_error::Memory)?;
        self.free.try_reserve(index + 1).map_err(|_| iommu_error::Memory)?;
        self.slots.push(Slot { generation: 1, binding: None });
        self.free.push(index);
        Ok(index)
    }

    /// One use less. Returns the binding, to be dropped with the registry unlocked, if that was the last.
    fn leave(&mut self, index: usize) -> Option<Binding> {
        let slot = &mut self.slots[index];
        let binding = slot.binding.as_mut()?;
        binding.uses -= 1;
        if binding.uses > 0 {
            return None;
        }
        let key = binding.key;
        if let Ok(at) = self.known.binary_search_by_key(&key, |known| known.0) {
            self.known.remove(at);
        }
        slot.generation += 1;
        // A slot that is worn out stays as it is, so that no handle is given out twice.
        if slot.generation <= LAST_GENERATION {
            self.free.push(index);
        }
        slot.binding.take()
    }

    fn handle(&self, index: usize) -> *mut iommu_sva {
        encode(Kind::Sva, index, self.slots[index].generation)
    }

    /// The binding of a handle that is bound, and its slot.
    fn find(&mut self, handle: *const iommu_sva) -> Result<(usize, &mut Binding), iommu_error> {
        let (index, generation) = decode(Kind::Sva, handle).ok_or(iommu_error::Invalid)?;
        let slot = self.slots.get_mut(index).ok_or(iommu_error::Invalid)?;
        if generation < slot.generation {
            return Err(iommu_error::Stale);
        }
        let binding = slot.binding.as_mut().filter(|_| generation == slot.generation);
        let binding = binding.ok_or(iommu_error::Invalid)?;
        // While one bind is being made or another taken back, there may be nothing.
        if binding.handles.is_empty() { Err(iommu_error::Stale) } else { Ok((index, binding)) }
    }
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
    /// What C calls the bond.
    handle: *mut iommu_sva,
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
            // of the bond is gone.
            unsafe { mm_exit(self.handle, self.drvdata) }
        }
    }

    fn fault(&self, bond: &Bond, _: &DrvData, fault: &Fault) -> FaultDecision {
        let Some(callback) = self.ops.fault else { return FaultDecision::AsResolved };
        let fault = iommu_fault {
            access: fault.access.into(),
            recoverable: fault.is_recoverable(),
            cause: fault.record.map_or(0, |record| record.cause),
            device_id: bond.device_id(),
            pasid: bond.pasid().get(),
        };
        // SAFETY: see `mm_exit`.
        match unsafe { callback(self.handle, self.drvdata, &raw const fault) } {
            code if code == iommu_decision::Retry as c_int => FaultDecision::Retry,
            code if code == iommu_decision::Invalid as c_int => FaultDecision::Invalid,
            code if code == iommu_decision::Failure as c_int => FaultDecision::Failure,
            _ => FaultDecision::AsResolved,
        }
    }
}

/// Binds a device to an address space: the device may use its virtual addresses with the handle's PASID. The same two
/// give the same handle, and as many unbinds are needed as there were binds.
///
/// Errors: IOMMU_ERROR_DEVICE, _LEAVING, _NO_PASID, _WIDE, _FOREIGN_PASID, _NO_TAG, _INVALID, _STALE, _EXITED, _MEMORY.
///
/// # Safety
/// `dev` is NULL or points to a device.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_bind_device(
    dev: *const iommu_device,
    mm: *mut iommu_mm,
) -> *mut iommu_sva {
    // SAFETY: as the caller has promised.
    let bound = unsafe { device(dev) }.and_then(|(iommu, id)| bind(&iommu, id, clone_mm(mm)?));
    bound.unwrap_or_else(error_pointer)
}

fn bind(iommu: &Instance, id: u32, mm: Arc<AddressSpace>) -> Result<*mut iommu_sva, iommu_error> {
    let index = REGISTRY.lock().enter((iommu.serial, id, Arc::as_ptr(&mm).addr()))?;
    match iommu.driver.bind(id, mm) {
        Ok(handle) => {
            let mut registry = REGISTRY.lock();
            if let Some(binding) = &mut registry.slots[index].binding {
                binding.pasid = handle.pasid().get();
                binding.handles.push(handle);
            }
            Ok(registry.handle(index))
        }
        Err(error) => {
            let gone = REGISTRY.lock().leave(index);
            drop(gone);
            Err(error.into())
        }
    }
}

/// Gives a bind back. Before the last one the device has been told to stop using the PASID, and what it had issued has
/// reached the IOMMU. When that returns, the device can't reach the address space, and no callback runs or will run. It
/// can't fail for a handle that is bound. The device driver always does so in the end, also after the address space has
/// exited.
///
/// Errors: IOMMU_ERROR_INVALID: the handle is none. IOMMU_ERROR_STALE: its last unbind was before this. Nothing was done then.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_sva_unbind_device(handle: *mut iommu_sva) -> c_int {
    let taken = {
        let mut registry = REGISTRY.lock();
        let take = |(index, binding): (usize, &mut Binding)| {
            binding.handles.pop().map(|taken| (index, taken)).ok_or(iommu_error::Stale)
        };
        registry.find(handle).and_then(take)
    };
    let (index, taken) = match taken {
        Ok(taken) => taken,
        Err(error) => {
            log::error!("unbind of {handle:p}, which is not bound");
            return fail(error);
        }
    };
    // Waits for callbacks, which may bind: with nothing locked.
    drop(taken);
    let gone = REGISTRY.lock().leave(index);
    drop(gone);
    0
}

/// The PASID that the device uses for the address space: 20 bits, not 0.
///
/// Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_sva_get_pasid(handle: *const iommu_sva) -> c_int {
    let found = REGISTRY.lock().find(handle).map(|(_, binding)| binding.pasid);
    // A PASID has 20 bits.
    found.map_or_else(fail, |pasid| pasid as c_int)
}

/// Attaches callbacks to a bond. The same `ops` and `drvdata` again do nothing; others are refused, and what is attached
/// stays. `ops` is copied, but told from others by its address.
///
/// `drvdata` is the device driver's and remains so: the library hands it to the callbacks, neither looks into it nor frees
/// it, and keeps it until the last unbind of the bond has returned. Then, not before, the device driver may free it: not in
/// `mm_exit`, after which the handle is still to be unbound; and where a callback makes the last unbind itself, after that callback
/// has returned. A `drvdata` that holds the handle is no exception: nobody unbinds it but the device driver.
///
/// Errors: IOMMU_ERROR_INVALID: the handle is none, or `ops` is NULL. IOMMU_ERROR_STALE. IOMMU_ERROR_EXISTS: others are attached.
/// IOMMU_ERROR_EXITED. IOMMU_ERROR_MEMORY.
///
/// # Safety
/// `ops` is NULL or points to functions that do what `iommu_sva_ops` says, with `drvdata`, from any thread, until the
/// last unbind has returned.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_sva_set_ops(
    handle: *mut iommu_sva,
    ops: *const iommu_sva_ops,
    drvdata: *mut c_void,
) -> c_int {
    // SAFETY: as the caller has promised.
    let Some(functions) = (unsafe { ops.as_ref() }) else { return fail(iommu_error::Invalid) };
    if let Err(error) = room_for::<(Shim, [usize; 8])>() {
        return fail(error);
    }
    let new = Callbacks {
        ops,
        drvdata,
        shim: Arc::new(Shim { ops: *functions, drvdata, handle }),
        data: Arc::new(()),
    };
    let mut registry = REGISTRY.lock();
    let binding = match registry.find(handle) {
        Ok((_, binding)) => binding,
        Err(error) => return fail(error),
    };
    let Some(bound) = binding.handles.last() else { return fail(iommu_error::Stale) };
    // The driver knows the same from others by where they are.
    let known = binding.callbacks.as_ref().filter(|known| known.ops == ops && known.drvdata == drvdata);
    let callbacks = known.unwrap_or(&new);
    let result = bound.set_ops(callbacks.shim.clone(), callbacks.data.clone());
    if result.is_ok() && known.is_none() {
        binding.callbacks = Some(new);
    }
    code(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_recognised_for_as_long_as_its_slot_is_not_used_again() {
        let mut registry = Registry { slots: Vec::new(), free: Vec::new(), known: Vec::new() };
        let first = registry.enter((0, 1, 0x1000)).unwrap();
        let handle = registry.handle(first);
        assert_eq!(registry.enter((0, 1, 0x1000)).unwrap(), first);
        let other = registry.enter((1, 1, 0x1000)).unwrap();
        assert_ne!(other, first);
        assert!(!handle.is_null() && handle.addr() < usize::MAX - 4095);
        // Nothing is bound yet.
        assert!(registry.find(handle).is_err());
        assert!(registry.leave(first).is_none());
        assert!(registry.leave(first).is_some());
        let again = registry.enter((0, 2, 0x2000)).unwrap();
        assert_eq!(again, first);
        assert_ne!(registry.handle(again), handle);
        assert_eq!(registry.find(handle).err(), Some(iommu_error::Stale));
        assert_eq!(registry.find(core::ptr::null()).err(), Some(iommu_error::Invalid));
        let wild = core::ptr::without_provenance(usize::MAX);
        assert_eq!(registry.find(wild).err(), Some(iommu_error::Invalid));
    }
}
