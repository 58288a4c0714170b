//! The performance monitor: counters, events, filters, overflow, inhibition. (Sections "Performance-monitoring counter overflow
//! status" to "Performance-monitoring event selectors".)

use crate::scene::{DID, PID, PSCID, Scene, VA};
use pasidon_cosim::Random;
use pasidon_spec::ddt::dc;
use pasidon_spec::page_table::{SV39, SV39X4};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::{
    capabilities, event, icvec, iocountinh, iocountovf, iohpmctr, iohpmcycles, iohpmevt, ipsr,
};
use pasidon_spec::request::Request;
use pasidon_tests::guest::{self, Guest, IOVA};
use pasidon_tests::tables::{bits, entry};
use pasidon_tests::{Pressure, Query, Rig, seed};
use pasidon_verify::engine::Engine;

const DESIGNS: [&str; 2] = ["counter", "observed"];

fn write_counter(rig: &mut Rig, index: u32, value: u64) {
    rig.write_at(u32::from(iohpmctr::REG.offset) + 8 * index, value, 8);
}

fn read_counter(rig: &mut Rig, index: u32) -> u64 {
    rig.wait(8);
    rig.read_at(u32::from(iohpmctr::REG.offset) + 8 * index, 8)
}

fn select(rig: &mut Rig, index: u32, selector: u64) {
    rig.write_at(u32::from(iohpmevt::REG.offset) + 8 * index, selector, 8);
}

fn selector(rig: &mut Rig, index: u32) -> u64 {
    rig.read_at(u32::from(iohpmevt::REG.offset) + 8 * index, 8)
}

/// Counter 1 counts `event` from 0 while `run` runs.
fn counted(rig: &mut Rig, wanted: u64, run: impl FnOnce(&mut Rig)) -> u64 {
    write_counter(rig, 0, 0);
    select(rig, 0, wanted);
    run(rig);
    let count = read_counter(rig, 0);
    select(rig, 0, 0);
    count
}

#[test]
fn the_registers_hold_what_the_design_has() {
    for name in ["tiny", "counter", "observed", "full"] {
        let mut rig = Rig::new(name, 1, 1);
        let counters = rig.design.hpm_counters;
        let there = u64::from(counters > 0);
        assert_eq!(capabilities::HPM.get(rig.read(&capabilities::REG)), there, "{name}");
        rig.write(&iocountinh::REG, u64::MAX);
        assert_eq!(rig.read(&iocountinh::REG), there * ((2 << counters) - 1), "{name}: inhibits");
        for index in 0..31 {
            let there = u64::from(index < counters);
            let value = rig.random.word();
            write_counter(&mut rig, index, value);
            assert_eq!(read_counter(&mut rig, index), there * value, "{name}: counter {index}");
            rig.write_at(u32::from(iohpmctr::REG.offset) + 8 * index + 4, 0x55, 4);
            assert_eq!(
                read_counter(&mut rig, index),
                there * (0x55_0000_0000 | value & 0xffff_ffff),
                "{name}: high half of counter {index}"
            );
            let filters = !iohpmevt::EVENT_ID.mask();
            for wanted in 0..=8 {
                select(&mut rig, index, filters | wanted);
                assert_eq!(selector(&mut rig, index), there * (filters | wanted), "{name}");
            }
            for unknown in [9, 15, 16, 24, 0x4000, 0x7fff] {
                select(&mut rig, index, unknown);
                assert_eq!(selector(&mut rig, index), there * 8, "{name}: no event {unknown}");
            }
            select(&mut rig, index, 0);
            let at = u32::from(iohpmevt::REG.offset) + 8 * index;
            rig.write_at(at, !0x7fff, 4);
            assert_eq!(selector(&mut rig, index), there * 0xffff_8000, "{name}: low half");
            rig.write_at(at + 4, 0x7fff_ffff, 4);
            assert_eq!(selector(&mut rig, index), there * 0x7fff_ffff_ffff_8000, "{name}: high half");
            rig.write_at(at + 4, 0x8000_0000, 4);
            assert_eq!(rig.read(&iocountovf::REG), there * (2 << index), "{name}: the overflow bit's copy");
            rig.write_at(at + 4, 0, 4);
        }
        rig.write(&icvec::REG, u64::MAX);
        let highest = u64::from(rig.design.vectors) - 1;
        assert_eq!(icvec::PMIV.get(rig.read(&icvec::REG)), there * highest, "{name}");
    }
}

