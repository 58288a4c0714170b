//! The memory port in time, and what it does when memory says so itself.

use super::*;
use crate::memory::{Faulty, Flat};
use crate::verilated::ports::axi::BUFFERABLE;

const BASE: u64 = 1 << 31;
const RULES: Rules = Rules { address_width: 32, exclusive: true };

/// A memory port and what the hardware does to it, cycle by cycle.
struct Port {
    port: MemoryPort,
    memory: Faulty<Flat>,
    input: AxiIn,
    now: u64,
}

impl Port {
    fn new(pace: Pace) -> Port {
        let memory = Faulty::new(Flat::new(BASE, 1 << 16));
        Port { port: MemoryPort::new(pace, RULES, 1), memory, input: AxiIn::default(), now: 0 }
    }

    fn cycle(&mut self, out: &AxiOut) {
        self.port.cycle(self.now, out, &mut self.input, &mut self.memory);
        self.now += 1;
    }

    /// Writes a doubleword and returns the response.
    fn write(&mut self, address: u64, value: u64, strobes: u64, exclusive: bool) -> u64 {
        let mut out = AxiOut {
            awvalid: 1,
            awaddr: address,
            awsize: 3,
            awburst: 1,
            awcache: BUFFERABLE,
            awlock: exclusive.into(),
            wvalid: 1,
            wdata: value,
            wstrb: strobes,
            wlast: 1,
            bready: 1,
            ..AxiOut::default()
        };
        loop {
            self.cycle(&out);
            out.awvalid &= !self.input.awready;
            out.wvalid &= !self.input.wready;
            if self.input.bvalid != 0 {
                return self.input.bresp;
            }
        }
    }

    /// Reads a doubleword and returns data and response.
    fn read(&mut self, address: u64, exclusive: bool) -> (u64, u64) {
        let mut out = AxiOut { arlock: exclusive.into(), ..read(0, address, 1) };
        loop {
            self.cycle(&out);
            out.arvalid &= !self.input.arready;
            if self.input.rvalid != 0 {
                return (self.input.rdata, self.input.rresp);
            }
        }
    }
}

fn read(id: u64, address: u64, beats: u64) -> AxiOut {
    AxiOut {
        arvalid: 1,
        arid: id,
        araddr: address,
        arlen: beats - 1,
        arsize: 3,
        arburst: 1,
        arcache: BUFFERABLE,
        rready: 1,
        ..AxiOut::default()
    }
}

#[test]
fn reads_take_the_latency_then_a_cycle_per_beat() {
    let mut port = Port::new(Pace { outstanding: 2, ..Pace::even(5) });
    (0..8).for_each(|i| assert!(port.memory.store(BASE + 8 * i, 100 + i)));
    let mut beats = Vec::new();
    let mut accepted = Vec::new();
    for now in 0..30 {
        let id = accepted.len() as u64;
        let out = AxiOut { arvalid: u64::from(id < 3), ..read(id, BASE + 32 * (id & 1), 4) };
        port.cycle(&out);
        if out.arvalid & port.input.arready != 0 {
            accepted.push(now);
        }
        if port.input.rvalid != 0 {
            beats.push((now, port.input.rid, port.input.rdata, port.input.rlast));
        }
    }
    // The third address waits until the first burst has ended.
    assert_eq!(accepted, [0, 1, 8]);
    assert_eq!(beats[0], (5, 0, 100, 0));
    assert_eq!(beats[3], (8, 0, 103, 1));
    assert_eq!(beats[4], (9, 1, 104, 0));
    assert_eq!(beats[8], (13, 2, 100, 0));
    assert_eq!((beats.len(), port.port.bursts, port.port.violation()), (12, [3, 0], None));
}

#[test]
fn writes_take_their_latency_obey_strobes_and_fail() {
    let mut port = Port::new(Pace { write_latency: 7, ..Pace::even(1) });
    port.memory.store(BASE, 0x1111_1111_1111_1111);
    port.memory.inject(BASE + 64..BASE + 72, Failure::Write);
    port.memory.inject(BASE + 128..BASE + 136, Failure::Poison);
    port.memory.inject(BASE + 136..BASE + 144, Failure::Read);
    assert_eq!(port.write(BASE, 0x2222_2222_2222_2222, 0x0f, false), OKAY);
    // Address, data a cycle later, and seven cycles to the response.
    assert_eq!(port.now, 9);
    assert_eq!(port.memory.load(BASE), Some(0x1111_1111_2222_2222));
    assert_eq!((port.write(BASE + 64, 1, 0xff, false), port.memory.load(BASE + 64)), (SLVERR, Some(0)));
    assert_eq!(port.write(0x10, 1, 0xff, false), DECERR);
    assert_eq!((port.read(BASE + 128, false).1, port.input.rpoison), (OKAY, 1));
    assert_eq!((port.read(BASE + 136, false).1, port.read(0, false).1), (SLVERR, DECERR));
    assert_eq!(port.read(BASE, false), (0x1111_1111_2222_2222, OKAY));
    assert_eq!(port.port.violation(), None);
}

