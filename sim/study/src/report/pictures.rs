//! Which pictures a report has, and what each shows.
//!
//! A quantity is drawn over each axis of numbers. The lines are the values of one more axis; of further axes the first values are
//! taken that have an answer for most of the picture, and the note says which. Points that differ only in the seed are one: their mean, with the spread.

use super::Picture;
use super::chart::{self, Axes, Band, MOST_SERIES, Series};
use super::pareto;
use crate::area::Areas;
use crate::columns::{column, columns};
use crate::sweep::file::{Axis, AxisValue, Sweep};
use crate::sweep::merge::Merged;
use crate::sweep::store::Line;
use pasidon_experiment::Answer;

/// Bars in one picture.
const MOST_BARS: usize = 16;

/// Why an L1 lookup was no hit, or that it was: name of the part, and how many.
fn fates(answer: &Answer) -> [f64; 5] {
    let counts = &answer.counts;
    let misses = counts.l1.lookups.saturating_sub(counts.l1.hits);
    let merged = counts.merged.min(misses);
    let l2 = counts.l2.hits.min(misses - merged);
    let walked = misses - merged - l2;
    let contexts = (counts.reads.ddt.iter().chain(&counts.reads.pdt).sum::<u64>() > 0).then(|| {
        (counts.ddtc.lookups - counts.ddtc.hits).max(counts.pdtc.lookups - counts.pdtc.hits).min(walked)
    });
    let cold = contexts.unwrap_or(0);
    [counts.l1.hits, merged, l2, walked - cold, cold].map(|n| n as f64)
}

const FATES: [&str; 5] =
    ["L1 hit", "joined another's walk", "L2 hit", "walk, contexts cached", "walk, context read too"];

/// The values of an axis, if all are numbers.
fn numbers(axis: &Axis) -> Option<Vec<f64>> {
    let number = |value: &AxisValue| match value {
        AxisValue::Plain(toml::Value::Integer(n)) => Some(*n as f64),
        AxisValue::Plain(toml::Value::Float(x)) => Some(*x),
        AxisValue::Named(named) => named.label.parse().ok(),
        AxisValue::Plain(_) => None,
    };
    axis.values.iter().map(number).collect()
}

/// Results with the choice of lines made.
struct View<'a> {
    sweep: &'a Sweep,
    merged: &'a Merged,
}

