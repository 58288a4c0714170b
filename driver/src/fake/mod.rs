//! A machine for tests: memory, a clock, and a small behavioural IOMMU behind the [`Platform`] trait.
//!
//! The IOMMU executes commands from the queue in memory, one per tick, keeps what it has walked in caches
//! that never forget by themselves, writes fault records, and takes its time to switch queues and modes. With
//! [`CAPABILITIES_ATS`] it also speaks ATS and PRI with devices that were [attached](Fake::attach). It
//! is stricter than hardware: what software must not do (a write to a busy register, use of memory that was
//! freed) is noted as a [violation](Fake::violations). [`Knobs`] make it misbehave.

mod ats;
mod endpoint;
mod iommu;
mod tap;
mod walk;

use crate::Platform;
use alloc::{boxed::Box, collections::BTreeMap, format, string::String, sync::Arc, vec::Vec};
use ats::Invalidations;
pub use ats::{Completion, Message};
use endpoint::Endpoint;
pub use endpoint::{Behaviour, Reached, Response};
use iommu::Registers;
use pasidon_spec::{
    command::Command,
    ddt::iommu_mode,
    fault::FaultRecord,
    page_request::PageRequest,
    registers::{capabilities, igs},
};
pub use tap::{Call, Handler, Interrupts, Tap, Tapped};
pub use walk::Access;
use walk::Caches;

const PAGE: u64 = 4096;

/// Everything that the driver can make use of, with 56-bit physical addresses.
pub const CAPABILITIES: u64 = capabilities::VERSION.of(0x10)
    | capabilities::SV39.of(1)
    | capabilities::SV48.of(1)
    | capabilities::SV57.of(1)
    | capabilities::IGS.of(igs::WSI)
    | capabilities::PAS.of(56)
    | capabilities::PD8.of(1)
    | capabilities::PD17.of(1)
    | capabilities::PD20.of(1);

/// The [`CAPABILITIES`], and ATS and PRI.
pub const CAPABILITIES_ATS: u64 = CAPABILITIES | capabilities::ATS.of(1);

/// Ways in which the machine can be short of something or broken.
#[derive(Clone, Debug)]
pub struct Knobs {
    /// How many allocations still succeed.
    pub allocations: usize,
    /// Commands are not executed.
    pub commands_stall: bool,
    /// How many command fetches will get a memory fault.
    pub fetch_faults: usize,
    /// How many commands will be called illegal, IOFENCE.C excepted.
    pub illegal_commands: usize,
    /// How many fault records will get a memory fault.
    pub record_faults: usize,
    /// How many page requests will get a memory fault on their way into the queue.
    pub request_faults: usize,
    /// Ticks after which an invalidation request that was not completed times out.
    pub ats_timeout: u64,
    /// How many invalidation requests can wait for their completion at once.
    pub itags: usize,
    /// Queues can't be switched on or off any more.
    pub queues_stuck: bool,
    /// The directory mode can't be changed any more.
    pub mode_stuck: bool,
    /// The modes that `ddtp` accepts, besides Off.
    pub modes: Vec<u64>,
    /// Logarithm to base 2 of the largest queue.
    pub max_queue_log2: u32,
    /// Logarithm to base 2 of the number of interrupt vectors.
    pub vector_bits: u32,
    /// Where the IOMMU has memory of its own for the directory's root and the queues, which then can't be
    /// elsewhere. `None`: it has none.
    pub fixed_memory: Option<u64>,
    /// The value that `fctl.BE` is hard-wired to, if it is not writable.
    pub fixed_endianness: Option<bool>,
}

impl Default for Knobs {
    fn default() -> Self {
        Self {
            allocations: usize::MAX,
            commands_stall: false,
            fetch_faults: 0,
            illegal_commands: 0,
            record_faults: 0,
            request_faults: 0,
            ats_timeout: 200,
            itags: 4,
            queues_stuck: false,
            mode_stuck: false,
            modes: Vec::from([iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3]),
            max_queue_log2: 15,
            vector_bits: 2,
            fixed_memory: None,
            fixed_endianness: None,
        }
    }
}

/// What the driver or the IOMMU did, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The driver wrote a doubleword to memory.
    Store {
        /// Where.
        paddr: u64,
        /// What.
        value: u64,
    },
    /// The driver ordered its accesses.
    Fence,
    /// The driver wrote a register.
    Write {
        /// The register's offset.
        offset: u32,
        /// What.
        value: u64,
    },
    /// The IOMMU executed a command.
    Command(Command),
    /// The IOMMU sent a message to a device.
    Message(Message),
    /// The driver returned memory.
    Free {
        /// Its start.
        paddr: u64,
    },
}

