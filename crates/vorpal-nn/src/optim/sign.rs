//! Steps by the sign of gradients alone.

use vorpal_autodiff::Tensor;

use super::{Optim, Slot, Step, UpdateRule, decayed, running};

/// Options of [`Lion`].
#[derive(Clone, Debug)]
pub struct LionOptions {
    /// Shares of the running mean in a step and in the next mean.
    pub betas: (f64, f64),
    /// Share of the parameters that is taken away.
    pub weight_decay: f64,
}

impl Default for LionOptions {
    fn default() -> LionOptions {
        LionOptions { betas: (0.9, 0.99), weight_decay: 0.0 }
    }
}

/// The sign of momentum (Chen et al. 2023). Its usual step size is a third to a tenth of Adam's, its decay as much
/// larger.
///
/// ```
/// use vorpal_nn::{Lion, LionOptions, Optimizer};
/// let optimizer = Lion::with_options(1e-4, LionOptions { weight_decay: 0.1, ..LionOptions::default() });
/// assert_eq!(optimizer.learning_rate(), 1e-4);
/// ```
pub type Lion = Optim<LionOptions>;

impl UpdateRule for LionOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        vec![Slot::like("exp_avg", parameter)]
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let [mean] = state else { return parameter.clone() };
        let direction = running(mean, grad, self.betas.0).sign();
        *mean = running(mean, grad, self.betas.1);
        decayed(parameter, step) - direction * step.rate
    }
}

/// Options of [`Rprop`].
#[derive(Clone, Debug)]
pub struct RpropOptions {
    /// What step sizes are multiplied with where a gradient changes its sign, and where it keeps it.
    pub etas: (f64, f64),
    /// The smallest and the largest step size.
    pub step_sizes: (f64, f64),
}

impl Default for RpropOptions {
    fn default() -> RpropOptions {
        RpropOptions { etas: (0.5, 1.2), step_sizes: (1e-6, 50.0) }
    }
}

/// A step size for every element, by the sign of gradients (Riedmiller & Braun 1992), for whole batches. PyTorch's
/// `Rprop`. The learning rate is the step size of the first step.
///
/// ```
/// use vorpal_nn::{Optimizer, Rprop};
/// assert_eq!(Rprop::new(1e-2).learning_rate(), 1e-2);
/// ```
pub type Rprop = Optim<RpropOptions>;

impl UpdateRule for RpropOptions {
    fn weight_decay(&self) -> f64 {
        0.0
    }

    fn slots(&self, step: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        let size = Slot { value: step.rate, ..Slot::like("step_size", parameter) };
        vec![Slot::like("prev", parameter), size]
    }

    fn update(&self, _: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let [previous, size] = state else { return parameter.clone() };
        let agreement = grad * &*previous;
        let zero = agreement.full_like(0.0);
        let (same, other) = (agreement.gt(&zero), agreement.lt(&zero));
        let factor = same.select(
            zero.full_like(self.etas.1),
            other.select(zero.full_like(self.etas.0), zero.full_like(1.0)),
        );
        *size = (&*size * factor).clamp(self.step_sizes.0, self.step_sizes.1);
        // Where the sign changed, the step before went too far: none now, and no change of sign the next time.
        *previous = other.select(&zero, grad);
        parameter - previous.sign() * &*size
    }
}
