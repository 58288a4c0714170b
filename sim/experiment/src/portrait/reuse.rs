//! How many other pages are touched before a page is touched again, exactly.
//!
//! A tree of sums over time (Fenwick) has a one at the last touch of each page; what is right of a page's last touch are the pages in
//! between. When time is used up, the touches that still count are moved together, so that the tree has at most four times as many
//! places as there are pages.

use crate::pages::PageHasher;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;

const LEAST: usize = 1 << 12;

/// Counts distances.
#[derive(Default)]
pub struct Reuse {
    /// Touches of the page that was touched just before.
    pub same: u64,
    /// First touches.
    pub first: u64,
    /// Touches after `d` other pages, d >= 1, by the binary logarithm of d.
    pub after: Vec<u64>,
    last: Option<(u32, u64)>,
    /// Time of the last touch of each page.
    times: HashMap<(u32, u64), u32, BuildHasherDefault<PageHasher>>,
    /// Sums; place `i` is at `i + 1`.
    tree: Vec<u32>,
    now: usize,
}

impl Reuse {
    /// A page of an address space is touched.
    #[inline]
    pub fn touch(&mut self, space: u32, page: u64) {
        if self.last == Some((space, page)) {
            self.same += 1;
        } else {
            self.other((space, page));
        }
    }

    fn other(&mut self, page: (u32, u64)) {
        self.last = Some(page);
        if self.now + 1 >= self.tree.len() {
            self.compact();
        }
        let now = self.now as u32;
        match self.times.insert(page, now) {
            None => self.first += 1,
            Some(then) => {
                let between = self.times.len() as u32 - self.sum(then as usize + 1);
                let bucket = between.ilog2() as usize;
                if self.after.len() <= bucket {
                    self.after.resize(bucket + 1, 0);
                }
                self.after[bucket] += 1;
                self.add(then as usize, u32::MAX);
            }
        }
        self.add(self.now, 1);
        self.now += 1;
    }

    /// Ones at places below `end`.
    fn sum(&self, end: usize) -> u32 {
        let (mut at, mut sum) = (end, 0u32);
        while at > 0 {
            sum = sum.wrapping_add(self.tree[at]);
            at &= at - 1;
        }
        sum
    }

    /// Adds to a place, with wrap-around: `u32::MAX` takes one away.
    fn add(&mut self, place: usize, value: u32) {
        let mut at = place + 1;
        while at < self.tree.len() {
            self.tree[at] = self.tree[at].wrapping_add(value);
            at += at & at.wrapping_neg();
        }
    }

    fn compact(&mut self) {
        let mut order: Vec<(u32, (u32, u64))> =
            self.times.iter().map(|(&page, &time)| (time, page)).collect();
        order.sort_unstable();
        self.now = order.len();
        let places = (2 * order.len()).next_power_of_two().max(LEAST);
        self.tree.clear();
        self.tree.resize(places + 1, 0);
        for (time, (_, page)) in order.into_iter().enumerate() {
            self.times.insert(page, time as u32);
            self.tree[time + 1] = 1;
        }
        for at in 1..=places {
            let parent = at + (at & at.wrapping_neg());
            if parent <= places {
                self.tree[parent] = self.tree[parent].wrapping_add(self.tree[at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_a_list() {
        let (mut reuse, mut list) = (Reuse::default(), Vec::<u64>::new());
        let (mut same, mut first, mut after) = (0, 0, vec![0u64; 64]);
        let mut x = 7u64;
        for i in 0..30_000u64 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Some near, some anywhere, some again and again; more than the smallest tree has places for.
            let page = [x >> 55, x >> 53, i / 50, 3][(x >> 20) as usize % 4];
            reuse.touch(0, page);
            match list.iter().rev().position(|&p| p == page) {
                Some(0) => same += 1,
                Some(others) => after[others.ilog2() as usize] += 1,
                None => first += 1,
            }
            list.retain(|&p| p != page);
            list.push(page);
        }
        after.truncate(after.iter().rposition(|&n| n > 0).unwrap() + 1);
        assert_eq!((reuse.same, reuse.first, reuse.after), (same, first, after));
    }
}
