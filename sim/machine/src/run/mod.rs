//! The main experiment: boot the driver on a design, bind processes to devices, replay what real programs accessed, check
//! every byte, and show that address spaces are isolated.

mod answer;
mod bare;
pub mod isolation;
mod layout;
mod plan;
mod setup;
#[cfg(test)]
mod tests;

pub use answer::{options_of, rtl_answer};
pub use plan::Plan;
pub use setup::{Device, System};

use crate::endpoint::Channel;
use crate::machine::MachineConfig;
use crate::os::OsError;
use crate::report::{
    Bind, Cost, Costs, Hits, Iotlb, Latencies, Paging, Repeat, Responses, RoundTrip, RunReport,
};
use crate::stats::{Counters, Latency};
use crate::watch::{Occupancy, Watch};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pasidon_cosim::BenchError;
use pasidon_cosim::verilated::{Cache, Flavour, VerilatedError};
use pasidon_driver::PageTableMode;
use pasidon_experiment::answer::Breakdown;
use pasidon_experiment::pages::PageSize;
use pasidon_experiment::resolve::sources;
use pasidon_experiment::timing::CacheLines;
use pasidon_experiment::trace::TraceError;
use pasidon_experiment::{Counts, Job};
use pasidon_rtl::design::Design;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Page-table formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TableMode {
    /// 39-bit virtual addresses.
    Sv39,
    /// 48-bit virtual addresses.
    Sv48,
    /// 57-bit virtual addresses.
    Sv57,
}

impl From<TableMode> for PageTableMode {
    fn from(mode: TableMode) -> PageTableMode {
        match mode {
            TableMode::Sv39 => PageTableMode::Sv39,
            TableMode::Sv48 => PageTableMode::Sv48,
            TableMode::Sv57 => PageTableMode::Sv57,
        }
    }
}

