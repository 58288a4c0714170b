//! Commands as a Rust enum, encoding and decoding.

use core::fmt;

use super::{ats, func3, header, iodir, iofence, iotinval, opcode};
use crate::range;

/// The addresses that an invalidation applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Bits 63:12 of the address: the operand `ADDR`, 52 bits. With `napot`, it also encodes the size.
    pub page: u64,
    /// The operand `S`: `page` encodes a [`range`](crate::range) of several pages.
    pub napot: bool,
    /// The operand `NL`: non-leaf entries are invalidated too.
    pub non_leaf: bool,
}

impl Range {
    /// The page of 4 KiB that holds `address`, leaf entries only.
    pub const fn page_of(address: u64) -> Range {
        Range { page: address >> 12, napot: false, non_leaf: false }
    }

    /// First and last address of the range.
    pub const fn bounds(self) -> (u64, u64) {
        if self.napot { range::bounds(self.page) } else { (self.page << 12, (self.page << 12) | 0xfff) }
    }
}

/// What IOFENCE.C stores when it completes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    /// Address of the 4-byte store; its low two bits are dropped in encoding.
    pub address: u64,
    /// The data.
    pub data: u32,
}

/// A command of the command queue. Operands that are not valid are `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Invalidates cached first-stage translations.
    IotinvalVma {
        /// Virtual machine; `None` for host address spaces.
        gscid: Option<u16>,
        /// Address space (20 bits), sparing global mappings; `None` for all, global mappings included.
        pscid: Option<u32>,
        /// Addresses; `None` for all.
        range: Option<Range>,
    },
    /// Invalidates cached second-stage translations.
    IotinvalGvma {
        /// Virtual machine and the guest physical addresses in it (`None` for all); `None` for all machines.
        guest: Option<(u16, Option<Range>)>,
    },
    /// Waits until all earlier commands have completed.
    IofenceC {
        /// Previous device reads are globally observed first.
        pr: bool,
        /// Previous device writes are globally observed first.
        pw: bool,
        /// Raises the wired command-queue interrupt.
        wsi: bool,
        /// Store on completion.
        store: Option<Store>,
    },
    /// Invalidates cached device contexts and the process contexts that belong to them.
    IodirInvalDdt {
        /// The device_id (24 bits); `None` for all devices.
        did: Option<u32>,
    },
    /// Invalidates a cached process context.
    IodirInvalPdt {
        /// The device_id (24 bits).
        did: u32,
        /// The process_id (20 bits).
        pid: u32,
    },
    /// Sends an ATS invalidation request to a device.
    AtsInval {
        /// PASID of the message (20 bits).
        pid: Option<u32>,
        /// Segment of the destination.
        dseg: Option<u8>,
        /// Requester id of the destination.
        rid: u16,
        /// Message body: see [`InvalidationRequest`](crate::message::InvalidationRequest).
        payload: u64,
    },
    /// Sends a page-request group response to a device.
    AtsPrgr {
        /// PASID of the message (20 bits).
        pid: Option<u32>,
        /// Segment of the destination.
        dseg: Option<u8>,
        /// Requester id of the destination.
        rid: u16,
        /// Message body: see [`PageRequestGroupResponse`](crate::message::PageRequestGroupResponse).
        payload: u64,
    },
}

/// What an IOMMU supports, as far as it decides whether a command is legal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Support {
    /// `capabilities.NL`.
    pub non_leaf: bool,
    /// `capabilities.S`.
    pub range: bool,
    /// `capabilities.ATS`.
    pub ats: bool,
    /// `fctl.WSI`.
    pub wsi: bool,
    /// Widest device_id that `ddtp.iommu_mode` supports, in bits.
    pub device_id_bits: u8,
    /// Widest process_id that the IOMMU supports, in bits; 0 if it has no process directories.
    pub process_id_bits: u8,
}

impl Support {
    /// Everything that the specification defines.
    pub const ALL: Support = Support {
        non_leaf: true,
        range: true,
        ats: true,
        wsi: true,
        device_id_bits: 24,
        process_id_bits: 20,
    };
}

