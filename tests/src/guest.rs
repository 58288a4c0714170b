//! A guest: a device with two stages of translation, on the hardware and on the golden model at once. Every answer, fault record
//! and byte of memory is compared; a test adds what must come out.

use crate::designs;
use pasidon_cosim::verilated::{Cache, Flavour, Verilated};
use pasidon_cosim::{Extent, Pace};
use pasidon_rtl::design::Design;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{BASE_DC_BYTES, BASE_DDI, DeviceContext, EXT_DC_BYTES, EXT_DDI, dc, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::memory::Failure;
use pasidon_spec::page_table::{Geometry, SV39, SV39X4, pte};
use pasidon_spec::pdt::{PC_BYTES, PDI, ProcessContext, pdte, pdtp_mode};
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{cqb, cqcsr, cqt, ddtp, fctl, fqb, fqcsr};
use pasidon_spec::request::{Request, Response, Translation};
use pasidon_verify::engine::{Both, Engine, EngineMemory, Model, Rtl, parameters};
use std::ops::Range;

/// The device.
pub const DID: u32 = 0x15;
/// An address of its.
pub const IOVA: u64 = 0x12_3456_7000;
/// Guest physical addresses differ from the physical ones of the guest's own tables by this bit.
pub const GUEST: u64 = 1 << 33;

/// Where the device directory of one level is.
pub const DIRECTORY: u64 = 0x10_0000;
/// The fault queue.
pub const FAULTS: u64 = 0x11_0000;
/// Where the command queue is.
pub const COMMANDS: u64 = 0x12_0000;
const TABLES: u64 = 0x20_0000;

/// The guest and its tables. What memory holds is put there before [`Guest::reset`], which clears every cache.
pub struct Guest {
    /// The design.
    pub design: Design,
    /// Both engines.
    pub both: Both,
    /// First-stage format.
    pub first: &'static Geometry,
    /// Second-stage format.
    pub second: &'static Geometry,
    /// Guest physical address of the first stage's root table.
    pub root: u64,
    /// Physical address of the second stage's root table.
    pub guest_root: u64,
    /// The device context.
    pub context: DeviceContext,
    /// Written to `fctl` at each reset. With BE, the device context is big-endian; the tables are what a test makes of them.
    pub fctl: u64,
    next: u64,
    /// Commands since the last reset.
    commands: u64,
}

impl Guest {
    /// On the design `name`: an empty first stage and a second stage that maps its tables only, both with 4-KiB pages.
    ///
    /// # Panics
    /// If there is no model.
    pub fn new(name: &str, first: &'static Geometry, second: &'static Geometry) -> Guest {
        let design = designs::design(name);
        let cache = Cache::in_workspace().quiet();
        let verilated = Verilated::load(&designs::generated(name), name, &cache, Flavour::Fast)
            .unwrap_or_else(|error| panic!("{error}"));
        let memory = || EngineMemory::sparse(Extent::Everywhere { width: design.pas });
        let rtl = Rtl::with_model(&design, verilated, memory(), Pace::even(3)).expect("a model");
        let model = Model::new(parameters(&design), design.ports as usize, memory());
        let mut guest = Guest {
            both: Both::new(rtl, model),
            design,
            first,
            second,
            root: 0,
            guest_root: TABLES,
            context: DeviceContext::default(),
            fctl: 0,
            next: TABLES + 0x4000,
            commands: 0,
        };
        guest.root = guest.guest_page();
        guest.context = DeviceContext {
            tc: dc::tc::V.of(1),
            iohgatp: dc::iohgatp::MODE.of(second.mode)
                | dc::iohgatp::GSCID.of(0x2b)
                | dc::iohgatp::PPN.of(guest.guest_root >> 12),
            ta: dc::ta::PSCID.of(0x5a5a5),
            fsc: dc::fsc::MODE.of(first.mode) | dc::fsc::PPN.of(guest.root >> 12),
            ..DeviceContext::default()
        };
        guest
    }

    /// Sv39 over Sv39x4 on the design `full`.
    pub fn plain() -> Guest {
        Guest::new("full", &SV39, &SV39X4)
    }

    /// A page of physical memory that nothing uses yet.
    pub fn page(&mut self) -> u64 {
        self.next += 0x1000;
        self.next - 0x1000
    }

    /// A page of the guest's own, mapped with every permission; its guest physical address.
    pub fn guest_page(&mut self) -> u64 {
        let page = self.page();
        self.map_guest(page | GUEST, 0, entry(page, ALL));
        page | GUEST
    }

    /// The doublewords of tables that are not 0: those of the second stage, and those in the guest's own memory.
    pub fn tables(&mut self) -> (Vec<u64>, Vec<u64>) {
        let (mut second, mut rest) = (vec![], vec![]);
        let mut tables: Vec<u64> = (0..4).map(|i| self.guest_root + 0x1000 * i).collect();
        let mut at = 0;
        while let Some(&table) = tables.get(at) {
            for slot in (table..table + 0x1000).step_by(8) {
                let value = self.load(slot);
                if value != 0 {
                    second.push(slot);
                }
                if value & 0xf == pte::V.mask() {
                    tables.push(pte::PPN.get(value) << 12);
                }
            }
            at += 1;
        }
        for slot in (TABLES..self.next).step_by(8) {
            if self.load(slot) != 0 && !tables.contains(&(slot & !0xfff)) {
                rest.push(slot);
            }
        }
        (second, rest)
    }

    /// The doubleword at `address`.
    ///
    /// # Panics
    /// If there is no memory.
    pub fn load(&mut self, address: u64) -> u64 {
        self.both.load(address).unwrap_or_else(|| panic!("no memory at {address:#x}"))
    }

    /// Writes the doubleword at `address`.
    pub fn store(&mut self, address: u64, value: u64) {
        assert!(self.both.store(address, value, false), "no memory at {address:#x}");
    }

    fn store_entry(&mut self, geometry: &Geometry, at: u64, value: u64) {
        if geometry.pte_bytes == 8 {
            return self.store(at, value);
        }
        let (word, shift) = (at & !7, 8 * (at & 4));
        let old = self.load(word);
        self.store(word, old & !(0xffff_ffff << shift) | value << shift);
    }

    fn load_entry(&mut self, geometry: &Geometry, at: u64) -> u64 {
        let word = self.load(at & !7);
        if geometry.pte_bytes == 8 { word } else { word >> (8 * (at & 4)) & 0xffff_ffff }
    }

    /// Physical address of the second-stage entry at `level` for a guest physical address; tables above are made.
    pub fn guest_slot(&mut self, gpa: u64, level: usize) -> u64 {
        let g = self.second;
        let mut table = self.guest_root;
        for i in (level + 1..=g.root()).rev() {
            let at = table + g.levels[i].of(gpa) * u64::from(g.pte_bytes);
            if self.load_entry(g, at) & 1 == 0 {
                let page = self.page();
                self.store_entry(g, at, entry(page, pte::V.mask()));
            }
            table = pte::PPN.get(self.load_entry(g, at)) << 12;
        }
        table + g.levels[level].of(gpa) * u64::from(g.pte_bytes)
    }

    /// Writes the second-stage entry at `level` for a guest physical address.
    pub fn map_guest(&mut self, gpa: u64, level: usize, value: u64) {
        let slot = self.guest_slot(gpa, level);
        self.store_entry(self.second, slot, value);
    }

    /// Physical address of the first-stage entry at `level` for an address; tables above are made in the guest's memory.
    pub fn slot(&mut self, iova: u64, level: usize) -> u64 {
        let g = self.first;
        let mut table = self.root;
        for i in (level + 1..=g.root()).rev() {
            let at = (table + g.levels[i].of(iova) * u64::from(g.pte_bytes)) & !GUEST;
            if self.load_entry(g, at) & 1 == 0 {
                let page = self.guest_page();
                self.store_entry(g, at, entry(page, pte::V.mask()));
            }
            table = pte::PPN.get(self.load_entry(g, at)) << 12;
        }
        (table + g.levels[level].of(iova) * u64::from(g.pte_bytes)) & !GUEST
    }

    /// Writes the first-stage entry at `level` for an address.
    pub fn map(&mut self, iova: u64, level: usize, value: u64) {
        let slot = self.slot(iova, level);
        self.store_entry(self.first, slot, value);
    }

    /// Puts a process directory of mode `mode` in the guest's memory, with one process whose address space is the first stage.
    /// Returns the physical address of its process context.
    pub fn add_process(&mut self, mode: u64, process_id: u32) -> u64 {
        let levels = pdtp_mode::levels(mode).expect("a process-directory mode");
        let pdtp = self.guest_page();
        let fsc = self.context.fsc;
        self.context.tc |= dc::tc::PDTV.mask();
        self.context.fsc = dc::fsc::MODE.of(mode) | dc::fsc::PPN.of(pdtp >> 12);
        let mut table = pdtp & !GUEST;
        for i in (1..levels).rev() {
            let page = self.guest_page();
            let at = table + 8 * PDI[i].of(process_id.into());
            self.store(at, pdte::V.of(1) | pdte::PPN.of(page >> 12));
            table = page & !GUEST;
        }
        let at = table + PC_BYTES * PDI[0].of(process_id.into());
        let context = ProcessContext { ta: 7 | pasidon_spec::pdt::pc::ta::PSCID.of(0x77), fsc };
        for (i, word) in context.encode().into_iter().enumerate() {
            self.store(at + 8 * i as u64, word);
        }
        at
    }

    /// Resets both engines, writes the device context, and switches on translation, the queues and their memory.
    pub fn reset(&mut self) {
        let extended = self.design.extended_contexts();
        let (bytes, slices) = if extended { (EXT_DC_BYTES, EXT_DDI) } else { (BASE_DC_BYTES, BASE_DDI) };
        let at = DIRECTORY + bytes * slices[0].of(DID.into());
        let words = self.context.extended();
        for (i, word) in words.into_iter().take(bytes as usize / 8).enumerate() {
            self.store(at + 8 * i as u64, self.ordered(word));
        }
        self.commands = 0;
        let fails = "the engines agree";
        self.both.reset().expect(fails);
        for (register, value) in [
            (&fctl::REG, self.fctl),
            (&fqb::REG, Queue::of_faults(FAULTS, 7).base()),
            (&fqcsr::REG, fqcsr::FQEN.of(1)),
            (&cqb::REG, Queue::of_commands(COMMANDS, 7).base()),
            (&cqcsr::REG, cqcsr::CQEN.of(1)),
            (&ddtp::REG, ddtp::IOMMU_MODE.of(iommu_mode::LVL1) | ddtp::PPN.of(DIRECTORY >> 12)),
        ] {
            self.both.write_register(register.offset, register.bytes, value).expect(fails);
            self.both.settle().unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// A doubleword in the byte order of `fctl.BE`.
    pub fn ordered(&self, word: u64) -> u64 {
        if fctl::BE.is_set(self.fctl) { word.swap_bytes() } else { word }
    }

    /// Has commands executed, of which the queue holds 127 from one reset to the next.
    ///
    /// # Panics
    /// If the engines differ.
    pub fn execute(&mut self, commands: &[Command]) {
        for command in commands {
            for word in command.encode() {
                self.store(COMMANDS + 8 * self.commands, self.ordered(word));
                self.commands += 1;
            }
        }
        self.both
            .write_register(cqt::REG.offset, cqt::REG.bytes, self.commands / 2)
            .expect("the engines agree");
        self.both.settle().unwrap_or_else(|error| panic!("{commands:?}: {error}"));
    }

    /// A read of the device.
    pub fn read(iova: u64) -> Request {
        Request { device_id: DID, iova, ..Request::default() }
    }

    /// A write of the device.
    pub fn write(iova: u64) -> Request {
        Request { write: true, ..Guest::read(iova) }
    }

    /// A read for execute of the device.
    pub fn exec(iova: u64) -> Request {
        Request { exec: true, ..Guest::read(iova) }
    }

    /// The answer to a request with the caches as they are.
    ///
    /// # Panics
    /// If the engines differ.
    pub fn ask(&mut self, what: &str, request: Request) -> Response {
        self.both.translate(0, &request).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// From cold caches, the translation of a request.
    ///
    /// # Panics
    /// If it faults, or the engines differ.
    pub fn expect(&mut self, what: &str, request: Request) -> Translation {
        self.reset();
        let response = self.ask(what, request);
        response.success().unwrap_or_else(|| panic!("{what}: {response:x?}"))
    }

    /// From cold caches, the fault of a request: its cause, and `iotval2` of its record.
    ///
    /// # Panics
    /// If it is another, or the engines differ.
    pub fn expect_fault(&mut self, what: &str, request: Request, cause: Cause, iotval2: u64) {
        self.reset();
        let response = self.ask(what, request);
        let Some(fault) = response.fault() else { panic!("{what}: {response:x?}") };
        assert_eq!(fault.cause, cause, "{what}");
        let record: Vec<u64> = (0..4).map(|i| self.load(FAULTS + 8 * i)).collect();
        assert_eq!((record[0] & 0xfff, record[3]), (cause.code().into(), iotval2), "{what}: the record");
        self.store(FAULTS, 0);
    }

    /// Lets accesses to `range` fail while `body` runs.
    pub fn with_failure(&mut self, range: Range<u64>, failure: Failure, body: impl FnOnce(&mut Guest)) {
        self.both.inject(range, failure);
        body(self);
        self.both.heal();
    }
}

/// A user page with every permission, accessed and dirty.
pub const ALL: u64 = crate::tables::bits::ALL;

/// An entry for `address` with these bits; those of entries of 4 bytes are the same.
pub fn entry(address: u64, flags: u64) -> u64 {
    pte::PPN.of(address >> 12) | flags
}
