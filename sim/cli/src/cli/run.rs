//! `pasidon run`.

use super::Failure;
use clap::{Args, ValueEnum};
use pasidon_cosim::Pace;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_driver::PageTableMode;
use pasidon_machine::machine::{MachineConfig, default_pace};
use pasidon_machine::run::{RunOptions, run};
use pasidon_rtl::design::Design;
use std::path::PathBuf;

#[derive(Args)]
#[command(after_help = "\
Each trace becomes a process with page tables in simulated memory, bound to two devices, which replay its accesses with the
program's own virtual addresses, all at the same time. On a design with ATS and page requests no page is in memory at first: the
devices send page requests, and there are fewer frames than pages that the programs touch. Every byte is checked against a shadow copy. Then come the
isolation checks, and the processes exit. A run is reproducible: the same arguments give the same cycles.

The exit code is 0 only if no byte was wrong, nothing faulted, nothing was left allocated and all isolation checks passed.

Examples:
  pasidon run --trace traces/sort.trace.gz --trace traces/sqlite.trace.gz
  pasidon run --design tiny --trace traces/gzip.trace.gz --latency 100 --requests 100000
  pasidon run --trace accesses.csv --json report.json
  pasidon run --trace traces/xz.trace.gz --frames 64 --io 5000
  pasidon run --trace traces/gzip.trace.gz --requests 2000 --waves run.fst")]
pub struct Run {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Trace file (.trace.gz) or CSV; may be given several times. A single program is run as two processes
    #[arg(long, short, required = true, num_args = 1.., value_name = "FILE")]
    trace: Vec<PathBuf>,
    /// Write the report as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Memory latency: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
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
    /// Memory of the machine in MiB
    #[arg(long, default_value_t = 256, value_name = "MIB", value_parser = clap::value_parser!(u64).range(16..=1024))]
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

impl Run {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let pace = Pace {
            latency: self.latency,
            outstanding: self.outstanding,
            jitter: self.jitter,
            ..default_pace()
        };
        let machine = MachineConfig {
            pace,
            data_latency: self.latency,
            memory_bytes: self.memory << 20,
            seed: self.seed,
        };
        let options = RunOptions {
            traces: self.trace,
            machine,
            requests: self.requests,
            depth: self.depth,
            huge_pages: self.huge_pages,
            resident: self.resident,
            frames: self.frames.map(|frames| frames as usize),
            io: self.io,
            cache: self.device_cache as usize,
            mode: self.mode.map(|mode| match mode {
                Mode::Sv39 => PageTableMode::Sv39,
                Mode::Sv48 => PageTableMode::Sv48,
                Mode::Sv57 => PageTableMode::Sv57,
            }),
            flavour: if self.checked || self.waves.is_some() { Flavour::Checked } else { Flavour::Fast },
            waves: self.waves,
            progress: true,
        };
        let report = run(&design, &Cache::in_workspace(), &options)?;
        print!("{report}");
        if let Some(path) = &self.json {
            report.write_json(path).map_err(|cause| format!("{}: {cause}", path.display()))?;
        }
        let problems = report.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n       ").into()) }
    }
}
