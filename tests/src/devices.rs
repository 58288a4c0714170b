//! Devices that send and take messages: page requests, ATS invalidations and their completions, on the hardware and on the golden model
//! at once. Every message, record, register and byte of memory is compared; a test adds what must come out.

use crate::designs;
use pasidon_cosim::verilated::{Cache, Flavour, Verilated};
use pasidon_cosim::{Extent, Pace};
use pasidon_rtl::design::Design;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{BASE_DC_BYTES, BASE_DDI, DeviceContext, EXT_DC_BYTES, EXT_DDI, dc, iommu_mode};
use pasidon_spec::fault::FaultRecord;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{Register, cqb, cqcsr, cqt, ddtp, fqb, fqcsr, fqh, fqt, pqb, pqcsr, pqt};
use pasidon_verify::engine::{Both, Engine, EngineMemory, Model, Rtl, parameters};

/// The device.
pub const DID: u32 = 0x2d;
/// The device directory, of one level.
pub const DIRECTORY: u64 = 0x10_0000;
/// The fault queue, of 128 records.
pub const FAULTS: Queue = Queue::of_faults(0x11_0000, 7);
/// The command queue, of 64 commands.
pub const COMMANDS: Queue = Queue::of_commands(0x12_0000, 6);
/// The page-request queue, of 4 records.
pub const PAGE_REQUESTS: Queue = Queue::of_page_requests(0x13_0000, 2);

/// A device context that allows everything to do with messages, and translates nothing.
pub fn willing() -> DeviceContext {
    let tc = dc::tc::V.of(1) | dc::tc::EN_ATS.of(1) | dc::tc::EN_PRI.of(1) | dc::tc::PRPR.of(1);
    DeviceContext { tc, ..DeviceContext::default() }
}

/// The last page request of its group, of a process.
pub fn page_request(index: u16) -> PageRequest {
    let page = 0x12_3456_789a + u64::from(index);
    PageRequest {
        did: DID,
        pv: true,
        pid: 0x5a,
        read: true,
        last: true,
        index,
        page,
        ..PageRequest::default()
    }
}

/// One completion of `DID` that answers the requests with these itags.
pub fn completion(itags: u32) -> InvalidationCompletion {
    InvalidationCompletion { rid: DID as u16, dseg: None, itags, count: 1 }
}

/// Both engines and their registers.
pub struct Devices {
    /// The design.
    pub design: Design,
    /// Both engines.
    pub both: Both,
    tail: u64,
}

impl Devices {
    /// On the design `name`, reset, with the context of [`DID`] and all queues on.
    ///
    /// # Panics
    /// If there is no model.
    pub fn new(name: &str, context: &DeviceContext) -> Devices {
        let design = designs::design(name);
        let cache = Cache::in_workspace().quiet();
        let verilated = Verilated::load(&designs::generated(name), name, &cache, Flavour::Fast)
            .unwrap_or_else(|error| panic!("{error}"));
        let memory = || EngineMemory::sparse(Extent::Everywhere { width: design.pas });
        let rtl = Rtl::with_model(&design, verilated, memory(), Pace::even(3)).expect("a model");
        let model = Model::new(parameters(&design), design.ports as usize, memory());
        let mut devices = Devices { both: Both::new(rtl, model), design, tail: 0 };
        devices.reset(context);
        devices
    }

    /// Resets both engines and starts again with this context.
    pub fn reset(&mut self, context: &DeviceContext) {
        self.set_context(DID, context);
        self.both.reset().expect("a reset");
        self.tail = 0;
        self.write(&fqb::REG, FAULTS.base());
        self.write(&cqb::REG, COMMANDS.base());
        self.write(&pqb::REG, PAGE_REQUESTS.base());
        self.write(&fqcsr::REG, fqcsr::FQEN.of(1) | fqcsr::FIE.of(1));
        self.write(&cqcsr::REG, cqcsr::CQEN.of(1) | cqcsr::CIE.of(1));
        self.write(&pqcsr::REG, pqcsr::PQEN.of(1) | pqcsr::PIE.of(1));
        self.set_mode(iommu_mode::LVL1);
    }