#[test]
fn cycles_are_counted_and_overflow_once() {
    for name in DESIGNS {
        let mut rig = Rig::new(name, 1, 1);
        let offset = iohpmcycles::REG.offset.into();
        for wait in [0, 1, 10, 1000] {
            let (before, since) = (rig.read_at(offset, 8), rig.now());
            rig.wait(wait);
            let (after, now) = (rig.read_at(offset, 8), rig.now());
            assert_eq!(after - before, now - since, "{name}: every cycle, and no other");
        }
        rig.write(&iocountinh::REG, iocountinh::CY.of(1));
        let before = rig.read_at(offset, 8);
        rig.wait(100);
        assert_eq!(rig.read_at(offset, 8), before, "{name}: inhibited");
        for (of, pending) in [(0, 1), (1, 0)] {
            rig.write(&iocountinh::REG, iocountinh::CY.of(1));
            let value = (iohpmcycles::COUNTER.mask() - 50) | iohpmcycles::OF.of(of);
            rig.write(&iohpmcycles::REG, value);
            assert_eq!(rig.read(&iohpmcycles::REG), value);
            assert_eq!(rig.read(&iocountovf::REG), of);
            rig.write(&iocountinh::REG, 0);
            rig.wait(20);
            assert_eq!(rig.read(&ipsr::REG), 0, "{name}: not yet");
            rig.wait(60);
            let value = rig.read(&iohpmcycles::REG);
            assert!(iohpmcycles::OF.is_set(value) && iohpmcycles::COUNTER.get(value) < 100, "{value:#x}");
            assert_eq!(rig.read(&iocountovf::REG), 1);
            assert_eq!(rig.read(&ipsr::REG), ipsr::PMIP.of(pending), "{name}: only from 0 to 1");
            rig.write(&ipsr::REG, ipsr::PMIP.of(1));
            rig.wait(20);
            assert_eq!(rig.read(&ipsr::REG), 0, "{name}: an event, not a condition");
        }
    }
}

/// Whether a selector counts a request of kind `kind` (1 to 3), as the specification's table of filtering options says.
fn selects(selector: u64, query: &Query) -> bool {
    let kind = match query.at {
        0 => event::UNTRANSLATED_REQUESTS,
        1 => event::ATS_TRANSLATION_REQUESTS,
        _ => event::TRANSLATED_REQUESTS,
    };
    let device = u64::from(query.device_id);
    let wanted = iohpmevt::DID_GSCID.get(selector);
    let ignored = if iohpmevt::DMASK.is_set(selector) { (2 << wanted.trailing_ones()) - 1 } else { 0 };
    iohpmevt::EVENT_ID.get(selector) == kind
        && !iohpmevt::IDT.is_set(selector)
        && (!iohpmevt::DV_GSCV.is_set(selector) || device | ignored == wanted | ignored)
        && (!iohpmevt::PV_PSCV.is_set(selector)
            || query.process_id.is_some_and(|pid| u64::from(pid) == iohpmevt::PID_PSCID.get(selector)))
}

/// Requests of all kinds, from all ports at the same time: each counter has exactly those that its selector names, however long
/// the requests wait and whatever they come to.
#[test]
fn requests_are_counted_exactly_through_every_filter() {
    let mut random = Random::new(seed("request events"));
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let rig = &mut s.rig;
        let counters = rig.design.hpm_counters;
        let devices = [DID, DID ^ 1, DID ^ 2, DID ^ 8];
        for round in 0..60 {
            rig.press([Pressure::None, Pressure::Some][round % 2]);
            let mut selectors = vec![];
            for index in 0..counters {
                let pick = |random: &mut Random, list: &[u32]| {
                    u64::from(list[random.below(list.len() as u64) as usize])
                };
                let low = (1 << random.below(6)) - 1;
                let device = pick(&mut random, &devices);
                let masked = random.below(3) == 0;
                let word = iohpmevt::EVENT_ID.of(random.below(4))
                    | iohpmevt::DMASK.of(masked.into())
                    | iohpmevt::PID_PSCID.of(pick(&mut random, &[PID, PID ^ 1]))
                    | iohpmevt::DID_GSCID.of(if masked { (device | low) & !(low + 1) } else { device })
                    | iohpmevt::PV_PSCV.of(random.below(2))
                    | iohpmevt::DV_GSCV.of(random.below(2))
                    | iohpmevt::IDT.of((random.below(8) == 0).into());
                write_counter(rig, index, 0);
                select(rig, index, word);
                selectors.push(word);
            }
            let inhibited = random.below(1 << counters) & random.below(1 << counters);
            rig.write(&iocountinh::REG, iocountinh::HPM.of(inhibited));
            let queries: Vec<Query> = (0..40)
                .map(|_| Query {
                    device_id: devices[random.below(4) as usize],
                    process_id: (random.below(4) != 0).then(|| PID ^ random.below(2) as u32),
                    at: [0, 0, 1, 2][random.below(4) as usize],
                    write: random.below(2) == 1,
                    ..Query::read(0, None, VA)
                })
                .collect();
            for (i, query) in queries.iter().enumerate() {
                rig.submit(i, *query);
            }
            rig.finish();
            for (index, word) in selectors.iter().enumerate() {
                let due = queries.iter().filter(|query| selects(*word, query)).count() as u64;
                let due = if inhibited >> index & 1 == 1 { 0 } else { due };
                let count = read_counter(rig, index as u32);
                assert_eq!(count, due, "{name}: round {round}, counter {index}, selector {word:#x}");
            }
            rig.settle();
            rig.records();
        }
    }
}

