//! Remote control: one JSON object per line in, one per line out, so that a test bench in any language owns the simulation.
//!
//! `docs/serve.md` is the protocol. A [`Session`] answers lines; [`serve`] feeds it from a stream. Whatever a line says, it gets an
//! answer: an error is an answer too.

mod answer;
mod fields;
mod machine;
mod operations;

pub use fields::Problem;
pub use machine::EngineKind;

use fields::Fields;
use machine::Machine;
use pasidon_cosim::verilated::Cache;
use pasidon_rtl::design::Design;
use pasidon_spec::message::Message;
use pasidon_verify::engine::EngineError;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Range;

/// The version of the protocol. It changes when something that worked does not work any more.
pub const PROTOCOL: u64 = 1;
/// The longest line that is read, in bytes.
pub const LONGEST_LINE: usize = 64 << 20;

/// A simulation that is controlled line by line.
pub struct Session {
    design: Design,
    machine: Machine,
    /// Interrupt wires when they were last told.
    wires: u32,
    /// Ranges of memory whose writes by the IOMMU are told.
    watched: Vec<Range<u64>>,
    /// The client's names for requests that are under way.
    tickets: HashMap<u64, u64>,
    next_ticket: u64,
    over: bool,
}

impl Session {
    /// A simulation of a design, just reset, with memory full of zeroes that answers after `latency` cycles.
    ///
    /// # Errors
    /// [`EngineError`], if there is no model of the hardware.
    pub fn new(
        design: &Design,
        cache: &Cache,
        kind: EngineKind,
        latency: u32,
    ) -> Result<Session, EngineError> {
        let mut machine = Machine::new(design, cache, kind, latency)?;
        machine.reset()?;
        let wires = machine.engine().wires();
        Ok(Session {
            design: design.clone(),
            machine,
            wires,
            watched: Vec::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            over: false,
        })
    }

    /// Whether a `quit` has been answered.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// The answer to a line, without a line break.
    pub fn answer(&mut self, line: &[u8]) -> String {
        let (id, asked) = parse(line);
        let result = asked.and_then(|(op, fields)| self.perform(&op, fields));
        let mut answer = match result {
            Ok(result) => json!({ "result": result }),
            Err(problem) => json!({ "error": problem.to_json() }),
        };
        if let Some(id) = id {
            answer["id"] = id;
        }
        let events = self.events();
        if !events.is_empty() {
            answer["events"] = Value::Array(events);
        }
        answer.to_string()
    }

    /// What has happened since the last answer besides what was asked for.
    fn events(&mut self) -> Vec<Value> {
        let mut events = Vec::new();
        for (ticket, response) in self.machine.engine().take_responses() {
            // Those that `translate` waited for have been answered already.
            if let Some(name) = self.tickets.remove(&ticket) {
                let mut event = json!({ "event": "response", "ticket": name });
                event["response"] = answer::response(&response);
                events.push(event);
            }
        }
        for message in self.machine.engine().take_messages() {
            events.push(match message {
                Message::Invalidation { rid, dseg, pid, itag, body } => {
                    let (first, last) = body.bounds();
                    json!({
                        "event": "invalidation_request", "rid": rid, "segment": dseg, "process_id": pid, "itag": itag,
                        "global": body.global, "first": answer::hex(first), "last": answer::hex(last),
                    })
                }
                Message::GroupResponse { rid, dseg, pid, body } => json!({
                    "event": "group_response", "rid": rid, "segment": dseg, "process_id": pid, "index": body.index,
                    "code": body.code,
                }),
            });
        }
        for address in self.machine.written().unwrap_or_default() {
            if self.watched.iter().any(|range| range.start < address + 8 && address < range.end) {
                let mut word = [0; 8];
                self.machine.engine().read_memory(address, &mut word);
                let word = answer::hex(u64::from_le_bytes(word));
                events
                    .push(json!({ "event": "memory_write", "address": answer::hex(address), "word": word }));
            }
        }
        let wires = self.machine.engine().wires();
        if wires != self.wires {
            let bits = |mask: u32| (0..32).filter(|bit| mask >> bit & 1 != 0).collect::<Vec<u32>>();
            let (rose, fell) = (bits(wires & !self.wires), bits(self.wires & !wires));
            events.push(json!({ "event": "interrupt", "wires": bits(wires), "rose": rose, "fell": fell }));
            self.wires = wires;
        }
        events
    }
}

/// The id, if there is one, and the operation with its fields.
fn parse(line: &[u8]) -> (Option<Value>, Result<(String, Fields), Problem>) {
    let mut map: Map<String, Value> = match serde_json::from_slice(line) {
        Ok(Value::Object(map)) => map,
        Ok(_) => {
            let message = "a request is an object: {\"op\": \"info\"}";
            return (None, Err(Problem::new("json", message)));
        }
        Err(error) => {
            let message =
                format!("this is not JSON: {error}; send one object on one line, as {{\"op\": \"info\"}}");
            return (None, Err(Problem::new("json", message)));
        }
    };
    let id = map.remove("id");
    let asked = match map.remove("op") {
        Some(Value::String(op)) => Ok((op, Fields::new(map, String::new()))),
        _ => {
            let message = format!("op is missing or is not text; it is one of {}", operations::names());
            Err(Problem { field: Some("op".into()), ..Problem::new("op", message) })
        }
    };
    (id, asked)
}

/// Answers every line of `input` until it ends or a `quit` is answered. Answers are flushed when no further line is waiting, so
/// that a client may send many at once.
///
/// # Errors
/// Only those of the streams.
pub fn serve(session: &mut Session, input: impl Read, mut output: impl Write) -> std::io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 16, input);
    let mut line = Vec::new();
    while !session.is_over() {
        line.clear();
        let read = (&mut input).take(LONGEST_LINE as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        let answer = if read > LONGEST_LINE && line.last() != Some(&b'\n') {
            // The rest of it is of no use.
            while !line.is_empty() && line.last() != Some(&b'\n') {
                line.clear();
                (&mut input).take(1 << 16).read_until(b'\n', &mut line)?;
            }
            let message = format!("this line is longer than {LONGEST_LINE} bytes; send less at once");
            json!({ "error": Problem::new("json", message).to_json() }).to_string()
        } else if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        } else {
            session.answer(&line)
        };
        output.write_all(answer.as_bytes())?;
        output.write_all(b"\n")?;
        if input.buffer().is_empty() || session.is_over() {
            output.flush()?;
        }
    }
    output.flush()
}

#[cfg(test)]
mod tests;
