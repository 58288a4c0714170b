//! The fault queue: the records of a batch are the same in some order, and the golden model's memory takes over the hardware's.

use super::Both;
use crate::engine::difference::{DifferenceKind, Fields};
use crate::engine::versions::Written;
use crate::engine::{Engine, EngineError, EngineMemory};
use pasidon_spec::fault::RECORD_BYTES;
use pasidon_spec::registers::fqt;

impl Both {
    /// The fault record at `address`.
    fn record(memory: &mut EngineMemory, address: u64) -> [u64; 4] {
        [0, 1, 2, 3].map(|i| memory.load(address + 8 * i).unwrap_or(0))
    }

    /// The records that the hardware has added behind `tail`, as they stand in memory.
    pub(super) fn new_records(&mut self, tail: u64) -> Result<Vec<[u64; 4]>, EngineError> {
        let end = self.rtl.read_register(fqt::REG.offset, fqt::REG.bytes)?;
        self.fault_tail = end;
        let queue = self.fault_queue();
        Ok(queue.between(tail, end).map(|i| Self::record(self.rtl.memory_mut(), queue.entry(i))).collect())
    }

    /// The records of a batch are the same in some order; from now on the golden model's memory has the hardware's.
    pub(super) fn adopt_records(&mut self, tail: u64) -> Result<(), EngineError> {
        let queue = self.fault_queue();
        let golden_end = self.golden_register(&fqt::REG);
        let places = |end: u64| queue.between(tail, end).map(|index| queue.entry(index));
        let mut rtl: Vec<[u64; 4]> =
            places(self.fault_tail).map(|at| Self::record(self.rtl.memory_mut(), at)).collect();
        let mut golden: Vec<[u64; 4]> =
            places(golden_end).map(|at| Self::record(self.model.memory_mut(), at)).collect();
        rtl.sort_unstable();
        golden.sort_unstable();
        if rtl != golden {
            let only = |a: &[[u64; 4]], b: &[[u64; 4]]| {
                let mut rest = b.to_vec();
                let alone: Vec<String> = a
                    .iter()
                    .filter(|record| match rest.iter().position(|r| r == *record) {
                        Some(index) => {
                            rest.swap_remove(index);
                            false
                        }
                        None => true,
                    })
                    .map(|record| format!(" {record:x?}"))
                    .collect();
                let with = if alone.is_empty() { "" } else { ", alone with" };
                format!("{} records{with}{}", a.len(), alone.concat())
            };
            let mut fields = Fields::new();
            fields.compare("records", only(&rtl, &golden), only(&golden, &rtl), |v| v);
            return self.differ(fields, DifferenceKind::Record, || {
                format!("{} new ones in the fault queue", rtl.len())
            });
        }
        for place in places(golden_end) {
            for address in (place..place + RECORD_BYTES).step_by(8) {
                if let Some(value) = self.rtl.memory_mut().load(address) {
                    self.model.memory_mut().store(address, value);
                }
            }
        }
        Ok(())
    }
}

/// The fault record among these writes, if there is one: four doublewords in a row that were not exchanged.
pub(super) fn record_of(written: &[Written]) -> Option<[u64; 4]> {
    let plain: Vec<&Written> = written.iter().filter(|w| !w.exchange).collect();
    let start = plain.windows(4).position(|w| {
        w[0].address % RECORD_BYTES == 0 && (1..4).all(|i| w[i].address == w[0].address + 8 * i as u64)
    })?;
    Some([0, 1, 2, 3].map(|i| plain[start + i].value))
}
