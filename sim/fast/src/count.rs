//! Counting: one request at a time, one of each channel in turn. Then nothing overlaps, and the counts are those of the hardware,
//! exactly.
//!
//! A request of a page that its channel has just used, with an L1 that has not changed since, is a hit: that is all that is done for it. Anything else goes the hardware's way: L1, then DDTC, PDTC and L2 together, then a walk.

use crate::cache::Id;
use crate::cache::context_cache::ContextCache;
use crate::cache::l1_tlb::L1Tlb;
use crate::cache::l2_tlb::L2Tlb;
use crate::cache::walk_cache::WalkCache;
use crate::channel::{Channel, Feed, Request};
use crate::error::FastError;
use crate::mapping::Mapping;
use crate::pages::{Pages, Place};
use crate::walks::WalkReads;
use pasidon_experiment::Counts;
use pasidon_experiment::counts::CacheCounts;
use pasidon_experiment::imagined::Imagined;
use pasidon_experiment::requests::needs;
use pasidon_experiment::stream::BATCH;
use pasidon_experiment::trace::TraceOp;
use pasidon_rtl::design::Design;

/// Pages that a channel is remembered to have used.
const RECENT: usize = 8;

/// Where a page is remembered.
#[inline]
fn recent_slot(address: u64) -> usize {
    ((address >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61) as usize
}

/// A page that a channel used: an address whose bits under the mask equal the base is in it.
#[derive(Clone, Copy, Default)]
struct Recent {
    base: u64,
    mask: u64,
    grants: u8,
    /// The L1's, when it had the page.
    generation: u64,
}

/// Accesses whose pages are looked up together.
const WINDOW: usize = 32;
/// After so few quick hits the next accesses are taken to be of different pages.
const FEW: usize = 4;

/// The pages of the next accesses of a batch: looked up together, their cache misses overlap.
#[derive(Clone, Copy)]
struct Window {
    /// Number of the batch, and the first access.
    batch: u64,
    first: usize,
    places: [Place; WINDOW],
    /// The last access that was no quick hit.
    slow: usize,
}

impl Default for Window {
    fn default() -> Window {
        Window { batch: 0, first: 0, places: [Place::default(); WINDOW], slow: 0 }
    }
}

impl Window {
    /// The page of the access at `index` of batch `batch`; unknown if it is not in the window.
    #[inline]
    fn get(&self, batch: u64, index: usize) -> Place {
        let at = index.wrapping_sub(self.first);
        if batch == self.batch && at < WINDOW { self.places[at] } else { Place::default() }
    }
}

/// A channel under way.
struct Source {
    window: Window,
    feed: Feed,
    binding: usize,
    port: usize,
    recent: [Recent; RECENT],
    accesses: u64,
    bytes: u64,
    /// Lookups of the port's L1 that hit.
    hits: u64,
}

/// What a request that missed in L1 brings.
struct Miss {
    binding: usize,
    port: usize,
    address: u64,
    place: Place,
    granted: bool,
}

/// The hardware's caches with what is behind them.
struct Hierarchy<'a> {
    pages: Pages,
    mapping: &'a dyn Mapping,
    imagined: Imagined,
    l1: Vec<L1Tlb>,
    l2: L2Tlb,
    ddtc: ContextCache,
    pdtc: ContextCache,
    walk_cache: WalkCache,
    reads: WalkReads,
    walks: u64,
    faults: u64,
}

