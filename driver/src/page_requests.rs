//! The page-request service: requests out of the queue, to the address spaces concerned, and answers back.
//!
//! A record is taken in by [`Inner::receive`], which decides nothing that takes time and can run in an
//! interrupt handler. [`Iommu::service_page_requests`] resolves groups and sends answers. Who removes a group
//! from [`crate::groups`] answers it, so that each is answered once.

use crate::{
    bond::{Call, Fault, FaultDecision},
    groups::{Answer, Job, Next, Requests, Verdict},
    iommu::{Inner, Iommu},
    map::Spare,
    mm::{FaultAccess, Resolution},
    pasid::Pasid,
    record_queue::BURST,
    requester::Requester,
    shared::OutOfMemory,
};
use pasidon_spec::{
    message::{PageRequestGroupResponse, response_code},
    page_request::PageRequest,
};

/// How often a drain that saw records being lost is repeated.
const DRAINS: usize = 4;

/// What [`Iommu::service_page_requests`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageRequestReport {
    /// Groups that were resolved and answered.
    pub groups: usize,
    /// Groups that wait because an mm said [`Resolution::NotNow`]. The next call asks again.
    pub deferred: usize,
    /// The queue had been full (`pqcsr.pqof`) and requests were lost; their devices were told to retry.
    /// Reception goes on.
    pub overflow: bool,
    /// The IOMMU could not write a request (`pqcsr.pqmf`) and requests were lost; their devices were told
    /// that the interface failed. Reception goes on.
    pub memory_fault: bool,
    /// The IOMMU was reset behind the driver's back: it aborts everything until [`Iommu::resume`] brings it back.
    pub reset: bool,
    /// There is more to do than one call does. Call again.
    pub more: bool,
}

/// What a look into the queue brought.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Received {
    count: usize,
    more: bool,
    overflow: bool,
    memory_fault: bool,
}

impl Iommu {
    /// Takes page requests out of the IOMMU's queue, without resolving any: to keep the queue from
    /// overflowing while [`service_page_requests`](Self::service_page_requests) is busy or yet to run. Returns
    /// whether there is something for that to do.
    ///
    /// Can be called from an interrupt handler, where [`crate::Platform::mask`] keeps those off while a spin
    /// lock is held: it does not sleep, allocates nothing, sends no commands and calls nobody. Work per call
    /// is bounded by the queue's size.
    pub fn receive_page_requests(&self) -> bool {
        let inner = &*self.0;
        let mut budget = inner.request_queue.as_ref().map_or(0, |queue| queue.capacity());
        let mut any = false;
        while budget > 0 {
            let received = inner.receive();
            any |= received.count > 0;
            // No room: the service has to send refusals first.
            budget = budget.saturating_sub(received.count.max(1) as u64);
            if received.count == 0 || !received.more {
                break;
            }
        }
        any
    }

    /// Resolves page requests: takes them out of the queue, has [`crate::Mm::handle_fault`] make the pages
    /// present, and answers the devices. Call it after the page-request interrupt, or from time to time; any
    /// number of threads may. It waits for the IOMMU and for the mm, so it belongs in an ordinary thread.
    ///
    /// Devices take turns, a group each. At most `budget` groups are resolved, and no more records taken than
    /// the queue holds twice; then [`PageRequestReport::more`] says whether there is more. A group is answered
    /// Success if all its pages were made present, otherwise by the worst that happened to one; a failed
    /// request goes to [`crate::SvaOps::fault`] first. What is not bound, has exited, or was never enabled is
    /// answered Invalid Request.
    pub fn service_page_requests(&self, budget: usize) -> PageRequestReport {
        let inner = &*self.0;
        let mut report =
            PageRequestReport { reset: inner.hardware.notice_reset(), ..PageRequestReport::default() };
        let Some(queue) = &inner.request_queue else { return report };
        let call = inner.requests.lock(inner.platform()).begin_call();
        let mut records = 2 * queue.capacity();
        let mut tried = 0;
        loop {
            let received = inner.receive();
            report.overflow |= received.overflow;
            report.memory_fault |= received.memory_fault;
            records = records.saturating_sub(received.count as u64);
            inner.send_refusals();
            inner.answer_all_revoked();
            if tried == budget || records == 0 {
                break;
            }
            match inner.serve(call) {
                Some(answered) => {
                    tried += 1;
                    report.groups += usize::from(answered);
                }
                // Without room for refusals there is nothing to do until somebody else has sent some.
                None if received.more && received.count > 0 => {}
                None => break,
            }
        }
        let requests = inner.requests.lock(inner.platform());
        report.deferred = requests.deferred();
        report.more = requests.has_work(call) || !queue.is_empty();
        report
    }
}

