//! Verilog to a loadable model, once: the result is kept under `target/models/`, keyed by everything it was made from.
//!
//! A model is built in a directory of its own and then renamed to its final name, under a lock file, so that runs which
//! need the same model at the same time neither disturb each other nor compile it twice.

use super::error::VerilatedError;
use super::flavour::{Flavour, RUNTIME};
use super::probe;
use super::shim::{self, Layout};
use super::source::{PortShape, Source};
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Where models are kept and how they are made.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    /// Where Verilator's runtime is kept, compiled.
    runtime: PathBuf,
    verilator: String,
    compiler: String,
    progress: bool,
    /// The models are for one run only.
    aside: bool,
}

/// Flags of the C++ compiler for all of a model.
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
            runtime: target.join("models"),
            verilator: tool("VERILATOR", "verilator"),
            compiler: tool("CXX", "g++"),
            progress: true,
            aside: false,
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

    /// A cache with the same tools whose models are kept in `directory`: for models that nobody will ask for again, so that they
    /// can be removed with it. What models share stays where it is.
    #[must_use]
    pub fn aside(mut self, directory: &Path) -> Cache {
        self.directory = directory.to_path_buf();
        self.aside = true;
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
    ) -> Result<PathBuf, VerilatedError> {
        let tools = self.tools()?;
        let key = key(source, layout, flavour, &tools);
        let name = format!("{key}-{}", flavour.name());
        once(&self.directory, &name, |partial| {
            fs::create_dir_all(partial).map_err(denied(partial))?;
            let steps = Steps::new(self.progress, source.name, flavour);
            steps.show("verilator");
            let verilated = self.directory.join(verilated(source, flavour)).join("cc");
            if !self.aside || fs::rename(verilated, partial.join("cc")).is_err() {
                self.verilate(source, flavour, partial)?;
            }
            steps.show("g++");
            self.compile(source, layout, flavour, partial, &tools)
        })?;
        Ok(self.directory.join(name).join("model.so"))
    }

    /// The C++ that Verilator makes of `source`, as a hash: where it is the same, so is what the models do.
    ///
    /// # Errors
    /// As for making the model.
    pub fn fingerprint(&self, source: &Source<'_>, flavour: Flavour) -> Result<String, VerilatedError> {
        // A directory that no other run uses; it is kept where the model is wanted next.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = if self.aside {
            self.directory.join(verilated(source, flavour))
        } else {
            self.directory.join(format!("{}-{}-fingerprint", unique.0, unique.1))
        };
        fs::create_dir_all(&dir).map_err(denied(&dir))?;
        let made = self.verilate(source, flavour, &dir).and_then(|()| {
            let mut parts = Vec::new();
            for name in files(&dir.join("cc"), &[".cpp", ".h"])? {
                parts.push(read(dir.join("cc").join(&name))?);
                parts.push(name);
            }
            Ok(hash(parts.iter().map(String::as_str)))
        });
        if !self.aside || made.is_err() {
            fs::remove_dir_all(&dir).map_err(denied(&dir))?;
        }
        made
    }

    /// What tells one installation from another: commands and versions.
    fn tools(&self) -> Result<[String; 4], VerilatedError> {
        let version = self.version(&self.verilator, "--version")?;
        let compiler = self.version(&self.compiler, "--version")?;
        // A wrapper tells the version of what it wraps, and may compile differently.
        Ok([version, compiler, self.verilator.clone(), self.compiler.clone()])
    }

    fn version(&self, tool: &str, argument: &str) -> Result<String, VerilatedError> {
        let output = Command::new(tool).arg(argument).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            Ok(output) => Err(VerilatedError::Tool {
                tool: tool.into(),
                what: "does not tell its version".into(),
                said: text(&output),
            }),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {
                let is_verilator = tool == self.verilator;
                Err(VerilatedError::Missing {
                    tool: tool.into(),
                    package: if is_verilator { "verilator" } else { "g++" },
                    variable: if is_verilator { "VERILATOR" } else { "CXX" },
                })
            }
            Err(cause) => Err(VerilatedError::Tool {
                tool: tool.into(),
                what: "does not run".into(),
                said: cause.to_string(),
            }),
        }
    }

    fn verilate(&self, source: &Source<'_>, flavour: Flavour, dir: &Path) -> Result<(), VerilatedError> {
        write(dir.join("model.v"), source.verilog)?;
        if flavour.probes() {
            write(dir.join("probe.vlt"), &probe::configuration(source))?;
        }
        let mut verilate = Command::new(&self.verilator);
        verilate
            .args(["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--Mdir", "cc"])
            .args(["--prefix", shim::PREFIX, "--top-module", source.top])
            .args(flavour.verilator())
            .args(flavour.probes().then_some("probe.vlt"))
            .arg("model.v");
        self.run(verilate, &self.verilator, "does not accept the Verilog", dir)
    }

    fn include(&self) -> Result<PathBuf, VerilatedError> {
        let root = Command::new(&self.verilator).args(["--getenv", "VERILATOR_ROOT"]).output();
        let root = root.map(|o| text(&o)).unwrap_or_default();
        let include = PathBuf::from(root.trim()).join("include");
        if include.join("verilated.h").is_file() {
            return Ok(include);
        }
        Err(VerilatedError::Tool {
            tool: self.verilator.clone(),
            what: format!("names no usable VERILATOR_ROOT (no verilated.h in {})", include.display()),
            said: String::new(),
        })
    }

    fn compile(
        &self,
        source: &Source<'_>,
        layout: &Layout,
        flavour: Flavour,
        dir: &Path,
        tools: &[String],
    ) -> Result<(), VerilatedError> {
        let include = self.include()?;
        let header = read(dir.join(format!("cc/{}___024root.h", shim::PREFIX)))?;
        write(
            dir.join("shim.cpp"),
            &shim::source(source, layout, flavour, shim::previous_clock(&header).as_deref(), Some(&header)),
        )?;
        let (mut hot, mut cold) = (String::new(), String::new());
        for name in files(&dir.join("cc"), &[".cpp"])? {
            let once = name.contains("Slow") || name.contains("__Syms") || name.contains("__Trace");
            let unit = if once { &mut cold } else { &mut hot };
            unit.push_str(&format!("#include \"{name}\"\n"));
        }
        hot.push_str("#include \"../shim.cpp\"\n");
        let mut objects = vec!["hot.cpp.o"];
        if flavour.hot() == flavour.cold() {
            // Verilator's headers are long: one unit is compiled sooner than two.
            hot.push_str(&cold);
        } else {
            write(dir.join("cold.cpp"), &cold)?;
            objects.push("cold.cpp.o");
        }
        write(dir.join("hot.cpp"), &hot)?;
        let unit = |unit: &str, flags: &[&str]| {
            let mut command = self.compiler(&include);
            command.args(flags).args(["-I", "cc", "-c", unit, "-o"]).arg(format!("{unit}.o"));
            self.run(command, &self.compiler, "does not compile the model", dir)
        };
        let runtime = std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let runtime = self.runtime(flavour, &include, tools)?;
                if objects.len() > 1 {
                    unit("cold.cpp", flavour.cold())?;
                }
                Ok(runtime)
            });
            let hot = unit("hot.cpp", flavour.hot());
            let runtime = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            hot.and(runtime)
        })?;
        let mut link = Command::new(&self.compiler);
        link.args(["-shared", "-pthread", "-o", "model.so"]).args(&objects).arg(runtime);
        link.args(flavour.libraries());
        self.run(link, &self.compiler, "does not link the model", dir)?;
        for object in objects {
            // Only to save space; a leftover is harmless.
            let _ = fs::remove_file(dir.join(object));
        }
        Ok(())
    }

    fn compiler(&self, include: &Path) -> Command {
        let mut command = Command::new(&self.compiler);
        command.args(COMMON).arg("-I").arg(include).arg("-I").arg(include.join("vltstd"));
        command
    }

    /// Verilator's runtime as an object file, compiled once for all models that need the same parts of it.
    fn runtime(&self, flavour: Flavour, include: &Path, tools: &[String]) -> Result<PathBuf, VerilatedError> {
        let parts: Vec<&str> =
            flavour.runtime().into_iter().filter(|part| include.join(part).is_file()).collect();
        let place = include.display().to_string();
        let described = tools.iter().map(String::as_str).chain(parts.iter().copied());
        let described = described.chain(RUNTIME.iter().chain(COMMON).copied()).chain([place.as_str()]);
        let name = format!("{}-runtime", hash(described));
        once(&self.runtime, &name, |dir| {
            fs::create_dir_all(dir).map_err(denied(dir))?;
            let source: String = parts.iter().map(|part| format!("#include \"{part}\"\n")).collect();
            write(dir.join("runtime.cpp"), &source)?;
            let mut command = self.compiler(include);
            command.args(RUNTIME).args(["-c", "runtime.cpp", "-o", "runtime.o"]);
            self.run(command, &self.compiler, "does not compile Verilator's runtime", dir)
        })?;
        // Linked by name from another directory.
        let object = self.runtime.join(name).join("runtime.o");
        std::path::absolute(&object).map_err(denied(&object))
    }

    fn run(&self, mut command: Command, tool: &str, what: &str, dir: &Path) -> Result<(), VerilatedError> {
        let output = command.current_dir(dir).stdin(Stdio::null()).output();
        let fail = |said| Err(VerilatedError::Tool { tool: tool.into(), what: what.into(), said });
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => fail(text(&output)),
            Err(cause) => fail(cause.to_string()),
        }
    }
}

