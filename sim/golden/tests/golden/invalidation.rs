//! What the IOATC remembers, and what each invalidation takes away, no less and no more.

use crate::world::*;
use pasidon_spec::command::{Command, Range};
use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_request::{PageRequest, Refusal};
use pasidon_spec::page_table::{SV39, SV39X4, pte};
use pasidon_spec::pdt::{ProcessContext, pc};
use pasidon_spec::range;
use pasidon_spec::registers as reg;
use pasidon_spec::request::{AddressType, Request};

/// A translation with its names.
#[derive(Clone, Copy, Debug)]
struct Known {
    request: Request,
    gscid: Option<u16>,
    pscid: Option<u32>,
    global: bool,
    /// Bytes of the first stage's leaf around the IOVA; of the second stage's around `gpa`.
    first: u64,
    second: u64,
    gpa: u64,
}

const IOVAS: [u64; 3] = [0x1234_5000, 0x1234_6000, 0x4020_0000];

/// Host and guest address spaces with a page, a global page and a superpage each, all remembered.
fn remembered() -> (World, Vec<Known>) {
    let mut world = World::caching();
    let mut known = Vec::new();
    for (device_id, gscid) in [(1, None), (2, Some(5)), (3, Some(6))] {
        let second = gscid.map(|_| world.table(&SV39X4, None));
        let directory = world.alloc(4096);
        let directory = world.reveal(directory, second);
        let context = DeviceContext {
            iohgatp: second.map_or(0, |second| iohgatp(second, gscid.unwrap_or(0).into())),
            fsc: fsc(3, directory),
            ..device_context(dc::tc::PDTV.mask())
        };
        world.device(device_id, context);
        for (process_id, pscid) in [(10, 100), (11, 101)] {
            let table = world.table(&SV39, second);
            let context = ProcessContext {
                ta: pc::ta::V.mask() | pc::ta::PSCID.of(pscid),
                fsc: fsc(SV39.mode, table.root),
            };
            world.process(directory, 3, second, process_id, context);
            for (i, iova) in IOVAS.into_iter().enumerate() {
                let (global, level) = (i == 1, usize::from(i == 2));
                let spa = world.alloc(2 << 20);
                let gpa = match second {
                    None => spa,
                    Some(second) => {
                        world.map(second, None, spa + GUEST, level, leaf(spa));
                        spa + GUEST
                    }
                };
                let entry = leaf(gpa) | if global { pte::G.mask() } else { 0 };
                world.map(table, second, iova, level, entry);
                let bytes = 4096 << (9 * level);
                known.push(Known {
                    request: of_process(read(device_id, iova), process_id),
                    gscid,
                    pscid: Some(pscid as u32),
                    global,
                    first: bytes,
                    second: bytes,
                    gpa,
                });
            }
        }
    }
    for entry in &known {
        world.success(entry.request);
    }
    assert!(known.iter().all(|entry| is_remembered(&world, entry)));
    (world, known)
}

/// Whether a request is answered without a look at memory.
fn is_remembered(world: &World, known: &Known) -> bool {
    let mut copy = world.golden.clone();
    let mut ram = world.ram.clone();
    let reads = ram.reads;
    copy.translate(&mut ram, &known.request).success().is_some() && ram.reads == reads
}

/// Executes a command, and checks that exactly the translations that `goes` names are gone.
#[track_caller]
fn check(command: Command, goes: impl Fn(&Known) -> bool) {
    let (mut world, known) = remembered();
    world.command(command);
    for entry in &known {
        assert_eq!(is_remembered(&world, entry), !goes(entry), "{command:x?} {entry:x?}");
    }
}

fn meets(range: Option<Range>, address: u64, bytes: u64) -> bool {
    range.is_none_or(|range| {
        let (first, last) = range.bounds();
        address & !(bytes - 1) <= last && address | (bytes - 1) >= first
    })
}

fn ranges(addresses: &[u64]) -> Vec<Option<Range>> {
    let mut ranges = vec![None];
    for &address in addresses {
        ranges.push(Some(Range::page_of(address)));
        for shift in [13, 14, 16, 21, 22, 30, 64] {
            let page = range::encode(address, shift).expect("a range");
            ranges.push(Some(Range { page, napot: true, non_leaf: false }));
        }
    }
    ranges
}

#[test]
fn iotinval_vma() {
    let inside = [IOVAS[0], IOVAS[1], IOVAS[2] + 0x12_3000, 0x9999_9000];
    for gscid in [None, Some(5), Some(7)] {
        for pscid in [None, Some(100), Some(77)] {
            for range in ranges(&inside) {
                check(Command::IotinvalVma { gscid, pscid, range }, |entry| {
                    entry.gscid == gscid
                        && pscid.is_none_or(|pscid| entry.pscid == Some(pscid) && !entry.global)
                        && meets(range, entry.request.iova, entry.first)
                });
            }
        }
    }
}

