//! Section `[emit]`: how the Verilog of a design is written. None of it changes what the hardware does.

use super::error::DesignError;
use pasidon_hdl::RamStyle;
use serde::Serialize;
use toml::{Table, Value};

/// How the Verilog is written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Emission {
    /// What the name of each module begins with: designs with different prefixes live in one chip.
    pub prefix: String,
    /// How memories are written.
    pub ram_style: RamStyle,
}

/// A key of the section.
#[derive(Clone, Copy, Debug)]
pub struct EmissionKey {
    /// Its name.
    pub key: &'static str,
    /// What it may be set to.
    pub legal: &'static str,
}

/// Every key of the section.
pub const EMISSION_KEYS: [EmissionKey; 2] = [
    EmissionKey { key: "prefix", legal: PREFIX_LEGAL },
    EmissionKey { key: "ram_style", legal: RAM_STYLE_LEGAL },
];

const PREFIX_LEGAL: &str = "1 to 32 letters, digits and single '_', a letter first";

const RAM_STYLE_LEGAL: &str = "\"auto\", \"attributes\" or \"modules\"";

impl Default for Emission {
    fn default() -> Emission {
        Emission { prefix: "pasidon_".into(), ram_style: RamStyle::Auto }
    }
}

impl Emission {
    /// Takes over what the section sets.
    pub(super) fn set(&mut self, section: &Table, file: &str) -> Result<(), DesignError> {
        match section.get("prefix") {
            None => {}
            Some(Value::String(prefix)) => self.prefix.clone_from(prefix),
            Some(other) => {
                let remedy = "write it in quotation marks";
                return Err(DesignError::value(
                    file,
                    "emit.prefix",
                    other.to_string(),
                    PREFIX_LEGAL.into(),
                    remedy,
                ));
            }
        }
        if let Some(style) = section.get("ram_style") {
            self.ram_style = match style.as_str() {
                Some("auto") => RamStyle::Auto,
                Some("attributes") => RamStyle::Attributes,
                Some("modules") => RamStyle::Modules,
                _ => {
                    let remedy = "leave it out where the tool may choose what a memory becomes";
                    return Err(DesignError::value(
                        file,
                        "emit.ram_style",
                        style.to_string(),
                        RAM_STYLE_LEGAL.into(),
                        remedy,
                    ));
                }
            };
        }
        Ok(())
    }

    /// Checks every value.
    pub(super) fn check(&self, file: &str) -> Result<(), DesignError> {
        if is_prefix(&self.prefix) {
            return Ok(());
        }
        let remedy = "names of modules begin with it, in Verilog and in VHDL: write one like \"north_\"";
        let value = format!("\"{}\"", self.prefix);
        Err(DesignError::value(file, "emit.prefix", value, PREFIX_LEGAL.into(), remedy))
    }

    /// All of it, for the hash of a design.
    pub(super) fn text(&self) -> String {
        format!("emit.prefix={}\nemit.ram_style={:?}\n", self.prefix, self.ram_style)
    }
}

fn is_prefix(prefix: &str) -> bool {
    (1..=32).contains(&prefix.len())
        && prefix.starts_with(|c: char| c.is_ascii_alphabetic())
        && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !prefix.contains("__")
}
