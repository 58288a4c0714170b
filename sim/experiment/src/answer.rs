//! What an engine answers to an experiment.
//!
//! An answer holds its question complete: put again, with the same program, it gives the same answer but for the wall time.

use crate::counts::Counts;
use crate::experiment::{Engine, Experiment};
use serde::{Deserialize, Serialize};

/// Where the cycles of all accesses went, summed over the accesses that were under way: each cycle of an access is in exactly
/// one of these, so that their sum is the sum of the accesses' times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breakdown {
    /// Waiting for the translation port to take the request.
    pub port: u64,
    /// In the L1 TLB: lookup and response.
    pub l1: u64,
    /// Waiting for a place in the miss table or for a walker, and in dispatch.
    pub miss_table: u64,
    /// In the L2 TLB.
    pub l2: u64,
    /// In a walker, without the memory reads.
    pub walker: u64,
    /// Waiting for memory reads of a walk.
    pub table_memory: u64,
    /// Waiting for a fence or an invalidation that held translations back.
    pub fence: u64,
    /// Waiting for the answer to a page request.
    pub page_request: u64,
    /// In data memory.
    pub data: u64,
}

impl Breakdown {
    /// The parts with their names, in the order of an access's life.
    pub fn parts(&self) -> [(&'static str, u64); 9] {
        [
            ("port", self.port),
            ("l1", self.l1),
            ("miss_table", self.miss_table),
            ("l2", self.l2),
            ("walker", self.walker),
            ("table_memory", self.table_memory),
            ("fence", self.fence),
            ("page_request", self.page_request),
            ("data", self.data),
        ]
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        self.parts().iter().map(|(_, cycles)| cycles).sum()
    }
}

/// Latency of translations: cycles from the first valid of a request to that of its response.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatencySummary {
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 99 of 100 are not above this.
    pub p99: u64,
    /// Largest.
    pub max: u64,
    /// (cycles, how many), shortest first; from 4096 cycles on in steps of a sixteenth.
    pub histogram: Vec<(u64, u64)>,
}

impl LatencySummary {
    /// Latencies below this are told one by one.
    pub const EXACT: u64 = 4096;

    /// The histogram of (cycles, how many), shortest first, in its steps.
    pub fn steps(all: impl Iterator<Item = (u64, u64)>) -> Vec<(u64, u64)> {
        let mut histogram: Vec<(u64, u64)> = Vec::new();
        for (cycles, count) in all {
            let step = if cycles < Self::EXACT { 1 } else { 1 << (cycles.ilog2() - 4) };
            let cycles = cycles / step * step;
            match histogram.last_mut() {
                Some(last) if last.0 == cycles => last.1 += count,
                _ => histogram.push((cycles, count)),
            }
        }
        histogram
    }
}

/// What a run took, in clock cycles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// From the first access to the end of the last.
    pub cycles: u64,
    /// The same accesses on the same machine without translation.
    pub bare: u64,
    /// Where the accesses' time went.
    pub breakdown: Breakdown,
    /// Of translations.
    pub latency: LatencySummary,
    /// An estimate, not a measurement.
    pub estimated: bool,
}

impl Times {
    /// What translation adds, in percent of the bare run.
    pub fn overhead_percent(&self) -> f64 {
        if self.bare == 0 { 0.0 } else { 100.0 * (self.cycles as f64 / self.bare as f64 - 1.0) }
    }

    /// The part of the run that translation takes, in percent of the run: what is lost of the bare throughput.
    pub fn share_percent(&self) -> f64 {
        if self.cycles == 0 { 0.0 } else { 100.0 * (1.0 - self.bare as f64 / self.cycles as f64) }
    }
}

/// A file that the answer depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Its path, as the experiment has it.
    pub path: String,
    /// SHA-256 of its bytes.
    pub sha256: String,
}

/// How far the fast engine is from the RTL on the same experiment, or on a part of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deviation {
    /// Accesses that both engines ran.
    pub accesses: u64,
    /// What was compared: name, the fast engine's value, the RTL's.
    pub values: Vec<(String, u64, u64)>,
}

fn is_zero(seconds: &f64) -> bool {
    *seconds == 0.0
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The question, complete.
    pub experiment: Experiment,
    /// Hash of the design without its name.
    pub design_hash: String,
    /// Version of the program.
    pub version: String,
    /// Files.
    pub sources: Vec<Source>,
    /// Which engine it was; never `auto`.
    pub engine: Engine,
    /// What was counted.
    pub counts: Counts,
    /// What it took; a count without times has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
    /// Parts of the hardware that the engine modelled and the RTL does not have; empty for hardware that exists.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imagined: Vec<String>,
    /// With `auto`, what the comparison with the RTL found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deviation: Option<Deviation>,
    /// Seconds that it took to compute; 0 where that is left out. Not part of what is repeated.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wall_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breakdown_adds_up() {
        let breakdown = Breakdown { port: 1, l1: 2, l2: 4, data: 8, ..Breakdown::default() };
        assert_eq!(breakdown.total(), 15);
        let times = Times { cycles: 115, bare: 100, ..Times::default() };
        assert!((times.overhead_percent() - 15.0).abs() < 1e-9);
        assert!((times.share_percent() - 100.0 * 15.0 / 115.0).abs() < 1e-9);
        assert_eq!(Times::default().share_percent(), 0.0);
    }
}