#[test]
fn misses_and_walks_are_counted_where_they_happen() {
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let query = s.query();
        let next = Query { iova: query.iova + 0x1000, ..query };
        s.rig.map(&SV39, s.root, next.iova, 0, entry(s.frame, bits::ALL));
        let rig = &mut s.rig;
        let by_space =
            |pscid: u64| iohpmevt::IDT.of(1) | iohpmevt::PV_PSCV.of(1) | iohpmevt::PID_PSCID.of(pscid);
        let by_device = |did: u64, pid: u64| {
            iohpmevt::DV_GSCV.of(1)
                | iohpmevt::DID_GSCID.of(did)
                | iohpmevt::PV_PSCV.of(1)
                | iohpmevt::PID_PSCID.of(pid)
        };
        let ours = by_device(DID.into(), PID.into());
        let guests = iohpmevt::IDT.of(1) | iohpmevt::DV_GSCV.of(1);
        // Event and filter; what a cold request, a second one, and one of the neighbouring page count.
        for (wanted, filter, due) in [
            (event::TLB_MISS, 0, [1, 0, 1]),
            (event::TLB_MISS, ours, [1, 0, 1]),
            (event::TLB_MISS, by_device(DID.into(), u64::from(PID) + 1), [0, 0, 0]),
            (event::TLB_MISS, by_device(u64::from(DID) + 1, PID.into()), [0, 0, 0]),
            (event::TLB_MISS, by_space(PSCID.into()), [1, 0, 1]),
            (event::TLB_MISS, by_space(u64::from(PSCID) + 1), [0, 0, 0]),
            (event::TLB_MISS, guests, [0, 0, 0]),
            (event::DEVICE_DIRECTORY_WALKS, 0, [1, 0, 0]),
            (event::DEVICE_DIRECTORY_WALKS, ours, [1, 0, 0]),
            (event::DEVICE_DIRECTORY_WALKS, iohpmevt::IDT.of(1), [0, 0, 0]),
            (event::PROCESS_DIRECTORY_WALKS, 0, [1, 0, 0]),
            (event::PROCESS_DIRECTORY_WALKS, ours, [1, 0, 0]),
            (event::PROCESS_DIRECTORY_WALKS, iohpmevt::IDT.of(1), [0, 0, 0]),
            (event::FIRST_STAGE_WALKS, 0, [1, 0, 1]),
            (event::FIRST_STAGE_WALKS, ours, [1, 0, 1]),
            (event::FIRST_STAGE_WALKS, by_space(PSCID.into()), [1, 0, 1]),
            (event::FIRST_STAGE_WALKS, by_space(u64::from(PSCID) ^ 1 << 19), [0, 0, 0]),
            (event::FIRST_STAGE_WALKS, iohpmevt::IDT.of(1), [1, 0, 1]),
            (event::SECOND_STAGE_WALKS, 0, [0, 0, 0]),
        ] {
            rig.invalidate_all();
            for (query, due) in [query, query, next].into_iter().zip(due) {
                let count = counted(rig, iohpmevt::EVENT_ID.of(wanted) | filter, |rig| {
                    assert!(rig.ask(0, query).is_success());
                });
                assert_eq!(count, due, "{name}: event {wanted}, filter {filter:#x}, {query:x?}");
            }
        }
    }
}

