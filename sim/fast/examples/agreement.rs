//! The fast engine beside the RTL on the shipped traces and the generators: the tables of docs/engines.md.
//!
//! `cargo run --release -p pasidon-fast --example agreement [ACCESSES]`

use pasidon_cosim::Cache;
use pasidon_experiment::generate::generators;
use pasidon_experiment::machine::{LastLevelCache, MemoryModel};
use pasidon_experiment::{Answer, Counts, Engine, Experiment, Imagined, Job, MachineModel, PagePolicy, Work};
use pasidon_fast::fast_answer;
use pasidon_machine::run::rtl_answer;
use std::error::Error;
use std::path::Path;

/// The shipped traces.
const TRACES: [&str; 8] = ["sort", "sqlite", "sqlite-big", "gzip", "xz", "zstd", "flac", "dgemm"];

/// A work on one device, eight requests under way.
fn experiment(design: &str, machine: MachineModel, work: &Work, accesses: u64) -> Experiment {
    let job = Job {
        work: work.clone(),
        process: 0,
        device: 0,
        port: None,
        channels: 1,
        depth: 8,
        gap: 0,
        accesses: Some(accesses),
    };
    Experiment {
        design: design.into(),
        machine,
        pages: PagePolicy::default(),
        jobs: vec![job],
        seed: 1,
        engine: Engine::Fast,
        imagined: Imagined::default(),
    }
}

/// The same with one request at a time, for [`Engine::Counts`].
fn one_at_a_time(experiment: &Experiment) -> Experiment {
    let mut single = Experiment { engine: Engine::Counts, ..experiment.clone() };
    single.jobs[0].depth = 1;
    single
}

fn rtl(experiment: &Experiment, cache: &Cache) -> Result<Answer, Box<dyn Error>> {
    Ok(rtl_answer(&Experiment { engine: Engine::Rtl, ..experiment.clone() }, cache)?)
}

fn percent(ours: u64, theirs: u64) -> f64 {
    100.0 * (ours as f64 / theirs.max(1) as f64 - 1.0)
}

fn equal(same: bool) -> &'static str {
    if same { "equal" } else { "differ" }
}

/// A row: cycles, counts and breakdown of both engines with eight requests under way, and the counts of `counts` and RTL one at a time.
fn row(design: &str, name: &str, experiment: &Experiment, cache: &Cache) -> Result<(), Box<dyn Error>> {
    let (ours, theirs) = (fast_answer(experiment)?, rtl(experiment, cache)?);
    let single = one_at_a_time(experiment);
    let counts = fast_answer(&single)?.counts == rtl(&single, cache)?.counts;
    // How far `counts` is off when there are eight under way after all.
    let counted = fast_answer(&Experiment { engine: Engine::Counts, ..experiment.clone() })?;
    let off = |of: fn(&Counts) -> u64| percent(of(&counted.counts), of(&theirs.counts));
    let (walks, reads) = (off(|counts| counts.walks), off(|counts| counts.reads.total()));
    let (Some(mine), Some(times)) = (&ours.times, &theirs.times) else { return Ok(()) };
    println!(
        "| {design} | {name} | {} | {} | {:+.2} % | {} | {} | {} | {walks:+.1} % | {reads:+.1} % |",
        times.cycles,
        mine.cycles,
        percent(mine.cycles, times.cycles),
        equal(ours.counts == theirs.counts),
        equal(mine.breakdown == times.breakdown && mine.latency == times.latency && mine.bare == times.bare),
        equal(counts),
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let accesses = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20_000u64);
    let cache = Cache::in_workspace().quiet();
    let trace = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces");
        Work::Trace(folder.join(format!("{name}.trace.gz")))
    };
    println!("The first {accesses} accesses of each on one device, eight under way, memory of 20 cycles.\n");
    println!(
        "| design | work | cycles, RTL | estimate | error | counts of `fast` | times of `fast` | counts of `counts`, one at a time | \
         `counts` with eight under way: walks | reads |"
    );
    println!("|---|---|---:|---:|---:|---|---|---|---:|---:|");
    for design in ["tiny", "default"] {
        for name in TRACES {
            let experiment = experiment(design, MachineModel::default(), &trace(name), accesses);
            row(design, name, &experiment, &cache)?;
        }
    }
    for work in generators() {
        let experiment = experiment("default", MachineModel::default(), &work, accesses);
        row("default", &format!("`{}`", work.name()), &experiment, &cache)?;
    }
    println!("\nMemory of 100 cycles in which it matters where frames are, `default`:\n");
    println!("| memory | work | cycles, RTL | estimate | error | counts |");
    println!("|---|---|---:|---:|---:|---|");
    let slow = MemoryModel { latency: 100, ..MemoryModel::default() };
    let base = MachineModel { tables: slow, data: slow, ..MachineModel::default() };
    let level = |kilobytes: u64, data| {
        let cache = LastLevelCache { bytes: kilobytes << 10, ways: 8, latency: 15, tables: true, data };
        MachineModel { cache: Some(cache), ..base }
    };
    let banked = MemoryModel { banks: 1024, bank_busy: 30, ..slow };
    let machines = [
        ("last-level cache of 64 KiB for tables", level(64, false)),
        ("last-level cache of 128 KiB for tables and data", level(128, true)),
        ("last-level cache of 1 MiB for tables and data", level(1024, true)),
        (
            "1024 banks for tables and data",
            MachineModel { tables: banked, data: banked, shared: true, ..base },
        ),
    ];
    for (memory, machine) in machines {
        let graph = Work::named("bfs")?;
        for (name, work) in [("sqlite", trace("sqlite")), ("gzip", trace("gzip")), ("`bfs`", graph)] {
            let experiment = experiment("default", machine, &work, accesses);
            let (ours, theirs) = (fast_answer(&experiment)?, rtl(&experiment, &cache)?);
            let (Some(mine), Some(times)) = (&ours.times, &theirs.times) else { continue };
            println!(
                "| {memory} | {name} | {} | {} | {:+.2} % | {} |",
                times.cycles,
                mine.cycles,
                percent(mine.cycles, times.cycles),
                equal(ours.counts == theirs.counts)
            );
        }
    }
    Ok(())
}
