//! Bonds between devices and address spaces, the handles that own them, and their callbacks.

use crate::{
    lock,
    mm::{FaultAccess, Mm},
    pasid::Pasid,
    platform::Platform,
    shared::Shared,
};
use alloc::sync::Arc;
use core::{
    any::Any,
    fmt,
    num::NonZeroUsize,
    ptr::NonNull,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};
use pasidon_spec::fault::{FaultRecord, ttyp};

/// What a device driver attaches to a bond for its callbacks.
pub type DrvData = Arc<dyn Any + Send + Sync>;

/// The callbacks of a device driver. Each has a default, so that new ones can be added without touching
/// drivers.
///
/// Callbacks run without driver locks and may call [`crate::Iommu::bind`] and drop handles. An unbind waits for
/// callbacks of its bond that are running, but not one from within a callback, which would wait for itself, or for
/// one that waits for it: then the bond lets go of its callbacks and its mm when the last of them has returned. To
/// know the one from the other takes [`Platform::context`]. Where the platform has none, a callback must not
/// drop handles of its own bond, nor any whose callback could be waiting to drop its own.
///
/// The callbacks of an mm's bonds run one after the other; they belong to different bonds independently of each
/// other, so that one may drop the handles of those whose turn is yet to come.
pub trait SvaOps: Send + Sync {
    /// The address space is going away: the device driver stops the device's use of the PASID, or at least
    /// starts to.
    ///
    /// Called once per bond from within [`crate::Iommu::mm_exit`], while the page tables are still there.
    /// When it has returned, DMA with the PASID will be aborted silently. The bond stays, and the handle has
    /// to be unbound later. What was given to [`crate::Handle::set_ops`] is let go of before `mm_exit` of the mm returns; see
    /// there for data that owns its handle.
    fn mm_exit(&self, bond: &Bond, drvdata: &DrvData) {
        let _ = (bond, drvdata);
    }

    /// An access of the device through this bond was refused, or a page request could not be resolved.
    ///
    /// Called from within [`crate::Iommu::service_faults`] and [`crate::Iommu::service_page_requests`]; what
    /// it returns matters only to the latter.
    fn fault(&self, bond: &Bond, drvdata: &DrvData, fault: &Fault) -> FaultDecision {
        let _ = (bond, drvdata, fault);
        FaultDecision::AsResolved
    }
}

/// A fault of a device in a bound address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// What the device wanted to do.
    pub access: FaultAccess,
    /// The record of the fault queue: the access has been aborted already. `None` for a page request that the
    /// mm could not resolve, whose device waits for the answer.
    pub record: Option<FaultRecord>,
}

impl Fault {
    pub(crate) fn aborted(record: FaultRecord) -> Self {
        let kind = u64::from(record.ttyp);
        let access = FaultAccess {
            address: record.iotval,
            read: matches!(kind, ttyp::UNTRANSLATED_READ | ttyp::TRANSLATED_READ),
            write: matches!(kind, ttyp::UNTRANSLATED_WRITE | ttyp::TRANSLATED_WRITE),
            execute: matches!(kind, ttyp::UNTRANSLATED_READ_FOR_EXECUTE | ttyp::TRANSLATED_READ_FOR_EXECUTE),
            privileged: record.privileged,
        };
        Self { access, record: Some(record) }
    }

    /// A page request that the mm could not resolve.
    pub(crate) fn unresolved(access: FaultAccess) -> Self {
        Self { access, record: None }
    }

    /// Whether the device waits for an answer, so that [`SvaOps::fault`] has something to decide.
    pub const fn is_recoverable(&self) -> bool {
        self.record.is_none()
    }
}

/// What a device is told about a recoverable fault. Without effect for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultDecision {
    /// What the mm's answer amounts to.
    AsResolved,
    /// The device driver has taken care of it: the device may retry.
    Retry,
    /// The device must not retry.
    Invalid,
    /// The device should stop using the page-request interface.
    Failure,
}

/// A device bound to an address space. Callbacks get to see it; [`Handle`](crate::Handle)s own it.
pub struct Bond {
    device_id: u32,
    pasid: Pasid,
    mm: Arc<dyn Mm>,
    exited: AtomicBool,
    /// Its `mm_exit` is running, or about to.
    exiting: AtomicBool,
    /// Callbacks that are running.
    in_flight: AtomicUsize,
    /// Fault records before this position are about an earlier use of the PASID.
    first_fault: u64,
}

impl Bond {
    pub(crate) fn new(device_id: u32, pasid: Pasid, mm: Arc<dyn Mm>, first_fault: u64) -> Self {
        Self {
            device_id,
            pasid,
            mm,
            exited: AtomicBool::new(false),
            exiting: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            first_fault,
        }
    }

    /// The device.
    pub fn device_id(&self) -> u32 {
        self.device_id
    }

    /// The PASID that the device uses for the address space. Constant for the life of the bond.
    pub fn pasid(&self) -> Pasid {
        self.pasid
    }

