//! The allocator of programs that link this crate: the system's, which can be told to fail, on one thread and for what is allocated
//! outside the simulation. That is how the driver comes to be short of memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::null_mut;

std::thread_local! {
    /// How many allocations succeed before one fails.
    static FAIL_AFTER: Cell<Option<u64>> = const { Cell::new(None) };
    static PAUSES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator.
struct Failing;

#[global_allocator]
static ALLOCATOR: Failing = Failing;

impl Failing {
    /// Whether the allocation that is asked for fails.
    fn fails() -> bool {
        // A thread that is coming to its end has no state any more.
        let left = FAIL_AFTER.try_with(Cell::get).ok().flatten();
        let Some(left) = left.filter(|_| PAUSES.get() == 0) else { return false };
        FAIL_AFTER.set(left.checked_sub(1));
        left == 0
    }
}

// SAFETY: everything is left to the system's allocator, or fails; neither allocates on the way.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Failing::fails() {
            return null_mut();
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if Failing::fails() {
            return null_mut();
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if Failing::fails() {
            return null_mut();
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// For as long as this lives, allocations of this thread succeed.
pub(crate) struct Paused(PhantomData<*const ()>);

/// What is allocated until the result is dropped is not counted, and does not fail.
pub(crate) fn pause() -> Paused {
    PAUSES.set(PAUSES.get() + 1);
    Paused(PhantomData)
}

impl Drop for Paused {
    fn drop(&mut self) {
        PAUSES.set(PAUSES.get() - 1);
    }
}

/// Makes a call whose allocation after so many that succeed fails. Returns what it returns, and whether it came that far.
/// Whatever it allocates has to cope with that.
pub(crate) fn fail_after<R>(successes: u64, call: impl FnOnce() -> R) -> (R, bool) {
    FAIL_AFTER.set(Some(successes));
    let result = call();
    let failed = FAIL_AFTER.take().is_none();
    (result, failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserve() -> bool {
        let mut bytes: Vec<u8> = Vec::new();
        std::hint::black_box(&mut bytes).try_reserve_exact(100).is_ok()
    }

    #[test]
    fn the_allocation_that_is_to_fail_does_and_no_other() {
        let three = || [reserve(), reserve(), reserve()];
        assert_eq!(fail_after(1, three), ([true, false, true], true));
        assert_eq!(fail_after(3, three), ([true, true, true], false));
        let paused = || {
            let before = pause();
            let inside = reserve();
            drop(before);
            [inside, reserve()]
        };
        assert_eq!(fail_after(0, paused), ([true, false], true));
        assert!(reserve());
    }
}
