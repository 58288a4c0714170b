//! Handles: what C holds in place of addresses. Each is looked up before anything is accessed.
//!
//! A handle that was released, is of another kind, or never was one is recognised. Looking up
//! takes no lock and no memory, so that it can be done in interrupt handlers.

use crate::iommu_error;
use alloc::{sync::Arc, vec::Vec};
use core::{
    cell::UnsafeCell,
    ops::Deref,
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering},
};

/// What a handle stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Iommu = 0,
    Mm = 1,
    PasidSpace = 2,
    Sva = 3,
    #[cfg(feature = "fake")]
    Fake = 4,
}

const HALF: u32 = usize::BITS / 2;
const LOWER: usize = (1 << HALF) - 1;
const KIND_BITS: u32 = 3;
const INDEX_BITS: u32 = HALF - KIND_BITS;

/// The largest number of a slot, so that one more fits.
pub(crate) const LAST_INDEX: usize = (1 << INDEX_BITS) - 2;
/// How often a slot is used before it is left alone for good: no handle is given out twice.
pub(crate) const LAST_GENERATION: usize = LOWER >> 1;

/// A handle: from the lowest bit on, the slot's number plus one, the kind, and the generation, of which the first is 1. The
/// highest bit is 0. So it is neither NULL nor an error, nor a small number.
pub(crate) fn encode<T>(kind: Kind, index: usize, generation: usize) -> *mut T {
    let low = (kind as usize) << INDEX_BITS | (index + 1);
    core::ptr::without_provenance_mut(generation << HALF | low)
}

/// The slot's number and the generation, if this looks like a handle of this kind.
pub(crate) fn decode<T>(kind: Kind, handle: *const T) -> Option<(usize, usize)> {
    let low = handle.addr() & LOWER;
    let index = (low & ((1 << INDEX_BITS) - 1)).checked_sub(1)?;
    let generation = handle.addr() >> HALF;
    let plausible = low >> INDEX_BITS == kind as usize && (1..=LAST_GENERATION).contains(&generation);
    plausible.then_some((index, generation))
}

/// A slot's life is one word: generation, [`OPEN`], and how many are using the value, of which the table is one for as long as
/// the slot is open. With nobody using it, it is free.
struct Slot<T> {
    state: AtomicUsize,
    value: UnsafeCell<Option<Arc<T>>>,
}

impl<T> Slot<T> {
    /// Whether it can be used for something else, and is not worn out.
    fn is_free(&self) -> bool {
        let state = self.state.load(Ordering::Acquire);
        state & (LOWER | OPEN) == 0 && generation(state) < LAST_GENERATION
    }
}

/// Handles with this generation are good.
const OPEN: usize = 1 << HALF;

/// The generation is above [`OPEN`].
fn generation(state: usize) -> usize {
    state >> (HALF + 1)
}

/// The slots are in chunks, each twice as large as the one before; they are never returned, so that a handle that is not good
/// can always be looked up.
const FIRST_CHUNK_LOG2: u32 = 4;
const CHUNKS: usize = (INDEX_BITS - FIRST_CHUNK_LOG2) as usize;

/// The chunk of a slot, and its place there.
fn place(index: usize) -> (usize, usize) {
    let number = index + (1 << FIRST_CHUNK_LOG2);
    let chunk = number.ilog2();
    ((chunk - FIRST_CHUNK_LOG2) as usize, number - (1 << chunk))
}

/// All that is alive of one kind.
pub(crate) struct Table<T> {
    kind: Kind,
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    /// No slot below is free, but for those that become so at this moment.
    lowest: AtomicUsize,
}

// SAFETY: the slots' values are only given out shared, and are `Arc`s of what may be shared and sent.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

/// Something of a table, which stays while this is there.
pub(crate) struct Use<'a, T> {
    table: &'a Table<T>,
    slot: &'a Slot<T>,
    index: usize,
    value: &'a Arc<T>,
}

impl<T> Deref for Use<'_, T> {
    type Target = Arc<T>;
    fn deref(&self) -> &Arc<T> {
        self.value
    }
}

impl<T> Drop for Use<'_, T> {
    fn drop(&mut self) {
        self.table.leave(self.slot, self.index);
    }
}

impl<T> Table<T> {
    pub(crate) const fn new(kind: Kind) -> Self {
        Self {
            kind,
            chunks: [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS],
            lowest: AtomicUsize::new(0),
        }
    }

    /// The slot of a number, if there is one yet.
    fn slot(&self, index: usize) -> Option<&Slot<T>> {
        let (chunk, offset) = place(index);
        let start = self.chunks.get(chunk)?.load(Ordering::Acquire);
        // SAFETY: the chunk has been published with as many slots as `place` counts on, and is never returned.
        (!start.is_null()).then(|| unsafe { &*start.add(offset) })
    }

