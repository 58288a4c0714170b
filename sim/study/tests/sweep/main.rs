//! Sweeps with an engine that is made up: what they promise does not depend on the engine.

use pasidon_experiment::answer::{Answer, Breakdown, LatencySummary, Source, Times};
use pasidon_experiment::counts::{CacheCounts, Counts, Reads};
use pasidon_experiment::resolve::design_of;
use pasidon_experiment::{Engine, Experiment};
use pasidon_study::area::{Area, Areas};
use pasidon_study::report::{Report, html, terminal};
use pasidon_study::sweep::designs::Distinct;
use pasidon_study::sweep::file::Sweep;
use pasidon_study::sweep::merge::{collect, write};
use pasidon_study::sweep::run::{Outcome, RunOptions, run};
use pasidon_study::sweep::slurm::{SlurmOptions, unfinished, write_scripts};
use pasidon_study::sweep::store::{file_name, read_folder};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

mod browser;
#[cfg(feature = "parquet")]
mod parquet;

const SWEEP: &str = r#"
name = "l2"
question = "What does a larger L2 change?"
only = ["walkers <= l2_sets || l2_sets == 0"]

[base]
design = "default"
jobs = [{ work = { trace = "traces/sort.trace.gz" } }]

[[axis]]
name = "l2_sets"
keys = ["design.tlb.l2_sets"]
values = [0, 2, 64]

[[axis]]
name = "walkers"
keys = ["design.walk.walkers"]
values = [1, 4]

[[axis]]
name = "latency"
keys = ["machine.tables.latency", "machine.data.latency"]
values = [10, 100]
unit = "cycles"

[[axis]]
name = "work"
values = [
  { label = "sort", set = { "jobs.0.work" = { trace = "traces/sort.trace.gz" } } },
  { label = "two processes", set = { "jobs.0.process" = 1 } },
]

[[chart]]
title = "Overhead"
x = "latency"
y = "overhead_percent"
series = "work"
published = [{ label = "somebody's", from = 4.2, to = 17.6 }]
"#;

/// A folder of its own for a test, empty.
fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pasidon-sweep-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    path
}

fn sweep() -> Sweep {
    Sweep::parse(SWEEP, Path::new("l2.toml")).unwrap()
}

/// What the made-up engine answers: something that depends on the experiment alone.
fn made_up(experiment: &Experiment) -> Answer {
    let sets = experiment.design["tlb"]["l2_sets"].as_u64().unwrap();
    let latency = u64::from(experiment.machine.tables.latency);
    let counts = Counts {
        accesses: 1000,
        l1: CacheCounts { lookups: 1000, hits: 900, ..CacheCounts::default() },
        l2: CacheCounts { lookups: 100, hits: sets.min(60), ..CacheCounts::default() },
        walks: 100 - sets.min(60),
        reads: Reads { first_stage: [100, 3, 1, 0, 0], ..Reads::default() },
        ..Counts::default()
    };
    let breakdown =
        Breakdown { l1: 2000, table_memory: latency * 100, data: latency * 1000, ..Breakdown::default() };
    let latency_summary = LatencySummary {
        min: 2,
        p50: 2,
        p99: latency,
        max: latency,
        histogram: vec![(2, 900), (latency, 100)],
    };
    let times = Times {
        cycles: 1000 + latency * 10,
        bare: 1000,
        breakdown,
        latency: latency_summary,
        estimated: false,
    };
    Answer {
        experiment: experiment.clone(),
        design_hash: design_of(&experiment.design).unwrap().nameless_hash(),
        version: "0".into(),
        sources: Vec::new(),
        engine: Engine::Fast,
        counts,
        times: Some(times),
        imagined: Vec::new(),
        deviation: None,
        wall_seconds: 0.25,
    }
}

fn options() -> RunOptions {
    RunOptions { jobs: 2, shard: None, retry: false, progress: false }
}

fn go(out: &Path, options: &RunOptions) -> Outcome {
    run(&sweep(), out, options, &|experiment| Ok(made_up(experiment)), &AtomicBool::new(false)).unwrap()
}

