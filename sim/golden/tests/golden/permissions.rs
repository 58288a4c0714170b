//! Permissions of both stages, privilege, and the accessed and dirty bits.

use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::pte;
use pasidon_spec::pdt::pc;
use pasidon_spec::request::Request;

const SADE: u64 = dc::tc::SADE.mask();
const GADE: u64 = dc::tc::GADE.mask();
const A: u64 = pte::A.mask();
const D: u64 = pte::D.mask();

fn requests(request: Request) -> [(Request, u64); 3] {
    [(request, pte::R.mask()), (write(request), pte::W.mask()), (exec(request), pte::X.mask())]
}

#[test]
fn first_stage_permissions() {
    // All eight combinations, by privilege, user page, and SUM.
    for rwx in 0..8u64 {
        for user in [false, true] {
            for (supervisor, sum) in [(false, false), (true, false), (true, true)] {
                let ta = pc::ta::ENS.mask() | if sum { pc::ta::SUM.mask() } else { 0 };
                let mut p = Processes::new(World::full(), 0, ta, false);
                let bits = rwx << 1;
                let entry = leaf(p.page) & !(0xe | pte::U.mask()) | bits | pte::U.of(user.into());
                p.world.ram.set(p.leaf, entry);
                for (request, needed) in requests(Processes::read()) {
                    let request = if supervisor { privileged(request) } else { request };
                    let reserved = pte::W.is_set(bits) && !pte::R.is_set(bits);
                    let whose = if !supervisor {
                        user
                    } else if request.exec {
                        !user
                    } else {
                        !user || sum
                    };
                    let expected = bits & needed != 0 && whose && !reserved;
                    let response = p.world.translate(request);
                    assert_eq!(response.success().is_some(), expected, "{rwx:03b} {user} {request:?} {sum}");
                    if let Some(translation) = response.success() {
                        let mine = if supervisor { !user || sum } else { user };
                        let fetch = if supervisor { !user } else { user };
                        assert_eq!(translation.read, pte::R.is_set(bits) && mine);
                        assert_eq!(translation.write, pte::W.is_set(bits) && mine);
                        assert_eq!(translation.exec, pte::X.is_set(bits) && fetch);
                    }
                }
            }
        }
    }
}

#[test]
fn second_stage_permissions() {
    for rwx in 0..8u64 {
        let mut p = Processes::new(World::full(), 0, pc::ta::ENS.mask(), true);
        let second = p.second.expect("two stages");
        let at = p.world.entry(second, None, p.page, 0);
        let bits = rwx << 1;
        p.world.ram.set(at, leaf(PAGE) & !0xe | bits);
        for (request, needed) in requests(Processes::read()) {
            let reserved = pte::W.is_set(bits) && !pte::R.is_set(bits);
            let response = p.world.translate(request);
            let expected = bits & needed != 0 && !reserved;
            assert_eq!(response.success().is_some(), expected, "{rwx:03b} {request:?}");
            if let Some(translation) = response.success() {
                let granted = (translation.read, translation.write, translation.exec);
                assert_eq!(granted, (pte::R.is_set(bits), pte::W.is_set(bits), pte::X.is_set(bits)));
            }
        }
        // Supervisor privilege is the first stage's affair: the second stage's pages are all user pages.
        if rwx & 1 == 1 {
            p.world.ram.set(p.leaf, leaf(p.page) & !pte::U.mask());
            p.world.success(privileged(Processes::read()));
        }
    }
}

#[test]
fn clear_bits_fault_without_updates() {
    for (cleared, write_only) in [(A, false), (D, true), (A | D, false)] {
        let mut p = Processes::new(World::full(), 0, 0, true);
        p.world.ram.set(p.leaf, leaf(p.page) & !cleared);
        for (request, _) in requests(Processes::read()) {
            let faults = !write_only || request.write;
            assert_eq!(p.world.translate(request).fault().is_some(), faults, "{cleared:#x} {request:?}");
        }
        assert_eq!(p.world.ram.get(p.leaf), leaf(p.page) & !cleared, "nothing is set");
        p.world.ram.set(p.leaf, leaf(p.page));
        let second = p.second.expect("two stages");
        let at = p.world.entry(second, None, p.page, 0);
        p.world.ram.set(at, leaf(PAGE) & !cleared);
        for (request, _) in requests(Processes::read()) {
            let fault = p.world.translate(request).fault();
            assert_eq!(fault.is_some(), !write_only || request.write, "{cleared:#x} {request:?}");
            if let Some(fault) = fault {
                assert_eq!(fault.iotval2, p.page | Processes::read().iova & 0xffc);
            }
        }
    }
}

#[test]
fn updates_set_what_the_access_needs() {
    for big_endian in [false, true] {
        for (request, _) in requests(Host::read()) {
            let mut world = World::full();
            world.big_endian = big_endian;
            if big_endian {
                world.write(&pasidon_spec::registers::fctl::REG, 1);
            }
            let sbe = dc::tc::SBE.of(big_endian.into());
            let mut host = Host::new(world, SADE | sbe);
            host.world.set_pte(host.leaf, 8, leaf(PAGE) & !(A | D));
            let translation = host.world.success(request);
            // A read leaves the page clean, and so not yet writable.
            assert_eq!(translation.write, request.write);
            let stored = host.world.ram.get(host.leaf);
            let stored = if big_endian { stored.swap_bytes() } else { stored };
            let expected = leaf(PAGE) & !(A | D) | A | if request.write { D } else { 0 };
            assert_eq!(stored, expected, "{request:?}");
        }
    }
}

