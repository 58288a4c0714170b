//! The simulated machine around one IOMMU: CPU side of the registers, memory, devices, root port, and the clock.
//!
//! [`Machine::step`] is one clock cycle. The model's outputs of a cycle are known before its inputs are chosen, so
//! that every handshake is decided on the Rust side, from this cycle's `valid` and `ready`.

use crate::dma::Dma;
use crate::endpoint::{Channel, Outcome};
use crate::memory::Ram;
use crate::root_port::RootPort;
use crate::stats::Counters;
use crate::truth::Truth;
use pasidon_cosim::axi_checker::Rules;
use pasidon_cosim::{Bench, BenchError, Clocked, Faulty, Pace, Random, Verilated};
use pasidon_experiment::MachineModel;
use pasidon_experiment::machine::MemoryModel;
use pasidon_experiment::timing::Timing;
use pasidon_rtl::design::Design;
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::registers::ddtp;
use serde::{Deserialize, Serialize};

/// What the machine around the IOMMU is like.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MachineConfig {
    /// Memory as the IOMMU sees it. Where `model` has one, its limits count instead of the latency here.
    pub pace: Pace,
    /// Memory and caches.
    pub model: MachineModel,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Decides everything arbitrary.
    pub seed: u64,
}

impl Default for MachineConfig {
    fn default() -> MachineConfig {
        MachineConfig::of(
            MachineModel { data: endless(MemoryModel::default().latency), ..MachineModel::default() },
            1,
        )
    }
}

impl MachineConfig {
    /// 256 MiB of memory, and a port that does what the model says.
    pub fn of(model: MachineModel, seed: u64) -> MachineConfig {
        let port = if model.shared { model.data } else { model.tables };
        let pace = Pace { latency: model.tables.latency, outstanding: port.outstanding, ..default_pace() };
        MachineConfig { pace, model, memory_bytes: 256 << 20, seed }
    }
}

/// Memory for data with a latency and no limit but that.
pub fn endless(latency: u32) -> MemoryModel {
    MemoryModel { latency, outstanding: MemoryModel::UNLIMITED, ..MemoryModel::default() }
}

/// Memory of the machine where nothing else is asked for: 20 cycles to read, 4 to write.
pub fn default_pace() -> Pace {
    Pace { write_latency: 4, outstanding: 16, ..Pace::even(20) }
}

/// Cycles without any answer after which devices are taken to hang: far more than any walk takes.
const DEVICE_PATIENCE: u64 = 200_000;
/// Cycles for which the reset of the core is held.
const RESET_CYCLES: u32 = 3;

/// The machine.
pub struct Machine {
    /// The IOMMU with its registers and physical memory.
    pub bench: Bench<Faulty<Ram>>,
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
    /// When the core is reset next.
    reset_due: u64,
    /// When failures of memory end by themselves.
    heal_due: u64,
    silent: Option<(u16, u64)>,
}

impl Machine {
    /// Puts a model of `design` into a machine, and resets it.
    pub fn new(verilated: Verilated, design: &Design, config: &MachineConfig) -> Machine {
        let mut random = Random::new(config.seed);
        let mut memory = Ram::new(design.pas, config.memory_bytes, &mut random);
        memory.timing = Timing::new(&config.model);
        let dma = Dma::new(design, random.word());
        let bench = Bench::new(verilated, Faulty::new(memory), config.pace, Rules::of(design), 0);
        Machine {
            bench,
            dma,
            root_port: RootPort::new(random.word()),
            truth: Truth::default(),
            counters: Counters::default(),
            driver_operations: 0,
            register_accesses: 0,
            core_resets: 0,
            counted_reads: 0,
            counted_writes: 0,
            reset_due: u64::MAX,
            heal_due: u64::MAX,
            silent: None,
        }
    }

    /// One clock cycle.
    #[inline]
    pub fn step(&mut self) {
        let Machine { bench, dma, root_port, truth, counters, .. } = self;
        if let Some(watch) = &mut dma.watch {
            bench.verilated.probe(&mut watch.probe);
        }
        bench.cycle(|now, out, input, memory| {
            dma.cycle(now, out, &mut input.req, memory, truth, counters);
            root_port.cycle(now, &out.message, &mut input.message, &mut dma.endpoints, truth);
            input.drain_ready = u64::from(dma.drained(out.drain_valid != 0));
            if out.ev_lookup | out.ev_hit | out.ev_walk | out.ev_fault != 0 {
                counters.lookups += u64::from(out.ev_lookup.count_ones());
                counters.hits += u64::from(out.ev_hit.count_ones());
                counters.walks += u64::from(out.ev_walk.count_ones());
                counters.fault_records += out.ev_fault;
            }
            counters.cycles += 1;
            if let Some(watch) = &mut dma.watch {
                watch.read(out, &input.axi);
            }
        });
        let now = self.now();
        if self.heal_due <= now {
            self.heal();
        }
        if self.reset_due <= now && self.bench.registers.is_idle() {
            self.reset_core();
        }
    }

    /// Ends all failures of memory.
    pub fn heal(&mut self) {
        self.heal_due = u64::MAX;
        self.bench.memory.heal();
    }

