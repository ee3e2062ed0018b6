//! The folder of a run: configuration, metrics, checkpoints, curves.
//!
//! A checkpoint is a folder of its own, written beside and renamed once it is whole: whoever looks after the program
//! was stopped at any moment finds the last whole one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vorpal::nn::{load, load_optimizer, save, save_optimizer, write_whole};
use vorpal::prelude::*;
use vorpal::tensor::RngState;

use crate::Outcome;
use crate::curves::Curves;
use crate::report::Event;

/// What a run was started with: everything its results depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    pub model: String,
    pub device: String,
    pub epochs: Option<u64>,
    pub steps: Option<u64>,
    pub batch: usize,
    pub lr: f64,
    pub seed: u64,
    pub data: Option<PathBuf>,
    pub text: Option<PathBuf>,
    pub gpt: Option<GptSizes>,
}

/// Sizes of a language model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GptSizes {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    pub context: usize,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Seconds they took.
    pub seconds: f64,
    /// Bits of the sum of the losses of the present epoch.
    pub total: u32,
    /// Seed and counter of the random keys.
    pub rng: (u64, u64),
}

impl Progress {
    pub fn rng(&self) -> RngState {
        RngState { seed: self.rng.0, counter: self.rng.1 }
    }
}

/// The folder of a run.
pub struct RunDir {
    path: PathBuf,
    metrics: fs::File,
}

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const CURVES: &str = "curves.svg";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
const CHECKPOINT: &str = "checkpoint-";

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::io(path, &e)
}

/// Reads a JSON file.
fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Outcome<T> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    Ok(serde_json::from_str(&text).map_err(|e| Error::format(path.display().to_string(), e.to_string()))?)
}

impl Config {
    /// The configuration of the run in a folder; `None` if it was stopped before it had one.
    pub fn read(run: &Path) -> Outcome<Option<Config>> {
        fs::read_dir(run).map_err(io(run))?;
        let path = run.join(CONFIG);
        if path.exists() { read_json(&path).map(Some) } else { Ok(None) }
    }
}

/// Folder of a new run of a model nobody named a folder for.
pub fn free_folder(model: &str) -> PathBuf {
    let numbered = |n: u64| PathBuf::from(format!("runs/{model}-{n}"));
    (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(0))
}

/// The weights of a finished or unfinished run.
pub fn weights(run: &Path) -> PathBuf {
    run.join(MODEL)
}

/// Whole checkpoints by their steps.
fn checkpoints(run: &Path) -> Outcome<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(run).map_err(io(run))? {
        let path = entry.map_err(io(run))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(step) = name.strip_prefix(CHECKPOINT).and_then(|n| n.parse().ok()) {
            found.push((step, path));
        }
    }
    found.sort();
    Ok(found)
}

/// Puts model, optimiser and device where the last checkpoint of a run was; the start if there is none.
pub fn restore<M: Module>(
    run: &Path,
    model: &mut M,
    optimizer: &mut impl Optimizer,
    device: &Device,
) -> Outcome<Progress> {
    let Some((_, folder)) = checkpoints(run)?.pop() else { return Ok(Progress::default()) };
    let progress: Progress = read_json(&folder.join(STATE))?;
    load(model, folder.join(MODEL))?;
    load_optimizer(optimizer, model, folder.join(OPTIMIZER))?;
    device.set_rng_state(progress.rng());
    Ok(progress)
}

impl RunDir {
    /// Makes the folder of a new run.
    pub fn create(path: &Path, config: &Config) -> Outcome<RunDir> {
        if path.join(CONFIG).exists() {
            let path = path.display();
            return Err(format!(
                "{path} holds a run already: go on with it by --resume {path}, or choose another --out"
            )
            .into());
        }
        fs::create_dir_all(path).map_err(io(path))?;
        RunDir::open(path, config, String::new())
    }

