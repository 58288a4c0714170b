//! PASIDs, and the allocator of small identifiers behind PASIDs and PSCIDs.

use crate::shared::{OutOfMemory, Shared};
use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::{
    fmt,
    num::NonZeroU32,
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

/// A process address space identifier, 1 to 2^20 - 1: what PCIe calls PASID and the RISC-V IOMMU
/// `process_id`.
///
/// 0 is reserved: it names the requests that carry no PASID (`DC.tc.DPE`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pasid(NonZeroU32);

impl Pasid {
    /// The width of the widest PASID in bits.
    pub const WIDTH: u32 = 20;
    /// The largest PASID.
    pub const MAX: u32 = (1 << Self::WIDTH) - 1;

    /// The PASID of this number, if it is one.
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(number) if value <= Self::MAX => Some(Self(number)),
            _ => None,
        }
    }

    /// The number that a device puts on the bus.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Debug for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pasid({})", self.0)
    }
}

impl fmt::Display for Pasid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The PASIDs of a system. One mm has one PASID on every device, so IOMMUs that may serve the same mm
/// share one space ([`crate::Config::pasids`]).
pub struct PasidSpace {
    ids: IdAllocator,
}

impl PasidSpace {
    /// A space of the PASIDs 1 to `max`; a larger `max` than [`Pasid::MAX`] means all of them.
    pub const fn new(max: u32) -> Self {
        let max = if max > Pasid::MAX { Pasid::MAX } else { max };
        Self { ids: IdAllocator::new(max) }
    }

    /// The lowest free PASID that is not larger than `limit`.
    pub(crate) fn alloc(&self, limit: u32) -> Result<Pasid, NoId> {
        let id = self.ids.alloc(limit)?;
        Pasid::new(id).ok_or(NoId::Exhausted)
    }

    pub(crate) fn free(&self, pasid: Pasid) {
        self.ids.free(pasid.get());
    }

    /// How many PASIDs are in use.
    pub fn in_use(&self) -> usize {
        self.ids.in_use()
    }
}

impl Default for PasidSpace {
    fn default() -> Self {
        Self::new(Pasid::MAX)
    }
}

/// The PASIDs that an IOMMU draws from.
#[derive(Clone)]
pub(crate) enum Pasids {
    /// Its own.
    Own(Shared<PasidSpace>),
    /// Those it was given.
    Given(Arc<PasidSpace>),
}

impl Pasids {
    /// Those of a configuration, or all.
    pub(crate) fn of(given: Option<&Arc<PasidSpace>>) -> Result<Self, OutOfMemory> {
        match given {
            Some(given) => Ok(Self::Given(given.clone())),
            None => Shared::new(PasidSpace::default()).map(Self::Own),
        }
    }

    /// Whether both are the same.
    pub(crate) fn same(a: &Self, b: &Self) -> bool {
        core::ptr::eq::<PasidSpace>(&**a, &**b)
    }
}

impl core::ops::Deref for Pasids {
    type Target = PasidSpace;
    fn deref(&self) -> &PasidSpace {
        match self {
            Self::Own(space) => space,
            Self::Given(space) => space,
        }
    }
}

/// Why there is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoId {
    Exhausted,
    OutOfMemory,
}

/// Numbers from 1 to `max`, the lowest free one first: low PASIDs are those that every device can carry.
/// One bit per number, in chunks that are added as needed. There is no lock, so that an address space can go in
/// any context.
pub(crate) struct IdAllocator {
    chunks: [AtomicPtr<Chunk>; CHUNKS],
    max: u32,
}

const BITS: u32 = u64::BITS;
const WORDS: usize = 256;
/// For numbers of 20 bits.
const CHUNKS: usize = (1 << 20) / (WORDS * BITS as usize);

type Chunk = [AtomicU64; WORDS];

impl IdAllocator {
    /// Numbers of at most 20 bits.
    pub(crate) const fn new(max: u32) -> Self {
        Self { chunks: [const { AtomicPtr::new(core::ptr::null_mut()) }; CHUNKS], max }
    }

    fn chunk(&self, number: usize) -> Option<&Chunk> {
        let chunk = self.chunks.get(number)?.load(Ordering::Acquire);
        // SAFETY: null, or a chunk that `add` put there, which stays until this goes.
        unsafe { chunk.as_ref() }
    }

