//! `pasidon coverage` and `pasidon replay` on the smallest design.

use std::path::PathBuf;
use std::process::Command;

fn pasidon(arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new(env!("CARGO_BIN_EXE_pasidon")).args(arguments).output().expect("the command starts");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.success(), said.concat())
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pasidon-{}-{name}", std::process::id()))
}

#[test]
fn coverage_counts_lines_and_toggles_of_each_module() {
    let file = scratch("coverage.json");
    let json = file.to_str().expect("a plain path");
    let few = ["coverage", "--design", "tiny", "--ops", "3000", "--seed", "5", "--seed", "6"];
    let (good, said) = pasidon(&[&few[..], &["--latency", "2", "--holes", "all", "--json", json]].concat());
    assert!(good && said.contains("0 mismatches"), "{said}");
    let text = std::fs::read_to_string(&file).expect("a report");
    std::fs::remove_file(&file).expect("it can be removed");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&report["design"], &report["mismatches"]), (&"tiny".into(), &0.into()));
    assert_eq!(report["seeds"], serde_json::json!([5, 6]));
    assert!(report["ops"].as_u64() >= Some(6000));
    let modules = report["modules"].as_array().expect("a list");
    for name in ["walker", "l1_tlb", "command_queue", "iommu"] {
        assert!(modules.iter().any(|module| module["module"] == name), "{name} is not in {modules:?}");
        assert!(said.contains(name), "{said}");
    }
    // Most is met by a few thousand operations, and not all: a hole says where it is.
    let [covered, lines] =
        ["lines_covered", "lines"].map(|name| report["total"][name].as_u64().expect("a number"));
    assert!(covered <= lines && 2 * covered > lines, "{covered} of {lines} lines");
    let [covered, toggles] =
        ["toggles_covered", "toggles"].map(|name| report["total"][name].as_u64().expect("a number"));
    assert!(covered < toggles && 2 * covered > toggles, "{covered} of {toggles} toggles");
    let holes = report["holes"].as_array().expect("a list");
    assert!(!holes.is_empty(), "some bit has not changed");
    assert!(
        holes.iter().all(|hole| hole["line"].as_u64() > Some(0) && hole["module"].is_string()),
        "{holes:?}"
    );
}

#[test]
fn a_replay_writes_a_waveform_and_says_that_all_is_well() {
    let (file, waves) = (scratch("replay.json"), scratch("replay.fst"));
    let ask = |iova: &str| serde_json::json!({ "did": 0, "access": "read", "iova": iova });
    let replay = serde_json::json!({
        "design": "tiny", "seed": 3, "latency": 4,
        "ops": [
            { "op": "write", "offset": 16, "bytes": 8, "value": "0x1" },
            { "op": "requests", "list": [ask("0x1000"), ask("0x2000")] },
            { "op": "compare_registers" },
        ],
    });
    std::fs::write(&file, replay.to_string()).expect("a file");
    let name = file.to_str().expect("a plain path");
    let (good, said) = pasidon(&["replay", name, "--waves", waves.to_str().expect("a plain path")]);
    assert!(good && said.contains("3 operations: the hardware and the golden model agree"), "{said}");
    let bytes = std::fs::read(&waves).expect("a waveform");
    // The header block of the format, and something behind it.
    assert!(bytes.len() > 1000 && bytes[..9] == [0, 0, 0, 0, 0, 0, 0, 1, 73], "{:?}", &bytes[..16]);
    let (good, said) = pasidon(&["replay", name]);
    assert!(good, "{said}");
    std::fs::remove_file(&waves).expect("it can be removed");
    std::fs::write(&file, "{}").expect("a file");
    let (good, said) = pasidon(&["replay", name]);
    std::fs::remove_file(&file).expect("it can be removed");
    assert!(!good && said.contains("not a replay file"), "{said}");
}
