//! Context cache: device contexts (DDTC) or process contexts (PDTC), fully associative, shared by all walkers.
//!
//! Latency: `hit` and `data` follow the lookup tag by one cycle; the result of a lookup in the cycle of an invalidation is undefined.
//! A fill may repeat an entry that is there already; the first match answers. Never: a fill in the cycle of an invalidation (the
//! walker that brings it is stale).

use super::{payload, victim};
use crate::design::Design;
use pasidon_hdl::{E, Module, any_of, cat, header, hi, lit, lo, lowest, names};
use std::rc::Rc;

/// Which contexts a cache holds, and what its entries are found by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum ContextKind {
    /// device_id: device contexts.
    Device,
    /// device_id and process_id: process contexts.
    Process,
}

/// A context cache of `entries` entries, each of words of these widths.
#[names]
pub fn context_cache(d: &Design, contexts: ContextKind, entries: u32, widths: &[u32]) -> Rc<Module> {
    let kind = match contexts {
        ContextKind::Device => "ddtc",
        ContextKind::Process => "pdtc",
    };
    let mut m = Module::new(kind, &header(include_str!("context_cache.rs")));
    let process = contexts == ContextKind::Process;
    let pid = |m: &mut Module, name: &str| {
        if process { m.input(name, d.process_id_width) } else { lit(0, d.process_id_width) }
    };
    m.section("Lookup: the answer is there in the next cycle; without one it is a miss");
    let lookup = m.input("lookup", 1);
    let did = m.input("device_id", d.device_id_width);
    let process_id = pid(&mut m, "process_id");
    m.section("Fill");
    let fill = m.input("fill", 1);
    let fill_did = m.input("fill_device_id", d.device_id_width);
    let fill_pid = pid(&mut m, "fill_process_id");
    let fill_data: Vec<E> =
        widths.iter().enumerate().map(|(w, width)| m.input(&format!("fill_data{w}"), *width)).collect();
    m.section("Invalidation: every entry, or those of device_id, or of device_id and process_id");
    let kill = m.input("kill", 1);
    let kill_device = m.input("kill_device", 1);
    let kill_did = m.input("kill_device_id", d.device_id_width);
    let (kill_process, kill_pid) = if process {
        (m.input("kill_process", 1), pid(&mut m, "kill_process_id"))
    } else {
        (lo(), process_id)
    };

    // Lookups and invalidations share the comparators: who looks up in the cycle of an invalidation looks up again.
    let device_asked = kill.mux(kill_did, did);
    let process_asked = kill.mux(kill_pid, process_id);
    let any_device = m.wire("any_device", kill & !kill_device);
    let any_process = if process { m.wire("any_process", kill & !kill_process) } else { hi() };
    let active = m.wire("active", lookup | kill);

    let valid = m.reg("valid", entries, 0);
    let victim = victim(&mut m, valid, fill);
    let mut named = vec![];
    for i in 0..entries {
        let device = m.reg_data(&format!("device_id_{i}"), d.device_id_width);
        m.when(fill & victim.bit(i), |m| m.set(device, fill_did));
        let conditions = [active, valid.bit(i), any_device | device.eq(device_asked)];
        let of_process = if process {
            let own = m.reg_data(&format!("process_id_{i}"), d.process_id_width);
            m.when(fill & victim.bit(i), |m| m.set(own, fill_pid));
            any_process | own.eq(process_asked)
        } else {
            hi()
        };
        named.push(m.wire_if(&format!("named_{i}"), &conditions, of_process));
    }
    m.when(fill, |m| m.set(valid, valid | victim));
    let survivors: Vec<E> = named.iter().rev().map(|named| !*named).collect();
    m.when(kill, |m| m.set(valid, valid & cat(&survivors)));

    m.never("a fill in the cycle of an invalidation", fill & kill);

    m.section("The answer");
    let hit = m.reg_data("hit_q", 1);
    m.set(hit, any_of(named.iter().copied()));
    m.output("hit", hit);
    let chosen = lowest(&named);
    for (w, value) in fill_data.into_iter().enumerate() {
        let word = payload(&mut m, &format!("data{w}_of"), (fill, victim), value, &chosen);
        let register = m.reg_data(&format!("data{w}_q"), word.width());
        m.set(register, word);
        m.output(&format!("data{w}"), register);
    }
    m.build()
}
