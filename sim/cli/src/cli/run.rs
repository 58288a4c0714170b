//! `pasidon run`.

use super::Failure;
use clap::{Args, ValueEnum};
use pasidon_cosim::Pace;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_experiment::machine::{LastLevelCache, MachineModel, MemoryModel};
use pasidon_experiment::pages::PageSize;
use pasidon_experiment::resolve::{design_of, sources};
use pasidon_experiment::{Experiment, Job, Work};
use pasidon_machine::machine::{MachineConfig, default_pace};
use pasidon_machine::report::{Repeat, RunReport};
use pasidon_machine::run::{RunOptions, TableMode, options_of, run};
use pasidon_rtl::design::Design;
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Options that a file stands for.
const INSTEAD: [&str; 26] = [
    "trace",
    "job",
    "design",
    "solo",
    "latency",
    "table_latency",
    "data_latency",
    "table_memory",
    "data_memory",
    "data_outstanding",
    "shared_memory",
    "cache",
    "outstanding",
    "jitter",
    "requests",
    "depth",
    "mode",
    "huge_pages",
    "pages",
    "worth",
    "resident",
    "frames",
    "io",
    "device_cache",
    "seed",
    "memory",
];

#[derive(Args)]
#[command(after_help = "\
Each trace becomes a process with page tables in simulated memory, bound to two devices, which replay its accesses with the
program's own virtual addresses, all at the same time. On a design with ATS and page requests no page is in memory at first: the
devices send page requests, and there are fewer frames than pages that the programs touch. Every byte is checked against a shadow copy. Then come the
isolation checks, and the processes exit. A run is reproducible: the same arguments give the same cycles, and the report that --json
writes is enough to repeat it.

The exit code is 0 only if no byte was wrong, nothing faulted, nothing was left allocated and all isolation checks passed.

Examples:
  pasidon run --trace traces/sort.trace.gz --trace traces/sqlite.trace.gz
  pasidon run --design tiny --trace traces/gzip.trace.gz --latency 100 --requests 100000
  pasidon run --trace accesses.csv --json report.json
  pasidon run --trace traces/xz.trace.gz --frames 64 --io 5000
  pasidon run --trace traces/gzip.trace.gz --requests 2000 --waves run.fst

One process on one device, with tables in a slow memory behind a last-level cache:
  pasidon run --trace traces/gzip.trace.gz --solo --resident --table-latency 200 --cache bytes=131072,ways=8,latency=20

Two jobs on two devices, one with four channels, in two processes; or everything in a file:
  pasidon run --resident --job trace=traces/gzip.trace.gz,channels=4,depth=2 --job trace=traces/sort.trace.gz,process=1,device=1,gap=10
  pasidon run --experiment question.toml --json answer.json
  pasidon run --repeat answer.json")]
