//! What memory held before software or the hardware changed it, for as long as a cache may still hold it.
//!
//! Between a change of an entry in memory and the commands that make the IOMMU forget it, each use of the entry may be of what it
//! was or of what it is now, in any mixture (section "Updating in-memory data structure entries"). [`Versions`] keeps the old
//! values, and [`WhatIf`] is a memory in which every read of a changed doubleword is such a choice. Running the golden model on it
//! under every sequence of [`Choices`] gives every answer that the specification allows.
//!
//! Software may also let the page-table entries of one NAPOT range differ. Any of them may then be used for all of the range
//! (extension Svnapot); [`Versions::allow_ranges`] makes that a choice as well.

use super::EngineMemory;
use pasidon_cosim::BusMemory as _;
use pasidon_cosim::memory::AddressMap;
use pasidon_golden as golden;
use pasidon_spec::memory::Failure;
use pasidon_spec::memory::MemoryFault;

/// What a doubleword reads as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content {
    /// Its value, if it can be read.
    pub value: u64,
    /// Why it cannot.
    pub failure: Option<MemoryFault>,
}

impl Content {
    /// What the doubleword at `address` reads as now.
    pub fn of(memory: &mut EngineMemory, address: u64) -> Content {
        match memory.load(address) {
            None => Content { value: 0, failure: Some(MemoryFault::Access) },
            Some(value) => {
                let failure = if memory.fails(address, Failure::Read) {
                    Some(MemoryFault::Access)
                } else {
                    memory.fails(address, Failure::Poison).then_some(MemoryFault::Corrupt)
                };
                Content { value, failure }
            }
        }
    }
}

/// Whether a doubleword is a page-table entry of a NAPOT range of 64 KiB, in either byte order: V and N are set, and PPN\[3:0\] is 8.
fn is_napot(value: u64) -> bool {
    const MASK: u64 = 1 << 63 | 0xf << 10 | 1;
    const FORM: u64 = 1 << 63 | 8 << 10 | 1;
    value & MASK == FORM || value.swap_bytes() & MASK == FORM
}

/// Bytes of the page-table entries of a NAPOT range of 64 KiB.
const RANGE_BYTES: u64 = 16 * 8;

/// Old contents by address of the doubleword, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Versions {
    old: AddressMap<Vec<Content>>,
    ranges: bool,
}

impl Versions {
    /// Whether each doubleword can only be used as memory holds it.
    pub fn is_empty(&self) -> bool {
        self.old.is_empty() && !self.ranges
    }

    /// From now on, a page-table entry may be used as another one of its NAPOT range is.
    pub fn allow_ranges(&mut self) {
        self.ranges = true;
    }

    /// The doubleword at `address` held `content` and may be remembered so.
    pub fn remember(&mut self, address: u64, content: Content) {
        let list = self.old.entry(address & !7).or_default();
        if !list.contains(&content) {
            list.push(content);
        }
    }

    /// The hardware changed a doubleword by exchange: what it held before may be remembered. Where that set both A and D, another
    /// order of the same requests sets A first, and then the entry with A alone may be remembered, too.
    pub fn remember_exchange(&mut self, written: &Written) {
        let content = |value| Content { value, failure: None };
        self.remember(written.address, content(written.before));
        let set = written.before ^ written.value;
        let lowest = set & set.wrapping_neg();
        if set != lowest {
            self.remember(written.address, content(written.before | lowest));
        }
    }

    /// Nothing remembers what the doubleword at `address` held.
    pub fn forget(&mut self, address: u64) {
        self.old.remove(&(address & !7));
    }

    /// Nothing remembers anything.
    pub fn forget_all(&mut self) {
        self.old.clear();
    }
}

/// A sequence of choices, each among a number of possibilities; 0 is the present. Sequences with few old values come first: caches
/// forget one entry at a time.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// (chosen, possibilities)
    made: Vec<(usize, usize)>,
    next: usize,
    /// Old values in this sequence.
    old: usize,
    /// Most old values in a sequence.
    most: usize,
    /// There are sequences with more.
    more: bool,
}

impl Choices {
    fn pick(&mut self, possibilities: usize) -> usize {
        if self.next == self.made.len() {
            self.made.push((0, possibilities));
        }
        self.next += 1;
        self.made[self.next - 1].0
    }

    /// Goes to the next sequence; false after the last. A sequence comes again with those that have one old value more.
    pub fn advance(&mut self) -> bool {
        self.next = 0;
        while let Some((chosen, possibilities)) = self.made.pop() {
            self.old -= usize::from(chosen > 0);
            if chosen + 1 < possibilities {
                if self.old < self.most {
                    self.old += 1;
                    self.made.push((chosen + 1, possibilities));
                    return true;
                }
                self.more = true;
            }
        }
        self.most += 1;
        std::mem::take(&mut self.more)
    }
}

/// A write of the golden model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Address of the doubleword.
    pub address: u64,
    /// What it held.
    pub before: u64,
    /// What it holds.
    pub value: u64,
    /// The write was a compare-and-exchange: of a page-table entry or a memory-resident interrupt file.
    pub exchange: bool,
}

