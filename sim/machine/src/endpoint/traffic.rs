//! What devices are told to do: streams of accesses.

use crate::truth::SpaceId;
use pasidon_experiment::requests::{Feed, need};
use pasidon_experiment::trace::TraceError;
use std::sync::Arc;

/// One access of a device. Stays inside a 4 KiB page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DmaRequest {
    /// Virtual address; of a [`ChannelKind::Forged`] access, the physical address that the device makes up.
    pub va: u64,
    /// Bytes, 1 to 4096.
    pub length: u16,
    /// Store, not load.
    pub write: bool,
    /// Instruction fetch (a load with execute permission).
    pub exec: bool,
}

/// How a device reaches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// It sends virtual addresses, and a page that is not there is a fault.
    Untranslated,
    /// It asks for translations, keeps them, and asks for pages that are not there.
    Ats,
    /// It says that its addresses are translated, and has never asked for them: a lie.
    Forged,
}

/// What a channel is to do, in order.
pub enum Traffic {
    /// These, round and round, from this place on.
    List(Arc<[DmaRequest]>, usize),
    /// What a workload does, read as it is needed.
    Feed(Box<Feed>),
}

impl Traffic {
    /// The next request, with the cycles of computing before it.
    ///
    /// # Errors
    /// A workload that can't be read.
    #[inline]
    pub fn next_request(&mut self) -> Result<Option<(DmaRequest, u32)>, TraceError> {
        match self {
            Traffic::List(requests, at) => {
                let next = requests.get(*at).map(|request| (*request, 0));
                *at = if *at + 1 < requests.len() { *at + 1 } else { 0 };
                Ok(next)
            }
            Traffic::Feed(feed) => Ok(feed.next_request()?.map(|request| {
                let length = request.bytes as u16;
                let (write, exec) = (request.need == need::WRITE, request.need == need::EXEC);
                (DmaRequest { va: request.address, length, write, exec }, request.gap)
            })),
        }
    }
}

/// A stream of requests of one device in one address space.
pub struct Channel {
    /// Who.
    pub device_id: u32,
    /// PASID; `None` for requests without one.
    pub process_id: Option<u32>,
    /// How.
    pub kind: ChannelKind,
    /// Asks for supervisor privilege.
    pub privileged: bool,
    /// Translation port; that of the endpoint, if it is one.
    pub port: usize,
    /// The address space whose contents depend on the order of accesses; `None` for accesses that are only observed.
    pub space: Option<SpaceId>,
    /// What to do.
    pub traffic: Traffic,
    /// How many requests are still to be sent.
    pub remaining: u64,
    /// Requests under way at a time, at least 1.
    pub depth: u32,
    /// Cycles of computing between sending a request and the next, beside what the traffic says.
    pub gap: u32,
    /// Keep an [`Outcome`] per request.
    pub observe: bool,
}

impl Channel {
    /// A channel that sends all `requests` once, untranslated, up to eight at a time.
    pub fn new(device_id: u32, process_id: Option<u32>, port: usize, requests: Arc<[DmaRequest]>) -> Channel {
        let remaining = requests.len() as u64;
        Channel {
            device_id,
            process_id,
            kind: ChannelKind::Untranslated,
            privileged: false,
            port,
            space: None,
            traffic: Traffic::List(requests, 0),
            remaining,
            depth: 8,
            gap: 0,
            observe: false,
        }
    }
}

/// What became of an observed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The request.
    pub request: DmaRequest,
    /// Status of the last response of the translation port: 0 success, 1 abort.
    pub status: u64,
    /// Cause of a fault, or why a translation request was granted nothing, or 0.
    pub cause: u64,
    /// How a page request that the access needed was refused: its [code](pasidon_spec::message::response_code).
    pub refused: Option<u8>,
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
        self.status == 0 && self.cause == 0 && self.refused.is_none()
    }
}
