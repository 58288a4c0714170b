//! Co-simulation of the generated hardware: what the tests of this package share.
//!
//! - [`rig`]: a verilated design with registers, memory and translation ports driven by hand, cycle by cycle.
//! - [`query`]: a request of a test, and its result.
//! - [`pages`]: where tables get their memory.
//! - [`queues`]: the software side of command queue and fault queue.
//! - [`tables`]: directories and page tables, built entry by entry, so that each can be wrong in one place.
//! - [`oracle`]: what the specification requires as the result of a request, as a plain walk over the same memory.
//! - [`guest`]: a device with two stages of translation, on the hardware and the golden model at once.
//! - [`devices`]: devices that send and take messages, on the hardware and the golden model at once.
//! - [`driven`]: the hardware under its driver, with an operating system and devices.
//! - [`timing`]: the timing diagrams of the book.
//! - [`designs`]: the few designs that the tests use.
//!
//! Everything random follows from a seed, which is printed; the environment variable `SEED` repeats a run.

pub mod designs;
pub mod devices;
pub mod driven;
pub mod guest;
pub mod oracle;
pub mod pages;
pub mod query;
pub mod queues;
pub mod rig;
pub mod tables;
pub mod timing;

pub use query::{Query, QueryAnswer};
pub use rig::{Pressure, Rig};

/// The seed of a test: `SEED` from the environment (decimal), or a fixed one. It is printed, and a failing test shows it.
pub fn seed(test: &str) -> u64 {
    let given = std::env::var("SEED").ok().and_then(|text| text.trim().parse().ok());
    let seed = given.unwrap_or(20_240_601);
    println!("{test}: SEED={seed}");
    seed
}
