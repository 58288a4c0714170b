//! The simulated machine around one IOMMU: CPU side of the registers, memory, devices, root port, and the clock.
//!
//! [`Machine::step`] is one clock cycle. The model's outputs of a cycle are known before its inputs are chosen, so
//! that every handshake is decided on the Rust side, from this cycle's `valid` and `ready`.

pub mod axi_lite;
pub mod dma;
pub mod dram;
pub mod memory;
pub mod messages;
pub mod platform;
pub mod random;
pub mod stats;
pub mod truth;

pub use dma::Dma;
pub use dram::{Dram, Timing};
pub use memory::Memory;
pub use messages::RootPort;
pub use platform::SimPlatform;
pub use random::Random;
pub use stats::{Counters, Latency};
pub use truth::Truth;

use crate::endpoint::{Channel, Outcome};
use crate::model::{Model, ModelError};
use axi_lite::AxiLite;
use pasidon_rtl::design::Design;
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::registers::ddtp;

/// What the machine around the IOMMU is like.
#[derive(Clone, Copy, Debug)]
pub struct MachineConfig {
    /// Memory as the IOMMU sees it.
    pub timing: Timing,
    /// Cycles from a translation to the end of the data access that follows it.
    pub data_latency: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Decides everything arbitrary.
    pub seed: u64,
}

impl Default for MachineConfig {
    fn default() -> MachineConfig {
        let timing = Timing::default();
        MachineConfig { timing, data_latency: timing.latency, memory_bytes: 256 << 20, seed: 1 }
    }
}

/// Why a run cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The model itself failed.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A register access got no answer.
    #[error("the registers do not answer (access to offset {offset:#x}, cycle {cycle})")]
    Registers {
        /// Byte offset of the register.
        offset: u32,
        /// Clock cycle.
        cycle: u64,
    },
    /// The memory port broke a rule of AXI4.
    #[error("the hardware broke a rule of AXI4: {0}")]
    Axi(String),
    /// Devices wait for responses that do not come.
    #[error("no translation was answered for {waited} cycles (cycle {cycle})")]
    Hung {
        /// Cycles without an answer.
        waited: u64,
        /// Clock cycle.
        cycle: u64,
    },
}

/// Register accesses that take longer are given up.
const REGISTER_PATIENCE: u32 = 20_000;
/// Cycles without any answer after which devices are taken to hang: far more than any walk takes.
const DEVICE_PATIENCE: u64 = 200_000;
/// Cycles for which the reset of the core is held.
const RESET_CYCLES: u32 = 3;

/// The machine.
pub struct Machine {
    model: Model,
    axil: AxiLite,
    /// The IOMMU's memory port.
    pub dram: Dram,
    /// Physical memory.
    pub memory: Memory,
    /// Devices.
    pub dma: Dma,
    /// Messages from and to devices.
    pub root_port: RootPort,
    /// What must be so.
    pub truth: Truth,
    /// Since [`reset_counters`](Self::reset_counters).
    pub counters: Counters,
    /// Register accesses, and loads and stores of memory, that the driver has made.
    pub driver_operations: u64,
    /// Accesses to registers.
    pub register_accesses: u64,
    /// Resets of the core since the machine was made.
    pub core_resets: u64,
    counted_reads: u64,
    counted_writes: u64,
    now: u64,
    /// When the core is reset next.
    reset_due: u64,
    silent: Option<(u32, u64)>,
}

impl Machine {
    /// Puts a model of `design` into a machine, and resets it.
    pub fn new(mut model: Model, design: &Design, config: &MachineConfig) -> Machine {
        let mut random = Random::new(config.seed);
        let memory = Memory::new(design.pas, config.memory_bytes, &mut random);
        model.reset(4);
        let dma = Dma::new(design.ports, design.id_width, config.data_latency, random.word());
        Machine {
            model,
            axil: AxiLite::default(),
            dram: Dram::new(config.timing),
            memory,
            dma,
            root_port: RootPort::new(random.word()),
            truth: Truth::default(),
            counters: Counters::default(),
            driver_operations: 0,
            register_accesses: 0,
            core_resets: 0,
            counted_reads: 0,
            counted_writes: 0,
            now: 0,
            reset_due: u64::MAX,
            silent: None,
        }
    }

    /// One clock cycle.
    #[inline]
    pub fn step(&mut self) {
        let Machine { model, axil, dram, memory, dma, root_port, truth, counters, now, .. } = self;
        let (out, input) = (&model.output, &mut model.input);
        dram.cycle(*now, &out.axi, &mut input.axi, memory);
        axil.cycle(&out.axil, &mut input.axil);
        dma.cycle(*now, out, &mut input.req, memory, truth, counters);
        root_port.cycle(*now, &out.message, &mut input.message, &mut dma.endpoints, truth);
        input.drain_ready = u64::from(dma.drained(out.drain_valid != 0));
        if out.ev_lookup | out.ev_hit | out.ev_walk | out.ev_fault != 0 {
            counters.lookups += u64::from(out.ev_lookup.count_ones());
            counters.hits += u64::from(out.ev_hit.count_ones());
            counters.walks += u64::from(out.ev_walk.count_ones());
            counters.fault_records += out.ev_fault;
        }
        counters.cycles += 1;
        *now += 1;
        model.tick();
        if self.reset_due <= self.now && self.axil.is_idle() {
            self.reset_core();
        }
    }

    /// Has the IOMMU's core reset in that clock cycle, or as soon after it as no register is being accessed. Nobody is told.
    pub fn reset_core_at(&mut self, cycle: u64) {
        self.reset_due = cycle;
    }

