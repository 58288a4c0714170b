//! A machine for the model: sparse memory with failures, tables built in it, queues switched on.

use std::collections::HashMap;
use std::ops::Range;

use pasidon_golden::{Golden, Memory, Parameters};
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{BASE_DDI, DeviceContext, EXT_DDI, dc, iommu_mode};
use pasidon_spec::fault::FaultRecord;
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::page_table::{Geometry, SV39, SV39X4, pte};
use pasidon_spec::pdt::{PDI, ProcessContext, pc};
use pasidon_spec::registers::{self as reg, Register};
use pasidon_spec::request::{Fault, Request, Response, Translation};

/// What goes wrong at an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Failing {
    Read,
    Write,
    Corrupt,
}

/// Memory: everything is there, and 0 until written.
#[derive(Clone, Default)]
pub struct Ram {
    words: HashMap<u64, u64>,
    pub failures: Vec<(Range<u64>, Failing)>,
    /// Before the next compare-and-exchange, somebody else writes this.
    pub race: Option<(u64, u64)>,
    /// Number of reads and of successful writes.
    pub reads: u64,
    pub writes: u64,
}

impl Ram {
    pub fn get(&self, address: u64) -> u64 {
        self.words.get(&(address & !7)).copied().unwrap_or(0)
    }

    pub fn set(&mut self, address: u64, value: u64) {
        self.words.insert(address & !7, value);
    }

    /// The 4 bytes at `address`.
    pub fn get4(&self, address: u64) -> u32 {
        (self.get(address) >> (8 * (address & 4))) as u32
    }

    pub fn set4(&mut self, address: u64, value: u32) {
        let shift = 8 * (address & 4);
        let word = self.get(address) & !(0xffff_ffff << shift) | u64::from(value) << shift;
        self.set(address, word);
    }

    fn fails(&self, address: u64, what: Failing) -> bool {
        self.failures.iter().any(|(range, kind)| *kind == what && range.contains(&address))
    }
}

impl Memory for Ram {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        assert_eq!(address % u64::from(bytes), 0, "unaligned read");
        self.reads += 1;
        if self.fails(address, Failing::Read) {
            return Err(MemoryFault::Access);
        }
        if self.fails(address, Failing::Corrupt) {
            return Err(MemoryFault::Corrupt);
        }
        Ok(if bytes == 4 { self.get4(address).into() } else { self.get(address) })
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        assert_eq!(address % u64::from(bytes), 0, "unaligned write");
        if self.fails(address, Failing::Write) {
            return Err(MemoryFault::Access);
        }
        self.writes += 1;
        if bytes == 4 {
            self.set4(address, value as u32);
        } else {
            self.set(address, value);
        }
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        if let Some((at, value)) = self.race.take() {
            self.set(at, value);
        }
        if self.read(address, bytes)? != old {
            return Ok(false);
        }
        self.write(address, bytes, new)?;
        Ok(true)
    }
}

pub const COMMANDS: u64 = 0x1_0000;
pub const FAULTS: u64 = 0x2_0000;
pub const REQUESTS: u64 = 0x3_0000;
/// log2 of the entries of each queue.
pub const QUEUE_LOG2: u64 = 5;
pub const ENTRIES: u64 = 1 << QUEUE_LOG2;
const DIRECTORY: u64 = 0x10_0000;
const TABLES: u64 = 0x20_0000;
/// Guest tables are at their physical address plus this.
pub const GUEST: u64 = 1 << 33;
/// A leaf that permits everything, to users.
pub const ALL: u64 = pte::V.mask()
    | pte::R.mask()
    | pte::W.mask()
    | pte::X.mask()
    | pte::U.mask()
    | pte::A.mask()
    | pte::D.mask();

/// A leaf with all permissions that leads to `address`.
pub fn leaf(address: u64) -> u64 {
    ALL | pte::PPN.of(address >> 12)
}

/// A page table.
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub geometry: &'static Geometry,
    /// Its address: a guest's if `second` is given.
    pub root: u64,
}

/// The model with its memory.
pub struct World {
    pub golden: Golden,
    pub ram: Ram,
    next: u64,
    extended: bool,
    taken: u64,
    /// Bytes of all structures that follow `fctl.BE` are in this order.
    pub big_endian: bool,
}

impl World {
    /// An IOMMU with a directory of three levels and all its queues on.
    pub fn new(parameters: Parameters) -> World {
        let mut world = World {
            extended: reg::capabilities::MSI_FLAT.is_set(parameters.capabilities),
            golden: Golden::new(parameters),
            ram: Ram::default(),
            next: TABLES,
            taken: 0,
            big_endian: false,
        };
        world.switch_on();
        world
    }

