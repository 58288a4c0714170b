//! Clauses 12 to 16 and 18: page requests and their answers.

use super::*;
use crate::{
    PageRequestReport, Pasid,
    fake::{Access, Message, Reached},
};

fn bound(bench: &Bench) -> (Arc<TestMm>, crate::Handle) {
    let mm = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    (mm, handle)
}

#[test]
fn a_page_that_was_not_there_is_faulted_in() {
    let bench = Bench::with_ats();
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    let access = || bench.fake.access(1, Some(pasid.get()), 0x5008, Access::Write);
    assert_eq!(access(), Reached::NoPage);
    bench.fake.page_request(PageRequest { write: true, ..request(1, pasid, 7, 0x5000) });
    let report = bench.iommu.service_page_requests(10);
    assert_eq!(report, PageRequestReport { groups: 1, ..PageRequestReport::default() });
    assert_eq!(bench.answers(1), [(7, SUCCESS)]);
    assert_eq!(mm.asked(), [0x5000]);
    assert_eq!(access(), Reached::Memory(0x1_0000_5008));
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.groups, statistics.pages_populated, statistics.responses_success), (1, 1, 1));
}

#[test]
fn clause_12_a_group_is_held_until_it_is_closed_and_answered_once() {
    let bench = Bench::with_ats();
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    // Two groups that overlap.
    bench.fake.page_request(part(1, pasid, 1, 0x1000));
    bench.fake.page_request(part(1, pasid, 2, 0x2000));
    bench.fake.page_request(part(1, pasid, 1, 0x3000));
    bench.iommu.service_page_requests(10);
    assert_eq!((mm.asked(), bench.answers(1)), (vec![], vec![]));
    bench.fake.page_request(request(1, pasid, 1, 0x4000));
    bench.iommu.service_page_requests(10);
    assert_eq!((mm.asked(), bench.answers(1)), (vec![0x1000, 0x3000, 0x4000], vec![(1, SUCCESS)]));
    bench.fake.page_request(request(1, pasid, 2, 0x5000));
    bench.iommu.service_page_requests(10);
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(2, SUCCESS)]);
    assert_eq!(mm.asked()[3..], [0x2000, 0x5000]);
    assert_eq!(bench.fake.unanswered(1), 0);
}

#[test]
fn clause_12_one_failed_member_fails_the_group() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|mm, access| match access.address {
        0x2000 => Resolution::Invalid,
        0x3000 => Resolution::Failure,
        _ => populate(mm, access),
    });
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    for (index, bad, code) in [(1, 0x2000, INVALID), (2, 0x3000, FAILURE)] {
        bench.fake.page_request(part(1, handle.pasid(), index, 0x1000));
        bench.fake.page_request(part(1, handle.pasid(), index, bad));
        bench.fake.page_request(request(1, handle.pasid(), index, 0x4000));
        bench.iommu.service_page_requests(10);
        assert_eq!(bench.answers(1), [(index, code)]);
    }
}

#[test]
fn clause_13_a_stop_marker_is_consumed_and_not_answered() {
    let bench = Bench::with_ats();
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    bench.fake.page_request(part(1, pasid, 1, 0x1000));
    bench.fake.page_request(stop_marker(1, pasid));
    // Nobody to close that group any more: the index can be used again.
    bench.fake.page_request(request(1, pasid, 1, 0x2000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(1, SUCCESS)]);
    assert_eq!(mm.asked(), [0x2000]);
    assert_eq!(bench.iommu.statistics().stop_markers, 1);
    // Also one for a PASID that nobody has, or of a device whose requests are not accepted.
    bench.fake.page_request(stop_marker(1, Pasid::new(77).unwrap()));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), []);
    assert_eq!(bench.iommu.statistics().stop_markers, 2);
}

