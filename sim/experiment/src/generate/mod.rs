//! Workloads that are computed: what accelerators and devices do to memory, by parameters and a seed.
//!
//! The same parameters give the same accesses, on every machine. A workload ends by itself when its job is done. Each file has a family
//! of devices; its head says what they do, in numbers. Bounds: memory goes with the parameters (bfs: 9 bytes a vertex, nic_rings: 4 bytes a
//! ring), not with the accesses.

mod dense;
mod graph;
mod join;
mod memory;
mod network;
mod out;
mod parameters;
mod random;
mod sort;
mod sparse;
mod storage;
mod video;

pub use dense::{Axpy, Gemm, Gesummv, Heat3d};
pub use graph::Bfs;
pub use join::HashJoin;
pub use memory::{FaultStorm, Memcpy};
pub use network::NicRings;
pub use parameters::{Legal, Parameter, Parameters};
pub use sort::MergeSort;
pub use sparse::Spmv;
pub use storage::NvmeQueues;
pub use video::VideoFrames;

use crate::experiment::Work;
use crate::stream::AccessStream;
use crate::trace::{self, TraceError};
use out::{Generated, Steps};

/// Why there is no workload.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// Parameters that are not possible: each with what is, or the mend.
    #[error("{}", .0.join("\n"))]
    Parameters(Vec<String>),
}

/// Calls `$take` with the parameters of a generator, the function that begins it, and what its parameters' own check says.
macro_rules! generators {
    ($($variant:ident: $steps:path, $check:expr;)*) => {
        /// Every generator with its default parameters.
        pub fn generators() -> Vec<Work> {
            vec![$(Work::$variant($variant::default()),)*]
        }

        fn describe_of(work: &Work) -> Option<Generator> {
            match work {
                Work::Trace(_) => None,
                $(Work::$variant(p) => Some(Generator {
                    name: $variant::NAME,
                    about: $variant::ABOUT,
                    table: $variant::TABLE,
                    values: p.values(),
                }),)*
            }
        }

        fn own_problems(work: &Work) -> Vec<String> {
            match work {
                Work::Trace(_) => Vec::new(),
                $(Work::$variant(p) => { let check: fn(&$variant) -> Vec<String> = $check; check(p) })*
            }
        }

        fn set_in(work: &mut Work, name: &str, value: u64) -> bool {
            match work {
                Work::Trace(_) => false,
                $(Work::$variant(p) => p.set(name, value),)*
            }
        }

        fn begin(work: &Work) -> Option<(u64, Box<dyn Fn() -> Box<dyn Steps> + Send>)> {
            match work.clone() {
                Work::Trace(_) => None,
                $(Work::$variant(p) => Some((p.burst, Box::new(move || Box::new($steps(&p))))),)*
            }
        }
    };
}

generators! {
    Gemm: dense::GemmSteps::new, |_| Vec::new();
    Gesummv: dense::GesummvSteps::new, |_| Vec::new();
    Heat3d: dense::Heat3dSteps::new, |_| Vec::new();
    Axpy: dense::AxpySteps::new, |_| Vec::new();
    MergeSort: sort::MergeSortSteps::new, |_| Vec::new();
    Spmv: sparse::SpmvSteps::new, |_| Vec::new();
    Bfs: graph::BfsSteps::new, |_| Vec::new();
    HashJoin: join::HashJoinSteps::new, |_| Vec::new();
    VideoFrames: video::VideoFramesSteps::new, |_| Vec::new();
    NicRings: network::NicRingsSteps::new, NicRings::problems;
    NvmeQueues: storage::NvmeQueuesSteps::new, NvmeQueues::problems;
    Memcpy: memory::MemcpySteps::new, |_| Vec::new();
    FaultStorm: memory::FaultStormSteps::new, |_| Vec::new();
}

/// A generator as a table.
pub struct Generator {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Its parameters.
    pub table: &'static [Parameter],
    /// Their values.
    pub values: Vec<u64>,
}

impl Work {
    /// The generator with its parameters; `None` for a trace.
    pub fn generator(&self) -> Option<Generator> {
        describe_of(self)
    }

    /// A few words for reports: the file, or the generator with what is not as it is by default.
    pub fn name(&self) -> String {
        let Some(generator) = self.generator() else {
            return match self {
                Work::Trace(path) => path.display().to_string(),
                _ => String::new(),
            };
        };
        let mut name = generator.name.to_string();
        for (parameter, value) in generator.table.iter().zip(generator.values) {
            if value != parameter.default {
                name.push_str(&format!(" {}={value}", parameter.name));
            }
        }
        name
    }

    /// A generator by its name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn named(name: &str) -> Result<Work, String> {
        let all = generators();
        let names = |work: &Work| work.generator().map_or("", |g| g.name);
        all.iter().find(|work| names(work) == name).cloned().ok_or_else(|| {
            let list: Vec<&str> = all.iter().map(names).collect();
            format!("there is no workload {name:?}; there are {}", list.join(", "))
        })
    }

    /// Sets a parameter: `key=value`, in which the value may end in k, m or g (times 1024 once, twice, thrice).
    ///
    /// # Errors
    /// What is wrong, with what is possible.
    pub fn set(&mut self, setting: &str) -> Result<(), String> {
        let (key, text) =
            setting.split_once('=').ok_or_else(|| format!("{setting:?} is not of the form key=value"))?;
        let (key, text) = (key.trim(), text.trim().to_ascii_lowercase());
        let (digits, shift) = match text.strip_suffix(['k', 'm', 'g']) {
            Some(digits) => (digits, [10, 20, 30]["kmg".find(&text[digits.len()..]).unwrap_or(0)]),
            None => (text.as_str(), 0),
        };
        let value = digits.parse::<u64>().ok().and_then(|value| value.checked_mul(1 << shift));
        let value = value.ok_or_else(|| format!("{key} = {text}: not a number; for example {key}=64k"))?;
        if !set_in(self, key, value) {
            let keys: Vec<&str> =
                self.generator().map_or(Vec::new(), |g| g.table.iter().map(|p| p.name).collect());
            return Err(format!("{} has no {key:?}; it has {}", self.name(), keys.join(", ")));
        }
        Ok(())
    }

    /// What is not possible, as `key = value: why; mend`; empty if all is.
    pub fn problems(&self) -> Vec<String> {
        let Some(generator) = self.generator() else { return Vec::new() };
        let wrong = generator.table.iter().zip(generator.values).filter(|(p, value)| !p.legal.allows(*value));
        let name = generator.name;
        let mut problems: Vec<String> = wrong
            .map(|(p, value)| format!("work.{name}.{} = {value}: {} is possible", p.name, p.legal))
            .collect();
        if problems.is_empty() {
            problems = own_problems(self);
        }
        problems
    }
}

/// The accesses of a workload.
///
/// # Errors
/// Parameters that are not possible, or a trace that can't be opened.
pub fn workload(work: &Work) -> Result<Box<dyn AccessStream>, WorkError> {
    let problems = work.problems();
    if !problems.is_empty() {
        return Err(WorkError::Parameters(problems));
    }
    match work {
        Work::Trace(path) => Ok(trace::open(path)?),
        generated => match begin(generated) {
            Some((burst, begin)) => Ok(Box::new(Generated::new(generated.name(), burst, begin))),
            None => Err(WorkError::Parameters(vec!["this is no workload".into()])),
        },
    }
}

#[cfg(test)]
mod tests;