impl Inner {
    /// Takes requests of a device from now on. What that takes is allocated while the lock is free.
    pub(crate) fn open_requests(
        &self,
        device_id: u32,
        requester: Requester,
        limit: usize,
        needs_pasid: bool,
    ) -> Result<(), OutOfMemory> {
        let requests = Requests::new(requester, limit, needs_pasid)?;
        loop {
            let lacks = {
                let mut groups = self.requests.lock(self.platform());
                let lacks = groups.lacks();
                if lacks.is_none() {
                    groups.open(device_id, requests);
                    return Ok(());
                }
                lacks
            };
            let mut room = Spare::new(lacks)?;
            self.requests.lock(self.platform()).move_into(&mut room);
        }
    }

    pub(crate) fn close_requests(&self, device_id: u32) {
        let closed = self.requests.lock(self.platform()).close(device_id);
        drop(closed);
    }

    /// Takes a burst of records into the books, and lets the queue go on if it had stopped. Clause 16: open
    /// groups are discarded only when the queue is empty, and before it can fill again.
    pub(crate) fn receive(&self) -> Received {
        let Some(queue) = &self.request_queue else { return Received::default() };
        let counters = &self.hardware.counters;
        let received = {
            let mut requests = self.requests.lock(self.platform());
            let burst = queue.take(requests.room().min(BURST));
            counters.request_queue_high_water.raise_to(burst.depth as usize);
            for words in &burst.records[..burst.count] {
                requests.accept(PageRequest::decode(*words), counters);
            }
            let mut received =
                Received { count: burst.count, more: burst.more, overflow: false, memory_fault: false };
            // Clause 16: before the queue can fill again.
            if burst.stop.is_some() {
                requests.discard_open(counters);
            }
            if let Some(stop) = burst.stop
                && let Some(more) = queue.resume(stop)
            {
                received.overflow = stop.overflow;
                received.memory_fault = stop.memory_fault;
                counters.request_overflows.add(stop.overflow.into());
                counters.request_memory_faults.add(stop.memory_fault.into());
                received.more = more;
            }
            received
        };
        let Received { overflow, memory_fault, .. } = received;
        if overflow || memory_fault {
            log::warn!("page requests were lost: overflow {overflow}, memory fault {memory_fault}");
        }
        received
    }

    /// Takes in, and refuses where it has to be, everything that is in the queue now. Clause 16: a drain that
    /// saw an overflow drains again.
    pub(crate) fn drain(&self) {
        let Some(queue) = &self.request_queue else { return };
        for _ in 0..DRAINS {
            let end = queue.end();
            let mut lost = false;
            loop {
                let received = self.receive();
                lost |= received.overflow || received.memory_fault;
                self.send_refusals();
                if queue.taken() >= end || !received.more {
                    break;
                }
                // Whoever is sending refusals makes room.
                self.platform().relax();
            }
            if !lost {
                break;
            }
        }
        let refused = self.requests.lock(self.platform()).refused();
        loop {
            self.send_refusals();
            if self.requests.lock(self.platform()).has_sent(refused) {
                break;
            }
            self.platform().relax();
        }
    }

    /// The page requests of a bond that is no more: those in the queue and in line are answered Invalid.
    /// Returns what [`Self::is_resolving`] wants to know.
    pub(crate) fn drain_bond(&self, device_id: u32, pasid: Pasid) -> u64 {
        let counters = &self.hardware.counters;
        if !self.requests.lock(self.platform()).knows(device_id) {
            return 0;
        }
        self.drain();
        loop {
            let purged = self.requests.lock(self.platform()).purge(device_id, pasid.get(), counters);
            let Some((job, answer)) = purged else {
                if !self.requests.lock(self.platform()).has_line(device_id, Some(pasid.get())) {
                    break;
                }
                // Answers that others are sending make room.
                self.platform().relax();
                continue;
            };
            self.send(answer);
            self.requests.lock(self.platform()).finish(&job);
        }
        self.requests.lock(self.platform()).newest()
    }

