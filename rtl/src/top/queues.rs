//! Registers, queues and the barrier, as they are wired to each other.

use super::iommu::Core;
use super::{join, pass};
use pasidon_hdl::Module;

impl Core<'_> {
    /// Registers and queues.
    pub(super) fn queues(&self, m: &mut Module) {
        m.part("Registers and queues");
        let Core { d, regs, commands, faults, sync, axi, .. } = self;
        join(
            m,
            regs,
            commands,
            &[
                ("cq_enable", "enable"),
                ("cq_stop", "stop"),
                ("cq_base", "base"),
                ("cq_mask", "mask"),
                ("cq_tail", "tail"),
                ("ddtp_mode", "ddtp_mode"),
            ],
        );
        join(
            m,
            commands,
            regs,
            &[
                ("on", "cq_on"),
                ("head_index", "cq_head"),
                ("memory_fault", "cq_memory_fault"),
                ("illegal", "cq_illegal"),
                ("fence_wired", "cq_fence_wired"),
            ],
        );
        join(m, axi, commands, &[(&format!("rd{}_draining", self.walks.len()), "draining")]);
        join(
            m,
            regs,
            faults,
            &[
                ("fq_enable", "enable"),
                ("fq_stop", "stop"),
                ("fq_base", "base"),
                ("fq_mask", "mask"),
                ("fq_head", "head"),
            ],
        );
        join(
            m,
            faults,
            regs,
            &[
                ("on", "fq_on"),
                ("tail_index", "fq_tail"),
                ("memory_fault", "fq_memory_fault"),
                ("overflow", "fq_overflow"),
                ("recorded", "fq_recorded"),
            ],
        );
        join(m, commands, sync, &[("sync_valid", "cq_valid"), ("sync_pr", "cq_pr"), ("sync_pw", "cq_pw")]);
        join(m, sync, commands, &[("cq_ready", "sync_ready")]);
        join(m, regs, sync, &[("ddtp_sync_valid", "ddtp_valid")]);
        join(m, sync, regs, &[("ddtp_ready", "ddtp_sync_ready")]);
        if d.big_endian {
            let page_requests = self.ats.as_ref().map(|ats| &ats.queue);
            for queue in [commands, faults].into_iter().chain(page_requests) {
                join(m, regs, queue, &[("fctl_be", "big_endian")]);
            }
        }
        if d.wired && d.msi {
            join(m, regs, commands, &[("fctl_wsi", "wired_interrupts")]);
        }
        self.messages(m);
    }

    /// Fences: from the barrier to the translation side.
    pub(super) fn fence(&self, m: &mut Module) {
        m.part("Fence");
        let Core { fence, sync, .. } = self;
        join(m, sync, fence, &[("fence_valid", "valid")]);
        join(m, fence, sync, &[("ready", "fence_ready")]);
        let walks = super::iommu::vector(&self.walks, "late");
        fence.connect(m, "late", pasidon_hdl::cat(&[self.completer.out("late"), walks]));
        if let Some(ats) = &self.ats {
            pass(m, &ats.intake, fence, &["queueing"]);
        }
        for (i, tlb) in self.tlbs.iter().enumerate() {
            join(
                m,
                tlb,
                fence,
                &[("rsp_pending", &format!("pending{i}")), ("rsp_valid", &format!("rsp{i}_valid"))],
            );
            join(m, fence, tlb, &[(&format!("revoke{i}"), "revoke")]);
        }
    }
}
