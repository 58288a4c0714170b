//! Physical memory of a scene, and page tables in it: of the host, and of guests whose tables are behind a second stage.
//!
//! Memory is four windows far apart, so that every bit of a page number matters and most wrong addresses hit nothing.

use pasidon_cosim::Extent;
use pasidon_cosim::Random;
use pasidon_rtl::design::Design;
use pasidon_spec::page_table::{Geometry, PAGE_BYTES, PAGE_SHIFT, pte};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

/// Bytes of a window.
const WINDOW: u64 = 512 << 10;
/// Pages at the start of each window for queues and for what commands and interrupts store.
pub(super) const RESERVED_PAGES: u64 = 32;
/// Pages after those for root tables of four pages.
const ROOT_PAGES: u64 = 16;

/// The windows of a design's memory. The first two can be reached from page tables with 22-bit page numbers.
pub(super) fn windows(design: &Design) -> [Range<u64>; 4] {
    let mask = (1u64 << design.pas) - 1;
    let starts = [0x8_0000, 0x3_5550_0000, 0xaa_aaaa_aaa8_0000, u64::MAX];
    starts.map(|start| {
        let start = start & mask & !(WINDOW - 1);
        start..start + WINDOW
    })
}

/// Where a design has memory in lockstep.
pub(super) fn extent(design: &Design) -> Extent {
    Extent::Ranges(windows(design).into())
}

/// True in `percent` of all cases.
pub(super) fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

/// One of a list that is not empty.
pub(super) fn pick<T: Copy>(random: &mut Random, list: &[T]) -> T {
    list[random.below(list.len() as u64) as usize]
}

/// What a doubleword is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Non-leaf directory entry.
    Ddte,
    /// Doubleword of a device context.
    Dc(u8),
    /// Non-leaf process directory entry.
    Pdte,
    /// Doubleword of a process context.
    Pc(u8),
    /// First-stage page-table entry.
    FirstStage,
    /// Second-stage page-table entry.
    SecondStage,
    /// Doubleword of an MSI page-table entry.
    Msi(u8),
}

impl Role {
    /// Whether bit 0 says that the entry is valid.
    pub(super) fn has_valid_bit(self) -> bool {
        !matches!(self, Role::Dc(1..) | Role::Pc(1..) | Role::Msi(1..))
    }
}

/// A doubleword (or half of one) that means something.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meaning {
    pub(super) address: u64,
    pub(super) role: Role,
    pub(super) big: bool,
    /// 4 or 8.
    pub(super) bytes: u64,
    /// Its guest, if it is part of one's tables.
    pub(super) guest: Option<usize>,
}

/// A guest: a second stage.
#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) geometry: &'static Geometry,
    pub(super) root: u64,
    pub(super) gscid: u16,
    /// A and D bits are updated by hardware.
    pub(super) updates: bool,
    /// All guest physical addresses have 34 bits at most: its first stages may be Sv32.
    pub(super) low: bool,
    /// Superpages over a window: (index of the window, guest physical address, bytes).
    over_windows: Vec<(usize, u64, u64)>,
    clusters: [u64; 3],
    next: u64,
    /// Where its table pages are.
    frames: HashMap<u64, u64>,
    /// Leaves: guest physical address, bytes, address of the entry if it is one alone.
    pub(super) maps: Vec<(u64, u64, Option<u64>)>,
    /// Guest pages that are interrupt files.
    pub(super) msi_pages: Vec<u64>,
}

/// Memory being filled.
pub(super) struct Tables {
    pub(super) windows: [Range<u64>; 4],
    low: Vec<u64>,
    high: Vec<u64>,
    roots: Vec<u64>,
    /// Every doubleword that is not zero, little-endian.
    pub(super) image: BTreeMap<u64, u64>,
    pub(super) meanings: Vec<Meaning>,
    pub(super) guests: Vec<Guest>,
    /// Byte order of directories and second-stage tables.
    pub(super) big: bool,
    pas: u32,
}

