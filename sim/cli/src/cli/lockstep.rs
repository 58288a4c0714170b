//! `pasidon lockstep` and `pasidon replay`.

use super::{Failure, style, write_json};
use clap::Args;
use indicatif::ProgressBar;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_rtl::design::Design;
use pasidon_verify::lockstep::replay::Replay;
use pasidon_verify::lockstep::{LockstepReport, Options, ROUND, engines, run_on};
use std::path::PathBuf;
use std::time::Duration;

const TEMPLATE: &str = "{msg} {wide_bar} {human_pos} of {human_len} operations, {per_sec}";

#[derive(Args)]
#[command(after_help = "\
The hardware of a design and the golden model carry out the same random operations: tables (whole, subtly broken, garbage), register
accesses, commands, requests of every kind on all ports at once, invalidations, memory that fails. Every response, fault record,
register, interrupt and byte of memory is compared. No stale translation may be used after the fence that ends its use.

At the first difference the operations are shortened to the fewest that still differ, written to a file, and recorded as a waveform;
`pasidon replay` repeats them. The exit code is 0 only if nothing differed.

Examples:
  pasidon lockstep --design default --seed 7 --ops 1000000
  pasidon lockstep --design my-board.toml --ops 100000 --latency 100 --json report.json --out failure")]
pub struct Lockstep {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Operations: requests, register accesses, commands, changes of memory
    #[arg(long, short = 'n', default_value_t = 1_000_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    ops: u64,
    /// Memory latency: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where a sequence that fails is written: PREFIX.json, and its waveform, PREFIX.fst
    #[arg(long, default_value = "lockstep-failure", value_name = "PREFIX")]
    out: PathBuf,
    /// Stop after this many seconds, even before all operations
    #[arg(long, value_name = "SECONDS")]
    time: Option<u64>,
    /// Seconds for shortening a sequence that fails; 0 writes it as it is
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    shorten: u64,
    /// Record no waveform of a sequence that fails (a waveform needs another compiled model)
    #[arg(long)]
    no_waves: bool,
}

impl Lockstep {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let cache = Cache::in_workspace();
        let options = Options {
            seed: self.seed,
            ops: self.ops,
            latency: self.latency,
            time: self.time.map(Duration::from_secs),
            flavour: Flavour::Fast,
            round: ROUND,
            even: false,
        };
        let mut both = engines(&design, &cache, options.flavour)?;
        let bar = ProgressBar::new(self.ops).with_style(style(TEMPLATE));
        bar.set_message(format!("{}, seed {}", design.name, self.seed));
        let report = run_on(&mut both, &design, &options, &mut |ops| bar.set_position(ops))?;
        bar.finish_and_clear();
        if let Some(path) = &self.json {
            write_json(path, &report)?;
        }
        print(&report);
        let Some(failed) = &report.failed else { return Ok(()) };
        eprintln!("a difference: shortening {} operations ...", failed.round.ops.len());
        let replay = Replay::shortened(&mut both, &self.design, failed, Duration::from_secs(self.shorten))?;
        let file = self.out.with_extension("json");
        replay.write(&file)?;
        let mut message = format!(
            "the hardware and the golden model differ in {}\n{} operations: {}",
            replay.found,
            replay.ops.len(),
            file.display()
        );
        if !self.no_waves {
            let waves = self.out.with_extension("fst");
            replay.run(&cache, Some(&waves))?;
            message += &format!("\nwaveform: {}", waves.display());
        }
        message += &format!("\nto repeat it: pasidon replay {}", file.display());
        Err(message.into())
    }
}

fn print(report: &LockstepReport) {
    println!(
        "{}, seed {}, latency {}: {} operations in {} rounds ({} answers), {} cycles, {:.1} s, {:.0} operations/s: {} mismatches",
        report.design,
        report.seed,
        report.latency,
        report.ops,
        report.rounds,
        report.requests,
        report.cycles,
        report.seconds,
        report.ops as f64 / report.seconds.max(1e-9),
        report.mismatches
    );
    print!("{}", report.coverage.table());
}

#[derive(Args)]
#[command(after_help = "\
The exit code is 0 if the hardware and the golden model agree now, and not 0 if they still differ.

Examples:
  pasidon replay lockstep-failure.json
  pasidon replay lockstep-failure.json --waves failure.fst")]
pub struct ReplayFile {
    /// Replay file, written by `pasidon lockstep`
    file: PathBuf,
    /// Write a waveform (FST) here
    #[arg(long, value_name = "FILE")]
    waves: Option<PathBuf>,
}

impl ReplayFile {
    pub fn run(self) -> Result<(), Failure> {
        let replay = Replay::read(&self.file)?;
        match replay.run(&Cache::in_workspace(), self.waves.as_deref())? {
            None => {
                println!("{} operations: the hardware and the golden model agree", replay.ops.len());
                Ok(())
            }
            Some(difference) => {
                Err(format!("the hardware and the golden model differ in {difference}").into())
            }
        }
    }
}
