//! Losses of one class among several.

use vorpal_autodiff::{At, DType, Tensor};

use super::{Reduction, class_numbers, failed, misfit, weighted};

/// The number of targets that do not count, PyTorch's default.
const IGNORED: i64 = -100;

/// Cross-entropy of logits, PyTorch's `CrossEntropyLoss`: of class numbers, or of probabilities of classes.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::CrossEntropyLoss};
/// let logits = Tensor::from_slice(&[0.0f32, 0.0, 0.0, 0.0], [2, 2], &Device::cpu());
/// let probabilities = Tensor::from_slice(&[0.3f32, 0.7, 1.0, 0.0], [2, 2], &Device::cpu());
/// let loss = CrossEntropyLoss::default().forward(&logits, &probabilities);
/// assert!((loss.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct CrossEntropyLoss {
    /// Weights of classes `[classes]`. The mean is weighted as well.
    pub weight: Option<Tensor>,
    /// The class number of targets that do not count.
    pub ignore_index: i64,
    /// The share of a target that is spread over all classes (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for CrossEntropyLoss {
    fn default() -> CrossEntropyLoss {
        CrossEntropyLoss {
            weight: None,
            ignore_index: IGNORED,
            label_smoothing: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

/// The axis of classes, axis 1 of `[batch, classes, …]` or axis 0 of `[classes]`, as the last one.
fn classes_last(x: &Tensor) -> Tensor {
    if x.rank() < 2 { x.clone() } else { x.movedim(1, -1) }
}

/// Class numbers with the ignored ones replaced by 0, and which are not ignored.
fn without_ignored(target: &Tensor, ignored: i64) -> (Tensor, Tensor) {
    let target = class_numbers(target);
    let counts = target.ne(ignored);
    (counts.select(&target, target.full_like(0.0)), counts)
}

/// Losses of rows that count, reduced; the mean is by weights.
fn reduced(losses: &Tensor, counts: &Tensor, weights: Option<&Tensor>, reduction: Reduction) -> Tensor {
    let zero = losses.full_like(0.0);
    let losses = counts.select(losses, &zero);
    if reduction != Reduction::Mean {
        return reduction.apply(&losses);
    }
    let one = zero.full_like(1.0);
    losses.sum_all() / counts.select(weights.unwrap_or(&one), &zero).sum_all()
}

/// The weight of the class of every row.
fn weights_of(weight: Option<&Tensor>, target: &Tensor, classes: usize, dtype: DType) -> Option<Tensor> {
    weight.map(|weight| (target.one_hot(classes, dtype) * weight).sum(-1))
}

impl CrossEntropyLoss {
    /// The loss of logits `[batch, classes, …]` (or `[classes]`) against class numbers `[batch, …]`, or against
    /// probabilities (floats) of the shape of the logits. A class number out of range is an error when the value is
    /// read.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(error) = failed(&[input, target]) {
            return error;
        }
        let logits = classes_last(input);
        let Some(&classes) = logits.shape().last() else {
            return misfit("cross_entropy_loss", "logits need an axis of classes", &[input, target], at);
        };
        let spread = self.label_smoothing / classes as f64;
        if target.dtype().is_float() {
            if input.shape() != target.shape() {
                let message = "probabilities must have the shape of the logits";
                return misfit("cross_entropy_loss", message, &[input, target], at);
            }
            let mut target = classes_last(target);
            if self.label_smoothing != 0.0 {
                target = target * (1.0 - self.label_smoothing) + spread;
            }
            let log = weighted(logits.log_softmax(-1), self.weight.as_ref());
            return self.reduction.apply(&-(log * target).sum(-1));
        }
        let (target, counts) = without_ignored(target, self.ignore_index);
        let weights = weights_of(self.weight.as_ref(), &target, classes, logits.dtype());
        let mut losses = weighted(logits.cross_entropy_rows(&target), weights.as_ref());
        if self.label_smoothing != 0.0 {
            let everywhere = weighted(logits.log_softmax(-1), self.weight.as_ref()).sum(-1);
            losses = losses * (1.0 - self.label_smoothing) - everywhere * spread;
        }
        reduced(&losses, &counts, weights.as_ref(), self.reduction)
    }
}

/// Minus the log-probability of the right class, PyTorch's `NLLLoss`.
///
/// ```
/// # use vorpal_nn::{Device, Tensor, loss::NllLoss};
/// let log = Tensor::from_slice(&[0.25f32, 0.75], [1, 2], &Device::cpu()).log();
/// let loss = NllLoss::default().forward(&log, &Tensor::from_slice(&[0i32], [1], &Device::cpu()));
/// assert!((loss.item::<f32>()? - 4f32.ln()).abs() < 1e-6);
/// # Ok::<(), vorpal_nn::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct NllLoss {
    /// Weights of classes `[classes]`. The mean is weighted as well.
    pub weight: Option<Tensor>,
    /// The class number of targets that do not count.
    pub ignore_index: i64,
    /// How losses are reduced.
    pub reduction: Reduction,
}

impl Default for NllLoss {
    fn default() -> NllLoss {
        NllLoss { weight: None, ignore_index: IGNORED, reduction: Reduction::Mean }
    }
}

impl NllLoss {
    /// The loss of log-probabilities `[batch, classes, …]` (or `[classes]`) against class numbers `[batch, …]`. A
    /// class number out of range is an error when the value is read.
    #[track_caller]
    pub fn forward(&self, input: &Tensor, target: &Tensor) -> Tensor {
        let at = At::caller();
        if let Some(error) = failed(&[input, target]) {
            return error;
        }
        let log = classes_last(input);
        let Some(&classes) = log.shape().last() else {
            return misfit("nll_loss", "log-probabilities need an axis of classes", &[input, target], at);
        };
        let (target, counts) = without_ignored(target, self.ignore_index);
        let weights = weights_of(self.weight.as_ref(), &target, classes, log.dtype());
        let losses = weighted(log.nll_rows(&target), weights.as_ref());
        reduced(&losses, &counts, weights.as_ref(), self.reduction)
    }
}
