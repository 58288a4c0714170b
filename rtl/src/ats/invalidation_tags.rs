//! The ATS invalidation requests in flight: a tag (itag) for each, which its completions name.
//!
//! ATS.INVAL takes the lowest free tag; which device it was sent to, and how many completions came, lie in a small RAM. A completion names
//! one or more tags and how many completions answer each of them. It counts if each of its tags is that of a request to its
//! sender; otherwise it is ignored altogether. (Section "IOMMU PCIe ATS commands"; PCI Express Base Specification, "Completing an Invalidate
//! Request".)
//!
//! A request has timed out when its last completion has not come `ats.timeout` cycles after it was sent, or up to a third more; its
//! tag is free then, and `timed_out` stays until IOFENCE.C has said so. Tags are counted in thirds of the time, which costs two bits each
//! instead of a counter.
//!
//! Latency: a completion takes two cycles per tag of the design and 2 more. Never: a tag times out between the two passes over a completion's
//! tags.

use std::rc::Rc;

use crate::design::Design;
use pasidon_hdl::{
    Label, MemoryKind, Module, cat, encode, header, hi, index_width, labels, lit, lo, names, select,
};

/// Tags of the protocol.
const MOST: u32 = 32;

labels! {
    /// What is done with a completion
    pub mod state {
        IDLE,
        /// First pass: are all named tags in flight to this device?
        MATCH,
        /// Second pass: count.
        COUNT,
        DONE,
    }
}

/// Parts of the time after which a request has timed out; it is sent within the first of them, or before.
const PARTS: u32 = 3;

/// Bits of a tag of a design.
pub fn tag_width(d: &Design) -> u32 {
    index_width(d.itags as usize)
}

/// The requests in flight of `d`.
#[names]
pub fn invalidation_tags(d: &Design) -> Rc<Module> {
    let n = d.itags;
    let bits = tag_width(d);
    let mut m = Module::new("invalidation_tags", &header(include_str!("invalidation_tags.rs")));
    let state = m.reg("state", state::WIDTH, state::IDLE);
    let used = m.reg("used", n, 0);
    let tag = m.reg("tag", bits, 0);

    m.section("The tag of the next request: does not change until it is sent");
    let want = m.input("want", 1);
    let offered = m.reg("offered", 1, 0);
    let next = m.reg_data("next_tag", bits);
    m.output("tag_valid", offered);
    m.output("tag_number", next);
    m.section("It was sent, and to whom");
    let sent = m.input("sent", 1);
    let sent_dsv = m.input("sent_dsv", 1);
    let sent_dseg = m.input("sent_dseg", 8);
    let sent_rid = m.input("sent_rid", 16);
    m.section("A completion of a device: held until done");
    let valid = m.input("valid", 1);
    let did = m.input("did", d.device_id_width).resize(24);
    let itags = m.input("itags", MOST);
    let count = m.input("count", 3);
    m.output("done", state.is(state::DONE));

    m.part("What is in flight");
    let free = m.wire("free", !used);
    m.set(offered, (offered | (want & free.any())) & !sent & want);
    m.when(!offered, |m| m.set(next, encode(&free.lowest_bit().split(), bits)));
    let depth = (n as usize).next_power_of_two().max(2);
    let receiver = cat(&[sent_dsv, sent_dseg, sent_rid]);
    let receivers = m.memory("receivers", depth, receiver.width(), MemoryKind::Distributed);
    let receiver = receivers.connect(&mut m, (sent, next, receiver), (hi(), tag));
    let (rid, dseg, dsv) = (receiver.bits(0, 16), receiver.bits(16, 8), receiver.bit(24));
    // A request that names no segment may be answered from any.
    let same = rid.eq(did.bits(0, 16)) & (!dsv | dseg.eq(did.bits(16, 8)));
    let one = m.wire("one", tag.decode(n));
    let in_flight = m.wire("in_flight", select(tag, &used.split()) & same);
    let named = m.wire("named", select(tag, &itags.bits(0, n).split()));
    let last = tag.is(u64::from(n) - 1);

    m.part("Completions");
    // Sending writes the RAM: counting waits that long.
    let counts = m.wire("counts", state.is(state::COUNT) & !sent);
    let came = m.memory("completions", depth, 3, MemoryKind::Distributed);
    let written = m.wire_later("completions_written", 3);
    let write = (sent | (counts & named), sent.mux(next, tag), written);
    let more = came.connect(&mut m, write, (hi(), tag)).inc();
    m.assign(written, (!sent).gate(more));
    let complete = m.wire("complete", counts & named & more.eq(count));
    let beyond = if n < MOST { itags.bits(n, MOST - n).any() } else { lo() };
    let advance = |m: &mut Module, then: Label| {
        m.set(tag, tag.inc());
        m.when(last, |m| {
            m.set(tag, lit(0, bits));
            m.set(state, lit(then, state::WIDTH));
        });
    };
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.set(tag, lit(0, bits));
            let nothing = beyond | itags.none();
            m.when(valid, |m| {
                m.set(state, nothing.mux(lit(state::DONE, state::WIDTH), lit(state::MATCH, state::WIDTH)))
            });
        });
        s.case(m, state::MATCH, |m| {
            m.when_else(
                named & !in_flight,
                |m| m.set(state, lit(state::DONE, state::WIDTH)),
                |m| advance(m, state::COUNT),
            );
        });
        s.case(m, state::COUNT, |m| m.when(counts, |m| advance(m, state::DONE)));
        s.default(m, |m| m.set(state, lit(state::IDLE, state::WIDTH)));
    });

    m.part("Time");
    let part = u64::from(d.ats_timeout.div_ceil(PARTS));
    let clock_bits = 64 - (part - 1).leading_zeros();
    let clock = m.reg("clock", clock_bits, 0);
    let wraps = clock.is(part - 1);
    m.set(clock, (!wraps).gate(clock.inc()));
    // A part that ends while a completion is looked at ends after it.
    let due = m.reg("due", 1, 0);
    let tick = m.wire("tick", due & state.is(state::IDLE) & !valid);
    m.set(due, wraps | (due & !tick));
    let begun = m.wire("begun", sent.gate(next.decode(n)));
    let mut late = vec![];
    for i in 0..n {
        let age = m.reg_data(&format!("age_{i}"), 2);
        m.when(tick, |m| m.set(age, age.inc()));
        m.when(begun.bit(i), |m| m.set(age, lit(0, 2)));
        late.push(used.bit(i) & age.is(u64::from(PARTS)));
    }
    late.reverse();
    let late = m.wire("late", tick.gate(cat(&late)));
    m.set(used, (used & !complete.gate(one) & !late) | begun);

    m.section("Every tag is in use");
    m.output("exhausted", used.all());
    m.section("For IOFENCE.C: nothing is in flight; something timed out, and was not reported");
    m.output("none_in_flight", used.none());
    let timed_out = m.reg("timed_out_q", 1, 0);
    let reported = m.input("reported", 1);
    m.set(timed_out, late.any() | (timed_out & !reported));
    m.output("timed_out", timed_out);
    m.section("Tags that time out in this cycle");
    m.output("ev_timeout", late.resize(MOST));
    m.build()
}
