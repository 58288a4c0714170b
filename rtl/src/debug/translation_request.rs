//! The debug translation interface: `tr_req_iova`, `tr_req_ctl`, `tr_response`.
//!
//! Software asks for one translation at a time. It goes to the miss table as an untranslated request of one more port that has no
//! L1 TLB; what becomes of it is that of any other request: it may use and fill the shared caches, it updates A and D bits, and a
//! fault is recorded in the fault queue. A request for write permission stands for both permissions: no page may be written and
//! not read. `Exe` 1 asks for execute permission whatever `NW` is. A page in a memory-resident interrupt file has no address to
//! answer with, and is cause 260. (Chapter "Debug support"; registers `tr_req_iova` to
//! `tr_response`.)
//!
//! Latency: the request is offered in the cycle after the write; `Go/Busy` falls in the cycle after the completion. Never: a
//! register changes while `Go/Busy` is 1, except by the answer.

use std::rc::Rc;

use pasidon_spec::field::Field;
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::{tr_req_ctl, tr_req_iova, tr_response};

use crate::design::Design;
use crate::regs::words::{ReadMap, WriteBus};
use crate::signals::request::{RequestSignals, TranslationSignals, segments};
use pasidon_hdl::{Bundle, E, Module, cat, header, hi, lit, lo, names};

/// The debug translation interface of `d`.
#[names]
pub fn translation_request(d: &Design) -> Rc<Module> {
    let mut m = Module::new("translation_request", &header(include_str!("translation_request.rs")));
    let bus = WriteBus::inputs(&mut m, "reg_");
    m.section("Read: doubleword index, data in the same cycle, 0 outside of the interface's registers");
    let rd_index = m.input("reg_rd_index", 9);
    let rd_data = m.output_later("reg_rd_data", 64);

    m.part("The request");
    let busy = m.reg("busy", 1, 0);
    let sent = m.reg("sent", 1, 0);
    let mut map = ReadMap::default();
    let address = bus.to(&tr_req_iova::REG);
    let low_bits = 32 - u32::from(tr_req_iova::VPN.lo);
    let page_low = m.reg("page_low", low_bits, 0);
    let page_high = m.reg("page_high", 32, 0);
    let page = address.field(tr_req_iova::VPN);
    m.when(!busy & address.low, |m| m.set(page_low, page.bits(0, low_bits)));
    m.when(!busy & address.high, |m| m.set(page_high, page.bits(low_bits, 32)));
    let page = cat(&[page_high, page_low]);
    map.add(&tr_req_iova::REG, &[(tr_req_iova::VPN, page)]);

    let control = bus.to(&tr_req_ctl::REG);
    let mut fields = vec![(tr_req_ctl::GO_BUSY, busy)];
    let mut keep = |m: &mut Module, name: &str, field: Field, width: u32| {
        let half = if field.lo < 32 { control.low } else { control.high };
        let register = m.reg(name, width, 0);
        m.when(!busy & half, |m| m.set(register, control.field(field).bits(0, width)));
        fields.push((field, register));
        register
    };
    let privileged = keep(&mut m, "priv", tr_req_ctl::PRIV, 1);
    let exec = keep(&mut m, "exe", tr_req_ctl::EXE, 1);
    let no_write = keep(&mut m, "nw", tr_req_ctl::NW, 1);
    let process_id = keep(&mut m, "pid", tr_req_ctl::PID, d.process_id_width);
    let pid_valid = keep(&mut m, "pv", tr_req_ctl::PV, 1);
    let device_id = keep(&mut m, "did", tr_req_ctl::DID, d.device_id_width);
    map.add(&tr_req_ctl::REG, &fields);

    m.section("To the miss table");
    m.output("miss_valid", busy & !sent);
    let ready = m.input("miss_ready", 1);
    if d.monitor() {
        m.section("For the monitor: the request is accepted");
        m.output("ev_accept", busy & !sent & ready);
    }
    let request = RequestSignals {
        device_id,
        pid_valid,
        process_id,
        privileged,
        exec,
        write: !exec & !no_write,
        debug: hi(),
        iova: cat(&[page, lit(0, PAGE_SHIFT.into())]),
        ..RequestSignals::zero(d)
    }
    .normal();
    request.outputs(&mut m, d, "miss");

    m.part("The answer");
    m.section("Completion; taken in the cycle in which it is offered");
    let done = m.input("c_valid", 1);
    let ok = m.input("c_ok", 1);
    let translation = TranslationSignals::inputs(&mut m, d, "c");
    let (sized, ppn) = encoded_page(d, &translation, request.iova);
    let answer = |m: &mut Module, name: &str, field: Field, value: E| {
        let register = m.reg(&format!("answer_{name}"), value.width(), 0);
        m.when(done, |m| m.set(register, value));
        (field, register)
    };
    let mut fields = vec![
        answer(&mut m, "fault", tr_response::FAULT, !ok),
        answer(&mut m, "s", tr_response::S, ok & sized),
        answer(&mut m, "ppn", tr_response::PPN, ok.gate(ppn)),
    ];
    if d.svpbmt {
        fields.push(answer(&mut m, "pbmt", tr_response::PBMT, ok.gate(translation.pbmt)));
    }
    map.add(&tr_response::REG, &fields);

    m.when(!busy & control.low & control.field(tr_req_ctl::GO_BUSY), |m| m.set(busy, hi()));
    m.when(busy & ready, |m| m.set(sent, hi()));
    m.when(done, |m| {
        m.set(busy, lo());
        m.set(sent, lo());
    });
    let word = map.read(rd_index);
    m.assign(rd_data, word);
    m.build()
}

/// Whether a translation covers more than a page, and its page number with its size in it: the highest of the bits within a larger
/// page is 0, those below are 1.
#[names]
fn encoded_page(d: &Design, t: &TranslationSignals, iova: E) -> (E, E) {
    let width = u32::from(tr_response::PPN.width);
    let spa = TranslationSignals::spa(d, t.ppn, t.mask, iova);
    let shift = u32::from(PAGE_SHIFT);
    let page = spa.bits(shift, spa.width() - shift).resize(width);
    let mut parts = vec![];
    for (mask_bit, low, bits) in segments(d, width) {
        let own = page.bits(low, bits);
        let Some(i) = mask_bit else {
            parts.push(own);
            continue;
        };
        let larger = if i + 1 < t.mask.width() { t.mask.bit(i + 1) } else { lo() };
        let coded = if bits > 1 { cat(&[larger, hi().repeat(bits - 1)]) } else { larger };
        parts.push(t.mask.bit(i).mux(coded, own));
    }
    parts.reverse();
    (t.mask.bit(0), cat(&parts))
}
