//! Compiles programs in C against the header and the static library.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

pub fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// The C compiler, with every warning an error and the header in reach.
pub fn compiler(capi: &Path) -> Command {
    let mut command = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()));
    command.args(["-Wall", "-Wextra", "-Werror", "-I"]).arg(capi.join("include"));
    command
}

/// The static library with the fake machine, built as the tests are.
fn library(capi: &Path) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--package", "pasidon-capi", "--lib", "--features", "fake"]);
    cargo.args(["--crate-type", "staticlib", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.current_dir(capi);
    let messages = String::from_utf8(run(&mut cargo).stdout).expect("cargo's messages are text");
    // The one path in the messages that ends so.
    let path = messages.split('"').find(|part| part.ends_with("libpasidon_capi.a"));
    path.expect("cargo names the library that it built").into()
}

/// A program of these sources, which are named from the crate's folder.
pub fn program(capi: &Path, name: &str, sources: &[&str]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(folder).expect("a folder for what the tests build");
    let program = folder.join(name);
    run(compiler(capi)
        .args(["-std=c11", "-Wpedantic", "-g", "-DIOMMU_FAKE", "-o"])
        .arg(&program)
        .args(sources.iter().map(|source| capi.join(source)))
        .arg(library(capi))
        .args(["-lpthread", "-ldl", "-lm"]));
    program
}

/// The example program on the machine in `examples/<machine>.c`.
pub fn example(capi: &Path, machine: &str) -> PathBuf {
    let machine_source = format!("examples/{machine}.c");
    program(capi, &format!("fault_in_{machine}"), &["examples/fault_in.c", &machine_source])
}
