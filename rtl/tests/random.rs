//! Random designs: they become Verilog that tools read without a warning, and no output follows an input at once. `SEED` chooses them.

mod common;

use common::{Random, lint, lint_all, seed};
use pasidon_rtl::design::{Design, KEYS, Legal};
use pasidon_rtl::{generate, paths};

/// A value that the key admits on its own; large counts are rare, since they take long to emit.
fn value(legal: Legal, r: &mut Random) -> u32 {
    match legal {
        Legal::Bool => r.below(2) as u32,
        Legal::Range(min, max) => match r.below(3) {
            0 => min,
            1 => min + r.below(u64::from((max - min).min(7) + 1)) as u32,
            _ => min + r.below(u64::from((max - min).min(23) + 1)) as u32,
        },
        Legal::PowerOfTwo(min, max, zero) => {
            if zero && r.below(3) == 0 {
                return 0;
            }
            let steps = (max / min).ilog2().min(6);
            min << r.below(u64::from(steps) + 1)
        }
    }
}

/// The TOML of a design that may break rules across keys.
fn toml(r: &mut Random) -> String {
    let mut text = String::from("base = \"default\"\nname = \"random\"\n");
    let mut sections: Vec<&str> = KEYS.iter().map(|k| k.section).collect();
    sections.dedup();
    for section in sections {
        text += &format!("[{section}]\n");
        for key in KEYS.iter().filter(|k| k.section == section) {
            let v = value(key.legal, r);
            let v = if matches!(key.legal, Legal::Bool) { (v == 1).to_string() } else { v.to_string() };
            text += &format!("{} = {v}\n", key.key);
        }
    }
    text
}

/// Random designs.
const DESIGNS: usize = 50;
/// ... of which Verilator reads so many in every run, and all with `LINT=all`.
const LINTED: usize = 2;

#[test]
fn random_designs_are_refused_with_a_message_or_become_verilog() {
    let mut r = Random(seed());
    let mut emitted = 0;
    for round in 0..5000 {
        let text = toml(&mut r);
        match Design::from_toml(&text, "random.toml") {
            Err(e) => assert!(e.to_string().contains("random.toml"), "{e}"),
            Ok(design) => {
                let out = generate(&design).unwrap_or_else(|e| panic!("round {round}: {e}\n{text}"));
                assert!(out.verilog.contains(&format!("module {} (", out.top)));
                no_paths(&design, &text);
                if emitted < LINTED || lint_all() {
                    lint(&design, &out.verilog);
                }
                emitted += 1;
            }
        }
        if emitted == DESIGNS {
            return;
        }
    }
    panic!("only {emitted} of the random designs were legal");
}

#[test]
fn no_output_of_a_shipped_design_follows_an_input_at_once() {
    for name in Design::SHIPPED {
        no_paths(&Design::shipped(name).expect("is shipped"), name);
    }
}

/// What a designer of the system around it may rely on: every output comes from registers.
fn no_paths(design: &Design, text: &str) {
    let paths = paths(design).expect("emits");
    let told: Vec<String> = paths.iter().map(ToString::to_string).collect();
    assert!(told.is_empty(), "{} paths without a register:\n{}\n{text}", told.len(), told.join("\n"));
}
