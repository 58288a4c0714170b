//! The life of a device: enabled, with ATS and page requests or without, cut off, reinstated, disabled.

use crate::{
    bonds::{Device, DeviceTables, Link},
    capabilities::Capabilities,
    config::{AtsOptions, DeviceOptions, PriOptions, Untagged},
    device_directory,
    error::{CommandError, DeviceError, DisableError, EnableError},
    iommu::{Inner, Iommu},
    lock::{Rank, Turn},
    pasid::Pasid,
    process_directory::{self, ProcessDirectory},
    requester::Requester,
    shared::Shared,
};
use pasidon_spec::{command::Command, ddt::dc::tc, message::InvalidationRequest, pdt, range};

/// What state a device is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceState {
    /// Address spaces that it is bound to.
    pub bonds: usize,
    /// It may use ATS.
    pub ats: bool,
    /// It may send page requests.
    pub page_requests: bool,
    /// It was cut off, by [`Iommu::cut_off`] or because it did not complete an invalidation: all its accesses
    /// are refused until [`Iommu::reinstate`].
    pub cut_off: bool,
}

impl Iommu {
    /// Gives a device a context, so that it can be bound. Its DMA with a PASID that is not bound faults; what
    /// happens to its DMA without a PASID is for `options` to say.
    ///
    /// # Errors
    /// [`EnableError`]; nothing has changed then.
    pub fn enable_sva(&self, device_id: u32, options: DeviceOptions) -> Result<(), EnableError> {
        let inner = &*self.0;
        let width = inner.config.device_id_width;
        if device_id >> width != 0 {
            return Err(EnableError::DeviceId { device_id, width });
        }
        if !(1..=Pasid::WIDTH).contains(&options.pasid_width) {
            return Err(EnableError::PasidWidth(options.pasid_width));
        }
        let levels = process_directory::levels_for(inner.capabilities, options.pasid_width)
            .ok_or(EnableError::NoProcessDirectory)?;
        let pasid_width = options.pasid_width.min(pdt::process_id_bits(levels).into());

        let mut tables = inner.tables.take(inner.platform());
        if inner.device(device_id).is_some() {
            return Err(EnableError::AlreadyEnabled(device_id));
        }
        let Some(directory) = &mut tables.directory else { return Err(EnableError::OutOfMemory) };
        let processes =
            ProcessDirectory::new(&inner.hardware, levels).map_err(|_| EnableError::OutOfMemory)?;
        let pointer = processes.pointer();
        let device = Device {
            pasid_limit: (1 << pasid_width) - 1,
            turn: Turn::new(Rank::Device, DeviceTables { processes: Some(processes), leaving: false }),
        };
        let device = Shared::new(device).map_err(|_| EnableError::OutOfMemory)?;
        let context = directory.slot(device_id).map_err(|_| EnableError::OutOfMemory)?;
        {
            let mut bonds = inner.bonds_with_room().map_err(|_| EnableError::OutOfMemory)?;
            let control = directory.publish(
                context,
                pointer,
                options.untagged == Untagged::PassThrough,
                inner.capabilities.updates_ad() && inner.config.update_ad,
            );
            bonds.links.insert(device_id, Link::new(device, context, control));
        }
        log::debug!("device {device_id:#x}: enabled, PASIDs of {pasid_width} bits");
        Ok(())
    }

    /// Takes a device's context away: from then on all its DMA faults. It must have been told to stop before,
    /// and have no bonds left. Page requests and ATS are disabled first, if they are not yet.
    ///
    /// # Errors
    /// [`DisableError`]. After [`DisableError::Command`] the device is gone from the directory, but its
    /// tables can't be reused and [`bind`](Self::bind) answers [`crate::BindError::DeviceLeaving`]. Repeat it.
    pub fn disable_sva(&self, device_id: u32) -> Result<(), DisableError> {
        let inner = &*self.0;
        let device = inner.device(device_id).ok_or(DisableError::NotEnabled(device_id))?;
        let mut tables = device.turn.take(inner.platform());
        if tables.processes.is_none() {
            return Err(DisableError::NotEnabled(device_id));
        }
        let bonds = inner.bonds_of(device_id);
        if bonds != 0 {
            return Err(DisableError::Bound { device_id, bonds });
        }
        tables.leaving = true;
        inner.stop_page_requests(device_id)?;
        inner.stop_ats(device_id)?;
        inner.change_link(device_id, |link| device_directory::retract(&inner.hardware, link.context));
        inner.forget_context(device_id)?;
        let link = {
            let mut bonds = inner.bonds.lock(inner.platform());
            bonds.contexts_forgotten(device_id);
            bonds.links.remove(device_id)
        };
        // The memory goes with no lock held.
        drop((link, tables.processes.take()));
        inner.release_claims();
        log::debug!("device {device_id:#x}: disabled");
        Ok(())
    }

