//! One event counter with its selector: which events it counts, and how it wraps.

use crate::regs::words::{ReadMap, WriteBus};
use crate::signals::events::{RequestEvents, WalkEvents};
use pasidon_hdl::{E, Module, any_of, cat, hi, index_width, lit, lo, names};
use pasidon_spec::registers::{event, iohpmctr, iohpmevt};

/// The events that can be filtered by PSCID and GSCID.
const BY_ADDRESS_SPACE: [u64; 3] = [event::TLB_MISS, event::FIRST_STAGE_WALKS, event::SECOND_STAGE_WALKS];

/// Bits of the event number that are kept: the standard events.
const EVENT_BITS: u32 = index_bits(event::SECOND_STAGE_WALKS);

const fn index_bits(most: u64) -> u32 {
    u64::BITS - most.leading_zeros()
}

/// The events of the last cycle, in registers.
pub struct Sources {
    /// Of the translation ports.
    pub requests: Vec<RequestEvents>,
    /// Of the walkers.
    pub walks: Vec<WalkEvents>,
}

/// A counter's registers.
struct Selector {
    event: E,
    dmask: E,
    pid_pscid: E,
    did_gscid: E,
    pv_pscv: E,
    dv_gscv: E,
    idt: E,
    of: E,
}

/// Adds counter `index` (0 for `iohpmctr1`) that counts while `run` is 1; returns its overflow bit and whether an interrupt is due.
#[names]
pub fn counter(
    m: &mut Module,
    index: u8,
    bus: WriteBus,
    map: &mut ReadMap,
    run: E,
    sources: &Sources,
) -> (E, E) {
    let number = index + 1;
    let own = |name: &str| format!("{name}_{number}");
    let selector_register = iohpmevt::REG.element(index);
    let write = bus.to(&selector_register);
    let selector = Selector {
        event: m.reg(&own("event"), EVENT_BITS, event::NONE),
        dmask: m.reg(&own("dmask"), 1, 0),
        pid_pscid: m.reg(&own("pid_pscid"), 20, 0),
        did_gscid: m.reg(&own("did_gscid"), 24, 0),
        pv_pscv: m.reg(&own("pv_pscv"), 1, 0),
        dv_gscv: m.reg(&own("dv_gscv"), 1, 0),
        idt: m.reg(&own("idt"), 1, 0),
        of: m.reg(&own("of"), 1, 0),
    };
    let s = &selector;
    m.when(write.low, |m| {
        let written = write.field(iohpmevt::EVENT_ID);
        let known = written.le(lit(event::SECOND_STAGE_WALKS, written.width()));
        m.when(known, |m| m.set(s.event, written.bits(0, EVENT_BITS)));
        m.set(s.dmask, write.field(iohpmevt::DMASK));
    });
    // PID_PSCID lies in both halves.
    let pid = write.field(iohpmevt::PID_PSCID);
    let low = 32 - u32::from(iohpmevt::PID_PSCID.lo);
    let high = pid.width() - low;
    m.when(write.low & !write.high, |m| {
        m.set(s.pid_pscid, cat(&[s.pid_pscid.bits(low, high), pid.bits(0, low)]))
    });
    m.when(write.high & !write.low, |m| {
        m.set(s.pid_pscid, cat(&[pid.bits(low, high), s.pid_pscid.bits(0, low)]))
    });
    m.when(write.low & write.high, |m| m.set(s.pid_pscid, pid));
    m.when(write.high, |m| {
        for (register, field) in [
            (s.did_gscid, iohpmevt::DID_GSCID),
            (s.pv_pscv, iohpmevt::PV_PSCV),
            (s.dv_gscv, iohpmevt::DV_GSCV),
            (s.idt, iohpmevt::IDT),
            (s.of, iohpmevt::OF),
        ] {
            m.set(register, write.field(field));
        }
    });
    map.add(
        &selector_register,
        &[
            (iohpmevt::EVENT_ID, s.event),
            (iohpmevt::DMASK, s.dmask),
            (iohpmevt::PID_PSCID, s.pid_pscid),
            (iohpmevt::DID_GSCID, s.did_gscid),
            (iohpmevt::PV_PSCV, s.pv_pscv),
            (iohpmevt::DV_GSCV, s.dv_gscv),
            (iohpmevt::IDT, s.idt),
            (iohpmevt::OF, s.of),
        ],
    );

    m.part("Events of this cycle that count");
    let one = lit(1, 24);
    let ignored = m.wire(&own("ignored"), s.dmask.gate(s.did_gscid ^ (s.did_gscid + one)));
    let device_matches = |id: E| !s.dv_gscv | ((id.resize(24) ^ s.did_gscid) & !ignored).none();
    let process_matches = |valid: E, id: E| !s.pv_pscv | (valid & id.resize(20).eq(s.pid_pscid));
    let selected = |kinds: Vec<(u64, E)>| any_of(kinds.into_iter().map(|(kind, e)| e & s.event.is(kind)));
    let mut counted = vec![];
    for (i, q) in sources.requests.iter().enumerate() {
        let passes = !s.idt & device_matches(q.device_id) & process_matches(q.pid_valid, q.process_id);
        counted.push(m.wire_if(&own(&format!("counts_request{i}")), &[run, selected(q.kinds())], passes));
    }
    let by_space = any_of(BY_ADDRESS_SPACE.into_iter().map(|kind| s.event.is(kind)));
    for (i, w) in sources.walks.iter().enumerate() {
        let by_device = device_matches(w.device_id) & process_matches(w.pid_valid, w.process_id);
        let of_space = by_space
            & (!s.dv_gscv | w.gscid_valid)
            & device_matches(w.gscid)
            & process_matches(w.pscid_valid, w.pscid);
        let passes = s.idt.mux(of_space, by_device);
        counted.push(m.wire_if(&own(&format!("counts_walk{i}")), &[run, selected(w.kinds())], passes));
    }

    m.part("The count");
    let register = iohpmctr::REG.element(index);
    let write = bus.to(&register);
    let width = index_width(counted.len() + 1);
    let increment = m.wire(
        &own("increment"),
        counted.into_iter().map(|e| e.resize(width)).reduce(|a, b| a + b).unwrap_or_else(lo),
    );
    let low = m.reg(&own("counter_low"), 32, 0);
    let high = m.reg(&own("counter_high"), 32, 0);
    let sum = m.wire(&own("sum"), low.resize(33) + increment.resize(33));
    let carry = sum.bit(32);
    m.when(increment.any(), |m| {
        m.set(low, sum.bits(0, 32));
        m.when(carry, |m| m.set(high, high.inc()));
    });
    m.when(write.low, |m| m.set(low, write.field(iohpmctr::COUNTER).bits(0, 32)));
    m.when(write.high, |m| m.set(high, write.field(iohpmctr::COUNTER).bits(32, 32)));
    map.add(&register, &[(iohpmctr::COUNTER, cat(&[high, low]))]);
    let wraps = m.wire(&own("wraps"), carry & high.all());
    m.when(wraps, |m| m.set(s.of, hi()));
    (s.of, wraps & !s.of)
}
