//! Translation of MSIs, and their delivery to memory-resident interrupt files. (Section "Process to translate addresses of MSIs";
//! Advanced Interrupt Architecture, chapter "IOMMU Support for MSIs to Virtual Machines".)

use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::fault::Cause;
use pasidon_spec::msi::{MSIPTE_BYTES, basic, file, interrupt_file, mode, mrif, msipte, notice_id};
use pasidon_spec::page_table::PAGE_SHIFT;
use pasidon_spec::registers::capabilities as cap;

use super::context::{Access, Stop};
use super::{Golden, Memory};
use pasidon_spec::memory::MemoryFault;

/// Where the page of a virtual interrupt file leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MsiTarget {
    /// To this address.
    Address(u64),
    /// To a memory-resident interrupt file.
    File(ResidentFile),
}

/// A memory-resident interrupt file, and the notice to send for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResidentFile {
    /// Address of the file.
    pub address: u64,
    /// Address that the notice is stored to.
    pub notice_address: u64,
    /// The notice.
    pub notice: u64,
}

/// Whether `gpa` is in a page of a virtual interrupt file. (Section "MSI address mask (msi_addr_mask) and pattern
/// (msi_addr_pattern)".)
#[inline]
fn is_interrupt_file(device: &DeviceContext, gpa: u64) -> bool {
    let compared = !device.msi_addr_mask;
    (gpa >> PAGE_SHIFT) & compared == device.msi_addr_pattern & compared
}

impl Golden {
    /// Step 18 of "Process to translate an IOVA": where `gpa` leads if it is the address of a virtual interrupt file; `None` if
    /// it is not.
    pub(super) fn msi_target(
        &mut self,
        memory: &mut impl Memory,
        device: &DeviceContext,
        access: &Access,
        gpa: u64,
    ) -> Result<Option<MsiTarget>, Stop> {
        if dc::msiptp::MODE.get(device.msiptp) == dc::msiptp_mode::OFF || !is_interrupt_file(device, gpa) {
            return Ok(None);
        }
        let number = interrupt_file(gpa >> PAGE_SHIFT, device.msi_addr_mask);
        let table = dc::msiptp::PPN.get(device.msiptp) << PAGE_SHIFT;
        let port = self.port(self.big_endian());
        let [first, second] =
            port.read_words(memory, table | (number * MSIPTE_BYTES)).map_err(|fault| match fault {
                MemoryFault::Access => Cause::MsiPteLoadAccessFault,
                MemoryFault::Corrupt => Cause::MsiPtDataCorruption,
            })?;
        if !msipte::V.is_set(first) {
            return Err(Cause::MsiPteNotValid.into());
        }
        if msipte::C.is_set(first) {
            return Err(Cause::MsiPteMisconfigured.into());
        }
        let target = match msipte::M.get(first) {
            mode::BASIC if first & basic::RESERVED[0] == 0 => {
                // Not cut to the width of a physical address, as the text has it: to the caller, a page beyond is one that does not
                // exist, as with every other leaf.
                let page = basic::PPN.get(first) << PAGE_SHIFT;
                MsiTarget::Address(page | gpa & ((1 << PAGE_SHIFT) - 1))
            }
            mode::MRIF
                if self.has(cap::MSI_MRIF)
                    && first & mrif::RESERVED[0] == 0
                    && second & mrif::RESERVED[1] == 0 =>
            {
                MsiTarget::File(ResidentFile {
                    address: mrif::ADDRESS.get(first) * file::BYTES,
                    notice_address: mrif::NPPN.get(second) << PAGE_SHIFT,
                    notice: notice_id(second),
                })
            }
            _ => return Err(Cause::MsiPteMisconfigured.into()),
        };
        // The page is readable and writable, not executable.
        if access.exec && !access.asks {
            return Err(access.access_fault());
        }
        Ok(Some(target))
    }

    /// Whether an access that begins at `address` in a page of a resident file is unsupported: all are that are not aligned to 4
    /// bytes. The model is not told the width of an access; one that is not 32 bits wide is left to the data path. (Advanced
    /// Interrupt Architecture, section "MSI PTE, MRIF mode".)
    pub(super) fn is_unsupported(address: u64) -> bool {
        !address.is_multiple_of(4)
    }

    /// Does what a write of `data` to `address`, which is aligned to 4 bytes, in a page of a resident file asks for: if it is an MSI, sets the pending bit of its
    /// identity, and then sends the notice; else nothing. Identity 0 is one like the others, and whether an identity is enabled
    /// does not matter. (Advanced Interrupt Architecture, sections "Recording of incoming MSIs to memory-resident interrupt files"
    /// and "MSI PTE, MRIF mode".)
    pub(super) fn store_msi(
        &mut self,
        memory: &mut impl Memory,
        target: &ResidentFile,
        address: u64,
        data: u32,
    ) -> Result<(), Stop> {
        let identity = match address & ((1 << PAGE_SHIFT) - 1) {
            file::SETEIPNUM_LE => data,
            file::SETEIPNUM_BE => data.swap_bytes(),
            _ => return Ok(()),
        };
        if identity > file::MAX_IDENTITY {
            return Ok(());
        }
        let failed = |fault| match fault {
            MemoryFault::Access => Stop::from(Cause::MrifAccessFault),
            MemoryFault::Corrupt => Stop::from(Cause::MsiMrifDataCorruption),
        };
        // The file and the notice are little-endian in any case.
        let port = self.port(false);
        let (at, bit) = file::pending(identity);
        loop {
            let old = port.read(memory, target.address + at, 8).map_err(failed)?;
            if port.compare_exchange(memory, target.address + at, 8, old, old | bit).map_err(failed)? {
                break;
            }
        }
        port.write(memory, target.notice_address, 4, target.notice).map_err(failed)
    }
}
