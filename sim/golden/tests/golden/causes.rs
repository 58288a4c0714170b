//! Each cause code: how a request comes to it, what the record says, and whether DTF holds it back. Those of memory-resident
//! interrupt files are in `msi`, that of interrupt messages in `interrupts`. The model raises three causes never: it is not told
//! the size of an access, so that it does not see a misaligned one, and it has no data path that could fail.

use crate::world::*;
use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::{Cause, FaultRecord, ttyp};
use pasidon_spec::msi::basic;
use pasidon_spec::page_table::{SV39, SV39X4, pte};
use pasidon_spec::pdt::{ProcessContext, pc, pdtp_mode};
use pasidon_spec::registers as reg;
use pasidon_spec::request::{AddressType, Denial, Request};

/// Checks fault and record of a request; `dtf` says whether the device has DTF set.
#[track_caller]
fn refused(world: &mut World, request: Request, cause: Cause, iotval2: u64, dtf: bool) {
    world.faults();
    let fault = world.fault(request);
    assert_eq!((fault.cause, fault.iotval2), (cause, iotval2), "{request:x?}");
    assert_eq!(fault.denial, Denial::UnsupportedRequest);
    let reported = !(dtf && cause.dtf_suppresses());
    assert_eq!(fault.reported, reported);
    let kind = match (request.exec, request.write) {
        (true, _) => 0,
        (_, false) => 1,
        _ => 2,
    };
    let first = if request.at == AddressType::Translated {
        ttyp::TRANSLATED_READ_FOR_EXECUTE
    } else {
        ttyp::UNTRANSLATED_READ_FOR_EXECUTE
    };
    let record = FaultRecord {
        cause: cause.code(),
        ttyp: (first + kind) as u8,
        did: request.device_id,
        pv: request.process_id.is_some(),
        pid: request.process_id.unwrap_or(0),
        privileged: request.privileged && request.process_id.is_some(),
        iotval: request.iova,
        iotval2,
    };
    assert_eq!(world.faults(), if reported { vec![record] } else { vec![] });
}

/// The three causes of an access type: fetch, read, write.
fn by_type(request: Request, causes: [Cause; 3]) -> [(Request, Cause); 3] {
    [(exec(request), causes[0]), (request, causes[1]), (write(request), causes[2])]
}

const ACCESS: [Cause; 3] =
    [Cause::InstructionAccessFault, Cause::ReadAccessFault, Cause::WriteAmoAccessFault];
const PAGE_FAULT: [Cause; 3] = [Cause::InstructionPageFault, Cause::ReadPageFault, Cause::WriteAmoPageFault];
const GUEST_PAGE_FAULT: [Cause; 3] =
    [Cause::InstructionGuestPageFault, Cause::ReadGuestPageFault, Cause::WriteAmoGuestPageFault];

const DTF: u64 = dc::tc::DTF.mask();

#[test]
fn all_inbound_transactions_disallowed() {
    let mut world = World::full();
    world.mode(iommu_mode::OFF);
    for at in [AddressType::Untranslated, AddressType::Translated] {
        let request = Request { at, ..of_process(read(DEVICE, IOVA), 7) };
        refused(&mut world, request, Cause::AllInboundTransactionsDisallowed, 0, false);
    }
}

#[test]
fn transaction_type_disallowed() {
    const CAUSE: Cause = Cause::TransactionTypeDisallowed;
    // Bare takes only untranslated requests.
    let mut world = World::full();
    world.mode(iommu_mode::BARE);
    let translated = Request { at: AddressType::Translated, ..read(DEVICE, IOVA) };
    refused(&mut world, translated, CAUSE, 0, false);

    // A device_id wider than the directory.
    for (mode, wide) in [(iommu_mode::LVL1, 1 << 6), (iommu_mode::LVL2, 1 << 15)] {
        world.mode(mode);
        refused(&mut world, read(wide, IOVA), CAUSE, 0, false);
        assert_eq!(world.fault(read(wide - 1, IOVA)).cause, Cause::DdtEntryNotValid);
    }

    for dtf in [false, true] {
        let tc = if dtf { DTF } else { 0 };
        // EN_ATS is 0.
        let Host { mut world, .. } = Host::new(World::full(), tc);
        let translated = Request { at: AddressType::Translated, ..Host::read() };
        refused(&mut world, translated, CAUSE, 0, dtf);
        // A process_id without PDTV.
        refused(&mut world, of_process(Host::read(), 0), CAUSE, 0, dtf);

        // A process_id that pdtp.MODE does not cover; supervisor privilege without ENS.
        let mut processes = Processes::new(World::full(), tc, 0, false);
        let world = &mut processes.world;
        refused(world, privileged(Processes::read()), CAUSE, 0, dtf);
        for (mode, bits) in [(pdtp_mode::PD8, 8), (pdtp_mode::PD17, 17)] {
            let context = DeviceContext {
                fsc: fsc(mode, processes.directory),
                ..device_context(tc | dc::tc::PDTV.mask())
            };
            world.device(DEVICE, context);
            refused(world, of_process(Host::read(), 1 << bits), CAUSE, 0, dtf);
        }
    }
}

