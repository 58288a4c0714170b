//! The device against answers that the test writes.

use super::*;
use pasidon_spec::message::PageRequestGroupResponse;

const TAG: Tag = Some(7);

fn device(behaviour: Behaviour) -> Endpoint {
    Endpoint::new(0x1_0005, 0, behaviour, 1)
}

fn access(va: u64, write: bool) -> DmaAccess {
    DmaAccess { channel: 0, request: DmaRequest { va, length: 8, write, exec: false }, begun: 0 }
}

fn page(page: u64, write: bool) -> Completion {
    Completion::Success(CachedTranslation {
        page,
        shift: 12,
        read: true,
        write,
        exec: false,
        untranslated: false,
    })
}

const NOTHING: Completion = Completion::Success(CachedTranslation {
    page: 0,
    shift: 12,
    read: false,
    write: false,
    exec: false,
    untranslated: false,
});

fn response(index: u16, code: u64) -> Message {
    let body = PageRequestGroupResponse { index, code: code as u8 };
    Message::GroupResponse { rid: 5, dseg: Some(1), pid: None, body }
}

fn invalidate(page: u64, itag: u8) -> Message {
    let body = InvalidationRequest { global: false, page, napot: false };
    Message::Invalidation { rid: 5, dseg: Some(1), pid: TAG, itag, body }
}

#[test]
fn a_page_that_is_not_there_is_asked_for_and_then_used() {
    let mut device = device(Behaviour::default());
    assert_eq!(device.begin(TAG, access(0x5010, true)), Begin::Waits);
    assert_eq!(device.begin(TAG, access(0x5020, true)), Begin::Waits);
    let question = device.take_question().unwrap();
    assert!(question.page == 5 && question.write && device.take_question().is_none());
    device.answer(&question, NOTHING);
    device.tick(10);
    let asked = device.take_page_request().unwrap();
    assert!(asked.did == 0x1_0005 && asked.pid == 7 && asked.last && asked.write && asked.page == 5);
    assert!(device.take_page_request().is_none() && device.take_question().is_none());
    device.receive(&response(asked.index, response_code::SUCCESS), 60);
    let question = device.take_question().unwrap();
    device.answer(&question, page(0x9000, true));
    for va in [0x10, 0x20] {
        let (_, ready) = device.take_ready().unwrap();
        assert!(
            matches!(device.begin(TAG, ready), Begin::Send { address, translated: true, .. } if address == 0x9000 + va)
        );
    }
    assert_eq!((device.statistics.latency.min(), device.statistics.groups), (50, 1));
    // The index is free now: an answer more is one too many.
    device.receive(&response(asked.index, response_code::SUCCESS), 61);
    assert_eq!(device.statistics.unexpected, 1);
    // An answer with a PASID, which this device does not expect.
    device.begin(TAG, access(0x7000, false));
    let question = device.take_question().unwrap();
    device.answer(&question, NOTHING);
    device.tick(70);
    let asked = device.take_page_request().unwrap();
    let body = PageRequestGroupResponse { index: asked.index, code: 0 };
    device.receive(&Message::GroupResponse { rid: 5, dseg: Some(1), pid: TAG, body }, 71);
    assert_eq!(device.take_problems().len(), 1);
}

#[test]
fn an_invalidation_is_completed_when_the_last_access_has_landed() {
    let mut device = device(Behaviour { delay: 5, completions: 3, ..Behaviour::default() });
    device.begin(TAG, access(0x5000, false));
    let question = device.take_question().unwrap();
    device.answer(&question, page(0x9000, false));
    let (_, ready) = device.take_ready().unwrap();
    let Begin::Send { flight, .. } = device.begin(TAG, ready) else { panic!("it is known") };
    // Another page's translation is on its way when the request for it comes.
    device.begin(TAG, access(0x6000, false));
    let late = device.take_question().unwrap();
    device.receive(&invalidate(5, 3), 100);
    device.receive(&invalidate(6, 4), 100);
    device.tick(104);
    assert!(matches!(device.begin(TAG, access(0x5008, false)), Begin::Send { .. }), "not yet forgotten");
    let second = device.flown;
    device.tick(105);
    assert_eq!(device.begin(TAG, access(0x5008, false)), Begin::Waits);
    device.landed(flight);
    device.tick(106);
    assert!(device.take_completion().is_none(), "one access is under way");
    device.landed(second);
    device.tick(107);
    let sent: Vec<_> = std::iter::from_fn(|| device.take_completion()).collect();
    assert_eq!(sent.len(), 6);
    assert!(sent[..3].iter().all(|it| (it.itags, it.count, it.dseg) == (1 << 3, 3, Some(1))));
    assert!(sent[3..].iter().all(|it| it.itags == 1 << 4));
    // What was asked before the invalidation and answered after it is not used.
    device.answer(&late, page(0xa000, true));
    assert!(device.take_ready().is_none());
    assert!(device.take_question().is_some_and(|question| question.page == 5 || question.page == 6));
}

