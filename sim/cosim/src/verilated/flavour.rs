//! How a model is compiled: what it can do, and what that costs.

use serde::{Deserialize, Serialize};

/// How a model is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// For speed: no assertions, no traces.
    #[default]
    Fast,
    /// For finding mistakes: assertions, line coverage, waveforms (`.fst`), and a check in each cycle that outputs do not depend
    /// on inputs of the same cycle. Four to fourteen times slower.
    Checked,
    /// For waveforms (`.fst`), which start and stop at run time. Compiled for a short run, not for speed.
    Waveform,
    /// For coverage: every line and every change of every bit is counted. Takes a minute and more to compile.
    Coverage,
    /// For short runs: compiled in a few seconds, ten times slower than the fast flavour. Registers and memories hold arbitrary
    /// values before reset, so that what reset does not set, and should, is noticed.
    Quick,
}

/// Flags of the C++ compiler for the code that runs every cycle. The model is one translation unit of internal
/// functions, which is what lets the compiler inline across Verilator's many small ones.
const HOT: &[&str] = &["-O3", "-fno-semantic-interposition", "-fno-strict-aliasing", "-fno-plt"];
/// The same where the speed is not the point.
const WARM: &[&str] = &["-O1"];
/// Flags for Verilator's runtime, which is compiled once for all models that need the same parts of it.
pub(super) const RUNTIME: &[&str] = WARM;
/// For code that runs once, or that is long and seldom runs.
const COLD: &[&str] = &["-O0"];

/// Arguments that leave out assertions and all that is only there for unknown values.
macro_rules! lean {
    ($($more:literal),*) => { &["--x-assign", "fast", "--x-initial", "fast", "--noassert" $(, $more)*] };
}
/// The same with arbitrary initial values.
const SCRAMBLED: &[&str] = &["--x-assign", "fast", "--x-initial", "unique", "--noassert"];

impl Flavour {
    /// All of them.
    pub const ALL: [Flavour; 5] =
        [Flavour::Fast, Flavour::Checked, Flavour::Waveform, Flavour::Coverage, Flavour::Quick];

    /// Part of file names in the cache.
    pub fn name(self) -> &'static str {
        match self {
            Flavour::Fast => "fast",
            Flavour::Checked => "checked",
            Flavour::Waveform => "waveform",
            Flavour::Coverage => "coverage",
            Flavour::Quick => "quick",
        }
    }

    /// Whether outputs are checked not to depend on inputs of the same cycle, and what the blocks say never happens is asserted.
    pub(super) fn checks(self) -> bool {
        self == Flavour::Checked
    }

    /// Whether the model can write waveforms.
    pub fn traces(self) -> bool {
        matches!(self, Flavour::Checked | Flavour::Waveform)
    }

    /// Whether the model counts what it has run through.
    pub fn covers(self) -> bool {
        matches!(self, Flavour::Checked | Flavour::Coverage)
    }

    /// Whether what goes on inside can be read in each cycle.
    pub fn probes(self) -> bool {
        matches!(self, Flavour::Fast | Flavour::Checked)
    }

    /// Whether registers and memories hold arbitrary values before reset; always the same ones.
    pub(super) fn scrambles(self) -> bool {
        self == Flavour::Quick
    }

    /// Verilator's arguments.
    pub(super) fn verilator(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast => lean!(),
            Flavour::Quick => SCRAMBLED,
            // Not toggle coverage: its code for every bit of every signal is ten times the model.
            Flavour::Checked => &["--assert", "--coverage-line", "--coverage-user", "--trace-fst"],
            Flavour::Waveform => lean!("--trace-fst"),
            Flavour::Coverage => lean!("--coverage-line", "--coverage-toggle"),
        }
    }

    /// Flags of the C++ compiler for the code that runs every cycle.
    pub(super) fn hot(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast => HOT,
            Flavour::Checked | Flavour::Waveform | Flavour::Coverage => WARM,
            Flavour::Quick => COLD,
        }
    }

    /// The same for constructors, initialisation and waveforms.
    pub(super) fn cold(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast | Flavour::Checked => WARM,
            Flavour::Waveform | Flavour::Coverage | Flavour::Quick => COLD,
        }
    }

    /// Parts of Verilator's runtime that the model needs, in an order in which they form one translation unit. Those
    /// that the installed version does not have are left out.
    pub(super) fn runtime(self) -> Vec<&'static str> {
        let mut parts = vec!["verilated.cpp", "verilated_threads.cpp"];
        if self.traces() {
            parts.insert(0, "verilated_fst_c.cpp");
        }
        if self.covers() {
            parts.push("verilated_cov.cpp");
        }
        parts
    }

    /// Libraries to link.
    pub(super) fn libraries(self) -> &'static [&'static str] {
        if self.traces() { &["-lz"] } else { &[] }
    }
}
