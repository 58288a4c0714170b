//! The tables are consistent, and agree with values worked out by hand.

use std::collections::HashSet;

use pasidon_spec::command::{self, Command, Illegal, Range, Store, Support};
use pasidon_spec::fault::{Cause, Origin, ttyp};
use pasidon_spec::field::{Access, Field, Level, Word};
use pasidon_spec::page_table::{self, napot};
use pasidon_spec::registers::{self, Presence, capabilities, igs};
use pasidon_spec::{ddt, fault, message, page_request, pdt};

/// No overlap, inside `bits` bits, resets that fit, `reserved` exactly the rest, names unique.
fn assert_fields(owner: &str, fields: &[Field], bits: u8, reserved: u64) {
    let mut taken = 0;
    let mut names = HashSet::new();
    for field in fields {
        let name = field.name;
        assert!(field.width > 0 && field.lo + field.width <= bits, "{owner}.{name} leaves the word");
        assert_eq!(taken & field.mask(), 0, "{owner}.{name} overlaps another field");
        assert!(field.reset <= field.max(), "{owner}.{name}: reset is wider than the field");
        assert!(names.insert(name), "{owner}.{name} is there twice");
        assert!(!field.doc.is_empty(), "{owner}.{name} has no description");
        taken |= field.mask();
    }
    assert_eq!(taken & reserved, 0, "{owner}: a field is reserved");
    assert_eq!(taken | reserved, u64::MAX >> (64 - bits), "{owner}: bits neither defined nor reserved");
}

#[test]
fn registers_are_consistent() {
    let mut end = 0;
    let mut names = HashSet::new();
    for register in registers::ALL {
        assert_fields(register.name, register.fields, register.bits(), register.reserved());
        assert!(register.is_well_formed(), "{}", register.name);
        assert!(names.insert(register.name), "{} is there twice", register.name);
        assert!(register.offset >= end || register.count > 1, "{} overlaps", register.name);
        assert_eq!(register.reset() & register.reserved(), 0, "{}", register.name);
        end = register.offset + u16::from(register.bytes);
    }
}

#[test]
fn no_two_registers_share_a_byte() {
    let mut owners: Vec<Option<&str>> = vec![None; registers::REGION_BYTES as usize];
    for register in registers::ALL {
        for index in 0..register.count {
            let start = usize::from(register.offset_of(index));
            for owner in &mut owners[start..start + usize::from(register.bytes)] {
                assert_eq!(*owner, None, "{} at {start}", register.name);
                *owner = Some(register.name);
            }
        }
    }
    assert_eq!(owners[628..760], [None; 132], "reserved and custom space");
    assert_eq!(owners[1024..], [None; 3072], "reserved space");
}

#[test]
fn access_masks_split_a_register() {
    let reg = registers::cqcsr::REG;
    assert_eq!(reg.mask_of(Access::RW), 0b11);
    assert_eq!(reg.mask_of(Access::RW1C), 0xf00);
    assert_eq!(reg.mask_of(Access::RO), 0x3_0000);
    assert_eq!(reg.mask_of(Access::Reserved), 0xf000_0000);
    assert_eq!(registers::cqcsr::RESERVED, 0x0ffc_f0fc);
}

#[test]
fn registers_stand_where_the_specification_puts_them() {
    use pasidon_spec::registers::*;
    assert_eq!((ddtp::REG.offset, ddtp::PPN.lo, ddtp::PPN.width), (16, 10, 44));
    assert_eq!((cqb::REG.offset, fqb::REG.offset, pqb::REG.offset), (24, 40, 56));
    assert_eq!((cqcsr::REG.offset, fqcsr::REG.offset, pqcsr::REG.offset), (72, 76, 80));
    assert_eq!((ipsr::REG.offset, icvec::REG.offset), (84, 760));
    assert_eq!((iohpmctr::REG.offset_of(30), iohpmevt::REG.offset_of(30)), (344, 592));
    assert_eq!((msi_addr::REG.offset_of(15), msi_vec_ctl::REG.offset_of(15)), (1008, 1020));
    assert_eq!(capabilities::REG.reset(), 0x10);
    assert_eq!(ddtp::REG.reset(), ddt::iommu_mode::OFF);
}

#[test]
fn presence_follows_capabilities() {
    let wired = capabilities::IGS.of(igs::WSI);
    assert!(Presence::Always.holds(0));
    assert!(!Presence::Msi.holds(wired) && Presence::Msi.holds(capabilities::IGS.of(igs::BOTH)));
    assert!(!Presence::Ats.holds(wired) && Presence::Ats.holds(capabilities::ATS.mask()));
    assert!(Presence::Hpm.holds(capabilities::HPM.mask()) && Presence::Dbg.holds(capabilities::DBG.mask()));
    assert!(Presence::Qosid.holds(capabilities::QOSID.mask()));
}

