//! Caches: the IOTLB (an L1 for each port, an L2 for all), and the directory caches (DDTC, PDTC).

pub mod context_cache;
pub mod l1_tlb;
pub mod l2_tlb;

use pasidon_hdl::{E, MemoryKind, Module, cat, encode, hi, index_width, lit, names};

/// Which entry the next fill replaces, one bit of `valid`'s width: the first that is empty, else each in turn.
#[names]
fn victim(m: &mut Module, valid: E, fill: E) -> E {
    let n = valid.width();
    if n == 1 {
        return lit(1, 1);
    }
    let turn = m.reg("turn", n, 1);
    m.when(fill & valid.all(), |m| m.set(turn, cat(&[turn.bits(0, n - 1), turn.bit(n - 1)])));
    m.wire("victim", valid.all().mux(turn, (!valid).lowest_bit()))
}

/// What entries hold that nothing compares, in LUT RAM: `value` is stored for the entry of the one-hot `victim` when `fill` is 1; the
/// answer is that of the one-hot `chosen`, in the same cycle.
#[names]
fn payload(m: &mut Module, name: &str, (fill, victim): (E, E), value: E, chosen: &[E]) -> E {
    let n = chosen.len();
    if n == 1 {
        let register = m.reg_data(name, value.width());
        m.when(fill, |m| m.set(register, value));
        return register;
    }
    let index = |hot: &[E]| encode(hot, index_width(n));
    let memory = m.memory(name, n.next_power_of_two(), value.width(), MemoryKind::Distributed);
    memory.connect(m, (fill, index(&victim.split()), value), (hi(), index(chosen)))
}