/// `PASIDON_TARGET`, or `target/` of [`workspace`].
pub fn workspace_target() -> PathBuf {
    let named = std::env::var_os("PASIDON_TARGET").filter(|target| !target.is_empty());
    named.map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// The folder of the nearest `Cargo.lock` at or above the current directory, or the current directory.
pub fn workspace() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    let root = here.ancestors().find(|dir| dir.join("Cargo.lock").is_file()).unwrap_or(&here);
    root.to_path_buf()
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

/// Makes a directory once: in another one first, which is then renamed, under a lock file.
fn once(
    parent: &Path,
    name: &str,
    make: impl FnOnce(&Path) -> Result<(), VerilatedError>,
) -> Result<(), VerilatedError> {
    let home = parent.join(name);
    if home.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(parent).map_err(denied(parent))?;
    let lock_path = parent.join(format!("{name}.lock"));
    let lock = fs::OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    // Held until the file is closed.
    let lock = lock.map_err(denied(&lock_path))?;
    lock.lock().map_err(denied(&lock_path))?;
    if home.is_dir() {
        return Ok(());
    }
    let partial = parent.join(format!("{name}.partial"));
    // Left over by a run that was killed: the lock says that nobody is at work on it.
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(denied(&partial))?;
    }
    make(&partial)?;
    fs::rename(&partial, &home).map_err(denied(&home))
}

