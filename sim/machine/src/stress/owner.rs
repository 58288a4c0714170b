//! What becomes of the IOMMU itself: it is reset, sleeps, or changes hands; and what must be so afterwards.

use super::world::{Presence, World};
use crate::endpoint::{Channel, ChannelKind, DmaRequest};
use crate::memory::PAGE;
use crate::run::RunError;
use pasidon_driver::{Config, InitError, Iommu, PasidSpace};
use pasidon_spec::message::response_code;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Cycles within which a reset comes that was decided on.
const SOON: u64 = 4000;
/// Attempts to take the IOMMU over while memory fails and resets come.
const ATTEMPTS: u32 = 50;

impl World {
    /// The IOMMU is reset at some moment from now on, whatever it is doing, and nobody tells the driver.
    pub(super) fn reset_iommu(&mut self) {
        let delay = self.random.below(SOON);
        let mut machine = self.platform.machine();
        if machine.reset_is_due() {
            return;
        }
        let at = machine.now() + delay;
        machine.reset_core_at(at);
        drop(machine);
        self.remember(format!("the IOMMU is reset in cycle {at}"));
    }

    /// The driver has noticed that the IOMMU was reset: somebody brings it back.
    pub(super) fn bring_back(&mut self) {
        let iommu = self.iommu.clone();
        let forced = self.random.below(2) == 0;
        self.remember(format!("the IOMMU is brought back, forced: {forced}"));
        let call = || if forced { iommu.reset() } else { iommu.resume() };
        self.patiently("bring the IOMMU back", || call().map_err(|e| e.to_string()));
    }

    /// Lets a reset that is to come come, and has the IOMMU brought back.
    pub(super) fn ensure_on(&mut self) {
        loop {
            let mut machine = self.platform.machine();
            if !machine.reset_is_due() {
                break;
            }
            machine.step();
        }
        if self.iommu.service_page_requests(0).reset {
            self.bring_back();
        }
    }

    /// What devices had asked of an IOMMU that was reset may never be answered: their drivers reset them.
    pub(super) fn adopt_orphans(&mut self) {
        let orphans = self.platform.machine().root_port.take_orphans();
        for device in &mut self.devices {
            device.wicked |= device.presence == Presence::There && orphans.contains(&device.id);
        }
    }

    /// The IOMMU is suspended with all devices idle; processes go on, and the IOMMU loses what it knew, or not.
    pub(super) fn sleep(&mut self) -> Result<(), RunError> {
        self.ensure_on();
        self.platform.machine().dma.stop();
        self.calm_down();
        (0..self.devices.len()).for_each(|index| self.recover(index));
        self.calm_down();
        let iommu = self.iommu.clone();
        if !self.patiently("suspend", || iommu.suspend().map_err(|e| e.to_string())) {
            return Ok(());
        }
        self.remember("the IOMMU is suspended".into());
        self.report.suspends += 1;
        self.asleep = true;
        let before = self.platform.machine().register_accesses;
        for _ in 0..self.random.below(12) {
            self.act_asleep()?;
        }
        let power_lost = self.random.below(2) == 0;
        if power_lost {
            let mut machine = self.platform.machine();
            machine.reset_core_at(0);
            machine.step();
        }
        let touched = self.platform.machine().register_accesses - before;
        if touched != 0 {
            self.found(format!("registers of a suspended IOMMU were touched {touched} times"));
        }
        self.remember(format!("the IOMMU is resumed, power lost: {power_lost}"));
        self.patiently("resume", || iommu.resume().map_err(|e| e.to_string()));
        self.asleep = false;
        self.check_bonds();
        Ok(())
    }

    /// Another driver takes the IOMMU over in the middle of everything: the former one is gone, with all processes and their memory,
    /// and devices go on with what they have.
    pub(super) fn take_over(&mut self) -> Result<(), RunError> {
        self.remember("the IOMMU is taken over".into());
        self.report.take_overs += 1;
        self.check_aside();
        let reset_too = self.random.below(3) == 0;
        let was = {
            let mut machine = self.platform.machine();
            machine.truth.begin_change();
            if reset_too {
                machine.reset_core_at(0);
            }
            machine.bench.memory.in_use()
        };
        self.platform = self.platform.successor();
        self.forget_everything();
        let iommu = self.boot()?;
        {
            let mut machine = self.platform.machine();
            machine.truth.end_change();
            machine.bench.memory.set_aside(was);
            machine.root_port.excuse_all();
        }
        let last = self.os.last_space();
        self.os = World::operating_system(&self.platform, &iommu, last);
        self.iommu = iommu;
        self.take_interrupts();
        // Nobody is allowed anything.
        let pause = self.random.below(3000);
        self.breathe(pause);
        // Some devices are put to work while others still try.
        for index in 0..self.devices.len() {
            self.take_away(index, false);
            self.enable(index);
            self.start_one(index)?;
        }
        Ok(())
    }

