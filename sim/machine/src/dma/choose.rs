//! Which request a port offers next: what endpoints have ready first, then channels in turn, as far as they may: so many at a time,
//! not while they compute, and not while an access that one depends on is under way.

use super::data::DataAccess;
use super::{Dma, Purpose, Tag};
use crate::endpoint::{Begin, ChannelKind, DmaAccess, DmaRequest};
use crate::truth::Truth;
use pasidon_cosim::verilated::ports::{ReqIn, ReqOut};
use pasidon_experiment::timing::{Side, Timing};
use pasidon_spec::request::{self, AddressType};

impl Dma {
    #[inline]
    pub(super) fn request(
        &mut self,
        now: u64,
        port: usize,
        out: &ReqOut,
        input: &mut ReqIn,
        truth: &mut Truth,
    ) {
        if self.ports[port].port.can_offer() {
            self.offer(now, port, input, truth);
        }
        self.ports[port].port.request(out, input);
        if out.ready & input.valid & 1 != 0
            && let Some(watch) = &mut self.watch
        {
            watch.accepted(port);
        }
    }

    /// Chooses the next request of a port: what endpoints have ready first, then channels in turn.
    #[inline]
    fn offer(&mut self, now: u64, port: usize, input: &mut ReqIn, truth: &mut Truth) {
        let chosen = self.choose_of_endpoints(port).or_else(|| self.choose_of_streams(now, port, truth));
        let Some((purpose, request)) = chosen else { return };
        self.serial += 1;
        let access = matches!(purpose, Purpose::Access(..));
        let watched = self.watch.as_mut().map(|watch| watch.offered(port, access));
        if let (Purpose::Question(endpoint, question), Some(watched)) = (&purpose, watched) {
            self.endpoints[usize::from(*endpoint)].watch(question, watched);
        }
        let tag = Tag { purpose, serial: self.serial, watched };
        self.ports[port].port.offer(now, tag, &request, input, &mut self.random);
    }

    fn choose_of_endpoints(&mut self, port: usize) -> Option<(Purpose, request::Request)> {
        for index in 0..self.endpoints.len() {
            let endpoint = &mut self.endpoints[index];
            if endpoint.port != port {
                continue;
            }
            if let Some(question) = endpoint.take_question() {
                let request = request::Request {
                    device_id: endpoint.device_id,
                    process_id: question.tag,
                    write: question.write,
                    exec: question.exec,
                    at: AddressType::TranslationRequest,
                    iova: question.page << 12,
                    ..request::Request::default()
                };
                return Some((Purpose::Question(index as u16, question), request));
            }
            while let Some((tag, access)) = endpoint.take_ready() {
                if let Begin::Send { address, translated, flight } = endpoint.begin(tag, access) {
                    let device_id = endpoint.device_id;
                    let flight = (index as u16, flight);
                    return Some(sent(device_id, tag, access, address, translated, flight));
                }
            }
        }
        None
    }

    fn choose_of_streams(
        &mut self,
        now: u64,
        port: usize,
        truth: &mut Truth,
    ) -> Option<(Purpose, request::Request)> {
        let place = &mut self.ports[port];
        let count = place.streams.len();
        for turn in 0..count {
            let position =
                if place.next + turn < count { place.next + turn } else { place.next + turn - count };
            let index = place.streams[position];
            let Some(stream) = &mut self.streams[usize::from(index)] else { continue };
            let channel = &mut stream.channel;
            if stream.outstanding >= channel.depth || channel.remaining == 0 || stream.computes > now {
                continue;
            }
            let Some((request, _)) = stream.ahead else { continue };
            if let Some(space) = channel.space
                && !truth.hold(space, request.va, request.length, request.write)
            {
                continue;
            }
            channel.remaining -= 1;
            if let Err(failure) = stream.advance() {
                self.failure.get_or_insert(failure);
            }
            let channel = &stream.channel;
            let gap = u64::from(channel.gap) + stream.ahead.map_or(0, |(_, gap)| u64::from(gap));
            stream.computes = if gap == 0 { 0 } else { now + 1 + gap };
            stream.outstanding += 1;
            place.next = if position + 1 == count { 0 } else { position + 1 };
            let access = DmaAccess { channel: index, request, begun: now };
            let (device_id, process_id) = (channel.device_id, channel.process_id);
            match stream.endpoint {
                None => {
                    let forged = channel.kind == ChannelKind::Forged;
                    let wire = request::Request {
                        device_id,
                        process_id,
                        privileged: channel.privileged,
                        write: request.write,
                        exec: request.exec,
                        at: if forged { AddressType::Translated } else { AddressType::Untranslated },
                        iova: request.va,
                        ..request::Request::default()
                    };
                    return Some((Purpose::Access(access, None), wire));
                }
                Some(endpoint) => {
                    if let Begin::Send { address, translated, flight } =
                        self.endpoints[endpoint].begin(process_id, access)
                    {
                        let flight = (endpoint as u16, flight);
                        return Some(sent(device_id, process_id, access, address, translated, flight));
                    }
                }
            }
        }
        None
    }

    /// One cycle of devices at ports that answer at once, which is what there would be without translation: an access goes to
    /// its data in the cycle in which it is chosen. Nothing is moved.
    pub fn bare_cycle(&mut self, now: u64, timing: &mut Timing, truth: &mut Truth) {
        while let Some(DataAccess { access, .. }) = self.data.pop(now) {
            self.finish(access.channel, access.request, truth);
        }
        for port in 0..self.ports.len() {
            let Some((Purpose::Access(access, flight), _)) = self.choose_of_streams(now, port, truth) else {
                continue;
            };
            let DmaRequest { va, length, .. } = access.request;
            let space =
                self.streams[usize::from(access.channel)].as_ref().and_then(|stream| stream.channel.space);
            // Where the page is at present; one that is not there yet will be anywhere.
            let grant = space.and_then(|space| truth.granted(space, va >> 12));
            let spa = grant.map_or(va, |grant| grant.frame + (va & 0xfff));
            let due = timing.access(Side::Data, now, spa, length.into()).last;
            self.data.push(DataAccess {
                access,
                flight,
                serial: 0,
                spa,
                latency: 0,
                due,
                cycle: now,
                number: 0,
            });
        }
    }
}

/// A request that an endpoint sends for an access.
fn sent(
    device_id: u32,
    process_id: Option<u32>,
    access: DmaAccess,
    iova: u64,
    translated: bool,
    flight: (u16, u64),
) -> (Purpose, request::Request) {
    let request = request::Request {
        device_id,
        // Translated requests name no process: the address says it all.
        process_id: process_id.filter(|_| !translated),
        write: access.request.write,
        exec: access.request.exec && !translated,
        at: if translated { AddressType::Translated } else { AddressType::Untranslated },
        iova,
        ..request::Request::default()
    };
    (Purpose::Access(access, Some(flight)), request)
}
