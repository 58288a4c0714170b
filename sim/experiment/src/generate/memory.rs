//! A copy engine, and a storm of page faults.
//!
//! - memcpy: two streams, one read, one written, a chunk of each in turn; nothing is used twice. With chunks of 4 KiB a page is touched by
//!   4096 / burst accesses one after the other.
//! - fault_storm: one process, or several in turn, touch their pages in a random order, each `touches` times: with demand paging each first touch is a page
//!   request, and no cache helps. The first accesses after a fork, of a just-in-time compiler's heap, of a graph that is loaded.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::{Random, Shuffle};

parameters! {
    /// A copy of memory by a DMA engine
    Memcpy "memcpy" {
        /// Bytes to copy
        bytes = 67108864, Legal::From(1, 1 << 36);
        /// Bytes that are read before they are written
        chunk = 4096, Legal::From(64, 1048576);
        /// Bytes by which the destination is off a page
        offset = 0, Legal::From(0, 4095);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
    }
}

pub struct MemcpySteps {
    p: Memcpy,
    from: u64,
    to: u64,
    at: u64,
}

impl MemcpySteps {
    pub fn new(p: &Memcpy) -> MemcpySteps {
        let mut space = Space::new();
        let (from, to) = (space.array(p.bytes), space.array(p.bytes + p.offset) + p.offset);
        MemcpySteps { p: p.clone(), from, to, at: 0 }
    }
}

impl Steps for MemcpySteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let bytes = self.p.chunk.min(self.p.bytes - self.at);
        if bytes == 0 {
            return false;
        }
        out.read(self.from + self.at, bytes);
        out.write(self.to + self.at, bytes);
        self.at += bytes;
        true
    }
}

parameters! {
    /// Page after page touched for the first time, in random order, by one process or by several in turn
    FaultStorm "fault_storm" {
        /// Pages of 4 KiB of each process
        pages = 16384, Legal::From(1, 1 << 24);
        /// Processes
        processes = 1, Legal::From(1, 4096);
        /// Accesses of a page, one after the other
        touches = 1, Legal::From(1, 64);
        /// Bytes of an access
        bytes = 64, Legal::From(1, 4096);
        /// Percent of the pages that are written
        writes = 50, Legal::From(0, 100);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
        /// Seed of the order
        seed = 1, Legal::From(0, u64::MAX);
    }
}

pub struct FaultStormSteps {
    p: FaultStorm,
    random: Random,
    /// The order of the pages of each process.
    orders: Vec<Shuffle>,
    base: u64,
    at: u64,
}

impl FaultStormSteps {
    pub fn new(p: &FaultStorm) -> FaultStormSteps {
        let orders = (0..p.processes).map(|process| Shuffle::new(p.pages, p.seed ^ process << 32)).collect();
        FaultStormSteps { p: p.clone(), random: Random::new(p.seed), orders, base: Space::BASE, at: 0 }
    }
}

impl Steps for FaultStormSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let FaultStorm { pages, processes, touches, bytes, writes, .. } = self.p;
        if self.at >= pages * processes {
            return false;
        }
        let process = self.at % processes;
        let page = self.base + self.orders[process as usize].at(self.at / processes) * 4096;
        let write = self.random.percent(writes);
        out.pasid(process as u32);
        for _ in 0..touches {
            let address = page + self.random.below(4096 / bytes) * bytes;
            if write { out.write(address, bytes) } else { out.read(address, bytes) }
        }
        self.at += 1;
        true
    }
}
