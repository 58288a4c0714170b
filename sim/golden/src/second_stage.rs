//! Second-stage translation: of the address that the first stage gives, and of the addresses of guest tables. (Section "Process to
//! translate an IOVA", step 19; Privileged specification, "Two-Stage Address Translation".)

use pasidon_spec::page_table::{Geometry, pte};
use pasidon_spec::registers::event;

use super::context::{Access, Context, Purpose, Stage, Stop};
use super::first_stage::{EntryKind, classify};
use super::{Golden, Memory};
use pasidon_spec::memory::MemoryFault;

/// Width in bits of the guest physical addresses of a device with `DC.tc.SXL` 1. (Section "Translation control (tc)".)
const SXL_GUEST_BITS: u32 = 34;

/// Why the second stage stopped. Which cause it becomes depends on what was translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SecondStageFault {
    /// A guest-page fault.
    Page,
    /// A second-stage table could not be read or written, or leads out of the physical address space.
    Memory(MemoryFault),
}

impl SecondStageFault {
    /// The fault of the request, where the address `gpa` of the request itself or of a first-stage entry was translated.
    #[cold]
    pub fn stop(self, access: &Access, gpa: u64, purpose: Purpose) -> Stop {
        match self {
            SecondStageFault::Page => access.guest_page_fault(gpa, purpose),
            SecondStageFault::Memory(fault) => access.table_fault(fault),
        }
    }
}

impl From<MemoryFault> for SecondStageFault {
    fn from(fault: MemoryFault) -> SecondStageFault {
        SecondStageFault::Memory(fault)
    }
}

impl Golden {
    /// Translates the guest physical address `gpa`, and updates A and D of the leaf if it may. For the address of the request itself,
    /// `access` is what the first stage left of it ([`Access::after`]): D is exact, and so not set for a write that is refused.
    pub(super) fn second_stage(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        gpa: u64,
        purpose: Purpose,
    ) -> Result<Stage, SecondStageFault> {
        let Some(geometry) = context.second else { return Ok(Stage::bare(gpa)) };
        let canonical = geometry.is_canonical(gpa) && !(context.sxl && gpa >> SXL_GUEST_BITS != 0);
        if canonical || self.parameters.second_stage_check_is_a_walk {
            self.count(event::SECOND_STAGE_WALKS, || context.ids);
        }
        if !canonical {
            return Err(SecondStageFault::Page);
        }
        loop {
            let attempt = if geometry.pte_bytes == 8 {
                self.second_stage_attempt::<8>(memory, context, access, geometry, gpa, purpose)
            } else {
                self.second_stage_attempt::<4>(memory, context, access, geometry, gpa, purpose)
            };
            if let Some(stage) = attempt? {
                return Ok(stage);
            }
        }
    }

    /// One pass from the root over entries of `BYTES`; `None` if the leaf changed before A and D could be set.
    #[inline]
    fn second_stage_attempt<const BYTES: u32>(
        &mut self,
        memory: &mut impl Memory,
        context: &Context,
        access: &Access,
        geometry: &Geometry,
        gpa: u64,
        purpose: Purpose,
    ) -> Result<Option<Stage>, SecondStageFault> {
        let port = self.port(self.big_endian());
        let mut table = context.second_root;
        for (level, slice) in geometry.levels.iter().enumerate().rev() {
            let at = table + slice.of(gpa) * u64::from(BYTES);
            let word = port.read(memory, at, BYTES)?;
            let (address, shift) = match classify(slice.lo, level, word, self.pte_reserved, gpa) {
                EntryKind::Faulty => return Err(SecondStageFault::Page),
                EntryKind::Pointer(next) => {
                    table = next;
                    continue;
                }
                EntryKind::Leaf(address, shift) => (address, shift),
            };
            let (read, write, exec) = (pte::R.is_set(word), pte::W.is_set(word), pte::X.is_set(word));
            let explicit = purpose == Purpose::Explicit;
            let granted = match purpose {
                Purpose::ImplicitRead => read,
                Purpose::ImplicitWrite => write,
                Purpose::Explicit if access.asks => true,
                Purpose::Explicit if access.exec => exec,
                Purpose::Explicit if access.write => write,
                Purpose::Explicit => read,
            };
            // The second stage sees every request as one of user privilege.
            if !granted || !pte::U.is_set(word) {
                return Err(SecondStageFault::Page);
            }
            let stores = if explicit { access.write && write } else { purpose == Purpose::ImplicitWrite };
            let mut due = pte::A.mask() & !word;
            if stores {
                due |= pte::D.mask() & !word;
            }
            if due != 0 && !context.gade {
                return Err(SecondStageFault::Page);
            }
            // A translation request that is granted no permission by both stages does not set A.
            if explicit && access.asks && !(read && access.readable) {
                due = 0;
            }
            if port.beyond(address) {
                return Err(MemoryFault::Access.into());
            }
            if due != 0 && !port.compare_exchange(memory, at, BYTES, word, word | due)? {
                return Ok(None);
            }
            let dirty = pte::D.is_set(word | due);
            return Ok(Some(Stage {
                address,
                shift,
                read,
                write: write && dirty,
                exec,
                global: false,
                pbmt: pte::PBMT.get(word) as u8,
            }));
        }
        Err(SecondStageFault::Page)
    }
}
