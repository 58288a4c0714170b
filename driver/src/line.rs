//! The line in front of the command queue: batches whose owners wait for them, first come first served.
//!
//! A place in line is memory of the one who waits, so that there is always one to be had, in an interrupt handler as
//! well, and nothing is allocated. Whoever looks at the queue moves everybody's batches on: the owner of the first
//! in line may be a thread that was interrupted by the one behind it.

use crate::error::CommandError;
use core::{marker::PhantomPinned, ptr::NonNull};
use pasidon_spec::command::Command;

/// Commands that can be had again and again, from any thread.
pub(crate) trait Batch: Sync {
    /// Shows `sink` the commands in order.
    fn each(&self, sink: &mut dyn FnMut(Command));
}

/// The commands of an iterator.
pub(crate) struct Repeated<I>(pub(crate) I);

impl<I: Iterator<Item = Command> + Clone + Sync> Batch for Repeated<I> {
    fn each(&self, sink: &mut dyn FnMut(Command)) {
        self.0.clone().for_each(sink);
    }
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobState {
    /// It is not in the queue.
    Waiting,
    /// It is, and ends before this position.
    Submitted(u64),
    /// It is done, or will never be.
    Finished(Result<(), CommandError>),
}

/// What is known about a batch.
pub(crate) struct Job {
    batch: NonNull<dyn Batch>,
    /// Its commands, and its fence.
    pub(crate) length: u64,
    /// It has invalidations of devices.
    pub(crate) waits: bool,
    /// It is one command that must not be repeated.
    pub(crate) once: bool,
    pub(crate) state: JobState,
    /// It was in the queue when that was restarted: it goes first.
    pub(crate) lost: bool,
    /// When it was submitted, and how many ticks it may take from then on.
    pub(crate) submitted: u64,
    pub(crate) patience: u64,
    /// How often the queue stopped on an error of one of its commands, which may pass.
    pub(crate) attempts: u32,
    /// How often its fence was told of a timeout that was not its own.
    pub(crate) strays: u32,
    /// How often it was in the queue when that made no progress.
    pub(crate) stalls: u32,
}

impl Job {
    /// A batch of commands, fence not counted in it but in `length`.
    ///
    /// # Safety
    /// The batch outlives the job.
    pub(crate) unsafe fn new(batch: &dyn Batch, length: u64, waits: bool, once: bool) -> Self {
        let batch: *const (dyn Batch + '_) = batch;
        // SAFETY: only the lifetime changes, which the caller sees to.
        let batch =
            unsafe { core::mem::transmute::<*const (dyn Batch + '_), *mut (dyn Batch + 'static)>(batch) };
        Self {
            // SAFETY: it comes from a reference.
            batch: unsafe { NonNull::new_unchecked(batch) },
            length,
            waits,
            once,
            state: JobState::Waiting,
            lost: false,
            submitted: 0,
            patience: 0,
            attempts: 0,
            strays: 0,
            stalls: 0,
        }
    }

    pub(crate) fn each(&self, sink: &mut dyn FnMut(Command)) {
        // SAFETY: the batch is there for as long as the job: see `new`.
        unsafe { self.batch.as_ref() }.each(sink);
    }

    pub(crate) fn finish(&mut self, result: Result<(), CommandError>) {
        self.state = JobState::Finished(result);
    }

    pub(crate) fn is_submitted(&self) -> bool {
        matches!(self.state, JobState::Submitted(_))
    }
}

/// A place in line.
pub(crate) struct Waiter {
    job: Job,
    next: Option<NonNull<Waiter>>,
    _stays: PhantomPinned,
}

impl Waiter {
    pub(crate) fn new(job: Job) -> Self {
        Self { job, next: None, _stays: PhantomPinned }
    }
}

/// Those who wait, in the order in which they came.
pub(crate) struct Line {
    first: Option<NonNull<Waiter>>,
    last: Option<NonNull<Waiter>>,
}

// SAFETY: what the places hold can be used by any thread (`Batch` is `Sync`), by one at a time: whoever has the line.
unsafe impl Send for Line {}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { first: None, last: None }
    }

    /// Puts a place at the end.
    ///
    /// # Safety
    /// Until it has [left](Self::leave), the place stays where it is, and is used through the line alone.
    pub(crate) unsafe fn join(&mut self, waiter: NonNull<Waiter>) {
        match self.last {
            // SAFETY: a place that is in line is there: see above.
            Some(mut last) => unsafe { last.as_mut() }.next = Some(waiter),
            None => self.first = Some(waiter),
        }
        self.last = Some(waiter);
    }

    /// Takes a place out of the line, wherever in it it is.
    pub(crate) fn leave(&mut self, waiter: NonNull<Waiter>) {
        let mut before: Option<NonNull<Waiter>> = None;
        let mut at = self.first;
        while let Some(place) = at {
            // SAFETY: a place that is in line is there: see `join`.
            let next = unsafe { place.as_ref() }.next;
            if place == waiter {
                match before {
                    // SAFETY: as above.
                    Some(mut before) => unsafe { before.as_mut() }.next = next,
                    None => self.first = next,
                }
                if self.last == Some(place) {
                    self.last = before;
                }
                return;
            }
            (before, at) = (at, next);
        }
    }

    /// The job of a place that is in line.
    pub(crate) fn state_of(&self, waiter: NonNull<Waiter>) -> Option<JobState> {
        let mut at = self.first;
        while let Some(place) = at {
            // SAFETY: a place that is in line is there: see `join`.
            let place_ref = unsafe { place.as_ref() };
            if place == waiter {
                return Some(place_ref.job.state);
            }
            at = place_ref.next;
        }
        None
    }

    /// Shows `look` the jobs in line, first come first, until it returns `false`.
    pub(crate) fn each(&mut self, mut look: impl FnMut(&mut Job) -> bool) {
        let mut at = self.first;
        while let Some(mut place) = at {
            // SAFETY: a place that is in line is there, and nobody else uses it: see `join`.
            let place = unsafe { place.as_mut() };
            if !look(&mut place.job) {
                return;
            }
            at = place.next;
        }
    }
}
