//! The folder of a run: configuration, metrics, checkpoints, curves.
//!
//! A checkpoint is a folder of its own, written beside and renamed once it is whole: whoever looks after the program
//! was stopped at any moment, or the disk was full, finds the last whole one.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vorpal_autodiff::{Device, Error, Result};
use vorpal_tensor::RngState;

use super::curves::Curves;
use super::event::Event;
use crate::checkpoint::load_strictly;
use crate::{Module, Optimizer, load_optimizer, save, save_optimizer, write_whole};

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps taken.
    pub step: u64,
    /// Seconds they took.
    pub seconds: f64,
    /// Bits of the sum of the losses of the present epoch.
    pub total: u32,
    /// Seed and counter of the random keys.
    pub rng: (u64, u64),
    /// Bits of the best number that was monitored, and its step.
    #[serde(default)]
    pub best: Option<(u64, u64)>,
    /// Evaluations since the best one.
    #[serde(default)]
    pub waited: u64,
    /// Bits of what the schedule has observed.
    #[serde(default)]
    pub schedule: Vec<u64>,
    /// Steps of the present epoch that were called off.
    #[serde(default)]
    pub skipped: u64,
    /// Steps whose parameters are in the averages.
    #[serde(default)]
    pub averaged: u64,
}

/// The folder of a run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    metrics: fs::File,
}

const CONFIG: &str = "config.json";
const METRICS: &str = "metrics.jsonl";
const CURVES: &str = "curves.svg";
const MODEL: &str = "model.safetensors";
const BEST: &str = "best.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const STATE: &str = "state.json";
/// The model with the averages of its parameters.
pub(super) const AVERAGED: &str = "averaged.safetensors";
/// The scale of losses.
pub(super) const SCALER: &str = "scaler.safetensors";
const CHECKPOINT: &str = "checkpoint-";

fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::io(path, &e)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(io(path))
}

/// Text of a value that is written into a file.
fn json<T: Serialize>(value: &T, file: &str) -> Result<String> {
    serde_json::to_string_pretty(value).map_err(|e| Error::format(file, e.to_string()))
}