fn denied(path: &Path) -> impl FnOnce(std::io::Error) -> VerilatedError + use<> {
    let path = path.to_path_buf();
    move |cause| VerilatedError::Write { path, cause }
}

fn write(path: PathBuf, content: &str) -> Result<(), VerilatedError> {
    fs::write(&path, content).map_err(|cause| VerilatedError::Write { path, cause })
}

fn read(path: PathBuf) -> Result<String, VerilatedError> {
    fs::read_to_string(&path).map_err(|cause| VerilatedError::Write { path, cause })
}

/// Names of the files with these endings, in an order that is the same from build to build: it decides what is inlined where.
fn files(dir: &Path, endings: &[&str]) -> Result<Vec<String>, VerilatedError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(denied(dir))? {
        let name = entry.map_err(denied(dir))?.file_name();
        names.extend(
            name.to_str().filter(|name| endings.iter().any(|end| name.ends_with(end))).map(String::from),
        );
    }
    names.sort();
    Ok(names)
}

fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().iter().take(10).map(|byte| format!("{byte:02x}")).collect()
}

/// Verilog without the remarks that it begins with: they name the design, and change nothing.
fn body(verilog: &str) -> &str {
    let mut rest = verilog;
    while let Some((line, more)) = rest.split_once('\n')
        && (line.trim().is_empty() || line.starts_with("//"))
    {
        rest = more;
    }
    rest
}

/// Where Verilator's work for a fingerprint is kept.
fn verilated(source: &Source<'_>, flavour: Flavour) -> String {
    hash([body(source.verilog), source.top, flavour.name()]) + "-verilated"
}

fn key(source: &Source<'_>, layout: &Layout, flavour: Flavour, tools: &[String]) -> String {
    // The shim itself, so that a change of it makes new models. The clock's name stands for both ways to drive it.
    let shim = shim::source(source, layout, flavour, Some("previous_clock"), None);
    let shape = |PortShape { name, width, output }: &PortShape| format!("{name} {width} {output}");
    let ports: Vec<String> = source.ports.iter().map(shape).collect();
    let configuration = if flavour.probes() { probe::configuration(source) } else { String::new() };
    let mut parts = vec![body(source.verilog), source.top, &shim, &configuration];
    parts.extend(ports.iter().chain(tools).map(String::as_str));
    parts.extend([flavour.hot(), flavour.cold(), COMMON, flavour.verilator(), RUNTIME].concat());
    hash(parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_design_makes_no_other_model() {
        let keys = ["// one\n// two\n\nmodule a;", "// other\n\nmodule a;", "module a;", "module b;"].map(
            |verilog| {
                let source = Source { name: "x", verilog, top: "a", ports: &[] };
                key(&source, &Layout::new(), Flavour::Fast, &[])
            },
        );
        assert!(keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3]);
        assert_eq!(body("//x"), "//x");
    }
}
