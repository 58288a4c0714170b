//! The golden model as an [`Engine`].

use super::{Engine, EngineError, EngineMemory, Ticket};
use pasidon_cosim::BusMemory as _;
use pasidon_golden as golden;
use pasidon_golden::{Golden, Parameters};
use pasidon_rtl::design::Design;
use pasidon_spec::memory::Failure;
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{capabilities as cap, igs};
use pasidon_spec::request::{Request, Response};
use std::ops::Range;

/// What the golden model needs to know of a design. Invalidation requests do not time out by themselves: when they do, within the
/// bounds that a design has, is told by the hardware if there is one.
pub fn parameters(design: &Design) -> Parameters {
    Parameters {
        device_id_width: design.device_id_width as u8,
        process_id_width: design.process_id_width as u8,
        command_log2_max: design.command_log2_max as u8,
        fault_log2_max: design.fault_log2_max as u8,
        page_request_log2_max: design.page_request_log2_max as u8,
        vectors: design.vectors as u8,
        invalidations_in_flight: design.itags as u8,
        hpm_counters: design.hpm_counters as u8,
        hpm_cycles: design.hpm_cycles,
        gxl_writable: design.sv32 || design.sv32x4,
        gvma_needs_second_stage: false,
        ..Parameters::new(capabilities(design))
    }
}

/// The `capabilities` value that a design's keys ask for.
fn capabilities(design: &Design) -> u64 {
    let features = [
        (true, cap::SV39),
        (design.sv48, cap::SV48),
        (design.sv57, cap::SV57),
        (design.sv32, cap::SV32),
        (design.sv32x4, cap::SV32X4),
        (design.sv39x4, cap::SV39X4),
        (design.sv48x4, cap::SV48X4),
        (design.sv57x4, cap::SV57X4),
        (design.svpbmt, cap::SVPBMT),
        (design.svrsw60t59b, cap::SVRSW60T59B),
        (design.msi_flat, cap::MSI_FLAT),
        (design.msi_mrif, cap::MSI_MRIF),
        // Whoever updates interrupt files does so atomically.
        (design.msi_mrif, cap::AMO_MRIF),
        (design.amo_hwad, cap::AMO_HWAD),
        (design.ats, cap::ATS),
        (design.t2gpa, cap::T2GPA),
        (design.big_endian, cap::END),
        (design.monitor(), cap::HPM),
        (design.debug, cap::DBG),
        (design.pd8, cap::PD8),
        (design.pd17, cap::PD17),
        (design.pd20, cap::PD20),
        (design.qosid, cap::QOSID),
        (design.nl, cap::NL),
        (design.s, cap::S),
    ];
    let interrupts = match (design.wired, design.msi) {
        (true, true) => igs::BOTH,
        (true, false) => igs::WSI,
        (false, _) => igs::MSI,
    };
    let there = features.into_iter().filter(|(there, _)| *there).map(|(_, feature)| feature);
    Parameters::capabilities_of(there, interrupts, design.pas)
}

/// The golden model's view of a [`EngineMemory`], with its failures.
pub struct GoldenMemory<'a>(pub &'a mut EngineMemory);

impl GoldenMemory<'_> {
    #[inline]
    fn get(&mut self, address: u64, bytes: u32) -> Option<u64> {
        let word = self.0.load(address)?;
        Some(if bytes == 8 { word } else { word >> (8 * (address & 4)) & 0xffff_ffff })
    }
}

impl golden::Memory for GoldenMemory<'_> {
    #[inline]
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        if self.0.fails(address, Failure::Read) {
            return Err(MemoryFault::Access);
        }
        let value = self.get(address, bytes).ok_or(MemoryFault::Access)?;
        if self.0.fails(address, Failure::Poison) { Err(MemoryFault::Corrupt) } else { Ok(value) }
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        let lane = if bytes == 8 { 0 } else { address as u32 & 4 };
        let strobes: u8 = if bytes == 8 { 0xff } else { 0x0f << lane };
        let written =
            !self.0.fails(address, Failure::Write) && self.0.write(address, value << (8 * lane), strobes);
        if written { Ok(()) } else { Err(MemoryFault::Access) }
    }
}

