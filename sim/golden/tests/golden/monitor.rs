//! The performance monitor.

use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::dc;
use pasidon_spec::pdt::{ProcessContext, pc};
use pasidon_spec::registers::{self as reg, event, iocountinh, iohpmcycles, iohpmevt, ipsr};
use pasidon_spec::request::{AddressType, Request};

/// Two stages with a process directory, and ATS.
fn processes(world: World) -> Processes {
    Processes::new(world, dc::tc::EN_ATS.mask(), 0, true)
}

/// What counter 0 counts with this selector while `request` is made once.
fn counted(selector: u64, request: Request) -> u64 {
    let mut p = processes(World::full());
    p.world.write(&reg::iohpmevt::REG, selector);
    p.world.translate(request);
    p.world.read(&reg::iohpmctr::REG)
}

#[test]
fn events() {
    let untranslated = Processes::read();
    let asked = Request { at: AddressType::TranslationRequest, ..untranslated };
    let translated = Request { at: AddressType::Translated, ..untranslated };
    let cases = [
        (event::NONE, [0, 0, 0]),
        (event::UNTRANSLATED_REQUESTS, [1, 0, 0]),
        (event::TRANSLATED_REQUESTS, [0, 0, 1]),
        (event::ATS_TRANSLATION_REQUESTS, [0, 1, 0]),
        (event::TLB_MISS, [1, 1, 0]),
        (event::DEVICE_DIRECTORY_WALKS, [1, 1, 1]),
        (event::PROCESS_DIRECTORY_WALKS, [1, 1, 0]),
        (event::FIRST_STAGE_WALKS, [1, 1, 0]),
        // Three directory entries, three first-stage entries, the page.
        (event::SECOND_STAGE_WALKS, [7, 7, 0]),
    ];
    for (event, expected) in cases {
        for (request, expected) in [untranslated, asked, translated].into_iter().zip(expected) {
            assert_eq!(counted(event, request), expected, "event {event}, {:?}", request.at);
        }
    }
}

#[test]
fn whether_a_check_of_the_address_is_a_walk_is_a_choice() {
    for is_a_walk in [false, true] {
        let parameters = Parameters {
            first_stage_check_is_a_walk: is_a_walk,
            second_stage_check_is_a_walk: is_a_walk,
            ..Parameters::full()
        };
        let mut p = processes(World::new(parameters));
        p.world.write_nth(&reg::iohpmevt::REG, 0, event::FIRST_STAGE_WALKS);
        p.world.write_nth(&reg::iohpmevt::REG, 1, event::SECOND_STAGE_WALKS);
        p.world.fault(Request { iova: 1 << 50, ..Processes::read() });
        // Three entries of the process directory are guest addresses.
        let found = [0, 1].map(|counter| p.world.read_nth(&reg::iohpmctr::REG, counter));
        assert_eq!(found, [u64::from(is_a_walk), 3]);
        // The page of the process lies beyond 41 bits, which is all that Sv39x4 translates.
        p.world.ram.set(p.leaf, leaf(1 << 45));
        p.world.fault(Processes::read());
        let found = [0, 1].map(|counter| p.world.read_nth(&reg::iohpmctr::REG, counter));
        assert_eq!(found, [1 + u64::from(is_a_walk), 9 + u64::from(is_a_walk)]);
    }
}

#[test]
fn a_hit_is_no_miss_and_no_walk() {
    let mut p = processes(World::caching());
    for (counter, event) in (1..=8).enumerate() {
        p.world.write_nth(&reg::iohpmevt::REG, counter as u8, event);
    }
    let counts = |world: &World| (0..8).map(|i| world.read_nth(&reg::iohpmctr::REG, i)).collect::<Vec<_>>();
    p.world.success(Processes::read());
    assert_eq!(counts(&p.world), [1, 0, 0, 1, 1, 1, 1, 7]);
    p.world.success(Processes::read());
    assert_eq!(counts(&p.world), [2, 0, 0, 1, 1, 1, 1, 7]);
}

