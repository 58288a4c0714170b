//! `iommu`: the core with its stream ports, for integrators and bridges.
//!
//! The life of a request: port (L1) -> miss table -> dispatch (context caches) -> walker -> completion -> port. Beside it stand
//! the registers, the queues, and one AXI4 master that all of them share.

use super::ats::Ats;
use super::ports::{memory_port, register_port};
use super::requesters::debug_port;
use super::{join, pass};
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
use crate::signals::context::{DeviceContext, ProcessContext};
use crate::signals::events::{RequestEvents, WalkEvents};
use crate::signals::request::RequestSignals;
use crate::translate::completion::completion;
use crate::translate::dispatch::dispatch;
use crate::translate::miss_table::miss_table;
use crate::translate::{fence, invalidation};
use crate::walk::walker::walker;
use pasidon_hdl::{Bundle, E, Instance, Module, cat, header, names};
use std::rc::Rc;

/// The blocks of a core.
pub(super) struct Core<'d> {
    pub d: &'d Design,
    pub bus: Instance,
    pub regs: Instance,
    pub commands: Instance,
    pub faults: Instance,
    pub sync: Instance,
    pub tlbs: Vec<Instance>,
    pub l2: Option<Instance>,
    pub misses: Instance,
    pub dispatcher: Instance,
    pub ddtc: Instance,
    pub pdtc: Instance,
    pub walks: Vec<Instance>,
    pub completer: Instance,
    pub invalidation: Instance,
    pub fence: Instance,
    pub axi: Instance,
    /// Interrupts as messages, and the fault records of those that fail beside the records of translations.
    pub messages: Option<(Instance, Instance)>,
    pub debugger: Option<Instance>,
    pub monitor: Option<Instance>,
    pub ats: Option<Ats>,
}

/// The core of a design.
pub fn iommu(d: &Design) -> Rc<Module> {
    let mut m = Module::new("iommu", &header(include_str!("iommu.rs")));
    m.part("Blocks");
    m.section("Reset of the memory side (m_axi_*), which outlives a reset of the core alone; synchronous, active high");
    let mem_rst = m.input("mem_rst", 1);
    let core = Core::new(&mut m, d);
    core.axi.connect(&mut m, "mem_rst", mem_rst);
    register_port(&mut m, &core);
    memory_port(&mut m, &core);
    core.queues(&mut m);
    core.invalidations(&mut m);
    let requests = core.translation_ports(&mut m);
    core.debug(&mut m);
    if let Some(ats) = &core.ats {
        ats.connect(&mut m, &core);
    }
    core.dispatch(&mut m);
    core.walkers(&mut m);
    core.completion(&mut m);
    core.fence(&mut m);
    core.monitor(&mut m, requests);
    core.side_ports(&mut m);
    m.build()
}

