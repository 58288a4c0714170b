//! Lockstep: the hardware and the golden model under the same random operations, compared in everything they show.
//!
//! A run is a number of rounds. A round is a sequence of [operations](op) from reset that follows from the design, a seed and a
//! latency, so that it can be repeated, shortened and replayed by itself.
//!
//! | module | |
//! |---|---|
//! | [`op`] | what is done, as data |
//! | `tables`, `scene` | random tables: whole, subtly broken, garbage |
//! | `generate` | a round of operations |
//! | `execute` | carries them out on both and compares |
//! | [`coverage`] | what was met |
//! | [`replay`] | a sequence that fails, shortened, as a file |

pub mod coverage;
mod execute;
mod generate;
mod minimise;
pub mod op;
pub mod replay;
mod scene;
mod tables;

pub use coverage::PointCounts;
pub use generate::{Round, round};

use crate::engine::{Both, Difference, DifferenceKind, EngineError, EngineMemory, Model, Rtl, parameters};
use execute::Executor;
use op::Op;
use pasidon_cosim::Pace;
use pasidon_cosim::{BenchError, Cache, Flavour, Verilated, VerilatedError};
use pasidon_rtl::design::Design;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Operations of a round, if nothing else is asked for: enough for caches to fill and to be emptied many times, few enough to be
/// shortened quickly.
pub const ROUND: u64 = 20_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Everything arbitrary follows from it.
    pub seed: u64,
    /// Operations, at least.
    pub ops: u64,
    /// Memory latency in cycles; rounds also use shorter ones.
    pub latency: u32,
    /// Stop at the first round that begins after this time.
    pub time: Option<Duration>,
    /// How the model is compiled.
    pub flavour: Flavour,
    /// Operations of a round; [`ROUND`] is usual.
    pub round: u64,
    /// Memory and devices never hesitate, so that clock cycles follow from the hardware alone.
    pub even: bool,
}

/// A round that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The operations up to the one that failed.
    pub round: Round,
    /// The seed of the round.
    pub seed: u64,
    /// Latency of memory.
    pub latency: u32,
    /// What was wrong.
    pub difference: Difference,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct LockstepReport {
    /// Name of the design.
    pub design: String,
    /// Hash of the design.
    pub hash: String,
    /// Its seed.
    pub seed: u64,
    /// Memory latency.
    pub latency: u32,
    /// Operations carried out.
    pub ops: u64,
    /// Of them, translation requests whose answers were compared.
    pub requests: u64,
    /// Rounds from reset.
    pub rounds: u64,
    /// Clock cycles of the hardware.
    pub cycles: u64,
    /// What each kind of operation took.
    pub costs: BTreeMap<&'static str, Cost>,
    /// Beats read by each operation that asks one thing after the other.
    #[serde(skip)]
    pub singles: Vec<u64>,
    /// Differences found: a run ends at the first.
    pub mismatches: u64,
    /// Wall-clock time.
    pub seconds: f64,
    /// The difference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// How often each point was met.
    pub coverage: PointCounts,
    /// Points that were not met.
    pub holes: Vec<String>,
    /// The round that failed.
    #[serde(skip)]
    pub failed: Option<Failed>,
}

/// What operations of a kind took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Cost {
    /// Operations.
    pub ops: u64,
    /// Clock cycles until everything was at rest again.
    pub cycles: u64,
    /// Beats that the hardware read from memory.
    pub reads: u64,
}

/// The two engines for a design, both in front of the memory that lockstep uses.
///
/// # Errors
/// [`EngineError`], if there is no model.
pub fn engines(design: &Design, cache: &Cache, flavour: Flavour) -> Result<Both, EngineError> {
    let rtl = Rtl::new(design, cache, flavour, memory(design), Pace::default())?;
    Ok(with_golden(design, rtl))
}

/// The same with a model of the hardware that is there already.
///
/// # Errors
/// [`EngineError`], if the model does not come out of reset.
pub fn engines_on(design: &Design, model: Verilated) -> Result<Both, EngineError> {
    let rtl = Rtl::with_model(design, model, memory(design), Pace::default())?;
    Ok(with_golden(design, rtl))
}

fn memory(design: &Design) -> EngineMemory {
    EngineMemory::sparse(tables::extent(design))
}

fn with_golden(design: &Design, rtl: Rtl) -> Both {
    Both::new(rtl, Model::new(parameters(design), design.ports as usize, memory(design)))
}

