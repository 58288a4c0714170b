//! Page requests of devices. (Sections "Page-Request-Queue (PQ)" and "PCIe ATS Page Request handling".)

use pasidon_cosim::Pace;
use pasidon_spec::command::Command;
use pasidon_spec::ddt::{DeviceContext, dc, iommu_mode};
use pasidon_spec::fault::{Cause, ttyp};
use pasidon_spec::memory::Failure;
use pasidon_spec::message::Message;
use pasidon_spec::message::{PageRequestGroupResponse, code, response_code};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::registers::{capabilities, ddtp, fctl, icvec, ipsr, msi_addr, msi_data, pqcsr, pqh, pqt};
use pasidon_tests::devices::{DID, DIRECTORY, Devices, PAGE_REQUESTS, page_request, willing};
use pasidon_verify::engine::Engine;

const DESIGNS: [&str; 2] = ["endpoint", "endpoints"];

/// The response that the IOMMU itself makes.
fn response(request: &PageRequest, code: u64, pasid: bool) -> Message {
    Message::GroupResponse {
        rid: request.did as u16,
        dseg: None,
        pid: pasid.then_some(request.pid),
        body: PageRequestGroupResponse { index: request.index, code: code as u8 },
    }
}

/// Off, and on again with nothing in it.
fn restart(d: &mut Devices) {
    d.write(&pqcsr::REG, 0);
    d.write(&pqh::REG, 0);
    d.write(&pqcsr::REG, pqcsr::PQEN.of(1) | pqcsr::PIE.of(1));
}

#[test]
fn a_page_request_is_recorded_with_what_it_says() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        assert!(capabilities::ATS.is_set(d.read(&capabilities::REG)), "{name}");
        let with = PageRequest { privileged: true, execute: true, write: true, ..page_request(0x155) };
        let without = PageRequest { pv: false, last: false, ..with };
        let marker = PageRequest { read: false, write: false, ..with };
        d.request(&[with, without, marker]);
        // What belongs to a PASID is not recorded without one.
        let plain = PageRequest { pid: 0, privileged: false, execute: false, ..without };
        assert_eq!(d.page_requests(0), [with, plain, marker], "{name}");
        assert_eq!((d.messages(), d.faults()), (vec![], vec![]), "{name}: software answers");
        assert!(ipsr::PIP.is_set(d.read(&ipsr::REG)), "{name}");
    }
}

