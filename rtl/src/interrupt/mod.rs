//! Interrupts as messages (MSI).

mod fault_source;
mod msi;

pub use fault_source::fault_source;
pub use msi::msi;
