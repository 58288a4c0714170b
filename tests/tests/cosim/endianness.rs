//! Byte order of what is in memory: directories of devices, the second stage and queues follow `fctl.BE`; process directories and the
//! first stage follow `DC.tc.SBE`. (Section "Endianness of in-memory data structures".)

use pasidon_spec::command::{Command, Store};
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::{Cause, FaultRecord};
use pasidon_spec::page_table::{SV39, SV39X4, pte};
use pasidon_spec::pdt::pdtp_mode;
use pasidon_spec::registers::fctl;
use pasidon_spec::request::Request;
use pasidon_tests::guest::{ALL, DID, FAULTS, GUEST, Guest, IOVA, entry};

const PASID: u32 = 0x1234;

/// A process whose page at `IOVA` has neither A nor D set, in tables of these byte orders.
fn guest(be: bool, sbe: bool) -> (Guest, u64, u64) {
    let mut g = Guest::new("full", &SV39, &SV39X4);
    g.context.tc |= dc::tc::SADE.mask() | dc::tc::GADE.mask();
    let page = g.guest_page();
    g.map(IOVA, 0, entry(page, ALL & !pte::A.mask() & !pte::D.mask()));
    let leaf = g.slot(IOVA, 0);
    g.add_process(pdtp_mode::PD20, PASID);
    let (second, guests) = g.tables();
    for (swapped, slots) in [(be, second), (sbe, guests)] {
        for slot in slots.into_iter().filter(|_| swapped) {
            let value = g.load(slot);
            g.store(slot, value.swap_bytes());
        }
    }
    g.fctl = fctl::BE.of(be.into());
    g.context.tc |= dc::tc::SBE.of(sbe.into());
    (g, page, leaf)
}

fn ordered(big: bool, value: u64) -> u64 {
    if big { value.swap_bytes() } else { value }
}

#[test]
fn each_structure_has_the_byte_order_of_its_owner() {
    for (be, sbe) in [(false, true), (true, false), (true, true)] {
        let what = format!("BE {be}, SBE {sbe}");
        let (mut g, page, leaf) = guest(be, sbe);
        let request = |iova| Request { process_id: Some(PASID), ..Guest::write(iova) };
        let translation = g.expect(&what, request(IOVA + 0x123));
        assert_eq!(translation.spa, (page & !GUEST) | 0x123, "{what}");

        // The update of A and D is an access to the first stage.
        let updated = ordered(sbe, g.load(leaf));
        assert_eq!(updated, entry(page, ALL), "{what}: the entry");

        // Records and commands are in queues.
        assert!(g.ask(&what, request(IOVA + 0x1000)).fault().is_some(), "{what}");
        let record: Vec<u64> = (0..4).map(|i| ordered(be, g.load(FAULTS + 8 * i))).collect();
        let record = FaultRecord::decode(record.try_into().expect("four doublewords"));
        assert_eq!(
            (record.cause, record.did, record.iotval),
            (Cause::WriteAmoPageFault.code(), DID, IOVA + 0x1000),
            "{what}"
        );
        let fence = Command::IofenceC {
            pr: true,
            pw: true,
            wsi: false,
            store: Some(Store { address: 0x13_0000, data: 0x1234_5678 }),
        };
        g.execute(&[fence]);
        let stored = g.load(0x13_0000);
        assert_eq!(stored, if be { 0x7856_3412 } else { 0x1234_5678 }, "{what}: the data of the fence");
    }
}

#[test]
fn tables_in_the_other_byte_order_are_not_understood() {
    let (mut g, ..) = guest(false, true);
    g.context.tc &= !dc::tc::SBE.mask();
    let request = Request { process_id: Some(PASID), ..Guest::write(IOVA) };
    g.expect_fault("SBE is wrong", request, Cause::PdtEntryNotValid, 0);
}