fn assert_words(owner: &str, words: &[&Word], bytes: u64) {
    let mut offset = 0;
    for word in words {
        assert_eq!(u64::from(word.offset), offset, "{owner}.{}", word.name);
        assert_fields(word.name, word.fields, word.bits, word.reserved());
        assert!(word.is_well_formed(), "{owner}.{}", word.name);
        offset += u64::from(word.bits) / 8;
    }
    assert_eq!(offset, bytes, "{owner}");
}

#[test]
fn structures_are_consistent() {
    assert_words("base DC", ddt::dc::BASE, ddt::BASE_DC_BYTES);
    assert_words("extended DC", ddt::dc::EXTENDED, ddt::EXT_DC_BYTES);
    assert_words("DDTE", &[&ddt::ddte::WORD], ddt::DDTE_BYTES);
    assert_words("PC", pdt::pc::WORDS, pdt::PC_BYTES);
    assert_words("PDTE", &[&pdt::pdte::WORD], pdt::PDTE_BYTES);
    assert_words("PTE", &[&page_table::pte::WORD], 8);
    assert_words("Sv32 PTE", &[&page_table::pte32::WORD], 4);
    assert_eq!(ddt::dc::reserved::RESERVED, u64::MAX);
    // Custom bits of tc are not reserved for standard use, so they do not make a context misconfigured.
    assert_eq!(ddt::dc::tc::RESERVED, 0xffff_ffff_00ff_f000);
    assert_eq!(page_table::pte::RESERVED, 0x7f << 54);
    assert_eq!(page_table::PTE_RSW60T59 & !page_table::pte::RESERVED, 0);
}

#[test]
fn records_are_consistent() {
    let assert_record = |name: &str, dwords: &[&[Field]], reserved: &[u64], bytes: u64| {
        assert_eq!(dwords.len() as u64 * 8, bytes, "{name}");
        for (fields, reserved) in dwords.iter().zip(reserved) {
            assert_fields(name, fields, 64, *reserved);
        }
    };
    assert_record(
        "IOTINVAL",
        command::iotinval::DWORDS,
        &command::iotinval::RESERVED,
        command::COMMAND_BYTES,
    );
    assert_record("IOFENCE", command::iofence::DWORDS, &command::iofence::RESERVED, command::COMMAND_BYTES);
    assert_record("IODIR", command::iodir::DWORDS, &command::iodir::RESERVED, command::COMMAND_BYTES);
    assert_record("ATS", command::ats::DWORDS, &command::ats::RESERVED, command::COMMAND_BYTES);
    assert_record("fault", fault::record::DWORDS, &fault::record::RESERVED, fault::RECORD_BYTES);
    assert_record("page request", page_request::record::DWORDS, &page_request::record::RESERVED, 16);
    assert_record("invalidation", message::invalidation::DWORDS, &message::invalidation::RESERVED, 8);
    assert_record("response", message::group_response::DWORDS, &message::group_response::RESERVED, 8);
    // Every command starts as the header says.
    for dwords in
        [command::iotinval::DWORDS, command::iofence::DWORDS, command::iodir::DWORDS, command::ats::DWORDS]
    {
        for (field, header) in dwords[0].iter().zip(command::header::DWORDS[0]) {
            assert_eq!((field.name, field.lo, field.width), (header.name, header.lo, header.width));
        }
    }
}

#[test]
fn levels_are_adjacent() {
    let adjacent = |levels: &[Level]| levels.windows(2).all(|pair| pair[0].lo + pair[0].width == pair[1].lo);
    assert!(adjacent(&ddt::BASE_DDI) && adjacent(&ddt::EXT_DDI) && adjacent(&pdt::PDI));
    // A leaf table of contexts fills a page, and so does a full table of pointers.
    assert_eq!(ddt::BASE_DDI[0].entries() as u64 * ddt::BASE_DC_BYTES, page_table::PAGE_BYTES);
    assert_eq!(ddt::EXT_DDI[0].entries() as u64 * ddt::EXT_DC_BYTES, page_table::PAGE_BYTES);
    assert_eq!(pdt::PDI[0].entries() as u64 * pdt::PC_BYTES, page_table::PAGE_BYTES);
    assert_eq!([1, 2, 3].map(|levels| ddt::device_id_bits(false, levels)), [7, 16, 24]);
    assert_eq!([1, 2, 3].map(|levels| ddt::device_id_bits(true, levels)), [6, 15, 24]);
    assert_eq!([1, 2, 3].map(pdt::process_id_bits), [8, 17, 20]);
    for geometry in page_table::ALL {
        assert!(adjacent(geometry.levels), "{}", geometry.name);
        assert_eq!(geometry.levels[0].lo, page_table::PAGE_SHIFT, "{}", geometry.name);
        let root = if geometry.x4 { 4 } else { 1 } * page_table::PAGE_BYTES;
        assert_eq!(geometry.root_bytes(), root, "{}", geometry.name);
    }
    let bits: Vec<_> = page_table::ALL.iter().map(|geometry| geometry.address_bits()).collect();
    assert_eq!(bits, [32, 39, 48, 57, 34, 41, 50, 59]);
}

