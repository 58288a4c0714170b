//! The bounds that the crate's documentation states for each call: batches of commands that it waits for, and register
//! accesses beside those of waiting.

use super::*;
use crate::{
    Change, PasidSpace,
    fake::{Call, Tap, Tapped},
};
use std::{
    collections::BTreeSet,
    string::{String, ToString},
};

/// Counts accesses to registers, and turns of waiting, each of which may make a few.
#[derive(Default)]
struct Meter {
    /// Since the last turn.
    accesses: AtomicUsize,
    /// In turns, beyond what a turn may make.
    beyond: AtomicUsize,
    turns: AtomicUsize,
}

/// Register accesses of a turn.
const TURN: usize = 3;

impl Tap for Meter {
    fn before(&self, call: Call) {
        match call {
            Call::Read(_) | Call::Write(_) => _ = self.accesses.fetch_add(1, Ordering::SeqCst),
            Call::Relax => {
                let accesses = self.accesses.swap(0, Ordering::SeqCst);
                self.beyond.fetch_add(accesses.saturating_sub(TURN), Ordering::SeqCst);
                self.turns.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

/// What has been measured, and what of it was more than is stated.
struct Measured<'a> {
    platform: &'a Tapped<Fake, Meter>,
    calls: BTreeSet<String>,
    excess: Vec<(String, usize, usize)>,
}

impl Measured<'_> {
    /// Makes a call that is stated to take so many batches, and so many register accesses beside them.
    fn within<R>(
        &mut self,
        iommu: Option<&Iommu>,
        call: &str,
        (batches, fixed): (usize, usize),
        make: impl FnOnce() -> R,
    ) -> R {
        let batches_so_far = || iommu.map_or(0, |iommu| iommu.statistics().batches);
        let meter = &self.platform.tap;
        let before = batches_so_far();
        for counter in [&meter.accesses, &meter.beyond, &meter.turns] {
            counter.store(0, Ordering::SeqCst);
        }
        let result = make();
        // That of a new IOMMU is not known from outside: one.
        let waited = if iommu.is_some() { batches_so_far() - before } else { 1.min(batches) };
        let [accesses, beyond, turns] =
            [&meter.accesses, &meter.beyond, &meter.turns].map(|counter| counter.load(Ordering::SeqCst));
        // The turn in which a batch is found done is not ended by waiting.
        let rest = (accesses + beyond).saturating_sub(TURN * waited);
        std::println!("{call}: {waited} batches, {rest} accesses beside {turns} turns of waiting");
        if waited > batches || rest > fixed {
            self.excess.push((call.to_string(), waited, rest));
        }
        self.calls.insert(call.to_string());
        result
    }
}

#[test]
fn clause_20_every_call_keeps_its_bounds() {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let platform = Tapped::new(fake.clone(), Meter::default());
    let mut measured = Measured { platform: &platform, calls: BTreeSet::new(), excess: vec![] };
    let m = &mut measured;
    let iommu = m.within(None, "Iommu::new", (1, NEW), || Iommu::new(platform.clone(), config())).unwrap();
    let bench = Bench { iommu, fake };
    (1..=9).for_each(|device| bench.add(device, Behaviour::default(), PriOptions::default()));
    let mm = bench.mm().resolve_with(populate);
    let handles = service_calls(m, &bench, &mm);
    power_calls(m, &bench);
    end_calls(m, &bench, &mm, handles);
    device_calls(m, &bench);
    let all = surface::calls();
    let missing: Vec<_> = all.difference(&measured.calls).collect();
    assert_eq!(missing, Vec::<&String>::new(), "calls of the page whose bounds nobody measures");
    let unknown: Vec<_> = measured.calls.difference(&all).collect();
    assert_eq!(unknown, Vec::<&String>::new(), "not calls of the page");
    assert_eq!(measured.excess, []);
}

/// Register accesses of bringing an IOMMU up, beside waiting.
const NEW: usize = 48;
/// The same of switching it off, and of switching it on again.
const OFF: usize = 12;
const ON: usize = 40;

fn service_calls(m: &mut Measured<'_>, bench: &Bench, mm: &Arc<TestMm>) -> Vec<Handle> {
    let iommu = &bench.iommu;
    let on = Some(iommu);
    let nothing = (0, 0);
    let bind = |device| iommu.bind(device, mm.clone()).unwrap();
    let mut handles = vec![m.within(on, "Iommu::bind", (1, 4), || bind(1))];
    // Again.
    handles.push(m.within(on, "Iommu::bind", (0, 4), || bind(1)));
    handles.extend((2..=9).map(bind));
    let first = &handles[0];
    m.within(on, "Handle::set_ops", nothing, || first.set_ops(TestOps::new(), no_data()).unwrap());
    let pasid = m.within(on, "Bond::pasid", nothing, || first.pasid());
    m.within(on, "Bond::device_id", nothing, || first.device_id());
    m.within(on, "Bond::mm", nothing, || _ = first.mm());
    m.within(on, "Bond::mm_exited", nothing, || first.mm_exited());
    m.within(on, "MmSva::new", nothing, MmSva::new);
    m.within(on, "MmSva::pasid", nothing, || mm.sva.pasid());
    m.within(on, "MmSva::exited", nothing, || mm.sva.exited());
    let space = m.within(on, "PasidSpace::new", nothing, || PasidSpace::new(9));
    m.within(on, "PasidSpace::in_use", nothing, || space.in_use());
    m.within(on, "Iommu::capabilities", nothing, || iommu.capabilities());
    m.within(on, "Iommu::statistics", nothing, || iommu.statistics());
    m.within(on, "Iommu::device_state", nothing, || iommu.device_state(1));
    // Nine devices are two batches of requests.
    for change in [Change::Leaves, Change::Tables] {
        m.within(on, "Iommu::invalidate_range", (1 + 2, 0), || {
            iommu.invalidate_range(&**mm, 0..4 * PAGE, change).unwrap();
        });
    }
    m.within(on, "Iommu::invalidate_shared_tables", (1, 0), || iommu.invalidate_shared_tables().unwrap());
    (0..20).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    m.within(on, "Iommu::receive_page_requests", (0, 2 * 8 + 4), || iommu.receive_page_requests());
    m.within(on, "Iommu::service_page_requests", (20, 21 * 4 + 8), || iommu.service_page_requests(20));
    (0..20).for_each(|page| _ = bench.fake.dma(1, Some(pasid.get()), page << 20, Access::Read));
    m.within(on, "Iommu::service_faults", (0, 3 * 8 + 4), || iommu.service_faults(|_| ()));
    handles
}

/// Nine devices have ATS: each is made to forget by two batches.
fn power_calls(m: &mut Measured<'_>, bench: &Bench) {
    let iommu = &bench.iommu;
    let on = Some(iommu);
    m.within(on, "Iommu::suspend", (2 * 9, OFF), || iommu.suspend().unwrap());
    m.within(on, "Iommu::suspend", (0, 0), || iommu.suspend().unwrap());
    m.within(on, "Iommu::resume", (1, ON), || iommu.resume().unwrap());
    m.within(on, "Iommu::resume", (0, 1), || iommu.resume().unwrap());
    m.within(on, "Iommu::reset", (1 + 2 * 9, ON), || iommu.reset().unwrap());
    bench.fake.reset();
    m.within(on, "Iommu::resume", (1 + 2 * 9, 1 + ON), || iommu.resume().unwrap());
}

fn end_calls(m: &mut Measured<'_>, bench: &Bench, mm: &Arc<TestMm>, mut handles: Vec<Handle>) {
    let on = Some(&bench.iommu);
    // Two commands for a device, of which six are a batch; one for the address space; two for the caches.
    m.within(on, "Iommu::mm_exit", (3 + 1 + 2, 12), || bench.iommu.mm_exit(&**mm).unwrap());
    m.within(on, "Iommu::mm_exit", (3 + 1 + 2, 12), || bench.iommu.mm_exit(&**mm).unwrap());
    let last = handles.pop().unwrap();
    m.within(on, "Handle::unbind", (2, 24), || last.unbind());
}

fn device_calls(m: &mut Measured<'_>, bench: &Bench) {
    let iommu = &bench.iommu;
    let on = Some(iommu);
    m.within(on, "Iommu::disable_pri", (1, 12), || iommu.disable_pri(1).unwrap());
    m.within(on, "Iommu::enable_pri", (1, 4), || iommu.enable_pri(1, PriOptions::default()).unwrap());
    m.within(on, "Iommu::disable_ats", (1 + 3, 12), || iommu.disable_ats(1).unwrap());
    m.within(on, "Iommu::enable_ats", (1, 4), || iommu.enable_ats(1, AtsOptions::default()).unwrap());
    m.within(on, "Iommu::cut_off", (1, 12), || iommu.cut_off(2).unwrap());
    bench.fake.reset_device(2);
    m.within(on, "Iommu::reinstate", (1, 12), || iommu.reinstate(2).unwrap());
    m.within(on, "Iommu::disable_sva", (5, 16), || iommu.disable_sva(3).unwrap());
    m.within(on, "Iommu::enable_sva", (0, 4), || iommu.enable_sva(3, DeviceOptions::default()).unwrap());
}

#[test]
fn clause_20_a_device_that_does_not_answer_costs_its_batch_what_is_stated() {
    for dead in [&[3_u32][..], &[1, 8], &[1, 2, 3, 4, 5, 6, 7, 8]] {
        let bench = Bench::with_ats();
        (3..=8).for_each(|device| bench.add(device, Behaviour::default(), PriOptions::default()));
        let mm = bench.mm();
        let _handles: Vec<_> = (1..=8).map(|device| bench.iommu.bind(device, mm.clone()).unwrap()).collect();
        for device in dead {
            bench.fake.attach(*device, Behaviour { completes: false, ..Behaviour::default() });
        }
        let invalidate = || {
            let before = bench.iommu.statistics().batches;
            bench.iommu.invalidate_range(&*mm, 0..PAGE, Change::Leaves).unwrap();
            bench.iommu.statistics().batches - before
        };
        // The IOMMU's own caches; the batch; one for each of its devices, and two more for those that are dead.
        assert_eq!(invalidate(), 1 + 1 + 8 + 2 * dead.len());
        // From then on nothing.
        assert_eq!(invalidate(), 1 + usize::from(dead.len() < 8));
    }
}
