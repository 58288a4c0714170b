//! The driver's platform, implemented by functions in C.

use core::ffi::c_void;
use pasidon_driver::Platform;

/// Access to one IOMMU's registers, to memory that it can reach, to time, and to a way of waiting. `context` is passed
/// to each function.
///
/// Calls: all functions may be called from several threads at once, also in interrupt handlers that call the driver, and
/// most with the driver's spin locks held and interrupts masked: none calls the driver, sleeps, or waits for somebody who
/// does. The one exception is `alloc`, which is called by ordinary threads with no spin lock held: it may block, and call
/// iommu_invalidate_range to find memory. `relax`, `mask`, `unmask`, `flow` and `is_fixed_memory` may be NULL; the others must
/// be there.
///
/// Memory model: the driver assumes no more than the RISC-V memory model (RVWMO) and its I/O ordering give. Register accesses of one
/// thread reach the IOMMU in program order. Accesses to memory are ordered neither among themselves nor with those to
/// registers, except by `fence`, which the driver calls before every write of a register that tells the IOMMU of something in
/// memory, after it has read how far the IOMMU is, and between the parts of a table entry. Memory is coherent, or `fence`,
/// `load64` and `store64` make it so. The IOMMU reads and writes it at any time. Values are little-endian in memory.
///
/// Who changes a page table on one thread and has another call the driver orders the two itself.
///
/// Time: `now` counts up at a constant rate from any origin; all timeouts of iommu_config are in its ticks. It goes on while
/// interrupts are masked.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct iommu_platform {
    /// For the functions' own use.
    pub context: *mut c_void,
    /// Reads the 32-bit register, or half of a 64-bit one, at a byte offset of the register page, a multiple of 4: one access.
    pub read32: Option<unsafe extern "C" fn(context: *mut c_void, offset: u32) -> u32>,
    /// Reads the 64-bit register at a byte offset, a multiple of 8: one access, or where the bus is narrower two, low half first.
    pub read64: Option<unsafe extern "C" fn(context: *mut c_void, offset: u32) -> u64>,
    /// Writes the 32-bit register at a byte offset: one access.
    pub write32: Option<unsafe extern "C" fn(context: *mut c_void, offset: u32, value: u32)>,
    /// Writes the 64-bit register at a byte offset: one access, or where the bus is narrower two, low half first.
    pub write64: Option<unsafe extern "C" fn(context: *mut c_void, offset: u32, value: u64)>,
    /// Allocates memory that the IOMMU can reach, aligned to `align`, a power of two, and nobody else's until it is freed. What it
    /// holds does not matter. Returns its physical address, or UINT64_MAX if there is none.
    pub alloc: Option<unsafe extern "C" fn(context: *mut c_void, bytes: usize, align: usize) -> u64>,
    /// Returns memory that `alloc` gave, with the same size. The IOMMU does not use it any more.
    pub free: Option<unsafe extern "C" fn(context: *mut c_void, paddr: u64, bytes: usize)>,
    /// Reads the doubleword at a physical address, a multiple of 8, whole: a single access, which the compiler may neither merge
    /// nor drop.
    pub load64: Option<unsafe extern "C" fn(context: *mut c_void, paddr: u64) -> u64>,
    /// Writes the doubleword at a physical address, a multiple of 8, whole: the IOMMU sees the old value or the new one.
    pub store64: Option<unsafe extern "C" fn(context: *mut c_void, paddr: u64, value: u64)>,
    /// Orders every earlier memory and register access before every later one, as the IOMMU sees them (on RISC-V
    /// `fence iorw, iorw`).
    pub fence: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// The time in ticks. It must advance while the driver polls, or a wait for dead hardware has no end.
    pub now: Option<unsafe extern "C" fn(context: *mut c_void) -> u64>,
    /// Called once per turn of every polling loop: a pause instruction, or a yield where interrupts are not masked and the caller of
    /// the driver may be preempted. NULL: a pause instruction.
    pub relax: Option<unsafe extern "C" fn(context: *mut c_void)>,
    /// Keeps interrupt handlers, and tasks that preempt, off this CPU if they call the driver, and returns what `unmask`
    /// needs. Called before every spin lock of the driver; calls nest. NULL: nobody who interrupts calls the driver.
    pub mask: Option<unsafe extern "C" fn(context: *mut c_void) -> usize>,
    /// Undoes the `mask` that returned `state`. There if `mask` is.
    pub unmask: Option<unsafe extern "C" fn(context: *mut c_void, state: usize)>,
    /// A number, not 0, that tells the thread or interrupt handler that calls from all others that exist at the time.
    /// NULL, or 0: there is no such number here; then callbacks must not unbind what they are called for.
    pub flow: Option<unsafe extern "C" fn(context: *mut c_void) -> usize>,
    /// Whether the IOMMU has memory of its own for tables or queues at a physical address that `load64` and `store64` reach
    /// and nobody else uses. It is asked for if the IOMMU does not accept what `alloc` gave. NULL: it has none.
    pub is_fixed_memory: Option<unsafe extern "C" fn(context: *mut c_void, paddr: u64, bytes: usize) -> bool>,
}

