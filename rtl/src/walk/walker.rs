//! Walker: takes one request from the contexts it needs to a translation or a fault. It reads, in this order and as far as
//! the context caches did not answer: device directory (DDT), device context (DC), process directory (PDT), process context
//! (PC), first-stage page table; and where there is a second stage, its page table for each address that is a guest's.
//!
//! Latency: 1 cycle to decide, 1 for each context used, 1 for the first-stage root, 1 for each guest address, then for each
//! memory read 1 cycle of request plus the memory's latency: data are used in the cycle in which they arrive.
//!
//! `mark` is the pulse of an invalidation or of a new `ddtp`: it makes all walks in progress `stale`. A stale walk goes on and answers its
//! requests, and its result is not cached. Fences wait for it (`late`), so that it may also write. Never: a walk that was started before
//! the pulse completes without `stale`.

use super::arrived::{Arrived, ReadPort};
use super::ddt::DeviceDirectory;
use super::device_context;
use super::first_stage::FirstStage;
use super::pdt::ProcessDirectory;
use super::state::*;
use super::update::WritePort;
use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::context::{DeviceContext, ProcessContext, word_inputs};
use crate::signals::events::WalkEvents;
use crate::signals::request::{RequestSignals, TranslationSignals, ppn_width};
use crate::signals::result::{WalkEnd, WalkResult};
use crate::translate::dispatch::page_tag;
use crate::translate::miss_table::entry_width;
use pasidon_hdl::{Bundle, E, Label, Module, any_of, cat, header, lit, lo, names};
use pasidon_spec::fault::{AtsResponse, Cause};
use pasidon_spec::page_table::iosatp_mode;
use std::rc::Rc;

pub use super::state::Settings;

/// A request to walk for, with what the caches know.
struct Start {
    valid: E,
    entry: E,
    request: RequestSignals,
    dc_hit: E,
    dc: DeviceContext,
    pc_hit: E,
    pc: ProcessContext,
    /// The L2 TLB has the translation.
    l2_hit: E,
    translation: TranslationSignals,
}

impl Start {
    fn inputs(m: &mut Module, d: &Design) -> Start {
        m.section("A request to walk for, with what the context caches know");
        let valid = m.input("start", 1);
        let entry = m.input("s_entry", entry_width(d));
        let request = RequestSignals::inputs(m, d, "s");
        let dc_hit = m.input("s_dc_hit", 1);
        let dc = DeviceContext::unpack(d, &word_inputs::<DeviceContext>(m, d, "s_dc"));
        let pc_hit = m.input("s_pc_hit", 1);
        let pc = ProcessContext::unpack(d, &word_inputs::<ProcessContext>(m, d, "s_pc"));
        let (l2_hit, translation) = if d.has_l2() {
            m.section("The answer of the L2 TLB, which makes the walk unnecessary");
            (m.input("s_l2_hit", 1), TranslationSignals::inputs(m, d, "s_l2"))
        } else {
            (lo(), TranslationSignals::zero(d))
        };
        Start { valid, entry, request, dc_hit, dc, pc_hit, pc, l2_hit, translation }
    }

    /// State `IDLE`: takes it.
    fn begin(&self, m: &mut Module, w: &Walk) {
        m.when(self.valid, |m| {
            w.q.set(m, &self.request);
            m.set(w.entry, self.entry);
            w.device.set(m, &self.dc);
            w.process.set(m, &self.pc);
            m.set(w.dc_known, self.dc_hit);
            m.set(w.pc_known, self.pc_hit);
            m.set(w.dc_loaded, lo());
            m.set(w.pc_loaded, lo());
            if w.d.has_l2() {
                m.set(w.known, self.l2_hit);
                w.result.set(m, &self.translation);
            }
            w.goto(m, state::START);
        });
    }
}

