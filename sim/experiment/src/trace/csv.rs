//! The plain form: `pasid,op,address,size`, one access per line.
//!
//! `op` is `R`, `W`, `M` (read and write) or `X` (fetch); numbers are decimal or `0x` hexadecimal; empty lines and lines
//! that begin with `#` are skipped, and the first of the others may be the column names.

use super::{Selection, Trace, TraceAccess, TraceError, TraceOp, check_access};
use std::io::BufRead;
use std::path::Path;

const REMEDY: &str = "each line must be `pasid,op,address,size`, for example `0,R,0x7f001000,8`";

/// Reads CSV; `name` is used in messages only.
///
/// # Errors
/// The line and column that is wrong, a file without any access, or a failed read.
pub fn read(
    input: impl BufRead,
    name: &Path,
    selection: Selection,
    source: &str,
) -> Result<Trace, TraceError> {
    let mut trace = Trace { source: source.to_string(), accesses: Vec::new() };
    let mut seen = 0;
    let mut last = 0;
    let mut begun = false;
    for (index, line) in input.lines().enumerate() {
        last = index + 1;
        let line = match line {
            Ok(line) => line,
            Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
                return Err(TraceError::content(name, format!("line {last}"), "this is not text", REMEDY));
            }
            Err(cause) => return Err(TraceError::Io { file: name.to_path_buf(), cause }),
        };
        let text = line.trim();
        let header = !begun && text.replace(' ', "").eq_ignore_ascii_case("pasid,op,address,size");
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        begun = true;
        if header {
            continue;
        }
        let access = parse(text)
            .map_err(|problem| TraceError::content(name, format!("line {last}"), problem, REMEDY))?;
        if !selection.take(&mut seen, &mut trace.accesses, access) {
            break;
        }
    }
    if trace.accesses.is_empty() {
        let problem = format!("no memory access was selected ({seen} seen)");
        return Err(TraceError::content(name, format!("line {last}"), problem, REMEDY));
    }
    Ok(trace)
}

fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn parse(text: &str) -> Result<TraceAccess, String> {
    let columns: Vec<&str> = text.split(',').map(str::trim).collect();
    let [pasid, op, address, size] = columns[..] else {
        return Err(format!("{} columns instead of 4", columns.len()));
    };
    let pasid = number(pasid)
        .filter(|&p| p < 1 << 20)
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
    Ok(TraceAccess { pasid, op, address, size: check_access(address, size)?, gap: 0 })
}

/// Writes accesses as CSV with a line of column names.
///
/// # Errors
/// Whatever `out` reports.
pub fn write(trace: &Trace, out: &mut impl std::io::Write) -> std::io::Result<()> {
    writeln!(out, "pasid,op,address,size")?;
    for a in &trace.accesses {
        writeln!(out, "{},{},{:#x},{}", a.pasid, a.op.letter(), a.address, a.size)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str) -> Result<Trace, TraceError> {
        let selection = Selection { instructions: true, ..Selection::default() };
        read(text.as_bytes(), Path::new("t.csv"), selection, "")
    }

    #[test]
    fn round_trip() {
        assert_eq!(import("# remark\n\npasid, op, address, size\n0,R,16,1\n").unwrap().accesses.len(), 1);
        let text = "pasid,op,address,size\n0,R,0x1000,8\n1,W,0x2ffe,4\n1,M,0x10,1\n0,X,0x40,2\n";
        let trace = import(text).unwrap();
        let mut out = Vec::new();
        write(&trace, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), text);
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, want) in [
            ("0,R,0x1000\n", "line 1: 3 columns"),
            ("0,R,4096,8\n0,Q,0,1\n", "line 2: op \"Q\""),
            ("# a remark\n0,R,zero,1\n", "line 2: address"),
            ("9999999,R,0,1\n", "line 1: pasid"),
            ("0,R,0xffffffffffffffff,2\n", "line 1: an access of 2 bytes"),
            ("", "no memory access"),
        ] {
            let error = import(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
