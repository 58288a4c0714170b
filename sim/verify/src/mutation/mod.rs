//! Mutation: single faults are made in the hardware, and lockstep must notice each of them.
//!
//! A fault ([`pasidon_rtl::Mutants`]) counts if the Verilog with it compiles and Verilator compiles it to another model than the
//! original. It is *killed* if a run under one of a few seeds ends in a difference, a hang or a crash, or takes clearly more cycles or
//! memory reads than without the fault. What survives is either equivalent to the original, which only a reader can tell
//! ([`Claims`]), or shows a hole in the stimulus.

mod claims;
mod plan;

pub use claims::{Claim, Claims, ClaimsError};
pub use plan::order;

use pasidon_cosim::verilated::{Cache, Flavour, Source, Verilated, VerilatedError, shapes};
use pasidon_rtl::{Fault, Mutant, Mutants};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Faults that must count.
    pub count: usize,
    /// Decides which.
    pub seed: u64,
    /// Mutants that are compiled and run at the same time.
    pub jobs: usize,
    /// Only these faults, whatever `count` and `seed` say.
    pub only: Vec<String>,
    /// What became of faults in an earlier run: they are not tried again.
    pub known: BTreeMap<String, Verdict>,
    /// Faults that are known to change nothing.
    pub claims: Claims,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum MutationError {
    /// A fault that the design does not have.
    #[error(
        "the design has no fault {0}; faults are called MODULE.NUMBER, as in the report of a run on the same design"
    )]
    NoFault(String),
    /// A fault that was claimed to change nothing, and does.
    #[error("{id} was claimed to change nothing, but lockstep tells it from the original: {how}")]
    WrongClaim {
        /// The fault.
        id: String,
        /// How.
        how: String,
    },
    /// The hardware without a fault fails already.
    #[error("the hardware fails without any fault: {0}")]
    Original(String),
    /// There is no model of the original.
    #[error(transparent)]
    Verilated(#[from] VerilatedError),
}

/// What became of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// A run showed the fault.
    Killed {
        /// How it showed.
        how: String,
    },
    /// No run did, but the work took more than without the fault.
    Slower {
        /// How much more.
        how: String,
    },
    /// No run showed anything.
    Survived,
    /// No run showed anything, and nothing can: the fault changes nothing that can be seen. Counted, but apart.
    Equivalent {
        /// The argument.
        why: String,
    },
    /// Verilator makes the same of it as of the original: not counted.
    Same,
    /// It does not compile: not counted.
    Broken {
        /// What the tool said.
        how: String,
    },
}

impl Verdict {
    fn counts(&self) -> bool {
        self.is_noticed() || matches!(self, Verdict::Survived | Verdict::Equivalent { .. })
    }

    fn is_noticed(&self) -> bool {
        matches!(self, Verdict::Killed { .. } | Verdict::Slower { .. })
    }
}

/// A fault and what became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tried {
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
    /// Why it survives, if somebody has said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// What became of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct MutationReport {
    /// Name of the design.
    pub design: String,
    /// Its hash.
    pub hash: String,
    /// Decided which faults were tried.
    pub seed: u64,
    /// Mutants that count.
    pub count: usize,
    /// Of them, those that were noticed.
    pub killed: usize,
    /// Of those, the ones that gave no wrong answer, but cost time: a cache that forgets, a walk that is made twice.
    pub slower: usize,
    /// Those that were not, and of which nobody has shown that nothing can notice them.
    pub survivors: Vec<Tried>,
    /// Those that nothing can notice.
    pub equivalent: Vec<Tried>,
    /// Mutants that Verilator makes the same of as of the original.
    pub same: Vec<String>,
    /// Mutants that do not compile.
    pub broken: Vec<String>,
    /// Mutants that were noticed.
    pub kills: Vec<Tried>,
}

impl MutationReport {
    /// Killed and counted mutants by what `name` says of them.
    pub fn by(&self, name: impl Fn(&Tried) -> String) -> BTreeMap<String, (usize, usize)> {
        let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (tried, killed) in
            self.kills.iter().map(|tried| (tried, 1)).chain(self.survivors.iter().map(|tried| (tried, 0)))
        {
            let sum = sums.entry(name(tried)).or_default();
            sum.0 += killed;
            sum.1 += 1;
        }
        sums
    }
}

/// How a model is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// It does something wrong.
    Wrong(String),
    /// It does what it should, and takes longer than the first model that was judged.
    Slower(String),
}

