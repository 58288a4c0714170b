//! Injected misbehaviour: floods, forged messages, resets, removals, failing memory.

use super::world::{PASIDS, Presence, World};
use crate::endpoint::{Behaviour, Channel, ChannelKind, DmaRequest};
use crate::memory::PAGE;
use pasidon_spec::memory::Failure;
use pasidon_spec::message::InvalidationCompletion;
use pasidon_spec::page_request::PageRequest;

/// A device that nobody has enabled.
const STRANGER: u32 = 0x99;
/// Virtual page number of the first page that processes have.
const FIRST_PAGE: u64 = 0x10_0000;

impl World {
    /// A device sends more page requests than it may have outstanding, some of them good.
    pub(super) fn flood(&mut self) {
        let Some((process, index)) = self.any_bond() else { return };
        let Some(bound) = self.processes[process].bonds.get(&index) else { return };
        let (id, pasid) = (self.devices[index].id, bound.pasid);
        let count = 1 + self.random.below(200);
        self.remember(format!("device {id:#x} floods the queue with {count} requests"));
        self.report.floods += 1;
        for number in 0..count {
            let request = PageRequest {
                did: id,
                pv: true,
                pid: pasid,
                read: true,
                write: self.random.below(2) == 0,
                last: self.random.below(3) != 0,
                index: 256 + (number % 256) as u16,
                page: FIRST_PAGE + self.random.below(64),
                ..PageRequest::default()
            };
            self.say(id, request);
        }
    }

    fn say(&mut self, id: u32, request: PageRequest) {
        if let Some(endpoint) = self.platform.machine().dma.endpoint(id) {
            endpoint.say(request);
        }
    }

    /// A message that is not true.
    pub(super) fn lie(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        let id = self.devices[index].id;
        let pasid = self.random.below(u64::from(PASIDS) + 8) as u32;
        let good = PageRequest {
            did: id,
            pv: true,
            pid: pasid,
            read: true,
            last: true,
            index: 256 + self.random.below(256) as u16,
            page: FIRST_PAGE + self.random.below(64),
            ..PageRequest::default()
        };
        self.report.lies += 1;
        let kind = self.random.below(11);
        self.remember(format!("device {id:#x} tells lie {kind}"));
        match kind {
            // In the name of nobody, or of somebody else.
            0 => self.platform.machine().root_port.forge(PageRequest { did: STRANGER, ..good }),
            1 => {
                let other = self.devices[self.random.below(self.devices.len() as u64) as usize].id;
                self.platform.machine().root_port.forge(PageRequest { did: other, ..good });
            }
            // A PASID not its own.
            2 => self.say(id, good),
            3 => self.say(id, PageRequest { pv: false, pid: 0, ..good }),
            // Groups that are never closed, or closed twice, or ask for nothing.
            4 => (0..6).for_each(|_| self.say(id, PageRequest { last: false, ..good })),
            5 => (0..2).for_each(|_| self.say(id, good)),
            6 => self.say(id, PageRequest { read: false, last: false, ..good }),
            // A stop marker out of the blue.
            7 => self.say(id, PageRequest { read: false, ..good }),
            // What no context allows.
            8 => self.say(id, PageRequest { privileged: true, execute: true, write: true, ..good }),
            // The completion of something that nobody has asked for.
            9 => {
                let (rid, itags) = (STRANGER as u16, self.random.word() as u32);
                let completion = InvalidationCompletion { rid, dseg: None, itags, count: 1 };
                self.platform.machine().root_port.forge_completion(completion);
            }
            // Physical addresses of one that may not have any.
            _ => {
                let base = self.platform.machine().bench.memory.base();
                let request = |n: u64| DmaRequest {
                    va: base + n * PAGE,
                    length: 8,
                    write: n.is_multiple_of(2),
                    exec: false,
                };
                let requests = (0..8).map(|_| request(self.random.below(4096))).collect();
                let barred = self.devices.iter().find(|device| device.presence != Presence::There);
                let id = barred.map_or(STRANGER, |device| device.id);
                let channel = Channel { kind: ChannelKind::Forged, ..Channel::new(id, None, 0, requests) };
                self.platform.machine().dma.add(channel);
            }
        }
    }

