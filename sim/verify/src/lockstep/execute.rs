//! Carries out operations on both engines and compares them after each.

mod messages;

pub(super) use messages::LONGEST_TIMEOUT;

use super::coverage::PointCounts;
use super::op::{Ask, Covers, Op, Store, Word};
use crate::engine::{Both, Engine, EngineError};
use pasidon_cosim::BenchError;
use pasidon_spec::command::Command;
use pasidon_spec::field::Field;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{
    self, Register, cqb, cqcsr, cqh, cqt, ddtp, event, fctl, fqb, fqcsr, fqh, fqt, iocountinh, iohpmctr,
    iohpmcycles, iohpmevt, tr_req_ctl, tr_req_iova, tr_response,
};

/// Commands that a queue recovers from before software gives up on it.
const MOST_MENDS: u32 = 80;
/// Records beside those of requests: the messages of the interrupts of the command queue, the fault queue and the page-request queue may
/// fail. (That of the performance monitor, which a request may cause before it has a record of its own, never does.)
const OWN_RECORDS: u64 = 3;
/// Cycles for the commands of a race.
const RACE_PATIENCE: u64 = 300_000;

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
                self.both.inject(*address..address.saturating_add(*bytes), trouble.failure());
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

    /// Each IOFENCE.C with PR or PW that was carried out, and each change of `ddtp`, has waited for the data path.
    fn drained(&mut self) -> Result<(), EngineError> {
        let (queue, head, _) = self.command_queue();
        let big = self.is_set(&fctl::REG, fctl::BE);
        while self.head != head {
            let address = queue.entry(self.head);
            let words = [0, 8].map(|i| self.both.load(address + i).unwrap_or(0));
            let words = if big { words.map(u64::swap_bytes) } else { words };
            if let Ok(Command::IofenceC { pr, pw, .. }) = Command::decode(words) {
                self.drains[0] += u64::from(pr);
                self.drains[1] += u64::from(pw);
            }
            self.head = queue.next(self.head);
        }
        // A fence whose store fails has waited, and has not been carried out.
        let failed = self.is_set(&cqcsr::REG, cqcsr::CQMF);
        let most = u64::from(failed && !self.failed);
        self.failed = failed;
        // One that waits for devices may have drained before.
        let ats = self.both.rtl().design().ats;
        self.check_drains(if ats { u64::MAX / 2 } else { most })
    }

    /// The data path was asked to commit as often as it must have been, or up to `more` times more often.
    fn check_drains(&mut self, more: u64) -> Result<(), EngineError> {
        let done = self.both.rtl().drains();
        if done.iter().zip(self.drains).all(|(done, due)| (due..=due + more).contains(done)) {
            self.drains = done;
            return Ok(());
        }
        let place =
            format!("the data path was asked to drain {done:?} times (reads, writes), not {:?}", self.drains);
        Err(BenchError::Protocol(place).into())
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

    // ---- Registers -------------------------------------------------------------------------------------------------

    fn write(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        let touches = |register: &Register| offset & !7 == register.offset & !7;
        if touches(&ddtp::REG) {
            return self.set_directory(offset, bytes, value);
        }
        if touches(&fctl::REG) && !self.is_off() {
            // Software must not.
            return Ok(());
        }
        if touches(&iohpmcycles::REG) {
            self.cycles_known = iocountinh::CY.is_set(self.golden(&iocountinh::REG)) && bytes == 8;
        }
        let was_on = self.is_set(&cqcsr::REG, cqcsr::CQON);
        self.failed &= !touches(&cqcsr::REG);
        self.both.write_register(offset, bytes, value)?;
        if !was_on {
            let is_on = self.is_set(&cqcsr::REG, cqcsr::CQON);
            self.head = if is_on { 0 } else { self.golden(&cqh::REG) };
        }
        if touches(&iocountinh::REG) && !iocountinh::CY.is_set(self.golden(&iocountinh::REG)) {
            self.cycles_known = false;
        }
        self.settle()
    }

    /// Whether the mode is Off and all queues are.
    fn is_off(&mut self) -> bool {
        ddtp::IOMMU_MODE.get(self.golden(&ddtp::REG)) == 0
            && !self.is_set(&cqcsr::REG, cqcsr::CQON)
            && !self.is_set(&fqcsr::REG, fqcsr::FQON)
    }

    /// A change of the directory, with the invalidation that software owes after it.
    fn set_directory(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        self.both.write_register(offset, bytes, value)?;
        if offset == ddtp::REG.offset {
            self.drains.iter_mut().for_each(|due| *due += 1);
        }
        self.settle()?;
        self.owes |= self.directory;
        self.pay()?;
        self.directory |=
            ddtp::IOMMU_MODE.get(self.golden(&ddtp::REG)) >= pasidon_spec::ddt::iommu_mode::LVL1;
        Ok(())
    }

    /// Invalidates everything if software owes it; false if it could not, so that the hardware may use another directory's entries.
    fn pay(&mut self) -> Result<bool, EngineError> {
        if self.owes {
            let all = [
                Command::IodirInvalDdt { did: None },
                Command::IotinvalVma { gscid: None, pscid: None, range: None },
                Command::IotinvalGvma { guest: None },
            ];
            let words: Vec<[Word; 2]> = all.iter().map(|c| c.encode().map(Word)).collect();
            self.owes = !self.invalidate(&words)?;
        }
        Ok(!self.owes)
    }

    /// Whether a register is the same in both, as far as the specification defines its value.
    fn is_exact(&mut self, register: &Register, index: u8) -> bool {
        match register.offset {
            o if o == iohpmcycles::REG.offset => self.cycles_known,
            o if o == iohpmctr::REG.offset => {
                let selector = self
                    .both
                    .model()
                    .golden_mut()
                    .read_register(iohpmevt::REG.offset_of(index), iohpmevt::REG.bytes);
                // How often tables are walked depends on the caches.
                iohpmevt::EVENT_ID.get(selector) < event::TLB_MISS
            }
            o if o == tr_response::REG.offset => false,
            _ => true,
        }
    }

    fn read(&mut self, offset: u16, bytes: u8) -> Result<(), EngineError> {
        for register in registers::ALL {
            for index in 0..register.count {
                let start = register.offset_of(index);
                let overlaps =
                    start < offset + u16::from(bytes) && offset < start + u16::from(register.bytes);
                if overlaps && !self.is_exact(register, index) {
                    return Ok(());
                }
            }
        }
        self.both.compare_register(offset, bytes, "value").map(|_| ())
    }

    fn compare_registers(&mut self) -> Result<(), EngineError> {
        self.settle()?;
        for register in registers::ALL {
            // All of a large array only now and then.
            for index in 0..register.count {
                if self.is_exact(register, index) {
                    self.both.compare_register(register.offset_of(index), register.bytes, register.name)?;
                }
            }
        }
        Ok(())
    }

    fn debug(&mut self, iova: u64, control: u64) -> Result<(), EngineError> {
        let there = self.golden(&registers::capabilities::REG);
        // What old values might give is not followed through this interface.
        if !registers::capabilities::DBG.is_set(there) || self.both.remembers() || !self.pay()? {
            return Ok(());
        }
        self.both.write_register(tr_req_iova::REG.offset, 8, iova)?;
        self.both.write_register(tr_req_ctl::REG.offset, 8, control)?;
        self.settle()?;
        self.both.compare_register(tr_req_ctl::REG.offset, 8, "tr_req_ctl")?;
        let fault = tr_response::FAULT.is_set(self.golden(&tr_response::REG));
        self.coverage.count(format!("debug translation/{}", if fault { "fault" } else { "success" }));
        if !fault {
            self.both.compare_register(tr_response::REG.offset, 8, "tr_response")?;
        } else {
            // The other fields have no meaning.
            let rtl = self.both.rtl().read_register(tr_response::REG.offset, 8)?;
            if !tr_response::FAULT.is_set(rtl) {
                self.both.compare_register(tr_response::REG.offset, 8, "tr_response")?;
            }
        }
        Ok(())
    }

    /// A request that finds nothing in any cache, and the events that it causes.
    fn count(&mut self, commands: &[[Word; 2]], selectors: &[Word], ask: Ask) -> Result<(), EngineError> {
        if !self.pay()? || !self.invalidate(commands)? {
            return Ok(());
        }
        self.both.forget_all();
        for (index, selector) in (0..).zip(selectors) {
            self.both.write_register(iohpmctr::REG.offset_of(index), iohpmctr::REG.bytes, 0)?;
            self.both.write_register(iohpmevt::REG.offset_of(index), iohpmevt::REG.bytes, selector.0)?;
        }
        self.requests(&[ask])?;
        for index in 0..selectors.len() as u8 {
            let offset = iohpmctr::REG.offset_of(index);
            let count = self.both.compare_register(offset, iohpmctr::REG.bytes, iohpmctr::REG.name)?;
            self.coverage.count(format!("counted/{}", if count == 0 { "nothing" } else { "something" }));
        }
        Ok(())
    }

    // ---- Commands --------------------------------------------------------------------------------------------------

    fn can_command(&mut self) -> bool {
        let state = self.golden(&cqcsr::REG);
        let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        cqcsr::CQON.is_set(state) && state & stopped == 0
    }

    /// The queue, its head and its tail.
    fn command_queue(&mut self) -> (Queue, u64, u64) {
        (Queue::commands(self.golden(&cqb::REG)), self.golden(&cqh::REG), self.golden(&cqt::REG))
    }

    fn put_command(&mut self, address: u64, command: [u64; 2]) {
        let big = self.is_set(&fctl::REG, fctl::BE);
        for (i, word) in command.into_iter().enumerate() {
            let word = if big { word.swap_bytes() } else { word };
            self.both.store(address.wrapping_add(8 * i as u64), word, false);
        }
    }

    /// Puts as many commands as fit at the tail and tells the hardware; returns how many.
    fn push(&mut self, commands: &[[Word; 2]]) -> Result<usize, EngineError> {
        let (queue, head, tail) = self.command_queue();
        let room = queue.free(head, tail) as usize;
        let count = room.min(commands.len());
        let end = queue.advance(tail, count as u64);
        for (index, command) in queue.between(tail, end).zip(commands) {
            self.put_command(queue.entry(index), command.map(|w| w.0));
            self.coverage.command(command.map(|w| w.0));
        }
        if count == room && count > 0 {
            self.coverage.count("command queue/full".into());
        }
        if end < tail {
            self.coverage.count("command queue/wrapped".into());
        }
        self.both.write_register(cqt::REG.offset, cqt::REG.bytes, end)?;
        Ok(count)
    }

    /// Puts all commands, in several turns if need be; stops when the queue does. Returns whether all were carried out.
    fn push_all(&mut self, commands: &[[Word; 2]]) -> Result<bool, EngineError> {
        let mut rest = commands;
        while !rest.is_empty() {
            let count = self.push(rest)?;
            self.settle()?;
            self.command_state();
            rest = &rest[count..];
            if !self.can_command() || count == 0 {
                return Ok(false);
            }
        }
        let (_, head, tail) = self.command_queue();
        Ok(self.can_command() && head == tail)
    }

    fn command_state(&mut self) {
        let state = self.golden(&cqcsr::REG);
        for (field, name) in [
            (cqcsr::CQMF, "memory fault"),
            (cqcsr::CMD_ILL, "illegal command"),
            (cqcsr::CMD_TO, "timeout"),
            (cqcsr::FENCE_W_IP, "wired fence"),
        ] {
            if field.is_set(state) {
                self.coverage.count(format!("command queue/{name}"));
            }
        }
    }

    /// Commands with a fence behind them; true if all of them were carried out.
    fn invalidate(&mut self, commands: &[[Word; 2]]) -> Result<bool, EngineError> {
        self.recover_command_queue()?;
        if !self.can_command() {
            return Ok(false);
        }
        let fence = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };
        let mut all = commands.to_vec();
        all.push(fence.encode().map(Word));
        self.push_all(&all)
    }

    fn recover_command_queue(&mut self) -> Result<(), EngineError> {
        let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        for _ in 0..MOST_MENDS {
            let state = self.golden(&cqcsr::REG);
            if !cqcsr::CQON.is_set(state) || state & stopped == 0 {
                break;
            }
            let (queue, head, _) = self.command_queue();
            let nothing = Command::IofenceC { pr: false, pw: false, wsi: false, store: None };
            self.put_command(queue.entry(head), nothing.encode());
            let keep = state & (cqcsr::CQEN.mask() | cqcsr::CIE.mask());
            self.failed = false;
            self.both.write_register(cqcsr::REG.offset, 4, keep | stopped)?;
            self.settle()?;
        }
        Ok(())
    }

    // ---- Requests --------------------------------------------------------------------------------------------------

    /// The queue, its head and its tail.
    fn fault_queue(&mut self) -> (Queue, u64, u64) {
        (Queue::faults(self.golden(&fqb::REG)), self.golden(&fqh::REG), self.golden(&fqt::REG))
    }

    fn takes_records(&mut self) -> bool {
        let state = self.golden(&fqcsr::REG);
        fqcsr::FQON.is_set(state) && state & (fqcsr::FQMF.mask() | fqcsr::FQOF.mask()) == 0
    }

    fn empty_fault_queue(&mut self) -> Result<(), EngineError> {
        let tail = self.golden(&fqt::REG);
        self.both.write_register(fqh::REG.offset, 4, tail)?;
        let state = self.golden(&fqcsr::REG);
        let keep = state & (fqcsr::FQEN.mask() | fqcsr::FIE.mask());
        self.both.write_register(fqcsr::REG.offset, 4, keep | fqcsr::FQMF.mask() | fqcsr::FQOF.mask())?;
        self.settle()
    }

    /// Room for records such that the order in which they come does not decide which are lost; `None` if it does not matter.
    fn room(&mut self) -> Option<u64> {
        if !self.takes_records() {
            return None;
        }
        let (queue, head, tail) = self.fault_queue();
        let range = queue.address()..queue.address() + queue.bytes();
        let fails = self.both.model().memory_mut().failures().iter().any(|(r, kind)| {
            *kind == pasidon_spec::memory::Failure::Write && r.start < range.end && range.start < r.end
        });
        // Behind the end of memory, or over tables of the scene: as if it failed.
        let memory = self.both.model().memory_mut();
        let outside = !memory.exists(range.start) || !memory.exists(range.end - 1);
        Some(if fails || outside { 0 } else { queue.free(head, tail) })
    }

    fn batches(&mut self, list: &[Ask]) -> Result<(), EngineError> {
        let mut rest = list;
        while !rest.is_empty() {
            let mut count = rest.len();
            if let Some(mut room) = self.room() {
                // What old values would be reported as is open.
                let needs = if self.both.remembers() {
                    rest.len() as u64
                } else {
                    self.both.records_expected(rest.iter().map(Ask::request))
                };
                if needs + OWN_RECORDS > room && room > 0 {
                    self.empty_fault_queue()?;
                    room = self.room().unwrap_or(u64::MAX);
                }
                if needs + OWN_RECORDS > room {
                    count = count.min(room.saturating_sub(OWN_RECORDS).max(1) as usize);
                }
            }
            let (batch, next) = rest.split_at(count);
            self.requests(batch)?;
            rest = next;
        }
        Ok(())
    }

    fn requests(&mut self, list: &[Ask]) -> Result<(), EngineError> {
        if !self.pay()? {
            return Ok(());
        }
        let single = list.len() == 1;
        let before = self.both.rtl().events();
        for ask in list {
            self.both.ask(ask.port.into(), &ask.request(), false);
        }
        self.finish(list, &[])?;
        if single {
            let after = self.both.rtl().events();
            self.coverage.level(before, after);
        }
        Ok(())
    }

    /// Waits for the answers to `before` and `after`, which were asked in this order, and compares everything.
    fn finish(&mut self, before: &[Ask], after: &[Ask]) -> Result<(), EngineError> {
        let tail = self.golden(&fqt::REG);
        self.settle()?;
        let answers = self.both.take_responses();
        self.answers += answers.len() as u64;
        let Some(first) = answers.iter().map(|(ticket, _)| *ticket).min() else { return Ok(()) };
        for (ticket, response) in answers {
            let index = (ticket - first) as usize;
            let ask = before.get(index).or_else(|| after.get(index - before.len()));
            if let Some(ask) = ask {
                self.coverage.answer(ask, &response);
            }
        }
        let end = self.golden(&fqt::REG);
        if end < tail {
            self.coverage.count("fault queue/wrapped".into());
        }
        let state = self.golden(&fqcsr::REG);
        for (field, name) in [(fqcsr::FQMF, "memory fault"), (fqcsr::FQOF, "overflow")] {
            if field.is_set(state) {
                self.coverage.count(format!("fault queue/{name}"));
            }
        }
        if !fqcsr::FQON.is_set(state) {
            self.coverage.count("fault queue/off".into());
        }
        Ok(())
    }

    fn race(
        &mut self,
        before: &[Ask],
        [cycles, hold]: [u32; 2],
        stores: &[Store],
        commands: &[[Word; 2]],
        after: &[Ask],
    ) -> Result<(), EngineError> {
        self.recover_command_queue()?;
        if !self.pay()? {
            // What comes later builds on these.
            for store in stores {
                self.both.store(store.address, store.value, true);
            }
            return Ok(());
        }
        // Whether a record is due may hang on the version: there must be room for all.
        if self.room().is_some_and(|room| room < (before.len() + after.len()) as u64 + OWN_RECORDS) {
            self.empty_fault_queue()?;
        }
        let most = self.room().map_or(usize::MAX, |room| room.saturating_sub(OWN_RECORDS) as usize);
        let before = &before[..before.len().min(most / 2)];
        let after = &after[..after.len().min(most / 2)];
        self.both.rtl().hold(hold);
        for ask in before {
            self.both.ask(ask.port.into(), &ask.request(), false);
        }
        self.both.rtl().step(cycles.into())?;
        for store in stores {
            self.both.store(store.address, store.value, true);
        }
        if self.race_commands(commands)? {
            self.both.fence(stores.iter().map(|s| s.address));
            self.coverage.count("stale/asked after the fence".into());
        }
        for ask in after {
            self.both.ask(ask.port.into(), &ask.request(), true);
        }
        self.finish(before, after)
    }

    /// Commands and a fence while requests are under way; true when the fence has completed.
    fn race_commands(&mut self, commands: &[[Word; 2]]) -> Result<bool, EngineError> {
        let (queue, head, tail) = self.command_queue();
        if !self.can_command() || head != tail || queue.capacity() < commands.len() as u64 + 1 {
            return Ok(false);
        }
        let fence = Command::IofenceC { pr: true, pw: true, wsi: false, store: None }.encode();
        let all = commands.iter().map(|c| c.map(|w| w.0)).chain([fence]);
        let mut end = tail;
        let mut due = self.drains;
        for command in all {
            if let Ok(Command::IofenceC { pr, pw, .. }) = Command::decode(command) {
                due = [due[0] + u64::from(pr), due[1] + u64::from(pw)];
            }
            self.put_command(queue.entry(end), command);
            self.coverage.command(command);
            end = queue.next(end);
        }
        let rtl = self.both.rtl();
        rtl.write_register(cqt::REG.offset, 4, end)?;
        let begun = rtl.cycles();
        let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        let completed = loop {
            if rtl.read_register(cqh::REG.offset, 4)? == end {
                break true;
            }
            if rtl.read_register(cqcsr::REG.offset, 4)? & stopped != 0 || rtl.waits_for_devices() {
                break false;
            }
            if rtl.cycles() - begun > RACE_PATIENCE {
                let what = "a fence among requests did not complete".into();
                let cycle = rtl.cycles();
                return Err(BenchError::Hung { what, waited: RACE_PATIENCE, cycle }.into());
            }
        };
        let done = self.both.rtl().drains();
        let few = done.iter().zip(due).any(|(done, due)| *done < due);
        if completed && (few || done != due && !self.both.rtl().design().ats) {
            let what = format!("a fence completed with {done:?} drains (reads, writes) instead of {due:?}");
            return Err(BenchError::Protocol(what).into());
        }
        self.both.model().write_register(cqt::REG.offset, 4, end)?;
        Ok(completed && self.can_command())
    }
}
