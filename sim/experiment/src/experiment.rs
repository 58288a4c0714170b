//! A question put to an engine, complete: the same experiment gives the same answer, anywhere.

use crate::answer::Source;
use crate::generate::{
    Axpy, Bfs, FaultStorm, Gemm, Gesummv, HashJoin, Heat3d, Memcpy, MergeSort, NicRings, NvmeQueues, Spmv,
    VideoFrames,
};
use crate::imagined::Imagined;
use crate::machine::MachineModel;
use crate::pages::PagePolicy;
use crate::resolve::{self, most_devices};
use pasidon_rtl::design::Design;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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

/// Channels are numbered in 16 bits.
const MOST_CHANNELS: u64 = (1 << 16) - 1;

impl Experiment {
    /// What no engine can do on this design, as `key = value: why; mend`; empty if all is possible.
    pub fn problems(&self, design: &Design) -> Vec<String> {
        let mut problems = self.machine.problems();
        problems.extend(self.pages.problems());
        if self.pages.demand && !design.ats {
            problems.push(format!(
                "pages.demand = true: design {} has no page requests; set ats.ats = true in it, or demand = false",
                design.name
            ));
        }
        problems.extend(job_problems(&self.jobs, design));
        problems
    }

    /// The files of its works, hashed.
    ///
    /// # Errors
    /// The first that can't be read, with the key that names it.
    pub fn sources(&self) -> Result<Vec<Source>, String> {
        resolve::sources(self.jobs.iter().filter_map(Job::file))
            .map_err(|problem| format!("jobs.work.trace = {problem}"))
    }
}

/// Why a design can't translate `highest`, the highest address of its processes, likewise; nothing if it can.
pub fn unmappable(design: &Design, highest: u64) -> Option<String> {
    let widest = match (design.sv48, design.sv57) {
        (_, true) => 57,
        (true, false) => 48,
        (false, false) => 39,
    };
    // The upper half is the kernel's.
    (highest >> (widest - 1) != 0).then(|| {
        let mend = match widest {
            57 => "use a workload with addresses below that",
            48 => "set translation.sv57 = true in it",
            _ => "set translation.sv48 = true in it, or sv57 too",
        };
        format!(
            "jobs.work: it uses address {highest:#x}, and the page tables of design {} reach to {:#x}; {mend}",
            design.name,
            (1u64 << (widest - 1)) - 1
        )
    })
}

/// What is not possible of jobs on a design, likewise.
pub fn job_problems(jobs: &[Job], design: &Design) -> Vec<String> {
    if jobs.is_empty() {
        return vec!["jobs: there is nothing to do; add a [[jobs]] with a work".into()];
    }
    let mut problems = Vec::new();
    if !design.process_contexts() {
        problems.push(format!(
            "design.process.pd8 = false: design {} has no process directories, so that nothing can be bound to it; set one of \
             process.pd8, pd17 and pd20 to true",
            design.name
        ));
    }
    let devices = most_devices(design.device_id_width) as u64;
    for (index, job) in jobs.iter().enumerate() {
        for (key, value) in [("channels", job.channels), ("depth", job.depth)] {
            if value == 0 {
                problems.push(format!("jobs.{index}.{key} = 0: nothing would be done; set it to 1 or more"));
            }
        }
        if let Some(port) = job.port.filter(|&port| port >= design.ports) {
            problems.push(format!(
                "jobs.{index}.port = {port}: design {} has {} translation ports; choose one below that, or a design with more \
                 (ports.count)",
                design.name, design.ports
            ));
        }
        if u64::from(job.device) >= devices {
            problems.push(format!(
                "jobs.{index}.device = {}: design {} has {} bits of device_id, which name the devices 0 to {}; use a smaller \
                 number, or a larger address.device_id_width",
                job.device,
                design.name,
                design.device_id_width,
                devices - 1
            ));
        }
        problems.extend(job.work.problems().into_iter().map(|problem| format!("jobs.{index}.{problem}")));
        let several = match job.work {
            Work::NicRings(NicRings { tenants: n @ 2.., .. }) => Some(("nic_rings", "tenants", n)),
            Work::FaultStorm(FaultStorm { processes: n @ 2.., .. }) => Some(("fault_storm", "processes", n)),
            _ => None,
        };
        if let Some((work, who, n)) = several {
            problems.push(format!(
                "jobs.{index}.work.{work}.{who} = {n}: a job is the work of one process, and {who} have address spaces of \
                 their own; set it to 1, and make a job with another process for each (in a sweep: copies = {n})"
            ));
        }
    }
    let processes: BTreeSet<u32> = jobs.iter().map(|job| job.process).collect();
    let channels = jobs.iter().map(|job| u64::from(job.channels)).sum();
    problems.extend(crowding(design, processes.len() as u64, channels));
    problems
}

/// Too many processes or channels for a design, likewise.
pub fn crowding(design: &Design, processes: u64, channels: u64) -> Vec<String> {
    let mut problems = Vec::new();
    let (name, width) = (&design.name, design.process_id_width);
    let pasids = (1u64 << width) - 1;
    if processes > pasids {
        problems.push(format!(
            "jobs.process: {processes} processes, and the {width} bits of process_id of design {name} name {pasids}; use fewer, or a \
             larger address.process_id_width"
        ));
    }
    if channels > MOST_CHANNELS {
        problems.push(format!(
            "jobs.channels: {channels} channels in all, and {MOST_CHANNELS} are possible; use fewer channels, or fewer jobs"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_can_do_names_field_and_mend() {
        let tiny = Design::shipped("tiny").unwrap();
        let read = |text: &str| -> Experiment { toml::from_str(text).unwrap() };
        let told = |text: &str| read(&format!("design = \"tiny\"\n{text}")).problems(&tiny).join("\n");
        let job = |keys: &str| format!("[[jobs]]\nwork = {{ nic_rings = {{ }} }}\n{keys}\n");
        let work = |keys: &str| format!("[[jobs]]\nwork = {{ nic_rings = {{ {keys} }} }}\n");
        assert_eq!(told(&job("")), "");
        for (text, field, mend) in [
            ("jobs = []".to_string(), "jobs: ", "add a [[jobs]]"),
            (job("channels = 0"), "jobs.0.channels = 0", "1 or more"),
            (job("depth = 0"), "jobs.0.depth = 0", "1 or more"),
            (job("port = 9"), "jobs.0.port = 9", "ports.count"),
            (job("device = 500"), "jobs.0.device = 500", "address.device_id_width"),
            (job("channels = 65536"), "jobs.channels", "use fewer"),
            (work("tenants = 3"), "jobs.0.work.nic_rings.tenants = 3", "copies = 3"),
            (
                "[[jobs]]\nwork = { fault_storm = { processes = 4 } }\n".into(),
                "jobs.0.work.fault_storm.processes = 4",
                "copies = 4",
            ),
            (work("buffer = 64"), "jobs.0.work.nic_rings.buffer = 64", "set it to 2048"),
            (format!("pages = {{ demand = true }}\n{}", job("")), "pages.demand = true", "ats.ats = true"),
            (format!("pages = {{ worth = 0 }}\n{}", job("")), "pages.worth = 0", "1 to 100"),
            (format!("machine.data.latency = 0\n{}", job("")), "machine.data.latency = 0", "from 1"),
        ] {
            let told = told(&text);
            assert!(
                told.lines().count() == 1 && told.starts_with(field) && told.contains(mend),
                "{text}: {told}"
            );
        }
        let many: String = (0..256).map(|process| job(&format!("process = {process}"))).collect();
        assert!(told(&many).contains("address.process_id_width"));
    }
}