    /// Goes on in `path` with the run in `from`, whose last checkpoint is `progress`: metrics of later steps are
    /// dropped, they will come again.
    pub fn go_on(
        path: &Path,
        from: &Path,
        config: &Config,
        progress: &Progress,
        per_epoch: u64,
    ) -> Outcome<RunDir> {
        if path != from && path.join(CONFIG).exists() {
            return Err(format!("{} holds another run already", path.display()).into());
        }
        fs::create_dir_all(path).map_err(io(path))?;
        let metrics = from.join(METRICS);
        let text = if metrics.exists() {
            fs::read_to_string(&metrics).map_err(io(&metrics))?
        } else {
            String::new()
        };
        let happened = |line: &&str| {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return false };
            let step = event["step"].as_u64().or_else(|| Some(event["epoch"].as_u64()? * per_epoch));
            step.is_some_and(|step| step <= progress.step)
        };
        let kept: String = text.lines().filter(happened).flat_map(|line| [line, "\n"]).collect();
        RunDir::open(path, config, kept)
    }

    fn open(path: &Path, config: &Config, metrics: String) -> Outcome<RunDir> {
        let at = path.join(METRICS);
        write_whole(&at, metrics.as_bytes())?;
        write_whole(&path.join(CONFIG), serde_json::to_string_pretty(config)?.as_bytes())?;
        let metrics = fs::OpenOptions::new().append(true).open(&at).map_err(io(&at))?;
        Ok(RunDir { path: path.to_path_buf(), metrics })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line to the metrics.
    pub fn note(&mut self, event: &Event) -> Outcome<()> {
        let line = serde_json::to_string(event)? + "\n";
        self.metrics.write_all(line.as_bytes()).map_err(io(&self.path.join(METRICS)))?;
        Ok(())
    }

    /// Writes a checkpoint and the curves.
    pub fn checkpoint<M: Module>(
        &self,
        model: &M,
        optimizer: &impl Optimizer,
        progress: &Progress,
    ) -> Outcome<()> {
        let older = checkpoints(&self.path)?;
        let folder = self.path.join(format!("{CHECKPOINT}{:08}", progress.step));
        if !folder.exists() {
            let beside = self.path.join("unfinished");
            if beside.exists() {
                fs::remove_dir_all(&beside).map_err(io(&beside))?;
            }
            fs::create_dir(&beside).map_err(io(&beside))?;
            save(model, beside.join(MODEL))?;
            save_optimizer(optimizer, beside.join(OPTIMIZER))?;
            write_whole(&beside.join(STATE), serde_json::to_string(progress)?.as_bytes())?;
            fs::rename(&beside, &folder).map_err(io(&folder))?;
        }
        for name in [MODEL, OPTIMIZER, STATE] {
            self.show(&folder.join(name), name)?;
        }
        for (_, old) in older.into_iter().filter(|(_, old)| *old != folder) {
            fs::remove_dir_all(&old).map_err(io(&old))?;
        }
        let metrics = self.path.join(METRICS);
        let text = fs::read_to_string(&metrics).map_err(io(&metrics))?;
        write_whole(&self.path.join(CURVES), Curves::read(&text).svg().as_bytes())?;
        Ok(())
    }

    /// Lets a file of the last checkpoint be seen in the folder of the run itself.
    fn show(&self, file: &Path, name: &str) -> Outcome<()> {
        let (beside, place) = (self.path.join(format!("{name}.part")), self.path.join(name));
        if beside.exists() {
            fs::remove_file(&beside).map_err(io(&beside))?;
        }
        if fs::hard_link(file, &beside).is_err() {
            // Not every file system has links.
            fs::copy(file, &beside).map_err(io(&beside))?;
        }
        fs::rename(&beside, &place).map_err(io(&place))?;
        // Renaming a link over another of the same file does nothing.
        if beside.exists() {
            fs::remove_file(&beside).map_err(io(&beside))?;
        }
        Ok(())
    }
}
