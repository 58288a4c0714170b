//! Messages of devices: page requests (and stop markers), and invalidation completions.
//!
//! Whether a device may send its message stands in its device context. So a message first goes to the miss table, as a request of
//! one more port, marked as a message: it finds the context as any request does, from the DDTC or from memory, is
//! looked up again when an invalidation overtakes it, and its fault is recorded as that of a message. Then a page request goes to
//! the page-request queue, or is answered here if it was the last of its group and could not be queued; a completion goes to
//! [`invalidation_tags`](super::invalidation_tags).
//!
//! | why a page request is not queued | response |
//! |---|---|
//! | transaction type disallowed (cause 260): Bare, device_id too wide, EN_ATS or EN_PRI is 0 | Invalid Request |
//! | the queue is full or has overflowed | Success |
//! | any other fault; the queue is off or has met a memory fault | Response Failure |
//!
//! A response has the PASID of its request if it says Response Failure or `DC.tc.PRPR` is 1. (Section "PCIe ATS Page Request
//! handling".)
//!
//! Latency: 7 cycles and those of the lookup, before the page-request queue or the message port take over. The sender holds its
//! message until it is dealt with, so that only what a response repeats of it is kept here (an output must not follow an input at
//! once), and messages of each kind stay in order. Never: a page
//! request is queued or answered twice, or not at all though it needs a response; a completion waits for a message to a device.

use std::rc::Rc;

use pasidon_spec::fault::Cause;
use pasidon_spec::message::{code, response_code};
use pasidon_spec::page_request::record;

use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::message::MessageHeader;
use crate::signals::request::RequestSignals;
use pasidon_hdl::{Bundle, E, Module, header, hi, labels, lit, names};

labels! {
    /// What is done with a message
    pub mod state {
        IDLE,
        CHECK,
        /// A page request goes to the queue, a completion to the tags.
        DELIVER,
        /// The IOMMU itself answers a page request.
        RESPOND,
        DONE,
    }
}

labels! {
    /// The lookup that both kinds of message share
    pub mod lookup {
        FREE,
        ASK,
        WAIT,
    }
}

