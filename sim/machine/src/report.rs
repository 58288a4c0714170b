//! The report of a run, as text and as JSON.

use crate::run::RunOptions;
use crate::watch::Occupancy;
use pasidon_experiment::Counts;
use pasidon_experiment::answer::{Breakdown, Source};
use pasidon_experiment::counts::CacheCounts;
use pasidon_experiment::text::grouped;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// A device that may use a process's addresses.
#[derive(Clone, Debug, Serialize)]
pub struct Bind {
    /// Who.
    pub device_id: u32,
    /// What was traced.
    pub process: String,
    /// The PASID that the driver chose.
    pub pasid: u32,
}

/// IOTLB counts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Iotlb {
    /// Lookups.
    pub lookups: u64,
    /// Lookups that found a translation.
    pub hits: u64,
    /// Their ratio.
    pub hit_rate: f64,
}

/// Counts of the devices' own translation caches.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Hits {
    /// Lookups.
    pub lookups: u64,
    /// Lookups that found a translation.
    pub hits: u64,
    /// Their ratio.
    pub hit_rate: f64,
}

/// Answers to groups of page requests.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Responses {
    /// The pages are there.
    pub success: u64,
    /// There are no such pages, or not for this access.
    pub invalid: u64,
    /// The pages could not be provided.
    pub failure: u64,
}

/// Latency of page requests, in cycles from the device's group to the answer.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct RoundTrip {
    /// Median.
    pub p50: u64,
    /// 99 of 100 are not above this.
    pub p99: u64,
}

/// Pages that come and go.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Paging {
    /// No page was in memory at first, and devices asked for them; otherwise all were.
    pub demand: bool,
    /// Pages of 4 KiB that the programs touch.
    pub pages: u64,
    /// Frames for them.
    pub frames: u64,
    /// Page requests that devices sent.
    pub page_requests: u64,
    /// Groups of them.
    pub groups: u64,
    /// Their answers.
    pub responses: Responses,
    /// Ranges that the operating system had invalidated.
    pub invalidations: u64,
    /// Invalidation requests that devices completed for that.
    pub device_invalidations: u64,
    /// Pages read in.
    pub page_ins: u64,
    /// Pages that lost their frame.
    pub page_outs: u64,
    /// ... and had to be written.
    pub swap_writes: u64,
    /// Address spaces that exited, once for each bond.
    pub mm_exits: u64,
    /// Latency of page requests.
    pub pr_latency: RoundTrip,
}

/// What a call of the driver costs.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Clock cycles, on average.
    pub cycles: u64,
    /// Accesses of registers and memory that the driver makes, on average.
    pub operations: u64,
}

/// What calls of the driver cost.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Costs {
    /// Bind.
    pub bind: Cost,
    /// Unbind.
    pub unbind: Cost,
    /// Invalidation of a range, devices included.
    pub shoot_down: Cost,
}

/// Latency of translations, in cycles from a request's first valid to its response's.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latencies {
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 99 of 100 are not above this.
    pub p99: u64,
    /// Largest.
    pub max: u64,
}

/// One isolation check.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What must hold.
    pub check: String,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// All that it takes to run again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    /// Version of the program.
    pub version: String,
    /// The design, complete.
    pub design: serde_json::Value,
    /// Hash of the design without its name.
    pub nameless_hash: String,
    /// Every option.
    pub options: RunOptions,
    /// The files that it depends on.
    pub sources: Vec<Source>,
}

