//! Coverage of the Verilog in a run: Verilator's counts of lines and of changing bits, per module of the hardware.
//!
//! A model of the flavour [`Coverage`](pasidon_cosim::verilated::Flavour::Coverage) counts every branch of clocked and guarded code (a *line*) and
//! every bit that changes (a *toggle*). [`VerilogCoverage::add`] reads and merges what
//! [`Verilated::write_coverage`](pasidon_cosim::verilated::Verilated::write_coverage) wrote; all instances of a module count as one, since they are the
//! same text. What was never reached is a [`Hole`], with its line of the Verilog.

use serde::Serialize;
use std::collections::BTreeMap;

/// What a point of coverage counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PointKind {
    /// A statement block or one side of a branch was run.
    Line,
    /// A bit changed.
    Toggle,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    module: String,
    kind: PointKind,
    line: u32,
    column: u32,
    what: String,
}

/// Counts of all points, merged over instances and runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerilogCoverage {
    /// What the names of modules begin with in the Verilog.
    prefix: String,
    points: BTreeMap<Point, u64>,
}

/// A point that was never reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hole {
    /// Its module.
    pub module: String,
    /// What is missing.
    pub kind: PointKind,
    /// Line of the Verilog, from 1.
    pub line: u32,
    /// The signal with its bits (`spa[55:12]`), or the kind of block (`if`, `else`, `case`, `block`).
    pub what: String,
    /// The text of that line.
    pub source: String,
}

/// Sums of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModuleCoverage {
    /// Its name, without the prefix of the design.
    pub module: String,
    /// Blocks and branches that were run.
    pub lines_covered: u64,
    /// ... of so many.
    pub lines: u64,
    /// Bits that changed.
    pub toggles_covered: u64,
    /// ... of so many.
    pub toggles: u64,
}

/// What a coverage file is not.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} of the coverage file is not understood: {text}")]
pub struct FormatError {
    line: usize,
    text: String,
}

impl VerilogCoverage {
    /// No counts yet, of modules that are called by their names without `prefix`.
    pub fn of(prefix: &str) -> VerilogCoverage {
        VerilogCoverage { prefix: prefix.into(), points: BTreeMap::new() }
    }

    /// Adds the counts of a file that a model wrote.
    ///
    /// # Errors
    /// [`FormatError`] with the first line that has another form.
    pub fn add(&mut self, file: &str) -> Result<(), FormatError> {
        for (index, line) in file.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
            let wrong = || FormatError { line: index + 1, text: line.replace(['\x01', '\x02'], " ") };
            // Points of other kinds (user coverage) are not counted here.
            if let (Some(mut point), count) = point(line).ok_or_else(wrong)? {
                if let Some(short) = point.module.strip_prefix(&self.prefix) {
                    point.module = short.into();
                }
                *self.points.entry(point).or_default() += count;
            }
        }
        Ok(())
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &VerilogCoverage) {
        for (point, count) in &other.points {
            *self.points.entry(point.clone()).or_default() += count;
        }
    }

    /// Sums per module, in the order of their names.
    pub fn modules(&self) -> Vec<ModuleCoverage> {
        let mut sums: BTreeMap<&str, ModuleCoverage> = BTreeMap::new();
        for (point, &count) in &self.points {
            let sum = sums.entry(&point.module).or_default();
            let (covered, all) = match point.kind {
                PointKind::Line => (&mut sum.lines_covered, &mut sum.lines),
                PointKind::Toggle => (&mut sum.toggles_covered, &mut sum.toggles),
            };
            *all += 1;
            *covered += u64::from(count != 0);
        }
        let named = |(module, sum): (&str, ModuleCoverage)| ModuleCoverage { module: module.into(), ..sum };
        sums.into_iter().map(named).collect()
    }

    /// Sums over all modules, under the name `all`.
    pub fn total(&self) -> ModuleCoverage {
        let start = ModuleCoverage { module: "all".into(), ..ModuleCoverage::default() };
        self.modules().into_iter().fold(start, |sum, module| ModuleCoverage {
            module: sum.module,
            lines_covered: sum.lines_covered + module.lines_covered,
            lines: sum.lines + module.lines,
            toggles_covered: sum.toggles_covered + module.toggles_covered,
            toggles: sum.toggles + module.toggles,
        })
    }

    /// What was never reached, by module and line of `verilog`, the text that the model was made from. Neighbouring bits of a
    /// signal are one hole.
    pub fn holes(&self, verilog: &str) -> Vec<Hole> {
        let text: Vec<&str> = verilog.lines().collect();
        let source = |line: u32| text.get((line as usize).wrapping_sub(1)).unwrap_or(&"").trim().to_string();
        let mut holes = Vec::new();
        let mut bits: BTreeMap<(&str, u32, &str), Vec<u32>> = BTreeMap::new();
        for (point, _) in self.points.iter().filter(|(_, count)| **count == 0) {
            let (module, line) = (point.module.as_str(), point.line);
            match (point.kind, bit(&point.what)) {
                (PointKind::Toggle, Some((signal, bit))) => {
                    bits.entry((module, line, signal)).or_default().push(bit);
                }
                (kind, _) => holes.push(Hole {
                    module: module.into(),
                    kind,
                    line,
                    what: point.what.clone(),
                    source: source(line),
                }),
            }
        }
        for ((module, line, signal), mut missing) in bits {
            missing.sort_unstable();
            for run in missing.chunk_by(|a, b| a + 1 == *b) {
                let (low, high) = (run[0], run[run.len() - 1]);
                let range = if low == high { low.to_string() } else { format!("{high}:{low}") };
                holes.push(Hole {
                    module: module.into(),
                    kind: PointKind::Toggle,
                    line,
                    what: format!("{signal}[{range}]"),
                    source: source(line),
                });
            }
        }
        holes.sort_by(|a, b| (&a.module, a.line, a.kind, &a.what).cmp(&(&b.module, b.line, b.kind, &b.what)));
        holes
    }
}