#[test]
fn a_counter_that_wraps_goes_on_and_interrupts_once() {
    for name in DESIGNS {
        let mut rig = Rig::ready(name, 1, 1);
        let ports = u64::from(rig.design.ports);
        let every = iohpmevt::EVENT_ID.of(event::UNTRANSLATED_REQUESTS);
        for (of, pending) in [(0, 1), (1, 0)] {
            for start in [0, 1, 2, 5] {
                write_counter(&mut rig, 0, u64::MAX - start);
                select(&mut rig, 0, every | iohpmevt::OF.of(of));
                for _ in 0..4 {
                    for port in 0..ports {
                        rig.submit(port as usize, Query::read(1, None, 0));
                    }
                }
                rig.finish();
                let total = u128::from(u64::MAX - start) + 4 * u128::from(ports);
                assert_eq!(read_counter(&mut rig, 0), total as u64, "{name}: from -{}", start + 1);
                let wrapped = u64::from(total >> 64 != 0);
                assert_eq!(selector(&mut rig, 0), every | iohpmevt::OF.of(of | wrapped), "{name}");
                assert_eq!(rig.read(&iocountovf::REG), (of | wrapped) << 1, "{name}");
                assert_eq!(rig.read(&ipsr::REG), ipsr::PMIP.of(pending & wrapped), "{name}");
                rig.write(&ipsr::REG, ipsr::PMIP.of(1));
            }
        }
    }
}

#[test]
fn a_debug_request_is_an_untranslated_request() {
    for name in DESIGNS {
        let mut s = Scene::new(name);
        let query = Query { iova: VA, ..s.query() };
        let filter = iohpmevt::PV_PSCV.of(1) | iohpmevt::PID_PSCID.of(PID.into());
        for (wanted, due) in [(event::UNTRANSLATED_REQUESTS, 3), (event::TRANSLATED_REQUESTS, 0)] {
            let count = counted(&mut s.rig, iohpmevt::EVENT_ID.of(wanted) | filter, |rig| {
                for _ in 0..3 {
                    crate::debug::ask(rig, &query);
                }
            });
            assert_eq!(count, due, "{name}: event {wanted}");
        }
    }
}

/// A guest's first request, counted by both descriptions: each second-stage walk is one, and GSCID and PSCID are the device's.
#[test]
fn walks_of_two_stages_are_counted_under_the_ids_of_the_guest() {
    let mut g = Guest::new("observed", &SV39, &SV39X4);
    let page = g.guest_page();
    g.map(IOVA, 0, guest::entry(page, guest::ALL));
    g.add_process(pdtp_mode::PD8, 3);
    let request = Request { process_id: Some(3), ..Guest::read(IOVA) };
    let gscid = dc::iohgatp::GSCID.get(g.context.iohgatp);
    let of_guest = iohpmevt::IDT.of(1) | iohpmevt::DV_GSCV.of(1) | iohpmevt::DID_GSCID.of(gscid);
    let other_guest = iohpmevt::IDT.of(1) | iohpmevt::DV_GSCV.of(1) | iohpmevt::DID_GSCID.of(gscid ^ 1);
    let of_space = iohpmevt::IDT.of(1) | iohpmevt::PV_PSCV.of(1) | iohpmevt::PID_PSCID.of(0x77);
    let of_process = iohpmevt::PV_PSCV.of(1) | iohpmevt::PID_PSCID.of(3);
    // The process context's page, three tables and the page itself: five guest physical addresses, of which the first is
    // looked up before there is a PSCID.
    for (wanted, filter, due) in [
        (event::DEVICE_DIRECTORY_WALKS, 0, 1),
        (event::PROCESS_DIRECTORY_WALKS, of_process, 1),
        (event::PROCESS_DIRECTORY_WALKS, of_guest, 0),
        (event::TLB_MISS, of_guest | of_space, 1),
        (event::TLB_MISS, other_guest, 0),
        (event::FIRST_STAGE_WALKS, of_guest | of_space, 1),
        (event::SECOND_STAGE_WALKS, 0, 5),
        (event::SECOND_STAGE_WALKS, of_process, 5),
        (event::SECOND_STAGE_WALKS, of_guest, 5),
        (event::SECOND_STAGE_WALKS, of_guest | iohpmevt::DMASK.of(1), 5),
        (event::SECOND_STAGE_WALKS, other_guest, 0),
        (event::SECOND_STAGE_WALKS, of_space, 4),
    ] {
        g.reset();
        let word = iohpmevt::EVENT_ID.of(wanted) | filter;
        let fails = "the engines agree";
        g.both.write_register(iohpmevt::REG.offset, 8, word).expect(fails);
        assert!(g.ask("a request of the guest", request).success().is_some());
        let count = g.both.compare_register(iohpmctr::REG.offset, 8, "iohpmctr1");
        let count = count.unwrap_or_else(|error| panic!("event {wanted}, filter {filter:#x}: {error}"));
        assert_eq!(count, due, "event {wanted}, filter {filter:#x}");
    }
}
