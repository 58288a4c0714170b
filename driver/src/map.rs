//! A map whose memory is set aside before a lock is taken, so that nothing is allocated or returned under one.
//!
//! Entries lie in the order of their keys, in one piece. Insertion and removal move what comes after: for what a
//! system has of devices and address spaces that is less than a walk through scattered nodes.

use crate::shared::OutOfMemory;
use alloc::vec::Vec;
use core::ops::RangeInclusive;

/// See the module.
pub(crate) struct Map<K, V>(Vec<(K, V)>);

/// Memory for entries of a [`Map`].
pub(crate) struct Spare<K, V>(Vec<(K, V)>);

/// The fewest entries that memory is set aside for.
const FEWEST: usize = 8;

impl<K: Ord + Copy, V> Map<K, V> {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(&key))
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        self.find(key).ok().and_then(|at| self.0.get(at)).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        self.0.get_mut(at).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an entry, or replaces the value of the one that there is, which is returned. There is
    /// [room](Self::lacks).
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.find(key) {
            Ok(at) => Some(core::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                debug_assert!(self.0.len() < self.0.capacity());
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        self.find(key).ok().map(|at| self.0.remove(at).1)
    }

    /// Keeps the entries that `keep` accepts. Others must own no memory.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(*key, value));
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// The entries of a range of keys.
    pub(crate) fn range(&self, keys: RangeInclusive<K>) -> &[(K, V)] {
        let first = self.0.partition_point(|(key, _)| key < keys.start());
        let rest = self.0.get(first..).unwrap_or(&[]);
        let count = rest.partition_point(|(key, _)| key <= keys.end());
        rest.get(..count).unwrap_or(&[])
    }

    /// How many entries to set memory aside for if there is no room for one more.
    pub(crate) fn lacks(&self) -> Option<usize> {
        (self.0.len() == self.0.capacity()).then(|| (2 * self.0.len()).max(FEWEST))
    }

    /// Moves into `spare` if that is larger than what there is; otherwise nothing happens. The memory that is no
    /// longer needed is left there, to be returned when the lock is free.
    pub(crate) fn move_into(&mut self, spare: &mut Spare<K, V>) {
        if spare.0.capacity() > self.0.capacity() {
            spare.0.clear();
            spare.0.append(&mut self.0);
            core::mem::swap(&mut self.0, &mut spare.0);
        }
    }

    pub(crate) fn take(&mut self) -> impl Iterator<Item = (K, V)> + use<K, V> {
        core::mem::take(&mut self.0).into_iter()
    }
}

impl<K, V> Spare<K, V> {
    /// Memory for so many entries; none for `None`.
    pub(crate) fn new(entries: Option<usize>) -> Result<Self, OutOfMemory> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(entries.unwrap_or(0)).map_err(|_| OutOfMemory)?;
        Ok(Self(memory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_room() -> Map<u32, u32> {
        let mut map = Map::new();
        let mut spare = Spare::new(map.lacks()).unwrap();
        map.move_into(&mut spare);
        map
    }

    #[test]
    fn entries_are_found_in_the_order_of_their_keys() {
        let mut map = with_room();
        for key in [5, 1, 9, 3] {
            assert_eq!(map.insert(key, key * 10), None);
        }
        assert_eq!(map.insert(3, 31), Some(30));
        assert_eq!(map.range(2..=5), [(3, 31), (5, 50)]);
        assert_eq!(map.range(6..=8), []);
        assert_eq!((map.get(9), map.get(2)), (Some(&90), None));
        assert_eq!((map.remove(1), map.len()), (Some(10), 3));
    }

    #[test]
    fn a_map_moves_into_more_memory_with_all_it_has() {
        let mut map = with_room();
        (0..FEWEST as u32).for_each(|key| _ = map.insert(key, key));
        let mut spare = Spare::new(map.lacks()).unwrap();
        map.move_into(&mut spare);
        assert!(map.lacks().is_none() && spare.0.is_empty());
        assert!((0..FEWEST as u32).all(|key| map.get(key) == Some(&key)));
        // Less than there is does nothing.
        let mut less = Spare::new(Some(1)).unwrap();
        map.move_into(&mut less);
        assert_eq!(map.len(), FEWEST);
    }
}