/// Why a command is illegal or unsupported: in each case the IOMMU sets `cqcsr.cmd_ill`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Illegal {
    /// Reserved or custom `opcode`.
    Opcode(u8),
    /// Reserved `func3` of a defined opcode.
    Function {
        /// The opcode.
        opcode: u8,
        /// The function.
        func3: u8,
    },
    /// Reserved bits are 1.
    ReservedBits {
        /// Index of the doubleword, 0 or 1.
        dword: u8,
        /// The bits, in place.
        bits: u64,
    },
    /// `PSCV` is 1 in IOTINVAL.GVMA.
    PscvInGvma,
    /// `DV` is 0 in IODIR.INVAL_PDT.
    NoDeviceId,
    /// The device_id is wider than the directory supports.
    DeviceIdWidth(u32),
    /// The process_id is wider than the IOMMU supports.
    ProcessIdWidth(u32),
    /// The opcode is defined but this IOMMU does not implement it.
    Unsupported(u8),
}

impl fmt::Display for Illegal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Illegal::Opcode(opcode) => write!(f, "opcode {opcode} is not defined"),
            Illegal::Function { opcode, func3 } => {
                write!(f, "func3 {func3} of opcode {opcode} is not defined")
            }
            Illegal::ReservedBits { dword, bits } => {
                write!(f, "reserved bits {bits:#x} of doubleword {dword} are set")
            }
            Illegal::PscvInGvma => write!(f, "IOTINVAL.GVMA has PSCV = 1"),
            Illegal::NoDeviceId => write!(f, "IODIR.INVAL_PDT has DV = 0"),
            Illegal::DeviceIdWidth(did) => {
                write!(f, "device_id {did:#x} is wider than the directory supports")
            }
            Illegal::ProcessIdWidth(pid) => write!(f, "process_id {pid:#x} is wider than supported"),
            Illegal::Unsupported(opcode) => write!(f, "opcode {opcode} is not implemented"),
        }
    }
}

impl core::error::Error for Illegal {}

impl Command {
    /// The command as two doublewords. Bits beyond an operand's width are dropped.
    pub const fn encode(&self) -> [u64; 2] {
        match *self {
            Command::IotinvalVma { gscid, pscid, range } => {
                let [mut d0, d1] = encode_range(range, head(opcode::IOTINVAL, func3::IOTINVAL_VMA));
                if let Some(gscid) = gscid {
                    d0 |= iotinval::GV.of(1) | iotinval::GSCID.of(gscid as u64);
                }
                if let Some(pscid) = pscid {
                    d0 |= iotinval::PSCV.of(1) | iotinval::PSCID.of(pscid as u64);
                }
                [d0, d1]
            }
            Command::IotinvalGvma { guest } => {
                let d0 = head(opcode::IOTINVAL, func3::IOTINVAL_GVMA);
                match guest {
                    Some((gscid, range)) => {
                        encode_range(range, d0 | iotinval::GV.of(1) | iotinval::GSCID.of(gscid as u64))
                    }
                    None => [d0, 0],
                }
            }
            Command::IofenceC { pr, pw, wsi, store } => {
                let d0 = head(opcode::IOFENCE, func3::IOFENCE_C)
                    | iofence::PR.of(pr as u64)
                    | iofence::PW.of(pw as u64)
                    | iofence::WSI.of(wsi as u64);
                match store {
                    Some(Store { address, data }) => [
                        d0 | iofence::AV.of(1) | iofence::DATA.of(data as u64),
                        iofence::ADDR.of(address >> 2),
                    ],
                    None => [d0, 0],
                }
            }
            Command::IodirInvalDdt { did } => {
                let d0 = head(opcode::IODIR, func3::IODIR_INVAL_DDT);
                match did {
                    Some(did) => [d0 | iodir::DV.of(1) | iodir::DID.of(did as u64), 0],
                    None => [d0, 0],
                }
            }
            Command::IodirInvalPdt { did, pid } => {
                let d0 = head(opcode::IODIR, func3::IODIR_INVAL_PDT);
                [d0 | iodir::DV.of(1) | iodir::DID.of(did as u64) | iodir::PID.of(pid as u64), 0]
            }
            Command::AtsInval { pid, dseg, rid, payload } => {
                [encode_ats(func3::ATS_INVAL, pid, dseg, rid), payload]
            }
            Command::AtsPrgr { pid, dseg, rid, payload } => {
                [encode_ats(func3::ATS_PRGR, pid, dseg, rid), payload]
            }
        }
    }

