//! Whatever is encoded is decoded again, for random values.

mod common;

use common::check;
use pasidon_spec::command::{Command, Range, Store};
use pasidon_spec::ddt::DeviceContext;
use pasidon_spec::fault::FaultRecord;
use pasidon_spec::field::{Access, Field};
use pasidon_spec::message::{InvalidationRequest, PageRequestGroupResponse};
use pasidon_spec::page_request::PageRequest;
use pasidon_spec::{fault, range};
use proptest::option;
use proptest::prelude::*;

const ID20: u32 = 1 << 20;
const ID24: u32 = 1 << 24;
const PAGES: u64 = 1 << 52;

fn ranges() -> impl Strategy<Value = Range> {
    (0..PAGES, any::<bool>(), any::<bool>()).prop_map(|(page, napot, non_leaf)| Range {
        page,
        napot,
        non_leaf,
    })
}

fn commands() -> impl Strategy<Value = Command> {
    prop_oneof![
        (option::of(any::<u16>()), option::of(0..ID20), option::of(ranges()))
            .prop_map(|(gscid, pscid, range)| Command::IotinvalVma { gscid, pscid, range }),
        option::of((any::<u16>(), option::of(ranges()))).prop_map(|guest| Command::IotinvalGvma { guest }),
        (any::<[bool; 3]>(), option::of((any::<u64>(), any::<u32>()))).prop_map(|([pr, pw, wsi], store)| {
            let store = store.map(|(address, data)| Store { address: address & !3, data });
            Command::IofenceC { pr, pw, wsi, store }
        }),
        option::of(0..ID24).prop_map(|did| Command::IodirInvalDdt { did }),
        (0..ID24, 0..ID20).prop_map(|(did, pid)| Command::IodirInvalPdt { did, pid }),
        (option::of(0..ID20), option::of(any::<u8>()), any::<u16>(), any::<u64>())
            .prop_map(|(pid, dseg, rid, payload)| Command::AtsInval { pid, dseg, rid, payload }),
        (option::of(0..ID20), option::of(any::<u8>()), any::<u16>(), any::<u64>())
            .prop_map(|(pid, dseg, rid, payload)| Command::AtsPrgr { pid, dseg, rid, payload }),
    ]
}

#[test]
fn fields_hold_what_was_set() {
    let fields = (0u8..64).prop_flat_map(|lo| (Just(lo), 1..=64 - lo));
    check((fields, any::<u64>(), any::<u64>()), |((lo, width), word, value)| {
        let field = Field { name: "f", lo, width, access: Access::RW, reset: 0, doc: "" };
        let changed = field.set(word, value);
        prop_assert_eq!(field.get(changed), value & field.max());
        prop_assert_eq!(changed & !field.mask(), word & !field.mask());
        prop_assert_eq!(field.set(changed, field.get(word)), word);
        prop_assert_eq!(field.get(field.of(value)), value & field.max());
        prop_assert_eq!(field.is_set(word), field.get(word) != 0);
        prop_assert_eq!(field.mask().count_ones(), u32::from(width));
        Ok(())
    });
}

#[test]
fn commands_round_trip() {
    check(commands(), |command| {
        prop_assert_eq!(Command::decode(command.encode()), Ok(command));
        Ok(())
    });
}

#[test]
fn decoding_is_total_and_stable() {
    // Random bits in the operands of a likely opcode: decoding must not panic, and what it accepts must encode to a
    // command that means the same.
    check((0u64..6, any::<[u64; 2]>(), any::<bool>()), |(opcode, [d0, d1], sparse)| {
        let mask = if sparse { 0x0fff_f007_ffff_f480 } else { !0x7f };
        if let Ok(command) = Command::decode([(d0 & mask & !0x7f) | opcode, d1]) {
            prop_assert_eq!(Command::decode(command.encode()), Ok(command));
        }
        Ok(())
    });
}

#[test]
fn fault_records_round_trip() {
    let records = (0..4096u16, 0..64u8, 0..ID24, 0..ID20, any::<[bool; 2]>(), any::<[u64; 2]>());
    check(records, |(cause, ttyp, did, pid, [pv, privileged], [iotval, iotval2])| {
        let record = FaultRecord { cause, ttyp, did, pv, pid, privileged, iotval, iotval2 };
        let dwords = record.encode();
        prop_assert_eq!(FaultRecord::decode(dwords), record);
        prop_assert_eq!(u64::from(cause), fault::record::CAUSE.get(dwords[0]));
        prop_assert_eq!(dwords[1], 0);
        Ok(())
    });
}

#[test]
fn page_requests_round_trip() {
    let requests = (0..ID24, 0..ID20, 0..512u16, 0..PAGES, any::<[bool; 6]>());
    check(requests, |(did, pid, index, page, [pv, privileged, execute, read, write, last])| {
        let request = PageRequest { did, pv, pid, privileged, execute, read, write, last, index, page };
        prop_assert_eq!(PageRequest::decode(request.encode()), request);
        prop_assert!(!(request.is_stop_marker() && request.needs_response()));
        prop_assert_eq!(request.is_stop_marker() || request.needs_response(), last);
        Ok(())
    });
}

#[test]
fn messages_round_trip() {
    check((0..PAGES, any::<[bool; 2]>(), 0..512u16, 0..16u8), |(page, [global, napot], index, code)| {
        let request = InvalidationRequest { global, page, napot };
        prop_assert_eq!(InvalidationRequest::decode(request.encode()), request);
        let response = PageRequestGroupResponse { index, code };
        prop_assert_eq!(PageRequestGroupResponse::decode(response.encode()), response);
        Ok(())
    });
}

#[test]
fn device_contexts_round_trip() {
    check(any::<[u64; 7]>(), |words| {
        let [tc, iohgatp, ta, fsc, msiptp, msi_addr_mask, msi_addr_pattern] = words;
        let dc = DeviceContext { tc, iohgatp, ta, fsc, msiptp, msi_addr_mask, msi_addr_pattern };
        prop_assert_eq!(DeviceContext::from_extended(dc.extended()), dc);
        prop_assert_eq!(DeviceContext::from_base(dc.base()).base(), dc.base());
        prop_assert_eq!(&dc.extended()[..4], &dc.base()[..]);
        Ok(())
    });
}

#[test]
fn page_ranges_round_trip() {
    check((any::<u64>(), 13u32..=64), |(address, shift)| {
        let page = range::encode(address, shift).expect("a legal size");
        let (first, last) = range::bounds(page);
        prop_assert!(first <= address && address <= last);
        prop_assert_eq!(u128::from(last) - u128::from(first) + 1, 1u128 << shift);
        prop_assert_eq!(first.checked_shr(shift).unwrap_or(0).checked_shl(shift).unwrap_or(0), first);
        let operand = Range { page, napot: true, non_leaf: false };
        prop_assert_eq!(operand.bounds(), (first, last));
        Ok(())
    });
    assert_eq!(range::encode(0, 12), None);
    assert_eq!(range::encode(0, 65), None);
    assert_eq!(Range::page_of(0x1234).bounds(), (0x1000, 0x1fff));
}
