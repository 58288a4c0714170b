//! The machine around the IOMMU: devices, memory with its owners, an operating system, and real work on it.
//!
//! - [`machine`]: the IOMMU on its bench with devices, root port and the clock.
//! - [`memory`]: physical memory and who owns which part of it.
//! - [`dma`]: the data path of the devices.
//! - [`endpoint`]: a device that speaks ATS and PRI.
//! - [`root_port`]: messages between devices and the IOMMU, and which answers are due.
//! - [`truth`]: the reference for isolation: whose page is where.
//! - [`platform`]: the driver's platform on the machine.
//! - [`os`]: an operating system: processes, demand paging, copy-on-write, page-out.
//! - [`run`]: devices replay a trace on the pointers of a process.
//! - [`report`]: the report of a run.
//! - [`stress`]: the stress test: random operations that conflict in every possible way, and an audit.
//! - [`watch`]: what goes on inside the hardware, counted and timed.
//! - [`stats`]: counters and distributions.

mod allocator;
pub mod dma;
pub mod endpoint;
pub mod machine;
pub mod memory;
pub mod os;
pub mod platform;
pub mod report;
pub mod root_port;
pub mod run;
pub mod stats;
pub mod stress;
pub mod truth;
pub mod watch;
