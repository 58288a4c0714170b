//! Dispatch: chooses pending misses in turn, looks up their contexts and the L2 TLB, and starts a walk or lets them wait for one of the
//! same page.

use super::{Dispatching, Flight, Pipeline};
use crate::estimate::walker::Task;

impl Pipeline<'_> {
    /// Dispatch, and the miss table as far as dispatch changes it. `allocated` is the entry that is being written.
    pub(super) fn dispatch(
        &mut self,
        now: u64,
        allocated: Option<u8>,
        copied: Option<usize>,
        filling: bool,
    ) -> bool {
        let pending = self.table.pending;
        let mut changed = true;
        match self.dispatch.state {
            Dispatching::Idle => {
                let late = pending & self.table.above;
                let next = if late != 0 { late } else { pending };
                let entry = if next != 0 { Some(next.trailing_zeros() as u8) } else { allocated };
                changed = entry.is_some();
                if let Some(entry) = entry {
                    (self.dispatch.entry, self.dispatch.state) = (entry, Dispatching::Lookup);
                }
            }
            Dispatching::Lookup => {
                let Flight { binding, request, id, granted, .. } = *self.dispatched();
                let vpn = request.address >> 12;
                self.dispatch.same = self.walkers.same(binding, vpn);
                self.dispatch.l2_hit = false;
                self.dispatch.state = if self.l2.exists() { Dispatching::Wait } else { Dispatching::Issue };
                if filling {
                    // What is being written can't be read.
                    self.l2.miss();
                } else {
                    self.dispatch.l2_hit = self.l2.lookup(vpn, id, granted).0;
                }
            }
            Dispatching::Wait => self.dispatch.state = Dispatching::Issue,
            Dispatching::Issue => changed = self.issue(now, copied),
        }
        if let Some(slot) = allocated {
            self.table.used |= 1 << slot;
            self.table.pending |= 1 << slot;
        }
        changed || allocated.is_some()
    }

    pub(super) fn dispatched(&self) -> &Flight {
        &self.flights[self.table.flights[usize::from(self.dispatch.entry)] as usize]
    }

    /// A miss waits for the walk of another, or begins one.
    pub(super) fn issue(&mut self, now: u64, copied: Option<usize>) -> bool {
        let released = copied.map_or(0, |walker| 1 << walker);
        let joins = self.dispatch.same & !self.walkers.idle & !released;
        let entry = self.dispatch.entry;
        let bit = 1u64 << entry;
        let number = self.table.flights[usize::from(entry)];
        if joins == 0 && self.walkers.idle == 0 {
            return false;
        }
        let Flight { binding, request, id, .. } = self.flights[number as usize];
        let device = self.pages.binding(binding as usize).device + 1;
        let device_known = self.ddtc.lookup(device);
        let process_known = self.pdtc.lookup(binding + 1);
        if joins != 0 {
            let walker = joins.trailing_zeros() as usize;
            self.table.waits_for[usize::from(entry)] = walker as u8;
            self.table.waiting |= bit;
            self.merged += 1;
            let waited = self.walkers.times(walker, now).0;
            let flight = &mut self.flights[number as usize];
            (flight.joined, flight.joined_waited) = (now, waited);
        } else {
            let known = self.dispatch.l2_hit;
            let walker = self.walkers.idle.trailing_zeros() as usize;
            self.walks += u64::from(!known);
            let vpn = request.address >> 12;
            let port = self.flights[number as usize].port;
            let task =
                Task { entry: Some(entry), port, binding, vpn, id, device_known, process_known, known };
            self.walkers.start(now, walker, task);
        }
        let flight = &mut self.flights[number as usize];
        flight.stamps.l2 += u32::from(self.l2.exists());
        self.table.pending &= !bit;
        self.table.above = !(bit | (bit - 1));
        self.dispatch.state = Dispatching::Idle;
        true
    }
}
