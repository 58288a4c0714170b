//! Mixtures of old and new values: whether one gives what the hardware answered, and the golden model going on from it.
//!
//! A search is bounded by a number of mixtures; it changes nothing unless it finds one.

use super::Both;
use super::records::record_of;
use crate::engine::difference;
use crate::engine::versions::{Choices, Notice, WhatIf, Written};
use pasidon_golden::Golden;
use pasidon_spec::request::{Request, Response};

/// Mixtures of old and new values that are tried for one answer.
pub(super) const MOST_MIXTURES: u32 = 16_384;

/// Mixtures that are tried for one answer when there is one already whose updates do not show in memory.
const MORE_MIXTURES: u32 = 2048;

/// A and D of page-table entries of 8 and 4 bytes, in either byte order.
const A_AND_D: u64 = 0xc0 | 0xc0 << 24 | 0xc0 << 32 | 0xc0 << 56;

/// Which process context a request uses.
#[derive(Clone, Copy)]
enum Process {
    /// The one that its device context leads to.
    Located,
    /// One that was located by an older version of its device context, and kept.
    Older,
}

/// The golden model after a run that changed no memory yet, and what it would change.
pub(super) struct Continuation {
    pub(super) run: Golden,
    pub(super) written: Vec<Written>,
    pub(super) notices: Vec<Notice>,
}

/// How well a mixture that gives the right answer explains what else is seen of the hardware; the last is best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It updates what the hardware has not: versions may differ in that.
    Unseen,
    /// It reports nothing, while records wait for their requests: versions may differ in that, too.
    Silent,
    /// It updates none of what the hardware has updated, which may have been for another request.
    Idle,
    /// Nothing speaks against it.
    Full,
}

impl Both {
    /// The answer of the golden model to a request on a mixture of old and new values; `None` if no hardware does that.
    fn mixture(
        &mut self,
        process: Process,
        choices: &mut Choices,
        request: &Request,
    ) -> Option<(Response, Continuation)> {
        let (golden, memory) = self.model.parts();
        let mut run = golden.clone();
        let mut what_if = WhatIf::new(memory, &self.versions, choices);
        let response = match process {
            Process::Located => run.translate(&mut what_if, request),
            Process::Older => run.translate_with_older_process(&mut what_if, request)?,
        };
        let WhatIf { written, notices, impossible, .. } = what_if;
        (!impossible).then_some((response, Continuation { run, written, notices }))
    }

    /// The record of a request by what memory holds now.
    pub(super) fn record_now(&mut self, request: &Request) -> Option<[u64; 4]> {
        let present = std::mem::take(&mut self.versions);
        let mixture = self.mixture(Process::Located, &mut Choices::default(), request);
        self.versions = present;
        record_of(&mixture?.1.written)
    }

    /// Whether some mixture of old and new values gives this answer.
    pub(super) fn is_possible(&mut self, request: &Request, answer: &Response) -> bool {
        if self.versions.is_empty() {
            return false;
        }
        for process in [Process::Located, Process::Older] {
            let mut choices = Choices::default();
            for _ in 0..MOST_MIXTURES {
                let mixture = self.mixture(process, &mut choices, request);
                if mixture.is_some_and(|(response, _)| difference::same(answer, &response)) {
                    return true;
                }
                if !choices.advance() {
                    break;
                }
            }
        }
        false
    }

    /// Finds a mixture of old and new values that gives this answer, and has the golden model go on from there; false if none does.
    pub(super) fn any_version(
        &mut self,
        request: &Request,
        answer: &Response,
        records: &mut Vec<[u64; 4]>,
    ) -> bool {
        for process in [Process::Located, Process::Older] {
            if let Some(found) = self.version(process, request, answer, records) {
                self.go_on_from(found);
                return true;
            }
        }
        false
    }

    fn version(
        &mut self,
        process: Process,
        request: &Request,
        answer: &Response,
        records: &mut Vec<[u64; 4]>,
    ) -> Option<Continuation> {
        let updated = self.updated_by_rtl();
        let mut choices = Choices::default();
        let mut best: Option<(Fit, Option<usize>, Continuation)> = None;
        let mut left = MOST_MIXTURES;
        while left > 0 {
            left -= 1;
            let mixture = self.mixture(process, &mut choices, request);
            if let Some((_, next)) = mixture.filter(|(response, _)| difference::same(answer, response)) {
                let record = record_of(&next.written).map(|own| records.iter().position(|r| *r == own));
                let fit = if !next.written.iter().all(|w| self.rtl_wrote(w)) {
                    Some(Fit::Unseen)
                } else if record == Some(None) {
                    None
                } else if record.is_none() && answer.success().is_none() && !records.is_empty() {
                    Some(Fit::Silent)
                } else if updated.is_empty() || next.written.iter().any(|w| updated.contains(&w.address)) {
                    Some(Fit::Full)
                } else {
                    Some(Fit::Idle)
                };
                if matches!(fit, Some(Fit::Unseen | Fit::Idle)) && best.is_none() {
                    left = left.min(MORE_MIXTURES);
                }
                if fit > best.as_ref().map(|(fit, ..)| *fit) {
                    best = fit.map(|fit| (fit, record.flatten(), next));
                }
                if fit == Some(Fit::Full) {
                    break;
                }
            }
            if !choices.advance() {
                break;
            }
        }
        let (fit, record, next) = best?;
        if fit > Fit::Unseen {
            record.map(|index| records.swap_remove(index));
        }
        Some(next)
    }

    /// Doublewords in which the hardware has set A or D bits, and the golden model has not yet.
    fn updated_by_rtl(&mut self) -> Vec<u64> {
        if !self.rtl.design().amo_hwad {
            return Vec::new();
        }
        let written = self.rtl.memory_mut().written.clone();
        written
            .into_iter()
            .filter(|&address| {
                let change =
                    self.rtl.memory_mut().load(address).unwrap_or(0) ^ self.load(address).unwrap_or(0);
                change != 0 && change & !A_AND_D == 0
            })
            .collect()
    }

    /// Whether the hardware's memory shows what an exchange of the golden model changed; true of other writes.
    fn rtl_wrote(&mut self, written: &Written) -> bool {
        let now = self.rtl.memory_mut().load(written.address).unwrap_or(0);
        !written.exchange || (now ^ written.value) & (written.before ^ written.value) == 0
    }

    /// The golden model continues from a run on old values.
    pub(super) fn go_on_from(&mut self, Continuation { run, written, notices }: Continuation) {
        self.notices.extend(notices);
        let (golden, memory) = self.model.parts();
        *golden = run;
        for w in written {
            memory.store(w.address, w.value);
            memory.written.push(w.address);
            if w.exchange {
                self.exchanges.push(w);
                self.versions.remember_exchange(&w);
            }
        }
    }
}
