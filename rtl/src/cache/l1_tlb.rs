//! L1 TLB: one per translation port, fully associative. It holds complete translations, tagged by device_id and
//! process_id, and answers successful hits only: whatever it can't grant goes to the miss table, so that every fault comes
//! from a walk.
//!
//! One pipeline stage does everything in order: look up a request, deliver a completion (refill and response), execute an
//! invalidation. A refill first clears entries that overlap it, so at most one entry ever matches. Responses that the device does not
//! take at once wait in order in LUT RAM, which has a place for every request that is accepted: a device that takes no responses
//! stops itself, and neither completions nor invalidations.
//!
//! Latency: a request accepted in cycle n is looked up in n + 1; its response is valid in n + 2. One request per cycle. Bound: a
//! completion is done within 2 cycles, an invalidation within 2. Never: a hit waits for a miss (until the miss table and two requests are
//! stuck, or as many requests of the port are outstanding as it has places for), or an entry that an invalidation names
//! answers after `inval_done`.

use super::{payload, victim};
use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::invalidation::{Checks, Invalidation, TlbTag};
use crate::signals::request::{
    RequestSignals, TranslationSignals, device_id_too_wide, has_directory, is_canonical, page_size,
    ppn_width, vpn_width,
};
use crate::signals::result::{Answer, Response};
use crate::translate::fence::{self, count_width};
use pasidon_hdl::{
    Bundle, E, Label, MemoryKind, Module, any_of, bundle, cat, header, hi, labels, lit, lo, names, onehot,
};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::PAGE_SHIFT;
use std::rc::Rc;

labels! {
    /// What the stage does
    pub mod operation {
        LOOKUP,
        COMPLETE,
        INVALIDATE,
    }
}

bundle! {
    /// What entries hold of a translation that no comparison needs: it lies in LUT RAM.
    struct Payload(d: Design) {
        /// Physical page number.
        ppn: ppn_width(d);
        /// Memory type.
        pbmt: 2, if d.svpbmt;
        /// Resource control identifier.
        rcid: 12, if d.qosid;
        /// Monitoring counter identifier.
        mcid: 12, if d.qosid;
    }
}

/// An entry's registers: its tag, and what else is compared, without its payload.
struct Entry {
    tag: TlbTag,
    data: TranslationSignals,
}

impl Entry {
    fn registers(m: &mut Module, d: &Design, index: u32) -> Entry {
        let payload: Vec<&str> = Payload::table(d).iter().map(|field| field.name).collect();
        Entry {
            tag: TlbTag::from_fn(d, |name, width| m.reg_data(&format!("{name}_{index}"), width)),
            data: TranslationSignals::from_fn(d, |name, width| {
                if payload.contains(&name) {
                    lit(0, width)
                } else {
                    m.reg_data(&format!("{name}_{index}"), width)
                }
            }),
        }
    }
}

