//! Memory in time, as a [`MachineModel`] has it: when an access that is accepted now has its data.
//!
//! An access waits for a place among those under way, then for the bank of each line that it touches, then takes the latency, then
//! moves its bytes at the memory's bandwidth; accesses come in the order of time and are served first come, first served. A
//! last-level cache answers what it holds; what it does not hold takes the cache's latency, and then memory, by whole lines.
//!
//! Never: an access is earlier than its latency, or waits for one that came after it. Bounds: a line of a cache takes 16
//! bytes; of accesses under way only the ends are kept.

use crate::machine::{LastLevelCache, MachineModel, MemoryModel};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Who accesses memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The IOMMU: tables and queues.
    Tables,
    /// The devices.
    Data,
}

/// Counts of the last-level cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheLines {
    /// Lines asked for.
    pub lookups: u64,
    /// ... that were there.
    pub hits: u64,
}

/// When an access has its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The cycle of its first data.
    pub first: u64,
    /// The cycle of its last.
    pub last: u64,
}

/// What accesses compete for.
#[derive(Clone, Debug)]
struct Memory {
    model: MemoryModel,
    /// Ends of the accesses under way.
    under_way: BinaryHeap<Reverse<u64>>,
    /// From when on each bank is free.
    banks: Vec<u64>,
    /// Byte times (cycles times bytes per cycle) up to which the bus is taken.
    bus: u64,
}

impl Memory {
    fn new(model: MemoryModel) -> Memory {
        Memory { model, under_way: BinaryHeap::new(), banks: vec![0; model.banks as usize], bus: 0 }
    }

    fn access(&mut self, now: u64, latency: u64, address: u64, bytes: u64) -> Due {
        let mut start = now;
        while self.under_way.peek().is_some_and(|Reverse(end)| *end <= start) {
            self.under_way.pop();
        }
        while self.under_way.len() >= self.model.outstanding.max(1) as usize
            && let Some(Reverse(end)) = self.under_way.pop()
        {
            start = start.max(end);
        }
        let mut last_start = start;
        if !self.banks.is_empty() {
            let mask = self.banks.len() as u64 - 1;
            let lines = address / LastLevelCache::LINE..=(address + bytes.max(1) - 1) / LastLevelCache::LINE;
            let mut first = None;
            for line in lines {
                let bank = &mut self.banks[(line & mask) as usize];
                let begin = start.max(*bank);
                *bank = begin + u64::from(self.model.bank_busy);
                first.get_or_insert(begin);
                last_start = last_start.max(begin);
            }
            start = first.unwrap_or(start);
        }
        let (mut first, mut last) = (start + latency, last_start + latency);
        let rate = u64::from(self.model.bytes_per_cycle);
        if rate > 0 {
            let begin = self.bus.max(first * rate);
            self.bus = begin + bytes.max(1);
            (first, last) = (begin / rate, last.max((self.bus - 1) / rate));
        }
        // What nobody can be kept waiting by need not be remembered.
        if self.model.outstanding < MemoryModel::UNLIMITED {
            self.under_way.push(Reverse(last));
        }
        Due { first, last }
    }
}

/// A set-associative cache of lines, least recently used first out.
#[derive(Clone, Debug)]
struct Lines {
    model: LastLevelCache,
    /// Lines by set and way, each with the number of its last use; a use of 0 is an empty place.
    places: Vec<(u64, u64)>,
    sets: u64,
    uses: u64,
    counts: CacheLines,
}

impl Lines {
    fn new(model: LastLevelCache) -> Lines {
        let ways = u64::from(model.ways.max(1));
        let sets = (model.bytes / LastLevelCache::LINE / ways).max(1);
        Lines {
            model,
            places: vec![(0, 0); (sets * ways) as usize],
            sets,
            uses: 0,
            counts: CacheLines::default(),
        }
    }

