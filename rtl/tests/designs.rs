//! Every legal design becomes Verilog: corners of the configuration space. `SEED` varies which of them are looked at closely.

mod common;

use common::{Random, lint, lint_all, seed};
use pasidon_rtl::design::{Design, KEYS, Legal};
use pasidon_rtl::{Design as D, generate};
use std::collections::BTreeMap;

#[test]
fn shipped_designs_give_the_same_bytes_twice() {
    for name in ["tiny", "default", "large"] {
        let design = D::shipped(name).expect("is shipped");
        let first = generate(&design).expect("emits");
        let second = generate(&design).expect("emits");
        assert_eq!(first.verilog, second.verilog, "{name}");
        assert_eq!(first.design_json, second.design_json, "{name}");
        assert!(first.verilog.contains(&design.hash()), "{name}: the banner names the design's hash");
    }
}

/// Section and key.
type Name = (&'static str, &'static str);

/// The values of a design.
type Values = BTreeMap<Name, u32>;

#[test]
fn the_top_is_wiring_only() {
    for name in ["tiny", "default", "large", "full"] {
        let design = Design::shipped(name).expect("is shipped");
        let computed = pasidon_hdl::session(|| pasidon_rtl::top::iommu(&design).computes());
        assert!(computed.is_empty(), "the top of {name} computes {computed:?}");
    }
}

fn values(design: &Design) -> Values {
    KEYS.iter().map(|key| ((key.section, key.key), key.get(design))).collect()
}

/// What a key may be at least and at most, on its own.
fn corners(legal: Legal) -> [u32; 2] {
    match legal {
        Legal::Bool => [0, 1],
        Legal::Range(min, max) => [min, max],
        Legal::PowerOfTwo(min, max, zero) => [if zero { 0 } else { min }, max],
    }
}

/// What is true or more than 0 only if one of the others is.
const NEEDS: [(Name, &[Name]); 9] = [
    (("translation", "sv57"), &[("translation", "sv48")]),
    (("translation", "sv48x4"), &[("translation", "sv39x4")]),
    (("translation", "sv57x4"), &[("translation", "sv48x4")]),
    (("msi", "flat"), &[("translation", "sv39x4"), ("translation", "sv32x4")]),
    (("msi", "mrif"), &[("msi", "flat")]),
    (("monitor", "cycles"), &[("monitor", "counters")]),
    (("monitor", "counters"), &[("monitor", "cycles")]),
    (("ats", "t2gpa"), &[("ats", "ats")]),
    (("ats", "t2gpa"), &[("translation", "sv39x4"), ("translation", "sv32x4")]),
];

/// Makes the other values fit that of `pinned`.
fn fit(values: &mut Values, pinned: Name) {
    let set = |values: &mut Values, key, value| values.insert(key, value).expect("a key");
    // As many rounds as the longest chain of needs.
    for _ in 0..4 {
        for (this, needs) in NEEDS {
            if values[&this] == 0 || needs.iter().any(|need| values[need] != 0) {
                continue;
            }
            // Whoever is pinned, or was switched on for it, stays; the corner decides which way.
            if this == pinned || (values[&pinned] != 0 && !needs.contains(&pinned)) {
                set(values, needs[0], 1);
            } else {
                set(values, this, 0);
            }
        }
    }
    let (wired, msi) = (("interrupts", "wired"), ("interrupts", "msi"));
    if values[&wired] == 0 && values[&msi] == 0 {
        set(values, if pinned == wired { msi } else { wired }, 1);
    }
    let (walkers, entries) = (("walk", "walkers"), ("walk", "miss_entries"));
    if values[&walkers] > values[&entries] {
        let (lower, value) =
            if pinned == walkers { (entries, values[&walkers]) } else { (walkers, values[&entries]) };
        set(values, lower, value);
    }
    let width = ("address", "process_id_width");
    let modes = [(("process", "pd8"), 8), (("process", "pd17"), 17), (("process", "pd20"), 20)];
    if pinned == width {
        let wanted = modes.iter().position(|(_, bits)| values[&width] <= *bits).expect("20 is the most");
        for (i, (mode, _)) in modes.into_iter().enumerate() {
            set(values, mode, (i <= wanted).into());
        }
    } else if let Some((_, bits)) = modes.into_iter().rev().find(|(mode, _)| values[mode] != 0) {
        set(values, width, bits);
    }
}

/// The design with these values.
fn design(name: &str, values: &Values) -> Design {
    let mut text = format!("name = \"{name}\"\n");
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text += &format!("[{section}]\n");
        }
        let value = values[&(key.section, key.key)];
        let value =
            if matches!(key.legal, Legal::Bool) { (value == 1).to_string() } else { value.to_string() };
        text += &format!("{} = {value}\n", key.key);
    }
    Design::from_toml(&text, name).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Each key at its least and at its most in a small design and in one with everything, where that changes anything; and all of them
/// at their least.
fn corner_designs() -> Vec<Design> {
    let mut found: Vec<Design> = Vec::new();
    let mut add = |design: Design| {
        if !found.iter().any(|other| values(other) == values(&design)) {
            found.push(design);
        }
    };
    for base in ["tiny", "full"] {
        let base_values = values(&D::shipped(base).expect("is shipped"));
        for key in KEYS {
            for (which, corner) in ["least", "most"].iter().zip(corners(key.legal)) {
                let mut values = base_values.clone();
                let pinned = (key.section, key.key);
                values.insert(pinned, corner);
                if pinned == ("tlb", "l2_sets") && corner > 0 {
                    values.entry(("tlb", "l2_ways")).and_modify(|ways| *ways = (*ways).max(1));
                }
                if pinned == ("tlb", "l2_ways") {
                    values.entry(("tlb", "l2_sets")).and_modify(|sets| *sets = (*sets).max(2));
                } else if values[&("tlb", "l2_sets")] == 0 {
                    // Not used, and to be legal all the same.
                    values.insert(("tlb", "l2_ways"), 1);
                }
                fit(&mut values, pinned);
                let made = design(&format!("{base}-{}-{which}", key.key), &values);
                assert_eq!(key.get(&made), corner, "{}.{} of {base}", key.section, key.key);
                add(made);
            }
        }
    }
    let mut least: Values = KEYS.iter().map(|key| ((key.section, key.key), corners(key.legal)[0])).collect();
    fit(&mut least, ("interrupts", "wired"));
    least.insert(("tlb", "l2_ways"), 1);
    add(design("least", &least));
    found
}

/// Designs that Verilator reads in this test; `LINT=all` has it read every corner.
const LINTED: usize = 12;

#[test]
fn every_corner_becomes_verilog_and_a_sample_is_linted() {
    let seed = seed();
    let mut r = Random(seed);
    let designs = corner_designs();
    assert!(designs.len() > KEYS.len(), "{} corners", designs.len());
    let all = lint_all();
    let mut order: Vec<usize> = (0..designs.len()).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, r.below(i as u64 + 1) as usize);
    }
    let sample = &order[..if all { order.len() } else { LINTED }];
    for (i, design) in designs.iter().enumerate() {
        let out = generate(design).unwrap_or_else(|error| panic!("{}: {error}", design.name));
        assert!(out.verilog.contains(&format!("module {} (", out.top)), "{}", design.name);
        if sample.contains(&i) {
            lint(design, &out.verilog);
        }
    }
}
