//! Page sizes of both stages, and how they combine.

use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::{
    ALL as FORMATS, Geometry, SV32, SV39, SV39X4, SV48, SV57, SV57X4, napot, pbmt, pte,
};
use pasidon_spec::pdt::{ProcessContext, pc};
use pasidon_spec::registers::{self as reg, capabilities as cap};
use pasidon_spec::request::{AddressType, Request, Translation};

fn stage(x4: bool) -> impl Iterator<Item = &'static Geometry> {
    FORMATS.iter().copied().filter(move |format| format.x4 == x4)
}

/// Puts a device with these stages into the directory, and switches the IOMMU to their width.
fn device(world: &mut World, first: Option<Table>, second: Option<Table>, tc: u64) {
    let narrow = |table: Option<Table>| table.is_some_and(|table| table.geometry.pte_bytes == 4);
    world.write(
        &reg::fctl::REG,
        reg::fctl::GXL.of(narrow(second).into()) | reg::fctl::BE.of(world.big_endian.into()),
    );
    let sxl = narrow(first) || narrow(second);
    world.device(
        DEVICE,
        DeviceContext {
            iohgatp: second.map_or(0, |table| iohgatp(table, 5)),
            fsc: first.map_or(0, |table| fsc(table.geometry.mode, table.root)),
            ..device_context(tc | dc::tc::SXL.of(sxl.into()) | dc::tc::SBE.of(world.big_endian.into()))
        },
    );
}

/// An address of the format with bits everywhere, in the upper half if it has one.
fn address(format: &Geometry) -> u64 {
    let address = 0xa5a5_5a5a_a55a_5ab4 & ((1 << format.address_bits()) - 1);
    if format.x4 || format.pte_bytes == 4 || address >> (format.address_bits() - 1) == 0 {
        address
    } else {
        address | u64::MAX << format.address_bits()
    }
}

/// Frame of a page of `1 << shift` bytes, in 34 bits if the page is.
fn frame(shift: u8) -> u64 {
    if shift > 30 { 1 << shift } else { 0x3_5d5d_5d5d & !((1 << shift) - 1) }
}

fn part(address: u64, shift: u8) -> u64 {
    address & ((1 << shift) - 1)
}

#[test]
fn one_stage() {
    for x4 in [false, true] {
        for big_endian in [false, true] {
            for format in stage(x4) {
                for level in 0..format.levels.len() {
                    let mut world = World::full();
                    world.big_endian = big_endian;
                    let table = world.table(format, None);
                    let shift = format.levels[level].lo;
                    let at = world.map(table, None, address(format), level, leaf(frame(shift)));
                    let (first, second) = if x4 { (None, Some(table)) } else { (Some(table), None) };
                    device(&mut world, first, second, 0);
                    let translation = world.success(read(DEVICE, address(format)));
                    let expected = Translation {
                        spa: frame(shift) | part(address(format), shift),
                        read: true,
                        write: true,
                        exec: true,
                        page_shift: shift,
                        ..Translation::default()
                    };
                    assert_eq!(translation, expected, "{} level {level}", format.name);

                    // A superpage whose number has bits inside it; a pointer where only leaves can be.
                    if level > 0 {
                        world.set_pte(at, format.pte_bytes, leaf(frame(shift) | 1 << (shift - 1)));
                    } else {
                        world.set_pte(at, format.pte_bytes, leaf(0x5000) & !0xe);
                    }
                    let cause = if x4 { Cause::ReadGuestPageFault } else { Cause::ReadPageFault };
                    assert_eq!(world.fault(read(DEVICE, address(format))).cause, cause);
                }
            }
        }
    }
}

