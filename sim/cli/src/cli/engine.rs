//! Which engine answers an experiment.

use pasidon_cosim::verilated::Cache;
use pasidon_experiment::generate::workload;
use pasidon_experiment::{Answer, Engine, Experiment, Imagined};
use pasidon_fast::{deviation, fast_answer};
use pasidon_machine::run::rtl_answer;

/// Accesses of each job that the RTL runs to check the fast engine.
const SAMPLE: u64 = 20_000;

/// The answer of the engine that the experiment names.
///
/// # Errors
/// One sentence for the user.
pub fn answer(experiment: &Experiment) -> Result<Answer, String> {
    match experiment.engine {
        Engine::Rtl => rtl(experiment),
        Engine::Fast | Engine::Counts => fast(experiment),
        Engine::Auto => checked(experiment),
    }
}

fn rtl(experiment: &Experiment) -> Result<Answer, String> {
    rtl_answer(experiment, &Cache::in_workspace().quiet()).map_err(|error| error.to_string())
}

fn fast(experiment: &Experiment) -> Result<Answer, String> {
    fast_answer(experiment).map_err(|error| error.to_string())
}

/// The fast engine's answer, with its deviation from the RTL on the first accesses of each job. What the hardware does not have
/// is left out of the comparison; what the fast engine does not know, page requests, the RTL answers alone.
fn checked(experiment: &Experiment) -> Result<Answer, String> {
    if experiment.pages.demand {
        return rtl(experiment);
    }
    let mut sample = Experiment { imagined: Imagined::default(), ..experiment.clone() };
    for job in &mut sample.jobs {
        let length = job.accesses.map_or_else(|| length_up_to(&job.work), Ok)?;
        job.accesses = Some(length.min(SAMPLE));
    }
    sample.engine = Engine::Fast;
    let ours = fast(&sample)?;
    let theirs = rtl(&Experiment { engine: Engine::Rtl, ..sample })?;
    let found = deviation((&ours.counts, ours.times.as_ref()), (&theirs.counts, theirs.times.as_ref()));
    let whole = fast(&Experiment { engine: Engine::Fast, ..experiment.clone() })?;
    Ok(Answer { experiment: experiment.clone(), deviation: Some(found), ..whole })
}

/// Accesses of a work, counted up to the sample's size.
fn length_up_to(work: &pasidon_experiment::Work) -> Result<u64, String> {
    let mut stream = workload(work).map_err(|error| error.to_string())?;
    let mut batch = Vec::new();
    let mut length = 0;
    while length < SAMPLE {
        stream.next_batch(&mut batch).map_err(|error| error.to_string())?;
        if batch.is_empty() {
            break;
        }
        length += batch.len() as u64;
    }
    Ok(length)
}
