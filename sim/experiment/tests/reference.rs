//! The committed page of workloads is the one that tables and counts give.

#[allow(dead_code, reason = "the example's main is not used here")]
#[path = "../examples/workload_reference.rs"]
mod workload_reference;

#[test]
fn committed_page_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/workloads.md");
    let committed = std::fs::read_to_string(path).expect("the page");
    let generated = workload_reference::render().expect("workloads");
    let wanted = workload_reference::page(&committed, &generated).expect("marks");
    let difference = committed.lines().zip(wanted.lines()).find(|(old, new)| old != new);
    assert!(committed == wanted, "docs/workloads.md differs: {difference:?}; `make docs` regenerates it");
}
