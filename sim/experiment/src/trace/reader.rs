//! A trace file as a stream: recognised, opened, selected from, in constant memory.
//!
//! Bounds: one batch of accesses and the buffers of the input. What is not recognised is never guessed.

use super::input::{Input, PEEK};
use super::{Decode, Selection, Trace, TraceAccess, TraceError, TraceOp, champsim, csv, file, gem5, lackey};
use crate::stream::{AccessStream, BATCH};
use std::path::{Path, PathBuf};

/// The forms of trace files. Each may be packed by gzip or zstd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Our own: [`mod@file`].
    Packed,
    /// Output of `valgrind --tool=lackey --trace-mem=yes`: [`lackey`].
    Lackey,
    /// `pasid,op,address,size[,gap]` lines: [`csv`].
    Csv,
    /// ChampSim's instruction records: [`champsim`].
    ChampSim,
    /// gem5's packet traces as text: [`gem5`].
    Gem5,
}

impl Format {
    /// The form of a file by its first bytes, and where these allow two by its name.
    ///
    /// Five columns that begin with a number are CSV with a gap, unless the operation is in lower case, as gem5 writes it and
    /// the name doesn't say CSV.
    pub fn recognise(first: &[u8], path: &Path) -> Option<Format> {
        if first.starts_with(file::MAGIC) {
            return Some(Format::Packed);
        }
        let text = std::str::from_utf8(first).map_or_else(|e| e.valid_up_to() + 4 > first.len(), |_| true);
        if !text || first.contains(&0) {
            return champsim::is_trace(first).then_some(Format::ChampSim);
        }
        let plain = |line: &&[u8]| !line.trim_ascii().is_empty() && !line.starts_with(b"#");
        let line = first.split(|&b| b == b'\n').find(plain).unwrap_or_default();
        let name = path.to_string_lossy().to_ascii_lowercase();
        let named_csv = [".csv", ".csv.gz", ".csv.zst"].iter().any(|end| name.ends_with(end));
        if lackey::is_line(line) {
            return Some(Format::Lackey);
        }
        if named_csv {
            return Some(Format::Csv);
        }
        if gem5::is_line(line) {
            return Some(Format::Gem5);
        }
        let columns: Vec<&[u8]> = line.split(|&b| b == b',').collect();
        let is_csv = matches!(columns.len(), 4 | 5)
            && (csv::is_header(&String::from_utf8_lossy(line).replace('\r', ""))
                || matches!(
                    columns[1].trim_ascii(),
                    [b'R' | b'W' | b'M' | b'X' | b'r' | b'w' | b'm' | b'x']
                ));
        is_csv.then_some(Format::Csv)
    }

    /// Most accesses that one step of the decoder gives.
    fn most(self) -> usize {
        if self == Format::ChampSim { champsim::MOST } else { 1 }
    }
}

/// A trace file, open.
pub struct TraceFile {
    path: PathBuf,
    asked: Option<Format>,
    format: Format,
    selection: Selection,
    remark: Option<String>,
    input: Input,
    decoder: Box<dyn Decode>,
    /// Selected accesses seen, and taken.
    seen: u64,
    taken: u64,
    /// Cycles of accesses that were left out, for the next that is not.
    gap: u32,
    ended: bool,
}

