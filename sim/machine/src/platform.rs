//! The driver's platform on the simulated machine.

use crate::allocator;
use crate::machine::Machine;
use pasidon_cosim::Random;
use pasidon_driver::Platform;
use std::cell::Cell;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The machine as the driver and its user share it. Every register access and every [`Platform::relax`] steps the
/// clock, and the devices go on meanwhile, as they would beside a CPU.
#[derive(Clone)]
pub struct SimPlatform {
    shared: Arc<Shared>,
    /// Which owner of the IOMMU this is, counted from 0.
    owner: u64,
}

/// What an interrupt does.
pub type Handler = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    machine: Mutex<Machine>,
    handler: Mutex<Option<Handler>>,
    /// How many have masked interrupts, the handler while it runs included.
    masked: AtomicUsize,
    /// The handler is running.
    handling: AtomicUsize,
    chances: Mutex<Chances>,
    interrupts: AtomicU64,
    /// Calls of drivers.
    calls: Arc<AtomicU64>,
    /// The present owner.
    owner: AtomicU64,
    /// The time for former owners, which goes by when they ask for it.
    afterlife: AtomicU64,
}

/// What happens to calls at random: one in so many, or none if 0.
struct Chances {
    random: Random,
    interrupt: u64,
    fail: u64,
    failures: u64,
}

impl Chances {
    fn hit(&mut self, one_in: u64) -> bool {
        one_in != 0 && self.random.below(one_in) == 0
    }
}

/// Cycles that a polling loop of a CPU takes for one turn.
const RELAX: u32 = 8;

impl SimPlatform {
    /// Shares `machine`.
    pub fn new(machine: Machine) -> SimPlatform {
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            handler: Mutex::new(None),
            masked: AtomicUsize::new(0),
            handling: AtomicUsize::new(0),
            chances: Mutex::new(Chances { random: Random::new(0), interrupt: 0, fail: 0, failures: 0 }),
            interrupts: AtomicU64::new(0),
            calls: Arc::default(),
            owner: AtomicU64::new(0),
            afterlife: AtomicU64::new(0),
        });
        SimPlatform { shared, owner: 0 }
    }

    /// The same machine for somebody who takes it over, without the handler of interrupts. From now on the driver of the former owner
    /// can do nothing to it: for him registers and memory read 0, and he has no memory.
    pub fn successor(&self) -> SimPlatform {
        self.set_interrupt_handler(None);
        let owner = self.shared.owner.fetch_add(1, Ordering::Relaxed) + 1;
        SimPlatform { shared: self.shared.clone(), owner }
    }

    fn is_owner(&self) -> bool {
        self.owner == self.shared.owner.load(Ordering::Relaxed)
    }

    /// What is called when an interrupt wire is raised while the driver waits, or at any of its calls (see
    /// [`set_interrupts`](Self::set_interrupts)), unless it has masked interrupts. The handler must not
    /// hold what the driver's caller holds; whoever sets one takes it away in the end.
    pub fn set_interrupt_handler(&self, handler: Option<Handler>) {
        *self.shared.handler.lock().unwrap_or_else(PoisonError::into_inner) = handler;
    }

    /// Has the handler called before and after one in `one_in` calls of the driver to its platform, at random, whatever the wires
    /// say, unless the driver has masked interrupts; never if it is 0.
    pub fn set_interrupts(&self, seed: u64, one_in: u64) {
        let mut chances = self.chances();
        (chances.random, chances.interrupt) = (Random::new(seed), one_in);
    }

    /// How often the handler was called.
    pub fn interrupts_taken(&self) -> u64 {
        self.shared.interrupts.load(Ordering::Relaxed)
    }

    /// How many calls drivers have made to their platform, as it goes on counting.
    pub fn call_counter(&self) -> Arc<AtomicU64> {
        self.shared.calls.clone()
    }

    /// Lets one in `one_in` allocations of the driver fail, at random; none if it is 0.
    pub fn fail_allocations(&self, one_in: u64) {
        self.chances().fail = one_in;
    }

    /// How many allocations were made to fail.
    pub fn failed_allocations(&self) -> u64 {
        self.chances().failures
    }

    fn chances(&self) -> MutexGuard<'_, Chances> {
        self.shared.chances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Interrupts the driver's user, if he has not masked interrupts.
    fn interrupt(&self) {
        if self.shared.masked.load(Ordering::Relaxed) != 0 {
            return;
        }
        let handler = self.shared.handler.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(handler) = handler {
            self.shared.interrupts.fetch_add(1, Ordering::Relaxed);
            self.shared.masked.fetch_add(1, Ordering::Relaxed);
            self.shared.handling.fetch_add(1, Ordering::Relaxed);
            handler();
            self.shared.handling.fetch_sub(1, Ordering::Relaxed);
            self.shared.masked.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// An interrupt may come here.
    fn chance(&self) {
        if self.shared.masked.load(Ordering::Relaxed) != 0 {
            return;
        }
        let comes = {
            let mut chances = self.chances();
            let one_in = chances.interrupt;
            chances.hit(one_in)
        };
        if comes {
            self.interrupt();
        }
    }

    /// A call of the driver, with what it takes out of the sight of [`allocator`], and with interrupts before and after it. A
    /// former owner gets the default.
    fn call<R: Default>(&self, make: impl FnOnce() -> R) -> R {
        let _paused = allocator::pause();
        self.shared.calls.fetch_add(1, Ordering::Relaxed);
        if !self.is_owner() {
            return R::default();
        }
        self.chance();
        let result = make();
        self.chance();
        result
    }

    /// The machine, for as long as the guard lives. The driver must not be called meanwhile.
    pub fn machine(&self) -> MutexGuard<'_, Machine> {
        // A panic elsewhere leaves a machine that is as usable as before: it has no invariants across steps.
        self.shared.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation of the driver on the machine.
    fn operation<R: Default>(&self, operate: impl FnOnce(&mut Machine) -> R) -> R {
        self.call(|| {
            let mut machine = self.machine();
            machine.driver_operations += 1;
            operate(&mut machine)
        })
    }
}

/// A number of the calling thread's own.
fn thread_number() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(1);
    std::thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(0) };
    }
    if NUMBER.get() == 0 {
        NUMBER.set(THREADS.fetch_add(1, Ordering::Relaxed));
    }
    NUMBER.get()
}

