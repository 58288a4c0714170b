//! The command queue: batches of commands, each closed by an IOFENCE.C whose completion is waited for.
//!
//! Any number of threads may have batches in the queue. The queue's lock is held while a batch is written and
//! while its progress is looked at, not while waiting in between. When the queue stops on an error or makes
//! no progress, whoever notices restarts it, and every thread whose batch was lost with the old contents
//! submits it again, as the specification asks (section "Command-queue CSR"). All commands that the driver
//! sends can be repeated, except answers to page requests: those are sent at most once.

use crate::{
    error::{CommandError, InitError},
    hardware::{Hardware, Region, TimedOut},
    lock::Lock,
};
use alloc::sync::Arc;
use pasidon_spec::{
    command::Command,
    registers::{cqb, cqcsr, cqh, cqt},
};

/// Bytes of a command.
const ENTRY: u64 = 16;
/// How often a batch is submitted before its failure is reported.
const ATTEMPTS: usize = 3;

/// Waits for all earlier commands, and for device reads and writes that were translated before them.
const FENCE: Command = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };

/// How many commands that must not be repeated can be in the queue at once.
const ONCE: usize = 16;

const STOPPED: u64 = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();

pub(crate) struct CommandQueue {
    hardware: Arc<Hardware>,
    ring: Lock<Ring>,
    log2_entries: u32,
}

/// Positions count commands since the driver started and never wrap; `position - origin`, modulo the number
/// of entries, is an index of the queue.
struct Ring {
    memory: Option<Region>,
    log2_entries: u32,
    origin: u64,
    head: u64,
    tail: u64,
    /// Counts restarts. A batch submitted in an earlier epoch is lost.
    epoch: u64,
    /// Where and why the previous epoch ended.
    failure: (u64, CommandError),
    /// Commands that must not be repeated.
    once: [Option<Once>; ONCE],
    /// Commands before this position wait for devices: see [`Hardware::device_timeout`].
    slow_until: u64,
    /// Since when invalidations of devices may be outstanding that were sent in an earlier epoch.
    stragglers: Option<u64>,
    dead: bool,
}

/// How one submission of a batch ended.
enum Outcome {
    Done,
    /// The queue was restarted because of another batch, or of something that may pass.
    Lost(CommandError),
    /// It is this batch's fault.
    Failed(CommandError),
}

/// A command that must not be repeated.
#[derive(Clone, Copy)]
struct Once {
    position: u64,
    /// Whether the IOMMU had taken it from the queue when that was restarted; `None` if it was not.
    passed: Option<bool>,
}

fn waits_for_device(command: &Command) -> bool {
    matches!(command, Command::AtsInval { .. })
}

impl CommandQueue {
    /// Allocates and enables a queue of `2^log2_entries` commands, or of as many as the IOMMU supports.
    ///
    /// Its interrupt stays disabled: whoever waits for a command sees its errors.
    pub(crate) fn new(hardware: &Arc<Hardware>, log2_entries: u32) -> Result<Self, InitError> {
        let memory = hardware.alloc_zeroed((ENTRY as usize) << log2_entries).ok_or(InitError::OutOfMemory)?;
        disable(hardware).map_err(|_| InitError::Timeout("command queue"))?;
        let wanted = cqb::PPN.of(memory.ppn()) | cqb::LOG2SZ_1.of(u64::from(log2_entries) - 1);
        hardware.write(&cqb::REG, wanted);
        let granted = hardware.read(&cqb::REG);
        let log2_entries = log2_entries.min(cqb::LOG2SZ_1.get(granted) as u32 + 1);
        if cqb::PPN.get(granted) != memory.ppn() || log2_entries < crate::Config::MIN_QUEUE_LOG2 {
            return Err(InitError::Rejected("command queue"));
        }
        let mut ring = Ring {
            memory: Some(memory),
            log2_entries,
            origin: 0,
            head: 0,
            tail: 0,
            epoch: 0,
            failure: (0, CommandError::Aborted),
            once: [None; ONCE],
            slow_until: 0,
            stragglers: None,
            dead: false,
        };
        if !ring.start(hardware) {
            ring.stop(hardware);
            return Err(InitError::Timeout("command queue"));
        }
        Ok(Self { hardware: hardware.clone(), ring: Lock::new(ring), log2_entries })
    }

    /// The largest batch that [`execute`](Self::execute) takes.
    pub(crate) fn capacity(&self) -> usize {
        // One entry stays free to tell full from empty, one is the fence's.
        (1 << self.log2_entries) - 2
    }

