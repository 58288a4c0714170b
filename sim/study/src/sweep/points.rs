//! From a sweep file to its points: every combination of values that the conditions let through, as complete experiments.

use super::SweepError;
use super::file::{Axis, AxisValue, Sweep};
use evalexpr::{ContextWithMutableVariables, HashMapContext, Value as Number};
use pasidon_experiment::Experiment;
use pasidon_experiment::resolve::design_of;
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

/// The most points of a sweep.
pub const MOST_POINTS: usize = 1 << 20;

/// A point of a sweep.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its number: the first axis varies slowest.
    pub index: usize,
    /// Hash of its experiment.
    pub id: String,
    /// Its place on each axis, in their order: name and label.
    pub axes: Vec<(String, String)>,
    /// What is asked.
    pub experiment: Experiment,
}

impl Sweep {
    /// All points, in order.
    ///
    /// # Errors
    /// The first experiment that is not possible, with the point and the key.
    pub fn points(&self) -> Result<Vec<Point>, SweepError> {
        let axes = &self.file.axis;
        let sizes: Vec<usize> = axes.iter().map(|axis| axis.values.len()).collect();
        let seeds: Vec<Option<u64>> = match &self.file.seeds[..] {
            [] => vec![None],
            seeds => seeds.iter().copied().map(Some).collect(),
        };
        let combinations = sizes.iter().try_fold(seeds.len(), |all, &size| all.checked_mul(size));
        let Some(combinations) = combinations.filter(|&all| all <= MOST_POINTS) else {
            let remedy = format!("at most {MOST_POINTS} are possible: divide the sweep");
            return Err(self.error("the axes have too many combinations", remedy));
        };
        let base = self.base()?;
        let mut points = Vec::new();
        for number in 0..combinations {
            let mut rest = number;
            let seed = seeds[rest % seeds.len()];
            rest /= seeds.len();
            let mut chosen = vec![0; sizes.len()];
            for (place, size) in chosen.iter_mut().zip(&sizes).rev() {
                *place = rest % size;
                rest /= size;
            }
            let values: Vec<(&Axis, &AxisValue)> =
                axes.iter().zip(&chosen).map(|(axis, &place)| (axis, &axis.values[place])).collect();
            if !self.admits(&values)? {
                continue;
            }
            points.push(self.point(points.len(), &base, &values, seed)?);
        }
        if points.is_empty() {
            return Err(self.error("no combination of values satisfies `only`", "relax a condition"));
        }
        Ok(points)
    }

    /// The experiment of the file, its design complete.
    fn base(&self) -> Result<Json, SweepError> {
        let mut base = serde_json::to_value(&self.file.base)
            .map_err(|error| self.error(format!("base: {error}"), "write it as an experiment"))?;
        let named =
            base.get("design").filter(|design| design.is_string() || design.is_object()).map(design_of);
        let design = named.ok_or_else(|| {
            let remedy = "set it to the name of a shipped design, the path of a design file, or a table with base = \"default\" and what differs";
            self.error("base.design is missing or neither a string nor a table", remedy)
        })?;
        let design = design.map_err(|error| self.error(error, "mend base.design"))?;
        base["design"] = serde_json::to_value(&design)
            .map_err(|error| self.error(format!("base.design: {error}"), "name another"))?;
        Ok(base)
    }