/// What to run. With the design and the files that it names, it decides everything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunOptions {
    /// Trace files. Each becomes a process, or several if it has several PASID labels; one alone becomes two processes.
    pub traces: Vec<PathBuf>,
    /// One process on one device.
    pub solo: bool,
    /// Who does what, instead of `traces`.
    pub jobs: Vec<Job>,
    /// The machine.
    pub machine: MachineConfig,
    /// Requests to replay in all, traces repeated as needed; `None` replays each trace once.
    pub requests: Option<u64>,
    /// Requests that a device has under way per process.
    pub depth: u32,
    /// Map 2 MiB pages where programs use much of one.
    pub huge_pages: bool,
    /// Size of pages.
    pub pages: PageSize,
    /// Percent of a larger page that must be used, for [`PageSize::Mixed`].
    pub worth: u32,
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
    pub mode: Option<TableMode>,
    /// Look inside the hardware: counters, and where the time goes.
    pub counters: bool,
    /// How the model is compiled.
    pub flavour: Flavour,
    /// Write waveforms here (checked flavour).
    pub waves: Option<PathBuf>,
    /// Show progress on standard error.
    #[serde(skip)]
    pub progress: bool,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions {
            traces: Vec::new(),
            solo: false,
            jobs: Vec::new(),
            machine: MachineConfig::default(),
            requests: None,
            depth: 8,
            huge_pages: false,
            pages: PageSize::Base,
            worth: 12,
            resident: false,
            frames: None,
            io: 0,
            cache: 64,
            mode: None,
            counters: false,
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
    Emit(#[from] pasidon_rtl::EmitError),
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

/// What was measured while the devices were at work.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What the bench counts.
    pub counters: Counters,
    /// Cycles of the same work without translation.
    pub bare: u64,
    /// What was seen inside the hardware, if anybody looked.
    pub inside: Option<Counts>,
    /// Where the time of the accesses went.
    pub breakdown: Option<Breakdown>,
    /// How busy walkers and miss table were.
    pub occupancy: Option<Occupancy>,
    /// What the last-level cache was asked.
    pub cache_lines: CacheLines,
    /// Page requests that devices sent.
    pub page_requests: u64,
    /// Wall time of the simulation.
    pub wall: Duration,
}

impl Measured {
    /// The counts as every engine has them; those from inside the hardware are 0 if nobody looked.
    pub fn counts(&self) -> Counts {
        Counts {
            accesses: self.counters.requests,
            bytes: self.counters.bytes,
            faults: self.counters.faults,
            page_requests: self.page_requests,
            ..self.inside.unwrap_or_default()
        }
    }
}

/// Boots a system, binds what a plan says, and has its devices do their work.
///
/// # Errors
/// [`RunError`]
pub fn execute(
    design: &Design,
    cache: &Cache,
    options: &RunOptions,
    plan: &Plan,
) -> Result<(System, Measured), RunError> {
    let mut system = System::boot(design, cache, options, plan)?;
    system.spawn(plan)?;
    let channels = system.channels(plan);
    let mut machine = system.platform.machine();
    let bare = bare::bare(design, &options.machine.model, &channels, &mut machine.truth);
    if options.counters {
        machine.dma.watch = Some(Box::new(Watch::new(design)));
    }
    drop(machine);
    let wall = replay(&mut system, channels, options)?;
    let mut machine = system.platform.machine();
    let watch = machine.dma.watch.take();
    let measured = Measured {
        counters: machine.counters(),
        bare,
        inside: watch.as_ref().map(|watch| *watch.counts()),
        breakdown: watch.as_ref().map(|watch| *watch.breakdown()),
        occupancy: watch.map(|watch| watch.occupancy().clone()),
        cache_lines: machine.bench.memory.timing.cache_lines(),
        page_requests: machine.root_port.requests_sent,
        wall,
    };
    drop(machine);
    Ok((system, measured))
}

/// Runs it. The report says whether everything was as it should be ([`RunReport::problems`]).
///
/// # Errors
/// [`RunError`], when there is nothing to report on.
pub fn run(design: &Design, cache: &Cache, options: &RunOptions) -> Result<RunReport, RunError> {
    let plan = Plan::new(design, options)?;
    let files = options.traces.iter().map(PathBuf::as_path);
    let files: Vec<&Path> = files.chain(options.jobs.iter().filter_map(Job::file)).collect();
    let repeat = Repeat {
        version: env!("CARGO_PKG_VERSION").into(),
        design: serde_json::to_value(design).unwrap_or_default(),
        nameless_hash: design.nameless_hash(),
        options: options.clone(),
        sources: sources(files).map_err(RunError::Unsuitable)?,
    };
    let (mut system, measured) = execute(design, cache, options, &plan)?;
    let binds: Vec<Bind> = system
        .bonds()
        .map(|(device, process, pasid)| Bind {
            device_id: device.id,
            process: system.processes[process].name.clone(),
            pasid,
        })
        .collect();
    let devices = system.devices.iter().map(|device| device.id).collect();
    let os = system.os.statistics();
    let swept: u64 = system.processes.iter().map(|process| system.os.wrong_bytes(process.mm.id())).sum();
    let machine = system.platform.machine();
    let pace = machine.bench.memory_port.pace();
    let mut round_trips = Latency::default();
    let mut device_cache = [0; 2];
    for endpoint in &machine.dma.endpoints {
        round_trips.add(&endpoint.statistics.latency);
        device_cache[0] += endpoint.statistics.lookups;
        device_cache[1] += endpoint.statistics.hits;
    }
    drop(machine);
    let paging = paging(&system, &measured, &round_trips);
    system.complete()?;
    let isolation = isolation::check(&mut system)?;
    let findings = finish(&mut system)?;
    let exits = system.iommu.statistics().mm_exits;
    let mean = |[calls, cycles, operations]: [u64; 3]| Cost {
        cycles: cycles.checked_div(calls).unwrap_or(0),
        operations: operations.checked_div(calls).unwrap_or(0),
    };
    let times = answer::times(&measured);
    let Measured { counters, wall, .. } = &measured;
    Ok(RunReport {
        design: design.name.clone(),
        design_hash: system.hash.clone(),
        seed: options.machine.seed,
        memory_latency: pace.latency,
        devices,
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
        paging: Paging { mm_exits: exits as u64, ..paging },
        costs: Costs {
            bind: mean(system.costs.bind),
            unbind: mean(system.costs.unbind),
            shoot_down: mean(os.shoot_downs),
        },
        bare_cycles: times.bare,
        overhead_percent: times.overhead_percent(),
        counts: measured.inside.map(|_| measured.counts()),
        breakdown: measured.breakdown,
        occupancy: measured.occupancy.clone(),
        latency_histogram: times.latency.histogram,
        last_level_cache: options.machine.model.cache.map(|_| {
            let CacheLines { lookups, hits } = measured.cache_lines;
            Hits { lookups, hits, hit_rate: ratio(hits, lookups as f64) }
        }),
        sim_cycles_per_second: ratio(counters.cycles, wall.as_secs_f64()),
        stray_responses: counters.strays,
        isolation,
        findings,
        remarks: system.remarks.clone(),
        repeat,
    })
}

/// Pages that came and went.
fn paging(system: &System, measured: &Measured, round_trips: &Latency) -> Paging {
    let (os, driver) = (system.os.statistics(), system.iommu.statistics());
    Paging {
        demand: system.demand,
        pages: system.pages as u64,
        frames: system.frames as u64,
        page_requests: measured.page_requests,
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
        mm_exits: 0,
        pr_latency: RoundTrip { p50: round_trips.quantile(0.5), p99: round_trips.quantile(0.99) },
    }
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

/// Has all channels do their work at the same time; returns how long the simulation took.
fn replay(system: &mut System, channels: Vec<Channel>, options: &RunOptions) -> Result<Duration, RunError> {
    /// Cycles between looks at the progress bar.
    const SLICE: u64 = 1 << 16;
    /// Cycles until page requests that had to wait are looked at again.
    const SOON: u64 = 500;
    let mut machine = system.platform.machine();
    let mut total = 0;
    for channel in channels {
        total += channel.remaining;
        machine.dma.add(channel);
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
