//! The reference for isolation, independent of the hardware: whose page is where, who may access it, and what it must contain.
//!
//! The operating system says what devices may reach ([`Truth::grant`]) before its page tables do, and takes that back
//! ([`Truth::revoke`]) when the driver has confirmed that nobody uses it any more. Every access of every device is held
//! against it: one that reaches memory in another way than a page granted to the address space that the device is bound to under this
//! PASID is a [`Finding`], whatever the hardware, the driver and the device believe. Contents are compared with a copy of
//! each page that follows the address space, not the frame, through page-out, copy-on-write and fork.
//!
//! [`Truth::hold`] keeps accesses to the same bytes in program order, one device or many: the hardware may
//! complete requests in any order, so that a device must not have two of them under way that depend on each other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Names an address space for ever: numbers are not used again.
pub type SpaceId = u32;

/// Bytes of a page.
const PAGE: usize = 4096;
/// Granules of eight bytes that are told apart by ordering; others share a counter, which only costs time. 512 KiB: bytes of a fast
/// network that are under way (200 Gbit/s for 450 ns are 11 KiB) seldom meet each other by chance.
const GRANULES: usize = 1 << 16;
const WRITER: u32 = 1 << 16;
/// Findings that are kept; more are only counted.
const KEPT: usize = 32;

/// A frame that an address space may be reached in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Physical address of the 4 KiB frame.
    pub frame: u64,
    /// Writes are allowed.
    pub write: bool,
    /// Fetches are allowed.
    pub exec: bool,
}

/// A page of an address space: content, and where it is at present, if it is anywhere.
struct Page {
    bytes: Box<[u8]>,
    grant: Option<Grant>,
}

/// Pages that nobody has looked at yet: what they contain follows from the backing store.
struct Range {
    end: u64,
    backing: u64,
    /// How the first may be reached; the others follow it.
    grant: Option<Grant>,
}

struct Space {
    pages: HashMap<u64, Page>,
    /// By number of the first page.
    ranges: BTreeMap<u64, Range>,
    busy: Box<[u32]>,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Clock cycle.
    pub cycle: u64,
    /// What happened.
    pub what: String,
}

/// An access of a device that has reached memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Clock cycle in which the translation was answered.
    pub cycle: u64,
    /// Who.
    pub device_id: u32,
    /// With which PASID.
    pub process_id: Option<u32>,
    /// The virtual address that is meant.
    pub va: u64,
    /// The physical address that was reached.
    pub spa: u64,
    /// Bytes.
    pub length: u16,
    /// Store.
    pub write: bool,
    /// Fetch.
    pub exec: bool,
}

/// All address spaces, bonds and findings.
#[derive(Default)]
pub struct Truth {
    spaces: HashMap<SpaceId, Space>,
    bonds: HashMap<(u32, u32), SpaceId>,
    barred: BTreeSet<u32>,
    change: Change,
    findings: Vec<Finding>,
    found: u64,
}

/// Whether the IOMMU changes hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Change {
    #[default]
    No,
    /// Its owner is gone, and what he allowed is allowed until it is Off.
    Begun,
    /// It was Off in that cycle.
    Off(u64),
}

impl Space {
    /// What a page of a range has at first, and how it may be reached.
    fn range(&self, page: u64) -> Option<(u64, Grant)> {
        let (&first, range) = self.ranges.range(..=page).next_back().filter(|(_, range)| page < range.end)?;
        let grant = range.grant?;
        Some((range.backing, Grant { frame: grant.frame + (page - first) * PAGE as u64, ..grant }))
    }
}

impl Truth {
    /// The IOMMU's owner is gone. What he allowed stays so until a successor has seen that the IOMMU is Off; from then on
    /// nothing may be let through.
    pub fn begin_change(&mut self) {
        self.change = Change::Begun;
    }

    /// Software has seen that the IOMMU is Off.
    pub fn iommu_is_off(&mut self, cycle: u64) {
        if self.change == Change::Begun {
            self.change = Change::Off(cycle);
        }
    }

