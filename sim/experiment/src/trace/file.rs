//! Our own form, about one byte an access: `NAME.trace.gz` or `NAME.trace.zst`.
//!
//! A gzip or zstd stream, whose checksum guards the content, or the same unpacked. All numbers are little-endian; a varint
//! has seven bits a byte, lowest first, and bit 7 set in all but the last.
//!
//! | bytes | version 2, which is written | version 1, which is still read |
//! |---|---|---|
//! | 8 | magic `PASIDON\n` | the same |
//! | 4 | version: 2 | version: 1 |
//! | 8 | | number of accesses |
//! | 4 + n | length of the source remark, and the remark in UTF-8 | the same |
//! | ... | the accesses | the accesses |
//! | 2 + 8 | end mark `1c 00`, and the number of accesses | |
//!
//! Each access starts with one byte: bits 1:0 the [`TraceOp`], bits 4:2 the binary logarithm of the size, bit 5 set when a varint
//! with a new PASID label follows, bits 7:6 which of the four last bases the address is relative to. A logarithm of 7 says
//! that a varint follows, before the label: in version 1 it is the size; in version 2 twice the size, plus 1 if a varint with
//! the gap comes behind it. Last comes the address as a signed (zigzag) varint distance from the base, which the address replaces.
//! Programs walk several structures at a time (stack, heap, tables), hence the four bases.
//!
//! A file appears whole or not at all. Bounds: reader and writer hold one access.

use super::input::Input;
use super::{Decode, MAX_LABEL, MAX_SIZE, Trace, TraceAccess, TraceError, TraceOp};
use flate2::{Compression, write::GzEncoder};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// First bytes of the unpacked file.
pub const MAGIC: &[u8; 8] = b"PASIDON\n";
const VERSION: u32 = 2;
const REMEDY: &str = "import it again with `pasidon trace import`, or fetch the file anew";
const BASES: usize = 4;
const EXPLICIT: u8 = 7;
const END: [u8; 2] = [EXPLICIT << 2, 0];
const ZSTD_LEVEL: i32 = 19;
const LONGEST_REMARK: u32 = 1 << 16;

/// What packs the file.
enum Packer {
    Gzip(GzEncoder<BufWriter<File>>),
    Zstd(zstd::stream::write::Encoder<'static, BufWriter<File>>),
}

impl Packer {
    fn out(&mut self) -> &mut dyn Write {
        match self {
            Packer::Gzip(out) => out,
            Packer::Zstd(out) => out,
        }
    }