/// The seed of round `number` of a run.
fn round_seed(seed: u64, number: u64) -> u64 {
    pasidon_cosim::random::mix(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// What an engine's error says about the hardware; errors of the surroundings (no model) stay errors.
///
/// # Errors
/// The error itself, if it is not about the behaviour of the hardware.
fn finding(error: EngineError) -> Result<Difference, EngineError> {
    match error {
        EngineError::Different(difference) => Ok(difference),
        EngineError::Bench(
            BenchError::Verilated(VerilatedError::Hardware { .. })
            | BenchError::Registers { .. }
            | BenchError::Protocol(_)
            | BenchError::Hung { .. },
        ) => Ok(Difference { kind: DifferenceKind::Failure, place: error.to_string(), fields: Vec::new() }),
        other => Err(other),
    }
}

/// What became of a sequence.
struct Outcome {
    /// Operations carried out, and answers compared.
    weight: u64,
    answers: u64,
    costs: BTreeMap<&'static str, Cost>,
    singles: Vec<u64>,
    /// The index of the operation that failed, and how.
    failure: Option<(usize, Difference)>,
}

/// Carries out a sequence from reset.
///
/// # Errors
/// [`EngineError`], if the engines themselves cannot go on.
fn carry_out(
    both: &mut Both,
    coverage: &mut PointCounts,
    ops: &[Op],
    seed: u64,
) -> Result<Outcome, EngineError> {
    let mut executor = Executor::start(both, coverage, seed)?;
    let (mut weight, mut costs, mut singles) = (0, BTreeMap::<_, Cost>::new(), Vec::new());
    for (index, op) in ops.iter().enumerate() {
        let before = executor.spent();
        if let Err(error) = executor.execute(op) {
            let failure = Some((index, finding(error)?));
            return Ok(Outcome { weight, answers: executor.answers, costs, singles, failure });
        }
        weight += op.weight();
        let after = executor.spent();
        let cost = costs.entry(op.kind()).or_default();
        cost.ops += op.weight();
        cost.cycles += after.0 - before.0;
        cost.reads += after.1 - before.1;
        if let Op::Requests { serial: true, .. } = op {
            singles.push(after.1 - before.1);
        }
    }
    Ok(Outcome { weight, answers: executor.answers, costs, singles, failure: None })
}

/// Runs lockstep until enough operations have been compared, or two answers differ. `progress` is told the operations so far.
///
/// # Errors
/// [`EngineError`], if there is no model.
pub fn run(
    design: &Design,
    cache: &Cache,
    options: &Options,
    mut progress: impl FnMut(u64),
) -> Result<LockstepReport, EngineError> {
    let mut both = engines(design, cache, options.flavour)?;
    run_on(&mut both, design, options, &mut progress)
}

/// The same on engines that are there already, for this design.
///
/// # Errors
/// [`EngineError`], if the engines themselves cannot go on.
pub fn run_on(
    both: &mut Both,
    design: &Design,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<LockstepReport, EngineError> {
    use crate::engine::Engine;
    let mut coverage = PointCounts::new(design);
    let begun = Instant::now();
    let cycles = both.cycles();
    let (mut ops, mut requests, mut rounds, mut failed) = (0, 0, 0, None);
    let (mut costs, mut singles) = (BTreeMap::<_, Cost>::new(), Vec::new());
    while ops < options.ops && options.time.is_none_or(|time| begun.elapsed() < time) {
        let seed = round_seed(options.seed, rounds);
        let mut round = generate::round(
            design,
            seed,
            options.latency,
            options.round.min(options.ops - ops),
            options.even,
        );
        coverage.start(&round);
        let outcome = carry_out(both, &mut coverage, &round.ops, seed)?;
        ops += outcome.weight;
        requests += outcome.answers;
        rounds += 1;
        singles.extend(outcome.singles);
        for (kind, cost) in outcome.costs {
            let sum = costs.entry(kind).or_default();
            sum.ops += cost.ops;
            sum.cycles += cost.cycles;
            sum.reads += cost.reads;
        }
        progress(ops);
        if let Some((index, difference)) = outcome.failure {
            round.ops.truncate(index + 1);
            failed = Some(Failed { round, seed, latency: options.latency, difference });
            break;
        }
    }
    coverage.fold();
    let holes = coverage.holes();
    Ok(LockstepReport {
        design: design.name.clone(),
        hash: design.hash(),
        seed: options.seed,
        latency: options.latency,
        ops,
        requests,
        rounds,
        cycles: both.cycles() - cycles,
        costs,
        singles,
        mismatches: failed.is_some().into(),
        seconds: begun.elapsed().as_secs_f64(),
        difference: failed.as_ref().map(|f| f.difference.clone()),
        coverage,
        holes,
        failed,
    })
}

#[cfg(test)]
mod tests;