/// Tells how a model is not what it should be. The first that it is asked about has no fault.
pub trait Judge: Sync {
    /// Runs the model.
    fn judge(&self, model: Verilated) -> Option<Noticed>;
}

impl<F: Fn(Verilated) -> Option<Noticed> + Sync> Judge for F {
    fn judge(&self, model: Verilated) -> Option<Noticed> {
        self(model)
    }
}

/// A mutant has been tried: called with the report so far, and what became of this one.
pub type Progress<'a> = &'a (dyn Fn(&MutationReport, &Tried) + Sync);

/// Tries faults until enough of them count. Models of mutants are kept in `scratch`, which is emptied as they are done with.
///
/// The report depends on the design, the options and the judge, not on `jobs`.
///
/// # Errors
/// [`MutationError`]
pub fn run(
    name: &str,
    mutants: &Mutants,
    cache: &Cache,
    scratch: &Path,
    options: &Options,
    judge: &dyn Judge,
    progress: Progress<'_>,
) -> Result<MutationReport, MutationError> {
    let original = mutants.original();
    let finding = judge_caught(judge, Verilated::load(original, name, cache, Flavour::Quick)?);
    if let Some(Noticed::Wrong(how) | Noticed::Slower(how)) = finding {
        return Err(MutationError::Original(how));
    }
    let empty = MutationReport {
        design: name.into(),
        hash: original.hash.clone(),
        seed: options.seed,
        count: 0,
        killed: 0,
        slower: 0,
        survivors: Vec::new(),
        equivalent: Vec::new(),
        same: Vec::new(),
        broken: Vec::new(),
        kills: Vec::new(),
    };
    let original = fingerprint(cache, name, original)?;
    let shop = Workshop { name, cache, scratch, judge, options, original, empty };
    let (ids, count) = if options.only.is_empty() {
        (order(mutants.faults(), options.seed), options.count)
    } else {
        let missing = options.only.iter().find(|id| mutants.make(id).is_none());
        if let Some(id) = missing {
            return Err(MutationError::NoFault(id.clone()));
        }
        (options.only.clone(), options.only.len())
    };
    shop.all(mutants, &ids, count, progress)
}

impl MutationReport {
    fn add(&mut self, tried: Tried) {
        self.count += usize::from(tried.verdict.counts());
        self.killed += usize::from(tried.verdict.is_noticed());
        self.slower += usize::from(matches!(tried.verdict, Verdict::Slower { .. }));
        match tried.verdict {
            Verdict::Killed { .. } | Verdict::Slower { .. } => self.kills.push(tried),
            Verdict::Survived => self.survivors.push(tried),
            Verdict::Equivalent { .. } => self.equivalent.push(tried),
            Verdict::Same => self.same.push(tried.fault.id),
            Verdict::Broken { .. } => self.broken.push(tried.fault.id),
        }
    }
}

fn fingerprint(
    cache: &Cache,
    name: &str,
    generated: &pasidon_rtl::Generated,
) -> Result<String, VerilatedError> {
    let ports = shapes(generated);
    let source = Source { name, verilog: &generated.verilog, top: &generated.top, ports: &ports };
    cache.fingerprint(&source, Flavour::Quick)
}

/// A crash of whoever judges is what a fault can come to as well.
fn judge_caught(judge: &dyn Judge, model: Verilated) -> Option<Noticed> {
    catch_unwind(AssertUnwindSafe(|| judge.judge(model))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Some(Noticed::Wrong(format!("crash: {text}")))
    })
}

struct Workshop<'a> {
    name: &'a str,
    cache: &'a Cache,
    scratch: &'a Path,
    judge: &'a dyn Judge,
    options: &'a Options,
    /// What Verilator makes of the original.
    original: String,
    /// A report of nothing.
    empty: MutationReport,
}

/// What is known of a fault.
#[derive(Clone)]
enum Trial {
    /// Nothing yet.
    Waiting,
    /// Its text is that of the original.
    NoFault,
    /// It has been tried.
    Done(Tried),
}

/// What the workers share.
struct Shared {
    next: usize,
    trials: Vec<Trial>,
    /// A reason to stop that is no property of a mutant.
    error: Option<MutationError>,
}

impl Shared {
    /// Mutants that count or may yet count: those that are under way.
    fn expected(&self) -> usize {
        let may_count = |trial: &&Trial| match trial {
            Trial::Waiting => true,
            Trial::NoFault => false,
            Trial::Done(tried) => tried.verdict.counts(),
        };
        self.trials[..self.next].iter().filter(may_count).count()
    }

