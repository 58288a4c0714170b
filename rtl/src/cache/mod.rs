//! Caches: the IOTLB (an L1 for each port, an L2 for all), and the directory caches (DDTC, PDTC).

pub mod context_cache;
pub mod l1_tlb;
pub mod l2_tlb;

use crate::hdl::{E, Module, all_of, cat, hi, lowest};

/// Which entry the next fill replaces, one-hot: the first that is empty, else each in turn.
fn victims(m: &mut Module, valid: &[E], fill: E) -> Vec<E> {
    let n = valid.len() as u32;
    if n == 1 {
        return vec![hi()];
    }
    let empty = lowest(&valid.iter().map(|v| !*v).collect::<Vec<_>>());
    let turn = m.reg("turn", n, 1);
    let full = all_of(valid.iter().copied());
    m.when(fill & full, |m| m.set(turn, cat(&[turn.bits(0, n - 1), turn.bit(n - 1)])));
    empty.into_iter().enumerate().map(|(i, e)| full.mux(turn.bit(i as u32), e)).collect()
}
