//! The clock loop: the hardware with its registers and its memory. What is behind the other ports is the caller's.

use crate::axi_checker::Rules;
use crate::memory::BusMemory;
use crate::memory_port::MemoryPort;
use crate::pace::Pace;
use crate::register_port::RegisterPort;
use crate::verilated::{In, Out, Verilated, VerilatedError};
use std::fmt::Display;

/// Cycles for which a full reset is held.
const RESET_CYCLES: u32 = 4;
/// Cycles after which a register access is given up.
pub const REGISTER_BOUND: u32 = 20_000;

/// Why the bench cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The verilated model itself failed.
    #[error(transparent)]
    Verilated(#[from] VerilatedError),
    /// A register access was answered with an error, or not at all.
    #[error("cycle {cycle}: the registers do not answer an access to offset {offset:#x}")]
    Registers {
        /// Byte offset of the access.
        offset: u16,
        /// Clock cycle.
        cycle: u64,
    },
    /// The hardware broke a rule of its ports.
    #[error("the hardware broke a rule of its ports: {0}")]
    Protocol(String),
    /// Something that must end does not.
    #[error("cycle {cycle}: {what} for {waited} cycles")]
    Hung {
        /// What is waited for.
        what: String,
        /// Cycles without progress.
        waited: u64,
        /// Clock cycle.
        cycle: u64,
    },
}

/// The hardware with its clock, its registers and its memory.
pub struct Bench<M> {
    /// The hardware.
    pub verilated: Verilated,
    /// Physical memory.
    pub memory: M,
    /// Memory in time.
    pub memory_port: MemoryPort,
    /// The CPU's side of the registers.
    pub registers: RegisterPort,
    now: u64,
}

impl<M: BusMemory> Bench<M> {
    /// The hardware, reset, in front of this memory. How memory behaves in time follows from `pace` and `seed`.
    pub fn new(verilated: Verilated, memory: M, pace: Pace, rules: Rules, seed: u64) -> Bench<M> {
        let mut bench = Bench {
            verilated,
            memory,
            memory_port: MemoryPort::new(pace, rules, seed),
            registers: RegisterPort::default(),
            now: 0,
        };
        bench.reset(seed);
        bench
    }

    /// Clock cycles since the bench was made, those of resets of everything left out.
    #[inline]
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Outputs of the present cycle.
    #[inline]
    pub fn out(&self) -> &Out {
        &self.verilated.output
    }

    /// One clock cycle. `devices` chooses the inputs of all ports but registers and memory, from the cycle's number, the outputs in it,
    /// and memory as it is.
    #[inline]
    pub fn cycle(&mut self, devices: impl FnOnce(u64, &Out, &mut In, &mut M)) {
        let Bench { verilated, memory, memory_port, registers, now } = self;
        let (out, input) = (&verilated.output, &mut verilated.input);
        memory_port.cycle(*now, &out.axi, &mut input.axi, memory);
        registers.cycle(&out.axil, &mut input.axil);
        devices(*now, out, input, memory);
        *now += 1;
        verilated.tick();
    }

    /// Resets everything but the contents of memory: what was under way is forgotten. From now on, what is arbitrary about memory in
    /// time follows from `seed`.
    pub fn reset(&mut self, seed: u64) {
        let writable = self.memory_port.checker.writable.take();
        let (pace, rules) = (self.memory_port.pace(), self.memory_port.checker.rules());
        self.memory_port = MemoryPort::new(pace, rules, seed);
        self.memory_port.checker.writable = writable;
        self.registers = RegisterPort::default();
        self.verilated.input = In::default();
        self.verilated.reset(RESET_CYCLES);
    }

    /// Holds the reset of the core for `cycles` cycles while memory goes on. Register accesses under way are forgotten, nothing is
    /// offered to the core, and what is behind its other ports must forget what the core has taken.
    pub fn reset_core(&mut self, cycles: u32) {
        let input = &mut self.verilated.input;
        input.rst = 1;
        input.req.iter_mut().for_each(|request| request.valid = 0);
        (input.message.pr_valid, input.message.ic_valid) = (0, 0);
        self.registers.core_was_reset();
        for _ in 0..cycles {
            self.cycle(|_, _, _, _| ());
        }
        self.verilated.input.rst = 0;
    }

