//! `msi_cfg_tbl`, and the messages that are sent by it.
//!
//! A vector whose message is due waits until it is not masked; then the 4 bytes of `msi_data` are written to `msi_addr`, in the
//! byte order of `fctl.BE`. Due messages of one vector are one message until it is sent; messages go one at a time, the lowest
//! vector first, each 2 cycles after it is due when the memory port is free. A write that fails is reported as a fault. Of `msi_addr`, the bits
//! beyond the physical address space read 0 (the field is WARL). (Sections "Interrupt pending status register" and "MSI configuration table".)
//!
//! While interrupts are wires, no message becomes due and none is sent. Entries are as many as the design has vectors; the others read 0. An entry reads 0 after reset until it is written.
//! Never: a message of a masked vector.

use std::rc::Rc;

use pasidon_spec::registers::{msi_addr, msi_data};

use crate::design::Design;
use crate::regs::words::WriteBus;
use pasidon_hdl::{
    E, MemoryKind, Module, cat, encode, header, hi, index_width, labels, lit, lo, names, select,
};

labels! {
    /// What is done with an interrupt
    pub mod state {
        IDLE,
        CHOSEN,
        RESPONSE,
        REPORT,
    }
}

/// Bits of the number of an entry on the register bus: the table has 16.
const ENTRY_BITS: u32 = 4;

/// A part of the table, one word for each vector, that reads 0 until it is written.
struct Column {
    /// The word of the vector that the bus reads.
    bus: E,
    /// The word of the vector that is being sent.
    sent: E,
}

impl Column {
    #[names]
    fn new(m: &mut Module, name: &str, vectors: u32, write: (E, E, E), bus: E, sent: E) -> Column {
        let (write, index, value) = write;
        let written = m.reg(&format!("{name}_written"), vectors, 0);
        m.when(write, |m| m.set(written, written | index.decode(vectors)));
        let mut read = |copy: &str, at: E| {
            let depth = (vectors as usize).max(2);
            let ram = m.memory(&format!("{name}_for_{copy}"), depth, value.width(), MemoryKind::Distributed);
            let word = ram.connect(m, (write, index, value), (hi(), at));
            select(at, &written.split()).gate(word)
        };
        Column { bus: read("bus", bus), sent: read("message", sent) }
    }
}

