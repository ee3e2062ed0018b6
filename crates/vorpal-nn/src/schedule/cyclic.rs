//! Schedules that go up and down.

use super::{Schedule, along_cosine, along_line};

/// Options of [`CosineWarmRestarts`].
#[derive(Clone, Copy, Debug)]
pub struct CosineWarmRestartsOptions {
    /// Every cycle is so many times as long as the one before.
    pub t_mult: u64,
    /// The lowest rate.
    pub eta_min: f64,
}

impl Default for CosineWarmRestartsOptions {
    fn default() -> CosineWarmRestartsOptions {
        CosineWarmRestartsOptions { t_mult: 1, eta_min: 0.0 }
    }
}

/// Down along half a cosine, and from the beginning again (Loshchilov & Hutter 2016; PyTorch's
/// `CosineAnnealingWarmRestarts`).
///
/// ```
/// use vorpal_nn::schedule::{CosineWarmRestarts, CosineWarmRestartsOptions, Schedule};
/// let options = CosineWarmRestartsOptions { t_mult: 2, ..CosineWarmRestartsOptions::default() };
/// let schedule = CosineWarmRestarts::with_options(1.0, 10, options);
/// assert_eq!((schedule.rate(10), schedule.rate(30)), (1.0, 1.0));
/// assert!((schedule.rate(20) - 0.5).abs() < 1e-12);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CosineWarmRestarts {
    rate: f64,
    first: u64,
    options: CosineWarmRestartsOptions,
}

impl CosineWarmRestarts {
    /// The highest rate and the steps of the first cycle; all cycles are as long.
    pub fn new(rate: f64, first: u64) -> CosineWarmRestarts {
        CosineWarmRestarts::with_options(rate, first, CosineWarmRestartsOptions::default())
    }

    /// With other options.
    pub fn with_options(rate: f64, first: u64, options: CosineWarmRestartsOptions) -> CosineWarmRestarts {
        CosineWarmRestarts { rate, first: first.max(1), options }
    }
}

impl Schedule for CosineWarmRestarts {
    fn rate(&self, step: u64) -> f64 {
        let (mut length, mut since) = (self.first, step);
        if self.options.t_mult <= 1 {
            since %= length;
        }
        while since >= length {
            since -= length;
            length = length.saturating_mul(self.options.t_mult);
        }
        along_cosine(self.rate, self.options.eta_min, since as f64 / length as f64)
    }
}

/// The way between two rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Anneal {
    /// Half a cosine.
    #[default]
    Cosine,
    /// A line.
    Linear,
}

impl Anneal {
    fn along(self, start: f64, end: f64, part: f64) -> f64 {
        match self {
            Anneal::Cosine => along_cosine(start, end, part),
            Anneal::Linear => along_line(start, end, part),
        }
    }
}

/// Options of [`OneCycle`].
#[derive(Clone, Copy, Debug)]
pub struct OneCycleOptions {
    /// Share of the steps that goes up.
    pub pct_start: f64,
    /// The way up and down.
    pub anneal: Anneal,
    /// The first rate is the highest divided by this.
    pub div_factor: f64,
    /// The last rate is the first divided by this.
    pub final_div_factor: f64,
    /// Whether it goes down to the first rate in as many steps as up, and from there to the last.
    pub three_phase: bool,
    /// The momentum at the highest rate and at the ends, see [`OneCycle::momentum`].
    pub momenta: (f64, f64),
}

impl Default for OneCycleOptions {
    fn default() -> OneCycleOptions {
        OneCycleOptions {
            pct_start: 0.3,
            anneal: Anneal::Cosine,
            div_factor: 25.0,
            final_div_factor: 1e4,
            three_phase: false,
            momenta: (0.85, 0.95),
        }
    }
}

/// Up and down once (Smith & Topin 2017; PyTorch's `OneCycleLR`). Behind its last step the rate stays.
///
/// ```
/// use vorpal_nn::schedule::{OneCycle, Schedule};
/// let schedule = OneCycle::new(0.1, 100);
/// assert_eq!((schedule.rate(0), schedule.rate(29), schedule.momentum(29)), (0.004, 0.1, 0.85));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct OneCycle {
    highest: f64,
    steps: u64,
    options: OneCycleOptions,
}

impl OneCycle {
    /// The highest rate and the number of all steps.
    pub fn new(highest: f64, steps: u64) -> OneCycle {
        OneCycle::with_options(highest, steps, OneCycleOptions::default())
    }

