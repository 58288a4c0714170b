//! The `pasidon` command: arguments in, one clear message out.

mod trace;

use clap::{Parser, Subcommand};

const ABOUT: &str =
    "PASID-aware IOMMU: generate its Verilog, simulate it under its driver, replay real programs";

const EXAMPLES: &str = "\
Examples:
  Record what a program touches, and pack it:
    valgrind --tool=lackey --trace-mem=yes --log-file=gzip.log gzip -k file
    pasidon trace import gzip.log --out gzip.trace.gz --source 'gzip -k file'";

/// The whole command line.
#[derive(Parser)]
#[command(name = "pasidon", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Import, inspect and convert memory-access traces
    #[command(subcommand)]
    Trace(trace::Command),
}

/// Anything that ends the command: shown to the user as one message.
pub type Failure = Box<dyn std::error::Error>;

impl Cli {
    /// Does what the arguments ask.
    ///
    /// # Errors
    /// The message for the user.
    pub fn run(self) -> Result<(), Failure> {
        match self.command {
            Command::Trace(command) => command.run(),
        }
    }
}