#[test]
fn credits_and_indices_bound_what_is_outstanding() {
    let mut device = device(Behaviour { credits: 5, group: 3, ..Behaviour::default() });
    for n in 0..20 {
        device.begin(TAG, access(n << 12, false));
        let question = device.take_question().unwrap();
        device.answer(&question, NOTHING);
    }
    let mut open: Vec<PageRequest> = Vec::new();
    let mut pages = 0;
    for now in 0..100 {
        device.tick(now);
        while let Some(request) = device.take_page_request() {
            pages += 1;
            open.push(request);
        }
        assert!(open.len() <= 5);
        let mut indices: Vec<u16> =
            open.iter().filter(|request| request.last).map(|request| request.index).collect();
        indices.dedup();
        let Some(&index) = indices.first() else { break };
        device.receive(&response(index, response_code::INVALID_REQUEST), now);
        open.retain(|request| request.index != index);
    }
    assert_eq!((pages, device.take_given_up().len()), (20, 20));
    assert!(device.take_problems().is_empty());
}

#[test]
fn a_response_failure_ends_page_requests_until_the_reset() {
    let mut device = device(Behaviour::default());
    let miss = |device: &mut Endpoint, va| {
        device.begin(TAG, access(va, false));
        let question = device.take_question().unwrap();
        device.answer(&question, NOTHING);
        device.tick(1);
        device.take_page_request()
    };
    let asked = miss(&mut device, 0x1000).unwrap();
    let carried =
        PageRequestGroupResponse { index: asked.index, code: response_code::RESPONSE_FAILURE as u8 };
    // The IOMMU's own failures carry the PASID whether the device needs it or not.
    device.receive(&Message::GroupResponse { rid: 5, dseg: Some(1), pid: TAG, body: carried }, 2);
    assert!(device.has_failed() && device.take_problems().is_empty());
    assert_eq!(miss(&mut device, 0x2000), None);
    assert_eq!(device.take_given_up().len(), 2);
    device.reset();
    assert!(miss(&mut device, 0x2000).is_some());
}

#[test]
fn a_stop_marker_ends_what_waits_and_late_answers_mean_nothing() {
    let mut device = device(Behaviour::default());
    device.begin(TAG, access(0x1000, false));
    device.begin(TAG, access(0x2000, false));
    let question = device.take_question().unwrap();
    device.answer(&question, NOTHING);
    device.tick(1);
    let asked = device.take_page_request().unwrap();
    assert_eq!(device.stop(TAG, true).len(), 2);
    assert!(!device.is_idle_in(TAG));
    assert!(device.take_page_request().is_some_and(|marker| marker.is_stop_marker() && marker.pid == 7));
    assert!(device.is_idle_in(TAG) && device.outstanding_in(TAG) == 1);
    device.receive(&response(asked.index, response_code::SUCCESS), 9);
    assert!(
        device.take_question().is_none()
            && device.outstanding_in(TAG) == 0
            && device.take_problems().is_empty()
    );
}

#[test]
fn each_way_to_misbehave_shows() {
    let known = |behaviour| {
        let mut device = device(behaviour);
        device.begin(TAG, access(0x5000, false));
        let question = device.take_question().unwrap();
        device.answer(&question, page(0x9000, false));
        let (_, ready) = device.take_ready().unwrap();
        device.begin(TAG, ready);
        device.receive(&invalidate(5, 2), 0);
        device.tick(100);
        device
    };
    assert_eq!(
        known(Behaviour { completes: false, waits: false, ..Behaviour::default() }).take_completion(),
        None
    );
    let mut stale = known(Behaviour { forgets: false, waits: false, ..Behaviour::default() });
    assert!(
        stale.take_completion().is_some()
            && matches!(stale.begin(TAG, access(0x5000, false)), Begin::Send { .. })
    );
    assert!(known(Behaviour::default()).take_completion().is_none());
    assert!(known(Behaviour { waits: false, ..Behaviour::default() }).take_completion().is_some());
    let mut wrong = known(Behaviour { wrong_tag: true, waits: false, ..Behaviour::default() });
    assert_eq!(wrong.take_completion().map(|it| it.itags), Some(1 << 3));
    let mut gone = device(Behaviour::default());
    gone.remove();
    gone.receive(&invalidate(5, 2), 0);
    gone.tick(100);
    assert!(gone.is_gone() && gone.take_completion().is_none());
}
