//! Walks through the golden model. It is asked once for each page and each binding of a process to a device; since tables do not
//! change, its answer holds for the run: what the page grants, how large it is, and which entries a walk reads.
//!
//! Pages have numbers from 1, one for each page as one device sees it, or, where entries are shared by address space (imagined), one
//! for all devices. Where nothing is mapped, each 4 KiB are a page that grants nothing.

use crate::cache::Id;
use crate::error::FastError;
use crate::mapping::{Mapping, Page};
use crate::memory::Structure;
use crate::page_map::PageMap;
pub use crate::page_map::Place;
use crate::tables::Tables;
pub use pasidon_experiment::requests::need;
use pasidon_golden::{Golden, Parameters};
use pasidon_rtl::design::Design;
use pasidon_spec::ddt::EXT_DC_BYTES;
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::{capabilities as cap, ddtp, igs};
use pasidon_spec::request::{Request, Response};
use std::collections::{HashMap, HashSet};

/// What is known of a page.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// Its first address.
    pub base: u64,
    /// Its first physical address; 0 where nothing is mapped.
    pub frame: u64,
    /// What it grants: bits of [`need`].
    pub grants: u8,
    /// log2 of its bytes.
    pub shift: u8,
    /// Level of the first entry that a walk reads.
    pub root: u8,
    /// Entries that a walk reads, at descending levels.
    pub reads: u8,
    /// A walk's result may be kept.
    pub cacheable: bool,
    /// The address space, for an imagined walk cache.
    pub space: u32,
}

/// A kind of walk: there are no more than levels where it may begin times levels where it may end, twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Class {
    /// Level of the first entry that is read.
    pub root: u8,
    /// Entries that are read.
    pub reads: u8,
    /// Its result may be kept.
    pub cacheable: bool,
}

impl Class {
    /// Level of the last entry that is read.
    pub fn leaf(&self) -> u8 {
        (self.root + 1).saturating_sub(self.reads)
    }
}

impl Known {
    /// Level of the last entry that a walk reads.
    pub fn leaf(&self) -> u8 {
        (self.root + 1).saturating_sub(self.reads)
    }
}

/// A process on a device.
#[derive(Clone, Debug, Default)]
pub struct Binding {
    /// Number of the device, from 0.
    pub device: u32,
    /// Number of the process, from 0.
    pub process: u32,
    /// device_id.
    pub device_id: u32,
    /// process_id.
    pub process_id: u32,
    /// Addresses that a walk reads to find the device context: entries from the root, then the context.
    pub ddt: Vec<u64>,
    /// Addresses that a walk reads to find the process context.
    pub pdt: Vec<u64>,
    /// Which of the maps is its own.
    map: usize,
}

/// All pages that were asked for so far.
pub struct Pages {
    /// The tables.
    pub tables: Tables,
    golden: Golden,
    bindings: Vec<Binding>,
    maps: Vec<PageMap>,
    known: Vec<Known>,
    classes: Vec<Class>,
    /// By page: addresses of the entries that a walk reads, the first first.
    paths: Vec<[u64; 5]>,
    /// Superpages by map, first address and size.
    large: HashMap<(usize, u64, u32), Id>,
    /// Pages and holes that are in the tables, by process, first address and size.
    mapped: HashSet<(u32, u64, u32)>,
    compared: u32,
    shared: bool,
}

/// What the golden model needs to know of a design for tables as [`Tables`] makes them.
fn parameters(design: &Design) -> Parameters {
    let features = [
        (true, cap::SV39),
        (design.sv48, cap::SV48),
        (design.sv57, cap::SV57),
        (design.pd8, cap::PD8),
        (design.pd17, cap::PD17),
        (design.pd20, cap::PD20),
        (design.msi_flat, cap::MSI_FLAT),
    ];
    let there = features.into_iter().filter(|(there, _)| *there).map(|(_, feature)| feature);
    Parameters::new(Parameters::capabilities_of(there, igs::WSI, design.pas))
}

