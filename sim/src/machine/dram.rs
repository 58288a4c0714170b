//! DRAM behind the model's AXI4 port: latency, outstanding reads, errors, exclusive accesses.

use super::memory::Memory;
use super::random::Random;
use crate::model::ports::axi::{DECERR, EXOKAY, INCR, OKAY, SLVERR};
use crate::model::ports::{AxiIn, AxiOut};
use pasidon_spec::memory::Failure;
use std::collections::VecDeque;
use std::ops::Range;

/// Timing of memory, in clock cycles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// From the cycle in which a read address is accepted to that of its first data beat; at least 1. Then one beat per
    /// cycle, bursts in order of their addresses' acceptance.
    pub latency: u32,
    /// Read bursts that are accepted before the oldest has ended, at least 1.
    pub outstanding: u32,
    /// From the last write beat to the write response, at least 1.
    pub write_latency: u32,
    /// Each read takes up to this much longer, at random, so that bursts with different ids overtake each other.
    pub jitter: u32,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { latency: 20, outstanding: 16, write_latency: 4, jitter: 0 }
    }
}

/// Beats of a read whose data is taken when its address is accepted. Memory may answer with what it held at any time in
/// between, and the oldest is what finds hardware that trusts what it read before an invalidation. Later beats of
/// long bursts are taken when they are sent.
const EARLY: usize = 8;

struct Burst {
    id: u64,
    address: u64,
    beats: u64,
    size: u64,
    due: u64,
    sent: usize,
    exclusive: bool,
    data: [Option<u64>; EARLY],
}

/// An exclusive read that waits for its exclusive write: whose, where, and what it read.
struct Reservation {
    id: u64,
    address: u64,
    value: u64,
}

struct Response {
    id: u64,
    response: u64,
    due: u64,
}

/// The memory port.
pub struct Dram {
    timing: Timing,
    failures: Vec<(Range<u64>, Failure)>,
    /// When failures end by themselves.
    heals: u64,
    slow: Option<(Range<u64>, u32)>,
    reads: VecDeque<Burst>,
    writes: VecDeque<Burst>,
    responses: VecDeque<Response>,
    write_response: u64,
    /// Index of the read whose beats are being sent.
    active: Option<usize>,
    reservations: Vec<Reservation>,
    lost: u32,
    random: Random,
    /// Read bursts accepted.
    pub read_bursts: u64,
    /// Write bursts accepted.
    pub write_bursts: u64,
    violation: Option<String>,
}

impl Dram {
    /// Idle memory.
    pub fn new(timing: Timing) -> Dram {
        Dram {
            timing,
            failures: Vec::new(),
            heals: u64::MAX,
            slow: None,
            reads: VecDeque::with_capacity(64),
            writes: VecDeque::with_capacity(16),
            responses: VecDeque::with_capacity(16),
            write_response: OKAY,
            active: None,
            reservations: Vec::new(),
            lost: 0,
            random: Random::new(0),
            read_bursts: 0,
            write_bursts: 0,
            violation: None,
        }
    }

