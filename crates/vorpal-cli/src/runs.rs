//! `vorpal runs`.

use std::fmt::Write;
use std::path::PathBuf;

use vorpal::nn::trainer::{Curves, RunDir, compare};

use crate::Outcome;
use crate::config::Config;
use crate::options::RunsOptions;
use crate::workload::{print, write};

pub fn run(options: &RunsOptions) -> Outcome<()> {
    let runs = if options.runs.is_empty() { all()? } else { options.runs.clone() };
    if runs.is_empty() {
        return Err("there are no runs in the folder runs: name some".into());
    }
    print(&table(&runs)?)?;
    match &options.html {
        Some(file) => write(file, &compare(&runs)?),
        None => Ok(()),
    }
}

/// The runs in the folder `runs`.
fn all() -> Outcome<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir("runs") else { return Ok(Vec::new()) };
    let mut found: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    found.retain(|path| path.join("config.json").exists());
    found.sort();
    Ok(found)
}

/// A line a run: what it was asked for and its last numbers.
fn table(runs: &[PathBuf]) -> Outcome<String> {
    let width = runs.iter().map(|run| run.display().to_string().len()).max().unwrap_or(0).max(3);
    let mut out = format!(
        "{:width$}  {:6} {:>7} {:>6} {:>9} {:>8} {:>10} {:>10} {:>9}\n",
        "run", "model", "steps", "batch", "lr", "seed", "train loss", "test loss", "test acc."
    );
    for run in runs {
        let config = Config::read(run)?.ok_or_else(|| format!("{} holds no run", run.display()))?;
        let mut curves = Curves::default();
        curves.add("", &RunDir::metrics(run)?);
        let last = |title: &str| {
            let found = curves.plots().find(|(known, _)| *known == title);
            found.and_then(|(_, list)| list.last()?.1.last().copied())
        };
        let number = |title: &str| last(title).map_or("-".to_string(), |(_, value)| format!("{value:.4}"));
        let steps = last("training loss").map_or(0.0, |(step, _)| step);
        let _ = writeln!(
            out,
            "{:width$}  {:6} {steps:>7} {:>6} {:>9} {:>8} {:>10} {:>10} {:>9}",
            run.display().to_string(),
            config.model,
            config.batch,
            config.lr,
            config.seed,
            number("training loss"),
            number("test loss"),
            number("test accuracy")
        );
    }
    Ok(out)
}
