//! Invalidation: carries what the command queue offers to the caches, in an order that lets nothing old survive.
//!
//! First `mark`, for one cycle: walks and lookups in progress are overtaken, and the context caches drop what is named. Then the L1
//! TLBs, until each has passed the invalidation through its stage. The L2 TLB begins its sweep at once, because what is looked up again
//! after the mark must not hit an old entry. A change of `ddtp` marks too. (Sections "IOMMU Page-Table cache invalidation commands"
//! and "IOMMU Directory cache commands".)
//!
//! Latency: 1 cycle, then that of the slowest TLB. Never: an L1 TLB is asked before what is in progress was marked; an invalidation ends
//! before each TLB has carried it out.

use crate::design::Design;
use crate::signals::invalidation::InvalidationKind;
use pasidon_hdl::{Module, all_of, header, names};
use std::rc::Rc;

/// The sequence of invalidations of a design.
#[names]
pub fn invalidation(d: &Design) -> Rc<Module> {
    let mut m = Module::new("invalidation", &header(include_str!("invalidation.rs")));
    m.section("From the command queue: held until ready");
    let valid = m.input("inval_valid", 1);
    let kind = m.input("inval_kind", 2);
    let dv = m.input("inval_dv", 1);
    let ready = m.output_later("inval_ready", 1);
    m.section("ddtp was written; held until its barrier is passed");
    let ddtp_valid = m.input("ddtp_sync_valid", 1);
    m.section("TLBs that have carried it out");
    let tlbs = d.ports + u32::from(d.has_l2());
    let done: Vec<_> = (0..tlbs).map(|i| m.input(&format!("done{i}"), 1)).collect();

    let marked = m.reg("marked", 1, 0);
    let all_done = m.wire("all_done", marked & all_of(done));
    m.assign(ready, all_done);
    m.set(marked, valid & !all_done);
    let ddtp_seen = m.reg("ddtp_seen", 1, 0);
    m.set(ddtp_seen, ddtp_valid);
    let first = m.wire("first", valid & !marked);

    m.section("What is in progress is overtaken: one cycle");
    let mark = m.output("mark", first | (ddtp_valid & !ddtp_seen));
    m.section("To the L1 TLBs: held until ready");
    let asked = m.output("l1_valid", valid & marked);
    let ddt = kind.is(InvalidationKind::Ddt as u64);
    let pdt = kind.is(InvalidationKind::Pdt as u64);
    m.section("To the DDTC: every context, or that of the device");
    m.output("dc_kill", first & ddt);
    m.output("dc_kill_device", dv);
    m.section("To the PDTC: every context, those of the device, or that of one of its processes");
    m.output("pc_kill", first & (ddt | pdt));
    m.output("pc_kill_device", pdt | dv);
    m.output("pc_kill_process", pdt);

    let mark_was = m.reg("mark_was", 1, 0);
    m.set(mark_was, mark);
    let asked_was = m.reg("asked_was", 1, 0);
    m.set(asked_was, asked);
    m.never("an L1 TLB is asked before what is in progress was marked", asked & !asked_was & !mark_was);
    m.build()
}