impl View<'_> {
    fn axis(&self, name: &str) -> Option<&Axis> {
        self.sweep.file.axis.iter().find(|axis| axis.name == name)
    }

    /// Lines of `quantity` over the axis `x`, one for each value of `series`; and which values the other axes have.
    fn lines(&self, x: &Axis, series: Option<&Axis>, quantity: &str) -> (Vec<Series>, String) {
        let places = numbers(x).unwrap_or_else(|| (0..x.values.len()).map(|i| i as f64).collect());
        let rest = self.rest(x, series);
        let lines = match series {
            Some(axis) => axis
                .values
                .iter()
                .take(MOST_SERIES)
                .map(|value| Some((axis.name.as_str(), value.label())))
                .collect(),
            None => vec![None],
        };
        let mut drawn = Vec::new();
        for line in lines {
            let mut points = Vec::new();
            for (value, place) in x.values.iter().zip(&places) {
                let mut wanted = rest.clone();
                wanted.push((x.name.as_str(), value.label()));
                wanted.extend(line.clone());
                let values: Vec<f64> = self
                    .merged
                    .answers()
                    .filter(|(found, _)| wanted.iter().all(|(name, label)| has(found, name, label)))
                    .filter_map(|(_, answer)| column(answer, quantity))
                    .collect();
                if values.is_empty() {
                    continue;
                }
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let low = values.iter().copied().fold(mean, f64::min);
                let high = values.iter().copied().fold(mean, f64::max);
                points.push((*place, mean, mean - low, high - mean));
            }
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !points.is_empty() {
                // A number alone says nothing; a name does.
                let named = |(name, label): (&str, String)| match label.parse::<f64>() {
                    Ok(_) => format!("{name} = {label}"),
                    Err(_) => label,
                };
                let name = line.map_or_else(String::new, named);
                drawn.push(Series { name, points, limit: false });
            }
        }
        let fixed: Vec<String> = rest
            .iter()
            .filter(|(name, _)| self.axis(name).is_some_and(|a| a.values.len() > 1))
            .map(|(name, label)| format!("{name} = {label}"))
            .collect();
        let note = if fixed.is_empty() { String::new() } else { format!(" Here {}.", fixed.join(", ")) };
        (drawn, note)
    }

    /// The values of the axes that are neither `x` nor `series`: those that most points of the picture have, of equals the first.
    fn rest(&self, x: &Axis, series: Option<&Axis>) -> Vec<(&str, String)> {
        let drawn = |name: &str| name == x.name || series.is_some_and(|axis| axis.name == name);
        let others: Vec<&str> =
            self.sweep.file.axis.iter().map(|axis| axis.name.as_str()).filter(|name| !drawn(name)).collect();
        let mut found: Vec<(Vec<&str>, std::collections::BTreeSet<Vec<&str>>)> = Vec::new();
        for (line, _) in self.merged.answers() {
            let label =
                |name: &&str| line.axes.iter().find(|(axis, _)| axis == name).map(|(_, l)| l.as_str());
            let values: Vec<&str> = others.iter().filter_map(label).collect();
            // Of several seeds each place counts once.
            let place = line.axes.iter().filter(|(axis, _)| drawn(axis)).map(|(_, l)| l.as_str()).collect();
            match found.iter_mut().find(|(known, _)| *known == values) {
                Some((_, places)) => {
                    places.insert(place);
                }
                None => found.push((values, [place].into())),
            }
        }
        let most = found.iter().map(|(_, places)| places.len()).max().unwrap_or(0);
        let best = found.into_iter().find(|(_, places)| places.len() == most);
        best.map_or_else(Vec::new, |(values, _)| {
            others.into_iter().zip(values.into_iter().map(String::from)).collect()
        })
    }

    /// The axis whose values are the lines of a picture over `x`: the first other with more than one value, words before numbers.
    fn series_beside(&self, x: &Axis) -> Option<&Axis> {
        let others =
            || self.sweep.file.axis.iter().filter(|axis| axis.name != x.name && axis.values.len() > 1);
        others().find(|axis| numbers(axis).is_none()).or_else(|| others().next())
    }

    /// The axes with more than one value: a bar's label has its place on each.
    fn varied(&self) -> Vec<&str> {
        let axes = self.sweep.file.axis.iter();
        axes.filter(|axis| axis.values.len() > 1).map(|axis| axis.name.as_str()).collect()
    }

    /// At most [`MOST_BARS`] answers, evenly chosen, each with its label.
    fn bars(&self) -> Vec<(String, &Answer)> {
        let answers: Vec<(&Line, &Answer)> = self.merged.answers().collect();
        let step = answers.len().div_ceil(MOST_BARS).max(1);
        let varied = self.varied();
        answers
            .into_iter()
            .step_by(step)
            .map(|(line, answer)| {
                let labels: Vec<&str> = line
                    .axes
                    .iter()
                    .filter(|(name, _)| varied.contains(&name.as_str()))
                    .map(|(_, label)| label.as_str())
                    .collect();
                let label = if labels.is_empty() { line.point.to_string() } else { labels.join(" ") };
                (label, answer)
            })
            .collect()
    }
}

fn has(line: &Line, name: &str, label: &str) -> bool {
    line.axes.iter().any(|(axis, value)| axis == name && value == label)
}

/// Doubles from value to value, so that a logarithmic axis is the natural one.
fn grows_by_factors(places: &[f64]) -> bool {
    let least = places.iter().copied().fold(f64::INFINITY, f64::min);
    let most = places.iter().copied().fold(0.0, f64::max);
    least > 0.0 && most / least >= 16.0
}