#[test]
fn every_page_size_over_every_page_size() {
    for first in stage(false) {
        for second in stage(true) {
            // Sv32x4 goes with Sv32 only: fctl.GXL = 1 wants SXL = 1.
            if second.pte_bytes == 4 && first.pte_bytes == 8 {
                continue;
            }
            for first_level in 0..first.levels.len() {
                for second_level in 0..second.levels.len() {
                    let first_shift = first.levels[first_level].lo;
                    let second_shift = second.levels[second_level].lo;
                    let iova = address(first);
                    // Not below the guest tables of the fixture, and inside 34 bits where that is the limit.
                    let limit = if first.pte_bytes == 4 { 34 } else { second.address_bits() };
                    let gpa_frame = frame(first_shift);
                    let gpa = gpa_frame | part(iova, first_shift);
                    let table_page = GUEST;
                    if gpa_frame >> limit != 0 || gpa >> second_shift == table_page >> second_shift {
                        continue;
                    }
                    let mut world = World::full();
                    let two = world.table(second, None);
                    let one = world.table(first, Some(two));
                    world.map(one, Some(two), iova, first_level, leaf(gpa_frame));
                    world.map(two, None, gpa, second_level, leaf(frame(second_shift)));
                    device(&mut world, Some(one), Some(two), 0);
                    let translation = world.success(read(DEVICE, iova));
                    let name = (first.name, first_level, second.name, second_level);
                    assert_eq!(translation.spa, frame(second_shift) | part(gpa, second_shift), "{name:?}");
                    assert_eq!(translation.page_shift, first_shift.min(second_shift), "{name:?}");
                }
            }
        }
    }
}

#[test]
fn naturally_aligned_groups() {
    for x4 in [false, true] {
        let mut world = World::full();
        let format = if x4 { &SV39X4 } else { &SV39 };
        let table = world.table(format, None);
        let ppn = 0x4_5670;
        let at = world.map(table, None, 0x1234_0000, 0, 0);
        let (first, second) = if x4 { (None, Some(table)) } else { (Some(table), None) };
        device(&mut world, first, second, 0);
        for page in 0..16 {
            let entry = ALL | pte::N.mask() | pte::PPN.of(napot::encode(ppn));
            let here = world.entry(table, None, 0x1234_0000 + page * 0x1000, 0);
            world.set_pte(here, 8, entry);
            let translation = world.success(read(DEVICE, 0x1234_0abc + page * 0x1000));
            assert_eq!((translation.spa, translation.page_shift), ((ppn + page) << 12 | 0xabc, 16));
        }
        for low in (0..16).filter(|low| *low != 8) {
            world.set_pte(at, 8, ALL | pte::N.mask() | pte::PPN.of(ppn | low));
            world.fault(read(DEVICE, 0x1234_0000));
        }
        // Not above the leaf level.
        let above = world.entry(table, None, 0x1234_0000, 1);
        world.set_pte(above, 8, ALL | pte::N.mask() | pte::PPN.of(napot::encode(ppn)));
        world.fault(read(DEVICE, 0x1234_0000));
    }
}

#[test]
fn reserved_bits_of_entries() {
    // Which bits of an entry fault, with both extensions, with neither.
    let cases = [
        (vec![], (54..59).collect::<Vec<u64>>()),
        (vec![cap::SVRSW60T59B], (54..61).collect()),
        (vec![cap::SVPBMT], (54..59).chain(61..63).collect()),
    ];
    for (off, faulting) in cases {
        let capabilities =
            off.iter().fold(Parameters::full_capabilities(), |word, feature| feature.set(word, 0));
        let mut host = Host::new(World::new(Parameters::new(capabilities)), 0);
        for bit in 54..63 {
            host.world.ram.set(host.leaf, leaf(PAGE) | 1 << bit);
            let response = host.world.translate(Host::read());
            assert_eq!(response.fault().is_some(), faulting.contains(&bit), "{bit} {off:?}");
            // In a pointer the memory type is reserved in any case.
            host.world.ram.set(host.leaf, leaf(PAGE));
            let pointer = host.world.entry(host.table, None, Host::read().iova, 1);
            let old = host.world.ram.get(pointer);
            host.world.ram.set(pointer, old | 1 << bit);
            let response = host.world.translate(Host::read());
            let reserved = faulting.contains(&bit) || bit >= 61;
            assert_eq!(response.fault().is_some(), reserved, "pointer {bit} {off:?}");
            host.world.ram.set(pointer, old);
        }
    }
    let mut host = Host::new(World::full(), 0);
    let pointer = host.world.entry(host.table, None, Host::read().iova, 1);
    let old = host.world.ram.get(pointer);
    for field in [pte::U, pte::A, pte::D, pte::N] {
        host.world.ram.set(pointer, old | field.mask());
        assert_eq!(host.world.fault(Host::read()).cause, Cause::ReadPageFault, "{}", field.name);
    }
    for field in [pte::G, pte::RSW] {
        host.world.ram.set(pointer, old | field.mask());
        host.world.success(Host::read());
    }
}

