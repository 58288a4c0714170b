//! Memory behind the hardware's AXI4 port, as unhelpful as AXI4 allows: latency, random pauses on every channel, channels that stand
//! still for long, read data in any order between ids and interleaved, write data taken before its address, and exclusive accesses
//! that fail now and then for no reason.
//!
//! What is valid stays valid and unchanged until it is taken, on both sides; the hardware's side is checked.

use super::memory::Memory;
use crate::machine::Random;
use crate::model::ports::axi::{BUFFERABLE, DECERR, EXOKAY, INCR, OKAY, SLVERR};
use crate::model::ports::{AxiIn, AxiOut};
use pasidon_spec::memory::Failure;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The most cycles from the last write data to the write response.
pub const MOST_WRITE_LATENCY: u32 = 30;

/// How memory and devices behave in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Cycles from a read address to its first data; at least 1. Write responses take as long, but not longer than
    /// [`MOST_WRITE_LATENCY`].
    pub latency: u32,
    /// Each read takes up to this much longer, at random, so that reads with different ids overtake each other.
    pub jitter: u32,
    /// Bursts that memory accepts before the oldest has ended, of each kind; at least 1.
    pub outstanding: u32,
    /// Chance of 256 that memory pauses, for each channel and cycle.
    pub memory_pauses: u8,
    /// Chance of 256 that a device does not take a response, for each port and cycle.
    pub response_pauses: u8,
    /// Chance of 256 that a device does not offer the request that it has, for each port and cycle.
    pub request_pauses: u8,
    /// Chance of 256 that an exclusive write fails although nothing came between; less than 256, so that it ends.
    pub exclusive_failures: u8,
    /// Now and then a channel of memory, or the device behind a port, takes and gives nothing for up to this many cycles.
    #[serde(default)]
    pub stalls: u16,
    /// Chance of 256 that memory goes on with another read after a beat.
    #[serde(default)]
    pub interleaving: u8,
    /// Memory takes write data before its address.
    #[serde(default)]
    pub data_first: bool,
}

impl Pace {
    /// Everybody is always ready; memory takes `latency` cycles.
    pub const fn even(latency: u32) -> Pace {
        Pace {
            latency,
            jitter: 0,
            outstanding: 32,
            memory_pauses: 0,
            response_pauses: 0,
            request_pauses: 0,
            exclusive_failures: 0,
            stalls: 0,
            interleaving: 0,
            data_first: false,
        }
    }
}

impl Default for Pace {
    fn default() -> Pace {
        Pace::even(20)
    }
}

/// Beats of the longest burst that is taken; the hardware's longest is a device context.
const BEATS: usize = 8;

struct Read {
    id: u64,
    address: u64,
    size: u64,
    beats: usize,
    sent: usize,
    due: u64,
    exclusive: bool,
    /// Memory may answer with what it held at any time in between. The oldest is what finds hardware that trusts what it read
    /// before an invalidation.
    data: [Option<u64>; BEATS],
}

struct Write {
    id: u64,
    address: u64,
    size: u64,
    beats: usize,
    taken: usize,
    exclusive: bool,
    response: u64,
}

/// A beat of write data whose address has not been taken yet.
struct Data {
    value: u64,
    strobes: u64,
    last: bool,
}

struct Response {
    id: u64,
    response: u64,
    due: u64,
}

/// What an exclusive read watches.
#[derive(Clone, Copy)]
struct Reservation {
    id: u64,
    address: u64,
}

/// The memory side of the port.
pub struct Bus {
    pace: Pace,
    /// There are exclusive accesses, and writes have ids.
    exclusive: bool,
    reads: VecDeque<Read>,
    writes: VecDeque<Write>,
    early: VecDeque<Data>,
    responses: VecDeque<Response>,
    reservations: Vec<Reservation>,
    /// Index of the read whose beats are being sent.
    active: Option<usize>,
    /// A beat or a response is on offer and was not taken.
    shown: [bool; 2],
    /// Cycles for which AR, AW, W, R and B stand still.
    still: [u16; 5],
    last: (AxiOut, AxiIn),
    random: Random,
    violation: Option<String>,
}

