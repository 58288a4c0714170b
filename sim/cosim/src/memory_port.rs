//! Memory behind the hardware's AXI4 port, with the worst behaviour that AXI4 allows: latency, random pauses on every channel, channels
//! that stand still for long, read data in any order between ids and interleaved, write data taken before its address, and exclusive
//! accesses that fail now and then for no reason.
//!
//! What is valid stays valid and unchanged until it is taken, on both sides; the hardware's side is watched by an [`AxiChecker`].
//! What is on a channel that is not valid is noise.

use crate::axi_checker::{AxiChecker, MOST_BEATS, Rules};
use crate::memory::BusMemory;
use crate::pace::Pace;
use crate::random::Random;
use crate::verilated::ports::axi::{DECERR, EXOKAY, OKAY, SLVERR};
use crate::verilated::ports::{AxiIn, AxiOut};
use pasidon_spec::memory::Failure;
use std::collections::VecDeque;
use std::ops::Range;

/// An accepted burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// The cycle in which its address was accepted.
    pub cycle: u64,
    /// Its address.
    pub address: u64,
    /// Its bytes.
    pub bytes: u64,
}

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
    data: [Option<u64>; MOST_BEATS],
}

struct Write {
    id: u64,
    address: u64,
    size: u64,
    beats: usize,
    taken: usize,
    exclusive: bool,
    response: u64,
    /// The response does not come before this cycle.
    due: u64,
}

/// A beat of write data whose address has not been taken yet.
struct Data {
    value: u64,
    strobes: u64,
}

struct WriteResponse {
    id: u64,
    response: u64,
    due: u64,
}

/// An exclusive read that waits for its exclusive write: whose, where, what it read, and whether somebody has written there since.
#[derive(Clone, Copy)]
struct Reservation {
    id: u64,
    address: u64,
    seen: Option<u64>,
    lost: bool,
}

/// The memory side of the port.
pub struct MemoryPort {
    pace: Pace,
    reads: VecDeque<Read>,
    writes: VecDeque<Write>,
    early: VecDeque<Data>,
    responses: VecDeque<WriteResponse>,
    reservations: Vec<Reservation>,
    /// Index of the read whose beats are being sent.
    active: Option<usize>,
    /// A beat or a response is on offer and was not taken.
    shown: [bool; 2],
    /// Cycles for which AR, AW, W, R and B stand still.
    still: [u16; 5],
    slow: Option<(Range<u64>, u32)>,
    /// Memory itself says how long a read takes: later ones may be sooner.
    uneven: bool,
    random: Random,
    noise: Random,
    /// The rules that the hardware keeps.
    pub checker: AxiChecker,
    /// Bursts accepted since the port was made: reads and writes.
    pub bursts: [u64; 2],
    /// The bursts themselves are recorded in `recorded_reads` and `recorded_writes`.
    pub record: bool,
    /// Read bursts accepted while they were recorded.
    pub recorded_reads: Vec<Burst>,
    /// Write bursts accepted while they were recorded.
    pub recorded_writes: Vec<Burst>,
}

impl MemoryPort {
    /// Idle memory. Everything arbitrary follows from `seed`.
    pub fn new(pace: Pace, rules: Rules, seed: u64) -> MemoryPort {
        MemoryPort {
            pace,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
            early: VecDeque::new(),
            responses: VecDeque::new(),
            reservations: Vec::new(),
            active: None,
            shown: [false; 2],
            still: [0; 5],
            slow: None,
            uneven: false,
            random: Random::new(seed),
            noise: Random::new(!seed),
            checker: AxiChecker::new(rules),
            bursts: [0; 2],
            record: false,
            recorded_reads: Vec::new(),
            recorded_writes: Vec::new(),
        }
    }

