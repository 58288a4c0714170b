//! `cqb` to `cqcsr` and `fqb` to `fqcsr`: base, size, indices, control and errors of the queues in memory.
//!
//! A `LOG2SZ-1` larger than the design accepts becomes the largest that it accepts. Writing `cqb` clears `cqt`, writing `fqb` clears
//! `fqh`. Writes to `cqcsr` and `fqcsr` are ignored while their `busy` bit is 1. (Sections "Command-queue base" to "Fault queue
//! CSR".)

use pasidon_spec::registers::{cqb, cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt};

use super::words::{ReadMap, WriteBus, page_number};
use crate::design::Design;
use crate::hdl::{E, Module, cat, hi, index_width, lit, lo};

/// `cqb`, `cqh`, `cqt`, `cqcsr`; returns the condition of `ipsr.cip`.
pub fn command_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> E {
    let width = design.command_log2_max;
    m.section("Command queue: its state, and what it reports (one cycle each)");
    let on = m.input("cq_on", 1);
    let head = m.input("cq_head", width);
    let memory_fault = m.input("cq_memory_fault", 1);
    let illegal = m.input("cq_illegal", 1);
    let fence_wired = m.input("cq_fence_wired", 1);

    let base = bus.to(&cqb::REG);
    let (log2sz_1, mask) = queue_size(m, "cqb_log2sz_1", base.low, base.field(cqb::LOG2SZ_1), width);
    let ppn = page_number(m, "cqb_ppn", base, cqb::PPN, hi());
    let tail =
        index(m, "cqt_index", bus.to(&cqt::REG).low, bus.to(&cqt::REG).field(cqt::INDEX), mask, base.low);

    let control = bus.to(&cqcsr::REG);
    let enable = m.reg("cqcsr_cqen", 1, 0);
    let interrupts_on = m.reg("cqcsr_cie", 1, 0);
    let busy = enable ^ on;
    let write = m.wire("cqcsr_write", control.low & !busy);
    m.when(write, |m| {
        m.set(enable, control.field(cqcsr::CQEN));
        m.set(interrupts_on, control.field(cqcsr::CIE));
    });
    let start = control.field(cqcsr::CQEN) & !enable;
    let error = |m: &mut Module, name, field, set| {
        let bit = m.reg(name, 1, 0);
        m.when(write & (start | control.field(field)), |m| m.set(bit, lo()));
        m.when(set, |m| m.set(bit, hi()));
        bit
    };
    let cqmf = error(m, "cqcsr_cqmf", cqcsr::CQMF, memory_fault);
    let cmd_ill = error(m, "cqcsr_cmd_ill", cqcsr::CMD_ILL, illegal);
    let fence_w_ip = error(m, "cqcsr_fence_w_ip", cqcsr::FENCE_W_IP, fence_wired);

    m.section("Command queue: what software set");
    m.output("cq_enable", enable);
    m.output("cq_stop", cqmf | cmd_ill);
    m.output("cq_base", ppn);
    m.output("cq_mask", mask);
    m.output("cq_tail", tail);

    map.add(&cqb::REG, &[(cqb::LOG2SZ_1, log2sz_1), (cqb::PPN, ppn)]);
    map.add(&cqh::REG, &[(cqh::INDEX, head)]);
    map.add(&cqt::REG, &[(cqt::INDEX, tail)]);
    map.add(
        &cqcsr::REG,
        &[
            (cqcsr::CQEN, enable),
            (cqcsr::CIE, interrupts_on),
            (cqcsr::CQMF, cqmf),
            (cqcsr::CMD_ILL, cmd_ill),
            (cqcsr::FENCE_W_IP, fence_w_ip),
            (cqcsr::CQON, on),
            (cqcsr::BUSY, busy),
        ],
    );
    interrupts_on & (cqmf | cmd_ill | fence_w_ip)
}

/// What sets `ipsr.fip`: a condition that may last, and an event that must not be missed.
pub struct FaultInterrupt {
    /// Holds as long as it lasts.
    pub condition: E,
    /// One cycle.
    pub event: E,
}

