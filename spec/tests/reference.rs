//! The committed register reference is the one that the tables give.

#[allow(dead_code, reason = "the example's main is not used here")]
#[path = "../examples/register_reference.rs"]
mod register_reference;

#[test]
fn committed_reference_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/registers.md");
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    let generated = register_reference::render();
    let difference = committed.lines().zip(generated.lines()).position(|(old, new)| old != new);
    let line = difference.unwrap_or(committed.lines().count().min(generated.lines().count())) + 1;
    assert!(
        committed == generated,
        "docs/registers.md differs from the tables in spec/ at line {line}; `make docs` regenerates it"
    );
}

#[test]
fn links_lead_somewhere() {
    let reference = register_reference::render();
    for link in reference.split("](#").skip(1) {
        let target = link.split(')').next().unwrap_or_default();
        let heading = |line: &str| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            line.starts_with('#') && title.replace(' ', "-") == target
        };
        let anchor = format!("<a id=\"{target}\">");
        assert!(reference.contains(&anchor) || reference.lines().any(heading), "no section {target}");
    }
}