/// The notice MSI of a memory-resident interrupt file: the only 4 bytes that a translation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Address of the 4 bytes.
    pub address: u64,
    /// What was written.
    pub value: u64,
}

impl Notice {
    fn of(address: u64, bytes: u32, value: u64) -> Option<Notice> {
        (bytes == 4).then_some(Notice { address, value })
    }
}

/// Memory in which changed doublewords read as any of their versions, and writes are only noted.
pub struct WhatIf<'a> {
    memory: &'a mut EngineMemory,
    versions: &'a Versions,
    choices: &'a mut Choices,
    /// What was written, in order.
    pub written: Vec<Written>,
    /// The notices among it.
    pub notices: Vec<Notice>,
    /// No hardware does what this run did: an exchange compared memory with an old value. The hardware starts over when that happens,
    /// and what it does then is another run. (Without this, starting over is one more choice, for ever.)
    pub impossible: bool,
}

impl<'a> WhatIf<'a> {
    /// What else than `present` the 8 or 4 bytes at `address` may be used as.
    fn others(&mut self, address: u64, bytes: u32, present: Content) -> Vec<Content> {
        let versions = self.versions;
        let old = |address: u64| versions.old.get(&(address & !7)).into_iter().flatten().rev().copied();
        let mut others: Vec<Content> = old(address).filter(|content| *content != present).collect();
        if versions.ranges && bytes == 8 {
            let first = address & !(RANGE_BYTES - 1);
            for entry in (first..first + RANGE_BYTES).step_by(8).filter(|entry| *entry != address & !7) {
                for content in std::iter::once(self.present(entry)).chain(old(entry)) {
                    let is_new = content != present && !others.contains(&content);
                    if is_new && content.failure.is_none() && is_napot(content.value) {
                        others.push(content);
                    }
                }
            }
        }
        others
    }

    /// A run under these choices.
    pub fn new(memory: &'a mut EngineMemory, versions: &'a Versions, choices: &'a mut Choices) -> WhatIf<'a> {
        WhatIf { memory, versions, choices, written: vec![], notices: vec![], impossible: false }
    }

    /// What the doubleword holds now, this run's own writes included.
    fn present(&mut self, address: u64) -> Content {
        let content = Content::of(self.memory, address);
        match self.written.iter().rfind(|w| w.address == address & !7) {
            Some(written) => Content { value: written.value, ..content },
            None => content,
        }
    }

    fn put(&mut self, address: u64, bytes: u32, value: u64, exchange: bool) -> Result<(), MemoryFault> {
        if self.memory.fails(address, Failure::Write) {
            return Err(MemoryFault::Access);
        }
        let before = self.present(address);
        if self.memory.load(address).is_none() {
            return Err(MemoryFault::Access);
        }
        let value = merge(before.value, address, bytes, value);
        self.written.push(Written { address: address & !7, before: before.value, value, exchange });
        Ok(())
    }
}

/// A doubleword in which 4 or 8 bytes were replaced.
fn merge(old: u64, address: u64, bytes: u32, value: u64) -> u64 {
    if bytes == 8 {
        return value;
    }
    let shift = 8 * (address & 4);
    old & !(0xffff_ffff << shift) | (value & 0xffff_ffff) << shift
}

/// The 4 or 8 bytes at `address` of what a doubleword holds.
fn part(content: Content, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
    match content.failure {
        Some(failure) => Err(failure),
        None if bytes == 8 => Ok(content.value),
        None => Ok(content.value >> (8 * (address & 4)) & 0xffff_ffff),
    }
}

impl golden::Memory for WhatIf<'_> {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        let present = self.present(address);
        if !self.versions.ranges && !self.versions.old.contains_key(&(address & !7)) {
            return part(present, address, bytes);
        }
        let others = self.others(address, bytes, present);
        let chosen = self.choices.pick(others.len() + 1);
        part(*std::iter::once(&present).chain(&others).nth(chosen).unwrap_or(&present), address, bytes)
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        self.put(address, bytes, value, false)?;
        self.notices.extend(Notice::of(address, bytes, value));
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        let present = self.present(address);
        if part(present, address, bytes)? != old {
            self.impossible = true;
            return Err(MemoryFault::Access);
        }
        self.put(address, bytes, new, true).map(|()| true)
    }
}

/// Memory that takes writes at once and notes the exchanges among them.
pub struct Noted<'a> {
    /// The memory.
    pub memory: &'a mut EngineMemory,
    /// Exchanges, oldest first.
    pub exchanges: &'a mut Vec<Written>,
    /// Notices, oldest first.
    pub notices: &'a mut Vec<Notice>,
}