#[test]
fn device_directory_entries() {
    for level in [2, 1, 0] {
        let mut host = Host::new(World::full(), DTF);
        let at = host.world.ddte(DEVICE, level);
        let valid = host.world.ram.get(at);
        let world = &mut host.world;
        // DTF of a context that was not found counts as 0: all of these are reported.
        for (failing, cause) in
            [(Failing::Read, Cause::DdtEntryLoadAccessFault), (Failing::Corrupt, Cause::DdtDataCorruption)]
        {
            world.ram.failures = vec![(at..at + 8, failing)];
            refused(world, Host::read(), cause, 0, false);
        }
        world.ram.failures.clear();
        world.ram.set(at, valid & !1);
        refused(world, Host::read(), Cause::DdtEntryNotValid, 0, false);
        // The lowest and the highest reserved bit.
        for bit in if level == 0 { [12, 63] } else { [1, 63] } {
            world.ram.set(at, valid | 1 << bit);
            refused(world, Host::read(), Cause::DdtEntryMisconfigured, 0, false);
        }
        world.ram.set(at, valid);
        world.success(Host::read());
    }
}

#[test]
fn device_directory_outside_the_physical_address_space() {
    let mut world = Host::new(
        World::new(pasidon_golden::Parameters {
            capabilities: reg::capabilities::PAS.set(pasidon_golden::Parameters::full_capabilities(), 34),
            ..pasidon_golden::Parameters::full()
        }),
        0,
    )
    .world;
    let at = world.ddte(DEVICE, 2);
    world.ram.set(at, 1 | 1 << 32);
    refused(&mut world, Host::read(), Cause::DdtEntryLoadAccessFault, 0, false);
}

#[test]
fn any_doubleword_of_a_device_context_may_fail() {
    for word in 0..8 {
        let mut host = Host::new(World::full(), 0);
        let at = host.context + 8 * word;
        host.world.ram.failures = vec![(at..at + 8, Failing::Corrupt)];
        refused(&mut host.world, Host::read(), Cause::DdtDataCorruption, 0, false);
        // An access fault outweighs corruption, wherever each is.
        let other = host.context + 8 * (7 - word);
        host.world.ram.failures.push((other..other + 8, Failing::Read));
        refused(&mut host.world, Host::read(), Cause::DdtEntryLoadAccessFault, 0, false);
    }
}

#[test]
fn process_directory_entries() {
    for (two_stage, dtf) in [(false, false), (true, false), (false, true)] {
        for level in [2, 1, 0] {
            let tc = if dtf { DTF } else { 0 };
            let mut p = Processes::new(World::full(), tc, 0, two_stage);
            let at = p.world.pdte(p.directory, 3, p.second, PROCESS, level);
            let valid = p.world.ram.get(at);
            let world = &mut p.world;
            for (failing, cause) in [
                (Failing::Read, Cause::PdtEntryLoadAccessFault),
                (Failing::Corrupt, Cause::PdtDataCorruption),
            ] {
                world.ram.failures = vec![(at..at + 8, failing)];
                refused(world, Processes::read(), cause, 0, dtf);
            }
            world.ram.failures.clear();
            world.ram.set(at, valid & !1);
            refused(world, Processes::read(), Cause::PdtEntryNotValid, 0, dtf);
            for bit in if level == 0 { [3, 63] } else { [1, 63] } {
                world.ram.set(at, valid | 1 << bit);
                refused(world, Processes::read(), Cause::PdtEntryMisconfigured, 0, dtf);
            }
            world.ram.set(at, valid);
            world.success(Processes::read());
        }
    }
}

