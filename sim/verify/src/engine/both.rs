//! The hardware and the golden model driven alike, and compared.
//!
//! The hardware answers a batch of requests in an order of its own. When it is quiet, the golden model answers the same requests
//! in the order in which they were submitted, and everything is compared: answers, fault records (of a batch: as a set), what was
//! written to memory, registers, interrupt wires. Where memory changed and nothing forbids the hardware to use what it remembers,
//! every answer that some mixture of old and new values gives is right ([`Versions`]); the golden model then goes on from the one
//! that the hardware gave.

mod compare;
mod counts;
mod debug;
mod messages;
mod mixtures;
mod records;

use super::difference::{self, DifferenceKind};
use super::model::Model;
use super::rtl::Rtl;
use super::versions::{Choices, Content, Noted, Notice, Versions, WhatIf, Written};
use super::{Engine, EngineError, Ticket};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{Register, fqb, fqt, pqb};
use pasidon_spec::request::{Request, Response};
use std::ops::Range;

/// How often to compare again before a difference is reported, while invalidation requests time out.
const MOST_TRIES: u32 = 4;

/// Both descriptions at once.
pub struct Both {
    rtl: Rtl,
    model: Model,
    versions: Versions,
    /// The versions that are left for requests after the fence, if there was one since the last comparison.
    fenced: Option<Versions>,
    /// Requests whose answers had left the hardware before that fence completed: no other answer may be used for an access that
    /// the fence forbids.
    fenced_answers: Vec<Ticket>,
    /// Requests that the golden model has not answered: ticket of the hardware, request, and whether it was asked after the fence.
    asked: Vec<(Ticket, Request, bool)>,
    /// Their answers, by ticket less `first`.
    answers: Vec<Option<Response>>,
    first: Ticket,
    /// Answers that were compared.
    compared: Vec<(Ticket, Response)>,
    fault_tail: u64,
    /// Messages that were compared.
    messages: Vec<Message>,
    /// Messages of the hardware, and of the golden model, that were not.
    sent: Vec<Message>,
    expected: Vec<Message>,
    exchanges: Vec<Written>,
    notices: Vec<Notice>,
}

impl Both {
    /// The two engines, both just reset and with equal memories.
    pub fn new(rtl: Rtl, mut model: Model) -> Both {
        model.golden_mut().follow_itags();
        Both {
            rtl,
            model,
            versions: Versions::default(),
            fenced: None,
            fenced_answers: Vec::new(),
            asked: Vec::new(),
            answers: Vec::new(),
            first: 0,
            compared: Vec::new(),
            fault_tail: 0,
            messages: Vec::new(),
            sent: Vec::new(),
            expected: Vec::new(),
            exchanges: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// From now on, software may do what the specification leaves open: cycles, misses and walks are counted as the hardware does,
    /// and the page-table entries of a NAPOT range may differ.
    pub fn allow_any_software(&mut self) {
        self.model.golden_mut().follow_counts();
        self.versions.allow_ranges();
    }

    /// The hardware.
    pub fn rtl(&mut self) -> &mut Rtl {
        &mut self.rtl
    }

    /// The golden model.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }

    /// The doubleword at `address` in the golden model's memory.
    pub fn load(&mut self, address: u64) -> Option<u64> {
        self.model.memory_mut().load(address)
    }

    /// Zeroes in both memories, no failures, nothing remembered.
    pub fn clear_memory(&mut self) {
        self.rtl.memory_mut().clear();
        self.model.memory_mut().clear();
        self.versions.forget_all();
    }

    /// Software changes a doubleword. `remembered`: the hardware may go on using the old value, until it is told to
    /// [`forget`](Self::forget).
    pub fn store(&mut self, address: u64, value: u64, remembered: bool) -> bool {
        if remembered {
            self.versions.remember(address, Content::of(self.model.memory_mut(), address));
        }
        self.rtl.store(address, value) && self.model.memory_mut().store(address, value)
    }

    /// The hardware may no longer use what the doubleword at `address` held before.
    pub fn forget(&mut self, address: u64) {
        self.versions.forget(address);
    }

    /// The hardware may no longer use anything but what memory holds.
    pub fn forget_all(&mut self) {
        self.versions.forget_all();
    }

    /// Whether the hardware may use anything but what memory holds.
    pub fn remembers(&self) -> bool {
        !self.versions.is_empty()
    }

    /// A fence completed while requests were under way: those [asked](Self::ask) after it may not use what the doublewords at these
    /// addresses held before. Those asked before it still may, but only to refuse: what allows an access has left the hardware before
    /// the fence completes. (Section "IOMMU Command-Queue Fence commands".)
    pub fn fence(&mut self, addresses: impl Iterator<Item = u64>) {
        let mut left = self.versions.clone();
        addresses.for_each(|address| left.forget(address));
        self.fenced = Some(left);
        self.fenced_answers = self.rtl.answered_before_drain().collect();
        self.fenced_answers.sort_unstable();
    }

    /// Fault records that these requests will cause if they use what memory holds.
    pub fn records_expected(&mut self, requests: impl Iterator<Item = Request>) -> u64 {
        let (golden, memory) = self.model.parts();
        let mut golden = golden.clone();
        let none = Versions::default();
        let mut count = 0;
        for request in requests {
            let mut choices = Choices::default();
            let response = golden.translate(&mut WhatIf::new(memory, &none, &mut choices), &request);
            count += u64::from(response.fault().is_some_and(|fault| fault.reported));
        }
        count
    }

    /// Hands a request to a port. With `fenced`, it is asked after the [fence](Self::fence).
    pub fn ask(&mut self, port: usize, request: &Request, fenced: bool) -> Ticket {
        let ticket = self.rtl.submit(port, request);
        if self.asked.is_empty() {
            self.first = ticket;
        }
        self.asked.push((ticket, *request, fenced));
        ticket
    }

    /// Resets both in the middle of whatever the hardware is doing. Memory is from then on what the hardware has made of it.
    ///
    /// # Errors
    /// [`EngineError`], if the hardware has failed.
    pub fn interrupt(&mut self) -> Result<(), EngineError> {
        self.rtl.check()?;
        self.reset()?;
        for address in std::mem::take(&mut self.rtl.memory_mut().written) {
            if let Some(value) = self.rtl.memory_mut().load(address) {
                self.model.memory_mut().store(address, value);
            }
        }
        self.model.memory_mut().written.clear();
        Ok(())
    }

    /// Waits for all answers and compares everything.
    ///
    /// # Errors
    /// [`EngineError::Different`] with the first difference; others if the hardware fails.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        for _ in 0..MOST_TRIES {
            self.rtl.quiesce()?;
            self.judge()?;
            self.follow_overflows()?;
            match self.compare() {
                // What timed out meanwhile has made commands go on in one of the two.
                Err(EngineError::Different(_)) if self.rtl.commands_may_go_on() => {}
                result => return result,
            }
        }
        self.compare()
    }

