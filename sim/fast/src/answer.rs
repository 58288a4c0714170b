//! An experiment put to the fast engine.
//!
//! A work is looked through once, for its pages and its length, and what was found is kept for the next experiment with the same
//! work: a sweep over designs looks once.

use crate::channel::Channel;
use crate::error::FastError;
use crate::mapping::{Mapping, Page};
use crate::{count, estimate};
use pasidon_experiment::answer::Answer;
use pasidon_experiment::experiment::unmappable;
use pasidon_experiment::generate::workload;
use pasidon_experiment::pages::{Layout, PageSize, layout};
use pasidon_experiment::resolve::{design_of, unchanged};
use pasidon_experiment::{Engine, Experiment, Job, Profile};
use pasidon_rtl::design::Design;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

/// Works whose profiles are kept.
const KEPT: usize = 64;

/// What a profile is of: the work, how many of its accesses, and when its file was changed.
type Key = (String, Option<u64>, Option<SystemTime>);

/// Profiles with what they are of, and whether they have the pages.
static PROFILES: Mutex<Vec<(Key, bool, Arc<Profile>)>> = Mutex::new(Vec::new());

/// The answer of the fast engine: with times, or counts alone where the experiment's engine is [`Engine::Counts`].
///
/// # Errors
/// [`FastError`]: what is not possible names the field and what to do.
pub fn fast_answer(experiment: &Experiment) -> Result<Answer, FastError> {
    let begun = Instant::now();
    let design = design_of(&experiment.design).map_err(told)?;
    FastError::if_any(problems(experiment, &design))?;
    let files = experiment.sources().map_err(told)?;
    // Pages of one size are wherever a process looks; only where sizes are mixed it matters what is touched.
    let mixed = experiment.pages.size == PageSize::Mixed;
    let mut channels = Vec::new();
    let mut touched: BTreeMap<u32, Profile> = BTreeMap::new();
    for job in &experiment.jobs {
        let profile = profile(job, mixed)?;
        touched.entry(job.process).or_default().merge(&profile, mixed);
        channels.extend(Channel::of(job, profile.requests, || workload(&job.work))?);
    }
    number(&mut channels, &mut touched);
    // An operating system has one page-table format.
    let highest = touched.values().map(|profile| profile.highest).max().unwrap_or(0);
    FastError::if_any(unmappable(&design, highest).into_iter().collect())?;
    let processes = touched.into_iter().map(|(process, profile)| {
        let layout = mixed.then(|| layout(&profile.pages, &experiment.pages));
        (process, Space { layout, shift: experiment.pages.size.shift(), exec: profile.fetches })
    });
    let spaces = Spaces { of: processes.collect(), highest };
    let imagined = &experiment.imagined;
    let (counts, times) = if experiment.engine == Engine::Counts {
        (count(&design, &spaces, imagined, channels)?, None)
    } else {
        let (counts, times) = estimate(&design, &experiment.machine, &spaces, imagined, channels)?;
        (counts, Some(times))
    };
    unchanged(&files).map_err(told)?;
    Ok(Answer {
        experiment: experiment.clone(),
        design_hash: design.nameless_hash(),
        version: env!("CARGO_PKG_VERSION").into(),
        sources: files,
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

/// What nobody can do, and what this engine can't.
fn problems(experiment: &Experiment, design: &Design) -> Vec<String> {
    let mut problems = experiment.problems(design);
    // Without page requests in the design nobody can do it, and that has been said.
    if experiment.pages.demand && design.ats {
        let problem = "pages.demand = true: the fast engine knows no page requests; take engine = \"rtl\", or demand = false";
        problems.push(problem.into());
    }
    problems
}

/// One thing that is not possible.
fn told(problem: String) -> FastError {
    FastError::Impossible(vec![problem])
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

/// What is in a job's work; its pages only if they are wanted.
fn profile(job: &Job, pages: bool) -> Result<Arc<Profile>, FastError> {
    let changed = job.file().and_then(|path| std::fs::metadata(path).and_then(|file| file.modified()).ok());
    let key = (format!("{:?}", job.work), job.needed(), changed);
    let profiles = || PROFILES.lock().unwrap_or_else(PoisonError::into_inner);
    let enough = |of: &Key, has: bool| *of == key && (has || !pages);
    if let Some((.., known)) = profiles().iter().find(|(of, has, _)| enough(of, *has)) {
        return Ok(known.clone());
    }
    let profile = Arc::new(Profile::of(workload(&job.work)?.as_mut(), key.1, pages)?);
    let mut kept = profiles();
    if kept.len() == KEPT {
        kept.remove(0);
    }
    kept.push((key, pages, profile.clone()));
    Ok(profile)
}
