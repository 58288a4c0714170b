//! Physical memory: its bytes, and who owns which part of it.
//!
//! The first eighth is for the driver (contiguous allocations: queues, directories), the rest for processes, in 4 KiB and 2 MiB
//! frames. Frames are handed out in a scrambled order, so that neighbouring virtual pages never have neighbouring
//! frames by accident and a wrong translation cannot go unnoticed.

use pasidon_cosim::{Flat, Random};
use pasidon_experiment::MachineModel;
use pasidon_experiment::timing::{Side, Timing};
use std::collections::BTreeSet;
use std::ops::{Deref, DerefMut};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Bytes of a superpage.
pub const HUGE_PAGE: u64 = 2 << 20;
/// Bytes of a group of pages that are one: NAPOT.
pub const GROUP: u64 = 64 << 10;
/// Bytes of a page of the next size.
pub const GIANT_PAGE: u64 = 1 << 30;
/// Memory from which on there are frames of that size.
const GIANT_MEMORY: u64 = 16 << 30;
/// Frames of 4 KiB that are scrambled together: all of a memory of up to a gigabyte. More are looked at only when these are in use.
const SCRAMBLED: u64 = 1 << 17;
/// What fresh memory contains: garbage that is neither zero nor a harmless table entry.
const GARBAGE: u8 = 0xa5;

/// Physical memory of the simulated machine.
pub struct Ram {
    bytes: Flat,
    /// When an access has its data.
    pub timing: Timing,
    /// Free contiguous ranges for the driver, (start, length), sorted.
    ranges: Vec<(u64, u64)>,
    frames: Vec<u64>,
    /// Frames from here on are not in `frames` yet.
    next_frames: u64,
    random: Random,
    huge_frames: Vec<u64>,
    giant_frames: Vec<u64>,
    /// Frames of 64 KiB: parts of frames of 2 MiB.
    group_frames: Vec<u64>,
    /// What the driver has, (start, length), in the order of allocation.
    driver: Vec<(u64, u64)>,
    frames_used: usize,
    /// What a former owner had, (start, length): nobody may touch it.
    aside: Vec<(u64, u64)>,
}

/// What is in use at some time.
pub struct InUse {
    driver: Vec<(u64, u64)>,
    frames: Vec<u64>,
    huge_frames: Vec<u64>,
}

impl Ram {
    /// `bytes` of memory (a multiple of 16 MiB) in the upper half of a physical address space of `address_width` bits.
    pub fn new(address_width: u32, bytes: u64, random: &mut Random) -> Ram {
        let bytes = bytes.max(16 << 20).next_multiple_of(16 << 20);
        let base = 1 << (address_width - 1);
        let driver_end = base + bytes / 8;
        let frames_end = base + bytes / 8 * 5;
        let next_frames = frames_end.min(driver_end + SCRAMBLED * PAGE);
        let giants = if bytes < GIANT_MEMORY {
            base + bytes
        } else {
            (base + bytes / 16 * 13).next_multiple_of(GIANT_PAGE)
        };
        let mut frames: Vec<u64> = (driver_end..next_frames).step_by(PAGE as usize).collect();
        let mut huge_frames: Vec<u64> = (frames_end..giants).step_by(HUGE_PAGE as usize).collect();
        let whole = (base + bytes) & !(GIANT_PAGE - 1);
        let giant_frames: Vec<u64> = (giants..whole).step_by(GIANT_PAGE as usize).collect();
        random.shuffle(&mut frames);
        random.shuffle(&mut huge_frames);
        let ranges = vec![(base, driver_end - base)];
        Ram {
            bytes: Flat::new(base, bytes),
            timing: Timing::new(&MachineModel::default()),
            ranges,
            frames,
            next_frames,
            random: Random::new(bytes),
            huge_frames,
            giant_frames,
            group_frames: Vec::new(),
            driver: Vec::new(),
            frames_used: 0,
            aside: Vec::new(),
        }
    }

