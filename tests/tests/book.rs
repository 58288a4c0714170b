//! The book says what the code does: keys, legal values, ports, diagrams, tables of tests. Its links lead somewhere, its lines can be
//! read. (Its commands and examples are tested with the `pasidon` command.)

use pasidon_rtl::Design;
use pasidon_rtl::design::{EMISSION_KEYS, KEYS};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn every_key_of_a_design_is_described_with_its_legal_values() {
    let text = page("docs/design-toml.md");
    let emission = EMISSION_KEYS.iter().map(|key| ("emit", key.key, key.legal.to_string()));
    for (section, key, legal) in
        KEYS.iter().map(|key| (key.section, key.key, key.legal.to_string())).chain(emission)
    {
        let title = format!("\n## `[{section}]`\n");
        let (_, after) = text.split_once(&title).unwrap_or_else(|| panic!("no section {section}"));
        let rows = after.split("\n## ").next().expect("text before the next section");
        let row = rows.lines().find(|line| line.contains(&format!("| `{key}` |")));
        let row = row.unwrap_or_else(|| panic!("{section}.{key} is not described"));
        assert_eq!(row.split('|').nth(2).map(str::trim), Some(legal.as_str()), "{section}.{key}");
    }
}

#[test]
fn every_key_that_is_described_exists() {
    let text = page("docs/design-toml.md");
    let (_, sections) = text.split_once("\n## `[").expect("a section");
    for line in sections.lines().filter(|line| line.starts_with("| `")) {
        let name = line.split('`').nth(1).expect("a name in backquotes");
        let keys = KEYS.iter().map(|key| key.key).chain(EMISSION_KEYS.iter().map(|key| key.key));
        assert!(keys.into_iter().any(|key| key == name), "{name} is described and does not exist");
    }
}

#[test]
fn every_port_is_described() {
    let text = page("docs/integrate.md");
    // Between them these have every port there is.
    let designs = ["default", "full"].map(|name| Design::shipped(name).expect("it is shipped"));
    let ports = designs.map(|design| pasidon_rtl::generate(&design).expect("it can be generated").ports);
    for port in ports.into_iter().flatten() {
        let name = port.name.as_str();
        let plain = |prefix: &str| name.strip_prefix(prefix);
        // AXI channels are described by their prefix; the other signals one by one.
        let said = if plain("s_axil_").is_some() {
            "`s_axil_*`".to_string()
        } else if plain("m_axi_").is_some() {
            "`m_axi_*`".to_string()
        } else if let Some(signal) = plain("req0_").or(plain("req1_")).or(plain("rsp0_")).or(plain("rsp1_")) {
            format!("`{signal}`")
        } else {
            format!("`{name}")
        };
        assert!(text.contains(&said), "{name}: {said} is not in docs/integrate.md");
    }
}

#[test]
fn links_lead_somewhere() {
    for name in pages() {
        let text = page(name.to_str().expect("a plain name"));
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or("");
            if file.is_empty() || file.starts_with("https:") {
                continue;
            }
            let path = root().join(name.parent().expect("a folder")).join(file);
            assert!(path.exists(), "{}: {target} leads nowhere", name.display());
        }
    }
}

#[test]
fn timing_diagrams_are_what_the_hardware_does() {
    for (name, svg) in pasidon_tests::timing::diagrams() {
        let stale = "is stale: make docs writes it";
        assert!(page(&format!("docs/{name}")) == svg, "docs/{name} {stale}");
        assert!(
            page("docs/integrate.md").contains(&format!("]({name})")),
            "{name} is not in docs/integrate.md"
        );
    }
}

/// The book and the other pages.
fn pages() -> Vec<PathBuf> {
    let book = std::fs::read_dir(root().join("docs")).expect("docs/");
    let book = book.map(|entry| Path::new("docs").join(entry.expect("an entry").file_name()));
    let others = ["README.md", "traces/README.md", "constraints/README.md"].map(PathBuf::from);
    book.filter(|name| name.extension().is_some_and(|kind| kind == "md")).chain(others).collect()
}

/// Tables too: a row that is longer is a list that wants to be one.
#[test]
fn lines_can_be_read_in_an_editor() {
    for name in pages() {
        let text = page(name.to_str().expect("a plain name"));
        for (number, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            assert!(columns <= 240, "{}:{}: {columns} columns, 240 are allowed", name.display(), number + 1);
        }
    }
}

#[test]
fn every_page_is_in_the_summary() {
    let summary = page("docs/SUMMARY.md");
    for entry in std::fs::read_dir(root().join("docs")).expect("docs/") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        if name.ends_with(".md") && name != "SUMMARY.md" {
            assert!(summary.contains(&format!("]({name})")), "{name} is not in docs/SUMMARY.md");
        }
    }
}

#[test]
fn board_designs_are_legal() {
    for board in std::fs::read_dir(root().join("constraints")).expect("constraints/") {
        let design = board.expect("an entry").path().join("design.toml");
        if design.exists() {
            Design::load(design.to_str().expect("a plain name")).unwrap_or_else(|e| panic!("{e}"));
        }
    }
}

#[test]
fn the_tests_of_the_driver_on_the_hardware_are_in_the_table() {
    let text = page("docs/verification.md");
    let (_, section) = text.split_once("\n## The driver on the hardware\n").expect("the section");
    let section = section.split("\n## ").next().expect("text before the next section");
    let told = section.lines().filter(|line| line.starts_with("| ") && line.contains("` | `"));
    let told: BTreeSet<String> = told.filter_map(|line| Some(line.split_once(" | ")?.1.into())).collect();
    let mut there = BTreeSet::new();
    for file in std::fs::read_dir(root().join("tests/tests/driver")).expect("the folder") {
        let file = file.expect("an entry").path();
        let module = file.file_stem().expect("a name").to_string_lossy().to_string();
        let source = std::fs::read_to_string(&file).expect("text");
        let lines: Vec<&str> = source.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[test]") {
            let name = pair[1].strip_prefix("fn ").and_then(|rest| rest.split('(').next()).expect("a name");
            there.insert(format!("`{module}` | `{name}` |"));
        }
    }
    assert!(there.len() > 10);
    assert_eq!(told, there);
}
