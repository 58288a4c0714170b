//! The stress test: processes, devices and memory in random conflict on the hardware with its driver, and an audit whenever all of it has
//! become idle.
//!
//! Sixty-four processes and eight devices: binds, unbinds, forks, munmap, mprotect, exits, page-out all the time, accesses with and without
//! ATS, floods of page requests, forged messages, devices that don't answer, resets and removals at any moment, memory that fails; and what
//! the driver meets in its own world: an IOMMU that is reset, suspended or taken over, allocations that fail, interrupts at any of its
//! calls. One thread does all of it, so that a seed and a number of operations repeat a run exactly; the devices and the hardware go on in
//! every cycle, also within calls of the driver.
//!
//! | file | what it does |
//! |---|---|
//! | `world` | processes, devices, and what binds them |
//! | `actions` | ordinary operations of processes and device drivers |
//! | `mischief` | injected misbehaviour: floods, forged messages, resets, removals, failing memory |
//! | `owner` | resets of the IOMMU, suspend, take-overs |
//! | `shortage` | allocations that fail |
//! | `watchdog` | ends a run that makes no progress |
//! | `audit` | what must hold when all of it is idle |

mod actions;
mod audit;
mod mischief;
mod owner;
mod shortage;
#[cfg(test)]
mod tests;
mod watchdog;
mod world;

use crate::run::RunError;
use pasidon_cosim::verilated::{Cache, Flavour};
use pasidon_rtl::design::Design;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watchdog::Watchdog;
use world::World;

/// Processes at a time.
pub const PROCESSES: usize = 64;
/// Devices.
pub const DEVICES: usize = 8;
/// Operations between audits.
const ROUND: u64 = 200;
/// Rounds between audits that take everything down first.
const LIVES: u64 = 8;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct StressOptions {
    /// Decides everything.
    pub seed: u64,
    /// The most operations; rounded up to whole rounds.
    pub ops: u64,
    /// The most time; the round under way is finished.
    pub time: Option<Duration>,
    /// How the model is compiled.
    pub flavour: Flavour,
}

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The operation after which it was found.
    pub op: u64,
    /// What it is.
    pub what: String,
}

/// What has happened.
#[derive(Clone, Debug, Default, Serialize)]
pub struct StressReport {
    /// Name of the design.
    pub design: String,
    /// The seed.
    pub seed: u64,
    /// Operations done.
    pub ops: u64,
    /// Audits made.
    pub audits: u64,
    /// Clock cycles.
    pub cycles: u64,
    /// Wall time in seconds.
    pub seconds: f64,
    /// Bonds made.
    pub binds: u64,
    /// Bonds torn down.
    pub unbinds: u64,
    /// Binds that were refused, as they had to be.
    pub refusals: u64,
    /// Processes begun from nothing.
    pub spawns: u64,
    /// Processes forked.
    pub forks: u64,
    /// Processes that exited.
    pub exits: u64,
    /// `mm_exit` callbacks.
    pub mm_exits: u64,
    /// Ranges mapped.
    pub maps: u64,
    /// Ranges unmapped.
    pub munmaps: u64,
    /// Ranges with other permissions.
    pub mprotects: u64,
    /// Accesses of devices.
    pub accesses: u64,
    /// ... that were refused.
    pub faults: u64,
    /// Page requests sent, stop markers included.
    pub page_requests: u64,
    /// Groups of them that were owed an answer.
    pub groups: u64,
    /// Groups answered Success.
    pub responses_success: u64,
    /// Groups answered Invalid Request.
    pub responses_invalid: u64,
    /// Groups answered Response Failure.
    pub responses_failure: u64,
    /// Invalidation requests to devices.
    pub invalidations: u64,
    /// Devices that the driver cut off because they did not answer one.
    pub device_timeouts: u64,
    /// Pages read in.
    pub page_ins: u64,
    /// Pages that lost their frame.
    pub page_outs: u64,
    /// Pages copied for a writer.
    pub copies: u64,
    /// Floods of page requests.
    pub floods: u64,
    /// Lies of devices.
    pub lies: u64,
    /// Devices that stopped answering invalidations.
    pub silences: u64,
    /// Resets of devices.
    pub resets: u64,
    /// Removals of devices, announced or not.
    pub removals: u64,
    /// Times that memory began to fail.
    pub memory_faults: u64,
    /// Resets of the IOMMU's core behind the driver's back.
    pub iommu_resets: u64,
    /// Times that the driver brought the IOMMU back.
    pub resumes: u64,
    /// Times that the driver suspended the IOMMU.
    pub suspends: u64,
    /// Times that another driver took the IOMMU over.
    pub take_overs: u64,
    /// Allocations of the driver that were made to fail.
    pub allocation_failures: u64,
    /// Calls of the driver that said so.
    pub shortages: u64,
    /// Interrupts within calls of the driver.
    pub interrupts: u64,
    /// Invalidations of address spaces by their handlers.
    pub interrupt_invalidations: u64,
    /// Bonds that were tried out when it was quiet.
    pub probes: u64,
    /// Times that the page-request queue overflowed.
    pub overflows: u64,
    /// Restarts of the command queue.
    pub restarts: u64,
    /// The driver's own statistics.
    pub driver: BTreeMap<&'static str, usize>,
    /// How many findings.
    pub findings: u64,
    /// The first of them.
    pub details: Vec<Finding>,
    /// The operations before the first finding, the last one last.
    pub history: Vec<String>,
}

/// Runs it until operations or time are used up, or something is found. `progress` is called with the operations done.
///
/// # Errors
/// [`RunError`]: the system could not be built.
pub fn stress(
    design: &Design,
    cache: &Cache,
    options: &StressOptions,
    progress: &mut dyn FnMut(u64),
) -> Result<StressReport, RunError> {
    let begun = Instant::now();
    let mut world = World::new(design, cache, options)?;
    let _watchdog = Watchdog::new(&design.name, options.seed, &world.platform, Arc::clone(&world.done));
    let mut rounds = 0;
    while world.report.ops < options.ops && options.time.is_none_or(|time| begun.elapsed() < time) {
        rounds += 1;
        attempt(&mut world, |world| round(world, rounds));
        progress(world.report.ops);
        if world.report.findings > 0 {
            break;
        }
    }
    if world.report.findings == 0 {
        attempt(&mut world, World::end_of_the_world);
    }
    Ok(world.finish(begun.elapsed()))
}

/// Operations, an audit, and now and then a new beginning.
fn round(world: &mut World, number: u64) -> Result<(), RunError> {
    for _ in 0..ROUND {
        world.done.store(world.report.ops, Ordering::Relaxed);
        world.act()?;
    }
    world.audit()?;
    if number.is_multiple_of(LIVES) && world.report.findings == 0 {
        world.end_of_the_world()?;
        world.begin()?;
    }
    Ok(())
}

/// What ends the machine is a finding as well.
fn attempt(world: &mut World, what: impl FnOnce(&mut World) -> Result<(), RunError>) {
    if let Err(error) = what(world) {
        world.found(error.to_string());
    }
}