    /// The new owner has the IOMMU: memory of the previous owner may not be reached any more, in whatever way.
    pub fn end_change(&mut self) {
        self.change = Change::No;
        self.spaces.clear();
        self.bonds.clear();
        self.barred.clear();
    }

    /// Adds an address space without pages.
    pub fn add_space(&mut self, space: SpaceId) {
        self.spaces.insert(
            space,
            Space { pages: HashMap::new(), ranges: BTreeMap::new(), busy: vec![0; GRANULES].into() },
        );
    }

    /// Removes an address space: nothing of it may be reached any more.
    pub fn remove_space(&mut self, space: SpaceId) {
        self.spaces.remove(&space);
    }

    /// Makes an address space whose pages have the same contents as those of `parent`, and are nowhere yet.
    pub fn fork(&mut self, parent: SpaceId, child: SpaceId) {
        self.add_space(child);
        let Some(parent) = self.spaces.get(&parent) else { return };
        let copy =
            |(&page, content): (&u64, &Page)| (page, Page { bytes: content.bytes.clone(), grant: None });
        let pages = parent.pages.iter().map(copy).collect();
        if let Some(child) = self.spaces.get_mut(&child) {
            child.pages = pages;
        }
    }

    /// Adds a page (its number is `va / 4096`) with this content, which is nowhere yet.
    pub fn add_page(&mut self, space: SpaceId, page: u64, content: &[u8]) {
        if let Some(space) = self.spaces.get_mut(&space) {
            space.pages.insert(page, Page { bytes: content.into(), grant: None });
        }
    }

    /// Adds pages up to `end` that are nowhere yet, with what `backing` has for them. A large page costs what is used of it.
    pub fn add_range(&mut self, space: SpaceId, first: u64, end: u64, backing: u64) {
        if let Some(space) = self.spaces.get_mut(&space) {
            space.ranges.insert(first, Range { end, backing, grant: None });
        }
    }

    /// From now on the pages of a range from `first` on may be reached, one after the other from there.
    pub fn grant_range(&mut self, space: SpaceId, first: u64, grant: Grant) {
        if let Some(range) = self.spaces.get_mut(&space).and_then(|space| space.ranges.get_mut(&first)) {
            range.grant = Some(grant);
        }
    }

    /// Removes the range that begins with a page, and what there was of it.
    pub fn remove_range(&mut self, space: SpaceId, first: u64) {
        if let Some(space) = self.spaces.get_mut(&space)
            && let Some(range) = space.ranges.remove(&first)
        {
            space.pages.retain(|page, _| !(first..range.end).contains(page));
        }
    }

    /// Makes the page of an address exist if it belongs to a range and nobody has looked at it before: then memory gets what is
    /// returned, at that address.
    #[inline]
    pub fn look_at(&mut self, device_id: u32, process_id: Option<u32>, va: u64) -> Option<(u64, &[u8])> {
        let space = self.bonds.get(&(device_id, process_id?))?;
        let space = self.spaces.get_mut(space)?;
        if space.ranges.is_empty() {
            return None;
        }
        let number = va / PAGE as u64;
        if space.pages.contains_key(&number) {
            return None;
        }
        let (backing, grant) = space.range(number)?;
        let mut bytes = vec![0; PAGE].into_boxed_slice();
        crate::os::backing_content(backing, number, &mut bytes);
        let page = space.pages.entry(number).or_insert(Page { bytes, grant: Some(grant) });
        Some((grant.frame, &page.bytes))
    }

    /// Removes a page: it may not be reached any more.
    pub fn remove_page(&mut self, space: SpaceId, page: u64) {
        if let Some(space) = self.spaces.get_mut(&space) {
            space.pages.remove(&page);
        }
    }

    /// The content that a page must have, if there is such a page.
    pub fn content(&self, space: SpaceId, page: u64) -> Option<&[u8]> {
        self.spaces.get(&space)?.pages.get(&page).map(|page| &*page.bytes)
    }

