//! A schedule that listens.

use vorpal_autodiff::Result;

use super::{Schedule, expect_numbers};

/// Options of [`Plateau`].
#[derive(Clone, Copy, Debug)]
pub struct PlateauOptions {
    /// Whether the measure is to grow (an accuracy) rather than to fall (a loss).
    pub maximize: bool,
    /// What the rate is multiplied with.
    pub factor: f64,
    /// Measures without an improvement that are let pass.
    pub patience: u64,
    /// By how much a measure must be better to count.
    pub threshold: f64,
    /// Whether the threshold is a share of the best measure.
    pub relative: bool,
    /// Measures after a change that do not count.
    pub cooldown: u64,
    /// The lowest rate.
    pub min_rate: f64,
    /// Smaller changes of the rate than this are not made.
    pub eps: f64,
}

impl Default for PlateauOptions {
    fn default() -> PlateauOptions {
        PlateauOptions {
            maximize: false,
            factor: 0.1,
            patience: 10,
            threshold: 1e-4,
            relative: true,
            cooldown: 0,
            min_rate: 0.0,
            eps: 1e-8,
        }
    }
}

/// Lowers the rate when a measure stops to improve (PyTorch's `ReduceLROnPlateau`).
///
/// ```
/// use vorpal_nn::schedule::{Plateau, PlateauOptions, Schedule};
/// let mut schedule = Plateau::new(1.0, PlateauOptions { patience: 1, ..PlateauOptions::default() });
/// for loss in [3.0, 2.0, 2.0, 2.0] {
///     schedule.observe(loss);
/// }
/// assert_eq!(schedule.rate(4), 0.1);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Plateau {
    options: PlateauOptions,
    rate: f64,
    best: f64,
    bad: u64,
    cooling: u64,
}

impl Plateau {
    /// The first rate.
    pub fn new(rate: f64, options: PlateauOptions) -> Plateau {
        let best = if options.maximize { f64::NEG_INFINITY } else { f64::INFINITY };
        Plateau { options, rate, best, bad: 0, cooling: 0 }
    }

    fn is_better(&self, metric: f64) -> bool {
        let PlateauOptions { maximize, threshold, relative, .. } = self.options;
        match (maximize, relative) {
            (false, true) => metric < self.best * (1.0 - threshold),
            (false, false) => metric < self.best - threshold,
            (true, true) => metric > self.best * (1.0 + threshold),
            (true, false) => metric > self.best + threshold,
        }
    }
}

impl Schedule for Plateau {
    fn rate(&self, _: u64) -> f64 {
        self.rate
    }

    fn observe(&mut self, metric: f64) {
        if self.is_better(metric) {
            (self.best, self.bad) = (metric, 0);
        } else {
            self.bad += 1;
        }
        if self.cooling > 0 {
            self.cooling -= 1;
            self.bad = 0;
        }
        if self.bad > self.options.patience {
            let lower = (self.rate * self.options.factor).max(self.options.min_rate);
            if self.rate - lower > self.options.eps {
                self.rate = lower;
            }
            (self.cooling, self.bad) = (self.options.cooldown, 0);
        }
    }

    fn state(&self) -> Vec<f64> {
        vec![self.rate, self.best, self.bad as f64, self.cooling as f64]
    }

    fn set_state(&mut self, state: &[f64]) -> Result<()> {
        expect_numbers(state, 4)?;
        if let &[rate, best, bad, cooling] = state {
            (self.rate, self.best) = (rate, best);
            (self.bad, self.cooling) = (bad as u64, cooling as u64);
        }
        Ok(())
    }
}
