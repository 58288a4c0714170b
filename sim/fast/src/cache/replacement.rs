//! Which entry of a set the next fill replaces.
//!
//! The hardware's caches take the first that is empty, else each in turn. Least recently used and its tree approximation are
//! imagined: they know which entry answered last.

use pasidon_experiment::imagined::Rule;

/// The state of the imagined rules for one cache of `sets` sets.
#[derive(Clone, Debug)]
pub struct Order {
    rule: Rule,
    ways: usize,
    /// By entry: when it was used last. Of PLRU: by set, the tree's bits, node `n` in bit `n`.
    used: Vec<u64>,
    now: u64,
}

impl Order {
    /// Nothing was used yet.
    pub fn new(rule: Rule, sets: usize, ways: usize) -> Order {
        let rule = if rule == Rule::Plru && !ways.is_power_of_two() { Rule::Lru } else { rule };
        let used = match rule {
            Rule::Hardware => 0,
            Rule::PerSet | Rule::Plru => sets,
            Rule::Lru => sets * ways,
        };
        Order { rule, ways, used: vec![0; used], now: 0 }
    }

    /// An entry answered, or was filled.
    #[inline]
    pub fn touch(&mut self, set: usize, way: usize) {
        match self.rule {
            Rule::Hardware | Rule::PerSet => {}
            Rule::Lru => {
                self.now += 1;
                self.used[set * self.ways + way] = self.now;
            }
            Rule::Plru => {
                let (mut node, mut span) = (1, self.ways);
                let bits = &mut self.used[set];
                while span > 1 {
                    span /= 2;
                    let high = way & span != 0;
                    // The bit says which half is to be replaced next.
                    *bits = if high { *bits & !(1 << node) } else { *bits | 1 << node };
                    node = 2 * node + usize::from(high);
                }
            }
        }
    }

    /// The way of a full set that a fill replaces.
    pub fn victim(&mut self, set: usize) -> usize {
        match self.rule {
            Rule::Hardware => 0,
            Rule::PerSet => {
                let turn = self.used[set] as usize;
                self.used[set] = if turn + 1 == self.ways { 0 } else { turn as u64 + 1 };
                turn
            }
            Rule::Lru => {
                let set = &self.used[set * self.ways..(set + 1) * self.ways];
                (0..self.ways).min_by_key(|&way| set[way]).unwrap_or(0)
            }
            Rule::Plru => {
                let (mut node, mut span, mut way) = (1, self.ways, 0);
                while span > 1 {
                    span /= 2;
                    let high = self.used[set] >> node & 1 != 0;
                    way |= if high { span } else { 0 };
                    node = 2 * node + usize::from(high);
                }
                way
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes() {
        for rule in [Rule::Lru, Rule::Plru] {
            let mut order = Order::new(rule, 2, 4);
            (0..4).for_each(|way| order.touch(1, way));
            assert_eq!(order.victim(1), 0, "{rule:?}");
            order.touch(1, 0);
            assert_eq!(order.victim(1), if rule == Rule::Lru { 1 } else { 2 }, "{rule:?}");
            assert_eq!(order.victim(0), 0, "{rule:?}: the other set was not used");
        }
    }

    #[test]
    fn each_set_has_a_turn_of_its_own() {
        let mut order = Order::new(Rule::PerSet, 2, 3);
        assert_eq!([0, 0, 1, 0, 0].map(|set| order.victim(set)), [0, 1, 0, 2, 0]);
    }
}
