//! Page requests between the queue and their answers: groups that are open, waiting, or being resolved.
//!
//! One lock protects all of it. Memory for a device's requests is set aside when its
//! requests are enabled, so that taking a request in allocates nothing, whatever devices send.

use crate::{
    map::{Map, Spare},
    mm::Resolution,
    requester::Requester,
    shared::OutOfMemory,
    statistics::Counters,
};
use alloc::{collections::VecDeque, vec::Vec};
use pasidon_spec::page_request::PageRequest;

/// What a group is answered. (Clause 14.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Populated: retry.
    Success,
    /// No such PASID, dead mm, no mapping, forbidden access.
    Invalid,
    /// Out of memory, or refused by the handler.
    Failure,
}

impl From<Resolution> for Option<Verdict> {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Populated => Some(Verdict::Success),
            Resolution::Invalid => Some(Verdict::Invalid),
            Resolution::Failure => Some(Verdict::Failure),
            Resolution::NotNow => None,
        }
    }
}

/// An answer on its way to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) device_id: u32,
    pub(crate) requester: Requester,
    /// The PASID that the request had.
    pub(crate) pasid: Option<u32>,
    /// The device needs it in the answer.
    pub(crate) needs_pasid: bool,
    pub(crate) index: u16,
    pub(crate) verdict: Verdict,
}

/// A group that was taken out of the line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    ticket: u64,
    pub(crate) pasid: Option<u32>,
    index: u16,
    /// The worst of what became of its requests so far.
    pub(crate) verdict: Verdict,
    /// The last call of the service that deferred it.
    deferred: u64,
}

/// The group and device that a thread of the service works on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) device_id: u32,
    pub(crate) group: Group,
}

/// What comes next in a group.
pub(crate) enum Next {
    /// This request.
    Request(PageRequest),
    /// The answer.
    Answer,
    /// Nothing: the device was closed and the group has been answered.
    Gone,
}

/// How many groups of a device may wait for their answers to be sent, beside those that are being resolved.
const ANSWERS: usize = 16;

/// The requests of one device.
pub(crate) struct Requests {
    requester: Requester,
    needs_pasid: bool,
    limit: usize,
    /// Requests of groups that are not closed yet.
    open: Vec<PageRequest>,
    /// Requests of groups that are, by the group's ticket.
    closed: Vec<(u64, PageRequest)>,
    line: VecDeque<Group>,
    /// Groups that are being resolved, and whether somebody has claimed to answer them and is about to.
    serving: Vec<(Group, bool)>,
    /// Nothing is accepted or resolved any more.
    shut: bool,
}

/// All requests of all devices.
pub(crate) struct Groups {
    devices: Map<u32, Requests>,
    /// Answers to groups that are refused on sight.
    refusals: VecDeque<Answer>,
    refusal_room: usize,
    /// Refusals put in line, and sent, since the driver started.
    refused: u64,
    sent: u64,
    /// A thread is sending refusals.
    sending: bool,
    tickets: u64,
    calls: u64,
    /// The device that was served last.
    last: u32,
}

impl Groups {
    /// With room for so many refusals.
    pub(crate) fn new(refusal_room: usize) -> Result<Self, OutOfMemory> {
        let mut refusals = VecDeque::new();
        refusals.try_reserve_exact(refusal_room).map_err(|_| OutOfMemory)?;
        Ok(Self {
            devices: Map::new(),
            refusals,
            refusal_room,
            refused: 0,
            sent: 0,
            sending: false,
            tickets: 0,
            calls: 0,
            last: 0,
        })
    }

    /// How many devices to set memory aside for if there is no room for one more.
    pub(crate) fn lacks(&self) -> Option<usize> {
        self.devices.lacks()
    }

    /// Makes room for more devices.
    pub(crate) fn move_into(&mut self, room: &mut Spare<u32, Requests>) {
        self.devices.move_into(room);
    }

    /// Takes requests of a device from now on. There is [room](Self::lacks).
    pub(crate) fn open(&mut self, device_id: u32, requests: Requests) {
        self.devices.insert(device_id, requests);
    }

    /// Forgets a device. It has been [shut](Self::shut), and everything answered.
    #[must_use = "memory is returned when the lock is free"]
    pub(crate) fn close(&mut self, device_id: u32) -> Option<Requests> {
        self.devices.remove(device_id)
    }

    /// How many records can be [accepted](Self::accept) before refusals have to be sent.
    pub(crate) fn room(&self) -> usize {
        self.refusal_room - self.refusals.len()
    }

