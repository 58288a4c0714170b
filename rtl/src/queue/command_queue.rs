//! Fetches commands from the command queue and carries them out, one at a time and in order.
//!
//! | command | what happens |
//! |---|---|
//! | IOTINVAL.VMA, IOTINVAL.GVMA, IODIR.INVAL_DDT, IODIR.INVAL_PDT | offered on `inval_*` until every cached structure took it |
//! | IOFENCE.C | barrier (with drain if PR or PW), then the store if AV, then `fence_w_ip` if WSI |
//! | ATS.INVAL, ATS.PRGR | in designs with ATS: offered on `msg_*` until the port takes it, an invalidation when it has a free tag |
//! | anything else | `cmd_ill`; `cqh` stays on the command |
//!
//! With ATS, IOFENCE.C first waits until no invalidation request is in flight; if one has timed out since the last fence that said so, it sets
//! `cmd_to` and `cqh` stays on it. What waits for devices ends when the queue is turned off; a message that is on offer is
//! sent first.
//!
//! A legal command that names nothing which this design could have cached is complete at once: IOTINVAL for a virtual machine
//! without a second stage, IODIR for an id beyond the design's widths. Commands and the store have the byte order of `fctl.BE`.
//!
//! A fetch or a store that fails, and a store beyond the physical address space, sets `cqmf`; `cqh` stays on the command. Because commands
//! complete in order, `cqh` moves past a command only when its effect is complete. A command takes 3 cycles plus its fetch plus the handshakes that it needs.
//! (Section "Command-Queue (CQ)"; registers `cqb` to `cqcsr`.)

use std::rc::Rc;

use pasidon_spec::command::{COMMAND_BYTES, ats, func3, header, iodir, iofence, iotinval, opcode};
use pasidon_spec::field::Field;
use pasidon_spec::pdt::process_id_bits;

use super::entry_address;
use crate::design::Design;
use crate::signals::context::any_bit;
use crate::signals::invalidation::{InvalidationKind, InvalidationOperands};
use crate::signals::message::MessageHeader;
use crate::signals::request::{beyond, device_id_too_wide, ppn_width};
use pasidon_hdl::{Bundle, E, Module, cat, first, header, labels, lit, lo, names};

labels! {
    /// What is done with a command
    pub mod state {
        IDLE,
        REQUEST,
        FIRST,
        SECOND,
        DECODE,
        INVALIDATE,
        BARRIER,
        STORE,
        STORE_RESPONSE,
        COMPLETE,
        ILLEGAL,
        MEMORY_FAULT,
        /// An ATS.INVAL waits for a tag.
        TAG,
        /// A message is on offer.
        SEND,
        /// IOFENCE.C waits for invalidation requests in flight.
        ANSWERS,
    }
}

