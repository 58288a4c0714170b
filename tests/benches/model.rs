//! How fast the verilated model of `default` runs when it is busy: a hit on every port in every cycle. The machine around it
//! does nothing, so that this is the model's own speed; `pasidon run` reports that of model and machine together.

#![allow(missing_docs, reason = "criterion's macro makes a function that nobody calls by name")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pasidon_cosim::verilated::Verilated;
use pasidon_spec::page_table::SV39;
use pasidon_tests::tables::{bits, entry, plain_dc, pointer};
use pasidon_tests::{Query, Rig};
use std::time::Instant;

const DID: u32 = 0x15;
const VA: u64 = 0x12_3456_7000;
const PAGES: u64 = 8;
const CYCLES: u64 = 1_000_000;

/// A model whose L1s hold `PAGES` pages.
fn warm() -> (Verilated, usize) {
    let mut rig = Rig::ready("default", 1, 1);
    rig.new_directory(1);
    let root = rig.page();
    rig.set_dc(DID, plain_dc(pointer(SV39.mode, root), 1));
    let ports = rig.design.ports as usize;
    for i in 0..PAGES {
        rig.map(&SV39, root, VA + i * 4096, 0, entry(0x4000_0000 + (i << 13), bits::ALL));
        for port in 0..ports {
            rig.ask(port, Query::read(DID, None, VA + i * 4096));
        }
    }
    rig.settle();
    (rig.into_verilated(), ports)
}

/// Runs `cycles` cycles with every port asking in each; returns the hits.
fn hits(model: &mut Verilated, ports: usize, cycles: u64) -> u64 {
    let mut hits = 0;
    for cycle in 0..cycles {
        for port in 0..ports {
            let input = &mut model.input.req[port];
            input.valid = 1;
            input.id = cycle & 15;
            input.device_id = DID.into();
            input.pid_valid = 0;
            input.iova = VA + (cycle + port as u64) % PAGES * 4096;
            input.rsp_ready = 1;
        }
        model.tick();
        hits += u64::from(model.output.ev_hit.count_ones());
    }
    hits
}

fn busy(c: &mut Criterion) {
    let (mut model, ports) = warm();
    let start = Instant::now();
    let seen = hits(&mut model, ports, CYCLES);
    let speed = CYCLES as f64 / start.elapsed().as_secs_f64();
    assert!(seen + 10 >= CYCLES * ports as u64, "{seen} hits in {CYCLES} cycles: the model is not busy");
    println!("default, a hit on each of {ports} ports in each cycle: {speed:.0} cycles per second");
    let mut group = c.benchmark_group("model");
    group.throughput(Throughput::Elements(10_000)).sample_size(20);
    group.bench_function("default, busy, 10,000 cycles", |b| b.iter(|| hits(&mut model, ports, 10_000)));
    group.finish();
}

criterion_group!(benches, busy);
criterion_main!(benches);
