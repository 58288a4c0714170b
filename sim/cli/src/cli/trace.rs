//! `pasidon trace`: import, info, export.

use super::Failure;
use clap::{Subcommand, ValueEnum};
use pasidon_experiment::stream::{AccessStream, BATCH};
use pasidon_experiment::trace::{self, Selection, Tally, TraceAccess, TraceFile, csv, file};
use std::io::Write;
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub enum Command {
    /// Pack a trace of any form into a trace file
    #[command(after_help = "\
Examples:
  valgrind --tool=lackey --trace-mem=yes --log-file=sort.log sort words
  pasidon trace import sort.log --out sort.trace.gz --source 'sort words' --limit 300000
  pasidon trace import accesses.csv --out accesses.trace.zst
  xz -dc 605.mcf.champsimtrace.xz | pasidon trace import - --pace 4 --out mcf.trace.zst

A CSV line is `pasid,op,address,size` with op R, W, M (read and write) or X (fetch): 0,R,0x7f001000,8
A fifth column is the cycles of computing before the access.")]
    Import {
        /// Lackey's output (`--log-file`), CSV, ChampSim's records, gem5's packets as text, or a trace file, also packed by gzip
        /// or zstd; `-` reads standard input
        input: PathBuf,
        /// The trace file to write, by convention NAME.trace.gz (gzip) or NAME.trace.zst (zstd)
        #[arg(long, short)]
        out: PathBuf,
        /// What was traced; kept in the file and shown in reports
        #[arg(long)]
        source: Option<String>,
        /// Form of the input; by default recognised by its content
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Import instruction fetches too, not only data accesses
        #[arg(long)]
        instructions: bool,
        /// Leave out the first N accesses
        #[arg(long, value_name = "N", default_value_t = 0)]
        skip: u64,
        /// Import at most N accesses
        #[arg(long, value_name = "N")]
        limit: Option<u64>,
        /// So many instructions (ChampSim) or ticks (gem5) are a cycle: time between accesses becomes gaps
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        pace: Option<u32>,
    },
    /// Show what is in a trace
    Info {
        /// A trace of any form
        file: PathBuf,
    },
    /// Print a trace as CSV
    Export {
        /// A trace of any form
        file: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// A trace file of ours
    Packed,
    /// valgrind --tool=lackey --trace-mem=yes
    Lackey,
    /// pasid,op,address,size[,gap]
    Csv,
    /// Instruction records of 64 bytes
    Champsim,
    /// What gem5's util/decode_packet_trace.py prints
    Gem5,
}

impl From<Format> for trace::Format {
    fn from(format: Format) -> trace::Format {
        match format {
            Format::Packed => trace::Format::Packed,
            Format::Lackey => trace::Format::Lackey,
            Format::Csv => trace::Format::Csv,
            Format::Champsim => trace::Format::ChampSim,
            Format::Gem5 => trace::Format::Gem5,
        }
    }
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Import { input, out, source, format, instructions, skip, limit, pace } => {
                let selection = Selection { instructions, skip, limit, pace };
                let mut trace = TraceFile::open(&input, format.map(Into::into), selection)?;
                let mut writer = file::Writer::create(&out, &source.unwrap_or_else(|| trace.name()))?;
                each(&mut trace, |batch| Ok(writer.write(batch)?))?;
                let count = writer.finish()?;
                let packed = std::fs::metadata(&out)?.len();
                println!("{}: {count} accesses in {packed} bytes", out.display());
                Ok(())
            }
            Command::Info { file } => info(&file),
            Command::Export { file } => {
                let mut trace = trace::open(&file)?;
                let mut out = std::io::BufWriter::new(std::io::stdout().lock());
                let mut print = || -> Result<(), Failure> {
                    csv::write_header(&mut out)?;
                    each(trace.as_mut(), |batch| Ok(csv::write(batch, &mut out)?))?;
                    Ok(out.flush()?)
                };
                match print() {
                    // The reader had seen enough: `pasidon trace export F | head`.
                    Err(e) if is_broken_pipe(&e) => Ok(()),
                    other => other,
                }
            }
        }
    }
}

fn is_broken_pipe(failure: &Failure) -> bool {
    let io = failure.downcast_ref::<std::io::Error>();
    io.is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Gives every batch of a stream to `take`.
fn each(
    stream: &mut dyn AccessStream,
    mut take: impl FnMut(&[TraceAccess]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut batch = Vec::with_capacity(BATCH);
    loop {
        stream.next_batch(&mut batch)?;
        if batch.is_empty() {
            return Ok(());
        }
        take(&batch)?;
    }
}

fn info(file: &Path) -> Result<(), Failure> {
    let mut trace = trace::open(file)?;
    let mut tally = Tally::default();
    each(trace.as_mut(), |batch| {
        tally.add(batch);
        Ok(())
    })?;
    let s = tally.summary();
    println!("source    {}", trace.name());
    println!("accesses  {}", s.total);
    println!("reads     {}", s.reads);
    println!("writes    {}", s.writes);
    println!("modifies  {}", s.modifies);
    println!("fetches   {}", s.fetches);
    println!("bytes     {}", s.bytes);
    println!("gaps      {} cycles", s.gaps);
    println!("pages     {} of 4 KiB", s.pages);
    println!("spaces    {}", s.spaces);
    Ok(())
}
