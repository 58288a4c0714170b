//! Taking over an IOMMU that is in use, and losing one to a reset.

use super::*;
use crate::fake::Access;

/// An IOMMU whose owner has gone without putting anything back, while device 1 goes on reading.
fn abandoned(capabilities: u64) -> Arc<Fake> {
    let fake = Fake::with_capabilities(capabilities);
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let mm = TestMm::new(&fake);
    mm.map(0x1000, TARGET, RW);
    let handle = iommu.bind(1, mm.clone()).unwrap();
    let pasid = Some(handle.pasid().get());
    assert_eq!(fake.dma(1, pasid, 0x1000, Access::Read), Ok(TARGET));
    fake.keep_reading(1, pasid, 0x1000);
    core::mem::forget((handle, mm, iommu));
    fake
}

#[test]
fn nothing_passes_from_when_a_new_owner_has_switched_it_off() {
    for (width, modes) in [(8, 1..=3), (3, 3..=3), (20, 2..=3)] {
        for lowest in modes {
            let fake = abandoned(CAPABILITIES_ATS);
            fake.adjust(|knobs| knobs.modes.retain(|mode| *mode > lowest));
            let taken = Iommu::new(fake.clone(), Config { device_id_width: width, ..config() });
            fake.run_for(100);
            assert_eq!(fake.slipped(), 0, "{width} bits, modes above {lowest}");
            assert!(taken.is_ok());
            assert_eq!(fake.violations(), Vec::<std::string::String>::new());
        }
    }
}

#[test]
fn an_iommu_that_does_not_let_go_is_not_taken_over() {
    let fake = abandoned(CAPABILITIES_ATS);
    fake.adjust(|knobs| knobs.mode_stuck = true);
    let error = Iommu::new(fake.clone(), config()).err();
    assert_eq!(error, Some(crate::InitError::Timeout("directory mode")));
}

#[test]
fn a_queue_that_the_previous_owner_left_broken_is_taken_over() {
    let fake = abandoned(CAPABILITIES_ATS);
    fake.adjust(|knobs| (knobs.fetch_faults, knobs.record_faults) = (1, 1));
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    fake.run_for(100);
    assert_eq!(fake.slipped(), 0);
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let mm = TestMm::new(&fake);
    mm.map(0x1000, TARGET, RW);
    let handle = iommu.bind(1, mm.clone()).unwrap();
    assert_eq!(fake.dma(1, Some(handle.pasid().get()), 0x1000, Access::Read), Ok(TARGET));
}
