//! Many threads at once: what matters is that everything ends, and ends up where it began.

use super::*;
use crate::{Change, PasidSpace, fake::Access};
use std::thread;

const THREADS: u64 = 8;
const ROUNDS: u64 = 60;

/// The fake's ticks are shared by all threads, so each sees time pass faster: nothing times out.
fn patient() -> Config {
    Config { timeout: 1 << 40, device_timeout: 1 << 40, ..config() }
}

#[test]
fn bind_and_unbind_on_one_mm() {
    let pasids = Arc::new(PasidSpace::default());
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..patient() });
    let mm = bench.mm();
    mm.map(0x1000, 0x9000_0000, RW);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (bench, mm) = (&bench, &mm);
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let device = 1 + ((thread + round) % 2) as u32;
                    let handle = bench.iommu.bind(device, mm.clone()).unwrap();
                    let pasid = Some(handle.pasid().get());
                    assert_eq!(bench.fake.dma(device, pasid, 0x1000, Access::Read), Ok(0x9000_0000));
                    handle.unbind();
                }
            });
        }
    });
    let pasid = mm.sva.pasid().unwrap().get();
    for device in [1, 2] {
        assert_eq!(bench.fake.dma(device, Some(pasid), 0x1000, Access::Read), Err(NOT_VALID));
    }
    // Neither PSCIDs nor PASIDs have leaked.
    assert_eq!(pasids.in_use(), 1);
    bench.fake.take_events();
    bench.iommu.bind(1, bench.mm()).unwrap().unbind();
    assert!(bench.fake.take_events().iter().any(|event| is_context(event, true, 1)));
}

#[test]
fn exit_against_bind_unbind_faults_and_invalidations() {
    let pasids = Arc::new(PasidSpace::default());
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..patient() });
    for _ in 0..ROUNDS / 4 {
        let mm = bench.mm();
        mm.map(0x1000, 0x9000_0000, RW);
        let ops = TestOps::new();
        let bonds = AtomicUsize::new(0);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (bench, mm, ops, bonds) = (&bench, &mm, &ops, &bonds);
                scope.spawn(move || {
                    for round in 0..8 {
                        match thread {
                            0 if round == 4 => bench.iommu.mm_exit(&**mm).unwrap(),
                            1 => _ = faults(&bench.iommu),
                            2 => bench.iommu.invalidate_range(&**mm, 0..0x3000, Change::Leaves).unwrap(),
                            _ => {
                                let device = 1 + (thread % 2) as u32;
                                let Ok(handle) = bench.iommu.bind(device, mm.clone()) else { break };
                                if handle.set_ops(ops.clone(), no_data()).is_ok() {
                                    bonds.fetch_add(1, Ordering::SeqCst);
                                }
                                let pasid = Some(handle.pasid().get());
                                _ = bench.fake.dma(device, pasid, 0x2000, Access::Write);
                                handle.unbind();
                            }
                        }
                    }
                });
            }
        });
        let (exits, heard) = (ops.exits(), ops.faults().len());
        assert!(exits <= bonds.load(Ordering::SeqCst));
        // Nothing is left that could call back.
        faults(&bench.iommu);
        assert_eq!((ops.exits(), ops.faults().len()), (exits, heard));
        assert_eq!(Arc::strong_count(&ops), 1);
        assert_eq!(Arc::strong_count(&mm), 1);
    }
    assert_eq!(pasids.in_use(), 0);
}

#[test]
fn batches_of_many_threads_survive_restarts_of_the_queue() {
    let bench = Bench::with(Config { command_queue_log2: 4, ..patient() });
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let bench = &bench;
            scope.spawn(move || {
                let mm = bench.mm();
                let address = PAGE * thread;
                let handle = bench.iommu.bind(1, mm.clone()).unwrap();
                let pasid = Some(handle.pasid().get());
                for round in 0..ROUNDS {
                    let target = 0x9000_0000 + (round << 12);
                    mm.map(address, target, RW);
                    if thread == 0 && round % 10 == 0 {
                        bench.fake.adjust(|knobs| knobs.fetch_faults = 1);
                    }
                    let range = address..address + PAGE;
                    if bench.iommu.invalidate_range(&*mm, range, Change::Leaves).is_ok() {
                        assert_eq!(bench.fake.dma(1, pasid, address, Access::Write), Ok(target));
                    }
                }
            });
        }
    });
}

#[test]
fn pasids_run_out_and_come_back_under_contention() {
    let pasids = Arc::new(PasidSpace::new(4));
    let bench = Bench::with(Config { pasids: Some(pasids.clone()), ..patient() });
    let bound = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    match bench.iommu.bind(1, bench.mm()) {
                        Ok(handle) => {
                            bound.fetch_add(1, Ordering::SeqCst);
                            handle.unbind();
                        }
                        Err(error) => assert_eq!(error, crate::BindError::PasidsExhausted),
                    }
                }
            });
        }
    });
    assert!(bound.load(Ordering::SeqCst) > 0);
    assert_eq!(pasids.in_use(), 0);
}

#[test]
fn everything_is_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<Iommu>();
    both::<crate::Handle>();
    both::<Bond>();
    both::<MmSva>();
    both::<PasidSpace>();
    both::<Config>();
    both::<Arc<dyn Mm>>();
    both::<Arc<dyn SvaOps>>();
    both::<crate::RawPlatform<Quiet>>();
}

struct Quiet;

// SAFETY: it gives out no memory.
unsafe impl crate::Board for Quiet {
    fn alloc(&self, _: usize, _: usize) -> Option<u64> {
        None
    }
    unsafe fn free(&self, _: u64, _: usize) {}
    fn now(&self) -> u64 {
        0
    }
}
