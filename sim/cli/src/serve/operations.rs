//! What a client can ask for.

use super::answer::{hex, response};
use super::fields::{Fields, Problem};
use super::machine::EngineKind;
use super::{PROTOCOL, Session};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::InvalidationCompletion;
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{self, Register};
use pasidon_spec::request::{AddressType, Request};
use pasidon_verify::engine::EngineError;
use serde_json::{Value, json};

/// Cycles of one `step`: a minute or so.
const MOST_CYCLES: u64 = 100_000_000;
/// Bytes of one memory access.
const MOST_BYTES: usize = 16 << 20;
/// Requests of one `translate_many` or `submit`.
const MOST_REQUESTS: usize = 1 << 20;
/// Ranges that are watched.
const MOST_WATCHED: usize = 1024;

type Operation = fn(&mut Session, Fields) -> Result<Value, Problem>;

const OPERATIONS: &[(&str, Operation)] = &[
    ("info", Session::info),
    ("reset", Session::reset),
    ("step", Session::step),
    ("settle", Session::settle),
    ("read_register", Session::read_register),
    ("write_register", Session::write_register),
    ("read_memory", Session::read_memory),
    ("write_memory", Session::write_memory),
    ("watch", Session::watch),
    ("inject", Session::inject),
    ("heal", Session::heal),
    ("translate", Session::translate),
    ("translate_many", Session::translate_many),
    ("submit", Session::submit),
    ("page_request", Session::page_request),
    ("invalidation_completion", Session::invalidation_completion),
    ("quit", Session::quit),
];

/// The names of all operations.
pub(super) fn names() -> String {
    OPERATIONS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Problem {
        match error {
            EngineError::Unsupported(_) => Problem::new("unsupported", error.to_string()),
            EngineError::Lacking { .. } => Problem::new(
                "unsupported",
                format!(
                    "{error}; run pasidon serve with a design that has it, such as full, or with --engine model"
                ),
            ),
            EngineError::Different(difference) => {
                let mismatch = serde_json::to_value(&difference).ok();
                Problem { mismatch, ..Problem::new("mismatch", format!("the engines differ: {difference}")) }
            }
            other => Problem::new("hardware", format!("{other}; a reset starts again")),
        }
    }
}

impl Session {
    pub(super) fn perform(&mut self, op: &str, fields: Fields) -> Result<Value, Problem> {
        match OPERATIONS.iter().find(|(name, _)| *name == op) {
            Some((_, operation)) => operation(self, fields),
            None => {
                let message = format!("{op:?} is not an operation; op is one of {}", names());
                Err(Problem { field: Some("op".into()), ..Problem::new("op", message) })
            }
        }
    }

    fn cycle(&mut self) -> Value {
        json!({ "cycle": self.machine.engine().cycles() })
    }

