//! `pasidon sweep`: points, designs, run, merge, slurm.

use super::Failure;
use super::engine;
use clap::{Args, Subcommand};
use pasidon_study::sweep::file::Sweep;
use pasidon_study::sweep::merge::{Merged, collect, write};
use pasidon_study::sweep::run::{RunOptions, run, share};
use pasidon_study::sweep::slurm::{SlurmOptions, submit};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Subcommand)]
pub enum Command {
    /// List the points of a sweep file, and check each
    Points(Points),
    /// List the designs of a sweep's points, each once, or write them as design files
    Designs(Designs),
    /// Answer the points that have no answer yet, on all cores. Interrupted, it goes on where it was
    #[command(after_help = "\
Ctrl-C ends it after the points under way; a second one at once. Called again, it answers what is missing. A point that failed
is told and kept; --retry tries it again.

Examples:
  pasidon sweep run l2.toml
  pasidon sweep run l2.toml --out results/l2 --jobs 2
  pasidon sweep run l2.toml --shard 3/8          the third of eight machines that share a folder")]
    Run(Run),
    /// Put the results of all shares together: results.jsonl, results.csv
    Merge(Place),
    /// Run a sweep as an array of Slurm jobs, with a merge after it; again, it submits what is missing
    #[command(after_help = "\
The nodes must see the program, the sweep file, its traces and the folder of results under the same paths.

Examples:
  pasidon sweep slurm l2.toml --tasks 64 --at-once 16
  pasidon sweep slurm l2.toml --sbatch=--partition=long --sbatch=--time=2:00:00 --wait")]
    Slurm(Slurm),
}

/// A sweep file and its results.
#[derive(Args)]
pub struct Place {
    /// The sweep file (TOML)
    pub file: PathBuf,
    /// Folder of the results; by default that of the sweep file's name with .results
    #[arg(long, short, value_name = "FOLDER")]
    pub out: Option<PathBuf>,
}

impl Place {
    /// The folder of the results.
    pub fn folder(&self) -> PathBuf {
        self.out.clone().unwrap_or_else(|| self.file.with_extension("results"))
    }
}

#[derive(Args)]
pub struct Points {
    /// The sweep file (TOML)
    file: PathBuf,
    /// Show the whole experiment of this point, as JSON
    #[arg(long, value_name = "NUMBER")]
    point: Option<usize>,
}

#[derive(Args)]
pub struct Designs {
    /// The sweep file (TOML)
    file: PathBuf,
    /// Write each as a design file here, named by its hash
    #[arg(long, short, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

#[derive(Args)]
pub struct Run {
    #[command(flatten)]
    place: Place,
    /// Points at a time; by default as many as there are cores
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    jobs: Option<u32>,
    /// Only the I-th of N shares
    #[arg(long, value_name = "I/N", value_parser = shard)]
    shard: Option<(usize, usize)>,
    /// Try points again that failed
    #[arg(long)]
    retry: bool,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Args)]
pub struct Slurm {
    #[command(flatten)]
    place: Place,
    /// Tasks of the array, each with a share of the points; by default one for each point, at most 100
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    tasks: Option<u32>,
    /// Tasks that may run at a time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    at_once: Option<u32>,
    /// Cores of a task, and points that it answers at a time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    cores: u32,
    /// An option for sbatch; may be given several times
    #[arg(long, value_name = "OPTION", allow_hyphen_values = true)]
    sbatch: Vec<String>,
    /// Wait for the merge; the code is 0 only if every point was answered
    #[arg(long)]
    wait: bool,
}

/// `I/N` with I from 1 to N.
fn shard(text: &str) -> Result<(usize, usize), String> {
    let parsed = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
    parsed
        .filter(|&(i, n): &(usize, usize)| (1..=n).contains(&i))
        .ok_or_else(|| format!("{text:?} is not a share: write I/N with I from 1 to N, as 3/8"))
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Points(command) => command.run(),
            Command::Designs(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Merge(place) => {
                let sweep = Sweep::load(&place.file)?;
                merged(&sweep, &place.folder())?;
                Ok(())
            }
            Command::Slurm(command) => command.run(),
        }
    }
}

