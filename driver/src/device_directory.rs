//! The device directory: one device context per device enabled, and the IOMMU's mode.

use crate::{
    capabilities::Capabilities,
    directory::{self, Directory, Layout},
    error::InitError,
    hardware::{Hardware, PAGE, Region, TimedOut},
    shared::{OutOfMemory, Shared},
};
use pasidon_spec::{
    ddt::{self, dc, ddte, iommu_mode},
    registers::ddtp,
};

const MODES: [u64; 3] = [iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3];

/// Doublewords of a device context in the extended format.
const EXT_WORDS: usize = (ddt::EXT_DC_BYTES / 8) as usize;

pub(crate) struct DeviceDirectory {
    hardware: Shared<Hardware>,
    tree: Option<Directory>,
    context_bytes: u64,
    mode: u64,
}

impl DeviceDirectory {
    /// Builds an empty directory of the fewest levels that the IOMMU supports for device ids of `width` bits.
    /// The IOMMU, which is Off, is not told of it yet.
    ///
    /// Which modes there are is found out by trying: a mode that is not supported does not stay in `ddtp`.
    /// The IOMMU goes back to Off after each trial, and the directory is empty, so that no transaction passes
    /// meanwhile.
    pub(crate) fn new(
        hardware: &Shared<Hardware>,
        capabilities: Capabilities,
        width: u32,
    ) -> Result<Self, InitError> {
        let extended = capabilities.extended_contexts();
        let (slices, context_bytes) =
            if extended { (&ddt::EXT_DDI, ddt::EXT_DC_BYTES) } else { (&ddt::BASE_DDI, ddt::BASE_DC_BYTES) };
        for (levels, mode) in (1..).zip(MODES) {
            if u32::from(ddt::device_id_bits(extended, levels)) < width {
                continue;
            }
            let layout = Layout {
                levels: &slices[..levels],
                leaf_bytes: context_bytes,
                node_bytes: ddt::DDTE_BYTES,
                valid: ddte::V,
                ppn: ddte::PPN,
            };
            let root = root(hardware)?;
            let tree = Directory::with_root(hardware, layout, root).map_err(|_| InitError::OutOfMemory)?;
            let ppn = tree.root_ppn();
            let directory = Self { hardware: hardware.clone(), tree: Some(tree), context_bytes, mode };
            let accepted = directory.switch_on()?;
            switch_off(hardware).map_err(|_| InitError::Timeout("directory mode"))?;
            if ddtp::IOMMU_MODE.get(accepted) == mode {
                if ddtp::PPN.get(accepted) != ppn {
                    return Err(InitError::Rejected("device directory"));
                }
                return Ok(directory);
            }
        }
        Err(InitError::DeviceIdWidth(width))
    }

    /// Enters the directory's mode. Returns what `ddtp` reads then.
    pub(crate) fn switch_on(&self) -> Result<u64, InitError> {
        let Some(tree) = &self.tree else { return Err(InitError::Rejected("device directory")) };
        let value = ddtp::IOMMU_MODE.of(self.mode) | ddtp::PPN.of(tree.root_ppn());
        self.hardware.write(&ddtp::REG, value);
        self.hardware
            .wait(&ddtp::REG, |v| !ddtp::BUSY.is_set(v))
            .map_err(|_| InitError::Timeout("directory mode"))
    }

    /// Enters the directory's mode, which the IOMMU is known to have.
    pub(crate) fn enter(&self) -> Result<(), InitError> {
        let accepted = self.switch_on()?;
        let root = self.tree.as_ref().map(Directory::root_ppn);
        if ddtp::IOMMU_MODE.get(accepted) != self.mode || Some(ddtp::PPN.get(accepted)) != root {
            return Err(InitError::Rejected("device directory"));
        }
        self.hardware.mode.store(self.mode as usize, core::sync::atomic::Ordering::SeqCst);
        Ok(())
    }

    /// The address of a device's context.
    pub(crate) fn slot(&mut self, device_id: u32) -> Result<u64, OutOfMemory> {
        self.tree.as_mut().ok_or(OutOfMemory)?.slot(device_id)
    }

    /// Makes a context valid that sends requests through the process directory that `processes` points to.
    ///
    /// Requests without a PASID are treated as PASID 0, which is never valid, so they fault. With
    /// `pass_untagged` they pass untranslated instead. With `update_ad` the IOMMU sets the A and D bits of page
    /// tables itself. Returns the word that [`control`] changes.
    pub(crate) fn publish(&self, slot: u64, processes: u64, pass_untagged: bool, update_ad: bool) -> u64 {
        let mut words = [0; EXT_WORDS];
        words[word(dc::tc::OFFSET)] = dc::tc::V.of(1)
            | dc::tc::PDTV.of(1)
            | dc::tc::DPE.of((!pass_untagged).into())
            | dc::tc::SADE.of(update_ad.into());
        words[word(dc::fsc::OFFSET)] = processes;
        let count = word(self.context_bytes);
        directory::write_context(&self.hardware, slot, dc::tc::V, &words[..count]);
        words[word(dc::tc::OFFSET)]
    }
}

/// Changes what a device may do, by one store to the context's first doubleword, which is never torn. The
/// IOMMU may still have the old value cached.
pub(crate) fn control(hardware: &Hardware, slot: u64, value: u64) {
    hardware.store(slot + dc::tc::OFFSET, value);
    hardware.platform.fence();
}

/// Makes a context invalid in memory. The IOMMU may still have it cached.
pub(crate) fn retract(hardware: &Hardware, slot: u64) {
    directory::invalidate_context(hardware, slot, dc::tc::V);
}

impl Drop for DeviceDirectory {
    fn drop(&mut self) {
        let off = switch_off(&self.hardware).is_ok();
        if let Some(tree) = self.tree.take()
            && !off
        {
            tree.leak();
        }
    }
}

/// An empty root page for a directory of the IOMMU, which is Off: memory of the platform, or that in which the IOMMU
/// has its root if it can't be told where it is. That is found out before any mode is entered, in which what it holds
/// from before would count.
fn root(hardware: &Shared<Hardware>) -> Result<Region, InitError> {
    let own = Hardware::alloc_zeroed(hardware, PAGE).ok_or(InitError::OutOfMemory)?;
    hardware.write(&ddtp::REG, ddtp::IOMMU_MODE.of(iommu_mode::OFF) | ddtp::PPN.of(own.ppn()));
    let value = hardware
        .wait(&ddtp::REG, |v| !ddtp::BUSY.is_set(v))
        .map_err(|_| InitError::Timeout("directory mode"))?;
    match ddtp::PPN.get(value) {
        // The page number does not matter to it while it is Off.
        0 => Ok(own),
        ppn => Hardware::granted(own, ppn).ok_or(InitError::Rejected("device directory")),
    }
}

/// Index of the doubleword at a byte offset.
const fn word(offset: u64) -> usize {
    (offset / 8) as usize
}

/// Sets the mode to Off, in which every transaction is aborted; once this succeeds, those in flight are done.
pub(crate) fn switch_off(hardware: &Hardware) -> Result<(), TimedOut> {
    let current = hardware.wait(&ddtp::REG, |v| !ddtp::BUSY.is_set(v))?;
    // The page number must not change in the transition to Off.
    hardware.write(&ddtp::REG, ddtp::IOMMU_MODE.set(current, iommu_mode::OFF));
    hardware.wait(&ddtp::REG, |v| !ddtp::BUSY.is_set(v) && ddtp::IOMMU_MODE.get(v) == iommu_mode::OFF)?;
    Ok(())
}
