//! The process that answers a request. (Section "Process to translate an IOVA".)

use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::{Cause, ttyp};
use pasidon_spec::page_table::{self, PAGE_SHIFT, iohgatp_mode, iosatp_mode};
use pasidon_spec::pdt::{pc, pdtp_mode, process_id_bits};
use pasidon_spec::registers::{capabilities as cap, ddtp, event, fctl, iommu_qosid};

use super::context::{Access, Context, Ids, Purpose, Stage, Stop};
use super::ioatc::Tag;
use super::msi::MsiTarget;
use super::{Golden, Memory};
use pasidon_spec::request::{AddressType, Denial, Fault, Request, Response, Translation};

/// What steps 1 to 16 decide.
enum Decision {
    /// Go to step 20: nothing is translated. The quality-of-service ids of the access.
    Pass(u64, u64),
    /// Go to step 17.
    Translate,
}

/// What the last steps need to know of the request and its device.
struct Task<'a> {
    request: &'a Request,
    access: Access,
    debug: bool,
    device: &'a DeviceContext,
}

impl Golden {
    /// Answers a request: steps 1 to 20 of section "Process to translate an IOVA". The fault record, if there is one, is in memory
    /// when this returns; interrupt messages wait for [`Golden::run`].
    pub fn translate(&mut self, memory: &mut impl Memory, request: &Request) -> Response {
        self.count_request(request);
        if self.parameters.caching
            && let Some(translation) = self.cache.translation(&Tag::of(request), request)
        {
            return Response::Success(translation);
        }
        self.answer(memory, request, false)
    }

    /// Answers a request with a process context that was located earlier, by what its device context was then; `None` if there was
    /// none. (Section "Caching in-memory data structures": the entries of each structure are cached on their own.)
    pub fn translate_with_older_process(
        &mut self,
        memory: &mut impl Memory,
        request: &Request,
    ) -> Option<Response> {
        let mut device = DeviceContext::default();
        let mut context = Context::default();
        self.device_context(memory, request.device_id, request.process_id, &mut device).ok()?;
        let process_id = request.process_id.unwrap_or(0);
        let levels = pdtp_mode::levels(dc::fsc::MODE.get(device.fsc))?;
        if !dc::tc::PDTV.is_set(device.tc) || process_id >> process_id_bits(levels) != 0 {
            return None;
        }
        self.second_stage_of(&mut context, &device, request);
        let access = Access::of(request);
        let found = self.process_context(memory, &device, &context, &access, process_id).ok()?;
        self.older_process = Some(found);
        let response = self.translate(memory, request);
        self.older_process = None;
        Some(response)
    }

    /// The event of the request itself. (Section "Performance-monitoring event selectors".)
    #[inline]
    pub(super) fn count_request(&mut self, request: &Request) {
        let kind = match request.at {
            AddressType::Untranslated => event::UNTRANSLATED_REQUESTS,
            AddressType::Translated => event::TRANSLATED_REQUESTS,
            AddressType::TranslationRequest => event::ATS_TRANSLATION_REQUESTS,
        };
        self.count(kind, || Ids {
            device_id: request.device_id,
            process_id: request.process_id,
            ..Ids::default()
        });
    }

    /// Answers a request that the IOATC cannot answer. `debug` marks one of the debug interface.
    pub(super) fn answer(&mut self, memory: &mut impl Memory, request: &Request, debug: bool) -> Response {
        let access = Access::of(request);
        let mut device = DeviceContext::default();
        let mut context = Context::default();
        let decision = self.decide(memory, request, &access, &mut device, &mut context);
        let result = match decision {
            Ok(Decision::Translate) => {
                self.stages(memory, &Task { request, access, debug, device: &device }, &context)
            }
            Ok(Decision::Pass(rcid, mcid)) => self.pass(request, &access, rcid, mcid),
            Err(stop) => Err(stop),
        };
        match result {
            Ok(translation) => Response::Success(translation),
            Err(stop) => self.refuse(memory, request, stop, dc::tc::DTF.is_set(device.tc)),
        }
    }

    /// "Stop and report": what a fault does, by kind of request. (The end of the section, and "PCIe ATS translation request
    /// handling".)
    #[cold]
    fn refuse(&mut self, memory: &mut impl Memory, request: &Request, stop: Stop, dtf: bool) -> Response {
        let Stop { cause, iotval2 } = stop;
        let denial = match self.ats_denial(request, cause) {
            Some(denial) => denial,
            None => return Response::Success(super::ats::withheld(request, cause)),
        };
        let reported = !(dtf && cause.dtf_suppresses());
        if reported {
            self.report(memory, request, cause, iotval2);
        }
        self.update_interrupts();
        Response::Fault(Fault { cause, iotval2, reported, denial })
    }

