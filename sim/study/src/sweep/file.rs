//! The sweep file: `base`, an experiment; `axis`, what varies; `only`, which combinations make sense; `chart`, what to draw.

use super::SweepError;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One value of an axis: the value itself, or a name and what it sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AxisValue {
    /// A name, and the keys that it sets in the experiment.
    Named(NamedValue),
    /// A number, string or flag, put at each of the axis's keys.
    Plain(toml::Value),
}

/// A value that sets several keys, or one to something that is not a number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedValue {
    /// How it is called in tables.
    pub label: String,
    /// Key in the experiment, dots between its parts, and the value that is put there.
    pub set: toml::Table,
}

/// An axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Name of the column, and of the variable in `only`: letters, digits and `_`.
    pub name: String,
    /// The keys of the experiment that its values are put at, dots between their parts; for plain values.
    #[serde(default)]
    pub keys: Vec<String>,
    /// The values.
    pub values: Vec<AxisValue>,
    /// Unit of the values, for pictures.
    #[serde(default)]
    pub unit: String,
}

/// A picture that the report draws beside those that it draws anyway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// The axis from left to right.
    pub x: String,
    /// The quantity: a column of the table of results.
    pub y: String,
    /// The axis whose values become lines; by default there is one line.
    #[serde(default)]
    pub series: Option<String>,
    /// Logarithmic from left to right.
    #[serde(default)]
    pub log_x: bool,
    /// Figures from elsewhere to compare with: a range of the quantity, and whose it is.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// A published figure.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Whose.
    pub label: String,
    /// Smallest.
    pub from: f64,
    /// Largest.
    pub to: f64,
}

/// A sweep file as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepFile {
    /// Name of the sweep.
    pub name: String,
    /// The question, for the report.
    #[serde(default)]
    pub question: String,
    /// The experiment that the axes vary.
    pub base: toml::Table,
    /// What varies.
    #[serde(default)]
    pub axis: Vec<Axis>,
    /// Conditions on the values of the axes, by their names: a point is run if all hold.
    #[serde(default)]
    pub only: Vec<String>,
    /// Pictures.
    #[serde(default)]
    pub chart: Vec<Chart>,
    /// Seeds: each point is run with each; tables show the spread. By default the experiment's own.
    #[serde(default)]
    pub seeds: Vec<u64>,
}

/// A sweep file that has been read, with where it was.
#[derive(Clone, Debug, PartialEq)]
pub struct Sweep {
    /// The file.
    pub path: PathBuf,
    /// Its content.
    pub file: SweepFile,
}

impl Sweep {
    /// Reads a sweep file.
    ///
    /// # Errors
    /// A file that cannot be read, is not TOML, or has a key that does not exist, with its place.
    pub fn load(path: &Path) -> Result<Sweep, SweepError> {
        let text = std::fs::read_to_string(path).map_err(SweepError::io(path))?;
        Sweep::parse(&text, path)
    }

    /// The same from a text; `path` stands for it in messages.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn parse(text: &str, path: &Path) -> Result<Sweep, SweepError> {
        let file: SweepFile = toml::from_str(text).map_err(|error| SweepError::File {
            file: path.to_path_buf(),
            problem: error.to_string().trim_end().to_string(),
            remedy: "see the chapter on sweeps for the keys that there are".into(),
        })?;
        let sweep = Sweep { path: path.to_path_buf(), file };
        sweep.check()?;
        Ok(sweep)
    }

    /// An error of this file.
    pub(super) fn error(&self, problem: impl Into<String>, remedy: impl Into<String>) -> SweepError {
        SweepError::File { file: self.path.clone(), problem: problem.into(), remedy: remedy.into() }
    }

    fn check(&self) -> Result<(), SweepError> {
        let axes = &self.file.axis;
        for (index, axis) in axes.iter().enumerate() {
            let name = &axis.name;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(plain) {
                let remedy = "use letters, digits and '_', a letter first: conditions use it as a variable";
                return Err(self.error(format!("axis.name = {name:?} is not a name"), remedy));
            }
            if axes[..index].iter().any(|other| other.name == *name) || name == "seed" {
                return Err(
                    self.error(format!("two axes are called {name:?}"), "give each a name of its own")
                );
            }
            if axis.values.is_empty() {
                return Err(self.error(format!("axis {name:?} has no values"), "give it some, or remove it"));
            }
            let puts = axis.values.iter().any(|value| matches!(value, AxisValue::Plain(_)));
            if puts && axis.keys.is_empty() {
                let remedy = "say with keys = [\"design.tlb.l2_sets\"] where its values are put, or give each a label and a set";
                return Err(self.error(format!("axis {name:?} has values but no keys"), remedy));
            }
            let labels: Vec<String> = axis.values.iter().map(AxisValue::label).collect();
            if let Some(label) =
                labels.iter().enumerate().find_map(|(i, l)| labels[..i].contains(l).then_some(l))
            {
                return Err(self.error(format!("axis {name:?} has the value {label} twice"), "remove one"));
            }
        }
        for chart in &self.file.chart {
            for axis in [Some(&chart.x), chart.series.as_ref()].into_iter().flatten() {
                if !axes.iter().any(|a| a.name == *axis) {
                    let known: Vec<&str> = axes.iter().map(|a| a.name.as_str()).collect();
                    let remedy = format!("the axes are: {}", known.join(", "));
                    return Err(self.error(
                        format!("chart {:?} names an axis {axis:?} that does not exist", chart.title),
                        remedy,
                    ));
                }
            }
        }
        Ok(())
    }
}

impl AxisValue {
    /// As it stands in tables.
    pub fn label(&self) -> String {
        match self {
            AxisValue::Named(named) => named.label.clone(),
            AxisValue::Plain(toml::Value::String(text)) => text.clone(),
            AxisValue::Plain(value) => value.to_string(),
        }
    }
}