    /// Decodes a command for an IOMMU that supports everything the specification defines.
    ///
    /// # Errors
    /// [`Illegal`], if the command is illegal.
    pub const fn decode(dwords: [u64; 2]) -> Result<Command, Illegal> {
        Command::decode_for(dwords, Support::ALL)
    }

    /// Decodes a command as an IOMMU with this support does.
    ///
    /// # Errors
    /// [`Illegal`], if the command is illegal or unsupported.
    pub const fn decode_for(dwords: [u64; 2], support: Support) -> Result<Command, Illegal> {
        let func = header::FUNC3.get(dwords[0]);
        match header::OPCODE.get(dwords[0]) {
            opcode::IOTINVAL if func <= func3::IOTINVAL_GVMA => decode_iotinval(dwords, support),
            opcode::IOFENCE if func == func3::IOFENCE_C => decode_iofence(dwords, support),
            opcode::IODIR if func <= func3::IODIR_INVAL_PDT => decode_iodir(dwords, support),
            opcode::ATS if !support.ats => Err(Illegal::Unsupported(opcode::ATS as u8)),
            opcode::ATS if func <= func3::ATS_PRGR => decode_ats(dwords),
            op @ opcode::IOTINVAL..=opcode::ATS => {
                Err(Illegal::Function { opcode: op as u8, func3: func as u8 })
            }
            op => Err(Illegal::Opcode(op as u8)),
        }
    }
}

const fn head(opcode: u64, func3: u64) -> u64 {
    header::OPCODE.of(opcode) | header::FUNC3.of(func3)
}

const fn encode_range(range: Option<Range>, d0: u64) -> [u64; 2] {
    match range {
        Some(Range { page, napot, non_leaf }) => [
            d0 | iotinval::AV.of(1) | iotinval::NL.of(non_leaf as u64),
            iotinval::ADDR.of(page) | iotinval::S.of(napot as u64),
        ],
        None => [d0, 0],
    }
}

const fn encode_ats(func3: u64, pid: Option<u32>, dseg: Option<u8>, rid: u16) -> u64 {
    let mut d0 = head(opcode::ATS, func3) | ats::RID.of(rid as u64);
    if let Some(pid) = pid {
        d0 |= ats::PV.of(1) | ats::PID.of(pid as u64);
    }
    if let Some(dseg) = dseg {
        d0 |= ats::DSV.of(1) | ats::DSEG.of(dseg as u64);
    }
    d0
}

/// Fails if any bit of `reserved` is 1.
const fn check_reserved(dwords: [u64; 2], reserved: [u64; 2]) -> Result<(), Illegal> {
    if dwords[0] & reserved[0] != 0 {
        Err(Illegal::ReservedBits { dword: 0, bits: dwords[0] & reserved[0] })
    } else if dwords[1] & reserved[1] != 0 {
        Err(Illegal::ReservedBits { dword: 1, bits: dwords[1] & reserved[1] })
    } else {
        Ok(())
    }
}

