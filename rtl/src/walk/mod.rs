//! Walkers and what they load: device contexts, process contexts, page-table entries of both stages, MSI page-table entries.

pub mod device_context;
mod msi;
pub mod page_table;
pub mod process_context;
mod second_stage;
mod state;
mod update;
pub mod walker;
