//! Programs a RISC-V IOMMU and offers shared virtual addressing (SVA): one call binds a device to a process's
//! address space, and the device then uses the process's own pointers.
//!
//! The crate is what an operating system, a hypervisor or a bare-metal program links. It needs no standard
//! library, only an allocator, and sees its world through one trait, [`Platform`]; [`RawPlatform`] implements
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
//! # The whole of it
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
//! | [`Iommu::mm_exit`] | an address space dies |
//! | [`Iommu::service_faults`] | empties the fault queue, calls [`SvaOps::fault`] |
//!
//! # The SVA contract
//!
//! What a device driver and an operating system can rely on. Each clause has tests that are named after its
//! number; numbers that are missing here are about page requests (ATS and PRI).
//!
//! 1. There is one bond per device and mm. Binding again gives another handle on the same bond; the last
//!    unbind tears it down.
//! 2. An mm has one PASID, on all devices and all IOMMUs that share a [`PasidSpace`]. It is the mm's from its
//!    first bind until the mm object is dropped, not merely its mappings. 0 is reserved.
//! 3. Whatever can go wrong with a bind has an error of its own: [`BindError`].
//! 4. A bind first does all that can fail, then enters the bond where faults look it up, then makes the
//!    process context valid.
//! 5. Setting the same callbacks twice does nothing; setting others is an error.
//! 6. Before the last unbind the device has been told to stop using the PASID, and what it had issued has
//!    reached the IOMMU.
//! 7. Teardown: the process context becomes invalid, the IOMMU forgets it and every translation of the
//!    address space for good (IODIR.INVAL_PDT, IOTINVAL.VMA, IOFENCE.C), callbacks that are running finish,
//!    and only then can PASID and PSCID be used again. After unbind has returned no callback of the bond
//!    runs.
//! 8. A context changes with its valid bit cleared: cleared first, fence, the rest, fence, set last.
//! 9. `mm_exit` is called once per bond, without driver locks, while the page tables are still there.
//! 10. After exit and until unbind, DMA with the PASID is aborted and its faults are dropped. The context
//!     points to an empty page table: never to Bare, which would let it pass.
//! 11. The handle stays valid until it is unbound, which the device driver does also after exit.
//! 19. Invalidations of an mm can come from any context: no sleeping, no allocation. The end of a range is
//!     exclusive. A change of non-leaf entries is invalidated ([`Change::Tables`]) before page-table pages
//!     are freed.
//! 20. Every wait for hardware is bounded by [`Config::timeout`] and ends in a reported error; everyone else
//!     goes on.
//!
//! # Threads, interrupts and locks
//!
//! Everything is `Send` and `Sync`. `bind`, `unbind`, `enable_sva`, `disable_sva` and `mm_exit` take turns
//! and wait for the hardware, calling [`Platform::relax`] meanwhile; they belong in ordinary threads.
//! `invalidate_range` and `service_faults` may also run in interrupt handlers, if [`Platform::mask`] keeps
//! those off while a spin lock is held. Callbacks run with no lock held.
//!
//! # Features
//!
//! `fake`: the module `fake`, a machine with a small behavioural IOMMU for tests on a host.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod bond;
mod capabilities;
mod command_queue;
mod config;
mod device_directory;
mod directory;
mod error;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
mod faults;
mod hardware;
mod iommu;
mod lock;
mod mm;
mod pasid;
mod platform;
mod process_directory;
mod raw;
mod record_queue;
mod sva;
#[cfg(test)]
mod tests;

pub use bond::{Bond, DrvData, Fault, FaultDecision, Handle, SvaOps};
pub use capabilities::Capabilities;
pub use config::{Config, DeviceOptions, Untagged};
pub use error::{BindError, CommandError, DisableError, EnableError, InitError, SetOpsError};
pub use faults::FaultReport;
pub use iommu::Iommu;
pub use mm::{FaultAccess, Mm, MmSva, PageTable, PageTableMode, Resolution};
pub use pasid::{Pasid, PasidSpace};
pub use pasidon_spec::fault::{Cause, FaultRecord};
pub use platform::Platform;
pub use raw::{Board, RawPlatform};
pub use sva::Change;
