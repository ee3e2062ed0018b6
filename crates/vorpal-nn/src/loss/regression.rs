//! Losses of numbers, and of distributions of numbers.

use std::f64::consts::PI;

use vorpal_autodiff::Tensor;

use super::{Reduction, of_elements};

/// (x − y)², PyTorch's `MSELoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::MseLoss};
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu());
/// assert_eq!(MseLoss::default().forward(&x, &x.full_like(0.0)).item::<f32>()?, 5.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct MseLoss {
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl MseLoss {
    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("mse_loss", &[input, target], self.reduction, || (input - target).square())
    }
}

/// |x − y|, PyTorch's `L1Loss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::L1Loss};
/// let x = Tensor::from_slice(&[1.0f32, -3.0], [2], &Device::cpu());
/// assert_eq!(L1Loss::default().forward(&x, &x.full_like(0.0)).item::<f32>()?, 2.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct L1Loss {
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl L1Loss {
    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("l1_loss", &[input, target], self.reduction, || (input - target).abs())
    }
}

/// Half a square near 0 and a line beyond `limit`, whose slope is `limit`.
fn huber(difference: &Tensor, limit: f64) -> Tensor {
    let size = difference.abs();
    // The part of the difference inside of the limit; the rest counts linearly.
    let inside = size.clamp_max(limit);
    &inside * (size - &inside * 0.5)
}

/// (x − y)² ∕ 2β where that is below β, else |x − y| − β ∕ 2 (Girshick 2015), PyTorch's `SmoothL1Loss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::SmoothL1Loss};
/// let x = Tensor::from_slice(&[1.0f32, -3.0], [2], &Device::cpu());
/// assert_eq!(SmoothL1Loss::default().forward(&x, &x.full_like(0.0)).item::<f32>()?, 1.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SmoothL1Loss {
    /// Where the line begins.
    pub beta: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for SmoothL1Loss {
    fn default() -> SmoothL1Loss {
        SmoothL1Loss { beta: 1.0, reduction: Reduction::Mean }
    }
}

impl SmoothL1Loss {
    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("smooth_l1_loss", &[input, target], self.reduction, || {
            let difference = input - target;
            if self.beta == 0.0 {
                difference.abs()
            } else {
                huber(&difference, self.beta) * (1.0 / self.beta)
            }
        })
    }
}

/// (x − y)² ∕ 2 where |x − y| is below δ, else δ (|x − y| − δ ∕ 2) (Huber 1964), PyTorch's `HuberLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::HuberLoss};
/// let x = Tensor::from_slice(&[1.0f32, -3.0], [2], &Device::cpu());
/// let loss = HuberLoss { delta: 2.0, ..HuberLoss::default() };
/// assert_eq!(loss.forward(&x, &x.full_like(0.0)).item::<f32>()?, 2.25);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct HuberLoss {
    /// Where the line begins.
    pub delta: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for HuberLoss {
    fn default() -> HuberLoss {
        HuberLoss { delta: 1.0, reduction: Reduction::Mean }
    }
}

impl HuberLoss {
    /// The loss of two tensors of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("huber_loss", &[input, target], self.reduction, || huber(&(input - target), self.delta))
    }
}

/// What a guess of a quantile costs (Koenker & Bassett 1978): q of an error upwards, 1 − q of one downwards.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::QuantileLoss};
/// let target = Tensor::from_slice(&[1.0f32, -1.0], [2], &Device::cpu());
/// let loss = QuantileLoss::new(0.75).forward(&target.full_like(0.0), &target);
/// assert_eq!(loss.item::<f32>()?, 0.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct QuantileLoss {
    /// The quantile, between 0 and 1.
    pub quantile: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl QuantileLoss {
    /// The mean loss for a quantile.
    pub fn new(quantile: f64) -> QuantileLoss {
        QuantileLoss { quantile, reduction: Reduction::Mean }
    }

    /// The loss of guesses `input` where `target` is found, of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("quantile_loss", &[input, target], self.reduction, || {
            let error = target - input;
            error.relu() * self.quantile + (-error).relu() * (1.0 - self.quantile)
        })
    }
}

