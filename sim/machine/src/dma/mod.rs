//! The data path of the devices: translation ports, and the accesses to memory that follow.
//!
//! A [`Channel`] belongs to a device (device_id) and uses one address space (process_id, the PASID). Its requests go to one
//! translation port, several at a time; responses are matched by id in whatever order they come, and memory is then
//! accessed at the returned address, some cycles later. Channels of a device that speaks ATS go through its [`Endpoint`], which
//! sends translation requests and translated requests instead. Each access that reaches memory is held against the
//! [`Truth`], reads are compared with it, and writes put a pattern into both.

mod choose;
mod data;

use crate::endpoint::{
    CachedTranslation, Channel, ChannelKind, Completion, DmaAccess, DmaRequest, Endpoint, Outcome, Question,
};
use crate::memory::Ram;
use crate::stats::Counters;
use crate::truth::{Reached, Truth};
use crate::watch::{Watch, Watched};
use data::{DataAccess, DataQueue};
use pasidon_cosim::random::mix;
use pasidon_cosim::verilated::Out;
use pasidon_cosim::verilated::ports::{MAX_PORTS, ReqIn, ReqOut};
use pasidon_cosim::{Answer, Random, TranslationPort};
use pasidon_experiment::timing::Side;
use pasidon_experiment::trace::TraceError;
use pasidon_rtl::design::Design;
use pasidon_spec::fault::Cause;
use pasidon_spec::request::Response;

/// A channel at work.
struct Stream {
    channel: Channel,
    /// Index of its endpoint in [`Dma::endpoints`].
    endpoint: Option<usize>,
    /// The next request, which has been read ahead, with the cycles of computing before it.
    ahead: Option<(DmaRequest, u32)>,
    outstanding: u32,
    /// It computes until this cycle.
    computes: u64,
}

impl Stream {
    /// Reads the next request ahead. A channel whose work can't be read sends nothing more.
    #[inline]
    fn advance(&mut self) -> Result<(), TraceError> {
        let Channel { traffic, remaining, .. } = &mut self.channel;
        let next = if *remaining > 0 { traffic.next_request() } else { Ok(None) };
        self.ahead = next.as_ref().ok().copied().flatten();
        if self.ahead.is_none() {
            *remaining = 0;
        }
        next.map(|_| ())
    }

    fn is_done(&self) -> bool {
        self.channel.remaining == 0 && self.outstanding == 0
    }
}

/// What a request on a port is for.
#[derive(Clone, Copy, Debug)]
enum Purpose {
    /// An access of a channel; of an endpoint's channel also the number of the flight.
    Access(DmaAccess, Option<(u16, u64)>),
    /// A translation request of an endpoint.
    Question(u16, Question),
}

/// What a port knows a request by.
struct Tag {
    purpose: Purpose,
    serial: u64,
    watched: Option<Watched>,
}

struct Port {
    port: TranslationPort<Tag>,
    streams: Vec<u16>,
    next: usize,
}

/// The devices of the machine.
pub struct Dma {
    /// Devices that speak ATS and PRI.
    pub endpoints: Vec<Endpoint>,
    /// Who watches what becomes of the requests.
    pub watch: Option<Box<Watch>>,
    streams: Vec<Option<Stream>>,
    vacant: Vec<u16>,
    busy: usize,
    ports: Vec<Port>,
    data: DataQueue,
    fence: Option<u64>,
    serial: u64,
    seed: u64,
    random: Random,
    outcomes: Vec<Outcome>,
    failure: Option<TraceError>,
}

impl Dma {
    /// No devices yet, at the translation ports of `design`.
    pub fn new(design: &Design, seed: u64) -> Dma {
        let mut random = Random::new(seed);
        let mut port =
            || Port { port: TranslationPort::new(design, &mut random), streams: Vec::new(), next: 0 };
        let ports = (0..(design.ports as usize).min(MAX_PORTS)).map(|_| port()).collect();
        Dma {
            endpoints: Vec::new(),
            watch: None,
            streams: Vec::new(),
            vacant: Vec::new(),
            busy: 0,
            ports,
            data: DataQueue::new(),
            fence: None,
            serial: 0,
            seed,
            random,
            outcomes: Vec::new(),
            failure: None,
        }
    }

    /// Number of translation ports.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// The endpoint of a device.
    pub fn endpoint(&mut self, device_id: u32) -> Option<&mut Endpoint> {
        self.endpoints.iter_mut().find(|endpoint| endpoint.device_id == device_id)
    }

