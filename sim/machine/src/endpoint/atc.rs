//! A device's translation cache (PCIe calls it ATC).

use std::collections::{BTreeMap, VecDeque};

/// Address space tag of a translation: a PASID, or none.
pub type Tag = Option<u32>;

/// What a translation completion has told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CachedTranslation {
    /// Address of the first byte of the page.
    pub page: u64,
    /// log2 of the page's bytes, at least 12.
    pub shift: u8,
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Fetches are allowed.
    pub exec: bool,
    /// U: accesses use the untranslated address.
    pub untranslated: bool,
}

impl CachedTranslation {
    /// Whether an access is covered.
    pub fn allows(&self, write: bool, exec: bool) -> bool {
        if exec {
            self.exec
        } else if write {
            self.write
        } else {
            self.read
        }
    }

    /// The physical address of a virtual one in the page.
    pub fn address(&self, va: u64) -> u64 {
        let offset = (1u64 << self.shift) - 1;
        self.page & !offset | va & offset
    }
}

/// A cache of so many translations; the oldest makes room.
#[derive(Debug)]
pub struct TranslationCache {
    capacity: usize,
    /// By tag, size, and number of the page of that size.
    entries: BTreeMap<(Tag, u8, u64), CachedTranslation>,
    order: VecDeque<(Tag, u8, u64)>,
    /// Sizes that occur, as bits.
    shifts: u64,
}

impl TranslationCache {
    /// An empty cache.
    pub fn new(capacity: usize) -> TranslationCache {
        TranslationCache {
            capacity: capacity.max(1),
            entries: BTreeMap::new(),
            order: VecDeque::new(),
            shifts: 0,
        }
    }

    /// The translation of the page that holds `va`.
    pub fn get(&self, tag: Tag, va: u64) -> Option<&CachedTranslation> {
        let mut shifts = self.shifts;
        while shifts != 0 {
            let shift = shifts.trailing_zeros() as u8;
            shifts &= shifts - 1;
            if let Some(found) = self.entries.get(&(tag, shift, va >> shift)) {
                return Some(found);
            }
        }
        None
    }

    /// Keeps a translation of the page that holds `va`.
    pub fn insert(&mut self, tag: Tag, va: u64, translation: CachedTranslation) {
        let key = (tag, translation.shift, va >> translation.shift);
        self.shifts |= 1 << translation.shift;
        if self.entries.insert(key, translation).is_some() {
            return;
        }
        self.order.push_back(key);
        while self.entries.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else { break };
            self.entries.remove(&oldest);
        }
    }

    /// Forgets what overlaps `first..=last`; of all PASIDs if `global`.
    pub fn forget(&mut self, tag: Tag, global: bool, first: u64, last: u64) {
        let doomed = |key: &(Tag, u8, u64)| {
            let begin = key.2 << key.1;
            covers(tag, global, key.0) && begin <= last && first <= begin | ((1 << key.1) - 1)
        };
        let before = self.entries.len();
        self.entries.retain(|key, _| !doomed(key));
        if self.entries.len() != before {
            self.order.retain(|key| !doomed(key));
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.order.clear();
        self.shifts = 0;
    }

    /// Translations that are kept.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Whether an invalidation request with this tag is about translations with tag `of`. A global request is about all
/// PASIDs, but not about what has none.
pub(super) fn covers(tag: Tag, global: bool, of: Tag) -> bool {
    of == tag || global && tag.is_some() && of.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(page: u64, shift: u8) -> CachedTranslation {
        CachedTranslation { page, shift, read: true, write: false, exec: false, untranslated: false }
    }

    #[test]
    fn forgets_what_overlaps_and_the_oldest() {
        let mut cache = TranslationCache::new(3);
        cache.insert(Some(1), 0x20_1234, page(0x8000_0000, 21));
        cache.insert(Some(1), 0x5000, page(0x1000, 12));
        cache.insert(Some(2), 0x5000, page(0x2000, 12));
        assert_eq!(cache.get(Some(1), 0x3f_ffff).map(|t| t.address(0x3f_ffff)), Some(0x801f_ffff));
        assert_eq!(cache.get(Some(2), 0x5678).map(|t| t.address(0x5678)), Some(0x2678));
        assert!(cache.get(None, 0x5000).is_none());
        cache.forget(Some(1), false, 0x30_0000, 0x30_0fff);
        assert!(cache.get(Some(1), 0x20_0000).is_none() && cache.get(Some(1), 0x5000).is_some());
        cache.forget(Some(1), true, 0x5000, 0x5fff);
        assert!(cache.is_empty());
        (0..4).for_each(|n| cache.insert(None, n << 12, page(n << 20, 12)));
        assert_eq!(cache.len(), 3);
        assert!(cache.get(None, 0).is_none() && cache.get(None, 0x3000).is_some());
        cache.forget(Some(0), true, 0, u64::MAX);
        assert_eq!(cache.len(), 3);
        cache.forget(None, false, 0, u64::MAX);
        assert!(cache.is_empty());
    }
}
