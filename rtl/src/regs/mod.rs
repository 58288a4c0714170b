//! The memory-mapped registers: their bus port and their contents.

mod axi_lite;
mod directory;
mod features;
mod interrupts;
mod queues;
mod registers;
pub mod words;

pub use axi_lite::axi_lite;
pub use features::capabilities;
pub use registers::registers;