    /// Whether the address space has exited: DMA is being aborted, and what remains is to unbind.
    pub fn mm_exited(&self) -> bool {
        self.exited.load(Ordering::Acquire)
    }

    /// The address space.
    pub fn mm(&self) -> &Arc<dyn Mm> {
        &self.mm
    }

    pub(crate) fn key(&self) -> (Pasid, u32) {
        (self.pasid, self.device_id)
    }

    /// Marks the address space as exited; `true` the first time.
    pub(crate) fn set_exited(&self) -> bool {
        !self.exited.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn owns_fault(&self, position: u64) -> bool {
        position >= self.first_fault
    }

    /// Whether `mm_exit` is running.
    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::Acquire)
    }

    pub(crate) fn callbacks_running(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) != 0
    }
}

impl fmt::Debug for Bond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bond")
            .field("device_id", &self.device_id)
            .field("pasid", &self.pasid)
            .field("mm_exited", &self.mm_exited())
            .finish_non_exhaustive()
    }
}

/// What `set_ops` was given.
#[derive(Clone)]
pub(crate) struct Callbacks {
    pub(crate) ops: Arc<dyn SvaOps>,
    pub(crate) drvdata: DrvData,
}

impl Callbacks {
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ops, &other.ops) && Arc::ptr_eq(&self.drvdata, &other.drvdata)
    }
}

/// A callback about to run or running. Until it is dropped its bond, callbacks and mm stay: the last unbind does not
/// let go of them before. So nothing is ever returned to an allocator from here, which may be an interrupt handler.
pub(crate) struct Call {
    bond: NonNull<Bond>,
    callbacks: Option<Callbacks>,
    exit: bool,
}

impl Call {
    /// To be called under the lock that guards the bond's place in the lookup table, so that unbind, which
    /// takes the bond out of the table first, knows of every call that is still to come.
    pub(crate) fn begin(bond: &Shared<Bond>, callbacks: Option<&Callbacks>) -> Self {
        bond.in_flight.fetch_add(1, Ordering::AcqRel);
        Self { bond: NonNull::from(&**bond), callbacks: callbacks.cloned(), exit: false }
    }

    /// The same for `mm_exit`.
    pub(crate) fn begin_exit(bond: &Shared<Bond>, callbacks: Option<&Callbacks>) -> Self {
        bond.exiting.store(true, Ordering::Release);
        let mut call = Self::begin(bond, callbacks);
        call.exit = true;
        call
    }

    pub(crate) fn bond(&self) -> &Bond {
        // SAFETY: it is counted as running, and unbind, which has a reference, waits until it is not.
        unsafe { self.bond.as_ref() }
    }

    pub(crate) fn mm_exit(self, running: &Running, platform: &dyn Platform) {
        if let Some(Callbacks { ops, drvdata }) = &self.callbacks {
            let _inside = running.enter(platform);
            ops.mm_exit(self.bond(), drvdata);
        }
    }

    pub(crate) fn fault(&self, running: &Running, platform: &dyn Platform, fault: &Fault) -> FaultDecision {
        match &self.callbacks {
            Some(Callbacks { ops, drvdata }) => {
                let _inside = running.enter(platform);
                ops.fault(self.bond(), drvdata, fault)
            }
            None => FaultDecision::AsResolved,
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // The references go first: when unbind returns, the driver's data is no longer referred to from here.
        self.callbacks = None;
        let bond = self.bond();
        if self.exit {
            bond.exiting.store(false, Ordering::Release);
        }
        // After this the bond may be gone.
        bond.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Which flows of control are inside callbacks and handlers. (See [`Platform::context`].)
pub(crate) struct Running([AtomicUsize; Self::MOST]);

/// A flow of control that is inside a callback until this is dropped.
pub(crate) struct Inside<'a>(Option<&'a AtomicUsize>);

impl Running {
    /// How many are known at once. Others count as flows that the platform can't tell.
    const MOST: usize = 64;

    pub(crate) const fn new() -> Self {
        Self([const { AtomicUsize::new(0) }; Self::MOST])
    }

    /// Somebody outside the driver is about to be called.
    pub(crate) fn enter(&self, platform: &dyn Platform) -> Inside<'_> {
        lock::assert_none_held();
        let Some(context) = platform.context().map(NonZeroUsize::get) else { return Inside(None) };
        let take = |place: &&AtomicUsize| {
            place.compare_exchange(0, context, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        Inside(self.0.iter().find(take))
    }

    /// Whether the caller was called by the driver.
    pub(crate) fn is_inside(&self, platform: &dyn Platform) -> bool {
        // What a flow of control has stored it reads back: there is nothing to be ordered.
        let context = platform.context().map(NonZeroUsize::get);
        context.is_some_and(|context| self.0.iter().any(|place| place.load(Ordering::Relaxed) == context))
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.0 {
            place.store(0, Ordering::Relaxed);
        }
    }
}
