//! Memory in time: reads of tables, accesses to data, and a last-level cache in front of either.
//!
//! Of what is under way, the earliest that is ready is answered first. Table reads are bursts of beats of 8 bytes on one data channel.

use pasidon_experiment::machine::{LastLevelCache, MachineModel, MemoryModel};

/// The last-level cache: which lines it has. Least recently used lines go first.
#[derive(Clone, Debug)]
struct Lines {
    config: LastLevelCache,
    set_mask: u64,
    /// By set: (line number plus 1, when it was used last).
    entries: Vec<(u64, u64)>,
    now: u64,
}

impl Lines {
    fn new(config: LastLevelCache) -> Lines {
        let ways = u64::from(config.ways.max(1));
        let sets = (config.bytes / LastLevelCache::LINE / ways).max(1);
        Lines { config, set_mask: sets - 1, entries: vec![(0, 0); (sets * ways) as usize], now: 0 }
    }

    /// Whether it has the line of `address`; it does afterwards.
    fn access(&mut self, address: u64) -> bool {
        self.now += 1;
        let line = address / LastLevelCache::LINE;
        let ways = self.config.ways.max(1) as usize;
        let first = (line & self.set_mask) as usize * ways;
        let set = &mut self.entries[first..first + ways];
        if let Some(entry) = set.iter_mut().find(|entry| entry.0 == line + 1) {
            entry.1 = self.now;
            return true;
        }
        if let Some(entry) = set.iter_mut().min_by_key(|entry| entry.1) {
            *entry = (line + 1, self.now);
        }
        false
    }
}

/// A memory: what limits it.
#[derive(Clone, Debug)]
struct Limits {
    model: MemoryModel,
    /// By bank: when it is free.
    banks: Vec<u64>,
    /// When the next byte can be moved, in bytes since the beginning.
    moved: u64,
    under_way: u32,
}

impl Limits {
    fn new(model: MemoryModel) -> Limits {
        Limits { model, banks: vec![0; model.banks as usize], moved: 0, under_way: 0 }
    }

    fn has_room(&self) -> bool {
        self.under_way < self.model.outstanding.max(1)
    }

    /// The cycle in which an access can begin.
    fn begin(&mut self, now: u64, address: u64, bytes: u32) -> u64 {
        let mut at = now;
        let count = self.banks.len() as u64;
        if count > 0 {
            let free = &mut self.banks[(address / LastLevelCache::LINE & (count - 1)) as usize];
            at = at.max(*free);
            *free = at + u64::from(self.model.bank_busy);
        }
        let rate = u64::from(self.model.bytes_per_cycle);
        if rate > 0 {
            let place = self.moved.max(at * rate);
            self.moved = place + u64::from(bytes);
            at = place / rate;
        }
        at
    }
}

/// An access to data.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    /// Whose.
    pub flight: u32,
    /// Where.
    pub address: u64,
    /// How much.
    pub bytes: u32,
}

/// A read of tables under way.
#[derive(Clone, Copy, Debug)]
struct Read {
    walker: u8,
    beats: u8,
    due: u64,
}

/// Memory as tables and data see it.
pub struct Memory {
    tables: Limits,
    data: Limits,
    shared: bool,
    table_latency: u64,
    data_latency: u64,
    cache: Option<Lines>,
    reads: Vec<Read>,
    /// The read whose beats are being sent, and the cycle of its last beat.
    active: Option<(u8, u64)>,
    /// Accesses to data with the cycles of their ends, earliest first.
    ends: std::collections::VecDeque<(u64, u32)>,
    waiting: std::collections::VecDeque<Data>,
}

impl Memory {
    /// Idle memory.
    pub fn new(machine: &MachineModel) -> Memory {
        Memory {
            tables: Limits::new(machine.tables),
            data: Limits::new(machine.data),
            shared: machine.shared,
            table_latency: u64::from(machine.tables.latency.max(1)),
            data_latency: u64::from(machine.data.latency.max(1)),
            cache: machine.cache.map(Lines::new),
            reads: Vec::new(),
            active: None,
            ends: std::collections::VecDeque::new(),
            waiting: std::collections::VecDeque::new(),
        }
    }

    fn of_tables(&mut self) -> &mut Limits {
        if self.shared { &mut self.data } else { &mut self.tables }
    }

    /// Whether a read of tables is accepted in this cycle.
    #[inline]
    pub fn accepts(&mut self) -> bool {
        self.of_tables().has_room()
    }

