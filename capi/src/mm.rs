//! Address spaces that C implements.

use crate::{
    error::{error_pointer, fail, room_for},
    instance::{put, with},
    iommu, iommu_error,
    table::{Kind, Table},
};
use alloc::sync::Arc;
use core::ffi::{c_int, c_void};
use pasidon_driver::{Change, FaultAccess, Iommu, Mm, MmSva, PageTable, PageTableMode, Resolution};

/// The format of a page table.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum iommu_page_table {
    /// Three levels, 39-bit virtual addresses.
    Sv39 = 39,
    /// Four levels, 48-bit virtual addresses.
    Sv48 = 48,
    /// Five levels, 57-bit virtual addresses.
    Sv57 = 57,
}

/// What a device wanted to do when it needed a page.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct iommu_access {
    /// The virtual address, in bytes; the low 12 bits of a page request's are 0.
    pub address: u64,
    /// It wants to read.
    pub read: bool,
    /// It wants to write.
    pub write: bool,
    /// It wants to execute.
    pub execute: bool,
    /// It asks for supervisor privilege.
    pub privileged: bool,
}

impl From<FaultAccess> for iommu_access {
    fn from(access: FaultAccess) -> Self {
        let FaultAccess { address, read, write, execute, privileged, .. } = access;
        Self { address, read, write, execute, privileged }
    }
}

/// What became of a page request; what `iommu_mm_ops.handle_fault` returns. Any other value means failure.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum iommu_resolution {
    /// The page is present with the permissions asked for.
    Populated = 0,
    /// There is no such mapping, or it forbids the access.
    Invalid = 1,
    /// The page could not be provided.
    Failure = 2,
    /// Not now: the device goes on waiting, and the next iommu_service_page_requests asks again.
    NotNow = 3,
}

/// What an address space does. Any function may be NULL. They may be called from any thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct iommu_mm_ops {
    /// Makes a page present that a device asks for. Called by iommu_service_page_requests without driver locks. Returns
    /// one of enum iommu_resolution. It may be called, or be running, when the address space exits, and then makes
    /// nothing present any more. NULL: no page can be asked for.
    pub handle_fault:
        Option<unsafe extern "C" fn(context: *mut c_void, access: *const iommu_access) -> c_int>,
    /// Nothing refers to the address space any more, and its PASID can be another's.
    pub release: Option<unsafe extern "C" fn(context: *mut c_void)>,
}

/// An address space that devices can be bound to. A handle.
pub struct iommu_mm {
    _nothing: [u8; 0],
}

static MMS: Table<AddressSpace> = Table::new(Kind::Mm);

/// What that handle stands for.
pub(crate) struct AddressSpace {
    sva: MmSva,
    table: PageTable,
    ops: iommu_mm_ops,
    context: *mut c_void,
}

// SAFETY: the caller of `iommu_mm_create` has promised that the functions may be called, with this context, from any
// thread; nothing else is done with the pointer.
unsafe impl Send for AddressSpace {}
// SAFETY: see above.
unsafe impl Sync for AddressSpace {}

// SAFETY: the caller of `iommu_mm_create` has promised what `Mm` asks for.
unsafe impl Mm for AddressSpace {
    fn sva(&self) -> &MmSva {
        &self.sva
    }

    fn page_table(&self) -> PageTable {
        self.table
    }

    fn handle_fault(&self, request: &FaultAccess) -> Resolution {
        let Some(handle_fault) = self.ops.handle_fault else { return Resolution::Invalid };
        let access = iommu_access::from(*request);
        // SAFETY: as the caller of `iommu_mm_create` has promised.
        match unsafe { handle_fault(self.context, &raw const access) } {
            code if code == iommu_resolution::Populated as c_int => Resolution::Populated,
            code if code == iommu_resolution::Invalid as c_int => Resolution::Invalid,
            code if code == iommu_resolution::NotNow as c_int => Resolution::NotNow,
            _ => Resolution::Failure,
        }
    }
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // The PASID goes back first, so that `release` may already bind another address space with it.
        self.sva = MmSva::new();
        if let Some(release) = self.ops.release {
            // SAFETY: as the caller of `iommu_mm_create` has promised.
            unsafe { release(self.context) }
        }
    }
}