#[test]
fn iotinval_gvma() {
    let (_, known) = remembered();
    let guest: Vec<u64> =
        known.iter().filter(|entry| entry.gscid == Some(5)).map(|entry| entry.gpa | 0x800).collect();
    check(Command::IotinvalGvma { guest: None }, |entry| entry.gscid.is_some());
    for gscid in [5, 6, 7] {
        for range in ranges(&[guest[0], guest[2] + 0x12_3000]) {
            check(Command::IotinvalGvma { guest: Some((gscid, range)) }, |entry| {
                entry.gscid == Some(gscid) && meets(range, entry.gpa, entry.second)
            });
        }
    }
}

#[test]
fn iodir() {
    check(Command::IodirInvalDdt { did: None }, |_| true);
    for did in [1, 2, 9] {
        check(Command::IodirInvalDdt { did: Some(did) }, |entry| entry.request.device_id == did);
        for pid in [10, 11, 12] {
            check(Command::IodirInvalPdt { did, pid }, |entry| {
                entry.request.device_id == did && entry.request.process_id == Some(pid)
            });
        }
    }
}

#[test]
fn a_leaf_over_a_larger_one_goes_with_any_address_of_the_larger() {
    let mut world = World::caching();
    let second = world.table(&SV39X4, None);
    let table = world.table(&SV39, Some(second));
    world.map(second, None, 3 << 30, 2, leaf(5 << 30));
    world.map(table, Some(second), 0x1000, 0, leaf(3 << 30 | 0x7000));
    let context =
        DeviceContext { iohgatp: iohgatp(second, 5), fsc: fsc(SV39.mode, table.root), ..device_context(0) };
    world.device(DEVICE, context);
    assert_eq!(world.success(read(DEVICE, 0x1000)).spa, 5 << 30 | 0x7000);
    world.map(second, None, 3 << 30, 2, leaf(7 << 30));
    let elsewhere = 3 << 30 | 0x3210_0000;
    world.command(Command::IotinvalGvma { guest: Some((5, Some(Range::page_of(elsewhere)))) });
    assert_eq!(world.success(read(DEVICE, 0x1000)).spa, 7 << 30 | 0x7000);
}

#[test]
fn remembered_until_invalidated() {
    let mut host = Host::new(World::caching(), 0);
    host.world.success(Host::read());
    let reads = host.world.ram.reads;
    // The whole context goes, and nothing notices.
    host.world.ram.set(host.leaf, 0);
    host.world.ram.set(host.context, 0);
    assert_eq!(host.world.success(Host::read()).spa, PAGE | 0xabc);
    assert_eq!(host.world.ram.reads, reads);
    host.world.command(Command::IotinvalVma { gscid: None, pscid: None, range: None });
    // The device context is still known.
    assert_eq!(host.world.fault(Host::read()).cause, Cause::ReadPageFault);
    host.world.command(Command::IodirInvalDdt { did: Some(DEVICE) });
    assert_eq!(host.world.fault(Host::read()).cause, Cause::DdtEntryNotValid);
}

#[test]
fn what_is_not_valid_or_not_permitted_is_not_remembered() {
    let mut p = Processes::new(World::caching(), 0, 0, true);
    let entries: Vec<u64> = vec![
        p.context,
        p.world.pdte(p.directory, 3, p.second, PROCESS, 2),
        p.world.pdte(p.directory, 3, p.second, PROCESS, 0),
        p.leaf,
    ];
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    for at in entries.into_iter().chain([page]) {
        let old = p.world.ram.get(at);
        p.world.command(Command::IodirInvalDdt { did: None });
        p.world.ram.set(at, old & !1);
        p.world.fault(Processes::read());
        p.world.ram.set(at, old);
        p.world.success(Processes::read());
    }
    // A page that becomes writable or dirty is found so at the next write.
    p.world.ram.set(p.leaf, leaf(p.page) & !pte::D.mask());
    p.world.command(Command::IotinvalVma { gscid: Some(5), pscid: None, range: None });
    p.world.success(Processes::read());
    p.world.fault(write(Processes::read()));
    p.world.ram.set(p.leaf, leaf(p.page));
    p.world.success(write(Processes::read()));
}

#[test]
fn translations_are_told_apart() {
    // By privilege, by kind of request, by process, and by whether there is one.
    let tc = dc::tc::EN_ATS.mask() | dc::tc::T2GPA.mask() | dc::tc::DPE.mask();
    let mut p = Processes::new(World::caching(), tc, pc::ta::ENS.mask(), true);
    p.world.success(Processes::read());
    assert_eq!(p.world.fault(privileged(Processes::read())).cause, Cause::ReadPageFault);
    let translated = Request { at: AddressType::Translated, ..Processes::read() };
    assert_eq!(p.world.fault(translated).cause, Cause::ReadGuestPageFault);
    let guest = Request { at: AddressType::Translated, ..read(DEVICE, p.page) };
    assert_eq!(p.world.success(guest).spa, PAGE);
    let reads = p.world.ram.reads;
    assert_eq!(p.world.success(guest).spa, PAGE);
    assert_eq!(p.world.ram.reads, reads, "translated requests are remembered too");
    assert_eq!(p.world.fault(Host::read()).cause, Cause::PdtEntryNotValid);
    assert_eq!(p.world.fault(of_process(Host::read(), PROCESS ^ 1)).cause, Cause::PdtEntryNotValid);
    assert_eq!(p.world.fault(read(DEVICE ^ 1, IOVA)).cause, Cause::DdtEntryNotValid);
    // Ids that are wider than any.
    let wide = Request { device_id: DEVICE | 1 << 24, ..Processes::read() };
    assert_eq!(p.world.fault(wide).cause, Cause::TransactionTypeDisallowed);
    let wide = Request { process_id: Some(PROCESS | 1 << 20), ..Processes::read() };
    assert_eq!(p.world.fault(wide).cause, Cause::TransactionTypeDisallowed);
}

