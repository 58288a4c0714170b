//! Context cache: device contexts (DDTC) or process contexts (PDTC), fully associative, shared by all walkers.
//!
//! Latency: `hit` and `data` follow the lookup tag by one cycle. A fill may repeat an entry that is there already; the
//! first match answers. Never: a fill in the cycle of an invalidation survives it (the walker that brought it is stale).

use super::victim;
use crate::design::Design;
use crate::hdl::{E, Module, any_of, cat, hi, lit, lo, lowest, onehot};
use std::rc::Rc;

/// What tags an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// device_id: device contexts.
    Device,
    /// device_id and process_id: process contexts.
    Process,
}

/// A context cache of `entries` entries, each of words of these widths.
pub fn context_cache(d: &Design, tag: Tag, entries: u32, widths: &[u32]) -> Rc<Module> {
    let (kind, doc) = match tag {
        Tag::Device => ("ddtc", "DDTC: device contexts by device_id."),
        Tag::Process => ("pdtc", "PDTC: process contexts by device_id and process_id."),
    };
    let mut m = Module::new(kind, doc);
    let process = tag == Tag::Process;
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

    let n = entries as usize;
    let valid = m.reg("valid", entries, 0);
    let victim = victim(&mut m, valid, fill);
    let entry = |m: &mut Module, i: usize| {
        let device = m.reg_data(&format!("device_id_{i}"), d.device_id_width);
        let pid =
            if process { m.reg_data(&format!("process_id_{i}"), d.process_id_width) } else { process_id };
        let word = |(w, width): (usize, &u32)| m.reg_data(&format!("data{w}_{i}"), *width);
        let words: Vec<E> = widths.iter().enumerate().map(word).collect();
        (device, pid, words)
    };
    let all: Vec<_> = (0..n).map(|i| entry(&mut m, i)).collect();
    m.when(fill, |m| {
        m.set(valid, valid | victim);
        for (i, (device, pid, data)) in all.iter().enumerate() {
            m.when(victim.bit(i as u32), |m| {
                m.set(*device, fill_did);
                data.iter().zip(&fill_data).for_each(|(register, word)| m.set(*register, *word));
                if process {
                    m.set(*pid, fill_pid);
                }
            });
        }
    });
    let same_pid = |own: E, other: E| if process { own.eq(other) } else { hi() };
    let doomed = |(device, pid, _): &(E, E, Vec<E>)| {
        (!kill_device | (*device).eq(kill_did)) & (!kill_process | same_pid(*pid, kill_pid))
    };
    let survivors: Vec<E> = all.iter().rev().map(|entry| !doomed(entry)).collect();
    m.when(kill, |m| m.set(valid, valid & cat(&survivors)));
    let matches: Vec<E> = all
        .iter()
        .enumerate()
        .map(|(i, (device, pid, _))| {
            let conditions = [lookup, valid.bit(i as u32), (*device).eq(did)];
            m.wire_if(&format!("match_{i}"), &conditions, same_pid(*pid, process_id))
        })
        .collect();
    let hit = m.reg_data("hit_q", 1);
    m.set(hit, any_of(matches.iter().copied()));
    let chosen = lowest(&matches);
    m.section("The answer");
    m.output("hit", hit);
    for (w, width) in widths.iter().enumerate() {
        let data = m.reg_data(&format!("data{w}_q"), *width);
        let choices: Vec<(E, E)> = chosen.iter().zip(&all).map(|(c, (.., words))| (*c, words[w])).collect();
        m.set(data, onehot(&choices));
        m.output(&format!("data{w}"), data);
    }
    m.build()
}
