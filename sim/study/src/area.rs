//! What a design takes on an FPGA: a table kept in a file, filled by synthesis, looked up by the design's hash.
//!
//! Synthesis takes minutes, so that it is never done on the side: a design that is not in the table has no area, and the report
//! says which command adds it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Cells of a design.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// LUT4: a carry cell counts as two, the RAM of a slice pair as four.
    pub lut4: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Block RAMs.
    pub bram: u64,
}

/// Areas by the hash of the design.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Areas(pub BTreeMap<String, Area>);

impl Areas {
    /// From a file; empty if there is none.
    ///
    /// # Errors
    /// A file that can't be read or is not such a table, as a sentence.
    pub fn load(path: &Path) -> Result<Areas, String> {
        match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                format!("{}: {error}; remove the file, and synthesis fills it again", path.display())
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Areas::default()),
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }
}
