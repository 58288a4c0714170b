//! A report in a few lines of text.

use super::Report;
use crate::columns::column;
use std::fmt::Write;

/// Lines of the table that are shown.
const MOST_ROWS: usize = 30;

/// Columns that are shown, with their heads and the digits after the point.
const COLUMNS: [(&str, &str, usize); 7] = [
    ("accesses", "accesses", 0),
    ("cycles", "cycles", 0),
    ("overhead_percent", "overhead %", 1),
    ("l1.hit_rate", "L1 hits", 4),
    ("l2.hit_rate", "L2 hits", 4),
    ("walks", "walks", 0),
    ("reads.total", "reads", 0),
];

/// The summary.
pub fn summary(report: &Report<'_>) -> String {
    let merged = report.merged;
    let mut text = String::new();
    let answers = merged.answers().count();
    let failed = merged.failed().count();
    let file = &report.sweep.file;
    let _ = writeln!(
        text,
        "{}: {answers} points answered, {failed} failed, {} missing",
        file.name,
        merged.missing.len()
    );
    if !file.question.is_empty() {
        let _ = writeln!(text, "{}", file.question);
    }
    let axes: Vec<String> = merged
        .lines
        .first()
        .map_or_else(Vec::new, |line| line.axes.iter().map(|(name, _)| name.clone()).collect());
    let heads = axes.iter().cloned().chain(COLUMNS.iter().map(|(_, head, _)| head.to_string()));
    let mut table: Vec<Vec<String>> = vec![heads.collect()];
    for (line, answer) in merged.answers().take(MOST_ROWS) {
        let labels = line.axes.iter().map(|(_, label)| label.clone());
        let numbers = COLUMNS.iter().map(|(name, _, digits)| match column(answer, name) {
            Some(value) => format!("{value:.digits$}"),
            None => "-".into(),
        });
        table.push(labels.chain(numbers).collect());
    }
    let widths: Vec<usize> = (0..table[0].len())
        .map(|i| table.iter().map(|row| row.get(i).map_or(0, String::len)).max().unwrap_or(0))
        .collect();
    for row in &table {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    if answers > MOST_ROWS {
        let _ = writeln!(text, "... and {} more", answers - MOST_ROWS);
    }
    for (line, error) in merged.failed() {
        let place: Vec<String> = line.axes.iter().map(|(name, label)| format!("{name} = {label}")).collect();
        let _ = writeln!(text, "failed: {}: {error}", place.join(", "));
    }
    for remark in &report.remarks {
        let _ = writeln!(text, "no picture: {remark}");
    }
    text
}
