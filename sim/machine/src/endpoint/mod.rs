//! A device that speaks ATS and PRI: it asks for translations, keeps them, asks for pages that are not there, and forgets what it is told to
//! forget.
//!
//! [`Endpoint`] is the device behind its port, and knows no clock and no wires: whoever drives it hands it accesses, answers and
//! messages, and carries away what it wants to send ([`crate::dma::Dma`] does). How it behaves, and misbehaves, is data:
//! [`Behaviour`]. What it may never do, if it behaves: use a translation after it has completed the invalidation of it, have more
//! page requests outstanding than it has credits for, or use the index of a group that is not answered.

mod atc;
mod behaviour;
mod page_requests;
#[cfg(test)]
mod tests;
mod traffic;

pub use atc::{CachedTranslation, Tag, TranslationCache};
pub use behaviour::Behaviour;
pub use page_requests::{Answered, PageRequests, Wanted};
pub use traffic::{Channel, ChannelKind, DmaRequest, Outcome, Traffic};

use crate::stats::Latency;
use crate::watch::Watched;
use pasidon_cosim::Random;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::message::{InvalidationRequest, response_code};
use pasidon_spec::page_request::PageRequest;
use std::collections::VecDeque;

/// An access of a [`Channel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaAccess {
    /// The channel.
    pub channel: u16,
    /// What it wants.
    pub request: DmaRequest,
    /// The cycle in which it was begun.
    pub begun: u64,
}

/// What an access comes to at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// It can be sent, with this address, translated or not.
    Send {
        /// The address to send.
        address: u64,
        /// It is a physical address.
        translated: bool,
        /// To be handed to [`Endpoint::landed`] when memory has been reached, or nothing will be.
        flight: u64,
    },
    /// It waits inside the device.
    Waits,
}

/// A translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    /// The address space.
    pub tag: Tag,
    /// Number of the page.
    pub page: u64,
    /// Write permission is asked for.
    pub write: bool,
    /// Execute permission is asked for.
    pub exec: bool,
    epoch: u32,
}

/// The answer to a translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Success, possibly without any permission.
    Success(CachedTranslation),
    /// Unsupported request, or completer abort: with the cause that the IOMMU gives.
    Refused(u64),
}

/// Why an access was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// The access.
    pub access: DmaAccess,
    /// The cause of a refused translation request, or 0.
    pub cause: u64,
    /// The code of the answer to the page request, if that is why; or Response Failure if page requests are not possible.
    pub refused: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// A translation request is to be sent.
    Ask,
    /// It was sent. If `stale`, what it was answered with was forgotten before it came.
    Asked { stale: bool },
    /// The page is not there: a page request is to be sent.
    Want,
    /// It was sent.
    Requested,
}

/// A page whose translation the device has not, and what waits for it.
#[derive(Debug)]
struct Miss {
    tag: Tag,
    page: u64,
    write: bool,
    exec: bool,
    state: State,
    waiting: Vec<DmaAccess>,
    /// The translation request that was sent last, where somebody watches.
    watched: Option<Watched>,
}

/// What accesses wait for inside a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// A translation request is to be sent, or the access itself.
    ToAsk,
    /// A translation request was sent.
    Asked(Option<Watched>),
    /// The page.
    Page,
}

/// An invalidation request that is not completed.
#[derive(Debug)]
struct Invalidation {
    due: u64,
    tag: Tag,
    request: InvalidationRequest,
    itag: u8,
    /// Accesses up to this one may use what was to be forgotten; `None` while nothing has been done about it.
    fence: Option<u64>,
}

/// An access that is on its way to memory.
#[derive(Clone, Copy, Debug)]
struct Flight {
    number: u64,
    tag: Tag,
    page: u64,
}

