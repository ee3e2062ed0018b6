//! Schedules that fall.

use super::{Schedule, along_cosine, along_line};

/// One rate at all times, or a share of it during the first steps (PyTorch's `ConstantLR`).
///
/// ```
/// use vorpal_nn::schedule::{Constant, Schedule};
/// assert_eq!(Constant::new(0.1).rate(1000), 0.1);
/// assert_eq!(Constant::new(0.1).first(0.5, 10).rate(9), 0.05);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Constant {
    rate: f64,
    factor: f64,
    steps: u64,
}

impl Constant {
    /// The rate.
    pub fn new(rate: f64) -> Constant {
        Constant { rate, factor: 1.0, steps: 0 }
    }

    /// A share of the rate during the first `steps`.
    #[must_use]
    pub fn first(self, factor: f64, steps: u64) -> Constant {
        Constant { factor, steps, ..self }
    }
}

impl Schedule for Constant {
    fn rate(&self, step: u64) -> f64 {
        if step < self.steps { self.rate * self.factor } else { self.rate }
    }
}

/// From a share of the rate to another along a line (PyTorch's `LinearLR`).
///
/// ```
/// use vorpal_nn::schedule::{Linear, Schedule};
/// let schedule = Linear::new(0.1, 0.5, 1.0, 4);
/// assert_eq!((schedule.rate(0), schedule.rate(2), schedule.rate(9)), (0.05, 0.1 * 0.75, 0.1));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Linear {
    rate: f64,
    factors: (f64, f64),
    steps: u64,
}

impl Linear {
    /// The rate, the share of it at first and after `steps`.
    pub fn new(rate: f64, start_factor: f64, end_factor: f64, steps: u64) -> Linear {
        Linear { rate, factors: (start_factor, end_factor), steps }
    }
}

impl Schedule for Linear {
    fn rate(&self, step: u64) -> f64 {
        let part = step.min(self.steps) as f64 / self.steps.max(1) as f64;
        self.rate * along_line(self.factors.0, self.factors.1, part)
    }
}

/// Times `gamma` after every `every` steps (PyTorch's `StepLR`).
///
/// ```
/// use vorpal_nn::schedule::{Schedule, StepDecay};
/// assert_eq!(StepDecay::new(1.0, 30, 0.5).rate(60), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StepDecay {
    rate: f64,
    every: u64,
    gamma: f64,
}

impl StepDecay {
    /// The first rate, after how many steps it changes, and its factor (PyTorch's default is 0.1).
    pub fn new(rate: f64, every: u64, gamma: f64) -> StepDecay {
        StepDecay { rate, every, gamma }
    }
}

impl Schedule for StepDecay {
    fn rate(&self, step: u64) -> f64 {
        self.rate * self.gamma.powf((step / self.every.max(1)) as f64)
    }
}

/// Times `gamma` at every milestone (PyTorch's `MultiStepLR`).
///
/// ```
/// use vorpal_nn::schedule::{MultiStep, Schedule};
/// let schedule = MultiStep::new(1.0, vec![30, 80], 0.5);
/// assert_eq!((schedule.rate(29), schedule.rate(30), schedule.rate(99)), (1.0, 0.5, 0.25));
/// ```
#[derive(Clone, Debug)]
pub struct MultiStep {
    rate: f64,
    milestones: Vec<u64>,
    gamma: f64,
}

impl MultiStep {
    /// The first rate, the steps it changes at, and its factor (PyTorch's default is 0.1).
    pub fn new(rate: f64, milestones: Vec<u64>, gamma: f64) -> MultiStep {
        MultiStep { rate, milestones, gamma }
    }
}

impl Schedule for MultiStep {
    fn rate(&self, step: u64) -> f64 {
        let passed = self.milestones.iter().filter(|&&milestone| milestone <= step).count();
        self.rate * self.gamma.powf(passed as f64)
    }
}

/// Times `gamma` in every step (PyTorch's `ExponentialLR`).
///
/// ```
/// use vorpal_nn::schedule::{Exponential, Schedule};
/// assert_eq!(Exponential::new(1.0, 0.5).rate(3), 0.125);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Exponential {
    rate: f64,
    gamma: f64,
}

