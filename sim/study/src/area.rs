//! What a design takes on an FPGA: tables kept in files, filled by synthesis, looked up by the design's hash.
//!
//! Synthesis takes minutes, so that it is never done on the side: a design that is in no table has no area, and the report says which
//! command adds it. Nor has one whose Verilog has changed since.

use pasidon_rtl::design::Design;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Cells of a design.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Area {
    /// LUT4: a carry cell counts as two, the RAM of a slice pair as four.
    pub lut4: u64,
    /// Flip-flops.
    pub ff: u64,
    /// Block RAMs.
    pub bram: u64,
    /// Hash of the Verilog that was synthesised.
    pub verilog: String,
}

/// Areas by the hash of the design.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Areas(pub BTreeMap<String, Vec<Area>>);

impl Areas {
    /// From files, each a table of one area for a design. A file that is not there is an empty table.
    ///
    /// # Errors
    /// A file that can't be read or is not such a table, as a sentence.
    pub fn load<'a>(files: impl IntoIterator<Item = &'a Path>) -> Result<Areas, String> {
        let mut areas = Areas::default();
        for file in files {
            let text = match std::fs::read(file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(format!("{}: {error}", file.display())),
            };
            let table: BTreeMap<String, Area> = serde_json::from_slice(&text).map_err(|error| {
                format!("{}: {error}; remove the file, and `make areas` fills it again", file.display())
            })?;
            for (hash, area) in table {
                areas.0.entry(hash).or_default().push(area);
            }
        }
        Ok(areas)
    }

    /// The area of a design, if its Verilog of today has been synthesised.
    pub fn of(&self, design: &Design) -> Option<&Area> {
        let known = self.0.get(&design.nameless_hash())?;
        let verilog = pasidon_rtl::generate(design).ok()?.verilog_hash;
        known.iter().find(|area| area.verilog == verilog)
    }
}
