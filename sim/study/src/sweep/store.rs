//! What has been done: files of JSON lines, one line for each point.
//!
//! A line is written by one call and then flushed to the disk. A crash can leave at most a last line without its end; that one is
//! cut off before anything is appended, and its point is done again. Several processes may work on one folder, each
//! with a file of its own.

use super::SweepError;
use super::points::Point;
use pasidon_experiment::Answer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A line of results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Number of the point.
    pub point: usize,
    /// Hash of its experiment.
    pub id: String,
    /// Its place: name and label of each axis.
    pub axes: Vec<(String, String)>,
    /// The answer, ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// ... or why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Line {
    /// What became of a point.
    pub fn of(point: &Point, result: Result<Answer, String>) -> Line {
        let (answer, error) = match result {
            Ok(answer) => (Some(answer), None),
            Err(error) => (None, Some(error)),
        };
        Line { point: point.index, id: point.id.clone(), axes: point.axes.clone(), answer, error }
    }
}

/// The file of one process in the folder of a sweep.
pub struct Store {
    path: PathBuf,
    file: Mutex<File>,
}

/// Name of the results of all points, or of one share of them.
pub fn file_name(shard: Option<(usize, usize)>) -> String {
    match shard {
        None => "points.jsonl".into(),
        Some((index, of)) => format!("points-{index}-of-{of}.jsonl"),
    }
}

impl Store {
    /// Opens the file for more lines, and cuts off what a crash left of the last. Nobody else may have it open.
    ///
    /// # Errors
    /// [`SweepError::Io`]; [`SweepError::Results`] if somebody else has it.
    pub fn open(path: &Path) -> Result<Store, SweepError> {
        let io = || SweepError::io(path);
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(io())?;
        if file.try_lock().is_err() {
            return Err(SweepError::Results {
                file: path.to_path_buf(),
                problem: "another process is writing these results".into(),
                remedy: "wait for it, or give --shard or another --out".into(),
            });
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(io())?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(io())?;
        }
        file.seek(SeekFrom::End(0)).map_err(io())?;
        Ok(Store { path: path.to_path_buf(), file: Mutex::new(file) })
    }

    /// Adds a line. It is on the disk when this returns.
    ///
    /// # Errors
    /// [`SweepError::Io`]
    pub fn add(&self, line: &Line) -> Result<(), SweepError> {
        let mut text = serde_json::to_string(line)
            .map_err(|error| SweepError::io(&self.path)(std::io::Error::other(error)))?;
        text.push('\n');
        let mut file = self.file.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(SweepError::io(&self.path))
    }
}

/// Every result in a folder, by the point's hash. Of two for one point, which happens when a failed one was tried again, the answer
/// counts, or else the later.
///
/// # Errors
/// [`SweepError`]: a file that can't be read, or a line in the middle of one that is no result.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, Line>, SweepError> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(SweepError::io(folder)(error)),
    };
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("points") && name.ends_with(".jsonl")
    });
    files.sort();
    let mut done: BTreeMap<String, Line> = BTreeMap::new();
    for path in files {
        let text = std::fs::read(&path).map_err(SweepError::io(&path))?;
        let whole = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for (number, line) in text[..whole].split(|&byte| byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let line: Line = serde_json::from_slice(line).map_err(|error| SweepError::Results {
                file: path.clone(),
                problem: format!("line {}: {error}", number + 1),
                remedy: "remove the line, and its point is run again; or give another --out".into(),
            })?;
            match done.get(&line.id) {
                Some(earlier) if earlier.answer.is_some() && line.answer.is_none() => {}
                _ => {
                    done.insert(line.id.clone(), line);
                }
            }
        }
    }
    Ok(done)
}
