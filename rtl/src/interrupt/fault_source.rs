//! Puts the fault records of two sources, translation and interrupt messages, one after the other.
//!
//! No latency: what a source offers passes in the same cycle. A record that has been offered stays on offer until it was
//! taken; between records the messages come first. Never: a record changes while the fault queue writes it.

use std::rc::Rc;

use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::fault::FaultRecord;
use pasidon_spec::fault::{Cause, ttyp};

use pasidon_hdl::{Bundle, E, Module, header, lit, names};

/// The choice between records.
#[names]
pub fn fault_source(d: &Design) -> Rc<Module> {
    let mut m = Module::new("fault_source", &header(include_str!("fault_source.rs")));
    m.section("A fault of a translation; held until ready");
    let translation = m.input("fault_valid", 1);
    let of_translation = FaultRecord::inputs(&mut m, d, "fault");
    m.section("A message that could not be written, and its address; held until ready");
    let message = m.input("message_valid", 1);
    let address = m.input("message_addr", 64);
    m.section("To the fault queue");
    let ready = m.input("ready", 1);

    let locked = m.reg("locked", 1, 0);
    let of_message = m.reg_data("of_message", 1);
    let chosen = m.wire("chosen", locked.mux(of_message, message));
    let valid = m.wire("valid", chosen.mux(message, translation));
    m.set(locked, valid & !ready);
    m.set(of_message, chosen);

    m.output("out_valid", valid);
    let zero = FaultRecord::zero(d);
    let own = FaultRecord {
        cause: lit(cause_label(Cause::IommuMsiWriteAccessFault), zero.cause.width()),
        ttyp: lit(ttyp::NONE, zero.ttyp.width()),
        iotval: address,
        ..zero
    };
    let record = own.or(chosen, &of_translation);
    record.outputs(&mut m, d, "out");
    m.held("record", valid, ready, &record.fields(d).into_iter().map(|(_, e)| e).collect::<Vec<E>>());
    m.section("Acceptance of each");
    m.output("fault_ready", ready & !chosen);
    m.output("message_ready", ready & chosen);
    m.build()
}
