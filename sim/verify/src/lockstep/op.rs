//! What lockstep does to both engines, one operation at a time, as plain data: a sequence of operations is a replay file.
//!
//! Operations mean something in every state ("put commands at the tail", "empty the fault queue"), so that what remains of a
//! sequence after some were left out is a sequence again.

use pasidon_cosim::Pace;
use pasidon_spec::memory::Failure;
use pasidon_spec::message::InvalidationCompletion;
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::request::{AddressType, Request};
use serde::{Deserialize, Serialize};

/// Numbers as hexadecimal strings.
mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{value:#x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digits =
            text.strip_prefix("0x").ok_or_else(|| D::Error::custom("a number like 0x12 is expected"))?;
        u64::from_str_radix(digits, 16).map_err(D::Error::custom)
    }
}

/// A doubleword, in JSON a hexadecimal string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Word(#[serde(with = "hex")] pub u64);

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessKind {
    /// Read.
    Read,
    /// Write.
    Write,
    /// Read for execute.
    Exec,
}

/// The kind of address of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// Untranslated.
    #[default]
    Untranslated,
    /// ATS translation request.
    Request,
    /// Translated.
    Translated,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A request on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The port, modulo their number.
    #[serde(default, skip_serializing_if = "is_default")]
    pub port: u8,
    /// device_id.
    pub did: u32,
    /// process_id.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: Option<u32>,
    /// Supervisor privilege.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// What for.
    pub access: AccessKind,
    /// A translation request for execution asks for write permission too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub writes_too: bool,
    /// The device is a CXL device of type 1 or 2.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cxl: bool,
    /// What kind of address.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: At,
    /// The address.
    #[serde(with = "hex")]
    pub iova: u64,
    /// The word that a write stores.
    #[serde(default, skip_serializing_if = "is_default")]
    pub data: u32,
    /// What the generator knows of it: only for coverage.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tag: u16,
}

impl Ask {
    /// The request.
    pub fn request(&self) -> Request {
        Request {
            device_id: self.did,
            process_id: self.pid,
            privileged: self.privileged,
            exec: self.access == AccessKind::Exec,
            write: self.access == AccessKind::Write || (self.writes_too && self.at == At::Request),
            at: match self.at {
                At::Untranslated => AddressType::Untranslated,
                At::Request => AddressType::TranslationRequest,
                At::Translated => AddressType::Translated,
            },
            iova: self.iova,
            data: self.data,
            cxl: self.cxl,
        }
    }
}

/// A page request or stop marker of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageAsk {
    /// device_id.
    pub did: u32,
    /// PASID.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pid: Option<u32>,
    /// Supervisor privilege is requested.
    #[serde(default, skip_serializing_if = "is_default")]
    pub privileged: bool,
    /// Execute is requested.
    #[serde(default, skip_serializing_if = "is_default")]
    pub execute: bool,
    /// Read is requested.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read: bool,
    /// Write is requested.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: bool,
    /// The last of its group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last: bool,
    /// Index of the group.
    #[serde(default, skip_serializing_if = "is_default")]
    pub index: u16,
    /// Bits 63:12 of the address.
    #[serde(with = "hex")]
    pub page: u64,
}

impl PageAsk {
    /// The page request.
    pub fn request(&self) -> PageRequest {
        PageRequest {
            did: self.did,
            pv: self.pid.is_some(),
            pid: self.pid.unwrap_or(0),
            privileged: self.privileged,
            execute: self.execute,
            read: self.read,
            write: self.write,
            last: self.last,
            index: self.index,
            page: self.page,
        }
    }
}

/// A change of a doubleword by software.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Its address.
    #[serde(with = "hex")]
    pub address: u64,
    /// Its new value.
    #[serde(with = "hex")]
    pub value: u64,
}

/// What an invalidation reaches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Covers {
    /// Everything that was ever changed.
    All,
    /// The doublewords at these addresses.
    Words(Vec<Word>),
}