    /// Changes the timing; reads under way keep theirs.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = timing;
    }

    /// The timing.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Reads of `range` take this many cycles more, and others overtake them; `None` ends that.
    pub fn set_slow(&mut self, slow: Option<(Range<u64>, u32)>) {
        self.slow = slow;
    }

    /// Makes accesses to `range` fail from now on.
    pub fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.failures.push((range, failure));
    }

    /// Ends all injected failures.
    pub fn heal(&mut self) {
        self.failures.clear();
        self.heals = u64::MAX;
    }

    /// Ends all injected failures in that clock cycle.
    pub fn heal_at(&mut self, cycle: u64) {
        self.heals = cycle;
    }

    /// Lets the next `count` exclusive writes find that somebody else has written.
    pub fn lose_exclusive_writes(&mut self, count: u32) {
        self.lost = count;
    }

    /// The first breach of AXI4's rules by the model, if there was one.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    fn fails(&self, address: u64, failure: Failure) -> bool {
        self.failures.iter().any(|(range, kind)| *kind == failure && range.contains(&address))
    }

    /// One cycle: from the model's outputs to its inputs, and the transfers of the coming edge.
    #[inline]
    pub fn cycle(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &mut Memory) {
        if now >= self.heals {
            self.heal();
        }
        self.read_data(now, out, input, memory);
        input.arready = u64::from((self.reads.len() as u64) < u64::from(self.timing.outstanding));
        if out.arvalid & input.arready != 0 {
            self.check_burst("read", out.araddr, out.arlen, out.arsize, out.arburst);
            self.read_bursts += 1;
            let (address, beats, size) = (out.araddr, out.arlen + 1, out.arsize);
            let mut data = [None; EARLY];
            for (beat, data) in data.iter_mut().enumerate().take(beats as usize) {
                *data = memory.load(beat_address(address, size, beat as u64) & !7);
            }
            let slow = self
                .slow
                .as_ref()
                .filter(|(range, _)| range.contains(&address))
                .map_or(0, |(_, extra)| *extra);
            let late = if self.timing.jitter == 0 {
                0
            } else {
                self.random.below(u64::from(self.timing.jitter) + 1)
            };
            let due = now + u64::from(self.timing.latency.max(1)) + u64::from(slow) + late;
            let (id, exclusive) = (out.arid, out.arlock != 0);
            if exclusive {
                self.check_exclusive(out.araddr, out.arlen, out.arsize);
                self.reservations.retain(|r| r.id != id);
                self.reservations.extend(data[0].map(|value| Reservation { id, address, value }));
            }
            self.reads.push_back(Burst { id, address, beats, size, due, sent: 0, exclusive, data });
        }
        self.write(now, out, input, memory);
    }

    #[inline]
    fn read_data(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &Memory) {
        let Some(index) = self.active.or_else(|| self.choose(now)) else {
            input.rvalid = 0;
            return;
        };
        self.active = Some(index);
        let burst = &mut self.reads[index];
        let (id, sent, last, exclusive) = (burst.id, burst.sent, burst.beats == 1, burst.exclusive);
        let address = beat_address(burst.address, burst.size, sent as u64);
        let data = if sent < EARLY { burst.data[sent] } else { memory.load(address & !7) };
        if out.rready != 0 {
            burst.sent += 1;
            burst.beats -= 1;
            if last {
                self.reads.remove(index);
                self.active = None;
            }
        }
        let okay = if exclusive { EXOKAY } else { OKAY };
        let (mut response, mut poison) = if data.is_some() { (okay, 0) } else { (DECERR, 0) };
        if !self.failures.is_empty() {
            if self.fails(address, Failure::Read) {
                response = SLVERR;
            }
            poison = u64::from(self.fails(address, Failure::Poison));
        }
        input.rvalid = 1;
        input.rid = id;
        input.rlast = u64::from(last);
        input.rresp = response;
        input.rpoison = poison;
        // Data that is not good is not there at all: nobody may use it.
        input.rdata = if response == okay && poison == 0 { data.unwrap_or(0) } else { 0xdead_beef_dead_beef };
    }

    /// The next read to answer: the first, or where reads overtake each other the first whose time has come and whose id no earlier one has.
    #[inline]
    fn choose(&self, now: u64) -> Option<usize> {
        if self.timing.jitter == 0 && self.slow.is_none() {
            return self.reads.front().filter(|burst| burst.due <= now).map(|_| 0);
        }
        let first_of_its_id =
            |index: usize| self.reads.range(..index).all(|earlier| earlier.id != self.reads[index].id);
        (0..self.reads.len()).find(|&index| self.reads[index].due <= now && first_of_its_id(index))
    }

    #[inline]
    fn write(&mut self, now: u64, out: &AxiOut, input: &mut AxiIn, memory: &mut Memory) {
        input.bvalid = 0;
        if let Some(response) = self.responses.front().filter(|response| response.due <= now) {
            input.bvalid = 1;
            input.bid = response.id;
            input.bresp = response.response;
            if out.bready != 0 {
                self.responses.pop_front();
            }
        }
        // Data is taken once its address has been.
        input.wready = u64::from(!self.writes.is_empty());
        if out.wvalid & input.wready != 0 {
            self.write_beat(now, out, memory);
        }
        input.awready = u64::from(self.writes.len() + self.responses.len() < 8);
        if out.awvalid & input.awready != 0 {
            self.check_burst("write", out.awaddr, out.awlen, out.awsize, out.awburst);
            self.write_bursts += 1;
            let (id, address, beats, size) = (out.awid, out.awaddr, out.awlen + 1, out.awsize);
            let exclusive = out.awlock != 0;
            if exclusive {
                self.check_exclusive(address, out.awlen, size);
            }
            let data = [None; EARLY];
            self.writes.push_back(Burst { id, address, beats, size, due: 0, sent: 0, exclusive, data });
        }
    }

    fn write_beat(&mut self, now: u64, out: &AxiOut, memory: &mut Memory) {
        let Some(burst) = self.writes.front_mut() else { return };
        let (id, last, exclusive) = (burst.id, burst.beats == 1, burst.exclusive);
        let address = beat_address(burst.address, burst.size, burst.sent as u64);
        burst.sent += 1;
        burst.beats -= 1;
        if (out.wlast != 0) != last {
            self.violation
                .get_or_insert_with(|| format!("WLAST does not match AWLEN in a write near {address:#x}"));
        }
        let won = exclusive && self.wins(id, address, memory);
        if self.fails(address, Failure::Write) {
            self.write_response = self.write_response.max(SLVERR);
        } else if exclusive && !won {
            // Lost: nothing is written.
        } else if let Some(bytes) = memory.slice_mut(address & !7, 8) {
            for (lane, byte) in bytes.iter_mut().enumerate() {
                if out.wstrb >> lane & 1 != 0 {
                    *byte = (out.wdata >> (8 * lane)) as u8;
                }
            }
            if won {
                self.write_response = EXOKAY;
            }
        } else {
            self.write_response = DECERR;
        }
        if last {
            self.writes.pop_front();
            let due = now + u64::from(self.timing.write_latency.max(1));
            self.responses.push_back(Response { id, response: self.write_response, due });
            self.write_response = OKAY;
        }
    }

    /// Whether nobody has written to `address` since the exclusive read of this id.
    fn wins(&mut self, id: u64, address: u64, memory: &Memory) -> bool {
        let found = self.reservations.iter().position(|r| r.id == id && r.address == address);
        let Some(reservation) = found.map(|index| self.reservations.swap_remove(index)) else {
            self.violation.get_or_insert_with(|| {
                format!("an exclusive write at {address:#x} without an exclusive read of its id and address")
            });
            return false;
        };
        if self.lost > 0 {
            self.lost -= 1;
            return false;
        }
        memory.load(address & !7) == Some(reservation.value)
    }

    fn check_exclusive(&mut self, address: u64, len: u64, size: u64) {
        if len != 0 || address & ((1 << size) - 1) != 0 {
            self.violation.get_or_insert_with(|| {
                format!("an exclusive access at {address:#x} that is no single aligned beat")
            });
        }
    }

    fn check_burst(&mut self, what: &str, address: u64, len: u64, size: u64, kind: u64) {
        let bytes = (len + 1) << size;
        let first = address & !((1 << size) - 1);
        let problem = if size > 3 {
            "has beats of more than 8 bytes"
        } else if kind != INCR {
            "is not INCR"
        } else if first >> 12 != (first + bytes - 1) >> 12 {
            "crosses 4 KiB"
        } else {
            return;
        };
        self.violation
            .get_or_insert_with(|| format!("a {what} burst at {address:#x} of {} beats {problem}", len + 1));
    }
}

