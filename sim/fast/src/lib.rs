//! The fast engine: the hardware's caches with the hardware's rules, walks through the golden model.
//!
//! - [`fast_answer`]: an experiment answered, which is one of the two that follow.
//! - [`count()`]: what is counted when requests go one at a time. These counts equal the hardware's.
//! - [`estimate()`]: several under way: counts, and the cycles that the hardware takes.
//! - [`deviation()`]: how far that is from the RTL.
//! - [`channel`], [`mapping`]: what the engine is asked: who does what, and which pages there are.
//! - [`cache`]: the caches, one file for each block of the hardware.
//! - [`pages`], [`tables`], [`memory`]: real tables in memory, and what the golden model finds in them, remembered by page.
//!
//! Sizes come from the design. Bounds: memory grows with the pages that a workload touches, not with its length. Never: a table changes
//! during a run.

mod answer;
pub mod cache;
pub mod channel;
mod count;
pub mod deviation;
mod error;
pub mod estimate;
pub mod mapping;
pub mod memory;
mod page_map;
pub mod pages;
pub mod tables;
mod walks;

pub use answer::fast_answer;
pub use channel::Channel;
pub use count::count;
pub use deviation::deviation;
pub use error::FastError;
pub use estimate::estimate;
pub use mapping::{Mapping, Page, Uniform};
pub use pasidon_experiment::imagined::Imagined;
