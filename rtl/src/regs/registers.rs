//! The registers that every design has, and the interrupts that come of them.
//!
//! A write takes effect in the cycle after it is on the bus; reads are combinational and 0 at an offset that has no register
//! here: other blocks' registers are joined to these with OR. Registers of features that `capabilities` does not report read 0
//! and ignore writes. What a write does to each register is said in the file of its group. (Chapter "Memory-mapped register
//! interface".)

use std::rc::Rc;

use pasidon_spec::field::Field;
use pasidon_spec::registers::{capabilities as cap, icvec, ipsr};

use super::directory::directory;
use super::features::{capabilities, features_control, quality_of_service};
use super::interrupts::{Cause, interrupts};
use super::queues::{command_queue, fault_queue, page_request_queue};
use super::words::{ReadMap, WriteBus};
use crate::design::Design;
use pasidon_hdl::{Module, header, lit, lo, names};

/// The registers of `design`.
#[names]
pub fn registers(design: &Design) -> Rc<Module> {
    let mut m = Module::new("registers", &header(include_str!("registers.rs")));

    let bus = WriteBus::inputs(&mut m, "");
    m.section("Read: doubleword index, data in the same cycle");
    let rd_index = m.input("rd_index", 9);
    let rd_data = m.output_later("rd_data", 64);

    let mut map = ReadMap::default();
    map.add(&cap::REG, &[(Field { lo: 0, width: 64, ..cap::VERSION }, lit(capabilities(design), 64))]);
    let wired = features_control(&mut m, design, bus, &mut map);
    directory(&mut m, design, bus, &mut map);
    let command = command_queue(&mut m, design, bus, &mut map);
    let fault = fault_queue(&mut m, design, bus, &mut map);
    let page_request = design.ats.then(|| page_request_queue(&mut m, design, bus, &mut map));
    if design.qosid {
        quality_of_service(&mut m, bus, &mut map);
    }
    let mut causes = vec![
        Cause { name: "ci", pending: ipsr::CIP, vector: icvec::CIV, condition: command, event: lo() },
        Cause {
            name: "fi",
            pending: ipsr::FIP,
            vector: icvec::FIV,
            condition: fault.condition,
            event: fault.event,
        },
    ];
    if design.monitor() {
        m.section("Performance monitor: a counter overflowed (one cycle)");
        let event = m.input("monitor_overflow", 1);
        let (pending, vector) = (ipsr::PMIP, icvec::PMIV);
        causes.push(Cause { name: "pmi", pending, vector, condition: lo(), event });
    }
    if let Some(queue) = page_request {
        let (pending, vector) = (ipsr::PIP, icvec::PIV);
        causes.push(Cause { name: "pi", pending, vector, condition: queue.condition, event: queue.event });
    }
    interrupts(&mut m, design, bus, &mut map, &causes, wired);
    let word = map.read(rd_index);
    m.assign(rd_data, word);
    m.build()
}
