//! Shortens a sequence that fails: leaves out as much as possible while it still fails in the same kind of way.
//!
//! Delta debugging (Zeller) over the operations, then over the requests, commands and stores inside each. The engines are loaded
//! once; every try begins with reset.

use super::coverage::PointCounts;
use super::op::Op;
use super::{carry_out, finding};
use crate::engine::{Both, Difference, DifferenceKind, EngineError};
use pasidon_cosim::Pace;
use std::time::{Duration, Instant};

/// A sequence under reduction.
pub(super) struct Minimiser<'a> {
    both: &'a mut Both,
    coverage: PointCounts,
    seed: u64,
    kind: DifferenceKind,
    until: Instant,
    /// Tries so far.
    pub(super) tries: u64,
    last: Difference,
}

impl<'a> Minimiser<'a> {
    pub(super) fn new(
        both: &'a mut Both,
        seed: u64,
        difference: Difference,
        time: Duration,
    ) -> Minimiser<'a> {
        let (coverage, kind) = (PointCounts::default(), difference.kind);
        Minimiser { both, coverage, seed, kind, until: Instant::now() + time, tries: 0, last: difference }
    }

    /// Whether a sequence still fails in the same kind of way.
    fn fails(&mut self, ops: &[Op]) -> bool {
        if Instant::now() > self.until {
            return false;
        }
        self.tries += 1;
        let outcome = match carry_out(self.both, &mut self.coverage, ops, self.seed) {
            Ok(outcome) => outcome.failure.map(|(_, difference)| difference),
            Err(error) => finding(error).ok(),
        };
        match outcome {
            Some(difference) if difference.kind == self.kind => {
                self.last = difference;
                true
            }
            _ => false,
        }
    }

    /// The shortest part of a list with which `rest` still fails.
    fn reduce<T: Clone>(&mut self, list: &[T], rest: impl Fn(&[T]) -> Vec<Op>) -> Vec<T> {
        let mut list = list.to_vec();
        let mut size = list.len().div_ceil(2).max(1);
        while !list.is_empty() {
            let mut start = 0;
            let mut shorter = false;
            while start < list.len() {
                let mut without = list.clone();
                without.drain(start..(start + size).min(list.len()));
                if self.fails(&rest(&without)) {
                    list = without;
                    shorter = true;
                } else {
                    start += size;
                }
            }
            if size == 1 && !shorter {
                break;
            }
            size = if shorter { size.min(list.len()).max(1) } else { (size / 2).max(1) };
        }
        list
    }

    /// The shortest sequence that was found, and how it fails.
    ///
    /// # Errors
    /// [`EngineError`], if the engines themselves cannot go on.
    pub(super) fn run(mut self, ops: &[Op]) -> Result<(Vec<Op>, Difference, u64), EngineError> {
        let mut ops = ops.to_vec();
        if !self.fails(&ops) {
            // It does not repeat: what was found is all there is.
            return Ok((ops, self.last, self.tries));
        }
        ops = self.reduce(&ops, <[Op]>::to_vec);
        loop {
            let before = ops.clone();
            for index in 0..ops.len() {
                self.inside(&mut ops, index);
            }
            ops = self.reduce(&ops, <[Op]>::to_vec);
            self.calm(&mut ops);
            if ops == before {
                break;
            }
        }
        // Leaves `last` as what this very sequence does.
        self.until = Instant::now() + Duration::from_secs(60);
        self.fails(&ops);
        Ok((ops, self.last, self.tries))
    }

    /// Shortens the lists inside one operation.
    fn inside(&mut self, ops: &mut [Op], index: usize) {
        let frame = ops.to_vec();
        let place = |op: Op| {
            let mut ops = frame.clone();
            ops[index] = op;
            ops
        };
        let new = match ops[index].clone() {
            Op::Requests { list, serial } => {
                let list = self.reduce(&list, |list| place(Op::Requests { list: list.to_vec(), serial }));
                Op::Requests { list, serial }
            }
            Op::PageRequests { list, beside } => {
                let both = |list: &[_], beside: &[_]| Op::PageRequests {
                    list: list.to_vec(),
                    beside: beside.to_vec(),
                };
                let beside = self.reduce(&beside, |beside| place(both(&list, beside)));
                let list = self.reduce(&list, |list| place(both(list, &beside)));
                Op::PageRequests { list, beside }
            }
            Op::Commands { commands } => {
                let commands = self.reduce(&commands, |c| place(Op::Commands { commands: c.to_vec() }));
                Op::Commands { commands }
            }
            Op::Count { commands, selectors, ask } => {
                let selectors = self.reduce(&selectors, |selectors| {
                    place(Op::Count { commands: commands.clone(), selectors: selectors.to_vec(), ask })
                });
                Op::Count { commands, selectors, ask }
            }
            Op::Race { before, cycles, hold, stores, commands, after } => {
                let race = |before: &[_], stores: &[_], after: &[_]| Op::Race {
                    before: before.to_vec(),
                    cycles,
                    hold,
                    stores: stores.to_vec(),
                    commands: commands.clone(),
                    after: after.to_vec(),
                };
                let before = self.reduce(&before, |list| place(race(list, &stores, &after)));
                let after = self.reduce(&after, |list| place(race(&before, &stores, list)));
                let stores = self.reduce(&stores, |list| place(race(&before, list, &after)));
                race(&before, &stores, &after)
            }
            Op::Reset { before, commands, cycles } => {
                let reset = |before: &[_], commands: &[_]| Op::Reset {
                    before: before.to_vec(),
                    commands: commands.to_vec(),
                    cycles,
                };
                let before = self.reduce(&before, |list| place(reset(list, &commands)));
                let commands = self.reduce(&commands, |list| place(reset(&before, list)));
                reset(&before, &commands)
            }
            _ => return,
        };
        ops[index] = new;
    }

    /// Nobody hesitates, if it fails so too.
    fn calm(&mut self, ops: &mut [Op]) {
        for index in 0..ops.len() {
            if let Op::Pace { pace } = ops[index] {
                for calmer in [Pace::even(1), Pace::even(pace.latency), Pace { jitter: 0, ..pace }] {
                    let mut tried = ops.to_vec();
                    tried[index] = Op::Pace { pace: calmer };
                    if calmer != pace && self.fails(&tried) {
                        ops[index] = Op::Pace { pace: calmer };
                        break;
                    }
                }
            }
        }
    }
}