    /// Executes `batch` in order and returns once the IOMMU has completed all of it and a fence after it.
    ///
    /// Allocates nothing, and takes no lock but the queue's. Gives up after [`ATTEMPTS`] submissions; each
    /// waits no longer than the timeout for each step that the queue makes towards its end.
    pub(crate) fn execute<I>(&self, batch: I) -> Result<(), CommandError>
    where
        I: ExactSizeIterator<Item = Command> + Clone,
    {
        debug_assert!(batch.len() <= self.capacity());
        let mut error = CommandError::Aborted;
        for _ in 0..ATTEMPTS {
            error = match self.attempt(batch.clone(), &mut None)? {
                Outcome::Done => return Ok(()),
                Outcome::Lost(error) => error,
                Outcome::Failed(error) => return Err(error),
            };
        }
        log::error!("a batch of {} commands failed: {error}", batch.len());
        Err(error)
    }

    /// The same for a command that must not be repeated. If the IOMMU has taken it from the queue, it counts as
    /// done: the specification lets it abort that when the queue stops on an error, but a device that gets
    /// two answers is worse off than one that has to be reset for want of one.
    pub(crate) fn execute_once(&self, command: Command) -> Result<(), CommandError> {
        let mut error = CommandError::Aborted;
        for _ in 0..ATTEMPTS {
            let mut slot = Some(ONCE);
            let outcome = self.attempt(core::iter::once(command), &mut slot);
            let known = slot.and_then(|slot| {
                self.ring.lock(self.hardware.platform()).once.get_mut(slot).and_then(Option::take)
            });
            if matches!(outcome, Ok(Outcome::Done)) || known.is_some_and(|once| once.passed == Some(true)) {
                return Ok(());
            }
            match outcome? {
                Outcome::Done => return Ok(()),
                Outcome::Lost(reason) => error = reason,
                Outcome::Failed(error) => return Err(error),
            }
        }
        Err(error)
    }

    /// Submits a batch. With `once`, which then holds a number beyond the last slot, it is a single command that
    /// gets one of the slots of [`Ring::once`], whose number is left there.
    fn attempt<I>(&self, batch: I, once: &mut Option<usize>) -> Result<Outcome, CommandError>
    where
        I: ExactSizeIterator<Item = Command> + Clone,
    {
        let platform = self.hardware.platform();
        let length = batch.len() as u64 + 1;
        let waits = batch.clone().any(|command| waits_for_device(&command));
        let mut batch = Some(batch);
        let mut first = 0;
        let mut epoch = None;
        let mut head = 0;
        let mut progress = platform.now();
        loop {
            let now = platform.now();
            {
                let mut ring = self.ring.lock(platform);
                ring.observe(&self.hardware);
                if ring.dead {
                    return Err(CommandError::QueueDead);
                }
                match epoch {
                    Some(epoch) if epoch != ring.epoch => {
                        return Ok(ring.lost(epoch, first..first + length, waits));
                    }
                    Some(_) if ring.head >= first + length => return Ok(Outcome::Done),
                    Some(_) => {}
                    None => {
                        if ring.free() >= length
                            && ring.reserve(once)
                            && let Some(batch) = batch.take()
                        {
                            first = ring.push(&self.hardware, batch);
                            epoch = Some(ring.epoch);
                            progress = now;
                            if waits {
                                ring.slow_until = ring.tail;
                            }
                        }
                    }
                }
                if ring.head != head {
                    head = ring.head;
                    progress = now;
                }
                if now.wrapping_sub(progress) > ring.patience(&self.hardware, now) {
                    log::error!("no progress of the command queue at command {}", ring.head);
                    self.hardware.counters.command_timeouts.add(1);
                    ring.restart(&self.hardware, CommandError::Timeout);
                    if ring.dead {
                        return Err(CommandError::QueueDead);
                    }
                    return Ok(Outcome::Failed(CommandError::Timeout));
                }
            }
            platform.relax();
        }
    }
}

impl Drop for CommandQueue {
    fn drop(&mut self) {
        self.ring.get_mut().stop(&self.hardware);
    }
}

impl Ring {
    fn entries(&self) -> u64 {
        1 << self.log2_entries
    }

    fn index(&self, position: u64) -> u64 {
        (position - self.origin) & (self.entries() - 1)
    }

    fn free(&self) -> u64 {
        self.entries() - 1 - (self.tail - self.head)
    }

    /// Writes a batch and its fence behind the tail and tells the IOMMU. There is room. Returns its position.
    fn push(&mut self, hardware: &Hardware, batch: impl Iterator<Item = Command>) -> u64 {
        let first = self.tail;
        let Some(base) = self.memory.as_ref().map(Region::paddr) else { return first };
        for command in batch.chain(core::iter::once(FENCE)) {
            let entry = base + self.index(self.tail) * ENTRY;
            let [low, high] = command.encode();
            hardware.store(entry, low);
            hardware.store(entry + 8, high);
            self.tail += 1;
        }
        hardware.write(&cqt::REG, self.index(self.tail));
        first
    }

