//! The driver for C: `pasidon-driver` behind functions with the names of the kernel's SVA interface.
//!
//! Raw pointers and `unsafe` are in this crate only. What a C caller must guarantee stands beside each function. The header
//! `include/pasidon.h` is generated from these files.
//!
//! What C holds are handles. They are looked up in a table and never dereferenced:
//!
//! | C | Rust | ends with |
//! |---|---|---|
//! | `struct iommu` | [`pasidon_driver::Iommu`] | [`iommu_destroy`], when its last bond is gone too |
//! | `struct iommu_mm` | an implementation of [`pasidon_driver::Mm`] | [`iommu_mm_put`], when its last bond is gone too |
//! | `struct iommu_sva` | a bond and its handles | the [`iommu_sva_unbind_device`] that answers its last bind |
//! | `struct iommu_pasid_space` | [`pasidon_driver::PasidSpace`] | [`iommu_pasid_space_put`], when no IOMMU uses it |
//!
//! A panic can't cross into C: it ends the program.
//!
//! The library needs no operating system. With the feature `hosted`, which is on by default, it takes heap and lock from
//! the host's; without, from the program that links it, through the functions `iommu_host_...` in the header.
#![no_std]
#![allow(non_camel_case_types, reason = "the names are C's")]

extern crate alloc;
#[cfg(any(feature = "hosted", test))]
extern crate std;

mod device;
mod error;
#[cfg(feature = "fake")]
mod fake;
#[cfg(not(any(feature = "hosted", test)))]
mod host;
mod instance;
mod lock;
mod log;
mod mm;
mod platform;
mod requests;
mod sva;
mod table;

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
