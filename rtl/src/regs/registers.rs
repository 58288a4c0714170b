//! The registers that exist with this feature set, and the interrupt wires.
//!
//! A write takes effect in the cycle after it is on the bus; reads are combinational. Registers of features that
//! `capabilities` does not report (page-request queue, performance monitor, debug, MSI table) read 0 and ignore writes.
//!
//! WARL choices: an illegal `ddtp.iommu_mode` leaves the mode as it was; a `LOG2SZ-1` larger than the design accepts becomes
//! the largest it accepts; `icvec` keeps the low bits that the design's vectors need, and the vectors of absent causes read 0;
//! `fctl` is fixed (little-endian, wired interrupts). Writes to `ddtp`, `cqcsr` and `fqcsr` are ignored while their `busy` bit
//! is 1. Writing `cqb` clears `cqt`, writing `fqb` clears `fqh`. (Chapter "Memory-mapped register interface".)

use std::rc::Rc;

use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::field::Field;
use pasidon_spec::registers::{
    self as spec, cqb, cqcsr, cqh, cqt, ddtp, fctl, fqb, fqcsr, fqh, fqt, icvec, igs, ipsr,
};

use super::words::{ReadMap, WriteBus, Written};
use crate::design::Design;
use crate::hdl::{E, Module, cat, hi, index_width, lit, lo};

/// The value of the `capabilities` register: what this design really does.
///
/// Svnapot has no bit of its own; the specification requires it of every IOMMU.
pub fn capabilities(design: &Design) -> u64 {
    use spec::capabilities as cap;
    cap::VERSION.of(0x10)
        | cap::SV39.of(1)
        | cap::SV48.of(design.sv48.into())
        | cap::SV57.of(design.sv57.into())
        | cap::IGS.of(igs::WSI)
        | cap::PAS.of(design.pas.into())
        | cap::PD8.of(design.pd8.into())
        | cap::PD17.of(design.pd17.into())
        | cap::PD20.of(design.pd20.into())
        | cap::NL.of(design.nl.into())
        | cap::S.of(design.s.into())
}

/// The registers of `design`.
pub fn registers(design: &Design) -> Rc<Module> {
    let mut m = Module::new("registers", "The memory-mapped registers and the interrupt wires.");

    m.section("Write: doubleword index, 4-byte halves, data; takes effect in the next cycle");
    let bus = WriteBus {
        valid: m.input("wr_valid", 1),
        index: m.input("wr_index", 9),
        halves: m.input("wr_halves", 2),
        data: m.input("wr_data", 64),
    };
    m.section("Read: doubleword index, data in the same cycle");
    let rd_index = m.input("rd_index", 9);
    let rd_data = m.output_later("rd_data", 64);

    let mut map = ReadMap::default();
    map.add(
        &spec::capabilities::REG,
        &[(Field { lo: 0, width: 64, ..spec::capabilities::VERSION }, lit(capabilities(design), 64))],
    );
    map.add(&fctl::REG, &[(fctl::WSI, hi())]);
    directory(&mut m, bus, &mut map);
    let cip = command_queue(&mut m, design, bus, &mut map);
    let fip = fault_queue(&mut m, design, bus, &mut map);
    interrupts(&mut m, design, bus, &mut map, cip, fip);
    let word = map.read(rd_index);
    m.assign(rd_data, word);
    m.build()
}

/// `ddtp`. A write of the mode keeps `busy` until everything in flight has left under the old one.
fn directory(m: &mut Module, bus: WriteBus, map: &mut ReadMap) {
    m.section("Device directory, and the barrier after each change of it");
    let sync_ready = m.input("ddtp_sync_ready", 1);

    let write = bus.to(&ddtp::REG);
    let mode = m.reg("ddtp_iommu_mode", 3, iommu_mode::OFF);
    let busy = m.reg("ddtp_busy", 1, 0);
    let written = write.field(ddtp::IOMMU_MODE);
    let legal = written.le(lit(iommu_mode::LVL3, 4));
    m.when(write.low & !busy, |m| {
        m.set(busy, hi());
        m.when(legal, |m| m.set(mode, written.bits(0, 3)));
    });
    m.when(busy & sync_ready, |m| m.set(busy, lo()));
    let ppn = page_number(m, "ddtp_ppn", write, ddtp::PPN, !busy);

    m.output("ddtp_sync_valid", busy);
    m.output("ddtp_mode", mode);
    m.output("ddtp_root", ppn);
    map.add(&ddtp::REG, &[(ddtp::IOMMU_MODE, mode), (ddtp::BUSY, busy), (ddtp::PPN, ppn)]);
}

/// `cqb`, `cqh`, `cqt`, `cqcsr`; returns the condition of `ipsr.cip`.
fn command_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> E {
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
struct FaultInterrupt {
    condition: E,
    event: E,
}

/// `fqb`, `fqh`, `fqt`, `fqcsr`.
fn fault_queue(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> FaultInterrupt {
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

/// `ipsr`, `icvec` and the wires.
fn interrupts(
    m: &mut Module,
    design: &Design,
    bus: WriteBus,
    map: &mut ReadMap,
    command: E,
    fault: FaultInterrupt,
) {
    let clear = bus.to(&ipsr::REG);
    // A cleared bit is 0 for one cycle even when its condition lasts; a record that arrives meanwhile is not lost.
    let pending = |m: &mut Module, name, field, condition, event| {
        let bit = m.reg(name, 1, 0);
        m.when(clear.low & clear.field(field), |m| m.set(bit, lo()));
        m.when(event | (condition & !bit), |m| m.set(bit, hi()));
        bit
    };
    let cip = pending(m, "ipsr_cip", ipsr::CIP, command, lo());
    let fip = pending(m, "ipsr_fip", ipsr::FIP, fault.condition, fault.event);
    map.add(&ipsr::REG, &[(ipsr::CIP, cip), (ipsr::FIP, fip)]);

    let wires = if design.vectors == 1 {
        vec![cip | fip]
    } else {
        let width = index_width(design.vectors as usize);
        let select = bus.to(&icvec::REG);
        let vector = |m: &mut Module, name, field| {
            let vector = m.reg(name, width, 0);
            m.when(select.low, |m| m.set(vector, select.field(field).bits(0, width)));
            vector
        };
        let civ = vector(m, "icvec_civ", icvec::CIV);
        let fiv = vector(m, "icvec_fiv", icvec::FIV);
        map.add(&icvec::REG, &[(icvec::CIV, civ), (icvec::FIV, fiv)]);
        (0..design.vectors.into()).map(|v| (cip & civ.is(v)) | (fip & fiv.is(v))).collect()
    };
    let irq = m.reg("irq_level", design.vectors, 0);
    let level: Vec<E> = wires.into_iter().rev().collect();
    m.set(irq, cat(&level));
    m.section("Interrupt wires, active high, level");
    m.output("irq", irq);
}

/// A 44-bit page number of an 8-byte register, whose halves can be written one at a time.
fn page_number(m: &mut Module, name: &str, write: Written, field: Field, enable: E) -> E {
    let value = write.field(field);
    let below = 32 - u32::from(field.lo);
    let low = m.reg(&format!("{name}_low"), below, 0);
    let high = m.reg(&format!("{name}_high"), value.width() - below, 0);
    m.when(write.low & enable, |m| m.set(low, value.bits(0, below)));
    m.when(write.high & enable, |m| m.set(high, value.bits(below, value.width() - below)));
    cat(&[high, low])
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
