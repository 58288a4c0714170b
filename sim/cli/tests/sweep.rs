//! `pasidon sweep` and `pasidon report` as a user has them: killed, called again, put together, drawn.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Two hundred points.
const SWEEP: &str = r#"
name = "killed"
[base]
design = "default"
engine = "fast"
jobs = [{ work = { gemm = { m = 64, n = 64, k = 64 } }, accesses = 20000 }]
[[axis]]
name = "l1_entries"
keys = ["design.tlb.l1_entries"]
values = [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64]
[[axis]]
name = "latency"
keys = ["machine.tables.latency"]
values = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
[[chart]]
title = "Same"
x = "latency"
y = "walks"
[[chart]]
title = "Same"
x = "l1_entries"
y = "walks"
"#;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pasidon-cli-sweep-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn pasidon(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pasidon"));
    command.current_dir(folder).stdin(Stdio::null());
    command
}

fn ok(mut command: Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{told}{}", String::from_utf8_lossy(&output.stderr));
    told
}

fn lines(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    // The last line may be cut off.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn two_hundred_points_killed_three_times_none_repeated_or_lost() {
    let folder = folder("killed");
    std::fs::write(folder.join("s.toml"), SWEEP).unwrap();
    let results = folder.join("s.results/points.jsonl");
    let run = || {
        let mut command = pasidon(&folder);
        command.args(["sweep", "run", "s.toml", "--jobs", "2", "--quiet"]);
        command
    };
    for wanted in [20, 70, 130] {
        let mut child = run().stdout(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        while lines(&results).len() < wanted && begun.elapsed() < Duration::from_secs(120) {
            std::thread::sleep(Duration::from_millis(2));
        }
        // SIGKILL: nothing is cleaned up.
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lines(&results).len() >= wanted, "the points take more than two minutes");
    }
    let told = ok(run());
    assert!(told.contains("200 points"), "{told}");
    let mut points: Vec<u64> = lines(&results).iter().map(|line| line["point"].as_u64().unwrap()).collect();
    points.sort_unstable();
    assert_eq!(points, (0..200).collect::<Vec<u64>>(), "each point is there once");
    assert_eq!(lines(&folder.join("s.results/results.jsonl")).len(), 200);

    // The same from one call gives the same bytes.
    let mut once = run();
    once.args(["--out", "once"]);
    ok(once);
    for name in ["results.jsonl", "results.csv"] {
        let [a, b] = ["s.results", "once"].map(|place| std::fs::read(folder.join(place).join(name)).unwrap());
        assert!(a == b, "{name} depends on how the sweep was run");
    }

    let mut report = pasidon(&folder);
    report.args(["report", "s.toml", "--html", "r.html", "--pictures", "pictures"]);
    let told = ok(report);
    assert!(told.contains("200 points answered, 0 failed, 0 missing"), "{told}");
    let pictures = std::fs::read_to_string(folder.join("r.html")).unwrap().matches("<svg").count();
    assert!(pictures >= 8, "{pictures}");
    let files = std::fs::read_dir(folder.join("pictures")).unwrap().count();
    assert_eq!(files, 2 * pictures, "each picture has an SVG and a PNG of its own");
    for name in ["misses", "same", "same-2"] {
        let png = std::fs::read(folder.join("pictures").join(name).with_extension("png")).unwrap();
        assert!(png.starts_with(b"\x89PNG"), "{name}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_is_wrong_is_told_in_one_sentence() {
    let folder = folder("wrong");
    std::fs::write(folder.join("s.toml"), SWEEP).unwrap();
    std::fs::write(folder.join("key.toml"), SWEEP.replace("l1_entries\"]", "l1_entrys\"]")).unwrap();
    for (arguments, told) in [
        (&["sweep", "run", "none.toml"][..], "none.toml: No such file"),
        (&["sweep", "run", "key.toml"], "did you mean 'l1_entries'"),
        (&["sweep", "run", "s.toml", "--shard", "3/2"], "write I/N with I from 1 to N"),
        (&["sweep", "points", "s.toml", "--point", "200"], "the points are 0 to 199"),
        (&["sweep", "merge", "s.toml"], "200 are missing"),
        (&["report", "s.toml"], "`pasidon sweep run s.toml` makes them"),
    ] {
        let output = pasidon(&folder).args(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(told), "{arguments:?}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_sweeps_of_the_repository_are_possible() {
    for entry in std::fs::read_dir(Path::new(ROOT).join("tests/sweeps")).unwrap() {
        let mut command = pasidon(Path::new(ROOT));
        command.args(["sweep", "points"]).arg(entry.unwrap().path());
        assert!(!ok(command).is_empty());
    }
}

#[test]
fn a_reader_who_leaves_ends_it_without_a_word() {
    let folder = folder("pipe");
    std::fs::write(folder.join("s.toml"), SWEEP).unwrap();
    let mut command = pasidon(&folder);
    command.args(["sweep", "points", "s.toml"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    std::fs::remove_dir_all(folder).unwrap();
}
