//! The points that a design's features make possible.

use pasidon_spec::fault::Cause;
use pasidon_spec::field::Field;
use pasidon_spec::registers::capabilities as cap;
use std::collections::BTreeSet;

/// Modes of a stage by name, each with the page sizes that it has, in log2 of bytes.
type Modes = Vec<(&'static str, &'static [u32])>;

/// What the features decide.
struct Features {
    capabilities: u64,
    /// First-stage modes, Bare among them.
    firsts: Modes,
    /// Second-stage modes, Bare among them.
    seconds: Modes,
}

/// Every point that an IOMMU with these `capabilities` can be brought to.
pub(super) fn possible(capabilities: u64) -> BTreeSet<String> {
    let features = Features::of(capabilities);
    let mut points = BTreeSet::new();
    points.extend(features.translations());
    points.extend(features.causes());
    points.extend(features.commands());
    points.extend(ALWAYS.iter().map(|point| point.to_string()));
    points.extend(features.context_checks());
    if features.has(cap::ATS) {
        points.extend(OF_MESSAGES.iter().map(|point| point.to_string()));
        points.extend(features.translation_requests());
    }
    if features.has(cap::DBG) {
        points.extend(["success", "fault"].map(|what| format!("debug translation/{what}")));
    }
    points
}

impl Features {
    fn of(capabilities: u64) -> Features {
        let has = |field: Field| field.is_set(capabilities);
        let mut firsts: Modes = vec![("Bare", &[30]), ("Sv39", &[12, 16, 21, 30])];
        for (field, name, shifts) in [
            (cap::SV48, "Sv48", &[12, 16, 21, 30, 39][..]),
            (cap::SV57, "Sv57", &[12, 16, 21, 30, 39, 48]),
            (cap::SV32, "Sv32", &[12, 22]),
        ] {
            firsts.extend(has(field).then_some((name, shifts)));
        }
        let mut seconds: Modes = vec![("Bare", &[])];
        for (field, name, shifts) in [
            (cap::SV39X4, "Sv39x4", &[12, 16, 21, 30][..]),
            (cap::SV48X4, "Sv48x4", &[12, 16, 21, 30, 39]),
            (cap::SV57X4, "Sv57x4", &[12, 16, 21, 30, 39, 48]),
            (cap::SV32X4, "Sv32x4", &[12, 22]),
        ] {
            seconds.extend(has(field).then_some((name, shifts)));
        }
        Features { capabilities, firsts, seconds }
    }

    fn has(&self, field: Field) -> bool {
        field.is_set(self.capabilities)
    }

    fn has_processes(&self) -> bool {
        self.has(cap::PD8) || self.has(cap::PD17) || self.has(cap::PD20)
    }

    fn has_second_stage(&self) -> bool {
        self.seconds.len() > 1
    }

    /// Modes of both stages together, with page sizes and page faults.
    fn translations(&self) -> Vec<String> {
        let mut points = Vec::new();
        for (first, sizes) in &self.firsts {
            for (second, guest_sizes) in &self.seconds {
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
        points
    }

    /// Causes, by the accesses that can have them.
    fn causes(&self) -> Vec<String> {
        let mut points = Vec::new();
        for cause in Cause::ALL {
            let possible = match cause.code() {
                1 | 5 | 7 | 12 | 13 | 15 | 256..=260 | 268 | 274 => true,
                20 | 21 | 23 => self.has_second_stage(),
                261..=263 | 270 => self.has(cap::MSI_FLAT),
                264 | 271 => self.has(cap::MSI_MRIF),
                265..=267 | 269 => self.has_processes(),
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
        points
    }

    /// IOTINVAL.VMA with each combination of operands.
    fn commands(&self) -> Vec<String> {
        let mut points = Vec::new();
        for operands in ["", " GV", " PSCV", " GV PSCV"] {
            for range in ["", " AV"] {
                points.push(format!("command/IOTINVAL.VMA{operands}{range}"));
            }
            if self.has(cap::S) {
                points.push(format!("command/IOTINVAL.VMA{operands} AV S"));
            }
            if self.has(cap::NL) {
                points.push(format!("command/IOTINVAL.VMA{operands} AV NL"));
            }
        }
        points
    }

    /// Fields that make a context misconfigured.
    fn context_checks(&self) -> Vec<String> {
        let mut points = Vec::new();
        // A bit that has no meaning, or not with these features, makes a context misconfigured.
        let mut wrong =
            vec!["tc.reserved", "tc.EN_ATS", "tc.EN_PRI", "tc.PRPR", "tc.T2GPA", "tc.DPE", "iohgatp.MODE"];
        wrong.extend(["ta.reserved", "fsc.reserved", "fsc.MODE"]);
        wrong.extend((!self.has(cap::AMO_HWAD)).then_some(["tc.GADE", "tc.SADE"]).into_iter().flatten());
        wrong.extend((!self.has(cap::QOSID)).then_some(["ta.RCID", "ta.MCID"]).into_iter().flatten());
        wrong.extend((!self.has(cap::END)).then_some("tc.SBE"));
        wrong.extend((!self.has(cap::SV32X4)).then_some("tc.SXL"));
        wrong.extend((self.has_second_stage()).then_some("iohgatp.PPN"));
        if self.has(cap::MSI_FLAT) {
            wrong.extend(["msiptp.MODE", "msiptp.reserved", "msi_addr_mask.reserved"]);
            wrong.extend(["msi_addr_pattern.reserved", "reserved.reserved"]);
        }
        points.extend(wrong.iter().map(|name| format!("DC check/{name}")));
        if self.has_processes() {
            points.extend(["ta.reserved", "fsc.reserved", "fsc.MODE"].map(|name| format!("PC check/{name}")));
        }
        points
    }

    /// Answers to ATS translation requests, and translated requests.
    fn translation_requests(&self) -> Vec<String> {
        let mut points = Vec::new();
        let processes = self.has_processes();
        let msi = self.has(cap::MSI_FLAT);
        let asked = |what: &str, causes: &[(u16, bool)]| -> Vec<String> {
            let there = causes.iter().filter(|(_, there)| *there);
            there.map(|(cause, _)| format!("translation request/{what} {cause}")).collect()
        };
        let second = self.has_second_stage();
        points.extend(asked(
            "nothing granted",
            &[(12, true), (13, true), (20, second), (21, second), (262, msi), (266, processes)],
        ));
        points.extend(asked("unsupported request", &[256, 257, 258, 259, 260].map(|cause| (cause, true))));
        points.extend(asked(
            "completer abort",
            &[(1, true), (5, true), (261, msi), (263, msi), (265, processes), (267, processes)],
        ));
        for (what, there) in [
            ("read and write", true),
            ("read", true),
            ("execute", true),
            ("no permission", true),
            ("untranslated only", self.has(cap::MSI_MRIF)),
            ("global", processes),
            ("privileged", processes),
            ("CXL.io", msi || self.has(cap::SVPBMT) || self.has(cap::T2GPA)),
            ("larger page", true),
        ] {
            points.extend(there.then(|| format!("translation request/{what}")));
        }
        points.extend(["translated/passed on", "translated/fault 260"].map(String::from));
        if self.has(cap::T2GPA) {
            let more = ["by the second stage", "fault 20", "fault 21", "fault 23"];
            points.extend(more.map(|what| format!("translated/{what}")));
        }
        points
    }
}

/// Points that every design has.
const ALWAYS: &[&str] = &[
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

/// Points of messages between devices and the IOMMU.
const OF_MESSAGES: &[&str] = &[
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