    /// How a fault is answered; `None` if as a translation request that succeeds without any permission. Without ATS, a translation
    /// request is a transaction like others that are not supported.
    fn ats_denial(&self, request: &Request, cause: Cause) -> Option<Denial> {
        match request.at {
            AddressType::TranslationRequest if self.has(cap::ATS) => super::ats::denial(cause),
            _ => Some(Denial::UnsupportedRequest),
        }
    }

    /// Steps 1 to 16. `device` stays invalid, with `DTF` 0, until its context is found; `context` is the page table information.
    #[inline]
    fn decide(
        &mut self,
        memory: &mut impl Memory,
        request: &Request,
        access: &Access,
        device: &mut DeviceContext,
        context: &mut Context,
    ) -> Result<Decision, Stop> {
        let untranslated = request.at == AddressType::Untranslated;
        match ddtp::IOMMU_MODE.get(self.registers.ddtp) {
            iommu_mode::OFF => return Err(Cause::AllInboundTransactionsDisallowed.into()),
            iommu_mode::BARE if !untranslated => return Err(Cause::TransactionTypeDisallowed.into()),
            iommu_mode::BARE => {
                let ids = self.registers.iommu_qosid;
                return Ok(Decision::Pass(iommu_qosid::RCID.get(ids), iommu_qosid::MCID.get(ids)));
            }
            _ => {}
        }
        self.device_context(memory, request.device_id, request.process_id, device)?;
        let tc = device.tc;
        let pdtv = dc::tc::PDTV.is_set(tc);
        let directory_mode = dc::fsc::MODE.get(device.fsc);

        // Step 7.
        if (!untranslated && !dc::tc::EN_ATS.is_set(tc))
            || request.process_id.is_some_and(|pid| {
                !pdtv
                    || pdtp_mode::levels(directory_mode)
                        .is_some_and(|levels| pid >> process_id_bits(levels) != 0)
            })
        {
            return Err(Cause::TransactionTypeDisallowed.into());
        }
        self.second_stage_of(context, device, request);
        if request.at == AddressType::Translated {
            // Steps 8 and 9.
            return Ok(if dc::tc::T2GPA.is_set(tc) {
                Decision::Translate
            } else {
                let (rcid, mcid) = qos_ids(device);
                Decision::Pass(rcid, mcid)
            });
        }
        if !pdtv {
            // Step 10. Without a process_id the privilege is that of a user, and SUM does not matter.
            first_stage_of(context, device.fsc, dc::ta::PSCID.get(device.ta));
            return Ok(Decision::Translate);
        }
        // Steps 11 to 13.
        let process_id = match request.process_id {
            Some(process_id) => process_id,
            None if dc::tc::DPE.is_set(tc) => 0,
            None => return Ok(Decision::Translate),
        };
        if directory_mode == pdtp_mode::BARE {
            return Ok(Decision::Translate);
        }
        // Steps 14 to 16.
        let process = self.process_context(memory, device, context, access, process_id)?;
        if access.privileged && !pc::ta::ENS.is_set(process.ta) {
            return Err(Cause::TransactionTypeDisallowed.into());
        }
        context.sum = pc::ta::SUM.is_set(process.ta);
        first_stage_of(context, process.fsc, pc::ta::PSCID.get(process.ta));
        Ok(Decision::Translate)
    }

    /// The page table information with the device's second stage and a Bare first stage.
    #[inline]
    fn second_stage_of(&self, context: &mut Context, device: &DeviceContext, request: &Request) {
        context.sade = dc::tc::SADE.is_set(device.tc);
        context.gade = dc::tc::GADE.is_set(device.tc);
        context.sbe = dc::tc::SBE.is_set(device.tc);
        context.sxl = dc::tc::SXL.is_set(device.tc);
        context.ids.device_id = request.device_id;
        context.ids.process_id = request.process_id;
        let mode = dc::iohgatp::MODE.get(device.iohgatp);
        if mode != iohgatp_mode::BARE {
            context.second = page_table::second_stage(fctl::GXL.is_set(self.registers.fctl), mode);
            context.second_root = dc::iohgatp::PPN.get(device.iohgatp) << PAGE_SHIFT;
            context.ids.gscid = Some(dc::iohgatp::GSCID.get(device.iohgatp) as u16);
        }
    }

