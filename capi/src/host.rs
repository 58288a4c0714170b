//! What the library needs without an operating system: heap, lock, and a function for its last message. The bare-metal program or
//! kernel that links it provides them as functions `iommu_host_...`.

use core::{
    alloc::{GlobalAlloc, Layout},
    ffi::{c_char, c_void},
    fmt::Write,
    panic::PanicInfo,
};

unsafe extern "C" {
    /// Memory for the library's own records, of `size` bytes, aligned to `align`; NULL if there is none.
    fn iommu_host_alloc(size: usize, align: usize) -> *mut c_void;
    /// Returns such memory, with the same numbers.
    fn iommu_host_free(memory: *mut c_void, size: usize, align: usize);
    /// Takes the library's one lock.
    pub(crate) fn iommu_host_lock();
    /// Releases it.
    pub(crate) fn iommu_host_unlock();
    /// The library has found itself in a state that it can't be in. Does not return.
    fn iommu_host_panic(message: *const c_char, length: usize) -> !;
}

struct Heap;

// SAFETY: the program's functions do what the header says: memory of that size and alignment, which is nobody
// else's until it is returned.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: any size and any power of two may be asked for.
        unsafe { iommu_host_alloc(layout.size(), layout.align()) }.cast()
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller has promised that `alloc` gave this for the same layout.
        unsafe { iommu_host_free(memory.cast(), layout.size(), layout.align()) }
    }
}

#[global_allocator]
static HEAP: Heap = Heap;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut text = crate::log::Text::new();
    // What does not fit is left out.
    _ = write!(text, "{info}");
    // SAFETY: the text is there for as long as this call.
    unsafe { iommu_host_panic(text.as_bytes().as_ptr().cast(), text.as_bytes().len()) }
}

/// Parts of the language's own library were compiled for programs that unwind, and name this. Nothing calls it: here
/// a panic does not unwind.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
