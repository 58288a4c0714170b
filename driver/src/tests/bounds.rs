//! The bounds that the crate's documentation states for each call: batches of commands that it waits for, and register
//! accesses beside those of waiting.

use super::*;
use crate::{
    Change,
    fake::{Call, Tap, Tapped},
};

/// Counts accesses to registers, and turns of waiting.
#[derive(Default)]
struct Meter {
    accesses: AtomicUsize,
    turns: AtomicUsize,
}

impl Tap for Meter {
    fn before(&self, call: Call) {
        match call {
            Call::Read(_) | Call::Write(_) => _ = self.accesses.fetch_add(1, Ordering::SeqCst),
            Call::Relax => _ = self.turns.fetch_add(1, Ordering::SeqCst),
            _ => {}
        }
    }
}

#[test]
fn clause_20_every_call_keeps_its_bounds() {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let platform = Tapped::new(fake.clone(), Meter::default());
    let bench = Bench { iommu: Iommu::new(platform.clone(), config()).unwrap(), fake };
    let (iommu, meter) = (&bench.iommu, &platform.tap);
    (1..=9).for_each(|device| bench.add(device, Behaviour::default(), PriOptions::default()));
    let mut excess = Vec::new();
    let mut within = |name: &'static str, batches: usize, fixed: usize, call: &mut dyn FnMut()| {
        let before = iommu.statistics().batches;
        meter.accesses.store(0, Ordering::SeqCst);
        meter.turns.store(0, Ordering::SeqCst);
        call();
        let waited = iommu.statistics().batches - before;
        let (accesses, turns) = (meter.accesses.load(Ordering::SeqCst), meter.turns.load(Ordering::SeqCst));
        let rest = accesses.saturating_sub(3 * (turns + waited));
        std::println!("{name}: {waited} batches, {rest} accesses beside {turns} turns of waiting");
        if waited > batches || rest > fixed {
            excess.push((name, waited, rest));
        }
    };
    let mm = bench.mm().resolve_with(populate);
    let mut handles = Vec::new();
    within("bind", 1, 4, &mut || handles.push(iommu.bind(1, mm.clone()).unwrap()));
    within("bind again", 0, 4, &mut || handles.push(iommu.bind(1, mm.clone()).unwrap()));
    (2..=9).for_each(|device| handles.push(iommu.bind(device, mm.clone()).unwrap()));
    within("set_ops", 0, 0, &mut || handles[0].set_ops(TestOps::new(), no_data()).unwrap());
    // Nine devices are two batches of requests.
    for change in [Change::Leaves, Change::Tables] {
        within("invalidate_range", 1 + 2, 0, &mut || {
            iommu.invalidate_range(&*mm, 0..4 * PAGE, change).unwrap();
        });
    }
    let pasid = handles[0].pasid();
    (0..20).for_each(|index| bench.fake.page_request(request(1, pasid, index, 0x1000)));
    within("receive_page_requests", 0, 2 * 8 + 4, &mut || _ = iommu.receive_page_requests());
    within("service_page_requests", 20, 21 * 4 + 8, &mut || _ = iommu.service_page_requests(20));
    (0..20).for_each(|page| _ = bench.fake.dma(1, Some(pasid.get()), page << 20, Access::Read));
    within("service_faults", 0, 3 * 8 + 4, &mut || _ = iommu.service_faults(|_| ()));
    // Two commands for a device, of which six are a batch; one for the address space; two for the caches.
    within("mm_exit", 3 + 1 + 2, 12, &mut || iommu.mm_exit(&*mm).unwrap());
    within("mm_exit again", 3 + 1 + 2, 12, &mut || iommu.mm_exit(&*mm).unwrap());
    let mut last = handles.pop();
    within("unbind", 2, 24, &mut || drop(last.take()));
    drop(handles);
    within("disable_pri", 1, 12, &mut || iommu.disable_pri(1).unwrap());
    within("enable_pri", 1, 4, &mut || iommu.enable_pri(1, PriOptions::default()).unwrap());
    within("disable_ats", 1 + 3, 12, &mut || iommu.disable_ats(1).unwrap());
    within("enable_ats", 1, 4, &mut || iommu.enable_ats(1, AtsOptions::default()).unwrap());
    within("cut_off", 1, 12, &mut || iommu.cut_off(2).unwrap());
    bench.fake.reset_device(2);
    within("reinstate", 1, 12, &mut || iommu.reinstate(2).unwrap());
    within("disable_sva", 5, 16, &mut || iommu.disable_sva(3).unwrap());
    within("enable_sva", 0, 4, &mut || iommu.enable_sva(3, DeviceOptions::default()).unwrap());
    within("device_state", 0, 0, &mut || _ = iommu.device_state(1));
    assert_eq!(excess, []);
}