/// Address of a beat of an INCR burst: the first may be unaligned, the others are aligned to the size.
#[inline]
fn beat_address(address: u64, size: u64, beat: u64) -> u64 {
    let size = size.min(3);
    if beat == 0 { address } else { (address & !((1 << size) - 1)).wrapping_add(beat << size) }
}

#[cfg(test)]
mod tests {
    use super::super::Random;
    use super::*;

    fn setup(latency: u32, outstanding: u32) -> (Dram, Memory, u64) {
        let memory = Memory::new(32, 16 << 20, &mut Random::new(1));
        let base = memory.base();
        (Dram::new(Timing { latency, outstanding, write_latency: 2, jitter: 0 }), memory, base)
    }

    #[test]
    fn reads_take_the_latency_then_a_cycle_per_beat() {
        let (mut dram, mut memory, base) = setup(5, 2);
        (0..8).for_each(|i| assert!(memory.store(base + 8 * i, 100 + i)));
        let mut input = AxiIn::default();
        let mut beats = Vec::new();
        let mut accepted = Vec::new();
        for now in 0..30 {
            let id = accepted.len() as u64;
            let araddr = base + 32 * (id & 1);
            let valid = u64::from(accepted.len() < 3);
            let out = AxiOut {
                arvalid: valid,
                arid: id,
                araddr,
                arlen: 3,
                arsize: 3,
                arburst: 1,
                rready: 1,
                ..AxiOut::default()
            };
            dram.cycle(now, &out, &mut input, &mut memory);
            if valid & input.arready != 0 {
                accepted.push(now);
            }
            if input.rvalid != 0 {
                beats.push((now, input.rid, input.rdata, input.rlast));
            }
        }
        // The third address waits until the first burst has ended.
        assert_eq!(accepted, [0, 1, 8]);
        assert_eq!(beats[0], (5, 0, 100, 0));
        assert_eq!(beats[3], (8, 0, 103, 1));
        assert_eq!(beats[4], (9, 1, 104, 0));
        assert_eq!(beats[8], (13, 2, 100, 0));
        assert_eq!(beats.len(), 12);
        assert_eq!(dram.violation(), None);
    }