/// A walker.
#[names]
pub fn walker(d: &Design) -> Rc<Module> {
    let mut m = Module::new("walker", &header(include_str!("walker.rs")));
    let start = Start::inputs(&mut m, d);
    m.section("What software set");
    let settings = Settings::inputs(&mut m, d, "");
    m.section("Something was invalidated or ddtp changed: what was read so far may be stale");
    let mark = m.input("mark", 1);
    m.section("The result was taken");
    let taken = m.input("taken", 1);
    m.section("Memory read, in beats of 8 bytes");
    let read = ReadPort::inputs(&mut m, d, "rd");
    if d.walks_write() {
        m.section("Memory write");
    }
    let write = WritePort::inputs(&mut m, d, "wr");

    let w = Walk::new(&mut m, d, settings);
    let state = w.state;
    m.part("The doubleword that arrives");
    let arrived = Arrived::new(&mut m, &w, &read);
    let ddt = DeviceDirectory::new(&w);
    let pdt = ProcessDirectory::new(&w);
    let first_stage = FirstStage::new(&mut m, &w, &arrived);

    m.part("State machine");
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| start.begin(m, &w));
        s.case(m, state::START, |m| ddt.begin(m, &w));
        s.case(m, state::HAVE_DC, |m| pdt.begin(m, &w));
        s.case(m, state::HAVE_PC, |m| pdt.enter(m, &w));
        s.case(m, state::ROOT, |m| first_stage.begin(m, &w));
        s.case(m, state::READ, |m| m.when(read.ready, |m| w.goto(m, state::DATA)));
        s.case(m, state::DATA, |m| {
            m.when(arrived.valid, |m| take(m, &w, &arrived, (&ddt, &pdt, &first_stage)));
        });
        if d.second_stage() {
            s.case(m, state::GUEST, |m| w.begin_guest(m));
        }
        if d.translates_msis() {
            s.case(m, state::FILE, |m| w.number_file(m));
        }
        if d.walks_write() {
            s.case(m, state::WRITE, |m| m.when(write.ready, |m| w.goto(m, state::WRITE_WAIT)));
            s.case(m, state::WRITE_WAIT, |m| m.when(write.done, |m| w.written(m, &write)));
        }
        s.default(m, |m| m.when(taken, |m| w.goto(m, state::IDLE)));
    });
    m.set(w.stale, mark | (w.stale & !state.is(state::IDLE)));
    let overtaken = m.reg("overtaken", 1, 0);
    m.set(overtaken, (overtaken | mark) & !state.is(state::IDLE));
    m.never(
        "a walk that was started before the pulse completes without stale",
        overtaken & state.is(state::DONE) & !w.stale,
    );

    m.part("Outputs");
    m.section("The walk under way");
    m.output("idle", state.is(state::IDLE));
    for (w, tag) in page_tag(&w.q).into_iter().enumerate() {
        m.output(&format!("tag{w}"), tag);
    }
    m.output("done", state.is(state::DONE));
    m.output("late", w.stale & !state.is(state::IDLE));
    m.section("The result: held from done to taken");
    result(&mut m, &w).outputs(&mut m, d, "r");
    if d.qosid {
        m.section("Quality-of-service ids of its accesses: the device's, but those of the device directory are the IOMMU's own");
        m.output("rcid", w.device.rcid);
        m.output("mcid", w.device.mcid);
        m.output("rd_own", !w.nested & (w.kind.is(kind::DDTE) | w.kind.is(kind::DC)));
    }
    if d.monitor() {
        let events = events(&mut m, &w);
        m.section("Events for the performance monitor, and the ids of their request");
        events.outputs(&mut m, d, "ev");
    }
    m.section("Memory read address");
    m.output("rd_valid", state.is(state::READ));
    let offset = w.nested.mux(w.guest_index.offset, w.index.offset);
    let address = cat(&[w.page, offset, lit(0, 3)]).resize(64);
    m.output("rd_addr", address);
    let pair = w.kind.is(kind::PC) | if d.translates_msis() { w.kind.is(kind::MSIPTE) } else { lo() };
    let dc_len = lit(device_context::last_beat(d), 8);
    let len = w.kind.is(kind::DC).mux(dc_len, pair.mux(lit(1, 8), lit(0, 8)));
    m.output("rd_len", (!w.nested).gate(len));
    if d.walks_write() {
        m.output("rd_lock", w.exclusive());
        w.write_ports(&mut m, address);
    }
    m.build()
}