/// The machine. All methods may be called from any thread.
pub struct Fake {
    machine: spin::Mutex<Machine>,
}

struct Machine {
    ticks: u64,
    memory: BTreeMap<u64, Box<[u64; 512]>>,
    /// Start and size of what is allocated.
    allocated: BTreeMap<u64, u64>,
    next_free: u64,
    registers: Registers,
    caches: Caches,
    invalidations: Invalidations,
    endpoints: BTreeMap<u32, Endpoint>,
    knobs: Knobs,
    events: Vec<Event>,
    violations: Vec<String>,
    /// An access that a device makes at every tick.
    restless: Option<(u32, Option<u32>, u64)>,
    /// The IOMMU has been Off since.
    taken_over: bool,
    /// How often one of those accesses has reached memory after that.
    slipped: usize,
}

/// What memory holds before it is written.
const GARBAGE: u64 = 0xdead_beef_dead_beef;

/// Where memory starts.
const MEMORY_BASE: u64 = 0x8000_0000;

impl Fake {
    /// A machine just out of reset, with all the [`CAPABILITIES`].
    pub fn new() -> Arc<Self> {
        Self::with_capabilities(CAPABILITIES)
    }

    /// A machine just out of reset, whose `capabilities` register reads `value`.
    pub fn with_capabilities(value: u64) -> Arc<Self> {
        let machine = Machine {
            ticks: 0,
            memory: BTreeMap::new(),
            allocated: BTreeMap::new(),
            next_free: MEMORY_BASE,
            registers: Registers::new(value),
            caches: Caches::default(),
            invalidations: Invalidations::default(),
            endpoints: BTreeMap::new(),
            knobs: Knobs::default(),
            events: Vec::new(),
            violations: Vec::new(),
            restless: None,
            taken_over: false,
            slipped: 0,
        };
        Arc::new(Self { machine: spin::Mutex::new(machine) })
    }

