//! Memory-resident interrupt files, and the recognition of interrupt files. Faults of MSI page tables are in `causes`.

use crate::causes::with_interrupt_files;
use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::{DeviceContext, dc};
use pasidon_spec::fault::Cause;
use pasidon_spec::msi::{basic, file, mrif};
use pasidon_spec::page_table::SV39X4;
use pasidon_spec::registers::{self as reg, capabilities as cap};
use pasidon_spec::request::{AddressType, Request};

const FILE: u64 = 0x12_3400;
const NOTICE: u64 = 0x55_5000;
const NID: u64 = 0x5a7;

fn entry() -> [u64; 2] {
    let first = mrif::V.of(1) | mrif::M.of(1) | mrif::ADDRESS.of(FILE / file::BYTES);
    let second = mrif::NID_LOW.of(NID) | mrif::NID_HIGH.of(NID >> 10) | mrif::NPPN.of(NOTICE >> 12);
    [first, second]
}

fn store(offset: u64, data: u32) -> Request {
    Request { data, ..write(read(DEVICE, 0x8000_1000 + offset)) }
}

/// A device whose interrupt file 1 is resident in memory.
fn resident(parameters: Parameters) -> (World, u64) {
    let mut world = World::new(parameters);
    let files = with_interrupt_files(&mut world, 0);
    let [first, second] = entry();
    world.ram.set(files + 16, first);
    world.ram.set(files + 24, second);
    (world, files + 16)
}

#[test]
fn an_msi_is_stored_and_noticed() {
    for identity in [0, 1, 63, 64, 100, 2047] {
        for enabled in [false, true] {
            for (offset, data) in [(0, identity), (4, u32::swap_bytes(identity))] {
                let (mut world, _) = resident(Parameters::full());
                let pending = FILE + u64::from(identity / 64) * 16;
                let bit = 1 << (identity % 64);
                world.ram.set(pending, 1 << 17);
                world.ram.set(pending + 8, if enabled { bit } else { !bit });
                let translation = world.success(store(offset, data));
                assert!(translation.mrif && translation.read && translation.write && !translation.exec);
                assert_eq!(translation.page_shift, 12);
                assert_eq!(world.ram.get(pending), bit | 1 << 17, "{identity}");
                assert_eq!(world.ram.get4(NOTICE), NID as u32, "{identity}");
            }
        }
    }
}

#[test]
fn what_is_no_msi_changes_nothing() {
    let (mut world, _) = resident(Parameters::full());
    for request in [
        store(0, 2048),
        store(0, u32::MAX),
        store(4, 5),
        store(8, 5),
        store(0xffc, 5),
        read(DEVICE, 0x8000_1000),
    ] {
        let writes = world.ram.writes;
        assert!(world.success(request).mrif);
        assert_eq!(world.ram.writes, writes, "{request:?}");
    }
    assert_eq!(world.fault(exec(read(DEVICE, 0x8000_1000))).cause, Cause::InstructionAccessFault);
}

#[test]
fn file_and_notice_are_little_endian() {
    let mut world = World::full();
    world.write(&reg::fctl::REG, reg::fctl::BE.mask());
    world.big_endian = true;
    let files = with_interrupt_files(&mut world, 0);
    for (i, word) in entry().into_iter().enumerate() {
        world.ram.set(files + 16 + 8 * i as u64, word.swap_bytes());
    }
    world.success(store(0, 3));
    assert_eq!(world.ram.get(FILE), 1 << 3);
    assert_eq!(world.ram.get4(NOTICE), NID as u32);
}

/// The data path is told nothing of an access that is not 4-byte aligned but that it is refused: it is unsupported, and nothing is
/// stored.
#[test]
fn accesses_that_are_not_aligned_are_refused() {
    let [first, second] = entry();
    let (mut world, at) = resident(Parameters::full());
    let at_offset = |offset| read(DEVICE, 0x8000_1000 + offset);
    for offset in [1, 2, 3, 5, 6, 7, 9, 0xffd, 0xffe, 0xfff] {
        for request in [at_offset(offset), store(offset, 3)] {
            world.faults();
            let writes = world.ram.writes;
            let fault = world.fault(request);
            assert_eq!(
                (fault.cause, fault.reported),
                (Cause::TransactionTypeDisallowed, true),
                "{offset:#x}"
            );
            assert_eq!(world.ram.writes, writes + 4, "the record alone");
            let records = world.faults();
            assert_eq!((records.len(), records[0].cause), (1, 260));
            assert_eq!((records[0].iotval, records[0].iotval2), (request.iova, 0));
        }
        // First comes what is wrong with the entry, and that nothing is executed from such a page.
        assert_eq!(world.fault(exec(at_offset(offset))).cause, Cause::InstructionAccessFault);
        for (word, cause) in [(0, Cause::MsiPteNotValid), (1, Cause::MsiPteMisconfigured)] {
            world.ram.set(at, word);
            assert_eq!(world.fault(store(offset, 3)).cause, cause);
        }
        world.ram.set(at, first);
    }
    assert!(world.success(at_offset(4)).mrif);
    // A page in basic mode takes them all; so does a translation request, which accesses nothing.
    world.ram.set(at, basic::V.of(1) | basic::M.of(3) | basic::PPN.of(0x777));
    assert_eq!(world.success(store(2, 3)).spa, 0x77_7002);
    let files = with_interrupt_files(&mut world, dc::tc::EN_ATS.mask() | dc::tc::DTF.mask());
    world.ram.set(files + 16, first);
    world.ram.set(files + 24, second);
    let asked = Request { at: AddressType::TranslationRequest, ..at_offset(2) };
    assert!(world.success(asked).ats.expect("an ATS completion").untranslated_only);
    // DTF holds the record back.
    world.faults();
    assert!(!world.fault(store(2, 3)).reported);
    assert!(world.faults().is_empty());
}