    /// A device is reset at a bad moment.
    pub(super) fn reset(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        if self.devices[index].presence != Presence::Disabled {
            self.reset_device(index);
        }
    }

    /// Cut off, reset, reinstated: it behaves again.
    pub(super) fn reset_device(&mut self, index: usize) {
        let id = self.devices[index].id;
        if self.devices[index].presence == Presence::Disabled {
            return;
        }
        self.remember(format!("device {id:#x} is reset"));
        self.report.resets += 1;
        self.cut_off(index);
        // It may stay away for a while.
        let pause = self.random.below(2000);
        self.breathe(pause);
        self.reinstate(index);
    }

    pub(super) fn cut_off(&mut self, index: usize) {
        let id = self.devices[index].id;
        let iommu = self.iommu.clone();
        if self.patiently("cut_off", || iommu.cut_off(id).map_err(|e| e.to_string())) {
            self.platform.machine().truth.bar(id);
            self.devices[index].presence = Presence::CutOff;
        }
    }

    /// Physical addresses that a device makes up while it is barred are not to be on the way when it is trusted again: with ATS,
    /// each is as good as true.
    pub(super) fn stop_forging(&mut self, id: u32) {
        self.platform.machine().dma.stop_channels_of(id);
        for _ in 0..2000 {
            if !self.platform.machine().dma.has_channels_of(id) {
                break;
            }
            self.breathe(100);
        }
    }

    pub(super) fn reinstate(&mut self, index: usize) {
        let id = self.devices[index].id;
        self.stop_forging(id);
        let mut machine = self.platform.machine();
        let behaviour = machine.dma.endpoint(id).map(|endpoint| endpoint.behaviour).unwrap_or_default();
        drop(machine);
        let good = Behaviour { completes: true, forgets: true, waits: true, wrong_tag: false, ..behaviour };
        self.replace_behaviour(index, good);
        // Nothing of its past is on the way any more.
        for _ in 0..200 {
            self.breathe(1000);
            self.service();
            if self.platform.machine().root_port.is_idle() {
                break;
            }
        }
        self.platform.machine().root_port.excuse(id);
        self.platform.machine().truth.admit(id);
        let iommu = self.iommu.clone();
        if self.patiently("reinstate", || iommu.reinstate(id).map_err(|e| e.to_string())) {
            self.devices[index].presence = Presence::There;
            self.devices[index].wicked = false;
            self.platform.machine().root_port.forget(id);
        } else {
            self.platform.machine().truth.bar(id);
        }
    }

    /// A device is taken out, as announced: unbound, disabled, and put back.
    pub(super) fn remove(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        let id = self.devices[index].id;
        if self.devices[index].presence == Presence::Disabled {
            return self.enable(index);
        }
        self.remember(format!("device {id:#x} is removed"));
        self.report.removals += 1;
        if self.random.below(2) == 0 {
            self.cut_off(index);
        }
        self.unbind_all_of(index);
        self.disable(index);
        if self.random.below(4) != 0 {
            self.enable(index);
        }
    }

    /// Gives every handle of a device back.
    pub(super) fn unbind_all_of(&mut self, index: usize) {
        while let Some(process) = self.processes.iter().position(|process| process.bonds.contains_key(&index))
        {
            self.unbind_one(process, index);
        }
    }

    pub(super) fn disable(&mut self, index: usize) {
        let id = self.devices[index].id;
        if self.devices[index].presence == Presence::Disabled {
            return;
        }
        // It is idle, and completes what it is asked to until its ATS is off.
        let gone = self.take_away(index, false);
        let iommu = self.iommu.clone();
        if self.patiently("disable_sva", || iommu.disable_sva(id).map_err(|e| e.to_string())) {
            self.devices[index].presence = Presence::Disabled;
            self.platform.machine().truth.bar(id);
        }
        if !gone {
            self.take_away(index, true);
        }
    }

