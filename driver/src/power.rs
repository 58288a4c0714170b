//! Losing the hardware and getting it back: suspend, resume, and resets that nobody announced.

use crate::{
    command_queue, device_directory,
    error::{CommandError, InitError},
    hardware::{Condition, Hardware},
    iommu::{self, Inner, Iommu},
};

impl Iommu {
    /// Switches the IOMMU off, so that its power can be taken: every transaction is aborted from then on. Bonds,
    /// devices and handles stay, and can be used as always: what they change takes effect when the IOMMU is
    /// [resumed](Self::resume). No register is touched meanwhile.
    ///
    /// The service calls are not running. Devices are idle: they make no accesses, have no page requests outstanding, and those with ATS are made to
    /// forget their translations here. Fault records and page requests that have not been serviced are lost.
    /// Invalidations succeed at once while the IOMMU is suspended, as nothing can be used that it has cached; answers to
    /// page requests are lost. Does nothing if the IOMMU is suspended.
    ///
    /// An ordinary thread calls this. It waits no longer than [`crate::Config::timeout`] for each of mode and queues, and
    /// as [`disable_ats`](Self::disable_ats) for each device with ATS.
    ///
    /// # Errors
    /// [`InitError::Timeout`]: the IOMMU does not switch off, and goes on as before, as far as it does.
    /// [`InitError::Command`]: a device could not be made to forget its translations, or the hardware
    /// [was reset](CommandError::Reset).
    pub fn suspend(&self) -> Result<(), InitError> {
        let inner = &*self.0;
        let hardware = &*inner.hardware;
        let tables = inner.tables.take(inner.platform());
        match hardware.condition() {
            Condition::Suspended => return Ok(()),
            Condition::Lost => return Err(CommandError::Reset.into()),
            Condition::Starting | Condition::On => {}
        }
        inner.empty_device_caches(true)?;
        // From here on a mode of Off is not taken for a reset.
        hardware.set_condition(Condition::Starting);
        if device_directory::switch_off(hardware).is_err() {
            hardware.set_condition(Condition::On);
            return Err(InitError::Timeout("directory mode"));
        }
        inner.leave_hardware(Condition::Suspended);
        drop(tables);
        iommu::quiesce(hardware, inner.capabilities)
    }

    /// Brings the IOMMU back after [`suspend`](Self::suspend), or after it was reset behind the driver's back
    /// ([`CommandError::Reset`], [`crate::FaultReport::reset`]), or from a state in which it obeys no more but might
    /// after this. As in [`new`](Self::new), Off and empty caches come first. Then everything is as it was: devices,
    /// bonds and PASIDs, with what was changed meanwhile. Does nothing if the IOMMU is on.
    ///
    /// After a reset the devices with ATS are made to forget their translations once the IOMMU is on. Until then they
    /// may use those that were valid at the time of the reset; so an invalidation that failed for the reset is
    /// repeated after this before the pages are used for something else.
    ///
    /// PASIDs of unbinds that the IOMMU did not confirm can be used again afterwards, but for those that a device may know
    /// that is cut off.
    ///
    /// An ordinary thread calls this. It waits no longer than [`crate::Config::timeout`] for each step of mode and
    /// queues.
    ///
    /// # Errors
    /// [`InitError`]: the IOMMU is still suspended or lost, and aborts everything as far as it obeys. Can be
    /// repeated.
    pub fn resume(&self) -> Result<(), InitError> {
        self.restore(false)
    }

    /// The same if the IOMMU is on: switches it off and on again, with everything restored. Transactions meanwhile are
    /// aborted; records and page requests in the queues are lost.
    ///
    /// # Errors
    /// As for [`resume`](Self::resume).
    pub fn reset(&self) -> Result<(), InitError> {
        self.restore(true)
    }

    fn restore(&self, force: bool) -> Result<(), InitError> {
        let inner = &*self.0;
        let hardware = &*inner.hardware;
        let tables = inner.tables.take(inner.platform());
        let before = hardware.condition();
        if before == Condition::On {
            if !force && !hardware.notice_reset() {
                return Ok(());
            }
            inner.leave_hardware(Condition::Lost);
        }
        let result = inner.bring_back(&tables);
        match result {
            Ok(()) => {
                hardware.counters.resumes.add(1);
                log::info!("the IOMMU is on again");
            }
            Err(error) => {
                log::error!("the IOMMU can't be brought back: {error}");
                inner.leave_hardware(if before == Condition::Suspended { before } else { Condition::Lost });
                return result;
            }
        }
        drop(tables);
        inner.release_claims();
        inner.empty_device_caches(before != Condition::Suspended)?;
        Ok(())
    }
}

impl Inner {
    /// From now on nobody touches a register but the caller, who has the directory's turn.
    fn leave_hardware(&self, condition: Condition) {
        self.hardware.set_condition(condition);
        // Whoever looked at the condition before that does so under one of these, and is gone when it was had.
        let platform = self.platform();
        self.commands.settle();
        self.faults.settle();
        self.request_queue.iter().for_each(|queue| queue.settle());
        platform.fence();
    }

    fn bring_back(&self, tables: &iommu::Tables) -> Result<(), InitError> {
        let hardware: &Hardware = &self.hardware;
        let Some(directory) = &tables.directory else { return Err(InitError::Rejected("device directory")) };
        iommu::quiesce(hardware, self.capabilities)?;
        iommu::set_features(hardware, self.capabilities, &self.config)?;
        self.commands.reopen().map_err(|_| InitError::Timeout(command_queue::NAME))?;
        hardware.set_condition(Condition::Starting);
        self.commands.execute(iommu::everything_cached(self.capabilities))?;
        // While it is Off: what was retracted before it forgot everything can't come back.
        self.bonds.lock(self.platform()).wiped();
        self.faults.reopen()?;
        self.request_queue.iter().try_for_each(|queue| queue.reopen())?;
        directory.enter()?;
        hardware.set_condition(Condition::On);
        Ok(())
    }

    /// Every device with ATS, or those that something is left to of bonds that are gone, forget everything that they have
    /// cached. A device that is cut off is not asked: what is left to it stays so until it is reinstated.
    fn empty_device_caches(&self, all: bool) -> Result<(), CommandError> {
        let mut next = 0;
        loop {
            let (found, since) = {
                let mut bonds = self.bonds.lock(self.platform());
                let found = bonds.links.range(next..=u32::MAX).iter().find_map(|(device_id, link)| {
                    let asked = !link.cut_off && (all || bonds.is_left_to(*device_id));
                    link.ats.filter(|_| asked).map(|requester| (*device_id, requester, link.cuts))
                });
                (found, bonds.now())
            };
            let Some((device_id, requester, cuts)) = found else { return Ok(()) };
            self.empty_device_cache(device_id, requester)?;
            {
                let mut bonds = self.bonds.lock(self.platform());
                if bonds.links.get(device_id).is_some_and(|link| !link.cut_off && link.cuts == cuts) {
                    bonds.device_forgot(device_id, since);
                }
            }
            self.release_claims();
            let Some(after) = device_id.checked_add(1) else { return Ok(()) };
            next = after;
        }
    }
}
