//! One IOMMU as its parts share it: typed register access, memory it can reach, and bounded waiting.

use crate::{platform::Platform, shared::Shared, statistics::Counters};
use alloc::sync::Arc;
use core::sync::atomic::{AtomicUsize, Ordering};
use pasidon_spec::registers::{Register, ddtp};

/// The size of a page, of a directory table and of the smallest queue allocation, in bytes.
pub(crate) const PAGE: usize = 4096;

/// What the IOMMU is doing, as the driver knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It is being switched on or off.
    Starting,
    /// It translates.
    On,
    /// It was switched off, and may have no power: nobody touches a register.
    Suspended,
    /// It was reset, or can't be brought back: nobody touches a register but who tries.
    Lost,
}

const CONDITIONS: [Condition; 4] =
    [Condition::Starting, Condition::On, Condition::Suspended, Condition::Lost];

/// The register page, memory and clock of one IOMMU.
pub(crate) struct Hardware {
    pub(crate) platform: Arc<dyn Platform>,
    /// The first address beyond what the IOMMU can reach (`2^capabilities.PAS`).
    pub(crate) address_limit: u64,
    /// How long any one step of the hardware may take, in platform ticks.
    pub(crate) timeout: u64,
    /// How long a step may take that waits for devices to forget translations.
    pub(crate) device_timeout: u64,
    /// What has happened so far.
    pub(crate) counters: Counters,
    /// A [`Condition`].
    pub(crate) condition: AtomicUsize,
    /// The mode that the directory was last entered in.
    pub(crate) mode: AtomicUsize,
}

/// A condition did not come about in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut;

impl Hardware {
    pub(crate) fn platform(&self) -> &dyn Platform {
        &*self.platform
    }

    pub(crate) fn condition(&self) -> Condition {
        let number = self.condition.load(Ordering::SeqCst);
        CONDITIONS.get(number).copied().unwrap_or(Condition::Lost)
    }

    pub(crate) fn set_condition(&self, condition: Condition) {
        self.condition.store(condition as usize, Ordering::SeqCst);
    }

