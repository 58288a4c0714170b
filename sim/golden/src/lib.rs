//! The golden model: a complete RISC-V IOMMU (Architecture v1.0.1), written from the text of the specification.
//!
//! It follows the specification section by section, and each function names its section. It knows nothing about the
//! hardware: layouts come from `pasidon_spec`, and where the text leaves a choice, [`Parameters`] has a field. Nothing takes
//! time: a register write takes effect at once, except that what the specification calls busy lasts until [`Golden::run`]. Time passes
//! by [`Golden::advance`] alone.
//!
//! | module | section of the specification |
//! |---|---|
//! | `parameters` | "IOMMU capabilities" |
//! | `process` | "Process to translate an IOVA" |
//! | `context` | what its first steps find for the later ones |
//! | `device_context` | "Process to locate the Device-context", "Device-context configuration checks" |
//! | `process_context` | "Process to locate the Process-context", "Process-context configuration checks" |
//! | `first_stage`, `second_stage` | the Privileged specification's "Virtual Address Translation Process" and "Two-Stage Address Translation" |
//! | `msi` | "Process to translate addresses of MSIs" |
//! | `ats` | "PCIe ATS translation request handling", "PCIe ATS Page Request handling" |
//! | `ioatc` | "Caching in-memory data structures" and what the invalidation commands do |
//! | `command_queue`, `fault_queue`, `page_request_queue` | "Command-Queue (CQ)", "Fault/Event-Queue (FQ)", "Page-Request-Queue (PQ)" |
//! | `registers`, `interrupts`, `monitor`, `debug` | "Memory-mapped register interface", "Debug support" |
//! | `access` | "Endianness of in-memory data structures" |

mod access;
mod ats;
mod command_queue;
mod context;
mod debug;
mod device_context;
mod fault_queue;
mod first_stage;
mod interrupts;
mod ioatc;
mod monitor;
mod msi;
mod page_request_queue;
mod parameters;
mod process;
mod process_context;
mod registers;
mod second_stage;

pub use parameters::{ParameterError, Parameters};

use access::Port;
use command_queue::Commands;
use device_context::Legal;
use interrupts::Interrupts;
use ioatc::Ioatc;
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::message::Message;
use pasidon_spec::pdt::ProcessContext;
use pasidon_spec::registers::fctl;
use registers::Registers;

/// The memory that the IOMMU accesses. Addresses are supervisor physical addresses, aligned to the access, and inside the
/// physical address space; values are little-endian (the model swaps bytes where software chose big-endian).
pub trait Memory {
    /// The 4 or 8 bytes at `address`.
    ///
    /// # Errors
    /// [`MemoryFault`], if they cannot be read.
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault>;

    /// Stores 4 or 8 bytes.
    ///
    /// # Errors
    /// [`MemoryFault`], if they cannot be written.
    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault>;

    /// Stores `new` if the 4 or 8 bytes at `address` are `old`, atomically; says whether they were. Reads and writes, unless a
    /// memory does otherwise.
    ///
    /// # Errors
    /// [`MemoryFault`], if they cannot be read or written.
    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        // Nobody comes between: this has the only reference.
        if self.read(address, bytes)? != old {
            return Ok(false);
        }
        self.write(address, bytes, new).map(|()| true)
    }
}

/// An IOMMU.
#[derive(Clone, Debug)]
pub struct Golden {
    parameters: Parameters,
    registers: Registers,
    commands: Commands,
    interrupts: Interrupts,
    cache: Ioatc,
    /// What the request that is being answered takes for its process context.
    older_process: Option<ProcessContext>,
    messages: Vec<Message>,
    /// Bit `i`: a counter waits for event `i`.
    counted_events: u64,
    follows_counts: bool,
    /// The bits that must be 0 in a page-table entry.
    pte_reserved: u64,
    legal: Legal,
    /// The address bits beyond the physical address space.
    outside: u64,
}

impl Golden {
    /// An IOMMU after reset. The parameters are in their ranges: [`Parameters::check`] says so.
    pub fn new(parameters: Parameters) -> Golden {
        Golden {
            registers: Registers::new(&parameters),
            commands: Commands::default(),
            interrupts: Interrupts::default(),
            cache: Ioatc::new(&parameters),
            older_process: None,
            messages: Vec::new(),
            counted_events: 0,
            follows_counts: false,
            pte_reserved: first_stage::reserved_bits(&parameters),
            legal: Legal::new(&parameters),
            outside: !((1 << parameters.pas()) - 1),
            parameters,
        }
    }

    /// What is modelled.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Puts the IOMMU into its state after reset.
    pub fn reset(&mut self) {
        let (itags, counts) = (self.commands.follows_itags(), self.follows_counts);
        *self = Golden::new(self.parameters);
        if itags {
            self.follow_itags();
        }
        if counts {
            self.follow_counts();
        }
    }

    /// Does what is due: completes register writes that left something busy, executes commands until the queue is empty, stopped,
    /// or waits for a device, answers the debug request, and sends interrupt messages. Says whether anything was done.
    pub fn run(&mut self, memory: &mut impl Memory) -> bool {
        let mut progress = self.settle_registers();
        progress |= self.execute_commands(memory);
        progress |= self.answer_debug_request(memory);
        while self.send_interrupts(memory) {
            progress = true;
        }
        progress
    }

    /// Lets clock cycles pass: they are counted in `iohpmcycles`, and invalidation requests wait as long. What timed out shows with the
    /// next [`Golden::run`].
    pub fn advance(&mut self, cycles: u64) {
        self.count_cycles(cycles);
        if let Some(limit) = self.parameters.invalidation_timeout {
            self.commands.grow_old(cycles, limit);
        }
    }

    /// Clock cycles until an invalidation request in flight times out, if there is one and no answer comes.
    pub fn until_timeout(&self) -> Option<u64> {
        self.commands.until_timeout(self.parameters.invalidation_timeout?)
    }

    /// The messages to devices since the last call, oldest first.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// Whether structures that follow `fctl.BE` are big-endian.
    #[inline]
    fn big_endian(&self) -> bool {
        fctl::BE.is_set(self.registers.fctl)
    }

    /// The way to memory for a structure of this byte order.
    #[inline]
    fn port(&self, big_endian: bool) -> Port {
        Port { outside: self.outside, big_endian }
    }
}
