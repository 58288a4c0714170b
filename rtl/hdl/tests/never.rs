//! Assertions beside a module: the module is the same with and without them, and Verilator, yosys' grammar of immediate assertions
//! aside, runs them.

use pasidon_hdl::{Emitted, Module, Options, emit, labels, lit, session};
use std::path::Path;
use std::process::Command;

labels! {
    /// What the counter does.
    mod state {
        IDLE,
        RUN,
        STOP,
    }
}

/// A counter that counts to `most`, and says that it never passes 5 and never stands still while it runs.
fn counter(most: u64, says: bool) -> Emitted {
    session(|| {
        let mut m = Module::new("counter", "Counts.");
        let go = m.input("go", 1);
        let s = m.reg("state", 2, state::IDLE);
        let count = m.reg("count", 4, 0);
        m.switch(s, |m, switch| {
            switch.case(m, state::IDLE, |m| m.when(go, |m| m.set(s, lit(state::RUN, 2))));
            switch.case(m, state::RUN, |m| {
                m.when_else(count.is(most), |m| m.set(s, lit(state::STOP, 2)), |m| m.set(count, count.inc()));
            });
        });
        if says {
            // What only an assertion reads.
            let last = m.reg("last", 4, 0);
            m.set(last, count);
            let ran = m.reg("ran", 1, 0);
            m.set(ran, s.is(state::RUN));
            m.never("the count passes 5", lit(5, 4).lt(count));
            m.never("the count stands still while it runs", ran & s.is(state::RUN) & last.eq(count));
            m.never("what is known to be impossible", lit(0, 1));
        }
        m.output("value", count);
        m.output("stopped", s.is(state::STOP));
        emit(&m.build(), &Options { prefix: "my_", ..Options::default() }).expect("emits")
    })
}

#[test]
fn a_module_is_the_same_with_and_without_what_it_says() {
    let (with, without) = (counter(5, true), counter(5, false));
    assert_eq!(with.verilog, without.verilog);
    assert_eq!(without.never, "");
    assert_eq!(with.never.matches("assert (").count(), 2, "{}", with.never);
    assert!(with.never.contains("bind my_counter my_counter_never checks ("), "{}", with.never);
    assert!(with.never.contains("  // Never: the count passes 5\n"), "{}", with.never);
}

/// Runs the counter in Verilator for 20 cycles; the line of an assertion that failed.
fn run(emitted: &Emitted, folder: &Path) -> Option<String> {
    std::fs::create_dir_all(folder).expect("folder");
    let bench = "module bench(input clk);\n  reg [4:0] cycle = 0;\n  wire [3:0] value;\n  wire stopped;\n  my_counter counter (.clk(clk), .rst(cycle < 2), .go(1'b1), .value(value), .stopped(stopped));\n  always @(posedge clk) begin cycle <= cycle + 1; if (cycle == 20) $finish; end\nendmodule\n";
    let main = "#include \"Vbench.h\"\nint main() { Vbench top; for (int i = 0; i < 60 && !Verilated::gotFinish(); i++) { top.clk = i & 1; top.eval(); } }\n";
    for (name, text) in [
        ("design.v", &emitted.verilog[..]),
        ("never.sv", &emitted.never),
        ("bench.sv", bench),
        ("main.cpp", main),
    ] {
        std::fs::write(folder.join(name), text).expect("file");
    }
    let mut verilator = Command::new("verilator");
    let sources = ["bench.sv", "design.v", "never.sv", "main.cpp"];
    let flags = ["--cc", "--exe", "--build", "--assert", "-Wall", "-Wno-UNUSEDSIGNAL", "-Wno-DECLFILENAME"];
    let flags = flags.into_iter().chain(["--top-module", "bench", "--Mdir", "built", "-CFLAGS", "-O0"]);
    let built = verilator.args(flags).args(sources).current_dir(folder).output().expect("verilator runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let ran = Command::new(folder.join("built/Vbench")).output().expect("the model runs");
    let said = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    said.lines().find(|line| line.contains("Assertion failed")).map(Into::into)
}

#[test]
fn an_assertion_fails_where_it_says_and_only_there() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("never");
    assert_eq!(run(&counter(5, true), &folder.join("right")), None);
    let said = run(&counter(6, true), &folder.join("wrong")).expect("an assertion fails");
    let wrong = counter(6, true).never;
    let line = wrong.lines().position(|line| line.contains("the count passes 5")).expect("it is there") + 2;
    assert!(said.contains(&format!("never.sv:{line}:")), "{said}, expected line {line}");
}