    fn finish(self) -> std::io::Result<()> {
        let out = match self {
            Packer::Gzip(out) => out.finish()?,
            Packer::Zstd(out) => out.finish()?,
        };
        out.into_inner().map_err(|e| e.into_error())?.sync_all()
    }
}

/// Writes a trace access by access. What was not [finished](Writer::finish) leaves no file.
pub struct Writer {
    path: PathBuf,
    partial: PathBuf,
    packer: Option<Packer>,
    bases: [u64; BASES],
    pasid: u32,
    count: u64,
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a file: zstd if its name ends in `.zst`, else gzip. The remark says what was traced.
    ///
    /// # Errors
    /// [`TraceError::Io`] with the file's name.
    pub fn create(path: &Path, remark: &str) -> Result<Writer, TraceError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}.partial", std::process::id()));
        let mut writer = Writer {
            path: path.to_path_buf(),
            partial: partial.into(),
            packer: None,
            bases: [0; BASES],
            pasid: 0,
            count: 0,
            bytes: Vec::with_capacity(1 << 12),
        };
        writer.begin(remark).map_err(|cause| TraceError::Io { file: path.to_path_buf(), cause })?;
        Ok(writer)
    }

    fn begin(&mut self, remark: &str) -> std::io::Result<()> {
        let file = BufWriter::new(File::create(&self.partial)?);
        let packer = if self.path.extension().is_some_and(|e| e.eq_ignore_ascii_case("zst")) {
            let mut out = zstd::stream::write::Encoder::new(file, ZSTD_LEVEL)?;
            out.include_checksum(true)?;
            Packer::Zstd(out)
        } else {
            Packer::Gzip(GzEncoder::new(file, Compression::best()))
        };
        let out = self.packer.insert(packer).out();
        // A remark that is longer than a reader takes loses its end.
        let mut length = remark.len().min(LONGEST_REMARK as usize);
        while !remark.is_char_boundary(length) {
            length -= 1;
        }
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(length as u32).to_le_bytes())?;
        out.write_all(&remark.as_bytes()[..length])
    }

    /// Writes accesses.
    ///
    /// # Errors
    /// [`TraceError::Io`] with the file's name.
    pub fn write(&mut self, accesses: &[TraceAccess]) -> Result<(), TraceError> {
        for a in accesses {
            self.encode(a);
            if self.bytes.len() > 4000 {
                self.flush()?;
            }
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), TraceError> {
        let result = match &mut self.packer {
            Some(packer) => packer.out().write_all(&self.bytes),
            None => Ok(()),
        };
        self.bytes.clear();
        result.map_err(|cause| TraceError::Io { file: self.path.clone(), cause })
    }

    fn encode(&mut self, a: &TraceAccess) {
        let distance = |base: u64| zigzag(a.address.wrapping_sub(base) as i64);
        let mut nearest = 0;
        for i in 1..BASES {
            if distance(self.bases[i]) < distance(self.bases[nearest]) {
                nearest = i;
            }
        }
        let plain = a.size.is_power_of_two() && a.size < 128 && a.gap == 0;
        let log = if plain { a.size.trailing_zeros() as u8 } else { EXPLICIT };
        self.bytes.push(a.op as u8 | log << 2 | u8::from(a.pasid != self.pasid) << 5 | (nearest as u8) << 6);
        if !plain {
            put_varint(&mut self.bytes, u64::from(a.size) << 1 | u64::from(a.gap != 0));
            if a.gap != 0 {
                put_varint(&mut self.bytes, u64::from(a.gap));
            }
        }
        if a.pasid != self.pasid {
            put_varint(&mut self.bytes, u64::from(a.pasid));
            self.pasid = a.pasid;
        }
        put_varint(&mut self.bytes, distance(self.bases[nearest]));
        self.bases[nearest] = a.address;
        self.count += 1;
    }

    /// Ends the file and gives it its name; returns the number of accesses.
    ///
    /// # Errors
    /// [`TraceError::Io`] with the file's name.
    pub fn finish(mut self) -> Result<u64, TraceError> {
        self.bytes.extend(END);
        self.bytes.extend(self.count.to_le_bytes());
        self.flush()?;
        let ended = match self.packer.take() {
            Some(packer) => packer.finish().and_then(|()| std::fs::rename(&self.partial, &self.path)),
            None => Ok(()),
        };
        if ended.is_err() {
            self.discard();
        }
        ended.map_err(|cause| TraceError::Io { file: self.path.clone(), cause })?;
        Ok(self.count)
    }

    fn discard(&self) {
        // Best effort: the error that led here is what the user needs to see, not that of the removal.
        let _ = std::fs::remove_file(&self.partial);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.packer.is_some() {
            self.discard();
        }
    }
}

/// Writes a trace that is in memory.
///
/// # Errors
/// [`TraceError::Io`] with the file's name.
pub fn write(trace: &Trace, path: &Path) -> Result<(), TraceError> {
    let mut writer = Writer::create(path, &trace.source)?;
    writer.write(&trace.accesses)?;
    writer.finish().map(|_| ())
}

/// Reads what [`Writer`] wrote.
pub struct Packed {
    remark: String,
    version: u32,
    /// Version 1: how many there are.
    announced: u64,
    count: u64,
    bases: [u64; BASES],
    pasid: u32,
}