#[test]
fn nothing_is_set_by_an_access_that_faults() {
    let mut host = Host::new(World::full(), SADE);
    let clean = leaf(PAGE) & !(A | D | pte::W.mask() | pte::X.mask());
    host.world.ram.set(host.leaf, clean);
    host.world.fault(write(Host::read()));
    host.world.fault(exec(Host::read()));
    assert_eq!(host.world.ram.get(host.leaf), clean);
    host.world.success(Host::read());
    assert_eq!(host.world.ram.get(host.leaf), clean | A);
}

#[test]
fn both_stages_are_updated() {
    let mut p = Processes::new(World::full(), SADE | GADE, 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    let table = p.world.entry(second, None, p.leaf + GUEST, 0);
    let clean = |world: &mut World| {
        for (at, value) in [(p.leaf, leaf(p.page)), (page, leaf(PAGE))] {
            world.ram.set(at, value & !(A | D));
        }
        let old = world.ram.get(table);
        world.ram.set(table, old & !(A | D));
    };
    let bits = |world: &World, at: u64| world.ram.get(at) & (A | D);
    clean(&mut p.world);
    p.world.success(Processes::read());
    assert_eq!(bits(&p.world, p.leaf), A);
    assert_eq!(bits(&p.world, page), A);
    // The update of the first stage's entry is a write of the page that it is in.
    assert_eq!(bits(&p.world, table), A | D);
    clean(&mut p.world);
    p.world.success(write(Processes::read()));
    assert_eq!([p.leaf, page, table].map(|at| bits(&p.world, at)), [A | D; 3]);
    // Without an update the table is only read.
    let old = p.world.ram.get(table);
    p.world.ram.set(table, old & !(A | D));
    p.world.success(write(Processes::read()));
    assert_eq!(bits(&p.world, table), A);
}

#[test]
fn an_update_needs_a_table_that_is_writable() {
    for (cleared, gade) in [(pte::W.mask(), true), (D, false)] {
        let tc = SADE | if gade { GADE } else { 0 };
        let mut p = Processes::new(World::full(), tc, 0, true);
        let second = p.second.expect("two stages");
        let table = p.world.entry(second, None, p.leaf + GUEST, 0);
        let old = p.world.ram.get(table);
        p.world.ram.set(table, old & !cleared);
        p.world.success(Processes::read());
        p.world.ram.set(p.leaf, leaf(p.page) & !A);
        for (request, cause) in [
            (Processes::read(), Cause::ReadGuestPageFault),
            (write(Processes::read()), Cause::WriteAmoGuestPageFault),
            (exec(Processes::read()), Cause::InstructionGuestPageFault),
        ] {
            let fault = p.world.fault(request);
            assert_eq!((fault.cause, fault.iotval2), (cause, (p.leaf + GUEST) & !3 | 3));
        }
    }
}

#[test]
fn the_first_stage_is_updated_before_the_second_translates() {
    let mut p = Processes::new(World::full(), SADE, 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    p.world.ram.set(page, 0);
    p.world.ram.set(p.leaf, leaf(p.page) & !A);
    p.world.fault(Processes::read());
    assert_eq!(p.world.ram.get(p.leaf), leaf(p.page));
}

#[test]
fn an_entry_that_changed_meanwhile_is_read_again() {
    let other = 0x9876_5000;
    let mut host = Host::new(World::full(), SADE);
    host.world.ram.set(host.leaf, leaf(PAGE) & !A);
    host.world.ram.race = Some((host.leaf, leaf(other) & !A));
    assert_eq!(host.world.success(Host::read()).spa, other | 0xabc);
    assert_eq!(host.world.ram.get(host.leaf), leaf(other));

    host.world.ram.set(host.leaf, leaf(PAGE) & !A);
    host.world.ram.race = Some((host.leaf, 0));
    assert_eq!(host.world.fault(Host::read()).cause, Cause::ReadPageFault);
    assert_eq!(host.world.ram.get(host.leaf), 0);

    let mut p = Processes::new(World::full(), GADE, 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    p.world.ram.set(page, leaf(PAGE) & !A);
    p.world.ram.race = Some((page, leaf(other) & !A));
    assert_eq!(p.world.success(Processes::read()).spa, other | 0xabc);
    assert_eq!(p.world.ram.get(page), leaf(other));
}

#[test]
fn an_update_that_cannot_be_stored_is_an_access_fault() {
    let mut host = Host::new(World::full(), SADE);
    host.world.ram.set(host.leaf, leaf(PAGE) & !A);
    host.world.ram.failures = vec![(host.leaf..host.leaf + 8, Failing::Write)];
    assert_eq!(host.world.fault(Host::read()).cause, Cause::ReadAccessFault);
    assert_eq!(host.world.fault(write(Host::read())).cause, Cause::WriteAmoAccessFault);

    let mut p = Processes::new(World::full(), GADE, 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    p.world.ram.set(page, leaf(PAGE) & !A);
    p.world.ram.failures = vec![(page..page + 8, Failing::Write)];
    assert_eq!(p.world.fault(exec(Processes::read())).cause, Cause::InstructionAccessFault);
}

#[test]
fn clear_bits_come_before_the_access_to_a_page_that_is_not_there() {
    let capabilities = pasidon_spec::registers::capabilities::PAS.set(Parameters::full_capabilities(), 40);
    let outside = 1 << 40;
    for (tc, clean_fault) in [(0, Cause::ReadPageFault), (SADE, Cause::ReadAccessFault)] {
        let mut host = Host::new(World::new(Parameters::new(capabilities)), tc);
        host.world.ram.set(host.leaf, leaf(outside));
        assert_eq!(host.world.fault(Host::read()).cause, Cause::ReadAccessFault);
        host.world.ram.set(host.leaf, leaf(outside) & !A);
        assert_eq!(host.world.fault(Host::read()).cause, clean_fault);
        assert_eq!(host.world.ram.get(host.leaf), leaf(outside) & !A, "nothing is set");
    }
}