impl golden::Memory for Noted<'_> {
    #[inline]
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        super::GoldenMemory(self.memory).read(address, bytes)
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        super::GoldenMemory(self.memory).write(address, bytes, value)?;
        self.notices.extend(Notice::of(address, bytes, value));
        Ok(())
    }

    fn compare_exchange(
        &mut self,
        address: u64,
        bytes: u32,
        old: u64,
        new: u64,
    ) -> Result<bool, MemoryFault> {
        let before = self.memory.load(address);
        let done = super::GoldenMemory(self.memory).compare_exchange(address, bytes, old, new)?;
        if done && let (Some(before), Some(value)) = (before, self.memory.load(address)) {
            self.exchanges.push(Written { address: address & !7, before, value, exchange: true });
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pasidon_cosim::Extent;
    use pasidon_golden::Memory as _;

    #[test]
    fn every_mixture_of_old_and_new_is_tried_the_newest_first() {
        let mut memory = EngineMemory::sparse(Extent::Everywhere { width: 40 });
        let mut versions = Versions::default();
        for address in [0x1000, 0x2000] {
            versions.remember(address, Content::of(&mut memory, address));
            memory.store(address, 1);
        }
        versions.remember(0x2000, Content { value: 1, failure: None });
        // What is as it was is no choice.
        versions.remember(0x2000, Content { value: 2, failure: None });
        memory.store(0x2000, 2);
        let mut choices = Choices::default();
        let mut seen = vec![];
        loop {
            let mut run = WhatIf::new(&mut memory, &versions, &mut choices);
            seen.push((run.read(0x1000, 8), run.read(0x2000, 4)));
            if !choices.advance() {
                break;
            }
        }
        let one = [(1, 2), (1, 1), (1, 0), (0, 2)];
        let two = [(1, 2), (1, 1), (1, 0), (0, 2), (0, 1), (0, 0)];
        assert_eq!(
            seen,
            [&[(1, 2)], &one[..], &two].concat().iter().map(|&(a, b)| (Ok(a), Ok(b))).collect::<Vec<_>>()
        );
    }

    #[test]
    fn an_entry_of_a_napot_range_may_be_used_as_another_one() {
        let mut memory = EngineMemory::sparse(Extent::Everywhere { width: 40 });
        let napot = |ppn: u64| 1 << 63 | (ppn << 4 | 8) << 10 | 0xdf;
        for (index, value) in [(0, napot(1)), (1, 7), (2, napot(2)), (3, 1 << 63 | 0xdf), (16, napot(3))] {
            memory.store(0x1000 + 8 * index, value);
        }
        let seen = |versions: &Versions, memory: &mut EngineMemory, address: u64, bytes: u32| {
            let (mut choices, mut seen) = (Choices::default(), vec![]);
            loop {
                seen.extend(WhatIf::new(memory, versions, &mut choices).read(address, bytes));
                if !choices.advance() {
                    // What memory holds now is tried again for each number of choices.
                    seen.dedup();
                    break seen;
                }
            }
        };
        let mut versions = Versions::default();
        assert_eq!(seen(&versions, &mut memory, 0x1008, 8), [7]);
        versions.allow_ranges();
        assert!(!versions.is_empty());
        assert_eq!(seen(&versions, &mut memory, 0x1008, 8), [7, napot(1), napot(2)]);
        assert_eq!(seen(&versions, &mut memory, 0x1088, 8), [0, napot(3)]);
        assert_eq!(seen(&versions, &mut memory, 0x1008, 4), [7]);
        // What another entry held before counts as well.
        versions.remember(0x1000, Content { value: napot(4).swap_bytes(), failure: None });
        assert_eq!(seen(&versions, &mut memory, 0x1008, 8), [7, napot(1), napot(4).swap_bytes(), napot(2)]);
    }

    #[test]
    fn of_an_exchange_that_sets_a_and_d_the_entry_with_a_alone_is_remembered_too() {
        let mut versions = Versions::default();
        versions.remember_exchange(&Written { address: 0, before: 0x1f, value: 0xdf, exchange: true });
        versions.remember_exchange(&Written { address: 8, before: 0x5f, value: 0xdf, exchange: true });
        let values = |address| versions.old[&address].iter().map(|c| c.value).collect::<Vec<_>>();
        assert_eq!((values(0), values(8)), (vec![0x1f, 0x5f], vec![0x5f]));
    }

    #[test]
    fn a_run_sees_its_own_writes_and_changes_nothing() {
        let mut memory = EngineMemory::sparse(Extent::Everywhere { width: 40 });
        let (versions, mut choices) = (Versions::default(), Choices::default());
        let mut run = WhatIf::new(&mut memory, &versions, &mut choices);
        assert_eq!(run.write(0x1004, 4, 7), Ok(()));
        assert_eq!(run.compare_exchange(0x1000, 8, 7 << 32, 9), Ok(true));
        assert_eq!((run.read(0x1000, 4), run.written.len(), run.impossible), (Ok(9), 2, false));
        assert_eq!(run.compare_exchange(0x1000, 4, 1, 2), Err(MemoryFault::Access));
        assert!(run.impossible && run.written.len() == 2);
        assert_eq!(memory.load(0x1000), Some(0));
    }
}
