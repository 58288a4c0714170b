//! Bringing an IOMMU up and taking it down.

use super::*;
use crate::{
    InitError,
    fake::{Access, CAPABILITIES},
};
use pasidon_spec::{
    command::Command,
    ddt::iommu_mode,
    registers::{capabilities, cqb, cqcsr, ddtp, fctl, fqb, fqcsr, icvec, igs},
};

/// Brings up the IOMMU of a fake, which must then be Off again with everything returned if it failed.
fn bring_up(fake: &Arc<Fake>, config: Config) -> Result<Iommu, InitError> {
    let result = Iommu::new(fake.clone(), config);
    if result.is_err() {
        assert_eq!(fake.allocations(), []);
        assert_eq!(ddtp::IOMMU_MODE.get(fake.read64(ddtp::REG.offset.into())), iommu_mode::OFF);
        assert!(!cqcsr::CQON.is_set(fake.read32(cqcsr::REG.offset.into()).into()));
        assert!(!fqcsr::FQON.is_set(fake.read32(fqcsr::REG.offset.into()).into()));
    }
    assert_eq!(fake.violations(), Vec::<std::string::String>::new());
    result
}

fn mode(fake: &Fake) -> u64 {
    ddtp::IOMMU_MODE.get(fake.read64(ddtp::REG.offset.into()))
}

#[test]
fn the_directory_has_the_levels_that_device_ids_need() {
    let base = [(1, 2), (7, 2), (8, 3), (16, 3), (17, 4), (24, 4)];
    let extended = [(6, 2), (7, 3), (15, 3), (16, 4), (24, 4)];
    let capabilities_and_cases =
        [(CAPABILITIES, &base[..]), (capabilities::MSI_FLAT.set(CAPABILITIES, 1), &extended[..])];
    for (value, cases) in capabilities_and_cases {
        for &(device_id_width, expected) in cases {
            let fake = Fake::with_capabilities(value);
            let iommu = bring_up(&fake, Config { device_id_width, ..config() }).unwrap();
            assert_eq!(mode(&fake), expected);
            let widest = (1 << device_id_width) - 1;
            iommu.enable_sva(widest, DeviceOptions::default()).unwrap();
            let mm = TestMm::new(&fake);
            mm.map(0x1000, 0x9000_0000, RW);
            let handle = iommu.bind(widest, mm).unwrap();
            let pasid = Some(handle.pasid().get());
            assert_eq!(fake.dma(widest, pasid, 0x1000, Access::Read), Ok(0x9000_0000));
            assert_eq!(fake.dma(0, pasid, 0x1000, Access::Read), Err(NO_DEVICE));
        }
    }
}

#[test]
fn a_mode_that_is_missing_is_made_up_for_by_more_levels() {
    let fake = Fake::new();
    fake.adjust(|knobs| knobs.modes = std::vec![iommu_mode::LVL3]);
    bring_up(&fake, Config { device_id_width: 3, ..config() }).unwrap();

    let fake = Fake::new();
    fake.adjust(|knobs| knobs.modes = std::vec![iommu_mode::LVL1, iommu_mode::LVL2]);
    let result = bring_up(&fake, Config { device_id_width: 17, ..config() });
    assert_eq!(result.err(), Some(InitError::DeviceIdWidth(17)));
}

#[test]
fn process_directories_have_the_levels_that_pasids_need() {
    let cases = [(1, 8), (8, 8), (9, 17), (17, 17), (18, 20), (20, 20)];
    for (pasid_width, bits) in cases {
        let fake = Fake::new();
        let iommu = bring_up(&fake, config()).unwrap();
        iommu.enable_sva(1, DeviceOptions { pasid_width, ..DeviceOptions::default() }).unwrap();
        let disallowed = Err(crate::Cause::TransactionTypeDisallowed.code());
        let dma = |pasid| fake.dma(1, Some(pasid), 0, Access::Read);
        assert_eq!(dma((1 << bits) - 1), Err(NOT_VALID));
        assert!(bits == 20 || dma(1 << bits) == disallowed);
    }
}

