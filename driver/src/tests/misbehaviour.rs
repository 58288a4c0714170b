//! What the driver must survive: devices that lie, in every way that is not already a clause's test.

use super::*;
use crate::{Pasid, fake::Access};

#[test]
fn a_device_that_lies_about_who_it_is_gets_no_answer_from_the_mm() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    // Not enabled; enabled, but without page requests; another device's PASID; no PASID; all PASIDs.
    bench.fake.attach(7, Behaviour::default());
    bench.iommu.enable_sva(8, DeviceOptions::default()).unwrap();
    bench.fake.attach(8, Behaviour::default());
    for device in [7, 8, 2] {
        bench.fake.page_request(request(device, handle.pasid(), 1, 0x1000));
    }
    for pid in [0, 2, 3, Pasid::MAX] {
        let raw = PageRequest { pid, ..request(1, handle.pasid(), 2 + pid as u16 % 256, 0x1000) };
        bench.fake.page_request(raw);
    }
    bench.iommu.service_page_requests(100);
    assert_eq!(mm.asked(), []);
    assert_eq!([7, 8, 2].map(|device| bench.answers(device).len()), [1; 3]);
    assert_eq!(bench.answers(1).len(), 4);
    // The IOMMU itself logs what it refused.
    let causes: Vec<_> = faults(&bench.iommu).records.iter().map(|record| record.cause).collect();
    assert_eq!(causes, [NO_DEVICE, 260]);
}

#[test]
fn malformed_groups_are_answered_once_at_most() {
    let bench = Bench::with_ats();
    let (mm, other) = (bench.mm().resolve_with(populate), bench.mm().resolve_with(populate));
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let second = bench.iommu.bind(1, other.clone()).unwrap();
    let pasid = handle.pasid();
    // One index, two PASIDs: two groups.
    bench.fake.page_request(part(1, pasid, 1, 0x1000));
    bench.fake.page_request(request(1, second.pasid(), 1, 0x2000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(1, SUCCESS)]);
    assert_eq!((mm.asked(), other.asked()), (vec![], vec![0x2000]));
    bench.fake.page_request(request(1, pasid, 1, 0x3000));
    bench.iommu.service_page_requests(10);
    assert_eq!((bench.answers(1), mm.asked()), (vec![(1, SUCCESS)], vec![0x1000, 0x3000]));
    // Neither read nor write, in the middle of a group.
    bench.fake.page_request(PageRequest { read: false, ..part(1, pasid, 2, 0x1000) });
    bench.fake.page_request(request(1, pasid, 2, 0x1000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(2, INVALID)]);
    // An index that is used again before it was answered: each close is a group.
    bench.fake.page_request(request(1, pasid, 3, 0x1000));
    bench.fake.page_request(request(1, pasid, 3, 0x1000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1).len(), 2);
    // Addresses that no page table has.
    bench.fake.page_request(request(1, pasid, 4, 0xffff_ffff_ffff_f000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1).len(), 1);
}

#[test]
fn completions_that_nobody_waits_for_change_nothing() {
    let bench = Bench::with_ats();
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    let handles = [1, 2].map(|device| bench.iommu.bind(device, mm.clone()).unwrap());
    // Device 2 answers for device 1's tag, and for one that is not in use.
    bench.fake.attach(2, Behaviour { wrong_tag: true, delay: 1, ..Behaviour::default() });
    bench.fake.attach(1, Behaviour { delay: 50, ..Behaviour::default() });
    bench.iommu.invalidate_range(&*mm, 0x1000..0x2000, crate::Change::Leaves).unwrap();
    assert!(!bench.iommu.device_state(1).unwrap().cut_off);
    assert!(bench.iommu.device_state(2).unwrap().cut_off);
    drop(handles);
}

#[test]
fn memory_errors_while_tables_and_queues_are_read_and_written() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..200 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let dice = |shift: u32, sides: u64| (seed >> shift) % sides;
        bench.fake.adjust(|knobs| {
            knobs.fetch_faults = dice(20, 3) as usize;
            knobs.request_faults = usize::from(dice(30, 4) == 0);
            knobs.record_faults = usize::from(dice(40, 4) == 0);
        });
        bench.fake.page_request(request(1, handle.pasid(), round, dice(50, 8) << 12));
        _ = bench.fake.dma(1, Some(handle.pasid().get()), 0x7f_ffff_f000, Access::Read);
        _ = bench.iommu.invalidate_range(&*mm, 0..dice(45, 9) << 12, crate::Change::Leaves);
        bench.iommu.service_page_requests(10);
        faults(&bench.iommu);
        // Answered by the driver, or by the IOMMU itself, but answered, and once.
        assert_eq!(bench.responses(1).len(), 1, "round {round}");
    }
    assert_eq!(bench.fake.unanswered(1), 0);
    assert!(!bench.iommu.device_state(1).unwrap().cut_off);
}

#[test]
fn an_iommu_that_forgets_its_page_request_queue_holds_nobody_up() {
    // A reset of the IOMMU behind the driver's back: the tail is 0 again, the queue off.
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm).unwrap();
    (0..5).for_each(|index| bench.fake.page_request(request(1, handle.pasid(), index, 0x1000)));
    bench.iommu.service_page_requests(3);
    bench.fake.write32(u32::from(pasidon_spec::registers::pqcsr::REG.offset), 0);
    bench.fake.run_for(10);
    bench.iommu.service_page_requests(100);
    handle.unbind();
    bench.iommu.disable_sva(1).unwrap();
}