/// An address space whose page table has this format (enum iommu_page_table) and this root page (a physical address). The
/// operating system then has the duties that iommu_invalidate_range, iommu_invalidate_shared_tables and iommu_mm_exit
/// tell of.
///
/// No entry of the table, leaf or not, that leads to a page that devices may use has the G bit (global): a global translation
/// outlives an invalidation by address space, and the device could go on using a page that was unmapped.
///
/// Errors: IOMMU_ERROR_INVALID: the format does not exist, or `ops` is NULL. IOMMU_ERROR_MEMORY.
///
/// # Safety
/// `ops` is NULL or points to functions that do what `iommu_mm_ops` says, with `context`, from any thread, until
/// `release` is called. It is copied.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_mm_create(
    ops: *const iommu_mm_ops,
    context: *mut c_void,
    page_table: c_int,
    root: u64,
) -> *mut iommu_mm {
    let modes = [
        (iommu_page_table::Sv39, PageTableMode::Sv39),
        (iommu_page_table::Sv48, PageTableMode::Sv48),
        (iommu_page_table::Sv57, PageTableMode::Sv57),
    ];
    let mode = modes.iter().find(|(number, _)| *number as c_int == page_table);
    // SAFETY: as the caller has promised.
    let (Some(&(_, mode)), Some(&ops)) = (mode, unsafe { ops.as_ref() }) else {
        return error_pointer(iommu_error::Invalid);
    };
    let mm = || Arc::new(AddressSpace { sva: MmSva::new(), table: PageTable { mode, root }, ops, context });
    room_for::<AddressSpace>().and_then(|()| MMS.insert(mm)).unwrap_or_else(error_pointer)
}

/// Lets go of an address space. It lives on as long as it is bound, or used by a call that is running: whoever is the last
/// calls `release`. NULL is ignored.
///
/// Errors: IOMMU_ERROR_INVALID, IOMMU_ERROR_STALE.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_mm_put(mm: *mut iommu_mm) -> c_int {
    put(&MMS, mm)
}

/// The address space of a handle.
pub(crate) fn clone_mm(mm: *mut iommu_mm) -> Result<Arc<AddressSpace>, iommu_error> {
    MMS.get(mm).map(|mm| (*mm).clone())
}

/// Calls `call` with an IOMMU and an address space.
fn with_mm<E: Into<iommu_error>>(
    iommu: *mut iommu,
    mm: *mut iommu_mm,
    call: impl FnOnce(&Iommu, &AddressSpace) -> Result<(), E>,
) -> c_int {
    match MMS.get(mm) {
        Ok(mm) => with(iommu, |driver| call(driver, &mm)),
        Err(error) => fail(error),
    }
}

/// Makes every device forget what it may have cached of the addresses `start` to `end` (exclusive). The page table has
/// been changed already; pages can be reused when this has returned 0. `tables`: page-table pages are about to be freed.
///
/// Does not sleep and allocates nothing: may be called from any context where `mask` lets the driver take a spin lock.
///
/// Errors: IOMMU_ERROR_INVALID, _STALE: a handle. IOMMU_ERROR_TIMEOUT, _HARDWARE, _RESET: the IOMMU did not confirm, so what
/// was unmapped must be taken as still in use.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_invalidate_range(
    iommu: *mut iommu,
    mm: *mut iommu_mm,
    start: u64,
    end: u64,
    tables: bool,
) -> c_int {
    let change = if tables { Change::Tables } else { Change::Leaves };
    with_mm(iommu, mm, |driver, mm| driver.invalidate_range(mm, start..end, change))
}

/// Page-table pages that all address spaces share, those of the kernel, are about to be freed: the IOMMU forgets what it
/// has cached of the tables of every address space. To be called for every IOMMU, after the entries that pointed to
/// them are gone, and before the pages are used for something else; they can be when this has returned 0. May be called
/// from the same contexts as iommu_invalidate_range.
///
/// Errors: IOMMU_ERROR_INVALID, _STALE: the handle. IOMMU_ERROR_TIMEOUT, _HARDWARE, _RESET: the IOMMU did not confirm, so the
/// pages must be taken as still in use.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_invalidate_shared_tables(iommu: *mut iommu) -> c_int {
    with(iommu, Iommu::invalidate_shared_tables)
}

/// The address space is dying: calls the `mm_exit` of each of its bonds once, then has all accesses with its PASID
/// refused. To be called for every IOMMU where it may be bound, while the page tables are still there; they are freed
/// after 0 was returned. Bonds remain to be unbound.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_mm_exit(iommu: *mut iommu, mm: *mut iommu_mm) -> c_int {
    with_mm(iommu, mm, |driver, mm| driver.mm_exit(mm))
}
