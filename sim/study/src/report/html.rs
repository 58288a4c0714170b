//! One HTML file with everything in it: pictures, a sortable table, and the JSON of each run behind its row.
//!
//! It follows the reader's light or dark theme and the width of the window, and asks nobody for anything.

use super::Report;
use super::chart::{DARK, LIGHT};
use crate::columns::{Column, columns};
use pasidon_experiment::text::grouped;
use std::fmt::Write;

/// Columns of the table that are shown at first; the others by a switch.
const FIRST: [&str; 9] = [
    "accesses",
    "cycles",
    "bare",
    "overhead_percent",
    "accesses_per_cycle",
    "l1.hit_rate",
    "l2.hit_rate",
    "walks",
    "reads.total",
];

/// The page.
pub fn page(report: &Report<'_>) -> String {
    let file = &report.sweep.file;
    let mut body = String::new();
    let _ = write!(body, "<h1>{}</h1>\n<p>{}</p>\n", escaped(&file.name), escaped(&file.question));
    let answers = report.merged.answers().count();
    let failed: Vec<_> = report.merged.failed().collect();
    let _ = writeln!(
        body,
        "<p>{answers} points answered, {} failed, {} missing. {}</p>",
        failed.len(),
        report.merged.missing.len(),
        provenance(report)
    );
    for picture in &report.pictures {
        let _ = write!(
            body,
            "<figure id=\"{}\"><h2>{}</h2>\n<div class=\"wide\">{}</div>\n<figcaption>{}</figcaption></figure>\n",
            picture.name,
            escaped(&picture.title),
            picture.svg.trim_start_matches("<?xml version=\"1.0\" encoding=\"UTF-8\"?>"),
            escaped(&picture.note)
        );
    }
    if !report.remarks.is_empty() {
        body += "<h2>Not drawn</h2><ul>";
        for remark in &report.remarks {
            let _ = write!(body, "<li>{}</li>", escaped(remark));
        }
        body += "</ul>\n";
    }
    body += &table(report);
    if !failed.is_empty() {
        body += "<h2>Failed</h2><ul>";
        for (line, error) in failed {
            let place: Vec<String> =
                line.axes.iter().map(|(name, label)| format!("{name} = {label}")).collect();
            let _ = write!(body, "<li>{}: {}</li>", escaped(&place.join(", ")), escaped(error));
        }
        body += "</ul>\n";
    }
    let title = escaped(&file.name);
    let (light, dark) = (LIGHT.css(), DARK.css());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">{NOTHING_ELSE}<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}{light}@media (prefers-color-scheme: dark) {{\n{DARK_STYLE}{dark}}}\n</style></head>\n\
         <body>\n{body}<dialog id=\"run\"><form method=\"dialog\"><button>Close</button></form><pre></pre></dialog>\n\
         <script type=\"application/json\" id=\"runs\">{}</script>\n<script>{SCRIPT}</script>\n</body></html>\n",
        runs(report)
    )
}

/// Versions and engines, told once.
fn provenance(report: &Report<'_>) -> String {
    let mut engines: Vec<String> =
        report.merged.answers().map(|(_, a)| format!("{:?}", a.engine).to_lowercase()).collect();
    engines.sort();
    engines.dedup();
    let mut imagined: Vec<&str> =
        report.merged.answers().flat_map(|(_, a)| a.imagined.iter().map(String::as_str)).collect();
    imagined.sort_unstable();
    imagined.dedup();
    let version = report.merged.answers().next().map_or("", |(_, answer)| answer.version.as_str());
    let mut text = format!("Engine: {}; Pasidon {}.", escaped(&engines.join(" and ")), escaped(version));
    if !imagined.is_empty() {
        let _ = write!(
            text,
            " <strong>Modelled, not built in hardware: {}.</strong>",
            escaped(&imagined.join(", "))
        );
    }
    text
}

fn table(report: &Report<'_>) -> String {
    let rows: Vec<(&crate::sweep::store::Line, Vec<Column>, bool)> = report
        .merged
        .answers()
        .map(|(line, answer)| (line, columns(answer), !answer.imagined.is_empty()))
        .collect();
    let Some((first, names, _)) = rows.first() else { return String::new() };
    let mut text = String::from(
        "<h2>Results</h2>\n<p>Click a head to sort, a row for its run, or press Enter on it. <label><input type=\"checkbox\" id=\"all\"> all columns</label></p>\n\
         <div class=\"wide\"><table id=\"results\"><thead><tr>",
    );
    for (axis, _) in &first.axes {
        let _ = write!(text, "<th tabindex=\"0\">{}</th>", escaped(axis));
    }
    for (name, _) in names {
        let class = if FIRST.contains(&name.as_str()) { "" } else { " class=\"more\"" };
        let _ = write!(text, "<th{class} tabindex=\"0\">{}</th>", escaped(name));
    }
    text += "</tr></thead>\n<tbody>\n";
    for (line, row, imagined) in &rows {
        let _ = write!(
            text,
            "<tr data-run=\"{}\" tabindex=\"0\"{}>",
            line.point,
            if *imagined { " class=\"imagined\"" } else { "" }
        );
        for (_, label) in &line.axes {
            let _ = write!(text, "<td>{}</td>", escaped(label));
        }
        for (name, value) in row {
            let class = if FIRST.contains(&name.as_str()) { "" } else { " class=\"more\"" };
            let shown = value.map_or_else(|| "-".into(), shown);
            let exact = value.map_or_else(String::new, |v| v.to_string());
            let _ = write!(text, "<td{class} data-v=\"{exact}\">{shown}</td>");
        }
        text += "</tr>\n";
    }
    text += "</tbody></table></div>\n";
    text
}

