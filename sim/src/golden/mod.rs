//! The golden model: a complete RISC-V IOMMU (Architecture v1.0.1) as a function of its text.
//!
//! It is written section by section from the specification, and each function names its section. It knows nothing about the
//! hardware: layouts come from `pasidon_spec`, and where the text leaves a choice, [`Parameters`] has a field. Nothing takes
//! time: a register write takes effect at once, except that what the specification calls busy lasts until [`Golden::run`].
//!
//! | module | section of the specification |
//! |---|---|
//! | `parameters`, `request` | capabilities; what goes in and out |

mod parameters;
mod request;

pub use parameters::Parameters;
pub use request::{
    AddressType, AtsCompletion, Denial, Fault, InvalidationCompletion, Message, Request, Response,
    Translation,
};

use pasidon_spec::page_request::{PageRequest, Refusal};

/// Why a memory access failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryFault {
    /// The access is not allowed, or there is nothing at this address (a PMA or PMP violation).
    Access,
    /// The data is corrupt (poisoned).
    Corrupt,
}

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

    /// Stores `new` if the 4 or 8 bytes at `address` are `old`, atomically; says whether they were.
    ///
    /// # Errors
    /// [`MemoryFault`], if they cannot be read or written.
    fn compare_exchange(&mut self, address: u64, bytes: u32, old: u64, new: u64)
    -> Result<bool, MemoryFault>;
}

/// An IOMMU.
#[derive(Clone, Debug)]
pub struct Golden {
    parameters: Parameters,
    messages: Vec<Message>,
}

impl Golden {
    /// An IOMMU after reset.
    pub fn new(parameters: Parameters) -> Golden {
        Golden { parameters, messages: Vec::new() }
    }

    /// What is modelled.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Puts the IOMMU into its state after reset.
    pub fn reset(&mut self) {
        self.messages.clear();
    }

    /// Reads `bytes` (4 or 8) of the registers at `offset` (a multiple of `bytes`, less than 4096). Anything else reads 0.
    pub fn read_register(&self, offset: u16, bytes: u8) -> u64 {
        let _ = (offset, bytes);
        0
    }

    /// Writes `bytes` (4 or 8) of the registers at `offset` (a multiple of `bytes`, less than 4096). Anything else has no effect.
    /// An access of 8 bytes is one of the high half and then one of the low half.
    pub fn write_register(&mut self, offset: u16, bytes: u8, value: u64) {
        let _ = (offset, bytes, value);
    }

    /// Answers a request: steps 1 to 20 of section "Process to translate an IOVA". The fault record, if there is one, is in memory
    /// when this returns; interrupt messages wait for [`Golden::run`].
    pub fn translate(&mut self, memory: &mut impl Memory, request: &Request) -> Response {
        let _ = (memory, request);
        Response::Success(Translation::default())
    }

    /// Does what is due: completes register writes that left something busy, executes commands until the queue is empty, stopped,
    /// or waits for a device, answers the debug request, and sends interrupt messages. Says whether anything was done.
    pub fn run(&mut self, memory: &mut impl Memory) -> bool {
        let _ = memory;
        false
    }

    /// Takes a page request or stop marker from a device. (Section "PCIe ATS Page Request handling".)
    ///
    /// # Errors
    /// [`Refusal`], if it did not reach the queue. The answer of the IOMMU itself, if there is one, is in
    /// [`Golden::take_messages`].
    pub fn page_request(&mut self, memory: &mut impl Memory, request: &PageRequest) -> Result<(), Refusal> {
        let _ = (memory, request);
        Ok(())
    }

    /// Takes an invalidation completion from a device. Says whether it answers requests in flight; if it does not, it is ignored.
    pub fn invalidation_completion(&mut self, completion: &InvalidationCompletion) -> bool {
        let _ = completion;
        false
    }

    /// The time to answer has run out for the invalidation requests in flight whose bits are set in `itags`.
    pub fn invalidation_timeout(&mut self, itags: u32) {
        let _ = itags;
    }

    /// The messages to devices since the last call, oldest first.
    pub fn take_messages(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.messages)
    }

    /// The interrupt wires: bit `i` is vector `i`. All 0 while interrupts are signalled by messages.
    pub fn wires(&self) -> u32 {
        0
    }

    /// Lets clock cycles pass: they are counted in `iohpmcycles`.
    pub fn advance(&mut self, cycles: u64) {
        let _ = cycles;
    }
}
