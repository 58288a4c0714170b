//! A platform whose registers and memory are plain pointers: bare metal, or a kernel with a direct map.

use crate::platform::Platform;

/// What a board adds to pointers to make a [`Platform`].
///
/// The methods are those of the same names in [`Platform`], with the same contracts.
///
/// # Safety
/// What [`alloc`](Self::alloc) returns, and what [`is_fixed_memory`](Self::is_fixed_memory) vouches for, is as [`Platform::alloc`] asks for.
pub unsafe trait Board: Send + Sync {
    /// See [`Platform::alloc`].
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64>;
    /// See [`Platform::free`].
    ///
    /// # Safety
    /// That of [`Platform::free`].
    unsafe fn free(&self, paddr: u64, bytes: usize);
    /// See [`Platform::is_fixed_memory`].
    fn is_fixed_memory(&self, paddr: u64, bytes: usize) -> bool {
        let _ = (paddr, bytes);
        false
    }
    /// See [`Platform::now`].
    fn now(&self) -> u64;
    /// See [`Platform::relax`].
    fn relax(&self) {
        core::hint::spin_loop();
    }
    /// See [`Platform::context`].
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        None
    }
    /// See [`Platform::mask`].
    fn mask(&self) -> usize {
        0
    }
    /// See [`Platform::unmask`].
    fn unmask(&self, state: usize) {
        let _ = state;
    }
}

/// Registers at a fixed address, and all of physical memory at a fixed offset.
///
/// The IOMMU must be coherent with the CPU's caches, as the specification lets software assume for main
/// memory.
pub struct RawPlatform<B> {
    registers: usize,
    direct_map: usize,
    board: B,
}

impl<B: Board> RawPlatform<B> {
    /// A platform on `board`, with the IOMMU's register page at the virtual address `registers`, and physical
    /// address `p` at the virtual address `p + direct_map` (wrapping; 0 where addresses are not translated).
    ///
    /// # Safety
    ///
    /// `registers` is the start of an IOMMU's register page of 4 KiB, mapped as device memory, aligned to 4
    /// KiB, for as long as this exists and used by nobody else. All memory that `board` allocates is readable
    /// and writable through the direct map until it is freed, and belongs to the caller of `alloc` alone.
    pub const unsafe fn new(registers: usize, direct_map: usize, board: B) -> Self {
        Self { registers, direct_map, board }
    }

    fn register<T>(&self, offset: u32) -> *mut T {
        (self.registers + offset as usize) as *mut T
    }

    fn memory<T>(&self, paddr: u64) -> *mut T {
        self.direct_map.wrapping_add(paddr as usize) as *mut T
    }
}

// SAFETY: memory from `board` is what `new`'s caller promised. For each of the blocks below: Register offsets are those of `pasidon_spec::registers`: inside the
// page and aligned; the page is there, as `new`'s caller promised. Physical addresses are inside memory that
// the driver got from `Board::alloc` and has not freed, at an offset aligned to the access. Accesses are
// volatile, since the IOMMU makes its own; no references to this memory exist.
unsafe impl<B: Board> Platform for RawPlatform<B> {
    unsafe fn read32(&self, offset: u32) -> u32 {
        // SAFETY: see above.
        unsafe { self.register::<u32>(offset).read_volatile() }
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        // SAFETY: see above.
        unsafe { self.register::<u64>(offset).read_volatile() }
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        // SAFETY: see above.
        unsafe { self.register::<u32>(offset).write_volatile(value) }
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        // SAFETY: see above.
        unsafe { self.register::<u64>(offset).write_volatile(value) }
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.board.alloc(bytes, align)
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        // SAFETY: the caller's promise is that of `Board::free`.
        unsafe { self.board.free(paddr, bytes) };
    }
    fn is_fixed_memory(&self, paddr: u64, bytes: usize) -> bool {
        self.board.is_fixed_memory(paddr, bytes)
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        // SAFETY: see above.
        unsafe { self.memory::<u64>(paddr).read_volatile() }
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        // SAFETY: see above.
        unsafe { self.memory::<u64>(paddr).write_volatile(value) }
    }
    fn fence(&self) {
        #[cfg(any(target_arch = "riscv32", target_arch = "riscv64"))]
        // SAFETY: a fence touches neither registers nor memory.
        unsafe {
            core::arch::asm!("fence iorw, iorw", options(nostack, preserves_flags));
        }
        #[cfg(not(any(target_arch = "riscv32", target_arch = "riscv64")))]
        core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
    }
    fn now(&self) -> u64 {
        self.board.now()
    }
    fn relax(&self) {
        self.board.relax();
    }
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        self.board.context()
    }
    fn mask(&self) -> usize {
        self.board.mask()
    }
    fn unmask(&self, state: usize) {
        self.board.unmask(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::cell::UnsafeCell;
    use core::sync::atomic::{AtomicU64, Ordering};

    /// A page for registers and one of memory.
    #[repr(C, align(4096))]
    struct Pages(UnsafeCell<[u64; 1024]>);

    #[derive(Default)]
    struct Desk(AtomicU64);

    // SAFETY: the one address it gives out is the test's second page.
    unsafe impl Board for Desk {
        fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
            (bytes <= 4096 && align <= 4096).then_some(0x4000_0000)
        }
        unsafe fn free(&self, _: u64, _: usize) {}
        fn now(&self) -> u64 {
            self.0.fetch_add(1, Ordering::Relaxed)
        }
    }

    #[test]
    fn registers_and_memory_are_where_they_were_said_to_be() {
        let pages = Pages(UnsafeCell::new([0; 1024]));
        let start = pages.0.get() as usize;
        // Physical 0x4000_0000 is the second page.
        let direct_map = (start + 4096).wrapping_sub(0x4000_0000);
        // SAFETY: both pages outlive the platform, and nothing else refers to them meanwhile.
        let platform = unsafe { RawPlatform::new(start, direct_map, Desk::default()) };
        let paddr = platform.alloc(4096, 4096).unwrap();
        // SAFETY: the offsets are inside the page of registers, the address inside what was allocated.
        unsafe {
            platform.write64(16, 0x1122_3344_5566_7788);
            platform.write32(72, 0x99aa_bbcc);
            platform.store64(paddr + 8, 7);
            platform.fence();
            assert_eq!(platform.read64(16), 0x1122_3344_5566_7788);
            assert_eq!(platform.read32(72), 0x99aa_bbcc);
            assert_eq!(platform.load64(paddr + 8), 7);
        }
        assert_eq!((platform.now(), platform.now()), (0, 1));
        assert_eq!(platform.alloc(8192, 4096), None);
        let words = pages.0.into_inner();
        assert_eq!((words[2], words[9], words[513]), (0x1122_3344_5566_7788, 0x99aa_bbcc, 7));
    }
}
