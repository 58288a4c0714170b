//! ATS translation requests, translated requests, and answers to page requests.

use crate::causes::with_interrupt_files;
use crate::world::*;
use pasidon_golden::Parameters;
use pasidon_spec::ddt::{dc, iommu_mode};
use pasidon_spec::fault::{AtsResponse, Cause, FaultRecord, ttyp};
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::message::{PageRequestGroupResponse, code, response_code};
use pasidon_spec::msi::{basic, mrif};
use pasidon_spec::page_request::{PageRequest, Refusal};
use pasidon_spec::page_table::{pbmt, pte};
use pasidon_spec::pdt::pc;
use pasidon_spec::registers as reg;
use pasidon_spec::request::{AddressType, AtsCompletion, Denial, Request, Response};

const EN_ATS: u64 = dc::tc::EN_ATS.mask();
const T2GPA: u64 = dc::tc::T2GPA.mask();

fn ask(request: Request) -> Request {
    Request { at: AddressType::TranslationRequest, ..request }
}

fn translated(request: Request) -> Request {
    Request { at: AddressType::Translated, ..request }
}

/// Checks that a translation request ends with `cause`, answered and recorded as the text says for it.
#[track_caller]
fn ends_with(world: &mut World, request: Request, cause: Cause) {
    world.faults();
    let response = world.translate(request);
    let records = world.faults();
    match cause.ats_response() {
        Some(AtsResponse::Success) => {
            let translation = response.success().unwrap_or_else(|| panic!("{response:x?}"));
            assert_eq!((translation.read, translation.write, translation.exec), (false, false, false));
            assert_eq!(translation.ats.expect("an ATS completion").withheld, Some(cause));
            assert!(records.is_empty());
        }
        response_kind => {
            let denial = match response_kind {
                Some(AtsResponse::UnsupportedRequest) => Denial::UnsupportedRequest,
                _ => Denial::CompleterAbort,
            };
            let fault = response.fault().unwrap_or_else(|| panic!("{response:x?}"));
            assert_eq!((fault.cause, fault.denial), (cause, denial));
            assert_eq!(records.len(), 1);
            assert_eq!(records[0].cause, cause.code());
            assert_eq!(u64::from(records[0].ttyp), ttyp::ATS_TRANSLATION_REQUEST);
        }
    }
}

#[test]
fn faults_by_kind_of_answer() {
    let mut p = Processes::new(World::full(), EN_ATS, 0, true);
    let request = ask(Processes::read());
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    let device = p.world.ddte(DEVICE, 1);
    let process = p.world.pdte(p.directory, 3, p.second, PROCESS, 1);
    let table = p.world.entry(p.table, p.second, request.iova, 1);
    let misconfigured = [
        (device, Cause::DdtEntryMisconfigured),
        (process, Cause::PdtEntryMisconfigured),
        (table, Cause::ReadPageFault),
        (page, Cause::ReadGuestPageFault),
    ];
    for (at, cause) in misconfigured {
        let old = p.world.ram.get(at);
        p.world.ram.set(at, old | 1 << 55);
        ends_with(&mut p.world, request, cause);
        p.world.ram.set(at, old);
    }
    let invalid = [
        (device, Cause::DdtEntryNotValid),
        (process, Cause::PdtEntryNotValid),
        (table, Cause::ReadPageFault),
        (page, Cause::ReadGuestPageFault),
    ];
    for (at, cause) in invalid {
        let old = p.world.ram.get(at);
        p.world.ram.set(at, old & !1);
        ends_with(&mut p.world, request, cause);
        p.world.ram.set(at, old);
    }
    let failing = [
        (device, Cause::DdtEntryLoadAccessFault, Cause::DdtDataCorruption),
        (process, Cause::PdtEntryLoadAccessFault, Cause::PdtDataCorruption),
        (table, Cause::ReadAccessFault, Cause::PtDataCorruption),
        (page, Cause::ReadAccessFault, Cause::PtDataCorruption),
    ];
    for (at, access, corrupt) in failing {
        for (kind, cause) in [(Failing::Read, access), (Failing::Corrupt, corrupt)] {
            p.world.ram.failures = vec![(at..at + 8, kind)];
            ends_with(&mut p.world, request, cause);
        }
        p.world.ram.failures.clear();
    }
    ends_with(&mut p.world, privileged(request), Cause::TransactionTypeDisallowed);
    p.world.mode(iommu_mode::BARE);
    ends_with(&mut p.world, request, Cause::TransactionTypeDisallowed);
    p.world.mode(iommu_mode::OFF);
    ends_with(&mut p.world, request, Cause::AllInboundTransactionsDisallowed);
}

