//! The process directory of one device: one process context per address space that the device is bound to.

use crate::{
    capabilities::Capabilities,
    directory::{self, Directory, Layout},
    hardware::Hardware,
    mm::{PageTable, PageTableMode},
    pasid::Pasid,
    shared::{OutOfMemory, Shared},
};
use pasidon_spec::{
    ddt::dc,
    page_table::iosatp_mode,
    pdt::{self, pc, pdte, pdtp_mode},
};

/// The modes by number of levels, which is one more than the position.
const MODES: [u64; 3] = [pdtp_mode::PD8, pdtp_mode::PD17, pdtp_mode::PD20];

pub(crate) struct ProcessDirectory {
    tree: Directory,
    mode: u64,
}

/// Where a process context is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ContextSlot(u64);

/// The mode for PASIDs of `width` bits: the fewest levels that hold them, or else the most that the IOMMU
/// has. Returns the number of levels.
pub(crate) fn levels_for(capabilities: Capabilities, width: u32) -> Option<usize> {
    let supported = |levels: &usize| capabilities.process_directory(*levels);
    (1..=MODES.len())
        .filter(supported)
        .find(|&levels| u32::from(pdt::process_id_bits(levels)) >= width)
        .or_else(|| (1..=MODES.len()).rev().find(supported))
}

impl ProcessDirectory {
    /// An empty directory of 1 to 3 levels.
    pub(crate) fn new(hardware: &Shared<Hardware>, levels: usize) -> Result<Self, OutOfMemory> {
        let layout = Layout {
            levels: &pdt::PDI[..levels],
            leaf_bytes: pdt::PC_BYTES,
            node_bytes: pdt::PDTE_BYTES,
            valid: pdte::V,
            ppn: pdte::PPN,
        };
        let tree = Directory::new(hardware, layout)?;
        Ok(Self { tree, mode: MODES[levels - 1] })
    }

    /// `DC.fsc`: the process-directory pointer.
    pub(crate) fn pointer(&self) -> u64 {
        dc::fsc::MODE.of(self.mode) | dc::fsc::PPN.of(self.tree.root_ppn())
    }

    /// The place of a PASID's context. Tables on the way are added.
    pub(crate) fn slot(&mut self, pasid: Pasid) -> Result<ContextSlot, OutOfMemory> {
        self.tree.slot(pasid.get()).map(ContextSlot)
    }

    /// See [`Directory::leak`].
    pub(crate) fn leak(self) {
        self.tree.leak();
    }
}

/// Writes a context that translates through `table`, with cached translations tagged `pscid`.
///
/// Only user privilege: supervisor requests with this PASID are refused (`ENS` is 0).
pub(crate) fn publish(hardware: &Hardware, slot: ContextSlot, table: PageTable, pscid: u32) {
    let attributes = pc::ta::V.of(1) | pc::ta::PSCID.of(pscid.into());
    let context =
        pc::fsc::MODE.of(encoding(table.mode)) | pc::fsc::PPN.of(table.root / crate::hardware::PAGE as u64);
    directory::write_context(hardware, slot.0, pc::ta::V, &[attributes, context]);
}

/// Makes a context invalid in memory. The IOMMU may still have it cached.
pub(crate) fn retract(hardware: &Hardware, slot: ContextSlot) {
    directory::invalidate_context(hardware, slot.0, pc::ta::V);
}

fn encoding(mode: PageTableMode) -> u64 {
    match mode {
        PageTableMode::Sv39 => iosatp_mode::SV39,
        PageTableMode::Sv48 => iosatp_mode::SV48,
        PageTableMode::Sv57 => iosatp_mode::SV57,
    }
}
