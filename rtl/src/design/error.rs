//! Why a design file was refused.

use super::Design;
use super::keys::Key;
use thiserror::Error;

/// Why a design file was refused. Every message says what was found, what would be legal, and what to do.
#[derive(Debug, Error)]
pub enum DesignError {
    /// Neither a shipped design nor a file that can be read.
    #[error(
        "cannot read design '{name}': {reason}; give one of the shipped designs ({}) or the path of a TOML file",
        Design::SHIPPED.join(", ")
    )]
    Unreadable {
        /// What was asked for.
        name: String,
        /// What the operating system said.
        reason: String,
    },
    /// The text is not TOML.
    #[error("{file}: not a TOML file: {reason}")]
    Syntax {
        /// File name.
        file: String,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// A key or section that does not exist.
    #[error("{file}: unknown key '{key}' (set to {value}); legal here: {legal}; {remedy}")]
    UnknownKey {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// The value it was given.
        value: String,
        /// The keys that exist there.
        legal: String,
        /// What to do.
        remedy: String,
    },
    /// A key is not set and there is no base to take it from.
    #[error(
        "{file}: '{key}' is not set; legal: {legal}; set it, or add base = \"default\" as the first line"
    )]
    Missing {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// Legal values.
        legal: String,
    },
    /// A value out of its range, or at odds with another key.
    #[error("{file}: {key} = {value} is not possible; legal: {legal}; {remedy}")]
    Value {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// The value it was given.
        value: String,
        /// Legal values.
        legal: String,
        /// What to do.
        remedy: String,
    },
}

impl DesignError {
    /// A value that is not possible.
    pub(super) fn value(file: &str, key: &str, value: String, legal: String, remedy: &str) -> DesignError {
        DesignError::Value { file: file.into(), key: key.into(), value, legal, remedy: remedy.into() }
    }

    /// A number that a key may not be set to.
    pub(super) fn out_of_range(file: &str, key: &Key, value: i64) -> DesignError {
        let remedy = format!("the nearest legal value is {}", key.legal.nearest(value));
        DesignError::value(file, &key.path(), value.to_string(), key.legal.to_string(), &remedy)
    }
}
