//! The rings of a network card.
//!
//! Each ring has descriptors of 16 bytes, completions of 16 bytes, and a buffer for each descriptor. For each packet: a line of 64 bytes
//! with four descriptors is read (every fourth packet of the ring), then it is received (the buffer written) or sent (the buffer
//! read, after a round trip of `pcie` cycles), and a completion is written. A packet of 1542 bytes is 7 bursts of 256, and 8.25
//! accesses in all, to 3 pages. What a translation cache must hold to lose nothing are 3 pages of each ring
//! that is in use, and it hits no second time on a buffer's page (at 2 KiB each, two share one) until the ring has gone round: 8 rings of
//! 512 buffers are 2048 pages. With `scatter` buffers are in no order, as after some time of recycling.
//! Tenants are address spaces of their own; `trains` packets of a ring come one after the other.
//! Defaults as in HyperTRIO (ISCA 2020): 1542 bytes at 200 Gbit/s are 62 cycles at 1 GHz, a round trip over PCIe 450.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::{Random, Shuffle};

parameters! {
    /// Rings of a network card, with tenants
    NicRings "nic_rings" {
        /// Packets
        packets = 262144, Legal::From(1, 1 << 40);
        /// Tenants, each an address space; a job has one
        tenants = 1, Legal::From(1, 65536);
        /// Rings of a tenant
        rings = 8, Legal::From(1, 1024);
        /// Descriptors of a ring
        descriptors = 512, Legal::Power(16, 65536);
        /// Bytes of a buffer
        buffer = 2048, Legal::Power(64, 65536);
        /// Bytes of a packet; 0: 64, 594 and 1518 bytes in the ratio 7 : 4 : 1
        packet = 1542, Legal::From(0, 65536);
        /// Percent of the packets that are sent, not received
        sent = 50, Legal::From(0, 100);
        /// Packets of a ring that come one after the other
        train = 4, Legal::From(1, 65536);
        /// Buffers are in no order: 1, or in order: 0
        scatter = 1, Legal::From(0, 1);
        /// Cycles from one packet to the next
        interval = 62, Legal::From(0, 1 << 30);
        /// Cycles of a round trip over PCIe, between the descriptor of a packet and its bytes
        pcie = 450, Legal::From(0, 1 << 30);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
        /// Seed of order and sizes
        seed = 1, Legal::From(0, u64::MAX);
    }
}

const DESCRIPTOR: u64 = 16;
const LINE: u64 = 64;

impl NicRings {
    /// What does not fit together.
    pub fn problems(&self) -> Vec<String> {
        let largest = if self.packet == 0 { 1518 } else { self.packet };
        if largest > self.buffer {
            let buffer = self.buffer;
            let mend = largest.next_power_of_two();
            return vec![format!(
                "work.nic_rings.buffer = {buffer}: packets have up to {largest} bytes; set it to {mend}"
            )];
        }
        if self.tenants * self.rings > 1 << 20 {
            return vec![format!(
                "work.nic_rings.rings = {}: with {} tenants more than 1048576 rings; set one of them lower",
                self.rings, self.tenants
            )];
        }
        Vec::new()
    }
}

pub struct NicRingsSteps {
    p: NicRings,
    random: Random,
    shuffle: Shuffle,
    /// Packets of each ring so far.
    heads: Vec<u32>,
    base: u64,
    /// Bytes from one ring to the next, and where completions and buffers are in it.
    pitch: u64,
    completions: u64,
    buffers: u64,
    done: u64,
    /// The ring whose train this is.
    ring: u64,
}

impl NicRingsSteps {
    pub fn new(p: &NicRings) -> NicRingsSteps {
        let mut space = Space::new();
        let base = space.array(p.descriptors * DESCRIPTOR);
        let completions = space.array(p.descriptors * DESCRIPTOR) - base;
        let buffers = space.array(p.descriptors * p.buffer) - base;
        let pitch = space.array(0) - base;
        NicRingsSteps {
            random: Random::new(p.seed),
            shuffle: Shuffle::new(p.descriptors, p.seed),
            heads: vec![0; (p.tenants * p.rings) as usize],
            base,
            pitch,
            completions,
            buffers,
            done: 0,
            ring: 0,
            p: p.clone(),
        }
    }

    fn size(&mut self) -> u64 {
        match (self.p.packet, self.random.below(12)) {
            (0, 0..7) => 64,
            (0, 7..11) => 594,
            (0, _) => 1518,
            (fixed, _) => fixed,
        }
    }
}

impl Steps for NicRingsSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        if self.done >= self.p.packets {
            return false;
        }
        if self.done.is_multiple_of(self.p.train) {
            self.ring = self.random.below(self.p.tenants * self.p.rings);
        }
        let ring = self.base + self.ring % self.p.rings * self.pitch;
        let head = u64::from(self.heads[self.ring as usize]);
        let place = head % self.p.descriptors;
        self.heads[self.ring as usize] = (head as u32).wrapping_add(1);
        let buffer = if self.p.scatter == 1 { self.shuffle.at(place) } else { place };
        let data = ring + self.buffers + buffer * self.p.buffer;
        let bytes = self.size();

        out.pasid((self.ring / self.p.rings) as u32);
        out.wait(self.p.interval);
        if (place * DESCRIPTOR).is_multiple_of(LINE) {
            out.read(ring + place * DESCRIPTOR, LINE);
        }
        if self.random.percent(self.p.sent) {
            out.wait(self.p.pcie);
            out.read(data, bytes);
        } else {
            out.write(data, bytes);
        }
        out.write(ring + self.completions + place * DESCRIPTOR, DESCRIPTOR);
        self.done += 1;
        true
    }
}