/// The table and the messages of `design`.
#[names]
pub fn msi(design: &Design) -> Rc<Module> {
    let vectors = design.vectors;
    let width = index_width(vectors as usize);
    let mut m = Module::new("msi", &header(include_str!("msi.rs")));
    let to = |state| lit(state, state::WIDTH);
    let state = m.reg("state", state::WIDTH, state::IDLE);

    let bus = WriteBus::inputs(&mut m, "reg_");
    m.section("Read: doubleword index, data in the same cycle, 0 outside of the table");
    let rd_index = m.input("reg_rd_index", 9);
    let rd_data = m.output_later("reg_rd_data", 64);
    m.section("Vectors whose message is due: one cycle");
    let message = m.input("message", vectors);
    let enable = if design.wired {
        m.section("fctl.WSI: interrupts are wires, not messages");
        !m.input("wired_interrupts", 1)
    } else {
        hi()
    };
    let big_endian = if design.big_endian {
        m.section("fctl.BE");
        m.input("big_endian", 1)
    } else {
        lo()
    };

    m.part("The table");
    // Doublewords of the registers: the table's number, the entry's, and which of the entry's two.
    let first = u64::from(msi_addr::REG.offset / 8);
    let here = |index: E| {
        let table = index.bits(1 + ENTRY_BITS, 9 - 1 - ENTRY_BITS).is(first >> (1 + ENTRY_BITS));
        let entry = index.bits(1, ENTRY_BITS);
        let present =
            if vectors < 1 << ENTRY_BITS { entry.lt(lit(u64::from(vectors), ENTRY_BITS)) } else { hi() };
        (table & present, entry.bits(0, width), index.bit(0))
    };
    let (written, write_entry, write_second) = here(bus.index);
    let written = bus.valid & written;
    let (read, read_entry, read_second) = here(rd_index);
    let vector = m.reg_data("vector", width);
    let column = |m: &mut Module, name, write: E, value| {
        let write = m.wire(&format!("write_{name}"), written & write);
        Column::new(m, name, vectors, (write, write_entry, value), read_entry, vector)
    };
    let (low, high) = (bus.halves.bit(0), bus.halves.bit(1));
    let addr_low = column(&mut m, "addr_low", !write_second & low, bus.data.bits(2, 30));
    // ADDR is WARL: it holds what the physical address space has.
    let above = design.pas - 32;
    let addr_high =
        (above > 0).then(|| column(&mut m, "addr_high", !write_second & high, bus.data.bits(32, above)));
    let data = column(&mut m, "data", write_second & low, bus.data.bits(0, msi_data::DATA.width.into()));
    let masked = m.reg("masked", vectors, 0);
    m.when(written & write_second & high, |m| {
        let one = write_entry.decode(vectors);
        m.set(masked, bus.data.bit(32).mux(masked | one, masked & !one));
    });
    let is_masked = select(read_entry, &masked.split());
    let whole = |high: Option<E>, low: E| high.map_or(low, |high| cat(&[high, low]));
    let address_word = cat(&[whole(addr_high.as_ref().map(|c| c.bus), addr_low.bus), lit(0, 2)]).resize(64);
    let second_word = cat(&[is_masked.resize(32), data.bus]);
    m.assign(rd_data, read.gate(read_second.mux(second_word, address_word)));

    m.part("Which message");
    let pending = m.reg("pending", vectors, 0);
    let due = m.wire("due", enable.gate(pending & !masked));
    let still_due = select(vector, &due.split());
    let target = whole(addr_high.as_ref().map(|c| c.sent), addr_low.sent);
    let address = m.reg_data("address", target.width());

    m.section("Write port: a store of 4 bytes");
    let wr_ready = m.input("wr_ready", 1);
    let start = m.wire("start", state.is(state::CHOSEN) & still_due);
    m.output("wr_valid", start);
    m.output("wr_addr", cat(&[target, lit(0, 2)]).resize(64));
    m.output("wr_len", lit(0, 8));
    m.output("wr_size", lit(2, 3));
    let word = big_endian.mux(data.sent.swap_bytes(), data.sent);
    m.output("wd_data", cat(&[word, word]));
    let upper = target.bit(0);
    m.output("wd_strb", cat(&[upper.repeat(4), (!upper).repeat(4)]));
    let wr_done = m.input("wr_done", 1);
    let wr_error = m.input("wr_error", 1);

    m.section("A message that could not be written, and its address; held until ready");
    m.output("fault_valid", state.is(state::REPORT));
    m.output("fault_addr", cat(&[address, lit(0, 2)]).resize(64));
    let fault_ready = m.input("fault_ready", 1);

    let leave = m.wire("leave", start & wr_ready);
    m.set(pending, (pending & !leave.gate(vector.decode(vectors))) | enable.gate(message));
    m.switch(state, |m, s| {
        s.case(m, state::IDLE, |m| {
            m.set(vector, encode(&due.lowest_bit().split(), width));
            m.when(due.any(), |m| m.set(state, to(state::CHOSEN)));
        });
        s.case(m, state::CHOSEN, |m| {
            m.set(address, target);
            m.when(!still_due, |m| m.set(state, to(state::IDLE)));
            m.when(leave, |m| m.set(state, to(state::RESPONSE)));
        });
        s.case(m, state::RESPONSE, |m| {
            m.when(wr_done, |m| m.set(state, wr_error.mux(to(state::REPORT), to(state::IDLE))));
        });
        s.default(m, |m| m.when(fault_ready, |m| m.set(state, to(state::IDLE))));
    });
    m.build()
}