/// A platform whose functions are all there.
pub(crate) struct CPlatform {
    context: *mut c_void,
    read32: unsafe extern "C" fn(*mut c_void, u32) -> u32,
    read64: unsafe extern "C" fn(*mut c_void, u32) -> u64,
    write32: unsafe extern "C" fn(*mut c_void, u32, u32),
    write64: unsafe extern "C" fn(*mut c_void, u32, u64),
    alloc: unsafe extern "C" fn(*mut c_void, usize, usize) -> u64,
    free: unsafe extern "C" fn(*mut c_void, u64, usize),
    load64: unsafe extern "C" fn(*mut c_void, u64) -> u64,
    store64: unsafe extern "C" fn(*mut c_void, u64, u64),
    fence: unsafe extern "C" fn(*mut c_void),
    now: unsafe extern "C" fn(*mut c_void) -> u64,
    relax: Option<unsafe extern "C" fn(*mut c_void)>,
    mask: Option<unsafe extern "C" fn(*mut c_void) -> usize>,
    unmask: Option<unsafe extern "C" fn(*mut c_void, usize)>,
    flow: Option<unsafe extern "C" fn(*mut c_void) -> usize>,
    is_fixed_memory: Option<unsafe extern "C" fn(*mut c_void, u64, usize) -> bool>,
}

// SAFETY: the caller of `iommu_create` has promised that the functions may be called, with this context, from any
// thread and from several at once; nothing else is done with the pointer.
unsafe impl Send for CPlatform {}
// SAFETY: see above.
unsafe impl Sync for CPlatform {}

impl CPlatform {
    /// `None` if a function is missing that must be there.
    pub(crate) fn new(platform: &iommu_platform) -> Option<Self> {
        Some(Self {
            context: platform.context,
            read32: platform.read32?,
            read64: platform.read64?,
            write32: platform.write32?,
            write64: platform.write64?,
            alloc: platform.alloc?,
            free: platform.free?,
            load64: platform.load64?,
            store64: platform.store64?,
            fence: platform.fence?,
            now: platform.now?,
            relax: platform.relax,
            mask: platform.mask,
            unmask: platform.unmask,
            flow: platform.flow,
            is_fixed_memory: platform.is_fixed_memory,
        })
    }
}

// SAFETY: for this and each of the blocks below, the caller of `iommu_create` has promised that the functions do what
// `iommu_platform` says, with this context, for as long as the IOMMU exists.
unsafe impl Platform for CPlatform {
    unsafe fn read32(&self, offset: u32) -> u32 {
        // SAFETY: see above.
        unsafe { (self.read32)(self.context, offset) }
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        // SAFETY: see above.
        unsafe { (self.read64)(self.context, offset) }
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        // SAFETY: see above.
        unsafe { (self.write32)(self.context, offset, value) }
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        // SAFETY: see above.
        unsafe { (self.write64)(self.context, offset, value) }
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        // SAFETY: see above.
        let paddr = unsafe { (self.alloc)(self.context, bytes, align) };
        (paddr != u64::MAX).then_some(paddr)
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        // SAFETY: see above.
        unsafe { (self.free)(self.context, paddr, bytes) }
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        // SAFETY: see above.
        unsafe { (self.load64)(self.context, paddr) }
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        // SAFETY: see above.
        unsafe { (self.store64)(self.context, paddr, value) }
    }
    fn fence(&self) {
        // SAFETY: see above.
        unsafe { (self.fence)(self.context) }
    }
    fn now(&self) -> u64 {
        // SAFETY: see above.
        unsafe { (self.now)(self.context) }
    }
    fn relax(&self) {
        match self.relax {
            // SAFETY: see above.
            Some(relax) => unsafe { relax(self.context) },
            None => core::hint::spin_loop(),
        }
    }
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        // SAFETY: see above.
        self.flow.and_then(|flow| core::num::NonZeroUsize::new(unsafe { flow(self.context) }))
    }
    fn is_fixed_memory(&self, paddr: u64, bytes: usize) -> bool {
        // SAFETY: see above.
        self.is_fixed_memory.is_some_and(|knows| unsafe { knows(self.context, paddr, bytes) })
    }
    fn mask(&self) -> usize {
        // SAFETY: see above.
        self.mask.map_or(0, |mask| unsafe { mask(self.context) })
    }
    fn unmask(&self, state: usize) {
        if let Some(unmask) = self.unmask {
            // SAFETY: see above.
            unsafe { unmask(self.context, state) }
        }
    }
}
