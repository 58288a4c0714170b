//! Where a queue lies in memory, and how indices into it count. (Sections "Command-Queue (CQ)", "Fault/Event-Queue (FQ)" and
//! "Page-Request-Queue (PQ)"; registers `cqb`, `fqb` and `pqb`.)
//!
//! The three queues are rings: entries from the head up to, not including, the tail are in use, a queue with equal head and tail is
//! empty, and one entry always stays free, so that a full queue is not taken for an empty one. Who moves which of the two differs
//! between the queues; the arithmetic does not.
//!
//! Of an index that a function takes, only the bits count that an index of the queue has; [`Queue::entry`] alone takes it as it is. None
//! of them panics.

use crate::field::Field;
use crate::page_table::PAGE_SHIFT;
use crate::registers::{cqb, fqb, pqb};
use crate::{command, fault, page_request};

/// The page number in a base register. All three have it in the same place.
const PPN: Field = cqb::PPN;
/// The logarithm of the size, minus 1, in a base register. All three have it in the same place.
const LOG2SZ_1: Field = cqb::LOG2SZ_1;

const _: () = {
    assert!(PPN.mask() == fqb::PPN.mask() && PPN.mask() == pqb::PPN.mask());
    assert!(LOG2SZ_1.mask() == fqb::LOG2SZ_1.mask() && LOG2SZ_1.mask() == pqb::LOG2SZ_1.mask());
};

/// Address and size of a queue.
///
/// ```
/// use pasidon_spec::queue::Queue;
///
/// let queue = Queue::of_commands(0x8000_0000, 7);
/// assert_eq!((queue.entries(), queue.next(127)), (128, 0));
/// assert_eq!(queue.entry(3), 0x8000_0030);
/// assert_eq!(Queue::commands(queue.base()), queue);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queue {
    address: u64,
    log2_entries: u32,
    entry_bytes: u64,
}

impl Queue {
    /// A queue at the page of `address`, of `2^log2_entries` entries of `entry_bytes` bytes (a power of two). A size that no base
    /// register can hold becomes the nearest that it can: 1 to 32 are legal.
    pub const fn new(address: u64, log2_entries: u32, entry_bytes: u64) -> Queue {
        let most = LOG2SZ_1.max() as u32 + 1;
        let log2_entries = if log2_entries == 0 {
            1
        } else if log2_entries > most {
            most
        } else {
            log2_entries
        };
        Queue { address: address >> PAGE_SHIFT << PAGE_SHIFT, log2_entries, entry_bytes }
    }

    /// The queue that a base register describes, with entries of `entry_bytes` bytes.
    pub const fn from_base(base: u64, entry_bytes: u64) -> Queue {
        Queue::new(PPN.get(base) << PAGE_SHIFT, LOG2SZ_1.get(base) as u32 + 1, entry_bytes)
    }

    /// The command queue that this value of `cqb` describes. (Section "Command-queue base".)
    pub const fn commands(cqb: u64) -> Queue {
        Queue::from_base(cqb, command::COMMAND_BYTES)
    }

    /// The fault queue that this value of `fqb` describes. (Section "Fault queue base".)
    pub const fn faults(fqb: u64) -> Queue {
        Queue::from_base(fqb, fault::RECORD_BYTES)
    }

    /// The page-request queue that this value of `pqb` describes. (Section "Page-request-queue base".)
    pub const fn page_requests(pqb: u64) -> Queue {
        Queue::from_base(pqb, page_request::RECORD_BYTES)
    }

    /// A command queue at the page of `address`; see [`new`](Self::new).
    pub const fn of_commands(address: u64, log2_entries: u32) -> Queue {
        Queue::new(address, log2_entries, command::COMMAND_BYTES)
    }

    /// A fault queue at the page of `address`; see [`new`](Self::new).
    pub const fn of_faults(address: u64, log2_entries: u32) -> Queue {
        Queue::new(address, log2_entries, fault::RECORD_BYTES)
    }

    /// A page-request queue at the page of `address`; see [`new`](Self::new).
    pub const fn of_page_requests(address: u64, log2_entries: u32) -> Queue {
        Queue::new(address, log2_entries, page_request::RECORD_BYTES)
    }

    /// The same queue with at most `2^log2_max` entries: what an implementation makes of a size that it does not support.
    /// (`LOG2SZ-1` is WARL.)
    pub const fn limited_to(self, log2_max: u32) -> Queue {
        let log2_entries = if self.log2_entries > log2_max { log2_max } else { self.log2_entries };
        Queue::new(self.address, log2_entries, self.entry_bytes)
    }

    /// The value of the base register: `cqb`, `fqb` or `pqb`.
    pub const fn base(self) -> u64 {
        PPN.of(self.ppn()) | LOG2SZ_1.of(self.log2_entries as u64 - 1)
    }

    /// Physical page number of the queue.
    pub const fn ppn(self) -> u64 {
        self.address >> PAGE_SHIFT
    }

    /// Address of entry 0.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// Logarithm to base 2 of the number of entries.
    pub const fn log2_entries(self) -> u32 {
        self.log2_entries
    }

    /// How many entries there are. One of them always stays free: see [`capacity`](Self::capacity).
    pub const fn entries(self) -> u64 {
        1 << self.log2_entries
    }

    /// How many entries can be in use.
    pub const fn capacity(self) -> u64 {
        self.entries() - 1
    }

    /// Bytes of memory.
    pub const fn bytes(self) -> u64 {
        self.entries() * self.entry_bytes
    }