impl Exponential {
    /// The first rate and its factor.
    pub fn new(rate: f64, gamma: f64) -> Exponential {
        Exponential { rate, gamma }
    }
}

impl Schedule for Exponential {
    fn rate(&self, step: u64) -> f64 {
        self.rate * self.gamma.powf(step as f64)
    }
}

/// To 0 as a power of the steps that are left (PyTorch's `PolynomialLR`).
///
/// ```
/// use vorpal_nn::schedule::{Polynomial, Schedule};
/// assert_eq!(Polynomial::new(1.0, 10, 2.0).rate(5), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Polynomial {
    rate: f64,
    steps: u64,
    power: f64,
}

impl Polynomial {
    /// The first rate, the steps until it is 0, and the power (PyTorch's default is 1).
    pub fn new(rate: f64, steps: u64, power: f64) -> Polynomial {
        Polynomial { rate, steps, power }
    }
}

impl Schedule for Polynomial {
    fn rate(&self, step: u64) -> f64 {
        let part = step.min(self.steps) as f64 / self.steps.max(1) as f64;
        self.rate * (1.0 - part).powf(self.power)
    }
}

/// Along half a cosine down to a lowest rate, and up again behind it (Loshchilov & Hutter 2016; PyTorch's
/// `CosineAnnealingLR`).
///
/// ```
/// use vorpal_nn::schedule::{CosineAnnealing, Schedule};
/// let schedule = CosineAnnealing::new(1.0, 100).lowest(0.2);
/// assert_eq!((schedule.rate(0), schedule.rate(100)), (1.0, 0.2));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct CosineAnnealing {
    rate: f64,
    steps: u64,
    lowest: f64,
}

impl CosineAnnealing {
    /// The first rate and the steps until it is 0.
    pub fn new(rate: f64, steps: u64) -> CosineAnnealing {
        CosineAnnealing { rate, steps, lowest: 0.0 }
    }

    /// Another lowest rate than 0 (PyTorch's `eta_min`).
    #[must_use]
    pub fn lowest(self, lowest: f64) -> CosineAnnealing {
        CosineAnnealing { lowest, ..self }
    }
}

impl Schedule for CosineAnnealing {
    fn rate(&self, step: u64) -> f64 {
        along_cosine(self.rate, self.lowest, step as f64 / self.steps.max(1) as f64)
    }
}

/// Up along a line, then as 1 ∕ √step (Vaswani et al. 2017, section 5.3).
///
/// ```
/// use vorpal_nn::schedule::{InverseSqrt, Schedule};
/// let schedule = InverseSqrt::new(1.0, 100);
/// assert_eq!((schedule.rate(49), schedule.rate(99), schedule.rate(399)), (0.5, 1.0, 0.5));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct InverseSqrt {
    rate: f64,
    warmup: u64,
}

impl InverseSqrt {
    /// The highest rate, and the steps until it is reached.
    pub fn new(rate: f64, warmup: u64) -> InverseSqrt {
        InverseSqrt { rate, warmup }
    }
}

impl Schedule for InverseSqrt {
    fn rate(&self, step: u64) -> f64 {
        let (step, warmup) = (step as f64 + 1.0, self.warmup.max(1) as f64);
        self.rate * (step / warmup).min((warmup / step).sqrt())
    }
}

/// The rate times a function of the step (PyTorch's `LambdaLR`).
///
/// ```
/// use vorpal_nn::schedule::{Lambda, Schedule};
/// assert_eq!(Lambda::new(0.5, |step| 1.0 / (1.0 + step as f64)).rate(1), 0.25);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Lambda<F> {
    rate: f64,
    factor: F,
}

impl<F: Fn(u64) -> f64> Lambda<F> {
    /// The rate and the function.
    pub fn new(rate: f64, factor: F) -> Lambda<F> {
        Lambda { rate, factor }
    }
}

impl<F: Fn(u64) -> f64> Schedule for Lambda<F> {
    fn rate(&self, step: u64) -> f64 {
        self.rate * (self.factor)(step)
    }
}