    fn info(&mut self, fields: Fields) -> Result<Value, Problem> {
        fields.done()?;
        let design = &self.design;
        let mut info = json!({
            "protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION"), "design": design.name, "hash": design.hash(),
            "engine": self.machine.kind().name(), "ports": design.ports, "pas": design.pas,
            "device_id_width": design.device_id_width, "process_id_width": design.process_id_width,
        });
        let offset = registers::capabilities::REG.offset;
        info["capabilities"] = hex(self.machine.engine().read_register(offset, 8)?);
        info["operations"] = OPERATIONS.iter().map(|(name, _)| *name).collect();
        Ok(info)
    }

    fn reset(&mut self, fields: Fields) -> Result<Value, Problem> {
        fields.done()?;
        self.tickets.clear();
        self.machine.reset()?;
        Ok(self.cycle())
    }

    fn step(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let cycles = fields.maybe("cycles", 0..=MOST_CYCLES)?.unwrap_or(1);
        fields.done()?;
        self.machine.engine().step(cycles)?;
        Ok(self.cycle())
    }

    fn settle(&mut self, fields: Fields) -> Result<Value, Problem> {
        fields.done()?;
        self.machine.engine().quiesce()?;
        Ok(self.cycle())
    }

    /// Offset and size of the register that a request names.
    fn register(&self, fields: &mut Fields) -> Result<(u16, u8), Problem> {
        let (offset, whole) = match fields.text("register")? {
            Some(name) => {
                let Some(register) = registers::ALL.iter().find(|register| register.name == name) else {
                    let names: Vec<&str> = registers::ALL.iter().map(|register| register.name).collect();
                    return fields
                        .refuse("register", format!("there is no {name}; there are {}", names.join(", ")));
                };
                let last = u64::from(register.count) - 1;
                let index = fields.maybe("index", 0..=last)?.unwrap_or(0);
                let Register { offset, bytes, .. } = register.element(index as u8);
                (offset, bytes)
            }
            None => match fields.maybe("offset", 0..=registers::REGION_BYTES - 4)? {
                Some(offset) => (offset as u16, if offset % 8 == 0 { 8 } else { 4 }),
                None => {
                    return fields
                        .refuse("register", "is missing; give the name of a register, or an offset");
                }
            },
        };
        let sizes = [("4", 4), ("8", 8)];
        let bytes = match fields.maybe("bytes", 4..=8)? {
            None => whole,
            Some(bytes) if sizes.iter().any(|(_, size)| *size == bytes) => bytes as u8,
            Some(bytes) => return fields.refuse("bytes", format!("{bytes} is not 4 or 8")),
        };
        if offset % u16::from(bytes) != 0 {
            return fields.refuse("offset", format!("{offset:#x} is not a multiple of the {bytes} bytes"));
        }
        Ok((offset, bytes))
    }

    fn read_register(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let (offset, bytes) = self.register(&mut fields)?;
        fields.done()?;
        Ok(json!({ "value": hex(self.machine.engine().read_register(offset, bytes)?) }))
    }

    fn write_register(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let (offset, bytes) = self.register(&mut fields)?;
        let most = if bytes == 8 { u64::MAX } else { u64::from(u32::MAX) };
        let value = fields.number("value", 0..=most)?;
        fields.done()?;
        self.machine.write_register(offset, bytes, value)?;
        Ok(json!({}))
    }

    fn address(&self, fields: &mut Fields) -> Result<u64, Problem> {
        fields.number("address", 0..=u64::MAX >> (64 - self.design.pas))
    }

    fn no_memory(&self, address: u64, length: usize) -> Problem {
        let last = address.wrapping_add(length as u64 - 1);
        let end = u64::MAX >> (64 - self.design.pas);
        let message = format!("{address:#x} to {last:#x} is not all memory, which ends at {end:#x}");
        Problem { field: Some("address".into()), ..Problem::new("memory", message) }
    }

    fn read_memory(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let address = self.address(&mut fields)?;
        let words = fields.maybe("words", 1..=MOST_BYTES as u64 / 8)?;
        let length = match words {
            Some(words) => 8 * words,
            None => match fields.maybe("length", 1..=MOST_BYTES as u64)? {
                Some(length) => length,
                None => return fields.refuse("length", "is missing; give the bytes to read, or words"),
            },
        } as usize;
        fields.done()?;
        let mut bytes = vec![0; length];
        if !self.machine.engine().read_memory(address, &mut bytes) {
            return Err(self.no_memory(address, length));
        }
        if words.is_some() {
            let word =
                |chunk: &[u8]| hex(chunk.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)));
            return Ok(json!({ "words": bytes.chunks(8).map(word).collect::<Vec<Value>>() }));
        }
        let mut text = String::with_capacity(2 * length);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        Ok(json!({ "data": text }))
    }

    fn write_memory(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let address = self.address(&mut fields)?;
        let words = fields.numbers("words", MOST_BYTES / 8, 0..=u64::MAX)?;
        let data = fields.bytes("data", MOST_BYTES)?;
        let bytes = match (words, data) {
            (Some(words), None) => words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            (None, Some(data)) => data,
            (None, None) => {
                return fields.refuse("words", "is missing; give a list of 64-bit words, or data");
            }
            (Some(_), Some(_)) => {
                return fields.refuse("data", "and words exclude each other; give one of them");
            }
        };
        fields.done()?;
        // All or nothing: the last byte is there if all are.
        let last = address.checked_add(bytes.len() as u64 - 1);
        let there = last.is_some_and(|last| self.machine.engine().read_memory(last, &mut [0]));
        if !there || !self.machine.engine().write_memory(address, &bytes) {
            return Err(self.no_memory(address, bytes.len()));
        }
        self.machine.changed();
        Ok(json!({}))
    }

    fn watch(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let address = self.address(&mut fields)?;
        let length = fields.number("length", 0..=1 << 40)?;
        if length > 0 && self.watched.len() == MOST_WATCHED {
            return fields
                .refuse("length", format!("{MOST_WATCHED} ranges are watched; give up one with length 0"));
        }
        fields.done()?;
        if self.machine.kind() == EngineKind::Both {
            let message =
                "writes are not told in lockstep, which compares them; use --engine rtl or --engine model";
            return Err(Problem::new("unsupported", message));
        }
        if length == 0 {
            self.watched.retain(|range| range.start != address);
        } else {
            self.watched.push(address..address + length);
        }
        Ok(json!({}))
    }

    fn inject(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let address = self.address(&mut fields)?;
        let length = fields.number("length", 1..=1 << 56)?;
        let failures = [("read", Failure::Read), ("write", Failure::Write), ("corrupt", Failure::Poison)];
        let failure = fields.choice("failure", &failures, false)?;
        fields.done()?;
        if self.machine.kind() == EngineKind::Both && length > MOST_BYTES as u64 {
            let message = format!("in lockstep, at most {MOST_BYTES} bytes may fail at once");
            return Err(Problem { field: Some("length".into()), ..Problem::new("field", message) });
        }
        self.machine.engine().inject(address..address.saturating_add(length), failure);
        self.machine.changed();
        Ok(json!({}))
    }

    fn heal(&mut self, fields: Fields) -> Result<Value, Problem> {
        fields.done()?;
        self.machine.engine().heal();
        self.machine.changed();
        Ok(json!({}))
    }

    /// A request and its port.
    /// The largest device_id and process_id of the design.
    fn largest_ids(&self) -> (u64, u64) {
        ((1 << self.design.device_id_width) - 1, (1 << self.design.process_id_width) - 1)
    }

    fn request(&self, fields: &mut Fields) -> Result<(usize, Request), Problem> {
        let (device_id, process_id) = self.largest_ids();
        let kinds = [
            ("untranslated", AddressType::Untranslated),
            ("translation_request", AddressType::TranslationRequest),
            ("translated", AddressType::Translated),
        ];
        let port = fields.maybe("port", 0..=u64::from(self.design.ports) - 1)?.unwrap_or(0);
        let request = Request {
            device_id: fields.number("device_id", 0..=device_id)? as u32,
            process_id: fields.maybe("process_id", 0..=process_id)?.map(|pid| pid as u32),
            privileged: fields.flag("privileged")?,
            exec: fields.flag("execute")?,
            write: fields.flag("write")?,
            at: fields.choice("type", &kinds, true)?,
            iova: fields.number("iova", 0..=u64::MAX)?,
            data: fields.maybe("data", 0..=u64::from(u32::MAX))?.unwrap_or(0) as u32,
            cxl: fields.flag("cxl")?,
        };
        Ok((port as usize, request))
    }

    fn requests(&self, mut fields: Fields) -> Result<Vec<(usize, Request)>, Problem> {
        let mut requests = Vec::new();
        for mut one in fields.objects("requests", MOST_REQUESTS)? {
            requests.push(self.request(&mut one)?);
            one.done()?;
        }
        fields.done()?;
        Ok(requests)
    }

    fn translate(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let (port, request) = self.request(&mut fields)?;
        fields.done()?;
        self.machine.asks();
        Ok(response(&self.machine.engine().translate(port, &request)?))
    }

    fn translate_many(&mut self, fields: Fields) -> Result<Value, Problem> {
        let requests = self.requests(fields)?;
        self.machine.asks();
        let engine = self.machine.engine();
        let tickets: Vec<u64> =
            requests.iter().map(|(port, request)| engine.submit(*port, request)).collect();
        engine.quiesce()?;
        let mut responses = vec![Value::Null; tickets.len()];
        let mut others = Vec::new();
        for (ticket, answer) in engine.take_responses() {
            // Tickets count up.
            match tickets.binary_search(&ticket) {
                Ok(index) => responses[index] = response(&answer),
                Err(_) => others.push((ticket, answer)),
            }
        }
        let mut result = json!({ "responses": responses });
        // Those of requests that were under way before are not lost.
        let others: Vec<Value> = others
            .into_iter()
            .filter_map(|(ticket, answer)| {
                let name = self.tickets.remove(&ticket)?;
                Some(json!({ "ticket": name, "response": response(&answer) }))
            })
            .collect();
        if !others.is_empty() {
            result["others"] = Value::Array(others);
        }
        Ok(result)
    }

    fn submit(&mut self, fields: Fields) -> Result<Value, Problem> {
        let requests = self.requests(fields)?;
        self.machine.asks();
        let mut tickets = Vec::new();
        for (port, request) in requests {
            let ticket = self.machine.engine().submit(port, &request);
            self.tickets.insert(ticket, self.next_ticket);
            tickets.push(self.next_ticket);
            self.next_ticket += 1;
        }
        Ok(json!({ "tickets": tickets }))
    }

    fn page_request(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let (device_id, process_id) = self.largest_ids();
        let did = fields.number("device_id", 0..=device_id)? as u32;
        let pid = fields.maybe("process_id", 0..=process_id)?;
        let request = PageRequest {
            did,
            pv: pid.is_some(),
            pid: pid.unwrap_or(0) as u32,
            privileged: fields.flag("privileged")?,
            execute: fields.flag("execute")?,
            read: fields.flag("read")?,
            write: fields.flag("write")?,
            last: fields.flag("last")?,
            index: fields.maybe("index", 0..=0x1ff)?.unwrap_or(0) as u16,
            page: fields.number("address", 0..=u64::MAX)? >> 12,
        };
        fields.done()?;
        self.machine.asks();
        self.machine.engine().page_request(&request)?;
        Ok(json!({}))
    }

    fn invalidation_completion(&mut self, mut fields: Fields) -> Result<Value, Problem> {
        let (device_id, _) = self.largest_ids();
        let rid = fields.number("rid", 0..=device_id & 0xffff)? as u16;
        let dseg = fields.maybe("segment", 0..=device_id >> 16)?.map(|segment| segment as u8);
        let Some(itags) = fields.numbers("itags", 32, 0..=31)? else {
            return fields.refuse("itags", "is missing; give a list of the tags that are answered");
        };
        let count = (fields.maybe("count", 1..=8)?.unwrap_or(1) & 7) as u8;
        fields.done()?;
        let itags = itags.iter().fold(0, |mask, itag| mask | 1 << itag);
        let completion = InvalidationCompletion { rid, dseg, itags, count };
        self.machine.engine().invalidation_completion(&completion)?;
        Ok(json!({}))
    }

    fn quit(&mut self, fields: Fields) -> Result<Value, Problem> {
        fields.done()?;
        self.over = true;
        Ok(json!({}))
    }
}