    /// Adds a channel; its port is taken modulo the number of ports. It is forgotten when all its requests have been answered.
    pub fn add(&mut self, mut channel: Channel) {
        let endpoint = self.endpoints.iter().position(|endpoint| endpoint.device_id == channel.device_id);
        let endpoint = endpoint.filter(|_| channel.kind == ChannelKind::Ats);
        if let Some(endpoint) = endpoint {
            channel.port = self.endpoints[endpoint].port;
        }
        channel.port %= self.ports.len().max(1);
        let port = channel.port;
        let mut stream = Stream { channel, endpoint, ahead: None, outstanding: 0, computes: 0 };
        if let Err(failure) = stream.advance() {
            self.failure.get_or_insert(failure);
        }
        if stream.ahead.is_none() {
            return;
        }
        let stream = Some(stream);
        let index = match self.vacant.pop() {
            Some(index) => {
                self.streams[usize::from(index)] = stream;
                index
            }
            None => {
                self.streams.push(stream);
                self.streams.len() as u16 - 1
            }
        };
        self.busy += 1;
        self.ports[port].streams.push(index);
    }

    /// Tells all channels to send nothing more; what is under way goes on.
    pub fn stop(&mut self) {
        self.stop_where(|_| true);
    }

    fn stop_where(&mut self, which: impl Fn(&Channel) -> bool) {
        for index in 0..self.streams.len() {
            if let Some(stream) = &mut self.streams[index]
                && which(&stream.channel)
            {
                stream.channel.remaining = 0;
                self.retire(index as u16);
            }
        }
    }

    /// The channels of a device send nothing more.
    pub fn stop_channels_of(&mut self, device_id: u32) {
        self.stop_where(|channel| channel.device_id == device_id);
    }

    /// Whether a device has a channel that sends, or waits for answers.
    pub fn has_channels_of(&self, device_id: u32) -> bool {
        self.streams.iter().flatten().any(|stream| stream.channel.device_id == device_id)
    }

    /// A device stops using an address space, as far as it can: see [`Endpoint::stop`].
    pub fn stop_device_in(&mut self, device_id: u32, process_id: u32, marker: bool, truth: &mut Truth) {
        self.stop_where(|channel| (channel.device_id, channel.process_id) == (device_id, Some(process_id)));
        if let Some(endpoint) = self.endpoint(device_id) {
            let dropped = endpoint.stop(Some(process_id), marker);
            self.drop_all(dropped, truth);
        }
    }

    /// A device is reset, or, if `removed`, lost.
    pub fn reset_device(&mut self, device_id: u32, removed: bool, truth: &mut Truth) {
        self.stop_channels_of(device_id);
        if let Some(endpoint) = self.endpoint(device_id) {
            let dropped = if removed { endpoint.remove() } else { endpoint.reset() };
            self.drop_all(dropped, truth);
        }
    }

    fn drop_all(&mut self, accesses: Vec<DmaAccess>, truth: &mut Truth) {
        for DmaAccess { channel, request, .. } in accesses {
            self.finish(channel, request, truth);
        }
    }

    /// One request less of a channel.
    fn finish(&mut self, index: u16, request: DmaRequest, truth: &mut Truth) {
        let Some(stream) = &mut self.streams[usize::from(index)] else { return };
        stream.outstanding -= 1;
        if let Some(space) = stream.channel.space {
            truth.release(space, request.va, request.length, request.write);
        }
        self.retire(index);
    }

    fn retire(&mut self, index: u16) {
        let place = &mut self.streams[usize::from(index)];
        if let Some(stream) = place.take_if(|stream| stream.is_done()) {
            let port = &mut self.ports[stream.channel.port];
            port.streams.retain(|&other| other != index);
            port.next = 0;
            self.vacant.push(index);
            self.busy -= 1;
        }
    }

    /// Nothing to send, nothing under way.
    pub fn is_idle(&self) -> bool {
        self.busy == 0
    }

    /// Whether no request is under way, because all that have more to send compute.
    pub fn is_computing(&self) -> bool {
        self.streams.iter().flatten().all(|stream| stream.outstanding == 0)
    }

    /// What is under way: device, PASID, requests, and what its endpoint is at.
    pub fn stuck(&self) -> Vec<String> {
        let tell = |stream: &Stream| {
            let Channel { device_id, process_id, remaining, .. } = stream.channel;
            let endpoint = stream.endpoint.map(|endpoint| self.endpoints[endpoint].pending());
            format!(
                "device {device_id:#x}, PASID {process_id:?}: {} and {remaining} to come; {}",
                stream.outstanding,
                endpoint.unwrap_or_default()
            )
        };
        self.streams.iter().flatten().map(tell).collect()
    }