    /// Has the golden model answer what the hardware has answered.
    fn judge(&mut self) -> Result<(), EngineError> {
        self.answers.clear();
        self.answers.resize(self.asked.len(), None);
        for (ticket, response) in self.rtl.take_responses() {
            if let Some(slot) = ticket.checked_sub(self.first).and_then(|i| self.answers.get_mut(i as usize))
            {
                *slot = Some(response);
            }
            self.compared.push((ticket, response));
        }
        let tail = self.golden_register(&fqt::REG);
        let mut records = loop {
            let begun = self.rtl.cycles();
            let records = self.new_records(tail)?;
            if !self.rtl.timed_out_since(begun) {
                break records;
            }
            self.rtl.quiesce()?;
        };
        let mut asked = std::mem::take(&mut self.asked);
        let mut left = self.fenced.take();
        if left.is_some() && !self.versions.is_empty() {
            let answers = std::mem::take(&mut self.fenced_answers);
            for (ticket, _, after) in &mut asked {
                let answer = self.answers[(*ticket - self.first) as usize];
                let late = answers.binary_search(ticket).is_err();
                *after |= late && answer.is_some_and(|answer| answer.success().is_some());
            }
            asked.sort_by_key(|(_, _, after)| *after);
        }
        // What is asked after the fence has its own records, which must not be taken for those of requests before it.
        let mut later_records = Vec::new();
        if left.is_some() {
            for (_, request, _) in asked.iter().filter(|(_, _, after)| *after) {
                let own = self.record_now(request);
                let index = own.and_then(|own| records.iter().position(|r| *r == own));
                later_records.extend(index.map(|index| records.swap_remove(index)));
            }
        }
        let mut before_fence = None;
        let mut later = Vec::new();
        for (ticket, request, after) in &asked {
            let Some(answer) = self.answers[(*ticket - self.first) as usize] else { continue };
            if *after && let Some(mut left) = left.take() {
                // From here on, the fence holds; what was remembered before it is kept for those that were asked before. What the
                // hardware itself changed (A and D bits) may be read before or after by all of the batch.
                self.exchanges.iter().for_each(|w| left.remember_exchange(w));
                before_fence = Some(std::mem::replace(&mut self.versions, left));
                records.append(&mut later_records);
            }
            if !self.versions.is_empty() && self.any_version(request, &answer, &mut records) {
                continue;
            }
            let (golden, memory) = self.model.parts();
            let mut noted = Noted { memory, exchanges: &mut self.exchanges, notices: &mut self.notices };
            let expected = golden.translate(&mut noted, request);
            if !difference::same(&answer, &expected) {
                later.push((*request, answer, expected, *after));
            }
        }
        for written in std::mem::take(&mut self.exchanges) {
            self.versions.remember_exchange(&written);
            before_fence.iter_mut().for_each(|versions| versions.remember_exchange(&written));
        }
        for (request, answer, expected, after) in later {
            let mut kind = DifferenceKind::Response;
            let mut possible = self.is_possible(&request, &answer);
            if !possible && let Some(old) = before_fence.take() {
                let present = std::mem::replace(&mut self.versions, old);
                let stale = self.is_possible(&request, &answer);
                before_fence = Some(std::mem::replace(&mut self.versions, present));
                possible = stale && !after;
                if stale && after {
                    kind = DifferenceKind::Stale;
                }
            }
            if !possible {
                return Err(EngineError::Different(difference::of_responses(
                    kind, &request, &answer, &expected,
                )));
            }
        }
        if let Some(left) = left {
            self.versions = left;
        }
        self.adopt_notices();
        self.model.run();
        self.replay_messages(&mut records)?;
        self.adopt_records(tail)
    }

