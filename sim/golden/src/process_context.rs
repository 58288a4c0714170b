//! The process directory: where the process context is, and whether it is well configured. (Sections "Process to locate the
//! Process-context" and "Process-context configuration checks".)

use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{PAGE_SHIFT, iosatp_mode};
use pasidon_spec::pdt::{PC_BYTES, PDI, PDTE_BYTES, ProcessContext, pc, pdte, pdtp_mode};
use pasidon_spec::registers::event;

use super::context::{Access, Context, Purpose, Stop};
use super::second_stage::SecondStageFault;
use super::{Golden, Memory};
use pasidon_spec::memory::MemoryFault;

fn pdt_fault(fault: MemoryFault) -> Stop {
    match fault {
        MemoryFault::Access => Cause::PdtEntryLoadAccessFault,
        MemoryFault::Corrupt => Cause::PdtDataCorruption,
    }
    .into()
}

impl Golden {
    /// Step 14 of "Process to translate an IOVA": the process context of `process_id`. Of `context`, the second stage counts.
    #[inline]
    pub(super) fn process_context(
        &mut self,
        memory: &mut impl Memory,
        device: &DeviceContext,
        context: &Context,
        access: &Access,
        process_id: u32,
    ) -> Result<ProcessContext, Stop> {
        let device_id = context.ids.device_id;
        if let Some(found) = self.older_process.or_else(|| self.cache.process(device_id, process_id)) {
            return Ok(found);
        }
        self.count(event::PROCESS_DIRECTORY_WALKS, || context.ids);
        let found = self.locate_process_context(memory, device, context, access, process_id)?;
        self.cache.keep_process(device_id, process_id, &found);
        Ok(found)
    }

    /// Section "Process to locate the Process-context".
    #[inline]
    fn locate_process_context(
        &mut self,
        memory: &mut impl Memory,
        device: &DeviceContext,
        context: &Context,
        access: &Access,
        process_id: u32,
    ) -> Result<ProcessContext, Stop> {
        let port = self.port(context.sbe);
        let levels = pdtp_mode::levels(dc::fsc::MODE.get(device.fsc)).unwrap_or(1);
        let mut a = dc::fsc::PPN.get(device.fsc) << PAGE_SHIFT;
        for level in (1..levels).rev() {
            let at = a + PDI[level].of(process_id.into()) * PDTE_BYTES;
            let at = self.directory_address(memory, context, access, at)?;
            let entry = port.read(memory, at, 8).map_err(pdt_fault)?;
            if !pdte::V.is_set(entry) {
                return Err(Cause::PdtEntryNotValid.into());
            }
            if entry & pdte::RESERVED != 0 {
                return Err(Cause::PdtEntryMisconfigured.into());
            }
            a = pdte::PPN.get(entry) << PAGE_SHIFT;
        }
        let at = a + PDI[0].of(process_id.into()) * PC_BYTES;
        let at = self.directory_address(memory, context, access, at)?;
        let found = ProcessContext::decode(port.read_words(memory, at).map_err(pdt_fault)?);
        if !pc::ta::V.is_set(found.ta) {
            return Err(Cause::PdtEntryNotValid.into());
        }
        if self.process_context_is_misconfigured(&found, context) {
            return Err(Cause::PdtEntryMisconfigured.into());
        }
        Ok(found)
    }

    /// Step 3: the supervisor physical address of a directory entry. Faults other than guest-page faults are those of the
    /// directory.
    #[inline]
    fn directory_address(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        gpa: u64,
    ) -> Result<u64, Stop> {
        if context.second.is_none() {
            return Ok(gpa);
        }
        match self.second_stage(memory, context, access, gpa, Purpose::ImplicitRead) {
            Ok(stage) => Ok(stage.address),
            Err(SecondStageFault::Page) => Err(access.guest_page_fault(gpa, Purpose::ImplicitRead)),
            Err(SecondStageFault::Memory(fault)) => Err(pdt_fault(fault)),
        }
    }

    /// Section "Process-context configuration checks", and the note after them.
    fn process_context_is_misconfigured(&self, found: &ProcessContext, context: &Context) -> bool {
        let mode = pc::fsc::MODE.get(found.fsc);
        let root = pc::fsc::PPN.get(found.fsc) << PAGE_SHIFT;
        found.ta & pc::ta::RESERVED != 0
            || found.fsc & pc::fsc::RESERVED != 0
            || self.legal.first_modes(context.sxl) >> mode & 1 == 0
            || (self.parameters.wide_root_is_misconfigured
                && mode != iosatp_mode::BARE
                && context.second.is_none()
                && root & self.outside != 0)
    }
}
