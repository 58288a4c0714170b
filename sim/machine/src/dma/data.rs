//! Accesses to data that are under way, in the order in which they end.
//!
//! Memory says when an access ends; a later one may be sooner. A fence waits for those that were there when it came.

use crate::endpoint::DmaAccess;
use std::collections::VecDeque;

/// An access whose translation is there.
pub(super) struct DataAccess {
    pub(super) access: DmaAccess,
    /// Of an endpoint's channel: its number, and that of the flight.
    pub(super) flight: Option<(u16, u64)>,
    pub(super) serial: u64,
    /// Where it goes.
    pub(super) spa: u64,
    /// Of its translation.
    pub(super) latency: u64,
    /// When it ends.
    pub(super) due: u64,
    /// When its translation came.
    pub(super) cycle: u64,
    /// Its number, in the order in which translations came.
    pub(super) number: u64,
}

/// Accesses under way, the next to end first.
pub(super) struct DataQueue {
    accesses: VecDeque<DataAccess>,
    queued: u64,
}

impl DataQueue {
    pub(super) fn new() -> DataQueue {
        DataQueue { accesses: VecDeque::with_capacity(1024), queued: 0 }
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.accesses.len()
    }

    /// How many there have been.
    #[inline]
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    #[inline]
    pub(super) fn push(&mut self, mut access: DataAccess) {
        access.number = self.queued;
        self.queued += 1;
        if self.accesses.back().is_none_or(|last| last.due <= access.due) {
            self.accesses.push_back(access);
        } else {
            let at = self.accesses.partition_point(|other| other.due <= access.due);
            self.accesses.insert(at, access);
        }
    }

    /// One that has ended.
    #[inline]
    pub(super) fn pop(&mut self, now: u64) -> Option<DataAccess> {
        if self.accesses.front()?.due <= now { self.accesses.pop_front() } else { None }
    }

    /// Whether the first `count` that there have been have ended.
    pub(super) fn are_done(&self, count: u64) -> bool {
        self.accesses.iter().all(|access| access.number >= count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::DmaRequest;

    #[test]
    fn a_fence_waits_for_the_older_ones_only() {
        let mut queue = DataQueue::new();
        let request = DmaRequest::default();
        let push = |queue: &mut DataQueue, due| {
            let access = DmaAccess { channel: 0, request, begun: 0 };
            queue.push(DataAccess {
                access,
                flight: None,
                serial: due,
                spa: 0,
                latency: 0,
                due,
                cycle: 0,
                number: 0,
            });
        };
        [30, 10, 20].into_iter().for_each(|due| push(&mut queue, due));
        let fence = queue.queued();
        push(&mut queue, 15);
        let mut ended = Vec::new();
        for now in [9, 15, 29, 30] {
            while let Some(access) = queue.pop(now) {
                ended.push(access.due);
            }
            assert_eq!(queue.are_done(fence), now == 30, "{now}");
        }
        assert_eq!((ended, queue.len()), (vec![10, 15, 20, 30], 0));
    }
}
