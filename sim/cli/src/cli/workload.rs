//! `pasidon workload`: what there is, and what each is like.

use super::{Failure, write_json};
use clap::{Args, Subcommand};
use pasidon_experiment::Work;
use pasidon_experiment::generate::{generators, workload};
use pasidon_experiment::portrait::picture::Picture;
use pasidon_experiment::portrait::{Portrait, SIZES};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Cells of the picture in the terminal.
const TEXT: (usize, usize) = (96, 24);
/// Cells of the picture in a file.
const SVG: (usize, usize) = (280, 160);

#[derive(Subcommand)]
pub enum Command {
    /// List the workloads
    List,
    /// Show what a workload is like: parameters, accesses, pages, reuse, a picture of addresses over time
    #[command(after_help = "\
Examples:
  pasidon workload show gemm
  pasidon workload show gemm --set m=1k --set tile_m=128 --svg gemm.svg
  pasidon workload show traces/sort.trace.gz

In an experiment it is `work = { gemm = { m = 1024, tile_m = 128 } }`.")]
    Show(Box<Show>),
}

#[derive(Args)]
pub struct Show {
    /// A workload (`pasidon workload list`), or a trace of any form
    work: String,
    /// Set a parameter; k, m and g are 2^10, 2^20 and 2^30
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Count at most N accesses
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    limit: u64,
    /// Write the picture as an SVG file too
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Write the numbers as JSON too
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Serialize)]
struct Report<'a> {
    work: &'a Work,
    portrait: &'a Portrait,
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::List => {
                for work in generators() {
                    if let Some(generator) = work.generator() {
                        println!("{:13} {}", generator.name, generator.about);
                    }
                }
                println!("\n`pasidon workload show NAME` tells the parameters of one, and what it is like.");
                Ok(())
            }
            Command::Show(show) => show.run(),
        }
    }
}

impl Show {
    fn run(self) -> Result<(), Failure> {
        let mut work = match Work::named(&self.work) {
            Ok(work) => work,
            Err(_) if Path::new(&self.work).is_file() => Work::Trace(PathBuf::from(&self.work)),
            Err(problem) => return Err(format!("{problem}; nor is there a file of that name").into()),
        };
        for setting in &self.set {
            work.set(setting)?;
        }
        let mut stream = workload(&work)?;
        println!("{}", stream.name());
        if let Some(generator) = work.generator() {
            println!("{}\n", generator.about);
            for (p, value) in generator.table.iter().zip(&generator.values) {
                let changed =
                    if *value == p.default { String::new() } else { format!(", by default {}", p.default) };
                println!("  {:12} {value:>11}  {} ({}{changed})", p.name, p.what, p.legal);
            }
        }
        let (portrait, tally) = Portrait::of(stream.as_mut(), self.limit)?;
        println!();
        print_numbers(&portrait);
        stream.rewind()?;
        println!("\nAddresses over time, touched memory only: - read, w written, # both\n");
        print!("{}", Picture::of(stream.as_mut(), &tally, portrait.accesses, TEXT)?.text());
        if let Some(path) = self.svg {
            stream.rewind()?;
            let svg = Picture::of(stream.as_mut(), &tally, portrait.accesses, SVG)?.svg(&stream.name());
            std::fs::write(&path, svg).map_err(|cause| format!("{}: {cause}", path.display()))?;
        }
        match self.json {
            Some(path) => write_json(&path, &Report { work: &work, portrait: &portrait }),
            None => Ok(()),
        }
    }
}

fn print_numbers(p: &Portrait) {
    let more = if p.cut { " counted; there are more (--limit)" } else { "" };
    let of = |part: u64, all: u64| 100.0 * part as f64 / all.max(1) as f64;
    println!("accesses  {}{more}", p.accesses);
    println!("writes    {} ({:.1} %)", p.writes, of(p.writes, p.accesses));
    println!("bytes     {} ({:.0} an access)", p.bytes, p.bytes as f64 / p.accesses.max(1) as f64);
    println!("gaps      {} cycles", p.gaps);
    println!("spaces    {}", p.spaces);
    for ((_, name), count) in SIZES.iter().zip(p.pages) {
        println!("pages     {count} of {name}");
    }
    let all = p.same + p.first + p.reuse.iter().sum::<u64>();
    println!("\nOther 4 KiB pages between two touches of a page, and how often");
    println!("  {:>21}  {:>12}  {:5.1} %", "none", p.same, of(p.same, all));
    for (i, &count) in p.reuse.iter().enumerate() {
        let range = if i == 0 { "1".into() } else { format!("{} to {}", 1u64 << i, (2u64 << i) - 1) };
        println!("  {range:>21}  {count:>12}  {:5.1} %", of(count, all));
    }
    println!("  {:>21}  {:>12}  {:5.1} %", "first touch", p.first, of(p.first, all));
}