    /// From now on the page may be reached, there and in no other way.
    pub fn grant(&mut self, space: SpaceId, page: u64, grant: Grant) {
        if let Some(page) = self.spaces.get_mut(&space).and_then(|space| space.pages.get_mut(&page)) {
            page.grant = Some(grant);
        }
    }

    /// From now on the page may not be reached.
    pub fn revoke(&mut self, space: SpaceId, page: u64) {
        if let Some(page) = self.spaces.get_mut(&space).and_then(|space| space.pages.get_mut(&page)) {
            page.grant = None;
        }
    }

    /// How a page may be reached.
    pub fn granted(&self, space: SpaceId, page: u64) -> Option<Grant> {
        let space = self.spaces.get(&space)?;
        match space.pages.get(&page) {
            Some(page) => page.grant,
            None => space.range(page).map(|(_, grant)| grant),
        }
    }

    /// The device may use the address space under this PASID.
    pub fn bind(&mut self, device_id: u32, process_id: u32, space: SpaceId) {
        self.bonds.insert((device_id, process_id), space);
    }

    /// It may no longer.
    pub fn unbind(&mut self, device_id: u32, process_id: u32) {
        self.bonds.remove(&(device_id, process_id));
    }

    /// The device was cut off: it may reach nothing.
    pub fn bar(&mut self, device_id: u32) {
        self.barred.insert(device_id);
    }

    /// It was let in again.
    pub fn admit(&mut self, device_id: u32) {
        self.barred.remove(&device_id);
    }

    /// What the device is bound to under this PASID.
    pub fn bound(&self, device_id: u32, process_id: Option<u32>) -> Option<SpaceId> {
        self.bonds.get(&(device_id, process_id?)).copied()
    }

    /// Judges an access, and returns the content that its page must have, from the access's first byte on.
    pub fn access(&mut self, reached: &Reached) -> Option<&mut [u8]> {
        match self.judge(reached) {
            Ok(space) => {
                let page = self.spaces.get_mut(&space)?.pages.get_mut(&(reached.va / PAGE as u64))?;
                let start = reached.va as usize % PAGE;
                page.bytes.get_mut(start..start + usize::from(reached.length))
            }
            Err(why) => {
                let Reached { cycle, device_id, process_id, va, spa, write, exec, .. } = *reached;
                let kind = if write {
                    "wrote"
                } else if exec {
                    "fetched"
                } else {
                    "read"
                };
                let pasid = process_id.map_or("no PASID".into(), |pasid| format!("PASID {pasid}"));
                self.find(
                    cycle,
                    format!("device {device_id:#x}, {pasid}, {kind} {va:#x} at {spa:#x}: {why}"),
                );
                None
            }
        }
    }

    fn judge(&self, reached: &Reached) -> Result<SpaceId, String> {
        if let Change::Off(cycle) = self.change
            && reached.cycle > cycle
        {
            return Err(format!("its owner was gone, and the IOMMU Off since cycle {cycle}"));
        }
        if self.barred.contains(&reached.device_id) {
            return Err("it was cut off".into());
        }
        let space = self.bound(reached.device_id, reached.process_id).ok_or("it is not bound")?;
        let pages = &self.spaces.get(&space).ok_or("the address space is gone")?.pages;
        let page = pages.get(&(reached.va / PAGE as u64)).ok_or("the page is not mapped")?;
        let grant = page.grant.ok_or("the page is not in memory")?;
        if reached.spa & !(PAGE as u64 - 1) != grant.frame {
            return Err(format!("the page is at {:#x}", grant.frame));
        }
        if reached.write && !grant.write {
            return Err("the page is not writable".into());
        }
        if reached.exec && !grant.exec {
            return Err("the page is not executable".into());
        }
        Ok(space)
    }

