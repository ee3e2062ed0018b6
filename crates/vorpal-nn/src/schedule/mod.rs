//! Schedules: the step size as a function of the number of steps.

mod compose;
mod cyclic;
mod decay;
mod plateau;

use vorpal_autodiff::{Error, Result};

pub use compose::{Chained, Sequential, Then, Warmup, warmup};
pub use cyclic::{
    Anneal, CosineWarmRestarts, CosineWarmRestartsOptions, Cyclic, CyclicMode, CyclicOptions, OneCycle,
    OneCycleOptions,
};
pub use decay::{
    Constant, CosineAnnealing, Exponential, InverseSqrt, Lambda, Linear, MultiStep, Polynomial, StepDecay,
};
pub use plateau::{Plateau, PlateauOptions};

/// A step size for every step. Steps count from 0, as do PyTorch's after its constructors: the rate of step k is what
/// the optimiser uses for its step k + 1. A "step" is whatever the caller counts, batches or epochs.
///
/// ```
/// use vorpal_nn::schedule::{CosineAnnealing, Schedule, warmup};
/// use vorpal_nn::{Adam, Optimizer};
///
/// let schedule = warmup(10).then(CosineAnnealing::new(1e-3, 90));
/// let mut optimizer = Adam::new(schedule.rate(0));
/// for step in 0..100 {
///     optimizer.set_learning_rate(schedule.rate(step));
///     // optimizer.step(&mut model, grads)?;
/// }
/// assert_eq!(schedule.rate(10), 1e-3);
/// ```
pub trait Schedule {
    /// The step size of a step.
    fn rate(&self, step: u64) -> f64;

    /// Takes note of a measure, such as the loss of an epoch. Only [`Plateau`] listens, wherever it stands.
    fn observe(&mut self, _metric: f64) {}

    /// What has been observed so far, as numbers to be saved. Schedules that only count steps have none.
    fn state(&self) -> Vec<f64> {
        Vec::new()
    }

    /// Puts the schedule where one was that gave `state`.
    ///
    /// # Errors
    /// [`Error::Format`] when there are more or fewer numbers than [`state`](Schedule::state) gives.
    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        expect_numbers(state, self.state().len())
    }
}

impl<S: Schedule + ?Sized> Schedule for Box<S> {
    fn rate(&self, step: u64) -> f64 {
        (**self).rate(step)
    }
    fn observe(&mut self, metric: f64) {
        (**self).observe(metric);
    }
    fn state(&self) -> Vec<f64> {
        (**self).state()
    }
    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        (**self).set_state(state)
    }
}

fn expect_numbers(state: &[f64], count: usize) -> Result<()> {
    if state.len() == count {
        return Ok(());
    }
    Err(Error::format("state of a schedule", format!("asked for {count} numbers, found {}", state.len())))
}

/// From `start` to `end` along half a cosine, `part` (0 to 1) of the way.
fn along_cosine(start: f64, end: f64, part: f64) -> f64 {
    let left = (1.0 + (std::f64::consts::PI * part).cos()) / 2.0;
    start * left + end * (1.0 - left)
}

/// From `start` to `end` along a line.
fn along_line(start: f64, end: f64, part: f64) -> f64 {
    start * (1.0 - part) + end * part
}