    /// Steps 17 to 20.
    #[inline]
    fn stages(
        &mut self,
        memory: &mut impl Memory,
        task: &Task<'_>,
        context: &Context,
    ) -> Result<Translation, Stop> {
        let Task { request, ref access, device, .. } = *task;
        self.count(event::TLB_MISS, || context.ids);
        let first = self.first_stage(memory, context, access, request.iova)?;
        let gpa = first.address;
        let target = self.msi_target(memory, device, access, gpa)?;
        let mut resident = None;
        let second = match target {
            Some(target) => {
                let address = match target {
                    MsiTarget::Address(address) => address,
                    MsiTarget::File(file) => {
                        resident = Some(file);
                        file.notice_address
                    }
                };
                Stage { shift: PAGE_SHIFT, exec: false, ..Stage::bare(address) }
            }
            None if context.second.is_none() => Stage::bare(gpa),
            None => {
                let purpose = Purpose::Explicit;
                let rest = access.after(&first);
                self.second_stage(memory, context, &rest, gpa, purpose)
                    .map_err(|trouble| trouble.stop(access, gpa, purpose))?
            }
        };
        if resident.is_none() && self.port(false).beyond(second.address) {
            return Err(access.access_fault());
        }
        if let (Some(file), false) = (resident, access.asks) {
            if task.debug || Golden::is_unsupported(gpa) {
                return Err(Cause::TransactionTypeDisallowed.into());
            }
            if access.write {
                self.store_msi(memory, &file, gpa, request.data)?;
            }
        }
        let (rcid, mcid) = qos_ids(device);
        let mut translation = Translation {
            spa: second.address,
            read: first.read && second.read,
            write: first.write && second.write,
            exec: first.exec && second.exec,
            page_shift: self.page_shift(device, &first, &second),
            pbmt: if first.pbmt != 0 { first.pbmt } else { second.pbmt },
            rcid: rcid as u16,
            mcid: mcid as u16,
            mrif: resident.is_some(),
            ats: None,
        };
        if access.asks {
            self.complete_ats(task.request, device, gpa, &first, target.is_some(), &mut translation);
        } else if self.parameters.caching && target.is_none() && !task.debug {
            self.cache.keep_translation(Tag::of(request), &translation, context, &first, gpa, second.shift);
        }
        Ok(translation)
    }

    /// log2 of the bytes that both stages translate by one rule. In a guest with virtual interrupt files a larger page may hold one
    /// of them, so that nothing larger than a page is answered.
    fn page_shift(&self, device: &DeviceContext, first: &Stage, second: &Stage) -> u8 {
        if dc::msiptp::MODE.get(device.msiptp) != dc::msiptp_mode::OFF {
            return PAGE_SHIFT;
        }
        match first.shift.min(second.shift) {
            64 => self.parameters.bare_page_shift,
            shift => shift,
        }
    }

    /// Step 20 for a request that nothing translates.
    fn pass(&self, request: &Request, access: &Access, rcid: u64, mcid: u64) -> Result<Translation, Stop> {
        if self.port(false).beyond(request.iova) {
            return Err(access.access_fault());
        }
        Ok(Translation {
            spa: request.iova,
            read: true,
            write: true,
            exec: true,
            page_shift: self.parameters.bare_page_shift,
            rcid: rcid as u16,
            mcid: mcid as u16,
            ..Translation::default()
        })
    }

    /// Whether the IOMMU has a feature: a field of `capabilities`.
    #[inline]
    pub(super) fn has(&self, feature: pasidon_spec::field::Field) -> bool {
        feature.is_set(self.parameters.capabilities)
    }
}

/// Adds the first stage of `iosatp` (`DC.fsc` or `PC.fsc`, which have the same format) to the page table information.
#[inline]
fn first_stage_of(context: &mut Context, iosatp: u64, pscid: u64) {
    let mode = pc::fsc::MODE.get(iosatp);
    if mode != iosatp_mode::BARE {
        context.first = page_table::first_stage(context.sxl, mode);
        context.first_root = pc::fsc::PPN.get(iosatp) << PAGE_SHIFT;
        context.ids.pscid = Some(pscid as u32);
    }
}

/// RCID and MCID of the device's accesses: 0 without the QoS ID extension, because reserved bits were checked.
fn qos_ids(device: &DeviceContext) -> (u64, u64) {
    (dc::ta::RCID.get(device.ta), dc::ta::MCID.get(device.ta))
}

/// `TTYP` of the record of a fault that `request` met. (Section "Fault/Event-Queue (FQ)".)
pub(super) fn transaction_type(request: &Request) -> u64 {
    let access = Access::of(request);
    let by_type = |exec, read, write| {
        if access.exec {
            exec
        } else if access.write {
            write
        } else {
            read
        }
    };
    match request.at {
        AddressType::TranslationRequest => ttyp::ATS_TRANSLATION_REQUEST,
        AddressType::Untranslated => {
            by_type(ttyp::UNTRANSLATED_READ_FOR_EXECUTE, ttyp::UNTRANSLATED_READ, ttyp::UNTRANSLATED_WRITE)
        }
        AddressType::Translated => {
            by_type(ttyp::TRANSLATED_READ_FOR_EXECUTE, ttyp::TRANSLATED_READ, ttyp::TRANSLATED_WRITE)
        }
    }
}
