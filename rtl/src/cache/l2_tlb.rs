//! L2 TLB: shared by all ports, set-associative, in block RAM. It holds what walks found, of every page size, in the set of the
//! 4 KiB page that was asked for; dispatch asks it before a walk.
//!
//! Latency: an answer follows its lookup by 2 cycles. An invalidation sweeps all sets, one a cycle; so does reset. During a
//! sweep lookups miss and fills are dropped. An entry that matches without granting the access is cleared: the walk that
//! follows brings a new one. Two walks of one page that overlap may leave two entries for it: the first way answers.
//! Never: an answer mixed from two entries.

use crate::design::Design;
use crate::signals::invalidation::{Checks, Invalidation, TlbTag};
use crate::signals::request::{RequestSignals, TranslationSignals, vpn_width};
use pasidon_hdl::{
    Bundle, E, MemoryKind, Module, any_of, cat, header, hi, index_width, lit, lo, lowest, names,
};
use pasidon_spec::page_table::PAGE_SHIFT;
use std::rc::Rc;

/// Most bits of a word of the RAM: wider signals are slow to simulate.
const WORD: u32 = 64;

/// An entry.
struct Entry {
    valid: E,
    tag: TlbTag,
    data: TranslationSignals,
}

impl Entry {
    /// An entry whose every signal comes from `f(width)`.
    fn from_fn(d: &Design, mut f: impl FnMut(u32) -> E) -> Entry {
        Entry {
            valid: f(1),
            tag: TlbTag::from_fn(d, |_, width| f(width)),
            data: TranslationSignals::from_fn(d, |_, width| f(width)),
        }
    }

    /// The signals, in the order of [`from_fn`](Self::from_fn).
    fn signals(&self, d: &Design) -> Vec<E> {
        let fields = self.tag.fields(d).into_iter().chain(self.data.fields(d));
        std::iter::once(self.valid).chain(fields.map(|(_, e)| e)).collect()
    }

    /// As words of at most [`WORD`] bits: each field goes into the first that has room, so that the first says whether the entry
    /// is valid.
    #[names]
    fn pack(&self, d: &Design) -> Vec<E> {
        let mut words: Vec<Vec<E>> = vec![];
        let width = |word: &[E]| word.iter().map(|e| e.width()).sum::<u32>();
        for e in self.signals(d) {
            match words.iter_mut().find(|word| width(word) + e.width() <= WORD) {
                Some(word) => word.push(e),
                None => words.push(vec![e]),
            }
        }
        words.iter().map(|fields| cat(fields)).collect()
    }

    /// From the words of [`pack`](Self::pack).
    #[names]
    fn unpack(d: &Design, words: &[E]) -> Entry {
        let mut used = vec![0; words.len()];
        Entry::from_fn(d, |width| {
            let room = |word: &usize| used[*word] + width <= WORD;
            let word = (0..words.len()).find(room).unwrap_or_else(|| panic!("no word for {width} bits"));
            used[word] += width;
            words[word].bits(words[word].width() - used[word], width)
        })
    }
}

