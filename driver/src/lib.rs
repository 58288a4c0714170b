//! Programs a RISC-V IOMMU and offers shared virtual addressing (SVA): one call binds a device to a process's
//! address space, and the device then uses the process's own pointers.
//!
//! The crate is what an operating system, a hypervisor or a bare-metal program links. It needs no standard
//! library, only an allocator, and uses its surroundings through one trait, [`Platform`]; [`RawPlatform`] implements
//! that for machines where registers and memory are plain pointers. It owns the IOMMU's queues, its device
//! directory and the process directories of the devices, and gives out PASIDs and PSCIDs.
//!
//! ```
//! use pasidon_driver::{Change, Config, DeviceOptions, Iommu, Mm, Platform};
//! use std::{error::Error, sync::Arc};
//!
//! fn use_device(platform: Arc<dyn Platform>, process: Arc<dyn Mm>) -> Result<(), Box<dyn Error>> {
//!     let iommu = Iommu::new(platform, Config::default())?;
//!     iommu.enable_sva(5, DeviceOptions::default())?;
//!     let handle = iommu.bind(5, process.clone())?;
//!     let _pasid = handle.pasid(); // goes to the device, along with pointers of the process
//!
//!     // The operating system has unmapped a page. After this the page can be reused.
//!     iommu.invalidate_range(&*process, 0x1000..0x2000, Change::Leaves)?;
//!
//!     // The device has been told to stop.
//!     handle.unbind();
//!     Ok(())
//! }
//! ```
//!
//! # All calls
//!
//! | call | what it does |
//! |---|---|
//! | [`Iommu::new`] | brings the IOMMU up: queues, empty directory |
//! | [`Iommu::enable_sva`], [`Iommu::disable_sva`] | give a device a context, take it away |
//! | [`Iommu::bind`] | binds a device to an [`Mm`], returns a [`Handle`] |
//! | [`Handle::pasid`](Bond::pasid) | the PASID that the device uses |
//! | [`Handle::set_ops`] | attaches callbacks ([`SvaOps`]): `mm_exit`, `fault` |
//! | [`Handle::unbind`] | ends the bind; can't fail |
//! | [`Iommu::invalidate_range`] | page tables have changed |
//! | [`Iommu::invalidate_shared_tables`] | page-table pages that all address spaces share are about to be freed |
//! | [`Iommu::mm_exit`] | an address space exits |
//! | [`Iommu::service_faults`] | empties the fault queue, calls [`SvaOps::fault`] |
//! | [`Iommu::suspend`], [`Iommu::resume`] | switch the IOMMU off and on, with all bonds restored |
//! | [`Iommu::reset`] | switches it off and on at once |
//! | [`Iommu::capabilities`] | what the IOMMU can do |
//! | [`Bond::device_id`], [`Bond::mm`], [`Bond::mm_exited`] | what a bond binds, and whether it still does |
//! | [`MmSva::new`], [`MmSva::pasid`], [`MmSva::exited`] | the driver's part of an [`Mm`] |
//! | [`PasidSpace::new`], [`PasidSpace::in_use`] | the PASIDs that IOMMUs share |
//!
//! For devices that speak ATS and PRI, and fault their pages in:
//!
//! | call | what it does |
//! |---|---|
//! | [`Iommu::enable_ats`], [`Iommu::disable_ats`] | let a device cache translations, or no longer |
//! | [`Iommu::enable_pri`], [`Iommu::disable_pri`] | let a device ask for pages, or no longer |
//! | [`Iommu::service_page_requests`] | has [`Mm::handle_fault`] resolve requests, and answers |
//! | [`Iommu::receive_page_requests`] | the part of that for interrupt handlers |
//! | [`Iommu::cut_off`], [`Iommu::reinstate`] | a device is gone or about to be reset; it has been reset |
//! | [`Iommu::device_state`], [`Iommu::statistics`] | what is going on |
//!
//! # The SVA contract
//!
//! What a device driver and an operating system can rely on. Each clause has tests that are named after its
//! number.
//!
//! 1. There is one bond per device and mm. Binding again gives another handle on the same bond; the last
//!    unbind tears it down.
//! 2. An mm has one PASID, on all devices and all IOMMUs that share a [`PasidSpace`]. It is the mm's from its
//!    first bind until the mm object is dropped, not merely its mappings. 0 is reserved.
//! 3. Each reason for which a bind can fail has an error of its own: [`BindError`].
//! 4. A bind first does all that can fail, then enters the bond where faults and page requests look it up,
//!    then makes the process context valid.
//! 5. Setting the same callbacks twice does nothing; setting others is an error.
//! 6. Before the last unbind the device has been told to stop using the PASID, and what it had issued has
//!    reached the IOMMU.
//! 7. Teardown: the process context becomes invalid, the IOMMU forgets it and every translation of the
//!    address space for good (IODIR.INVAL_PDT, IOTINVAL.VMA, IOFENCE.C), then the device does (ATS.INVAL,
//!    IOFENCE.C), page requests up to the tail read after that fence are drained, callbacks and handlers that
//!    are running finish, and only then can PASID and PSCID be used again. After unbind has returned no
//!    callback of the bond runs.
//! 8. A context changes with its valid bit cleared: cleared first, fence, the rest, fence, set last. Where
//!    one doubleword is all that changes, one store changes it.
//! 9. `mm_exit` is called once per bond, one bond after the other, without driver locks, while the page tables are
//!    still there. It waits for no page request.
//! 10. After exit and until unbind, DMA with the PASID is aborted and its faults are dropped: those of a device
//!     without living address spaces, or that floods the queue with them, are not recorded at all. Translation
//!     requests are granted nothing, and page requests are answered Invalid Request. The context points to an
//!     empty page table: never to Bare, which would let DMA pass.
//! 11. The handle stays valid until it is unbound, which the device driver does also after exit.
//! 12. Page requests are held until one closes their group (device, PASID and index name it), and the group
//!     is answered once. One failed member fails the group.
//! 13. A stop marker is consumed and not answered; what the device had begun with its PASID and not closed is
//!     forgotten.
//! 14. Answers: Success, the pages were made present; Invalid Request, there is no such PASID or mapping, the
//!     mm has exited, or the access is forbidden; Response Failure, out of memory, or refused by the handler.
//! 15. An answer has a PASID only if the device needs it ([`PriOptions::response_needs_pasid`]).
//! 16. After an overflow or memory fault of the page-request queue: what is there is processed, groups that
//!     are open when the queue is empty are discarded, reception goes on. A drain that saw that drains again.
//! 17. Disabling page requests stops their reception and answers everything pending Invalid Request. Answers
//!     that come later do nothing.
//! 18. Devices take turns, a group each, and memory for the requests of each was set aside when they were
//!     enabled: a device that sends more is answered Response Failure.
//! 19. Invalidations of an mm can come from any context: no sleeping, no allocation. The end of a range is
//!     exclusive. A change of non-leaf entries is invalidated ([`Change::Tables`]) before page-table pages
//!     are freed. Devices with ATS have forgotten the range when the call returns.
//! 20. Every wait for hardware is bounded by [`Config::timeout`], or [`Config::device_timeout`], and ends in
//!     a reported error; a device that does not complete an invalidation is cut off; everyone else goes on.
//!
//! # Threads, interrupts and locks
//!
//! Everything is `Send` and `Sync`. `bind`, `unbind`, `mm_exit` and the calls that enable or disable something
//! wait for the hardware, calling [`Platform::relax`] meanwhile; they belong in ordinary threads, as do
//! `service_page_requests`, of which any number may run, and `cut_off`. Operations on one device take turns, first come
//! first served; those on different devices do not wait for each other. `invalidate_range`, `service_faults` and
//! `receive_page_requests` may also run in interrupt handlers, if [`Platform::mask`] keeps those off while a spin lock
//! is held, and in the allocator when it looks for memory. They allocate nothing. Nothing is allocated, returned,
//! logged or waited for under a spin lock, but for 16 turns of polling when a queue of records is restarted.
//! Callbacks and handlers run with no lock held.
//!
//! An unbind waits for the callbacks and handlers of its bond, unless it is called from within a callback or handler
//! and the platform can tell ([`Platform::context`]). See [`SvaOps`].
//!
//! # Bounds
//!
//! A *batch* is a few commands and a fence that a call waits for. While it waits, each turn, ended by
//! [`Platform::relax`], makes at most 3 register accesses. A batch that finds n others in line that do not fit the
//! queue with it waits for them first; once submitted, it ends within [`Config::timeout`] ticks, and
//! [`Config::device_timeout`] more if it or a batch before it waits for a device, or twice that if the queue has
//! to be restarted because of others; a restart takes at most 3 times the timeout. Beside that, with no other
//! calls at the same time and no failures:
//!
//! | call | batches | register accesses beside them |
//! |---|---|---|
//! | `bind` | 1 if its device's faults were not being recorded, or else 0 | 4 |
//! | [`Handle::unbind`] | 1, and 1 if the device has ATS | 24, and 4 for every 16 records in a queue |
//! | `mm_exit` | 1 for every 3 devices, 1, and 1 for every 8 devices with ATS | 12, and 4 for every 16 fault records |
//! | `invalidate_range` | 1, and 1 for every 8 devices with ATS | 0 |
//! | `service_faults` | 1 for every device whose faults are no longer recorded | 4, and 12 for every 16 records |
//! | `receive_page_requests` | 0 | 4, and 8 for every 16 requests |
//! | `service_page_requests` | 1 for every answer | 8, and 4 for every answer |
//! | `enable_sva` | 0 | 4 |
//! | `disable_sva` | 5 | 16 |
//! | `enable_ats`, `enable_pri` | 1 | 4 |
//! | `disable_ats`, `disable_pri` | 4, 1 | 12, and 4 for every 16 requests |
//! | `cut_off`, `reinstate` | 1, and 1 for every pending answer | 12, and 4 for every 16 requests |
//! | `invalidate_shared_tables` | 1 | 0 |
//! | [`Iommu::new`] | 1 | 48 |
//! | `suspend` | 2 for every device with ATS | 12 |
//! | `resume` | 1, and after a reset 2 for every device with ATS | 40 |
//! | `reset` | 1, and 2 for every device with ATS | 40 |
//! | everything else | 0 | 0 |
//!
//! Bringing up, suspending, resuming and resetting wait in steps beside that, each no longer than [`Config::timeout`]: two
//! for each change of the mode, and three for each queue. After a suspension, a device with ATS is sent
//! an invalidation if an earlier unbind from it was not confirmed.
//!
//! A batch of invalidations in which a device does not answer is followed by one for each of its devices, and 2 more
//! for each that does not answer then; such a device is sent no more of them.
//!
//! # Features
//!
//! `fake`: the module `fake`, a machine with a small behavioural IOMMU for tests on a host.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bond;
mod bonds;
mod capabilities;
mod claims;
mod command_queue;
mod config;
mod device_caches;
mod device_directory;
mod devices;
mod directory;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod fault_log;
mod faults;
mod groups;
mod handle;
mod hardware;
mod iommu;
mod line;
mod lock;
mod map;
mod mm;
mod page_requests;
mod pasid;
mod platform;
mod power;
mod process_directory;
mod raw;
mod record_queue;
mod requester;
mod shared;
mod statistics;
mod sva;
#[cfg(test)]
mod tests;

pub use bond::{Bond, DrvData, Fault, FaultDecision, SvaOps};
pub use capabilities::Capabilities;
pub use config::{AtsOptions, Config, DeviceOptions, Message, PriOptions, Untagged};
pub use devices::DeviceState;
pub use error::{BindError, CommandError, DeviceError, DisableError, EnableError, InitError, SetOpsError};
pub use fault_log::FaultReport;
pub use handle::Handle;
pub use iommu::Iommu;
pub use mm::{FaultAccess, Mm, MmSva, PageTable, PageTableMode, Resolution};
pub use page_requests::PageRequestReport;
pub use pasid::{Pasid, PasidSpace};
pub use pasidon_spec::fault::{Cause, FaultRecord};
pub use platform::Platform;
pub use raw::{Board, RawPlatform};
pub use statistics::Statistics;
pub use sva::Change;