/// Whole checkpoints by their steps.
fn checkpoints(run: &Path) -> Result<Vec<(u64, PathBuf)>> {
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

impl RunDir {
    /// Text of the configuration of the run in a folder; `None` if it was stopped before it had one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn config(run: &Path) -> Result<Option<String>> {
        fs::read_dir(run).map_err(io(run))?;
        let path = run.join(CONFIG);
        if path.exists() { read(&path).map(Some) } else { Ok(None) }
    }

    /// The weights of the last checkpoint of a run: the averages, if it keeps them.
    pub fn weights(run: &Path) -> PathBuf {
        let averaged = run.join(AVERAGED);
        if averaged.exists() { averaged } else { run.join(MODEL) }
    }

    /// The folder of the last checkpoint of a run, if there is one.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn last_checkpoint(run: &Path) -> Result<Option<PathBuf>> {
        Ok(checkpoints(run)?.pop().map(|(_, folder)| folder))
    }

    /// Lines of JSON, one for each step that was read and each epoch of a run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn metrics(run: &Path) -> Result<String> {
        let path = run.join(METRICS);
        if !path.exists() {
            return Ok(String::new());
        }
        // The last line may be half there, or bytes that are no text.
        let bytes = fs::read(&path).map_err(io(&path))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Makes the folder of a new run with its configuration, a text of JSON.
    ///
    /// # Errors
    /// [`Error::Format`] when it holds a run already, [`Error::Io`].
    pub fn create(path: impl AsRef<Path>, config: &str) -> Result<RunDir> {
        let path = path.as_ref();
        if path.join(CONFIG).exists() {
            let what = path.display().to_string();
            let message =
                format!("holds a run already: go on with it (--resume {what}), or choose another folder");
            return Err(Error::format(what, message));
        }
        fs::create_dir_all(path).map_err(io(path))?;
        RunDir::open(path, config, String::new())
    }

    /// Goes on in `path` with the run in `from` (the same folder, or a copy is made) that stands at `progress`: metrics
    /// of later steps are dropped, they will come again.
    ///
    /// # Errors
    /// [`Error::Format`] when `path` holds another run, [`Error::Io`].
    pub fn go_on(path: &Path, from: &Path, config: &str, progress: &Progress) -> Result<RunDir> {
        if path != from && path.join(CONFIG).exists() {
            return Err(Error::format(path.display().to_string(), "holds another run already"));
        }
        fs::create_dir_all(path).map_err(io(path))?;
        let happened = |line: &&str| {
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { return false };
            event["step"].as_u64().is_some_and(|step| step <= progress.step)
        };
        let text = RunDir::metrics(from)?;
        let kept: String = text.lines().filter(happened).flat_map(|line| [line, "\n"]).collect();
        if path != from && from.join(BEST).exists() {
            fs::copy(from.join(BEST), path.join(BEST)).map_err(io(path))?;
        }
        RunDir::open(path, config, kept)
    }

    fn open(path: &Path, config: &str, metrics: String) -> Result<RunDir> {
        let at = path.join(METRICS);
        write_whole(&at, metrics.as_bytes())?;
        write_whole(&path.join(CONFIG), config.as_bytes())?;
        let metrics = fs::OpenOptions::new().append(true).open(&at).map_err(io(&at))?;
        Ok(RunDir { path: path.to_path_buf(), metrics })
    }

    /// Puts model, optimiser and device where the last checkpoint of a run was, and tells how far that is; the start if
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Format`] that names the file and what does not fit. The model may have been replaced
    /// already when the optimiser's file turns out to be another's.
    pub fn restore<M: Module>(
        run: &Path,
        model: &mut M,
        optimizer: &mut impl Optimizer,
        device: &Device,
    ) -> Result<Progress> {
        let Some(folder) = RunDir::last_checkpoint(run)? else { return Ok(Progress::default()) };
        let state = folder.join(STATE);
        let progress: Progress = serde_json::from_str(&read(&state)?)
            .map_err(|e| Error::format(state.display().to_string(), e.to_string()))?;
        load_strictly(model, &folder.join(MODEL))?;
        load_optimizer(optimizer, model, folder.join(OPTIMIZER))?;
        device.set_rng_state(RngState { seed: progress.rng.0, counter: progress.rng.1 });
        Ok(progress)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn note(&mut self, event: &Event) -> Result<()> {
        let line = serde_json::to_string(event).map_err(|e| Error::format(METRICS, e.to_string()))? + "\n";
        self.metrics.write_all(line.as_bytes()).map_err(io(&self.path.join(METRICS)))
    }

    /// Writes a file of the run, so that it is never half there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        write_whole(&self.path.join(name), bytes)
    }

    /// Keeps the weights as the best so far, in `best.safetensors`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn keep_best<M: Module>(&self, model: &M) -> Result<()> {
        save(model, self.path.join(BEST))
    }

    /// Writes a checkpoint and the curves. Older checkpoints go once it is whole.
    ///
    /// # Errors
    /// [`Error::Io`]; the checkpoint before is still there then.
    pub fn checkpoint<M: Module>(
        &self,
        model: &M,
        optimizer: &impl Optimizer,
        progress: &Progress,
    ) -> Result<()> {
        self.checkpoint_with(model, optimizer, progress, &[])
    }

    /// As [`checkpoint`](RunDir::checkpoint), with other files by their names.
    pub(super) fn checkpoint_with<M: Module>(
        &self,
        model: &M,
        optimizer: &impl Optimizer,
        progress: &Progress,
        others: &[(&str, Vec<u8>)],
    ) -> Result<()> {
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
            for (name, bytes) in others {
                write_whole(&beside.join(name), bytes)?;
            }
            write_whole(&beside.join(STATE), json(progress, STATE)?.as_bytes())?;
            fs::rename(&beside, &folder).map_err(io(&folder))?;
        }
        let others = others.iter().map(|(name, _)| *name);
        for name in [MODEL, OPTIMIZER, STATE].into_iter().chain(others) {
            self.show(&folder.join(name), name)?;
        }
        for (_, old) in older.into_iter().filter(|(_, old)| *old != folder) {
            fs::remove_dir_all(&old).map_err(io(&old))?;
        }
        let mut curves = Curves::default();
        curves.add("", &RunDir::metrics(&self.path)?);
        self.write(CURVES, curves.svg().as_bytes())
    }

    /// Lets a file of the last checkpoint be seen in the folder of the run itself.
    fn show(&self, file: &Path, name: &str) -> Result<()> {
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