#[test]
fn an_interrupt_that_arrives_meanwhile_is_not_lost() {
    let (mut world, _) = resident(Parameters::full());
    world.ram.race = Some((FILE, 1 << 40));
    world.success(store(0, 3));
    assert_eq!(world.ram.get(FILE), 1 << 40 | 1 << 3);
}

#[test]
fn failures_of_the_file() {
    let (mut world, at) = resident(Parameters::full());
    for (range, failing, cause) in [
        (FILE..FILE + 8, Failing::Read, Cause::MrifAccessFault),
        (FILE..FILE + 8, Failing::Write, Cause::MrifAccessFault),
        (FILE..FILE + 8, Failing::Corrupt, Cause::MsiMrifDataCorruption),
        (NOTICE..NOTICE + 4, Failing::Write, Cause::MrifAccessFault),
    ] {
        world.ram.failures = vec![(range, failing)];
        assert_eq!(world.fault(store(0, 3)).cause, cause);
        // A read does not touch the file.
        assert!(world.success(read(DEVICE, 0x8000_1000)).mrif);
    }
    world.ram.failures.clear();
    let [first, second] = entry();
    for (i, word, reserved) in [(0, first, mrif::RESERVED[0]), (8, second, mrif::RESERVED[1])] {
        for bit in (0..64).filter(|bit| reserved >> bit & 1 == 1) {
            world.ram.set(at + i, word | 1 << bit);
            assert_eq!(world.fault(store(0, 3)).cause, Cause::MsiPteMisconfigured, "{i} {bit}");
        }
        world.ram.set(at + i, word);
    }
    // DTF holds them back.
    let files = with_interrupt_files(&mut world, dc::tc::DTF.mask());
    world.ram.set(files + 16, first);
    world.ram.set(files + 24, second);
    world.ram.failures = vec![(FILE..FILE + 8, Failing::Read)];
    world.faults();
    assert!(!world.fault(store(0, 3)).reported);
    assert!(world.faults().is_empty());
}

#[test]
fn resident_files_need_the_feature() {
    let capabilities = cap::MSI_MRIF.set(Parameters::full_capabilities(), 0);
    let (mut world, _) = resident(Parameters::new(capabilities));
    assert_eq!(world.fault(store(0, 3)).cause, Cause::MsiPteMisconfigured);
}

#[test]
fn interrupt_files_are_found_by_mask_and_pattern() {
    let mut world = World::full();
    let second = world.table(&SV39X4, None);
    world.map(second, None, 0, 2, leaf(1 << 30));
    let files = world.alloc(1 << 16);
    let (mask, pattern) = (0b1010_0100_0001, 0b0101_0000_1000);
    world.device(
        DEVICE,
        DeviceContext {
            iohgatp: iohgatp(second, 5),
            msiptp: dc::msiptp::MODE.of(1) | dc::msiptp::PPN.of(files >> 12),
            msi_addr_mask: mask,
            // Bits under the mask do not matter.
            msi_addr_pattern: pattern | 0b1000_0000_0000,
            ..device_context(0)
        },
    );
    for number in 0..16 {
        let entry = basic::V.of(1) | basic::M.of(3) | basic::PPN.of(0x7_0000 + number);
        world.ram.set(files + number * 16, entry);
    }
    for page in 0..1 << 12 {
        let expected = if page & !mask == pattern {
            let bit = |from: u32, to: u32| (page >> from & 1) << to;
            let number = bit(0, 0) | bit(6, 1) | bit(9, 2) | bit(11, 3);
            (0x7_0000 + number) << 12
        } else {
            1 << 30 | page << 12
        };
        let translation = world.success(read(DEVICE, page << 12 | 0x10));
        assert_eq!(translation.spa, expected | 0x10, "{page:b}");
        // A larger page could contain an interrupt file.
        assert_eq!(translation.page_shift, 12);
    }
}

#[test]
fn first_stage_addresses_become_msis() {
    let mut p = Processes::new(World::full(), 0, 0, true);
    let files = p.world.alloc(4096);
    p.world.ram.set(files, basic::V.of(1) | basic::M.of(3) | basic::PPN.of(0x777));
    let second = p.second.expect("two stages");
    p.world.device(
        DEVICE,
        DeviceContext {
            iohgatp: iohgatp(second, 5),
            fsc: fsc(3, p.directory),
            msiptp: dc::msiptp::MODE.of(1) | dc::msiptp::PPN.of(files >> 12),
            msi_addr_pattern: p.page >> 12,
            ..device_context(dc::tc::PDTV.mask())
        },
    );
    // Not even the second stage's leaf is looked at.
    let at = p.world.entry(second, None, p.page, 0);
    p.world.ram.set(at, 0);
    assert_eq!(p.world.success(write(Processes::read())).spa, 0x77_7abc);
}
