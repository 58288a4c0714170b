//! Directories and page tables in the rig's memory, entry by entry.

use crate::rig::Rig;
use pasidon_spec::ddt::{
    BASE_DC_BYTES, BASE_DDI, DeviceContext, EXT_DC_BYTES, EXT_DDI, dc, ddte, iommu_mode,
};
use pasidon_spec::page_table::{Geometry, pte};
use pasidon_spec::pdt::{PC_BYTES, PDI, ProcessContext, pc, pdte, pdtp_mode};

/// Bits of a leaf, in place, under the names that the Privileged specification gives them.
pub mod bits {
    use super::pte;
    /// Valid.
    pub const V: u64 = pte::V.mask();
    /// Readable.
    pub const R: u64 = pte::R.mask();
    /// Writable.
    pub const W: u64 = pte::W.mask();
    /// Executable.
    pub const X: u64 = pte::X.mask();
    /// User.
    pub const U: u64 = pte::U.mask();
    /// Global.
    pub const G: u64 = pte::G.mask();
    /// Accessed.
    pub const A: u64 = pte::A.mask();
    /// Dirty.
    pub const D: u64 = pte::D.mask();
    /// NAPOT.
    pub const N: u64 = pte::N.mask();
    /// A user page with every permission, accessed and dirty.
    pub const ALL: u64 = V | R | W | X | U | A | D;
}

/// An entry for physical address `address` with these bits.
pub fn entry(address: u64, flags: u64) -> u64 {
    pte::PPN.of(address >> 12) | flags
}

/// A first-stage or process-directory pointer: mode and root address. `DC.fsc` and `PC.fsc` have one layout.
pub fn pointer(mode: u64, root: u64) -> u64 {
    dc::fsc::MODE.of(mode) | dc::fsc::PPN.of(root >> 12)
}

/// A valid device context without a process directory.
pub fn plain_dc(fsc: u64, pscid: u32) -> DeviceContext {
    DeviceContext { tc: dc::tc::V.of(1), ta: dc::ta::PSCID.of(pscid.into()), fsc, ..DeviceContext::default() }
}

/// A valid device context with a process directory.
pub fn process_dc(pdtp: u64) -> DeviceContext {
    DeviceContext { tc: dc::tc::V.of(1) | dc::tc::PDTV.of(1), fsc: pdtp, ..DeviceContext::default() }
}

/// A valid process context for user requests.
pub fn user_pc(fsc: u64, pscid: u32) -> ProcessContext {
    ProcessContext { ta: pc::ta::V.of(1) | pc::ta::PSCID.of(pscid.into()), fsc }
}

impl Rig {
    /// A page of zeroes.
    ///
    /// # Panics
    /// If none is left.
    pub fn page(&mut self) -> u64 {
        let page = self.allocator.page();
        self.bench.memory.slice_mut(page, 4096).expect("pages are in memory").fill(0);
        page
    }

    /// `count` contiguous pages, aligned to their size rounded up to a power of two.
    pub fn pages(&mut self, count: u64) -> u64 {
        let bytes = count.next_power_of_two() * 4096;
        let start = (self.allocator.contiguous - bytes) & !(bytes - 1);
        self.allocator.contiguous = start;
        start
    }

    /// The next table below `slot`; made if it is not there.
    fn descend(&mut self, slot: u64, make: impl Fn(u64) -> u64, ppn: impl Fn(u64) -> u64) -> u64 {
        let value = self.load(slot);
        if value & 1 == 1 {
            return ppn(value) << 12;
        }
        let table = self.page();
        self.store(slot, make(table >> 12));
        table
    }

    /// A directory of `levels` levels, empty, in use from now on.
    pub fn new_directory(&mut self, levels: usize) {
        let root = self.page();
        let mode = [iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3][levels - 1];
        self.set_directory(mode, root);
    }

    /// Address of the directory entry at `level` (0: the device context) on the way to a device; tables above are made.
    pub fn ddt_slot(&mut self, device_id: u32, level: usize) -> u64 {
        let extended = self.design.extended_contexts();
        let (bytes, slices) = if extended { (EXT_DC_BYTES, EXT_DDI) } else { (BASE_DC_BYTES, BASE_DDI) };
        let levels = iommu_mode::levels(self.directory.0).expect("a directory mode");
        let mut table = self.directory.1;
        for i in (level.max(1)..levels).rev() {
            let slot = table + 8 * slices[i].of(device_id.into());
            if i == level {
                return slot;
            }
            table = self.descend(slot, |ppn| ddte::V.of(1) | ddte::PPN.of(ppn), |word| ddte::PPN.get(word));
        }
        table + bytes * slices[0].of(device_id.into())
    }

    /// Writes a device context, `tc` last.
    pub fn set_dc(&mut self, device_id: u32, context: DeviceContext) {
        let slot = self.ddt_slot(device_id, 0);
        let words = if self.design.extended_contexts() { 8 } else { 4 };
        for (i, word) in context.extended()[..words].iter().enumerate().rev() {
            self.store(slot + 8 * i as u64, *word);
        }
    }

    /// Address of the process-directory entry at `level` (0: the process context).
    pub fn pdt_slot(&mut self, pdtp: u64, process_id: u32, level: usize) -> u64 {
        let levels = pdtp_mode::levels(dc::fsc::MODE.get(pdtp)).expect("a process-directory mode");
        let mut table = dc::fsc::PPN.get(pdtp) << 12;
        for i in (level.max(1)..levels).rev() {
            let slot = table + 8 * PDI[i].of(process_id.into());
            if i == level {
                return slot;
            }
            table = self.descend(slot, |ppn| pdte::V.of(1) | pdte::PPN.of(ppn), |word| pdte::PPN.get(word));
        }
        table + PC_BYTES * PDI[0].of(process_id.into())
    }

    /// Writes a process context, `ta` last.
    pub fn set_pc(&mut self, pdtp: u64, process_id: u32, context: ProcessContext) {
        let slot = self.pdt_slot(pdtp, process_id, 0);
        self.store(slot + 8, context.fsc);
        self.store(slot, context.ta);
    }

    /// Address of the page-table entry at `level` for `iova`; tables above are made.
    pub fn pte_slot(&mut self, geometry: &Geometry, root: u64, iova: u64, level: usize) -> u64 {
        let mut table = root;
        for i in (level + 1..geometry.levels.len()).rev() {
            let slot = table + 8 * geometry.levels[i].of(iova);
            table = self.descend(slot, |ppn| pte::V.of(1) | pte::PPN.of(ppn), |word| pte::PPN.get(word));
        }
        table + 8 * geometry.levels[level].of(iova)
    }

    /// Writes the page-table entry at `level` for `iova`.
    pub fn map(&mut self, geometry: &Geometry, root: u64, iova: u64, level: usize, value: u64) {
        let slot = self.pte_slot(geometry, root, iova, level);
        self.store(slot, value);
    }
}
