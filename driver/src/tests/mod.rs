//! The contract, clause by clause, and what the driver must survive, on the fake machine.

mod allocations;
mod ats;
mod bind;
mod bounds;
mod bringup;
mod callbacks;
mod devices;
mod exit;
mod faults;
mod features;
pub(crate) mod interleavings;
mod interrupts;
mod invalidate;
mod misbehaviour;
mod neighbours;
mod order;
mod page_requests;
mod quarantine;
mod races;
mod soundness;
mod stress;
mod surface;
mod takeover;
mod timeouts;
mod waiting;

use crate::{
    AtsOptions, Bond, Config, DeviceOptions, DrvData, Fault, FaultAccess, FaultDecision, FaultRecord,
    FaultReport, Handle, Iommu, Mm, MmSva, PageTable, PageTableMode, Platform, PriOptions, Resolution,
    SvaOps,
    fake::{Access, Behaviour, CAPABILITIES_ATS, Event, Fake, Reached, Response},
};
use pasidon_spec::{
    command::Command,
    message::response_code,
    page_request::PageRequest,
    page_table::{Geometry, SV39, pte},
    pdt::pc,
};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    vec,
    vec::Vec,
};

const PAGE: u64 = 4096;
/// Where the page lies that tests map first.
const TARGET: u64 = 0x9000_0000;
/// Permissions of a page that a device may read and write.
const RW: u64 = pte::R.mask() | pte::W.mask() | pte::U.mask() | pte::A.mask() | pte::D.mask();
/// Permissions of a page that a device may only read.
const RO: u64 = pte::R.mask() | pte::U.mask() | pte::A.mask();

const NOT_VALID: u16 = pasidon_spec::fault::Cause::PdtEntryNotValid.code();
const NO_DEVICE: u16 = pasidon_spec::fault::Cause::DdtEntryNotValid.code();
const READ_FAULT: u16 = pasidon_spec::fault::Cause::ReadPageFault.code();
const WRITE_FAULT: u16 = pasidon_spec::fault::Cause::WriteAmoPageFault.code();

/// An IOMMU with two enabled devices, 1 and 2.
struct Bench {
    fake: Arc<Fake>,
    iommu: Iommu,
}

/// Long enough for everything that the fake does, short enough to wait for in vain.
const TIMEOUT: u64 = 1000;

fn config() -> Config {
    Config { timeout: TIMEOUT, device_timeout: 4 * TIMEOUT, ..Config::default() }
}

const SUCCESS: u8 = response_code::SUCCESS as u8;
const INVALID: u8 = response_code::INVALID_REQUEST as u8;
const FAILURE: u8 = response_code::RESPONSE_FAILURE as u8;

impl Bench {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: Config) -> Self {
        let fake = Fake::new();
        let iommu = Iommu::new(fake.clone(), config).expect("the fake works");
        for device in [1, 2] {
            iommu.enable_sva(device, DeviceOptions::default()).expect("devices can be enabled");
        }
        fake.take_events();
        Self { fake, iommu }
    }

    /// The two devices speak ATS and PRI, and their answers need no PASID.
    fn with_ats() -> Self {
        Self::with_ats_and(config(), Behaviour::default(), PriOptions::default())
    }

    fn with_ats_and(config: Config, behaviour: Behaviour, options: PriOptions) -> Self {
        let fake = Fake::with_capabilities(CAPABILITIES_ATS);
        let bench = Self { iommu: Iommu::new(fake.clone(), config).expect("the fake works"), fake };
        for device in [1, 2] {
            bench.add(device, behaviour, options);
        }
        bench.fake.take_events();
        bench
    }

    /// One more device that speaks ATS and PRI.
    fn add(&self, device: u32, behaviour: Behaviour, options: PriOptions) {
        self.fake.attach(device, behaviour);
        self.iommu.enable_sva(device, DeviceOptions::default()).expect("devices can be enabled");
        self.iommu.enable_ats(device, AtsOptions::default()).expect("ATS can be enabled");
        self.iommu.enable_pri(device, options).expect("page requests can be enabled");
    }

    fn mm(&self) -> Arc<TestMm> {
        TestMm::new(&self.fake)
    }

    /// An address space with one page, bound to device 1, which has reached the page at 0x1000 and remembers where it lies.
    fn reached(&self, access: Access) -> (Arc<TestMm>, Handle, Option<u32>) {
        let mm = self.mm();
        mm.map(0x1000, TARGET, RW);
        let handle = self.iommu.bind(1, mm.clone()).unwrap();
        let pasid = Some(handle.pasid().get());
        assert_eq!(self.fake.access(1, pasid, 0x1000, access), Reached::Memory(TARGET));
        (mm, handle, pasid)
    }

    /// What a device has been answered, once messages had their time: index and code.
    fn answers(&self, device: u32) -> Vec<(u16, u8)> {
        self.responses(device).iter().map(|response| (response.index, response.code)).collect()
    }

    fn responses(&self, device: u32) -> Vec<Response> {
        self.fake.run_for(20);
        let responses = self.fake.take_responses(device);
        assert!(responses.iter().all(|response| response.expected), "answered twice: {responses:?}");
        responses
    }
}

