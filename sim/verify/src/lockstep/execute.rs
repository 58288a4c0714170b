//! Carries out operations on both engines and compares them after each.

mod commands;
mod messages;
mod registers;
mod requests;

pub(super) use messages::LONGEST_TIMEOUT;

use super::coverage::PointCounts;
use super::op::{Ask, Covers, Op, Store, Word};
use crate::engine::{Both, Engine, EngineError};
use pasidon_spec::field::Field;
use pasidon_spec::registers::{Register, cqt};

/// Records beside those of requests: the messages of the interrupts of the command queue, the fault queue and the page-request queue may
/// fail. (That of the performance monitor, which a request may cause before it has a record of its own, never does.)
const OWN_RECORDS: u64 = 3;
/// Both engines at work on a sequence.
pub(super) struct Executor<'a> {
    both: &'a mut Both,
    coverage: &'a mut PointCounts,
    /// Answers compared so far.
    pub(super) answers: u64,
    /// A directory was in use since reset.
    directory: bool,
    /// The directory was changed, and the invalidation that software owes after it has not completed.
    owes: bool,
    /// `iohpmcycles` was written while it stood still.
    cycles_known: bool,
    /// `cqh` when it was last looked at.
    head: u64,
    /// How often the data path must have been asked to commit reads, and writes.
    drains: [u64; 2],
    /// Invalidation requests that devices have to answer: requester id, segment, itag.
    flights: Vec<(u16, Option<u8>, u8)>,
    /// The command queue stood still after a failure of memory when it was last looked at.
    failed: bool,
}

impl<'a> Executor<'a> {
    /// Resets both engines, their memories too. Everything arbitrary in time follows from `seed`.
    pub(super) fn start(
        both: &'a mut Both,
        coverage: &'a mut PointCounts,
        seed: u64,
    ) -> Result<Executor<'a>, EngineError> {
        both.clear_memory();
        both.rtl().reseed(seed);
        both.reset()?;
        let drains = both.rtl().drains();
        Ok(Executor {
            both,
            coverage,
            answers: 0,
            directory: false,
            owes: false,
            cycles_known: false,
            head: 0,
            drains,
            flights: Vec::new(),
            failed: false,
        })
    }

    /// Clock cycles so far, and beats read.
    pub(super) fn spent(&mut self) -> (u64, u64) {
        (self.both.cycles(), self.both.rtl().events()[3])
    }

    /// One operation.
    ///
    /// # Errors
    /// [`EngineError::Different`], or what the hardware did wrong.
    pub(super) fn execute(&mut self, op: &Op) -> Result<(), EngineError> {
        match op {
            Op::Read { offset, bytes } => self.read(*offset, *bytes),
            Op::Write { offset, bytes, value } => self.write(*offset, *bytes, *value),
            Op::Store { store: Store { address, value }, remembered } => {
                self.both.store(*address, *value, *remembered);
                Ok(())
            }
            Op::Commands { commands } => {
                self.push_all(commands)?;
                self.settle()
            }
            Op::Invalidate { commands, covers } => {
                if self.invalidate(commands)? {
                    match covers {
                        Covers::All => self.both.forget_all(),
                        Covers::Words(words) => words.iter().for_each(|w| self.both.forget(w.0)),
                    }
                }
                Ok(())
            }
            Op::Requests { list, serial: true } => list.iter().try_for_each(|ask| self.requests(&[*ask])),
            Op::Requests { list, serial: false } => self.batches(list),
            Op::Race { before, cycles, hold, stores, commands, after } => {
                self.race(before, [*cycles, *hold], stores, commands, after)
            }
            Op::Reset { before, commands, cycles } => self.reset(before, commands, *cycles),
            Op::Debug { iova, control } => self.debug(*iova, *control),
            Op::Count { commands, selectors, ask } => self.count(commands, selectors, *ask),
            Op::Inject { address, bytes, trouble } => {
                self.both.inject(*address..address.saturating_add(*bytes), *trouble);
                Ok(())
            }
            Op::Heal => {
                self.both.heal();
                Ok(())
            }
            Op::EmptyFaultQueue => self.empty_fault_queue(),
            Op::PageRequests { list, beside } => self.page_requests(list, beside),
            Op::EmptyPageRequestQueue => self.empty_page_request_queue(),
            Op::MovePageRequestQueue { base, control } => self.move_page_request_queue(*base, *control),
            Op::Completion { completion } => self.completion(completion),
            Op::CompleteAll => self.complete_all(),
            Op::TimeOut => self.time_out(),
            Op::RecoverCommandQueue => self.recover_command_queue(),
            Op::Pace { pace } => {
                self.both.rtl().set_pace(*pace);
                Ok(())
            }
            Op::CompareRegisters => self.compare_registers(),
        }
    }

    fn golden(&mut self, register: &Register) -> u64 {
        self.both.model().golden_mut().read_register(register.offset, register.bytes)
    }

    fn is_set(&mut self, register: &Register, field: Field) -> bool {
        field.is_set(self.golden(register))
    }

    fn settle(&mut self) -> Result<(), EngineError> {
        self.both.settle()?;
        self.note_messages();
        self.drained()
    }

    /// Reset while the hardware is at work.
    fn reset(&mut self, before: &[Ask], commands: &[[Word; 2]], cycles: u32) -> Result<(), EngineError> {
        if self.pay()? && self.can_command() {
            for ask in before {
                self.both.ask(ask.port.into(), &ask.request(), false);
            }
            let (queue, head, tail) = self.command_queue();
            let count = commands.len().min(queue.free(head, tail) as usize);
            let end = queue.advance(tail, count as u64);
            for (index, command) in queue.between(tail, end).zip(commands) {
                self.put_command(queue.entry(index), command.map(|w| w.0));
            }
            self.both.rtl().write_register(cqt::REG.offset, cqt::REG.bytes, end)?;
            self.both.rtl().step(cycles.into())?;
        }
        self.both.interrupt()?;
        self.drains = self.both.rtl().drains();
        self.flights.clear();
        (self.directory, self.owes, self.cycles_known, self.failed, self.head) =
            (false, false, false, false, 0);
        self.settle()
    }
}
