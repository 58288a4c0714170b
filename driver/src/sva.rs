//! Binding devices to address spaces, and what follows from it. Clause numbers are those of the SVA contract
//! in this crate's documentation.

use crate::{
    bond::{Bond, Call, Callbacks},
    bonds::{BondEntry, Cached, Grave, Left, Space},
    device_caches,
    devices::EVERYTHING,
    error::{BindError, CommandError, SetOpsError},
    handle::Handle,
    iommu::{Inner, Iommu},
    mm::{Mm, PageTable},
    pasid::{NoId, Pasid},
    process_directory::{self, ContextSlot},
    shared::Shared,
};
use alloc::sync::Arc;
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
        let platform = inner.platform();
        inner.reap();
        let device = inner.device(device_id).ok_or(BindError::NotEnabled(device_id))?;
        let mut tables = device.turn.take(platform);
        if tables.leaving || inner.is_cut_off(device_id) {
            return Err(BindError::DeviceLeaving(device_id));
        }
        let Some(processes) = &mut tables.processes else { return Err(BindError::NotEnabled(device_id)) };
        if mm.sva().exited() {
            return Err(BindError::MmExited);
        }
        let table = mm.page_table();
        inner.check_page_table(table)?;
        let pasid = mm.sva().assign(platform, &inner.pasids, device.pasid_limit)?;

        // Clause 1: one bond per pair. While the turn is held nobody else makes it or tears it down.
        if let Some(entry) = inner.bonds.lock(platform).by_pasid.get_mut((pasid, device_id)) {
            entry.binds += 1;
            return Ok(Handle { iommu: inner.clone(), bond: entry.bond.clone() });
        }

        // Clause 4: everything that can fail, then the lookup entry, then the context. Faults find the bond
        // as soon as the hardware can raise any.
        let slot = processes.slot(pasid).map_err(|_| BindError::OutOfMemory)?;
        let bond = Bond::new(device_id, pasid, mm.clone(), inner.faults.end());
        let bond = Shared::new(bond).map_err(|_| BindError::OutOfMemory)?;
        inner.enter(&bond, slot, table)?;
        inner.hardware.counters.binds.add(1);
        log::debug!("device {device_id:#x}: bound, PASID {pasid}");
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
        let Some(pasid) = mm.sva().pasid_in(inner.platform(), &inner.pasids) else { return Ok(()) };
        let Some(pscid) = inner.pscid(pasid) else { return Ok(()) };
        if range.is_empty() {
            return Ok(());
        }
        inner.hardware.counters.invalidations.add(1);
        let first = range.start >> PAGE_SHIFT;
        let pages = ((range.end - 1) >> PAGE_SHIFT) - first + 1;
        let limit = inner.config.range_limit.min(inner.commands.capacity() as u64);
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

    /// Page-table pages that all address spaces share, as those of a kernel that is mapped into each, are about to be
    /// freed: the IOMMU forgets what it has cached of the tables of every address space. The operating system calls
    /// this on every IOMMU, after the entries that pointed to the pages are gone, and reuses the pages when it
    /// has returned `Ok`: the IOMMU walks such entries, though it grants no access by them, and may cache them.
    /// Devices cache no entries but leaves that they may use, and need not be asked.
    ///
    /// May be called from the same contexts as [`invalidate_range`](Self::invalidate_range).
    ///
    /// # Errors
    /// [`CommandError`]: the IOMMU did not confirm, so the pages must be taken as still in use.
    pub fn invalidate_shared_tables(&self) -> Result<(), CommandError> {
        let inner = &*self.0;
        inner.hardware.counters.invalidations.add(1);
        inner.commands.execute(core::iter::once(Command::IotinvalVma {
            gscid: None,
            pscid: None,
            range: None,
        }))
    }

    /// The address space is dying: calls the `mm_exit` of each of its bonds once, one after the other, then points
    /// their contexts to an empty page table. The operating system calls this for every IOMMU where the mm may be
    /// bound, while the page tables are still there, and frees them only after `Ok`.
    ///
    /// From then on DMA with the PASID is aborted and its faults are dropped; translation requests are granted
    /// nothing, and page requests answered Invalid Request; nothing can be bound to the mm any more; its handles remain to be unbound. It does not wait for devices to stop: that is for the
    /// device drivers before they unbind.
    ///
    /// Several calls for one mm at a time share the work, and each returns when all of it is done. Not to be called
    /// from a callback of the same mm, which would be waited for.
    ///
    /// # Errors
    /// [`CommandError`]: the IOMMU did not confirm, so the page tables must be taken as still in use. May be
    /// repeated.
    pub fn mm_exit(&self, mm: &dyn Mm) -> Result<(), CommandError> {
        let inner = &*self.0;
        let platform = inner.platform();
        inner.reap();
        {
            // A bind looks at this under the same lock when it enters its bond: either it fails, or its bond is
            // found here.
            let _bonds = inner.bonds.lock(platform);
            mm.sva().set_exited();
        }
        let Some(pasid) = mm.sva().pasid_in(platform, &inner.pasids) else { return Ok(()) };
        while let Some(call) = inner.next_exit(pasid) {
            call.mm_exit(&inner.running, platform);
        }
        while inner.is_exiting(pasid) && !inner.running.is_inside(platform) {
            platform.relax();
        }
        let result = inner.detach(mm, pasid);
        inner.let_go_of_callbacks(pasid);
        inner.reap();
        // What was recorded before its end makes room for the records of others.
        inner.receive_faults();
        result
    }
}

