//! Faults of which a reader has shown that they change nothing that can be seen.
//!
//! A claim names a fault of a design by its id and by the lines before and after it, so that it lapses when the hardware changes. A claimed
//! fault is tried like all others; if lockstep notices it, the claim is wrong, and the run fails. What survives although it changes
//! something is explained in the same way, and remains a survivor.

use serde::Deserialize;
use std::path::Path;

/// A fault, and why nothing can notice it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// Name of the design.
    pub design: String,
    /// `MODULE.NUMBER`
    pub id: String,
    /// The lines that it changes.
    pub before: String,
    /// What becomes of them.
    pub after: String,
    /// The argument.
    pub why: String,
}

/// Claims, as a TOML file of `[[claim]]` and `[[survivor]]` tables has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    #[serde(default)]
    claim: Vec<Claim>,
    #[serde(default)]
    survivor: Vec<Claim>,
}

/// Why a file of claims cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    /// It cannot be read.
    #[error("{path}: {cause}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// It holds something else.
    #[error("{path}: {cause}")]
    Syntax {
        /// The file.
        path: String,
        /// What the parser said, with line and column.
        cause: Box<toml::de::Error>,
    },
}

impl Claims {
    /// These.
    pub fn of(claim: Vec<Claim>) -> Claims {
        Claims { claim, survivor: Vec::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ClaimsError`]
    pub fn read(path: &Path) -> Result<Claims, ClaimsError> {
        let name = path.display().to_string();
        let text =
            std::fs::read_to_string(path).map_err(|cause| ClaimsError::Read { path: name.clone(), cause })?;
        toml::from_str(&text).map_err(|cause| ClaimsError::Syntax { path: name, cause: Box::new(cause) })
    }

    /// The argument for this very fault, if there is one.
    pub fn why(&self, design: &str, id: &str, before: &str, after: &str) -> Option<String> {
        argument(&self.claim, [design, id, before, after])
    }

    /// Why this very fault survives, if it is no claim and somebody has said so.
    pub fn explanation(&self, design: &str, id: &str, before: &str, after: &str) -> Option<String> {
        argument(&self.survivor, [design, id, before, after])
    }
}

fn argument(list: &[Claim], fault: [&str; 4]) -> Option<String> {
    let fits =
        |c: &&Claim| [&c.design, &c.id, &c.before, &c.after].map(|text| text.trim()) == fault.map(str::trim);
    list.iter().find(fits).map(|claim| claim.why.trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_holds_for_one_fault_as_it_stands() {
        let text = "[[claim]]\ndesign = 'tiny'\nid = 'walker.3'\nbefore = \"\"\"\na <= 1;\n\"\"\"\nafter = 'a <= 0;'\nwhy = 'unread'\n";
        let claims: Claims = toml::from_str(text).unwrap();
        assert_eq!(claims.why("tiny", "walker.3", "a <= 1;", "a <= 0;").as_deref(), Some("unread"));
        assert_eq!(claims.why("tiny", "walker.3", "a <= 2;", "a <= 0;"), None);
        assert_eq!(claims.explanation("tiny", "walker.3", "a <= 1;", "a <= 0;"), None);
        assert_eq!(claims.why("full", "walker.3", "a <= 1;", "a <= 0;"), None);
        let file = std::env::temp_dir().join(format!("pasidon-claims-{}.toml", std::process::id()));
        std::fs::write(&file, "[[claim]]\nid = 7\n").unwrap();
        let error = Claims::read(&file).unwrap_err().to_string();
        std::fs::remove_file(&file).unwrap();
        assert!(error.contains("pasidon-claims") && error.contains("line 2"), "{error}");
    }
}
