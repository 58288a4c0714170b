//! Walkers and what they load: device contexts, process contexts, page-table entries of both stages, MSI page-table entries.

mod arrived;
mod ddt;
pub mod device_context;
mod first_stage;
mod msi;
pub mod page_table;
mod pdt;
pub mod process_context;
mod second_stage;
mod state;
mod update;
pub mod walker;