const PAGE_SHIFT: u32 = pasidon_spec::page_table::PAGE_SHIFT as u32;

/// Everything cached of an address space.
const fn whole(pscid: u32) -> Command {
    Command::IotinvalVma { gscid: None, pscid: Some(pscid), range: None }
}

impl Inner {
    fn check_page_table(&self, table: PageTable) -> Result<(), BindError> {
        let aligned = table.root.is_multiple_of(1 << PAGE_SHIFT);
        if !aligned || table.root >= self.hardware.address_limit || !self.capabilities.page_table(table.mode)
        {
            return Err(BindError::PageTable);
        }
        Ok(())
    }

    /// The PSCID of an address space that is bound here.
    fn pscid(&self, pasid: Pasid) -> Option<u32> {
        self.bonds.lock(self.platform()).spaces.get(pasid).map(|space| space.pscid)
    }

    /// Enters a bond in the tables and makes its context valid. The device's turn is held.
    fn enter(&self, bond: &Shared<Bond>, slot: ContextSlot, table: PageTable) -> Result<(), BindError> {
        let (pasid, device_id) = bond.key();
        // One too many if the address space has one already, which is known only under the lock.
        let spare = self.pscids.alloc(PSCID_MAX);
        let mut unused = spare.ok();
        let mut unmuted = false;
        let result = self.bonds_with_room().map_err(|_| BindError::OutOfMemory).and_then(|mut bonds| {
            let bonds = &mut *bonds;
            if bond.mm().sva().exited() {
                return Err(BindError::MmExited);
            }
            let link = bonds.links.get_mut(device_id).ok_or(BindError::NotEnabled(device_id))?;
            if link.cut_off {
                return Err(BindError::DeviceLeaving(device_id));
            }
            let pscid = match bonds.spaces.get_mut(pasid) {
                Some(space) => {
                    space.users += 1;
                    space.pscid
                }
                None => {
                    let pscid = unused.take().ok_or(match spare {
                        Err(NoId::OutOfMemory) => BindError::OutOfMemory,
                        _ => BindError::TagsExhausted,
                    })?;
                    bonds.spaces.insert(pasid, Space { pscid, users: 1, claim: None });
                    pscid
                }
            };
            // What was left of an earlier bond of this pair goes with this one.
            bonds.caches.insert(bond.key(), Cached { requester: link.ats, left: Left::Bound });
            link.alive += 1;
            unmuted = link.mute(&self.hardware);
            let entry = BondEntry { bond: bond.clone(), binds: 1, slot, callbacks: None };
            bonds.by_pasid.insert(bond.key(), entry);
            process_directory::publish(&self.hardware, slot, table, pscid);
            Ok(())
        });
        if let Some(pscid) = unused {
            self.pscids.free(pscid);
        }
        if unmuted {
            let forget = Command::IodirInvalDdt { did: Some(device_id) };
            if let Err(error) = self.commands.execute(core::iter::once(forget)) {
                log::warn!("device {device_id:#x}: its faults may go on being dropped: {error}");
            }
        }
        result
    }

    /// The next bond whose `mm_exit` has to be called, marked as exited.
    fn next_exit(&self, pasid: Pasid) -> Option<Call> {
        let mut bonds = self.bonds.lock(self.platform());
        let bonds = &mut *bonds;
        for ((_, device_id), entry) in bonds.by_pasid.range((pasid, 0)..=(pasid, u32::MAX)) {
            if !entry.bond.set_exited() {
                continue;
            }
            self.hardware.counters.mm_exits.add(1);
            if let Some(link) = bonds.links.get_mut(*device_id) {
                link.alive = link.alive.saturating_sub(1);
                link.dead += 1;
            }
            if entry.callbacks.is_some() {
                return Some(Call::begin_exit(&entry.bond, entry.callbacks.as_ref()));
            }
        }
        None
    }

    /// Whether an `mm_exit` of this address space is running.
    fn is_exiting(&self, pasid: Pasid) -> bool {
        let bonds = self.bonds.lock(self.platform());
        let graves = bonds.graves.iter().map(|grave| &grave.entry.bond);
        let entries = bonds.of(pasid).iter().map(|(_, entry)| &entry.bond);
        entries.chain(graves).any(|bond| bond.pasid() == pasid && bond.is_exiting())
    }

