//! A bounded share of lockstep: the hardware of several designs and the golden model under random operations.
//!
//! `SEED` repeats or varies it, `LOCKSTEP_PERCENT` does more or less of it (the designs are shared out over the cores by the test
//! harness). A difference is shortened and written beside the test's temporary files; the message names the file.

use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_rtl::design::Design;
use pasidon_tests::seed;
use pasidon_verify::lockstep::replay::Replay;
use pasidon_verify::lockstep::{Options, ROUND, engines, run_on};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn path(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("designs").join(format!("{name}.toml"));
    if file.is_file() { file.display().to_string() } else { name.into() }
}

fn lockstep(name: &str, latency: u32, thousands: u64) {
    let seed = seed(&format!("lockstep on {name}"));
    let percent = std::env::var("LOCKSTEP_PERCENT").ok().and_then(|s| s.parse().ok()).unwrap_or(100);
    let ops = thousands * 1000 * percent / 100;
    let path = path(name);
    let design = Design::load(&path).expect("the design is valid");
    let mut both = engines(&design, &Cache::in_workspace().quiet(), Flavour::Fast).expect("engines");
    let options =
        Options { seed, ops, latency, time: None, flavour: Flavour::Fast, round: ROUND, even: false };
    let report = run_on(&mut both, &design, &options, &mut |_| {}).expect("engines at work");
    println!(
        "{name}: {} operations, {} answers, {:.0} s, {} points not met",
        report.ops,
        report.requests,
        report.seconds,
        report.holes.len()
    );
    if let Some(failed) = &report.failed {
        let replay = Replay::shortened(&mut both, &path, failed, Duration::from_secs(60)).expect("engines");
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("lockstep-{name}-{seed}.json"));
        replay.write(&file).expect("a temporary file");
        panic!("{name}, seed {seed}: {}\nto repeat it: pasidon replay {}", replay.found, file.display());
    }
    assert!(report.requests * 2 > report.ops, "{name}: too few answers to mean anything");
}

/// Sequences that once showed a difference, in `replays/`. (`page-larger-than-memory`: a 256-TiB second-stage page is larger than
/// the 46-bit physical address space; an address in its upper part is an access fault, privileged specification, "Virtual Address
/// Translation Process", and must not be cut.)
#[test]
fn what_once_differed_agrees() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("replays");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the folder of replays")
        .map(|f| f.expect("an entry").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let replay = Replay::read(&file).expect("a replay");
        let difference = replay.run(&Cache::in_workspace().quiet(), None).expect("engines at work");
        assert!(difference.is_none(), "{}: {}", file.display(), difference.expect("it differs"));
    }
}

macro_rules! designs {
    ($($test:ident: $name:literal, $latency:literal, $thousands:literal;)*) => {
        $(#[test]
        fn $test() {
            lockstep($name, $latency, $thousands);
        })*
    };
}

// Name, memory latency in cycles, thousands of operations: as many as take half a minute each.
designs! {
    tiny: "tiny", 1, 2400;
    default: "default", 20, 700;
    full: "full", 8, 500;
    odd: "odd", 60, 450;
    guests: "guests", 30, 400;
    small32: "small32", 3, 1700;
    updates: "updates", 5, 600;
    messages: "messages", 12, 450;
    swapped: "swapped", 4, 1000;
    eight: "eight", 10, 200;
}
