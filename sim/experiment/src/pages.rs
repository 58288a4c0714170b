//! Which pages a workload has: their size, and whether they are in memory at first.
//!
//! [`PageSet`] holds what one process touches, [`layout`] says which page of which size maps it. Bounds: 64 bytes for each 2 MiB
//! that has a touched page, however many accesses there are.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::Range;

/// How large pages are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PageSize {
    /// 4 KiB.
    #[default]
    #[serde(rename = "4k")]
    Base,
    /// 64 KiB: a NAPOT range of sixteen 4 KiB entries (Svnapot).
    #[serde(rename = "64k")]
    Napot,
    /// 2 MiB.
    #[serde(rename = "2m")]
    Huge,
    /// 1 GiB.
    #[serde(rename = "1g")]
    Giant,
    /// For each region the largest page of which the workload uses at least [`PagePolicy::worth`] percent.
    #[serde(rename = "mixed")]
    Mixed,
}

impl PageSize {
    /// Binary logarithm of the bytes of a page; of `Mixed` that of the smallest.
    pub fn shift(self) -> u32 {
        match self {
            PageSize::Base | PageSize::Mixed => 12,
            PageSize::Napot => 16,
            PageSize::Huge => 21,
            PageSize::Giant => 30,
        }
    }
}

/// What is mapped, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PagePolicy {
    /// Size of pages. Every address of a page that the workload touches is mapped.
    pub size: PageSize,
    /// Percent of a larger page that must be touched to make it worth while; for `mixed` only.
    pub worth: u32,
    /// No page is in memory at first: devices fault them in with page requests.
    pub demand: bool,
    /// Frames of 4 KiB for pages, with `demand`: fewer than pages makes them come and go. `None`: there is one for each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Cycles until the operating system has brought a page in, with `demand`.
    pub service: u64,
}

impl Default for PagePolicy {
    fn default() -> PagePolicy {
        PagePolicy { size: PageSize::Base, worth: 12, demand: false, frames: None, service: 0 }
    }
}

impl PagePolicy {
    /// What is not possible, as `key = value: why; mend`; empty if all is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.worth == 0 || self.worth > 100 {
            problems.push(format!("pages.worth = {}: a percentage from 1 to 100", self.worth));
        }
        if self.frames == Some(0) {
            problems.push(
                "pages.frames = 0: at least 1 is possible; leave it out to have one for each page".into(),
            );
        }
        problems
    }
}

/// How many 4 KiB pages of a larger page must be touched so that it is taken, by size; `None`: it never is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Enough {
    /// Of the 16 of 64 KiB.
    pub napot: Option<u64>,
    /// Of the 512 of 2 MiB.
    pub huge: Option<u64>,
    /// Of the 262144 of 1 GiB.
    pub giant: Option<u64>,
}

impl From<&PagePolicy> for Enough {
    fn from(policy: &PagePolicy) -> Enough {
        let percent = |shift: u32| Some((u64::from(policy.worth) << (shift - BASE)).div_ceil(100).max(1));
        match policy.size {
            PageSize::Base => Enough::default(),
            PageSize::Napot => Enough { napot: Some(1), ..Enough::default() },
            PageSize::Huge => Enough { huge: Some(1), ..Enough::default() },
            PageSize::Giant => Enough { giant: Some(1), ..Enough::default() },
            PageSize::Mixed => Enough { napot: percent(NAPOT), huge: percent(HUGE), giant: percent(GIANT) },
        }
    }
}

/// Binary logarithm of a 4 KiB page.
const BASE: u32 = 12;
const NAPOT: u32 = 16;
const HUGE: u32 = 21;
const GIANT: u32 = 30;
/// 4 KiB pages of a 2 MiB region.
const REGION: u64 = 1 << (HUGE - BASE);
/// Words of a region's bits.
const WORDS: usize = REGION as usize / 64;
/// Pages that were added last, by their low bits: most accesses touch one of them.
const RECENT: usize = 256;

/// Page and region numbers are spread by one multiplication.
#[derive(Default)]
pub struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(u64::from(b)));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        let x = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = x ^ x >> 29;
    }
}

/// A map by page number.
pub type PageMap<V> = HashMap<u64, V, BuildHasherDefault<PageHasher>>;

/// The 4 KiB pages that a process touches.
#[derive(Clone)]
pub struct PageSet {
    regions: PageMap<[u64; WORDS]>,
    recent: Box<[u64; RECENT]>,
    pages: u64,
}

impl Default for PageSet {
    fn default() -> PageSet {
        PageSet { regions: PageMap::default(), recent: Box::new([u64::MAX; RECENT]), pages: 0 }
    }
}

