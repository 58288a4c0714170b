//! The device directory: where the device context is, and whether it is well configured. (Sections "Process to locate the
//! Device-context" and "Device-context configuration checks".)

use pasidon_spec::ddt::{
    BASE_DC_BYTES, BASE_DDI, DDTE_BYTES, DeviceContext, EXT_DC_BYTES, EXT_DDI, dc, ddte, device_id_bits,
    iommu_mode,
};
use pasidon_spec::fault::Cause;
use pasidon_spec::field::Field;
use pasidon_spec::page_table::{PAGE_SHIFT, iohgatp_mode, iosatp_mode};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::{capabilities as cap, ddtp, event, fctl};

use super::context::Ids;
use super::{Golden, Memory, Parameters};
use pasidon_spec::memory::MemoryFault;

/// Alignment of a second-stage root table: 16 KiB, in page numbers.
const SECOND_STAGE_ROOT_PAGES: u64 = 4;

fn ddt_fault(fault: MemoryFault) -> Cause {
    match fault {
        MemoryFault::Access => Cause::DdtEntryLoadAccessFault,
        MemoryFault::Corrupt => Cause::DdtDataCorruption,
    }
}

impl Golden {
    /// Steps 3 to 6 of "Process to translate an IOVA": the device context of `device_id`, put into
    /// `context`.
    #[inline]
    pub(super) fn device_context(
        &mut self,
        memory: &mut impl Memory,
        device_id: u32,
        process_id: Option<u32>,
        context: &mut DeviceContext,
    ) -> Result<(), Cause> {
        let extended = self.has(cap::MSI_FLAT);
        let mode = ddtp::IOMMU_MODE.get(self.registers.ddtp);
        let levels = iommu_mode::levels(mode).unwrap_or(1);
        if device_id >> device_id_bits(extended, levels) != 0 {
            return Err(Cause::TransactionTypeDisallowed);
        }
        if let Some(found) = self.cache.device(device_id) {
            *context = found;
            return Ok(());
        }
        self.count(event::DEVICE_DIRECTORY_WALKS, || Ids { device_id, process_id, ..Ids::default() });
        *context = self.locate_device_context(memory, device_id, levels, extended)?;
        self.cache.keep_device(device_id, context);
        Ok(())
    }

    /// Section "Process to locate the Device-context".
    #[inline]
    fn locate_device_context(
        &self,
        memory: &mut impl Memory,
        device_id: u32,
        levels: usize,
        extended: bool,
    ) -> Result<DeviceContext, Cause> {
        let port = self.port(self.big_endian());
        let index = if extended { &EXT_DDI } else { &BASE_DDI };
        let mut a = ddtp::PPN.get(self.registers.ddtp) << PAGE_SHIFT;
        for level in (1..levels).rev() {
            let at = a + index[level].of(device_id.into()) * DDTE_BYTES;
            let entry = port.read(memory, at, 8).map_err(ddt_fault)?;
            if !ddte::V.is_set(entry) {
                return Err(Cause::DdtEntryNotValid);
            }
            if entry & ddte::RESERVED != 0 {
                return Err(Cause::DdtEntryMisconfigured);
            }
            a = ddte::PPN.get(entry) << PAGE_SHIFT;
        }
        let leaf = index[0].of(device_id.into());
        let (context, last) = if extended {
            let dwords: [u64; 8] = port.read_words(memory, a + leaf * EXT_DC_BYTES).map_err(ddt_fault)?;
            (DeviceContext::from_extended(dwords), dwords[7])
        } else {
            let dwords = port.read_words(memory, a + leaf * BASE_DC_BYTES).map_err(ddt_fault)?;
            (DeviceContext::from_base(dwords), 0)
        };
        if !dc::tc::V.is_set(context.tc) {
            return Err(Cause::DdtEntryNotValid);
        }
        if last & dc::reserved::RESERVED != 0 || self.device_context_is_misconfigured(&context) {
            return Err(Cause::DdtEntryMisconfigured);
        }
        Ok(context)
    }

    /// Section "Device-context configuration checks". What depends only on the IOMMU is in [`Legal`].
    #[inline]
    fn device_context_is_misconfigured(&self, context: &DeviceContext) -> bool {
        let legal = &self.legal;
        let tc = context.tc;
        let on = |field: Field| field.is_set(tc);
        let gxl = fctl::GXL.is_set(self.registers.fctl);
        let second_mode = dc::iohgatp::MODE.get(context.iohgatp);
        let second_is_bare = second_mode == iohgatp_mode::BARE;
        let msi_mode = dc::msiptp::MODE.get(context.msiptp);
        let first_modes =
            if on(dc::tc::PDTV) { legal.directory_modes } else { legal.first_modes(on(dc::tc::SXL)) };
        let second_modes = legal.second_modes[usize::from(gxl)];

        tc & legal.tc_reserved != 0
            || context.ta & legal.ta_reserved != 0
            || (context.fsc & dc::fsc::RESERVED) | (context.msiptp & dc::msiptp::RESERVED) != 0
            || (context.msi_addr_mask | context.msi_addr_pattern) & legal.msi_page_reserved != 0
            || (!on(dc::tc::EN_ATS) && (on(dc::tc::T2GPA) || on(dc::tc::EN_PRI)))
            || (!on(dc::tc::EN_PRI) && on(dc::tc::PRPR))
            || (on(dc::tc::T2GPA) && second_is_bare)
            || first_modes >> dc::fsc::MODE.get(context.fsc) & 1 == 0
            || (!on(dc::tc::PDTV) && on(dc::tc::DPE))
            || second_modes >> second_mode & 1 == 0
            || (msi_mode != dc::msiptp_mode::OFF && msi_mode != dc::msiptp_mode::FLAT)
            || (!second_is_bare
                && !dc::iohgatp::PPN.get(context.iohgatp).is_multiple_of(SECOND_STAGE_ROOT_PAGES))
            || (gxl && !on(dc::tc::SXL))
            || (self.parameters.msi_without_second_stage_is_misconfigured
                && second_is_bare
                && msi_mode != dc::msiptp_mode::OFF)
            || (self.parameters.wide_root_is_misconfigured && self.has_wide_root(context))
    }

