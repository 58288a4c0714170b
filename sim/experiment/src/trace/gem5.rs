//! gem5's packet traces as text, as gem5's `util/decode_packet_trace.py` prints what a `MemTraceProbe` or `CommMonitor` recorded.
//!
//! Each line is `[pkt_id,]cmd,addr,size[,flags],tick[,pc]`: `cmd` is `r` (ReadReq), `w` (WriteReq) or `u` (any other command),
//! numbers are decimal. `pkt_id` is there if the packet has one, so that the first column is a number or the command; `flags` is
//! there in all that gem5 records today, so that five columns from `cmd` on are with `flags` and without `pc`.
//!
//! `u` lines move no data that is known and are skipped. Bit 8 of `flags` is `Request::INST_FETCH`. Addresses are the packet's, which
//! are physical behind gem5's own MMU. Ticks are picoseconds unless gem5 was told otherwise; they give gaps only when it is
//! said how many of them are a cycle, since they contain the time of memory too. The protobuf form itself is not read.

use super::csv::number;
use super::input::Input;
use super::{Decode, TraceAccess, TraceError, TraceOp, check_access};

const REMEDY: &str = "each line must be `[pkt_id,]cmd,addr,size[,flags],tick[,pc]`, as gem5's \
                      util/decode_packet_trace.py prints it";
/// `Request::INST_FETCH` of gem5's src/mem/request.hh.
const INST_FETCH: u64 = 0x100;

/// Reads gem5's text.
pub struct Gem5 {
    line: Vec<u8>,
    /// Ticks of a cycle; 0: no gaps.
    ticks: u64,
    /// Tick of the packet before.
    last: Option<u64>,
}

impl Gem5 {
    /// With so many ticks in a cycle; `None` gives no gaps.
    pub fn new(ticks: Option<u32>) -> Gem5 {
        Gem5 { line: Vec::new(), ticks: u64::from(ticks.unwrap_or(0)), last: None }
    }
}

impl Decode for Gem5 {
    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError> {
        let Some(complete) = input.read_line(&mut self.line)? else { return Ok(false) };
        let text = self.line.trim_ascii();
        if text.is_empty() {
            return Ok(true);
        }
        if !complete {
            return Err(input.wrong_line("the file ends inside a line", REMEDY));
        }
        let packet = parse(text).map_err(|problem| input.wrong_line(problem, REMEDY))?;
        let Some((mut access, tick)) = packet else { return Ok(true) };
        let passed = self.last.map_or(0, |last| tick.saturating_sub(last));
        let cycles = passed.checked_div(self.ticks).unwrap_or(0);
        access.gap = cycles.min(u64::from(u32::MAX)) as u32;
        self.last = Some(tick);
        out.push(access);
        Ok(true)
    }
}

/// Whether a line is one of these.
pub fn is_line(text: &[u8]) -> bool {
    parse(text).is_ok()
}

/// The access and its tick; `None` for a command that is no access.
fn parse(text: &[u8]) -> Result<Option<(TraceAccess, u64)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "this is not text".to_string())?;
    let mut columns: Vec<&str> = text.split(',').map(str::trim).collect();
    if columns[0].parse::<u64>().is_ok() {
        columns.remove(0);
    }
    let (&[cmd, address, size], rest) =
        columns.split_first_chunk::<3>().ok_or_else(|| format!("{} columns", columns.len()))?;
    let value =
        |name: &str, text: &str| number(text).ok_or_else(|| format!("{name} {text:?} is not a number"));
    let (flags, tick) = match *rest {
        [tick] => (0, value("tick", tick)?),
        [flags, tick] => (value("flags", flags)?, value("tick", tick)?),
        [flags, tick, pc] => {
            value("pc", pc)?;
            (value("flags", flags)?, value("tick", tick)?)
        }
        _ => return Err(format!("{} columns from the command on, instead of 4 to 6", columns.len())),
    };
    let op = match cmd {
        "r" if flags & INST_FETCH != 0 => TraceOp::Fetch,
        "r" => TraceOp::Read,
        "w" => TraceOp::Write,
        "u" => return Ok(None),
        _ => return Err(format!("cmd {cmd:?} is none of r, w, u")),
    };
    let address = value("addr", address)?;
    let size = check_access(address, value("size", size)?)?;
    Ok(Some((TraceAccess { pasid: 0, op, address, size, gap: 0 }, tick)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::tests::read_text;
    use crate::trace::{Format, Selection, Trace};

    fn import(text: &str, selection: Selection) -> Result<Trace, TraceError> {
        read_text(text.as_bytes(), "t.txt", Format::Gem5, selection)
    }

    #[test]
    fn reads_every_shape_of_line() {
        // With and without pkt_id, flags and pc; a response; a fetch.
        let text = "r,4096,64,1000\nw,8192,8,0,2500\nr,64,4,256,2500,64\nu,4096,64,0,2600\n7,r,128,16,2,9000\n\
                    8,w,160,16,2,9500,4198400\n";
        let all = Selection { instructions: true, pace: Some(500), ..Selection::default() };
        let trace = import(text, all).unwrap();
        let seen: Vec<_> = trace.accesses.iter().map(|a| (a.op.letter(), a.address, a.size, a.gap)).collect();
        let want =
            [('R', 4096, 64, 0), ('W', 8192, 8, 3), ('X', 64, 4, 0), ('R', 128, 16, 13), ('W', 160, 16, 1)];
        assert_eq!(seen, want);
        let data = import(text, Selection::default()).unwrap();
        assert!(data.accesses.iter().all(|a| a.gap == 0 && a.op != TraceOp::Fetch));
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, want) in [
            ("r,4096,64,1000\nx,4096,64,1000\n", "line 2: cmd \"x\""),
            ("r,4096\n", "line 1: 2 columns"),
            ("r,4096,64,1,2,3,4\n", "line 1: 7 columns"),
            ("r,4096,0,1000\n", "line 1: an access of 0 bytes"),
            ("r,4096,64,10", "line 1: the file ends inside a line"),
        ] {
            let error = import(text, Selection::default()).unwrap_err().to_string();
            assert!(error.contains(want) && error.contains("decode_packet_trace.py"), "{error}");
        }
    }
}
