//! The hardware as a value: [`Verilated`] is one instance of a verilated design.
//!
//! [`Verilated::load`] takes generated Verilog, compiles it once ([`Cache`]) and loads it. The bench then writes
//! [`Verilated::input`], calls [`Verilated::tick`] and reads [`Verilated::output`] ([`ports`]).

mod cache;
mod error;
mod flavour;
pub mod ports;
pub mod probe;
mod shim;
mod source;

pub use cache::{Cache, workspace, workspace_target};
pub use error::VerilatedError;
pub use flavour::Flavour;
pub use ports::{In, Out};
pub use probe::Probe;
pub use source::{PortShape, Source, shapes};

use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;

type Tick = unsafe extern "C" fn(*mut c_void, *const In, *mut Out);
type Free = unsafe extern "C" fn(*mut c_void);
type OnFile = unsafe extern "C" fn(*mut c_void, *const c_char);
type Read = unsafe extern "C" fn(*mut c_void, *mut Probe);
type Failure = unsafe extern "C" fn() -> *const c_char;

/// One instance of a verilated design. Each has state of its own.
pub struct Verilated {
    /// Inputs for the next clock edge.
    pub input: In,
    /// Outputs since the last clock edge.
    pub output: Out,
    cycles: u64,
    state: *mut c_void,
    tick: Tick,
    free: Free,
    failure: Failure,
    trace: Option<OnFile>,
    coverage: Option<OnFile>,
    probe: Option<Read>,
    // Declared last: the code outlives everything that points into it.
    _library: Library,
}

// SAFETY: the state behind the pointer belongs to this Verilated alone, and Verilator's single-threaded models hold no
// thread-local references to it, so that it may move to another thread.
unsafe impl Send for Verilated {}

impl Verilated {
    /// Makes (or finds) and loads the model of a generated design. The model is not reset yet.
    ///
    /// # Errors
    /// [`VerilatedError`]: tools missing or failing, the cache not writable.
    pub fn load(
        generated: &pasidon_rtl::Generated,
        name: &str,
        cache: &Cache,
        flavour: Flavour,
    ) -> Result<Verilated, VerilatedError> {
        let ports = shapes(generated);
        let checked = flavour.checks().then(|| format!("{}\n{}", generated.verilog, generated.never));
        let verilog = checked.as_deref().unwrap_or(&generated.verilog);
        Verilated::from_source(&Source { name, verilog, top: &generated.top, ports: &ports }, cache, flavour)
    }

    /// The same for any Verilog whose ports are a subset of those of a design.
    ///
    /// # Errors
    /// [`VerilatedError`]
    pub fn from_source(
        source: &Source<'_>,
        cache: &Cache,
        flavour: Flavour,
    ) -> Result<Verilated, VerilatedError> {
        let layout = shim::layout(source.ports)?;
        let path = cache.shared_object(source, &layout, flavour)?;
        let wrong = |what: String| VerilatedError::Load { path: path.clone(), what };
        // SAFETY: the object was compiled from the shim; its initialisers are those of Verilator's runtime.
        let library = unsafe { Library::new(&path) }.map_err(|e| wrong(e.to_string()))?;
        let missing = |e: libloading::Error| wrong(e.to_string());
        // SAFETY: the shim exports an array of u64 under this name; its first five words are always there.
        let told = unsafe { *library.get::<*const u64>(b"pasidon_layout\0").map_err(missing)? };
        let mut expected =
            vec![shim::ABI, ports::IN_WORDS as u64, ports::OUT_WORDS as u64, layout.len() as u64];
        expected.extend(layout.iter().map(|(_, word, _)| *word as u64));
        // Word by word, stopping at the first difference: the fourth word bounds the length of what follows.
        // SAFETY: as above; a matching prefix of four words implies that the rest of the array is there.
        let same = expected.iter().enumerate().all(|(i, want)| unsafe { *told.add(i) } == *want);
        if !same {
            return Err(wrong("its ports are laid out differently from what this program expects".into()));
        }
        let mut output = Out::default();
        // SAFETY: the types are those that the shim declares; flavours without them do not export the last three.
        let (state, tick, free, failure, trace, coverage, probe) = unsafe {
            let new = library
                .get::<unsafe extern "C" fn(*mut Out) -> *mut c_void>(b"pasidon_new\0")
                .map_err(missing)?;
            let tick = *library.get::<Tick>(b"pasidon_tick\0").map_err(missing)?;
            let free = *library.get::<Free>(b"pasidon_free\0").map_err(missing)?;
            let failure = *library.get::<Failure>(b"pasidon_failure\0").map_err(missing)?;
            let trace = library.get::<OnFile>(b"pasidon_trace\0").ok().map(|f| *f);
            let coverage = library.get::<OnFile>(b"pasidon_coverage\0").ok().map(|f| *f);
            let probe = library.get::<Read>(b"pasidon_probe\0").ok().map(|f| *f);
            (new(&mut output), tick, free, failure, trace, coverage, probe)
        };
        let input = In::default();
        Ok(Verilated {
            input,
            output,
            cycles: 0,
            state,
            tick,
            free,
            failure,
            trace,
            coverage,
            probe,
            _library: library,
        })
    }

