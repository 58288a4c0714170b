//! Results of all shares as one: `results.jsonl` in the order of the points, `results.csv`, and `results.parquet` if the build has it.
//!
//! The wall time of each point is left out: the same sweep gives the same bytes, wherever its points were run.

use super::SweepError;
use super::file::Sweep;
use super::run::place;
use super::store::{Line, read_folder};
use crate::columns::{Column, columns};
use pasidon_experiment::Answer;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Results that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Merged {
    /// One line for each point that has an answer or failed, in the order of the points.
    pub lines: Vec<Line>,
    /// Points that nobody has run yet.
    pub missing: Vec<String>,
}

impl Merged {
    /// Points without an answer, and why.
    pub fn failed(&self) -> impl Iterator<Item = (&Line, &str)> {
        self.lines.iter().filter_map(|line| Some((line, line.error.as_deref()?)))
    }

    /// The points that have an answer.
    pub fn answers(&self) -> impl Iterator<Item = (&Line, &Answer)> {
        self.lines.iter().filter_map(|line| Some((line, line.answer.as_ref()?)))
    }
}

/// What `folder` has of a sweep. Lines of other sweeps, or of an earlier form of this one, are not among it.
///
/// # Errors
/// [`SweepError`]
pub fn collect(sweep: &Sweep, folder: &Path) -> Result<Merged, SweepError> {
    let mut done: BTreeMap<String, Line> = read_folder(folder)?;
    let mut merged = Merged::default();
    for point in sweep.points()? {
        match done.remove(&point.id) {
            Some(line) => {
                let mut line = Line { point: point.index, axes: point.axes, ..line };
                if let Some(answer) = &mut line.answer {
                    answer.wall_seconds = 0.0;
                    if let Some(deviation) = &mut answer.deviation {
                        deviation.values.sort();
                    }
                }
                merged.lines.push(line);
            }
            None => merged.missing.push(place(&point)),
        }
    }
    Ok(merged)
}

/// Writes the merged files into `folder`, each whole or not at all, and returns their names.
///
/// # Errors
/// [`SweepError::Io`]
pub fn write(merged: &Merged, folder: &Path) -> Result<Vec<PathBuf>, SweepError> {
    let mut lines = String::new();
    for line in &merged.lines {
        let text =
            serde_json::to_string(line).map_err(|e| SweepError::io(folder)(std::io::Error::other(e)))?;
        lines += &text;
        lines.push('\n');
    }
    std::fs::create_dir_all(folder).map_err(SweepError::io(folder))?;
    let jsonl = folder.join("results.jsonl");
    whole_file(&jsonl, lines.as_bytes())?;
    let csv = folder.join("results.csv");
    whole_file(&csv, &to_csv(merged).map_err(SweepError::io(&csv))?)?;
    #[cfg_attr(not(feature = "parquet"), expect(unused_mut, reason = "without the feature nothing is added"))]
    let mut files = vec![jsonl, csv];
    #[cfg(feature = "parquet")]
    {
        let file = folder.join("results.parquet");
        let bytes = super::parquet::to_parquet(merged).map_err(SweepError::io(&file))?;
        whole_file(&file, &bytes)?;
        files.push(file);
    }
    Ok(files)
}

/// Writes a file so that it appears whole or not at all.
pub(crate) fn whole_file(path: &Path, bytes: &[u8]) -> Result<(), SweepError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}.partial", std::process::id()));
    let written = std::fs::File::create(&partial)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&partial, path));
    if written.is_err() {
        // The error of the write is what counts.
        let _ = std::fs::remove_file(&partial);
    }
    written.map_err(SweepError::io(path))
}

/// The table of results.
pub(crate) struct Table<'a> {
    /// Names of the axes.
    pub axes: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// A line for each point, and its columns: none if it failed.
    pub rows: Vec<(&'a Line, Vec<Column>)>,
}

impl Table<'_> {
    pub fn of(merged: &Merged) -> Table<'_> {
        let names = |line: &Line| line.axes.iter().map(|(name, _)| name.clone()).collect();
        let rows: Vec<(&Line, Vec<Column>)> = merged
            .lines
            .iter()
            .map(|line| (line, line.answer.as_ref().map(columns).unwrap_or_default()))
            .collect();
        let answered = rows.iter().find(|(_, row)| !row.is_empty());
        Table {
            axes: merged.lines.first().map_or_else(Vec::new, names),
            columns: answered
                .map_or_else(Vec::new, |(_, row)| row.iter().map(|(name, _)| name.clone()).collect()),
            rows,
        }
    }
}

/// The engine that answered a point.
pub(crate) fn engine(line: &Line) -> Option<String> {
    line.answer.as_ref().map(|answer| format!("{:?}", answer.engine).to_lowercase())
}

fn to_csv(merged: &Merged) -> std::io::Result<Vec<u8>> {
    let Table { axes, columns: names, rows } = Table::of(merged);
    let mut out = csv::Writer::from_writer(Vec::new());
    let head =
        ["point", "id"].into_iter().map(String::from).chain(axes.iter().map(|name| format!("axis.{name}")));
    out.write_record(head.chain(["engine".into(), "error".into()]).chain(names.iter().cloned()))?;
    for (line, row) in rows {
        let labels = line.axes.iter().map(|(_, label)| label.clone());
        let told = [engine(line).unwrap_or_default(), line.error.clone().unwrap_or_default()];
        let numbers = (0..names.len())
            .map(|i| row.get(i).and_then(|(_, v)| *v).map_or_else(String::new, |v| v.to_string()));
        let first = [line.point.to_string(), line.id.clone()];
        out.write_record(first.into_iter().chain(labels).chain(told).chain(numbers))?;
    }
    out.into_inner().map_err(|error| std::io::Error::other(error.to_string()))
}
