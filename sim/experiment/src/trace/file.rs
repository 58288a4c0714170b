//! The compressed form that is kept in the repository: `NAME.trace.gz`.
//!
//! A gzip stream (so that its checksum guards the content) which unpacks to
//!
//! | bytes | content |
//! |---|---|
//! | 8 | magic `PASIDON\n` |
//! | 4 | version, 1 (little-endian, as all numbers here) |
//! | 8 | number of accesses |
//! | 4 + n | length of the source remark, and the remark in UTF-8 |
//! | ... | the accesses |
//!
//! Each access starts with one byte: bits 1:0 the [`TraceOp`], bits 4:2 the binary logarithm of the size (7: the size follows as a
//! varint), bit 5 set when a varint with a new PASID label follows, bits 7:6 which of the four last bases the address is
//! relative to. Then comes the address as a signed (zigzag) varint distance from that base, which the address replaces. Programs
//! walk several structures at a time (stack, heap, tables), hence the four bases.

use super::{MAX_SIZE, Trace, TraceAccess, TraceError, TraceOp};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

const MAGIC: &[u8; 8] = b"PASIDON\n";
const VERSION: u32 = 1;
const REMEDY: &str = "import it again with `pasidon trace import`, or fetch the file anew";
const FOREIGN: &str = "make one with `pasidon trace import IN --out FILE`";

/// Writes a trace. The file appears whole or not at all.
///
/// # Errors
/// [`TraceError::Io`] with the file's name.
pub fn write(trace: &Trace, path: &Path) -> Result<(), TraceError> {
    let io = |cause| TraceError::Io { file: path.to_path_buf(), cause };
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let result = (|| {
        let mut out = GzEncoder::new(BufWriter::new(File::create(&partial)?), Compression::best());
        encode(trace, &mut out)?;
        out.finish()?.into_inner().map_err(|e| e.into_error())?.sync_all()?;
        std::fs::rename(&partial, path)
    })();
    if result.is_err() {
        // Best effort: the write error is what the user needs to see, not that of the removal.
        let _ = std::fs::remove_file(&partial);
    }
    result.map_err(io)
}

fn encode(trace: &Trace, out: &mut impl Write) -> std::io::Result<()> {
    out.write_all(MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    out.write_all(&(trace.accesses.len() as u64).to_le_bytes())?;
    out.write_all(&(trace.source.len() as u32).to_le_bytes())?;
    out.write_all(trace.source.as_bytes())?;
    let mut bases = [0u64; 4];
    let mut pasid = 0;
    let mut bytes = Vec::with_capacity(32);
    for a in &trace.accesses {
        bytes.clear();
        let distance = |i: usize| zigzag(a.address.wrapping_sub(bases[i]) as i64);
        let nearest = (0..4).min_by_key(|&i| distance(i)).unwrap_or(0);
        let log = if a.size.is_power_of_two() && a.size < 128 { a.size.trailing_zeros() as u8 } else { 7 };
        bytes.push(a.op as u8 | log << 2 | u8::from(a.pasid != pasid) << 5 | (nearest as u8) << 6);
        if log == 7 {
            put_varint(&mut bytes, u64::from(a.size));
        }
        if a.pasid != pasid {
            put_varint(&mut bytes, u64::from(a.pasid));
            pasid = a.pasid;
        }
        put_varint(&mut bytes, distance(nearest));
        bases[nearest] = a.address;
        out.write_all(&bytes)?;
    }
    Ok(())
}

/// Reads a trace written by [`write()`].
///
/// # Errors
/// A file that is something else, cut short or damaged, with the position and the remedy.
pub fn read(path: &Path) -> Result<Trace, TraceError> {
    let io = |cause| TraceError::Io { file: path.to_path_buf(), cause };
    let mut file = BufReader::new(File::open(path).map_err(io)?);
    let packed = std::io::BufRead::fill_buf(&mut file).map_err(io)?;
    if packed.is_empty() {
        return Err(TraceError::content(path, "byte 0", "the file is empty", FOREIGN));
    }
    if !packed.starts_with(&[0x1f, 0x8b]) {
        return Err(TraceError::content(path, "byte 0", "this is not a Pasidon trace", FOREIGN));
    }
    let mut input = Input { path, inner: BufReader::new(GzDecoder::new(file)), position: 0 };
    input.decode()
}

/// The unpacked stream with the position that messages name.
struct Input<'a, R: Read> {
    path: &'a Path,
    inner: R,
    position: u64,
}

