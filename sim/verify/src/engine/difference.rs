//! What two engines disagree about, field by field.

use pasidon_spec::request::{Denial, Request, Response, Translation};
use serde::Serialize;
use std::fmt;

/// In what two engines differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// The answer to a request.
    Response,
    /// The answer to a request is one from before a fence that forbids it.
    Stale,
    /// The records in the fault queue.
    Record,
    /// A register.
    Register,
    /// The interrupt wires.
    Wire,
    /// What the IOMMU wrote to memory.
    Memory,
    /// The messages to devices.
    Message,
    /// The hardware broke a rule of its ports, or hangs.
    Failure,
}

impl DifferenceKind {
    fn words(self) -> &'static str {
        match self {
            DifferenceKind::Response => "an answer",
            DifferenceKind::Stale => "a stale answer",
            DifferenceKind::Record => "fault records",
            DifferenceKind::Register => "a register",
            DifferenceKind::Wire => "the interrupt wires",
            DifferenceKind::Memory => "memory",
            DifferenceKind::Message => "messages to devices",
            DifferenceKind::Failure => "the hardware itself",
        }
    }
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldDifference {
    /// Its name.
    pub name: String,
    /// The hardware's value.
    pub rtl: String,
    /// The golden model's value.
    pub golden: String,
}

/// A difference between the hardware and the golden model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In what.
    pub kind: DifferenceKind,
    /// Where: the request, the register, the address.
    pub place: String,
    /// Field by field; only those that differ.
    pub fields: Vec<FieldDifference>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.words(), self.place)?;
        for FieldDifference { name, rtl, golden } in &self.fields {
            write!(f, "\n  {name}: hardware {rtl}, golden model {golden}")?;
        }
        Ok(())
    }
}

/// Collects the fields that differ.
pub(super) struct Fields(Vec<FieldDifference>);

impl Fields {
    pub(super) fn new() -> Fields {
        Fields(Vec::new())
    }

    /// Adds a field, if it differs.
    pub(super) fn compare<T: PartialEq>(
        &mut self,
        name: &str,
        rtl: T,
        golden: T,
        show: impl Fn(T) -> String,
    ) {
        if rtl != golden {
            self.0.push(FieldDifference { name: name.into(), rtl: show(rtl), golden: show(golden) });
        }
    }

    pub(super) fn into_difference(self, kind: DifferenceKind, place: String) -> Difference {
        Difference { kind, place, fields: self.0 }
    }
}

/// Hexadecimal.
pub(super) fn hex(value: u64) -> String {
    format!("{value:#x}")
}

/// What both engines can tell of a success. The address has no meaning where the IOMMU did the access itself (MRIF), where a device
/// must not use it (U of a translation completion), and where nothing is granted.
fn visible(t: &Translation) -> Translation {
    let unused = t.ats.is_some_and(|ats| ats.untranslated_only || ats.withheld.is_some());
    let spa = if t.mrif || unused { 0 } else { t.spa };
    let page_shift = if t.mrif { 0 } else { t.page_shift };
    Translation { spa, page_shift, ..*t }
}

/// Whether two answers are the same in everything that both engines can tell.
#[inline]
pub fn same(rtl: &Response, golden: &Response) -> bool {
    match (rtl, golden) {
        (Response::Success(a), Response::Success(b)) => visible(a) == visible(b),
        (Response::Fault(a), Response::Fault(b)) => (a.cause, a.denial) == (b.cause, b.denial),
        _ => false,
    }
}

fn summary(response: &Response) -> String {
    match response {
        Response::Success(t) => format!("success, {:#x}", t.spa),
        Response::Fault(fault) => {
            let abort = if fault.denial == Denial::CompleterAbort { ", completer abort" } else { "" };
            format!("fault {} ({}){abort}", fault.cause.code(), fault.cause.name())
        }
    }
}

/// The difference between two answers to a request.
pub(super) fn of_responses(
    kind: DifferenceKind,
    request: &Request,
    rtl: &Response,
    golden: &Response,
) -> Difference {
    let mut fields = Fields::new();
    if let (Response::Success(a), Response::Success(b)) = (rtl, golden) {
        let (a, b) = (visible(a), visible(b));
        fields.compare("spa", a.spa, b.spa, hex);
        fields.compare("read", a.read, b.read, |v| v.to_string());
        fields.compare("write", a.write, b.write, |v| v.to_string());
        fields.compare("exec", a.exec, b.exec, |v| v.to_string());
        fields.compare("page_shift", a.page_shift, b.page_shift, |v| v.to_string());
        fields.compare("pbmt", a.pbmt, b.pbmt, |v| v.to_string());
        fields.compare("rcid", a.rcid, b.rcid, |v| v.to_string());
        fields.compare("mcid", a.mcid, b.mcid, |v| v.to_string());
        fields.compare("mrif", a.mrif, b.mrif, |v| v.to_string());
        fields.compare("ats", a.ats, b.ats, |v| format!("{v:?}"));
    } else {
        fields.compare("answer", summary(rtl), summary(golden), |v| v);
    }
    fields.into_difference(kind, describe(request))
}

/// A request in words.
pub fn describe(request: &Request) -> String {
    let kind = match (request.exec, request.write) {
        (true, _) => "execute",
        (false, true) => "write",
        (false, false) => "read",
    };
    let process = request.process_id.map_or(String::new(), |pid| format!(", process {pid:#x}"));
    let privileged = if request.privileged && request.process_id.is_some() { ", supervisor" } else { "" };
    let at = match request.at {
        pasidon_spec::request::AddressType::Untranslated => "",
        pasidon_spec::request::AddressType::TranslationRequest => ", ATS translation request",
        pasidon_spec::request::AddressType::Translated => ", translated",
    };
    format!("{kind} of {:#x} by device {:#x}{process}{privileged}{at}", request.iova, request.device_id)
}
