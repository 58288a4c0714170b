//! The root port: messages between the devices and the IOMMU, and which answers are due.
//!
//! Messages of a device stay in order. Every message is recorded: each group of page requests that was handed over must be answered
//! once, whoever sent it and in whose name.

use crate::endpoint::Endpoint;
use crate::truth::Truth;
use pasidon_cosim::verilated::ports::{MessageIn, MessageOut};
use pasidon_cosim::{MessageEvent, MessagePort, Pace, Random};
use pasidon_spec::message::{InvalidationCompletion, Message, PageRequestGroupResponse};
use pasidon_spec::page_request::PageRequest;
use std::collections::{BTreeMap, BTreeSet};

/// What is owed for a group.
#[derive(Clone, Copy, Debug, Default)]
struct Owed {
    /// Answers that must come.
    due: u32,
    /// Answers that may come: the device was reset.
    allowed: u32,
}

/// The root port.
pub struct RootPort {
    port: MessagePort,
    owed: BTreeMap<(u32, u16), Owed>,
    orphans: BTreeSet<u32>,
    /// In how many of 256 cycles it does not take a message of the IOMMU.
    pub pauses: u8,
    random: Random,
    turn: usize,
    /// Page requests handed over, stop markers included.
    pub requests_sent: u64,
    /// Groups among them that are owed an answer.
    pub groups_sent: u64,
    /// Invalidation requests to devices.
    pub invalidations: u64,
    /// Answers to groups, by code.
    pub responses: [u64; 16],
}

impl RootPort {
    /// Nothing under way.
    pub fn new(seed: u64) -> RootPort {
        RootPort {
            port: MessagePort::default(),
            owed: BTreeMap::new(),
            orphans: BTreeSet::new(),
            pauses: 0,
            random: Random::new(seed),
            turn: 0,
            requests_sent: 0,
            groups_sent: 0,
            invalidations: 0,
            responses: [0; 16],
        }
    }

    /// The IOMMU was reset, or has another owner: what it had been asked may never be answered, but what is still on offer will be.
    pub fn excuse_all(&mut self) {
        self.port.forget_shown();
        for (&(device_id, _), owed) in &mut self.owed {
            if owed.due > 0 {
                self.orphans.insert(device_id);
            }
            owed.allowed += std::mem::take(&mut owed.due);
        }
        if let Some(request) = self.port.on_offer().filter(|request| request.needs_response()) {
            match self.owed.get_mut(&(request.did, request.index)) {
                Some(owed) if owed.allowed > 0 => {
                    owed.allowed -= 1;
                    owed.due += 1;
                }
                // It was answered before it was taken, and the IOMMU does not know any more.
                _ => self.owed.entry((request.did, request.index)).or_default().allowed += 1,
            }
        }
    }