#[test]
fn process_contexts_with_first_stages_that_are_not_there() {
    let mut p = Processes::new(World::full(), 0, 0, false);
    for mode in [1, 7, 11, 14, 15] {
        let context = ProcessContext { ta: pc::ta::V.mask(), fsc: fsc(mode, p.table.root) };
        p.world.process(p.directory, 3, None, PROCESS, context);
        refused(&mut p.world, Processes::read(), Cause::PdtEntryMisconfigured, 0, false);
    }
}

#[test]
fn second_stage_faults_of_the_process_directory() {
    for level in [2, 1, 0] {
        let mut p = Processes::new(World::full(), 0, 0, true);
        let second = p.second.expect("two stages");
        let at = p.world.pdte(p.directory, 3, p.second, PROCESS, level);
        let gpa = at + GUEST;
        let second_leaf = p.world.entry(second, None, gpa, 0);
        let valid = p.world.ram.get(second_leaf);
        // Reported as original access type, implicit, not a write.
        for (request, cause) in by_type(Processes::read(), GUEST_PAGE_FAULT) {
            p.world.ram.set(second_leaf, 0);
            refused(&mut p.world, request, cause, gpa & !3 | 1, false);
            p.world.ram.set(second_leaf, valid);
            for (failing, cause) in [
                (Failing::Read, Cause::PdtEntryLoadAccessFault),
                (Failing::Corrupt, Cause::PdtDataCorruption),
            ] {
                p.world.ram.failures = vec![(second_leaf..second_leaf + 8, failing)];
                refused(&mut p.world, request, cause, 0, false);
            }
            p.world.ram.failures.clear();
        }
    }
}

#[test]
fn first_stage_faults() {
    for dtf in [false, true] {
        for level in [2, 1, 0] {
            let mut host = Host::new(World::full(), if dtf { DTF } else { 0 });
            let at = host.world.entry(host.table, None, Host::read().iova, level);
            let valid = host.world.ram.get(at);
            let world = &mut host.world;
            for (request, cause) in by_type(Host::read(), ACCESS) {
                world.ram.failures = vec![(at..at + 8, Failing::Read)];
                refused(world, request, cause, 0, dtf);
                world.ram.failures = vec![(at..at + 8, Failing::Corrupt)];
                refused(world, request, Cause::PtDataCorruption, 0, dtf);
                world.ram.failures.clear();
            }
            for (request, cause) in by_type(Host::read(), PAGE_FAULT) {
                world.ram.set(at, valid & !1);
                refused(world, request, cause, 0, dtf);
                world.ram.set(at, valid);
            }
        }
    }
}

#[test]
fn second_stage_faults() {
    let mut world = World::full();
    let second = world.table(&SV39X4, None);
    let gpa = 0x12_3456_7ab8;
    let at = world.map(second, None, gpa, 0, leaf(PAGE));
    world.device(DEVICE, DeviceContext { iohgatp: iohgatp(second, 5), ..device_context(0) });
    let valid = world.ram.get(at);
    for (request, cause) in by_type(read(DEVICE, gpa), GUEST_PAGE_FAULT) {
        world.ram.set(at, valid & !1);
        refused(&mut world, request, cause, gpa, false);
        world.ram.set(at, valid & !pte::U.mask());
        refused(&mut world, request, cause, gpa, false);
        world.ram.set(at, valid);
        world.success(request);
    }
    for (request, cause) in by_type(read(DEVICE, gpa), ACCESS) {
        world.ram.failures = vec![(at..at + 8, Failing::Read)];
        refused(&mut world, request, cause, 0, false);
        world.ram.failures = vec![(at..at + 8, Failing::Corrupt)];
        refused(&mut world, request, Cause::PtDataCorruption, 0, false);
        world.ram.failures.clear();
    }
    // Wider than the format.
    for (request, cause) in by_type(read(DEVICE, 1 << 41), GUEST_PAGE_FAULT) {
        refused(&mut world, request, cause, 1 << 41, false);
    }
}

