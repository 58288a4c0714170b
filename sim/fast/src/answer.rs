//! An experiment put to the fast engine.
//!
//! A work is looked through once, for its pages and its length, and what was found is kept for the next experiment with the same
//! work: a sweep over designs looks once.

use crate::channel::Channel;
use crate::error::FastError;
use crate::mapping::{Mapping, Page};
use crate::{count, estimate};
use pasidon_experiment::answer::Answer;
use pasidon_experiment::generate::{WorkError, workload};
use pasidon_experiment::pages::{Layout, PageSet, PageSize, layout};
use pasidon_experiment::resolve::{design_of, sources};
use pasidon_experiment::stream::BATCH;
use pasidon_experiment::trace::{TraceError, TraceOp};
use pasidon_experiment::{Engine, Experiment, Job};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Works whose profiles are kept.
const KEPT: usize = 64;

/// What was found in a work.
#[derive(Default)]
struct Profile {
    pages: PageSet,
    highest: u64,
    fetches: bool,
}

/// What a profile is of: the work, how many of its accesses, and when its file was changed.
type Key = (String, Option<u64>, Option<SystemTime>);

static PROFILES: Mutex<Vec<(Key, Arc<Profile>)>> = Mutex::new(Vec::new());

/// The answer of the fast engine: with times, or counts alone where the experiment's engine is [`Engine::Counts`].
///
/// # Errors
/// [`FastError`]: what is not possible names the field and what to do.
pub fn fast_answer(experiment: &Experiment) -> Result<Answer, FastError> {
    let begun = Instant::now();
    let design = design_of(&experiment.design)
        .map_err(|error| FastError::unsuitable("design", error, "correct it"))?;
    check(experiment)?;
    let mut channels = Vec::new();
    let mut touched: BTreeMap<u32, (PageSet, u64, bool)> = BTreeMap::new();
    for (index, job) in experiment.jobs.iter().enumerate() {
        if job.port.is_some_and(|port| port >= design.ports) {
            let problem = format!("the design has {} translation ports", design.ports);
            return Err(FastError::unsuitable(
                format!("jobs.{index}.port"),
                problem,
                "choose one below that, or a design with more (ports.count)",
            ));
        }
        let profile = profile(job)?;
        let (pages, highest, fetches) = touched.entry(job.process).or_default();
        pages.merge(&profile.pages);
        *highest = (*highest).max(profile.highest);
        *fetches |= profile.fetches;
        // Parameters were checked when the profile was made.
        channels.extend(Channel::of(job, || workload(&job.work).map_err(of_trace))?);
    }
    number(&mut channels, &mut touched);
    // An operating system has one page-table format.
    let highest = touched.values().map(|(_, highest, _)| *highest).max().unwrap_or(0);
    let processes = touched.into_iter().map(|(process, (pages, _, fetches))| {
        let size = experiment.pages.size;
        let layout = match size {
            PageSize::Mixed => Some(layout(&pages, &experiment.pages)),
            _ => None,
        };
        (process, Space { layout, shift: size.shift(), exec: fetches })
    });
    let spaces = Spaces { of: processes.collect(), highest };
    let imagined = &experiment.imagined;
    let (counts, times) = if experiment.engine == Engine::Counts {
        (count(&design, &spaces, imagined, channels)?, None)
    } else {
        let (counts, times) = estimate(&design, &experiment.machine, &spaces, imagined, channels)?;
        (counts, Some(times))
    };
    Ok(Answer {
        experiment: experiment.clone(),
        design_hash: design.nameless_hash(),
        version: env!("CARGO_PKG_VERSION").into(),
        sources: sources(experiment.jobs.iter().filter_map(Job::file))
            .map_err(|problem| FastError::unsuitable("jobs", problem, "name a file that can be read"))?,
        engine: if times.is_some() { Engine::Fast } else { Engine::Counts },
        counts,
        times,
        imagined: imagined.parts(),
        deviation: None,
        wall_seconds: begun.elapsed().as_secs_f64(),
    })
}

