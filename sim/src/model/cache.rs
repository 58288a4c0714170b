//! Verilog to a loadable model, once: the result is kept under `target/models/`, keyed by everything it was made from.
//!
//! A model is built in a directory of its own and then renamed to its final name, under a lock file, so that runs which
//! need the same model at the same time neither disturb each other nor compile it twice.

use super::shim::{self, Layout};
use super::{ModelError, PortShape, Source};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How a model is compiled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flavour {
    /// For speed: no assertions, no traces.
    #[default]
    Fast,
    /// For finding mistakes: assertions, coverage, waveforms (`.fst`), and a check in each cycle that outputs do not depend on
    /// inputs of the same cycle. Four to fourteen times slower.
    Checked,
}

impl Flavour {
    fn name(self) -> &'static str {
        match self {
            Flavour::Fast => "fast",
            Flavour::Checked => "checked",
        }
    }

    fn verilator(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast => &["--x-assign", "fast", "--x-initial", "fast", "--noassert"],
            // Not toggle coverage: its code for every bit of every signal is ten times the model, and takes minutes to compile.
            Flavour::Checked => &["--assert", "--coverage-line", "--coverage-user", "--trace-fst"],
        }
    }

    /// Flags of the C++ compiler for the code that runs every cycle.
    fn compiler(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast => HOT,
            Flavour::Checked => COLD,
        }
    }

    /// Parts of Verilator's runtime that the model needs, in an order in which they form one translation unit. Those
    /// that the installed version does not have are left out.
    fn runtime(self) -> &'static [&'static str] {
        match self {
            Flavour::Fast => &["verilated.cpp", "verilated_threads.cpp"],
            Flavour::Checked => {
                &["verilated_fst_c.cpp", "verilated.cpp", "verilated_threads.cpp", "verilated_cov.cpp"]
            }
        }
    }
}

/// Where models are kept and how they are made.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    verilator: String,
    compiler: String,
    progress: bool,
}

/// Flags of the C++ compiler for the code that runs every cycle. The model is one translation unit of internal
/// functions, which is what lets the compiler inline across Verilator's many small ones.
const HOT: &[&str] = &["-O3", "-fno-semantic-interposition", "-fno-strict-aliasing", "-fno-plt"];
/// The same for constructors and initialisation, which run once, and for models whose speed is not the point.
const COLD: &[&str] = &["-O1"];
const COMMON: &[&str] = &[
    "-std=gnu++17",
    "-fPIC",
    "-fvisibility=hidden",
    "-w",
    "-pthread",
    "-DVL_USER_STOP",
    "-DVL_USER_FATAL",
    "-DVL_USER_FINISH",
    "-DVL_TIME_CONTEXT",
];

impl Cache {
    /// The cache in `target` (a build directory such as `target/`), with the tools that the environment names:
    /// `VERILATOR` (default `verilator`) and `CXX` (default `g++`).
    pub fn new(target: &Path) -> Cache {
        let tool = |name: &str, default: &str| match std::env::var(name) {
            Ok(value) if !value.is_empty() => value,
            _ => default.to_string(),
        };
        Cache {
            directory: target.join("models"),
            verilator: tool("VERILATOR", "verilator"),
            compiler: tool("CXX", "g++"),
            progress: true,
        }
    }

    /// The cache of the workspace that the current directory is in: `PASIDON_TARGET`, or `target/` beside the nearest
    /// `Cargo.lock` above, or `target/` here.
    pub fn in_workspace() -> Cache {
        Cache::new(&workspace_target())
    }

    /// The same cache without a progress spinner on standard error.
    #[must_use]
    pub fn quiet(mut self) -> Cache {
        self.progress = false;
        self
    }

    /// Replaces the Verilator command.
    #[must_use]
    pub fn with_verilator(mut self, command: &str) -> Cache {
        self.verilator = command.to_string();
        self
    }