pub struct Run {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Trace file (.trace.gz) or CSV; may be given several times. A single program is run as two processes, each of them on two devices
    #[arg(long, short, required_unless_present_any = ["job", "experiment", "repeat"], num_args = 1.., value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// One process on one device, and nothing else
    #[arg(long, conflicts_with_all = ["job", "experiment"])]
    solo: bool,
    /// Who does what, instead of --trace; may be given several times: trace=FILE, and as needed process=0, device=0, port=N,
    /// channels=1, depth=8, gap=0 (cycles of computing between accesses), accesses=N
    #[arg(long, conflicts_with_all = ["trace", "experiment"], value_parser = job, value_name = "KEY=VALUE,...")]
    job: Vec<Job>,
    /// A file (TOML or JSON) with design, machine, pages, jobs and seed, instead of the options for them
    #[arg(long, conflicts_with_all = INSTEAD, value_name = "FILE")]
    experiment: Option<PathBuf>,
    /// Run again what a report is of, and say whether everything was equal
    #[arg(long, conflicts_with_all = INSTEAD, conflicts_with_all = ["experiment", "counters", "checked", "waves"], value_name = "REPORT")]
    repeat: Option<PathBuf>,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Memory latency: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
    /// Latency of the memory that tables are in, instead of --latency
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    table_latency: Option<u32>,
    /// Latency of the devices' data, instead of --latency
    #[arg(long, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    data_latency: Option<u32>,
    /// Memory that tables are in: bytes per cycle that it moves, banks, cycles for which a bank is busy; 0 for no limit
    #[arg(long, value_name = "BYTES,BANKS,BUSY", value_parser = limits)]
    table_memory: Option<[u32; 3]>,
    /// Memory of the devices' data, likewise
    #[arg(long, value_name = "BYTES,BANKS,BUSY", value_parser = limits)]
    data_memory: Option<[u32; 3]>,
    /// Accesses of devices that memory has under way at a time; by default as many as they like. In an experiment's file it is 16 by
    /// default: machine.data.outstanding
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=65536))]
    data_outstanding: Option<u32>,
    /// Tables and data are in one memory: its limits are for both
    #[arg(long)]
    shared_memory: bool,
    /// A last-level cache, in front of tables unless tables=false, and of data with data=true: bytes=N,ways=N,latency=N
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = cache)]
    cache: Option<LastLevelCache>,
    /// Look inside the hardware too: counters of its caches, how busy it is, and where the time goes; 2 to 15 % slower. Always so with
    /// --experiment
    #[arg(long)]
    counters: bool,
    /// Reads that memory accepts at a time
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    outstanding: u32,
    /// Up to this many cycles more per read, at random, so that reads complete out of order
    #[arg(long, default_value_t = 0, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    jitter: u32,
    /// Translation requests to replay in all, traces repeated as needed; by default each trace once
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    requests: Option<u64>,
    /// Requests in flight per device and process
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    depth: u32,
    /// Page-table format; by default the smallest that the traces fit in
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Size of pages; mixed takes the largest of which a program uses at least --worth percent
    #[arg(long, value_enum, default_value_t = Pages::Base, conflicts_with = "huge_pages")]
    pages: Pages,
    /// For --pages mixed: percent of a larger page that must be used
    #[arg(long, default_value_t = 12, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    worth: u32,
    /// Use 2 MiB pages where a program touches much of one
    #[arg(long)]
    huge_pages: bool,
    /// Have all pages in memory from the start, and devices without translation caches. Designs without page requests always run so
    #[arg(long)]
    resident: bool,
    /// Frames for the pages that programs touch; by default seven for ten
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..=1_000_000))]
    frames: Option<u32>,
    /// Cycles that it takes to read a page in
    #[arg(long, default_value_t = 0, value_name = "CYCLES", value_parser = clap::value_parser!(u64).range(0..=1_000_000))]
    io: u64,
    /// Entries of a device's translation cache (ATC)
    #[arg(long, default_value_t = 64, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    device_cache: u32,
    /// Seed of everything random, such as frames and contents
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Memory of the machine in MiB; what is not touched costs nothing
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=1 << 24))]
    memory: u64,
    /// Use the checked model: assertions, coverage, and a check of port timing. Slower
    #[arg(long)]
    checked: bool,
    /// Write waveforms (FST) here; implies --checked
    #[arg(long, value_name = "FILE")]
    waves: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Sv39,
    Sv48,
    Sv57,
}

#[derive(Clone, Copy, ValueEnum)]
enum Pages {
    #[value(name = "4k")]
    Base,
    #[value(name = "64k")]
    Napot,
    #[value(name = "2m")]
    Huge,
    #[value(name = "1g")]
    Giant,
    Mixed,
}

impl From<Pages> for PageSize {
    fn from(pages: Pages) -> PageSize {
        match pages {
            Pages::Base => PageSize::Base,
            Pages::Napot => PageSize::Napot,
            Pages::Huge => PageSize::Huge,
            Pages::Giant => PageSize::Giant,
            Pages::Mixed => PageSize::Mixed,
        }
    }
}

impl Run {
    pub fn run(mut self) -> Result<(), Failure> {
        if let Some(file) = self.repeat.take() {
            return self.repeat(&file);
        }
        let (design, options) = match &self.experiment {
            None => (Design::load(&self.design)?, self.options()?),
            Some(file) => self.of_experiment(file)?,
        };
        let report = run(&design, &Cache::in_workspace(), &options)?;
        print!("{report}");
        self.finish(&report)
    }