/// An operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// Reads a register and compares.
    Read {
        /// Byte offset.
        offset: u16,
        /// 4 or 8.
        bytes: u8,
    },
    /// Writes a register.
    Write {
        /// Byte offset.
        offset: u16,
        /// 4 or 8.
        bytes: u8,
        /// The value.
        #[serde(with = "hex")]
        value: u64,
    },
    /// Software changes memory while nothing is under way.
    Store {
        /// What.
        #[serde(flatten)]
        store: Store,
        /// The old value may be in use until an invalidation.
        #[serde(default, skip_serializing_if = "is_default")]
        remembered: bool,
    },
    /// Puts commands into the queue, as many as it has room for, and waits.
    Commands {
        /// Two doublewords each.
        commands: Vec<[Word; 2]>,
    },
    /// Commands and a fence behind them; when it has completed, old values of what they cover must not be used any more.
    Invalidate {
        /// The commands before the fence.
        commands: Vec<[Word; 2]>,
        /// What they reach.
        covers: Covers,
    },
    /// Requests, all at once or each after the answer of the one before.
    Requests {
        /// Which.
        list: Vec<Ask>,
        /// One after the other.
        #[serde(default, skip_serializing_if = "is_default")]
        serial: bool,
    },
    /// Requests; while they are under way software changes memory, invalidates what it changed, and asks again after the fence.
    Race {
        /// Under way meanwhile.
        before: Vec<Ask>,
        /// Clock cycles from the first request to the change.
        cycles: u32,
        /// Clock cycles from the first request on for which devices take no answers.
        #[serde(default, skip_serializing_if = "is_default")]
        hold: u32,
        /// The changes.
        stores: Vec<Store>,
        /// The commands before the fence; they cover the changes.
        commands: Vec<[Word; 2]>,
        /// Asked after the fence.
        after: Vec<Ask>,
    },
    /// Reset, while requests and commands are under way. Software begins again, and memory is as it is.
    Reset {
        /// Under way.
        before: Vec<Ask>,
        /// Commands in the queue.
        commands: Vec<[Word; 2]>,
        /// Clock cycles from the first request to the reset.
        cycles: u32,
    },
    /// The debug interface translates.
    Debug {
        /// `tr_req_iova`.
        #[serde(with = "hex")]
        iova: u64,
        /// `tr_req_ctl`, with `Go/Busy`.
        #[serde(with = "hex")]
        control: u64,
    },
    /// Invalidates everything; then one request alone, and what the event counters say of it: of a request that finds nothing in
    /// any cache, the misses and walks are known too.
    Count {
        /// The commands before the fence: nothing is in any cache after them.
        commands: Vec<[Word; 2]>,
        /// `iohpmevt` of the first counters.
        selectors: Vec<Word>,
        /// The request.
        ask: Ask,
    },
    /// Accesses to memory fail from now on.
    Inject {
        /// First byte.
        #[serde(with = "hex")]
        address: u64,
        /// How many.
        bytes: u64,
        /// How.
        trouble: Failure,
    },
    /// No access fails any more.
    Heal,
    /// Software takes all fault records, and clears what stopped the queue.
    EmptyFaultQueue,
    /// Page requests of devices, one after the other, and requests that are under way beside them.
    PageRequests {
        /// Which.
        list: Vec<PageAsk>,
        /// Under way meanwhile.
        #[serde(default, skip_serializing_if = "is_default")]
        beside: Vec<Ask>,
    },
    /// Software takes all page requests, and clears what stopped the queue.
    EmptyPageRequestQueue,
    /// Software turns the page-request queue off and moves it.
    MovePageRequestQueue {
        /// `pqb`.
        #[serde(with = "hex")]
        base: u64,
        /// `pqcsr`.
        #[serde(with = "hex")]
        control: u64,
    },
    /// An invalidation completion, right or wrong.
    Completion {
        /// Which.
        #[serde(flatten)]
        completion: InvalidationCompletion,
    },
    /// Devices answer every invalidation request that they know of.
    CompleteAll,
    /// Devices answer nothing until every invalidation request has timed out.
    TimeOut,
    /// Software replaces the command that stopped the queue by a fence, and lets the queue go on.
    RecoverCommandQueue,
    /// Memory and devices behave so from now on.
    Pace {
        /// How.
        #[serde(flatten)]
        pace: Pace,
    },
    /// Compares every register that both descriptions define exactly.
    CompareRegisters,
}

impl Op {
    /// How many operations this is in the count of a run.
    pub fn weight(&self) -> u64 {
        match self {
            Op::Requests { list, .. } => list.len() as u64,
            Op::PageRequests { list, beside } => (list.len() + beside.len()) as u64,
            Op::Commands { commands } => commands.len() as u64,
            Op::Invalidate { commands, .. } => commands.len() as u64 + 1,
            Op::Count { commands, selectors, .. } => (commands.len() + 2 * selectors.len()) as u64 + 2,
            Op::Race { before, stores, commands, after, .. } => {
                (before.len() + stores.len() + commands.len() + after.len()) as u64 + 1
            }
            Op::Reset { before, commands, .. } => (before.len() + commands.len()) as u64 + 1,
            _ => 1,
        }
    }

    /// What kind of operation it is.
    pub fn kind(&self) -> &'static str {
        match self {
            Op::Read { .. } => "register reads",
            Op::Write { .. } => "register writes",
            Op::Store { .. } => "stores",
            Op::Commands { .. } => "commands",
            Op::Invalidate { .. } => "invalidations",
            Op::Requests { serial: false, .. } => "requests",
            Op::Requests { serial: true, .. } => "single requests",
            Op::Race { .. } => "races",
            Op::Reset { .. } => "resets",
            Op::Debug { .. } => "debug requests",
            Op::Count { .. } => "counted requests",
            Op::Inject { .. } | Op::Heal => "failures",
            Op::PageRequests { .. } => "page requests",
            Op::Completion { .. } | Op::CompleteAll | Op::TimeOut => "completions",
            Op::EmptyFaultQueue
            | Op::RecoverCommandQueue
            | Op::EmptyPageRequestQueue
            | Op::MovePageRequestQueue { .. } => "queue care",
            Op::Pace { .. } => "paces",
            Op::CompareRegisters => "register comparisons",
        }
    }
}
