//! The device directory: where the device context is, and whether it is well configured. (Sections "Process to locate the
//! Device-context" and "Device-context configuration checks".)

use pasidon_spec::ddt::{
    BASE_DC_BYTES, BASE_DDI, DDTE_BYTES, DeviceContext, EXT_DC_BYTES, EXT_DDI, dc, ddte, device_id_bits,
    iommu_mode,
};
use pasidon_spec::fault::Cause;
use pasidon_spec::field::Field;
use pasidon_spec::page_table::{self, PAGE_SHIFT, iohgatp_mode, iosatp_mode};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::{capabilities as cap, ddtp, event, fctl};

use super::context::Ids;
use super::{Golden, Memory, MemoryFault};

/// Alignment of a second-stage root table: 16 KiB, in page numbers.
const SECOND_STAGE_ROOT_PAGES: u64 = 4;

fn ddt_fault(fault: MemoryFault) -> Cause {
    match fault {
        MemoryFault::Access => Cause::DdtEntryLoadAccessFault,
        MemoryFault::Corrupt => Cause::DdtDataCorruption,
    }
}

impl Golden {
    /// Steps 3 to 6 of "Process to translate an IOVA": the device context of `device_id`.
    #[inline]
    pub(super) fn device_context(
        &mut self,
        memory: &mut impl Memory,
        device_id: u32,
        process_id: Option<u32>,
    ) -> Result<DeviceContext, Cause> {
        let extended = self.has(cap::MSI_FLAT);
        let mode = ddtp::IOMMU_MODE.get(self.registers.ddtp);
        let levels = iommu_mode::levels(mode).unwrap_or(1);
        if device_id >> device_id_bits(extended, levels) != 0 {
            return Err(Cause::TransactionTypeDisallowed);
        }
        if let Some(context) = self.cache.device(device_id) {
            return Ok(context);
        }
        self.count(event::DEVICE_DIRECTORY_WALKS, &Ids { device_id, process_id, ..Ids::default() });
        let context = self.locate_device_context(memory, device_id, levels, extended)?;
        self.cache.keep_device(device_id, &context);
        Ok(context)
    }

