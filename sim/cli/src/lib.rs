//! The `pasidon` command, and what it offers to programs of any language.
//!
//! - [`cli`]: the commands and their arguments.
//! - [`serve`]: a simulation that a test bench controls, line by line.

pub mod cli;
pub mod serve;
