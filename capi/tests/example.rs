//! Programs in C, compiled with the C compiler against the header and the static library, and run: the device driver of the
//! example, and those of `c/`, each of which says what it tests.

use std::{fs, path::Path, process::Command};

mod compile;

/// Runs a program of `c/` to its end.
fn passes(name: &str) {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = compile::program(capi, name, &[&format!("tests/c/{name}.c")]);
    let output = compile::run(&mut Command::new(program));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().last(), Some("ok"), "{said}");
}

#[test]
fn drvdata_is_the_device_drivers_and_free_after_the_last_unbind() {
    passes("callbacks");
}

#[test]
fn shared_tables_are_forgotten_in_order_and_confirmed() {
    passes("shared_tables");
}

#[test]
fn reserved_bits_of_queue_registers_lead_nowhere() {
    passes("lying");
}

#[test]
fn a_driver_in_c_faults_its_pages_in() {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR"));
    let output = compile::run(&mut Command::new(compile::example(capi, "machine_fake")));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().last(), Some("ok"), "{said}");
}

#[test]
fn the_header_can_be_included_alone_by_cpp_and_without_the_fake_machine() {
    let include = Path::new(env!("CARGO_TARGET_TMPDIR")).join("include.cpp");
    let text = "#include \"pasidon.h\"\nint main() { return iommu_strerror(0) == nullptr; }\n";
    fs::write(&include, text).expect("a file can be written");
    let capi = Path::new(env!("CARGO_MANIFEST_DIR"));
    compile::run(compile::compiler(capi).args(["-x", "c++", "-fsyntax-only"]).arg(&include));
}
