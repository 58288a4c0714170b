//! Verilated cache and shim on a few lines of hand-written Verilog.

use super::*;
use std::path::PathBuf;

const VERILOG: &str = "
module pasidon_iommu(input clk, input rst, input req0_valid, input [63:0] req0_iova, output reg rsp0_valid,
                     output reg [55:0] rsp0_spa, output req0_ready);
  wire [55:0] sum = req0_iova[55:0] + 56'd5;
  reg [2:0] count;
  assign req0_ready = count[0];
  always @(posedge clk) if (rst) begin rsp0_valid <= 0; rsp0_spa <= 0; count <= 0; end
    else begin rsp0_valid <= req0_valid & req0_ready; rsp0_spa <= sum; count <= count + 3'd1; end
endmodule";

fn ports() -> Vec<PortShape> {
    [
        ("clk", 1, false),
        ("rst", 1, false),
        ("req0_valid", 1, false),
        ("req0_iova", 64, false),
        ("rsp0_valid", 1, true),
        ("rsp0_spa", 56, true),
        ("req0_ready", 1, true),
    ]
    .map(|(name, width, output)| PortShape { name: name.into(), width, output })
    .into()
}

fn scratch(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("pasidon-model-{}-{name}", std::process::id()))
}

/// Models of its own, and the runtime that all tests share.
fn cache(target: &Path) -> Cache {
    Cache::in_workspace().quiet().aside(&target.join("models"))
}

fn load(verilog: &str, cache: &Cache, flavour: Flavour) -> Result<Verilated, VerilatedError> {
    let source = Source { name: "fixture", verilog, top: "pasidon_iommu", ports: &ports() };
    Verilated::from_source(&source, cache, flavour)
}

/// Every file below `folder`, and when it was written.
fn made(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let written = path.metadata().unwrap().modified().unwrap();
                found.push((path, written));
            }
        }
    }
    found.sort();
    found
}

fn exercise(model: &mut Verilated) {
    model.reset(3);
    assert_eq!((model.output.req[0].ready, model.output.req[0].rsp_valid), (0, 0));
    for i in 0..20u64 {
        // Inputs go through combinational logic into registers within the one cycle.
        model.input.req[0].valid = 1;
        model.input.req[0].iova = i << 33;
        let ready = model.output.req[0].ready;
        model.tick();
        assert_eq!(model.output.req[0].rsp_valid, ready, "cycle {i}");
        assert_eq!(model.output.req[0].rsp_spa, (i << 33) + 5);
        assert_eq!(model.output.req[0].ready, (i + 1) & 1);
    }
    model.check().unwrap();
}

