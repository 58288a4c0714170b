//! Lockstep on the design `tiny`: it finds what is wrong, shortens it, and its files repeat it.

use super::replay::Replay;
use super::*;
use pasidon_golden::Parameters;
use std::collections::BTreeSet;

fn tiny() -> Design {
    Design::shipped("tiny").unwrap()
}

fn options(seed: u64, ops: u64) -> Options {
    Options { seed, ops, latency: 4, time: None, flavour: Flavour::Fast, round: ROUND, even: false }
}

/// Engines that differ: the golden model has these parameters instead of the design's.
fn with(parameters: Parameters) -> Both {
    let design = tiny();
    let memory = || EngineMemory::sparse(tables::extent(&design));
    let cache = Cache::in_workspace().quiet();
    let rtl = Rtl::new(&design, &cache, Flavour::Fast, memory(), Pace::default()).unwrap();
    Both::new(rtl, Model::new(parameters, 1, memory()))
}

#[test]
fn a_round_follows_from_its_seed() {
    let design = Design::shipped("full").unwrap();
    let (a, b) = (round(&design, 5, 20, 3000, false), round(&design, 5, 20, 3000, false));
    assert_eq!(a.ops, b.ops);
    assert_ne!(a.ops, round(&design, 6, 20, 3000, false).ops);
    let weight: u64 = a.ops.iter().map(Op::weight).sum();
    // A round in which nearly everything faults is shorter.
    assert!((2000..6000).contains(&weight), "{weight}");
    // Whatever is generated is generated soon.
    let kinds: BTreeSet<String> = (0..40)
        .flat_map(|seed| round(&design, seed, 20, 3000, false).ops)
        .map(|op| serde_json::to_value(&op).unwrap()["op"].as_str().unwrap().to_string())
        .collect();
    assert!(kinds.len() >= 20, "{kinds:?}");
}

#[test]
fn the_two_agree_and_the_report_counts() {
    let design = tiny();
    let report = run(&design, &Cache::in_workspace().quiet(), &options(3, 12_000), |_| {}).unwrap();
    assert_eq!((report.mismatches, report.difference), (0, None));
    assert!(report.ops >= 12_000 && report.requests > 6_000);
    let json = serde_json::to_value(&report.coverage).unwrap();
    assert!(json["access/read/success"].as_u64() > Some(100));
    let again = run(&design, &Cache::in_workspace().quiet(), &options(3, 12_000), |_| {}).unwrap();
    assert_eq!((again.ops, again.requests, again.cycles), (report.ops, report.requests, report.cycles));
    let table = report.coverage.table();
    assert!(table.contains("illegal command") && table.contains("fault queue"), "{table}");
}

#[test]
fn a_difference_is_found_shortened_and_repeated() {
    let design = tiny();
    // A golden model that takes PD17 for supported disagrees about one mode of the process directory.
    let right = parameters(&design);
    let wrong = Parameters {
        capabilities: right.capabilities | pasidon_spec::registers::capabilities::PD17.mask(),
        ..right
    };
    let mut both = with(wrong);
    let report = run_on(&mut both, &design, &options(1, 2_000_000), &mut |_| {}).unwrap();
    let failed = report.failed.expect("a difference");
    let replay = Replay::shortened(&mut both, "tiny", &failed, Duration::from_secs(60)).unwrap();
    assert!(replay.ops.len() < 20, "{} operations are left of {}", replay.ops.len(), failed.round.ops.len());

    let file = std::env::temp_dir().join(format!("pasidon-lockstep-{}.json", std::process::id()));
    replay.write(&file).unwrap();
    let read = Replay::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(read, replay);
    let difference = read.run_on(&mut both).unwrap().expect("it still differs");
    assert_eq!(difference.to_string(), replay.found);
    // The right model agrees with the hardware on the same sequence.
    assert_eq!(read.run_on(&mut with(right)).unwrap(), None);
}

#[test]
fn what_is_no_replay_file_is_told() {
    let file = std::env::temp_dir().join(format!("pasidon-no-replay-{}.json", std::process::id()));
    std::fs::write(&file, "{\"design\": \"tiny\",\n \"ops\": 7}").unwrap();
    let error = Replay::read(&file).unwrap_err().to_string();
    std::fs::remove_file(&file).unwrap();
    assert!(error.contains("not a replay file") && error.contains("line 2"), "{error}");
    let error = Replay::read(&file).unwrap_err().to_string();
    assert!(error.contains("pasidon-no-replay"), "{error}");
}

#[test]
fn replay_files_name_failures() {
    use pasidon_spec::memory::Failure;
    for (trouble, name) in [(Failure::Read, "read"), (Failure::Write, "write"), (Failure::Poison, "corrupt")]
    {
        let json = serde_json::to_value(Op::Inject { address: 0x1000, bytes: 8, trouble }).unwrap();
        assert_eq!(json["trouble"], name);
        assert!(
            matches!(serde_json::from_value(json).unwrap(), Op::Inject { trouble: t, .. } if t == trouble)
        );
    }
}
