//! `ipsr`, `icvec`, and how a pending bit is signalled: by a wire, or a message. (Sections "Interrupt pending status register" and
//! "Interrupt-cause-to-vector register".)
//!
//! A cleared bit is 0 for one cycle even when its condition lasts; an event in the cycle of the clearing is not lost. `icvec`
//! keeps the low bits that the design's vectors need, and the vectors of absent causes read 0. Never: a rise of a pending bit
//! without its message.

use pasidon_spec::field::Field;
use pasidon_spec::registers::{icvec, ipsr};

use super::words::{ReadMap, WriteBus};
use crate::design::Design;
use pasidon_hdl::{E, Module, any_of, cat, hi, index_width, lo, names};

/// A cause of interrupts.
pub struct Cause {
    /// `ci`, `fi`, ...: its bit is `..p` in `ipsr`, its vector is `..v` in `icvec`.
    pub name: &'static str,
    /// Bit of `ipsr`.
    pub pending: Field,
    /// Field of `icvec`.
    pub vector: Field,
    /// Sets the bit as long as it lasts.
    pub condition: E,
    /// Sets the bit; one cycle.
    pub event: E,
}

/// `ipsr`, `icvec`, wires and messages; `wired` is `fctl.WSI`.
#[names]
pub fn interrupts(
    m: &mut Module,
    design: &Design,
    bus: WriteBus,
    map: &mut ReadMap,
    causes: &[Cause],
    wired: E,
) {
    let clear = bus.to(&ipsr::REG);
    let mut bits = vec![];
    let mut rises = vec![];
    for cause in causes {
        let bit = m.reg(&format!("ipsr_{}p", cause.name), 1, 0);
        let cleared = clear.low & clear.field(cause.pending);
        let set = cause.event | (cause.condition & !bit);
        m.when(cleared, |m| m.set(bit, lo()));
        m.when(set, |m| m.set(bit, hi()));
        bits.push(bit);
        rises.push(set & (!bit | cleared));
    }
    let pending: Vec<(Field, E)> = causes.iter().zip(&bits).map(|(c, bit)| (c.pending, *bit)).collect();
    map.add(&ipsr::REG, &pending);

    let vectors: Option<Vec<E>> = (design.vectors > 1).then(|| {
        let width = index_width(design.vectors as usize);
        let select = bus.to(&icvec::REG);
        let vectors: Vec<E> = causes
            .iter()
            .map(|cause| {
                let vector = m.reg(&format!("icvec_{}v", cause.name), width, 0);
                m.when(select.low, |m| m.set(vector, select.field(cause.vector).bits(0, width)));
                vector
            })
            .collect();
        let fields: Vec<(Field, E)> = causes.iter().zip(&vectors).map(|(c, v)| (c.vector, *v)).collect();
        map.add(&icvec::REG, &fields);
        vectors
    });
    // One bit for each vector, of one bit for each cause.
    let by_vector = |signals: &[E]| -> E {
        let bits: Vec<E> = (0..u64::from(design.vectors))
            .rev()
            .map(|v| match &vectors {
                None => any_of(signals.iter().copied()),
                Some(vectors) => any_of(signals.iter().zip(vectors).map(|(s, vector)| *s & vector.is(v))),
            })
            .collect();
        cat(&bits)
    };
    if design.wired {
        let irq = m.reg("irq_level", design.vectors, 0);
        m.set(irq, wired.gate(by_vector(&bits)));
        m.section("Interrupt wires, active high, level");
        m.output("irq", irq);
    }
    if design.msi {
        m.section("Vectors whose message is due: one cycle, in which a pending bit rises");
        m.output("message", by_vector(&rises));
    }
}
