//! Where events come from: translation ports (each request is one event), and walkers (misses and walks).

use crate::design::Design;
use crate::signals::request::RequestSignals;
use pasidon_hdl::{E, bundle};
use pasidon_spec::registers::event;

bundle! {
    /// A request as the monitor sees it.
    pub struct RequestEvents(d: Design) {
        /// A request is accepted in this cycle.
        valid: 1, reset 0;
        /// Address type: 0 untranslated, 1 ATS translation request, 2 translated.
        at: 2;
        /// Who asks.
        device_id: d.device_id_width;
        /// The request has a process_id.
        pid_valid: 1;
        /// The process_id.
        process_id: d.process_id_width;
    }
}

bundle! {
    /// The events of a walker: one strobe for each kind, and the ids of the request that it serves.
    pub struct WalkEvents(d: Design) {
        /// No IOTLB had the translation.
        tlb_miss: 1, reset 0;
        /// A walk of the device directory begins.
        device_walk: 1, reset 0;
        /// A walk of the process directory begins.
        process_walk: 1, reset 0;
        /// A walk of the first stage begins.
        first_stage_walk: 1, reset 0;
        /// A walk of the second stage begins; one for each guest physical address.
        second_stage_walk: 1, if d.second_stage(), reset 0;
        /// Who asks.
        device_id: d.device_id_width;
        /// The request has a process_id.
        pid_valid: 1;
        /// The process_id.
        process_id: d.process_id_width;
        /// The PSCID is known and the first stage is not Bare.
        pscid_valid: 1;
        /// Address-space tag.
        pscid: 20;
        /// There is a second stage for this request.
        gscid_valid: 1, if d.second_stage();
        /// Tag of the virtual machine.
        gscid: 16, if d.second_stage();
    }
}

impl RequestEvents {
    /// `request`, which is accepted in the cycles in which `valid` is 1.
    pub fn accepted(valid: E, request: &RequestSignals) -> RequestEvents {
        RequestEvents {
            valid,
            at: request.at,
            device_id: request.device_id,
            pid_valid: request.pid_valid,
            process_id: request.process_id,
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
