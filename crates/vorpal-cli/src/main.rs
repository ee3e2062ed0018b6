//! The program `vorpal`: trains and runs the models of the zoo on any device.

mod curves;
mod generate;
mod info;
mod options;
mod report;
mod run_dir;
mod stop;
mod task;
mod train;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::options::{Cli, Command};

/// What can go wrong ends in one line for the user.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // Usage errors end here, with code 2.
    let cli = Cli::parse();
    let done = match cli.command {
        Command::Info => info::run(),
        Command::Train { what } => train::run(what),
        Command::Generate(options) => generate::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line: Vec<String> = error.to_string().lines().map(|l| l.trim().to_string()).collect();
            // Nobody may be listening.
            let _ = writeln!(std::io::stderr(), "error: {}", line.join(" "));
            ExitCode::FAILURE
        }
    }
}

/// The device of a name, or the best one there is.
fn device(name: Option<&str>) -> Outcome<vorpal::Device> {
    Ok(match name {
        Some(name) => vorpal::Device::named(name)?,
        None => vorpal::Device::best()?,
    })
}