    /// The shared object for `source`, made now if it is not there yet.
    ///
    /// # Errors
    /// A tool that is missing or fails (with what it said), or a directory that cannot be written.
    pub(super) fn shared_object(
        &self,
        source: &Source<'_>,
        layout: &Layout,
        flavour: Flavour,
    ) -> Result<PathBuf, ModelError> {
        let version = self.version(&self.verilator, "--version")?;
        let compiler = self.version(&self.compiler, "--version")?;
        let key = key(source, layout, flavour, &[&version, &compiler]);
        let home = self.directory.join(format!("{key}-{}", flavour.name()));
        let object = home.join("model.so");
        if object.is_file() {
            return Ok(object);
        }
        let denied = |path: &Path| {
            let path = path.to_path_buf();
            move |cause| ModelError::Write { path, cause }
        };
        fs::create_dir_all(&self.directory).map_err(denied(&self.directory))?;
        let lock_path = self.directory.join(format!("{key}-{}.lock", flavour.name()));
        let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let mut lock = fd_lock::RwLock::new(lock.map_err(denied(&lock_path))?);
        let _guard = lock.write().map_err(denied(&lock_path))?;
        if object.is_file() {
            return Ok(object);
        }
        let partial = self.directory.join(format!("{key}-{}.partial", flavour.name()));
        // Left over by a run that was killed: the lock says that nobody is at work on it.
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(denied(&partial))?;
        }
        fs::create_dir_all(&partial).map_err(denied(&partial))?;
        self.build(source, layout, flavour, &partial)?;
        fs::rename(&partial, &home).map_err(denied(&home))?;
        Ok(object)
    }

    fn version(&self, tool: &str, argument: &str) -> Result<String, ModelError> {
        let output = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => Err(ModelError::Tool {
                tool: tool.into(),
                what: "does not tell its version".into(),
                said: text(&output),
            }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let is_verilator = tool == self.verilator;
                Err(ModelError::Missing {
                    tool: tool.into(),
                    package: if is_verilator { "verilator" } else { "g++" },
                    variable: if is_verilator { "VERILATOR" } else { "CXX" },
                })
            }
            Err(cause) => Err(ModelError::Tool {
                tool: tool.into(),
                what: "does not run".into(),
                said: cause.to_string(),
            }),
        }
    }

    fn build(
        &self,
        source: &Source<'_>,
        layout: &Layout,
        flavour: Flavour,
        dir: &Path,
    ) -> Result<(), ModelError> {
        let write = |name: &str, content: &str| {
            let path = dir.join(name);
            fs::write(&path, content).map_err(|cause| ModelError::Write { path, cause })
        };
        let steps = Steps::new(self.progress, source.name, flavour);
        write("model.v", source.verilog)?;
        steps.show("verilator");
        let mut verilate = Command::new(&self.verilator);
        verilate
            .args(["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--Mdir", "cc"])
            .args(["--prefix", shim::PREFIX, "--top-module", source.top])
            .args(flavour.verilator())
            .arg("model.v");
        self.run(verilate, &self.verilator, "does not accept the Verilog", dir)?;

        let root = Command::new(&self.verilator).args(["--getenv", "VERILATOR_ROOT"]).output();
        let root = root.map(|o| text(&o)).unwrap_or_default();
        let include = PathBuf::from(root.trim()).join("include");
        if !include.join("verilated.h").is_file() {
            return Err(ModelError::Tool {
                tool: self.verilator.clone(),
                what: format!("names no usable VERILATOR_ROOT (no verilated.h in {})", include.display()),
                said: String::new(),
            });
        }
        let read =
            |path: PathBuf| fs::read_to_string(&path).map_err(|cause| ModelError::Write { path, cause });
        let header = read(dir.join(format!("cc/{}___024root.h", shim::PREFIX)))?;
        write("shim.cpp", &shim::source(layout, flavour, shim::previous_clock(&header).as_deref()))?;

        let mut hot = String::new();
        let mut cold = String::new();
        let mut generated = Vec::new();
        for entry in
            fs::read_dir(dir.join("cc")).map_err(|cause| ModelError::Write { path: dir.into(), cause })?
        {
            let name = entry.map_err(|cause| ModelError::Write { path: dir.into(), cause })?.file_name();
            generated.extend(name.to_str().filter(|n| n.ends_with(".cpp")).map(String::from));
        }
        // The order decides what is inlined where: keep it the same from build to build.
        generated.sort();
        for name in generated {
            let once = name.contains("Slow") || name.contains("__Syms") || name.contains("__Trace");
            let unit = if once { &mut cold } else { &mut hot };
            unit.push_str(&format!("#include \"{name}\"\n"));
        }
        hot.push_str("#include \"../shim.cpp\"\n");
        let mut runtime = String::new();
        for part in flavour.runtime() {
            if include.join(part).is_file() {
                runtime.push_str(&format!("#include \"{part}\"\n"));
            }
        }
        write("hot.cpp", &hot)?;
        write("cold.cpp", &cold)?;
        write("runtime.cpp", &runtime)?;
        steps.show("g++");
        let compile = |unit: &str, flags: &[&str]| {
            let mut command = Command::new(&self.compiler);
            command.args(COMMON).args(flags).arg("-I").arg("cc").arg("-I").arg(&include);
            command.arg("-I").arg(include.join("vltstd")).args(["-c", unit, "-o"]).arg(format!("{unit}.o"));
            self.run(command, &self.compiler, "does not compile the model", dir)
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| compile("runtime.cpp", COLD).and_then(|()| compile("cold.cpp", COLD)));
            let result = compile("hot.cpp", flavour.compiler());
            result.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        let mut link = Command::new(&self.compiler);
        link.args(["-shared", "-pthread", "-o", "model.so", "hot.cpp.o", "cold.cpp.o", "runtime.cpp.o"]);
        if flavour == Flavour::Checked {
            link.arg("-lz");
        }
        self.run(link, &self.compiler, "does not link the model", dir)?;
        for object in ["hot.cpp.o", "cold.cpp.o", "runtime.cpp.o"] {
            // Only to save space; a leftover is harmless.
            let _ = fs::remove_file(dir.join(object));
        }
        Ok(())
    }

    fn run(&self, mut command: Command, tool: &str, what: &str, dir: &Path) -> Result<(), ModelError> {
        let output = command.current_dir(dir).stdin(Stdio::null()).output();
        let fail = |said| Err(ModelError::Tool { tool: tool.into(), what: what.into(), said });
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => fail(text(&output)),
            Err(cause) => fail(cause.to_string()),
        }
    }
}