/// The command queue of `design`.
#[names]
pub fn command_queue(design: &Design) -> Rc<Module> {
    let width = design.command_log2_max;
    let mut m = Module::new("command_queue", &header(include_str!("command_queue.rs")));
    let to = |state| lit(state, state::WIDTH);
    let state = m.reg("state", state::WIDTH, state::IDLE);
    let command =
        Operands { low: m.reg_data("command_low", 64), high: m.reg_data("command_high", high_bits(design)) };

    m.section("What software set");
    let enable = m.input("enable", 1);
    let stop = m.input("stop", 1);
    let base = m.input("base", ppn_width(design));
    let mask = m.input("mask", width);
    let tail = m.input("tail", width);
    let ddtp_mode = m.input("ddtp_mode", 3);
    let big_endian = if design.big_endian { m.input("big_endian", 1) } else { lo() };
    // `fctl.WSI` is fixed unless there is a choice.
    let wires = if design.wired && design.msi {
        m.input("wired_interrupts", 1)
    } else {
        lit(u64::from(design.wired), 1)
    };

    let on = m.reg("cq_on_state", 1, 0);
    let head = m.reg("head", width, 0);

    m.section("Read port: a command is 2 beats; one that was asked for before the reset has not ended");
    let draining = m.input("draining", 1);
    m.output("rd_valid", state.is(state::REQUEST));
    let rd_ready = m.input("rd_ready", 1);
    // Kept where the reset of the queue does not change it: AXI forbids changing an address that is on offer.
    let fetched = m.reg_data("fetch_address", design.pas - COMMAND_BYTES.trailing_zeros());
    let offset = lit(0, COMMAND_BYTES.trailing_zeros());
    m.output("rd_addr", cat(&[fetched, offset]).resize(64));
    m.output("rd_len", lit(COMMAND_BYTES / 8 - 1, 8));
    let rd_data_valid = m.input("rd_data_valid", 1);
    let rd_data = m.input("rd_data", 64);
    let rd_data = big_endian.mux(rd_data.swap_bytes(), rd_data);
    let rd_error = m.input("rd_error", 1);
    let rd_poison = m.input("rd_poison", 1);

    m.section("Write port: the 4-byte store of IOFENCE.C");
    m.output("wr_valid", state.is(state::STORE));
    let wr_ready = m.input("wr_ready", 1);
    let kept = design.pas - 2;
    m.output("wr_addr", cat(&[command.high.bits(0, kept), lit(0, 2)]).resize(64));
    let nowhere = command.high.bits(kept, 62 - kept).any();
    m.output("wr_len", lit(0, 8));
    m.output("wr_size", lit(2, 3));
    let data = command.field(iofence::DATA);
    let upper = command.high.bit(0);
    let data = big_endian.mux(data.swap_bytes(), data);
    m.output("wd_data", cat(&[data, data]));
    m.output("wd_strb", cat(&[upper.repeat(4), (!upper).repeat(4)]));
    let wr_done = m.input("wr_done", 1);
    let wr_error = m.input("wr_error", 1);

    invalidation_ports(&mut m, design, command, state.is(state::INVALIDATE));
    let inval_ready = m.input("inval_ready", 1);

    m.section("Barrier: previous reads, previous writes; held until ready");
    m.output("sync_valid", state.is(state::BARRIER));
    m.output("sync_pr", command.field(iofence::PR));
    m.output("sync_pw", command.field(iofence::PW));
    let sync_ready = m.input("sync_ready", 1);

    let fence = command.is(opcode::IOFENCE, func3::IOFENCE_C);
    let ats = design.ats.then(|| Ats::new(&mut m, design, command, state));
    m.section("State of the queue, and what it reports (one cycle each)");
    m.output("on", on);
    m.output("head_index", head);
    m.output("illegal", state.is(state::ILLEGAL));
    m.output("memory_fault", state.is(state::MEMORY_FAULT));
    m.output("fence_wired", state.is(state::COMPLETE) & fence & command.field(iofence::WSI));

    let failed = m.reg_data("failed", 1);
    let bad_high = m.reg_data("bad_high", 1);
    let beat_failed = rd_error | rd_poison;
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.set(on, enable);
            m.when(enable & !on, |m| m.set(head, lit(0, width)));
            m.when(enable & on & !stop & head.ne(tail) & !draining, |m| {
                let address = entry_address(base, head, COMMAND_BYTES.trailing_zeros());
                m.set(fetched, address.bits(COMMAND_BYTES.trailing_zeros(), fetched.width()));
                m.set(state, to(state::REQUEST));
            });
        });
        s.case(m, state::REQUEST, |m| m.when(rd_ready, |m| m.set(state, to(state::FIRST))));
        s.case(m, state::FIRST, |m| {
            m.set(command.low, rd_data);
            m.set(failed, beat_failed);
            m.when(rd_data_valid, |m| m.set(state, to(state::SECOND)));
        });
        s.case(m, state::SECOND, |m| {
            m.set(command.high, rd_data.bits(0, high_bits(design)));
            m.set(bad_high, reserved_in_high(design, command, rd_data));
            let next = (failed | beat_failed).mux(to(state::MEMORY_FAULT), to(state::DECODE));
            m.when(rd_data_valid, |m| m.set(state, next));
        });
        s.case(m, state::DECODE, |m| {
            let illegal = illegal(design, command, ddtp_mode, wires) | bad_high;
            let mut choices = vec![
                (illegal, to(state::ILLEGAL)),
                (fence, to(if design.ats { state::ANSWERS } else { state::BARRIER })),
            ];
            if let Some(ats) = &ats {
                choices.push((ats.is_message, ats.is_invalidation.mux(to(state::TAG), to(state::SEND))));
            }
            choices.push((names_nothing(design, command), to(state::COMPLETE)));
            m.set(state, first(&choices, to(state::INVALIDATE)));
        });
        s.case(m, state::INVALIDATE, |m| m.when(inval_ready, |m| m.set(state, to(state::COMPLETE))));
        s.case(m, state::BARRIER, |m| {
            let store = nowhere.mux(to(state::MEMORY_FAULT), to(state::STORE));
            let next = command.field(iofence::AV).mux(store, to(state::COMPLETE));
            m.when(sync_ready, |m| m.set(state, next));
        });
        s.case(m, state::STORE, |m| m.when(wr_ready, |m| m.set(state, to(state::STORE_RESPONSE))));
        s.case(m, state::STORE_RESPONSE, |m| {
            m.when(wr_done, |m| m.set(state, wr_error.mux(to(state::MEMORY_FAULT), to(state::COMPLETE))));
        });
        if let Some(ats) = &ats {
            s.case(m, state::TAG, |m| {
                m.when(ats.has_tag, |m| m.set(state, to(state::SEND)));
                m.when(!enable, |m| m.set(state, to(state::IDLE)));
            });
            s.case(m, state::SEND, |m| m.when(ats.taken, |m| m.set(state, to(state::COMPLETE))));
            s.case(m, state::ANSWERS, |m| {
                m.when(ats.answered, |m| m.set(state, ats.late.mux(to(state::IDLE), to(state::BARRIER))));
                m.when(!enable & !ats.late, |m| m.set(state, to(state::IDLE)));
            });
        }
        s.case(m, state::COMPLETE, |m| {
            m.set(head, head.inc() & mask);
            m.set(state, to(state::IDLE));
        });
        // ILLEGAL and MEMORY_FAULT: `stop` is set at the end of this cycle.
        s.default(m, |m| m.set(state, to(state::IDLE)));
    });
    m.build()
}