impl std::fmt::Debug for PageSet {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

impl PageSet {
    /// The pages of `size` bytes at `address`; none for no bytes.
    #[inline]
    pub fn add(&mut self, address: u64, size: u32) {
        let Some(more) = u64::from(size).checked_sub(1) else { return };
        for page in address >> BASE..=address.saturating_add(more) >> BASE {
            if self.recent[page as usize % RECENT] != page {
                self.insert(page);
            }
        }
    }

    fn insert(&mut self, page: u64) {
        self.recent[page as usize % RECENT] = page;
        let word = &mut self.regions.entry(page / REGION).or_default()[(page % REGION / 64) as usize];
        self.pages += u64::from(*word >> (page % 64) & 1 == 0);
        *word |= 1 << (page % 64);
    }

    /// Number of pages.
    pub fn len(&self) -> u64 {
        self.pages
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pages == 0
    }

    /// Whether the page with this number is touched.
    pub fn contains(&self, page: u64) -> bool {
        let region = self.regions.get(&(page / REGION));
        region.is_some_and(|bits| bits[(page % REGION / 64) as usize] >> (page % 64) & 1 != 0)
    }

    /// Number of pages of 2^`shift` bytes that have a touched one in them.
    pub fn count(&self, shift: u32) -> u64 {
        let mut count = 0;
        let mut last = None;
        for range in self.ranges() {
            let (first, end) = (range.start >> (shift - BASE), (range.end - 1) >> (shift - BASE));
            count += end - first + u64::from(last != Some(first));
            last = Some(end);
        }
        count
    }

    /// All of another set too.
    pub fn merge(&mut self, other: &PageSet) {
        for (&region, bits) in &other.regions {
            let mine = self.regions.entry(region).or_default();
            for (mine, theirs) in mine.iter_mut().zip(bits) {
                self.pages += u64::from((theirs & !*mine).count_ones());
                *mine |= theirs;
            }
        }
    }

    /// Runs of page numbers, in order, with an untouched page between any two.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (region, bits) in self.sorted() {
            for page in region * REGION..(region + 1) * REGION {
                if bits[(page % REGION / 64) as usize] >> (page % 64) & 1 == 0 {
                    continue;
                }
                match ranges.last_mut() {
                    Some(last) if last.end == page => last.end += 1,
                    _ => ranges.push(page..page + 1),
                }
            }
        }
        ranges
    }

    fn sorted(&self) -> Vec<(u64, &[u64; WORDS])> {
        let mut regions: Vec<_> = self.regions.iter().map(|(&region, bits)| (region, bits)).collect();
        regions.sort_unstable_by_key(|&(region, _)| region);
        regions
    }
}

/// A page that is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// Its first virtual address.
    pub va: u64,
    /// Binary logarithm of its bytes: 12, 16, 21 or 30.
    pub shift: u32,
}

/// How a 2 MiB region is mapped.
#[derive(Clone, Copy)]
enum Region {
    /// As one page.
    Huge,
    /// In part by 64 KiB pages: bit `i` is the `i`th.
    Small { napot: u32, base: [u64; WORDS] },
}

/// Which page of which size maps what, of one process.
#[derive(Clone, Default)]
pub struct Layout {
    /// The pages, by address. They don't overlap, and map every page of the set.
    pub pages: Vec<Mapped>,
    /// Parts of the policy that change nothing, each a sentence with what would.
    pub notes: Vec<String>,
    giants: PageMap<()>,
    regions: PageMap<Region>,
}

impl Layout {
    /// The page that maps an address.
    pub fn lookup(&self, va: u64) -> Option<Mapped> {
        let mapped = |shift: u32| Some(Mapped { va: va >> shift << shift, shift });
        if !self.giants.is_empty() && self.giants.contains_key(&(va >> GIANT)) {
            return mapped(GIANT);
        }
        match self.regions.get(&(va >> HUGE))? {
            Region::Huge => mapped(HUGE),
            Region::Small { napot, .. } if napot >> (va >> NAPOT & 31) & 1 != 0 => mapped(NAPOT),
            Region::Small { base, .. } => {
                let page = va >> BASE;
                let touched = base[(page % REGION / 64) as usize] >> (page % 64) & 1 != 0;
                touched.then_some(Mapped { va: page << BASE, shift: BASE })
            }
        }
    }

    /// Number of pages of this size.
    pub fn count(&self, shift: u32) -> u64 {
        self.pages.iter().filter(|page| page.shift == shift).count() as u64
    }