#[test]
fn clause_14_each_outcome_has_its_answer() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|mm, access| match access.address {
        0x2000 => Resolution::Invalid,
        0x3000 => Resolution::Failure,
        _ => populate(mm, access),
    });
    let dead = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let of_dead = bench.iommu.bind(1, dead.clone()).unwrap();
    let elsewhere = bench.iommu.bind(2, bench.mm().resolve_with(populate)).unwrap();
    bench.iommu.mm_exit(&*dead).unwrap();
    let pasid = handle.pasid();
    let cases = [
        (request(1, pasid, 1, 0x1000), SUCCESS),
        (request(1, pasid, 2, 0x2000), INVALID),
        (request(1, pasid, 3, 0x3000), FAILURE),
        (request(1, Pasid::new(99).unwrap(), 4, 0x1000), INVALID),
        (request(1, of_dead.pasid(), 5, 0x1000), INVALID),
        (request(1, elsewhere.pasid(), 6, 0x1000), INVALID),
        (PageRequest { pv: false, pid: 0, ..request(1, pasid, 7, 0x1000) }, INVALID),
        (PageRequest { privileged: true, ..request(1, pasid, 8, 0x1000) }, INVALID),
        (PageRequest { write: true, execute: true, ..request(1, pasid, 9, 0x1000) }, SUCCESS),
    ];
    for (request, code) in cases {
        bench.fake.page_request(request);
        bench.iommu.service_page_requests(10);
        assert_eq!(bench.answers(1), [(request.index, code)], "{request:?}");
    }
    assert_eq!(dead.asked(), []);
    assert_eq!(mm.asked(), [0x1000, 0x2000, 0x3000, 0x1000]);
    let statistics = bench.iommu.statistics();
    assert_eq!(
        (statistics.responses_success, statistics.responses_invalid, statistics.responses_failure),
        (2, 6, 1)
    );
    let codes = [SUCCESS, INVALID, FAILURE];
    assert_eq!(codes, [0x0, 0x1, 0xf]);
}

#[test]
fn clause_14_the_handler_hears_of_what_could_not_be_resolved_and_decides() {
    let cases = [
        (FaultDecision::AsResolved, INVALID),
        (FaultDecision::Retry, SUCCESS),
        (FaultDecision::Invalid, INVALID),
        (FaultDecision::Failure, FAILURE),
    ];
    for (decision, code) in cases {
        let bench = Bench::with_ats();
        let handle = bench.iommu.bind(1, bench.mm()).unwrap();
        let ops = Arc::new(TestOps { decision: Some(decision), ..TestOps::default() });
        handle.set_ops(ops.clone(), no_data()).unwrap();
        bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
        bench.iommu.service_page_requests(10);
        assert_eq!(bench.answers(1), [(1, code)]);
        let [fault] = ops.faults()[..] else { panic!("{:?}", ops.faults()) };
        assert!(fault.is_recoverable());
        assert_eq!((fault.access.address, fault.access.read, fault.access.write), (0x1000, true, false));
    }
}

#[test]
fn clause_15_the_pasid_is_in_an_answer_only_if_the_device_needs_it() {
    for needed in [false, true] {
        let behaviour = Behaviour { response_needs_pasid: needed, ..Behaviour::default() };
        let options = PriOptions { response_needs_pasid: needed, ..PriOptions::default() };
        let bench = Bench::with_ats_and(config(), behaviour, options);
        let (_, handle) = bound(&bench);
        let pasid = handle.pasid();
        bench.fake.page_request(request(1, pasid, 1, 0x1000));
        bench.fake.page_request(request(1, Pasid::new(99).unwrap(), 2, 0x1000));
        bench.iommu.service_page_requests(10);
        let pasids: Vec<_> = bench.responses(1).iter().map(|response| response.pasid).collect();
        let expected = if needed { [Some(pasid.get()), Some(99)] } else { [None; 2] };
        assert_eq!(pasids, expected);
        // The fake notes a violation if an answer is not as the device expects.
    }
}

