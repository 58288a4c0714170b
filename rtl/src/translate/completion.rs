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
use crate::signals::context::{device_context_widths, process_context_widths};
use crate::signals::request::{RequestSignals, TranslationSignals, is_canonical};
use pasidon_hdl::{E, Label, Module, any_of, cat, encode, header, hi, labels, lit, lo, names, onehot};
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
    let mut results: Vec<Vec<E>> = vec![];
    let names: Vec<(String, u32)> = result_fields(d);
    for i in 0..n {
        m.section(&format!("Result of walker {i}"));
        done.push(m.input(&format!("done{i}"), 1));
        results.push(names.iter().map(|(name, w)| m.input(&format!("r{i}_{name}"), *w)).collect());
    }
    let copy = m.wire("copy", state.is(state::IDLE) & any_of(done.iter().copied()));
    let grant = round_robin(&mut m, "walker", &done, copy);
    m.section("Walkers whose result is being taken");
    for (i, g) in grant.iter().enumerate() {
        m.output(&format!("release{i}"), copy & *g);
    }
    let held: Vec<E> = names.iter().map(|(name, w)| m.reg_data(&format!("held_{name}"), *w)).collect();
    let index =
        |name: &str| names.iter().position(|(n, _)| n == name).unwrap_or_else(|| panic!("no result {name}"));
    let get = |name: &str| held[index(name)];
    // The field of the walker that is being taken.
    let taken = |name: &str| match results.as_slice() {
        [one] => one[index(name)],
        many => onehot(&grant.iter().zip(many).map(|(g, r)| (*g, r[index(name)])).collect::<Vec<_>>()),
    };
    m.when(copy, |m| {
        for ((name, _), register) in names.iter().zip(&held) {
            // An invalidation in this cycle is not in the walker's own flag yet.
            let also = if name == "stale" { mark } else { lit(0, register.width()) };
            m.set(*register, taken(name) | also);
        }
    });
    let stale = get("stale");
    let stored = if d.msi_mrif { get("mrif") } else { lo() };
    let translation = TranslationSignals::from_fn(d, |name, _| get(name));
    let fresh = m.reg("fresh", 1, 0);
    m.set(fresh, copy);
    m.when(mark & !copy, |m| m.set(stale, hi()));
    m.section("A stale result is being delivered: a fence waits");
    m.output("late", stale & !state.is(state::IDLE));

    m.part("Context fills, in the cycle after the copy");
    m.section("To the DDTC and PDTC");
    let keep = fresh & !stale & !mark;
    m.output("dc_fill", keep & get("dc_loaded"));
    m.output("pc_fill", keep & get("pc_loaded"));
    m.output("fill_device_id", get("device_id"));
    m.output("fill_process_id", get("process_id"));
    for (context, widths) in [("dc", device_context_widths(d)), ("pc", process_context_widths(d))] {
        for w in 0..widths.len() {
            m.output(&format!("fill_{context}{w}"), get(&format!("{context}{w}")));
        }
    }

    m.part("The miss table");
    m.section("The miss table: the request of c_entry, and the first that was woken");
    let request = RequestSignals::inputs(&mut m, d, "c");
    let port = m.input("c_port", port_width(d));
    let woken = m.input("woken_valid", 1);
    let woken_entry = m.input("woken_entry", entry_width(d));
    let entry = m.reg_data("entry", entry_width(d));
    let primary = m.reg_data("primary", 1);
    m.when(copy, |m| {
        m.set(entry, taken("entry"));
        m.set(primary, hi());
    });

    m.part("Fault record");
    let ok = get("ok");
    m.section("To the fault queue");
    let fault_ready = m.input("fault_ready", 1);
    // The fault queue writes the record from where it stands: once it is offered it stays.
    m.output("fault_valid", state.is(state::REPORT));
    m.output("fault_cause", get("cause"));
    m.output("fault_pid", request.process_id.resize(20));
    m.output("fault_pv", request.pid_valid);
    m.output("fault_priv", request.privileged);
    m.output("fault_ttyp", transaction_type(&request));
    m.output("fault_did", request.device_id.resize(24));
    m.output("fault_iotval", request.iova);
    m.output("fault_iotval2", if d.second_stage() { get("iotval2") } else { lit(0, 64) });

    m.part("Delivery");
    // A message that the walk stored was one request's own.
    let granted = ok & !stored & (translation.permissions & request.needs()).any();
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
    m.output("c_ok", ok);
    m.output("c_cause", get("cause"));
    // The IOTLB holds what untranslated requests are answered.
    let untranslated = if d.ats { request.at.is(0) } else { hi() };
    let cacheable = ok & get("refill") & is_canonical(d, request.iova) & untranslated & !stale;
    m.output("c_refill", cacheable);
    if d.msi_mrif {
        m.output("c_mrif", stored & ok);
    }
    let asks = request.asks(d);
    for (name, e) in translation.fields() {
        let e = if name == "permissions" { asks.mux(without_unasked(e, request.exec), e) } else { e };
        m.output(&format!("c_{name}"), e);
    }
    if d.ats {
        m.section("... if it is a translation request");
        for (name, value) in [
            ("withheld", get("withheld")),
            ("abort", asks & !ok & !get("withheld") & !is_unsupported(get("cause"))),
            ("global", asks & ok & request.pid_valid & translation.global),
            ("cxl_io", asks & ok & get("cxl_io")),
        ] {
            m.output(&format!("c_ats_{name}"), value);
        }
        if d.stores_msis() {
            m.output("c_ats_untranslated", ok & get("untranslated"));
        }
        if d.guest_beyond() > 0 {
            m.output("c_guest_high", get("guest_high"));
        }
    }
    if d.has_l2() {
        m.section("To the L2 TLB: keep what a walk found");
        m.output("l2_fill", delivered & primary & cacheable & !get("known") & !mark);
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
            let faulty = !taken("ok") & taken("report");
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

/// The fields of a walker's result, names and widths, as the walker's outputs `r_*`.
pub fn result_fields(d: &Design) -> Vec<(String, u32)> {
    let mut list: Vec<(String, u32)> = [
        ("stale", 1),
        ("entry", entry_width(d)),
        ("ok", 1),
        ("cause", 12),
        ("report", 1),
        ("refill", 1),
        ("known", 1),
        ("device_id", d.device_id_width),
        ("process_id", d.process_id_width),
    ]
    .map(|(n, w)| (n.to_string(), w))
    .into();
    for (context, widths) in [("dc", device_context_widths(d)), ("pc", process_context_widths(d))] {
        list.push((format!("{context}_loaded"), 1));
        list.extend(widths.into_iter().enumerate().map(|(w, width)| (format!("{context}{w}"), width)));
    }
    list.extend(d.second_stage().then(|| ("iotval2".into(), 64)));
    if d.msi_mrif {
        list.push(("mrif".into(), 1));
    }
    if d.ats {
        list.extend(["withheld", "cxl_io"].map(|name| (name.into(), 1)));
        list.extend(d.stores_msis().then(|| ("untranslated".into(), 1)));
        list.extend((d.guest_beyond() > 0).then(|| ("guest_high".into(), d.guest_beyond())));
    }
    TranslationSignals::from_fn(d, |name, width| {
        list.push((name.to_string(), width));
        lit(0, 1)
    });
    list
}

/// The answers to a translation request beside its translation, names and widths, as completion has them.
pub fn ats_answers(d: &Design) -> Vec<(&'static str, u32)> {
    if !d.ats {
        return vec![];
    }
    let mut list = vec![("ats_withheld", 1), ("ats_abort", 1), ("ats_global", 1), ("ats_cxl_io", 1)];
    list.extend(d.stores_msis().then_some(("ats_untranslated", 1)));
    list.extend((d.guest_beyond() > 0).then(|| ("guest_high", d.guest_beyond())));
    list
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
    q.is_message().mux(lit(ttyp::MESSAGE_REQUEST, 6), access)
}