#[test]
fn msi_faults_by_kind_of_answer() {
    let mut world = World::full();
    let files = with_interrupt_files(&mut world, EN_ATS);
    let request = ask(read(DEVICE, 0x8000_0000));
    ends_with(&mut world, request, Cause::MsiPteNotValid);
    world.ram.set(files, 1);
    ends_with(&mut world, request, Cause::MsiPteMisconfigured);
    world.ram.failures = vec![(files..files + 8, Failing::Read)];
    ends_with(&mut world, request, Cause::MsiPteLoadAccessFault);
    world.ram.failures = vec![(files..files + 8, Failing::Corrupt)];
    ends_with(&mut world, request, Cause::MsiPtDataCorruption);
}

#[test]
fn permissions_that_are_not_there_are_left_out() {
    let (r, w, x) = (pte::R.mask(), pte::W.mask(), pte::X.mask());
    let legal = [r, r | w, x, r | x, r | w | x];
    for first in legal {
        for second_bits in legal {
            for asked in 0..4 {
                let mut p = Processes::new(World::full(), EN_ATS, 0, true);
                let second = p.second.expect("two stages");
                let page = p.world.entry(second, None, p.page, 0);
                p.world.ram.set(p.leaf, leaf(p.page) & !0xe | first);
                p.world.ram.set(page, leaf(PAGE) & !0xe | second_bits);
                let request =
                    Request { exec: asked & 1 != 0, write: asked & 2 != 0, ..ask(Processes::read()) };
                let translation = p.world.success(request);
                let both = first & second_bits;
                let expected = (both & r != 0, both & w != 0, both & r != 0 && both & x != 0 && request.exec);
                assert_eq!((translation.read, translation.write, translation.exec), expected, "{request:?}");
                assert!(p.world.faults().is_empty());
            }
        }
    }
}

#[test]
fn privilege() {
    for user in [false, true] {
        for sum in [false, true] {
            let ta = pc::ta::ENS.mask() | if sum { pc::ta::SUM.mask() } else { 0 };
            let mut p = Processes::new(World::full(), EN_ATS, ta, false);
            p.world.ram.set(p.leaf, leaf(PAGE) & !pte::U.mask() | pte::U.of(user.into()));
            let request = exec(ask(Processes::read()));
            let as_user = p.world.success(request);
            assert_eq!((as_user.read, as_user.write, as_user.exec), (user, user, user));
            let as_supervisor = p.world.success(privileged(request));
            let granted = !user || sum;
            assert_eq!((as_supervisor.read, as_supervisor.write), (granted, granted));
            // Never from a user page.
            assert_eq!(as_supervisor.exec, !user);
            let privilege = |response: pasidon_spec::request::Translation| response.ats.unwrap().privileged;
            assert_eq!((privilege(as_user), privilege(as_supervisor)), (false, true));
        }
    }
}

