//! From a design to a booted system with processes: what every experiment begins with.

use super::plan::{self, Plan, PlannedDevice};
use super::{RunError, RunOptions};
use crate::endpoint::{Behaviour, Channel, ChannelKind, Endpoint, Traffic};
use crate::machine::Machine;
use crate::memory::PAGE;
use crate::os::{AddressSpace, Mapping, Os, OsConfig, OsError, Permissions};
use crate::platform::SimPlatform;
use pasidon_cosim::verilated::{Cache, Verilated};
use pasidon_driver::{AtsOptions, Config, DeviceOptions, Handle, Iommu, PageTableMode, PriOptions, Untagged};
use pasidon_experiment::pages::{PageSet, PageSize, layout_of};
use pasidon_experiment::requests::Feed;
use pasidon_rtl::design::Design;
use pasidon_spec::page_table::PAGE_SHIFT;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Cycles that the IOMMU may take for a command before the driver gives it up.
const TIMEOUT: u64 = 1_000_000;
/// Page groups that one call of the service resolves.
const BUDGET: usize = 64;
/// Page requests that a device may have outstanding.
const CREDITS: usize = 32;
/// Of the pages that programs touch, so many tenths have a frame at a time, if nothing else is asked for.
const TENTHS: usize = 7;
/// Frames below which devices take pages from each other before they have used them.
const FEWEST_FRAMES: usize = 8;

/// A DMA device.
pub type Device = PlannedDevice;

/// A process with what its program does.
pub struct Program {
    /// What was traced.
    pub name: String,
    /// The address space.
    pub mm: Arc<AddressSpace>,
}

/// What calls of the driver have cost: cycles, and operations (accesses of registers and memory) of the driver, each the sum over
/// all calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct Costs {
    /// Of binds: calls, cycles, operations.
    pub bind: [u64; 3],
    /// Of unbinds.
    pub unbind: [u64; 3],
}

/// A machine whose driver is up, with processes bound to devices.
pub struct System {
    /// The machine.
    pub platform: SimPlatform,
    /// The driver.
    pub iommu: Iommu,
    /// The operating system.
    pub os: Arc<Os>,
    /// Devices fault their pages in; otherwise all pages are in memory before a device comes.
    pub demand: bool,
    /// The design.
    pub design: Design,
    /// Hash of the generated design.
    pub hash: String,
    /// Devices.
    pub devices: Vec<Device>,
    /// Pages larger than 4 KiB that were mapped.
    large: u64,
    /// What the user should know: what was asked for and changes nothing.
    pub remarks: Vec<String>,
    /// What was asked for.
    options: RunOptions,
    /// Page-table format of the processes.
    mode: PageTableMode,
    /// Processes.
    pub processes: Vec<Program>,
    /// Bonds by (device index, process index).
    pub(super) handles: BTreeMap<(usize, usize), Handle>,
    /// Pages that programs touch, of 4 KiB.
    pub pages: usize,
    /// Frames for them; as many as there are if pages are in memory before a device comes.
    pub frames: usize,
    /// Virtual pages that more than one process uses.
    pub shared_pages: u64,
    /// What a bind and the unbind of it cost.
    pub costs: Costs,
    /// Fault records that the driver has fetched.
    pub faults: u64,
}

