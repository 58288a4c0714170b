//! `pasidon mutate` on the smallest design.

use std::path::PathBuf;
use std::process::Command;

fn pasidon(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pasidon"));
    command.args(arguments);
    command
}

#[test]
fn a_run_reports_what_was_noticed_and_can_be_repeated() {
    let file: PathBuf = std::env::temp_dir().join(format!("pasidon-mutate-{}.json", std::process::id()));
    let json = file.to_str().expect("a plain path");
    let run = |more: &[&str]| {
        let few = [
            "mutate", "--design", "tiny", "--ops", "1500", "--seeds", "4", "--round", "1500", "--json", json,
        ];
        let output = pasidon(&few).args(more).output().expect("the command starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let text = std::fs::read_to_string(&file).expect("a report");
        (said, serde_json::from_str::<serde_json::Value>(&text).expect("JSON"))
    };
    let (said, report) = run(&["--count", "4", "--seed", "9"]);
    assert!(said.contains("of 4 faults killed"), "{said}");
    let list = |name: &str| report[name].as_array().expect("a list").clone();
    let (kills, survivors) = (list("kills"), list("survivors"));
    assert_eq!((report["count"].as_u64(), kills.len() + survivors.len()), (Some(4), 4));
    assert_eq!(report["killed"].as_u64(), Some(kills.len() as u64));
    assert_eq!((&report["ops"], &report["lockstep_seeds"]), (&1500.into(), &[4].into_iter().collect()));
    // Most faults are noticed at once.
    let kill = kills.iter().find(|kill| kill["verdict"] == "killed").expect("one of four");
    let id = kill["id"].as_str().expect("a name");
    let (said, again) = run(&["--only", id]);
    assert!(
        said.contains(&format!("{id}: ")) && said.contains("\n  - ") || said.contains("\n  + "),
        "{said}"
    );
    assert_eq!(
        (again["count"].as_u64(), &again["kills"][0]),
        (Some(1), kill),
        "the same fault, noticed in the same way"
    );

    // Another run does not go on with this file; the same one has nothing left to do.
    let output =
        pasidon(&["mutate", "--design", "tiny", "--seed", "10", "--json", json, "--resume"]).output();
    let said = String::from_utf8_lossy(&output.expect("it starts").stderr).into_owned();
    assert!(said.contains("a report of another run"), "{said}");
    let mut known = report.clone();
    known["kills"][0]["how"] = "as it was told".into();
    std::fs::write(&file, known.to_string()).expect("a file");
    let (_, resumed) = run(&["--count", "4", "--seed", "9", "--resume"]);
    assert_eq!(resumed, known, "nothing was tried again");
    std::fs::remove_file(file).expect("it can be removed");

    let output = pasidon(&["mutate", "--design", "tiny", "--only", "nobody.3"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("no fault nobody.3"), "{said}");
}