/// All pictures, and what could not be drawn.
pub fn all(sweep: &Sweep, merged: &Merged, areas: &Areas) -> (Vec<Picture>, Vec<String>) {
    let view = View { sweep, merged };
    let mut pictures: Vec<Picture> = Vec::new();
    let mut remarks = Vec::new();
    let mut keep = |name: String, title: String, note: String, drawn: Result<String, String>| match drawn {
        Ok(svg) => {
            let name = unused(name, &pictures);
            pictures.push(Picture { name, title, note, svg });
        }
        Err(problem) => remarks.push(format!("{title}: {problem}")),
    };
    for chart in &sweep.file.chart {
        asked_for(&view, chart, &mut keep);
    }
    over_axes(&view, &mut keep);
    let bars = view.bars();
    let parts: Vec<(String, Vec<f64>)> = bars
        .iter()
        .map(|(label, answer)| {
            let fates = fates(answer);
            let all: f64 = fates.iter().sum();
            (label.clone(), fates.iter().map(|n| if all > 0.0 { 100.0 * n / all } else { 0.0 }).collect())
        })
        .collect();
    let varied = view.varied();
    let point = if varied.is_empty() { "point".to_string() } else { varied.join(", ") };
    let axes = Axes { x: point.clone(), y: "of L1 lookups (%)".into(), ..Axes::default() };
    keep("misses".into(), "What became of requests".into(),
        "Each request of a device looks into its port's L1 TLB. What is not a hit there is answered by the L2 TLB, joins the walk of another request, or walks.".into(),
        chart::stacked(&axes, &FATES, &parts));
    let timed: Vec<(String, Vec<f64>)> = bars
        .iter()
        .filter_map(|(label, answer)| {
            let times = answer.times.as_ref()?;
            let accesses = answer.counts.accesses.max(1) as f64;
            Some((
                label.clone(),
                times.breakdown.parts().iter().map(|(_, cycles)| *cycles as f64 / accesses).collect(),
            ))
        })
        .collect();
    if !timed.is_empty() {
        let names =
            pasidon_experiment::answer::Breakdown::default().parts().map(|(name, _)| name.replace('_', " "));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let axes = Axes { x: point, y: "cycles of an access".into(), ..Axes::default() };
        keep(
            "breakdown".into(),
            "Where an access spends its cycles".into(),
            "On average over all accesses. The parts add up to the time from an access's request to the end of its data.".into(),
            chart::stacked(&axes, &names, &timed),
        );
        latencies(&bars, &mut keep);
    }
    match pareto::picture(&sweep.path, merged, areas) {
        Some(Ok(picture)) => pictures.push(picture),
        Some(Err(problem)) => remarks.push(problem),
        None => {}
    }
    (pictures, remarks)
}

/// `name`, or with a number behind it the first that no picture has yet: names are those of files.
fn unused(name: String, pictures: &[Picture]) -> String {
    let name = if name.is_empty() { "picture".to_string() } else { name };
    let numbered = (2..).map(|n| format!("{name}-{n}"));
    let free = |wanted: &String| pictures.iter().all(|picture| picture.name != *wanted);
    std::iter::once(name.clone()).chain(numbered).find(free).unwrap_or(name)
}

type Keep<'a> = dyn FnMut(String, String, String, Result<String, String>) + 'a;

/// A picture of the sweep file.
fn asked_for(view: &View<'_>, wanted: &crate::sweep::file::Chart, keep: &mut Keep<'_>) {
    let Some(x) = view.axis(&wanted.x) else { return };
    let series = wanted.series.as_deref().and_then(|name| view.axis(name));
    let known = view
        .merged
        .answers()
        .next()
        .is_none_or(|(_, answer)| columns(answer).iter().any(|(name, _)| *name == wanted.y));
    let (lines, note) = view.lines(x, series, &wanted.y);
    let bands: Vec<Band> = wanted.published.iter().map(|p| (p.label.clone(), p.from, p.to)).collect();
    let axes = Axes { x: with_unit(x), y: words(&wanted.y), log_x: wanted.log_x, least_y: 0.0 };
    let drawn = if known {
        chart::lines(&axes, &lines, &bands)
    } else {
        Err(format!("there is no column {:?}", wanted.y))
    };
    let published = if bands.is_empty() { "" } else { " The shaded range is the published one." };
    keep(
        slug(&wanted.title),
        wanted.title.clone(),
        format!("{} over {}.{note}{published}", capitalised(&words(&wanted.y)), x.name),
        drawn,
    );
}

