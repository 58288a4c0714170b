//! Functional coverage: what the operations of a run have met, counted, and what they could have met and did not.

use super::generate::Round;
use super::op::{Access, Ask, At};
use pasidon_rtl::design::Design;
use pasidon_rtl::regs::capabilities;
use pasidon_spec::command::{Command, Illegal};
use pasidon_spec::fault::Cause;
use pasidon_spec::field::Field;
use pasidon_spec::registers::capabilities as cap;
use pasidon_spec::request::{Denial, Response, Translation};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Points and how often each was met.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Coverage {
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

impl Coverage {
    /// Nothing met yet.
    pub fn new(design: &Design) -> Coverage {
        Coverage { capabilities: capabilities(design), ..Coverage::default() }
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
            Access::Read => 0,
            Access::Write => 1,
            Access::Exec => 2,
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
    pub fn add(&mut self, other: &Coverage) {
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
        let has = |field: Field| field.is_set(self.capabilities);
        let mut points = BTreeSet::new();
        let mut firsts: Vec<(&str, &[u32])> = vec![("Bare", &[30]), ("Sv39", &[12, 16, 21, 30])];
        for (field, name, shifts) in [
            (cap::SV48, "Sv48", &[12, 16, 21, 30, 39][..]),
            (cap::SV57, "Sv57", &[12, 16, 21, 30, 39, 48]),
            (cap::SV32, "Sv32", &[12, 22]),
        ] {
            firsts.extend(has(field).then_some((name, shifts)));
        }
        let mut seconds: Vec<(&str, &[u32])> = vec![("Bare", &[])];
        for (field, name, shifts) in [
            (cap::SV39X4, "Sv39x4", &[12, 16, 21, 30][..]),
            (cap::SV48X4, "Sv48x4", &[12, 16, 21, 30, 39]),
            (cap::SV57X4, "Sv57x4", &[12, 16, 21, 30, 39, 48]),
            (cap::SV32X4, "Sv32x4", &[12, 22]),
        ] {
            seconds.extend(has(field).then_some((name, shifts)));
        }
        for (first, sizes) in &firsts {
            for (second, guest_sizes) in &seconds {
                // fctl.GXL = 1 allows no first stage but Sv32, and Sv32x4 is only there with it.
                if *second == "Sv32x4" && !["Bare", "Sv32"].contains(first) {
                    continue;
                }
                let sizes: &[u32] = match (*first, *second) {
                    (_, "Bare") => sizes,
                    ("Bare", _) => guest_sizes,
                    // The smaller of the two pages: 4 KiB is always among them.
                    _ => &[12, if *first == "Sv32" { 12 } else { 21 }],
                };
                points.extend(sizes.iter().map(|shift| format!("translation/{first}/{second}/2^{shift}")));
                if *first != "Bare" {
                    points.extend([12, 13, 15].map(|cause| format!("fault/{first}/{second}/{cause}")));
                }
                if *second != "Bare" {
                    points.extend([20, 21, 23].map(|cause| format!("fault/{first}/{second}/{cause}")));
                }
            }
        }
        let processes = has(cap::PD8) || has(cap::PD17) || has(cap::PD20);
        for cause in Cause::ALL {
            let possible = match cause.code() {
                1 | 5 | 7 | 12 | 13 | 15 | 256..=260 | 268 | 274 => true,
                20 | 21 | 23 => seconds.len() > 1,
                261..=263 | 270 => has(cap::MSI_FLAT),
                264 | 271 => has(cap::MSI_MRIF),
                265..=267 | 269 => processes,
                _ => false,
            };
            if !possible {
                continue;
            }
            let accesses: &[&str] = match cause.code() {
                1 | 12 | 20 => &["execute"],
                5 | 13 | 21 => &["read"],
                7 | 15 | 23 => &["write"],
                // Only a write gets as far as the file; an execute is refused before.
                264 | 271 => &["write"],
                _ => &["read", "write", "execute"],
            };
            points.extend(accesses.iter().map(|access| format!("access/{access}/{}", cause.code())));
        }
        for operands in ["", " GV", " PSCV", " GV PSCV"] {
            for range in ["", " AV"] {
                points.insert(format!("command/IOTINVAL.VMA{operands}{range}"));
            }
            if has(cap::S) {
                points.insert(format!("command/IOTINVAL.VMA{operands} AV S"));
            }
            if has(cap::NL) {
                points.insert(format!("command/IOTINVAL.VMA{operands} AV NL"));
            }
        }
        let plain = [
            "access/read/success",
            "access/write/success",
            "access/execute/success",
            "command/IOTINVAL.GVMA",
            "command/IOTINVAL.GVMA GV",
            "command/IOTINVAL.GVMA GV AV",
            "command/IOFENCE.C",
            "command/IOFENCE.C AV",
            "command/IOFENCE.C PR or PW",
            "command/IOFENCE.C PR or PW AV",
            "command/IODIR.INVAL_DDT",
            "command/IODIR.INVAL_DDT DV",
            "command/IODIR.INVAL_PDT",
            "illegal command/opcode",
            "illegal command/func3",
            "illegal command/reserved bits of doubleword 0",
            "illegal command/reserved bits of doubleword 1",
            "illegal command/INVAL_PDT without DV",
            "command queue/full",
            "command queue/wrapped",
            "command queue/memory fault",
            "command queue/illegal command",
            "fault queue/wrapped",
            "fault queue/overflow",
            "fault queue/memory fault",
            "fault queue/off",
            "stale/asked after the fence",
            "answered from/first-level IOTLB",
            "answered from/several memory reads",
        ];
        points.extend(plain.map(String::from));
        // A bit that has no meaning, or not with these features, makes a context misconfigured.
        let mut wrong =
            vec!["tc.reserved", "tc.EN_ATS", "tc.EN_PRI", "tc.PRPR", "tc.T2GPA", "tc.DPE", "iohgatp.MODE"];
        wrong.extend(["ta.reserved", "fsc.reserved", "fsc.MODE"]);
        wrong.extend((!has(cap::AMO_HWAD)).then_some(["tc.GADE", "tc.SADE"]).into_iter().flatten());
        wrong.extend((!has(cap::QOSID)).then_some(["ta.RCID", "ta.MCID"]).into_iter().flatten());
        wrong.extend((!has(cap::END)).then_some("tc.SBE"));
        wrong.extend((!has(cap::SV32X4)).then_some("tc.SXL"));
        wrong.extend((seconds.len() > 1).then_some("iohgatp.PPN"));
        if has(cap::MSI_FLAT) {
            wrong.extend(["msiptp.MODE", "msiptp.reserved", "msi_addr_mask.reserved"]);
            wrong.extend(["msi_addr_pattern.reserved", "reserved.reserved"]);
        }
        points.extend(wrong.iter().map(|name| format!("DC check/{name}")));
        if processes {
            points.extend(["ta.reserved", "fsc.reserved", "fsc.MODE"].map(|name| format!("PC check/{name}")));
        }
        if has(cap::ATS) {
            let messages = [
                "command/ATS.INVAL",
                "command/ATS.PRGR",
                "page-request queue/records",
                "page-request queue/wrapped",
                "page-request queue/overflow",
                "page-request queue/memory fault",
                "page-request queue/off",
                "group response/0",
                "group response/1",
                "group response/15",
                "invalidation completion/any",
                "invalidation completion/of requests in flight",
            ];
            points.extend(messages.map(String::from));
        }
        if has(cap::ATS) {
            let msi = has(cap::MSI_FLAT);
            let asked = |what: &str, causes: &[(u16, bool)]| -> Vec<String> {
                let there = causes.iter().filter(|(_, there)| *there);
                there.map(|(cause, _)| format!("translation request/{what} {cause}")).collect()
            };
            let second = seconds.len() > 1;
            points.extend(asked(
                "nothing granted",
                &[(12, true), (13, true), (20, second), (21, second), (262, msi), (266, processes)],
            ));
            points
                .extend(asked("unsupported request", &[256, 257, 258, 259, 260].map(|cause| (cause, true))));
            points.extend(asked(
                "completer abort",
                &[(1, true), (5, true), (261, msi), (263, msi), (265, processes), (267, processes)],
            ));
            for (what, there) in [
                ("read and write", true),
                ("read", true),
                ("execute", true),
                ("no permission", true),
                ("untranslated only", has(cap::MSI_MRIF)),
                ("global", processes),
                ("privileged", processes),
                ("CXL.io", msi || has(cap::SVPBMT) || has(cap::T2GPA)),
                ("larger page", true),
            ] {
                points.extend(there.then(|| format!("translation request/{what}")));
            }
            points.extend(["translated/passed on", "translated/fault 260"].map(String::from));
            if has(cap::T2GPA) {
                let more = ["by the second stage", "fault 20", "fault 21", "fault 23"];
                points.extend(more.map(|what| format!("translated/{what}")));
            }
        }
        if has(cap::DBG) {
            points.extend(["success", "fault"].map(|what| format!("debug translation/{what}")));
        }
        points
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
