//! Losses of yes and no.

use vorpal_autodiff::Tensor;

use super::{Reduction, of_elements, weighted};

/// −y log x − (1 − y) log(1 − x) for probabilities x, PyTorch's `BCELoss`. Logarithms are not below −100.
/// [`BceWithLogitsLoss`] is more exact.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::BceLoss};
/// let x = Tensor::from_slice(&[0.5f32, 0.5], [2], &Device::cpu());
/// let loss = BceLoss::default().forward(&x, &x.full_like(1.0));
/// assert!((loss.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BceLoss {
    /// Weights of elements, broadcast to them.
    pub weight: Option<Tensor>,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl BceLoss {
    /// The loss of probabilities and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("bce_loss", &[input, target], self.reduction, || {
            let other: Tensor = 1.0 - input;
            let (yes, no) = (input.log().clamp_min(-100.0), other.log().clamp_min(-100.0));
            weighted(-(target * yes + (1.0 - target) * no), self.weight.as_ref())
        })
    }
}

/// [`BceLoss`] of the sigmoid of the input, without overflow. PyTorch's `BCEWithLogitsLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::BceWithLogitsLoss};
/// let x = Tensor::from_slice(&[0.0f32, 0.0], [2], &Device::cpu());
/// let loss = BceWithLogitsLoss { pos_weight: Some(x.full_like(3.0)), ..BceWithLogitsLoss::default() };
/// assert!((loss.forward(&x, &x.full_like(1.0)).item::<f32>()? - 8f32.ln()).abs() < 1e-5);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct BceWithLogitsLoss {
    /// Weights of elements, broadcast to them.
    pub weight: Option<Tensor>,
    /// How much more a missed yes weighs than a missed no, broadcast to elements.
    pub pos_weight: Option<Tensor>,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl BceWithLogitsLoss {
    /// The loss of logits and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("bce_with_logits_loss", &[input, target], self.reduction, || {
            let loss = match &self.pos_weight {
                None => binary_cross_entropy(input, target),
                Some(weight) => {
                    let missed = (weight - 1.0) * target + 1.0;
                    (1.0 - target) * input + missed * (-input).softplus()
                }
            };
            weighted(loss, self.weight.as_ref())
        })
    }
}

/// The binary cross-entropy of logits.
fn binary_cross_entropy(input: &Tensor, target: &Tensor) -> Tensor {
    input.softplus() - input * target
}

/// Binary cross-entropy of logits in which what is known already counts less (Lin et al. 2017), torchvision's
/// `sigmoid_focal_loss`: without reduction at first.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::SigmoidFocalLoss};
/// let x = Tensor::from_slice(&[0.0f32, 6.0], [2], &Device::cpu());
/// let losses = SigmoidFocalLoss::default().forward(&x, &x.full_like(1.0)).to_vec::<f32>()?;
/// assert!(losses[0] > 1000.0 * losses[1]);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SigmoidFocalLoss {
    /// The share of yes in the loss, if it is to have another than of no.
    pub alpha: Option<f64>,
    /// How much less.
    pub gamma: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for SigmoidFocalLoss {
    fn default() -> SigmoidFocalLoss {
        SigmoidFocalLoss { alpha: Some(0.25), gamma: 2.0, reduction: Reduction::None }
    }
}

impl SigmoidFocalLoss {
    /// The loss of logits and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("sigmoid_focal_loss", &[input, target], self.reduction, || {
            let (p, other): (Tensor, Tensor) = (input.sigmoid(), 1.0 - target);
            let missed: Tensor = (1.0 - &p) * target + &p * &other;
            let loss = binary_cross_entropy(input, target) * missed.pow(self.gamma);
            match self.alpha {
                Some(alpha) => loss * (target * alpha + other * (1.0 - alpha)),
                None => loss,
            }
        })
    }
}

/// log(1 + exp(−y x)) for y of 1 or −1, PyTorch's `SoftMarginLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::SoftMarginLoss};
/// let x = Tensor::from_slice(&[0.0f32, 0.0], [2], &Device::cpu());
/// let loss = SoftMarginLoss::default().forward(&x, &x.full_like(-1.0));
/// assert!((loss.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct SoftMarginLoss {
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl SoftMarginLoss {
    /// The loss of scores and targets of one shape.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("soft_margin_loss", &[input, target], self.reduction, || (-(input * target)).softplus())
    }
}

/// The mean binary cross-entropy of the logits of all classes `[…, classes]`, PyTorch's `MultiLabelSoftMarginLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::MultiLabelSoftMarginLoss};
/// let x = Tensor::from_slice(&[0.0f32, 0.0], [1, 2], &Device::cpu());
/// let loss = MultiLabelSoftMarginLoss::default().forward(&x, &x.full_like(1.0));
/// assert!((loss.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct MultiLabelSoftMarginLoss {
    /// Weights of classes.
    pub weight: Option<Tensor>,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl MultiLabelSoftMarginLoss {
    /// The loss of logits and targets (0 or 1) of one shape: a number for each example.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        of_elements("multilabel_soft_margin_loss", &[input, target], self.reduction, || {
            weighted(binary_cross_entropy(input, target), self.weight.as_ref()).mean(-1)
        })
    }
}