/// The L2 TLB of a design that has one.
#[names]
pub fn l2_tlb(d: &Design) -> Rc<Module> {
    let sets = d.l2_sets as usize;
    let set_bits = index_width(sets);
    let mut m = Module::new("l2_tlb", &header(include_str!("l2_tlb.rs")));
    let page = |iova: E| iova.bits(PAGE_SHIFT.into(), vpn_width(d));
    // One set needs no index; the memory still has an address bit.
    let set_of = |vpn: E| if sets == 1 { lit(0, 1) } else { vpn.bits(0, set_bits) };

    m.section("Lookup, to hold for two cycles; the answer follows in the cycle after the next. usable: it may hit at all");
    let asked = RequestSignals::inputs(&mut m, d, "lookup");
    let lookup = m.input("lookup_valid", 1);
    let usable = m.input("lookup_usable", 1);
    m.section("Fill");
    let fill = m.input("fill_valid", 1);
    let filled = RequestSignals::inputs(&mut m, d, "fill");
    let data = TranslationSignals::inputs(&mut m, d, "fill");
    let inval = Invalidation::inputs(&mut m, d);

    m.part("Sweep: set after set, read in one cycle, cleared in the next");
    let sweeping = m.reg("sweeping", 1, 1);
    let everything = m.reg("sweep_everything", 1, 1);
    let set = m.reg("sweep_set", set_bits, 0);
    let clearing = m.reg("clearing", 1, 0);
    let clear_set = m.reg_data("clear_set", set_bits);
    let swept = m.reg("swept", 1, 0);
    m.when_else(
        sweeping,
        |m| {
            m.set(set, set.inc());
            m.when(set.is(sets as u64 - 1), |m| {
                m.set(sweeping, lo());
                m.set(set, lit(0, set_bits));
                m.set(swept, inval.valid & !everything);
            });
        },
        |m| {
            m.when(!clearing, |m| m.set(everything, lo()));
            m.when(inval.valid & !swept & !clearing, |m| m.set(sweeping, hi()));
        },
    );
    m.when(!inval.valid, |m| m.set(swept, lo()));
    m.set(clearing, sweeping);
    m.set(clear_set, set);
    let busy = m.wire("busy", sweeping | clearing | (inval.valid & !swept));
    m.section("Answer to an invalidation");
    m.output("inval_done", swept & !clearing);

    m.part("Lookup");
    let compare = m.reg("compare", 1, 0);
    // What a RAM reads from the word that is being written is not defined: such a lookup misses.
    let writing = m.wire_later("writing", 1);
    m.set(compare, lookup & usable & !busy & !writing);
    let vpn = page(asked.iova);
    let compared_set = m.reg_data("compared_set", set_bits);
    m.set(compared_set, set_of(vpn));

    let ways = d.l2_ways as usize;
    let turn = m.reg("turn", index_width(ways), 0);
    m.when(fill, |m| {
        let last = turn.is(ways as u64 - 1);
        m.set(turn, last.mux(lit(0, turn.width()), turn.inc()));
    });
    let fill_words = Entry { valid: hi(), tag: TlbTag::asked(d, &filled), data }.pack(d);
    // A sweep and a lookup never compare in the same cycle: they share the comparators.
    let wanted = inval.tag.or(clearing, &TlbTag::asked(d, &asked));
    let checks = inval.checks.or(clearing, &Checks::lookup(d));
    let range = clearing.gate(inval.range);
    let comparing = m.wire("comparing", clearing | compare);
    let mut answers = vec![];
    let mut refusals = vec![];
    for way in 0..ways {
        let read: Vec<E> = fill_words
            .iter()
            .enumerate()
            .map(|(w, word)| m.wire_later(&format!("way_{way}_{w}"), word.width()))
            .collect();
        let e = Entry::unpack(d, &read);
        let differs = m.wire(&format!("differs_{way}"), (e.tag.vpn ^ wanted.vpn) & !range);
        let one_page = lit(0, e.data.mask.width());
        let mut conditions = vec![comparing, e.valid];
        conditions.extend(inval.conditions(d, &checks, (&e.tag, &e.data), (&wanted, differs, one_page)));
        let named = m.wire_if(&format!("named_{way}"), &conditions, hi());
        let doomed = clearing & (everything | named);
        let same = m.wire(&format!("same_{way}"), compare & named);
        let granted = (e.data.permissions & asked.needs()).any();
        answers.push((same & granted, e.data));
        let filling = fill & !busy & (if ways == 1 { hi() } else { turn.is(way as u64) });
        let refused = m.wire(&format!("refused_{way}"), same & !granted);
        refusals.push(refused);
        let clear = doomed | (refused & !fill);
        let write_set = clearing.mux(clear_set, filling.mux(set_of(page(filled.iova)), compared_set));
        let read_set = sweeping.mux(set, set_of(vpn));
        for (w, word) in fill_words.iter().copied().enumerate() {
            let memory = m.memory(&format!("ram_{way}_{w}"), sets.max(2), word.width(), MemoryKind::Block);
            // Only the first word says whether an entry is valid.
            let write = if w == 0 { filling | clear } else { filling };
            let set = if w == 0 { write_set } else { set_of(page(filled.iova)) };
            let value =
                memory.connect(&mut m, (write, set, filling.gate(word)), (sweeping | lookup, read_set));
            m.assign(read[w], value);
        }
    }
    m.assign(writing, fill | any_of(refusals));
    let hit = m.reg("hit_q", 1, 0);
    m.when(lookup, |m| m.set(hit, lo()));
    m.when(compare, |m| m.set(hit, any_of(answers.iter().map(|(h, _)| *h))));
    let chosen = lowest(&answers.iter().map(|(h, _)| *h).collect::<Vec<_>>());
    m.section("Answer to a lookup, until the next");
    m.output("hit", hit);
    let choices: Vec<(E, TranslationSignals)> =
        chosen.iter().zip(&answers).map(|(c, (_, t))| (*c, *t)).collect();
    let found = TranslationSignals::onehot(&choices).map(d, |name, value| {
        let register = m.reg_data(&format!("{name}_q"), value.width());
        m.when(compare, |m| m.set(register, value));
        register
    });
    found.outputs(&mut m, d, "found");
    m.build()
}
