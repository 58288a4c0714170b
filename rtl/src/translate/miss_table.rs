//! Miss table: the requests that no L1 could answer, from all ports, until their completion has left.
//!
//! An entry is pending (wants a walk), walking, waiting (another walk of the same page will answer it) or woken (that walk
//! has finished). The requests themselves lie in two copies of a small RAM: one read by dispatch, one by completion.
//!
//! Latency: a miss accepted in cycle n is offered to dispatch in n + 1. One miss is accepted per cycle, in turn between ports.

use crate::design::Design;
use crate::hdl::{E, MemoryKind, Module, all_of, any_of, cat, encode, index_width, lit, lowest, onehot};
use crate::translate::request::Request;
use std::rc::Rc;

/// Bits of an index into the miss table.
pub fn entry_width(d: &Design) -> u32 {
    index_width(d.miss_entries as usize)
}

/// Bits of a port number.
pub fn port_width(d: &Design) -> u32 {
    index_width(d.ports as usize)
}

/// Bits of a walker number.
pub fn walker_width(d: &Design) -> u32 {
    index_width(d.walkers as usize)
}

/// Grants one of several requests in turn: a one-hot grant, and the register that remembers who was last.
pub fn round_robin(m: &mut Module, name: &str, requests: &[E], advance: E) -> Vec<E> {
    let n = requests.len();
    if n == 1 {
        return requests.to_vec();
    }
    // Bit i of `after` is 1 when the last grant went to a requester below i.
    let after = m.reg(&format!("{name}_after"), n as u32, 0);
    let late: Vec<E> = (0..n).map(|i| requests[i] & after.bit(i as u32)).collect();
    let any_late = any_of(late.iter().copied());
    let grant: Vec<E> =
        lowest(&late).into_iter().zip(lowest(requests)).map(|(l, r)| any_late.mux(l, r)).collect();
    let next: Vec<E> = (0..n).map(|i| any_of(grant[..i].iter().copied())).collect();
    let bits: Vec<E> = next.into_iter().rev().collect();
    m.when(advance & any_of(requests.iter().copied()), |m| m.set(after, cat(&bits)));
    grant
}

/// The miss table.
pub fn miss_table(d: &Design) -> Rc<Module> {
    let n = d.miss_entries as usize;
    let (entry_bits, port_bits, walker_bits) = (entry_width(d), port_width(d), walker_width(d));
    let mut m = Module::new("miss_table", "Requests that missed, until their completion has left.");

    // ---- State -----------------------------------------------------------------------------------------------------
    let state =
        |m: &mut Module, name: &str| (0..n).map(|i| m.reg(&format!("{name}_{i}"), 1, 0)).collect::<Vec<E>>();
    let used = state(&mut m, "used");
    let pending = state(&mut m, "pending");
    let waiting = state(&mut m, "waiting");
    let woken = state(&mut m, "woken");
    let waits_for: Vec<E> = (0..n).map(|i| m.reg_data(&format!("waits_for_{i}"), walker_bits)).collect();
    let hot = |index: E| -> Vec<E> { (0..n).map(|i| index.is(i as u64)).collect() };

    // ---- Allocation ------------------------------------------------------------------------------------------------
    let mut valids = vec![];
    let mut words = vec![];
    for p in 0..d.ports {
        m.section(&format!("Misses of port {p}"));
        valids.push(m.input(&format!("miss{p}_valid"), 1));
        let request = Request::inputs(&mut m, d, &format!("miss{p}"));
        words.push(cat(&[lit(p.into(), port_bits), request.pack()]));
    }
    let space = m.wire("space", !all_of(used.iter().copied()));
    let grant = round_robin(&mut m, "port", &valids, space);
    let allocate = m.wire("allocate", space & any_of(valids.iter().copied()));
    let word = onehot(&grant.iter().copied().zip(words.iter().copied()).collect::<Vec<_>>());
    let free = lowest(&used.iter().map(|u| !*u).collect::<Vec<_>>());
    let slot = m.wire("slot", encode(&free, entry_bits));
    m.section("Acceptance of misses");
    for (p, g) in grant.iter().enumerate() {
        m.output(&format!("miss{p}_ready"), space & *g);
    }

    // ---- Dispatch --------------------------------------------------------------------------------------------------
    m.section("To dispatch: the next pending entry");
    let next = m.wire("next", encode(&lowest(&pending), entry_bits));
    m.output("d_valid", any_of(pending.iter().copied()));
    m.output("d_entry", next);
    m.section("From dispatch: entry `t_entry` walks, or waits for walker `t_walker`");
    let take = m.input("t_valid", 1);
    let take_entry = m.input("t_entry", entry_bits);
    let take_wait = m.input("t_wait", 1);
    let take_walker = m.input("t_walker", walker_bits);

    // ---- Completion ------------------------------------------------------------------------------------------------
    m.section("From completion: read entry, free or retry it; wake all that wait for a walker");
    let read = m.input("c_entry", entry_bits);
    let release = m.input("c_free", 1);
    let retry = m.input("c_retry", 1);
    let wake = m.input("c_wake", 1);
    let wake_walker = m.input("c_wake_walker", walker_bits);
    m.section("To completion: the first woken entry");
    m.output("woken_valid", any_of(woken.iter().copied()));
    m.output("woken_entry", encode(&lowest(&woken), entry_bits));

    // ---- Requests --------------------------------------------------------------------------------------------------
    let width = word.width();
    let depth = n.next_power_of_two().max(2);
    let for_dispatch = m.memory("requests_d", depth, width, MemoryKind::Distributed);
    let d_word = for_dispatch.connect(&mut m, allocate, slot, word, next);
    let for_completion = m.memory("requests_c", depth, width, MemoryKind::Distributed);
    let c_word = for_completion.connect(&mut m, allocate, slot, word, read);
    let request_bits = Request::width(d);
    m.section("The request of d_entry");
    Request::unpack(d, d_word.bits(0, request_bits)).outputs(&mut m, "d");
    m.section("The request of c_entry and its port");
    Request::unpack(d, c_word.bits(0, request_bits)).outputs(&mut m, "c");
    m.output("c_port", c_word.bits(request_bits, port_bits));

    // ---- Transitions -----------------------------------------------------------------------------------------------
    let (taken, chosen) = (hot(take_entry), hot(read));
    for i in 0..n {
        let allocated = allocate & free[i];
        let dispatched = take & taken[i];
        let freed = release & chosen[i];
        let retried = retry & chosen[i];
        let waked = wake & waiting[i] & waits_for[i].eq(wake_walker);
        m.set(used[i], (used[i] | allocated) & !freed);
        m.set(pending[i], (pending[i] & !dispatched) | allocated | retried);
        m.set(waiting[i], (waiting[i] & !waked) | (dispatched & take_wait));
        m.set(woken[i], (woken[i] & !freed & !retried) | waked);
        m.when(dispatched, |m| m.set(waits_for[i], take_walker));
    }
    m.build()
}
