//! The audit: what must hold when all of it is idle.

use super::world::{Presence, World};
use crate::run::RunError;
use pasidon_driver::Mm;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// Cycles that it may take until all is quiet: many times what the longest wait of all takes.
const PATIENCE: u32 = 4000;

impl World {
    /// Waits until nothing is under way, and looks at everything.
    pub(super) fn audit(&mut self) -> Result<(), RunError> {
        self.report.audits += 1;
        self.ensure_on();
        {
            let mut machine = self.platform.machine();
            machine.dma.stop();
            machine.heal();
        }
        self.calm_down();
        for index in 0..self.devices.len() {
            self.recover(index);
        }
        self.calm_down();
        self.excuse_lost_answers();
        self.check_bonds();
        self.check_quiet();
        self.check_machine()?;
        self.check_books();
        for wrong in self.os.audit() {
            self.found(wrong);
        }
        Ok(())
    }

    /// Serves until nobody wants anything any more.
    pub(super) fn calm_down(&mut self) {
        for _ in 0..PATIENCE {
            self.service();
            let machine = self.platform.machine();
            let busy = !machine.dma.is_idle() || !machine.root_port.is_idle() || machine.interrupts() != 0;
            drop(machine);
            if !busy && !self.deferred {
                // What is inside the hardware comes out now.
                let mut machine = self.platform.machine();
                (0..500).for_each(|_| machine.step());
                let again = machine.interrupts() != 0 || !machine.root_port.is_idle();
                drop(machine);
                if !again {
                    self.settle_lost_answers();
                    return;
                }
            }
            let mut machine = self.platform.machine();
            (0..200).for_each(|_| machine.step());
            drop(machine);
            // Nobody waits for the answer that could not be sent.
            let lost = self.iommu.statistics().responses_lost;
            if lost != self.lost {
                self.excuse_lost_answers();
            }
        }
    }

    /// An answer that the driver says it could not send leaves its device waiting, and the device's driver resets it.
    fn excuse_lost_answers(&mut self) {
        let lost = self.iommu.statistics().responses_lost;
        let owed: Vec<u32> = self.platform.machine().root_port.owed().map(|(device, ..)| device).collect();
        if lost == self.lost || owed.len() > lost - self.lost {
            return;
        }
        self.lost = lost;
        for index in 0..self.devices.len() {
            if owed.contains(&self.devices[index].id) {
                self.reset_device(index);
            }
        }
    }

    /// It is quiet: if nobody waits, those whose answers were lost so far have been reset. Who waits later waits for another one.
    fn settle_lost_answers(&mut self) {
        if self.platform.machine().root_port.owed().next().is_none() {
            self.lost = self.iommu.statistics().responses_lost;
        }
    }

    pub(super) fn check_quiet(&mut self) {
        let machine = self.platform.machine();
        let mut wrong = Vec::new();
        if !machine.dma.is_idle() {
            wrong.push(format!("accesses of devices never came to an end: {:?}", machine.dma.stuck()));
        }
        if !machine.root_port.is_idle() {
            wrong.push("messages of devices were never taken".into());
        }
        let mut owed: BTreeMap<u32, Vec<u16>> = BTreeMap::new();
        for (device, index, _) in machine.root_port.owed() {
            owed.entry(device).or_default().push(index);
        }
        for (device, groups) in owed {
            wrong.push(format!("device {device:#x} never got answers to its groups {groups:?}"));
        }
        let interrupts = machine.interrupts();
        if interrupts != 0 {
            wrong.push(format!("interrupts {interrupts:#b} don't go away"));
        }
        drop(machine);
        let report = self.iommu.service_page_requests(0);
        if report.deferred != 0 || report.more {
            wrong.push(format!("page requests are left: {report:?}"));
        }
        wrong.into_iter().for_each(|what| self.found(what));
    }

    /// Nobody has written to what a former owner of the IOMMU had, and it can be used again.
    pub(super) fn check_aside(&mut self) {
        let mut machine = self.platform.machine();
        let touched = machine.bench.memory.touched_aside();
        machine.bench.memory.release_aside();
        drop(machine);
        if let Some(address) = touched {
            self.found(format!("somebody wrote to {address:#x}, which was the former owner's"));
        }
    }

