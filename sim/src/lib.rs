//! Simulation of Pasidon: the generated hardware, verilated, in a machine that Rust describes.
//!
//! - [`trace`]: memory accesses of real programs.

pub mod trace;
