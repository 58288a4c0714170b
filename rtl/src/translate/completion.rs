//! Completion: takes the results of finished walks in turn, keeps what they loaded in the context caches, reports faults,
//! and answers the request and all others that waited for the same page.
//!
//! Latency: a finished walk is copied in one cycle and its completion is offered to the port in the next. A waiter whose
//! access the translation does not grant, and every waiter of a fault, walks for itself: each fault is its own.
//!
//! A result that an invalidation overtook answers its requests and is not kept: `late` tells the fence to wait for it. So no request
//! needs another walk because of an invalidation. Bound: every port takes a completion within 2 cycles, whatever its device does. Never: a
//! stale translation or context is kept.

use super::miss_table::{entry_width, port_width, requesters, round_robin, walker_width};
use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::context::word_outputs;
use crate::signals::fault::FaultRecord;
use crate::signals::request::{RequestSignals, TranslationSignals, is_canonical};
use crate::signals::result::{Answer, WalkEnd, WalkResult};
use pasidon_hdl::{Bundle, E, Label, Module, any_of, cat, encode, header, hi, labels, lit, lo, names};
use pasidon_spec::fault::{AtsResponse, Cause};
use std::rc::Rc;

labels! {
    /// What is done with a result
    pub mod state {
        IDLE,
        REPORT,
        DELIVER,
        WAITERS,
    }
}

/// The completion unit.
#[names]
pub fn completion(d: &Design) -> Rc<Module> {
    let n = d.walkers as usize;
    let mut m = Module::new("completion", &header(include_str!("completion.rs")));
    let state = m.reg("state", state::WIDTH, state::IDLE);
    let goto = |m: &mut Module, s: Label| m.set(state, lit(s, state::WIDTH));
    m.section("Something was invalidated: the result under way is stale");
    let mark = m.input("mark", 1);

    m.part("Results of the walkers");
    let mut done = vec![];
    let mut results = vec![];
    for i in 0..n {
        m.section(&format!("Result of walker {i}"));
        done.push(m.input(&format!("done{i}"), 1));
        results.push(WalkResult::inputs(&mut m, d, &format!("r{i}")));
    }
    let copy = m.wire("copy", state.is(state::IDLE) & any_of(done.iter().copied()));
    let grant = round_robin(&mut m, "walker", &done, copy);
    m.section("Walkers whose result is being taken");
    for (i, g) in grant.iter().enumerate() {
        m.output(&format!("release{i}"), copy & *g);
    }
    let held = WalkResult::registers(&mut m, d, "held");
    let taken = WalkResult::chosen(&grant, &results);
    m.when(copy, |m| {
        // An invalidation in this cycle is not in the walker's own flag yet.
        let end = WalkEnd { stale: taken.end.stale | mark, ..taken.end };
        held.set(m, d, &WalkResult { end, ..taken.clone() });
    });
    let (end, translation) = (held.end, held.translation);
    let (ok, stale) = (end.ok, end.stale);
    let fresh = m.reg("fresh", 1, 0);
    m.set(fresh, copy);
    m.when(mark & !copy, |m| m.set(stale, hi()));
    m.section("A stale result is being delivered: a fence waits");
    m.output("late", stale & !state.is(state::IDLE));

    m.part("Context fills, in the cycle after the copy");
    m.section("To the DDTC and PDTC");
    let keep = fresh & !stale & !mark;
    m.output("dc_fill", keep & end.dc_loaded);
    m.output("pc_fill", keep & end.pc_loaded);
    m.output("fill_device_id", end.device_id);
    m.output("fill_process_id", end.process_id);
    word_outputs(&mut m, "fill_dc", &held.dc);
    word_outputs(&mut m, "fill_pc", &held.pc);

    m.part("The miss table");
    m.section("The miss table: the request of c_entry, and the first that was woken");
    let request = RequestSignals::inputs(&mut m, d, "c");
    let port = m.input("c_port", port_width(d));
    let woken = m.input("woken_valid", 1);
    let woken_entry = m.input("woken_entry", entry_width(d));
    let entry = m.reg_data("entry", entry_width(d));
    let primary = m.reg_data("primary", 1);
    m.when(copy, |m| {
        m.set(entry, taken.end.entry);
        m.set(primary, hi());
    });

    m.part("Fault record");
    m.section("To the fault queue");
    let fault_ready = m.input("fault_ready", 1);
    // The fault queue writes the record from where it stands: once it is offered it stays.
    m.output("fault_valid", state.is(state::REPORT));
    FaultRecord {
        cause: end.cause,
        pid: request.process_id.resize(20),
        pv: request.pid_valid,
        privileged: request.privileged,
        ttyp: transaction_type(&request),
        did: request.device_id.resize(24),
        iotval: request.iova,
        iotval2: end.iotval2,
    }
    .outputs(&mut m, d, "fault");

    m.part("Delivery");
    // A message that the walk stored was one request's own.
    let granted = ok & !end.mrif & (translation.permissions & request.needs()).any();
    let deliver = m.wire("deliver", state.is(state::DELIVER) & (primary | granted));
    let others = if d.ats { "the debug interface and messages" } else { "the debug interface" };
    m.section(&format!("To the ports, and after them {others}: hold valid until done"));
    let mut dones = vec![];
    for p in 0..requesters(d) {
        let mine = if requesters(d) == 1 { hi() } else { port.is(u64::from(p)) };
        m.output(&format!("c{p}_valid"), deliver & mine);
        dones.push(m.input(&format!("c{p}_done"), 1) & mine);
    }
    let delivered = m.wire("delivered", state.is(state::DELIVER) & any_of(dones));
    m.section("What is completed");
    // The IOTLB holds what untranslated requests are answered.
    let untranslated = if d.ats { request.at.is(0) } else { hi() };
    let cacheable = ok & end.refill & is_canonical(d, request.iova) & untranslated & !stale;
    let asks = request.asks(d);
    Answer {
        ok,
        cause: end.cause,
        refill: cacheable,
        mrif: end.mrif & ok,
        ats_withheld: end.withheld,
        ats_abort: asks & !ok & !end.withheld & !is_unsupported(end.cause),
        ats_global: asks & ok & request.pid_valid & translation.global,
        ats_cxl_io: asks & ok & end.cxl_io,
        ats_untranslated: ok & end.untranslated,
        guest_high: end.guest_high,
    }
    .outputs(&mut m, d, "c");
    let permissions =
        asks.mux(without_unasked(translation.permissions, request.exec), translation.permissions);
    TranslationSignals { permissions, ..translation }.outputs(&mut m, d, "c");
    if d.has_l2() {
        m.section("To the L2 TLB: keep what a walk found");
        m.output("l2_fill", delivered & primary & cacheable & !end.known & !mark);
    }
    let retry = m.wire("retry", state.is(state::DELIVER) & !primary & !granted);
    m.section("Answers to the miss table");
    m.output("c_entry", entry);
    m.output("c_free", delivered);
    m.output("c_retry", retry);
    m.output("c_wake", copy);
    m.output("c_wake_walker", encode(&grant, walker_width(d)));

    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            let faulty = !taken.end.ok & taken.end.report;
            m.when(copy, |m| {
                m.set(state, faulty.mux(lit(state::REPORT, state::WIDTH), lit(state::DELIVER, state::WIDTH)))
            });
        });
        s.case(m, state::REPORT, |m| m.when(fault_ready, |m| goto(m, state::DELIVER)));
        s.case(m, state::DELIVER, |m| m.when(delivered | retry, |m| goto(m, state::WAITERS)));
        s.default(m, |m| {
            m.set(entry, woken_entry);
            m.set(primary, lo());
            m.set(state, woken.mux(lit(state::DELIVER, state::WIDTH), lit(state::IDLE, state::WIDTH)));
        });
    });
    m.build()
}

