//! What tests do about waits: something else in the middle of one, on the same thread, so that nothing depends on how
//! threads are scheduled or how fast the clock of the fake machine goes, which all threads share; knowing that somebody
//! waits, without looking at a clock; and an end to what hangs.

use super::*;
use crate::fake::{Call, Tap, Tapped};
use std::{
    boxed::Box,
    sync::{atomic::AtomicBool, mpsc},
    thread,
    time::Duration,
};

/// Runs `test` on another thread: what hangs fails. Time matters only to what fails.
pub(super) fn in_time(test: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let thread = thread::spawn(move || {
        test();
        _ = done.send(());
    });
    let result = wait.recv_timeout(Duration::from_secs(300));
    if result == Err(mpsc::RecvTimeoutError::Timeout) {
        panic!("it hangs");
    }
    thread.join().unwrap();
}

type Ready = Box<dyn Fn() -> bool + Send>;
type What = Box<dyn FnOnce() + Send>;

/// Does other things in the middle of waits of the driver, on the thread that waits: each once, the first one of the list
/// whose time has come.
#[derive(Default)]
pub(super) struct Meanwhile(Mutex<Vec<(Ready, What)>>);

impl Meanwhile {
    /// At the next turn of waiting, wherever that is. What is done may wait as well.
    pub(super) fn next(&self, what: impl FnOnce() + Send + 'static) {
        self.when(|| true, what);
    }

    /// At the first turn of waiting at which `ready` says so.
    pub(super) fn when(
        &self,
        ready: impl Fn() -> bool + Send + 'static,
        what: impl FnOnce() + Send + 'static,
    ) {
        self.0.lock().unwrap().push((Box::new(ready), Box::new(what)));
    }

    /// Whether all of it has been done.
    pub(super) fn is_done(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

impl Tap for Meanwhile {
    fn after(&self, call: Call) {
        if call != Call::Relax {
            return;
        }
        let next = {
            let mut list = self.0.lock().unwrap();
            list.iter().position(|(ready, _)| ready()).map(|at| list.remove(at))
        };
        next.into_iter().for_each(|(_, what)| what());
    }
}

/// A bench with device 1, whose waits something else can be done in.
pub(super) fn bench_with_waits(config: Config, options: PriOptions) -> (Bench, Arc<Tapped<Fake, Meanwhile>>) {
    let fake = Fake::with_capabilities(CAPABILITIES_ATS);
    let platform = Tapped::new(fake.clone(), Meanwhile::default());
    let bench = Bench { iommu: Iommu::new(platform.clone(), config).unwrap(), fake };
    bench.add(1, Behaviour::default(), options);
    (bench, platform)
}

/// Notices who waits for other software: turns of waiting in a row, with no register looked at in between.
#[derive(Default)]
pub(super) struct Patience {
    turns: AtomicUsize,
    over: AtomicBool,
}

impl Patience {
    /// Returns once somebody has begun to wait, or need not any more.
    pub(super) fn until_somebody_waits(&self) {
        while self.turns.load(Ordering::SeqCst) < 3 && !self.over.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }

    /// What was to wait has returned.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }
}

impl Tap for Patience {
    fn before(&self, call: Call) {
        match call {
            Call::Read(_) => self.turns.store(0, Ordering::SeqCst),
            Call::Relax => _ = self.turns.fetch_add(1, Ordering::SeqCst),
            _ => {}
        }
    }
}

/// The bench of [`Bench::new`], where it is noticed who waits.
pub(super) fn bench_with_patience() -> (Bench, Arc<Tapped<Fake, Patience>>) {
    let fake = Fake::new();
    let platform = Tapped::new(fake.clone(), Patience::default());
    let bench = Bench { iommu: Iommu::new(platform.clone(), config()).unwrap(), fake };
    for device in [1, 2] {
        bench.iommu.enable_sva(device, DeviceOptions::default()).unwrap();
    }
    (bench, platform)
}
