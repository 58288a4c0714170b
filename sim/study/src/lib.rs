//! Experiments by the hundred, and what they say.
//!
//! - [`sweep`]: a file with axes becomes points; points are answered in parallel, on one machine or many, and none twice.
//! - [`report`]: tables and pictures of what came out, in one HTML file.
//! - [`columns`]: an answer as a row of numbers.
//! - [`area`]: what a design takes on an FPGA, for the picture of cost against speed.
//!
//! Which engine answers is for the caller: an [`Answerer`].

pub mod area;
pub mod columns;
pub mod report;
pub mod sweep;

use pasidon_experiment::{Answer, Experiment};

/// Answers an experiment; the error is one sentence for the user. Called from several threads at a time.
pub type Answerer<'a> = dyn Fn(&Experiment) -> Result<Answer, String> + Sync + 'a;
