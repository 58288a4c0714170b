//! What devices and hardware can write is never trusted.

use super::*;
use crate::{fake::Event, pasid::Pasid};

/// Everything that the driver wrote since the last look lies in memory that it owns.
fn check_stores(fake: &Fake) {
    assert_eq!(fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn directory_entries_that_were_overwritten_are_not_followed() {
    let bench = Bench::with(Config { device_id_width: 24, ..config() });
    let held: Vec<_> = (0..3).map(|_| bench.iommu.bind(1, bench.mm()).unwrap()).collect();
    // A device, or a fault of memory, fills every table with pointers to elsewhere.
    let wild = 0x3fff_ffff_f000_0000 >> 2 | 1;
    for start in bench.fake.allocations() {
        for offset in (0..PAGE).step_by(8) {
            bench.fake.store64(start + offset, wild);
        }
    }
    bench.fake.take_events();
    for device in 3..40 {
        bench.iommu.enable_sva(device << 9, DeviceOptions::default()).unwrap();
    }
    let more: Vec<_> = (0..600).map(|_| bench.iommu.bind(3 << 9, bench.mm()).unwrap()).collect();
    assert_eq!(more.last().unwrap().pasid(), Pasid::new(603).unwrap());
    let stores = bench.fake.take_events().iter().filter(|it| matches!(it, Event::Store { .. })).count();
    assert!(stores > 1000);
    drop((more, held));
    check_stores(&bench.fake);
}
