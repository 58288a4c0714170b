//! When requests go one at a time, the fast engine's counts equal the hardware's: random designs, random pages, random workloads.
//!
//! `SEED` repeats a run; `DESIGNS` says how many designs are tried.

#[path = "../common/mod.rs"]
mod common;
mod hardware;

use common::{given, pick, random_design};
use hardware::{Ask, Hardware};
use pasidon_cosim::Random;
use pasidon_cosim::random::mix;
use pasidon_experiment::Counts;
use pasidon_experiment::trace::{TraceAccess, TraceOp};
use pasidon_fast::channel::{Channel, Recorded};
use pasidon_fast::pages::{Pages, need};
use pasidon_fast::{Imagined, Mapping, Page, count};
use pasidon_rtl::design::Design;

/// Pages of every size, some of which don't allow everything, and holes.
struct Patchwork {
    seed: u64,
    bits: u32,
}

impl Mapping for Patchwork {
    fn page(&self, process: u32, address: u64) -> Option<Page> {
        let dice = |shift: u32| {
            mix(self.seed ^ mix(u64::from(process) << 40 | address >> shift << 8 | u64::from(shift)))
        };
        let shift = if dice(30) % 4 == 0 {
            30
        } else if dice(21) % 3 == 0 {
            21
        } else if dice(16) % 3 == 0 {
            16
        } else {
            12
        };
        let kind = dice(shift) >> 32 & 31;
        (kind != 0).then_some(Page { shift, read: true, write: kind > 3, exec: kind % 2 == 0 })
    }

    fn highest(&self, _: u32) -> u64 {
        (1 << self.bits) - 1
    }
}

/// Accesses with some locality, in a few gigabytes.
fn accesses(random: &mut Random, count: usize, bits: u32) -> Vec<TraceAccess> {
    let spots: Vec<u64> =
        (0..4).map(|_| random.below(1 << (bits - 31)) << 30 | random.below(1 << 30)).collect();
    let spread = [12, 14, 17, 22, 30][random.below(5) as usize];
    let mut address = spots[0];
    (0..count)
        .map(|_| {
            match random.below(8) {
                0 => {
                    address =
                        spots[random.below(4) as usize] & !((1 << spread) - 1) | random.below(1 << spread)
                }
                1 => address ^= random.below(1 << spread),
                _ => address += 64,
            }
            address &= (1 << (bits - 1)) - 1;
            let ops = [TraceOp::Read, TraceOp::Read, TraceOp::Write, TraceOp::Modify, TraceOp::Fetch];
            let size = pick(random, &[1, 8, 64, 64, 300, 5000]);
            TraceAccess { pasid: 0, op: pick(random, &ops), address, size, gap: 0 }
        })
        .collect()
}

/// The requests of an access, as the devices of the machine cut them.
fn requests(access: &TraceAccess) -> Vec<(u64, u32, u8)> {
    let needs: &[u8] = match access.op {
        TraceOp::Read => &[need::READ],
        TraceOp::Write => &[need::WRITE],
        TraceOp::Fetch => &[need::EXEC],
        TraceOp::Modify => &[need::READ, need::WRITE],
    };
    let mut list = Vec::new();
    for &need in needs {
        let (mut address, mut left) = (access.address, u64::from(access.size));
        while left > 0 {
            let bytes = left.min(4096 - address % 4096);
            list.push((address, bytes as u32, need));
            address += bytes;
            left -= bytes;
        }
    }
    list
}

/// What both must agree on.
fn visible(counts: &Counts) -> Counts {
    let mut seen = Counts { walks: counts.walks, reads: counts.reads, ..Counts::default() };
    (seen.l1.lookups, seen.l1.hits) = (counts.l1.lookups, counts.l1.hits);
    (seen.l2.lookups, seen.l2.hits) = (counts.l2.lookups, counts.l2.hits);
    (seen.ddtc.lookups, seen.ddtc.fills) = (counts.ddtc.lookups, counts.ddtc.fills);
    (seen.pdtc.lookups, seen.pdtc.fills) = (counts.pdtc.lookups, counts.pdtc.fills);
    seen
}