#[test]
fn clause_15_automatic_answers_follow_the_specification() {
    let behaviour = Behaviour { response_needs_pasid: true, ..Behaviour::default() };
    let options = PriOptions { response_needs_pasid: true, ..PriOptions::default() };
    let small = Config { page_request_queue_log2: 3, ..config() };
    let bench = Bench::with_ats_and(small, behaviour, options);
    let (_, handle) = bound(&bench);
    let pasid = handle.pasid();
    // Queue full: Success, with the PASID as PRPR says.
    (0..9).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    let responses = bench.responses(1);
    assert_eq!(responses.len(), 2);
    assert!(responses.iter().all(|it| it.automatic && it.code == SUCCESS && it.pasid == Some(pasid.get())));
    bench.iommu.service_page_requests(100);
    assert_eq!(bench.responses(1).len(), 7);
    // Memory fault: Response Failure, with the PASID in any case.
    bench.fake.adjust(|knobs| knobs.request_faults = 1);
    bench.fake.page_request(request(1, pasid, 20, 0x1000));
    let [response] = bench.responses(1)[..] else { panic!() };
    assert_eq!((response.code, response.pasid, response.automatic), (FAILURE, Some(pasid.get()), true));
    bench.iommu.service_page_requests(100);
    // Page requests off: Invalid Request, and a context that no longer says PRPR.
    bench.iommu.disable_pri(1).unwrap();
    bench.fake.attach(1, Behaviour::default());
    bench.fake.page_request(request(1, pasid, 21, 0x1000));
    bench.fake.page_request(part(1, pasid, 22, 0x1000));
    bench.fake.page_request(stop_marker(1, pasid));
    let [response] = bench.responses(1)[..] else { panic!() };
    assert_eq!((response.code, response.pasid, response.automatic), (INVALID, None, true));
    // A device that is not there: Response Failure.
    bench.fake.attach(9, Behaviour::default());
    bench.fake.page_request(request(9, pasid, 23, 0x1000));
    let [response] = bench.responses(9)[..] else { panic!() };
    assert_eq!((response.code, response.pasid, response.automatic), (FAILURE, Some(pasid.get()), true));
}

#[test]
fn clause_16_overflow_is_recovered_from_and_nothing_is_lost_for_good() {
    let bench = Bench::with_ats_and(
        Config { page_request_queue_log2: 3, page_request_vector: Some(1), ..config() },
        Behaviour::default(),
        PriOptions::default(),
    );
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    // A group whose end will be lost, six whole ones, and three too many.
    bench.fake.page_request(part(1, pasid, 100, 0xa000));
    (0..6).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    bench.fake.page_request(request(1, pasid, 100, 0xb000));
    bench.fake.page_request(part(1, pasid, 101, 0xc000));
    bench.fake.page_request(request(1, pasid, 102, 0xd000));
    assert!(bench.fake.request_interrupt());
    let report = bench.iommu.service_page_requests(100);
    assert!(report.overflow && !report.more);
    assert_eq!(report.groups, 6);
    let mut answers = bench.answers(1);
    answers.sort();
    let all: Vec<_> = (0..6).chain([100, 102]).map(|index| (index, SUCCESS)).collect();
    assert_eq!(answers, all);
    // The incomplete group was not serviced, nor does it mix with what uses its index next.
    assert_eq!(mm.asked(), [0x1000; 6]);
    assert_eq!(bench.iommu.statistics().requests_discarded, 1);
    assert!(!bench.fake.request_interrupt());
    bench.fake.page_request(request(1, pasid, 100, 0xb000));
    assert!(bench.fake.request_interrupt());
    let report = bench.iommu.service_page_requests(100);
    assert!(!report.overflow);
    assert_eq!((bench.answers(1), mm.asked()[6..].to_vec()), (vec![(100, SUCCESS)], vec![0xb000]));
    assert_eq!(bench.iommu.statistics().request_queue_high_water, 7);
}

#[test]
fn clause_16_open_groups_survive_as_long_as_the_queue_is_not_empty() {
    let bench = Bench::with_ats_and(
        Config { page_request_queue_log2: 5, ..config() },
        Behaviour::default(),
        PriOptions::default(),
    );
    let (mm, handle) = bound(&bench);
    // More than one burst, of which the last closes a group that the first began; then an overflow.
    bench.fake.page_request(part(1, handle.pasid(), 100, 0xa000));
    (0..29).for_each(|index| bench.fake.page_request(request(1, handle.pasid(), index, 0x1000)));
    bench.fake.page_request(request(1, handle.pasid(), 100, 0xb000));
    bench.fake.page_request(request(1, handle.pasid(), 101, 0xc000));
    assert!(bench.iommu.service_page_requests(100).overflow);
    assert_eq!(bench.answers(1).len(), 31);
    assert_eq!(mm.asked()[29..], [0xa000, 0xb000]);
    assert_eq!(bench.iommu.statistics().requests_discarded, 0);
}