    /// Writes what is to be written, and says what was wrong.
    fn finish(&self, report: &RunReport) -> Result<(), Failure> {
        if let Some(path) = &self.json {
            report.write_json(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        }
        let problems = report.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n       ").into()) }
    }

    fn flavour(&self) -> Flavour {
        if self.checked || self.waves.is_some() { Flavour::Checked } else { Flavour::Fast }
    }

    fn of_experiment(&self, file: &Path) -> Result<(Design, RunOptions), Failure> {
        let experiment = read_experiment(file)?;
        let design = design_of(&experiment.design)?;
        let options = RunOptions {
            flavour: self.flavour(),
            waves: self.waves.clone(),
            progress: true,
            ..options_of(&experiment, &design)?
        };
        Ok((design, options))
    }

    fn options(&self) -> Result<RunOptions, Failure> {
        let memory = |latency: Option<u32>, outstanding, limits: Option<[u32; 3]>| {
            let [bytes_per_cycle, banks, bank_busy] = limits.unwrap_or_default();
            let latency = latency.unwrap_or(self.latency);
            MemoryModel { latency, outstanding, bytes_per_cycle, banks, bank_busy }
        };
        let data_outstanding = self.data_outstanding.unwrap_or(MemoryModel::UNLIMITED);
        let model = MachineModel {
            tables: memory(self.table_latency, self.outstanding, self.table_memory),
            data: memory(self.data_latency, data_outstanding, self.data_memory),
            shared: self.shared_memory,
            cache: self.cache,
        };
        let problems = model.problems();
        if !problems.is_empty() {
            return Err(problems.join("\n       ").into());
        }
        let pace = Pace {
            latency: model.tables.latency,
            outstanding: self.outstanding,
            jitter: self.jitter,
            ..default_pace()
        };
        let machine = MachineConfig { pace, model, memory_bytes: self.memory << 20, seed: self.seed };
        Ok(RunOptions {
            traces: self.trace.clone(),
            solo: self.solo,
            jobs: self.job.clone(),
            machine,
            requests: self.requests,
            depth: self.depth,
            huge_pages: self.huge_pages,
            pages: self.pages.into(),
            worth: self.worth,
            resident: self.resident,
            frames: self.frames.map(|frames| frames as usize),
            io: self.io,
            cache: self.device_cache as usize,
            mode: self.mode.map(|mode| match mode {
                Mode::Sv39 => TableMode::Sv39,
                Mode::Sv48 => TableMode::Sv48,
                Mode::Sv57 => TableMode::Sv57,
            }),
            counters: self.counters,
            flavour: self.flavour(),
            waves: self.waves.clone(),
            progress: true,
        })
    }

    /// Runs again what a report is of. An error if anything was different.
    fn repeat(&self, file: &Path) -> Result<(), Failure> {
        let before: Value = read_json(file)?;
        let not_a_report =
            |why: String| format!("{}: this is no report of pasidon run: {why}", file.display());
        let repeat = before.get("repeat").ok_or_else(|| not_a_report("it has no `repeat`".into()))?;
        let repeat: Repeat =
            serde_json::from_value(repeat.clone()).map_err(|e| not_a_report(e.to_string()))?;
        let mut differences = Vec::new();
        if repeat.version != env!("CARGO_PKG_VERSION") {
            differences.push(format!("version: {} then, {} now", repeat.version, env!("CARGO_PKG_VERSION")));
        }
        let now = sources(repeat.sources.iter().map(|source| Path::new(&source.path)))?;
        for (then, now) in repeat.sources.iter().zip(&now) {
            if then != now {
                differences
                    .push(format!("{}: the file has changed (SHA-256 {} then)", then.path, then.sha256));
            }
        }
        let design = design_of(&repeat.design)?;
        let options = RunOptions { progress: true, ..repeat.options };
        let report = run(&design, &Cache::in_workspace(), &options)?;
        // By way of text, as the other one: a number that is read may differ in its last digit from what was written.
        let after: Value = serde_json::from_str(&serde_json::to_string(&report)?)?;
        compare("", &before, &after, &mut differences);
        if !differences.is_empty() {
            const SHOWN: usize = 20;
            let more = differences.len().saturating_sub(SHOWN);
            differences.truncate(SHOWN);
            if more > 0 {
                differences.push(format!("and {more} more"));
            }
            return Err(format!("not the same:\n       {}", differences.join("\n       ")).into());
        }
        println!("{}: repeated, and everything was equal ({} cycles)", file.display(), report.cycles);
        self.finish(&report)
    }
}

/// What differs between two reports, but for the wall time.
fn compare(name: &str, before: &Value, after: &Value, differences: &mut Vec<String>) {
    let below = |key: &str| if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
    match (before, after) {
        _ if name == "sim_cycles_per_second" => {}
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let part = |of: &serde_json::Map<String, Value>| of.get(key).cloned().unwrap_or(Value::Null);
                compare(&below(key), &part(a), &part(b), differences);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&below(&index.to_string()), a, b, differences);
            }
        }
        (a, b) if a == b => {}
        (a, b) => differences.push(format!("{name}: {a} then, {b} now")),
    }
}