/// Permissions as a translation request gets them: X only if it asks for it and R goes with it. (Section "PCIe ATS translation
/// request handling".)
#[names]
fn without_unasked(permissions: E, exec: E) -> E {
    let level = |from: u32| {
        let (read, write) = (permissions.bit(from), permissions.bit(from + 1));
        cat(&[permissions.bit(from + 2) & read & exec, write, read])
    };
    cat(&[level(3), level(0)])
}

/// Whether a translation request that meets this cause is an unsupported request.
#[names]
fn is_unsupported(fault: E) -> E {
    let causes = Cause::ALL.iter().filter(|c| c.ats_response() == Some(AtsResponse::UnsupportedRequest));
    any_of(causes.map(|c| fault.is(cause_label(*c))))
}

/// TTYP of a request. (Section "Fault/Event-Queue (FQ)".)
#[names]
fn transaction_type(q: &RequestSignals) -> E {
    use pasidon_spec::fault::ttyp;
    let access =
        |exec: u64, read: u64, write: u64| q.exec.mux(lit(exec, 6), q.write.mux(lit(write, 6), lit(read, 6)));
    let untranslated =
        access(ttyp::UNTRANSLATED_READ_FOR_EXECUTE, ttyp::UNTRANSLATED_READ, ttyp::UNTRANSLATED_WRITE);
    let translated = access(ttyp::TRANSLATED_READ_FOR_EXECUTE, ttyp::TRANSLATED_READ, ttyp::TRANSLATED_WRITE);
    let access =
        q.at.is(0).mux(untranslated, q.at.bit(1).mux(translated, lit(ttyp::ATS_TRANSLATION_REQUEST, 6)));
    q.message.mux(lit(ttyp::MESSAGE_REQUEST, 6), access)
}