/// The intake of messages of `d`.
#[names]
pub fn device_messages(d: &Design) -> Rc<Module> {
    let mut m = Module::new("device_messages", &header(include_str!("device_messages.rs")));
    let to = |state| lit(state, state::WIDTH);
    let page = m.reg("page_state", state::WIDTH, state::IDLE);
    let completion = m.reg("completion_state", state::WIDTH, state::IDLE);
    let lookup = m.reg("lookup_state", lookup::WIDTH, lookup::FREE);
    let of_page = m.reg("of_page", 1, 0);

    m.section("A page request; held until ready");
    let pr_valid = m.input("pr_valid", 1);
    let pr_did = m.input("pr_did", d.device_id_width);
    let pr_pv = m.input("pr_pv", 1);
    let pr_pid = m.input("pr_pid", d.process_id_width);
    let pr_priv = m.input("pr_priv", 1);
    let payload = m.input("pr_payload", 64);
    m.output("pr_ready", page.is(state::DONE));
    m.section("An invalidation completion; held until ready");
    let ic_valid = m.input("ic_valid", 1);
    let ic_did = m.input("ic_did", d.device_id_width);
    m.output("ic_ready", completion.is(state::DONE));

    m.section("To the miss table");
    m.output("miss_valid", lookup.is(lookup::ASK));
    let miss_ready = m.input("miss_ready", 1);
    let request = RequestSignals {
        device_id: of_page.mux(pr_did, ic_did),
        pid_valid: of_page & pr_pv,
        process_id: pr_pid,
        privileged: pr_priv,
        // What EN_PRI has to allow.
        write: of_page,
        // No address: a type that the IOTLB does not answer.
        at: lit(3, 2),
        message: hi(),
        iova: of_page.mux(lit(code::PAGE_REQUEST, 3), lit(code::INVALIDATION_COMPLETION, 3)).resize(64),
        ..RequestSignals::zero(d)
    }
    .normal();
    request.outputs(&mut m, d, "miss");
    m.section("Its answer: taken in the cycle in which it is offered; DC.tc.PRPR of a device that may");
    let found = m.input("c_valid", 1);
    let allowed = m.input("c_ok", 1);
    let cause = m.input("c_cause", 12);
    let c_prpr = m.input("c_prpr", 1);

    m.section("To the page-request queue: held until done; what came of it");
    m.output("queue_valid", page.is(state::DELIVER));
    let queue_done = m.input("queue_done", 1);
    let queued = m.input("queue_queued", 1);
    let full = m.input("queue_full", 1);

    m.part("The response of the IOMMU itself");
    let status = m.reg_data("status", response_code_width());
    let prpr = m.reg_data("prpr", 1);
    let field = |f: pasidon_spec::field::Field| payload.bits(f.lo.into(), f.width.into());
    let needs_response = field(record::L) & (field(record::R) | field(record::W));
    let failed = |code: u64| lit(code, response_code_width());
    let failure = response_code::RESPONSE_FAILURE;
    m.section("To the message port: a group response; held until ready");
    m.output("rsp_valid", page.is(state::RESPOND));
    let rsp_ready = m.input("rsp_ready", 1);
    let [did, pv, pid, index] =
        [("did", pr_did), ("pv", pr_pv), ("pid", pr_pid), ("index", field(record::INDEX))].map(
            |(name, now)| {
                let kept = m.reg_data(&format!("kept_{name}"), now.width());
                m.when(page.is(state::IDLE), |m| m.set(kept, now));
                kept
            },
        );
    let did = did.resize(24);
    MessageHeader {
        rid: did.bits(0, 16),
        dsv: did.bits(16, 8).any(),
        dseg: did.bits(16, 8),
        pv: pv & (prpr | status.is(failure)),
        pid: pid.resize(20),
    }
    .outputs(&mut m, d, "rsp");
    m.output("rsp_index", index);
    m.output("rsp_code", status);

    m.section("To the invalidation tags: held until done");
    m.output("tags_valid", completion.is(state::DELIVER));
    let tags_done = m.input("tags_done", 1);
    m.section("A page request whose device was looked up is not in the queue yet");
    m.output("queueing", page.is(state::DELIVER));

    m.part("Who looks up");
    // Each waits for the other at most once.
    let wants_page = page.is(state::CHECK);
    let wants_completion = completion.is(state::CHECK);
    let answer = lookup.is(lookup::WAIT) & found;
    m.switch(lookup, |m, s| {
        s.case(m, lookup::FREE, |m| {
            m.set(of_page, wants_page & !(of_page & wants_completion));
            m.when(wants_page | wants_completion, |m| m.set(lookup, lit(lookup::ASK, lookup::WIDTH)));
        });
        s.case(m, lookup::ASK, |m| m.when(miss_ready, |m| m.set(lookup, lit(lookup::WAIT, lookup::WIDTH))));
        s.default(m, |m| m.when(found, |m| m.set(lookup, lit(lookup::FREE, lookup::WIDTH))));
    });

    let refuse = |m: &mut Module, code: E| {
        m.set(status, code);
        m.set(page, needs_response.mux(to(state::RESPOND), to(state::DONE)));
    };
    m.switch(page, |m, s| {
        s.case(m, state::IDLE, |m| m.when(pr_valid, |m| m.set(page, to(state::CHECK))));
        s.case(m, state::CHECK, |m| {
            m.when(answer & of_page, |m| {
                let disallowed = cause.is(cause_label(Cause::TransactionTypeDisallowed));
                m.set(prpr, allowed & c_prpr);
                m.when_else(
                    allowed,
                    |m| m.set(page, to(state::DELIVER)),
                    |m| refuse(m, disallowed.mux(failed(response_code::INVALID_REQUEST), failed(failure))),
                );
            });
        });
        s.case(m, state::DELIVER, |m| {
            m.when(queue_done, |m| {
                m.when_else(
                    queued,
                    |m| m.set(page, to(state::DONE)),
                    |m| refuse(m, full.mux(failed(response_code::SUCCESS), failed(failure))),
                );
            });
        });
        s.case(m, state::RESPOND, |m| m.when(rsp_ready, |m| m.set(page, to(state::DONE))));
        s.default(m, |m| m.set(page, to(state::IDLE)));
    });
    m.switch(completion, |m, s| {
        s.case(m, state::IDLE, |m| m.when(ic_valid, |m| m.set(completion, to(state::CHECK))));
        s.case(m, state::CHECK, |m| {
            m.when(answer & !of_page, |m| {
                m.set(completion, allowed.mux(to(state::DELIVER), to(state::DONE)))
            });
        });
        s.case(m, state::DELIVER, |m| m.when(tags_done, |m| m.set(completion, to(state::DONE))));
        s.default(m, |m| m.set(completion, to(state::IDLE)));
    });
    m.build()
}

/// Bits of the code of a group response.
fn response_code_width() -> u32 {
    pasidon_spec::message::group_response::CODE.width.into()
}
