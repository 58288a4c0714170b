//! Simulation of Pasidon: the generated hardware, verilated, in a machine that Rust describes.
//!
//! - [`coverage`]: which lines and bits of the hardware a run has been through.
//! - [`endpoint`]: a device that speaks ATS and PRI.
//! - [`engine`]: the hardware and the golden model behind one interface.
//! - [`lockstep`]: the two under the same random operations.
//! - [`machine`]: memory, devices, root port and the clock around it.
//! - [`mutation`]: single faults in the hardware, which lockstep must notice.
//! - [`os`]: an operating system: processes, demand paging, copy-on-write, page-out.
//! - [`serve`]: a simulation that a test bench in any language controls, line by line.
//! - [`stress`]: everything that processes, devices and memory can do to each other, at random, and an audit.
//! - [`trace`]: memory accesses of real programs.

mod allocator;
pub mod coverage;
pub mod endpoint;
pub mod engine;
pub mod lockstep;
pub mod machine;
pub mod mutation;
pub mod os;
pub mod report;
pub mod run;
pub mod serve;
pub mod stress;
pub mod trace;
