//! `cqb` to `cqcsr`, `fqb` to `fqcsr` and, with ATS, `pqb` to `pqcsr`: base, size, indices, control and errors of the queues in memory.
//!
//! A `LOG2SZ-1` larger than the design accepts becomes the largest that it accepts; of a `PPN`, the bits beyond the physical address
//! space read 0 (all of them are WARL). Writing `cqb` clears `cqt`, writing `fqb` clears
//! `fqh`, writing `pqb` clears `pqh`. Writes to the control registers are ignored while their `busy` bit is 1. (Sections "Command-queue
//! base" to "Page-request-queue CSR".)

use pasidon_spec::registers::{Register, cqb, cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt, pqb, pqcsr, pqh, pqt};

use pasidon_spec::field::Field;

use super::words::{ReadMap, WriteBus, page_number};
use crate::design::Design;
use crate::signals::request::ppn_width;
use pasidon_hdl::{E, Module, cat, hi, index_width, lit, lo, names};

/// `cqb`, `cqh`, `cqt`, `cqcsr`; returns the condition of `ipsr.cip`.
#[names]
pub fn command_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> E {
    let width = design.command_log2_max;
    m.section("Command queue: its state, and what it reports (one cycle each)");
    let on = m.input("cq_on", 1);
    let head = m.input("cq_head", width);
    let memory_fault = m.input("cq_memory_fault", 1);
    let illegal = m.input("cq_illegal", 1);
    let fence_wired = m.input("cq_fence_wired", 1);
    let timed_out = if design.ats { m.input("cq_timed_out", 1) } else { lo() };

    let base = bus.to(&cqb::REG);
    let (log2sz_1, mask) = queue_size(m, "cqb_log2sz_1", base.low, base.field(cqb::LOG2SZ_1), width);
    let ppn = page_number(m, "cqb_ppn", base, cqb::PPN, ppn_width(design), hi());
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
    let cmd_to = if design.ats { error(m, "cqcsr_cmd_to", cqcsr::CMD_TO, timed_out) } else { lo() };

    m.section("Command queue: what software set");
    m.output("cq_enable", enable);
    m.output("cq_stop", cqmf | cmd_to | cmd_ill);
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
            (cqcsr::CMD_TO, cmd_to),
            (cqcsr::CMD_ILL, cmd_ill),
            (cqcsr::FENCE_W_IP, fence_w_ip),
            (cqcsr::CQON, on),
            (cqcsr::BUSY, busy),
        ],
    );
    interrupts_on & (cqmf | cmd_to | cmd_ill | fence_w_ip)
}

/// What sets the pending bit of a queue that the IOMMU writes: a condition that may last, and an event that must not be missed.
pub struct RecordInterrupt {
    /// Holds as long as it lasts.
    pub condition: E,
    /// One cycle.
    pub event: E,
}

