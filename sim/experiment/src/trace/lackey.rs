//! Output of `valgrind --tool=lackey --trace-mem=yes`.
//!
//! Each line is a kind, an address in hexadecimal and a size in decimal: `I  04016b80,3` (fetch), ` L 1ffeffe7e8,8`
//! (load), ` S ...` (store), ` M ...` (load and store). Valgrind's own messages start with `==` or `--`.

use super::input::Input;
use super::{Decode, TraceAccess, TraceError, TraceOp, check_access};

const REMEDY: &str = "record it with `valgrind --tool=lackey --trace-mem=yes --log-file=FILE PROGRAM`, so that the \
                    program's own output stays out of it";

/// Reads lackey's output. Lines of valgrind's own are skipped.
#[derive(Default)]
pub struct Lackey {
    line: Vec<u8>,
}

impl Decode for Lackey {
    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError> {
        let Some(complete) = input.read_line(&mut self.line)? else { return Ok(false) };
        let text = self.line.trim_ascii_end();
        if text.is_empty() || text.starts_with(b"==") || text.starts_with(b"--") {
            return Ok(true);
        }
        let access = parse(text).map_err(|problem| {
            let problem = if complete { problem } else { format!("the file ends inside a line: {problem}") };
            input.wrong_line(problem, REMEDY)
        })?;
        if !complete {
            // A size of `16` cut to `1` would parse, so that a last line without its end is never believed.
            return Err(input.wrong_line("the file ends inside a line", REMEDY));
        }
        out.push(access);
        Ok(true)
    }
}

/// Whether a line is lackey's or valgrind's.
pub fn is_line(text: &[u8]) -> bool {
    text.starts_with(b"==") || text.starts_with(b"--") || operation(text).is_some()
}

fn operation(text: &[u8]) -> Option<TraceOp> {
    match text {
        [b'I', b' ', b' ', ..] => Some(TraceOp::Fetch),
        [b' ', b'L', b' ', ..] => Some(TraceOp::Read),
        [b' ', b'S', b' ', ..] => Some(TraceOp::Write),
        [b' ', b'M', b' ', ..] => Some(TraceOp::Modify),
        _ => None,
    }
}

fn parse(text: &[u8]) -> Result<TraceAccess, String> {
    let foreign = || {
        let shown: String = String::from_utf8_lossy(&text[..text.len().min(40)]).into_owned();
        format!("not a lackey line: {shown:?}")
    };
    let op = operation(text).ok_or_else(foreign)?;
    let rest = std::str::from_utf8(&text[3..]).map_err(|_| foreign())?;
    let (address, size) = rest.split_once(',').ok_or_else(foreign)?;
    let address = u64::from_str_radix(address, 16).map_err(|_| foreign())?;
    let size = check_access(address, size.parse().map_err(|_| foreign())?)?;
    Ok(TraceAccess { pasid: 0, op, address, size, gap: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::read_text;
    use crate::trace::{Format, Selection, Trace};

    fn import(text: &str, selection: Selection) -> Result<Trace, TraceError> {
        read_text(text.as_bytes(), "t.log", Format::Lackey, selection)
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
        let window = Selection { skip: 1, limit: Some(2), ..Selection::default() };
        let trace = import(text, window).unwrap();
        assert_eq!(trace.accesses.iter().map(|a| a.address).collect::<Vec<_>>(), [0x20, 0x30]);
    }

    #[test]
    fn names_the_foreign_line() {
        let error = import(" L 10,1\nhello world\n", Selection::default()).unwrap_err().to_string();
        assert!(error.contains("t.log: line 2: not a lackey line: \"hello world\""), "{error}");
        let error = import(" L 10,1\n L 20,1", Selection::default()).unwrap_err().to_string();
        assert!(error.contains("line 2: the file ends inside a line"), "{error}");
        assert!(import("==1== nothing\n", Selection::default()).is_err());
        assert!(import(" L 10,0\n", Selection::default()).is_err());
    }
}
