//! Schedules made of schedules.

use std::fmt;

use vorpal_autodiff::Result;

use super::{Schedule, along_line};

/// The first steps of a schedule, growing along a line.
///
/// ```
/// use vorpal_nn::schedule::{Constant, Schedule, warmup};
/// let schedule = warmup(4).then(Constant::new(1.0));
/// assert_eq!([0, 1, 3, 4, 9].map(|k| schedule.rate(k)), [0.2, 0.4, 0.8, 1.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Warmup {
    steps: u64,
    start: f64,
}

/// A rise over `steps`: step k has a share of (k + 1) ∕ (steps + 1).
pub fn warmup(steps: u64) -> Warmup {
    Warmup { steps, start: 1.0 / (steps as f64 + 1.0) }
}

impl Warmup {
    /// Another share of the rate in step 0 (PyTorch's `start_factor` of `LinearLR`).
    #[must_use]
    pub fn start(self, factor: f64) -> Warmup {
        Warmup { start: factor, ..self }
    }

    /// A schedule behind the rise, which leads to the rate of its step 0. PyTorch's `SequentialLR` of a `LinearLR` and
    /// that schedule.
    pub fn then<S: Schedule>(self, schedule: S) -> Then<S> {
        Then { warmup: self, schedule }
    }
}

/// What [`Warmup::then`] gives.
#[derive(Clone, Copy, Debug)]
pub struct Then<S> {
    warmup: Warmup,
    schedule: S,
}

impl<S: Schedule> Schedule for Then<S> {
    fn rate(&self, step: u64) -> f64 {
        let Warmup { steps, start } = self.warmup;
        match step.checked_sub(steps) {
            Some(since) => self.schedule.rate(since),
            None => self.schedule.rate(0) * along_line(start, 1.0, step as f64 / steps as f64),
        }
    }
    fn observe(&mut self, metric: f64) {
        self.schedule.observe(metric);
    }
    fn state(&self) -> Vec<f64> {
        self.schedule.state()
    }
    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        self.schedule.set_state(state)
    }
}

type Boxed = Box<dyn Schedule + Send + Sync>;

/// One schedule after the other, each counting from 0 (PyTorch's `SequentialLR`). What is measured is told to all.
///
/// ```
/// use vorpal_nn::schedule::{Constant, Exponential, Schedule, Sequential};
/// let schedule = Sequential::new(Constant::new(1.0)).then_at(10, Exponential::new(1.0, 0.5));
/// assert_eq!((schedule.rate(9), schedule.rate(10), schedule.rate(12)), (1.0, 1.0, 0.25));
/// ```
pub struct Sequential {
    parts: Vec<(u64, Boxed)>,
}

impl Sequential {
    /// The schedule to begin with.
    pub fn new(first: impl Schedule + Send + Sync + 'static) -> Sequential {
        Sequential { parts: vec![(0, Box::new(first))] }
    }

    /// Another schedule from a step on. Steps are given in ascending order.
    #[must_use]
    pub fn then_at(mut self, step: u64, next: impl Schedule + Send + Sync + 'static) -> Sequential {
        self.parts.push((step, Box::new(next)));
        self
    }
}

impl Schedule for Sequential {
    fn rate(&self, step: u64) -> f64 {
        let part = self.parts.iter().rev().find(|(start, _)| *start <= step);
        part.map_or(0.0, |(start, schedule)| schedule.rate(step - start))
    }
    fn observe(&mut self, metric: f64) {
        self.parts.iter_mut().for_each(|(_, schedule)| schedule.observe(metric));
    }
    fn state(&self) -> Vec<f64> {
        joined(self.parts.iter().map(|(_, schedule)| schedule))
    }
    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        super::expect_numbers(state, self.state().len())?;
        distribute(self.parts.iter_mut().map(|(_, schedule)| schedule), state)
    }
}

/// The product of schedules (PyTorch's `ChainedScheduler`): one gives the rate, the others are made with a rate of 1
/// and give factors.
///
/// ```
/// use vorpal_nn::schedule::{Chained, Constant, Exponential, Schedule};
/// let schedule = Chained::new(Exponential::new(0.1, 0.5)).times(Constant::new(1.0).first(0.1, 1));
/// assert_eq!((schedule.rate(0), schedule.rate(1)), (0.1 * 0.1, 0.05));
/// ```
pub struct Chained {
    parts: Vec<Boxed>,
}

impl Chained {
    /// The first factor.
    pub fn new(first: impl Schedule + Send + Sync + 'static) -> Chained {
        Chained { parts: vec![Box::new(first)] }
    }

    /// Another factor.
    #[must_use]
    pub fn times(mut self, next: impl Schedule + Send + Sync + 'static) -> Chained {
        self.parts.push(Box::new(next));
        self
    }
}

impl Schedule for Chained {
    fn rate(&self, step: u64) -> f64 {
        self.parts.iter().map(|schedule| schedule.rate(step)).product()
    }
    fn observe(&mut self, metric: f64) {
        self.parts.iter_mut().for_each(|schedule| schedule.observe(metric));
    }
    fn state(&self) -> Vec<f64> {
        joined(self.parts.iter())
    }
    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        super::expect_numbers(state, self.state().len())?;
        distribute(self.parts.iter_mut(), state)
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.parts.iter().map(|(start, _)| start)).finish()
    }
}

impl fmt::Debug for Chained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chained").field("parts", &self.parts.len()).finish()
    }
}

/// The states of several schedules in one list.
fn joined<'a>(parts: impl Iterator<Item = &'a Boxed>) -> Vec<f64> {
    parts.flat_map(|schedule| schedule.state()).collect()
}

/// The other way round; the list has as many numbers as [`joined`] gives.
fn distribute<'a>(parts: impl Iterator<Item = &'a mut Boxed>, mut state: &[f64]) -> Result<()> {
    for schedule in parts {
        let (own, rest) = state.split_at(schedule.state().len().min(state.len()));
        schedule.set_state(own)?;
        state = rest;
    }
    Ok(())
}