/// What an endpoint has done.
#[derive(Clone, Debug, Default)]
pub struct EndpointStatistics {
    /// Accesses looked up in the translation cache.
    pub lookups: u64,
    /// ... and found.
    pub hits: u64,
    /// Translation requests.
    pub translation_requests: u64,
    /// Page requests, without stop markers.
    pub page_requests: u64,
    /// Groups of them.
    pub groups: u64,
    /// Groups answered Success.
    pub success: u64,
    /// Groups answered Invalid Request.
    pub invalid: u64,
    /// Groups answered Response Failure.
    pub failure: u64,
    /// Answers to no group that the device knows of.
    pub unexpected: u64,
    /// Invalidation requests received.
    pub invalidations: u64,
    /// Cycles from a group to its answer.
    pub latency: Latency,
}

/// A device.
#[derive(Debug)]
pub struct Endpoint {
    /// device_id: segment and requester id.
    pub device_id: u32,
    /// Translation port.
    pub port: usize,
    /// How it behaves.
    pub behaviour: Behaviour,
    /// What it has done.
    pub statistics: EndpointStatistics,
    cache: TranslationCache,
    requests: PageRequests,
    misses: Vec<Miss>,
    ready: VecDeque<(Tag, DmaAccess)>,
    invalidations: VecDeque<Invalidation>,
    flights: Vec<Flight>,
    flown: u64,
    given_up: Vec<GivenUp>,
    /// Messages to the IOMMU, oldest first.
    outbox: VecDeque<PageRequest>,
    completions: VecDeque<InvalidationCompletion>,
    problems: Vec<String>,
    gone: bool,
    epoch: u32,
    random: Random,
}

impl Endpoint {
    /// A device that has just been reset.
    pub fn new(device_id: u32, port: usize, behaviour: Behaviour, seed: u64) -> Endpoint {
        Endpoint {
            device_id,
            port,
            behaviour,
            statistics: EndpointStatistics::default(),
            cache: TranslationCache::new(behaviour.cache),
            requests: PageRequests::default(),
            misses: Vec::new(),
            ready: VecDeque::new(),
            invalidations: VecDeque::new(),
            flights: Vec::new(),
            flown: 0,
            given_up: Vec::new(),
            outbox: VecDeque::new(),
            completions: VecDeque::new(),
            problems: Vec::new(),
            gone: false,
            epoch: 0,
            random: Random::new(seed),
        }
    }

    /// Begins an access, or goes on with one that was [ready](Self::take_ready).
    pub fn begin(&mut self, tag: Tag, access: DmaAccess) -> Begin {
        let DmaRequest { va, write, exec, .. } = access.request;
        self.statistics.lookups += 1;
        if let Some(known) = self.cache.get(tag, va).filter(|known| known.allows(write, exec)) {
            self.statistics.hits += 1;
            self.flown += 1;
            let (translated, flight) = (!known.untranslated, self.flown);
            let address = if translated { known.address(va) } else { va };
            self.flights.push(Flight { number: flight, tag, page: va >> 12 });
            return Begin::Send { address, translated, flight };
        }
        let page = va >> 12;
        let same =
            |miss: &&mut Miss| (miss.tag, miss.page, miss.write, miss.exec) == (tag, page, write, exec);
        match self.misses.iter_mut().find(same) {
            Some(miss) => miss.waiting.push(access),
            None => {
                let waiting = vec![access];
                let (state, watched) = (State::Ask, None);
                self.misses.push(Miss { tag, page, write, exec, state, waiting, watched });
            }
        }
        Begin::Waits
    }

    /// An access that was [sent](Begin::Send) has reached memory, or was refused.
    pub fn landed(&mut self, flight: u64) {
        if let Some(at) = self.flights.iter().position(|known| known.number == flight) {
            self.flights.swap_remove(at);
        }
    }

    /// An access whose translation has come since it had to wait, to be begun again.
    pub fn take_ready(&mut self) -> Option<(Tag, DmaAccess)> {
        self.ready.pop_front()
    }

