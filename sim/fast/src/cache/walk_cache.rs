//! Walk cache, imagined: non-leaf entries of page tables, so that a walk begins below the lowest that it has. One fully associative
//! part for each level, least recently used first.

use pasidon_experiment::counts::CacheCounts;

/// Levels whose entries may be no leaves: 1 to 4.
const LEVELS: usize = 4;

/// The walk cache; without entries it never answers.
#[derive(Clone, Debug, Default)]
pub struct WalkCache {
    /// By level less one: (tag, when it was used last).
    parts: [Vec<(u64, u64)>; LEVELS],
    now: u64,
    /// Lookups by walks, and those that saved at least one read.
    pub counts: CacheCounts,
}

impl WalkCache {
    /// An empty one with `entries` entries for each level.
    pub fn new(entries: u32) -> WalkCache {
        WalkCache {
            parts: [0; LEVELS].map(|_| vec![(0, 0); entries as usize]),
            now: 0,
            counts: CacheCounts::default(),
        }
    }

    /// Whether there is one.
    pub fn exists(&self) -> bool {
        !self.parts[0].is_empty()
    }

    fn tag(space: u32, level: usize, vpn: u64) -> u64 {
        // Never 0: levels are counted from 1.
        vpn >> (9 * level) << 24 | u64::from(space) << 4 | level as u64
    }

    /// A walk of address space `space` for the page `vpn` would read from level `root` down to level `leaf`: the level that it reads
    /// first. What it reads is kept.
    pub fn walk(&mut self, space: u32, vpn: u64, root: usize, leaf: usize) -> usize {
        if !self.exists() {
            return root;
        }
        self.now += 1;
        self.counts.lookups += 1;
        let found = (leaf + 1..=root).find(|&level| self.touch(level, Self::tag(space, level, vpn)));
        self.counts.hits += u64::from(found.is_some());
        let first = found.map_or(root, |level| level - 1);
        for level in leaf + 1..=first {
            self.fill(level, Self::tag(space, level, vpn));
        }
        first
    }

    fn touch(&mut self, level: usize, tag: u64) -> bool {
        match self.parts[level - 1].iter_mut().find(|(entry, _)| *entry == tag) {
            Some((_, used)) => {
                *used = self.now;
                true
            }
            None => false,
        }
    }

    fn fill(&mut self, level: usize, tag: u64) {
        self.counts.fills += 1;
        if let Some(entry) = self.parts[level - 1].iter_mut().min_by_key(|(_, used)| *used) {
            self.counts.evicted += u64::from(entry.0 != 0);
            *entry = (tag, self.now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_begins_below_what_is_known() {
        let mut cache = WalkCache::new(1);
        assert_eq!(cache.walk(1, 0x1234, 2, 0), 2);
        assert_eq!(cache.walk(1, 0x1235, 2, 0), 0);
        // Another 2 MiB of the same gigabyte, then the first again: one entry of each level was kept.
        assert_eq!(cache.walk(1, 0x1434, 2, 0), 1);
        assert_eq!(cache.walk(1, 0x1234, 2, 0), 1);
        assert_eq!(cache.walk(2, 0x1234, 2, 0), 2);
        assert_eq!((cache.counts.lookups, cache.counts.hits), (5, 3));
    }
}
