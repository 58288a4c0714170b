//! The command queue: batches of commands, each closed by an IOFENCE.C whose completion is waited for.
//!
//! Batches are submitted first come first served (see [`crate::line`]), but for one thing: of batches that wait for
//! devices only one is in the queue at a time, and others overtake those that wait for their turn. So a
//! command never has more than one wait for devices in front of it, and when the IOMMU reports that a device did not
//! complete an invalidation in time it is known whose.
//!
//! When the queue stops on an error, or makes no progress, it is restarted step by step by those who wait; nobody
//! polls with interrupts masked. What was in it is submitted again, as the specification asks (section
//! "Command-queue CSR"), before everything else. An error counts against the batch that it came from and no other.
//! All commands that the driver sends can be repeated, except answers to page requests: those are sent at most once.

use crate::{
    error::{CommandError, InitError},
    hardware::{Condition, Hardware, Region, TimedOut},
    line::{Job, JobState, Line, Repeated, Waiter},
    lock::{Lock, Rank},
    shared::Shared,
};
use core::ptr::NonNull;
use pasidon_spec::{
    command::{COMMAND_BYTES, Command},
    queue::Queue,
    registers::{cqb, cqcsr, cqh, cqt},
};

/// How often a batch is submitted before an error that may pass is reported.
const ATTEMPTS: u32 = 3;
/// How often the fence of a batch may be told of timeouts of invalidations that were sent before the queue was last
/// restarted.
const STRAYS: u32 = 16;
/// How often a batch may be in the queue when that makes no progress, if it is not the first one.
const STALLS: u32 = 2;

/// Waits for all earlier commands, and for device reads and writes that were translated before them.
const FENCE: Command = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };

/// What errors call the queue.
pub(crate) const NAME: &str = "command queue";

const STOPPED: u64 = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();

pub(crate) struct CommandQueue {
    hardware: Shared<Hardware>,
    ring: Lock<Ring>,
    queue: Queue,
}

/// Positions count commands since the driver started and never wrap; `position - origin`, modulo the number
/// of entries, is an index of the queue.
struct Ring {
    memory: Option<Region>,
    queue: Queue,
    origin: u64,
    head: u64,
    tail: u64,
    phase: Phase,
    line: Line,
    /// When something was last submitted.
    pushed: u64,
    /// Since when invalidations of devices may be outstanding that were sent before the queue was restarted.
    stragglers: Option<u64>,
}

/// What the queue is doing. A restart goes through all of these, and no step takes longer than the timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It executes commands.
    Running,
    /// It is to be turned off, when it is not busy any more, because of this.
    Stopping { since: u64, error: CommandError },
    /// It is being turned off.
    GoingOff { since: u64, error: CommandError },
    /// It is being turned on again.
    GoingOn { since: u64 },
    /// It did not obey.
    Dead,
}

/// What a look at the queue brought that the log should know.
enum Note {
    Restart(u64, CommandError),
    Dead,
}

fn waits_for_device(command: &Command) -> bool {
    matches!(command, Command::AtsInval { .. })
}

impl CommandQueue {
    /// Allocates and enables a queue of `2^log2_entries` commands, or of as many as the IOMMU supports.
    ///
    /// Its interrupt stays disabled: whoever waits for a command sees its errors.
    pub(crate) fn new(hardware: &Shared<Hardware>, log2_entries: u32) -> Result<Self, InitError> {
        let memory = Hardware::alloc_zeroed(hardware, (COMMAND_BYTES as usize) << log2_entries)
            .ok_or(InitError::OutOfMemory)?;
        disable(hardware).map_err(|_| InitError::Timeout("command queue"))?;
        hardware.write(&cqb::REG, Queue::of_commands(memory.paddr(), log2_entries).base());
        let queue = Queue::commands(hardware.read(&cqb::REG)).limited_to(log2_entries);
        let memory = Hardware::granted(memory, queue.ppn()).ok_or(InitError::Rejected(NAME))?;
        if queue.log2_entries() < crate::Config::MIN_QUEUE_LOG2 {
            return Err(InitError::Rejected(NAME));
        }
        let mut ring = Ring {
            memory: Some(memory),
            queue,
            origin: 0,
            head: 0,
            tail: 0,
            phase: Phase::Running,
            line: Line::new(),
            pushed: 0,
            stragglers: None,
        };
        ring.turn_on(hardware);
        if hardware.wait(&cqcsr::REG, is_on).is_err() {
            ring.stop(hardware);
            return Err(InitError::Timeout(NAME));
        }
        Ok(Self { hardware: hardware.clone(), ring: Lock::new(Rank::Commands, ring), queue })
    }