/// The L1 TLB of one port.
#[names]
pub fn l1_tlb(d: &Design) -> Rc<Module> {
    let mut m = Module::new("l1_tlb", &header(include_str!("l1_tlb.rs")));
    m.section("Requests from the device");
    let req_valid = m.input("req_valid", 1);
    let req_ready = m.output_later("req_ready", 1);
    let req = RequestSignals::inputs(&mut m, d, "req").normal();
    m.section("Responses to the device");
    let rsp_valid = m.reg("response_valid", 1, 0);
    m.output("rsp_valid", rsp_valid);
    let rsp_ready = m.input("rsp_ready", 1);
    m.section("The response that is there after this cycle is refused, whatever it was (see `fence`)");
    let revoke = m.input("revoke", 1);
    m.section("Misses, to the miss table");
    let miss_valid = m.output_later("miss_valid", 1);
    let miss_ready = m.input("miss_ready", 1);
    m.section("Completions of misses: held until done");
    let c_valid = m.input("c_valid", 1);
    let c_done = m.output_later("c_done", 1);
    let c_request = RequestSignals::inputs(&mut m, d, "c");
    let answer = Answer::inputs(&mut m, d, "c");
    let c = TranslationSignals::inputs(&mut m, d, "c");
    let inval = Invalidation::inputs(&mut m, d);
    m.section("ddtp.iommu_mode: lookups may hit if there is a directory, for devices that it can hold");
    let ddtp_mode = m.input("ddtp_mode", 3);

    m.part("The stage's register: one operation");
    let valid = m.reg("stage_valid", 1, 0);
    let op = m.reg_data("stage_op", operation::WIDTH);
    let stage = RequestSignals::registers(&mut m, d, "stage");
    let checks = Checks::registers(&mut m, d, "check");
    // Bits of the page number that do not matter: those of a range.
    let range = if d.s { m.reg_data("stage_range", vpn_width(d)) } else { lit(0, vpn_width(d)) };
    let inval_taken = m.reg("inval_taken", 1, 0);
    let misses = m.reg("miss_count", 2, 0);

    let is = |kind| valid & op.is(kind);
    // Every request has a place for its response from the beginning: nothing in the stage ever waits.
    let outstanding = m.reg("outstanding", count_width(d), 0);
    let place = !outstanding.is(u64::from(fence::outstanding(d)));
    // A lookup in the stage may still become a miss: it needs a place in the miss buffer for certain.
    let room = misses.is(0) | (misses.is(1) & !is(operation::LOOKUP));
    let take_inval = m.wire("take_inval", inval.valid & !inval_taken);
    let take_completion = m.wire("take_completion", c_valid & !is(operation::COMPLETE) & !take_inval);
    m.assign(req_ready, place & room & !take_inval & !take_completion);
    let accepted = m.wire("accepted", req_valid & req_ready);
    let left = m.wire("left", rsp_valid & rsp_ready);
    m.set(outstanding, outstanding + accepted.resize(count_width(d)) - left.resize(count_width(d)));

    let inval_request = RequestSignals {
        device_id: inval.tag.device_id,
        process_id: inval.tag.process_id,
        iova: cat(&[inval.tag.vpn, lit(0, PAGE_SHIFT.into())]).resize(64),
        ..c_request
    };
    let load = |m: &mut Module, kind: Label, request: &RequestSignals, compare: &Checks| {
        m.set(op, lit(kind, operation::WIDTH));
        stage.set(m, request);
        checks.set(m, compare);
        if d.s {
            m.set(range, if kind == operation::INVALIDATE { inval.range } else { lit(0, range.width()) });
        }
    };
    let lookup = Checks::lookup(d);
    m.set(valid, take_inval | take_completion | accepted);
    m.when_else(
        take_inval,
        |m| load(m, operation::INVALIDATE, &inval_request, &inval.checks),
        |m| {
            m.when_else(
                take_completion,
                |m| load(m, operation::COMPLETE, &c_request, &lookup),
                |m| m.when(req_valid, |m| load(m, operation::LOOKUP, &req, &lookup)),
            );
        },
    );
    m.set(inval_taken, inval.valid & (inval_taken | take_inval));
    m.section("Answers to invalidations");
    m.output("inval_done", inval_taken & !is(operation::INVALIDATE));

    m.part("Entries and their comparison");
    let entries_valid = m.reg("valid", d.l1_entries, 0);
    let entries: Vec<Entry> = (0..d.l1_entries).map(|i| Entry::registers(&mut m, d, i)).collect();
    let tag = TlbTag::asked(d, &stage);
    let stage_mask = m.wire("stage_mask", is(operation::COMPLETE).gate(c.mask));
    let needs = m.wire("needs", stage.needs());
    let mut matches = vec![];
    for (i, e) in entries.iter().enumerate() {
        // One difference for all parts: cheaper to simulate than a comparison of each, and the same gates.
        let differs = m.wire(&format!("differs_{i}"), (e.tag.vpn ^ tag.vpn) & !range);
        let mut conditions = vec![entries_valid.bit(i as u32)];
        conditions.extend(inval.conditions(d, &checks, (&e.tag, &e.data), (&tag, differs, stage_mask)));
        matches.push(m.wire_if(&format!("match_{i}"), &conditions, hi()));
    }

    m.part("Refill and invalidation");
    let fill = m.wire("fill", is(operation::COMPLETE) & answer.refill);
    let clear = m.wire("clear", fill | is(operation::INVALIDATE));
    let victim = victim(&mut m, entries_valid, fill);
    let matched: Vec<E> = matches.iter().rev().copied().collect();
    m.when(clear, |m| m.set(entries_valid, (entries_valid & !cat(&matched)) | fill.gate(victim)));
    m.when(fill, |m| {
        for (i, e) in entries.iter().enumerate() {
            m.when(victim.bit(i as u32), |m| {
                e.tag.set(m, &tag);
                e.data.set(m, &c);
            });
        }
    });
    let filled = Payload { ppn: c.ppn, pbmt: c.pbmt, rcid: c.rcid, mcid: c.mcid };
    let stored =
        filled.map(d, |name, value| payload(&mut m, &format!("{name}_of"), (fill, victim), value, &matches));

    m.part("Lookup");
    let granted =
        any_of(entries.iter().zip(&matches).map(|(e, hit)| *hit & (e.data.permissions & needs).any()));
    let located = has_directory(ddtp_mode) & !device_id_too_wide(d, ddtp_mode, stage.device_id);
    let usable = located & stage.at.is(0) & is_canonical(d, stage.iova);
    let hit = m.wire("hit", granted & usable);
    let pick = |f: fn(&TranslationSignals) -> E| {
        onehot(&entries.iter().zip(&matches).map(|(e, hit)| (*hit, f(&e.data))).collect::<Vec<_>>())
    };
    let complete = op.is(operation::COMPLETE);
    let ppn = complete.mux(c.ppn, stored.ppn);
    let mask = m.wire("response_mask", complete.mux(c.mask, pick(|t| t.mask)));
    let permissions = m.wire("response_permissions", complete.mux(c.permissions, pick(|t| t.permissions)));
    let granted = stage.privileged.mux(permissions.bits(3, 3), permissions.bits(0, 3));

    m.part("Response");
    let spa = m.wire("response_spa", TranslationSignals::spa(d, ppn, mask, stage.iova));
    let respond = m.wire("respond", is(operation::COMPLETE) | (is(operation::LOOKUP) & hit));
    let ok = !complete | answer.ok;
    let withheld = complete & answer.ats_withheld;
    let spa = if d.ats && d.guest_beyond() > 0 { cat(&[complete.gate(answer.guest_high), spa]) } else { spa };
    // A page without permissions has the size of the smallest.
    let no_size = withheld.gate(lit(u64::from(PAGE_SHIFT), 6));
    let attribute = |c: E, stored: E| ok.gate(complete.mux(c, stored));
    m.section(
        "Response: status 0 success, 1 refused; cause of the refusal, or why nothing is granted, else 0",
    );
    let response = Response {
        id: stage.id,
        status: cat(&[lo(), !ok & !withheld]),
        cause: (!ok).gate(answer.cause),
        spa: ok.gate(spa),
        r: ok & granted.bit(0),
        w: ok & granted.bit(1),
        x: ok & granted.bit(2),
        size: ok.gate(page_size(d, mask)) | no_size,
        pbmt: attribute(c.pbmt, stored.pbmt),
        rcid: attribute(c.rcid, stored.rcid),
        mcid: attribute(c.mcid, stored.mcid),
        mrif: complete & answer.mrif,
        abort: complete & answer.ats_abort,
        untranslated: complete & answer.ats_untranslated,
        global: complete & answer.ats_global,
        cxl_io: complete & answer.ats_cxl_io,
    };
    // What a revoked response becomes: nothing is granted.
    let refusal = Response {
        status: lit(1, 2),
        cause: lit(cause_label(Cause::AllInboundTransactionsDisallowed), 12),
        abort: hi(),
        ..Response::zero(d)
    };
    let pending = respond_in_order(&mut m, d, respond, (rsp_valid, rsp_ready, revoke), &response, &refusal);
    m.section("Responses that are certain to come and were not taken yet");
    m.output("rsp_pending", pending + is(operation::COMPLETE).resize(count_width(d)));
    m.assign(c_done, is(operation::COMPLETE));

    m.part("Miss buffer: two requests, oldest at the front");
    let front = RequestSignals::registers(&mut m, d, "miss_front");
    let back = RequestSignals::registers(&mut m, d, "miss_back");
    let push = m.wire("push_miss", is(operation::LOOKUP) & !hit);
    let pop = m.wire("pop_miss", !misses.is(0) & miss_ready);
    m.set(misses, misses + push.resize(2) - pop.resize(2));
    m.when(pop & misses.is(2), |m| front.set(m, &back));
    m.when(push & (misses.is(0) | (pop & misses.is(1))), |m| front.set(m, &stage));
    m.when(push & misses.is(1) & !pop, |m| back.set(m, &stage));
    m.assign(miss_valid, !misses.is(0));
    m.section("The oldest miss");
    front.outputs(&mut m, d, "miss");

    m.section("Event strobes: a lookup, a hit; where there is a monitor, a request is accepted");
    m.output("ev_lookup", is(operation::LOOKUP));
    m.output("ev_hit", is(operation::LOOKUP) & hit);
    if d.monitor() {
        m.output("ev_accept", accepted);
    }
    m.build()
}

