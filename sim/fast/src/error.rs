//! Why the fast engine does not answer.

use pasidon_experiment::generate::WorkError;
use pasidon_experiment::trace::TraceError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FastError {
    /// A workload can't be read.
    #[error(transparent)]
    Workload(#[from] TraceError),
    /// What is asked is not possible: each with field and mend.
    #[error("{}", .0.join("\n"))]
    Impossible(Vec<String>),
    /// The design and what is asked of it don't fit.
    #[error("{field}: {problem}; {mend}")]
    Unsuitable {
        /// The key or field.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What helps.
        mend: String,
    },
}

impl From<WorkError> for FastError {
    fn from(error: WorkError) -> FastError {
        match error {
            WorkError::Trace(error) => FastError::Workload(error),
            WorkError::Parameters(problems) => FastError::Impossible(problems),
        }
    }
}

impl FastError {
    /// Nothing of the kind, or all problems.
    pub(crate) fn if_any(problems: Vec<String>) -> Result<(), FastError> {
        if problems.is_empty() { Ok(()) } else { Err(FastError::Impossible(problems)) }
    }

    /// `field` is unsuitable.
    pub(crate) fn unsuitable(
        field: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> FastError {
        FastError::Unsuitable { field: field.into(), problem: problem.into(), mend: mend.into() }
    }
}