#[test]
fn clause_16_memory_faults_are_recovered_from() {
    let bench = Bench::with_ats();
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    bench.fake.page_request(request(1, pasid, 1, 0x1000));
    bench.fake.page_request(part(1, pasid, 2, 0x2000));
    bench.fake.adjust(|knobs| knobs.request_faults = 1);
    bench.fake.page_request(request(1, pasid, 2, 0x3000));
    bench.fake.page_request(request(1, pasid, 3, 0x4000));
    let report = bench.iommu.service_page_requests(100);
    assert!(report.memory_fault && !report.overflow);
    let mut answers = bench.answers(1);
    answers.sort();
    assert_eq!(answers, [(1, SUCCESS), (2, FAILURE), (3, FAILURE)]);
    bench.fake.page_request(request(1, pasid, 2, 0x5000));
    assert!(!bench.iommu.service_page_requests(100).memory_fault);
    assert_eq!(bench.answers(1), [(2, SUCCESS)]);
    assert_eq!(mm.asked(), [0x1000, 0x5000]);
}

#[test]
fn clause_16_the_interrupt_is_cleared_before_the_tail_is_read() {
    let bench = Bench::with_ats_and(
        Config { page_request_vector: Some(1), ..config() },
        Behaviour::default(),
        PriOptions::default(),
    );
    let fake = bench.fake.clone();
    let late = std::sync::atomic::AtomicBool::new(false);
    let mm = bench.mm().resolve_with(move |mm, access| {
        // One that arrives while the service is at work.
        if !late.swap(true, Ordering::SeqCst) {
            fake.page_request(request(1, mm.sva.pasid().unwrap(), 2, 0x2000));
        }
        populate(mm, access)
    });
    let handle = bench.iommu.bind(1, mm).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    assert!(bench.fake.request_interrupt());
    let report = bench.iommu.service_page_requests(1);
    // Beyond the budget, but it is not forgotten.
    assert_eq!((report.groups, report.more), (1, true));
    bench.fake.page_request(request(1, handle.pasid(), 3, 0x3000));
    assert!(bench.fake.request_interrupt());
    bench.iommu.service_page_requests(10);
    assert!(!bench.fake.request_interrupt());
    assert_eq!(bench.answers(1).len(), 3);
}

#[test]
fn clause_16_a_drain_that_saw_an_overflow_drains_again() {
    let bench = Bench::with_ats_and(
        Config { page_request_queue_log2: 3, ..config() },
        Behaviour::default(),
        PriOptions::default(),
    );
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    (0..12).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    bench.fake.take_events();
    handle.unbind();
    // Reception was resumed, the tail looked at again, and nobody asked the mm.
    let tail = u32::from(pasidon_spec::registers::pqh::REG.offset);
    assert!(
        bench
            .fake
            .take_events()
            .iter()
            .any(|it| matches!(it, Event::Write { offset, .. } if *offset == tail))
    );
    let answers = bench.answers(1);
    assert_eq!(answers.iter().filter(|answer| answer.1 == INVALID).count(), 7);
    assert_eq!((answers.len(), bench.fake.unanswered(1)), (12, 0));
    assert_eq!(mm.asked(), []);
    bench.fake.page_request(request(1, pasid, 50, 0x1000));
    assert!(!bench.iommu.service_page_requests(10).overflow);
    assert_eq!(bench.answers(1), [(50, INVALID)]);
}

#[test]
fn deferred_groups_wait_without_holding_up_others_and_are_asked_for_again() {
    let bench = Bench::with_ats();
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let gate = ready.clone();
    let mm = bench.mm().resolve_with(move |mm, access| {
        if access.address == 0x2000 && !gate.load(Ordering::SeqCst) {
            return Resolution::NotNow;
        }
        populate(mm, access)
    });
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let pasid = handle.pasid();
    bench.fake.page_request(part(1, pasid, 1, 0x1000));
    bench.fake.page_request(part(1, pasid, 1, 0x2000));
    bench.fake.page_request(request(1, pasid, 1, 0x3000));
    bench.fake.page_request(request(1, pasid, 2, 0x4000));
    for _ in 0..3 {
        let report = bench.iommu.service_page_requests(10);
        assert_eq!((report.deferred, report.more), (1, false));
    }
    assert_eq!(bench.answers(1), [(2, SUCCESS)]);
    // Once per call, and what was populated is not asked for again.
    let asked = mm.asked();
    assert_eq!(asked.iter().filter(|&&address| address == 0x1000).count(), 1);
    assert_eq!(asked.iter().filter(|&&address| address == 0x2000).count(), 3);
    ready.store(true, Ordering::SeqCst);
    assert_eq!(bench.iommu.service_page_requests(10).deferred, 0);
    assert_eq!(bench.answers(1), [(1, SUCCESS)]);
    assert_eq!(bench.iommu.statistics().pages_deferred, 3);
}