#[test]
fn second_stage_faults_of_first_stage_tables() {
    for level in [2, 1, 0] {
        let mut p = Processes::new(World::full(), 0, 0, true);
        let second = p.second.expect("two stages");
        let iova = Processes::read().iova;
        let at = p.world.entry(p.table, p.second, iova, level);
        let second_leaf = p.world.entry(second, None, at + GUEST, 0);
        let valid = p.world.ram.get(second_leaf);
        for (request, cause) in by_type(Processes::read(), GUEST_PAGE_FAULT) {
            for broken in [0, valid & !pte::R.mask() & !pte::W.mask(), valid & !pte::U.mask()] {
                p.world.ram.set(second_leaf, broken);
                refused(&mut p.world, request, cause, (at + GUEST) & !3 | 1, false);
            }
            p.world.ram.set(second_leaf, valid);
        }
        for (request, cause) in by_type(Processes::read(), ACCESS) {
            p.world.ram.failures = vec![(second_leaf..second_leaf + 8, Failing::Read)];
            refused(&mut p.world, request, cause, 0, false);
            p.world.ram.failures = vec![(second_leaf..second_leaf + 8, Failing::Corrupt)];
            refused(&mut p.world, request, Cause::PtDataCorruption, 0, false);
            p.world.ram.failures.clear();
        }
    }
}

#[test]
fn accesses_outside_the_physical_address_space() {
    let mut world = World::full();
    let outside = 1 << 56;
    world.device(DEVICE, device_context(dc::tc::EN_ATS.mask()));
    for (request, cause) in by_type(read(DEVICE, outside), ACCESS) {
        refused(&mut world, request, cause, 0, false);
        refused(&mut world, Request { at: AddressType::Translated, ..request }, cause, 0, false);
        world.mode(iommu_mode::BARE);
        refused(&mut world, request, cause, 0, false);
        world.mode(iommu_mode::LVL3);
    }
    assert_eq!(world.success(read(DEVICE, outside - 1)).spa, outside - 1);
}

/// A device with a second stage and interrupt files at guest pages 0x80000 to 0x80003.
pub fn with_interrupt_files(world: &mut World, tc: u64) -> u64 {
    let second = world.table(&SV39X4, None);
    let files = world.alloc(4096);
    world.device(
        DEVICE,
        DeviceContext {
            iohgatp: iohgatp(second, 5),
            msiptp: dc::msiptp::MODE.of(dc::msiptp_mode::FLAT) | dc::msiptp::PPN.of(files >> 12),
            msi_addr_mask: 3,
            msi_addr_pattern: 0x8_0000,
            ..device_context(tc)
        },
    );
    files
}

#[test]
fn msi_entries() {
    for dtf in [false, true] {
        let mut world = World::full();
        let files = with_interrupt_files(&mut world, if dtf { DTF } else { 0 });
        let at = files + 2 * 16;
        let request = write(read(DEVICE, 0x8000_2000));
        let valid = basic::V.of(1) | basic::M.of(3) | basic::PPN.of(0x777);
        for word in [0, 8] {
            for (failing, cause) in [
                (Failing::Read, Cause::MsiPteLoadAccessFault),
                (Failing::Corrupt, Cause::MsiPtDataCorruption),
            ] {
                world.ram.failures = vec![(at + word..at + word + 8, failing)];
                refused(&mut world, request, cause, 0, dtf);
            }
        }
        world.ram.failures.clear();
        refused(&mut world, request, Cause::MsiPteNotValid, 0, dtf);
        for wrong in [
            basic::M.set(valid, 0),
            basic::M.set(valid, 2),
            valid | 1 << 3,
            valid | 1 << 62,
            basic::C.set(valid, 1),
        ] {
            world.ram.set(at, wrong);
            refused(&mut world, request, Cause::MsiPteMisconfigured, 0, dtf);
        }
        world.ram.set(at, valid);
        assert_eq!(world.success(request).spa, 0x77_7000);
        refused(&mut world, exec(read(DEVICE, 0x8000_2000)), Cause::InstructionAccessFault, 0, dtf);
    }
}

#[test]
fn addresses_that_are_not_canonical() {
    for (iova, legal) in
        [((1 << 38) - 1, true), (1 << 38, false), (u64::MAX << 38, true), (u64::MAX << 39, false)]
    {
        let mut host = Host::new(World::full(), 0);
        let table = host.table;
        if legal {
            host.world.map(table, None, iova & 0x7f_ffff_ffff, 0, leaf(PAGE));
            host.world.success(read(DEVICE, iova));
        } else {
            for (request, cause) in by_type(read(DEVICE, iova), PAGE_FAULT) {
                refused(&mut host.world, request, cause, 0, false);
            }
        }
    }
    assert_eq!(SV39.address_bits(), 39);
}
