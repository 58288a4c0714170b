//! The plain form: `pasid,op,address,size` or `pasid,op,address,size,gap`, one access per line.
//!
//! `op` is `R`, `W`, `M` (read and write) or `X` (fetch); numbers are decimal or `0x` hexadecimal; empty lines and lines
//! that begin with `#` are skipped, and the first of the others may be the column names.

use super::input::Input;
use super::{Decode, MAX_LABEL, TraceAccess, TraceError, TraceOp, check_access};

const REMEDY: &str = "each line must be `pasid,op,address,size`, for example `0,R,0x7f001000,8`, or have the cycles of \
                      computing before the access as a fifth column";
const NAMES: [&str; 2] = ["pasid,op,address,size", "pasid,op,address,size,gap"];

/// Reads CSV.
#[derive(Default)]
pub struct Csv {
    line: Vec<u8>,
    begun: bool,
}

impl Decode for Csv {
    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError> {
        if input.read_line(&mut self.line)?.is_none() {
            return Ok(false);
        }
        let Ok(text) = std::str::from_utf8(&self.line) else {
            return Err(input.wrong_line("this is not text", REMEDY));
        };
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(true);
        }
        let first = !std::mem::replace(&mut self.begun, true);
        if !(first && is_header(text)) {
            out.push(parse(text).map_err(|problem| input.wrong_line(problem, REMEDY))?);
        }
        Ok(true)
    }
}

/// Whether a line is the one of column names.
pub fn is_header(text: &str) -> bool {
    let text = text.replace(' ', "");
    NAMES.iter().any(|names| text.eq_ignore_ascii_case(names))
}

/// A decimal or `0x` hexadecimal number.
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse(text: &str) -> Result<TraceAccess, String> {
    let mut columns = [""; 5];
    let mut count = 0;
    for column in text.split(',') {
        if let Some(place) = columns.get_mut(count) {
            *place = column.trim();
        }
        count += 1;
    }
    if !(4..=5).contains(&count) {
        return Err(format!("{count} columns instead of 4 or 5"));
    }
    let [pasid, op, address, size, gap] = columns;
    let pasid = number(pasid)
        .filter(|&p| p < u64::from(MAX_LABEL))
        .ok_or_else(|| format!("pasid {pasid:?} is not a number below 2^20"))? as u32;
    let op = match op {
        "R" | "r" => TraceOp::Read,
        "W" | "w" => TraceOp::Write,
        "M" | "m" => TraceOp::Modify,
        "X" | "x" => TraceOp::Fetch,
        _ => return Err(format!("op {op:?} is none of R, W, M, X")),
    };
    let address = number(address).ok_or_else(|| format!("address {address:?} is not a 64-bit number"))?;
    let size = number(size).ok_or_else(|| format!("size {size:?} is not a number"))?;
    let gap = match count {
        5 => number(gap)
            .and_then(|gap| u32::try_from(gap).ok())
            .ok_or_else(|| format!("gap {gap:?} is not a number below 2^32"))?,
        _ => 0,
    };
    Ok(TraceAccess { pasid, op, address, size: check_access(address, size)?, gap })
}

/// Writes the line of column names.
///
/// # Errors
/// Whatever `out` reports.
pub fn write_header(out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(out, "{}", NAMES[1])
}

/// Writes accesses as CSV.
///
/// # Errors
/// Whatever `out` reports.
pub fn write(accesses: &[TraceAccess], out: &mut impl std::io::Write) -> std::io::Result<()> {
    for a in accesses {
        writeln!(out, "{},{},{:#x},{},{}", a.pasid, a.op.letter(), a.address, a.size, a.gap)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::read_text;
    use crate::trace::{Format, Selection, Trace};

    fn import(text: &str) -> Result<Trace, TraceError> {
        let selection = Selection { instructions: true, ..Selection::default() };
        read_text(text.as_bytes(), "t.csv", Format::Csv, selection)
    }

    #[test]
    fn round_trip() {
        assert_eq!(import("# remark\n\npasid, op, address, size\n0,R,16,1\n").unwrap().accesses.len(), 1);
        let text = "pasid,op,address,size,gap\n0,R,0x1000,8,0\n1,W,0x2ffe,4,77\n1,M,0x10,1,0\n0,X,0x40,2,1\n";
        let trace = import(text).unwrap();
        let mut out = Vec::new();
        write_header(&mut out).unwrap();
        write(&trace.accesses, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, want) in [
            ("0,R,0x1000\n", "line 1: 3 columns"),
            ("0,R,4096,8\n0,Q,0,1\n", "line 2: op \"Q\""),
            ("# a remark\n0,R,zero,1\n", "line 2: address"),
            ("9999999,R,0,1\n", "line 1: pasid"),
            ("0,R,0,1,4294967296\n", "line 1: gap"),
            ("0,R,0,1,2,3\n", "line 1: 6 columns"),
            ("0,R,0xffffffffffffffff,2\n", "line 1: an access of 2 bytes"),
            ("# nothing\n", "no memory access"),
        ] {
            let error = import(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
