//! A reference-counted pointer like `Arc`, but one whose allocation can fail without a panic.

use alloc::alloc::{alloc, dealloc};
use core::{
    alloc::Layout,
    marker::PhantomData,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering},
};

/// There is no memory for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfMemory;

/// A reference to a value that goes with its last reference.
pub(crate) struct Shared<T> {
    block: NonNull<Block<T>>,
    owns: PhantomData<Block<T>>,
}

struct Block<T> {
    references: AtomicUsize,
    value: T,
}

// SAFETY: as for `Arc`: references in several threads lead to one value, and any of them may drop it.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: see above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The first reference to `value`, which is dropped if there is no memory for it.
    pub(crate) fn new(value: T) -> Result<Self, OutOfMemory> {
        // SAFETY: the layout's size is not 0: it holds a count.
        let memory = unsafe { alloc(Layout::new::<Block<T>>()) };
        let block = NonNull::new(memory.cast::<Block<T>>()).ok_or(OutOfMemory)?;
        // SAFETY: this is memory for a block, and nobody else's.
        unsafe { block.write(Block { references: AtomicUsize::new(1), value }) };
        Ok(Self { block, owns: PhantomData })
    }

    /// Whether both refer to the same value.
    pub(crate) fn same(a: &Self, b: &Self) -> bool {
        a.block == b.block
    }

    fn block(&self) -> &Block<T> {
        // SAFETY: the block is there for as long as there is a reference, and only its count changes.
        unsafe { self.block.as_ref() }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // A new reference comes from one that exists: there is nothing to be ordered. The count can't overflow
        // unless references are forgotten on purpose, as each takes more memory than it counts.
        self.block().references.fetch_add(1, Ordering::Relaxed);
        Self { block: self.block, owns: PhantomData }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.block().references.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        // What other threads did with the value comes before its end: each has released the count. A load, as the thread sanitizer
        // does not know fences.
        self.block().references.load(Ordering::Acquire);
        // SAFETY: this was the last reference; the block was allocated with this layout.
        unsafe {
            self.block.drop_in_place();
            dealloc(self.block.as_ptr().cast(), Layout::new::<Block<T>>());
        }
    }
}

impl<T> core::ops::Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.block().value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_value_goes_with_the_last_reference() {
        let value = Arc::new(());
        let first = Shared::new(value.clone()).unwrap();
        let others: std::vec::Vec<_> = (0..4).map(|_| first.clone()).collect();
        drop(first);
        std::thread::scope(|scope| {
            for other in others {
                let value = &value;
                scope.spawn(move || assert!(Arc::ptr_eq(&other, value)));
            }
        });
        assert_eq!(Arc::strong_count(&value), 1);
    }
}