    /// Of several notices of a batch to one address, the hardware may have written any as the last.
    fn adopt_notices(&mut self) {
        let notices = std::mem::take(&mut self.notices);
        for notice in &notices {
            let shift = 8 * (notice.address & 4);
            let mask = 0xffff_ffff << shift;
            let (Some(rtl), Some(golden)) =
                (self.rtl.memory_mut().load(notice.address), self.load(notice.address))
            else {
                continue;
            };
            let last = Notice { address: notice.address, value: (rtl & mask) >> shift };
            if notices.contains(&last) {
                self.model.memory_mut().store(notice.address, golden & !mask | rtl & mask);
            }
        }
    }

    fn page_request_queue(&mut self) -> Queue {
        Queue::page_requests(self.golden_register(&pqb::REG))
    }

    fn golden_register(&mut self, register: &Register) -> u64 {
        self.model.golden_mut().read_register(register.offset, register.bytes)
    }

    fn fault_queue(&mut self) -> Queue {
        Queue::faults(self.golden_register(&fqb::REG))
    }
}

impl Engine for Both {
    fn reset(&mut self) -> Result<(), EngineError> {
        self.asked.clear();
        self.messages.clear();
        self.sent.clear();
        self.expected.clear();
        self.compared.clear();
        self.exchanges.clear();
        self.notices.clear();
        self.fenced = None;
        self.versions.forget_all();
        self.model.reset()?;
        self.rtl.reset()
    }

    fn step(&mut self, cycles: u64) -> Result<(), EngineError> {
        self.rtl.step(cycles)?;
        self.model.step(cycles)
    }

    fn cycles(&self) -> u64 {
        self.rtl.cycles()
    }

    /// The value, if it is the same in both.
    fn read_register(&mut self, offset: u16, bytes: u8) -> Result<u64, EngineError> {
        self.settle()?;
        if self.is_followed_count(offset) {
            return self.rtl.read_register(offset, bytes);
        }
        self.compare_register(offset, bytes, "register")
    }

    fn write_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        let of_monitor = counts::is_of_monitor(offset);
        if of_monitor || !self.rtl.messages_are_quiet() {
            self.settle()?;
        }
        self.rtl.write_register(offset, bytes, value)?;
        self.rtl.settle_registers()?;
        if of_monitor {
            self.follow_counts()?;
        }
        self.model.golden_mut().write_register(offset, bytes, value);
        self.debug_of_any_version()?;
        self.model.run();
        self.replay_messages(&mut Vec::new())
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.rtl.read_memory(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        for at in (address & !7..address.saturating_add(bytes.len() as u64)).step_by(8) {
            self.versions.remember(at, Content::of(self.model.memory_mut(), at));
        }
        self.rtl.write_memory(address, bytes) && self.model.write_memory(address, bytes)
    }

    fn inject(&mut self, range: Range<u64>, failure: Failure) {
        // What cannot be written reads as before.
        if failure != Failure::Write {
            for at in (range.start & !7..range.end).step_by(8) {
                self.versions.remember(at, Content::of(self.model.memory_mut(), at));
            }
        }
        self.rtl.inject(range.clone(), failure);
        self.model.inject(range, failure);
    }

    fn heal(&mut self) {
        self.rtl.heal();
        self.model.heal();
    }

    fn ports(&self) -> usize {
        self.rtl.ports()
    }

    fn submit(&mut self, port: usize, request: &Request) -> Ticket {
        self.ask(port, request, false)
    }

    fn take_responses(&mut self) -> Vec<(Ticket, Response)> {
        if self.asked.is_empty() { std::mem::take(&mut self.compared) } else { Vec::new() }
    }

    fn outstanding(&self) -> usize {
        self.asked.len()
    }

    fn quiesce(&mut self) -> Result<(), EngineError> {
        self.settle()
    }

    fn translate(&mut self, port: usize, request: &Request) -> Result<Response, EngineError> {
        let ticket = self.ask(port, request, false);
        self.settle()?;
        let index = self.compared.iter().rposition(|(t, _)| *t == ticket);
        index
            .map(|i| self.compared.swap_remove(i).1)
            .ok_or(EngineError::Unsupported("an answer without a request"))
    }

    fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    fn page_request(&mut self, request: &PageRequest) -> Result<(), EngineError> {
        self.rtl.page_request(request)
    }

    fn invalidation_completion(&mut self, completion: &InvalidationCompletion) -> Result<(), EngineError> {
        self.rtl.invalidation_completion(completion)
    }

    fn wires(&mut self) -> u32 {
        self.rtl.wires()
    }
}
