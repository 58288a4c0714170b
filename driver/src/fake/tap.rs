//! A platform between the driver and another one: for tests that look at the driver's calls, or interrupt it at them.

use crate::Platform;
use alloc::sync::Arc;
use core::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
};

/// A call of the driver to its platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It reads the register at this offset.
    Read(u32),
    /// It writes the register at this offset.
    Write(u32),
    /// It allocates memory.
    Alloc,
    /// It returns memory.
    Free,
    /// It reads memory.
    Load(u64),
    /// It writes memory.
    Store(u64),
    /// It orders its accesses.
    Fence,
    /// It reads the clock.
    Now,
    /// It waits.
    Relax,
    /// It takes a lock.
    Mask,
    /// It has released one.
    Unmask,
}

/// What looks at the driver's calls.
pub trait Tap: Send + Sync {
    /// A call is about to be made.
    fn before(&self, call: Call) {
        let _ = call;
    }
    /// It has been made.
    fn after(&self, call: Call) {
        let _ = call;
    }
}

/// The platform `P`, with the tap `T` on it.
pub struct Tapped<P, T> {
    /// What the calls go to.
    pub platform: Arc<P>,
    /// What looks at them.
    pub tap: T,
}

impl<P: Platform, T: Tap> Tapped<P, T> {
    /// Puts a tap on a platform.
    pub fn new(platform: Arc<P>, tap: T) -> Arc<Self> {
        Arc::new(Self { platform, tap })
    }

    fn call<R>(&self, call: Call, make: impl FnOnce(&P) -> R) -> R {
        self.tap.before(call);
        let result = make(&self.platform);
        self.tap.after(call);
        result
    }
}

// SAFETY: every call goes to a platform that does what it must.
unsafe impl<P: Platform, T: Tap> Platform for Tapped<P, T> {
    unsafe fn read32(&self, offset: u32) -> u32 {
        // SAFETY: as the caller has promised.
        self.call(Call::Read(offset), |platform| unsafe { platform.read32(offset) })
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        // SAFETY: as the caller has promised.
        self.call(Call::Read(offset), |platform| unsafe { platform.read64(offset) })
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        // SAFETY: as the caller has promised.
        self.call(Call::Write(offset), |platform| unsafe { platform.write32(offset, value) });
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        // SAFETY: as the caller has promised.
        self.call(Call::Write(offset), |platform| unsafe { platform.write64(offset, value) });
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        self.call(Call::Alloc, |platform| platform.alloc(bytes, align))
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        // SAFETY: as the caller has promised.
        self.call(Call::Free, |platform| unsafe { platform.free(paddr, bytes) });
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        // SAFETY: as the caller has promised.
        self.call(Call::Load(paddr), |platform| unsafe { platform.load64(paddr) })
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        // SAFETY: as the caller has promised.
        self.call(Call::Store(paddr), |platform| unsafe { platform.store64(paddr, value) });
    }
    fn fence(&self) {
        self.call(Call::Fence, P::fence);
    }
    fn now(&self) -> u64 {
        self.call(Call::Now, P::now)
    }
    fn relax(&self) {
        self.call(Call::Relax, P::relax);
    }
    fn context(&self) -> Option<NonZeroUsize> {
        self.platform.context()
    }
    fn mask(&self) -> usize {
        self.call(Call::Mask, P::mask)
    }
    fn unmask(&self, state: usize) {
        self.call(Call::Unmask, |platform| platform.unmask(state));
    }
}

/// What an interrupt does.
pub type Handler = Arc<dyn Fn() + Send + Sync>;

/// Interrupts the driver, at its calls to the platform, where it has not masked interrupts. There is one processor:
/// its user calls the driver from one thread. The handler runs with interrupts masked, and may do what an interrupt
/// handler may: [`crate::Iommu::invalidate_range`], [`crate::Iommu::service_faults`] and
/// [`crate::Iommu::receive_page_requests`].
pub struct Interrupts {
    handler: spin::Mutex<Option<Handler>>,
    masked: AtomicUsize,
    one_in: u64,
    random: AtomicU64,
    taken: AtomicUsize,
}

impl Interrupts {
    /// One call in `one_in` is interrupted, at random: 1 for all of them. The same `seed` gives the same interrupts.
    pub const fn new(seed: u64, one_in: u64) -> Self {
        Self {
            handler: spin::Mutex::new(None),
            masked: AtomicUsize::new(0),
            one_in,
            random: AtomicU64::new(seed),
            taken: AtomicUsize::new(0),
        }
    }

    /// What interrupts do from now on; `None` for nothing.
    pub fn set_handler(&self, handler: Option<Handler>) {
        *self.handler.lock() = handler;
    }

    /// How many there were.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    fn interrupt(&self) {
        if self.masked.load(Ordering::Relaxed) != 0 {
            return;
        }
        let state = self.random.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        if !(mixed ^ mixed >> 31).is_multiple_of(self.one_in.max(1)) {
            return;
        }
        let handler = self.handler.lock().clone();
        if let Some(handler) = handler {
            self.masked.fetch_add(1, Ordering::Relaxed);
            self.taken.fetch_add(1, Ordering::Relaxed);
            handler();
            self.masked.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Tap for Interrupts {
    fn before(&self, call: Call) {
        self.interrupt();
        if call == Call::Mask {
            self.masked.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn after(&self, call: Call) {
        if call == Call::Unmask {
            self.masked.fetch_sub(1, Ordering::Relaxed);
        }
        self.interrupt();
    }
}
