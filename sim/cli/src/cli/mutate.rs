//! `pasidon mutate`.

use super::{Failure, style, write_json};
use clap::Args;
use indicatif::ProgressBar;
use pasidon_cosim::verilated::workspace_target;
use pasidon_cosim::verilated::{Cache, Flavour, Verilated};
use pasidon_rtl::design::Design;
use pasidon_verify::engine::EngineError;
use pasidon_verify::lockstep::{self, Cost, engines_on, run_on};
use pasidon_verify::mutation::{self, Claims, MutationReport, Noticed, Options, Tried, Verdict};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

const TEMPLATE: &str = "{wide_bar} {pos} of {len}, {msg}, {elapsed}";

#[derive(Args)]
#[command(after_help = "\
Makes one fault at a time in the emitted Verilog (an inverted condition, a dropped term, swapped branches, == for !=, < for <=, a
constant, slice or width off by one, a stuck signal, a dropped assignment, a wrong reset value) and runs lockstep on it, under
one seed after the other, until the fault is noticed (killed): as a difference, a hang, a crash, or, in a run in which memory and devices
never pause, as a kind of operation that takes more cycles or memory reads than without the fault (a cache that loses entries gives no
wrong response). --seed selects the faults; they are spread over all modules and all kinds of faults. Faults that do not compile, or that
Verilator compiles to the same model as the original, do not count.

The report names each survivor by its id, with its line of the Verilog (pasidon generate) before and after the fault. The JSON is written
anew after each fault; with --resume, a run takes over what the file has. A file of claims (--equivalent) lists faults that change
nothing, with a proof for each; they are tried, and counted separately. The exit code is 0 whether or not there are survivors.

Examples:
  pasidon mutate --design full --count 120 --seed 1 --json mutants.json
  pasidon mutate --design tiny --json mutants.json --resume --equivalent tests/mutants.toml
  pasidon mutate --design full --only walker.137 --only l1_tlb.20 --ops 200000")]
pub struct Mutate {
    #[arg(long, short, default_value = "full", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Number of faults to try, without those that do not count
    #[arg(long, short, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    count: u64,
    /// Seed that selects the faults
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
    /// Operations of a round, from reset to reset: many short ones meet more tables
    #[arg(long, default_value_t = 2_500, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    round: u64,
    /// Write the report as JSON, after each fault
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Go on with the report that --json names, if there is one and it is of the same run
    #[arg(long, requires = "json")]
    resume: bool,
    /// Faults that are known to change nothing, with the reasons (TOML)
    #[arg(long, value_name = "FILE")]
    equivalent: Option<PathBuf>,
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
        let judge = |model: Verilated| self.judge(&design, model, &usual);
        let text = format!("{:x}", Sha256::digest(&mutants.original().verilog));
        let claims = self.equivalent.as_deref().map(Claims::read).transpose()?.unwrap_or_default();
        let options = Options {
            count: self.count as usize,
            seed: self.seed,
            jobs: self.jobs as usize,
            only: self.only.clone(),
            known: self.known(&text)?,
            claims,
        };
        let count = if self.only.is_empty() { self.count } else { self.only.len() as u64 };
        let bar = ProgressBar::new(count).with_style(style(TEMPLATE));
        bar.set_message("checking the hardware without a fault");
        let unwritten = Mutex::new(None);
        let progress = |report: &MutationReport, tried: &Tried| {
            bar.set_position(report.count as u64);
            bar.set_message(format!(
                "{} killed, {} survive; {}",
                report.killed,
                report.count - report.killed,
                tried.fault.id
            ));
            if let Err(error) = self.write(report, &text) {
                unwritten.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            }
        };
        let cache = Cache::in_workspace();
        let report = mutation::run(&design.name, &mutants, &cache, &scratch.0, &options, &judge, &progress)?;
        bar.finish_and_clear();
        if let Some(error) = unwritten.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error.into());
        }
        self.write(&report, &text)?;
        print(&report, !self.only.is_empty());
        Ok(())
    }

    /// What a report says of the run besides what became of the faults; `text` is a digest of the Verilog.
    fn terms(&self, text: &str) -> serde_json::Value {
        json!({
            "verilog": text, "seed": self.seed, "ops": self.ops, "lockstep_seeds": self.seeds, "latency": self.latency,
            "round": self.round,
        })
    }

    /// Writes the report; a run that is broken off leaves the last whole one.
    fn write(&self, report: &MutationReport, text: &str) -> Result<(), String> {
        let Some(path) = &self.json else { return Ok(()) };
        let written = || -> Result<(), Failure> {
            let mut json = serde_json::to_value(report)?;
            if let (Some(all), Some(terms)) = (json.as_object_mut(), self.terms(text).as_object()) {
                all.extend(terms.clone());
            }
            let draft = path.with_extension("json.part");
            write_json(&draft, &json)?;
            std::fs::rename(&draft, path)?;
            Ok(())
        };
        written().map_err(|error| format!("{}: {error}", path.display()))
    }

    /// What became of faults in the run that is to be resumed.
    fn known(&self, text: &str) -> Result<BTreeMap<String, Verdict>, Failure> {
        let Some(path) = self.json.as_ref().filter(|path| self.resume && path.exists()) else {
            return Ok(BTreeMap::new());
        };
        let report: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path)?)
            .map_err(|error| format!("{}: not a report: {error}", path.display()))?;
        let terms = self.terms(text);
        let other =
            terms.as_object().into_iter().flatten().find(|(name, value)| report[name.as_str()] != **value);
        if let Some((name, value)) = other {
            let there = &report[name.as_str()];
            return Err(format!(
                "{}: a report of another run: its {name} is {there}, not {value}; without --resume, it is written anew",
                path.display()
            )
            .into());
        }
        let mut known = BTreeMap::new();
        for list in ["kills", "survivors", "equivalent"] {
            for tried in report[list].as_array().into_iter().flatten() {
                let tried: Tried = serde_json::from_value(tried.clone())?;
                known.insert(tried.fault.id, tried.verdict);
            }
        }
        for (list, verdict) in [("same", Verdict::Same), ("broken", Verdict::Broken { how: String::new() })] {
            let ids = report[list].as_array().into_iter().flatten();
            known.extend(ids.filter_map(|id| Some((id.as_str()?.to_string(), verdict.clone()))));
        }
        Ok(known)
    }

    /// How lockstep shows that the model is not the design, if it does. `usual` is the work without a fault.
    fn judge(&self, design: &Design, model: Verilated, usual: &OnceLock<Work>) -> Option<Noticed> {
        let run = |model| {
            let mut both = engines_on(design, model)?;
            let uneven = self.seeds.iter().map(|&seed| (seed, false));
            for (seed, even) in self.seeds.iter().take(1).map(|&seed| (seed, true)).chain(uneven) {
                let options = lockstep::Options {
                    seed,
                    ops: self.ops,
                    latency: self.latency,
                    time: None,
                    flavour: Flavour::Quick,
                    round: self.round,
                    even,
                };
                let report = run_on(&mut both, design, &options, &mut |_| {})?;
                if let Some(difference) = report.difference {
                    let after = report.ops;
                    let how = format!("seed {seed}, after {after} operations: {difference}");
                    return Ok(Some(Noticed::Wrong(how)));
                }
                // The first that is judged has no fault.
                if even {
                    let work = Work { costs: report.costs, singles: report.singles };
                    if let Some(how) = work.exceeds(usual.get_or_init(|| work.clone())) {
                        return Ok(Some(Noticed::Slower(format!("seed {seed}: {how}"))));
                    }
                }
            }
            Ok(None)
        };
        run(model).unwrap_or_else(|error: EngineError| Some(Noticed::Wrong(error.to_string())))
    }
}

