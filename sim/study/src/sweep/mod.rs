//! A sweep: an experiment, axes along which it varies, and what came out for each point.
//!
//! - [`mod@file`]: the sweep file.
//! - [`points`]: the points that it describes, complete and checked before the first runs.
//! - [`designs`]: the designs among them, each once, with a name.
//! - [`store`]: a line of JSON for each point that is done. A line that a crash cut off is as if it had not been written.
//! - [`run`]: answers what is missing, on all cores.
//! - [`merge`]: one sorted file of results, and tables of it.
//! - [`slurm`]: the same as an array of jobs on a cluster.
//!
//! A point is named by the hash of its experiment. Never: a point that is done is run again, or lost.

pub mod designs;
pub mod file;
pub mod merge;
#[cfg(feature = "parquet")]
mod parquet;
pub mod points;
pub mod run;
pub mod slurm;
pub mod store;

use std::path::PathBuf;

/// Why a sweep could not be run or read.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// The operating system refused.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// The sweep file is not what it should be.
    #[error("{}: {problem}; {remedy}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong, with the field.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Results that belong to another sweep, or are damaged.
    #[error("{}: {problem}; {remedy}", file.display())]
    Results {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        remedy: String,
    },
    /// Slurm's commands failed.
    #[error("{command}: {problem}; {remedy}")]
    Slurm {
        /// What was called.
        command: String,
        /// What it said.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

impl SweepError {
    pub(crate) fn io(file: &std::path::Path) -> impl FnOnce(std::io::Error) -> SweepError {
        let file = file.to_path_buf();
        move |cause| SweepError::Io { file, cause }
    }
}