    /// Changes the timing; reads under way keep theirs.
    pub fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
    }

    /// The timing.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// Reads that begin in `range` take this many cycles more, and others overtake them; `None` ends that.
    pub fn set_slow(&mut self, slow: Option<(Range<u64>, u32)>) {
        self.slow = slow;
    }

    /// The first rule that the hardware broke, if there is one.
    pub fn violation(&self) -> Option<&str> {
        self.checker.violation()
    }

    /// Whether nothing is under way.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.reads.is_empty() && self.writes.is_empty() && self.responses.is_empty() && self.early.is_empty()
    }

    /// Somebody else wrote the doubleword at `address`: exclusive writes to it fail.
    pub fn disturb(&mut self, address: u64) {
        for reservation in &mut self.reservations {
            reservation.lost |= reservation.address & !7 == address & !7;
        }
    }

    /// One cycle: from the hardware's outputs to its inputs, and the transfers of the coming edge.
    #[inline]
    pub fn cycle(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &mut impl BusMemory) {
        let [no_ar, no_aw, no_w, no_r, no_b] =
            if self.pace.memory_pauses == 0 { [false; 5] } else { self.pauses() };
        self.read_data(now, out, input, memory, no_r);
        self.write_response(now, out, input, no_b);

        let most = self.pace.outstanding.max(1) as usize;
        input.wready = u64::from(!no_w && (!self.writes.is_empty() || self.pace.data_first));
        if out.wvalid & input.wready & 1 != 0 {
            let data = Data { value: out.wdata, strobes: out.wstrb };
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
        self.checker.cycle(now, out, input);
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

    fn accept_write(&mut self, now: u64, out: &AxiOut, memory: &mut impl BusMemory) {
        self.bursts[1] += 1;
        if self.record {
            let bytes = (out.awlen + 1) << out.awsize.min(3);
            self.recorded_writes.push(Burst { cycle: now, address: out.awaddr, bytes });
        }
        let due = memory.due(now, out.awaddr, (out.awlen + 1) << out.awsize.min(3)).unwrap_or(0);
        self.writes.push_back(Write {
            id: out.awid,
            address: out.awaddr,
            size: out.awsize,
            beats: out.awlen as usize + 1,
            taken: 0,
            exclusive: out.awlock & 1 != 0,
            response: OKAY,
            due,
        });
        while !self.writes.is_empty()
            && let Some(data) = self.early.pop_front()
        {
            self.write_beat(now, &data, memory);
        }
    }

    fn accept_read(&mut self, now: u64, out: &AxiOut, memory: &mut impl BusMemory) {
        self.bursts[0] += 1;
        let (id, address, size) = (out.arid, out.araddr, out.arsize);
        if self.record {
            let bytes = (out.arlen + 1) << size.min(3);
            self.recorded_reads.push(Burst { cycle: now, address, bytes });
        }
        let beats = (out.arlen as usize + 1).min(MOST_BEATS);
        let mut data = [None; MOST_BEATS];
        for (beat, data) in data.iter_mut().enumerate().take(beats) {
            *data = memory.load(beat_address(address, size, beat));
        }
        let exclusive = out.arlock & 1 != 0;
        if exclusive {
            self.reservations.retain(|r| r.id != id);
            self.reservations.push(Reservation { id, address, seen: data[0], lost: false });
        }
        let slow =
            self.slow.as_ref().filter(|(range, _)| range.contains(&address)).map_or(0, |(_, extra)| *extra);
        let late = if self.pace.jitter == 0 { 0 } else { self.random.below(u64::from(self.pace.jitter) + 1) };
        let bytes = (beats as u64) << size.min(3);
        let due = memory.due(now, address, bytes);
        self.uneven |= due.is_some();
        let due = due.unwrap_or(now + u64::from(self.pace.latency.max(1))) + u64::from(slow) + late;
        self.reads.push_back(Read { id, address, size, beats, sent: 0, due, exclusive, data });
    }

    #[inline]
    fn read_data(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &impl BusMemory, pause: bool) {
        let chosen = if pause && !self.shown[0] { None } else { self.active.or_else(|| self.choose(now)) };
        let Some(index) = chosen else {
            let noise = self.noise.word();
            (input.rvalid, input.rdata, input.rid, input.rlast) =
                (0, noise, noise >> 5 & 31, noise >> 10 & 1);
            (input.rresp, input.rpoison) = (noise >> 11 & 3, noise >> 13 & 1);
            return;
        };
        self.active = Some(index);
        let read = &mut self.reads[index];
        let address = beat_address(read.address, read.size, read.sent);
        let data = read.data[read.sent];
        let last = read.sent + 1 == read.beats;
        let good = if read.exclusive { EXOKAY } else { OKAY };
        let response = match data {
            _ if memory.fails(address, Failure::Read) => SLVERR,
            None => DECERR,
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
        if self.pace.jitter == 0 && self.pace.interleaving == 0 && self.slow.is_none() && !self.uneven {
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
        if self.responses.is_empty() || pause && !self.shown[1] {
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

    fn write_beat(&mut self, now: u64, data: &Data, memory: &mut impl BusMemory) {
        let Some(write) = self.writes.front_mut() else { return };
        let address = beat_address(write.address, write.size, write.taken);
        write.taken += 1;
        let last = write.taken == write.beats;
        let strobes = data.strobes as u8;
        let done = if memory.fails(address, Failure::Write) {
            Done::Failed
        } else if write.exclusive {
            let id = write.id;
            let mine = self.reservations.iter().position(|r| r.id == id && r.address == address);
            let mine = mine.map(|index| self.reservations.swap_remove(index)).filter(|r| !r.lost);
            let mine = mine.filter(|_| self.random.below(256) >= u64::from(self.pace.exclusive_failures));
            match mine.and_then(|r| r.seen) {
                None if memory.load(address).is_none() => Done::Nowhere,
                None => Done::Lost,
                Some(seen) => match memory.exchange(address, seen, data.value, strobes) {
                    None => Done::Nowhere,
                    Some(false) => Done::Lost,
                    Some(true) => Done::Won,
                },
            }
        } else if memory.write(address, data.value, strobes) {
            Done::Written
        } else {
            Done::Nowhere
        };
        match done {
            Done::Failed => write.response = write.response.max(SLVERR),
            Done::Nowhere => write.response = DECERR,
            Done::Won => write.response = EXOKAY,
            Done::Written | Done::Lost => {}
        }
        if matches!(done, Done::Won | Done::Written) {
            self.disturb(address);
        }
        if last && let Some(Write { id, response, due, .. }) = self.writes.pop_front() {
            let due = due.max(now + u64::from(self.pace.write_response_after()));
            self.responses.push_back(WriteResponse { id, response, due });
        }
    }
}

/// What became of a beat of write data.
#[derive(Clone, Copy)]
enum Done {
    /// It was written.
    Written,
    /// It was written exclusively.
    Won,
    /// Of an exclusive write: somebody else has written.
    Lost,
    /// Memory fails here.
    Failed,
    /// There is no memory.
    Nowhere,
}

/// Address of a beat of an INCR burst of aligned beats.
#[inline]
fn beat_address(address: u64, size: u64, beat: usize) -> u64 {
    address.wrapping_add((beat as u64) << size.min(3))
}

#[cfg(test)]
mod tests;
