//! What is imagined to be brought in before somebody asks: neighbours of the same line of entries, and following pages by walks of
//! their own when a walker is free.

use super::{Pipeline, Task};
use crate::cache::Id;

/// Walks that may be due; what is beyond is not done.
const MOST: usize = 64;

impl Pipeline<'_> {
    /// A walk has found a page.
    pub(super) fn prefetch(&mut self, task: Task) {
        let page = *self.pages.known(task.id);
        if self.imagined.line_fill && page.shift == 12 {
            let line = page.base & !0x7fff;
            for address in (line..line + 0x8000).step_by(4096).filter(|&address| address != page.base) {
                if let Some(id) = self.wanted(&task, address)
                    && self.pages.known(id).shift == 12
                {
                    self.keep(&Task { vpn: address >> 12, id, ..task });
                }
            }
        }
        for next in 1..=u64::from(self.imagined.prefetch) {
            let address = page.base + (next << page.shift);
            if let Some(id) = self.wanted(&task, address)
                && self.prefetches.len() < MOST
            {
                let known =
                    Task { entry: None, device_known: true, process_known: true, known: false, ..task };
                self.prefetches.push_back(Task { vpn: address >> 12, id, ..known });
            }
        }
    }

    /// The page of `address`, if it may be kept and is not.
    fn wanted(&mut self, task: &Task, address: u64) -> Option<Id> {
        // A page that does not fit is not brought in.
        let id = self.pages.find(task.binding as usize, address, self.mapping).ok()?.id;
        let page = self.pages.known(id);
        let here = self.ports[usize::from(task.port)].l1.holds(id) || self.l2.holds(address >> 12, id);
        (page.grants != 0 && page.cacheable && !here).then_some(id)
    }

    fn keep(&mut self, task: &Task) {
        if self.l2.exists() {
            self.l2.fill(task.vpn, task.id);
        } else {
            self.ports[usize::from(task.port)].l1.fill(task.id);
        }
    }

    /// The walk of a prefetch is done.
    pub(super) fn keep_prefetched(&mut self) {
        let task = self.completion.task;
        if self.wanted(&task, task.vpn << 12) == Some(task.id) {
            self.keep(&task);
        }
    }

    /// A free walker begins a walk that nobody waits for.
    pub(super) fn begin_prefetch(&mut self, now: u64) -> bool {
        if self.prefetches.is_empty() || self.walkers.idle == 0 {
            return false;
        }
        let Some(task) = self.prefetches.pop_front() else { return false };
        self.walks += 1;
        self.walkers.start(now, self.walkers.idle.trailing_zeros() as usize, task);
        true
    }
}
