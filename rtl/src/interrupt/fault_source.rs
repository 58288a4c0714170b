//! Puts the fault records of two sources, translation and interrupt messages, one after the other.
//!
//! No latency: what a source offers passes in the same cycle. A record that has been offered stays on offer until it was
//! taken; between records the messages come first. Never: a record changes while the fault queue writes it.

use std::rc::Rc;

use crate::signals::cause::cause_label;
use pasidon_spec::fault::{Cause, record, ttyp};
use pasidon_spec::field::Field;

use pasidon_hdl::{E, Module, header, lit, names};

/// The fields of a record: port name and layout.
const FIELDS: [(&str, Field); 8] = [
    ("cause", record::CAUSE),
    ("pid", record::PID),
    ("pv", record::PV),
    ("priv", record::PRIV),
    ("ttyp", record::TTYP),
    ("did", record::DID),
    ("iotval", record::IOTVAL),
    ("iotval2", record::IOTVAL2),
];

/// The choice between records.
#[names]
pub fn fault_source() -> Rc<Module> {
    let mut m = Module::new("fault_source", &header(include_str!("fault_source.rs")));
    m.section("A fault of a translation; held until ready");
    let translation = m.input("fault_valid", 1);
    let fields: Vec<E> =
        FIELDS.iter().map(|(name, f)| m.input(&format!("fault_{name}"), f.width.into())).collect();
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
    let mut record = vec![];
    for ((name, field), value) in FIELDS.iter().zip(fields) {
        let own = match *name {
            "cause" => lit(cause_label(Cause::IommuMsiWriteAccessFault), field.width.into()),
            "ttyp" => lit(ttyp::NONE, field.width.into()),
            "iotval" => address,
            _ => lit(0, field.width.into()),
        };
        record.push(m.output(&format!("out_{name}"), chosen.mux(own, value)));
    }
    m.held("record", valid, ready, &record);
    m.section("Acceptance of each");
    m.output("fault_ready", ready & !chosen);
    m.output("message_ready", ready & chosen);
    m.build()
}
