//! Completion: takes the results of walks in turn, and answers who asked and who waited.

use super::{CONTEXT_SEEN, Completing, Completion, Pipeline};
use crate::cache::Id;

impl Pipeline<'_> {
    /// The request whose completion is on offer to a port.
    pub(super) fn deliver(&self) -> Option<u32> {
        let Completion { state, task, entry, primary, ok, .. } = self.completion;
        if state != Completing::Deliver || (primary && task.entry.is_none()) {
            return None;
        }
        let flight = self.table.flights[usize::from(entry)];
        (primary || (ok && self.flights[flight as usize].granted)).then_some(flight)
    }

    /// Completion, and the miss table as far as completion changes it.
    pub(super) fn complete(&mut self, now: u64, copied: Option<usize>, delivered: bool) -> bool {
        let woken = self.table.woken;
        match self.completion.state {
            Completing::Idle => match copied {
                Some(walker) => self.copy(now, walker),
                None => return false,
            },
            Completing::Report => self.completion.state = Completing::Deliver,
            Completing::Deliver => {
                let bit = 1u64 << self.completion.entry;
                let Completion { task, primary, .. } = self.completion;
                if primary && task.entry.is_none() {
                    self.keep_prefetched();
                    self.completion.state = Completing::Waiters;
                } else if delivered {
                    if !primary {
                        let waiter = self.table.flights[usize::from(self.completion.entry)];
                        self.flights[waiter as usize].stamps.settled = now;
                    }
                    if primary && self.completion.cacheable && !task.known {
                        self.l2.fill(task.vpn, task.id);
                    }
                    self.table.used &= !bit;
                    self.table.woken &= !bit;
                    self.completion.state = Completing::Waiters;
                } else if self.deliver().is_none() {
                    self.table.woken &= !bit;
                    self.table.pending |= bit;
                    self.completion.state = Completing::Waiters;
                }
            }
            Completing::Waiters => {
                self.completion.primary = false;
                self.completion.state = if woken != 0 { Completing::Deliver } else { Completing::Idle };
                self.completion.entry = woken.trailing_zeros() as u8 & 63;
            }
        }
        true
    }

    /// The result of a walk is taken.
    pub(super) fn copy(&mut self, now: u64, walker: usize) {
        let task = *self.walkers.task(walker);
        let (waited, rest) = self.walkers.times(walker, now);
        self.walkers.take(walker);
        let page = *self.pages.known(task.id);
        let ok = match task.entry {
            Some(entry) => {
                let flight = &mut self.flights[self.table.flights[usize::from(entry)] as usize];
                flight.stamps.table_memory += waited as u32;
                flight.stamps.walker += rest as u32;
                flight.stamps.settled = now;
                flight.granted
            }
            None => page.grants != 0,
        };
        let mut left = self.table.waiting;
        while left != 0 {
            let entry = left.trailing_zeros() as usize;
            left &= left - 1;
            if usize::from(self.table.waits_for[entry]) == walker {
                self.table.waiting &= !(1 << entry);
                self.table.woken |= 1 << entry;
                let flight = &mut self.flights[self.table.flights[entry] as usize];
                let total = now - flight.joined;
                let memory = (waited - flight.joined_waited.min(waited)).min(total);
                flight.stamps.table_memory += memory as u32;
                flight.stamps.walker += (total - memory) as u32;
            }
        }
        let loaded = |known: bool, id: Id| if known || task.known { 0 } else { id };
        let device = loaded(task.device_known, self.pages.binding(task.binding as usize).device + 1);
        let process = loaded(task.process_known, task.binding + 1);
        if device | process != 0 {
            self.contexts.push_back((now + CONTEXT_SEEN, device, process));
        }
        let cacheable = ok && page.cacheable;
        let completion = &mut self.completion;
        completion.last_walker = walker;
        completion.state = if ok { Completing::Deliver } else { Completing::Report };
        (completion.task, completion.entry) = (task, task.entry.unwrap_or(0));
        (completion.primary, completion.ok, completion.cacheable) = (true, ok, cacheable);
        if cacheable && !task.known && task.entry.is_some() {
            self.prefetch(task);
        }
    }
}
