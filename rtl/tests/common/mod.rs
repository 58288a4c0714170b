//! What the tests of designs share.

use pasidon_rtl::design::Design;
use std::path::Path;
use std::process::Command;

/// The seed, which a failing test shows.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x5eed_u64).max(1);
    println!("SEED={seed}");
    seed
}

/// A small generator, so that a seed means the same designs everywhere.
pub struct Random(pub u64);

impl Random {
    /// A number less than `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// Has Verilator read the design with all its warnings.
pub fn lint(design: &Design, verilog: &str) {
    // Tests of several programs run at a time, and their designs may have the same name.
    let name = format!("lint-{}-{}.v", env!("CARGO_CRATE_NAME"), design.name);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&file, verilog).expect("a temporary file");
    let tool = std::env::var("VERILATOR").unwrap_or_else(|_| "verilator".into());
    let output = Command::new(&tool)
        .args(["--lint-only", "-Wall", "--top-module", "pasidon_iommu"])
        .arg(&file)
        .output()
        .unwrap_or_else(|error| panic!("{tool} reads the Verilog in this test: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}\n{}", design.name, file.display());
    std::fs::remove_file(&file).expect("it was written");
}

/// Whether Verilator is to read every design (`LINT=all`), not only some.
pub fn lint_all() -> bool {
    std::env::var("LINT").is_ok_and(|value| value == "all")
}
