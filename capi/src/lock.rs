//! The library's lock: a mutex of the operating system, or what the program brings.

#[cfg(any(feature = "hosted", test))]
mod imp {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// A value that is looked at for a short time, with nothing waited for and nobody called.
    pub(crate) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            // Nothing panics while it is held.
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(not(any(feature = "hosted", test)))]
mod imp {
    use crate::host::{iommu_host_lock, iommu_host_unlock};
    use core::{
        cell::UnsafeCell,
        ops::{Deref, DerefMut},
    };

    /// A value that is looked at for a short time, with nothing waited for and nobody called. There is one of these
    /// in the library, since the program brings one lock.
    pub(crate) struct Lock<T>(UnsafeCell<T>);

    // SAFETY: whoever looks at the value holds the program's lock.
    unsafe impl<T: Send> Sync for Lock<T> {}

    pub(crate) struct Guard<'a, T>(&'a Lock<T>);

    impl<T> Lock<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(UnsafeCell::new(value))
        }

        pub(crate) fn lock(&self) -> Guard<'_, T> {
            // SAFETY: it is not held by this thread: guards are short, and none is taken while there is one.
            unsafe { iommu_host_lock() };
            Guard(self)
        }
    }

    impl<T> Deref for Guard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            // SAFETY: the lock is held.
            unsafe { &*self.0.0.get() }
        }
    }

    impl<T> DerefMut for Guard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the lock is held, and this is the only guard.
            unsafe { &mut *self.0.0.get() }
        }
    }

    impl<T> Drop for Guard<'_, T> {
        fn drop(&mut self) {
            // SAFETY: it was taken when the guard was made.
            unsafe { iommu_host_unlock() };
        }
    }
}

pub(crate) use imp::Lock;