#[test]
fn points_are_all_combinations_that_the_conditions_let_through() {
    let points = sweep().points().unwrap();
    // 3 x 2 x 2 x 2, without 2 sets and 4 walkers.
    assert_eq!(points.len(), 24 - 4);
    assert!(points.iter().enumerate().all(|(index, point)| point.index == index));
    let last = points.last().unwrap();
    assert_eq!(last.axes[0], ("l2_sets".to_string(), "64".to_string()));
    assert_eq!((last.experiment.machine.tables.latency, last.experiment.machine.data.latency), (100, 100));
    assert_eq!(last.experiment.design["walk"]["walkers"], 4);
    assert_eq!(last.experiment.jobs[0].process, 1);
    let mut ids: Vec<&str> = points.iter().map(|point| point.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), points.len());
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    let wrong = |from: &str, to: &str| {
        let text = SWEEP.replace(from, to);
        assert_ne!(text, SWEEP, "{from} is not in the file");
        match Sweep::parse(&text, Path::new("l2.toml")).and_then(|sweep| sweep.points()) {
            Ok(_) => panic!("{to} was accepted"),
            Err(error) => error.to_string(),
        }
    };
    for (from, to, told) in [
        ("design.tlb.l2_sets", "design.tlb.l2_set", "did you mean 'l2_sets'"),
        ("values = [0, 2, 64]", "values = [0, 3, 64]", "l2_sets = 3"),
        ("values = [10, 100]", "values = [0]", "machine.tables.latency = 0"),
        ("jobs.0.process\" = 1", "jobs.0.depth\" = 0", "jobs.0.depth = 0"),
        ("values = [1, 4]", "values = []", "\"walkers\" has no values"),
        ("walkers <= l2_sets", "walker <= l2_sets", "only = "),
        ("|| l2_sets == 0", "&& l2_sets == 1", "no combination"),
        ("x = \"latency\"", "x = \"latencies\"", "an axis \"latencies\" that does not exist"),
        ("jobs.0.process", "jobs.7.process", "none of the 1 places"),
        ("jobs.0.process", "jobs.0.proces", "proces"),
        ("question", "qestion", "qestion"),
        ("name = \"walkers\"", "name = \"l2_sets\"", "two axes are called"),
        ("design = \"default\"", "design = \"defualt\"", "defualt"),
    ] {
        let error = wrong(from, to);
        assert!(error.contains(told), "{to}: {error}");
    }
}