/// `PASIDON_TARGET`, or `target/` beside the nearest `Cargo.lock` above the current directory, or `target/` here.
pub fn workspace_target() -> PathBuf {
    if let Some(target) = std::env::var_os("PASIDON_TARGET").filter(|t| !t.is_empty()) {
        return PathBuf::from(target);
    }
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let root = here.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).unwrap_or(&here);
    root.join("target")
}

/// What a tool printed, without the middle where it is very long.
fn text(output: &std::process::Output) -> String {
    const SHOWN: usize = 6000;
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    if let Some((end, _)) = said.char_indices().nth(SHOWN) {
        said.truncate(end);
        said.push_str("\n...");
    }
    said
}

fn key(source: &Source<'_>, layout: &Layout, flavour: Flavour, tools: &[&str]) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &str| {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(source.verilog);
    add(source.top);
    // The shim itself, so that a change of it makes new models. The clock's name stands for both ways to drive it.
    add(&shim::source(layout, flavour, Some("previous_clock")));
    for PortShape { name, width, output } in source.ports {
        add(&format!("{name} {width} {output}"));
    }
    for part in [flavour.compiler(), COLD, COMMON, flavour.verilator()].concat() {
        add(part);
    }
    tools.iter().for_each(|tool| add(tool));
    hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

/// A spinner that appears when a build has taken a second.
struct Steps {
    bar: ProgressBar,
    begun: Instant,
    title: String,
}

impl Steps {
    fn new(progress: bool, name: &str, flavour: Flavour) -> Steps {
        let bar = if progress { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        let title = format!("compiling the model of {name} ({}; kept for later runs)", flavour.name());
        Steps { bar, begun: Instant::now(), title }
    }

    fn show(&self, step: &str) {
        self.bar.set_message(format!("{}: {step}", self.title));
        self.bar.enable_steady_tick(Duration::from_millis(if self.begun.elapsed().as_secs() < 1 {
            1000
        } else {
            200
        }));
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
