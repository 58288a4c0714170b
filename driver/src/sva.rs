//! Binding devices to address spaces, and what follows from it. Clause numbers are those of the SVA contract
//! in this crate's documentation.

use crate::{
    bond::{Bond, Call, Callbacks, Handle},
    device_caches,
    devices::EVERYTHING,
    error::{BindError, CommandError, SetOpsError},
    iommu::{Entry, Inner, Iommu, Space},
    mm::{Mm, PageTable},
    pasid::NoId,
};
use alloc::{sync::Arc, vec::Vec};
use core::ops::Range;
use pasidon_spec::command::{self, Command};

/// What has changed in a page table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leaf entries only: mappings have gone, moved or lost permissions.
    Leaves,
    /// Also non-leaf entries: page-table pages are about to be freed, or a superpage was split or merged.
    Tables,
}

impl Iommu {
    /// Binds a device to an address space: the device may use the mm's virtual addresses with the handle's
    /// PASID.
    ///
    /// A second bind of the same pair gives a handle on the same bond. The mm gets its PASID with its first
    /// bind, on whichever device, and keeps it until the mm object is dropped.
    ///
    /// # Errors
    /// [`BindError`]; no DMA has been let through then.
    pub fn bind(&self, device_id: u32, mm: Arc<dyn Mm>) -> Result<Handle, BindError> {
        let inner = &self.0;
        let mut tables = inner.tables.take(inner.platform());
        let device = tables.devices.get_mut(&device_id).ok_or(BindError::NotEnabled(device_id))?;
        if device.leaving || inner.is_cut_off(device_id) {
            return Err(BindError::DeviceLeaving(device_id));
        }
        if mm.sva().exited() {
            return Err(BindError::MmExited);
        }
        let table = mm.page_table();
        inner.check_page_table(table)?;
        let pasid = mm.sva().assign(&inner.pasids, device.pasid_limit)?;

        // Clause 1: one bond per pair.
        {
            let mut bonds = inner.bonds.lock(inner.platform());
            if let Some(entry) = bonds.by_pasid.get_mut(&(pasid, device_id)) {
                entry.binds += 1;
                return Ok(Handle { iommu: inner.clone(), bond: entry.bond.clone() });
            }
        }

        // Clause 4: everything that can fail, then the lookup entry, then the context. Faults find the bond
        // as soon as the hardware can raise any.
        let slot = device.processes.slot(pasid).map_err(|_| BindError::OutOfMemory)?;
        // The caller's reference outlives the turn, so that a failure never drops the mm with the turn taken.
        let bond = Arc::new(Bond::new(device_id, pasid, mm.clone(), inner.faults.end()));
        let pscid = {
            let mut bonds = inner.bonds.lock(inner.platform());
            let bonds = &mut *bonds;
            let pscid = match bonds.spaces.get_mut(&pasid) {
                Some(space) => {
                    space.users += 1;
                    space.pscid
                }
                None => {
                    let pscid = bonds.pscids.alloc(u32::MAX).map_err(|error| match error {
                        NoId::Exhausted => BindError::TagsExhausted,
                        NoId::OutOfMemory => BindError::OutOfMemory,
                    })?;
                    bonds.spaces.insert(pasid, Space { pscid, users: 1, unconfirmed: false });
                    pscid
                }
            };
            let entry = Entry { bond: bond.clone(), binds: 1, slot, callbacks: None };
            if let Some(requester) = bonds.links.get(&device_id).and_then(|link| link.ats) {
                bonds.caches.insert(bond.key(), requester);
            }
            bonds.by_pasid.insert(bond.key(), entry);
            pscid
        };
        device.processes.publish(slot, table, pscid);
        inner.hardware.counters.binds.add(1);
        log::debug!("device {device_id:#x}: bound, PASID {pasid}, PSCID {pscid}");
        Ok(Handle { iommu: inner.clone(), bond })
    }

