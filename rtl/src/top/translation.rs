//! The path of a request as it is wired: ports, miss table, dispatch, walkers, completion; and what invalidates on the way.

use super::iommu::Core;
use super::{join, pass};
use crate::signals::context::{DeviceContext, ProcessContext};
use crate::signals::fault::FaultRecord;
use crate::signals::invalidation::InvalidationOperands;
use crate::signals::request::{RequestSignals, TranslationSignals};
use crate::signals::result::{Answer, Response, WalkResult};
use crate::walk::walker::Settings;
use pasidon_hdl::{Bundle, Instance, Module};

impl Core<'_> {
    /// Each context cache, the prefix of its contexts, and their words.
    fn contexts(&self) -> [(&Instance, &'static str, usize); 2] {
        [
            (&self.ddtc, "dc", DeviceContext::widths(self.d).len()),
            (&self.pdtc, "pc", ProcessContext::widths(self.d).len()),
        ]
    }

    /// Invalidations: from the command queue to every cache.
    pub(super) fn invalidations(&self, m: &mut Module) {
        m.part("Invalidation");
        let Core { d, commands, invalidation, ddtc, pdtc, .. } = self;
        pass(m, commands, invalidation, &["inval_valid", "inval_kind", "inval_dv"]);
        pass(m, invalidation, commands, &["inval_ready"]);
        pass(m, &self.regs, invalidation, &["ddtp_sync_valid"]);
        join(m, invalidation, ddtc, &[("dc_kill", "kill"), ("dc_kill_device", "kill_device")]);
        join(
            m,
            invalidation,
            pdtc,
            &[("pc_kill", "kill"), ("pc_kill_device", "kill_device"), ("pc_kill_process", "kill_process")],
        );
        join(m, commands, ddtc, &[("inval_did", "kill_device_id")]);
        join(m, commands, pdtc, &[("inval_did", "kill_device_id"), ("inval_pid", "kill_process_id")]);
        for tlb in &self.tlbs {
            join(m, invalidation, tlb, &[("l1_valid", "inval_valid")]);
        }
        if let Some(l2) = &self.l2 {
            pass(m, commands, l2, &["inval_valid"]);
        }
        for (i, tlb) in self.tlbs.iter().chain(&self.l2).enumerate() {
            InvalidationOperands::join(m, d, (commands, "inval"), (tlb, "inval"));
            join(m, tlb, invalidation, &[("inval_done", &format!("done{i}"))]);
        }
    }

    /// The translation ports, with their L1 TLBs; the requests as they come.
    pub(super) fn translation_ports(&self, m: &mut Module) -> Vec<RequestSignals> {
        m.part("Translation ports");
        let Core { d, misses, completer, .. } = self;
        let mut requests = vec![];
        for (i, tlb) in self.tlbs.iter().enumerate() {
            m.section(&format!("Translation port {i}: request"));
            let valid = m.input(&format!("req{i}_valid"), 1);
            tlb.connect(m, "req_valid", valid);
            m.output(&format!("req{i}_ready"), tlb.out("req_ready"));
            let request = RequestSignals::ports(m, d, &format!("req{i}"));
            request.connect(m, d, tlb, "req");
            requests.push(request);
            m.section(&format!("Translation port {i}: response"));
            m.output(&format!("rsp{i}_valid"), tlb.out("rsp_valid"));
            let ready = m.input(&format!("rsp{i}_ready"), 1);
            tlb.connect(m, "rsp_ready", ready);
            self.fence.connect(m, &format!("rsp{i}_ready"), ready);
            Response::outputs_of(d, tlb, "rsp").outputs(m, d, &format!("rsp{i}"));
            pass(m, &self.regs, tlb, &["ddtp_mode"]);
            // Misses and completions.
            join(m, tlb, misses, &[("miss_valid", &format!("miss{i}_valid"))]);
            RequestSignals::join(m, d, (tlb, "miss"), (misses, &format!("miss{i}")));
            join(m, misses, tlb, &[(&format!("miss{i}_ready"), "miss_ready")]);
            join(m, completer, tlb, &[(&format!("c{i}_valid"), "c_valid")]);
            join(m, tlb, completer, &[("c_done", &format!("c{i}_done"))]);
            RequestSignals::join(m, d, (misses, "c"), (tlb, "c"));
            Answer::join(m, d, (completer, "c"), (tlb, "c"));
            TranslationSignals::join(m, d, (completer, "c"), (tlb, "c"));
        }
        requests
    }

    /// Dispatch, the context caches and the L2 TLB.
    pub(super) fn dispatch(&self, m: &mut Module) {
        m.part("Dispatch");
        let Core { d, misses, dispatcher, completer, .. } = self;
        pass(m, misses, dispatcher, &["d_valid", "d_entry"]);
        let looked_up = RequestSignals::outputs_of(d, misses, "d");
        looked_up.connect(m, d, dispatcher, "d");
        pass(m, dispatcher, misses, &["t_valid", "t_entry", "t_wait", "t_walker"]);
        pass(m, &self.invalidation, dispatcher, &["mark"]);
        for (cache, context, words) in self.contexts() {
            join(m, cache, dispatcher, &[("hit", &format!("{context}_hit"))]);
            pass(m, dispatcher, cache, &["lookup"]);
            cache.connect(m, "device_id", looked_up.device_id);
            pass(m, completer, cache, &["fill_device_id"]);
            join(m, completer, cache, &[(&format!("{context}_fill"), "fill")]);
            for w in 0..words {
                join(m, cache, dispatcher, &[(&format!("data{w}"), &format!("{context}{w}"))]);
                join(m, completer, cache, &[(&format!("fill_{context}{w}"), &format!("fill_data{w}"))]);
            }
        }
        self.pdtc.connect(m, "process_id", looked_up.process_id);
        pass(m, completer, &self.pdtc, &["fill_process_id"]);
        if let Some(l2) = &self.l2 {
            looked_up.connect(m, d, l2, "lookup");
            pass(m, dispatcher, l2, &["lookup_valid", "lookup_usable"]);
            pass(m, &self.regs, dispatcher, &["ddtp_mode"]);
            join(m, l2, dispatcher, &[("hit", "l2_hit")]);
            join(m, completer, l2, &[("l2_fill", "fill_valid")]);
            RequestSignals::join(m, d, (misses, "c"), (l2, "fill"));
            TranslationSignals::join(m, d, (completer, "c"), (l2, "fill"));
        }
    }

    /// The walkers.
    pub(super) fn walkers(&self, m: &mut Module) {
        m.part("Walkers");
        let Core { d, misses, dispatcher, completer, .. } = self;
        for (i, walk) in self.walks.iter().enumerate() {
            join(m, dispatcher, walk, &[(&format!("start{i}"), "start"), ("t_entry", "s_entry")]);
            pass(m, dispatcher, walk, &["s_dc_hit", "s_pc_hit"]);
            for (_, context, words) in self.contexts() {
                for word in 0..words {
                    pass(m, dispatcher, walk, &[&format!("s_{context}{word}")]);
                }
            }
            RequestSignals::join(m, d, (misses, "d"), (walk, "s"));
            if let Some(l2) = &self.l2 {
                join(m, l2, walk, &[("hit", "s_l2_hit")]);
                TranslationSignals::join(m, d, (l2, "found"), (walk, "s_l2"));
            }
            Settings::join(m, d, (&self.regs, ""), (walk, ""));
            pass(m, &self.invalidation, walk, &["mark"]);
            let release = format!("release{i}");
            join(m, completer, walk, &[(&release, "taken")]);
            join(m, completer, dispatcher, &[(&release, &release)]);
            join(m, &self.axi, dispatcher, &[(&format!("rd{i}_draining"), &format!("draining{i}"))]);
            join(
                m,
                walk,
                dispatcher,
                &[
                    ("idle", &format!("idle{i}")),
                    ("r_stale", &format!("stale{i}")),
                    ("tag0", &format!("tag{i}_0")),
                    ("tag1", &format!("tag{i}_1")),
                ],
            );
            join(m, walk, completer, &[("done", &format!("done{i}"))]);
            WalkResult::join(m, d, (walk, "r"), (completer, &format!("r{i}")));
        }
    }

    /// Completion, and the faults that it reports.
    pub(super) fn completion(&self, m: &mut Module) {
        m.part("Completion");
        let Core { d, misses, completer, faults, .. } = self;
        pass(m, &self.invalidation, completer, &["mark"]);
        RequestSignals::join(m, d, (misses, "c"), (completer, "c"));
        pass(m, misses, completer, &["c_port", "woken_valid", "woken_entry"]);
        pass(m, completer, misses, &["c_entry", "c_free", "c_retry", "c_wake", "c_wake_walker"]);
        match &self.messages {
            Some((_, source)) => {
                pass(m, completer, source, &["fault_valid"]);
                FaultRecord::join(m, d, (completer, "fault"), (source, "fault"));
                pass(m, source, completer, &["fault_ready"]);
                join(m, source, faults, &[("out_valid", "fault_valid")]);
                FaultRecord::join(m, d, (source, "out"), (faults, "fault"));
                join(m, faults, source, &[("fault_ready", "ready")]);
            }
            None => {
                pass(m, completer, faults, &["fault_valid"]);
                FaultRecord::join(m, d, (completer, "fault"), (faults, "fault"));
                pass(m, faults, completer, &["fault_ready"]);
            }
        }
    }
}