    /// The largest batch that [`execute`](Self::execute) takes.
    pub(crate) fn capacity(&self) -> usize {
        // One entry stays free to tell full from empty, one is the fence's.
        self.queue.capacity() as usize - 1
    }

    /// Executes `batch` in order and returns once the IOMMU has completed all of it and a fence after it.
    ///
    /// Allocates nothing, and takes no lock but the queue's. From its submission on a batch takes no longer than
    /// [`Hardware::timeout`], and [`Hardware::device_timeout`] if it or something before it waits for a device, or twice
    /// that if the queue has to be restarted because of another.
    pub(crate) fn execute<I>(&self, batch: I) -> Result<(), CommandError>
    where
        I: ExactSizeIterator<Item = Command> + Clone + Sync,
    {
        debug_assert!(batch.len() <= self.capacity());
        let waits = batch.clone().any(|command| waits_for_device(&command));
        let (length, batch) = (batch.len() as u64 + 1, Repeated(batch));
        // SAFETY: `run` returns before the batch goes.
        self.run(unsafe { Job::new(&batch, length, waits, false) })
    }

    /// The same for a command that must not be repeated. If the IOMMU has taken it from the queue, it counts as
    /// done: the specification lets it abort that when the queue stops on an error, but a device that gets
    /// two answers is worse off than one that has to be reset for want of one.
    pub(crate) fn execute_once(&self, command: Command) -> Result<(), CommandError> {
        let batch = Repeated(core::iter::once(command));
        // SAFETY: `run` returns before the batch goes.
        self.run(unsafe { Job::new(&batch, 2, false, true) })
    }

    /// Enables the queue again, which is off and which nobody may touch. Nothing is in line that was there before.
    pub(crate) fn reopen(&self) -> Result<(), TimedOut> {
        {
            let mut ring = self.ring.lock(self.hardware.platform());
            ring.head = ring.tail;
            ring.origin = ring.tail;
            ring.stragglers = None;
            ring.phase = Phase::Running;
            ring.turn_on(&self.hardware);
        }
        self.hardware.wait(&cqcsr::REG, is_on).map(drop)
    }

    /// Tells everybody in line that the IOMMU is not up. When this returns, nobody touches the queue until it is.
    pub(crate) fn settle(&self) {
        self.ring.lock(self.hardware.platform()).dismiss(&self.hardware);
    }

    /// Waits until a job is done. Its batch outlives this.
    fn run(&self, job: Job) -> Result<(), CommandError> {
        let platform = self.hardware.platform();
        // What the caller changed in memory comes before its commands, whoever hands them to the IOMMU.
        platform.fence();
        self.hardware.counters.batches.add(1);
        let mut waiter = Waiter::new(job);
        let place = Place::join(self, NonNull::from(&mut waiter));
        loop {
            // The clock is read before the registers: however long this thread is kept from running between the two,
            // hardware that was in time is never called late.
            let now = platform.now();
            let mut note = None;
            let state = {
                let mut ring = self.ring.lock(platform);
                ring.step(&self.hardware, now, &mut note);
                ring.line.state_of(place.waiter)
            };
            match note {
                Some(Note::Restart(head, error)) => {
                    log::warn!("the command queue is restarted at command {head}: {error}");
                }
                Some(Note::Dead) => log::error!("the command queue can't be restarted"),
                None => {}
            }
            if let Some(JobState::Finished(result)) = state {
                // What the caller does from here on comes after what the IOMMU did, as far as it has confirmed it.
                platform.fence();
                return result;
            }
            platform.relax();
        }
    }
}

/// A place in line, taken until this is dropped.
struct Place<'a> {
    queue: &'a CommandQueue,
    waiter: NonNull<Waiter>,
}