    /// Bonds whose `mm_exit` has run call nobody any more: what they were given for that goes, with no lock held. Handles
    /// may go with it.
    fn let_go_of_callbacks(&self, pasid: Pasid) {
        let mut next = Some(0);
        while let Some(first) = next {
            let callbacks;
            (callbacks, next) = {
                let mut bonds = self.bonds.lock(self.platform());
                let candidates = bonds.by_pasid.range((pasid, first)..=(pasid, u32::MAX));
                let found = candidates.iter().find_map(|((_, device_id), entry)| {
                    let over = entry.bond.mm_exited() && !entry.bond.is_exiting();
                    (over && entry.callbacks.is_some()).then_some(*device_id)
                });
                let entry = found.and_then(|device_id| bonds.by_pasid.get_mut((pasid, device_id)));
                (entry.and_then(|entry| entry.callbacks.take()), found)
            };
            drop(callbacks);
        }
    }

    /// Points the contexts of an mm that has exited to an empty page table. Never to Bare, which lets DMA
    /// pass.
    fn detach(&self, mm: &dyn Mm, pasid: Pasid) -> Result<(), CommandError> {
        let table = PageTable { mode: mm.page_table().mode, root: self.empty_root };
        let (space, since) = {
            let mut bonds = self.bonds.lock(self.platform());
            let since = bonds.now();
            (bonds.spaces.get(pasid).map(|space| (space.pscid, space.claim.is_some())), since)
        };
        let Some((pscid, unconfirmed)) = space else { return Ok(()) };
        let mut next = Some(0);
        while let Some(first) = next {
            let (commands, count);
            (commands, count, next) = self.detach_some(pasid, first, table);
            if count > 0 {
                self.commands.execute(commands.into_iter().take(count))?;
            }
        }
        if unconfirmed {
            // Contexts of bonds that are gone may be cached as well.
            self.commands.execute(core::iter::once(Command::IodirInvalDdt { did: None }))?;
        }
        self.commands.execute(core::iter::once(whole(pscid)))?;
        self.invalidate_caches(pasid, EVERYTHING)?;
        log::debug!("PASID {pasid}: the address space has exited");
        if unconfirmed {
            self.bonds.lock(self.platform()).space_forgotten(pasid, since);
            self.release_claims();
        }
        Ok(())
    }

    /// The same for a few bonds, of devices from `first` on. Returns what the IOMMU has to forget, how many commands
    /// that is, and where to go on.
    fn detach_some(
        &self,
        pasid: Pasid,
        first: u32,
        table: PageTable,
    ) -> ([Command; DETACHED], usize, Option<u32>) {
        let mut commands = [Command::IodirInvalDdt { did: None }; DETACHED];
        let mut count = 0;
        let mut bonds = self.bonds.lock(self.platform());
        let bonds = &mut *bonds;
        let Some(pscid) = bonds.spaces.get(pasid).map(|space| space.pscid) else {
            return (commands, 0, None);
        };
        for ((_, device_id), entry) in bonds.by_pasid.range((pasid, first)..=(pasid, u32::MAX)) {
            if count + 2 > DETACHED {
                return (commands, count, Some(*device_id));
            }
            process_directory::publish(&self.hardware, entry.slot, table, pscid);
            commands[count] = Command::IodirInvalPdt { did: *device_id, pid: pasid.get() };
            count += 1;
            if bonds.links.get_mut(*device_id).is_some_and(|link| link.mute(&self.hardware)) {
                commands[count] = Command::IodirInvalDdt { did: Some(*device_id) };
                count += 1;
            }
        }
        (commands, count, None)
    }

    pub(crate) fn is_cut_off(&self, device_id: u32) -> bool {
        self.bonds.lock(self.platform()).links.get(device_id).is_some_and(|link| link.cut_off)
    }