    /// Whether a group of this device and PASID, of those up to `newest`, is still being resolved.
    pub(crate) fn is_resolving(&self, device_id: u32, pasid: Pasid, newest: u64) -> bool {
        newest != 0 && self.requests.lock(self.platform()).serves(device_id, Some(pasid.get()), newest)
    }

    /// Answers everything of a device that was shut, and waits for answers that are being sent.
    pub(crate) fn answer_revoked(&self, device_id: u32) {
        loop {
            let revoked = self.requests.lock(self.platform()).revoke(device_id);
            let Some((job, answer)) = revoked else {
                if !self.requests.lock(self.platform()).has_line(device_id, None) {
                    break;
                }
                self.platform().relax();
                continue;
            };
            self.send(answer);
            self.requests.lock(self.platform()).finish(&job);
        }
        while self.requests.lock(self.platform()).serves(device_id, None, u64::MAX) {
            self.platform().relax();
        }
    }

    fn answer_all_revoked(&self) {
        loop {
            let revoked = self.requests.lock(self.platform()).revoke_any();
            let Some((job, answer)) = revoked else { break };
            self.send(answer);
            self.requests.lock(self.platform()).finish(&job);
        }
    }

    /// Takes in what a device had asked for before it was reset, and answers none of it.
    pub(crate) fn discard_requests(&self, device_id: u32) {
        let Some(queue) = &self.request_queue else { return };
        let end = queue.end();
        loop {
            let received = self.receive();
            let groups = self.requests.lock(self.platform()).forget(device_id);
            self.hardware.counters.responses_late.add(groups);
            self.send_refusals();
            if queue.taken() >= end || !received.more {
                break;
            }
            self.platform().relax();
        }
    }

    /// Sends refusals in the order in which they were decided, unless another thread does.
    fn send_refusals(&self) {
        let platform = self.platform();
        let mut left = {
            let mut requests = self.requests.lock(platform);
            if !requests.begin_sending() {
                return;
            }
            requests.refused()
        };
        while left > 0 {
            let answer = self.requests.lock(platform).next_refusal();
            let Some(answer) = answer else { break };
            self.send(answer);
            self.requests.lock(platform).refusal_sent();
            left -= 1;
        }
        self.requests.lock(platform).end_sending();
    }

    /// Resolves one group. `None`: there is none. `false`: it was deferred, or answered by somebody else.
    fn serve(&self, call: u64) -> Option<bool> {
        let (job, handler) = {
            let mut requests = self.requests.lock(self.platform());
            let job = requests.take(call)?;
            // Under both locks, so that an unbind either knows of the call, or has purged the group.
            (job, self.handler(&job))
        };
        let mut work = Work { inner: self, job, verdict: Some(Verdict::Failure) };
        match handler {
            None => work.job.group.verdict = Verdict::Invalid,
            Some(handler) => match self.resolve(&mut work.job, &handler, call) {
                Progress::Resolved => {}
                Progress::Deferred => {
                    work.verdict = None;
                    return Some(false);
                }
                Progress::Gone => {
                    log::debug!("device {:#x}: the answer comes too late", job.device_id);
                    work.verdict = None;
                    self.hardware.counters.responses_late.add(1);
                    return Some(false);
                }
            },
        }
        work.verdict = Some(work.job.group.verdict);
        Some(work.answer())
    }

    /// The bond that a group is for, if there is one and its address space is alive.
    fn handler(&self, job: &Job) -> Option<Call> {
        let pasid = Pasid::new(job.group.pasid?)?;
        let bonds = self.bonds.lock(self.platform());
        let entry = bonds.by_pasid.get((pasid, job.device_id))?;
        (!entry.bond.mm_exited()).then(|| Call::begin(&entry.bond, entry.callbacks.as_ref()))
    }