/// The report of a run. The counts are those of the replay; the isolation checks and the exits come after it.
#[derive(Clone, Debug, Serialize)]
pub struct RunReport {
    /// Name of the design.
    pub design: String,
    /// Hash of the generated design.
    pub design_hash: String,
    /// The seed that everything arbitrary follows from.
    pub seed: u64,
    /// Cycles from a read address to its first data.
    pub memory_latency: u32,
    /// device_ids.
    pub devices: Vec<u32>,
    /// Bonds.
    pub binds: Vec<Bind>,
    /// Virtual pages that several processes use.
    pub shared_pages: u64,
    /// Accesses of the devices.
    pub requests: u64,
    /// Bytes moved.
    pub bytes: u64,
    /// Bytes that were not what they should be, in an access or in memory afterwards.
    pub mismatches: u64,
    /// Requests that faulted.
    pub faults: u64,
    /// Clock cycles.
    pub cycles: u64,
    /// Requests per cycle.
    pub translations_per_cycle: f64,
    /// IOTLB.
    pub iotlb: Iotlb,
    /// The devices' own caches; without demand paging they have none.
    pub device_cache: Hits,
    /// Page-table walks.
    pub walks: u64,
    /// Bursts that the IOMMU read from memory.
    pub memory_reads: u64,
    /// Latency at the translation ports.
    pub latency: Latencies,
    /// Pages that come and go.
    #[serde(flatten)]
    pub paging: Paging,
    /// What calls of the driver cost.
    pub costs: Costs,
    /// Cycles of the same work on the same machine without translation.
    pub bare_cycles: u64,
    /// What translation adds to that.
    pub overhead_percent: f64,
    /// What went on inside the hardware, if it was watched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// Where the time of the accesses went, in cycles of all accesses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub breakdown: Option<Breakdown>,
    /// Cycles in which so many walkers, and entries of the miss table, were busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occupancy: Option<Occupancy>,
    /// Latencies at the translation ports: cycles, how often.
    pub latency_histogram: Vec<(u64, u64)>,
    /// Lines asked of the last-level cache, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_level_cache: Option<Hits>,
    /// Simulated clock cycles per second of wall time, everything included.
    pub sim_cycles_per_second: f64,
    /// Responses to nobody.
    pub stray_responses: u64,
    /// Isolation.
    pub isolation: Vec<Check>,
    /// What was left behind at the end, or happened and must not.
    pub findings: Vec<String>,
    /// What was asked for and changed nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// All that it takes to run again.
    pub repeat: Repeat,
}

impl RunReport {
    /// What is not as it should be, one line each; empty if all is well.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let counts = [
            (self.mismatches, "bytes were wrong"),
            (self.faults, "requests faulted"),
            (self.stray_responses, "responses belonged to no request"),
        ];
        problems.extend(counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        let failed = self.isolation.iter().filter(|check| !check.passed);
        problems.extend(failed.map(|check| format!("not so: {}: {}", check.check, check.detail)));
        problems.extend(self.findings.iter().cloned());
        problems
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn write_json(&self, path: &Path) -> std::io::Result<()> {
        if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
            std::fs::create_dir_all(parent)?;
        }
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(path, text)
    }
}

/// What a cache did, in a line.
fn cache_line(cache: &CacheCounts) -> String {
    let CacheCounts { lookups, hits, fills, evicted, overlapped, invalidated } = *cache;
    let [lookups, hits, fills, evicted, overlapped, invalidated] =
        [lookups, hits, fills, evicted, overlapped, invalidated].map(grouped);
    format!(
        "{hits} of {lookups} lookups hit; {fills} fills, {evicted} evicted, {overlapped} overlapped, {invalidated} invalidated"
    )
}