#[test]
fn clause_07_unbind_answers_what_is_queued_in_line_and_deferred() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|_, _| Resolution::NotNow);
    let other = bench.mm().resolve_with(populate);
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let stays = bench.iommu.bind(1, other.clone()).unwrap();
    let pasid = handle.pasid();
    bench.fake.page_request(request(1, pasid, 1, 0x1000));
    bench.iommu.service_page_requests(10);
    bench.fake.page_request(request(1, pasid, 2, 0x1000));
    bench.iommu.receive_page_requests();
    bench.fake.page_request(part(1, pasid, 3, 0x1000));
    bench.fake.page_request(request(1, pasid, 4, 0x1000));
    bench.fake.page_request(request(1, stays.pasid(), 5, 0x1000));
    handle.unbind();
    let mut answers = bench.answers(1);
    answers.sort();
    assert_eq!(answers, [(1, INVALID), (2, INVALID), (4, INVALID)]);
    // The end of the open group comes late: there is no such PASID. The other mm's request is as it was.
    bench.fake.page_request(request(1, pasid, 3, 0x2000));
    bench.iommu.service_page_requests(10);
    let mut answers = bench.answers(1);
    answers.sort();
    assert_eq!(answers, [(3, INVALID), (5, SUCCESS)]);
    assert_eq!((mm.asked(), other.asked()), (vec![0x1000], vec![0x1000]));
}

#[test]
fn clause_07_a_reused_pasid_never_meets_requests_of_its_past() {
    let bench = Bench::with_ats();
    let (old, handle) = bound(&bench);
    let pasid = handle.pasid();
    (0..20).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    handle.unbind();
    drop(old);
    let (new, handle) = bound(&bench);
    assert_eq!(handle.pasid(), pasid, "the same PASID");
    bench.iommu.service_page_requests(100);
    assert_eq!(new.asked(), []);
    assert!(bench.answers(1).iter().all(|answer| answer.1 == INVALID));
    assert_eq!(bench.fake.unanswered(1), 0);
}

#[test]
fn clause_09_exit_does_not_wait_for_page_requests_in_flight() {
    let bench = Bench::with_ats();
    let inside = Arc::new(std::sync::Barrier::new(2));
    let (gate, release) = (inside.clone(), Arc::new(std::sync::Barrier::new(2)));
    let held = release.clone();
    let mm = bench.mm().resolve_with(move |_, _| {
        gate.wait();
        held.wait();
        Resolution::Invalid
    });
    let handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let ops = TestOps::new();
    handle.set_ops(ops.clone(), no_data()).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    bench.fake.page_request(request(1, handle.pasid(), 2, 0x1000));
    std::thread::scope(|scope| {
        scope.spawn(|| bench.iommu.service_page_requests(10));
        inside.wait();
        bench.iommu.mm_exit(&*mm).unwrap();
        assert_eq!(ops.exits(), 1);
        release.wait();
    });
    // Clause 10: after exit all get Invalid, and nobody is asked or told any more.
    assert_eq!(bench.answers(1), [(1, INVALID), (2, INVALID)]);
    assert_eq!((mm.asked().len(), ops.faults().len()), (1, 0));
    handle.unbind();
}

