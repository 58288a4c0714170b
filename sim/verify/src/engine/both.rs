//! The hardware and the golden model driven alike, and compared.
//!
//! The hardware answers a batch of requests in an order of its own. When it is quiet, the golden model answers the same requests
//! in the order in which they were submitted, and everything is compared: answers, fault records (of a batch: as a set), what was
//! written to memory, registers, interrupt wires. Where memory changed and nothing forbids the hardware to use what it remembers,
//! every answer that some mixture of old and new values gives is right ([`Versions`]); the golden model then goes on from the one
//! that the hardware gave.

mod counts;
mod debug;

use super::EngineMemory;
use super::difference::{self, DifferenceKind, Fields, hex};
use super::model::Model;
use super::rtl::Rtl;
use super::versions::{Choices, Content, Noted, Notice, Versions, WhatIf, Written};
use super::{Engine, EngineError, Ticket};
use pasidon_cosim::MessageEvent;
use pasidon_golden::Golden;
use pasidon_spec::fault::RECORD_BYTES;
use pasidon_spec::memory::Failure;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::{self, PageRequest};
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{Register, cqcsr, cqh, fqb, fqh, fqt, ipsr, pqb, pqh, pqt};
use pasidon_spec::request::{Request, Response};
use std::ops::Range;

/// Mixtures of old and new values that are tried for one answer.
const MOST_MIXTURES: u32 = 16_384;
/// How often to compare again before a difference is reported, while invalidation requests time out.
const MOST_TRIES: u32 = 4;

/// Mixtures that are tried for one answer when there is one already whose updates do not show in memory.
const MORE_MIXTURES: u32 = 2048;

/// A and D of page-table entries of 8 and 4 bytes, in either byte order.
const A_AND_D: u64 = 0xc0 | 0xc0 << 24 | 0xc0 << 32 | 0xc0 << 56;

/// Registers that every comparison looks at, as pairs of 4 bytes: heads and tails, queue control, pending interrupts.
const WATCHED: [(u16, &str); 5] = [
    (cqh::REG.offset, "cqh, cqt"),
    (fqh::REG.offset, "fqh, fqt"),
    (pqh::REG.offset, "pqh, pqt"),
    (cqcsr::REG.offset, "cqcsr, fqcsr"),
    (ipsr::REG.offset & !7, "pqcsr, ipsr"),
];

/// Which process context a request uses.
#[derive(Clone, Copy)]
enum Process {
    /// The one that its device context leads to.
    Located,
    /// One that was located by an older version of its device context, and kept.
    Older,
}

/// The golden model after a run that changed no memory yet, and what it would change.
struct Continuation {
    run: Golden,
    written: Vec<Written>,
    notices: Vec<Notice>,
}

