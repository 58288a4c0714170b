//! Queues that the IOMMU fills and software empties, the fault queue and the page-request queue: records taken
//! out in order, and what is needed to recover from overflow and memory faults.

use crate::{
    error::InitError,
    hardware::{Hardware, Region, TimedOut},
    lock::{Lock, Rank},
    shared::Shared,
};
use pasidon_spec::{
    fault,
    field::Field,
    page_request,
    queue::Queue,
    registers::{Register, fqb, fqcsr, fqh, fqt, ipsr, pqb, pqcsr, pqh, pqt},
};

/// How many steps of a restart are tried at a time.
const STEPS: usize = 8;

/// How often a queue that is busy is looked at, under its lock.
const BUSY_TURNS: usize = 16;

/// How many records are copied out under the lock at a time.
pub(crate) const BURST: usize = 16;

/// Where one kind of queue has its registers, and what their fields are.
pub(crate) struct Plan {
    /// What errors call the queue.
    pub(crate) name: &'static str,
    record_bytes: u64,
    base: &'static Register,
    head: &'static Register,
    tail: &'static Register,
    control: &'static Register,
    enable: Field,
    interrupt_enable: Field,
    memory_fault: Field,
    overflow: Field,
    on: Field,
    busy: Field,
    pending: Field,
    rank: Rank,
}

/// The fault queue.
pub(crate) static FAULTS: Plan = Plan {
    name: "fault queue",
    record_bytes: fault::RECORD_BYTES,
    base: &fqb::REG,
    head: &fqh::REG,
    tail: &fqt::REG,
    control: &fqcsr::REG,
    enable: fqcsr::FQEN,
    interrupt_enable: fqcsr::FIE,
    memory_fault: fqcsr::FQMF,
    overflow: fqcsr::FQOF,
    on: fqcsr::FQON,
    busy: fqcsr::BUSY,
    pending: ipsr::FIP,
    rank: Rank::FaultQueue,
};

/// The page-request queue, which exists if `capabilities.ATS` is 1.
pub(crate) static PAGE_REQUESTS: Plan = Plan {
    name: "page-request queue",
    record_bytes: page_request::RECORD_BYTES,
    base: &pqb::REG,
    head: &pqh::REG,
    tail: &pqt::REG,
    control: &pqcsr::REG,
    enable: pqcsr::PQEN,
    interrupt_enable: pqcsr::PIE,
    memory_fault: pqcsr::PQMF,
    overflow: pqcsr::PQOF,
    on: pqcsr::PQON,
    busy: pqcsr::BUSY,
    pending: ipsr::PIP,
    rank: Rank::RequestQueue,
};

impl Plan {
    const fn errors(&self) -> u64 {
        self.memory_fault.mask() | self.overflow.mask()
    }

    /// Turns the queue off. Once this has succeeded the IOMMU does not access its memory.
    pub(crate) fn disable(&self, hardware: &Hardware) -> Result<(), TimedOut> {
        hardware.wait(self.control, |v| !self.busy.is_set(v))?;
        hardware.write(self.control, 0);
        hardware.wait(self.control, |v| !self.on.is_set(v) && !self.busy.is_set(v))?;
        Ok(())
    }
}

/// A queue whose records have `WORDS` doublewords.
pub(crate) struct RecordQueue<const WORDS: usize> {
    plan: &'static Plan,
    hardware: Shared<Hardware>,
    ring: Lock<Ring>,
    queue: Queue,
    enable: u64,
}

struct Ring {
    memory: Option<Region>,
    head: u64,
    /// Records taken out since the driver started: the position of the record at `head`.
    taken: u64,
    phase: Phase,
}

/// What a queue is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It records.
    Running,
    /// It is to be turned off, when it is not busy any more.
    Stopping,
    /// It is being turned off.
    GoingOff,
    /// It is being turned on again.
    GoingOn,
}

/// Records copied out of the queue, and what the queue said about records that it lost.
pub(crate) struct Burst<const WORDS: usize> {
    pub(crate) records: [[u64; WORDS]; BURST],
    pub(crate) count: usize,
    /// Position of the first record, counted from the first record ever.
    pub(crate) position: u64,
    /// How many records there were before any was taken.
    pub(crate) depth: u64,
    /// There was more in the queue.
    pub(crate) more: bool,
    /// The queue has been emptied and has stopped: after what [`Stop`] says, it waits for
    /// [`RecordQueue::resume`].
    pub(crate) stop: Option<Stop>,
}

