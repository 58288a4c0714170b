//! Who does what: programs, devices, and the channels between them, from traces or from the jobs of an experiment.
//!
//! Everything that a design has no room for is refused here, before anything is made: the message names what there is and the option
//! that helps.

use super::{RunError, RunOptions};
use crate::endpoint::DmaRequest;
use crate::memory::PAGE;
use pasidon_experiment::generate::workload;
use pasidon_experiment::resolve::{device_ids, most_devices};
use pasidon_experiment::trace::{Trace, TraceAccess, TraceOp};
use pasidon_experiment::{Job, Work};
use pasidon_rtl::design::Design;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Channels are numbered in 16 bits.
const MOST_CHANNELS: usize = 1 << 16;
/// Accesses of one work that are kept in memory.
const MOST_ACCESSES: usize = 1 << 26;

/// Requests of devices, with the cycles of computing before each; empty if there are none.
#[derive(Clone, Debug)]
pub struct Requests {
    /// The requests.
    pub requests: Arc<[DmaRequest]>,
    /// The gaps.
    pub gaps: Arc<[u32]>,
}

/// A process: its name, and what it needs.
#[derive(Clone, Debug)]
pub struct Program {
    /// What was traced.
    pub name: String,
    /// Numbers of the 4 KiB pages that it touches.
    pub pages: BTreeSet<u64>,
    /// The highest address that it uses.
    pub highest: u64,
    /// It fetches instructions.
    pub fetches: bool,
}

/// A device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedDevice {
    /// device_id.
    pub id: u32,
    /// Translation port.
    pub port: usize,
}

/// A part of the work of a process on a device.
#[derive(Clone, Debug)]
pub struct PlannedChannel {
    /// Index of the process.
    pub process: usize,
    /// Index of the device.
    pub device: usize,
    /// Translation port.
    pub port: usize,
    /// The requests that it sends, those in the window, round and round.
    pub requests: Requests,
    /// The window.
    pub window: std::ops::Range<usize>,
    /// How many are sent in all.
    pub count: u64,
    /// Requests under way.
    pub depth: u32,
    /// Cycles of computing between two, beside the gaps of the requests.
    pub gap: u32,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Processes.
    pub programs: Vec<Program>,
    /// Devices.
    pub devices: Vec<PlannedDevice>,
    /// Channels.
    pub channels: Vec<PlannedChannel>,
}

/// Accesses of somebody.
struct Source {
    name: String,
    accesses: Vec<TraceAccess>,
}

impl Plan {
    /// What the options ask for of a design.
    ///
    /// # Errors
    /// [`RunError`]: a trace that can't be read, or something that the design has no room for.
    pub fn new(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        let plan = if options.jobs.is_empty() {
            Plan::of_traces(design, options)?
        } else {
            Plan::of_jobs(design, options)?
        };
        plan.check(design)?;
        Ok(plan)
    }

    /// Each program on every one of two devices, which take a half each; or with `solo` one on one.
    fn of_traces(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        let mut sources = Vec::new();
        for path in &options.traces {
            sources.extend(by_label(pasidon_experiment::trace::load(path)?));
        }
        if options.solo {
            if sources.len() > 1 {
                let found = sources.len();
                return Err(RunError::Unsuitable(format!(
                    "--solo runs one process on one device, and the traces have {found} address spaces: name one trace of a \
                     single program, or say who does what with --job"
                )));
            }
        } else if let [one] = &sources[..] {
            // The same program twice: all their virtual addresses are the same.
            let again = Source { name: format!("{} (again)", one.name), accesses: one.accesses.clone() };
            sources.push(again);
        }
        if sources.is_empty() {
            return Err(RunError::Unsuitable("there is nothing to replay: name at least one trace".into()));
        }
        let devices = devices(design, if options.solo { 1 } else { 2 });
        let mut channels = Vec::new();
        for (process, source) in sources.iter().enumerate() {
            let requests = requests_of(&source.accesses);
            let length = requests.requests.len();
            for (device, place) in devices.iter().enumerate() {
                // Each device takes its part of the program; both run at the same time, so that pages are shared.
                let window = length * device / devices.len()..length * (device + 1) / devices.len();
                channels.push(PlannedChannel {
                    process,
                    device,
                    port: place.port,
                    requests: requests.clone(),
                    count: window.len() as u64,
                    window,
                    depth: options.depth,
                    gap: 0,
                });
            }
        }
        if let Some(wanted) = options.requests {
            share(&mut channels, wanted);
        }
        Ok(Plan { programs: sources.iter().map(program).collect(), devices, channels })
    }

