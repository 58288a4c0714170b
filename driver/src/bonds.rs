//! What callbacks, invalidations and faults look up: devices, address spaces, and the bonds between them.

use crate::{
    bond::{Bond, Callbacks},
    device_directory,
    hardware::Hardware,
    lock::Turn,
    map::{Map, Spare},
    mm::Assigned,
    pasid::Pasid,
    process_directory::{ContextSlot, ProcessDirectory},
    requester::Requester,
    shared::{OutOfMemory, Shared},
};
use alloc::vec::Vec;
use pasidon_spec::ddt::dc::tc;

/// Everything in here is looked at under one lock.
pub(crate) struct Bonds {
    pub(crate) links: Map<u32, Link>,
    /// What may be cached of bonds, including those that are gone.
    pub(crate) caches: Map<(Pasid, u32), Cached>,
    pub(crate) by_pasid: Map<(Pasid, u32), BondEntry>,
    pub(crate) spaces: Map<Pasid, Space>,
    /// Bonds that were unbound from within a callback while callbacks of theirs ran: see [`reap`](crate::iommu::Inner::reap).
    pub(crate) graves: Vec<Grave>,
    /// Address spaces with a claim.
    claims: usize,
    /// How often something was left behind.
    left: u64,
    /// How often the IOMMU has forgotten everything while it was Off.
    pub(crate) wipes: u64,
}

/// What the IOMMU, and the device if it has ATS, may have cached of a bond. It outlives the bond if they did not confirm
/// that they have forgotten it, and the address space's PASID and PSCID are nobody else's meanwhile.
pub(crate) struct Cached {
    /// How to reach the device, if it may have translations of its own.
    pub(crate) requester: Option<Requester>,
    pub(crate) left: Left,
}

/// Where something is left of a bond that is gone, and since when, as a number that grows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// There is the bond, or its unbind is under way.
    Bound,
    /// The IOMMU may have the context and translations, and the device too.
    Everywhere(u64),
    /// The device may have translations.
    Device(u64),
}

/// A device that is enabled.
pub(crate) struct Link {
    pub(crate) device: Shared<Device>,
    /// Where its context is.
    pub(crate) context: u64,
    /// The context's first doubleword, while the device is neither cut off nor being rewritten.
    pub(crate) control: u64,
    /// How to reach it, if it has ATS.
    pub(crate) ats: Option<Requester>,
    /// Its context is invalid, whatever `control` says.
    pub(crate) cut_off: bool,
    /// Its context is invalid until what it may do has been changed.
    pub(crate) rewriting: bool,
    /// How often it was cut off.
    pub(crate) cuts: usize,
    /// Bonds whose address spaces are alive.
    pub(crate) alive: usize,
    /// Bonds whose address spaces have exited.
    pub(crate) dead: usize,
    /// Records of address spaces that have exited, since the fault queue was empty for the time of this number.
    pub(crate) suppressed: (u64, usize),
    /// It has filled the fault queue with those.
    pub(crate) flooding: bool,
}

/// What an operation on a device takes turns for.
pub(crate) struct Device {
    /// The largest PASID that the device can use.
    pub(crate) pasid_limit: u32,
    pub(crate) turn: Turn<DeviceTables>,
}

/// A device's own tables.
pub(crate) struct DeviceTables {
    /// `None`: it was disabled.
    pub(crate) processes: Option<ProcessDirectory>,
    /// It is being disabled: the IOMMU has yet to confirm that it has forgotten the device.
    pub(crate) leaving: bool,
}

/// A bond and what may change about it.
pub(crate) struct BondEntry {
    pub(crate) bond: Shared<Bond>,
    /// Handles.
    pub(crate) binds: usize,
    pub(crate) slot: ContextSlot,
    pub(crate) callbacks: Option<Callbacks>,
}

/// A bond that is no more, but for callbacks that are still running.
pub(crate) struct Grave {
    pub(crate) entry: BondEntry,
    /// Groups of page requests up to this one may be about it.
    pub(crate) newest: u64,
}

