//! `pasidon_iommu`: the core with its stream ports, for integrators and bridges.
//!
//! The life of a request: port (L1) -> miss table -> dispatch (context caches) -> walker -> completion -> port. Beside it stand
//! the registers, the queues, and one AXI4 master that all of them share.

use crate::ats::{device_messages, invalidation_tags, message_port};
use crate::cache::context_cache::{Tag, context_cache};
use crate::cache::l1_tlb::l1_tlb;
use crate::cache::l2_tlb::l2_tlb;
use crate::debug::translation_request;
use crate::design::Design;
use crate::hdl::{E, Instance, Module, all_of, any_of, cat, hi, lit, lo};
use crate::interrupt::{fault_source, msi};
use crate::monitor::hpm;
use crate::port::axi_master::{AXI_ID_WIDTH, axi_master};
use crate::queue::{barrier, command_queue, fault_queue, page_request_queue};
use crate::regs::{axi_lite, registers};
use crate::signals::context::{device_context_widths, process_context_widths};
use crate::signals::events::{RequestEvents, WalkEvents};
use crate::signals::invalidation::{Invalidation, InvalidationKind};
use crate::signals::request::{Request, Translation};
use crate::translate::completion::{ats_answers, completion, result_fields};
use crate::translate::dispatch::dispatch;
use crate::translate::fence;
use crate::translate::miss_table::miss_table;
use crate::walk::walker::walker;
use std::rc::Rc;

