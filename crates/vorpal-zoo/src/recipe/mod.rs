//! Trainings of the zoo: what `vorpal train NAME` does.

mod classify;
mod run;

use std::collections::BTreeMap;
use std::path::PathBuf;

use vorpal_nn::Result;

pub(crate) use classify::{classify, moved};
pub use run::{Outcome, Run};

use crate::{
    beyond, causal, conv, dense, forecast, generative, graph, linear, memory, recurrent, symmetry,
    transformer,
};

/// How long a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Passes over the data.
    Epochs(u64),
    /// Steps of the optimiser.
    Steps(u64),
}

/// What a training is meant to reach: a result of it by name, and a bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The larger the better.
    AtLeast(&'static str, f64),
    /// The smaller the better.
    AtMost(&'static str, f64),
}

impl Goal {
    /// Name of the result it is about.
    pub fn result(&self) -> &'static str {
        match self {
            Goal::AtLeast(name, _) | Goal::AtMost(name, _) => name,
        }
    }

    /// Whether the results reach it; `None` without that result.
    pub fn reached(&self, results: &BTreeMap<String, f64>) -> Option<bool> {
        let value = *results.get(self.result())?;
        Some(match self {
            Goal::AtLeast(_, bound) => value >= *bound,
            Goal::AtMost(_, bound) => value <= *bound,
        })
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::AtLeast(name, bound) => write!(f, "{name} ≥ {bound}"),
            Goal::AtMost(name, bound) => write!(f, "{name} ≤ {bound}"),
        }
    }
}

/// One training of the zoo: a model, its data, and what it is meant to reach in at most three minutes on two cores.
///
/// ```
/// use vorpal_nn::Device;
/// use vorpal_zoo::{Length, Run, recipe};
/// let recipe = recipe("mnist").expect("a training of that name");
/// let mut settings = recipe.settings();
/// settings.length = Length::Steps(2);
/// let outcome = recipe.train(&mut Run::new(settings, &Device::cpu()))?;
/// assert!(outcome.results["test_accuracy"] > 0.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// What it is called on the command line.
    pub name: &'static str,
    /// Name of the module its model is in.
    pub family: &'static str,
    /// One line about the model.
    pub about: &'static str,
    /// One line about what it learns from, and where that comes from.
    pub data: &'static str,
    /// How long it is unless told.
    pub length: Length,
    /// Examples of a step unless told.
    pub batch: usize,
    /// Step size unless told.
    pub rate: f64,
    /// Sizes that can be told, with their defaults.
    pub sizes: &'static [(&'static str, usize)],
    /// What it is meant to reach.
    pub goal: Goal,
    /// Trains, and leaves results behind.
    pub body: fn(&mut Run) -> Result<()>,
}

/// What a training depends on beside its recipe and the device.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How long it is.
    pub length: Length,
    /// Examples of a step.
    pub batch: usize,
    /// Step size.
    pub rate: f64,
    /// Seed of weights, order and dice: the same seed gives the same bits on the same device.
    pub seed: u64,
    /// Sizes by name.
    pub sizes: BTreeMap<String, usize>,
    /// Folder or file with data, where the user has one.
    pub data: Option<PathBuf>,
    /// File with a text, where the user has one.
    pub text: Option<PathBuf>,
    /// Steps between two readings of the loss.
    pub log_every: u64,
    /// Steps between two checkpoints.
    pub save_every: u64,
}

impl Recipe {
    /// What trainings of a family share: the rest is filled in by each.
    pub(crate) const fn base(family: &'static str, data: &'static str) -> Recipe {
        Recipe {
            name: "",
            family,
            about: "",
            data,
            length: Length::Steps(0),
            batch: 64,
            rate: 1e-3,
            sizes: &[],
            goal: Goal::AtLeast("test_accuracy", 1.0),
            body: |_| Ok(()),
        }
    }

    /// The settings it is meant to be run with.
    pub fn settings(&self) -> Settings {
        Settings {
            length: self.length,
            batch: self.batch,
            rate: self.rate,
            seed: 0,
            sizes: self.sizes.iter().map(|&(name, size)| (name.to_string(), size)).collect(),
            data: None,
            text: None,
            log_every: 1,
            save_every: 100,
        }
    }

    /// Trains.
    ///
    /// # Errors
    /// What the data, the settings, the device or the files give.
    pub fn train(&self, run: &mut Run) -> Result<Outcome> {
        run.device().seed(run.settings().seed);
        (self.body)(run)?;
        run.finish(self)
    }
}

/// All trainings, family by family.
pub fn recipes() -> impl Iterator<Item = &'static Recipe> {
    [
        linear::RECIPES,
        dense::RECIPES,
        conv::RECIPES,
        transformer::RECIPES,
        graph::RECIPES,
        recurrent::RECIPES,
        generative::RECIPES,
        forecast::RECIPES,
        causal::RECIPES,
        symmetry::RECIPES,
        memory::RECIPES,
        beyond::RECIPES,
    ]
    .into_iter()
    .flatten()
}

/// The training of a name.
pub fn recipe(name: &str) -> Option<&'static Recipe> {
    recipes().find(|recipe| recipe.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = recipes().map(|r| r.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn goals_look_at_their_result() {
        let results = BTreeMap::from([("loss".to_string(), 0.5)]);
        assert_eq!(Goal::AtMost("loss", 0.5).reached(&results), Some(true));
        assert_eq!(Goal::AtLeast("loss", 0.6).reached(&results), Some(false));
        assert_eq!(Goal::AtLeast("accuracy", 0.6).reached(&results), None);
        assert_eq!(Goal::AtMost("loss", 0.25).to_string(), "loss ≤ 0.25");
    }
}