impl Bus {
    /// Idle memory. `exclusive`: the hardware makes exclusive accesses.
    pub fn new(pace: Pace, exclusive: bool, seed: u64) -> Bus {
        Bus {
            pace,
            exclusive,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            early: VecDeque::new(),
            responses: VecDeque::new(),
            reservations: Vec::new(),
            active: None,
            shown: [false; 2],
            still: [0; 5],
            last: Default::default(),
            random: Random::new(seed),
            violation: None,
        }
    }

    /// Changes the timing; reads under way keep theirs.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The first rule of AXI4 that the hardware broke, if there is one.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Whether nothing is under way.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.responses.is_empty() && self.early.is_empty()
    }

    /// Somebody else wrote the doubleword at `address`: exclusive accesses to it fail.
    pub fn disturb(&mut self, address: u64) {
        self.reservations.retain(|r| r.address & !7 != address & !7);
    }

    /// One cycle: from the hardware's outputs to its inputs, and the transfers of the coming edge.
    #[inline]
    pub fn cycle(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &mut Memory) {
        let waited = self.last.0.arvalid & !self.last.1.arready
            | self.last.0.awvalid & !self.last.1.awready
            | self.last.0.wvalid & !self.last.1.wready;
        if waited & 1 != 0 {
            self.check_stable(now, out);
        }
        let [no_ar, no_aw, no_w, no_r, no_b] =
            if self.pace.memory_pauses == 0 { [false; 5] } else { self.pauses() };
        self.read_data(now, out, input, memory, no_r);
        self.write_response(now, out, input, no_b);

        let most = self.pace.outstanding.max(1) as usize;
        input.wready = u64::from(!no_w && (!self.writes.is_empty() || self.pace.data_first));
        if out.wvalid & input.wready & 1 != 0 {
            let data = Data { value: out.wdata, strobes: out.wstrb, last: out.wlast & 1 != 0 };
            if self.writes.is_empty() {
                self.early.push_back(data);
            } else {
                self.write_beat(now, &data, memory);
            }
        }
        input.awready = u64::from(!no_aw && self.writes.len() + self.responses.len() < most);
        if out.awvalid & input.awready & 1 != 0 {
            self.accept_write(now, out, memory);
        }
        input.arready = u64::from(!no_ar && self.reads.len() < most);
        if out.arvalid & input.arready & 1 != 0 {
            self.accept_read(now, out, memory);
        }
        self.last = (*out, *input);
    }

    /// Which of AR, AW, W, R and B pause in this cycle.
    #[inline]
    fn pauses(&mut self) -> [bool; 5] {
        let dice = self.random.word();
        let mut pauses =
            [0, 1, 2, 3, 4].map(|channel| ((dice >> (8 * channel)) as u8) < self.pace.memory_pauses);
        if self.pace.stalls != 0 {
            if dice >> 55 == 0 {
                let channel = (dice >> 40 & 0x3fff) as usize % 5;
                self.still[channel] = self.random.below(u64::from(self.pace.stalls)) as u16;
            }
            for (pause, still) in pauses.iter_mut().zip(&mut self.still) {
                *pause |= *still != 0;
                *still = still.saturating_sub(1);
            }
        }
        pauses
    }

    fn accept_write(&mut self, now: u64, out: &AxiOut, memory: &mut Memory) {
        self.check_burst(now, "write", out.awaddr, out.awlen, out.awsize, out.awburst, out.awlock);
        if !self.writes.is_empty() || !self.responses.is_empty() {
            self.violate(now, "a write was issued before the one before it was answered".into());
        }
        let exclusive = out.awlock & 1 != 0;
        if !self.exclusive && (exclusive || out.awid != 0) {
            self.violate(now, format!("a write has the id {}, or is exclusive", out.awid));
        }
        if (out.awcache, out.awprot, out.awqos) != (BUFFERABLE, 0, 0) {
            self.violate(now, "a write has other attributes than all others".into());
        }
        self.writes.push_back(Write {
            id: out.awid,
            address: out.awaddr,
            size: out.awsize,
            beats: out.awlen as usize + 1,
            taken: 0,
            exclusive,
            response: OKAY,
        });
        while !self.writes.is_empty()
            && let Some(data) = self.early.pop_front()
        {
            self.write_beat(now, &data, memory);
        }
    }

    fn violate(&mut self, now: u64, what: String) {
        self.violation.get_or_insert_with(|| format!("cycle {now}: {what}"));
    }

    fn accept_read(&mut self, now: u64, out: &AxiOut, memory: &mut Memory) {
        self.check_burst(now, "read", out.araddr, out.arlen, out.arsize, out.arburst, out.arlock);
        if self.reads.iter().any(|read| read.id == out.arid) {
            self.violate(now, format!("two reads under way have the id {}", out.arid));
        }
        if (out.arcache, out.arprot, out.arqos) != (BUFFERABLE, 0, 0) {
            self.violate(now, "a read has other attributes than all others".into());
        }
        let (address, size) = (out.araddr, out.arsize);
        let beats = (out.arlen as usize + 1).min(BEATS);
        let mut data = [None; BEATS];
        for (beat, data) in data.iter_mut().enumerate().take(beats) {
            *data = memory.load(beat_address(address, size, beat));
        }
        let exclusive = out.arlock & 1 != 0;
        if exclusive {
            self.reservations.retain(|r| r.id != out.arid);
            self.reservations.push(Reservation { id: out.arid, address });
        }
        let late = if self.pace.jitter == 0 { 0 } else { self.random.below(u64::from(self.pace.jitter) + 1) };
        let due = now + u64::from(self.pace.latency.max(1)) + late;
        self.reads.push_back(Read { id: out.arid, address, size, beats, sent: 0, due, exclusive, data });
    }

    #[inline]
    fn read_data(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &Memory, pause: bool) {
        let chosen = if pause && !self.shown[0] { None } else { self.active.or_else(|| self.choose(now)) };
        let Some(index) = chosen else {
            input.rvalid = 0;
            return;
        };
        self.active = Some(index);
        let read = &mut self.reads[index];
        let address = beat_address(read.address, read.size, read.sent);
        let data = read.data[read.sent];
        let last = read.sent + 1 == read.beats;
        let good = if read.exclusive { EXOKAY } else { OKAY };
        let response = match data {
            None => DECERR,
            Some(_) if memory.fails(address, Failure::Read) => SLVERR,
            Some(_) => good,
        };
        let poison = memory.fails(address, Failure::Poison);
        input.rvalid = 1;
        input.rid = read.id;
        input.rlast = u64::from(last);
        input.rresp = response;
        input.rpoison = u64::from(poison);
        // Data that is not good is not there at all: nobody may use it.
        input.rdata = if response == good && !poison { data.unwrap_or(0) } else { 0xdead_beef_dead_beef };
        self.shown[0] = out.rready & 1 == 0;
        if out.rready & 1 != 0 {
            read.sent += 1;
            if last {
                self.reads.remove(index);
                self.active = None;
            } else if self.pace.interleaving != 0
                && self.random.below(256) < u64::from(self.pace.interleaving)
            {
                self.active = None;
            }
        }
    }

    /// The next read to answer: any whose time has come and whose id no earlier one has.
    #[inline]
    fn choose(&mut self, now: u64) -> Option<usize> {
        if self.pace.jitter == 0 && self.pace.interleaving == 0 {
            return self.reads.front().filter(|read| read.due <= now).map(|_| 0);
        }
        let count = self.reads.len();
        if count == 0 {
            return None;
        }
        let reads = &self.reads;
        let first_of_its_id =
            |index: usize| reads.range(..index).all(|earlier| earlier.id != reads[index].id);
        let begin = if self.pace.interleaving == 0 { 0 } else { self.random.below(count as u64) as usize };
        (begin..count).chain(0..begin).find(|&index| reads[index].due <= now && first_of_its_id(index))
    }

    #[inline]
    fn write_response(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, pause: bool) {
        input.bvalid = 0;
        if pause && !self.shown[1] {
            return;
        }
        if let Some(response) = self.responses.front().filter(|response| response.due <= now) {
            input.bvalid = 1;
            input.bid = response.id;
            input.bresp = response.response;
            self.shown[1] = out.bready & 1 == 0;
            if out.bready & 1 != 0 {
                self.responses.pop_front();
            }
        }
    }

    fn write_beat(&mut self, now: u64, data: &Data, memory: &mut Memory) {
        let Some(write) = self.writes.front_mut() else { return };
        let address = beat_address(write.address, write.size, write.taken);
        write.taken += 1;
        let last = write.taken == write.beats;
        let lanes = ((1u64 << (1 << write.size.min(3))) - 1) << (address & 7);
        let problem = if data.last != last {
            "WLAST does not match AWLEN"
        } else if data.strobes & !lanes != 0 {
            "strobes lie outside the beat"
        } else {
            ""
        };
        if !problem.is_empty() {
            self.violation
                .get_or_insert_with(|| format!("cycle {now}: {problem} in a write near {address:#x}"));
        }
        let mut held = true;
        if write.exclusive {
            let id = write.id;
            held = self.reservations.iter().any(|r| r.id == id && r.address == address)
                && self.random.below(256) >= u64::from(self.pace.exclusive_failures);
            self.reservations.retain(|r| r.id != id);
        }
        if memory.fails(address, Failure::Write) {
            write.response = write.response.max(SLVERR);
        } else if !memory.exists(address) {
            write.response = DECERR;
        } else if held {
            memory.hardware_write(address, data.value, data.strobes as u8);
            if write.exclusive {
                write.response = EXOKAY;
            }
            self.reservations.retain(|r| r.address & !7 != address & !7);
        }
        if last && let Some(Write { id, response, .. }) = self.writes.pop_front() {
            let due = now + u64::from(self.pace.latency.clamp(1, MOST_WRITE_LATENCY));
            self.responses.push_back(Response { id, response, due });
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn check_burst(&mut self, now: u64, what: &str, address: u64, len: u64, size: u64, kind: u64, lock: u64) {
        let bytes = (len + 1) << size.min(3);
        let problem = if size > 3 {
            "has beats of more than 8 bytes"
        } else if kind != INCR {
            "is not INCR"
        } else if address & ((1 << size) - 1) != 0 {
            "is not aligned"
        } else if len as usize >= BEATS {
            "is longer than any structure"
        } else if address >> 12 != (address + bytes - 1) >> 12 {
            "crosses 4 KiB"
        } else if lock & 1 != 0 && len != 0 {
            "is exclusive and has several beats"
        } else {
            return;
        };
        self.violate(now, format!("a {what} burst at {address:#x} of {} beats {problem}", len + 1));
    }

    /// What is valid and not taken stays as it is. (AXI4, "Handshake process".)
    fn check_stable(&mut self, now: u64, out: &AxiOut) {
        let (last, input) = &self.last;
        let waits = |valid: u64, ready: u64| valid & !ready & 1 == 1;
        let read = |o: &AxiOut| (o.arvalid, o.arid, o.araddr, o.arlen, o.arsize, o.arburst, o.arlock);
        let write = |o: &AxiOut| (o.awvalid, o.awid, o.awaddr, o.awlen, o.awsize, o.awburst, o.awlock);
        let data = |o: &AxiOut| (o.wvalid, o.wdata, o.wstrb, o.wlast);
        let changed = if waits(last.arvalid, input.arready) && read(last) != read(out) {
            "AR"
        } else if waits(last.awvalid, input.awready) && write(last) != write(out) {
            "AW"
        } else if waits(last.wvalid, input.wready) && data(last) != data(out) {
            "W"
        } else {
            return;
        };
        self.violate(now, format!("{changed} changed while it waited"));
    }
}

/// Address of a beat of an INCR burst of aligned beats.
#[inline]
fn beat_address(address: u64, size: u64, beat: usize) -> u64 {
    address.wrapping_add((beat as u64) << size.min(3))
}
