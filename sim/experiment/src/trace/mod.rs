//! Memory-access traces of real programs, as streams and in memory.
//!
//! A trace is an ordered list of [`TraceAccess`]es: who (a PASID label), what ([`TraceOp`]), where (a virtual address), how
//! many bytes, and how long the device computed before. [`open`] reads any form in constant memory: valgrind's [`lackey`], plain
//! [`csv`], [`champsim`]'s records, [`gem5`]'s text, and a compact form of our own ([`mod@file`]), each plain or packed by gzip or zstd.

pub mod champsim;
pub mod csv;
pub mod file;
pub mod gem5;
mod input;
pub mod lackey;
mod reader;
mod summary;

pub use reader::{Format, TraceFile, load, open};
pub use summary::{Summary, Tally};

use input::Input;
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
/// Labels are below this.
pub const MAX_LABEL: u32 = 1 << 20;

/// A trace in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The command that was traced, or a remark on where the trace came from.
    pub source: String,
    /// The accesses in program order.
    pub accesses: Vec<TraceAccess>,
}

impl Trace {
    /// Counts the trace.
    pub fn summary(&self) -> Summary {
        let mut tally = Tally::default();
        tally.add(&self.accesses);
        tally.summary()
    }
}

/// Reads one form of trace.
trait Decode: Send {
    /// Appends what the next step of the input gives: nothing (a remark), an access, or a few. False at the end.
    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError>;

    /// What was traced, if the file says it.
    fn remark(&self) -> Option<&str> {
        None
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
    /// There was more of it.
    #[error("{}: it ended sooner than when it was first looked through; let nothing write it, and run again", file.display())]
    Shortened {
        /// The file, or what was traced.
        file: PathBuf,
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

/// Which part of a trace to read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Also instruction fetches.
    pub instructions: bool,
    /// Leave out this many (selected) accesses at the start.
    pub skip: u64,
    /// Stop after this many accesses; `None` takes all.
    pub limit: Option<u64>,
    /// What gives a cycle, for forms that have a time in other units: ticks of gem5, instructions of ChampSim. `None`: no gaps.
    pub pace: Option<u32>,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::BATCH;
    use std::io::Write;

    /// Reads bytes as a file of that name and form.
    pub fn read_text(
        text: &[u8],
        name: &str,
        format: Format,
        selection: Selection,
    ) -> Result<Trace, TraceError> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("pasidon-text-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
        let trace = TraceFile::open(&folder.join(name), Some(format), selection).and_then(TraceFile::collect);
        std::fs::remove_dir_all(folder).unwrap();
        trace
    }

    #[test]
    fn every_form_is_recognised_packed_and_plain() {
        let folder = std::env::temp_dir().join(format!("pasidon-forms-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut record = 0x40_1000u64.to_le_bytes().to_vec();
        record.resize(64, 0);
        record[32] = 0x80;
        let packed = folder.join("p");
        file::write(&Trace { source: "p".into(), accesses: vec![TEST_ACCESS] }, &packed).unwrap();
        let mut plain = Vec::new();
        std::io::Read::read_to_end(
            &mut flate2::read::GzDecoder::new(std::fs::File::open(&packed).unwrap()),
            &mut plain,
        )
        .unwrap();
        for (format, bytes) in [
            (Format::Packed, plain.as_slice()),
            (Format::Lackey, b"==1== x\nI  10,1\n L 80,8\n"),
            (Format::Csv, b"# remark\npasid,op,address,size,gap\n0,R,0x80,8,0\n"),
            (Format::Csv, b"0,R,128,8\n"),
            (Format::Csv, b"0,R,128,8,0\n"),
            (Format::Gem5, b"r,128,8,10000\n"),
            (Format::Gem5, b"5,r,128,8,0,10000\n"),
            (Format::ChampSim, record.as_slice()),
        ] {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).unwrap();
            let gzip = gzip.finish().unwrap();
            let zstd = zstd::encode_all(bytes, 1).unwrap();
            for bytes in [bytes, &gzip, &zstd] {
                let path = folder.join("trace");
                std::fs::write(&path, bytes).unwrap();
                let opened = TraceFile::open(&path, None, Selection::default()).unwrap();
                assert_eq!(opened.format(), format);
                assert_eq!(opened.collect().unwrap().accesses, [TEST_ACCESS], "{format:?}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
    }

    const TEST_ACCESS: TraceAccess =
        TraceAccess { pasid: 0, op: TraceOp::Read, address: 0x80, size: 8, gap: 0 };

    #[test]
    fn a_stream_begins_anew_and_has_batches() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces/two-spaces.csv");
        let mut stream = open(Path::new(path)).unwrap();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        stream.next_batch(&mut first).unwrap();
        assert!(first.len() == 10 && first.len() <= BATCH);
        stream.next_batch(&mut again).unwrap();
        assert!(again.is_empty());
        stream.rewind().unwrap();
        stream.next_batch(&mut again).unwrap();
        assert_eq!(first, again);
    }
}
