//! A bounded share of lockstep: the hardware of several designs and the golden model under random operations.
//!
//! `SEED` repeats or varies it, `LOCKSTEP_SECONDS` is the time for each design (the designs are shared out over the cores by the
//! test harness). A difference is shortened and written beside the test's temporary files; the message names the file.

use pasidon_rtl::design::Design;
use pasidon_sim::lockstep::replay::Replay;
use pasidon_sim::lockstep::{Options, ROUND, engines, run_on};
use pasidon_sim::model::{Cache, Flavour};
use pasidon_tests::seed;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Seconds for a design, if nothing else is asked for.
const SECONDS: u64 = 40;
/// Operations after which the time does not matter any more.
const ENOUGH: u64 = 5_000_000;

fn path(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("designs").join(format!("{name}.toml"));
    if file.is_file() { file.display().to_string() } else { name.into() }
}

fn lockstep(name: &str, latency: u32) {
    let seed = seed(&format!("lockstep on {name}"));
    let seconds = std::env::var("LOCKSTEP_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(SECONDS);
    let path = path(name);
    let design = Design::load(&path).expect("the design is valid");
    let mut both = engines(&design, &Cache::in_workspace().quiet(), Flavour::Fast).expect("engines");
    let time = Some(Duration::from_secs(seconds));
    let options =
        Options { seed, ops: ENOUGH, latency, time, flavour: Flavour::Fast, round: ROUND, even: false };
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
    ($($test:ident: $name:literal, $latency:literal;)*) => {
        $(#[test]
        fn $test() {
            lockstep($name, $latency);
        })*
    };
}

designs! {
    tiny: "tiny", 1;
    default: "default", 20;
    full: "full", 8;
    odd: "odd", 60;
    guests: "guests", 30;
    small32: "small32", 3;
    updates: "updates", 5;
    messages: "messages", 12;
    swapped: "swapped", 4;
}
