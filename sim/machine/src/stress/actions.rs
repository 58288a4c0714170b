//! Ordinary operations of processes and device drivers.

use super::PROCESSES;
use super::world::{BASE, Bound, PASIDS, Presence, Process, World};
use crate::endpoint::{Channel, ChannelKind, DmaRequest};
use crate::memory::PAGE;
use crate::os::{Mapping, OsError, Permissions};
use crate::run::RunError;
use pasidon_driver::{BindError, Mm, PageTableMode, SetOpsError};
use std::ops::Range;
use std::sync::Arc;

/// Pages that a process may have.
const PAGES: u64 = 40;
/// Cycles between looks at the interrupt wires.
const GLANCE: u64 = 100;
/// How long a device is waited for before its driver resets it.
const STOP: u32 = 400;

impl World {
    /// One operation, and what goes on meanwhile.
    pub(super) fn act(&mut self) -> Result<(), RunError> {
        self.report.ops += 1;
        if self.processes.iter().filter(|process| process.alive).count() < PROCESSES / 2 {
            self.spawn()?;
        }
        self.offer_spaces();
        match self.random.below(1000) {
            0..12 => self.reset_iommu(),
            12..15 => self.sleep()?,
            15..17 => self.take_over()?,
            _ => self.act_awake()?,
        }
        let cycles = self.random.below(1500);
        self.breathe(cycles);
        Ok(self.platform.machine().check()?)
    }

    /// What happens while the IOMMU is on, or should be.
    fn act_awake(&mut self) -> Result<(), RunError> {
        match self.random.below(100) {
            0..3 => self.spawn()?,
            3..18 => self.bind(),
            18..26 => self.unbind(),
            26..29 => self.fork()?,
            29..32 => self.exit()?,
            32..37 => self.map()?,
            37..43 => self.munmap()?,
            43..49 => self.protect()?,
            49..78 => self.traffic(),
            78..80 => self.wild_traffic(),
            80 => self.flood(),
            81..85 => self.lie(),
            85..87 => self.reset(),
            87 => self.remove(),
            88 => self.lose(),
            89 => self.fall_silent(),
            90..92 => self.fail_memory(),
            92..99 => self.mend_one(),
            _ => _ = self.iommu.receive_page_requests(),
        }
        Ok(())
    }

    /// What happens while the IOMMU is suspended and devices are idle.
    pub(super) fn act_asleep(&mut self) -> Result<(), RunError> {
        self.report.ops += 1;
        self.offer_spaces();
        match self.random.below(10) {
            0 => self.spawn()?,
            1..4 => self.bind(),
            4 => self.unbind(),
            5 => self.map()?,
            6 => self.munmap()?,
            7 => self.protect()?,
            8 => self.fork()?,
            _ => self.exit()?,
        }
        match self.random.below(8) {
            0 => self.reset(),
            1 => self.remove(),
            _ => {}
        }
        Ok(self.platform.machine().check()?)
    }

    /// Lets time pass, with interrupts served, mostly.
    pub(super) fn breathe(&mut self, cycles: u64) {
        let mut left = cycles;
        while left > 0 {
            let now = left.min(GLANCE);
            left -= now;
            let mut machine = self.platform.machine();
            (0..now).for_each(|_| machine.step());
            let asked = machine.interrupts() != 0;
            drop(machine);
            if (asked || self.deferred) && self.random.below(4) != 0 {
                self.service();
            }
        }
    }

    /// What the interrupt handlers and the thread behind them do.
    pub(super) fn service(&mut self) {
        let budget = 1 + self.random.below(16) as usize;
        let report = self.iommu.service_page_requests(budget);
        self.deferred = report.deferred > 0 || report.more;
        let lost = self.iommu.service_faults(|_| ()).reset || report.reset;
        // Who notices may leave it to the next one.
        if lost && self.random.below(2) == 0 {
            self.bring_back();
        }
    }

    fn mode(&mut self) -> PageTableMode {
        let modes = [PageTableMode::Sv39, PageTableMode::Sv48, PageTableMode::Sv57];
        let offered = |mode: &PageTableMode| self.iommu.capabilities().page_table(*mode);
        let offered: Vec<PageTableMode> = modes.into_iter().filter(offered).collect();
        offered[self.random.below(offered.len() as u64) as usize]
    }

    fn spawn(&mut self) -> Result<(), RunError> {
        if self.processes.len() >= PROCESSES {
            return Ok(());
        }
        let mode = self.mode();
        let mm = self.os.spawn(mode)?;
        self.remember(format!("process {} begins", mm.id()));
        let backing = self.random.word();
        self.os.map(
            mm.id(),
            BASE..BASE + (PAGES - 4) * PAGE,
            Mapping::of(Permissions::READ_WRITE, backing),
        )?;
        self.processes.push(Process { mm, bonds: Default::default(), alive: true });
        self.report.spawns += 1;
        Ok(())
    }