    /// Asks the mm for the pages of a group, until one fails.
    fn resolve(&self, job: &mut Job, handler: &Call, call: u64) -> Progress {
        let counters = &self.hardware.counters;
        let device_id = job.device_id;
        let pasid = handler.bond().pasid();
        while job.group.verdict == Verdict::Success {
            let next = self.requests.lock(self.platform()).next(job);
            let request = match next {
                Next::Request(request) => request,
                Next::Answer => break,
                Next::Gone => return Progress::Gone,
            };
            let access = FaultAccess {
                address: request.page << 12,
                read: request.read,
                write: request.write,
                execute: request.execute,
                privileged: request.privileged,
            };
            let resolution = if handler.bond().mm_exited() || !grantable(&access) {
                Resolution::Invalid
            } else {
                let _inside = self.running.enter(self.platform());
                handler.bond().mm().handle_fault(&access)
            };
            let mut verdict = match Option::<Verdict>::from(resolution) {
                Some(verdict) => verdict,
                None if self.requests.lock(self.platform()).defer(job, request, call) => {
                    counters.pages_deferred.add(1);
                    log::debug!("device {device_id:#x}, PASID {pasid}: {:#x} has to wait", access.address);
                    return Progress::Deferred;
                }
                None => Verdict::Failure,
            };
            match verdict {
                Verdict::Success => counters.pages_populated.add(1),
                Verdict::Invalid => counters.pages_invalid.add(1),
                Verdict::Failure => counters.pages_failed.add(1),
            }
            if verdict != Verdict::Success && !handler.bond().mm_exited() {
                verdict = match handler.fault(&self.running, self.platform(), &Fault::unresolved(access)) {
                    FaultDecision::AsResolved => verdict,
                    FaultDecision::Retry => Verdict::Success,
                    FaultDecision::Invalid => Verdict::Invalid,
                    FaultDecision::Failure => Verdict::Failure,
                };
            }
            if verdict != Verdict::Success {
                log::debug!("device {device_id:#x}, PASID {pasid}: {:#x}: {verdict:?}", access.address);
            }
            job.group.verdict = verdict;
        }
        Progress::Resolved
    }

    /// Sends an answer. Clause 15: with the PASID only if the device needs it.
    fn send(&self, answer: Answer) {
        let Answer { device_id, requester, pasid, needs_pasid, index, verdict } = answer;
        let counters = &self.hardware.counters;
        let (code, counter) = match verdict {
            Verdict::Success => (response_code::SUCCESS, &counters.responses_success),
            Verdict::Invalid => (response_code::INVALID_REQUEST, &counters.responses_invalid),
            Verdict::Failure => (response_code::RESPONSE_FAILURE, &counters.responses_failure),
        };
        let payload = PageRequestGroupResponse { index, code: code as u8 }.encode();
        let command = requester.respond(pasid.filter(|_| needs_pasid), payload);
        match self.commands.execute_once(command) {
            Ok(()) => counter.add(1),
            Err(error) => {
                log::error!("device {device_id:#x}, PASID {pasid:?}: group {index} is not answered: {error}");
                counters.responses_lost.add(1);
            }
        }
    }
}

/// A group in the hands of a thread. It is answered even if a handler panics: Response Failure then.
struct Work<'a> {
    inner: &'a Inner,
    job: Job,
    /// `None`: there is nothing to answer any more.
    verdict: Option<Verdict>,
}

impl Work<'_> {
    /// `false`: somebody else has answered meanwhile.
    fn answer(mut self) -> bool {
        self.settle()
    }

    fn settle(&mut self) -> bool {
        let Some(verdict) = self.verdict.take() else { return false };
        let claimed = self.inner.requests.lock(self.inner.platform()).claim(&self.job);
        let Some(answer) = claimed else {
            self.inner.hardware.counters.responses_late.add(1);
            return false;
        };
        self.inner.send(Answer { verdict, ..answer });
        self.inner.requests.lock(self.inner.platform()).finish(&self.job);
        true
    }
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

/// How far a group got.
enum Progress {
    Resolved,
    Deferred,
    Gone,
}

/// Whether a context of this driver could ever grant the access: none grants supervisor privilege, and none
/// is asked for if nothing is.
fn grantable(access: &FaultAccess) -> bool {
    (access.read || access.write || access.execute) && !access.privileged
}