    /// The note after the checks: addresses that the context holds may be verified.
    #[inline]
    fn has_wide_root(&self, context: &DeviceContext) -> bool {
        // The three page numbers are in the same place.
        let wide = |word: u64| (dc::fsc::PPN.get(word) << PAGE_SHIFT) & self.outside != 0;
        if !wide(context.fsc | context.iohgatp | context.msiptp) {
            return false;
        }
        let second_is_bare = dc::iohgatp::MODE.get(context.iohgatp) == iohgatp_mode::BARE;
        // Bare is 0 in both encodings of this field.
        let first_is_bare = dc::fsc::MODE.get(context.fsc) == iosatp_mode::BARE;
        (!first_is_bare && second_is_bare && wide(context.fsc))
            || (!second_is_bare && wide(context.iohgatp))
            || (dc::msiptp::MODE.get(context.msiptp) != dc::msiptp_mode::OFF && wide(context.msiptp))
    }
}

/// What the configuration checks of contexts allow in an IOMMU with given parameters. Sets of modes have bit `mode` set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Legal {
    /// Bits of `DC.tc` that must be 0: reserved ones, and those of features that are not there. (`SBE` too if only one byte
    /// order is supported, which is little-endian here, and `SXL` if `fctl.GXL` is not writable.)
    tc_reserved: u64,
    /// Bits of `DC.ta` that must be 0: reserved ones, and those that make an id wider than supported.
    ta_reserved: u64,
    /// Bits of `msi_addr_mask` and `msi_addr_pattern` that must be 0.
    msi_page_reserved: u64,
    /// `pdtp.MODE`.
    directory_modes: u16,
    /// `iosatp.MODE`, by `DC.tc.SXL`.
    first_modes: [u16; 2],
    /// `iohgatp.MODE`, by `fctl.GXL`.
    second_modes: [u16; 2],
}

impl Legal {
    /// What is legal with these parameters.
    pub fn new(parameters: &Parameters) -> Legal {
        let has = |feature: Field| feature.is_set(parameters.capabilities);
        let unless = |there: bool, fields: &[Field]| {
            if there { 0 } else { fields.iter().fold(0, |mask, field| mask | field.mask()) }
        };
        let wide = |field: Field, bits: u8| field.mask() & !field.of((1 << bits) - 1);
        let modes = |list: &[(u64, bool)]| {
            list.iter().filter(|(_, there)| *there).fold(0, |set, (mode, _)| set | 1u16 << mode)
        };
        let qos = has(cap::QOSID);
        Legal {
            tc_reserved: dc::tc::RESERVED
                | unless(has(cap::ATS), &[dc::tc::EN_ATS, dc::tc::EN_PRI, dc::tc::PRPR])
                | unless(has(cap::T2GPA), &[dc::tc::T2GPA])
                | unless(has(cap::AMO_HWAD), &[dc::tc::SADE, dc::tc::GADE])
                | unless(has(cap::END), &[dc::tc::SBE])
                | unless(parameters.gxl_writable, &[dc::tc::SXL]),
            ta_reserved: dc::ta::RESERVED
                | wide(dc::ta::RCID, if qos { parameters.rcid_width } else { 0 })
                | wide(dc::ta::MCID, if qos { parameters.mcid_width } else { 0 }),
            msi_page_reserved: u64::MAX << (parameters.guest_address_width() - u32::from(PAGE_SHIFT)),
            directory_modes: modes(&[
                (pdtp_mode::BARE, true),
                (pdtp_mode::PD8, has(cap::PD8)),
                (pdtp_mode::PD17, has(cap::PD17)),
                (pdtp_mode::PD20, has(cap::PD20)),
            ]),
            first_modes: [
                modes(&[
                    (iosatp_mode::BARE, true),
                    (iosatp_mode::SV39, has(cap::SV39)),
                    (iosatp_mode::SV48, has(cap::SV48)),
                    (iosatp_mode::SV57, has(cap::SV57)),
                ]),
                modes(&[(iosatp_mode::BARE, true), (iosatp_mode::SV32, has(cap::SV32))]),
            ],
            second_modes: [
                modes(&[
                    (iohgatp_mode::BARE, true),
                    (iohgatp_mode::SV39X4, has(cap::SV39X4)),
                    (iohgatp_mode::SV48X4, has(cap::SV48X4)),
                    (iohgatp_mode::SV57X4, has(cap::SV57X4)),
                ]),
                modes(&[(iohgatp_mode::BARE, true), (iohgatp_mode::SV32X4, has(cap::SV32X4))]),
            ],
        }
    }

    /// The modes that `iosatp.MODE` may have with this `DC.tc.SXL`.
    #[inline]
    pub fn first_modes(&self, sxl: bool) -> u16 {
        self.first_modes[usize::from(sxl)]
    }
}