    #[test]
    fn writes_obey_strobes_and_failures_are_answered() {
        let (mut dram, mut memory, base) = setup(1, 4);
        memory.store(base, 0x1111_1111_1111_1111);
        dram.inject(base + 64..base + 72, Failure::Write);
        dram.inject(base + 128..base + 136, Failure::Poison);
        let mut input = AxiIn::default();
        let mut responses = Vec::new();
        let mut write = |dram: &mut Dram, memory: &mut Memory, address, now: &mut u64| {
            let mut out =
                AxiOut { awvalid: 1, awaddr: address, awsize: 3, awburst: 1, bready: 1, ..AxiOut::default() };
            dram.cycle(*now, &out, &mut input, memory);
            (out.awvalid, out.wvalid, out.wlast, out.wstrb, out.wdata) =
                (0, 1, 1, 0x0f, 0x2222_2222_2222_2222);
            dram.cycle(*now + 1, &out, &mut input, memory);
            out.wvalid = 0;
            for later in 2..6 {
                dram.cycle(*now + later, &out, &mut input, memory);
                if input.bvalid != 0 {
                    responses.push(input.bresp);
                }
            }
            *now += 6;
        };
        let mut now = 0;
        write(&mut dram, &mut memory, base, &mut now);
        write(&mut dram, &mut memory, base + 64, &mut now);
        write(&mut dram, &mut memory, 0x10, &mut now);
        assert_eq!(responses, [OKAY, SLVERR, DECERR]);
        assert_eq!(memory.load(base), Some(0x1111_1111_2222_2222));
        assert_eq!(memory.load(base + 64), Some(0));
        let out =
            AxiOut { arvalid: 1, araddr: base + 128, arsize: 3, arburst: 1, rready: 1, ..AxiOut::default() };
        dram.cycle(now, &out, &mut input, &mut memory);
        dram.cycle(now + 1, &AxiOut { rready: 1, ..AxiOut::default() }, &mut input, &mut memory);
        assert_eq!((input.rvalid, input.rpoison, input.rresp), (1, 1, OKAY));
        dram.check_burst("read", base + 4088, 1, 3, 1);
        assert!(dram.violation().is_some_and(|v| v.contains("crosses 4 KiB")));
    }
}
