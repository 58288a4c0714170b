//! Fence: what IOFENCE.C and a change of `ddtp.iommu_mode` wait for on the translation side.
//!
//! First for every walk that was in progress at an invalidation or a change of `ddtp`: it may still answer its requests, but no later than
//! the fence. Then for the responses that were there at that moment, port by port, until the devices have taken them. (Section "IOMMU
//! Command-queue Fence commands"; register `ddtp`.)
//!
//! A device that does not take its responses must not stop the others: after [`PATIENCE`] cycles what is left becomes a
//! refusal (status 1, cause 256, nothing granted), for which nobody needs to wait. The responses are still there to be taken.
//!
//! Latency: 2 cycles if there is nothing to wait for. Bound: the longest walk, then `PATIENCE` + 1 cycles. Never: a fence ends while a
//! response that is older than the fence could still grant an access.

use crate::design::Design;
use pasidon_hdl::{E, Module, all_of, header, lit, lo, names};
use std::rc::Rc;

/// Clock cycles that a fence waits for responses to be taken.
pub const PATIENCE: u64 = 4096;

/// The most requests of a port that were accepted and whose responses were not taken yet: what hits under misses need, and all
/// that the miss table can hold.
pub fn outstanding(d: &Design) -> u32 {
    (d.miss_entries + 4).next_power_of_two().max(16)
}

/// Bits of a number of responses of a port.
pub fn count_width(d: &Design) -> u32 {
    outstanding(d).ilog2() + 1
}

/// The fence of a design.
#[names]
pub fn fence(d: &Design) -> Rc<Module> {
    let width = count_width(d);
    let mut m = Module::new("fence", &header(include_str!("fence.rs")));
    m.section("A fence: held until ready");
    let valid = m.input("valid", 1);
    let ready = m.output_later("ready", 1);
    m.section(
        "Walks that something overtook are under way, or, last, delivered; a page request of a device whose context was found is",
    );
    let late = m.input("late", d.walkers + 1);
    let queueing = if d.ats { m.input("queueing", 1) } else { lo() };

    let began = m.reg("began", 1, 0);
    let waited = m.reg_data("waited", PATIENCE.ilog2() + 1);
    let patience = m.wire("patience", !waited.bit(PATIENCE.ilog2()));
    let begin = m.wire("begins", valid & !began & late.none());
    m.set(began, valid & (began | begin));
    let mut gone = vec![];
    for i in 0..d.ports {
        m.section(&format!(
            "Port {i}: responses that are there; the one on offer, which is taken if ready; what is next must be a refusal"
        ));
        let pending = m.input(&format!("pending{i}"), width);
        let offered = m.input(&format!("rsp{i}_valid"), 1);
        let taken = offered & m.input(&format!("rsp{i}_ready"), 1);
        // Responses leave in order: the first `old` are older than the fence, the first `revoked` of them are refusals.
        let old = m.reg(&format!("old_{i}"), width, 0);
        let revoked = m.reg(&format!("revoked_{i}"), width, 0);
        let count = began.mux(old, pending);
        let less = |count: E| count - (taken & count.any()).resize(width);
        m.set(old, less(count));
        let revokes = m.wire(&format!("revokes_{i}"), began & !patience);
        m.set(revoked, revokes.mux(less(old), less(revoked)));
        // Whether one is left is known without the subtraction: this decides what the response is in the same cycle.
        let is_left = |count: E| count.bits(1, width - 1).any() | (count.bit(0) & !taken);
        m.output(&format!("revoke{i}"), revokes.mux(is_left(old), is_left(revoked)));
        gone.push(old.eq(revoked));
    }
    m.when_else(
        begin,
        |m| m.set(waited, lit(0, waited.width())),
        |m| m.when(patience, |m| m.set(waited, waited.inc())),
    );
    m.assign(ready, began & all_of(gone.iter().copied()) & !queueing);
    m.build()
}
