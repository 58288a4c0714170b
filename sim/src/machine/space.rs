//! What a process's memory must contain: the shadow copy that every access is checked against.
//!
//! Pages of a space are numbered, and requests carry the number of their page, so that a check costs an index and
//! no lookup. [`Space::hold`] keeps accesses to the same bytes in program order, one device or many: the hardware may
//! complete requests in any order, so that a device must not have two of them under way that depend on each other.

/// Granules of eight bytes that are told apart by ordering; others share a counter, which only costs time.
const GRANULES: usize = 4096;
const WRITER: u32 = 1 << 16;

/// Shadow of one address space.
pub struct Space {
    bytes: Vec<u8>,
    busy: Box<[u32; GRANULES]>,
}

impl Default for Space {
    fn default() -> Space {
        Space { bytes: Vec::new(), busy: Box::new([0; GRANULES]) }
    }
}

impl Space {
    /// Adds a page with this content (4096 bytes) and returns its number.
    pub fn add_page(&mut self, content: &[u8]) -> u32 {
        let page = self.bytes.len() / 4096;
        self.bytes.extend_from_slice(content);
        page as u32
    }

    /// The expected bytes of a part of a page.
    #[inline]
    pub fn bytes(&self, page: u32, offset: usize, length: usize) -> &[u8] {
        let start = page as usize * 4096 + offset;
        &self.bytes[start..start + length]
    }

    /// The same, to change.
    #[inline]
    pub fn bytes_mut(&mut self, page: u32, offset: usize, length: usize) -> &mut [u8] {
        let start = page as usize * 4096 + offset;
        &mut self.bytes[start..start + length]
    }

    #[inline]
    fn granules(va: u64, length: u16) -> impl Iterator<Item = usize> {
        (va >> 3..=(va + u64::from(length) - 1) >> 3).map(|granule| granule as usize % GRANULES)
    }

    /// Claims the bytes for an access; false (and nothing is claimed) while another one conflicts.
    #[inline]
    pub fn hold(&mut self, va: u64, length: u16, write: bool) -> bool {
        for granule in Space::granules(va, length) {
            let busy = self.busy[granule];
            if if write { busy != 0 } else { busy >= WRITER } {
                return false;
            }
        }
        for granule in Space::granules(va, length) {
            self.busy[granule] += if write { WRITER } else { 1 };
        }
        true
    }

    /// Ends the claim of [`hold`](Self::hold).
    #[inline]
    pub fn release(&mut self, va: u64, length: u16, write: bool) {
        for granule in Space::granules(va, length) {
            self.busy[granule] -= if write { WRITER } else { 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependent_accesses_wait() {
        let mut space = Space::default();
        assert!(space.hold(0x1000, 8, false) && space.hold(0x1004, 4, false));
        assert!(!space.hold(0x0ffc, 8, true));
        assert!(space.hold(0x1008, 8, true) && !space.hold(0x100f, 1, false));
        space.release(0x1000, 8, false);
        assert!(!space.hold(0x1000, 1, true));
        space.release(0x1004, 4, false);
        // 4097 bytes back on the same counters is not possible: an access stays inside its page.
        assert!(space.hold(0x0ff8, 16, true) && !space.hold(0x1000, 1, false));
    }
}