#[test]
fn both_flavours_move_ports_and_are_cached() {
    let target = scratch("flavours");
    let cache = cache(&target);
    std::thread::scope(|scope| {
        // Two runs at once that need the same model.
        for _ in 0..2 {
            scope.spawn(|| exercise(&mut load(VERILOG, &cache, Flavour::Fast).unwrap()));
        }
    });
    let made = made(&target);
    let (mut a, mut b) =
        (load(VERILOG, &cache, Flavour::Fast).unwrap(), load(VERILOG, &cache, Flavour::Fast).unwrap());
    assert!(made.iter().any(|(file, _)| file.ends_with("model.so")));
    assert_eq!(self::made(&target), made, "the second load compiles nothing");
    exercise(&mut a);
    exercise(&mut b);
    let mut checked = load(VERILOG, &cache, Flavour::Checked).unwrap();
    assert!(checked.trace_to(&target.join("t.fst")));
    exercise(&mut checked);
    assert!(checked.write_coverage(&target.join("c.dat")));
    drop(checked);
    assert!(std::fs::metadata(target.join("t.fst")).unwrap().len() > 100);
    assert!(!a.trace_to(Path::new("x.fst")));
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn every_flavour_does_the_same() {
    let target = scratch("every");
    let cache = cache(&target);
    for flavour in Flavour::ALL {
        let mut model = load(VERILOG, &cache, flavour).unwrap();
        exercise(&mut model);
        let file = target.join(format!("{}.out", flavour.name()));
        assert_eq!(model.write_coverage(&file), flavour.covers(), "{flavour:?}");
        if flavour.covers() {
            assert!(std::fs::read_to_string(&file).unwrap().lines().count() > 3, "{flavour:?}");
        }
        assert_eq!(model.trace_to(&file), flavour.traces(), "{flavour:?}");
    }
    // One directory per flavour, and nothing else that stays.
    let made = |end: &str| {
        let names = std::fs::read_dir(target.join("models")).unwrap();
        names.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(end)).count()
    };
    let flavours: usize = Flavour::ALL.iter().map(|flavour| made(&format!("-{}", flavour.name()))).sum();
    assert_eq!((flavours, made("-runtime"), made(".partial")), (5, 0, 0));
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn waveforms_start_and_stop_at_run_time() {
    let target = scratch("waves");
    let cache = cache(&target);
    let mut model = load(VERILOG, &cache, Flavour::Waveform).unwrap();
    model.reset(2);
    let files = [target.join("a.fst"), target.join("b.fst")];
    let mut sizes = Vec::new();
    for file in &files {
        assert!(model.trace_to(file));
        exercise(&mut model);
        model.stop_trace();
        sizes.push(std::fs::metadata(file).unwrap().len());
        exercise(&mut model);
        // Complete, and untouched by what ran since.
        assert!(sizes.last().unwrap() > &100);
        assert_eq!(std::fs::metadata(file).unwrap().len(), *sizes.last().unwrap());
    }
    drop(model);
    for (file, size) in files.iter().zip(&sizes) {
        assert_eq!(std::fs::metadata(file).unwrap().len(), *size);
    }
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn a_fingerprint_tells_what_verilator_makes_of_it() {
    let target = scratch("fingerprint");
    let cache = cache(&target);
    let of = |verilog: &str| {
        let source = Source { name: "fixture", verilog, top: "pasidon_iommu", ports: &ports() };
        cache.fingerprint(&source, Flavour::Quick).unwrap()
    };
    let original = of(VERILOG);
    assert_eq!(of(&VERILOG.replace("56'd5", "56'h5")), original);
    assert_ne!(of(&VERILOG.replace("56'd5", "56'd6")), original);
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn the_checked_flavour_finds_outputs_that_depend_on_inputs() {
    let target = scratch("comb");
    let verilog =
        VERILOG.replace("assign req0_ready = count[0]", "assign req0_ready = count[0] & req0_valid");
    let cache = cache(&target);
    let mut model = load(&verilog, &cache, Flavour::Checked).unwrap();
    model.reset(2);
    for i in 0..4 {
        model.input.req[0].valid = i & 1;
        model.tick();
    }
    assert!(model.check().unwrap_err().to_string().contains("depends on an input"));
    std::fs::remove_dir_all(target).unwrap();
}

#[test]
fn what_goes_wrong_is_said() {
    let target = scratch("wrong");
    let cache = cache(&target);
    let error = load("module pasidon_iommu(input clk); assign x = ; endmodule", &cache, Flavour::Fast);
    let error = error.err().unwrap().to_string();
    assert!(error.contains("does not accept the Verilog") && error.contains("syntax error"), "{error}");
    let missing = cache.clone().with_verilator("no-such-verilator");
    let error = load(VERILOG, &missing, Flavour::Fast).err().unwrap().to_string();
    assert!(
        error.contains("no-such-verilator is not installed") && error.contains("apt-get install"),
        "{error}"
    );
    std::fs::remove_dir_all(&target).unwrap();
    // A file where the directory should be stands for every reason why it cannot be made (a test may run as root).
    std::fs::write(&target, "").unwrap();
    let error = load(VERILOG, &Cache::new(&target).quiet(), Flavour::Fast).err().unwrap().to_string();
    assert!(error.contains("PASIDON_TARGET"), "{error}");
    std::fs::remove_file(target).unwrap();
    let wide = [PortShape { name: "req0_iova".into(), width: 65, output: false }];
    assert!(shim::layout(&wide).unwrap_err().to_string().contains("wider"));
    let foreign = [PortShape { name: "foo".into(), width: 1, output: true }];
    assert!(shim::layout(&foreign).unwrap_err().to_string().contains("no place"));
}
