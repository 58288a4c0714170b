//! The cause codes.

use super::ttyp;

/// The part of the IOMMU that detects a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The checks of the transaction against the mode and the contexts.
    RequestCheck,
    /// The walk of the device directory.
    DeviceDirectory,
    /// The walk of the process directory.
    ProcessDirectory,
    /// First-stage translation.
    FirstStage,
    /// Second-stage translation, also of the addresses of first-stage tables and of the process directory.
    SecondStage,
    /// Translation of MSIs through the MSI page table.
    MsiTranslation,
    /// The message write of the IOMMU's own interrupt.
    InterruptMessage,
    /// The IOMMU's internal data path.
    DataPath,
}

impl Origin {
    /// Name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Origin::RequestCheck => "request check",
            Origin::DeviceDirectory => "DDT walk",
            Origin::ProcessDirectory => "PDT walk",
            Origin::FirstStage => "first stage",
            Origin::SecondStage => "second stage",
            Origin::MsiTranslation => "MSI translation",
            Origin::InterruptMessage => "interrupt message",
            Origin::DataPath => "data path",
        }
    }
}

/// How an ATS translation request that meets a fault is answered. (Section "PCIe ATS translation request handling".)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsResponse {
    /// Completer abort; the fault is reported.
    CompleterAbort,
    /// Unsupported request; the fault is reported.
    UnsupportedRequest,
    /// Success with no permission granted; the fault is not reported.
    Success,
}

impl AtsResponse {
    /// Abbreviation used in tables.
    pub const fn name(self) -> &'static str {
        match self {
            AtsResponse::CompleterAbort => "CA",
            AtsResponse::UnsupportedRequest => "UR",
            AtsResponse::Success => "Success, R = W = 0",
        }
    }
}

/// All transactions that can be refused before their kind matters, messages included.
const ANY: &[u64] = &[
    ttyp::UNTRANSLATED_READ_FOR_EXECUTE,
    ttyp::UNTRANSLATED_READ,
    ttyp::UNTRANSLATED_WRITE,
    ttyp::TRANSLATED_READ_FOR_EXECUTE,
    ttyp::TRANSLATED_READ,
    ttyp::TRANSLATED_WRITE,
    ttyp::ATS_TRANSLATION_REQUEST,
    ttyp::MESSAGE_REQUEST,
];

/// Transactions that use the process directory: translated requests and messages do not.
const WITH_PROCESS: &[u64] = &[
    ttyp::UNTRANSLATED_READ_FOR_EXECUTE,
    ttyp::UNTRANSLATED_READ,
    ttyp::UNTRANSLATED_WRITE,
    ttyp::ATS_TRANSLATION_REQUEST,
];

/// Transactions whose address is translated: messages are not.
const WITH_ADDRESS: &[u64] = &[
    ttyp::UNTRANSLATED_READ_FOR_EXECUTE,
    ttyp::UNTRANSLATED_READ,
    ttyp::UNTRANSLATED_WRITE,
    ttyp::TRANSLATED_READ_FOR_EXECUTE,
    ttyp::TRANSLATED_READ,
    ttyp::TRANSLATED_WRITE,
    ttyp::ATS_TRANSLATION_REQUEST,
];

const EXECUTE: &[u64] =
    &[ttyp::UNTRANSLATED_READ_FOR_EXECUTE, ttyp::TRANSLATED_READ_FOR_EXECUTE, ttyp::ATS_TRANSLATION_REQUEST];
const READ: &[u64] = &[ttyp::UNTRANSLATED_READ, ttyp::TRANSLATED_READ, ttyp::ATS_TRANSLATION_REQUEST];
const WRITE: &[u64] = &[ttyp::UNTRANSLATED_WRITE, ttyp::TRANSLATED_WRITE, ttyp::ATS_TRANSLATION_REQUEST];
const EXECUTE_FIRST: &[u64] = &[ttyp::UNTRANSLATED_READ_FOR_EXECUTE, ttyp::ATS_TRANSLATION_REQUEST];
const READ_FIRST: &[u64] = &[ttyp::UNTRANSLATED_READ, ttyp::ATS_TRANSLATION_REQUEST];
const WRITE_FIRST: &[u64] = &[ttyp::UNTRANSLATED_WRITE, ttyp::ATS_TRANSLATION_REQUEST];
const NO_TRANSACTION: &[u64] = &[ttyp::NONE];
const ANY_OR_NONE: &[u64] = &[
    ttyp::NONE,
    ttyp::UNTRANSLATED_READ_FOR_EXECUTE,
    ttyp::UNTRANSLATED_READ,
    ttyp::UNTRANSLATED_WRITE,
    ttyp::TRANSLATED_READ_FOR_EXECUTE,
    ttyp::TRANSLATED_READ,
    ttyp::TRANSLATED_WRITE,
    ttyp::ATS_TRANSLATION_REQUEST,
    ttyp::MESSAGE_REQUEST,
];

/// `no` and `yes` answer the specification's column "Reported if DTF is 1?".
macro_rules! reported {
    (no) => {
        false
    };
    (yes) => {
        true
    };
}

macro_rules! ats {
    (none) => {
        None
    };
    ($response:ident) => {
        Some(AtsResponse::$response)
    };
}

