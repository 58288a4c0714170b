//! The `pasidon` command.

use clap::Parser;

/// A reader who has seen enough, as `head` has, ends the command without a word.
fn end_with_the_reader() {
    let told = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let message = panic.payload().downcast_ref::<String>();
        if message.is_some_and(|text| text.starts_with("failed printing to stdout")) {
            std::process::exit(0);
        }
        told(panic);
    }));
}

fn main() -> std::process::ExitCode {
    end_with_the_reader();
    match pasidon::cli::Cli::parse().run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}