impl<R: Read> Input<'_, R> {
    fn decode(&mut self) -> Result<Trace, TraceError> {
        let mut magic = [0; 8];
        // Whatever goes wrong here, the file was never ours.
        if self.inner.read_exact(&mut magic).is_err() || &magic != MAGIC {
            return Err(TraceError::content(self.path, "byte 0", "this is not a Pasidon trace", FOREIGN));
        }
        self.position = 8;
        let version = u32::from_le_bytes(self.bytes()?);
        if version != VERSION {
            let problem = format!("the trace has format version {version}, this program reads {VERSION}");
            return Err(
                self.error(problem, "use the program version that made it, or import the trace again")
            );
        }
        let count = u64::from_le_bytes(self.bytes()?);
        let remark_bytes = u32::from_le_bytes(self.bytes()?);
        if count > 1 << 32 || remark_bytes > 1 << 16 {
            return Err(self.error("the header is damaged".into(), REMEDY));
        }
        let mut remark = vec![0; remark_bytes as usize];
        self.fill(&mut remark)?;
        let source =
            String::from_utf8(remark).map_err(|_| self.error("the header is damaged".into(), REMEDY))?;
        // The count is not believed before the accesses have been seen.
        let mut accesses = Vec::with_capacity(count.min(1 << 22) as usize);
        let mut bases = [0u64; 4];
        let mut pasid = 0;
        for _ in 0..count {
            let [head] = self.bytes()?;
            let log = head >> 2 & 7;
            let size = if log == 7 { self.varint()? } else { 1 << log };
            if head & 0x20 != 0 {
                pasid = self.varint()?;
            }
            let base = &mut bases[usize::from(head >> 6)];
            let distance = self.varint()?;
            *base = base.wrapping_add(unzigzag(distance) as u64);
            let wraps = base.checked_add(size.wrapping_sub(1)).is_none();
            if size == 0 || size > u64::from(MAX_SIZE) || pasid >= 1 << 20 || wraps {
                return Err(self.error("an impossible access".into(), REMEDY));
            }
            let op = TraceOp::from_code(head);
            accesses.push(TraceAccess { pasid: pasid as u32, op, address: *base, size: size as u32, gap: 0 });
        }
        // Reading to the end makes the decoder compare the checksum.
        let mut rest = [0; 1];
        match self.inner.read(&mut rest) {
            Ok(0) => Ok(Trace { source, accesses }),
            Ok(_) => Err(self.error("there is more than the header announces".into(), REMEDY)),
            Err(e) => Err(self.failed(e)),
        }
    }

    fn error(&self, problem: String, remedy: &str) -> TraceError {
        TraceError::content(
            self.path,
            format!("byte {} of the unpacked trace", self.position),
            problem,
            remedy,
        )
    }

    fn failed(&self, cause: std::io::Error) -> TraceError {
        match cause.kind() {
            std::io::ErrorKind::UnexpectedEof => self.error("the file is cut short".into(), REMEDY),
            _ => self.error(format!("the file is damaged ({cause})"), REMEDY),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), TraceError> {
        self.inner.read_exact(buffer).map_err(|e| self.failed(e))?;
        self.position += buffer.len() as u64;
        Ok(())
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], TraceError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer)?;
        Ok(buffer)
    }

    fn varint(&mut self) -> Result<u64, TraceError> {
        let mut value = 0u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.bytes()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.error("a number of more than 64 bits".into(), REMEDY))
    }
}

fn put_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Small distances of either sign become small numbers.
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Trace {
        let mut accesses = Vec::new();
        let mut x = 1u64;
        for i in 0..5000u32 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let address = if i % 3 == 0 { 0x1f_fe00_0000 + (x >> 52) } else { x >> 17 };
            let size = [1, 2, 4, 8, 16, 28, 512][(x >> 20) as usize % 7];
            accesses.push(TraceAccess {
                pasid: i / 1000,
                op: TraceOp::from_code((x >> 40) as u8),
                address,
                size,
                gap: 0,
            });
        }
        accesses.push(TraceAccess { pasid: 9, op: TraceOp::Read, address: u64::MAX, size: 1, gap: 0 });
        Trace { source: "sort words".into(), accesses }
    }

    fn path(name: &str) -> std::path::PathBuf {
        std::env::temp_dir().join(format!("pasidon-trace-{}-{name}", std::process::id()))
    }

    #[test]
    fn round_trip() {
        let path = path("round");
        let trace = sample();
        write(&trace, &path).unwrap();
        assert_eq!(read(&path).unwrap(), trace);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn cut_damaged_and_foreign_files_are_told_apart() {
        let path = path("bad");
        write(&sample(), &path).unwrap();
        let good = std::fs::read(&path).unwrap();
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read(&path).unwrap_err().to_string()
        };
        for cut in [good.len() / 3, good.len() / 2, good.len() - 1] {
            let message = told(&good[..cut]);
            assert!(message.contains("cut short") && message.contains("byte "), "{cut}: {message}");
        }
        assert!(told(b"").contains("empty"));
        assert!(told(b"hello").contains("not a Pasidon trace"));
        assert!(told(&good[..12]).contains("not a Pasidon trace"));
        let mut other = GzEncoder::new(Vec::new(), Compression::fast());
        other.write_all(b"some other gzip file").unwrap();
        assert!(told(&other.finish().unwrap()).contains("not a Pasidon trace"));
        for at in (20..good.len()).step_by(97) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            // Damage is always noticed, by the content or by the checksum, and never ends in a panic.
            assert!(!told(&bad).is_empty());
        }
        std::fs::remove_file(path).unwrap();
    }
}