    /// Takes in a record of the queue. There is [room](Self::room).
    pub(crate) fn accept(&mut self, request: PageRequest, counters: &Counters) {
        counters.page_requests.add(1);
        let pasid = request.pv.then_some(request.pid);
        let Some(device) = self.devices.get_mut(request.did).filter(|device| !device.shut) else {
            if request.is_stop_marker() {
                counters.stop_markers.add(1);
            }
            return self.refuse(request, Verdict::Invalid);
        };
        if request.is_stop_marker() {
            // The device is done with the PASID: what it began and did not end it never will.
            counters.stop_markers.add(1);
            return device.discard_open(counters, |open| open.pv == request.pv && open.pid == request.pid);
        }
        if device.open.len() + device.closed.len() >= device.limit {
            counters.requests_excess.add(1);
            if request.last {
                device.discard_open(counters, |open| same_group(open, &request));
            }
            return self.refuse(request, Verdict::Failure);
        }
        if !request.last {
            return device.open.push(request);
        }
        counters.groups.add(1);
        self.tickets += 1;
        let ticket = self.tickets;
        let Requests { open, closed, line, .. } = device;
        open.retain(|member| {
            let mine = same_group(member, &request);
            if mine {
                closed.push((ticket, *member));
            }
            !mine
        });
        closed.push((ticket, request));
        let group = Group { ticket, pasid, index: request.index, verdict: Verdict::Success, deferred: 0 };
        line.push_back(group);
    }

    fn refuse(&mut self, request: PageRequest, verdict: Verdict) {
        if !request.needs_response() {
            return;
        }
        let (requester, needs_pasid) = match self.devices.get(request.did) {
            Some(device) => (device.requester, device.needs_pasid),
            None => (Requester::of(request.did, None), false),
        };
        self.refused += 1;
        self.refusals.push_back(Answer {
            device_id: request.did,
            requester,
            pasid: request.pv.then_some(request.pid),
            needs_pasid,
            index: request.index,
            verdict,
        });
    }

    /// Becomes the one who sends refusals, if nobody is.
    pub(crate) fn begin_sending(&mut self) -> bool {
        !core::mem::replace(&mut self.sending, true)
    }

    /// The next refusal to be sent, by the one who does.
    pub(crate) fn next_refusal(&mut self) -> Option<Answer> {
        self.refusals.pop_front()
    }

    /// A refusal has been sent.
    pub(crate) fn refusal_sent(&mut self) {
        self.sent += 1;
    }

    pub(crate) fn end_sending(&mut self) {
        self.sending = false;
    }

    /// How many refusals were put in line so far.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// Whether so many have been sent.
    pub(crate) fn has_sent(&self, refused: u64) -> bool {
        self.sent >= refused
    }

    /// Requests were lost: groups that are not closed are incomplete, and their end may never come.
    pub(crate) fn discard_open(&mut self, counters: &Counters) {
        for device in self.devices.values_mut() {
            device.discard_open(counters, |_| true);
        }
    }