/// One workload on one design; how many requests there were.
fn agree(design: &Design, seed: u64, length: usize) -> u64 {
    let mut random = Random::new(seed);
    let bits = if design.sv57 {
        52
    } else if design.sv48 {
        44
    } else {
        39
    };
    let mapping = Patchwork { seed, bits: bits - 1 };
    let devices = 1 + random.below(4.min(1 << design.device_id_width));
    let processes = 1 + random.below(4);
    let list: Vec<(u32, u32, u32, Vec<TraceAccess>)> = (0..1 + random.below(5))
        .map(|_| {
            let (device, process) = (random.below(devices) as u32, random.below(processes) as u32);
            let port = random.below(4) as u32;
            let count = length / 2 + random.below(length as u64) as usize;
            (device, process, port, accesses(&mut random, count, bits))
        })
        .collect();
    let channels = list.iter().map(|(device, process, port, accesses)| Channel {
        device: *device,
        process: *process,
        port: *port,
        depth: 1,
        gap: 0,
        requests: None,
        part: None,
        stream: Box::new(Recorded::new("random", accesses.clone())),
    });
    let counted = count(design, &mapping, &Imagined::default(), channels.collect()).expect("counts");

    // The same tables, and the requests in the same order.
    let mut pages = Pages::new(design, false).expect("suitable");
    let mut bindings = Vec::new();
    for (device, process, ..) in &list {
        bindings.push(pages.bind(*device, *process, &mapping).expect("binds"));
    }
    let queues: Vec<Vec<(u64, u32, u8)>> =
        list.iter().map(|(.., accesses)| accesses.iter().flat_map(requests).collect()).collect();
    let longest = queues.iter().map(Vec::len).max().unwrap_or(0);
    let mut asks = Vec::new();
    for turn in 0..longest {
        for (index, queue) in queues.iter().enumerate() {
            let Some(&(address, bytes, need)) = queue.get(turn) else { continue };
            pages.find(bindings[index], address, &mapping).expect("fits");
            let binding = pages.binding(bindings[index]);
            let (device_id, process_id) = (binding.device_id, binding.process_id);
            let port = (list[index].2 % design.ports) as usize;
            asks.push(Ask { port, device_id, process_id, address, bytes, need });
        }
    }
    let mut hardware = Hardware::new(design, &pages.tables, seed);
    let (mut faults, mut bytes) = (0, 0);
    for ask in &asks {
        match hardware.ask(ask).success() {
            None => faults += 1,
            Some(_) => bytes += u64::from(ask.bytes),
        }
    }
    let seen = hardware.counts(design, &pages.tables);
    assert_eq!(visible(&counted), seen, "SEED={seed} on {design:?}");
    assert_eq!(
        (counted.faults, counted.bytes, counted.requests),
        (faults, bytes, asks.len() as u64),
        "SEED={seed}"
    );
    asks.len() as u64
}

#[test]
fn counts_equal_the_hardware_when_requests_go_one_at_a_time() {
    let seed = given("SEED", 20_261_129);
    let designs = given("DESIGNS", 6);
    let mut total = 0;
    for number in 0..designs {
        let seed = seed + number;
        println!("SEED={seed} DESIGNS=1");
        let design = random_design(&mut Random::new(seed), number);
        for workload in 0..4 {
            total += agree(&design, mix(seed) + workload, 300);
        }
    }
    println!("{designs} designs, {} workloads, {total} requests: all counts are equal", 4 * designs);
}

#[test]
fn counts_equal_on_the_shipped_designs() {
    let seed = given("SEED", 7);
    println!("SEED={seed}");
    for name in ["tiny", "default"] {
        let text = format!("base = \"{name}\"\nname = \"{name}\"\n[address]\npas = 46\n");
        let design = Design::from_toml(&text, name).expect("valid");
        agree(&design, seed, 1000);
    }
}
