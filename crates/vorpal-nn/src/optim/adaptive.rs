//! Step sizes by the squares of earlier gradients.

use vorpal_autodiff::Tensor;

use super::{Optim, Slot, Step, UpdateRule, penalised, running};

/// Options of [`Adagrad`].
#[derive(Clone, Debug)]
pub struct AdagradOptions {
    /// How fast the step size falls beside.
    pub rate_decay: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
    /// What the sums of squares begin with.
    pub initial_accumulator_value: f64,
    /// Added to the roots.
    pub eps: f64,
}

impl Default for AdagradOptions {
    fn default() -> AdagradOptions {
        AdagradOptions { rate_decay: 0.0, weight_decay: 0.0, initial_accumulator_value: 0.0, eps: 1e-10 }
    }
}

/// Gradients divided by the root of the sum of all earlier squares (Duchi, Hazan, Singer 2011), PyTorch's `Adagrad`.
///
/// ```
/// use vorpal_nn::{Adagrad, Optimizer};
/// assert_eq!(Adagrad::new(1e-2).learning_rate(), 1e-2);
/// ```
pub type Adagrad = Optim<AdagradOptions>;

impl UpdateRule for AdagradOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        vec![Slot { value: self.initial_accumulator_value, ..Slot::like("sum", parameter) }]
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let grad = penalised(grad, parameter, step.weight_decay);
        let [sum] = state else { return parameter.clone() };
        *sum = &*sum + grad.square();
        let rate = step.rate / (1.0 + (step.number as f64 - 1.0) * self.rate_decay);
        parameter - grad * rate / (sum.sqrt() + self.eps)
    }
}

/// Options of [`Adadelta`].
#[derive(Clone, Debug)]
pub struct AdadeltaOptions {
    /// Decay rate of both running means.
    pub rho: f64,
    /// Added to both.
    pub eps: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
}

impl Default for AdadeltaOptions {
    fn default() -> AdadeltaOptions {
        AdadeltaOptions { rho: 0.9, eps: 1e-6, weight_decay: 0.0 }
    }
}

/// Steps in the units of the parameters (Zeiler 2012), PyTorch's `Adadelta`. Its usual step size is 1.
///
/// ```
/// use vorpal_nn::{Adadelta, Optimizer};
/// assert_eq!(Adadelta::new(1.0).learning_rate(), 1.0);
/// ```
pub type Adadelta = Optim<AdadeltaOptions>;

impl UpdateRule for AdadeltaOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        vec![Slot::like("square_avg", parameter), Slot::like("acc_delta", parameter)]
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let grad = penalised(grad, parameter, step.weight_decay);
        let [squares, steps] = state else { return parameter.clone() };
        *squares = running(squares, &grad.square(), self.rho);
        let delta = (&*steps + self.eps).sqrt() / (&*squares + self.eps).sqrt() * grad;
        *steps = running(steps, &delta.square(), self.rho);
        parameter - delta * step.rate
    }
}

/// Options of [`RmsProp`].
#[derive(Clone, Debug)]
pub struct RmsPropOptions {
    /// Decay rate of the running mean of squares.
    pub alpha: f64,
    /// Added to the roots.
    pub eps: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
    /// Share of the previous step that is kept; 0 for none.
    pub momentum: f64,
    /// Whether gradients are divided by their deviation rather than by their size.
    pub centered: bool,
}

impl Default for RmsPropOptions {
    fn default() -> RmsPropOptions {
        RmsPropOptions { alpha: 0.99, eps: 1e-8, weight_decay: 0.0, momentum: 0.0, centered: false }
    }
}

/// Gradients divided by the root of their running mean square (Tieleman & Hinton 2012; centred as Graves 2013),
/// PyTorch's `RMSprop`.
///
/// ```
/// use vorpal_nn::{Optimizer, RmsProp, RmsPropOptions};
/// let optimizer = RmsProp::with_options(1e-2, RmsPropOptions { centered: true, ..RmsPropOptions::default() });
/// assert_eq!(optimizer.learning_rate(), 1e-2);
/// ```
pub type RmsProp = Optim<RmsPropOptions>;

impl UpdateRule for RmsPropOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        let mut slots = vec![Slot::like("square_avg", parameter)];
        if self.centered {
            slots.push(Slot::like("grad_avg", parameter));
        }
        if self.momentum != 0.0 {
            slots.push(Slot::like("momentum_buffer", parameter));
        }
        slots
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let grad = penalised(grad, parameter, step.weight_decay);
        let [squares, rest @ ..] = state else { return parameter.clone() };
        *squares = running(squares, &grad.square(), self.alpha);
        let (means, velocities) = rest.split_at_mut(usize::from(self.centered).min(rest.len()));
        let mut variance = squares.clone();
        if let [mean] = means {
            *mean = running(mean, &grad, self.alpha);
            variance = variance - mean.square();
        }
        let mut direction = grad / (variance.sqrt() + self.eps);
        if let [velocity] = velocities {
            *velocity = &*velocity * self.momentum + direction;
            direction = velocity.clone();
        }
        parameter - direction * step.rate
    }
}
