//! What every generator has in common, and the accesses that each gives.

use super::*;
use crate::stream::BATCH;
use crate::trace::{TraceAccess, TraceOp};

/// A work with settings.
fn work(name: &str, settings: &[&str]) -> Work {
    let mut work = Work::named(name).unwrap();
    settings.iter().for_each(|setting| work.set(setting).unwrap());
    work
}

fn each(work: &Work, mut take: impl FnMut(&TraceAccess)) {
    let mut stream = workload(work).unwrap();
    let mut batch = Vec::new();
    loop {
        stream.next_batch(&mut batch).unwrap();
        if batch.is_empty() {
            return;
        }
        assert!(batch.len() <= BATCH);
        batch.iter().for_each(&mut take);
    }
}

/// FNV-1a of all accesses.
fn hash(work: &Work) -> (u64, u64) {
    let (mut hash, mut count) = (0xcbf2_9ce4_8422_2325u64, 0);
    each(work, |a| {
        for word in [u64::from(a.pasid), a.op as u64, a.address, u64::from(a.size), u64::from(a.gap)] {
            hash = (hash ^ word).wrapping_mul(0x100_0000_01b3);
        }
        count += 1;
    });
    (count, hash)
}

/// Small works of every kind, with the number and the hash of their accesses.
const GOLDEN: &[(&str, &[&str], u64, u64)] = &[
    ("gemm", &["m=200", "n=128", "k=100"], 2144, 0x48553333a99ffe05),
    ("gesummv", &["n=200"], 352, 0x381685eaf9abbd84),
    ("heat3d", &["n=34", "steps=2"], 3664, 0xf47cf70e3cb422a5),
    ("axpy", &["n=100000"], 1173, 0x14f6c7750c409ea8),
    ("merge_sort", &["n=100000"], 4692, 0x2e9e1e9896f67a9b),
    ("spmv", &["n=3000"], 49121, 0xc2799ed3fa9ce424),
    ("bfs", &["scale=12"], 70_582, 0x3a91d201ebfea1c7),
    ("hash_join", &["build=2000", "probe=5000", "skew=50"], 9232, 0xb09ed434d41c01b0),
    ("video_frames", &["width=320", "height=200", "frames=2"], 15480, 0xd7d8edd1da005f55),
    ("nic_rings", &["packets=3000", "tenants=3", "packet=0"], 9954, 0x6965d702e3c630b4),
    ("nvme_queues", &["commands=500"], 84071, 0x66beaa025ed1dce9),
    ("memcpy", &["bytes=1m", "offset=100"], 8448, 0x2643299524b0b825),
    ("fault_storm", &["pages=1000", "processes=4"], 4000, 0xe12c9a56b81c6181),
];

#[test]
fn the_same_parameters_give_the_same_accesses() {
    let mut wrong = Vec::new();
    for (name, settings, count, want) in GOLDEN {
        let (seen, found) = hash(&work(name, settings));
        if (seen, found) != (*count, *want) {
            wrong.push(format!("    (\"{name}\", &{settings:?}, {seen}, {found:#x}),"));
        }
    }
    assert!(wrong.is_empty(), "other accesses than before:\n{}", wrong.join("\n"));
    assert_eq!(GOLDEN.len(), generators().len());
}

#[test]
fn accesses_are_bursts_in_a_page_and_the_work_begins_anew() {
    for (name, settings, count, _) in GOLDEN {
        let work = work(name, settings);
        let burst = begin(&work).unwrap().0;
        each(&work, |a| {
            assert!(a.size > 0 && u64::from(a.size) <= burst, "{name}: {a:?}");
            let last = a.address + u64::from(a.size) - 1;
            assert!(a.address / burst == last / burst && last < 1 << 38, "{name}: {a:?}");
            assert!(matches!(a.op, TraceOp::Read | TraceOp::Write));
        });
        let mut stream = workload(&work).unwrap();
        let (mut first, mut again) = (Vec::new(), Vec::new());
        stream.next_batch(&mut first).unwrap();
        stream.next_batch(&mut again).unwrap();
        stream.rewind().unwrap();
        stream.next_batch(&mut again).unwrap();
        assert_eq!(first, again, "{name} of {count}");
    }
}

#[test]
fn seeds_matter_where_there_are_any() {
    for (name, settings, ..) in GOLDEN {
        let mut other = work(name, settings);
        if other.set("seed=2").is_ok() {
            assert_ne!(hash(&other), hash(&work(name, settings)), "{name}");
        }
    }
}

fn bytes(work: &Work) -> (u64, u64) {
    let (mut read, mut written) = (0, 0);
    each(work, |a| match a.op {
        TraceOp::Write => written += u64::from(a.size),
        _ => read += u64::from(a.size),
    });
    (read, written)
}

