//! The performance monitor.

mod counter;
mod events;
mod hpm;

pub use events::{RequestEvents, WalkEvents};
pub use hpm::hpm;
