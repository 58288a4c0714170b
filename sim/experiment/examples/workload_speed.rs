//! Measures how fast each generator gives accesses, on one core: the table of docs/workloads.md.
//!
//! `cargo run --release -p pasidon-experiment --example workload_speed`

use pasidon_experiment::generate::generators;
use pasidon_experiment::workload;

/// Processor time that each generator gets.
const NANOSECONDS: u64 = 1_000_000_000;
/// Batches between two looks at the clock.
const BATCHES: usize = 100;

/// Processor time of this thread in nanoseconds: others on the machine don't count.
fn spent() -> Result<u64, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("| workload | M accesses/s |\n|---|---:|");
    for work in generators() {
        let mut stream = workload(&work)?;
        let mut batch = Vec::new();
        // The first batch has what is made once: a graph's degrees.
        stream.next_batch(&mut batch)?;
        let (mut count, mut time) = (0u64, 0u64);
        while time < NANOSECONDS {
            let begun = spent()?;
            for _ in 0..BATCHES {
                stream.next_batch(&mut batch)?;
                count += batch.len() as u64;
            }
            time += spent()? - begun;
            if batch.is_empty() {
                stream.rewind()?;
                stream.next_batch(&mut batch)?;
            }
        }
        println!("| `{}` | {:.0} |", work.name(), count as f64 * 1e3 / time as f64);
    }
    Ok(())
}