    /// The next translation request, which goes out now.
    pub fn take_question(&mut self) -> Option<Question> {
        let miss = self.misses.iter_mut().find(|miss| miss.state == State::Ask)?;
        miss.state = State::Asked { stale: false };
        self.statistics.translation_requests += 1;
        let Miss { tag, page, write, exec, .. } = *miss;
        Some(Question { tag, page, write, exec, epoch: self.epoch })
    }

    /// Somebody watches a translation request that was just taken.
    pub fn watch(&mut self, question: &Question, watched: Watched) {
        let Question { tag, page, write, exec, .. } = *question;
        let asked =
            |miss: &&mut Miss| (miss.tag, miss.page, miss.write, miss.exec) == (tag, page, write, exec);
        if let Some(miss) = self.misses.iter_mut().find(asked) {
            miss.watched = Some(watched);
        }
    }

    /// Tells how many accesses wait inside the device, and for what.
    #[inline]
    pub fn waiting(&self, mut tell: impl FnMut(Waiting, usize)) {
        for miss in &self.misses {
            let why = match miss.state {
                State::Ask => Waiting::ToAsk,
                State::Asked { .. } => Waiting::Asked(miss.watched),
                State::Want | State::Requested => Waiting::Page,
            };
            tell(why, miss.waiting.len());
        }
        tell(Waiting::ToAsk, self.ready.len());
    }

    /// The answer to a translation request.
    pub fn answer(&mut self, question: &Question, completion: Completion) {
        if question.epoch != self.epoch {
            return;
        }
        let Question { tag, page, write, exec, .. } = *question;
        let asked = |miss: &Miss| {
            (miss.tag, miss.page, miss.write, miss.exec) == (tag, page, write, exec)
                && matches!(miss.state, State::Asked { .. })
        };
        let Some(at) = self.misses.iter().position(asked) else { return };
        let miss = &mut self.misses[at];
        match completion {
            _ if miss.state == (State::Asked { stale: true }) => miss.state = State::Ask,
            Completion::Success(translation) => {
                if translation.read || translation.write || translation.exec {
                    self.cache.insert(tag, page << 12, translation);
                }
                if translation.allows(write, exec) {
                    let done = self.misses.remove(at);
                    self.ready.extend(done.waiting.into_iter().map(|access| (tag, access)));
                } else {
                    miss.state = State::Want;
                }
            }
            Completion::Refused(cause) => {
                let failed = self.misses.remove(at);
                self.give_up(failed.waiting, cause, None);
            }
        }
    }

    fn give_up(&mut self, accesses: Vec<DmaAccess>, cause: u64, refused: Option<u8>) {
        self.given_up.extend(accesses.into_iter().map(|access| GivenUp { access, cause, refused }));
    }

    /// Accesses that the device has given up.
    pub fn take_given_up(&mut self) -> Vec<GivenUp> {
        std::mem::take(&mut self.given_up)
    }

    /// A message from the IOMMU.
    pub fn receive(&mut self, message: &Message, now: u64) {
        if self.gone {
            return;
        }
        match *message {
            Message::Invalidation { pid: tag, itag, body: request, .. } => {
                self.statistics.invalidations += 1;
                let due = now + self.behaviour.delay;
                self.invalidations.push_back(Invalidation { due, tag, request, itag, fence: None });
            }
            Message::GroupResponse { pid, body, .. } => {
                let needs_pasid = self.behaviour.response_needs_pasid;
                match self.requests.answer(pid, needs_pasid, body.index, body.code, now) {
                    Some(answered) => self.answered(answered),
                    // Whether anybody may answer what the device has not asked is the root port's to say.
                    None => self.statistics.unexpected += 1,
                }
            }
        }
    }