    /// One clock cycle: the model sees `input` at the edge, then `output` holds its outputs of the new cycle.
    #[inline]
    pub fn tick(&mut self) {
        // SAFETY: `state` was made by the same object; In and Out have the sizes that it checked at load.
        unsafe { (self.tick)(self.state, &self.input, &mut self.output) };
        self.cycles += 1;
    }

    /// Reads what goes on inside in this cycle; nothing if the flavour has no [probes](Flavour::probes).
    #[inline]
    pub fn probe(&self, probe: &mut Probe) {
        if let Some(read) = self.probe {
            // SAFETY: `state` was made by the same object, whose shim has the same `Probe`: the cache's key covers it.
            unsafe { read(self.state, probe) };
        }
    }

    /// Holds both resets for `cycles` cycles with all other inputs as they are, then releases them: memory forgets what it was asked.
    pub fn reset(&mut self, cycles: u32) {
        self.input.mem_rst = 1;
        self.reset_core(cycles);
        self.input.mem_rst = 0;
    }

    /// Holds the reset of the core alone for `cycles` cycles: memory still answers what it was asked.
    pub fn reset_core(&mut self, cycles: u32) {
        self.input.rst = 1;
        (0..cycles).for_each(|_| self.tick());
        self.input.rst = 0;
    }

    /// Clock cycles since the model was made.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Whether all is well inside the model.
    ///
    /// # Errors
    /// [`VerilatedError::Hardware`] after an assertion failed (checked flavour), or when logic did not settle.
    pub fn check(&self) -> Result<(), VerilatedError> {
        // SAFETY: returns null or a string that lives until the next call into the model.
        let what = unsafe {
            let message = (self.failure)();
            if message.is_null() {
                return Ok(());
            }
            CStr::from_ptr(message).to_string_lossy().into_owned()
        };
        Err(VerilatedError::Hardware { cycle: self.cycles, what })
    }

    /// Writes waveforms to `file` (`.fst`) from now on; false if the flavour has none ([`Flavour::traces`]).
    pub fn trace_to(&mut self, file: &Path) -> bool {
        self.on_file(self.trace, file)
    }

    /// Completes the waveform file and writes no more to it, until [`Verilated::trace_to`] starts another.
    pub fn stop_trace(&mut self) {
        if let Some(trace) = self.trace {
            // SAFETY: `state` was made by the same object; a null pointer instead of a name ends the file.
            unsafe { trace(self.state, std::ptr::null()) };
        }
    }

    /// Writes the coverage gathered so far to `file`; false if the flavour counts none ([`Flavour::covers`]).
    pub fn write_coverage(&mut self, file: &Path) -> bool {
        self.on_file(self.coverage, file)
    }

    fn on_file(&mut self, function: Option<OnFile>, file: &Path) -> bool {
        let name = CString::new(file.as_os_str().as_encoded_bytes());
        let (Some(function), Ok(name)) = (function, name) else { return false };
        // SAFETY: `state` was made by the same object, and the name lives through the call.
        unsafe { function(self.state, name.as_ptr()) };
        true
    }
}

impl Drop for Verilated {
    fn drop(&mut self) {
        // SAFETY: made by `pasidon_new` of the same object, freed once.
        unsafe { (self.free)(self.state) };
    }
}

#[cfg(test)]
mod tests;
