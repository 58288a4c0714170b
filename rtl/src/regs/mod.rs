//! The memory-mapped registers: their bus port and their contents.

mod axi_lite;
mod registers;
mod words;

pub use axi_lite::axi_lite;
pub use registers::{capabilities, registers};
