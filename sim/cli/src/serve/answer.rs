//! Answers and events as JSON. Values that may have more than 53 bits are text in hexadecimal, which every language reads
//! without loss.

use pasidon_spec::request::{Denial, Response};
use serde_json::{Value, json};

/// `0x...`
pub(super) fn hex(value: u64) -> Value {
    Value::String(format!("{value:#x}"))
}

/// The answer to a translation request.
pub(super) fn response(response: &Response) -> Value {
    match response {
        Response::Success(t) => {
            let mut answer = json!({
                "status": "success", "spa": hex(t.spa), "read": t.read, "write": t.write, "execute": t.exec,
                "page_shift": t.page_shift, "pbmt": t.pbmt, "rcid": t.rcid, "mcid": t.mcid, "mrif": t.mrif,
            });
            if let Some(ats) = t.ats {
                answer["ats"] = json!({
                    "untranslated_only": ats.untranslated_only, "global": ats.global, "privileged": ats.privileged,
                    "cxl_io": ats.cxl_io, "ama": ats.ama, "withheld": ats.withheld.map(|cause| cause.code()),
                });
            }
            answer
        }
        Response::Fault(fault) => json!({
            "status": "fault", "cause": fault.cause.code(), "name": fault.cause.name(),
            "denial": match fault.denial {
                Denial::UnsupportedRequest => "unsupported request",
                Denial::CompleterAbort => "completer abort",
            },
        }),
    }
}
