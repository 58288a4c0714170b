//! What carries the messages between devices and IOMMU, and how it is wired into the core.

use super::iommu::Core;
use super::ports::input;
use super::requesters::requester;
use crate::ats::{device_messages, invalidation_tags, message_port};
use crate::design::Design;
use crate::queue::page_request_queue;
use crate::signals::message::MessageHeader;
use pasidon_hdl::{Bundle, Instance, Module};

/// What carries the messages between devices and IOMMU.
pub(super) struct Ats {
    pub(super) intake: Instance,
    tags: Instance,
    port: Instance,
    pub(super) queue: Instance,
}

impl Ats {
    /// The blocks, not yet connected.
    pub(super) fn new(m: &mut Module, d: &Design) -> Ats {
        Ats {
            intake: m.instance("device_messages", &device_messages(d)),
            tags: m.instance("invalidation_tags", &invalidation_tags(d)),
            port: m.instance("message_port", &message_port(d)),
            queue: m.instance("page_request_queue", &page_request_queue(d)),
        }
    }

    /// The ports of the core for messages, and the wires between these blocks and the others.
    pub(super) fn connect(&self, m: &mut Module, core: &Core) {
        let Core { d, regs, commands, misses, completer, .. } = core;
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
        m.output("msg_code", port.out("msg_code"));
        MessageHeader::outputs_of(d, port, "msg").outputs(m, d, "msg");
        for name in ["msg_itag", "msg_payload"] {
            m.output(name, port.out(name));
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
            (tags, "sent", port.out("sent")),
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
        for name in ["valid", "invalidation", "payload"] {
            port.connect(m, &format!("cq_{name}"), commands.out(&format!("msg_{name}")));
        }
        MessageHeader::join(m, d, (commands, "msg"), (port, "cq"));
        for name in ["rsp_valid", "rsp_index", "rsp_code"] {
            port.connect(m, name, intake.out(name));
        }
        MessageHeader::join(m, d, (intake, "rsp"), (port, "rsp"));
        m.section("The command queue waits for invalidation completions; requests that time out in this cycle, by tag");
        m.output("ev_ats_wait", commands.out("waits"));
        m.output("ev_ats_timeout", tags.out("ev_timeout"));
    }
}