#[test]
fn killed_anywhere_and_resumed_nothing_is_repeated_or_lost() {
    let out = folder("killed");
    let calls = AtomicUsize::new(0);
    for kill_after in [3, 6, 1, 1000] {
        let stop = AtomicBool::new(false);
        let begun = calls.load(Ordering::SeqCst);
        let answer = |experiment: &Experiment| {
            if calls.fetch_add(1, Ordering::SeqCst) + 1 - begun >= kill_after {
                stop.store(true, Ordering::SeqCst);
            }
            Ok(made_up(experiment))
        };
        let outcome = run(&sweep(), &out, &options(), &answer, &stop).unwrap();
        assert_eq!(outcome.stopped, kill_after != 1000);
        // A crash in the middle of a line.
        let file = out.join(file_name(None));
        let mut text = std::fs::read(&file).unwrap();
        if kill_after == 6 {
            let last = text[..text.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap();
            let cut = last + (text.len() - last) / 2;
            text.truncate(cut);
            std::fs::write(&file, text).unwrap();
        }
    }
    assert_eq!(
        calls.load(Ordering::SeqCst),
        20 + 1,
        "every point once, and the one whose line was cut off again"
    );
    assert_eq!(read_folder(&out).unwrap().len(), 20);
    let again = go(&out, &options());
    assert_eq!((again.kept, again.answered, again.stopped), (20, 0, false));
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_point_that_fails_or_panics_is_told_and_the_others_go_on() {
    let out = folder("failing");
    let answer = |experiment: &Experiment| {
        let design = &experiment.design;
        match (design["tlb"]["l2_sets"].as_u64(), design["walk"]["walkers"].as_u64()) {
            (Some(64), Some(4)) => Err("no such thing".to_string()),
            (Some(0), Some(4)) => panic!("an engine's mistake"),
            _ => Ok(made_up(experiment)),
        }
    };
    let first = run(&sweep(), &out, &options(), &answer, &AtomicBool::new(false)).unwrap();
    assert_eq!((first.answered, first.failed.len(), first.stopped), (12, 8, false));
    assert!(
        first
            .failed
            .iter()
            .any(|(place, error)| place.contains("l2_sets = 0") && error.contains("an engine's mistake"))
    );
    let kept = go(&out, &options());
    assert_eq!(
        (kept.kept, kept.answered, kept.failed.len()),
        (12, 0, 8),
        "they are not tried again by themselves"
    );
    let merged = collect(&sweep(), &out).unwrap();
    assert_eq!((merged.failed().count(), merged.missing.len()), (8, 0));
    let retried = go(&out, &RunOptions { retry: true, ..options() });
    assert_eq!((retried.kept, retried.answered, retried.failed.len()), (12, 8, 0));
    assert_eq!(collect(&sweep(), &out).unwrap().failed().count(), 0);
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn a_file_that_changes_while_a_sweep_runs_is_told() {
    let out = folder("changed");
    let of_file = |sha256: &'static str| {
        move |experiment: &Experiment| {
            let source = Source { path: "a.trace".into(), sha256: sha256.into() };
            Ok(Answer { sources: vec![source], ..made_up(experiment) })
        }
    };
    let calls = AtomicUsize::new(0);
    let changes = |experiment: &Experiment| {
        let first = calls.fetch_add(1, Ordering::SeqCst) < 5;
        if first { of_file("1")(experiment) } else { of_file("2")(experiment) }
    };
    let one = RunOptions { jobs: 1, ..options() };
    let outcome = run(&sweep(), &out, &one, &changes, &AtomicBool::new(false)).unwrap();
    assert_eq!((outcome.answered, outcome.failed.len()), (5, 15));
    assert!(outcome.failed[0].1.contains("a.trace: the file is not that of the other points"), "{outcome:?}");
    // A later run knows what the first had.
    let retry = RunOptions { retry: true, ..options() };
    let outcome = run(&sweep(), &out, &retry, &of_file("2"), &AtomicBool::new(false)).unwrap();
    assert_eq!((outcome.kept, outcome.answered, outcome.failed.len()), (5, 0, 15));
    let outcome = run(&sweep(), &out, &retry, &of_file("1"), &AtomicBool::new(false)).unwrap();
    assert_eq!((outcome.kept, outcome.answered, outcome.failed.len()), (5, 15, 0));
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn shares_merge_to_the_bytes_of_one_run() {
    let (whole, shared) = (folder("whole"), folder("shared"));
    go(&whole, &options());
    for index in 1..=3 {
        let outcome = go(&shared, &RunOptions { shard: Some((index, 3)), jobs: 1, ..options() });
        assert_eq!(outcome.points, outcome.answered);
        let missing = collect(&sweep(), &shared).unwrap().missing.len();
        let (tasks, open) = unfinished(&sweep(), &shared, 3).unwrap();
        assert_eq!((tasks, open), (((index + 1)..=3).collect(), missing));
    }
    for folder in [&whole, &shared] {
        write(&collect(&sweep(), folder).unwrap(), folder).unwrap();
    }
    for name in ["results.jsonl", "results.csv"] {
        let [a, b] = [&whole, &shared].map(|folder| std::fs::read(folder.join(name)).unwrap());
        assert!(a == b && !a.is_empty(), "{name} differs");
    }
    let csv = std::fs::read_to_string(whole.join("results.csv")).unwrap();
    assert!(
        csv.starts_with("point,id,axis.l2_sets,axis.walkers,axis.latency,axis.work,engine,error,accesses,"),
        "{csv}"
    );
    assert_eq!(csv.lines().count(), 21);
    for folder in [whole, shared] {
        std::fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn results_that_somebody_else_writes_or_that_are_damaged_are_refused() {
    let out = folder("damaged");
    go(&out, &options());
    let file = out.join(file_name(None));
    let held = pasidon_study::sweep::store::Store::open(&file).unwrap();
    let refused = run(&sweep(), &out, &options(), &|e| Ok(made_up(e)), &AtomicBool::new(false)).unwrap_err();
    assert!(refused.to_string().contains("another process"), "{refused}");
    drop(held);
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("not a result\n{text}")).unwrap();
    let refused = read_folder(&out).unwrap_err().to_string();
    assert!(refused.contains("line 1") && refused.contains("remove the line"), "{refused}");
    std::fs::remove_dir_all(out).unwrap();
}

/// An area for each design of a sweep, of the Verilog with the hash that `verilog` gives.
fn areas(sweep: &Sweep, verilog: fn(&Distinct) -> String) -> Areas {
    let area = |(i, design): (usize, Distinct)| {
        let area = Area { lut4: 9000 + 1000 * i as u64, verilog: verilog(&design), ..Area::default() };
        (design.hash, vec![area])
    };
    Areas(sweep.designs().unwrap().into_iter().enumerate().map(area).collect())
}

fn verilog_of_today(design: &Distinct) -> String {
    pasidon_rtl::generate(&design.design).unwrap().verilog_hash
}

#[test]
fn the_report_has_pictures_and_every_run_and_asks_nobody_for_anything() {
    let out = folder("report");
    go(&out, &options());
    let sweep = sweep();
    let merged = collect(&sweep, &out).unwrap();
    let designs = sweep.designs().unwrap();
    let labels: Vec<&str> = designs.iter().map(|design| design.label.as_str()).collect();
    assert_eq!(
        labels,
        [
            "l2_sets 0, walkers 1",
            "l2_sets 0, walkers 4",
            "l2_sets 2, walkers 1",
            "l2_sets 64, walkers 1",
            "l2_sets 64, walkers 4"
        ]
    );
    assert_eq!(designs.iter().map(|design| design.points).sum::<usize>(), 20);
    // What was synthesised before the hardware changed is as if it had not been.
    let without = Report::new(&sweep, &merged, &areas(&sweep, |_| "of another day".into()));
    assert!(
        without.remarks.iter().any(|remark| remark.contains("make areas SWEEP=l2.toml")),
        "{:?}",
        without.remarks
    );
    assert!(without.pictures.iter().all(|picture| picture.name != "pareto"));
    let areas = areas(&sweep, verilog_of_today);
    let report = Report::new(&sweep, &merged, &areas);
    assert_eq!(report.remarks, Vec::<String>::new());
    let names: Vec<&str> = report.pictures.iter().map(|picture| picture.name.as_str()).collect();
    for name in [
        "overhead",
        "misses",
        "breakdown",
        "latency",
        "pareto",
        "l2-hit-rate-over-l2-sets",
        "accesses-per-cycle-over-walkers",
    ] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    let page = html::page(&report);
    for foreign in ["http://", "https://", "src=", "@import", "url("] {
        let found = page
            .match_indices(foreign)
            .find(|(at, _)| !page[*at..].starts_with("http://www.w3.org/2000/svg"));
        assert!(found.is_none(), "{foreign} in the page");
    }
    assert_eq!(page.matches("<tr data-run=").count(), 20);
    assert!(page.contains("somebody") && page.contains("prefers-color-scheme: dark"));
    let json = page.split("id=\"runs\">").nth(1).unwrap().split("</script>").next().unwrap();
    let runs: serde_json::Value = serde_json::from_str(json).unwrap();
    assert_eq!(runs.as_object().unwrap().len(), 20);
    let text = terminal::summary(&report);
    assert!(text.contains("20 points answered") && text.contains("overhead %"), "{text}");
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn every_picture_has_a_file_name_of_its_own() {
    let out = folder("names");
    go(&out, &options());
    let chart = |title: &str| format!("[[chart]]\ntitle = \"{title}\"\nx = \"latency\"\ny = \"walks\"\n");
    // Equal titles, titles that differ in what file names leave out, one that leaves nothing, and one that the report has itself.
    let titles = ["Overhead", "overhead!", "Misses", "…", "?"].map(chart).concat();
    let sweep = Sweep::parse(&format!("{SWEEP}\n{titles}"), Path::new("l2.toml")).unwrap();
    let merged = collect(&sweep, &out).unwrap();
    let report = Report::new(&sweep, &merged, &Areas::default());
    let names: Vec<&str> = report.pictures.iter().map(|picture| picture.name.as_str()).collect();
    assert_eq!(names[..6], ["overhead", "overhead-2", "overhead-3", "misses", "picture", "picture-2"]);
    assert!(names.contains(&"misses-2"), "{names:?}");
    let different: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(different.len(), names.len(), "{names:?}");
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn job_scripts_name_the_program_the_share_and_the_merge() {
    let out = folder("it's slurm");
    let options = SlurmOptions {
        program: "/opt/pasidon".into(),
        tasks: 8,
        at_once: Some(2),
        cores: 1,
        sbatch: Vec::new(),
        wait: false,
    };
    let [task, merge] = write_scripts(&sweep(), &out, &options).unwrap();
    let text = std::fs::read_to_string(&task).unwrap();
    assert!(
        text.contains("'/opt/pasidon' sweep run") && text.contains("\"$SLURM_ARRAY_TASK_ID/8\""),
        "{text}"
    );
    assert!(std::fs::read_to_string(&merge).unwrap().contains("sweep merge"));
    for script in [task, merge] {
        // The quotation mark in the folder's name is no end of a word.
        let checked = std::process::Command::new("sh").arg("-n").arg(&script).status().unwrap();
        assert!(checked.success(), "{}", script.display());
    }
    std::fs::remove_dir_all(out).unwrap();
}

#[test]
fn copies_of_a_job_are_processes() {
    let text = SWEEP.replace(
        r#"jobs = [{ work = { trace = "traces/sort.trace.gz" } }]"#,
        r#"jobs = [{ copies = 3, process = 5, work = { trace = "traces/sort.trace.gz" } }, { work = { trace = "traces/sort.trace.gz" } }]"#,
    );
    let points = Sweep::parse(&text, Path::new("l2.toml")).unwrap().points().unwrap();
    let processes: Vec<u32> = points[0].experiment.jobs.iter().map(|job| job.process).collect();
    assert_eq!(processes, [5, 6, 7, 0]);
    let none = Sweep::parse(&text.replace("copies = 3", "copies = 0"), Path::new("l2.toml")).unwrap();
    let error = none.points().unwrap_err().to_string();
    assert!(error.contains("jobs.0.copies = 0"), "{error}");
}
