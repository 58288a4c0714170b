//! The fields of a request, each taken once with its legal values; what is wrong with one is said together with the remedy.

use serde_json::{Map, Value, json};
use std::ops::RangeInclusive;

/// Why a request is not done. It becomes the `error` of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// `json`, `op`, `field`, `memory`, `unsupported`, `mismatch` or `hardware`.
    pub kind: &'static str,
    /// The field that is wrong.
    pub field: Option<String>,
    /// What is wrong and what would be right.
    pub message: String,
    /// Both values, where the engines differ.
    pub mismatch: Option<Value>,
}

impl Problem {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Problem {
        Problem { kind, field: None, message: message.into(), mismatch: None }
    }

    fn field(name: String, message: String) -> Problem {
        Problem { field: Some(name), ..Problem::new("field", message) }
    }

    pub(super) fn to_json(&self) -> Value {
        let mut error = json!({ "kind": self.kind, "message": self.message });
        if let Some(field) = &self.field {
            error["field"] = json!(field);
        }
        if let Some(mismatch) = &self.mismatch {
            error["mismatch"] = mismatch.clone();
        }
        error
    }
}

/// A value as it is shown in a message.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The fields of one request (or of one element of a list in it) that have not been looked at.
pub(super) struct Fields {
    left: Map<String, Value>,
    /// In front of the names in messages: `requests[3].`
    path: String,
    known: Vec<&'static str>,
}

impl Fields {
    pub fn new(left: Map<String, Value>, path: String) -> Fields {
        Fields { left, path, known: Vec::new() }
    }

    fn take(&mut self, name: &'static str) -> Option<Value> {
        self.known.push(name);
        // Null is how many languages write what is not there.
        self.left.remove(name).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, message: String) -> Problem {
        let name = format!("{}{name}", self.path);
        Problem::field(name.clone(), format!("{name}: {message}"))
    }

    fn missing(&self, name: &str, wanted: &str) -> Problem {
        self.wrong(name, format!("is missing; give {wanted}"))
    }

    /// An integer in a range, as a JSON number or as text in decimal or hexadecimal, if it is there.
    pub fn maybe(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Result<Option<u64>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = match &value {
            Value::String(text) => match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            },
            other => other.as_u64(),
        };
        match number {
            Some(number) if range.contains(&number) => Ok(Some(number)),
            _ => Err(self.wrong(name, format!("{} is not {}", shown(&value), wanted(&range)))),
        }
    }

    /// The same, and it must be there.
    pub fn number(&mut self, name: &'static str, range: RangeInclusive<u64>) -> Result<u64, Problem> {
        self.maybe(name, range.clone())?.ok_or_else(|| self.missing(name, &wanted(&range)))
    }

    /// True or false; false if it is not there.
    pub fn flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        match self.take(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(self.wrong(name, format!("{} is not true or false", shown(&other)))),
        }
    }

    /// One of these texts with its meaning; the first if it is not there and there is a default.
    pub fn choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
        default: bool,
    ) -> Result<T, Problem> {
        let names: Vec<String> = choices.iter().map(|(choice, _)| format!("\"{choice}\"")).collect();
        let names = names.join(" or ");
        match (self.take(name), choices) {
            (None, [(_, first), ..]) if default => Ok(*first),
            (None, _) => Err(self.missing(name, &names)),
            (Some(value), _) => {
                let found = choices.iter().find(|(choice, _)| value.as_str() == Some(choice));
                found
                    .map(|(_, meaning)| *meaning)
                    .ok_or_else(|| self.wrong(name, format!("{} is not {names}", shown(&value))))
            }
        }
    }

    /// A text, if it is there.
    pub fn text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, format!("{} is not text in quotes", shown(&other)))),
        }
    }

    /// Bytes as hexadecimal digits, two for each, if they are there.
    pub fn bytes(&mut self, name: &'static str, most: usize) -> Result<Option<Vec<u8>>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        let digit = |d: u8| (d as char).to_digit(16).map(|d| d as u8);
        let bytes: Option<Vec<u8>> = text
            .as_bytes()
            .chunks(2)
            .map(|pair| Some(digit(pair[0])? << 4 | digit(*pair.get(1)?)?))
            .collect();
        let bytes =
            bytes.ok_or_else(|| self.wrong(name, "is not hexadecimal digits, two for each byte".into()))?;
        if bytes.is_empty() || bytes.len() > most {
            let count = bytes.len();
            return Err(self.wrong(name, format!("{count} bytes are not between 1 and {most}")));
        }
        Ok(Some(bytes))
    }

    /// A list of integers, if it is there.
    pub fn numbers(
        &mut self,
        name: &'static str,
        most: usize,
        range: RangeInclusive<u64>,
    ) -> Result<Option<Vec<u64>>, Problem> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let list = self.list(name, value, most)?;
        let mut numbers = Vec::with_capacity(list.len());
        for (index, value) in list.into_iter().enumerate() {
            let mut one = Fields::new(Map::new(), String::new());
            one.left.insert("".into(), value);
            let place = format!("{name}[{index}]");
            let number = one.number("", range.clone());
            numbers.push(number.map_err(|problem| {
                let what = problem.message.trim_start_matches(": ").to_string();
                self.wrong(&place, what)
            })?);
        }
        Ok(Some(numbers))
    }

    /// A list of objects, each to be taken apart in its turn.
    pub fn objects(&mut self, name: &'static str, most: usize) -> Result<Vec<Fields>, Problem> {
        let value = self.take(name).ok_or_else(|| self.missing(name, "a list of objects"))?;
        let list = self.list(name, value, most)?;
        let objects = list.into_iter().enumerate().map(|(index, value)| match value {
            Value::Object(map) => Ok(Fields::new(map, format!("{}{name}[{index}].", self.path))),
            other => {
                Err(self.wrong(&format!("{name}[{index}]"), format!("{} is not an object", shown(&other))))
            }
        });
        objects.collect()
    }

    fn list(&self, name: &str, value: Value, most: usize) -> Result<Vec<Value>, Problem> {
        match value {
            Value::Array(list) if (1..=most).contains(&list.len()) => Ok(list),
            Value::Array(list) => {
                Err(self.wrong(name, format!("{} elements are not between 1 and {most}", list.len())))
            }
            other => Err(self.wrong(name, format!("{} is not a list", shown(&other)))),
        }
    }

    /// Says that a field has a value that does not fit the others.
    pub fn refuse<T>(&self, name: &str, message: impl Into<String>) -> Result<T, Problem> {
        Err(self.wrong(name, message.into()))
    }

    /// Nothing may be left.
    pub fn done(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) if self.known.is_empty() => {
                Err(self
                    .wrong(name, "is not a field of this request, which has none besides op and id".into()))
            }
            Some(name) => {
                Err(self
                    .wrong(name, format!("is not a field of this request; it has {}", self.known.join(", "))))
            }
        }
    }
}

fn wanted(range: &RangeInclusive<u64>) -> String {
    let number = |n: u64| if n < 10_000 { n.to_string() } else { format!("{n:#x}") };
    format!(
        "an integer from {} to {} (as a number, or as text like \"0x1f\")",
        number(*range.start()),
        number(*range.end())
    )
}
