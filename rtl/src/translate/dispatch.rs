//! Dispatch: takes pending misses in turn, looks up their contexts and starts a walker, or lets them wait for a walk of the
//! same page that is under way.
//!
//! Latency: a miss is chosen in the cycle in which the miss table accepts it, looked up in the DDTC, PDTC and L2 TLB, and
//! issued: 3 cycles when a walker is free, 4 with an L2 TLB. Never: a walker starts with a context that was looked up before an
//! invalidation.

use super::miss_table::{entry_width, walker_width};
use crate::design::Design;
use crate::signals::context::{DeviceContext, ProcessContext, word_inputs, word_outputs};
use crate::signals::request::{RequestSignals, device_id_too_wide, has_directory, is_canonical};
use pasidon_hdl::{Bundle, E, Module, any_of, cat, encode, header, labels, lit, lo, lowest, names};
use pasidon_spec::page_table::PAGE_SHIFT;
use std::rc::Rc;

labels! {
    /// What is done with a miss
    pub mod state {
        IDLE,
        LOOKUP,
        ISSUE,
        /// The L2 TLB takes a cycle more than the context caches.
        WAIT,
    }
}

/// What two requests must share for one walk to answer both, as words of at most 64 bits.
#[names]
pub fn page_tag(request: &RequestSignals) -> [E; 2] {
    let shift = u32::from(PAGE_SHIFT);
    [
        cat(&[request.device_id, request.pid_valid, request.process_id, request.at]),
        request.iova.bits(shift, 64 - shift),
    ]
}

/// Widths of the words of [`page_tag`].
pub fn page_tag_widths(d: &Design) -> [u32; 2] {
    [d.device_id_width + 1 + d.process_id_width + 2, 64 - u32::from(PAGE_SHIFT)]
}

/// The dispatcher.
#[names]
pub fn dispatch(d: &Design) -> Rc<Module> {
    let n = d.walkers as usize;
    let mut m = Module::new("dispatch", &header(include_str!("dispatch.rs")));
    let state = m.reg("state", state::WIDTH, state::IDLE);
    m.section("The next pending miss");
    let valid = m.input("d_valid", 1);
    let entry = m.input("d_entry", entry_width(d));
    m.section("The request of t_entry");
    let request = RequestSignals::inputs(&mut m, d, "d");
    m.section("Something was invalidated: contexts already looked up may be stale");
    let mark = m.input("mark", 1);
    m.section("Answers of the context caches, a cycle after the lookup");
    let dc_hit = m.input("dc_hit", 1);
    let dc = word_inputs::<DeviceContext>(&mut m, d, "dc");
    let pc_hit = m.input("pc_hit", 1);
    let pc = word_inputs::<ProcessContext>(&mut m, d, "pc");
    let l2_hit = if d.has_l2() {
        m.section("Answer of the L2 TLB, two cycles after the lookup");
        m.input("l2_hit", 1)
    } else {
        lo()
    };
    let ddtp_mode = if d.has_l2() {
        m.section(
            "ddtp.iommu_mode: the L2 TLB may hit if there is a directory, for devices that it can hold",
        );
        m.input("ddtp_mode", 3)
    } else {
        lit(0, 3)
    };
    let mut busy = vec![];
    let mut tags = vec![];
    let mut free = vec![];
    for i in 0..n {
        m.section(&format!(
            "Walker {i}: it is idle; an invalidation overtook its walk; its result is taken; memory still answers a read of before a \
             reset; the page of its walk"
        ));
        let [idle, stale, release, draining] =
            ["idle", "stale", "release", "draining"].map(|name| m.input(&format!("{name}{i}"), 1));
        // What may be joined: a walk that will still complete.
        busy.push(!idle & !release & !stale);
        free.push(idle & !draining);
        tags.push([0, 1].map(|w| m.input(&format!("tag{i}_{w}"), page_tag_widths(d)[w])));
    }

    let held_entry = m.reg_data("held_entry", entry_width(d));
    let same: Vec<E> = (0..n).map(|i| m.reg_data(&format!("same_{i}"), 1)).collect();
    m.section("Context lookup, and that of the L2 TLB where there is one");
    m.output("lookup", !state.is(state::IDLE));
    if d.has_l2() {
        m.output("lookup_valid", state.is(state::LOOKUP));
        let located = has_directory(ddtp_mode) & !device_id_too_wide(d, ddtp_mode, request.device_id);
        m.output("lookup_usable", located & request.at.is(0) & is_canonical(d, request.iova));
    }

    // A walker whose completion starts in this very cycle no longer wakes new waiters: `busy` excludes it.
    // What a translation request is answered depends on what it asks for: it walks for itself.
    let alone = request.asks(d);
    let joins: Vec<E> = same.iter().zip(&busy).map(|(s, b)| *s & *b & !alone).collect();
    let merge = m.wire("merge", any_of(joins.iter().copied()));
    let chosen = lowest(&free);
    let issue = m.wire("issue", state.is(state::ISSUE) & !mark & (merge | any_of(free.iter().copied())));
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.when(valid, |m| {
                m.set(held_entry, entry);
                m.set(state, lit(state::LOOKUP, state::WIDTH));
            });
        });
        s.case(m, state::LOOKUP, |m| {
            for (s, t) in same.iter().zip(&tags) {
                let [ids, page] = page_tag(&request);
                m.set(*s, ids.eq(t[0]) & page.eq(t[1]));
            }
            m.set(state, lit(if d.has_l2() { state::WAIT } else { state::ISSUE }, 2));
        });
        s.case(m, state::WAIT, |m| m.set(state, lit(state::ISSUE, state::WIDTH)));
        s.default(m, |m| {
            m.when_else(
                mark,
                |m| m.set(state, lit(state::LOOKUP, state::WIDTH)),
                |m| m.when(issue, |m| m.set(state, lit(state::IDLE, state::WIDTH))),
            );
        });
    });
    // An invalidation during the lookup reaches its result: look up again.
    m.when((state.is(state::LOOKUP) | state.is(state::WAIT)) & mark, |m| {
        m.set(state, lit(state::LOOKUP, state::WIDTH))
    });

    m.section("To the miss table: the entry walks, or waits for a walker");
    m.output("t_valid", issue);
    m.output("t_entry", held_entry);
    m.output("t_wait", merge);
    m.output("t_walker", encode(&joins, walker_width(d)));
    m.section("To the walkers");
    let starts: Vec<E> =
        chosen.iter().enumerate().map(|(i, c)| m.output(&format!("start{i}"), issue & !merge & *c)).collect();
    m.output("ev_walk", cat(&starts.iter().rev().map(|start| *start & !l2_hit).collect::<Vec<_>>()));
    m.output("s_dc_hit", dc_hit);
    word_outputs(&mut m, "s_dc", &dc);
    m.output("s_pc_hit", pc_hit);
    word_outputs(&mut m, "s_pc", &pc);
    m.build()
}