/// Why a queue discards records.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stop {
    pub(crate) overflow: bool,
    pub(crate) memory_fault: bool,
    errors: u64,
}

impl<const WORDS: usize> RecordQueue<WORDS> {
    /// Allocates and enables a queue of `2^log2_entries` records, or of as many as the IOMMU supports.
    pub(crate) fn new(
        hardware: &Shared<Hardware>,
        plan: &'static Plan,
        log2_entries: u32,
        interrupts: bool,
    ) -> Result<Self, InitError> {
        debug_assert!(plan.record_bytes == 8 * WORDS as u64);
        let bytes = (plan.record_bytes as usize) << log2_entries;
        let memory = Hardware::alloc_zeroed(hardware, bytes).ok_or(InitError::OutOfMemory)?;
        plan.disable(hardware).map_err(|_| InitError::Timeout(plan.name))?;
        let wanted = Queue::new(memory.paddr(), log2_entries, plan.record_bytes);
        hardware.write(plan.base, wanted.base());
        let granted = Queue::from_base(hardware.read(plan.base), plan.record_bytes).limited_to(log2_entries);
        let memory = Hardware::granted(memory, granted.ppn()).ok_or(InitError::Rejected(plan.name))?;
        let enable = plan.enable.of(1) | plan.interrupt_enable.of(interrupts.into());
        let queue = Self {
            plan,
            hardware: hardware.clone(),
            queue: granted,
            ring: Lock::new(
                plan.rank,
                Ring { memory: Some(memory), head: 0, taken: 0, phase: Phase::Running },
            ),
            enable,
        };
        queue.reopen()?;
        Ok(queue)
    }

    /// Enables the queue, which is off and which nobody else touches, with nothing in it.
    pub(crate) fn reopen(&self) -> Result<(), InitError> {
        let (hardware, plan) = (&*self.hardware, self.plan);
        self.turn_on(&mut self.ring.lock(hardware.platform()));
        let on = hardware.wait(plan.control, |v| plan.on.is_set(v) && !plan.busy.is_set(v));
        self.ring.lock(hardware.platform()).phase = Phase::Running;
        on.map(drop).map_err(|_| InitError::Timeout(plan.name))
    }

    /// When this returns, nobody touches the queue until the IOMMU is up.
    pub(crate) fn settle(&self) {
        drop(self.ring.lock(self.hardware.platform()));
    }

    /// Begins to enable the queue, which is off. (Section "Guidelines for initialization".)
    fn turn_on(&self, ring: &mut Ring) {
        let (hardware, plan) = (&*self.hardware, self.plan);
        ring.head = 0;
        hardware.write(plan.base, self.queue.base());
        hardware.write(plan.head, 0);
        hardware.write(plan.control, self.enable);
        ring.phase = Phase::GoingOn;
    }

    /// Takes the next steps of a restart that can be taken at once. Returns whether the queue records.
    fn restart(&self, ring: &mut Ring) -> bool {
        let (hardware, plan) = (&*self.hardware, self.plan);
        for _ in 0..STEPS {
            let status = hardware.read(plan.control);
            let (on, busy) = (plan.on.is_set(status), plan.busy.is_set(status));
            match ring.phase {
                Phase::Running => return true,
                _ if busy => return false,
                Phase::Stopping => {
                    hardware.write(plan.control, 0);
                    ring.phase = Phase::GoingOff;
                }
                Phase::GoingOff if !on => self.turn_on(ring),
                Phase::GoingOn if on => ring.phase = Phase::Running,
                Phase::GoingOff | Phase::GoingOn => ring.phase = Phase::Stopping,
            }
        }
        ring.phase == Phase::Running
    }

    /// How many records the queue can hold.
    pub(crate) fn capacity(&self) -> u64 {
        self.queue.capacity()
    }

    /// The position that the next record to be written by the IOMMU will have.
    pub(crate) fn end(&self) -> u64 {
        let ring = self.ring.lock(self.hardware.platform());
        ring.taken + self.pending(&ring)
    }

    /// How many records were taken out so far.
    pub(crate) fn taken(&self) -> u64 {
        self.ring.lock(self.hardware.platform()).taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.pending(&self.ring.lock(self.hardware.platform())) == 0
    }