/// What a call of the fault service brought.
#[derive(Debug, Default, PartialEq, Eq)]
struct Faults {
    records: Vec<FaultRecord>,
    report: FaultReport,
}

impl core::ops::Deref for Faults {
    type Target = FaultReport;
    fn deref(&self) -> &FaultReport {
        &self.report
    }
}

fn faults(iommu: &Iommu) -> Faults {
    let mut records = Vec::new();
    let report = iommu.service_faults(|record| records.push(*record));
    assert_eq!(report.records, records.len());
    Faults { records, report }
}

/// A request to read a page, which closes its group.
fn request(device: u32, pasid: crate::Pasid, index: u16, address: u64) -> PageRequest {
    PageRequest {
        did: device,
        pv: true,
        pid: pasid.get(),
        read: true,
        last: true,
        index,
        page: address >> 12,
        ..PageRequest::default()
    }
}

/// The same with more to come.
fn part(device: u32, pasid: crate::Pasid, index: u16, address: u64) -> PageRequest {
    PageRequest { last: false, ..request(device, pasid, index, address) }
}

fn stop_marker(device: u32, pasid: crate::Pasid) -> PageRequest {
    PageRequest { read: false, ..request(device, pasid, 0, 0) }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.fake.violations(), Vec::<std::string::String>::new());
        }
    }
}

/// An address space with a page table in the fake's memory.
struct TestMm {
    fake: Arc<Fake>,
    sva: MmSva,
    root: u64,
    tables: Mutex<Vec<u64>>,
    /// Addresses of the page requests that it was asked to resolve.
    asked: Mutex<Vec<u64>>,
    on_request: Mutex<Option<Resolver>>,
}

/// What an address space does about a page request.
type Resolver = Arc<dyn Fn(&TestMm, &FaultAccess) -> Resolution + Send + Sync>;

/// Maps the page 4 GiB higher, whatever is asked for.
fn populate(mm: &TestMm, access: &FaultAccess) -> Resolution {
    mm.map(access.address, access.address.wrapping_add(0x1_0000_0000), RW);
    Resolution::Populated
}

const GEOMETRY: Geometry = SV39;

impl TestMm {
    fn new(fake: &Arc<Fake>) -> Arc<Self> {
        let mut mm = Self {
            fake: fake.clone(),
            sva: MmSva::new(),
            root: 0,
            tables: Mutex::new(Vec::new()),
            asked: Mutex::new(Vec::new()),
            on_request: Mutex::new(None),
        };
        mm.root = mm.table();
        Arc::new(mm)
    }

    fn table(&self) -> u64 {
        let paddr = self.fake.alloc(PAGE as usize, PAGE as usize).expect("memory for page tables");
        for offset in (0..PAGE).step_by(8) {
            self.fake.store64(paddr + offset, 0);
        }
        self.tables.lock().unwrap().push(paddr);
        paddr
    }