    /// Section "Process to locate the Device-context".
    fn locate_device_context(
        &self,
        memory: &mut impl Memory,
        device_id: u32,
        levels: usize,
        extended: bool,
    ) -> Result<DeviceContext, Cause> {
        let port = self.port(self.big_endian());
        let index = if extended { EXT_DDI } else { BASE_DDI };
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

    /// Section "Device-context configuration checks", in its order.
    fn device_context_is_misconfigured(&self, context: &DeviceContext) -> bool {
        let tc = context.tc;
        let on = |field: Field| field.is_set(tc);
        let pdtv = on(dc::tc::PDTV);
        let sxl = on(dc::tc::SXL);
        let gxl = fctl::GXL.is_set(self.registers.fctl);
        let first_mode = dc::fsc::MODE.get(context.fsc);
        let second_mode = dc::iohgatp::MODE.get(context.iohgatp);
        let second_is_bare = second_mode == iohgatp_mode::BARE;
        let msi_mode = dc::msiptp::MODE.get(context.msiptp);
        let big_endian = self.big_endian();

        self.has_reserved_bits(context)
            || (!self.has(cap::ATS) && (on(dc::tc::EN_ATS) || on(dc::tc::EN_PRI) || on(dc::tc::PRPR)))
            || (!on(dc::tc::EN_ATS) && on(dc::tc::T2GPA))
            || (!on(dc::tc::EN_ATS) && on(dc::tc::EN_PRI))
            || (!on(dc::tc::EN_PRI) && on(dc::tc::PRPR))
            || (!self.has(cap::T2GPA) && on(dc::tc::T2GPA))
            || (on(dc::tc::T2GPA) && second_is_bare)
            || (pdtv && !self.supports_process_directory(first_mode))
            || (!pdtv && !self.supports_first_stage(sxl, first_mode))
            || (!pdtv && on(dc::tc::DPE))
            || !self.supports_second_stage(gxl, second_mode)
            || (msi_mode != dc::msiptp_mode::OFF && msi_mode != dc::msiptp_mode::FLAT)
            || (!second_is_bare && dc::iohgatp::PPN.get(context.iohgatp) % SECOND_STAGE_ROOT_PAGES != 0)
            || (!self.has(cap::AMO_HWAD) && (on(dc::tc::SADE) || on(dc::tc::GADE)))
            || (!self.has(cap::END) && on(dc::tc::SBE) != big_endian)
            || (gxl && !sxl)
            || (!gxl && !self.parameters.gxl_writable && sxl)
            || self.has_wide_qos_ids(context)
            || (self.parameters.msi_without_second_stage_is_misconfigured
                && second_is_bare
                && msi_mode != dc::msiptp_mode::OFF)
            || (self.parameters.wide_root_is_misconfigured && self.has_wide_root(context))
    }

    /// Check 1: bits that are reserved for future standard use.
    fn has_reserved_bits(&self, context: &DeviceContext) -> bool {
        let page_bits = (1 << (self.parameters.guest_address_width() - u32::from(PAGE_SHIFT))) - 1;
        let mut ta_reserved = dc::ta::RESERVED;
        if !self.has(cap::QOSID) {
            ta_reserved |= dc::ta::RCID.mask() | dc::ta::MCID.mask();
        }
        context.tc & dc::tc::RESERVED != 0
            || context.ta & ta_reserved != 0
            || context.fsc & dc::fsc::RESERVED != 0
            || context.msiptp & dc::msiptp::RESERVED != 0
            || context.msi_addr_mask & !page_bits != 0
            || context.msi_addr_pattern & !page_bits != 0
    }

    /// The last check: quality-of-service ids that are wider than supported.
    fn has_wide_qos_ids(&self, context: &DeviceContext) -> bool {
        dc::ta::RCID.get(context.ta) >> self.parameters.rcid_width != 0
            || dc::ta::MCID.get(context.ta) >> self.parameters.mcid_width != 0
    }

    /// The note after the checks: addresses that the context holds may be verified.
    fn has_wide_root(&self, context: &DeviceContext) -> bool {
        let wide = |ppn: u64| ppn << PAGE_SHIFT >> self.parameters.pas() != 0;
        let second_is_bare = dc::iohgatp::MODE.get(context.iohgatp) == iohgatp_mode::BARE;
        // Bare is 0 in both encodings of this field.
        let first_is_bare = dc::fsc::MODE.get(context.fsc) == iosatp_mode::BARE;
        (!first_is_bare && second_is_bare && wide(dc::fsc::PPN.get(context.fsc)))
            || (!second_is_bare && wide(dc::iohgatp::PPN.get(context.iohgatp)))
            || (dc::msiptp::MODE.get(context.msiptp) != dc::msiptp_mode::OFF
                && wide(dc::msiptp::PPN.get(context.msiptp)))
    }

    /// Whether `pdtp.MODE` may be `mode`.
    fn supports_process_directory(&self, mode: u64) -> bool {
        match mode {
            pdtp_mode::BARE => true,
            pdtp_mode::PD8 => self.has(cap::PD8),
            pdtp_mode::PD17 => self.has(cap::PD17),
            pdtp_mode::PD20 => self.has(cap::PD20),
            _ => false,
        }
    }

    /// Whether `iosatp.MODE` may be `mode`, with this `DC.tc.SXL`.
    pub(super) fn supports_first_stage(&self, sxl: bool, mode: u64) -> bool {
        match (sxl, mode) {
            (_, iosatp_mode::BARE) => true,
            (true, iosatp_mode::SV32) => self.has(cap::SV32),
            (false, iosatp_mode::SV39) => self.has(cap::SV39),
            (false, iosatp_mode::SV48) => self.has(cap::SV48),
            (false, iosatp_mode::SV57) => self.has(cap::SV57),
            _ => false,
        }
    }

    /// Whether `iohgatp.MODE` may be `mode`, with this `fctl.GXL`.
    fn supports_second_stage(&self, gxl: bool, mode: u64) -> bool {
        mode == iohgatp_mode::BARE
            || page_table::second_stage(gxl, mode).is_some_and(|geometry| {
                self.has(match (gxl, mode) {
                    (true, _) => cap::SV32X4,
                    (false, iohgatp_mode::SV39X4) => cap::SV39X4,
                    (false, iohgatp_mode::SV48X4) => cap::SV48X4,
                    (false, _) => cap::SV57X4,
                }) && geometry.mode == mode
            })
    }
}