/// How well a mixture that gives the right answer explains what else is seen of the hardware; the last is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It updates what the hardware has not: versions may differ in that.
    Unseen,
    /// It reports nothing, while records wait for their requests: versions may differ in that, too.
    Silent,
    /// It updates none of what the hardware has updated, which may have been for another request.
    Idle,
    /// Nothing speaks against it.
    Full,
}

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

    fn compare(&mut self) -> Result<(), EngineError> {
        self.compare_messages()?;
        self.compare_watched()?;
        self.compare_memory()?;
        let (rtl, golden) = (self.rtl.wires(), self.model.wires());
        let mut fields = Fields::new();
        fields.compare("irq", rtl.into(), golden.into(), hex);
        self.differ(fields, DifferenceKind::Wire, || "at rest".into())
    }

    fn differ(
        &self,
        fields: Fields,
        kind: DifferenceKind,
        place: impl Fn() -> String,
    ) -> Result<(), EngineError> {
        let difference = fields.into_difference(kind, place());
        if difference.fields.is_empty() { Ok(()) } else { Err(EngineError::Different(difference)) }
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

    /// The answer of the golden model to a request on a mixture of old and new values; `None` if no hardware does that.
    fn mixture(
        &mut self,
        process: Process,
        choices: &mut Choices,
        request: &Request,
    ) -> Option<(Response, Continuation)> {
        let (golden, memory) = self.model.parts();
        let mut run = golden.clone();
        let mut what_if = WhatIf::new(memory, &self.versions, choices);
        let response = match process {
            Process::Located => run.translate(&mut what_if, request),
            Process::Older => run.translate_with_older_process(&mut what_if, request)?,
        };
        let WhatIf { written, notices, impossible, .. } = what_if;
        (!impossible).then_some((response, Continuation { run, written, notices }))
    }

    /// The record of a request by what memory holds now.
    fn record_now(&mut self, request: &Request) -> Option<[u64; 4]> {
        let present = std::mem::take(&mut self.versions);
        let mixture = self.mixture(Process::Located, &mut Choices::default(), request);
        self.versions = present;
        record_of(&mixture?.1.written)
    }

    /// Whether some mixture of old and new values gives this answer.
    fn is_possible(&mut self, request: &Request, answer: &Response) -> bool {
        if self.versions.is_empty() {
            return false;
        }
        for process in [Process::Located, Process::Older] {
            let mut choices = Choices::default();
            for _ in 0..MOST_MIXTURES {
                let mixture = self.mixture(process, &mut choices, request);
                if mixture.is_some_and(|(response, _)| difference::same(answer, &response)) {
                    return true;
                }
                if !choices.advance() {
                    break;
                }
            }
        }
        false
    }

    /// Finds a mixture of old and new values that gives this answer, and has the golden model go on from there; false if none does.
    fn any_version(&mut self, request: &Request, answer: &Response, records: &mut Vec<[u64; 4]>) -> bool {
        for process in [Process::Located, Process::Older] {
            if let Some(found) = self.version(process, request, answer, records) {
                self.go_on_from(found);
                return true;
            }
        }
        false
    }

    fn version(
        &mut self,
        process: Process,
        request: &Request,
        answer: &Response,
        records: &mut Vec<[u64; 4]>,
    ) -> Option<Continuation> {
        let updated = self.updated_by_rtl();
        let mut choices = Choices::default();
        let mut best: Option<(Fit, Option<usize>, Continuation)> = None;
        let mut left = MOST_MIXTURES;
        while left > 0 {
            left -= 1;
            let mixture = self.mixture(process, &mut choices, request);
            if let Some((_, next)) = mixture.filter(|(response, _)| difference::same(answer, response)) {
                let record = record_of(&next.written).map(|own| records.iter().position(|r| *r == own));
                let fit = if !next.written.iter().all(|w| self.rtl_wrote(w)) {
                    Some(Fit::Unseen)
                } else if record == Some(None) {
                    None
                } else if record.is_none() && answer.success().is_none() && !records.is_empty() {
                    Some(Fit::Silent)
                } else if updated.is_empty() || next.written.iter().any(|w| updated.contains(&w.address)) {
                    Some(Fit::Full)
                } else {
                    Some(Fit::Idle)
                };
                if matches!(fit, Some(Fit::Unseen | Fit::Idle)) && best.is_none() {
                    left = left.min(MORE_MIXTURES);
                }
                if fit > best.as_ref().map(|(fit, ..)| *fit) {
                    best = fit.map(|fit| (fit, record.flatten(), next));
                }
                if fit == Some(Fit::Full) {
                    break;
                }
            }
            if !choices.advance() {
                break;
            }
        }
        let (fit, record, next) = best?;
        if fit > Fit::Unseen {
            record.map(|index| records.swap_remove(index));
        }
        Some(next)
    }

    /// Doublewords in which the hardware has set A or D bits, and the golden model has not yet.
    fn updated_by_rtl(&mut self) -> Vec<u64> {
        if !self.rtl.design().amo_hwad {
            return Vec::new();
        }
        let written = self.rtl.memory_mut().written.clone();
        written
            .into_iter()
            .filter(|&address| {
                let change =
                    self.rtl.memory_mut().load(address).unwrap_or(0) ^ self.load(address).unwrap_or(0);
                change != 0 && change & !A_AND_D == 0
            })
            .collect()
    }

    /// Whether the hardware's memory shows what an exchange of the golden model changed; true of other writes.
    fn rtl_wrote(&mut self, written: &Written) -> bool {
        let now = self.rtl.memory_mut().load(written.address).unwrap_or(0);
        !written.exchange || (now ^ written.value) & (written.before ^ written.value) == 0
    }

    /// The golden model continues from a run on old values.
    fn go_on_from(&mut self, Continuation { run, written, notices }: Continuation) {
        self.notices.extend(notices);
        let (golden, memory) = self.model.parts();
        *golden = run;
        for w in written {
            memory.store(w.address, w.value);
            memory.written.push(w.address);
            if w.exchange {
                self.exchanges.push(w);
                self.versions.remember_exchange(&w);
            }
        }
    }

    /// Has the golden model do what the hardware did with messages, in the hardware's order. `records` are the fault records of the
    /// hardware that are not explained yet.
    fn replay_messages(&mut self, records: &mut Vec<[u64; 4]>) -> Result<(), EngineError> {
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
    fn compare_messages(&mut self) -> Result<(), EngineError> {
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

    fn page_request_queue(&mut self) -> Queue {
        Queue::page_requests(self.golden_register(&pqb::REG))
    }

    fn golden_register(&mut self, register: &Register) -> u64 {
        self.model.golden_mut().read_register(register.offset, register.bytes)
    }

    fn fault_queue(&mut self) -> Queue {
        Queue::faults(self.golden_register(&fqb::REG))
    }

    /// The fault record at `address`.
    fn record(memory: &mut EngineMemory, address: u64) -> [u64; 4] {
        [0, 1, 2, 3].map(|i| memory.load(address + 8 * i).unwrap_or(0))
    }

    /// The records that the hardware has added behind `tail`, as they stand in memory.
    fn new_records(&mut self, tail: u64) -> Result<Vec<[u64; 4]>, EngineError> {
        let end = self.rtl.read_register(fqt::REG.offset, fqt::REG.bytes)?;
        self.fault_tail = end;
        let queue = self.fault_queue();
        Ok(queue.between(tail, end).map(|i| Self::record(self.rtl.memory_mut(), queue.entry(i))).collect())
    }

    /// The records of a batch are the same in some order; from now on the golden model's memory has the hardware's.
    fn adopt_records(&mut self, tail: u64) -> Result<(), EngineError> {
        let queue = self.fault_queue();
        let golden_end = self.golden_register(&fqt::REG);
        let places = |end: u64| queue.between(tail, end).map(|index| queue.entry(index));
        let mut rtl: Vec<[u64; 4]> =
            places(self.fault_tail).map(|at| Self::record(self.rtl.memory_mut(), at)).collect();
        let mut golden: Vec<[u64; 4]> =
            places(golden_end).map(|at| Self::record(self.model.memory_mut(), at)).collect();
        rtl.sort_unstable();
        golden.sort_unstable();
        if rtl != golden {
            let only = |a: &[[u64; 4]], b: &[[u64; 4]]| {
                let mut rest = b.to_vec();
                let alone: Vec<String> = a
                    .iter()
                    .filter(|record| match rest.iter().position(|r| r == *record) {
                        Some(index) => {
                            rest.swap_remove(index);
                            false
                        }
                        None => true,
                    })
                    .map(|record| format!(" {record:x?}"))
                    .collect();
                let with = if alone.is_empty() { "" } else { ", alone with" };
                format!("{} records{with}{}", a.len(), alone.concat())
            };
            let mut fields = Fields::new();
            fields.compare("records", only(&rtl, &golden), only(&golden, &rtl), |v| v);
            return self.differ(fields, DifferenceKind::Record, || {
                format!("{} new ones in the fault queue", rtl.len())
            });
        }
        for place in places(golden_end) {
            for address in (place..place + RECORD_BYTES).step_by(8) {
                if let Some(value) = self.rtl.memory_mut().load(address) {
                    self.model.memory_mut().store(address, value);
                }
            }
        }
        Ok(())
    }

    fn compare_watched(&mut self) -> Result<(), EngineError> {
        for (offset, name) in WATCHED {
            let (rtl, golden) = (self.rtl.read_register(offset, 8)?, self.model.read_register(offset, 8)?);
            let mut fields = Fields::new();
            fields.compare(name, rtl, golden, hex);
            self.differ(fields, DifferenceKind::Register, || format!("offset {offset:#x}"))?;
        }
        Ok(())
    }

    /// Reads a register of both, and compares.
    ///
    /// # Errors
    /// [`EngineError::Different`]; others if the hardware fails.
    pub fn compare_register(&mut self, offset: u16, bytes: u8, name: &str) -> Result<u64, EngineError> {
        let mut tries = MOST_TRIES;
        let (rtl, golden) = loop {
            let (rtl, golden) =
                (self.rtl.read_register(offset, bytes)?, self.model.read_register(offset, bytes)?);
            tries -= 1;
            if rtl == golden || tries == 0 || self.rtl.messages_are_quiet() {
                break (rtl, golden);
            }
            // What timed out meanwhile has made commands of the hardware go on.
            self.settle()?;
        };
        let mut fields = Fields::new();
        fields.compare(name, rtl, golden, hex);
        self.differ(fields, DifferenceKind::Register, || format!("offset {offset:#x}, {bytes} bytes"))?;
        Ok(rtl)
    }

    /// Every doubleword that either of the two wrote holds the same in both memories.
    fn compare_memory(&mut self) -> Result<(), EngineError> {
        let mut addresses = std::mem::take(&mut self.rtl.memory_mut().written);
        addresses.append(&mut self.model.memory_mut().written);
        // What a record that could not be stored has left in its place is unspecified.
        let tail = self.golden_register(&fqt::REG);
        let place = self.fault_queue().entry(tail);
        let place = place..place + RECORD_BYTES;
        let tail = self.golden_register(&pqt::REG);
        let request = self.page_request_queue().entry(tail);
        let request = request..request + page_request::RECORD_BYTES;
        for &address in &addresses {
            let (rtl, golden) = (self.rtl.memory_mut().load(address), self.load(address));
            if rtl != golden && !place.contains(&address) && !request.contains(&address) {
                self.rtl.memory_mut().written = addresses;
                let mut fields = Fields::new();
                fields.compare("doubleword", rtl.unwrap_or(0), golden.unwrap_or(0), hex);
                return self.differ(fields, DifferenceKind::Memory, || format!("address {address:#x}"));
            }
        }
        Ok(())
    }
}

/// The fault record among these writes, if there is one: four doublewords in a row that were not exchanged.
fn record_of(written: &[Written]) -> Option<[u64; 4]> {
    let plain: Vec<&Written> = written.iter().filter(|w| !w.exchange).collect();
    let start = plain.windows(4).position(|w| {
        w[0].address % RECORD_BYTES == 0 && (1..4).all(|i| w[i].address == w[0].address + 8 * i as u64)
    })?;
    Some([0, 1, 2, 3].map(|i| plain[start + i].value))
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
