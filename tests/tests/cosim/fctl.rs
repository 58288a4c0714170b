//! What software may choose, and what `capabilities` says of it. (Sections "IOMMU capabilities", "Features-control register"
//! and "IOMMU QoS ID".)

use pasidon_spec::registers::{capabilities as cap, fctl, igs, iommu_qosid};
use pasidon_tests::Rig;

/// `IGS`, `fctl` after reset, and the bits of `fctl` that can be written.
const CHOICES: [(&str, u64, u64, u64); 4] = [
    ("tiny", igs::WSI, 0b010, 0b000),
    ("messages", igs::MSI, 0b000, 0b000),
    ("default", igs::WSI, 0b010, 0b000),
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
    for name in ["tiny", "full"] {
        let mut rig = Rig::new(name, 1, 1);
        let there = rig.design.qosid;
        let caps = rig.read(&cap::REG);
        assert_eq!(cap::QOSID.is_set(caps), there, "{name}");
        for value in [u64::MAX, iommu_qosid::RCID.of(0x5a5) | iommu_qosid::MCID.of(0xa5a), 0] {
            rig.write(&iommu_qosid::REG, value);
            let kept = value & (iommu_qosid::RCID.mask() | iommu_qosid::MCID.mask());
            assert_eq!(rig.read(&iommu_qosid::REG), if there { kept } else { 0 }, "{name}");
            if there {
                let axi = rig.out().axi;
                let ids = iommu_qosid::RCID.of(axi.awrcid) | iommu_qosid::MCID.of(axi.awmcid);
                assert_eq!(ids, kept, "{name}: on the memory port");
            }
        }
    }
}
