//! L1 TLB of one port: fully associative. It answers what an entry of the page grants; a fill first clears what it overlaps, and
//! takes the first entry that was empty before that, else each in turn.

use super::Id;
use super::replacement::Order;
use pasidon_experiment::counts::CacheCounts;
use pasidon_experiment::imagined::Rule;

/// The L1 TLB of a port.
#[derive(Clone, Debug)]
pub struct L1Tlb {
    ids: Box<[Id]>,
    filled: usize,
    turn: usize,
    rule: Rule,
    order: Order,
    /// Changes whenever an answer may be another, or may have to be noted: a page that was just found is found as long as this is the same.
    pub generation: u64,
    /// What happened. Lookups and hits are the caller's to count.
    pub counts: CacheCounts,
}

impl L1Tlb {
    /// An empty one of `entries` entries.
    pub fn new(entries: u32, rule: Rule) -> L1Tlb {
        let entries = entries as usize;
        L1Tlb {
            ids: vec![0; entries].into(),
            filled: 0,
            turn: 0,
            rule,
            order: Order::new(rule, 1, entries),
            generation: 1,
            counts: CacheCounts::default(),
        }
    }

    /// Whether it has the page.
    #[inline]
    pub fn holds(&self, id: Id) -> bool {
        // All entries at once: that is quicker than to stop at the first match.
        self.ids.iter().fold(false, |found, &entry| found | (entry == id))
    }

    /// A page that it holds has answered.
    #[inline]
    pub fn touch(&mut self, id: Id) {
        if self.rule.follows_hits()
            && let Some(way) = self.ids.iter().position(|&entry| entry == id)
        {
            self.order.touch(0, way);
            self.generation += 1;
        }
    }

    /// A completion brings a page.
    pub fn fill(&mut self, id: Id) {
        let victim = self.fill_absent(id);
        if self.ids.iter().fold(0, |count, &entry| count + u32::from(entry == id)) > 1 {
            for (way, entry) in self.ids.iter_mut().enumerate() {
                if *entry == id && way != victim {
                    *entry = 0;
                    self.filled -= 1;
                    self.counts.overlapped += 1;
                }
            }
        }
    }

    /// A completion brings a page that no entry overlaps. Returns where it is now.
    pub fn fill_absent(&mut self, id: Id) -> usize {
        self.generation += 1;
        self.counts.fills += 1;
        let full = self.filled == self.ids.len();
        let victim = if !full {
            self.ids.iter().position(|&entry| entry == 0).unwrap_or(0)
        } else if self.rule.follows_hits() {
            self.order.victim(0)
        } else {
            let turn = self.turn;
            self.turn = if turn + 1 == self.ids.len() { 0 } else { turn + 1 };
            turn
        };
        if full {
            self.counts.evicted += 1;
            self.filled -= 1;
        }
        self.ids[victim] = id;
        self.filled += 1;
        self.order.touch(0, victim);
        victim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_turn_moves_only_when_all_are_valid() {
        let mut tlb = L1Tlb::new(3, Rule::Hardware);
        (1..=4).for_each(|id| tlb.fill(id));
        assert_eq!(*tlb.ids, [4, 2, 3]);
        // An entry of the same page goes, the turn's entry comes: there is an empty one now.
        tlb.fill(3);
        assert_eq!(*tlb.ids, [4, 3, 0]);
        tlb.fill(5);
        assert_eq!(*tlb.ids, [4, 3, 5]);
        tlb.fill(6);
        assert_eq!(*tlb.ids, [4, 3, 6]);
        assert_eq!((tlb.counts.evicted, tlb.counts.overlapped, tlb.counts.fills), (3, 1, 7));
    }
}
