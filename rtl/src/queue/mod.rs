//! The queues in memory: commands in, fault records and page requests out, and the barrier that fences wait for.

mod barrier;
mod command_queue;
mod fault_queue;
mod page_request_queue;

pub use barrier::barrier;
pub use command_queue::{InvalidationKind, command_queue};
pub use fault_queue::fault_queue;
pub use page_request_queue::page_request_queue;

use crate::hdl::{E, cat, lit};

/// Byte address of entry `index`, of `2^log2_bytes` bytes, in the queue whose base page is `ppn`.
///
/// A queue is aligned to its size, so base and index have no bit in common and no adder is needed. What a misaligned base
/// leads to is left open by the specification (registers `cqb` and `fqb`).
fn entry_address(ppn: E, index: E, log2_bytes: u32) -> E {
    let base = cat(&[ppn, lit(0, 12)]).resize(64);
    let offset = cat(&[index, lit(0, log2_bytes)]).resize(64);
    base | offset
}