    /// Begins a call of the service: groups that earlier calls deferred are tried again. Returns its number.
    pub(crate) fn begin_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }

    /// Takes the next group for the service: the devices take turns.
    pub(crate) fn take(&mut self, call: u64) -> Option<Job> {
        let after = self.devices.range(self.last.saturating_add(1)..=u32::MAX);
        let all = self.devices.range(0..=u32::MAX);
        let ready = |(_, device): &&(u32, Requests)| device.next(call).is_some();
        let device_id = after.iter().chain(all).find(ready)?.0;
        self.last = device_id;
        let device = self.devices.get_mut(device_id)?;
        let group = device.next(call).and_then(|at| device.line.remove(at))?;
        device.serving.push((group, false));
        Some(Job { device_id, group })
    }

    /// Whether [`take`](Self::take) would find something.
    pub(crate) fn has_work(&self, call: u64) -> bool {
        self.devices.iter().any(|(_, device)| device.next(call).is_some())
    }

    /// How many groups wait to be tried again.
    pub(crate) fn deferred(&self) -> usize {
        let waiting = |device: &Requests| device.line.iter().filter(|group| group.deferred != 0).count();
        self.devices.iter().map(|(_, device)| waiting(device)).sum()
    }

    /// The next request of a group that was taken.
    pub(crate) fn next(&mut self, job: &Job) -> Next {
        let Some(device) = self.devices.get_mut(job.device_id) else { return Next::Gone };
        if !device.serves(job) {
            return Next::Gone;
        }
        match device.closed.iter().position(|(ticket, _)| *ticket == job.group.ticket) {
            Some(at) => Next::Request(device.closed.remove(at).1),
            None => Next::Answer,
        }
    }

    /// Puts a group back in line, with the request that can't be resolved now. `false` if there is no room: then
    /// the device has asked for more than it should meanwhile.
    pub(crate) fn defer(&mut self, job: &Job, request: PageRequest, call: u64) -> bool {
        let Some(device) = self.devices.get_mut(job.device_id) else { return true };
        if !device.serves(job) {
            return true;
        }
        if device.closed.len() == device.limit || device.line.len() == device.limit {
            return false;
        }
        device.closed.push((job.group.ticket, request));
        device.serving.retain(|(group, _)| group.ticket != job.group.ticket);
        device.line.push_back(Group { deferred: call, ..job.group });
        true
    }

    /// Claims the right to answer a group that was taken. `None` if that has been done.
    pub(crate) fn claim(&mut self, job: &Job) -> Option<Answer> {
        let device = self.devices.get_mut(job.device_id)?;
        let claims = |entry: &&mut (Group, bool)| entry.0.ticket == job.group.ticket && !entry.1;
        device.serving.iter_mut().find(claims)?.1 = true;
        device.closed.retain(|(ticket, _)| *ticket != job.group.ticket);
        Some(device.answer(job.device_id, &job.group))
    }

    /// The answer that was claimed has been sent.
    pub(crate) fn finish(&mut self, job: &Job) {
        if let Some(device) = self.devices.get_mut(job.device_id) {
            device.serving.retain(|(group, _)| group.ticket != job.group.ticket);
        }
    }

    /// Stops everything of a device. What is in line or being resolved can be had by
    /// [`revoke`](Self::revoke).
    pub(crate) fn shut(&mut self, device_id: u32, counters: &Counters) {
        if let Some(device) = self.devices.get_mut(device_id) {
            device.shut = true;
            device.discard_open(counters, |_| true);
        }
    }

    /// Whether a device's requests are taken in, or were before it was shut.
    pub(crate) fn knows(&self, device_id: u32) -> bool {
        self.devices.contains(device_id)
    }

    /// Undoes [`shut`](Self::shut).
    pub(crate) fn reopen(&mut self, device_id: u32) {
        if let Some(device) = self.devices.get_mut(device_id) {
            device.shut = false;
        }
    }

    /// Claims some group of a device that was shut, to be answered Invalid. Whoever is resolving it will find
    /// it gone.
    pub(crate) fn revoke(&mut self, device_id: u32) -> Option<(Job, Answer)> {
        let device = self.devices.get_mut(device_id)?;
        let group = match device.serving.iter_mut().find(|(_, answering)| !answering) {
            Some((group, answering)) => {
                *answering = true;
                *group
            }
            None => {
                let group = if device.can_serve() { device.line.pop_front() } else { None }?;
                device.serving.push((group, true));
                group
            }
        };
        device.closed.retain(|(ticket, _)| *ticket != group.ticket);
        let group = Group { verdict: Verdict::Invalid, ..group };
        Some((Job { device_id, group }, device.answer(device_id, &group)))
    }

    /// [`revoke`](Self::revoke) for any device that was shut.
    pub(crate) fn revoke_any(&mut self) -> Option<(Job, Answer)> {
        let stopped = |device: &Requests| {
            device.shut
                && (device.can_serve() && !device.line.is_empty()
                    || device.serving.iter().any(|(_, answering)| !answering))
        };
        let device_id = self.devices.iter().find(|(_, device)| stopped(device)).map(|(id, _)| id)?;
        self.revoke(device_id)
    }

    /// Forgets all requests of a device, which was reset and waits for no answers. Returns how many groups.
    pub(crate) fn forget(&mut self, device_id: u32) -> usize {
        let mut groups = self.refusals.len();
        self.refusals.retain(|answer| answer.device_id != device_id);
        groups -= self.refusals.len();
        self.sent += groups as u64;
        while let Some((job, _)) = self.revoke(device_id) {
            self.finish(&job);
            groups += 1;
        }
        groups
    }

    /// Claims some group of this device and PASID that is in line, to be answered Invalid.
    pub(crate) fn purge(&mut self, device_id: u32, pasid: u32, counters: &Counters) -> Option<(Job, Answer)> {
        let device = self.devices.get_mut(device_id)?;
        device.discard_open(counters, |open| open.pv && open.pid == pasid);
        let at = device.line.iter().position(|group| group.pasid == Some(pasid) && device.can_serve())?;
        let group = device.line.remove(at)?;
        device.serving.push((group, true));
        device.closed.retain(|(ticket, _)| *ticket != group.ticket);
        let group = Group { verdict: Verdict::Invalid, ..group };
        Some((Job { device_id, group }, device.answer(device_id, &group)))
    }

    /// Whether groups of this device (and PASID, if one is given) are in line.
    pub(crate) fn has_line(&self, device_id: u32, pasid: Option<u32>) -> bool {
        let concerns = |group: &Group| pasid.is_none() || group.pasid == pasid;
        self.devices.get(device_id).is_some_and(|device| device.line.iter().any(concerns))
    }

    /// A number that every group so far has a ticket up to.
    pub(crate) fn newest(&self) -> u64 {
        self.tickets
    }

    /// Whether a group of this device (and PASID, if one is given) up to a ticket is being resolved.
    pub(crate) fn serves(&self, device_id: u32, pasid: Option<u32>, newest: u64) -> bool {
        let concerns = |group: &Group| group.ticket <= newest && (pasid.is_none() || group.pasid == pasid);
        self.devices
            .get(device_id)
            .is_some_and(|device| device.serving.iter().any(|(group, _)| concerns(group)))
    }
}

