//! Shipped designs, and what is said of files that are wrong.

use super::*;

/// What a change of the default design's text by `edit` is refused with.
fn refusal(from: &str, to: &str) -> String {
    let file = Design::shipped_toml("default").unwrap();
    let text = &file[file.find("name = \"default\"").unwrap()..]; // without the example in its first comment
    assert!(text.contains(from), "the default design has no '{from}'");
    Design::from_toml(&text.replacen(from, to, 1), "x.toml").unwrap_err().to_string()
}

fn assert_names(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "'{message}' does not name '{part}'");
    }
}

#[test]
fn shipped_designs_are_valid_and_distinct() {
    let mut hashes: Vec<String> =
        Design::SHIPPED.iter().map(|name| Design::shipped(name).unwrap().hash()).collect();
    assert!(hashes.iter().all(|hash| hash.len() == 64));
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), Design::SHIPPED.len());
    assert!(Design::shipped("huge").is_none());
}

#[test]
fn tiny_is_the_minimum_of_every_structure() {
    let tiny = Design::shipped("tiny").unwrap();
    for key in KEYS.iter().filter(|key| ["ports.count", "tlb.l1_entries"].contains(&key.path().as_str())) {
        assert_eq!(key.get(&tiny), 1);
    }
    assert!(KEYS.iter().filter(|key| key.section == "walk").all(|key| key.get(&tiny) == 1));
    assert_eq!((tiny.l2_sets, tiny.l2_ways, tiny.vectors), (0, 0, 1));
}

#[test]
fn base_fills_in_what_is_left_out() {
    let design =
        Design::from_toml("name = \"b\"\nbase = \"large\"\n[walk]\nwalkers = 2\n", "b.toml").unwrap();
    let large = Design::shipped("large").unwrap();
    assert_eq!(design, Design { name: "b".into(), walkers: 2, ..large.clone() });
    assert_ne!(design.hash(), large.hash());
}

#[test]
fn how_the_verilog_is_written_changes_the_hash_and_not_what_is_measured() {
    let with = |emit: &str| Design::from_toml(&format!("base = \"tiny\"\nname = \"tiny\"\n{emit}"), "e.toml");
    let (tiny, north) = (with("").unwrap(), with("[emit]\nprefix = \"north_\"\n").unwrap());
    assert_eq!(tiny, Design::shipped("tiny").unwrap());
    assert_eq!((tiny.emit.prefix.as_str(), north.emit.prefix.as_str()), ("pasidon_", "north_"));
    assert_ne!(tiny.hash(), north.hash());
    assert_eq!(tiny.nameless_hash(), north.nameless_hash());
    let refused = |emit: &str| with(emit).unwrap_err().to_string();
    for prefix in ["", "_a", "2x", "a b", "a__b", "é", &"x".repeat(33)] {
        let message = refused(&format!("[emit]\nprefix = \"{prefix}\"\n"));
        assert_names(&message, &["e.toml", "emit.prefix", prefix, "a letter first", "north_"]);
    }
    assert_names(&refused("[emit]\nprefix = 7\n"), &["emit.prefix = 7", "quotation marks"]);
    assert_names(&refused("[emit]\nram_style = \"flops\"\n"), &["emit.ram_style = \"flops\"", "\"modules\""]);
    assert_names(&refused("[emit]\nram_style = 1\n"), &["emit.ram_style = 1", "\"auto\""]);
    let modules = with("[emit]\nram_style = \"modules\"\n").unwrap();
    assert_ne!(tiny.hash(), modules.hash());
    assert_names(&refused("[emit]\nprefx = \"a\"\n"), &["emit.prefx", "did you mean 'prefix'"]);
    assert_names(&refused("[tlb]\nprefix = \"a\"\n"), &["belongs in section [emit]"]);
    assert_names(&refused("emit = 3\n"), &["emit = 3", "a table with prefix, ram_style"]);
}

#[test]
fn wrong_keys_are_named_with_the_right_one() {
    assert_names(
        &refusal("l1_entries = 16", "l1_entrys = 16"),
        &["tlb.l1_entrys", "16", "did you mean 'l1_entries'"],
    );
    assert_names(&refusal("[tlb]", "[tlbs]"), &["tlbs", "did you mean 'tlb'"]);
    assert_names(
        &refusal("walkers = 2", "vectors = 4"),
        &["walk.vectors", "belongs in section [interrupts]"],
    );
    assert_names(&refusal("[tlb]", "[[tlb]]"), &["tlb = [", "a table with l1_entries"]);
}

