//! What the `pasidon` command offers to programs of any language.
//!
//! - [`serve`]: a simulation that a test bench controls, line by line.

pub mod serve;