    /// Devices that may wait for answers in vain, since [`excuse_all`](Self::excuse_all).
    pub fn take_orphans(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.orphans)
    }

    /// Puts a page request of nobody in particular in line.
    pub fn forge(&mut self, request: PageRequest) {
        self.port.page_request(request);
    }

    /// Puts an invalidation completion of nobody in particular in line.
    pub fn forge_completion(&mut self, completion: InvalidationCompletion) {
        self.port.invalidation_completion(completion);
    }

    /// A device was reset: what it is owed may still come, or not.
    pub fn excuse(&mut self, device_id: u32) {
        for (_, owed) in self.owed.range_mut((device_id, 0)..=(device_id, u16::MAX)) {
            owed.allowed += std::mem::take(&mut owed.due);
        }
    }

    /// A device that was reset is let in again: what it was owed before must not come any more.
    pub fn forget(&mut self, device_id: u32) {
        for (_, owed) in self.owed.range_mut((device_id, 0)..=(device_id, u16::MAX)) {
            owed.allowed = 0;
        }
    }

    /// Answers that are owed: device, index of the group, how many.
    pub fn owed(&self) -> impl Iterator<Item = (u32, u16, u32)> + '_ {
        let due = self.owed.iter().filter(|(_, owed)| owed.due > 0);
        due.map(|(&(device_id, index), owed)| (device_id, index, owed.due))
    }

    /// Whether messages to the IOMMU wait here.
    pub fn is_idle(&self) -> bool {
        self.port.is_idle()
    }

    /// Whether a message of a device about an address space waits here.
    pub fn holds(&self, device_id: u32, process_id: u32) -> bool {
        self.port
            .waiting_page_requests()
            .any(|request| (request.did, request.pv, request.pid) == (device_id, true, process_id))
    }

    /// One cycle.
    #[inline]
    pub fn cycle(
        &mut self,
        now: u64,
        out: &MessageOut,
        input: &mut MessageIn,
        endpoints: &mut [Endpoint],
        truth: &mut Truth,
    ) {
        self.collect(endpoints);
        let pace = Pace { response_pauses: self.pauses, ..Pace::even(1) };
        match self.port.cycle(out, input, &pace, &mut self.random) {
            Ok(happened) => self.owe(happened.offered),
            Err(what) => truth.find(now, what),
        }
        if self.port.is_quiet() {
            return;
        }
        for event in self.port.take_events() {
            match event {
                MessageEvent::PageRequest(_) => self.requests_sent += 1,
                MessageEvent::Message(message) => self.deliver(now, &message, endpoints, truth),
                MessageEvent::Completion(_) | MessageEvent::Timeout(_) => {}
            }
        }
        self.port.take_messages();
    }

    /// Enters what a request that is on offer from now on is owed.
    fn owe(&mut self, offered: Option<PageRequest>) {
        if let Some(request) = offered.filter(PageRequest::needs_response) {
            self.groups_sent += 1;
            self.owed.entry((request.did, request.index)).or_default().due += 1;
        }
    }

    /// Takes what devices have to say, one message of each kind of one device per cycle, in turn.
    #[inline]
    fn collect(&mut self, endpoints: &mut [Endpoint]) {
        if endpoints.is_empty() {
            return;
        }
        self.turn = (self.turn + 1) % endpoints.len();
        let endpoint = &mut endpoints[self.turn];
        if let Some(request) = endpoint.take_page_request() {
            self.port.page_request(request);
        }
        if let Some(completion) = endpoint.take_completion() {
            self.port.invalidation_completion(completion);
        }
    }

    fn deliver(&mut self, now: u64, message: &Message, endpoints: &mut [Endpoint], truth: &mut Truth) {
        let (rid, dseg) = match message {
            Message::Invalidation { rid, dseg, .. } => {
                self.invalidations += 1;
                (*rid, *dseg)
            }
            Message::GroupResponse { rid, dseg, body, .. } => {
                self.responses[usize::from(body.code & 15)] += 1;
                (*rid, *dseg)
            }
        };
        let device_id = u32::from(dseg.unwrap_or(0)) << 16 | u32::from(rid);
        if let Message::GroupResponse { body, .. } = message {
            self.settle(now, device_id, body, truth);
        }
        // What nobody takes is dropped, as a root port does.
        if let Some(endpoint) = endpoints.iter_mut().find(|endpoint| endpoint.device_id == device_id) {
            endpoint.receive(message, now);
        }
    }

    fn settle(&mut self, now: u64, device_id: u32, body: &PageRequestGroupResponse, truth: &mut Truth) {
        let owed = self.owed.entry((device_id, body.index)).or_default();
        if owed.allowed > 0 {
            owed.allowed -= 1;
        } else if owed.due > 0 {
            owed.due -= 1;
        } else {
            let PageRequestGroupResponse { index, code } = body;
            let what =
                format!("group {index} of device {device_id:#x} is answered ({code}) and owed nothing");
            truth.find(now, what);
        }
        if owed.due == 0 && owed.allowed == 0 {
            self.owed.remove(&(device_id, body.index));
        }
    }
}