#[test]
fn values_out_of_range_are_named_with_range_and_mend() {
    assert_names(
        &refusal("l2_sets = 64", "l2_sets = 48"),
        &["tlb.l2_sets = 48", "power of two from 2 to 4096", "64"],
    );
    assert_names(
        &refusal("walkers = 2", "walkers = 0"),
        &["walk.walkers = 0", "from 1 to 16", "nearest legal value is 1"],
    );
    assert_names(&refusal("walkers = 2", "walkers = -1"), &["walk.walkers = -1", "from 1 to 16"]);
    assert_names(&refusal("walkers = 2", "walkers = 99999999999"), &["walk.walkers = 99999999999", "is 16"]);
    assert_names(&refusal("walkers = 2", "walkers = \"4\""), &["walk.walkers = \"4\"", "from 1 to 16"]);
    assert_names(
        &refusal("vectors = 4", "vectors = 3"),
        &["interrupts.vectors = 3", "power of two from 1 to 16"],
    );
    assert_names(&refusal("sv48 = true", "sv48 = 1"), &["translation.sv48 = 1", "true or false"]);
    assert_names(&refusal("name = \"default\"", "name = \"a b\""), &["name = \"a b\"", "letters"]);
}

#[test]
fn nearest_legal_values() {
    let sets = Legal::PowerOfTwo(2, 4096, true);
    let vectors = Legal::PowerOfTwo(1, 16, false);
    let tags = Legal::Range(1, 32);
    for (legal, value, nearest) in [
        (sets, -1, 0),
        (sets, i64::MIN, 0),
        // As far from 0 as from 2: the larger.
        (sets, 1, 2),
        (sets, 3, 4),
        (sets, 5, 4),
        (sets, 9, 8),
        (sets, 11, 8),
        (sets, 12, 16),
        (sets, 33, 32),
        (sets, 47, 32),
        (sets, 48, 64),
        (sets, 3072, 4096),
        (sets, 4097, 4096),
        (sets, i64::MAX, 4096),
        (vectors, -1, 1),
        (vectors, 0, 1),
        (vectors, 9, 8),
        (vectors, 17, 16),
        (vectors, 33, 16),
        (tags, -1, 1),
        (tags, 0, 1),
        (tags, 33, 32),
        (tags, i64::MAX, 32),
        (Legal::Range(8, u32::MAX), i64::MAX, u32::MAX),
    ] {
        assert_eq!(legal.nearest(value), nearest, "{legal}: {value}");
    }
    // Of every key, what is suggested is legal, and nothing legal is nearer.
    for key in KEYS.iter().filter(|key| !matches!(key.legal, Legal::Bool)) {
        for value in -5..=5000 {
            let nearest = key.legal.nearest(value);
            assert!(key.legal.admits(nearest.into()), "{} {value}", key.path());
            let distance = value.abs_diff(nearest.into());
            let nearer =
                (1..distance as i64).any(|d| key.legal.admits(value - d) || key.legal.admits(value + d));
            assert!(!nearer, "{} {value}: {nearest}", key.path());
        }
    }
    assert_names(&refusal("l2_sets = 64", "l2_sets = 9"), &["tlb.l2_sets = 9", "nearest legal value is 8"]);
    assert_names(
        &refusal("vectors = 4", "vectors = -1"),
        &["interrupts.vectors = -1", "nearest legal value is 1"],
    );
}

/// Interrupts as wires and as messages: software for PCI asks for the latter.
#[test]
fn designs_for_pci_have_both_kinds_of_interrupts() {
    for design in ["default", "large", "full"].map(|name| Design::shipped(name).unwrap()) {
        assert!(design.ats && design.wired && design.msi, "{}", design.name);
    }
}

#[test]
fn values_that_exclude_each_other_are_refused() {
    assert_names(&refusal("sv48 = true", "sv48 = false"), &["translation.sv57 = true", "sv48"]);
    assert_names(
        &refusal("walkers = 2", "walkers = 12"),
        &["walk.walkers = 12", "from 1 to walk.miss_entries"],
    );
    assert_names(&refusal("pd20 = true", "pd20 = false"), &["address.process_id_width = 20", "from 9 to 17"]);
    assert_names(
        &refusal("process_id_width = 20", "process_id_width = 17"),
        &["address.process_id_width = 17", "from 18 to 20", "pd20"],
    );
    let none = "base = \"default\"\nname = \"n\"\n[process]\npd8 = false\npd17 = false\npd20 = false\n";
    assert!(!Design::from_toml(none, "n").unwrap().process_contexts());
}