impl Tables {
    pub(super) fn new(design: &Design, big: bool, random: &mut Random) -> Tables {
        let windows = windows(design);
        let pages = |window: &Range<u64>, from: u64| {
            (window.start + from * PAGE_BYTES..window.end).step_by(PAGE_BYTES as usize).collect::<Vec<_>>()
        };
        let free = RESERVED_PAGES + ROOT_PAGES;
        let (mut low, mut high) = (pages(&windows[0], free), pages(&windows[2], free));
        low.extend(pages(&windows[1], free));
        high.extend(pages(&windows[3], free));
        random.shuffle(&mut low);
        random.shuffle(&mut high);
        let mut roots: Vec<u64> = windows
            .iter()
            .flat_map(|w| {
                (0..ROOT_PAGES).step_by(4).map(|page| w.start + (RESERVED_PAGES + page) * PAGE_BYTES)
            })
            .collect();
        random.shuffle(&mut roots);
        let (image, meanings, guests) = (BTreeMap::new(), Vec::new(), Vec::new());
        Tables { windows, low, high, roots, image, meanings, guests, big, pas: design.pas }
    }

    /// A page of zeroes.
    pub(super) fn page(&mut self, low: bool, random: &mut Random) -> Option<u64> {
        if low || self.high.is_empty() || chance(random, 40) { self.low.pop() } else { self.high.pop() }
    }

    /// Four pages of zeroes, aligned. Low ones are not needed: a root's page number has 44 bits.
    fn root_pages(&mut self) -> Option<u64> {
        self.roots.pop()
    }

    pub(super) fn word(&self, address: u64) -> u64 {
        self.image.get(&(address & !7)).copied().unwrap_or(0)
    }

    /// The 4 or 8 bytes at `address`.
    pub(super) fn get(&self, address: u64, bytes: u64, big: bool) -> u64 {
        let word = self.word(address);
        match (bytes, big) {
            (8, false) => word,
            (8, true) => word.swap_bytes(),
            (_, false) => word >> (8 * (address & 4)) & 0xffff_ffff,
            (_, true) => ((word >> (8 * (address & 4))) as u32).swap_bytes().into(),
        }
    }

    /// The doubleword with the 4 or 8 bytes at `address` replaced.
    pub(super) fn with(&self, address: u64, bytes: u64, big: bool, value: u64) -> u64 {
        if bytes == 8 {
            return if big { value.swap_bytes() } else { value };
        }
        let part = if big { (value as u32).swap_bytes() } else { value as u32 };
        let shift = 8 * (address & 4);
        self.word(address) & !(0xffff_ffff << shift) | u64::from(part) << shift
    }

    /// Replaces the 4 or 8 bytes at `address`.
    pub(super) fn set(&mut self, address: u64, bytes: u64, big: bool, value: u64) {
        let word = self.with(address, bytes, big, value);
        self.image.insert(address & !7, word);
    }

    /// Writes something that means something.
    pub(super) fn put(&mut self, meaning: Meaning, value: u64) {
        self.set(meaning.address, meaning.bytes, meaning.big, value);
        self.meanings.push(meaning);
    }

    /// A page number of a guest or of the host to the address of the page.
    pub(super) fn frame_of(&self, guest: Option<usize>, page: u64) -> Option<u64> {
        let address = page << PAGE_SHIFT;
        match guest {
            None => Some(address),
            Some(guest) => self.guests[guest].frames.get(&address).copied(),
        }
    }

    /// A page for a table, as (address for entries that point to it, where it is).
    pub(super) fn table(
        &mut self,
        guest: Option<usize>,
        low: bool,
        random: &mut Random,
    ) -> Option<(u64, u64)> {
        let Some(number) = guest else {
            let page = self.page(low, random)?;
            return Some((page, page));
        };
        let frame = self.page(false, random)?;
        let place = self.guest_address(number, frame, random)?;
        self.guests[number].frames.insert(place, frame);
        Some((place, frame))
    }