/// What the queue has to do with devices.
struct Ats {
    /// The command is ATS.INVAL or ATS.PRGR.
    is_message: E,
    /// It is ATS.INVAL.
    is_invalidation: E,
    has_tag: E,
    /// The message was taken.
    taken: E,
    /// No invalidation request is in flight.
    answered: E,
    /// One timed out.
    late: E,
}

impl Ats {
    /// The ports.
    #[names]
    fn new(m: &mut Module, design: &Design, command: Operands, state: E) -> Ats {
        let is_message = command.field(header::OPCODE).is(opcode::ATS);
        let is_invalidation = !command.field(header::FUNC3).bit(0);
        m.section("Invalidation requests in flight: a tag for the next, held until it is sent; all are answered; one timed out");
        m.output("tag_want", state.is(state::TAG) | (state.is(state::SEND) & is_invalidation));
        let has_tag = m.input("tag_valid", 1);
        let answered = m.input("none_in_flight", 1);
        let timed_out = m.input("timed_out", 1);
        let late = m.output("late", state.is(state::ANSWERS) & answered & timed_out);
        let exhausted = m.input("tags_exhausted", 1);
        m.output("waits", (state.is(state::ANSWERS) & !answered) | (state.is(state::TAG) & exhausted));
        m.section("A message to a device; held until ready");
        m.output("msg_valid", state.is(state::SEND));
        let taken = m.input("msg_ready", 1);
        m.output("msg_invalidation", is_invalidation);
        MessageHeader {
            rid: command.field(ats::RID),
            dsv: command.field(ats::DSV),
            dseg: command.field(ats::DSEG),
            pv: command.field(ats::PV),
            pid: command.field(ats::PID),
        }
        .outputs(m, design, "msg");
        m.output("msg_payload", command.high);
        Ats { is_message, is_invalidation, has_tag, taken, answered, late }
    }
}

/// Bits of the second doubleword that are kept: an address has 62.
fn high_bits(design: &Design) -> u32 {
    if design.ats { 64 } else { 62 }
}

/// The command being carried out: its first doubleword, and bits 61:0 of its second, or all of it.
#[derive(Clone, Copy)]
struct Operands {
    low: E,
    high: E,
}

impl Operands {
    /// A field of the first doubleword.
    fn field(self, field: Field) -> E {
        self.low.bits(field.lo.into(), field.width.into())
    }

    fn is(self, opcode: u64, func3: u64) -> E {
        self.field(header::OPCODE).is(opcode) & self.field(header::FUNC3).is(func3)
    }
}

