//! The command queue as software uses it: commands put in, errors recovered from, and drains of the data path counted.

use super::super::op::Word;
use super::Executor;
use crate::engine::{Engine, EngineError};
use pasidon_cosim::BenchError;
use pasidon_spec::command::Command;
use pasidon_spec::queue::Queue;
use pasidon_spec::registers::{cqb, cqcsr, cqh, cqt, fctl};

/// Commands that a queue recovers from before software gives up on it.
const MOST_MENDS: u32 = 80;

impl Executor<'_> {
    /// Each IOFENCE.C with PR or PW that was carried out, and each change of `ddtp`, has waited for the data path.
    pub(super) fn drained(&mut self) -> Result<(), EngineError> {
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

    pub(super) fn can_command(&mut self) -> bool {
        let state = self.golden(&cqcsr::REG);
        let stopped = cqcsr::CQMF.mask() | cqcsr::CMD_TO.mask() | cqcsr::CMD_ILL.mask();
        cqcsr::CQON.is_set(state) && state & stopped == 0
    }

    /// The queue, its head and its tail.
    pub(super) fn command_queue(&mut self) -> (Queue, u64, u64) {
        (Queue::commands(self.golden(&cqb::REG)), self.golden(&cqh::REG), self.golden(&cqt::REG))
    }

    pub(super) fn put_command(&mut self, address: u64, command: [u64; 2]) {
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
    pub(super) fn push_all(&mut self, commands: &[[Word; 2]]) -> Result<bool, EngineError> {
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
    pub(super) fn invalidate(&mut self, commands: &[[Word; 2]]) -> Result<bool, EngineError> {
        self.recover_command_queue()?;
        if !self.can_command() {
            return Ok(false);
        }
        let fence = Command::IofenceC { pr: true, pw: true, wsi: false, store: None };
        let mut all = commands.to_vec();
        all.push(fence.encode().map(Word));
        self.push_all(&all)
    }

    pub(super) fn recover_command_queue(&mut self) -> Result<(), EngineError> {
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
}