#[test]
fn what_keeps_a_request_from_the_queue_decides_the_response() {
    use response_code::{INVALID_REQUEST, RESPONSE_FAILURE, SUCCESS};
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let request = page_request(7);
        let check = |d: &mut Devices, what: &str, code: u64, pasid: bool, cause: Option<Cause>| {
            d.request(&[request]);
            assert_eq!(d.messages(), [response(&request, code, pasid)], "{name}: {what}");
            let faults = d.faults();
            assert_eq!(faults.len(), usize::from(cause.is_some()), "{name}: {what}: {faults:x?}");
            if let (Some(fault), Some(cause)) = (faults.first(), cause) {
                let ids = (fault.did, fault.pv, fault.pid, fault.ttyp, fault.iotval);
                let due = (DID, true, request.pid, ttyp::MESSAGE_REQUEST as u8, code::PAGE_REQUEST);
                assert_eq!((fault.cause, ids), (cause.code(), due), "{name}: {what}");
            }
            // Nothing of it is answered for those that need no answer.
            let silent = PageRequest { last: false, ..request };
            let marker = PageRequest { read: false, ..request };
            d.request(&[silent, marker]);
            assert_eq!(d.messages(), [], "{name}: {what}: no response is due");
            d.faults();
        };
        let tc = willing().tc;
        let disallowed = Some(Cause::TransactionTypeDisallowed);
        let context = |tc: u64| DeviceContext { tc, ..DeviceContext::default() };
        for (what, context, code, pasid, cause) in [
            (
                "EN_PRI is 0",
                context(dc::tc::V.of(1) | dc::tc::EN_ATS.of(1)),
                INVALID_REQUEST,
                false,
                disallowed,
            ),
            ("EN_ATS is 0", context(dc::tc::V.of(1)), INVALID_REQUEST, false, disallowed),
            ("not reported", context(dc::tc::V.of(1) | dc::tc::DTF.of(1)), INVALID_REQUEST, false, None),
            ("V is 0", context(0), RESPONSE_FAILURE, true, Some(Cause::DdtEntryNotValid)),
            (
                "EN_PRI without EN_ATS",
                context(tc & !dc::tc::EN_ATS.mask()),
                RESPONSE_FAILURE,
                true,
                Some(Cause::DdtEntryMisconfigured),
            ),
            (
                "PRPR without EN_PRI",
                context(tc & !dc::tc::EN_PRI.mask()),
                RESPONSE_FAILURE,
                true,
                Some(Cause::DdtEntryMisconfigured),
            ),
        ] {
            d.reset(&context);
            check(&mut d, what, code, pasid, cause);
        }
        d.reset(&willing());
        for (what, failure, cause) in [
            ("the directory cannot be read", Failure::Read, Cause::DdtEntryLoadAccessFault),
            ("the directory is corrupt", Failure::Poison, Cause::DdtDataCorruption),
        ] {
            d.both.inject(DIRECTORY..DIRECTORY + 0x1000, failure);
            d.set_mode(iommu_mode::LVL1);
            d.command(&[Command::IodirInvalDdt { did: None }]);
            d.both.forget_all();
            check(&mut d, what, RESPONSE_FAILURE, true, Some(cause));
            d.both.heal();
            d.both.forget_all();
        }
        d.set_mode(iommu_mode::OFF);
        check(&mut d, "Off", RESPONSE_FAILURE, true, Some(Cause::AllInboundTransactionsDisallowed));
        d.set_mode(iommu_mode::BARE);
        check(&mut d, "Bare", INVALID_REQUEST, false, disallowed);
        d.set_mode(iommu_mode::LVL1);
        d.write(&pqcsr::REG, 0);
        check(&mut d, "the queue is off", RESPONSE_FAILURE, true, None);
        restart(&mut d);
        d.both.inject(PAGE_REQUESTS.address()..PAGE_REQUESTS.address() + 8, Failure::Write);
        check(&mut d, "a memory fault", RESPONSE_FAILURE, true, None);
        assert!(pqcsr::PQMF.is_set(d.read(&pqcsr::REG)) && d.read(&pqt::REG) == 0, "{name}");
        d.both.heal();
        check(&mut d, "after a memory fault", RESPONSE_FAILURE, true, None);
        d.write(&pqcsr::REG, pqcsr::PQEN.of(1) | pqcsr::PQMF.of(1));
        d.request(&[PageRequest { last: false, ..request }; 3]);
        assert_eq!(d.read(&pqt::REG), 3, "{name}");
        check(&mut d, "the queue is full", SUCCESS, true, None);
        assert!(pqcsr::PQOF.is_set(d.read(&pqcsr::REG)), "{name}");
        d.write(&pqh::REG, 3);
        check(&mut d, "the queue has overflowed", SUCCESS, true, None);
        // Without PRPR only a failure has the PASID.
        d.reset(&context(tc & !dc::tc::PRPR.mask()));
        d.request(&[PageRequest { last: false, ..request }; 3]);
        check(&mut d, "full, and PRPR is 0", SUCCESS, false, None);
        d.write(&pqcsr::REG, 0);
        check(&mut d, "off, and PRPR is 0", RESPONSE_FAILURE, true, None);
        let nobody = PageRequest { pv: false, ..request };
        d.request(&[nobody]);
        assert_eq!(d.messages(), [response(&nobody, RESPONSE_FAILURE, false)], "{name}: there is no PASID");
    }
}

#[test]
fn a_device_id_beyond_the_directory_is_an_invalid_request() {
    let mut d = Devices::new("endpoints", &willing());
    // A directory of one level with extended contexts holds 6 bits.
    let far = PageRequest { did: 0x1_23c5, ..page_request(3) };
    d.request(&[far]);
    let body = PageRequestGroupResponse { index: 3, code: response_code::INVALID_REQUEST as u8 };
    let answer = Message::GroupResponse { rid: 0x23c5, dseg: Some(1), pid: None, body };
    assert_eq!(d.messages(), [answer]);
    assert_eq!(d.faults()[0].cause, Cause::TransactionTypeDisallowed.code());
}