    /// Makes every device forget what it may have cached of `range` (the end is exclusive) in `mm`, and waits
    /// until DMA that had been translated before is done with memory; devices with ATS are made to forget it
    /// as well, and one that does not complete that is [cut off](crate::DeviceState::cut_off). The page table has been changed
    /// already; pages, and page-table pages, may be reused when this has returned `Ok`.
    ///
    /// May be called from any context in which [`crate::Platform::mask`] allows the driver to take a spin
    /// lock: it does not sleep and does not allocate. Does nothing if the mm is not bound here.
    ///
    /// # Errors
    /// [`CommandError`]: the IOMMU did not confirm, so what was unmapped must be taken as still in use.
    pub fn invalidate_range(
        &self,
        mm: &dyn Mm,
        range: Range<u64>,
        change: Change,
    ) -> Result<(), CommandError> {
        let inner = &*self.0;
        let Some(pasid) = mm.sva().pasid_in(&inner.pasids) else { return Ok(()) };
        let Some(pscid) = inner.bonds.lock(inner.platform()).spaces.get(&pasid).map(|space| space.pscid)
        else {
            return Ok(());
        };
        if range.is_empty() {
            return Ok(());
        }
        inner.hardware.counters.invalidations.add(1);
        let first = range.start >> PAGE_SHIFT;
        let pages = ((range.end - 1) >> PAGE_SHIFT) - first + 1;
        let limit = inner.range_limit.min(inner.commands.capacity() as u64);
        let whole_space = change == Change::Tables || pages > limit;
        if whole_space {
            inner.commands.execute(core::iter::once(whole(pscid)))?;
        } else {
            inner.commands.execute((0..pages as usize).map(|page| Command::IotinvalVma {
                gscid: None,
                pscid: Some(pscid),
                range: Some(command::Range::page_of((first + page as u64) << PAGE_SHIFT)),
            }))?;
        }
        // Devices cache leaves only, and of those a range of any size is one request.
        inner.invalidate_caches(pasid, device_caches::covering(range.start, range.end - 1))
    }

    /// The address space is dying: calls the `mm_exit` of each of its bonds once, then points their contexts
    /// to an empty page table. The operating system calls this for every IOMMU where the mm may be bound,
    /// while the page tables are still there, and frees them only after `Ok`.
    ///
    /// From then on DMA with the PASID is aborted and its faults are dropped; translation requests are granted
    /// nothing, and page requests answered Invalid Request; nothing can be bound to the mm any more; its handles remain to be unbound. It does not wait for devices to stop: that is for the
    /// device drivers before they unbind.
    ///
    /// # Errors
    /// [`CommandError`]: the IOMMU did not confirm, so the page tables must be taken as still in use. May be
    /// repeated.
    pub fn mm_exit(&self, mm: &dyn Mm) -> Result<(), CommandError> {
        let inner = &*self.0;
        let sva = mm.sva();
        let mut calls = Vec::new();
        let pasid = {
            // With the turn taken no bind is between its check for exited and its entry in the table.
            let _turn = inner.tables.take(inner.platform());
            sva.set_exited();
            let Some(pasid) = sva.pasid_in(&inner.pasids) else { return Ok(()) };
            let bonds = inner.bonds.lock(inner.platform());
            for (_, entry) in bonds.by_pasid.range((pasid, 0)..=(pasid, u32::MAX)) {
                if entry.bond.set_exited() {
                    inner.hardware.counters.mm_exits.add(1);
                    if entry.callbacks.is_some() {
                        calls.push(Call::begin(&entry.bond, entry.callbacks.as_ref()));
                    }
                }
            }
            pasid
        };
        calls.into_iter().for_each(Call::mm_exit);
        inner.detach(mm, pasid)
    }
}

const PAGE_SHIFT: u32 = pasidon_spec::page_table::PAGE_SHIFT as u32;

/// Everything cached of an address space.
const fn whole(pscid: u32) -> Command {
    Command::IotinvalVma { gscid: None, pscid: Some(pscid), range: None }
}

impl Inner {
    fn check_page_table(&self, table: PageTable) -> Result<(), BindError> {
        let aligned = table.root % (1 << PAGE_SHIFT) == 0;
        if !aligned || table.root >= self.hardware.address_limit || !self.capabilities.page_table(table.mode)
        {
            return Err(BindError::PageTable);
        }
        Ok(())
    }

    /// Points the contexts of an mm that has exited to an empty page table. Never to Bare, which lets DMA
    /// pass.
    fn detach(&self, mm: &dyn Mm, pasid: crate::Pasid) -> Result<(), CommandError> {
        let tables = self.tables.take(self.platform());
        let Some(root) = tables.empty_root() else { return Ok(()) };
        let table = PageTable { mode: mm.page_table().mode, root };
        let mut slots = Vec::new();
        let unconfirmed;
        let pscid;
        {
            let bonds = self.bonds.lock(self.platform());
            let Some(space) = bonds.spaces.get(&pasid) else { return Ok(()) };
            pscid = space.pscid;
            unconfirmed = space.unconfirmed;
            for (&(_, device_id), entry) in bonds.by_pasid.range((pasid, 0)..=(pasid, u32::MAX)) {
                slots.push((device_id, entry.slot));
            }
        }
        for (device_id, slot) in &slots {
            if let Some(device) = tables.devices.get(device_id) {
                device.processes.publish(*slot, table, pscid);
            }
        }
        for part in slots.chunks(self.commands.capacity()) {
            self.commands
                .execute(part.iter().map(|&(did, _)| Command::IodirInvalPdt { did, pid: pasid.get() }))?;
        }
        if unconfirmed {
            // Contexts of bonds that are gone may be cached as well.
            self.commands.execute(core::iter::once(Command::IodirInvalDdt { did: None }))?;
        }
        self.commands.execute(core::iter::once(whole(pscid)))?;
        self.invalidate_caches(pasid, EVERYTHING)?;
        log::debug!("PASID {pasid}: the address space has exited");
        if unconfirmed {
            self.settle(mm, pasid);
        }
        Ok(())
    }

