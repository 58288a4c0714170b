//! Page requests, faults and statistics.

use crate::{
    error::{fail, fill},
    instance::IOMMUS,
    iommu, iommu_error,
};
use core::ffi::{c_int, c_void};
use pasidon_driver::FaultRecord;

/// What iommu_service_page_requests did.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct iommu_page_request_report {
    /// Groups that were resolved and answered.
    pub groups: usize,
    /// Groups that wait because an address space said "not now". The next call asks again.
    pub deferred: usize,
    /// The queue had been full, and requests were lost; their devices were told to retry.
    pub overflow: bool,
    /// The IOMMU could not write a request, and requests were lost; their devices were told that the interface failed.
    pub memory_fault: bool,
    /// There is more to do. Call again.
    pub more: bool,
    /// The IOMMU was reset behind the driver's back: iommu_resume brings it back.
    pub reset: bool,
}

/// What iommu_service_faults found.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct iommu_fault_report {
    /// Fault records that were shown, including those that went to callbacks.
    pub records: usize,
    /// Records that were dropped because they were about address spaces that have exited.
    pub suppressed: usize,
    /// The queue had been full, and records were lost.
    pub overflow: bool,
    /// The IOMMU could not write a record, and records were lost.
    pub memory_fault: bool,
    /// There are more records. Call again.
    pub more: bool,
    /// The IOMMU was reset behind the driver's back: iommu_resume brings it back.
    pub reset: bool,
    /// Records that were dropped because their device had too many.
    pub excess: usize,
}

/// A record of the fault queue: an access that was refused. (Section "Fault/Event-Queue" of the specification.)
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct iommu_fault_record {
    /// The device: 24 bits, segment (bits 23:16) and requester id (bits 15:0).
    pub device_id: u32,
    /// The PASID: 20 bits; 0 if the access had none.
    pub pasid: u32,
    /// Whether the access had a PASID.
    pub has_pasid: bool,
    /// The access asked for supervisor privilege.
    pub privileged: bool,
    /// Why: 12 bits, the cause code of the specification (section "Fault causes"), as 13: a page may not be read.
    pub cause: u16,
    /// What kind of access: 6 bits, the transaction type of the specification (`TTYP`): 1 to 3 an untranslated fetch, read,
    /// write; 5 to 7 the same translated; 8 a translation request; 9 a message; 0 none of a device.
    pub kind: u8,
    /// The virtual address of the access, in bytes; for a message its code (`iotval`).
    pub address: u64,
    /// More about some causes (`iotval2`): of a guest-page fault the guest physical address, in bytes, with bits 0 and 1 as
    /// the specification has them; otherwise 0.
    pub detail: u64,
}

impl From<&FaultRecord> for iommu_fault_record {
    fn from(record: &FaultRecord) -> Self {
        Self {
            device_id: record.did,
            pasid: record.pid,
            has_pasid: record.pv,
            privileged: record.privileged,
            cause: record.cause,
            kind: record.ttyp,
            address: record.iotval,
            detail: record.iotval2,
        }
    }
}

/// A number that the driver counts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct iommu_statistic {
    /// Its name, which is not terminated.
    pub name: *const core::ffi::c_char,
    /// How long the name is.
    pub name_length: usize,
    /// The count since the IOMMU was brought up.
    pub value: u64,
}

/// Resolves page requests, at most `budget` groups, and answers the devices. Called after the page-request interrupt, or
/// from time to time, from any number of ordinary threads. `report` may be NULL.
///
/// # Safety
/// `report` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_service_page_requests(
    iommu: *mut iommu,
    budget: usize,
    report: *mut iommu_page_request_report,
) -> c_int {
    let iommu = match IOMMUS.get(iommu) {
        Ok(iommu) => iommu,
        Err(error) => return fail(error),
    };
    let done = iommu.driver.service_page_requests(budget);
    let filled = iommu_page_request_report {
        groups: done.groups,
        deferred: done.deferred,
        overflow: done.overflow,
        memory_fault: done.memory_fault,
        more: done.more,
        reset: done.reset,
    };
    // A report that nobody wants is no error.
    // SAFETY: as the caller has promised.
    _ = unsafe { fill(report, filled) };
    0
}

/// The part of that for interrupt handlers: takes requests out of the IOMMU's queue. Returns whether
/// iommu_service_page_requests has something to do: 1 or 0.
#[unsafe(no_mangle)]
pub extern "C" fn iommu_receive_page_requests(iommu: *mut iommu) -> c_int {
    match IOMMUS.get(iommu) {
        Ok(iommu) => iommu.driver.receive_page_requests().into(),
        Err(error) => fail(error),
    }
}

/// Empties the fault queue and calls the `fault` callbacks of the bonds concerned. Called on the fault interrupt, or
/// from time to time. `report` may be NULL. iommu_service_faults_each also shows the records.
///
/// # Safety
/// `report` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_service_faults(iommu: *mut iommu, report: *mut iommu_fault_report) -> c_int {
    // SAFETY: as the caller has promised.
    unsafe { iommu_service_faults_each(iommu, None, core::ptr::null_mut(), report) }
}

/// The same, and calls `each` with `context` for every record, oldest first, but for those that were dropped. `each` may
/// be NULL; it runs without driver locks. Can be called from an interrupt handler.
///
/// # Safety
/// `each` can be called with `context`; `report` is NULL or points to memory for one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_service_faults_each(
    iommu: *mut iommu,
    each: Option<unsafe extern "C" fn(context: *mut c_void, record: *const iommu_fault_record)>,
    context: *mut c_void,
    report: *mut iommu_fault_report,
) -> c_int {
    let iommu = match IOMMUS.get(iommu) {
        Ok(iommu) => iommu,
        Err(error) => return fail(error),
    };
    let done = iommu.driver.service_faults(|record| {
        if let Some(each) = each {
            let record = iommu_fault_record::from(record);
            // SAFETY: as the caller has promised.
            unsafe { each(context, &raw const record) }
        }
    });
    let filled = iommu_fault_report {
        records: done.records,
        suppressed: done.suppressed,
        overflow: done.overflow,
        memory_fault: done.memory_fault,
        more: done.more,
        reset: done.reset,
        excess: done.excess,
    };
    // A report that nobody wants is no error.
    // SAFETY: as the caller has promised.
    _ = unsafe { fill(report, filled) };
    0
}

/// Fills in what the driver has counted, up to `count` numbers, and returns how many there are. The names live for ever.
///
/// # Safety
/// `entries` points to memory for `count` entries, or is NULL and `count` 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn iommu_statistics(
    iommu: *const iommu,
    entries: *mut iommu_statistic,
    count: usize,
) -> c_int {
    let iommu = match IOMMUS.get(iommu) {
        Ok(_) if entries.is_null() && count > 0 => return fail(iommu_error::Invalid),
        Ok(iommu) => iommu,
        Err(error) => return fail(error),
    };
    let mut known = 0_usize;
    for (name, value) in iommu.driver.statistics().entries() {
        if known < count {
            let entry =
                iommu_statistic { name: name.as_ptr().cast(), name_length: name.len(), value: value as u64 };
            // SAFETY: as the caller has promised, there is memory for this many.
            unsafe { entries.add(known).write(entry) }
        }
        known += 1;
    }
    // They are some dozens.
    known as c_int
}
