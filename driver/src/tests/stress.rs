//! Everything at once, at random, on many threads; after each round an audit. `SEED=n` repeats what each thread
//! does, if not the order in which they do it.

use super::*;
use crate::{BindError, Change, Handle, PasidSpace, SetOpsError, fake::Access};
use std::{
    println,
    sync::atomic::{AtomicU16, AtomicU64},
    thread,
};

const THREADS: u64 = 6;
const ROUNDS: u64 = 8;
const STEPS: usize = 120;
const DEVICES: u32 = 4;
/// The device that is cut off and reset again and again.
const UNSTEADY: u32 = DEVICES;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

struct World {
    bench: Bench,
    spaces: Vec<Mutex<Arc<TestMm>>>,
    /// Group indices, by device, so that no two groups that are outstanding have the same.
    indices: Vec<AtomicU16>,
    calls: AtomicU64,
    ended: AtomicU64,
}

impl World {
    fn space(&self) -> Arc<TestMm> {
        self.bench.mm().resolve_with(|mm, access| match access.address >> 12 {
            0..8 => populate(mm, access),
            8 => Resolution::Failure,
            9 => {
                // A thread that finds the same comes soon.
                if access.address & 1 == 0 { Resolution::Invalid } else { Resolution::NotNow }
            }
            10 if mm.asked.lock().unwrap().len() % 3 == 0 => Resolution::NotNow,
            10 => populate(mm, access),
            _ => Resolution::Invalid,
        })
    }

