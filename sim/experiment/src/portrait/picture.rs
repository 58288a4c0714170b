//! Addresses over time, as text or SVG.
//!
//! Only touched memory has a place on the axis: gaps between ranges are left out. Bounds: a picture has as many cells as it was asked for.

use crate::stream::AccessStream;
use crate::trace::{Tally, TraceError, TraceOp};
use std::fmt::Write;

const READ: u8 = 1;
const WRITTEN: u8 = 2;

/// Cells by address (rows) and time (columns).
pub struct Picture {
    columns: usize,
    /// First address of each row, with its address space.
    labels: Vec<(u32, u64)>,
    cells: Vec<u8>,
}

impl Picture {
    /// Draws the first `accesses` of a stream whose pages were counted.
    ///
    /// # Errors
    /// Of the stream.
    pub fn of(
        stream: &mut dyn AccessStream,
        tally: &Tally,
        accesses: u64,
        (columns, rows): (usize, usize),
    ) -> Result<Picture, TraceError> {
        // Ranges of pages with the number of pages before each.
        let mut ranges = Vec::new();
        let mut before = 0;
        for (&space, pages) in tally.pages() {
            for range in pages.ranges() {
                ranges.push((space, range.start, before));
                before += range.end - range.start;
            }
        }
        let rows = rows.min(before.max(1) as usize);
        let place = |space: u32, page: u64| {
            let at = ranges.partition_point(|&(s, first, _)| (s, first) <= (space, page)).saturating_sub(1);
            ranges.get(at).map_or(0, |&(_, first, before)| before + page.saturating_sub(first))
        };
        let labels = (0..rows as u64)
            .map(|row| {
                let page = (row * before).div_ceil(rows as u64);
                let at = ranges.partition_point(|&(.., before)| before <= page).saturating_sub(1);
                ranges
                    .get(at)
                    .map_or((0, 0), |&(space, first, before)| (space, (first + page - before) << 12))
            })
            .collect();
        let mut cells = vec![0; columns * rows];
        let (mut batch, mut time) = (Vec::new(), 0u64);
        'all: loop {
            stream.next_batch(&mut batch)?;
            if batch.is_empty() {
                break;
            }
            for access in &batch {
                if time >= accesses {
                    break 'all;
                }
                let row = place(access.pasid, access.address >> 12) * rows as u64 / before.max(1);
                let column = u128::from(time) * columns as u128 / u128::from(accesses);
                cells[row as usize * columns + column as usize] |= match access.op {
                    TraceOp::Read | TraceOp::Fetch => READ,
                    TraceOp::Write => WRITTEN,
                    TraceOp::Modify => READ | WRITTEN,
                };
                time += 1;
            }
        }
        Ok(Picture { columns, labels, cells })
    }

    /// As text: `-` read, `w` written, `#` both; lowest address first.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let many = self.labels.iter().any(|&(space, _)| space != 0);
        for (row, (space, address)) in self.cells.chunks(self.columns).zip(&self.labels) {
            let cells: String = row.iter().map(|&cell| [' ', '-', 'w', '#'][usize::from(cell)]).collect();
            let space = if many { format!("{space:>5}:") } else { String::new() };
            // A string takes what is written to it.
            let _ = writeln!(text, "{space}{address:>12x} |{}", cells.trim_end());
        }
        text
    }

    /// As an SVG file that follows the reader's light or dark scheme.
    pub fn svg(&self, title: &str) -> String {
        const CELL: usize = 3;
        const LEFT: usize = 120;
        const TOP: usize = 30;
        let rows = self.labels.len();
        let (width, height) = (LEFT + self.columns * CELL + 10, TOP + rows * CELL + 40);
        let title = title.replace('&', "&amp;").replace('<', "&lt;");
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
             <style>.t{{fill:#222}}.c1{{fill:#3b78c3}}.c2{{fill:#d1702a}}.c3{{fill:#7b4fa3}}.b{{fill:#fff}}\
             @media(prefers-color-scheme:dark){{.t{{fill:#ddd}}.c1{{fill:#6ea8ee}}.c2{{fill:#f09a55}}.c3{{fill:#b58be0}}\
             .b{{fill:#181818}}}}</style>\n\
             <rect class=\"b\" width=\"{width}\" height=\"{height}\"/>\n\
             <text class=\"t\" x=\"{LEFT}\" y=\"18\" font-size=\"13\">{title}</text>\n"
        );
        for (row, cells) in self.cells.chunks(self.columns).enumerate() {
            let y = TOP + row * CELL;
            let mut column = 0;
            for run in cells.chunk_by(|a, b| a == b) {
                if run[0] != 0 {
                    let (x, wide) = (LEFT + column * CELL, run.len() * CELL);
                    let class = run[0];
                    let _ = writeln!(
                        svg,
                        "<rect class=\"c{class}\" x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{CELL}\"/>"
                    );
                }
                column += run.len();
            }
            if row % (rows / 12).max(1) == 0 {
                let (space, address) = self.labels[row];
                let x = LEFT - 8;
                let y = y + 8;
                let _ = writeln!(
                    svg,
                    "<text class=\"t\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">{space}:{address:x}</text>"
                );
            }
        }
        let y = height - 14;
        let _ = writeln!(
            svg,
            "<text class=\"t\" x=\"{LEFT}\" y=\"{y}\">time in accesses; touched memory only</text>"
        );
        for (i, (class, name)) in [(1, "read"), (2, "written"), (3, "both")].into_iter().enumerate() {
            let x = LEFT + 260 + i * 80;
            let (square, text) = (y - 9, x + 14);
            let _ = writeln!(
                svg,
                "<rect class=\"c{class}\" x=\"{x}\" y=\"{square}\" width=\"10\" height=\"10\"/>\
                 <text class=\"t\" x=\"{text}\" y=\"{y}\">{name}</text>"
            );
        }
        svg + "</svg>\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::Work;
    use crate::portrait::Portrait;
    use crate::workload;

    #[test]
    fn a_copy_is_two_lines() {
        let mut work = Work::named("memcpy").unwrap();
        work.set("bytes=64k").unwrap();
        let mut stream = workload(&work).unwrap();
        let (portrait, tally) = Portrait::of(stream.as_mut(), u64::MAX).unwrap();
        assert_eq!((portrait.accesses, portrait.writes, portrait.bytes), (512, 256, 131_072));
        assert_eq!(portrait.pages, [32, 3, 1, 1]);
        assert_eq!((portrait.first, portrait.same, portrait.cut), (32, 480, false));
        stream.rewind().unwrap();
        let picture = Picture::of(stream.as_mut(), &tally, portrait.accesses, (16, 8)).unwrap();
        let text = picture.text();
        let rows: Vec<&str> = text.lines().map(|line| line.split_once('|').unwrap().1).collect();
        assert_eq!(rows[..5], ["----", "    ----", "        ----", "            ----", "wwww"]);
        assert!(text.starts_with("  1000000000 |"), "{text}");
        let svg = picture.svg("a <copy>");
        assert!(svg.contains("a &lt;copy>") && svg.matches("class=\"c2\" x=\"120\"").count() == 1, "{svg}");
        stream.rewind().unwrap();
        let (cut, _) = Portrait::of(stream.as_mut(), 100).unwrap();
        assert_eq!((cut.accesses, cut.cut), (100, true));
    }
}