    /// Allocates contiguous memory for the driver, filled with garbage. Addresses in bytes, `align` a power of two.
    pub fn alloc(&mut self, bytes: u64, align: u64) -> Option<u64> {
        let bytes = bytes.max(1).next_multiple_of(8);
        let (index, start) = self.ranges.iter().enumerate().find_map(|(index, &(start, length))| {
            let aligned = start.checked_next_multiple_of(align.max(8))?;
            (aligned + bytes <= start + length).then_some((index, aligned))
        })?;
        let (range_start, length) = self.ranges.remove(index);
        let after = (start + bytes, range_start + length - start - bytes);
        let before = (range_start, start - range_start);
        for range in [after, before] {
            if range.1 > 0 {
                self.ranges.insert(index, range);
            }
        }
        self.slice_mut(start, bytes as usize)?.fill(GARBAGE);
        self.driver.push((start, bytes));
        Some(start)
    }

    /// Takes back what [`alloc`](Self::alloc) gave out, and spoils it: whoever still uses it will notice.
    pub fn free(&mut self, start: u64, bytes: u64) {
        let bytes = bytes.max(1).next_multiple_of(8);
        let Some(memory) = self.slice_mut(start, bytes as usize) else { return };
        memory.fill(GARBAGE);
        self.driver.retain(|&known| known != (start, bytes));
        let index = self.ranges.partition_point(|&(s, _)| s < start);
        self.ranges.insert(index, (start, bytes));
        if index + 1 < self.ranges.len() && start + bytes == self.ranges[index + 1].0 {
            self.ranges[index].1 += self.ranges.remove(index + 1).1;
        }
        if index > 0 && self.ranges[index - 1].0 + self.ranges[index - 1].1 == start {
            self.ranges[index - 1].1 += self.ranges.remove(index).1;
        }
    }

    /// What the driver has allocated and not freed, (start, length), in the order of allocation.
    pub fn allocations(&self) -> &[(u64, u64)] {
        &self.driver
    }

    /// A free 4 KiB frame, not cleared.
    pub fn alloc_frame(&mut self) -> Option<u64> {
        if self.frames.is_empty() {
            self.more_frames();
        }
        let frame = self.frames.pop()?;
        self.frames_used += 1;
        Some(frame)
    }

    /// The next frames of 4 KiB that nobody has looked at yet.
    fn more_frames(&mut self) {
        let end = (self.base() + self.bytes.len() / 8 * 5).min(self.next_frames + SCRAMBLED * PAGE);
        self.frames = (self.next_frames..end).step_by(PAGE as usize).collect();
        self.random.shuffle(&mut self.frames);
        self.next_frames = end;
    }

    /// A free frame of 2^`shift` bytes, more than 4 KiB, not cleared. Those of 1 GiB are there in a memory of 16 GiB and more.
    pub fn alloc_large_frame(&mut self, shift: u8) -> Option<u64> {
        if 1 << shift == GROUP && self.group_frames.is_empty() {
            let whole = self.huge_frames.pop()?;
            self.group_frames = (whole..whole + HUGE_PAGE).step_by(GROUP as usize).collect();
        }
        let frames = match 1 << shift {
            GROUP => &mut self.group_frames,
            HUGE_PAGE => &mut self.huge_frames,
            GIANT_PAGE => &mut self.giant_frames,
            _ => return None,
        };
        let frame = frames.pop()?;
        self.frames_used += 1;
        Some(frame)
    }

    /// Takes back a frame of any size, and spoils it: whoever still uses it will notice. One of 1 GiB is spoiled where it begins.
    pub fn free_frame(&mut self, frame: u64, bytes: u64) {
        let spoiled = if bytes == GIANT_PAGE { PAGE } else { bytes };
        if let Some(memory) = self.slice_mut(frame, spoiled as usize) {
            memory.fill(GARBAGE);
        }
        self.frames_used -= 1;
        match bytes {
            GROUP => self.group_frames.push(frame),
            GIANT_PAGE => self.giant_frames.push(frame),
            HUGE_PAGE => self.huge_frames.push(frame),
            _ => self.frames.push(frame),
        }
    }