    fn step(&self, dice: &mut Dice, handles: &mut Vec<Handle>) {
        let iommu = &self.bench.iommu;
        let slot = &self.spaces[dice.roll(self.spaces.len() as u64) as usize];
        match dice.roll(20) {
            0..5 if handles.len() < 5 => {
                let mm = slot.lock().unwrap().clone();
                match iommu.bind(1 + dice.roll(DEVICES.into()) as u32, mm) {
                    Ok(handle) => {
                        let ops = Arc::new(TestOps { on_fault: None, ..TestOps::default() });
                        let set = handle.set_ops(ops, no_data());
                        let known = [Ok(()), Err(SetOpsError::AlreadySet), Err(SetOpsError::MmExited)];
                        assert!(known.contains(&set), "{set:?}");
                        handles.push(handle);
                    }
                    Err(BindError::MmExited | BindError::DeviceLeaving(UNSTEADY)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            5 | 6 if !handles.is_empty() => {
                let at = dice.roll(handles.len() as u64) as usize;
                handles.swap_remove(at).unbind();
            }
            7..12 if !handles.is_empty() => {
                let handle = &handles[dice.roll(handles.len() as u64) as usize];
                self.ask(handle.device_id(), handle.pasid(), dice);
                let (device, pasid) = (handle.device_id(), Some(handle.pasid().get()));
                _ = self.bench.fake.access(device, pasid, dice.roll(12) << 12, Access::Write);
                _ = self.bench.fake.dma(device, pasid, dice.roll(12) << 12, Access::Read);
            }
            12 => {
                // A lie: some PASID.
                let pasid = crate::Pasid::new(1 + dice.roll(30) as u32).unwrap();
                self.ask(1 + dice.roll(DEVICES.into()) as u32, pasid, dice);
            }
            13 => {
                let mm = slot.lock().unwrap().clone();
                let page = dice.roll(8) << 12;
                mm.unmap(page);
                let change = if dice.roll(2) == 0 { Change::Leaves } else { Change::Tables };
                _ = iommu.invalidate_range(&*mm, page..page + PAGE * (1 + dice.roll(3)), change);
            }
            14 => {
                // A process dies, and another begins.
                let old = core::mem::replace(&mut *slot.lock().unwrap(), self.space());
                // Memory faults of the command queue can come too often for one call.
                while iommu.mm_exit(&*old).is_err() {}
                self.ended.fetch_add(1, Ordering::Relaxed);
            }
            15 => _ = iommu.receive_page_requests(),
            16 => _ = faults(iommu),
            17 => self.bench.fake.adjust(|knobs| match dice.roll(4) {
                0 => knobs.fetch_faults = 1,
                1 => knobs.request_faults = 1,
                2 => knobs.record_faults = 1,
                _ => knobs.itags = 1 + dice.roll(4) as usize,
            }),
            _ => {
                iommu.service_page_requests(1 + dice.roll(6) as usize);
            }
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// One group of one to three requests, or the beginning of one that is never closed.
    fn ask(&self, device: u32, pasid: crate::Pasid, dice: &mut Dice) {
        let index = self.indices[device as usize].fetch_add(1, Ordering::Relaxed) % 512;
        let more = dice.roll(3);
        for _ in 0..more {
            self.bench.fake.page_request(part(device, pasid, index, dice.roll(12) << 12));
        }
        match dice.roll(12) {
            0 => {}
            1 => self.bench.fake.page_request(stop_marker(device, pasid)),
            _ => self.bench.fake.page_request(request(device, pasid, index, dice.roll(12) << 12)),
        }
    }

    /// Cuts a device off, resets it, lets it in again.
    fn reset(&self) {
        while self.bench.iommu.cut_off(UNSTEADY).is_err() {}
        self.bench.fake.reset_device(UNSTEADY);
        while self.bench.iommu.reinstate(UNSTEADY).is_err() {}
    }

    /// Nothing is going on any more.
    fn audit(&self) {
        self.bench.fake.adjust(|knobs| *knobs = crate::fake::Knobs::default());
        for _ in 0..100 {
            self.bench.iommu.service_page_requests(1000);
            self.bench.fake.run_for(10);
        }
        let mut unanswered = 0;
        for device in 1..=DEVICES {
            let responses = self.bench.fake.take_responses(device);
            assert!(responses.iter().all(|it| it.expected), "device {device}: {responses:?}");
            unanswered += self.bench.fake.unanswered(device);
        }
        let statistics = self.bench.iommu.statistics();
        assert_eq!(unanswered, statistics.responses_lost, "{statistics:#?}");
        let report = self.bench.iommu.service_page_requests(0);
        assert_eq!((report.deferred, report.more), (0, false));
    }
}

#[test]
fn random_threads_leave_nothing_behind() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(1, |time| time.as_nanos() as u64)
    });
    println!("SEED={seed}");
    let pasids = Arc::new(PasidSpace::default());
    let config = Config {
        timeout: 1 << 40,
        device_timeout: 1 << 40,
        pasids: Some(pasids.clone()),
        page_request_queue_log2: 5,
        command_queue_log2: 5,
        ..Config::default()
    };
    let options = PriOptions { outstanding: 12, ..PriOptions::default() };
    let bench = Bench::with_ats_and(config, Behaviour::default(), options);
    for device in 3..=DEVICES {
        bench.add(device, Behaviour::default(), options);
    }
    let mut world = World {
        bench,
        spaces: Vec::new(),
        indices: (0..=DEVICES).map(|_| AtomicU16::new(0)).collect(),
        calls: AtomicU64::new(0),
        ended: AtomicU64::new(0),
    };
    for round in 0..ROUNDS {
        world.spaces = (0..5).map(|_| Mutex::new(world.space())).collect();
        thread::scope(|scope| {
            for number in 0..THREADS {
                let world = &world;
                scope.spawn(move || {
                    let mut dice = Dice((seed ^ (round << 32) ^ (number << 48)) | 1);
                    let mut handles = Vec::new();
                    for _ in 0..STEPS {
                        world.step(&mut dice, &mut handles);
                    }
                });
            }
            (0..10).for_each(|_| world.reset());
        });
        world.audit();
        world.spaces.clear();
        assert_eq!(pasids.in_use(), 0, "round {round}");
        assert_eq!(world.bench.fake.violations(), Vec::<std::string::String>::new(), "round {round}");
        world.bench.fake.take_events();
    }
    let statistics = world.bench.iommu.statistics();
    assert_eq!(statistics.binds, statistics.unbinds);
    println!("{statistics:?}");
}
