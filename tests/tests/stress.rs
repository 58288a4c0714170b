//! A minute of `pasidon stress`: processes, devices and memory at odds with each other on the hardware with its driver, and an audit
//! whenever it is quiet. `SEED` repeats or varies it, `STRESS_SECONDS` is the time.

use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_machine::stress::{StressOptions, stress};
use pasidon_rtl::design::Design;
use pasidon_tests::seed;
use std::time::Duration;

/// Seconds, if nothing else is asked for.
const SECONDS: u64 = 60;

#[test]
fn nothing_is_lost_nothing_leaks_nobody_waits_for_ever() {
    let seed = seed("stress on full");
    let seconds = std::env::var("STRESS_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let design = Design::load("full").expect("it is shipped");
    let time = Some(Duration::from_secs(seconds));
    let options = StressOptions { seed, ops: u64::MAX, time, flavour: Flavour::Fast };
    let report = stress(&design, &Cache::in_workspace().quiet(), &options, &mut |_| {}).expect("a system");
    println!("{report:#?}");
    assert_eq!(report.findings, 0, "{:#?}\nafter {:#?}", report.details, report.history);
    assert!(report.binds > 0 && report.page_requests > 0 && report.exits > 0);
}