#[test]
fn what_the_completion_says() {
    let mut p = Processes::new(World::full(), EN_ATS | dc::tc::DPE.mask(), 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    let plain = AtsCompletion::default();
    let request = ask(Processes::read());
    assert_eq!(p.world.success(request).ats, Some(plain));
    // Global, from any level of the first stage, of requests that have a PASID.
    let upper = p.world.entry(p.table, p.second, request.iova, 2);
    for at in [p.leaf, upper] {
        let old = p.world.ram.get(at);
        p.world.ram.set(at, old | pte::G.mask());
        assert_eq!(p.world.success(request).ats, Some(AtsCompletion { global: true, ..plain }));
        p.world.ram.set(at, old);
    }
    p.world.ram.set(page, leaf(PAGE) | pte::G.mask());
    assert_eq!(p.world.success(request).ats, Some(plain), "the second stage has none");
    // A request that was not asked for a translation has no completion.
    assert_eq!(p.world.success(Processes::read()).ats, None);
    // CXL.io, by memory type, of CXL devices.
    for memory_type in [pbmt::PMA, pbmt::NC, pbmt::IO] {
        p.world.ram.set(page, leaf(PAGE) | pte::PBMT.of(memory_type));
        assert_eq!(p.world.success(request).ats, Some(plain));
        let cxl = p.world.success(Request { cxl: true, ..request });
        let expected = AtsCompletion { cxl_io: memory_type != pbmt::PMA, ..plain };
        assert_eq!((cxl.ats, u64::from(cxl.pbmt)), (Some(expected), memory_type));
    }
    // The size, encoded.
    let entry = p.world.entry(second, None, 3 << 30, 2);
    p.world.ram.set(entry, leaf(5 << 30));
    p.world.map(p.table, p.second, 1 << 30, 1, leaf(3 << 30));
    let translation = p.world.success(Request { iova: 1 << 30 | 0x5678, ..request });
    assert_eq!((translation.spa, translation.page_shift), (5 << 30 | 0x5678, 21));
    assert_eq!(translation.encoded_page(), ((5 << 18) | 0xff, true));
    assert_eq!(p.world.success(request).encoded_page(), (PAGE >> 12, false));
}

#[test]
fn guest_addresses() {
    let mut p = Processes::new(World::full(), EN_ATS | T2GPA, 0, true);
    let second = p.second.expect("two stages");
    let page = p.world.entry(second, None, p.page, 0);
    let answer = p.world.success(Request { cxl: true, ..ask(Processes::read()) });
    assert_eq!(answer.spa, p.page | 0xabc);
    assert!(answer.ats.expect("an ATS completion").cxl_io);
    // Translated requests then pass the second stage.
    assert_eq!(p.world.success(translated(read(DEVICE, answer.spa))).spa, PAGE | 0xabc);
    p.world.ram.set(page, leaf(PAGE) & !pte::W.mask());
    let request = write(translated(read(DEVICE, answer.spa)));
    p.world.faults();
    let fault = p.world.fault(request);
    assert_eq!((fault.cause, fault.iotval2), (Cause::WriteAmoGuestPageFault, answer.spa & !3));
    assert_eq!(u64::from(p.world.faults()[0].ttyp), ttyp::TRANSLATED_WRITE);
    assert!(!p.world.success(ask(write(Processes::read()))).write);
    // Without T2GPA they need no translation.
    let mut p = Processes::new(World::full(), EN_ATS, 0, true);
    assert_eq!(p.world.success(ask(Processes::read())).spa, PAGE | 0xabc);
    let translation = p.world.success(translated(read(DEVICE, 0xdead_beef)));
    assert_eq!((translation.spa, translation.write, translation.exec), (0xdead_beef, true, true));
}

#[test]
fn interrupt_files() {
    let mut world = World::full();
    let files = with_interrupt_files(&mut world, EN_ATS);
    world.ram.set(files, basic::V.of(1) | basic::M.of(3) | basic::PPN.of(0x777));
    world.ram.set(files + 16, mrif::V.of(1) | mrif::M.of(1) | mrif::ADDRESS.of(0x999));
    let request = Request { cxl: true, ..exec(ask(read(DEVICE, 0x8000_0000))) };
    let writes = world.ram.writes;
    let basic_mode = world.success(request);
    assert_eq!(basic_mode.spa, 0x77_7000);
    assert_eq!((basic_mode.read, basic_mode.write, basic_mode.exec), (true, true, false));
    let completion = AtsCompletion { cxl_io: true, ..AtsCompletion::default() };
    assert_eq!(basic_mode.ats, Some(completion));
    let resident = world.success(Request { iova: 0x8000_1000, ..request });
    assert_eq!((resident.read, resident.write, resident.exec, resident.page_shift), (true, true, false, 12));
    assert_eq!(resident.ats, Some(AtsCompletion { untranslated_only: true, ..completion }));
    assert_eq!(world.ram.writes, writes, "only writes are MSIs");
}

#[test]
fn accessed_and_dirty_of_translation_requests() {
    let (a, d) = (pte::A.mask(), pte::D.mask());
    let mut p = Processes::new(World::full(), EN_ATS | dc::tc::SADE.mask(), 0, false);
    let clean = leaf(PAGE) & !(a | d);
    for (request, set) in [(ask(Processes::read()), a), (ask(write(Processes::read())), a | d)] {
        p.world.ram.set(p.leaf, clean);
        let translation = p.world.success(request);
        assert_eq!(p.world.ram.get(p.leaf), clean | set);
        assert_eq!(translation.write, set & d != 0, "a clean page is not writable");
    }
    // Asked for, but not permitted.
    p.world.ram.set(p.leaf, clean & !pte::W.mask());
    assert!(!p.world.success(ask(write(Processes::read()))).write);
    assert_eq!(p.world.ram.get(p.leaf), clean & !pte::W.mask() | a);
    // Without updates a clear bit is a page fault, and so no permission.
    let mut p = Processes::new(World::full(), EN_ATS, 0, false);
    p.world.ram.set(p.leaf, clean);
    ends_with(&mut p.world, ask(Processes::read()), Cause::ReadPageFault);
    p.world.ram.set(p.leaf, clean | a);
    ends_with(&mut p.world, ask(write(Processes::read())), Cause::ReadPageFault);
    assert!(p.world.success(ask(Processes::read())).read);
}

/// Where a page can lead: inside, and beyond a physical address space of 40 bits.
const BEYOND: u64 = 1 << 40;

fn narrow() -> World {
    World::new(Parameters::new(reg::capabilities::PAS.set(Parameters::full_capabilities(), 40)))
}

/// Without updates, a leaf whose A bit is clear is a page fault of whoever uses it: whatever a translation request is granted, and
/// before the page is looked at.
#[test]
fn a_clear_accessed_bit_is_a_fault_whatever_is_granted() {
    let (r, w, x, a) = (pte::R.mask(), pte::W.mask(), pte::X.mask(), pte::A.mask());
    for bits in [r, r | w, x, r | x, r | w | x] {
        for page in [PAGE, BEYOND] {
            for asked in 0..4 {
                let request =
                    |request| Request { exec: asked & 1 != 0, write: asked & 2 != 0, ..ask(request) };
                let by_type = |exec, read| if asked & 1 != 0 { exec } else { read };
                let clean = leaf(page) & !(0xe | a) | bits;
                let mut host = Host::new(narrow(), EN_ATS);
                host.world.ram.set(host.leaf, clean);
                let cause = by_type(Cause::InstructionPageFault, Cause::ReadPageFault);
                ends_with(&mut host.world, request(Host::read()), cause);
                assert_eq!(host.world.ram.get(host.leaf), clean);

                let mut p = Processes::new(narrow(), EN_ATS, 0, true);
                let at = p.world.entry(p.second.expect("two stages"), None, p.page, 0);
                p.world.ram.set(at, clean);
                let cause = by_type(Cause::InstructionGuestPageFault, Cause::ReadGuestPageFault);
                ends_with(&mut p.world, request(Processes::read()), cause);
                assert_eq!(p.world.ram.get(at), clean);

                // With A set, the page is what counts.
                let at = if page == BEYOND { host.leaf } else { continue };
                host.world.ram.set(at, clean | a);
                let cause = by_type(Cause::InstructionAccessFault, Cause::ReadAccessFault);
                ends_with(&mut host.world, request(Host::read()), cause);
            }
        }
    }
}

/// A leaf that gives a translation request nothing is not updated: without R, for the wrong privilege, or without SUM.
#[test]
fn a_leaf_that_grants_nothing_is_not_updated() {
    let (r, x, u) = (pte::R.mask(), pte::X.mask(), pte::U.mask());
    let (a, d) = (pte::A.mask(), pte::D.mask());
    let asked = |supervisor| Request { privileged: supervisor, ..exec(ask(write(Processes::read()))) };
    for (cleared, supervisor, updated) in [
        (r | pte::W.mask(), false, 0),
        (u, false, 0),
        (0, true, 0),
        (u, true, a | d),
        (0, false, a | d),
        (x, false, a | d),
        (pte::W.mask(), false, a),
    ] {
        let tc = EN_ATS | dc::tc::SADE.mask();
        let mut p = Processes::new(World::full(), tc, pc::ta::ENS.mask(), false);
        let clean = leaf(PAGE) & !(a | d | cleared);
        p.world.ram.set(p.leaf, clean);
        let translation = p.world.success(asked(supervisor));
        assert_eq!(p.world.ram.get(p.leaf), clean | updated, "{cleared:#x} {supervisor}");
        assert_eq!((translation.read, translation.write), (updated != 0, updated & d != 0));
    }
}

/// Of a second-stage leaf, A is set if both stages grant R, and D if write permission is asked for and both grant W: D is exact.
#[test]
fn the_second_stage_is_updated_by_what_both_grant() {
    let (r, w, x) = (pte::R.mask(), pte::W.mask(), pte::X.mask());
    let (a, d) = (pte::A.mask(), pte::D.mask());
    let legal = [r, r | w, x, r | x, r | w | x];
    for (first, second_bits) in legal.into_iter().flat_map(|first| legal.map(|second| (first, second))) {
        for asks in [false, true] {
            for gade in [false, true] {
                for clean in [a | d, d, 0] {
                    let tc = EN_ATS | if gade { dc::tc::GADE.mask() } else { 0 };
                    let mut p = Processes::new(World::full(), tc, 0, true);
                    let at = p.world.entry(p.second.expect("two stages"), None, p.page, 0);
                    let before = leaf(PAGE) & !(0xe | clean) | second_bits;
                    p.world.ram.set(p.leaf, leaf(p.page) & !0xe | first);
                    p.world.ram.set(at, before);
                    let request = Request { write: asks, ..ask(Processes::read()) };
                    let both = first & second_bits;
                    let writes = asks && both & w != 0;
                    let faults = clean & a != 0 || (clean & d != 0 && writes);
                    if !gade && faults {
                        ends_with(&mut p.world, request, Cause::ReadGuestPageFault);
                        assert_eq!(p.world.ram.get(at), before);
                        continue;
                    }
                    let translation = p.world.success(request);
                    let due = if both & r == 0 {
                        0
                    } else if writes {
                        a | d
                    } else {
                        a
                    };
                    let after = if gade { before | due } else { before };
                    let case = format!("{first:#x} {second_bits:#x} {asks} {gade} {clean:#x}");
                    assert_eq!(p.world.ram.get(at), after, "{case}");
                    let dirty = after & d != 0;
                    assert_eq!(
                        (translation.read, translation.write),
                        (both & r != 0, both & w != 0 && dirty),
                        "{case}"
                    );
                }
            }
        }
    }
    // Other accesses go on only if they are granted, and are exact as before.
    let mut p = Processes::new(World::full(), EN_ATS | dc::tc::GADE.mask(), 0, true);
    let at = p.world.entry(p.second.expect("two stages"), None, p.page, 0);
    let clean = leaf(PAGE) & !(a | d);
    for (request, due) in
        [(Processes::read(), a), (exec(Processes::read()), a), (write(Processes::read()), a | d)]
    {
        p.world.ram.set(at, clean);
        p.world.success(request);
        assert_eq!(p.world.ram.get(at), clean | due);
    }
}

fn page_request() -> PageRequest {
    PageRequest {
        did: 0x12_0034,
        pv: true,
        pid: 9,
        read: true,
        last: true,
        index: 0x42,
        ..PageRequest::default()
    }
}

/// What the IOMMU itself answers: the status, and the PASID.
type Answer = Option<(u64, Option<u32>)>;

fn answer(world: &mut World, request: &PageRequest) -> (Result<(), Refusal>, Answer) {
    let result = world.golden.page_request(&mut world.ram, request);
    world.run();
    let messages = world.golden.take_messages();
    assert!(messages.len() <= 1);
    let answer = messages.first().map(|message| match *message {
        Message::GroupResponse { rid, dseg, pid, body } => {
            assert_eq!((rid, dseg), (0x34, Some(0x12)));
            assert_eq!(body, PageRequestGroupResponse { index: 0x42, code: body.code });
            (body.code.into(), pid)
        }
        Message::Invalidation { .. } => panic!("{message:?}"),
    });
    (result, answer)
}

#[test]
fn page_requests_that_the_iommu_answers() {
    use response_code::{INVALID_REQUEST, RESPONSE_FAILURE, SUCCESS};
    let request = page_request();
    let enabled = EN_ATS | dc::tc::EN_PRI.mask();
    for prpr in [false, true] {
        let tc = enabled | if prpr { dc::tc::PRPR.mask() } else { 0 };
        let prepare = |tc: Option<u64>| {
            let mut world = World::full();
            if let Some(tc) = tc {
                world.device(request.did, device_context(tc));
            }
            world
        };
        let pid = prpr.then_some(9);
        let faults: Vec<(World, Cause, u64, Option<u32>)> = vec![
            {
                let mut world = prepare(Some(tc));
                world.mode(iommu_mode::OFF);
                (world, Cause::AllInboundTransactionsDisallowed, RESPONSE_FAILURE, Some(9))
            },
            {
                let mut world = prepare(Some(tc));
                world.mode(iommu_mode::BARE);
                (world, Cause::TransactionTypeDisallowed, INVALID_REQUEST, None)
            },
            {
                let mut world = prepare(Some(tc));
                world.mode(iommu_mode::LVL2);
                (world, Cause::TransactionTypeDisallowed, INVALID_REQUEST, None)
            },
            (prepare(None), Cause::DdtEntryNotValid, RESPONSE_FAILURE, Some(9)),
            (prepare(Some(0)), Cause::TransactionTypeDisallowed, INVALID_REQUEST, None),
            (prepare(Some(EN_ATS)), Cause::TransactionTypeDisallowed, INVALID_REQUEST, None),
            (prepare(Some(1 << 63)), Cause::DdtEntryMisconfigured, RESPONSE_FAILURE, Some(9)),
        ];
        for (mut world, cause, status, pid) in faults {
            let expected = (Err(Refusal::Fault(cause)), Some((status, pid)));
            assert_eq!(answer(&mut world, &request), expected);
            let record = FaultRecord {
                cause: cause.code(),
                ttyp: ttyp::MESSAGE_REQUEST as u8,
                did: request.did,
                pv: true,
                pid: 9,
                iotval: code::PAGE_REQUEST,
                ..FaultRecord::default()
            };
            assert_eq!(world.faults(), [record]);
            // Who waits for no answer gets none.
            for silent in [PageRequest { last: false, ..request }, PageRequest { read: false, ..request }] {
                assert_eq!(answer(&mut world, &silent).1, None);
            }
        }
        // Errors of the queue: no fault is recorded.
        let mut world = prepare(Some(tc));
        for _ in 0..ENTRIES - 1 {
            assert_eq!(answer(&mut world, &request), (Ok(()), None));
        }
        let overflow = (Err(Refusal::QueueOverflow), Some((SUCCESS, pid)));
        assert_eq!(answer(&mut world, &request), overflow);
        assert_eq!(answer(&mut world, &PageRequest { pv: false, ..request }).1, Some((SUCCESS, None)));
        world.write(&reg::pqcsr::REG, 0);
        let off = (Err(Refusal::QueueOff), Some((RESPONSE_FAILURE, Some(9))));
        assert_eq!(answer(&mut world, &request), off);
        assert_eq!(answer(&mut world, &PageRequest { last: false, ..request }).1, None);
        assert!(world.faults().is_empty());
    }
}

#[test]
fn dtf_holds_faults_of_messages_back() {
    let mut world = World::full();
    let request = page_request();
    world.device(request.did, device_context(dc::tc::DTF.mask()));
    let (result, response) = answer(&mut world, &request);
    assert_eq!(result, Err(Refusal::Fault(Cause::TransactionTypeDisallowed)));
    assert!(response.is_some());
    assert!(world.faults().is_empty());
}

#[test]
fn completions_of_devices_that_may_not_use_ats() {
    let mut world = World::full();
    let completion = InvalidationCompletion { rid: 0x34, dseg: Some(0x12), itags: 1, count: 1 };
    for (tc, cause) in [(None, Cause::DdtEntryNotValid), (Some(0), Cause::TransactionTypeDisallowed)] {
        if let Some(tc) = tc {
            world.device(0x12_0034, device_context(tc));
        }
        assert!(!world.golden.invalidation_completion(&mut world.ram, &completion));
        let records = world.faults();
        assert_eq!((records.len(), records[0].cause), (1, cause.code()));
        assert_eq!(records[0].iotval, code::INVALIDATION_COMPLETION);
    }
}

#[test]
fn translation_requests_are_not_remembered() {
    let mut p = Processes::new(World::caching(), EN_ATS, 0, true);
    p.world.success(ask(Processes::read()));
    p.world.ram.set(p.leaf, 0);
    assert_eq!(p.world.fault(Processes::read()).cause, Cause::ReadPageFault);
    assert!(matches!(p.world.translate(ask(Processes::read())), Response::Success(_)));
}
