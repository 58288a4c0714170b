//! The bytes of a trace file, unpacked, with the position that messages name.
//!
//! gzip and zstd are recognised by their first bytes, whatever the file is called. Bounds: 64 KiB of content and what the unpacker
//! holds (32 KiB for gzip, the window for zstd, at most 128 MiB). Never: a line of more than [`LONGEST_LINE`] bytes in memory.

use super::TraceError;
use std::fs::File;
use std::io::{Cursor, Error, ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes of a line beyond which a file is not one of ours.
pub const LONGEST_LINE: usize = 4096;
/// Bytes from which the form of a trace is recognised.
pub const PEEK: usize = 4096;
const BUFFER: usize = 1 << 16;
const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const XZ: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const BZIP2: [u8; 3] = *b"BZh";
const ANEW: &str = "fetch the file anew, or make it again";

type Bytes = Box<dyn Read + Send>;

/// An open trace file.
pub struct Input {
    path: PathBuf,
    reader: Bytes,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    /// Bytes before `buffer`.
    before: u64,
    line: u64,
}

impl Input {
    /// Opens a file; `-` is standard input. Also returns its first bytes, unpacked, [`PEEK`] at most.
    ///
    /// # Errors
    /// A file that can't be opened, is empty, or is packed by something that is not read here.
    pub fn open(path: &Path) -> Result<(Input, Vec<u8>), TraceError> {
        let io = |cause| TraceError::Io { file: path.to_path_buf(), cause };
        let raw: Bytes = if path == Path::new("-") {
            Box::new(std::io::stdin())
        } else {
            Box::new(File::open(path).map_err(io)?)
        };
        let (magic, raw) = peek(raw, 6);
        let raw = std::io::BufReader::with_capacity(BUFFER, raw);
        let reader: Bytes = if magic.starts_with(&GZIP) {
            Box::new(flate2::bufread::MultiGzDecoder::new(raw))
        } else if magic.starts_with(&ZSTD) {
            Box::new(zstd::stream::read::Decoder::with_buffer(raw).map_err(io)?)
        } else if let Some((name, tool)) = foreign(&magic) {
            let remedy = format!("unpack it: `{tool} -dc FILE | pasidon trace import - --out OUT.trace.zst`");
            return Err(TraceError::content(
                path,
                "byte 0",
                format!("the file is packed by {name}"),
                &remedy,
            ));
        } else {
            Box::new(raw)
        };
        let (first, reader) = peek(reader, PEEK);
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let mut input = Input { path: path.to_path_buf(), reader, buffer, at: 0, end: 0, before: 0, line: 0 };
        if first.is_empty() && input.byte()?.is_none() {
            let remedy = "make one with `pasidon trace import IN --out FILE`";
            return Err(TraceError::content(path, "byte 0", "the file is empty", remedy));
        }
        Ok((input, first))
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Bytes that were read, unpacked.
    pub fn position(&self) -> u64 {
        self.before + self.at as u64
    }

    /// An error of the content at the line that was read last.
    pub fn wrong_line(&self, problem: impl Into<String>, remedy: &str) -> TraceError {
        TraceError::content(&self.path, format!("line {}", self.line), problem, remedy)
    }

    /// An error of the content at the byte that was read last.
    pub fn wrong_byte(&self, problem: impl Into<String>, remedy: &str) -> TraceError {
        TraceError::content(&self.path, self.place(), problem, remedy)
    }

    fn place(&self) -> String {
        format!("byte {} of the unpacked trace", self.position())
    }

    fn failed(&self, cause: Error) -> TraceError {
        if cause.raw_os_error().is_some() {
            return TraceError::Io { file: self.path.clone(), cause };
        }
        let problem = match cause.kind() {
            ErrorKind::UnexpectedEof => "the file is cut short".to_string(),
            _ => format!("the file is damaged ({cause})"),
        };
        TraceError::content(&self.path, self.place(), problem, ANEW)
    }

    /// Fetches more into the empty buffer; false at the end of the file.
    #[cold]
    fn more(&mut self) -> Result<bool, TraceError> {
        self.before += self.end as u64;
        (self.at, self.end) = (0, 0);
        loop {
            match self.reader.read(&mut self.buffer) {
                Ok(got) => {
                    self.end = got;
                    return Ok(got > 0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
    }

    /// The next byte; `None` at the end of the file.
    ///
    /// # Errors
    /// A file that can't be read or unpacked.
    #[inline]
    pub fn byte(&mut self) -> Result<Option<u8>, TraceError> {
        if self.at == self.end && !self.more()? {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(self.buffer[self.at - 1]))
    }

    /// Fills `bytes`, and returns how many there were: less than asked for at the end of the file only.
    ///
    /// # Errors
    /// A file that can't be read or unpacked.
    pub fn bytes(&mut self, bytes: &mut [u8]) -> Result<usize, TraceError> {
        let mut got = 0;
        while got < bytes.len() && (self.at < self.end || self.more()?) {
            let part = (bytes.len() - got).min(self.end - self.at);
            bytes[got..got + part].copy_from_slice(&self.buffer[self.at..self.at + part]);
            (got, self.at) = (got + part, self.at + part);
        }
        Ok(got)
    }

    /// Reads a line, without its end; `None` at the end of the file. Sets whether the line had an end.
    ///
    /// # Errors
    /// A file that can't be read or unpacked, or a line that is too long.
    pub fn read_line(&mut self, line: &mut Vec<u8>) -> Result<Option<bool>, TraceError> {
        line.clear();
        let mut begun = false;
        while self.at < self.end || self.more()? {
            if !begun {
                (self.line, begun) = (self.line + 1, true);
            }
            let rest = &self.buffer[self.at..self.end];
            let found = rest.iter().position(|&b| b == b'\n');
            line.extend_from_slice(&rest[..found.unwrap_or(rest.len())]);
            self.at += found.map_or(rest.len(), |at| at + 1);
            if line.len() > LONGEST_LINE {
                let problem = format!("a line of more than {LONGEST_LINE} bytes");
                return Err(self.wrong_line(problem, "this is no trace in text form; say `--format`"));
            }
            if found.is_some() {
                return Ok(Some(true));
            }
        }
        Ok(begun.then_some(false))
    }
}

/// Packers that are recognised to be named, with the program that unpacks them.
fn foreign(magic: &[u8]) -> Option<(&'static str, &'static str)> {
    if magic.starts_with(&XZ) {
        Some(("xz", "xz"))
    } else if magic.starts_with(&BZIP2) {
        Some(("bzip2", "bzip2"))
    } else {
        None
    }
}

/// The first bytes of a stream, at most `most`, and the stream with them still in it. An error comes where it came.
fn peek(mut reader: Bytes, most: usize) -> (Vec<u8>, Bytes) {
    let mut first = Vec::new();
    let failed = reader.by_ref().take(most as u64).read_to_end(&mut first).err();
    let rest: Bytes = match failed {
        Some(error) => Box::new(Failing(Some(error))),
        None => reader,
    };
    (first.clone(), Box::new(Cursor::new(first).chain(rest)))
}

/// A stream that ends with an error.
struct Failing(Option<Error>);

impl Read for Failing {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