    /// Whether a line was there; it is from now on.
    fn touch(&mut self, line: u64) -> bool {
        self.uses += 1;
        self.counts.lookups += 1;
        let ways = self.model.ways.max(1) as usize;
        let from = (line & (self.sets - 1)) as usize * ways;
        let set = &mut self.places[from..from + ways];
        if let Some(place) = set.iter_mut().find(|(known, used)| *used > 0 && *known == line) {
            place.1 = self.uses;
            self.counts.hits += 1;
            return true;
        }
        if let Some(place) = set.iter_mut().min_by_key(|(_, used)| *used) {
            *place = (line, self.uses);
        }
        false
    }
}

/// Memory, and the cache in front of it.
#[derive(Clone, Debug)]
pub struct Timing {
    model: MachineModel,
    data: Memory,
    /// `None`: tables are in the memory of the data.
    tables: Option<Memory>,
    cache: Option<Lines>,
}

impl Timing {
    /// Memory that has been idle for long, and an empty cache. `model` has no [problems](MachineModel::problems).
    pub fn new(model: &MachineModel) -> Timing {
        Timing {
            model: *model,
            data: Memory::new(model.data),
            tables: (!model.shared).then(|| Memory::new(model.tables)),
            cache: model.cache.map(Lines::new),
        }
    }

    /// The parameters.
    pub fn model(&self) -> &MachineModel {
        &self.model
    }

    /// Whether accesses to tables take always the same time, but for the limit of those under way.
    pub fn is_even(&self) -> bool {
        let MachineModel { tables, shared, cache, .. } = &self.model;
        !shared && tables.bytes_per_cycle == 0 && tables.banks == 0 && cache.is_none_or(|cache| !cache.tables)
    }

    /// What the cache has been asked.
    pub fn cache_lines(&self) -> CacheLines {
        self.cache.as_ref().map(|lines| lines.counts).unwrap_or_default()
    }

    /// Changes the latency of data from now on. Returns the old one.
    pub fn set_data_latency(&mut self, cycles: u32) -> u32 {
        std::mem::replace(&mut self.model.data.latency, cycles.max(1))
    }

