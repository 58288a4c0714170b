//! The driver's platform on the simulated machine.

use super::Machine;
use pasidon_driver::Platform;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The machine as the driver and its user share it. Every register access and every [`Platform::relax`] steps the
/// clock, and the devices go on meanwhile, as they would beside a CPU.
#[derive(Clone)]
pub struct SimPlatform(Arc<Shared>);

/// What an interrupt does.
pub type Handler = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    machine: Mutex<Machine>,
    handler: Mutex<Option<Handler>>,
    /// How many have masked interrupts, the handler while it runs included.
    masked: AtomicUsize,
}

/// Cycles that a polling loop of a CPU takes for one turn.
const RELAX: u32 = 8;

impl SimPlatform {
    /// Shares `machine`.
    pub fn new(machine: Machine) -> SimPlatform {
        let (machine, handler) = (Mutex::new(machine), Mutex::new(None));
        SimPlatform(Arc::new(Shared { machine, handler, masked: AtomicUsize::new(0) }))
    }

    /// What is called when an interrupt wire is raised while the driver waits, unless it has masked interrupts. The handler must not
    /// hold what the driver's caller holds; whoever sets one takes it away in the end.
    pub fn set_interrupt_handler(&self, handler: Option<Handler>) {
        *self.0.handler.lock().unwrap_or_else(PoisonError::into_inner) = handler;
    }

    fn interrupt(&self) {
        if self.0.masked.load(Ordering::Relaxed) != 0 || self.machine().interrupts() == 0 {
            return;
        }
        let handler = self.0.handler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(handler) = handler {
            let state = self.mask();
            handler();
            self.unmask(state);
        }
    }

    /// The machine, for as long as the guard lives. The driver must not be called meanwhile.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic elsewhere leaves a machine that is as usable as before: it has no invariants across steps.
        self.0.machine.lock().unwrap_or_else(PoisonError::into_inner)
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

// SAFETY: the machine's memory is simulated, and each access to it checked.
unsafe impl Platform for SimPlatform {
    unsafe fn read32(&self, offset: u32) -> u32 {
        self.operation().read_register(offset, 4) as u32
    }

    unsafe fn read64(&self, offset: u32) -> u64 {
        self.operation().read_register(offset, 8)
    }

    unsafe fn write32(&self, offset: u32, value: u32) {
        self.operation().write_register(offset, value.into(), 4);
    }

    unsafe fn write64(&self, offset: u32, value: u64) {
        self.operation().write_register(offset, value, 8);
    }

    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.machine().memory.alloc(bytes as u64, align as u64)
    }

    unsafe fn free(&self, paddr: u64, bytes: usize) {
        self.machine().memory.free(paddr, bytes as u64);
    }

    unsafe fn load64(&self, paddr: u64) -> u64 {
        // What a CPU's bus returns where there is nothing.
        self.operation().memory.load(paddr).unwrap_or(u64::MAX)
    }

    unsafe fn store64(&self, paddr: u64, value: u64) {
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
        drop(machine);
        self.interrupt();
    }

    fn mask(&self) -> usize {
        self.0.masked.fetch_add(1, Ordering::Relaxed)
    }

    fn unmask(&self, _state: usize) {
        self.0.masked.fetch_sub(1, Ordering::Relaxed);
    }
}
