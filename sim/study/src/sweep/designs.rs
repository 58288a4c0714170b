//! The designs of a sweep: which there are, and what to call each.

use super::SweepError;
use super::file::Sweep;
use pasidon_experiment::resolve::{design_of, design_text};
use pasidon_rtl::design::Design;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// A point's place on each axis: name and label.
type Place = [(String, String)];

/// A design, however many points have it.
#[derive(Clone, Debug, PartialEq)]
pub struct Distinct {
    /// Its hash without its name.
    pub hash: String,
    /// The design, under the name that it has at its first point.
    pub design: Design,
    /// What tells it from the others: its values on the axes that are the same at all of its points, or else its name.
    pub label: String,
    /// How many points have it.
    pub points: usize,
    /// The design in the sections and keys of a design file.
    keys: Value,
}

impl Distinct {
    /// Writes it as a design file, named by its hash.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, SweepError> {
        std::fs::create_dir_all(folder).map_err(SweepError::io(folder))?;
        let file = folder.join(format!("{}.toml", self.hash));
        std::fs::write(&file, design_text(&self.keys)).map_err(SweepError::io(&file))?;
        Ok(file)
    }
}

impl Sweep {
    /// The designs of all points, in the order in which they come first.
    ///
    /// # Errors
    /// As [`points`](Self::points).
    pub fn designs(&self) -> Result<Vec<Distinct>, SweepError> {
        let points = self.points()?;
        distinct(points.iter().map(|point| (&point.axes[..], &point.experiment.design)))
            .map_err(|problem| self.error(problem, "mend base.design"))
    }
}

/// The designs of points, each once, in the order in which they come first.
///
/// # Errors
/// A design that is not possible, as a sentence.
pub fn distinct<'a>(
    points: impl IntoIterator<Item = (&'a Place, &'a Value)>,
) -> Result<Vec<Distinct>, String> {
    let mut designs: Vec<Distinct> = Vec::new();
    let mut places: Vec<Vec<&Place>> = Vec::new();
    // Most points repeat a design word for word; it is parsed once.
    let mut known: HashMap<String, usize> = HashMap::new();
    for (place, keys) in points {
        let text = keys.to_string();
        let index = match known.get(&text) {
            Some(&index) => index,
            None => {
                let design = design_of(keys)?;
                let hash = design.nameless_hash();
                let index = designs.iter().position(|other| other.hash == hash).unwrap_or(designs.len());
                if index == designs.len() {
                    let keys = keys.clone();
                    designs.push(Distinct { hash, design, label: String::new(), points: 0, keys });
                    places.push(Vec::new());
                }
                known.insert(text, index);
                index
            }
        };
        designs[index].points += 1;
        places[index].push(place);
    }
    let labels = labels(&places);
    let mut taken = BTreeMap::new();
    for (design, label) in designs.iter_mut().zip(labels) {
        design.label = if label.is_empty() { design.design.name.clone() } else { label };
        *taken.entry(design.label.clone()).or_insert(0) += 1;
    }
    for design in designs.iter_mut().filter(|design| taken[&design.label] > 1) {
        design.label = format!("{} ({})", design.label, &design.hash[..8]);
    }
    Ok(designs)
}

/// For each design, given the places of its points, the values that all of them have and that not all designs have.
fn labels(places: &[Vec<&Place>]) -> Vec<String> {
    let values = |axis: usize, points: &[&Place]| -> BTreeSet<String> {
        points.iter().filter_map(|place| place.get(axis)).map(|(_, label)| label.clone()).collect()
    };
    let axes = places.iter().flatten().map(|place| place.len()).max().unwrap_or(0);
    let every: Vec<&Place> = places.iter().flatten().copied().collect();
    let varied: Vec<usize> = (0..axes).filter(|&axis| values(axis, &every).len() > 1).collect();
    let label = |points: &Vec<&Place>| {
        let own = varied.iter().filter(|&&axis| values(axis, points).len() == 1);
        let words = own.filter_map(|&axis| points[0].get(axis)).map(|(name, label)| {
            // A number alone says nothing; a name does.
            if label.parse::<f64>().is_ok() { format!("{name} {label}") } else { label.clone() }
        });
        words.collect::<Vec<_>>().join(", ")
    };
    places.iter().map(label).collect()
}
