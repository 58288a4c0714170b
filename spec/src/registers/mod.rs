//! The memory-mapped registers: one module each, named as the specification names the register.
//!
//! Each module has `REG` (the [`Register`]), one [`Field`] constant for each field, and `RESERVED`, the mask of
//! the bits reserved for standard use. Offsets are in bytes from the base of the IOMMU's 4-KiB page. Registers
//! are little-endian. (Section "Register layout".)

use crate::field::{self, Access, Field};

mod debug;
mod features;
mod hpm;
mod interrupts;
mod queues;

pub use debug::{tr_req_ctl, tr_req_iova, tr_response};
pub use features::{capabilities, ddtp, fctl, igs, iommu_qosid};
pub use hpm::{event, iocountinh, iocountovf, iohpmctr, iohpmcycles, iohpmevt};
pub use interrupts::{icvec, ipsr, msi_addr, msi_data, msi_vec_ctl};
pub use queues::{cqb, cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt, pqb, pqcsr, pqh, pqt};

/// Bytes of address space that the registers occupy; their base is aligned to this.
pub const REGION_BYTES: u64 = 4096;

/// When a register exists. An absent register reads 0 and ignores writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// In every IOMMU.
    Always,
    /// If `capabilities.ATS` is 1.
    Ats,
    /// If `capabilities.HPM` is 1.
    Hpm,
    /// If `capabilities.DBG` is 1.
    Dbg,
    /// If `capabilities.QOSID` is 1.
    Qosid,
    /// If `capabilities.IGS` is `MSI` or `BOTH`.
    Msi,
}

impl Presence {
    /// The condition in words of the `capabilities` register; empty for [`Presence::Always`].
    pub const fn condition(self) -> &'static str {
        match self {
            Presence::Always => "",
            Presence::Ats => "capabilities.ATS = 1",
            Presence::Hpm => "capabilities.HPM = 1",
            Presence::Dbg => "capabilities.DBG = 1",
            Presence::Qosid => "capabilities.QOSID = 1",
            Presence::Msi => "capabilities.IGS = MSI or BOTH",
        }
    }

    /// Whether an IOMMU whose `capabilities` register reads `capabilities` has such a register.
    pub const fn holds(self, capabilities: u64) -> bool {
        match self {
            Presence::Always => true,
            Presence::Ats => capabilities::ATS.is_set(capabilities),
            Presence::Hpm => capabilities::HPM.is_set(capabilities),
            Presence::Dbg => capabilities::DBG.is_set(capabilities),
            Presence::Qosid => capabilities::QOSID.is_set(capabilities),
            Presence::Msi => capabilities::IGS.get(capabilities) != igs::WSI,
        }
    }
}

/// A memory-mapped register, or an array of equal registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Register {
    /// The specification's name. Registers of an array share the name without its number.
    pub name: &'static str,
    /// Offset in bytes from the base of the IOMMU's registers; of the first one, for an array.
    pub offset: u16,
    /// Size in bytes: 4 or 8.
    pub bytes: u8,
    /// Number of registers in the array; 1 for a single register.
    pub count: u8,
    /// Bytes from one register of the array to the next.
    pub stride: u16,
    /// When the register exists.
    pub presence: Presence,
    /// The fields, in rising order of position. All other bits are reserved.
    pub fields: &'static [Field],
    /// One or two sentences on the meaning.
    pub doc: &'static str,
}

impl Register {
    /// Number of bits: 32 or 64.
    pub const fn bits(&self) -> u8 {
        self.bytes * 8
    }

    /// Offset in bytes of register `index` of the array, counted from 0.
    pub const fn offset_of(&self, index: u8) -> u16 {
        self.offset + self.stride * index as u16
    }

    /// The value after reset, from the fields' reset values.
    pub const fn reset(&self) -> u64 {
        let mut word = 0;
        let mut i = 0;
        while i < self.fields.len() {
            word |= self.fields[i].of(self.fields[i].reset);
            i += 1;
        }
        word
    }

    /// The bits of all fields with this access, in place.
    pub const fn mask_of(&self, access: Access) -> u64 {
        let mut mask = 0;
        let mut i = 0;
        while i < self.fields.len() {
            if self.fields[i].access as u8 == access as u8 {
                mask |= self.fields[i].mask();
            }
            i += 1;
        }
        mask
    }

    /// The register number `index` (0 for the first) of an array, as a register of its own.
    pub const fn element(&self, index: u8) -> Register {
        Register { offset: self.offset_of(index), count: 1, ..*self }
    }

    /// The bits reserved for standard use.
    pub const fn reserved(&self) -> u64 {
        field::reserved(self.fields, self.bits())
    }

    /// Whether the register is aligned and its fields are in rising order, do not overlap, fit, and have resets
    /// that fit.
    pub const fn is_well_formed(&self) -> bool {
        (self.bytes == 4 || self.bytes == 8)
            && self.offset.is_multiple_of(self.bytes as u16)
            && self.stride.is_multiple_of(self.bytes as u16)
            && field::is_well_formed(self.fields, self.bits())
    }
}

/// Every register, in rising order of offset.
pub const ALL: &[&Register] = &[
    &capabilities::REG,
    &fctl::REG,
    &ddtp::REG,
    &cqb::REG,
    &cqh::REG,
    &cqt::REG,
    &fqb::REG,
    &fqh::REG,
    &fqt::REG,
    &pqb::REG,
    &pqh::REG,
    &pqt::REG,
    &cqcsr::REG,
    &fqcsr::REG,
    &pqcsr::REG,
    &ipsr::REG,
    &iocountovf::REG,
    &iocountinh::REG,
    &iohpmcycles::REG,
    &iohpmctr::REG,
    &iohpmevt::REG,
    &tr_req_iova::REG,
    &tr_req_ctl::REG,
    &tr_response::REG,
    &iommu_qosid::REG,
    &icvec::REG,
    &msi_addr::REG,
    &msi_data::REG,
    &msi_vec_ctl::REG,
];
