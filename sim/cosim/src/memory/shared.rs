//! Memory that somebody else owns, and uses while the hardware does.

use super::{BusMemory, merge};
use memmap2::MmapRaw;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// A shared mapping of a file, such as the one behind the memory of a virtual machine, from a physical address on.
///
/// Each access of the hardware is one atomic access to an aligned doubleword. A write of some of its bytes, and an exclusive write,
/// is a compare-and-exchange: what others write to the doubleword in between is never lost.
pub struct Shared {
    base: u64,
    mapping: MmapRaw,
}

// The mapping holds whole pages; nobody can look beyond its last doubleword.
const DOUBLEWORD: usize = 8;

impl Shared {
    /// Maps all of `file`, readable and writable, so that its first byte is at the physical address `base`, a multiple of 8. A rest
    /// of less than a doubleword is not memory.
    ///
    /// The file must not become shorter while it is mapped: an access beyond its end ends the process (SIGBUS), as for everybody
    /// who maps it.
    ///
    /// # Errors
    /// What the operating system says of the mapping; [`io::ErrorKind::InvalidInput`] for a `base` that is no multiple of 8.
    pub fn map(file: &File, base: u64) -> io::Result<Shared> {
        if !base.is_multiple_of(DOUBLEWORD as u64) {
            let what = format!("memory at {base:#x}: the base must be a multiple of 8 bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        Ok(Shared { base, mapping: MmapRaw::map_raw(file)? })
    }

    /// Lowest address of memory.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The doubleword that holds `address`.
    #[inline]
    fn word(&self, address: u64) -> Option<&AtomicU64> {
        let index = usize::try_from(address.checked_sub(self.base)?).ok()? / DOUBLEWORD;
        if index >= self.mapping.len() / DOUBLEWORD {
            return None;
        }
        // SAFETY: within the mapping, which lives as long as `self`; a mapping begins at a page's boundary, so that the doubleword is
        // aligned. Others access it through mappings of their own, to which this process has no reference.
        Some(unsafe { AtomicU64::from_ptr(self.mapping.as_mut_ptr().cast::<u64>().add(index)) })
    }
}

impl BusMemory for Shared {
    #[inline]
    fn load(&mut self, address: u64) -> Option<u64> {
        self.word(address).map(|word| u64::from_le(word.load(Ordering::Acquire)))
    }

    #[inline]
    fn write(&mut self, address: u64, value: u64, strobes: u8) -> bool {
        let Some(word) = self.word(address) else { return false };
        if strobes == 0xff {
            word.store(value.to_le(), Ordering::Release);
        } else {
            let update = |old| Some(merge(u64::from_le(old), value, strobes).to_le());
            // The closure always gives a value: the update cannot fail.
            _ = word.fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
        }
        true
    }

    #[inline]
    fn exchange(&mut self, address: u64, seen: u64, value: u64, strobes: u8) -> Option<bool> {
        let new = merge(seen, value, strobes).to_le();
        let word = self.word(address)?;
        Some(word.compare_exchange(seen.to_le(), new, Ordering::AcqRel, Ordering::Relaxed).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, bytes: u64) -> (std::path::PathBuf, File) {
        let path = std::env::temp_dir().join(format!("pasidon-shared-{}-{name}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
        (path, file)
    }

    #[test]
    fn the_file_is_the_memory() {
        let (path, file) = file("file", 4100);
        let mut memory = Shared::map(&file, 1 << 31).unwrap();
        assert!(
            memory.write((1 << 31) + 8, 0x1122_3344_5566_7788, 0xff) && memory.write((1 << 31) + 8, 0, 0x0f)
        );
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(&bytes[..17], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11, 0]);
        assert_eq!(memory.load((1 << 31) + 15), Some(0x1122_3344_0000_0000));
        for none in [0, (1 << 31) - 1, (1 << 31) + 4096, u64::MAX] {
            assert_eq!(
                (memory.load(none), memory.write(none, 1, 0xff), memory.exchange(none, 0, 1, 0xff)),
                (None, false, None)
            );
        }
        assert_eq!(Shared::map(&file, 4).err().unwrap().kind(), io::ErrorKind::InvalidInput);
        std::fs::remove_file(path).unwrap();
    }

    /// Two owners add to one doubleword by exclusive accesses, and to its bytes by plain ones: nothing is lost.
    #[test]
    fn what_others_write_in_between_is_not_lost() {
        const EACH: u64 = 20_000;
        let (path, file) = file("race", 4096);
        let add = |file: &File| {
            let mut memory = Shared::map(file, 0).unwrap();
            for done in 0..EACH {
                loop {
                    let seen = memory.load(0).unwrap();
                    if memory.exchange(0, seen, seen + 1, 0xff) == Some(true) {
                        break;
                    }
                }
                memory.write(8, done << 8, 0x02);
            }
        };
        let step = |file: &File| {
            let mut memory = Shared::map(file, 0).unwrap();
            (0..EACH).for_each(|done| assert!(memory.write(8, done, 0x01)));
            (0..EACH).for_each(|_| {
                let seen = memory.load(0).unwrap();
                memory.exchange(0, seen, seen, 0xff);
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(|| add(&file));
            scope.spawn(|| add(&file));
            scope.spawn(|| step(&file));
        });
        let mut memory = Shared::map(&file, 0).unwrap();
        let last = (EACH - 1) & 0xff;
        assert_eq!((memory.load(0), memory.load(8)), (Some(2 * EACH), Some(last << 8 | last)));
        std::fs::remove_file(path).unwrap();
    }
}