/// What a run cost.
#[derive(Clone)]
struct Work {
    costs: BTreeMap<&'static str, Cost>,
    singles: Vec<u64>,
}

impl Work {
    /// What there is more of than usual. When nobody hesitates, the same operations take the same on the same hardware.
    fn exceeds(&self, usual: &Work) -> Option<String> {
        let kinds = self.costs.iter().find_map(|(kind, cost)| {
            let usual = usual.costs.get(kind).copied().unwrap_or_default();
            let sums = [(cost.cycles, usual.cycles, "cycles"), (cost.reads, usual.reads, "beats read")];
            let more = sums.into_iter().find(|(now, usual, _)| now * 1000 > usual * (1000 + TOLERANCE));
            more.map(|(now, usual, what)| format!("{kind}: {now} {what} instead of {usual}"))
        });
        // What was asked alone finds in the caches what it found there before.
        let mut singles = self.singles.iter().zip(&usual.singles);
        kinds.or_else(|| {
            let (now, usual) = singles.find(|(now, usual)| now > usual)?;
            Some(format!("single requests: {now} beats read instead of {usual}"))
        })
    }
}

/// In a thousandth.
const TOLERANCE: u64 = 2;

fn print(report: &MutationReport, each: bool) {
    for (title, sums) in [
        ("module", report.by(|tried| tried.fault.module.clone())),
        ("fault", report.by(|tried| tried.fault.operator.to_string())),
    ] {
        println!("{title:<24} {:>6} {:>6}", "killed", "of");
        for (name, (killed, count)) in sums {
            println!("{name:<24} {killed:>6} {count:>6}");
        }
        println!();
    }
    for tried in report.kills.iter().filter(|_| each).chain(&report.survivors).chain(&report.equivalent) {
        let verdict = match &tried.verdict {
            Verdict::Killed { how } | Verdict::Slower { how } => format!("killed, {how}"),
            Verdict::Equivalent { why } => format!("changes nothing: {why}"),
            _ => "survived".into(),
        };
        println!("{}: {}, line {}: {verdict}", tried.fault.id, tried.fault.operator, tried.fault.line);
        tried.fault.before.lines().for_each(|line| println!("  - {line}"));
        tried.fault.after.lines().for_each(|line| println!("  + {line}"));
    }
    let percent = |of: usize| 100.0 * report.killed as f64 / of.max(1) as f64;
    let able = report.count - report.equivalent.len();
    println!(
        "{}, seed {}: {} of {} faults killed ({:.1} %; {} of them only took more cycles or reads), {} survive",
        report.design,
        report.seed,
        report.killed,
        report.count,
        percent(report.count),
        report.slower,
        report.count - report.killed,
    );
    println!(
        "{} of the survivors change nothing that can be seen: {} of {able} others killed ({:.1} %)",
        report.equivalent.len(),
        report.killed,
        percent(able),
    );
    println!(
        "not counted: {} without effect on the netlist, {} that do not compile",
        report.same.len(),
        report.broken.len()
    );
}