impl Pages {
    /// No process is bound yet. With `shared`, pages of one address space have one number whatever the device.
    ///
    /// # Errors
    /// A design to which nothing can be bound.
    pub fn new(design: &Design, shared: bool) -> Result<Pages, FastError> {
        let mut tables = Tables::new(design)?;
        let mut golden = Golden::new(parameters(design));
        let (mode, root) = tables.directory();
        let value = ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(root >> 12);
        golden.write_register(ddtp::REG.offset, ddtp::REG.bytes, value);
        golden.run(&mut tables.memory);
        // What is checked in a walk only must hold for every address that an entry answers.
        let compared = (9 * design.page_table_levels() + u32::from(PAGE_SHIFT) - 1).min(design.pas);
        Ok(Pages {
            tables,
            golden,
            bindings: Vec::new(),
            maps: Vec::new(),
            known: vec![Known::default()],
            classes: Vec::new(),
            paths: vec![[0; 5]],
            large: HashMap::new(),
            mapped: HashSet::new(),
            compared,
            shared,
        })
    }

    /// The number of a process on a device, which is bound to it if it was not.
    ///
    /// # Errors
    /// Ids or addresses that the design does not have.
    pub fn bind(&mut self, device: u32, process: u32, mapping: &dyn Mapping) -> Result<usize, FastError> {
        let same = |binding: &Binding| (binding.device, binding.process) == (device, process);
        if let Some(found) = self.bindings.iter().position(same) {
            return Ok(found);
        }
        self.tables.bind(device, process, mapping.highest(process))?;
        let known = self.bindings.iter().find(|binding| self.shared && binding.process == process);
        let map = known.map_or(self.maps.len(), |binding| binding.map);
        if map == self.maps.len() {
            self.maps.push(PageMap::default());
        }
        let (device_id, process_id) = (self.tables.device_id(device)?, self.tables.process_id(process)?);
        let empty = Binding { device, process, device_id, process_id, map, ..Binding::default() };
        self.bindings.push(empty);
        // Whatever is asked, a walk passes both directories first.
        let binding = self.bindings.len() - 1;
        self.ask(binding, 0, need::READ);
        let (ddt, pdt) = self.directory_reads();
        (self.bindings[binding].ddt, self.bindings[binding].pdt) = (ddt, pdt);
        Ok(binding)
    }

    /// What is known of a binding.
    pub fn binding(&self, binding: usize) -> &Binding {
        &self.bindings[binding]
    }

    /// All bindings.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// What is known of a page.
    #[inline]
    pub fn known(&self, id: Id) -> &Known {
        &self.known[id as usize]
    }

    /// The physical address of `address`, which is in this page.
    #[inline]
    pub fn physical(&self, id: Id, address: u64) -> u64 {
        let known = self.known(id);
        known.frame | (address - known.base)
    }

    /// The address of the entry that a walk for the 4 KiB page `vpn` reads, at position `step` of its way.
    pub fn entry(&self, id: Id, vpn: u64, step: usize) -> u64 {
        let address = self.paths[id as usize][step];
        let known = self.known(id);
        if step + 1 == usize::from(known.reads) && known.leaf() == 0 {
            // Each 4 KiB of a NAPOT range have an entry of their own.
            address & !0xff8 | (vpn & 511) << 3
        } else {
            address
        }
    }

    /// The pages that were asked for so far, by number of the 4 KiB page.
    #[inline]
    pub(crate) fn map(&mut self, binding: usize) -> &mut PageMap {
        let map = self.bindings[binding].map;
        &mut self.maps[map]
    }

    /// The page of `address`.
    ///
    /// # Errors
    /// Pages that don't fit into the design's physical address space.
    #[inline]
    pub fn find(&mut self, binding: usize, address: u64, mapping: &dyn Mapping) -> Result<Place, FastError> {
        let place = self.map(binding).get(address >> PAGE_SHIFT);
        if place.id == 0 { self.meet(binding, address, mapping) } else { Ok(place) }
    }

