//! `vorpal train`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use vorpal::nn::trainer::{Event, Reason, RunDir};
use vorpal::prelude::*;
use vorpal::zoo::recipe::{Recipe, Settings};
use vorpal::zoo::{Length, Run, recipe};

use crate::config::{Config, free_folder};
use crate::options::Train;
use crate::report::Report;
use crate::{Outcome, stop};

pub fn run(options: Train) -> Outcome<()> {
    let recipe = recipe(&options.model).ok_or_else(|| format!("there is no model {}", options.model))?;
    let known = match &options.resume {
        Some(folder) => Config::read(folder)?,
        None => None,
    };
    if let Some(known) = known.as_ref().filter(|k| k.model != recipe.name) {
        return Err(format!("the run to resume trains {}, not {}", known.model, recipe.name).into());
    }
    let name = options.device.clone().or_else(|| known.as_ref().map(|k| k.device.clone()));
    let device = crate::device(name.as_deref())?;
    let by_default = name.is_none() && std::env::var_os("VORPAL_DEVICE").is_none();
    let config = settled(&options, recipe, known.as_ref(), &device)?;

    let text = serde_json::to_string_pretty(&config)?;
    let settings = settings(&options, &config, recipe);
    let path = options.out.clone().or_else(|| options.resume.clone());
    let path = path.unwrap_or_else(|| free_folder(recipe.name));
    let run = Run::new(settings, &device);
    let run = match &options.resume {
        Some(from) => run.resume(from, options.out.clone(), &text),
        None => run.folder(&path, &text),
    };
    stop::listen();
    let report = Rc::new(RefCell::new(Report::new(&options)?));
    let (shown, of) = (report.clone(), device.clone());
    let run = match &options.tensorboard {
        Some(folder) => run.tensorboard(folder),
        None => run,
    };
    let mut run = run.stop_when(stop::asked).on(move |event| {
        if let Event::Start { .. } = event {
            shown.borrow_mut().say(&format!("training {} on {}", recipe.name, of.info()));
            if by_default && of.is_cpu() {
                shown.borrow_mut().say("there is no graphics adapter: the native CPU does the work");
            }
        }
        shown.borrow_mut().show(event, of.stats());
    });
    let outcome = recipe.train(&mut run)?;
    let reason = outcome.reason;
    report.borrow_mut().end(recipe, outcome, &device);
    // Loops of a recipe's own keep no checkpoints.
    let saved = RunDir::last_checkpoint(&path)?.is_some();
    let path = path.display();
    report.borrow_mut().say(&match (reason, saved) {
        (Reason::Asked, true) => format!("stopped and saved: go on with --resume {path}"),
        (Reason::Asked, false) => format!("stopped: {path} has results so far, and nothing to go on from"),
        _ => format!("results, curves and weights are in {path}"),
    });
    Ok(())
}

/// The value of an option: that of the run that goes on, which nobody may contradict.
fn settle<T: PartialEq + Clone>(
    name: &str,
    asked: Option<T>,
    known: Option<T>,
    default: T,
    show: impl Fn(&T) -> String,
) -> Outcome<T> {
    match (asked, known) {
        (Some(asked), Some(known)) if asked != known => {
            Err(format!("--{name} {} differs from {} of the run to resume", show(&asked), show(&known))
                .into())
        }
        (asked, known) => Ok(known.or(asked).unwrap_or(default)),
    }
}

/// The full path of a file, so that a run can go on from any folder.
fn full(path: Option<&Path>) -> Outcome<Option<PathBuf>> {
    path.map(|p| std::fs::canonicalize(p).map_err(|e| Error::io(p, &e).into())).transpose()
}

/// The sizes that were asked for, all of which the recipe has.
fn asked_sizes<'a>(options: &'a Train, recipe: &Recipe) -> Outcome<BTreeMap<&'a str, usize>> {
    let mut asked = BTreeMap::new();
    for (name, size) in options.sizes() {
        if !recipe.sizes.iter().any(|(known, _)| *known == name) {
            let known: Vec<&str> = recipe.sizes.iter().map(|(known, _)| *known).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            let model = recipe.name;
            return Err(format!("--size {name}={size}: {model} has no such size; it has {known}").into());
        }
        if let Some(other) = asked.insert(name, size).filter(|other| *other != size) {
            return Err(format!("the size {name} is told twice: {other} and {size}").into());
        }
    }
    Ok(asked)
}

/// What was asked for, what the run that goes on was started with, and what the model is meant to be trained with.
fn settled(options: &Train, recipe: &Recipe, known: Option<&Config>, device: &Device) -> Outcome<Config> {
    let (mut epochs, mut steps) = (options.epochs, options.steps);
    if epochs.is_none() && steps.is_none() {
        (epochs, steps) = match (known, recipe.length) {
            (Some(known), _) => (known.epochs, known.steps),
            (None, Length::Epochs(epochs)) => (Some(epochs), None),
            (None, Length::Steps(steps)) => (None, Some(steps)),
        };
    }
    let asked = asked_sizes(options, recipe)?;
    let mut sizes = recipe.settings().sizes;
    for (name, size) in &mut sizes {
        let known = known.and_then(|k| k.sizes.get(name).copied());
        *size = settle(name, asked.get(name.as_str()).copied(), known, *size, usize::to_string)?;
    }
    let text = options.text.as_ref().map(|text| match &options.data {
        Some(folder) => folder.join(text),
        None => text.clone(),
    });
    // A folder in which a text is looked for is no data.
    let data = full(options.data.as_deref().filter(|_| text.is_none()))?;
    let text = full(text.as_deref())?;
    let path = |p: &Option<PathBuf>| p.as_ref().map_or("none".into(), |p| p.display().to_string());
    Ok(Config {
        model: recipe.name.to_string(),
        device: device.info().selector.clone(),
        epochs,
        steps,
        batch: settle("batch", options.batch, known.map(|k| k.batch), recipe.batch, usize::to_string)?,
        lr: settle("lr", options.lr, known.map(|k| k.lr), recipe.rate, f64::to_string)?,
        seed: settle("seed", options.seed, known.map(|k| k.seed), 0, u64::to_string)?,
        data: settle("data", data.map(Some), known.map(|k| k.data.clone()), None, path)?,
        text: settle("text", text.map(Some), known.map(|k| k.text.clone()), None, path)?,
        sizes,
    })
}

/// What a run depends on.
fn settings(options: &Train, config: &Config, recipe: &Recipe) -> Settings {
    let length = match (config.steps, config.epochs) {
        (Some(steps), _) => Length::Steps(steps),
        (None, Some(epochs)) => Length::Epochs(epochs),
        (None, None) => recipe.length,
    };
    Settings {
        length,
        batch: config.batch,
        rate: config.lr,
        seed: config.seed,
        sizes: config.sizes.clone(),
        data: config.data.clone(),
        text: config.text.clone(),
        log_every: options.log_every,
        save_every: options.save_every,
    }
}
