//! Who does what: programs, devices, and the channels between them, from traces or from the jobs of an experiment.
//!
//! Everything that a design has no room for is refused here, before anything is made: the message names what there is and the option
//! that helps.

use super::{RunError, RunOptions};
use pasidon_experiment::experiment::{crowding, job_problems};
use pasidon_experiment::generate::workload;
use pasidon_experiment::requests::{part, share as share_of};
use pasidon_experiment::resolve::device_ids;
use pasidon_experiment::stream::{AccessStream, BATCH, OfLabel};
use pasidon_experiment::{Job, Profile, Work};
use pasidon_rtl::design::Design;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// Accesses of somebody, which are read when they are needed.
#[derive(Clone, Debug)]
pub struct Source {
    /// What was traced.
    pub name: String,
    work: Work,
    /// The one address space of several in a trace.
    label: Option<u32>,
    profile: Arc<Profile>,
}

impl Source {
    /// The accesses from the first on.
    ///
    /// # Errors
    /// A trace that can't be read.
    pub fn open(&self) -> Result<Box<dyn AccessStream>, RunError> {
        let stream = workload(&self.work)?;
        Ok(match self.label {
            Some(label) => Box::new(OfLabel { stream, label }),
            None => stream,
        })
    }
}

/// A process: its name, and what it needs.
#[derive(Clone, Debug)]
pub struct Program {
    /// What was traced.
    pub name: String,
    /// What is in it.
    pub profile: Profile,
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
    /// What it sends: the requests in the window, round and round.
    pub source: Arc<Source>,
    /// The window.
    pub window: std::ops::Range<u64>,
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

impl Plan {
    /// What the options ask for of a design.
    ///
    /// # Errors
    /// [`RunError`]: a trace that can't be read, or something that the design has no room for.
    pub fn new(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        if options.jobs.is_empty() {
            Plan::of_traces(design, options)
        } else {
            Plan::of_jobs(design, options)
        }
    }

    /// Each program on every one of two devices, which take a half each; or with `solo` one on one.
    fn of_traces(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        let mut sources = Vec::new();
        for path in &options.traces {
            sources.extend(by_label(path)?);
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
            let again = Source { name: format!("{} (again)", one.name), ..one.clone() };
            sources.push(again);
        }
        if sources.is_empty() {
            return Err(RunError::Unsuitable("there is nothing to replay: name at least one trace".into()));
        }
        let devices = devices(design, if options.solo { 1 } else { 2 });
        let mut channels = Vec::new();
        for (process, source) in sources.iter().enumerate() {
            let (source, length) = (Arc::new(source.clone()), source.profile.requests);
            for (device, place) in devices.iter().enumerate() {
                // Each device takes its part of the program; both run at the same time, so that pages are shared.
                let window = part(length, device as u64, devices.len() as u64);
                channels.push(PlannedChannel {
                    process,
                    device,
                    port: place.port,
                    source: source.clone(),
                    count: window.end - window.start,
                    window,
                    depth: options.depth,
                    gap: 0,
                });
            }
        }
        if let Some(wanted) = options.requests {
            share(&mut channels, wanted);
        }
        RunError::if_any(crowding(design, sources.len() as u64, channels.len() as u64))?;
        let program = |source: Source| Program { name: source.name, profile: (*source.profile).clone() };
        Ok(Plan { programs: sources.into_iter().map(program).collect(), devices, channels })
    }