    /// The IOMMU has confirmed what an earlier unbind could not get confirmed.
    fn settle(&self, mm: &dyn Mm, pasid: crate::Pasid) {
        let mut bonds = self.bonds.lock(self.platform());
        let bonds = &mut *bonds;
        if let Some(space) = bonds.spaces.get_mut(&pasid)
            && core::mem::replace(&mut space.unconfirmed, false)
        {
            mm.sva().release();
            let by_pasid = &bonds.by_pasid;
            bonds.caches.retain(|key, _| key.0 != pasid || by_pasid.contains_key(key));
            if space.users == 0 {
                bonds.pscids.free(space.pscid);
                bonds.spaces.remove(&pasid);
            }
        }
    }

    pub(crate) fn is_cut_off(&self, device_id: u32) -> bool {
        self.bonds.lock(self.platform()).links.get(&device_id).is_some_and(|link| link.cut_off)
    }

    pub(crate) fn set_ops(&self, bond: &Arc<Bond>, callbacks: Callbacks) -> Result<(), SetOpsError> {
        let mut bonds = self.bonds.lock(self.platform());
        // A handle's bond is in the table: it is taken out with the last handle.
        let Some(entry) = bonds.by_pasid.get_mut(&bond.key()) else { return Err(SetOpsError::MmExited) };
        match &entry.callbacks {
            Some(known) if known.same_as(&callbacks) => Ok(()),
            Some(_) => Err(SetOpsError::AlreadySet),
            None if bond.mm_exited() => Err(SetOpsError::MmExited),
            None => {
                entry.callbacks = Some(callbacks);
                Ok(())
            }
        }
    }

    /// One handle less; the last one tears the bond down in the order of clause 7.
    pub(crate) fn unbind(&self, bond: &Arc<Bond>) {
        let (pasid, device_id) = bond.key();
        let (entry, newest) = {
            let tables = self.tables.take(self.platform());
            let entry;
            let pscid;
            let cache;
            {
                let mut bonds = self.bonds.lock(self.platform());
                let bonds = &mut *bonds;
                let Some(known) = bonds.by_pasid.get_mut(&bond.key()) else { return };
                known.binds -= 1;
                if known.binds > 0 {
                    return;
                }
                // No new callback from here on. The space stays, and with it the PSCID, and the device goes on
                // hearing of invalidations.
                entry = bonds.by_pasid.remove(&bond.key());
                pscid = bonds.spaces.get(&pasid).map_or(0, |space| space.pscid);
                let link = bonds.links.get(&device_id).filter(|link| !link.cut_off);
                cache = bonds.caches.get(&bond.key()).filter(|_| link.is_some()).copied();
            }
            if let (Some(device), Some(entry)) = (tables.devices.get(&device_id), &entry) {
                device.processes.retract(entry.slot);
            }
            let commands = [Command::IodirInvalPdt { did: device_id, pid: pasid.get() }, whole(pscid)];
            let mut result = self.commands.execute(commands.into_iter());
            if let (Ok(()), Some(requester)) = (result, cache) {
                self.hardware.counters.device_invalidations.add(1);
                let command = requester.invalidate(Some(pasid.get()), EVERYTHING.encode());
                result = self.invalidate_device(device_id, command);
            }
            let mut bonds = self.bonds.lock(self.platform());
            match result {
                Ok(()) => _ = bonds.caches.remove(&bond.key()),
                Err(error) => {
                    log::error!("device {device_id:#x}, PASID {pasid}: unbind was not confirmed: {error}");
                    if let Some(space) = bonds.spaces.get_mut(&pasid)
                        && !core::mem::replace(&mut space.unconfirmed, true)
                    {
                        bond.mm().sva().quarantine();
                    }
                }
            }
            drop(bonds);
            // What the device had asked for is in the queue now: the fence came after it.
            let newest = self.drain_bond(device_id, pasid);
            (entry, newest)
        };
        while bond.callbacks_running() || self.is_resolving(device_id, pasid, newest) {
            self.platform().relax();
        }
        {
            let mut bonds = self.bonds.lock(self.platform());
            let bonds = &mut *bonds;
            if let Some(space) = bonds.spaces.get_mut(&pasid) {
                space.users -= 1;
                if space.users == 0 && !space.unconfirmed {
                    bonds.pscids.free(space.pscid);
                    bonds.spaces.remove(&pasid);
                }
            }
        }
        self.hardware.counters.unbinds.add(1);
        log::debug!("device {device_id:#x}: unbound, PASID {pasid}");
        // The device driver's data goes with no lock held, as its destructor may do anything.
        drop(entry);
    }
}
