//! Measures how fast each generator gives accesses, on one core: the table of docs/workloads.md.
//!
//! `cargo run --release -p pasidon-experiment --example workload_speed`

use pasidon_experiment::generate::generators;
use pasidon_experiment::workload;
use std::time::{Duration, Instant};

/// Each generator runs at least this long, from the beginning again as needed.
const TIME: Duration = Duration::from_secs(1);
/// Accesses of a part that is measured.
const PART: u64 = 2_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| workload | M accesses/s |\n|---|---:|");
    for work in generators() {
        let mut stream = workload(&work)?;
        let (mut batch, mut begins) = (Vec::new(), true);
        let (mut best, mut count, mut spent) = (0f64, 0u64, Duration::ZERO);
        let deadline = Instant::now() + TIME;
        while Instant::now() < deadline || best == 0.0 {
            let begun = Instant::now();
            stream.next_batch(&mut batch)?;
            // The first batch has what is made once: a graph's degrees.
            if !std::mem::replace(&mut begins, batch.is_empty()) {
                spent += begun.elapsed();
                count += batch.len() as u64;
            }
            if begins {
                stream.rewind()?;
            }
            if count >= PART {
                // The best of some parts: what others do on the machine is not the generator's.
                best = best.max(count as f64 / spent.as_secs_f64());
                (count, spent) = (0, Duration::ZERO);
            }
        }
        println!("| `{}` | {:.0} |", work.name(), best / 1e6);
    }
    Ok(())
}
