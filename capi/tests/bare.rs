//! A program without an operating system links the library, and nothing else.

use std::{env, path::Path, process::Command};

#[allow(dead_code, reason = "the tests of the example use the rest")]
mod compile;

#[test]
fn a_bare_metal_program_links_the_library_alone() {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["rustc", "--quiet", "--package", "pasidon-capi", "--lib", "--no-default-features"]);
    cargo.args(["--profile", "bare", "--crate-type", "staticlib", "--message-format", "json"]);
    let messages = String::from_utf8(compile::run(cargo.current_dir(capi)).stdout).expect("text");
    let library = messages.split('"').find(|part| part.ends_with("libpasidon_capi.a")).expect("a library");
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare");
    compile::run(
        compile::compiler(capi)
            .args(["-std=gnu11", "-Os", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-nostdlib"])
            .args(["-static", "-Wl,--gc-sections,--no-undefined", "-o"])
            .arg(&program)
            .arg(capi.join("examples/bare.c"))
            .arg(library),
    );
    // The README tells what `make size` measures, some 115 kB: that it has to be told anew is noticed here.
    let size = std::fs::metadata(&program).expect("it was linked").len();
    assert!(size < 256 << 10, "{size} bytes");
}
