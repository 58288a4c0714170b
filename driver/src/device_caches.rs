//! Translations in caches of devices: invalidation requests, and what becomes of devices that don't complete
//! them. (Section "Device Address Translation Cache invalidations".)
//!
//! These come after the invalidation of the IOMMU's own caches has been confirmed, from which a device could
//! otherwise get the old translation again. There is one request per device in a batch, and the fence of a
//! batch waits for all of them, so that no device ever has two outstanding.

use crate::{error::CommandError, iommu::Inner, pasid::Pasid};
use pasidon_spec::{command::Command, message::InvalidationRequest, range};

/// Devices per batch.
const DEVICES: usize = 8;
/// How many timeouts in a row make a device a dead one.
const STRIKES: u32 = 2;
/// How often a device is asked, even if it is reset again and again meanwhile.
const ATTEMPTS: u32 = 4;

impl Inner {
    /// Makes every device forget what it has of an address space. Those that don't complete the request are
    /// cut off, and then it does not matter what they remember. Can be called from any context.
    ///
    /// # Errors
    /// The IOMMU did not confirm that it sent the requests, or that it cut a device off.
    pub(crate) fn invalidate_caches(
        &self,
        pasid: Pasid,
        request: InvalidationRequest,
    ) -> Result<(), CommandError> {
        let size = DEVICES.min(self.commands.capacity());
        let mut first = 0;
        loop {
            let mut batch = [None; DEVICES];
            let mut count = 0;
            let next = {
                let bonds = self.bonds.lock(self.platform());
                let mut next = None;
                for ((_, device_id), cached) in bonds.caches.range((pasid, first)..=(pasid, u32::MAX)) {
                    let Some(requester) = cached.requester else { continue };
                    if bonds.links.get(*device_id).is_none_or(|link| link.cut_off) {
                        continue;
                    }
                    if count == size {
                        next = Some(*device_id);
                        break;
                    }
                    let command = requester.invalidate(Some(pasid.get()), request.encode());
                    batch[count] = Some((*device_id, command));
                    count += 1;
                }
                next
            };
            if count > 0 {
                self.invalidate_batch(&batch[..count])?;
            }
            let Some(next) = next else { return Ok(()) };
            first = next;
        }
    }

    fn invalidate_batch(&self, batch: &[Option<(u32, Command)>]) -> Result<(), CommandError> {
        self.hardware.counters.device_invalidations.add(batch.len());
        let commands = Commands { batch };
        match self.commands.execute(commands) {
            Err(CommandError::DeviceTimeout) => {}
            result => return result,
        }
        // One by one, to see which device it was.
        for (device_id, command) in batch.iter().flatten() {
            self.invalidate_device(*device_id, *command)?;
        }
        Ok(())
    }

    /// Sends one request; a device that does not complete it is cut off.
    ///
    /// A timeout may also stem from a request that was sent before a restart of the queue, to another device:
    /// so a device has failed only when it fails twice. One that is cut off meanwhile need not be asked any
    /// more, and one that was reset since starts anew.
    pub(crate) fn invalidate_device(&self, device_id: u32, command: Command) -> Result<(), CommandError> {
        let mut strikes = 0;
        for _ in 0..ATTEMPTS {
            let Some(cuts) = self.cuts(device_id) else { return Ok(()) };
            match self.commands.execute(core::iter::once(command)) {
                Err(CommandError::DeviceTimeout) => {}
                result => return result,
            }
            strikes += u32::from(self.cuts(device_id) == Some(cuts));
            if strikes == STRIKES {
                break;
            }
        }
        if self.cuts(device_id).is_none() {
            return Ok(());
        }
        self.hardware.counters.device_timeouts.add(1);
        log::error!("device {device_id:#x} does not complete invalidations");
        self.isolate(device_id)
    }

    /// How often a device was cut off before; `None` if it is now.
    fn cuts(&self, device_id: u32) -> Option<usize> {
        let bonds = self.bonds.lock(self.platform());
        bonds.links.get(device_id).filter(|link| !link.cut_off).map(|link| link.cuts)
    }
}

/// The commands of a batch.
#[derive(Clone)]
struct Commands<'a> {
    batch: &'a [Option<(u32, Command)>],
}

impl Iterator for Commands<'_> {
    type Item = Command;
    fn next(&mut self) -> Option<Command> {
        let (first, rest) = self.batch.split_first()?;
        self.batch = rest;
        first.map(|(_, command)| command)
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.batch.len(), Some(self.batch.len()))
    }
}

impl ExactSizeIterator for Commands<'_> {}

/// A request for the smallest range that can be named and holds the bytes `first` to `last`.
pub(crate) const fn covering(first: u64, last: u64) -> InvalidationRequest {
    let different = (first ^ last) >> 12;
    let shift = 12 + u64::BITS - different.leading_zeros();
    match range::encode(first, shift) {
        Some(page) => InvalidationRequest { global: false, page, napot: true },
        None => InvalidationRequest { global: false, page: first >> 12, napot: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_what_they_must_and_no_more_than_the_next_power_of_two() {
        assert_eq!(covering(0x5000, 0x5fff).bounds(), (0x5000, 0x5fff));
        assert_eq!(covering(0x4000, 0x5fff).bounds(), (0x4000, 0x5fff));
        // Two pages that are not a pair.
        assert_eq!(covering(0x5000, 0x6fff).bounds(), (0x4000, 0x7fff));
        assert_eq!(covering(0x1000, 0x3_0000).bounds(), (0, 0x3_ffff));
        assert_eq!(covering(0, u64::MAX).bounds(), (0, u64::MAX));
        assert_eq!(covering(1 << 63, u64::MAX).bounds(), (1 << 63, u64::MAX));
        for first in 0..40u64 {
            for last in first..40 {
                let (low, high) = covering(first << 12, (last << 12) + 0xfff).bounds();
                assert!(low <= first << 12 && high >= (last << 12) + 0xfff);
            }
        }
    }
}