impl fmt::Display for RunReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, value: String| writeln!(f, "{name:<24}{value}");
        line(
            "design",
            format!("{} ({})", self.design, self.design_hash.get(..12).unwrap_or(&self.design_hash)),
        )?;
        line("memory latency", format!("{} cycles", self.memory_latency))?;
        for bind in &self.binds {
            line("bind", format!("device {:#x}, PASID {}: {}", bind.device_id, bind.pasid, bind.process))?;
        }
        line("overlapping pages", grouped(self.shared_pages))?;
        line("requests", grouped(self.requests))?;
        line("mismatches", format!("{} of {} bytes", grouped(self.mismatches), grouped(self.bytes)))?;
        line("faults", grouped(self.faults))?;
        let Iotlb { lookups, hits, hit_rate } = self.iotlb;
        // Requests that devices translate themselves hit nothing there.
        if !self.paging.demand {
            line(
                "IOTLB hit rate",
                format!(
                    "{:.2} % ({} of {}, L1 TLBs of the ports)",
                    100.0 * hit_rate,
                    grouped(hits),
                    grouped(lookups)
                ),
            )?;
        }
        if self.device_cache.lookups > 0 {
            let Hits { lookups, hits, hit_rate } = self.device_cache;
            line(
                "device cache hit rate",
                format!("{:.2} % ({} of {})", 100.0 * hit_rate, grouped(hits), grouped(lookups)),
            )?;
        }
        if let Some(counts) = &self.counts {
            for (name, cache) in [
                ("L1 TLBs", counts.l1),
                ("L2 TLB", counts.l2),
                ("device contexts", counts.ddtc),
                ("process contexts", counts.pdtc),
            ] {
                if cache.lookups > 0 {
                    line(name, cache_line(&cache))?;
                }
            }
            line("merged misses", grouped(counts.merged))?;
        }
        if let Some(Hits { lookups, hits, hit_rate }) = self.last_level_cache {
            line(
                "last-level cache",
                format!("{:.2} % ({} of {} lines)", 100.0 * hit_rate, grouped(hits), grouped(lookups)),
            )?;
        }
        line("walks", grouped(self.walks))?;
        line("memory reads", grouped(self.memory_reads))?;
        let Latencies { min, p50, p99, max } = self.latency;
        line("latency", format!("min {min}, median {p50}, p99 {p99}, max {max} cycles"))?;
        if self.paging.demand {
            let Paging { pages, frames, page_requests, groups, responses, pr_latency, .. } = self.paging;
            line("pages", format!("{} in {} frames", grouped(pages), grouped(frames)))?;
            line("page requests", format!("{} in {} groups", grouped(page_requests), grouped(groups)))?;
            let Responses { success, invalid, failure } = responses;
            line("responses", format!("success {}, invalid {invalid}, failure {failure}", grouped(success)))?;
            line(
                "page request latency",
                format!("median {}, p99 {} cycles", pr_latency.p50, pr_latency.p99),
            )?;
            let Paging { page_ins, page_outs, swap_writes, invalidations, mm_exits, .. } = self.paging;
            line("page-ins", grouped(page_ins))?;
            line("page-outs", format!("{}, {} of them written", grouped(page_outs), grouped(swap_writes)))?;
            line("invalidations", grouped(invalidations))?;
            line("address-space exits", grouped(mm_exits))?;
        }
        for (name, cost) in
            [("bind", self.costs.bind), ("unbind", self.costs.unbind), ("shoot-down", self.costs.shoot_down)]
        {
            if cost.cycles > 0 {
                line(name, format!("{} cycles, {} driver operations", cost.cycles, cost.operations))?;
            }
        }
        line("cycles", grouped(self.cycles))?;
        line(
            "without translation",
            format!("{} cycles: translation adds {:.2} %", grouped(self.bare_cycles), self.overhead_percent),
        )?;
        if let Some(breakdown) = self.breakdown.filter(|breakdown| breakdown.total() > 0) {
            let total = breakdown.total() as f64;
            let parts = breakdown.parts().into_iter().filter(|(_, cycles)| *cycles > 0);
            let parts: Vec<String> = parts
                .map(|(name, cycles)| {
                    format!("{} {:.1} %", name.replace('_', " "), 100.0 * cycles as f64 / total)
                })
                .collect();
            line("time of accesses", parts.join(", "))?;
        }
        line("translations per cycle", format!("{:.3}", self.translations_per_cycle))?;
        line("simulated cycles/s", grouped(self.sim_cycles_per_second as u64))?;
        for remark in &self.remarks {
            writeln!(f, "remark: {remark}")?;
        }
        for check in &self.isolation {
            let verdict = if check.passed { "ok" } else { "FAILED" };
            writeln!(f, "isolation: {verdict}: {} ({})", check.check, check.detail)?;
        }
        Ok(())
    }
}
