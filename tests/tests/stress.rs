//! A bounded share of `pasidon stress`: processes, devices and memory at odds with each other on the hardware with its driver, and an audit
//! whenever it is quiet. `SEED` repeats or varies it, `STRESS_OPS` is the number of operations: the two repeat a run exactly.

use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_machine::stress::{StressOptions, stress};
use pasidon_rtl::design::Design;
use pasidon_tests::seed;

/// Operations, if nothing else is asked for.
const OPS: u64 = 5000;

#[test]
fn nothing_is_lost_nothing_leaks_nobody_waits_for_ever() {
    let seed = seed("stress on full");
    let ops = match std::env::var("STRESS_OPS") {
        Ok(text) => text.trim().parse().expect("STRESS_OPS is a number of operations"),
        Err(_) => OPS,
    };
    let design = Design::load("full").expect("it is shipped");
    let options = StressOptions { seed, ops, time: None, flavour: Flavour::Fast };
    let report = stress(&design, &Cache::in_workspace().quiet(), &options, &mut |_| {}).expect("a system");
    println!("{report:#?}");
    assert_eq!(report.findings, 0, "{:#?}\nafter {:#?}", report.details, report.history);
    assert!(report.binds > 0 && report.page_requests > 0 && report.exits > 0);
}
