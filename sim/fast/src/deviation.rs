//! How far two engines are from each other on the same experiment.

use pasidon_experiment::Counts;
use pasidon_experiment::answer::{Deviation, Times};

/// What is compared, by name.
fn values(counts: &Counts, times: Option<&Times>) -> Vec<(String, u64)> {
    let Counts { accesses, bytes, requests, faults, merged, walks, page_requests, reads, .. } = counts;
    let mut list: Vec<(String, u64)> = [
        ("accesses", *accesses),
        ("bytes", *bytes),
        ("requests", *requests),
        ("faults", *faults),
        ("merged", *merged),
        ("walks", *walks),
        ("page_requests", *page_requests),
        ("reads", reads.total()),
    ]
    .map(|(name, value)| (name.to_string(), value))
    .into();
    for (name, cache) in [("l1", counts.l1), ("l2", counts.l2), ("ddtc", counts.ddtc), ("pdtc", counts.pdtc)]
    {
        list.push((format!("{name}.lookups"), cache.lookups));
        list.push((format!("{name}.hits"), cache.hits));
    }
    list.extend(times.map(|times| ("cycles".to_string(), times.cycles)));
    list
}

/// The values of the fast engine beside those of the RTL; cycles where both have them.
pub fn deviation(fast: (&Counts, Option<&Times>), rtl: (&Counts, Option<&Times>)) -> Deviation {
    let both = fast.1.is_some() && rtl.1.is_some();
    let theirs = values(rtl.0, rtl.1.filter(|_| both));
    let ours = values(fast.0, fast.1.filter(|_| both));
    let values =
        ours.into_iter().zip(theirs).map(|((name, ours), (_, theirs))| (name, ours, theirs)).collect();
    Deviation { accesses: rtl.0.accesses, values }
}

/// The largest difference of a deviation, in percent of the RTL's value, and what it is of; of values that the RTL counts less than
/// once in a thousand accesses, in percent of that.
pub fn largest(deviation: &Deviation) -> (f64, String) {
    let floor = (deviation.accesses as f64 / 1000.0).max(1.0);
    let mut worst = (0.0, String::new());
    for (name, ours, theirs) in &deviation.values {
        let percent = 100.0 * ours.abs_diff(*theirs) as f64 / (*theirs as f64).max(floor);
        if percent > worst.0 {
            worst = (percent, name.clone());
        }
    }
    worst
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_has_a_name() {
        let rtl = Counts { accesses: 10_000, walks: 100, merged: 1, ..Counts::default() };
        let fast = Counts { walks: 103, merged: 2, ..rtl };
        let times = Times { cycles: 500, ..Times::default() };
        let found = deviation((&fast, Some(&times)), (&rtl, None));
        assert!(!found.values.iter().any(|(name, ..)| name == "cycles"));
        assert_eq!(largest(&found), (10.0, "merged".into()));
        let found = deviation((&rtl, Some(&times)), (&rtl, Some(&Times { cycles: 400, ..times.clone() })));
        assert_eq!(largest(&found), (25.0, "cycles".into()));
        assert_eq!(largest(&deviation((&rtl, None), (&rtl, None))), (0.0, String::new()));
    }
}
