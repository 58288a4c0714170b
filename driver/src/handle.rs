//! What a bind gives to its caller.

use crate::{
    bond::{Bond, Callbacks, DrvData, SvaOps},
    error::SetOpsError,
    iommu::Inner,
    shared::Shared,
};
use alloc::sync::Arc;
use core::fmt;

/// One successful bind: owns its share of a [`Bond`], and dereferences to it.
///
/// Dropping a handle unbinds. The device driver always does so in the end, also after the address space has
/// exited. A handle keeps its IOMMU and its mm alive.
pub struct Handle {
    pub(crate) iommu: Shared<Inner>,
    pub(crate) bond: Shared<Bond>,
}

impl Handle {
    /// Attaches callbacks to the bond, shared by all its handles. The bond refers to `ops` and `drvdata` until its last
    /// unbind or the exit of its mm has returned, whichever comes first.
    ///
    /// Does nothing if these very `ops` and `drvdata` are attached already.
    ///
    /// `drvdata` (or `ops`) may own this handle, or others. If nobody else refers to it, the bond holds what holds the
    /// bond: nobody can unbind it, and it lasts until its mm exits, which lets go of the data and so unbinds. A driver whose
    /// data is like that makes the device stop for good in [`SvaOps::mm_exit`], before that returns, as before any
    /// unbind; and one that wants to unbind earlier (its device is going away, say) takes the handle out of the data, or
    /// keeps a reference to it.
    ///
    /// # Errors
    /// [`SetOpsError::AlreadySet`] if others are attached; [`SetOpsError::MmExited`] if it is too late.
    pub fn set_ops(&self, ops: Arc<dyn SvaOps>, drvdata: DrvData) -> Result<(), SetOpsError> {
        self.iommu.set_ops(&self.bond, Callbacks { ops, drvdata })
    }

    /// Gives the bind back. The last unbind of a bond tears it down; dropping the handle does the same.
    ///
    /// Before the last unbind the device driver must have told the device to stop using the PASID, and must
    /// have made sure that what the device had issued has reached the IOMMU (on PCIe: read from the device).
    ///
    /// When the last unbind returns, the device can't reach the address space and no callback runs or will
    /// run; unbind waits for those that are running. From within a callback it does not: see [`SvaOps`]. It can't
    /// fail: if the IOMMU does not confirm in time, that is logged, and PASID and PSCID are not used for another
    /// mm before it is known that they are forgotten: after the mm's exit, [`crate::Iommu::resume`] or
    /// [`crate::Iommu::reset`], a later unbind of the same pair, or once the device is reinstated or disabled, or
    /// the IOMMU Off for good.
    pub fn unbind(self) {
        drop(self);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.iommu.unbind(&self.bond);
    }
}

impl core::ops::Deref for Handle {
    type Target = Bond;
    fn deref(&self) -> &Bond {
        &self.bond
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&*self.bond).finish()
    }
}