    /// Whether a reset of the core is to come.
    pub fn reset_is_due(&self) -> bool {
        self.reset_due != u64::MAX
    }

    /// The core forgets everything; memory answers what it was asked, and the data path carries on with what was translated.
    /// What the core has taken and not answered the data path aborts; what is on offer stays so. No access to a register
    /// is under way.
    fn reset_core(&mut self) {
        self.reset_due = u64::MAX;
        self.core_resets += 1;
        let Machine { model, dram, memory, now, .. } = self;
        model.input.rst = 1;
        model.input.req.iter_mut().for_each(|request| request.valid = 0);
        (model.input.message.pr_valid, model.input.message.ic_valid) = (0, 0);
        for _ in 0..RESET_CYCLES {
            dram.cycle(*now, &model.output.axi, &mut model.input.axi, memory);
            *now += 1;
            model.tick();
        }
        model.input.rst = 0;
        self.dma.core_was_reset(*now, &mut self.truth, &mut self.counters);
        self.root_port.excuse_all();
    }

    /// Clock cycles since reset.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// The interrupt wires.
    pub fn interrupts(&self) -> u64 {
        self.model.output.irq
    }

    /// The model, for waveforms and coverage.
    pub fn model_mut(&mut self) -> &mut Model {
        &mut self.model
    }

    /// Counts from zero again.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
        self.counted_reads = self.dram.read_bursts;
        self.counted_writes = self.dram.write_bursts;
    }

    /// The counters, memory traffic included.
    pub fn counters(&self) -> Counters {
        let memory_reads = self.dram.read_bursts - self.counted_reads;
        let memory_writes = self.dram.write_bursts - self.counted_writes;
        Counters { memory_reads, memory_writes, ..self.counters.clone() }
    }

    /// Whether all has gone well so far.
    ///
    /// # Errors
    /// [`MachineError`], the most basic first.
    pub fn check(&self) -> Result<(), MachineError> {
        self.model.check()?;
        if let Some(violation) = self.dram.violation() {
            return Err(MachineError::Axi(violation.to_string()));
        }
        if let Some((offset, cycle)) = self.silent {
            return Err(MachineError::Registers { offset, cycle });
        }
        Ok(())
    }

    /// Runs until devices are idle, an interrupt is raised, or `cycles` have passed. Returns whether devices are idle.
    ///
    /// # Errors
    /// [`MachineError`]
    pub fn run(&mut self, cycles: u64) -> Result<bool, MachineError> {
        let end = self.now + cycles;
        let mut quiet_since = (self.counters.requests, self.now);
        while !self.dma.is_idle() {
            if self.now >= end {
                self.check()?;
                return Ok(false);
            }
            self.step();
            if self.model.output.irq != 0 {
                break;
            }
            if self.counters.requests != quiet_since.0 {
                quiet_since = (self.counters.requests, self.now);
            } else if self.now - quiet_since.1 > DEVICE_PATIENCE {
                self.check()?;
                return Err(MachineError::Hung { waited: DEVICE_PATIENCE, cycle: self.now });
            }
        }
        self.check()?;
        Ok(self.dma.is_idle())
    }

    /// Sends requests on a channel of their own and waits for all of them. Other channels go on meanwhile.
    ///
    /// # Errors
    /// [`MachineError`]
    pub fn observe(&mut self, channel: Channel) -> Result<Vec<Outcome>, MachineError> {
        let count = channel.remaining as usize;
        self.dma.take_outcomes();
        self.dma.add(Channel { observe: true, ..channel });
        let mut outcomes = Vec::new();
        let begun = self.now;
        while outcomes.len() < count {
            self.step();
            outcomes.append(&mut self.dma.take_outcomes());
            if self.now - begun > DEVICE_PATIENCE {
                self.check()?;
                return Err(MachineError::Hung { waited: DEVICE_PATIENCE, cycle: self.now });
            }
        }
        self.check()?;
        Ok(outcomes)
    }

    /// Reads a register: `bytes` (4 or 8) at `offset`. Steps the clock. All ones if the answer is an error or does not come.
    pub fn read_register(&mut self, offset: u32, bytes: u32) -> u64 {
        self.register_accesses += 1;
        self.axil.start_read(offset);
        let value = match self.register_answer(offset) {
            Some((data, 0)) => data,
            _ => u64::MAX,
        };
        let off = bytes == 8
            && offset == u32::from(ddtp::REG.offset)
            && !ddtp::BUSY.is_set(value)
            && ddtp::IOMMU_MODE.get(value) == iommu_mode::OFF;
        if off {
            self.truth.iommu_is_off(self.now);
        }
        if bytes == 8 { value } else { value >> (offset % 8 * 8) & 0xffff_ffff }
    }

    /// Writes a register: `bytes` (4 or 8) at `offset`. Steps the clock. False if the answer is an error or does not come.
    pub fn write_register(&mut self, offset: u32, value: u64, bytes: u32) -> bool {
        self.register_accesses += 1;
        let lane = if bytes == 8 { 0 } else { offset % 8 };
        let strobes: u8 = if bytes == 8 { 0xff } else { 0x0f << lane };
        let value = if bytes == 8 { value } else { value & 0xffff_ffff };
        self.axil.start_write(offset, value << (8 * lane), strobes);
        matches!(self.register_answer(offset), Some((_, 0)))
    }

    fn register_answer(&mut self, offset: u32) -> Option<(u64, u64)> {
        for _ in 0..REGISTER_PATIENCE {
            self.step();
            if let Some(answer) = self.axil.take_answer() {
                return Some(answer);
            }
        }
        self.axil.abandon();
        self.silent.get_or_insert((offset, self.now));
        None
    }
}