#[test]
fn filters() {
    let by_id = |pv: u64, dv: u64, pid: u64, did: u64| {
        iohpmevt::PV_PSCV.of(pv)
            | iohpmevt::DV_GSCV.of(dv)
            | iohpmevt::PID_PSCID.of(pid)
            | iohpmevt::DID_GSCID.of(did)
    };
    let (pid, did) = (u64::from(PROCESS), u64::from(DEVICE));
    let idt = iohpmevt::IDT.mask();
    let dmask = iohpmevt::DMASK.mask();
    let walk = event::FIRST_STAGE_WALKS;
    // PSCID 99 and GSCID 5 are the fixture's.
    let cases = [
        (by_id(0, 0, 1, 1), true),
        (by_id(1, 0, pid, 1), true),
        (by_id(1, 0, pid ^ 1, 1), false),
        (by_id(0, 1, 1, did), true),
        (by_id(0, 1, 1, did ^ 0x80_0000), false),
        (by_id(1, 1, pid, did), true),
        (by_id(1, 1, pid ^ 1, did), false),
        (by_id(1, 1, pid, did ^ 1), false),
        (idt | by_id(0, 0, 1, 1), true),
        (idt | by_id(1, 0, 99, 1), true),
        (idt | by_id(1, 0, 98, 1), false),
        (idt | by_id(0, 1, 1, 5), true),
        (idt | by_id(0, 1, 1, 4), false),
        (idt | by_id(1, 1, 99, 5), true),
        (idt | by_id(1, 1, 99, 4), false),
        (idt | by_id(1, 1, 98, 5), false),
        // 0x123456: the lowest 0 is bit 0. With its three lowest bits 011 it stands for eight ids.
        (dmask | by_id(0, 1, 1, did & !7 | 3), true),
        (dmask | by_id(0, 1, 1, (did & !7 | 3) ^ 8), false),
        (dmask | by_id(0, 1, 1, 0x7f_ffff), true),
        (dmask | by_id(0, 1, 1, did ^ 1), true),
        (dmask | by_id(0, 1, 1, did), true),
        (dmask | by_id(0, 1, 1, did ^ 2), false),
        (idt | dmask | by_id(0, 1, 1, 3), true),
        (idt | dmask | by_id(0, 1, 1, 8 | 3), false),
    ];
    for (selector, expected) in cases {
        assert_eq!(counted(walk | selector, Processes::read()), u64::from(expected), "{selector:#x}");
    }
    // Requests and directory walks know no address space yet.
    for event in [event::UNTRANSLATED_REQUESTS, event::DEVICE_DIRECTORY_WALKS, event::PROCESS_DIRECTORY_WALKS]
    {
        assert_eq!(counted(event, Processes::read()), 1);
        assert_eq!(counted(event | idt, Processes::read()), 0);
    }
    // Who has no process_id, no first stage, no second stage.
    let bare = Host::read();
    for (selector, expected) in [
        (by_id(1, 0, 0, 0), 0),
        (idt | by_id(1, 0, 0, 0), 0),
        (idt | by_id(0, 1, 0, 0), 0),
        (by_id(0, 1, 0, did), 1),
    ] {
        let mut world = World::full();
        world.device(DEVICE, device_context(0));
        world.write(&reg::iohpmevt::REG, event::TLB_MISS | selector);
        world.success(bare);
        assert_eq!(world.read(&reg::iohpmctr::REG), expected, "{selector:#x}");
    }
}

/// Process 0 stands in for the process_id that a request lacks (`DC.tc.DPE`); the transaction still has no valid one, and a filter
/// for process_id 0 does not count it.
#[test]
fn the_default_process_is_no_process_id() {
    let pid_0 = iohpmevt::PV_PSCV.mask();
    for (process_id, expected) in [(None, 0), (Some(0), 1)] {
        for (event, filter, expected) in [
            (event::UNTRANSLATED_REQUESTS, pid_0, expected),
            (event::TLB_MISS, pid_0, expected),
            (event::DEVICE_DIRECTORY_WALKS, pid_0, expected),
            (event::PROCESS_DIRECTORY_WALKS, pid_0, expected),
            (event::FIRST_STAGE_WALKS, pid_0, expected),
            (event::SECOND_STAGE_WALKS, pid_0, 7 * expected),
            (event::FIRST_STAGE_WALKS, 0, 1),
            // The address space is that of process 0 in any case.
            (event::FIRST_STAGE_WALKS, pid_0 | iohpmevt::IDT.mask() | iohpmevt::PID_PSCID.of(44), 1),
        ] {
            let mut p = Processes::new(World::full(), dc::tc::DPE.mask(), 0, true);
            let default = ProcessContext {
                ta: pc::ta::V.mask() | pc::ta::PSCID.of(44),
                fsc: fsc(p.table.geometry.mode, p.table.root),
            };
            p.world.process(p.directory, 3, p.second, 0, default);
            p.world.write(&reg::iohpmevt::REG, event | filter);
            p.world.success(Request { process_id, ..Processes::read() });
            assert_eq!(p.world.read(&reg::iohpmctr::REG), expected, "{event} {filter:#x} {process_id:?}");
        }
    }
}

