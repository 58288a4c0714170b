//! Accesses per second of the fast engine, counting and estimating, on generators and shipped traces: processor time of one core, the
//! making of the accesses included and, beside it, alone.
//!
//! `cargo run --release -p pasidon-fast --example speed [MILLIONS [WORKLOAD]]`

use pasidon_experiment::pages::PageSize;
use pasidon_experiment::stream::AccessStream;
use pasidon_experiment::{MachineModel, Work, workload};
use pasidon_fast::channel::Recorded;
use pasidon_fast::{Channel, Imagined, Uniform, count, estimate};
use pasidon_rtl::design::Design;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

/// Generators that are measured.
const GENERATORS: [&str; 4] = ["gemm", "gesummv", "bfs", "nic_rings"];
/// Shipped traces that are measured.
const TRACES: [&str; 4] = ["sort", "sqlite", "gzip", "xz"];

/// Seconds of processor time of this thread, so that others on the machine don't matter; of wall time where the system does not say.
fn clock(begun: Instant) -> f64 {
    let said = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let ran = said.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    ran.map_or(begun.elapsed().as_secs_f64(), |ran| ran as f64 / 1e9)
}

/// Millions of accesses per second.
fn rate(count: u64, run: impl FnOnce() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let before = clock(begun);
    run()?;
    Ok(count as f64 / (clock(begun) - before) / 1e6)
}

/// A work as the engine takes it; a trace from memory, so that its decompression is not measured. A generator's first batch has
/// been made before: it costs what is made once.
fn stream(work: &Work) -> Result<Box<dyn AccessStream>, Box<dyn Error>> {
    if let Work::Trace(path) = work {
        let trace = pasidon_experiment::trace::load(path)?;
        return Ok(Box::new(Recorded::new("trace", trace.accesses)));
    }
    Ok(workload(work)?)
}

/// One channel that does so many of a work's accesses, from its beginning again as needed.
fn channels(work: &Work, count: u64) -> Result<Vec<Channel>, Box<dyn Error>> {
    let stream = stream(work)?;
    let requests = Some(count);
    Ok(vec![Channel { device: 0, process: 0, port: 0, depth: 8, gap: 0, requests, part: None, stream }])
}

/// Accesses without an engine.
fn alone(work: &Work, count: u64) -> Result<f64, Box<dyn Error>> {
    let mut stream = stream(work)?;
    rate(count, || {
        let (mut batch, mut sum, mut left) = (Vec::new(), 0u64, count);
        while left > 0 {
            stream.next_batch(&mut batch)?;
            if batch.is_empty() {
                stream.rewind()?;
            }
            left = left.saturating_sub(batch.len() as u64);
            sum = batch.iter().fold(sum, |sum, access| sum ^ access.address);
        }
        std::hint::black_box(sum);
        Ok(())
    })
}

fn measure(design: &str, name: &str, work: &Work, total: u64) -> Result<(), Box<dyn Error>> {
    let design = Design::shipped(design).ok_or("a shipped design")?;
    let mapping = Uniform::new(PageSize::Base, (1 << 38) - 1);
    let imagined = Imagined::default();
    let made = alone(work, total)?;
    let mut hits = 0.0;
    let all = channels(work, total)?;
    let counted = rate(total, || {
        hits = count(&design, &mapping, &imagined, all)?.l1.hit_rate();
        Ok(())
    })?;
    let few = total / 5;
    let some = channels(work, few)?;
    // The run without translation that an estimate is compared with is part of it.
    let estimated = rate(few, || {
        std::hint::black_box(estimate(&design, &MachineModel::default(), &mapping, &imagined, some)?);
        Ok(())
    })?;
    println!(
        "| {} | {name} | {:.1} % | {made:.0} | {counted:.1} | {estimated:.1} |",
        design.name,
        100.0 * hits
    );
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let millions = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(20u64);
    let only = std::env::args().nth(2);
    let total = millions * 1_000_000;
    println!(
        "Million accesses per second of one core's processor time; {millions} million counted, a fifth of them estimated.\n"
    );
    println!("| design | work | L1 hits | accesses alone | counts | estimates |");
    println!("|---|---|---:|---:|---:|---:|");
    for design in ["default", "large"] {
        let generators = GENERATORS.map(|name| (name, Work::named(name)));
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces");
        let traces = TRACES.map(|name| (name, Ok(Work::Trace(folder.join(format!("{name}.trace.gz"))))));
        for (name, work) in generators.into_iter().chain(traces) {
            if only.as_ref().is_none_or(|only| only == name) {
                measure(design, name, &work?, total)?;
            }
        }
    }
    Ok(())
}
