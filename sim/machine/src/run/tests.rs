//! Experiments on the hardware. A random test prints its seed, and SEED= repeats it.

use super::*;
use crate::machine::MachineConfig;
use pasidon_cosim::Random;
use pasidon_experiment::machine::{LastLevelCache, MachineModel, MemoryModel};
use pasidon_experiment::pages::PagePolicy;
use pasidon_experiment::{Engine, Experiment, Work};
use serde_json::json;
use std::fmt::Write;

fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    println!("SEED={seed}");
    seed
}

/// A trace of random accesses to `pages` pages, in a file of its own.
fn trace(name: &str, random: &mut Random, accesses: u64, pages: u64) -> PathBuf {
    let mut text = String::from("pasid,op,address,size\n");
    for _ in 0..accesses {
        let address = 0x10_0000 + random.below(pages * 4096);
        let op = ["R", "W", "M"][random.below(3) as usize];
        _ = writeln!(text, "0,{op},{address:#x},{}", 1 + random.below(64));
    }
    let path = std::env::temp_dir().join(format!("pasidon-run-{}-{name}.csv", std::process::id()));
    std::fs::write(&path, text).unwrap();
    path
}

fn job(path: &Path) -> Job {
    let work = Work::Trace(path.to_path_buf());
    Job { work, process: 0, device: 0, port: None, channels: 1, depth: 8, gap: 0, accesses: None }
}

fn experiment(design: &str, jobs: Vec<Job>) -> Experiment {
    Experiment {
        design: json!(design),
        machine: MachineModel::default(),
        pages: PagePolicy::default(),
        jobs,
        seed: 1,
        engine: Engine::Rtl,
        imagined: Default::default(),
    }
}

fn answer(experiment: &Experiment) -> pasidon_experiment::Answer {
    rtl_answer(experiment, &Cache::in_workspace().quiet()).expect("an answer")
}

fn random_model(random: &mut Random) -> MachineModel {
    let mut memory = || {
        let banks = [0, 4][random.below(2) as usize];
        MemoryModel {
            latency: 1 + random.below(60) as u32,
            outstanding: 1 + random.below(16) as u32,
            bytes_per_cycle: random.below(3) as u32 * 8,
            banks,
            bank_busy: if banks == 0 { 0 } else { 1 + random.below(9) as u32 },
        }
    };
    let (tables, data) = (memory(), memory());
    let cache = LastLevelCache { bytes: 4096, ways: 4, latency: 5, tables: true, data: random.below(2) == 0 };
    MachineModel {
        tables,
        data,
        shared: random.below(2) == 0,
        cache: (random.below(2) == 0).then_some(cache),
    }
}

