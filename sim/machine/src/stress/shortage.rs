//! The driver is short of memory now and then: of the platform's, or of the allocator's.

use super::world::World;
use crate::allocator;
use std::fmt::Display;

impl World {
    /// Makes a call of the driver, in which allocations fail at random now and then. Returns also whether one did. The
    /// call allocates nothing but what the driver does.
    pub(super) fn short_of_memory<R>(&mut self, call: impl FnOnce() -> R) -> (R, bool) {
        let (kind, count) = (self.random.below(6), self.random.below(10));
        let before = self.platform.failed_allocations();
        let (result, failed) = match kind {
            0 => allocator::fail_after(count, call),
            1 => {
                self.platform.fail_allocations(1 + count / 2);
                let result = call();
                self.platform.fail_allocations(0);
                (result, false)
            }
            _ => (call(), false),
        };
        let failures = self.platform.failed_allocations() - before + u64::from(failed);
        self.report.allocation_failures += failures;
        (result, failures != 0)
    }

    /// Makes a call that may be short of memory: it says so if, and only if, an allocation failed, and works when there is memory.
    pub(super) fn with_shortages<R, E: PartialEq + Display>(
        &mut self,
        what: &str,
        out_of_memory: E,
        call: impl Fn() -> Result<R, E>,
    ) -> Result<R, E> {
        let (result, short) = self.short_of_memory(&call);
        match result {
            Err(error) if error == out_of_memory => {
                self.report.shortages += 1;
                if !short {
                    self.found(format!("{what}: {error}, and there was memory"));
                }
                let again = call();
                if again.as_ref().is_err_and(|error| *error == out_of_memory) {
                    self.found(format!("{what}: {out_of_memory}, and there is memory again"));
                }
                again
            }
            result => result,
        }
    }
}
