//! What software may choose, and what `capabilities` says of it. (Sections "IOMMU capabilities", "Features-control register"
//! and "IOMMU QoS ID".)

use crate::scene::{DID, Scene, VA};
use pasidon_spec::ddt::dc;
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::SV39;
use pasidon_spec::registers::{capabilities as cap, fctl, igs, iommu_qosid};
use pasidon_tests::tables::{bits, entry};
use pasidon_tests::{Query, Rig};

/// `IGS`, `fctl` after reset, and the bits of `fctl` that can be written.
const CHOICES: [(&str, u64, u64, u64); 4] = [
    ("tiny", igs::WSI, 0b010, 0b000),
    ("messages", igs::MSI, 0b000, 0b000),
    ("default", igs::BOTH, 0b010, 0b010),
    ("full", igs::BOTH, 0b010, 0b111),
];

#[test]
fn fctl_holds_what_the_design_can_do_both_ways() {
    for (name, igs, reset, writable) in CHOICES {
        let mut rig = Rig::new(name, 1, 1);
        let caps = rig.read(&cap::REG);
        assert_eq!(cap::IGS.get(caps), igs, "{name}");
        assert_eq!(cap::END.get(caps), writable & 1, "{name}");
        assert_eq!(rig.read(&fctl::REG), reset, "{name}");
        for value in [u64::MAX, 0, fctl::BE.mask(), fctl::WSI.mask(), fctl::GXL.mask()] {
            rig.write(&fctl::REG, value);
            let expected = (reset & !writable) | (value & writable);
            assert_eq!(rig.read(&fctl::REG), expected, "{name}: {value:#x} was written");
        }
        // The custom register beside it shares the doubleword.
        rig.write_at(u32::from(fctl::REG.offset) + 4, u64::MAX, 4);
        assert_eq!(rig.read_at(fctl::REG.offset.into(), 8), (reset & !writable) | (4 & writable), "{name}");
    }
}

#[test]
fn identifiers_of_the_own_accesses_are_there_with_qosid() {
    for name in ["tiny", "observed", "full"] {
        let mut rig = Rig::new(name, 1, 1);
        let there = rig.design.qosid;
        let caps = rig.read(&cap::REG);
        assert_eq!(cap::QOSID.is_set(caps), there, "{name}");
        for value in [u64::MAX, iommu_qosid::RCID.of(0x5a5) | iommu_qosid::MCID.of(0xa5a), 0] {
            rig.write(&iommu_qosid::REG, value);
            let kept = value & (iommu_qosid::RCID.mask() | iommu_qosid::MCID.mask());
            assert_eq!(rig.read(&iommu_qosid::REG), if there { kept } else { 0 }, "{name}");
        }
    }
}

/// Directories are read, and queues read and written, under the IOMMU's own ids; what belongs to the device under the device's.
#[test]
fn each_access_of_memory_has_the_ids_of_its_owner() {
    let mut s = Scene::new("observed");
    let (own, device) = ((0x123, 0x456), (0x789, 0xabc));
    s.rig.write(&iommu_qosid::REG, iommu_qosid::RCID.of(own.0) | iommu_qosid::MCID.of(own.1));
    let mut context = s.device_context();
    context.ta |= dc::ta::RCID.of(device.0) | dc::ta::MCID.of(device.1);
    context.tc |= dc::tc::SADE.of(1);
    s.rig.set_dc(DID, context);
    let leaf = s.rig.pte_slot(&SV39, s.root, VA, 0);
    s.rig.store(leaf, entry(s.frame, bits::ALL & !bits::A & !bits::D));
    s.rig.allow_writes(leaf..leaf + 8);
    s.rig.invalidate_all();
    let directory = s.rig.ddt_slot(DID, 0);
    let queues = [s.rig.commands.address(), s.rig.faults.address()].map(|base| base >> 12);

    let query = s.query().write();
    let good = s.rig.submit(0, query);
    let bad = s.rig.submit(1, Query { iova: VA + 0x10_0000, ..query });
    let (mut reads, mut writes) = (vec![], vec![]);
    while s.rig.unanswered() > 0 {
        let axi = s.rig.out().axi;
        reads.extend((axi.arvalid != 0).then_some((axi.araddr, (axi.arrcid, axi.armcid))));
        writes.extend((axi.awvalid != 0).then_some((axi.awaddr, (axi.awrcid, axi.awmcid))));
        s.rig.step();
    }
    assert!(s.rig.answer(good).is_some_and(|answer| answer.is_success()));
    assert_eq!(
        s.rig.answer(bad).map(|answer| answer.cause),
        Some(u64::from(Cause::WriteAmoPageFault.code()))
    );
    let is_own = |address: u64| address & !31 == directory || queues.contains(&(address >> 12));
    for (address, ids) in reads.iter().chain(&writes) {
        assert_eq!(*ids, if is_own(*address) { own } else { device }, "{address:#x}");
    }
    assert!(reads.iter().any(|(address, _)| is_own(*address)) && reads.iter().any(|(at, _)| *at == leaf));
    assert!(writes.iter().any(|(address, _)| is_own(*address)), "a fault record");
    assert!(writes.iter().any(|(address, _)| *address == leaf), "an update of A and D");
}