/// The default design with these lines in place of its own of the same keys.
fn changed(lines: &str) -> Result<Design, DesignError> {
    Design::from_toml(&format!("base = \"default\"\nname = \"changed\"\n{lines}"), "x.toml")
}

#[test]
fn options_that_need_others_are_refused_without_them() {
    for (lines, parts) in [
        ("[translation]\nsv48x4 = true", ["translation.sv48x4 = true", "set translation.sv39x4 = true"]),
        (
            "[translation]\nsv39x4 = true\nsv57x4 = true",
            ["translation.sv57x4 = true", "translation.sv48x4 = true"],
        ),
        ("[msi]\nflat = true", ["msi.flat = true", "translation.sv39x4 or sv32x4 = true"]),
        ("[translation]\nsv39x4 = true\n[msi]\nmrif = true", ["msi.mrif = true", "set msi.flat = true"]),
        ("[monitor]\ncounters = 4", ["monitor.counters = 4", "set monitor.cycles = true"]),
        ("[monitor]\ncycles = true", ["monitor.cycles = true", "monitor.counters at least 1"]),
        ("[interrupts]\nwired = false\nmsi = false", ["interrupts.wired = false", "interrupts.msi = true"]),
        ("[monitor]\ncounters = 32\ncycles = true", ["monitor.counters = 32", "from 0 to 31"]),
        ("[ats]\nats = true\nt2gpa = true", ["ats.t2gpa = true", "translation.sv39x4 or sv32x4 = true"]),
        (
            "[translation]\nsv39x4 = true\n[ats]\nats = false\nt2gpa = true",
            ["ats.t2gpa = true", "set ats.ats = true"],
        ),
        ("[ats]\nitags = 33", ["ats.itags = 33", "from 1 to 32"]),
        ("[ats]\ntimeout = 7", ["ats.timeout = 7", "nearest legal value is 8"]),
    ] {
        assert_names(&changed(lines).unwrap_err().to_string(), &parts);
    }
    for lines in [
        "[translation]\nsv32x4 = true\n[msi]\nflat = true\nmrif = true",
        "[translation]\nsv32 = true\n[address]\npas = 32",
        "[monitor]\ncounters = 1\ncycles = true",
        "[interrupts]\nwired = false",
        "[interrupts]\nmsi = false",
        "[translation]\nsv39x4 = true\n[ats]\nats = true\nt2gpa = true\nitags = 1",
    ] {
        changed(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
    }
}

#[test]
fn missing_keys_bad_toml_and_missing_files_are_refused() {
    assert_names(&refusal("walkers = 2", ""), &["walk.walkers", "not set", "from 1 to 16", "base"]);
    assert_names(&refusal("[tlb]", "[tlb"), &["x.toml", "TOML"]);
    assert_names(
        &refusal("name = \"default\"", "name = \"d\"\nbase = \"medium\""),
        &["base = \"medium\"", "tiny"],
    );
    assert_names(
        &Design::load("no/such/file.toml").unwrap_err().to_string(),
        &["no/such/file.toml", "default"],
    );
}

#[test]
fn serialised_form_has_the_sections_of_the_file() {
    let json = serde_json::to_value(Design::shipped("default").unwrap()).unwrap();
    assert_eq!(json["tlb"]["l1_entries"], 16);
    assert_eq!(json["translation"]["sv57"], true);
    assert_eq!(json["name"], "default");
    let read_back = Design::from_toml(&toml::to_string(&json).unwrap(), "back").unwrap();
    assert_eq!(read_back, Design::shipped("default").unwrap());
}

#[test]
fn helpers_follow_the_modes() {
    let design = Design::shipped("default").unwrap();
    assert_eq!((design.page_table_levels(), design.process_directory_levels()), (5, 3));
    assert!(!design.second_stage() && !design.extended_contexts());
    let tiny = Design::shipped("tiny").unwrap();
    assert_eq!((tiny.page_table_levels(), tiny.process_directory_levels()), (3, 1));
    let full = Design::shipped("full").unwrap();
    assert!(full.second_stage() && full.extended_contexts());
}
