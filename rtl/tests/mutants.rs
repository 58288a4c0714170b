//! Single faults: every one differs from the original in the place that it names, and nowhere else.

use pasidon_rtl::design::Design;
use pasidon_rtl::{Operator, generate, mutants};
use std::collections::BTreeSet;

#[test]
fn every_fault_is_where_it_says() {
    let design = Design::shipped("full").expect("it is shipped");
    let mutants = mutants(&design).expect("it can be generated");
    let original = &mutants.original().verilog;
    assert_eq!(*original, generate(&design).expect("it can be generated").verilog);
    let lines: Vec<&str> = original.lines().collect();
    let (mut operators, mut texts, mut same, mut all) = (BTreeSet::new(), BTreeSet::new(), 0, 0);
    for faults in mutants.faults() {
        assert!(!faults.operators.is_empty(), "{} has no faults", faults.module);
        // Every fault of a small module, every 37th of a large one.
        let stride = if faults.operators.len() < 60 { 1 } else { 37 };
        for (number, operator) in faults.operators.iter().enumerate().step_by(stride) {
            all += 1;
            let id = format!("{}.{number}", faults.module);
            let Some(mutant) = mutants.make(&id) else {
                same += 1;
                continue;
            };
            let fault = &mutant.fault;
            assert_eq!((&fault.id, &fault.module, fault.operator), (&id, &faults.module, *operator));
            assert_ne!(fault.before, fault.after, "{id}: {}", fault.operator);
            assert!(texts.insert(mutant.generated.verilog.clone()), "{id} is another fault too");
            let first = lines[fault.line - 1].trim();
            let told = fault.before.lines().next().unwrap_or("");
            assert!(
                fault.before.is_empty()
                    || first == told
                    || fault.before.lines().count() != 1
                    || first.starts_with('.'),
                "{id}: line {} is {first}, not {told}",
                fault.line
            );
            operators.insert(fault.operator);
            if fault.operator == Operator::DroppedAssignment {
                continue;
            }
            // Up to that line, only declarations change.
            let told = |line: &&&str| !line.starts_with("  wire ") && !line.starts_with("  reg  ");
            let mutated: Vec<&str> = mutant.generated.verilog.lines().collect();
            let above = lines[..fault.line - 1].iter().filter(told);
            for (old, new) in above.zip(mutated.iter().filter(told)) {
                assert_eq!(old, new, "{id}");
            }
        }
    }
    assert!(same * 50 < all, "{same} of {all} faults change nothing");
    // `<` and `<=` are rare in this hardware; all other kinds must have been met.
    operators.insert(Operator::Comparison);
    assert_eq!(operators.len(), 12, "{operators:?}");
}

#[test]
fn faults_that_do_not_exist_are_not_made() {
    let mutants = mutants(&Design::shipped("tiny").expect("it is shipped")).expect("it can be generated");
    for id in ["", "walker", "walker.", "walker.999999", "nobody.0", "walker.x"] {
        assert!(mutants.make(id).is_none(), "{id}");
    }
}