    /// A 4 KiB page that is new.
    #[cold]
    fn meet(&mut self, binding: usize, address: u64, mapping: &dyn Mapping) -> Result<Place, FastError> {
        let Binding { process, map, .. } = self.bindings[binding];
        let page = mapping.page(process, address);
        let shift = page.map_or(u32::from(PAGE_SHIFT), |page| page.shift);
        let base = address >> shift << shift;
        let id = match self.large.get(&(map, base, shift)) {
            Some(&id) => id,
            None => self.walk(binding, address, page)?,
        };
        if shift > u32::from(PAGE_SHIFT) {
            self.large.insert((map, base, shift), id);
        }
        let known = *self.known(id);
        let place = Place { id, grants: known.grants, shift: known.shift, class: self.class(&known) };
        self.maps[map].set(address >> PAGE_SHIFT, place);
        Ok(place)
    }

    /// The number of a kind of walk.
    fn class(&mut self, known: &Known) -> u8 {
        let class = Class { root: known.root, reads: known.reads, cacheable: known.cacheable };
        let found = self.classes.iter().position(|other| *other == class);
        found.unwrap_or_else(|| {
            self.classes.push(class);
            self.classes.len() - 1
        }) as u8
    }

    /// A kind of walk.
    #[inline]
    pub fn class_of(&self, place: Place) -> Class {
        self.classes[usize::from(place.class)]
    }

    /// All kinds of walks so far.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    /// Maps a page where it is not yet, and has the golden model walk to it.
    fn walk(&mut self, binding: usize, address: u64, page: Option<Page>) -> Result<Id, FastError> {
        let process = self.bindings[binding].process;
        let shift = page.map_or(u32::from(PAGE_SHIFT), |page| page.shift);
        if self.mapped.insert((process, address >> shift << shift, shift)) {
            self.tables.map(process, address, page)?;
        }
        let kinds = [need::READ, need::WRITE, need::EXEC];
        let translation = kinds.into_iter().find_map(|kind| self.ask(binding, address, kind).success());
        let entries: Vec<u64> = self
            .tables
            .memory
            .reads
            .iter()
            .copied()
            .filter(|&at| matches!(self.tables.memory.structure(at), Some(Structure::FirstStage(_))))
            .collect();
        let root = match entries.first().and_then(|&at| self.tables.memory.structure(at)) {
            Some(Structure::FirstStage(level)) => level,
            _ => 0,
        };
        let shift = translation.map_or(PAGE_SHIFT, |t| t.page_shift);
        let bit = |on: bool, bit: u8| if on { bit } else { 0 };
        let grants = translation
            .map_or(0, |t| bit(t.read, need::READ) | bit(t.write, need::WRITE) | bit(t.exec, need::EXEC));
        let known = Known {
            base: address >> shift << shift,
            frame: translation.map_or(0, |t| t.spa >> shift << shift),
            grants,
            shift,
            root,
            reads: entries.len() as u8,
            cacheable: u32::from(shift) <= self.compared,
            space: process,
        };
        let mut path = [0; 5];
        path.iter_mut().zip(&entries).for_each(|(slot, &at)| *slot = at);
        self.known.push(known);
        self.paths.push(path);
        Ok(self.known.len() as Id - 1)
    }

    /// Asks the golden model. The reads of tables are noted.
    fn ask(&mut self, binding: usize, iova: u64, kind: u8) -> Response {
        let Binding { device_id, process_id, .. } = self.bindings[binding];
        let request = Request {
            device_id,
            process_id: Some(process_id),
            write: kind == need::WRITE,
            exec: kind == need::EXEC,
            iova,
            ..Request::default()
        };
        self.tables.memory.reads.clear();
        self.golden.translate(&mut self.tables.memory, &request)
    }

    /// The first addresses of what the walk before read of the directories.
    fn directory_reads(&self) -> (Vec<u64>, Vec<u64>) {
        let (mut ddt, mut pdt) = (Vec::new(), Vec::new());
        let aligned = |at: u64, bytes: u64| at.is_multiple_of(bytes);
        let context = if self.tables.extended_contexts() { EXT_DC_BYTES } else { EXT_DC_BYTES / 2 };
        for &at in &self.tables.memory.reads {
            match self.tables.memory.structure(at) {
                Some(Structure::Ddt(level)) if level > 0 || aligned(at, context) => ddt.push(at),
                Some(Structure::Pdt(level)) if level > 0 || aligned(at, 16) => pdt.push(at),
                _ => {}
            }
        }
        (ddt, pdt)
    }
}
