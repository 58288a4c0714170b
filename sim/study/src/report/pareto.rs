//! Cost against speed: the LUTs of each design, and its cycles.
//!
//! Designs are compared on the questions that all of them were asked: everything of an experiment but its design. What only some were
//! asked, as parts that are imagined or other pages for one design alone, is left out.

use super::Picture;
use super::chart::Axes;
use super::scatter::{Dot, scatter};
use crate::area::Areas;
use crate::columns::column;
use crate::sweep::designs::{Distinct, distinct};
use crate::sweep::merge::Merged;
use pasidon_experiment::{Answer, Experiment, Imagined};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const TITLE: &str = "Cost and speed";

/// The picture, why there is none, or nothing for a sweep of one design.
pub fn picture(file: &Path, merged: &Merged, areas: &Areas) -> Option<Result<Picture, String>> {
    let told = |problem: String| format!("{TITLE}: {problem}");
    // A part that is imagined has no cells.
    let real = || merged.answers().filter(|(_, answer)| answer.experiment.imagined == Imagined::default());
    // A name says what is the same at all points of its design, imagined parts too.
    let designs =
        distinct(merged.answers().map(|(line, answer)| (&line.axes[..], &answer.experiment.design)));
    let designs = match designs {
        Ok(designs) if designs.len() > 1 => designs,
        Ok(_) => return None,
        Err(problem) => return Some(Err(told(problem))),
    };
    let mut cycles: BTreeMap<&str, BTreeMap<String, f64>> = BTreeMap::new();
    for (_, answer) in real() {
        if let Some(value) = cycles_of_access(answer) {
            cycles.entry(&answer.design_hash).or_default().insert(question(&answer.experiment), value);
        }
    }
    Some(drawn(file, &designs, &cycles, areas).map_err(told))
}

fn drawn(
    file: &Path,
    designs: &[Distinct],
    cycles: &BTreeMap<&str, BTreeMap<String, f64>>,
    areas: &Areas,
) -> Result<Picture, String> {
    let known: Vec<_> =
        designs.iter().filter_map(|design| Some((design, areas.of(&design.design)?))).collect();
    let remedy = format!("make areas SWEEP={}", file.display());
    if known.len() < 2 {
        let number = if known.is_empty() { "no design" } else { "only one design" };
        return Err(format!("{number} of the sweep has been synthesised as it is today: {remedy}"));
    }
    let asked: Vec<&BTreeMap<String, f64>> =
        known.iter().filter_map(|(design, _)| cycles.get(design.hash.as_str())).collect();
    let mut common: BTreeSet<&String> = asked.first().into_iter().flat_map(|all| all.keys()).collect();
    common.retain(|question| asked.iter().all(|all| all.contains_key(*question)));
    if common.is_empty() {
        return Err(
            "its designs have no question in common that has cycles; let an axis vary the design alone"
                .into(),
        );
    }
    let rams: BTreeSet<u64> = known.iter().map(|(_, area)| area.bram).collect();
    let dots: Vec<Dot> = known
        .iter()
        .filter_map(|(design, area)| {
            let all = cycles.get(design.hash.as_str())?;
            let sum: f64 = common.iter().map(|question| all[*question].ln()).sum();
            let name = match rams.len() {
                0 | 1 => design.label.clone(),
                _ => format!("{} [{}]", design.label, area.bram),
            };
            Some(Dot { x: area.lut4 as f64, y: (sum / common.len() as f64).exp(), name })
        })
        .collect();
    let axes = Axes { x: "LUT4 on ECP5".into(), y: "cycles of an access".into(), ..Axes::default() };
    let (svg, nameless) = scatter(&axes, &dots)?;
    let mut note =
        String::from("Each point is a design. The line is the front: nothing below it and to the left.");
    if common.len() > 1 {
        note += &format!(
            " Cycles are the geometric mean over the {} questions that all were asked.",
            common.len()
        );
    }
    if rams.len() > 1 {
        note += " Block RAMs stand in brackets; the front does not weigh them.";
    }
    if nameless > 0 {
        note += &format!(" {nameless} points have no name for want of room.");
    }
    let without = designs.len() - known.len();
    if without > 0 {
        note += &format!(" {without} designs are missing, since they have not been synthesised: {remedy}.");
    }
    Ok(Picture { name: "pareto".into(), title: TITLE.into(), note, svg })
}

/// Everything of an experiment but its design.
fn question(experiment: &Experiment) -> String {
    let rest = Experiment { design: serde_json::Value::Null, ..experiment.clone() };
    serde_json::to_string(&rest).unwrap_or_default()
}

fn cycles_of_access(answer: &Answer) -> Option<f64> {
    column(answer, "cycles")
        .filter(|&cycles| cycles > 0.0)
        .map(|all| all / answer.counts.accesses.max(1) as f64)
}