#[test]
fn counters_are_inhibited_one_by_one() {
    let mut p = processes(World::full());
    for counter in 0..31 {
        p.world.write_nth(&reg::iohpmevt::REG, counter, 1);
    }
    p.world.write(&reg::iocountinh::REG, iocountinh::HPM.of(0x5555_5555));
    p.world.success(Processes::read());
    for counter in 0..31 {
        assert_eq!(p.world.read_nth(&reg::iohpmctr::REG, counter), u64::from(counter % 2), "{counter}");
    }
    // A counter keeps its value when its event changes.
    p.world.write_nth(&reg::iohpmevt::REG, 1, 2);
    p.world.success(Processes::read());
    assert_eq!(p.world.read_nth(&reg::iohpmctr::REG, 1), 1);
}

#[test]
fn counters_overflow() {
    for bits in [32, 48, 64] {
        let parameters = Parameters { hpm_counter_bits: bits, ..Parameters::full() };
        let mut p = processes(World::new(parameters));
        let most = u64::MAX >> (64 - u32::from(bits));
        p.world.write_nth(&reg::iohpmevt::REG, 4, 1);
        p.world.write_nth(&reg::iohpmctr::REG, 4, most);
        p.world.success(Processes::read());
        assert_eq!(p.world.read_nth(&reg::iohpmctr::REG, 4), 0);
        assert_eq!(p.world.read_nth(&reg::iohpmevt::REG, 4), iohpmevt::OF.mask() | 1);
        assert_eq!(p.world.read(&reg::iocountovf::REG), 1 << 5);
        assert_eq!(p.world.read(&reg::ipsr::REG), ipsr::PMIP.mask());
        // While OF is set, a further overflow is silent.
        p.world.write(&reg::ipsr::REG, ipsr::PMIP.mask());
        p.world.write_nth(&reg::iohpmctr::REG, 4, most);
        p.world.success(Processes::read());
        assert_eq!(p.world.read_nth(&reg::iohpmctr::REG, 4), 0);
        assert_eq!(p.world.read(&reg::ipsr::REG), 0);
        p.world.write_nth(&reg::iohpmevt::REG, 4, 1);
        assert_eq!(p.world.read(&reg::iocountovf::REG), 0);
    }
}

#[test]
fn cycles() {
    let mut world = World::full();
    world.golden.advance(1000);
    assert_eq!(world.read(&reg::iohpmcycles::REG), 1000);
    world.write(&reg::iocountinh::REG, iocountinh::CY.mask());
    world.golden.advance(1000);
    assert_eq!(world.read(&reg::iohpmcycles::REG), 1000);
    world.write(&reg::iocountinh::REG, 0);
    let most = iohpmcycles::COUNTER.max();
    world.write(&reg::iohpmcycles::REG, most - 5);
    world.golden.advance(5);
    assert_eq!(world.read(&reg::ipsr::REG), 0);
    world.golden.advance(10);
    assert_eq!(world.read(&reg::iohpmcycles::REG), iohpmcycles::OF.mask() | 9);
    assert_eq!(world.read(&reg::iocountovf::REG), 1);
    assert_eq!(world.read(&reg::ipsr::REG), ipsr::PMIP.mask());
    world.write(&reg::ipsr::REG, ipsr::PMIP.mask());
    world.golden.advance(u64::MAX);
    assert_eq!(world.read(&reg::ipsr::REG), 0, "OF is still set");
    assert_eq!(world.read(&reg::iohpmcycles::REG) & most, 8);
}