    /// Ends all failures of memory in that clock cycle.
    pub fn heal_at(&mut self, cycle: u64) {
        self.heal_due = cycle;
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
        self.bench.reset_core(RESET_CYCLES);
        let now = self.now();
        self.dma.core_was_reset(now, &mut self.truth, &mut self.counters);
        self.root_port.excuse_all();
    }

    /// Clock cycles since reset.
    pub fn now(&self) -> u64 {
        self.bench.now()
    }

    /// The interrupt wires.
    pub fn interrupts(&self) -> u64 {
        self.bench.out().irq
    }

    /// Counts from zero again.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
        if let Some(watch) = &mut self.dma.watch {
            watch.restart();
        }
        self.counted_reads = self.bench.memory_port.bursts[0];
        self.counted_writes = self.bench.memory_port.bursts[1];
    }

    /// The counters, memory traffic included.
    pub fn counters(&self) -> Counters {
        let memory_reads = self.bench.memory_port.bursts[0] - self.counted_reads;
        let memory_writes = self.bench.memory_port.bursts[1] - self.counted_writes;
        Counters { memory_reads, memory_writes, ..self.counters.clone() }
    }

    /// Whether all has gone well so far.
    ///
    /// # Errors
    /// [`BenchError`], the most basic first.
    pub fn check(&self) -> Result<(), BenchError> {
        self.bench.check()?;
        match self.silent {
            Some((offset, cycle)) => Err(BenchError::Registers { offset, cycle }),
            None => Ok(()),
        }
    }

    fn hung(&self) -> BenchError {
        let what = "no translation was answered".into();
        BenchError::Hung { what, waited: DEVICE_PATIENCE, cycle: self.now() }
    }

    /// Runs until devices are idle, an interrupt is raised, or `cycles` have passed. Returns whether devices are idle.
    ///
    /// # Errors
    /// [`BenchError`]
    pub fn run(&mut self, cycles: u64) -> Result<bool, BenchError> {
        let end = self.now() + cycles;
        let mut quiet_since = (self.counters.requests, self.now());
        while !self.dma.is_idle() {
            if self.now() >= end {
                self.check()?;
                return Ok(false);
            }
            self.step();
            if self.bench.out().irq != 0 {
                break;
            }
            if self.counters.requests != quiet_since.0 {
                quiet_since = (self.counters.requests, self.now());
            } else if self.now() - quiet_since.1 > DEVICE_PATIENCE {
                self.check()?;
                if !self.dma.is_computing() {
                    return Err(self.hung());
                }
                quiet_since.1 = self.now();
            }
        }
        self.check()?;
        Ok(self.dma.is_idle())
    }

    /// Sends requests on a channel of their own and waits for all of them. Other channels go on meanwhile.
    ///
    /// # Errors
    /// [`BenchError`]
    pub fn observe(&mut self, channel: Channel) -> Result<Vec<Outcome>, BenchError> {
        let count = channel.remaining as usize;
        self.dma.take_outcomes();
        self.dma.add(Channel { observe: true, ..channel });
        let mut outcomes = Vec::new();
        let begun = self.now();
        while outcomes.len() < count {
            self.step();
            outcomes.append(&mut self.dma.take_outcomes());
            if self.now() - begun > DEVICE_PATIENCE {
                self.check()?;
                return Err(self.hung());
            }
        }
        self.check()?;
        Ok(outcomes)
    }

    /// Reads a register: `bytes` (4 or 8) at `offset`. Steps the clock. All ones if the answer is an error or does not come.
    pub fn read_register(&mut self, offset: u32, bytes: u32) -> u64 {
        self.register_accesses += 1;
        let offset = offset as u16;
        let value = match self.load_register(offset, bytes as u8) {
            Ok(value) => value,
            Err(error) => {
                self.no_answer(&error);
                u64::MAX
            }
        };
        let off = bytes == 8
            && offset == ddtp::REG.offset
            && !ddtp::BUSY.is_set(value)
            && ddtp::IOMMU_MODE.get(value) == iommu_mode::OFF;
        if off {
            let now = self.now();
            self.truth.iommu_is_off(now);
        }
        value
    }

    /// Writes a register: `bytes` (4 or 8) at `offset`. Steps the clock. False if the answer is an error or does not come.
    pub fn write_register(&mut self, offset: u32, value: u64, bytes: u32) -> bool {
        self.register_accesses += 1;
        match self.store_register(offset as u16, bytes as u8, value) {
            Ok(()) => true,
            Err(error) => {
                self.no_answer(&error);
                false
            }
        }
    }

    /// Remembers a register access that got no answer.
    fn no_answer(&mut self, error: &BenchError) {
        if let BenchError::Registers { offset, cycle } = error {
            self.silent.get_or_insert((*offset, *cycle));
        }
    }
}

impl Clocked for Machine {
    type Memory = Faulty<Ram>;

    fn bench(&mut self) -> &mut Bench<Faulty<Ram>> {
        &mut self.bench
    }

    fn clock(&mut self) {
        self.step();
    }
}
