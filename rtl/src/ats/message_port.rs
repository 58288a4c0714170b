//! The port of messages to devices: those of commands (invalidation requests, group responses) and the group responses that the
//! IOMMU makes itself.
//!
//! No latency: what a source offers passes in the same cycle, and is the source's own copy. A message that has been offered stays on
//! offer until it is taken; between messages those of commands come first. Never: a message changes or is taken back while
//! the port does not take it.

use std::rc::Rc;

use pasidon_spec::message::{code, group_response};

use super::tag_width;
use crate::design::Design;
use crate::signals::message::MessageHeader;
use pasidon_hdl::{Bundle, E, Module, cat, header, lit, names};

/// The port of messages of `d`.
#[names]
pub fn message_port(d: &Design) -> Rc<Module> {
    let mut m = Module::new("message_port", &header(include_str!("message_port.rs")));
    m.section("The message of a command; held until ready");
    let cq_valid = m.input("cq_valid", 1);
    let invalidation = m.input("cq_invalidation", 1);
    let itag = m.input("cq_itag", tag_width(d));
    let of_command = MessageHeader::inputs(&mut m, d, "cq");
    let payload = m.input("cq_payload", 64);
    m.section("A group response of the IOMMU itself; held until ready");
    let rsp_valid = m.input("rsp_valid", 1);
    let own = MessageHeader::inputs(&mut m, d, "rsp");
    let index = m.input("rsp_index", group_response::INDEX.width.into());
    let status = m.input("rsp_code", group_response::CODE.width.into());
    m.section("To the devices");
    let ready = m.input("msg_ready", 1);

    let locked = m.reg("locked", 1, 0);
    let of_own = m.reg_data("of_own", 1);
    let chosen = m.wire("chosen", locked.mux(of_own, !cq_valid));
    let valid = m.wire("valid", chosen.mux(rsp_valid, cq_valid));
    m.set(locked, valid & !ready);
    m.set(of_own, chosen);
    m.output("msg_valid", valid);
    let request = invalidation & !chosen;
    let code = |code| lit(code, 8);
    m.output(
        "msg_code",
        request.mux(code(code::INVALIDATION_REQUEST), code(code::PAGE_REQUEST_GROUP_RESPONSE)),
    );
    let header = own.or(chosen, &of_command);
    header.outputs(&mut m, d, "msg");
    m.output("msg_itag", request.gate(itag.resize(5)));
    let gap = u32::from(group_response::CODE.lo - group_response::INDEX.hi() - 1);
    let body = cat(&[status, lit(0, gap), index, lit(0, group_response::INDEX.lo.into())]).resize(64);
    let payload = m.output("msg_payload", chosen.mux(body, payload));
    let message: Vec<E> = header.fields(d).into_iter().map(|(_, e)| e).chain([payload]).collect();
    m.held("message", valid, ready, &message);
    m.section("Acceptance of each");
    let taken = m.output("cq_ready", ready & !chosen);
    m.output("rsp_ready", ready & chosen);
    m.section("An invalidation request is sent");
    m.output("sent", taken & cq_valid & invalidation);
    m.build()
}