#[test]
fn the_queue_wraps_and_overflows_and_starts_again() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        for round in 0..9u16 {
            let head = d.read(&pqh::REG);
            let (a, b) = (page_request(2 * round), page_request(2 * round + 1));
            d.request(&[a, b]);
            assert_eq!(d.page_requests(head), [a, b], "{name}: round {round}");
            let tail = d.read(&pqt::REG);
            d.write(&pqh::REG, tail);
        }
        assert_eq!(d.messages(), [], "{name}");
        let many: Vec<PageRequest> = (0..6).map(page_request).collect();
        d.request(&many);
        assert_eq!(d.messages().len(), 3, "{name}: 3 of 6 have room");
        assert!(pqcsr::PQOF.is_set(d.read(&pqcsr::REG)), "{name}");
        let head = d.read(&pqh::REG);
        assert_eq!(d.page_requests(head), many[..3], "{name}: the first ones");
        // The interrupt's condition lasts as long as the overflow.
        d.write(&ipsr::REG, ipsr::PIP.mask());
        assert!(ipsr::PIP.is_set(d.read(&ipsr::REG)), "{name}");
        restart(&mut d);
        d.write(&ipsr::REG, ipsr::PIP.mask());
        assert_eq!((d.read(&pqt::REG), d.read(&ipsr::REG)), (0, 0), "{name}: nothing is left");
        d.request(&many[..1]);
        assert_eq!(d.page_requests(0), many[..1], "{name}");
    }
}

#[test]
fn nothing_is_lost_or_answered_twice_while_messages_wait() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let pace = d.both.rtl().pace();
        for (response_pauses, request_pauses, memory_pauses) in [(255, 0, 0), (0, 255, 0), (250, 128, 240)] {
            d.both.rtl().set_pace(Pace { response_pauses, request_pauses, memory_pauses, ..pace });
            restart(&mut d);
            let many: Vec<PageRequest> = (0..20).map(page_request).collect();
            d.request(&many);
            assert_eq!(d.page_requests(0), many[..3], "{name}");
            let due: Vec<Message> =
                many[3..].iter().map(|r| response(r, response_code::SUCCESS, true)).collect();
            assert_eq!(d.messages(), due, "{name}: in order");
        }
    }
}

#[test]
fn a_context_that_changes_counts_from_the_invalidation_on() {
    for name in DESIGNS {
        let mut d = Devices::new(name, &willing());
        let request = page_request(1);
        d.request(&[request]);
        d.set_context(DID, &DeviceContext { tc: dc::tc::V.of(1), ..DeviceContext::default() });
        d.command(&[
            Command::IodirInvalDdt { did: Some(DID) },
            Command::IofenceC { pr: true, pw: true, wsi: false, store: None },
        ]);
        d.both.forget_all();
        d.request(&[request]);
        assert_eq!(d.messages(), [response(&request, response_code::INVALID_REQUEST, false)], "{name}");
        assert_eq!(d.read(&pqt::REG), 1, "{name}");
    }
}

#[test]
fn interrupts_of_the_queue_have_their_vector() {
    let mut d = Devices::new("endpoints", &willing());
    d.write(&ddtp::REG, 0);
    let last = u64::from(d.design.vectors) - 1;
    d.write(&icvec::REG, icvec::PIV.of(last));
    d.set_mode(iommu_mode::LVL1);
    d.request(&[page_request(1)]);
    assert_eq!(d.both.wires(), 1 << last, "by wire");
    // By message.
    d.set_mode(iommu_mode::OFF);
    for register in [&pqcsr::REG, &fctl::REG] {
        d.write(register, 0);
    }
    let entry = |register: &pasidon_spec::registers::Register| register.offset + 16 * last as u16;
    for (at, bytes, value) in [(entry(&msi_addr::REG), 8, 0x9_0000), (entry(&msi_data::REG), 4, 0x1234)] {
        d.both.write_register(at, bytes, value).expect("a register");
    }
    d.write(&ipsr::REG, ipsr::PIP.mask());
    d.write(&pqcsr::REG, pqcsr::PQEN.of(1) | pqcsr::PIE.of(1));
    d.set_mode(iommu_mode::LVL1);
    assert_eq!(d.both.load(0x9_0000), Some(0));
    d.request(&[page_request(2)]);
    assert_eq!((d.both.load(0x9_0000), d.both.wires()), (Some(0x1234), 0), "by message");
}
