//! Caches: the IOTLB (an L1 for each port, an L2 for all), and the directory caches (DDTC, PDTC).

pub mod context_cache;
pub mod invalidation;
pub mod l1_tlb;
pub mod l2_tlb;

use crate::hdl::{E, Module, cat, lit};

/// Which entry the next fill replaces, one bit of `valid`'s width: the first that is empty, else each in turn.
fn victim(m: &mut Module, valid: E, fill: E) -> E {
    let n = valid.width();
    if n == 1 {
        return lit(1, 1);
    }
    let turn = m.reg("turn", n, 1);
    m.when(fill & valid.all(), |m| m.set(turn, cat(&[turn.bits(0, n - 1), turn.bit(n - 1)])));
    m.wire("victim", valid.all().mux(turn, (!valid).lowest_bit()))
}
