//! The program `vorpal`: trains and runs the models of the zoo on any device, and shows where time goes.

mod bench;
mod canvas;
mod config;
mod dashboard;
mod explain;
mod generate;
mod info;
mod list;
mod options;
mod profile;
mod report;
mod runs;
mod stop;
mod train;
mod tune;
mod units;
mod workload;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::options::{Cli, Command};

/// What can go wrong ends in one line for the user.
type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            let text = error.to_string();
            let message = text.split("Usage:").next().unwrap_or(&text);
            tell(message.strip_prefix("error:").unwrap_or(message));
            return ExitCode::from(2);
        }
        // Help and version.
        Err(text) => text.exit(),
    };
    let done = match cli.command {
        Command::Info => info::run(),
        Command::Train(options) => train::run(*options),
        Command::List => list::run(),
        Command::Generate(options) => generate::run(&options),
        Command::Runs(options) => runs::run(&options),
        Command::Workloads => workload::list(),
        Command::Explain(options) => explain::run(&options),
        Command::Profile(options) => profile::run(&options),
        Command::Tune(options) => tune::run(&options),
        Command::Bench(options) => bench::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One line for the user.
fn tell(message: &str) {
    let parts: Vec<&str> = message.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "error: {}", parts.join(" "));
}

/// The device of a name, or the best one there is.
fn device(name: Option<&str>) -> Outcome<vorpal::Device> {
    Ok(match name {
        Some(name) => vorpal::Device::named(name)?,
        None => vorpal::Device::best()?,
    })
}