    /// Records that something must not be.
    pub fn find(&mut self, cycle: u64, what: String) {
        self.found += 1;
        if self.findings.len() < KEPT {
            self.findings.push(Finding { cycle, what });
        }
    }

    /// Takes the findings, the first of them if there are very many, and how many there were.
    pub fn take_findings(&mut self) -> (Vec<Finding>, u64) {
        (std::mem::take(&mut self.findings), std::mem::take(&mut self.found))
    }

    #[inline]
    fn granules(va: u64, length: u16) -> impl Iterator<Item = usize> {
        (va >> 3..=(va + u64::from(length) - 1) >> 3).map(|granule| granule as usize % GRANULES)
    }

    /// Claims the bytes for an access; false (and nothing is claimed) while another one conflicts.
    #[inline]
    pub fn hold(&mut self, space: SpaceId, va: u64, length: u16, write: bool) -> bool {
        let Some(Space { busy, .. }) = self.spaces.get_mut(&space) else { return true };
        for granule in Truth::granules(va, length) {
            let busy = busy[granule];
            if if write { busy != 0 } else { busy >= WRITER } {
                return false;
            }
        }
        for granule in Truth::granules(va, length) {
            busy[granule] += if write { WRITER } else { 1 };
        }
        true
    }

    /// Ends the claim of [`hold`](Self::hold).
    #[inline]
    pub fn release(&mut self, space: SpaceId, va: u64, length: u16, write: bool) {
        let Some(Space { busy, .. }) = self.spaces.get_mut(&space) else { return };
        for granule in Truth::granules(va, length) {
            busy[granule] -= if write { WRITER } else { 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependent_accesses_wait() {
        let mut truth = Truth::default();
        truth.add_space(1);
        assert!(truth.hold(1, 0x1000, 8, false) && truth.hold(1, 0x1004, 4, false));
        assert!(!truth.hold(1, 0x0ffc, 8, true));
        assert!(truth.hold(1, 0x1008, 8, true) && !truth.hold(1, 0x100f, 1, false));
        truth.release(1, 0x1000, 8, false);
        assert!(!truth.hold(1, 0x1000, 1, true));
        truth.release(1, 0x1004, 4, false);
        // 4097 bytes back on the same counters is not possible: an access stays inside its page.
        assert!(truth.hold(1, 0x0ff8, 16, true) && !truth.hold(1, 0x1000, 1, false));
    }

    #[test]
    fn whatever_was_not_granted_is_found() {
        let mut truth = Truth::default();
        truth.add_space(1);
        truth.add_page(1, 5, &[7; PAGE]);
        truth.bind(2, 9, 1);
        let good = Reached {
            cycle: 3,
            device_id: 2,
            process_id: Some(9),
            va: 0x5010,
            spa: 0x8_0010,
            length: 16,
            write: false,
            exec: false,
        };
        assert_eq!(truth.access(&good), None);
        truth.grant(1, 5, Grant { frame: 0x8_0000, write: false, exec: false });
        assert_eq!(truth.access(&good).map(|bytes| bytes.to_vec()), Some(vec![7; 16]));
        let bad = [
            (Reached { device_id: 3, ..good }, "not bound"),
            (Reached { process_id: None, ..good }, "not bound"),
            (Reached { va: 0x6010, ..good }, "not mapped"),
            (Reached { spa: 0x9_0010, ..good }, "the page is at 0x80000"),
            (Reached { write: true, ..good }, "not writable"),
            (Reached { exec: true, ..good }, "not executable"),
        ];
        truth.take_findings();
        for (reached, why) in bad {
            assert_eq!(truth.access(&reached), None);
            let (findings, count) = truth.take_findings();
            assert!(count == 1 && findings[0].what.contains(why), "{findings:?}");
        }
        truth.fork(1, 4);
        assert_eq!((truth.content(4, 5), truth.granted(4, 5)), (Some(&[7; PAGE][..]), None));
        truth.remove_space(1);
        assert_eq!(truth.access(&good), None);
    }
}
