//! `pasidon stress`.

use super::{Failure, style, write_json};
use clap::Args;
use indicatif::ProgressBar;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_machine::stress::{StressOptions, StressReport, stress};
use pasidon_rtl::design::Design;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args)]
#[command(after_help = "\
64 processes and 8 devices on one IOMMU under its driver: binds and unbinds, forks, munmap, mprotect, exits, pages that come and go
because there are few frames; devices that fault their pages in, flood the queue, forge messages, stop answering, are reset or removed;
memory that fails; an IOMMU that is reset behind its driver's back, suspended, or taken over by another driver; allocations that fail, and
interrupts at any call of the driver. Every 200 operations all of it becomes idle and is audited: each page request was answered once, no
PASID, frame, table or handle is left over, no device has accessed memory that was not its own at that moment, every byte is right, no
callback came after its unbind.

A seed and a number of operations repeat a run exactly; --seconds only ends it. The exit code is 0 only if nothing was found.

Examples:
  pasidon stress --seconds 3600 --seed 1 --json report.json
  pasidon stress --seed 7 --ops 4000")]
pub struct Stress {
    #[arg(long, short, default_value = "full", help = super::ATS_DESIGN_HELP.as_str())]
    design: String,
    /// Seed of everything random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Stop after this many seconds; 60 if operations are not bounded either
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Stop after this many operations
    #[arg(long, short = 'n', value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    ops: Option<u64>,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Use the checked model: assertions, and a check of port timing. Slower
    #[arg(long)]
    checked: bool,
}

impl Stress {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let seconds = self.seconds.or(self.ops.is_none().then_some(60));
        let options = StressOptions {
            seed: self.seed,
            ops: self.ops.unwrap_or(u64::MAX),
            time: seconds.map(Duration::from_secs),
            flavour: if self.checked { Flavour::Checked } else { Flavour::Fast },
        };
        let bar =
            ProgressBar::new_spinner().with_style(style("{msg} {spinner} {human_pos} operations, {elapsed}"));
        bar.set_message(format!("{}, seed {}", design.name, self.seed));
        let report = stress(&design, &Cache::in_workspace(), &options, &mut |ops| bar.set_position(ops))?;
        bar.finish_and_clear();
        if let Some(path) = &self.json {
            write_json(path, &report)?;
        }
        print(&report);
        if report.findings == 0 {
            return Ok(());
        }
        let mut message = format!("{} findings", report.findings);
        for finding in &report.details {
            message += &format!("\n  after operation {}: {}", finding.op, finding.what);
        }
        let counts: Vec<String> =
            report.driver.iter().filter(|(_, n)| **n != 0).map(|(name, n)| format!("{name} {n}")).collect();
        message += &format!("\nthe driver counts: {}", counts.join(", "));
        message += "\nwhat was done before the first:";
        for line in &report.history {
            message += &format!("\n  {line}");
        }
        let StressReport { ops, seed, .. } = report;
        message +=
            &format!("\nto repeat it: pasidon stress --design {} --seed {seed} --ops {ops}", self.design);
        Err(message.into())
    }
}

fn print(report: &StressReport) {
    let r = report;
    println!(
        "{}, seed {}: {} operations, {} audits, {} cycles, {:.1} s: {} findings",
        r.design, r.seed, r.ops, r.audits, r.cycles, r.seconds, r.findings
    );
    println!(
        "processes: {} spawned, {} forked, {} exits ({} callbacks); {} maps, {} munmaps, {} mprotects",
        r.spawns, r.forks, r.exits, r.mm_exits, r.maps, r.munmaps, r.mprotects
    );
    println!("bonds: {} binds, {} unbinds, {} refused", r.binds, r.unbinds, r.refusals);
    println!(
        "page requests: {} in {} groups; answered success {}, invalid {}, failure {}; {} overflows",
        r.page_requests, r.groups, r.responses_success, r.responses_invalid, r.responses_failure, r.overflows
    );
    println!(
        "pages: {} in, {} out, {} copied; {} invalidations of devices; {} accesses, {} of them refused",
        r.page_ins, r.page_outs, r.copies, r.invalidations, r.accesses, r.faults
    );
    println!(
        "misbehaviour: {} floods, {} forged messages, {} devices that stopped answering ({} cut off), {} resets, {} removals, {} memory \
         faults ({} queue restarts)",
        r.floods, r.lies, r.silences, r.device_timeouts, r.resets, r.removals, r.memory_faults, r.restarts
    );
    println!(
        "the IOMMU: {} resets, {} suspends, {} resumes, {} take-overs; {} bonds probed",
        r.iommu_resets, r.suspends, r.resumes, r.take_overs, r.probes
    );
    println!(
        "driver: {} failed allocations ({} calls returned the error), {} interrupts ({} invalidations)",
        r.allocation_failures, r.shortages, r.interrupts, r.interrupt_invalidations
    );
}
