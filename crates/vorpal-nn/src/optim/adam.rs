//! Adam and its relatives: running means of gradients and of their squares.

use vorpal_autodiff::Tensor;

use super::{Optim, Slot, Step, UpdateRule, decayed, penalised, running, with_decay};

/// Options of [`Adam`].
#[derive(Clone, Debug)]
pub struct AdamOptions {
    /// Decay rates of the running means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameters that is taken away, or added to their gradients if not `decoupled`.
    pub weight_decay: f64,
    /// Whether decay acts on the parameters themselves (AdamW).
    pub decoupled: bool,
    /// Whether the largest second moment so far counts (Reddi, Kale, Kumar 2018).
    pub amsgrad: bool,
}

impl Default for AdamOptions {
    fn default() -> AdamOptions {
        AdamOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false, amsgrad: false }
    }
}

/// Adam (Kingma & Ba 2014), and AdamW (Loshchilov & Hutter 2017) where the decay acts on the parameters
/// themselves. PyTorch's `Adam` and `AdamW`.
///
/// ```
/// use vorpal_nn::{Adam, AdamOptions, Optimizer};
///
/// let mut optimizer = Adam::with_options(1e-3, AdamOptions { amsgrad: true, ..AdamOptions::default() });
/// optimizer.set_learning_rate(5e-4);
/// assert_eq!(Adam::adamw(1e-3).options.weight_decay, 0.01);
/// ```
pub type Adam = Optim<AdamOptions>;

impl Adam {
    /// AdamW with PyTorch's default decay of 0.01.
    pub fn adamw(learning_rate: f64) -> Adam {
        let options = AdamOptions { weight_decay: 0.01, decoupled: true, ..AdamOptions::default() };
        Adam::with_options(learning_rate, options)
    }
}

/// The two running means.
fn moments(parameter: &Tensor) -> Vec<Slot> {
    vec![Slot::like("exp_avg", parameter), Slot::like("exp_avg_sq", parameter)]
}

/// Takes both running means one step further.
fn advance(first: &mut Tensor, second: &mut Tensor, grad: &Tensor, betas: (f64, f64)) {
    *first = running(first, grad, betas.0);
    *second = running(second, &grad.square(), betas.1);
}

impl UpdateRule for AdamOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        let mut slots = moments(parameter);
        if self.amsgrad {
            slots.push(Slot::like("max_exp_avg_sq", parameter));
        }
        slots
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let (parameter, grad) = with_decay(parameter, grad, step, self.decoupled);
        let [first, second, largest @ ..] = state else { return parameter };
        advance(first, second, &grad, self.betas);
        let mut square = second.clone();
        if let [largest] = largest {
            *largest = largest.maximum(&square);
            square = largest.clone();
        }
        let rate = step.rate / step.correction(self.betas.0);
        let scale = 1.0 / step.correction(self.betas.1).sqrt();
        parameter - (&*first * rate) / (square.sqrt() * scale + self.eps)
    }
}

/// Options of [`NAdam`].
#[derive(Clone, Debug)]
pub struct NAdamOptions {
    /// Decay rates of the running means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameters that is taken away, or added to their gradients if not `decoupled`.
    pub weight_decay: f64,
    /// Whether decay acts on the parameters themselves.
    pub decoupled: bool,
    /// How fast the momentum reaches its first decay rate.
    pub momentum_decay: f64,
}

impl Default for NAdamOptions {
    fn default() -> NAdamOptions {
        NAdamOptions {
            betas: (0.9, 0.999),
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            momentum_decay: 4e-3,
        }
    }
}

/// Adam whose momentum looks ahead (Dozat 2016), PyTorch's `NAdam`.
///
/// ```
/// use vorpal_nn::{NAdam, Optimizer};
/// assert_eq!(NAdam::new(2e-3).learning_rate(), 2e-3);
/// ```
pub type NAdam = Optim<NAdamOptions>;

impl NAdamOptions {
    /// Momentum of a step.
    fn momentum(&self, number: u64) -> f64 {
        self.betas.0 * (1.0 - 0.5 * 0.96f64.powf(number as f64 * self.momentum_decay))
    }

    /// The product of the momenta of all steps up to one. It vanishes after some thousand factors.
    fn product(&self, number: u64) -> f64 {
        let mut product = 1.0;
        for number in 1..=number {
            product *= self.momentum(number);
            if product < 1e-30 {
                return 0.0;
            }
        }
        product
    }
}

impl UpdateRule for NAdamOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        moments(parameter)
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let (parameter, grad) = with_decay(parameter, grad, step, self.decoupled);
        let [first, second] = state else { return parameter };
        advance(first, second, &grad, self.betas);
        let (now, next) = (self.momentum(step.number), self.momentum(step.number + 1));
        let product = self.product(step.number);
        let of_grad = step.rate * (1.0 - now) / (1.0 - product);
        let of_mean = step.rate * next / (1.0 - product * next);
        let scale = 1.0 / step.correction(self.betas.1).sqrt();
        parameter - (grad * of_grad + &*first * of_mean) / (second.sqrt() * scale + self.eps)
    }
}

/// Options of [`RAdam`].
#[derive(Clone, Debug)]
pub struct RAdamOptions {
    /// Decay rates of the running means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameters that is taken away, or added to their gradients if not `decoupled`.
    pub weight_decay: f64,
    /// Whether decay acts on the parameters themselves.
    pub decoupled: bool,
}

impl Default for RAdamOptions {
    fn default() -> RAdamOptions {
        RAdamOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0, decoupled: false }
    }
}

