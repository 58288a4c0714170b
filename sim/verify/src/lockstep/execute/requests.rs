//! Requests, alone, in batches, and in a race with commands, with room in the fault queue for what they report.

use super::super::op::{Ask, Store, Word};
use super::{Executor, OWN_RECORDS};
use crate::engine::{Engine, EngineError};
use pasidon_cosim::{BenchError, Clocked};
use pasidon_spec::command::Command;
use pasidon_spec::memory::Failure;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{cqcsr, cqh, cqt, fqb, fqcsr, fqh, fqt};

/// Cycles for the commands of a race.
const RACE_PATIENCE: u64 = 300_000;

impl Executor<'_> {
    /// The queue, its head and its tail.
    fn fault_queue(&mut self) -> (Queue, u64, u64) {
        (Queue::faults(self.golden(&fqb::REG)), self.golden(&fqh::REG), self.golden(&fqt::REG))
    }

    fn takes_records(&mut self) -> bool {
        let state = self.golden(&fqcsr::REG);
        fqcsr::FQON.is_set(state) && state & (fqcsr::FQMF.mask() | fqcsr::FQOF.mask()) == 0
    }

    pub(super) fn empty_fault_queue(&mut self) -> Result<(), EngineError> {
        let tail = self.golden(&fqt::REG);
        self.both.write_register(fqh::REG.offset, 4, tail)?;
        let state = self.golden(&fqcsr::REG);
        let keep = state & (fqcsr::FQEN.mask() | fqcsr::FIE.mask());
        self.both.write_register(fqcsr::REG.offset, 4, keep | fqcsr::FQMF.mask() | fqcsr::FQOF.mask())?;
        self.settle()
    }

    /// Room for records such that the order in which they come does not decide which are lost; `None` if it does not matter.
    pub(super) fn room(&mut self) -> Option<u64> {
        if !self.takes_records() {
            return None;
        }
        let (queue, head, tail) = self.fault_queue();
        let range = queue.address()..queue.address() + queue.bytes();
        let fails = self
            .both
            .model()
            .memory_mut()
            .failures()
            .iter()
            .any(|(r, kind)| *kind == Failure::Write && r.start < range.end && range.start < r.end);
        // Behind the end of memory, or over tables of the scene: as if it failed.
        let memory = self.both.model().memory_mut();
        let outside = !memory.exists(range.start) || !memory.exists(range.end - 1);
        Some(if fails || outside { 0 } else { queue.free(head, tail) })
    }

    pub(super) fn batches(&mut self, list: &[Ask]) -> Result<(), EngineError> {
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

    pub(super) fn requests(&mut self, list: &[Ask]) -> Result<(), EngineError> {
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
    pub(super) fn finish(&mut self, before: &[Ask], after: &[Ask]) -> Result<(), EngineError> {
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

    pub(super) fn race(
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
        let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        let completed = rtl.look_until(RACE_PATIENCE, "a fence among requests did not complete", |rtl| {
            if rtl.read_register(cqh::REG.offset, 4)? == end {
                return Ok(Some(true));
            }
            let stopped = rtl.read_register(cqcsr::REG.offset, 4)? & stopped != 0;
            Ok::<_, EngineError>((stopped || rtl.waits_for_devices()).then_some(false))
        })?;
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