    fn add_region(&mut self, region: u64, bits: &[u64; WORDS], enough: Enough) {
        let va = region << HUGE;
        if is_enough(touched(bits), enough.huge) {
            self.regions.insert(region, Region::Huge);
            self.pages.push(Mapped { va, shift: HUGE });
            return;
        }
        let (mut napot, mut base) = (0, *bits);
        for range in 0..32u64 {
            let part = bits[range as usize / 4] >> (range % 4 * 16) & 0xffff;
            if part == 0 {
                continue;
            }
            let start = va + (range << NAPOT);
            if is_enough(part.count_ones().into(), enough.napot) {
                napot |= 1 << range;
                base[range as usize / 4] &= !(0xffff << (range % 4 * 16));
                self.pages.push(Mapped { va: start, shift: NAPOT });
            } else {
                let touched = (0..16).filter(|page| part >> page & 1 != 0);
                self.pages.extend(touched.map(|page| Mapped { va: start + (page << BASE), shift: BASE }));
            }
        }
        self.regions.insert(region, Region::Small { napot, base });
    }
}

fn is_enough(touched: u64, enough: Option<u64>) -> bool {
    enough.is_some_and(|enough| touched >= enough)
}

/// Touched pages of a region.
fn touched(bits: &[u64; WORDS]) -> u64 {
    bits.iter().map(|word| u64::from(word.count_ones())).sum()
}

/// Which page of which size maps each page of the set. A page that is larger than what is touched maps all of itself.
pub fn layout(set: &PageSet, policy: &PagePolicy) -> Layout {
    let mut layout = layout_of(set, policy.into());
    layout.notes = notes(set, policy, &layout);
    layout
}

/// The same by how much of each size must be touched; without notes.
pub fn layout_of(set: &PageSet, enough: Enough) -> Layout {
    let mut layout = Layout::default();
    for group in set.sorted().chunk_by(|a, b| a.0 >> (GIANT - HUGE) == b.0 >> (GIANT - HUGE)) {
        if is_enough(group.iter().map(|(_, bits)| touched(bits)).sum(), enough.giant) {
            let giant = group[0].0 >> (GIANT - HUGE);
            layout.giants.insert(giant, ());
            layout.pages.push(Mapped { va: giant << GIANT, shift: GIANT });
            continue;
        }
        group.iter().for_each(|(region, bits)| layout.add_region(*region, bits, enough));
    }
    layout
}

