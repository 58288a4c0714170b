//! Accesses per second of the fast engine, counting and estimating, on accelerator-like workloads made here and on the shipped traces: one core, processor
//! time, the making of the accesses included and, beside it, alone.
//!
//! `cargo run --release -p pasidon-fast --example speed [MILLIONS [WORKLOAD]]`

use pasidon_experiment::MachineModel;
use pasidon_experiment::pages::PageSize;
use pasidon_experiment::stream::{AccessStream, BATCH};
use pasidon_experiment::trace::{TraceAccess, TraceError, TraceOp};
use pasidon_fast::channel::Recorded;
use pasidon_fast::{Channel, Imagined, Uniform, count, estimate};
use pasidon_rtl::design::Design;
use std::path::Path;
use std::time::Instant;

/// What is done; `at` counts accesses.
#[derive(Clone, Copy)]
enum Pattern {
    /// Tiles of 64 by 64 words of 8 bytes of two matrices of 2048 by 2048, in bursts of 64 bytes; the result's tile is written.
    Gemm,
    /// Two matrices of 4096 by 4096 words by rows, in bursts of 256 bytes, a vector beside them.
    Gesummv,
    /// A vertex's edges in a row of 16 bytes, at random in 1 GiB, and a mark for each at random in 64 MiB.
    Bfs,
}

struct Made {
    pattern: Pattern,
    at: u64,
    count: u64,
    seed: u64,
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z ^ (z >> 27)
}

impl Made {
    #[inline]
    fn access(&mut self) -> TraceAccess {
        let at = self.at;
        let (op, address, size) = match self.pattern {
            Pattern::Gemm => {
                // A row of a tile has 8 bursts, a tile 64 rows; two tiles are read for each that is written in 32.
                let (burst, row, tile) = (at & 7, at >> 3 & 63, at >> 9);
                let (matrix, place) = match tile % 65 {
                    64 => (2, tile / 65),
                    part => {
                        (part & 1, if part & 1 == 0 { part >> 1 } else { (part >> 1) * 32 + tile / 65 % 32 })
                    }
                };
                let (y, x) = (place / 32 % 32 * 64 + row, place % 32 * 64);
                let op = if matrix == 2 { TraceOp::Write } else { TraceOp::Read };
                (op, 0x1000_0000 + (matrix << 26) + (y * 2048 + x) * 8 + burst * 64, 64)
            }
            Pattern::Gesummv => match at % 5 {
                4 => (TraceOp::Read, 0x5000_0000 + ((at / 5 * 256) & 0x7fff), 256),
                part => (
                    TraceOp::Read,
                    0x1000_0000 + ((part & 1) << 28) + ((at / 5 * 512 + (part >> 1) * 256) & 0x7ff_ffff),
                    256,
                ),
            },
            Pattern::Bfs => {
                self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let random = mix(self.seed);
                if at & 1 == 0 {
                    (TraceOp::Read, 0x4000_0000 + (random >> 34 & 0x3fff_fff0), 16)
                } else {
                    (TraceOp::Write, 0x8000_0000 + (random >> 38 & 0x3ff_ffff), 1)
                }
            }
        };
        self.at += 1;
        TraceAccess { pasid: 0, op, address, size, gap: 0 }
    }
}

impl AccessStream for Made {
    fn name(&self) -> String {
        "made".into()
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        batch.clear();
        let count = (self.count - self.at).min(BATCH as u64);
        batch.extend((0..count).map(|_| self.access()));
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        (self.at, self.seed) = (0, 1);
        Ok(())
    }
}

fn made(pattern: Pattern, count: u64) -> Box<dyn AccessStream> {
    Box::new(Made { pattern, at: 0, count, seed: 1 })
}

fn channel(pattern: Pattern, count: u64) -> Vec<Channel> {
    let stream = made(pattern, count);
    vec![Channel { device: 0, process: 0, port: 0, depth: 8, gap: 0, requests: None, part: None, stream }]
}

/// Seconds of processor time of this thread, so that others on the machine don't matter; of wall time where the system does not say.
fn clock(begun: Instant) -> f64 {
    let said = std::fs::read_to_string("/proc/self/schedstat").ok();
    let ran = said.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    ran.map_or(begun.elapsed().as_secs_f64(), |ran| ran as f64 / 1e9)
}

/// Millions of accesses per second.
fn rate(count: u64, run: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    let before = clock(begun);
    run();
    count as f64 / (clock(begun) - before) / 1e6
}

/// A shipped trace on one channel, again and again.
fn traced(name: &str, count: u64) -> Vec<Channel> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../traces/{name}.trace.gz"));
    let trace = pasidon_experiment::trace::load(&file).unwrap_or_else(|error| panic!("{error}"));
    let stream = Box::new(Recorded::new(name, trace.accesses));
    vec![Channel {
        device: 0,
        process: 0,
        port: 0,
        depth: 8,
        gap: 0,
        requests: Some(count),
        part: None,
        stream,
    }]
}

fn measure(design: &str, what: &str, alone: Option<f64>, total: u64, channels: impl Fn(u64) -> Vec<Channel>) {
    let design = Design::shipped(design).expect("shipped");
    let mapping = Uniform::new(PageSize::Base, (1 << 38) - 1);
    let imagined = Imagined::default();
    let mut hits = 0.0;
    let work = channels(total);
    let counted = rate(total, || {
        hits = count(&design, &mapping, &imagined, work).expect("counts").l1.hit_rate();
    });
    let few = total / 5;
    let work = channels(few);
    let estimated = rate(few, || {
        let result = estimate(&design, &MachineModel::default(), &mapping, &imagined, work);
        std::hint::black_box(result.expect("estimates"));
    });
    let alone = alone.map_or(String::new(), |alone| format!("{alone:.0}"));
    let name = &design.name;
    println!("| {name} | {what} ({:.1} % L1 hits) | {alone} | {counted:.1} | {estimated:.1} |", 100.0 * hits);
}

fn main() {
    let millions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(50u64);
    let only = std::env::args().nth(2);
    let wanted = |what: &str| only.as_ref().is_none_or(|only| only == what);
    let total = millions * 1_000_000;
    println!(
        "million accesses per second, one core; {millions} million accesses counted, a fifth of them estimated"
    );
    println!("| design | workload | made alone | counted | estimated |");
    println!("|---|---|---|---|---|");
    for design in ["default", "large"] {
        for (what, pattern) in [("gemm", Pattern::Gemm), ("gesummv", Pattern::Gesummv), ("bfs", Pattern::Bfs)]
        {
            if !wanted(what) {
                continue;
            }
            let alone = rate(total, || {
                let (mut stream, mut batch, mut sum) = (made(pattern, total), Vec::new(), 0u64);
                while stream.next_batch(&mut batch).is_ok() && !batch.is_empty() {
                    sum = batch.iter().fold(sum, |sum, access| sum ^ access.address);
                }
                std::hint::black_box(sum);
            });
            measure(design, what, Some(alone), total, |count| channel(pattern, count));
        }
        for what in ["sort", "sqlite", "gzip", "xz"].into_iter().filter(|what| wanted(what)) {
            measure(design, what, None, total, |count| traced(what, count));
        }
    }
}
