//! Causes of faults as constants with names.

use pasidon_hdl::Label;
use pasidon_hdl::label::Set;
use pasidon_spec::fault::Cause;

static SET: Set = Set { name: "cause", doc: "Causes of faults" };

/// The code of a cause.
pub fn cause_label(cause: Cause) -> Label {
    Label { set: &SET, value: cause.code().into(), name: cause.name(), doc: "" }
}
