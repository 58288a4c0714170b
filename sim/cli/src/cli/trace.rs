//! `pasidon trace`: import, info, export.

use super::Failure;
use clap::{Subcommand, ValueEnum};
use pasidon_experiment::trace::{self, Selection, csv, file};
use std::io::Write;
use std::path::PathBuf;

#[derive(Subcommand)]
pub enum Command {
    /// Pack the output of valgrind's lackey, or a CSV file, into a trace file
    #[command(after_help = "\
Examples:
  valgrind --tool=lackey --trace-mem=yes --log-file=sort.log sort words
  pasidon trace import sort.log --out sort.trace.gz --source 'sort words' --limit 300000
  pasidon trace import accesses.csv --out accesses.trace.gz

A CSV line is `pasid,op,address,size` with op R, W, M (read and write) or X (fetch): 0,R,0x7f001000,8")]
    Import {
        /// Lackey's output (`--log-file`), or CSV; `-` reads standard input
        input: PathBuf,
        /// The trace file to write, named NAME.trace.gz by convention
        #[arg(long, short)]
        out: PathBuf,
        /// What was traced; kept in the file and shown in reports
        #[arg(long)]
        source: Option<String>,
        /// Form of the input; by default CSV when its name ends in .csv, else lackey
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
    },
    /// Show what is in a trace
    Info {
        /// Trace file, or CSV
        file: PathBuf,
    },
    /// Print a trace as CSV
    Export {
        /// Trace file
        file: PathBuf,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    Lackey,
    Csv,
}

impl Command {
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Import { input, out, source, format, instructions, skip, limit } => {
                let source = source.unwrap_or_else(|| input.display().to_string());
                let format = format.map(|f| match f {
                    Format::Lackey => trace::Format::Lackey,
                    Format::Csv => trace::Format::Csv,
                });
                let trace = trace::import(&input, format, Selection { instructions, skip, limit }, &source)?;
                file::write(&trace, &out)?;
                let packed = std::fs::metadata(&out)?.len();
                println!("{}: {} accesses in {packed} bytes", out.display(), trace.accesses.len());
            }
            Command::Info { file } => {
                let trace = trace::load(&file)?;
                let s = trace.summary();
                println!("source    {}", trace.source);
                println!("accesses  {}", s.total);
                println!("reads     {}", s.reads);
                println!("writes    {}", s.writes);
                println!("modifies  {}", s.modifies);
                println!("fetches   {}", s.fetches);
                println!("bytes     {}", s.bytes);
                println!("pages     {} of 4 KiB", s.pages);
                println!("spaces    {}", s.spaces);
            }
            Command::Export { file } => {
                let trace = trace::load(&file)?;
                let mut out = std::io::BufWriter::new(std::io::stdout().lock());
                match csv::write(&trace, &mut out).and_then(|()| out.flush()) {
                    // The reader had seen enough: `pasidon trace export F | head`.
                    Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => {}
                    other => other?,
                }
            }
        }
        Ok(())
    }
}
