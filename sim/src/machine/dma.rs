//! DMA devices: channels that replay accesses through the translation ports and move real data.
//!
//! A [`Channel`] belongs to a device (device_id) and uses one address space (process_id, the PASID). It sends
//! its requests to one translation port, several at a time, matches responses by id in whatever order they come, and
//! then accesses memory at the returned address, some cycles later. Reads are compared with the
//! shadow ([`Space`]), writes put a pattern into both.

use super::memory::Memory;
use super::random::mix;
use super::space::Space;
use super::stats::Counters;
use crate::model::ports::{MAX_PORTS, Out, ReqIn, ReqOut};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// One translation request and the access that follows it. Stays inside a 4 KiB page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Virtual address.
    pub va: u64,
    /// Number of the page in the channel's [`Space`]; ignored when it has none.
    pub page: u32,
    /// Bytes, 1 to 4096.
    pub length: u16,
    /// Store, not load.
    pub write: bool,
    /// Instruction fetch (a load with execute permission).
    pub exec: bool,
}

/// A stream of requests of one device in one address space.
#[derive(Clone, Debug)]
pub struct Channel {
    /// Who.
    pub device_id: u32,
    /// PASID; `None` for requests without one.
    pub process_id: Option<u32>,
    /// Asks for supervisor privilege.
    pub privileged: bool,
    /// Translation port.
    pub port: usize,
    /// Index of the [`Space`] that the data is checked against; `None` for accesses that are only observed.
    pub space: Option<usize>,
    /// What to do, in order.
    pub requests: Arc<[Request]>,
    /// The part of `requests` that is sent, round and round.
    pub window: Range<usize>,
    /// How many requests are still to be sent.
    pub remaining: u64,
    /// Requests under way at a time, at least 1.
    pub depth: u32,
    /// Keep an [`Outcome`] per request.
    pub observe: bool,
    pub(super) next: usize,
    pub(super) outstanding: u32,
}

impl Channel {
    /// A channel that sends all `requests` once, up to eight at a time.
    pub fn new(
        device_id: u32,
        process_id: Option<u32>,
        port: usize,
        space: Option<usize>,
        requests: Arc<[Request]>,
    ) -> Channel {
        let window = 0..requests.len();
        let remaining = requests.len() as u64;
        Channel {
            device_id,
            process_id,
            privileged: false,
            port,
            space,
            requests,
            window,
            remaining,
            depth: 8,
            observe: false,
            next: 0,
            outstanding: 0,
        }
    }
}

/// What became of an observed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The request.
    pub request: Request,
    /// Status of the response: 0 success, 1 abort.
    pub status: u64,
    /// Cause of a fault, or 0.
    pub cause: u64,
    /// Translated address.
    pub spa: u64,
    /// Cycles from the request's first valid to the response's.
    pub latency: u64,
    /// The cycle in which the response came.
    pub cycle: u64,
    /// The data that was read or written; empty after a fault.
    pub data: Vec<u8>,
}

impl Outcome {
    /// Whether the access was allowed.
    pub fn is_success(&self) -> bool {
        self.status == 0 && self.cause == 0
    }
}

#[derive(Clone, Copy)]
struct Slot {
    request: Request,
    channel: u16,
    offered: u64,
    serial: u64,
}

const VACANT: Slot = Slot {
    request: Request { va: 0, page: 0, length: 0, write: false, exec: false },
    channel: u16::MAX,
    offered: 0,
    serial: 0,
};

struct Port {
    /// Id of the request on offer.
    offer: Option<u16>,
    slots: Vec<Slot>,
    free: Vec<u16>,
    channels: Vec<u16>,
    next: usize,
}

struct DataAccess {
    slot: Slot,
    spa: u64,
    latency: u64,
    due: u64,
    cycle: u64,
}

/// All DMA devices of the machine.
pub struct Dma {
    /// Shadows, indexed by [`Channel::space`].
    pub spaces: Vec<Space>,
    channels: Vec<Channel>,
    ports: Vec<Port>,
    data: VecDeque<DataAccess>,
    data_latency: u64,
    queued: u64,
    done: u64,
    fence: Option<u64>,
    serial: u64,
    seed: u64,
    outcomes: Vec<Outcome>,
    /// Memory that no access may reach any more.
    pub forbidden: Vec<Range<u64>>,
    /// Accesses that reached forbidden memory.
    pub trespasses: u64,
}