    /// Whether all has gone well so far.
    ///
    /// # Errors
    /// [`BenchError`], the most basic first.
    pub fn check(&self) -> Result<(), BenchError> {
        self.verilated.check()?;
        match self.memory_port.violation().or(self.registers.violation()) {
            Some(violation) => Err(BenchError::Protocol(violation.to_string())),
            None => Ok(()),
        }
    }
}

/// Somebody who has a bench, and whose clock cycles are more than the bench's.
pub trait Clocked: Sized {
    /// What is behind the memory port.
    type Memory: BusMemory;

    /// The bench.
    fn bench(&mut self) -> &mut Bench<Self::Memory>;

    /// One clock cycle.
    fn clock(&mut self);

    /// Lets clock cycles pass until `done`, `bound` of them at most.
    ///
    /// # Errors
    /// [`BenchError::Hung`] with `what` for its text.
    fn wait_until(
        &mut self,
        bound: u64,
        what: impl Display,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), BenchError> {
        self.look_until(bound, what, |this| {
            let done = done(this);
            if !done {
                this.clock();
            }
            Ok(done.then_some(()))
        })
    }

    /// Looks again and again until `look` finds something. It is `look` that lets clock cycles pass, as reading a register does; when
    /// they are more than `bound` without a find, that is the end.
    ///
    /// # Errors
    /// [`BenchError::Hung`] with `what` for its text; whatever `look` fails with.
    fn look_until<T, E: From<BenchError>>(
        &mut self,
        bound: u64,
        what: impl Display,
        mut look: impl FnMut(&mut Self) -> Result<Option<T>, E>,
    ) -> Result<T, E> {
        let begun = self.bench().now;
        loop {
            if let Some(found) = look(self)? {
                return Ok(found);
            }
            let cycle = self.bench().now;
            if cycle - begun > bound {
                return Err(BenchError::Hung { what: what.to_string(), waited: bound, cycle }.into());
            }
        }
    }

    /// Reads `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`.
    ///
    /// # Errors
    /// [`BenchError::Registers`] if the answer is an error, or does not come within [`REGISTER_BOUND`] cycles; what is wrong with the
    /// hardware, where that is known.
    fn load_register(&mut self, offset: u16, bytes: u8) -> Result<u64, BenchError> {
        self.bench().registers.start_read(offset.into());
        let value = self.register_answer(offset)?;
        Ok(if bytes == 8 { value } else { value >> (offset % 8 * 8) & 0xffff_ffff })
    }

    /// Writes `bytes` (4 or 8) of the registers at `offset`, a multiple of `bytes`.
    ///
    /// # Errors
    /// As for [`load_register`](Self::load_register).
    fn store_register(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), BenchError> {
        let lane = if bytes == 8 { 0 } else { offset % 8 };
        let strobes: u8 = if bytes == 8 { 0xff } else { 0x0f << lane };
        let data = if bytes == 8 { value } else { value & 0xffff_ffff };
        self.bench().registers.start_write(offset.into(), data << (8 * lane), strobes);
        self.register_answer(offset).map(|_| ())
    }

    /// Goes on until the register access under way has its answer.
    ///
    /// # Errors
    /// As for [`load_register`](Self::load_register).
    fn register_answer(&mut self, offset: u16) -> Result<u64, BenchError> {
        for _ in 0..REGISTER_BOUND {
            self.clock();
            match self.bench().registers.take_answer() {
                None => {}
                Some((data, 0)) => return Ok(data),
                Some(_) => return Err(BenchError::Registers { offset, cycle: self.bench().now }),
            }
        }
        self.bench().registers.abandon();
        self.bench().check()?;
        Err(BenchError::Registers { offset, cycle: self.bench().now })
    }
}
