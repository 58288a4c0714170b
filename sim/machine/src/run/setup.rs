//! From a design to a booted system with processes: what every experiment begins with.

use super::{RunError, RunOptions};
use crate::endpoint::{Behaviour, ChannelKind, DmaRequest, Endpoint};
use crate::machine::Machine;
use crate::memory::{HUGE_PAGE, PAGE};
use crate::os::{AddressSpace, Mapping, Os, OsConfig, Permissions};
use crate::platform::SimPlatform;
use pasidon_cosim::verilated::{Cache, Verilated};
use pasidon_driver::{AtsOptions, Config, DeviceOptions, Handle, Iommu, PageTableMode, PriOptions, Untagged};
use pasidon_experiment::trace::{Trace, TraceAccess, TraceOp};
use pasidon_rtl::design::Design;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Cycles that the IOMMU may take for a command before the driver gives it up.
const TIMEOUT: u64 = 1_000_000;
/// Pages in use, of the 512, that make a 2 MiB page worth while.
const HUGE_USE: usize = 64;
/// Page groups that one call of the service resolves.
const BUDGET: usize = 64;
/// Page requests that a device may have outstanding.
const CREDITS: usize = 32;
/// Of the pages that programs touch, so many tenths have a frame at a time, if nothing else is asked for.
const TENTHS: usize = 7;
/// Frames below which devices take pages from each other before they have used them.
const FEWEST_FRAMES: usize = 8;

/// A DMA device.
#[derive(Clone, Copy, Debug)]
pub struct Device {
    /// device_id.
    pub id: u32,
    /// Its translation port.
    pub port: usize,
}

/// A process with what its program does.
pub struct Program {
    /// What was traced.
    pub name: String,
    /// The address space.
    pub mm: Arc<AddressSpace>,
    /// What devices do in it.
    pub requests: Arc<[DmaRequest]>,
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
    /// Generates, compiles and resets the hardware, boots the driver on it, and enables two devices.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn boot(design: &Design, cache: &Cache, options: &RunOptions) -> Result<System, RunError> {
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
        let platform = SimPlatform::new(Machine::new(model, design, &options.machine));
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