    fn machine(&self) -> spin::MutexGuard<'_, Machine> {
        loop {
            if let Some(machine) = self.machine.try_lock() {
                return machine;
            }
            // On a busy host the thread that has the lock may not be running.
            #[cfg(test)]
            std::thread::yield_now();
        }
    }

    /// Turns knobs.
    pub fn adjust(&self, change: impl FnOnce(&mut Knobs)) {
        change(&mut self.machine().knobs);
    }

    /// A device's access to `iova`: the physical address that it reaches, or the cause of the fault that
    /// aborted it. The fault is recorded in the fault queue as the specification says.
    ///
    /// # Errors
    /// The cause code.
    pub fn dma(&self, device_id: u32, pasid: Option<u32>, iova: u64, access: Access) -> Result<u64, u16> {
        self.machine().dma(device_id, pasid, iova, access)
    }

    /// Puts a record in the fault queue, as the IOMMU does.
    pub fn raise(&self, record: FaultRecord) {
        self.machine().raise(record);
    }

    /// Puts a device that speaks ATS and PRI on the bus, or changes how it behaves.
    pub fn attach(&self, device_id: u32, behaviour: Behaviour) {
        let mut machine = self.machine();
        let endpoint = machine.endpoints.entry(device_id).or_insert_with(|| Endpoint::new(behaviour));
        endpoint.behaviour = behaviour;
    }

    /// From now on a device reads `iova` at every tick, whoever owns the IOMMU.
    pub fn keep_reading(&self, device_id: u32, pasid: Option<u32>, iova: u64) {
        let mut machine = self.machine();
        machine.restless = Some((device_id, pasid, iova));
        machine.taken_over = false;
        machine.slipped = 0;
    }

    /// How many reads of [`keep_reading`](Self::keep_reading) have reached memory after the IOMMU was Off.
    pub fn slipped(&self) -> usize {
        self.machine().slipped
    }

    /// Resets the IOMMU: registers are as at the start, and nothing is cached or outstanding. Memory and devices
    /// notice nothing.
    pub fn reset(&self) {
        let mut machine = self.machine();
        let value = machine.read_register(capabilities::REG.offset.into(), 8);
        machine.registers = Registers::new(value);
        machine.caches = Caches::default();
        machine.invalidations = Invalidations::default();
    }

    /// Takes a device off the bus: it answers nothing any more.
    pub fn detach(&self, device_id: u32) {
        self.machine().endpoints.remove(&device_id);
    }

    /// Resets an attached device: it forgets its translations and what it had asked for.
    pub fn reset_device(&self, device_id: u32) {
        if let Some(endpoint) = self.machine().endpoints.get_mut(&device_id) {
            endpoint.reset();
        }
    }

    /// An attached device's access through its own translation cache, which asks the IOMMU when it has to.
    pub fn access(&self, device_id: u32, pasid: Option<u32>, iova: u64, access: Access) -> Reached {
        self.machine().endpoint_access(device_id, pasid, iova, access)
    }

    /// A translation request of a device, past any cache of its own.
    pub fn translation_request(&self, device_id: u32, pasid: Option<u32>, iova: u64) -> Completion {
        self.machine().translation_request(device_id, pasid, iova)
    }

    /// A device's access to a physical address that it claims to have been given by ATS.
    ///
    /// # Errors
    /// The cause code.
    pub fn translated(&self, device_id: u32, address: u64, access: Access) -> Result<u64, u16> {
        self.machine().translated(device_id, address, access)
    }

    /// A device sends a page request or a stop marker: any, be it as it should or not.
    pub fn page_request(&self, request: PageRequest) {
        let mut machine = self.machine();
        if let Some(endpoint) = machine.endpoints.get_mut(&request.did) {
            endpoint.asks(&request);
        }
        machine.page_request(request);
    }

    /// The responses that an attached device has got since the last call. Messages take a few ticks: see
    /// [`run_for`](Self::run_for).
    pub fn take_responses(&self, device_id: u32) -> Vec<Response> {
        let mut machine = self.machine();
        machine.endpoints.get_mut(&device_id).map(|it| core::mem::take(&mut it.responses)).unwrap_or_default()
    }

    /// How many groups of an attached device have no answer yet.
    pub fn unanswered(&self, device_id: u32) -> usize {
        self.machine().endpoints.get(&device_id).map_or(0, Endpoint::outstanding)
    }

    /// Lets the IOMMU work for so many ticks.
    pub fn run_for(&self, ticks: u64) {
        for _ in 0..ticks {
            self.relax();
        }
    }

    /// The events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        core::mem::take(&mut self.machine().events)
    }

    /// The commands among the events since the last call.
    pub fn take_commands(&self) -> Vec<Command> {
        let events = self.take_events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Command(command) => Some(command),
                _ => None,
            })
            .collect()
    }

    /// What software did that it must not do.
    pub fn violations(&self) -> Vec<String> {
        self.machine().violations.clone()
    }

    /// The memory that is allocated and was not freed: the start of each allocation.
    pub fn allocations(&self) -> Vec<u64> {
        self.machine().allocated.keys().copied().collect()
    }

    /// The interrupt messages that are filled in: vector, address, data, and whether it is masked.
    pub fn messages(&self) -> Vec<(usize, u64, u64, bool)> {
        let messages = self.machine().registers.messages;
        let filled = messages.iter().enumerate().filter(|(_, message)| message.0 != 0);
        filled.map(|(vector, &(address, data, mask))| (vector, address, data, mask != 0)).collect()
    }

    /// Whether the IOMMU raises the page-request queue's interrupt.
    pub fn request_interrupt(&self) -> bool {
        self.machine().registers.request_pending()
    }

    /// Whether the IOMMU raises the fault queue's interrupt.
    pub fn fault_interrupt(&self) -> bool {
        self.machine().registers.fault_pending()
    }
}

impl Machine {
    fn tick(&mut self) {
        self.ticks += 1;
        self.settle_switches();
        self.run_endpoints();
        self.expire_invalidations();
        self.execute_command();
        if let Some((device_id, pasid, iova)) = self.restless {
            let passed = self.dma(device_id, pasid, iova, Access::Read).is_ok();
            self.taken_over |= self.registers.mode() == iommu_mode::OFF;
            self.slipped += usize::from(passed && self.taken_over);
        }
    }

    fn violation(&mut self, text: impl Into<String>) {
        self.violations.push(text.into());
    }

    /// Whether memory at `paddr` is allocated.
    fn is_allocated(&self, paddr: u64) -> bool {
        self.allocated.range(..=paddr).next_back().is_some_and(|(start, bytes)| paddr - start < *bytes)
            || self.is_fixed(paddr)
    }

    /// Whether the IOMMU has memory of its own at `paddr`.
    fn is_fixed(&self, paddr: u64) -> bool {
        let bytes = 4 * iommu::FIXED_PAGES * PAGE;
        self.knobs.fixed_memory.is_some_and(|start| paddr.checked_sub(start).is_some_and(|at| at < bytes))
    }