    fn of_jobs(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        let jobs = &options.jobs;
        let numbers = |of: fn(&Job) -> u32| -> Vec<u32> {
            let set: BTreeSet<u32> = jobs.iter().map(of).collect();
            set.into_iter().collect()
        };
        let (process_numbers, device_numbers) = (numbers(|job| job.process), numbers(|job| job.device));
        // Jobs with the same work share its requests.
        let mut loaded: Vec<(Source, Requests)> = Vec::new();
        let mut work_of = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let same = jobs[..index]
                .iter()
                .position(|other| other.work == job.work && other.needed() == job.needed());
            work_of.push(same.map_or(loaded.len(), |other| work_of[other]));
            if same.is_none() {
                let source = accesses_of(&job.work, job.needed())?;
                let requests = requests_of(&source.accesses);
                loaded.push((source, requests));
            }
        }
        let highest_device = device_numbers.last().copied().unwrap_or(0);
        let all = devices(design, highest_device as usize + 1);
        let place = |list: &[u32], number: u32| list.iter().position(|&n| n == number).unwrap_or(0);
        let mut plan = Plan { programs: Vec::new(), devices: Vec::new(), channels: Vec::new() };
        for &number in &device_numbers {
            let mut device =
                all.get(number as usize).copied().ok_or_else(|| too_many_devices(design, number))?;
            if let Some(port) = jobs.iter().filter(|job| job.device == number).find_map(|job| job.port) {
                device.port = port as usize;
            }
            plan.devices.push(device);
        }
        for &number in &process_numbers {
            let mine = jobs.iter().zip(&work_of).filter(|(job, _)| job.process == number);
            let mut of_process = mine.map(|(_, &work)| &loaded[work].0);
            let mut whole = of_process.next().map(program).unwrap_or_else(|| program(&Source::nothing()));
            for other in of_process.map(program) {
                if !whole.name.contains(&other.name) {
                    whole.name = format!("{}; {}", whole.name, other.name);
                }
                whole.pages.extend(other.pages);
                whole.highest = whole.highest.max(other.highest);
                whole.fetches |= other.fetches;
            }
            plan.programs.push(whole);
        }
        for (index, job) in jobs.iter().enumerate() {
            let requests = &loaded[work_of[index]].1;
            let device = place(&device_numbers, job.device);
            let port = job.port.map_or(job.device as usize % design.ports as usize, |port| port as usize);
            if port >= design.ports as usize {
                return Err(RunError::Unsuitable(format!(
                    "job {index}: port = {port}: design {} has {} translation ports; choose one below that, or a design with \
                     more (ports.count)",
                    design.name, design.ports
                )));
            }
            if !options.resident && design.ats && plan.devices[device].port != port {
                return Err(RunError::Unsuitable(format!(
                    "job {index}: port = {port}: device {} is at port {}, and a device with a translation cache of its own has one \
                     port; use the same for all of its jobs, or have all pages in memory (--resident, pages.demand = false)",
                    job.device, plan.devices[device].port
                )));
            }
            if job.channels == 0 || job.depth == 0 {
                return Err(RunError::Unsuitable(format!(
                    "job {index}: channels and depth must be at least 1"
                )));
            }
            let (length, parts) = (requests.requests.len(), job.channels as usize);
            let first = plan.channels.len();
            for part in 0..parts {
                let window = length * part / parts..length * (part + 1) / parts;
                plan.channels.push(PlannedChannel {
                    process: place(&process_numbers, job.process),
                    device,
                    port,
                    requests: requests.clone(),
                    count: window.len() as u64,
                    window,
                    depth: job.depth,
                    gap: job.gap,
                });
            }
            if let Some(wanted) = job.accesses {
                share(&mut plan.channels[first..], wanted);
            }
        }
        if let Some(wanted) = options.requests {
            share(&mut plan.channels, wanted);
        }
        Ok(plan)
    }

    /// Whether the design has room for it.
    fn check(&self, design: &Design) -> Result<(), RunError> {
        let refuse =
            |message: String| Err(RunError::Unsuitable(format!("design {}: {message}", design.name)));
        let pasids = (1u64 << design.process_id_width) - 1;
        if self.programs.len() as u64 > pasids {
            return refuse(format!(
                "{} processes, and {} bits of process_id name {pasids}; use fewer, or a larger address.process_id_width",
                self.programs.len(),
                design.process_id_width
            ));
        }
        if self.channels.len() >= MOST_CHANNELS {
            return refuse(format!(
                "{} channels, and {} are possible; use fewer channels per job",
                self.channels.len(),
                MOST_CHANNELS - 1
            ));
        }
        Ok(())
    }
}