/// Hit rates, throughput and overhead over every axis of numbers.
fn over_axes(view: &View<'_>, keep: &mut Keep<'_>) {
    for x in &view.sweep.file.axis {
        let Some(places) = numbers(x).filter(|places| places.len() > 1) else { continue };
        let series = view.series_beside(x);
        for quantity in ["l1.hit_rate", "l2.hit_rate", "overhead_percent", "accesses_per_cycle"] {
            let (mut lines, note) = view.lines(x, series, quantity);
            let flat = lines.iter().all(|line| line.points.iter().all(|p| p.1 == 0.0));
            if lines.is_empty() || flat {
                continue;
            }
            let mut more = String::new();
            if quantity == "accesses_per_cycle"
                && x.keys.iter().any(|key| key == "design.walk.walkers")
                && let Some(limit) = memory_limit(view, x)
            {
                lines.push(limit);
                more = " The dashed line is what memory allows: reads that it takes in a cycle, by reads of an access.".into();
            }
            let axes =
                Axes { x: with_unit(x), y: words(quantity), log_x: grows_by_factors(&places), least_y: 0.0 };
            let title = capitalised(&format!("{} over {}", words(quantity), x.name));
            let lines_of =
                series.map_or_else(String::new, |axis| format!("Each line is one value of {}.", axis.name));
            keep(slug(&title), title, format!("{lines_of}{note}{more}"), chart::lines(&axes, &lines, &[]));
        }
    }
}

/// Accesses per cycle at which memory is busy with reads of tables all the time, at each value of `x`.
fn memory_limit(view: &View<'_>, x: &Axis) -> Option<Series> {
    let places = numbers(x)?;
    let mut points = Vec::new();
    for (value, place) in x.values.iter().zip(places) {
        let (_, answer) = view.merged.answers().find(|(line, _)| has(line, &x.name, &value.label()))?;
        let memory = answer.experiment.machine.tables;
        let reads = answer.counts.reads.total() as f64 / answer.counts.accesses.max(1) as f64;
        let per_cycle = f64::from(memory.outstanding) / f64::from(memory.latency.max(1));
        if reads > 0.0 {
            points.push((place, per_cycle.min(1.0) / reads, 0.0, 0.0));
        }
    }
    // A limit far above everything would flatten the picture.
    let highest = view
        .merged
        .answers()
        .filter_map(|(_, answer)| column(answer, "accesses_per_cycle"))
        .fold(0.0, f64::max);
    points.retain(|p| p.1 < 4.0 * highest);
    (!points.is_empty()).then(|| Series { name: "limit of memory".into(), points, limit: true })
}

/// How many requests took how long.
fn latencies(bars: &[(String, &Answer)], keep: &mut Keep<'_>) {
    let step = bars.len().div_ceil(MOST_SERIES).max(1);
    let mut lines = Vec::new();
    for (label, answer) in bars.iter().step_by(step) {
        let Some(times) = &answer.times else { continue };
        let all: u64 = times.latency.histogram.iter().map(|(_, n)| n).sum();
        let mut below = 0;
        let mut points = Vec::new();
        for &(cycles, n) in &times.latency.histogram {
            below += n;
            points.push((cycles.max(1) as f64, 100.0 * below as f64 / all.max(1) as f64, 0.0, 0.0));
        }
        // A picture has fewer pixels than a histogram has steps.
        let thin = points.len().div_ceil(60).max(1);
        let last = points.last().copied();
        let mut points: Vec<_> = points.into_iter().step_by(thin).collect();
        if points.last() != last.as_ref() {
            points.extend(last);
        }
        if !points.is_empty() {
            lines.push(Series { name: label.clone(), points, limit: false });
        }
    }
    if lines.is_empty() {
        return;
    }
    let axes = Axes {
        x: "latency (cycles)".into(),
        y: "requests answered within (%)".into(),
        log_x: true,
        least_y: 100.0,
    };
    keep(
        "latency".into(),
        "Latency of translations".into(),
        "From the first cycle of a request to the first of its answer.".into(),
        chart::lines(&axes, &lines, &[]),
    );
}

fn with_unit(axis: &Axis) -> String {
    if axis.unit.is_empty() { axis.name.clone() } else { format!("{} ({})", axis.name, axis.unit) }
}

/// A column's name in words.
fn words(column: &str) -> String {
    match column {
        "l1.hit_rate" => "L1 hit rate".into(),
        "l2.hit_rate" => "L2 hit rate".into(),
        "overhead_percent" => "overhead of translation (%)".into(),
        "share_percent" => "share of the run that translation takes (%)".into(),
        "accesses_per_cycle" => "accesses per cycle".into(),
        other => other.replace(['.', '_'], " "),
    }
}

/// The first letter large.
fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn slug(title: &str) -> String {
    let plain: String =
        title.to_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    plain.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}