    /// The bits that an index has: those of `cqt`, `fqh` and `pqh` that can be written. (Sections "Command-queue tail", "Fault
    /// queue head" and "Page-request-queue head".)
    pub const fn wrap(self, index: u64) -> u64 {
        index & (self.entries() - 1)
    }

    /// The index `count` entries behind `index`.
    pub const fn advance(self, index: u64, count: u64) -> u64 {
        self.wrap(index.wrapping_add(count))
    }

    /// The index behind `index`.
    pub const fn next(self, index: u64) -> u64 {
        self.advance(index, 1)
    }

    /// How many entries are in use: how far the tail is ahead of the head.
    pub const fn used(self, head: u64, tail: u64) -> u64 {
        self.wrap(tail.wrapping_sub(head))
    }

    /// How many entries can be added.
    pub const fn free(self, head: u64, tail: u64) -> u64 {
        self.capacity() - self.used(head, tail)
    }

    /// The indices from `head` up to, not including, `tail`.
    pub fn between(self, head: u64, tail: u64) -> impl Iterator<Item = u64> {
        (0..self.used(head, tail)).map(move |count| self.advance(head, count))
    }

    /// Nothing can be added: the tail is just below the head. (Section "In-memory queue interface".)
    pub const fn is_full(self, head: u64, tail: u64) -> bool {
        self.next(tail) == self.wrap(head)
    }

    /// Address of the entry `index`, which is below [`entries`](Self::entries).
    ///
    /// A queue that is larger than a page is aligned to its size, so base and offset have no bit in common. To what a misaligned base
    /// leads is unspecified; here the two are combined bit by bit, which needs no adder.
    pub const fn entry(self, index: u64) -> u64 {
        self.address | index.wrapping_mul(self.entry_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use crate::registers::{cqb, fqb, pqb};

    #[test]
    fn a_base_register_and_back() {
        for (log2, field) in [(1, 0), (2, 1), (7, 6), (15, 14), (32, 31)] {
            let base = cqb::PPN.of(0x8_0000) | cqb::LOG2SZ_1.of(field);
            let queue = Queue::commands(base);
            assert_eq!(queue, Queue::of_commands(0x8000_0000, log2));
            assert_eq!((queue.base(), queue.ppn(), queue.log2_entries()), (base, 0x8_0000, log2));
            assert_eq!((queue.entries(), queue.capacity()), (1 << log2, (1 << log2) - 1));
        }
        // Bits that have no meaning are not kept.
        assert_eq!(Queue::commands(u64::MAX).base(), cqb::PPN.mask() | cqb::LOG2SZ_1.mask());
    }

    #[test]
    fn entries_have_the_size_of_their_queue() {
        let base = fqb::PPN.of(0x9_0000) | fqb::LOG2SZ_1.of(2);
        assert_eq!((Queue::faults(base).entry(5), Queue::faults(base).bytes()), (0x9000_00a0, 256));
        let base = pqb::PPN.of(0xa_0000) | pqb::LOG2SZ_1.of(2);
        assert_eq!(
            (Queue::page_requests(base).entry(5), Queue::page_requests(base).bytes()),
            (0xa000_0050, 128)
        );
        assert_eq!(
            Queue::of_faults(0x9000_0000, 3),
            Queue::faults(fqb::PPN.of(0x9_0000) | fqb::LOG2SZ_1.of(2))
        );
        assert_eq!(Queue::of_page_requests(0xa000_0000, 3), Queue::page_requests(base));
        // The highest address that a base register can name, and the largest queue.
        let last = Queue::of_faults(u64::MAX >> 8, 7);
        assert_eq!(last.entry(127), (u64::MAX >> 8) - 31);
        assert_eq!(Queue::of_faults(0, 32).entry((1 << 32) - 1), (1 << 37) - 32);
    }

    #[test]
    fn sizes_that_no_register_holds_become_the_nearest() {
        assert_eq!(Queue::of_commands(0, 0).log2_entries(), 1);
        assert_eq!(Queue::of_commands(0, 33).log2_entries(), 32);
        assert_eq!(Queue::of_commands(0x1234, 3).address(), 0x1000);
    }

    #[test]
    fn a_size_is_limited() {
        let queue = Queue::of_commands(0x4000, 9);
        assert_eq!(queue.limited_to(5), Queue::of_commands(0x4000, 5));
        assert_eq!(queue.limited_to(9), queue);
        assert_eq!(queue.limited_to(20), queue);
    }

    /// Against counting: a queue that is filled and emptied in every position, in the smallest sizes completely.
    #[test]
    fn indices_count_in_a_ring() {
        for log2 in 1..=4 {
            let queue = Queue::of_commands(0, log2);
            let entries = 1 << log2;
            for head in 0..entries {
                let mut tail = head;
                for used in 0..entries {
                    assert_eq!((queue.used(head, tail), queue.free(head, tail)), (used, entries - 1 - used));
                    assert_eq!(queue.is_full(head, tail), used == entries - 1);
                    assert_eq!(queue.advance(head, used), tail);
                    assert_eq!(queue.between(head, tail).count() as u64, used);
                    assert!(queue.between(head, tail).all(|index| queue.used(head, index) < used));
                    assert_eq!(queue.wrap(tail + 3 * entries), tail);
                    tail = if tail == entries - 1 { 0 } else { tail + 1 };
                    assert_eq!(queue.next(queue.advance(head, used)), tail);
                }
            }
        }
        // Bits beyond those of an index do not count.
        let queue = Queue::of_commands(0, 3);
        assert_eq!((queue.next(u64::MAX), queue.used(u64::MAX, 2), queue.is_full(8, 15)), (0, 3, true));
    }
}
