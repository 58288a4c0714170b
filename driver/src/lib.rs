//! Programs a RISC-V IOMMU and offers shared virtual addressing.
#![no_std]

mod platform;

pub use platform::Platform;