    /// A process, alive or dead.
    pub(super) fn any_process(&mut self) -> Option<usize> {
        let count = self.processes.len() as u64;
        (count > 0).then(|| self.random.below(count) as usize)
    }

    /// One that is alive, of those with bonds half of the time.
    fn any_alive(&mut self) -> Option<usize> {
        let bound = if self.random.below(2) == 0 { self.any_bond() } else { None };
        let index = match bound {
            Some((process, _)) => process,
            None => self.any_process()?,
        };
        self.processes[index].alive.then_some(index)
    }

    /// Some bond: process, device.
    pub(super) fn any_bond(&mut self) -> Option<(usize, usize)> {
        for _ in 0..8 {
            let process = self.any_process()?;
            let bonds = &self.processes[process].bonds;
            if !bonds.is_empty() {
                let nth = self.random.below(bonds.len() as u64) as usize;
                return bonds.keys().nth(nth).map(|&device| (process, device));
            }
        }
        None
    }

    fn bind(&mut self) {
        let Some(process) = self.any_process() else { return };
        let index = self.random.below(self.devices.len() as u64) as usize;
        self.bind_to(process, index);
    }

    fn bind_to(&mut self, process: usize, index: usize) {
        let (id, presence, width) = {
            let device = &self.devices[index];
            (device.id, device.presence, device.pasid_width)
        };
        let mm = self.processes[process].mm.clone();
        let name = mm.id();
        let iommu = self.iommu.clone();
        // A device that an interrupt's invalidations cut off during the call may have got its bond before.
        let was_cut = self.is_cut(id);
        let call = || iommu.bind(id, mm.clone());
        match self.with_shortages("bind", BindError::OutOfMemory, call) {
            Ok(handle) => {
                self.remember(format!("process {name} is bound to device {id:#x}, PASID {}", handle.pasid()));
                if presence != Presence::There || was_cut {
                    self.found(format!("a bind to device {id:#x}, which is {presence:?}, succeeded"));
                }
                self.keep(process, index, handle);
            }
            Err(error) => {
                self.report.refusals += 1;
                let alive = self.processes[process].alive;
                let right = match error {
                    BindError::NotEnabled(_) => presence == Presence::Disabled,
                    BindError::DeviceLeaving(_) => self.is_cut(id),
                    BindError::MmExited => !alive,
                    BindError::PasidsExhausted => self.pasids.in_use() as u32 >= PASIDS.min((1 << width) - 1),
                    BindError::PasidTooWide { pasid, limit } => pasid.get() > limit,
                    _ => false,
                };
                if !right {
                    self.found(format!("process {name} could not be bound to device {id:#x}: {error}"));
                }
            }
        }
    }

    fn is_cut(&self, id: u32) -> bool {
        self.iommu.device_state(id).is_some_and(|state| state.cut_off)
    }

    pub(super) fn keep(&mut self, process: usize, index: usize, handle: pasidon_driver::Handle) {
        let (id, pasid) = (self.devices[index].id, handle.pasid().get());
        let space = self.processes[process].mm.id();
        self.platform.machine().truth.bind(id, pasid, space);
        let known = self.processes[process].bonds.get(&index).map(|bound| bound.watch.clone());
        match known {
            Some(watch) => {
                // Its callbacks are there, and others are refused.
                let other = handle.set_ops(watch.clone(), self.driver_data());
                if !matches!(other, Err(SetOpsError::AlreadySet | SetOpsError::MmExited)) {
                    self.found(format!("other callbacks for one bond: {other:?}"));
                }
                if let Some(bound) = self.processes[process].bonds.get_mut(&index) {
                    bound.handles.push(handle);
                }
            }
            None => {
                let watch = self.watch();
                if let Err(error) = handle.set_ops(watch.clone(), self.driver_data()) {
                    self.found(format!("callbacks were refused: {error}"));
                }
                let bound = Bound { handles: vec![handle], watch, pasid };
                self.processes[process].bonds.insert(index, bound);
            }
        }
    }

    fn unbind(&mut self) {
        if let Some((process, device)) = self.any_bond() {
            self.unbind_one(process, device);
        }
    }

