//! The IOATC: what the model remembers of tables in memory, and what the invalidation commands make it forget. (Sections "Caching
//! in-memory data structures", "IOMMU Page-Table cache invalidation commands" and "IOMMU directory cache invalidation commands".)
//!
//! Kept are valid device contexts, valid process contexts, and complete translations of requests, one for each page of 4 KiB that a
//! device used. A translation knows the leaves that it came from, so that an invalidation takes away exactly what the text names.
//! A translation that does not permit an access is no answer to it: the tables are read again.

use pasidon_spec::command::Range;
use pasidon_spec::ddt::DeviceContext;
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::pdt::ProcessContext;

use super::Parameters;
use super::context::{Context, Stage};
use pasidon_spec::request::{AddressType, Request, Translation};

/// log2 of the most contexts of a kind that are kept.
const CONTEXTS_LOG2_MAX: u8 = 10;

const READ: u8 = 1;
const WRITE: u8 = 2;
const EXEC: u8 = 4;
const GLOBAL: u8 = 8;
const PBMT_SHIFT: u32 = 4;

const HAS_PROCESS: u64 = 1 << 52;
const PRIVILEGED: u64 = 1 << 53;
const TRANSLATED: u64 = 1 << 54;
/// Where the generation is in [`Tag::page`]; entries of earlier generations are gone.
const GENERATION_SHIFT: u32 = 56;
const GENERATION_MAX: u64 = 0xff;

/// What a translation is found by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag {
    /// Page number of the IOVA and kind of request; in an entry also the generation.
    page: u64,
    /// device_id, and process_id above it.
    who: u64,
}

impl Tag {
    /// The tag of `request`'s translation.
    #[inline]
    pub fn of(request: &Request) -> Tag {
        let (process, has_process) = match request.process_id {
            Some(process_id) => (process_id, HAS_PROCESS),
            None => (0, 0),
        };
        let privileged = if request.privileged && request.process_id.is_some() { PRIVILEGED } else { 0 };
        let kind = match request.at {
            AddressType::Untranslated => 0,
            AddressType::TranslationRequest => TRANSLATED << 1,
            AddressType::Translated => TRANSLATED,
        };
        Tag {
            page: request.iova >> PAGE_SHIFT | has_process | privileged | kind,
            who: u64::from(request.device_id) | u64::from(process) << 32,
        }
    }

    fn device_id(self) -> u32 {
        self.who as u32
    }

    fn process_id(self) -> Option<u32> {
        (self.page & HAS_PROCESS != 0).then_some((self.who >> 32) as u32)
    }

    fn iova(self) -> u64 {
        self.page << PAGE_SHIFT
    }

    #[inline]
    fn hash(self) -> u64 {
        (self.page ^ self.who.rotate_left(29).wrapping_mul(0x9e37_79b9_7f4a_7c15))
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
    }
}

/// A translation, and the leaves that it came from.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    tag: Tag,
    spa: u64,
    /// The guest physical address between the stages.
    gpa: u64,
    /// Address space and virtual machine, where there is such a stage.
    pscid: Option<u32>,
    gscid: Option<u16>,
    rcid: u16,
    mcid: u16,
    first_shift: u8,
    second_shift: u8,
    page_shift: u8,
    flags: u8,
}

/// Whether the `1 << shift` bytes around `address` meet the range.
fn meets(range: Range, address: u64, shift: u8) -> bool {
    let (first, last) = range.bounds();
    let inside = (1 << shift) - 1;
    address & !inside <= last && address | inside >= first
}

impl Entry {
    /// IOTINVAL.VMA: whether it goes away.
    fn meets_vma(&self, gscid: Option<u16>, pscid: Option<u32>, range: Option<Range>) -> bool {
        self.gscid == gscid
            && pscid.is_none_or(|pscid| self.pscid == Some(pscid) && self.flags & GLOBAL == 0)
            && range
                .is_none_or(|range| self.pscid.is_some() && meets(range, self.tag.iova(), self.first_shift))
    }

