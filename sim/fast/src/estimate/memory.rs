//! Memory in time, as the experiment's machine has it: bursts of table reads on one data channel of 8 bytes, and accesses to data.
//!
//! When an access is due, [`Timing`] says, for the RTL's bench as for this engine.

use pasidon_experiment::MachineModel;
use pasidon_experiment::timing::{Side, Timing};
use std::collections::VecDeque;

/// Bytes of a beat.
const BEAT: u64 = 8;

/// A read of tables under way.
#[derive(Clone, Copy, Debug)]
struct Read {
    walker: u8,
    beats: u8,
    due: u64,
}

/// Memory as tables and data see it.
pub struct Memory {
    timing: Timing,
    /// The latency of tables, where nothing else makes a difference.
    even: Option<u64>,
    /// Reads of tables that are accepted before the oldest has ended.
    most: usize,
    reads: VecDeque<Read>,
    /// The read whose beats are being sent, and the cycle of its last beat.
    active: Option<(u8, u64)>,
    /// Accesses to data with the cycles of their ends, earliest first.
    ends: VecDeque<(u64, u32)>,
}

impl Memory {
    /// Idle memory.
    pub fn new(machine: &MachineModel) -> Memory {
        let timing = Timing::new(machine);
        let port = if machine.shared { machine.data } else { machine.tables };
        Memory {
            even: timing.is_even().then(|| u64::from(machine.tables.latency.max(1))),
            timing,
            most: port.outstanding.max(1) as usize,
            reads: VecDeque::new(),
            active: None,
            ends: VecDeque::new(),
        }
    }

    /// Whether a read of tables is accepted in this cycle.
    #[inline]
    pub fn accepts(&self) -> bool {
        self.reads.len() + usize::from(self.active.is_some()) < self.most
    }

    /// Accepts a read of tables.
    pub fn read(&mut self, now: u64, walker: u8, address: u64, beats: u8) {
        let due = match self.even {
            Some(latency) => now + latency,
            None => self.timing.access(Side::Tables, now, address, BEAT * u64::from(beats)).first,
        };
        self.reads.push_back(Read { walker, beats, due });
    }

    /// Whether no read of tables is under way.
    #[inline]
    pub fn is_quiet(&self) -> bool {
        self.active.is_none() && self.reads.is_empty()
    }

    /// The walker whose last beat arrives in this cycle.
    #[inline]
    pub fn arrival(&mut self, now: u64) -> Option<u8> {
        if self.active.is_none() {
            let index = self.reads.iter().position(|read| read.due <= now)?;
            let read = self.reads.remove(index)?;
            self.active = Some((read.walker, now + u64::from(read.beats) - 1));
        }
        let (walker, last) = self.active?;
        if last > now {
            return None;
        }
        self.active = None;
        Some(walker)
    }

    /// An access to data begins.
    #[inline]
    pub fn access(&mut self, now: u64, flight: u32, address: u64, bytes: u32) {
        let due = self.timing.access(Side::Data, now, address, bytes.into()).last;
        // Nearly always the last.
        let behind = self.ends.iter().rev().take_while(|(end, _)| *end > due).count();
        if behind == 0 {
            self.ends.push_back((due, flight));
        } else {
            self.ends.insert(self.ends.len() - behind, (due, flight));
        }
    }

    /// The next access to data that ends in this cycle.
    #[inline]
    pub fn end(&mut self, now: u64) -> Option<u32> {
        let &(due, flight) = self.ends.front()?;
        if due > now {
            return None;
        }
        self.ends.pop_front();
        Some(flight)
    }

    /// The next cycle in which something ends, if nothing else happens.
    pub fn next_event(&self) -> u64 {
        let read = match self.active {
            Some((_, last)) => last,
            None => self.reads.iter().map(|read| read.due).min().unwrap_or(u64::MAX),
        };
        self.ends.front().map_or(u64::MAX, |(due, _)| *due).min(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pasidon_experiment::machine::LastLevelCache;

    fn memory(cache: Option<LastLevelCache>) -> Memory {
        let mut machine = MachineModel { cache, ..MachineModel::default() };
        (machine.tables.latency, machine.data.latency) = (10, 10);
        Memory::new(&machine)
    }

    #[test]
    fn beats_share_one_channel() {
        let mut memory = memory(None);
        memory.read(0, 1, 0, 4);
        memory.read(1, 2, 64, 1);
        let arrivals: Vec<_> =
            (0..20).filter_map(|now| memory.arrival(now).map(|walker| (now, walker))).collect();
        assert_eq!(arrivals, [(13, 1), (14, 2)]);
    }

    #[test]
    fn what_is_due_first_is_answered_first() {
        let mut memory =
            memory(Some(LastLevelCache { bytes: 128, ways: 2, latency: 3, tables: true, data: false }));
        memory.read(0, 1, 0, 1);
        assert_eq!((0..20).find(|&now| memory.arrival(now).is_some()), Some(13));
        memory.read(20, 2, 64, 1);
        memory.read(21, 3, 8, 1);
        let arrivals: Vec<_> =
            (20..40).filter_map(|now| memory.arrival(now).map(|walker| (now, walker))).collect();
        assert_eq!(arrivals, [(24, 3), (33, 2)]);
    }
}
