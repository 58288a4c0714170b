//! A design as a TOML file, read and written.

use super::Design;
use super::emission::{EMISSION_KEYS, Emission};
use super::error::DesignError;
use super::keys::{KEYS, Key, Legal};
use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};
use std::path::Path;
use toml::{Table, Value};

impl Design {
    /// Names of the designs that come with Pasidon.
    pub const SHIPPED: [&'static str; 4] = ["tiny", "default", "large", "full"];

    /// A design that comes with Pasidon; `None` if there is none of this name.
    pub fn shipped(name: &str) -> Option<Design> {
        let text = Self::shipped_toml(name)?;
        Some(Design::from_toml(text, name).expect("shipped designs are valid: a unit test parses each"))
    }

    /// The TOML text of a design that comes with Pasidon, comments included.
    pub fn shipped_toml(name: &str) -> Option<&'static str> {
        match name {
            "tiny" => Some(include_str!("../../designs/tiny.toml")),
            "default" => Some(include_str!("../../designs/default.toml")),
            "large" => Some(include_str!("../../designs/large.toml")),
            "full" => Some(include_str!("../../designs/full.toml")),
            _ => None,
        }
    }

    /// A shipped design by name, or else the design in a file.
    ///
    /// # Errors
    /// [`DesignError::Unreadable`] when it is neither; the other kinds as [`Design::from_toml`].
    pub fn load(name_or_file: &str) -> Result<Design, DesignError> {
        if let Some(design) = Design::shipped(name_or_file) {
            return Ok(design);
        }
        let text = std::fs::read_to_string(Path::new(name_or_file)).map_err(|error| {
            DesignError::Unreadable { name: name_or_file.to_string(), reason: error.to_string() }
        })?;
        Design::from_toml(&text, name_or_file)
    }

    /// The design that a TOML text describes; `source_name` stands for it in messages.
    ///
    /// # Errors
    /// Text that is not TOML, an unknown key, a missing key, a value out of range, or two values that exclude each other.
    pub fn from_toml(text: &str, source_name: &str) -> Result<Design, DesignError> {
        let file = source_name;
        let table: Table = toml::from_str(text)
            .map_err(|error| DesignError::Syntax { file: file.to_string(), reason: error.to_string() })?;
        refuse_unknown(&table, file)?;

        let mut design = match table.get("base") {
            None => None,
            Some(Value::String(base)) if Design::shipped_toml(base).is_some() => Design::shipped(base),
            Some(other) => {
                return Err(DesignError::value(
                    file,
                    "base",
                    other.to_string(),
                    format!("one of \"{}\"", Design::SHIPPED.join("\", \"")),
                    "name a shipped design, or leave base out and set every key",
                ));
            }
        };
        let complete = design.is_some();
        let design = design.get_or_insert_with(Design::blank);
        match table.get("name") {
            Some(Value::String(name)) if is_name(name) => design.name = name.clone(),
            None => {
                return Err(DesignError::Missing {
                    file: file.to_string(),
                    key: "name".into(),
                    legal: NAME_LEGAL.into(),
                });
            }
            Some(other) => {
                return Err(DesignError::value(
                    file,
                    "name",
                    other.to_string(),
                    NAME_LEGAL.into(),
                    "choose another name",
                ));
            }
        }
        if let Some(Value::Table(section)) = table.get("emit") {
            design.emit.set(section, file)?;
        }
        for key in KEYS {
            match table.get(key.section).and_then(|section| section.get(key.key)) {
                Some(value) => (key.set)(design, number(key, value, file)?),
                None if complete => {}
                None => {
                    return Err(DesignError::Missing {
                        file: file.to_string(),
                        key: key.path(),
                        legal: key.legal.to_string(),
                    });
                }
            }
        }
        if design.l2_sets == 0 {
            // Two files that differ only in the ways of an absent L2 are the same design.
            design.l2_ways = 0;
        }
        design.check(file)?;
        Ok(design.clone())
    }

