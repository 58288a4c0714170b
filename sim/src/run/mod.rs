//! The main experiment: boot the driver on a design, bind processes to devices, replay what real programs accessed, check
//! every byte, and show that address spaces are isolated.

pub mod isolation;
mod setup;

pub use setup::{Device, System};

use crate::machine::{Channel, MachineConfig, MachineError, MapError};
use crate::model::{Cache, Flavour, ModelError};
use crate::report::{Bind, Iotlb, Latencies, Report};
use crate::trace::{Trace, TraceError};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pasidon_driver::PageTableMode;
use pasidon_rtl::design::Design;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Trace files. Each becomes a process, or several if it has several PASID labels; one alone becomes two processes.
    pub traces: Vec<PathBuf>,
    /// The machine.
    pub machine: MachineConfig,
    /// Requests to replay in all, traces repeated as needed; `None` replays each trace once.
    pub requests: Option<u64>,
    /// Requests that a device has under way per process.
    pub depth: u32,
    /// Map 2 MiB pages where programs use much of one.
    pub huge_pages: bool,
    /// Page-table format; `None` takes the smallest that the traces need.
    pub mode: Option<PageTableMode>,
    /// How the model is compiled.
    pub flavour: Flavour,
    /// Write waveforms here (checked flavour).
    pub waves: Option<PathBuf>,
    /// Show progress on standard error.
    pub progress: bool,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            traces: Vec::new(),
            machine: MachineConfig::default(),
            requests: None,
            depth: 8,
            huge_pages: false,
            mode: None,
            flavour: Flavour::Fast,
            waves: None,
            progress: true,
        }
    }
}

/// Why a run did not end in a report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The generator failed.
    #[error(transparent)]
    Emit(#[from] pasidon_rtl::emit::EmitError),
    /// A trace is unusable.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// No model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The simulated machine failed.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// An address space could not be built.
    #[error("{0}")]
    Map(#[from] MapError),
    /// The driver refused.
    #[error("the driver could not {what}: {cause}")]
    Driver {
        /// What it was asked for.
        what: String,
        /// What it said.
        cause: String,
    },
    /// The design and what is asked of it don't fit.
    #[error("{0}")]
    Unsuitable(String),
}

impl RunError {
    /// An error of the driver.
    pub(crate) fn driver(what: impl Into<String>, cause: impl std::fmt::Display) -> RunError {
        RunError::Driver { what: what.into(), cause: cause.to_string() }
    }
}

/// Runs it. The report says whether everything was as it should be ([`Report::problems`]).
///
/// # Errors
/// [`RunError`], when there is nothing to report on.
pub fn run(design: &Design, cache: &Cache, options: &RunOptions) -> Result<Report, RunError> {
    let traces =
        options.traces.iter().map(|path| crate::trace::load(path)).collect::<Result<Vec<Trace>, _>>()?;
    let mut system = System::boot(design, cache, options)?;
    system.spawn(&traces, options)?;
    let binds: Vec<Bind> = system
        .bonds()
        .map(|(device, process, pasid)| Bind {
            device_id: device.id,
            process: system.processes[process].name.clone(),
            pasid,
        })
        .collect();
    let wall = replay(&mut system, options)?;

    let machine = system.platform.machine();
    let counters = machine.counters();
    let swept: u64 = system.processes.iter().map(|process| process.process.sweep(&machine)).sum();
    let timing = machine.dram.timing();
    drop(machine);
    let isolation = isolation::check(&mut system)?;
    Ok(Report {
        design: design.name.clone(),
        design_hash: system.hash.clone(),
        seed: options.machine.seed,
        memory_latency: timing.latency,
        devices: system.devices.iter().map(|device| device.id).collect(),
        shared_pages: system.shared_pages,
        binds,
        requests: counters.requests,
        bytes: counters.bytes,
        mismatches: counters.mismatches + swept,
        faults: counters.faults,
        cycles: counters.cycles,
        translations_per_cycle: ratio(counters.requests, counters.cycles as f64),
        iotlb: Iotlb {
            lookups: counters.lookups,
            hits: counters.hits,
            hit_rate: ratio(counters.hits, counters.lookups as f64),
        },
        walks: counters.walks,
        memory_reads: counters.memory_reads,
        latency: Latencies {
            min: counters.latency.min(),
            p50: counters.latency.quantile(0.5),
            p99: counters.latency.quantile(0.99),
            max: counters.latency.max(),
        },
        sim_cycles_per_second: ratio(counters.cycles, wall.as_secs_f64()),
        stray_responses: counters.strays,
        isolation,
    })
}

fn ratio(part: u64, whole: f64) -> f64 {
    if whole > 0.0 { part as f64 / whole } else { 0.0 }
}

/// Replays the processes' requests on all devices at once; returns how long the simulation took.
fn replay(system: &mut System, options: &RunOptions) -> Result<Duration, RunError> {
    /// Cycles between looks at the progress bar.
    const SLICE: u64 = 1 << 16;
    let devices = system.devices.len();
    let channels = (devices * system.processes.len()) as u64;
    let mut machine = system.platform.machine();
    let mut total = 0;
    for (p, process) in system.processes.iter().enumerate() {
        for (d, device) in system.devices.iter().enumerate() {
            let pasid = system.pasid(d, p);
            let length = process.requests.len();
            let mut channel = Channel::new(
                device.id,
                Some(pasid),
                device.port,
                Some(process.process.space),
                process.requests.clone(),
            );
            // Each device takes its part of the program; both run at the same time, so that pages are shared.
            channel.window = length * d / devices..length * (d + 1) / devices;
            channel.remaining = channel.window.len() as u64;
            channel.depth = options.depth;
            if let Some(wanted) = options.requests {
                let index = (p * devices + d) as u64;
                channel.remaining = wanted / channels + u64::from(index < wanted % channels);
            }
            if channel.window.is_empty() {
                channel.remaining = 0;
            }
            total += channel.remaining;
            machine.dma.add(channel);
        }
    }
    machine.reset_counters();
    let begun = Instant::now();
    let bar = progress_bar(total, options.progress);
    loop {
        let idle = machine.run(SLICE)?;
        bar.set_position(machine.counters.requests);
        if machine.interrupts() != 0 {
            // The driver uses the machine itself.
            drop(machine);
            system.faults += system.iommu.service_faults().records.len() as u64;
            machine = system.platform.machine();
        }
        if idle {
            break;
        }
    }
    let wall = begun.elapsed();
    bar.finish_and_clear();
    machine.dma.clear();
    Ok(wall)
}

/// A bar that appears when a second has passed.
fn progress_bar(total: u64, shown: bool) -> ProgressBar {
    let target = if shown { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(total), target);
    if let Ok(style) = ProgressStyle::with_template("replaying {wide_bar} {pos}/{len} requests, {eta} left") {
        bar.set_style(style);
    }
    bar
}
