//! The header is the one that the sources say, and the example in C does what it says.

use std::{
    env, fs,
    path::Path,
    process::{Command, Output},
};

#[test]
fn the_header_is_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_root_or_default(root);
    let mut text = Vec::new();
    let header = cbindgen::Builder::new().with_config(config).with_crate(root).generate();
    header.expect("the sources can be read").write(&mut text);
    let text = String::from_utf8(text).expect("a header is text");
    let file = root.join("include/pasidon_golden.h");
    if env::var_os("UPDATE").is_some() {
        fs::write(&file, &text).expect("the header can be written");
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(kept == text, "{} is stale: UPDATE=1 cargo test -p pasidon-golden-c writes it", file.display());
}

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

#[test]
fn the_example_translates_a_request() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--package", "pasidon-golden-c", "--lib"]);
    cargo.args(["--crate-type", "staticlib", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let messages = String::from_utf8(run(cargo.current_dir(root)).stdout).expect("cargo's messages are text");
    // The one path in the messages that ends so.
    let library = messages.split('"').find(|part| part.ends_with("libpasidon_golden_c.a"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).expect("a folder for what the tests build");
    let program = folder.join("translate");
    let mut compiler = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-I"]).arg(root.join("include"));
    compiler.arg("-o").arg(&program).arg(root.join("examples/translate.c"));
    compiler.arg(library.expect("cargo names the library that it built"));
    run(compiler.args(["-lpthread", "-ldl", "-lm"]));
    let said = String::from_utf8(run(&mut Command::new(program)).stdout).expect("text");
    let expected =
        "vectors = 3: it must be 1, 2, 4, 8 or 16\nread 0x402123: 0x80123\nwrite 0x402123: cause 15\n";
    assert_eq!(said, expected);
}
