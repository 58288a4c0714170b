//! Functional coverage: what the operations of a run have met, counted, and what they could have met and did not.

mod points;

use super::generate::Round;
use super::op::{AccessKind, Ask, At};
use pasidon_rtl::design::Design;
use pasidon_rtl::regs::capabilities;
use pasidon_spec::command::{Command, Illegal};
use pasidon_spec::registers::capabilities as cap;
use pasidon_spec::request::{Denial, Response, Translation};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Points and how often each was met.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct PointCounts {
    counts: BTreeMap<String, u64>,
    #[serde(skip)]
    names: Vec<String>,
    /// (tag, access, cause or success with page size): counted as numbers, since there are many.
    #[serde(skip)]
    answers: BTreeMap<(u16, u8, u16, u8), u64>,
    #[serde(skip)]
    capabilities: u64,
    /// Contexts with one wrong field: (device, process context) and the field; `None` where several are.
    #[serde(skip)]
    checks: BTreeMap<(u32, bool), Option<String>>,
}

/// Strobes of the hardware so far: lookups, hits, walks, read bursts.
pub type Events = [u64; 4];

impl PointCounts {
    /// Nothing met yet.
    pub fn new(design: &Design) -> PointCounts {
        PointCounts { capabilities: capabilities(design), ..PointCounts::default() }
    }

    /// A round begins: what the generator knows of its requests.
    pub(super) fn start(&mut self, round: &Round) {
        self.fold();
        self.names.clone_from(&round.names);
        self.checks.clear();
        for check in &round.checks {
            let entry = self.checks.entry((check.did, check.process));
            entry.and_modify(|name| *name = None).or_insert_with(|| Some(check.name.clone()));
        }
    }

    /// Turns answers counted by tag into points.
    pub(super) fn fold(&mut self) {
        for ((tag, access, cause, shift), count) in std::mem::take(&mut self.answers) {
            let modes = self.names.get(usize::from(tag)).map_or("none", |name| name);
            let access = ["read", "write", "execute"][usize::from(access)];
            let points = if cause == 0 {
                [format!("translation/{modes}/2^{shift}"), format!("access/{access}/success")]
            } else {
                [format!("fault/{modes}/{cause}"), format!("access/{access}/{cause}")]
            };
            for point in points {
                *self.counts.entry(point).or_default() += count;
            }
        }
    }

    /// Meets a point.
    pub(super) fn count(&mut self, point: String) {
        *self.counts.entry(point).or_default() += 1;
    }

    /// Meets an answer to a translation request or a translated request.
    fn ats_answer(&mut self, ask: &Ask, response: &Response) {
        let mut point = |what: &str| *self.counts.entry(what.to_string()).or_default() += 1;
        match (ask.at, response) {
            (At::Translated, Response::Success(t)) if t.spa == ask.iova => point("translated/passed on"),
            (At::Translated, Response::Success(_)) => point("translated/by the second stage"),
            (At::Translated, Response::Fault(f)) => point(&format!("translated/fault {}", f.cause.code())),
            (_, Response::Fault(f)) => {
                let denial = match f.denial {
                    Denial::UnsupportedRequest => "unsupported request",
                    Denial::CompleterAbort => "completer abort",
                };
                point(&format!("translation request/{denial} {}", f.cause.code()));
            }
            (_, Response::Success(t)) => {
                let ats = t.ats.unwrap_or_default();
                if let Some(cause) = ats.withheld {
                    return point(&format!("translation request/nothing granted {}", cause.code()));
                }
                for (there, what) in [
                    (t.read && t.write, "read and write"),
                    (t.read && !t.write, "read"),
                    (t.exec, "execute"),
                    (!t.read, "no permission"),
                    (ats.untranslated_only, "untranslated only"),
                    (ats.global, "global"),
                    (ats.privileged, "privileged"),
                    (ats.cxl_io, "CXL.io"),
                    (t.page_shift > 12, "larger page"),
                ] {
                    if there {
                        point(&format!("translation request/{what}"));
                    }
                }
            }
        }
    }

    /// Meets an answer.
    #[inline]
    pub(super) fn answer(&mut self, ask: &Ask, response: &Response) {
        if ask.at != At::Untranslated && cap::ATS.is_set(self.capabilities) {
            self.ats_answer(ask, response);
        }
        let withheld = |t: &Translation| t.ats.is_some_and(|ats| ats.withheld.is_some());
        if response.success().is_some_and(|t| withheld(&t)) {
            return;
        }
        let access = match ask.access {
            AccessKind::Read => 0,
            AccessKind::Write => 1,
            AccessKind::Exec => 2,
        };
        let (cause, shift) = match response {
            Response::Success(t) => (0, t.page_shift),
            Response::Fault(fault) => (fault.cause.code(), 0),
        };
        *self.answers.entry((ask.tag, access, cause, shift)).or_default() += 1;
        let process = match cause {
            259 => false,
            267 => true,
            _ => return,
        };
        if let Some(Some(name)) = self.checks.get(&(ask.did, process)) {
            let point = format!("{} check/{name}", if process { "PC" } else { "DC" });
            *self.counts.entry(point).or_default() += 1;
        }
    }

