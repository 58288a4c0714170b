//! PASIDs, and the allocator of small identifiers behind PASIDs and PSCIDs.

use alloc::vec::Vec;
use core::{fmt, num::NonZeroU32};

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
    ids: spin::Mutex<IdAllocator>,
}

impl PasidSpace {
    /// A space of the PASIDs 1 to `max`; a larger `max` than [`Pasid::MAX`] means all of them.
    pub const fn new(max: u32) -> Self {
        let max = if max > Pasid::MAX { Pasid::MAX } else { max };
        Self { ids: spin::Mutex::new(IdAllocator::new(max)) }
    }

    /// The lowest free PASID that is not larger than `limit`.
    pub(crate) fn alloc(&self, limit: u32) -> Result<Pasid, NoId> {
        let id = self.ids.lock().alloc(limit)?;
        Pasid::new(id).ok_or(NoId::Exhausted)
    }

    pub(crate) fn free(&self, pasid: Pasid) {
        self.ids.lock().free(pasid.get());
    }

    /// How many PASIDs are in use.
    pub fn in_use(&self) -> usize {
        self.ids.lock().in_use()
    }
}

impl Default for PasidSpace {
    fn default() -> Self {
        Self::new(Pasid::MAX)
    }
}

/// Why there is no identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoId {
    Exhausted,
    OutOfMemory,
}

/// Numbers from 1 to `max`, the lowest free one first: low PASIDs are those that every device can carry.
/// One bit per number, grown as needed.
pub(crate) struct IdAllocator {
    used: Vec<u64>,
    max: u32,
    // No word before this one has a free number.
    hint: usize,
}

const BITS: u32 = u64::BITS;

impl IdAllocator {
    pub(crate) const fn new(max: u32) -> Self {
        Self { used: Vec::new(), max, hint: 0 }
    }

    pub(crate) fn alloc(&mut self, limit: u32) -> Result<u32, NoId> {
        let mut word = self.hint;
        while word < self.used.len() && self.used[word] == u64::MAX {
            word += 1;
        }
        self.hint = word;
        // Number 0 is never given out: a new first word has its bit set.
        let bits = self.used.get(word).copied().unwrap_or(if word == 0 { 1 } else { 0 });
        let bit = bits.trailing_ones();
        let id = word as u64 * u64::from(BITS) + u64::from(bit);
        if id > u64::from(self.max.min(limit)) {
            return Err(NoId::Exhausted);
        }
        if word == self.used.len() {
            self.used.try_reserve(1).map_err(|_| NoId::OutOfMemory)?;
            self.used.push(bits);
        }
        self.used[word] |= 1 << bit;
        Ok(id as u32)
    }

    pub(crate) fn free(&mut self, id: u32) {
        let word = (id / BITS) as usize;
        let mask = 1u64 << (id % BITS);
        if id == 0 || self.used.get(word).is_none_or(|bits| bits & mask == 0) {
            debug_assert!(false, "identifier {id} was not in use");
            return;
        }
        self.used[word] &= !mask;
        self.hint = self.hint.min(word);
    }

    pub(crate) fn in_use(&self) -> usize {
        let ones: u32 = self.used.iter().map(|bits| bits.count_ones()).sum();
        ones as usize - usize::from(!self.used.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_come_lowest_first_and_zero_never() {
        let mut ids = IdAllocator::new(200);
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
    fn pasid_zero_and_wide_numbers_are_refused() {
        assert_eq!(Pasid::new(0), None);
        assert_eq!(Pasid::new(Pasid::MAX + 1), None);
        assert_eq!(Pasid::new(5).map(Pasid::get), Some(5));
    }
}
