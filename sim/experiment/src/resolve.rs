//! What an experiment names: its design, and the files that its answer depends on.

use crate::answer::Source;
use pasidon_rtl::design::Design;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// The design of an experiment: sections and keys of a design file, or the name of a shipped design or a file.
///
/// # Errors
/// As [`Design::load`] and [`Design::from_toml`], as a sentence.
pub fn design_of(value: &Value) -> Result<Design, String> {
    match value {
        Value::String(name) => Design::load(name).map_err(|error| error.to_string()),
        // What is no table is not TOML, and the parser says so.
        other => Design::from_toml(&design_text(other), "design").map_err(|error| error.to_string()),
    }
}

/// The text of a design file with these sections and keys.
pub fn design_text(sections: &Value) -> String {
    let mut sections = sections.clone();
    if let Some(sections) = sections.as_object_mut() {
        if !sections.contains_key("name") {
            let base = sections.get("base").and_then(Value::as_str).unwrap_or("experiment");
            sections.insert("name".into(), base.into());
        }
        if let Some(tlb) = sections.get_mut("tlb").and_then(Value::as_object_mut)
            && tlb.get("l2_sets").and_then(Value::as_u64) == Some(0)
        {
            // What a report says of the ways of an L2 TLB that is not there is no legal value of a file.
            tlb.insert("l2_ways".into(), 1.into());
        }
    }
    toml::to_string(&sections).unwrap_or_else(|_| sections.to_string())
}

/// The ids of devices 0, 1, 2 and so on, `count` of them as far as there are, for ids of `width` bits: far apart, so that they share as
/// little of the device directory as can be. The highest id is nobody's.
pub fn device_ids(width: u32, count: usize) -> Vec<u32> {
    let top = ((1u64 << width) - 1) as u32;
    let mut ids = vec![1 & top, top & !1];
    // Numbers in reverse order of bits are as far apart as can be.
    let mut next = 0u32;
    while ids.len() < count.min(most_devices(width)) {
        let id = next.reverse_bits() >> (32 - width);
        next += 1;
        if id != top && !ids[..2].contains(&id) {
            ids.push(id);
        }
        if next > top {
            break;
        }
    }
    ids.truncate(count);
    ids
}

/// Devices that ids of `width` bits tell apart; one id is left over.
pub fn most_devices(width: u32) -> usize {
    ((1u64 << width) - 1).min(1 << 16) as usize
}

/// A file as it was when it was hashed.
struct Hashed {
    bytes: u64,
    changed: Option<SystemTime>,
    sha256: String,
}

/// Files that this process has hashed. Who hashes holds it, so that others wait for the result rather than hash the file too.
static HASHED: Mutex<BTreeMap<PathBuf, Hashed>> = Mutex::new(BTreeMap::new());

fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let (bytes, changed) = file.metadata().map(|file| (file.len(), file.modified().ok()))?;
    let mut known = HASHED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(hashed) = known.get(path)
        && changed.is_some()
        && (hashed.bytes, hashed.changed) == (bytes, changed)
    {
        return Ok(hashed.sha256.clone());
    }
    let mut hash = Sha256::new();
    std::io::copy(&mut file, &mut hash)?;
    let sha256 = format!("{:x}", hash.finalize());
    known.insert(path.to_path_buf(), Hashed { bytes, changed, sha256: sha256.clone() });
    Ok(sha256)
}

/// Hashes of files, each once. A file is read once in a process, and again only if its size or its time has changed.
///
/// # Errors
/// The first that can't be read, as a sentence.
pub fn sources<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<Vec<Source>, String> {
    let mut sources: Vec<Source> = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        if sources.iter().any(|source| source.path == name) {
            continue;
        }
        let sha256 =
            sha256(path).map_err(|cause| format!("{name}: {cause}; name a file that can be read"))?;
        sources.push(Source { path: name, sha256 });
    }
    Ok(sources)
}

/// Whether files are still what they were.
///
/// # Errors
/// The first that is not, as a sentence.
pub fn unchanged(before: &[Source]) -> Result<(), String> {
    let now = sources(before.iter().map(|source| Path::new(&source.path)))?;
    match before.iter().zip(&now).find(|(before, now)| before != now) {
        Some((changed, _)) => Err(format!(
            "{}: the file changed while it was in use, so that there is no answer; let nothing write it, and run again",
            changed.path
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_design_comes_back_from_its_json() {
        for name in Design::SHIPPED {
            let design = Design::load(name).unwrap();
            let json = serde_json::to_value(&design).unwrap();
            assert_eq!(design_of(&json).unwrap().nameless_hash(), design.nameless_hash(), "{name}");
        }
        let larger = serde_json::json!({ "base": "default", "tlb": { "l2_sets": 256 } });
        assert_eq!(design_of(&larger).unwrap().l2_sets, 256);
        assert!(design_of(&serde_json::json!({ "base": "default", "tlb": { "l2_set": 256 } })).is_err());
        assert!(design_of(&serde_json::json!(7)).is_err());
    }

    #[test]
    fn a_name_changes_no_hash() {
        let design = Design::load("tiny").unwrap();
        let renamed = Design { name: "other".into(), ..design.clone() };
        assert_eq!(design.nameless_hash(), renamed.nameless_hash());
    }

    #[test]
    fn a_file_is_hashed_once_until_it_changes() {
        let path = std::env::temp_dir().join(format!("pasidon-hash-{}", std::process::id()));
        let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let write = |text: &str, time| {
            std::fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
            sources([path.as_path(), &path]).unwrap()
        };
        let first = write("abc", time);
        assert_eq!(first.len(), 1);
        assert!(first[0].sha256.starts_with("ba7816bf8f01cfea"), "{first:?}");
        // With size and time as before nobody looks into it.
        assert_eq!(write("xyz", time), first);
        assert_eq!(unchanged(&first), Ok(()));
        assert_ne!(write("xyz", time + std::time::Duration::from_secs(1)), first);
        assert!(unchanged(&first).unwrap_err().contains("changed while it was in use"));
        std::fs::remove_file(&path).unwrap();
        assert!(sources([path.as_path()]).unwrap_err().contains("name a file that can be read"));
    }
}