    /// IOTINVAL.GVMA: whether it goes away.
    fn meets_gvma(&self, guest: Option<(u16, Option<Range>)>) -> bool {
        match guest {
            None => self.gscid.is_some(),
            Some((gscid, range)) => {
                self.gscid == Some(gscid)
                    && range.is_none_or(|range| meets(range, self.gpa, self.second_shift))
            }
        }
    }

    /// IODIR.INVAL_PDT: whether it goes away. Requests without a process_id may use that of process 0 (`DC.tc.DPE`).
    fn is_of_process(&self, device_id: u32, process_id: u32) -> bool {
        self.tag.device_id() == device_id && self.tag.process_id().unwrap_or(0) == process_id
    }
}

/// Everything remembered. Empty tables remember nothing.
#[derive(Clone, Debug)]
pub(super) struct Ioatc {
    translations: Vec<Entry>,
    devices: Vec<Option<(u32, DeviceContext)>>,
    processes: Vec<Option<(u32, u32, ProcessContext)>>,
    generation: u64,
    /// Bits to shift a hash right by to get an index of `translations`.
    shift: u32,
}

impl Ioatc {
    /// Remembers nothing yet; and never, without `parameters.caching`.
    pub fn new(parameters: &Parameters) -> Ioatc {
        let log2 = parameters.cache_log2.clamp(4, 24);
        let size = |log2: u8| if parameters.caching { 1 << log2 } else { 0 };
        Ioatc {
            translations: vec![Entry::default(); size(log2)],
            devices: vec![None; size(log2.min(CONTEXTS_LOG2_MAX))],
            processes: vec![None; size(log2.min(CONTEXTS_LOG2_MAX))],
            generation: 1,
            shift: 64 - u32::from(log2),
        }
    }

    fn live(&self, tag: Tag) -> Tag {
        Tag { page: tag.page | self.generation << GENERATION_SHIFT, ..tag }
    }

    /// The translation of a request, if it is known and permits the access.
    #[inline]
    pub fn translation(&self, tag: &Tag, request: &Request) -> Option<Translation> {
        let index = (tag.hash() >> self.shift) as usize;
        let tag = self.live(*tag);
        let mut entry = self.translations.get(index)?;
        if entry.tag != tag {
            entry = self.translations.get(index ^ 1)?;
            if entry.tag != tag {
                return None;
            }
        }
        let needed = if request.exec {
            EXEC
        } else if request.write {
            WRITE
        } else {
            READ
        };
        if entry.flags & needed == 0 {
            return None;
        }
        let inside = (1 << PAGE_SHIFT) - 1;
        Some(Translation {
            spa: entry.spa | request.iova & inside,
            read: entry.flags & READ != 0,
            write: entry.flags & WRITE != 0,
            exec: entry.flags & EXEC != 0,
            page_shift: entry.page_shift,
            pbmt: entry.flags >> PBMT_SHIFT,
            rcid: entry.rcid,
            mcid: entry.mcid,
            mrif: false,
            ats: None,
        })
    }

    /// Remembers the translation of a request; two that fall on one place stay, the older of a third goes.
    pub fn keep_translation(
        &mut self,
        tag: Tag,
        translation: &Translation,
        context: &Context,
        first: &Stage,
        gpa: u64,
        second_shift: u8,
    ) {
        let index = (tag.hash() >> self.shift) as usize;
        let tag = self.live(tag);
        let bit = |on: bool, flag: u8| if on { flag } else { 0 };
        let inside = (1 << PAGE_SHIFT) - 1;
        let entry = Entry {
            tag,
            spa: translation.spa & !inside,
            gpa,
            pscid: context.ids.pscid,
            gscid: context.ids.gscid,
            rcid: translation.rcid,
            mcid: translation.mcid,
            first_shift: first.shift,
            second_shift,
            page_shift: translation.page_shift,
            flags: bit(translation.read, READ)
                | bit(translation.write, WRITE)
                | bit(translation.exec, EXEC)
                | bit(first.global, GLOBAL)
                | translation.pbmt << PBMT_SHIFT,
        };
        if self.translations[index ^ 1].tag == tag {
            self.translations[index ^ 1] = entry;
        } else {
            if self.translations[index].tag != tag {
                self.translations[index ^ 1] = self.translations[index];
            }
            self.translations[index] = entry;
        }
    }

