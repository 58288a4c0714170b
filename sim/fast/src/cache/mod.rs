//! The hardware's caches, one file per block of the hardware and under its name.
//!
//! What is looked up has a number: a page of an address space as one device sees it ([`crate::pages`]), a device, a device's process.
//! Tables do not change during a run, so that an entry of the hardware matches a request exactly when the numbers are equal:
//! pages of one address space do not overlap. Number 0 is an empty entry.

pub mod context_cache;
pub mod l1_tlb;
pub mod l2_tlb;
pub mod replacement;
pub mod walk_cache;

/// Number of something that a cache holds; 0 is nothing.
pub type Id = u32;