    /// Accepts a read of tables.
    pub fn read(&mut self, now: u64, walker: u8, address: u64, beats: u8) {
        let cached = self.cache.as_mut().filter(|cache| cache.config.tables);
        let due = match cached.map(|cache| (cache.access(address), u64::from(cache.config.latency))) {
            Some((true, latency)) => now + latency,
            _ => {
                let latency = self.table_latency;
                self.of_tables().begin(now, address, u32::from(beats) * 8) + latency
            }
        };
        self.of_tables().under_way += 1;
        self.reads.push(Read { walker, beats, due });
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
            let ready = self.reads.iter().enumerate().filter(|(_, read)| read.due <= now);
            let (index, _) = ready.min_by_key(|(_, read)| read.due)?;
            let read = self.reads.remove(index);
            self.active = Some((read.walker, now + u64::from(read.beats) - 1));
        }
        let (walker, last) = self.active?;
        if last > now {
            return None;
        }
        self.active = None;
        self.of_tables().under_way -= 1;
        Some(walker)
    }

    /// An access to data begins, or waits for its turn.
    #[inline]
    pub fn access(&mut self, now: u64, data: Data) {
        if self.data.has_room() && self.waiting.is_empty() {
            self.begin(now, data);
        } else {
            self.waiting.push_back(data);
        }
    }

    fn begin(&mut self, now: u64, data: Data) {
        let cached = self.cache.as_mut().filter(|cache| cache.config.data);
        let due = match cached.map(|cache| (cache.access(data.address), u64::from(cache.config.latency))) {
            Some((true, latency)) => now + latency,
            _ => self.data.begin(now, data.address, data.bytes) + self.data_latency,
        };
        self.data.under_way += 1;
        // Nearly always the last.
        let behind = self.ends.iter().rev().take_while(|(end, _)| *end > due).count();
        self.ends.insert(self.ends.len() - behind, (due, data.flight));
    }

    /// The next access to data that ends in this cycle.
    #[inline]
    pub fn end(&mut self, now: u64) -> Option<u32> {
        let &(due, flight) = self.ends.front()?;
        if due > now {
            return None;
        }
        self.ends.pop_front();
        self.data.under_way -= 1;
        Some(flight)
    }

    /// Accesses that waited begin, as far as there is room now.
    #[inline]
    pub fn admit(&mut self, now: u64) -> bool {
        let mut any = false;
        while !self.waiting.is_empty() && self.data.has_room() {
            if let Some(data) = self.waiting.pop_front() {
                self.begin(now, data);
                any = true;
            }
        }
        any
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

    fn memory(change: impl Fn(&mut MachineModel)) -> Memory {
        let mut machine = MachineModel::default();
        (machine.tables.latency, machine.data.latency) = (10, 10);
        change(&mut machine);
        Memory::new(&machine)
    }

    fn ends(memory: &mut Memory, accesses: &[u64]) -> Vec<u64> {
        accesses.iter().enumerate().for_each(|(i, &address)| {
            memory.access(0, Data { flight: i as u32, address, bytes: 64 });
        });
        (0..100)
            .flat_map(|now| {
                let mut ended = vec![];
                while memory.end(now).is_some() {
                    ended.push(now);
                }
                memory.admit(now);
                ended
            })
            .collect()
    }

    #[test]
    fn limits_of_data() {
        let far = [0, 64, 128, 192];
        assert_eq!(ends(&mut memory(|_| ()), &far), [10, 10, 10, 10]);
        assert_eq!(ends(&mut memory(|m| m.data.outstanding = 2), &far), [10, 10, 20, 20]);
        assert_eq!(ends(&mut memory(|m| m.data.bytes_per_cycle = 32), &far), [10, 12, 14, 16]);
        let banks = |m: &mut MachineModel| (m.data.banks, m.data.bank_busy) = (2, 5);
        assert_eq!(ends(&mut memory(banks), &far), [10, 10, 15, 15]);
    }

    #[test]
    fn a_line_that_is_there_is_quick() {
        let cache = LastLevelCache { bytes: 128, ways: 2, latency: 3, tables: true, data: false };
        let mut memory = memory(|m| m.cache = Some(cache));
        let mut time = |address: u64, now: u64| {
            memory.read(now, 0, address, 1);
            (now..now + 50).find(|&at| memory.arrival(at).is_some()).map(|at| at - now)
        };
        let got =
            [(0, 0), (56, 100), (64, 200), (0, 300), (128, 400), (64, 500)].map(|(at, now)| time(at, now));
        assert_eq!(got.map(Option::unwrap), [10, 3, 10, 3, 10, 10]);
    }

    #[test]
    fn beats_share_one_channel() {
        let mut memory = memory(|_| ());
        memory.read(0, 1, 0, 4);
        memory.read(1, 2, 64, 1);
        let arrivals: Vec<_> =
            (0..20).filter_map(|now| memory.arrival(now).map(|walker| (now, walker))).collect();
        assert_eq!(arrivals, [(13, 1), (14, 2)]);
    }
}