    /// Lets a device use ATS. The device is idle and has no bonds; its own ATS enable bit is set afterwards.
    ///
    /// From then on every invalidation of an address space that the device is bound to is passed on to it,
    /// one at a time.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn enable_ats(&self, device_id: u32, options: AtsOptions) -> Result<(), DeviceError> {
        let inner = &*self.0;
        let device = inner.device(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        let tables = device.turn.take(inner.platform());
        inner.check_ats(&tables, device_id)?;
        let bonds = inner.bonds_of(device_id);
        if bonds != 0 {
            return Err(DeviceError::Bound { device_id, bonds });
        }
        if inner.link(device_id)?.ats.is_some() {
            return Err(DeviceError::AlreadyEnabled(device_id));
        }
        inner.rewrite_control(device_id, |control| tc::EN_ATS.set(control, 1))?;
        inner.change_link(device_id, |link| link.ats = Some(Requester::of(device_id, options.segment)));
        log::debug!("device {device_id:#x}: ATS enabled");
        Ok(())
    }

    /// Takes ATS, and page requests, from a device, which is idle and whose ATS enable bit has been cleared.
    /// Bonds stay: the device goes on with untranslated requests. Does nothing if ATS is off.
    ///
    /// # Errors
    /// [`DeviceError::NotEnabled`], [`DeviceError::Command`]
    pub fn disable_ats(&self, device_id: u32) -> Result<(), DeviceError> {
        let inner = &*self.0;
        let device = inner.device(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        let _turn = device.turn.take(inner.platform());
        inner.link(device_id)?;
        inner.stop_page_requests(device_id)?;
        inner.stop_ats(device_id)?;
        log::debug!("device {device_id:#x}: ATS disabled");
        Ok(())
    }

    /// Lets a device send page requests, which [`service_page_requests`](Self::service_page_requests)
    /// answers. ATS is enabled and the device idle; its own page-request enable bit is set afterwards.
    ///
    /// # Errors
    /// [`DeviceError`]
    pub fn enable_pri(&self, device_id: u32, options: PriOptions) -> Result<(), DeviceError> {
        let inner = &*self.0;
        if !(1..=PriOptions::MAX_OUTSTANDING).contains(&options.outstanding) {
            return Err(DeviceError::Outstanding(options.outstanding));
        }
        let device = inner.device(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        let tables = device.turn.take(inner.platform());
        inner.check_ats(&tables, device_id)?;
        let requester = inner.link(device_id)?.ats.ok_or(DeviceError::NeedsAts(device_id))?;
        let PriOptions { outstanding, response_needs_pasid } = options;
        if inner.requests.lock(inner.platform()).knows(device_id) {
            return Err(DeviceError::AlreadyEnabled(device_id));
        }
        inner
            .open_requests(device_id, requester, outstanding, response_needs_pasid)
            .map_err(|_| DeviceError::OutOfMemory)?;
        let allow = |control| tc::PRPR.set(tc::EN_PRI.set(control, 1), response_needs_pasid.into());
        if let Err(error) = inner.rewrite_control(device_id, allow) {
            inner.close_requests(device_id);
            return Err(error);
        }
        log::debug!("device {device_id:#x}: page requests enabled, {outstanding} outstanding");
        Ok(())
    }

    /// Takes page requests from a device, whose page-request enable bit has been cleared. What is pending is
    /// answered Invalid Request, what is being resolved too: whoever does that will find it answered. Bonds
    /// stay. Does nothing if page requests are off.
    ///
    /// # Errors
    /// [`DeviceError::NotEnabled`], [`DeviceError::Command`]
    pub fn disable_pri(&self, device_id: u32) -> Result<(), DeviceError> {
        let inner = &*self.0;
        let device = inner.device(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        let _turn = device.turn.take(inner.platform());
        inner.link(device_id)?;
        inner.stop_page_requests(device_id)?;
        log::debug!("device {device_id:#x}: page requests disabled");
        Ok(())
    }

    /// Refuses everything from a device from now on, whatever it is doing: because it is gone, has stopped
    /// answering, or is about to be reset. Its pending page requests are answered Invalid Request. The device
    /// is not asked to forget translations, then or later: it can't use them.
    ///
    /// Bonds and handles stay and are unbound as usual; nothing new can be bound. The driver itself does the
    /// same, but for the answers, which are left to the page-request service, with a device that does not
    /// complete an invalidation in time.
    ///
    /// # Errors
    /// [`DeviceError::NotEnabled`], [`DeviceError::Command`]
    pub fn cut_off(&self, device_id: u32) -> Result<(), DeviceError> {
        let inner = &*self.0;
        inner.link(device_id)?;
        let isolated = inner.isolate(device_id);
        inner.drain();
        inner.answer_revoked(device_id);
        isolated?;
        Ok(())
    }

    /// Lets a device in again that was cut off and has been reset since: it has no translations, and waits
    /// for no answers. Its bonds, ATS and page requests are what they were. Does nothing if the device is not
    /// cut off.
    ///
    /// # Errors
    /// [`DeviceError::NotEnabled`]; [`DeviceError::Command`]: the device stays cut off.
    pub fn reinstate(&self, device_id: u32) -> Result<(), DeviceError> {
        let inner = &*self.0;
        let device = inner.device(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        let tables = device.turn.take(inner.platform());
        if !inner.link(device_id)?.cut_off {
            return Ok(());
        }
        if tables.leaving {
            return Err(DeviceError::Leaving(device_id));
        }
        // Cutting it off may have gone unconfirmed.
        inner.forget_context(device_id)?;
        inner.discard_requests(device_id);
        inner.requests.lock(inner.platform()).reopen(device_id);
        {
            let mut bonds = inner.bonds.lock(inner.platform());
            bonds.contexts_forgotten(device_id);
            let now = bonds.now();
            bonds.device_forgot(device_id, now);
            if let Some(link) = bonds.links.get_mut(device_id) {
                link.cut_off = false;
                link.write(&inner.hardware);
            }
        }
        inner.release_claims();
        log::info!("device {device_id:#x}: reinstated");
        Ok(())
    }

    /// The state of a device, if SVA is enabled for it.
    pub fn device_state(&self, device_id: u32) -> Option<DeviceState> {
        let inner = &*self.0;
        let page_requests = inner.requests.lock(inner.platform()).knows(device_id);
        let bonds = inner.bonds_of(device_id);
        let link = inner.link(device_id).ok()?;
        Some(DeviceState { bonds, ats: link.ats.is_some(), page_requests, cut_off: link.cut_off })
    }
}

/// A copy of what may be asked about a [`Link`].
struct LinkState {
    ats: Option<Requester>,
    cut_off: bool,
}

impl Inner {
    pub(crate) fn bonds_of(&self, device_id: u32) -> usize {
        self.bonds.lock(self.platform()).links.get(device_id).map_or(0, Link::bonds)
    }

    fn link(&self, device_id: u32) -> Result<LinkState, DeviceError> {
        let bonds = self.bonds.lock(self.platform());
        let link = bonds.links.get(device_id).ok_or(DeviceError::NotEnabled(device_id))?;
        Ok(LinkState { ats: link.ats, cut_off: link.cut_off })
    }

    fn change_link(&self, device_id: u32, change: impl FnOnce(&mut Link)) {
        if let Some(link) = self.bonds.lock(self.platform()).links.get_mut(device_id) {
            change(link);
        }
    }

    fn check_ats(&self, tables: &DeviceTables, device_id: u32) -> Result<(), DeviceError> {
        if !Capabilities::ats(self.capabilities) {
            return Err(DeviceError::NotSupported);
        }
        if tables.leaving || self.link(device_id)?.cut_off {
            return Err(DeviceError::Leaving(device_id));
        }
        Ok(())
    }

    /// Makes the IOMMU forget a device's context, and what was translated through it. (Section "Changing device
    /// directory table entry", for a context with a process directory.)
    fn forget_context(&self, device_id: u32) -> Result<(), CommandError> {
        let commands = [
            Command::IodirInvalDdt { did: Some(device_id) },
            Command::IotinvalVma { gscid: None, pscid: None, range: None },
        ];
        self.commands.execute(commands.into_iter())
    }

    /// Changes what an idle device may do, with its context invalid meanwhile. (Section "Guidelines for
    /// enabling and disabling ATS and/or PRI".)
    fn rewrite_control(&self, device_id: u32, change: impl FnOnce(u64) -> u64) -> Result<(), DeviceError> {
        self.change_link(device_id, |link| {
            link.rewriting = true;
            device_directory::retract(&self.hardware, link.context);
        });
        let result = self.forget_context(device_id);
        self.change_link(device_id, |link| {
            if result.is_ok() {
                link.control = change(link.control);
            }
            link.rewriting = false;
            link.write(&self.hardware);
        });
        result?;
        self.contexts_forgotten(device_id);
        Ok(())
    }

    /// Takes permissions away. The context stays valid: an invalid one would have page requests answered with
    /// Response Failure.
    fn restrict_control(&self, device_id: u32, bits: u64) -> Result<(), CommandError> {
        self.change_link(device_id, |link| {
            link.control &= !bits;
            link.write(&self.hardware);
        });
        self.forget_context(device_id)?;
        self.contexts_forgotten(device_id);
        Ok(())
    }

    /// What that was good for beside. The device's turn is held.
    fn contexts_forgotten(&self, device_id: u32) {
        self.bonds.lock(self.platform()).contexts_forgotten(device_id);
        self.release_claims();
    }

    /// Clause 17: stop reception, answer everything pending with Invalid, disable.
    fn stop_page_requests(&self, device_id: u32) -> Result<(), CommandError> {
        {
            let mut requests = self.requests.lock(self.platform());
            if !requests.knows(device_id) {
                return Ok(());
            }
            requests.shut(device_id, &self.hardware.counters);
        }
        self.restrict_control(device_id, tc::EN_PRI.mask() | tc::PRPR.mask())?;
        self.drain();
        self.answer_revoked(device_id);
        self.close_requests(device_id);
        Ok(())
    }

    /// The device forgets everything while its completions still count, then loses the permission.
    fn stop_ats(&self, device_id: u32) -> Result<(), CommandError> {
        let (requester, cut_off) = {
            let bonds = self.bonds.lock(self.platform());
            let Some(link) = bonds.links.get(device_id) else { return Ok(()) };
            let Some(requester) = link.ats else { return Ok(()) };
            (requester, link.cut_off)
        };
        if !cut_off {
            self.empty_device_cache(device_id, requester)?;
        }
        self.restrict_control(device_id, tc::EN_ATS.mask())?;
        {
            let mut bonds = self.bonds.lock(self.platform());
            let now = bonds.now();
            bonds.device_forgot(device_id, now);
            bonds.caches.retain(|(_, device), cached| {
                if device == device_id {
                    cached.requester = None;
                }
                true
            });
            if let Some(link) = bonds.links.get_mut(device_id) {
                link.ats = None;
            }
        }
        self.release_claims();
        Ok(())
    }

    /// A device with ATS forgets everything.
    pub(crate) fn empty_device_cache(
        &self,
        device_id: u32,
        requester: Requester,
    ) -> Result<(), CommandError> {
        let all = InvalidationRequest { global: false, ..EVERYTHING };
        self.invalidate_device(device_id, requester.invalidate(None, all.encode()))?;
        // Global: the PASID in the message only makes it one about PASIDs.
        let all = InvalidationRequest { global: true, ..EVERYTHING };
        self.invalidate_device(device_id, requester.invalidate(Some(0), all.encode()))
    }

    /// Makes a device's context invalid, for good until it is reinstated. Can be called from any context.
    pub(crate) fn isolate(&self, device_id: u32) -> Result<(), CommandError> {
        self.change_link(device_id, |link| {
            link.cut_off = true;
            link.cuts += 1;
            device_directory::retract(&self.hardware, link.context);
        });
        self.requests.lock(self.platform()).shut(device_id, &self.hardware.counters);
        let result = self.forget_context(device_id);
        log::warn!("device {device_id:#x}: cut off");
        result
    }
}

/// All addresses.
pub(crate) const EVERYTHING: InvalidationRequest = InvalidationRequest {
    global: false,
    page: match range::encode(0, 64) {
        Some(page) => page,
        None => 0,
    },
    napot: true,
};