#[test]
fn an_iommu_without_process_directories_enables_nobody() {
    let none = [capabilities::PD8, capabilities::PD17, capabilities::PD20];
    let fake = Fake::with_capabilities(none.iter().fold(CAPABILITIES, |word, pd| pd.set(word, 0)));
    let iommu = bring_up(&fake, config()).unwrap();
    let result = iommu.enable_sva(1, DeviceOptions::default());
    assert_eq!(result, Err(crate::EnableError::NoProcessDirectory));
}

#[test]
fn the_configuration_is_checked() {
    let bad = |change: fn(&mut Config)| {
        let mut config = config();
        change(&mut config);
        match bring_up(&Fake::new(), config) {
            Err(InitError::Config { key, .. }) => key,
            _ => "",
        }
    };
    assert_eq!(bad(|config| config.device_id_width = 0), "device_id_width");
    assert_eq!(bad(|config| config.device_id_width = 25), "device_id_width");
    assert_eq!(bad(|config| config.command_queue_log2 = 2), "command_queue_log2");
    assert_eq!(bad(|config| config.fault_queue_log2 = 16), "fault_queue_log2");
    assert_eq!(bad(|config| config.timeout = 0), "timeout");
    assert_eq!(bad(|config| config.fault_vector = Some(16)), "fault_vector");
    let error = Iommu::new(Fake::new(), Config { device_id_width: 25, ..config() }).err();
    let text = std::string::ToString::to_string(&error.unwrap());
    assert_eq!(text, "configuration: device_id_width is 25, must be 1 to 24");
}

#[test]
fn an_iommu_that_does_not_fit_is_refused() {
    let with = |value| bring_up(&Fake::with_capabilities(value), config()).err();
    let version = |version| capabilities::VERSION.set(CAPABILITIES, version);
    assert_eq!(with(version(0x20)), Some(InitError::Version(0x20)));
    assert_eq!(with(version(0)), Some(InitError::Version(0)));
    assert_eq!(with(version(0x11)), None);

    let fake = Fake::new();
    fake.adjust(|knobs| knobs.fixed_endianness = Some(true));
    // The fake has the bit hard-wired; a write of something else makes it show.
    fake.write32(fctl::REG.offset.into(), 0);
    assert!(matches!(bring_up(&fake, config()), Err(InitError::Features(_))));

    let messages = capabilities::IGS.set(CAPABILITIES, igs::MSI);
    let wired = Config { fault_vector: Some(0), ..config() };
    let result = bring_up(&Fake::with_capabilities(messages), wired.clone()).err();
    assert_eq!(result, Some(InitError::NoWiredInterrupts));
    bring_up(&Fake::with_capabilities(messages), config()).unwrap();
    bring_up(&Fake::new(), wired).unwrap();
    let result = bring_up(&Fake::new(), Config { fault_vector: Some(4), ..config() }).err();
    assert_eq!(result, Some(InitError::Vector(4)));
}

/// One configuration does for designs with ATS and without.
#[test]
fn a_vector_of_page_requests_is_not_needed_without_ats() {
    let plain = capabilities::ATS.set(CAPABILITIES, 0);
    let config = Config { fault_vector: Some(1), page_request_vector: Some(2), ..config() };
    let fake = Fake::with_capabilities(plain);
    let iommu = bring_up(&fake, config.clone()).unwrap();
    assert_eq!(fake.read64(icvec::REG.offset.into()), icvec::FIV.of(1));
    iommu.suspend().unwrap();
    iommu.resume().unwrap();
    drop(iommu);
    let fake = Fake::with_capabilities(capabilities::ATS.set(CAPABILITIES, 1));
    bring_up(&fake, config).unwrap();
    assert_eq!(fake.read64(icvec::REG.offset.into()), icvec::FIV.of(1) | icvec::PIV.of(2));
}

