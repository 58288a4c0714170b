//! Mutants of the smallest design, under judges that know beforehand.

use super::*;
use pasidon_rtl::design::Design;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pasidon-mutation-{}-{name}", std::process::id()))
}

fn options(count: usize) -> Options {
    Options { count, seed: 3, jobs: 2, only: Vec::new(), known: BTreeMap::new(), claims: Claims::default() }
}

#[test]
fn crashes_kill_and_survivors_can_be_tried_again() {
    let mutants = pasidon_rtl::mutants(&Design::shipped("tiny").unwrap()).unwrap();
    let cache = Cache::in_workspace().quiet();
    let scratch = scratch("crash");
    let calls = AtomicUsize::new(0);
    let judge = |mut model: Verilated| {
        model.reset(3);
        match calls.fetch_add(1, Ordering::SeqCst) {
            // The original, and one of the three mutants.
            0 | 2 => None,
            3 => Some(Noticed::Slower("twice the cycles".into())),
            _ => panic!("boom"),
        }
    };
    let said = AtomicUsize::new(0);
    let progress = |_: &MutationReport, _: &Tried| {
        said.fetch_add(1, Ordering::SeqCst);
    };
    let report = run("tiny", &mutants, &cache, &scratch, &options(3), &judge, &progress).unwrap();
    assert_eq!((report.count, report.killed, report.slower, report.survivors.len()), (3, 2, 1, 1));
    assert_eq!(said.load(Ordering::SeqCst), 3 + report.same.len() + report.broken.len());
    let crash = Verdict::Killed { how: "crash: boom".into() };
    assert!(report.kills.iter().any(|kill| kill.verdict == crash));
    let modules = report.by(|tried| tried.fault.module.clone());
    assert_eq!(modules.values().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1)), (2, 3));
    // Models of mutants are gone.
    assert_eq!(std::fs::read_dir(&scratch).map(|entries| entries.count()).unwrap_or(0), 0);

    let survivor = &report.survivors[0];
    let again = Options { only: vec![survivor.fault.id.clone()], ..options(99) };
    let report = run("tiny", &mutants, &cache, &scratch, &again, &|_: Verilated| None, &|_, _| {}).unwrap();
    assert_eq!((report.count, report.killed), (1, 0));
    let same = &report.survivors[0];
    assert_eq!(
        (&same.fault.id, same.fault.line, &same.fault.before),
        (&survivor.fault.id, survivor.fault.line, &survivor.fault.before)
    );
    let json = serde_json::to_value(same).unwrap();
    assert_eq!(json["verdict"], "survived");
    assert!(json["line"].as_u64() > Some(0) && json["module"].is_string() && json["after"].is_string());

    // What is known is not tried again, and a claim takes a survivor out of the figures.
    let claim = Claim {
        design: "tiny".into(),
        id: survivor.fault.id.clone(),
        before: survivor.fault.before.clone(),
        after: survivor.fault.after.clone(),
        why: "it is so".into(),
    };
    let known = [(survivor.fault.id.clone(), Verdict::Survived)].into();
    let never = |model: Verilated| (model.cycles() > 0).then(|| Noticed::Wrong("tried".into()));
    let again = Options { known, claims: Claims::of(vec![claim]), ..again };
    let report = run("tiny", &mutants, &cache, &scratch, &again, &never, &|_, _| {}).unwrap();
    assert_eq!((report.count, report.killed, report.survivors.len(), report.equivalent.len()), (1, 0, 0, 1));
    let wrong = Options { known: BTreeMap::new(), ..again };
    let calls = AtomicUsize::new(0);
    let judge =
        |_: Verilated| (calls.fetch_add(1, Ordering::SeqCst) > 0).then(|| Noticed::Wrong("an answer".into()));
    let error = run("tiny", &mutants, &cache, &scratch, &wrong, &judge, &|_, _| {}).unwrap_err().to_string();
    assert!(error.contains("claimed to change nothing") && error.contains("an answer"), "{error}");
    let _ = std::fs::remove_dir_all(scratch);
}

#[test]
fn a_run_needs_hardware_that_passes_and_faults_that_exist() {
    let mutants = pasidon_rtl::mutants(&Design::shipped("tiny").unwrap()).unwrap();
    let (cache, scratch) = (Cache::in_workspace().quiet(), scratch("needs"));
    let judge = |_: Verilated| Some(Noticed::Wrong("no good".to_string()));
    let error = run("tiny", &mutants, &cache, &scratch, &options(1), &judge, &|_, _| {}).unwrap_err();
    assert_eq!(error.to_string(), "the hardware fails without any fault: no good");
    let only = Options { only: vec!["walker.99999".into()], ..options(1) };
    let error = run("tiny", &mutants, &cache, &scratch, &only, &|_: Verilated| None, &|_, _| {}).unwrap_err();
    assert!(error.to_string().starts_with("the design has no fault walker.99999"), "{error}");
}