    /// Resets a device, or removes it; one that is gone stays so. Returns whether it was gone.
    pub(super) fn take_away(&mut self, index: usize, removed: bool) -> bool {
        let id = self.devices[index].id;
        let mut machine = self.platform.machine();
        let machine = &mut *machine;
        let gone = machine.dma.endpoint(id).is_some_and(|endpoint| endpoint.is_gone());
        machine.dma.reset_device(id, removed || gone, &mut machine.truth);
        machine.root_port.excuse(id);
        gone
    }

    /// A device is gone from one cycle to the next, and nobody has told the driver.
    pub(super) fn lose(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        let id = self.devices[index].id;
        if self.devices[index].presence != Presence::There {
            return;
        }
        self.remember(format!("device {id:#x} is lost"));
        self.report.removals += 1;
        self.devices[index].wicked = true;
        self.take_away(index, true);
    }

    /// A device stops completing invalidations, or completes others than it was asked for.
    pub(super) fn fall_silent(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        let id = self.devices[index].id;
        if self.devices[index].presence != Presence::There {
            return;
        }
        let wrong_tag = self.random.below(3) == 0;
        self.remember(format!("device {id:#x} completes nothing any more, or the wrong things: {wrong_tag}"));
        self.report.silences += 1;
        self.devices[index].wicked = true;
        if let Some(endpoint) = self.platform.machine().dma.endpoint(id) {
            endpoint.behaviour.completes = wrong_tag;
            endpoint.behaviour.wrong_tag = wrong_tag;
        }
    }

    /// Memory that the IOMMU uses fails for a while.
    pub(super) fn fail_memory(&mut self) {
        let alive = self.any_process();
        let mut machine = self.platform.machine();
        let allocations = machine.bench.memory.allocations();
        let of_driver = self.random.below(2) == 0;
        let tables = match alive {
            Some(process) if !of_driver => {
                let id = self.processes[process].mm.id();
                drop(machine);
                let tables = self.os.table_frames(id);
                machine = self.platform.machine();
                tables
            }
            _ => {
                let (start, bytes) = allocations[self.random.below(allocations.len() as u64) as usize];
                vec![start + self.random.below(bytes.div_ceil(PAGE)) * PAGE]
            }
        };
        if tables.is_empty() {
            return;
        }
        let page = tables[self.random.below(tables.len() as u64) as usize] / PAGE * PAGE;
        let failure = [Failure::Read, Failure::Write, Failure::Poison][self.random.below(3) as usize];
        machine.bench.memory.inject(page..page + PAGE, failure);
        let until = machine.now() + 200 + self.random.below(6000);
        machine.heal_at(until);
        drop(machine);
        self.remember(format!("memory at {page:#x} fails ({failure:?}) until cycle {until}"));
        self.report.memory_faults += 1;
    }

    /// The driver of a device that is out of order puts it right.
    pub(super) fn mend_one(&mut self) {
        let index = self.random.below(self.devices.len() as u64) as usize;
        self.recover(index);
    }

    /// If a device is cut off, lost, wicked or has stopped its page requests, its driver resets it.
    pub(super) fn recover(&mut self, index: usize) {
        self.adopt_orphans();
        let id = self.devices[index].id;
        if self.devices[index].presence == Presence::Disabled {
            return;
        }
        let cut_off = self.iommu.device_state(id).is_some_and(|state| state.cut_off);
        let failed =
            self.platform.machine().dma.endpoint(id).is_some_and(|it| it.has_failed() || it.is_gone());
        if cut_off || failed || self.devices[index].wicked {
            self.reset_device(index);
        }
    }
}