impl Packed {
    /// Reads the head of the file.
    ///
    /// # Errors
    /// A file that is something else, cut short or damaged.
    pub fn new(input: &mut Input) -> Result<Packed, TraceError> {
        let mut magic = [0; 8];
        if input.bytes(&mut magic)? < 8 || &magic != MAGIC {
            let remedy = "make one with `pasidon trace import IN --out FILE`";
            return Err(input.wrong_byte("this is not a Pasidon trace", remedy));
        }
        let version = u32::from_le_bytes(bytes(input)?);
        if !(1..=VERSION).contains(&version) {
            let problem =
                format!("the trace has format version {version}, this program reads 1 to {VERSION}");
            return Err(
                input.wrong_byte(problem, "use the program version that made it, or import the trace again")
            );
        }
        let announced = if version == 1 { u64::from_le_bytes(bytes(input)?) } else { 0 };
        let length = u32::from_le_bytes(bytes(input)?);
        if length > LONGEST_REMARK {
            return Err(input.wrong_byte("the header is damaged", REMEDY));
        }
        let mut remark = vec![0; length as usize];
        fill(input, &mut remark)?;
        let remark =
            String::from_utf8(remark).map_err(|_| input.wrong_byte("the header is damaged", REMEDY))?;
        Ok(Packed { remark, version, announced, count: 0, bases: [0; BASES], pasid: 0 })
    }

    /// Nothing may follow. Reading to the end makes the unpacker compare its checksum.
    fn end(&self, input: &mut Input) -> Result<bool, TraceError> {
        match input.byte()? {
            None => Ok(false),
            Some(_) => Err(input.wrong_byte("there is more behind the last access", REMEDY)),
        }
    }
}

impl Decode for Packed {
    fn remark(&self) -> Option<&str> {
        Some(&self.remark)
    }

    fn decode(&mut self, input: &mut Input, out: &mut Vec<TraceAccess>) -> Result<bool, TraceError> {
        if self.version == 1 && self.count == self.announced {
            return self.end(input);
        }
        let [head] = bytes(input)?;
        let log = head >> 2 & 7;
        let (mut size, mut gap) = (1 << log, 0);
        if log == EXPLICIT {
            size = varint(input)?;
            if self.version > 1 {
                if size == 0 && head == END[0] {
                    if u64::from_le_bytes(bytes(input)?) != self.count {
                        return Err(input.wrong_byte("accesses are missing", REMEDY));
                    }
                    return self.end(input);
                }
                if size & 1 != 0 {
                    gap = varint(input)?;
                }
                size >>= 1;
            }
        }
        let pasid = if head & 0x20 != 0 { varint(input)? } else { u64::from(self.pasid) };
        let distance = varint(input)?;
        let base = &mut self.bases[usize::from(head >> 6)];
        *base = base.wrapping_add(unzigzag(distance) as u64);
        let wraps = base.checked_add(size.wrapping_sub(1)).is_none();
        let fits = size > 0 && size <= u64::from(MAX_SIZE) && pasid < u64::from(MAX_LABEL);
        if !fits || wraps || gap > u64::from(u32::MAX) {
            return Err(input.wrong_byte("an impossible access", REMEDY));
        }
        (self.pasid, self.count) = (pasid as u32, self.count + 1);
        let op = TraceOp::from_code(head);
        out.push(TraceAccess { pasid: self.pasid, op, address: *base, size: size as u32, gap: gap as u32 });
        Ok(true)
    }
}

fn fill(input: &mut Input, buffer: &mut [u8]) -> Result<(), TraceError> {
    if input.bytes(buffer)? < buffer.len() {
        return Err(input.wrong_byte("the file is cut short", REMEDY));
    }
    Ok(())
}

fn bytes<const N: usize>(input: &mut Input) -> Result<[u8; N], TraceError> {
    let mut buffer = [0; N];
    if N == 1 {
        buffer[0] = input.byte()?.ok_or_else(|| input.wrong_byte("the file is cut short", REMEDY))?;
    } else {
        fill(input, &mut buffer)?;
    }
    Ok(buffer)
}

