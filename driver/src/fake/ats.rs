//! ATS and PRI as the behavioural IOMMU speaks them: translation requests, translated requests, page requests
//! with their automatic responses, and the commands that become messages to devices.

use super::{Event, Machine, walk::Access};
use alloc::{format, vec::Vec};
use pasidon_spec::{
    command::Command,
    ddt::{dc, iommu_mode},
    fault::{AtsResponse, Cause, FaultRecord, ttyp},
    message::{InvalidationRequest, PageRequestGroupResponse, code, response_code},
    page_request::{PageRequest, Refusal},
    page_table::pte,
    queue::Queue,
    registers::{cqcsr, ipsr, pqcsr},
};

/// A message from the IOMMU to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// The device is to forget translations.
    Invalidation {
        /// Segment and requester id.
        device_id: u32,
        /// Translations of this PASID; `None` for those without, or of all if the request is global.
        pasid: Option<u32>,
        /// The body.
        request: InvalidationRequest,
        /// The tag that the completion carries.
        itag: u8,
    },
    /// The answer to a group of page requests.
    GroupResponse {
        /// Segment and requester id.
        device_id: u32,
        /// The PASID, if the message has one.
        pasid: Option<u32>,
        /// The body.
        response: PageRequestGroupResponse,
        /// The IOMMU sent it by itself.
        automatic: bool,
    },
}

impl Message {
    pub(super) const fn device_id(&self) -> u32 {
        match self {
            Message::Invalidation { device_id, .. } | Message::GroupResponse { device_id, .. } => *device_id,
        }
    }
}

/// The answer to a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Success, with the physical page and what the device may do with it: possibly nothing.
    Success {
        /// Address of the page of 4 KiB.
        page: u64,
        /// Reads are allowed.
        read: bool,
        /// Writes are allowed.
        write: bool,
    },
    /// The device may not use ATS.
    UnsupportedRequest,
    /// The tables are broken.
    CompleterAbort,
}

/// Invalidation requests that wait for their completion.
#[derive(Default)]
pub(super) struct Invalidations {
    /// By tag: the device, and when the request times out.
    outstanding: Vec<Option<(u32, u64)>>,
    /// A request has timed out and no IOFENCE.C has reported it yet.
    timed_out: bool,
}

impl Machine {
    /// Whether the device context allows ATS, and what it says.
    fn ats_context(&mut self, device_id: u32) -> Result<u64, Cause> {
        let mode = self.registers.mode();
        let levels = match iommu_mode::levels(mode) {
            Some(levels) => levels,
            None if mode == iommu_mode::OFF => return Err(Cause::AllInboundTransactionsDisallowed),
            None => return Err(Cause::TransactionTypeDisallowed),
        };
        Ok(self.device_context(device_id, levels)?.control)
    }

    pub(super) fn translation_request(
        &mut self,
        device_id: u32,
        pasid: Option<u32>,
        iova: u64,
    ) -> Completion {
        let found = self.ats_context(device_id).and_then(|control| {
            if !dc::tc::EN_ATS.is_set(control) {
                return Err(Cause::TransactionTypeDisallowed);
            }
            self.look_up(device_id, pasid, iova, Access::Read)
        });
        match found {
            Ok(None) => Completion::Success { page: iova & !0xfff, read: true, write: true },
            Ok(Some((entry, page))) => {
                let usable = pte::U.is_set(entry) && pte::A.is_set(entry);
                let read = usable && pte::R.is_set(entry);
                let write = usable && pte::W.is_set(entry) && pte::D.is_set(entry);
                Completion::Success { page: page << 12, read, write }
            }
            Err(cause) => {
                let answer = cause.ats_response();
                if answer == Some(AtsResponse::Success) {
                    return Completion::Success { page: 0, read: false, write: false };
                }
                self.raise(FaultRecord {
                    cause: cause.code(),
                    ttyp: ttyp::ATS_TRANSLATION_REQUEST as u8,
                    did: device_id,
                    pv: pasid.is_some(),
                    pid: pasid.unwrap_or(0),
                    iotval: iova,
                    ..FaultRecord::default()
                });
                match answer {
                    Some(AtsResponse::CompleterAbort) => Completion::CompleterAbort,
                    _ => Completion::UnsupportedRequest,
                }
            }
        }
    }

    /// An access with an address that the device got from a translation request.
    pub(super) fn translated(&mut self, device_id: u32, address: u64, access: Access) -> Result<u64, u16> {
        let allowed = self.ats_context(device_id).and_then(|control| {
            let allowed = dc::tc::EN_ATS.is_set(control);
            if allowed { Ok(()) } else { Err(Cause::TransactionTypeDisallowed) }
        });
        allowed.map(|()| address).map_err(|cause| {
            let kind = match access {
                Access::Read => ttyp::TRANSLATED_READ,
                Access::Write => ttyp::TRANSLATED_WRITE,
            };
            self.raise(FaultRecord {
                cause: cause.code(),
                ttyp: kind as u8,
                did: device_id,
                iotval: address,
                ..FaultRecord::default()
            });
            cause.code()
        })
    }