    /// The same; makes the chunk if it is not there.
    fn slot_made(&self, index: usize) -> Result<&Slot<T>, iommu_error> {
        if index > LAST_INDEX {
            return Err(iommu_error::Memory);
        }
        if let Some(slot) = self.slot(index) {
            return Ok(slot);
        }
        let (chunk, _) = place(index);
        let length = 1_usize << (chunk as u32 + FIRST_CHUNK_LOG2);
        let mut slots = Vec::new();
        slots.try_reserve_exact(length).map_err(|_| iommu_error::Memory)?;
        // Generation 1 is the first: this state is the end of generation 0.
        slots.resize_with(length, || Slot { state: AtomicUsize::new(0), value: UnsafeCell::new(None) });
        let slots = slots.leak();
        let start = slots.as_mut_ptr();
        let place = &self.chunks[chunk];
        if place.compare_exchange(core::ptr::null_mut(), start, Ordering::AcqRel, Ordering::Acquire).is_err()
        {
            // Another thread was faster.
            // SAFETY: this is the vector from above, whose length and capacity are `length`, and nobody has seen it.
            drop(unsafe { Vec::from_raw_parts(start, length, length) });
        }
        self.slot(index).ok_or(iommu_error::Memory)
    }

    /// Gives out a handle for a value, which is made when nothing can fail any more.
    pub(crate) fn insert<C>(&self, make: impl FnOnce() -> Arc<T>) -> Result<*mut C, iommu_error> {
        let mut index = self.lowest.load(Ordering::Relaxed);
        loop {
            let slot = self.slot_made(index)?;
            let state = slot.state.load(Ordering::Relaxed);
            let next = generation(state) + 1;
            // Free, and with a generation left: taken by one who uses it, but not open yet.
            let taken = next << (HALF + 1) | 1;
            if state & (LOWER | OPEN) == 0
                && next <= LAST_GENERATION
                && slot.state.compare_exchange(state, taken, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            {
                // SAFETY: whoever has taken a free slot is alone with it until it is open.
                unsafe { *slot.value.get() = Some(make()) };
                slot.state.store(taken | OPEN, Ordering::Release);
                self.pass(slot, index);
                return Ok(encode(self.kind, index, next));
            }
            self.pass(slot, index);
            index += 1;
        }
    }

    /// The next search need not look at a slot that is not free, if it would have begun there.
    fn pass(&self, slot: &Slot<T>, index: usize) {
        let passed = self.lowest.compare_exchange(index, index + 1, Ordering::AcqRel, Ordering::Relaxed);
        // Whoever freed it since has lowered the bound after this, or else before: then it is seen here that it is free.
        if passed.is_ok() && slot.is_free() {
            self.lowest.fetch_min(index, Ordering::AcqRel);
        }
    }

    /// What a handle stands for.
    pub(crate) fn get<C>(&self, handle: *const C) -> Result<Use<'_, T>, iommu_error> {
        let (index, slot, wanted) = self.known(handle)?;
        let enter = |state| {
            (generation(state) == wanted && state & OPEN != 0 && state & LOWER != LOWER).then(|| state + 1)
        };
        slot.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, enter)
            .map_err(|state| if state & LOWER == LOWER { iommu_error::Busy } else { iommu_error::Stale })?;
        // SAFETY: while somebody uses an open slot its value stays, and is not written.
        let value = unsafe { &*slot.value.get() }.as_ref();
        match value {
            Some(value) => Ok(Use { table: self, slot, index, value }),
            None => {
                self.leave(slot, index);
                Err(iommu_error::Stale)
            }
        }
    }

    /// Takes a handle back: it stands for nothing any more. What it stood for is let go of here, or by the last call that
    /// uses it at this moment.
    pub(crate) fn remove<C>(&self, handle: *const C) -> Result<(), iommu_error> {
        let (index, slot, wanted) = self.known(handle)?;
        let close = |state| (generation(state) == wanted && state & OPEN != 0).then_some(state & !OPEN);
        slot.state
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, close)
            .map_err(|_| iommu_error::Stale)?;
        self.leave(slot, index);
        Ok(())
    }

    /// The slot and the generation of what is, or was, a handle of this kind.
    fn known<C>(&self, handle: *const C) -> Result<(usize, &Slot<T>, usize), iommu_error> {
        let (index, wanted) = decode(self.kind, handle).ok_or(iommu_error::Invalid)?;
        let slot = self.slot(index).ok_or(iommu_error::Invalid)?;
        let given_out = wanted <= generation(slot.state.load(Ordering::Relaxed));
        given_out.then_some((index, slot, wanted)).ok_or(iommu_error::Invalid)
    }

    /// One user less.
    fn leave(&self, slot: &Slot<T>, index: usize) {
        // What the others did with the value comes before what is done to it here.
        let mut state = slot.state.load(Ordering::Acquire);
        loop {
            if state & (LOWER | OPEN) == 1 {
                // Closed, and this is the last user: alone with the value. It may have a lot to do when it is dropped, and
                // is not here any more then.
                // SAFETY: nobody enters a closed slot.
                let value = unsafe { (*slot.value.get()).take() };
                slot.state.store(state - 1, Ordering::Release);
                self.lowest.fetch_min(index, Ordering::AcqRel);
                drop(value);
                return;
            }
            match slot.state.compare_exchange_weak(state, state - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => state = now,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicBool, thread, vec::Vec};

    /// Counts how many of its kind are alive.
    struct Counted<'a>(&'a AtomicUsize);

    impl<'a> Counted<'a> {
        fn new(alive: &'a AtomicUsize) -> Arc<Self> {
            alive.fetch_add(1, Ordering::Relaxed);
            Arc::new(Self(alive))
        }
    }

    impl Drop for Counted<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_handle_is_good_from_when_it_was_given_out_until_it_is_taken_back() {
        let alive = AtomicUsize::new(0);
        let table = Table::new(Kind::Mm);
        // More than the first chunks have.
        let handles: Vec<*mut u8> =
            (0..100).map(|_| table.insert(|| Counted::new(&alive)).unwrap()).collect();
        assert_eq!(alive.load(Ordering::Relaxed), 100);
        for &handle in &handles {
            assert!(table.get(handle).is_ok());
            assert!(!handle.is_null() && handle.addr() < usize::MAX - 4095 && handle.addr() > LOWER);
            assert_eq!(decode(Kind::Iommu, handle), None);
        }
        let unknown: *mut u8 = encode(Kind::Mm, 5000, 1);
        assert_eq!(table.get(unknown).err(), Some(iommu_error::Invalid));
        for &handle in handles.iter().step_by(2) {
            assert_eq!(table.remove(handle), Ok(()));
            assert_eq!(table.remove(handle), Err(iommu_error::Stale));
            assert_eq!(table.get(handle).err(), Some(iommu_error::Stale));
        }
        assert_eq!(alive.load(Ordering::Relaxed), 50);
        // The slots are used again, the numbers are not.
        for _ in 0..50 {
            let handle: *mut u8 = table.insert(|| Counted::new(&alive)).unwrap();
            assert!(!handles.contains(&handle));
            assert!(decode(Kind::Mm, handle).unwrap().0 < 100);
        }
    }

    #[test]
    fn what_is_in_use_when_it_is_taken_back_goes_with_the_last_use() {
        let alive = AtomicUsize::new(0);
        let table = Table::new(Kind::Mm);
        let handle: *mut u8 = table.insert(|| Counted::new(&alive)).unwrap();
        let (first, second) = (table.get(handle).unwrap(), table.get(handle).unwrap());
        assert_eq!(table.remove(handle), Ok(()));
        assert_eq!(table.get(handle).err(), Some(iommu_error::Stale));
        drop(first);
        assert_eq!(alive.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(alive.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_slot_that_is_worn_out_is_not_used_again() {
        let table = Table::new(Kind::Mm);
        let first: *mut u8 = table.insert(|| Arc::new(())).unwrap();
        table.remove(first).unwrap();
        table.slot(0).unwrap().state.store((LAST_GENERATION - 1) << (HALF + 1), Ordering::Relaxed);
        let last: *mut u8 = table.insert(|| Arc::new(())).unwrap();
        assert_eq!(decode(Kind::Mm, last), Some((0, LAST_GENERATION)));
        assert!(last.addr() < usize::MAX - 4095);
        table.remove(last).unwrap();
        let next: *mut u8 = table.insert(|| Arc::new(())).unwrap();
        assert_eq!(decode(Kind::Mm, next), Some((1, 1)));
        assert_eq!(table.get(last).err(), Some(iommu_error::Stale));
    }

    #[test]
    fn threads_that_use_take_back_and_give_out_at_once_lose_nothing() {
        let alive = AtomicUsize::new(0);
        let table: Table<Counted<'_>> = Table::new(Kind::Mm);
        let shared = AtomicPtr::new(core::ptr::null_mut::<u8>());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        if let Ok(found) = table.get(shared.load(Ordering::Relaxed)) {
                            assert!(found.0.load(Ordering::Relaxed) > 0);
                        }
                    }
                });
            }
            let makers: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..20_000 {
                            let handle: *mut u8 = table.insert(|| Counted::new(&alive)).unwrap();
                            shared.store(handle, Ordering::Relaxed);
                            table.remove(handle).unwrap();
                        }
                    })
                })
                .collect();
            for maker in makers {
                maker.join().unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(alive.load(Ordering::Relaxed), 0);
        // Two at a time, and a few that somebody was about to leave: the slots were used again.
        assert!(table.slot(1 << 10).is_none());
    }
}
