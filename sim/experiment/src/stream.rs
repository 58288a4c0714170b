//! Accesses as an engine takes them: in batches, in order, from a trace or a generator.

use crate::trace::{TraceAccess, TraceError};

/// Accesses of a batch. An engine may keep a few of them in memory; a stream keeps none.
pub const BATCH: usize = 1024;

/// Where accesses come from. The same source gives the same accesses every time.
pub trait AccessStream: Send {
    /// What it is, in a few words, for reports.
    fn name(&self) -> String;

    /// Replaces the content of `batch` with the next accesses, at most [`BATCH`]. None means that there are no more.
    ///
    /// # Errors
    /// [`TraceError`] with the position.
    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError>;

    /// Begins anew.
    ///
    /// # Errors
    /// [`TraceError`], when the file can't be opened again.
    fn rewind(&mut self) -> Result<(), TraceError>;
}