        // Far apart, so that they share as little of the device directory as the design allows.
        let ids = [1 & ((1 << design.device_id_width) - 1), ((1u32 << design.device_id_width) - 1) & !1];
        let devices: Vec<Device> = ids
            .iter()
            .enumerate()
            .map(|(index, &id)| Device { id, port: index % design.ports as usize })
            .collect();
        let demand = !options.resident && iommu.capabilities().ats();
        for device in &devices {
            let refused = |e: &dyn std::fmt::Display| {
                RunError::driver(format!("enable device {:#x}", device.id), e.to_string())
            };
            let sva = DeviceOptions { pasid_width: design.process_id_width, untagged: Untagged::Fault };
            iommu.enable_sva(device.id, sva).map_err(|e| refused(&e))?;
            if demand {
                iommu.enable_ats(device.id, AtsOptions::default()).map_err(|e| refused(&e))?;
                let pri = PriOptions { outstanding: CREDITS, response_needs_pasid: false };
                iommu.enable_pri(device.id, pri).map_err(|e| refused(&e))?;
                let behaviour = Behaviour { cache: options.cache, credits: CREDITS, ..Behaviour::default() };
                let endpoint = Endpoint::new(device.id, device.port, behaviour, options.machine.seed);
                platform.machine().dma.endpoints.push(endpoint);
            }
        }
        let os = Os::new(
            platform.clone(),
            iommu.clone(),
            OsConfig { io_cycles: options.io, ..OsConfig::default() },
        );
        Ok(System {
            platform,
            iommu,
            os,
            demand,
            design: design.clone(),
            hash: generated.hash,
            devices,
            processes: Vec::new(),
            handles: BTreeMap::new(),
            pages: 0,
            frames: 0,
            shared_pages: 0,
            costs: Costs::default(),
            faults: 0,
        })
    }

    /// Makes a process for each program in `traces`, at least two, with all pages that it touches, and binds each to
    /// every device.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn spawn(&mut self, traces: &[Trace], options: &RunOptions) -> Result<(), RunError> {
        let mut programs: Vec<(String, Vec<TraceAccess>)> = Vec::new();
        for trace in traces {
            let mut by_label: BTreeMap<u32, Vec<TraceAccess>> = BTreeMap::new();
            for access in &trace.accesses {
                by_label.entry(access.pasid).or_default().push(*access);
            }
            let several = by_label.len() > 1;
            for (label, accesses) in by_label {
                let name = if several { format!("{} [{label}]", trace.source) } else { trace.source.clone() };
                programs.push((name, accesses));
            }
        }
        if let [(name, accesses)] = &programs[..] {
            // The same program twice: all their virtual addresses are the same.
            programs.push((format!("{name} (again)"), accesses.clone()));
        }
        if programs.is_empty() {
            return Err(RunError::Unsuitable("there is nothing to replay: name at least one trace".into()));
        }
        let highest = programs
            .iter()
            .flat_map(|(_, a)| a)
            .map(|a| a.address + u64::from(a.size) - 1)
            .max()
            .unwrap_or(0);
        let mode = self.page_table_mode(options.mode, highest)?;
        let mut used: BTreeMap<u64, u32> = BTreeMap::new();
        for (index, (name, accesses)) in programs.into_iter().enumerate() {
            let pages = pages_of(&accesses);
            for &page in &pages {
                *used.entry(page).or_default() += 1;
            }
            let mm = self.os.spawn(mode)?;
            let permissions = if accesses.iter().any(|a| a.op == TraceOp::Fetch) {
                Permissions::ALL
            } else {
                Permissions::READ_WRITE
            };
            self.pages += pages.len();
            let backing = options.machine.seed ^ (index as u64 + 1) << 32;
            self.map_all(&mm, &pages, Mapping::of(permissions, backing), options.huge_pages)?;
            let requests = requests_of(&accesses).into();
            self.processes.push(Program { name, mm, requests });
            for device in 0..self.devices.len() {
                self.bind(device, index)?;
            }
        }
        if self.demand {
            self.frames = options.frames.unwrap_or(self.pages * TENTHS / 10).max(FEWEST_FRAMES);
            self.os.set_frames(self.frames);
        } else {
            self.frames = self.os.resident();
        }
        self.shared_pages = used.values().filter(|&&users| users > 1).count() as u64;
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
    fn map_all(
        &self,
        mm: &AddressSpace,
        pages: &BTreeSet<u64>,
        mapping: Mapping,
        huge: bool,
    ) -> Result<(), RunError> {
        const RATIO: u64 = HUGE_PAGE / PAGE;
        let mut rest = pages.iter().copied().peekable();
        while let Some(page) = rest.next() {
            let region = page / RATIO;
            let last = (region + 1) * RATIO;
            let worth = huge
                && pages.range(page..last).count() >= HUGE_USE
                && pages.range(region * RATIO..page).next().is_none();
            let (range, mapping) = if worth {
                while rest.next_if(|&next| next < last).is_some() {}
                (region * HUGE_PAGE..(region + 1) * HUGE_PAGE, Mapping { huge, ..mapping })
            } else {
                (page * PAGE..(page + 1) * PAGE, mapping)
            };
            self.os.map(mm.id(), range.clone(), mapping)?;
            if !self.demand {
                self.os.populate(mm.id(), range)?;
            }
        }
        Ok(())
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

fn pages_of(accesses: &[TraceAccess]) -> BTreeSet<u64> {
    let mut pages = BTreeSet::new();
    for access in accesses {
        let last = (access.address + u64::from(access.size) - 1) / PAGE;
        pages.extend(access.address / PAGE..=last);
    }
    pages
}

/// Turns accesses of a program into requests: split at pages, modify as read then write.
fn requests_of(accesses: &[TraceAccess]) -> Vec<DmaRequest> {
    let mut requests = Vec::new();
    for access in accesses {
        let kinds: &[bool] = match access.op {
            TraceOp::Read | TraceOp::Fetch => &[false],
            TraceOp::Write => &[true],
            TraceOp::Modify => &[false, true],
        };
        for &write in kinds {
            let (mut va, mut left) = (access.address, u64::from(access.size));
            while left > 0 {
                let length = left.min(PAGE - va % PAGE);
                let exec = access.op == TraceOp::Fetch;
                requests.push(DmaRequest { va, length: length as u16, write, exec });
                va += length;
                left -= length;
            }
        }
    }
    requests
}

fn add_cost(cost: &mut [u64; 3], before: (u64, u64), after: (u64, u64)) {
    let new = [1, after.0 - before.0, after.1 - before.1];
    cost.iter_mut().zip(new).for_each(|(sum, new)| *sum += new);
}