#[test]
fn memory_types_combine() {
    for first in 0..4 {
        for second in 0..4 {
            let mut p = Processes::new(World::full(), 0, 0, true);
            let two = p.second.expect("two stages");
            let at = p.world.entry(two, None, p.page, 0);
            p.world.ram.set(p.leaf, leaf(p.page) | pte::PBMT.of(first));
            p.world.ram.set(at, leaf(PAGE) | pte::PBMT.of(second));
            let response = p.world.translate(Processes::read());
            match (first, second) {
                (3, _) => assert_eq!(response.fault().expect("reserved").cause, Cause::ReadPageFault),
                (_, 3) => {
                    assert_eq!(response.fault().expect("reserved").cause, Cause::ReadGuestPageFault);
                }
                _ => {
                    let expected = if first == pbmt::PMA { second } else { first };
                    assert_eq!(u64::from(response.success().expect("legal").pbmt), expected);
                }
            }
        }
    }
}

#[test]
fn addresses_beyond_32_and_34_bits_with_sxl() {
    let mut world = World::full();
    let table = world.table(&SV32, None);
    world.map(table, None, 0x8000_0000, 1, leaf(0x40_0000));
    device(&mut world, Some(table), None, 0);
    assert_eq!(world.success(read(DEVICE, 0x8000_1234)).spa, 0x40_1234);
    assert_eq!(world.fault(read(DEVICE, 0x1_8000_1234)).cause, Cause::ReadPageFault);

    // A second stage of 39 bits under SXL = 1 takes 34.
    let mut world = World::full();
    let second = world.table(&SV39X4, None);
    world.map(second, None, 3 << 32, 2, leaf(1 << 30));
    world.map(second, None, 4 << 32, 2, leaf(1 << 30));
    let context = DeviceContext { iohgatp: iohgatp(second, 1), ..device_context(dc::tc::SXL.mask()) };
    world.device(DEVICE, context);
    world.success(read(DEVICE, 3 << 32));
    let fault = world.fault(read(DEVICE, 4 << 32));
    assert_eq!((fault.cause, fault.iotval2), (Cause::ReadGuestPageFault, 4 << 32));
    world.device(DEVICE, DeviceContext { tc: 1, ..context });
    world.success(read(DEVICE, 4 << 32));
}

#[test]
fn roots_of_four_pages() {
    // The highest address of the widest format uses the last entry of the root.
    let mut world = World::full();
    let second = world.table(&SV57X4, None);
    let gpa = (1 << 59) - 4096;
    world.map(second, None, gpa, 0, leaf(PAGE));
    device(&mut world, None, Some(second), 0);
    assert_eq!(world.success(read(DEVICE, gpa | 4)).spa, PAGE | 4);
    assert_eq!(world.fault(read(DEVICE, 1 << 59)).cause, Cause::ReadGuestPageFault);
}

#[test]
fn process_directories_of_each_depth() {
    for (levels, bits) in [(1, 8), (2, 17), (3, 20)] {
        for two_stage in [false, true] {
            for format in [&SV39, &SV48, &SV57] {
                let mut world = World::full();
                let second = two_stage.then(|| world.table(&SV39X4, None));
                let directory = world.alloc(4096);
                let directory = world.reveal(directory, second);
                let context = DeviceContext {
                    iohgatp: second.map_or(0, |second| iohgatp(second, 5)),
                    fsc: fsc(levels, directory),
                    ..device_context(dc::tc::PDTV.mask())
                };
                world.device(DEVICE, context);
                for process_id in [0, 1, (1 << bits) - 1] {
                    let table = world.table(format, second);
                    let spa = world.alloc(4096);
                    let page = world.reveal(spa, second);
                    world.map(table, second, 0x1234_5000, 0, leaf(page));
                    let pc = ProcessContext { ta: pc::ta::V.mask(), fsc: fsc(format.mode, table.root) };
                    world.process(directory, levels as usize, second, process_id, pc);
                    let request = of_process(read(DEVICE, 0x1234_5678), process_id);
                    assert_eq!(world.success(request).spa, spa | 0x678);
                }
            }
        }
    }
}