    fn load(&self, paddr: u64) -> u64 {
        let page = self.memory.get(&(paddr / PAGE));
        page.map_or(GARBAGE, |page| page[(paddr % PAGE / 8) as usize])
    }

    fn store(&mut self, paddr: u64, value: u64) {
        let page = self.memory.entry(paddr / PAGE).or_insert_with(|| Box::new([GARBAGE; 512]));
        page[(paddr % PAGE / 8) as usize] = value;
    }

    /// A read by the IOMMU: `None` is an access fault.
    fn device_load(&mut self, paddr: u64) -> Option<u64> {
        if !self.is_allocated(paddr) {
            self.violation(format!("the IOMMU reads {paddr:#x}, which is not allocated"));
            return None;
        }
        Some(self.load(paddr))
    }
}

/// The same as in [`Platform`], and safe: all memory is the machine's own.
impl Fake {
    /// Reads a register of 32 bits.
    pub fn read32(&self, offset: u32) -> u32 {
        self.machine().read_register(offset, 4) as u32
    }
    /// Reads a register of 64 bits.
    pub fn read64(&self, offset: u32) -> u64 {
        self.machine().read_register(offset, 8)
    }
    /// Writes a register of 32 bits.
    pub fn write32(&self, offset: u32, value: u32) {
        self.machine().write_register(offset, 4, value.into());
    }
    /// Writes a register of 64 bits.
    pub fn write64(&self, offset: u32, value: u64) {
        self.machine().write_register(offset, 8, value);
    }

    /// Allocates memory.
    pub fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        let mut machine = self.machine();
        machine.knobs.allocations = machine.knobs.allocations.checked_sub(1)?;
        // Addresses are not used twice, so that use after free is always noticed.
        let paddr = machine.next_free.next_multiple_of(align.max(8) as u64);
        machine.next_free = paddr + bytes as u64;
        machine.allocated.insert(paddr, bytes as u64);
        Some(paddr)
    }

    /// Returns memory; what was not allocated like that is a violation.
    pub fn free(&self, paddr: u64, bytes: usize) {
        let mut machine = self.machine();
        machine.events.push(Event::Free { paddr });
        if machine.allocated.remove(&paddr) != Some(bytes as u64) {
            machine.violation(format!("{bytes} bytes at {paddr:#x} freed, but not allocated like that"));
        }
    }

    /// Reads a doubleword; outside of what is allocated that is a violation.
    pub fn load64(&self, paddr: u64) -> u64 {
        let mut machine = self.machine();
        if !machine.is_allocated(paddr) || !paddr.is_multiple_of(8) {
            machine.violation(format!("load from {paddr:#x}"));
        }
        machine.load(paddr)
    }

    /// Writes a doubleword; outside of what is allocated that is a violation.
    pub fn store64(&self, paddr: u64, value: u64) {
        let mut machine = self.machine();
        if !machine.is_allocated(paddr) || !paddr.is_multiple_of(8) {
            machine.violation(format!("store to {paddr:#x}"));
        }
        machine.events.push(Event::Store { paddr, value });
        machine.store(paddr, value);
    }

    /// Notes an [`Event::Fence`].
    pub fn fence(&self) {
        self.machine().events.push(Event::Fence);
    }

    /// The time in ticks.
    pub fn now(&self) -> u64 {
        self.machine().ticks
    }

    /// Lets a tick pass.
    pub fn relax(&self) {
        self.machine().tick();
        #[cfg(test)]
        std::thread::yield_now();
    }
}

// SAFETY: the machine checks every access; `alloc` gives out each address once.
unsafe impl Platform for Fake {
    unsafe fn read32(&self, offset: u32) -> u32 {
        self.read32(offset)
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        self.read64(offset)
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        self.write32(offset, value);
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        self.write64(offset, value);
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.alloc(bytes, align)
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        self.free(paddr, bytes);
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        self.load64(paddr)
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        self.store64(paddr, value);
    }
    fn is_fixed_memory(&self, paddr: u64, bytes: usize) -> bool {
        let machine = self.machine();
        machine.is_fixed(paddr) && machine.is_fixed(paddr + bytes as u64 - 1)
    }
    fn fence(&self) {
        self.fence();
    }
    fn now(&self) -> u64 {
        self.now()
    }
    fn relax(&self) {
        self.relax();
    }
    #[cfg(test)]
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        core::num::NonZeroUsize::new(crate::tests::interleavings::flow())
    }
}
