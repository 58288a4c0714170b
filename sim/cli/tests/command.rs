//! The `pasidon` command as a user meets it: what it does on simulated hardware, and what it says about bad input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn pasidon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pasidon"));
    command.args(arguments);
    command
}

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("pasidon-command-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a temporary directory");
    path
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// Two programs that use the same addresses, cross pages, and overwrite what they read.
fn trace(dir: &Path) -> PathBuf {
    let mut csv = String::from("pasid,op,address,size\n");
    for i in 0..400u64 {
        let address = 0x10_0000 + i * 1733 % 0x9000;
        let op = ["R", "W", "M", "R", "X"][i as usize % 5];
        csv.push_str(&format!("{},{op},{address:#x},{}\n", i % 2, [1, 2, 4, 8, 16, 64][i as usize % 6]));
    }
    let path = dir.join("two.csv");
    std::fs::write(&path, csv).expect("a file");
    path
}

/// Runs to the end without success, and says one thing that contains all of `parts`.
fn fails(command: &mut Command, parts: &[&str]) {
    let output = command.output().expect("the command starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{said}");
    assert!(said.starts_with("error: ") && !said.contains("panicked"), "{said}");
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}

fn succeeds(command: &mut Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn every_byte_is_right_and_isolation_holds() {
    let dir = scratch("run");
    let trace = trace(&dir);
    let run = |json: &str, more: &[&str]| {
        let file = dir.join(json);
        succeeds(
            pasidon(&["run", "--design", "tiny", "--trace", text(&trace), "--json", text(&file)]).args(more),
        );
        let json = std::fs::read_to_string(&file).expect("a report");
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")
    };
    let report = run("a.json", &["--requests", "3000"]);
    assert_eq!(report["requests"], 3000);
    assert_eq!((&report["mismatches"], &report["faults"]), (&0.into(), &0.into()));
    assert_eq!(report["binds"].as_array().map(Vec::len), Some(4));
    for key in ["cycles", "translations_per_cycle", "walks", "memory_reads", "sim_cycles_per_second"] {
        assert!(report[key].as_f64().is_some_and(|n| n > 0.0), "{key}");
    }
    assert_eq!(report["iotlb"]["lookups"].as_u64().map(|n| n >= 3000), Some(true));
    assert!(report["latency"]["min"].as_u64() <= report["latency"]["p50"].as_u64());
    assert!(report["latency"]["p99"].as_u64() <= report["latency"]["max"].as_u64());
    let checks = report["isolation"].as_array().expect("checks");
    assert!(checks.len() >= 5 && checks.iter().all(|check| check["passed"] == true), "{checks:?}");

    // Reproducible; the speed of the host is the one thing that is not.
    let mut again = run("b.json", &["--requests", "3000"]);
    again["sim_cycles_per_second"] = report["sim_cycles_per_second"].clone();
    assert_eq!(again, report);

    // Overtaking answers, other frames, long latency, big pages: other cycles, and still all is right.
    let more = ["--jitter", "90", "--latency", "60", "--seed", "5", "--huge-pages", "--depth", "2"];
    let other = run("c.json", &more);
    assert!(other["cycles"] != report["cycles"] && other["mismatches"] == 0);
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn a_report_is_enough_to_repeat_the_run() {
    let dir = scratch("repeat");
    let (trace, file) = (trace(&dir), dir.join("report.json"));
    let two = format!("trace={},process=1,device=1,gap=3,accesses=70", text(&trace));
    let one = format!("trace={},channels=2,depth=3", text(&trace));
    let arguments =
        ["run", "--design", "tiny", "--job", &one, "--job", &two, "--json", text(&file), "--counters"];
    let memory =
        ["--table-latency", "40", "--data-memory", "16,4,3", "--cache", "bytes=8192,ways=2,latency=4"];
    let said = succeeds(pasidon(&arguments).args(memory));
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for row in ["L1 TLBs", "without translation", "time of accesses", "last-level cache"] {
        assert!(said.contains(row), "{row} is missing in {said}");
    }
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&file).expect("a report")).expect("JSON");
    assert_eq!(report["binds"].as_array().map(Vec::len), Some(2));
    let again = succeeds(&mut pasidon(&["run", "--repeat", text(&file)]));
    assert!(String::from_utf8_lossy(&again.stdout).contains("everything was equal"));

    let mut other = report.clone();
    other["cycles"] = 7.into();
    std::fs::write(&file, other.to_string()).expect("a file");
    fails(&mut pasidon(&["run", "--repeat", text(&file)]), &["not the same", "cycles: 7 then"]);
    std::fs::write(&file, report.to_string()).expect("a file");
    std::fs::write(&trace, "0,R,4096,8\n0,R,8192,8\n").expect("a file");
    fails(&mut pasidon(&["run", "--repeat", text(&file)]), &["two.csv: the file has changed"]);
    std::fs::write(&file, "{}").expect("a file");
    fails(&mut pasidon(&["run", "--repeat", text(&file)]), &["no report of pasidon run"]);
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn an_experiment_is_a_file() {
    let dir = scratch("experiment");
    let (trace, file, json) = (trace(&dir), dir.join("question.toml"), dir.join("answer.json"));
    let toml = |pages: &str| {
        let jobs = format!("[[jobs]]\nwork = {{ trace = \"{}\" }}\naccesses = 64\n", text(&trace));
        let design = "[design]\nbase = \"tiny\"\n[design.tlb]\nl1_entries = 4\n";
        format!("seed = 3\n{design}[machine.tables]\nlatency = 50\n[pages]\n{pages}\n{jobs}")
    };
    std::fs::write(&file, toml("size = \"64k\"")).expect("a file");
    succeeds(&mut pasidon(&["run", "--experiment", text(&file), "--json", text(&json)]));
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&json).expect("a report")).expect("JSON");
    assert_eq!((&report["requests"], &report["memory_latency"]), (&64.into(), &50.into()));
    let breakdown = report["breakdown"].as_object().expect("a breakdown");
    assert!(breakdown.values().filter_map(serde_json::Value::as_u64).sum::<u64>() > 64 * 20);
    std::fs::write(&file, toml("demand = true")).expect("a file");
    fails(&mut pasidon(&["run", "--experiment", text(&file)]), &["ats.ats = true"]);
    std::fs::write(&file, "sed = 3").expect("a file");
    fails(&mut pasidon(&["run", "--experiment", text(&file)]), &["question.toml", "sed"]);
    fails(&mut pasidon(&["run", "--experiment", text(&dir.join("none.toml"))]), &["none.toml"]);
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn devices_fault_their_pages_in() {
    let dir = scratch("paging");
    let (trace, file) = (trace(&dir), dir.join("report.json"));
    let run = |more: &[&str]| {
        let arguments = ["run", "--trace", text(&trace), "--requests", "2000", "--json", text(&file)];
        succeeds(pasidon(&arguments).args(more));
        let json = std::fs::read_to_string(&file).expect("a report");
        serde_json::from_str::<serde_json::Value>(&json).expect("JSON")
    };
    // Eighteen pages in eight frames, each some time away.
    let report = run(&["--frames", "8", "--io", "700"]);
    assert_eq!((&report["mismatches"], &report["faults"]), (&0.into(), &0.into()));
    assert_eq!((&report["requests"], &report["findings"]), (&2000.into(), &serde_json::json!([])));
    let number = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key}"));
    let (groups, requests) = (number("groups"), number("page_requests"));
    assert!(groups >= 18 && requests >= groups);
    assert_eq!(report["responses"], serde_json::json!({ "success": groups, "invalid": 0, "failure": 0 }));
    assert!(number("page_ins") >= 18 && number("page_outs") >= 10 && number("invalidations") >= 10);
    assert_eq!(number("mm_exits"), 4);
    let latency = &report["pr_latency"];
    assert!(latency["p50"].as_u64() <= latency["p99"].as_u64() && latency["p99"].as_u64() > Some(700));
    for call in ["bind", "unbind", "shoot_down"] {
        assert!(report["costs"][call]["operations"].as_u64() > Some(0), "{call}");
    }
    let checks = report["isolation"].as_array().expect("checks");
    assert!(checks.len() == 9 && checks.iter().all(|check| check["passed"] == true), "{checks:#?}");

    // The same with all pages there: nobody asks.
    let report = run(&["--resident"]);
    assert_eq!((&report["page_requests"], &report["mismatches"]), (&0.into(), &0.into()));
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn bad_traces_are_named() {
    let dir = scratch("traces");
    let packed = dir.join("p.trace.gz");
    succeeds(&mut pasidon(&[
        "trace",
        "import",
        text(&trace(&dir)),
        "--out",
        text(&packed),
        "--instructions",
    ]));
    let info = succeeds(&mut pasidon(&["trace", "info", text(&packed)]));
    assert!(String::from_utf8_lossy(&info.stdout).contains("accesses  400"));

    let cut = dir.join("cut.trace.gz");
    let whole = std::fs::read(&packed).expect("a trace");
    std::fs::write(&cut, &whole[..whole.len() / 2]).expect("a file");
    fails(
        &mut pasidon(&["run", "--design", "tiny", "--trace", text(&cut)]),
        &["cut.trace.gz: byte ", "cut short"],
    );
    let foreign = dir.join("foreign.trace.gz");
    std::fs::write(&foreign, "PNG?").expect("a file");
    fails(
        &mut pasidon(&["trace", "info", text(&foreign)]),
        &["byte 0", "not a Pasidon trace", "trace import"],
    );
    fails(&mut pasidon(&["trace", "info", "nowhere.trace.gz"]), &["nowhere.trace.gz"]);
    let log = dir.join("x.log");
    std::fs::write(&log, " L 10,4\nhello\n").expect("a file");
    fails(
        &mut pasidon(&["trace", "import", text(&log), "--out", text(&cut)]),
        &["x.log: line 2", "log-file"],
    );
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn missing_tools_and_rights_are_told_with_the_mend() {
    let dir = scratch("tools");
    let trace = trace(&dir);
    let run = ["run", "--design", "tiny", "--trace", text(&trace)];
    fails(
        pasidon(&run).env("VERILATOR", "no-such-verilator"),
        &["no-such-verilator is not installed", "apt-get"],
    );
    // A file in the way refuses root too, as rights would not.
    fails(pasidon(&run).env("PASIDON_TARGET", &trace), &["two.csv", "PASIDON_TARGET"]);
    fails(&mut pasidon(&["generate", "--design", "tiny", "--out", text(&trace)]), &["two.csv"]);
    fails(
        &mut pasidon(&["generate", "--design", "no-such-design", "--out", text(&dir)]),
        &["no-such-design"],
    );
    let toml = dir.join("bad.toml");
    std::fs::write(&toml, "base = \"tiny\"\nname = \"bad\"\n[walk]\nwalkers = 0\n").expect("a file");
    fails(&mut pasidon(&["generate", "--design", text(&toml), "--out", text(&dir)]), &["walkers", "0"]);
    fails(
        &mut pasidon(&["generate", "--design", "tiny", "--out", text(&dir), "--top", "soc"]),
        &["--top soc", "there is iommu"],
    );
    fails(
        &mut pasidon(&["generate", "--design", "tiny", "--out", text(&dir), "--prefix", "2_"]),
        &["--prefix", "emit.prefix = \"2_\"", "a letter first", "north_"],
    );
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn generation_is_deterministic() {
    let dir = scratch("generate");
    let files = ["a", "b"].map(|name| {
        let out = dir.join(name);
        succeeds(&mut pasidon(&["generate", "--design", "tiny", "--out", text(&out)]));
        ["pasidon.v", "design.json"].map(|file| std::fs::read(out.join(file)).expect("a file"))
    });
    assert!(files[0] == files[1] && files[0][0].len() > 10_000);
    std::fs::remove_dir_all(dir).expect("removal");
}

/// The names that follow `word` at the beginning of a line.
fn names_after<'a>(verilog: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    verilog.lines().filter_map(move |line| line.strip_prefix(word)?.split_whitespace().next())
}

#[test]
fn each_module_has_a_file_of_its_own_that_the_list_names_before_its_users() {
    let out = scratch("split");
    succeeds(&mut pasidon(&["generate", "-d", "tiny", "-o", text(&out), "--split", "--prefix", "north_"]));
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
    let (whole, list) = (read("pasidon.v"), read("north_iommu.f"));
    let files: Vec<&str> = list.lines().collect();
    let mut known = Vec::new();
    for file in &files {
        let module = file.strip_suffix(".v").expect("a Verilog file");
        let text = read(file);
        assert!(text.starts_with("// SPDX-License-Identifier: Apache-2.0\n// Pasidon "), "{file}");
        assert!(!text.contains("DECLFILENAME"), "{file}");
        assert_eq!(names_after(&text, "module ").collect::<Vec<_>>(), [module]);
        assert!(module.starts_with("north_"), "{module}");
        for user in names_after(&text, "  north_").map(|rest| format!("north_{rest}")) {
            assert!(known.contains(&user), "{user} stands in {module} and not before it in the list");
        }
        known.push(module.to_string());
    }
    assert_eq!(names_after(&whole, "module ").collect::<Vec<_>>(), known);
    assert_eq!(files.last(), Some(&"north_iommu.v"));
    std::fs::remove_dir_all(out).expect("removal");
}

#[test]
fn workloads_are_listed_and_shown() {
    let dir = scratch("workloads");
    let list = succeeds(&mut pasidon(&["workload", "list"]));
    assert!(String::from_utf8_lossy(&list.stdout).contains("merge_sort"));
    let (json, svg) = (dir.join("w.json"), dir.join("w.svg"));
    let show =
        ["workload", "show", "memcpy", "--set", "bytes=1m", "--json", text(&json), "--svg", text(&svg)];
    let shown = succeeds(&mut pasidon(&show));
    let shown = String::from_utf8_lossy(&shown.stdout);
    assert!(shown.contains("accesses  8192") && shown.contains("by default 67108864"), "{shown}");
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
    assert_eq!(report["portrait"]["bytes"], 2 << 20);
    assert_eq!(report["work"]["memcpy"]["bytes"], 1 << 20);
    assert!(std::fs::read_to_string(&svg).expect("a picture").starts_with("<svg"));

    let show = |more: &[&str]| pasidon(&["workload", "show"].iter().chain(more).copied().collect::<Vec<_>>());
    succeeds(&mut show(&[text(&trace(&dir))]));
    fails(&mut show(&["memcopy"]), &["memcopy", "memcpy", "nor is there a file"]);
    fails(
        &mut show(&["gemm", "--set", "burst=100"]),
        &["work.gemm.burst = 100", "a power of two, 64 to 4096"],
    );
    fails(&mut show(&["gemm", "--set", "tile=1"]), &["gemm has no \"tile\"", "tile_m"]);
    std::fs::remove_dir_all(dir).expect("removal");
}

#[test]
fn traces_of_any_form_are_imported_and_exported() {
    let dir = scratch("forms");
    let packets = dir.join("packets.txt");
    std::fs::write(&packets, "1,r,4096,64,2,1000\n2,u,4096,64,0,1500\n3,w,8192,32,2,3000\n").expect("a file");
    let packed = dir.join("p.trace.zst");
    succeeds(&mut pasidon(&["trace", "import", text(&packets), "--out", text(&packed), "--pace", "500"]));
    let csv = succeeds(&mut pasidon(&["trace", "export", text(&packed)]));
    assert_eq!(
        String::from_utf8_lossy(&csv.stdout),
        "pasid,op,address,size,gap\n0,R,0x1000,64,0\n0,W,0x2000,32,4\n"
    );
    std::fs::remove_dir_all(dir).expect("removal");
}
