//! `pasidon coverage`.

use super::{Failure, style, write_json};
use clap::Args;
use indicatif::ProgressBar;
use pasidon_cosim::verilated::workspace_target;
use pasidon_cosim::verilated::{Cache, Flavour, Verilated};
use pasidon_rtl::design::Design;
use pasidon_verify::coverage::{self, Hole, ModuleCoverage, PointKind};
use pasidon_verify::lockstep::{Options, ROUND, engines_on, run_on};
use serde_json::json;
use std::path::PathBuf;

const TEMPLATE: &str = "{wide_bar} {human_pos} of {human_len} operations, {per_sec}";

#[derive(Args)]
#[command(after_help = "\
Runs lockstep on a model that counts every branch of clocked and guarded code (lines), and every bit that changes (toggles). The
counts are per module, all its instances together. A hole is a branch that was never run or a bit that never changed, with
its line of the Verilog (pasidon generate).

The model for this is large: the first run compiles it for a minute or more.

Examples:
  pasidon coverage --design full --ops 300000 --seed 1 --seed 2
  pasidon coverage --design full --ops 300000 --holes lines --json coverage.json")]
pub struct Coverage {
    #[arg(long, short, default_value = "full", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Seed of everything random; may be given several times, and the counts add up
    #[arg(long, default_values_t = [1])]
    seed: Vec<u64>,
    /// Operations under each seed
    #[arg(long, short = 'n', default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    ops: u64,
    /// Memory latency: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
    /// Which holes to print; the JSON has them all
    #[arg(long, value_enum, default_value_t = Holes::Lines)]
    holes: Holes,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Holes {
    None,
    Lines,
    All,
}

impl Coverage {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let generated = pasidon_rtl::generate(&design)?;
        let model = Verilated::load(&generated, &design.name, &Cache::in_workspace(), Flavour::Coverage)?;
        let mut both = engines_on(&design, model)?;
        let bar = ProgressBar::new(self.ops * self.seed.len() as u64).with_style(style(TEMPLATE));
        let (mut done, mut mismatches) = (0, Vec::new());
        for &seed in &self.seed {
            let options = Options {
                seed,
                ops: self.ops,
                latency: self.latency,
                time: None,
                flavour: Flavour::Coverage,
                round: ROUND,
                even: false,
            };
            let report = run_on(&mut both, &design, &options, &mut |ops| bar.set_position(done + ops))?;
            done += report.ops;
            mismatches.extend(report.difference.map(|difference| format!("seed {seed}: {difference}")));
        }
        bar.finish_and_clear();
        let file = workspace_target().join(format!("coverage-{}.dat", std::process::id()));
        both.rtl().verilated_mut().write_coverage(&file);
        let text = std::fs::read_to_string(&file).map_err(|cause| format!("{}: {cause}", file.display()))?;
        std::fs::remove_file(&file)?;
        let mut counts = coverage::VerilogCoverage::of(&generated.prefix);
        counts.add(&text)?;
        let (modules, total, holes) = (counts.modules(), counts.total(), counts.holes(&generated.verilog));
        if let Some(path) = &self.json {
            let report = json!({
                "design": design.name, "hash": generated.hash, "seeds": self.seed, "ops": done, "latency": self.latency,
                "mismatches": mismatches.len(), "total": total, "modules": modules, "holes": holes,
            });
            write_json(path, &report)?;
        }
        print(&modules, &total, &holes, self.holes);
        println!(
            "{}, seeds {:?}: {done} operations, {} mismatches",
            design.name,
            self.seed,
            mismatches.len()
        );
        if mismatches.is_empty() { Ok(()) } else { Err(mismatches.join("\n").into()) }
    }
}

fn print(modules: &[ModuleCoverage], total: &ModuleCoverage, holes: &[Hole], which: Holes) {
    println!("{:<24} {:>12} {:>7} {:>14} {:>7}", "module", "lines", "", "toggles", "");
    for sum in modules.iter().chain([total]) {
        let percent = |covered: u64, all: u64| match all {
            0 => "-".to_string(),
            all => format!("{:.1} %", 100.0 * covered as f64 / all as f64),
        };
        println!(
            "{:<24} {:>12} {:>7} {:>14} {:>7}",
            sum.module,
            format!("{} of {}", sum.lines_covered, sum.lines),
            percent(sum.lines_covered, sum.lines),
            format!("{} of {}", sum.toggles_covered, sum.toggles),
            percent(sum.toggles_covered, sum.toggles)
        );
    }
    println!();
    for hole in holes
        .iter()
        .filter(|hole| which == Holes::All || which == Holes::Lines && hole.kind == PointKind::Line)
    {
        println!(
            "{}, line {}: {} never {}: {}",
            hole.module,
            hole.line,
            hole.what,
            match hole.kind {
                PointKind::Line => "run",
                PointKind::Toggle => "changed",
            },
            hole.source
        );
    }
}
