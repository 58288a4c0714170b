//! Accesses as an engine takes them: in batches, in order, from a trace or a generator.

use crate::trace::{TraceAccess, TraceError};
use std::sync::Arc;

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

/// Accesses in memory as a stream.
#[derive(Clone, Debug)]
pub struct Recorded {
    name: String,
    accesses: Arc<[TraceAccess]>,
    at: usize,
}

impl Recorded {
    /// These accesses.
    pub fn new(name: &str, accesses: impl Into<Arc<[TraceAccess]>>) -> Recorded {
        Recorded { name: name.into(), accesses: accesses.into(), at: 0 }
    }
}

impl AccessStream for Recorded {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        batch.clear();
        let end = (self.at + BATCH).min(self.accesses.len());
        batch.extend_from_slice(&self.accesses[self.at..end]);
        self.at = end;
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        self.at = 0;
        Ok(())
    }
}

/// The accesses of one address space of a stream.
pub struct OfLabel {
    /// The stream.
    pub stream: Box<dyn AccessStream>,
    /// The label.
    pub label: u32,
}

impl AccessStream for OfLabel {
    fn name(&self) -> String {
        self.stream.name()
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        loop {
            self.stream.next_batch(batch)?;
            let ended = batch.is_empty();
            batch.retain(|access| access.pasid == self.label);
            if ended || !batch.is_empty() {
                return Ok(());
            }
        }
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        self.stream.rewind()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::TraceOp;

    #[test]
    fn a_label_has_its_accesses_only() {
        let access = |address: u64, pasid| TraceAccess { pasid, op: TraceOp::Read, address, size: 1, gap: 0 };
        // More than a batch between two of the label.
        let long = (0..3 * BATCH as u64).map(|i| access(i, u32::from(i % 2000 == 7)));
        let stream = Box::new(Recorded::new("two", long.collect::<Vec<_>>()));
        let mut of = OfLabel { stream, label: 1 };
        for _ in 0..2 {
            let (mut seen, mut batch) = (Vec::new(), Vec::new());
            loop {
                of.next_batch(&mut batch).unwrap();
                if batch.is_empty() {
                    break;
                }
                seen.extend(batch.iter().map(|access| access.address));
            }
            assert_eq!(seen, [7, 2007]);
            of.rewind().unwrap();
        }
    }
}
