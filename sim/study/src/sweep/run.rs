//! Answers the points that are missing, on all cores.

use super::SweepError;
use super::file::Sweep;
use super::points::Point;
use super::store::{Line, Store, file_name, read_folder};
use crate::Answerer;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pasidon_experiment::Answer;
use pasidon_experiment::answer::Source;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How to run a sweep.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// Points at a time; at least 1.
    pub jobs: usize,
    /// Only these: every n-th point from the i-th on, i from 1 to n.
    pub shard: Option<(usize, usize)>,
    /// Points that failed before are tried again.
    pub retry: bool,
    /// Show progress on standard error.
    pub progress: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Points of the sweep, or of the share.
    pub points: usize,
    /// Points that had been answered before.
    pub kept: usize,
    /// Points that were answered now.
    pub answered: usize,
    /// Points without an answer, and why, those of before included.
    pub failed: Vec<(String, String)>,
    /// It was told to stop before the end.
    pub stopped: bool,
}

/// What the threads have done together.
#[derive(Default)]
struct Results {
    failed: Vec<(String, String)>,
    answered: usize,
    /// Results could not be written.
    error: Option<SweepError>,
    /// Hashes of the files of all answers, as they were first.
    files: BTreeMap<String, String>,
}

impl Results {
    /// Whether an answer is of the same files as those before it.
    fn compare(&mut self, answer: &Answer) -> Result<(), String> {
        for Source { path, sha256 } in &answer.sources {
            let first = self.files.entry(path.clone()).or_insert_with(|| sha256.clone());
            if first != sha256 {
                return Err(format!(
                    "{path}: the file is not that of the other points of the sweep (its SHA-256 is {sha256}, theirs {first}); \
                     bring theirs back and run again with --retry, or begin anew with another --out"
                ));
            }
        }
        Ok(())
    }
}

/// The points that belong to a share.
pub fn share(points: &[Point], shard: Option<(usize, usize)>) -> impl Iterator<Item = &Point> {
    points.iter().filter(move |point| shard.is_none_or(|(index, of)| point.index % of == index - 1))
}

/// Answers the points of `sweep` that `folder` has no result for. `stop` ends it after the points under way.
///
/// # Errors
/// [`SweepError`], when results can't be read or written. A point that fails is a result.
pub fn run(
    sweep: &Sweep,
    folder: &Path,
    options: &RunOptions,
    answer: &Answerer<'_>,
    stop: &AtomicBool,
) -> Result<Outcome, SweepError> {
    let all = sweep.points()?;
    std::fs::create_dir_all(folder).map_err(SweepError::io(folder))?;
    let store = Store::open(&folder.join(file_name(options.shard)))?;
    let done = read_folder(folder)?;
    let mine: Vec<&Point> = share(&all, options.shard).collect();
    let mut outcome = Outcome { points: mine.len(), ..Outcome::default() };
    let mut missing = Vec::new();
    for point in mine {
        match done.get(&point.id) {
            Some(Line { error: Some(error), .. }) if !options.retry => {
                outcome.failed.push((place(point), error.clone()));
            }
            Some(Line { answer: Some(_), .. }) => outcome.kept += 1,
            _ => missing.push(point),
        }
    }
    let bar = progress_bar(missing.len(), options.progress);
    let next = AtomicUsize::new(0);
    let mut results = Results::default();
    for answer in done.values().filter_map(|line| line.answer.as_ref()) {
        // Whatever those of before mix, a new one is held against the first.
        let _ = results.compare(answer);
    }
    let results = Mutex::new(results);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, missing.len().max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let Some(point) = missing.get(next.fetch_add(1, Ordering::Relaxed)) else { break };
                    let result = isolated(answer, point).and_then(|answer| {
                        let mut results = results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                        results.compare(&answer).map(|()| answer)
                    });
                    let failed = result.as_ref().err().cloned();
                    let stored = store.add(&Line::of(point, result));
                    let mut results = results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    match failed {
                        Some(error) => {
                            bar.suspend(|| {
                                eprintln!("point {} ({}) failed: {error}", point.index, place(point))
                            });
                            results.failed.push((place(point), error));
                        }
                        None => results.answered += 1,
                    }
                    bar.inc(1);
                    if let Err(error) = stored {
                        results.error.get_or_insert(error);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    bar.finish_and_clear();
    let Results { failed, answered, error, .. } =
        results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(error) = error {
        return Err(error);
    }
    outcome.answered = answered;
    outcome.failed.extend(failed);
    outcome.stopped = outcome.kept + outcome.answered + outcome.failed.len() < outcome.points;
    Ok(outcome)
}

/// Where a point lies, in words.
pub(super) fn place(point: &Point) -> String {
    if point.axes.is_empty() {
        return "the only point".into();
    }
    point.axes.iter().map(|(name, label)| format!("{name} = {label}")).collect::<Vec<_>>().join(", ")
}

/// A point whose engine panics is a point that failed; the others go on.
fn isolated(answer: &Answerer<'_>, point: &Point) -> Result<Answer, String> {
    catch_unwind(AssertUnwindSafe(|| answer(&point.experiment))).unwrap_or_else(|panic| {
        let what =
            panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("the engine broke off: {}", what.unwrap_or("without a word")))
    })
}

fn progress_bar(points: usize, shown: bool) -> ProgressBar {
    let target = if shown { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(points as u64), target);
    if let Ok(style) =
        ProgressStyle::with_template("sweeping {wide_bar} {pos}/{len} points, {elapsed} gone, {eta} left")
    {
        bar.set_style(style);
    }
    bar
}
