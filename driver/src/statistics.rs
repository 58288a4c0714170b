//! What the driver has done and met since it started, in numbers.

use core::sync::atomic::{AtomicUsize, Ordering};

/// A number that goes up.
#[derive(Default)]
pub(crate) struct Counter(AtomicUsize);

impl Counter {
    pub(crate) fn add(&self, amount: usize) {
        // Each number stands for itself: no order among them is promised.
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(crate) fn raise_to(&self, value: usize) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! statistics {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// Counts since the driver started, by [`crate::Iommu::statistics`]. They wrap at the width of a
        /// machine word.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Statistics {
            $($(#[$doc])+ pub $name: usize,)+
        }

        /// The counters behind [`Statistics`].
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: Counter,)+
        }

        impl Counters {
            pub(crate) fn read(&self) -> Statistics {
                Statistics { $($name: self.$name.get(),)+ }
            }
        }

        impl Statistics {
            /// Names and values, in the order of declaration.
            pub fn entries(&self) -> impl Iterator<Item = (&'static str, usize)> + use<> {
                [$((stringify!($name), self.$name),)+].into_iter()
            }
        }
    };
}

statistics! {
    /// Bonds that were made; a second handle on one is not counted.
    binds,
    /// Bonds that were torn down.
    unbinds,
    /// Address spaces that have exited, once for each bond.
    mm_exits,
    /// Invalidations of ranges of an address space.
    invalidations,
    /// Invalidation requests sent to devices.
    device_invalidations,
    /// Devices that were cut off because they did not complete an invalidation.
    device_timeouts,
    /// Batches of commands that were waited for.
    batches,
    /// Commands that the IOMMU did not complete in time.
    command_timeouts,
    /// Restarts of the command queue after errors.
    queue_restarts,
    /// Resets of the IOMMU that nobody announced and the driver noticed.
    resets_noticed,
    /// How often the IOMMU was brought back, by [`crate::Iommu::resume`] or [`crate::Iommu::reset`].
    resumes,
    /// Restarts of fault and page-request queues that were off, or whose tail was none.
    record_queue_restarts,
    /// Fault records handed to a bond's callbacks.
    faults_delivered,
    /// Fault records that belong to no bond with callbacks.
    faults_unclaimed,
    /// Fault records dropped because the address space has exited.
    faults_suppressed,
    /// Fault records dropped because their device had too many already.
    faults_excess,
    /// Overflows of the fault queue.
    fault_overflows,
    /// Memory faults of the fault queue.
    fault_memory_faults,
    /// The most records that were found in the fault queue.
    fault_queue_high_water,
    /// How often it was decided not to record a device's faults any more.
    devices_muted,
    /// Records taken from the page-request queue, stop markers included.
    page_requests,
    /// Stop markers among them.
    stop_markers,
    /// Groups that were closed and put in line to be resolved.
    groups,
    /// Pages that an mm was asked for and made present.
    pages_populated,
    /// Pages that an mm said are not there or not for this access.
    pages_invalid,
    /// Pages that an mm could not provide.
    pages_failed,
    /// How often an mm said: not now.
    pages_deferred,
    /// Answers Success.
    responses_success,
    /// Answers Invalid Request.
    responses_invalid,
    /// Answers Response Failure.
    responses_failure,
    /// Answers that could not be sent.
    responses_lost,
    /// Answers that were not sent because the device was closed meanwhile and had been answered.
    responses_late,
    /// Requests beyond what their device may have outstanding.
    requests_excess,
    /// Requests of groups that were never closed and were discarded.
    requests_discarded,
    /// Overflows of the page-request queue.
    request_overflows,
    /// Memory faults of the page-request queue.
    request_memory_faults,
    /// The most records that were found in the page-request queue.
    request_queue_high_water,
}