    fn check_machine(&mut self) -> Result<(), RunError> {
        self.check_aside();
        let mut machine = self.platform.machine();
        machine.check()?;
        let (findings, count) = machine.truth.take_findings();
        let mut wrong: Vec<String> = findings
            .into_iter()
            .map(|finding| format!("cycle {}: {}", finding.cycle, finding.what))
            .collect();
        if count as usize > wrong.len() {
            wrong.push(format!("and {} more", count as usize - wrong.len()));
        }
        let mismatches = std::mem::take(&mut machine.counters.mismatches);
        if mismatches != 0 {
            wrong.push(format!("devices read {mismatches} wrong bytes"));
        }
        let strays = std::mem::take(&mut machine.counters.strays);
        if strays != 0 {
            wrong.push(format!("{strays} responses belonged to no request"));
        }
        for endpoint in &mut machine.dma.endpoints {
            let id = endpoint.device_id;
            wrong.extend(
                endpoint.take_problems().into_iter().map(|what| format!("device {id:#x} got {what}")),
            );
        }
        drop(machine);
        wrong.into_iter().for_each(|what| self.found(what));
        Ok(())
    }

    fn check_books(&mut self) {
        let mut wrong = Vec::new();
        let with_pasid = self.processes.iter().filter(|process| process.mm.sva().pasid().is_some()).count();
        if self.pasids.in_use() != with_pasid {
            wrong.push(format!("{} PASIDs are in use, by {with_pasid} address spaces", self.pasids.in_use()));
        }
        for (index, device) in self.devices.iter().enumerate() {
            let bonds = self.processes.iter().filter(|process| process.bonds.contains_key(&index)).count();
            let state = self.iommu.device_state(device.id);
            if state.map(|state| state.bonds).unwrap_or(0) != bonds {
                wrong.push(format!("device {:#x} has {bonds} bonds, the driver says {state:?}", device.id));
            }
            if state.is_some() == (device.presence == Presence::Disabled) {
                wrong.push(format!(
                    "device {:#x} is {:?}, the driver says {state:?}",
                    device.id, device.presence
                ));
            }
        }
        let statistics = self.iommu.statistics();
        let bonds: usize = self.processes.iter().map(|process| process.bonds.len()).sum();
        if statistics.binds - statistics.unbinds != bonds {
            let (binds, unbinds) = (statistics.binds, statistics.unbinds);
            wrong
                .push(format!("{binds} binds and {unbinds} unbinds are counted, and {bonds} bonds are left"));
        }
        // The driver lets go of a device driver's data when the address space has exited.
        let living: usize =
            self.processes.iter().filter(|process| process.alive).map(|process| process.bonds.len()).sum();
        let data = self.data.load(Ordering::Relaxed);
        if data != living as u64 {
            wrong.push(format!(
                "{data} pieces of device-driver data are alive, for {living} bonds of the living"
            ));
        }
        for process in &self.processes {
            for (&device, bound) in &process.bonds {
                let (late, exits) =
                    (bound.watch.late.load(Ordering::Relaxed), bound.watch.exits.load(Ordering::Relaxed));
                if late != 0 || exits > 1 {
                    let id = self.devices[device].id;
                    wrong.push(format!("callbacks of device {id:#x}: {late} too late, {exits} exits"));
                }
            }
        }
        wrong.into_iter().for_each(|what| self.found(what));
    }

    /// All processes exit, all devices are unbound and disabled: nothing may be left.
    pub(super) fn end_of_the_world(&mut self) -> Result<(), RunError> {
        for index in 0..self.devices.len() {
            self.unbind_all_of(index);
        }
        while !self.processes.is_empty() {
            self.exit_of(0)?;
        }
        for index in 0..self.devices.len() {
            self.disable(index);
        }
        self.calm_down();
        self.check_machine()?;
        self.check_books();
        let mut wrong = self.os.audit();
        let machine = self.platform.machine();
        let (frames, allocations) =
            (machine.bench.memory.frames_used(), machine.bench.memory.allocations().len());
        drop(machine);
        if frames != 0 {
            wrong.push(format!("{frames} frames are left when all processes are gone"));
        }
        if allocations != self.allocations && self.allocations != 0 {
            wrong.push(format!(
                "the driver has {allocations} pieces of memory when no device is enabled, {} before",
                self.allocations
            ));
        }
        if self.pasids.in_use() != 0 {
            wrong.push(format!("{} PASIDs are left when all address spaces are gone", self.pasids.in_use()));
        }
        wrong.into_iter().for_each(|what| self.found(what));
        Ok(())
    }
}