    /// Whether a device has no access under way and nothing to say in an address space.
    pub fn is_idle_in(&self, device_id: u32, process_id: u32) -> bool {
        let mine = |stream: &Stream| {
            (stream.channel.device_id, stream.channel.process_id) == (device_id, Some(process_id))
        };
        !self.streams.iter().flatten().any(mine)
            && self
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.device_id == device_id)
                .all(|endpoint| endpoint.is_idle_in(Some(process_id)))
    }

    /// Why a channel ended before its end, if one did: its work could not be read.
    pub fn take_failure(&mut self) -> Option<TraceError> {
        self.failure.take()
    }

    /// Takes the outcomes of observed channels, oldest first.
    pub fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    /// One cycle of all ports.
    #[inline]
    pub fn cycle(
        &mut self,
        now: u64,
        out: &Out,
        input: &mut [ReqIn; MAX_PORTS],
        memory: &mut Ram,
        truth: &mut Truth,
        counters: &mut Counters,
    ) {
        if let Some(watch) = &mut self.watch {
            watch.begin(out);
        }
        while let Some(access) = self.data.pop(now) {
            self.access(access, memory, truth, counters);
        }
        for index in 0..self.endpoints.len() {
            if self.endpoints[index].is_busy() {
                self.endpoints[index].tick(now);
                self.give_up(index, now, truth, counters);
            }
        }
        for (port, (out, input)) in out.req.iter().zip(input).enumerate().take(self.ports.len()) {
            self.response(now, port, out, input, (&mut *memory, &mut *truth, &mut *counters));
            self.request(now, port, out, input, truth);
        }
        if let Some(watch) = &mut self.watch {
            watch.end(&self.endpoints, self.data.len());
        }
    }

    /// IOFENCE.C waits for earlier accesses: whether they have all been done.
    #[inline]
    pub fn drained(&mut self, asked: bool) -> bool {
        if !asked {
            self.fence = None;
            return false;
        }
        let target = *self.fence.get_or_insert(self.data.queued());
        let drained = self.data.are_done(target);
        if drained {
            // The transfer takes place at this edge; a next one starts anew.
            self.fence = None;
        }
        drained
    }

    /// The IOMMU's core was reset: what it had taken and not answered is aborted, what is on offer stays so.
    pub(super) fn core_was_reset(&mut self, now: u64, truth: &mut Truth, counters: &mut Counters) {
        self.fence = None;
        if let Some(watch) = &mut self.watch {
            watch.core_was_reset();
        }
        let cause = u64::from(Cause::AllInboundTransactionsDisallowed.code());
        for port in 0..self.ports.len() {
            for (Tag { purpose, .. }, offered) in self.ports[port].port.forget_taken() {
                match purpose {
                    Purpose::Question(endpoint, question) => {
                        self.endpoints[usize::from(endpoint)].answer(&question, Completion::Refused(cause));
                        self.give_up(endpoint.into(), now, truth, counters);
                    }
                    Purpose::Access(access, flight) => {
                        let refusal = Refusal { cause, latency: now - offered };
                        self.refuse(now, access, flight, refusal, truth, counters);
                    }
                }
            }
        }
    }

    /// Accesses that an endpoint has given up fail.
    fn give_up(&mut self, endpoint: usize, now: u64, truth: &mut Truth, counters: &mut Counters) {
        for given_up in self.endpoints[endpoint].take_given_up() {
            let DmaAccess { channel, request, begun } = given_up.access;
            counters.requests += 1;
            counters.faults += 1;
            counters.access_cycles += now - begun;
            if self.streams[usize::from(channel)].as_ref().is_some_and(|stream| stream.channel.observe) {
                self.outcomes.push(Outcome {
                    request,
                    status: 1,
                    cause: given_up.cause,
                    refused: given_up.refused,
                    spa: 0,
                    latency: now - begun,
                    cycle: now,
                    data: Vec::new(),
                });
            }
            self.finish(channel, request, truth);
        }
    }

    #[inline]
    fn response(
        &mut self,
        now: u64,
        port: usize,
        out: &ReqOut,
        input: &mut ReqIn,
        (memory, truth, counters): (&mut Ram, &mut Truth, &mut Counters),
    ) {
        let answer = match self.ports[port].port.response(now, out, input, true) {
            Ok(None) => return,
            Ok(Some(answer)) => answer,
            Err(what) => {
                counters.strays += 1;
                truth.find(now, format!("port {port}: {what}"));
                return;
            }
        };
        let Answer { tag: Tag { purpose, serial, watched }, offered, response, .. } = answer;
        let latency = now - offered;
        counters.latency.record(latency);
        if let (Some(watch), Some(watched)) = (&mut self.watch, watched) {
            watch.answered(watched);
        }
        match (purpose, response) {
            (Purpose::Question(endpoint, question), response) => {
                self.endpoints[usize::from(endpoint)].answer(&question, completion(&response));
                self.give_up(endpoint.into(), now, truth, counters);
            }
            (Purpose::Access(access, flight), Response::Success(translation)) => {
                let spa = translation.spa;
                let due = memory.timing.access(Side::Data, now, spa, access.request.length.into()).last;
                let number = 0;
                self.data.push(DataAccess { access, flight, serial, spa, latency, due, cycle: now, number });
            }
            (Purpose::Access(access, flight), Response::Fault(fault)) => {
                let refusal = Refusal { cause: fault.cause.code().into(), latency };
                self.refuse(now, access, flight, refusal, truth, counters);
            }
        }
    }

    /// An access does not reach memory.
    fn refuse(
        &mut self,
        now: u64,
        access: DmaAccess,
        flight: Option<(u16, u64)>,
        refusal: Refusal,
        truth: &mut Truth,
        counters: &mut Counters,
    ) {
        counters.requests += 1;
        counters.faults += 1;
        counters.access_cycles += now - access.begun;
        self.landed(flight);
        let request = access.request;
        if self.streams[usize::from(access.channel)].as_ref().is_some_and(|stream| stream.channel.observe) {
            let Refusal { cause, latency } = refusal;
            self.outcomes.push(Outcome {
                request,
                status: 1,
                cause,
                refused: None,
                spa: 0,
                latency,
                cycle: now,
                data: Vec::new(),
            });
        }
        self.finish(access.channel, request, truth);
    }

    fn landed(&mut self, flight: Option<(u16, u64)>) {
        if let Some((endpoint, number)) = flight {
            self.endpoints[usize::from(endpoint)].landed(number);
        }
    }

    /// Moves the data of a translated access.
    fn access(&mut self, access: DataAccess, memory: &mut Ram, truth: &mut Truth, counters: &mut Counters) {
        let DataAccess {
            access: DmaAccess { channel: index, request, begun },
            flight,
            serial,
            spa,
            latency,
            cycle,
            due,
            ..
        } = access;
        self.landed(flight);
        counters.requests += 1;
        counters.access_cycles += due - begun;
        let Some(stream) = &self.streams[usize::from(index)] else { return };
        let channel = &stream.channel;
        let length = usize::from(request.length);
        let reached = Reached {
            cycle,
            device_id: channel.device_id,
            process_id: channel.process_id,
            va: request.va,
            spa,
            length: request.length,
            write: request.write,
            exec: request.exec,
        };
        if let Some((frame, content)) = truth.look_at(channel.device_id, channel.process_id, request.va)
            && let Some(bytes) = memory.slice_mut(frame, content.len())
        {
            bytes.copy_from_slice(content);
        }
        let content = truth.access(&reached);
        let mut observed = Vec::new();
        match memory.slice_mut(spa, length) {
            None => counters.mismatches += length as u64,
            Some(bytes) => {
                if request.write {
                    pattern(self.seed ^ serial, bytes);
                }
                if channel.observe {
                    observed = bytes.to_vec();
                }
                match content {
                    Some(content) if request.write => content.copy_from_slice(bytes),
                    Some(content) if content != bytes => {
                        counters.mismatches +=
                            content.iter().zip(bytes.iter()).filter(|(a, b)| a != b).count() as u64;
                    }
                    _ => {}
                }
            }
        }
        counters.bytes += length as u64;
        if channel.observe {
            let data = observed;
            self.outcomes.push(Outcome {
                request,
                status: 0,
                cause: 0,
                refused: None,
                spa,
                latency,
                cycle,
                data,
            });
        }
        self.finish(index, request, truth);
    }
}

/// What a request was told that did not reach memory.
struct Refusal {
    cause: u64,
    latency: u64,
}

/// What an endpoint learns from the answer to a translation request.
fn completion(response: &Response) -> Completion {
    match response {
        Response::Fault(fault) => Completion::Refused(fault.cause.code().into()),
        Response::Success(translation) => Completion::Success(CachedTranslation {
            page: translation.spa,
            shift: translation.page_shift.clamp(12, 63),
            read: translation.read,
            write: translation.write,
            exec: translation.exec,
            untranslated: translation.ats.is_some_and(|ats| ats.untranslated_only),
        }),
    }
}

/// What a write puts: different for every write of a run.
#[inline]
fn pattern(seed: u64, bytes: &mut [u8]) {
    for (i, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(i as u64)).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}
