//! Clause 19: invalidation of an address space.

use super::*;
use crate::{Change, fake::Access};
use pasidon_spec::command::{Command, Range};

fn page(pscid: u32, address: u64) -> Command {
    Command::IotinvalVma { gscid: None, pscid: Some(pscid), range: Some(Range::page_of(address)) }
}

const FENCE: Command = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };

#[test]
fn clause_19_the_end_is_exclusive() {
    let bench = Bench::new();
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let commands = |range: core::ops::Range<u64>| {
        bench.fake.take_events();
        bench.iommu.invalidate_range(&*mm, range, Change::Leaves).unwrap();
        bench.fake.take_commands()
    };
    assert_eq!(commands(0x1000..0x3000), [page(1, 0x1000), page(1, 0x2000), FENCE]);
    assert_eq!(commands(0x1fff..0x2001), [page(1, 0x1000), page(1, 0x2000), FENCE]);
    assert_eq!(commands(0x1000..0x1001), [page(1, 0x1000), FENCE]);
    assert_eq!(commands(0x1000..0x1000), []);
}

#[test]
fn clause_19_stale_translations_are_gone_on_return() {
    let bench = Bench::new();
    let (mm, other) = (bench.mm(), bench.mm());
    mm.map(0x1000, 0x9000_0000, RW);
    other.map(0x1000, 0xa000_0000, RW);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let theirs = bench.iommu.bind(1, other.clone()).unwrap();
    let pasid = handle.pasid().get();
    let dma = |pasid| bench.fake.dma(1, Some(pasid), 0x1000, Access::Read);
    dma(pasid).unwrap();
    dma(theirs.pasid().get()).unwrap();
    mm.unmap(0x1000);
    other.unmap(0x1000);
    assert_eq!(dma(pasid), Ok(0x9000_0000), "the fake must hold on to what it cached");
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    assert_eq!(dma(pasid), Err(READ_FAULT));
    assert_eq!(dma(theirs.pasid().get()), Ok(0xa000_0000), "only the mm that was asked for");
}

#[test]
fn clause_19_one_invalidation_reaches_all_devices_of_the_iommu() {
    let bench = Bench::new();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let on_1 = bench.iommu.bind(1, mm.clone()).unwrap();
    let _on_2 = bench.iommu.bind(2, mm.clone()).unwrap();
    let pasid = Some(on_1.pasid().get());
    for device in [1, 2] {
        bench.fake.dma(device, pasid, 0x1000, Access::Read).unwrap();
    }
    mm.map(0x1000, 0xb000_0000, RO);
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Leaves).unwrap();
    for device in [1, 2] {
        assert_eq!(bench.fake.dma(device, pasid, 0x1000, Access::Read), Ok(0xb000_0000));
    }
}

#[test]
fn clause_19_changes_of_tables_invalidate_the_whole_space() {
    let bench = Bench::new();
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let whole = Command::IotinvalVma { gscid: None, pscid: Some(1), range: None };
    bench.fake.take_events();
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, Change::Tables).unwrap();
    assert_eq!(bench.fake.take_commands(), [whole, FENCE]);
    // So do ranges of many pages, up to the very top of the address space.
    let limit = config().range_limit;
    bench.iommu.invalidate_range(&*mm, 0..limit * PAGE, Change::Leaves).unwrap();
    assert_eq!(bench.fake.take_commands().len() as u64, limit + 1);
    bench.iommu.invalidate_range(&*mm, 0..limit * PAGE + 1, Change::Leaves).unwrap();
    assert_eq!(bench.fake.take_commands(), [whole, FENCE]);
    bench.iommu.invalidate_range(&*mm, 0..u64::MAX, Change::Leaves).unwrap();
    assert_eq!(bench.fake.take_commands(), [whole, FENCE]);
}

#[test]
fn clause_19_shared_tables_are_forgotten_in_every_space_on_return() {
    let bench = Bench::new();
    let (mm, other) = (bench.mm(), bench.mm());
    let handles = [bench.iommu.bind(1, mm.clone()).unwrap(), bench.iommu.bind(2, other.clone()).unwrap()];
    let dma = |number: usize| {
        let pasid = Some(handles[number].pasid().get());
        bench.fake.dma(number as u32 + 1, pasid, 0x1000, Access::Read)
    };
    for (number, mm) in [mm, other].iter().enumerate() {
        mm.map(0x1000, TARGET, RW);
        dma(number).unwrap();
        mm.unmap(0x1000);
        assert_eq!(dma(number), Ok(TARGET), "the fake must hold on to what it cached");
    }
    bench.fake.take_events();
    let before = bench.iommu.statistics().invalidations;
    bench.iommu.invalidate_shared_tables().unwrap();
    let everything = Command::IotinvalVma { gscid: None, pscid: None, range: None };
    assert_eq!(bench.fake.take_commands(), [everything, FENCE]);
    assert_eq!(bench.iommu.statistics().invalidations, before + 1);
    assert_eq!([dma(0), dma(1)], [Err(READ_FAULT); 2]);
}

#[test]
fn clause_19_shared_tables_that_are_not_confirmed_are_an_error() {
    let bench = Bench::new();
    bench.fake.adjust(|knobs| knobs.commands_stall = true);
    bench.iommu.invalidate_shared_tables().unwrap_err();
    bench.fake.adjust(|knobs| knobs.commands_stall = false);
}

#[test]
fn clause_19_invalidation_allocates_nothing() {
    let bench = Bench::new();
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    bench.fake.adjust(|knobs| knobs.allocations = 0);
    let before = bench.fake.allocations();
    bench.iommu.invalidate_range(&*mm, 0..0x4000, Change::Leaves).unwrap();
    bench.iommu.invalidate_range(&*mm, 0..u64::MAX, Change::Tables).unwrap();
    assert_eq!(bench.fake.allocations(), before);
}

#[test]
fn an_mm_that_is_not_bound_needs_no_commands() {
    let bench = Bench::new();
    let mm = bench.mm();
    bench.iommu.invalidate_range(&*mm, 0..0x4000, Change::Leaves).unwrap();
    bench.iommu.bind(1, mm.clone()).unwrap().unbind();
    bench.fake.take_events();
    bench.iommu.invalidate_range(&*mm, 0..0x4000, Change::Leaves).unwrap();
    assert_eq!(bench.fake.take_events(), []);
}

#[test]
fn a_range_fits_the_smallest_queue() {
    let bench = Bench::with(Config { command_queue_log2: 3, range_limit: 1000, ..config() });
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    for pages in 1..20 {
        bench.iommu.invalidate_range(&*mm, 0..pages * PAGE, Change::Leaves).unwrap();
    }
}