#[test]
fn memory_out_of_reach_is_not_used() {
    // Memory of the fake starts at 2 GiB.
    let narrow = capabilities::PAS.set(CAPABILITIES, 31);
    assert_eq!(bring_up(&Fake::with_capabilities(narrow), config()).err(), Some(InitError::OutOfMemory));
}

#[test]
fn out_of_memory_at_any_point_undoes_everything() {
    let mut needed = 0;
    loop {
        let fake = Fake::new();
        fake.adjust(|knobs| knobs.allocations = needed);
        match bring_up(&fake, config()) {
            Ok(_) => break,
            Err(error) => assert_eq!(error, InitError::OutOfMemory),
        }
        needed += 1;
    }
    assert_eq!(needed, 4);
}

#[test]
fn smaller_queues_than_asked_for_are_made_do_with() {
    let fake = Fake::new();
    fake.adjust(|knobs| knobs.max_queue_log2 = 4);
    let large = Config { command_queue_log2: 12, fault_queue_log2: 12, range_limit: 1000, ..config() };
    let iommu = bring_up(&fake, large.clone()).unwrap();
    assert_eq!(cqb::LOG2SZ_1.get(fake.read64(cqb::REG.offset.into())), 3);
    assert_eq!(fqb::LOG2SZ_1.get(fake.read64(fqb::REG.offset.into())), 3);
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    for _ in 0..20 {
        iommu.bind(1, TestMm::new(&fake)).unwrap().unbind();
    }
    (0..20).for_each(|page| _ = fake.dma(9, None, page, Access::Read));
    assert_eq!(faults(&iommu).records.len(), 15);

    let fake = Fake::new();
    fake.adjust(|knobs| knobs.max_queue_log2 = 2);
    assert_eq!(bring_up(&fake, large).err(), Some(InitError::Rejected("command queue")));
}

#[test]
fn stale_caches_are_emptied_before_the_directory_is_entered() {
    let fake = Fake::new();
    let _iommu = bring_up(&fake, config()).unwrap();
    let events = fake.take_events();
    let emptied = position(&events, |event| {
        matches!(event, Event::Command(Command::IotinvalVma { gscid: None, pscid: None, range: None }))
    });
    let is_mode = |event: &Event| {
        matches!(event, Event::Write { offset, value } if *offset == u32::from(ddtp::REG.offset)
            && ddtp::IOMMU_MODE.get(*value) != iommu_mode::OFF)
    };
    let entered = events.iter().rposition(is_mode).unwrap();
    assert!(emptied < entered);
}

#[test]
fn a_driver_takes_over_from_another() {
    let fake = Fake::new();
    let first = bring_up(&fake, config()).unwrap();
    // The first owner is gone without a word, as a boot loader may be.
    core::mem::forget(first);
    fake.run_for(10);
    let iommu = bring_up(&fake, config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    assert_eq!(fake.dma(1, Some(1), 0, Access::Read), Err(NOT_VALID));
}

#[test]
fn everything_is_returned_when_the_last_reference_goes() {
    let fake = Fake::new();
    let iommu = bring_up(&fake, config()).unwrap();
    iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    let handle = iommu.bind(1, TestMm::new(&fake)).unwrap();
    drop(iommu);
    assert_ne!(fake.allocations(), []);
    assert_eq!(mode(&fake), iommu_mode::LVL2);
    drop(handle);
    assert_eq!(fake.allocations(), []);
    assert_eq!(mode(&fake), iommu_mode::OFF);
    let off = Err(crate::Cause::AllInboundTransactionsDisallowed.code());
    assert_eq!(fake.dma(1, Some(1), 0, Access::Read), off);
    assert_eq!(fake.violations(), Vec::<std::string::String>::new());
}

#[test]
fn objects_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Iommu>();
    shared::<crate::Handle>();
    shared::<Bond>();
    shared::<MmSva>();
    shared::<crate::PasidSpace>();
}
