//! Why there is no model, or why it cannot go on.

use std::path::PathBuf;

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum VerilatedError {
    /// A tool is not installed.
    #[error(
        "{tool} is not installed, and the simulation needs it; install it (Debian: apt-get install {package}) or \
             set {variable} to the command to run"
    )]
    Missing {
        /// The command that was tried.
        tool: String,
        /// Debian's package.
        package: &'static str,
        /// The environment variable that names another command.
        variable: &'static str,
    },
    /// A tool failed.
    #[error("{tool} {what}\n{said}")]
    Tool {
        /// The command.
        tool: String,
        /// What it failed to do.
        what: String,
        /// Its own messages.
        said: String,
    },
    /// The cache cannot be written.
    #[error("{}: {cause}; compiled models are kept there: make it writable, or set PASIDON_TARGET to another directory", path.display())]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        cause: std::io::Error,
    },
    /// The compiled model is not what was asked for.
    #[error("{}: {what}; remove that directory to have the model made again", path.display())]
    Load {
        /// The shared object.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A port that the bench cannot drive.
    #[error("port {0} of the design {1}")]
    Port(String, &'static str),
    /// An assertion of the hardware failed, or its logic did not settle.
    #[error("the hardware failed in cycle {cycle}: {what}")]
    Hardware {
        /// Clock cycles since the model was made.
        cycle: u64,
        /// The message, with its place in the Verilog.
        what: String,
    },
}
