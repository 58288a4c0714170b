//! Addresses beyond the physical address space, structure by structure: what a register cannot hold, and what is an access fault.

use crate::causes::with_interrupt_files;
use crate::world::*;
use pasidon_golden::{Golden, Parameters};
use pasidon_spec::command::{Command, Store};
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::{Cause, ttyp};
use pasidon_spec::field::Field;
use pasidon_spec::msi::{basic, file, mrif};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{self as reg, Register, capabilities as cap};
use pasidon_spec::request::{AddressType, Denial, Request};

const WIDTHS: [u32; 4] = [32, 34, 40, 56];

fn of_width(pas: u32) -> Parameters {
    Parameters::new(cap::PAS.set(Parameters::full_capabilities(), pas.into()))
}

/// The address bits that exist.
fn inside(pas: u32) -> u64 {
    (1 << pas) - 1
}

#[test]
fn registers_hold_addresses_that_exist() {
    let pages: [(&Register, Field); 4] = [
        (&reg::ddtp::REG, reg::ddtp::PPN),
        (&reg::cqb::REG, reg::cqb::PPN),
        (&reg::fqb::REG, reg::fqb::PPN),
        (&reg::pqb::REG, reg::pqb::PPN),
    ];
    for pas in WIDTHS {
        for (register, field) in pages {
            let expected = inside(pas) >> 12;
            let mut golden = Golden::new(of_width(pas));
            golden.write_register(register.offset, 8, field.mask());
            assert_eq!(
                field.get(golden.read_register(register.offset, 8)),
                expected,
                "{} {pas}",
                register.name
            );
            // By halves, the high one last.
            let mut golden = Golden::new(of_width(pas));
            golden.write_register(register.offset, 4, field.mask() & 0xffff_ffff);
            golden.run(&mut Ram::default());
            golden.write_register(register.offset + 4, 4, field.mask() >> 32);
            assert_eq!(
                field.get(golden.read_register(register.offset, 8)),
                expected,
                "{} {pas}",
                register.name
            );
        }
        for vector in 0..16 {
            let at = reg::msi_addr::REG.offset_of(vector);
            let mut golden = Golden::new(of_width(pas));
            golden.write_register(at, 8, u64::MAX);
            assert_eq!(golden.read_register(at, 8), inside(pas) & !3, "{vector} {pas}");
        }
    }
}

/// Queues whose base was written with every bit beyond the physical address space set work where the rest of the bits says.
#[test]
fn queues_stay_inside() {
    for pas in WIDTHS {
        let mut world = World::new(of_width(pas));
        world.device(DEVICE, device_context(dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask()));
        for (base, at, csr) in [
            (&reg::cqb::REG, COMMANDS, &reg::cqcsr::REG),
            (&reg::fqb::REG, FAULTS, &reg::fqcsr::REG),
            (&reg::pqb::REG, REQUESTS, &reg::pqcsr::REG),
        ] {
            world.write(csr, 0);
            let page = at >> 12 | !(inside(pas) >> 12);
            world.write(base, reg::cqb::PPN.of(page) | reg::cqb::LOG2SZ_1.of(QUEUE_LOG2 - 1));
            world.write(csr, 1);
        }
        world.command(Command::IofenceC {
            pr: false,
            pw: false,
            wsi: false,
            store: Some(Store { address: 0x5000, data: 7 }),
        });
        assert_eq!(world.ram.get4(0x5000), 7);
        world.fault(read(1, 0));
        assert_eq!(world.faults().len(), 1);
        let request = PageRequest { did: DEVICE, read: true, index: 5, ..PageRequest::default() };
        assert_eq!(world.golden.page_request(&mut world.ram, &request), Ok(()));
        assert_eq!(PageRequest::decode([world.ram.get(REQUESTS), world.ram.get(REQUESTS + 8)]), request);
    }
}