    #[inline]
    fn place(&self, id: u32) -> usize {
        let spread = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        spread as usize & (self.devices.len().wrapping_sub(1))
    }

    /// The device context of `device_id`.
    #[inline]
    pub fn device(&self, device_id: u32) -> Option<DeviceContext> {
        match self.devices.get(self.place(device_id))? {
            Some((id, context)) if *id == device_id => Some(*context),
            _ => None,
        }
    }

    /// Remembers a device context.
    #[inline]
    pub fn keep_device(&mut self, device_id: u32, context: &DeviceContext) {
        let place = self.place(device_id);
        if let Some(slot) = self.devices.get_mut(place) {
            *slot = Some((device_id, *context));
        }
    }

    /// The process context of `process_id` of `device_id`.
    #[inline]
    pub fn process(&self, device_id: u32, process_id: u32) -> Option<ProcessContext> {
        match self.processes.get(self.place(device_id ^ process_id.rotate_left(16)))? {
            Some((device, process, context)) if (*device, *process) == (device_id, process_id) => {
                Some(*context)
            }
            _ => None,
        }
    }

    /// Remembers a process context.
    #[inline]
    pub fn keep_process(&mut self, device_id: u32, process_id: u32, context: &ProcessContext) {
        let place = self.place(device_id ^ process_id.rotate_left(16));
        if let Some(slot) = self.processes.get_mut(place) {
            *slot = Some((device_id, process_id, *context));
        }
    }

    fn forget(&mut self, goes: impl Fn(&Entry) -> bool) {
        let generation = self.generation;
        for entry in &mut self.translations {
            if entry.tag.page >> GENERATION_SHIFT == generation && goes(entry) {
                entry.tag = Tag::default();
            }
        }
    }

    fn forget_translations(&mut self) {
        self.generation += 1;
        if self.generation > GENERATION_MAX {
            self.translations.fill(Entry::default());
            self.generation = 1;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.forget_translations();
        self.devices.fill(None);
        self.processes.fill(None);
    }

    /// IOTINVAL.VMA.
    pub fn invalidate_vma(&mut self, gscid: Option<u16>, pscid: Option<u32>, range: Option<Range>) {
        self.forget(|entry| entry.meets_vma(gscid, pscid, range));
    }

    /// IOTINVAL.GVMA.
    pub fn invalidate_gvma(&mut self, guest: Option<(u16, Option<Range>)>) {
        self.forget(|entry| entry.meets_gvma(guest));
    }

    /// IODIR.INVAL_DDT: the contexts, and the translations that were made with them.
    pub fn invalidate_device(&mut self, device_id: Option<u32>) {
        let Some(device_id) = device_id else { return self.clear() };
        let place = self.place(device_id);
        if let Some(slot) = self.devices.get_mut(place) {
            slot.take_if(|(id, _)| *id == device_id);
        }
        for slot in &mut self.processes {
            slot.take_if(|(id, _, _)| *id == device_id);
        }
        self.forget(|entry| entry.tag.device_id() == device_id);
    }

    /// IODIR.INVAL_PDT: the context, and the translations that were made with it.
    pub fn invalidate_process(&mut self, device_id: u32, process_id: u32) {
        let place = self.place(device_id ^ process_id.rotate_left(16));
        if let Some(slot) = self.processes.get_mut(place) {
            slot.take_if(|(device, process, _)| (*device, *process) == (device_id, process_id));
        }
        self.forget(|entry| entry.is_of_process(device_id, process_id));
    }
}