/// Counts what the design does when the requests of the channels come one at a time, one of each channel in turn.
///
/// # Errors
/// [`FastError`]
pub fn count(
    design: &Design,
    mapping: &dyn Mapping,
    imagined: &Imagined,
    channels: Vec<Channel>,
) -> Result<Counts, FastError> {
    let mut hierarchy = Hierarchy::new(design, mapping, imagined)?;
    let mut sources = Vec::with_capacity(channels.len());
    for channel in channels {
        sources.push(Source {
            binding: hierarchy.pages.bind(channel.device, channel.process, mapping)?,
            port: (channel.port % design.ports) as usize,
            feed: Feed::new(channel.stream, channel.requests, channel.part)?,
            recent: [Recent::default(); RECENT],
            window: Window::default(),
            accesses: 0,
            bytes: 0,
            hits: 0,
        });
    }
    let mut active: Vec<usize> = (0..sources.len()).collect();
    while !active.is_empty() {
        let limit = if active.len() == 1 { BATCH } else { 1 };
        let mut failure = None;
        active.retain(|&index| match hierarchy.turn(&mut sources[index], limit) {
            Ok(goes_on) => goes_on,
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
    }
    Ok(hierarchy.counts(&sources))
}

impl<'a> Hierarchy<'a> {
    fn new(
        design: &Design,
        mapping: &'a dyn Mapping,
        imagined: &Imagined,
    ) -> Result<Hierarchy<'a>, FastError> {
        Ok(Hierarchy {
            pages: Pages::new(design, imagined.shared)?,
            mapping,
            imagined: *imagined,
            l1: vec![L1Tlb::new(design.l1_entries, imagined.l1_replacement); design.ports as usize],
            l2: L2Tlb::new(design.l2_sets, design.l2_ways, imagined.l2_replacement),
            ddtc: ContextCache::new(design.ddtc_entries),
            pdtc: ContextCache::new(design.pdtc_entries),
            walk_cache: WalkCache::new(imagined.walk_cache),
            reads: WalkReads::default(),
            walks: 0,
            faults: 0,
        })
    }

    /// A channel's turn: `limit` requests, or a few more. False at its end.
    #[inline]
    fn turn(&mut self, source: &mut Source, limit: usize) -> Result<bool, FastError> {
        let mut done = 0;
        while done < limit {
            let quick = self.quick_hits(source, limit);
            if quick > 0 {
                source.feed.at += quick;
                source.feed.left -= quick as u64;
                source.accesses += quick as u64;
                source.hits += quick as u64;
                done += quick;
                continue;
            }
            let place = self.look_ahead(source)?;
            let Some(request) = source.feed.next_request()? else { return Ok(false) };
            self.request(source, &request, place)?;
            done += 1;
        }
        Ok(true)
    }

    /// The page of the next request, if that is known already; those of the accesses behind it, if they seem to be scattered.
    #[inline]
    fn look_ahead(&mut self, source: &mut Source) -> Result<Place, FastError> {
        let Source { feed, window, binding, .. } = source;
        if feed.left == 0 || !feed.is_whole() || !feed.fill()? {
            return Ok(Place::default());
        }
        let (batch, index) = (feed.batches, feed.at);
        let place = window.get(batch, index);
        let scattered = index.wrapping_sub(window.slow) <= FEW;
        window.slow = index;
        if place.id != 0 || !scattered {
            return Ok(place);
        }
        (window.batch, window.first) = (batch, index);
        let map = self.pages.map(*binding);
        for (place, access) in window.places.iter_mut().zip(&feed.batch[index..]) {
            *place = map.get(access.address >> 12);
        }
        Ok(window.places[0])
    }

    /// How many of the next accesses are in the page that was used last, at most `limit`.
    #[inline]
    fn quick_hits(&self, source: &mut Source, limit: usize) -> usize {
        let (feed, recent) = (&source.feed, &source.recent);
        let now = self.l1[source.port].generation;
        if !feed.is_whole() {
            return 0;
        }
        let end = feed.at + limit.min(feed.batch.len() - feed.at).min(feed.left.min(BATCH as u64) as usize);
        let mut bytes = 0;
        let mut count = 0;
        for access in &feed.batch[feed.at..end] {
            let Recent { base, mask, grants, generation } = recent[recent_slot(access.address)];
            let inside = generation == now
                && (access.address ^ base) & mask == 0
                && (access.address & 0xfff) + u64::from(access.size) <= 4096;
            if !inside || needs(access.op) & grants == 0 || access.op == TraceOp::Modify {
                break;
            }
            bytes += u64::from(access.size);
            count += 1;
        }
        source.bytes += bytes;
        count
    }

    #[inline]
    fn request(&mut self, source: &mut Source, request: &Request, place: Place) -> Result<(), FastError> {
        let Source { binding, port, .. } = *source;
        source.accesses += 1;
        let place = match place.id {
            0 => self.pages.find(binding, request.address, self.mapping)?,
            _ => place,
        };
        let granted = place.grants & request.need != 0;
        let mut kept = granted;
        if granted && self.l1[port].holds(place.id) {
            source.hits += 1;
            self.l1[port].touch(place.id);
        } else {
            kept = self.miss(&Miss { binding, port, address: request.address, place, granted })?;
        }
        if granted {
            source.bytes += u64::from(request.bytes);
        } else {
            self.faults += 1;
        }
        let mask = u64::MAX << place.shift;
        // What was not kept is in no L1.
        let grants = if kept { place.grants } else { 0 };
        source.recent[recent_slot(request.address)] =
            Recent { base: request.address & mask, mask, grants, generation: self.l1[port].generation };
        Ok(())
    }

    /// What L1 does not answer. Says whether L1 has the page afterwards.
    fn miss(&mut self, miss: &Miss) -> Result<bool, FastError> {
        let &Miss { binding, port, address, place, granted } = miss;
        let (device, vpn) = (self.pages.binding(binding).device + 1, address >> 12);
        let dc_hit = self.ddtc.lookup(device);
        let pc_hit = self.pdtc.lookup(binding as Id + 1);
        let (known, _) = self.l2.lookup(vpn, place.id, granted);
        if !known {
            if !dc_hit {
                self.reads.device();
                self.ddtc.fill(device);
            }
            if !pc_hit {
                self.reads.process();
                self.pdtc.fill(binding as Id + 1);
            }
            self.walk(vpn, place);
        }
        let kept = granted && self.pages.class_of(place).cacheable;
        if kept {
            self.l1[port].fill_absent(place.id);
            if !known {
                self.l2.fill(vpn, place.id);
                if self.imagined.line_fill || self.imagined.prefetch > 0 {
                    self.bring_more(miss)?;
                }
            }
        }
        Ok(kept)
    }

    /// A walk through the page table.
    #[inline]
    fn walk(&mut self, vpn: u64, place: Place) {
        self.walks += 1;
        let class = self.pages.class_of(place);
        if class.reads == 0 {
            return;
        }
        let mut first = class.root;
        if self.walk_cache.exists() {
            let space = self.pages.known(place.id).space;
            first = self.walk_cache.walk(space, vpn, class.root.into(), class.leaf().into()) as u8;
        }
        self.reads.table(first, class.leaf());
    }

    /// Pages that nobody has asked for yet: imagined.
    fn bring_more(&mut self, miss: &Miss) -> Result<(), FastError> {
        let page = *self.pages.known(miss.place.id);
        if self.imagined.line_fill && page.shift == 12 {
            let line = page.base & !0x7fff;
            for address in (line..line + 0x8000).step_by(4096).filter(|&address| address != page.base) {
                self.bring(miss, address, false)?;
            }
        }
        for next in 1..=u64::from(self.imagined.prefetch) {
            self.bring(miss, page.base + (next << page.shift), true)?;
        }
        Ok(())
    }

    /// Keeps the page of `address`, in L2 if there is one; by a walk, or because its entry has been read already.
    fn bring(&mut self, miss: &Miss, address: u64, walks: bool) -> Result<(), FastError> {
        let (place, vpn) = (self.pages.find(miss.binding, address, self.mapping)?, address >> 12);
        let (id, page) = (place.id, *self.pages.known(place.id));
        let here = self.l1[miss.port].holds(id) || self.l2.holds(vpn, id);
        if page.grants == 0 || !page.cacheable || here || (!walks && page.shift != 12) {
            return Ok(());
        }
        if walks {
            self.walk(vpn, place);
        }
        if self.l2.exists() {
            self.l2.fill(vpn, id);
        } else {
            self.l1[miss.port].fill(id);
        }
        Ok(())
    }

    fn counts(&self, sources: &[Source]) -> Counts {
        let sum = |of: fn(&Source) -> u64| sources.iter().map(of).sum::<u64>();
        let accesses = sum(|source| source.accesses);
        let mut l1 =
            CacheCounts { lookups: accesses, hits: sum(|source| source.hits), ..CacheCounts::default() };
        for tlb in &self.l1 {
            l1.fills += tlb.counts.fills;
            l1.evicted += tlb.counts.evicted;
            l1.overlapped += tlb.counts.overlapped;
        }
        let (ddt_levels, pdt_levels) = self.pages.tables.directory_levels();
        Counts {
            accesses,
            bytes: sum(|source| source.bytes),
            requests: accesses,
            faults: self.faults,
            l1,
            l2: self.l2.counts,
            ddtc: self.ddtc.counts,
            pdtc: self.pdtc.counts,
            merged: 0,
            walks: self.walks,
            reads: self.reads.reads(ddt_levels, pdt_levels),
            page_requests: 0,
        }
    }
}