    /// An access that is accepted now. Writes take as long as reads, and allocate as they do.
    #[inline]
    pub fn access(&mut self, side: Side, now: u64, address: u64, bytes: u64) -> Due {
        let memory = match side {
            Side::Tables => self.tables.as_mut().unwrap_or(&mut self.data),
            Side::Data => &mut self.data,
        };
        let (latency, cached) = match side {
            Side::Tables => (self.model.tables.latency, self.model.cache.is_some_and(|cache| cache.tables)),
            Side::Data => (self.model.data.latency, self.model.cache.is_some_and(|cache| cache.data)),
        };
        let latency = u64::from(latency.max(1));
        let Some(cache) = self.cache.as_mut().filter(|_| cached) else {
            return memory.access(now, latency, address, bytes);
        };
        let hit = now + u64::from(cache.model.latency.max(1));
        let mut due = Due { first: hit, last: hit };
        let first = address / LastLevelCache::LINE;
        for line in first..=(address + bytes.max(1) - 1) / LastLevelCache::LINE {
            if !cache.touch(line) {
                let at = line * LastLevelCache::LINE;
                let missed = memory.access(hit, latency, at, LastLevelCache::LINE);
                due.last = due.last.max(missed.last);
                if line == first {
                    due.first = missed.first;
                }
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: MemoryModel = MemoryModel {
        latency: 10,
        outstanding: MemoryModel::UNLIMITED,
        bytes_per_cycle: 0,
        banks: 0,
        bank_busy: 0,
    };

    fn of(data: MemoryModel) -> Timing {
        Timing::new(&MachineModel { data, ..MachineModel::default() })
    }

    fn data(timing: &mut Timing, now: u64, address: u64, bytes: u64) -> u64 {
        timing.access(Side::Data, now, address, bytes).last
    }

    #[test]
    fn without_limits_everything_takes_its_latency() {
        let mut timing = of(EVEN);
        for now in [5, 5, 6, 100] {
            assert_eq!(
                timing.access(Side::Data, now, now * 8, 4096),
                Due { first: now + 10, last: now + 10 }
            );
        }
        assert!(timing.is_even());
        assert_eq!(timing.access(Side::Tables, 7, 0, 8).first, 7 + u64::from(MemoryModel::default().latency));
        assert_eq!((timing.set_data_latency(30), data(&mut timing, 1000, 0, 8)), (10, 1030));
    }

    #[test]
    fn a_place_has_to_become_free() {
        let mut timing = of(MemoryModel { outstanding: 2, ..EVEN });
        let ends: Vec<u64> = [0, 1, 2, 3, 50].into_iter().map(|now| data(&mut timing, now, 0, 8)).collect();
        assert_eq!(ends, [10, 11, 20, 21, 60]);
    }

    #[test]
    fn the_bus_moves_so_many_bytes_in_a_cycle() {
        let mut timing = of(MemoryModel { bytes_per_cycle: 16, ..EVEN });
        assert_eq!(timing.access(Side::Data, 0, 0, 64), Due { first: 10, last: 13 });
        // The bus is taken until 13, then half of a cycle each.
        assert_eq!(timing.access(Side::Data, 0, 0, 8), Due { first: 14, last: 14 });
        assert_eq!(timing.access(Side::Data, 0, 0, 8), Due { first: 14, last: 14 });
        assert_eq!(timing.access(Side::Data, 1, 0, 17), Due { first: 15, last: 16 });
        assert_eq!(timing.access(Side::Data, 100, 0, 1), Due { first: 110, last: 110 });
    }

    #[test]
    fn a_bank_serves_one_at_a_time() {
        let mut timing = of(MemoryModel { banks: 4, bank_busy: 6, ..EVEN });
        let ends = [(0, 0), (0, 64), (0, 256), (3, 8), (3, 192)];
        let ends: Vec<u64> = ends.into_iter().map(|(now, at)| data(&mut timing, now, at, 8)).collect();
        // Bank 0 at 0, bank 1 at 0, bank 0 again at 6 and at 12, bank 3 at 3.
        assert_eq!(ends, [10, 10, 16, 22, 13]);
        // Five lines over four banks: the fifth waits for the first.
        assert_eq!(timing.access(Side::Data, 100, 0, 320), Due { first: 110, last: 116 });
    }

    #[test]
    fn tables_and_data_share_or_do_not() {
        let narrow = MemoryModel { outstanding: 1, ..EVEN };
        let tables = MemoryModel { latency: 30, ..EVEN };
        for (shared, want) in [(false, [30, 10, 20]), (true, [30, 40, 50])] {
            let mut timing = Timing::new(&MachineModel { tables, data: narrow, shared, cache: None });
            let read = timing.access(Side::Tables, 0, 0, 8).last;
            assert_eq!([read, data(&mut timing, 0, 0, 8), data(&mut timing, 1, 0, 8)], want);
            assert_eq!(timing.is_even(), !shared);
        }
    }

    #[test]
    fn the_cache_keeps_what_was_used_last() {
        let cache = LastLevelCache { bytes: 4 * 64, ways: 2, latency: 3, tables: true, data: false };
        let model = MachineModel { tables: EVEN, data: EVEN, shared: false, cache: Some(cache) };
        let mut timing = Timing::new(&model);
        let mut read = |line: u64| timing.access(Side::Tables, 0, line * 64 + 8, 8).first;
        // Two sets of two ways: lines 0, 2 and 4 are in set 0.
        assert_eq!([read(0), read(2), read(0), read(4), read(0), read(2)], [13, 13, 3, 13, 3, 13]);
        assert_eq!([read(1), read(1)], [13, 3]);
        assert_eq!(timing.cache_lines(), CacheLines { lookups: 8, hits: 3 });
        // Data go by.
        assert_eq!([data(&mut timing, 0, 0, 8), data(&mut timing, 0, 0, 8)], [10, 10]);
        // Part of it is there: the rest decides.
        assert_eq!(timing.access(Side::Tables, 50, 128, 128), Due { first: 53, last: 63 });
    }
}
