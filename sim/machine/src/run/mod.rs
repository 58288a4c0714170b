//! `pasidon run`: boot the driver on a design, bind processes to devices, replay what real programs accessed, check
//! every byte, and show that address spaces are isolated.

pub mod isolation;
mod setup;

pub use setup::{Device, System};

use crate::endpoint::Channel;
use crate::machine::MachineConfig;
use crate::os::OsError;
use crate::report::{Bind, Cost, Costs, Hits, Iotlb, Latencies, Paging, Responses, RoundTrip, RunReport};
use crate::stats::Latency;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pasidon_cosim::BenchError;
use pasidon_cosim::verilated::{Cache, Flavour, VerilatedError};
use pasidon_driver::PageTableMode;
use pasidon_experiment::trace::{Trace, TraceError};
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
    /// All pages are in memory before a device comes, and devices send untranslated addresses. Otherwise, on a design with page requests, no
    /// page is, and devices fault them in.
    pub resident: bool,
    /// Frames for pages; `None` takes seven for ten pages that the programs touch.
    pub frames: Option<usize>,
    /// Cycles that reading a page in takes.
    pub io: u64,
    /// Translations that a device's own cache holds.
    pub cache: usize,
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
            resident: false,
            frames: None,
            io: 0,
            cache: 64,
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
    Model(#[from] VerilatedError),
    /// The simulated machine failed.
    #[error(transparent)]
    Machine(#[from] BenchError),
    /// The operating system refused.
    #[error("{0}")]
    Os(#[from] OsError),
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

/// Runs it. The report says whether everything was as it should be ([`RunReport::problems`]).
///
/// # Errors
/// [`RunError`], when there is nothing to report on.
pub fn run(design: &Design, cache: &Cache, options: &RunOptions) -> Result<RunReport, RunError> {
    let traces = options
        .traces
        .iter()
        .map(|path| pasidon_experiment::trace::load(path))
        .collect::<Result<Vec<Trace>, _>>()?;
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

    let os = system.os.statistics();
    let driver = system.iommu.statistics();
    let swept: u64 = system.processes.iter().map(|process| system.os.wrong_bytes(process.mm.id())).sum();
    let machine = system.platform.machine();
    let counters = machine.counters();
    let pace = machine.bench.memory_port.pace();
    let mut round_trips = Latency::default();
    let mut device_cache = [0; 2];
    for endpoint in &machine.dma.endpoints {
        round_trips.add(&endpoint.statistics.latency);
        device_cache[0] += endpoint.statistics.lookups;
        device_cache[1] += endpoint.statistics.hits;
    }
    let requests_sent = machine.root_port.requests_sent;
    drop(machine);
    let isolation = isolation::check(&mut system)?;
    let findings = finish(&mut system)?;
    let exits = system.iommu.statistics().mm_exits;
    let mean = |[calls, cycles, operations]: [u64; 3]| Cost {
        cycles: cycles.checked_div(calls).unwrap_or(0),
        operations: operations.checked_div(calls).unwrap_or(0),
    };
    Ok(RunReport {
        design: design.name.clone(),
        design_hash: system.hash.clone(),
        seed: options.machine.seed,
        memory_latency: pace.latency,
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
        device_cache: Hits {
            lookups: device_cache[0],
            hits: device_cache[1],
            hit_rate: ratio(device_cache[1], device_cache[0] as f64),
        },
        walks: counters.walks,
        memory_reads: counters.memory_reads,
        latency: Latencies {
            min: counters.latency.min(),
            p50: counters.latency.quantile(0.5),
            p99: counters.latency.quantile(0.99),
            max: counters.latency.max(),
        },
        paging: Paging {
            demand: system.demand,
            pages: system.pages as u64,
            frames: system.frames as u64,
            page_requests: requests_sent,
            groups: driver.groups as u64,
            responses: Responses {
                success: driver.responses_success as u64,
                invalid: driver.responses_invalid as u64,
                failure: driver.responses_failure as u64,
            },
            invalidations: driver.invalidations as u64,
            device_invalidations: driver.device_invalidations as u64,
            page_ins: os.page_ins,
            page_outs: os.page_outs,
            swap_writes: os.swap_writes,
            mm_exits: exits as u64,
            pr_latency: RoundTrip { p50: round_trips.quantile(0.5), p99: round_trips.quantile(0.99) },
        },
        costs: Costs {
            bind: mean(system.costs.bind),
            unbind: mean(system.costs.unbind),
            shoot_down: mean(os.shoot_downs),
        },
        sim_cycles_per_second: ratio(counters.cycles, wall.as_secs_f64()),
        stray_responses: counters.strays,
        isolation,
        findings,
    })
}

/// The processes exit while the devices are bound to them, the devices are unbound, and nothing may be left. Returns what is wrong.
fn finish(system: &mut System) -> Result<Vec<String>, RunError> {
    for process in &system.processes {
        system.os.exit(process.mm.id())?;
    }
    let bonds: Vec<(usize, usize)> = system.handles.keys().copied().collect();
    for (device, process) in bonds {
        system.unbind(device, process);
    }
    system.service();
    let mut wrong = system.os.audit();
    let mut machine = system.platform.machine();
    let (findings, _) = machine.truth.take_findings();
    wrong.extend(findings.into_iter().map(|finding| format!("cycle {}: {}", finding.cycle, finding.what)));
    for (device, index, _) in machine.root_port.owed() {
        wrong.push(format!("group {index} of device {device:#x} was never answered"));
    }
    for endpoint in &mut machine.dma.endpoints {
        wrong.extend(endpoint.take_problems());
    }
    Ok(wrong)
}

fn ratio(part: u64, whole: f64) -> f64 {
    if whole > 0.0 { part as f64 / whole } else { 0.0 }
}

/// Replays the processes' requests on all devices at once; returns how long the simulation took.
fn replay(system: &mut System, options: &RunOptions) -> Result<Duration, RunError> {
    /// Cycles between looks at the progress bar.
    const SLICE: u64 = 1 << 16;
    /// Cycles until page requests that had to wait are looked at again.
    const SOON: u64 = 500;
    let devices = system.devices.len();
    let channels = (devices * system.processes.len()) as u64;
    let mut machine = system.platform.machine();
    let mut total = 0;
    for (p, process) in system.processes.iter().enumerate() {
        for (d, device) in system.devices.iter().enumerate() {
            let pasid = system.pasid(d, p);
            let length = process.requests.len();
            let mut channel = Channel::new(device.id, Some(pasid), device.port, process.requests.clone());
            channel.kind = system.kind();
            channel.space = Some(process.mm.id());
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
    drop(machine);
    system.os.reset_statistics();
    let mut machine = system.platform.machine();
    let begun = Instant::now();
    let bar = progress_bar(total, options.progress);
    let mut waits = false;
    loop {
        let idle = machine.run(if waits { SOON } else { SLICE })?;
        bar.set_position(machine.counters.requests);
        if machine.interrupts() != 0 || waits {
            // The driver uses the machine itself.
            drop(machine);
            waits = system.service();
            machine = system.platform.machine();
        }
        if idle {
            break;
        }
    }
    let wall = begun.elapsed();
    bar.finish_and_clear();
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