    /// Whether all conditions hold.
    fn admits(&self, values: &[(&Axis, &AxisValue)]) -> Result<bool, SweepError> {
        let mut context = HashMapContext::new();
        for (axis, value) in values {
            let value = match value {
                AxisValue::Plain(toml::Value::Integer(n)) => Number::Int(*n),
                AxisValue::Plain(toml::Value::Float(x)) => Number::Float(*x),
                AxisValue::Plain(toml::Value::Boolean(b)) => Number::Boolean(*b),
                other => Number::String(other.label()),
            };
            // A name is checked to be one, and set once.
            let _ = context.set_value(axis.name.clone(), value);
        }
        for condition in &self.file.only {
            match evalexpr::eval_boolean_with_context(condition, &context) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => {
                    let remedy =
                        "write a comparison of axes' names, numbers and strings, as \"walkers <= l2_sets\"";
                    return Err(self.error(format!("only = {condition:?}: {error}"), remedy));
                }
            }
        }
        Ok(true)
    }

    fn point(
        &self,
        index: usize,
        base: &Json,
        values: &[(&Axis, &AxisValue)],
        seed: Option<u64>,
    ) -> Result<Point, SweepError> {
        let mut experiment = base.clone();
        let mut axes: Vec<(String, String)> = Vec::new();
        for (axis, value) in values {
            axes.push((axis.name.clone(), value.label()));
            let sets: Vec<(&str, &toml::Value)> = match value {
                AxisValue::Plain(value) => axis.keys.iter().map(|key| (key.as_str(), value)).collect(),
                AxisValue::Named(named) => {
                    named.set.iter().map(|(key, value)| (key.as_str(), value)).collect()
                }
            };
            for (key, value) in sets {
                let value = serde_json::to_value(value).map_err(|error| {
                    self.error(format!("axis {}: {error}", axis.name), "use another value")
                })?;
                put(&mut experiment, key, value).map_err(|problem| {
                    self.error(format!("axis {}: {problem}", axis.name), "correct the key")
                })?;
            }
        }
        if let Some(seed) = seed {
            axes.push(("seed".into(), seed.to_string()));
            experiment["seed"] = Json::from(seed);
        }
        let place =
            || axes.iter().map(|(name, label)| format!("{name} = {label}")).collect::<Vec<_>>().join(", ");
        let design = design_of(&experiment["design"]);
        let design = design.map_err(|error| {
            self.error(
                format!("at {}: {error}", place()),
                "change the axis, or exclude the point with `only`",
            )
        })?;
        experiment["design"] = serde_json::to_value(&design).unwrap_or_default();
        multiply(&mut experiment).map_err(|problem| {
            self.error(format!("at {}: {problem}", place()), "from 1 to 65536 are possible")
        })?;
        let experiment: Experiment = serde_json::from_value(experiment).map_err(|error| {
            self.error(format!("at {}: {error}", place()), "write it as the chapter on experiments says")
        })?;
        if let [first, ..] = &experiment.problems(&design)[..] {
            let remedy = "change the axis, or exclude the point with `only`";
            return Err(self.error(format!("at {}: {first}", place()), remedy));
        }
        Ok(Point { index, id: id_of(&experiment), axes, experiment })
    }
}

/// Hash of an experiment, 16 hexadecimal digits: two points with the same one ask the same.
pub fn id_of(experiment: &Experiment) -> String {
    let text = serde_json::to_string(experiment).unwrap_or_default();
    Sha256::digest(text.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Replaces a job with `copies = N` by N jobs, each of a process of its own: their numbers go up from that of the job.
fn multiply(experiment: &mut Json) -> Result<(), String> {
    let Some(Json::Array(jobs)) = experiment.get_mut("jobs") else { return Ok(()) };
    let mut all = Vec::new();
    for (index, mut job) in std::mem::take(jobs).into_iter().enumerate() {
        let Some(copies) = job.as_object_mut().and_then(|job| job.remove("copies")) else {
            all.push(job);
            continue;
        };
        let number = copies.as_u64().filter(|number| (1..=1 << 16).contains(number));
        let number = number.ok_or_else(|| format!("jobs.{index}.copies = {copies} is not possible"))?;
        let first = job.get("process").and_then(Json::as_u64).unwrap_or(0);
        for copy in 0..number {
            job["process"] = Json::from(first + copy);
            all.push(job.clone());
        }
    }
    *jobs = all;
    Ok(())
}

/// Puts a value at a key with dots between its parts; a part that is a number is a place in a list.
fn put(target: &mut Json, key: &str, value: Json) -> Result<(), String> {
    let (first, rest) = key.split_once('.').map_or((key, None), |(first, rest)| (first, Some(rest)));
    let place = match target {
        Json::Object(object) => object.entry(first).or_insert_with(|| Json::Object(Default::default())),
        Json::Array(list) => {
            let length = list.len();
            first
                .parse::<usize>()
                .ok()
                .and_then(|index| list.get_mut(index))
                .ok_or_else(|| format!("key part {first:?} is none of the {length} places of a list"))?
        }
        _ => return Err(format!("key part {first:?} lies below something that is not a table")),
    };
    match rest {
        Some(rest) => put(place, rest, value),
        None => {
            *place = value;
            Ok(())
        }
    }
}
