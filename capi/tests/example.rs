//! A device driver in C, compiled with the C compiler against the header and the static library, and run.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    output
}

/// The static library with the fake machine, built as the tests are.
fn library() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--package", "pasidon-capi", "--lib", "--features", "fake"]);
    cargo.args(["--crate-type", "staticlib", "--message-format", "json"]);
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    let messages = String::from_utf8(run(&mut cargo).stdout).expect("cargo's messages are text");
    // The one path in the messages that ends so.
    let path = messages.split('"').find(|part| part.ends_with("libpasidon_capi.a"));
    path.expect("cargo names the library that it built").into()
}

#[test]
fn a_driver_in_c_faults_its_pages_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = library();
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let program = folder.join("fault_in");
    let examples = root.join("examples");
    run(Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-DIOMMU_FAKE", "-I"])
        .args([root.join("include").as_os_str(), OsStr::new("-o"), program.as_os_str()])
        .args([examples.join("fault_in.c"), examples.join("machine_fake.c"), library])
        .args(["-lpthread", "-ldl", "-lm"]));
    let output = run(&mut Command::new(&program));
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.lines().last(), Some("ok"), "{said}");

    // The header can be included alone, by C++ too, and without the fake machine.
    let include = folder.join("include.cpp");
    let text = "#include \"pasidon.h\"\nint main() { return iommu_strerror(0) == nullptr; }\n";
    fs::write(&include, text).expect("a file can be written");
    run(Command::new(&compiler)
        .args(["-x", "c++", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I"])
        .arg(root.join("include"))
        .arg(&include));
}