/// The most requests that a port ever has under way, whatever its id width allows.
const MAX_IDS: usize = 64;

impl Dma {
    /// No devices yet; `ports` translation ports with ids of `id_width` bits; data follows `data_latency` cycles after its
    /// translation.
    pub fn new(ports: u32, id_width: u32, data_latency: u32, seed: u64) -> Dma {
        let ids = MAX_IDS.min(1 << id_width.min(16));
        let port = || Port {
            offer: None,
            slots: vec![VACANT; ids],
            free: (0..ids as u16).rev().collect(),
            channels: Vec::new(),
            next: 0,
        };
        Dma {
            spaces: Vec::new(),
            channels: Vec::new(),
            ports: (0..(ports as usize).min(MAX_PORTS)).map(|_| port()).collect(),
            data: VecDeque::with_capacity(1024),
            data_latency: u64::from(data_latency.max(1)),
            queued: 0,
            done: 0,
            fence: None,
            serial: 0,
            seed,
            outcomes: Vec::new(),
            forbidden: Vec::new(),
            trespasses: 0,
        }
    }

    /// Changes how many cycles after its translation an access reaches memory; those under way keep their time. Returns
    /// the old value.
    pub fn set_data_latency(&mut self, cycles: u32) -> u32 {
        std::mem::replace(&mut self.data_latency, u64::from(cycles.max(1))) as u32
    }

    /// Number of translation ports.
    pub fn ports(&self) -> usize {
        self.ports.len()
    }

    /// Adds a channel; its port is taken modulo the number of ports. Returns its index.
    pub fn add(&mut self, mut channel: Channel) -> usize {
        channel.port %= self.ports.len().max(1);
        channel.outstanding = 0;
        channel.next = channel.window.start;
        if channel.window.is_empty() {
            channel.remaining = 0;
        }
        let index = self.channels.len();
        self.ports[channel.port].channels.push(index as u16);
        self.channels.push(channel);
        index
    }

    /// Forgets all channels. Only when [`is_idle`](Self::is_idle).
    pub fn clear(&mut self) {
        self.channels.clear();
        for port in &mut self.ports {
            port.channels.clear();
            port.next = 0;
        }
    }

    /// Tells all channels to send nothing more; what is under way goes on.
    pub fn stop(&mut self) {
        for channel in &mut self.channels {
            channel.remaining = 0;
        }
    }

    /// Nothing to send, nothing under way.
    pub fn is_idle(&self) -> bool {
        self.data.is_empty() && self.channels.iter().all(|c| c.remaining == 0 && c.outstanding == 0)
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
        memory: &mut Memory,
        counters: &mut Counters,
    ) {
        while self.data.front().is_some_and(|access| access.due <= now) {
            if let Some(access) = self.data.pop_front() {
                self.access(access, memory, counters);
            }
        }
        for (port, (out, input)) in out.req.iter().zip(input).enumerate().take(self.ports.len()) {
            self.response(now, port, out, input, counters);
            self.request(now, port, out, input);
        }
    }

    /// IOFENCE.C waits for earlier accesses: whether they have all been done.
    #[inline]
    pub fn drained(&mut self, asked: bool) -> bool {
        if !asked {
            self.fence = None;
            return false;
        }
        let target = *self.fence.get_or_insert(self.queued);
        let drained = self.done >= target;
        if drained {
            // The transfer takes place at this edge; a next one starts anew.
            self.fence = None;
        }
        drained
    }

    #[inline]
    fn response(&mut self, now: u64, port: usize, out: &ReqOut, input: &mut ReqIn, counters: &mut Counters) {
        input.rsp_ready = 1;
        if out.rsp_valid == 0 {
            return;
        }
        let place = &mut self.ports[port];
        let id = out.rsp_id as usize;
        let Some(slot) = place.slots.get_mut(id).filter(|slot| slot.channel != u16::MAX) else {
            counters.strays += 1;
            return;
        };
        let answered = std::mem::replace(slot, VACANT);
        place.free.push(id as u16);
        let latency = now - answered.offered;
        counters.latency.record(latency);
        counters.requests += 1;
        if out.rsp_status == 0 && out.rsp_cause == 0 {
            let due = now + self.data_latency;
            self.data.push_back(DataAccess { slot: answered, spa: out.rsp_spa, latency, due, cycle: now });
            self.queued += 1;
            return;
        }
        counters.faults += 1;
        let channel = &mut self.channels[usize::from(answered.channel)];
        channel.outstanding -= 1;
        let request = answered.request;
        if let Some(space) = channel.space {
            self.spaces[space].release(request.va, request.length, request.write);
        }
        if channel.observe {
            let (status, cause, spa) = (out.rsp_status, out.rsp_cause, out.rsp_spa);
            self.outcomes.push(Outcome {
                request,
                status,
                cause,
                spa,
                latency,
                cycle: now,
                data: Vec::new(),
            });
        }
    }