    /// A page request or stop marker arrives. (Section "PCIe ATS Page Request handling".)
    pub(super) fn page_request(&mut self, request: PageRequest) {
        let mut prpr = false;
        let context = self.ats_context(request.did).and_then(|control| {
            prpr = dc::tc::PRPR.is_set(control);
            let allowed = dc::tc::EN_ATS.is_set(control) && dc::tc::EN_PRI.is_set(control);
            if allowed { Ok(()) } else { Err(Cause::TransactionTypeDisallowed) }
        });
        let queued = match context {
            Ok(()) => self.queue(request),
            Err(cause) => {
                self.refuse_message(request.did, code::PAGE_REQUEST, cause);
                Err(Refusal::Fault(cause))
            }
        };
        let Err(refusal) = queued else { return };
        let (true, Some(code)) = (request.needs_response(), refusal.response_code()) else { return };
        let with_pasid = request.pv && (prpr || code == response_code::RESPONSE_FAILURE);
        self.send(Message::GroupResponse {
            device_id: request.did,
            pasid: with_pasid.then_some(request.pid),
            response: PageRequestGroupResponse { index: request.index, code: code as u8 },
            automatic: true,
        });
    }

    fn queue(&mut self, request: PageRequest) -> Result<(), Refusal> {
        let regs = &mut self.registers;
        let result = if !pqcsr::PQEN.is_set(regs.pqcsr) || !pqcsr::PQON.is_set(regs.pqcsr) {
            return Err(Refusal::QueueOff);
        } else if pqcsr::PQMF.is_set(regs.pqcsr) {
            Err(Refusal::QueueMemoryFault)
        } else if pqcsr::PQOF.is_set(regs.pqcsr) {
            Err(Refusal::QueueOverflow)
        } else {
            let queue = Queue::page_requests(regs.pqb);
            if queue.is_full(regs.pqh, regs.pqt) {
                regs.pqcsr |= pqcsr::PQOF.mask();
                Err(Refusal::QueueOverflow)
            } else if self.knobs.request_faults > 0 {
                self.knobs.request_faults -= 1;
                regs.pqcsr |= pqcsr::PQMF.mask();
                Err(Refusal::QueueMemoryFault)
            } else {
                let address = queue.entry(regs.pqt);
                regs.pqt = queue.next(regs.pqt);
                regs.ipsr |= ipsr::PIP.of(pqcsr::PIE.get(regs.pqcsr));
                for (offset, word) in (0..).step_by(8).zip(request.encode()) {
                    self.store(address + offset, word);
                }
                Ok(())
            }
        };
        self.registers.hold_pending();
        result
    }

    fn refuse_message(&mut self, device_id: u32, message: u64, cause: Cause) {
        self.raise(FaultRecord {
            cause: cause.code(),
            ttyp: ttyp::MESSAGE_REQUEST as u8,
            did: device_id,
            iotval: message,
            ..FaultRecord::default()
        });
    }

    /// A device says that it has forgotten what the request with this tag named.
    pub(super) fn invalidation_completion(&mut self, device_id: u32, itag: u8) {
        match self.ats_context(device_id) {
            Ok(control) if dc::tc::EN_ATS.is_set(control) => {}
            Ok(_) => {
                let cause = Cause::TransactionTypeDisallowed;
                return self.refuse_message(device_id, code::INVALIDATION_COMPLETION, cause);
            }
            Err(cause) => return self.refuse_message(device_id, code::INVALIDATION_COMPLETION, cause),
        }
        // A completion that nobody waits for, or from the wrong device, means nothing.
        if let Some(slot) = self.invalidations.outstanding.get_mut(usize::from(itag))
            && slot.is_some_and(|(device, _)| device == device_id)
        {
            *slot = None;
        }
    }

    /// Executes an ATS command. `false`: it has to wait.
    pub(super) fn ats_command(&mut self, command: Command) -> bool {
        let device = |dseg: Option<u8>, rid: u16| u32::from(dseg.unwrap_or(0)) << 16 | u32::from(rid);
        match command {
            Command::AtsInval { pid, dseg, rid, payload } => {
                let deadline = self.ticks + self.knobs.ats_timeout;
                let slots = &mut self.invalidations.outstanding;
                slots.resize(self.knobs.itags, None);
                let Some(itag) = slots.iter().position(Option::is_none) else { return false };
                let device_id = device(dseg, rid);
                slots[itag] = Some((device_id, deadline));
                let request = InvalidationRequest::decode(payload);
                if request.encode() != payload {
                    self.violation(format!("reserved bits in the payload {payload:#x} of ATS.INVAL"));
                }
                self.send(Message::Invalidation { device_id, pasid: pid, request, itag: itag as u8 });
            }
            Command::AtsPrgr { pid, dseg, rid, payload } => {
                let response = PageRequestGroupResponse::decode(payload);
                if response.encode() != payload {
                    self.violation(format!("reserved bits in the payload {payload:#x} of ATS.PRGR"));
                }
                let device_id = device(dseg, rid);
                self.send(Message::GroupResponse { device_id, pasid: pid, response, automatic: false });
            }
            Command::IofenceC { .. } => {
                if self.invalidations.outstanding.iter().any(Option::is_some) {
                    return false;
                }
                if core::mem::take(&mut self.invalidations.timed_out) {
                    self.registers.cqcsr |= cqcsr::CMD_TO.mask();
                    return false;
                }
            }
            _ => {}
        }
        true
    }

    /// Gives up invalidation requests that have waited too long.
    pub(super) fn expire_invalidations(&mut self) {
        let now = self.ticks;
        for slot in &mut self.invalidations.outstanding {
            if slot.is_some_and(|(_, deadline)| now >= deadline) {
                *slot = None;
                self.invalidations.timed_out = true;
            }
        }
    }

    fn send(&mut self, message: Message) {
        self.events.push(Event::Message(message));
        let due = self.ticks;
        if let Some(endpoint) = self.endpoints.get_mut(&message.device_id()) {
            endpoint.receive(message, due);
        }
    }
}