    /// Frames of either size that were handed out and have not come back.
    pub fn frames_used(&self) -> usize {
        self.frames_used
    }

    /// What is in use now.
    pub fn in_use(&self) -> InUse {
        let end = self.base() + self.bytes.len();
        let driver_end = self.base() + self.bytes.len() / 8;
        let frames_end = self.base() + self.bytes.len() / 8 * 5;
        let next_frames = self.next_frames;
        let used = |free: &[u64], range: std::ops::Range<u64>, bytes: u64| {
            let aside = self.aside.iter().map(|(start, _)| *start);
            let free: BTreeSet<u64> = free.iter().copied().chain(aside).collect();
            range.step_by(bytes as usize).filter(|frame| !free.contains(frame)).collect()
        };
        InUse {
            driver: self.driver.clone(),
            frames: used(&self.frames, driver_end..next_frames, PAGE),
            huge_frames: used(&self.huge_frames, frames_end..end, HUGE_PAGE),
        }
    }

    /// Spoils what was in use by somebody who is gone, and keeps it out of use: whoever still writes to it is found.
    pub fn set_aside(&mut self, was: InUse) {
        self.release_aside();
        self.frames_used -= was.frames.len() + was.huge_frames.len();
        self.driver.retain(|known| !was.driver.contains(known));
        let frames = was.frames.into_iter().map(|frame| (frame, PAGE));
        let huge = was.huge_frames.into_iter().map(|frame| (frame, HUGE_PAGE));
        self.aside = was.driver.into_iter().chain(frames).chain(huge).collect();
        for (start, length) in self.aside.clone() {
            if let Some(bytes) = self.slice_mut(start, length as usize) {
                bytes.fill(GARBAGE);
            }
        }
    }

    /// Where something that was [set aside](Self::set_aside) has been written to.
    pub fn touched_aside(&self) -> Option<u64> {
        self.aside.iter().find_map(|&(start, length)| {
            let bytes = self.slice(start, length as usize)?;
            let at = bytes.iter().position(|byte| *byte != GARBAGE)?;
            Some(start + at as u64)
        })
    }

    /// What was set aside can be used again.
    pub fn release_aside(&mut self) {
        let driver_end = self.base() + self.bytes.len() / 8;
        for (start, length) in std::mem::take(&mut self.aside) {
            if start < driver_end {
                self.free(start, length);
            } else {
                self.frames_used += 1;
                self.free_frame(start, length);
            }
        }
    }
}

impl Deref for Ram {
    type Target = Flat;

    fn deref(&self) -> &Flat {
        &self.bytes
    }
}

impl DerefMut for Ram {
    fn deref_mut(&mut self) -> &mut Flat {
        &mut self.bytes
    }
}

impl pasidon_cosim::BusMemory for Ram {
    #[inline]
    fn load(&mut self, address: u64) -> Option<u64> {
        pasidon_cosim::BusMemory::load(&mut self.bytes, address)
    }

    #[inline]
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        self.bytes.write(address, value, strobes)
    }

    #[inline]
    fn due(&mut self, now: u64, address: u64, bytes: u64) -> Option<u64> {
        // Where nothing can make a difference, the pace of the port decides, with whatever else it has.
        (!self.timing.is_even()).then(|| self.timing.access(Side::Tables, now, address, bytes).first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contiguous_memory_is_reused() {
        let mut memory = Ram::new(32, 16 << 20, &mut Random::new(1));
        let a = memory.alloc(100, 8).unwrap();
        let b = memory.alloc(4096, 4096).unwrap();
        assert!(b.is_multiple_of(4096) && b >= a + 100);
        memory.free(a, 100);
        memory.free(b, 4096);
        assert_eq!(memory.ranges.len(), 1);
        assert_eq!(memory.alloc(2 << 20, 4096), Some(1 << 31));
        assert_eq!(memory.alloc(8, 8), None);
        assert_eq!(memory.load(0), None);
        assert_eq!(memory.load(u64::MAX - 3), None);
    }
}
