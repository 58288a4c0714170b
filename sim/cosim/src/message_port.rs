//! The messages between devices and IOMMU, seen from the devices: offers page requests and invalidation completions, takes messages, and
//! checks that the hardware keeps what it offers.

use crate::pace::Pace;
use crate::random::Random;
use crate::verilated::ports::{MessageIn, MessageOut};
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

/// What a cycle brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// This page request is on offer from now on: the hardware may deal with it, and answer it, before it takes it.
    pub offered: Option<PageRequest>,
    /// A completion was taken or a request timed out: commands that wait for devices may go on.
    pub commands_may_go_on: bool,
}

/// The message ports.
#[derive(Default)]
pub struct MessagePort {
    page_requests: VecDeque<PageRequest>,
    page_request: Option<PageRequest>,
    completions: VecDeque<InvalidationCompletion>,
    completion: Option<InvalidationCompletion>,
    /// A message that was shown and not taken.
    held: Option<[u64; 8]>,
    events: Vec<MessageEvent>,
}

impl MessagePort {
    /// Forgets everything that is under way.
    pub fn reset(&mut self) {
        *self = MessagePort::default();
    }

    /// The hardware was reset while this side was not: a message that it had shown need not be shown again.
    pub fn forget_shown(&mut self) {
        self.held = None;
    }

    /// Hands over a page request, behind those that wait.
    pub fn page_request(&mut self, request: PageRequest) {
        self.page_requests.push_back(request);
    }

    /// Hands over an invalidation completion, behind those that wait.
    pub fn invalidation_completion(&mut self, completion: InvalidationCompletion) {
        self.completions.push_back(completion);
    }

    /// The page request on offer, which the hardware may have begun to deal with.
    pub fn on_offer(&self) -> Option<&PageRequest> {
        self.page_request.as_ref()
    }

    /// The page requests that the hardware has not dealt with, the one on offer first.
    pub fn waiting_page_requests(&self) -> impl Iterator<Item = &PageRequest> {
        self.page_request.iter().chain(&self.page_requests)
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

    /// What happened since the last call, in order.
    pub fn take_events(&mut self) -> Vec<MessageEvent> {
        std::mem::take(&mut self.events)
    }

    /// Of that, the messages to devices; the rest is forgotten.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let messages = self.events.drain(..).filter_map(|event| match event {
            MessageEvent::Message(message) => Some(message),
            _ => None,
        });
        messages.collect()
    }

    /// One clock cycle.
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
    ) -> Result<Happened, String> {
        if self.is_idle() && (out.msg_valid | out.ev_ats_timeout) == 0 && self.held.is_none() {
            (input.pr_valid, input.ic_valid, input.msg_ready) = (0, 0, 1);
            return Ok(Happened::default());
        }
        let mut happened = Happened::default();
        let mut offers = || pace.request_pauses == 0 || random.below(256) >= u64::from(pace.request_pauses);
        if self.page_request.is_none() && !self.page_requests.is_empty() && offers() {
            self.page_request = self.page_requests.pop_front();
            happened.offered = self.page_request;
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
                happened.commands_may_go_on = true;
            }
        }
        // What times out in the cycle in which a completion is done with was in flight before.
        if out.ev_ats_timeout != 0 {
            self.events.push(MessageEvent::Timeout(out.ev_ats_timeout as u32));
            happened.commands_may_go_on = true;
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
            self.events.push(MessageEvent::Message(decoded(out)?));
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

#[cfg(test)]
mod tests {
    use super::*;

    const EVEN: Pace = Pace::even(1);

    #[test]
    fn messages_stay_in_order_until_they_are_taken() {
        let (mut port, mut random) = (MessagePort::default(), Random::new(1));
        let request = |index| PageRequest { did: 3, index, last: true, read: true, ..PageRequest::default() };
        let completion = InvalidationCompletion { rid: 3, dseg: None, itags: 5, count: 1 };
        (1..3).for_each(|index| port.page_request(request(index)));
        port.invalidation_completion(completion);
        let mut input = MessageIn::default();
        let mut cycle = |port: &mut MessagePort, out: MessageOut| {
            let happened = port.cycle(&out, &mut input, &EVEN, &mut random).unwrap();
            (happened, input.pr_valid, input.ic_valid)
        };
        let first = Happened { offered: Some(request(1)), commands_may_go_on: false };
        assert_eq!(cycle(&mut port, MessageOut::default()), (first, 1, 1));
        assert_eq!(cycle(&mut port, MessageOut::default()), (Happened::default(), 1, 1));
        assert_eq!((port.on_offer(), port.waiting_page_requests().count()), (Some(&request(1)), 2));
        assert!(port.is_quiet());
        let out = MessageOut { pr_ready: 1, ic_ready: 1, ..MessageOut::default() };
        assert_eq!(cycle(&mut port, out), (Happened { offered: None, commands_may_go_on: true }, 1, 1));
        assert_eq!(
            cycle(&mut port, out),
            (Happened { offered: Some(request(2)), commands_may_go_on: false }, 1, 0)
        );
        assert!(port.is_idle() && !port.is_quiet());
        let events = [
            MessageEvent::PageRequest(request(1)),
            MessageEvent::Completion(completion),
            MessageEvent::PageRequest(request(2)),
        ];
        assert_eq!((port.take_events(), port.is_quiet()), (events.to_vec(), true));
    }

    #[test]
    fn a_message_stays_until_it_is_taken() {
        let never = Pace { response_pauses: 255, ..EVEN };
        let out = MessageOut {
            msg_valid: 1,
            msg_code: code::PAGE_REQUEST_GROUP_RESPONSE,
            msg_rid: 7,
            ..MessageOut::default()
        };
        let shown = || {
            let (mut port, mut random) = (MessagePort::default(), Random::new(1));
            port.cycle(&out, &mut MessageIn::default(), &never, &mut random).unwrap();
            assert!(port.take_messages().is_empty());
            (port, random)
        };
        let (mut port, mut random) = shown();
        port.cycle(&out, &mut MessageIn::default(), &EVEN, &mut random).unwrap();
        assert!(matches!(port.take_messages()[..], [Message::GroupResponse { rid: 7, .. }]));
        for (next, said) in [
            (MessageOut::default(), "taken back"),
            (MessageOut { msg_rid: 8, ..out }, "changed while it waited"),
        ] {
            let (mut port, mut random) = shown();
            let problem = port.cycle(&next, &mut MessageIn::default(), &EVEN, &mut random).unwrap_err();
            assert!(problem.contains(said), "{problem}");
            // After a reset of the hardware nothing is owed.
            let (mut port, mut random) = shown();
            port.forget_shown();
            assert!(port.cycle(&next, &mut MessageIn::default(), &EVEN, &mut random).is_ok());
        }
        let (mut port, mut random) = (MessagePort::default(), Random::new(1));
        let odd = MessageOut { msg_code: 2, ..out };
        assert!(
            port.cycle(&odd, &mut MessageIn::default(), &EVEN, &mut random).unwrap_err().contains("code 0x2")
        );
    }
}
