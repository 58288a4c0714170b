//! The driver's platform on the simulated machine.

use super::Machine;
use pasidon_driver::Platform;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The machine as the driver and its user share it. Every register access and every [`Platform::relax`] steps the
/// clock, and the devices go on meanwhile, as they would beside a CPU.
#[derive(Clone)]
pub struct SimPlatform(Arc<Mutex<Machine>>);

/// Cycles that a polling loop of a CPU takes for one turn.
const RELAX: u32 = 8;

impl SimPlatform {
    /// Shares `machine`.
    pub fn new(machine: Machine) -> SimPlatform {
        SimPlatform(Arc::new(Mutex::new(machine)))
    }

    /// The machine, for as long as the guard lives. The driver must not be called meanwhile.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic elsewhere leaves a machine that is as usable as before: it has no invariants across steps.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimPlatform {
    /// The machine, for an operation of the driver.
    fn operation(&self) -> MutexGuard<'_, Machine> {
        let mut machine = self.machine();
        machine.driver_operations += 1;
        machine
    }
}

impl Platform for SimPlatform {
    fn read32(&self, offset: u32) -> u32 {
        self.operation().read_register(offset, 4) as u32
    }

    fn read64(&self, offset: u32) -> u64 {
        self.operation().read_register(offset, 8)
    }

    fn write32(&self, offset: u32, value: u32) {
        self.operation().write_register(offset, value.into(), 4);
    }

    fn write64(&self, offset: u32, value: u64) {
        self.operation().write_register(offset, value, 8);
    }

    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.machine().memory.alloc(bytes as u64, align as u64)
    }

    fn free(&self, paddr: u64, bytes: usize) {
        self.machine().memory.free(paddr, bytes as u64);
    }

    fn load64(&self, paddr: u64) -> u64 {
        // What a CPU's bus returns where there is nothing.
        self.operation().memory.load(paddr).unwrap_or(u64::MAX)
    }

    fn store64(&self, paddr: u64, value: u64) {
        self.operation().memory.store(paddr, value);
    }

    fn fence(&self) {
        // Accesses of the simulated CPU are in program order by construction.
    }

    fn now(&self) -> u64 {
        self.machine().now()
    }

    fn relax(&self) {
        let mut machine = self.machine();
        (0..RELAX).for_each(|_| machine.step());
    }
}
