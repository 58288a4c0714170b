//! The order of the driver's calls to its platform, as its memory model wants it.

use super::*;
use crate::{
    Change,
    fake::{Call, Tap, Tapped},
};
use pasidon_spec::registers::{cqcsr, cqh, cqt, fqh, fqt, pqh, pqt};

/// Writes every call down.
#[derive(Default)]
struct Notebook(Mutex<Vec<Call>>);

impl Tap for Notebook {
    fn before(&self, call: Call) {
        self.0.lock().unwrap().push(call);
    }
}

fn bench() -> (Bench, Arc<Tapped<Fake, Notebook>>) {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let platform = Tapped::new(fake.clone(), Notebook::default());
    let bench = Bench { iommu: Iommu::new(platform.clone(), config()).unwrap(), fake };
    bench.add(1, Behaviour::default(), PriOptions::default());
    (bench, platform)
}

fn calls<R>(platform: &Tapped<Fake, Notebook>, call: impl FnOnce() -> R) -> Vec<Call> {
    platform.tap.0.lock().unwrap().clear();
    call();
    platform.tap.0.lock().unwrap().clone()
}

fn is_access(call: &Call) -> bool {
    matches!(call, Call::Read(_) | Call::Write(_) | Call::Load(_) | Call::Store(_) | Call::Fence)
}

/// What is accessed right before and right after every access that `which` names.
fn neighbours(calls: &[Call], which: impl Fn(&Call) -> bool) -> Vec<(Option<Call>, Option<Call>)> {
    let accesses: Vec<Call> = calls.iter().copied().filter(is_access).collect();
    let at = |position: usize| accesses.get(position).copied();
    let found = accesses.iter().enumerate().filter(|(_, call)| which(call));
    found.map(|(position, _)| (position.checked_sub(1).and_then(at), at(position + 1))).collect()
}

const fn offset(register: &pasidon_spec::registers::Register) -> u32 {
    register.offset as u32
}

#[test]
fn clause_19_what_follows_an_invalidation_follows_what_the_iommu_confirmed() {
    let (bench, platform) = bench();
    let mm = bench.mm();
    let _handle = bench.iommu.bind(1, mm.clone()).unwrap();
    let calls = calls(&platform, || bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves).unwrap());
    let head = |call: &Call| *call == Call::Read(offset(&cqh::REG));
    let last = calls.iter().rposition(head).expect("the head is read");
    assert!(calls[last..].contains(&Call::Fence), "nothing orders what comes after {:?}", &calls[last..]);
    // And what the caller did before precedes the commands.
    let first = calls.iter().position(|call| matches!(call, Call::Store(_))).expect("a command");
    assert!(calls[..first].contains(&Call::Fence));
}

#[test]
fn every_doorbell_follows_a_fence() {
    let (bench, platform) = bench();
    let mm = bench.mm().resolve_with(populate);
    let calls = calls(&platform, || {
        let handle = bench.iommu.bind(1, mm.clone()).unwrap();
        bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
        bench.fake.dma(1, Some(handle.pasid().get()), 0x9000, Access::Read).unwrap_err();
        bench.iommu.service_page_requests(1);
        bench.iommu.service_faults(|_| ());
        bench.iommu.mm_exit(&*mm).unwrap();
    });
    let doorbells = [&cqt::REG, &fqh::REG, &pqh::REG, &cqcsr::REG].map(offset);
    for register in &doorbells[..3] {
        assert!(calls.contains(&Call::Write(*register)), "{register}");
    }
    let rung = |call: &Call| matches!(call, Call::Write(register) if doorbells.contains(register));
    for (before, _) in neighbours(&calls, rung) {
        assert_eq!(before, Some(Call::Fence));
    }
}

#[test]
fn records_are_read_after_the_tail_and_before_the_head_moves() {
    let (bench, platform) = bench();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    bench.fake.dma(1, Some(handle.pasid().get()), 0x9000, Access::Read).unwrap_err();
    bench.fake.page_request(request(1, handle.pasid(), 1, 0x1000));
    let calls = calls(&platform, || {
        bench.iommu.service_faults(|_| ());
        bench.iommu.receive_page_requests();
    });
    let accesses: Vec<Call> = calls.into_iter().filter(is_access).collect();
    for (tail, head) in [(&fqt::REG, &fqh::REG), (&pqt::REG, &pqh::REG)] {
        let moved = accesses.iter().position(|call| *call == Call::Write(offset(head))).expect("it moves");
        assert_eq!(accesses[moved - 1], Call::Fence, "the IOMMU could overwrite what is being read");
        let before = &accesses[..moved - 1];
        let loads = before.iter().rev().take_while(|call| matches!(call, Call::Load(_))).count();
        assert!(loads > 0);
        let before = &before[..before.len() - loads];
        assert_eq!(before[before.len() - 2..], [Call::Read(offset(tail)), Call::Fence]);
    }
}