impl System {
    /// Generates, compiles and resets the hardware, boots the driver on it, and enables the devices of a plan.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn boot(
        design: &Design,
        cache: &Cache,
        options: &RunOptions,
        plan: &Plan,
    ) -> Result<System, RunError> {
        if !(design.pd8 || design.pd17 || design.pd20) {
            let message = "design has no process directories (pd8, pd17, pd20 are all false): nothing can be bound to it";
            return Err(RunError::Unsuitable(format!("{}: {message}", design.name)));
        }
        let generated = pasidon_rtl::generate(design)?;
        let mut model = Verilated::load(&generated, &design.name, cache, options.flavour)?;
        if let Some(file) = &options.waves
            && !model.trace_to(file)
        {
            return Err(RunError::Unsuitable("waveforms need the checked model: add --checked".into()));
        }
        let most = 1u64 << (design.pas - 1);
        let machine = Machine::new(model, design, &options.machine);
        if options.machine.memory_bytes > most || machine.bench.memory.is_empty() {
            return Err(RunError::Unsuitable(format!(
                "{} MiB of memory: design {} has {} bits of physical address, so that up to {} MiB are possible; choose less \
                 (--memory), or a larger address.pas",
                options.machine.memory_bytes >> 20,
                design.name,
                design.pas,
                most >> 20
            )));
        }
        let platform = SimPlatform::new(machine);
        let config = Config {
            device_id_width: design.device_id_width,
            timeout: TIMEOUT,
            fault_vector: Some(1.min(design.vectors as u8 - 1)),
            page_request_vector: Some(2.min(design.vectors as u8 - 1)),
            ..Config::default()
        };
        let booted = Iommu::new(Arc::new(platform.clone()), config);
        // A machine that hangs is the better explanation of whatever the driver says.
        platform.machine().check()?;
        let iommu = booted.map_err(|e| RunError::driver("bring the IOMMU up", e))?;

        let demand = !options.resident && iommu.capabilities().ats();
        let os = Os::new(
            platform.clone(),
            iommu.clone(),
            OsConfig { io_cycles: options.io, ..OsConfig::default() },
        );
        let mut system = System {
            platform,
            iommu,
            os,
            demand,
            design: design.clone(),
            hash: generated.hash,
            devices: Vec::new(),
            options: options.clone(),
            large: 0,
            remarks: Vec::new(),
            mode: PageTableMode::Sv39,
            processes: Vec::new(),
            handles: BTreeMap::new(),
            pages: 0,
            frames: 0,
            shared_pages: 0,
            costs: Costs::default(),
            faults: 0,
        };
        for device in &plan.devices {
            system.enable(*device)?;
        }
        Ok(system)
    }

    /// Lets a device in, with a cache of its own if pages come on demand.
    fn enable(&mut self, device: Device) -> Result<(), RunError> {
        let System { iommu, design, options, .. } = self;
        let refused = |e: &dyn std::fmt::Display| {
            RunError::driver(format!("enable device {:#x}", device.id), e.to_string())
        };
        let sva = DeviceOptions { pasid_width: design.process_id_width, untagged: Untagged::Fault };
        iommu.enable_sva(device.id, sva).map_err(|e| refused(&e))?;
        if self.demand {
            iommu.enable_ats(device.id, AtsOptions::default()).map_err(|e| refused(&e))?;
            let pri = PriOptions { outstanding: CREDITS, response_needs_pasid: false };
            iommu.enable_pri(device.id, pri).map_err(|e| refused(&e))?;
            let behaviour = Behaviour { cache: options.cache, credits: CREDITS, ..Behaviour::default() };
            let endpoint = Endpoint::new(device.id, device.port, behaviour, options.machine.seed);
            self.platform.machine().dma.endpoints.push(endpoint);
        }
        self.devices.push(device);
        Ok(())
    }

    /// The channels of a plan that was [spawned](Self::spawn), each at the beginning of its work.
    ///
    /// # Errors
    /// Work that can't be read.
    pub fn channels(&self, plan: &Plan) -> Result<Vec<Channel>, RunError> {
        let busy = plan.channels.iter().filter(|planned| planned.count > 0 && !planned.window.is_empty());
        let channel = |planned: &plan::PlannedChannel| {
            let feed = Feed::new(planned.source.open()?, Some(planned.count), Some(planned.window.clone()))?;
            let pasid = self.pasid(planned.device, planned.process);
            Ok(Channel {
                kind: self.kind(),
                space: Some(self.processes[planned.process].mm.id()),
                traffic: Traffic::Feed(Box::new(feed)),
                remaining: planned.count,
                depth: planned.depth,
                gap: planned.gap,
                ..Channel::new(self.devices[planned.device].id, Some(pasid), planned.port, Arc::from([]))
            })
        };
        busy.map(channel).collect()
    }

    /// Makes that there are two processes on each of two devices, as the isolation checks need them.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn complete(&mut self) -> Result<(), RunError> {
        for device in plan::devices(&self.design, 2 + self.devices.len()) {
            if self.devices.len() < 2 && self.devices.iter().all(|known| known.id != device.id) {
                self.enable(device)?;
            }
        }
        while self.processes.len() < 2 {
            let mode = self.mode;
            let mm = self.os.spawn(mode)?;
            self.processes.push(Program { name: "another".into(), mm });
        }
        for (device, process) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
            if !self.handles.contains_key(&(device, process)) {
                self.bind(device, process)?;
            }
        }
        Ok(())
    }

    /// Makes the processes of a plan, with all pages that they touch, and binds each to the devices that work for it.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn spawn(&mut self, plan: &Plan) -> Result<(), RunError> {
        let options = self.options.clone();
        let highest = plan.programs.iter().map(|program| program.profile.highest).max().unwrap_or(0);
        self.mode = self.page_table_mode(options.mode.map(PageTableMode::from), highest)?;
        let (mut used, mut shared) = (PageSet::default(), PageSet::default());
        let bonds: BTreeSet<(usize, usize)> =
            plan.channels.iter().map(|channel| (channel.process, channel.device)).collect();
        for (index, program) in plan.programs.iter().enumerate() {
            let pages = &program.profile.pages;
            for page in pages.ranges().into_iter().flatten().filter(|&page| used.contains(page)) {
                shared.add(page * PAGE, 1);
            }
            used.merge(pages);
            let mm = self.os.spawn(self.mode)?;
            let permissions =
                if program.profile.fetches { Permissions::ALL } else { Permissions::READ_WRITE };
            self.pages += pages.len() as usize;
            let backing = options.machine.seed ^ (index as u64 + 1) << 32;
            let mapping = Mapping::of(permissions, backing);
            self.map_all(&mm, pages, mapping).map_err(too_little)?;
            self.processes.push(Program { name: program.name.clone(), mm });
            for &(_, device) in bonds.range((index, 0)..(index + 1, 0)) {
                self.bind(device, index)?;
            }
        }
        if self.demand {
            let frames = options.frames.unwrap_or(self.pages * TENTHS / 10).max(FEWEST_FRAMES);
            // As many as there are pages are as good as any number.
            self.frames = if frames == usize::MAX { self.pages.max(FEWEST_FRAMES) } else { frames };
            self.os.set_frames(self.frames);
        } else {
            self.frames = self.os.resident() + self.os.resident_in_large() as usize;
        }
        self.remark();
        self.shared_pages = shared.len();
        Ok(())
    }

    /// Binds a process to a device.
    ///
    /// # Errors
    /// [`RunError::Driver`]
    pub fn bind(&mut self, device: usize, process: usize) -> Result<(), RunError> {
        let mm = self.processes[process].mm.clone();
        let (device_id, space) = (self.devices[device].id, mm.id());
        let before = self.clock();
        let handle = self.iommu.bind(device_id, mm);
        let after = self.clock();
        add_cost(&mut self.costs.bind, before, after);
        let handle =
            handle.map_err(|e| RunError::driver(format!("bind {}", self.processes[process].name), e))?;
        self.platform.machine().truth.bind(device_id, handle.pasid().get(), space);
        self.handles.insert((device, process), handle);
        Ok(())
    }

    /// Gives a bond back. The device is idle.
    pub fn unbind(&mut self, device: usize, process: usize) {
        if let Some(handle) = self.handles.remove(&(device, process)) {
            let pasid = handle.pasid().get();
            let before = self.clock();
            handle.unbind();
            let after = self.clock();
            add_cost(&mut self.costs.unbind, before, after);
            self.platform.machine().truth.unbind(self.devices[device].id, pasid);
        }
    }

    /// Cycles, and operations of the driver.
    fn clock(&self) -> (u64, u64) {
        let machine = self.platform.machine();
        (machine.now(), machine.driver_operations)
    }

    /// What an interrupt handler does: resolves page requests, and takes fault records. Returns whether page requests wait for
    /// something that takes time.
    pub fn service(&mut self) -> bool {
        let report = self.iommu.service_page_requests(BUDGET);
        self.faults += self.iommu.service_faults(|_| ()).records as u64;
        report.deferred > 0 || report.more
    }

    /// How the devices of this system reach memory.
    pub fn kind(&self) -> ChannelKind {
        if self.demand { ChannelKind::Ats } else { ChannelKind::Untranslated }
    }

    /// Maps the pages that a program touches; without demand paging they are then in memory.
    fn map_all(&mut self, mm: &AddressSpace, pages: &PageSet, mapping: Mapping) -> Result<(), RunError> {
        for page in layout_of(pages, self.options.enough()).pages {
            let (range, shift) = (page.va..page.va + (1 << page.shift), page.shift as u8);
            self.large += u64::from(shift > PAGE_SHIFT);
            self.os.map(mm.id(), range.clone(), Mapping { shift, ..mapping })?;
            if !self.demand {
                self.os.populate(mm.id(), range.start..range.start + PAGE)?;
            }
        }
        Ok(())
    }

    /// What was asked for and changes nothing.
    fn remark(&mut self) {
        let RunOptions { huge_pages, pages, worth, frames, io, .. } = &self.options;
        let asked = match pages {
            _ if *huge_pages => Some(
                "--huge-pages: no program uses 64 or more of the 512 pages of a region of 2 MiB".to_string(),
            ),
            PageSize::Mixed => {
                Some(format!("pages = mixed: no region has {worth} percent of a larger page in use"))
            }
            _ => None,
        };
        let asked = asked.filter(|_| self.large == 0);
        self.remarks.extend(asked.map(|why| format!("{why}, so that all pages are 4 KiB, as without it")));
        if !self.demand && (*io > 0 || frames.is_some_and(|frames| frames < self.pages)) {
            let why = if self.design.ats {
                "--resident was given"
            } else {
                "the design has no page requests (ats.ats)"
            };
            self.remarks.push(format!(
                "frames and the time to read a page in change nothing: all pages are in memory, since {why}"
            ));
        }
        if self.demand && frames.is_some_and(|frames| frames >= self.pages && frames != usize::MAX) {
            let pages = self.pages;
            self.remarks.push(format!(
                "frames: the programs touch {pages} pages, so that no page ever leaves memory; choose less"
            ));
        }
    }

    /// All bonds: device, index of the process, PASID.
    pub fn bonds(&self) -> impl Iterator<Item = (Device, usize, u32)> + '_ {
        self.handles
            .iter()
            .map(|(&(device, process), handle)| (self.devices[device], process, handle.pasid().get()))
    }

    /// PASID of a process on a device; 0, which is never bound, if it has none.
    pub fn pasid(&self, device: usize, process: usize) -> u32 {
        self.handles.get(&(device, process)).map_or(0, |handle| handle.pasid().get())
    }

    fn page_table_mode(
        &self,
        wanted: Option<PageTableMode>,
        highest: u64,
    ) -> Result<PageTableMode, RunError> {
        let modes = [(PageTableMode::Sv39, 38), (PageTableMode::Sv48, 47), (PageTableMode::Sv57, 56)];
        let available = |mode| self.iommu.capabilities().page_table(mode);
        let fits = |&&(mode, bits): &&(PageTableMode, u32)| available(mode) && highest >> bits == 0;
        let chosen = match wanted {
            Some(mode) => modes.iter().filter(|(m, _)| *m == mode).find(fits),
            None => modes.iter().find(fits),
        };
        chosen.map(|&(mode, _)| mode).ok_or_else(|| {
            let which = wanted.map_or("any page-table format".into(), |mode| format!("{mode:?}"));
            let design = &self.design.name;
            RunError::Unsuitable(format!(
                "design {design} can't map address {highest:#x} of the traces with {which}"
            ))
        })
    }
}

/// Says what helps when memory is too small.
fn too_little(error: RunError) -> RunError {
    match error {
        RunError::Os(OsError::OutOfMemory) => RunError::Unsuitable(
            "the programs touch more pages than the simulated machine has frames; give it more memory (--memory; pages of 1 GiB need 16384 MiB and more), or fewer \
             frames at a time (--frames, with demand paging)"
                .into(),
        ),
        other => other,
    }
}

fn add_cost(cost: &mut [u64; 3], before: (u64, u64), after: (u64, u64)) {
    let new = [1, after.0 - before.0, after.1 - before.1];
    cost.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
}
