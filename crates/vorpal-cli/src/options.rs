//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Train and run differentiable models on any graphics hardware.
#[derive(Debug, Parser)]
#[command(name = "vorpal", version, about)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show every device with its features and limits.
    Info,
    /// Train a model.
    Train {
        #[command(subcommand)]
        what: What,
    },
    /// Go on with a text as a trained model would.
    Generate(Generate),
}

#[derive(Debug, Subcommand)]
pub enum What {
    /// A convolutional network that names handwritten digits.
    Mnist(MnistOptions),
    /// A small language model of the bytes of a text.
    Gpt(GptOptions),
}

#[derive(Args, Debug)]
pub struct MnistOptions {
    #[command(flatten)]
    pub common: Common,
    /// Folder with the four MNIST files, gzipped or plain; without it ten thousand digits that ship with the program.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct GptOptions {
    #[command(flatten)]
    pub common: Common,
    /// Text to learn from; without it the documentation and sources of Vorpal.
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// Folder in which a relative --text is looked for.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Blocks [default: 4]
    #[arg(long)]
    pub layers: Option<usize>,
    /// Numbers that stand for a byte [default: 128]
    #[arg(long)]
    pub width: Option<usize>,
    /// Heads of each attention [default: 4]
    #[arg(long)]
    pub heads: Option<usize>,
    /// Bytes the model sees at once [default: 128]
    #[arg(long)]
    pub context: Option<usize>,
}

#[derive(Args, Debug)]
pub struct Common {
    /// best, cpu, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Passes over the data [default for mnist: 10]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub epochs: Option<u64>,
    /// Steps in place of epochs [default for gpt: 1000]
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Examples of a step [default for mnist: 64, for gpt: 8]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Step size of AdamW in the first epoch; for mnist four fifths of the last in each one after [default: 0.001]
    #[arg(long, value_name = "RATE", value_parser = rate, allow_negative_numbers = true)]
    pub lr: Option<f64>,
    /// Seed of weights and order; the same seed gives the same bits on the same device [default: 0]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Folder of the run, made new [default: runs/MODEL-1, or the next number that is free]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Go on with the run in this folder
    #[arg(long, value_name = "DIR")]
    pub resume: Option<PathBuf>,
    /// Steps between checkpoints; one is written at the end of every epoch, too
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub save_every: u64,
    /// Steps between two readings of the loss
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub log_every: u64,
    /// Write one JSON object a line to the standard output, and nothing else
    #[arg(long)]
    pub json: bool,
}

#[derive(Args, Debug)]
pub struct Generate {
    /// Folder of a run of `vorpal train gpt`.
    #[arg(long, value_name = "RUN")]
    pub from: PathBuf,
    /// Text to go on with.
    #[arg(long, default_value = "\n")]
    pub prompt: String,
    /// Bytes to add.
    #[arg(long, default_value_t = 200)]
    pub tokens: usize,
    /// How daring: 0 always takes the likeliest byte.
    #[arg(long, default_value_t = 0.8, value_parser = temperature, allow_negative_numbers = true)]
    pub temperature: f64,
    /// Seed of the dice.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// best, cpu, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
}

fn number(text: &str, fits: impl Fn(f64) -> bool, what: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && fits(value) => Ok(value),
        _ => Err(format!("{what}, found {text}")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, |x| x > 0.0, "a step size is a number above 0")
}

fn temperature(text: &str) -> Result<f64, String> {
    number(text, |x| x >= 0.0, "a temperature is a number from 0 on")
}