    /// Gives one handle back; with the last, the device has stopped before.
    pub(super) fn unbind_one(&mut self, process: usize, index: usize) {
        let Some(bound) = self.processes[process].bonds.get(&index) else { return };
        let (last, pasid) = (bound.handles.len() == 1, bound.pasid);
        let id = self.devices[index].id;
        if last {
            self.stop_device(index, pasid);
        }
        let name = self.processes[process].mm.id();
        self.remember(format!("process {name} is unbound from device {id:#x}, PASID {pasid}"));
        let Some(bound) = self.processes[process].bonds.get_mut(&index) else { return };
        if let Some(handle) = bound.handles.pop() {
            handle.unbind();
        }
        if last && let Some(bound) = self.processes[process].bonds.remove(&index) {
            self.platform.machine().truth.unbind(id, pasid);
            self.unwatched(bound.watch);
            self.bury(process);
        }
    }

    /// Has the device stop using a PASID, as its driver does before it unbinds.
    fn stop_device(&mut self, index: usize, pasid: u32) {
        let id = self.devices[index].id;
        let marker = self.random.below(2) == 0;
        {
            let mut machine = self.platform.machine();
            let machine = &mut *machine;
            machine.dma.stop_device_in(id, pasid, marker, &mut machine.truth);
        }
        for _ in 0..STOP {
            let mut machine = self.platform.machine();
            let busy = !machine.dma.is_idle_in(id, pasid) || machine.root_port.holds(id, pasid);
            let owed =
                machine.dma.endpoint(id).is_some_and(|endpoint| endpoint.outstanding_in(Some(pasid)) > 0);
            drop(machine);
            if !busy && (marker || !owed) {
                return;
            }
            self.breathe(GLANCE);
            self.service();
        }
        // It does not stop: a device driver has one way left.
        self.reset_device(index);
    }

    /// A process that is dead and bound to nothing is forgotten.
    fn bury(&mut self, index: usize) {
        if self.processes[index].alive || !self.processes[index].bonds.is_empty() {
            return;
        }
        let process = self.processes.swap_remove(index);
        // An unbind that was not confirmed is settled by repeating this.
        let iommu = self.iommu.clone();
        self.patiently("mm_exit", || iommu.mm_exit(&*process.mm).map_err(|e| e.to_string()));
        if Arc::strong_count(&process.mm) != 1 {
            self.found(format!("somebody keeps the address space of process {}", process.mm.id()));
        }
    }