impl Source {
    fn nothing() -> Source {
        Source { name: String::new(), accesses: Vec::new() }
    }
}

/// The accesses of a work, or the first of them. They are kept in memory here.
fn accesses_of(work: &Work, first: Option<u64>) -> Result<Source, RunError> {
    if let Work::Trace(path) = work {
        let Trace { source, accesses } = pasidon_experiment::trace::load(path)?;
        return Ok(Source { name: source, accesses });
    }
    let mut stream = workload(work).map_err(|error| RunError::Unsuitable(error.to_string()))?;
    let mut accesses = Vec::new();
    let mut batch = Vec::new();
    while first.is_none_or(|first| (accesses.len() as u64) < first) {
        stream.next_batch(&mut batch)?;
        if batch.is_empty() {
            break;
        }
        accesses.extend_from_slice(&batch);
        if accesses.len() > MOST_ACCESSES {
            return Err(RunError::Unsuitable(format!(
                "{} has more than {MOST_ACCESSES} accesses, which the simulated hardware would take days for; set accesses of \
                 the job, with channels = 1, or take the fast engine",
                stream.name()
            )));
        }
    }
    if let Some(first) = first {
        accesses.truncate(first as usize);
    }
    Ok(Source { name: stream.name(), accesses })
}

fn too_many_devices(design: &Design, number: u32) -> RunError {
    let most = most_devices(design.device_id_width);
    RunError::Unsuitable(format!(
        "device = {number}: design {} has {} bits of device_id, which name the devices 0 to {}; use a smaller number, or a \
         larger address.device_id_width",
        design.name,
        design.device_id_width,
        most - 1
    ))
}

/// The first `count` devices, as far as there are.
pub(super) fn devices(design: &Design, count: usize) -> Vec<PlannedDevice> {
    let place = |(index, id)| PlannedDevice { id, port: index % design.ports as usize };
    device_ids(design.device_id_width, count).into_iter().enumerate().map(place).collect()
}

/// Gives channels that have something to send their share of `wanted` requests, which is then exactly what is sent.
fn share(channels: &mut [PlannedChannel], wanted: u64) {
    let able = channels.iter().filter(|channel| !channel.window.is_empty()).count() as u64;
    let mut index = 0;
    for channel in channels {
        channel.count = 0;
        if !channel.window.is_empty() {
            channel.count = wanted / able + u64::from(index < wanted % able);
            index += 1;
        }
    }
}

/// A trace by address space.
fn by_label(trace: Trace) -> Vec<Source> {
    let mut by_label: BTreeMap<u32, Vec<TraceAccess>> = BTreeMap::new();
    for access in &trace.accesses {
        by_label.entry(access.pasid).or_default().push(*access);
    }
    let several = by_label.len() > 1;
    let named = |(label, accesses)| {
        let name = if several { format!("{} [{label}]", trace.source) } else { trace.source.clone() };
        Source { name, accesses }
    };
    by_label.into_iter().map(named).collect()
}