/// Numbers processes in the order of their numbers, as an operating system gives them process ids.
fn number<T>(channels: &mut [Channel], touched: &mut BTreeMap<u32, T>) {
    let places: BTreeMap<u32, u32> = touched.keys().copied().zip(0..).collect();
    let place = |process: u32| places.get(&process).copied().unwrap_or(process);
    channels.iter_mut().for_each(|channel| channel.process = place(channel.process));
    *touched = std::mem::take(touched).into_iter().map(|(process, of)| (place(process), of)).collect();
}

/// What this engine can't do, or nobody.
fn check(experiment: &Experiment) -> Result<(), FastError> {
    let problems = experiment.machine.problems().into_iter().chain(experiment.pages.problems());
    if let Some(problem) = problems.into_iter().next() {
        let (field, problem) = problem.split_once(": ").unwrap_or(("experiment", &problem));
        return Err(FastError::unsuitable(field, problem, "change it in the experiment"));
    }
    if experiment.pages.demand {
        let mend = "take engine = \"rtl\", or demand = false";
        return Err(FastError::unsuitable("pages.demand", "the fast engine knows no page requests", mend));
    }
    if experiment.jobs.is_empty() {
        return Err(FastError::unsuitable("jobs", "there is nothing to do", "add a [[jobs]] with a work"));
    }
    for (index, job) in experiment.jobs.iter().enumerate() {
        if job.channels == 0 || job.depth == 0 {
            let field = format!("jobs.{index}");
            return Err(FastError::unsuitable(field, "channels or depth is 0", "both are at least 1"));
        }
    }
    Ok(())
}

/// The pages of one process.
struct Space {
    /// For pages of several sizes.
    layout: Option<Layout>,
    shift: u32,
    exec: bool,
}

/// The pages of all processes.
struct Spaces {
    of: BTreeMap<u32, Space>,
    highest: u64,
}

impl Mapping for Spaces {
    fn page(&self, process: u32, address: u64) -> Option<Page> {
        let space = self.of.get(&process)?;
        let shift = match &space.layout {
            Some(layout) => layout.lookup(address)?.shift,
            None => space.shift,
        };
        Some(Page { exec: space.exec, ..Page::all(shift) })
    }

    fn highest(&self, _: u32) -> u64 {
        self.highest
    }
}

/// A work that can't be had.
fn unusable(error: WorkError) -> FastError {
    match error {
        WorkError::Trace(error) => error.into(),
        WorkError::Parameters(problems) => {
            FastError::unsuitable("jobs.work", problems.join("; "), "change the parameters")
        }
    }
}

/// The error of a work whose parameters are known to be right.
fn of_trace(error: WorkError) -> TraceError {
    match error {
        WorkError::Trace(error) => error,
        other => TraceError::Io { file: "workload".into(), cause: std::io::Error::other(other.to_string()) },
    }
}

/// What is in a job's work.
fn profile(job: &Job) -> Result<Arc<Profile>, FastError> {
    let changed = job.file().and_then(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
    let key = (format!("{:?}", job.work), job.needed(), changed);
    let profiles = || PROFILES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, known)) = profiles().iter().find(|(known, _)| *known == key) {
        return Ok(known.clone());
    }
    let mut stream = workload(&job.work).map_err(unusable)?;
    let mut profile = Profile::default();
    let mut batch = Vec::with_capacity(BATCH);
    let mut left = key.1.unwrap_or(u64::MAX);
    while left > 0 {
        stream.next_batch(&mut batch)?;
        if batch.is_empty() {
            break;
        }
        batch.truncate(left.min(BATCH as u64) as usize);
        left -= batch.len() as u64;
        for access in &batch {
            profile.pages.add(access.address, access.size);
            profile.highest = profile.highest.max(access.address + u64::from(access.size) - 1);
            profile.fetches |= access.op == TraceOp::Fetch;
        }
    }
    let profile = Arc::new(profile);
    let mut kept = profiles();
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push((key, profile.clone()));
    Ok(profile)
}
