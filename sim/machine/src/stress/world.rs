//! Processes, devices, and what binds them.

use super::{DEVICES, Finding, StressOptions, StressReport};
use crate::endpoint::{Behaviour, Endpoint};
use crate::machine::{Machine, MachineConfig, default_pace, endless};
use crate::memory::PAGE;
use crate::os::{AddressSpace, Os, OsConfig, OsStatistics};
use crate::platform::SimPlatform;
use crate::run::RunError;
use crate::truth::SpaceId;
use pasidon_cosim::verilated::{Cache, Verilated};
use pasidon_cosim::{Pace, Random};
use pasidon_driver::{
    AtsOptions, Bond, Change, Config, DeviceError, DeviceOptions, DrvData, EnableError, Fault, FaultDecision,
    Handle, Iommu, PasidSpace, PriOptions, Statistics, SvaOps, Untagged,
};
use pasidon_experiment::MachineModel;
use pasidon_rtl::design::Design;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// Where processes have their pages: all at the same addresses.
pub(super) const BASE: u64 = 0x1_0000_0000;

/// Frames for all pages of all processes.
const FRAMES: usize = 64;
/// PASIDs: a few more than processes, so that those that are slow to die are in the way at times.
pub(super) const PASIDS: u32 = 72;
/// Findings that are told in full.
const DETAILS: usize = 20;
/// Operations that are remembered.
const HISTORY: usize = 24;
/// Cycles that the driver gives the IOMMU for a step, and for a device: longer than the IOMMU gives the device itself.
const TIMEOUT: u64 = 2_000_000;
/// One in so many calls of the driver to its platform is interrupted, twice.
const INTERRUPTS: u64 = 400;

/// The callbacks of a bond, and what they have seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The bond is there.
    bound: AtomicBool,
    pub(super) exits: AtomicU32,
    pub(super) faults: AtomicU32,
    /// Callbacks when the bond was gone.
    pub(super) late: AtomicU32,
}

