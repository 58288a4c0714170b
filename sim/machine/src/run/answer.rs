//! An experiment put to the RTL.

use super::plan::Plan;
use super::{Measured, RunError, RunOptions, execute};
use crate::machine::MachineConfig;
use pasidon_cosim::verilated::Cache;
use pasidon_experiment::answer::{Answer, LatencySummary, Times};
use pasidon_experiment::experiment::unmappable;
use pasidon_experiment::resolve::{design_of, unchanged};
use pasidon_experiment::{Engine, Experiment, Imagined};
use pasidon_rtl::design::Design;
use std::time::Instant;

/// The most memory of the machine of an experiment: what is not touched costs nothing.
const MEMORY: u64 = 1 << 40;

/// The answer of the hardware's Verilog, cycle by cycle, whichever engine the experiment names.
///
/// # Errors
/// [`RunError`]: what is not possible names the field and what to do.
pub fn rtl_answer(experiment: &Experiment, cache: &Cache) -> Result<Answer, RunError> {
    let begun = Instant::now();
    let design = design_of(&experiment.design).map_err(RunError::Unsuitable)?;
    let options = options_of(experiment, &design)?;
    let files = experiment.sources().map_err(RunError::Unsuitable)?;
    let plan = Plan::new(&design, &options)?;
    let highest = plan.programs.iter().map(|program| program.profile.highest).max().unwrap_or(0);
    RunError::if_any(unmappable(&design, highest).into_iter().collect())?;
    let (_, measured) = execute(&design, cache, &options, &plan)?;
    unchanged(&files).map_err(RunError::Unsuitable)?;
    if measured.counters.mismatches > 0 || measured.counters.strays > 0 {
        let (bytes, strays) = (measured.counters.mismatches, measured.counters.strays);
        return Err(RunError::Unsuitable(format!(
            "{bytes} bytes were wrong, and {strays} responses belonged to nobody: the hardware is not right, and its times mean nothing"
        )));
    }
    Ok(Answer {
        experiment: experiment.clone(),
        design_hash: design.nameless_hash(),
        version: env!("CARGO_PKG_VERSION").into(),
        sources: files,
        engine: Engine::Rtl,
        counts: measured.counts(),
        times: Some(times(&measured)),
        imagined: Vec::new(),
        deviation: None,
        wall_seconds: begun.elapsed().as_secs_f64(),
    })
}

/// What a run took.
pub(super) fn times(measured: &Measured) -> Times {
    let counters = &measured.counters;
    Times {
        cycles: counters.cycles,
        bare: measured.bare,
        breakdown: measured.breakdown.unwrap_or_default(),
        latency: LatencySummary {
            min: counters.latency.min(),
            p50: counters.latency.quantile(0.5),
            p99: counters.latency.quantile(0.99),
            max: counters.latency.max(),
            histogram: LatencySummary::steps(counters.latency.iter()),
        },
        estimated: false,
    }
}

/// What a run of an experiment needs.
///
/// # Errors
/// [`RunError`]: what is not possible names the field and what to do.
pub fn options_of(experiment: &Experiment, design: &Design) -> Result<RunOptions, RunError> {
    let mut problems = experiment.problems(design);
    if experiment.imagined != Imagined::default() {
        problems.push(
            "imagined: the hardware does not have these parts; take engine = \"fast\" or \"counts\"".into(),
        );
    }
    RunError::if_any(problems)?;
    let pages = &experiment.pages;
    let memory_bytes = MEMORY.min(1 << (design.pas - 1));
    Ok(RunOptions {
        jobs: experiment.jobs.clone(),
        machine: MachineConfig { memory_bytes, ..MachineConfig::of(experiment.machine, experiment.seed) },
        resident: !pages.demand,
        pages: pages.size,
        worth: pages.worth,
        frames: Some(pages.frames.and_then(|frames| usize::try_from(frames).ok()).unwrap_or(usize::MAX)),
        io: pages.service,
        counters: true,
        progress: false,
        ..RunOptions::default()
    })
}
