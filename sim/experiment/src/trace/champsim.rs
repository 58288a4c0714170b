//! ChampSim's instruction traces: records of 64 bytes, little-endian, one for each instruction.
//!
//! | bytes | content |
//! |---|---|
//! | 8 | instruction pointer |
//! | 1 + 1 | is it a branch, was it taken: 0 or 1 |
//! | 2 + 4 | registers written and read |
//! | 2 x 8 | addresses written, 0: none |
//! | 4 x 8 | addresses read, 0: none |
//!
//! This is `input_instr` of the public traces (`NAME.champsimtrace.xz`: unpack the xz first). A record has no sizes: an access is
//! taken as 8 bytes, or less at the end of its line of 64, a fetch as 4. Reads of an instruction come before its writes. With
//! a pace, instructions without memory access become the gap before the next one's data.

use super::input::Input;
use super::{Decode, TraceAccess, TraceError, TraceOp};

const RECORD: usize = 64;
/// Accesses of a record: fetch, reads, writes.
pub const MOST: usize = 7;
const REMEDY: &str =
    "only records of 64 bytes are read, as ChampSim's public traces have them; fetch the file anew if it has";
const LINE: u64 = 64;

/// Reads ChampSim's records.
pub struct ChampSim {
    /// Instructions of a cycle; 0: no gaps.
    per_cycle: u64,
    /// Instructions since the last access.
    idle: u64,
}

impl ChampSim {
    /// With so many instructions in a cycle; `None` gives no gaps.
    pub fn new(per_cycle: Option<u32>) -> ChampSim {
        ChampSim { per_cycle: u64::from(per_cycle.unwrap_or(0)), idle: 0 }
    }
}

impl Decode for ChampSim {
    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError> {
        let mut record = [0; RECORD];
        match input.bytes(&mut record)? {
            0 => return Ok(false),
            RECORD => {}
            got => {
                return Err(
                    input.wrong_byte(format!("the last record has {got} bytes instead of 64"), REMEDY)
                );
            }
        }
        if !is_record(&record) {
            return Err(input.wrong_byte("a record whose branch marks are not 0 or 1", REMEDY));
        }
        let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| record[at + i]));
        let mut gap = match self.per_cycle {
            0 => 0,
            per_cycle => (self.idle / per_cycle).min(u64::from(u32::MAX)) as u32,
        };
        let mut push = |op, address: u64, size: u64| {
            let size = size.min(LINE - address % LINE) as u32;
            // Time passes before data, since fetches may be left out.
            let gap = if op == TraceOp::Fetch { 0 } else { std::mem::take(&mut gap) };
            out.push(TraceAccess { pasid: 0, op, address, size, gap });
        };
        push(TraceOp::Fetch, word(0), 4);
        let (mut written, mut read) = ([0; 2], [0; 4]);
        (0..2).for_each(|i| written[i] = word(16 + 8 * i));
        (0..4).for_each(|i| read[i] = word(32 + 8 * i));
        read.iter().filter(|&&a| a != 0).for_each(|&a| push(TraceOp::Read, a, 8));
        written.iter().filter(|&&a| a != 0).for_each(|&a| push(TraceOp::Write, a, 8));
        let moves = read.iter().chain(&written).any(|&a| a != 0);
        self.idle = if moves { 0 } else { self.idle + 1 };
        Ok(true)
    }
}

/// Whether bytes can be a record.
pub fn is_record(record: &[u8]) -> bool {
    record.len() == RECORD && record[8] < 2 && record[9] < 2
}

/// Whether the first bytes of a file can be records, with an instruction pointer in each.
pub fn is_trace(first: &[u8]) -> bool {
    let mut records = first.chunks_exact(RECORD).peekable();
    records.peek().is_some() && records.all(|record| is_record(record) && record[..8] != [0; 8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::read_text;
    use crate::trace::{Format, Selection};

    fn record(ip: u64, written: [u64; 2], read: [u64; 4]) -> Vec<u8> {
        let mut bytes = ip.to_le_bytes().to_vec();
        bytes.extend([1, 0, 6, 25, 6, 25, 26, 0]);
        written.iter().chain(&read).for_each(|a| bytes.extend(a.to_le_bytes()));
        bytes
    }

    #[test]
    fn reads_records() {
        let mut bytes = record(0x40_1000, [0x7000, 0], [0x1003c, 0, 0x20000, 0]);
        (0..6).for_each(|i| bytes.extend(record(0x40_1004 + 4 * i, [0; 2], [0; 4])));
        bytes.extend(record(0x40_2000, [0; 2], [0x3000, 0, 0, 0]));
        let data =
            read_text(&bytes, "t", Format::ChampSim, Selection { pace: Some(2), ..Selection::default() });
        let data = data.unwrap();
        let seen: Vec<_> = data.accesses.iter().map(|a| (a.op.letter(), a.address, a.size, a.gap)).collect();
        // The last line has 4 bytes left at 0x1003c; six idle instructions at two a cycle.
        assert_eq!(
            seen,
            [('R', 0x1003c, 4, 0), ('R', 0x20000, 8, 0), ('W', 0x7000, 8, 0), ('R', 0x3000, 8, 3)]
        );
        let all = Selection { instructions: true, ..Selection::default() };
        let all = read_text(&bytes, "t", Format::ChampSim, all).unwrap();
        assert_eq!(all.accesses.iter().filter(|a| a.op == TraceOp::Fetch).count(), 8);
        assert!(is_trace(&bytes) && !is_trace(b"PASIDON\n"));
        bytes.pop();
        let error = read_text(&bytes, "t", Format::ChampSim, Selection::default()).unwrap_err().to_string();
        assert!(error.contains("63 bytes instead of 64"), "{error}");
        bytes[64 + 9] = 7;
        let error = read_text(&bytes, "t", Format::ChampSim, Selection::default()).unwrap_err().to_string();
        assert!(error.contains("byte 128") && error.contains("branch marks"), "{error}");
    }
}
