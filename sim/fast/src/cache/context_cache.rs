//! Context cache: device contexts (DDTC) or process contexts (PDTC), fully associative. A fill takes the first empty entry, else each
//! in turn, and may repeat what is there already.

use super::Id;
use pasidon_experiment::counts::CacheCounts;

/// A context cache.
#[derive(Clone, Debug)]
pub struct ContextCache {
    ids: Box<[Id]>,
    filled: usize,
    turn: usize,
    /// One that is there for certain.
    last: Id,
    /// What happened.
    pub counts: CacheCounts,
}

impl ContextCache {
    /// An empty one.
    pub fn new(entries: u32) -> ContextCache {
        ContextCache {
            ids: vec![0; entries as usize].into(),
            filled: 0,
            turn: 0,
            last: 0,
            counts: CacheCounts::default(),
        }
    }

    /// Whether it has the context.
    #[inline]
    pub fn holds(&self, id: Id) -> bool {
        self.ids.contains(&id)
    }

    /// Looks a context up.
    #[inline]
    pub fn lookup(&mut self, id: Id) -> bool {
        self.counts.lookups += 1;
        let hit = id == self.last || self.holds(id);
        if hit {
            self.counts.hits += 1;
            self.last = id;
        }
        hit
    }

    /// A walk brings a context.
    pub fn fill(&mut self, id: Id) {
        self.counts.fills += 1;
        let victim = if self.filled < self.ids.len() {
            // Nothing empties an entry but an invalidation.
            self.filled += 1;
            self.filled - 1
        } else {
            self.counts.evicted += 1;
            let turn = self.turn;
            self.turn = if turn + 1 == self.ids.len() { 0 } else { turn + 1 };
            turn
        };
        self.ids[victim] = id;
        self.last = id;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_entries_first_then_in_turn() {
        let mut cache = ContextCache::new(2);
        assert!(!cache.lookup(1));
        [1, 2, 3].into_iter().for_each(|id| cache.fill(id));
        assert_eq!(*cache.ids, [3, 2]);
        cache.fill(2);
        assert_eq!(*cache.ids, [3, 2]);
        assert!(cache.lookup(2) && !cache.lookup(1));
        assert_eq!((cache.counts.evicted, cache.counts.hits, cache.counts.lookups), (2, 1, 3));
    }
}