impl Requests {
    /// Sets memory aside for a device that may have `limit` requests outstanding.
    pub(crate) fn new(requester: Requester, limit: usize, needs_pasid: bool) -> Result<Self, OutOfMemory> {
        let mut device = Self {
            requester,
            needs_pasid,
            limit,
            open: Vec::new(),
            closed: Vec::new(),
            line: VecDeque::new(),
            serving: Vec::new(),
            shut: false,
        };
        device.open.try_reserve_exact(limit).map_err(|_| OutOfMemory)?;
        device.closed.try_reserve_exact(limit).map_err(|_| OutOfMemory)?;
        device.line.try_reserve_exact(limit).map_err(|_| OutOfMemory)?;
        device.serving.try_reserve_exact(limit + ANSWERS).map_err(|_| OutOfMemory)?;
        Ok(device)
    }

    /// Whether one more group can be taken out of the line: those that were answered count until their answer is on
    /// its way.
    fn can_serve(&self) -> bool {
        self.serving.len() < self.limit + ANSWERS
    }

    fn discard_open(&mut self, counters: &Counters, which: impl Fn(&PageRequest) -> bool) {
        let before = self.open.len();
        self.open.retain(|request| !which(request));
        counters.requests_discarded.add(before - self.open.len());
    }

    /// Where in the line the next group for a call of the service is.
    fn next(&self, call: u64) -> Option<usize> {
        if self.shut || !self.can_serve() {
            return None;
        }
        self.line.iter().position(|group| group.deferred < call)
    }

    fn serves(&self, job: &Job) -> bool {
        self.serving.iter().any(|(group, answering)| group.ticket == job.group.ticket && !answering)
    }

    fn answer(&self, device_id: u32, group: &Group) -> Answer {
        Answer {
            device_id,
            requester: self.requester,
            pasid: group.pasid,
            needs_pasid: self.needs_pasid,
            index: group.index,
            verdict: group.verdict,
        }
    }
}

fn same_group(a: &PageRequest, b: &PageRequest) -> bool {
    (a.index, a.pv, a.pid) == (b.index, b.pv, b.pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_one_group() -> (Groups, Counters) {
        let (mut groups, counters) = (Groups::new(4).unwrap(), Counters::default());
        let mut room = Spare::new(groups.lacks()).unwrap();
        groups.move_into(&mut room);
        groups.open(1, Requests::new(Requester::of(1, None), 4, false).unwrap());
        let request =
            PageRequest { did: 1, pv: true, pid: 5, read: true, last: true, ..PageRequest::default() };
        groups.accept(request, &counters);
        (groups, counters)
    }

    #[test]
    fn a_group_can_be_claimed_once() {
        let (mut groups, counters) = with_one_group();
        let call = groups.begin_call();
        let job = groups.take(call).unwrap();
        groups.shut(1, &counters);
        let (revoked, _) = groups.revoke(1).unwrap();
        // While the one who revoked it sends the answer, nobody else may, and it counts as being served.
        assert!(groups.claim(&job).is_none());
        assert!(matches!(groups.next(&job), Next::Gone));
        assert!(groups.revoke(1).is_none() && groups.revoke_any().is_none());
        assert!(groups.serves(1, Some(5), groups.newest()));
        groups.finish(&revoked);
        assert!(groups.claim(&job).is_none());
        assert!(!groups.serves(1, None, u64::MAX));
    }

    #[test]
    fn a_group_that_is_being_answered_can_not_be_revoked() {
        let (mut groups, counters) = with_one_group();
        let call = groups.begin_call();
        let job = groups.take(call).unwrap();
        assert!(groups.claim(&job).is_some() && groups.claim(&job).is_none());
        groups.shut(1, &counters);
        assert!(groups.revoke(1).is_none());
        assert!(groups.serves(1, None, u64::MAX));
        groups.finish(&job);
        assert!(!groups.serves(1, None, u64::MAX));
    }
}