    /// How many records there are to be taken. None if the tail is what no tail can be.
    fn pending(&self, ring: &Ring) -> u64 {
        if !self.hardware.is_up() || ring.phase != Phase::Running {
            return 0;
        }
        self.distance(ring).unwrap_or(0)
    }

    fn distance(&self, ring: &Ring) -> Option<u64> {
        let tail = self.hardware.read(self.plan.tail);
        (tail < self.queue.entries()).then(|| self.queue.used(ring.head, tail))
    }

    /// Takes up to `limit` records out of the queue, at most [`BURST`].
    ///
    /// The interrupt-pending bit is cleared before the tail is read, so that a record that arrives in between
    /// raises it again.
    pub(crate) fn take(&self, limit: usize) -> Burst<WORDS> {
        let (hardware, plan) = (&*self.hardware, self.plan);
        let mut ring = self.ring.lock(hardware.platform());
        let mut burst = Burst {
            records: [[0; WORDS]; BURST],
            count: 0,
            position: ring.taken,
            depth: 0,
            more: false,
            stop: None,
        };
        if !hardware.is_up() || !self.restart(&mut ring) {
            return burst;
        }
        let status = hardware.read(plan.control);
        hardware.write(&ipsr::REG, plan.pending.of(1));
        let pending = self.distance(&ring);
        // After a reset the tail is 0, and old records may look like new ones. The queue is off then, which tells the two apart.
        let reset = pending.is_some_and(|pending| pending > 0 && self.queue.advance(ring.head, pending) == 0)
            && !plan.on.is_set(hardware.read(plan.control));
        let (Some(pending), true) = (pending, plan.on.is_set(status) && !reset) else {
            // Not what this queue was when it was last looked at: it was reset, or is none. What was in it is lost.
            if !hardware.notice_reset() {
                hardware.counters.record_queue_restarts.add(1);
                ring.phase = Phase::Stopping;
                self.restart(&mut ring);
                burst.stop = Some(Stop { overflow: false, memory_fault: true, errors: 0 });
            }
            return burst;
        };
        burst.depth = pending;
        // The records were written before the tail that was just read.
        hardware.platform.fence();
        while (burst.count as u64) < pending.min(limit.min(BURST) as u64) {
            let entry = self.queue.entry(ring.head);
            for (offset, word) in (0..).step_by(8).zip(&mut burst.records[burst.count]) {
                *word = hardware.load(entry + offset);
            }
            burst.count += 1;
            ring.head = self.queue.next(ring.head);
            ring.taken += 1;
        }
        if burst.count > 0 {
            hardware.write(plan.head, ring.head);
        }
        burst.more = pending > burst.count as u64;
        let errors = status & plan.errors();
        if errors != 0 && !burst.more {
            // While an error bit is set nothing is queued, so that this is the state to recover from.
            burst.stop = Some(Stop {
                overflow: plan.overflow.is_set(status),
                memory_fault: plan.memory_fault.is_set(status),
                errors,
            });
        }
        burst
    }

    /// Makes a queue record again that had stopped. Returns whether there is something in it already; `None` if the
    /// queue is busy and stays so for [`BUSY_TURNS`] turns of polling: then it is for the next one who looks into it.
    ///
    /// The interrupt-pending bit is cleared once more: for as long as an error bit was set, that held it up.
    pub(crate) fn resume(&self, stop: Stop) -> Option<bool> {
        let hardware = &*self.hardware;
        let ring = self.ring.lock(hardware.platform());
        if !hardware.is_up() || ring.phase != Phase::Running {
            return None;
        }
        let mut turns = BUSY_TURNS;
        loop {
            let status = hardware.read(self.plan.control);
            if !self.plan.on.is_set(status) {
                // It was reset: enabled now, it would write to wherever its base register says.
                return None;
            }
            if !self.plan.busy.is_set(status) {
                break;
            }
            turns -= 1;
            if turns == 0 {
                // The next look tries again.
                return None;
            }
            hardware.platform.relax();
        }
        hardware.write(self.plan.control, self.enable | stop.errors);
        hardware.write(&ipsr::REG, self.plan.pending.of(1));
        Some(self.pending(&ring) != 0)
    }
}

impl<const WORDS: usize> Drop for RecordQueue<WORDS> {
    fn drop(&mut self) {
        let off = self.plan.disable(&self.hardware).is_ok();
        if let Some(memory) = self.ring.get_mut().memory.take()
            && !off
        {
            memory.leak();
        }
    }
}