/// Random work on a design, looked at closely.
fn random_run(design: &str, random: &mut Random, demand: bool) {
    let design = Design::load(design).unwrap();
    let path = trace(&format!("{}-{demand}", design.name), random, 400, 40);
    let jobs = (0..1 + random.below(4) as u32).map(|_| Job {
        process: random.below(3) as u32,
        device: random.below(3) as u32,
        channels: 1 + random.below(3) as u32,
        depth: 1 + random.below(8) as u32,
        gap: random.below(2) as u32 * 7,
        accesses: (random.below(2) == 0).then(|| 1 + random.below(900)),
        ..job(&path)
    });
    let jobs: Vec<Job> = jobs.collect();
    let model = random_model(random);
    let options = RunOptions {
        jobs,
        machine: MachineConfig::of(model, random.word()),
        resident: !demand,
        counters: true,
        progress: false,
        ..RunOptions::default()
    };
    println!("{}: {options:?}", design.name);
    let plan = Plan::new(&design, &options).unwrap();
    let cache = Cache::in_workspace().quiet();
    let (_, measured) = execute(&design, &cache, &options, &plan).unwrap();
    let (counters, counts) = (&measured.counters, measured.counts());
    let breakdown = measured.breakdown.unwrap();
    assert_eq!(breakdown.total(), counters.access_cycles, "{breakdown:?}");
    assert!(
        breakdown.data > 0 && breakdown.l1 > 0 && (breakdown.page_request > 0) == demand,
        "{breakdown:?}"
    );
    let wanted: u64 = plan.channels.iter().map(|channel| channel.count).sum();
    assert_eq!((counts.accesses, counts.faults, counters.mismatches), (wanted, 0, 0));
    assert_eq!(
        (counts.l1.lookups, counts.l1.hits, counts.walks),
        (counters.lookups, counters.hits, counters.walks)
    );
    assert_eq!(counts.reads.total(), counters.memory_reads);
    assert_eq!(counts.requests, counts.l1.lookups);
    let occupancy = measured.occupancy.unwrap();
    assert_eq!(occupancy.walkers.iter().sum::<u64>(), counters.cycles);
    assert_eq!(occupancy.miss_table.iter().sum::<u64>(), counters.cycles);
    assert!(measured.bare > 0 && (demand || measured.bare < counters.cycles));
    for (entries, cache) in [
        (design.l1_entries * design.ports, counts.l1),
        (design.ddtc_entries, counts.ddtc),
        (design.pdtc_entries, counts.pdtc),
    ] {
        // What came in is still there, or went.
        let left = cache.fills - cache.evicted - cache.overlapped - cache.invalidated;
        assert!(left <= u64::from(entries) && cache.hits <= cache.lookups, "{cache:?}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn every_cycle_of_every_access_is_in_one_part() {
    let mut random = Random::new(seed());
    for _ in 0..6 {
        random_run("tiny", &mut random, false);
        random_run("default", &mut random, false);
        random_run("default", &mut random, true);
        random_run(
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/designs/eight.toml"),
            &mut random,
            false,
        );
    }
}

#[test]
fn one_at_a_time_the_counts_are_those_of_the_caches() {
    let mut random = Random::new(3);
    // Three pages, one after the other, in a cache of one entry: all miss. In the other design all but the first of each hit.
    let mut text = String::from("pasid,op,address,size\n");
    (0..300u64).for_each(|n| _ = writeln!(text, "0,R,{:#x},8", 0x10_0000 + n % 3 * 4096));
    let path = trace("pages", &mut random, 1, 1);
    std::fs::write(&path, text).unwrap();
    let jobs = vec![Job { depth: 1, ..job(&path) }];
    let tiny = answer(&experiment("tiny", jobs.clone())).counts;
    assert_eq!((tiny.l1.lookups, tiny.l1.hits, tiny.l1.fills, tiny.l1.evicted), (300, 0, 300, 299));
    // One context of each kind is read once, and three levels for each page.
    assert_eq!(
        (tiny.walks, tiny.reads.ddt, tiny.reads.pdt, tiny.reads.first_stage),
        (300, [1, 0, 0], [1, 0, 0], [300, 300, 300, 0, 0])
    );
    assert_eq!((tiny.ddtc.hits, tiny.pdtc.hits, tiny.ddtc.fills), (299, 299, 1));
    let large = answer(&experiment("default", jobs)).counts;
    assert_eq!((large.l1.lookups, large.l1.hits, large.l2.lookups, large.l2.fills), (300, 297, 3, 3));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_same_experiment_has_the_same_answer_and_what_it_asks_for_matters() {
    let mut random = Random::new(5);
    let path = trace("same", &mut random, 300, 30);
    let base = experiment("default", vec![job(&path)]);
    let first = answer(&base);
    let mut again = answer(&base);
    again.wall_seconds = first.wall_seconds;
    assert_eq!(first, again);
    let times = first.times.as_ref().unwrap();
    assert!(
        times.overhead_percent() > 0.0
            && times.latency.histogram.iter().map(|(_, n)| n).sum::<u64>() == first.counts.requests
    );
    let cycles = |change: fn(&mut Experiment)| {
        let mut changed = base.clone();
        change(&mut changed);
        let times = answer(&changed).times.unwrap();
        (times.cycles, times.bare)
    };
    let (now, bare) = (times.cycles, times.bare);
    // Slow tables cost only those who translate; slow data both.
    let slow = cycles(|e| e.machine.tables.latency = 200);
    assert!(slow.0 > now + 1000 && slow.1 == bare, "{slow:?} {now} {bare}");
    let slow = cycles(|e| e.machine.data.latency = 200);
    assert!(slow.0 > now && slow.1 > bare);
    // Computing takes its time.
    let requests = first.counts.accesses;
    let computing = cycles(|e| e.jobs[0].gap = 50);
    assert!(computing.1 >= (requests - 1) * 51 && computing.0 >= computing.1, "{computing:?}");
    let once = cycles(|e| e.jobs[0].accesses = Some(64));
    assert!(once.0 < now);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_last_level_cache_hides_slow_tables() {
    let mut random = Random::new(6);
    let path = trace("cache", &mut random, 600, 60);
    let mut question = experiment("tiny", vec![Job { depth: 2, ..job(&path) }]);
    question.machine.tables.latency = 200;
    let without = answer(&question).times.unwrap().cycles;
    question.machine.cache =
        Some(LastLevelCache { bytes: 128 << 10, ways: 8, latency: 10, tables: true, data: false });
    let with = answer(&question).times.unwrap().cycles;
    assert!(with * 4 < without, "{with} {without}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn what_does_not_fit_is_named() {
    let mut random = Random::new(7);
    let path = trace("unfit", &mut random, 3, 2);
    let cache = Cache::in_workspace().quiet();
    let refused = |change: &dyn Fn(&mut Experiment)| {
        let mut question = experiment("tiny", vec![job(&path)]);
        change(&mut question);
        rtl_answer(&question, &cache).unwrap_err().to_string()
    };
    for (what, text) in [
        ("ports.count", refused(&|e| e.jobs[0].port = Some(9))),
        ("address.device_id_width", refused(&|e| e.jobs[0].device = 500)),
        ("ats.ats = true", refused(&|e| e.pages.demand = true)),
        ("[[jobs]]", refused(&|e| e.jobs.clear())),
        ("data.latency", refused(&|e| e.machine.data.latency = 0)),
        (
            "pages.demand = false",
            refused(&|e| {
                e.design = json!("default");
                e.pages.demand = true;
                e.jobs = [Some(0), Some(1)].map(|port| Job { port, ..job(&path) }).into();
            }),
        ),
        ("channels", refused(&|e| e.jobs[0].channels = 1 << 20)),
        (
            "process_id_width",
            refused(&|e| e.jobs = (0..256).map(|process| Job { process, ..job(&path) }).collect()),
        ),
        ("unknown", refused(&|e| e.design = json!({"base": "tiny", "tlb": {"entries": 3}}))),
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn solo_is_one_process_on_one_device() {
    let mut random = Random::new(8);
    let path = trace("solo", &mut random, 200, 20);
    let options = RunOptions {
        traces: vec![path.clone()],
        solo: true,
        requests: Some(64),
        progress: false,
        ..RunOptions::default()
    };
    let design = Design::load("default").unwrap();
    let report = run(&design, &Cache::in_workspace().quiet(), &options).unwrap();
    assert_eq!((report.binds.len(), report.devices.len(), report.requests), (1, 1, 64));
    assert_eq!(report.problems(), Vec::<String>::new());
    std::fs::remove_file(path).unwrap();
}

#[test]
fn pages_have_the_size_that_was_asked_for() {
    let mut random = Random::new(9);
    // Sixty pages in a row: all of four groups but the last four pages.
    let path = trace("sizes", &mut random, 900, 60);
    let mut question = experiment("default", vec![Job { depth: 4, ..job(&path) }]);
    let mut seen = Vec::new();
    for size in [PageSize::Base, PageSize::Napot, PageSize::Huge, PageSize::Giant, PageSize::Mixed] {
        question.pages.size = size;
        let Counts { walks, faults, reads, l1, .. } = answer(&question).counts;
        assert_eq!(faults, 0);
        let lowest = reads.first_stage.iter().position(|&reads| reads > 0);
        seen.push((size, walks, lowest, l1.fills));
        let level = match size {
            PageSize::Huge => 1,
            PageSize::Giant => 2,
            _ => 0,
        };
        assert_eq!(lowest, Some(level), "{seen:?}");
    }
    let walks: Vec<u64> = seen.iter().map(|(_, walks, ..)| *walks).collect();
    assert!(walks[0] > 4 * walks[1] && walks[1] >= walks[2] && walks[2] == walks[3], "{seen:?}");
    assert!(walks[4] < walks[0] / 4, "{seen:?}");
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_policy_that_changes_nothing_says_so() {
    let mut random = Random::new(10);
    let path = trace("remarks", &mut random, 60, 3);
    let options =
        RunOptions { traces: vec![path.clone()], solo: true, progress: false, ..RunOptions::default() };
    let remarks = |design: &str, options: RunOptions| {
        let report = run(&Design::load(design).unwrap(), &Cache::in_workspace().quiet(), &options).unwrap();
        assert_eq!(report.problems(), Vec::<String>::new());
        report.remarks.join("\n")
    };
    assert_eq!(remarks("default", options.clone()), "");
    for (what, design, changed) in [
        ("--huge-pages", "default", RunOptions { huge_pages: true, ..options.clone() }),
        ("pages = mixed", "default", RunOptions { pages: PageSize::Mixed, worth: 90, ..options.clone() }),
        ("--resident", "default", RunOptions { resident: true, io: 9, ..options.clone() }),
        ("ats.ats", "tiny", RunOptions { io: 9, ..options.clone() }),
        ("no page ever leaves", "default", RunOptions { frames: Some(900), ..options.clone() }),
    ] {
        let said = remarks(design, changed);
        assert!(said.contains(what), "{what}: {said}");
    }
    std::fs::remove_file(path).unwrap();
}

#[test]
fn memory_that_is_not_touched_costs_nothing_and_too_little_is_said() {
    let mut random = Random::new(12);
    let path = trace("memory", &mut random, 500, 5000);
    let with = |mib: u64, pages: PageSize| {
        let machine = MachineConfig { memory_bytes: mib << 20, ..MachineConfig::default() };
        let options = RunOptions {
            traces: vec![path.clone()],
            machine,
            pages,
            solo: true,
            resident: true,
            progress: false,
            ..RunOptions::default()
        };
        run(&Design::load("default").unwrap(), &Cache::in_workspace().quiet(), &options)
    };
    assert_eq!(with(1 << 20, PageSize::Giant).unwrap().problems(), Vec::<String>::new());
    for (mib, pages) in [(16, PageSize::Huge), (256, PageSize::Giant)] {
        let said = with(mib, pages).unwrap_err().to_string();
        assert!(said.contains("--memory"), "{said}");
    }
    std::fs::remove_file(path).unwrap();
}
