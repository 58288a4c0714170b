//! A doubleword as it arrives from memory: its byte order, its half if entries have 4 bytes, what is wrong with it, and what it is as a
//! page-table entry.

use super::page_table::{PageTableEntry, too_wide};
use super::state::*;
use crate::design::Design;
use pasidon_hdl::{E, Module, bundle, cat, lo, names};

bundle! {
    /// What memory says to a reader.
    pub struct ReadPort(d: Design) {
        /// The address was taken.
        ready: 1;
        /// A beat arrives.
        data_valid: 1;
        /// Its doubleword.
        data: 64;
        /// It is the last.
        last: 1;
        /// It could not be read.
        error: 1;
        /// It is corrupt.
        poison: 1;
        /// The read was exclusive.
        exclusive: 1, if d.walks_write();
    }
}

/// A doubleword that arrives.
pub struct Arrived {
    /// It arrives in this cycle.
    pub valid: E,
    /// As memory has it.
    pub raw: E,
    /// In the byte order of its table.
    pub word: E,
    /// The byte of it that holds the flags of a page-table entry, 3 bits.
    pub lane: E,
    /// It is the last beat.
    pub last: E,
    /// It could not be read.
    pub error: E,
    /// It is corrupt.
    pub poison: E,
    /// It or a beat before it could not be read.
    pub any_error: E,
    /// It or a beat before it is corrupt.
    pub any_poison: E,
    /// As a page-table entry.
    pub pte: PageTableEntry,
    /// The page number in it, if there is one, lies beyond the physical address space.
    pub too_wide: E,
}

impl Arrived {
    /// What arrives in a walk.
    #[names]
    pub fn new(m: &mut Module, w: &Walk, read: &ReadPort) -> Arrived {
        let d = w.d;
        let raw = read.data;
        let of_process = w.kind.is(kind::PDTE) | w.kind.is(kind::PC) | w.kind.is(kind::PTE);
        let (swapped, word) = if d.big_endian {
            let swaps = (!w.nested & of_process).mux(w.device.sbe, w.settings.fctl_be);
            let swapped = m.wire("swapped", swaps);
            (swapped, m.wire("word", swapped.mux(raw.swap_bytes(), raw)))
        } else {
            (lo(), raw)
        };
        let narrow = w.nested.mux(w.settings.fctl_gxl, w.device.sxl & w.kind.is(kind::PTE));
        // A doubleword in reverse holds its halves in reverse too.
        let half = w.nested.mux(w.guest_index.half, w.index.half);
        let pte_word = if d.has_narrow_tables() {
            let part = (half ^ swapped).mux(word.bits(32, 32), word.bits(0, 32));
            m.wire("entry_word", narrow.mux(part.resize(64), word))
        } else {
            word
        };
        // An exclusive read that memory does not make exclusive could never be followed by a write.
        let error = if d.walks_write() {
            m.wire("read_error", read.error | (w.exclusive() & !read.exclusive))
        } else {
            read.error
        };
        let pte = PageTableEntry::new(m, d, pte_word, w.nested.mux(w.guest_level, w.level), narrow);
        let next_too_wide = m.wire("next_too_wide", too_wide(d, pte.ppn()));
        Arrived {
            valid: read.data_valid,
            raw,
            word,
            // The byte with the flags.
            lane: cat(&[narrow.mux(half, swapped), swapped, swapped]),
            last: read.last,
            error,
            poison: read.poison,
            any_error: w.error | error,
            any_poison: w.poison | read.poison,
            pte,
            too_wide: next_too_wide,
        }
    }
}
