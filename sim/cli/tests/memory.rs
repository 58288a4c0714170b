//! However long a trace is, a run of it takes the same memory, whichever engine runs it.
//!
//! Each run is a process of its own, whose peak is read while it runs.

use std::fmt::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Accesses of the shorter trace and of the longer one.
const LENGTHS: [u64; 2] = [250_000, 1_000_000];
/// Most memory that a run may take, in KiB.
const LIMIT: u64 = 200 << 10;
/// How much more the longer one may take, in KiB: eleven bytes for each access more.
const GROWTH: u64 = 8 << 10;

/// Reads and writes in 16 pages.
fn trace(file: &Path, accesses: u64) {
    let mut text = String::from("pasid,op,address,size\n");
    for i in 0..accesses {
        let op = if i % 3 == 0 { 'W' } else { 'R' };
        writeln!(text, "0,{op},{},8", 0x10_0000 + i * 40 % 0x1_0000).expect("memory");
    }
    std::fs::write(file, text).expect("space");
}

/// Most memory that a process has had so far, in KiB; nothing once it has ended.
fn peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Peak of a run of the trace, in KiB.
fn run(folder: &Path, engine: &str, accesses: u64) -> u64 {
    let sweep = format!(
        "name = \"memory\"\n[base]\ndesign = \"default\"\nengine = \"{engine}\"\n[base.machine.data]\nlatency = 1\n\
         [[base.jobs]]\nwork = {{ trace = \"{accesses}.csv\" }}\n\
         [[axis]]\nname = \"latency\"\nkeys = [\"machine.tables.latency\"]\nvalues = [20]\n"
    );
    let name = format!("{engine}-{accesses}");
    std::fs::write(folder.join(format!("{name}.toml")), sweep).expect("space");
    let mut child = Command::new(env!("CARGO_BIN_EXE_pasidon"))
        .args(["sweep", "run", &format!("{name}.toml"), "--out", &name, "--jobs", "1", "--quiet"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command starts");
    let mut most = 0;
    let ended = loop {
        most = most.max(peak(&child).unwrap_or(0));
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(ended.success(), "{name}: {ended}");
    let line = std::fs::read_to_string(folder.join(&name).join("results.jsonl")).expect("results");
    let result: serde_json::Value = serde_json::from_str(&line).expect("one line");
    assert_eq!(result["answer"]["counts"]["accesses"], accesses, "{name}: {line}");
    println!("{name}: {most} KiB at most");
    most
}

#[test]
fn a_longer_trace_takes_no_more_memory() {
    let folder = std::env::temp_dir().join(format!("pasidon-cli-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    for accesses in LENGTHS {
        trace(&folder.join(format!("{accesses}.csv")), accesses);
    }
    for engine in ["counts", "fast", "rtl"] {
        let [short, long] = LENGTHS.map(|accesses| run(&folder, engine, accesses));
        assert!(short > 1 << 10, "{engine}: {short} KiB is no peak of a process");
        assert!(long < LIMIT, "{engine}: {long} KiB");
        assert!(long < short + GROWTH, "{engine}: {short} KiB for the shorter trace, {long} for the longer");
    }
    std::fs::remove_dir_all(folder).expect("removal");
}