/// A number for reading: whole numbers in groups of three, others with four digits.
fn shown(value: f64) -> String {
    if value.fract() != 0.0 || value.abs() >= 1e15 {
        return format!("{value:.4}");
    }
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", grouped(value.abs() as u64))
}

/// The lines of the results, by the number of their point.
fn runs(report: &Report<'_>) -> String {
    let map: serde_json::Map<String, serde_json::Value> = report
        .merged
        .lines
        .iter()
        .filter_map(|line| Some((line.point.to_string(), serde_json::to_value(line).ok()?)))
        .collect();
    // So that no text in it ends the script.
    serde_json::Value::Object(map).to_string().replace('<', "\\u003c")
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The browser itself refuses whatever is not in the file.
const NOTHING_ELSE: &str = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">";

const STYLE: &str = "
:root { color-scheme: light dark; --back: #ffffff; --text: #222222; --line: #dddddd; --mark: #f3f6fa; }
body { background: var(--back); color: var(--text); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 96rem; padding: 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; margin: 0 0 .3rem; }
body { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(36rem, 100%), 1fr)); gap: 1rem 2rem; align-items: start; }
h1, p, ul, .wide, body > h2 { grid-column: 1 / -1; margin: 0; }
figure { margin: 0; min-width: 0; } figure svg { display: block; width: 100%; min-width: 36rem; height: auto; font-family: system-ui, sans-serif; }
figcaption { font-size: .9rem; opacity: .85; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .2rem .6rem; text-align: right; white-space: nowrap; }
th { cursor: pointer; position: sticky; top: 0; background: var(--back); } th[data-up]::after { content: ' \\2191'; } th[data-down]::after { content: ' \\2193'; }
tbody tr { cursor: pointer; } tbody tr:hover, tbody tr:focus-visible { background: var(--mark); } :focus-visible { outline: 2px solid #0072b2; outline-offset: -2px; } .imagined { font-style: italic; }
table:not(.all) .more { display: none; }
dialog { max-width: 60rem; width: 90%; max-height: 85vh; } dialog pre { overflow: auto; font-size: .8rem; }
";

const DARK_STYLE: &str = ":root { --back: #16191d; --text: #e4e6e8; --line: #3a3f45; --mark: #22272d; }\n";

const SCRIPT: &str = "
const runs = JSON.parse(document.getElementById('runs').textContent);
const table = document.getElementById('results');
if (table) {
  const value = cell => cell.dataset.v === undefined ? cell.textContent : cell.dataset.v;
  table.tHead.rows[0].querySelectorAll('th').forEach((head, i) => head.addEventListener('click', () => {
    const down = 'up' in head.dataset;
    table.querySelectorAll('th').forEach(th => { delete th.dataset.up; delete th.dataset.down; th.ariaSort = null; });
    head.dataset[down ? 'down' : 'up'] = '';
    head.ariaSort = down ? 'descending' : 'ascending';
    const rows = [...table.tBodies[0].rows].sort((a, b) => {
      const [x, y] = [value(a.cells[i]), value(b.cells[i])];
      const order = isNaN(x) || isNaN(y) || x === '' || y === '' ? x.localeCompare(y) : x - y;
      return down ? -order : order;
    });
    table.tBodies[0].append(...rows);
  }));
  table.tBodies[0].addEventListener('click', event => {
    const row = event.target.closest('tr');
    const dialog = document.getElementById('run');
    dialog.querySelector('pre').textContent = JSON.stringify(runs[row.dataset.run], null, 2);
    dialog.showModal();
  });
  // A head or a row that has the focus takes these keys as a click.
  table.addEventListener('keydown', event => {
    if (event.key !== 'Enter' && event.key !== ' ') return;
    event.preventDefault();
    event.target.click();
  });
  document.getElementById('all').addEventListener('change', event => table.classList.toggle('all', event.target.checked));
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_reading() {
        assert_eq!(shown(1234567.0), "1,234,567");
        assert_eq!(shown(-1000.0), "-1,000");
        assert_eq!(shown(0.123456), "0.1235");
        assert_eq!(escaped("a<b & \"c\""), "a&lt;b &amp; &quot;c&quot;");
    }
}
