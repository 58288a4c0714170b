//! However long a trace is, reading it takes the same memory.
//!
//! Each file unpacks to three million accesses, 72 MB if they were kept. The peak is the process's own, so that this test is alone.

use pasidon_experiment::trace::{Tally, open};
use std::io::Write;
use std::path::Path;

const ACCESSES: usize = 3_000_000;
const PART: usize = 50_000;
const LIMIT_KB: u64 = 32 << 10;

/// Most memory that this process ever had, in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a peak");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).expect("memory");
    out.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).expect("memory")
}

/// A file of members that are each a part: both packers allow it.
fn check(path: &Path, head: &[u8], part: &[u8], pack: fn(&[u8]) -> Vec<u8>) {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path).expect("a file"));
    let packed = pack(part);
    if !head.is_empty() {
        file.write_all(&pack(head)).expect("space");
    }
    (0..ACCESSES / PART).for_each(|_| file.write_all(&packed).expect("space"));
    file.flush().expect("space");
    let mut stream = open(path).expect("it is recognised");
    let (mut tally, mut batch) = (Tally::default(), Vec::new());
    loop {
        stream.next_batch(&mut batch).expect("it is whole");
        if batch.is_empty() {
            break;
        }
        tally.add(&batch);
    }
    assert_eq!(tally.summary().total, ACCESSES as u64, "{}", path.display());
    let peak = peak();
    println!("{}: {peak} KiB at most so far", path.display());
    assert!(peak < LIMIT_KB, "{}: {peak} KiB", path.display());
    std::fs::remove_file(path).expect("removal");
}

#[test]
fn memory_stays_constant() {
    let folder = std::env::temp_dir().join(format!("pasidon-memory-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let each = |line: &dyn Fn(usize) -> String| (0..PART).map(line).collect::<String>().into_bytes();
    check(&folder.join("c"), b"", &each(&|i| format!("0,R,{},8,3\n", i * 40)), zstd);
    check(&folder.join("l"), b"", &each(&|i| format!(" L {:x},8\n", i * 40)), gzip);
    check(&folder.join("g"), b"", &each(&|i| format!("{i},r,{},64,2,{i}\n", i * 64)), zstd);
    let mut records = vec![0; 64 * PART];
    for (i, record) in records.chunks_mut(64).enumerate() {
        record[..8].copy_from_slice(&0x40_0000u64.to_le_bytes());
        record[16..24].copy_from_slice(&(8 + i as u64 * 8).to_le_bytes());
    }
    check(&folder.join("s"), b"", &records, gzip);
    // Our own form, version 1, whose accesses stand one behind the other: R 8, 64 bytes further on.
    let mut head = b"PASIDON\n\x01\0\0\0".to_vec();
    head.extend((ACCESSES as u64).to_le_bytes());
    head.extend([0; 4]);
    check(&folder.join("p"), &head, &[3 << 2, 0x80, 0x01].repeat(PART), zstd);
    std::fs::remove_dir_all(folder).expect("removal");
}
