//! A driver that waits for a lock which it holds itself, because it was interrupted where it should not have been, makes no call any
//! more, and the run would never end. This ends it, and says how to repeat it.

use crate::platform::SimPlatform;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Between looks.
const LOOK: Duration = Duration::from_secs(1);
/// Looks that find nothing new before the run is given up: an audit, which makes no calls, takes far less.
const PATIENCE: u32 = 120;
/// What the program ends with.
const EXIT_CODE: i32 = 3;

/// Watches a run until it is dropped.
pub(super) struct Watchdog {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Ends the program, with a message, if the run of this seed makes no progress. `ops` are its operations so far.
    pub(super) fn new(design: &str, seed: u64, platform: &SimPlatform, ops: Arc<AtomicU64>) -> Watchdog {
        let over = Arc::new(AtomicBool::new(false));
        let calls = platform.call_counter();
        let (ended, design) = (over.clone(), design.to_string());
        let watch = move || {
            let mut stall = Stall::default();
            while !ended.load(Ordering::Relaxed) {
                thread::park_timeout(LOOK);
                let ops = ops.load(Ordering::Relaxed);
                if stall.look((calls.load(Ordering::Relaxed), ops)) {
                    eprintln!(
                        "the driver makes no call any more, after operation {ops}: it waits for itself\n\
                         to repeat it: pasidon stress --design {design} --seed {seed} --ops {}",
                        ops + 1
                    );
                    std::process::exit(EXIT_CODE);
                }
            }
        };
        // Without a thread there is no watchdog, and everything else goes on.
        let thread = thread::Builder::new().name("watchdog".into()).spawn(watch).ok();
        Watchdog { over, thread }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            _ = thread.join();
        }
    }
}

/// How often nothing new was seen in a row.
#[derive(Default)]
struct Stall {
    last: (u64, u64),
    looks: u32,
}

impl Stall {
    /// Whether it is time to give up.
    fn look(&mut self, seen: (u64, u64)) -> bool {
        self.looks = if seen == self.last { self.looks + 1 } else { 0 };
        self.last = seen;
        self.looks >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_run_that_stands_still_is_given_up() {
        let mut stall = Stall::default();
        assert!((1..1000).all(|call| !stall.look((call, 1))));
        assert!((1..PATIENCE).all(|_| !stall.look((999, 1))));
        assert!(!stall.look((999, 2)));
        assert!((1..PATIENCE).all(|_| !stall.look((999, 2))) && stall.look((999, 2)));
    }
}