    /// Makes `frame` reachable for a guest.
    fn guest_address(&mut self, number: usize, frame: u64, random: &mut Random) -> Option<u64> {
        let window = self.windows.iter().position(|w| w.contains(&frame))?;
        let guest = &mut self.guests[number];
        if chance(random, 70)
            && let Some(&(_, base, size)) = guest.over_windows.iter().find(|(w, ..)| *w == window)
        {
            return Some(base | frame & (size - 1));
        }
        for _ in 0..4 {
            let guest = &mut self.guests[number];
            guest.next += 1 + random.below(3);
            let gpa = guest.clusters[random.below(3) as usize] + (guest.next << PAGE_SHIFT);
            let mut flags = V | R | W | U | A | D;
            if guest.updates && chance(random, 30) {
                flags &= !(A | D);
            }
            if self.map(Some(number), Stage::Second, gpa, 0, frame, flags).is_some() {
                return Some(gpa);
            }
        }
        None
    }

    /// A guest with its second stage.
    pub(super) fn guest(
        &mut self,
        geometry: &'static Geometry,
        updates: bool,
        low: bool,
        random: &mut Random,
    ) -> Option<usize> {
        let root = self.root_pages()?;
        let bits = if low { 34.min(geometry.address_bits()) } else { geometry.address_bits() };
        let space = 1u64 << bits;
        let clusters = [0, 0, 0].map(|_| random.below(space) & !0x3f_ffff & (space - 1));
        let number = self.guests.len();
        self.guests.push(Guest {
            geometry,
            root,
            gscid: random.word() as u16,
            updates,
            low,
            over_windows: Vec::new(),
            clusters,
            next: 0,
            frames: HashMap::new(),
            maps: Vec::new(),
            msi_pages: Vec::new(),
        });
        for _ in 0..random.below(3) {
            let level = 1 + random.below(geometry.root() as u64) as usize;
            let size = geometry.page_bytes(level);
            let window = random.below(4) as usize;
            let gpa = random.below(space) & !(size - 1);
            let target = self.windows[window].start & !(size - 1);
            if size < space
                && geometry.pte_bytes == 8
                && self.map(Some(number), Stage::Second, gpa, level, target, V | R | W | U | A | D).is_some()
            {
                self.guests[number].over_windows.push((window, gpa, size));
            }
        }
        for _ in 0..5 + random.below(6) {
            self.random_map(number, space, random);
        }
        Some(number)
    }

    /// A leaf of a guest's second stage for data.
    fn random_map(&mut self, number: usize, space: u64, random: &mut Random) {
        let guest = &self.guests[number];
        let (geometry, updates) = (guest.geometry, guest.updates);
        let level = pick(random, &[0, 0, 0, 1, 1, 2, 3, 4]).min(geometry.root());
        let size = geometry.page_bytes(level);
        let base = if chance(random, 50) { pick(random, &guest.clusters) } else { random.below(space) };
        let gpa = (base ^ random.below(64) << PAGE_SHIFT) & !(size - 1) & (space - 1);
        let bits = if geometry.pte_bytes == 4 { 34.min(self.pas) } else { self.pas };
        let target = random.below(1 << bits) & !(size - 1);
        let mut flags = leaf_flags(updates, random) | U;
        if chance(random, 3) {
            flags &= !U;
        }
        if level == 0 && geometry.pte_bytes == 8 && chance(random, 20) {
            if self.map_group(Some(number), Stage::Second, gpa, target, flags) {
                self.guests[number].maps.push((gpa & !0xffff, 0x1_0000, None));
            }
        } else if let Some(slot) = self.map(Some(number), Stage::Second, gpa, level, target, flags) {
            self.guests[number].maps.push((gpa, size, Some(slot)));
        }
    }

    /// A naturally aligned group of 64 KiB: sixteen equal entries, since which of them is used is not specified, nor what A and D that
    /// differ between them mean. Nothing, if something is there already or in the way. Returns whether it is there.
    pub(super) fn map_group(
        &mut self,
        guest: Option<usize>,
        stage: Stage,
        address: u64,
        target: u64,
        flags: u64,
    ) -> bool {
        let pages = (0..16).map(|page| (address & !0xffff) + page * PAGE_BYTES);
        if !pages.clone().all(|page| self.is_free(guest, stage, page)) {
            return false;
        }
        for page in pages {
            self.map(guest, stage, page, 0, target & !0xffff | 0x8000, flags | N | A | D);
        }
        true
    }

