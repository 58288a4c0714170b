//! What steps 1 to 16 of "Process to translate an IOVA" find out for the later ones, and how a step stops.

use pasidon_spec::fault::{Cause, iotval2};
use pasidon_spec::page_table::Geometry;

use pasidon_spec::memory::MemoryFault;
use pasidon_spec::request::{AddressType, Request};

/// A step of the process stopped: the fault to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stop {
    pub cause: Cause,
    pub iotval2: u64,
}

impl From<Cause> for Stop {
    fn from(cause: Cause) -> Stop {
        Stop { cause, iotval2: 0 }
    }
}

/// What the request wants to do with the page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    /// Read for execute; for a translation request, execute is asked for.
    pub exec: bool,
    /// Write; for a translation request, write is asked for.
    pub write: bool,
    /// A translation request: a denied permission is left out of the answer, and is no fault.
    pub asks: bool,
    /// A translation request can still be granted read permission, without which it is granted nothing.
    pub readable: bool,
    /// Supervisor privilege.
    pub privileged: bool,
}

impl Access {
    /// The access of `request`.
    pub fn of(request: &Request) -> Access {
        let asks = request.at == AddressType::TranslationRequest;
        Access {
            exec: request.exec,
            write: request.write && (asks || !request.exec),
            asks,
            readable: true,
            privileged: request.privileged && request.process_id.is_some(),
        }
    }

    /// What is left to ask of the second stage: a translation request is not granted what the first stage refuses. Other accesses do
    /// not come here without what they need.
    pub fn after(&self, first: &Stage) -> Access {
        if !self.asks {
            return *self;
        }
        Access { readable: first.read, write: self.write && first.write, ..*self }
    }

    /// The cause by the original access type. A translation request always asks for read permission, so that it is a write for
    /// none of them.
    fn by_type(&self, exec: Cause, read: Cause, write: Cause) -> Cause {
        if self.exec {
            exec
        } else if self.write && !self.asks {
            write
        } else {
            read
        }
    }

    /// First-stage page fault.
    #[cold]
    pub fn page_fault(&self) -> Stop {
        self.by_type(Cause::InstructionPageFault, Cause::ReadPageFault, Cause::WriteAmoPageFault).into()
    }

    /// Access fault of the access itself, or of a page table.
    #[cold]
    pub fn access_fault(&self) -> Stop {
        self.by_type(Cause::InstructionAccessFault, Cause::ReadAccessFault, Cause::WriteAmoAccessFault).into()
    }

    /// Guest-page fault at `gpa`, met by an access of this `purpose`. (Section "Fault/Event-Queue (FQ)": `iotval2`.)
    #[cold]
    pub fn guest_page_fault(&self, gpa: u64, purpose: Purpose) -> Stop {
        let cause = self.by_type(
            Cause::InstructionGuestPageFault,
            Cause::ReadGuestPageFault,
            Cause::WriteAmoGuestPageFault,
        );
        let implicit = purpose != Purpose::Explicit;
        let iotval2 = iotval2::GPA.of(gpa >> 2)
            | iotval2::IMPLICIT.of(implicit.into())
            | iotval2::IMPLICIT_WRITE.of((purpose == Purpose::ImplicitWrite).into());
        Stop { cause, iotval2 }
    }

    /// The fault for a page table that cannot be read or written.
    #[cold]
    pub fn table_fault(&self, fault: MemoryFault) -> Stop {
        match fault {
            MemoryFault::Access => self.access_fault(),
            MemoryFault::Corrupt => Cause::PtDataCorruption.into(),
        }
    }
}

/// Why a guest physical address is translated. (Privileged specification, "Two-Stage Address Translation": explicit and implicit
/// accesses.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For the request itself.
    Explicit,
    /// To read an entry of a first-stage table or of the process directory.
    ImplicitRead,
    /// To set A or D in an entry of a first-stage table.
    ImplicitWrite,
}

/// The page table information that step 17 is given, and the ids that name its address spaces.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Context {
    /// First-stage format; `None` for Bare.
    pub first: Option<&'static Geometry>,
    /// Address of the first stage's root table; a guest physical address if there is a second stage.
    pub first_root: u64,
    /// Second-stage format; `None` for Bare.
    pub second: Option<&'static Geometry>,
    /// Address of the second stage's root table.
    pub second_root: u64,
    /// `DC.tc.SADE`: A and D bits of the first stage are updated.
    pub sade: bool,
    /// `DC.tc.GADE`: A and D bits of the second stage are updated.
    pub gade: bool,
    /// `DC.tc.SBE`: first-stage tables and process directories are big-endian.
    pub sbe: bool,
    /// `DC.tc.SXL`.
    pub sxl: bool,
    /// `PC.ta.SUM`.
    pub sum: bool,
    /// Names.
    pub ids: Ids,
}

/// The ids of a transaction, for the performance monitor and the IOATC.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ids {
    pub device_id: u32,
    /// The transaction's process_id.
    pub process_id: Option<u32>,
    /// The address space, if the first stage is not Bare.
    pub pscid: Option<u32>,
    /// The virtual machine, if the second stage is not Bare.
    pub gscid: Option<u16>,
}

/// What one stage of translation came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stage {
    /// The address after it.
    pub address: u64,
    /// log2 of the bytes that its leaf maps; 64 if the stage is Bare.
    pub shift: u8,
    pub read: bool,
    /// Writable and dirty.
    pub write: bool,
    pub exec: bool,
    /// The mapping is global.
    pub global: bool,
    /// Memory type.
    pub pbmt: u8,
}

impl Stage {
    /// A stage without translation or protection.
    #[inline]
    pub fn bare(address: u64) -> Stage {
        Stage { address, shift: 64, read: true, write: true, exec: true, global: false, pbmt: 0 }
    }
}
