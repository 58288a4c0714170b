//! `iommu`: the core with its stream ports, for integrators and bridges.
//!
//! The life of a request: port (L1) -> miss table -> dispatch (context caches) -> walker -> completion -> port. Beside it stand
//! the registers, the queues, and one AXI4 master that all of them share.

use super::ats::Ats;
use super::ports::{memory_port, quality_of_service, register_port};
use super::requesters::debug_port;
use crate::cache::context_cache::{ContextKind, context_cache};
use crate::cache::l1_tlb::l1_tlb;
use crate::cache::l2_tlb::l2_tlb;
use crate::debug::translation_request;
use crate::design::Design;
use crate::interrupt::{fault_source, msi};
use crate::monitor::hpm;
use crate::port::axi_master::axi_master;
use crate::queue::{barrier, command_queue, fault_queue};
use crate::regs::{axi_lite, registers};
use crate::signals::context::{device_context_widths, process_context_widths};
use crate::signals::events::{RequestEvents, WalkEvents};
use crate::signals::invalidation::{Invalidation, InvalidationKind};
use crate::signals::request::{RequestSignals, TranslationSignals};
use crate::translate::completion::{ats_answers, completion, result_fields};
use crate::translate::dispatch::dispatch;
use crate::translate::fence;
use crate::translate::miss_table::miss_table;
use crate::walk::walker::walker;
use pasidon_hdl::{E, Instance, Module, all_of, any_of, cat, header, lo, names};
use std::rc::Rc;

