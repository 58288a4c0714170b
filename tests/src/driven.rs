//! The hardware under its driver, with an operating system and devices: what tests of the driver's promises share.
//!
//! The clock goes on only within calls of the driver and of this, so that a test repeats exactly, unless it has threads.

use pasidon_cosim::{Cache, Clocked, Flavour, Verilated};
use pasidon_driver::{
    AtsOptions, Config, DeviceOptions, FaultReport, Handle, Iommu, PageTableMode, Platform, PriOptions,
};
use pasidon_machine::endpoint::{Behaviour, Channel, ChannelKind, DmaRequest, Endpoint, Outcome};
use pasidon_machine::machine::Machine;
use pasidon_machine::machine::MachineConfig;
use pasidon_machine::memory::PAGE;
use pasidon_machine::os::{AddressSpace, Mapping, Os, OsConfig, Permissions};
use pasidon_machine::platform::SimPlatform;
use pasidon_rtl::design::Design;
use pasidon_spec::fault::FaultRecord;
use std::sync::Arc;

/// The first of the pages of a process.
pub const BASE: u64 = 0x40_0000;
/// How many pages it has.
pub const PAGES: u64 = 16;
/// Cycles that the driver gives the IOMMU for a step.
pub const TIMEOUT: u64 = 50_000;
/// Cycles after which an access that has not ended never will.
const PATIENCE: u64 = 1_000_000;
/// Cycles between two looks.
const LOOK: u64 = 50;

/// How a driver is set up for a design: short queues, and more time for devices than the IOMMU itself gives them.
pub fn config(design: &Design) -> Config {
    Config {
        device_id_width: design.device_id_width,
        timeout: TIMEOUT,
        device_timeout: 4 * u64::from(design.ats_timeout),
        command_queue_log2: 5,
        fault_queue_log2: 5,
        page_request_queue_log2: 6,
        ..Config::default()
    }
}

/// A machine whose driver is up. Clones are the same one.
#[derive(Clone)]
pub struct Driven {
    /// The machine, as its present owner has it.
    pub platform: SimPlatform,
    /// The driver.
    pub iommu: Iommu,
    /// The operating system.
    pub os: Arc<Os>,
}

impl Driven {
    /// Hardware of this design, reset, and a driver that brings it up.
    ///
    /// # Panics
    /// If there is no model, or the driver refuses.
    pub fn boot(design: &Design, config: Config, seed: u64) -> Driven {
        Driven::boot_with(design, seed, |platform| (Arc::new(platform), config))
    }

    /// The same with what `prepare` makes of the machine: the platform that the driver sees, and how it is set up.
    ///
    /// # Panics
    /// As [`boot`](Self::boot).
    pub fn boot_with(
        design: &Design,
        seed: u64,
        prepare: impl FnOnce(SimPlatform) -> (Arc<dyn Platform>, Config),
    ) -> Driven {
        let generated = pasidon_rtl::generate(design).expect("emits");
        let cache = Cache::in_workspace().quiet();
        let model = Verilated::load(&generated, &design.name, &cache, Flavour::Fast)
            .unwrap_or_else(|error| panic!("{error}"));
        let machine = MachineConfig { memory_bytes: 32 << 20, seed, ..MachineConfig::default() };
        let platform = SimPlatform::new(Machine::new(model, design, &machine));
        let (seen, config) = prepare(platform.clone());
        Driven::on(platform, seen, config, 0)
    }

    /// A driver on hardware in whatever state, and an operating system whose address spaces have numbers beyond `last`.
    fn on(platform: SimPlatform, seen: Arc<dyn Platform>, config: Config, last: u32) -> Driven {
        let iommu = Iommu::new(seen, config).expect("the driver brings the IOMMU up");
        let os = OsConfig { last_space: last, ..OsConfig::default() };
        let os = Os::new(platform.clone(), iommu.clone(), os);
        Driven { platform, iommu, os }
    }

    /// Another driver takes the hardware over while devices go on. The former owner is gone without having put
    /// anything back, and his memory is filled with a pattern when the successor is up.
    ///
    /// # Panics
    /// If the driver refuses.
    pub fn taken_over(self, config: Config) -> Driven {
        let was = {
            let mut machine = self.platform.machine();
            machine.truth.begin_change();
            machine.bench.memory.in_use()
        };
        let last = self.os.last_space();
        let platform = self.platform.successor();
        let next = Driven::on(platform.clone(), Arc::new(platform), config, last);
        let mut machine = next.platform.machine();
        machine.truth.end_change();
        machine.bench.memory.set_aside(was);
        machine.root_port.excuse_all();
        drop(machine);
        next
    }

    /// Resets a device, and enables it: with ATS and page requests if it behaves in some way.
    ///
    /// # Panics
    /// If the driver refuses.
    pub fn enable(&self, id: u32, behaviour: Option<Behaviour>) {
        self.reset_device(id, behaviour);
        self.iommu.enable_sva(id, DeviceOptions::default()).expect("the device is enabled");
        let Some(Behaviour { credits, response_needs_pasid, .. }) = behaviour else { return };
        self.iommu.enable_ats(id, AtsOptions::default()).expect("ATS is enabled");
        let pri = PriOptions { outstanding: credits, response_needs_pasid };
        self.iommu.enable_pri(id, pri).expect("page requests are enabled");
    }