#[test]
fn an_exclusive_write_is_lost_to_whoever_wrote_in_between() {
    let mut port = Port::new(Pace::even(3));
    let at = BASE + 8;
    assert_eq!(port.read(at, true), (0, EXOKAY));
    assert_eq!((port.write(at, 5, 0xff, true), port.memory.load(at)), (EXOKAY, Some(5)));
    // Software that says so, even if it writes what was there.
    port.read(at, true);
    port.port.disturb(at + 4);
    assert_eq!((port.write(at, 6, 0xff, true), port.memory.load(at)), (OKAY, Some(5)));
    // An owner of the memory who says nothing: the value tells.
    port.read(at, true);
    port.memory.store(at, 7);
    assert_eq!((port.write(at, 6, 0xff, true), port.memory.load(at)), (OKAY, Some(7)));
    // The hardware's own plain write.
    port.read(at, true);
    assert_eq!(port.write(at, 7, 0xff, false), OKAY);
    assert_eq!((port.write(at, 6, 0xff, true), port.memory.load(at)), (OKAY, Some(7)));
    assert_eq!(port.port.violation(), None);
    // Nobody, and a memory that fails such writes half of the time.
    port.port.set_pace(Pace { exclusive_failures: 128, ..Pace::even(3) });
    let won = (0..64).filter(|_| {
        port.read(at, true);
        port.write(at, 8, 0xff, true) == EXOKAY
    });
    assert!((8..56).contains(&won.count()));
    port.write(at, 8, 0xff, true);
    assert!(port.port.violation().is_some_and(|what| what.contains("without an exclusive read")));
}

/// Whatever the pace, each read is answered with its data, within a bound, and in order for one id.
#[test]
fn reads_are_answered_at_every_pace() {
    let worst = Pace {
        jitter: 40,
        outstanding: 3,
        memory_pauses: 100,
        stalls: 60,
        interleaving: 128,
        data_first: true,
        ..Pace::even(9)
    };
    for (pace, slow) in [(Pace::even(1), false), (Pace::even(200), true), (worst, true), (worst, false)] {
        let mut port = Port::new(pace);
        port.port.set_slow(slow.then_some((BASE..BASE + 64, 500)));
        (0..512).for_each(|i| assert!(port.memory.store(BASE + 8 * i, 1000 + i)));
        let (mut asked, mut beats) = (0, vec![0; 8]);
        let mut order = Vec::new();
        while order.len() < 64 {
            let id = asked % 8;
            let free = beats[id as usize] == 0;
            let out = AxiOut { arvalid: u64::from(asked < 64 && free), ..read(id, BASE + 64 * asked, 8) };
            port.cycle(&out);
            if out.arvalid & port.input.arready != 0 {
                beats[id as usize] = 1 + 8 * asked;
                asked += 1;
            }
            if port.input.rvalid != 0 {
                let due = &mut beats[port.input.rid as usize];
                assert_eq!(port.input.rdata, 1000 + *due - 1);
                *due += 1;
                if port.input.rlast != 0 {
                    order.push(port.input.rid);
                    *due = 0;
                }
            }
            assert!(port.now < 100_000, "{pace:?}: {} answered", order.len());
        }
        assert!(port.port.is_idle() && port.port.violation().is_none());
        assert_eq!(order[0] != 0, slow || pace.jitter != 0, "others overtake what is slow: {order:?}");
    }
}

/// Memory of which some is near.
struct Near(Flat);

impl BusMemory for Near {
    fn load(&mut self, address: u64) -> Option<u64> {
        BusMemory::load(&mut self.0, address)
    }

    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        self.0.write(address, value, strobes)
    }

    fn due(&mut self, now: u64, address: u64, bytes: u64) -> Option<u64> {
        assert_eq!(bytes, 8);
        Some(now + if address < BASE + 64 { 3 } else { 30 })
    }
}

#[test]
fn memory_may_say_itself_how_long_it_takes() {
    let mut port = MemoryPort::new(Pace::even(10), RULES, 1);
    let mut memory = Near(Flat::new(BASE, 4096));
    let mut input = AxiIn::default();
    let mut answers = Vec::new();
    let far = read(1, BASE + 128, 1);
    let near = read(2, BASE, 1);
    for now in 0..40 {
        let idle = AxiOut { arvalid: 0, ..near };
        let out = match now {
            0 => far,
            1 => near,
            _ => idle,
        };
        port.cycle(now, &out, &mut input, &mut memory);
        if input.rvalid != 0 {
            answers.push((now, input.rid));
        }
    }
    assert_eq!((answers, port.violation()), (vec![(4, 2), (30, 1)], None));
}