impl<'a> Place<'a> {
    fn join(queue: &'a CommandQueue, waiter: NonNull<Waiter>) -> Self {
        let hardware = &*queue.hardware;
        let mut ring = queue.ring.lock(hardware.platform());
        ring.revive(hardware);
        // SAFETY: `run` keeps the waiter and its batch until this is dropped, and does not touch them.
        unsafe { ring.line.join(waiter) };
        Self { queue, waiter }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.queue.ring.lock(self.queue.hardware.platform()).line.leave(self.waiter);
    }
}

impl Drop for CommandQueue {
    fn drop(&mut self) {
        self.ring.get_mut().stop(&self.hardware);
    }
}

impl Ring {
    fn index(&self, position: u64) -> u64 {
        self.queue.wrap(position - self.origin)
    }

    fn free(&self) -> u64 {
        self.queue.capacity() - (self.tail - self.head)
    }

    /// Looks at the queue once, and does what can be done: a few accesses to registers, and those to memory that
    /// it takes to submit what is in line.
    fn step(&mut self, hardware: &Hardware, now: u64, note: &mut Option<Note>) {
        if self.dismiss(hardware) {
            return;
        }
        if self.phase == Phase::Running {
            let error = self.observe(hardware).or_else(|| self.overdue(hardware, now));
            if error.is_some() && hardware.notice_reset() {
                self.dismiss(hardware);
                return;
            }
            if let Some(error) = error {
                *note = Some(Note::Restart(self.head, error));
                hardware.counters.queue_restarts.add(1);
                hardware.counters.command_timeouts.add((error == CommandError::Timeout).into());
                self.phase = Phase::Stopping { since: now, error };
            }
        }
        if self.phase == Phase::Running {
            self.submit(hardware, now);
        } else if self.phase != Phase::Dead {
            self.restart(hardware, now);
            if self.phase == Phase::Dead {
                *note = Some(Note::Dead);
            }
        }
        if self.phase == Phase::Dead {
            self.line.each(|job| {
                if !matches!(job.state, JobState::Finished(_)) {
                    job.finish(Err(CommandError::QueueDead));
                }
                true
            });
        }
    }

    /// If the IOMMU is not up, tells everybody in line. What is suspended can use nothing that it has cached, and has
    /// forgotten it when it is up again: that is as good as an invalidation.
    fn dismiss(&mut self, hardware: &Hardware) -> bool {
        let lost = match hardware.condition() {
            Condition::Starting | Condition::On => return false,
            Condition::Suspended => false,
            Condition::Lost => true,
        };
        self.line.each(|job| {
            let result = match job.state {
                JobState::Finished(_) => return true,
                // It may have been sent, and must not be sent again.
                JobState::Submitted(_) if job.once => Ok(()),
                _ if lost => Err(CommandError::Reset),
                _ if job.once => Err(CommandError::Suspended),
                _ => Ok(()),
            };
            job.finish(result);
            true
        });
        true
    }

    /// Takes note of how far the IOMMU is. Returns why it does not go on, if it does not.
    ///
    /// The head is read before the status: after a reset it reads 0, which may look like progress, and the queue is off.
    fn observe(&mut self, hardware: &Hardware) -> Option<CommandError> {
        let advance = self.advance(hardware);
        let status = hardware.read(&cqcsr::REG);
        let Some(advance) = advance.filter(|_| cqcsr::CQON.is_set(status)) else {
            // The queue is off, or its head is what no head can be: the IOMMU was reset, or is not one.
            return Some(CommandError::Aborted);
        };
        if advance > 0 {
            self.head += advance;
            self.complete(hardware);
        }
        if status & STOPPED != 0 {
            let illegal = cqcsr::CMD_ILL.is_set(status);
            let error = if illegal { CommandError::Illegal } else { CommandError::DeviceTimeout };
            Some(if cqcsr::CQMF.is_set(status) && !illegal { CommandError::MemoryFault } else { error })
        } else {
            None
        }
    }

    /// How many commands further the IOMMU is than when this was last looked at.
    fn advance(&self, hardware: &Hardware) -> Option<u64> {
        let index = hardware.read(&cqh::REG);
        let advance = self.queue.used(self.index(self.head), index);
        (index < self.queue.entries() && advance <= self.tail - self.head).then_some(advance)
    }

