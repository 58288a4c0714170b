//! The device driver in C of `capi/examples` on the simulated hardware, through `pasidon serve`.

use std::{path::Path, process::Command};

#[path = "../../../capi/tests/compile/mod.rs"]
mod compile;

#[test]
fn a_driver_in_c_faults_its_pages_in_on_simulated_hardware() {
    let capi = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../capi");
    let program = compile::example(&capi, "machine_sim");
    for engine in ["model", "rtl", "both"] {
        let mut command = Command::new(&program);
        command.env("PASIDON", env!("CARGO_BIN_EXE_pasidon")).env("PASIDON_ENGINE", engine);
        let output = compile::run(&mut command);
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.lines().last(), Some("ok"), "{engine}: {said}");
    }
}
