//! What is recorded of a process that has exited.

use pasidon_cosim::Clocked;
use pasidon_machine::endpoint::{Channel, ChannelKind, DmaRequest};
use pasidon_machine::memory::PAGE;
use pasidon_tests::driven::{BASE, Driven, PAGES, config};
use pasidon_tests::{designs, seed};

/// As many records as the hardware's queue holds: one entry stays empty.
const HELD: usize = 31;

/// Aborted accesses of device 1, which nobody looks at meanwhile.
fn flood(driven: &Driven, pasid: u32) {
    let request = |n: u64| DmaRequest { va: BASE + n % PAGES * PAGE, length: 8, write: false, exec: false };
    let requests = (0..200).map(request).collect();
    let mut machine = driven.platform.machine();
    let faults = machine.counters.faults;
    machine.dma.add(Channel::new(1, Some(pasid), 1, requests));
    let ended = machine.wait_until(1_000_000, "devices were at work", |machine| machine.dma.is_idle());
    ended.unwrap_or_else(|error| panic!("{error}"));
    // The last record is on its way.
    (0..2000).for_each(|_| machine.step());
    assert_eq!(machine.counters.faults - faults, 200, "all of them are aborted");
}

/// An access of device 2 where it has nothing.
fn fault_of_another(driven: &Driven, pasid: u32) {
    let outcome = driven.access(2, pasid, ChannelKind::Untranslated, BASE + PAGES * PAGE, false);
    assert!(!outcome.is_success());
    driven.run(2000);
}

fn two_devices(seed: u64) -> Driven {
    let design = designs::design("full");
    let driven = Driven::boot(&design, config(&design), seed);
    [1, 2].iter().for_each(|&id| driven.enable(id, None));
    driven
}

#[test]
fn clause_10_a_dead_process_s_device_fills_nobodys_queue() {
    let driven = two_devices(seed("a dead process"));
    let (mm, other) = (driven.resident_process(), driven.resident_process());
    let (handle, living) = (driven.bind(1, &mm), driven.bind(2, &other));
    let pasid = handle.pasid().get();
    assert!(driven.access(1, pasid, ChannelKind::Untranslated, BASE, true).is_success());
    driven.os.exit(mm.id()).expect("the driver confirms");
    flood(&driven, pasid);
    fault_of_another(&driven, living.pasid().get());
    let (records, report) = driven.faults();
    assert_eq!(records.iter().map(|record| record.did).collect::<Vec<_>>(), [2]);
    assert_eq!((report.overflow, report.suppressed, report.excess), (false, 0, 0));
    driven.unbind(handle);
    // Without a bond it is a stranger, whose faults are told.
    flood(&driven, pasid);
    assert!(driven.faults().0.iter().all(|record| (record.did, record.pid) == (1, pasid)));
    driven.unbind(living);
    driven.check();
}

#[test]
fn clause_10_what_is_lost_to_a_dead_process_is_told_and_then_no_more_is() {
    let driven = two_devices(seed("a dead process beside a living one"));
    let (mm, bystander, other) =
        (driven.resident_process(), driven.resident_process(), driven.resident_process());
    // The device has a living process as well, so that its faults are recorded.
    let (handle, beside) = (driven.bind(1, &mm), driven.bind(1, &bystander));
    let living = driven.bind(2, &other);
    let pasid = handle.pasid().get();
    driven.os.exit(mm.id()).expect("the driver confirms");
    flood(&driven, pasid);
    fault_of_another(&driven, living.pasid().get());
    // The queue was full before anybody looked: what may be missing is told, by number where it is known.
    let (records, report) = driven.faults();
    assert_eq!((records.len(), report.suppressed, report.overflow), (0, HELD, true));
    let statistics = driven.iommu.statistics();
    assert_eq!((statistics.fault_overflows, statistics.faults_suppressed), (1, HELD));
    assert_eq!(statistics.devices_muted, 1);
    // From then on nothing of another device is missing.
    for round in 0..3 {
        flood(&driven, pasid);
        fault_of_another(&driven, living.pasid().get());
        let (records, report) = driven.faults();
        assert_eq!(records.iter().map(|record| record.did).collect::<Vec<_>>(), [2], "round {round}");
        assert_eq!((report.overflow, report.suppressed), (false, 0), "round {round}");
    }
    // The device is heard again when it has no dead process any more.
    driven.unbind(handle);
    let outcome =
        driven.access(1, beside.pasid().get(), ChannelKind::Untranslated, BASE + PAGES * PAGE, false);
    assert!(!outcome.is_success());
    assert_eq!(driven.faults().0.len(), 1);
    driven.unbind(beside);
    driven.unbind(living);
    driven.check();
}