fn notes(set: &PageSet, policy: &PagePolicy, layout: &Layout) -> Vec<String> {
    let mut notes = Vec::new();
    let pages = layout.pages.len() as u64;
    if policy.size == PageSize::Mixed && layout.count(BASE) == pages {
        let fullest = set.regions.values().map(touched);
        notes.push(format!(
            "pages.size = mixed changes nothing: no larger page has {} % of its 4 KiB pages touched (of 2 MiB the fullest has \
             {} of 512); set pages.worth lower",
            policy.worth,
            fullest.max().unwrap_or(0)
        ));
    } else if policy.size != PageSize::Base && pages == set.len() {
        notes.push(
            "pages.size changes nothing: no two touched pages are in one larger page; 4k maps less".into(),
        );
    }
    if policy.size != PageSize::Mixed && policy.worth != PagePolicy::default().worth {
        notes.push("pages.worth changes nothing: it is for pages.size = mixed".into());
    }
    if !policy.demand {
        if policy.frames.is_some() {
            notes.push(
                "pages.frames changes nothing: all pages are in memory; set pages.demand = true".into(),
            );
        }
        if policy.service != 0 {
            notes.push(
                "pages.service changes nothing: all pages are in memory; set pages.demand = true".into(),
            );
        }
    } else if let Some(frames) = policy.frames
        && frames >= layout.pages.iter().map(|page| 1u64 << (page.shift - BASE)).sum::<u64>()
    {
        notes.push(format!("pages.frames = {frames} changes nothing: there are no more pages; set it lower"));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(pages: impl IntoIterator<Item = u64>) -> PageSet {
        let mut set = PageSet::default();
        pages.into_iter().for_each(|page| set.add(page << BASE, 1));
        set
    }

    fn policy(size: PageSize) -> PagePolicy {
        PagePolicy { size, ..PagePolicy::default() }
    }

    #[test]
    fn pages_are_counted_once() {
        let mut set = set([5, 5, 6, 511, 512, 5]);
        set.add(0x5fff, 2);
        set.add(0x8000, 0x2001);
        assert_eq!(set.ranges(), [5..7, 8..11, 511..513]);
        assert_eq!((set.len(), set.count(12), set.count(16), set.count(21), set.count(30)), (7, 7, 3, 2, 1));
        assert!(set.contains(512) && !set.contains(7) && !set.contains(1 << 40));
        // Numbers that share a place among the recent ones.
        let mut other = self::set((0..1000).map(|i| i * 256));
        assert_eq!(other.len(), 1000);
        other.merge(&set);
        assert_eq!(other.len(), 1000 + 6, "page 512 is in both");
        set.add(u64::MAX, 1);
        assert!(set.contains(u64::MAX >> 12));
    }

    #[test]
    fn each_size_maps_every_page() {
        let pages: Vec<u64> = (0..600).map(|i| i * i % 70_000).chain(1 << 20..(1 << 20) + 400).collect();
        let set = set(pages.iter().copied());
        for size in [PageSize::Base, PageSize::Napot, PageSize::Huge, PageSize::Giant, PageSize::Mixed] {
            let layout = layout(&set, &policy(size));
            assert!(layout.pages.windows(2).all(|w| w[0].va + (1 << w[0].shift) <= w[1].va), "{size:?}");
            for page in &pages {
                let found = layout.lookup(page << BASE | 0xabc).unwrap();
                assert!(layout.pages.binary_search_by_key(&found.va, |m| m.va).is_ok());
                assert_eq!(found.va, (page << BASE) >> found.shift << found.shift);
            }
            if size != PageSize::Mixed {
                assert!(layout.pages.iter().all(|m| m.shift == size.shift()));
                assert_eq!(layout.pages.len() as u64, set.count(size.shift()));
            }
            assert_eq!(layout.lookup(1 << 50), None);
            assert_eq!(layout.notes, Vec::<String>::new());
        }
        assert_eq!(layout(&set, &policy(PageSize::Base)).lookup((1 << 32) - 1), None);
    }

    #[test]
    fn mixed_takes_the_largest_that_is_worth_it() {
        // 62 of 512 are 12 %, 61 are not; 2 of 16 are 12 %, 1 is not.
        let set = set((0..62).chain(512..512 + 61).chain([1024, 1025, 1040]));
        let layout = layout(&set, &policy(PageSize::Mixed));
        let at = |page: u64| layout.lookup(page << BASE).map(|m| m.shift);
        assert_eq!(
            (at(0), at(511), at(512), at(572), at(573 + 16)),
            (Some(21), Some(21), Some(16), Some(16), None)
        );
        assert_eq!((at(1024), at(1039), at(1040), at(1041)), (Some(16), Some(16), Some(12), None));
        let giant = self::set((0..(1 << 18) * 12 / 100 + 1).map(|i| i * 8));
        let layout = super::layout(&giant, &policy(PageSize::Mixed));
        assert_eq!(layout.pages, [Mapped { va: 0, shift: 30 }]);
    }

    #[test]
    fn each_policy_has_its_pages() {
        let of = |set: &PageSet, enough: Enough| -> Vec<(u64, u32)> {
            layout_of(set, enough).pages.iter().map(|page| (page.va >> BASE, page.shift)).collect()
        };
        let policy = |size| Enough::from(&PagePolicy { size, worth: 50, ..PagePolicy::default() });
        let some = set([3, 17, 18, 600]);
        assert_eq!(of(&some, policy(PageSize::Base)), [(3, 12), (17, 12), (18, 12), (600, 12)]);
        assert_eq!(of(&some, policy(PageSize::Napot)), [(0, 16), (16, 16), (592, 16)]);
        assert_eq!(of(&some, policy(PageSize::Huge)), [(0, 21), (512, 21)]);
        assert_eq!(of(&some, policy(PageSize::Giant)), [(0, 30)]);
        // Half of a region in use makes it worth while.
        assert_eq!(of(&set(0..8), policy(PageSize::Mixed)), [(0, 16)]);
        assert_eq!(of(&set(0..7), policy(PageSize::Mixed)).len(), 7);
        let half = set((0..256).chain([600]));
        assert_eq!(of(&half, policy(PageSize::Mixed)), [(0, 21), (600, 12)]);
        // One larger size alone.
        let huge = Enough { huge: Some(64), ..Enough::default() };
        assert_eq!(of(&set(10..74), huge), [(0, 21)]);
        assert_eq!(of(&set(10..73), huge).len(), 63);
    }

    #[test]
    fn what_changes_nothing_is_said() {
        let sparse = set((0..100).map(|i| i * 1000));
        let said = |set: &PageSet, policy: PagePolicy| layout(set, &policy).notes.join("\n");
        assert!(said(&sparse, policy(PageSize::Mixed)).contains("set pages.worth lower"));
        assert!(said(&sparse, policy(PageSize::Napot)).contains("no two touched pages"));
        let idle = PagePolicy { frames: Some(5), service: 9, worth: 50, ..PagePolicy::default() };
        let idle = said(&sparse, idle);
        assert!(
            ["frames", "service", "worth"].iter().all(|key| idle.contains(&format!("pages.{key} changes"))),
            "{idle}"
        );
        let enough = PagePolicy { demand: true, frames: Some(100), ..PagePolicy::default() };
        assert!(said(&sparse, enough).contains("set it lower"));
        assert_eq!(said(&sparse, PagePolicy { frames: Some(99), ..enough }), "");
        let problems =
            PagePolicy { worth: 0, frames: Some(0), ..PagePolicy::default() }.problems().join("\n");
        assert!(problems.contains("pages.worth = 0") && problems.contains("pages.frames = 0"));
    }
}
