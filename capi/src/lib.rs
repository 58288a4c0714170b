//! The driver for C: `pasidon-driver` behind functions with the names of the kernel's SVA interface.
//!
//! Only here does the driver meet raw pointers, so this is where `unsafe` is, and what a C caller has to promise
//! stands beside each function. The header `include/pasidon.h` is generated from these files.
//!
//! The objects that C holds:
//!
//! | C | Rust | ends with |
//! |---|---|---|
//! | `struct iommu` | [`pasidon_driver::Iommu`] | [`iommu_destroy`], when its last handle is gone too |
//! | `struct iommu_mm` | an implementation of [`pasidon_driver::Mm`] | [`iommu_mm_put`], when its last bond is gone too |
//! | `struct iommu_sva` | a bond and its handles | the [`iommu_sva_unbind_device`] that answers its last bind |
//! | `struct iommu_pasid_space` | [`pasidon_driver::PasidSpace`] | [`iommu_pasid_space_put`] |
//!
//! A panic can't cross into C: it aborts the program.
#![allow(non_camel_case_types, reason = "the names are C's")]

mod device;
mod error;
#[cfg(feature = "fake")]
mod fake;
mod instance;
mod log;
mod mm;
mod platform;
mod requests;
mod sva;

pub use device::*;
pub use error::*;
#[cfg(feature = "fake")]
pub use fake::*;
pub use instance::*;
pub use log::*;
pub use mm::*;
pub use platform::*;
pub use requests::*;
pub use sva::*;
