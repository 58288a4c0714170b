//! What only some IOMMUs can do, or insist on.

use super::*;
use crate::{
    InitError, Message,
    fake::{Access, CAPABILITIES, CAPABILITIES_ATS},
};
use pasidon_spec::registers::{capabilities, igs};

#[test]
fn the_iommu_sets_accessed_and_dirty_bits_if_it_can_and_may() {
    let fresh = pte::R.mask() | pte::W.mask() | pte::U.mask();
    for (able, update_ad) in [(true, true), (true, false), (false, true)] {
        let fake = Fake::with_capabilities(capabilities::AMO_HWAD.set(CAPABILITIES, able.into()));
        let iommu = Iommu::new(fake.clone(), Config { update_ad, ..config() }).unwrap();
        assert_eq!(iommu.capabilities().updates_ad(), able);
        iommu.enable_sva(1, DeviceOptions::default()).unwrap();
        let mm = TestMm::new(&fake);
        mm.map(0x1000, TARGET, fresh);
        let handle = iommu.bind(1, mm.clone()).unwrap();
        let pasid = Some(handle.pasid().get());
        let bits = || fake.load64(mm.entry(0x1000)) & (pte::A.mask() | pte::D.mask());
        if able && update_ad {
            assert_eq!(fake.dma(1, pasid, 0x1000, Access::Read), Ok(TARGET));
            assert_eq!(bits(), pte::A.mask());
            assert_eq!(fake.dma(1, pasid, 0x1000, Access::Write), Ok(TARGET));
            assert_eq!(bits(), pte::A.mask() | pte::D.mask());
        } else {
            assert_eq!(fake.dma(1, pasid, 0x1000, Access::Write), Err(WRITE_FAULT));
            assert_eq!(bits(), 0);
        }
        assert_eq!(fake.violations(), Vec::<std::string::String>::new());
    }
}

/// Where the IOMMU has memory of its own.
const FIXED: u64 = 0x4000_0000;

#[test]
fn tables_and_queues_are_where_the_iommu_has_them_if_it_insists() {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    fake.adjust(|knobs| knobs.fixed_memory = Some(FIXED));
    // What is in there from before must not count.
    (0..512).for_each(|word| fake.store64(FIXED + 8 * word, u64::MAX >> 10));
    let iommu = Iommu::new(fake.clone(), config()).unwrap();
    assert!(fake.allocations().iter().all(|start| *start < FIXED || *start >= 0x8000_0000));
    let bench = Bench { fake: fake.clone(), iommu };
    for device in [1, 2] {
        bench.add(device, Behaviour::default(), PriOptions::default());
    }
    let (mm, handle, pasid) = bench.reached(Access::Read);
    bench.iommu.invalidate_range(&*mm, 0..PAGE, crate::Change::Leaves).unwrap();
    bench.fake.dma(1, pasid, 0x9000, Access::Read).unwrap_err();
    assert_eq!(bench.iommu.service_faults(|_| ()).records, 1);
    bench.iommu.reset().unwrap();
    assert_eq!(bench.fake.access(1, pasid, 0x1000, Access::Read), Reached::Memory(TARGET));
    drop((handle, mm, bench));
    assert_eq!(fake.allocations(), []);
    assert_eq!(fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn memory_that_the_platform_does_not_know_of_is_not_used() {
    let fake = Fake::new();
    fake.adjust(|knobs| knobs.fixed_memory = Some(FIXED));
    let blind = Arc::new(interleavings::Explored(fake.clone()));
    let error = Iommu::new(blind, config()).err();
    assert_eq!(error, Some(InitError::Rejected("command queue")));
    assert_eq!(fake.allocations(), []);
}

#[test]
fn interrupts_are_messages_where_they_are_asked_for() {
    let message = |data| Some(Message { address: 0x2800_0000 + 4 * u64::from(data), data });
    let messages = Config {
        fault_vector: Some(1),
        fault_message: message(7),
        page_request_vector: Some(2),
        page_request_message: message(8),
        ..config()
    };
    let with = |kind, config: &Config| {
        let fake = Fake::with_capabilities(capabilities::IGS.set(CAPABILITIES_ATS, kind));
        let result = Iommu::new(fake.clone(), config.clone());
        assert_eq!(fake.violations(), Vec::<std::string::String>::new());
        (fake, result)
    };
    for kind in [igs::MSI, igs::BOTH] {
        let (fake, iommu) = with(kind, &messages);
        let iommu = iommu.unwrap();
        let expected = [(1, 0x2800_001c, 7, false), (2, 0x2800_0020, 8, false)];
        assert_eq!(fake.messages(), expected);
        fake.reset();
        assert!(iommu.service_faults(|_| ()).reset);
        iommu.resume().unwrap();
        assert_eq!(fake.messages(), expected);
    }
    let error = |kind, config: &Config| with(kind, config).1.err();
    assert_eq!(error(igs::WSI, &messages), Some(InitError::NoMessageInterrupts));
    let wired = Config { fault_vector: Some(1), ..config() };
    assert_eq!(error(igs::MSI, &wired), Some(InitError::NoWiredInterrupts));
    assert_eq!(error(igs::BOTH, &wired), None);
    assert_eq!(error(igs::MSI, &config()), None);

    let bad = |change: fn(&mut Config)| {
        let mut config = messages.clone();
        change(&mut config);
        match error(igs::BOTH, &config) {
            Some(InitError::Message(key)) => key,
            _ => "",
        }
    };
    assert_eq!(bad(|config| config.fault_vector = None), "fault_message");
    assert_eq!(bad(|config| config.fault_message = Some(Message { address: 2, data: 0 })), "fault_message");
    assert_eq!(
        bad(|config| config.page_request_message = Some(Message { address: 1 << 56, data: 0 })),
        "page_request_message"
    );
    assert_eq!(bad(|config| config.fault_message = None), "page_request_message");
    assert_eq!(bad(|config| config.page_request_vector = Some(1)), "page_request_message");
}
