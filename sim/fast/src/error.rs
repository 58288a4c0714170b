//! Why the fast engine does not answer.

use pasidon_experiment::trace::TraceError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum FastError {
    /// A workload can't be read.
    #[error(transparent)]
    Workload(#[from] TraceError),
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

impl FastError {
    /// `field` is unsuitable.
    pub(crate) fn unsuitable(
        field: impl Into<String>,
        problem: impl Into<String>,
        mend: impl Into<String>,
    ) -> FastError {
        FastError::Unsuitable { field: field.into(), problem: problem.into(), mend: mend.into() }
    }
}