    /// The jobs that the head has passed are done.
    fn complete(&mut self, hardware: &Hardware) {
        // The head was read before anybody is told, and whoever is told reads memory after that.
        hardware.platform.fence();
        let head = self.head;
        self.line.each(|job| {
            if matches!(job.state, JobState::Submitted(end) if end <= head) {
                job.finish(Ok(()));
            }
            true
        });
    }

    /// Whether the first one in the queue has waited for longer than it should.
    fn overdue(&mut self, hardware: &Hardware, now: u64) -> Option<CommandError> {
        let mut first: Option<(u64, u64, u64)> = None;
        let mut anybody = false;
        self.line.each(|job| {
            if let JobState::Submitted(end) = job.state
                && first.is_none_or(|(earliest, ..)| end < earliest)
            {
                first = Some((end, job.submitted, job.patience));
            }
            anybody = true;
            true
        });
        let (since, patience) = match first {
            Some((_, since, patience)) => (since, patience),
            // What is left of somebody who went away.
            None if anybody && self.head != self.tail => {
                (self.pushed, hardware.timeout.saturating_add(hardware.device_timeout))
            }
            None => return None,
        };
        (elapsed(since, now) > patience).then_some(CommandError::Timeout)
    }

    /// Puts into the queue what is in line and may go: what was lost first.
    fn submit(&mut self, hardware: &Hardware, now: u64) {
        let mut line = core::mem::replace(&mut self.line, Line::new());
        let (mut device_wait, mut lost) = (false, false);
        line.each(|job| {
            device_wait |= job.waits && job.is_submitted();
            true
        });
        let tail = self.tail;
        for again in [true, false] {
            if !again && lost {
                break;
            }
            line.each(|job| {
                if job.state != JobState::Waiting || job.lost != again || job.waits && device_wait {
                    return true;
                }
                if job.length > self.free() {
                    return false;
                }
                self.push(hardware, job, now, device_wait);
                device_wait |= job.waits;
                true
            });
            lost = false;
            line.each(|job| {
                lost |= job.lost && job.state == JobState::Waiting && !job.waits;
                true
            });
        }
        self.line = line;
        if self.tail != tail {
            self.pushed = now;
            hardware.write(&cqt::REG, self.index(self.tail));
        }
    }

    /// Writes a batch and its fence behind the tail. There is room. The IOMMU is told later.
    fn push(&mut self, hardware: &Hardware, job: &mut Job, now: u64, device_wait: bool) {
        let mut write = |command: Command| {
            let entry = self.queue.entry(self.index(self.tail));
            let [low, high] = command.encode();
            hardware.store(entry, low);
            hardware.store(entry + 8, high);
            self.tail += 1;
        };
        job.each(&mut write);
        write(FENCE);
        let stragglers = self.stragglers.is_some_and(|since| elapsed(since, now) <= hardware.device_timeout);
        let devices = job.waits || device_wait || stragglers;
        job.state = JobState::Submitted(self.tail);
        job.lost = false;
        job.submitted = now;
        job.patience =
            if devices { hardware.timeout.saturating_add(hardware.device_timeout) } else { hardware.timeout };
    }

    /// The next step of a restart. (Section "Guidelines for initialization".)
    fn restart(&mut self, hardware: &Hardware, now: u64) {
        let status = hardware.read(&cqcsr::REG);
        let busy = cqcsr::BUSY.is_set(status);
        let since = match self.phase {
            Phase::Stopping { error, .. } if !busy => {
                hardware.write(&cqcsr::REG, 0);
                self.phase = Phase::GoingOff { since: now, error };
                return;
            }
            Phase::GoingOff { error, .. } if !busy && !cqcsr::CQON.is_set(status) => {
                if !self.take_stock(hardware, now, error) {
                    return;
                }
                self.turn_on(hardware);
                self.phase = Phase::GoingOn { since: now };
                return;
            }
            Phase::GoingOn { .. } if is_on(status) => {
                self.phase = Phase::Running;
                return;
            }
            Phase::Stopping { since, .. } | Phase::GoingOff { since, .. } | Phase::GoingOn { since } => since,
            Phase::Running | Phase::Dead => return,
        };
        if elapsed(since, now) > hardware.timeout {
            self.phase = Phase::Dead;
        }
    }