    /// Whether registers may be touched.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.condition(), Condition::Starting | Condition::On)
    }

    /// Looks whether the IOMMU is still in the mode that it was switched to; if not, it was reset. One register is
    /// read, if any may be. Returns whether the IOMMU is lost, now or since earlier.
    pub(crate) fn notice_reset(&self) -> bool {
        match self.condition() {
            Condition::On => {}
            condition => return condition == Condition::Lost,
        }
        let mode = ddtp::IOMMU_MODE.get(self.read(&ddtp::REG));
        if mode == self.mode.load(Ordering::SeqCst) as u64 {
            return false;
        }
        let lost = self.condition.compare_exchange(
            Condition::On as usize,
            Condition::Lost as usize,
            Ordering::SeqCst,
            Ordering::SeqCst,
        );
        if lost.is_ok() {
            self.counters.resets_noticed.add(1);
        }
        lost.is_ok() || self.condition() == Condition::Lost
    }

    /// Reads a whole register.
    pub(crate) fn read(&self, register: &Register) -> u64 {
        self.read_nth(register, 0)
    }

    /// Writes a whole register, after everything written to memory so far.
    pub(crate) fn write(&self, register: &Register, value: u64) {
        self.write_nth(register, 0, value);
    }

    /// Reads one register of an array.
    pub(crate) fn read_nth(&self, register: &Register, index: u8) -> u64 {
        let offset = offset_of(register, index);
        // SAFETY: this is where the register is, and how wide; reads have no side effects.
        unsafe {
            if register.bytes == 4 {
                self.platform.read32(offset).into()
            } else {
                self.platform.read64(offset)
            }
        }
    }

    /// Writes one register of an array, after everything written to memory so far.
    pub(crate) fn write_nth(&self, register: &Register, index: u8, value: u64) {
        let offset = offset_of(register, index);
        self.platform.fence();
        // SAFETY: this is where the register is, and how wide. The driver's owner gave it the IOMMU, which the driver
        // points only to memory that it has allocated, to page tables that an `Mm` vouches for, and to where its
        // configuration has interrupts written.
        unsafe {
            if register.bytes == 4 {
                self.platform.write32(offset, value as u32);
            } else {
                self.platform.write64(offset, value);
            }
        }
    }

    /// Reads the doubleword at `paddr`, which is inside a [`Region`] that the caller holds.
    pub(crate) fn load(&self, paddr: u64) -> u64 {
        // SAFETY: regions are what the platform allocated; addresses in them are computed from what the driver itself
        // keeps, never from what was read.
        unsafe { self.platform.load64(paddr) }
    }

    /// Writes the doubleword at `paddr`, which is inside a [`Region`] that the caller holds.
    pub(crate) fn store(&self, paddr: u64, value: u64) {
        // SAFETY: see `load`.
        unsafe { self.platform.store64(paddr, value) }
    }

    /// Polls a register until `done` accepts its value, which is returned.
    pub(crate) fn wait(&self, register: &Register, done: impl Fn(u64) -> bool) -> Result<u64, TimedOut> {
        let start = self.platform.now();
        loop {
            // The clock is read before the register: however long this thread is kept from running between
            // the two, hardware that was in time is never called late.
            let elapsed = self.platform.now().wrapping_sub(start);
            let value = self.read(register);
            if done(value) {
                return Ok(value);
            }
            if elapsed > self.timeout {
                return Err(TimedOut);
            }
            self.platform.relax();
        }
    }

    /// Zeroed memory, aligned to its own size or to a page if that is more. `None` also if what the platform
    /// gave is misaligned or beyond the reach of the IOMMU.
    pub(crate) fn alloc_zeroed(hardware: &Shared<Self>, bytes: usize) -> Option<Region> {
        let bytes = bytes.max(PAGE);
        let align = bytes.next_power_of_two();
        let paddr = hardware.platform.alloc(bytes, align)?;
        let region = Region { hardware: hardware.clone(), paddr, bytes, fixed: false };
        let end = paddr.checked_add(bytes as u64)?;
        if paddr % align as u64 != 0 || end > hardware.address_limit {
            log::error!("memory at {paddr:#x} is misaligned or beyond the IOMMU's physical addresses");
            return None;
        }
        region.clear();
        Some(region)
    }

    /// The memory that the IOMMU uses whose base register was given that of `own` and now has the page number `ppn`:
    /// the same, or memory that the IOMMU has for this and the platform knows of. Cleared.
    pub(crate) fn granted(own: Region, ppn: u64) -> Option<Region> {
        if ppn == own.ppn() {
            return Some(own);
        }
        let paddr = ppn.checked_mul(PAGE as u64)?;
        let end = paddr.checked_add(own.bytes as u64)?;
        if end > own.hardware.address_limit || !own.hardware.platform.is_fixed_memory(paddr, own.bytes) {
            return None;
        }
        let region = Region { hardware: own.hardware.clone(), paddr, bytes: own.bytes, fixed: true };
        region.clear();
        Some(region)
    }
}

/// Where a register of an array is; of one that has no such index, the last.
fn offset_of(register: &Register, index: u8) -> u32 {
    u32::from(register.offset) + u32::from(register.stride) * u32::from(index.min(register.count - 1))
}

/// Memory that the IOMMU may be using, returned to the platform when dropped.
pub(crate) struct Region {
    hardware: Shared<Hardware>,
    paddr: u64,
    bytes: usize,
    /// It is the IOMMU's own, and never returned.
    fixed: bool,
}

impl Region {
    pub(crate) fn paddr(&self) -> u64 {
        self.paddr
    }

    pub(crate) fn ppn(&self) -> u64 {
        self.paddr / PAGE as u64
    }

    fn clear(&self) {
        for offset in (0..self.bytes as u64).step_by(8) {
            self.hardware.store(self.paddr + offset, 0);
        }
    }

    /// Never returns the memory: the hardware did not confirm that it let go of it.
    pub(crate) fn leak(self) {
        core::mem::forget(self);
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if self.fixed {
            return;
        }
        // SAFETY: the platform gave it, and this is the only one to return it: once the IOMMU has let go of it.
        unsafe { self.hardware.platform.free(self.paddr, self.bytes) };
    }
}
