//! The queues in memory: commands in, fault records and page requests out, and the barrier that fences wait for.

mod barrier;
mod command_queue;
mod fault_queue;
mod page_request_queue;

pub use barrier::barrier;
pub use command_queue::command_queue;
pub use fault_queue::fault_queue;
pub use page_request_queue::page_request_queue;

use pasidon_hdl::{E, Module, cat, lit, lo, names};

/// Byte address of entry `index`, of `2^log2_bytes` bytes, in the queue whose base page is `ppn`.
///
/// A queue is aligned to its size, so base and index have no bit in common and no adder is needed. What a misaligned base
/// leads to is left open by the specification (registers `cqb` and `fqb`).
#[names]
fn entry_address(ppn: E, index: E, log2_bytes: u32) -> E {
    let base = cat(&[ppn, lit(0, 12)]).resize(64);
    let offset = cat(&[index, lit(0, log2_bytes)]).resize(64);
    base | offset
}

/// Where a queue that the hardware fills stands: the tail, and whether there is room behind it.
#[derive(Clone, Copy)]
struct Tail {
    /// The queue is on.
    on: E,
    /// `full` is that of `tail`: it follows a change by one cycle, so the queue looks at it in the second cycle after that.
    settled: E,
    /// Index of the next record.
    tail: E,
    /// The index after it.
    next: E,
    /// There is no room.
    full: E,
}

impl Tail {
    /// The registers, `on` under this name, for a queue whose indices wrap by `mask` and which software has read up to `head`.
    #[names]
    fn registers(m: &mut Module, on: &str, mask: E, head: E) -> Tail {
        let on = m.reg(on, 1, 0);
        let settled = m.reg("settled", 1, 0);
        let tail = m.reg("tail", head.width(), 0);
        let next = m.wire("next_tail", tail.inc() & mask);
        let full = m.reg("full", 1, 0);
        m.set(full, next.eq(head));
        Tail { on, settled, tail, next, full }
    }

    /// While no record is under way: the queue goes on and off as software says, and begins at 0.
    fn follow(&self, m: &mut Module, enable: E) {
        m.set(self.on, enable);
        m.when(enable & !self.on, |m| {
            m.set(self.tail, lit(0, self.tail.width()));
            m.set(self.settled, lo());
        });
    }

    /// A record has been written.
    fn advance(&self, m: &mut Module) {
        m.set(self.tail, self.next);
    }
}