    /// With other options.
    pub fn with_options(highest: f64, steps: u64, options: OneCycleOptions) -> OneCycle {
        OneCycle { highest, steps, options }
    }

    /// The momentum of a step, which falls as the rate rises: for the first of Adam's betas or the momentum of SGD,
    /// which may change between steps without compiling anything anew.
    pub fn momentum(&self, step: u64) -> f64 {
        let (low, high) = self.options.momenta;
        self.between(step, [high, low, high, high])
    }

    /// A value between those at the beginning, at the top, at the end of the second phase and at the end of a third.
    fn between(&self, step: u64, [start, top, down, end]: [f64; 4]) -> f64 {
        let (total, rise) = (self.steps as f64, self.options.pct_start * self.steps as f64);
        let step = (step as f64).min(total - 1.0);
        let phases: [(f64, f64, f64); 3] = if self.options.three_phase {
            [(rise - 1.0, start, top), (2.0 * rise - 2.0, top, down), (total - 1.0, down, end)]
        } else {
            [(rise - 1.0, start, top), (total - 1.0, top, end), (total - 1.0, end, end)]
        };
        let mut from = 0.0;
        for (to, start, end) in phases {
            if step <= to {
                let part = if to > from { (step - from) / (to - from) } else { 1.0 };
                return self.options.anneal.along(start, end, part);
            }
            from = to;
        }
        end
    }
}

impl Schedule for OneCycle {
    fn rate(&self, step: u64) -> f64 {
        let first = self.highest / self.options.div_factor;
        self.between(step, [first, self.highest, first, first / self.options.final_div_factor])
    }
}

/// How the height of the cycles of [`Cyclic`] changes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum CyclicMode {
    /// Not at all.
    #[default]
    Triangular,
    /// Every cycle is half as high.
    Triangular2,
    /// Times this number in every step.
    ExpRange(f64),
}

/// Options of [`Cyclic`].
#[derive(Clone, Copy, Debug)]
pub struct CyclicOptions {
    /// Steps from the lowest to the highest rate.
    pub step_size_up: u64,
    /// Steps down again; as many if not given.
    pub step_size_down: Option<u64>,
    /// How the height changes.
    pub mode: CyclicMode,
    /// The momentum at the highest rate and at the lowest, see [`Cyclic::momentum`].
    pub momenta: (f64, f64),
}

impl Default for CyclicOptions {
    fn default() -> CyclicOptions {
        CyclicOptions {
            step_size_up: 2000,
            step_size_down: None,
            mode: CyclicMode::Triangular,
            momenta: (0.8, 0.9),
        }
    }
}

/// Up and down along lines (Smith 2015; PyTorch's `CyclicLR`).
///
/// ```
/// use vorpal_nn::schedule::{Cyclic, CyclicOptions, Schedule};
/// let schedule = Cyclic::new(0.0, 1.0, CyclicOptions { step_size_up: 4, ..CyclicOptions::default() });
/// assert_eq!((schedule.rate(0), schedule.rate(2), schedule.rate(4), schedule.rate(8)), (0.0, 0.5, 1.0, 0.0));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Cyclic {
    rates: (f64, f64),
    options: CyclicOptions,
}

impl Cyclic {
    /// The lowest and the highest rate.
    pub fn new(lowest: f64, highest: f64, options: CyclicOptions) -> Cyclic {
        Cyclic { rates: (lowest, highest), options }
    }

    /// The momentum of a step, which falls as the rate rises, as [`OneCycle::momentum`].
    pub fn momentum(&self, step: u64) -> f64 {
        let (low, high) = self.options.momenta;
        high - (high - low) * self.height(step)
    }

    /// Between 0 at the lowest and 1 at the highest rate.
    fn height(&self, step: u64) -> f64 {
        let up = self.options.step_size_up.max(1) as f64;
        let down = self.options.step_size_down.map_or(up, |down| down.max(1) as f64);
        let cycles = step as f64 / (up + down);
        let (cycle, part, top) = (cycles.floor(), cycles.fract(), up / (up + down));
        let height = if part <= top { part / top } else { (part - 1.0) / (top - 1.0) };
        height
            * match self.options.mode {
                CyclicMode::Triangular => 1.0,
                CyclicMode::Triangular2 => 0.5f64.powf(cycle),
                CyclicMode::ExpRange(gamma) => gamma.powf(step as f64),
            }
    }
}

impl Schedule for Cyclic {
    fn rate(&self, step: u64) -> f64 {
        along_line(self.rates.0, self.rates.1, self.height(step))
    }
}