const fn decode_iotinval(dwords: [u64; 2], support: Support) -> Result<Command, Illegal> {
    let [d0, d1] = dwords;
    let mut reserved = iotinval::RESERVED;
    if !support.non_leaf {
        reserved[0] |= iotinval::NL.mask();
    }
    if !support.range {
        reserved[1] |= iotinval::S.mask();
    }
    if let Err(illegal) = check_reserved(dwords, reserved) {
        return Err(illegal);
    }
    let range = if iotinval::AV.is_set(d0) {
        Some(Range {
            page: iotinval::ADDR.get(d1),
            napot: iotinval::S.is_set(d1),
            non_leaf: iotinval::NL.is_set(d0),
        })
    } else {
        None
    };
    let gscid = if iotinval::GV.is_set(d0) { Some(iotinval::GSCID.get(d0) as u16) } else { None };
    let pscid = if iotinval::PSCV.is_set(d0) { Some(iotinval::PSCID.get(d0) as u32) } else { None };
    if iotinval::FUNC3.get(d0) == func3::IOTINVAL_VMA {
        return Ok(Command::IotinvalVma { gscid, pscid, range });
    }
    match (pscid, gscid) {
        (Some(_), _) => Err(Illegal::PscvInGvma),
        (None, Some(gscid)) => Ok(Command::IotinvalGvma { guest: Some((gscid, range)) }),
        (None, None) => Ok(Command::IotinvalGvma { guest: None }),
    }
}

const fn decode_iofence(dwords: [u64; 2], support: Support) -> Result<Command, Illegal> {
    let [d0, d1] = dwords;
    let mut reserved = iofence::RESERVED;
    if !support.wsi {
        reserved[0] |= iofence::WSI.mask();
    }
    if let Err(illegal) = check_reserved(dwords, reserved) {
        return Err(illegal);
    }
    let store = if iofence::AV.is_set(d0) {
        Some(Store { address: iofence::ADDR.get(d1) << 2, data: iofence::DATA.get(d0) as u32 })
    } else {
        None
    };
    Ok(Command::IofenceC {
        pr: iofence::PR.is_set(d0),
        pw: iofence::PW.is_set(d0),
        wsi: iofence::WSI.is_set(d0),
        store,
    })
}

const fn decode_iodir(dwords: [u64; 2], support: Support) -> Result<Command, Illegal> {
    let d0 = dwords[0];
    let of_process = iodir::FUNC3.get(d0) == func3::IODIR_INVAL_PDT;
    let mut reserved = iodir::RESERVED;
    if !of_process {
        reserved[0] |= iodir::PID.mask();
    }
    if let Err(illegal) = check_reserved(dwords, reserved) {
        return Err(illegal);
    }
    let did = iodir::DID.get(d0) as u32;
    let pid = iodir::PID.get(d0) as u32;
    if !iodir::DV.is_set(d0) {
        return if of_process { Err(Illegal::NoDeviceId) } else { Ok(Command::IodirInvalDdt { did: None }) };
    }
    if is_wider(did, support.device_id_bits) {
        return Err(Illegal::DeviceIdWidth(did));
    }
    if !of_process {
        return Ok(Command::IodirInvalDdt { did: Some(did) });
    }
    if is_wider(pid, support.process_id_bits) {
        return Err(Illegal::ProcessIdWidth(pid));
    }
    Ok(Command::IodirInvalPdt { did, pid })
}

const fn is_wider(id: u32, bits: u8) -> bool {
    bits < 32 && id >> bits != 0
}

const fn decode_ats(dwords: [u64; 2]) -> Result<Command, Illegal> {
    let [d0, payload] = dwords;
    if let Err(illegal) = check_reserved(dwords, ats::RESERVED) {
        return Err(illegal);
    }
    let pid = if ats::PV.is_set(d0) { Some(ats::PID.get(d0) as u32) } else { None };
    let dseg = if ats::DSV.is_set(d0) { Some(ats::DSEG.get(d0) as u8) } else { None };
    let rid = ats::RID.get(d0) as u16;
    if ats::FUNC3.get(d0) == func3::ATS_INVAL {
        Ok(Command::AtsInval { pid, dseg, rid, payload })
    } else {
        Ok(Command::AtsPrgr { pid, dseg, rid, payload })
    }
}
