//! Which faults are tried, and in which order.

use pasidon_cosim::Random;
use pasidon_rtl::{Faults, Operator};
use std::collections::BTreeMap;

/// Every fault of a design, in the order in which a run with this seed takes them: the first N of them are N faults that are
/// spread over all modules and all kinds of faults. Modules with more places for a fault come more often, as the square root of
/// their number; within a module, the kinds of faults take turns.
pub fn order(faults: &[Faults], seed: u64) -> Vec<String> {
    let mut random = Random::new(seed);
    let mut queues: Vec<(f64, Vec<String>)> = faults
        .iter()
        .map(|faults| ((faults.operators.len() as f64).sqrt(), module(faults, &mut random)))
        .collect();
    // In this order modules get their first fault, when there are fewer faults to take than modules.
    random.shuffle(&mut queues);
    let mut taken = vec![0usize; queues.len()];
    let mut order = Vec::new();
    // The module that is furthest behind its share is next.
    while let Some((next, _)) = queues
        .iter()
        .enumerate()
        .filter(|(i, (_, ids))| taken[*i] < ids.len())
        .map(|(i, (weight, _))| (i, taken[i] as f64 / weight))
        .min_by(|a, b| a.1.total_cmp(&b.1))
    {
        order.push(queues[next].1[taken[next]].clone());
        taken[next] += 1;
    }
    order
}

fn module(faults: &Faults, random: &mut Random) -> Vec<String> {
    let mut kinds: BTreeMap<Operator, Vec<usize>> = BTreeMap::new();
    for (number, operator) in faults.operators.iter().enumerate() {
        kinds.entry(*operator).or_default().push(number);
    }
    let mut kinds: Vec<Vec<usize>> = kinds.into_values().collect();
    kinds.iter_mut().for_each(|numbers| random.shuffle(numbers));
    random.shuffle(&mut kinds);
    let mut ids = Vec::with_capacity(faults.operators.len());
    while ids.len() < faults.operators.len() {
        ids.extend(kinds.iter_mut().filter_map(Vec::pop).map(|number| format!("{}.{number}", faults.module)));
    }
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn faults() -> Vec<Faults> {
        let kinds = [Operator::StuckAtZero, Operator::DroppedTerm, Operator::ConstantOffByOne];
        let module = |name: &str, count: usize| Faults {
            module: name.into(),
            operators: (0..count).map(|i| if i % 10 == 0 { kinds[i / 10 % 2] } else { kinds[2] }).collect(),
        };
        vec![module("small", 9), module("none", 0), module("large", 900), module("middle", 100)]
    }

    #[test]
    fn faults_are_spread_over_modules_and_kinds() {
        let order = order(&faults(), 7);
        assert_eq!(order.len(), 1009);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 1009, "each fault once");
        let first = &order[..43];
        let count = |module: &str| first.iter().filter(|id| id.starts_with(module)).count();
        // In proportion to 3 : 10 : 30.
        assert_eq!((count("small."), count("middle."), count("large.")), (3, 10, 30));
        let number = |id: &String| id.split_once('.').unwrap().1.parse::<usize>().unwrap();
        let rare = first.iter().filter(|id| id.starts_with("large.") && number(id) % 10 == 0).count();
        assert_eq!(rare, 20, "kinds take turns, rare or not");
    }

    #[test]
    fn the_seed_decides() {
        assert_eq!(order(&faults(), 1), order(&faults(), 1));
        assert_ne!(order(&faults(), 1), order(&faults(), 2));
    }
}
