//! The translation-request interface.

use crate::causes::with_interrupt_files;
use crate::world::*;
use pasidon_spec::ddt::{dc, iommu_mode};
use pasidon_spec::fault::{Cause, FaultRecord, ttyp};
use pasidon_spec::msi::mrif;
use pasidon_spec::page_table::{PAGE_BYTES, pbmt, pte};
use pasidon_spec::pdt::pc;
use pasidon_spec::range;
use pasidon_spec::registers::{self as reg, tr_req_ctl as ctl, tr_response as response};

fn ask(world: &mut World, iova: u64, control: u64) -> u64 {
    world.write(&reg::tr_req_iova::REG, iova);
    let control = control | ctl::GO_BUSY.mask();
    world.golden.write_register(reg::tr_req_ctl::REG.offset, 8, control);
    assert!(ctl::GO_BUSY.is_set(world.read(&reg::tr_req_ctl::REG)));
    // Ignored while busy.
    world.golden.write_register(reg::tr_req_ctl::REG.offset, 8, 0);
    world.golden.write_register(reg::tr_req_iova::REG.offset, 8, !iova);
    assert_eq!(world.read(&reg::tr_req_ctl::REG), control);
    world.run();
    assert_eq!(world.read(&reg::tr_req_ctl::REG), control & !ctl::GO_BUSY.mask());
    world.read(&reg::tr_response::REG)
}

const WHO: u64 = ctl::DID.of(DEVICE as u64) | ctl::PV.of(1) | ctl::PID.of(PROCESS as u64);

#[test]
fn translations() {
    let mut p = Processes::new(World::full(), 0, pc::ta::ENS.mask(), true);
    let iova = Processes::read().iova;
    let answer = ask(&mut p.world, iova, WHO | ctl::NW.mask());
    assert_eq!(answer, response::PPN.of(PAGE >> 12));
    // With a memory type, and as a superpage.
    let entry = p.world.entry(p.table, p.second, 1 << 21, 1);
    p.world.ram.set(entry, leaf(3 << 30) | pte::PBMT.of(pbmt::IO));
    let second = p.second.expect("two stages");
    let entry = p.world.entry(second, None, 3 << 30, 2);
    p.world.ram.set(entry, leaf(5 << 30));
    let answer = ask(&mut p.world, 0x34_5000, WHO);
    assert_eq!(response::PBMT.get(answer), pbmt::IO);
    assert!(response::S.is_set(answer) && !response::FAULT.is_set(answer));
    let (first, last) = range::bounds(response::PPN.get(answer));
    assert_eq!((first, last), (5 << 30, (5 << 30) + 512 * PAGE_BYTES - 1));
}

#[test]
fn where_no_stage_translates() {
    for mode in [iommu_mode::BARE, iommu_mode::LVL3] {
        let mut world = World::full();
        world.device(DEVICE, device_context(0));
        world.mode(mode);
        let answer = ask(&mut world, 0x12_3456_7000, ctl::DID.of(DEVICE.into()));
        assert!(response::S.is_set(answer) && !response::FAULT.is_set(answer));
        // 1 GiB: the lowest 0 of the page number is bit 17.
        assert_eq!(response::PPN.get(answer), 0x12_0000_0000 >> 12 | 0x1_ffff);
        assert_eq!(range::bounds(response::PPN.get(answer)), (0x12_0000_0000, 0x12_3fff_ffff));
    }
}

#[test]
fn what_is_asked_for() {
    let mut p = Processes::new(World::full(), 0, pc::ta::ENS.mask(), false);
    let iova = Processes::read().iova;
    // Permissions of the page; control; cause or 0.
    let user = pte::U.mask();
    let (r, w, x) = (pte::R.mask(), pte::W.mask(), pte::X.mask());
    for (permissions, control, cause) in [
        (r | user, ctl::NW.mask(), 0),
        (r | user, 0, Cause::WriteAmoPageFault.code()),
        (r | w | user, 0, 0),
        (r | w | user, ctl::NW.mask() | ctl::EXE.mask(), Cause::InstructionPageFault.code()),
        (x | user, ctl::NW.mask() | ctl::EXE.mask(), 0),
        (x | user, ctl::NW.mask(), Cause::ReadPageFault.code()),
        (r, ctl::NW.mask(), Cause::ReadPageFault.code()),
        (r, ctl::NW.mask() | ctl::PRIV.mask(), 0),
        (r | user, ctl::NW.mask() | ctl::PRIV.mask(), Cause::ReadPageFault.code()),
    ] {
        p.world.ram.set(p.leaf, leaf(PAGE) & !(r | w | x | user) | permissions);
        p.world.faults();
        let answer = ask(&mut p.world, iova, WHO | control);
        let faults = p.world.faults();
        assert_eq!(response::FAULT.is_set(answer), cause != 0, "{permissions:#x} {control:#x}");
        if cause == 0 {
            assert!(faults.is_empty());
            continue;
        }
        let kind = if ctl::EXE.is_set(control) {
            ttyp::UNTRANSLATED_READ_FOR_EXECUTE
        } else if ctl::NW.is_set(control) {
            ttyp::UNTRANSLATED_READ
        } else {
            ttyp::UNTRANSLATED_WRITE
        };
        let record = FaultRecord {
            cause,
            ttyp: kind as u8,
            did: DEVICE,
            pv: true,
            pid: PROCESS,
            privileged: ctl::PRIV.is_set(control),
            iotval: iova & !0xfff,
            iotval2: 0,
        };
        assert_eq!(faults, [record]);
    }
}

#[test]
fn resident_interrupt_files_are_refused() {
    let mut world = World::full();
    let files = with_interrupt_files(&mut world, 0);
    world.ram.set(files, mrif::V.of(1) | mrif::M.of(1) | mrif::ADDRESS.of(7));
    let answer = ask(&mut world, 0x8000_0000, ctl::DID.of(DEVICE.into()));
    assert!(response::FAULT.is_set(answer));
    assert_eq!(world.faults()[0].cause, Cause::TransactionTypeDisallowed.code());
}

#[test]
fn the_request_counts_as_untranslated() {
    let mut world = World::full();
    world.device(DEVICE, device_context(dc::tc::EN_ATS.mask()));
    world.write(&reg::iohpmevt::REG, 1);
    ask(&mut world, 0x1000, ctl::DID.of(DEVICE.into()));
    assert_eq!(world.read(&reg::iohpmctr::REG), 1);
}

#[test]
fn ids_have_the_widths_of_the_iommu() {
    let parameters = pasidon_golden::Parameters {
        device_id_width: 9,
        process_id_width: 11,
        ..pasidon_golden::Parameters::full()
    };
    let mut world = World::new(parameters);
    world.write(&reg::tr_req_ctl::REG, !1);
    let kept = world.read(&reg::tr_req_ctl::REG);
    assert_eq!((ctl::DID.get(kept), ctl::PID.get(kept)), (0x1ff, 0x7ff));
}