    /// The queue is off: decides what becomes of those that were in it, and empties it. Returns false if the IOMMU was reset.
    fn take_stock(&mut self, hardware: &Hardware, now: u64, error: CommandError) -> bool {
        // If it had not stopped by itself, it may have gone on until now. After a reset the head says nothing.
        let advance = self.advance(hardware).unwrap_or(0);
        if hardware.notice_reset() {
            self.dismiss(hardware);
            return false;
        }
        let idle = self.head == self.tail;
        self.head += advance;
        self.complete(hardware);
        let head = self.head;
        let mut stragglers = false;
        self.line.each(|job| {
            let JobState::Submitted(end) = job.state else {
                // A queue that fails without a command, each time that it is on, takes nobody's: who waits for a turn does not
                // do so for ever.
                if idle && job.state == JobState::Waiting {
                    job.attempts += 1;
                    if job.attempts == ATTEMPTS {
                        job.finish(Err(error));
                    }
                }
                return true;
            };
            let guilty = (end - job.length..end).contains(&head);
            stragglers |= job.waits && error != CommandError::DeviceTimeout;
            let taken = job.once && end - job.length < head;
            let result = match error {
                // A command that must not be repeated is not.
                _ if taken => Some(Ok(())),
                CommandError::Illegal if guilty => Some(Err(error)),
                // The first fence after an invalidation is that of its own batch. If this batch has none, the
                // fence has met an invalidation that was sent before the queue was last restarted.
                CommandError::DeviceTimeout if guilty && job.waits => Some(Err(error)),
                CommandError::DeviceTimeout if guilty => {
                    job.strays += 1;
                    (job.strays == STRAYS).then_some(Err(CommandError::Aborted))
                }
                CommandError::Timeout => {
                    job.stalls += 1;
                    (guilty || job.stalls == STALLS).then_some(Err(error))
                }
                CommandError::MemoryFault if guilty => {
                    job.attempts += 1;
                    (job.attempts == ATTEMPTS).then_some(Err(error))
                }
                // Somebody else turned it off.
                CommandError::Aborted => {
                    job.attempts += 1;
                    (job.attempts == ATTEMPTS).then_some(Err(error))
                }
                _ => None,
            };
            match result {
                Some(result) => job.finish(result),
                None => (job.state, job.lost) = (JobState::Waiting, true),
            }
            true
        });
        if stragglers {
            self.stragglers = Some(now);
        }
        self.head = self.tail;
        self.origin = self.tail;
        true
    }

    /// A queue that did not obey is tried again when somebody needs it, unless it is still busy.
    fn revive(&mut self, hardware: &Hardware) {
        if self.phase == Phase::Dead && hardware.is_up() && !cqcsr::BUSY.is_set(hardware.read(&cqcsr::REG)) {
            let since = hardware.platform.now();
            self.phase = Phase::Stopping { since, error: CommandError::Aborted };
        }
    }

    /// Enables the empty queue.
    fn turn_on(&mut self, hardware: &Hardware) {
        hardware.write(&cqb::REG, self.queue.base());
        hardware.write(&cqt::REG, 0);
        hardware.write(&cqcsr::REG, cqcsr::CQEN.of(1));
    }

    /// Turns the queue off and returns its memory, unless the IOMMU can't be made to let go of it.
    fn stop(&mut self, hardware: &Hardware) {
        let off = disable(hardware).is_ok();
        if let Some(memory) = self.memory.take()
            && !off
        {
            memory.leak();
        }
    }
}

/// How many ticks have gone by since a time that another thread may have read later than this one read `now`.
fn elapsed(since: u64, now: u64) -> u64 {
    let ticks = now.wrapping_sub(since);
    if ticks > u64::MAX >> 1 { 0 } else { ticks }
}

fn is_on(status: u64) -> bool {
    cqcsr::CQON.is_set(status) && !cqcsr::BUSY.is_set(status)
}

/// Turns the queue off. Once this has succeeded the IOMMU does not access its memory.
pub(crate) fn disable(hardware: &Hardware) -> Result<(), TimedOut> {
    hardware.wait(&cqcsr::REG, |v| !cqcsr::BUSY.is_set(v))?;
    hardware.write(&cqcsr::REG, 0);
    hardware.wait(&cqcsr::REG, |v| !cqcsr::CQON.is_set(v) && !cqcsr::BUSY.is_set(v))?;
    Ok(())
}