/// The core of a design.
pub fn pasidon_iommu(d: &Design) -> Rc<Module> {
    let mut m =
        Module::new("pasidon_iommu", "Pasidon: a PASID-aware IOMMU (RISC-V IOMMU Architecture v1.0.1).");
    let ports = d.ports as usize;
    let walkers = d.walkers as usize;

    // ---- Blocks ----------------------------------------------------------------------------------------------------
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
    let ddtc = m.instance("ddtc", &context_cache(d, Tag::Device, d.ddtc_entries, &device_context_widths(d)));
    let pdtc =
        m.instance("pdtc", &context_cache(d, Tag::Process, d.pdtc_entries, &process_context_widths(d)));
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

    // ---- Registers and queues --------------------------------------------------------------------------------------
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

    // ---- Invalidation: first mark what is in flight, then pass through every L1 ------------------------------------
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

    // ---- Translation ports -----------------------------------------------------------------------------------------
    let mode = regs.out("ddtp_mode");
    let mut taken = vec![];
    let mut accepted = vec![];
    for (i, tlb) in tlbs.iter().enumerate() {
        m.section(&format!("Translation port {i}: request"));
        let valid = m.input(&format!("req{i}_valid"), 1);
        tlb.connect(&mut m, "req_valid", valid);
        m.output(&format!("req{i}_ready"), tlb.out("req_ready"));
        let request = Request::ports(&mut m, d, &format!("req{i}"));
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
        Request::of(d, tlb, "miss").connect(&mut m, &misses, &format!("miss{i}"));
        tlb.connect(&mut m, "miss_ready", misses.out(&format!("miss{i}_ready")));
        tlb.connect(&mut m, "c_valid", completer.out(&format!("c{i}_valid")));
        completer.connect(&mut m, &format!("c{i}_done"), tlb.out("c_done"));
        Request::of(d, &misses, "c").connect(&mut m, tlb, "c");
        let answers = ats_answers(d).into_iter().map(|(name, _)| name);
        for name in ["ok", "cause", "refill"].into_iter().chain(d.msi_mrif.then_some("mrif")).chain(answers) {
            let name = format!("c_{name}");
            tlb.connect(&mut m, &name, completer.out(&name));
        }
        for (name, e) in Translation::from_fn(d, |name, _| completer.out(&format!("c_{name}"))).fields() {
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

    // ---- Dispatch --------------------------------------------------------------------------------------------------
    dispatcher.connect(&mut m, "d_valid", misses.out("d_valid"));
    dispatcher.connect(&mut m, "d_entry", misses.out("d_entry"));
    let looked_up = Request::of(d, &misses, "d");
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
        Request::of(d, &misses, "c").connect(&mut m, l2, "fill");
        for (name, e) in Translation::from_fn(d, |name, _| completer.out(&format!("c_{name}"))).fields() {
            l2.connect(&mut m, &format!("fill_{name}"), e);
        }
    }

    // ---- Walkers ---------------------------------------------------------------------------------------------------
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
            for (name, e) in Translation::from_fn(d, |name, _| l2.out(&format!("found_{name}"))).fields() {
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

    // ---- Completion ------------------------------------------------------------------------------------------------
    completer.connect(&mut m, "mark", mark);
    Request::of(d, &misses, "c").connect(&mut m, &completer, "c");
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

    // ---- Fence -----------------------------------------------------------------------------------------------------
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
            accepted.push(RequestEvents::of(asked, &Request::of(d, debugger, "miss")));
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
    m.output("ev_fault", offered & faults.out("fault_ready"));
    m.build()
}

/// The debug interface asks the miss table as one more port; its answers are taken at once.
fn debug_port(m: &mut Module, d: &Design, debugger: &Instance, misses: &Instance, completer: &Instance) {
    requester(m, d, d.ports, debugger, misses, completer);
    for (name, e) in Translation::from_fn(d, |name, _| completer.out(&format!("c_{name}"))).fields() {
        debugger.connect(m, &format!("c_{name}"), e);
    }
}

/// A block that asks the miss table as port `port` and takes answers in the cycle in which they are offered.
fn requester(
    m: &mut Module,
    d: &Design,
    port: u32,
    block: &Instance,
    misses: &Instance,
    completer: &Instance,
) {
    misses.connect(m, &format!("miss{port}_valid"), block.out("miss_valid"));
    Request::of(d, block, "miss").connect(m, misses, &format!("miss{port}"));
    block.connect(m, "miss_ready", misses.out(&format!("miss{port}_ready")));
    let valid = completer.out(&format!("c{port}_valid"));
    block.connect(m, "c_valid", valid);
    block.connect(m, "c_ok", completer.out("c_ok"));
    completer.connect(m, &format!("c{port}_done"), valid);
}

/// What carries the messages between devices and IOMMU.
struct Ats {
    intake: Instance,
    tags: Instance,
    port: Instance,
    queue: Instance,
}

impl Ats {
    fn new(m: &mut Module, d: &Design) -> Ats {
        Ats {
            intake: m.instance("device_messages", &device_messages(d)),
            tags: m.instance("invalidation_tags", &invalidation_tags(d)),
            port: m.instance("message_port", &message_port(d)),
            queue: m.instance("page_request_queue", &page_request_queue(d)),
        }
    }

    fn connect(
        &self,
        m: &mut Module,
        d: &Design,
        regs: &Instance,
        commands: &Instance,
        misses: &Instance,
        completer: &Instance,
    ) {
        let Ats { intake, tags, port, queue } = self;
        m.section("Page requests of devices; held until ready");
        input(m, intake, "", "pr_valid", 1);
        for (name, width) in [
            ("pr_did", d.device_id_width),
            ("pr_pv", 1),
            ("pr_pid", d.process_id_width),
            ("pr_priv", 1),
            ("pr_exec", 1),
            ("pr_payload", 64),
        ] {
            let e = m.input(name, width);
            queue.connect(m, name, e);
            if name != "pr_exec" {
                intake.connect(m, name, e);
            }
        }
        m.output("pr_ready", intake.out("pr_ready"));
        m.section("Invalidation completions of devices; held until ready");
        input(m, intake, "", "ic_valid", 1);
        let did = m.input("ic_did", d.device_id_width);
        intake.connect(m, "ic_did", did);
        tags.connect(m, "did", did);
        for (name, width) in [("itags", 32), ("count", 3)] {
            input(m, tags, "ic_", name, width);
        }
        m.output("ic_ready", intake.out("ic_ready"));
        m.section("Messages to devices");
        m.output("msg_valid", port.out("msg_valid"));
        input(m, port, "", "msg_ready", 1);
        for name in ["code", "rid", "dsv", "dseg", "pv", "pid", "itag", "payload"] {
            m.output(&format!("msg_{name}"), port.out(&format!("msg_{name}")));
        }

        requester(m, d, d.ports + u32::from(d.debug), intake, misses, completer);
        intake.connect(m, "c_cause", completer.out("c_cause"));
        intake.connect(m, "c_prpr", completer.out("c_permissions").bit(0));
        for (to, input, from) in [
            (intake, "queue_done", queue.out("done")),
            (intake, "queue_queued", queue.out("queued")),
            (intake, "queue_full", queue.out("not_queued_full")),
            (intake, "rsp_ready", port.out("rsp_ready")),
            (intake, "tags_done", tags.out("done")),
            (queue, "pr_valid", intake.out("queue_valid")),
            (queue, "enable", regs.out("pq_enable")),
            (queue, "faulted", regs.out("pq_faulted")),
            (queue, "overflowed", regs.out("pq_overflowed")),
            (queue, "base", regs.out("pq_base")),
            (queue, "mask", regs.out("pq_mask")),
            (queue, "head", regs.out("pq_head")),
            (regs, "pq_on", queue.out("on")),
            (regs, "pq_tail", queue.out("tail_index")),
            (regs, "pq_memory_fault", queue.out("memory_fault")),
            (regs, "pq_overflow", queue.out("overflow")),
            (regs, "pq_recorded", queue.out("recorded")),
            (regs, "cq_timed_out", commands.out("late")),
            (tags, "valid", intake.out("tags_valid")),
            (tags, "want", commands.out("tag_want")),
            (
                tags,
                "sent",
                port.out("cq_ready") & commands.out("msg_valid") & commands.out("msg_invalidation"),
            ),
            (tags, "sent_dsv", commands.out("msg_dsv")),
            (tags, "sent_dseg", commands.out("msg_dseg")),
            (tags, "sent_rid", commands.out("msg_rid")),
            (tags, "reported", commands.out("late")),
            (commands, "tag_valid", tags.out("tag_valid")),
            (commands, "tags_exhausted", tags.out("exhausted")),
            (commands, "none_in_flight", tags.out("none_in_flight")),
            (commands, "timed_out", tags.out("timed_out")),
            (commands, "msg_ready", port.out("cq_ready")),
            (port, "cq_itag", tags.out("tag_number")),
        ] {
            to.connect(m, input, from);
        }
        for name in ["valid", "invalidation", "rid", "dsv", "dseg", "pv", "pid", "payload"] {
            port.connect(m, &format!("cq_{name}"), commands.out(&format!("msg_{name}")));
        }
        for name in ["valid", "rid", "dsv", "dseg", "pv", "pid", "index", "code"] {
            port.connect(m, &format!("rsp_{name}"), intake.out(&format!("rsp_{name}")));
        }
        m.section("The command queue waits for invalidation completions; requests that time out in this cycle, by tag");
        m.output("ev_ats_wait", commands.out("waits"));
        m.output("ev_ats_timeout", tags.out("ev_timeout"));
    }
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

/// `s_axil_*`: AXI4-Lite to the blocks that have registers, each with the prefix of its ports.
fn register_port(m: &mut Module, bus: &Instance, blocks: &[(&Instance, &str)]) {
    m.section("Registers: AXI4-Lite slave");
    let awaddr = m.input("s_axil_awaddr", 12);
    m.input("s_axil_awprot", 3);
    bus.connect(m, "awaddr", awaddr.bits(3, 9));
    input(m, bus, "s_axil_", "awvalid", 1);
    m.output("s_axil_awready", bus.out("awready"));
    input(m, bus, "s_axil_", "wdata", 64);
    input(m, bus, "s_axil_", "wstrb", 8);
    input(m, bus, "s_axil_", "wvalid", 1);
    m.output("s_axil_wready", bus.out("wready"));
    m.output("s_axil_bresp", bus.out("bresp"));
    m.output("s_axil_bvalid", bus.out("bvalid"));
    input(m, bus, "s_axil_", "bready", 1);
    let araddr = m.input("s_axil_araddr", 12);
    m.input("s_axil_arprot", 3);
    bus.connect(m, "araddr", araddr.bits(3, 9));
    input(m, bus, "s_axil_", "arvalid", 1);
    m.output("s_axil_arready", bus.out("arready"));
    m.output("s_axil_rdata", bus.out("rdata"));
    m.output("s_axil_rresp", bus.out("rresp"));
    m.output("s_axil_rvalid", bus.out("rvalid"));
    input(m, bus, "s_axil_", "rready", 1);
    for (block, prefix) in blocks {
        for name in ["wr_valid", "wr_index", "wr_halves", "wr_data", "rd_index"] {
            block.connect(m, &format!("{prefix}{name}"), bus.out(name));
        }
    }
    // A block answers 0 for what is not its own.
    bus.connect(m, "rd_data", any_of(blocks.iter().map(|(b, prefix)| b.out(&format!("{prefix}rd_data")))));
}

/// An input of the core that goes straight to a child.
fn input(m: &mut Module, child: &Instance, prefix: &str, name: &str, width: u32) {
    let e = m.input(&format!("{prefix}{name}"), width);
    child.connect(m, name, e);
}

/// The quality-of-service ids of each access of the memory port: those of the device, or the IOMMU's own. (Sections "IOMMU QoS
/// ID" and "Translation attributes (ta)".)
fn quality_of_service(
    m: &mut Module,
    axi: &Instance,
    regs: &Instance,
    walks: &[Instance],
    walkers_write: bool,
    writers: usize,
) {
    m.section("Quality of service of the accesses of this port, by address channel");
    for name in ["rcid", "mcid"] {
        let now = regs.out(&format!("iommu_{name}"));
        axi.connect(m, &format!("iommu_{name}"), now);
        let own = axi.out(&format!("own_{name}"));
        for i in 0..=walks.len() {
            let ids = walks.get(i).map_or(own, |walk| walk.out("rd_own").mux(own, walk.out(name)));
            axi.connect(m, &format!("rd{i}_{name}"), ids);
        }
        for i in 0..writers {
            let walk = walks.get(i).filter(|_| walkers_write);
            let ids = walk.map_or(now, |walk| walk.out(name));
            axi.connect(m, &format!("wr{i}_{name}"), ids);
        }
        for channel in ["ar", "aw"] {
            m.output(&format!("m_axi_{channel}{name}"), axi.out(&format!("{channel}{name}")));
        }
    }
}

/// `m_axi_*`: AXI4 from the walkers and queues.
fn memory_port(
    m: &mut Module,
    d: &Design,
    axi: &Instance,
    walks: &[Instance],
    commands: &Instance,
    writers: &[&Instance],
) {
    const AXI: &str = "m_axi_";
    m.section("Tables and queues: AXI4 master, write address");
    // Normal, bufferable, not allocated; unprivileged, secure data access.
    let fixed = |m: &mut Module, channel: &str| {
        m.output(&format!("{AXI}{channel}burst"), lit(1, 2));
        let lock = if d.walks_write() { axi.out(&format!("{channel}lock")) } else { lit(0, 1) };
        m.output(&format!("{AXI}{channel}lock"), lock);
        m.output(&format!("{AXI}{channel}cache"), lit(3, 4));
        m.output(&format!("{AXI}{channel}prot"), lit(0, 3));
        m.output(&format!("{AXI}{channel}qos"), lit(0, 4));
    };
    m.output("m_axi_awid", if d.walks_write() { axi.out("awid") } else { lit(0, AXI_ID_WIDTH) });
    for name in ["awaddr", "awlen", "awsize"] {
        m.output(&format!("{AXI}{name}"), axi.out(name));
    }
    fixed(m, "aw");
    m.output("m_axi_awvalid", axi.out("awvalid"));
    input(m, axi, AXI, "awready", 1);
    m.section("AXI4 master, write data");
    for name in ["wdata", "wstrb", "wlast", "wvalid"] {
        m.output(&format!("{AXI}{name}"), axi.out(name));
    }
    input(m, axi, AXI, "wready", 1);
    m.section("AXI4 master, write response");
    m.input("m_axi_bid", AXI_ID_WIDTH);
    input(m, axi, AXI, "bresp", 2);
    input(m, axi, AXI, "bvalid", 1);
    m.output("m_axi_bready", axi.out("bready"));
    m.section("AXI4 master, read address");
    m.output("m_axi_arid", axi.out("arid"));
    m.output("m_axi_araddr", axi.out("araddr"));
    m.output("m_axi_arlen", axi.out("arlen"));
    m.output("m_axi_arsize", lit(3, 3));
    fixed(m, "ar");
    m.output("m_axi_arvalid", axi.out("arvalid"));
    input(m, axi, AXI, "arready", 1);
    m.section("AXI4 master, read data; rpoison: the beat is corrupted");
    input(m, axi, AXI, "rid", AXI_ID_WIDTH);
    let data = m.input("m_axi_rdata", 64);
    input(m, axi, AXI, "rresp", 2);
    let last = m.input("m_axi_rlast", 1);
    axi.connect(m, "rlast", last);
    let poison = m.input("m_axi_rpoison", 1);
    input(m, axi, AXI, "rvalid", 1);
    m.output("m_axi_rready", hi());

    for (i, reader) in walks.iter().chain([commands]).enumerate() {
        for name in ["valid", "addr", "len"] {
            axi.connect(m, &format!("rd{i}_{name}"), reader.out(&format!("rd_{name}")));
        }
        reader.connect(m, "rd_ready", axi.out(&format!("rd{i}_ready")));
        reader.connect(m, "rd_data_valid", axi.out(&format!("rd{i}_data_valid")));
        reader.connect_all(m, &[("rd_data", data), ("rd_error", axi.out("rd_error")), ("rd_poison", poison)]);
        if i < walks.len() {
            reader.connect(m, "rd_last", last);
            if d.walks_write() {
                axi.connect(m, &format!("rd{i}_lock"), reader.out("rd_lock"));
                reader.connect(m, "rd_exclusive", axi.out("rd_exclusive"));
            }
        }
    }
    for (i, writer) in writers.iter().enumerate() {
        if d.walks_write() && i < walks.len() {
            axi.connect(m, &format!("wr{i}_lock"), writer.out("wr_lock"));
            writer.connect(m, "wr_exclusive", axi.out("wr_exclusive"));
        }
        for name in ["wr_valid", "wr_addr", "wr_len", "wr_size", "wd_data", "wd_strb"] {
            axi.connect(m, &name.replacen('_', &format!("{i}_"), 1), writer.out(name));
        }
        writer.connect(m, "wr_ready", axi.out(&format!("wr{i}_ready")));
        writer.connect(m, "wr_done", axi.out(&format!("wr{i}_done")));
        writer.connect(m, "wr_error", axi.out("wr_error"));
    }
}
