//! `pasidon serve`.

use super::Failure;
use crate::serve::{EngineKind, Session, serve};
use clap::{ArgGroup, Args, ValueEnum};
use pasidon_cosim::verilated::Cache;
use pasidon_rtl::design::Design;
use std::io::{BufWriter, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

#[derive(Args)]
#[command(group = ArgGroup::new("where").required(true), after_help = "\
Requests and answers are JSON objects, one per line; docs/serve.md lists them, and examples/serve.py is a complete client. An
error is an answer too. Between requests the simulated clock stands still.

With --socket, clients are served one after the other on the same simulation, until one sends {\"op\": \"quit\"}. With --stdio, the
end of the input is the end.

Examples:
  pasidon serve --design default --socket pasidon.socket
  echo '{\"op\": \"read_register\", \"register\": \"capabilities\"}' | pasidon serve --design tiny --stdio")]
pub struct Serve {
    #[arg(long, short, default_value = "default", help = super::DESIGN_HELP.as_str())]
    design: String,
    /// Requests on standard input, answers on standard output
    #[arg(long, group = "where")]
    stdio: bool,
    /// Listen on a Unix socket at this path
    #[arg(long, group = "where", value_name = "PATH")]
    socket: Option<PathBuf>,
    /// What answers the requests
    #[arg(long, short, value_enum, default_value_t = Engine::Rtl)]
    engine: Engine,
    /// Memory latency of the hardware: cycles from a read address to its first data
    #[arg(long, short, default_value_t = 20, value_name = "CYCLES", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    latency: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Engine {
    /// The golden model, with ATS and page requests
    Model,
    /// The simulated hardware
    Rtl,
    /// Both, compared: a difference is an error with both values
    Both,
}

impl Serve {
    pub fn run(self) -> Result<(), Failure> {
        let design = Design::load(&self.design)?;
        let kind = match self.engine {
            Engine::Model => EngineKind::Model,
            Engine::Rtl => EngineKind::Rtl,
            Engine::Both => EngineKind::Both,
        };
        let mut session = Session::new(&design, &Cache::in_workspace(), kind, self.latency)?;
        match &self.socket {
            None => {
                let served =
                    serve(&mut session, std::io::stdin().lock(), BufWriter::new(std::io::stdout().lock()));
                forgive(served).map_err(|cause| format!("standard input or output: {cause}").into())
            }
            Some(path) => listen(&mut session, path).map_err(|cause| {
                format!("{}: {cause}; --socket names a file to make", path.display()).into()
            }),
        }
    }
}

/// A client that goes away is no failure.
fn forgive(served: std::io::Result<()>) -> std::io::Result<()> {
    match served {
        Err(cause) if matches!(cause.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
        other => other,
    }
}

fn listen(session: &mut Session, path: &Path) -> std::io::Result<()> {
    // Left over by a server that was killed: nobody answers there.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    println!("listening on {}", path.display());
    let served = accept(session, &listener);
    // Whoever removed it before has done the same.
    let _ = std::fs::remove_file(path);
    served
}

fn accept(session: &mut Session, listener: &UnixListener) -> std::io::Result<()> {
    while !session.is_over() {
        let (stream, _) = listener.accept()?;
        let input = stream.try_clone()?;
        forgive(serve(session, input, BufWriter::new(stream)))?;
    }
    Ok(())
}