impl<'d> Core<'d> {
    /// The blocks, not yet connected.
    fn new(m: &mut Module, d: &'d Design) -> Core<'d> {
        let readable = 1 + [d.msi, d.debug, d.monitor()].into_iter().map(u32::from).sum::<u32>();
        let bus = m.instance("axi_lite", &axi_lite(readable));
        let regs = m.instance("registers", &registers(d));
        let commands = m.instance("command_queue", &command_queue(d));
        let faults = m.instance("fault_queue", &fault_queue(d));
        let sync = m.instance("barrier", &barrier());
        let (tlb, walk) = (l1_tlb(d), walker(d));
        let tlbs = (0..d.ports).map(|i| m.instance(&format!("l1_tlb_{i}"), &tlb)).collect();
        let misses = m.instance("miss_table", &miss_table(d));
        let dispatcher = m.instance("dispatch", &dispatch(d));
        let device = context_cache(d, ContextKind::Device, d.ddtc_entries, &DeviceContext::widths(d));
        let ddtc = m.instance("ddtc", &device);
        let process = context_cache(d, ContextKind::Process, d.pdtc_entries, &ProcessContext::widths(d));
        let pdtc = m.instance("pdtc", &process);
        let walks = (0..d.walkers).map(|i| m.instance(&format!("walker_{i}"), &walk)).collect();
        let completer = m.instance("completion", &completion(d));
        let invalidation = m.instance("invalidation", &invalidation::invalidation(d));
        let fence = m.instance("fence", &fence::fence(d));
        let l2 = d.has_l2().then(|| m.instance("l2_tlb", &l2_tlb(d)));
        let messages =
            d.msi.then(|| (m.instance("msi", &msi(d)), m.instance("fault_source", &fault_source(d))));
        let debugger = d.debug.then(|| m.instance("translation_request", &translation_request(d)));
        let monitor = d.monitor().then(|| m.instance("hpm", &hpm(d)));
        let ats = d.ats.then(|| Ats::new(m, d));
        let exclusive = if d.walks_write() { d.walkers } else { 0 };
        let writers = exclusive + 2 + u32::from(d.msi) + u32::from(d.ats);
        let axi = m.instance("axi_master", &axi_master(d.walkers + 1, writers, exclusive, d.qosid));
        Core {
            d,
            bus,
            regs,
            commands,
            faults,
            sync,
            tlbs,
            l2,
            misses,
            dispatcher,
            ddtc,
            pdtc,
            walks,
            completer,
            invalidation,
            fence,
            axi,
            messages,
            debugger,
            monitor,
            ats,
        }
    }

    fn debug(&self, m: &mut Module) {
        if let Some(debugger) = &self.debugger {
            debug_port(m, self.d, debugger, &self.misses, &self.completer);
        }
    }

    /// The monitor sees the requests of the ports and of the debug interface, and the walks.
    fn monitor(&self, m: &mut Module, requests: Vec<RequestSignals>) {
        let Some(monitor) = &self.monitor else { return };
        let d = self.d;
        let debug = self.debugger.iter().map(|debugger| RequestSignals::outputs_of(d, debugger, "miss"));
        let requests: Vec<RequestSignals> = requests.into_iter().chain(debug).collect();
        for (i, (block, request)) in self.tlbs.iter().chain(&self.debugger).zip(requests).enumerate() {
            let events = RequestEvents::accepted(block.out("ev_accept"), &request);
            events.connect(m, d, monitor, &format!("req{i}"));
        }
        for (i, walk) in self.walks.iter().enumerate() {
            WalkEvents::join(m, d, (walk, "ev"), (monitor, &format!("walk{i}")));
        }
        join(m, monitor, &self.regs, &[("overflow", "monitor_overflow")]);
    }

    /// Drain, interrupts and event strobes.
    #[names]
    fn side_ports(&self, m: &mut Module) {
        m.section("Drain: commit the reads (pr) or writes (pw) that were translated before; ready when done");
        for name in ["drain_valid", "drain_pr", "drain_pw"] {
            m.output(name, self.sync.out(name));
        }
        let drain_ready = m.input("drain_ready", 1);
        self.sync.connect(m, "drain_ready", drain_ready);
        if self.d.wired {
            m.section("Interrupts: wires, level, active high");
            m.output("irq", self.regs.out("irq"));
        }
        m.section("Event strobes: lookups and hits per port, walks started per walker, faults reported");
        for name in ["ev_lookup", "ev_hit"] {
            m.output(name, vector(&self.tlbs, name));
        }
        m.output("ev_walk", self.dispatcher.out("ev_walk"));
        m.output("ev_fault", self.faults.out("ev_fault"));
    }

    /// Interrupts as messages.
    pub(super) fn messages(&self, m: &mut Module) {
        let Some((messages, source)) = &self.messages else { return };
        let d = self.d;
        pass(m, &self.regs, messages, &["message"]);
        if d.wired {
            join(m, &self.regs, messages, &[("fctl_wsi", "wired_interrupts")]);
        }
        if d.big_endian {
            join(m, &self.regs, messages, &[("fctl_be", "big_endian")]);
        }
        join(m, messages, source, &[("fault_valid", "message_valid"), ("fault_addr", "message_addr")]);
        join(m, source, messages, &[("message_ready", "fault_ready")]);
    }
}

/// The output `name` of each of these blocks, the first at bit 0.
pub(super) fn vector(blocks: &[Instance], name: &str) -> E {
    cat(&blocks.iter().rev().map(|block| block.out(name)).collect::<Vec<_>>())
}