/// The golden model with a memory of its own. Everything happens at once.
pub struct Model {
    golden: Golden,
    memory: EngineMemory,
    ports: usize,
    next: Ticket,
    responses: Vec<(Ticket, Response)>,
    now: u64,
}

impl Model {
    /// The golden model with these parameters, after reset, in front of this memory. The number of ports has no meaning but to be
    /// told by [`Engine::ports`].
    pub fn new(parameters: Parameters, ports: usize, memory: EngineMemory) -> Model {
        Model { golden: Golden::new(parameters), memory, ports, next: 0, responses: Vec::new(), now: 0 }
    }

    /// The memory.
    pub fn memory_mut(&mut self) -> &mut EngineMemory {
        &mut self.memory
    }

    /// The golden model.
    pub fn golden_mut(&mut self) -> &mut Golden {
        &mut self.golden
    }

    /// The golden model and the memory that it accesses.
    pub fn parts(&mut self) -> (&mut Golden, &mut EngineMemory) {
        (&mut self.golden, &mut self.memory)
    }

    /// Does everything that is due.
    pub fn run(&mut self) {
        while self.golden.run(&mut GoldenMemory(&mut self.memory)) {}
    }
}

impl Engine for Model {
    fn reset(&mut self) -> Result<(), EngineError> {
        self.golden.reset();
        self.responses.clear();
        Ok(())
    }

    fn step(&mut self, cycles: u64) -> Result<(), EngineError> {
        self.run();
        let mut left = cycles;
        while left > 0 {
            // What a timeout lets go on may itself time out.
            let part = self.golden.until_timeout().map_or(left, |cycles| cycles.clamp(1, left));
            self.golden.advance(part);
            self.run();
            left -= part;
        }
        self.now += cycles;
        Ok(())
    }

    fn cycles(&self) -> u64 {
        self.now
    }

    fn read_register(&mut self, offset: u16, bytes: u8) -> Result<u64, EngineError> {
        Ok(self.golden.read_register(offset, bytes))
    }

    fn write_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        self.golden.write_register(offset, bytes, value);
        self.run();
        Ok(())
    }

    fn read_memory(&mut self, address: u64, bytes: &mut [u8]) -> bool {
        self.memory.read_bytes(address, bytes)
    }

    fn write_memory(&mut self, address: u64, bytes: &[u8]) -> bool {
        self.memory.write_bytes(address, bytes)
    }

    fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.memory.inject(range, failure);
    }

    fn heal(&mut self) {
        self.memory.heal();
    }

    fn ports(&self) -> usize {
        self.ports
    }

    fn submit(&mut self, _: usize, request: &Request) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        let response = self.golden.translate(&mut GoldenMemory(&mut self.memory), request);
        self.responses.push((ticket, response));
        ticket
    }

    fn take_responses(&mut self) -> Vec<(Ticket, Response)> {
        std::mem::take(&mut self.responses)
    }

    fn outstanding(&self) -> usize {
        0
    }

    fn quiesce(&mut self) -> Result<(), EngineError> {
        self.run();
        Ok(())
    }

    fn translate(&mut self, _: usize, request: &Request) -> Result<Response, EngineError> {
        self.next += 1;
        let response = self.golden.translate(&mut GoldenMemory(&mut self.memory), request);
        self.run();
        Ok(response)
    }

    fn take_messages(&mut self) -> Vec<Message> {
        self.golden.take_messages()
    }

    fn page_request(&mut self, request: &PageRequest) -> Result<(), EngineError> {
        // A refusal is answered by the model itself, if it is to be answered.
        let _ = self.golden.page_request(&mut GoldenMemory(&mut self.memory), request);
        self.run();
        Ok(())
    }

    fn invalidation_completion(&mut self, completion: &InvalidationCompletion) -> Result<(), EngineError> {
        self.golden.invalidation_completion(&mut GoldenMemory(&mut self.memory), completion);
        self.run();
        Ok(())
    }

    fn wires(&mut self) -> u32 {
        self.golden.wires()
    }
}