    /// Where the answer to a request that was alone came from.
    pub(super) fn level(&mut self, before: Events, after: Events) {
        let [_, hits, walks, reads] = [0, 1, 2, 3].map(|i| after[i] - before[i]);
        let level = match (hits, walks, reads) {
            (1.., ..) => "first-level IOTLB",
            (_, _, 0) => "second-level IOTLB or no memory read",
            (_, _, 1) => "one memory read",
            _ => "several memory reads",
        };
        self.count(format!("answered from/{level}"));
    }

    /// Meets a command.
    pub(super) fn command(&mut self, words: [u64; 2]) {
        let point = match Command::decode(words) {
            Ok(Command::IotinvalVma { gscid, pscid, range }) => {
                let operand = |there: bool, name: &'static str| if there { name } else { "" };
                format!(
                    "command/IOTINVAL.VMA{}{}{}{}{}",
                    operand(gscid.is_some(), " GV"),
                    operand(pscid.is_some(), " PSCV"),
                    operand(range.is_some(), " AV"),
                    operand(range.is_some_and(|r| r.napot), " S"),
                    operand(range.is_some_and(|r| r.non_leaf), " NL")
                )
            }
            Ok(Command::IotinvalGvma { guest }) => {
                let range = guest.and_then(|(_, range)| range);
                let operand = |there: bool, name: &'static str| if there { name } else { "" };
                format!(
                    "command/IOTINVAL.GVMA{}{}{}{}",
                    operand(guest.is_some(), " GV"),
                    operand(range.is_some(), " AV"),
                    operand(range.is_some_and(|r| r.napot), " S"),
                    operand(range.is_some_and(|r| r.non_leaf), " NL")
                )
            }
            Ok(Command::IofenceC { pr, pw, wsi, store }) => format!(
                "command/IOFENCE.C{}{}{}",
                if pr || pw { " PR or PW" } else { "" },
                if wsi { " WSI" } else { "" },
                if store.is_some() { " AV" } else { "" }
            ),
            Ok(Command::IodirInvalDdt { did }) => {
                format!("command/IODIR.INVAL_DDT{}", if did.is_some() { " DV" } else { "" })
            }
            Ok(Command::IodirInvalPdt { .. }) => "command/IODIR.INVAL_PDT".into(),
            Ok(Command::AtsInval { .. } | Command::AtsPrgr { .. }) if !cap::ATS.is_set(self.capabilities) => {
                "illegal command/ATS".into()
            }
            Ok(Command::AtsInval { .. }) => "command/ATS.INVAL".into(),
            Ok(Command::AtsPrgr { .. }) => "command/ATS.PRGR".into(),
            Err(Illegal::Opcode(_)) => "illegal command/opcode".into(),
            Err(Illegal::Function { .. }) => "illegal command/func3".into(),
            Err(Illegal::ReservedBits { dword, .. }) => {
                format!("illegal command/reserved bits of doubleword {dword}")
            }
            Err(Illegal::PscvInGvma) => "illegal command/PSCV in IOTINVAL.GVMA".into(),
            Err(Illegal::NoDeviceId) => "illegal command/INVAL_PDT without DV".into(),
            Err(_) => "illegal command/other".into(),
        };
        self.count(point);
    }

    /// Adds what another run has met.
    pub fn add(&mut self, other: &PointCounts) {
        for (point, count) in &other.counts {
            *self.counts.entry(point.clone()).or_default() += count;
        }
    }

    /// How often a point was met.
    pub fn met(&self, point: &str) -> u64 {
        self.counts.get(point).copied().unwrap_or(0)
    }

    /// Points that the design's features make possible and that were not met.
    pub fn holes(&self) -> Vec<String> {
        self.points().into_iter().filter(|point| self.met(point) == 0).collect()
    }

    /// Every point that the design's features make possible.
    pub fn points(&self) -> BTreeSet<String> {
        points::possible(self.capabilities)
    }

    /// A table of groups: points met, points there are, and the holes.
    pub fn table(&self) -> String {
        let mut groups: BTreeMap<String, (u64, u64, Vec<String>)> = BTreeMap::new();
        for point in self.points() {
            let (group, rest) = point.split_once('/').unwrap_or((&point, ""));
            let entry = groups.entry(group.to_string()).or_default();
            entry.1 += 1;
            if self.met(&point) > 0 {
                entry.0 += 1;
            } else {
                entry.2.push(rest.to_string());
            }
        }
        let mut text = format!("{:<22} {:>5} {:>5}  holes\n", "coverage", "met", "of");
        for (group, (met, all, holes)) in groups {
            text.push_str(&format!("{group:<22} {met:>5} {all:>5}  {}\n", holes.join(", ")));
        }
        text
    }
}
