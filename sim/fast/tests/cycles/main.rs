//! The estimate of cycles against the hardware, on the shipped traces as `pasidon run --resident` replays them: each program twice,
//! on two devices, eight requests under way of each. Says how far off it is, as a table; since the engine's pipeline is that of the
//! hardware, it is not.
//!
//! One test takes part of two traces on two designs; `CYCLES=all` takes all of all on the three shipped ones, which takes half an hour.
//! Another takes a little of a trace on random designs: `SEED` repeats it, `DESIGNS` says on how many.

#[path = "../common/mod.rs"]
mod common;

use common::{given, pick, random_design};
use pasidon_cosim::{Cache, Flavour, Random};
use pasidon_experiment::MachineModel;
use pasidon_experiment::answer::Times;
use pasidon_experiment::counts::Counts;
use pasidon_experiment::machine::MemoryModel;
use pasidon_experiment::trace::{Trace, TraceAccess, TraceOp};
use pasidon_fast::channel::{Channel, Recorded};
use pasidon_fast::{Imagined, Uniform, estimate};
use pasidon_machine::machine::{MachineConfig, endless};
use pasidon_machine::report::RunReport;
use pasidon_machine::run::{RunOptions, run};
use pasidon_rtl::design::Design;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn trace_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../traces").join(format!("{name}.trace.gz"))
}

/// Each access as the machine's devices send it.
fn requests(trace: &Trace) -> Vec<TraceAccess> {
    let mut list = Vec::new();
    for access in &trace.accesses {
        let ops: &[TraceOp] = match access.op {
            TraceOp::Modify => &[TraceOp::Read, TraceOp::Write],
            ref op => std::slice::from_ref(op),
        };
        for &op in ops {
            let (mut address, mut left) = (access.address, access.size);
            while left > 0 {
                let size = left.min(4096 - (address % 4096) as u32);
                list.push(TraceAccess { op, address, size, ..*access });
                address += u64::from(size);
                left -= size;
            }
        }
    }
    list
}

/// Sixteen reads of tables at a time, and no limit for data.
fn machine(latency: u32) -> MachineModel {
    let tables = MemoryModel { latency, outstanding: 16, ..MemoryModel::default() };
    MachineModel { tables, data: endless(latency), ..MachineModel::default() }
}

fn hardware(
    design: &Design,
    name: &str,
    (latency, depth): (u32, u32),
    limit: Option<u64>,
    flavour: Flavour,
) -> RunReport {
    let machine = MachineConfig::of(machine(latency), 1);
    let traces = vec![trace_file(name)];
    let options = RunOptions {
        traces,
        machine,
        requests: limit,
        resident: true,
        depth,
        flavour,
        progress: false,
        ..RunOptions::default()
    };
    run(design, &Cache::in_workspace().quiet(), &options).unwrap_or_else(|error| panic!("{error}"))
}

fn engine(
    design: &Design,
    trace: &Trace,
    (latency, depth): (u32, u32),
    limit: Option<u64>,
) -> (Counts, Times) {
    let requests = requests(trace);
    let highest = requests.iter().map(|r| r.address + u64::from(r.size) - 1).max().unwrap_or(0);
    let halves: Vec<Arc<[TraceAccess]>> =
        (0..2).map(|d| requests[requests.len() * d / 2..requests.len() * (d + 1) / 2].into()).collect();
    let channel = |process: u32, device: u32| {
        let index = u64::from(process * 2 + device);
        Channel {
            device,
            process,
            port: device,
            depth,
            gap: 0,
            requests: limit.map(|limit| limit / 4 + u64::from(index < limit % 4)),
            part: None,
            stream: Box::new(Recorded::new("half", halves[device as usize].clone())),
        }
    };
    let channels = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(process, device)| channel(process, device));
    let machine = machine(latency);
    let mapping = Uniform::new(pasidon_experiment::pages::PageSize::Base, highest);
    estimate(design, &machine, &mapping, &Imagined::default(), channels.into())
        .unwrap_or_else(|error| panic!("{error}"))
}

fn percent(ours: u64, theirs: u64) -> f64 {
    100.0 * (ours as f64 / theirs.max(1) as f64 - 1.0)
}

/// Runs both, and says how they compare. Returns the error in percent.
fn compare(design: &Design, name: &str, pace: (u32, u32), limit: Option<u64>, flavour: Flavour) -> f64 {
    let trace = pasidon_experiment::trace::load(&trace_file(name)).unwrap_or_else(|error| panic!("{error}"));
    let rtl = hardware(design, name, pace, limit, flavour);
    let (counts, times) = engine(design, &trace, pace, limit);
    let error = percent(times.cycles, rtl.cycles);
    println!(
        "| {} | {name} | {} | {} | {} | {} | {} | {error:+.2} % |",
        design.name, pace.0, pace.1, rtl.requests, rtl.cycles, times.cycles
    );
    let ours = [counts.requests, counts.bytes, counts.l1.lookups, counts.l1.hits, counts.walks];
    assert_eq!(ours, [rtl.requests, rtl.bytes, rtl.iotlb.lookups, rtl.iotlb.hits, rtl.walks], "{design:?}");
    assert_eq!(counts.reads.total(), rtl.memory_reads, "{design:?}");
    let latency = [times.latency.min, times.latency.p50, times.latency.max];
    assert_eq!(latency, [rtl.latency.min, rtl.latency.p50, rtl.latency.max], "{design:?}");
    error
}

fn heading() {
    println!("| design | trace | latency | depth | requests | cycles, RTL | estimate | error |");
    println!("|---|---|---|---|---|---|---|---|");
}

#[test]
fn cycles_equal_the_hardware_on_the_shipped_traces() {
    let all = std::env::var("CYCLES").is_ok_and(|value| value == "all");
    let designs: &[&str] = if all { &["tiny", "default", "large"] } else { &["tiny", "default"] };
    let traces: &[&str] = if all { &["sort", "sqlite", "gzip", "xz"] } else { &["sort", "sqlite"] };
    let limit = if all { None } else { Some(20_000) };
    heading();
    for name in traces {
        for design in designs {
            let design = Design::shipped(design).expect("shipped");
            for latency in [1, 20, 100] {
                assert_eq!(compare(&design, name, (latency, 8), limit, Flavour::Fast), 0.0);
            }
        }
    }
}

#[test]
fn cycles_equal_the_hardware_on_random_designs() {
    let seed = given("SEED", 20_261_129);
    heading();
    for number in 0..given("DESIGNS", 4) {
        let seed = seed + number;
        println!("SEED={seed} DESIGNS=1");
        let mut random = Random::new(seed);
        let design = random_design(&mut random, number);
        for _ in 0..3 {
            let pace = (1 + random.below(40) as u32, pick(&mut random, &[1, 2, 4, 8, 20]));
            // The traces need addresses of 38 bits.
            let name = pick(&mut random, &["sort", "sqlite", "gzip", "xz"]);
            assert_eq!(compare(&design, name, pace, Some(3000), Flavour::Quick), 0.0, "{design:?}");
        }
    }
}