#[test]
fn interrupt_messages_stay_inside() {
    for pas in WIDTHS {
        let mut world = World::new(of_width(pas));
        world.write(&reg::fctl::REG, 0);
        world.write(&reg::msi_addr::REG, 0x6000 | !inside(pas));
        world.write(&reg::msi_data::REG, 9);
        world.write(&reg::fqcsr::REG, 3);
        world.fault(read(1, 0));
        assert_eq!(world.ram.get4(0x6000), 9, "{pas}");
        assert_eq!(world.faults().len(), 1, "the message was stored");
    }
}

/// The address of a fence is no register: a store beyond is an access fault, and ends the queue's work.
#[test]
fn fences_do_not_store_beyond() {
    for pas in [32, 34, 40] {
        for bit in pas..56 {
            let mut world = World::new(of_width(pas));
            let store = Some(Store { address: 1 << bit | 0x5000, data: 7 });
            world.push(Command::IofenceC { pr: true, pw: true, wsi: true, store }.encode());
            let csr = world.read(&reg::cqcsr::REG);
            assert!(reg::cqcsr::CQMF.is_set(csr) && !reg::cqcsr::FENCE_W_IP.is_set(csr), "{pas} {bit}");
            assert_eq!(world.read(&reg::cqh::REG), 0);
            assert_eq!((world.ram.get4(0x5000), world.ram.get4(1 << bit | 0x5000)), (0, 0));
        }
    }
}

/// An MSI page-table entry in basic translate mode is like every other leaf: beyond the physical address space, it is an access
/// fault of the access, and is not cut to another page.
#[test]
fn interrupt_pages_beyond_are_access_faults() {
    for pas in [32, 34, 40] {
        let mut world = World::new(of_width(pas));
        let files = with_interrupt_files(&mut world, dc::tc::EN_ATS.mask());
        let request = read(DEVICE, 0x8000_0010);
        for bit in pas..56 {
            world.ram.set(files, basic::V.of(1) | basic::M.of(3) | basic::PPN.of(1 << (bit - 12) | 0x777));
            for (request, cause) in [
                (exec(request), Cause::InstructionAccessFault),
                (request, Cause::ReadAccessFault),
                (write(request), Cause::WriteAmoAccessFault),
            ] {
                world.faults();
                let fault = world.fault(request);
                assert_eq!((fault.cause, fault.denial), (cause, Denial::UnsupportedRequest), "{pas} {bit}");
                assert_eq!(world.faults()[0].cause, cause.code());
            }
            let asked = Request { at: AddressType::TranslationRequest, ..write(request) };
            let fault = world.fault(asked);
            assert_eq!((fault.cause, fault.denial), (Cause::ReadAccessFault, Denial::CompleterAbort));
            assert_eq!(u64::from(world.faults()[0].ttyp), ttyp::ATS_TRANSLATION_REQUEST);
        }
        world.ram.set(files, basic::V.of(1) | basic::M.of(3) | basic::PPN.of(inside(pas) >> 12));
        assert_eq!(world.success(request).spa, inside(pas) & !0xfff | 0x10);
    }
}

/// A resident file, and the page of its notice.
#[test]
fn interrupt_files_and_notices_beyond_are_access_faults() {
    for pas in [32, 34, 40] {
        for bit in pas..56 {
            for (at, notice, stored) in
                [(1 << bit | 0x12_3400, 0x55_5000, false), (0x12_3400, 1 << bit, true)]
            {
                let mut world = World::new(of_width(pas));
                let files = with_interrupt_files(&mut world, 0);
                world.ram.set(files, mrif::V.of(1) | mrif::M.of(1) | mrif::ADDRESS.of(at / file::BYTES));
                world.ram.set(files + 8, mrif::NPPN.of(notice >> 12) | 5);
                let request = Request { data: 3, ..write(read(DEVICE, 0x8000_0000)) };
                assert_eq!(world.fault(request).cause, Cause::MrifAccessFault, "{pas} {bit}");
                // The notice comes after the interrupt.
                assert_eq!(world.ram.get(0x12_3400), if stored { 8 } else { 0 });
                assert_eq!(world.ram.get(notice & inside(pas)), 0);
                assert!(world.success(read(DEVICE, 0x8000_0000)).mrif, "a read touches neither");
            }
        }
    }
}