    /// Finds a slot for the command that will be pushed next, if it must not be repeated. `false` if there is
    /// none for now.
    fn reserve(&mut self, once: &mut Option<usize>) -> bool {
        let Some(slot) = once else { return true };
        let position = self.tail;
        let Some(free) = self.once.iter().position(Option::is_none) else { return false };
        self.once[free] = Some(Once { position, passed: None });
        *slot = free;
        true
    }

    /// How many commands further the IOMMU is than when this was last looked at.
    fn advance(&self, hardware: &Hardware) -> Option<u64> {
        let index = hardware.read(&cqh::REG);
        let advance = index.wrapping_sub(self.index(self.head)) & (self.entries() - 1);
        (index < self.entries() && advance <= self.tail - self.head).then_some(advance)
    }

    /// Takes note of how far the IOMMU is; restarts the queue if it stopped.
    fn observe(&mut self, hardware: &Hardware) {
        if self.dead {
            return;
        }
        let status = hardware.read(&cqcsr::REG);
        let Some(advance) = self.advance(hardware) else {
            // The head register holds what it can't hold: the IOMMU was reset, or is not one.
            return self.restart(hardware, CommandError::Aborted);
        };
        self.head += advance;
        if status & STOPPED != 0 {
            let error = if cqcsr::CMD_ILL.is_set(status) {
                CommandError::Illegal
            } else if cqcsr::CQMF.is_set(status) {
                CommandError::MemoryFault
            } else {
                CommandError::DeviceTimeout
            };
            self.restart(hardware, error);
        } else if !cqcsr::CQON.is_set(status) {
            self.restart(hardware, CommandError::Aborted);
        }
    }

    /// How many ticks the queue may take for a step.
    fn patience(&self, hardware: &Hardware, now: u64) -> u64 {
        let stragglers =
            self.stragglers.is_some_and(|since| now.wrapping_sub(since) <= hardware.device_timeout);
        if self.head < self.slow_until || stragglers {
            hardware.device_timeout.max(hardware.timeout)
        } else {
            hardware.timeout
        }
    }

    /// What to tell the owner of the batch at `span`, which was submitted in an epoch that has ended. `waits`:
    /// it has invalidations of devices.
    fn lost(&self, epoch: u64, span: core::ops::Range<u64>, waits: bool) -> Outcome {
        let (position, error) = self.failure;
        let guilty = self.epoch == epoch + 1 && span.contains(&position);
        match error {
            // A memory fault may pass. A timeout is reported by the thread that ran into it.
            CommandError::MemoryFault => Outcome::Lost(CommandError::MemoryFault),
            CommandError::Illegal if guilty => Outcome::Failed(error),
            // The first fence after an invalidation is that of its own batch. If this batch has none, the
            // fence has met an invalidation that was sent before the queue was last restarted.
            CommandError::DeviceTimeout if guilty && waits => Outcome::Failed(error),
            _ => Outcome::Lost(CommandError::Aborted),
        }
    }

    /// Empties the queue after a failure of the command at `head` and starts it again.
    fn restart(&mut self, hardware: &Hardware, error: CommandError) {
        log::warn!("command queue restarted at command {}: {error}", self.head);
        hardware.counters.queue_restarts.add(1);
        if self.head < self.slow_until && error != CommandError::DeviceTimeout {
            self.stragglers = Some(hardware.platform.now());
        }
        let off = disable(hardware).is_ok();
        // If it had not stopped by itself, it may have gone on until now.
        self.head += self.advance(hardware).unwrap_or(0);
        for once in self.once.iter_mut().flatten() {
            once.passed.get_or_insert(once.position < self.head);
        }
        self.epoch += 1;
        self.failure = (self.head, error);
        self.head = self.tail;
        self.origin = self.tail;
        if !off || !self.start(hardware) {
            log::error!("the command queue can't be restarted");
            self.dead = true;
        }
    }

    /// Enables the empty queue. (Section "Guidelines for initialization".)
    fn start(&mut self, hardware: &Hardware) -> bool {
        let Some(memory) = &self.memory else { return false };
        let base = cqb::PPN.of(memory.ppn()) | cqb::LOG2SZ_1.of(u64::from(self.log2_entries) - 1);
        hardware.write(&cqb::REG, base);
        hardware.write(&cqt::REG, 0);
        hardware.write(&cqcsr::REG, cqcsr::CQEN.of(1));
        hardware.wait(&cqcsr::REG, |v| cqcsr::CQON.is_set(v) && !cqcsr::BUSY.is_set(v)).is_ok()
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

/// Turns the queue off. Once this has succeeded the IOMMU does not access its memory.
pub(crate) fn disable(hardware: &Hardware) -> Result<(), TimedOut> {
    hardware.wait(&cqcsr::REG, |v| !cqcsr::BUSY.is_set(v))?;
    hardware.write(&cqcsr::REG, 0);
    hardware.wait(&cqcsr::REG, |v| !cqcsr::CQON.is_set(v) && !cqcsr::BUSY.is_set(v))?;
    Ok(())
}
