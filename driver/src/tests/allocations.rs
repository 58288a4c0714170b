//! Clauses 18 and 19: what may not allocate does not. The allocator of these tests counts, per thread, what is
//! allocated outside the platform, which is the fake machine's own affair.

use super::*;
use crate::Change;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

std::thread_local! {
    static COUNTING: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTING.try_with(Cell::get).unwrap_or(false) {
            ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        }
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller has promised what `System` asks for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// The fake machine, whose own allocations don't count.
struct Uncounted(Arc<Fake>);

impl Uncounted {
    fn pause<T>(&self, call: impl FnOnce(&Fake) -> T) -> T {
        let counting = COUNTING.replace(false);
        let result = call(&self.0);
        COUNTING.set(counting);
        result
    }
}

// SAFETY: the fake's own methods are safe.
unsafe impl Platform for Uncounted {
    unsafe fn read32(&self, offset: u32) -> u32 {
        self.pause(|fake| fake.read32(offset))
    }
    unsafe fn read64(&self, offset: u32) -> u64 {
        self.pause(|fake| fake.read64(offset))
    }
    unsafe fn write32(&self, offset: u32, value: u32) {
        self.pause(|fake| fake.write32(offset, value));
    }
    unsafe fn write64(&self, offset: u32, value: u64) {
        self.pause(|fake| fake.write64(offset, value));
    }
    fn alloc(&self, bytes: usize, align: usize) -> Option<u64> {
        assert!(!COUNTING.get(), "memory for the IOMMU is allocated");
        self.0.alloc(bytes, align)
    }
    unsafe fn free(&self, paddr: u64, bytes: usize) {
        self.pause(|fake| fake.free(paddr, bytes));
    }
    unsafe fn load64(&self, paddr: u64) -> u64 {
        self.pause(|fake| fake.load64(paddr))
    }
    unsafe fn store64(&self, paddr: u64, value: u64) {
        self.pause(|fake| fake.store64(paddr, value));
    }
    fn fence(&self) {
        self.pause(Fake::fence);
    }
    fn now(&self) -> u64 {
        self.pause(Fake::now)
    }
    fn relax(&self) {
        self.pause(Fake::relax);
    }
    fn context(&self) -> Option<core::num::NonZeroUsize> {
        self.pause(Fake::context)
    }
}

/// How many allocations a call makes.
fn allocations(call: impl FnOnce()) -> usize {
    ALLOCATIONS.set(0);
    COUNTING.set(true);
    call();
    COUNTING.set(false);
    ALLOCATIONS.get()
}

fn bench() -> Bench {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let iommu = Iommu::new(Arc::new(Uncounted(fake.clone())), config()).expect("the fake works");
    let bench = Bench { fake, iommu };
    for device in 1..20 {
        bench.add(device, Behaviour::default(), PriOptions { outstanding: 4, ..PriOptions::default() });
    }
    bench
}

#[test]
fn clause_19_invalidation_allocates_nothing_even_if_a_device_is_cut_off() {
    assert_ne!(
        allocations(|| drop(std::hint::black_box(std::boxed::Box::new(1)))),
        0,
        "the allocator counts"
    );
    let bench = bench();
    let mm = bench.mm();
    let handles: Vec<_> = (1..20).map(|device| bench.iommu.bind(device, mm.clone()).unwrap()).collect();
    let count = |change| allocations(|| bench.iommu.invalidate_range(&*mm, 0x1000..0x9000, change).unwrap());
    assert_eq!((count(Change::Leaves), count(Change::Tables)), (0, 0));
    bench.fake.attach(7, Behaviour { completes: false, ..Behaviour::default() });
    assert_eq!(count(Change::Leaves), 0);
    assert!(bench.iommu.device_state(7).unwrap().cut_off);
    drop(handles);
}

#[test]
fn clause_18_taking_requests_in_allocates_nothing_whatever_they_are() {
    let bench = bench();
    let handle = bench.iommu.bind(1, bench.mm()).unwrap();
    for index in 0..100 {
        bench.fake.page_request(part(1, handle.pasid(), index, 0x1000));
        bench.fake.page_request(request(1, handle.pasid(), index, 0x1000));
    }
    assert_eq!(allocations(|| assert!(bench.iommu.receive_page_requests())), 0);
    let statistics = bench.iommu.statistics();
    assert_eq!((statistics.page_requests, statistics.requests_excess), (200, 196));
}
