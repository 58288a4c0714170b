//! Replay files: a design, a seed and a sequence of operations, as JSON with one operation per line.

use super::coverage::PointCounts;
use super::minimise::Minimiser;
use super::op::Op;
use super::{Failed, carry_out, engines};
use crate::engine::{Both, Difference, EngineError};
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_rtl::design::Design;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// A sequence to be repeated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// A shipped design, or the path that the design was read from.
    pub design: String,
    /// The text of the design, if it is not a shipped one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub design_toml: Option<String>,
    /// Pauses, ids and the order of answers follow from it.
    pub seed: u64,
    /// Memory latency of the run that it was found in.
    pub latency: u32,
    /// What differed when it was written.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// What to do.
    pub ops: Vec<Op>,
}

/// Why a replay file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read or written.
    #[error("{path}: {cause}")]
    File {
        /// The file.
        path: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// It is not a replay file.
    #[error("{path}: not a replay file: {cause}; `pasidon lockstep` writes them")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser said, with line and column.
        cause: serde_json::Error,
    },
    /// Its design is not valid.
    #[error("{0}")]
    Design(String),
    /// The engines failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Replay {
    /// Shortens a round that failed, for at most `time`. `name` is what the design was loaded by.
    ///
    /// # Errors
    /// [`EngineError`], if the engines themselves cannot go on.
    pub fn shortened(
        both: &mut Both,
        name: &str,
        failed: &Failed,
        time: Duration,
    ) -> Result<Replay, EngineError> {
        let minimiser = Minimiser::new(both, failed.seed, failed.difference.clone(), time);
        let (ops, difference, _) = minimiser.run(&failed.round.ops)?;
        let shipped = Design::shipped_toml(name).is_some();
        Ok(Replay {
            design: name.into(),
            design_toml: if shipped { None } else { std::fs::read_to_string(name).ok() },
            seed: failed.seed,
            latency: failed.latency,
            found: difference.to_string(),
            ops,
        })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub fn read(path: &Path) -> Result<Replay, ReplayError> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|cause| ReplayError::File { path: name.clone(), cause })?;
        serde_json::from_str(&text).map_err(|cause| ReplayError::Syntax { path: name, cause })
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`ReplayError::File`]
    pub fn write(&self, path: &Path) -> Result<(), ReplayError> {
        let head = Replay { ops: Vec::new(), ..self.clone() };
        // Neither can fail: there are no maps with keys that are not strings.
        let mut text = serde_json::to_string_pretty(&head).unwrap_or_default();
        let lines: Vec<String> = self
            .ops
            .iter()
            .map(|op| format!("    {}", serde_json::to_string(op).unwrap_or_default()))
            .collect();
        let list = if lines.is_empty() { "[]".into() } else { format!("[\n{}\n  ]", lines.join(",\n")) };
        if let Some(at) = text.rfind("[]") {
            text.replace_range(at..at + 2, &list);
        }
        std::fs::write(path, text + "\n")
            .map_err(|cause| ReplayError::File { path: path.display().to_string(), cause })
    }

    /// Its design.
    ///
    /// # Errors
    /// [`ReplayError::Design`]
    pub fn design(&self) -> Result<Design, ReplayError> {
        let design = match &self.design_toml {
            Some(text) => Design::from_toml(text, &self.design),
            None => Design::load(&self.design),
        };
        design.map_err(|error| ReplayError::Design(error.to_string()))
    }

    /// Repeats it; with `waves`, writes a waveform there. The difference, if it still fails.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub fn run(&self, cache: &Cache, waves: Option<&Path>) -> Result<Option<Difference>, ReplayError> {
        let flavour = if waves.is_some() { Flavour::Waveform } else { Flavour::Fast };
        let mut both = engines(&self.design()?, cache, flavour)?;
        if let Some(file) = waves {
            both.rtl().trace_to(file);
        }
        self.run_on(&mut both)
    }

    /// The same on engines that are there already.
    ///
    /// # Errors
    /// [`ReplayError::Engine`]
    pub fn run_on(&self, both: &mut Both) -> Result<Option<Difference>, ReplayError> {
        let outcome = carry_out(both, &mut PointCounts::default(), &self.ops, self.seed)?;
        Ok(outcome.failure.map(|(_, difference)| difference))
    }
}
