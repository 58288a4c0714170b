//! Messages between devices and IOMMU: the golden model does what the hardware did, in the hardware's order, and both sent the same.

use super::Both;
use super::mixtures::{Continuation, MOST_MIXTURES};
use super::records::record_of;
use crate::engine::difference::{DifferenceKind, Fields};
use crate::engine::versions::{Choices, WhatIf};
use crate::engine::{Engine, EngineError};
use pasidon_cosim::MessageEvent;
use pasidon_spec::message::Message;
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::pqt;

impl Both {
    /// Has the golden model do what the hardware did with messages, in the hardware's order. `records` are the fault records of the
    /// hardware that are not explained yet.
    pub(super) fn replay_messages(&mut self, records: &mut Vec<[u64; 4]>) -> Result<(), EngineError> {
        for event in self.rtl.take_message_events() {
            match event {
                MessageEvent::Message(message) => {
                    self.sent.push(message);
                    if let Message::Invalidation { itag, .. } = message {
                        self.model.golden_mut().give_itag(itag);
                    }
                }
                MessageEvent::PageRequest(request) => {
                    if self.versions.is_empty() || !self.page_request_of_any_version(&request, records)? {
                        self.model.page_request(&request)?;
                    }
                }
                MessageEvent::Completion(completion) => self.model.invalidation_completion(&completion)?,
                MessageEvent::Timeout(itags) => self.model.golden_mut().invalidation_timeout(itags),
            }
            self.model.run();
        }
        self.expected.append(&mut self.model.take_messages());
        Ok(())
    }

    /// The messages to devices are the same, requests in the same order; responses of commands and those of the IOMMU itself may
    /// overtake each other.
    pub(super) fn compare_messages(&mut self) -> Result<(), EngineError> {
        let lines = |messages: &[Message]| {
            let (mut requests, mut responses) = (Vec::new(), Vec::new());
            for message in messages {
                let is_request = matches!(message, Message::Invalidation { .. });
                if is_request { &mut requests } else { &mut responses }.push(format!("{message:x?}"));
            }
            responses.sort_unstable();
            requests.append(&mut responses);
            requests.join(", ")
        };
        if self.sent != self.expected {
            let mut fields = Fields::new();
            fields.compare("messages", lines(&self.sent), lines(&self.expected), |v| v);
            self.differ(fields, DifferenceKind::Message, || "since the last comparison".into())?;
        }
        self.expected.clear();
        self.messages.append(&mut self.sent);
        Ok(())
    }

    /// Finds a mixture of old and new values by which a page request comes to something that the hardware did, and has the golden
    /// model go on from there; false if none does.
    fn page_request_of_any_version(
        &mut self,
        request: &PageRequest,
        records: &mut Vec<[u64; 4]>,
    ) -> Result<bool, EngineError> {
        // Messages of the hardware of which the golden model has not sent the like.
        self.expected.append(&mut self.model.take_messages());
        let mut unexplained = self.sent.clone();
        for message in &self.expected {
            unexplained.iter().position(|m| m == message).map(|i| unexplained.swap_remove(i));
        }
        let end = self.rtl.read_register(pqt::REG.offset, pqt::REG.bytes)?;
        let tail = self.golden_register(&pqt::REG);
        let place = self.page_request_queue().entry(tail);
        let queued = [0, 8].map(|i| self.rtl.memory_mut().load(place + i).unwrap_or(0));
        let mut choices = Choices::default();
        let mut silent = None;
        for _ in 0..MOST_MIXTURES {
            let (golden, memory) = self.model.parts();
            let mut run = golden.clone();
            let mut what_if = WhatIf::new(memory, &self.versions, &mut choices);
            let result = run.page_request(&mut what_if, request);
            let WhatIf { written, notices, impossible, .. } = what_if;
            let response = run.take_messages().pop();
            let answered = response.map(|r| unexplained.contains(&r));
            let recorded = record_of(&written).map(|record| records.iter().position(|r| *r == record));
            let stored: Vec<u64> = written.iter().map(|w| w.value).collect();
            let fits = !impossible
                && answered != Some(false)
                && recorded != Some(None)
                && (result.is_err() || (end != tail && stored == queued));
            if fits && (result.is_ok() || answered.is_some() || recorded.is_some()) {
                self.expected.extend(response);
                recorded.flatten().map(|i| records.swap_remove(i));
                self.go_on_from(Continuation { run, written, notices });
                return Ok(true);
            }
            if fits && silent.is_none() {
                silent = Some(Continuation { run, written, notices });
            }
            if !choices.advance() {
                break;
            }
        }
        let found = silent.is_some();
        silent.into_iter().for_each(|next| self.go_on_from(next));
        Ok(found)
    }
}
