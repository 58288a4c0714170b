//! A sweep as an array of Slurm jobs: each task answers a share of the points, and a job that depends on the array merges.
//!
//! Tasks share the folder of results and nothing else. What is done is seen in that folder: submitted again, only tasks with
//! missing points are. A task whose points fail ends with a code other than 0, and so does the merge.

use super::SweepError;
use super::file::Sweep;
use super::points::Point;
use super::run::share;
use super::store::read_folder;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How to submit.
#[derive(Clone, Debug)]
pub struct SlurmOptions {
    /// The `pasidon` program, as the nodes see it.
    pub program: PathBuf,
    /// Tasks of the array.
    pub tasks: usize,
    /// Tasks at a time; `None` leaves it to Slurm.
    pub at_once: Option<usize>,
    /// Cores of a task, and points that it answers at a time.
    pub cores: usize,
    /// Further options of `sbatch`, for both jobs: `--partition=long`, `--time=1:00:00`.
    pub sbatch: Vec<String>,
    /// Return when the merge has ended, with its code.
    pub wait: bool,
}

/// What was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Tasks of the array that have something to do, counted from 1.
    pub tasks: Vec<usize>,
    /// Points that are missing.
    pub missing: usize,
    /// Number of the array job; `None` if nothing was missing, or nothing was to be submitted.
    pub array: Option<String>,
    /// Number of the merge job.
    pub merge: Option<String>,
    /// The merge ended with 0; `None` if nobody waited for it.
    pub succeeded: Option<bool>,
}

/// The tasks, of so many, that have points without an answer, and how many points those are.
pub fn unfinished(sweep: &Sweep, folder: &Path, tasks: usize) -> Result<(Vec<usize>, usize), SweepError> {
    let points = sweep.points()?;
    let done = read_folder(folder)?;
    let open = |point: &&Point| done.get(&point.id).is_none_or(|line| line.answer.is_none());
    let counts = (1..=tasks).map(|task| (task, share(&points, Some((task, tasks))).filter(open).count()));
    let open: Vec<(usize, usize)> = counts.filter(|(_, count)| *count > 0).collect();
    Ok((open.iter().map(|(task, _)| *task).collect(), open.iter().map(|(_, count)| count).sum()))
}

/// Writes the two job scripts into `folder/slurm`: the array's and the merge's.
///
/// # Errors
/// [`SweepError::Io`]
pub fn write_scripts(
    sweep: &Sweep,
    folder: &Path,
    options: &SlurmOptions,
) -> Result<[PathBuf; 2], SweepError> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(SweepError::io(path));
    let place = absolute(folder)?.join("slurm");
    std::fs::create_dir_all(&place).map_err(SweepError::io(&place))?;
    let program = quoted(&absolute(&options.program)?);
    let (file, out) = (quoted(&absolute(&sweep.path)?), quoted(&absolute(folder)?));
    let tasks = options.tasks;
    let run = format!(
        "#!/bin/sh\n# One share of the sweep; Slurm says which.\nexec {program} sweep run {file} --out {out} --retry --quiet \\\n  \
         --shard \"$SLURM_ARRAY_TASK_ID/{tasks}\" --jobs \"${{SLURM_CPUS_PER_TASK:-1}}\"\n"
    );
    let merge = format!("#!/bin/sh\n# All shares as one.\nexec {program} sweep merge {file} --out {out}\n");
    let scripts = [(place.join("task.sh"), run), (place.join("merge.sh"), merge)];
    for (path, text) in &scripts {
        super::merge::whole_file(path, text.as_bytes())?;
    }
    Ok(scripts.map(|(path, _)| path))
}

/// Submits what is missing, and the merge.
///
/// # Errors
/// [`SweepError`]; [`SweepError::Slurm`] if there is no `sbatch`, or it refuses.
pub fn submit(sweep: &Sweep, folder: &Path, options: &SlurmOptions) -> Result<Submitted, SweepError> {
    std::fs::create_dir_all(folder).map_err(SweepError::io(folder))?;
    let [task, merge] = write_scripts(sweep, folder, options)?;
    let (tasks, missing) = unfinished(sweep, folder, options.tasks)?;
    let mut submitted = Submitted { tasks, missing, array: None, merge: None, succeeded: None };
    if submitted.tasks.is_empty() {
        return Ok(submitted);
    }
    let logs = std::path::absolute(folder).map_err(SweepError::io(folder))?.join("slurm");
    let name = format!("--job-name={}", sweep.file.name);
    let list: Vec<String> = submitted.tasks.iter().map(usize::to_string).collect();
    let at_once = options.at_once.map_or_else(String::new, |n| format!("%{n}"));
    let array = [
        "--parsable".into(),
        name.clone(),
        format!("--array={}{at_once}", list.join(",")),
        format!("--cpus-per-task={}", options.cores),
        format!("--output={}", logs.join("task-%a.log").display()),
    ];
    let id = sbatch(&array, &options.sbatch, &task)?;
    let mut after = vec![
        "--parsable".into(),
        name,
        format!("--dependency=afterany:{id}"),
        format!("--output={}", logs.join("merge.log").display()),
    ];
    submitted.array = Some(id);
    if options.wait {
        after.push("--wait".into());
    }
    let mut command = Command::new("sbatch");
    command.args(&after).args(&options.sbatch).arg(&merge);
    let output = command.output().map_err(no_slurm)?;
    let told = String::from_utf8_lossy(&output.stdout).trim().to_string();
    // With --wait the code is the job's; without a number there was no job.
    if told.is_empty() {
        return Err(refused(&output.stderr));
    }
    submitted.merge = Some(told);
    submitted.succeeded = options.wait.then_some(output.status.success());
    Ok(submitted)
}

fn sbatch(options: &[String], further: &[String], script: &Path) -> Result<String, SweepError> {
    let output = Command::new("sbatch").args(options).args(further).arg(script).output().map_err(no_slurm)?;
    if !output.status.success() {
        return Err(refused(&output.stderr));
    }
    // NUMBER or NUMBER;CLUSTER
    let told = String::from_utf8_lossy(&output.stdout);
    Ok(told.trim().split(';').next().unwrap_or_default().to_string())
}

fn no_slurm(cause: std::io::Error) -> SweepError {
    SweepError::Slurm {
        command: "sbatch".into(),
        problem: cause.to_string(),
        remedy: "run this where Slurm's commands are installed, or use `pasidon sweep run --shard I/N` with another scheduler".into(),
    }
}

fn refused(stderr: &[u8]) -> SweepError {
    SweepError::Slurm {
        command: "sbatch".into(),
        problem: String::from_utf8_lossy(stderr).trim().to_string(),
        remedy: "give what your cluster asks for with --sbatch, as --sbatch=--partition=NAME".into(),
    }
}

/// A path as one word of the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}