fn read_json(file: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    Ok(serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?)
}

/// An experiment in TOML, or JSON where the name says so.
fn read_experiment(file: &Path) -> Result<Experiment, Failure> {
    let text = std::fs::read_to_string(file).map_err(|cause| format!("{}: {cause}", file.display()))?;
    let wrong = |why: String| format!("{}: {why}", file.display());
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json")) {
        return Ok(serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?);
    }
    Ok(toml::from_str(&text).map_err(|error| wrong(error.to_string()))?)
}

/// `KEY=VALUE,...`, each key one of those that are known.
fn pairs<'a>(text: &'a str, known: &[&str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let mut pairs = Vec::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(|| format!("`{part}` is not KEY=VALUE"))?;
        if !known.contains(&key) {
            return Err(format!("`{key}` is none of {}", known.join(", ")));
        }
        pairs.push((key, value));
    }
    Ok(pairs)
}

fn number<T: std::str::FromStr>(key: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{key}={value}: this is not a number that is possible here"))
}

fn job(text: &str) -> Result<Job, String> {
    let keys = ["trace", "process", "device", "port", "channels", "depth", "gap", "accesses"];
    let work = |file: &str| Work::Trace(PathBuf::from(file));
    let mut trace = None;
    let mut job = Job {
        work: work(""),
        process: 0,
        device: 0,
        port: None,
        channels: 1,
        depth: 8,
        gap: 0,
        accesses: None,
    };
    for (key, value) in pairs(text, &keys)? {
        match key {
            "trace" => trace = Some(work(value)),
            "process" => job.process = number(key, value)?,
            "device" => job.device = number(key, value)?,
            "port" => job.port = Some(number(key, value)?),
            "channels" => job.channels = number(key, value)?,
            "depth" => job.depth = number(key, value)?,
            "gap" => job.gap = number(key, value)?,
            _ => job.accesses = Some(number(key, value)?),
        }
    }
    job.work = trace.ok_or("it has no trace=FILE")?;
    Ok(job)
}

fn cache(text: &str) -> Result<LastLevelCache, String> {
    let mut cache = LastLevelCache { bytes: 0, ways: 8, latency: 10, tables: true, data: false };
    for (key, value) in pairs(text, &["bytes", "ways", "latency", "tables", "data"])? {
        match key {
            "bytes" => cache.bytes = number(key, value)?,
            "ways" => cache.ways = number(key, value)?,
            "latency" => cache.latency = number(key, value)?,
            "tables" => cache.tables = number(key, value)?,
            _ => cache.data = number(key, value)?,
        }
    }
    Ok(cache)
}

fn limits(text: &str) -> Result<[u32; 3], String> {
    let numbers: Vec<u32> =
        text.split(',').map(|part| number("BYTES,BANKS,BUSY", part)).collect::<Result<_, _>>()?;
    numbers.try_into().map_err(|_| "three numbers are needed: BYTES,BANKS,BUSY".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_read() {
        let read = job("trace=a.csv,process=1,device=2,port=0,channels=3,depth=4,gap=5,accesses=6").unwrap();
        let want = Job {
            work: Work::Trace("a.csv".into()),
            process: 1,
            device: 2,
            port: Some(0),
            channels: 3,
            depth: 4,
            gap: 5,
            accesses: Some(6),
        };
        assert_eq!(read, want);
        for (text, why) in [
            ("trace", "KEY=VALUE"),
            ("depth=3", "no trace"),
            ("trace=a,x=1", "none of"),
            ("trace=a,gap=-1", "gap=-1"),
        ] {
            assert!(job(text).unwrap_err().contains(why), "{text}");
        }
        assert_eq!(limits("16,4,8"), Ok([16, 4, 8]));
        assert!(limits("16,4").is_err());
        assert!(cache("bytes=4096,ways=4,latency=7,data=true").unwrap().data);
    }

    #[test]
    fn differences_are_named() {
        let before = serde_json::json!({"a": {"b": [1, 2]}, "sim_cycles_per_second": 1.0, "c": 1});
        let after = serde_json::json!({"a": {"b": [1, 3]}, "sim_cycles_per_second": 2.0});
        let mut differences = Vec::new();
        compare("", &before, &after, &mut differences);
        assert_eq!(differences, ["a.b.1: 2 then, 3 now", "c: 1 then, null now"]);
    }
}