    /// One with every feature.
    pub fn full() -> World {
        World::new(Parameters::full())
    }

    /// Everything, and an IOATC.
    pub fn caching() -> World {
        World::new(Parameters::full().with_caching())
    }

    fn switch_on(&mut self) {
        for (base, at, csr) in [
            (&reg::cqb::REG, COMMANDS, &reg::cqcsr::REG),
            (&reg::fqb::REG, FAULTS, &reg::fqcsr::REG),
            (&reg::pqb::REG, REQUESTS, &reg::pqcsr::REG),
        ] {
            let value = reg::cqb::PPN.of(at >> 12) | reg::cqb::LOG2SZ_1.of(QUEUE_LOG2 - 1);
            self.write(base, value);
            self.write(csr, 1);
        }
        self.mode(iommu_mode::LVL3);
    }

    /// Writes `ddtp`.
    pub fn mode(&mut self, mode: u64) {
        self.write(&reg::ddtp::REG, reg::ddtp::IOMMU_MODE.of(mode) | reg::ddtp::PPN.of(DIRECTORY >> 12));
    }

    /// Writes a register and lets the model settle.
    pub fn write(&mut self, register: &Register, value: u64) {
        self.golden.write_register(register.offset, register.bytes, value);
        self.run();
    }

    /// Writes one register of several.
    pub fn write_nth(&mut self, register: &Register, index: u8, value: u64) {
        self.golden.write_register(register.offset_of(index), register.bytes, value);
        self.run();
    }

    pub fn read(&self, register: &Register) -> u64 {
        self.golden.read_register(register.offset, register.bytes)
    }

    pub fn read_nth(&self, register: &Register, index: u8) -> u64 {
        self.golden.read_register(register.offset_of(index), register.bytes)
    }

    pub fn run(&mut self) {
        while self.golden.run(&mut self.ram) {}
    }

    /// Fresh physical memory, aligned to its size.
    pub fn alloc(&mut self, bytes: u64) -> u64 {
        let at = self.next.next_multiple_of(bytes);
        self.next = at + bytes;
        at
    }

    fn word(&self, value: u64) -> u64 {
        if self.big_endian { value.swap_bytes() } else { value }
    }

    fn next_table(&mut self, entry: u64) -> u64 {
        let old = self.word(self.ram.get(entry));
        if old & 1 == 1 {
            return old >> 10 << 12;
        }
        let table = self.alloc(4096);
        self.ram.set(entry, self.word(table >> 12 << 10 | 1));
        table
    }

    /// Address of the device directory entry of `device_id` at `level`; 0 is the device context.
    pub fn ddte(&mut self, device_id: u32, level: usize) -> u64 {
        let index = if self.extended { EXT_DDI } else { BASE_DDI };
        let levels =
            iommu_mode::levels(reg::ddtp::IOMMU_MODE.get(self.read(&reg::ddtp::REG))).expect("a directory");
        let mut at = DIRECTORY;
        for i in (1..levels).rev() {
            let entry = at + index[i].of(device_id.into()) * 8;
            if i == level {
                return entry;
            }
            at = self.next_table(entry);
        }
        at + index[0].of(device_id.into()) * if self.extended { 64 } else { 32 }
    }

    /// Writes a device context; says where.
    pub fn device(&mut self, device_id: u32, context: DeviceContext) -> u64 {
        let at = self.ddte(device_id, 0);
        let words = context.extended();
        let count = if self.extended { 8 } else { 4 };
        for (i, word) in words.into_iter().enumerate().take(count) {
            let word = self.word(word);
            self.ram.set(at + 8 * i as u64, word);
        }
        at
    }

    /// A root table of this format; a guest's if `second` is the second stage that it is behind.
    pub fn table(&mut self, geometry: &'static Geometry, second: Option<Table>) -> Table {
        let root = self.alloc(geometry.root_bytes().max(4096));
        Table { geometry, root: self.reveal(root, second) }
    }

    /// The guest physical address of the page at `spa`, which becomes visible to the guest.
    pub fn reveal(&mut self, spa: u64, second: Option<Table>) -> u64 {
        match second {
            None => spa,
            Some(second) => {
                self.map(second, None, spa + GUEST, 0, leaf(spa));
                spa + GUEST
            }
        }
    }

    fn pte(&self, at: u64, bytes: u8) -> u64 {
        match (bytes, self.big_endian) {
            (4, false) => self.ram.get4(at).into(),
            (4, true) => self.ram.get4(at).swap_bytes().into(),
            (_, _) => self.word(self.ram.get(at)),
        }
    }

