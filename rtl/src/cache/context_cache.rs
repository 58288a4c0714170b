//! Context cache: device contexts (DDTC) or process contexts (PDTC), fully associative, shared by all walkers.
//!
//! Latency: `hit` and `data` follow the lookup tag by one cycle. A fill may repeat an entry that is there already; the
//! first match answers. Never: a fill in the cycle of an invalidation survives it (the walker that brought it is stale).

use super::victims;
use crate::design::Design;
use crate::hdl::{E, Module, any_of, first, hi, lit, lo};
use std::rc::Rc;

/// What tags an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// device_id: device contexts.
    Device,
    /// device_id and process_id: process contexts.
    Process,
}

/// A context cache of `entries` entries of `width` bits.
pub fn context_cache(d: &Design, tag: Tag, entries: u32, width: u32) -> Rc<Module> {
    let (kind, doc) = match tag {
        Tag::Device => ("ddtc", "DDTC: device contexts by device_id."),
        Tag::Process => ("pdtc", "PDTC: process contexts by device_id and process_id."),
    };
    let mut m = Module::new(kind, doc);
    let process = tag == Tag::Process;
    let pid = |m: &mut Module, name: &str| {
        if process { m.input(name, d.process_id_width) } else { lit(0, d.process_id_width) }
    };
    m.section("Lookup: the answer is there in the next cycle");
    let did = m.input("device_id", d.device_id_width);
    let process_id = pid(&mut m, "process_id");
    m.section("Fill");
    let fill = m.input("fill", 1);
    let fill_did = m.input("fill_device_id", d.device_id_width);
    let fill_pid = pid(&mut m, "fill_process_id");
    let fill_data = m.input("fill_data", width);
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
    let valid: Vec<E> = (0..n).map(|i| m.reg(&format!("valid_{i}"), 1, 0)).collect();
    let victims = victims(&mut m, &valid, fill);
    let mut hits = vec![];
    for (i, v) in valid.iter().enumerate() {
        let device = m.reg_data(&format!("device_id_{i}"), d.device_id_width);
        let data = m.reg_data(&format!("data_{i}"), width);
        let tag_pid =
            if process { m.reg_data(&format!("process_id_{i}"), d.process_id_width) } else { fill_pid };
        let same_pid = |other: E| if process { tag_pid.eq(other) } else { hi() };
        hits.push((*v & device.eq(did) & same_pid(process_id), data));
        let victim = fill & victims[i];
        m.when(victim, |m| {
            m.set(*v, hi());
            m.set(device, fill_did);
            m.set(data, fill_data);
            if process {
                m.set(tag_pid, fill_pid);
            }
        });
        let doomed = (!kill_device | device.eq(kill_did)) & (!kill_process | same_pid(kill_pid));
        m.when(kill & doomed, |m| m.set(*v, lo()));
    }
    let hit = m.reg_data("hit_q", 1);
    let data = m.reg_data("data_q", width);
    m.set(hit, any_of(hits.iter().map(|(h, _)| *h)));
    m.set(data, first(&hits[..n - 1], hits[n - 1].1));
    m.section("The answer");
    m.output("hit", hit);
    m.output("data", data);
    m.build()
}
