//! First-stage translation, and what both stages share: the format of entries. (Section "Process to translate an IOVA", step 17;
//! Privileged specification, "Virtual Address Translation Process", and extensions Svnapot, Svpbmt, Svrsw60t59b, Svade, Svadu.)

use pasidon_spec::page_table::{Geometry, PAGE_SHIFT, PTE_NON_LEAF_RESERVED, PTE_RSW60T59, napot, pbmt, pte};
use pasidon_spec::registers::{capabilities as cap, event};

use super::context::{Access, Context, Purpose, Stage, Stop};
use super::{Golden, Memory, Parameters};

/// What an entry is, before permissions are looked at.
pub(super) enum EntryKind {
    /// Not valid, or with reserved bits or encodings.
    Faulty,
    /// The address of the next table.
    Pointer(u64),
    /// The address that the leaf gives, and log2 of the bytes it maps.
    Leaf(u64, u8),
}

/// The bits of an entry of 8 bytes that must be 0 in an IOMMU with these features.
pub(super) fn reserved_bits(parameters: &Parameters) -> u64 {
    let mut reserved = pte::RESERVED;
    if cap::SVRSW60T59B.is_set(parameters.capabilities) {
        reserved &= !PTE_RSW60T59;
    }
    if !cap::SVPBMT.is_set(parameters.capabilities) {
        reserved |= pte::PBMT.mask();
    }
    reserved
}

/// Steps 3 to 5 of the address translation process, for the entry `word` found at `level`, whose pages have `1 << page_shift`
/// bytes, on the way to `address`. An entry of
/// 4 bytes has its fields where one of 8 bytes has them, and no reserved bits.
#[inline]
pub(super) fn classify(page_shift: u8, level: usize, word: u64, reserved: u64, address: u64) -> EntryKind {
    if !pte::V.is_set(word) || word & reserved != 0 || pte::PBMT.get(word) == pbmt::RESERVED {
        return EntryKind::Faulty;
    }
    let (r, w, x) = (pte::R.is_set(word), pte::W.is_set(word), pte::X.is_set(word));
    if w && !r {
        return EntryKind::Faulty;
    }
    let ppn = pte::PPN.get(word);
    if !r && !x {
        return if level == 0 || word & PTE_NON_LEAF_RESERVED != 0 {
            EntryKind::Faulty
        } else {
            EntryKind::Pointer(ppn << PAGE_SHIFT)
        };
    }
    let mut shift = page_shift;
    if pte::N.is_set(word) {
        if !napot::is_defined(level, ppn) {
            return EntryKind::Faulty;
        }
        shift = napot::GROUP_SHIFT;
    } else if ppn & ((1 << (shift - PAGE_SHIFT)) - 1) != 0 {
        return EntryKind::Faulty;
    }
    let inside = (1 << shift) - 1;
    EntryKind::Leaf((ppn << PAGE_SHIFT) & !inside | address & inside, shift)
}

impl Golden {
    /// Translates `iova` by the first stage, which updates A and D of the leaf if it may.
    pub(super) fn first_stage(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        iova: u64,
    ) -> Result<Stage, Stop> {
        let Some(geometry) = context.first else { return Ok(Stage::bare(iova)) };
        let canonical = geometry.is_canonical(iova);
        if canonical || self.parameters.first_stage_check_is_a_walk {
            self.count(event::FIRST_STAGE_WALKS, || context.ids);
        }
        if !canonical {
            return Err(access.page_fault());
        }
        loop {
            let attempt = if geometry.pte_bytes == 8 {
                self.first_stage_attempt::<8>(memory, context, access, geometry, iova)
            } else {
                self.first_stage_attempt::<4>(memory, context, access, geometry, iova)
            };
            if let Some(stage) = attempt? {
                return Ok(stage);
            }
        }
    }

    /// One pass from the root over entries of `BYTES`; `None` if the leaf changed before A and D could be set.
    #[inline]
    fn first_stage_attempt<const BYTES: u32>(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        geometry: &Geometry,
        iova: u64,
    ) -> Result<Option<Stage>, Stop> {
        let port = self.port(context.sbe);
        let mut table = context.first_root;
        let mut global = false;
        for (level, slice) in geometry.levels.iter().enumerate().rev() {
            let at = table + slice.of(iova) * u64::from(BYTES);
            let entry_spa = self.table_address(memory, context, access, at, Purpose::ImplicitRead)?;
            let word = port.read(memory, entry_spa, BYTES).map_err(|fault| access.table_fault(fault))?;
            global |= pte::G.is_set(word);
            let (address, shift) = match classify(slice.lo, level, word, self.pte_reserved, iova) {
                EntryKind::Faulty => return Err(access.page_fault()),
                EntryKind::Pointer(next) => {
                    table = next;
                    continue;
                }
                EntryKind::Leaf(address, shift) => (address, shift),
            };
            let user = pte::U.is_set(word);
            let allowed = if access.privileged { !user || context.sum } else { user };
            // Supervisor requests never execute from user pages.
            let fetchable = if access.privileged { !user } else { user };
            let read = pte::R.is_set(word) && allowed;
            let write = pte::W.is_set(word) && allowed;
            let exec = pte::X.is_set(word) && fetchable;
            let granted = if access.asks {
                allowed
            } else if access.exec {
                exec
            } else if access.write {
                write
            } else {
                read
            };
            if !granted {
                return Err(access.page_fault());
            }
            let mut due = pte::A.mask() & !word;
            if access.write && write {
                due |= pte::D.mask() & !word;
            }
            if due != 0 && !context.sade {
                return Err(access.page_fault());
            }
            // A translation request that is granted no permission does not set A.
            if access.asks && !read {
                due = 0;
            }
            if context.second.is_none() && port.beyond(address) {
                return Err(access.access_fault());
            }
            if due != 0 {
                let entry_spa = self.table_address(memory, context, access, at, Purpose::ImplicitWrite)?;
                let done = port
                    .compare_exchange(memory, entry_spa, BYTES, word, word | due)
                    .map_err(|fault| access.table_fault(fault))?;
                if !done {
                    return Ok(None);
                }
            }
            let dirty = pte::D.is_set(word | due);
            return Ok(Some(Stage {
                address,
                shift,
                read,
                write: write && dirty,
                exec,
                global,
                pbmt: pte::PBMT.get(word) as u8,
            }));
        }
        Err(access.page_fault())
    }

    /// The supervisor physical address of the first-stage entry at `at`.
    #[inline]
    fn table_address(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        at: u64,
        purpose: Purpose,
    ) -> Result<u64, Stop> {
        if context.second.is_none() {
            return Ok(at);
        }
        match self.second_stage(memory, context, access, at, purpose) {
            Ok(stage) => Ok(stage.address),
            Err(trouble) => Err(trouble.stop(access, at, purpose)),
        }
    }
}