/// `name[3]` as name and bit.
fn bit(what: &str) -> Option<(&str, u32)> {
    let (name, index) = what.strip_suffix(']')?.rsplit_once('[')?;
    Some((name, index.parse().ok()?))
}

/// One line: `C 'KEY VALUE KEY VALUE ...' COUNT`, keys after \x01 and values after \x02. The point is `None` when it is of
/// another kind.
fn point(line: &str) -> Option<(Option<Point>, u64)> {
    let (fields, count) = line.strip_prefix("C '")?.rsplit_once("' ")?;
    let count = count.trim().parse().ok()?;
    let field = |key: &str| {
        let named =
            |part: &str| part.split_once('\x02').filter(|(name, _)| *name == key).map(|(_, v)| v.to_string());
        fields.split('\x01').find_map(named)
    };
    let page = field("page")?;
    let (kind, module) = page.split_once('/')?;
    let kind = match kind {
        "v_line" | "v_branch" => PointKind::Line,
        "v_toggle" => PointKind::Toggle,
        _ => return Some((None, count)),
    };
    let number = |key: &str| field(key)?.parse::<u32>().ok();
    let what = field("o")?;
    Some((Some(Point { module: module.into(), kind, line: number("l")?, column: number("n")?, what }), count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(page: &str, line: u32, column: u32, what: &str, path: &str, count: u64) -> String {
        format!(
            "C '\x01f\x02model.v\x01l\x02{line}\x01n\x02{column}\x01page\x02{page}\x01o\x02{what}\x01h\x02{path}' {count}\n"
        )
    }

    fn file() -> String {
        [
            "# SystemC::Coverage-3\n".to_string(),
            line("v_branch/my_walker", 2, 5, "if", "TOP.a.walker0", 0),
            line("v_branch/my_walker", 2, 5, "if", "TOP.a.walker1", 3),
            line("v_branch/my_walker", 2, 6, "else", "TOP.a.walker0", 0),
            line("v_line/my_port", 1, 1, "block", "TOP.a.port", 7),
            line("v_toggle/my_port", 3, 1, "spa[0]", "TOP.a.port", 0),
            line("v_toggle/my_port", 3, 1, "spa[1]", "TOP.a.port", 0),
            line("v_toggle/my_port", 3, 1, "spa[2]", "TOP.a.port", 9),
            line("v_toggle/my_port", 3, 1, "spa[3]", "TOP.a.port", 0),
            line("v_toggle/my_port", 3, 1, "valid", "TOP.a.port", 0),
            line("v_user/port", 3, 1, "whatever", "TOP.a.port", 0),
        ]
        .concat()
    }

    #[test]
    fn instances_and_runs_are_merged_and_holes_are_named() {
        let mut coverage = VerilogCoverage::of("my_");
        coverage.add(&file()).unwrap();
        let modules = coverage.modules();
        let told: Vec<_> = modules
            .iter()
            .map(|m| (m.module.as_str(), m.lines_covered, m.lines, m.toggles_covered, m.toggles))
            .collect();
        assert_eq!(told, [("port", 1, 1, 1, 5), ("walker", 1, 2, 0, 0)]);
        let total = coverage.total();
        assert_eq!((total.lines_covered, total.lines, total.toggles_covered, total.toggles), (2, 3, 1, 5));
        let holes = coverage.holes("one\n  if (two)\nthree\n");
        let told: Vec<_> =
            holes.iter().map(|h| (h.module.as_str(), h.line, h.what.as_str(), h.source.as_str())).collect();
        assert_eq!(
            told,
            [
                ("port", 3, "spa[1:0]", "three"),
                ("port", 3, "spa[3]", "three"),
                ("port", 3, "valid", "three"),
                ("walker", 2, "else", "if (two)"),
            ]
        );
        // Another run closes one of them.
        let mut other = VerilogCoverage::of("my_");
        other.add(&line("v_branch/my_walker", 2, 6, "else", "TOP.a.walker0", 1)).unwrap();
        coverage.merge(&other);
        assert_eq!(coverage.holes("").len(), 3);
        assert_eq!(coverage.modules()[1].lines_covered, 2);
    }

    #[test]
    fn other_files_are_refused() {
        let error = VerilogCoverage::default().add("# x\nC 'nonsense' 4\n").unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the coverage file is not understood: C 'nonsense' 4");
        assert!(VerilogCoverage::default().add("hello").is_err());
    }
}