#[test]
fn modes_select_geometries() {
    for geometry in page_table::ALL {
        let narrow = geometry.pte_bytes == 4;
        let select = if geometry.x4 { page_table::second_stage } else { page_table::first_stage };
        assert_eq!(select(narrow, geometry.mode), Some(*geometry), "{}", geometry.name);
        assert_eq!(select(narrow, 0), None);
        assert_eq!(select(narrow, 11), None);
    }
    assert_eq!(page_table::first_stage(true, page_table::iosatp_mode::SV48), None);
    assert_eq!(page_table::SV39.page_bytes(1), 2 << 20);
    assert_eq!(page_table::SV57.page_bytes(4), 256 << 40);
}

#[test]
fn canonical_addresses() {
    let sv39 = page_table::SV39;
    assert!(sv39.is_canonical(0x0000_003f_ffff_ffff) && sv39.is_canonical(0xffff_ffc0_0000_0000));
    assert!(!sv39.is_canonical(0x0000_0040_0000_0000) && !sv39.is_canonical(0xffff_ff80_0000_0000));
    let sv39x4 = page_table::SV39X4;
    assert!(sv39x4.is_canonical(0x01ff_ffff_ffff) && !sv39x4.is_canonical(0x0200_0000_0000));
    assert!(page_table::SV32.is_canonical(0xffff_ffff) && !page_table::SV32.is_canonical(u64::MAX));
}

#[test]
fn napot_groups() {
    assert!(napot::is_defined(0, 0x128) && !napot::is_defined(1, 0x128) && !napot::is_defined(0, 0x124));
    assert_eq!(napot::encode(0x12f), 0x128);
    assert_eq!(napot::resolve(0x128, 0xabc5), 0x125);
    assert_eq!(1 << napot::GROUP_SHIFT, 64 << 10);
}

#[test]
fn causes_are_unique_and_complete() {
    let codes: Vec<_> = Cause::ALL.iter().map(|cause| cause.code()).collect();
    let expected: Vec<u16> = [1, 4, 5, 6, 7, 12, 13, 15, 20, 21, 23].into_iter().chain(256..=274).collect();
    assert_eq!(codes, expected);
    let names: HashSet<_> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    assert_eq!(names.len(), Cause::ALL.len());
    for code in 0..=0xffff {
        assert_eq!(Cause::from_code(code).map(Cause::code), codes.contains(&code).then_some(code));
    }
}

#[test]
fn causes_know_their_reporting() {
    let reported: Vec<_> =
        Cause::ALL.iter().filter(|cause| !cause.dtf_suppresses()).map(|cause| cause.code()).collect();
    assert_eq!(reported, [256, 257, 258, 259, 268, 272, 273]);
    for cause in Cause::ALL {
        assert!(!cause.raised_by().is_empty() && !cause.transactions().is_empty(), "{cause:?}");
        let defined = |kind: &u64| ttyp::ALL.iter().any(|encoding| encoding.value == *kind);
        assert!(cause.transactions().iter().all(defined), "{cause:?}");
        let own_interrupt = cause.raised_by() == [Origin::InterruptMessage];
        assert_eq!(own_interrupt, cause.transactions() == [ttyp::NONE], "{cause:?}");
        if cause.ats_response().is_some() {
            assert!(cause.transactions().contains(&ttyp::ATS_TRANSLATION_REQUEST), "{cause:?}");
        }
    }
}

#[test]
fn commands_have_the_bits_worked_out_by_hand() {
    let page = Range::page_of(0x1234_5000);
    let vma = Command::IotinvalVma { gscid: None, pscid: Some(5), range: Some(page) };
    assert_eq!(vma.encode(), [0x1_0000_5401, 0x1234_5000 >> 2]);
    let fence = Command::IofenceC {
        pr: true,
        pw: true,
        wsi: false,
        store: Some(Store { address: 0x8000_0004, data: 7 }),
    };
    assert_eq!(fence.encode(), [0x7_0000_3402, 0x2000_0001]);
    let ddt = Command::IodirInvalDdt { did: Some(0x12) };
    assert_eq!(ddt.encode(), [0x1202_0000_0003, 0]);
    let pdt = Command::IodirInvalPdt { did: 0x12, pid: 3 };
    assert_eq!(pdt.encode(), [0x1202_0000_3083, 0]);
}