/// The operands of an invalidation, as the command states them.
#[names]
fn invalidation_ports(m: &mut Module, design: &Design, command: Operands, valid: E) {
    let directory = command.field(header::OPCODE).is(opcode::IODIR);
    let second = command.field(header::FUNC3).bit(0);
    let kind = |kind: InvalidationKind| lit(kind as u64, 2);
    let vma = kind(InvalidationKind::Vma);
    let page_tables = if design.second_stage() { second.mux(kind(InvalidationKind::Gvma), vma) } else { vma };
    m.section("Invalidation; held until ready");
    m.output("inval_valid", valid);
    m.section(
        "0 IOTINVAL.VMA (gv, gscid, av, pscv, pscid, addr, range), 1 IODIR.INVAL_DDT (dv, did), 2 IODIR.INVAL_PDT (did, pid), 3 \
         IOTINVAL.GVMA (gv, gscid)",
    );
    let addr = command.high.bits(iotinval::ADDR.lo.into(), iotinval::ADDR.width.into());
    let napot = command.high.bit(iotinval::S.lo.into());
    InvalidationOperands {
        kind: directory
            .mux(second.mux(kind(InvalidationKind::Pdt), kind(InvalidationKind::Ddt)), page_tables),
        gv: command.field(iotinval::GV),
        gscid: command.field(iotinval::GSCID),
        av: command.field(iotinval::AV),
        pscv: command.field(iotinval::PSCV),
        pscid: command.field(iotinval::PSCID),
        addr,
        // The range ends with the lowest 0 of the page number. (Section "Address Range Invalidation Extension".)
        range: napot.gate(addr ^ addr.inc()),
        dv: command.field(iodir::DV),
        did: command.field(iodir::DID).bits(0, design.device_id_width),
        pid: command.field(iodir::PID).bits(0, design.process_id_width),
    }
    .outputs(m, design, "inval");
}

/// The bits of an operand, which are reserved unless its extension is there.
fn unless(there: bool, operand: Field) -> u64 {
    if there { 0 } else { operand.mask() }
}

/// 1 when the second doubleword has a reserved bit set; the first one is known already.
#[names]
fn reserved_in_high(design: &Design, command: Operands, high: E) -> E {
    let op = command.field(header::OPCODE);
    let mut choices = vec![
        (op.is(opcode::IODIR), any_bit(high, iodir::RESERVED[1])),
        (op.is(opcode::IOFENCE), any_bit(high, iofence::RESERVED[1])),
    ];
    if design.ats {
        choices.push((op.is(opcode::ATS), any_bit(high, ats::RESERVED[1])));
    }
    first(&choices, any_bit(high, iotinval::RESERVED[1] | unless(design.s, iotinval::S)))
}

/// 1 when the first doubleword is not that of a command which this design carries out.
#[names]
fn illegal(design: &Design, command: Operands, ddtp_mode: E, wires: E) -> E {
    let vma = command.is(opcode::IOTINVAL, func3::IOTINVAL_VMA);
    let gvma = command.is(opcode::IOTINVAL, func3::IOTINVAL_GVMA);
    let fence = command.is(opcode::IOFENCE, func3::IOFENCE_C);
    let ddt = command.is(opcode::IODIR, func3::IODIR_INVAL_DDT);
    let pdt = command.is(opcode::IODIR, func3::IODIR_INVAL_PDT);
    let reserved = |mask| any_bit(command.low, mask);

    // Without a directory there is no narrower limit on a device_id than the field itself.
    let did = command.field(iodir::DID);
    let did_wide = device_id_too_wide(design, ddtp_mode, did);
    let pid_bits = match design.process_directory_levels() as usize {
        0 => 0,
        levels => u32::from(process_id_bits(levels)),
    };
    let pid_wide = beyond(command.field(iodir::PID), pid_bits);

    let dv = command.field(iodir::DV);
    let message = if design.ats {
        command.is(opcode::ATS, func3::ATS_INVAL) | command.is(opcode::ATS, func3::ATS_PRGR)
    } else {
        lo()
    };
    !(vma | gvma | fence | ddt | pdt | message)
        | (message & reserved(ats::RESERVED[0]))
        | ((vma | gvma) & reserved(iotinval::RESERVED[0] | unless(design.nl, iotinval::NL)))
        | (gvma & command.field(iotinval::PSCV))
        | (fence & (reserved(iofence::RESERVED[0]) | (!wires & command.field(iofence::WSI))))
        | (ddt & reserved(iodir::RESERVED[0] | iodir::PID.mask()))
        | (pdt & (reserved(iodir::RESERVED[0]) | !dv | pid_wide))
        | ((ddt | pdt) & dv & did_wide)
}

/// 1 when a legal invalidation names a device, a process or a virtual machine of which this design can't have cached anything.
#[names]
fn names_nothing(design: &Design, command: Operands) -> E {
    let directory = command.field(header::OPCODE).is(opcode::IODIR) & command.field(iodir::DV);
    let second = command.field(header::FUNC3).bit(0);
    let machine = if design.second_stage() {
        lo()
    } else {
        command.field(header::OPCODE).is(opcode::IOTINVAL) & (second | command.field(iotinval::GV))
    };
    machine
        | (directory
            & (beyond(command.field(iodir::DID), design.device_id_width)
                | (second & beyond(command.field(iodir::PID), design.process_id_width))))
}