/// The registers of a queue that the IOMMU writes. The fault queue and the page-request queue have the same.
struct RecordQueue {
    /// Its name in those of signals.
    name: &'static str,
    title: &'static str,
    base: (&'static Register, Field, Field),
    head: (&'static Register, Field),
    tail: (&'static Register, Field),
    control: &'static Register,
    enable: Field,
    interrupts: Field,
    memory_fault: Field,
    overflow: Field,
    on: Field,
    busy: Field,
    /// What is refused after a memory fault is answered differently from what is refused after an overflow.
    tells_apart: bool,
}

/// `fqb`, `fqh`, `fqt`, `fqcsr`.
#[names]
pub fn fault_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> RecordInterrupt {
    let queue = RecordQueue {
        name: "fq",
        title: "Fault queue",
        base: (&fqb::REG, fqb::LOG2SZ_1, fqb::PPN),
        head: (&fqh::REG, fqh::INDEX),
        tail: (&fqt::REG, fqt::INDEX),
        control: &fqcsr::REG,
        enable: fqcsr::FQEN,
        interrupts: fqcsr::FIE,
        memory_fault: fqcsr::FQMF,
        overflow: fqcsr::FQOF,
        on: fqcsr::FQON,
        busy: fqcsr::BUSY,
        tells_apart: false,
    };
    queue.registers(m, design, design.fault_log2_max, bus, map)
}

/// `pqb`, `pqh`, `pqt`, `pqcsr`.
#[names]
pub fn page_request_queue(
    m: &mut Module,
    design: &Design,
    bus: WriteBus,
    map: &mut ReadMap,
) -> RecordInterrupt {
    let queue = RecordQueue {
        name: "pq",
        title: "Page-request queue",
        base: (&pqb::REG, pqb::LOG2SZ_1, pqb::PPN),
        head: (&pqh::REG, pqh::INDEX),
        tail: (&pqt::REG, pqt::INDEX),
        control: &pqcsr::REG,
        enable: pqcsr::PQEN,
        interrupts: pqcsr::PIE,
        memory_fault: pqcsr::PQMF,
        overflow: pqcsr::PQOF,
        on: pqcsr::PQON,
        busy: pqcsr::BUSY,
        tells_apart: true,
    };
    queue.registers(m, design, design.page_request_log2_max, bus, map)
}

impl RecordQueue {
    fn registers(
        &self,
        m: &mut Module,
        design: &Design,
        width: u32,
        bus: WriteBus,
        map: &mut ReadMap,
    ) -> RecordInterrupt {
        let name = self.name;
        m.section(&format!("{}: its state, and what it reports (one cycle each)", self.title));
        let on = m.input(&format!("{name}_on"), 1);
        let tail = m.input(&format!("{name}_tail"), width);
        let memory_fault = m.input(&format!("{name}_memory_fault"), 1);
        let overflow = m.input(&format!("{name}_overflow"), 1);
        let recorded = m.input(&format!("{name}_recorded"), 1);

        let (register, log2sz_1, ppn) = self.base;
        let base = bus.to(register);
        let (size, mask) = queue_size(m, &format!("{name}b_log2sz_1"), base.low, base.field(log2sz_1), width);
        let page = page_number(m, &format!("{name}b_ppn"), base, ppn, ppn_width(design), hi());
        let head = bus.to(self.head.0);
        let head = index(m, &format!("{name}h_index"), head.low, head.field(self.head.1), mask, base.low);

        let control = bus.to(self.control);
        let enable_name = format!("{name}csr_{}", self.enable.name);
        let enable = m.reg(&enable_name, 1, 0);
        let interrupts_on = m.reg(&format!("{name}csr_{}", self.interrupts.name), 1, 0);
        let busy = enable ^ on;
        let write = m.wire(&format!("{name}csr_write"), control.low & !busy);
        m.when(write, |m| {
            m.set(enable, control.field(self.enable));
            m.set(interrupts_on, control.field(self.interrupts));
        });
        let start = control.field(self.enable) & !enable;
        let error = |m: &mut Module, field: Field, set| {
            let bit = m.reg(&format!("{name}csr_{}", field.name), 1, 0);
            m.when(write & (start | control.field(field)), |m| m.set(bit, lo()));
            m.when(set, |m| m.set(bit, hi()));
            bit
        };
        let memory_fault = error(m, self.memory_fault, memory_fault);
        let overflow = error(m, self.overflow, overflow);

        m.section(&format!("{}: what software set", self.title));
        m.output(&format!("{name}_enable"), enable);
        if self.tells_apart {
            m.output(&format!("{name}_faulted"), memory_fault);
            m.output(&format!("{name}_overflowed"), overflow);
        } else {
            m.output(&format!("{name}_stop"), memory_fault | overflow);
        }
        m.output(&format!("{name}_base"), page);
        m.output(&format!("{name}_mask"), mask);
        m.output(&format!("{name}_head"), head);

        map.add(register, &[(log2sz_1, size), (ppn, page)]);
        map.add(self.head.0, &[(self.head.1, head)]);
        map.add(self.tail.0, &[(self.tail.1, tail)]);
        map.add(
            self.control,
            &[
                (self.enable, enable),
                (self.interrupts, interrupts_on),
                (self.memory_fault, memory_fault),
                (self.overflow, overflow),
                (self.on, on),
                (self.busy, busy),
            ],
        );
        let condition = interrupts_on & (memory_fault | overflow);
        RecordInterrupt { condition, event: interrupts_on & recorded }
    }
}

/// `LOG2SZ-1` of a queue with at most `2^width` entries, and the mask of its index bits.
#[names]
fn queue_size(m: &mut Module, name: &str, write: E, written: E, width: u32) -> (E, E) {
    let most = lit(u64::from(width) - 1, written.width());
    let stored = index_width(width as usize);
    let value = m.reg(name, stored, 0);
    m.when(write, |m| m.set(value, most.lt(written).mux(most, written).resize(stored)));
    let bits: Vec<E> = (1..width).rev().map(|i| lit(u64::from(i), stored).le(value)).chain([hi()]).collect();
    (value, cat(&bits))
}

/// An index that software writes: only the bits of `mask` can be set; `clear` sets it to 0.
#[names]
fn index(m: &mut Module, name: &str, write: E, written: E, mask: E, clear: E) -> E {
    let value = m.reg(name, mask.width(), 0);
    m.when(write, |m| m.set(value, written.resize(mask.width()) & mask));
    m.when(clear, |m| m.set(value, lit(0, mask.width())));
    value
}