/// State `DATA`: a beat goes to whoever asked for it.
fn take(
    m: &mut Module,
    w: &Walk,
    arrived: &Arrived,
    (ddt, pdt, first_stage): (&DeviceDirectory, &ProcessDirectory, &FirstStage),
) {
    let own = |m: &mut Module| {
        m.switch(w.kind, |m, s| {
            s.case(m, kind::DDTE, |m| ddt.entry(m, w, arrived));
            s.case(m, kind::DC, |m| ddt.context(m, w, arrived));
            s.case(m, kind::PDTE, |m| pdt.entry(m, w, arrived));
            s.case(m, kind::PC, |m| pdt.context(m, w, arrived));
            if w.d.translates_msis() {
                s.case(m, kind::MSIPTE, |m| w.msi_entry(m, arrived));
                s.case(m, kind::MRIF, |m| w.file_entry(m, arrived));
            }
            s.default(m, |m| first_stage.entry(m, w, arrived));
        });
    };
    // The reads on the way to a guest address are no beats of what lies there.
    m.when(!w.nested, |m| {
        m.set(w.beat, w.beat.inc());
        m.set(w.error, arrived.any_error);
        m.set(w.poison, arrived.any_poison);
    });
    if w.d.second_stage() {
        m.when_else(w.nested, |m| w.guest_entry(m, arrived), own);
    } else {
        own(m);
    }
}

/// The result of the walk.
#[names]
fn result(m: &mut Module, w: &Walk) -> WalkResult {
    let (d, device) = (w.d, w.device);
    let asks = w.asks();
    let withheld = if d.ats { m.wire("withheld", asks & !w.ok & is_withheld(w.fault)) } else { lo() };
    let msi = if d.translates_msis() { w.two_stage() & w.kind.is(kind::MSIPTE) } else { lo() };
    let typed = w.result.pbmt.any();
    let answers_guest = asks & device.t2gpa;
    let guest_high = match d.guest_beyond() {
        0 => lo(),
        bits => answers_guest.gate(w.gpa.bits(ppn_width(d), bits)),
    };
    let ppn = answers_guest.mux(w.gpa.resize(w.result.ppn.width()), w.result.ppn);
    WalkResult {
        end: WalkEnd {
            stale: w.stale,
            entry: w.entry,
            ok: w.ok,
            cause: w.fault,
            report: !device.dtf & !withheld,
            refill: w.refill,
            known: w.known,
            device_id: w.q.device_id,
            process_id: w.q.process_id,
            dc_loaded: w.dc_loaded,
            pc_loaded: w.pc_loaded,
            iotval2: w.iotval2(),
            mrif: w.stored & !asks,
            withheld,
            cxl_io: w.q.cxl & (msi | device.t2gpa | typed),
            untranslated: asks & w.stored,
            guest_high,
        },
        dc: device.pack(d),
        pc: w.process.pack(d),
        translation: TranslationSignals { ppn, ..w.result },
    }
}

/// What the monitor counts of the walk.
#[names]
fn events(m: &mut Module, w: &Walk) -> WalkEvents {
    let (d, q, state) = (w.d, w.q, w.state);
    // A walk begins with a read, or the translation of its address, in the cycle after the state that decided on it.
    let before = m.reg("state_before", state.width(), state::IDLE);
    m.set(before, state);
    let guest = if d.second_stage() { state.is(state::GUEST) } else { lo() };
    let begins = |from: Label| (state.is(state::READ) | guest) & before.is(from);
    let of_access = state.is(state::ROOT)
        | w.kind.is(kind::PTE)
        | if d.second_stage() { w.kind.is(kind::ACCESS) } else { lo() };
    let in_directory = w.kind.is(kind::DDTE) | w.kind.is(kind::DC);
    WalkEvents {
        tlb_miss: state.is(state::ROOT),
        device_walk: begins(state::START),
        process_walk: begins(state::HAVE_DC),
        first_stage_walk: begins(state::ROOT) & w.kind.is(kind::PTE),
        second_stage_walk: guest & !w.goes_to_msi(),
        device_id: q.device_id,
        pid_valid: q.pid_valid,
        process_id: q.process_id,
        pscid_valid: of_access & !w.root_mode.is(iosatp_mode::BARE),
        pscid: w.result.pscid,
        gscid_valid: w.two_stage() & (state.is(state::ROOT) | !in_directory),
        gscid: w.device.gscid,
    }
}

/// Whether a translation request that meets this cause is answered with success and no permission. (Section "PCIe ATS translation
/// request handling".)
#[names]
fn is_withheld(fault: E) -> E {
    let causes = Cause::ALL.iter().filter(|c| c.ats_response() == Some(AtsResponse::Success));
    any_of(causes.map(|c| fault.is(cause_label(*c))))
}