    fn answered(&mut self, answered: Answered) {
        let Answered { tag, pages, code, latency, problem } = answered;
        self.problems.extend(problem);
        self.statistics.latency.record(latency);
        let success = u64::from(code) == response_code::SUCCESS;
        match u64::from(code) {
            response_code::SUCCESS => self.statistics.success += 1,
            response_code::INVALID_REQUEST => self.statistics.invalid += 1,
            _ => self.statistics.failure += 1,
        }
        let mut at = 0;
        while at < self.misses.len() {
            let miss = &mut self.misses[at];
            if miss.tag == tag && miss.state == State::Requested && pages.contains(&miss.page) {
                if success {
                    miss.state = State::Ask;
                } else {
                    let failed = self.misses.remove(at);
                    self.give_up(failed.waiting, 0, Some(code));
                    continue;
                }
            }
            at += 1;
        }
    }

    /// Whether [`tick`](Self::tick) or [`take_given_up`](Self::take_given_up) might do something.
    #[inline]
    pub fn is_busy(&self) -> bool {
        !self.misses.is_empty() || !self.invalidations.is_empty() || !self.given_up.is_empty()
    }

    /// What the device does by itself: it puts page requests into groups, and deals with invalidation requests.
    pub fn tick(&mut self, now: u64) {
        while self.make_group(now) {}
        for at in 0..self.invalidations.len() {
            if self.invalidations[at].fence.is_none() && self.invalidations[at].due <= now {
                self.forget(at);
            }
        }
        while let Some(first) = self.invalidations.front() {
            let Some(fence) = first.fence else { break };
            let (low, high) = first.request.bounds();
            let uses = |flight: &Flight| {
                flight.number <= fence
                    && atc::covers(first.tag, first.request.global, flight.tag)
                    && (low..=high).contains(&(flight.page << 12))
            };
            if self.behaviour.waits && self.flights.iter().any(uses) {
                break;
            }
            let itag = first.itag ^ u8::from(self.behaviour.wrong_tag);
            self.invalidations.pop_front();
            if self.behaviour.completes {
                self.complete(1 << itag);
            }
        }
    }

    fn forget(&mut self, at: usize) {
        let Invalidation { tag, request, .. } = self.invalidations[at];
        self.invalidations[at].fence = Some(self.flown);
        if !self.behaviour.forgets {
            return;
        }
        let (low, high) = request.bounds();
        self.cache.forget(tag, request.global, low, high);
        for miss in &mut self.misses {
            if let State::Asked { stale } = &mut miss.state {
                let affected = atc::covers(tag, request.global, miss.tag);
                *stale |= affected && (low..=high).contains(&(miss.page << 12));
            }
        }
    }

    /// Sends the completion of these tags, whether it was asked for or not.
    pub fn complete(&mut self, itags: u32) {
        let count = self.behaviour.completions.clamp(1, 8);
        let segment = (self.device_id >> 16) as u8;
        let completion = InvalidationCompletion {
            rid: self.device_id as u16,
            dseg: (segment != 0).then_some(segment),
            itags,
            count: count & 7,
        };
        self.completions.extend(std::iter::repeat_n(completion, count.into()));
    }

