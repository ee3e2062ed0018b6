//! What a run was started with.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vorpal::nn::trainer::RunDir;
use vorpal::prelude::*;

use crate::Outcome;

/// What a run was started with: everything its results depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
    /// Sizes of the model by name.
    pub sizes: BTreeMap<String, usize>,
}

impl Config {
    /// The configuration of the run in a folder; `None` if it was stopped before it had one.
    pub fn read(run: &Path) -> Outcome<Option<Config>> {
        let Some(text) = RunDir::config(run)? else { return Ok(None) };
        let what = format!("config.json of {}", run.display());
        Ok(Some(serde_json::from_str(&text).map_err(|e| Error::format(what, e.to_string()))?))
    }
}

/// Folder of a new run of a model nobody named a folder for.
pub fn free_folder(model: &str) -> PathBuf {
    let numbered = |n: u64| PathBuf::from(format!("runs/{model}-{n}"));
    (1..).map(numbered).find(|path| !path.exists()).unwrap_or_else(|| numbered(0))
}