#[test]
fn clause_18_a_flood_does_not_starve_another_device() {
    let bench = Bench::with_ats_and(
        Config { page_request_queue_log2: 5, ..config() },
        Behaviour::default(),
        PriOptions { outstanding: 16, ..PriOptions::default() },
    );
    let fake = bench.fake.clone();
    let (mm, victim_mm) = (bench.mm(), bench.mm().resolve_with(populate));
    let mm = mm.resolve_with(move |mm, access| {
        // The flood never ends: each answer brings two more.
        let pasid = mm.sva.pasid().unwrap();
        fake.page_request(request(1, pasid, 1, 0x1000));
        fake.page_request(request(1, pasid, 2, 0x1000));
        populate(mm, access)
    });
    let handle = bench.iommu.bind(1, mm).unwrap();
    let victim = bench.iommu.bind(2, victim_mm.clone()).unwrap();
    (0..14).for_each(|index| bench.fake.page_request(request(1, handle.pasid(), index, 0x1000)));
    bench.fake.page_request(request(2, victim.pasid(), 9, 0x5000));
    let report = bench.iommu.service_page_requests(3);
    assert!(report.more);
    assert_eq!(bench.answers(2), [(9, SUCCESS)], "the third group at the latest is the victim's");
    // Every call ends.
    for _ in 0..20 {
        let report = bench.iommu.service_page_requests(1000);
        assert!(report.groups <= 1000);
    }
}

#[test]
fn clause_18_requests_beyond_the_allocation_are_refused_and_take_no_memory() {
    let bench = Bench::with_ats_and(
        config(),
        Behaviour::default(),
        PriOptions { outstanding: 4, ..PriOptions::default() },
    );
    let (mm, handle) = bound(&bench);
    let pasid = handle.pasid();
    let before = bench.fake.allocations();
    // Open groups for ever, on every index.
    (0..200).for_each(|index| bench.fake.page_request(part(1, pasid, index, 0x1000)));
    (0..50).for_each(|index| bench.fake.page_request(request(1, pasid, 300 + index, 0x1000)));
    bench.iommu.service_page_requests(1000);
    let answers = bench.answers(1);
    assert_eq!(answers.len(), 50);
    assert!(answers.iter().all(|answer| answer.1 == FAILURE));
    assert_eq!(bench.iommu.statistics().requests_excess, 196 + 50);
    assert_eq!((mm.asked(), bench.fake.allocations()), (vec![], before));
    // A stop marker, or the unbind, makes room again.
    bench.fake.page_request(stop_marker(1, pasid));
    bench.fake.page_request(request(1, pasid, 7, 0x1000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), [(7, SUCCESS)]);
    handle.unbind();
}

#[test]
fn answers_survive_restarts_of_the_command_queue_and_are_sent_once() {
    let bench = Bench::with_ats();
    let (_, handle) = bound(&bench);
    for round in 0..30 {
        bench.fake.page_request(request(1, handle.pasid(), round, 0x1000));
        // The fetch of the answer, or that of its fence.
        bench.fake.adjust(|knobs| knobs.fetch_faults = usize::from(round % 3));
        bench.iommu.service_page_requests(10);
        assert_eq!(bench.answers(1), [(round, SUCCESS)]);
    }
    // One that is called illegal can't be sent: that is counted, and not for ever.
    bench.fake.adjust(|knobs| knobs.illegal_commands = 1);
    bench.fake.page_request(request(1, handle.pasid(), 40, 0x1000));
    bench.iommu.service_page_requests(10);
    assert_eq!(bench.answers(1), []);
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.responses_lost, statistics.responses_success), (1, 30));
}

#[test]
fn a_handler_that_panics_leaves_nobody_waiting() {
    let bench = Bench::with_ats();
    let mm = bench.mm().resolve_with(|_, _| panic!("a test panics here"));
    let handle = bench.iommu.bind(1, mm).unwrap();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    let service = || bench.iommu.service_page_requests(10);
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(service)).is_err());
    assert_eq!(bench.answers(1), [(1, FAILURE)]);
    handle.unbind();
}

#[test]
fn messages_of_the_iommu_are_told_apart() {
    let bench = Bench::with_ats();
    let (_, handle) = bound(&bench);
    bench.fake.take_events();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    bench.iommu.service_page_requests(1);
    let sent =
        |event: &Event| matches!(event, Event::Message(Message::GroupResponse { automatic: false, .. }));
    assert_eq!(bench.fake.take_events().iter().filter(|event| sent(event)).count(), 1);
}