    /// The former owner's driver, processes and callbacks. What they still do has no effect on the machine.
    fn forget_everything(&mut self) {
        let (statistics, os) = (self.iommu.statistics(), self.os.statistics());
        self.past.add(&statistics, &os);
        for process in std::mem::take(&mut self.processes) {
            for bound in process.bonds.into_values() {
                self.report.mm_exits += u64::from(bound.watch.exits.load(Ordering::Relaxed));
            }
        }
        self.pasids = Arc::new(PasidSpace::new(self.pasid_limit));
        self.data = Arc::default();
        (self.lost, self.deferred) = (0, false);
        for device in &mut self.devices {
            (device.presence, device.wicked) = (Presence::Disabled, false);
        }
    }

    /// A new driver on the hardware, whatever state that is in.
    fn boot(&mut self) -> Result<Iommu, RunError> {
        let mut last = InitError::OutOfMemory;
        for _ in 0..ATTEMPTS {
            let platform = Arc::new(self.platform.clone());
            let config = Config { pasids: Some(self.pasids.clone()), ..self.driver.clone() };
            let (result, short) = self.short_of_memory(|| Iommu::new(platform, config));
            match result {
                Ok(iommu) => return Ok(iommu),
                Err(InitError::OutOfMemory) if !short => {
                    self.found("a new owner had no memory, and there was".into());
                }
                Err(error) => last = error,
            }
            let mut machine = self.platform.machine();
            (0..1000).for_each(|_| machine.step());
        }
        Err(RunError::driver("take the IOMMU over", last))
    }

    /// Every bond of a living process on a device that is in order leads to its memory. All is quiet, or becomes so.
    pub(super) fn check_bonds(&mut self) {
        self.platform.machine().heal();
        self.calm_down();
        let mut asked = Vec::new();
        self.platform.machine().dma.take_outcomes();
        for process in 0..self.processes.len() {
            if !self.processes[process].alive {
                continue;
            }
            let areas = self.os.readable(self.processes[process].mm.id());
            if areas.is_empty() {
                continue;
            }
            for index in self.processes[process].bonds.keys().copied().collect::<Vec<_>>() {
                let va = areas[self.random.below(areas.len() as u64) as usize];
                if self.is_in_order(index) {
                    // The offset in the page says whose access it was.
                    let va = va + 8 * (asked.len() as u64 % (PAGE / 8));
                    self.ask(process, index, va);
                    asked.push((va, self.processes[process].mm.id(), index));
                }
            }
        }
        self.calm_down();
        let outcomes = self.platform.machine().dma.take_outcomes();
        self.report.probes += asked.len() as u64;
        for (va, process, index) in asked {
            let outcome = outcomes.iter().find(|outcome| outcome.request.va == va);
            let works = outcome.is_some_and(|outcome| outcome.is_success());
            let id = self.devices[index].id;
            // One that the driver has cut off meanwhile, or whose lies have used up what it may ask, is another matter.
            let cut_off = self.iommu.device_state(id).is_some_and(|state| state.cut_off);
            let refused = outcome.is_some_and(|it| it.refused == Some(response_code::RESPONSE_FAILURE as u8));
            if !works && !cut_off && !refused {
                let why = outcome.map(|outcome| (outcome.status, outcome.cause, outcome.refused));
                self.found(format!(
                    "process {process} can't be reached by device {id:#x} at {va:#x}: {why:?}"
                ));
            }
        }
    }

    fn ask(&mut self, process: usize, index: usize, va: u64) {
        let (device, process) = (&self.devices[index], &self.processes[process]);
        let Some(bound) = process.bonds.get(&index) else { return };
        let requests = [DmaRequest { va, length: 8, write: false, exec: false }].into();
        let channel = Channel::new(device.id, Some(bound.pasid), device.port, requests);
        let space = Some(process.mm.id());
        let channel = Channel { kind: ChannelKind::Ats, observe: true, space, ..channel };
        self.platform.machine().dma.add(channel);
    }

    /// Whether nothing is known against a device.
    fn is_in_order(&self, index: usize) -> bool {
        let device = &self.devices[index];
        let cut_off = self.iommu.device_state(device.id).is_none_or(|state| state.cut_off);
        let mut machine = self.platform.machine();
        let failed = machine.dma.endpoint(device.id).is_none_or(|it| it.has_failed() || it.is_gone());
        device.presence == Presence::There && !device.wicked && !cut_off && !failed
    }
}
