//! Each block as our writer and as rust-hdl's own writer make it: side by side on the same random inputs, equal outputs in every
//! cycle. `SEED` chooses the inputs; `STOCK` the designs, by name.

use pasidon_hdl::{Direction, Module, Options, emit, session, stock};
use pasidon_rtl::{Design, top};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::rc::Rc;

/// Cycles that each pair runs.
const CYCLES: u32 = 20_000;

/// Both texts of a block, and a bench module that compares them.
fn pair(block: &Rc<Module>, number: usize) -> String {
    let prefix = format!("ours{number}_");
    let ours =
        emit(block, &Options { prefix: &prefix, ..Options::default() }).expect("the block becomes Verilog");
    let theirs =
        stock::verilog(block, &format!("stock{number}")).expect("the block becomes rust-hdl's Verilog");
    let mut text = format!("{}\n{theirs}\n", ours.verilog);
    writeln!(text, "module pair{number} (input clk, input rst, input [63:0] cycle);").unwrap();
    let (mut draw, mut compare, mut connect) = (String::new(), String::new(), [vec![], vec![]]);
    for port in &ours.ports {
        let (name, width) = (&port.name, port.width);
        if matches!(name.as_str(), "clk" | "rst") {
            connect.iter_mut().for_each(|c| c.push(format!(".{name}({name})")));
        } else if port.direction == Direction::In {
            let words = width.div_ceil(32);
            writeln!(text, "  reg [{}:0] i_{name};", width - 1).unwrap();
            let bits = vec!["$urandom"; words as usize].join(", ");
            // Wide inputs are often 0 and often alike, or nothing would ever match.
            let value = if width > 1 {
                writeln!(text, "  reg [{}:0] d_{name};", 32 * words - 1).unwrap();
                writeln!(draw, "    d_{name} = {{{bits}}};").unwrap();
                format!("($urandom & 3) == 0 ? d_{name}[{}:0] & 3 : d_{name}[{}:0]", width - 1, width - 1)
            } else {
                "1'($urandom)".into()
            };
            writeln!(draw, "    if (($urandom & 1) == 0) i_{name} <= {value};").unwrap();
            connect.iter_mut().for_each(|c| c.push(format!(".{name}(i_{name})")));
        } else {
            writeln!(text, "  wire [{}:0] o_{name}, s_{name};", width - 1).unwrap();
            writeln!(
                compare,
                "    if (o_{name} !== s_{name}) begin $display(\"DIFFERENCE {}.{name} in cycle %0d: %h, %h\", cycle, o_{name}, s_{name}); $fatal; end",
                block.kind()
            )
            .unwrap();
            connect[0].push(format!(".{name}(o_{name})"));
            connect[1].push(format!(".{name}(s_{name})"));
        }
    }
    writeln!(text, "  {} ours ({});", ours.top, connect[0].join(", ")).unwrap();
    writeln!(text, "  stock{number} theirs ({});", connect[1].join(", ")).unwrap();
    writeln!(text, "  always @(posedge clk) begin\n{draw}  end\n  always @(negedge clk) begin\n{compare}  end\nendmodule\n").unwrap();
    text
}

fn compare(design: &Design) {
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    println!("SEED={seed}");
    let (text, count) = session(|| {
        let mut blocks = top::iommu(design).blocks();
        // Equal blocks that were described twice are compared once.
        let mut seen = std::collections::BTreeSet::new();
        blocks.retain(|block| {
            let text = emit(block, &Options::default()).expect("the block becomes Verilog").verilog;
            seen.insert(text)
        });
        let pairs: Vec<String> = blocks.iter().enumerate().map(|(i, block)| pair(block, i)).collect();
        (pairs.concat(), blocks.len())
    });
    let mut bench = text;
    writeln!(bench, "module bench;\n  reg clk = 0, rst = 1;\n  reg [63:0] cycle = 0;").unwrap();
    for i in 0..count {
        writeln!(bench, "  pair{i} p{i} (.clk(clk), .rst(rst), .cycle(cycle));").unwrap();
    }
    writeln!(
        bench,
        "  always #1 clk = !clk;\n  always @(posedge clk) begin\n    cycle <= cycle + 1;\n    rst <= cycle < 4 || ($urandom % 1000) == 0;\n    \
         if (cycle == {CYCLES}) begin $display(\"EQUAL\"); $finish; end\n  end\nendmodule"
    )
    .unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stock-{}", design.name));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the test's folder can be made");
    fs::write(folder.join("bench.v"), bench).expect("the bench can be written");
    let tool = std::env::var("VERILATOR").unwrap_or_else(|_| "verilator".into());
    let built = Command::new(tool)
        .current_dir(&folder)
        .args([
            "--binary",
            "-Wno-fatal",
            "-Wno-lint",
            "-Wno-style",
            "-Wno-UNOPTFLAT",
            "-j",
            "2",
            "--x-initial",
            "0",
        ])
        .args(["--x-assign", "0", "-CFLAGS", "-O1", "--top-module", "bench", "-o", "bench", "bench.v"])
        .output()
        .expect("Verilator runs");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let run = Command::new(folder.join("obj_dir/bench"))
        .arg(format!("+verilator+seed+{seed}"))
        .output()
        .expect("the bench runs");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains("EQUAL"), "{}: {said}\n{}", design.name, folder.display());
    println!("{}: {count} blocks, {CYCLES} cycles each", design.name);
}

#[test]
fn both_writers_make_the_same_hardware() {
    let names = std::env::var("STOCK").unwrap_or_else(|_| "tiny".into());
    for name in names.split_whitespace() {
        compare(&Design::shipped(name).unwrap_or_else(|| panic!("{name} is not shipped")));
    }
}