impl Watch {
    fn called(&self) {
        if !self.bound.load(Ordering::Relaxed) {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl SvaOps for Watch {
    fn mm_exit(&self, _bond: &Bond, _data: &DrvData) {
        self.called();
        self.exits.fetch_add(1, Ordering::Relaxed);
    }

    fn fault(&self, _bond: &Bond, _data: &DrvData, fault: &Fault) -> FaultDecision {
        self.called();
        let number = self.faults.fetch_add(1, Ordering::Relaxed);
        // A device driver that knows better, now and then.
        match (fault.is_recoverable(), number % 16) {
            (true, 7) => FaultDecision::Invalid,
            (true, 15) => FaultDecision::Retry,
            _ => FaultDecision::AsResolved,
        }
    }
}

/// A device bound to a process.
pub(super) struct Bound {
    pub(super) handles: Vec<Handle>,
    pub(super) watch: Arc<Watch>,
    pub(super) pasid: u32,
}

/// A process, alive or not.
pub(super) struct Process {
    pub(super) mm: Arc<AddressSpace>,
    /// By index of the device.
    pub(super) bonds: BTreeMap<usize, Bound>,
    pub(super) alive: bool,
}

/// What state a device is in, as its driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It works, as far as anybody knows.
    There,
    /// It was cut off.
    CutOff,
    /// SVA is disabled for it.
    Disabled,
}

/// A device.
pub(super) struct Device {
    pub(super) id: u32,
    pub(super) port: usize,
    pub(super) presence: Presence,
    /// It misbehaves, and has to be reset to behave again.
    pub(super) wicked: bool,
    /// PASIDs that it can carry.
    pub(super) pasid_width: u32,
}

/// Everything.
pub(super) struct World {
    pub(super) platform: SimPlatform,
    pub(super) iommu: Iommu,
    pub(super) os: Arc<Os>,
    /// How the driver is set up, whoever has the IOMMU.
    pub(super) driver: Config,
    pub(super) pasids: Arc<PasidSpace>,
    pub(super) pasid_limit: u32,
    pub(super) random: Random,
    pub(super) devices: Vec<Device>,
    pub(super) processes: Vec<Process>,
    pub(super) report: StressReport,
    pub(super) history: VecDeque<String>,
    /// The driver's memory while no device is enabled.
    pub(super) allocations: usize,
    pub(super) lost: usize,
    /// Page requests that wait for their input.
    pub(super) deferred: bool,
    /// Device-driver data that is alive.
    pub(super) data: Arc<AtomicU64>,
    /// The IOMMU is suspended.
    pub(super) asleep: bool,
    /// What former owners of the IOMMU counted.
    pub(super) past: Past,
    /// Address spaces that interrupt handlers may invalidate.
    pub(super) interrupted: Arc<Mutex<Vec<Weak<AddressSpace>>>>,
    interrupt_invalidations: Arc<AtomicU64>,
    /// Operations that are over.
    pub(super) done: Arc<AtomicU64>,
}

/// Counts of drivers and operating systems that are gone.
#[derive(Default)]
pub(super) struct Past {
    driver: BTreeMap<&'static str, usize>,
    os: OsStatistics,
}

impl Past {
    pub(super) fn add(&mut self, driver: &Statistics, os: &OsStatistics) {
        for (name, count) in driver.entries() {
            let sum = self.driver.entry(name).or_default();
            *sum = if name.ends_with("high_water") { count.max(*sum) } else { *sum + count };
        }
        self.os.page_ins += os.page_ins;
        self.os.page_outs += os.page_outs;
        self.os.copies += os.copies;
        self.os.exits += os.exits;
    }

    fn count(&self, name: &str) -> u64 {
        self.driver.get(name).copied().unwrap_or(0) as u64
    }
}

impl World {
    pub(super) fn new(design: &Design, cache: &Cache, options: &StressOptions) -> Result<World, RunError> {
        let mut random = Random::new(options.seed);
        let generated = pasidon_rtl::generate(design)?;
        let model = Verilated::load(&generated, &design.name, cache, options.flavour)?;
        let pace = Pace { jitter: 30, ..default_pace() };
        let memory = MachineModel { data: endless(25), ..MachineModel::default() };
        let config = MachineConfig { pace, model: memory, memory_bytes: 32 << 20, seed: random.word() };
        let platform = SimPlatform::new(Machine::new(model, design, &config));
        platform.machine().root_port.pauses = 40;
        let pasid_limit = PASIDS.min((1 << design.process_id_width) - 1);
        let pasids = Arc::new(PasidSpace::new(pasid_limit));
        let vector = |wanted: u8| Some(wanted.min(design.vectors as u8 - 1));
        let driver = Config {
            device_id_width: design.device_id_width,
            timeout: TIMEOUT,
            device_timeout: TIMEOUT.max(4 * u64::from(design.ats_timeout)),
            command_queue_log2: 5,
            fault_queue_log2: 5,
            page_request_queue_log2: 6,
            fault_vector: vector(1),
            page_request_vector: vector(2),
            range_limit: 8,
            pasids: Some(pasids.clone()),
            ..Config::default()
        };
        let booted = Iommu::new(Arc::new(platform.clone()), driver.clone());
        platform.machine().check()?;
        let iommu = booted.map_err(|e| RunError::driver("bring the IOMMU up", e))?;
        if !iommu.capabilities().ats() {
            let message = format!("design {} has no ATS and page requests (ats.ats)", design.name);
            return Err(RunError::Unsuitable(message));
        }
        let os = World::operating_system(&platform, &iommu, 0);
        let top = (1u32 << design.device_id_width) - 1;
        let devices = [1, 2, 0x105, 0x1_ff00, 0x2_0001, 0x3_0001, 0xff_fffe, 0x80]
            .iter()
            .take(DEVICES)
            .enumerate()
            .map(|(index, id)| Device {
                id: id & top,
                port: index % design.ports as usize,
                presence: Presence::Disabled,
                wicked: false,
                // One that can't carry all PASIDs.
                pasid_width: if index == 3 { 6 } else { design.process_id_width },
            })
            .collect();
        let report =
            StressReport { design: design.name.clone(), seed: options.seed, ..StressReport::default() };
        let mut world = World {
            platform,
            iommu,
            os,
            driver,
            pasids,
            pasid_limit,
            random,
            devices,
            processes: Vec::new(),
            report,
            history: VecDeque::new(),
            allocations: 0,
            lost: 0,
            deferred: false,
            data: Arc::default(),
            asleep: false,
            past: Past::default(),
            interrupted: Arc::default(),
            interrupt_invalidations: Arc::default(),
            done: Arc::default(),
        };
        {
            let mut machine = world.platform.machine();
            for device in &world.devices {
                let endpoint =
                    Endpoint::new(device.id, device.port, Behaviour::default(), world.random.word());
                machine.dma.endpoints.push(endpoint);
            }
        }
        // The directory keeps the tables on the way to a device.
        world.begin()?;
        for index in 0..world.devices.len() {
            world.disable(index);
        }
        world.allocations = world.platform.machine().bench.memory.allocations().len();
        world.begin()?;
        world.take_interrupts();
        let seed = world.random.word();
        world.platform.set_interrupts(seed, INTERRUPTS);
        Ok(world)
    }

    /// The operating system on a machine whose IOMMU is up, with address spaces of numbers beyond `last`.
    pub(super) fn operating_system(platform: &SimPlatform, iommu: &Iommu, last: SpaceId) -> Arc<Os> {
        let config = OsConfig { frames: FRAMES, io_cycles: 1500, last_space: last };
        Os::new(platform.clone(), iommu.clone(), config)
    }

    /// Enables all devices, with no process there yet.
    pub(super) fn begin(&mut self) -> Result<(), RunError> {
        for index in 0..self.devices.len() {
            if self.devices[index].presence == Presence::Disabled {
                self.enable(index);
            }
        }
        Ok(())
    }

    /// Lets a device in that was disabled, with some behaviour.
    pub(super) fn enable(&mut self, index: usize) {
        let Device { id, pasid_width, .. } = self.devices[index];
        self.stop_forging(id);
        let needs_pasid = self.random.below(2) == 0;
        let credits = 4 + self.random.below(24) as usize;
        let behaviour = Behaviour {
            cache: 4 + self.random.below(60) as usize,
            credits,
            group: 1 + self.random.below(6) as usize,
            // Lies have the other indices.
            indices: 256,
            response_needs_pasid: needs_pasid,
            delay: self.random.below(200),
            completions: 1 + self.random.below(8) as u8,
            ..Behaviour::default()
        };
        // One that was lost is there again: if the IOMMU is brought back meanwhile, devices are asked to forget what they know.
        self.replace_behaviour(index, behaviour);
        let sva = DeviceOptions { pasid_width, untagged: Untagged::Fault };
        let iommu = self.iommu.clone();
        let enabled =
            self.with_shortages("enable SVA", EnableError::OutOfMemory, || iommu.enable_sva(id, sva));
        if let Err(error) = enabled {
            return self.found(format!("device {id:#x} could not be enabled: {error}"));
        }
        self.platform.machine().truth.admit(id);
        self.patiently("enable ATS", || {
            iommu.enable_ats(id, AtsOptions::default()).map_err(|e| e.to_string())
        });
        let pri = PriOptions { outstanding: credits, response_needs_pasid: needs_pasid };
        let enabled = self
            .with_shortages("enable page requests", DeviceError::OutOfMemory, || iommu.enable_pri(id, pri));
        if enabled.is_err() {
            self.patiently("enable page requests", || iommu.enable_pri(id, pri).map_err(|e| e.to_string()));
        }
        self.devices[index].presence = Presence::There;
        self.devices[index].wicked = false;
        let mut machine = self.platform.machine();
        machine.root_port.excuse(id);
        machine.root_port.forget(id);
    }

    /// Resets the device into this behaviour.
    pub(super) fn replace_behaviour(&mut self, index: usize, behaviour: Behaviour) {
        let mut machine = self.platform.machine();
        let machine = &mut *machine;
        let id = self.devices[index].id;
        if let Some(endpoint) = machine.dma.endpoint(id) {
            endpoint.behaviour = behaviour;
        }
        machine.dma.reset_device(id, false, &mut machine.truth);
        machine.root_port.excuse(id);
    }

    /// Repeats what the driver could not get confirmed while memory fails; true if it worked in the end.
    pub(super) fn patiently(&mut self, what: &str, mut call: impl FnMut() -> Result<(), String>) -> bool {
        let mut last = String::new();
        for _ in 0..50 {
            match call() {
                Ok(()) => return true,
                Err(error) => last = error,
            }
            if self.iommu.service_page_requests(0).reset {
                _ = self.iommu.resume();
            }
            let mut machine = self.platform.machine();
            (0..1000).for_each(|_| machine.step());
        }
        self.found(format!("{what} never worked: {last}"));
        false
    }

    pub(super) fn found(&mut self, what: String) {
        self.report.findings += 1;
        if self.report.details.len() < DETAILS {
            self.report.details.push(Finding { op: self.report.ops, what });
        }
        if self.report.history.is_empty() {
            self.report.history = self.history.iter().cloned().collect();
        }
    }

    pub(super) fn remember(&mut self, what: String) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(format!("{}: {what}", self.report.ops));
    }

    /// Data of a device driver, which counts itself.
    pub(super) fn driver_data(&self) -> DrvData {
        self.data.fetch_add(1, Ordering::Relaxed);
        Arc::new(Counted(self.data.clone()))
    }

    pub(super) fn watch(&self) -> Arc<Watch> {
        let watch = Arc::new(Watch::default());
        watch.bound.store(true, Ordering::Relaxed);
        watch
    }

    /// The last handle of a bond has gone back: nobody calls any more.
    pub(super) fn unwatched(&mut self, watch: Arc<Watch>) {
        watch.bound.store(false, Ordering::Relaxed);
        if Arc::strong_count(&watch) != 1 {
            self.found("the driver kept the callbacks of a bond after its unbind".into());
        }
        self.report.mm_exits += u64::from(watch.exits.load(Ordering::Relaxed));
    }

    pub(super) fn finish(mut self, time: Duration) -> StressReport {
        self.past.add(&self.iommu.statistics(), &self.os.statistics());
        let Past { os, .. } = &self.past;
        let past = &self.past;
        let machine = self.platform.machine();
        let counters = machine.counters();
        let responses = machine.root_port.responses;
        let report = &mut self.report;
        report.cycles = machine.now();
        report.seconds = time.as_secs_f64();
        report.binds = past.count("binds");
        report.unbinds = past.count("unbinds");
        report.accesses = counters.requests;
        report.faults = counters.faults;
        report.page_requests = machine.root_port.requests_sent;
        report.groups = machine.root_port.groups_sent;
        report.responses_success = responses[0];
        report.responses_invalid = responses[1];
        report.responses_failure = responses[15];
        report.invalidations = machine.root_port.invalidations;
        report.device_timeouts = past.count("device_timeouts");
        report.page_ins = os.page_ins;
        report.page_outs = os.page_outs;
        report.copies = os.copies;
        report.exits = os.exits;
        report.overflows = past.count("request_overflows");
        report.restarts = past.count("queue_restarts");
        report.iommu_resets = machine.core_resets;
        report.resumes = past.count("resumes");
        report.interrupts = self.platform.interrupts_taken();
        report.interrupt_invalidations = self.interrupt_invalidations.load(Ordering::Relaxed);
        report.driver = past.driver.clone();
        drop(machine);
        self.platform.set_interrupt_handler(None);
        self.report
    }

    /// From now on interrupts are taken also while the driver is at work, if it has not masked them.
    pub(super) fn take_interrupts(&mut self) {
        /// So many interrupts serve the queues, and then as many do not.
        const SPELL: u64 = 400;
        /// One in so many changes an address space.
        const CHANGE: u64 = 16;
        let (iommu, calls) = (self.iommu.clone(), AtomicU64::new(0));
        let (spaces, invalidations) = (self.interrupted.clone(), self.interrupt_invalidations.clone());
        self.platform.set_interrupt_handler(Some(Arc::new(move || {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            if (call / SPELL).is_multiple_of(2) {
                iommu.receive_page_requests();
                iommu.service_faults(|_| ());
            }
            if call % CHANGE == 0 {
                let space = {
                    let spaces = spaces.lock().unwrap_or_else(PoisonError::into_inner);
                    let at = (call / CHANGE) as usize % spaces.len().max(1);
                    spaces.get(at).and_then(Weak::upgrade)
                };
                if let Some(space) = space {
                    let pages = 1 + call / CHANGE % 12;
                    let change = if pages == 1 { Change::Tables } else { Change::Leaves };
                    // If it is not confirmed, nothing has changed that would have to wait.
                    _ = iommu.invalidate_range(&*space, BASE..BASE + pages * PAGE, change);
                    invalidations.fetch_add(1, Ordering::Relaxed);
                }
            }
        })));
    }

    /// Tells the handler of interrupts which address spaces there are.
    pub(super) fn offer_spaces(&self) {
        let mut spaces = self.interrupted.lock().unwrap_or_else(PoisonError::into_inner);
        spaces.clear();
        spaces.extend(self.processes.iter().map(|process| Arc::downgrade(&process.mm)));
    }
}

struct Counted(Arc<AtomicU64>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
