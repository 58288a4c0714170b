//! Writes page requests into the page-request queue.
//!
//! A page request is taken from its source where it stands, so that no copy is kept. It is written as one burst of 2 beats, and `pqt`
//! moves on when memory has confirmed it. One that cannot be written is given back: while the queue is off or `pqmf` is
//! set; while `pqof` is set or the queue is full (which sets `pqof`); and when the write fails (which sets `pqmf`). A record takes
//! 6 cycles when memory is always ready and confirms at once. Its doublewords have the byte order of `fctl.BE`. (Section
//! "Page-Request-Queue (PQ)"; registers `pqb` to `pqcsr`.)
//!
//! Never: two records are under way, or `pqon` falls while one is.

use std::rc::Rc;

use pasidon_spec::page_request::RECORD_BYTES;

use super::{Tail, entry_address};
use crate::design::Design;
use crate::signals::request::ppn_width;
use pasidon_hdl::{Module, cat, header, hi, labels, lit, lo, names};

labels! {
    /// What is done with a page request
    pub mod state {
        IDLE,
        /// It is not written: the queue is off, or has met a memory fault.
        OFF,
        /// It is not written: the queue is full, or has overflowed.
        FULL,
        ADDRESS,
        DATA,
        RESPONSE,
    }
}

/// The page-request queue of `design`.
#[names]
pub fn page_request_queue(design: &Design) -> Rc<Module> {
    let width = design.page_request_log2_max;
    let mut m = Module::new("page_request_queue", &header(include_str!("page_request_queue.rs")));
    let to = |state| lit(state, state::WIDTH);
    let state = m.reg("state", state::WIDTH, state::IDLE);
    // The beat that is taken next is the second.
    let second = m.reg_data("second", 1);

    m.section("What software set, and why nothing is written");
    let enable = m.input("enable", 1);
    let faulted = m.input("faulted", 1);
    let overflowed = m.input("overflowed", 1);
    let base = m.input("base", ppn_width(design));
    let mask = m.input("mask", width);
    let head = m.input("head", width);
    let big_endian = if design.big_endian { m.input("big_endian", 1) } else { lo() };

    m.section("A page request; held until done");
    let valid = m.input("pr_valid", 1);
    let did = m.input("pr_did", design.device_id_width);
    let pv = m.input("pr_pv", 1);
    let pid = m.input("pr_pid", design.process_id_width);
    let privileged = m.input("pr_priv", 1);
    let exec = m.input("pr_exec", 1);
    let payload = m.input("pr_payload", 64);
    // Without a PASID, nothing that belongs to one is recorded.
    let ids = cat(&[
        did.resize(24),
        lit(0, 5),
        pv & exec,
        pv & privileged,
        pv,
        pv.gate(pid).resize(20),
        lit(0, 12),
    ]);

    let place = Tail::registers(&mut m, "pq_on_state", mask, head);
    let Tail { on, settled, tail, full, .. } = place;

    m.section("Write port: one burst of 2 beats");
    m.output("wr_valid", state.is(state::ADDRESS));
    let wr_ready = m.input("wr_ready", 1);
    m.output("wr_addr", entry_address(base, tail, RECORD_BYTES.trailing_zeros()));
    m.output("wr_len", lit(RECORD_BYTES / 8 - 1, 8));
    m.output("wr_size", lit(3, 3));
    let wd_ready = m.input("wd_ready", 1);
    let data = second.mux(payload, ids);
    m.output("wd_data", big_endian.mux(data.swap_bytes(), data));
    m.output("wd_strb", lit(0xff, 8));
    let wr_done = m.input("wr_done", 1);
    let wr_error = m.input("wr_error", 1);

    let written = m.wire("written", state.is(state::RESPONSE) & wr_done);
    m.section("What came of it: one cycle in which it is also taken");
    m.output("done", written | state.is(state::OFF) | state.is(state::FULL));
    m.output("queued", written & !wr_error);
    m.output("not_queued_full", state.is(state::FULL));
    m.section("State of the queue, and what it reports (one cycle each)");
    m.output("on", on);
    m.output("tail_index", tail);
    m.output("overflow", state.is(state::FULL));
    m.output("memory_fault", written & wr_error);
    m.output("recorded", written & !wr_error);

    // A record that is being written is the only one, and the queue stays on for it.
    let writing = state.is(state::ADDRESS) | state.is(state::DATA) | state.is(state::RESPONSE);
    m.never("pqon falls while a record is under way", writing & !on);
    m.held("page_request", valid & writing, written, &[ids, payload]);

    m.set(settled, state.is(state::IDLE));
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.set(second, lo());
            place.follow(m, enable);
            m.when(settled & valid, |m| {
                let usable = enable & on & !faulted;
                let next = (overflowed | full).mux(to(state::FULL), to(state::ADDRESS));
                m.set(state, usable.mux(next, to(state::OFF)));
            });
        });
        s.case(m, state::ADDRESS, |m| {
            m.when(wr_ready, |m| {
                m.set(second, hi());
                m.set(state, to(state::DATA));
            });
        });
        s.case(m, state::DATA, |m| {
            m.when(wd_ready, |m| {
                m.set(second, lo());
                m.when(!second, |m| m.set(state, to(state::RESPONSE)));
            });
        });
        s.case(m, state::RESPONSE, |m| {
            m.when(wr_done, |m| {
                m.set(state, to(state::IDLE));
                m.when(!wr_error, |m| place.advance(m));
            });
        });
        s.default(m, |m| m.set(state, to(state::IDLE)));
    });
    m.build()
}