    /// Writes a leaf, unless something is there already or in the way. Returns where.
    pub(super) fn map(
        &mut self,
        guest: Option<usize>,
        stage: Stage,
        address: u64,
        level: usize,
        target: u64,
        flags: u64,
    ) -> Option<u64> {
        let slot = self.slot(guest, stage, address, level, &mut Random::new(address ^ 0x7ab1e))?;
        let (geometry, big, role) = self.of(guest, stage);
        let bytes = u64::from(geometry.pte_bytes);
        if self.get(slot, bytes, big) != 0 {
            return None;
        }
        self.put(Meaning { address: slot, role, big, bytes, guest }, entry(target, flags));
        Some(slot)
    }

    fn of(&self, guest: Option<usize>, stage: Stage) -> (&'static Geometry, bool, Role) {
        match (stage, guest) {
            (Stage::First { geometry, big, .. }, _) => (geometry, big, Role::FirstStage),
            (Stage::Second, Some(number)) => (self.guests[number].geometry, self.big, Role::SecondStage),
            (Stage::Second, None) => unreachable!("a second stage belongs to a guest"),
        }
    }

    /// Address of the entry at `level` for `address`; tables above are made. `None` if a leaf is in the way or memory is full.
    pub(super) fn slot(
        &mut self,
        guest: Option<usize>,
        stage: Stage,
        address: u64,
        level: usize,
        random: &mut Random,
    ) -> Option<u64> {
        let (geometry, big, role) = self.of(guest, stage);
        let bytes = u64::from(geometry.pte_bytes);
        let low = bytes == 4;
        let (behind, mut table) = match stage {
            Stage::First { root, .. } => (guest, self.frame_of(guest, root >> PAGE_SHIFT)?),
            Stage::Second => (None, self.guests[guest?].root),
        };
        for i in (level + 1..geometry.levels.len()).rev() {
            let slot = table + bytes * geometry.levels[i].of(address);
            let value = self.get(slot, bytes, big);
            if value == 0 {
                let (place, frame) = self.table(behind, low, random)?;
                // What made the table reachable may have put something here.
                if self.get(slot, bytes, big) != 0 {
                    return None;
                }
                self.put(Meaning { address: slot, role, big, bytes, guest }, entry(place, V));
                table = frame;
                continue;
            }
            if value & (R | W | X) != 0 {
                return None;
            }
            table = self.frame_of(behind, pte::PPN.get(value))?;
        }
        Some(table + bytes * geometry.levels[level].of(address))
    }

    /// Whether nothing is mapped at the lowest level for this address, nor above it.
    fn is_free(&mut self, guest: Option<usize>, stage: Stage, address: u64) -> bool {
        let (geometry, big, _) = self.of(guest, stage);
        let bytes = u64::from(geometry.pte_bytes);
        self.slot(guest, stage, address, 0, &mut Random::new(address))
            .is_some_and(|slot| self.get(slot, bytes, big) == 0)
    }
}

/// Which page table.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stage {
    /// A first stage with this root (an address of the guest's, if there is one).
    First { geometry: &'static Geometry, root: u64, big: bool },
    /// The guest's second stage.
    Second,
}

pub(super) const V: u64 = pte::V.mask();
pub(super) const R: u64 = pte::R.mask();
pub(super) const W: u64 = pte::W.mask();
pub(super) const X: u64 = pte::X.mask();
pub(super) const U: u64 = pte::U.mask();
pub(super) const G: u64 = pte::G.mask();
pub(super) const A: u64 = pte::A.mask();
pub(super) const D: u64 = pte::D.mask();
pub(super) const N: u64 = pte::N.mask();

/// An entry for physical address `address` with these bits.
pub(super) fn entry(address: u64, flags: u64) -> u64 {
    pte::PPN.of(address >> PAGE_SHIFT) | flags
}

/// Permissions and A and D of a leaf; most often all is well.
pub(super) fn leaf_flags(updates: bool, random: &mut Random) -> u64 {
    let mut flags = V | A | D | pick(random, &[R, R | W, R | W, R | W | X, R | W | X, X, R | X]);
    if updates && chance(random, 50) {
        flags &= !pick(random, &[A | D, D]);
    } else if !updates && chance(random, 8) {
        flags &= !pick(random, &[A, D, A | D]);
    }
    flags | random.below(4) << 8
}
