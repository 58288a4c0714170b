//! Import of `valgrind --tool=lackey --trace-mem=yes`.
//!
//! Each line is a kind, an address in hexadecimal and a size in decimal: `I  04016b80,3` (fetch), ` L 1ffeffe7e8,8`
//! (load), ` S ...` (store), ` M ...` (load and store). Valgrind's own messages start with `==` or `--`.

use super::{Selection, Trace, TraceAccess, TraceError, TraceOp, check_access};
use std::io::BufRead;
use std::path::Path;

const REMEDY: &str = "record it with `valgrind --tool=lackey --trace-mem=yes --log-file=FILE PROGRAM`, so that the \
                    program's own output stays out of it";

/// Reads lackey's output; `name` is used in messages only. Lines of valgrind's own are skipped.
///
/// # Errors
/// The line that is not lackey's, a file without any access, or a failed read.
pub fn read(
    mut input: impl BufRead,
    name: &Path,
    selection: Selection,
    source: &str,
) -> Result<Trace, TraceError> {
    let mut trace = Trace { source: source.to_string(), accesses: Vec::new() };
    let mut line = Vec::new();
    let (mut number, mut seen) = (0u64, 0u64);
    loop {
        line.clear();
        number += 1;
        let read = input
            .read_until(b'\n', &mut line)
            .map_err(|cause| TraceError::Io { file: name.to_path_buf(), cause })?;
        if read == 0 {
            break;
        }
        let complete = line.last() == Some(&b'\n');
        let text = line.trim_ascii_end();
        if text.is_empty() || text.starts_with(b"==") || text.starts_with(b"--") {
            continue;
        }
        let access = parse(text).map_err(|problem| {
            let problem = if complete { problem } else { format!("the file ends inside a line: {problem}") };
            TraceError::content(name, format!("line {number}"), problem, REMEDY)
        })?;
        if !complete {
            // A size of `16` cut to `1` would parse, so that a last line without its end is never believed.
            return Err(TraceError::content(
                name,
                format!("line {number}"),
                "the file ends inside a line",
                REMEDY,
            ));
        }
        if !selection.take(&mut seen, &mut trace.accesses, access) {
            break;
        }
    }
    if trace.accesses.is_empty() {
        let problem = format!("no memory access was selected ({seen} seen)");
        return Err(TraceError::content(name, format!("line {number}"), problem, REMEDY));
    }
    Ok(trace)
}

fn parse(text: &[u8]) -> Result<TraceAccess, String> {
    let foreign = || {
        let shown: String = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
        format!("not a lackey line: {shown:?}")
    };
    let op = match text {
        [b'I', b' ', b' ', ..] => TraceOp::Fetch,
        [b' ', b'L', b' ', ..] => TraceOp::Read,
        [b' ', b'S', b' ', ..] => TraceOp::Write,
        [b' ', b'M', b' ', ..] => TraceOp::Modify,
        _ => return Err(foreign()),
    };
    let rest = std::str::from_utf8(&text[3..]).map_err(|_| foreign())?;
    let (address, size) = rest.split_once(',').ok_or_else(foreign)?;
    let address = u64::from_str_radix(address, 16).map_err(|_| foreign())?;
    let size = check_access(address, size.parse().map_err(|_| foreign())?)?;
    Ok(TraceAccess { pasid: 0, op, address, size, gap: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(text: &str, selection: Selection) -> Result<Trace, TraceError> {
        read(text.as_bytes(), Path::new("t.log"), selection, "prog")
    }

    #[test]
    fn reads_each_kind_of_line() {
        let text =
            "==12== Lackey\nI  04016b80,3\n L 1ffeffe7e8,8\n S 04222cac,4\n M 0421e060,1\n==12== done\n";
        let data = import(text, Selection::default()).unwrap();
        assert_eq!(data.accesses.len(), 3);
        assert_eq!(
            data.accesses[0],
            TraceAccess { pasid: 0, op: TraceOp::Read, address: 0x1f_feff_e7e8, size: 8, gap: 0 }
        );
        assert_eq!(data.accesses[2].op, TraceOp::Modify);
        let all = import(text, Selection { instructions: true, ..Selection::default() }).unwrap();
        assert_eq!(all.accesses[0].op, TraceOp::Fetch);
    }

    #[test]
    fn selects_a_window() {
        let text = " L 10,1\n L 20,1\n L 30,1\n L 40,1\n";
        let trace = import(text, Selection { skip: 1, limit: Some(2), instructions: false }).unwrap();
        assert_eq!(trace.accesses.iter().map(|a| a.address).collect::<Vec<_>>(), [0x20, 0x30]);
    }

    #[test]
    fn names_the_foreign_line() {
        let error = import(" L 10,1\nhello world\n", Selection::default()).unwrap_err().to_string();
        assert!(error.starts_with("t.log: line 2: not a lackey line: \"hello world\""), "{error}");
        let error = import(" L 10,1\n L 20,1", Selection::default()).unwrap_err().to_string();
        assert!(error.contains("line 2: the file ends inside a line"), "{error}");
        assert!(import("==1== nothing\n", Selection::default()).is_err());
        assert!(import(" L 10,0\n", Selection::default()).is_err());
    }
}
