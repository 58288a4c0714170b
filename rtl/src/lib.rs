//! pasidon-rtl: the hardware, described in Rust on rust-hdl and emitted as Verilog.

pub mod design;
pub mod emit;
pub mod hdl;
pub mod queue;
pub mod regs;