    /// Writes an entry; says where it is in physical memory.
    pub fn set_pte(&mut self, at: u64, bytes: u8, value: u64) {
        match (bytes, self.big_endian) {
            (4, false) => self.ram.set4(at, value as u32),
            (4, true) => self.ram.set4(at, (value as u32).swap_bytes()),
            _ => self.ram.set(at, self.word(value)),
        }
    }

    /// Physical address of the entry for `address` at `level`, with the tables above it made as needed.
    pub fn entry(&mut self, table: Table, second: Option<Table>, address: u64, level: usize) -> u64 {
        let bytes = table.geometry.pte_bytes;
        let mut at = table.root;
        for i in (0..table.geometry.levels.len()).rev() {
            let hidden = if second.is_some() { GUEST } else { 0 };
            let entry = at - hidden + table.geometry.levels[i].of(address) * u64::from(bytes);
            if i == level {
                return entry;
            }
            let old = self.pte(entry, bytes);
            at = if old & 1 == 1 {
                old >> 10 << 12
            } else {
                let next = self.alloc(4096);
                let next = self.reveal(next, second);
                self.set_pte(entry, bytes, next >> 12 << 10 | 1);
                next
            };
        }
        unreachable!("no such level")
    }

    /// Maps; says where the entry is in physical memory.
    pub fn map(
        &mut self,
        table: Table,
        second: Option<Table>,
        address: u64,
        level: usize,
        value: u64,
    ) -> u64 {
        let at = self.entry(table, second, address, level);
        self.set_pte(at, table.geometry.pte_bytes, value);
        at
    }

    /// The process directory of a device: writes `context` for `process_id` in the tree of `levels` at `root`; says where. The
    /// tree has the byte order of everything else.
    pub fn process(
        &mut self,
        root: u64,
        levels: usize,
        second: Option<Table>,
        process_id: u32,
        context: ProcessContext,
    ) -> u64 {
        let at = self.pdte(root, levels, second, process_id, 0);
        for (i, word) in context.encode().into_iter().enumerate() {
            let word = self.word(word);
            self.ram.set(at + 8 * i as u64, word);
        }
        at
    }

    /// Physical address of the process directory entry of `process_id` at `level`; 0 is the process context.
    pub fn pdte(
        &mut self,
        root: u64,
        levels: usize,
        second: Option<Table>,
        process_id: u32,
        level: usize,
    ) -> u64 {
        let hidden = if second.is_some() { GUEST } else { 0 };
        let mut at = root;
        for i in (1..levels).rev() {
            let entry = at - hidden + PDI[i].of(process_id.into()) * 8;
            if i == level {
                return entry;
            }
            let old = self.word(self.ram.get(entry));
            at = if old & 1 == 1 {
                old >> 10 << 12
            } else {
                let next = self.alloc(4096);
                let next = self.reveal(next, second);
                self.ram.set(entry, self.word(next >> 12 << 10 | 1));
                next
            };
        }
        at - hidden + PDI[0].of(process_id.into()) * 16
    }

    pub fn translate(&mut self, request: Request) -> Response {
        let response = self.golden.translate(&mut self.ram, &request);
        self.run();
        response
    }

    #[track_caller]
    pub fn success(&mut self, request: Request) -> Translation {
        let response = self.translate(request);
        response.success().unwrap_or_else(|| panic!("{request:x?} -> {response:x?}"))
    }

    #[track_caller]
    pub fn fault(&mut self, request: Request) -> Fault {
        let response = self.translate(request);
        response.fault().unwrap_or_else(|| panic!("{request:x?} -> {response:x?}"))
    }

    /// The records that are new in the fault queue; software takes them.
    pub fn faults(&mut self) -> Vec<FaultRecord> {
        let tail = self.read(&reg::fqt::REG);
        let mut records = Vec::new();
        while self.taken != tail {
            let at = FAULTS + self.taken * 32;
            let words = [0, 8, 16, 24].map(|i| self.word(self.ram.get(at + i)));
            records.push(FaultRecord::decode(words));
            self.taken = (self.taken + 1) % ENTRIES;
        }
        self.write(&reg::fqh::REG, tail);
        records
    }

    /// Appends a command without looking at what comes of it.
    pub fn push(&mut self, dwords: [u64; 2]) {
        let tail = self.read(&reg::cqt::REG);
        let at = COMMANDS + tail * 16;
        let dwords = dwords.map(|word| self.word(word));
        self.ram.set(at, dwords[0]);
        self.ram.set(at + 8, dwords[1]);
        self.write(&reg::cqt::REG, (tail + 1) % ENTRIES);
    }