    fn fork(&mut self) -> Result<(), RunError> {
        let Some(parent) = self.any_alive().filter(|_| self.processes.len() < PROCESSES) else {
            return Ok(());
        };
        let id = self.processes[parent].mm.id();
        self.remember(format!("process {id} forks"));
        match self.os.fork(id) {
            Ok(mm) => {
                self.processes.push(Process { mm, bonds: Default::default(), alive: true });
                self.report.forks += 1;
                // Both go on at once, on what they share.
                let child = self.processes.len() - 1;
                let index = self.random.below(self.devices.len() as u64) as usize;
                self.bind_to(child, index);
                self.work(child, index);
                let bonds: Vec<usize> = self.processes[parent].bonds.keys().copied().collect();
                bonds.into_iter().for_each(|index| self.work(parent, index));
                Ok(())
            }
            Err(OsError::Driver(error)) => {
                self.found(format!("fork: the driver never confirmed: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn exit(&mut self) -> Result<(), RunError> {
        match self.any_alive() {
            Some(process) => self.exit_of(process),
            None => Ok(()),
        }
    }

    pub(super) fn exit_of(&mut self, index: usize) -> Result<(), RunError> {
        let id = self.processes[index].mm.id();
        self.remember(format!("process {id} exits"));
        match self.os.exit(id) {
            Ok(()) => {}
            Err(OsError::Driver(error)) => self.found(format!("exit: the driver never confirmed: {error}")),
            Err(error) => return Err(error.into()),
        }
        self.processes[index].alive = false;
        let exits = |bound: &Bound| bound.watch.exits.load(std::sync::atomic::Ordering::Relaxed);
        let wrong: Vec<u32> =
            self.processes[index].bonds.values().map(exits).filter(|&calls| calls != 1).collect();
        if !wrong.is_empty() {
            self.found(format!("process {id} exited, and bonds heard of it {wrong:?} times"));
        }
        if !self.processes[index].mm.sva().exited() {
            self.found(format!("process {id} exited, and its address space does not know"));
        }
        self.bury(index);
        Ok(())
    }

    fn range(&mut self) -> Range<u64> {
        let first = BASE + self.random.below(PAGES) * PAGE;
        first..first + (1 + self.random.below(6)) * PAGE
    }

    fn permissions(&mut self) -> Permissions {
        match self.random.below(6) {
            0 => Permissions::READ,
            1 => Permissions::NONE,
            2 => Permissions::ALL,
            _ => Permissions::READ_WRITE,
        }
    }

    /// Of what the operating system answers, only silence of the driver is a finding.
    fn judge(&mut self, what: &str, result: Result<(), OsError>) -> Result<(), RunError> {
        match result {
            Ok(()) | Err(OsError::Mapped(_) | OsError::NotMapped(_) | OsError::OutOfMemory) => Ok(()),
            Err(OsError::Driver(error)) => {
                self.found(format!("{what}: the driver never confirmed: {error}"));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn map(&mut self) -> Result<(), RunError> {
        let Some(process) = self.any_alive() else { return Ok(()) };
        let (range, permissions, backing) = (self.range(), self.permissions(), self.random.word());
        let id = self.processes[process].mm.id();
        self.remember(format!("process {id} maps {range:x?}, {permissions:?}"));
        self.report.maps += 1;
        let result = self.os.map(id, range, Mapping::of(permissions, backing));
        self.judge("map", result)
    }

    fn munmap(&mut self) -> Result<(), RunError> {
        let Some(process) = self.any_alive() else { return Ok(()) };
        let range = self.range();
        let id = self.processes[process].mm.id();
        self.remember(format!("process {id} unmaps {range:x?}"));
        self.report.munmaps += 1;
        let result = self.os.munmap(id, range);
        self.judge("munmap", result)
    }

    fn protect(&mut self) -> Result<(), RunError> {
        let Some(process) = self.any_alive() else { return Ok(()) };
        let (range, permissions) = (self.range(), self.permissions());
        let id = self.processes[process].mm.id();
        self.remember(format!("process {id} protects {range:x?}, {permissions:?}"));
        self.report.mprotects += 1;
        let result = self.os.protect(id, range, permissions);
        self.judge("mprotect", result)
    }

    fn requests(&mut self) -> Arc<[DmaRequest]> {
        let count = 1 + self.random.below(40);
        let home = self.random.below(PAGES);
        let one = |random: &mut pasidon_cosim::Random| {
            // Mostly near each other, so that a page is used more than once.
            let page =
                if random.below(4) == 0 { random.below(PAGES) } else { (home + random.below(3)) % PAGES };
            let length = 1 + random.below(64) as u16;
            let offset = random.below(PAGE - u64::from(length));
            let (write, exec) = (random.below(3) == 0, random.below(12) == 0);
            DmaRequest { va: BASE + page * PAGE + offset, length, write: write && !exec, exec }
        };
        (0..count).map(|_| one(&mut self.random)).collect()
    }

    /// A device works for a process, mostly through its own cache.
    fn traffic(&mut self) {
        if let Some((process, index)) = self.any_bond() {
            self.work(process, index);
        }
    }

    /// Puts a device to work for some process.
    pub(super) fn start_one(&mut self, index: usize) -> Result<(), RunError> {
        self.spawn()?;
        let Some(process) = self.any_process() else { return Ok(()) };
        self.bind_to(process, index);
        self.work(process, index);
        let cycles = self.random.below(1500);
        self.breathe(cycles);
        Ok(())
    }

    fn work(&mut self, process: usize, index: usize) {
        if self.asleep {
            return;
        }
        let kind = if self.random.below(8) == 0 { ChannelKind::Untranslated } else { ChannelKind::Ats };
        let requests = self.requests();
        let device = &self.devices[index];
        let process = &self.processes[process];
        let Some(bound) = process.bonds.get(&index) else { return };
        let mut channel = Channel::new(device.id, Some(bound.pasid), device.port, requests);
        channel.kind = kind;
        channel.space = Some(process.mm.id());
        channel.depth = 1 + self.random.below(8) as u32;
        let mut machine = self.platform.machine();
        // A device that is gone does nothing.
        if machine.dma.endpoint(device.id).is_some_and(|endpoint| !endpoint.is_gone()) {
            machine.dma.add(channel);
        }
    }

    /// Accesses with a PASID that the device may have been bound to, or never.
    fn wild_traffic(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        let requests = self.requests();
        let pasid = self.random.below(u64::from(PASIDS) + 8) as u32;
        let kind = if self.random.below(2) == 0 { ChannelKind::Untranslated } else { ChannelKind::Ats };
        let device = &self.devices[index];
        let mut machine = self.platform.machine();
        let ours = machine.truth.bound(device.id, Some(pasid));
        if machine.dma.endpoint(device.id).is_some_and(|endpoint| !endpoint.is_gone()) {
            let channel = Channel::new(device.id, Some(pasid), device.port, requests);
            machine.dma.add(Channel { kind, space: ours, ..channel });
        }
        self.report.lies += 1;
    }
}