    /// Resets a device into a behaviour, or one without ATS.
    pub fn reset_device(&self, id: u32, behaviour: Option<Behaviour>) {
        let mut machine = self.platform.machine();
        let machine = &mut *machine;
        machine.truth.admit(id);
        if let Some(behaviour) = behaviour {
            let port = id as usize % machine.dma.ports();
            match machine.dma.endpoint(id) {
                Some(endpoint) => endpoint.behaviour = behaviour,
                None => machine.dma.endpoints.push(Endpoint::new(id, port, behaviour, id.into())),
            }
        }
        machine.dma.reset_device(id, false, &mut machine.truth);
        machine.root_port.excuse(id);
        // Its accesses that are on their way end before it is said to have been reset.
        let ended = machine
            .wait_until(PATIENCE, "accesses were on their way", |machine| !machine.dma.has_channels_of(id));
        ended.unwrap_or_else(|error| panic!("{error}"));
    }

    /// A process with [`PAGES`] pages at [`BASE`], to be read and written, none of them in memory.
    ///
    /// # Panics
    /// If memory is short.
    pub fn process(&self) -> Arc<AddressSpace> {
        let mm = self.os.spawn(PageTableMode::Sv39).expect("memory");
        let mapping = Mapping::of(Permissions::READ_WRITE, mm.id().into());
        self.os.map(mm.id(), BASE..BASE + PAGES * PAGE, mapping).expect("memory");
        mm
    }

    /// The same, all in memory.
    ///
    /// # Panics
    /// If memory is short.
    pub fn resident_process(&self) -> Arc<AddressSpace> {
        let mm = self.process();
        self.os.populate(mm.id(), BASE..BASE + PAGES * PAGE).expect("memory");
        mm
    }

    /// Binds a device to a process.
    ///
    /// # Panics
    /// If the driver refuses.
    pub fn bind(&self, id: u32, mm: &Arc<AddressSpace>) -> Handle {
        let handle = self.iommu.bind(id, mm.clone()).expect("the device is bound");
        self.platform.machine().truth.bind(id, handle.pasid().get(), mm.id());
        handle
    }

    /// Gives a handle back, after the device has stopped using it.
    pub fn unbind(&self, handle: Handle) {
        let (id, pasid) = (handle.device_id(), handle.pasid().get());
        {
            let mut machine = self.platform.machine();
            let machine = &mut *machine;
            machine.dma.stop_device_in(id, pasid, true, &mut machine.truth);
        }
        self.wait(|machine| machine.dma.is_idle_in(id, pasid) && !machine.root_port.holds(id, pasid));
        handle.unbind();
        self.platform.machine().truth.unbind(id, pasid);
    }

    /// Lets time go by, with the service of page requests at work, until something is so.
    ///
    /// # Panics
    /// If it never is.
    pub fn wait(&self, mut done: impl FnMut(&mut Machine) -> bool) {
        let begun = self.now();
        while !done(&mut self.platform.machine()) {
            assert!(self.now() - begun < PATIENCE, "{:?}", self.platform.machine().dma.stuck());
            self.run(LOOK);
            self.iommu.service_page_requests(64);
        }
    }

    /// Lets so many clock cycles go by; devices and hardware go on.
    pub fn run(&self, cycles: u64) {
        let mut machine = self.platform.machine();
        (0..cycles).for_each(|_| machine.step());
    }

    /// The clock.
    pub fn now(&self) -> u64 {
        self.platform.machine().now()
    }

    /// Tells a device to make an access, whose outcome [`wait`](Self::wait) can wait for.
    pub fn begin(&self, id: u32, pasid: u32, kind: ChannelKind, va: u64, write: bool) {
        let requests = [DmaRequest { va, length: 8, write, exec: false }].into();
        let channel = Channel::new(id, Some(pasid), id as usize, requests);
        self.platform.machine().dma.add(Channel { kind, observe: true, ..channel });
    }

    /// An access of a device, to its end, page requests included. No other access is observed meanwhile.
    ///
    /// # Panics
    /// If it does not end.
    pub fn access(&self, id: u32, pasid: u32, kind: ChannelKind, va: u64, write: bool) -> Outcome {
        self.platform.machine().dma.take_outcomes();
        self.begin(id, pasid, kind, va, write);
        let mut outcomes = Vec::new();
        self.wait(|machine| {
            outcomes.append(&mut machine.dma.take_outcomes());
            !outcomes.is_empty()
        });
        outcomes.remove(0)
    }

    /// Has a device read and write all pages of a process over and over, as fast as it can.
    pub fn keep_busy(&self, id: u32, pasid: u32, kind: ChannelKind) {
        let request =
            |n| DmaRequest { va: BASE + n % PAGES * PAGE, length: 8, write: n % 2 == 0, exec: false };
        let requests: Arc<[DmaRequest]> = (0..2 * PAGES + 1).map(request).collect();
        let channel = Channel::new(id, Some(pasid), id as usize, requests);
        self.platform.machine().dma.add(Channel { kind, remaining: u64::MAX, depth: 4, ..channel });
    }

    /// The fault records that there are, and what the driver reports with the last of them.
    pub fn faults(&self) -> (Vec<FaultRecord>, FaultReport) {
        let mut records = Vec::new();
        let report = self.iommu.service_faults(|record| records.push(*record));
        (records, report)
    }

    /// Nothing has happened that must not, to any access since the beginning or the last time.
    ///
    /// # Panics
    /// If something has.
    pub fn check(&self) {
        let mut machine = self.platform.machine();
        machine.check().unwrap_or_else(|error| panic!("{error}"));
        let (findings, count) = machine.truth.take_findings();
        assert_eq!(count, 0, "{findings:#?}");
        assert_eq!((machine.counters.mismatches, machine.counters.strays), (0, 0));
        assert_eq!(machine.bench.memory.touched_aside(), None, "the memory of a former owner was written to");
    }
}