/// `fqb`, `fqh`, `fqt`, `fqcsr`.
pub fn fault_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> FaultInterrupt {
    let width = design.fault_log2_max;
    m.section("Fault queue: its state, and what it reports (one cycle each)");
    let on = m.input("fq_on", 1);
    let tail = m.input("fq_tail", width);
    let memory_fault = m.input("fq_memory_fault", 1);
    let overflow = m.input("fq_overflow", 1);
    let recorded = m.input("fq_recorded", 1);

    let base = bus.to(&fqb::REG);
    let (log2sz_1, mask) = queue_size(m, "fqb_log2sz_1", base.low, base.field(fqb::LOG2SZ_1), width);
    let ppn = page_number(m, "fqb_ppn", base, fqb::PPN, hi());
    let head =
        index(m, "fqh_index", bus.to(&fqh::REG).low, bus.to(&fqh::REG).field(fqh::INDEX), mask, base.low);

    let control = bus.to(&fqcsr::REG);
    let enable = m.reg("fqcsr_fqen", 1, 0);
    let interrupts_on = m.reg("fqcsr_fie", 1, 0);
    let busy = enable ^ on;
    let write = m.wire("fqcsr_write", control.low & !busy);
    m.when(write, |m| {
        m.set(enable, control.field(fqcsr::FQEN));
        m.set(interrupts_on, control.field(fqcsr::FIE));
    });
    let start = control.field(fqcsr::FQEN) & !enable;
    let error = |m: &mut Module, name, field, set| {
        let bit = m.reg(name, 1, 0);
        m.when(write & (start | control.field(field)), |m| m.set(bit, lo()));
        m.when(set, |m| m.set(bit, hi()));
        bit
    };
    let fqmf = error(m, "fqcsr_fqmf", fqcsr::FQMF, memory_fault);
    let fqof = error(m, "fqcsr_fqof", fqcsr::FQOF, overflow);

    m.section("Fault queue: what software set");
    m.output("fq_enable", enable);
    m.output("fq_stop", fqmf | fqof);
    m.output("fq_base", ppn);
    m.output("fq_mask", mask);
    m.output("fq_head", head);

    map.add(&fqb::REG, &[(fqb::LOG2SZ_1, log2sz_1), (fqb::PPN, ppn)]);
    map.add(&fqh::REG, &[(fqh::INDEX, head)]);
    map.add(&fqt::REG, &[(fqt::INDEX, tail)]);
    map.add(
        &fqcsr::REG,
        &[
            (fqcsr::FQEN, enable),
            (fqcsr::FIE, interrupts_on),
            (fqcsr::FQMF, fqmf),
            (fqcsr::FQOF, fqof),
            (fqcsr::FQON, on),
            (fqcsr::BUSY, busy),
        ],
    );
    FaultInterrupt { condition: interrupts_on & (fqmf | fqof), event: interrupts_on & recorded }
}

/// `LOG2SZ-1` of a queue with at most `2^width` entries, and the mask of its index bits.
fn queue_size(m: &mut Module, name: &str, write: E, written: E, width: u32) -> (E, E) {
    let most = lit(u64::from(width) - 1, written.width());
    let stored = index_width(width as usize);
    let value = m.reg(name, stored, 0);
    m.when(write, |m| m.set(value, most.lt(written).mux(most, written).resize(stored)));
    let bits: Vec<E> = (1..width).rev().map(|i| lit(i.into(), stored).le(value)).chain([hi()]).collect();
    (value, cat(&bits))
}

/// An index that software writes: only the bits of `mask` can be set; `clear` sets it to 0.
fn index(m: &mut Module, name: &str, write: E, written: E, mask: E, clear: E) -> E {
    let value = m.reg(name, mask.width(), 0);
    m.when(write, |m| m.set(value, written.resize(mask.width()) & mask));
    m.when(clear, |m| m.set(value, lit(0, mask.width())));
    value
}