fn varint(input: &mut Input) -> Result<u64, TraceError> {
    let mut value = 0u64;
    for shift in (0..70).step_by(7) {
        let [byte] = bytes(input)?;
        if shift == 63 && byte > 1 {
            break;
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(input.wrong_byte("a number of more than 64 bits", REMEDY))
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
    use crate::trace::load;

    fn sample(gaps: bool) -> Trace {
        let mut accesses = Vec::new();
        let mut x = 1u64;
        for i in 0..5000u32 {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let address = if i % 3 == 0 { 0x1f_fe00_0000 + (x >> 52) } else { x >> 17 };
            let size = [1, 2, 4, 8, 16, 28, 512][(x >> 20) as usize % 7];
            let gap = if gaps && i % 5 == 0 { (x >> 30) as u32 } else { 0 };
            accesses.push(TraceAccess {
                pasid: i / 1000,
                op: TraceOp::from_code((x >> 40) as u8),
                address,
                size,
                gap,
            });
        }
        accesses.push(TraceAccess { pasid: 9, op: TraceOp::Read, address: u64::MAX, size: 1, gap: 0 });
        Trace { source: "sort words".into(), accesses }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pasidon-trace-{}-{name}", std::process::id()))
    }

    #[test]
    fn round_trip() {
        for (name, gaps) in [("a.gz", false), ("b.gz", true), ("c.zst", true)] {
            let path = path(name);
            let trace = sample(gaps);
            write(&trace, &path).unwrap();
            let magic = std::fs::read(&path).unwrap()[0];
            assert_eq!(magic, if name.ends_with("zst") { 0x28 } else { 0x1f });
            assert_eq!(load(&path).unwrap(), trace, "{name}");
            std::fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn version_1_is_still_read() {
        // Two accesses as version 1 has them: R 4 at 0x1000 of label 0, W 300 at 0x1010 of label 5.
        let mut bytes = MAGIC.to_vec();
        bytes.extend([1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
        bytes.extend(b"old");
        bytes.extend([2 << 2, 0x80, 0x40]);
        bytes.extend([1 | 7 << 2 | 1 << 5, 0xac, 0x02, 5, 0x20]);
        let path = path("v1");
        std::fs::write(&path, &bytes).unwrap();
        let trace = load(&path).unwrap();
        assert_eq!(trace.source, "old");
        let access = |pasid, op, address, size| TraceAccess { pasid, op, address, size, gap: 0 };
        assert_eq!(
            trace.accesses,
            [access(0, TraceOp::Read, 0x1000, 4), access(5, TraceOp::Write, 0x1010, 300)]
        );
        std::fs::remove_file(path).unwrap();
        // And one that came with the repository before there was a version 2.
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../traces/sort.trace.gz");
        assert_eq!(load(Path::new(shipped)).unwrap().summary().total, 300_000);
    }

    #[test]
    fn what_is_not_finished_leaves_no_file() {
        let path = path("unfinished.gz");
        let mut writer = Writer::create(&path, "").unwrap();
        writer.write(&sample(false).accesses).unwrap();
        let partial = writer.partial.clone();
        assert!(partial.exists());
        drop(writer);
        assert!(!partial.exists() && !path.exists());
    }

    #[test]
    fn cut_damaged_and_foreign_files_are_told_apart() {
        let path = path("bad.zst");
        let told = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            load(&path).unwrap_err().to_string()
        };
        write(&sample(true), &path).unwrap();
        let packed = std::fs::read(&path).unwrap();
        let plain = zstd::decode_all(&packed[..]).unwrap();
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(&plain).unwrap();
        for good in [packed, plain, gzip.finish().unwrap()] {
            for cut in [good.len() / 3, good.len() / 2, good.len() - 1] {
                let message = told(&good[..cut]);
                assert!(message.contains("cut short") && message.contains("byte "), "{cut}: {message}");
            }
        }
        assert!(told(b"").contains("empty"));
        assert!(told(b"hello").contains("not a Pasidon trace"));
        let mut other = GzEncoder::new(Vec::new(), Compression::fast());
        other.write_all(b"some other gzip file").unwrap();
        assert!(told(&other.finish().unwrap()).contains("not a Pasidon trace"));
        assert!(told(b"\xfd7zXZ\0rest").contains("xz -dc"));
    }

    #[test]
    fn damage_is_always_noticed() {
        for name in ["flip.gz", "flip.zst"] {
            let path = path(name);
            write(&sample(true), &path).unwrap();
            let good = std::fs::read(&path).unwrap();
            for at in (20..good.len()).step_by(397) {
                let mut bad = good.clone();
                bad[at] ^= 0x40;
                std::fs::write(&path, &bad).unwrap();
                // By the content or by the checksum, and never with a panic.
                assert!(load(&path).is_err(), "{name}: byte {at}");
            }
            std::fs::remove_file(path).unwrap();
        }
    }
}
