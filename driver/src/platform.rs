//! What the driver needs from the world around it.
//!
//! An operating system, a bare-metal board, a simulation and the unit tests each implement [`Platform`]; the
//! driver itself touches neither registers nor memory in any other way. [`crate::RawPlatform`] is a
//! ready-made implementation for machines where registers and memory are plain pointers.

/// Access to one IOMMU's registers, to memory that it can reach, to time, and to a way of waiting.
///
/// Every method takes `&self` and may be called from several threads at once; an implementation that keeps
/// state guards it itself. No method may call back into the driver: the driver calls some of them with
/// its own locks held.
///
/// # Registers
///
/// `offset` is a byte offset from the start of the 4 KiB register page, always aligned to the access, always
/// inside one register. 64-bit accesses are made only to 64-bit registers and may be carried out as two
/// 32-bit ones, the low half first, where the bus is narrower. Values are in the CPU's byte order. Register
/// accesses reach the IOMMU in program order.
///
/// # Memory
///
/// Addresses are those that the IOMMU itself uses (supervisor physical addresses). The IOMMU reads and
/// writes this memory at any time, so `load64` and `store64` are single, whole, uncached-or-coherent accesses
/// at an address aligned to 8, which the compiler may neither merge, split nor drop.
/// Values are in the byte order that `fctl.BE` selects; the driver selects little-endian.
///
/// # Order
///
/// The driver assumes no more than RVWMO and its I/O ordering give. Register accesses of one thread are in program order
/// among themselves; accesses to memory are ordered neither among themselves nor with those to registers, except by
/// [`fence`](Self::fence). So the driver calls it
///
/// * before every write of a register, so that what the IOMMU is told of is in memory, and what was read from a queue
///   has been read before its place is given back;
/// * after the tail of a queue of records was read, before the records are;
/// * after the head of the command queue was read, before anybody is told that commands are done, and once more
///   before a call returns that waited for them: loads and stores of the caller after an invalidation come after it,
///   also if another thread has seen the IOMMU finish;
/// * where a batch of commands is handed in, so that page tables that the caller changed precede it, also if another
///   thread writes the commands;
/// * between the parts of a context (clause 8 of the contract).
///
/// Whoever changes a page table on one thread and has another call the driver orders the two itself.
///
/// # Safety
///
/// An implementation vouches for its memory and registers:
///
/// * [`alloc`](Self::alloc) returns memory that is aligned as asked, that nobody else reads or writes until it is
///   freed, and that does not overlap with anything allocated and not freed. So is memory that
///   [`is_fixed_memory`](Self::is_fixed_memory) vouches for.
/// * Register accesses inside the page of registers, and memory accesses inside what `alloc` gave out, are
///   carried out as described and touch nothing else.
///
/// The driver in turn keeps the contracts of the `unsafe` methods, whatever registers and memory read as: what it
/// reads there is never used as an address, nor as an index without a check.
pub unsafe trait Platform: Send + Sync {
    /// Reads the 32-bit register (or half of a 64-bit register) at `offset`.
    ///
    /// # Safety
    /// A register of 32 bits, or half of one, is at `offset`, and this IOMMU is the caller's: what its registers make it do is the
    /// caller's responsibility.
    unsafe fn read32(&self, offset: u32) -> u32;
    /// Reads the 64-bit register at `offset`.
    ///
    /// # Safety
    /// A register of 64 bits is at `offset`, and this IOMMU is the caller's: what its registers make it do is the
    /// caller's responsibility.
    unsafe fn read64(&self, offset: u32) -> u64;
    /// Writes the 32-bit register (or half of a 64-bit register) at `offset`.
    ///
    /// # Safety
    /// A register of 32 bits, or half of one, is at `offset`, and this IOMMU is the caller's: what its registers make it do is the
    /// caller's responsibility.
    unsafe fn write32(&self, offset: u32, value: u32);
    /// Writes the 64-bit register at `offset`.
    ///
    /// # Safety
    /// A register of 64 bits is at `offset`, and this IOMMU is the caller's: what its registers make it do is the
    /// caller's responsibility.
    unsafe fn write64(&self, offset: u32, value: u64);

    /// Allocates `bytes` of memory that the IOMMU can read and write, aligned to `align` (a power of two),
    /// and returns its physical address. `None` when there is no such memory; the driver reports that to its
    /// caller.
    ///
    /// The contents may be anything: the driver clears what it uses.
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64>;
    /// Returns memory that [`alloc`](Self::alloc) gave out, with the same `bytes`. The IOMMU no longer uses
    /// it.
    ///
    /// # Safety
    /// [`alloc`](Self::alloc) returned `paddr` for this number of `bytes`, it has not been freed since, and neither the
    /// caller nor the IOMMU uses it after this.
    unsafe fn free(&self, paddr: u64, bytes: usize);

    /// Whether the IOMMU has memory of its own for tables or queues at `paddr`, which [`load64`](Self::load64) and
    /// [`store64`](Self::store64) reach, `bytes` of it, and which nobody else uses. Asked when a base register does not take
    /// the address of memory that [`alloc`](Self::alloc) gave, with the address that it holds instead. It is never
    /// given to [`free`](Self::free). The default knows of none.
    fn is_fixed_memory(&self, paddr: u64, bytes: usize) -> bool {
        let _ = (paddr, bytes);
        false
    }

    /// Reads the aligned doubleword at `paddr`.
    ///
    /// # Safety
    /// `paddr` is a multiple of 8 inside memory that [`alloc`](Self::alloc) gave out and that has not been freed, or that
    /// [`is_fixed_memory`](Self::is_fixed_memory) vouched for.
    unsafe fn load64(&self, paddr: u64) -> u64;
    /// Writes the aligned doubleword at `paddr`; the IOMMU sees the old value or the new one, never a
    /// mixture.
    ///
    /// # Safety
    /// `paddr` is a multiple of 8 inside memory that [`alloc`](Self::alloc) gave out and that has not been freed, or that
    /// [`is_fixed_memory`](Self::is_fixed_memory) vouched for.
    unsafe fn store64(&self, paddr: u64, value: u64);

    /// Orders every earlier memory and register access before every later one, as the IOMMU sees them
    /// (`fence iorw, iorw`; on a machine that is not coherent, also whatever makes memory so).
    fn fence(&self);

    /// The time in ticks, counting up from any origin. Every timeout of the driver is in these ticks.
    /// It must advance while the driver polls, or a wait for hardware that is dead would have no end.
    fn now(&self) -> u64;

    /// Called once per turn of every polling loop. A board executes a pause instruction, an operating system
    /// may yield where that is allowed, a simulation steps its clock.
    fn relax(&self) {
        core::hint::spin_loop();
    }

    /// A number that tells the flow of control that calls, a thread or an interrupt handler, from all others that
    /// exist at the time. `None`: there is no such number here; then an unbind can't know that it was called from
    /// within a callback of the driver (see [`crate::SvaOps`]).
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        None
    }

    /// Called before the driver takes one of its internal locks; what it returns goes to the matching
    /// [`unmask`](Self::unmask). Where interrupt handlers or preempting tasks on the same CPU call the driver
    /// (fault service, mm invalidation), mask them here; otherwise the default, which does nothing, is right.
    /// Calls nest.
    fn mask(&self) -> usize {
        0
    }
    /// Undoes the [`mask`](Self::mask) that returned `state`.
    fn unmask(&self, state: usize) {
        let _ = state;
    }
}