/// Minus the logarithm of a normal density with mean `input` and variance `var` (Nix & Weigend 1994), PyTorch's
/// `GaussianNLLLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::GaussianNllLoss};
/// let x = Tensor::from_slice(&[1.0f32, 3.0], [2], &Device::cpu());
/// let loss = GaussianNllLoss::default().forward(&x, &x.full_like(0.0), &x.full_like(1.0));
/// assert_eq!(loss.item::<f32>()?, 2.5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct GaussianNllLoss {
    /// Whether the constant ½ log 2π belongs to it.
    pub full: bool,
    /// The least variance; derivatives are those at it.
    pub eps: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for GaussianNllLoss {
    fn default() -> GaussianNllLoss {
        GaussianNllLoss { full: false, eps: 1e-6, reduction: Reduction::Mean }
    }
}

impl GaussianNllLoss {
    /// The loss of means and targets of one shape; variances broadcast.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor, var: &Tensor) -> Tensor {
        of_elements("gaussian_nll_loss", &[input, target], self.reduction, || {
            let var = var + (var.clamp_min(self.eps) - var).stop_gradient();
            let loss = (var.log() + (input - target).square() / &var) * 0.5;
            if self.full { loss + 0.5 * (2.0 * PI).ln() } else { loss }
        })
    }
}

/// Minus the logarithm of a Poisson probability, PyTorch's `PoissonNLLLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::PoissonNllLoss};
/// let x = Tensor::from_slice(&[0.0f32, 0.0], [2], &Device::cpu());
/// assert_eq!(PoissonNllLoss::default().forward(&x, &x.full_like(3.0)).item::<f32>()?, 1.0);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PoissonNllLoss {
    /// Whether the input is the logarithm of the mean.
    pub log_input: bool,
    /// Whether Stirling's approximation of log y! belongs to it, for y > 1.
    pub full: bool,
    /// Added to a mean before its logarithm.
    pub eps: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for PoissonNllLoss {
    fn default() -> PoissonNllLoss {
        PoissonNllLoss { log_input: true, full: false, eps: 1e-8, reduction: Reduction::Mean }
    }
}

impl PoissonNllLoss {
    /// The loss of means and counts of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("poisson_nll_loss", &[input, target], self.reduction, || {
            let loss = if self.log_input {
                input.exp() - target * input
            } else {
                input - target * (input + self.eps).log()
            };
            if !self.full {
                return loss;
            }
            let large = target.gt(target.full_like(1.0));
            // A harmless number where the approximation does not count.
            let y = large.select(target, target.full_like(1.0));
            let stirling = &y * y.log() - &y + (&y * (2.0 * PI)).log() * 0.5;
            loss + large.select(&stirling, stirling.full_like(0.0))
        })
    }
}

/// Minus the logarithm of a negative binomial probability, for counts that vary more than Poisson's: that of
/// `torch.distributions.NegativeBinomial(total_count, logits)`. A mean μ and a shape r are `total_count` = r, `input` =
/// log(μ ∕ r).
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::NegativeBinomialNllLoss};
/// let logits = Tensor::from_slice(&[0.0f32, 0.0], [2], &Device::cpu());
/// let one = logits.full_like(1.0);
/// let loss = NegativeBinomialNllLoss::default().forward(&logits, &one, &one);
/// assert!((loss.item::<f32>()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct NegativeBinomialNllLoss {
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl NegativeBinomialNllLoss {
    /// The loss of logits and counts of one shape; `total_count` broadcasts.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor, total_count: &Tensor) -> Tensor {
        of_elements("negative_binomial_nll_loss", &[input, target], self.reduction, || {
            let chance = (-input).log_sigmoid() * total_count + input.log_sigmoid() * target;
            let ways = (total_count + target).lgamma() - (target + 1.0).lgamma() - total_count.lgamma();
            -(chance + ways)
        })
    }
}

/// y (log y − x) for log-probabilities x and probabilities y, PyTorch's `KLDivLoss`. Its mathematical mean is
/// [`Reduction::BatchMean`].
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::{KlDivLoss, Reduction}};
/// let p = Tensor::from_slice(&[0.25f32, 0.75], [1, 2], &Device::cpu());
/// let loss = KlDivLoss { reduction: Reduction::BatchMean, ..KlDivLoss::default() };
/// assert!(loss.forward(&p.log(), &p).item::<f32>()?.abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct KlDivLoss {
    /// Whether targets are log-probabilities as well.
    pub log_target: bool,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl KlDivLoss {
    /// The loss of log-probabilities and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("kl_div", &[input, target], self.reduction, || {
            if self.log_target {
                target.exp() * (target - input)
            } else {
                target.xlogy(target) - target * input
            }
        })
    }
}