    /// All values zero: filled by the parser before anyone sees it.
    fn blank() -> Design {
        Design {
            name: String::new(),
            emit: Emission::default(),
            ports: 0,
            id_width: 0,
            l1_entries: 0,
            l2_sets: 0,
            l2_ways: 0,
            miss_entries: 0,
            walkers: 0,
            ddtc_entries: 0,
            pdtc_entries: 0,
            sv48: false,
            sv57: false,
            sv32: false,
            sv39x4: false,
            sv48x4: false,
            sv57x4: false,
            sv32x4: false,
            svpbmt: false,
            svrsw60t59b: false,
            amo_hwad: false,
            big_endian: false,
            pas: 0,
            device_id_width: 0,
            process_id_width: 0,
            pd8: false,
            pd17: false,
            pd20: false,
            msi_flat: false,
            msi_mrif: false,
            nl: false,
            s: false,
            qosid: false,
            hpm_counters: 0,
            hpm_cycles: false,
            debug: false,
            command_log2_max: 0,
            fault_log2_max: 0,
            page_request_log2_max: 0,
            vectors: 0,
            wired: false,
            msi: false,
            ats: false,
            t2gpa: false,
            itags: 0,
            ats_timeout: 0,
        }
    }
}

/// The sections of the design file, as a JSON object.
impl Serialize for Design {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Map::new();
        object.insert("name".into(), Json::from(self.name.clone()));
        object.insert("emit".into(), serde_json::to_value(&self.emit).map_err(S::Error::custom)?);
        for key in KEYS {
            let section = object.entry(key.section).or_insert_with(|| Json::Object(Map::new()));
            let value = match key.legal {
                Legal::Bool => Json::from(key.get(self) != 0),
                _ => Json::from(key.get(self)),
            };
            section.as_object_mut().expect("inserted as an object").insert(key.key.into(), value);
        }
        Json::Object(object).serialize(serializer)
    }
}

const NAME_LEGAL: &str = "a string of 1 to 32 letters, digits, '_' and '-'";

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// The number that `value` gives for `key`.
fn number(key: &Key, value: &Value, file: &str) -> Result<u32, DesignError> {
    let number = match (key.legal, value) {
        (Legal::Bool, Value::Boolean(flag)) => i64::from(*flag),
        (Legal::Range(..) | Legal::PowerOfTwo(..), Value::Integer(number)) => *number,
        _ => {
            let remedy = format!("write it as {}, without quotation marks", key.legal);
            return Err(DesignError::value(
                file,
                &key.path(),
                value.to_string(),
                key.legal.to_string(),
                &remedy,
            ));
        }
    };
    if !key.legal.admits(number) {
        return Err(DesignError::out_of_range(file, key, number));
    }
    Ok(number as u32)
}

/// Refuses keys and sections that do not exist: a misspelt key must not fall back to its base unseen.
fn refuse_unknown(table: &Table, file: &str) -> Result<(), DesignError> {
    for (name, value) in table {
        if name == "name" || name == "base" {
            continue;
        }
        let keys: Vec<&str> =
            sections_and_keys().filter(|(section, _)| section == name).map(|(_, key)| key).collect();
        if keys.is_empty() {
            let mut sections: Vec<&str> = sections_and_keys().map(|(section, _)| section).collect();
            sections.dedup();
            sections.extend(["name", "base"]);
            return Err(unknown(file, name.clone(), value, name, &sections));
        }
        let Value::Table(section) = value else {
            let remedy = format!("write [{name}] on a line of its own and the keys below it");
            return Err(DesignError::value(
                file,
                name,
                value.to_string(),
                format!("a table with {}", keys.join(", ")),
                &remedy,
            ));
        };
        if let Some((key, value)) = section.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            return Err(unknown(file, format!("{name}.{key}"), value, key, &keys));
        }
    }
    Ok(())
}

/// Every key that a design file may set, with its section.
fn sections_and_keys() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|key| (key.section, key.key)).chain(EMISSION_KEYS.iter().map(|key| ("emit", key.key)))
}

fn unknown(file: &str, key: String, value: &Value, word: &str, legal: &[&str]) -> DesignError {
    let elsewhere = sections_and_keys().find(|(_, key)| *key == word);
    let similar = legal.iter().min_by_key(|candidate| distance(word, candidate));
    let remedy = match (elsewhere, similar) {
        (Some((section, _)), _) => format!("'{word}' belongs in section [{section}]"),
        (None, Some(candidate)) if distance(word, candidate) <= 3 => format!("did you mean '{candidate}'?"),
        _ => "remove it".to_string(),
    };
    let value = match value {
        Value::Table(_) => "a table".to_string(),
        other => other.to_string(),
    };
    DesignError::UnknownKey { file: file.into(), key, value, legal: legal.join(", "), remedy }
}

/// Edit distance, to find the key that a misspelt one stands for.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
