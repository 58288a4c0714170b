//! `pasidon mutate`.

use super::{Failure, style, write_json};
use clap::Args;
use indicatif::ProgressBar;
use pasidon_rtl::design::Design;
use pasidon_sim::engine::EngineError;
use pasidon_sim::lockstep::{self, engines_on, run_on};
use pasidon_sim::model::cache::workspace_target;
use pasidon_sim::model::{Cache, Flavour, Model};
use pasidon_sim::mutation::{self, Finding, Options, Report, Tried, Verdict};
use std::path::PathBuf;
use std::sync::OnceLock;

const TEMPLATE: &str = "{wide_bar} {pos} of {len}, {msg}, {elapsed}";

#[derive(Args)]
#[command(after_help = "\
Makes one fault at a time in the emitted Verilog (an inverted condition, a dropped term, swapped branches, == for !=, < for <=, a
constant, slice or width off by one, a stuck signal, a dropped assignment, a wrong reset value) and runs lockstep on it, under
one seed after the other, until the fault shows: as a difference, a hang, a crash, or as a run that takes more than 2 % more cycles
or memory reads than without the fault (a cache that forgets gives no wrong answer). Which faults are made follows from
--seed; they are spread over all modules and all kinds of faults. Faults that do not compile, or of which Verilator makes
the same as of the original, do not count.

The report names each survivor by its id, with its line of the Verilog (pasidon generate) before and after the fault. The
exit code is 0 whether or not there are survivors.

Examples:
  pasidon mutate --design full --count 120 --seed 1 --json mutants.json
  pasidon mutate --design full --only walker.137 --only l1_tlb.20 --ops 200000")]
pub struct Mutate {
    /// A shipped design (tiny, default, large, full) or a TOML file
    #[arg(long, short, default_value = "full")]
    design: String,
    /// Faults that must count
    #[arg(long, short, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Decides which faults are made
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Operations of lockstep under each of its seeds
    #[arg(long, short = 'n', default_value_t = 20_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    ops: u64,
    /// Seeds of lockstep, one after the other
    #[arg(long, value_name = "SEED", value_delimiter = ',', default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Memory latency: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
    /// Mutants compiled and run at the same time
    #[arg(long, short, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=256))]
    jobs: u64,
    /// Only this fault, MODULE.NUMBER; may be given several times
    #[arg(long, value_name = "ID")]
    only: Vec<String>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Models of mutants, gone when the run is.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left is removed by whoever cleans the target directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Mutate {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let mutants = pasidon_rtl::mutants(&design)?;
        let scratch = Scratch(workspace_target().join(format!("mutants-{}", std::process::id())));
        let usual = OnceLock::new();
        let judge = |model: Model| self.judge(&design, model, &usual);
        let options = Options {
            count: self.count as usize,
            seed: self.seed,
            jobs: self.jobs as usize,
            only: self.only.clone(),
        };
        let count = if self.only.is_empty() { self.count } else { self.only.len() as u64 };
        let bar = ProgressBar::new(count).with_style(style(TEMPLATE));
        bar.set_message("checking the hardware without a fault");
        let progress = |counted: usize, killed: usize, tried: &Tried| {
            bar.set_position(counted as u64);
            bar.set_message(format!("{killed} killed, {} survive; {}", counted - killed, tried.id));
        };
        let cache = Cache::in_workspace();
        let report = mutation::run(&design.name, &mutants, &cache, &scratch.0, &options, &judge, &progress)?;
        bar.finish_and_clear();
        if let Some(path) = &self.json {
            let mut json = serde_json::to_value(&report)?;
            json["ops"] = self.ops.into();
            json["lockstep_seeds"] = self.seeds.clone().into();
            json["latency"] = self.latency.into();
            write_json(path, &json)?;
        }
        print(&report, !self.only.is_empty());
        Ok(())
    }

    /// How lockstep shows that the model is not the design, if it does. `usual` is the work without a fault.
    fn judge(&self, design: &Design, model: Model, usual: &OnceLock<Vec<Work>>) -> Option<Finding> {
        let run = |model| {
            let mut both = engines_on(design, model)?;
            let mut all = Vec::new();
            for &seed in &self.seeds {
                let options = lockstep::Options {
                    seed,
                    ops: self.ops,
                    latency: self.latency,
                    time: None,
                    flavour: Flavour::Quick,
                };
                let before = both.rtl().events()[3];
                let report = run_on(&mut both, design, &options, &mut |_| {})?;
                if let Some(difference) = report.difference {
                    let after = report.ops;
                    let how = format!("seed {seed}, after {after} operations: {difference}");
                    return Ok(Some(Finding::Wrong(how)));
                }
                let work = Work { cycles: report.cycles, reads: both.rtl().events()[3] - before };
                if let Some(usual) = usual.get()
                    && let Some(how) = work.exceeds(&usual[all.len()])
                {
                    return Ok(Some(Finding::Slower(format!("seed {seed}: {how}"))));
                }
                all.push(work);
            }
            // The first that is judged has no fault.
            usual.get_or_init(|| all);
            Ok(None)
        };
        run(model).unwrap_or_else(|error: EngineError| Some(Finding::Wrong(error.to_string())))
    }
}

/// What a run cost.
#[derive(Debug)]
struct Work {
    cycles: u64,
    /// Read bursts of the hardware.
    reads: u64,
}

impl Work {
    /// What there is clearly more of than usual. The same operations never take exactly the same: pauses fall differently.
    fn exceeds(&self, usual: &Work) -> Option<String> {
        let sums = [(self.cycles, usual.cycles, "cycles"), (self.reads, usual.reads, "memory reads")];
        let more = sums.into_iter().find(|(now, usual, _)| now * 100 > usual * (100 + TOLERANCE))?;
        let (now, usual, what) = more;
        Some(format!("{now} {what} instead of {usual}"))
    }
}

/// In percent.
const TOLERANCE: u64 = 2;

fn print(report: &Report, each: bool) {
    for (title, sums) in [
        ("module", report.by(|tried| tried.module.clone())),
        ("fault", report.by(|tried| tried.operator.to_string())),
    ] {
        println!("{title:<24} {:>6} {:>6}", "killed", "of");
        for (name, (killed, count)) in sums {
            println!("{name:<24} {killed:>6} {count:>6}");
        }
        println!();
    }
    for tried in report.kills.iter().filter(|_| each).chain(&report.survivors) {
        let verdict = match &tried.verdict {
            Verdict::Killed { how } => format!("killed, {how}"),
            Verdict::Slower { how } => format!("killed, {how}"),
            _ => "survived".into(),
        };
        println!("{}: {}, line {}: {verdict}", tried.id, tried.operator, tried.line);
        tried.before.lines().for_each(|line| println!("  - {line}"));
        tried.after.lines().for_each(|line| println!("  + {line}"));
    }
    println!(
        "{}, seed {}: {} of {} faults killed ({:.1} %; {} of them only took more cycles or reads), {} survive; not counted: {} without effect, {} that do not compile",
        report.design,
        report.seed,
        report.killed,
        report.count,
        100.0 * report.killed as f64 / report.count.max(1) as f64,
        report.slower,
        report.survivors.len(),
        report.same.len(),
        report.broken.len()
    );
}