/// Merges and tells; an error if something is missing or failed.
fn merged(sweep: &Sweep, folder: &Path) -> Result<Merged, Failure> {
    let merged = collect(sweep, folder)?;
    for file in write(&merged, folder)? {
        println!("{}", file.display());
    }
    let (failed, missing) = (merged.failed().count(), merged.missing.len());
    if failed + missing == 0 {
        return Ok(merged);
    }
    let first = merged.failed().next().map(|(line, error)| format!("point {} failed: {error}", line.point));
    let first = first.unwrap_or_else(|| format!("first is {}", merged.missing[0]));
    let remedy = "`pasidon sweep run --retry` answers them";
    Err(format!("{failed} points failed and {missing} are missing ({first}); {remedy}").into())
}

impl Points {
    fn run(self) -> Result<(), Failure> {
        let points = Sweep::load(&self.file)?.points()?;
        if let Some(number) = self.point {
            let last = points.len() - 1;
            let point = points.get(number).ok_or(format!("--point {number}: the points are 0 to {last}"))?;
            println!("{}", serde_json::to_string_pretty(&point.experiment)?);
            return Ok(());
        }
        for point in points {
            let place: Vec<String> =
                point.axes.iter().map(|(name, label)| format!("{name} = {label}")).collect();
            println!("{:>6}  {}  {}", point.index, point.id, place.join(", "));
        }
        Ok(())
    }
}

impl Designs {
    /// With tabs between the columns, for scripts: hash, points, file if one was written, label.
    fn run(self) -> Result<(), Failure> {
        for design in Sweep::load(&self.file)?.designs()? {
            let file = self.out.as_ref().map(|folder| design.write(folder)).transpose()?;
            let file = file.map_or_else(String::new, |file| format!("{}\t", file.display()));
            println!("{}\t{}\t{file}{}", design.hash, design.points, design.label);
        }
        Ok(())
    }
}

impl Run {
    fn run(self) -> Result<(), Failure> {
        let sweep = Sweep::load(&self.place.file)?;
        let folder = self.place.folder();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let options = RunOptions {
            jobs: self.jobs.map_or(cores, |jobs| jobs as usize),
            shard: self.shard,
            retry: self.retry,
            progress: !self.quiet,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let asked = stop.clone();
        ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(130);
            }
            eprintln!("\nending after the points under way; once more ends at once");
        })?;
        let outcome = run(&sweep, &folder, &options, &engine::answer, &stop)?;
        let points = share(&sweep.points()?, self.shard).count();
        println!(
            "{points} points: {} answered now, {} before, {} failed, in {}",
            outcome.answered,
            outcome.kept,
            outcome.failed.len(),
            folder.display()
        );
        if outcome.stopped {
            return Err("stopped; call it again to go on".into());
        }
        if let Some((place, error)) = outcome.failed.first() {
            let count = outcome.failed.len();
            return Err(
                format!("{count} points failed, first {place}: {error}; --retry tries them again").into()
            );
        }
        if self.shard.is_none() {
            merged(&sweep, &folder)?;
        }
        Ok(())
    }
}

impl Slurm {
    fn run(self) -> Result<(), Failure> {
        let sweep = Sweep::load(&self.place.file)?;
        let folder = self.place.folder();
        let points = sweep.points()?.len();
        let options = SlurmOptions {
            program: std::env::current_exe()?,
            tasks: self.tasks.map_or(points.min(100), |tasks| tasks as usize),
            at_once: self.at_once.map(|n| n as usize),
            cores: self.cores as usize,
            sbatch: self.sbatch,
            wait: self.wait,
        };
        let submitted = submit(&sweep, &folder, &options)?;
        match (submitted.array, submitted.merge) {
            (Some(array), Some(merge)) => {
                let (tasks, missing) = (submitted.tasks.len(), submitted.missing);
                println!(
                    "{missing} of {points} points in {tasks} tasks: array job {array}, merge job {merge}"
                );
            }
            _ => println!("all {points} points are answered; nothing was submitted"),
        }
        if submitted.succeeded == Some(false) {
            let log = folder.join("slurm").join("merge.log");
            return Err(format!("not every point was answered; see {}", log.display()).into());
        }
        Ok(())
    }
}
