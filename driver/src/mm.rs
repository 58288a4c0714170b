//! The address space as the driver sees it.

use crate::{
    error::BindError,
    lock::{Lock, Rank},
    pasid::{NoId, Pasid, Pasids},
    platform::Platform,
    shared::Shared,
};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// A process address space that devices can be bound to.
///
/// The operating system implements this for the object that lives as long as the address space's identity
/// does (Linux: `mm_struct`), keeps it in an [`Arc`](alloc::sync::Arc), and embeds one [`MmSva`] in it. The driver holds a
/// clone of the `Arc` per bond: so it must not own a [`Handle`](crate::Handle) of its own, which would then never be unbound.
///
/// The operating system has two further duties. After it made a mapping weaker, or moved it, and before it
/// reuses the page, it calls [`crate::Iommu::invalidate_range`] on every IOMMU where the mm is bound. When
/// the address space dies it calls [`crate::Iommu::mm_exit`], and frees the page tables only after that has
/// returned `Ok`. And before it frees page-table pages that several address spaces share, it calls
/// [`crate::Iommu::invalidate_shared_tables`].
///
/// `sva` and `page_table` return at once and don't call the driver, which holds a lock when it asks.
///
/// Leaf entries for pages that devices may use are not marked global (`G`), as a global translation outlives
/// an invalidation by address space.
///
/// # Safety
///
/// Devices read and write whatever the page table says. So [`page_table`](Self::page_table) is the physical address
/// of a page table of its format, which maps, for users, only memory that devices may access; table and pages stay
/// until the duties above have been done. [`sva`](Self::sva) always returns the same object.
pub unsafe trait Mm: Send + Sync {
    /// The driver's own part of this mm, always the same one.
    fn sva(&self) -> &MmSva;

    /// The page table that the mm's processes run on. It must not change during the mm's life.
    fn page_table(&self) -> PageTable;

    /// Makes the pages of a recoverable request (a page request of a device that speaks PRI) present.
    /// Requests that fault without a way to wait, such as all DMA of a device without PRI, do not come here.
    ///
    /// Called by [`crate::Iommu::service_page_requests`], without driver locks; may sleep where the caller of
    /// that may. It may be called, or be running, when the address space exits, and then makes nothing
    /// present any more. [`Resolution::NotNow`] instead of a long wait lets other devices' requests go first.
    ///
    /// Must not wait for an unbind of the bond that asks, or for one of a lock under which that is unbound:
    /// unbind waits for this.
    fn handle_fault(&self, request: &FaultAccess) -> Resolution {
        let _ = request;
        Resolution::Invalid
    }
}

/// What a device wanted to do when it needed a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultAccess {
    /// The virtual address, of which the low 12 bits may be zero.
    pub address: u64,
    /// The device wants to read.
    pub read: bool,
    /// The device wants to write.
    pub write: bool,
    /// The device wants to execute.
    pub execute: bool,
    /// The request asks for supervisor privilege.
    pub privileged: bool,
}

/// What became of a recoverable fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolution {
    /// The page is present with the permissions asked for: the device may retry.
    Populated,
    /// There is no such mapping, or it forbids the access: the device must not retry.
    Invalid,
    /// The page could not be provided, for want of memory for instance.
    Failure,
    /// Not now: the device goes on waiting, and the mm will be asked again by a later call of
    /// [`crate::Iommu::service_page_requests`].
    NotNow,
}

/// A first-stage page table (`iosatp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageTable {
    /// Its format.
    pub mode: PageTableMode,
    /// The physical address of its root page, a multiple of 4096.
    pub root: u64,
}

/// The page-table formats that the driver can bind. There is deliberately no Bare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PageTableMode {
    /// Three levels, 39-bit virtual addresses.
    Sv39,
    /// Four levels, 48-bit virtual addresses.
    Sv48,
    /// Five levels, 57-bit virtual addresses.
    Sv57,
}

/// What the driver keeps in an mm: its PASID, which is the mm's from the first bind until the mm object is
/// dropped, however often devices are unbound in between and even after the address space has exited.
pub struct MmSva {
    assigned: Lock<Option<Shared<Assigned>>>,
    /// The number in `assigned`, or 0, for those who must not wait for the lock.
    pasid: AtomicU32,
    exited: AtomicBool,
}

/// A PASID that is taken from its space until this goes. The mm refers to it, and every IOMMU that did not confirm that
/// it forgot the PASID: it can't be another mm's before all of them do, though this mm may be gone.
pub(crate) struct Assigned {
    pasid: Pasid,
    space: Pasids,
}

impl Drop for Assigned {
    fn drop(&mut self) {
        self.space.free(self.pasid);
    }
}

impl MmSva {
    /// For an mm that was never bound.
    pub const fn new() -> Self {
        Self { assigned: Lock::new(Rank::Mm, None), pasid: AtomicU32::new(0), exited: AtomicBool::new(false) }
    }

    /// The mm's PASID, if it was ever bound.
    pub fn pasid(&self) -> Option<Pasid> {
        Pasid::new(self.pasid.load(Ordering::Acquire))
    }

    /// Whether [`crate::Iommu::mm_exit`] was called for this mm. Nothing can be bound to it any more.
    pub fn exited(&self) -> bool {
        self.exited.load(Ordering::Acquire)
    }

    /// The mm's PASID if it is one of `space`.
    pub(crate) fn pasid_in(&self, platform: &dyn Platform, space: &Pasids) -> Option<Pasid> {
        let assigned = self.assigned.lock(platform);
        assigned.as_ref().filter(|known| Pasids::same(&known.space, space)).map(|known| known.pasid)
    }

    pub(crate) fn set_exited(&self) {
        self.exited.store(true, Ordering::Release);
    }

    /// What keeps the mm's PASID from being another's.
    pub(crate) fn assigned(&self, platform: &dyn Platform) -> Option<Shared<Assigned>> {
        self.assigned.lock(platform).clone()
    }

    /// The mm's PASID, allocated now if this is the first bind; `limit` is the largest that the device
    /// carries.
    pub(crate) fn assign(
        &self,
        platform: &dyn Platform,
        space: &Pasids,
        limit: u32,
    ) -> Result<Pasid, BindError> {
        let known = |assigned: &Assigned| match assigned {
            known if !Pasids::same(&known.space, space) => Err(BindError::ForeignPasid),
            known if known.pasid.get() > limit => Err(BindError::PasidTooWide { pasid: known.pasid, limit }),
            known => Ok(known.pasid),
        };
        if let Some(assigned) = &*self.assigned.lock(platform) {
            return known(assigned);
        }
        // This may allocate, so it comes before the lock; somebody else's first bind may then have been faster.
        let pasid = space.alloc(limit).map_err(|error| match error {
            NoId::Exhausted => BindError::PasidsExhausted,
            NoId::OutOfMemory => BindError::OutOfMemory,
        })?;
        let new = Assigned { pasid, space: space.clone() };
        let new = Shared::new(new).map_err(|_| BindError::OutOfMemory)?;
        // Whichever is not used goes when the lock is free.
        let mut assigned = self.assigned.lock(platform);
        if let Some(assigned) = &*assigned {
            return known(assigned);
        }
        self.pasid.store(pasid.get(), Ordering::Release);
        *assigned = Some(new);
        Ok(pasid)
    }
}

impl Default for MmSva {
    fn default() -> Self {
        Self::new()
    }
}