macro_rules! causes {
    ($($cause:ident = $code:literal, $name:literal, $dtf:ident, [$($origin:ident)+], $ttyps:ident, $ats:ident;)+) => {
        /// Why a fault or event was raised. (Section "Fault/Event-Queue (FQ)", table of `CAUSE` encodings.)
        ///
        /// Encodings that are not listed are reserved up to 2047 and for custom use from 2048 to 4095.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum Cause {
            $(#[doc = concat!($name, ".")] $cause = $code,)+
        }

        impl Cause {
            /// Every cause, in rising order of code.
            pub const ALL: &'static [Cause] = &[$(Cause::$cause),+];

            /// The cause with this code; `None` for a reserved or custom code.
            pub const fn from_code(code: u16) -> Option<Cause> {
                match code {
                    $($code => Some(Cause::$cause),)+
                    _ => None,
                }
            }

            /// The specification's name.
            pub const fn name(self) -> &'static str {
                match self { $(Cause::$cause => $name,)+ }
            }

            /// Whether the fault is not reported if `DC.tc.DTF` is 1. If no valid device context was found, DTF
            /// counts as 0.
            pub const fn dtf_suppresses(self) -> bool {
                match self { $(Cause::$cause => !reported!($dtf),)+ }
            }

            /// The parts of the IOMMU that may raise it.
            pub const fn raised_by(self) -> &'static [Origin] {
                match self { $(Cause::$cause => &[$(Origin::$origin),+],)+ }
            }

            /// The kinds of transaction ([`ttyp`](super::ttyp)) that may be refused with it.
            pub const fn transactions(self) -> &'static [u64] {
                match self { $(Cause::$cause => $ttyps,)+ }
            }

            /// The answer to an ATS translation request that meets it; `None` where the specification defines none.
            pub const fn ats_response(self) -> Option<AtsResponse> {
                match self { $(Cause::$cause => ats!($ats),)+ }
            }
        }
    };
}

causes! {
    InstructionAccessFault = 1, "Instruction access fault", no, [FirstStage SecondStage MsiTranslation], EXECUTE, CompleterAbort;
    ReadAddressMisaligned = 4, "Read address misaligned", no, [RequestCheck], READ, none;
    ReadAccessFault = 5, "Read access fault", no, [FirstStage SecondStage], READ, CompleterAbort;
    WriteAmoAddressMisaligned = 6, "Write/AMO address misaligned", no, [RequestCheck], WRITE, none;
    WriteAmoAccessFault = 7, "Write/AMO access fault", no, [FirstStage SecondStage], WRITE, CompleterAbort;
    InstructionPageFault = 12, "Instruction page fault", no, [FirstStage], EXECUTE_FIRST, Success;
    ReadPageFault = 13, "Read page fault", no, [FirstStage], READ_FIRST, Success;
    WriteAmoPageFault = 15, "Write/AMO page fault", no, [FirstStage], WRITE_FIRST, Success;
    InstructionGuestPageFault = 20, "Instruction guest page fault", no, [SecondStage], EXECUTE, Success;
    ReadGuestPageFault = 21, "Read guest-page fault", no, [SecondStage], READ, Success;
    WriteAmoGuestPageFault = 23, "Write/AMO guest-page fault", no, [SecondStage], WRITE, Success;
    AllInboundTransactionsDisallowed = 256, "All inbound transactions disallowed", yes, [RequestCheck], ANY, UnsupportedRequest;
    DdtEntryLoadAccessFault = 257, "DDT entry load access fault", yes, [DeviceDirectory], ANY, UnsupportedRequest;
    DdtEntryNotValid = 258, "DDT entry not valid", yes, [DeviceDirectory], ANY, UnsupportedRequest;
    DdtEntryMisconfigured = 259, "DDT entry misconfigured", yes, [DeviceDirectory], ANY, UnsupportedRequest;
    TransactionTypeDisallowed = 260, "Transaction type disallowed", no, [RequestCheck MsiTranslation], ANY, UnsupportedRequest;
    MsiPteLoadAccessFault = 261, "MSI PTE load access fault", no, [MsiTranslation], WITH_ADDRESS, CompleterAbort;
    MsiPteNotValid = 262, "MSI PTE not valid", no, [MsiTranslation], WITH_ADDRESS, Success;
    MsiPteMisconfigured = 263, "MSI PTE misconfigured", no, [MsiTranslation], WITH_ADDRESS, CompleterAbort;
    MrifAccessFault = 264, "MRIF access fault", no, [MsiTranslation], WITH_ADDRESS, none;
    PdtEntryLoadAccessFault = 265, "PDT entry load access fault", no, [ProcessDirectory SecondStage], WITH_PROCESS, CompleterAbort;
    PdtEntryNotValid = 266, "PDT entry not valid", no, [ProcessDirectory], WITH_PROCESS, Success;
    PdtEntryMisconfigured = 267, "PDT entry misconfigured", no, [ProcessDirectory], WITH_PROCESS, CompleterAbort;
    DdtDataCorruption = 268, "DDT data corruption", yes, [DeviceDirectory], ANY, none;
    PdtDataCorruption = 269, "PDT data corruption", no, [ProcessDirectory SecondStage], WITH_PROCESS, none;
    MsiPtDataCorruption = 270, "MSI PT data corruption", no, [MsiTranslation], WITH_ADDRESS, none;
    MsiMrifDataCorruption = 271, "MSI MRIF data corruption", no, [MsiTranslation], WITH_ADDRESS, none;
    InternalDataPathError = 272, "Internal data path error", yes, [DataPath], ANY_OR_NONE, none;
    IommuMsiWriteAccessFault = 273, "IOMMU MSI write access fault", yes, [InterruptMessage], NO_TRANSACTION, none;
    PtDataCorruption = 274, "First/second-stage PT data corruption", no, [FirstStage SecondStage], WITH_ADDRESS, none;
}

impl Cause {
    /// The code in the record's `CAUSE` field.
    pub const fn code(self) -> u16 {
        self as u16
    }
}