/// An mm that this IOMMU may have translations of.
pub(crate) struct Space {
    pub(crate) pscid: u32,
    /// Bonds, including those that are being torn down.
    pub(crate) users: usize,
    /// Something is left of a bond that is gone: the PASID stays what it was.
    pub(crate) claim: Option<Shared<Assigned>>,
}

/// Memory for one more of everything.
pub(crate) struct Room {
    links: Spare<u32, Link>,
    caches: Spare<(Pasid, u32), Cached>,
    by_pasid: Spare<(Pasid, u32), BondEntry>,
    spaces: Spare<Pasid, Space>,
    graves: Vec<Grave>,
}

/// How much memory to set aside, in entries.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    links: Option<usize>,
    caches: Option<usize>,
    by_pasid: Option<usize>,
    spaces: Option<usize>,
    graves: Option<usize>,
}

impl Wanted {
    pub(crate) const NOTHING: Self =
        Self { links: None, caches: None, by_pasid: None, spaces: None, graves: None };
}

impl Room {
    pub(crate) fn new(wanted: Wanted) -> Result<Self, OutOfMemory> {
        let mut graves = Vec::new();
        graves.try_reserve_exact(wanted.graves.unwrap_or(0)).map_err(|_| OutOfMemory)?;
        Ok(Self {
            links: Spare::new(wanted.links)?,
            caches: Spare::new(wanted.caches)?,
            by_pasid: Spare::new(wanted.by_pasid)?,
            spaces: Spare::new(wanted.spaces)?,
            graves,
        })
    }
}

impl Bonds {
    pub(crate) const fn new() -> Self {
        Self {
            links: Map::new(),
            caches: Map::new(),
            by_pasid: Map::new(),
            spaces: Map::new(),
            graves: Vec::new(),
            claims: 0,
            left: 0,
            wipes: 0,
        }
    }

    pub(crate) fn wants(&self) -> Wanted {
        // Every bond can come to lie in a grave.
        let graves = self.by_pasid.len() + self.graves.len() + 1;
        Wanted {
            links: self.links.lacks(),
            caches: self.caches.lacks(),
            by_pasid: self.by_pasid.lacks(),
            spaces: self.spaces.lacks(),
            graves: (graves > self.graves.capacity()).then_some(2 * graves),
        }
    }

    pub(crate) fn move_into(&mut self, room: &mut Room) {
        self.links.move_into(&mut room.links);
        self.caches.move_into(&mut room.caches);
        self.by_pasid.move_into(&mut room.by_pasid);
        self.spaces.move_into(&mut room.spaces);
        if room.graves.capacity() > self.graves.capacity() {
            room.graves.append(&mut self.graves);
            core::mem::swap(&mut self.graves, &mut room.graves);
        }
    }

    /// The bonds of an address space, in the order of their devices.
    pub(crate) fn of(&self, pasid: Pasid) -> &[((Pasid, u32), BondEntry)] {
        self.by_pasid.range((pasid, 0)..=(pasid, u32::MAX))
    }

    /// An address space has one bond less. Returns its PSCID if that can be used again.
    pub(crate) fn leave_space(&mut self, pasid: Pasid) -> Option<u32> {
        let space = self.spaces.get_mut(pasid)?;
        space.users = space.users.saturating_sub(1);
        let unused = space.users == 0 && space.claim.is_none();
        if unused { self.spaces.remove(pasid).map(|space| space.pscid) } else { None }
    }

    /// A bond is gone and this is left of it.
    pub(crate) fn leave(&mut self, key: (Pasid, u32), iommu: bool, claim: Option<Shared<Assigned>>) {
        let since = self.now();
        let (Some(space), Some(cached)) = (self.spaces.get_mut(key.0), self.caches.get_mut(key)) else {
            return;
        };
        cached.left = if iommu { Left::Everywhere(since) } else { Left::Device(since) };
        if space.claim.is_none() && claim.is_some() {
            space.claim = claim;
            self.claims += 1;
        }
    }

    /// Later than everything that was left so far, and not later than what will be.
    pub(crate) fn now(&mut self) -> u64 {
        self.left += 1;
        self.left
    }