    /// Makes a group of pages of one address space that are wanted, as far as there is credit.
    fn make_group(&mut self, now: u64) -> bool {
        let Some(first) = self.misses.iter().find(|miss| miss.state == State::Want) else { return false };
        let tag = first.tag;
        if self.requests.failed() {
            while let Some(at) = self.misses.iter().position(|miss| miss.state == State::Want) {
                let failed = self.misses.remove(at);
                self.give_up(failed.waiting, 0, Some(response_code::RESPONSE_FAILURE as u8));
            }
            return false;
        }
        let credit = self.behaviour.credits.saturating_sub(self.requests.outstanding());
        let size = credit.min(1 + self.random.below(self.behaviour.group.max(1) as u64) as usize);
        if size == 0 {
            return false;
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for miss in self.misses.iter().filter(|miss| miss.tag == tag && miss.state == State::Want) {
            if wanted.len() == size {
                break;
            }
            wanted.push(Wanted { page: miss.page, write: miss.write, exec: miss.exec });
        }
        let Some(group) = self.requests.ask(self.device_id, self.behaviour.indices, tag, &wanted, now) else {
            return false;
        };
        let mut left = wanted.len();
        for miss in self.misses.iter_mut().filter(|miss| miss.tag == tag && miss.state == State::Want) {
            if left > 0 {
                miss.state = State::Requested;
                left -= 1;
            }
        }
        self.statistics.page_requests += group.len() as u64;
        self.statistics.groups += 1;
        self.outbox.extend(group);
        true
    }

    /// A page request, or stop marker, that goes out now.
    pub fn take_page_request(&mut self) -> Option<PageRequest> {
        self.outbox.pop_front()
    }

    /// An invalidation completion that goes out now.
    pub fn take_completion(&mut self) -> Option<InvalidationCompletion> {
        self.completions.pop_front()
    }

    /// Puts a page request of any kind in line, true or not.
    pub fn say(&mut self, request: PageRequest) {
        if !self.gone {
            self.outbox.push_back(request);
        }
    }

    /// The device stops using an address space: what has not begun is dropped, and returned. With `marker`, answers to its page requests mean
    /// nothing to it any more, and it says so with a stop marker; otherwise it goes on waiting for them.
    pub fn stop(&mut self, tag: Tag, marker: bool) -> Vec<DmaAccess> {
        let mut dropped = Vec::new();
        self.misses.retain_mut(|miss| {
            let mine = miss.tag == tag;
            if mine {
                dropped.append(&mut miss.waiting);
            }
            !mine
        });
        self.requests.abandon(tag);
        self.ready.retain(|&(of, access)| {
            if of == tag {
                dropped.push(access);
            }
            of != tag
        });
        if marker && let Some(pid) = tag {
            self.outbox.push_back(PageRequest {
                did: self.device_id,
                pv: true,
                pid,
                last: true,
                ..PageRequest::default()
            });
        }
        dropped
    }

    /// Whether the device does nothing in an address space any more, and all it had to say about it has gone out.
    pub fn is_idle_in(&self, tag: Tag) -> bool {
        self.misses.iter().all(|miss| miss.tag != tag)
            && self.ready.iter().all(|(of, _)| *of != tag)
            && self.flights.iter().all(|flight| flight.tag != tag)
            && self.outbox.iter().all(|request| request.pv.then_some(request.pid) != tag)
    }

    /// Page requests of an address space that have no answer yet.
    pub fn outstanding_in(&self, tag: Tag) -> usize {
        self.requests.outstanding_of(tag)
    }

    /// Whether a Response Failure has stopped its page requests.
    pub fn has_failed(&self) -> bool {
        self.requests.failed()
    }

    /// A function-level reset: everything in the device is gone. Returns the accesses that were waiting. A device that had been removed is
    /// there again.
    pub fn reset(&mut self) -> Vec<DmaAccess> {
        let mut dropped: Vec<DmaAccess> = self.ready.drain(..).map(|(_, access)| access).collect();
        self.misses.drain(..).for_each(|miss| dropped.extend(miss.waiting));
        self.cache = TranslationCache::new(self.behaviour.cache);
        self.requests.reset();
        self.invalidations.clear();
        self.flights.clear();
        self.outbox.clear();
        self.completions.clear();
        self.epoch += 1;
        self.gone = false;
        dropped
    }

    /// Surprise loss: the device says nothing and hears nothing any more.
    pub fn remove(&mut self) -> Vec<DmaAccess> {
        let dropped = self.reset();
        self.gone = true;
        dropped
    }

    /// Whether the device was removed.
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// What the device waits for, for people.
    pub fn pending(&self) -> String {
        let misses: Vec<String> = self
            .misses
            .iter()
            .map(|miss| format!("{:?} {:#x} {:?}", miss.tag, miss.page << 12, miss.state))
            .collect();
        let outstanding = self.requests.outstanding();
        format!("{} ready, {outstanding} asked, misses {misses:?}", self.ready.len())
    }

    /// What the device has to complain about.
    pub fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }
}