    /// Adds a chunk, unless somebody has.
    fn add(&self, number: usize) -> Result<&Chunk, NoId> {
        let mut words = Vec::new();
        words.try_reserve_exact(WORDS).map_err(|_| NoId::OutOfMemory)?;
        // Number 0 is never given out.
        words.extend((0..WORDS).map(|word| AtomicU64::new(u64::from(number == 0 && word == 0))));
        let chunk = Box::<Chunk>::try_from(words.into_boxed_slice()).map_err(|_| NoId::OutOfMemory)?;
        let chunk = Box::into_raw(chunk);
        let place = self.chunks.get(number).ok_or(NoId::Exhausted)?;
        let (success, failure) = (Ordering::AcqRel, Ordering::Acquire);
        if place.compare_exchange(core::ptr::null_mut(), chunk, success, failure).is_err() {
            // SAFETY: it came from a box and is known to nobody else.
            drop(unsafe { Box::from_raw(chunk) });
        }
        self.chunk(number).ok_or(NoId::OutOfMemory)
    }

    /// The lowest free number that is not larger than `limit`.
    pub(crate) fn alloc(&self, limit: u32) -> Result<u32, NoId> {
        let last = self.max.min(limit);
        for number in 0..CHUNKS {
            let first = (number * WORDS) as u32 * BITS;
            if first > last {
                break;
            }
            let chunk = match self.chunk(number) {
                Some(chunk) => chunk,
                None => self.add(number)?,
            };
            for (word, first) in chunk.iter().zip((first..).step_by(BITS as usize)) {
                let mut bits = word.load(Ordering::Relaxed);
                while bits != u64::MAX {
                    let bit = bits.trailing_ones();
                    if first + bit > last {
                        return Err(NoId::Exhausted);
                    }
                    // What the number's last owner did comes before what its next one does.
                    let taken = bits | 1 << bit;
                    match word.compare_exchange(bits, taken, Ordering::Acquire, Ordering::Relaxed) {
                        Ok(_) => return Ok(first + bit),
                        Err(now) => bits = now,
                    }
                }
            }
        }
        Err(NoId::Exhausted)
    }

    pub(crate) fn free(&self, id: u32) {
        let (word, mask) = ((id / BITS) as usize, 1u64 << (id % BITS));
        let known = self.chunk(word / WORDS).and_then(|chunk| chunk.get(word % WORDS)).filter(|_| id != 0);
        let before = known.map_or(0, |word| word.fetch_and(!mask, Ordering::Release));
        debug_assert!(before & mask != 0, "identifier {id} was not in use");
    }

    pub(crate) fn in_use(&self) -> usize {
        let words = (0..CHUNKS).filter_map(|number| self.chunk(number)).flatten();
        let ones: u32 = words.map(|word| word.load(Ordering::Relaxed).count_ones()).sum();
        ones as usize - usize::from(self.chunk(0).is_some())
    }
}

impl Drop for IdAllocator {
    fn drop(&mut self) {
        for chunk in &mut self.chunks {
            let chunk = *chunk.get_mut();
            if !chunk.is_null() {
                // SAFETY: it came from a box, and nobody else knows it any more.
                drop(unsafe { Box::from_raw(chunk) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_lowest_first_and_zero_never() {
        let ids = IdAllocator::new(200);
        for expected in 1..=200 {
            assert_eq!(ids.alloc(u32::MAX), Ok(expected));
        }
        assert_eq!(ids.alloc(u32::MAX), Err(NoId::Exhausted));
        assert_eq!(ids.in_use(), 200);
        ids.free(130);
        ids.free(7);
        assert_eq!(ids.alloc(6), Err(NoId::Exhausted));
        assert_eq!(ids.alloc(7), Ok(7));
        assert_eq!(ids.alloc(u32::MAX), Ok(130));
    }

    #[test]
    fn the_whole_pasid_space_can_be_used() {
        let space = PasidSpace::new(u32::MAX);
        for expected in 1..=Pasid::MAX {
            assert_eq!(space.alloc(Pasid::MAX).map(Pasid::get), Ok(expected));
        }
        assert_eq!(space.alloc(Pasid::MAX), Err(NoId::Exhausted));
    }

    #[test]
    fn many_threads_never_get_the_same_number() {
        let ids = IdAllocator::new(1000);
        let mut all: std::vec::Vec<u32> = std::thread::scope(|scope| {
            let threads: std::vec::Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let mine: std::vec::Vec<u32> =
                            (0..300).filter_map(|_| ids.alloc(u32::MAX).ok()).collect();
                        let (give, keep) = mine.split_at(50);
                        give.iter().for_each(|&id| ids.free(id));
                        keep.to_vec()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!((all.len(), ids.in_use()), (count, count));
    }

    #[test]
    fn pasid_zero_and_wide_numbers_are_refused() {
        assert_eq!(Pasid::new(0), None);
        assert_eq!(Pasid::new(Pasid::MAX + 1), None);
        assert_eq!(Pasid::new(5).map(Pasid::get), Some(5));
    }
}
