//! The performance monitor: a cycle counter, and event counters with filters.
//!
//! Each translation port and each walker can have events in the same cycle; a counter adds all that it selects. An event is
//! counted two cycles after it happened. Requests are counted when a port accepts them, whatever becomes of them; misses and walks
//! when a walker meets them, so that PSCID and GSCID are those of the contexts that it uses. A request that waits for the
//! walk of another of the same page is no miss of its own. An address that is not canonical is refused before its first-stage walk, one
//! that is too wide for the second stage by that walk, which counts. A filter by PSCID or GSCID (`IDT` 1) on an event that has none counts
//! nothing. (Sections "Performance-monitoring counter overflow status" to "Performance-monitoring event selectors".)
//!
//! An `eventID` that is not a standard event leaves the old one. Never: an event is lost because another happens at the same time.

use std::rc::Rc;

use pasidon_spec::registers::{iocountinh, iocountovf, iohpmcycles};

use super::counter::{Sources, counter};
use crate::design::Design;
use crate::regs::words::{ReadMap, WriteBus};
use crate::signals::events::{RequestEvents, WalkEvents};
use crate::translate::miss_table::translated_requesters;
use pasidon_hdl::{Bundle, E, Module, any_of, cat, header, hi, names};

/// The performance monitor of `d`.
#[names]
pub fn hpm(d: &Design) -> Rc<Module> {
    let mut m = Module::new("hpm", &header(include_str!("hpm.rs")));
    let bus = WriteBus::inputs(&mut m, "reg_");
    m.section("Read: doubleword index, data in the same cycle, 0 outside of the monitor's registers");
    let rd_index = m.input("reg_rd_index", 9);
    let rd_data = m.output_later("reg_rd_data", 64);

    let sources = Sources {
        requests: (0..translated_requesters(d))
            .map(|i| {
                let name =
                    if i < d.ports { format!("Requests of port {i}") } else { "Debug requests".into() };
                m.section(&name);
                registered::<RequestEvents>(&mut m, d, &format!("req{i}"))
            })
            .collect(),
        walks: (0..d.walkers)
            .map(|i| {
                m.section(&format!("Events of walker {i}"));
                registered::<WalkEvents>(&mut m, d, &format!("walk{i}"))
            })
            .collect(),
    };

    let mut map = ReadMap::default();
    let inhibit = bus.to(&iocountinh::REG);
    let inhibit_cycles = m.reg("inhibit_cycles", 1, 0);
    let inhibit_events = m.reg("inhibit_events", d.hpm_counters, 0);
    m.when(inhibit.low, |m| {
        m.set(inhibit_cycles, inhibit.field(iocountinh::CY));
        m.set(inhibit_events, inhibit.field(iocountinh::HPM).bits(0, d.hpm_counters));
    });
    map.add(&iocountinh::REG, &[(iocountinh::CY, inhibit_cycles), (iocountinh::HPM, inhibit_events)]);

    let (cycles_of, cycles_due) = cycles(&mut m, bus, &mut map, !inhibit_cycles);
    let mut overflows = vec![];
    let mut dues = vec![cycles_due];
    for i in 0..d.hpm_counters {
        let run = !inhibit_events.bit(i);
        let (of, due) = counter(&mut m, i as u8, bus, &mut map, run, &sources);
        overflows.push(of);
        dues.push(due);
    }
    overflows.reverse();
    map.add(&iocountovf::REG, &[(iocountovf::CY, cycles_of), (iocountovf::HPM, cat(&overflows))]);
    let word = map.read(rd_index);
    m.assign(rd_data, word);
    m.section("A counter wrapped whose overflow bit was 0: one cycle");
    m.output("overflow", any_of(dues));
    m.build()
}

/// Inputs `PREFIX_*`, as they were in the last cycle.
fn registered<B: Bundle>(m: &mut Module, of: &B::Of, prefix: &str) -> B {
    let now = B::inputs(m, of, prefix);
    let last = B::registers(m, of, &format!("last_{prefix}"));
    last.set(m, &now);
    last
}

/// `iohpmcycles`; returns its overflow bit and whether an interrupt is due.
#[names]
fn cycles(m: &mut Module, bus: WriteBus, map: &mut ReadMap, run: E) -> (E, E) {
    let write = bus.to(&iohpmcycles::REG);
    let low = m.reg("cycles_low", 32, 0);
    let high = m.reg("cycles_high", 31, 0);
    let of = m.reg("cycles_of", 1, 0);
    let carry = m.wire("cycles_carry", run & low.all());
    let wraps = carry & high.all();
    m.when(run, |m| m.set(low, low.inc()));
    m.when(carry, |m| m.set(high, high.inc()));
    let counter = write.field(iohpmcycles::COUNTER);
    m.when(write.low, |m| m.set(low, counter.bits(0, 32)));
    m.when(write.high, |m| {
        m.set(high, counter.bits(32, 31));
        m.set(of, write.field(iohpmcycles::OF));
    });
    m.when(wraps, |m| m.set(of, hi()));
    map.add(&iohpmcycles::REG, &[(iohpmcycles::COUNTER, cat(&[high, low])), (iohpmcycles::OF, of)]);
    (of, wraps & !of)
}