#[test]
fn as_many_bytes_move_as_the_algorithm_moves() {
    // Tiles that don't divide the matrix: A once for each of 3 tiles of columns, B once for each of 2 of rows.
    let gemm = work("gemm", &["m=100", "n=130", "k=70", "element=8"]);
    assert_eq!(bytes(&gemm), ((100 * 70 * 3 + 70 * 130 * 2) * 8, 100 * 130 * 8));
    let gesummv = work("gesummv", &["n=100", "rows=16", "columns=64"]);
    assert_eq!(bytes(&gesummv), ((2 * 100 * 100 + 7 * 100) * 4, 100 * 4));
    let heat = work("heat3d", &["n=18", "steps=2", "tile_y=16", "tile_z=4"]);
    assert_eq!(bytes(&heat), (2 * 18 * 18 * 18 * 8 + 2 * 3 * 2 * 18 * 18 * 8, 2 * 16 * 16 * 16 * 8));
    assert_eq!(bytes(&work("axpy", &["n=10001"])), (2 * 40004, 40004));
    // 1000 numbers in runs of 10, four at a time: 100, 25, 7, 2, 1 runs.
    let sort = work("merge_sort", &["n=1000", "run=10", "block=3"]);
    assert_eq!(bytes(&sort), (5 * 8000, 5 * 8000));
    assert_eq!(bytes(&work("memcpy", &["bytes=100001", "offset=77"])), (100_001, 100_001));
    let storm = work("fault_storm", &["pages=100", "processes=3"]);
    let (read, written) = bytes(&storm);
    assert_eq!(read + written, 300 * 64);
    let join = work("hash_join", &["build=1000", "probe=3000", "matching=100"]);
    assert_eq!(bytes(&join), (4000 * 16 + 4000 * 64, 1000 * 16 + 3000 * 32));
    let nic = work("nic_rings", &["packets=1000", "sent=0", "train=1000"]);
    assert_eq!(bytes(&nic), (250 * 64, 1000 * (1542 + 16)));
    let nvme = work("nvme_queues", &["commands=100", "least=4", "most=4", "reads=0"]);
    assert_eq!(bytes(&nvme), (100 * (64 + 24 + 16384), 1600));
}

#[test]
fn a_search_visits_each_vertex_once() {
    let bfs = work("bfs", &["scale=10", "degree=8"]);
    let mut levels = std::collections::BTreeSet::new();
    each(&bfs, |a| {
        if a.op == TraceOp::Write && a.size == 4 {
            assert!(levels.insert(a.address), "{a:?} a second time");
        }
    });
    assert!(levels.len() > 900, "{} of 1023 are found", levels.len());
}

#[test]
fn degrees_follow_the_exponent() {
    // The largest of 2^16 degrees goes with n^(1 / (exponent - 1)); measured by the neighbours of the first vertex.
    let first = |exponent: &str| {
        let bfs = work("bfs", &["scale=16", "degree=16", exponent]);
        let (mut bytes, mut stop, mut lines) = (0u64, false, 0);
        each(&bfs, |a| {
            lines += u64::from(a.op == TraceOp::Read && a.size == 8);
            stop |= lines > 1;
            bytes += if !stop && a.op == TraceOp::Read && a.size > 8 { u64::from(a.size) } else { 0 };
        });
        bytes / 4
    };
    let (flat, steep) = (first("exponent=300"), first("exponent=230"));
    // degree (1 - alpha) n^alpha is 2048 with alpha = 1/2, and 18,700 with 10/13.
    assert!((1900..2300).contains(&flat) && (17_000..21_000).contains(&steep), "{flat} {steep}");
}

#[test]
fn what_is_not_possible_is_named_with_the_mend() {
    let said = |name: &str, settings: &[&str]| workload(&work(name, settings)).err().unwrap().to_string();
    let message = said("gemm", &["m=0", "burst=100"]);
    assert!(message.contains("work.gemm.m = 0: 1 to 65536"), "{message}");
    assert!(message.contains("work.gemm.burst = 100: a power of two, 64 to 4096"), "{message}");
    assert!(said("nic_rings", &["packet=9000"]).contains("set it to 16384"));
    assert!(said("nvme_queues", &["least=64"]).contains("set it to 32 or less"));
    assert!(Work::named("gem").unwrap_err().contains("gesummv, heat3d"));
    let mut gemm = work("gemm", &["m=2k"]);
    assert!(gemm.set("q=1").unwrap_err().contains("tile_m"));
    assert!(gemm.set("m=x").is_err() && gemm.set("m").is_err() && gemm.set("m=99999999999g").is_err());
    assert_eq!(gemm.name(), "gemm m=2048");
    for (text, want) in [
        (r#"{"gemm": {"q": 1}}"#, "unknown field `q`, expected one of `m`"),
        (r#"{"gem": {}}"#, "unknown variant `gem`"),
        (r#"{"bfs": {"scale": -1}}"#, "-1"),
    ] {
        let error = serde_json::from_str::<Work>(text).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_work_is_written_and_read() {
    for work in generators() {
        assert_eq!(work.problems(), Vec::<String>::new(), "defaults are possible");
        let name = work.generator().unwrap().name;
        let text = serde_json::to_string(&work).unwrap();
        assert!(text.starts_with(&format!("{{\"{name}\":")), "{text}");
        assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), work);
        assert_eq!(serde_json::from_str::<Work>(&format!("{{\"{name}\": {{}}}}")).unwrap(), work);
    }
}
