//! A question put to an engine, complete: the same experiment gives the same answer, anywhere.

use crate::generate::{
    Axpy, Bfs, FaultStorm, Gemm, Gesummv, HashJoin, Heat3d, Memcpy, MergeSort, NicRings, NvmeQueues, Spmv,
    VideoFrames,
};
use crate::imagined::Imagined;
use crate::machine::MachineModel;
use crate::pages::PagePolicy;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// What computes the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// The hardware's Verilog, cycle by cycle.
    #[default]
    Rtl,
    /// The hardware's caches with the hardware's rules, walks by the golden model, and an estimate of cycles.
    Fast,
    /// The same with requests one at a time: counts without times, several times as fast.
    Counts,
    /// The fast engine, and the RTL on a sample that says how far it is off.
    Auto,
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// The accesses of a trace file.
    Trace(PathBuf),
    /// Matrix product.
    Gemm(Gemm),
    /// Two matrix-vector products.
    Gesummv(Gesummv),
    /// Stencil.
    Heat3d(Heat3d),
    /// Vector addition.
    Axpy(Axpy),
    /// Merge sort.
    MergeSort(MergeSort),
    /// Sparse matrix by vector.
    Spmv(Spmv),
    /// Breadth-first search.
    Bfs(Bfs),
    /// Hash join.
    HashJoin(HashJoin),
    /// Camera, encoder, display.
    VideoFrames(VideoFrames),
    /// Network card.
    NicRings(NicRings),
    /// NVMe drive.
    NvmeQueues(NvmeQueues),
    /// Copy of memory.
    Memcpy(Memcpy),
    /// Page faults.
    FaultStorm(FaultStorm),
}

/// Who does what: one process's work on one device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// What is done: `{ trace = "FILE" }`, or a generator with the parameters that are not as by default: `{ gemm = { m = 256 } }`.
    pub work: Work,
    /// Number of the process whose pointers they are: jobs with the same number share an address space.
    #[serde(default)]
    pub process: u32,
    /// Number of the device, from 0.
    #[serde(default)]
    pub device: u32,
    /// Translation port of the device; by default its number modulo the ports of the design.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u32>,
    /// Parts into which the work is cut, each with its own requests under way, all at the same time.
    #[serde(default = "one")]
    pub channels: u32,
    /// Requests under way of each channel.
    #[serde(default = "eight")]
    pub depth: u32,
    /// Cycles of computing between two accesses of a channel, beside what the work says itself.
    #[serde(default)]
    pub gap: u32,
    /// Accesses, repeated from the beginning as needed; by default all once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accesses: Option<u64>,
}

impl Job {
    /// Accesses of the work that are looked at; `None` for all. Where channels divide the work its end must be known, and the
    /// file of a trace has an end that is near.
    pub fn needed(&self) -> Option<u64> {
        match self.work {
            Work::Trace(_) => None,
            _ => self.accesses.filter(|_| self.channels == 1),
        }
    }

    /// The file of the work, if it has one.
    pub fn file(&self) -> Option<&Path> {
        match &self.work {
            Work::Trace(path) => Some(path),
            _ => None,
        }
    }
}

fn one() -> u32 {
    1
}

fn eight() -> u32 {
    8
}

/// A question.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Experiment {
    /// The design, in the sections and keys of a design file.
    pub design: serde_json::Value,
    /// Memory and caches around it.
    #[serde(default)]
    pub machine: MachineModel,
    /// Pages.
    #[serde(default)]
    pub pages: PagePolicy,
    /// Who does what.
    pub jobs: Vec<Job>,
    /// Decides everything that is arbitrary.
    #[serde(default)]
    pub seed: u64,
    /// What computes the answer.
    #[serde(default)]
    pub engine: Engine,
    /// Parts that the hardware does not have; only the fast engine knows them.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub imagined: Imagined,
}

fn is_nothing(imagined: &Imagined) -> bool {
    *imagined == Imagined::default()
}
