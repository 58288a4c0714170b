//! The driver's locks: one class, always taken with interrupts masked as the platform sees fit, and in the order
//! of [`Rank`]; and turns, which are held while hardware is waited for.
//!
//! What is done under a lock is a few steps of bookkeeping, loads and stores: nothing is allocated, returned or
//! waited for, and nobody outside the driver is called but [`Platform`].

use crate::platform::Platform;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What a thread does that finds a lock taken.
#[cfg(not(test))]
type Contended = spin::Spin;
#[cfg(test)]
use crate::tests::interleavings::Contended;

/// The order in which locks and turns are taken: whoever holds one takes only those further down. Tests check
/// that it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The turn of one device: what is bound to it, and what it may do.
    Device,
    /// The turn of the device directory.
    Directory,
    /// Page requests between queue and answer.
    Requests,
    /// The page-request queue.
    RequestQueue,
    /// Fault records between queue and callbacks.
    Faults,
    /// The fault queue.
    FaultQueue,
    /// Bonds, and the devices and address spaces that have them.
    Bonds,
    /// The command queue.
    Commands,
    /// What the driver keeps in an mm.
    Mm,
}

/// A value that is looked at for a few instructions at a time.
pub(crate) struct Lock<T> {
    rank: Rank,
    value: spin::mutex::Mutex<T, Contended>,
}

/// Access to the value of a [`Lock`]; the lock is released before interrupts are unmasked.
pub(crate) struct Guard<'a, T> {
    // Fields are dropped in the order of declaration, and the order matters.
    value: spin::MutexGuard<'a, T>,
    _held: order::Held,
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
    pub(crate) const fn new(rank: Rank, value: T) -> Self {
        Self { rank, value: spin::mutex::Mutex::new(value) }
    }

    pub(crate) fn lock<'a>(&'a self, platform: &'a dyn Platform) -> Guard<'a, T> {
        let masked = Masked { platform, state: platform.mask() };
        let held = order::Held::new(self.rank);
        Guard { value: self.value.lock(), _held: held, _masked: masked }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
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

/// A value that operations hold while they change tables and wait for the hardware, one at a time and first come
/// first served. Waiters call [`Platform::relax`], interrupts stay enabled, and nothing that may run in an
/// interrupt handler takes it. Taken before a [`Lock`], never after.
pub(crate) struct Turn<T> {
    rank: Rank,
    /// The ticket of the next who comes, and of the one whose turn it is.
    next: AtomicUsize,
    now: AtomicUsize,
    value: spin::Mutex<T>,
}

/// Access to the value of a [`Turn`].
pub(crate) struct Mine<'a, T> {
    // The next one's turn begins when the value is free.
    value: spin::MutexGuard<'a, T>,
    _held: order::Held,
    _pass: Pass<'a>,
}

struct Pass<'a>(&'a AtomicUsize);

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

impl<T> Turn<T> {
    pub(crate) const fn new(rank: Rank, value: T) -> Self {
        Self { rank, next: AtomicUsize::new(0), now: AtomicUsize::new(0), value: spin::Mutex::new(value) }
    }

    pub(crate) fn take(&self, platform: &dyn Platform) -> Mine<'_, T> {
        let held = order::Held::new(self.rank);
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        while self.now.load(Ordering::Acquire) != ticket {
            platform.relax();
        }
        Mine { value: self.value.lock(), _held: held, _pass: Pass(&self.now) }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.value.get_mut()
    }
}

impl<T> core::ops::Deref for Mine<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> core::ops::DerefMut for Mine<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// Tests: nothing is held where the driver calls somebody else.
pub(crate) fn assert_none_held() {
    order::assert_none_held();
}

#[cfg(not(test))]
mod order {
    //! Costs nothing where it is not checked.

    pub(super) struct Held;

    impl Held {
        pub(super) fn new(_: super::Rank) -> Self {
            Self
        }
    }

    pub(super) fn assert_none_held() {}
}

/// What each thread holds, so that an order other than that of [`Rank`] fails the test that comes upon it.
#[cfg(test)]
pub(crate) mod order {
    use super::Rank;
    use crate::tests::interleavings::flow;
    use std::cell::RefCell;

    /// More than are ever held at once by all threads that share a stack of an exploration.
    const MOST: usize = 64;

    std::thread_local! {
        static HELD: RefCell<[Option<(usize, Rank)>; MOST]> = const { RefCell::new([None; MOST]) };
    }

    pub(crate) struct Held(Rank);

    impl Held {
        pub(crate) fn new(rank: Rank) -> Self {
            let flow = flow();
            let held = |entry: &Option<(usize, Rank)>| entry.filter(|(holder, _)| *holder == flow);
            HELD.with_borrow_mut(|stack| {
                let highest = stack.iter().filter_map(held).map(|(_, rank)| rank).max();
                assert!(highest.is_none_or(|highest| highest < rank), "{rank:?} taken under {highest:?}");
                let free = stack.iter_mut().find(|entry| entry.is_none()).expect("too many locks");
                *free = Some((flow, rank));
            });
            Self(rank)
        }
    }

    impl Drop for Held {
        fn drop(&mut self) {
            let mine = Some((flow(), self.0));
            HELD.with_borrow_mut(|stack| {
                if let Some(entry) = stack.iter_mut().find(|entry| **entry == mine) {
                    *entry = None;
                }
            });
        }
    }

    /// Whether this thread holds a lock, turns not counted.
    pub(crate) fn any_lock_held() -> bool {
        let flow = flow();
        HELD.with_borrow(|stack| {
            stack.iter().flatten().any(|(holder, rank)| *holder == flow && *rank > Rank::Directory)
        })
    }

    pub(super) fn assert_none_held() {
        let flow = flow();
        let held =
            HELD.with_borrow(|stack| stack.iter().flatten().find(|(holder, _)| *holder == flow).copied());
        assert_eq!(held, None, "somebody is called with something held");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn another_order_than_that_of_the_ranks_is_noticed() {
        let fake = Fake::new();
        let (bonds, commands) = (Lock::new(Rank::Bonds, ()), Lock::new(Rank::Commands, ()));
        {
            let _bonds = bonds.lock(&*fake);
            let _commands = commands.lock(&*fake);
        }
        let _commands = commands.lock(&*fake);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(bonds.lock(&*fake)))).is_err());
        assert!(catch_unwind(assert_none_held).is_err());
    }

    #[test]
    fn turns_come_in_the_order_of_those_who_wait() {
        let fake = Fake::new();
        let turn = Turn::new(Rank::Device, std::vec::Vec::new());
        let first = turn.take(&*fake);
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (turn, fake) = (&turn, &fake);
                scope.spawn(move || turn.take(&**fake).push(number));
                while turn.next.load(Ordering::SeqCst) != number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(*turn.take(&*fake), [0, 1, 2, 3]);
    }
}
