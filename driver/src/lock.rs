//! The driver's lock: a spin lock taken with interrupts masked as the platform sees fit.

use crate::platform::Platform;

/// What a thread does that finds a lock taken.
#[cfg(not(test))]
type Contended = spin::Spin;
#[cfg(test)]
use crate::tests::interleavings::Contended;

/// A value that is looked at for a few instructions at a time.
///
/// Never held across a callback, nor across a wait for hardware, except while a queue that failed is
/// restarted.
pub(crate) struct Lock<T>(spin::mutex::Mutex<T, Contended>);

/// Access to the value of a [`Lock`]; the lock is released before interrupts are unmasked.
pub(crate) struct Guard<'a, T> {
    // Fields are dropped in the order of declaration, and the order matters.
    value: spin::MutexGuard<'a, T>,
    _masked: Masked<'a>,
}

struct Masked<'a> {
    platform: &'a dyn Platform,
    state: usize,
}

impl Drop for Masked<'_> {
    fn drop(&mut self) {
        self.platform.unmask(self.state);
    }
}

impl<T> Lock<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(spin::mutex::Mutex::new(value))
    }

    pub(crate) fn lock<'a>(&'a self, platform: &'a dyn Platform) -> Guard<'a, T> {
        let masked = Masked { platform, state: platform.mask() };
        Guard { value: self.0.lock(), _masked: masked }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> core::ops::Deref for Guard<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> core::ops::DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A value that operations hold while they change tables and wait for the hardware (bind, unbind, enable,
/// disable, exit), one at a time. Waiters call [`Platform::relax`], interrupts stay enabled, and nothing that
/// may run in an interrupt handler takes it. Taken before a [`Lock`], never after.
pub(crate) struct Turn<T>(spin::Mutex<T>);

impl<T> Turn<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(spin::mutex::Mutex::new(value))
    }

    pub(crate) fn take(&self, platform: &dyn Platform) -> spin::MutexGuard<'_, T> {
        loop {
            if let Some(guard) = self.0.try_lock() {
                return guard;
            }
            platform.relax();
        }
    }
}
