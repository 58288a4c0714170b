//! The `pasidon` command: arguments in, one clear message out.

mod coverage;
mod engine;
mod generate;
mod lockstep;
mod mutate;
mod report;
mod run;
mod serve;
mod stress;
mod sweep;
mod trace;
mod workload;

use clap::{Parser, Subcommand};
use indicatif::ProgressStyle;
use pasidon_rtl::design::Design;
use serde::Serialize;
use std::path::Path;
use std::sync::LazyLock;

/// Help of `--design`.
static DESIGN_HELP: LazyLock<String> =
    LazyLock::new(|| format!("A shipped design ({}) or a TOML file", Design::SHIPPED.join(", ")));

/// Help of `--design` where the design must have ATS.
static ATS_DESIGN_HELP: LazyLock<String> = LazyLock::new(|| {
    let has_ats = |name: &&str| Design::shipped(name).is_some_and(|design| design.ats);
    let names: Vec<&str> = Design::SHIPPED.into_iter().filter(has_ats).collect();
    format!("A shipped design with ATS ({}) or a TOML file with ats.ats = true", names.join(", "))
});

const ABOUT: &str =
    "PASID-aware IOMMU: generate its Verilog, simulate it under its driver, replay real programs";

const EXAMPLES: &str = "\
Examples:
  Write the Verilog of a shipped design, or of your own:
    pasidon generate --design default --out build
    pasidon generate --design my-board.toml --out build

  Record what a program touches, and pack it:
    valgrind --tool=lackey --trace-mem=yes --log-file=gzip.log gzip -k file
    pasidon trace import gzip.log --out gzip.trace.gz --source 'gzip -k file'

  See what a matrix product on an accelerator does to memory:
    pasidon workload show gemm --set m=1k

  Let two devices replay it with the program's own addresses, through the simulated hardware:
    pasidon run --trace gzip.trace.gz
    pasidon run --design tiny --trace gzip.trace.gz --trace sort.trace.gz --latency 100 --json report.json

  Compare the hardware with the golden model:
    pasidon lockstep --design default --ops 1000000 --json report.json

  Let processes fork, unmap and exit while devices fault their pages in, misbehave and are removed:
    pasidon stress --seconds 60 --seed 7

  Let your own test bench control the simulation:
    pasidon serve --design default --socket /run/user/1000/pasidon

`pasidon COMMAND --help` tells more about each.

Environment:
  PASIDON_TARGET  directory for compiled models (default: target/ of the workspace, or ./target)
  VERILATOR, CXX  the tools that compile models (default: verilator, g++)";

/// The whole command line.
#[derive(Parser)]
#[command(name = "pasidon", version, about = ABOUT, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write the Verilog of a design
    Generate(generate::Generate),
    /// Boot the driver on a simulated design, bind processes, replay traces, check every byte, and report
    Run(Box<run::Run>),
    /// Ask the same question many times with something changed: on all cores, on a cluster, and go on where it was cut off
    #[command(subcommand)]
    Sweep(sweep::Command),
    /// Draw what a sweep found: one HTML page, pictures, a summary
    Report(report::Report),
    /// Compare the hardware of a design with the golden model under random operations
    Lockstep(lockstep::Lockstep),
    /// Repeat a sequence of operations that `pasidon lockstep` wrote
    Replay(lockstep::ReplayFile),
    /// Run lockstep and report which lines and bits of the hardware it has been through
    Coverage(coverage::Coverage),
    /// Make single faults in the hardware and report which of them lockstep notices
    Mutate(mutate::Mutate),
    /// A stress test: processes, devices and memory in random conflict, on simulated hardware, and an audit
    Stress(stress::Stress),
    /// Let a program in any language control the simulation: JSON lines over standard input and output or a socket
    Serve(serve::Serve),
    /// Import, inspect and convert memory-access traces
    #[command(subcommand)]
    Trace(trace::Command),
    /// List and show workloads: what accelerators and devices do to memory, by parameters
    #[command(subcommand)]
    Workload(workload::Command),
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
            Command::Generate(command) => command.run(),
            Command::Run(command) => command.run(),
            Command::Sweep(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Lockstep(command) => command.run(),
            Command::Replay(command) => command.run(),
            Command::Coverage(command) => command.run(),
            Command::Mutate(command) => command.run(),
            Command::Stress(command) => command.run(),
            Command::Serve(command) => command.run(),
            Command::Trace(command) => command.run(),
            Command::Workload(command) => command.run(),
        }
    }
}

/// The style of a progress bar.
fn style(template: &str) -> ProgressStyle {
    // Templates are constants that the library accepts.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Writes a report where `--json` says.
fn write_json(path: &Path, report: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report)?;
    Ok(std::fs::write(path, text + "\n").map_err(|cause| format!("{}: {cause}", path.display()))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn help_names_the_shipped_designs() {
        let mut with_design = 0;
        for command in Cli::command().get_subcommands() {
            let Some(argument) = command.get_arguments().find(|argument| argument.get_id() == "design")
            else {
                continue;
            };
            let help = argument.get_help().expect("help").to_string();
            for name in Design::SHIPPED {
                let ats = Design::shipped(name).expect("it is shipped").ats;
                let named = ats || command.get_name() != "stress";
                assert_eq!(help.contains(name), named, "{}: {help}", command.get_name());
            }
            with_design += 1;
        }
        assert_eq!(with_design, 7);
    }
}