/// The core of a design.
#[names]
pub fn iommu(d: &Design) -> Rc<Module> {
    let mut m = Module::new("iommu", &header(include_str!("iommu.rs")));
    let ports = d.ports as usize;
    let walkers = d.walkers as usize;

    m.part("Blocks");
    m.section("Reset of the memory side (m_axi_*), which outlives a reset of the core alone; synchronous, active high");
    let mem_rst = m.input("mem_rst", 1);
    let bus = m.instance("axi_lite", &axi_lite());
    let regs = m.instance("registers", &registers(d));
    let commands = m.instance("command_queue", &command_queue(d));
    let faults = m.instance("fault_queue", &fault_queue(d));
    let sync = m.instance("barrier", &barrier());
    let (tlb, walk) = (l1_tlb(d), walker(d));
    let tlbs: Vec<Instance> = (0..ports).map(|i| m.instance(&format!("l1_tlb_{i}"), &tlb)).collect();
    let misses = m.instance("miss_table", &miss_table(d));
    let dispatcher = m.instance("dispatch", &dispatch(d));
    let ddtc =
        m.instance("ddtc", &context_cache(d, ContextKind::Device, d.ddtc_entries, &device_context_widths(d)));
    let pdtc = m.instance(
        "pdtc",
        &context_cache(d, ContextKind::Process, d.pdtc_entries, &process_context_widths(d)),
    );
    let walks: Vec<Instance> = (0..walkers).map(|i| m.instance(&format!("walker_{i}"), &walk)).collect();
    let completer = m.instance("completion", &completion(d));
    let fence = m.instance("fence", &fence::fence(d));
    let l2 = d.has_l2().then(|| m.instance("l2_tlb", &l2_tlb(d)));
    let messages = d.msi.then(|| m.instance("msi", &msi(d)));
    let debugger = d.debug.then(|| m.instance("translation_request", &translation_request(d)));
    let monitor = d.monitor().then(|| m.instance("hpm", &hpm(d)));
    let ats = d.ats.then(|| Ats::new(&mut m, d));
    // Readers: walkers, then the command queue. Writers: walkers where they write, command queue (fences), fault queue,
    // messages, page-request queue.
    let exclusive: &[Instance] = if d.walks_write() { &walks } else { &[] };
    let page_requests = ats.as_ref().map(|ats| &ats.queue);
    let writers: Vec<&Instance> =
        exclusive.iter().chain([&commands, &faults]).chain(&messages).chain(page_requests).collect();
    let master = axi_master(d.walkers + 1, writers.len() as u32, exclusive.len() as u32, d.qosid);
    let axi = m.instance("axi_master", &master);
    axi.connect(&mut m, "mem_rst", mem_rst);
    commands.connect(&mut m, "draining", axi.out(&format!("rd{walkers}_draining")));

    let own = [(&regs, "")];
    let others = [&messages, &debugger, &monitor].into_iter().flatten().map(|block| (block, "reg_"));
    register_port(&mut m, &bus, &own.into_iter().chain(others).collect::<Vec<_>>());
    memory_port(&mut m, d, &axi, &walks, &commands, &writers);
    // The writers of more than one beat.
    for (number, writer) in [(exclusive.len() + 1, Some(&faults)), (writers.len() - 1, page_requests)] {
        if let Some(writer) = writer {
            writer.connect(&mut m, "wd_ready", axi.out(&format!("wd{number}_ready")));
        }
    }
    if d.qosid {
        quality_of_service(&mut m, &axi, &regs, &walks, d.walks_write(), writers.len());
    }

    m.part("Registers and queues");
    for (child, name, source) in [
        (&regs, "ddtp_sync_ready", sync.out("ddtp_ready")),
        (&regs, "cq_on", commands.out("on")),
        (&regs, "cq_head", commands.out("head_index")),
        (&regs, "cq_memory_fault", commands.out("memory_fault")),
        (&regs, "cq_illegal", commands.out("illegal")),
        (&regs, "cq_fence_wired", commands.out("fence_wired")),
        (&regs, "fq_on", faults.out("on")),
        (&regs, "fq_tail", faults.out("tail_index")),
        (&regs, "fq_memory_fault", faults.out("memory_fault")),
        (&regs, "fq_overflow", faults.out("overflow")),
        (&regs, "fq_recorded", faults.out("recorded")),
        (&commands, "enable", regs.out("cq_enable")),
        (&commands, "stop", regs.out("cq_stop")),
        (&commands, "base", regs.out("cq_base")),
        (&commands, "mask", regs.out("cq_mask")),
        (&commands, "tail", regs.out("cq_tail")),
        (&commands, "ddtp_mode", regs.out("ddtp_mode")),
        (&commands, "sync_ready", sync.out("cq_ready")),
        (&faults, "enable", regs.out("fq_enable")),
        (&faults, "stop", regs.out("fq_stop")),
        (&faults, "base", regs.out("fq_base")),
        (&faults, "mask", regs.out("fq_mask")),
        (&faults, "head", regs.out("fq_head")),
        (&sync, "cq_valid", commands.out("sync_valid")),
        (&sync, "cq_pr", commands.out("sync_pr")),
        (&sync, "cq_pw", commands.out("sync_pw")),
        (&sync, "ddtp_valid", regs.out("ddtp_sync_valid")),
    ] {
        child.connect(&mut m, name, source);
    }

    if d.big_endian {
        for queue in [&commands, &faults].into_iter().chain(page_requests) {
            queue.connect(&mut m, "big_endian", regs.out("fctl_be"));
        }
    }
    if d.wired && d.msi {
        commands.connect(&mut m, "wired_interrupts", regs.out("fctl_wsi"));
    }

    m.part("Invalidation: first mark what is in flight, then pass through every L1");
    let inval_valid = commands.out("inval_valid");
    let marked = m.reg("inval_marked", 1, 0);
    let inval_ready = marked & all_of(tlbs.iter().chain(&l2).map(|t| t.out("inval_done")));
    m.set(marked, inval_valid & !inval_ready);
    commands.connect(&mut m, "inval_ready", inval_ready);
    let directory_seen = m.reg("directory_seen", 1, 0);
    m.set(directory_seen, regs.out("ddtp_sync_valid"));
    let inval = m.wire("inval_first", inval_valid & !marked);
    let mark = m.wire("mark", inval | (regs.out("ddtp_sync_valid") & !directory_seen));
    let kind = commands.out("inval_kind");
    let ddt = kind.is(InvalidationKind::Ddt as u64);
    let pdt = kind.is(InvalidationKind::Pdt as u64);
    ddtc.connect_all(
        &mut m,
        &[
            ("kill", inval & ddt),
            ("kill_device", commands.out("inval_dv")),
            ("kill_device_id", commands.out("inval_did")),
        ],
    );
    pdtc.connect_all(
        &mut m,
        &[
            ("kill", inval & (ddt | pdt)),
            ("kill_device", pdt | commands.out("inval_dv")),
            ("kill_device_id", commands.out("inval_did")),
            ("kill_process", pdt),
            ("kill_process_id", commands.out("inval_pid")),
        ],
    );

    m.part("Translation ports");
    let mode = regs.out("ddtp_mode");
    let mut taken = vec![];
    let mut accepted = vec![];
    for (i, tlb) in tlbs.iter().enumerate() {
        m.section(&format!("Translation port {i}: request"));
        let valid = m.input(&format!("req{i}_valid"), 1);
        tlb.connect(&mut m, "req_valid", valid);
        m.output(&format!("req{i}_ready"), tlb.out("req_ready"));
        let request = RequestSignals::ports(&mut m, d, &format!("req{i}"));
        request.connect(&mut m, tlb, "req");
        accepted.push(RequestEvents::of(valid & tlb.out("req_ready"), &request));
        m.section(&format!("Translation port {i}: response"));
        m.output(&format!("rsp{i}_valid"), tlb.out("rsp_valid"));
        let ready = m.input(&format!("rsp{i}_ready"), 1);
        tlb.connect(&mut m, "rsp_ready", ready);
        taken.push(ready);
        let always = ["id", "status", "cause", "spa", "r", "w", "x", "size"];
        let optional = [
            ("pbmt", d.svpbmt),
            ("rcid", d.qosid),
            ("mcid", d.qosid),
            ("mrif", d.msi_mrif),
            ("abort", d.ats),
            ("untranslated", d.ats),
            ("global", d.ats),
            ("cxl_io", d.ats),
        ];
        for name in always.into_iter().chain(optional.into_iter().filter_map(|(n, on)| on.then_some(n))) {
            m.output(&format!("rsp{i}_{name}"), tlb.out(&format!("rsp_{name}")));
        }
        tlb.connect(&mut m, "ddtp_mode", mode);
        // Misses and completions.
        misses.connect(&mut m, &format!("miss{i}_valid"), tlb.out("miss_valid"));
        RequestSignals::of(d, tlb, "miss").connect(&mut m, &misses, &format!("miss{i}"));
        tlb.connect(&mut m, "miss_ready", misses.out(&format!("miss{i}_ready")));
        tlb.connect(&mut m, "c_valid", completer.out(&format!("c{i}_valid")));
        completer.connect(&mut m, &format!("c{i}_done"), tlb.out("c_done"));
        RequestSignals::of(d, &misses, "c").connect(&mut m, tlb, "c");
        let answers = ats_answers(d).into_iter().map(|(name, _)| name);
        for name in ["ok", "cause", "refill"].into_iter().chain(d.msi_mrif.then_some("mrif")).chain(answers) {
            let name = format!("c_{name}");
            tlb.connect(&mut m, &name, completer.out(&name));
        }
        for (name, e) in
            TranslationSignals::from_fn(d, |name, _| completer.out(&format!("c_{name}"))).fields()
        {
            tlb.connect(&mut m, &format!("c_{name}"), e);
        }
    }

    if let Some(debugger) = &debugger {
        debug_port(&mut m, d, debugger, &misses, &completer);
    }
    if let Some(ats) = &ats {
        ats.connect(&mut m, d, &regs, &commands, &misses, &completer);
    }

    // The L2 TLB stops answering at once: what is looked up again after the mark must not hit an old entry.
    if let Some(tlb) = &l2 {
        tlb.connect(&mut m, "inval_valid", inval_valid);
    }
    for tlb in &tlbs {
        tlb.connect(&mut m, "inval_valid", inval_valid & marked);
    }
    for tlb in tlbs.iter().chain(&l2) {
        Invalidation::connect(&mut m, d, &commands, tlb);
    }

    m.part("Dispatch");
    dispatcher.connect(&mut m, "d_valid", misses.out("d_valid"));
    dispatcher.connect(&mut m, "d_entry", misses.out("d_entry"));
    let looked_up = RequestSignals::of(d, &misses, "d");
    looked_up.connect(&mut m, &dispatcher, "d");
    for name in ["t_valid", "t_entry", "t_wait", "t_walker"] {
        misses.connect(&mut m, name, dispatcher.out(name));
    }
    dispatcher.connect(&mut m, "mark", mark);
    let contexts =
        [(&ddtc, "dc", device_context_widths(d).len()), (&pdtc, "pc", process_context_widths(d).len())];
    for (cache, context, words) in contexts {
        dispatcher.connect(&mut m, &format!("{context}_hit"), cache.out("hit"));
        cache.connect(&mut m, "lookup", dispatcher.out("lookup"));
        cache.connect(&mut m, "device_id", looked_up.device_id);
        cache.connect(&mut m, "fill_device_id", completer.out("fill_device_id"));
        cache.connect(&mut m, "fill", completer.out(&format!("{context}_fill")));
        for w in 0..words {
            dispatcher.connect(&mut m, &format!("{context}{w}"), cache.out(&format!("data{w}")));
            cache.connect(&mut m, &format!("fill_data{w}"), completer.out(&format!("fill_{context}{w}")));
        }
    }
    pdtc.connect(&mut m, "process_id", looked_up.process_id);
    pdtc.connect(&mut m, "fill_process_id", completer.out("fill_process_id"));

    if let Some(l2) = &l2 {
        looked_up.connect(&mut m, l2, "lookup");
        l2.connect(&mut m, "lookup_valid", dispatcher.out("lookup_valid"));
        l2.connect(&mut m, "lookup_usable", dispatcher.out("lookup_usable"));
        dispatcher.connect(&mut m, "ddtp_mode", mode);
        dispatcher.connect(&mut m, "l2_hit", l2.out("hit"));
        l2.connect(&mut m, "fill_valid", completer.out("l2_fill"));
        RequestSignals::of(d, &misses, "c").connect(&mut m, l2, "fill");
        for (name, e) in
            TranslationSignals::from_fn(d, |name, _| completer.out(&format!("c_{name}"))).fields()
        {
            l2.connect(&mut m, &format!("fill_{name}"), e);
        }
    }

    m.part("Walkers");
    for (i, w) in walks.iter().enumerate() {
        let release = completer.out(&format!("release{i}"));
        w.connect_all(
            &mut m,
            &[
                ("start", dispatcher.out(&format!("start{i}"))),
                ("s_entry", dispatcher.out("t_entry")),
                ("s_dc_hit", dispatcher.out("s_dc_hit")),
                ("s_pc_hit", dispatcher.out("s_pc_hit")),
                ("ddtp_mode", mode),
                ("ddtp_root", regs.out("ddtp_root")),
                ("mark", mark),
                ("taken", release),
            ],
        );
        for (name, there) in [
            ("fctl_be", d.big_endian),
            ("fctl_gxl", d.has_narrow_tables()),
            ("iommu_rcid", d.qosid),
            ("iommu_mcid", d.qosid),
        ] {
            if there {
                w.connect(&mut m, name, regs.out(name));
            }
        }
        for (_, context, words) in contexts {
            for word in (0..words).map(|word| format!("s_{context}{word}")) {
                w.connect(&mut m, &word, dispatcher.out(&word));
            }
        }
        looked_up.connect(&mut m, w, "s");
        if let Some(l2) = &l2 {
            w.connect(&mut m, "s_l2_hit", l2.out("hit"));
            for (name, e) in
                TranslationSignals::from_fn(d, |name, _| l2.out(&format!("found_{name}"))).fields()
            {
                w.connect(&mut m, &format!("s_l2_{name}"), e);
            }
        }
        let draining = axi.out(&format!("rd{i}_draining"));
        dispatcher.connect(&mut m, &format!("idle{i}"), w.out("idle") & !draining);
        dispatcher.connect(&mut m, &format!("busy{i}"), !w.out("idle") & !release & !w.out("r_stale"));
        for word in [0, 1] {
            dispatcher.connect(&mut m, &format!("tag{i}_{word}"), w.out(&format!("tag{word}")));
        }
        completer.connect(&mut m, &format!("done{i}"), w.out("done"));
        for (name, _) in result_fields(d) {
            completer.connect(&mut m, &format!("r{i}_{name}"), w.out(&format!("r_{name}")));
        }
    }

    m.part("Completion");
    completer.connect(&mut m, "mark", mark);
    RequestSignals::of(d, &misses, "c").connect(&mut m, &completer, "c");
    for name in ["c_port", "woken_valid", "woken_entry"] {
        completer.connect(&mut m, name, misses.out(name));
    }
    for name in ["c_entry", "c_free", "c_retry", "c_wake", "c_wake_walker"] {
        misses.connect(&mut m, name, completer.out(name));
    }
    let source = messages.as_ref().map(|messages| message_faults(&mut m, d, &regs, &completer, messages));
    for name in ["valid", "cause", "pid", "pv", "priv", "ttyp", "did", "iotval", "iotval2"] {
        let of_translation = format!("fault_{name}");
        let value = match &source {
            Some(source) => source.out(&format!("out_{name}")),
            None => completer.out(&of_translation),
        };
        faults.connect(&mut m, &of_translation, value);
        if let Some(source) = &source {
            source.connect(&mut m, &of_translation, completer.out(&of_translation));
        }
    }
    let queued = faults.out("fault_ready");
    match &source {
        Some(source) => source.connect(&mut m, "ready", queued),
        None => completer.connect(&mut m, "fault_ready", queued),
    }

    m.part("Fence");
    fence.connect(&mut m, "valid", sync.out("fence_valid"));
    sync.connect(&mut m, "fence_ready", fence.out("ready"));
    fence.connect(&mut m, "late", completer.out("late") | any_of(walks.iter().map(|walk| walk.out("late"))));
    // A page request whose device context was found must be in the queue, too.
    fence.connect(&mut m, "queueing", ats.as_ref().map_or(lo(), |ats| ats.intake.out("queueing")));
    for (i, tlb) in tlbs.iter().enumerate() {
        fence.connect(&mut m, &format!("pending{i}"), tlb.out("rsp_pending"));
        fence.connect(&mut m, &format!("taken{i}"), tlb.out("rsp_valid") & taken[i]);
        tlb.connect(&mut m, "revoke", fence.out(&format!("revoke{i}")));
    }

    if let Some(monitor) = &monitor {
        if let Some(debugger) = &debugger {
            let asked = misses.out(&format!("miss{ports}_ready")) & debugger.out("miss_valid");
            accepted.push(RequestEvents::of(asked, &RequestSignals::of(d, debugger, "miss")));
        }
        for (i, events) in accepted.iter().enumerate() {
            events.connect(&mut m, monitor, &format!("req{i}"));
        }
        for (i, walk) in walks.iter().enumerate() {
            WalkEvents::connect(&mut m, d, walk, monitor, &format!("walk{i}"));
        }
        regs.connect(&mut m, "monitor_overflow", monitor.out("overflow"));
    }

    m.section("Drain: commit the reads (pr) or writes (pw) that were translated before; ready when done");
    m.output("drain_valid", sync.out("drain_valid"));
    m.output("drain_pr", sync.out("drain_pr"));
    m.output("drain_pw", sync.out("drain_pw"));
    let drain_ready = m.input("drain_ready", 1);
    sync.connect(&mut m, "drain_ready", drain_ready);
    if d.wired {
        m.section("Interrupts: wires, level, active high");
        m.output("irq", regs.out("irq"));
    }
    m.section("Event strobes: lookups and hits per port, walks started per walker, faults reported");
    let strobes =
        |list: &[Instance], name: &str| cat(&list.iter().rev().map(|t| t.out(name)).collect::<Vec<_>>());
    m.output("ev_lookup", strobes(&tlbs, "ev_lookup"));
    m.output("ev_hit", strobes(&tlbs, "ev_hit"));
    let starts: Vec<E> = (0..walkers).rev().map(|i| dispatcher.out(&format!("ev_walk{i}"))).collect();
    m.output("ev_walk", cat(&starts));
    let offered = source.as_ref().map_or(completer.out("fault_valid"), |source| source.out("out_valid"));
    // The record is taken when memory takes its last beat: an output must not follow that at once.
    let reported = m.reg("fault_reported", 1, 0);
    m.set(reported, offered & faults.out("fault_ready"));
    m.output("ev_fault", reported);
    m.build()
}

/// Interrupts as messages, and the fault records of those that fail beside the records of translations.
fn message_faults(
    m: &mut Module,
    d: &Design,
    regs: &Instance,
    completer: &Instance,
    messages: &Instance,
) -> Instance {
    let source = m.instance("fault_source", &fault_source());
    messages.connect(m, "message", regs.out("message"));
    if d.wired {
        messages.connect(m, "enable", !regs.out("fctl_wsi"));
    }
    if d.big_endian {
        messages.connect(m, "big_endian", regs.out("fctl_be"));
    }
    source.connect(m, "message_valid", messages.out("fault_valid"));
    source.connect(m, "message_addr", messages.out("fault_addr"));
    messages.connect(m, "fault_ready", source.out("message_ready"));
    completer.connect(m, "fault_ready", source.out("fault_ready"));
    source
}