    pub(crate) fn set_ops(&self, bond: &Bond, callbacks: Callbacks) -> Result<(), SetOpsError> {
        let mut bonds = self.bonds.lock(self.platform());
        // A handle's bond is in the table: it is taken out with the last handle.
        let Some(entry) = bonds.by_pasid.get_mut(bond.key()) else { return Err(SetOpsError::MmExited) };
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
    pub(crate) fn unbind(&self, bond: &Shared<Bond>) {
        let (pasid, device_id) = bond.key();
        let Some((entry, newest)) = self.tear_down(bond) else { return };
        let platform = self.platform();
        if self.running.is_inside(platform) {
            // Nobody waits for what could be waiting for this.
            self.bonds.lock(platform).graves.push(Grave { entry, newest });
        } else {
            while bond.callbacks_running() || self.is_resolving(device_id, pasid, newest) {
                platform.relax();
            }
            self.bury(entry);
        }
        self.reap();
        self.receive_faults();
    }

    /// The part of an unbind that the device's turn is held for: everything up to the wait for callbacks. `None` if
    /// there are more handles.
    fn tear_down(&self, bond: &Shared<Bond>) -> Option<(BondEntry, u64)> {
        let (pasid, device_id) = bond.key();
        let device = self.device(device_id)?;
        let _turn = device.turn.take(self.platform());
        let claim = bond.mm().sva().assigned(self.platform());
        let mut commands = [whole(0), whole(0), Command::IodirInvalDdt { did: Some(device_id) }];
        let mut count = 2;
        let (entry, cache, wipes) = {
            let mut bonds = self.bonds.lock(self.platform());
            let bonds = &mut *bonds;
            let known = bonds.by_pasid.get_mut(bond.key())?;
            known.binds -= 1;
            if known.binds > 0 {
                return None;
            }
            // No new callback from here on. The space stays, and with it the PSCID, and the device goes on
            // hearing of invalidations.
            let entry = bonds.by_pasid.remove(bond.key())?;
            process_directory::retract(&self.hardware, entry.slot);
            commands[0] = Command::IodirInvalPdt { did: device_id, pid: pasid.get() };
            commands[1] = whole(bonds.spaces.get(pasid).map_or(0, |space| space.pscid));
            let mut cache = None;
            if let Some(link) = bonds.links.get_mut(device_id) {
                let which = if bond.mm_exited() { &mut link.dead } else { &mut link.alive };
                *which = which.saturating_sub(1);
                count += usize::from(link.mute(&self.hardware));
                let cached = bonds.caches.get(bond.key()).filter(|_| !link.cut_off);
                cache = cached.and_then(|cached| cached.requester);
            }
            (entry, cache, bonds.wipes)
        };
        let mut result = self.commands.execute(commands.into_iter().take(count));
        let confirmed = result.is_ok();
        if let (Ok(()), Some(requester)) = (result, cache) {
            self.hardware.counters.device_invalidations.add(1);
            let command = requester.invalidate(Some(pasid.get()), EVERYTHING.encode());
            result = self.invalidate_device(device_id, command);
        }
        {
            let mut bonds = self.bonds.lock(self.platform());
            // A reset since then has made the IOMMU forget as well.
            let forgotten = confirmed || bonds.wipes != wipes;
            let device = bonds.caches.get(bond.key()).is_some_and(|cached| cached.requester.is_some());
            if result.is_ok() || forgotten && !device {
                bonds.caches.remove(bond.key());
            } else {
                bonds.leave(bond.key(), !forgotten, claim);
            }
        }
        self.release_claims();
        if let Err(error) = result {
            log::error!("device {device_id:#x}, PASID {pasid}: unbind was not confirmed: {error}");
        }
        // What the device had asked for is in the queue now: the fence came after it.
        let newest = self.drain_bond(device_id, pasid);
        Some((entry, newest))
    }

    /// The end of a bond, of which no callback runs any more.
    fn bury(&self, entry: BondEntry) {
        let (pasid, device_id) = entry.bond.key();
        let pscid = self.bonds.lock(self.platform()).leave_space(pasid);
        if let Some(pscid) = pscid {
            self.pscids.free(pscid);
        }
        self.hardware.counters.unbinds.add(1);
        log::debug!("device {device_id:#x}: unbound, PASID {pasid}");
        // The device driver's data goes with no lock held, as its destructor may do anything.
        drop(entry);
    }

    /// Buries bonds that were unbound from within a callback, once their callbacks have returned. Called by
    /// everything that runs in ordinary threads.
    pub(crate) fn reap(&self) {
        let mut at = 0;
        loop {
            let (bond, newest) = {
                let bonds = self.bonds.lock(self.platform());
                let Some(grave) = bonds.graves.get(at) else { return };
                (grave.entry.bond.clone(), grave.newest)
            };
            let (pasid, device_id) = bond.key();
            // None begins any more.
            if bond.callbacks_running() || self.is_resolving(device_id, pasid, newest) {
                at += 1;
                continue;
            }
            let grave = {
                let mut bonds = self.bonds.lock(self.platform());
                let place = bonds.graves.iter().position(|grave| Shared::same(&grave.entry.bond, &bond));
                place.map(|place| bonds.graves.swap_remove(place))
            };
            if let Some(grave) = grave {
                self.bury(grave.entry);
            }
        }
    }
}

/// How many commands a step of [`Inner::detach`] makes at most: what fits the smallest queue, fence included.
const DETACHED: usize = 6;

/// PSCIDs have 20 bits.
const PSCID_MAX: u32 = (1 << 20) - 1;