    fn of_jobs(design: &Design, options: &RunOptions) -> Result<Plan, RunError> {
        let jobs = &options.jobs;
        RunError::if_any(job_problems(jobs, design))?;
        let numbers = |of: fn(&Job) -> u32| -> Vec<u32> {
            let set: BTreeSet<u32> = jobs.iter().map(of).collect();
            set.into_iter().collect()
        };
        let (process_numbers, device_numbers) = (numbers(|job| job.process), numbers(|job| job.device));
        // What several jobs do is looked through once.
        let mut sources: Vec<Arc<Source>> = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            let same = jobs[..index]
                .iter()
                .position(|other| other.work == job.work && other.needed() == job.needed());
            sources.push(match same {
                Some(other) => sources[other].clone(),
                None => Arc::new(source_of(job)?),
            });
        }
        let highest_device = device_numbers.last().copied().unwrap_or(0);
        let all = devices(design, highest_device as usize + 1);
        let place = |list: &[u32], number: u32| list.iter().position(|&n| n == number).unwrap_or(0);
        let mut plan = Plan { programs: Vec::new(), devices: Vec::new(), channels: Vec::new() };
        for &number in &device_numbers {
            let mut device = all[number as usize];
            if let Some(port) = jobs.iter().filter(|job| job.device == number).find_map(|job| job.port) {
                device.port = port as usize;
            }
            plan.devices.push(device);
        }
        for &number in &process_numbers {
            let mut whole = Program { name: String::new(), profile: Profile::default() };
            for (_, source) in jobs.iter().zip(&sources).filter(|(job, _)| job.process == number) {
                if whole.name.is_empty() {
                    whole.name = source.name.clone();
                } else if !whole.name.contains(&source.name) {
                    whole.name = format!("{}; {}", whole.name, source.name);
                }
                whole.profile.merge(&source.profile, true);
            }
            plan.programs.push(whole);
        }
        for (index, job) in jobs.iter().enumerate() {
            let device = place(&device_numbers, job.device);
            let port = job.port.map_or(job.device as usize % design.ports as usize, |port| port as usize);
            if !options.resident && design.ats && plan.devices[device].port != port {
                return Err(RunError::Unsuitable(format!(
                    "jobs.{index}.port = {port}: device {} is at port {}, and a device with a translation cache of its own has one \
                     port; use the same for all of its jobs, or have all pages in memory (--resident, pages.demand = false)",
                    job.device, plan.devices[device].port
                )));
            }
            let source = &sources[index];
            let (length, parts) = (source.profile.requests, u64::from(job.channels));
            let first = plan.channels.len();
            for number in 0..parts {
                let window = part(length, number, parts);
                plan.channels.push(PlannedChannel {
                    process: place(&process_numbers, job.process),
                    device,
                    port,
                    source: source.clone(),
                    count: window.end - window.start,
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
}

/// A job's work, looked through.
fn source_of(job: &Job) -> Result<Source, RunError> {
    let mut stream = workload(&job.work)?;
    let profile = Profile::of(stream.as_mut(), job.needed(), true)?;
    Ok(Source { name: stream.name(), work: job.work.clone(), label: None, profile: Arc::new(profile) })
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
            channel.count = share_of(wanted, index, able);
            index += 1;
        }
    }
}

/// A trace by address space, looked through.
fn by_label(path: &Path) -> Result<Vec<Source>, RunError> {
    let work = Work::Trace(path.to_path_buf());
    let mut stream = workload(&work)?;
    let mut by_label: BTreeMap<u32, Profile> = BTreeMap::new();
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        stream.next_batch(&mut batch)?;
        if batch.is_empty() {
            break;
        }
        for part in batch.chunk_by(|a, b| a.pasid == b.pasid) {
            by_label.entry(part[0].pasid).or_default().add(part, true);
        }
    }
    let several = by_label.len() > 1;
    let named = |(label, profile)| {
        let name = if several { format!("{} [{label}]", stream.name()) } else { stream.name() };
        Source { name, work: work.clone(), label: several.then_some(label), profile: Arc::new(profile) }
    };
    Ok(by_label.into_iter().map(named).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    }

    #[test]
    fn as_many_as_were_wanted() {
        let work = Work::Memcpy(Default::default());
        let source = Source { name: String::new(), work, label: None, profile: Arc::default() };
        let source = Arc::new(source);
        let channel = |window| PlannedChannel {
            process: 0,
            device: 0,
            port: 0,
            source: source.clone(),
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
