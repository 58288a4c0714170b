//! From a design to a booted system with processes: what every experiment begins with.

use super::{RunError, RunOptions};
use crate::machine::memory::{HUGE_PAGE, PAGE};
use crate::machine::{Machine, Permissions, Process, Request, SimPlatform};
use crate::model::{Cache, Model};
use crate::trace::{Access, Op, Trace};
use pasidon_driver::{Config, DeviceOptions, Handle, Iommu, PageTableMode, PasidSpace, Untagged};
use pasidon_rtl::design::Design;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Cycles that the IOMMU may take for a command before the driver gives it up.
const TIMEOUT: u64 = 1_000_000;
/// Pages in use, of the 512, that make a 2 MiB page worth while.
const HUGE_USE: usize = 64;

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
    pub process: Process,
    /// What devices do in it.
    pub requests: Arc<[Request]>,
}

/// A machine whose driver is up, with processes bound to devices.
pub struct System {
    /// The machine.
    pub platform: SimPlatform,
    /// The driver.
    pub iommu: Iommu,
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
    /// Virtual pages that more than one process uses.
    pub shared_pages: u64,
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
        let mut model = Model::load(&generated, &design.name, cache, options.flavour)?;
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
            pasids: Arc::new(PasidSpace::default()),
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
        for device in &devices {
            let options = DeviceOptions { pasid_width: design.process_id_width, untagged: Untagged::Fault };
            let enabled = iommu.enable_sva(device.id, options);
            enabled.map_err(|e| RunError::driver(format!("enable device {:#x}", device.id), e))?;
        }
        Ok(System {
            platform,
            iommu,
            design: design.clone(),
            hash: generated.hash,
            devices,
            processes: Vec::new(),
            handles: BTreeMap::new(),
            shared_pages: 0,
            faults: 0,
        })
    }

    /// Makes a process for each program in `traces`, at least two, with all pages that it touches, and binds each to
    /// every device.
    ///
    /// # Errors
    /// [`RunError`]
    pub fn spawn(&mut self, traces: &[Trace], options: &RunOptions) -> Result<(), RunError> {
        let mut programs: Vec<(String, Vec<Access>)> = Vec::new();
        for trace in traces {
            let mut by_label: BTreeMap<u32, Vec<Access>> = BTreeMap::new();
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
            let mut machine = self.platform.machine();
            let mut process =
                Process::new(&mut machine, mode, options.machine.seed ^ (index as u64 + 1) << 32)?;
            let permissions = if accesses.iter().any(|a| a.op == Op::Fetch) {
                Permissions::ALL
            } else {
                Permissions::READ_WRITE
            };
            map_all(&mut process, &mut machine, &pages, permissions, options.huge_pages)?;
            let requests = process.requests(accesses.into_iter())?.into();
            drop(machine);
            self.processes.push(Program { name, process, requests });
            for device in 0..self.devices.len() {
                self.bind(device, index)?;
            }
        }
        self.shared_pages = used.values().filter(|&&users| users > 1).count() as u64;
        Ok(())
    }

    /// Binds a process to a device.
    ///
    /// # Errors
    /// [`RunError::Driver`]
    pub fn bind(&mut self, device: usize, process: usize) -> Result<(), RunError> {
        let mm = self.processes[process].process.mm.clone();
        let handle = self.iommu.bind(self.devices[device].id, mm);
        let handle =
            handle.map_err(|e| RunError::driver(format!("bind {}", self.processes[process].name), e))?;
        self.handles.insert((device, process), handle);
        Ok(())
    }

    /// Gives a bond back.
    pub fn unbind(&mut self, device: usize, process: usize) {
        if let Some(handle) = self.handles.remove(&(device, process)) {
            handle.unbind();
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

fn pages_of(accesses: &[Access]) -> BTreeSet<u64> {
    let mut pages = BTreeSet::new();
    for access in accesses {
        let last = (access.address + u64::from(access.size) - 1) / PAGE;
        pages.extend(access.address / PAGE..=last);
    }
    pages
}

fn map_all(
    process: &mut Process,
    machine: &mut Machine,
    pages: &BTreeSet<u64>,
    permissions: Permissions,
    huge: bool,
) -> Result<(), RunError> {
    const RATIO: u64 = HUGE_PAGE / PAGE;
    let mut rest = pages.iter().copied().peekable();
    while let Some(page) = rest.next() {
        let region = page / RATIO;
        let last = (region + 1) * RATIO;
        if huge
            && pages.range(page..last).count() >= HUGE_USE
            && pages.range(region * RATIO..page).next().is_none()
        {
            process.map(machine, region * HUGE_PAGE, HUGE_PAGE, permissions)?;
            while rest.next_if(|&next| next < last).is_some() {}
        } else {
            process.map(machine, page * PAGE, PAGE, permissions)?;
        }
    }
    Ok(())
}