fn program(source: &Source) -> Program {
    let mut pages = BTreeSet::new();
    let mut highest = 0;
    for access in &source.accesses {
        let last = access.address + u64::from(access.size) - 1;
        pages.extend(access.address / PAGE..=last / PAGE);
        highest = highest.max(last);
    }
    let fetches = source.accesses.iter().any(|access| access.op == TraceOp::Fetch);
    Program { name: source.name.clone(), pages, highest, fetches }
}

/// Turns accesses of a program into requests: split at pages, modify as read then write. The first of an access has its gap.
fn requests_of(accesses: &[TraceAccess]) -> Requests {
    let mut requests = Vec::new();
    let mut gaps = Vec::new();
    for access in accesses {
        let kinds: &[bool] = match access.op {
            TraceOp::Read | TraceOp::Fetch => &[false],
            TraceOp::Write => &[true],
            TraceOp::Modify => &[false, true],
        };
        let mut gap = access.gap;
        for &write in kinds {
            let (mut va, mut left) = (access.address, u64::from(access.size));
            while left > 0 {
                let length = left.min(PAGE - va % PAGE);
                let exec = access.op == TraceOp::Fetch;
                requests.push(DmaRequest { va, length: length as u16, write, exec });
                gaps.push(std::mem::take(&mut gap));
                va += length;
                left -= length;
            }
        }
    }
    let gaps: Arc<[u32]> = if gaps.iter().all(|&gap| gap == 0) { Arc::from([]) } else { gaps.into() };
    Requests { requests: requests.into(), gaps }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(op: TraceOp, address: u64, size: u32, gap: u32) -> TraceAccess {
        TraceAccess { pasid: 0, op, address, size, gap }
    }

    #[test]
    fn accesses_are_split_at_pages_and_keep_their_gaps() {
        let list = [
            access(TraceOp::Modify, 0x1ffc, 8, 5),
            access(TraceOp::Write, 0x3000, 4, 0),
            access(TraceOp::Read, 0, 1, 2),
        ];
        let Requests { requests, gaps } = requests_of(&list);
        let seen: Vec<(u64, u16, bool)> = requests.iter().map(|r| (r.va, r.length, r.write)).collect();
        let parts = [(0x1ffc, 4, false), (0x2000, 4, false), (0x1ffc, 4, true), (0x2000, 4, true)];
        assert_eq!(seen, [&parts[..], &[(0x3000, 4, true), (0, 1, false)]].concat());
        assert_eq!(*gaps, [5, 0, 0, 0, 0, 2]);
        assert!(requests_of(&list[1..2]).gaps.is_empty());
    }

    #[test]
    fn devices_differ_and_the_stranger_is_none_of_them() {
        for name in ["tiny", "default"] {
            let design = Design::shipped(name).unwrap();
            let top = (1u32 << design.device_id_width) - 1;
            let list = devices(&design, 100);
            let ids: BTreeSet<u32> = list.iter().map(|device| device.id).collect();
            assert_eq!((list.len(), ids.len(), ids.contains(&top)), (100, 100, false));
            assert_eq!((list[0].id, list[1].id), (1, top & !1));
        }
        let tiny = Design::shipped("tiny").unwrap();
        assert_eq!(devices(&tiny, 1000).len(), 127);
        assert!(too_many_devices(&tiny, 127).to_string().contains("address.device_id_width"));
    }

    #[test]
    fn as_many_as_were_wanted() {
        let requests = requests_of(&[access(TraceOp::Read, 0, 8, 0)]);
        let channel = |window| PlannedChannel {
            process: 0,
            device: 0,
            port: 0,
            requests: requests.clone(),
            window,
            count: 0,
            depth: 1,
            gap: 0,
        };
        let mut channels = vec![channel(0..0), channel(0..1), channel(0..1)];
        share(&mut channels, 65);
        assert_eq!(channels.iter().map(|channel| channel.count).collect::<Vec<_>>(), [0, 33, 32]);
    }
}