    /// Writes the context of a device. The hardware may remember the old one.
    pub fn set_context(&mut self, did: u32, context: &DeviceContext) {
        let extended = self.design.extended_contexts();
        let (bytes, slices) = if extended { (EXT_DC_BYTES, EXT_DDI) } else { (BASE_DC_BYTES, BASE_DDI) };
        let at = DIRECTORY + bytes * slices[0].of(did.into());
        for (i, word) in context.extended().into_iter().take(bytes as usize / 8).enumerate() {
            assert!(self.both.store(at + 8 * i as u64, word, true), "there is memory");
        }
    }

    /// Writes `ddtp`.
    pub fn set_mode(&mut self, mode: u64) {
        self.write(&ddtp::REG, ddtp::IOMMU_MODE.of(mode) | ddtp::PPN.of(DIRECTORY >> 12));
        self.both.forget_all();
    }

    /// Writes a register; then everything is compared.
    pub fn write(&mut self, register: &Register, value: u64) {
        self.both.write_register(register.offset, register.bytes, value).unwrap_or_else(|e| panic!("{e}"));
        self.settle();
    }

    /// Reads a register of both.
    pub fn read(&mut self, register: &Register) -> u64 {
        self.both.read_register(register.offset, register.bytes).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Waits until nothing goes on without a device, and compares everything.
    pub fn settle(&mut self) {
        self.both.settle().unwrap_or_else(|error| panic!("{error}"));
    }

    /// The messages to devices since the last call.
    pub fn messages(&mut self) -> Vec<Message> {
        self.settle();
        self.both.take_messages()
    }

    /// Puts commands into the queue without waking the IOMMU; `cqt` for them.
    pub fn put(&mut self, commands: &[[u64; 2]]) -> u64 {
        for command in commands {
            for (i, word) in command.iter().enumerate() {
                let at = COMMANDS.entry(self.tail) + 8 * i as u64;
                assert!(self.both.store(at, *word, false), "there is memory");
            }
            self.tail = COMMANDS.next(self.tail);
        }
        self.tail
    }

    /// Has commands carried out, as far as that does not need an answer of a device.
    pub fn command(&mut self, commands: &[Command]) {
        let words: Vec<[u64; 2]> = commands.iter().map(Command::encode).collect();
        let tail = self.put(&words);
        self.write(&cqt::REG, tail);
    }

    /// Commands left in the queue.
    pub fn commands_left(&mut self) -> u64 {
        let head = self.read(&pasidon_spec::registers::cqh::REG);
        COMMANDS.used(head, self.tail)
    }

    /// Sends page requests, all at once.
    pub fn request(&mut self, requests: &[PageRequest]) {
        for request in requests {
            self.both.page_request(request).expect("the design has page requests");
        }
        self.settle();
    }

    /// Sends a completion.
    pub fn complete(&mut self, completion: &InvalidationCompletion) {
        self.both.invalidation_completion(completion).expect("the design has ATS");
        self.settle();
    }

    /// Lets all invalidation requests in flight time out.
    pub fn time_out(&mut self) {
        self.both.step(2 * u64::from(self.design.ats_timeout)).expect("time passes");
        self.settle();
    }

    /// The records in the page-request queue below `pqt`, from index `first` on.
    pub fn page_requests(&mut self, first: u64) -> Vec<PageRequest> {
        let tail = self.read(&pqt::REG);
        let places = PAGE_REQUESTS.between(first, tail).map(|index| PAGE_REQUESTS.entry(index));
        places
            .map(|at| PageRequest::decode([0, 8].map(|i| self.both.load(at + i).expect("memory"))))
            .collect()
    }

    /// The fault records since the last call.
    pub fn faults(&mut self) -> Vec<FaultRecord> {
        let (head, tail) = (self.read(&fqh::REG), self.read(&fqt::REG));
        let records = FAULTS.between(head, tail).map(|index| {
            let at = FAULTS.entry(index);
            FaultRecord::decode([0, 8, 16, 24].map(|i| self.both.load(at + i).expect("memory")))
        });
        let records = records.collect();
        self.write(&fqh::REG, tail);
        records
    }
}
