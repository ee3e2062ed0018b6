//! The command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Train a model of the zoo.
    Train(Box<Train>),
    /// List the models that can be trained, family by family.
    List,
    /// Go on with a text as a trained model would.
    Generate(Generate),
    /// Compare trainings: a table, and a page with their curves.
    Runs(RunsOptions),
    /// List the workloads that can be explained, profiled, tuned and measured.
    Workloads,
    /// Show what becomes of a workload without running it: graph, kernels, traffic, memory.
    Explain(Explain),
    /// Show where the time of a workload goes, kernel by kernel, against what the device can do.
    Profile(ProfileOptions),
    /// Measure the variants of kernels on an adapter and remember the fastest ones.
    Tune(TuneOptions),
    /// Measure how long workloads take.
    Bench(BenchOptions),
}

#[derive(Args, Debug)]
pub struct RunsOptions {
    /// Folders of runs [default: all in the folder runs]
    #[arg(value_name = "RUN")]
    pub runs: Vec<PathBuf>,
    /// Write a page with all curves over one another
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct Explain {
    /// Its name; `vorpal workloads` lists them.
    pub workload: String,
    /// Device whose kernels are shown: cpu, software, gpu:0, or a part of an adapter's name [default: cpu]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Kind of device whose kernels are shown; none has to be there.
    #[arg(long, value_name = "KIND", conflicts_with = "device")]
    pub target: Option<TargetName>,
    /// Print the shader of launch N and nothing else
    #[arg(long, value_name = "N")]
    pub wgsl: Option<usize>,
    /// List every node of the graph
    #[arg(long)]
    pub graph: bool,
}

/// Kinds of devices.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum TargetName {
    /// Native code on the processor.
    Native,
    /// A graphics interface emulated on the processor.
    Software,
    /// A graphics card with what WebGPU promises.
    Card,
    /// A graphics card that multiplies matrices of halves.
    Matrices,
}

#[derive(Args, Debug)]
pub struct ProfileOptions {
    /// Its name; `vorpal workloads` lists them.
    pub workload: String,
    /// best, cpu, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Steps that are measured, if there is time for them
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub runs: usize,
    /// Time for all of them
    #[arg(long, value_name = "N", default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// List all launches, not only the longest
    #[arg(long)]
    pub all: bool,
    /// Write a trace for Chrome and Perfetto
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Write a page with pictures
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub struct TuneOptions {
    /// Workloads whose kernels are measured [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// best, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Time for all measurements together
    #[arg(long, value_name = "N", default_value_t = 60.0, value_parser = seconds)]
    pub seconds: f64,
    /// Forget what is remembered for the device, and measure anew
    #[arg(long)]
    pub again: bool,
}

#[derive(Args, Debug)]
pub struct BenchOptions {
    /// Workloads to measure [default: all]
    #[arg(value_name = "WORKLOAD")]
    pub workloads: Vec<String>,
    /// best, cpu, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Time for each
    #[arg(long, value_name = "N", default_value_t = 1.0, value_parser = seconds)]
    pub seconds: f64,
}

#[derive(Args, Debug)]
pub struct Train {
    /// Its name; `vorpal list` lists them.
    #[arg(value_name = "MODEL", value_parser = models(), hide_possible_values = true)]
    pub model: String,
    /// best, cpu, software, gpu:0, or a part of an adapter's name [default: $VORPAL_DEVICE, else best]
    #[arg(long, value_name = "NAME")]
    pub device: Option<String>,
    /// Passes over the data [default: by the model]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub epochs: Option<u64>,
    /// Steps in place of epochs [default: by the model]
    #[arg(long, value_name = "N")]
    pub steps: Option<u64>,
    /// Examples of a step [default: by the model]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Step size of the optimiser, before any schedule [default: by the model]
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
    /// Show live curves in the terminal
    #[arg(long, conflicts_with = "json")]
    pub dashboard: bool,
    /// Keep curves, pictures and settings in this folder, for TensorBoard
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
    /// Folder or file with data, in place of what ships with the program
    #[arg(long, value_name = "PATH")]
    pub data: Option<PathBuf>,
    /// Text to learn from, looked for in the folder of --data
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,
    /// A size of the model by its name, as width=64; may be given several times [default: by the model]
    #[arg(long = "size", value_name = "NAME=N", value_parser = size)]
    pub named: Vec<(String, usize)>,
    /// Blocks: --size layers=N
    #[arg(long, value_name = "N")]
    pub layers: Option<usize>,
    /// Numbers that stand for a token: --size width=N
    #[arg(long, value_name = "N")]
    pub width: Option<usize>,
    /// Heads of each attention: --size heads=N
    #[arg(long, value_name = "N")]
    pub heads: Option<usize>,
    /// Tokens the model sees at once: --size context=N
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
}

impl Train {
    /// The sizes that were told, by name.
    pub fn sizes(&self) -> impl Iterator<Item = (&str, usize)> {
        let sizes = [
            ("layers", self.layers),
            ("width", self.width),
            ("heads", self.heads),
            ("context", self.context),
        ];
        let named = self.named.iter().map(|(name, size)| (name.as_str(), *size));
        sizes.into_iter().filter_map(|(name, size)| Some((name, size?))).chain(named)
    }
}

/// Names of all models.
fn models() -> PossibleValuesParser {
    PossibleValuesParser::new(vorpal::zoo::recipes().map(|recipe| recipe.name))
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

fn size(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=').and_then(|(name, size)| Some((name.to_string(), size.parse().ok()?)));
    parts.ok_or_else(|| format!("a size is a name and a whole number, as width=64, found {text}"))
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, |x| (0.0..=86_400.0).contains(&x), "a time is a number of seconds of at most a day")
}
