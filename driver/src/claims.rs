//! Memory and identifiers of bonds: room for one more bond before it is made, and release of what a bond held.

use crate::{
    bonds::{Bonds, Device, Room, Wanted},
    iommu::Inner,
    lock::Guard,
    shared::{OutOfMemory, Shared},
};

impl Inner {
    /// The bonds, with room for one more of everything. What that takes is allocated, and returned, while the lock
    /// is free.
    pub(crate) fn bonds_with_room(&self) -> Result<Guard<'_, Bonds>, OutOfMemory> {
        loop {
            let wanted = {
                let bonds = self.bonds.lock(self.platform());
                let wanted = bonds.wants();
                if wanted == Wanted::NOTHING {
                    return Ok(bonds);
                }
                wanted
            };
            let mut room = Room::new(wanted)?;
            self.bonds.lock(self.platform()).move_into(&mut room);
        }
    }

    /// Lets go of PASIDs and PSCIDs of which nothing is left. Called where something was confirmed, in ordinary threads:
    /// memory is returned, while no lock is held.
    pub(crate) fn release_claims(&self) {
        loop {
            let Some((claim, pscid)) = self.bonds.lock(self.platform()).give_up_claim() else { return };
            if let Some(pscid) = pscid {
                self.pscids.free(pscid);
            }
            drop(claim);
        }
    }

    /// The device with this id, if it is enabled.
    pub(crate) fn device(&self, device_id: u32) -> Option<Shared<Device>> {
        self.bonds.lock(self.platform()).links.get(device_id).map(|link| link.device.clone())
    }
}