// SAFETY: the machine's memory is simulated, and each access to it checked.
unsafe impl Platform for SimPlatform {
    unsafe fn read32(&self, offset: u32) -> u32 {
        self.operation(|machine| machine.read_register(offset, 4) as u32)
    }

    unsafe fn read64(&self, offset: u32) -> u64 {
        self.operation(|machine| machine.read_register(offset, 8))
    }

    unsafe fn write32(&self, offset: u32, value: u32) {
        _ = self.operation(|machine| machine.write_register(offset, value.into(), 4));
    }

    unsafe fn write64(&self, offset: u32, value: u64) {
        _ = self.operation(|machine| machine.write_register(offset, value, 8));
    }

    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.call(|| {
            {
                let mut chances = self.chances();
                let one_in = chances.fail;
                if chances.hit(one_in) {
                    chances.failures += 1;
                    return None;
                }
            }
            self.machine().bench.memory.alloc(bytes as u64, align as u64)
        })
    }

    unsafe fn free(&self, paddr: u64, bytes: usize) {
        self.call(|| self.machine().bench.memory.free(paddr, bytes as u64));
    }

    unsafe fn load64(&self, paddr: u64) -> u64 {
        // What a CPU's bus returns where there is nothing.
        self.operation(|machine| machine.bench.memory.load(paddr).unwrap_or(u64::MAX))
    }

    unsafe fn store64(&self, paddr: u64, value: u64) {
        _ = self.operation(|machine| machine.bench.memory.store(paddr, value));
    }

    fn fence(&self) {
        // Accesses of the simulated CPU are in program order by construction.
        self.call(|| ());
    }

    fn now(&self) -> u64 {
        if !self.is_owner() {
            return self.shared.afterlife.fetch_add(1 << 32, Ordering::Relaxed);
        }
        self.call(|| self.machine().now())
    }

    fn relax(&self) {
        self.call(|| {
            let mut machine = self.machine();
            (0..RELAX).for_each(|_| machine.step());
            let asked = machine.interrupts() != 0;
            drop(machine);
            if asked {
                self.interrupt();
            }
        });
    }

    fn context(&self) -> Option<NonZeroUsize> {
        // A handler is another flow of control than what it interrupts.
        let handling = self.shared.handling.load(Ordering::Relaxed) != 0;
        NonZeroUsize::new(2 * thread_number() + usize::from(handling))
    }

    fn mask(&self) -> usize {
        self.call(|| ());
        self.shared.masked.fetch_add(1, Ordering::Relaxed)
    }

    fn unmask(&self, _state: usize) {
        self.shared.masked.fetch_sub(1, Ordering::Relaxed);
        self.call(|| ());
    }
}
