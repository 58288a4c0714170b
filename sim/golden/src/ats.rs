//! Answers to ATS translation requests, page requests, and invalidation completions. (Sections "PCIe ATS translation request
//! handling", "PCIe ATS Page Request handling" and "IOMMU PCIe ATS commands".)

use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::{AtsResponse, Cause, FaultRecord, ttyp};
use pasidon_spec::field::Field;
use pasidon_spec::message::{PageRequestGroupResponse, code, response_code};
use pasidon_spec::page_request::{PageRequest, Refusal};
use pasidon_spec::page_table::{PAGE_SHIFT, pbmt};
use pasidon_spec::registers::ddtp;

use super::context::Stage;
use super::{Golden, Memory};
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::request::{AtsCompletion, Denial, Request, Translation};

/// How a translation request that meets `cause` is answered; `None` for success without any permission. The text names no answer for
/// corrupt data; a completer abort is the one that its hardware guidelines recommend.
pub(super) fn denial(cause: Cause) -> Option<Denial> {
    match cause.ats_response() {
        Some(AtsResponse::Success) => None,
        Some(AtsResponse::UnsupportedRequest) => Some(Denial::UnsupportedRequest),
        Some(AtsResponse::CompleterAbort) | None => Some(Denial::CompleterAbort),
    }
}

/// The answer without any permission.
pub(super) fn withheld(request: &Request, cause: Cause) -> Translation {
    Translation {
        page_shift: PAGE_SHIFT,
        ats: Some(AtsCompletion { withheld: Some(cause), ..completion(request) }),
        ..Translation::default()
    }
}

/// A message of a device, as far as a fault record holds it.
struct Sender {
    did: u32,
    pid: Option<u32>,
    privileged: bool,
    code: u64,
}

impl Golden {
    /// Fills in what the answer to a translation request says besides address and size. `gpa` is what the first stage gave.
    pub(super) fn complete_ats(
        &self,
        request: &Request,
        device: &DeviceContext,
        gpa: u64,
        first: &Stage,
        is_msi: bool,
        translation: &mut Translation,
    ) {
        let t2gpa = dc::tc::T2GPA.is_set(device.tc);
        if t2gpa {
            translation.spa = gpa;
        }
        translation.exec &= translation.read && request.exec;
        let memory_type = u64::from(translation.pbmt);
        translation.ats = Some(AtsCompletion {
            untranslated_only: translation.mrif,
            global: first.global && request.process_id.is_some() && !is_msi,
            cxl_io: request.cxl && (is_msi || t2gpa || memory_type != pbmt::PMA),
            ..completion(request)
        });
        translation.mrif = false;
    }

    /// Steps 1 to 6 of "Process to translate an IOVA" for a message, and the check that the device may send it: the device
    /// context, or the fault and `DC.tc.DTF`.
    fn sender(
        &mut self,
        memory: &mut impl Memory,
        sender: &Sender,
        enable: Field,
    ) -> Result<DeviceContext, (Cause, bool)> {
        match ddtp::IOMMU_MODE.get(self.registers.ddtp) {
            iommu_mode::OFF => return Err((Cause::AllInboundTransactionsDisallowed, false)),
            iommu_mode::BARE => return Err((Cause::TransactionTypeDisallowed, false)),
            _ => {}
        }
        let mut device = DeviceContext::default();
        self.device_context(memory, sender.did, sender.pid, &mut device).map_err(|cause| (cause, false))?;
        if !dc::tc::EN_ATS.is_set(device.tc) || !enable.is_set(device.tc) {
            return Err((Cause::TransactionTypeDisallowed, dc::tc::DTF.is_set(device.tc)));
        }
        Ok(device)
    }

    /// Records the fault that a message met. (Section "Fault/Event-Queue (FQ)".)
    fn report_message(&mut self, memory: &mut impl Memory, sender: &Sender, cause: Cause, dtf: bool) {
        if dtf && cause.dtf_suppresses() {
            return;
        }
        let record = FaultRecord {
            cause: cause.code(),
            ttyp: ttyp::MESSAGE_REQUEST as u8,
            did: sender.did,
            pv: sender.pid.is_some(),
            pid: sender.pid.unwrap_or(0),
            privileged: sender.privileged && sender.pid.is_some(),
            iotval: sender.code,
            iotval2: 0,
        };
        self.record_fault(memory, &record);
    }

    /// Takes a page request or stop marker from a device. (Section "PCIe ATS Page Request handling".)
    ///
    /// # Errors
    /// [`Refusal`], if it did not reach the queue. The answer of the IOMMU itself, if there is one, is in
    /// [`Golden::take_messages`].
    pub fn page_request(&mut self, memory: &mut impl Memory, request: &PageRequest) -> Result<(), Refusal> {
        let pid = request.pv.then_some(request.pid);
        let sender =
            Sender { did: request.did, pid, privileged: request.privileged, code: code::PAGE_REQUEST };
        let mut prpr = false;
        let result = match self.sender(memory, &sender, dc::tc::EN_PRI) {
            Ok(device) => {
                prpr = dc::tc::PRPR.is_set(device.tc);
                self.queue_page_request(memory, request)
            }
            Err((cause, dtf)) => {
                self.report_message(memory, &sender, cause, dtf);
                Err(Refusal::Fault(cause))
            }
        };
        if let Err(refusal) = result
            && request.needs_response()
        {
            self.respond(request, refusal, prpr);
        }
        self.update_interrupts();
        result
    }

    /// The page-request group response that the IOMMU itself makes. A cause for which the text names no status is a failure.
    fn respond(&mut self, request: &PageRequest, refusal: Refusal, prpr: bool) {
        let status = refusal.response_code().unwrap_or(response_code::RESPONSE_FAILURE);
        let with_pid = request.pv && (prpr || status == response_code::RESPONSE_FAILURE);
        let segment = (request.did >> 16) as u8;
        self.messages.push(Message::GroupResponse {
            rid: request.did as u16,
            dseg: (segment != 0).then_some(segment),
            pid: with_pid.then_some(request.pid),
            body: PageRequestGroupResponse { index: request.index, code: status as u8 },
        });
    }

    /// Takes an invalidation completion from a device; says whether it answers requests in flight. One that does not is ignored,
    /// one of a device that may not use ATS is a recorded fault.
    pub fn invalidation_completion(
        &mut self,
        memory: &mut impl Memory,
        completion: &InvalidationCompletion,
    ) -> bool {
        let did = u32::from(completion.dseg.unwrap_or(0)) << 16 | u32::from(completion.rid);
        let sender = Sender { did, pid: None, privileged: false, code: code::INVALIDATION_COMPLETION };
        match self.sender(memory, &sender, dc::tc::EN_ATS) {
            Ok(_) => self.commands.complete_invalidation(completion),
            Err((cause, dtf)) => {
                self.report_message(memory, &sender, cause, dtf);
                self.update_interrupts();
                false
            }
        }
    }

    /// The time to answer has run out for the invalidation requests in flight whose bits are set in `itags`.
    pub fn invalidation_timeout(&mut self, itags: u32) {
        self.commands.time_out(itags);
    }
}

/// What every completion of `request` says.
fn completion(request: &Request) -> AtsCompletion {
    AtsCompletion { privileged: request.is_privileged(), ..AtsCompletion::default() }
}