#[test]
fn the_default_process_goes_with_process_0() {
    let mut p = Processes::new(World::caching(), dc::tc::DPE.mask(), 0, false);
    let context = ProcessContext { ta: pc::ta::V.mask(), fsc: fsc(SV39.mode, p.table.root) };
    let at = p.world.process(p.directory, 3, None, 0, context);
    p.world.success(Host::read());
    p.world.ram.set(at, 0);
    p.world.success(Host::read());
    p.world.command(Command::IodirInvalPdt { did: DEVICE, pid: 0 });
    assert_eq!(p.world.fault(Host::read()).cause, Cause::PdtEntryNotValid);
}

#[test]
fn a_new_mode_or_byte_order_forgets_everything() {
    let mut host = Host::new(World::caching(), 0);
    host.world.success(Host::read());
    host.world.mode(iommu_mode::OFF);
    assert_eq!(host.world.fault(Host::read()).cause, Cause::AllInboundTransactionsDisallowed);
    host.world.mode(iommu_mode::BARE);
    assert_eq!(host.world.success(Host::read()).spa, Host::read().iova);
    host.world.mode(iommu_mode::LVL3);
    host.world.success(Host::read());
    host.world.write(&reg::fctl::REG, reg::fctl::BE.mask());
    host.world.fault(Host::read());
}

#[test]
fn with_and_without_memory_the_answers_are_the_same() {
    let mut caching = Processes::new(World::caching(), dc::tc::SADE.mask(), pc::ta::ENS.mask(), true);
    let mut plain = Processes::new(World::full(), dc::tc::SADE.mask(), pc::ta::ENS.mask(), true);
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1u64);
    println!("SEED={seed}");
    let mut state = seed;
    let mut random = |n: u64| {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (state >> 33) % n
    };
    // Pages of all permissions, some not valid.
    for page in 0..64u64 {
        for p in [&mut caching, &mut plain] {
            let spa = p.world.alloc(4096);
            let gpa = p.world.reveal(spa, p.second);
            let bits = [0xdf, 0x13, 0x57, 0x19, 0, 0xcf, 0x1f][page as usize % 7];
            p.world.map(p.table, p.second, page << 12, 0, gpa >> 12 << 10 | bits);
        }
    }
    for _ in 0..20_000 {
        let kind = random(3);
        let request = Request {
            privileged: random(2) == 1,
            exec: kind == 1,
            write: kind == 2,
            ..of_process(read(DEVICE, random(64) << 12 | random(512) << 3), PROCESS)
        };
        assert_eq!(caching.world.translate(request), plain.world.translate(request), "{request:x?}");
    }
}

/// What `ddtp` says now comes before anything that is remembered of a device.
#[test]
fn what_is_remembered_does_not_outlive_the_mode() {
    let dtf = dc::tc::DTF.mask() | dc::tc::EN_ATS.mask() | dc::tc::EN_PRI.mask();
    for (mode, cause, record) in [
        (iommu_mode::LVL2, Cause::TransactionTypeDisallowed, true),
        (iommu_mode::LVL1, Cause::TransactionTypeDisallowed, true),
        (iommu_mode::OFF, Cause::AllInboundTransactionsDisallowed, true),
        (iommu_mode::BARE, Cause::TransactionTypeDisallowed, false),
    ] {
        let mut host = Host::new(World::caching(), dtf);
        let world = &mut host.world;
        let page_request = PageRequest { did: DEVICE, read: true, ..PageRequest::default() };
        world.success(Host::read());
        world.mode(mode);
        world.faults();
        // The record is there although the context that says otherwise was read: no context is located now.
        for at in [AddressType::Untranslated, AddressType::Translated, AddressType::TranslationRequest] {
            let request = Request { at, ..Host::read() };
            if at == AddressType::Untranslated && !record {
                assert_eq!(world.success(request).spa, request.iova);
                continue;
            }
            let fault = world.fault(request);
            assert_eq!((fault.cause, fault.reported), (cause, true), "{mode} {at:?}");
            let records = world.faults();
            assert_eq!((records.len(), records[0].cause), (1, cause.code()), "{mode} {at:?}");
        }
        let refused = world.golden.page_request(&mut world.ram, &page_request);
        assert_eq!(refused, Err(Refusal::Fault(cause)));
        let records = world.faults();
        assert_eq!((records.len(), records[0].cause), (1, cause.code()), "{mode} page request");
        world.mode(iommu_mode::LVL3);
        world.success(Host::read());
        assert_eq!(world.golden.page_request(&mut world.ram, &page_request), Ok(()));
    }
}