    /// The address of the leaf entry for `va`.
    fn entry(&self, va: u64) -> u64 {
        let mut table = self.root;
        for slice in GEOMETRY.levels[1..].iter().rev() {
            let address = table + slice.of(va) * 8;
            let entry = self.fake.load64(address);
            table = if pte::V.is_set(entry) {
                pte::PPN.get(entry) << 12
            } else {
                let next = self.table();
                self.fake.store64(address, pte::V.of(1) | pte::PPN.of(next >> 12));
                next
            };
        }
        table + GEOMETRY.levels[0].of(va) * 8
    }

    fn map(&self, va: u64, pa: u64, permissions: u64) {
        self.fake.store64(self.entry(va), pte::V.of(1) | permissions | pte::PPN.of(pa >> 12));
    }

    fn unmap(&self, va: u64) {
        self.fake.store64(self.entry(va), 0);
    }

    fn resolve_with(
        self: Arc<Self>,
        resolver: impl Fn(&TestMm, &FaultAccess) -> Resolution + Send + Sync + 'static,
    ) -> Arc<Self> {
        *self.on_request.lock().unwrap() = Some(Arc::new(resolver));
        self
    }

    fn asked(&self) -> Vec<u64> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for TestMm {
    fn drop(&mut self) {
        for table in self.tables.get_mut().unwrap().drain(..) {
            self.fake.free(table, PAGE as usize);
        }
    }
}

// SAFETY: the page table is in the fake's memory, where every access is checked.
unsafe impl Mm for TestMm {
    fn sva(&self) -> &MmSva {
        &self.sva
    }
    fn page_table(&self) -> PageTable {
        PageTable { mode: PageTableMode::Sv39, root: self.root }
    }
    fn handle_fault(&self, access: &FaultAccess) -> Resolution {
        self.asked.lock().unwrap().push(access.address);
        let resolver = self.on_request.lock().unwrap().clone();
        resolver.map_or(Resolution::Invalid, |resolver| resolver(self, access))
    }
}

/// Counts its calls, and runs what a test wants to happen inside.
#[derive(Default)]
struct TestOps {
    exits: AtomicUsize,
    faults: Mutex<Vec<Fault>>,
    on_exit: Option<Hook>,
    on_fault: Option<Hook>,
    decision: Option<FaultDecision>,
}

type Hook = std::boxed::Box<dyn Fn(&Bond) + Send + Sync>;

impl TestOps {
    fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
    fn exits(&self) -> usize {
        self.exits.load(Ordering::SeqCst)
    }
    fn faults(&self) -> Vec<Fault> {
        self.faults.lock().unwrap().clone()
    }
}

impl SvaOps for TestOps {
    fn mm_exit(&self, bond: &Bond, _: &DrvData) {
        self.exits.fetch_add(1, Ordering::SeqCst);
        if let Some(hook) = &self.on_exit {
            hook(bond);
        }
    }
    fn fault(&self, bond: &Bond, _: &DrvData, fault: &Fault) -> FaultDecision {
        self.faults.lock().unwrap().push(*fault);
        if let Some(hook) = &self.on_fault {
            hook(bond);
        }
        self.decision.unwrap_or(FaultDecision::AsResolved)
    }
}

fn no_data() -> DrvData {
    Arc::new(())
}

/// Position of the first event that `wanted` accepts.
fn position(events: &[Event], wanted: impl Fn(&Event) -> bool) -> usize {
    events.iter().position(wanted).unwrap_or_else(|| panic!("no such event in {events:#?}"))
}

/// Whether an event writes a process context's first doubleword with this valid bit and PSCID.
fn is_context(event: &Event, valid: bool, pscid: u64) -> bool {
    matches!(event, Event::Store { value, .. }
        if pc::ta::V.is_set(*value) == valid && pc::ta::PSCID.get(*value) == pscid && value >> 32 == 0)
}