    /// Executes a command that must succeed.
    #[track_caller]
    pub fn command(&mut self, command: Command) {
        self.push(command.encode());
        assert_eq!(self.read(&reg::cqh::REG), self.read(&reg::cqt::REG), "{command:x?} did not complete");
    }
}

/// `iosatp` or `pdtp` for a root.
pub fn fsc(mode: u64, root: u64) -> u64 {
    pc::fsc::MODE.of(mode) | pc::fsc::PPN.of(root >> 12)
}

/// `iohgatp` for a second-stage table.
pub fn iohgatp(table: Table, gscid: u64) -> u64 {
    dc::iohgatp::MODE.of(table.geometry.mode)
        | dc::iohgatp::PPN.of(table.root >> 12)
        | dc::iohgatp::GSCID.of(gscid)
}

/// A valid device context with these bits of `tc`.
pub fn device_context(tc: u64) -> DeviceContext {
    DeviceContext { tc: dc::tc::V.mask() | tc, ..DeviceContext::default() }
}

/// A read by a user without process.
pub fn read(device_id: u32, iova: u64) -> Request {
    Request { device_id, iova, ..Request::default() }
}

/// The same request as a write.
pub fn write(request: Request) -> Request {
    Request { write: true, ..request }
}

/// The same request as a read for execute.
pub fn exec(request: Request) -> Request {
    Request { exec: true, ..request }
}

/// The same request with a process_id.
pub fn of_process(request: Request, process_id: u32) -> Request {
    Request { process_id: Some(process_id), ..request }
}

/// The same request with supervisor privilege.
pub fn privileged(request: Request) -> Request {
    Request { privileged: true, ..request }
}

pub const DEVICE: u32 = 0x12_3456;
pub const PROCESS: u32 = 0x5_4321;
pub const IOVA: u64 = 0x12_3456_7abc;
pub const PAGE: u64 = 0x4567_8000;

/// A device with an Sv39 first stage and no second one, that maps the page of [`IOVA`] to [`PAGE`].
pub struct Host {
    pub world: World,
    pub table: Table,
    /// Where the leaf is.
    pub leaf: u64,
    /// Where the device context is.
    pub context: u64,
}

impl Host {
    pub fn new(world: World, tc: u64) -> Host {
        let mut world = world;
        let table = world.table(&SV39, None);
        let leaf = world.map(table, None, IOVA & 0x3f_ffff_ffff, 0, leaf(PAGE));
        let dc =
            DeviceContext { fsc: fsc(SV39.mode, table.root), ta: dc::ta::PSCID.of(77), ..device_context(tc) };
        let context = world.device(DEVICE, dc);
        Host { world, table, leaf, context }
    }

    pub fn read() -> Request {
        read(DEVICE, IOVA & 0x3f_ffff_ffff)
    }
}

/// A device with a process directory of three levels and an Sv39 first stage that maps the page of [`IOVA`] to [`PAGE`], and with
/// an Sv39x4 second stage if asked for.
pub struct Processes {
    pub world: World,
    pub directory: u64,
    pub second: Option<Table>,
    pub table: Table,
    /// Physical address of the first-stage leaf.
    pub leaf: u64,
    /// The guest physical address, or with one stage the physical one, that the leaf gives.
    pub page: u64,
    pub context: u64,
}

impl Processes {
    pub fn new(world: World, tc: u64, ta: u64, two_stage: bool) -> Processes {
        let mut world = world;
        let second = two_stage.then(|| world.table(&SV39X4, None));
        let directory = world.alloc(4096);
        let directory = world.reveal(directory, second);
        let table = world.table(&SV39, second);
        let page = world.reveal(PAGE, second);
        let leaf = world.map(table, second, IOVA & 0x3f_ffff_ffff, 0, leaf(page));
        let pc = ProcessContext {
            ta: pc::ta::V.mask() | pc::ta::PSCID.of(99) | ta,
            fsc: fsc(SV39.mode, table.root),
        };
        world.process(directory, 3, second, PROCESS, pc);
        let context = world.device(
            DEVICE,
            DeviceContext {
                iohgatp: second.map_or(0, |second| iohgatp(second, 5)),
                fsc: fsc(pasidon_spec::pdt::pdtp_mode::PD20, directory),
                ..device_context(tc | dc::tc::PDTV.mask())
            },
        );
        Processes { world, directory, second, table, leaf, page, context }
    }

    pub fn read() -> Request {
        of_process(Host::read(), PROCESS)
    }
}
