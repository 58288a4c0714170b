//! Clause 20 and what the driver must survive of the hardware: every wait ends, and is reported.

use super::*;
use crate::{BindError, Change, CommandError, DisableError, InitError, PasidSpace, fake::Access};

#[test]
fn clause_20_a_command_that_never_completes_is_reported() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = Some(handle.pasid().get());
    bench.fake.dma(1, pasid, 0x1000, Access::Read).unwrap();
    mm.unmap(0x1000);
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    let start = bench.fake.now();
    let result = bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves);
    assert_eq!(result, Err(CommandError::Timeout));
    let waited = bench.fake.now() - start;
    assert!((TIMEOUT..2 * TIMEOUT).contains(&waited), "waited {waited} ticks");
    // The others go on as soon as the IOMMU does.
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    bench.iommu.bind(2, bench.mm()).unwrap().unbind();
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    assert_eq!(bench.fake.dma(1, pasid, 0x1000, Access::Read), Err(READ_FAULT));
}

#[test]
fn clause_20_a_queue_that_cannot_be_restarted_fails_at_once() {
    let bench = Bench::new();
    let mm = bench.mm();
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.adjust(|knobs| {
        knobs.commands_stall = true;
        knobs.queues_stuck = true;
    });
    let invalidate = || bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves);
    assert_eq!(invalidate(), Err(CommandError::QueueDead));
    let start = bench.fake.now();
    assert_eq!(invalidate(), Err(CommandError::QueueDead));
    assert_eq!(bench.fake.now(), start);
    handle.unbind();
    assert!(bench.fake.now() < start + 10);
}

#[test]
fn clause_20_bring_up_ends_whatever_is_stuck() {
    let fake = Fake::new();
    fake.adjust(|knobs| knobs.queues_stuck = true);
    let result = Iommu::new(fake.clone(), config());
    assert_eq!(result.err(), Some(InitError::Timeout("command queue")));

    let fake = Fake::new();
    fake.adjust(|knobs| knobs.commands_stall = true);
    let result = Iommu::new(fake.clone(), config());
    assert_eq!(result.err(), Some(InitError::Command(CommandError::Timeout)));
    assert_eq!(fake.allocations(), []);

    let fake = Fake::new();
    fake.adjust(|knobs| knobs.mode_stuck = true);
    let result = Iommu::new(fake.clone(), config());
    assert_eq!(result.err(), Some(InitError::DeviceIdWidth(8)));
}

#[test]
fn an_unbind_that_is_not_confirmed_retires_pasid_and_pscid() {
    let pasids = Arc::new(PasidSpace::default());
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..config() });
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    bench.fake.dma(1, Some(pasid.get()), 0x1000, Access::Read).unwrap();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    handle.unbind();
    // The operating system learns that the device may still be at the pages.
    assert_eq!(bench.iommu.mm_exit(&*mm), Err(CommandError::Timeout));
    drop(mm);
    assert_eq!(pasids.in_use(), 1);
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    let next = bench.mm();
    let handle = bench.iommu.bind(1, next).unwrap();
    assert_ne!(handle.pasid(), pasid);
    bench.fake.take_events();
    handle.unbind();
    let commands = bench.fake.take_commands();
    assert!(commands.iter().any(|command| matches!(
        command,
        pasidon_spec::command::Command::IotinvalVma { pscid: Some(2), .. }
    )));
}

#[test]
fn a_later_exit_makes_up_for_an_unbind_that_was_not_confirmed() {
    let pasids = Arc::new(PasidSpace::default());
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..config() });
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    bench.fake.dma(1, Some(pasid.get()), 0x1000, Access::Read).unwrap();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    handle.unbind();
    assert_eq!(bench.fake.dma(1, Some(pasid.get()), 0x1000, Access::Read), Ok(0x9000_0000));
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    bench.iommu.mm_exit(&*mm).unwrap();
    assert_eq!(bench.fake.dma(1, Some(pasid.get()), 0x1000, Access::Read), Err(NOT_VALID));
    drop(mm);
    assert_eq!(pasids.in_use(), 0);
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap().pasid(), pasid);
}

#[test]
fn a_device_that_cannot_be_forgotten_stays_unusable() {
    let bench = Bench::new();
    let tables = bench.fake.allocations();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    assert_eq!(bench.iommu.disable_sva(1), Err(DisableError::Command(CommandError::Timeout)));
    assert_eq!(bench.fake.allocations(), tables, "the IOMMU may still read them");
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
    assert_eq!(bench.iommu.bind(1, bench.mm()).unwrap_err(), BindError::DeviceLeaving(1));
    // A second try can succeed.
    bench.iommu.disable_sva(1).unwrap();
    bench.iommu.enable_sva(1, DeviceOptions::default()).unwrap();
    bench.iommu.bind(1, bench.mm()).unwrap();
}

#[test]
fn memory_faults_of_the_command_queue_are_retried() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = Some(handle.pasid().get());
    let invalidate = || bench.iommu.invalidate_range(&*mm, 0x1000..0x4000, Change::Leaves);
    bench.fake.dma(1, pasid, 0x1000, Access::Read).unwrap();
    mm.unmap(0x1000);
    bench.fake.adjust(|knobs| knobs.fetch_faults = 2);
    assert_eq!(invalidate(), Ok(()));
    assert_eq!(bench.fake.dma(1, pasid, 0x1000, Access::Read), Err(READ_FAULT));
    bench.fake.adjust(|knobs| knobs.fetch_faults = 3);
    assert_eq!(invalidate(), Err(CommandError::MemoryFault));
    assert_eq!(invalidate(), Ok(()));
}

#[test]
fn a_command_that_is_called_illegal_is_reported() {
    let bench = Bench::new();
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let invalidate = || bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves);
    bench.fake.adjust(|knobs| knobs.illegal_commands = 1);
    assert_eq!(invalidate(), Err(CommandError::Illegal));
    assert_eq!(invalidate(), Ok(()));
}

#[test]
fn memory_is_kept_from_an_iommu_that_cannot_be_switched_off() {
    let bench = Bench::new();
    let kept = bench.fake.allocations();
    bench.fake.adjust(|knobs| {
        knobs.mode_stuck = true;
        knobs.queues_stuck = true;
    });
    let fake = bench.fake.clone();
    drop(bench);
    assert_eq!(fake.allocations(), kept);
}
