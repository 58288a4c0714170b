//! Programs a RISC-V IOMMU and offers shared virtual addressing.
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
mod fault_queue;
mod faults;
mod hardware;
mod iommu;
mod lock;
mod mm;
mod pasid;
mod platform;
mod process_directory;
mod raw;
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