    /// Mutants that count.
    fn counted(&self) -> usize {
        let counts = |trial: &&Trial| matches!(trial, Trial::Done(tried) if tried.verdict.counts());
        self.trials.iter().filter(counts).count()
    }

    /// What is known by now.
    fn report(&self, empty: &MutationReport) -> MutationReport {
        let mut report = empty.clone();
        for trial in &self.trials {
            if let Trial::Done(tried) = trial {
                report.add(tried.clone());
            }
        }
        report
    }
}

impl Workshop<'_> {
    fn all(
        &self,
        mutants: &Mutants,
        ids: &[String],
        count: usize,
        progress: Progress<'_>,
    ) -> Result<MutationReport, MutationError> {
        let shared = Mutex::new(Shared { next: 0, trials: vec![Trial::Waiting; ids.len()], error: None });
        let changed = Condvar::new();
        let lock = || shared.lock().unwrap_or_else(PoisonError::into_inner);
        let worker = || loop {
            let index = {
                let mut state = lock();
                // Another one is begun only if it is needed whatever becomes of those under way: so their number decides nothing.
                while state.error.is_none() && state.next < ids.len() && state.expected() >= count {
                    if state.counted() >= count {
                        return;
                    }
                    state = changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                if state.error.is_some() || state.next >= ids.len() {
                    return;
                }
                state.next += 1;
                state.next - 1
            };
            let tried = mutants.make(&ids[index]).map(|mutant| self.one(mutant));
            let mut state = lock();
            match tried {
                Some(Ok(tried)) => {
                    state.trials[index] = Trial::Done(tried.clone());
                    progress(&state.report(&self.empty), &tried);
                }
                Some(Err(error)) => state.error = Some(error),
                None => state.trials[index] = Trial::NoFault,
            }
            changed.notify_all();
        };
        std::thread::scope(|scope| {
            for _ in 0..self.options.jobs.max(1) {
                scope.spawn(worker);
            }
        });
        let shared = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        match shared.error {
            Some(error) => Err(error),
            None => Ok(shared.report(&self.empty)),
        }
    }

    fn one(&self, mutant: Mutant) -> Result<Tried, MutationError> {
        let verdict = match self.options.known.get(&mutant.fault.id) {
            Some(Verdict::Survived | Verdict::Equivalent { .. }) => Verdict::Survived,
            Some(verdict) => verdict.clone(),
            None => self.verdict(&mutant)?,
        };
        let fault = mutant.fault;
        let verdict =
            match (self.options.claims.why(self.name, &fault.id, &fault.before, &fault.after), verdict) {
                (Some(_), Verdict::Killed { how } | Verdict::Slower { how }) => {
                    return Err(MutationError::WrongClaim { id: fault.id, how });
                }
                (Some(why), Verdict::Survived) => Verdict::Equivalent { why },
                (_, verdict) => verdict,
            };
        let explanation = match verdict {
            Verdict::Survived => {
                self.options.claims.explanation(self.name, &fault.id, &fault.before, &fault.after)
            }
            _ => None,
        };
        Ok(Tried { fault, explanation, verdict })
    }

    fn verdict(&self, mutant: &Mutant) -> Result<Verdict, VerilatedError> {
        let home = self.scratch.join(&mutant.fault.id);
        let cache = self.cache.clone().quiet().aside(&home);
        let made = fingerprint(&cache, self.name, &mutant.generated);
        let made = made.and_then(|print| {
            let same = print == self.original;
            (!same).then(|| Verilated::load(&mutant.generated, self.name, &cache, Flavour::Quick)).transpose()
        });
        let verdict = match made {
            Ok(None) => Verdict::Same,
            Ok(Some(model)) => match judge_caught(self.judge, model) {
                Some(Noticed::Wrong(how)) => Verdict::Killed { how },
                Some(Noticed::Slower(how)) => Verdict::Slower { how },
                None => Verdict::Survived,
            },
            Err(VerilatedError::Tool { what, said, .. }) => {
                let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
                Verdict::Broken { how: format!("{what}: {first}") }
            }
            Err(error) => return Err(error),
        };
        // It takes room, and nobody asks for it again.
        let _ = std::fs::remove_dir_all(&home);
        Ok(verdict)
    }
}

#[cfg(test)]
mod tests;