impl TraceFile {
    /// Opens a trace; `-` is standard input. Without a format it is recognised.
    ///
    /// # Errors
    /// [`TraceError`] naming the file, the position in it, and the remedy.
    pub fn open(path: &Path, format: Option<Format>, selection: Selection) -> Result<TraceFile, TraceError> {
        let (mut input, first) = Input::open(path)?;
        let Some(found) = format.or_else(|| Format::recognise(&first, path)) else {
            // A file that is cut short before it says what it is says so.
            let mut probe = vec![0; PEEK];
            input.bytes(&mut probe)?;
            let problem =
                "this is not a Pasidon trace, nor lackey's output, CSV, gem5's text or ChampSim's records";
            let remedy =
                "make one with `pasidon trace import IN --out FILE`, with `--format` if you know its form";
            return Err(TraceError::content(path, "byte 0", problem, remedy));
        };
        let decoder: Box<dyn Decode> = match found {
            Format::Packed => Box::new(file::Packed::new(&mut input)?),
            Format::Lackey => Box::<lackey::Lackey>::default(),
            Format::Csv => Box::<csv::Csv>::default(),
            Format::ChampSim => Box::new(champsim::ChampSim::new(selection.pace)),
            Format::Gem5 => Box::new(gem5::Gem5::new(selection.pace)),
        };
        Ok(TraceFile {
            path: path.to_path_buf(),
            asked: format,
            format: found,
            // Our own form has what was selected when it was made.
            selection: Selection {
                instructions: selection.instructions || found == Format::Packed,
                ..selection
            },
            remark: decoder.remark().filter(|remark| !remark.is_empty()).map(str::to_string),
            input,
            decoder,
            seen: 0,
            taken: 0,
            gap: 0,
            ended: false,
        })
    }

    /// Its form.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What was traced, if the file says it.
    pub fn remark(&self) -> Option<&str> {
        self.remark.as_deref()
    }

    /// Reads all of it into memory.
    ///
    /// # Errors
    /// [`TraceError`] with the position.
    pub fn collect(mut self) -> Result<Trace, TraceError> {
        let mut trace = Trace { source: self.name(), accesses: Vec::new() };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            self.next_batch(&mut batch)?;
            if batch.is_empty() {
                return Ok(trace);
            }
            trace.accesses.extend_from_slice(&batch);
        }
    }

    /// Takes out what is not selected.
    fn select(&mut self, batch: &mut Vec<TraceAccess>) {
        let Selection { instructions, skip, limit, .. } = self.selection;
        batch.retain_mut(|access| {
            if access.op == TraceOp::Fetch && !instructions {
                self.gap = self.gap.saturating_add(access.gap);
                return false;
            }
            access.gap = access.gap.saturating_add(std::mem::take(&mut self.gap));
            self.seen += 1;
            let take = self.seen > skip && limit.is_none_or(|limit| self.taken < limit);
            self.taken += u64::from(take);
            take
        });
        self.ended |= limit.is_some_and(|limit| self.taken >= limit);
    }
}

impl AccessStream for TraceFile {
    fn name(&self) -> String {
        self.remark.clone().unwrap_or_else(|| self.path.display().to_string())
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        batch.clear();
        while batch.is_empty() && !self.ended {
            while batch.len() + self.format.most() <= BATCH {
                if !self.decoder.decode(&mut self.input, batch)? {
                    self.ended = true;
                    break;
                }
            }
            self.select(batch);
            if self.ended && self.taken == 0 {
                let line = self.input.line();
                let position =
                    if line > 0 { format!("line {line}") } else { format!("byte {}", self.input.position()) };
                let problem = format!("no memory access was selected ({} seen)", self.seen);
                let remedy = "record more, or leave out less";
                return Err(TraceError::content(&self.path, position, problem, remedy));
            }
        }
        Ok(())
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        if self.path == Path::new("-") {
            let problem = "standard input can't be read a second time";
            let remedy = "put it into a file: `pasidon trace import - --out FILE`";
            return Err(TraceError::content(&self.path, "byte 0", problem, remedy));
        }
        *self = TraceFile::open(&self.path, self.asked, self.selection)?;
        Ok(())
    }
}

/// Opens a trace of any form as a stream: data accesses, in CSV and our own form fetches too.
///
/// # Errors
/// [`TraceError`] naming the file, the position in it, and the remedy.
pub fn open(path: &Path) -> Result<Box<dyn AccessStream>, TraceError> {
    Ok(Box::new(open_file(path)?))
}

fn open_file(path: &Path) -> Result<TraceFile, TraceError> {
    let mut opened = TraceFile::open(path, None, Selection::default())?;
    // Whoever writes fetches into a plain list wants them.
    opened.selection.instructions |= opened.format == Format::Csv;
    Ok(opened)
}

/// Loads a trace of any form into memory.
///
/// # Errors
/// As [`open`], and what reading finds.
pub fn load(path: &Path) -> Result<Trace, TraceError> {
    open_file(path)?.collect()
}
