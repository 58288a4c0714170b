//! Walkers and what they load: device contexts, process contexts, page-table entries.

pub mod context;
pub mod walker;
