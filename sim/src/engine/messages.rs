//! The messages between devices and IOMMU, seen from the devices: offers page requests and invalidation completions, takes messages, and
//! checks that the hardware keeps what it offers.

use super::bus::Pace;
use crate::machine::Random;
use crate::model::ports::{MessageIn, MessageOut};
use pasidon_rtl::design::Design;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::message::{InvalidationRequest, PageRequestGroupResponse, code};
use pasidon_spec::page_request::PageRequest;
use std::collections::VecDeque;

/// What happened at the message ports, in the order in which it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageEvent {
    /// The hardware has dealt with a page request.
    PageRequest(PageRequest),
    /// The hardware has dealt with an invalidation completion.
    Completion(InvalidationCompletion),
    /// Invalidation requests timed out, a bit for each itag.
    Timeout(u32),
    /// A message to a device was sent.
    Message(Message),
}

/// The message ports.
#[derive(Default)]
pub(super) struct MessagePorts {
    widths: (u32, u32),
    page_requests: VecDeque<PageRequest>,
    page_request: Option<PageRequest>,
    completions: VecDeque<InvalidationCompletion>,
    completion: Option<InvalidationCompletion>,
    /// A message that was shown and not taken.
    held: Option<[u64; 8]>,
    messages: Vec<Message>,
    events: Vec<MessageEvent>,
}

impl MessagePorts {
    pub fn new(design: &Design) -> MessagePorts {
        MessagePorts { widths: (design.device_id_width, design.process_id_width), ..Default::default() }
    }

    /// Forgets everything that is under way.
    pub fn reset(&mut self) {
        *self = MessagePorts { widths: self.widths, ..Default::default() };
    }

    pub fn page_request(&mut self, request: PageRequest) {
        self.page_requests.push_back(request);
    }

    pub fn invalidation_completion(&mut self, completion: InvalidationCompletion) {
        self.completions.push_back(completion);
    }

    /// Nothing happened since events were last taken.
    pub fn is_quiet(&self) -> bool {
        self.events.is_empty()
    }

    /// Nothing is on its way to the hardware.
    pub fn is_idle(&self) -> bool {
        self.page_request.is_none()
            && self.completion.is_none()
            && self.page_requests.is_empty()
            && self.completions.is_empty()
    }

    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    pub fn take_events(&mut self) -> Vec<MessageEvent> {
        std::mem::take(&mut self.events)
    }

    /// One clock cycle. Says whether something happened that commands may wait for.
    ///
    /// # Errors
    /// What the hardware did wrong.
    #[inline]
    pub fn cycle(
        &mut self,
        out: &MessageOut,
        input: &mut MessageIn,
        pace: &Pace,
        random: &mut Random,
    ) -> Result<bool, String> {
        if self.is_idle() && (out.msg_valid | out.ev_ats_timeout) == 0 && self.held.is_none() {
            (input.pr_valid, input.ic_valid, input.msg_ready) = (0, 0, 1);
            return Ok(false);
        }
        let mut happened = false;
        let mut offers = || pace.request_pauses == 0 || random.below(256) >= u64::from(pace.request_pauses);
        if self.page_request.is_none() && !self.page_requests.is_empty() && offers() {
            self.page_request = self.page_requests.pop_front();
        }
        if self.completion.is_none() && !self.completions.is_empty() && offers() {
            self.completion = self.completions.pop_front();
        }
        input.pr_valid = u64::from(self.page_request.is_some());
        if let Some(request) = &self.page_request {
            input.pr_did = u64::from(request.did);
            input.pr_pv = u64::from(request.pv);
            input.pr_pid = u64::from(request.pid);
            input.pr_priv = u64::from(request.privileged);
            input.pr_exec = u64::from(request.execute);
            input.pr_payload = request.encode()[1];
            if out.pr_ready & 1 != 0 {
                self.events.extend(self.page_request.take().map(MessageEvent::PageRequest));
            }
        }
        input.ic_valid = u64::from(self.completion.is_some());
        if let Some(completion) = &self.completion {
            let segment = u64::from(completion.dseg.unwrap_or(0));
            input.ic_did = segment << 16 | u64::from(completion.rid);
            input.ic_itags = u64::from(completion.itags);
            input.ic_count = u64::from(completion.count & 7);
            if out.ic_ready & 1 != 0 {
                self.events.extend(self.completion.take().map(MessageEvent::Completion));
                happened = true;
            }
        }
        // What times out in the cycle in which a completion is done with was in flight before.
        if out.ev_ats_timeout != 0 {
            self.events.push(MessageEvent::Timeout(out.ev_ats_timeout as u32));
            happened = true;
        }
        let ready = pace.response_pauses == 0 || random.below(256) >= u64::from(pace.response_pauses);
        input.msg_ready = u64::from(ready);
        self.message(out, ready)?;
        Ok(happened)
    }

    fn message(&mut self, out: &MessageOut, ready: bool) -> Result<(), String> {
        if out.msg_valid & 1 == 0 {
            return if self.held.is_none() { Ok(()) } else { Err("a message was taken back".into()) };
        }
        let shown = [
            out.msg_code,
            out.msg_rid,
            out.msg_dsv,
            out.msg_dseg,
            out.msg_pv,
            out.msg_pid,
            out.msg_itag,
            out.msg_payload,
        ];
        if self.held.is_some_and(|held| held != shown) {
            return Err("a message changed while it waited".into());
        }
        self.held = (!ready).then_some(shown);
        if ready {
            let message = decoded(out)?;
            self.messages.push(message);
            self.events.push(MessageEvent::Message(message));
        }
        Ok(())
    }
}

/// What the wires of a message say.
fn decoded(out: &MessageOut) -> Result<Message, String> {
    let rid = out.msg_rid as u16;
    let dseg = (out.msg_dsv != 0).then_some(out.msg_dseg as u8);
    let pid = (out.msg_pv != 0).then_some(out.msg_pid as u32);
    match (u64::from(out.msg_code as u8), out.msg_itag) {
        (code::INVALIDATION_REQUEST, itag) => {
            let body = InvalidationRequest::decode(out.msg_payload);
            Ok(Message::Invalidation { rid, dseg, pid, itag: itag as u8, body })
        }
        (code::PAGE_REQUEST_GROUP_RESPONSE, 0) => {
            let body = PageRequestGroupResponse::decode(out.msg_payload);
            Ok(Message::GroupResponse { rid, dseg, pid, body })
        }
        (code, itag) => Err(format!("a message with code {code:#x} and tag {itag}")),
    }
}
