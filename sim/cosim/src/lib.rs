//! One test bench for the hardware: the verilated design, its clock, and a driver for each of its ports.
//!
//! - [`verilated`]: the hardware as a value, compiled from its Verilog and loaded at run time.
//! - [`bench`](mod@bench): the clock loop around it, with the register port and the memory port; what is behind the other ports is the caller's.
//! - [`memory`]: what is behind the memory port: sparse, contiguous, or memory that somebody else owns.
//! - [`memory_port`]: AXI4 memory in time: latency, order, pauses, failures, exclusive accesses.
//! - [`axi_checker`]: the rules of AXI4, and those of this master, watched in each cycle.
//! - [`register_port`]: the CPU's side of the registers.
//! - [`translation_port`]: a device's side of a translation port.
//! - [`message_port`]: the messages between devices and the IOMMU.
//! - [`pace`]: how memory and devices behave in time.
//! - [`random`]: reproducible pseudo-random numbers.
//!
//! All outputs of the hardware are functions of its registers, so that the outputs of a cycle are known before its inputs are
//! chosen: each handshake is decided here, from this cycle's `valid` and `ready`.

pub mod axi_checker;
pub mod bench;
pub mod memory;
pub mod memory_port;
pub mod message_port;
pub mod pace;
pub mod random;
pub mod register_port;
pub mod translation_port;
pub mod verilated;

pub use bench::{Bench, BenchError, Clocked};
pub use memory::{BusMemory, Extent, Faulty, Flat, Shared, Sparse};
pub use memory_port::MemoryPort;
pub use message_port::{MessageEvent, MessagePort};
pub use pace::Pace;
pub use random::Random;
pub use register_port::RegisterPort;
pub use translation_port::{Answer, TranslationPort};
pub use verilated::{Cache, Flavour, Probe, Verilated, VerilatedError};
