//! Messages between devices and IOMMU: page requests, and completions of invalidation requests.

use super::super::op::{Ask, PageAsk};
use super::{Executor, OWN_RECORDS};
use crate::engine::{Engine, EngineError};
use pasidon_spec::message::{InvalidationCompletion, Message};
use pasidon_spec::registers::{capabilities as cap, pqb, pqcsr, pqh, pqt};

/// The longest time-out that is waited for, in clock cycles.
pub(in crate::lockstep) const LONGEST_TIMEOUT: u32 = 50_000;
/// Turns in which commands that wait for a tag go on.
const MOST_TURNS: u32 = 80;

impl Executor<'_> {
    fn has_ats(&mut self) -> bool {
        cap::ATS.is_set(self.golden(&cap::REG))
    }

    /// Whether the hardware can have remembered nothing else of devices than what memory holds.
    fn knows_devices(&mut self) -> Result<bool, EngineError> {
        Ok(self.has_ats() && !self.both.remembers() && self.pay()? && !self.both.remembers())
    }

    /// Takes note of the invalidation requests that were sent.
    pub(super) fn note_messages(&mut self) {
        for message in self.both.take_messages() {
            match message {
                Message::Invalidation { rid, dseg, itag, .. } => self.flights.push((rid, dseg, itag)),
                Message::GroupResponse { body, .. } => {
                    self.coverage.count(format!("group response/{}", body.code));
                }
            }
        }
    }

    pub(super) fn page_requests(&mut self, list: &[PageAsk], beside: &[Ask]) -> Result<(), EngineError> {
        if !self.knows_devices()? {
            return Ok(());
        }
        // Records that find no room must be the same.
        let needs = (list.len() + beside.len()) as u64 + OWN_RECORDS;
        if self.room().is_some_and(|room| room < needs) {
            self.empty_fault_queue()?;
        }
        // Where they still find none, a page request ends with a record of its own, or with one of the interrupt's message that cannot
        // be written, before the next one comes.
        let tight = self.room().is_some_and(|room| room < needs);
        let beside = if tight { &[][..] } else { beside };
        let state = self.golden(&pqcsr::REG);
        let tail = self.golden(&pqt::REG);
        for ask in beside {
            self.both.ask(ask.port.into(), &ask.request(), false);
        }
        for request in list {
            self.both.page_request(&request.request())?;
            if tight {
                self.settle()?;
            }
        }
        self.finish(beside, &[])?;
        let after = self.golden(&pqcsr::REG);
        for (field, name) in [(pqcsr::PQMF, "memory fault"), (pqcsr::PQOF, "overflow")] {
            if field.is_set(after) && !field.is_set(state) {
                self.coverage.count(format!("page-request queue/{name}"));
            }
        }
        let end = self.golden(&pqt::REG);
        if !pqcsr::PQON.is_set(state) {
            self.coverage.count("page-request queue/off".into());
        } else if end < tail {
            self.coverage.count("page-request queue/wrapped".into());
        } else if end > tail {
            self.coverage.count("page-request queue/records".into());
        }
        Ok(())
    }

    /// Software takes all page requests, and clears what stopped the queue.
    pub(super) fn empty_page_request_queue(&mut self) -> Result<(), EngineError> {
        if !self.has_ats() {
            return Ok(());
        }
        let tail = self.golden(&pqt::REG);
        self.both.write_register(pqh::REG.offset, 4, tail)?;
        let state = self.golden(&pqcsr::REG);
        let keep = state & (pqcsr::PQEN.mask() | pqcsr::PIE.mask());
        self.both.write_register(pqcsr::REG.offset, 4, keep | pqcsr::PQMF.mask() | pqcsr::PQOF.mask())?;
        self.settle()
    }

    /// Turns the page-request queue off, moves it, and turns it on again if `control` says so.
    pub(super) fn move_page_request_queue(&mut self, base: u64, control: u64) -> Result<(), EngineError> {
        if !self.has_ats() {
            return Ok(());
        }
        self.both.write_register(pqcsr::REG.offset, 4, 0)?;
        self.both.write_register(pqb::REG.offset, 8, base)?;
        self.both.write_register(pqcsr::REG.offset, 4, control)?;
        self.settle()
    }

    pub(super) fn completion(&mut self, completion: &InvalidationCompletion) -> Result<(), EngineError> {
        if !self.knows_devices()? || self.room().is_some_and(|room| room < OWN_RECORDS) {
            return Ok(());
        }
        self.both.invalidation_completion(completion)?;
        self.settle()?;
        self.coverage.count("invalidation completion/any".into());
        Ok(())
    }

    /// Devices answer every request that they know of, until commands wait for no tag.
    pub(super) fn complete_all(&mut self) -> Result<(), EngineError> {
        for _ in 0..MOST_TURNS {
            let flights = std::mem::take(&mut self.flights);
            if flights.is_empty() || !self.knows_devices()? {
                return Ok(());
            }
            let mut done = 0u32;
            for &(rid, dseg, itag) in &flights {
                if done >> itag & 1 != 0 {
                    continue;
                }
                // What one device has to answer, it answers at once.
                let same = flights.iter().filter(|f| (f.0, f.1) == (rid, dseg));
                let itags = same.fold(0, |mask, f| mask | 1 << f.2);
                done |= itags;
                if self.room().is_some_and(|room| room < OWN_RECORDS) {
                    self.empty_fault_queue()?;
                }
                self.both.invalidation_completion(&InvalidationCompletion { rid, dseg, itags, count: 1 })?;
                self.settle()?;
                self.coverage.count("invalidation completion/of requests in flight".into());
            }
        }
        Ok(())
    }

    /// No device answers for as long as requests may take.
    pub(super) fn time_out(&mut self) -> Result<(), EngineError> {
        let timeout = self.both.rtl().design().ats_timeout;
        if !self.has_ats() || timeout > LONGEST_TIMEOUT || self.flights.is_empty() {
            return Ok(());
        }
        self.flights.clear();
        self.both.rtl().step(3 * u64::from(timeout) / 2 + 100)?;
        self.settle()?;
        self.coverage.count("invalidation request/timed out".into());
        Ok(())
    }
}