/// Adam that adapts only once the second moment is known well enough (Liu et al. 2019), PyTorch's `RAdam`. Both ways
/// of a step are one graph.
///
/// ```
/// use vorpal_nn::{Optimizer, RAdam};
/// assert_eq!(RAdam::new(1e-3).learning_rate(), 1e-3);
/// ```
pub type RAdam = Optim<RAdamOptions>;

impl RAdamOptions {
    /// What multiplies the first moment as it is, and what multiplies it divided by the root of the second.
    fn shares(&self, step: &Step<'_>) -> (f64, f64) {
        let (decay, missing) = (self.betas.1, step.correction(self.betas.1));
        let longest = 2.0 / (1.0 - decay) - 1.0;
        let length = longest - 2.0 * step.number as f64 * (1.0 - missing) / missing;
        if length <= 5.0 {
            return (1.0, 0.0);
        }
        let rectification =
            (length - 4.0) * (length - 2.0) * longest / ((longest - 4.0) * (longest - 2.0) * length);
        (0.0, rectification.sqrt() * missing.sqrt())
    }
}

impl UpdateRule for RAdamOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        moments(parameter)
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let (parameter, grad) = with_decay(parameter, grad, step, self.decoupled);
        let [first, second] = state else { return parameter };
        advance(first, second, &grad, self.betas);
        let (plain, adaptive) = self.shares(step);
        let rate = step.rate / step.correction(self.betas.0);
        // One of the two shares is 0, so that the graph is the same before and after.
        let root = second.sqrt() + self.eps;
        parameter - &*first * (root.reciprocal() * (adaptive * rate) + plain * rate)
    }
}

/// Options of [`Adamax`].
#[derive(Clone, Debug)]
pub struct AdamaxOptions {
    /// Decay rates of the running mean of gradients and of their largest size.
    pub betas: (f64, f64),
    /// Added to the size of a gradient.
    pub eps: f64,
    /// Share of the parameters added to their gradients.
    pub weight_decay: f64,
}

impl Default for AdamaxOptions {
    fn default() -> AdamaxOptions {
        AdamaxOptions { betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 }
    }
}

/// Adam with the largest gradient in place of the second moment (Kingma & Ba 2014), PyTorch's `Adamax`.
///
/// ```
/// use vorpal_nn::{Adamax, Optimizer};
/// assert_eq!(Adamax::new(2e-3).learning_rate(), 2e-3);
/// ```
pub type Adamax = Optim<AdamaxOptions>;

impl UpdateRule for AdamaxOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        vec![Slot::like("exp_avg", parameter), Slot::like("exp_inf", parameter)]
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let grad = penalised(grad, parameter, step.weight_decay);
        let [mean, largest] = state else { return parameter.clone() };
        *mean = running(mean, &grad, self.betas.0);
        *largest = (&*largest * self.betas.1).maximum(grad.abs() + self.eps);
        parameter - &*mean * (step.rate / step.correction(self.betas.0)) / &*largest
    }
}

/// Options of [`Lamb`].
#[derive(Clone, Debug)]
pub struct LambOptions {
    /// Decay rates of the running means of gradients and of their squares.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Share of the parameters added to their steps.
    pub weight_decay: f64,
}

impl Default for LambOptions {
    fn default() -> LambOptions {
        LambOptions { betas: (0.9, 0.999), eps: 1e-6, weight_decay: 0.0 }
    }
}

/// Adam for large batches, whose steps are as long as their parameters are (You et al. 2019, Algorithm 2).
///
/// ```
/// use vorpal_nn::{Lamb, LambOptions, Optimizer};
/// let optimizer = Lamb::with_options(2e-3, LambOptions { weight_decay: 0.01, ..LambOptions::default() });
/// assert_eq!(optimizer.learning_rate(), 2e-3);
/// ```
pub type Lamb = Optim<LambOptions>;

impl UpdateRule for LambOptions {
    fn weight_decay(&self) -> f64 {
        self.weight_decay
    }

    fn slots(&self, _: &Step<'_>, parameter: &Tensor) -> Vec<Slot> {
        moments(parameter)
    }

    fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let [first, second] = state else { return parameter.clone() };
        advance(first, second, grad, self.betas);
        let mean = &*first * (1.0 / step.correction(self.betas.0));
        let root = (&*second * (1.0 / step.correction(self.betas.1))).sqrt() + self.eps;
        let direction = penalised(&(mean / root), parameter, step.weight_decay);
        let lengths = [parameter, &direction].map(|x| x.square().sum_all().sqrt());
        let zero = lengths[0].full_like(0.0);
        let both = lengths[0].minimum(&lengths[1]).gt(&zero);
        let trust = both
            .select(&lengths[0] / both.select(&lengths[1], lengths[1].full_like(1.0)), zero.full_like(1.0));
        parameter - direction * trust * step.rate
    }
}

/// The step of AdamW for parameters that another rule leaves to it.
pub(super) struct AdamW {
    pub betas: (f64, f64),
    pub eps: f64,
}

impl AdamW {
    pub fn slots(parameter: &Tensor) -> Vec<Slot> {
        moments(parameter)
    }

    pub fn update(&self, step: &Step<'_>, parameter: &Tensor, grad: &Tensor, state: &mut [Tensor]) -> Tensor {
        let options = AdamOptions { betas: self.betas, eps: self.eps, ..AdamOptions::default() };
        let undecayed = Step { weight_decay: 0.0, ..*step };
        options.update(&undecayed, &decayed(parameter, step), grad, state)
    }
}