#[test]
fn bare_stages() {
    let mut world = World::full();
    let directory = world.alloc(4096);
    let with_directory = |tc, mode| DeviceContext {
        fsc: fsc(mode, directory),
        ta: dc::ta::RCID.of(5) | dc::ta::MCID.of(6),
        ..device_context(tc | dc::tc::PDTV.mask())
    };
    let expected = Translation {
        spa: 0x12_3456_7000,
        read: true,
        write: true,
        exec: true,
        page_shift: 30,
        rcid: 5,
        mcid: 6,
        ..Translation::default()
    };
    // Without DPE a request without process_id is not translated; with pdtp.MODE Bare nobody's is.
    world.device(DEVICE, with_directory(0, 3));
    assert_eq!(world.success(read(DEVICE, expected.spa)), expected);
    world.device(DEVICE, with_directory(dc::tc::DPE.mask(), 0));
    assert_eq!(world.success(read(DEVICE, expected.spa)), expected);
    assert_eq!(world.success(of_process(read(DEVICE, expected.spa), 0xf_ffff)), expected);
    // With DPE process 0 is meant.
    world.device(DEVICE, with_directory(dc::tc::DPE.mask(), 3));
    assert_eq!(world.fault(read(DEVICE, expected.spa)).cause, Cause::PdtEntryNotValid);
    // A process without first stage.
    let bare = ProcessContext { ta: pc::ta::V.mask(), fsc: 0 };
    world.process(directory, 3, None, 0, bare);
    assert_eq!(world.success(read(DEVICE, expected.spa)), expected);
    assert_eq!(
        world.fault(privileged(of_process(read(DEVICE, expected.spa), 0))).cause,
        Cause::TransactionTypeDisallowed
    );
    // In Bare mode the ids are the IOMMU's own.
    world.write(&reg::iommu_qosid::REG, 0x0abc_0def);
    world.mode(iommu_mode::BARE);
    let own = Translation { rcid: 0xdef, mcid: 0xabc, ..expected };
    assert_eq!(world.success(read(DEVICE, expected.spa)), own);
}

#[test]
fn every_kind_of_request_that_is_not_translated_gets_1_gib() {
    let translated = AddressType::Translated;
    let asked = AddressType::TranslationRequest;
    for mode in [iommu_mode::BARE, iommu_mode::LVL3] {
        let mut world = World::caching();
        world.device(DEVICE, device_context(dc::tc::EN_ATS.mask()));
        world.mode(mode);
        for at in [AddressType::Untranslated, translated, asked] {
            if mode == iommu_mode::BARE && at != AddressType::Untranslated {
                continue;
            }
            for request in [read(DEVICE, 0x12_3456_7abc), write(read(DEVICE, 0x12_7456_7abc))] {
                // The second time what the first one left is used.
                for _ in 0..2 {
                    let translation = world.success(Request { at, ..request });
                    assert_eq!((translation.spa, translation.page_shift), (request.iova, 30));
                }
            }
        }
    }
    // A translated request passes whatever the stages are; one that is translated has the size of its page.
    let mut p = Processes::new(World::full(), dc::tc::EN_ATS.mask(), 0, true);
    let passing = Request { at: translated, ..read(DEVICE, PAGE) };
    assert_eq!(p.world.success(passing).page_shift, 30);
    assert_eq!(p.world.success(Processes::read()).page_shift, 12);
    // One stage that translates is enough.
    let mut host = Host::new(World::full(), 0);
    assert_eq!(host.world.success(Host::read()).page_shift, 12);
    // What is chosen is a parameter.
    let mut world = World::new(Parameters { bare_page_shift: 21, ..Parameters::full() });
    world.device(DEVICE, device_context(0));
    assert_eq!(world.success(read(DEVICE, PAGE)).page_shift, 21);
}