/// The responses in order: the one on offer in registers, those behind it in LUT RAM. `respond` adds one; when the one on offer is
/// revoked it becomes a `refusal`, with its own `id`. The answer is how many there are.
#[names]
fn respond_in_order(
    m: &mut Module,
    d: &Design,
    respond: E,
    (valid, ready, revoke): (E, E, E),
    response: &Response,
    refusal: &Response,
) -> E {
    let width = count_width(d);
    let index = width - 1;
    let [write, read] = ["waiting_write", "waiting_read"].map(|name| m.reg(name, index, 0));
    let waiting = m.reg("waiting", width, 0);
    let stuck = m.wire("response_stuck", valid & !ready);
    let queue = m.wire("queue_response", respond & (stuck | waiting.any()));
    let next = m.wire("next_response", !stuck & waiting.any());
    m.set(valid, stuck | respond | waiting.any());
    m.set(waiting, waiting + queue.resize(width) - next.resize(width));
    m.when(queue, |m| m.set(write, write.inc()));
    m.when(next, |m| m.set(read, read.inc()));
    let offered = response.map(d, |name, value| {
        let value = m.wire(&format!("next_{name}"), value);
        let places = fence::outstanding(d) as usize;
        let ram = m.memory(&format!("waiting_{name}"), places, value.width(), MemoryKind::Distributed);
        let waited = ram.connect(m, (queue, write, value), (hi(), read));
        let register = m.reg_data(&format!("response_{name}_q"), value.width());
        m.when(!stuck, |m| m.set(register, waiting.any().mux(waited, value)));
        register
    });
    m.when(revoke, |m| Response { id: lit(0, d.id_width), ..offered }.set(m, refusal));
    offered.outputs(m, d, "rsp");
    valid.resize(width) + waiting
}
