//! Miss table: the requests that no L1 could answer, from all ports, and those of the debug interface and of messages, which ask no
//! L1, until their completion has left.
//!
//! An entry is pending (wants a walk), walking, waiting (another walk of the same page will answer it) or woken (that walk
//! has finished). The requests themselves lie in two copies of a small RAM: one read by dispatch, one by completion.
//!
//! Latency: a miss is offered to dispatch in the cycle in which it is accepted, and its request can be read in the next. One miss
//! is accepted per cycle, in turn between ports.

use crate::design::Design;
use crate::signals::request::RequestSignals;
use pasidon_hdl::{
    Bundle, E, MemoryKind, Module, any_of, cat, encode, header, hi, index_width, lit, lowest, names, onehot,
};
use std::rc::Rc;

/// Bits of an index into the miss table.
pub fn entry_width(d: &Design) -> u32 {
    index_width(d.miss_entries as usize)
}

/// Who asks: the translation ports, and after them the debug interface and the messages of devices where there are any.
pub fn requesters(d: &Design) -> u32 {
    d.ports + u32::from(d.debug) + u32::from(d.ats)
}

/// Those whose requests are translated: all but the messages.
pub fn translated_requesters(d: &Design) -> u32 {
    requesters(d) - u32::from(d.ats)
}

/// Bits of the number of a requester.
pub fn port_width(d: &Design) -> u32 {
    index_width(requesters(d) as usize)
}

/// Bits of a walker number.
pub fn walker_width(d: &Design) -> u32 {
    index_width(d.walkers as usize)
}

/// Grants one of several requests in turn: a one-hot grant, and the register that remembers who was last.
#[names]
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
#[names]
pub fn miss_table(d: &Design) -> Rc<Module> {
    let n = d.miss_entries as usize;
    let (entry_bits, port_bits, walker_bits) = (entry_width(d), port_width(d), walker_width(d));
    let mut m = Module::new("miss_table", &header(include_str!("miss_table.rs")));

    m.part("State: a bit for each entry");
    let all = d.miss_entries;
    let [used, pending, waiting, woken] =
        ["used", "pending", "waiting", "woken"].map(|name| m.reg(name, all, 0));
    let waits_for: Vec<E> = (0..n).map(|i| m.reg_data(&format!("waits_for_{i}"), walker_bits)).collect();

    m.part("Allocation");
    let mut valids = vec![];
    let mut words = vec![];
    for p in 0..requesters(d) {
        let name = match p - d.ports.min(p) {
            _ if p < d.ports => format!("Misses of port {p}"),
            0 if d.debug => "Debug requests".into(),
            _ => "Messages of devices".into(),
        };
        m.section(&name);
        valids.push(m.input(&format!("miss{p}_valid"), 1));
        let request = RequestSignals::inputs(&mut m, d, &format!("miss{p}"));
        let mut packed = request.pack(d);
        packed[0] = cat(&[lit(u64::from(p), port_bits), packed[0]]);
        words.push(packed);
    }
    let space = m.wire("space", !used.all());
    let grant = round_robin(&mut m, "port", &valids, space);
    let allocate = m.wire("allocate", space & any_of(valids.iter().copied()));
    let word: Vec<E> = (0..words[0].len())
        .map(|w| onehot(&grant.iter().copied().zip(words.iter().map(|word| word[w])).collect::<Vec<_>>()))
        .collect();
    let free = m.wire("free", (!used).lowest_bit());
    let slot = m.wire("slot", encode(&free.split(), entry_bits));
    m.section("Acceptance of misses");
    for (p, g) in grant.iter().enumerate() {
        m.output(&format!("miss{p}_ready"), space & *g);
    }

    m.part("Dispatch");
    m.section("To dispatch: the next pending entry, or else the one that is being allocated");
    // In turn: the entries above the one that was taken last come first, so that none waits for ever.
    let above = m.reg("above_last", all, 0);
    let late = pending & above;
    let pick = late.any().mux(late, pending).lowest_bit();
    let next = m.wire("next", encode(&pick.split(), entry_bits));
    m.output("d_valid", pending.any() | allocate);
    m.output("d_entry", pending.any().mux(next, slot));
    m.section("From dispatch: entry `t_entry` walks, or waits for walker `t_walker`");
    let take = m.input("t_valid", 1);
    let take_entry = m.input("t_entry", entry_bits);
    let take_wait = m.input("t_wait", 1);
    let take_walker = m.input("t_walker", walker_bits);

    m.part("Completion");
    m.section("From completion: read entry, free or retry it; wake all that wait for a walker");
    let read = m.input("c_entry", entry_bits);
    let release = m.input("c_free", 1);
    let retry = m.input("c_retry", 1);
    let wake = m.input("c_wake", 1);
    let wake_walker = m.input("c_wake_walker", walker_bits);
    m.section("To completion: the first woken entry");
    m.output("woken_valid", woken.any());
    m.output("woken_entry", encode(&woken.lowest_bit().split(), entry_bits));

    m.part("Requests");
    let depth = n.next_power_of_two().max(2);
    let copy = |m: &mut Module, name: &str, read: E| -> Vec<E> {
        let part = |(w, word): (usize, &E)| {
            let ram = m.memory(&format!("{name}_{w}"), depth, word.width(), MemoryKind::Distributed);
            ram.connect(m, (allocate, slot, *word), (hi(), read))
        };
        word.iter().enumerate().map(part).collect()
    };
    let mut for_dispatch = copy(&mut m, "for_dispatch", take_entry);
    let mut for_completion = copy(&mut m, "for_completion", read);
    let first_word = RequestSignals::widths(d)[0];
    let port = for_completion[0].bits(first_word, port_bits);
    for words in [&mut for_dispatch, &mut for_completion] {
        words[0] = words[0].bits(0, first_word);
    }
    m.section("The request of t_entry");
    RequestSignals::unpack(d, &for_dispatch).outputs(&mut m, d, "d");
    m.section("The request of c_entry and its port");
    RequestSignals::unpack(d, &for_completion).outputs(&mut m, d, "c");
    m.output("c_port", port);

    m.part("Transitions");
    let allocated = allocate.gate(free);
    let dispatched = m.wire("dispatched", take.gate(take_entry.decode(all)));
    let chosen = read.decode(all);
    let freed = m.wire("freed", release.gate(chosen));
    let retried = m.wire("retried", retry.gate(chosen));
    let walked: Vec<E> = waits_for.iter().rev().map(|w| (*w).eq(wake_walker)).collect();
    let waked = m.wire("waked", wake.gate(waiting & cat(&walked)));
    m.set(used, (used | allocated) & !freed);
    m.set(pending, (pending & !dispatched) | allocated | retried);
    m.set(waiting, (waiting & !waked) | take_wait.gate(dispatched));
    m.set(woken, (woken & !freed & !retried) | waked);
    m.when(take, |m| {
        m.set(above, !(dispatched | (dispatched - lit(1, all))));
        for (i, walker) in waits_for.iter().enumerate() {
            m.when(dispatched.bit(i as u32), |m| m.set(*walker, take_walker));
        }
    });
    m.build()
}
