//! A device that speaks ATS and PRI, with a translation cache of its own and ways to misbehave.

use super::{Access, Completion, Machine, Message};
use alloc::{collections::BTreeMap, format, vec::Vec};
use pasidon_spec::{
    message::{PageRequestGroupResponse, response_code},
    page_request::PageRequest,
};

/// How a device behaves: [`Default`] is as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// It completes invalidation requests.
    pub completes: bool,
    /// Ticks until it deals with a message.
    pub delay: u64,
    /// It forgets what it is told to forget; otherwise it completes the request and lies.
    pub forgets: bool,
    /// It completes with the wrong tag.
    pub wrong_tag: bool,
    /// Its responses must carry the PASID that the requests had ("PRG Response PASID Required"); otherwise
    /// they must not.
    pub response_needs_pasid: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self { completes: true, delay: 2, forgets: true, wrong_tag: false, response_needs_pasid: false }
    }
}

/// What a device got as the answer to a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// The PASID in the message.
    pub pasid: Option<u32>,
    /// Index of the group.
    pub index: u16,
    /// The [code](pasidon_spec::message::response_code).
    pub code: u8,
    /// The IOMMU itself answered.
    pub automatic: bool,
    /// The device had asked: otherwise this answers no group, or one that was answered before.
    pub expected: bool,
}

/// What became of a device's access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Memory at this physical address.
    Memory(u64),
    /// Nothing: the page is not there for this access, and the device may ask for it.
    NoPage,
    /// Nothing: the IOMMU refused the translated request, with this cause, or the translation request.
    Refused(Option<u16>),
}

pub(super) struct Endpoint {
    pub(super) behaviour: Behaviour,
    /// Page, and whether it may be read and written, by PASID and page number.
    cache: BTreeMap<(Option<u32>, u64), (u64, bool, bool)>,
    inbox: Vec<(u64, Message)>,
    /// Groups that were closed and have no answer yet: PASID and index.
    outstanding: Vec<(Option<u32>, u16)>,
    pub(super) responses: Vec<Response>,
}

impl Endpoint {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour,
            cache: BTreeMap::new(),
            inbox: Vec::new(),
            outstanding: Vec::new(),
            responses: Vec::new(),
        }
    }

    pub(super) fn receive(&mut self, message: Message, now: u64) {
        self.inbox.push((now + self.behaviour.delay, message));
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    /// Everything in the device is gone, as after a function-level reset.
    pub(super) fn reset(&mut self) {
        self.cache.clear();
        self.inbox.clear();
        self.outstanding.clear();
    }

    /// Takes note of a request that goes out.
    pub(super) fn asks(&mut self, request: &PageRequest) {
        if request.needs_response() {
            self.outstanding.push((request.pv.then_some(request.pid), request.index));
        }
    }

    fn forget(&mut self, pasid: Option<u32>, request: pasidon_spec::message::InvalidationRequest) {
        let (first, last) = request.bounds();
        self.cache.retain(|&(tag, page), _| {
            // A global request reaches all PASIDs, but not what has none.
            let in_space = tag == pasid || request.global && pasid.is_some() && tag.is_some();
            !(in_space && (first..=last).contains(&(page << 12)))
        });
    }
}

impl Machine {
    /// Devices deal with the messages that they have had for long enough.
    pub(super) fn run_endpoints(&mut self) {
        let now = self.ticks;
        let mut due = Vec::new();
        for (&device_id, endpoint) in &mut self.endpoints {
            endpoint.inbox.retain(|&(at, message)| {
                if at <= now {
                    due.push((device_id, message));
                }
                at > now
            });
        }
        for (device_id, message) in due {
            self.handle_message(device_id, message);
        }
    }

    fn handle_message(&mut self, device_id: u32, message: Message) {
        let Some(endpoint) = self.endpoints.get_mut(&device_id) else { return };
        let behaviour = endpoint.behaviour;
        match message {
            Message::Invalidation { pasid, request, itag, .. } => {
                if behaviour.forgets {
                    endpoint.forget(pasid, request);
                }
                if behaviour.completes {
                    self.invalidation_completion(device_id, itag ^ u8::from(behaviour.wrong_tag));
                }
            }
            Message::GroupResponse { pasid, response, automatic, .. } => {
                let PageRequestGroupResponse { index, code } = response;
                // Without a PASID in the response the index alone names the group.
                let group = endpoint
                    .outstanding
                    .iter()
                    .position(|&(asked, number)| number == index && (pasid.is_none() || asked == pasid));
                let asked = group.map(|group| endpoint.outstanding.remove(group).0);
                endpoint.responses.push(Response {
                    pasid,
                    index,
                    code,
                    automatic,
                    expected: asked.is_some(),
                });
                let failure = u64::from(code) == response_code::RESPONSE_FAILURE;
                let wanted = asked.flatten().filter(|_| behaviour.response_needs_pasid);
                if asked.is_some() && pasid != wanted && !(automatic && failure) {
                    self.violation(format!("response with {pasid:?} where the device expects {wanted:?}"));
                }
            }
        }
    }

    pub(super) fn endpoint_access(
        &mut self,
        device_id: u32,
        pasid: Option<u32>,
        iova: u64,
        access: Access,
    ) -> Reached {
        let key = (pasid, iova >> 12);
        let known = self.endpoints.get(&device_id).and_then(|endpoint| endpoint.cache.get(&key).copied());
        let allows = |read, write| match access {
            Access::Read => read,
            Access::Write => write,
        };
        let page = match known {
            Some((page, read, write)) if allows(read, write) => page,
            _ => match self.translation_request(device_id, pasid, iova) {
                Completion::Success { page, read, write } => {
                    if let Some(endpoint) = self.endpoints.get_mut(&device_id)
                        && (read || write)
                    {
                        endpoint.cache.insert(key, (page, read, write));
                    }
                    if !allows(read, write) {
                        return Reached::NoPage;
                    }
                    page
                }
                Completion::UnsupportedRequest | Completion::CompleterAbort => return Reached::Refused(None),
            },
        };
        match self.translated(device_id, page | iova & 0xfff, access) {
            Ok(address) => Reached::Memory(address),
            Err(cause) => Reached::Refused(Some(cause)),
        }
    }
}
