//! One interface for both implementations of the IOMMU: the hardware and the golden model.
//!
//! An [`Engine`] owns its registers, its memory and its time. Whoever drives two engines alike can compare them in everything
//! that an engine shows: answers, registers, interrupt wires, messages and memory.
//!
//! | engine | what it is |
//! |---|---|
//! | [`Rtl`] | the verilated hardware behind a memory port that takes its time |
//! | [`Model`] | the golden model, which answers at once |
//! | [`Both`] | the two driven alike and compared |

mod both;
mod difference;
mod model;
mod rtl;
pub mod versions;

pub use both::Both;
pub use difference::{Difference, DifferenceKind, FieldDifference, describe, same};
pub use model::{GoldenMemory, Model, parameters};
pub use rtl::Rtl;

use pasidon_cosim::{BenchError, Faulty, Sparse};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::request::{Request, Response};
use std::ops::Range;

/// Memory of an engine. Each has one of its own, so that two that are driven alike can be compared word by word.
pub type EngineMemory = Faulty<Sparse>;

/// Names a request until it is answered. Tickets of one engine count up from 0.
pub type Ticket = u64;

/// Why an engine cannot go on, or cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The hardware on its bench failed.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The engine has no such function.
    #[error("{0} is not possible with this engine")]
    Unsupported(&'static str),
    /// The design lacks what this needs.
    #[error("{what} needs {feature}, which the design does not have (`{key}` is false)")]
    Lacking {
        /// What was asked for.
        what: &'static str,
        /// What the design would have to have.
        feature: &'static str,
        /// The key of a design that says whether it does.
        key: &'static str,
    },
    /// The two engines of [`Both`] disagree.
    #[error("{0}")]
    Different(Difference),
}

impl EngineError {
    /// `what` needs ATS, and the design has none.
    pub(crate) fn without_ats(what: &'static str) -> EngineError {
        EngineError::Lacking { what, feature: "ATS", key: "ats.ats" }
    }
}

/// One description of the IOMMU at work.
///
/// Register accesses and memory accesses of this interface are those of software: they are complete on return. Requests are
/// answered later, in any order.
pub trait Engine: Send {
    /// Puts registers, caches and requests into their state after reset. Memory keeps its contents.
    ///
    /// # Errors
    /// [`EngineError`]
    fn reset(&mut self) -> Result<(), EngineError>;

    /// Lets clock cycles pass.
    ///
    /// # Errors
    /// [`EngineError`]
    fn step(&mut self, cycles: u64) -> Result<(), EngineError>;

    /// Clock cycles since the engine was made.
    fn cycles(&self) -> u64;

    /// Reads `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`.
    ///
    /// # Errors
    /// [`EngineError`]
    fn read_register(&mut self, offset: u16, bytes: u8) -> Result<u64, EngineError>;

    /// Writes `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`.
    ///
    /// # Errors
    /// [`EngineError`]
    fn write_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError>;

    /// Copies memory out; false if part of it does not exist.
    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool;

    /// Copies into memory; false if part of it does not exist.
    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool;

    /// Makes the IOMMU's accesses to `range` fail from now on.
    fn inject(&mut self, range: Range<u64>, failure: Failure);

    /// Ends all injected failures.
    fn heal(&mut self);

    /// Translation ports.
    fn ports(&self) -> usize;

    /// Hands a request to a translation port (taken modulo their number), behind those that wait there.
    fn submit(&mut self, port: usize, request: &Request) -> Ticket;

    /// Takes the answers that came since the last call.
    fn take_responses(&mut self) -> Vec<(Ticket, Response)>;

    /// Requests without an answer.
    fn outstanding(&self) -> usize;

    /// Goes on until every request has its answer, commands and register writes have taken effect, and all of it is in memory.
    ///
    /// # Errors
    /// [`EngineError`]
    fn quiesce(&mut self) -> Result<(), EngineError>;

    /// A request and its answer.
    ///
    /// # Errors
    /// [`EngineError`]
    fn translate(&mut self, port: usize, request: &Request) -> Result<Response, EngineError>;

    /// The messages to devices since the last call, oldest first; none of an engine without ATS.
    fn take_messages(&mut self) -> Vec<Message> {
        Vec::new()
    }

    /// Hands over a page request or stop marker of a device, behind those that wait. What becomes of it shows in the page-request
    /// queue, in the fault queue and among the messages to devices.
    ///
    /// # Errors
    /// [`EngineError`], which an engine without ATS always gives.
    fn page_request(&mut self, _request: &PageRequest) -> Result<(), EngineError> {
        Err(EngineError::without_ats("a page request"))
    }

    /// Hands over an invalidation completion of a device, behind those that wait. One that answers no request in flight is ignored.
    ///
    /// # Errors
    /// [`EngineError`], which an engine without ATS always gives.
    fn invalidation_completion(&mut self, _completion: &InvalidationCompletion) -> Result<(), EngineError> {
        Err(EngineError::without_ats("an invalidation completion"))
    }

    /// The interrupt wires: bit `i` is vector `i`.
    fn wires(&mut self) -> u32;
}

#[cfg(test)]
mod tests;