    /// The IOMMU is Off and has forgotten everything.
    pub(crate) fn wiped(&mut self) {
        self.wipes += 1;
        self.caches.retain(|_, cached| cached.iommu_forgot());
    }

    /// The IOMMU has forgotten a device's contexts. The device's turn is held: no unbind is under way.
    pub(crate) fn contexts_forgotten(&mut self, device_id: u32) {
        self.caches.retain(|(_, device), cached| device != device_id || cached.iommu_forgot());
    }

    /// A device has forgotten everything that was left to it before `since`.
    pub(crate) fn device_forgot(&mut self, device_id: u32, since: u64) {
        self.caches.retain(|(_, device), cached| {
            device != device_id || !matches!(cached.left, Left::Device(left) if left < since)
        });
    }

    /// Everybody has forgotten what was left of an address space before `since`.
    pub(crate) fn space_forgotten(&mut self, pasid: Pasid, since: u64) {
        self.caches.retain(|(space, _), cached| match cached.left {
            Left::Everywhere(left) | Left::Device(left) => space != pasid || left >= since,
            Left::Bound => true,
        });
    }

    /// Whether something is left to a device.
    pub(crate) fn is_left_to(&self, device_id: u32) -> bool {
        self.claims > 0
            && self
                .caches
                .iter()
                .any(|((_, device), cached)| device == device_id && matches!(cached.left, Left::Device(_)))
    }

    /// Gives up the claim on an address space of which nothing is left any more, if there is one; and its PSCID, if it
    /// has no bonds.
    pub(crate) fn give_up_claim(&mut self) -> Option<(Shared<Assigned>, Option<u32>)> {
        if self.claims == 0 {
            return None;
        }
        let caches = &self.caches;
        let is_free = |pasid, space: &Space| {
            let left = caches.range((pasid, 0)..=(pasid, u32::MAX));
            space.claim.is_some() && left.iter().all(|(_, cached)| cached.left == Left::Bound)
        };
        let pasid = self.spaces.iter().find_map(|(pasid, space)| is_free(pasid, space).then_some(pasid))?;
        let space = self.spaces.get_mut(pasid)?;
        let (claim, unused) = (space.claim.take()?, space.users == 0);
        self.claims -= 1;
        let pscid = if unused { self.spaces.remove(pasid).map(|space| space.pscid) } else { None };
        Some((claim, pscid))
    }
}

impl Cached {
    /// The IOMMU has forgotten what it had of this. Whether something is left.
    fn iommu_forgot(&mut self) -> bool {
        if let Left::Everywhere(since) = self.left {
            self.left = Left::Device(since);
            return self.requester.is_some();
        }
        true
    }
}

impl Link {
    /// Of a device with this context and no bonds.
    pub(crate) fn new(device: Shared<Device>, context: u64, control: u64) -> Self {
        Self {
            device,
            context,
            control,
            ats: None,
            cut_off: false,
            rewriting: false,
            cuts: 0,
            alive: 0,
            dead: 0,
            suppressed: (0, 0),
            flooding: false,
        }
    }

    /// Writes what the device may do, unless its context is to be invalid. By one store, which is never torn; the
    /// IOMMU may still have the old value cached.
    pub(crate) fn write(&self, hardware: &Hardware) {
        if !self.cut_off && !self.rewriting {
            device_directory::control(hardware, self.context, self.control);
        }
    }

    /// Has faults of a device recorded or not: not if all its address spaces have exited, or it has filled the
    /// queue with faults in those that have. Returns whether that has changed something that the IOMMU may have
    /// cached.
    pub(crate) fn mute(&mut self, hardware: &Hardware) -> bool {
        self.flooding &= self.dead > 0;
        let mute = self.flooding || self.dead > 0 && self.alive == 0;
        if tc::DTF.is_set(self.control) == mute {
            return false;
        }
        self.control = tc::DTF.set(self.control, mute.into());
        self.write(hardware);
        hardware.counters.devices_muted.add(mute.into());
        true
    }

    /// How many address spaces the device is bound to.
    pub(crate) fn bonds(&self) -> usize {
        self.alive + self.dead
    }
}
