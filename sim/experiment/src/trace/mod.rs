//! Memory-access traces of real programs, and the streams that a DMA channel replays.
//!
//! A trace is an ordered list of [`TraceAccess`]es: who (a PASID label), what ([`TraceOp`]), where (a virtual address) and
//! how many bytes. It comes from `valgrind --tool=lackey --trace-mem=yes` ([`lackey`]) or from a plain CSV file
//! ([`csv`]), and is kept on disk in a compressed form of our own ([`mod@file`]).

pub mod csv;
pub mod file;
pub mod lackey;

use std::path::{Path, PathBuf};

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TraceOp {
    /// Load.
    Read = 0,
    /// Store.
    Write = 1,
    /// Load, then store to the same bytes (lackey's `M`).
    Modify = 2,
    /// Instruction fetch.
    Fetch = 3,
}

impl TraceOp {
    /// The operation with this number in the trace file (0..=3).
    fn from_code(code: u8) -> TraceOp {
        match code & 3 {
            0 => TraceOp::Read,
            1 => TraceOp::Write,
            2 => TraceOp::Modify,
            _ => TraceOp::Fetch,
        }
    }

    /// The one-letter name used in CSV files: `R`, `W`, `M` or `X`.
    pub fn letter(self) -> char {
        ['R', 'W', 'M', 'X'][self as usize]
    }
}

/// One memory access of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceAccess {
    /// Label of the address space the access belongs to. It is not the PASID used on the wire: that one is chosen
    /// by the driver at bind. Traces of a single program use 0.
    pub pasid: u32,
    /// What the access does.
    pub op: TraceOp,
    /// Virtual address of the first byte.
    pub address: u64,
    /// Number of bytes, at least 1.
    pub size: u32,
    /// Cycles of computing between the access before it, of the same label, and this one.
    pub gap: u32,
}

/// The largest access accepted, in bytes: a device splits longer transfers itself.
pub const MAX_SIZE: u32 = 1 << 20;

/// A trace in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The command that was traced, or a remark on where the trace came from.
    pub source: String,
    /// The accesses in program order.
    pub accesses: Vec<TraceAccess>,
}

/// How many accesses of each kind a trace has, and what memory it touches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// All accesses.
    pub total: u64,
    /// Loads.
    pub reads: u64,
    /// Stores.
    pub writes: u64,
    /// Load-and-store accesses.
    pub modifies: u64,
    /// Instruction fetches.
    pub fetches: u64,
    /// Bytes moved (a modify counts once).
    pub bytes: u64,
    /// Distinct 4 KiB pages touched, per address space.
    pub pages: u64,
    /// Distinct address-space labels.
    pub spaces: u64,
}

impl Trace {
    /// Counts the trace. Linear in its length, with one sort for the pages.
    pub fn summary(&self) -> Summary {
        let mut s = Summary { total: self.accesses.len() as u64, ..Summary::default() };
        let mut pages = Vec::with_capacity(self.accesses.len());
        let mut spaces = Vec::new();
        for a in &self.accesses {
            match a.op {
                TraceOp::Read => s.reads += 1,
                TraceOp::Write => s.writes += 1,
                TraceOp::Modify => s.modifies += 1,
                TraceOp::Fetch => s.fetches += 1,
            }
            s.bytes += u64::from(a.size);
            let last = a.address.wrapping_add(u64::from(a.size) - 1) >> 12;
            for page in a.address >> 12..=last {
                if pages.last() != Some(&(a.pasid, page)) {
                    pages.push((a.pasid, page));
                }
            }
            if !spaces.contains(&a.pasid) {
                spaces.push(a.pasid);
            }
        }
        pages.sort_unstable();
        pages.dedup();
        s.pages = pages.len() as u64;
        s.spaces = spaces.len() as u64;
        s
    }
}

/// Why a trace could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refused.
    #[error("{}: {cause}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// The content is not what it should be.
    #[error("{}: {position}: {problem}; {remedy}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// Where in the file: a line or a byte.
        position: String,
        /// What is wrong there.
        problem: String,
        /// What the user can do.
        remedy: String,
    },
}

impl TraceError {
    fn content(
        file: &Path,
        position: impl Into<String>,
        problem: impl Into<String>,
        remedy: &str,
    ) -> TraceError {
        TraceError::Content {
            file: file.to_path_buf(),
            position: position.into(),
            problem: problem.into(),
            remedy: remedy.to_string(),
        }
    }
}

/// Which part of a text trace to import.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Also import instruction fetches.
    pub instructions: bool,
    /// Leave out this many (selected) accesses at the start.
    pub skip: u64,
    /// Stop after this many accesses; `None` imports all.
    pub limit: Option<u64>,
}

impl Selection {
    /// Adds `access` if it is selected; returns false once nothing further can be.
    fn take(&self, seen: &mut u64, accesses: &mut Vec<TraceAccess>, access: TraceAccess) -> bool {
        if access.op == TraceOp::Fetch && !self.instructions {
            return true;
        }
        *seen += 1;
        if *seen > self.skip {
            accesses.push(access);
        }
        self.limit.is_none_or(|limit| (accesses.len() as u64) < limit)
    }
}

/// Checks what both text forms share: a size in range and no wrap around the top of the address space.
fn check_access(address: u64, size: u64) -> Result<u32, String> {
    if size == 0 || size > u64::from(MAX_SIZE) {
        return Err(format!("an access of {size} bytes (1 to {MAX_SIZE} are possible)"));
    }
    if address.checked_add(size - 1).is_none() {
        return Err(format!("an access of {size} bytes at {address:#x} passes the end of the address space"));
    }
    Ok(size as u32)
}

/// The text forms that can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Output of `valgrind --tool=lackey --trace-mem=yes`.
    Lackey,
    /// `pasid,op,address,size` lines.
    Csv,
}

/// Imports a text trace; `-` reads standard input. Without a `format`, a name that ends in `.csv` is CSV and all else lackey.
///
/// # Errors
/// [`TraceError`] naming the file and line.
pub fn import(
    path: &Path,
    format: Option<Format>,
    selection: Selection,
    source: &str,
) -> Result<Trace, TraceError> {
    use std::io::{BufReader, Read};
    let io = |cause| TraceError::Io { file: path.to_path_buf(), cause };
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(path).map_err(io)?)
    };
    let input = BufReader::with_capacity(1 << 16, input);
    let is_csv = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv"));
    match format.unwrap_or(if is_csv { Format::Csv } else { Format::Lackey }) {
        Format::Csv => csv::read(input, path, selection, source),
        Format::Lackey => lackey::read(input, path, selection, source),
    }
}

/// Loads a trace in any form: the compressed form is recognised by its first bytes, else as [`import`] does.
///
/// # Errors
/// [`TraceError`] naming the file, the position in it, and the remedy.
pub fn load(path: &Path) -> Result<Trace, TraceError> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) {
        return import(path, Some(Format::Csv), Selection::default(), &path.display().to_string());
    }
    file::read(path)
}
