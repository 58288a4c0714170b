//! Writes fault records into the fault queue.
//!
//! A record is taken from its source where it stands: the source holds it until `fault_ready`, so that no copy is kept. It is
//! written as one burst of 4 beats, and `fqt` moves on when memory has confirmed it. A record that cannot be written is
//! dropped in the cycle after it is offered: while the queue is off, while `fqmf` or `fqof` is set, or when the queue is full
//! (which sets `fqof`). So faults never stall translation for longer than a write takes. A record takes 8 cycles when
//! memory is always ready and confirms at once. Its doublewords have the byte order of `fctl.BE`. (Section "Fault/Event-Queue (FQ)"; registers `fqb` to `fqcsr`.)
//!
//! Whether the record is to be reported at all (`DTF`) was decided before it came here.

use std::rc::Rc;

use pasidon_spec::fault::RECORD_BYTES;

use super::{Tail, entry_address};
use crate::design::Design;
use crate::signals::fault::FaultRecord;
use crate::signals::request::ppn_width;
use pasidon_hdl::{Bundle, E, Module, cat, header, labels, lit, lo, names, select};

labels! {
    /// What is done with a fault record
    pub mod state {
        IDLE,
        DROP,
        OVERFLOW,
        ADDRESS,
        DATA,
        RESPONSE,
    }
}

/// The fault queue of `design`.
#[names]
pub fn fault_queue(design: &Design) -> Rc<Module> {
    let width = design.fault_log2_max;
    let mut m = Module::new("fault_queue", &header(include_str!("fault_queue.rs")));
    let to = |state| lit(state, state::WIDTH);
    let state = m.reg("state", state::WIDTH, state::IDLE);
    let beat = m.reg_data("beat", 2);

    m.section("What software set");
    let enable = m.input("enable", 1);
    let stop = m.input("stop", 1);
    let base = m.input("base", ppn_width(design));
    let mask = m.input("mask", width);
    let head = m.input("head", width);
    let big_endian = if design.big_endian { m.input("big_endian", 1) } else { lo() };

    m.section("A fault record; held until ready");
    let fault_valid = m.input("fault_valid", 1);
    let fault_ready = m.output_later("fault_ready", 1);
    let doublewords = doublewords(&FaultRecord::inputs(&mut m, design, "fault"));

    let place = Tail::registers(&mut m, "fq_on_state", mask, head);
    let Tail { on, settled, tail, full, .. } = place;

    m.section("Write port: one burst of 4 beats");
    m.output("wr_valid", state.is(state::ADDRESS));
    let wr_ready = m.input("wr_ready", 1);
    m.output("wr_addr", entry_address(base, tail, RECORD_BYTES.trailing_zeros()));
    m.output("wr_len", lit(RECORD_BYTES / 8 - 1, 8));
    m.output("wr_size", lit(3, 3));
    let wd_ready = m.input("wd_ready", 1);
    let data = select(beat, &doublewords);
    m.output("wd_data", big_endian.mux(data.swap_bytes(), data));
    m.output("wd_strb", lit(0xff, 8));
    let wr_done = m.input("wr_done", 1);
    let wr_error = m.input("wr_error", 1);

    // `beat` is the one that is taken next: after the last, the first again.
    let last = state.is(state::DATA) & beat.none() & wd_ready;
    m.assign(fault_ready, last | state.is(state::DROP) | state.is(state::OVERFLOW));

    m.section("State of the queue, and what it reports (one cycle each)");
    m.output("on", on);
    m.output("tail_index", tail);
    m.output("overflow", state.is(state::OVERFLOW));
    m.output("memory_fault", state.is(state::RESPONSE) & wr_done & wr_error);
    m.output("recorded", state.is(state::RESPONSE) & wr_done & !wr_error);
    // The record is taken when memory takes its last beat: an output of the core must not follow that at once.
    let reported = m.reg("reported", 1, 0);
    m.set(reported, fault_valid & fault_ready);
    m.output("ev_fault", reported);

    m.set(settled, state.is(state::IDLE));
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            let usable = enable & on & !stop;
            m.set(beat, lit(0, 2));
            place.follow(m, enable);
            m.when(settled & fault_valid, |m| {
                let written = full.mux(to(state::OVERFLOW), to(state::ADDRESS));
                m.set(state, usable.mux(written, to(state::DROP)));
            });
        });
        s.case(m, state::ADDRESS, |m| {
            m.when(wr_ready, |m| {
                m.set(beat, beat.inc());
                m.set(state, to(state::DATA));
            });
        });
        s.case(m, state::DATA, |m| {
            m.when(wd_ready, |m| {
                m.set(beat, beat.inc());
                m.when(beat.none(), |m| m.set(state, to(state::RESPONSE)));
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

/// The four doublewords of a record, as they stand in memory.
#[names]
fn doublewords(r: &FaultRecord) -> Vec<E> {
    // Most significant first: the fields of the first doubleword leave no gaps.
    vec![cat(&[r.did, r.ttyp, r.privileged, r.pv, r.pid, r.cause]), lit(0, 64), r.iotval, r.iotval2]
}
