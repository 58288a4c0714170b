//! L2 TLB: set-associative, shared by all ports, in the set of the 4 KiB page that was asked for. A fill takes the way whose turn it
//! is: one turn for all sets, which each fill moves, whether that way is empty or not. An entry that matches without granting is
//! cleared.

use super::Id;
use super::replacement::Order;
use pasidon_experiment::counts::CacheCounts;
use pasidon_experiment::imagined::Rule;

/// The L2 TLB of a design; without sets it never answers.
#[derive(Clone, Debug)]
pub struct L2Tlb {
    ids: Box<[Id]>,
    ways: usize,
    set_mask: u64,
    turn: usize,
    rule: Rule,
    order: Order,
    /// What happened.
    pub counts: CacheCounts,
}

impl L2Tlb {
    /// An empty one.
    pub fn new(sets: u32, ways: u32, rule: Rule) -> L2Tlb {
        let (sets, ways) = (sets as usize, ways as usize);
        L2Tlb {
            ids: vec![0; sets * ways].into(),
            ways,
            set_mask: (sets as u64).saturating_sub(1),
            turn: 0,
            rule,
            order: Order::new(rule, sets, ways),
            counts: CacheCounts::default(),
        }
    }

    /// Whether there is one.
    #[inline]
    pub fn exists(&self) -> bool {
        !self.ids.is_empty()
    }

    #[inline]
    fn set(&self, vpn: u64) -> usize {
        (vpn & self.set_mask) as usize
    }

    /// A lookup that misses whatever there is, because of a write in the same cycle.
    pub fn miss(&mut self) {
        self.counts.lookups += 1;
    }

    /// Looks up page `id` for an access to the 4 KiB page `vpn`, which the page grants or not. Says whether it answers, and whether
    /// it cleared an entry.
    #[inline]
    pub fn lookup(&mut self, vpn: u64, id: Id, granted: bool) -> (bool, bool) {
        if !self.exists() {
            return (false, false);
        }
        self.counts.lookups += 1;
        let set = self.set(vpn);
        let entries = &mut self.ids[set * self.ways..(set + 1) * self.ways];
        // All ways at once: which one it is can't be foretold, and a loop that ends there would be.
        let matches = entries.iter().rev().fold(0u32, |found, &entry| found << 1 | u32::from(entry == id));
        if matches == 0 {
            return (false, false);
        }
        let way = matches.trailing_zeros() as usize;
        if !granted {
            entries.iter_mut().filter(|entry| **entry == id).for_each(|entry| *entry = 0);
            return (false, true);
        }
        self.counts.hits += 1;
        self.order.touch(set, way);
        (true, false)
    }

    /// Whether it has the page in the set of `vpn`.
    pub fn holds(&self, vpn: u64, id: Id) -> bool {
        let set = self.set(vpn);
        self.exists() && self.ids[set * self.ways..(set + 1) * self.ways].contains(&id)
    }

    /// A walk for an access to the 4 KiB page `vpn` brings page `id`.
    pub fn fill(&mut self, vpn: u64, id: Id) {
        if !self.exists() {
            return;
        }
        let set = self.set(vpn);
        self.counts.fills += 1;
        let entries = &mut self.ids[set * self.ways..(set + 1) * self.ways];
        let way = match self.rule {
            Rule::Hardware => {
                let turn = self.turn;
                self.turn = if turn + 1 == self.ways { 0 } else { turn + 1 };
                turn
            }
            _ => match entries.iter().position(|&entry| entry == 0) {
                Some(empty) => empty,
                None => self.order.victim(set),
            },
        };
        self.counts.evicted += u64::from(entries[way] != 0);
        entries[way] = id;
        self.order.touch(set, way);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_turn_for_all_sets() {
        let mut tlb = L2Tlb::new(2, 2, Rule::Hardware);
        tlb.fill(0, 10);
        tlb.fill(1, 11);
        // The turn is back at way 0, though way 1 of set 0 is empty.
        tlb.fill(2, 12);
        assert_eq!(*tlb.ids, [12, 0, 0, 11]);
        assert_eq!(tlb.counts.evicted, 1);
        assert_eq!(tlb.lookup(2, 12, true), (true, false));
        assert_eq!(tlb.lookup(0, 12, false), (false, true));
        assert_eq!(tlb.lookup(2, 12, true), (false, false));
        assert_eq!((tlb.counts.lookups, tlb.counts.hits), (3, 1));
    }
}
