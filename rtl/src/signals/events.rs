//! Where events come from: translation ports (each request is one event), and walkers (misses and walks).

use crate::design::Design;
use crate::signals::request::RequestSignals;
use pasidon_hdl::{E, Instance, Module, lit, lo, names};
use pasidon_spec::registers::event;

/// A request as the monitor sees it.
#[derive(Clone, Copy)]
pub struct RequestEvents {
    /// A request is accepted in this cycle.
    pub valid: E,
    /// Address type: 0 untranslated, 1 ATS translation request, 2 translated.
    pub at: E,
    /// Who asks.
    pub device_id: E,
    /// The request has a process_id.
    pub pid_valid: E,
    /// The process_id.
    pub process_id: E,
}

/// The events of a walker: one strobe for each kind, and the ids of the request that it serves.
#[derive(Clone, Copy)]
pub struct WalkEvents {
    /// No IOTLB had the translation.
    pub tlb_miss: E,
    /// A walk of the device directory begins.
    pub device_walk: E,
    /// A walk of the process directory begins.
    pub process_walk: E,
    /// A walk of the first stage begins.
    pub first_stage_walk: E,
    /// A walk of the second stage begins; one for each guest physical address.
    pub second_stage_walk: E,
    /// Who asks.
    pub device_id: E,
    /// The request has a process_id.
    pub pid_valid: E,
    /// The process_id.
    pub process_id: E,
    /// The PSCID is known and the first stage is not Bare.
    pub pscid_valid: E,
    /// Address-space tag.
    pub pscid: E,
    /// There is a second stage for this request.
    pub gscid_valid: E,
    /// Tag of the virtual machine.
    pub gscid: E,
}

impl RequestEvents {
    /// `request`, which is accepted in the cycles in which `valid` is 1.
    pub fn of(valid: E, request: &RequestSignals) -> RequestEvents {
        RequestEvents {
            valid,
            at: request.at,
            device_id: request.device_id,
            pid_valid: request.pid_valid,
            process_id: request.process_id,
        }
    }

    /// Signals that come from `f(name, width)`.
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> RequestEvents {
        RequestEvents {
            valid: f("valid", 1),
            at: f("at", 2),
            device_id: f("device_id", d.device_id_width),
            pid_valid: f("pid_valid", 1),
            process_id: f("process_id", d.process_id_width),
        }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    fn fields(&self) -> [(&'static str, E); 5] {
        [
            ("valid", self.valid),
            ("at", self.at),
            ("device_id", self.device_id),
            ("pid_valid", self.pid_valid),
            ("process_id", self.process_id),
        ]
    }

    /// Connects the inputs `PREFIX_*` of the monitor.
    pub fn connect(&self, m: &mut Module, monitor: &Instance, prefix: &str) {
        for (name, e) in self.fields() {
            monitor.connect(m, &format!("{prefix}_{name}"), e);
        }
    }

    /// The event of each kind, with its number.
    pub(crate) fn kinds(&self) -> Vec<(u64, E)> {
        vec![
            (event::UNTRANSLATED_REQUESTS, self.valid & self.at.is(0)),
            (event::TRANSLATED_REQUESTS, self.valid & self.at.is(2)),
            (event::ATS_TRANSLATION_REQUESTS, self.valid & self.at.is(1)),
        ]
    }
}

impl WalkEvents {
    /// Signals that come from `f(name, width)`.
    #[names]
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> WalkEvents {
        let second = d.second_stage();
        WalkEvents {
            tlb_miss: f("tlb_miss", 1),
            device_walk: f("device_walk", 1),
            process_walk: f("process_walk", 1),
            first_stage_walk: f("first_stage_walk", 1),
            second_stage_walk: if second { f("second_stage_walk", 1) } else { lo() },
            device_id: f("device_id", d.device_id_width),
            pid_valid: f("pid_valid", 1),
            process_id: f("process_id", d.process_id_width),
            pscid_valid: f("pscid_valid", 1),
            pscid: f("pscid", 20),
            gscid_valid: if second { f("gscid_valid", 1) } else { lo() },
            gscid: if second { f("gscid", 16) } else { lit(0, 16) },
        }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    #[names]
    fn fields(&self, d: &Design) -> Vec<(&'static str, E)> {
        let mut list = vec![
            ("tlb_miss", self.tlb_miss),
            ("device_walk", self.device_walk),
            ("process_walk", self.process_walk),
            ("first_stage_walk", self.first_stage_walk),
            ("device_id", self.device_id),
            ("pid_valid", self.pid_valid),
            ("process_id", self.process_id),
            ("pscid_valid", self.pscid_valid),
            ("pscid", self.pscid),
        ];
        if d.second_stage() {
            list.extend([
                ("second_stage_walk", self.second_stage_walk),
                ("gscid_valid", self.gscid_valid),
                ("gscid", self.gscid),
            ]);
        }
        list
    }

    /// Output ports `ev_*` of a walker.
    pub fn outputs(&self, m: &mut Module, d: &Design) {
        m.section("Events for the performance monitor, and the ids of their request");
        for (name, e) in self.fields(d) {
            m.output(&format!("ev_{name}"), e);
        }
    }

    /// Connects the inputs `PREFIX_*` of the monitor to the outputs of a walker.
    #[names]
    pub fn connect(m: &mut Module, d: &Design, walker: &Instance, monitor: &Instance, prefix: &str) {
        let events = WalkEvents::from_fn(d, |name, _| walker.out(&format!("ev_{name}")));
        for (name, e) in events.fields(d) {
            monitor.connect(m, &format!("{prefix}_{name}"), e);
        }
    }

    /// The event of each kind, with its number.
    pub(crate) fn kinds(&self) -> Vec<(u64, E)> {
        vec![
            (event::TLB_MISS, self.tlb_miss),
            (event::DEVICE_DIRECTORY_WALKS, self.device_walk),
            (event::PROCESS_DIRECTORY_WALKS, self.process_walk),
            (event::FIRST_STAGE_WALKS, self.first_stage_walk),
            (event::SECOND_STAGE_WALKS, self.second_stage_walk),
        ]
    }
}