#[test]
fn illegal_commands_are_refused() {
    let decode = Command::decode;
    assert_eq!(decode([0, 0]), Err(Illegal::Opcode(0)));
    assert_eq!(decode([64, 0]), Err(Illegal::Opcode(64)));
    assert_eq!(decode([0x101, 0]), Err(Illegal::Function { opcode: 1, func3: 2 }));
    assert_eq!(decode([0x82, 0]), Err(Illegal::Function { opcode: 2, func3: 1 }));
    assert_eq!(decode([0x801, 0]), Err(Illegal::ReservedBits { dword: 0, bits: 0x800 }));
    assert_eq!(decode([0x001, 1 << 62]), Err(Illegal::ReservedBits { dword: 1, bits: 1 << 62 }));
    assert_eq!(decode([0x1_0000_0081, 0]), Err(Illegal::PscvInGvma));
    assert_eq!(decode([0x83, 0]), Err(Illegal::NoDeviceId));
    assert_eq!(decode([0x1003, 0]), Err(Illegal::ReservedBits { dword: 0, bits: 0x1000 }));
    assert_eq!(decode([3, 1]), Err(Illegal::ReservedBits { dword: 1, bits: 1 }));
}

#[test]
fn support_decides_about_legality() {
    let plain = Support {
        non_leaf: false,
        range: false,
        ats: false,
        wsi: false,
        device_id_bits: 7,
        process_id_bits: 8,
    };
    let decode = |command: Command| Command::decode_for(command.encode(), plain);
    let range = |napot, non_leaf| Command::IotinvalVma {
        gscid: None,
        pscid: None,
        range: Some(Range { page: 0, napot, non_leaf }),
    };
    assert_eq!(decode(range(true, false)), Err(Illegal::ReservedBits { dword: 1, bits: 1 << 9 }));
    assert_eq!(decode(range(false, true)), Err(Illegal::ReservedBits { dword: 0, bits: 1 << 34 }));
    let wired = Command::IofenceC { pr: false, pw: false, wsi: true, store: None };
    assert_eq!(decode(wired), Err(Illegal::ReservedBits { dword: 0, bits: 1 << 11 }));
    let ats = Command::AtsInval { pid: None, dseg: None, rid: 0, payload: 0 };
    assert_eq!(decode(ats), Err(Illegal::Unsupported(4)));
    assert_eq!(decode(Command::IodirInvalDdt { did: Some(128) }), Err(Illegal::DeviceIdWidth(128)));
    let pdt = Command::IodirInvalPdt { did: 127, pid: 256 };
    assert_eq!(decode(pdt), Err(Illegal::ProcessIdWidth(256)));
    assert!(decode(Command::IodirInvalPdt { did: 127, pid: 255 }).is_ok());
}

#[test]
fn refused_page_requests_are_answered() {
    use message::response_code::{INVALID_REQUEST, RESPONSE_FAILURE, SUCCESS};
    use page_request::Refusal;
    assert_eq!(Refusal::QueueOverflow.response_code(), Some(SUCCESS));
    assert_eq!(Refusal::QueueOff.response_code(), Some(RESPONSE_FAILURE));
    let fault = |cause| Refusal::Fault(cause).response_code();
    assert_eq!(fault(Cause::TransactionTypeDisallowed), Some(INVALID_REQUEST));
    assert_eq!(fault(Cause::DdtEntryNotValid), Some(RESPONSE_FAILURE));
    assert_eq!(fault(Cause::ReadPageFault), None);
}

#[test]
fn interrupt_file_numbers_are_packed() {
    use pasidon_spec::msi;
    assert_eq!(msi::interrupt_file(0b1100_1010, 0b1010_0110), 0b1001);
    assert_eq!(msi::interrupt_file(u64::MAX, 0), 0);
    assert_eq!(msi::interrupt_file(0xf00_0000_0000_0005, u64::MAX), 0xf00_0000_0000_0005);
    assert_eq!(msi::notice_id(1 << 60 | 0x2ff), 0x6ff);
    assert_eq!(msi::file::pending(1), (0, 2));
    assert_eq!(msi::file::pending(2047), (496, 1 << 63));
    assert_eq!(msi::basic::RESERVED, [0x7fc0_0000_0000_03f8, 0]);
    assert_eq!(msi::mrif::RESERVED, [0x7fc0_0000_0000_0078, 0xefc0_0000_0000_0000]);
}
