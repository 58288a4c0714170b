//! The performance monitor.

mod counter;
mod hpm;

pub use hpm::hpm;