    #[inline]
    fn request(&mut self, now: u64, port: usize, out: &ReqOut, input: &mut ReqIn) {
        if self.ports[port].offer.is_none() {
            self.offer(now, port, input);
        }
        let place = &mut self.ports[port];
        input.valid = u64::from(place.offer.is_some());
        if out.ready != 0 {
            place.offer = None;
        }
    }

    /// Chooses the next request of a port, channels in turn.
    #[inline]
    fn offer(&mut self, now: u64, port: usize, input: &mut ReqIn) {
        let place = &mut self.ports[port];
        let Some(&id) = place.free.last() else { return };
        let count = place.channels.len();
        for turn in 0..count {
            let position =
                if place.next + turn < count { place.next + turn } else { place.next + turn - count };
            let index = place.channels[position];
            let channel = &mut self.channels[usize::from(index)];
            if channel.outstanding >= channel.depth || channel.remaining == 0 {
                continue;
            }
            let request = channel.requests[channel.next];
            if let Some(space) = channel.space
                && !self.spaces[space].hold(request.va, request.length, request.write)
            {
                continue;
            }
            channel.remaining -= 1;
            channel.next += 1;
            if channel.next == channel.window.end {
                channel.next = channel.window.start;
            }
            channel.outstanding += 1;
            place.next = if position + 1 == count { 0 } else { position + 1 };
            place.free.pop();
            self.serial += 1;
            place.slots[usize::from(id)] =
                Slot { request, channel: index, offered: now, serial: self.serial };
            place.offer = Some(id);
            input.id = u64::from(id);
            input.device_id = u64::from(channel.device_id);
            input.pid_valid = u64::from(channel.process_id.is_some());
            input.process_id = u64::from(channel.process_id.unwrap_or(0));
            input.privileged = u64::from(channel.privileged);
            input.exec = u64::from(request.exec);
            input.write = u64::from(request.write);
            input.at = 0;
            input.iova = request.va;
            return;
        }
    }

    /// Moves the data of a translated access.
    fn access(&mut self, access: DataAccess, memory: &mut Memory, counters: &mut Counters) {
        self.done += 1;
        let Slot { request, channel, serial, .. } = access.slot;
        let channel = &mut self.channels[usize::from(channel)];
        channel.outstanding -= 1;
        let length = usize::from(request.length);
        let range = access.spa..access.spa.saturating_add(length as u64);
        if self.forbidden.iter().any(|f| f.start < range.end && range.start < f.end) {
            self.trespasses += 1;
        }
        let mut observed = Vec::new();
        match memory.slice_mut(access.spa, length) {
            None => counters.mismatches += length as u64,
            Some(bytes) => {
                if request.write {
                    pattern(self.seed ^ serial, bytes);
                }
                if channel.observe {
                    observed = bytes.to_vec();
                }
                if let Some(space) = channel.space {
                    let shadow =
                        self.spaces[space].bytes_mut(request.page, request.va as usize & 0xfff, length);
                    if request.write {
                        shadow.copy_from_slice(bytes);
                    } else if shadow != bytes {
                        counters.mismatches +=
                            shadow.iter().zip(bytes.iter()).filter(|(a, b)| a != b).count() as u64;
                    }
                }
            }
        }
        counters.bytes += length as u64;
        if let Some(space) = channel.space {
            self.spaces[space].release(request.va, request.length, request.write);
        }
        if channel.observe {
            let DataAccess { spa, latency, cycle, .. } = access;
            self.outcomes.push(Outcome { request, status: 0, cause: 0, spa, latency, cycle, data: observed });
        }
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
