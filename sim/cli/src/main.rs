//! The `pasidon` command.

use clap::Parser;

fn main() -> std::process::ExitCode {
    match pasidon::cli::Cli::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
