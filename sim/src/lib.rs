//! Simulation of Pasidon: the generated hardware, verilated, in a machine that Rust describes.
//!
//! - [`model`]: the hardware, compiled and loaded at run time.
//! - [`trace`]: memory accesses of real programs.

pub mod model;
pub mod trace;
